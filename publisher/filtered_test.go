package publisher_test

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tickfeed/codec"
	"tickfeed/feed"
	"tickfeed/publisher"
)

// A filtered line has the ticks asked for and skips the others. An idle line advances with the heartbeat, and the
// filter can be changed while the connection is open (PROTOCOL.md, "Filters").
func TestFilterSkipsTheOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := start(t, publisher.Config{Seed: 1})
		w.quotes(30)
		c := w.join(codec.Hello{Filter: codec.Filter{"B*"}, Start: codec.Start{Kind: codec.StartBeginning}})
		c.until(34)
		assert.Equal(t, []uint64{3, 6, 9, 12, 15, 18, 21, 24, 27, 30, 33}, c.seqs())
		assert.Equal(t, uint64(33-11), c.skipped)

		require.NoError(t, w.pub.Publish(t.Context(), []feed.Tick{
			feed.Trade{Price: 1, Size: 1}.Tick(w.ids[0], noon), feed.Trade{Price: 1, Size: 1}.Tick(w.ids[0], noon),
		}))
		c.until(36)
		assert.Len(t, c.ticks, 11, "an idle line advances without ticks")

		id, err := w.pub.Define(t.Context(), feed.Definition{Symbol: "B1"})
		require.NoError(t, err)
		require.NoError(t, w.pub.Publish(t.Context(), []feed.Tick{feed.Trade{Price: 1, Size: 1}.Tick(id, noon)}))
		c.until(38)
		assert.Equal(t, []uint64{36, 37}, c.seqs()[11:], "an instrument defined later")

		c.send(&codec.Subscribe{Request: 7, Filter: codec.Filter{"A1", "B*"}})
		for len(c.events) < 2 {
			require.NoError(t, c.step())
		}
		assert.Equal(t, []string{"subscribed 7", "snapshot 38 scope 2"}, c.events)
		in, ok := c.state.Instrument(w.ids[1])
		require.True(t, ok)
		assert.Equal(t, int64(128), in.Quote.Bid)
		w.quotes(3)
		c.until(41)
		assert.Equal(t, []uint64{39, 40}, c.seqs()[13:])

		many := codec.Filter{"B*"}
		for i := range 1000 {
			many = append(many, fmt.Sprintf("NONE-OF-THESE-IS-THERE-%d", i)) // far longer than a hello may be
		}
		c.send(&codec.Subscribe{Request: 9, Filter: many})
		for len(c.events) < 4 {
			require.NoError(t, c.step())
		}
		c.events = c.events[:2]
		c.send(&codec.Subscribe{Request: 8})
		for len(c.events) < 4 {
			require.NoError(t, c.step())
		}
		w.quotes(3)
		c.until(44)
		assert.Equal(t, []uint64{41, 42, 43}, c.seqs()[15:])
	})
}

// Many filtered lines are served together, and lines with equal filters from the same bytes. Each gets exactly its
// own ticks, even if it joins late, reads late or changes its filter, or an instrument is defined meanwhile.
func TestFilteredTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := start(t, publisher.Config{Seed: 1})
		filters := []codec.Filter{{"A0"}, {"A1", "B*"}, {"A*"}, {"C*"}, {"*0"}, {"A0"}, {"A1", "B*"}, {"NONE"}}
		var (
			clients []*client
			asks    []codec.Filter
			symbols = map[feed.InstrumentID]string{}
			told    []string // by seq, the symbol
		)
		for i, s := range []string{"A0", "A1", "B0"} {
			symbols[w.ids[i]] = s
			told = append(told, s)
		}
		join := func(i int) {
			f := filters[i%len(filters)]
			clients = append(clients, w.join(codec.Hello{
				Filter: f, Start: codec.Start{Kind: codec.StartBeginning}, Heartbeat: 30 * time.Second,
			}))
			asks = append(asks, f)
		}
		for i := range 20 {
			join(i)
		}
		for round := range 60 {
			n := 1 + round*371%5000
			for i := range n {
				told = append(told, symbols[w.ids[i%len(w.ids)]])
			}
			w.quotes(n)
			if round%20 == 10 {
				symbol := fmt.Sprintf("C%d", round%30)
				id, err := w.pub.Define(t.Context(), feed.Definition{Symbol: symbol})
				require.NoError(t, err)
				symbols[id], w.ids, told = symbol, append(w.ids, id), append(told, symbol)
			}
			if round == 30 {
				join(0)
			}
			for i, c := range clients {
				if i%5 == 4 && round%25 != 0 {
					continue // it reads late
				}
				last := len(told)
				for last > 0 && !asks[i].Match(&feed.Definition{Symbol: told[last-1]}) {
					last--
				}
				c.until(uint64(last + 1))
			}
			synctest.Wait()
		}
		require.NoError(t, w.pub.Flush(t.Context()))
		for i, c := range clients {
			c.until(uint64(len(told) + 1))
			var want []uint64
			for seq, symbol := range told {
				if asks[i].Match(&feed.Definition{Symbol: symbol}) {
					want = append(want, uint64(seq+1))
				}
			}
			assert.Equal(t, want, c.seqs(), "client %d, which wants %v", i, asks[i])
			assert.Equal(t, uint64(len(told)), uint64(len(want))+c.skipped, "client %d accounts for every number", i)
		}
	})
}
