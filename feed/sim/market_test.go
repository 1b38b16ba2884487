package sim

import (
	"context"
	"testing"
	"time"

	"tickfeed/feed"
)

func BenchmarkNext(b *testing.B) {
	for _, c := range []struct {
		name   string
		config Config
	}{
		{"1000 instruments", Config{}},
		{"10000 instruments", Config{Instruments: 10_000}},
		{"1000 instruments at 1M per s", Config{Rate: 1e6}},
		{"1000 instruments at 1 per s", Config{Rate: 1}},
		{"1000 instruments, depth 5", Config{Depth: 5}},
	} {
		b.Run(c.name, func(b *testing.B) {
			m, err := New(c.config)
			if err != nil {
				b.Fatal(err)
			}
			batch := make([]feed.Tick, 256)
			for range 100 { // beyond the definitions
				if _, err := m.Next(context.Background(), batch); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportAllocs()
			b.ResetTimer()
			start := time.Now()
			for done := 0; done < b.N; {
				n, err := m.Next(context.Background(), batch[:min(len(batch), b.N-done)])
				if err != nil {
					b.Fatal(err)
				}
				done += n
			}
			b.ReportMetric(float64(b.N)/time.Since(start).Seconds()/1e6, "Mticks/s")
		})
	}
}
