package main

import (
	"fmt"
	"io"
	"os"
	"regexp"
	"runtime"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/term"
)

// A colour is an attribute of text on a terminal: its number in the SGR escape sequence.
type colour uint8

const (
	plain   colour = 0
	bold    colour = 1
	dim     colour = 2
	reverse colour = 7
	red     colour = 31 // lost, wrong
	green   colour = 32 // recovered, sound
	yellow  colour = 33 // unusual, but nothing lost
)

// A screen formats text for people on one stream. The zero screen leaves it unchanged.
type screen struct {
	coloured bool
	width    int // in columns, to which text is wrapped; 0 if it is not wrapped
}

// Bounds of the width that text is wrapped to: longer lines are hard to read, and shorter ones break at almost every
// word.
const (
	minWidth = 40
	maxWidth = 132
)

// screen returns the screen of w at its present size.
func (p *program) screen(w io.Writer) screen {
	s := screen{coloured: p.colours(w)}
	if width := terminalWidth(w); width > 0 {
		s.width = min(max(width, minWidth), maxWidth)
	}
	return s
}

// colours reports whether w shows colours, by --color; auto means that w is a terminal that supports them and NO_COLOR is
// not set (https://no-color.org).
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

// terminalWidth returns the width of w in columns, or 0 if w is not a terminal.
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

// paint returns text in colour c. text must not contain a newline.
func (s screen) paint(c colour, text string) string {
	if !s.coloured || c == plain || text == "" {
		return text
	}
	return fmt.Sprintf("\x1b[%dm%s\x1b[0m", c, text)
}

// fit wraps the lines of text to the width of the screen; continuation lines begin with indent.
func (s screen) fit(text, indent string) string {
	if s.width == 0 {
		return text
	}
	return wrap(text, s.width, indent)
}

// noteColours are the colours of lines on standard error, by their prefix.
var noteColours = []struct {
	begins string
	colour colour
}{
	{"recovered ", green},
	{"lost ", red}, {"disowned ", red},
	{"withheld ", yellow}, {"disconnected ", yellow}, {"stale: ", yellow},
	{"waiting for ", yellow}, {"not saved: ", red}, {notConnected, red},
}

// note returns the printable text as the screen shows it: the prefix of errors in red, losses and recoveries in their
// colours, and lines wrapped below the text that they continue.
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

// missing matches the missing numbers in an account.
var missing = regexp.MustCompile(`\b[1-9][\d,]* (lost|disowned|duplicated)`)

// errorPrefix is the prefix of every error.
const errorPrefix = "tickfeed: "

// paintLines is paint for text with several lines.
func (s screen) paintLines(c colour, text string) string {
	lines := strings.Split(text, "\n")
	for i := range lines {
		lines[i] = s.paint(c, lines[i])
	}
	return strings.Join(lines, "\n")
}

// A fitted writer wraps the lines written to it to the width of its terminal. Every write must be of whole lines.
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

// wideRunes are, roughly, the characters that take two columns of a terminal (Unicode Standard Annex #11, "Wide" and
// "Fullwidth").
var wideRunes = &unicode.RangeTable{
	R16: []unicode.Range16{
		{Lo: 0x1100, Hi: 0x115f, Stride: 1}, {Lo: 0x2e80, Hi: 0x303e, Stride: 1}, {Lo: 0x3041, Hi: 0xa4cf, Stride: 1}, {Lo: 0xa960, Hi: 0xa97c, Stride: 1},
		{Lo: 0xac00, Hi: 0xd7a3, Stride: 1}, {Lo: 0xf900, Hi: 0xfaff, Stride: 1}, {Lo: 0xfe30, Hi: 0xfe6f, Stride: 1}, {Lo: 0xff01, Hi: 0xff60, Stride: 1},
		{Lo: 0xffe0, Hi: 0xffe6, Stride: 1},
	},
	R32: []unicode.Range32{{Lo: 0x1f300, Hi: 0x1f64f, Stride: 1}, {Lo: 0x1f680, Hi: 0x1f6ff, Stride: 1}, {Lo: 0x1f900, Hi: 0x1f9ff, Stride: 1}, {Lo: 0x20000, Hi: 0x3fffd, Stride: 1}},
}

// cell returns the width in columns of the printable rune r.
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

// cells returns the width in columns of the printable text.
func cells(text string) (n int) {
	for _, r := range text {
		n += cell(r)
	}
	return n
}

// cut returns the longest prefix of text that fits into width columns.
func cut(text string, width int) string {
	n := 0
	for i, r := range text {
		if n += cell(r); n > width {
			return text[:i]
		}
	}
	return text
}

// shorten returns text in at most width columns, with an ellipsis in the middle if some of it is left out: names and addresses differ at
// their ends.
func shorten(text string, width int) string {
	switch {
	case cells(text) <= width:
		return text
	case width < 1:
		return ""
	}
	end := len(text)
	for room := (width - 1) / 2; end > 0; {
		r, size := utf8.DecodeLastRuneInString(text[:end])
		if room -= cell(r); room < 0 {
			break
		}
		end -= size
	}
	return cut(text, width-1-cells(text[end:])) + "…" + text[end:]
}

// A statusLine is the last line of a terminal, which is rewritten in place.
type statusLine struct{ cells int } // its width when it was last written

// clearLine clears the current line of a terminal.
const clearLine = "\r\x1b[K"

// clear returns the escape sequence that removes the line from a terminal of width columns. A terminal that became
// narrower has wrapped the line.
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

// show returns the bytes that replace the line by the printable text, cut to width columns; 0 is any width.
func (l *statusLine) show(text string, width int) string {
	clear := l.clear(width)
	if width > 1 {
		text = cut(text, width-1)
	}
	l.cells = cells(text)
	return clear + text
}
