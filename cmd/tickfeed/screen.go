package main

import (
	"fmt"
	"io"
	"os"
	"regexp"
	"runtime"
	"strings"
	"unicode"

	"golang.org/x/term"
)

// A colour is an attribute of text on a terminal, by its number in the escape sequence SGR.
type colour uint8

const (
	plain  colour = 0
	dim    colour = 2
	red    colour = 31 // lost, wrong
	green  colour = 32 // recovered, sound
	yellow colour = 33 // out of order, and not lost
)

// A screen is how text for people is shown on one stream. The zero screen shows it as it is.
type screen struct {
	coloured bool
	width    int // in columns, to which text is broken; 0 if it is not
}

// Bounds of the width that text is broken to: longer lines are hard to read, and shorter ones break almost every word.
const (
	minWidth = 40
	maxWidth = 132
)

// screen returns how text is shown on w, which may be resized meanwhile.
func (p *program) screen(w io.Writer) screen {
	s := screen{coloured: p.colours(w)}
	if width := terminalWidth(w); width > 0 {
		s.width = min(max(width, minWidth), maxWidth)
	}
	return s
}

// colours reports whether w shows colours, as --color says; auto is if w is a terminal that can, and NO_COLOR is not set
// (https://no-color.org).
func (p *program) colours(w io.Writer) bool {
	switch p.color {
	case "always":
		return true
	case "never":
		return false
	}
	able := os.Getenv("TERM") != "dumb" && (runtime.GOOS != "windows" || os.Getenv("WT_SESSION") != "")
	return able && os.Getenv("NO_COLOR") == "" && isTerminal(w)
}

// terminalOf returns the terminal that w is, or nil.
func terminalOf(w io.Writer) *os.File {
	switch x := w.(type) {
	case *console:
		return terminalOf(x.out)
	case *watchedFile:
		return terminalOf(x.File)
	case *os.File:
		if term.IsTerminal(int(x.Fd())) {
			return x
		}
	}
	return nil
}

func isTerminal(w io.Writer) bool { return terminalOf(w) != nil }

// terminalWidth returns how many columns w has; 0 if w is no terminal.
func terminalWidth(w io.Writer) int {
	f := terminalOf(w)
	if f == nil {
		return 0
	}
	width, _, err := term.GetSize(int(f.Fd()))
	if err != nil {
		return 0
	}
	return width
}

// paint returns text in colour c. Text must have no newline.
func (s screen) paint(c colour, text string) string {
	if !s.coloured || c == plain || text == "" {
		return text
	}
	return fmt.Sprintf("\x1b[%dm%s\x1b[0m", c, text)
}

// fit breaks the lines of text to the width of the screen; what is broken off begins with indent.
func (s screen) fit(text, indent string) string {
	if s.width == 0 {
		return text
	}
	return wrap(text, s.width, indent)
}

// noteColours are the colours of lines on standard error, by what a line begins with.
var noteColours = []struct {
	begins string
	colour colour
}{
	{"recovered ", green},
	{"lost ", red}, {"disowned ", red},
	{"withheld ", yellow}, {"disconnected ", yellow}, {"stale: ", yellow},
	{"waiting for ", yellow}, {"not saved: ", red},
}

// note returns text for people, which is printable, as a screen shows it: errors begin in red, what is lost and recovered has its
// colour, and lines are broken below the text that they explain.
func (s screen) note(text string) string {
	lines := strings.Split(text, "\n")
	for i, line := range lines {
		indent := "  "
		if strings.HasPrefix(line, indent) {
			indent = strings.Repeat(" ", hang(line))
		}
		line = s.fit(line, indent)
		if rest, ok := strings.CutPrefix(line, errorPrefix); ok {
			lines[i] = s.paint(red, errorPrefix) + rest
			continue
		}
		line = s.paintLines(noteColour(line), line)
		if strings.HasPrefix(line, "account: ") {
			line = missing.ReplaceAllStringFunc(line, func(m string) string { return s.paint(red, m) })
		}
		lines[i] = line
	}
	return strings.Join(lines, "\n")
}

