package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"tickfeed/cmd/bench"
)

// A shell is an interactive bash in a pseudo-terminal of 80 columns, as a person has it: with job control.
type shell struct {
	t      *testing.T
	master *os.File
	cmd    *exec.Cmd

	mu   sync.Mutex
	text []byte // what appeared on the terminal
	read int    // how much of text was looked at
}

// prompt is what the shell shows when it waits for a command: the exit code of the last one, and how many jobs there are.
var prompt = regexp.MustCompile(`@(\d+)@ `)

// terminalWait bounds how long something may take to appear.
const terminalWait = 50 * time.Second

// newShell starts a shell in dir, where ./tickfeed is this command, with unix sockets in dir instead of its default addresses.
func newShell(t *testing.T, dir string) *shell {
	bash, err := exec.LookPath("bash")
	if err != nil {
		t.Skip("there is no bash, which runs what a person would type")
	}
	tickfeed, err := exec.LookPath("tickfeed")
	require.NoError(t, err)
	shim := "#!" + bash + `
args=()
for a; do case $a in localhost) a=unix:c.sock;; localhost:8426) a=unix:l.sock;; esac; args+=("$a"); done
set -- "${args[@]}"
case $1 in
lab) set -- lab --upstream unix:p.sock --listen unix:l.sock "${@:2}";;
replay) set -- "$@" --http unix:c.sock;;
health|top) [[ $* = *unix:* ]] || set -- "$@" unix:c.sock;;
subscribe|record) [[ $* = *unix:l.sock* ]] || set -- "$@" unix:p.sock;;
esac
exec -a tickfeed ` + tickfeed + ` "$@"
`
	require.NoError(t, os.WriteFile(filepath.Join(dir, "tickfeed"), []byte(shim), 0o755))

	master, slave := newTerminal(t)
	defer slave.Close()

	s := &shell{t: t, master: master, cmd: exec.Command(bash, "--norc", "--noprofile", "--noediting", "-i")}
	s.cmd.Dir = dir
	s.cmd.Env = append(os.Environ(), "PS1=@$?@ ", "TERM=xterm", "NO_COLOR=1", "TZ=UTC", "TICKFEED_LISTEN=unix:p.sock",
		"TICKFEED_ADDR=unix:c.sock")
	s.cmd.Stdin, s.cmd.Stdout, s.cmd.Stderr = slave, slave, slave
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	require.NoError(t, s.cmd.Start())
	done := make(chan struct{})
	go func() {
		defer close(done)
		b := make([]byte, 4096)
		for {
			n, err := master.Read(b)
			s.mu.Lock()
			s.text = append(s.text, b[:n]...)
			s.mu.Unlock()
			if err != nil {
				return // EIO: no process has the terminal any more
			}
		}
	}()
	t.Cleanup(func() {
		if t.Failed() {
			s.mu.Lock()
			t.Logf("the end of what the terminal showed:\n%q", s.text[max(0, len(s.text)-4000):])
			s.mu.Unlock()
		}
		s.killJobs()
		_ = s.cmd.Process.Kill()
		_ = s.cmd.Wait()
		<-done
		master.Close()
	})
	s.expect(prompt)
	return s
}

// newTerminal returns both sides of a pseudo-terminal of 80 columns; the slave is what a process has.
func newTerminal(t *testing.T) (master, slave *os.File) {
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Skipf("there are no pseudo-terminals here: %v", err)
	}
	fd := int(master.Fd())
	require.NoError(t, unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0))
	n, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	require.NoError(t, err)
	require.NoError(t, unix.IoctlSetWinsize(fd, unix.TIOCSWINSZ, &unix.Winsize{Row: 24, Col: 80}))
	slave, err = os.OpenFile("/dev/pts/"+strconv.Itoa(n), os.O_RDWR|syscall.O_NOCTTY, 0)
	require.NoError(t, err)
	t.Cleanup(func() { // a caller that drops master must not have it closed by the garbage collector, which is a hangup
		_ = master.Close()
		_ = slave.Close()
	})
	return master, slave
}

// killJobs ends what the shell has left: the processes of its session.
func (s *shell) killJobs() {
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, path := range stats {
		b, err := os.ReadFile(path)
		if err != nil {
			continue
		}
		fields := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:]))
		pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(path)))
		if len(fields) > 3 && fields[3] == strconv.Itoa(s.cmd.Process.Pid) {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
	}
}

