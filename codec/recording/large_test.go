package recording

import (
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"tickfeed/codec"
)

var large = flag.Int64("large", 32<<20, "bytes of the recordings of TestLargeRecordingsAreSoughtAsFast")

// Seeking takes the same time however long a recording is; if the index is lost, the marks replace it. With
// -large 10000000000 -v the test reports the time for 10 GB; it asserts no speed.
func TestLargeRecordingsAreSoughtAsFast(t *testing.T) {
	for _, ticks := range []int{20, 600} {
		t.Run(fmt.Sprintf("packets of %d ticks", ticks), func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "large.tick")
			f, err := os.Create(path)
			require.NoError(t, err)
			s := newSession(0xa1)
			w, err := NewWriter(f, s.header, nil)
			require.NoError(t, err)
			first := s.packet(instruments)
			require.NoError(t, w.Append(first, s.next, s.time))
			p, next := s.packet(ticks), s.next-uint64(ticks)
			run := make([]byte, 0, 256<<10)
			for w.Size() < *large {
				run = run[:0]
				for len(run)+len(p) < cap(run) {
					h := codec.PacketAt(p)
					h.First, h.PublishTime = next, s.time
					codec.SealPacket(p, &h, s.header.Seed)
					run = append(run, p...)
					next += h.Count
					s.time += 1000
				}
				require.NoError(t, w.Append(run, next, s.time-1000))
			}
			marks := slices.Clone(w.Marks())
			size := w.Size()
			require.NoError(t, w.Close())

			for _, closed := range []bool{true, false} {
				if !closed {
					require.NoError(t, os.Truncate(path, size))
				}
				begun := time.Now()
				in, err := Open(path)
				require.NoError(t, err)
				r, err := in.Reader()
				require.NoError(t, err)
				got, err := r.Marks()
				require.NoError(t, err)
				require.Equal(t, marks, got)
				t.Logf("closed in order: %v; %d bytes opened, and the index read or made, in %v", closed, size, time.Since(begun))
				random := rand.New(rand.NewPCG(1, 2))
				var took []time.Duration
				for range 500 {
					seq := instruments + 1 + random.Uint64N(next-instruments-1)
					begun := time.Now()
					require.NoError(t, r.SeekSeq(seq))
					item, err := r.Next()
					took = append(took, time.Since(begun))
					require.NoError(t, err)
					require.Equal(t, KindPackets, item.Kind)
					require.True(t, codec.PacketAt(item.Data).First <= seq && item.Range.Contains(seq))
				}
				slices.Sort(took)
				t.Logf("seek and read: p50 %v, p99 %v, most %v", took[250], took[495], took[499])
				begun = time.Now()
				fresh, err := in.Reader()
				require.NoError(t, err)
				require.NoError(t, fresh.SeekSeq(next/2))
				t.Logf("open and seek to the middle: %v", time.Since(begun))
				begun = time.Now()
				verify, err := in.Reader()
				require.NoError(t, err)
				for {
					item, err := verify.Next()
					if err == io.EOF {
						break
					}
					require.NoError(t, err)
					require.Less(t, item.Kind, KindDamage)
				}
				t.Logf("every checksum: %.2f GB/s", float64(size)/time.Since(begun).Seconds()/1e9)
				require.NoError(t, in.Close())
			}
		})
	}
}
