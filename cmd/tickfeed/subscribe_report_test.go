package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tickfeed/codec"
	"tickfeed/feed"
	"tickfeed/subscriber"
)

// A line is behind the newest number that any line of its lineage knows of.
func TestLagIsToTheNewestKnownNumber(t *testing.T) {
	const parent, child, other = 1, 2, 3
	lineages := map[feed.SessionID]feed.Lineage{
		parent: {{ID: parent, First: 1}},
		child:  {{ID: parent, First: 1}, {ID: child, First: 50}},
		other:  {{ID: other, First: 1}},
	}
	type line struct {
		session    feed.SessionID
		next, head uint64
	}
	for _, test := range []struct {
		name  string
		lines []line
		want  lags
	}{
		{"none", nil, lags{}},
		{"never connected", []line{{0, 0, 0}}, lags{}},
		{"one that has everything", []line{{parent, 41, 41}}, lags{}},
		{"one that knows it is behind", []line{{parent, 41, 50}}, lags{max: 9, median: 9, sum: 9}},
		{"one that does not know it", []line{{parent, 41, 41}, {parent, 45, 45}, {parent, 44, 45}}, lags{max: 4, median: 1, sum: 5}},
		{"away since a session before", []line{{parent, 41, 41}, {child, 60, 60}}, lags{max: 19, median: 0, sum: 19}},
		{"another session", []line{{parent, 41, 41}, {other, 900, 900}}, lags{}},
		{"not connected yet beside one", []line{{0, 0, 0}, {parent, 41, 42}}, lags{max: 1, median: 1, sum: 1}},
	} {
		var statuses []subscriber.Status
		for _, l := range test.lines {
			statuses = append(statuses, subscriber.Status{Session: l.session, Next: l.next, Head: l.head})
		}
		assert.Equal(t, test.want, lagOf(statuses, statuses, lineages), test.name)
	}
	heads := []subscriber.Status{{Session: parent, Next: 41, Head: 41}}
	nexts := []subscriber.Status{{Session: parent, Next: 45, Head: 45}}
	assert.Equal(t, lags{}, lagOf(heads, nexts, nil), "one that went on in the meantime")
}

// aMoment has figures that differ from each other.
func aMoment(t *tally) *moment {
	return &moment{
		at: time.Unix(0, noon), since: 61 * time.Second, span: time.Second, lines: 500, live: 499,
		lag: lags{max: 12_345, median: 3, sum: 99_999}, reconnects: 7, tally: t,
	}
}

// Text is aligned under a header that comes back, and is never wider than a terminal of 80 columns.
func TestReportSeconds(t *testing.T) {
	tally := newTally()
	tally.ticks = 4_981_234
	tally.publish.record(120*time.Microsecond, 500)
	tally.publish.record(3456*time.Microsecond, 495)
	tally.publish.record(12*time.Minute+30*time.Second, 5)
	var b bytes.Buffer
	r := report{out: &b}
	require.NoError(t, r.second(aMoment(tally)))
	assert.Equal(t, ""+
		"                        lag in ticks latency (publish)   latency (event)\n"+
		"  time    live ticks/s    max median   p50   p99 p99.9   p50   p99 p99.9\n"+
		"   61s 499/500   4.98M  12.3k      3 120µs 3.5ms 12.5m     -     -     -\n", b.String())
	for range headerRows {
		require.NoError(t, r.second(aMoment(newTally())))
	}
	assert.Equal(t, 2, strings.Count(b.String(), "  time "), b.String())

	wide := newTally()
	wide.ticks = 999_900_000_000
	for _, l := range []*latency{&wide.publish, &wide.event} {
		l.record(999*time.Microsecond, 50)
		l.record(59*time.Minute, 49)
		l.record(30*time.Hour, 1)
	}
	wide.history, wide.foreign, wide.publish.early, wide.event.early = 1<<50, 1<<50, 1<<50, 1<<50
	m := aMoment(wide)
	m.since, m.lines, m.live = 99_999*time.Second, 10_000, 10_000
	m.lag = lags{max: 999_949, median: 999_949}
	require.NoError(t, r.second(m))
	require.NoError(t, r.total(m, feed.Totals{Delivered: 1 << 60, NotAsked: 1 << 60, Expired: 1}, manyPercentiles))
	for line := range strings.Lines(b.String()) {
		assert.LessOrEqual(t, utf8.RuneCountInString(strings.TrimSuffix(line, "\n")), columns, "%s", line)
	}
}