// resize gives the terminal another width.
func (s *shell) resize(columns int) {
	require.NoError(s.t, unix.IoctlSetWinsize(int(s.master.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: 24, Col: uint16(columns)}))
}

func (s *shell) send(text string) {
	_, err := io.WriteString(s.master, text)
	require.NoError(s.t, err)
}

// expect waits until what appeared since the last call matches, and returns it.
func (s *shell) expect(re *regexp.Regexp) string {
	s.t.Helper()
	for deadline := time.Now().Add(terminalWait); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		s.mu.Lock()
		unread := string(s.text[s.read:])
		if m := re.FindStringIndex(unread); m != nil {
			s.read += m[1]
			s.mu.Unlock()
			return unread[:m[1]]
		}
		s.mu.Unlock()
	}
	require.FailNow(s.t, "did not appear", "%s", re)
	return ""
}

// run types a command and returns what appeared until the next prompt, and the exit code.
func (s *shell) run(command string) (string, int) {
	s.t.Helper()
	s.send(command + "\n")
	return s.prompted()
}

// prompted waits for the next prompt and returns what appeared until then, and the exit code.
func (s *shell) prompted() (string, int) {
	s.t.Helper()
	text := s.expect(prompt)
	code, err := strconv.Atoi(prompt.FindStringSubmatch(text)[1])
	require.NoError(s.t, err)
	return strings.ReplaceAll(text, "\r", ""), code
}

// A replay is raw in the foreground only: Ctrl-Z stops it and gives the shell its terminal back, bg lets it go on without a
// status line, and after fg its keys work again, whether or not the shell had to continue it.
func TestReplayJobControl(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	day, err := os.ReadFile("../../testdata/day.tick")
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "day.tick"), day, 0o644))
	sh := newShell(t, dir)
	status := regexp.MustCompile(`(?:playing|paused) market 14:\d\d:\d\d, \d+ % to 21:00:00, 1x, \? for keys`)
	modes := func() string {
		text, _ := sh.run("stty -a | tr ';' '\\n' | grep -o -- '-*icanon\\|-*echo\\b'")
		return text
	}
	cooked := modes()
	require.Regexp(t, `\nicanon\n`, cooked)

	sh.send("./tickfeed replay day.tick --paused\n")
	sh.expect(regexp.MustCompile(`paused market 14:29:59, 0 % to 21:00:00, 1x, \? for keys, 0 subscribers`))
	sh.send("\x1a")
	text, _ := sh.prompted()
	require.Contains(t, text, "Stopped")
	require.Equal(t, cooked, modes())

	_, code := sh.run("bg")
	require.Zero(t, code)
	_, code = sh.run("./tickfeed control pause")
	require.Zero(t, code)
	text, _ = sh.run("jobs")
	require.Contains(t, text, "Running")
	require.Equal(t, cooked, modes())

	sh.send("fg\n")
	sh.expect(regexp.MustCompile(`paused market 14:29:59`))
	sh.send(" ") // resume
	sh.expect(regexp.MustCompile(`playing market 14:`))
	sh.send("?")
	sh.expect(regexp.MustCompile(`q +quit +Ctrl-C +quit, exit code 130`))
	sh.send("\x1a")
	require.Contains(t, sh.expect(prompt), "Stopped")

	sh.send("fg\n")
	sh.expect(status)
	sh.send("q")
	text, code = sh.prompted()
	assert.Contains(t, text, "stopped at 2026")
	assert.Zero(t, code)
	assert.Equal(t, cooked, modes())

	// One that begins in the background.
	_, code = sh.run("./tickfeed replay day.tick --paused &")
	require.Zero(t, code)
	_, code = sh.run("until ./tickfeed control status; do sleep 0.01; done")
	require.Zero(t, code)
	sh.send("fg\n")
	sh.expect(regexp.MustCompile(`paused market 14:29:59`))
	sh.send("\x03")
	_, code = sh.prompted()
	assert.Equal(t, exitInterrupted, code)
	assert.Equal(t, cooked, modes())
}

// Parts of text that a terminal does not show: colours, and the clearing of a line, which then begins anew.
var (
	coloursSet  = regexp.MustCompile(`\x1b\[[0-9;]*m`)
	lineEndings = regexp.MustCompile(`[\r\n]+|\x1b\[[0-9]*[AJK]`)
)

