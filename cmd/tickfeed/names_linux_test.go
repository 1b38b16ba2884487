package main

import (
	"archive/zip"
	"bytes"
	"crypto/tls"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tickfeed/cmd/ops"
	"tickfeed/codec"
	"tickfeed/codec/certs"
	"tickfeed/codec/certs/certstest"
	"tickfeed/feed"
)

// hostileNames are names that a terminal, a page, a scraper or a file system might take for something else.
var hostileNames = []string{
	"\x1b[31mred", "\x1b]0;title\a", "\x1b[2J\x1b[H", "\x1bP0;1|17/ab\x1b\\", "\x00", "a\x00b", "\x01\x02\x03", "\a\b\f\v", "line\nfeed", "carriage\rreturn", "tab\ttab", "\x7f",
	"\u0085next line", "\u009b31m", "\u009d0;title\u009c", "\u202eright to left", "\u2066isolate\u2069", "\u200bnothing", "\ufefforder", "\u2028separator", "\U000e0041tag", "\U000e007f",
	"\xff\xfe", "\xc0\xaf", "\xed\xa0\x80", "\x9b31m", "../../escaped", "/etc/escaped", "..", "C:\\escaped", "..\\escaped", "<script>alert(1)</script>", "\"><b>", "# HELP x\n", "a,b\"c", "=1+1",
	"%1b%5b31m", "{{.}}", strings.Repeat("x", 1000), strings.Repeat("\u202e", 300), "name\u0000\u001b]8;;http://evil.example\u0007",
}

// controlsNothing fails if text holds a character that could control a terminal.
func controlsNothing(t *testing.T, text, where string) {
	t.Helper()
	for i, c := range text {
		if c != '\n' && (!unicode.IsPrint(c) || c == unicode.ReplacementChar && !strings.HasPrefix(text[i:], "\uFFFD")) {
			t.Errorf("%s: character %q in %q", where, c, text[max(0, i-60):min(len(text), i+60)])
			return
		}
	}
}

