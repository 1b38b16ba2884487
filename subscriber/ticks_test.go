package subscriber

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tickfeed/codec"
	"tickfeed/codec/netsim"
	"tickfeed/feed"
)

// Each tick of Ticks comes with the definition in force at it: also before another definition in the same packet, in a second
// loop, and after a snapshot that gives the id to another instrument.
func TestTicksHaveTheirDefinitions(t *testing.T) {
	define := func(symbol string, exponent int8) feed.Tick {
		d := feed.Definition{Symbol: symbol, PriceExponent: exponent}
		return feed.Tick{Kind: feed.KindDefinition, Extra: &feed.Extra{Definition: &d}}
	}
	inBubble(t, func(t *testing.T, network *netsim.Network, cfg Config) {
		stop := publish(network, "pub:1",
			func(p *peer) {
				p.send(message(welcomeA(1, 9, codec.StartedAsAsked)),
					packet(seedA(), 1, define("A", -2), quote(0, 125), define("A", -3), quote(0, 1250)), ticksA(5, 6))
			},
			func(p *peer) {
				state := func(seq uint64, entry feed.Tick) []byte {
					raw, err := codec.AppendSnapshot(nil, &codec.SnapshotBegin{Seq: seq}, entriesOf(entry), seedA())
					if err != nil {
						panic(err)
					}
					return raw
				}
				p.send(message(welcomeA(5, 9, codec.StartedResumed)), state(5, define("A", -3)), ticksA(5, 6),
					packet(seedA(), 6, gone{1, codec.GoneExpired}), state(7, define("B", 0)), ticksA(7, 8))
				p.beat(8, time.Hour)
			})
		cfg.Start = Beginning
		s := mustNew(t, cfg)
		var got []string
		for tick, err := range s.Ticks(t.Context()) {
			require.NoError(t, err)
			if tick.Kind == feed.KindQuote {
				got = append(got, tick.Symbol+" "+tick.Price(tick.Quote().Bid))
			}
			assert.Equal(t, sessionA, tick.Session)
			assert.Equal(t, int64(500), tick.PublishTime)
			if tick.Seq == 4 {
				break
			}
		}
		for tick, err := range s.Ticks(t.Context()) {
			require.NoError(t, err)
			got = append(got, tick.Symbol+" "+tick.Price(tick.Quote().Bid))
			if tick.Seq == 7 {
				break
			}
		}
		stop()
		assert.Equal(t, []string{"A 1.25", "A 1.25", "A 0.005", "B 7"}, got)
	})
}

func entriesOf(ticks ...feed.Tick) func(func(feed.Tick) bool) {
	return func(yield func(feed.Tick) bool) {
		for _, t := range ticks {
			t.Flags |= feed.FlagSnapshot
			if !yield(t) {
				return
			}
		}
	}
}
