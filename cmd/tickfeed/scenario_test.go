package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tickfeed/codec/lab"
	"tickfeed/feed/sim"
)

// Whatever happens in the market and in the network at the same time, a subscriber accounts for every tick, and receives what sim
// writes to a file. Events and faults stand in one script.
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

// A line is an event, which happens at once, a rule, list or trigger NAME.
func TestDirector(t *testing.T) {
	var said []string
	d := director{say: func(format string, args ...any) { said = append(said, fmt.Sprintf(format, args...)) }}
	m, err := sim.New(sim.Config{Instruments: 5, Commands: true})
	require.NoError(t, err)
	d.begin(m, nil)
	for _, line := range []string{"", "list", "halt AAPL for 1m", "hlat AAPL", "on x: halt MSFT", "at 10:00: calm", "seed 3", "for x at seq 5: cut", "list", "trigger x", "trigger y"} {
		d.line(line)
	}
	require.Len(t, said, 9)
	for i, want := range []string{"the scenario has no rule", `there is no event "hlat"`, "added rule 1: on x: halt MSFT", "added rule 2: at 10:00: calm", `"seed 3" is no rule`, `there is no event "cut"`, "1  on x: halt MSFT", "2  at 10:00: calm", `no rule is "on y: …"`} {
		assert.Contains(t, said[i], want)
	}
}

// A trigger makes the faults of a name happen too.
func TestDirectorTriggersFaults(t *testing.T) {
	var said []string
	s, err := lab.Parse("faults", []byte("on storm: cut rst"))
	require.NoError(t, err)
	d := director{say: func(format string, args ...any) { said = append(said, fmt.Sprintf(format, args...)) }, faults: &faultLab{lab: &lab.Lab{Script: s}}}
	m, err := sim.New(sim.Config{Instruments: 5, Commands: true})
	require.NoError(t, err)
	d.begin(m, nil)
	d.line("trigger storm")
	assert.Empty(t, said)
	d.line("trigger calm")
	assert.Len(t, said, 1)
}

// tickfeed control adds an event to a market that runs.
func TestControlAddsEvents(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	web := "unix:" + filepath.Join(dir, "h.sock")
	pub := startCommand(t, dir, "publish", "--commands", "--http", web, "--instruments", "5", "--rate", "100", "--listen", "unix:"+filepath.Join(dir, "p.sock"))
	require.Eventually(t, func() bool {
		c := startCommand(t, dir, "control", "--addr", web, "add", "halt TSLA,AAPL for 10m")
		return c.exit(t) == exitDone && strings.Contains(c.out.String(), "added: halt TSLA,AAPL for 10m")
	}, patience, 10*time.Millisecond)
	require.Eventually(t, func() bool { return strings.Contains(pub.err.String(), `"rule":"halt TSLA,AAPL for 10m"`) }, patience, 10*time.Millisecond)
}
