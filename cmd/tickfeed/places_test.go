package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A lineTick is a line of export as NDJSON.
type lineTick struct {
	Seq     uint64 `json:"seq"`
	Event   int64  `json:"ts_event"`
	Publish int64  `json:"ts_publish"`
}

// output runs tickfeed and returns what it wrote to standard output.
func outputOf(t *testing.T, dir string, args ...string) string {
	t.Helper()
	c := startCommand(t, dir, args...)
	require.Equal(t, exitDone, c.exit(t), "%v: %s", args, c.err.String())
	return c.out.String()
}

// ticksOf returns the ticks that export writes.
func ticksOf(t *testing.T, dir string, args ...string) (ticks []lineTick) {
	t.Helper()
	for line := range strings.Lines(outputOf(t, dir, append([]string{"export", "-o", "-", "--as", "ndjson"}, args...)...)) {
		var tick lineTick
		require.NoError(t, json.Unmarshal([]byte(line), &tick))
		ticks = append(ticks, tick)
	}
	return ticks
}

// statusOf asks the control of a replay in dir, and returns the next number.
func statusOf(t *testing.T, dir string, args ...string) uint64 {
	t.Helper()
	var st struct {
		Seq uint64 `json:"seq"`
	}
	require.NoError(t, json.Unmarshal([]byte(outputOf(t, dir, append([]string{"control", "--json", "--addr", "unix:c.sock"}, args...)...)), &st))
	return st.Seq
}

