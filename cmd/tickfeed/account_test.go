package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tickfeed/feed"
	"tickfeed/feed/nouns"
	"tickfeed/publisher"
	"tickfeed/publisher/journal"
	"tickfeed/subscriber"
)

var accountLine = regexp.MustCompile(`^account: .* ticks?, .* recover(?:y|ies), .* withheld, .* lost, .* disowned, 0 duplicated; (?:next seq \d+|nothing received yet)$`)

// assertAgrees checks that a subscription that has ended, with --ledger name.ledger, --reports name.reports and --state
// state, says the same everywhere: in its exit code, its last line, its ledger, its reports, its position and its output of
// JSON lines.
func assertAgrees(t *testing.T, c *command, name string, code int) feed.Totals {
	t.Helper()
	require.Equal(t, code, c.exit(t), c.err.String())
	said := strings.Split(strings.TrimSuffix(c.err.String(), "\n"), "\n")
	last := accountLine.FindStringSubmatch(said[len(said)-1])
	require.NotNil(t, last, c.err.String())
	read := func(file string) []byte {
		b, err := os.ReadFile(filepath.Join(c.Dir, file))
		require.NoError(t, err)
		return b
	}
	var ledger feed.Ledger
	require.NoError(t, json.Unmarshal(read(name+".ledger"), &ledger))
	totals := ledger.Totals()
	ticks := 0
	for line := range strings.Lines(c.out.String()) {
		if !strings.Contains(line, `"snapshot":true`) {
			ticks++
		}
	}
	_, next, _ := strings.Cut(last[0], "0 duplicated; ")
	if b, err := os.ReadFile(filepath.Join(c.Dir, "state")); err == nil {
		var held struct{ Next uint64 }
		require.NoError(t, json.Unmarshal(b, &held))
		next = positionText(held.Next)
	}
	reports := strings.Count(string(read(name+".reports")), "\n")
	n := nouns.Thousands[uint64]
	assert.Equal(t, fmt.Sprintf("account: %s, %s, %s withheld, %s lost, %s disowned, 0 duplicated; %s",
		nouns.Count(totals.Delivered, "tick"), nouns.Count(reports, "recovery"), n(totals.Withheld), n(totals.Lost), n(totals.Disowned), next), last[0])
	assert.Equal(t, int(totals.Delivered), ticks, "lines")
	for word, n := range map[string]uint64{"lost": totals.Lost, "disowned": totals.Disowned, "withheld": totals.Withheld} {
		told := false
		for _, line := range said[:len(said)-1] {
			told = told || strings.HasPrefix(line, word+" [")
		}
		assert.Equal(t, n > 0, told, "%s is reported when it happens:\n%s", word, c.err.String())
	}
	return totals
}