// assertFits checks that no line of text is broken by a terminal of so many columns.
func assertFits(t *testing.T, text string, columns int, what string) {
	t.Helper()
	for _, line := range lineEndings.Split(coloursSet.ReplaceAllString(text, ""), -1) {
		assert.LessOrEqual(t, utf8.RuneCountInString(line), columns, "%s: %q", what, line)
	}
}

// Text for people fits the terminal: no word is broken at 80, 100 and 132 columns.
func TestTerminalWidth(t *testing.T) {
	if testing.Short() {
		t.Skip("takes some seconds")
	}
	dir := t.TempDir()
	day, err := os.ReadFile("../../testdata/day.tick")
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "day.tick"), day, 0o644))
	day[len(day)/2] ^= 1
	require.NoError(t, os.WriteFile(filepath.Join(dir, "damaged.tick"), day, 0o644))
	rows := "time,symbol,bid,ask\n2026-03-02T14:30:00Z,A,1,2\nnonsense\n"
	require.NoError(t, os.WriteFile(filepath.Join(dir, "bad.csv"), []byte(rows), 0o644))
	commands := []string{
		"inspect day.tick", "inspect damaged.tick", "inspect --verify day.tick damaged.tick", "inspect --at 14:30 day.tick", "inspect --packets damaged.tick",
		"import bad.csv -o x.tick --force", "import bad.csv -o x.tick --force --skip-bad 1", "export damaged.tick -o x.csv --force", "cut day.tick --to 14:31 -o x.tick --force",
		"merge day.tick day.tick -o x.tick --force", "merge day.tick day.tick --by-time -o x.tick --force", "version", "control status",
		"pubish", "replay nothing.tick", "publish --rate many", "publish --listen :8425 --token-file nothing", "inspect --verify --packets day.tick", "cut day.tick -o x.tick --from 2031-01-01T00:00", "subscribe --from nowhere --max-attempts 1",
		"subscribe --max-attempts 2 --max-backoff 1ms", "TICKFEED_RATEE=1 version", "help formats", "help scenarios", "help",
		"publish --check", "publish --check --scenario luld --users nothing", "publish --list", "inspect --facts day.tick", "exam --show recover-dropped-tick",
	}
	for _, name := range []string{"bench", "completion", "control", "cut", "demo", "export", "import", "inspect", "merge", "publish", "record", "replay", "sim", "subscribe", "version"} {
		commands = append(commands, "help "+name)
	}
	sh := newShell(t, dir)
	for _, columns := range []int{80, 100, 132} {
		sh.resize(columns)
		for _, command := range commands {
			line := "./tickfeed " + command
			if strings.HasPrefix(command, "TICKFEED_") {
				line = strings.Replace(command, " ", " ./tickfeed ", 1)
			}
			text, code := sh.run(line)
			_, shown, _ := strings.Cut(text, "\n") // what was typed
			assertFits(t, shown, columns, fmt.Sprintf("%d columns: %s", columns, command))
			assert.NotEqual(t, 127, code, command)
		}

		sh.send("./tickfeed subscribe --max-backoff 1ms\n")
		sh.expect(regexp.MustCompile(`trying again[^@]*would\s+give\s+up`))
		sh.send("\x03")
		text, code := sh.prompted()
		assert.Equal(t, exitInterrupted, code)
		assertFits(t, text, columns, "what follows ^C")

		// Text that changes while it is shown.
		sh.send("./tickfeed demo --duration 1s --every 300ms\n")
		sh.expect(regexp.MustCompile(`\n`))
		text, code = sh.prompted()
		require.Zero(t, code)
		assertFits(t, text, columns, "demo")
		for _, clock := range []string{"market", "publish"} {
			sh.send("./tickfeed replay day.tick --clock " + clock + " --speed 10x\n")
			sh.expect(regexp.MustCompile(`\n`))
			text := sh.expect(regexp.MustCompile(`playing .* market \d\d:\d\d:\d\d.*, 10x, \? for keys|playing market \d\d:\d\d:\d\d, \d+ % to 21:00:00, 10x, \? for keys`))
			sh.send("?")
			text += sh.expect(regexp.MustCompile(`exit code 130`))
			sh.send("q")
			rest, code := sh.prompted()
			require.Zero(t, code)
			assertFits(t, text+rest, columns, "replay by "+clock)
		}
	}
}

