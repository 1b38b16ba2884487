package text

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"tickfeed/feed"
	"tickfeed/feed/decimal"
)

// words are the words of a line.
type words struct {
	list []string // unquoted not yet
	at   int
}

var errQuote = errors.New("a quote does not end")

// split splits a line into words.
func (w *words) split(line string) error {
	w.list, w.at = w.list[:0], 0
	for i := 0; i < len(line); {
		if line[i] == ' ' || line[i] == '\t' {
			i++
			continue
		}
		start, quoted := i, false
		for i < len(line) && (quoted || line[i] != ' ' && line[i] != '\t') {
			switch {
			case line[i] == '"':
				quoted = !quoted
			case line[i] == '\\' && quoted && i+1 < len(line):
				i++
			}
			i++
		}
		if quoted {
			return errQuote
		}
		w.list = append(w.list, line[start:i])
	}
	return nil
}

func (w *words) next() (string, bool) {
	if w.at == len(w.list) {
		return "", false
	}
	w.at++
	return w.list[w.at-1], true
}

func (w *words) nextIf(wanted func(string) bool) (string, bool) {
	if w.at == len(w.list) || !wanted(w.list[w.at]) {
		return "", false
	}
	return w.next()
}

// pair returns the next word if it is key=value; otherwise ok is false.
func (w *words) pair() (key, value string, ok bool, err error) {
	if w.at == len(w.list) {
		return "", "", false, nil
	}
	key, value, ok = strings.Cut(w.list[w.at], "=")
	if !ok {
		return "", "", false, nil
	}
	w.at++
	if strings.HasPrefix(value, `"`) {
		quoted := value
		if value, err = strconv.Unquote(quoted); err != nil {
			return "", "", false, fmt.Errorf("%s=%s: %w", key, quoted, errQuote)
		}
	}
	return key, value, true, nil
}

// errForeign reports that a key does not belong to what is read.
var errForeign = errors.New("does not belong here")

// pairs calls set with each of the next words that is key=value, until set returns an error.
func (w *words) pairs(set func(key, value string) error) error {
	for {
		key, value, ok, err := w.pair()
		if err != nil || !ok {
			return err
		}
		switch err := set(key, value); {
		case errors.Is(err, errForeign):
			return fmt.Errorf("%s= %w", key, err)
		case err != nil:
			return fmt.Errorf("%s=%s: %w", key, value, err)
		}
	}
}

// value returns the value of the next word if its key is key.
func (w *words) value(key string) (string, bool) {
	text, ok := w.nextIf(func(s string) bool { return strings.HasPrefix(s, key+"=") })
	return strings.TrimPrefix(text, key+"="), ok
}

// uint returns the value of the next word if its key is key; otherwise ok is false.
func (w *words) uint(key string, least, most uint64) (v uint64, ok bool, err error) {
	text, ok := w.value(key)
	if !ok {
		return 0, false, nil
	}
	v, err = strconv.ParseUint(text, 10, 64)
	if err != nil || v < least || v > most {
		return 0, false, fmt.Errorf("%s=%s: want a number from %d to %d", key, text, least, most)
	}
	return v, true, nil
}

func (w *words) price(v *int64, exponent int8) error {
	text, ok := w.next()
	if !ok {
		return errors.New("a price is missing")
	}
	var err error
	if *v, err = parsePrice(text, exponent); err != nil {
		return fmt.Errorf("price %q with exponent %d: %w", text, exponent, err)
	}
	return nil
}

func (w *words) decimal(v *int64, exponent int8) error {
	text, ok := w.next()
	if !ok {
		return errors.New("a size is missing")
	}
	var err error
	if *v, err = decimal.Parse(text, exponent); err != nil {
		return fmt.Errorf("size %q with exponent %d: %w", text, exponent, err)
	}
	return nil
}

// side parses one of the book sides up to index most.
func (w *words) side(t *feed.Tick, most int) error {
	text, _ := w.next()
	i, err := oneOf(bookSides[:most+1], text)
	t.Side = feed.Side(i)
	return err
}

// end returns an error if words are left over.
func (w *words) end() error {
	if text, ok := w.next(); ok {
		return fmt.Errorf("%q is too much, or not where it belongs", text)
	}
	return nil
}

func parseLineage(s string) (l feed.Lineage, err error) {
	for part := range strings.SplitSeq(s, ",") {
		id, first, _ := strings.Cut(part, ":")
		var session feed.Session
		if err := session.ID.UnmarshalText([]byte(id)); err != nil {
			return nil, err
		}
		if session.First, err = strconv.ParseUint(first, 10, 64); err != nil {
			return nil, fmt.Errorf("%q: want ID:FIRST", part)
		}
		l = append(l, session)
	}
	return l, nil
}

// parseTime parses RFC 3339 or nanoseconds since the Unix epoch.
func parseTime(s string) (int64, error) {
	if ns, err := strconv.ParseInt(s, 10, 64); err == nil {
		return ns, nil
	}
	t, err := time.Parse(time.RFC3339Nano, s)
	if err != nil {
		return 0, fmt.Errorf("%q is not a time such as 2026-01-05T14:30:00.5Z, or nanoseconds since the Unix epoch", s)
	}
	if ns := t.UnixNano(); time.Unix(0, ns).Equal(t) {
		return ns, nil
	}
	return 0, fmt.Errorf("%q is beyond what 64 bits of nanoseconds hold", s)
}

func parsePrice(s string, exponent int8) (int64, error) {
	if s == "-" {
		return feed.NoPrice, nil
	}
	return decimal.Parse(s, exponent)
}

func parseExponent(s string) (int8, error) {
	v, err := strconv.ParseInt(s, 10, 8)
	return int8(v), err
}

func parseConditions(s string) (int64, error) {
	if len(s) > feed.MaxConditions {
		return 0, fmt.Errorf("at most %d characters", feed.MaxConditions)
	}
	var v feed.Conditions
	for i := range len(s) {
		v |= feed.Conditions(s[i]) << (56 - 8*i)
	}
	if v.String() != s {
		return 0, errors.New("not printable characters")
	}
	return int64(v), nil
}

// oneOf returns the index of s in names.
func oneOf(names []string, s string) (int, error) {
	if i := slices.Index(names, s); i >= 0 && s != "" {
		return i, nil
	}
	return 0, fmt.Errorf("want one of %s, got %q", strings.TrimSpace(strings.Join(names, " ")), s)
}

// oneOrNumber is oneOf, except that s may be a number of one byte.
func oneOrNumber(names []string, s string) (int, error) {
	if v, err := strconv.ParseUint(s, 10, 8); err == nil {
		return int(v), nil
	}
	return oneOf(names, s)
}
