package bench

import (
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"tickfeed/codec"
	"tickfeed/feed"
	"tickfeed/feed/sim"
	"tickfeed/publisher"
)

// The median is the middle of the runs, whatever their order, and the runs stay as they were.
func TestSpreadHasTheMedianOfUnsortedRuns(t *testing.T) {
	assert.Nil(t, NewSpread(nil))
	assert.Equal(t, &Spread{Median: 7, Min: 7, Max: 7, Runs: []float64{7}}, NewSpread([]float64{7}))
	assert.Equal(t, &Spread{Median: 2, Min: 1, Max: 9, Runs: []float64{9, 1, 2}}, NewSpread([]float64{9, 1, 2}))
	assert.Equal(t, 2.5, NewSpread([]float64{4, 1, 3, 2}).Median)
}

// A ratio is computed within one run; without a divisor there is no ratio.
func TestRatiosAreWithinOneRun(t *testing.T) {
	assert.Equal(t, []float64{0.5, 2}, ratios([]float64{1, 4}, []float64{2, 2}))
	assert.Equal(t, []float64{2}, ratios([]float64{1, 4}, []float64{0, 2}))
	assert.Empty(t, ratios([]float64{1}, nil))
}

// A quantile is a measured value: the smallest that enough values do not exceed.
func TestQuantileIsAMeasuredValue(t *testing.T) {
	assert.Equal(t, 0, quantile([]int{}, 0.5))
	values := []int{5, 1, 4, 2, 3}
	assert.Equal(t, 3, quantile(values, 0.5))
	assert.Equal(t, 5, quantile(values, 0.99))
	assert.Equal(t, 5, quantile(values, 1))
	assert.Equal(t, 1, quantile(values, 0.2))
	assert.Equal(t, 2, quantile(values, 0.21))
}

// A figure meets its target at the bound, and is judged by the ratio if the target says so.
func TestTargetIsMetAtItsBound(t *testing.T) {
	for _, c := range []struct {
		target   *Target
		measured float64
		limit    float64
		want     bool
	}{
		{atLeast(10), 10, 0, true}, {atLeast(10), 9, 0, false}, {atMost(10), 10, 0, true}, {atMost(10), 11, 0, false},
		{atLeastRatio(0.5), 1, 2, true}, {atLeastRatio(0.5), 1, 3, false}, {atMostRatio(0.5), 1, 3, true}, {atMostRatio(0.5), 3, 4, false},
	} {
		var told *Figure
		b := bench{scenario: "s", Config: Config{Figure: func(f *Figure) { told = f }}}
		f := &Figure{Measured: NewSpread([]float64{c.measured}), Target: c.target}
		if c.limit != 0 {
			f.Limit = NewSpread([]float64{c.limit})
		}
		b.tell(f)
		require.NotNil(t, told.Reached)
		assert.Equal(t, c.want, *told.Reached, "%+v %v/%v", *c.target, c.measured, c.limit)
	}
}

