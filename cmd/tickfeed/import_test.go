package main

import (
	"encoding/json"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tickfeed/codec/recording"
	"tickfeed/feed"
	"tickfeed/feed/files"
)

// recordedData is the directory of recorded market data, and what an independent decoder found
// in each of its files; the test is skipped where it is absent.
func recordedData(t *testing.T) (string, map[string]foundInFile) {
	t.Helper()
	dir := os.Getenv("TICKFEED_DATA")
	if dir == "" {
		dir = filepath.Join("..", "..", "..", "shared", "data")
	}
	dir, err := filepath.Abs(dir)
	require.NoError(t, err)
	b, err := os.ReadFile(filepath.Join(dir, "expected.json"))
	if err != nil {
		t.Skipf("no recorded market data: %v (TICKFEED_DATA names its directory)", err)
	}
	t.Setenv("TICKFEED_DATA", "")
	var all map[string]foundInFile
	require.NoError(t, json.Unmarshal(b, &all))
	return dir, all
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
// What becomes of it is what an independent decoder counted, and holds the very ticks of its
// importer, whose own tests compare them with the file. What holds no ticks is refused and
// says why.
func TestImportRecordedData(t *testing.T) {
	dir, all := recordedData(t)
	refused := map[string]string{"ohlcv-1s": "schema ohlcv-1s holds no ticks", "statistics": "schema statistics holds no ticks"}
	t.Chdir(t.TempDir())
	seen := make(map[string]int)
	require.NoError(t, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		name, _ := filepath.Rel(dir, path)
		want, ok := all[filepath.ToSlash(name)]
		if err != nil || d.IsDir() || !ok {
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
	t.Log(seen)
	assert.Equal(t, map[string]int{
		"csv": 3, "dbn": 73, "itch": 20, "iex": 2, "lobster": 6, "websocket": 7, "lean": 3, "refused": 8, "without ticks": 32,
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
	read := recording.NewSource(r)
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
		require.Truef(t, held[i].Equal(&told[i]), "%s: tick %d: %+v, its importer says %+v", name, i+1, held[i], told[i])
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
	assert.Equal(t, recording.SourceStats{Ticks: got.Ticks}, st, name)
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
