package codec

import (
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"tickfeed/feed"
)

// A Filter is the instruments that a subscription wants: those that any of its patterns
// matches. The empty Filter wants all. A pattern is SYMBOL or SYMBOL@VENUE, where * stands
// for any run of characters and ? for any one. Filters are compared in their canonical form:
// sorted, none twice.
type Filter []string

// NewFilter is the canonical filter of patterns, which it checks.
func NewFilter(patterns []string) (Filter, error) {
	f := slices.Clone(Filter(patterns))
	slices.Sort(f)
	f = slices.Compact(f)
	if err := f.Validate(); err != nil {
		return nil, err
	}
	if slices.Contains(f, "*") {
		return nil, nil
	}
	return f, nil
}

// Validate reports a pattern that is empty, too long or not printable, or too many of them.
func (f Filter) Validate() error {
	if len(f) > MaxPatterns {
		return fmt.Errorf("filter has %d patterns, at most %d", len(f), MaxPatterns)
	}
	for _, p := range f {
		symbol, venue, _ := strings.Cut(p, "@")
		if symbol == "" {
			return fmt.Errorf("filter: pattern %.64q names no symbol", p)
		}
		if err := feed.ValidateText(symbol); err != nil {
			return fmt.Errorf("filter: symbol %w", err)
		}
		if err := feed.ValidateText(venue); err != nil {
			return fmt.Errorf("filter: venue %w", err)
		}
	}
	return nil
}

// All reports whether f wants every instrument.
func (f Filter) All() bool { return len(f) == 0 }

// Match reports whether f wants instrument d. To ask a filter of others about many instruments, use a Matcher.
func (f Filter) Match(d *feed.Definition) bool {
	if f.All() {
		return true
	}
	for _, p := range f {
		symbol, venue, hasVenue := strings.Cut(p, "@")
		if glob(symbol, d.Symbol) && (!hasVenue || glob(venue, d.Venue)) {
			return true
		}
	}
	return false
}

// glob matches s against a pattern of literals, * and ?, in time proportional to the product
// of their lengths, both of which are bounded by feed.MaxText.
func glob(pattern, s string) bool {
	star, mark := -1, 0
	p, i := 0, 0
	for i < len(s) {
		switch {
		case p < len(pattern) && pattern[p] == '*':
			star, mark = p, i
			p++
		case p < len(pattern) && pattern[p] == '?':
			p++
			i += runeLen(s[i:])
		case p < len(pattern) && pattern[p] == s[i]:
			p++
			i++
		case star >= 0:
			p = star + 1
			mark += runeLen(s[mark:])
			i = mark
		default:
			return false
		}
	}
	for p < len(pattern) && pattern[p] == '*' {
		p++
	}
	return p == len(pattern)
}

// runeLen returns the length of the character that s begins with, in bytes.
func runeLen(s string) int {
	_, n := utf8.DecodeRuneInString(s)
	return n
}

// A Matcher answers what Filter.Match answers, for many instruments, in a time that is bounded for each of them: a pattern
// without * and ? costs nothing beyond a binary search, and the others take at most one step for each of their bytes, and one
// for each pattern. It keeps little more than the filter itself, and may be used by several goroutines at once.
type Matcher struct {
	all   bool
	exact []string // patterns without * and ?, in order
	wild  []string // the others, in order, as simplify makes them
	// shared is, for each of wild, how many of its first bytes it has in common with the one before it. What was
	// found out about those is not found out again.
	shared []uint8
}

// NewMatcher returns a Matcher for f.
func NewMatcher(f Filter) *Matcher {
	m := &Matcher{all: f.All()}
	for _, p := range f {
		if strings.ContainsAny(p, "*?") {
			m.wild = append(m.wild, simplify(p))
		} else {
			m.exact = append(m.exact, p)
		}
	}
	slices.Sort(m.exact)
	slices.Sort(m.wild)
	m.wild = slices.Compact(m.wild)
	m.shared = make([]uint8, len(m.wild))
	for i := 1; i < len(m.wild); i++ {
		m.shared[i] = uint8(commonPrefix(m.wild[i-1], m.wild[i]))
	}
	return m
}

// simplify returns pattern with each run of * and ? in one form: all of its ?, then at most one *.
func simplify(pattern string) string {
	simple := make([]byte, 0, maxPattern)
	for i := 0; i < len(pattern); {
		star := false
		for ; i < len(pattern) && (pattern[i] == '*' || pattern[i] == '?'); i++ {
			if pattern[i] == '?' {
				simple = append(simple, '?')
			}
			star = star || pattern[i] == '*'
		}
		if star {
			simple = append(simple, '*')
		}
		if i < len(pattern) {
			simple = append(simple, pattern[i])
			i++
		}
	}
	if string(simple) == pattern {
		return pattern // which others may share
	}
	return string(simple)
}

