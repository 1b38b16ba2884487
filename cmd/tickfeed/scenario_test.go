package main

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tickfeed/cmd/ops"
	"tickfeed/codec/lab"
	"tickfeed/feed"
	"tickfeed/feed/script"
	"tickfeed/feed/sim"
)

// While events happen in the market and faults in the network, a subscriber accounts for every tick, and receives the ticks that
// sim writes to a file. Events and faults stand in one script.
func TestScenariosWithFaultsLoseNothing(t *testing.T) {
	t.Parallel()
	const faults = "\nat seq 2000: cut rst\nat seq 4000: drop tick\nat seq 6000: flip\nat seq 7000: cut inside\n"
	for _, name := range sim.Scenarios() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			text, _ := sim.ScenarioText(name)
			require.NoError(t, os.WriteFile(filepath.Join(dir, "both.market"), append(text, faults...), 0o644))
			market := []string{"--scenario", "both.market", "--instruments", "40", "--rate", "10k", "--speed", "20000", "--days", "1"}
			sock := "unix:" + filepath.Join(dir, "p.sock")
			pub := startCommand(t, dir, append([]string{"publish", "--listen", sock, "--journal", "j"}, market...)...)
			got := outputOf(t, dir, "subscribe", sock, "--from", "beginning", "--until-end", "--csv")
			require.NoError(t, pub.Process.Signal(os.Interrupt))
			assert.Equal(t, exitInterrupted, pub.exit(t), pub.err.String())
			assert.Contains(t, pub.err.String(), `"fault":"at seq 2000: cut rst"`)
			assert.Contains(t, pub.err.String(), `"message":"market"`)

			outputOf(t, dir, append([]string{"sim", "-o", "sim.tick"}, market...)...)
			want := outputOf(t, dir, "export", "sim.tick", "-o", "-", "--as", "csv")
			assert.Equal(t, withoutPublishing(want), withoutPublishing(got))
			assert.NotEmpty(t, strings.TrimSpace(got))
		})
	}
}

// withoutPublishing returns CSV without the session and the time of publishing.
func withoutPublishing(csv string) []string {
	var lines []string
	for line := range strings.Lines(csv) {
		fields := strings.Split(strings.TrimSuffix(line, "\n"), ",")
		lines = append(lines, fmt.Sprint(fields[1:7], fields[8:]))
	}
	return lines
}

// newDirector returns the director of a market with five instruments, and play, which plays the market for a while.
func newDirector(t *testing.T, faults *faultLab) (d *director, play func()) {
	d = &director{addr: defaultAddress, faults: faults, patience: time.Nanosecond} // the market goes on with play only
	m, err := sim.New(sim.Config{Instruments: 5, Rate: 20, Commands: true, Happens: d.happened})
	require.NoError(t, err)
	d.begin(m, nil)
	batch := make([]feed.Tick, 20)
	return d, func() {
		for range 20 {
			_, err := m.Next(t.Context(), batch)
			require.NoError(t, err)
		}
	}
}

