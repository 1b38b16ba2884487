package codec

import (
	"bytes"
	"io"
	"testing"

	"github.com/stretchr/testify/require"

	"tickfeed/feed"
	"tickfeed/feed/sim"
)

// marketSnapshot is the snapshot of a simulated market of n instruments, all of which have
// traded, and the state that it tells.
func marketSnapshot(tb testing.TB, n int) (raw []byte, s *feed.State) {
	tb.Helper()
	market, err := sim.New(sim.Config{Seed: 1, Instruments: n, Continuous: true})
	require.NoError(tb, err)
	s = feed.NewState()
	batch := make([]feed.Tick, 4096)
	for range 30*n/len(batch) + 1 {
		k, err := market.Next(tb.Context(), batch)
		require.NoError(tb, err)
		_, err = s.ApplyAll(batch[:k])
		require.NoError(tb, err)
	}
	raw, err = AppendSnapshot(nil, &SnapshotBegin{Seq: 1}, s.Entries(nil), 99)
	require.NoError(tb, err)
	return raw, s
}

// BenchmarkSnapshot is a snapshot of 10,000 instruments written, and read as far as ticks.
func BenchmarkSnapshot(b *testing.B) {
	raw, s := marketSnapshot(b, 10_000)
	b.Run("append", func(b *testing.B) {
		b.ReportAllocs()
		b.SetBytes(int64(len(raw)))
		for b.Loop() {
			if _, err := AppendSnapshot(nil, &SnapshotBegin{Seq: 1}, s.Entries(nil), 99); err != nil {
				b.Fatal(err)
			}
		}
	})
	var parts [][]byte
	for r := NewReader(bytes.NewReader(raw), 0); ; {
		t, message, err := r.Next()
		if err == io.EOF {
			break
		}
		require.NoError(b, err)
		if t == TypeSnapshotPart {
			parts = append(parts, bytes.Clone(message))
		}
	}
	b.Run("decode", func(b *testing.B) {
		b.ReportAllocs()
		b.SetBytes(int64(len(raw)))
		batch := make([]feed.Tick, 256)
		entries := 0
		for b.Loop() {
			for _, raw := range parts {
				part, err := ParsePart(raw, 99)
				if err != nil {
					b.Fatal(err)
				}
				for body := PartBody(&part); ; {
					n, err := body.Decode(batch)
					if err != nil {
						b.Fatal(err)
					}
					if n == 0 {
						break
					}
					entries += n
				}
			}
		}
		b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(entries), "ns/entry")
	})
}
