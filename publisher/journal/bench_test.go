package journal_test

import (
	"encoding/binary"
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
	"tickfeed/feed"
	"tickfeed/publisher/journal"
)

var findBytes = flag.Int64("journal.find", 512<<20, "bytes of the journal of BenchmarkFind")

// bench makes a journal of about size bytes in dir.
func bench(b *testing.B, dir string, size int64) (*journal.Journal, uint64) {
	b.Helper()
	j, err := journal.Open(journal.Config{Dir: dir})
	require.NoError(b, err)
	id := feed.SessionID(7)
	lineage := feed.Lineage{{ID: id, First: 1}}
	require.NoError(b, j.Begin(lineage, codec.ModeLive, nil))
	state := feed.NewState()
	var body []byte
	for id := range feed.InstrumentID(100) {
		t := feed.Tick{Kind: feed.KindDefinition, Instrument: id, Extra: &feed.Extra{
			Definition: &feed.Definition{Symbol: fmt.Sprintf("S%d", id)},
		}}
		require.NoError(b, state.Apply(&t))
		body = codec.AppendTick(body, &t, 0)
	}
	next := uint64(101)
	require.NoError(b, j.Append(codec.AppendPacket(nil, &codec.Packet{First: 1, Count: 100}, body, codec.LineSeed(id, nil)), next, 0))
	for j.Bytes() < size {
		if j.Full() {
			require.NoError(b, j.Rotate(state))
			require.NoError(b, j.Settle())
		}
		p, to := benchPackets(id, next)
		require.NoError(b, j.Append(p, to, int64(to)))
		next = to
	}
	return j, next
}

// benchPackets is about 64 KiB of packets of a hundred quotes.
func benchPackets(id feed.SessionID, next uint64) ([]byte, uint64) {
	var p []byte
	for len(p) < 62<<10 {
		var body []byte
		for i := range uint64(100) {
			t := feed.Quote{Bid: int64(next + i), Ask: int64(next+i) + 1}.Tick(feed.InstrumentID(i), 0)
			body = codec.AppendTick(body, &t, 0)
		}
		h := codec.Packet{First: next, Count: 100, PublishTime: int64(next)}
		p = codec.AppendPacket(p, &h, body, codec.LineSeed(id, nil))
		next += 100
	}
	return p, next
}

func BenchmarkAppend(b *testing.B) {
	j, err := journal.Open(journal.Config{Dir: b.TempDir(), RetainBytes: 512 << 20})
	require.NoError(b, err)
	defer j.Close()
	lineage := feed.Lineage{{ID: 7, First: 1}}
	require.NoError(b, j.Begin(lineage, codec.ModeLive, nil))
	p, _ := benchPackets(7, 1)
	next := uint64(1)
	b.SetBytes(int64(len(p)))
	b.ReportAllocs()
	for b.Loop() {
		if j.Full() {
			b.StopTimer()
			require.NoError(b, j.Rotate(feed.NewState()))
			require.NoError(b, j.Settle())
			require.NoError(b, j.Retain(0))
			b.StartTimer()
		}
		binary.BigEndian.PutUint64(p[8:], next) // its checksum is not looked at
		next++
		if err := j.Append(p, next, 0); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkRotate measures how long Rotate keeps the goroutine that sends ticks, at the end of a file of 32 MiB whose
// last 16 MiB are not synced. Settle, which does the rest, is not timed.
func BenchmarkRotate(b *testing.B) {
	for name, sync := range map[string]journal.Sync{"none": journal.SyncNone, "interval": journal.SyncInterval} {
		b.Run(name, func(b *testing.B) {
			const size = 32 << 20
			j, err := journal.Open(journal.Config{Dir: b.TempDir(), SegmentSize: size, RetainBytes: 2 * size, Sync: sync})
			require.NoError(b, err)
			defer j.Close()
			require.NoError(b, j.Begin(feed.Lineage{{ID: 7, First: 1}}, codec.ModeLive, nil))
			p, _ := benchPackets(7, 1)
			var took []time.Duration
			for next := uint64(1); b.Loop(); {
				b.StopTimer()
				for written, synced := 0, false; !j.Full(); written += len(p) {
					if written >= size/2 && !synced {
						require.NoError(b, j.Sync())
						synced = true
					}
					binary.BigEndian.PutUint64(p[8:], next) // its checksum is not looked at
					next++
					require.NoError(b, j.Append(p, next, 0))
				}
				b.StartTimer()
				start := time.Now()
				err := j.Rotate(feed.NewState())
				took = append(took, time.Since(start))
				b.StopTimer()
				require.NoError(b, err)
				require.NoError(b, j.Settle())
				require.NoError(b, j.Retain(0))
				b.StartTimer()
			}
			slices.Sort(took)
			b.ReportMetric(float64(took[len(took)/2].Microseconds()), "p50-µs")
			b.ReportMetric(float64(took[len(took)-1].Microseconds()), "max-µs")
		})
	}
}

func BenchmarkCursor(b *testing.B) {
	j, _ := bench(b, b.TempDir(), 512<<20)
	defer j.Close()
	b.SetBytes(j.Bytes())
	b.ReportAllocs()
	for b.Loop() {
		c := j.Cursor(1)
		for {
			if _, err := c.Next(); err != nil {
				break
			}
		}
		c.Close()
	}
}

// BenchmarkFind is what it takes to find a number in a journal that is in memory, and to read what follows. Of 10 GB
// that were just written some pages are on the disk only, where a find in a hundred would wait for it.
func BenchmarkFind(b *testing.B) {
	dir := b.TempDir()
	j, next := bench(b, dir, *findBytes)
	defer j.Close()
	files, err := filepath.Glob(filepath.Join(dir, "*.tick"))
	require.NoError(b, err)
	for _, name := range files {
		f, err := os.Open(name)
		require.NoError(b, err)
		require.NoError(b, f.Sync()) // else writing it back goes on meanwhile
		_, err = io.Copy(struct{ io.Writer }{io.Discard}, f)
		require.NoError(b, err)
		f.Close()
	}
	r := rand.New(rand.NewPCG(1, 2))
	var took []time.Duration
	b.ReportAllocs()
	for b.Loop() {
		start := time.Now()
		c := j.Cursor(1 + r.Uint64N(next-1))
		if _, err := c.Next(); err != nil {
			b.Fatal(err)
		}
		c.Close()
		took = append(took, time.Since(start))
	}
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Nanoseconds()), "p50-ns")
	b.ReportMetric(float64(took[len(took)*99/100].Nanoseconds()), "p99-ns")
	b.ReportMetric(float64(took[len(took)*90/100].Nanoseconds()), "p90-ns")
}

func BenchmarkOpen(b *testing.B) {
	dir := b.TempDir()
	j, _ := bench(b, dir, 512<<20)
	require.NoError(b, j.Close())
	for b.Loop() {
		j, err := journal.Open(journal.Config{Dir: dir})
		require.NoError(b, err)
		require.NoError(b, j.Close())
	}
}
