package main

import (
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tickfeed/codec/certs/certstest"
)

// user add makes a token that publish --users admits. A subscriber is sent what its user may see, follows the file when it changes,
// and ends for good when the user is removed.
func TestUsersSeeWhatTheirFileSays(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "users.yml")
	for _, args := range [][]string{{"desk", "--allow", "ES*, NQ*", "--depth", "l1", "--expires", "2999-01-31"}, {"none", "--allow", "NOPE*", "--expires", "2999-01-31T00:00:00Z"}, {"chief", "--connections", "1", "--expires", "2999-01-31"}} {
		add := startCommand(t, dir, append([]string{"user", "add", "--users", "users.yml"}, args...)...)
		require.Zero(t, add.exit(t), add.err.String())
		token := strings.TrimSpace(add.out.String())
		assert.Len(t, token, 43)
		assert.NotContains(t, add.err.String(), token)
		assert.Contains(t, add.err.String(), "is added to users.yml until 2999-01-31T00:00:00Z; the token is shown only this once")
		require.NoError(t, os.WriteFile(filepath.Join(dir, args[0]), []byte(token+"\n"), 0o600))
	}
	file, err := os.ReadFile(path)
	require.NoError(t, err)
	pub := startCommand(t, dir, "publish", "--users", "users.yml", "--listen", "unix:p.sock", "--http", "unix:h.sock", "--log-format", "json", "--heartbeat", "100ms")
	pub.says(t, `"message":"listening"`)
	refused := startCommand(t, dir, "subscribe", "unix:p.sock", "--token-file", "desk", "--symbols", "AAPL")
	assert.Equal(t, exitRefused, refused.exit(t))
	assert.Contains(t, refused.err.String(), "denied: user desk may not see AAPL, only ES*, NQ*")
	none := startCommand(t, dir, "subscribe", "unix:p.sock", "--token-file", "none", "--quiet")
	none.says(t, `no instrument matches NOPE\* so far, to which the publisher limits this user`)
	assert.NotContains(t, none.err.String(), "--symbols")
	nobody := startCommand(t, dir, "subscribe", "unix:p.sock")
	assert.Equal(t, exitRefused, nobody.exit(t))
	assert.Contains(t, nobody.err.String(), "unauthorized: no token was sent, and no certificate with a single name was shown; name the file of the token with --token-file, or write it into TICKFEED_TOKEN")
	require.NoError(t, os.WriteFile(filepath.Join(dir, "guess"), []byte("guess\n"), 0o600))
	wrong := startCommand(t, dir, "subscribe", "unix:p.sock", "--token-file", "guess")
	assert.Equal(t, exitRefused, wrong.exit(t))
	assert.Contains(t, wrong.err.String(), "unauthorized: the token is wrong, or no longer valid; the token in guess was sent (--token-file)")

	chief := startCommand(t, dir, "subscribe", "unix:p.sock", "--token-file", "chief", "--quiet")
	chief.says(t, "live: receiving from")
	conns := startCommand(t, dir, "control", "connections", "--addr", "unix:h.sock")
	assert.Zero(t, conns.exit(t))
	assert.Regexp(t, `(?m)^\d+ .* chief `, conns.out.String())
	text := strings.Replace(string(file), "- name: chief\n", "- name: chief\n  deny: [AAPL]\n", 1)
	require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
	chief.says(t, "user chief may not see AAPL")
	require.NoError(t, os.WriteFile(path, []byte("- name: chief\n"), 0o600))
	pub.says(t, "users.yml:1: a user has either token_sha256")
	reload := startCommand(t, dir, "control", "reload", "--addr", "unix:h.sock")
	assert.Equal(t, exitFailure, reload.exit(t))
	assert.Contains(t, reload.err.String(), "users: users.yml:1: a user has either")
	before, _, _ := strings.Cut(text, "- name: chief")
	require.NoError(t, os.WriteFile(path, []byte(before), 0o600))
	assert.Equal(t, exitRefused, chief.exit(t))
	assert.Contains(t, chief.err.String(), "unauthorized: user chief may not connect any more: the token is wrong, or no longer valid; this is for good")
	assert.Equal(t, 1, strings.Count(chief.err.String(), "said goodbye"), chief.err.String())
}