// A terminal that becomes narrower while a replay runs has a shorter status line, and nothing left of the longer one.
func TestReplayFollowsTheWidth(t *testing.T) {
	dir := t.TempDir()
	day, err := os.ReadFile("../../testdata/day.tick")
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "day.tick"), day, 0o644))
	sh := newShell(t, dir)
	sh.resize(132)
	sh.send("./tickfeed replay day.tick --paused\n")
	sh.expect(regexp.MustCompile(`paused market 14:29:59, 0 % to 21:00:00, 1x, \? for keys, 0 subscribers, seq 1`))
	sh.resize(60)
	text := sh.expect(regexp.MustCompile(`\x1b\[1A\x1b\[Jpaused market 14:29:59, 0 % to 21:00:00, 1x, \? for keys\r`))
	assert.NotRegexp(t, `\x1b\[1A.*\x1b\[1A`, text, "once")
	sh.resize(132)
	sh.expect(regexp.MustCompile(`\r\x1b\[Kpaused market 14:29:59, 0 % to 21:00:00, 1x, \? for keys, 0 subscribers, seq 1`))
	sh.send("q")
	_, code := sh.prompted()
	assert.Zero(t, code)
}

// A benchmark writes its table only where there is room for it.
func TestBenchFitsTerminal(t *testing.T) {
	for _, columns := range []uint16{80, bench.TableWidth - 1, bench.TableWidth} {
		master, slave := newTerminal(t)
		require.NoError(t, unix.IoctlSetWinsize(int(slave.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: 24, Col: columns}))
		p := &program{stdout: slave}
		var cfg bench.Config
		p.benchOutput(&cfg, false, func(write func() error) { assert.NoError(t, write()) })
		cfg.Machine(&bench.Machine{Processors: 2, Platform: "linux/amd64", Go: "go1.26", Ticks: "sim", Held: 65_500, TickSize: 27.6, FixedWidth: 1})
		cfg.Figure(&bench.Figure{Scenario: "throughput", Name: "1 subscriber, 100 ticks a call", Unit: bench.TicksPerSecond,
			Measured: bench.NewSpread([]float64{34e6, 35e6, 36e6}), Limit: bench.NewSpread([]float64{145e6}), Against: "raw TCP", Ratio: bench.NewSpread([]float64{0.24})})
		b := make([]byte, 4096)
		var text string
		for !strings.Contains(text, "0.24") {
			n, err := master.Read(b)
			require.NoError(t, err)
			text += string(b[:n])
		}
		text = strings.ReplaceAll(text, "\r", "")
		assertFits(t, text, int(columns), fmt.Sprint(columns))
		assert.Equal(t, columns >= bench.TableWidth, strings.Contains(text, "measured (range)"))
	}
}

// Each of standard output and standard error has colours if it is a terminal that can show them, and if nobody has asked for none.
func TestTerminalColours(t *testing.T) {
	dir := t.TempDir()
	day, err := os.ReadFile("../../testdata/day.tick")
	require.NoError(t, err)
	day[len(day)/2] ^= 1
	require.NoError(t, os.WriteFile(filepath.Join(dir, "damaged.tick"), day, 0o644))
	sh := newShell(t, dir)
	const redError, redFile = "\x1b[31mtickfeed: \x1b[0m", "\x1b[31mdamaged.tick: damaged in "
	for _, c := range []struct {
		environment, pipe  string
		onOutput, onErrors bool
	}{
		{"NO_COLOR=", "", true, true},
		{"NO_COLOR=1", "", false, false},
		{"NO_COLOR= TERM=dumb", "", false, false},
		{"NO_COLOR= ", "2>&1 | cat", false, false},
		{"NO_COLOR= ", "| cat", false, true},
		{"NO_COLOR= ", "2>errors; cat errors", true, false},
		{"NO_COLOR= TICKFEED_COLOR=never", "", false, false},
		{"NO_COLOR=1 TICKFEED_COLOR=always", "2>&1 | cat", true, true},
	} {
		text, _ := sh.run("export " + c.environment + "; ./tickfeed inspect --verify damaged.tick nothing.tick " + c.pipe)
		sh.run("unset TICKFEED_COLOR; export TERM=xterm")
		assert.Equal(t, c.onOutput, strings.Contains(text, redFile), "%s %s: %q", c.environment, c.pipe, text)
		assert.Equal(t, c.onErrors, strings.Contains(text, redError), "%s %s: %q", c.environment, c.pipe, text)
		assert.Contains(t, text, "nothing.tick: no such file")
	}
	text, code := sh.run("export NO_COLOR=; ./tickfeed demo --duration 3s --every 1s")
	require.Zero(t, code)
	assert.Contains(t, text, "\x1b[33mFAULT: ")
	assert.Regexp(t, `\x1b\[32m  \w+ recovered by `, text)
	assert.Contains(t, text, "\x1b[32mEvery number is accounted for")
	text, _ = sh.run("./tickfeed replay nothing.tick --log-format json")
	assert.NotContains(t, text, "\x1b", "JSON has no colours")
}

