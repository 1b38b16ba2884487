package main

import (
	"bytes"
	"io"
	"math/big"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/parquet-go/parquet-go"
	parquetformat "github.com/parquet-go/parquet-go/format"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tickfeed/codec"
	"tickfeed/codec/recording"
	"tickfeed/feed"
)

// An everyRecord is what recordEveryField has put into a recording.
type everyRecord struct {
	ticks []journalled // without those of snapshots
	all   []journalled // with those of snapshots
	state *feed.State  // as of the end
	next  uint64
}

// The sessions that recordEveryField makes.
const firstSession, secondSession feed.SessionID = 0x1a, 0x2b

// recordEveryField makes a recording of two sessions in f: in each two instruments with ticks of every kind, each packet
// published at a time of its own, and a snapshot where the second one begins. With holes, numbers that have no tick for each
// reason that there is, and the snapshots after them, come in between.
func recordEveryField(t *testing.T, f recording.File, holes bool) *everyRecord {
	t.Helper()
	h := codec.FileHeader{
		Mode: codec.ModeLive, Lineage: feed.Lineage{{ID: firstSession, First: 1}}, Next: 1, Source: "every field", Created: noon,
	}
	b, err := recording.NewBuilder(f, h, nil)
	require.NoError(t, err)
	out := &everyRecord{state: feed.NewState()}
	session, publish := firstSession, int64(noon)+int64(time.Hour)
	define := func(tick feed.Tick) *feed.Definition {
		def, ok := out.state.Definition(tick.Instrument)
		require.True(t, ok)
		d := *def
		return &d
	}
	put := func(ticks ...feed.Tick) {
		publish += 1_000_003
		next := b.Next()
		require.NoError(t, b.AppendAt(publish, ticks))
		for i, tick := range ticks {
			tick.Seq = next + uint64(i)
			require.NoError(t, out.state.Apply(&tick))
			j := journalled{session, publish, tick, define(tick)}
			out.ticks, out.all = append(out.ticks, j), append(out.all, j)
		}
	}
	snapshot := func() {
		for entry := range out.state.Entries(nil) {
			out.all = append(out.all, journalled{session: session, tick: entry, def: define(entry)})
		}
	}
	everything := func(first feed.InstrumentID, defs ...feed.Definition) {
		for i := range defs {
			put(feed.Tick{
				Kind: feed.KindDefinition, Instrument: first + feed.InstrumentID(i), EventTime: noon,
				Extra: &feed.Extra{Definition: &defs[i]},
			})
		}
		for _, group := range everyField(first) {
			put(group...)
		}
	}
	everything(0, feed.Definition{Symbol: `A"B,C`, Venue: "XNAS", PriceExponent: -2, SizeExponent: 1, Currency: "USD", TickSize: 5, Lot: 10},
		feed.Definition{Symbol: "Bé"})
	if holes {
		for i, why := range []recording.SkipKind{recording.SkipExpired, recording.SkipDamaged, recording.SkipWithheld, recording.SkipNotAsked} {
			require.NoError(t, b.Skip(uint64(5+i), why))
			if why != recording.SkipNotAsked { // the snapshot has what the missing numbers have changed
				missing := feed.Quote{Bid: int64(100 + i), BidSize: 3, Ask: 777, AskSize: 4}.Tick(1, noon+int64(i))
				require.NoError(t, out.state.Apply(&missing))
				require.NoError(t, b.Restate(out.state))
				snapshot()
			}
			put(feed.Quote{Bid: int64(i), BidSize: 1, Ask: 99, AskSize: 2}.Tick(0, noon+int64(i)))
		}
	}
	h.Lineage, h.Next = h.Lineage.Child(secondSession, b.Next()), b.Next()
	require.NoError(t, b.Continue(h, out.state))
	session = secondSession
	snapshot()
	everything(2, feed.Definition{Symbol: "C", Venue: "V", PriceExponent: 3, SizeExponent: -4},
		feed.Definition{Symbol: "D", PriceExponent: -18, Currency: "€", Lot: 1})
	out.next = b.Next()
	require.NoError(t, b.Close())
	return out
}

