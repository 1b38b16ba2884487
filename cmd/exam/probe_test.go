package exam

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tickfeed/codec"
	"tickfeed/feed"
)

// newBook returns the book of a publisher that was given n ticks.
func newBook(n int) *book {
	s := new(supply)
	s.lines(n)
	return &book{supply: s, sessions: make(map[feed.SessionID]map[uint64]bookEntry), runs: map[feed.SessionID]int{1: 0}}
}

// put adds tick i of the supply as a number of session 1.
func (b *book) put(seq uint64, i int, publish int64, full bool) string {
	x := b.supply.ticks[i]
	x.tick.Seq = seq
	_, text := b.add(1, &x.tick, x.name, publish, full)
	return text
}

// The book finds contradictions between what was given to a publisher and what it sent, and between what it sent on different lines.
func TestBookFindsContradictions(t *testing.T) {
	for _, test := range []struct {
		name  string
		sends func(b *book) string
		fault string // "" for none
	}{
		{"everything, once", func(b *book) string {
			return b.put(1, 0, 5, true) + b.put(2, 1, 5, true) + b.put(3, 2, 6, true)
		}, ""},
		{"the same on two lines", func(b *book) string {
			return b.put(1, 0, 5, true) + b.put(1, 0, 5, true) + b.put(1, 0, 6, false) + b.put(2, 1, 6, true)
		}, ""},
		{"another tick under a number", func(b *book) string { return b.put(1, 0, 5, true) + b.put(1, 1, 5, true) }, "no number is ever given to two ticks"},
		{"another publish time", func(b *book) string { return b.put(1, 0, 5, true) + b.put(1, 0, 6, true) }, "had publish time 5 before, and has 6 now"},
		{"an earlier publish time on a filtered line", func(b *book) string { return b.put(1, 0, 5, true) + b.put(1, 0, 4, false) }, "earlier than 5 on the full line"},
		{"a tick that was not given", func(b *book) string {
			_, text := b.add(1, &feed.Tick{Seq: 1, Kind: feed.KindQuote, EventTime: 7}, "AAPL@XNAS", 5, true)
			return text
		}, "was not given to the publisher"},
		{"another price", func(b *book) string {
			x := b.supply.ticks[1].tick
			x.Seq, x.Values[0] = 2, x.Values[0]+1
			_, text := b.add(1, &x, b.supply.ticks[1].name, 5, true)
			return text
		}, "the publisher was given a trade of AMZN@XNAS"},
		{"another instrument", func(b *book) string {
			x := b.supply.ticks[1].tick
			_, text := b.add(1, &x, "AAPL@XNAS", 5, true)
			return text
		}, "the publisher was given a trade of AMZN@XNAS"},
		{"one is missing", func(b *book) string { return b.put(1, 0, 5, true) + b.put(2, 2, 5, true) }, "tick 2 is missing"},
		{"one is missing at the start", func(b *book) string { return b.put(1, 1, 5, true) }, "tick 1 is missing"},
		{"two are swapped", func(b *book) string { return b.put(1, 0, 5, true) + b.put(2, 2, 5, true) + b.put(3, 1, 5, true) }, "tick 2 is missing"},
		{"one under two numbers", func(b *book) string { return b.put(1, 0, 5, true) + b.put(2, 1, 5, true) + b.put(3, 1, 5, true) }, "are the same tick"},
		{"a definition with another exponent", func(b *book) string {
			d := supplyNames[0]
			d.PriceExponent--
			_, text := b.add(1, &feed.Tick{Seq: 1, Kind: feed.KindDefinition, Extra: &feed.Extra{Definition: &d}}, d.Name(), 5, true)
			return text
		}, "the publisher was given {Symbol:AAPL"},
		{"a number that is skipped, though asked for", func(b *book) string {
			b.skips = append(b.skips, bookSkip{"connection 1", 1, feed.Range{From: 1, To: 3}, codec.Filter{"AM*"}})
			return b.put(1, 0, 5, true) + b.put(2, 1, 5, true)
		}, "number 2 is of AMZN@XNAS"},
		{"numbers that are skipped, and not asked for", func(b *book) string {
			b.skips = append(b.skips, bookSkip{"connection 1", 1, feed.Range{From: 1, To: 2}, codec.Filter{"AM*"}})
			return b.put(1, 0, 5, true) + b.put(2, 1, 5, true)
		}, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			b := newBook(3)
			text := test.sends(b)
			if text == "" {
				text = b.settle()
			}
			if test.fault == "" {
				assert.Empty(t, text)
				return
			}
			assert.Contains(t, text, test.fault)
		})
	}
}

