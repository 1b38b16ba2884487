package feed_test

import (
	"encoding/json"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tickfeed/feed"
)

const (
	sessionA feed.SessionID = 0xa
	sessionB feed.SessionID = 0xb
)

// The subscription of this ledger had everything: a late start, a filter, its own slowness, a loss, a fork into
// session B.
func story() *feed.Ledger {
	var l feed.Ledger
	l.NotAsked(sessionA, span(1, 100))
	l.Deliver(sessionA, span(100, 200))
	l.Deliver(sessionA, span(200, 300))
	l.Lose(sessionA, span(300, 310))
	l.DeliverFiltered(sessionA, span(310, 400), 30)
	l.DeliverFiltered(sessionA, span(400, 410), 0)
	l.Withhold(sessionA, span(410, 500))
	l.Deliver(sessionA, span(500, 520))
	l.Disown(sessionA, span(510, 1000))
	l.Deliver(sessionB, span(510, 600))
	return &l
}

// A ledger for people lists the numbers of each account, session by session.
func TestLedgerForPeople(t *testing.T) {
	l := story()
	assert.Equal(t, `session 000000000000000a
  delivered       210  [100, 300) [500, 510)
  filtered         30  [310, 410) 30 of 100
  not asked        70  in these
  not asked        99  [1, 100)
  withheld         90  [410, 500)
  lost             10  [300, 310)
  disowned         10  [510, 520)
session 000000000000000b
  delivered        90  [510, 600)
`, l.String())
	assert.Equal(t, feed.Totals{Delivered: 330, NotAsked: 169, Withheld: 90, Lost: 10, Disowned: 10}, l.Totals())
	assert.Equal(t, []feed.SessionID{sessionA, sessionB}, l.Sessions())
	assert.Equal(t, "nothing accounted for\n", new(feed.Ledger).String())

	var long feed.Ledger
	for seq := uint64(0); seq < 30; seq += 2 {
		long.Lose(sessionA, span(seq, seq+1))
	}
	assert.True(t, strings.HasSuffix(long.String(), "[22, 23) and 3 more\n"), long.String())
}

func TestLedgerJSON(t *testing.T) {
	b, err := json.Marshal(story())
	require.NoError(t, err)
	assert.JSONEq(t, `{"sessions":[
		{"session":"000000000000000a","delivered":[[100,300],[500,510]],"filtered":[[310,410,30]],
		 "withheld":[[410,500]],"not_asked":[[1,100]],"lost":[[300,310]],"disowned":[[510,520]]},
		{"session":"000000000000000b","delivered":[[510,600]]}]}`, string(b))
	var back feed.Ledger
	require.NoError(t, json.Unmarshal(b, &back))
	assert.True(t, story().Equal(&back))

	b, err = json.Marshal(new(feed.Ledger))
	require.NoError(t, err)
	assert.Equal(t, `{"sessions":[]}`, string(b))
}

// UnmarshalJSON refuses JSON that accounts for a number twice or names no session, and leaves the ledger
// unchanged.
func TestLedgerJSONRefuses(t *testing.T) {
	for _, c := range []struct{ name, json, want string }{
		{"no id", `{"sessions":[{"delivered":[[1,2]]}]}`, "ledger: account 0 names no session"},
		{"no hexadecimal id", `{"sessions":[{"session":"xyz"}]}`, `ledger: session id "xyz": want up to 16 hexadecimal digits`},
		{"an id twice", `{"sessions":[{"session":"0a","lost":[[1,2]]},{"session":"a","lost":[[2,3]]}]}`, "ledger: session 000000000000000a is listed twice"},
		{"an empty account", `{"sessions":[{"session":"a","lost":[]}]}`, "ledger: session 000000000000000a accounts for nothing"},
		{"two outcomes", `{"sessions":[{"session":"a","delivered":[[1,9]],"lost":[[3,5],[8,12]]}]}`, "ledger: session 000000000000000a: [3, 5) is both delivered and lost"},
		{"two outcomes, filtered", `{"sessions":[{"session":"a","filtered":[[1,9,3]],"disowned":[[8,12]]}]}`, "ledger: session 000000000000000a: [8, 9) is both filtered and disowned"},
		{"more delivered than there were", `{"sessions":[{"session":"a","filtered":[[1,9,9]]}]}`, "filtered span [1, 9) 9 of 8 "},
		{"spans that touch", `{"sessions":[{"session":"a","filtered":[[1,9,3],[9,10,1]]}]}`, "filtered span [9, 10) 1 of 1 "},
		{"a span of two numbers", `{"sessions":[{"session":"a","filtered":[[1,9]]}]}`, "filtered span [1,9]: want [from,to,delivered]"},
		{"expired, but not lost", `{"sessions":[{"session":"a","lost":[[1,5]],"expired":[[3,7]]}]}`, "ledger: session 000000000000000a: [5, 7) is expired, but not lost"},
		{"no ledger", `[]`, "ledger: json: cannot unmarshal array"},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := story()
			require.ErrorContains(t, json.Unmarshal([]byte(c.json), l), c.want)
			assert.True(t, l.Equal(story()))
		})
	}
}

