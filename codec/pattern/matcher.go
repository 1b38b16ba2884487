package pattern

import (
	"slices"
	"strings"
	"unicode/utf8"

	"tickfeed/feed"
)

// A Matcher matches many instruments against many patterns, in bounded time for each: a binary search finds patterns without * and
// ?, and the other patterns take at most one step per byte and one per pattern. It needs little more memory than the patterns.
// It is safe for concurrent use.
type Matcher struct {
	all   bool
	exact []string // patterns without * and ?, sorted
	wild  []string // the other patterns, simplified and sorted
	// shared is, for each pattern of wild, the length of the prefix that it shares with the pattern before it. The result
	// for that prefix is reused.
	shared []uint8
}

// NewMatcher returns a Matcher for patterns, which must be valid. Without patterns it matches every instrument.
func NewMatcher(patterns []string) *Matcher {
	m := &Matcher{all: len(patterns) == 0}
	for _, p := range patterns {
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

// simplify returns pattern with each run of * and ? replaced by the ?s of the run, followed by one * if the run has any.
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
		return pattern // shares memory with the patterns
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

// Match reports whether any of the patterns matches instrument d.
func (m *Matcher) Match(d *feed.Definition) bool {
	wanted, _ := m.Count(d)
	return wanted
}

// Count is Match, and also returns the number of steps: a step looks at one byte of a pattern, or begins a pattern.
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

// A reach is the set of prefixes of a text that the first bytes of a pattern match: bit i of parts stands for the first i
// bytes of the text, and whole for the whole text.
type reach struct {
	parts uint64
	whole bool
}

// places holds, for each byte value, the places where it occurs in a text, and for each length where characters of that length
// begin: bit i for byte i. A text has at most 64 bytes.
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

// start returns the reach of an empty pattern.
func start(text string) reach { return reach{parts: min(uint64(len(text)), 1), whole: text == ""} }

// byte returns the reach after one more byte, which occurs at places in a text of the given length.
func (r reach) byte(places uint64, length int) reach {
	if length == 0 {
		return reach{}
	}
	hit := r.parts & places
	return reach{parts: hit << 1 & (1<<length - 1), whole: hit>>(length-1)&1 != 0}
}

// char returns the reach after any one character, in a text of length bytes.
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

// star returns the reach after any run of bytes.
func (r reach) star(length int) reach {
	if r.parts == 0 {
		return r
	}
	return reach{parts: -(r.parts & -r.parts) & (1<<length - 1), whole: true}
}

// matchWild tries the patterns with * or ?. Each pattern continues after the prefix that it shares with the pattern before it.
// If the earlier pattern failed within that prefix, this one cannot match either.
func (m *Matcher) matchWild(d *feed.Definition) (wanted bool, steps int) {
	var symbol, venue places
	symbol.of(d.Symbol)
	venue.of(d.Venue)
	var (
		after [maxPattern + 1]reach // after[n] is the reach of the first n bytes of the current pattern
		valid = 0                   // after is set, and not empty, up to after[valid]
		at    = maxPattern          // the index of the first @ of the current pattern, if after includes it
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
