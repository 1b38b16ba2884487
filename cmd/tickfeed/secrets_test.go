//go:build unix

package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tickfeed/codec/certs/certstest"
)

// Files with secrets that others can read, and users who have expired, are warned about at the start, by --check and by control
// reload, with what to do.
func TestWarningsOfSecretsThatOthersCanRead(t *testing.T) {
	t.Parallel()
	dir, a := t.TempDir(), certstest.NewAuthority("here")
	a.Issue(certstest.Want{Names: []string{"localhost"}}).Write(dir, "feed")
	certstest.WriteFile(dir, "ca.pem", a.PEM)
	certstest.WriteFile(dir, "token", []byte("secret"))
	certstest.WriteFile(dir, "users.yml", []byte("- {name: old, token_sha256: "+strings.Repeat("0", 64)+", expires: 2020-01-31}\n"))
	chmod := func(mode os.FileMode, names ...string) {
		for _, name := range names {
			require.NoError(t, os.Chmod(filepath.Join(dir, name), mode))
		}
	}
	open := func(name string) string {
		return name + " has mode 0644, so that every user of this machine can read it: chmod 600 " + name
	}
	expired := "user old expired at 2020-01-31T00:00:00Z and is refused: write a later time, or remove the user from the file of --users"
	chmod(0o644, "feed.key", "token", "users.yml")
	args := []string{"publish", "--listen", "unix:p", "--http", "unix:h", "--http-token-file", "token", "--users", "users.yml", "--tls-cert", "feed.pem", "--tls-key", "feed.key", "--log-format", "json"}
	check := startCommand(t, dir, append(args, "--check")...)
	assert.Equal(t, exitDone, check.exit(t), check.err.String())
	pub := startCommand(t, dir, args...)
	for _, w := range []string{open("feed.key"), open("token"), open("users.yml"), expired} {
		assert.Contains(t, check.out.String(), "warning   "+w)
		pub.says(t, w)
	}
	chmod(0o600, "token", "users.yml")
	chmod(0o640, "feed.key")
	pub.says(t, "feed.key has mode 0640, so that its group can read it: chmod 600 feed.key")
	reload := startCommand(t, dir, "control", "reload", "--addr", "unix:h", "--http-token-file", "token")
	assert.Equal(t, exitDone, reload.exit(t), reload.err.String())
	assert.Contains(t, reload.out.String(), "warning: feed.key has mode 0640")
	assert.Contains(t, reload.out.String(), "warning: "+expired)
	assert.NotContains(t, reload.out.String(), "token")

	chmod(0o644, "token")
	for _, args := range [][]string{
		{"subscribe", "unix:p", "--token-file", "token", "--tls-ca", "ca.pem", "--tls-cert", "feed.pem", "--tls-key", "feed.key"},
		{"record", "unix:p", "-o", "x.tick", "--token-file", "token", "--tls-ca", "ca.pem", "--tls-cert", "feed.pem", "--tls-key", "feed.key"},
		{"control", "status", "--addr", "unix:h", "--http-token-file", "token", "--tls-cert", "feed.pem", "--tls-key", "feed.key"},
		{"lab", "--rule", "every 1s: cut rst", "--http", "unix:l", "--http-token-file", "token", "--upstream-tls-cert", "feed.pem", "--upstream-tls-key", "feed.key", "--listen", "unix:none/l"},
		{"replay", "none.tick", "--listen", "unix:none/l", "--token-file", "token", "--tls-cert", "feed.pem", "--tls-key", "feed.key"},
	} {
		c := startCommand(t, dir, args...)
		c.exit(t)
		says := strings.ReplaceAll(c.err.String(), "\n", " ")
		assert.Contains(t, says, open("token"), "%v", args)
		assert.Contains(t, says, "feed.key has mode 0640", "%v", args)
	}
}

// A file with secrets that others can read later is warned about while each command that runs for long goes on.
func TestSecretsThatOthersCanReadLaterAreWarnedAbout(t *testing.T) {
	t.Parallel()
	dir, a := t.TempDir(), certstest.NewAuthority("here")
	a.Issue(certstest.Want{Names: []string{"localhost"}}).Write(dir, "feed")
	day, err := os.ReadFile("../../testdata/day.tick")
	require.NoError(t, err)
	certstest.WriteFile(dir, "day.tick", day)
	var running []*command
	for _, args := range [][]string{
		{"publish", "--listen", "unix:p"}, {"replay", "day.tick", "--listen", "unix:r"}, {"lab", "--upstream", "unix:p", "--rule", "on storm: cut rst", "--listen", "unix:l"},
		{"subscribe", "unix:none"}, {"record", "unix:none", "-o", "x.tick"}, {"demo"},
	} {
		token := args[0] + ".token"
		certstest.WriteFile(dir, token, []byte("a secret of many letters"))
		require.NoError(t, os.Chmod(filepath.Join(dir, token), 0o600))
		c := startCommand(t, dir, append(args, "--http", "unix:"+args[0]+"-http", "--http-token-file", token)...)
		running = append(running, c)
	}
	for _, c := range running {
		token := c.Args[1] + ".token"
		if c.Args[1] != "demo" {
			c.says(t, `.`) // what it says at first, without a warning
		}
		assert.NotContains(t, c.err.String(), token+" has mode")
		require.NoError(t, os.Chmod(filepath.Join(dir, token), 0o644))
	}
	for _, c := range running {
		c.says(t, c.Args[1]+`\.token has mode 0644`)
	}
}
