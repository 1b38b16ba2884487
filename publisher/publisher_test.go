package publisher_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"path/filepath"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tickfeed/codec"
	"tickfeed/codec/recording"
	"tickfeed/feed"
	"tickfeed/feed/script"
	"tickfeed/feed/sim"
	"tickfeed/publisher"
)

// If many goroutines publish at once, every tick gets a number of its own, and the ticks of each goroutine keep their
// order.
func TestConcurrentPublishers(t *testing.T) {
	w := start(t, publisher.Config{Seed: 1, Journal: filepath.Join(t.TempDir(), "j"), SegmentSize: 64 << 10})
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() {
			for i := range 2000 {
				tick := feed.Trade{Price: int64(g), Size: 1, ID: uint64(i + 1)}.Tick(w.ids[0], noon)
				assert.NoError(t, w.pub.Publish(context.Background(), []feed.Tick{tick}))
			}
		})
	}
	c := w.join(codec.Hello{Start: codec.Start{Kind: codec.StartBeginning}})
	c.until(8004)
	wg.Wait()
	c.consecutive(1, 8004)
	last := make([]uint64, 4)
	for _, tick := range c.ticks[3:] {
		g := tick.Trade().Price
		require.Equal(t, last[g]+1, tick.Trade().ID)
		last[g]++
	}
}

// An invalid tick is refused and gets no number.
func TestPublishRefuses(t *testing.T) {
	w := start(t, publisher.Config{Seed: 1})
	good := feed.Trade{Price: 1, Size: 1}.Tick(w.ids[0], noon)
	for name, bad := range map[string]feed.Tick{
		"a negative size":         feed.Trade{Price: 1, Size: -1}.Tick(w.ids[0], noon),
		"no kind":                 {},
		"an undefined instrument": feed.Trade{Price: 1, Size: 1}.Tick(77, noon),
		"a summary":               {Kind: feed.KindSummary, Extra: &feed.Extra{Summary: &feed.Summary{}}},
	} {
		before := w.pub.Stats().Head
		err := w.pub.Publish(context.Background(), []feed.Tick{good, bad, good})
		var partial *publisher.PublishError
		require.ErrorAs(t, err, &partial, name)
		assert.Equal(t, 1, partial.Published, name)
		assert.Equal(t, before+1, w.pub.Stats().Head, name)
	}
	require.NoError(t, w.pub.Flush(context.Background()))
}

// Ticks published a few at a time are sent unchanged and in order, whatever other calls come between them, and
// refused ticks get no number.
func TestFewAtATime(t *testing.T) {
	w := start(t, publisher.Config{Seed: 1})
	ctx := t.Context()
	r := rand.New(rand.NewPCG(1, 2))
	next := uint64(4)
	var want []feed.Tick
	one := func() feed.Tick {
		id, at := w.ids[r.IntN(len(w.ids))], noon+r.Int64N(1e9)
		switch r.IntN(40) {
		case 0:
			return feed.Level{Side: feed.SideBuy, Price: 3, Size: 4}.Tick(id, at)
		case 1:
			return feed.Quote{Bid: feed.NoPrice, Ask: 1 << 40}.Tick(id, at)
		case 2:
			return feed.Quote{Bid: 1 << 40, Ask: 1<<40 + 1}.Tick(id, noon-1<<50)
		case 3, 4, 5:
			return feed.Trade{Price: 7, Size: 8, ID: uint64(len(want)), Side: feed.SideSell}.Tick(id, at)
		}
		return feed.Quote{Bid: r.Int64N(1000), BidSize: 1, Ask: 2000, AskSize: 2}.Tick(id, at)
	}
	for len(want) < 30_000 {
		ticks := make([]feed.Tick, 1+r.IntN(12)*r.IntN(2))
		for i := range ticks {
			ticks[i] = one()
		}
		good := len(ticks)
		if r.IntN(20) == 0 {
			good = r.IntN(len(ticks))
			ticks[good] = []feed.Tick{
				feed.Quote{Bid: 1, BidSize: -1, Ask: 2}.Tick(w.ids[0], noon), feed.Quote{Bid: 1, Ask: 2}.Tick(1000, noon), {},
			}[r.IntN(3)]
		}
		err := w.pub.Publish(ctx, ticks)
		if good < len(ticks) {
			var partial *publisher.PublishError
			require.ErrorAs(t, err, &partial)
			require.Equal(t, good, partial.Published)
		} else {
			require.NoError(t, err)
		}
		for i := range ticks[:good] {
			ticks[i].Seq = next
			next++
		}
		want = append(want, ticks[:good]...)
		switch r.IntN(200) {
		case 0:
			require.Equal(t, next, w.pub.Stats().Head)
		case 1:
			_, seq := w.pub.State()
			require.Equal(t, next, seq)
		case 2:
			require.NoError(t, w.pub.Flush(ctx))
		case 3:
			require.NoError(t, (&publisher.Recorded{Publisher: w.pub}).Skip(ctx, 5, recording.SkipNotAsked, nil))
			next += 5
		case 4:
			d := feed.Definition{Symbol: fmt.Sprint("S", next)}
			id, err := w.pub.Define(ctx, d)
			require.NoError(t, err)
			w.ids = append(w.ids, id)
			want = append(want, feed.Tick{Seq: next, Kind: feed.KindDefinition, Instrument: id, Extra: &feed.Extra{Definition: &d}})
			next++
		}
	}
	for range 100 {
		tick := one()
		require.NoError(t, w.pub.Publish(ctx, []feed.Tick{tick}))
		tick.Seq = next
		want = append(want, tick)
		next++
	}
	require.NoError(t, w.pub.End(ctx))
	require.ErrorIs(t, w.pub.Publish(ctx, []feed.Tick{one()}), publisher.ErrEnded)
	c := w.join(codec.Hello{Start: codec.Start{Kind: codec.StartBeginning}})
	c.until(next)
	require.Len(t, c.ticks, 3+len(want))
	for i, got := range c.ticks[3:] {
		if got.Kind == feed.KindDefinition {
			got.EventTime = 0 // it has the event time of the tick before it
		}
		require.True(t, got.Equal(&want[i]), "%+v\n%+v", got, want[i])
		require.Equal(t, want[i].Seq, got.Seq)
	}
}