// A time of day is market time wherever a recording is read, and with --clock publish publish time: cut, export, inspect --at,
// replay --from and control seek go to the same number, which is that of the first tick whose event time is T or later, counted
// from the ticks themselves. The day was recorded in a minute, and its publish times are of another date.
func TestAPlaceIsTheSameInEveryCommand(t *testing.T) {
	t.Parallel()
	day, err := filepath.Abs("../../testdata/day.tick")
	require.NoError(t, err)
	dir := t.TempDir()
	all := ticksOf(t, dir, day)
	require.Len(t, all, 7848)
	for _, test := range []struct {
		clock, zone string
		places      map[string]string // and when they are, in RFC 3339
	}{
		{"market", "UTC", map[string]string{
			"14:30": "2026-01-05T14:30:00Z", "14:45": "2026-01-05T14:45:00Z", "2026-01-05T16:00:00.5": "2026-01-05T16:00:00.5Z",
			"+2h": "2026-01-05T16:29:59Z", "-10m": "2026-01-05T20:50:00Z", "20:59:59.9": "2026-01-05T20:59:59.9Z",
		}},
		{"market", "America/New_York", map[string]string{"09:30": "2026-01-05T14:30:00Z", "2026-01-05T15:59:59": "2026-01-05T20:59:59Z"}},
		{"publish", "UTC", map[string]string{"16:49:30": "2026-11-30T16:49:30Z"}},
	} {
		play := startCommand(t, dir, "replay", day, "--paused", "--clock", test.clock, "--zone", test.zone, "--listen", "unix:p.sock", "--http", "unix:c.sock")
		play.says(t, `"http"`)
		for place, when := range test.places {
			at, err := time.Parse(time.RFC3339, when)
			require.NoError(t, err)
			want, clock := uint64(0), int64(0)
			for _, k := range all {
				if clock = max(clock, k.Event); test.clock == "publish" {
					clock = k.Publish
				}
				if clock >= at.UnixNano() {
					want = k.Seq
					break
				}
			}
			require.NotZero(t, want, place)
			by := []string{"--clock", test.clock, "--zone", test.zone}
			name := fmt.Sprintf("%s (%s, %s)", place, test.clock, test.zone)

			assert.Equal(t, want, ticksOf(t, dir, append(by, day, "--from", place)...)[0].Seq, "export --from %s", name)
			before := ticksOf(t, dir, append(by, day, "--to", place)...)
			assert.Equal(t, want-1, before[len(before)-1].Seq, "export --to %s", name)
			var cut struct{ From, To uint64 }
			require.NoError(t, json.Unmarshal([]byte(outputOf(t, dir, append(by, "cut", day, "--from", place, "-o", "part.tick", "--force", "--json")...)), &cut))
			assert.Equal(t, want, cut.From, "cut --from %s", name)
			assert.Contains(t, outputOf(t, dir, append(by, "inspect", day, "--at", place)...), fmt.Sprintf(": state as of %d, ", want), "inspect --at %s", name)
			if place[0] != '+' && place[0] != '-' { // which is from where the replay is
				assert.Equal(t, want, statusOf(t, dir, "seek", place), "control seek %s", name)
			}
			from := startCommand(t, dir, append(by, "replay", day, "--paused", "--from", place, "--listen", "unix:q.sock", "--http", "")...)
			from.says(t, fmt.Sprintf(`"message":"session"|"first":%d,`, want))
			assert.Contains(t, from.err.String(), fmt.Sprintf(`"first":%d,`, want), "replay --from %s", name)
			_ = from.Process.Kill()
			<-from.done
			_ = os.Remove(filepath.Join(dir, "q.sock"))
		}
		_ = play.Process.Kill()
		<-play.done
		_ = os.Remove(filepath.Join(dir, "p.sock"))
		_ = os.Remove(filepath.Join(dir, "c.sock"))
	}

	// The parts of a day, cut at a place, are the day again once they are merged.
	outputOf(t, dir, "cut", day, "--to", "16:00", "-o", "a.tick")
	outputOf(t, dir, "cut", day, "--from", "16:00", "-o", "b.tick")
	outputOf(t, dir, "merge", "b.tick", "a.tick", "-o", "whole.tick")
	assert.Equal(t, all, ticksOf(t, dir, "whole.tick"))
	assert.Equal(t, outputOf(t, dir, "inspect", "--csv", "--at", "20:00", day), outputOf(t, dir, "inspect", "--csv", "--at", "20:00", "b.tick"))

	// A place that the recording does not have is refused, and the message names the times of the recording.
	for _, args := range [][]string{
		{"inspect", "--at", "22:30", day}, {"inspect", "--at", "2027-01-01", day}, {"inspect", "--at", "seq:9999", day},
		{"cut", day, "--from", "22:30", "-o", "none.tick"}, {"export", day, "--from", "22:30", "-o", "none.csv"},
		{"export", day, "--symbols", "AAPL", "--to", "2026-01-05T00:00", "-o", "none.csv"},
		{"export", day, "--to", "10:00", "-o", "none.csv"}, // in New York, but it does not say so
		{"cut", day, "--from", "15:00", "--to", "14:00", "-o", "none.tick"},
	} {
		c := startCommand(t, dir, args...)
		assert.Equal(t, exitData, c.exit(t), "%v", args)
		assert.Contains(t, c.err.String(), "its market times are 2026-01-05 14:29:59Z to 2026-01-05 21:00:00Z", "%v", args)
	}
	assert.Contains(t, outputOf(t, dir, "inspect", "--at", "seq:7849", "--json", "--symbols", "AAPL", day), `"symbol":"AAPL"`, "the end is in the recording")
}