// A line is an event, which happens at once, a rule, list, remove or trigger.
func TestDirectorObeysLines(t *testing.T) {
	d, play := newDirector(t, nil)
	for _, c := range []struct{ line, want string }{
		{"", "<nil>"},
		{"list", "there is no rule"},
		{"halt AAPL for 1m", "added rule 1: halt AAPL for 1m"},
		{"hlat AAPL", `there is no event or fault "hlat"; did you mean "halt"? --list shows all`},
		{"help", ops.LineHelp},
		{"nonsense", `there is no event or fault "nonsense"; --list shows all; want a rule, list, remove N|NAME|all, trigger NAME or help`},
		{"lsit", `did you mean "list"?`},
		{"halt APPL", `no instrument of the market matches APPL; did you mean "AAPL"?`},
		{"on x: halt MSFT", "added rule 2: on x: halt MSFT"},
		{"at 10:00: calm", "added rule 3: at 10:00: calm"},
		{"on x: spread * x3", "added rule 4: on x: spread * x3"},
		{"seed 3", `"seed 3" is no rule`},
		{"at seq 5: cut", "run tickfeed lab --upstream localhost:8425 --rule 'at seq 5: cut', and let the subscribers connect to localhost:8426; or start publish with any fault"},
		{"cut rst", "run tickfeed lab --upstream localhost:8425 --rule 'on storm: cut rst', and"},
		{"trigger y", `no rule is "on y: …"`},
		{"trigger x", "triggered: on x"},
		{"depth AAPL /2", "added rule 5: depth AAPL /2"},
	} {
		assert.Contains(t, obeyed(d, c.line), c.want, c.line)
	}
	play()
	assert.Equal(t, "  2       1×  on x: halt MSFT\n  3  not yet  at 10:00: calm\n  4       1×  on x: spread * x3 (it goes on)\n  5       1×  depth AAPL /2 (it goes on)\n", obeyed(d, "list"),
		"what has happened at once and is over is not listed")
	for _, c := range []struct{ line, want string }{
		{"remove 3", "removed rule 3: at 10:00: calm"},
		{"remove 3", "there is no such rule"},
		{"remove x", "removed rule 2: on x: halt MSFT\nremoved rule 4: on x: spread * x3"},
		{"trigger x", "no rule is"},
		{"at 11:00: luld on AAPL", "added rule 6: at 11:00: luld on AAPL"},
		{"remove AAPL", "there is no such rule"}, // that is no name of a trigger
		{"trigger AAPL", `no rule is "on AAPL: …"`},
		{"remove 6", "removed rule 6"},
		{"remove all", "removed rule 5"},
		{"list", "there is no rule"},
		{"remove all", "there is no rule"},
	} {
		assert.Contains(t, obeyed(d, c.line), c.want, c.line)
	}
}

// obeyed returns what a person reads who types a line.
func obeyed(d *director, line string) string {
	answer, err := ops.Obey(d, line)
	if err != nil {
		return err.Error()
	}
	return fmt.Sprint(answer)
}

// The faults of a scenario are triggered, listed, added and removed with the events.
func TestDirectorOfFaults(t *testing.T) {
	s, err := script.Parse("both", []byte("at 1m: calm\non storm: cut rst"), marketLanguages...)
	require.NoError(t, err)
	d, _ := newDirector(t, &faultLab{lab: &lab.Lab{Script: lab.FaultsOf(s)}})
	d.begin(d.market, s)
	for _, c := range []struct{ line, want string }{
		{"trigger storm", "triggered"},
		{"trigger calm", "no rule is"},
		{"cut rst", `a fault needs a trigger, such as "at seq 1000: cut rst"`},
		{"at seq 5: kill", "kill happens to a publisher that the lab runs itself"},
		{"at seq 50: cut fin", "added rule 3: at seq 50: cut fin"},
		{"remove 2", "removed rule 2: on storm: cut rst"},
		{"trigger storm", "no rule is"},
	} {
		assert.Contains(t, obeyed(d, c.line), c.want, c.line)
	}
	var texts []string
	for _, r := range d.List() {
		texts = append(texts, fmt.Sprint(r.Number, r.Text))
	}
	assert.Equal(t, []string{"1at 1m: calm", "3at seq 50: cut fin"}, texts)
}

// tickfeed control adds an event to a market that runs.
func TestControlAddsEvents(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	web := "unix:" + filepath.Join(dir, "h.sock")
	pub := startCommand(t, dir, "publish", "--http", web, "--instruments", "5", "--rate", "100", "--listen", "unix:"+filepath.Join(dir, "p.sock"))
	require.Eventually(t, func() bool {
		c := startCommand(t, dir, "control", "--addr", web, "add", "halt TSLA,AAPL for 10m")
		return c.exit(t) == exitDone && regexp.MustCompile(`^(done|added rule 1): halt TSLA,AAPL for 10m`).MatchString(c.out.String()) // or pending
	}, patience, 10*time.Millisecond)
	require.Eventually(t, func() bool { return strings.Contains(pub.err.String(), `"rule":"halt TSLA,AAPL for 10m"`) }, patience, 10*time.Millisecond)
}

