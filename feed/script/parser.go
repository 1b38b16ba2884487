package script

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// A word is a word of a line. A colon that is not between two digits is a word of its own, and text in double quotes is one.
type word struct {
	text   string
	column int
}

// wordsOf splits a line, up to its comment, which begins with # outside of quotes. It returns the line without the comment.
func wordsOf(line string) (words []word, rest string, err *Error) {
	runes := []rune(line)
	digit := func(i int) bool { return i >= 0 && i < len(runes) && runes[i] >= '0' && runes[i] <= '9' }
	start := -1
	flush := func(to int) {
		if start >= 0 {
			words = append(words, word{string(runes[start:to]), start + 1})
		}
		start = -1
	}
	for i := 0; i < len(runes); i++ {
		switch r := runes[i]; {
		case r == ' ' || r == '\t':
			flush(i)
		case r == '#':
			flush(i)
			return words, string(runes[:i]), nil
		case r == ':' && !(start >= 0 && digit(i-1) && digit(i+1)):
			flush(i)
			words = append(words, word{":", i + 1})
		case r == '"' && start < 0:
			end := slices.Index(runes[i+1:], '"')
			if end < 0 {
				return nil, line, &Error{Column: i + 1, Text: "the quote has no end"}
			}
			words = append(words, word{string(runes[i+1 : i+1+end]), i + 1})
			i += end + 1
		case start < 0:
			start = i
		}
	}
	flush(len(runes))
	return words, line, nil
}

// A Parser reads the words of one line.
type Parser struct {
	line  string // without its comment
	words []word
	at    int
	end   int // column after the line
}

// column is where the parser stands, for an error.
func (p *Parser) column() int {
	if p.at > 0 {
		return p.words[p.at-1].column
	}
	return 1
}

// wrong returns err as a mistake in a line: where it says, or else where the parser stands.
func (p *Parser) wrong(name string, line int, err error) *Error {
	e, ok := err.(*Error)
	if !ok {
		e = &Error{Column: p.column(), Text: err.Error()}
	}
	e.Name, e.Line = name, line
	return e
}

// Next returns the next word, or "" at the end of the line.
func (p *Parser) Next() string {
	if p.at == len(p.words) {
		p.words = append(p.words, word{"", p.end})
	}
	p.at++
	return p.words[p.at-1].text
}

// Peek returns the next word without reading it.
func (p *Parser) Peek() string {
	if p.at == len(p.words) {
		return ""
	}
	return p.words[p.at].text
}

// Accept reads the next word if it is text.
func (p *Parser) Accept(text string) bool {
	if p.Peek() != text || p.at == len(p.words) {
		return false
	}
	p.at++
	return true
}

// Number reads a whole number.
func (p *Parser) Number(what string, least, most uint64) (uint64, error) {
	text := p.Next()
	n, err := strconv.ParseUint(strings.ReplaceAll(text, "_", ""), 10, 64)
	if err != nil || n < least || n > most {
		return 0, fmt.Errorf("%s must be followed by a number of at least %d and at most %d, got %q", what, least, most, text)
	}
	return n, nil
}

// Duration reads a duration greater than 0.
func (p *Parser) Duration(what string) (time.Duration, error) {
	return p.duration(what, 1, "greater than 0")
}

// duration reads a duration of at least least, which the error describes as bound.
func (p *Parser) duration(what string, least time.Duration, bound string) (time.Duration, error) {
	text := p.Next()
	d, err := time.ParseDuration(text)
	if err != nil || d < least || d > MaxFor {
		return 0, fmt.Errorf("%s must be followed by a duration such as 200ms or 5s, %s and at most %v, got %q", what, bound, MaxFor, text)
	}
	return d, nil
}

// Choice reads one of options, or returns standard if the line ends; standard "" means that one is needed.
func (p *Parser) Choice(standard string, options ...string) (string, error) {
	if p.Peek() == "" && standard != "" {
		return standard, nil
	}
	text := p.Next()
	if !slices.Contains(options, text) {
		return "", fmt.Errorf("%q must be %s%s", text, strings.Join(options, " or "), DidYouMean(text, options))
	}
	return text, nil
}

// Factor reads a factor: x3, x0.5 or /10.
func (p *Parser) Factor(what string, most float64) (float64, error) {
	text := p.Next()
	number, divides := strings.CutPrefix(text, "/")
	if !divides {
		number, _ = strings.CutPrefix(text, "x")
	}
	v, err := strconv.ParseFloat(number, 64)
	if divides {
		v = 1 / v
	}
	if err != nil || number == text || !(v >= 1/most && v <= most) {
		return 0, fmt.Errorf("%s must be followed by a factor such as x3, x0.5 or /10, from /%v to x%v, got %q", what, most, most, text)
	}
	return v, nil
}

// Percent reads a change such as -4% or +2.5%, greater than -100 % and at most most percent, as a fraction.
func (p *Parser) Percent(what string, most float64) (float64, error) {
	text := p.Next()
	v, err := strconv.ParseFloat(strings.TrimSuffix(text, "%"), 64)
	if err != nil || !strings.HasSuffix(text, "%") || !(v > -100 && v <= most) {
		return 0, fmt.Errorf("%s must be followed by a percentage such as -4%% or 60%%, more than -100%% and at most %v%%, got %q", what, most, text)
	}
	return v / 100, nil
}

// Share parses a share of more than 0 % and at most 100 %, as a fraction.
func Share(text string) (float64, error) {
	v, err := strconv.ParseFloat(strings.TrimSuffix(text, "%"), 64)
	if err != nil || !(v > 0 && v <= 100) {
		return 0, fmt.Errorf("%q must be more than 0%% and at most 100%%", text)
	}
	return v / 100, nil
}
