package main

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tickfeed/codec/certs/certstest"
)

// publish, lab and replay serve, and subscribe, record and lab connect, over TLS with certificates on both sides.
func TestTLSFlags(t *testing.T) {
	t.Parallel()
	dir, a := t.TempDir(), certstest.NewAuthority("here")
	a.Issue(certstest.Want{Names: []string{"localhost"}}).Write(dir, "feed")
	a.Issue(certstest.Want{Names: []string{"desk"}}).Write(dir, "desk")
	certstest.WriteFile(dir, "ca.pem", a.PEM)
	serving := []string{"--tls-cert", "feed.pem", "--tls-key", "feed.key", "--tls-client-ca", "ca.pem"}
	own := []string{"--tls-ca", "ca.pem", "--tls-cert", "desk.pem", "--tls-key", "desk.key"}
	with := func(args []string, more ...string) []string { return append(more, args...) }

	pub := startCommand(t, dir, with(serving, "publish", "--journal", "j", "--rate", "5k", "--instruments", "2", "--listen", "unix:p.sock", "--log-format", "json")...)
	pub.says(t, `"message":"listening"`)
	record := startCommand(t, dir, with(own, "record", "unix:p.sock", "-o", "a.tick", "--from", "beginning", "--count", "500")...)
	assert.Zero(t, record.exit(t), record.err.String())
	pub.says(t, `"certificate":"desk"`)

	lab := startCommand(t, dir, with(serving, "lab", "--upstream", "unix:p.sock", "--listen", "unix:l.sock", "--rule", "at seq 100: cut rst",
		"--upstream-tls-ca", "ca.pem", "--upstream-tls-cert", "desk.pem", "--upstream-tls-key", "desk.key")...)
	lab.says(t, "listening on")
	sub := startCommand(t, dir, with(own, "subscribe", "unix:l.sock", "--quiet", "--from", "beginning", "--until", "seq:400")...)
	assert.Zero(t, sub.exit(t), sub.err.String())
	assert.Contains(t, sub.err.String(), "disconnected from unix:l.sock")
	assert.Regexp(t, "account: 399 ticks, .* 0 lost", sub.err.String())

	replay := startCommand(t, dir, with(serving, "replay", "a.tick", "--speed", "max", "--listen", "unix:r.sock", "--http", "", "--exit-at-end", "--wait-subscribers", "1")...)
	replay.says(t, "listening")
	sub = startCommand(t, dir, with(own, "subscribe", "unix:r.sock", "--quiet", "--from", "beginning", "--until-end")...)
	assert.Zero(t, sub.exit(t), sub.err.String())
	assert.Zero(t, replay.exit(t), replay.err.String())

	stranger := startCommand(t, dir, "subscribe", "unix:p.sock", "--quiet", "--count", "1", "--max-attempts", "1", "--tls-ca", "ca.pem")
	assert.Equal(t, exitRefused, stranger.exit(t))
	assert.Contains(t, stranger.err.String(), "the server demands a certificate of its clients; name one with --tls-cert and --tls-key")
	plain := startCommand(t, dir, "subscribe", "unix:p.sock", "--quiet", "--count", "1")
	assert.Equal(t, exitRefused, plain.exit(t))
	assert.Contains(t, plain.err.String(), "this publisher speaks TLS: connect with --tls")
}

