package main

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/spf13/pflag"
)

// rate is a flag: a number per second, with k, M or G; max is +Inf.
type rate float64

func (r *rate) Type() string { return "rate" }

func (r *rate) String() string {
	switch v := float64(*r); {
	case math.IsInf(v, 1):
		return "max"
	case v == 0:
		return ""
	default:
		return formatCount(v)
	}
}

func (r *rate) Set(s string) error {
	if s == "max" {
		*r = rate(math.Inf(1))
		return nil
	}
	v, err := parseCount(s)
	if err != nil || v <= 0 {
		return fmt.Errorf("want a number greater than 0 such as 500, 10k or 2.5M, or max")
	}
	*r = rate(v)
	return nil
}

// count is a flag: a whole number such as 1000 or 10k.
type count[T int | uint64] struct{ v *T }

// countVar defines a flag that is a count, with the default value.
func countVar[T int | uint64](f *pflag.FlagSet, v *T, name string, value T, usage string) {
	*v = value
	f.Var(count[T]{v}, name, usage)
}

func (c count[T]) Type() string { return "count" }

func (c count[T]) String() string {
	if c.v == nil {
		return "0"
	}
	return fmt.Sprint(*c.v)
}

func (c count[T]) Set(s string) error {
	if n, err := strconv.ParseUint(s, 10, 63); err == nil { // exact even for large numbers
		*c.v = T(n)
		return nil
	}
	v, err := parseCount(s)
	if err == nil && v >= 1<<63 {
		return fmt.Errorf("the number is too large: want a whole number below 2^63 such as 500, 10k or 2.5M")
	}
	if err != nil || v != math.Trunc(v) {
		return fmt.Errorf("want a whole number such as 500, 10k or 2.5M")
	}
	*c.v = T(v)
	return nil
}

// byteSize is a flag: a size such as 64MB. Units are powers of 1000, or of 1024 as KiB, MiB, …
type byteSize int64

func (b *byteSize) Type() string { return "size" }

func (b *byteSize) String() string {
	switch {
	case *b == 0:
		return ""
	case *b%(1<<20) == 0: // in the form that a user would type
		return fmt.Sprintf("%dMiB", *b>>20)
	}
	return formatBytes(int64(*b))
}

func (b *byteSize) Set(s string) error {
	v, err := parseBytes(s)
	*b = byteSize(v)
	return err
}

// retention is a flag: a size, a duration, or both, separated by a comma.
type retention struct {
	bytes int64
	age   time.Duration
}

func (r *retention) Type() string { return "size,duration" }

func (r *retention) String() string {
	var parts []string
	if r.bytes > 0 {
		parts = append(parts, formatBytes(r.bytes))
	}
	if r.age > 0 {
		parts = append(parts, r.age.String())
	}
	return strings.Join(parts, ",")
}

func (r *retention) Set(s string) error {
	*r = retention{}
	for part := range strings.SplitSeq(s, ",") {
		age, err := time.ParseDuration(part)
		size, sizeErr := parseBytes(part)
		switch {
		case err == nil && age > 0 && r.age == 0:
			r.age = age
		case sizeErr == nil && size > 0 && r.bytes == 0:
			r.bytes = size
		default:
			return fmt.Errorf("want a size, a duration or both, such as 10GB,24h")
		}
	}
	return nil
}

// parseCount parses a number that is not negative, with a suffix k, M or G for powers of 1000.
func parseCount(s string) (float64, error) {
	factor := 1.0
	number := s
	if n := len(s); n > 0 {
		switch s[n-1] {
		case 'k', 'K':
			factor = 1e3
		case 'm', 'M':
			factor = 1e6
		case 'g', 'G':
			factor = 1e9
		}
		if factor > 1 {
			number = s[:n-1]
		}
	}
	v, err := strconv.ParseFloat(number, 64)
	if err != nil || v < 0 || math.IsInf(v*factor, 0) || math.IsNaN(v) {
		return 0, fmt.Errorf("%q is not a number such as 500, 10k or 2.5M", s)
	}
	return v * factor, nil
}

var sizeUnits = []struct {
	suffix string
	bytes  float64
}{
	{"KiB", 1 << 10}, {"MiB", 1 << 20}, {"GiB", 1 << 30}, {"TiB", 1 << 40},
	{"KB", 1e3}, {"MB", 1e6}, {"GB", 1e9}, {"TB", 1e12}, {"B", 1},
}

// parseBytes parses a size such as 64MB, 1.5GiB or 4096.
func parseBytes(s string) (int64, error) {
	number, factor := s, 1.0
	for _, u := range sizeUnits {
		if head, ok := cutSuffixFold(s, u.suffix); ok {
			number, factor = strings.TrimSpace(head), u.bytes
			break
		}
	}
	v, err := strconv.ParseFloat(number, 64)
	if err != nil || !(v >= 0) || v*factor >= math.MaxInt64 {
		return 0, fmt.Errorf("want a size such as 64MB, 1.5GiB or 4096")
	}
	return int64(v * factor), nil
}

func cutSuffixFold(s, suffix string) (string, bool) {
	n := len(s) - len(suffix)
	if n < 0 || !strings.EqualFold(s[n:], suffix) {
		return s, false
	}
	return s[:n], true
}