// A subscriber whose user may see nothing any more ends for good, and says so. Once the user is permitted again, it is started again and
// misses nothing.
func TestPermissionComesBack(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	certstest.WriteFile(dir, "desk", []byte("secret"))
	permit := func(rest string) {
		certstest.WriteFile(dir, "users.yml", fmt.Appendf(nil, "- {name: desk, token_sha256: %x%s}\n", sha256.Sum256([]byte("secret")), rest))
	}
	permit("")
	pub := startCommand(t, dir, "publish", "--journal", "j", "--rate", "1k", "--users", "users.yml", "--listen", "unix:p.sock", "--http", "unix:h.sock")
	pub.says(t, "(?s)listening.*http")
	permitNow := func(rest string) {
		permit(rest)
		c := startCommand(t, dir, "control", "reload", "--addr", "unix:h.sock")
		require.Zero(t, c.exit(t), c.err.String())
	}
	subscribe := func(more ...string) *command {
		return startCommand(t, dir, append([]string{"subscribe", "unix:p.sock", "--token-file", "desk", "--state", "state", "--from", "beginning", "--quiet"}, more...)...)
	}
	sub := subscribe()
	sub.says(t, "live: receiving from")
	permitNow(", deny: ['*']")
	assert.Equal(t, exitRefused, sub.exit(t), sub.err.String())
	assert.Contains(t, sub.err.String(), "said goodbye: denied: user desk may not see any instrument; this is for good: start again once the user is permitted again")
	next := regexp.MustCompile(`next seq (\d+)\n`).FindStringSubmatch(sub.err.String())
	require.NotNil(t, next, sub.err.String())
	permitNow("")
	n, err := strconv.Atoi(next[1])
	require.NoError(t, err)
	again := subscribe("--until", fmt.Sprintf("seq:%d", n+100))
	assert.Zero(t, again.exit(t), again.err.String())
	assert.Contains(t, again.err.String(), "account: 100 ticks, 0 recoveries, 0 withheld, 0 lost, 0 disowned")
}

// Wrong flags and files of users are usage errors.
func TestWrongUsers(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	certstest.NewAuthority("here").Issue(certstest.Want{}).Write(dir, "a")
	write := func(name, text string) {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600))
	}
	write("san.yml", "- {name: risk, san: risk.example}\n")
	write("bad.yml", "- {name: risk, depth: l3}\n")
	write("token", "x\n")
	for _, c := range []struct {
		args []string
		says string
	}{
		{[]string{"publish", "--users", "none.yml"}, "tickfeed user add NAME --users none.yml creates it"},
		{[]string{"publish", "--users", "bad.yml"}, "bad.yml:1: depth: must be l2 or l1"},
		{[]string{"publish", "--users", "bad.yml", "--check"}, "bad.yml:1: depth: must be l2 or l1"},
		{[]string{"publish", "--users", "san.yml"}, "user risk is known by a certificate: name the authorities whose clients are admitted with --tls-client-ca"},
		{[]string{"publish", "--users", "san.yml", "--tls-cert", "a.pem", "--tls-key", "a.key"}, "with --tls-client-ca"},
		{[]string{"publish", "--users", "san.yml", "--token-file", "token"}, "exclude each other"},
		{[]string{"user", "add", "a"}, "name the file with --users FILE"},
		{[]string{"user", "add", "risk", "--users", "san.yml"}, "san.yml:1: there is a user risk already: choose another name, or remove that entry first; nothing is written"},
		{[]string{"user", "add", "a", "--users", "new.yml", "--history", "long"}, `history: want a duration such as 24h`},
		{[]string{"user", "add", "a", "--users", "new.yml", "--expires", "2020-01-31"}, "--expires 2020-01-31 is in the past: the user would be valid until 2020-01-31T00:00:00Z; write a time in the future, such as 20"},
		{[]string{"user", "add", "--users", "new.yml"}, "name"},
	} {
		cmd := startCommand(t, dir, c.args...)
		assert.Equal(t, exitUsage, cmd.exit(t), "%v", c.args)
		assert.Contains(t, cmd.err.String(), c.says, "%v", c.args)
	}
	assert.NoFileExists(t, filepath.Join(dir, "new.yml"))
}
