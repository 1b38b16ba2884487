package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tickfeed/codec"
	"tickfeed/feed"
	"tickfeed/feed/nouns"
	"tickfeed/publisher"
	"tickfeed/publisher/journal"
	"tickfeed/subscriber"
)

// statistics are the lines of --stats --json.
func statistics(t *testing.T, out string) (all []figures) {
	t.Helper()
	for line := range strings.Lines(out) {
		if !strings.HasSuffix(line, "\n") {
			break // being written
		}
		var f figures
		require.NoError(t, json.Unmarshal([]byte(line), &f), line)
		all = append(all, f)
	}
	return all
}

// awaitLive waits until all of n connections of c are live.
func awaitLive(t *testing.T, c *command, n int) {
	t.Helper()
	require.Eventually(t, func() bool {
		all := statistics(t, c.out.String())
		return len(all) > 0 && all[len(all)-1].Live == n
	}, patience, 5*time.Millisecond, "%d connections are live", n)
}

// total returns the last line of c, which is of the whole run.
func total(t *testing.T, c *command) figures {
	t.Helper()
	all := statistics(t, c.out.String())
	require.NotEmpty(t, all, c.err.String())
	last := all[len(all)-1]
	require.Equal(t, "total", last.Type)
	for _, f := range all[:len(all)-1] {
		require.Equal(t, "second", f.Type)
	}
	return last
}

// publishQuotes publishes n quotes of instrument id, one packet each, whose event times are before the clock of this machine.
func publishQuotes(t *testing.T, pub *served, id feed.InstrumentID, n int, before time.Duration) {
	t.Helper()
	for i := range n {
		at := time.Now().Add(-before).UnixNano()
		require.NoError(t, pub.Publish(t.Context(), []feed.Tick{feed.Quote{Bid: int64(i), BidSize: 1, Ask: int64(i) + 1, AskSize: 1}.Tick(id, at)}))
		require.NoError(t, pub.Flush(t.Context()))
	}
}

// The latencies of all connections are those from the publish times and event times that ticks have, wherever the clock of the
// publisher stands; --count is of each connection.
func TestStatsMeasureLatency(t *testing.T) {
	const lines, ticks = 5, 200
	for name, test := range map[string]struct {
		clock, event time.Duration // before the clock of this machine
		mode         codec.Mode
	}{
		"a publisher whose clock is behind":    {2 * time.Second, 3 * time.Second, codec.ModeLive},
		"a publisher whose clock is ahead":     {-time.Hour, -time.Hour, codec.ModeLive},
		"a market that is not at today's time": {time.Second, 48 * time.Hour, codec.ModeSimulation},
		"a replay":                             {time.Second, 48 * time.Hour, codec.ModeReplay},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			pub := serve(t, publisher.Config{Mode: test.mode, Now: func() int64 { return time.Now().Add(-test.clock).UnixNano() }}, "127.0.0.1:0")
			id, err := pub.Define(t.Context(), feed.Definition{Symbol: "A"})
			require.NoError(t, err)
			c := startCommand(t, dir, "subscribe", pub.addr, "--connections", fmt.Sprint(lines), "--latency", "--json", "--count", fmt.Sprint(ticks), "--hdr", "p.hgrm", "--hdr-event", "e.hgrm")
			awaitLive(t, c, lines)
			publishQuotes(t, pub, id, ticks, test.event)
			require.Equal(t, exitDone, c.exit(t), c.err.String())
			f := total(t, c)
			assert.EqualValues(t, lines*ticks, f.Ticks)
			assert.EqualValues(t, lines*ticks, f.Account.Delivered)
			assert.EqualValues(t, lines*ticks, f.PublishLatency.Ticks)
			assert.Equal(t, lines, f.Live)
			within := func(l latencyFigures, least time.Duration) {
				t.Helper()
				for _, d := range []*time.Duration{l.P50, l.P99, l.P999, l.Max} {
					assert.GreaterOrEqual(t, *d, least)
					assert.Less(t, *d, least+patience)
				}
				assert.LessOrEqual(t, *l.P50, *l.Max)
			}
			read := func(name string) string {
				b, err := os.ReadFile(filepath.Join(dir, name))
				require.NoError(t, err)
				return string(b)
			}
			assert.Contains(t, read("p.hgrm"), fmt.Sprintf("Total count    = %12d]", lines*ticks))
			switch {
			case test.clock < 0:
				assert.EqualValues(t, lines*ticks, f.PublishLatency.Early)
				assert.EqualValues(t, lines*ticks, f.EventLatency.Early)
				assert.InDelta(t, -test.clock, f.PublishLatency.Earliest, float64(patience))
				assert.Less(t, *f.PublishLatency.Max, time.Microsecond)
			case test.event > time.Hour:
				within(f.PublishLatency, test.clock)
				assert.EqualValues(t, lines*ticks, f.Foreign)
				assert.Nil(t, f.EventLatency.P50)
				assert.Contains(t, c.err.String(), "this market is not at today's time")
				assert.Contains(t, read("e.hgrm"), fmt.Sprintf("Total count    = %12d]", 0))
			default:
				within(f.PublishLatency, test.clock)
				within(f.EventLatency, test.event)
				assert.InDelta(t, test.event-test.clock, *f.EventLatency.P50-*f.PublishLatency.P50, float64(test.event)/100)
				assert.Zero(t, f.PublishLatency.Early+f.EventLatency.Early)
			}
			assert.Regexp(t, fmt.Sprintf(`\naccount: %s ticks, 0 recoveries, .*; %d connections\n$`, nouns.Thousands(lines*ticks), lines), "\n"+c.err.String())
		})
	}
}

