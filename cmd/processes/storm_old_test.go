package processes

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tickfeed/codec"
	"tickfeed/codec/effort"
	"tickfeed/subscriber"
)

// A publisher that is started again under many subscribers whose positions lie in the journal only, far from its end and all
// of them different, and of which none has its state any more, has all of them live soon (PROMISES.md, 34).
func TestStormOfOldPositions(t *testing.T) {
	t.Parallel()
	timers := effort.WatchTimers(t)
	subscribers := effort.Of(t, 500, 60)
	dir := t.TempDir()
	args := lively("20k", "--journal", filepath.Join(dir, "journal"), "--memory", "1MiB")
	p := publish(t, args...)
	// Enough for several times the memory of the publisher.
	require.Eventually(t, func() bool { return journalled(t, filepath.Join(dir, "journal")) > 4*mebibyte }, patience, 10*pollTime)
	lineage := []map[string]any{{"session": p.session.String(), "first": 1}}
	p.kill()
	p = publish(t, append(args, "--rate", "200")...)
	require.Greater(t, p.first, uint64(50_000), "where the second session begins")
	audit, addr := newAuditor(), newAddress()
	positions := dir
	if shm, err := os.MkdirTemp("/dev/shm", "positions"); err == nil { // where there is nothing to sync, ten times a second for each
		t.Cleanup(func() { _ = os.RemoveAll(shm) })
		positions = shm
	}
	var followers []*follower
	for i := range subscribers {
		position, err := json.Marshal(map[string]any{"lineage": lineage, "next": 1000 + uint64(i)*p.first/2/uint64(subscribers)})
		require.NoError(t, err)
		path := filepath.Join(positions, fmt.Sprintf("position-%d", i))
		require.NoError(t, os.WriteFile(path, position, 0o600))
		followers = append(followers, follow(t, fmt.Sprintf("follower %d", i), audit, addr, func(c *subscriber.Config, f *follower) {
			c.PositionFile, c.MaxBackoff, c.Filter = path, time.Second, []string{"A*"}
			c.Slow, c.Start = codec.SlowAll, codec.Start{}
			f.sparse = true
		}))
	}
	began := time.Now()
	addr.is(p.addr) // all of them dial now
	var took []time.Duration
	for _, f := range followers {
		live := f.within(time.Until(began.Add(patience)), func() bool { return f.sub.Status().State == subscriber.Live })
		if f.sub.Status().State == subscriber.Closed {
			require.NoError(t, <-f.done, "%s has ended", f.name)
		}
		require.True(t, live, "%s is %v at %d after %v", f.name, f.sub.Status().State, f.sub.Status().Next, patience)
		took = append(took, time.Since(began))
	}
	stood := time.Since(began)
	timers.Judge(t, fmt.Sprintf("until %d subscribers with old positions were live", subscribers), stood, stormTime)
	for _, f := range followers {
		f.leave()
		ledger := f.sub.Ledger()
		assert.Zero(t, ledger.Totals().Lost, "%s: lost", f.name)
	}
	p.end()
	p.stop()
	tries := joined(p.said())
	slices.Sort(took)
	// A subscriber, or the publisher, gives up a connection only if it was silent for three intervals. On a machine that does
	// other things that happens, because processes wait for the processor; but it takes its time, so each subscriber has one
	// connection, and at most another one for each time that three intervals fit into the storm. A publisher that reads the
	// journal for clients that have gone, before it answers those that wait, does not have all of them live within stormTime.
	const silent = 3 * livelyHeartbeat
	assert.LessOrEqual(t, tries, subscribers*int(1+stood/silent), "connections in %v", stood)
	t.Logf("%d subscribers with old positions: all live after %v, with %d connections", subscribers, took[len(took)-1], tries)
	audit.judge(t)
}
