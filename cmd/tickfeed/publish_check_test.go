package main

import (
	"crypto/x509"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tickfeed/codec/certs/certstest"
)

// publish --check says what publish would do, or all that is wrong with what to do about it, and leaves everything as it is.
func TestPublishCheck(t *testing.T) {
	dir, a := t.TempDir(), certstest.NewAuthority("here")
	a.Issue(certstest.Want{Names: []string{"localhost"}}).Write(dir, "feed")
	a.Issue(certstest.Want{Names: []string{"localhost"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(-time.Minute)}).Write(dir, "old")
	a.Issue(certstest.Want{Names: []string{"localhost"}, Usage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}).Write(dir, "client")
	certstest.WriteFile(dir, "token", []byte("secret"))
	certstest.WriteFile(dir, "bad.yml", []byte("- name: a\n  token: x\n  depth: l3\n"))
	certstest.WriteFile(dir, "bad.profile", []byte("speed: 1\nrate: fast\n"))
	certstest.WriteFile(dir, "bad.yaml", []byte("publish: {seed: 1,\n  seed: 2,\n  depth: 1,\n  depth: 2}\n"))
	certstest.WriteFile(dir, "cut.market", []byte("at seq 5: cut rst\n"))
	certstest.WriteFile(dir, "wrong.market", []byte("at 10:00: hlat TSLA\n"))
	certstest.WriteFile(dir, "two.csv", []byte("symbol,price,hours\nA,10,09:30-16:00 America/New_York\nB,10,24h\n"))
	certstest.WriteFile(dir, "q.csv", []byte("time,symbol,bid,ask\n2026-01-05T14:30:00Z,AAPL,1.25,1.26\n"))
	certstest.WriteFile(dir, "bad.csv", []byte("time,symbol,bidd\n2026-01-01,A,1\n"))
	certstest.WriteFile(dir, "row.csv", []byte("time,symbol,bid,ask\n2026-01-01T00:00:00Z,A,x,2\n"))
	require.NoError(t, os.CopyFS(filepath.Join(dir, "j"), os.DirFS(filepath.Join(v1, "journal"))))
	tls := []string{"--tls-cert", "feed.pem", "--tls-key", "feed.key"}
	before := treeOf(t, dir)
	for _, test := range []struct {
		args []string
		code int
		says []string
	}{
		{nil, exitDone, []string{"publish   simulated market, seed 1, 10k ticks/s", "listen    127.0.0.1:0", "admit     any client, at most", "journal   none: only the ticks in memory, at most 64MiB, can be replayed\n", "ok: "}},
		{append([]string{"--journal", "j", "--http", "localhost:0", "--token-file", "token"}, tls...), exitDone, []string{
			"http      localhost:0, for health and metrics only; the rest needs a token", "tls       the certificate feed.pem of localhost, until 20", "admit     clients with the token",
			"journal   j holds 57 ticks of 2 sessions, the last of them 000000000000002b (live, ", "the next would continue at seq 58, after its torn end of 70 bytes is cut"}},
		{[]string{"--journal", "new/j", "q.csv"}, exitDone, []string{"publish   q.csv", "new/j is empty, and a first session would begin in it"}},
		{[]string{"bad.csv"}, exitUsage, []string{"bad.csv:1: the header names no column for a price, bid or ask"}},
		{[]string{"row.csv"}, exitUsage, []string{`row.csv:2: column "bid": "x" is not a decimal number`}},
		{[]string{"feed.key"}, exitUsage, []string{"feed.key: is PEM, such as a certificate or a private key"}},
		{[]string{"token"}, exitUsage, []string{"token:1: the header names no column for a price, bid or ask; it has one column only"}},
		{[]string{"-"}, exitDone, []string{"publish   stdin, which is not read now"}},
		{[]string{"--scenario", "cut.market"}, exitDone, []string{"faults    1 rule of the scenario"}},

		{[]string{"--journal", "j", "q.csv"}, exitUsage, []string{"journal j holds 57 ticks already; add --append"}},
		{[]string{"--scenario", "wrong.market"}, exitUsage, []string{`there is no event or fault "hlat"; did you mean "halt"?`}},
		{[]string{"--universe", "two.csv", "--event", "at 20:00: halt *"}, exitDone, []string{"warning   at 20:00: halt *: A: its market is closed on Mon 2026-01-05 20:00 EST; SIM trades mon-fri 09:30-16:00 America/New_York, next from Tue"}},
		{[]string{"--universe", "two.csv", "--event", "at 20:00: halt A"}, exitUsage, []string{"--event:1:11: its market is closed on Mon 2026-01-05 20:00 EST; SIM trades"}},
		{[]string{"--universe", "none.csv"}, exitUsage, []string{"none.csv: no such file"}},
		{[]string{"--listen", "unix:none/feed", "--tls-cert", "old.pem", "--tls-key", "old.key", "--journal", "feed.pem"}, exitUsage, []string{
			"listen on unix:none/feed: write to none: no such file or directory; choose another path with --listen",
			"--journal feed.pem: it is, or lies below, a file; name a directory"}},
		{[]string{"--tls-cert", "old.pem", "--tls-key", "old.key"}, exitDone, []string{"warning   TLS: the certificate old.pem expired on 20", "ok: publish would start"}},
		{[]string{"--tls-cert", "client.pem", "--tls-key", "client.key"}, exitUsage, []string{"the certificate client.pem is not made for a server (extended key usage)"}},
		{[]string{"--tls-cert", "feed.pem", "--tls-key", "old.key"}, exitUsage, []string{"the key old.key does not belong to the certificate feed.pem"}},
		{append([]string{"--scenario", "cut.market"}, tls...), exitUsage, []string{"leave out TLS or the faults"}},
		{[]string{"--http", "feed.example:80"}, exitUsage, []string{"other machines can reach this address: name a token with --http-token-file FILE"}},
		{[]string{"--listen", "unix:token"}, exitUsage, []string{"the file exists and is not a socket"}},

		// Every kind of file, the environment and the file of --config: all mistakes in one run.
		{[]string{"--tls-cert", "none.pem", "--tls-key", "none.key", "--tls-client-ca", "token", "--users", "bad.yml", "--profile", "bad.profile", "--config", "bad.yaml", "--retain", "x"}, exitUsage, []string{
			"none.pem: no such file", "none.key: no such file", "token holds no certificate", "bad.yml:2: unknown field", `bad.yml:3: depth: must be`, "bad.yml:1: a user has either",
			`bad.profile:1:1: there is no field "speed"`, `bad.profile:2:7: field "rate"`, "bad.yaml:2: publish.seed is there twice", "bad.yaml:4: publish.depth is there twice",
			`--retain "x"`, `TICKFEED_HEARTBEAT: "soon": want a duration`}},
	} {
		if slices.Contains(test.args, "--config") {
			t.Setenv("TICKFEED_HEARTBEAT", "soon")
		}
		c := startCommand(t, dir, append([]string{"publish", "--check", "--listen", "127.0.0.1:0"}, test.args...)...)
		assert.Equal(t, test.code, c.exit(t), "%v: %s", test.args, c.err.String())
		for _, says := range test.says {
			assert.Contains(t, c.out.String()+c.err.String(), says, "%v", test.args)
		}
		assert.NotContains(t, c.out.String()+c.err.String(), "secret")
	}
	require.NoError(t, os.Unsetenv("TICKFEED_HEARTBEAT"))
	assert.Equal(t, before, treeOf(t, dir))

	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer ln.Close()
	port := ln.Addr().String() // as if the publisher listened there
	pub := startCommand(t, dir, "publish", "--journal", "j", "--rate", "1k", "--listen", "unix:feed")
	pub.says(t, "listening")
	c := startCommand(t, dir, "publish", "--journal", "j", "--listen", "unix:feed", "--listen", port, "--check")
	assert.Equal(t, exitDone, c.exit(t), c.err.String())
	assert.Contains(t, c.out.String(), "once the publisher that writes to it now has ended")
	assert.Contains(t, c.out.String(), "warning   listen on unix:feed: address in use")
	assert.Contains(t, c.out.String(), "warning   listen on "+port+": address in use")

	c = startCommand(t, dir, "publish", "--listen", "unix:feed", "--listen", port, "--check")
	assert.Equal(t, exitUsage, c.exit(t), c.out.String())
	assert.Contains(t, c.err.String(), "listen on unix:feed: address in use; stop the process")
	assert.Contains(t, c.err.String(), "listen on "+port+": address in use; stop the process")
}

// A file whose header or first row cannot be read ends a start before it has a session or listens.
func TestUnreadableFilesAreNotListenedFor(t *testing.T) {
	for text, says := range map[string]string{
		"time,symbol,bidd\n2026-01-01,A,1\n":                "a.csv:1: the header names no column for a price, bid or ask",
		"time,symbol,bid,ask\n2026-01-01T00:00:00Z,A,x,2\n": `a.csv:2: column "bid": "x" is not a decimal number`,
	} {
		dir := t.TempDir()
		certstest.WriteFile(dir, "a.csv", []byte(text))
		c := startCommand(t, dir, "publish", "a.csv", "--listen", "127.0.0.1:0", "--journal", "j")
		assert.Equal(t, exitData, c.exit(t))
		assert.Contains(t, c.err.String(), says)
		assert.NotContains(t, c.err.String(), "listening")
		assert.NoDirExists(t, filepath.Join(dir, "j"))
	}
}

// --check finds a place where nothing can be created, although it is writable, and does not say what HTTP would serve at an address
// that is refused.
func TestPublishCheckTries(t *testing.T) {
	dir := t.TempDir()
	certstest.WriteFile(dir, "token", []byte("0123456789abcdef"))
	c := startCommand(t, dir, "publish", "--check", "--listen", "unix:feed", "--token-file", "token", "--http", "0.0.0.0:0")
	assert.Equal(t, exitUsage, c.exit(t))
	assert.Contains(t, c.err.String(), "other machines can reach this address")
	assert.NotContains(t, c.out.String(), "health and metrics only")
	if runtime.GOOS != "linux" {
		t.Skip("needs a file system that is writable for its owner and lets nothing be created")
	}
	c = startCommand(t, dir, "publish", "--check", "--listen", "unix:/proc/feed", "--journal", "/proc/j")
	assert.Equal(t, exitUsage, c.exit(t), c.out.String())
	assert.Contains(t, c.err.String(), "journal /proc/j: write to /proc: ")
	assert.Contains(t, c.err.String(), "listen on unix:/proc/feed: write to /proc: ")
}

// treeOf returns the contents of all files below dir.
func treeOf(t *testing.T, dir string) map[string]string {
	t.Helper()
	tree := map[string]string{}
	require.NoError(t, filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			tree[path] = ""
			return err
		}
		b, err := os.ReadFile(path)
		tree[path] = string(b)
		return err
	}))
	return tree
}
