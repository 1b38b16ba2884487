package bench

import (
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// Bounds of a histogram: longer times count as the greatest.
const (
	leastTime    = 100 * time.Nanosecond
	greatestTime = 100 * time.Second
)

func newHistogram() *hdrhistogram.Histogram {
	return hdrhistogram.New(int64(leastTime), int64(greatestTime), 3)
}

func record(h *hdrhistogram.Histogram, d time.Duration) {
	_ = h.RecordValue(int64(min(max(d, 0), greatestTime))) // within its bounds
}

// A latency summarizes a histogram.
type latency struct {
	Count               int64
	P50, P99, P999, Max time.Duration
}

func latencyOf(h *hdrhistogram.Histogram) latency {
	return latency{
		Count: h.TotalCount(),
		P50:   time.Duration(h.ValueAtQuantile(50)), P99: time.Duration(h.ValueAtQuantile(99)),
		P999: time.Duration(h.ValueAtQuantile(99.9)), Max: time.Duration(h.Max()),
	}
}
