package publisher

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"sync"
	"time"

	"tickfeed/codec"
	"tickfeed/codec/pattern"
	"tickfeed/feed"
	"tickfeed/feed/words"
)

// A Login is how a client shows who it is.
type Login struct {
	Token       [sha256.Size]byte // SHA-256 of its token; zero if it sent none
	Certificate string            // the one name in its certificate, which TLS has verified; empty for none
}

// NewLogin returns the login of a client with the given token and certificate, each of which may be empty.
func NewLogin(token codec.Token, certificate string) Login {
	l := Login{Certificate: certificate}
	if token != "" {
		l.Token = sha256.Sum256([]byte(token))
	}
	return l
}

// A Depth is how much of the book a user may see.
type Depth uint8

// The depths.
const (
	DepthL2 Depth = iota // everything
	DepthL1              // everything except the levels of the book, and the ticks that clear it
)

var depthWords = words.List{What: "depth", Words: []string{"l2", "l1"}}

// String returns l2 or l1.
func (d Depth) String() string { return depthWords.Word(int(d)) }

// MarshalText writes the word that String returns.
func (d Depth) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText reads the word that String returns.
func (d *Depth) UnmarshalText(text []byte) error { return words.Parse(d, &depthWords, text) }

// NoHistory is a Permission.History that permits what is published from the login on.
const NoHistory time.Duration = -1

// A Permission is what a user may see, by any way: live ticks, ticks of the past, snapshots, definitions. It must not be changed
// once Config.Authorize has returned it.
type Permission struct {
	User        string             // name, for logs and statistics, and in messages to the user
	Allow       codec.Filter       // the instruments; empty for all
	Deny        codec.Filter       // those of them that the user may not see; empty for none
	Depth       Depth              // DepthL2 for everything
	History     time.Duration      // how old, by publish time, a tick may be at the login; 0 for any age, NoHistory for none of the past
	Policies    []codec.SlowPolicy // the slow-consumer policies that a client may choose; empty for all
	Connections int                // connections at the same time; 0 for any number

	once        sync.Once
	err         error
	allowed     codec.Filter     // the canonical form of Allow
	allow, deny *pattern.Matcher // nil for all, and for none
}

// errUnauthorized is why a client is refused that has no valid credentials.
var errUnauthorized = errors.New("the token or the certificate is missing or wrong")

// check completes p, and returns an error if it is invalid.
func (p *Permission) check() error {
	p.once.Do(func() {
		if p.allowed, p.err = codec.NewFilter(p.Allow); p.err != nil {
			p.err = fmt.Errorf("publisher: Permission of user %q: Allow: %w", p.User, p.err)
			return
		}
		if !p.allowed.All() {
			p.allow = pattern.NewMatcher(p.allowed)
		}
		if err := p.Deny.Validate(); err != nil {
			p.err = fmt.Errorf("publisher: Permission of user %q: Deny: %w", p.User, err)
			return
		}
		if len(p.Deny) > 0 {
			p.deny = pattern.NewMatcher(p.Deny)
		}
		switch {
		case p.Depth > DepthL1:
			p.err = fmt.Errorf("publisher: Permission of user %q: Depth must be DepthL1 or DepthL2, got %d", p.User, p.Depth)
		case p.History < NoHistory:
			p.err = fmt.Errorf("publisher: Permission of user %q: History must not be negative, got %v", p.User, p.History)
		case p.Connections < 0:
			p.err = fmt.Errorf("publisher: Permission of user %q: Connections must not be negative, got %d", p.User, p.Connections)
		}
	})
	return p.err
}

// whole reports whether p permits every tick of the present. A nil p does.
func (p *Permission) whole() bool {
	return p == nil || p.allow == nil && p.deny == nil && p.Depth == DepthL2
}

// sees reports whether p permits the ticks of instrument d.
func (p *Permission) sees(d *feed.Definition) bool {
	return p == nil || (p.allow == nil || p.allow.Match(d)) && (p.deny == nil || !p.deny.Match(d))
}

// shallow reports whether p permits no levels of the book.
func (p *Permission) shallow() bool { return p != nil && p.Depth == DepthL1 }

// sameView reports whether p and q permit the same ticks of the present.
func (p *Permission) sameView(q *Permission) bool {
	if p == q || p.whole() || q.whole() {
		return p == q || p.whole() && q.whole()
	}
	return p.Depth == q.Depth && slices.Equal(p.allowed, q.allowed) && slices.Equal(p.Deny, q.Deny)
}

// view names what p permits of the present: it is the same for permissions of the same view.
func (p *Permission) view() string {
	if p.whole() {
		return ""
	}
	return fmt.Sprintf("%d %q %q", p.Depth, p.allowed, p.Deny)
}

// A deniedError is why a client may not have what it asks for, or what it had.
type deniedError struct {
	code  codec.Code
	text  string
	retry bool // the client may have a part of it
}

func (e *deniedError) Error() string { return e.text }

func (p *Permission) denied(format string, args ...any) *deniedError {
	return &deniedError{code: codec.CodeDenied, text: fmt.Sprintf("user %s may not ", p.User) + fmt.Sprintf(format, args...)}
}

// permits returns an error if a client may not have the slow-consumer policy.
func (p *Permission) permits(policy codec.SlowPolicy) error {
	if p == nil || len(p.Policies) == 0 || slices.Contains(p.Policies, policy) {
		return nil
	}
	var names []string
	for _, x := range p.Policies {
		names = append(names, x.String())
	}
	return p.denied("choose the slow-consumer policy %v: choose %s", policy, strings.Join(names, " or "))
}

// A grant is what a client is given of the filter that it asks for.
type grant struct {
	filter codec.Filter // the line lies within it; empty for all
	// limited is set if the line is not everything that the client asked for, and limits says for people what it lacks.
	limited bool
	limits  string
	denied  codec.Filter // patterns that take more from filter; empty for none
}

