// Package recorded finds recorded market data for tests, and what an independent decoder found in it, and reads sources of
// it. Only tests import it.
package recorded

import (
	"context"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"tickfeed/feed"
)

// Dir returns the directory of recorded market data: TICKFEED_DATA, or shared/data beside the
// checkout. It skips the test if there is none.
func Dir(t testing.TB) string {
	t.Helper()
	dir := os.Getenv("TICKFEED_DATA")
	if dir == "" {
		root, err := os.Getwd()
		require.NoError(t, err)
		for {
			if _, err := os.Stat(filepath.Join(root, "go.mod")); err == nil {
				break
			}
			up := filepath.Dir(root)
			require.NotEqual(t, root, up, "no go.mod above the test's directory")
			root = up
		}
		dir = filepath.Join(root, "..", "shared", "data")
	}
	if _, err := os.Stat(filepath.Join(dir, "expected.json")); err != nil {
		t.Skipf("no recorded market data: %v (TICKFEED_DATA names its directory)", err)
	}
	return dir
}

// Paths returns the paths of files of the recorded market data. It skips the test if there are none.
func Paths(t testing.TB, files ...string) []string {
	t.Helper()
	dir := Dir(t)
	paths := make([]string, len(files))
	for i, file := range files {
		paths[i] = filepath.Join(dir, file)
	}
	return paths
}

// Two days of recorded market data with trades and the best bid and offer, from the opening to the close.
const (
	AMZN = "lobster/AMZN_2012-06-21_34200000_57600000_message_1.csv.gz"
	GOOG = "lobster/GOOG_2012-06-21_34200000_57600000_message_1.csv.gz"
)

// All returns the results of an independent decoder for each file of dir, by the file's path in dir.
func All(t testing.TB, dir string) map[string]json.RawMessage {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(dir, "expected.json"))
	require.NoError(t, err)
	var all map[string]json.RawMessage
	require.NoError(t, json.Unmarshal(b, &all))
	return all
}

// Expected returns the result of an independent decoder for file.
func Expected[E any](t testing.TB, dir, file string) E {
	t.Helper()
	all := All(t, dir)
	require.Contains(t, all, file)
	var e E
	require.NoError(t, json.Unmarshal(all[file], &e))
	return e
}

// A TAQ is what an independent decoder found in a file of NYSE TAQ. Numbers with decimals are text.
type TAQ struct {
	Rows      int64 `json:"rows"`
	PerSymbol map[string]struct {
		Trades   int64  `json:"trades"`
		Volume   int64  `json:"volume"`
		MinPrice string `json:"min_price"`
		MaxPrice string `json:"max_price"`
		Notional string `json:"notional"`
		First    string `json:"first"`
		Last     string `json:"last"`
	} `json:"per_symbol"`
	PerExchange map[string]int64 `json:"per_exchange"`

	BidSizes  int64  `json:"bidsiz_sum"`
	AskSizes  int64  `json:"ofrsiz_sum"`
	BidZero   int64  `json:"bid_zero"`
	AskZero   int64  `json:"ofr_zero"`
	MinBid    string `json:"min_bid_nonzero"`
	MaxBid    string `json:"max_bid"`
	MinAsk    string `json:"min_ofr_nonzero"`
	MaxAsk    string `json:"max_ofr"`
	BidAbove  int64  `json:"rows_bid_above_ofr"`
	BidEquals int64  `json:"rows_bid_equal_ofr"`
	SameTime  int64  `json:"rows_with_timestamp_equal_to_previous"`
}

// ReadAll reads src to its end, closes it, and checks that every tick can be applied to a
// state: its instrument was defined before.
func ReadAll(t testing.TB, src feed.Source) (ticks []feed.Tick, state *feed.State) {
	t.Helper()
	ticks, state, err := Read(t, src)
	require.NoError(t, err)
	return ticks, state
}

// Read is ReadAll for a source that may fail. It returns nil instead of io.EOF.
func Read(t testing.TB, src feed.Source) (ticks []feed.Tick, state *feed.State, err error) {
	t.Helper()
	state = feed.NewState()
	err = each(t, src, state, func(tick *feed.Tick, _ *feed.State) { ticks = append(ticks, *tick) })
	return ticks, state, err
}

// Each is Read for many ticks: it calls f with each tick and the state as of it, instead of keeping them.
func Each(t testing.TB, src feed.Source, f func(*feed.Tick, *feed.State)) error {
	t.Helper()
	return each(t, src, feed.NewState(), f)
}

func each(t testing.TB, src feed.Source, state *feed.State, f func(*feed.Tick, *feed.State)) error {
	t.Helper()
	defer src.Close()
	batch := make([]feed.Tick, 100)
	for {
		n, err := src.Next(context.Background(), batch)
		for i := range batch[:n] {
			if err := state.Apply(&batch[i]); err != nil { // require for each tick would take most of the time
				require.NoError(t, err)
			}
			f(&batch[i], state)
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		require.NotZero(t, n, "Next gave nothing and no error")
	}
}

// Drain reads src to its end without checks, for benchmarks and fuzzing.
func Drain(src feed.Source) (ticks int, err error) {
	defer src.Close()
	batch := make([]feed.Tick, 1024)
	for {
		n, err := src.Next(context.Background(), batch)
		ticks += n
		if err == io.EOF {
			return ticks, nil
		}
		if err != nil {
			return ticks, err
		}
	}
}

// Only returns the ticks of one kind.
func Only(ticks []feed.Tick, kind feed.Kind) []feed.Tick {
	var only []feed.Tick
	for _, t := range ticks {
		if t.Kind == kind {
			only = append(only, t)
		}
	}
	return only
}

// LevelPrices returns the prices of the levels among ticks.
func LevelPrices(ticks []feed.Tick) []int64 {
	var all []int64
	for _, l := range Only(ticks, feed.KindLevel) {
		all = append(all, l.Level().Price)
	}
	return all
}

// Statuses returns the statuses of ticks, such as "halted: T1". The ticks must be a definition and then statuses without an end.
func Statuses(t testing.TB, ticks []feed.Tick) []string {
	t.Helper()
	require.NotEmpty(t, ticks)
	require.Equal(t, feed.KindDefinition, ticks[0].Kind)
	var all []string
	for i := range ticks[1:] {
		tick := &ticks[1:][i]
		require.Equal(t, feed.KindStatus, tick.Kind)
		require.Zero(t, tick.StatusEnd())
		text := tick.Status.String()
		if reason := tick.StatusReason(); reason != "" {
			text += ": " + reason
		}
		all = append(all, text)
	}
	return all
}
