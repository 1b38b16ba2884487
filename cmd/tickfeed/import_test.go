package main

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tickfeed/codec"
	"tickfeed/codec/recording"
	"tickfeed/codec/recording/edit"
	"tickfeed/feed"
	"tickfeed/feed/files"
	"tickfeed/feed/files/rawfile"
	"tickfeed/feed/recorded"
)

// recordedData returns the directory of recorded market data. It hides the variable that names it from the commands.
func recordedData(t *testing.T) string {
	t.Helper()
	dir, err := filepath.Abs(recorded.Dir(t))
	require.NoError(t, err)
	t.Setenv("TICKFEED_DATA", "")
	return dir
}

// A foundInFile is what an independent decoder found in a file; which of it there is depends on
// the format.
type foundInFile struct {
	Rows, Lines, Records, Messages int64
	ByType                         map[string]int64 `json:"by_type"`
	TradesTotal                    int64            `json:"trades_total"`
	VolumeTotal                    int64            `json:"volume_total"`
	Executions                     int64            `json:"trades_type4_5"`
	Executed                       int64            `json:"volume_type4_5"`
	Totals                         struct{ Trades, Volume int64 }
	Schema                         string
	Changes                        int64 `json:"bbo_changes_including_first_row"`
}

// Every file of the recorded market data goes through "tickfeed import" by its content alone.
// The recording has as many ticks as an independent decoder counted, and the very ticks of the importer, whose own
// tests compare them with the file. A file without ticks is refused with a reason.
func TestImportRecordedData(t *testing.T) {
	dir := recordedData(t)
	all := recorded.All(t, dir)
	refused := map[string]string{"ohlcv-1s": "schema ohlcv-1s holds no ticks", "statistics": "schema statistics holds no ticks"}
	t.Chdir(t.TempDir())
	seen := make(map[string]int)
	require.NoError(t, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		name, _ := filepath.Rel(dir, path)
		found, ok := all[filepath.ToSlash(name)]
		if err != nil || d.IsDir() || !ok {
			return err
		}
		var want foundInFile
		require.NoError(t, json.Unmarshal(found, &want))
		if info, err := d.Info(); err != nil || info.Size() > most {
			seen["left out"]++
			return err
		}
		args := []string{"import", path, "-o", "out.tick", "--force", "--json"}
		switch {
		case strings.HasPrefix(name, "taq"):
			args = append(args, "--preset", "taq")
		case name == filepath.Join("itch", "NASDAQ_ITCH50.first1000.itch"):
			args = append(args, "--date", "2019-12-30")
		case strings.HasSuffix(name, ".reframed.gz"):
			args = append(args, "--date", "2010-12-24")
		}
		var stdout, stderr strings.Builder
		code := run(args, strings.NewReader(""), &stdout, &stderr)
		if reason := refused[want.Schema]; reason != "" {
			assert.Equal(t, exitData, code, name)
			assert.Contains(t, stderr.String(), reason, name)
			seen["refused"]++
			return nil
		}
		if code == exitData && strings.Contains(stderr.String(), ": no ticks in ") {
			for kind := range want.ByType { // of the venue as a whole, or of orders that were never told
				assert.Containsf(t, "SLhYKJNIVWDXUEC", kind, "%s holds messages of type %s", name, kind)
			}
			seen["without ticks"]++
			return nil
		}
		if !assert.Equalf(t, exitDone, code, "%s: %s", name, &stderr) {
			return nil
		}
		var got importSummary
		require.NoError(t, json.Unmarshal([]byte(stdout.String()), &got))
		seen[string(got.Format)]++
		assert.Equal(t, want.Rows+want.Lines+want.Records+want.Messages, got.Messages, name)
		assert.Zero(t, got.Skipped, name)
		if want.Changes == 0 { // an order book file of LOBSTER is expected to tell quotes
			checkTrades(t, name, args[1], want, &got)
		} else {
			assert.Equal(t, uint64(want.Changes), got.Kinds["quote"], name)
		}
		return nil
	}))
	if seen["left out"] > 0 {
		t.Logf("with the race detector: %v", seen)
		return
	}
	assert.Equal(t, map[string]int{
		"csv": 3, "dbn": 73, "itch": 22, "iex": 2, "lobster": 6, "websocket": 7, "lean": 3, "refused": 8, "without ticks": 30,
	}, seen)
}