// told returns what a welcome or subscribed message says of g.
func (g *grant) told() (filter *codec.Filter, limits string) {
	if !g.limited {
		return nil, ""
	}
	return &g.filter, g.limits
}

// Bounds of a grant.
const (
	maxMeets  = 1 << 12 // pairs of patterns with * or ? that are compared, one asked for and one permitted or denied
	maxPairs  = 1 << 18 // pairs of any patterns that are compared; above either, limits says what is missing
	maxLimits = 500     // characters of grant.limits
)

// everything is the filter of a line that is not full but has all instruments.
var everything = codec.Filter{"?*"}

// grant returns what a client that asks for filter is given, or an error if that is nothing. It looks at patterns only: the
// instruments need not be known.
func (p *Permission) grant(asked codec.Filter) (grant, error) {
	g := grant{filter: asked}
	if p.whole() {
		return g, nil
	}
	var lacks []string
	if p.allow != nil {
		some := true
		if g.filter, some = meet(asked, p.allowed); !some {
			return g, p.denied("see %s, only %s", patterns(asked), patterns(p.allowed))
		}
		if !within(asked, p.allowed) {
			g.limited, lacks = true, append(lacks, "more than "+patterns(p.allowed))
		}
	}
	if p.deny != nil {
		kept, denied := without(g.filter, p.Deny)
		switch {
		case kept == nil && asked.All():
			return g, p.denied("see any instrument")
		case kept == nil:
			return g, p.denied("see %s", patterns(asked))
		}
		if len(denied) > 0 {
			g.filter, g.denied, g.limited, lacks = kept, denied, true, append(lacks, patterns(denied))
		}
	}
	if p.shallow() {
		g.limited, lacks = true, append(lacks, "the levels of the book")
	}
	if !g.limited {
		return g, nil
	}
	if g.filter.All() {
		g.filter = everything
	}
	g.limits = "user " + p.User + " may not see " + strings.Join(lacks, ", nor ")
	if short := []rune(g.limits); len(short) > maxLimits {
		g.limits = string(short[:maxLimits]) + "…"
	}
	return g, nil
}

// comparable reports whether the patterns of f can be compared with those of g in a bounded time.
func comparable(f, g codec.Filter) bool {
	return len(f)*len(g) <= maxPairs && wild(f)*wild(g) <= maxMeets
}

func wild(f codec.Filter) (n int) {
	for _, p := range f {
		if strings.ContainsAny(p, "*?") {
			n++
		}
	}
	return n
}

// meet returns a filter that selects what both asked and allowed select, and nothing that asked does not. It returns false if
// that is nothing.
func meet(asked, allowed codec.Filter) (both codec.Filter, some bool) {
	switch {
	case asked.All():
		return allowed, true
	case !comparable(asked, allowed):
		return asked, true
	}
	for _, a := range asked {
		var met codec.Filter
		for _, b := range allowed {
			m, ok := pattern.Meet(a, b)
			if !ok || slices.ContainsFunc(met, func(o string) bool { return pattern.Within(m, o) }) {
				continue
			}
			met = slices.DeleteFunc(met, func(o string) bool { return pattern.Within(o, m) })
			met = append(met, m)
		}
		both = append(both, met...)
	}
	slices.Sort(both)
	if both = slices.Compact(both); len(both) > codec.MaxPatterns {
		return asked, true
	}
	return both, len(both) > 0
}

// within reports whether allowed selects everything that asked selects. It may return false if that is hard to see.
func within(asked, allowed codec.Filter) bool {
	return !asked.All() && comparable(asked, allowed) && !slices.ContainsFunc(asked, func(a string) bool {
		return !slices.ContainsFunc(allowed, func(b string) bool { return pattern.Within(a, b) })
	})
}

// without returns the patterns of f that deny does not take altogether, in an empty filter if f is all, and those of deny that
// take something. kept is nil if nothing of f is left.
func without(f, deny codec.Filter) (kept, taken codec.Filter) {
	if slices.Contains(deny, "*") {
		return nil, deny
	}
	if f.All() || !comparable(f, deny) {
		return append(codec.Filter{}, f...), deny
	}
	for _, p := range f {
		if !slices.ContainsFunc(deny, func(d string) bool { return pattern.Within(p, d) }) {
			kept = append(kept, p)
		}
	}
	for _, d := range deny {
		if slices.ContainsFunc(f, func(p string) bool { _, ok := pattern.Meet(p, d); return ok }) {
			taken = append(taken, d)
		}
	}
	return kept, taken
}

// mostNamed is how many patterns a text for people names.
const mostNamed = 10

// patterns returns f for people.
func patterns[F ~[]string](f F) string {
	switch {
	case len(f) == 0:
		return "everything"
	case len(f) > mostNamed:
		return fmt.Sprintf("%s and %d more", strings.Join(f[:mostNamed], ", "), len(f)-mostNamed)
	}
	return strings.Join(f, ", ")
}

// oldest returns the publish time of the oldest tick that a user who logs in now may see. It returns false if there is no limit.
func (p *Permission) oldest(now int64) (time int64, limited bool) {
	switch {
	case p == nil || p.History == 0:
		return 0, false
	case p.History == NoHistory:
		return now + 1, true
	}
	return now - int64(p.History), true
}

// withoutBook returns entries without those of the book.
func withoutBook(entries iter.Seq[feed.Tick]) iter.Seq[feed.Tick] {
	return func(yield func(feed.Tick) bool) {
		for t := range entries {
			if !isBook(t.Kind) && !yield(t) {
				return
			}
		}
	}
}

func isBook(k feed.Kind) bool { return k == feed.KindLevel || k == feed.KindClear }