// The answer to an event says what really happened, or when it will; an event that happens to nothing is refused and not listed.
func TestDirectorAnswersWithTheOutcome(t *testing.T) {
	t.Parallel()
	u, err := sim.ParseUniverse("u", []byte("symbol,price,hours\nAAA,10,09:00-10:00 UTC\nBBB,10,10:00-11:00 UTC\n"))
	require.NoError(t, err)
	d := &director{patience: patience}
	m, err := sim.New(sim.Config{Universe: u, Instruments: 2, Rate: 20, Start: time.Date(2026, 1, 5, 9, 0, 0, 0, time.UTC), Days: 2, Commands: true, Happens: d.happened})
	require.NoError(t, err)
	d.begin(m, nil)
	batch := make([]feed.Tick, 20)
	for m.Reached() < time.Date(2026, 1, 5, 9, 1, 0, 0, time.UTC).UnixNano() {
		_, err := m.Next(t.Context(), batch)
		require.NoError(t, err)
	}
	for _, c := range []struct{ line, want string }{
		{"halt * for 1m", `^done: halt \* for 1m \(happened at 09:0.:..\.\d+Z to 1 of 2 instruments; BBB: its market is closed; SIM trades mon-fri 10:00-11:00 UTC, next from Mon 2026-01-05 10:00 UTC\)$`},
		{"halt BBB", `^nothing happens, BBB: its market is closed; SIM trades mon-fri 10:00-11:00 UTC, next from Mon 2026-01-05 10:00 UTC$`},
		{"calm", `^done: calm \(happened at 09:0.:..\.\d+Z\)$`},
		{"at 09:30: calm", `^added rule 1: at 09:30: calm \(it happens at 09:30:00 UTC; the market is at 09:0.:.. now\)$`},
		{"at 09:00:30: calm", `^added rule 2: at 09:00:30: calm \(it happens on the next day of the market, at 09:00:30 UTC; the market is at 09:0.:.. now\)$`},
		{"on x: halt BBB", `^added rule 3: on x: halt BBB \(it waits for: trigger x\)$`},
		{"trigger x", `^trigger x: nothing happens, BBB: its market is closed; SIM trades `},
		{"on x: spread AAA x2", `^added rule 4: `},
		{"trigger x", `^triggered: on x \(on x: spread AAA x2: happened at \S+ to 1 instrument; on x: halt BBB: nothing happens, BBB: its market is closed; SIM trades .*\)$`},
		{"at 10:30: halt *", `^added rule 5: at 10:30: halt \* \(it happens at 10:30:00 UTC; the market is at 09:0.:.. now; WARNING: AAA: its market is closed on Mon 2026-01-05 10:30 UTC; SIM trades mon-fri 09:00-10:00 UTC, next from Tue 2026-01-06 09:00 UTC\)$`},
		{"at 11:30: halt *", `^its market is closed on Mon 2026-01-05 11:30 UTC; SIM trades mon-fri 09:00-10:00 UTC, next from Tue 2026-01-06 09:00 UTC; SIM trades mon-fri 10:00-11:00 UTC, next from Tue 2026-01-06 10:00 UTC$`},
		{"activity AAA x10000", `^added rule 6: activity AAA x10000 \(happened at \S+ to 1 instrument\)$`},
		{"activity AAA,BBB x3000", `^added rule 7: .* to 2 instruments, in all x3,000 to x30,000,000\)$`},
		{"remove 7", ``}, {"activity AAA x10000", `to 1 instrument, in all x100,000,000, the limit\)$`},
		{"list", `(?s)^  1  not yet.*  2  not yet.*  3  not yet.*  4       1×.*  5  not yet.*  6       1×.*  8       1×`},
	} {
		answer := make(chan string, 1)
		go func() { answer <- obeyed(d, c.line) }()
		got := ""
		for got == "" {
			select {
			case got = <-answer:
			case <-time.After(100 * time.Microsecond): // the market waits for the command
				_, err := m.Next(t.Context(), batch[:1])
				require.NoError(t, err)
			}
		}
		assert.Regexp(t, c.want, got, c.line)
	}
	assert.Len(t, d.entries, 7, "what is over, or was refused, is forgotten")
	d.patience = time.Nanosecond
	assert.Equal(t, "added rule 9: calm ("+pendingText+")", obeyed(d, "calm"), "the market stands still")
	d.patience = patience
	d.end()
	assert.Equal(t, "added rule 10: calm ("+pendingText+")", obeyed(d, "calm"), "nobody waits for a market that has ended")
}
