package processes

import (
	"crypto/tls"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"tickfeed/codec/certs/certstest"
	"tickfeed/codec/effort"
	"tickfeed/subscriber"
)

// stormTime is how long a storm of reconnects may take until all are live again.
const stormTime = 10 * time.Second

// A publisher that is killed under many subscribers has all of them back, and live, soon after it was started again, each
// with few tries (PROMISES.md, 15).
func TestReconnectStorm(t *testing.T) {
	t.Parallel()
	storm(t, effort.Of(t, 500, 100), nil, nil)
}

// The same over TLS, with a certificate on both sides.
func TestReconnectStormOverTLS(t *testing.T) {
	t.Parallel()
	args, cfg := mutualTLS(t)
	storm(t, effort.Of(t, 500, 50), args, cfg)
}

// mutualTLS returns the arguments of a publisher that speaks TLS and demands certificates, and the configuration of its clients.
func mutualTLS(t *testing.T) (args []string, client *tls.Config) {
	dir, a := t.TempDir(), certstest.NewAuthority("exam")
	cert, key := a.Issue(certstest.Want{Names: []string{"feed"}}).Write(dir, "feed")
	ca := certstest.WriteFile(dir, "ca.pem", a.PEM)
	own := a.Issue(certstest.Want{Names: []string{"desk"}})
	return []string{"--tls-cert", cert, "--tls-key", key, "--tls-client-ca", ca},
		&tls.Config{RootCAs: a.Pool(), ServerName: "feed", Certificates: []tls.Certificate{own.TLS}}
}

// storm kills a publisher with more arguments, and TLS if it speaks that, under subscribers.
func storm(t *testing.T, subscribers int, more []string, secure *tls.Config) {
	timers := effort.WatchTimers(t)
	dir := t.TempDir()
	audit, addr := newAuditor(), newAddress()
	args := append(lively("200", "--journal", filepath.Join(dir, "journal")), more...)
	p := publish(t, args...)
	addr.is(p.addr)
	followers := make([]*follower, subscribers)
	for i := range followers {
		followers[i] = follow(t, fmt.Sprintf("follower %d", i), audit, addr, func(c *subscriber.Config, f *follower) {
			patiently(c, f)
			c.MaxBackoff, c.TLS = time.Second, secure
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