// Connections survive a restart of the publisher as one does, and what each of them had, and the reports, add up.
func TestStatsOfARestart(t *testing.T) {
	const lines, ticks = 20, 50
	dir := t.TempDir()
	cfg := publisher.Config{Journal: filepath.Join(dir, "j"), Sync: journal.SyncNone}
	pub := serve(t, cfg, "127.0.0.1:0")
	id, err := pub.Define(t.Context(), feed.Definition{Symbol: "A"})
	require.NoError(t, err)
	c := startCommand(t, dir, "subscribe", pub.addr, "--connections", fmt.Sprint(lines), "--stats", "--json", "--from", "beginning", "--until-end",
		"--reports", "reports", "--max-backoff", "50ms")
	publishQuotes(t, pub, id, ticks, 0)
	awaitLive(t, c, lines)
	addr := pub.addr
	pub.stop()
	c.says(t, `connections? disconnected: `)
	pub = serve(t, cfg, addr)
	awaitLive(t, c, lines)
	publishQuotes(t, pub, id, ticks, 0)
	require.NoError(t, pub.End(t.Context()))
	require.Equal(t, exitDone, c.exit(t), c.err.String())
	_, next := pub.State()
	f := total(t, c)
	assert.EqualValues(t, lines*(next-1), f.Account.Delivered)
	assert.EqualValues(t, lines*(next-1), f.Ticks)
	assert.Equal(t, lines, f.Reconnects)
	assert.Regexp(t, fmt.Sprintf(`account: %s ticks, %d recoveries, 0 withheld, 0 lost, 0 disowned, 0 duplicated; %d connections\n$`,
		nouns.Thousands(lines*(next-1)), lines, lines), c.err.String())
	reports, err := os.ReadFile(filepath.Join(dir, "reports"))
	require.NoError(t, err)
	assert.Equal(t, lines, strings.Count(string(reports), "\n"))
	for line := range strings.Lines(string(reports)) {
		assert.True(t, json.Valid([]byte(line)), line)
	}
}

// Ctrl-C and a signal of a service manager end all connections with their figures; if the reader of standard output went away,
// they end too.
func TestStatsEnd(t *testing.T) {
	pub := servedQuotes(t, 10)
	for _, test := range []struct {
		signal os.Signal
		code   int
	}{{os.Interrupt, exitInterrupted}, {syscall.SIGTERM, exitDone}} {
		c := startCommand(t, t.TempDir(), "subscribe", pub.addr, "--connections", "100", "--stats", "--json")
		awaitLive(t, c, 100)
		require.NoError(t, c.Process.Signal(test.signal))
		require.Equal(t, test.code, c.exit(t), c.err.String())
		assert.Equal(t, 100, total(t, c).Live)
	}

	r, w, err := os.Pipe()
	require.NoError(t, err)
	c := newCommand(t.TempDir(), "subscribe", pub.addr, "--connections", "100", "--stats", "--json")
	c.Stdout = w
	c.start(t)
	w.Close()
	require.NoError(t, r.Close())
	require.Equal(t, exitDone, c.exit(t), c.err.String())
	assert.Regexp(t, `^account: [\d,]+ ticks.*; 100 connections\n$`, c.err.String())
}

// Connections that are down at the end are counted in the account.
func TestStatsOfConnectionsThatAreDown(t *testing.T) {
	pub := serve(t, publisher.Config{}, "127.0.0.1:0")
	c := startCommand(t, t.TempDir(), "subscribe", pub.addr, "--connections", "3", "--stats", "--json")
	awaitLive(t, c, 3)
	pub.stop()
	c.says(t, "connections? disconnected: ")
	require.NoError(t, c.Process.Signal(os.Interrupt))
	require.Equal(t, exitInterrupted, c.exit(t), c.err.String())
	assert.Regexp(t, `; 3 connections, [123] of them not live at the end\n$`, c.err.String())
}

