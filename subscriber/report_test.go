package subscriber

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tickfeed/codec"
	"tickfeed/codec/netsim"
)

// The figures of a report cover only the recovery, whatever the batches: FirstTick ends when the first tick is delivered, not
// when the application has used its batch, and ticks that were published after the welcome do not count as replayed.
func TestReportFiguresDoNotDependOnBatches(t *testing.T) {
	for _, size := range []int{0, 1, 3} {
		inBubble(t, func(t *testing.T, network *netsim.Network, cfg Config) {
			cfg.BatchSize = size
			stop := publish(network, "pub:1", func(p *peer) {
				p.send(message(welcomeA(1, 5, codec.StartedAsAsked)), packet(seedA(), 1, definition(0)), ticksA(2, 5))
				time.Sleep(10 * time.Millisecond)
			}, func(p *peer) {
				time.Sleep(5 * time.Millisecond)
				p.send(slices.Concat(message(welcomeA(4, 9, codec.StartedResumed)), ticksA(4, 6), ticksA(6, 12)))
				p.beat(12, time.Hour)
			})
			s, a := mustNew(t, cfg), &app{}
			a.onTick = func(seq uint64) error {
				if seq >= 5 {
					time.Sleep(7 * time.Millisecond)
				}
				return nil
			}
			require.ErrorIs(t, runFor(interval/2, s, a), context.DeadlineExceeded)
			stop()
			require.Equal(t, []uint64{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11}, seqs(a.ticks))
			require.Len(t, a.reports, 1)
			r := a.reports[0]
			assert.Equal(t, 5*time.Millisecond, r.Down)
			assert.Equal(t, 5*time.Millisecond, r.FirstTick, "size %d", size)
			assert.Equal(t, uint64(4), r.Replayed, "size %d", size)
			assert.Equal(t, uint64(1), r.Duplicates)
		})
	}
}