// These are the outcomes of a number in the tests below, best first.
const (
	delivered = iota
	filtered
	withheld
	notAsked
	lost
	disowned
	unaccounted
)

// accountOf returns the outcome of each number in l.
func accountOf(t *testing.T, l *feed.Ledger, session feed.SessionID) (classes [universe]int) {
	t.Helper()
	require.NoError(t, l.Check())
	a := l.Account(session)
	for seq := range uint64(universe) {
		switch {
		case a.Delivered.Contains(seq):
			classes[seq] = delivered
		case slices.ContainsFunc(a.Filtered, func(s feed.Span) bool { return s.Contains(seq) }):
			classes[seq] = filtered
		case a.Withheld.Contains(seq):
			classes[seq] = withheld
		case a.NotAsked.Contains(seq):
			classes[seq] = notAsked
		case a.Lost.Contains(seq):
			classes[seq] = lost
		case a.Disowned.Contains(seq):
			classes[seq] = disowned
		default:
			classes[seq] = unaccounted
		}
	}
	return classes
}

// A ledger gives each number its best outcome, except that disowning is final until a better outcome comes; an
// array of outcomes does the same. Each call returns how many numbers came again, and the totals count every
// number once.
func TestLedgerAgreesWithAnArray(t *testing.T) {
	eachSeed(t, 200, func(t *testing.T, rng *rand.Rand) {
		var l feed.Ledger
		want := map[feed.SessionID]*[universe]int{}
		for _, s := range []feed.SessionID{sessionA, sessionB} {
			want[s] = new([universe]int)
			for seq := range want[s] {
				want[s][seq] = unaccounted
			}
		}
		var expired [2]bitmap
		for range 40 {
			s, r := sessionA+feed.SessionID(rng.IntN(2)), randomRange(rng)
			class := rng.IntN(unaccounted)
			var again uint64
			for seq := r.From; seq < r.To; seq++ {
				was := want[s][seq]
				if class == disowned && was < disowned || class != disowned && was != unaccounted {
					again++
				}
				switch {
				case class == disowned && was != unaccounted:
					want[s][seq] = disowned
				case class != disowned:
					want[s][seq] = min(was, class)
				}
			}
			var got uint64
			switch class {
			case delivered:
				got = l.Deliver(s, r)
			case filtered:
				got = l.DeliverFiltered(s, r, rng.Uint64N(r.Len()+1))
			case withheld:
				got = l.Withhold(s, r)
			case notAsked:
				got = l.NotAsked(s, r)
			case lost:
				if rng.IntN(2) == 0 {
					got = l.Lose(s, r)
					break
				}
				got = l.Expire(s, r)
				for seq := r.From; seq < r.To; seq++ {
					expired[s-sessionA][seq] = true
				}
			case disowned:
				got = l.Disown(s, r)
			}
			require.Equal(t, again, got, "class %d, %v", class, r)
			require.Equal(t, *want[s], accountOf(t, &l, s))
			for seq, class := range want[s] { // only lost numbers can be expired
				expired[s-sessionA][seq] = expired[s-sessionA][seq] && class == lost
			}
			requireSet(t, &expired[s-sessionA], l.Account(s).Expired)
			var gaps bitmap
			for seq, class := range want[s] {
				gaps[seq] = class == unaccounted
			}
			requireSet(t, &gaps, feed.NewRangeSet(l.Gaps(s, span(0, universe))...))
		}
		var accounted uint64
		for _, classes := range want {
			for _, class := range classes {
				if class != unaccounted {
					accounted++
				}
			}
		}
		sum := l.Totals()
		require.Equal(t, accounted, sum.Delivered+sum.NotAsked+sum.Withheld+sum.Lost+sum.Disowned)

		b, err := json.Marshal(&l)
		require.NoError(t, err)
		var back feed.Ledger
		require.NoError(t, json.Unmarshal(b, &back))
		require.True(t, l.Equal(&back))
		require.Equal(t, l.String(), back.String())
	})
}

