package main

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tickfeed/cmd/audit"
	"tickfeed/feed"
)

// The auditor finds each kind of wrong account.
func TestAuditorFindsEachWrongAccount(t *testing.T) {
	const a, b = feed.SessionID(0xa), feed.SessionID(0xb)
	lineage := feed.Lineage{{ID: a, First: 1}, {ID: b, First: 3}}
	tick := func(seq uint64) feed.Tick {
		t := feed.Quote{Bid: int64(seq)}.Tick(0, 1)
		t.Seq = seq
		return t
	}
	deliver := func(x *auditor, who int, session feed.SessionID, seqs ...uint64) {
		for _, s := range seqs {
			x.ticks(who, "reader", session, noon+int64(s), false, []feed.Tick{tick(s)}, []bool{s%2 == 0})
		}
	}
	for _, c := range []struct {
		name string
		do   func(x *auditor)
		must rule
		want string // a part of the problem; empty for none
	}{
		{"everything", func(x *auditor) { deliver(x, 0, a, 1, 2); deliver(x, 0, b, 3, 4) }, everything, ""},
		{"one is missing", func(x *auditor) { deliver(x, 0, a, 1); deliver(x, 0, b, 3, 4) }, everything, "number 2 of session 000000000000000a is unaccounted"},
		{"one came twice", func(x *auditor) { deliver(x, 0, a, 1, 2, 2); deliver(x, 0, b, 3, 4) }, everything, "was delivered, and was delivered before"},
		{"under another session", func(x *auditor) { deliver(x, 0, a, 1, 2, 3); deliver(x, 0, b, 4) }, everything, "number 3 of session 000000000000000b is unaccounted"},
		{"another tick", func(x *auditor) {
			deliver(x, 0, a, 1, 2)
			deliver(x, 0, b, 3, 4)
			other := feed.Quote{Bid: 9}.Tick(0, 1)
			other.Seq = 4
			x.ticks(1, "reader", b, noon+4, false, []feed.Tick{other}, nil)
		}, everything, "number 4 of session 000000000000000b differs from the tick that was received before"},
		{"withheld where nothing may be", func(x *auditor) {
			deliver(x, 0, a, 1, 2)
			x.reported(0, "reader", b, feed.Range{From: 3, To: 5}, audit.Withheld)
		}, everything, "is withheld"},
		{"withheld where that may be", func(x *auditor) {
			deliver(x, 0, a, 1, 2)
			x.reported(0, "reader", b, feed.Range{From: 3, To: 5}, audit.Withheld)
		}, skipping, ""},
		{"withheld and delivered", func(x *auditor) {
			deliver(x, 0, a, 1, 2)
			x.reported(0, "reader", b, feed.Range{From: 3, To: 5}, audit.Withheld)
			deliver(x, 0, b, 4)
		}, skipping, "was delivered, and was withheld before"},
		{"another publish time", func(x *auditor) {
			deliver(x, 0, a, 1, 2)
			deliver(x, 0, b, 3, 4)
			x.ticks(1, "reader", b, noon+5, false, []feed.Tick{tick(4)}, nil)
		}, everything, "number 4 of session 000000000000000b has publish time 1772461800000000005"},
		{"a filtered line's publish time may be 1 ms late", func(x *auditor) {
			x.ticks(1, "some", a, noon+1+mergeTime, true, []feed.Tick{tick(1)}, nil)
			deliver(x, 0, a, 1, 2)
			deliver(x, 0, b, 3, 4)
			x.ticks(1, "some", b, noon+4+mergeTime, true, []feed.Tick{tick(4)}, nil)
		}, everything, ""},
		{"a filtered line's publish time is later than that", func(x *auditor) {
			deliver(x, 0, a, 1, 2)
			x.ticks(1, "some", a, noon+2+mergeTime+1, true, []feed.Tick{tick(2)}, nil)
			deliver(x, 0, b, 3, 4)
		}, everything, "has publish time"},
		{"a filtered line's publish time is before it", func(x *auditor) {
			x.ticks(1, "some", a, noon+1, true, []feed.Tick{tick(2)}, nil)
			deliver(x, 0, a, 1, 2)
			deliver(x, 0, b, 3, 4)
		}, everything, "has publish time"},
		{"lost", func(x *auditor) {
			deliver(x, 0, a, 1, 2)
			x.reported(0, "reader", b, feed.Range{From: 3, To: 5}, audit.Lost)
		}, skipping, "is lost"},
	} {
		t.Run(c.name, func(t *testing.T) {
			x := new(auditor)
			c.do(x)
			x.close(0, "reader", lineage, 5, c.must)
			if c.want == "" {
				assert.Empty(t, x.problems)
				return
			}
			require.NotEmpty(t, x.problems)
			assert.Contains(t, x.problems[0], c.want)
		})
	}

	t.Run("filtered", func(t *testing.T) {
		x := new(auditor)
		deliver(x, 0, a, 1, 2)
		deliver(x, 0, b, 3, 4)
		x.ticks(1, "some", a, noon+2, true, []feed.Tick{tick(2)}, nil)
		x.close(1, "some", lineage, 5, filtered)
		require.Len(t, x.problems, 1)
		assert.Contains(t, x.problems[0], "number 4 of session 000000000000000b is unaccounted")
		x.problems = nil
		x.ticks(1, "some", b, noon+4, true, []feed.Tick{tick(4), tick(3)}, nil)
		x.close(1, "some", lineage, 5, filtered)
		require.Len(t, x.problems, 1, "3 is not wanted")
		assert.Contains(t, x.problems[0], "number 3 of session 000000000000000b is delivered")
	})

	t.Run("ledger", func(t *testing.T) {
		x := new(auditor)
		deliver(x, 0, a, 1, 2)
		var l feed.Ledger
		l.Deliver(a, feed.Range{From: 1, To: 3})
		x.compare(0, "reader", &l)
		require.Empty(t, x.problems)
		l.Lose(b, feed.Range{From: 3, To: 4})
		x.compare(0, "reader", &l)
		require.Len(t, x.problems, 1)
		assert.Contains(t, x.problems[0], "by the ledger, number 3 of session 000000000000000b was lost, it was unaccounted")
	})
}

func TestOrderCountsRepeatedTicks(t *testing.T) {
	var o order
	o.check(1, []feed.Tick{{Seq: 1}, {Seq: 2}})
	o.check(2, []feed.Tick{{Seq: 2}, {Seq: 3}})
	assert.Zero(t, o.repeated)
	o.check(1, []feed.Tick{{Seq: 2}})
	o.check(2, []feed.Tick{{Seq: 5}, {Seq: 4}})
	assert.Equal(t, uint64(2), o.repeated)
}