// checkTrades compares the recording of the file at path with what was found in there, and with
// what its importer yields.
func checkTrades(t *testing.T, name, path string, want foundInFile, got *importSummary) {
	t.Helper()
	in, err := recording.Open("out.tick")
	require.NoError(t, err)
	defer in.Close()
	r, err := in.Reader()
	require.NoError(t, err)
	read := edit.NewSource(r)
	cfg := files.Config{Zone: "America/New_York"}
	switch got.Format {
	case files.ITCH:
		cfg.Date = dayOf(got.First)
	case files.LEAN:
		cfg.Zone = ""
	}
	src, err := files.Open([]string{path}, nil, cfg)
	require.NoError(t, err)
	defer src.Close()
	held, told := drain(t, read), drain(t, src)
	require.Len(t, held, len(told), name)
	var trades, volume int64
	for i := range held {
		if !held[i].Equal(&told[i]) {
			require.Failf(t, "another tick", "%s: tick %d: %+v, its importer says %+v", name, i+1, held[i], told[i])
		}
		if held[i].Kind == feed.KindTrade {
			trades++
			volume += held[i].Trade().Size
		}
	}
	assert.Equal(t, got.Kinds["trade"], uint64(trades), name)
	wantTrades := want.TradesTotal + want.Executions + want.Totals.Trades
	wantVolume := want.VolumeTotal + want.Executed + want.Totals.Volume
	if wantTrades > 0 || got.Format == files.DBN || got.Format == files.LOBSTER || got.Format == files.IEX {
		assert.Equal(t, wantTrades, trades, name)
		assert.Equal(t, wantVolume, volume, name)
	}
	st := read.Stats()
	assert.Equal(t, edit.SourceStats{Ticks: got.Ticks}, st, name)
}

// At least 95 % of the quotes and trades of equities, futures and crypto fit a fixed-width pattern, also if a recording is
// sent with 100 ticks to a packet, so that their times are far from its base.
func TestPatternsFitRecordedTicks(t *testing.T) {
	dir := recordedData(t)
	for _, name := range []string{
		"lobster/AMZN_2012-06-21_34200000_57600000_message_1.csv.gz", "lobster/GOOG_2012-06-21_34200000_57600000_message_1.csv.gz",
		"taq/XXX_quotes_2018-01-02.csv.gz", "taq/XXX_trades_2018-01-02.csv.gz",
		"dbn/sessions/futures_mbp-1_2024-07-01T23-58_2024-07-02T00-02.dbn.zst", "dbn/sessions/futures_trades_2024-07-01T23-58_2024-07-02T00-02.dbn.zst",
		"binance/spot_btcusdt_20240808.gz", "binance/usdm_btcusdt_20240808.gz",
	} {
		src, err := files.Open([]string{filepath.Join(dir, name)}, nil, files.Config{Zone: "America/New_York"})
		require.NoError(t, err)
		priced, fixed := 0, 0
		var entry []byte
		var id [1]feed.InstrumentID
		var size [1]uint8
		batch := make([]feed.Tick, 100)
		for priced < 20_000 {
			n, err := src.Next(t.Context(), batch)
			base := batch[0].EventTime
			for i := range batch[:n] {
				if batch[i].Kind == feed.KindQuote || batch[i].Kind == feed.KindTrade {
					entry = codec.AppendTick(entry[:0], &batch[i], base)
					priced++
					fixed += codec.ScanFixed(entry, id[:], size[:])
				}
			}
			if err != nil {
				require.ErrorIs(t, err, io.EOF)
				break
			}
		}
		require.NoError(t, src.Close())
		assert.GreaterOrEqual(t, priced, 100, name)
		assert.GreaterOrEqual(t, float64(fixed)/float64(priced), 0.95, name)
	}
}

// A date that nothing tells is asked for.
func TestImportAsksForTheDate(t *testing.T) {
	t.Chdir(t.TempDir())
	require.NoError(t, os.WriteFile("day.itch", manyOrders(rand.New(rand.NewPCG(1, 2)), 200), 0o600))
	var stderr strings.Builder
	assert.Equal(t, exitUsage, run([]string{"import", "day.itch", "-o", "x.tick"}, nil, io.Discard, &stderr))
	assert.Contains(t, stderr.String(), "the file's name has none; state it with --date, such as --date 2026-03-02")
	stderr.Reset()
	assert.Equal(t, exitDone, run([]string{"import", "day.itch", "-o", "x.tick", "--date", "2026-03-02"}, nil, io.Discard, &stderr))
	assert.Contains(t, stderr.String(), "  instruments  100\n")
	assert.Contains(t, stderr.String(), "  time         2026-03-02 14:30:00")
}

// drain is all that src yields.
func drain(t *testing.T, src feed.Source) []feed.Tick {
	t.Helper()
	var all []feed.Tick
	batch := make([]feed.Tick, 1000)
	for {
		n, err := src.Next(t.Context(), batch)
		all = append(all, batch[:n]...)
		if err == io.EOF {
			return all
		}
		require.NoError(t, err)
	}
}

// dayOf is the date of ns, in UTC, as yyyymmdd.
func dayOf(ns int64) int {
	year, month, day := time.Unix(0, ns).UTC().Date()
	return year*10000 + int(month)*100 + day
}

