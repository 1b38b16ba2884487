package main

import (
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tickfeed/cmd/exam"
)

// The subscriber and the publisher of this program pass without any one ability, too.
func TestExamWithoutAnAbility(t *testing.T) {
	if raceEnabled {
		t.Skip("the programs are processes of their own")
	}
	for _, kind := range []struct {
		args      []string
		abilities []exam.Ability
	}{
		{[]string{"exam", "--self", "--case", "good-filtered,good-snapshot,recover-killed"}, exam.Abilities},
		{[]string{"exam", "--publisher", "--self", "--case", "welcome-fields,start-snapshot"}, exam.PublisherAbilities},
	} {
		for _, a := range kind.abilities {
			t.Run(kind.args[1]+" "+string(a), func(t *testing.T) {
				t.Parallel()
				args := append(kind.args, "--lacks", string(a), "--limit", "50s")
				if a == exam.Journal { // whose ticks fit into no little memory
					args = append(args, "--case", "slow-all")
				}
				c := startCommand(t, t.TempDir(), args...)
				require.Equal(t, exitDone, c.exit(t), "%s%s", &c.out, &c.err)
			})
		}
	}
}

// The exam refuses flags and arguments that cannot work before it runs the first case.
func TestExamRefuses(t *testing.T) {
	dir := t.TempDir()
	exists, garbage := filepath.Join(dir, "exists.xml"), filepath.Join(dir, "garbage")
	require.NoError(t, os.WriteFile(exists, []byte("kept"), 0o600))
	require.NoError(t, os.WriteFile(garbage, []byte("\x01\x02"), 0o700))
	self := []string{"exam", "--self", "--limit", "1ns"} // a case that is run fails
	client := []string{"exam", "--case", "good-*", "--", "true", "{addr}"}
	for _, test := range []struct {
		args []string
		want string
	}{
		{append(self, "--junit", exists), "exists.xml: file already exists"},
		{append(self, "--junit", filepath.Join(dir, "missing", "x.xml")), "missing/x.xml: no such file or directory"},
		{append(self, "--junit", dir), "is a directory"},
		{append(self, "--case", ""), `--case "": the value is empty`},
		{append(self, "--lacks="), `--lacks "": the value is empty`},
		{append(client, "--state={state_file}"), "there is no placeholder {state_file}, only {addr}, {filter}, {from}"},
		{[]string{"exam", "--publisher", "--", "true", "{listen}", "{from}"}, "there is no placeholder {from}, only {listen}, {journal}, {retain}, {token-file}"},
		{[]string{"lab", "--rule", "at seq 1: cut", "--", "true", "{listen}", "{retain}"}, "there is no placeholder {retain}, only {listen}, {journal}"},
		{[]string{"exam", "--", garbage, "{addr}"}, "garbage cannot be started"},
		{[]string{"exam", "--publisher", "--", garbage, "{listen}"}, "garbage cannot be started"},
		{[]string{"lab", "--listen", "127.0.0.1:0", "--rule", "at seq 1: cut", "--", garbage, "{listen}"}, "garbage cannot be started"},
	} {
		t.Run(strings.Join(test.args, " "), func(t *testing.T) {
			t.Parallel()
			c := startCommand(t, t.TempDir(), test.args...)
			assert.Equal(t, exitUsage, c.exit(t), "%s%s", &c.out, &c.err)
			assert.Contains(t, c.err.String(), test.want)
			assert.Empty(t, c.out.String(), "no case was run")
		})
	}
	t.Cleanup(func() {
		b, err := os.ReadFile(exists)
		assert.NoError(t, err)
		assert.Equal(t, "kept", string(b))
	})
}

// An input that cannot be read is no fault of the client that printed it.
func TestJudgeOfUnreadableInput(t *testing.T) {
	var said strings.Builder
	assert.Equal(t, exitFailure, run([]string{"exam", "--judge", "good-plain"}, brokenReader{}, io.Discard, &said))
	assert.Contains(t, said.String(), "--judge: "+io.ErrNoProgress.Error())
}

type brokenReader struct{}

func (brokenReader) Read([]byte) (int, error) { return 0, io.ErrNoProgress }
