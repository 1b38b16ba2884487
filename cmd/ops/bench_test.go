package ops_test

import (
	"io"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"tickfeed/cmd/ops"
	"tickfeed/codec"
	"tickfeed/feed"
	"tickfeed/publisher"
)

// BenchmarkScrape scrapes a publisher of 10,000 subscribers; B/scrape is the size of the response.
func BenchmarkScrape(b *testing.B) {
	pub, err := publisher.New(publisher.Config{Heartbeat: publisher.MaxHeartbeat})
	require.NoError(b, err)
	defer pub.Close(b.Context())
	id, err := pub.Define(b.Context(), feed.Definition{Symbol: "AAPL", PriceExponent: -2})
	require.NoError(b, err)
	ln := newPipes()
	var served sync.WaitGroup
	served.Go(func() { _ = pub.Serve(b.Context(), ln) })
	defer served.Wait()
	defer ln.Close()
	hello, err := codec.Append(nil, &codec.Hello{MinVersion: codec.Version, MaxVersion: codec.Version, Client: "bench", Start: codec.Start{Kind: codec.StartLive}})
	require.NoError(b, err)
	const subscribers, atOnce = 10_000, 500 // of more handshakes than that the publisher may end the oldest
	for i := range subscribers {
		for pub.Summary().Subscribers <= i-atOnce {
			time.Sleep(time.Millisecond)
		}
		nc := ln.dial()
		defer nc.Close()
		go func() {
			if _, err := nc.Write(hello); err == nil {
				_, _ = io.Copy(io.Discard, nc)
			}
		}()
	}
	for pub.Summary().Subscribers < subscribers {
		time.Sleep(time.Millisecond)
	}
	require.NoError(b, pub.Publish(b.Context(), []feed.Tick{feed.Trade{Price: 1, Size: 1}.Tick(id, 1)}))
	view := ops.NewPublisher(pub, time.Minute)
	site := ops.Site{Command: "publish", Ready: view.Ready, Conns: view.Conns, Metrics: []ops.Collector{view.Metrics}, Details: []ops.Collector{view.Details}}
	h := site.Handler()
	for _, path := range []string{"/metrics", "/metrics?detail=1", "/connz", "/readyz"} {
		b.Run(path[1:], func(b *testing.B) {
			size := 0
			for b.Loop() {
				w := httptest.NewRecorder()
				h.ServeHTTP(w, httptest.NewRequest("GET", "http://localhost"+path, nil))
				require.Equal(b, 200, w.Code)
				size = w.Body.Len()
			}
			b.ReportMetric(float64(size), "B/scrape")
		})
	}
}