// Names and texts that a peer or a file chose reach no log, no terminal and no response as anything but text, and no file outside
// of the directory (PROMISES.md, 28).
func TestHostileNames(t *testing.T) {
	t.Parallel()
	require.GreaterOrEqual(t, len(hostileNames), 30)
	root := t.TempDir()
	dir := filepath.Join(root, "work")
	require.NoError(t, os.Mkdir(dir, 0o700))
	start := func(name string, args ...string) *command {
		c := startCommand(t, dir, append(args, "--journal", name, "--rate", "100", "--instruments", "5", "--listen", "unix:"+name+".sock", "--http", "unix:"+name+".http")...)
		c.says(t, "listening")
		return c
	}
	logs := []*command{start("a", "publish", "--log-format", "json", "--log-level", "debug"), start("b", "publish", "--log-format", "console", "--log-level", "debug")}
	admitted := 0
	for _, pub := range []string{"a", "b"} {
		for i, name := range hostileNames {
			for _, h := range []codec.Hello{{Client: name}, {Client: name, Filter: codec.Filter{name}, Token: codec.Token(name)}} {
				h.MinVersion, h.MaxVersion, h.Start = codec.Version, codec.Version, codec.Start{Kind: codec.StartLive}
				raw, err := codec.Append(nil, &h)
				if err != nil {
					continue // the codec refuses such a hello
				}
				nc, err := net.Dial("unix", filepath.Join(dir, pub+".sock"))
				require.NoError(t, err)
				defer nc.Close()
				_, err = nc.Write(raw)
				require.NoError(t, err)
				require.NoError(t, nc.SetReadDeadline(time.Now().Add(patience)))
				if typ, _, err := codec.NewReader(nc, codec.MaxMessage).Next(); err == nil && typ == codec.TypeWelcome {
					admitted++
				}
				if bye, err := codec.Append(nil, &codec.Goodbye{Code: codec.CodeDone, Text: name}); err == nil && i%2 == 0 {
					_, _ = nc.Write(bye) // the others are listed
				}
			}
		}
	}
	assert.Greater(t, admitted, len(hostileNames), "clients with such names are admitted")

	ask := func(path, accept string) {
		answer, err := (&ops.Client{Addr: "unix:" + filepath.Join(dir, "a.http")}).Ask(t.Context(), path, nil, accept, patience)
		require.NoError(t, err)
		controlsNothing(t, string(answer.Body), path)
		if accept == "" && !strings.HasPrefix(path, "/metrics") {
			assert.NotContains(t, string(answer.Body), "<script>", path)
		}
	}
	for _, path := range []string{"/connz?limit=1000", "/overview", "/status", "/metrics?detail=1"} {
		ask(path, "")
		ask(path, "text/plain")
	}
	for _, args := range [][]string{{"control", "connections", "1000", "--addr", "unix:a.http"}, {"control", "connections", "--json", "1000", "--addr", "unix:a.http"}, {"top", "--once", "--interval", "100ms", "unix:a.http"}, {"top", "--json", "--interval", "100ms", "unix:a.http"}} {
		c := startCommand(t, dir, args...)
		assert.Zero(t, c.exit(t), c.err.String())
		assert.Contains(t, c.out.String(), "script", "%v", args)
		controlsNothing(t, c.out.String()+c.err.String(), strings.Join(args, " "))
	}

	var files []string
	for i, name := range hostileNames {
		if file := name + ".csv"; !strings.ContainsAny(name, "/\x00") && len(file) < 250 {
			require.NoError(t, os.WriteFile(filepath.Join(dir, file), []byte("neither ticks\n\x1b[31m"), 0o600))
			files = append(files, "./"+file)
		}
		if i%8 == 0 || strings.Contains(name, "escaped") { // some, since each is a process
			var b bytes.Buffer
			z := zip.NewWriter(&b)
			for _, member := range []string{name, name + ".csv"} {
				w, err := z.Create(member)
				require.NoError(t, err)
				_, err = w.Write([]byte("symbol,bid,ask\n" + name + ",1,2\n"))
				require.NoError(t, err)
			}
			require.NoError(t, z.Close())
			require.NoError(t, os.WriteFile(filepath.Join(dir, "x.zip"), b.Bytes(), 0o600))
			c := startCommand(t, dir, "import", "x.zip", "-o", "x.tick", "--force")
			c.exit(t)
			controlsNothing(t, c.out.String()+c.err.String(), "a zip with "+name)
		}
	}
	for _, c := range []*command{startCommand(t, dir, append([]string{"inspect"}, files...)...), startCommand(t, dir, append([]string{"import", "-o", "y.tick"}, files...)...), startCommand(t, dir, "lab", "--rule", "for \x1b[31m\u009b at seq 1: cut rst \x1b", "--listen", "unix:l.sock")} {
		assert.NotZero(t, c.exit(t), c.Args)
		controlsNothing(t, c.out.String()+c.err.String(), c.Args[1])
	}
	for i, c := range logs {
		controlsNothing(t, c.err.String()+c.out.String(), []string{"the log as JSON", "the log at a console"}[i])
	}

	beside, err := os.ReadDir(root)
	require.NoError(t, err)
	assert.Len(t, beside, 1, "a file is outside of the directory")
	_, err = os.Stat("/etc/escaped")
	assert.ErrorIs(t, err, os.ErrNotExist)
	for _, name := range hostileNames { // no tick can name such an instrument, or it is printable
		if d := (feed.Definition{Symbol: name, Venue: name}); d.Validate() == nil {
			controlsNothing(t, name, "an instrument")
		}
	}
}

