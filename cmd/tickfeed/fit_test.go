package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A profile is fitted to a recording, and sim and publish simulate a market with it: the same ticks for the same seed.
func TestSimFit(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	in := func(name string) string { return filepath.Join(dir, name) }
	small := "start: 2024-03-04T15:00:00Z\nday_length: 20m\nrate: 10\ninstruments:\n" +
		"  - {symbol: ONE, price: 20.00, spread: 3, activity: 3}\n  - {symbol: TWO, price: 50.00, activity: 1}\n"
	require.NoError(t, os.WriteFile(in("small.yaml"), []byte(small), 0o644))
	outputOf(t, dir, "sim", "--profile", "small.yaml", "-o", "day.tick")

	c := startCommand(t, dir, "sim", "fit", "day.tick", "-o", "fitted.yaml")
	require.Equal(t, exitDone, c.exit(t), c.err.String())
	assert.Contains(t, c.err.String(), "day.tick: 2 instruments fitted in ")
	assert.Contains(t, c.err.String(), "events/s, 20m0s from 2024-03-04 15:00Z")
	assert.Contains(t, c.err.String(), "as usual, for want of data: the shape of the day (the recording is short), depth")
	text, err := os.ReadFile(in("fitted.yaml"))
	require.NoError(t, err)
	assert.Contains(t, string(text), "source: \"day.tick\"\nstart: 2024-03-04T15:00:00Z\nday_length: 20m0s\nrate: ")
	one := outputOf(t, dir, "sim", "fit", "day.tick", "-o", "-", "--symbols", "TWO")
	assert.Equal(t, 1, strings.Count(one, "- symbol"))

	market := []string{"--profile", "fitted.yaml", "--seed", "9", "--days", "1"}
	outputOf(t, dir, append([]string{"sim", "-o", "like.tick"}, market...)...)
	want := withoutPublishing(outputOf(t, dir, "export", "like.tick", "-o", "-", "--as", "csv"))
	sock := "unix:" + in("p.sock")
	pub := startCommand(t, dir, append([]string{"publish", "--listen", sock, "--speed", "100000", "--wait-for", "1", "--exit-at-end"}, market...)...)
	got := outputOf(t, dir, "subscribe", sock, "--from", "beginning", "--until-end", "--csv")
	require.Equal(t, exitDone, pub.exit(t), pub.err.String())
	assert.Contains(t, pub.err.String(), "simulated market, seed 9, profile fitted.yaml, ")
	assert.Equal(t, want, withoutPublishing(got))
	assert.Greater(t, len(want), 10_000)
	assert.Contains(t, outputOf(t, dir, append([]string{"sim", "--print-universe"}, market...)...), "\nONE,SIM,stock,USD,")
}

// Profiles that cannot be read, and flags that a profile excludes, are refused with their place and what to do.
func TestSimFitUsage(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for name, text := range map[string]string{
		"bad.yaml": "rate: 10\nclusters: [{causes: 2}]\n", "good.yaml": "rate: 10\ninstruments: [{symbol: A, price: 1.00}]\n",
		"few.csv": "time,symbol,bid,ask\n2026-01-05T14:30:00Z,A,1,2\n", "more.csv": "time,symbol,bid,ask\n2026-01-05T14:30:00Z,A,1,2\n",
	} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644))
	}
	for _, c := range []struct {
		args []string
		code int
		want string
	}{
		{[]string{"sim", "fit", "few.csv"}, exitUsage, "name the profile to write with -o, such as -o profile.yaml"},
		{[]string{"sim", "fit", "few.csv", "-o", "good.yaml"}, exitUsage, "-o good.yaml: the file exists; choose another, or replace it with --force"},
		{[]string{"sim", "fit", "few.csv", "-o", "p.yaml"}, exitData, "few.csv: no instrument has 100 quotes or trades with event times"},
		{[]string{"sim", "fit", "few.csv", "-o", "p.yaml", "--symbols", "B"}, exitData, "there is no such instrument"},
		{[]string{"sim", "fit", "few.csv", "more.csv", "-o", "p.yaml"}, exitUsage, "these are 2 recordings, and a profile is of one: join them with tickfeed merge"},
		{[]string{"sim", "fit", "-o", "p.yaml"}, exitUsage, "name of a file"},
		{[]string{"sim", "--profile", "bad.yaml", "-o", "x.tick"}, exitUsage, `--profile: bad.yaml:2:11: field "clusters": want 3, got 1`},
		{[]string{"sim", "--profile", "none.yaml", "-o", "x.tick"}, exitUsage, "--profile: open none.yaml: "},
		{[]string{"sim", "--profile", "good.yaml", "--universe", "u.csv", "-o", "x.tick"}, exitUsage, "--profile and --universe both say which instruments there are; choose one"},
		{[]string{"sim", "--profile", "good.yaml", "--instruments", "2", "-o", "x.tick"}, exitUsage, "--instruments must be at most 1, the number in good.yaml, got 2"},
		{[]string{"publish", "--profile", "good.yaml", "--steady"}, exitUsage, "--steady with --profile needs a --rate"},
		{[]string{"publish", "--profile", "good.yaml", "few.csv"}, exitUsage, "--profile applies only to the simulated market, but files are published"},
	} {
		x := startCommand(t, dir, c.args...)
		assert.Equal(t, c.code, x.exit(t), "%v: %s", c.args, x.err.String())
		assert.Contains(t, x.err.String(), c.want, "%v", c.args)
		assert.NoFileExists(t, filepath.Join(dir, "p.yaml"))
	}
}