// A command whose terminal was closed ends as one does whose reader has gone: that is no failure, and the demo leaves nothing behind.
func TestTerminalIsClosed(t *testing.T) {
	temporary := t.TempDir()
	t.Setenv("TMPDIR", temporary)
	publisher := t.TempDir()
	startCommand(t, publisher, "publish", "--listen", "unix:p.sock", "--status", "0")
	for _, args := range [][]string{{"demo", "--duration", "1h"}, {"subscribe", "unix:p.sock"}} {
		master, slave := newTerminal(t)
		c := newCommand(publisher, args...)
		c.Stdout = slave
		c.start(t)
		require.NoError(t, slave.Close())
		_, err := io.ReadFull(master, make([]byte, 100))
		require.NoError(t, err)
		require.NoError(t, master.Close())
		assert.Equal(t, exitDone, c.exit(t), "%v: %s", args, c.err.String())
		assert.NotContains(t, c.err.String(), "tickfeed: ")
	}
	left, err := os.ReadDir(temporary)
	require.NoError(t, err)
	assert.Empty(t, left)
}

// A subscription obeys commands on its terminal in the foreground. In the background it reads nothing, and so is not stopped; without
// --commands it leaves what is typed to the shell.
func TestSubscribeCommandsJobControl(t *testing.T) {
	dir := t.TempDir()
	sh := newShell(t, dir)
	_, code := sh.run("./tickfeed publish --rate 1k --instruments 20 2>/dev/null &")
	require.Zero(t, code)

	sh.send("./tickfeed subscribe --quiet --symbols MSFT --commands\n")
	sh.expect(regexp.MustCompile(`live: receiving`))
	sh.send("symbols AAPL\n")
	sh.expect(regexp.MustCompile(`symbols AAPL from number \d+ on`))
	sh.send("\x1a")
	text, _ := sh.prompted()
	require.Contains(t, text, "Stopped")

	_, code = sh.run("bg")
	require.Zero(t, code)
	text, _ = sh.run("echo type''ahead")
	require.Contains(t, text, "typeahead", "the shell has its terminal")
	text, _ = sh.run("jobs")
	require.NotContains(t, text, "Stopped")
	sh.send("fg\n")
	sh.send("symbols ES*\n")
	sh.expect(regexp.MustCompile(`symbols ES\* from number \d+ on`))
	sh.send("\x04") // the end of the input
	sh.send("\x03")
	text, code = sh.prompted()
	require.Contains(t, text, "account: ")
	require.Equal(t, exitInterrupted, code)

	sh.send("./tickfeed subscribe --quiet --count 100\necho type''ahead\n")
	sh.expect(regexp.MustCompile(`account: 100 ticks`))
	sh.expect(regexp.MustCompile(`typeahead`))
	sh.expect(prompt)
}

// At a terminal in the foreground, publish and lab say that they read lines, and answer them. In the background they do not ask.
func TestRulesAtTerminal(t *testing.T) {
	t.Parallel()
	sh := newShell(t, t.TempDir())
	for command, list := range map[string]string{
		"publish --scenario flash-crash --status 0": `1  not yet  at 30s: rate ramp x1 x6 in 30s\r\n  2  not yet  at 30s: crash`,
		"lab --rule 'on x: cut'":                    `1  not yet  on x: cut`,
	} {
		sh.send("./tickfeed " + command + "\n")
		sh.expect(regexp.MustCompile(linesHint))
		sh.send("list\n")
		sh.expect(regexp.MustCompile(list))
		sh.send("help\n")
		sh.expect(regexp.MustCompile(`remove N\|NAME\|all   remove rule N`))
		sh.send("halt for\n")
		sh.expect(regexp.MustCompile(`\n(?:no instrument|a rule begins)`))
		sh.send("\x03")
		_, code := sh.prompted()
		assert.Equal(t, exitInterrupted, code)
	}
	text, code := sh.run("./tickfeed lab --duration 50ms & wait %1")
	assert.Zero(t, code)
	assert.Contains(t, text, "listening on unix:l.sock")
	assert.NotContains(t, text, linesHint)
}
