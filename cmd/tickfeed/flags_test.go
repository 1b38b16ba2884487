package main

import (
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// publishFlags is the publish command with args parsed and the rest settled.
func publishFlags(t *testing.T, config string, environ []string, args ...string) (*cobra.Command, error) {
	t.Helper()
	root := (&program{stdout: io.Discard, stderr: io.Discard}).command()
	cmd, rest, err := root.Find(append([]string{"publish"}, args...))
	require.NoError(t, err)
	require.NoError(t, cmd.ParseFlags(rest))
	path := ""
	if config != "" {
		path = filepath.Join(t.TempDir(), "c.yaml")
		require.NoError(t, os.WriteFile(path, []byte(config), 0o600))
	}
	_, err = settle(t.Context(), cmd, path, environ)
	return cmd, err
}

// A flag wins over the environment, the environment over the file.
func TestPrecedenceIsFlagEnvironmentFile(t *testing.T) {
	const config = "log-level: debug\npublish:\n  rate: 1k\n  depth: 3\n  seed: 7\n  listen: [\"a:1\", \"unix:b\"]\n  heartbeat: 2s\n"
	cmd, err := publishFlags(t, config, []string{"TICKFEED_RATE=2k", "TICKFEED_DEPTH=4", "TICKFEED_SYNC=", "TICKFEED_PORT=tcp://x"}, "--rate", "3k")
	require.NoError(t, err)
	for flag, want := range map[string]string{
		"rate": "3k", "depth": "4", "seed": "7", "listen": "[a:1,unix:b]", "heartbeat": "2s", "sync": "1s", "log-level": "debug",
	} {
		assert.Equal(t, want, cmd.Flag(flag).Value.String(), flag)
	}

	cmd, err = publishFlags(t, "", []string{"TICKFEED_LISTEN=a:1,b:2", "TICKFEED_EXIT_AT_END=true"})
	require.NoError(t, err)
	assert.Equal(t, "[a:1,b:2]", cmd.Flag("listen").Value.String())
	assert.Equal(t, "true", cmd.Flag("exit-at-end").Value.String())
}

// An error that names a flag says what has set it, if that is not the command line.
func TestErrorsNameSettings(t *testing.T) {
	cmd, err := publishFlags(t, "publish:\n  tls-key: k.pem\n", []string{"TICKFEED_TLS_CERT=c.pem"}, "--rate", "1")
	require.NoError(t, err)
	for text, want := range map[string]string{
		"--tls-cert and --rate":                         "; --tls-cert is set by TICKFEED_TLS_CERT",
		"--tls-certificate":                             "",
		"TICKFEED_TLS_CERT: not the same as --tls-cert": "",
		"no flag": "",
	} {
		assert.Equal(t, want, namedSettings(cmd.Flags(), text), text)
	}
	assert.Regexp(t, `^; --tls-key is set by .*c\.yaml:2: publish\.tls-key$`, namedSettings(cmd.Flags(), "want --tls-key, or nothing"))
}

func TestConfigIsStrict(t *testing.T) {
	for config, want := range map[string]string{
		"publish: {rat: 1}": `c.yaml:1: there is no setting "rat" in section "publish"; did you mean "rate"?`,
		"log-level: info\npublish:\n  seed: 1\n  rat: 1": `c.yaml:4: there is no setting "rat" in section "publish"; did you mean "rate"?`,
		"log-level: info\npublsh:\n  seed: 1":            `c.yaml:2: there is no setting "publsh" at the top level; did you mean "publish"?`,
		"publish:\n  seed: 1: 2":                         `c.yaml:2: a colon is where no field can begin`,
		"publish:\n  seed: x":                            `c.yaml:2: publish.seed: "x": want a whole number`,
		"publish:\n  seed: 1\n  seed: 2":                 `c.yaml:3: publish.seed is there twice: remove one`,
		"- publish":                                      `c.yaml:1: want settings, one on a line`,
		"subscribe: {rate: 1}":                           `no setting "rate" in section "subscribe"`,
		"rate: 1":                                        `no setting "rate" at the top`,
		"config: x":                                      `no setting "config" at the top`,
		"publish: 5":                                     `must hold settings`,
		"publish: {rate: {a: 1}}":                        `want a value or a list`,
		"publish: {depth: x}":                            `publish.depth`,
		"publish: [":                                     `c.yaml:1: a value is missing, or a list that begins with [ has no end`,
	} {
		_, err := publishFlags(t, config, nil)
		require.Error(t, err, config)
		assert.Contains(t, err.Error(), want, config)
		var coded *exitError
		require.ErrorAs(t, err, &coded)
		assert.Equal(t, exitUsage, coded.code)
	}
	_, err := publishFlags(t, "subscribe: {from: live}", nil)
	assert.NoError(t, err, "another command's section")
}

func TestTokenComesFromFileOrEnvironment(t *testing.T) {
	t.Setenv("TICKFEED_TOKEN", "from-env")
	got, err := token(t.Context(), "")
	require.NoError(t, err)
	assert.Equal(t, "from-env", string(got))
	path := filepath.Join(t.TempDir(), "token")
	require.NoError(t, os.WriteFile(path, []byte("from-file\n"), 0o600))
	got, err = token(t.Context(), path)
	require.NoError(t, err)
	assert.Equal(t, "from-file", string(got))
	require.NoError(t, os.WriteFile(path, []byte("\n"), 0o600))
	_, err = token(t.Context(), path)
	assert.ErrorContains(t, err, "is empty")
	require.NoError(t, os.WriteFile(path, []byte(strings.Repeat("x", 1025)), 0o600))
	_, err = token(t.Context(), path)
	assert.ErrorContains(t, err, "at most 1024")
	assert.NotContains(t, err.Error(), "xxx")

	// What editors and shells leave in a file would make a token that nobody can send.
	for text, want := range map[string]string{
		"t0ken\r\n": "", "t0ken\n\n": "", "two words": "", "t0kén": "",
		"t0ken \n": "begins or ends with a blank", "\tt0ken": "begins or ends with a blank", "\nt0ken": "begins or ends with a blank",
		"t0ken\nsecond\n": "want one line", "\ufefft0ken": "want one line", "t\x000\x00": "want one line", "\xff\xfet\x00": "want one line",
	} {
		require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
		got, err := token(t.Context(), path)
		if want == "" {
			assert.NoError(t, err, "%q", text)
			assert.Equal(t, strings.TrimRight(text, "\r\n"), string(got))
			continue
		}
		assert.ErrorContains(t, err, "--token-file "+path+": ", "%q", text)
		assert.ErrorContains(t, err, want, "%q", text)
		assert.NotContains(t, err.Error(), "t0ken")
	}
	t.Setenv("TICKFEED_TOKEN", "from-env ")
	_, err = token(t.Context(), "")
	assert.ErrorContains(t, err, "TICKFEED_TOKEN: the token begins or ends with a blank")
}

// A file that is read as a whole may be as long as its bound, and no longer.
func TestReadSmall(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	for n, want := range map[int]string{0: "", 3: "", 4: "", 5: path + " is longer than 4 bytes", 100: "is longer than 4 bytes"} {
		require.NoError(t, os.WriteFile(path, make([]byte, n), 0o600))
		b, err := readSmall(t.Context(), path, 4)
		if want != "" {
			assert.ErrorContains(t, err, want, "%d bytes", n)
			continue
		}
		require.NoError(t, err)
		assert.Len(t, b, n)
	}
}

// A variable that begins with TICKFEED_ and is no setting of any command is reported, with the one that may be meant. Those that
// container platforms invent for a service called tickfeed are not.
func TestStrangersAmongVariablesAreReported(t *testing.T) {
	root := (&program{}).command()
	assert.Equal(t, []string{"TICKFEED_LISTENS (TICKFEED_LISTEN?)", "TICKFEED_NONSENSE", "TICKFEED_RATEE (TICKFEED_RATE?)"},
		strangers(root, []string{"PATH=/bin", "TICKFEED_RATEE=5", "TICKFEED_RATE=5", "TICKFEED_TOKEN=x", "TICKFEED_NONSENSE=", "TICKFEED_LISTENS=a",
			"TICKFEED_MAX_LAG=1s", "TICKFEED_LOG_LEVEL=info", "TICKFEED_PORT=tcp://10.0.0.1:8425", "TICKFEED_PORT_8425_TCP_ADDR=10.0.0.1",
			"TICKFEED_SERVICE_HOST=10.0.0.1", "TICKFEED_SERVICE_PORT_FEED=8425", "TICKFEEDER=1"}))
	t.Setenv("TICKFEED_RATEE", "5")
	c := startCommand(t, t.TempDir(), "version")
	require.Equal(t, exitDone, c.exit(t))
	assert.Equal(t, "environment: there is no setting TICKFEED_RATEE (TICKFEED_RATE?); settings are named like the flags\n", c.err.String())
}

// Every flag that takes text refuses an empty value, except --http; an empty list is no default that the help lists.
func TestFlagsRefuseEmptyValues(t *testing.T) {
	checked := map[string]bool{}
	var check func(cmd *cobra.Command)
	check = func(cmd *cobra.Command) {
		visit := func(f *pflag.Flag) {
			switch f.Value.Type() {
			case "string", "stringSlice", "stringArray":
				assert.Equal(t, f.Name == "http", f.Value.Set("") == nil, "%s --%s", cmd.CommandPath(), f.Name)
				checked[f.Name] = true
			}
		}
		if cmd.Hidden {
			return
		}
		cmd.Flags().VisitAll(visit)
		cmd.PersistentFlags().VisitAll(visit)
		assert.NotContains(t, cmd.Flags().FlagUsages(), "default []", cmd.CommandPath())
		for _, c := range cmd.Commands() {
			check(c)
		}
	}
	p := &program{stdin: strings.NewReader(""), stdout: io.Discard, stderr: io.Discard}
	root := p.command()
	check(root)
	for _, name := range []string{"case", "symbols", "users", "allow", "token-file", "listen", "config", "http"} {
		assert.True(t, checked[name], name)
	}
	var said strings.Builder
	assert.Equal(t, exitUsage, run([]string{"publish", "--users", ""}, strings.NewReader(""), io.Discard, &said))
	assert.Contains(t, said.String(), `--users "": the value is empty (is a shell variable not set?)`)
}

// The flags that bench gives to its child processes mean the same there: names of columns that are empty are kept.
func TestReadingFlagsKeepEmptyColumns(t *testing.T) {
	for _, header := range []string{"time,,symbol", ",a,", `"a,b",,c`} {
		parse := func(args ...string) ([]string, []string) {
			p := &program{}
			cmd, _, err := p.command().Find([]string{"bench"})
			require.NoError(t, err)
			require.NoError(t, cmd.ParseFlags(args))
			names, err := cmd.Flags().GetStringSlice("header")
			require.NoError(t, err)
			return names, readingFlags(cmd)
		}
		names, reading := parse("--header", header, "--column", "bid=B", "--column", "ask=A")
		assert.Len(t, names, 3)
		again, _ := parse(reading...)
		assert.Equal(t, names, again)
		assert.Contains(t, reading, "--column=ask=A")
	}
}

// The environment and the file of --config are for many command lines: their value for a flag that has no use without another one is
// left out where the other one is not given, with a warning if the file names the command. On the command line it stays an error.
func TestSettingsWithoutTheirPartnersAreLeftOut(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "t.ndjson"), []byte(`{"type":"trade","symbol":"A","price":"1","size":"1","event_time":1}`+"\n"), 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "c.yaml"), []byte("inspect:\n  html: x.html\n"), 0o600))
	day, err := os.ReadFile("../../testdata/day.tick")
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "r.tick"), day, 0o600))
	for _, e := range []string{"HTTP_TOKEN_FILE=none", "HTTP_HOST=feed.example", "PPROF=true", "HTTP_TLS_CERT=none.pem", "HTTP_TLS_KEY=none.key", "HTTP_TLS_CLIENT_CA=none.pem",
		"STALE_AFTER=-1s", "RETAIN=1GB", "APPEND=true", "RAW=true", "EVENTS=true", "FINAL_STATE=true", "HDR=h", "HDR_EVENT=h", "CONNECTIONS=9",
		"HTML=x.html", "FORCE=true"} {
		t.Setenv(envPrefix+strings.Split(e, "=")[0], strings.Split(e, "=")[1])
	}
	for _, c := range []struct {
		args []string
		warn string
	}{
		{[]string{"subscribe", "--max-attempts", "1", "unix:none.sock"}, ""},
		{[]string{"record", "--max-attempts", "1", "-o", "x.tick", "unix:none.sock"}, ""},
		{[]string{"lab", "--upstream", "unix:none.sock", "--listen", "unix:l.sock", "--duration", "1ms", "--rule", "at 1s: cut rst"}, ""},
		{[]string{"inspect", "r.tick"}, ""},
		{[]string{"inspect", "--csv", "--ticks", "r.tick"}, ""},
		{[]string{"inspect", "--config", "c.yaml", "--verify", "r.tick"}, "--config: c.yaml:2: inspect.html is not used without --facts"},
		{[]string{"export", "r.tick", "-o", "r.csv"}, ""},
		{[]string{"publish", "--exit-at-end", "--wait-for", "0", "--listen", "unix:p.sock", "t.ndjson"}, ""},
		{[]string{"publish", "--check", "--listen", "unix:p.sock"}, "TICKFEED_RETAIN is not used without --journal"},
	} {
		if strings.Contains(c.warn, "config") {
			t.Setenv("TICKFEED_HTML", "")
		}
		p := startCommand(t, dir, c.args...)
		assert.NotEqual(t, exitUsage, p.exit(t), "%v: %s", c.args, p.err.String())
		assert.NotContains(t, p.err.String(), "needs --")
		if c.warn == "" {
			assert.NotContains(t, p.err.String(), "is not used", c.args)
		} else {
			assert.Contains(t, p.err.String(), c.warn, c.args)
		}
	}
	for _, args := range [][]string{{"subscribe", "--raw"}, {"publish", "--retain", "1GB"}, {"inspect", "--html", "x.html", "r.tick"}, {"publish", "--pprof"}, {"export", "r.tick", "-o", "y.csv", "--raw"}} {
		assert.Equal(t, exitUsage, startCommand(t, dir, args...).exit(t), args)
	}
}

