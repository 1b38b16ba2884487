package subscriber

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tickfeed/codec"
	"tickfeed/codec/netsim"
	"tickfeed/feed"
)

// A whole message of a known type, or 4096 more bytes of one, is a sign of life. A peer is dead if a message or a snapshot does
// not advance for three intervals, and alive if it advances slowly.
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

// A value that only describes is tolerated where a reader does not know it: the reason of gone, a status, the kind of a tick.
func TestUnknownDescriptions(t *testing.T) {
	inBubble(t, func(t *testing.T, network *netsim.Network, cfg Config) {
		stop := publish(network, "pub:1", func(p *peer) {
			p.send(message(welcomeA(1, 3, codec.StartedAsAsked)), packet(seedA(), 1, definition(0), quote(0, 2)),
				rawPacket(3, 1, []byte{0x95, 16, 0, 0, 0xcc, 200, 0}), rawPacket(4, 1, []byte{0x94, 0xcc, 254, 0, 0, 0xc3}),
				packet(seedA(), 5, gone{4, 77}), snapshot(seedA(), 9, codec.ScopeAll))
			p.beat(9, time.Hour)
		})
		s, a := mustNew(t, cfg), &app{}
		var reason codec.GoneReason
		a.on = func(b *Batch) error {
			if b.Change != nil && b.Change.Reason != 0 {
				reason = b.Change.Reason
			}
			return nil
		}
		require.ErrorIs(t, runFor(interval/2, s, a), context.DeadlineExceeded)
		stop()
		assert.Equal(t, []uint64{1, 2, 3, 4}, seqs(a.ticks))
		assert.Equal(t, "reason(77)", reason.String())
		assert.Equal(t, uint64(1), s.Status().Unknown)
		assert.Equal(t, feed.Totals{Delivered: 4, Lost: 4}, s.Ledger().Totals())
	})
}
