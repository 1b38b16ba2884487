package hosted_test

import (
	"context"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"tickfeed/codec/lab"
	"tickfeed/feed"
	"tickfeed/publisher"
	"tickfeed/publisher/hosted"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var aapl = feed.Definition{Symbol: "AAPL", PriceExponent: -2}

func start(t *testing.T) *hosted.Publisher {
	p, err := hosted.New(t.Context(), hosted.Config{
		Listen: func(uint64) (net.Listener, error) { return net.Listen("tcp", "127.0.0.1:0") },
		Dial: func(ctx context.Context, addr string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "tcp", addr)
		},
		Began: func(ctx context.Context, pub *publisher.Publisher) error {
			_, err := pub.Define(ctx, aapl)
			return err
		},
	})
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, p.Close()) })
	return p
}

func quotes(n int) []feed.Tick {
	ticks := make([]feed.Tick, n)
	for i := range ticks {
		ticks[i] = feed.Quote{Bid: 1, Ask: 2}.Tick(0, int64(i+1))
	}
	return ticks
}

func head(t *testing.T, p *hosted.Publisher) uint64 {
	pub, err := p.Wait(t.Context())
	require.NoError(t, err)
	return pub.Stats().Head
}

// Published ticks survive a kill and a stop. Numbers after a copy do not survive its restore. Nothing survives a replacement,
// which defines the instruments again.
func TestJournalsSurviveWhatTheyShould(t *testing.T) {
	p := start(t)
	publish := func(n int) { require.NoError(t, p.Publish(t.Context(), quotes(n))) }
	publish(10)
	require.NoError(t, p.Kill())
	_, err := p.Dial(t.Context())
	require.Error(t, err, "nothing is left of it")
	require.NoError(t, p.Start(t.Context(), lab.SameJournal))
	require.Equal(t, uint64(12), head(t, p))
	require.Error(t, func() error { require.NoError(t, p.Stop()); return p.Start(t.Context(), lab.CopiedJournal) }(), "there is no copy")
	require.NoError(t, p.Start(t.Context(), lab.SameJournal))
	require.NoError(t, p.Copy())
	for range 2 { // a copy can be used again
		publish(5)
		require.Equal(t, uint64(17), head(t, p))
		require.NoError(t, p.Stop())
		require.NoError(t, p.Start(t.Context(), lab.CopiedJournal))
		require.Equal(t, uint64(12), head(t, p))
	}
	require.NoError(t, p.Stop())
	require.NoError(t, p.Start(t.Context(), lab.NoJournal))
	require.Equal(t, uint64(2), head(t, p))
	publish(1)
}

// Ticks that are being published when the publisher is killed are published once, whatever has survived of them.
func TestPublishGoesOn(t *testing.T) {
	p := start(t)
	const n = 20_000
	done := make(chan error, 1)
	go func() {
		ticks := quotes(n)
		for len(ticks) > 0 {
			if err := p.Publish(t.Context(), ticks[:100]); err != nil {
				done <- err
				return
			}
			ticks = ticks[100:]
		}
		done <- nil
	}()
	for running, lives := true, 1; running; lives++ {
		select {
		case err := <-done:
			require.NoError(t, err)
			running = false
		case <-time.After(2 * time.Millisecond):
			require.NoError(t, p.Kill())
			require.NoError(t, p.Start(t.Context(), lab.SameJournal))
		}
	}
	require.Equal(t, uint64(n+2), head(t, p))
}

// Publish waits while the publisher is frozen or its disk is full, as long as its context lasts.
func TestPublishWaits(t *testing.T) {
	p := start(t)
	waits := func() bool {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
		defer cancel()
		return p.Publish(ctx, quotes(1)) != nil
	}
	require.NoError(t, p.Freeze())
	assert.True(t, waits())
	require.NoError(t, p.Thaw())
	assert.Equal(t, uint64(2), head(t, p))
	require.NoError(t, p.Fill())
	assert.True(t, waits())
	require.NoError(t, p.Empty())
	require.NoError(t, p.Publish(t.Context(), quotes(1)))
	assert.Equal(t, uint64(4), head(t, p), "the tick that waited for room was numbered")
}
