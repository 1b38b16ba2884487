package main

import (
	"bytes"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"tickfeed/subscriber"
)

// The market time of a status line is that of the line, however long ago the publisher told its own: between two lines a
// second apart passes as much of the day as the speed says.
func TestDemoMarketTime(t *testing.T) {
	const speed = 1170 // a day of 6.5 h in 20 s
	open := time.Date(2026, 1, 5, 14, 30, 0, 0, time.UTC)
	began := time.Unix(1000, 0)
	told := func(after time.Duration) childStatus {
		return childStatus{Time: began.Add(after), EventTime: open.Add(speed * after).UnixNano()}
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
	assert.Zero(t, (&childStatus{}).marketTime(began, speed), "no tick yet")
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
