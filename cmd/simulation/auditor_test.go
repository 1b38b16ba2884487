package simulation

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tickfeed/feed"
)

const sessionA, sessionB = feed.SessionID(0xa), feed.SessionID(0xb)

// state knows two instruments, 0 and 1.
func state(t *testing.T) *feed.State {
	t.Helper()
	s := feed.NewState()
	for i := range 2 {
		def := feed.Tick{Kind: feed.KindDefinition, Instrument: feed.InstrumentID(i), Extra: &feed.Extra{Definition: &feed.Definition{Symbol: symbol(i)}}}
		require.NoError(t, s.Apply(&def))
	}
	return s
}

func quotes(from uint64, bids ...int64) []feed.Tick {
	var ticks []feed.Tick
	for i, bid := range bids {
		q := feed.Quote{Bid: bid, Ask: bid + 1}.Tick(0, 1000)
		q.Seq = from + uint64(i)
		ticks = append(ticks, q)
	}
	return ticks
}

// Two ticks under one number of a session are a contradiction, whichever reader reports the second one.
func TestAuditorFindsSecondValue(t *testing.T) {
	s := state(t)
	var a Auditor
	require.NoError(t, a.Received("one", sessionA, quotes(41, 100, 101), s))
	require.NoError(t, a.Received("two", sessionA, quotes(41, 100, 101), s), "the same again")
	require.NoError(t, a.Received("two", sessionB, quotes(41, 7), s), "another session")
	require.NoError(t, a.Publish(sessionA, 42, quotes(0, 101), s))
	for name, change := range map[string]func(*feed.Tick){
		"price":      func(t *feed.Tick) { t.Values[0]++ },
		"size":       func(t *feed.Tick) { t.Values[3] = 5 },
		"time":       func(t *feed.Tick) { t.EventTime++ },
		"instrument": func(t *feed.Tick) { t.Instrument = 1 },
		"kind":       func(t *feed.Tick) { t.Kind = feed.KindTrade },
		"flags":      func(t *feed.Tick) { t.Flags = feed.FlagMore },
		"extra":      func(t *feed.Tick) { t.Extra = &feed.Extra{TradeRef: "x"} },
	} {
		other := quotes(42, 101)
		change(&other[0])
		b := Auditor{}
		require.NoError(t, b.Received("one", sessionA, quotes(42, 101), s))
		assert.ErrorContains(t, b.Received("two", sessionA, other, s), "another tick", name)
		assert.Error(t, b.Err(), name)
	}
	require.NoError(t, a.Err())
}

// A number has one publish time for every reader. A line that receives several packets in one may read a time that is a little later.
func TestAuditorFindsPublishTimes(t *testing.T) {
	r := func(from, to uint64) feed.Range { return feed.Range{From: from, To: to} }
	var a Auditor
	require.NoError(t, a.Sealed("one", sessionA, r(41, 43), 1000, 0))
	require.NoError(t, a.Sealed("two", sessionA, r(41, 42), 1000, 0), "the same again")
	require.NoError(t, a.Sealed("two", sessionB, r(41, 42), 7, 0), "another session")
	require.NoError(t, a.Sealed("merged", sessionA, r(42, 43), 1100, 100))
	require.NoError(t, a.Sealed("merged", sessionA, r(50, 51), 9, 100), "of a number that nobody knows")
	require.NoError(t, a.Sealed("one", sessionA, r(50, 51), 2000, 0))
	require.NoError(t, a.Err())
	for name, sealed := range map[string]func(*Auditor) error{
		"later":              func(a *Auditor) error { return a.Sealed("two", sessionA, r(40, 42), 1001, 0) },
		"earlier":            func(a *Auditor) error { return a.Sealed("two", sessionA, r(42, 43), 999, 0) },
		"too late, merged":   func(a *Auditor) error { return a.Sealed("two", sessionA, r(42, 43), 1101, 100) },
		"earlier, merged":    func(a *Auditor) error { return a.Sealed("two", sessionA, r(42, 43), 999, 100) },
		"before it was made": func(a *Auditor) error { return a.Sealed("two", sessionA, r(60, 61), 2999, 0) },
	} {
		var a Auditor
		require.NoError(t, a.Sealed("one", sessionA, r(41, 43), 1000, 0))
		a.Since(sessionA, r(60, 61), 3000)
		assert.Error(t, sealed(&a), name)
		assert.Error(t, a.Err(), name)
	}
}

// The auditor knows of what instrument each published number is.
func TestAuditorKnowsSubjects(t *testing.T) {
	s := state(t)
	a := Auditor{Complete: true}
	define := feed.Tick{Kind: feed.KindDefinition, Instrument: 7, Extra: &feed.Extra{Definition: &feed.Definition{Symbol: "NEW"}}}
	require.NoError(t, a.Publish(sessionA, 41, append(quotes(0, 100), define), s))
	for seq, want := range map[uint64]string{40: "", 41: symbol(0), 42: "NEW", 43: ""} {
		got, known := a.Subject(sessionA, seq)
		assert.Equal(t, want, got, "%d", seq)
		assert.Equal(t, want != "", known, "%d", seq)
	}
}

