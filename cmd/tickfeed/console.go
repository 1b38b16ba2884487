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

// A keystroke is a key of a terminal: the character that it sends, or one of the constants below.
type keystroke rune

const (
	keyNone   keystroke = 0
	keyCtrlC  keystroke = 0x03
	keyCtrlZ  keystroke = 0x1a // handled by the console itself
	keyEnter  keystroke = '\r'
	keyEscape keystroke = 0x1b
	keyErase  keystroke = 0x7f
	keyUp     keystroke = -1 - iota
	keyDown
	keyRight
	keyLeft
)

// A keyReader decodes keys from the bytes that a terminal sends. An arrow key is three bytes.
type keyReader struct{ escape int }

func (r *keyReader) next(b byte) keystroke {
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
		case 'A':
			return keyUp
		case 'B':
			return keyDown
		case 'C':
			return keyRight
		case 'D':
			return keyLeft
		}
		return keyNone
	}
	r.escape = 0
	return keystroke(b)
}

// A console is a terminal that is both standard input and an output. While the process is in the foreground, the
// terminal is raw, so that single keys arrive, and has a status line at the bottom. In the background the console only
// passes on writes, because the kernel would stop a background process that set or read the terminal.
type console struct {
	in   *os.File
	fd   int
	out  io.Writer
	keys chan keystroke
	end  chan struct{} // closed by restore

	coloured bool
	// entering and leaving are written when the terminal becomes raw, and before it is reset.
	entering, leaving string

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
func (p *program) openConsole() (restore func(), keys <-chan keystroke) {
	in, ok := p.stdin.(*os.File)
	if !ok || !term.IsTerminal(int(in.Fd())) || !isTerminal(p.stderr) {
		return func() {}, nil
	}
	c := p.newConsole(in, p.stderr)
	p.mu.Lock()
	p.stderr = c
	p.mu.Unlock()
	c.enter()
	go c.run()
	return sync.OnceFunc(c.restore), c.keys
}

// openScreen makes a console of the terminal, if standard input and standard output are terminals, whose whole screen is drawn.
// Otherwise it returns nil. A reset restores the earlier contents of the terminal.
func (p *program) openScreen() *console {
	in, ok := p.stdin.(*os.File)
	if !ok || !term.IsTerminal(int(in.Fd())) || !isTerminal(p.stdout) {
		return nil
	}
	c := p.newConsole(in, p.stdout)
	c.entering, c.leaving = "\x1b[?1049h\x1b[?25l", "\x1b[?25h\x1b[?1049l" // the alternate screen, without a cursor
	c.enter()
	go c.run()
	return c
}

func (p *program) newConsole(in *os.File, out io.Writer) *console {
	return &console{in: in, fd: int(in.Fd()), out: out, coloured: p.colours(out), keys: make(chan keystroke), end: make(chan struct{})}
}

// draw replaces what the screen shows, unless the process is in the background. Each line must fit.
func (c *console) draw(lines []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.raw {
		_, _ = io.WriteString(c.out, "\x1b[H"+strings.Join(lines, "\x1b[K\r\n")+"\x1b[K\x1b[J")
	}
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
			k := r.next(x)
			if n == 1 && x == 0x1b { // the key itself: the sequence of another key comes at once
				k = keyEscape
			}
			switch k {
			case keyNone:
			case keyCtrlZ:
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
	_, _ = io.WriteString(c.out, c.entering)
	return true
}

// leave resets the terminal, if the process is in the foreground. After a shell has continued the process, the terminal
// is as the shell left it, and enter makes it raw again.
func (c *console) leave() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.raw && inForeground(c.fd) {
		_, _ = io.WriteString(c.out, c.shown.clear(terminalWidth(c.out))+c.leaving)
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
