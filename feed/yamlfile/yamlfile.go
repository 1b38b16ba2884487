// Package yamlfile reads YAML that people write, and says in their words where it is wrong.
package yamlfile

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// An Error is a mistake in the syntax of a text.
type Error struct {
	Line int // from 1
	Text string
}

func (e *Error) Error() string { return fmt.Sprintf("line %d: %s", e.Line, e.Text) }

// Parse returns the root of the one document of a text; nil if the text is empty. The error is an *Error. example is a field of
// the format, such as "price: 271.00", for its text.
func Parse(text []byte, example string) (*yaml.Node, error) {
	root, err := parse(text)
	if err == nil {
		return root, nil
	}
	problem, line := err.Error(), 1
	if m := place.FindStringSubmatch(problem); m != nil {
		problem = problem[len(m[0]):]
		if n, err := strconv.Atoi(m[1]); err == nil {
			line = n
		}
	}
	if !errors.Is(err, errTwo) && len(text) <= maxSearched {
		line = firstBad(text)
	}
	if tabbed(text, line) {
		return nil, &Error{line, noTabs}
	}
	return nil, &Error{line, strings.ReplaceAll(plain(problem), anyField, example)}
}

var (
	errTwo = errors.New("the file has a second document, which begins here with ---: remove that line")
	place  = regexp.MustCompile(`^yaml: (?:line (\d+): )?`)
)

func parse(text []byte) (*yaml.Node, error) {
	var doc, second yaml.Node
	decoder := yaml.NewDecoder(bytes.NewReader(text))
	switch err := decoder.Decode(&doc); {
	case errors.Is(err, io.EOF):
		return nil, nil
	case err != nil:
		return nil, err
	}
	switch err := decoder.Decode(&second); {
	case err == nil:
		return nil, fmt.Errorf("yaml: line %d: %w", max(second.Line, 1), errTwo)
	case !errors.Is(err, io.EOF):
		return nil, err
	}
	if len(doc.Content) == 0 {
		return nil, nil
	}
	return doc.Content[0], nil
}

// Bounds of the search for the line of a mistake.
const (
	maxSearched = 1 << 20 // bytes of the text
	maxLines    = 50      // of a value in quotes or brackets
)

// firstBad returns the line of the mistake in text. Package yaml reports the line where the list or mapping around the mistake
// begins; firstBad returns the first line with which the text before it is wrong, and stays so.
func firstBad(text []byte) int {
	lines := bytes.SplitAfter(text, []byte("\n"))
	good := func(n int) bool {
		_, err := parse(bytes.Join(lines[:n], nil))
		return err == nil
	}
	low, high := 0, len(lines) // the first low lines are good, and the first high ones are not
	for {
		for high-low > 1 {
			if middle := (low + high) / 2; good(middle) {
				low = middle
			} else {
				high = middle
			}
		}
		further := low // a value of several lines is good only as a whole
		for n := low + 2; n < min(low+maxLines, len(lines)); n++ {
			if good(n) {
				further = n
			}
		}
		if further == low {
			return high
		}
		low, high = further, len(lines)
	}
}

const noTabs = "indent with blanks, not with tabs"

// tabbed reports whether a line of text is indented with a tab.
func tabbed(text []byte, line int) bool {
	lines := bytes.SplitN(text, []byte("\n"), line+1)
	if len(lines) < line {
		return false
	}
	bad := lines[line-1]
	return bytes.ContainsRune(bad[:len(bad)-len(bytes.TrimLeft(bad, " \t"))], '\t')
}

// anyField stands in advice for an example of a field.
const anyField = "NAME: VALUE"

// advice is what to do about the problems that package yaml reports.
var advice = []struct{ problem, text string }{
	{"mapping values are not allowed", `a colon is where no field can begin: write one field on a line, and put a text with ": " in quotes`},
	{"could not find expected ':'", "want a colon and a blank after the name of a field, such as NAME: VALUE"},
	{"did not find expected key", `want a field, such as NAME: VALUE, as far indented as the fields before it`},
	{"did not find expected '-'", `want an item that begins with "- ", as far indented as the items before it`},
	{"block sequence entries are not allowed", `a "- " is where no item can begin: write it on a line of its own`},
	{"expected ',' or ']'", "a list that begins with [ needs commas between its values, and ends with ]"},
	{"expected node content", "a value is missing, or a list that begins with [ has no end"},
	{"expected ',' or '}'", "fields in { } need commas between them"},
	{"tab character", noTabs},
	{"expected <document start>", "this line does not belong to the list or the fields before it: indent it as they are"},
	{"unexpected end of stream", "the quote has no end"},
	{"cannot start any token", "a value that begins with @, % or ` needs quotes, and lines are indented with blanks, not with tabs"},
	{"alphabetic or numeric character", "a value that begins with * or & needs quotes"},
	{"unknown anchor", "a value that begins with * needs quotes"},
	{"unknown escape character", `in double quotes a backslash begins an escape: write \\, or use single quotes`},
	{"control characters are not allowed", "the file is not text: save it as UTF-8"},
	{"UTF-8", "the file is not text: save it as UTF-8"},
}

// plain returns what to do about a problem.
func plain(problem string) string {
	for _, a := range advice {
		if strings.Contains(problem, a.problem) {
			return a.text
		}
	}
	if problem == errTwo.Error() {
		return problem
	}
	return fmt.Sprintf("this is not YAML (%s): a value with special characters needs quotes", problem)
}