// What TLS finds wrong is said at once and prominently, and tried again: the certificate may be renewed. The exit code of
// --max-attempts is 4 for that, and 1 for a connection that was cut during the handshake.
func TestTLSMistakes(t *testing.T) {
	t.Parallel()
	dir, a, other := t.TempDir(), certstest.NewAuthority("here"), certstest.NewAuthority("there")
	a.Issue(certstest.Want{Names: []string{"localhost"}}).Write(dir, "feed")
	certstest.WriteFile(dir, "ca.pem", a.PEM)
	certstest.WriteFile(dir, "other.pem", other.PEM)
	pub := startCommand(t, dir, "publish", "--rate", "1k", "--listen", "unix:p.sock", "--tls-cert", "feed.pem", "--tls-key", "feed.key")
	pub.says(t, "listening")
	sub := startCommand(t, dir, "subscribe", "unix:p.sock", "--quiet", "--count", "1", "--tls-ca", "other.pem", "--max-backoff", "50ms")
	sub.says(t, `(?m)^NOT CONNECTED: unix:p.sock: TLS: the server's certificate was signed by CN=here, which is not trusted; .*--tls-ca\ntrying again until it answers`)
	certstest.WriteFile(dir, "other.pem", a.PEM)
	assert.Equal(t, exitDone, sub.exit(t), sub.err.String())
	assert.Equal(t, 1, strings.Count(sub.err.String(), "NOT CONNECTED"), "the same is not said again at once")

	cut := answering(t, func(net.Conn) {})
	for _, test := range []struct {
		args []string
		code int
		says string
	}{
		{[]string{"unix:p.sock", "--tls-server-name", "feed.example", "--tls-ca", "ca.pem"}, exitRefused, "gave up after 2 attempts: unix:p.sock: TLS: the server's certificate is for localhost, not for feed.example"},
		{[]string{cut, "--tls"}, exitFailure, "gave up after 2 attempts: "},
	} {
		c := startCommand(t, dir, append([]string{"subscribe", "--quiet", "--max-attempts", "2"}, test.args...)...)
		assert.Equal(t, test.code, c.exit(t), "%v", test.args)
		assert.Contains(t, c.err.String(), test.says)
		assert.Equal(t, test.code == exitRefused, strings.Contains(c.err.String(), "NOT CONNECTED"), c.err.String())
	}
}

// Wrong TLS flags and files are usage errors, before anything is opened.
func TestWrongTLSFlags(t *testing.T) {
	t.Parallel()
	dir, a := t.TempDir(), certstest.NewAuthority("here")
	a.Issue(certstest.Want{}).Write(dir, "a")
	a.Issue(certstest.Want{}).Write(dir, "b")
	require.NoError(t, os.WriteFile(filepath.Join(dir, "s.lab"), []byte("at seq 5: cut rst\n"), 0o600))
	for _, c := range []struct {
		args []string
		says string
	}{
		{[]string{"publish", "--tls-cert", "a.pem"}, "--tls-cert and --tls-key belong together"},
		{[]string{"publish", "--tls-client-ca", "a.pem"}, "--tls-client-ca needs both"},
		{[]string{"publish", "--tls-cert", "a.pem", "--tls-key", "b.key"}, "the key b.key does not belong to the certificate a.pem"},
		{[]string{"publish", "--tls-cert", "a.pem", "--tls-key", "c.key"}, "c.key: no such file"},
		{[]string{"lab", "s.lab", "--tls-cert", "a.key", "--tls-key", "a.pem"}, "were the two exchanged?"},
		{[]string{"lab", "s.lab", "--upstream-tls-cert", "a.pem"}, "--upstream-tls-cert and --upstream-tls-key belong together"},
		{[]string{"subscribe", "--tls-key", "a.key"}, "--tls-cert and --tls-key belong together"},
		{[]string{"subscribe", "--insecure", "--tls-ca", "a.pem"}, "--insecure and --tls-ca exclude each other"},
		{[]string{"subscribe", "--tls-ca", "a.key"}, "a.key holds no certificate in PEM"},
		{[]string{"record", "-o", "x.tick", "--tls-ca", "missing"}, "missing: no such file"},
	} {
		cmd := startCommand(t, dir, c.args...)
		assert.Equal(t, exitUsage, cmd.exit(t), "%v", c.args)
		assert.Contains(t, cmd.err.String(), c.says, "%v", c.args)
	}
}

// A command without certificates may leave the TLS of its HTTP server out.
func TestHTTPWithoutTLS(t *testing.T) {
	o := httpOptions{addr: "localhost:0"}
	require.NoError(t, o.credentials(t.Context()))
	assert.False(t, o.secured())
	assert.Empty(t, o.warning())
}