// The account that a subscription prints at its end, and its exit code, agree with its ledger, however it ended
// (PROMISES.md, 35).
func TestExitAgreesWithTheLedger(t *testing.T) {
	dir := t.TempDir()
	quotes := func(from, to int) (ticks []feed.Tick) {
		for i := from; i < to; i++ {
			ticks = append(ticks, feed.Quote{Bid: int64(i)}.Tick(0, noon))
		}
		return ticks
	}
	publish := func(p *served, ticks []feed.Tick) {
		require.NoError(t, p.Publish(t.Context(), ticks))
		require.NoError(t, p.Flush(t.Context()))
	}
	subscribe := func(name, addr string, more ...string) *command {
		args := []string{"subscribe", addr, "--json", "--ledger", name + ".ledger", "--reports", name + ".reports", "--max-attempts", "3"}
		return startCommand(t, dir, append(args, more...)...)
	}

	// A publisher with a journal, of which a copy is kept at number 11.
	cfg := publisher.Config{Journal: filepath.Join(dir, "j"), Sync: journal.SyncNone, Token: "secret"}
	t.Setenv("TICKFEED_TOKEN", "secret")
	pub := serve(t, cfg, "127.0.0.1:0")
	_, err := pub.Define(t.Context(), feed.Definition{Symbol: "A"})
	require.NoError(t, err)
	publish(pub, quotes(2, 11))
	copied := filepath.Join(dir, "copy")
	require.NoError(t, os.CopyFS(copied, os.DirFS(cfg.Journal)))
	publish(pub, quotes(11, 21))

	c := subscribe("count", pub.addr, "--from", "beginning", "--count", "20", "--state", "state")
	assert.Equal(t, feed.Totals{Delivered: 20}, assertAgrees(t, c, "count", exitDone))

	t.Setenv("TICKFEED_TOKEN", "wrong")
	c = subscribe("refused", pub.addr, "--state", "other")
	assert.Equal(t, feed.Totals{}, func() feed.Totals {
		require.NoError(t, os.Rename(filepath.Join(dir, "state"), filepath.Join(dir, "kept")))
		defer func() { require.NoError(t, os.Rename(filepath.Join(dir, "kept"), filepath.Join(dir, "state"))) }()
		return assertAgrees(t, c, "refused", exitRefused)
	}())
	t.Setenv("TICKFEED_TOKEN", "secret")

	c = subscribe("interrupted", pub.addr, "--state", "state")
	c.says(t, "live: ")
	require.NoError(t, c.Process.Signal(os.Interrupt))
	assert.Equal(t, feed.Totals{}, assertAgrees(t, c, "interrupted", exitInterrupted))

	// The journal is the older copy: what the subscriber has beyond it is disowned, and the exit code is not that of a loss.
	addr := pub.addr
	pub.stop()
	c = subscribe("gone", addr, "--state", "state")
	assert.Equal(t, feed.Totals{}, assertAgrees(t, c, "gone", exitFailure))
	assert.Contains(t, c.err.String(), "gave up after 3 attempts")
	cfg.Journal = copied
	pub = serve(t, cfg, "127.0.0.1:0")
	publish(pub, quotes(11, 14))
	require.NoError(t, pub.End(t.Context()))
	c = subscribe("disowned", pub.addr, "--until-end", "--state", "state")
	assert.Equal(t, feed.Totals{Delivered: 3, Disowned: 10}, assertAgrees(t, c, "disowned", exitDone))
	pub.stop()
	require.NoError(t, os.Remove(filepath.Join(dir, "state")))

	// A publisher that has only its memory, and forgets.
	pub = serve(t, publisher.Config{Memory: publisher.MinMemory, Token: "secret"}, "127.0.0.1:0")
	_, err = pub.Define(t.Context(), feed.Definition{Symbol: "A"})
	require.NoError(t, err)
	c = subscribe("first", pub.addr, "--from", "beginning", "--count", "1", "--state", "state")
	assert.Equal(t, feed.Totals{Delivered: 1}, assertAgrees(t, c, "first", exitDone))
	for pub.Stats().Tail < 1000 {
		publish(pub, quotes(0, 1000))
	}
	require.NoError(t, pub.End(t.Context()))
	c = subscribe("lost", pub.addr, "--until-end", "--state", "state")
	totals := assertAgrees(t, c, "lost", exitData)
	assert.Positive(t, totals.Lost)
	assert.Contains(t, c.err.String(), fmt.Sprintf("tickfeed: %s ticks are lost; the reasons are listed above\n", nouns.Thousands(totals.Lost)))
	assert.Equal(t, pub.Stats().Head, 2+totals.Lost+totals.Delivered)

	// A reader that leaves is no failure; what it did not get is not in the account.
	require.NoError(t, os.Remove(filepath.Join(dir, "state")))
	r, w, err := os.Pipe()
	require.NoError(t, err)
	c = newCommand(dir, "subscribe", pub.addr, "--json", "--from", fmt.Sprintf("seq:%d", pub.Stats().Head-100), "--ledger", "left.ledger", "--reports", "left.reports")
	c.Stdout = w
	r.Close()
	c.start(t)
	w.Close()
	assert.Zero(t, assertAgrees(t, c, "left", exitDone).Delivered)
}

