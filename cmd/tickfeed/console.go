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

// A keyPress is what a person pressed.
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
	keySuspend // of the console itself
)

var keyBytes = map[byte]keyPress{
	' ': keyPause, 's': keyStep, '+': keyFaster, '=': keyFaster, '-': keySlower, ',': keyBack, '.': keyForward,
	'?': keyHelp, 'h': keyHelp, 'q': keyQuit, 0x03: keyInterrupt, 0x1a: keySuspend,
}

// A keyReader makes keys of what a terminal sends. The arrows are three bytes.
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
		if b >= '0' && b <= '9' || b == ';' { // of another key
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

// A console is a terminal that is both standard input and standard error. While the process is in the foreground, the terminal is
// raw, so that single keys arrive, and has a status line at the bottom. In the background the console only passes on what is
// written: the kernel would stop a process that set or read the terminal there.
type console struct {
	in   *os.File
	fd   int
	out  io.Writer
	keys chan keyPress
	end  chan struct{} // closed by restore

	coloured bool

	mu     sync.Mutex // guards what follows
	raw    bool
	before *term.State // of the terminal, before it was first made raw
	line   string
	shown  statusLine
	colour colour // of the first word of line
	done   bool   // restored
}

// terminalPoll is how often a console looks whether it is in the foreground, and how long it waits for a key.
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

// status replaces the status line, whose first word is shown in colour. In the background there is none.
func (c *console) status(line string, colour colour) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.raw {
		return
	}
	c.line, c.colour = printable(line), colour
	_, _ = io.WriteString(c.out, c.painted(terminalWidth(c.out)))
}

// painted returns what shows the status line.
func (c *console) painted(width int) string {
	text := c.shown.show(c.line, width)
	word, _, _ := strings.Cut(c.line, " ")
	return strings.Replace(text, word, screen{coloured: c.coloured}.paint(c.colour, word), 1)
}

// openConsole makes a console of the terminal, if standard input and standard error are one, and sends the keys that are pressed
// in the foreground. Restore puts the terminal back; it may be called more than once.
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

// run follows the process from the foreground to the background and back, and sends keys, until restore.
func (c *console) run() {
	resumed := make(chan os.Signal, 1)
	if len(continued) > 0 { // none would mean all
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
		c.raw = false // the shell has the terminal, as it wants it
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

// leave puts the terminal back, if the process is in the foreground. After a shell has continued the process, the terminal is as
// the shell left it, and enter makes it raw again.
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
	c.done = true // enter does nothing any more
	c.mu.Unlock()
	c.leave()
}
