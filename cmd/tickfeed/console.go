package main

import (
	"bytes"
	"io"
	"os"
	"os/signal"
	"strings"
	"sync"
	"time"

	"golang.org/x/term"
)

// A keyPress is the command of a key.
type keyPress uint8

const (
	keyNone keyPress = iota
	keyPause
	keyStep
	keyFaster
	keySlower
	keyBack
	keyForward
	keyHelp
	keyQuit
	keyInterrupt
	keySuspend // handled by the console itself
)

var keyBytes = map[byte]keyPress{
	' ': keyPause, 's': keyStep, '+': keyFaster, '=': keyFaster, '-': keySlower, ',': keyBack, '.': keyForward,
	'?': keyHelp, 'h': keyHelp, 'q': keyQuit, 0x03: keyInterrupt, 0x1a: keySuspend,
}

// A keyReader decodes key presses from the bytes that a terminal sends. An arrow key is three bytes.
type keyReader struct{ escape int }

func (r *keyReader) next(b byte) keyPress {
	switch {
	case b == 0x1b:
		r.escape = 1
		return keyNone
	case r.escape == 1 && (b == '[' || b == 'O'):
		r.escape = 2
		return keyNone
	case r.escape == 2:
		if b >= '0' && b <= '9' || b == ';' { // part of another key
			return keyNone
		}
		r.escape = 0
		switch b {
		case 'C':
			return keyForward
		case 'D':
			return keyBack
		}
		return keyNone
	}
	r.escape = 0
	return keyBytes[b]
}

// A console is a terminal that is both standard input and standard error. While the process is in the foreground, the
// terminal is raw, so that single keys arrive, and has a status line at the bottom. In the background the console only
// passes on writes, because the kernel would stop a background process that set or read the terminal.
type console struct {
	in   *os.File
	fd   int
	out  io.Writer
	keys chan keyPress
	end  chan struct{} // closed by restore

	coloured bool

	mu     sync.Mutex // guards the fields below
	raw    bool
	before *term.State // state of the terminal before it was first made raw
	line   string
	shown  statusLine
	colour colour // colour of the first word of line
	done   bool   // restored
}

// terminalPoll is the interval at which a console checks whether it is in the foreground, and how long it waits for a
// key.
const terminalPoll = 200 * time.Millisecond

// Write writes lines above the status line.
func (c *console) Write(b []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.raw {
		return c.out.Write(b)
	}
	width := terminalWidth(c.out)
	text := []byte(c.shown.clear(width))
	text = append(text, bytes.ReplaceAll(b, []byte("\n"), []byte("\r\n"))...)
	text = append(text, c.painted(width)...)
	if _, err := c.out.Write(text); err != nil {
		return 0, err
	}
	return len(b), nil
}

// status replaces the status line, and shows its first word in colour. In the background there is no status line.
func (c *console) status(line string, colour colour) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.raw {
		return
	}
	c.line, c.colour = printable(line), colour
	_, _ = io.WriteString(c.out, c.painted(terminalWidth(c.out)))
}

// painted returns the bytes that show the status line.
func (c *console) painted(width int) string {
	text := c.shown.show(c.line, width)
	word, _, _ := strings.Cut(c.line, " ")
	return strings.Replace(text, word, screen{coloured: c.coloured}.paint(c.colour, word), 1)
}

// openConsole makes a console of the terminal, if standard input and standard error are terminals, and sends the keys
// that are pressed in the foreground. restore resets the terminal; it may be called more than once.
func (p *program) openConsole() (restore func(), keys <-chan keyPress) {
	in, ok := p.stdin.(*os.File)
	if !ok || !term.IsTerminal(int(in.Fd())) || !isTerminal(p.stderr) {
		return func() {}, nil
	}
	c := &console{in: in, fd: int(in.Fd()), out: p.stderr, coloured: p.colours(p.stderr), keys: make(chan keyPress), end: make(chan struct{})}
	p.mu.Lock()
	p.stderr = c
	p.mu.Unlock()
	c.enter()
	go c.run()
	return sync.OnceFunc(c.restore), c.keys
}

// run switches the terminal when the process moves to the foreground or the background, and sends keys, until restore is
// called.
func (c *console) run() {
	resumed := make(chan os.Signal, 1)
	if len(continued) > 0 { // Notify without signals would mean all of them
		signal.Notify(resumed, continued...)
	}
	defer signal.Stop(resumed)
	var r keyReader
	b := make([]byte, 64)
	for {
		wait := time.Duration(0)
		if !c.enter() {
			wait = terminalPoll
		}
		select {
		case <-c.end:
			return
		case <-resumed:
			c.leave()
			continue
		case <-time.After(wait):
		}
		if wait > 0 || !waitInput(c.fd, terminalPoll) || !inForeground(c.fd) {
			continue
		}
		n, err := c.in.Read(b)
		for _, x := range b[:n] {
			switch k := r.next(x); k {
			case keyNone:
			case keySuspend:
				c.leave()
				suspend()
			default:
				select {
				case c.keys <- k:
				case <-c.end:
					return
				}
			}
		}
		if err != nil {
			return
		}
	}
}

// enter makes the terminal raw if the process is in the foreground, and reports whether it is.
func (c *console) enter() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.done || !inForeground(c.fd) {
		c.raw = false // the shell has set the terminal
		return false
	}
	if c.raw {
		return true
	}
	before, err := term.MakeRaw(c.fd)
	if err != nil {
		return false
	}
	if c.before == nil {
		c.before = before
	}
	c.raw = true
	return true
}

// leave resets the terminal, if the process is in the foreground. After a shell has continued the process, the terminal
// is as the shell left it, and enter makes it raw again.
func (c *console) leave() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.raw && inForeground(c.fd) {
		_, _ = io.WriteString(c.out, c.shown.clear(terminalWidth(c.out)))
		_ = term.Restore(c.fd, c.before)
	}
	c.raw = false
}

func (c *console) restore() {
	close(c.end)
	c.mu.Lock()
	c.done = true // enter does nothing from now on
	c.mu.Unlock()
	c.leave()
}
