package subscriber

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tickfeed/codec"
	"tickfeed/codec/netsim"
	"tickfeed/feed"
)

// A packet counts only as a whole: nothing of a packet that turns out broken at its end is delivered, however long the
// batches are; the position stays before it, and the next connection delivers it once.
func TestPacketCountsAsAWhole(t *testing.T) {
	clash := definition(0)
	clash.Instrument = 1
	long := []any{quote(0, 3), quote(0, 4), quote(0, 5), quote(0, 6), quote(0, 7)}
	for _, broken := range []struct {
		name     string
		raw      []byte
		hasState bool // the state was left alone
	}{
		{"a count that is too great", lie(packet(seedA(), 3, long...), 17, 6), true},
		{"a count that is too small", lie(packet(seedA(), 3, long...), 17, 4), true},
		{"an entry that is cut short", rawPacket(3, 6, append(codec.AppendTick(nil, new(quote(0, 3)), 0), 0x97, 0x04)), true},
		{"a definition under another's name", packet(seedA(), 3, append(long, clash)...), false},
	} {
		for _, size := range []int{0, 1, 2, 300} {
			t.Run(fmt.Sprintf("%s, batches of %d", broken.name, size), func(t *testing.T) {
				inBubble(t, func(t *testing.T, network *netsim.Network, cfg Config) {
					cfg.BatchSize = size
					var hello *codec.Hello
					stop := publish(network, "pub:1", func(p *peer) {
						p.send(message(welcomeA(1, 8, codec.StartedAsAsked)), packet(seedA(), 1, definition(0), quote(0, 2)), broken.raw)
						<-p.gone
					}, func(p *peer) {
						hello = p.hello
						p.send(message(welcomeA(3, 8, codec.StartedResumed)))
						if !hello.HasState {
							p.send(snapshot(seedA(), 3, codec.ScopeAll))
						}
						p.send(packet(seedA(), 3, long...))
						p.beat(8, time.Hour)
					})
					s, a := mustNew(t, cfg), &app{}
					require.Error(t, runFor(4*interval, s, a))
					stop()
					require.NotNil(t, hello, "no second connection")
					assert.Equal(t, uint64(3), hello.Position.Next)
					if size != 1 && size != 2 { // a trial of the state finds what is wrong before the state changes
						assert.Equal(t, broken.hasState, hello.HasState)
					}
					assert.Equal(t, []uint64{1, 2, 3, 4, 5, 6, 7}, seqs(a.ticks))
					assert.Equal(t, feed.Totals{Delivered: 7}, s.Ledger().Totals())
				})
			})
		}
	}
}

// Ids may have holes, as in a replay of a filtered recording; ids of 2^24 and more are refused.
func TestSparseIDs(t *testing.T) {
	for id, ok := range map[feed.InstrumentID]bool{8: true, feed.MaxInstruments - 1: true, feed.MaxInstruments: false} {
		inBubble(t, func(t *testing.T, network *netsim.Network, cfg Config) {
			stop := publish(network, "pub:1", func(p *peer) {
				p.send(message(welcomeA(1, 3, codec.StartedAsAsked)), packet(seedA(), 1, definition(id), quote(id, 2)))
				p.beat(3, time.Hour)
			})
			a := &app{}
			require.Error(t, runFor(interval/2, mustNew(t, cfg), a))
			stop()
			assert.Equal(t, ok, len(a.ticks) == 2, "%d", id)
		})
	}
}
