package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tickfeed/subscriber"
)

// The market time of a status line is that of the line, however long ago the publisher told its own: between two lines a
// second apart passes as much of the day as the speed says.
func TestDemoMarketTime(t *testing.T) {
	const speed = 1170 // a day of 6.5 h in 20 s
	open := time.Date(2026, 1, 5, 14, 30, 0, 0, time.UTC)
	began := time.Unix(1000, 0)
	told := func(after time.Duration) demoPublisherStatus {
		return demoPublisherStatus{Time: began.Add(after), EventTime: open.Add(speed * after).UnixNano()}
	}
	for _, age := range []time.Duration{0, time.Millisecond, demoStatus - 1, demoStatus} {
		for second := 1; second < 20; second++ {
			now := time.Duration(second) * time.Second
			st := told(now - age)
			at := time.Unix(0, st.marketTime(began.Add(now), speed)).UTC()
			assert.Equal(t, open.Add(speed*now), at, "told %v before", age)
		}
	}
	st := told(time.Second)
	assert.Equal(t, st.EventTime, st.marketTime(began, speed), "a clock that was set back")
	assert.Equal(t, st.marketTime(began.Add(time.Minute), speed), st.marketTime(began.Add(time.Hour), speed), "a publisher that hangs")
	assert.Zero(t, (&demoPublisherStatus{}).marketTime(began, speed), "no tick yet")
}

// The time of a recovery begins when the subscriber notices the fault, and the demo says so: a slow subscriber first reads
// what came before a cut, and a silent network is noticed only after three intervals.
func TestDemoRecovery(t *testing.T) {
	var out bytes.Buffer
	d := &demo{p: new(program), out: &out, began: time.Now()}
	d.change(&party{name: "slow"}, &subscriber.Change{State: subscriber.Live, Report: &subscriber.Report{
		Cause: subscriber.CauseCut, Live: 2950 * time.Millisecond, Attempts: 1, Resume: subscriber.ResumeReplay, Replayed: 18_296}})
	assert.Regexp(t, `^ *\d+\.\ds   slow recovered by replay 2\.95s after it noticed: 18,296 ticks replayed,\s+1\s+attempt, cause cut\n$`, out.String())
}

// The market of a demo follows its scenario, and the demo shows each rule once. The faults are the demo's own.
func TestDemoScenario(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "f.market"), []byte("at 10:00: halt AAPL for 5m\nat seq 100: cut rst\n"), 0o644))
	c := startCommand(t, dir, "demo", "--scenario", "f.market")
	assert.Equal(t, exitUsage, c.exit(t))
	assert.Contains(t, c.err.String(), "--scenario f.market: the demo makes faults of its own; publish the scenario, or leave its 1 fault out")

	out := outputOf(t, dir, "demo", "--duration", "1s", "--rate", "5k", "--instruments", "20", "--event", "every 1h: halt AAPL for 5m", "--event", "at 15:00: calm")
	assert.Equal(t, 1, strings.Count(out, "s market: every 1h: halt AAPL for 5m\n"), out)
	assert.Equal(t, 1, strings.Count(out, "s market: at 15:00: calm\n"), out)
	assert.Contains(t, out, "Every number is accounted for exactly once")
}