func randomLedger(rng *rand.Rand) *feed.Ledger {
	var l feed.Ledger
	for range rng.IntN(12) {
		s, r := sessionA+feed.SessionID(rng.IntN(2)), randomRange(rng)
		switch rng.IntN(6) {
		case delivered:
			l.Deliver(s, r)
		case filtered:
			l.DeliverFiltered(s, r, rng.Uint64N(r.Len()+1))
		case withheld:
			l.Withhold(s, r)
		case notAsked:
			l.NotAsked(s, r)
		case lost:
			if rng.IntN(2) == 0 {
				l.Lose(s, r)
			} else {
				l.Expire(s, r)
			}
		case disowned:
			l.Disown(s, r)
		}
	}
	return &l
}

// Expired numbers are lost for a reason; they are counted once.
func TestLedgerExpired(t *testing.T) {
	var l feed.Ledger
	assert.Zero(t, l.Expire(sessionA, span(1, 41)))
	l.Lose(sessionA, span(41, 43))
	assert.Equal(t, uint64(2), l.Deliver(sessionA, span(39, 41)))
	assert.Equal(t, feed.Totals{Delivered: 2, Lost: 40, Expired: 38}, l.Totals())
	assert.Equal(t, `session 000000000000000a
  delivered         2  [39, 41)
  lost             40  [1, 39) [41, 43)
  expired          38  [1, 39)
`, l.String())
	b, err := json.Marshal(&l)
	require.NoError(t, err)
	assert.JSONEq(t, `{"sessions":[{"session":"000000000000000a","delivered":[[39,41]],"lost":[[1,39],[41,43]],"expired":[[1,39]]}]}`, string(b))
	assert.False(t, l.Equal(func() *feed.Ledger {
		var o feed.Ledger
		o.Deliver(sessionA, span(39, 41))
		o.Lose(sessionA, span(1, 39))
		o.Lose(sessionA, span(41, 43))
		return &o
	}()))
	assert.Equal(t, uint64(38), l.Disown(sessionA, span(1, 39)))
	assert.True(t, l.Account(sessionA).Expired.Empty())
}

// Merging keeps the better outcome of every number, in either order; merging a ledger with itself changes
// nothing, and the merged ledger is not changed.
func TestLedgerMerge(t *testing.T) {
	eachSeed(t, 500, func(t *testing.T, rng *rand.Rand) {
		a, b := randomLedger(rng), randomLedger(rng)
		ab, ba, aa := a.Clone(), b.Clone(), a.Clone()
		wasB := b.Clone()
		ab.Merge(b)
		ba.Merge(a)
		aa.Merge(a)
		require.True(t, ab.Equal(ba), "%v\n%v", ab, ba)
		require.True(t, aa.Equal(a), "%v\n%v", aa, a)
		for _, s := range []feed.SessionID{sessionA, sessionB} {
			x, y, m := accountOf(t, a, s), accountOf(t, b, s), accountOf(t, ab, s)
			for seq := range m {
				require.Equal(t, min(x[seq], y[seq]), m[seq], "number %d of\n%v\n%v", seq, a, b)
			}
		}
		ab.Deliver(sessionA, span(0, universe))
		ab.Disown(sessionB, span(0, universe))
		require.True(t, b.Equal(wasB))
	})
}

