package publisher_test

import (
	"context"
	"net"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tickfeed/codec"
	"tickfeed/codec/usage"
	"tickfeed/feed"
	"tickfeed/publisher"
)

// The memory of the kernel for a subscriber that does not read is bounded by 208 KiB. With the 48 KiB that the
// process may hold, that makes at most 256 KiB (PROMISES.md, 14). The kernel doubles the requested size.
func TestStalledSubscriberInTheKernel(t *testing.T) {
	const most = 208 << 10
	pub, err := publisher.New(publisher.Config{Seed: 1})
	require.NoError(t, err)
	id, err := pub.Define(t.Context(), feed.Definition{Symbol: "A"})
	require.NoError(t, err)
	w := &world{t: t, pub: pub, ids: []feed.InstrumentID{id}, serve: make(chan error, 1)}
	ctx, cancel := context.WithCancel(t.Context())
	w.cancel = cancel
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	noted := &notingListener{Listener: ln}
	go func() { w.serve <- pub.Serve(ctx, noted) }()
	t.Cleanup(w.stop)

	const stalled = 5
	for i := range stalled {
		nc, err := net.Dial("tcp", ln.Addr().String())
		require.NoError(t, err)
		t.Cleanup(func() { nc.Close() })
		hello := codec.Hello{MinVersion: 1, MaxVersion: 1, Start: codec.Start{Kind: codec.StartBeginning}, Heartbeat: time.Minute}
		if i%2 == 1 {
			hello.Filter = codec.Filter{"A*"}
		}
		b, err := codec.Append(nil, &hello)
		require.NoError(t, err)
		_, err = nc.Write(b)
		require.NoError(t, err)
	}
	require.Eventually(t, func() bool { return len(pub.Stats().Conns) == stalled }, 30*time.Second, time.Millisecond)
	for range 100 {
		w.quotes(5000) // 13 MB
	}
	held := func() (least, greatest int) {
		least = 1 << 30
		for _, nc := range noted.all() {
			n := kernelMemory(t, nc)
			least, greatest = min(least, n), max(greatest, n)
		}
		return least, greatest
	}
	require.Eventually(t, func() bool {
		least, greatest := held()
		require.LessOrEqual(t, greatest, most)
		return least > 64<<10
	}, 30*time.Second, 10*time.Millisecond, "the sockets fill")
	for range 20 {
		w.quotes(5000)
		_, greatest := held()
		assert.LessOrEqual(t, greatest, most)
	}
}

// A notingListener records the connections that it accepted.
type notingListener struct {
	net.Listener
	mu    sync.Mutex
	conns []net.Conn
}

func (l *notingListener) Accept() (net.Conn, error) {
	nc, err := l.Listener.Accept()
	if err == nil {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.conns = append(l.conns, nc)
	}
	return nc, err
}

func (l *notingListener) all() []net.Conn {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]net.Conn(nil), l.conns...)
}

// kernelMemory returns the memory of the kernel for a socket: received, reserved and queued data, options and
// backlog.
func kernelMemory(t *testing.T, nc net.Conn) (sum int) {
	t.Helper()
	raw, err := nc.(syscall.Conn).SyscallConn()
	require.NoError(t, err)
	require.NoError(t, raw.Control(func(fd uintptr) {
		memory, ok := usage.Socket(fd)
		require.True(t, ok)
		sum = int(memory)
	}))
	return sum
}
