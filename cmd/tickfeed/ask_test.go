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
		{[]string{"health", "https://" + addr}, exitFailure, "--tls-ca"},
		{[]string{"control", "status", "--addr", "https://" + addr}, exitRefused, "--tls-ca"},
		{[]string{"health", addr}, exitFailure, "the server there speaks HTTPS: write https://" + addr},
		{[]string{"control", "status", "--addr", "https://" + addr, "--tls-ca", "ca.pem"}, exitRefused, "no token was sent, and this needs the one that tickfeed publish was started with: name its file with --http-token-file, or write it into TICKFEED_HTTP_TOKEN"},
		{[]string{"control", "connections", "--addr", "https://" + addr, "--tls-ca", "ca.pem"}, exitRefused, "no token was sent, and this needs the one that tickfeed publish was started with: name its file with --http-token-file, or write it into TICKFEED_HTTP_TOKEN"},
		{[]string{"top", "--once", "https://" + addr, "--tls-ca", "ca.pem"}, exitRefused, "name its file with --http-token-file"},
		{[]string{"control", "status", "--addr", "https://" + addr, "--tls-ca", "ca.pem", "--http-token-file", "token"}, exitDone, "publishing simulated market"},
		{[]string{"top", "--once", "--interval", "100ms", "https://" + addr, "--tls-ca", "ca.pem", "--http-token-file", "token"}, exitDone, "simulated market"},
		{[]string{"control", "reload", "--addr", "https://" + addr, "--tls-ca", "ca.pem"}, exitRefused, "name its file with --http-token-file, or write it into TICKFEED_HTTP_TOKEN"},
		{[]string{"control", "reload", "--addr", "https://" + addr, "--tls-ca", "ca.pem", "--http-token-file", "wrong"}, exitRefused, "the token is wrong, and this needs the one"},
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
		{[]string{"control", "drain", "--addr", "unix:h.sock"}, exitRefused, "no token was sent, and this needs the one that tickfeed publish was started with: name its file with --http-token-file, or write it into TICKFEED_HTTP_TOKEN"},
		{[]string{"control", "status", "--addr", "unix:h.sock"}, exitDone, "publishing simulated market"},
		{[]string{"health", "unix:h.sock", "--tls-ca", "ca.pem"}, exitFailure, "the server there speaks plain HTTP"},
		{[]string{"control", "drain", "--addr", "unix:h.sock", "--http-token-file", "token"}, exitDone, "draining"},
	} {
		cmd := startCommand(t, dir, c.args...)
		assert.Equal(t, c.code, cmd.exit(t), "%v: %s", c.args, cmd.err.String())
		assert.Contains(t, cmd.out.String()+cmd.err.String(), c.says, "%v", c.args)
	}
}

// A publisher that asks its clients for credentials does not trust every account of its machine: without a token of HTTP, a port
// serves health and metrics only, and a unix socket everything.
func TestHTTPOfAPublisherWithCredentials(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "token"), []byte("s3cret\n"), 0o600))
	port := startCommand(t, dir, "publish", "--token-file", "token", "--listen", "unix:p.sock", "--http", "localhost:0", "--log-format", "json")
	port.says(t, `HTTP serves health and metrics only, since this command asks its clients for credentials`)
	addr := regexp.MustCompile(`"http":"([^"]*:\d+)"`).FindStringSubmatch(port.err.String())[1]
	socket := startCommand(t, dir, "publish", "--token-file", "token", "--listen", "unix:q.sock", "--http", "unix:h.sock", "--log-format", "json")
	socket.says(t, `"message":"http"`)
	for _, c := range []struct {
		args []string
		code int
		says string
	}{
		{[]string{"health", addr}, exitDone, "ok"},
		{[]string{"control", "status", "--addr", addr}, exitRefused, "start it with --http-token-file FILE, or serve on --http unix:PATH"},
		{[]string{"control", "drain", "--addr", addr}, exitRefused, "start it with --http-token-file FILE"},
		{[]string{"control", "drain", "--addr", addr, "--http-token-file", "token"}, exitRefused, "start it with --http-token-file FILE"},
		{[]string{"control", "drain", "--addr", "unix:h.sock"}, exitDone, "draining"},
	} {
		cmd := startCommand(t, dir, c.args...)
		assert.Equal(t, c.code, cmd.exit(t), "%v: %s", c.args, cmd.err.String())
		assert.Contains(t, cmd.out.String()+cmd.err.String(), c.says, "%v", c.args)
	}
}