// maxPattern is the length of the longest pattern, in bytes.
const maxPattern = feed.MaxText + 1 + feed.MaxText

func commonPrefix(a, b string) int {
	n := 0
	for n < len(a) && n < len(b) && a[n] == b[n] {
		n++
	}
	return n
}

// Match reports whether the filter wants instrument d.
func (m *Matcher) Match(d *feed.Definition) bool {
	wanted, _ := m.Count(d)
	return wanted
}

// Count is Match, and returns how many steps it took: each looks at a byte of a pattern, or passes over a pattern.
func (m *Matcher) Count(d *feed.Definition) (wanted bool, steps int) {
	if m.all || m.matchExact(d) {
		return true, 0
	}
	if len(m.wild) == 0 {
		return false, 0
	}
	return m.matchWild(d)
}

func (m *Matcher) matchExact(d *feed.Definition) bool {
	if len(m.exact) == 0 || strings.Contains(d.Symbol, "@") { // the first @ of a pattern begins the venue
		return false
	}
	if _, found := slices.BinarySearch(m.exact, d.Symbol); found {
		return true
	}
	var room [maxPattern]byte
	name := append(append(append(room[:0], d.Symbol...), '@'), d.Venue...)
	_, found := slices.BinarySearchFunc(m.exact, name, func(p string, name []byte) int { return strings.Compare(p, string(name)) })
	return found
}

// A reach says which first parts of a text the first bytes of a pattern match: bit i of parts stands for the first i
// bytes of the text, all of it excepted, and whole for all of it.
type reach struct {
	parts uint64
	whole bool
}

// places says where in a text, which has at most 64 bytes, each byte stands and each character begins: bit i is for byte i.
type places struct {
	bytes [256]uint64
	chars [utf8.UTFMax]uint64 // chars[n] is of the characters of n+1 bytes
}

func (p *places) of(text string) {
	for i := range len(text) {
		p.bytes[text[i]] |= 1 << i
	}
	for i := 0; i < len(text); {
		n := runeLen(text[i:])
		p.chars[n-1] |= 1 << i
		i += n
	}
}

// start is the reach of an empty pattern.
func start(text string) reach { return reach{parts: min(uint64(len(text)), 1), whole: text == ""} }

// byte is the reach of one more byte of text, which stands at places; length is that of the text.
func (r reach) byte(places uint64, length int) reach {
	if length == 0 {
		return reach{}
	}
	hit := r.parts & places
	return reach{parts: hit << 1 & (1<<length - 1), whole: hit>>(length-1)&1 != 0}
}

// char is the reach of any one character more, of a text of length bytes.
func (r reach) char(p *places, length int) (more reach) {
	for i, begins := range p.chars {
		n := i + 1
		if hit := r.parts & begins; hit != 0 {
			more.parts |= hit << n & (1<<length - 1)
			more.whole = more.whole || hit>>(length-n)&1 != 0
		}
	}
	return more
}

// star is the reach of any run of bytes more.
func (r reach) star(length int) reach {
	if r.parts == 0 {
		return r
	}
	return reach{parts: -(r.parts & -r.parts) & (1<<length - 1), whole: true}
}

// matchWild goes through the patterns with * or ?. Each of them goes on from the last byte that it shares with the one
// before it; one that shares a byte at which that one could match no more cannot match either.
func (m *Matcher) matchWild(d *feed.Definition) (wanted bool, steps int) {
	var symbol, venue places
	symbol.of(d.Symbol)
	venue.of(d.Venue)
	var (
		after [maxPattern + 1]reach // the first n bytes of the pattern
		valid = 0                   // after is of the present pattern up to here, and what lies there can match
		at    = maxPattern          // the first @ of the present pattern, if after knows it
	)
	after[0] = start(d.Symbol)
	for i, p := range m.wild {
		steps++
		shared := int(m.shared[i])
		if i > 0 && shared > valid {
			continue // it shares a byte that cannot match
		}
		if at >= shared {
			at = maxPattern
		}
		text, length := &symbol, len(d.Symbol)
		if at < shared {
			text, length = &venue, len(d.Venue)
		}
		n := shared
		for ; n < len(p); n++ {
			steps++
			r := after[n]
			switch {
			case p[n] == '@' && at == maxPattern:
				at, text, length = n, &venue, len(d.Venue)
				if r = (reach{}); after[n].whole {
					r = start(d.Venue)
				}
			case p[n] == '*':
				r = r.star(length)
			case p[n] == '?':
				r = r.char(text, length)
			default:
				r = r.byte(text.bytes[p[n]], length)
			}
			if r == (reach{}) {
				break
			}
			after[n+1] = r
		}
		if valid = n; n == len(p) && after[n].whole {
			return true, steps
		}
	}
	return false, steps
}
