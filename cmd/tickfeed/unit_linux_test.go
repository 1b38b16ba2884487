package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// unit returns the unit file of the package ops, with the tickfeed of the tests.
func unit(t *testing.T) string {
	t.Helper()
	b, err := os.ReadFile("../ops/tickfeed.service")
	require.NoError(t, err)
	binary, err := exec.LookPath("tickfeed")
	require.NoError(t, err)
	require.Equal(t, 4, strings.Count(string(b), "/usr/local/bin/tickfeed "))
	return strings.ReplaceAll(string(b), "/usr/local/bin/tickfeed ", binary+" ")
}

// systemd accepts the unit without a warning, and finds little that the service could do beyond its work.
func TestUnitIsHardened(t *testing.T) {
	const offline = 250 // the version that can judge a unit that is not installed
	version, err := exec.Command("systemd-analyze", "--version").Output()
	if err != nil {
		t.Skipf("there is no systemd-analyze here: %v", err)
	}
	found := regexp.MustCompile(`^systemd (\d+)`).FindSubmatch(version)
	require.NotNil(t, found, "%s", version)
	if n, _ := strconv.Atoi(string(found[1])); n < offline {
		t.Skipf("systemd-analyze here is of version %d, and version %d is needed", n, offline)
	}
	path := filepath.Join(t.TempDir(), "tickfeed.service")
	require.NoError(t, os.WriteFile(path, []byte(unit(t)), 0o600))
	text, err := exec.Command("systemd-analyze", "verify", "--man=no", path).CombinedOutput()
	assert.NoError(t, err, "%s", text)
	assert.NotContains(t, string(text), path, "a warning")
	text, err = exec.Command("systemd-analyze", "security", "--offline=true", "--threshold=20", "--no-pager", path).CombinedOutput()
	assert.NoError(t, err, "the exposure is above 2.0:\n%s", text)
}

// The commands of the unit start, reload and stop a publisher, with the settings of the unit.
func TestUnitRuns(t *testing.T) {
	dir := t.TempDir()
	settings := map[string]string{}
	commands := map[string][]string{}
	for line := range strings.Lines(unit(t)) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		value = strings.NewReplacer("%S", filepath.Join(dir, "state"), "%t", filepath.Join(dir, "run")).Replace(value)
		switch {
		case key == "Environment":
			name, set, ok := strings.Cut(value, "=")
			require.True(t, ok, line)
			settings[name] = set
		case strings.HasPrefix(key, "Exec"):
			commands[key] = strings.Fields(strings.TrimPrefix(value, "-"))
		}
	}
	require.Equal(t, ":8425", settings["TICKFEED_LISTEN"])
	settings["TICKFEED_LISTEN"] = "unix:" + filepath.Join(dir, "feed")
	for _, d := range []string{"state/tickfeed", "run/tickfeed"} { // as StateDirectory and RuntimeDirectory do
		require.NoError(t, os.MkdirAll(filepath.Join(dir, d), 0o700))
	}
	env := os.Environ()
	for name, set := range settings {
		env = append(env, name+"="+set)
	}
	run := func(key string) *command {
		args := commands[key]
		require.NotEmpty(t, args, key)
		for i := range args {
			args[i] = os.Expand(args[i], func(name string) string { return settings[name] })
		}
		c := newCommand(dir, args[1:]...)
		c.Env = env
		c.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
		c.start(t)
		return c
	}
	m := newManager(t, filepath.Join(dir, "notify"))
	check := run("ExecStartPre")
	require.Equal(t, exitDone, check.exit(t), check.err.String())
	env = append(env, "NOTIFY_SOCKET="+filepath.Join(dir, "notify"))
	publish := run("ExecStart")
	require.Equal(t, stateReady, m.next(), publish.err.String())
	reload := run("ExecReload")
	assert.Equal(t, exitDone, reload.exit(t), reload.err.String())
	drain := run("ExecStop")
	assert.Equal(t, exitDone, drain.exit(t), drain.err.String())
	assert.Equal(t, exitDone, publish.exit(t), publish.err.String())
	assert.NotContains(t, publish.err.String()+check.err.String(), "there is no setting")
}
