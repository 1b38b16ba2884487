package parquetfile

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/parquet-go/parquet-go"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tickfeed/feed"
	"tickfeed/feed/files/rawfile"
)

func file(t testing.TB, b []byte) string {
	path := filepath.Join(t.TempDir(), "x.parquet")
	require.NoError(t, os.WriteFile(path, b, 0o600))
	return path
}

func csvOf(t testing.TB, paths ...string) string {
	rows, err := OpenRows(paths, nil)
	require.NoError(t, err)
	defer rows.Close()
	b, err := io.ReadAll(rows)
	require.NoError(t, err)
	return string(b)
}

// A file that tickfeed wrote gives its values exactly: decimals without trailing zeros, times as UTC, and a time
// that the venue did not give as the beginning of the epoch.
func TestRowsOfOurOwn(t *testing.T) {
	aapl := &feed.Definition{Symbol: "A,\"B", PriceExponent: -2}
	first := feed.Quote{Bid: 18725, BidSize: 300, Ask: feed.NoPrice}.Tick(0, noon)
	first.Flags |= feed.FlagMore
	got := csvOf(t, file(t, written(t, []feed.Kind{feed.KindQuote, feed.KindTrade},
		row{first, aapl}, row{feed.Trade{Price: -5, Size: 100, Side: feed.SideBuy}.Tick(0, 0), aapl})))
	assert.Equal(t, `session,seq,type,symbol,venue,ts_event,ts_publish,bid,bid_size,ask,ask_size,price,size,side,trade_id,conditions,more
00000000deadbeef,1,quote,"A,""B",,2026-03-02T14:30:00.000000001Z,2026-03-02T14:30:00.000000006Z,187.25,300,,0,,,,,,true
00000000deadbeef,2,trade,"A,""B",,1970-01-01T00:00:00Z,2026-03-02T14:30:00.000000006Z,,,,,-0.05,100,buy,,,
`, got)
}

// foreign returns a file as other programs write it, with two row groups.
func foreign(t testing.TB) []byte {
	type nested struct{ A int64 }
	type line struct {
		Utc    time.Time `parquet:"utc,timestamp(millisecond)"`
		Day    int32     `parquet:"day,date"`
		Px     float64   `parquet:"px"`
		Small  *float32  `parquet:"small,optional"`
		Size   uint64    `parquet:"size"`
		Small8 int32     `parquet:"small8"`
		Dec    int32     `parquet:"dec,decimal(3:9)"`
		Flag   bool      `parquet:"flag"`
		Name   string    `parquet:"name"`
		List   []int64   `parquet:"list,list"`
		Group  nested    `parquet:"group"`
		Last   int64     `parquet:"last"`
	}
	var out bytes.Buffer
	w := parquet.NewGenericWriter[line](&out)
	half := float32(0.1)
	at := time.Date(2024, 1, 2, 3, 4, 5, 678e6, time.UTC)
	for i, l := range []line{
		{Utc: at, Day: 19724, Px: 0.1, Small: &half, Size: 1 << 63, Small8: -5, Dec: -1, Flag: true, Name: "x\ny", List: []int64{1, 2}, Last: 7},
		{Utc: at, Px: 100, Dec: 120500, Name: "z", Last: 8},
	} {
		_, err := w.Write([]line{l})
		require.NoError(t, err, i)
		require.NoError(t, w.Flush())
	}
	require.NoError(t, w.Close())
	return out.Bytes()
}

// Columns of any plain type are text; lists and groups are left out. Of several files the columns
// are those of all.
func TestRowsOfOthers(t *testing.T) {
	path := file(t, foreign(t))
	assert.Equal(t, "utc,day,px,small,size,small8,dec,flag,name,last\n"+
		"2024-01-02T03:04:05.678Z,2024-01-02,0.1,0.1,9223372036854775808,-5,-0.001,true,\"x\x00y\",7\n"+
		"2024-01-02T03:04:05.678Z,1970-01-01,100.0,,0,0,120.5,false,z,8\n", csvOf(t, path))

	type other struct {
		Last int64 `parquet:"last"`
		More int64 `parquet:"additional"`
	}
	var out bytes.Buffer
	w := parquet.NewGenericWriter[other](&out)
	_, err := w.Write([]other{{1, 2}})
	require.NoError(t, err)
	require.NoError(t, w.Close())
	assert.Contains(t, csvOf(t, path, file(t, out.Bytes())), "false,z,8,\n,,,,,,,,,1,2\n")
}

// A file that is damaged or not Parquet is an error and never causes a panic.
func TestDamagedFiles(t *testing.T) {
	whole := foreign(t)
	_, err := OpenRows([]string{file(t, whole[:len(whole)-9])}, nil)
	var format *rawfile.FormatError
	require.ErrorAs(t, err, &format)
	for i := 4; i < len(whole); i += 3 {
		b := bytes.Clone(whole)
		b[i] ^= 0x55
		rows, err := OpenRows([]string{file(t, b)}, nil)
		if err != nil {
			continue
		}
		_, _ = io.Copy(io.Discard, io.LimitReader(rows, 1<<20)) // ends, with an error or not
		require.NoError(t, rows.Close())
	}
}

// The place of a row is its place in its file.
func TestWhereIsThePlaceInTheFile(t *testing.T) {
	a, b := file(t, foreign(t)), file(t, foreign(t))
	rows, err := OpenRows([]string{a, b}, nil)
	require.NoError(t, err)
	defer rows.Close()
	_, err = io.Copy(io.Discard, rows)
	require.NoError(t, err)
	for line, want := range map[int64]struct {
		path string
		row  int64
	}{2: {a, 1}, 3: {a, 2}, 4: {b, 1}, 5: {b, 2}} {
		path, row := rows.Where(line)
		assert.Equal(t, want.path, path)
		assert.Equal(t, want.row, row)
	}
}