// A connection is described once, whatever happens on it, and a recovery that is not over is in the account.
func TestConnectionWords(t *testing.T) {
	state := func(s subscriber.ConnState) *subscriber.Change { return &subscriber.Change{State: s, Addr: "a:1"} }
	welcomed := func(s subscriber.ConnState) *subscriber.Change {
		return &subscriber.Change{State: s, Addr: "a:1", Connected: &subscriber.Connected{}}
	}
	cut := &subscriber.Change{State: subscriber.Disconnected, Addr: "a:1", Err: errors.New("cut")}
	recovered := &subscriber.Change{State: subscriber.Live, Addr: "a:1", Report: &subscriber.Report{Live: time.Second, Resume: "replay", Cause: "cut"}}
	for _, test := range []struct {
		name    string
		changes []*subscriber.Change
		says    []string
		account string
	}{
		{"before the welcome", []*subscriber.Change{state(subscriber.Connecting)}, nil, "0 recoveries, "},
		{"replay, then live", []*subscriber.Change{state(subscriber.Connecting), welcomed(subscriber.Replaying), state(subscriber.Live)},
			[]string{"connected to a:1: replaying", "live: receiving from a:1"}, "0 recoveries, "},
		{"a stall while replaying", []*subscriber.Change{state(subscriber.Connecting), welcomed(subscriber.Replaying), state(subscriber.Stale), state(subscriber.Replaying), state(subscriber.Live)},
			[]string{"connected to a:1: replaying", "stale: nothing heard from a:1 for two heartbeat intervals", "no longer stale: replaying from a:1 again", "live: receiving from a:1"}, "0 recoveries, "},
		{"a stall while live", []*subscriber.Change{welcomed(subscriber.Live), state(subscriber.Stale), state(subscriber.Live)},
			[]string{"live: receiving from a:1", "stale: nothing heard from a:1 for two heartbeat intervals", "no longer stale: receiving from a:1 again"}, "0 recoveries, "},
		{"a snapshot on the way", []*subscriber.Change{welcomed(subscriber.Live), state(subscriber.Snapshotting), state(subscriber.Replaying), state(subscriber.Live)},
			[]string{"live: receiving from a:1", "live: receiving from a:1"}, "0 recoveries, "},
		{"ended while disconnected", []*subscriber.Change{welcomed(subscriber.Live), cut, state(subscriber.Connecting)},
			[]string{"live: receiving from a:1", "disconnected from a:1: cut"}, "0 recoveries, "},
		{"ended while replaying again", []*subscriber.Change{welcomed(subscriber.Live), cut, state(subscriber.Connecting), welcomed(subscriber.Replaying)},
			[]string{"live: receiving from a:1", "disconnected from a:1: cut", "connected to a:1: replaying"}, "1 recovery (1 not over), "},
		{"recovered", []*subscriber.Change{welcomed(subscriber.Live), cut, state(subscriber.Connecting), welcomed(subscriber.Replaying), recovered},
			[]string{"live: receiving from a:1", "disconnected from a:1: cut", "connected to a:1: replaying",
				"recovered in 1s by replay: cause cut, down 0s, 0 attempts, 0 ticks replayed, 0 duplicates dropped"}, "1 recovery, "},
		{"recovered, then cut again", []*subscriber.Change{welcomed(subscriber.Live), cut, welcomed(subscriber.Replaying), recovered, cut, welcomed(subscriber.Replaying), cut, welcomed(subscriber.Replaying)}, nil, "2 recoveries (1 not over), "},
	} {
		t.Run(test.name, func(t *testing.T) {
			var said []string
			say := func(format string, args ...any) { said = append(said, fmt.Sprintf(format, args...)) }
			r := receiver{say: say, failures: failures{say: say}}
			for _, c := range test.changes {
				require.NoError(t, r.change(c))
			}
			if test.says != nil {
				assert.Equal(t, test.says, said)
			}
			assert.Contains(t, r.account(new(feed.Ledger), 1), "account: 0 ticks, "+test.account)
		})
	}
}

// A subscriber that no publisher has welcomed has no position, and says so in its account and its status.
func TestNothingReceivedIsNoPosition(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{{"--quiet"}, {"--stats"}} {
		c := startCommand(t, t.TempDir(), append([]string{"subscribe", "unix:none", "--max-attempts", "1"}, args...)...)
		assert.Equal(t, exitFailure, c.exit(t), c.err.String())
		assert.Contains(t, c.err.String(), "0 duplicated; nothing received yet\n")
	}
	assert.Equal(t, "nothing received yet", positionText(0))
	assert.Equal(t, "next seq 1", positionText(1))
	st := subscriptionStatus{Connections: 1, Line: subscriber.Status{Addr: "unix:none"}}
	assert.Contains(t, st.String(), " at unix:none, nothing received yet; 0 delivered")
}
