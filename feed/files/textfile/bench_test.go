package textfile_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tickfeed/feed"
	"tickfeed/feed/files/textfile"
)

// Reading allocates for instruments, not for rows.
func TestNoAllocationPerRow(t *testing.T) {
	for name, text := range map[string]string{"csv": benchCSV(20_000), "ndjson": benchNDJSON(20_000)} {
		src, err := textfile.Open([]string{"-"}, strings.NewReader(text), textfile.Config{})
		require.NoError(t, err)
		batch := make([]feed.Tick, 256)
		_, err = src.Next(context.Background(), batch)
		require.NoError(t, err)
		allocs := testing.AllocsPerRun(1, func() {
			for err == nil {
				_, err = src.Next(context.Background(), batch)
			}
		})
		assert.True(t, errors.Is(err, io.EOF), err)
		assert.EqualValues(t, 20_000, src.Stats().Rows)
		assert.Less(t, allocs, 200.0, name)
		src.Close()
	}
}

func benchCSV(rows int) string {
	var b strings.Builder
	b.WriteString("ts_event,symbol,venue,bid,bid_size,ask,ask_size\n")
	for i := range rows {
		fmt.Fprintf(&b, "%d,SYM%d,XNAS,%d.%02d,%d,%d.%02d,%d\n", 1772461800000000000+i*1000, i%500, 100+i%50, i%100, i%900, 101+i%50, i%100, i%700)
	}
	return b.String()
}

func benchNDJSON(rows int) string {
	var b strings.Builder
	for i := range rows {
		fmt.Fprintf(&b, `{"session":"00000000deadbeef","seq":%d,"type":"quote","symbol":"SYM%d","venue":"XNAS","ts_event":%d,"ts_publish":%d,"bid":%d.%02d,"bid_size":%d,"ask":%d.%02d,"ask_size":%d}`+"\n",
			i+1, i%500, 1772461800000000000+i*1000, 1772461800000000000+i*1000, 100+i%50, i%100, i%900, 101+i%50, i%100, i%700)
	}
	return b.String()
}

func BenchmarkRead(b *testing.B) {
	const rows = 200_000
	for _, c := range []struct{ name, text string }{{"csv", benchCSV(rows)}, {"ndjson", benchNDJSON(rows)}} {
		b.Run(c.name, func(b *testing.B) {
			b.SetBytes(int64(len(c.text)))
			b.ReportAllocs()
			batch := make([]feed.Tick, 256)
			for b.Loop() {
				src, err := textfile.Open([]string{"-"}, strings.NewReader(c.text), textfile.Config{})
				require.NoError(b, err)
				for err == nil {
					_, err = src.Next(context.Background(), batch)
				}
				require.Equal(b, io.EOF, err)
				src.Close()
			}
			b.ReportMetric(rows*float64(b.N)/b.Elapsed().Seconds(), "rows/s")
		})
	}
}
