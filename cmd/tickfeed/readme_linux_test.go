package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A step is one command of a README.
type step struct {
	command string
	does    string // what this test types instead, if the command takes long or needs a program that is not here
	shows   string // what the terminal shows until the next prompt
	exact   bool   // the terminal shows the lines of the README, too
}

// typed returns the commands that a README shows. A backslash continues a command on the next line.
func typed(readme string) (commands []string) {
	readme = regexp.MustCompile(`\\\n +`).ReplaceAllString(readme, "")
	for _, m := range regexp.MustCompile(`(?m)^    \$ (.*)$`).FindAllStringSubmatch(readme, -1) {
		command, _, _ := strings.Cut(m[1], "  #")
		commands = append(commands, strings.TrimSpace(command))
	}
	return commands
}

// The commands of README.md, and then those of cmd/ops/README.md, can be typed from top to bottom at a terminal in a fresh
// clone: each succeeds, none stops, and they need no file but those of the clone and those that they make.
func TestReadme(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("takes some seconds")
	}
	steps := []step{
		{command: "go run ./cmd/tickfeed demo --duration 12s", does: "./tickfeed demo --duration 1s", shows: `delivered +[\d,]+ +[\d,]+ +[\d,]+\n +not asked`},
		{command: "go build ./cmd/tickfeed", does: "true"},
		{command: "./tickfeed publish --journal j --log-level warn &", shows: `\[1\] \d+`},
		{command: "./tickfeed subscribe --symbols 'AAPL,ES*' --count 5", shows: `account: 5 ticks, 0 recoveries, .* 0 lost`},
		{command: "./tickfeed subscribe --json --from beginning --until seq:10000 > ticks.ndjson", shows: `account: 9,999 ticks, 0 recoveries`},
		{command: "./tickfeed subscribe --connections 20 --stats --count 2k", shows: `20 connections in [\d.]+m?s: (?s:.*)account: 40,000 ticks, (?s:.*);\s+20\s+connections`},
		{command: "./tickfeed record --from beginning --count 20k -o session.tick", shows: `recorded: [\d,]+ packets?`},
		{command: "kill %1; wait"},
		{command: `printf 'time,symbol,bid,ask\n2026-03-02 09:30:00,AAPL,187.25,187.27\n' > quotes.csv`},
		{command: "./tickfeed publish quotes.csv --zone America/New_York --exit-at-end &", shows: `\[1\] \d+`},
		{command: "./tickfeed subscribe --from beginning --until-end --json; wait", shows: `"bid":187.25,(?s:.*)account: 2 ticks`},
		{command: "./tickfeed publish --journal j2 &", shows: `\[1\] \d+`},
		{command: "./tickfeed lab --rule 'at seq 3000: cut rst' --rule 'at login 2: refuse busy retry 200ms' --rule 'with 0.1%: drop tick' &", shows: `\[2\] \d+`},
		{command: "./tickfeed subscribe localhost:8426 --json --events --from beginning --until seq:5000 > client.ndjson",
			shows: `(?:at seq 3000: cut rst(?s:.*)at login 2: refuse busy|at login 2: refuse busy(?s:.*)at seq 3000: cut rst)(?s:.*)account:\s+4,999\s+ticks,\s+\d+\s+recover(?:y|ies)(?:\s+\(\d+\s+not\s+over\))?,\s+0\s+withheld,\s+0\s+lost,\s+0\s+disowned`},
		{command: "./tickfeed ledger diff j2 client.ndjson", shows: `the same +4,999\n(?s:.*)they hold the same ticks, as far as both asked for them`},
		{command: "kill %1 %2; wait"},
		{command: "./tickfeed exam --self --case 'account-*'", shows: `all +(\d+) of (\d+) passed`},
		{command: "./tickfeed exam --show recover-dropped-tick", shows: `at seq 500: drop tick`},
		{command: "./tickfeed inspect testdata/day.tick", shows: `numbers \[1, 7849\)`, exact: true},
		{command: "./tickfeed replay testdata/day.tick --speed 100x &", shows: `\[1\] \d+`},
		{command: "./tickfeed subscribe --symbols AAPL --count 5", shows: `account: 5 ticks`},
		{command: "./tickfeed control pause", shows: `paused at 2026-`},
		{command: "./tickfeed control seek 14:45", shows: `paused at 2026-01-05 14:4`},
		{command: "./tickfeed control resume", shows: `playing at 2026-`},
		{command: "kill %1; wait"},
		{command: "./tickfeed sim --instruments 12 -o sim.tick", shows: `written +sim.tick`},
		{command: "./tickfeed import feed/files/dbn/testdata/test_data.trades.v1.dbn.zst -o es.tick", shows: `written +es.tick`},
		{command: "./tickfeed inspect --at 14:45 --symbols AAPL testdata/day.tick", shows: `quote`},
		{command: "./tickfeed inspect --facts --html facts.html testdata/day.tick", shows: `medians lie in the range of real markets(?s:.*)facts.html: the page is written`},
		{command: "./tickfeed sim fit testdata/day.tick -o profile.yaml", shows: `day.tick: \d+ instruments fitted in`},
		{command: "./tickfeed cut testdata/day.tick --to seq:4000 -o am.tick", shows: `am.tick:`},
		{command: "./tickfeed cut testdata/day.tick --from seq:4000 -o pm.tick", shows: `pm.tick:`},
		{command: "./tickfeed merge am.tick pm.tick -o whole.tick", shows: `whole.tick:`},
		{command: "./tickfeed inspect --verify am.tick pm.tick whole.tick", shows: `whole.tick: sound, .* 7,848 numbers`},
		{command: "./tickfeed export whole.tick -o day.parquet", shows: `day.parquet:`},

		{command: "umask 077"},
		{command: "./tickfeed user add desk --users users.yml --allow 'ES?6,NQ?6' --depth l1 > desk.token", shows: `user desk is added to users.yml`},
		{command: "export TICKFEED_HTTP_TOKEN=$(head -c 32 /dev/urandom | base64)"},
		{command: "./tickfeed publish --journal j3 --users users.yml --http localhost &", shows: `\[1\] \d+`},
		{command: "./tickfeed subscribe --token-file desk.token --count 5", shows: `symbols ES\?6, NQ\?6 from(?s:.*)user desk may not see more than(?s:.*)account: 5 ticks`},
		{command: "./tickfeed health", shows: `journal: ok\nhead: ok\nok`},
		{command: "./tickfeed control connections", shows: `0 of 0 connections`},
		{command: "curl -s localhost:8427/metrics | grep '^tickfeed_subscribers '", does: "curl -s --unix-socket c.sock localhost:8427/metrics | grep '^tickfeed_subscribers '", shows: `tickfeed_subscribers 0`},
		{command: "./tickfeed top --once", shows: `(?s)publish  simulated market, seed 1.*nobody is connected.*AAPL@SIM`},
		{command: "./tickfeed control reload", shows: `read again: users: 1 user`},
		{command: "./tickfeed control drain --over 30s", shows: `draining: there are no subscribers`},
		{command: "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -noenc -days 3650 -subj /CN=feed-ca -keyout ca.key -out ca.pem"},
		{command: "openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -noenc -subj /CN=feed -keyout feed.key -out feed.csr -addext subjectAltName=DNS:localhost,DNS:feed.example.com -addext extendedKeyUsage=serverAuth"},
		{command: "openssl x509 -req -in feed.csr -copy_extensions copy -CA ca.pem -CAkey ca.key -days 90 -out feed.pem", shows: `ok`},
		{command: "openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -noenc -subj /CN=desk -keyout me.key -out me.csr -addext subjectAltName=DNS:desk -addext extendedKeyUsage=clientAuth"},
		{command: "openssl x509 -req -in me.csr -copy_extensions copy -CA ca.pem -CAkey ca.key -days 90 -out me.pem", shows: `ok`},
		{command: "./tickfeed publish --tls-cert feed.pem --tls-key feed.key --tls-client-ca ca.pem &", shows: `\[\d\] \d+`},
		{command: "./tickfeed subscribe --tls-ca ca.pem --tls-cert me.pem --tls-key me.key --count 5", shows: `account: 5 ticks`},
		{command: "kill $!; wait"},
	}
	if version, err := exec.Command("openssl", "version").Output(); err != nil || !regexp.MustCompile(`^OpenSSL [3-9]`).Match(version) {
		t.Logf("the commands with certificates are not typed: they need OpenSSL 3, and there is %q (%v)", version, err)
		first := slices.IndexFunc(steps, func(s step) bool { return strings.HasPrefix(s.command, "openssl ") })
		for i := first; i < len(steps); i++ {
			steps[i].does, steps[i].shows = "true", ""
		}
	}
	if _, err := exec.LookPath("curl"); err != nil {
		for i := range steps {
			if strings.HasPrefix(steps[i].command, "curl ") {
				steps[i].does, steps[i].shows = "true", ""
			}
		}
	}
	top, err := os.ReadFile("../../README.md")
	require.NoError(t, err)
	ops, err := os.ReadFile("../ops/README.md")
	require.NoError(t, err)
	var known []string
	for _, s := range steps {
		known = append(known, s.command)
	}
	require.Equal(t, append(typed(string(top)), typed(string(ops))...), known, "the commands of the READMEs, and those that this test types")

	dir := t.TempDir()
	for _, name := range []string{"feed", "testdata"} { // what the commands read of a clone
		path, err := filepath.Abs("../../" + name)
		require.NoError(t, err)
		require.NoError(t, os.Symlink(path, filepath.Join(dir, name)))
	}
	sh := newShell(t, dir)
	for _, st := range steps {
		command := st.command
		if st.does != "" {
			command = st.does
		}
		text, code := sh.run(command)
		assert.Regexp(t, st.shows, text, "%s", command)
		if st.exact {
			_, shown, _ := strings.Cut(string(top), "    $ "+st.command+"\n")
			shown, _, _ = strings.Cut(shown, "    $ ")
			for line := range strings.Lines(shown) {
				if line = strings.TrimPrefix(line, "    "); line != "…\n" {
					assert.Contains(t, text, line, "the README shows it")
				}
			}
		}
		assert.Zero(t, code, "%s", command)
		assert.NotContains(t, text, "Stopped", "%s", command)
	}
	text, _ := sh.run("jobs; wait; ./tickfeed health || echo end''ed")
	assert.NotContains(t, text, "Stopped")
	assert.Contains(t, text, "ended", "the drained publisher")
}