// If the auditor knows every published tick, another tick is an invention.
func TestAuditorFindsInvention(t *testing.T) {
	s := state(t)
	a := Auditor{Complete: true}
	require.NoError(t, a.Publish(sessionA, 1, quotes(0, 100, 101), s))
	require.NoError(t, a.Received("one", sessionA, quotes(1, 100, 101), s))
	assert.ErrorContains(t, a.Received("one", sessionA, quotes(3, 102), s), "never published")

	a = Auditor{Complete: true}
	require.NoError(t, a.Publish(sessionA, 1, quotes(0, 100, 101), s))
	a.Forget(sessionA, feed.Range{From: 2, To: 3})
	assert.ErrorContains(t, a.Received("one", sessionA, quotes(1, 100, 101), s), "number 2 of session 000000000000000a was never published")
}

// A ledger must agree with the batches that the application received, for every number that the line has covered.
func TestWitnessJudgesLedger(t *testing.T) {
	r := func(from, to uint64) []feed.Range { return []feed.Range{{From: from, To: to}} }
	set := func(from, to uint64) feed.RangeSet { return feed.NewRangeSet(feed.Range{From: from, To: to}) }
	span := func(from, to, n uint64) []feed.Span {
		return []feed.Span{{Range: feed.Range{From: from, To: to}, Delivered: n}}
	}
	whole := story{owned: feed.Range{From: 1, To: 10}, delivered: r(1, 10)}
	for _, c := range []struct {
		name    string
		story   story
		account feed.Account
		want    string
	}{
		{"all delivered", whole, feed.Account{Delivered: set(1, 10)}, ""},
		{"a number in no account", whole, feed.Account{Delivered: set(1, 9)}, "[9, 10) is in no account"},
		{"a number in two accounts", whole, feed.Account{Delivered: set(1, 10), Lost: set(3, 4)}, "[3, 4) is lost and something else"},
		{"a span over what was delivered", whole, feed.Account{Delivered: set(1, 10), Filtered: span(9, 12, 1)}, "is filtered and something else"},
		{"delivered, says only the ledger", story{owned: whole.owned, delivered: r(1, 9)}, feed.Account{Delivered: set(1, 10)}, "[9, 10) is accounted for as delivered, and was not"},
		{"delivered, says only the application", whole, feed.Account{Delivered: set(1, 9), NotAsked: set(9, 10)}, "[9, 10) was delivered, and is accounted for otherwise"},
		{"filtered", story{owned: whole.owned, delivered: r(4, 6)}, feed.Account{Filtered: span(1, 10, 2)}, ""},
		{"filtered, miscounted", story{owned: whole.owned, delivered: r(4, 6)}, feed.Account{Filtered: span(1, 10, 3)}, "2 numbers were delivered of the span"},
		{"withheld without a word", story{owned: whole.owned, delivered: r(1, 9)}, feed.Account{Delivered: set(1, 9), Withheld: set(9, 10)}, "withheld, and was not reported so"},
		{"lost", story{owned: whole.owned, delivered: r(1, 9), lost: r(9, 10)}, feed.Account{Delivered: set(1, 9), Lost: set(9, 10)}, ""},
		{"reported as lost, not accounted so", story{owned: whole.owned, delivered: r(1, 9), lost: r(9, 10)}, feed.Account{Delivered: set(1, 9), NotAsked: set(9, 10)}, "was reported as lost"},
		{"disowned", story{owned: whole.owned, delivered: r(1, 9), disowned: r(9, 10)}, feed.Account{Delivered: set(1, 9), Disowned: set(9, 10)}, ""},
		{"disowned without a word", whole, feed.Account{Delivered: set(1, 10), Disowned: set(10, 11)}, "disowned, and was not reported so"},
	} {
		err := (&Witness{}).judge(&c.story, &c.account)
		if c.want == "" {
			assert.NoError(t, err, c.name)
		} else {
			assert.ErrorContains(t, err, c.want, c.name)
		}
	}
}

// The auditor's own sets of numbers agree with what they mean, number by number.
func TestRangesAreSetsOfNumbers(t *testing.T) {
	set := func(bits uint) (rs []feed.Range) {
		for i := range uint64(8) {
			if bits>>i&1 != 0 {
				rs = append(rs, feed.Range{From: i, To: i + 1})
			}
		}
		return rs
	}
	bits := func(rs []feed.Range) (b uint) {
		for i := range uint64(8) {
			if within(rs, i) {
				b |= 1 << i
			}
		}
		return b
	}
	for a := range uint(256) {
		for b := range uint(256) {
			x, y := set(a), set(b)
			if bits(union(x, y)) != a|b || bits(minus(x, y)) != a&^b || bits(intersect(x, y)) != a&b {
				t.Fatalf("%b and %b: union %b, minus %b, intersection %b", a, b, bits(union(x, y)), bits(minus(x, y)), bits(intersect(x, y)))
			}
		}
	}
	require.Equal(t, uint64(3), length(union(set(0b0110), set(0b1100))))
}
