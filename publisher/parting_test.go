package publisher_test

import (
	"context"
	"errors"
	"io"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tickfeed/codec"
	"tickfeed/codec/netsim"
	"tickfeed/feed"
	"tickfeed/publisher"
)

// A client with policy "disconnect" that reads, however slowly, is sent the goodbye after everything sent before it,
// at the end of a message, and then the end of the stream (PROTOCOL.md, "Slow consumers"). That holds behind a full
// window, and with or without a filter.
func TestSlowClientGetsItsGoodbye(t *testing.T) {
	for name, filter := range map[string]codec.Filter{"all": nil, "filtered": {"A*"}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := &world{t: t, net: netsim.New(1, netsim.Config{Conditions: netsim.Conditions{Buffer: 64 << 10}})}
				w.open(publisher.Config{Seed: 1, Memory: 4 * publisher.MinMemory})
				t.Cleanup(w.stop)
				c := w.join(codec.Hello{
					Start: codec.Start{Kind: codec.StartBeginning}, Filter: filter, Slow: codec.SlowDisconnect, MaxLag: time.Second, Heartbeat: time.Second,
				})
				c.until(4)
				done := make(chan struct{})
				defer close(done)
				go func() { // signs of life, also while its data is not read
					pulse, _ := codec.Append(nil, &codec.Pulse{Next: 4})
					for {
						select {
						case <-done:
							return
						case <-time.After(500 * time.Millisecond):
							_, _ = c.nc.Write(pulse)
						}
					}
				}()
				go func() {
					for range 40 {
						w.quotes(1000)
						time.Sleep(100 * time.Millisecond)
					}
				}()
				time.Sleep(5 * time.Second) // its window is full, and it is late
				c.r = codec.NewReader(&slowly{c.nc, 20 << 10}, 0)
				var err error
				for err == nil {
					err = c.step()
				}
				require.ErrorIs(t, err, io.EOF)
				assert.Equal(t, "goodbye slow", c.events[len(c.events)-1])
				_, err = c.nc.Read(make([]byte, 1))
				assert.ErrorIs(t, err, io.EOF, "then the stream ends")
				require.NoError(t, c.nc.Close())
				time.Sleep(time.Second)
				assert.Empty(t, w.pub.Stats().Conns)
			})
		})
	}
}

// A slowly reads a fixed number of bytes a second.
type slowly struct {
	io.Reader
	rate int
}

func (s *slowly) Read(p []byte) (int, error) {
	n, err := s.Reader.Read(p[:min(len(p), s.rate/10)])
	time.Sleep(time.Duration(n) * time.Second / time.Duration(s.rate))
	return n, err
}

// A client that does not read at all is disconnected when its time is over. The publisher does not wait for one that
// meanwhile falls silent or leaves.
func TestSlowClientThatDoesNotRead(t *testing.T) {
	for name, c := range map[string]struct {
		pulse bool
		leave bool
		least time.Duration
		most  time.Duration
	}{
		"gives signs of life": {pulse: true, least: 30 * time.Second, most: 36 * time.Second},
		"falls silent":        {most: 8 * time.Second},
		"closes":              {pulse: true, leave: true, most: 5 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := &world{t: t, net: netsim.New(1, netsim.Config{Conditions: netsim.Conditions{Buffer: 64 << 10}})}
				w.open(publisher.Config{Seed: 1, Memory: 4 * publisher.MinMemory})
				t.Cleanup(w.stop)
				client := w.join(codec.Hello{Start: codec.Start{Kind: codec.StartBeginning}, Slow: codec.SlowDisconnect, MaxLag: time.Second, Heartbeat: time.Second})
				client.until(4)
				began := time.Now()
				pulse, err := codec.Append(nil, &codec.Pulse{Next: 4})
				require.NoError(t, err)
				for len(w.pub.Stats().Conns) > 0 && time.Since(began) < time.Minute {
					if c.pulse {
						_, _ = client.nc.Write(pulse)
					}
					if c.leave && time.Since(began) > 3*time.Second {
						client.nc.Close()
					}
					if time.Since(began) < 3*time.Second {
						w.quotes(2000)
					}
					time.Sleep(250 * time.Millisecond)
				}
				assert.GreaterOrEqual(t, time.Since(began), c.least)
				assert.LessOrEqual(t, time.Since(began), c.most)
			})
		})
	}
}

