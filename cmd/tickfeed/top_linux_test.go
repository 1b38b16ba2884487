package main

import (
	"regexp"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// top draws the whole screen while it is in the foreground, follows the size of the terminal, and leaves the terminal as it was:
// at Ctrl-Z, in the background, and at the end.
func TestTopOnATerminal(t *testing.T) {
	dir := t.TempDir()
	pub := startCommand(t, dir, "publish", "--rate", "1k", "--instruments", "5", "--listen", "unix:feed", "--http", "unix:http")
	pub.says(t, "(?s)listening.*http")
	startCommand(t, dir, "subscribe", "unix:feed", "--quiet").says(t, "live: ")
	sh := newShell(t, dir)
	sh.resize(100)
	before, _ := sh.run("stty -a")

	sh.send("./tickfeed top unix:http --interval 100ms\n")
	text := sh.expect(regexp.MustCompile(`(?s)\x1b\[\?1049h\x1b\[\?25l.*publish  simulated market.*1 subscriber.*AAPL@SIM.*q quit`))
	assert.NotRegexp(t, `\x1b\[\?1049l`, text)
	sh.send("\x1b[B\r") // the details of the first connection
	sh.expect(regexp.MustCompile(`(?s)connection 1 of tickfeed.*policy +all.*esc back`))
	sh.resize(60)
	sh.expect(regexp.MustCompile(`\x1b\[Hpublish  simulated market, seed 1 {10,30}up|\x1b\[H\x1b\[1mpublish  simulated market, seed 1 {10,24}up`))
	sh.send("k")
	sh.expect(regexp.MustCompile(`end connection 1\?`))
	sh.send("y")
	sh.expect(regexp.MustCompile(`connection 1 of tickfeed \(devel\) has ended`))

	sh.send("\x1a")
	text, _ = sh.prompted()
	require.Contains(t, text, "Stopped")
	assert.Regexp(t, `(?s)\x1b\[\?25h\x1b\[\?1049l.*Stopped`, text)
	sh.resize(100)
	stopped, _ := sh.run("stty -a")
	assert.Equal(t, before, stopped)
	sh.run("bg")
	text, _ = sh.run("echo type''ahead")
	require.Contains(t, text, "typeahead", "the shell has its terminal")
	assert.NotContains(t, text, "simulated market", "nothing is drawn in the background")
	sh.send("fg\n")
	sh.expect(regexp.MustCompile(`(?s)\x1b\[\?1049h.*simulated market`))
	require.NoError(t, pub.Process.Kill())
	sh.expect(regexp.MustCompile(`cannot reach a command at unix:http`))
	sh.send("q")
	text, code := sh.prompted()
	assert.Zero(t, code)
	assert.Contains(t, text, "\x1b[?1049l")
	after, _ := sh.run("stty -a")
	assert.Equal(t, before, after)

	sh.send("./tickfeed top unix:http\n")
	sh.expect(regexp.MustCompile(`cannot reach a command at unix:http`))
	sh.send("\x03")
	_, code = sh.prompted()
	assert.Equal(t, exitInterrupted, code)
}