// Feed stops when its context ends, whatever the source does.
func TestFeedStops(t *testing.T) {
	w := start(t, publisher.Config{Seed: 1})
	market, err := sim.New(sim.Config{Instruments: 10})
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() {
		_, err := w.pub.Feed(ctx, market, publisher.Pace{})
		done <- err
	}()
	cancel()
	assert.ErrorIs(t, <-done, context.Canceled)
}

// A listSource yields ticks, then err.
type listSource struct {
	ticks []feed.Tick
	err   error
}

func (s *listSource) Next(_ context.Context, batch []feed.Tick) (int, error) {
	n := copy(batch, s.ticks)
	s.ticks = s.ticks[n:]
	if len(s.ticks) == 0 {
		return n, s.err
	}
	return n, nil
}

func (s *listSource) Close() error { return nil }

// A market in which nothing trades obeys a command when it is given, not when the day is over.
func TestFeedOfAHaltedMarketKeepsItsPace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := start(t, publisher.Config{Seed: 1})
		var happened []sim.Event
		market, err := sim.New(sim.Config{Instruments: 3, Rate: 10, Days: 1, DayLength: 10 * time.Minute, Commands: true, Happens: func(e sim.Event) { happened = append(happened, e) }})
		require.NoError(t, err)
		begun := time.Now()
		var fed sync.WaitGroup
		fed.Go(func() {
			_, err := w.pub.Feed(t.Context(), market, publisher.Pace{Speed: 10})
			assert.NoError(t, err)
		})
		for _, text := range []string{"halt *", "resume *"} {
			time.Sleep(5 * time.Second)
			r, err := script.ParseVerb("line", text, sim.Language)
			require.NoError(t, err)
			_, err = market.Do(r)
			require.NoError(t, err)
		}
		fed.Wait()
		require.Len(t, happened, 2)
		assert.InDelta(t, 50, time.Duration(happened[1].Time-happened[0].Time).Seconds(), 1)
		assert.InDelta(t, 60.1, time.Since(begun).Seconds(), 0.1)
	})
}

// Feed maps the instruments of a source to ids of the publisher, and keeps its pace on an absolute schedule.
func TestFeedKeepsAnAbsoluteSchedule(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := start(t, publisher.Config{Seed: 1})
		def := func(id int, symbol string) feed.Tick {
			return feed.Tick{Kind: feed.KindDefinition, Instrument: feed.InstrumentID(id), EventTime: noon,
				Extra: &feed.Extra{Definition: &feed.Definition{Symbol: symbol, PriceExponent: -2}}}
		}
		src := &listSource{err: io.EOF, ticks: []feed.Tick{def(0, "B0"), def(1, "C0")}}
		for i := range 1000 {
			src.ticks = append(src.ticks, feed.Trade{Price: 1, Size: 1}.Tick(feed.InstrumentID(i%2), noon+int64(i)*int64(time.Second)))
		}
		begun := time.Now()
		n, err := w.pub.Feed(t.Context(), src, publisher.Pace{Speed: 100})
		require.NoError(t, err)
		assert.Equal(t, uint64(1001), n, "B0 is known already, and gets no number")
		assert.InDelta(t, 9.99, time.Since(begun).Seconds(), 0.001)
		c := w.join(codec.Hello{Start: codec.Start{Kind: codec.StartBeginning}})
		c.until(1005)
		assert.Equal(t, []feed.InstrumentID{w.ids[2], 3, w.ids[2]}, []feed.InstrumentID{c.ticks[4].Instrument, c.ticks[5].Instrument, c.ticks[6].Instrument})

		broken := errors.New("line 7 is odd")
		_, err = w.pub.Feed(t.Context(), &listSource{err: broken, ticks: []feed.Tick{def(0, "B0")}}, publisher.Pace{Rate: 10})
		assert.ErrorIs(t, err, broken)
	})
}