// The end has the percentiles, the account, and what is to be known of the latencies.
func TestReportTotal(t *testing.T) {
	tally := newTally()
	tally.ticks, tally.history, tally.foreign = 1_000_000, 11, 12
	tally.publish.record(250*time.Microsecond, 990)
	tally.publish.record(-1500*time.Microsecond, 10)
	account := feed.Totals{Delivered: 1_000_000, NotAsked: 1, Withheld: 2, Lost: 50, Expired: 40, Disowned: 4}
	var b bytes.Buffer
	require.NoError(t, (&report{out: &b}).total(aMoment(tally), account, fewPercentiles))
	assert.Equal(t, `
500 connections in 1m1s: 1,000,000 ticks, 1M ticks/s
  latency from       publish time         event time
  p50                       250µs                  -
  p99                       250µs                  -
  p99.9                     250µs                  -
  max                       250µs                  -
  ticks                     1,000                  0
  11 ticks without latency: published before the connection was live
  12 ticks without latency from event time: it is not within 1m0s of the publish
    time
  10 ticks came before their publish time, by up to 1.5ms: two clocks differ;
    their latency counts as 0
all connections
  delivered             1,000,000
  not asked                     1  before the start, or of other symbols
  withheld                      2
  lost                         50
    expired                    40
  disowned                      4
  reconnects                    7
  max lag                  12,345
`, b.String())

	b.Reset()
	r := report{out: &b, json: true}
	require.NoError(t, r.second(aMoment(tally)))
	require.NoError(t, r.total(aMoment(tally), account, manyPercentiles))
	var lines []map[string]any
	for line := range strings.Lines(b.String()) {
		var v map[string]any
		require.NoError(t, json.Unmarshal([]byte(line), &v), line)
		lines = append(lines, v)
	}
	require.Len(t, lines, 2)
	second, total := lines[0], lines[1]
	assert.NotContains(t, second, "account")
	latency := second["publish_latency"].(map[string]any)
	assert.InEpsilon(t, 250e3, latency["p50_ns"], 0.002)
	assert.EqualValues(t, 10, latency["ticks_early"])
	assert.EqualValues(t, 1.5e6, latency["earliest_ns"])
	none := second["event_latency"].(map[string]any)
	assert.Contains(t, none, "p50_ns")
	assert.Nil(t, none["p50_ns"])
	assert.EqualValues(t, 0, none["ticks"])
	assert.Len(t, total["publish_latency"].(map[string]any)["percentiles"], len(manyPercentiles))
	assert.Equal(t, map[string]any{"delivered": 1e6, "not_asked": 1.0, "withheld": 2.0, "lost": 50.0, "expired": 40.0, "disowned": 4.0}, total["account"])
	for name, want := range map[string]any{
		"type": "total", "ts": float64(noon), "elapsed_ns": 61e9, "connections": 500.0, "live": 499.0, "ticks": 1e6, "ticks_per_second": 1e6,
		"lag_max": 12345.0, "reconnects": 7.0, "ticks_before_live": 11.0, "ticks_of_other_market_time": 12.0,
	} {
		assert.Equal(t, want, total[name], name)
	}
}

// A crowd reports what happened to its lines in one sentence for each kind, and only once.
func TestCrowdReportsEachKindOnce(t *testing.T) {
	var said []string
	say := func(format string, args ...any) { said = append(said, fmt.Sprintf(format, args...)) }
	w := newCrowd(say, 0)
	span := func(from, to uint64) []subscriber.Numbers {
		return []subscriber.Numbers{{Session: 1, Range: feed.Range{From: from, To: to}}}
	}
	w.report()
	assert.Empty(t, said)
	for i := range uint64(3) {
		r := &receiver{crowd: w}
		change := func(c subscriber.Change) { require.NoError(t, r.change(&c)) }
		change(subscriber.Change{State: subscriber.Connecting})
		change(subscriber.Change{State: subscriber.Live})
		change(subscriber.Change{State: subscriber.Live, Filtered: &subscriber.Filtered{Filter: codec.Filter{"A"}, From: 40 + i}})
		change(subscriber.Change{State: subscriber.Live, Lost: span(10, 15), Reason: codec.GoneExpired})
		change(subscriber.Change{State: subscriber.Live, Lost: span(15, 20), Reason: codec.GoneExpired})
		change(subscriber.Change{State: subscriber.Live, Withheld: span(1, 1001)})
		change(subscriber.Change{State: subscriber.Disconnected, Err: errors.New("cut")})
		change(subscriber.Change{State: subscriber.Connecting})
		change(subscriber.Change{State: subscriber.Disconnected, Addr: "a:1", Err: errors.New("busy")})
		change(subscriber.Change{State: subscriber.Connecting})
		change(subscriber.Change{State: subscriber.Live, Disowned: span(7, 8), Report: &subscriber.Report{Live: time.Duration(i+1) * time.Second}})
		change(subscriber.Change{State: subscriber.Ended, End: true, Final: 51})
	}
	w.report()
	assert.Equal(t, []string{
		"3 connections disconnected: cut",
		"a:1: busy; trying again until it answers (--max-attempts N would give up)",
		"3 connections recovered, the slowest in 3s",
		"withheld on 3 connections: 3,000 ticks skipped because the connection was too slow",
		"lost on 3 connections: the publisher no longer keeps these 30",
		"disowned on 3 connections: 3 numbers that no longer belong to any session",
		"symbols A on 3 connections from numbers between 40 and 42 on",
		"end of the source on 3 connections: the last number is 50",
	}, said)
	w.report()
	assert.Len(t, said, 8)
}

// A connection counts as down at the end only if it was neither live nor at the end of the source since it was cut, also if
// the end of the source is what ends the run.
func TestAwayConnectionsCountAsDown(t *testing.T) {
	joined := 0
	l := &loadLine{recv: receiver{crowd: &crowd{}, untilEnd: true}, joined: func() { joined++ }}
	handle := func(c subscriber.Change) error { return l.handle(&subscriber.Batch{Change: &c}) }
	require.NoError(t, handle(subscriber.Change{State: subscriber.Connecting}))
	assert.Zero(t, joined)
	for _, s := range []struct {
		state subscriber.ConnState
		away  bool
	}{
		{subscriber.Snapshotting, false}, {subscriber.Live, false}, {subscriber.Disconnected, true}, {subscriber.Connecting, true},
		{subscriber.Replaying, true}, {subscriber.Live, false}, {subscriber.Stale, false}, {subscriber.Disconnected, true}, {subscriber.Replaying, true},
	} {
		require.NoError(t, handle(subscriber.Change{State: s.state}))
		assert.Equal(t, s.away, l.away, s.state)
	}
	assert.ErrorIs(t, handle(subscriber.Change{State: subscriber.Ended, End: true, Final: 9}), errEnough)
	assert.False(t, l.away)
	assert.Equal(t, 9, joined)
}
