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

// R11, T11: a sign of life is a whole message of a known type, or 4096 more bytes of one. Half a message, or a snapshot, that does
// not advance for three intervals is a dead peer; one that advances slowly is alive.
func TestSignsOfLife(t *testing.T) {
	every := func(d time.Duration, p *peer, n int, raw func(i int) []byte) {
		for i := range n {
			select {
			case <-p.gone:
				return
			case <-time.After(d):
				p.send(raw(i))
			}
		}
	}
	start := func(p *peer) {
		p.send(message(welcomeA(1, 3, codec.StartedAsAsked)), packet(seedA(), 1, definition(0), quote(0, 2)))
	}
	long := packet(seedA(), 3, func() (ticks []any) {
		for seq := int64(3); seq < 1003; seq++ {
			ticks = append(ticks, quote(0, seq))
		}
		return ticks
	}()...)
	piece := func(size int) func(int) []byte {
		return func(i int) []byte { return long[min(len(long), i*size):min(len(long), (i+1)*size)] }
	}
	for _, test := range []struct {
		name string
		send func(p *peer)
		dies time.Duration // 0: it lives for 30 intervals
	}{
		{"nothing", func(p *peer) { <-p.gone }, 3 * interval},
		{"heartbeats", func(p *peer) { p.beat(3, time.Hour) }, 0},
		{"half a message", func(p *peer) { p.send(long[:5000]); <-p.gone }, 5 * interval},
		{"one byte at a time of a packet that never ends", func(p *peer) { every(150*time.Millisecond, p, 1000, piece(1)) }, 3 * interval},
		{"a long packet, slowly", func(p *peer) { every(2*interval, p, 7, piece(4200)); p.beat(1003, time.Hour) }, 0},
		{"unknown messages", func(p *peer) {
			every(interval/2, p, 1000, func(int) []byte { return pack(64, make([]byte, 10_000)) })
		}, 3 * interval},
		{"heartbeats in a snapshot that never ends", func(p *peer) {
			p.send(begin(3, codec.ScopeAll))
			every(interval/2, p, 1000, func(int) []byte { return heartbeat(3, 3) })
		}, 3 * interval},
		{"a snapshot, slowly", func(p *peer) {
			p.send(begin(3, codec.ScopeAll))
			every(5*interval/2, p, 8, func(i int) []byte { return part(3, uint64(i), definition(feed.InstrumentID(i))) })
			p.send(end(3, 8))
			p.beat(3, time.Hour)
		}, 0},
		{"heartbeats while a snapshot is due", func(p *peer) {
			p.send(packet(seedA(), 3, gone{4, codec.GoneExpired}))
			p.beat(7, time.Hour)
		}, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, network *netsim.Network, cfg Config) {
				var said *codec.Goodbye
				stop := publish(network, "pub:1", func(p *peer) {
					start(p)
					test.send(p)
					<-p.gone
					said = p.goodbye()
				})
				began, died := time.Now(), time.Duration(0)
				s, a := mustNew(t, cfg), &app{}
				a.on = func(b *Batch) error {
					if b.Change != nil && b.Change.State == Disconnected {
						died = time.Since(began)
						assert.ErrorIs(t, b.Change.Err, ErrSilent)
						return errEnough
					}
					return nil
				}
				err := runFor(30*interval, s, a)
				stop()
				assert.Equal(t, test.dies, died.Round(interval/2))
				if test.dies > 0 {
					require.Equal(t, errEnough, err)
					require.NotNil(t, said)
					assert.Equal(t, codec.CodeSilent, said.Code)
				}
			})
		})
	}
}
