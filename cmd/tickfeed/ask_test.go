package main

import (
	"os"
	"path/filepath"
	"regexp"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tickfeed/codec/certs/certstest"
)

// Other machines reach --http over HTTPS if there is a certificate, and need the token for an effect, as control does on this
// machine if there is one.
func TestHTTPAccess(t *testing.T) {
	t.Parallel()
	dir, a := t.TempDir(), certstest.NewAuthority("here")
	a.Issue(certstest.Want{Names: []string{"127.0.0.1"}}).Write(dir, "feed")
	certstest.WriteFile(dir, "ca.pem", a.PEM)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "token"), []byte("s3cret\n"), 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "wrong"), []byte("another\n"), 0o600))

	pub := startCommand(t, dir, "publish", "--listen", "unix:p.sock", "--http", "0.0.0.0:0", "--http-token-file", "token", "--tls-cert", "feed.pem", "--tls-key", "feed.key", "--log-format", "json")
	pub.says(t, `(?s)"http":"[^"]*:\d+".*"message":"http"`)
	addr := "127.0.0.1:" + regexp.MustCompile(`"http":"[^"]*:(\d+)"`).FindStringSubmatch(pub.err.String())[1]
	for _, c := range []struct {
		args []string
		code int
		says string
	}{
		{[]string{"health", "https://" + addr, "--tls-ca", "ca.pem"}, exitDone, "ok"},
		{[]string{"health", addr, "--tls-ca", "ca.pem"}, exitDone, "ok"},
		{[]string{"health", "https://" + addr}, exitRefused, "--tls-ca"},
		{[]string{"health", addr}, exitRefused, "the server there speaks HTTPS: write https://" + addr},
		{[]string{"control", "status", "--addr", "https://" + addr, "--tls-ca", "ca.pem"}, exitDone, "publishing simulated market"},
		{[]string{"control", "reload", "--addr", "https://" + addr, "--tls-ca", "ca.pem"}, exitRefused, "name it with --http-token-file FILE, or in TICKFEED_HTTP_TOKEN"},
		{[]string{"control", "reload", "--addr", "https://" + addr, "--tls-ca", "ca.pem", "--http-token-file", "wrong"}, exitRefused, "the token is wrong"},
		{[]string{"control", "reload", "--addr", "https://" + addr, "--tls-ca", "ca.pem", "--http-token-file", "token"}, exitDone, "read again: TLS"},
	} {
		cmd := startCommand(t, dir, c.args...)
		assert.Equal(t, c.code, cmd.exit(t), "%v: %s", c.args, cmd.err.String())
		assert.Contains(t, cmd.out.String()+cmd.err.String(), c.says, "%v", c.args)
	}
	assert.NotContains(t, pub.err.String(), "s3cret")

	local := startCommand(t, dir, "publish", "--listen", "unix:l.sock", "--http", "unix:h.sock", "--http-token-file", "token", "--log-format", "json")
	local.says(t, `"message":"http"`)
	for _, c := range []struct {
		args []string
		code int
		says string
	}{
		{[]string{"control", "drain", "--addr", "unix:h.sock"}, exitRefused, "this needs the token"},
		{[]string{"health", "unix:h.sock", "--tls-ca", "ca.pem"}, exitRefused, "the server there speaks plain HTTP"},
		{[]string{"control", "drain", "--addr", "unix:h.sock", "--http-token-file", "token"}, exitDone, "draining"},
	} {
		cmd := startCommand(t, dir, c.args...)
		assert.Equal(t, c.code, cmd.exit(t), "%v: %s", c.args, cmd.err.String())
		assert.Contains(t, cmd.out.String()+cmd.err.String(), c.says, "%v", c.args)
	}
}

// Wrong flags of HTTP are usage errors.
func TestWrongHTTPFlags(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "empty"), nil, 0o600))
	for _, c := range []struct {
		args []string
		says string
	}{
		{[]string{"publish", "--http-token-file", "token"}, "--http-token-file needs --http"},
		{[]string{"publish", "--http-host", "feed.example"}, "--http-host needs --http"},
		{[]string{"publish", "--listen", "unix:p.sock", "--http", "localhost:0", "--http-token-file", "empty"}, "--http-token-file empty: the file is empty"},
		{[]string{"publish", "--listen", "unix:p.sock", "--http", ":0"}, "name a token with --http-token-file FILE or TICKFEED_HTTP_TOKEN"},
		{[]string{"control", "status", "--http-token-file", "none"}, "--http-token-file: open none: no such file"},
		{[]string{"control", "status", "--addr", "https://"}, "--addr"},
		{[]string{"health", "https://localhost:1/x"}, "is not a number"},
	} {
		cmd := startCommand(t, dir, c.args...)
		assert.Equal(t, exitUsage, cmd.exit(t), "%v", c.args)
		assert.Contains(t, cmd.err.String(), c.says, "%v", c.args)
	}
}
