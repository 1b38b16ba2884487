package main

import (
	"bytes"
	"io"
	"os"
	"sync"

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
	keyQuit
	keyInterrupt
)

var keyBytes = map[byte]keyPress{
	' ': keyPause, 's': keyStep, '+': keyFaster, '=': keyFaster, '-': keySlower, ',': keyBack, '.': keyForward,
	'q': keyQuit, 0x03: keyInterrupt,
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

// A console is a terminal in raw mode with a status line at the bottom: standard error meanwhile.
type console struct {
	mu   sync.Mutex
	out  io.Writer
	line string
	done bool // no longer raw
}

// Write writes lines above the status line.
func (c *console) Write(b []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.done {
		return c.out.Write(b)
	}
	var text []byte
	text = append(text, "\r\x1b[K"...)
	text = append(text, bytes.ReplaceAll(b, []byte("\n"), []byte("\r\n"))...)
	text = append(text, c.line...)
	if _, err := c.out.Write(text); err != nil {
		return 0, err
	}
	return len(b), nil
}

// status replaces the status line, which is cut to the terminal's width.
func (c *console) status(line string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.done {
		return
	}
	line = printable(line)
	if f, ok := c.out.(*os.File); ok {
		if width, _, err := term.GetSize(int(f.Fd())); err == nil && width > 1 {
			line = string([]rune(line)[:min(len([]rune(line)), width-1)])
		}
	}
	c.line = line
	_, _ = io.WriteString(c.out, "\r\x1b[K"+line)
}

// openConsole puts the terminal into raw mode, if there is one for input and messages, and tells
// the keys that are pressed. Restore puts it back; it may be called more than once.
func (p *program) openConsole() (restore func(), keys <-chan keyPress) {
	in, ok := p.stdin.(*os.File)
	if !ok || !term.IsTerminal(int(in.Fd())) || !isTerminal(p.stderr) {
		return func() {}, nil
	}
	before, err := term.MakeRaw(int(in.Fd()))
	if err != nil {
		return func() {}, nil
	}
	c := &console{out: p.stderr}
	p.mu.Lock()
	p.stderr = c
	p.mu.Unlock()
	pressed := make(chan keyPress)
	go func() { // a read of standard input cannot be interrupted; it ends with the process
		var r keyReader
		b := make([]byte, 64)
		for {
			n, err := in.Read(b)
			for _, x := range b[:n] {
				if k := r.next(x); k != keyNone {
					pressed <- k
				}
			}
			if err != nil {
				return
			}
		}
	}()
	return sync.OnceFunc(func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		_, _ = io.WriteString(c.out, "\r\x1b[K")
		c.done = true
		_ = term.Restore(int(in.Fd()), before)
	}), pressed
}