// The exit code is 3 if one of the connections lost ticks, and a refusal of one ends all of them.
func TestStatsExitCodes(t *testing.T) {
	lossy := servedWithoutTail(t)
	require.NoError(t, lossy.End(t.Context()))
	c := startCommand(t, t.TempDir(), "subscribe", lossy.addr, "--connections", "3", "--stats", "--from", "seq:1", "--until-end")
	require.Equal(t, exitData, c.exit(t), c.err.String())
	assert.Regexp(t, `lost on [123] connections?: the publisher no longer`, c.err.String())
	assert.Regexp(t, `(?m)^  lost +[1-9][\d,]*$`, c.out.String())

	closed := serve(t, publisher.Config{Token: "secret"}, "127.0.0.1:0")
	c = startCommand(t, t.TempDir(), "subscribe", closed.addr, "--connections", "3", "--stats")
	require.Equal(t, exitRefused, c.exit(t), c.err.String())
}

// The filter of all connections changes while they run.
func TestStatsObeyCommands(t *testing.T) {
	pub := serve(t, publisher.Config{}, "127.0.0.1:0")
	var ids [2]feed.InstrumentID
	for i, symbol := range []string{"A", "B"} {
		id, err := pub.Define(t.Context(), feed.Definition{Symbol: symbol})
		require.NoError(t, err)
		ids[i] = id
	}
	for _, lines := range []int{1, 3} {
		c := newCommand(t.TempDir(), "subscribe", pub.addr, "--connections", fmt.Sprint(lines), "--stats", "--json", "--symbols", "A", "--commands", "--count", "10")
		in, out := io.Pipe()
		defer out.Close()
		c.Stdin = in
		c.start(t)
		awaitLive(t, c, lines)
		publishQuotes(t, pub, ids[1], 20, 0)
		publishQuotes(t, pub, ids[0], 4, 0)
		require.Eventually(t, func() bool {
			had := 0
			for _, f := range statistics(t, c.out.String()) {
				had += int(f.Ticks)
			}
			return had == 4*lines
		}, patience, 5*time.Millisecond, "all have the first four")
		_, err := io.WriteString(out, "symbols \nsymbols B\n")
		require.NoError(t, err)
		if _, next := pub.State(); lines == 1 {
			c.says(t, fmt.Sprintf("(?m)^symbols B from number %d on$", next))
		} else {
			c.says(t, fmt.Sprintf("(?m)^symbols B on %d connections from number %d on$", lines, next))
		}
		require.NoError(t, out.Close())
		publishQuotes(t, pub, ids[0], 20, 0)
		publishQuotes(t, pub, ids[1], 6, 0)
		require.Equal(t, exitDone, c.exit(t), c.err.String())
		assert.EqualValues(t, 10*lines, total(t, c).Ticks)
		assert.Contains(t, c.err.String(), "commands: symbols: name PATTERNS, with commas between; * is all; nothing changes\n")
	}
}

// The total counts as live the connections that were live when the run ended, not those that ever were.
func TestStatsLiveAtTheEnd(t *testing.T) {
	p := &program{stderr: io.Discard}
	subs, err := (&subscribeOptions{connections: 4}).subscribers(subscriber.Config{Addrs: []string{"unix:nowhere"}})
	require.NoError(t, err)
	l := p.newLoad(subs, receiver{}, report{})
	for i, states := range [][]subscriber.ConnState{
		{subscriber.Connecting},
		{subscriber.Live},
		{subscriber.Live, subscriber.Disconnected},
		{subscriber.Live, subscriber.Disconnected, subscriber.Live},
	} {
		l.lines[i].joined = func() {}
		for _, s := range states {
			require.NoError(t, l.lines[i].handle(&subscriber.Batch{Change: &subscriber.Change{State: s}}))
		}
	}
	m, _ := l.end(time.Now())
	assert.Equal(t, 2, m.live)
}

// A line that has had its --count is neither live nor behind, however far the others get.
func TestStatsOfAnEndedLine(t *testing.T) {
	pub := servedQuotes(t, 10)
	_, next := pub.State()
	p := &program{stderr: io.Discard}
	recv := receiver{say: p.notef, failures: failures{say: p.notef}}
	cfg := subscriber.Config{Addrs: []string{pub.addr}, Start: codec.Start{Kind: codec.StartBeginning}, Dial: dial, BatchSize: 1}
	subs, err := (&subscribeOptions{connections: 2}).subscribers(cfg)
	require.NoError(t, err)
	l := p.newLoad(subs, recv, report{})
	l.lines[0].recv.count = 3
	joining := make(chan struct{}, 1)
	require.ErrorIs(t, l.lines[0].run(t.Context(), joining), errEnough)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- l.lines[1].run(ctx, joining) }()
	require.Eventually(t, func() bool { s := subs[1].Status(); return s.Next == next && isLive(s.State) }, patience, time.Millisecond)
	m := l.take(time.Now())
	assert.Equal(t, lags{}, m.lag)
	assert.Equal(t, 1, m.live)
	assert.EqualValues(t, 3+next-1, m.tally.ticks)
	cancel()
	<-done
}
