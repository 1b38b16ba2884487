package processes

import (
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tickfeed/codec/effort"
	"tickfeed/subscriber"
)

// A publisher whose process is stopped (SIGSTOP), so that its kernel goes on to acknowledge what comes, is found to be dead
// after three intervals of silence and not before. When it goes on so do its subscribers, and nothing is missing
// (PROMISES.md, 12 and 23).
func TestStoppedPublisherIsFound(t *testing.T) {
	t.Parallel()
	timers := effort.WatchTimers(t)
	audit, addr := newAuditor(), newAddress()
	p := publish(t, lively("2k", "--journal", filepath.Join(t.TempDir(), "journal"))...)
	addr.is(p.addr)
	causes := make(chan subscriber.Cause, 100)
	f := follow(t, "follower", audit, addr, nil)
	f.wait(t, "ticks", func() bool { return f.got > 100 })
	for range 3 {
		f.mu.Lock()
		before := len(f.reports)
		f.mu.Unlock()
		stopped := time.Now()
		require.NoError(t, p.Cmd.Process.Signal(syscall.SIGSTOP))
		f.wait(t, "silence is noticed", func() bool { return f.down })
		took := time.Since(stopped)
		// The follower may have been waiting for the processor, and so for what had come, when the process stopped.
		assert.Greater(t, took+timers.Latest(), 2*livelyHeartbeat, "less than three intervals of silence prove nothing")
		timers.Judge(t, "until silence was noticed", took, 3*livelyHeartbeat+50*time.Millisecond)
		require.NoError(t, p.Cmd.Process.Signal(syscall.SIGCONT))
		f.wait(t, "a recovery", func() bool { return len(f.reports) > before })
		f.mu.Lock()
		causes <- f.reports[before].Cause
		next := f.next
		f.mu.Unlock()
		f.wait(t, "ticks again", func() bool { return f.next > next+100 })
	}
	close(causes)
	for cause := range causes {
		assert.Equal(t, subscriber.CauseSilent, cause)
	}
	p.end()
	f.wait(t, "the end", func() bool { return f.final > 0 })
	f.leave()
	final := p.stop()
	f.reconcile()
	assert.Equal(t, final-1, f.got)
	assert.Empty(t, f.lost)
	audit.judge(t)
}
