package main

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tickfeed/cmd/ops"
	"tickfeed/codec"
	"tickfeed/codec/certs/certstest"
)

// Right and wrong secrets that commands are given stand in nothing that they print, log, serve or dump, in no file that they write
// and in no process list, as they are, in hex or in base64 (PROMISES.md, 26).
func TestSecretsAreNotShown(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	secrets := map[string]string{}
	for _, name := range []string{"user", "feed", "web", "wrong-user", "wrong-feed", "wrong-web"} {
		secrets[name] = "s3cret~" + name + "/7f1d0c"
		certstest.WriteFile(dir, name, []byte(secrets[name]+"\n"))
	}
	certstest.WriteFile(dir, "users.yml", fmt.Appendf(nil, "- {name: desk, token_sha256: %x}\n", sha256.Sum256([]byte(secrets["user"]))))
	for _, name := range []string{"user", "feed", "web", "users.yml"} {
		require.NoError(t, os.Chmod(filepath.Join(dir, name), 0o600))
	}

	shown := map[string]string{} // by what shows it
	var running []*command
	serve := func(ready string, args ...string) *command {
		c := startCommand(t, dir, append(args, "--http-token-file", "web", "--pprof", "--log-level", "trace")...)
		c.says(t, ready)
		running = append(running, c)
		return c
	}
	byUsers := serve(`"message":"http"`, "publish", "--journal", "j", "--users", "users.yml", "--listen", "unix:a.sock", "--http", "127.0.0.1:0", "--log-format", "json")
	addr := regexp.MustCompile(`"http":"([^"]*:\d+)"`).FindStringSubmatch(byUsers.err.String())[1]
	serve(`"message":"http"`, "publish", "--token-file", "feed", "--listen", "unix:b.sock", "--http", "unix:bh.sock", "--log-format", "json")
	serve(`listening on`, "lab", "--upstream", "unix:a.sock", "--listen", "unix:l.sock", "--http", "unix:lh.sock", "--rule", "on storm: cut rst")
	serve(`live: receiving`, "subscribe", "unix:l.sock", "--quiet", "--token-file", "user", "--http", "unix:sh.sock")
	serve(`.`, "record", "unix:b.sock", "-o", "r.tick", "--token-file", "feed", "--http", "unix:rh.sock")

	type run struct {
		args []string
		code int
		env  string
	}
	var runs []run
	for _, args := range [][]string{{"subscribe", "unix:a.sock", "--count", "5"}, {"subscribe", "unix:l.sock", "--count", "5", "--json", "--events"}, {"record", "unix:a.sock", "--count", "5", "-o", "users.tick"}} {
		runs = append(runs, run{append(args, "--token-file", "user"), exitDone, ""})
	}
	runs = append(runs,
		run{[]string{"subscribe", "unix:a.sock", "--token-file", "wrong-user"}, exitRefused, ""},
		run{[]string{"subscribe", "unix:b.sock", "--count", "5"}, exitDone, "TICKFEED_TOKEN=" + secrets["feed"]},
		run{[]string{"subscribe", "unix:b.sock"}, exitRefused, "TICKFEED_TOKEN=" + secrets["wrong-feed"]},
		run{[]string{"record", "unix:b.sock", "-o", "wrong.tick", "--token-file", "wrong-feed"}, exitRefused, ""},
		run{[]string{"publish", "--check", "--token-file", "feed", "--http", "localhost", "--http-token-file", "web"}, exitDone, ""},
		run{[]string{"demo", "--duration", "1s", "--http", "unix:d.sock", "--http-token-file", "web"}, exitDone, ""},
		run{[]string{"control", "status", "--addr", addr}, exitRefused, ""},
		run{[]string{"control", "status", "--addr", addr}, exitDone, "TICKFEED_HTTP_TOKEN=" + secrets["web"]},
	)
	for _, args := range [][]string{{"control", "status", "--addr", addr}, {"control", "reload", "--addr", addr}, {"control", "connections", "--json", "--addr", addr}, {"top", "--once", "--interval", "100ms", addr}, {"control", "trigger", "storm", "--addr", "unix:lh.sock"}} {
		runs = append(runs, run{append(args, "--http-token-file", "web"), exitDone, ""}, run{append(args[:len(args):len(args)], "--http-token-file", "wrong-web"), exitRefused, ""})
	}
	var started []*command
	for _, r := range runs {
		c := newCommand(dir, append(r.args, "--log-level", "trace")...)
		if r.env != "" {
			c.Env = append(os.Environ(), r.env)
		}
		c.start(t)
		started = append(started, c)
	}
	lists, err := filepath.Glob("/proc/[0-9]*/cmdline") // of the demo's publisher too
	require.NoError(t, err)
	for _, path := range lists {
		line, _ := os.ReadFile(path)
		if strings.Contains(string(line), "tickfeed") {
			shown[path] = string(line)
		}
	}
	wait := func(demo bool) {
		for i, c := range started {
			if demo == (runs[i].args[0] == "demo") {
				assert.Equal(t, runs[i].code, c.exit(t), "%v: %s", runs[i].args, c.err.String())
			}
		}
	}
	wait(false)

	// The demo, which takes longest, runs on while the pages of the commands that serve are read.
	addrs := []string{addr}
	for _, socket := range []string{"bh.sock", "lh.sock", "sh.sock", "rh.sock"} {
		addrs = append(addrs, "unix:"+filepath.Join(dir, socket))
	}
	for _, at := range addrs {
		client := ops.Client{Addr: at, Token: codec.Token(secrets["web"])}
		get := func(path string) string {
			answer, err := client.Ask(t.Context(), path, nil, "", patience)
			require.NoError(t, err, at+path)
			shown[at+path] = string(answer.Body)
			return string(answer.Body)
		}
		_, list, _ := strings.Cut(strings.TrimSuffix(get("/"), "\"}\n"), "it serves ")
		paths := strings.Split(list, ", ")
		assert.Greater(t, len(paths), 5, at)
		for _, path := range append(paths, "/metrics?detail=1", "/status?format=text", "/debug/pprof/cmdline", "/debug/pprof/heap?debug=1", "/debug/pprof/goroutine?debug=2", "/debug/pprof/allocs?debug=1") {
			if !strings.HasSuffix(path, " (POST)") {
				get(path)
			}
		}
	}
	refusals := make([]string, len(addrs))
	var refused sync.WaitGroup
	for i, at := range addrs { // at once, because the answer to a wrong token is delayed
		refused.Go(func() {
			stranger := ops.Client{Addr: at, Token: codec.Token(secrets["wrong-web"])}
			answer, err := stranger.Ask(t.Context(), "/debug/pprof/cmdline", nil, "", patience)
			if assert.NoError(t, err, at) && assert.Equal(t, http.StatusUnauthorized, answer.Status, at) {
				refusals[i] = string(answer.Body)
			}
		})
	}
	refused.Wait()
	for i, at := range addrs {
		shown[at+" to a wrong token"] = refusals[i]
	}
	wait(true)
	for _, c := range running {
		require.NoError(t, c.Process.Signal(syscall.SIGQUIT))
		<-c.done
		assert.Contains(t, c.err.String(), "goroutine ", "%v: the dump", c.Args)
	}
	for i, c := range append(running, started...) {
		shown[fmt.Sprintf("%d %v", i, c.Args)] = c.out.String() + c.err.String()
	}
	require.NoError(t, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() && secrets[d.Name()] == "" {
			var content []byte
			content, err = os.ReadFile(path)
			shown["file "+path] = string(content)
		}
		return err
	}))
	assert.Greater(t, len(shown), 80, "what was searched")
	names := map[string]string{} // by a form of the secret, in lower case
	for name, secret := range secrets {
		for _, form := range []string{secret, hex.EncodeToString([]byte(secret)), base64.RawStdEncoding.EncodeToString([]byte(secret)), base64.RawURLEncoding.EncodeToString([]byte(secret)), strconv.Quote(secret)} {
			names[strings.ToLower(form)] = name
		}
	}
	for where, text := range shown {
		text = strings.ToLower(text)
		for form, name := range names {
			assert.False(t, strings.Contains(text, form), "the secret %s stands in %s", name, where)
		}
	}
}