// A snapshot is compared with the state that the ticks before it fold into, and the first difference is named.
func TestBookStates(t *testing.T) {
	b := newBook(0)
	state := feed.NewState()
	put := func(tick feed.Tick) {
		require.NoError(t, state.Apply(&tick))
		b.sessions[1] = map[uint64]bookEntry{}
	}
	define := feed.Tick{Seq: 1, Kind: feed.KindDefinition, Extra: &feed.Extra{Definition: &supplyNames[0]}}
	quote := feed.Quote{Bid: 1, BidSize: 2, Ask: 3, AskSize: 4}.Tick(0, 9)
	quote.Seq = 2
	put(define)
	put(quote)
	b.sessions[1] = map[uint64]bookEntry{1: {tick: define, name: "AAPL@XNAS"}, 2: {tick: quote, name: "AAPL@XNAS"}}
	lineage := feed.Lineage{{ID: 1, First: 1}}
	b.snapshots = []bookSnapshot{{"connection 1", lineage, 3, codec.ScopeAll, nil, state.Clone()}}
	assert.Empty(t, b.states())
	b.snapshots[0].filter = codec.Filter{"MSFT"}
	assert.Contains(t, b.states(), "AAPL@XNAS is in it, and should not be")
	b.snapshots[0].filter, b.snapshots[0].state = nil, feed.NewState()
	assert.Contains(t, b.states(), "AAPL@XNAS is not in it")
	late := quote
	late.EventTime++
	require.NoError(t, state.Apply(&late))
	b.snapshots[0].state = state
	assert.Contains(t, b.states(), "the time of the quote of AAPL@XNAS is 10, want 9")
	b.snapshots[0].seq = 9 // not all of its ticks are known
	assert.Empty(t, b.states())
}

// A publisher that does not start, ends by itself, or does not listen fails its case with a sentence that says so.
func TestProbeFindsDeadPublishers(t *testing.T) {
	c, err := Select(PublisherCases(), []string{"welcome-fields"})
	require.NoError(t, err)
	for name, test := range map[string]struct {
		program Program
		fault   string
	}{
		"cannot be started": {programFunc(func() (Process, error) { return nil, errors.New("no such file") }), "no such file"},
		"ends by itself": {programFunc(func() (Process, error) {
			p := &deadProcess{Output: NewOutput()}
			p.End(errors.New("exit status 3"))
			return p, nil
		}), "has ended by itself before it accepted a connection"},
		"does not listen": {programFunc(func() (Process, error) { return &deadProcess{Output: NewOutput()}, nil }), "accepts no connection on 127.0.0.1:"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			x := Exam{Program: test.program, Dir: t.TempDir()}
			ctx, cancel := context.WithTimeoutCause(t.Context(), 300*time.Millisecond, errLimit)
			defer cancel()
			v := x.Run(ctx, c[0])
			require.NotNil(t, v.Fault)
			assert.Contains(t, v.Fault.Text, test.fault)
			assert.Equal(t, strings.HasPrefix(test.fault, "accepts"), v.Late)
		})
	}
}

type programFunc func() (Process, error)

func (f programFunc) Start(context.Context, Orders) (Process, error) { return f() }

// An address that one examination has chosen is not given to another, until a publisher listens there.
func TestAddressIsHeld(t *testing.T) {
	var addr string
	var hold io.Closer
	var err error
	port := firstPort
	for ; port < firstPort+ports; port++ { // others may have the first ones
		if addr, hold, err = freeAddr(port, 1); err == nil {
			break
		}
	}
	require.NoError(t, err)
	_, _, err = freeAddr(port, 1)
	assert.ErrorContains(t, err, "no free port", "while it is held")
	ln, err := net.Listen("tcp", addr) // as a publisher does
	require.NoError(t, err)
	require.NoError(t, hold.Close())
	_, _, err = freeAddr(port, 1)
	assert.ErrorContains(t, err, "no free port", "while a publisher listens")
	require.NoError(t, ln.Close())
}

// A deadProcess does nothing until it is killed.
type deadProcess struct{ *Output }

func (p *deadProcess) Stop() { p.Kill() }
func (p *deadProcess) Kill() {
	select {
	case <-p.Done():
	default:
		p.End(nil)
	}
}
func (p *deadProcess) Said() string { return "" }