// BenchmarkImport is the whole command over files of 300,000 messages, on as many cores as -cpu
// says: CSV quotes, DBN mbp-1, and ITCH orders of 100 instruments.
func BenchmarkImport(b *testing.B) {
	const messages = 300_000
	rng := rand.New(rand.NewPCG(1, 2))
	for _, bench := range []struct {
		name    string
		content func() []byte
		flags   []string
	}{
		{"csv", func() []byte { return manyQuotes(rng, messages) }, nil},
		{"dbn", func() []byte { return manyRecords(b, messages) }, nil},
		{"itch", func() []byte { return manyOrders(rng, messages) }, []string{"--date", "2026-03-02"}},
	} {
		b.Run(bench.name, func(b *testing.B) {
			dir := b.TempDir()
			in, out := filepath.Join(dir, "in"), filepath.Join(dir, "out.tick")
			content := bench.content()
			require.NoError(b, os.WriteFile(in, content, 0o600))
			b.SetBytes(int64(len(content)))
			args := append([]string{"import", in, "-o", out, "--force"}, bench.flags...)
			for b.Loop() {
				var said strings.Builder
				if code := run(args, strings.NewReader(""), io.Discard, &said); code != exitDone {
					b.Fatal(said.String())
				}
			}
			b.ReportMetric(messages*float64(b.N)/b.Elapsed().Seconds(), "messages/s")
		})
	}
}

func manyQuotes(rng *rand.Rand, n int) []byte {
	out := []byte("ts_event,symbol,bid,bid_size,ask,ask_size\n")
	at := int64(1_772_461_800_000_000_000)
	for range n {
		at += rng.Int64N(20_000)
		bid := 10_000 + rng.IntN(200)
		out = fmt.Appendf(out, "%d,S%02d,%d.%02d,%d,%d.%02d,%d\n", at, rng.IntN(100),
			bid/100, bid%100, 100*rng.IntN(50), (bid+1)/100, (bid+1)%100, 100*rng.IntN(50))
	}
	return out
}

// manyRecords is the records of a file of Databento's tests, again and again.
func manyRecords(b *testing.B, n int) []byte {
	f, err := rawfile.Open(filepath.Join("..", "..", "feed", "files", "dbn", "testdata", "test_data.mbp-1.v3.dbn.zst"))
	require.NoError(b, err)
	defer f.Close()
	content, err := io.ReadAll(f)
	require.NoError(b, err)
	const record = 80
	records := content[8+binary.LittleEndian.Uint32(content[4:]):]
	require.Zero(b, len(records)%record)
	return append(content, bytes.Repeat(records, n*record/len(records)-1)...)
}

// manyOrders is ITCH messages: orders that come, and are executed or deleted.
func manyOrders(rng *rand.Rand, n int) []byte {
	var out []byte
	at := uint64(34_200_000_000_000)
	message := func(kind byte, locate int, body []byte) {
		at += rng.Uint64N(10_000)
		out = binary.BigEndian.AppendUint16(out, uint16(11+len(body)))
		out = append(out, kind)
		out = binary.BigEndian.AppendUint16(out, uint16(locate))
		out = binary.BigEndian.AppendUint64(out, at&(1<<48-1)) // two bytes of tracking number before the time
		out = append(out, body...)
	}
	be := binary.BigEndian
	message('S', 0, []byte("O"))
	symbol := func(locate int) string { return fmt.Sprintf("S%-7d", locate) }
	for i := 1; i <= 100; i++ {
		message('R', i, append([]byte(symbol(i)), make([]byte, 20)...))
	}
	type order struct {
		ref    uint64
		locate int
	}
	var live []order
	for ref := uint64(1); ref <= uint64(n-101); ref++ {
		if len(live) < 1000 || rng.IntN(2) == 0 {
			o := order{ref, 1 + rng.IntN(100)}
			live = append(live, o)
			side, price := byte('B'), uint32(1_000_000-100*rng.IntN(20))
			if rng.IntN(2) == 0 {
				side, price = 'S', uint32(1_000_100+100*rng.IntN(20))
			}
			body := append(be.AppendUint64(nil, ref), side)
			body = append(be.AppendUint32(body, 100), symbol(o.locate)...)
			message('A', o.locate, be.AppendUint32(body, price))
			continue
		}
		i := rng.IntN(len(live))
		o := live[i]
		live[i] = live[len(live)-1]
		live = live[:len(live)-1]
		if rng.IntN(8) == 0 {
			message('E', o.locate, be.AppendUint64(be.AppendUint32(be.AppendUint64(nil, o.ref), 100), ref))
		} else {
			message('D', o.locate, be.AppendUint64(nil, o.ref))
		}
	}
	return out
}

// Patterns of --symbols may have blanks around them, and one that matches nothing is reported.
func TestImportSymbolsThatMatchNothing(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "a.csv")
	require.NoError(t, os.WriteFile(path, []byte("time,symbol,price,size\n1772461800,AAPL,1,5\n1772461800,MSFT,2,5\n1772461800,IBM,3,5\n"), 0o600))
	var stderr bytes.Buffer
	code := run([]string{"import", path, "-o", filepath.Join(dir, "a.tick"), "--symbols", "AAPL, MSFT,APPL"}, nil, io.Discard, &stderr)
	require.Equal(t, exitDone, code, stderr.String())
	assert.Contains(t, stderr.String(), "instruments  2\n")
	assert.Contains(t, stderr.String(), "--symbols: no instrument matches APPL\n")
}
