package ops_test

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tickfeed/cmd/ops"
	"tickfeed/codec"
	"tickfeed/codec/effort"
	"tickfeed/feed"
	"tickfeed/publisher"
)

// crowded returns the handler of a publisher with many subscribers.
func crowded(t testing.TB, subscribers int) http.Handler {
	pub, err := publisher.New(publisher.Config{Heartbeat: publisher.MaxHeartbeat})
	require.NoError(t, err)
	id, err := pub.Define(t.Context(), feed.Definition{Symbol: "AAPL", PriceExponent: -2})
	require.NoError(t, err)
	ln := newPipes()
	ctx, cancel := context.WithCancel(context.Background())
	var served sync.WaitGroup
	served.Go(func() { _ = pub.Serve(ctx, ln) })
	t.Cleanup(func() {
		cancel()
		ln.Close()
		served.Wait()
		_ = pub.Close(context.Background())
	})
	hello, err := codec.Append(nil, &codec.Hello{MinVersion: codec.Version, MaxVersion: codec.Version, Client: "bench", Start: codec.Start{Kind: codec.StartLive}})
	require.NoError(t, err)
	const atOnce = 500 // of more handshakes than that the publisher may end the oldest
	await := func(n int) {
		for deadline := time.Now().Add(patience); pub.Summary().Subscribers < n; time.Sleep(time.Millisecond) {
			require.True(t, time.Now().Before(deadline), "not all have joined")
		}
	}
	for i := range subscribers {
		await(i - atOnce + 1)
		nc := ln.dial()
		t.Cleanup(func() { nc.Close() })
		go func() {
			if _, err := nc.Write(hello); err == nil {
				_, _ = io.Copy(io.Discard, nc)
			}
		}()
	}
	await(subscribers)
	require.NoError(t, pub.Publish(t.Context(), []feed.Tick{feed.Trade{Price: 1, Size: 1}.Tick(id, 1)}))
	view := ops.NewPublisher(pub, time.Minute)
	site := ops.Site{Command: "publish", Ready: view.Ready, Conns: view.Conns, Metrics: []ops.Collector{view.Metrics}, Details: []ops.Collector{view.Details}}
	return site.Handler()
}

// scrape asks h for path, and returns the size of the response.
func scrape(t testing.TB, h http.Handler, path string) int {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest("GET", "http://localhost"+path, nil))
	require.Equal(t, 200, w.Code)
	return w.Body.Len()
}

// Prometheus gets the metrics of a publisher with 10,000 subscribers in 5 ms and 50 KB, and those of each connection in a
// bounded number of them (PROMISES.md, 38).
func TestScrapeOfManySubscribers(t *testing.T) {
	h := crowded(t, effort.Of(t, 10_000, 1_500))
	assert.Less(t, scrape(t, h, "/metrics"), 50_000)
	assert.Less(t, scrape(t, h, "/metrics?detail=1"), 500_000, "the 1,000 that are furthest behind")
	const times = 40 // so that the bound is long beside the delay of a timer
	timers := effort.WatchTimers(t)
	var took [times]time.Duration
	for i := range took {
		began := time.Now()
		scrape(t, h, "/metrics")
		took[i] = time.Since(began)
	}
	slices.Sort(took[:])
	timers.Judge(t, "40 times the median time of a scrape", times*took[times/2], times*5*time.Millisecond)
}

// BenchmarkScrape scrapes a publisher of 10,000 subscribers; B/scrape is the size of the response.
func BenchmarkScrape(b *testing.B) {
	h := crowded(b, 10_000)
	for _, path := range []string{"/metrics", "/metrics?detail=1", "/connz", "/readyz"} {
		b.Run(path[1:], func(b *testing.B) {
			size := 0
			for b.Loop() {
				size = scrape(b, h, path)
			}
			b.ReportMetric(float64(size), "B/scrape")
		})
	}
}