// A market that was recorded within two milliseconds replays at the pace of its event times, and no tick early, also if some
// ticks have no event time, or a late one.
func TestAReplayGoesByMarketTime(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	text := strings.Join([]string{
		"tickfeed-text 1",
		"session lineage=a1:1 mode=simulation source=day",
		"packet 2026-03-02T00:00:00Z base=2026-01-05T14:30:00Z",
		"  define #0 symbol=A price=-2",
		"  quote A 1 1 2 1",
		"packet 2026-03-02T00:00:00.001Z base=2026-01-05T14:40:00Z",
		"  quote A 3 1 4 1",
		"  quote -300000000000 A 5 1 6 1", // five minutes late
		"packet 2026-03-02T00:00:00.002Z base=2026-01-05T14:50:00Z",
		"  quote @0 A 7 1 8 1",
		"  quote A 9 1 10 1",
		"closed", "",
	}, "\n")
	require.NoError(t, os.WriteFile(filepath.Join(dir, "day.txt"), []byte(text), 0o600))
	for clock, least := range map[string]time.Duration{"market": 20 * time.Minute / 1000, "publish": 0} { // that the replay takes
		play := startCommand(t, dir, "replay", "day.txt", "--speed", "1000x", "--clock", clock, "--wait-subscribers", "1", "--exit-at-end", "--listen", "unix:p.sock", "--http", "")
		play.says(t, `"listening"|"listen"`)
		ticks := outputOf(t, dir, "subscribe", "unix:p.sock", "--from", "beginning", "--until-end", "--json")
		require.Equal(t, exitDone, play.exit(t), play.err.String())
		var published []time.Duration
		first := int64(0)
		for line := range strings.Lines(ticks) {
			var tick lineTick
			require.NoError(t, json.Unmarshal([]byte(line), &tick))
			if first == 0 {
				first = tick.Publish
			}
			published = append(published, time.Duration(tick.Publish-first))
		}
		require.Len(t, published, 6, ticks)
		for i, due := range []time.Duration{0, 0, 10, 10, 10, 20} { // minutes
			assert.GreaterOrEqual(t, published[i], due*least/20-5*time.Millisecond, "tick %d, by the %s clock", i+1, clock)
		}
	}
}

// The flags for moments have one grammar; --start-at alone has times of day, and --start opens a market at 09:30 of a date.
func TestMomentsHaveOneGrammar(t *testing.T) {
	now := time.Date(2026, 3, 4, 15, 0, 0, 0, time.UTC)
	flags := map[string]func(string) (time.Time, error){
		"--start-at": func(s string) (time.Time, error) { return parseStartAt(s, now) },
		"--start":    func(s string) (time.Time, error) { return parseOpening(s, now) },
		"--created":  func(s string) (time.Time, error) { as, err := parseOrigin("", s); return as.created, err },
	}
	const refused = ""
	for _, c := range []struct {
		text, startAt, start, created string // in UTC
	}{
		{"2026-03-05T09:30:00.25Z", "2026-03-05T09:30:00.25Z", "2026-03-05T09:30:00.25Z", "2026-03-05T09:30:00.25Z"},
		{"2026-03-05T09:30:00+01:00", "2026-03-05T08:30:00Z", "2026-03-05T08:30:00Z", "2026-03-05T08:30:00Z"},
		{"2026-03-05T09:30", "2026-03-05T09:30:00Z", "2026-03-05T14:30:00Z", "2026-03-05T09:30:00Z"},
		{"2026-03-05 09:30:00", "2026-03-05T09:30:00Z", "2026-03-05T14:30:00Z", "2026-03-05T09:30:00Z"},
		{"2026-03-05", "2026-03-05T00:00:00Z", "2026-03-05T14:30:00Z", "2026-03-05T00:00:00Z"},
		{"15:30", "2026-03-04T15:30:00Z", refused, refused},
		{"14:59:59", "2026-03-05T14:59:59Z", refused, refused},
		{"+10s", refused, refused, refused},
		{"seq:7", refused, refused, refused},
		{"yesterday", refused, refused, refused},
	} {
		for name, want := range map[string]string{"--start-at": c.startAt, "--start": c.start, "--created": c.created} {
			at, err := flags[name](c.text)
			if want == refused {
				assert.ErrorContains(t, err, name+" must be", c.text)
				continue
			}
			require.NoError(t, err, "%s %s", name, c.text)
			assert.Equal(t, want, at.UTC().Format(time.RFC3339Nano), "%s %s", name, c.text)
		}
	}
	_, err := parseStartAt("2026-03-04T14:59:59Z", now)
	assert.ErrorContains(t, err, "has passed")
}
