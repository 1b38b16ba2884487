package processes

import (
	"fmt"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tickfeed/codec/effort"
)

// A publisher that is killed at any moment, in full flow or while it recovers, has lost
// nothing that any subscriber has seen: after a restart over its journal subscribers go on at the
// next number, and all numbers, to the first one ever seen, still stand for the same ticks.
func TestNothingSeenIsLostByAKill(t *testing.T) {
	t.Parallel()
	random := chance(t)
	dir := filepath.Join(t.TempDir(), "journal")
	audit, addr := newAuditor(), newAddress()
	args := lively(effort.Of(t, "200k", "20k"), "--journal", dir)

	followers := []*follower{follow(t, "first", audit, addr, nil), follow(t, "second", audit, addr, nil)}
	var torn, early int
	kills := times(t, kills, 200, 40)
	done := 0
	for i := range effort.Times(t, kills, 10, time.Minute) {
		done++
		if i%50 == 49 { // a lineage names 65 sessions: who comes later is not told what was before
			followers = append(followers, follow(t, fmt.Sprintf("late %d", i), audit, addr, nil))
		}
		if random.IntN(10) == 0 { // while it starts, or recovers
			p := startPublisher(t, args...)
			time.Sleep(time.Duration(random.Int64N(int64(15 * time.Millisecond))))
			p.kill()
			early++
			continue
		}
		p := publish(t, args...)
		if p.torn > 0 {
			torn++
		}
		addr.is(p.addr)
		for _, f := range followers {
			f.wait(t, "ticks of the new session", func() bool { return f.session == p.session })
		}
		time.Sleep(time.Millisecond + time.Duration(random.Int64N(int64(49*time.Millisecond))))
		addr.is("")
		p.kill()
	}

	p := publish(t, args...)
	addr.is(p.addr)
	for _, f := range followers {
		f.wait(t, "ticks of the last session", func() bool { return f.session == p.session })
	}
	p.end()
	for _, f := range followers {
		f.wait(t, "the end", func() bool { return f.final > 0 })
		f.leave()
	}
	final := p.stop()
	for _, f := range followers {
		f.reconcile()
		assert.Empty(t, f.lost, "%s: lost", f.name)
		assert.Empty(t, f.disowned, "%s: disowned", f.name)
		assert.Equal(t, final, f.final, "%s: the end", f.name)
		assert.Equal(t, final-f.begun, f.got, "%s: ticks", f.name)
	}
	assert.Equal(t, final-1, audit.total(), "numbers that anybody was given")
	require.GreaterOrEqual(t, audit.total(), uint64(100*done), "there was load")

	var live, down []time.Duration
	for _, f := range followers {
		for _, r := range f.reports {
			live, down = append(live, r.Live), append(down, r.Down)
		}
	}
	slices.Sort(live)
	slices.Sort(down)
	require.NotEmpty(t, live)
	t.Logf("%d kills (%d while starting, %d left a torn tail), %d ticks, %d recoveries; kill to connected p50 %v max %v, to live p50 %v max %v",
		done, early, torn, final-1, len(live), down[len(down)/2], down[len(down)-1], live[len(live)/2], live[len(live)-1])
	audit.judge(t)
}
