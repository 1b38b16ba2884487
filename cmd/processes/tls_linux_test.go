package processes

import (
	"crypto/tls"
	"io"
	"net"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tickfeed/codec/effort"
)

// helloOf returns the first bytes that a client of package tls sends.
func helloOf(t *testing.T, cfg *tls.Config) []byte {
	ours, theirs := net.Pipe()
	defer ours.Close()
	var done sync.WaitGroup
	defer done.Wait()
	done.Go(func() {
		_ = tls.Client(theirs, cfg).Handshake()
		theirs.Close()
	})
	b := make([]byte, 16<<10)
	n, err := ours.Read(b)
	require.NoError(t, err)
	ours.Close()
	return b[:n]
}

// A thousand handshakes that do not end cost a publisher at most 32 MiB in all and 5 s each, and nothing to those who log in
// meanwhile: nothing, half a ClientHello, a byte of it now and then, and, most of them, a whole one without what must follow, which
// costs most (PROMISES.md, 17).
func TestHostileHandshakes(t *testing.T) {
	t.Parallel()
	timers := effort.WatchTimers(t)
	args, cfg := mutualTLS(t)
	p := publish(t, lively("1k", append(args, "--memory", "1MiB")...)...)
	first := helloOf(t, cfg)
	done := make(chan struct{})
	var took []time.Duration
	logins := make(chan struct{})
	go func() {
		defer close(logins)
		next := time.NewTicker(50 * time.Millisecond)
		defer next.Stop()
		for {
			select {
			case <-done:
				return
			case <-next.C:
				took = append(took, secureLogin(p.addr, cfg))
			}
		}
	}()
	before := peak(t, p.process, after(2*warm)) // with honest logins, which make garbage of their own
	connections, own := effort.Of(t, 1000, 400), sockets(p.process)
	var all sync.WaitGroup
	var ended atomic.Int64
	for i := range connections {
		nc, err := net.Dial("tcp", p.addr)
		require.NoError(t, err)
		defer nc.Close()
		all.Go(func() {
			switch i % 16 {
			case 0:
			case 1:
				_, _ = nc.Write(first[:len(first)/2])
			case 2:
				now := time.NewTicker(200 * time.Millisecond)
				defer now.Stop()
				for _, b := range first {
					if _, err := nc.Write([]byte{b}); err != nil {
						break
					}
					select {
					case <-now.C:
						continue
					case <-done:
					}
					break
				}
			default:
				_, _ = nc.Write(first)
			}
			_ = nc.SetReadDeadline(time.Now().Add(patience))
			if _, err := io.Copy(io.Discard, nc); !os.IsTimeout(err) {
				ended.Add(1)
			}
		})
	}
	gone := untilSockets(p.process, own+passing)
	most := peak(t, p.process, after(6*time.Second)) // handshakes have 5 s
	timers.Judge(t, "time until handshakes that do not end are ended", <-gone, handshakeEnd)
	close(done)
	<-logins
	all.Wait()
	slices.Sort(took)
	require.NotEmpty(t, took)
	assert.Equal(t, int64(connections), ended.Load(), "connections that the publisher ended")
	assert.LessOrEqual(t, most-before, int64(32*mebibyte), "memory for %d handshakes", connections)
	timers.Judge(t, "median time of an honest login", took[len(took)/2], time.Second)
	assert.Less(t, took[len(took)-1], loginPatience, "an honest login failed")
	t.Logf("%d connections: memory %.1f MiB, %.1f MiB more; %d honest logins: p50 %v, max %v",
		connections, float64(before)/mebibyte, float64(most-before)/mebibyte, len(took), took[len(took)/2], took[len(took)-1])
}

// secureLogin is login over TLS.
func secureLogin(addr string, cfg *tls.Config) time.Duration {
	began := time.Now()
	nc, err := tls.DialWithDialer(&net.Dialer{Timeout: loginPatience}, "tcp", addr, cfg)
	return welcomed(nc, err, began)
}
