package subscriber

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tickfeed/codec"
	"tickfeed/codec/netsim"
)

// MaxAttempts counts failures in a row: a connection on which data flowed sets the count back, however often that happens.
func TestDataSetsTheCountOfFailuresBack(t *testing.T) {
	inBubble(t, func(t *testing.T, network *netsim.Network, cfg Config) {
		connections := 0
		fails := func(*peer) { connections++ }
		flows := func(p *peer) {
			connections++
			next := p.hello.Position.Next
			if next == 0 {
				p.send(message(welcomeA(1, 2, codec.StartedAsAsked)), packet(seedA(), 1, definition(0)))
				return
			}
			p.send(message(welcomeA(next, next+1, codec.StartedResumed)), ticksA(next, next+1))
		}
		stop := publish(network, "pub:1", flows, fails, fails, flows, fails, fails, flows, fails, fails, fails)
		cfg.MaxAttempts = 3
		a := &app{}
		err := mustNew(t, cfg).Run(t.Context(), a.handle)
		stop()
		var gaveUp *GiveUpError
		require.ErrorAs(t, err, &gaveUp)
		assert.Equal(t, 3, gaveUp.Attempts)
		assert.Equal(t, 10, connections)
		assert.Equal(t, []uint64{1, 2, 3}, seqs(a.ticks))
	})
}

// The time that the handler takes for the change to Stale does not count as the publisher's silence: the publisher is dead after
// three intervals of listening.
func TestTimeInTheHandlerIsNotSilence(t *testing.T) {
	const busy = 2 * interval // in the handler, from the second interval on
	for _, test := range []struct {
		name  string
		after time.Duration // the publisher's next sign of life
		dead  bool
	}{
		{"it speaks within three intervals of listening", busy + 3*interval - time.Millisecond, false},
		{"it does not", busy + 3*interval + time.Millisecond, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, network *netsim.Network, cfg Config) {
				stop := publish(network, "pub:1", func(p *peer) {
					p.send(message(welcomeA(1, 2, codec.StartedAsAsked)), packet(seedA(), 1, definition(0)))
					select {
					case <-time.After(test.after):
						p.send(heartbeat(2, 2))
						p.beat(2, time.Minute)
					case <-p.gone:
					}
				}, resuming(2))
				began := time.Now()
				var died time.Duration
				a := &app{}
				a.on = func(b *Batch) error {
					if b.Change != nil && b.Change.State == Stale {
						time.Sleep(busy)
					}
					if b.Change != nil && b.Change.State == Disconnected {
						died = time.Since(began)
						assert.ErrorIs(t, b.Change.Err, ErrSilent)
					}
					return nil
				}
				require.ErrorIs(t, runFor(7*interval, mustNew(t, cfg), a), context.DeadlineExceeded)
				stop()
				want := time.Duration(0)
				if test.dead {
					want = busy + 3*interval
				}
				assert.Equal(t, want, died)
			})
		})
	}
}

// When Run returns the position file holds the last position, although less than 100 ms have passed since it was written.
func TestPositionIsSavedAtTheEnd(t *testing.T) {
	path := filepath.Join(t.TempDir(), "position.json")
	inBubble(t, func(t *testing.T, network *netsim.Network, cfg Config) {
		cfg.PositionFile = path
		saved := func() uint64 {
			raw, err := os.ReadFile(path)
			require.NoError(t, err)
			var held codec.Position
			require.NoError(t, json.Unmarshal(raw, &held))
			return held.Next
		}
		stop := publish(network, "pub:1", func(p *peer) {
			p.send(message(welcomeA(1, 2, codec.StartedAsAsked)), packet(seedA(), 1, definition(0)))
			time.Sleep(saveEvery)
			p.send(ticksA(2, 5))
			time.Sleep(saveEvery / 2)
			p.send(ticksA(5, 9))
			p.beat(9, time.Minute)
		})
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		a := &app{}
		before := uint64(0)
		a.onTick = func(seq uint64) error {
			if seq == 8 {
				before = saved()
				time.AfterFunc(saveEvery/4, cancel)
			}
			return nil
		}
		require.ErrorIs(t, mustNew(t, cfg).Run(ctx, a.handle), context.Canceled)
		stop()
		assert.Equal(t, uint64(5), before, "while it ran")
		assert.Equal(t, uint64(9), saved())
	})
}