func TestTextOfAFigureIsARow(t *testing.T) {
	yes := true
	f := &Figure{
		Scenario: "throughput", Name: "100 ticks a call", Unit: TicksPerSecond, Against: "raw TCP",
		Measured: NewSpread([]float64{50e6, 55e6, 60e6}), Limit: NewSpread([]float64{100e6, 110e6, 120e6}), Ratio: NewSpread([]float64{0.5, 0.5, 0.5}),
		Target: atLeastRatio(0.4), Reached: &yes,
	}
	var b strings.Builder
	require.NoError(t, f.WriteText(&b))
	assert.Equal(t, []string{"throughput:", "100", "ticks", "a", "call", "55.0M/s", "(50.0M/s–60.0M/s)", "raw", "TCP", "110M/s", "0.50", "(0.50–0.50)", "≥", "0.40", "×", "yes"},
		strings.Fields(b.String()))
	assert.Equal(t, "throughput: 100 ticks a call: 55.0M/s (50.0M/s–60.0M/s); limit of the same run raw TCP 110M/s; ratio 0.50 (0.50–0.50); target ≥ 0.40 × yes", f.Sentence())
	f.rows = []string{}
	assert.Contains(t, f.Sentence(), "55.0M/s", "a figure whose row is that of another")
	var header strings.Builder
	require.NoError(t, WriteHeader(&header))
	assert.Equal(t, TableWidth+1, utf8.RuneCountInString(header.String()))
	for want, f := range map[string]Figure{
		"12.3 µs": {Unit: Seconds}, "10.0 s": {Unit: Seconds}, "999 ns": {Unit: Seconds}, "1.50 s": {Unit: Seconds}, "4.00 KiB": {Unit: Bytes}, "0.35": {Unit: Cores}, "10.0k/s": {Unit: TicksPerSecond}, "17.0 ns": {Unit: CPUSeconds},
	} {
		v := map[string]float64{"12.3 µs": 12.3e-6, "10.0 s": 9.999, "999 ns": 999e-9, "1.50 s": 1.5, "4.00 KiB": 4096, "0.35": 0.35, "10.0k/s": 1e4, "17.0 ns": 17e-9}[want]
		assert.Equal(t, want, f.value(v))
	}
}

// At the end of the set the event times continue, and the ticks are those of the first time.
func TestTickSetGoesRound(t *testing.T) {
	m, err := sim.New(sim.Config{Seed: 1, Instruments: 3})
	require.NoError(t, err)
	s, err := loadTicks(t.Context(), m, 0, 250)
	require.NoError(t, err)
	pub, err := publisher.New(publisher.Config{})
	require.NoError(t, err)
	defer pub.Close(context.Background())
	_, err = pub.Define(t.Context(), feed.Definition{Symbol: "FIRST"}) // so that ids differ from the source's
	require.NoError(t, err)
	first := s.ticks[0].Instrument
	require.NoError(t, s.define(t.Context(), pub))
	require.NoError(t, s.define(t.Context(), pub), "again")
	require.Equal(t, first+1, s.ticks[0].Instrument)
	require.Len(t, s.ticks, 250)
	var all []feed.Tick
	for len(all) < 500 {
		batch := s.next(100)
		require.NoError(t, pub.Publish(t.Context(), batch))
		all = append(all, batch...)
	}
	require.Len(t, all, 500, "batches end where the set does")
	for i := range 250 {
		a, b := all[i], all[250+i]
		assert.Equal(t, s.span, b.EventTime-a.EventTime)
		assert.Equal(t, a.Values, b.Values)
		assert.Equal(t, a.Instrument, b.Instrument)
	}
	assert.Greater(t, all[250].EventTime, all[249].EventTime)
	assert.Equal(t, uint64(1+3+500+1), pub.Stats().Head)
}

// The share of fixed-width patterns counts quotes and trades, narrow and wide, and nothing else.
func TestFixedWidth(t *testing.T) {
	quote := feed.Quote{Bid: 100, BidSize: 1, Ask: 101, AskSize: 2}
	wide := quote
	wide.BidSize = 1 << 40
	empty := quote
	empty.Ask = feed.NoPrice
	ref := feed.Trade{Price: 1, Size: 1}.Tick(0, 1)
	ref.Extra = &feed.Extra{TradeRef: "a text"}
	for _, c := range []struct {
		tick feed.Tick
		want bool
	}{
		{quote.Tick(0, 1), true}, {wide.Tick(0, 1), true}, {empty.Tick(0, 1), false},
		{feed.Trade{Price: 1, Size: 1}.Tick(0, 1), true}, {feed.Trade{Price: -1, Size: 1}.Tick(0, 1), true}, {ref, false},
	} {
		assert.Equal(t, c.want, fixedWidth(c.tick.Kind, codec.AppendTick(nil, &c.tick, 0)), "%+v", c.tick)
	}
	s := &tickSet{ticks: []feed.Tick{quote.Tick(0, 1), wide.Tick(0, 1), empty.Tick(0, 1), ref, feed.StatusTick(0, 1, feed.StatusHalted, 0)}}
	assert.Equal(t, 0.5, s.info().Fixed)
}