func noteColour(line string) colour {
	for _, n := range noteColours {
		if strings.HasPrefix(line, n.begins) {
			return n.colour
		}
	}
	if strings.Contains(line, "; trying again") {
		return yellow
	}
	return plain
}

// missing finds what an account says is missing.
var missing = regexp.MustCompile(`\b[1-9]\d* (lost|disowned|duplicated)`)

// errorPrefix begins every error.
const errorPrefix = "tickfeed: "

// paintLines is paint for text of several lines.
func (s screen) paintLines(c colour, text string) string {
	lines := strings.Split(text, "\n")
	for i := range lines {
		lines[i] = s.paint(c, lines[i])
	}
	return strings.Join(lines, "\n")
}

// A fitted writer breaks what is written to it, whole lines, to the width of the terminal that it goes to.
type fitted struct {
	p      *program
	w      io.Writer
	indent string
}

func (f fitted) Write(b []byte) (int, error) {
	if _, err := io.WriteString(f.w, f.p.screen(f.w).fit(string(b), f.indent)); err != nil {
		return 0, err
	}
	return len(b), nil
}

// wideRunes are the characters that take two columns of a terminal (Unicode Standard Annex #11, "Wide" and "Fullwidth"), roughly.
var wideRunes = &unicode.RangeTable{
	R16: []unicode.Range16{
		{Lo: 0x1100, Hi: 0x115f, Stride: 1}, {Lo: 0x2e80, Hi: 0x303e, Stride: 1}, {Lo: 0x3041, Hi: 0xa4cf, Stride: 1}, {Lo: 0xa960, Hi: 0xa97c, Stride: 1},
		{Lo: 0xac00, Hi: 0xd7a3, Stride: 1}, {Lo: 0xf900, Hi: 0xfaff, Stride: 1}, {Lo: 0xfe30, Hi: 0xfe6f, Stride: 1}, {Lo: 0xff01, Hi: 0xff60, Stride: 1},
		{Lo: 0xffe0, Hi: 0xffe6, Stride: 1},
	},
	R32: []unicode.Range32{{Lo: 0x1f300, Hi: 0x1f64f, Stride: 1}, {Lo: 0x1f680, Hi: 0x1f6ff, Stride: 1}, {Lo: 0x1f900, Hi: 0x1f9ff, Stride: 1}, {Lo: 0x20000, Hi: 0x3fffd, Stride: 1}},
}

// cell returns how many columns of a terminal r takes, which is printable.
func cell(r rune) int {
	switch {
	case r < 0x300:
		return 1
	case unicode.In(r, unicode.Mn, unicode.Me):
		return 0
	case unicode.Is(wideRunes, r):
		return 2
	}
	return 1
}

// cells returns how many columns of a terminal text takes, which is printable.
func cells(text string) (n int) {
	for _, r := range text {
		n += cell(r)
	}
	return n
}

// cut returns the beginning of text that takes no more than width columns.
func cut(text string, width int) string {
	n := 0
	for i, r := range text {
		if n += cell(r); n > width {
			return text[:i]
		}
	}
	return text
}

// A statusLine is the last line of a terminal, which is written again and again.
type statusLine struct{ cells int } // how long it was when it was written last

// clearLine empties the line of a terminal.
const clearLine = "\r\x1b[K"

// clear returns what removes the line from a terminal of width columns. A terminal that became narrower has broken the line.
func (l *statusLine) clear(width int) string {
	rows := 0
	if width > 0 && l.cells > width {
		rows = (l.cells - 1) / width
	}
	l.cells = 0
	if rows == 0 {
		return clearLine
	}
	return fmt.Sprintf("\r\x1b[%dA\x1b[J", rows)
}

// show returns what writes text, which is printable, in the place of the line, cut so that it fits into width columns; 0 is any width.
func (l *statusLine) show(text string, width int) string {
	clear := l.clear(width)
	if width > 1 {
		text = cut(text, width-1)
	}
	l.cells = cells(text)
	return clear + text
}