// Where filtered spans overlap, a cut divides the count by length, and the common part keeps the greater count.
func TestLedgerMergeFilteredSpans(t *testing.T) {
	type spans = []feed.Span
	for _, c := range []struct {
		name       string
		a, b, want spans
	}{
		{"apart", spans{{span(0, 4), 1}}, spans{{span(6, 8), 2}}, spans{{span(0, 4), 1}, {span(6, 8), 2}}},
		{"touching", spans{{span(0, 4), 1}}, spans{{span(4, 8), 2}}, spans{{span(0, 8), 3}}},
		{"the same", spans{{span(0, 4), 1}}, spans{{span(0, 4), 1}}, spans{{span(0, 4), 1}}},
		{"the same, one knows of more", spans{{span(0, 4), 1}}, spans{{span(0, 4), 3}}, spans{{span(0, 4), 3}}},
		{"overlapping", spans{{span(0, 10), 4}}, spans{{span(5, 15), 5}}, spans{{span(0, 15), 2 + 2 + 3}}},
		{"one within the other", spans{{span(0, 30), 9}}, spans{{span(10, 20), 10}}, spans{{span(0, 30), 3 + 10 + 3}}},
		{"greater than a product of 64 bits", spans{{span(0, 1<<63), 1 << 62}}, spans{{span(1<<62, 1<<63), 0}}, spans{{span(0, 1<<63), 1 << 62}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			var a, b feed.Ledger
			for _, s := range c.a {
				a.DeliverFiltered(sessionA, s.Range, s.Delivered)
			}
			for _, s := range c.b {
				b.DeliverFiltered(sessionA, s.Range, s.Delivered)
			}
			a.Merge(&b)
			assert.Equal(t, c.want, a.Account(sessionA).Filtered)
			assert.NoError(t, a.Check())
		})
	}
}

// A filtered span that is cut keeps its count's share; all of its disowned part is disowned.
func TestLedgerDisownCutsAFilteredSpan(t *testing.T) {
	var l feed.Ledger
	l.DeliverFiltered(sessionA, span(0, 100), 50)
	assert.Equal(t, uint64(25), l.Disown(sessionA, span(75, 120)))
	assert.Equal(t, []feed.Span{{Range: span(0, 75), Delivered: 37}}, l.Account(sessionA).Filtered)
	assert.Equal(t, feed.Totals{Delivered: 37, NotAsked: 38, Disowned: 25}, l.Totals())
	assert.Zero(t, l.Disown(sessionA, span(75, 120)), "a second time")
	assert.Zero(t, l.Disown(sessionB, span(0, 120)), "a session that nothing is known of")
	assert.Equal(t, []feed.SessionID{sessionA}, l.Sessions())
}

// Cuts keep counts possible and lose nothing, for any numbers.
func TestLedgerCutsAreExact(t *testing.T) {
	eachSeed(t, 300, func(t *testing.T, rng *rand.Rand) {
		random := func() uint64 { return rng.Uint64() >> rng.IntN(64) }
		from := random() / 2
		r := span(from, from+1+random()/2)
		n := random() % (r.Len() + 1)
		var l feed.Ledger
		l.DeliverFiltered(sessionA, r, n)
		at := r.From + random()%r.Len()
		l.Deliver(sessionA, span(at, at+1))
		require.NoError(t, l.Check())
		total := l.Totals()
		require.Equal(t, r.Len(), total.Delivered+total.NotAsked)
		require.GreaterOrEqual(t, total.Delivered+1, n)
		require.LessOrEqual(t, total.Delivered, n+1)
	})
}