// Of flags that exclude each other, the one on the command line is in force, otherwise that of the environment. What is left out is
// reported if it is more than a switch that the command line overrides. Two of one origin are an error, and --users is never left out.
func TestStrongerOriginExcludesTheOther(t *testing.T) {
	for _, c := range []struct {
		command, config string
		environ         []string
		args            []string
		want            map[string]string
		unused          string // the end of what is reported
	}{
		{"subscribe", "subscribe:\n  json: true", nil, []string{"--csv"}, map[string]string{"csv": "true", "json": "false"}, ""},
		{"subscribe", "subscribe:\n  json: true", []string{"TICKFEED_CSV=1"}, nil, map[string]string{"csv": "true", "json": "false"}, "subscribe.json is not used with TICKFEED_CSV"},
		{"subscribe", "subscribe:\n  json: true", []string{"TICKFEED_CSV=true"}, []string{"--stats"}, map[string]string{"csv": "false", "json": "true", "stats": "true"}, ""},
		{"subscribe", "subscribe:\n  json: true", []string{"TICKFEED_CSV=true"}, []string{"--json=false"}, map[string]string{"csv": "true", "json": "false"}, ""},
		{"subscribe", "", []string{"TICKFEED_JSON=true", "TICKFEED_CSV=true"}, nil, map[string]string{"csv": "true", "json": "true"}, ""},
		{"subscribe", "", []string{"TICKFEED_JSON=false"}, []string{"--csv"}, map[string]string{"csv": "true", "json": "false"}, ""},
		{"subscribe", "subscribe:\n  state: s", nil, []string{"--stats", "--connections", "2"}, map[string]string{"state": ""}, "subscribe.state is not used with --connections"},
		{"subscribe", "subscribe:\n  state: s", nil, []string{"--stats", "--connections", "1"}, map[string]string{"state": "s"}, ""},
		{"subscribe", "", []string{"TICKFEED_TLS_CA=a.pem"}, []string{"--insecure"}, map[string]string{"tls-ca": "", "insecure": "true"}, "TICKFEED_TLS_CA is not used with --insecure"},
		{"subscribe", "", []string{"TICKFEED_INSECURE=true"}, []string{"--tls-ca", "a.pem"}, map[string]string{"tls-ca": "a.pem", "insecure": "false"}, ""},
		{"inspect", "inspect:\n  ticks: true\n  csv: true", nil, []string{"--verify"}, map[string]string{"ticks": "false", "csv": "false"}, "inspect.csv is not used without --ticks or --at"},
		{"replay", "", []string{"TICKFEED_LOOP=T"}, []string{"--exit-at-end"}, map[string]string{"loop": "false"}, ""},
		{"exam", "", []string{"TICKFEED_SELF=true"}, []string{"--list"}, map[string]string{"self": "false"}, ""},
		{"publish", "publish:\n  token-file: t", nil, []string{"--users", "u"}, map[string]string{"token-file": "", "users": "u"}, "publish.token-file is not used with --users"},
		{"publish", "publish:\n  users: u", []string{"TICKFEED_TOKEN_FILE=t"}, nil, map[string]string{"token-file": "t", "users": "u"}, ""},
	} {
		root := (&program{stdout: io.Discard, stderr: io.Discard}).command()
		cmd, rest, err := root.Find(append([]string{c.command}, c.args...))
		require.NoError(t, err)
		require.NoError(t, cmd.ParseFlags(rest))
		path := filepath.Join(t.TempDir(), "c.yaml")
		require.NoError(t, os.WriteFile(path, []byte(c.config), 0o600))
		unused, err := settle(t.Context(), cmd, path, c.environ)
		require.NoError(t, err)
		for flag, want := range c.want {
			assert.Equal(t, want, cmd.Flag(flag).Value.String(), "%v %v: %s", c.environ, c.args, flag)
		}
		all := strings.Join(unused, "\n")
		assert.True(t, strings.HasSuffix(all, c.unused) && (all == "") == (c.unused == ""), "%v %v: %q", c.environ, c.args, all)
	}

	// A program to examine is no flag, and the token of all clients has a variable without one.
	t.Setenv("TICKFEED_LIST", "true")
	dir := t.TempDir()
	exam := startCommand(t, dir, "exam", "--case", "good-plain", "--", "./none", "{addr}", "{from}")
	exam.exit(t)
	assert.NotContains(t, exam.err.String(), "only one of")
	t.Setenv("TICKFEED_LIST", "")
	t.Setenv("TICKFEED_TOKEN", "of the commands that connect")
	require.NoError(t, os.WriteFile(filepath.Join(dir, "u.yaml"), []byte("- name: a\n  token_sha256: "+strings.Repeat("0", 64)+"\n"), 0o600))
	check := startCommand(t, dir, "publish", "--check", "--listen", "unix:p.sock", "--users", "u.yaml")
	assert.Equal(t, exitDone, check.exit(t), check.err.String())
	assert.Contains(t, check.out.String(), "TICKFEED_TOKEN is not used with --users")
	t.Setenv("TICKFEED_USERS", "u.yaml")
	check = startCommand(t, dir, "publish", "--check", "--listen", "unix:p.sock")
	assert.Equal(t, exitUsage, check.exit(t))
	assert.Contains(t, check.out.String()+check.err.String(), "exclude each other")
}
