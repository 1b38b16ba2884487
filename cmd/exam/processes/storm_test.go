package processes

import (
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"tickfeed/codec/effort"
	"tickfeed/subscriber"
)

// stormTime is how long a storm of reconnects may take until all are live again.
const stormTime = 10 * time.Second

// A publisher that is killed under many subscribers has all of them back, and live, soon after it was started again, each
// with few tries (PROMISES.md, 15; without TLS).
func TestReconnectStorm(t *testing.T) {
	t.Parallel()
	timers := effort.WatchTimers(t)
	subscribers := effort.Of(t, 500, 100)
	dir := t.TempDir()
	audit, addr := newAuditor(), newAddress()
	args := lively("200", "--journal", filepath.Join(dir, "journal"))
	p := publish(t, args...)
	addr.is(p.addr)
	followers := make([]*follower, subscribers)
	for i := range followers {
		followers[i] = follow(t, fmt.Sprintf("follower %d", i), audit, addr, func(c *subscriber.Config, f *follower) {
			patiently(c, f)
			c.MaxBackoff = time.Second
		})
	}
	for _, f := range followers {
		f.wait(t, "ticks", func() bool { return f.got > 0 })
	}
	p.kill()
	p = publish(t, append(args, "--listen", p.addr)...)
	began := time.Now()
	var took []time.Duration
	for _, f := range followers {
		f.wait(t, "live again", func() bool { return len(f.reports) > 0 && f.session == p.session })
		took = append(took, time.Since(began))
	}
	timers.Judge(t, fmt.Sprintf("until %d subscribers were live again", subscribers), took[len(took)-1], stormTime)
	p.end()
	tries := 0
	for _, f := range followers {
		f.wait(t, "the end", func() bool { return f.final > 0 })
		f.leave()
		f.reconcile()
		assert.Empty(t, f.lost, "%s: lost", f.name)
		assert.Len(t, f.reports, 1, "%s: recoveries", f.name)
		tries += f.reports[0].Attempts
	}
	final := p.stop()
	for _, f := range followers {
		assert.Equal(t, final-f.begun, f.got, "%s: ticks", f.name)
	}
	assert.Equal(t, subscribers, joined(p.said()), "subscribers that joined the second publisher")
	t.Logf("%d subscribers: all live %v after the restart, after %d tries in all; %d ticks each", subscribers, took[len(took)-1], tries, final-1)
	audit.judge(t)
}