// A packet at the end costs no memory, and neither does a filtered line that alternates forever.
func TestLedgerDeliverAllocatesNothing(t *testing.T) {
	var l feed.Ledger
	l.NotAsked(sessionA, span(1, 10))
	l.Deliver(sessionA, span(10, 11))
	l.DeliverFiltered(sessionB, span(1, 11), 3)
	seq := uint64(11)
	assert.Zero(t, testing.AllocsPerRun(1000, func() {
		if l.Deliver(sessionA, span(seq, seq+100)) != 0 || l.DeliverFiltered(sessionB, span(seq, seq+100), seq%7) != 0 {
			panic("delivered twice")
		}
		seq += 100
	}))
	assert.Len(t, l.Account(sessionA).Delivered.Ranges(), 1)
	assert.Len(t, l.Account(sessionB).Filtered, 1)
}

func TestLedgerIgnoresEmptyRanges(t *testing.T) {
	var l feed.Ledger
	l.Deliver(sessionA, span(5, 5))
	l.DeliverFiltered(sessionA, span(5, 4), 0)
	l.Lose(sessionA, feed.Range{})
	assert.Empty(t, l.Sessions())
	assert.Equal(t, feed.Account{Session: sessionA}, l.Account(sessionA))
	assert.Equal(t, []feed.Range{span(1, 3)}, l.Gaps(sessionA, span(1, 3)))
	assert.Panics(t, func() { l.DeliverFiltered(sessionA, span(1, 3), 3) }, "more delivered than there were")
}

// Accounts and clones are copies.
func TestLedgerHandsOutCopies(t *testing.T) {
	l := story()
	a := l.Account(sessionA)
	a.Delivered.Add(span(0, 1000))
	a.Filtered[0].Delivered = 0
	c := l.Clone()
	c.Deliver(sessionA, span(520, 530))
	c.DeliverFiltered(sessionB, span(600, 700), 3)
	assert.True(t, l.Equal(story()))
	assert.False(t, l.Equal(c))
	assert.False(t, c.Equal(new(feed.Ledger)))
}

// Equal compares accounts, not the order of sessions.
func TestLedgerEqual(t *testing.T) {
	var ab, ba, ac feed.Ledger
	ab.Deliver(sessionA, span(1, 3))
	ab.Deliver(sessionB, span(3, 4))
	ba.Deliver(sessionB, span(3, 4))
	ba.Deliver(sessionA, span(2, 3))
	ba.Deliver(sessionA, span(1, 2))
	ac.Deliver(sessionA, span(1, 3))
	ac.Deliver(0xc, span(3, 4))
	assert.True(t, ab.Equal(&ba))
	assert.False(t, ab.Equal(&ac))
}

// An account built by hand may contradict itself; Check names the numbers.
func TestAccountCheck(t *testing.T) {
	a := feed.Account{
		Session:   sessionA,
		Delivered: feed.NewRangeSet(span(1, 10)),
		NotAsked:  feed.NewRangeSet(span(8, 12)),
	}
	assert.EqualError(t, a.Check(), "session 000000000000000a: [8, 10) is both delivered and not asked")
	a.NotAsked = feed.NewRangeSet(span(10, math.MaxUint64))
	assert.NoError(t, a.Check())
}

// Any ledger that UnmarshalJSON accepts has no number twice and survives JSON in both directions.
func FuzzLedgerJSON(f *testing.F) {
	b, _ := json.Marshal(story())
	f.Add(b)
	f.Add([]byte(`{"sessions":[]}`))
	f.Add([]byte(`{"sessions":[{"session":"a","filtered":[[0,18446744073709551615,1]]}]}`))
	f.Add([]byte(`{"sessions":[{"session":"a","delivered":[[1,9]],"lost":[[3,5]]}]}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		var l feed.Ledger
		if json.Unmarshal(b, &l) != nil {
			return
		}
		require.NoError(t, l.Check())
		out, err := json.Marshal(&l)
		require.NoError(t, err)
		var back feed.Ledger
		require.NoError(t, json.Unmarshal(out, &back))
		require.True(t, l.Equal(&back))
		require.Equal(t, l.String(), back.String())
		back.Merge(&l)
		require.True(t, l.Equal(&back))
		for _, s := range l.Sessions() {
			l.Disown(s, span(3, 1<<40))
		}
		require.NoError(t, l.Check())
	})
}