// A publisher that stops does not wait for slow clients to which it has sent a goodbye.
func TestStopWhileASlowClientParts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &world{t: t, net: netsim.New(1, netsim.Config{Conditions: netsim.Conditions{Buffer: 64 << 10}})}
		w.open(publisher.Config{Seed: 1, Memory: 4 * publisher.MinMemory})
		var clients []*client
		for range 2 {
			clients = append(clients, w.join(codec.Hello{Start: codec.Start{Kind: codec.StartBeginning}, Slow: codec.SlowDisconnect, MaxLag: time.Second, Heartbeat: 10 * time.Second}))
		}
		for range 20 {
			w.quotes(1000)
			time.Sleep(250 * time.Millisecond)
		}
		for { // the first client has read everything, and stays
			if err := clients[0].step(); err != nil {
				break
			}
		}
		require.Len(t, w.pub.Stats().Conns, 2)
		began := time.Now()
		w.stop()
		assert.LessOrEqual(t, time.Since(began), 2*time.Second)
	})
}

// Every slow client is sent its goodbye over TCP as well, where closing a socket that holds unread pulses would reset
// the connection.
func TestSlowClientGetsItsGoodbyeOverTCP(t *testing.T) {
	pub, err := publisher.New(publisher.Config{Seed: 1})
	require.NoError(t, err)
	w := &world{t: t, pub: pub}
	for _, s := range []string{"A0", "A1", "B0"} {
		id, err := pub.Define(t.Context(), feed.Definition{Symbol: s, PriceExponent: -2})
		require.NoError(t, err)
		w.ids = append(w.ids, id)
	}
	ctx, cancel := context.WithCancel(t.Context())
	w.cancel, w.serve = cancel, make(chan error, 1)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	go func() { w.serve <- pub.Serve(ctx, ln) }()
	t.Cleanup(w.stop)

	nc, err := net.Dial("tcp", ln.Addr().String())
	require.NoError(t, err)
	defer nc.Close()
	require.NoError(t, nc.(*net.TCPConn).SetReadBuffer(8<<10))
	hello, err := codec.Append(nil, &codec.Hello{MinVersion: 1, MaxVersion: 1, Start: codec.Start{Kind: codec.StartBeginning}, Slow: codec.SlowDisconnect, MaxLag: 50 * time.Millisecond, Heartbeat: 10 * time.Second})
	require.NoError(t, err)
	_, err = nc.Write(hello)
	require.NoError(t, err)
	pulse, err := codec.Append(nil, &codec.Pulse{Next: 1})
	require.NoError(t, err)
	for range 100 {
		_, _ = nc.Write(pulse)
		w.quotes(3000)
		time.Sleep(10 * time.Millisecond)
	}
	require.Eventually(t, func() bool { // the publisher has found it too slow once it writes no more, whatever is published
		_, _ = nc.Write(pulse)
		w.quotes(1)
		conns := pub.Stats().Conns
		return len(conns) == 1 && conns[0].Told < 100_000
	}, 30*time.Second, time.Millisecond)
	for range 20 { // long after it was found too slow; unread pulses are in the socket of the publisher if it does not read them
		_, _ = nc.Write(pulse)
		time.Sleep(20 * time.Millisecond)
	}
	_ = nc.SetReadDeadline(time.Now().Add(time.Minute))
	r := codec.NewReader(&slowly{nc, 4 << 20}, 0)
	var last codec.Type
	for {
		typ, _, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		require.NoError(t, err, "after %v", last)
		last = typ
		_, _ = nc.Write(pulse)
	}
	assert.Equal(t, codec.TypeGoodbye, last)
}