// A schedule is absolute: every tick of the duration is published, and none early.
func TestPacedTicksAreNeverEarly(t *testing.T) {
	n := 0
	_, err := paced(t.Context(), pacedArgs{Rate: 10_000, Duration: 20 * time.Millisecond}, func(due time.Time) error {
		n++
		assert.False(t, time.Now().Before(due))
		return nil
	})
	require.NoError(t, err)
	assert.Equal(t, 200, n)
	ctx, cancel := context.WithCancelCause(t.Context())
	over := errors.New("over")
	_, err = paced(ctx, pacedArgs{Rate: 0.01, Duration: time.Hour}, func(time.Time) error { cancel(over); return nil })
	assert.ErrorIs(t, err, over)
}

// TestMain makes this binary usable as a child of a bench.
func TestMain(m *testing.M) {
	if role := os.Getenv("BENCH_CHILD"); role != "" {
		if err := Child(context.Background(), role, os.Stdin, os.Stdout, nil); err != nil {
			os.Stderr.WriteString(err.Error())
			os.Exit(1)
		}
		return
	}
	goleak.VerifyTestMain(m) // no goroutine is left running
}

func command(role string) *exec.Cmd {
	c := exec.Command(os.Args[0])
	c.Env = append(os.Environ(), "BENCH_CHILD="+role)
	return c
}

// A child's error reaches the caller with the child's operation, and so does its output when it dies; no call
// outlives its context.
func TestPeerReportsErrorsOfItsChild(t *testing.T) {
	p, err := startPeer("nobody", command("nobody"))
	require.NoError(t, err)
	defer p.kill()
	_, err = call[nothing](t.Context(), p, "load", nothing{})
	assert.ErrorContains(t, err, `there is no role "nobody"`)

	pub, err := startPeer(rolePublisher, command(rolePublisher))
	require.NoError(t, err)
	defer pub.kill()
	_, err = call[setInfo](t.Context(), pub, "load", loadArgs{Instruments: -1, Size: 1})
	assert.ErrorContains(t, err, "publisher, load: ")
	info, err := call[setInfo](t.Context(), pub, "load", loadArgs{Instruments: 7, Size: 1000})
	require.NoError(t, err)
	assert.Equal(t, 7, info.Instruments)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = call[setInfo](ctx, pub, "load", loadArgs{Instruments: 7, Size: 1000})
	assert.ErrorIs(t, err, context.Canceled)
}

// A subscriber that receives less than it is owed is an error, never a figure.
func TestMissingTicksAreNoFigure(t *testing.T) {
	a, err := listenAcks()
	require.NoError(t, err)
	defer a.ln.Close()
	a.had.Store(5)
	require.NoError(t, a.wait(t.Context(), 5))
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	require.ErrorIs(t, a.wait(ctx, 6), context.DeadlineExceeded)

	out, in := io.Pipe()
	defer out.Close()
	ops := map[string]op{"fail": handle(func(context.Context, nothing) (nothing, error) { return nothing{}, ErrAccount })}
	requests := strings.NewReader(`{"id":1,"op":"fail","args":{}}` + "\n")
	go func() { _ = serve(context.Background(), requests, in, ops); in.Close() }()
	answers, err := io.ReadAll(out)
	require.NoError(t, err)
	assert.Contains(t, string(answers), `"is":1`)
	assert.ErrorIs(t, error(&childError{answer: answer{Error: "x", Is: 1}}), ErrAccount)
	assert.NotErrorIs(t, error(&childError{answer: answer{Error: "x", Is: 99}}), ErrAccount)
}