// Names of users in their file, and names in the certificates of clients, are text in logs, lists and metrics too, whether they are
// admitted or not (PROMISES.md, 28).
func TestHostileNamesOfUsers(t *testing.T) {
	t.Parallel()
	dir, a := t.TempDir(), certstest.NewAuthority("here")
	a.Issue(certstest.Want{Names: []string{"localhost"}}).Write(dir, "feed")
	certstest.WriteFile(dir, "ca.pem", a.PEM)
	var good, bad strings.Builder
	names := append([]string{strings.Repeat("y", 10_000), strings.Repeat("z", 10_000) + "\x1b[31m", "it's \"quoted\""}, hostileNames...)
	var sans []string // the names in certificates
	for i, name := range names {
		text := strconv.QuoteToASCII(name) // its escapes are those of YAML
		fmt.Fprintf(&bad, "- {name: %s, san: %s, depth: %s, allow: [%s]}\n", text, text, text, text)
		if feed.ValidateText(name) == nil && strings.TrimSpace(name) == name {
			fmt.Fprintf(&good, "- {name: %s, san: n%d.%d.example}\n", text, i, i)
			sans = append(sans, fmt.Sprintf("n%d.%d.example", i, i))
		}
	}
	sans = append(sans, "\x1b[31mred", "line\nfeed", strings.Repeat("y", 10_000))
	certstest.WriteFile(dir, "users.yml", []byte(good.String()))
	certstest.WriteFile(dir, "bad.yml", []byte(bad.String()))
	pub := startCommand(t, dir, "publish", "--rate", "100", "--instruments", "5", "--listen", "unix:p.sock", "--http", "unix:h.sock", "--log-format", "json", "--log-level", "debug",
		"--users", "users.yml", "--tls-cert", "feed.pem", "--tls-key", "feed.key", "--tls-client-ca", "ca.pem")
	pub.says(t, `"message":"http"`)
	admitted := 0
	for _, name := range sans {
		pair := a.Issue(certstest.Want{Names: []string{name}})
		nc, err := tls.Dial("unix", filepath.Join(dir, "p.sock"), &tls.Config{InsecureSkipVerify: true, Certificates: []tls.Certificate{pair.TLS}, NextProtos: []string{certs.Protocol}})
		require.NoError(t, err)
		defer nc.Close()
		raw, err := codec.Append(nil, &codec.Hello{MinVersion: codec.Version, MaxVersion: codec.Version, Client: name[:min(len(name), 64)], Start: codec.Start{Kind: codec.StartLive}})
		require.NoError(t, err)
		_, err = nc.Write(raw)
		require.NoError(t, err)
		require.NoError(t, nc.SetReadDeadline(time.Now().Add(patience)))
		if typ, _, err := codec.NewReader(nc, codec.MaxMessage).Next(); err == nil && typ == codec.TypeWelcome {
			admitted++
		}
	}
	assert.Greater(t, admitted, 3)
	for _, path := range []string{"/connz?limit=1000", "/connz?limit=1000&format=text", "/overview", "/metrics?detail=1"} {
		answer, err := (&ops.Client{Addr: "unix:" + filepath.Join(dir, "h.sock")}).Ask(t.Context(), path, nil, "", patience)
		require.NoError(t, err)
		controlsNothing(t, string(answer.Body), path)
	}
	require.NoError(t, os.Rename(filepath.Join(dir, "bad.yml"), filepath.Join(dir, "users.yml")))
	for _, args := range [][]string{
		{"control", "reload", "--addr", "unix:h.sock"}, {"publish", "--check", "--users", "users.yml"}, {"control", "connections", "--addr", "unix:h.sock"}, {"top", "--once", "--interval", "100ms", "unix:h.sock"},
		{"user", "add", names[1], "--users", "new.yml"}, {"user", "add", "x\x1b[31m\u009b", "--users", "new.yml", "--depth", "\x1b[31m", "--policies", "\u009b"}, {"user", "add", "x", "--users", "new.yml", "--san", "\x1b[31m"},
	} {
		c := startCommand(t, dir, args...)
		c.exit(t)
		text := c.out.String() + c.err.String()
		controlsNothing(t, text, args[0]+" "+args[1])
		assert.Less(t, len(text), 8000, "%s %s: %.200s", args[0], args[1], text)
	}
	pub.says(t, `users.yml:1: `)
	controlsNothing(t, pub.err.String(), "the log")
	for line := range strings.Lines(pub.err.String()) {
		assert.Less(t, len(line), 8000, "a line of the log: %.200s", line)
	}
}