// A subscriber serves HTTPS with a certificate of its own.
func TestHTTPSOfASubscriber(t *testing.T) {
	t.Parallel()
	dir, a := t.TempDir(), certstest.NewAuthority("here")
	a.Issue(certstest.Want{Names: []string{"localhost"}}).Write(dir, "web")
	certstest.WriteFile(dir, "ca.pem", a.PEM)
	sub := startCommand(t, dir, "subscribe", "unix:none.sock", "--http", "unix:s.sock", "--http-tls-cert", "web.pem", "--http-tls-key", "web.key")
	sub.says(t, "none.sock")
	for _, c := range []struct {
		args []string
		code int
		says string
	}{
		{[]string{"health", "--live", "unix:s.sock", "--tls-ca", "ca.pem"}, exitDone, "ok"},
		{[]string{"health", "--live", "unix:s.sock"}, exitFailure, "the server there speaks HTTPS"},
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
		{[]string{"record", "-o", "r.tick", "--http-tls-cert", "feed.pem"}, "--http-tls-cert needs --http"},
		{[]string{"record", "-o", "r.tick", "--http", "localhost:0", "--http-tls-cert", "feed.pem"}, "--http-tls-cert and --http-tls-key belong together"},
		{[]string{"subscribe", "--http", ":0", "--http-tls-cert", "none.pem", "--http-tls-key", "none.key"}, "name a token with --http-token-file FILE or TICKFEED_HTTP_TOKEN"},
		{[]string{"control", "status", "--http-token-file", "none"}, "--http-token-file: open none: no such file"},
		{[]string{"control", "status", "--addr", "https://"}, "--addr"},
		{[]string{"health", "https://localhost:1/x"}, "is not a number"},
		{[]string{"health", "--addr", "localhost:1"}, "unknown flag: --addr; write the address without a flag: tickfeed health [ADDR]"},
		{[]string{"top", "--addr", "localhost:1"}, "write the address without a flag: tickfeed top [ADDR]"},
		{[]string{"lab", "localhost:8425", "--http", "unix:h"}, "localhost:8425 is no file with a SCRIPT; if it is the address of the publisher, use --upstream localhost:8425"},
	} {
		cmd := startCommand(t, dir, c.args...)
		assert.Equal(t, exitUsage, cmd.exit(t), "%v", c.args)
		assert.Contains(t, cmd.err.String(), c.says, "%v", c.args)
	}
}

// A subscriber at the address of HTTP, and a command that asks over HTTP at the address of a feed, say so, with TLS and without. So does
// the log of the publisher. A token that others can guess is warned about.
func TestAddressesOfTheFeedAndOfHTTPAreToldApart(t *testing.T) {
	t.Parallel()
	dir, a := t.TempDir(), certstest.NewAuthority("here")
	a.Issue(certstest.Want{Names: []string{"localhost"}}).Write(dir, "feed")
	certstest.WriteFile(dir, "ca.pem", a.PEM)
	certstest.WriteFile(dir, "token", []byte("abcd\n"))
	certstest.WriteFile(dir, "long", []byte("0123456789abcdef\n"))
	plain := startCommand(t, dir, "publish", "--listen", "unix:p.sock", "--http", "unix:ph.sock", "--token-file", "long", "--http-token-file", "long")
	secure := startCommand(t, dir, "publish", "--listen", "unix:s.sock", "--http", "0.0.0.0:0", "--token-file", "token", "--http-token-file", "token", "--tls-cert", "feed.pem", "--tls-key", "feed.key", "--log-format", "json")
	plain.says(t, `"message":"http"`)
	secure.says(t, `"message":"http"`)
	for _, flag := range []string{"--token-file", "--http-token-file"} {
		secure.says(t, "the token of "+flag+" has 4 characters, which others can guess: use at least 16, such as those of: head -c 24 /dev/urandom")
	}
	assert.NotContains(t, plain.err.String(), "guess")
	https := "localhost:" + regexp.MustCompile(`"http":"[^"]*:(\d+)"`).FindStringSubmatch(secure.err.String())[1]
	const feed, web = "connect to the address of the feed", "it may be the address at which a publisher serves its feed: name the value of its --http"
	for _, c := range []struct {
		args []string
		says string
	}{
		{[]string{"subscribe", "unix:ph.sock", "--tls"}, feed}, {[]string{"subscribe", https}, feed},
		{[]string{"health", "unix:p.sock"}, web}, {[]string{"health", "unix:p.sock", "--tls"}, web},
		{[]string{"top", "--once", "unix:s.sock"}, web}, {[]string{"control", "status", "--addr", "unix:s.sock", "--tls-ca", "ca.pem"}, web},
	} {
		if c.args[0] == "subscribe" {
			c.args = append(c.args, "--max-attempts", "1")
		}
		cmd := startCommand(t, dir, c.args...)
		assert.NotEqual(t, exitDone, cmd.exit(t), "%v", c.args)
		assert.Contains(t, cmd.err.String(), c.says, "%v", c.args)
	}
	plain.says(t, "the client speaks HTTP, and this is the address of the feed")
}

// The status of a publisher counts the clients that have not come back.
func TestStatusCountsMissingClients(t *testing.T) {
	assert.NotContains(t, publisherStatus{}.String(), "come back")
	assert.Contains(t, publisherStatus{Missing: 1}.String(), ", 1 client lost its connection and has not come back")
	assert.Contains(t, publisherStatus{Missing: 2}.String(), ", 2 clients lost their connections and have not come back")
}