// Every field of everything that export and inspect make of a recording, in each format, is what was recorded (PROMISES.md,
// 35): of ticks of every kind, in two sessions, and in snapshots. The values compared with are those given to the Builder.
func TestRecordedOutput(t *testing.T) {
	dir := t.TempDir()
	rec, zst := filepath.Join(dir, "a.tick"), filepath.Join(dir, "b.tick.zst")
	f, err := os.Create(rec)
	require.NoError(t, err)
	want := recordEveryField(t, f, true)
	f, err = os.Create(zst)
	require.NoError(t, err)
	packed, err := recording.Compress(f)
	require.NoError(t, err)
	recordEveryField(t, packed, true)
	kinds := make(map[feed.Kind]bool)
	for i := range want.all {
		kinds[want.all[i].tick.Kind] = true
	}
	require.Len(t, kinds, int(feed.KindSummary), "every kind")

	command := func(args ...string) string {
		var out, said bytes.Buffer
		require.Equal(t, exitDone, run(args, strings.NewReader(""), &out, &said), "%v: %s", args, said.String())
		return out.String()
	}
	txt := filepath.Join(dir, "c.txt")
	command("export", rec, "-o", txt)
	for _, in := range []string{rec, zst, txt} {
		assertPrinted(t, "--json", command("export", in, "-o", "-", "--as", "ndjson"), want.ticks)
		assertPrinted(t, "--csv", command("export", in, "-o", "-", "--as", "csv"), want.ticks)
		assertParquet(t, command("export", in, "-o", "-", "--as", "parquet", "--kinds", "all"), want.ticks)
		assertPrinted(t, "--json", command("inspect", "--ticks", "--json", in), want.all)
		assertPrinted(t, "--csv", command("inspect", "--ticks", "--csv", in), want.all)
		assertPrinted(t, "", command("inspect", "--ticks", in), want.all)
	}
	two := slices.DeleteFunc(slices.Clone(want.ticks), func(j journalled) bool {
		return j.tick.Kind != feed.KindQuote && j.tick.Kind != feed.KindTrade
	})
	assertParquet(t, command("export", rec, "-o", "-", "--as", "parquet"), two)

	back := filepath.Join(dir, "c.tick")
	command("import", txt, "-o", back)
	was, err := os.ReadFile(rec)
	require.NoError(t, err)
	is, err := os.ReadFile(back)
	require.NoError(t, err)
	assert.True(t, bytes.Equal(was, is), "the text form makes the same bytes again")
}

// assertParquet compares each row of the Parquet file with what was recorded, field by field.
func assertParquet(t *testing.T, file string, want []journalled) {
	t.Helper()
	f, err := parquet.OpenFile(strings.NewReader(file), int64(len(file)))
	require.NoError(t, err)
	columns := f.Schema().Fields()
	r := parquet.NewReader(f)
	defer r.Close()
	require.EqualValues(t, len(want), r.NumRows(), "rows")
	rows := make([]parquet.Row, 1)
	for i := range want {
		if n, err := r.ReadRows(rows); n == 0 {
			require.ErrorIs(t, err, io.EOF)
			require.Fail(t, "rows are missing", "from row %d on", i+1)
		}
		got := make(map[string]string)
		for _, v := range rows[0] {
			if column := columns[v.Column()]; !v.IsNull() {
				got[column.Name()] = parquetCell(column.Type(), v)
			}
		}
		fields := want[i].fields()
		for name, v := range fields {
			if v == null || v == "" || name == "ts_event" && v == "0" {
				delete(fields, name)
			}
		}
		assert.Equal(t, fields, got, "row %d", i+1)
	}
}

// parquetCell is the value v of a column as text: a decimal in the shortest digits, any other value as it stands.
func parquetCell(column parquet.Type, v parquet.Value) string {
	l := column.LogicalType()
	if l == nil {
		return v.String()
	}
	d, ok := l.Value.(*parquetformat.DecimalType)
	if !ok {
		return v.String()
	}
	n := new(big.Int)
	if v.Kind() == parquet.Int64 {
		n.SetInt64(v.Int64())
	} else if n.SetBytes(v.ByteArray()); v.ByteArray()[0] >= 0x80 {
		n.Sub(n, new(big.Int).Lsh(big.NewInt(1), uint(8*len(v.ByteArray()))))
	}
	unit := new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(d.Scale)), nil)
	s := new(big.Rat).SetFrac(n, unit).FloatString(int(d.Scale))
	if strings.Contains(s, ".") {
		s = strings.TrimRight(strings.TrimRight(s, "0"), ".")
	}
	return s
}