// formatCount formats v for people, with about three digits: 999, 12.3k, 4.56M.
func formatCount(v float64) string { return scaled(v, []string{"", "k", "M", "G", "T"}) }

// formatRate formats v for people: 1 tick/s, 12.3k ticks/s.
func formatRate(v float64) string {
	text := formatCount(v)
	if text == "1" {
		return text + " tick/s"
	}
	return text + " ticks/s"
}

// formatBytes formats a size for people: 999 B, 12.3 KB, 4.56 MB.
func formatBytes(n int64) string {
	return scaled(float64(n), []string{" B", " KB", " MB", " GB", " TB"})
}

// manyUnits is from how many of the greatest unit on scaled uses an exponent.
const manyUnits = 1e9

func scaled(v float64, units []string) string {
	unit := 0
	if abs := math.Abs(v); abs > 0 && abs < 0.005 || abs >= manyUnits*math.Pow(1000, float64(len(units)-1)) {
		return strconv.FormatFloat(v, 'g', 3, 64) + units[0]
	}
	for math.Abs(v) >= 999.5 && unit < len(units)-1 {
		v /= 1000
		unit++
	}
	decimals := 0
	if unit > 0 || v != math.Trunc(v) {
		switch {
		case math.Abs(v) < 9.995:
			decimals = 2
		case math.Abs(v) < 99.95:
			decimals = 1
		}
	}
	text := strconv.FormatFloat(v, 'f', decimals, 64)
	if decimals > 0 {
		text = strings.TrimSuffix(strings.TrimRight(text, "0"), ".")
	}
	return text + units[unit]
}

// formatDuration formats d for people, with about three digits: 850ms, 12.3s, 4m10s.
func formatDuration(d time.Duration) string {
	switch abs := d.Abs(); {
	case abs >= time.Minute:
		return d.Round(time.Second).String()
	case abs >= 10*time.Second:
		return d.Round(100 * time.Millisecond).String()
	case abs >= time.Second:
		return d.Round(10 * time.Millisecond).String()
	case abs >= 10*time.Millisecond:
		return d.Round(time.Millisecond).String()
	case abs >= time.Millisecond:
		return d.Round(100 * time.Microsecond).String()
	}
	return d.Round(time.Microsecond).String()
}

// columns is the terminal width that all output fits.
const columns = 80

// wrap breaks the lines of text between words, so that none is wider than width; continuation lines begin with indent.
// Escape sequences that colour text have no width.
func wrap(text string, width int, indent string) string {
	var b strings.Builder
	for i, line := range strings.Split(text, "\n") {
		if i > 0 {
			b.WriteByte('\n')
		}
		for {
			at := breakAt(line, width)
			if at < 0 {
				break
			}
			b.WriteString(strings.TrimRight(line[:at], " ") + "\n")
			line = indent + strings.TrimLeft(line[at:], " ")
		}
		b.WriteString(line)
	}
	return b.String()
}

// breakAt returns the index at which to break line so that the first part is not wider than width: at the last blank that
// allows it, or else at the first blank. It returns -1 if line is not too wide, or is one long word.
func breakAt(line string, width int) int {
	at, column, escape, word := -1, 0, false, false
	for i, r := range line {
		switch {
		case escape:
			escape = r != 'm'
			continue
		case r == '\x1b':
			escape = true
			continue
		case r == ' ' && word && (column <= width || at < 0):
			at = i
		case r != ' ':
			word = true
		}
		column += cell(r)
	}
	if column <= width {
		return -1
	}
	return at
}

// hang returns the column in which the text of a list line begins, after the name that it explains.
func hang(line string) int {
	if isNamed(line) {
		return utf8.RuneCountInString(line[:strings.LastIndex(line, "  ")+2])
	}
	return len(line) - len(strings.TrimLeft(line, " ")) + 2
}

// isNamed reports whether a list line has a name before its text.
func isNamed(line string) bool { return strings.Contains(strings.TrimLeft(line, " "), "  ") }

// reflow fills to width the paragraphs of text, which are lines that do not begin with a blank, and the list lines, which are a
// name and a text, with the lines below that begin in the column of the text. Other lines are wrapped if they are too long.
func reflow(text string, width int) string {
	var out, lines []string // lines of a paragraph, or of a list line
	indent := 0             // of the lines that follow the first of lines
	flush := func() {
		if len(lines) > 0 {
			out = append(out, wrap(strings.Join(lines, " "), width, strings.Repeat(" ", indent)))
			lines = nil
		}
	}
	for _, line := range strings.Split(text, "\n") {
		rest := strings.TrimLeft(line, " ")
		blanks := len(line) - len(rest)
		switch {
		case blanks > 0 && rest != "" && len(lines) > 0 && blanks == indent && isNamed(lines[0]):
			lines = append(lines, rest)
			continue
		case line == "" || blanks > 0 || len(lines) > 0 && indent > 0:
			flush()
		}
		if lines = append(lines, line); len(lines) == 1 {
			if indent = 0; blanks > 0 {
				indent = hang(line)
			}
		}
		if line == "" {
			flush()
		}
	}
	flush()
	return strings.Join(out, "\n")
}
