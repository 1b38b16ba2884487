package processes

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tickfeed/codec/effort"
	"tickfeed/feed"
)

// pollTime is how often a file is looked at.
const pollTime = 5 * time.Millisecond

// waitForBytes waits until the file is longer than size.
func waitForBytes(t *testing.T, path string, size int64) {
	t.Helper()
	require.Eventually(t, func() bool {
		info, err := os.Stat(path)
		return err == nil && info.Size() > size
	}, patience, pollTime)
}

// A subscriber that keeps its position in a file and is killed has printed every tick by the
// time that another one has gone on from there: some are printed twice, none is missing.
func TestKilledSubscriberGoesOn(t *testing.T) {
	t.Parallel()
	random := chance(t)
	dir := t.TempDir()
	audit, addr := newAuditor(), newAddress()
	p := publish(t, lively(effort.Of(t, "20k", "2k"), "--journal", filepath.Join(dir, "journal"))...)
	addr.is(p.addr)
	times := map[uint64]int64{} // event time by number: what tells ticks apart
	f := follow(t, "follower", audit, addr, nil)
	f.mu.Lock()
	f.each = func(_ feed.SessionID, tick *feed.Tick, _ *feed.State) { times[tick.Seq] = tick.EventTime }
	f.mu.Unlock()

	state, out := filepath.Join(dir, "position"), filepath.Join(dir, "ticks.ndjson")
	run := func(args ...string) *process {
		file, err := os.OpenFile(out, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o644)
		require.NoError(t, err)
		defer file.Close()
		cmd := exec.Command(tickfeed(t), append([]string{"subscribe", p.addr, "--from", "beginning", "--state", state, "--json"}, args...)...)
		cmd.Stdout = file
		return start(t, cmd)
	}
	var next uint64 = 1             // number after the last one printed
	var repeats []uint64            // by restart
	take := func() (again uint64) { // how many were printed before
		text := strings.Join(printed(t, out), "\n") // of a line that a kill has torn, nothing is known
		for _, r := range rows(t, []byte(text)) {
			if r.Seq == 0 {
				continue // of the snapshot with which it goes on
			}
			if r.Seq < next {
				again++
			} else {
				require.Equal(t, next, r.Seq, "a number is missing")
				next++
			}
			f.mu.Lock()
			at, ok := times[r.Seq]
			f.mu.Unlock()
			if ok {
				require.Equal(t, at, r.Event, "number %d", r.Seq)
			}
		}
		return again
	}
	const restarts = 15
	for range restarts {
		s := run()
		waitForBytes(t, out, 5000)
		time.Sleep(time.Duration(random.Int64N(int64(250 * time.Millisecond))))
		s.kill()
		repeats = append(repeats, take())
	}
	p.end()
	s := run("--until-end")
	require.Equal(t, 0, s.wait(), "%v", s.said())
	repeats = append(repeats, take())
	f.wait(t, "the end", func() bool { return f.final > 0 })
	assert.Equal(t, f.final, next, "the number after the last one printed")
	slices.Sort(repeats)
	most := repeats[len(repeats)-1]
	assert.NotZero(t, most, "no kill came between a print and a save")
	t.Logf("%d kills, %d ticks; repeated p50 %d, max %d", restarts, next-1, repeats[len(repeats)/2], most)
	audit.judge(t)
}
