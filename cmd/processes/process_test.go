package processes

import (
	"bufio"
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"tickfeed/cmd/child"
	"tickfeed/codec/effort"
	"tickfeed/feed"
	"tickfeed/feed/scratch"
)

var (
	kills     = flag.Int("processes.kills", 0, "how often the publisher is killed; 0 for 40, or 200 with -full")
	rounds    = flag.Int("processes.rounds", 0, "how often the journal is tampered with; 0 for 20, or 50 with -full")
	cuts      = flag.Int("processes.cuts", 0, "how often the power of a disk is cut; 0 for 10, or 50 with -full")
	powerCuts = flag.Int("processes.client-cuts", 0, "how often the power of a subscriber's and a recorder's disk is cut; 0 for 4, or 10 with -full")
	seed      = flag.Uint64("processes.seed", 0, "of all choices; 0 for a random one")
)

// patience bounds every wait for something that must happen soon: within seconds, on an idle machine.
const patience = 2 * time.Minute

// times returns how often a test does what the flag asks, or effort where the flag is 0.
func times(t *testing.T, flag *int, all, usual int) int {
	t.Helper()
	if *flag != 0 {
		return *flag
	}
	return effort.Of(t, all, usual)
}

// binary is the program under examination, built once.
var binary struct {
	once sync.Once
	dir  *scratch.Dir
	path string
	err  error
}

func TestMain(m *testing.M) {
	if err := flag.Set("test.parallel", "4"); err != nil { // they wait more than they compute; -parallel on the command line overrides it
		panic(err)
	}
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) { // PROMISES.md, 29
		_ = binary.dir.Remove()
		os.Exit(code)
	}))
}

// tickfeed is the path of the binary; the test is skipped with -short.
func tickfeed(t *testing.T) string {
	t.Helper()
	if testing.Short() {
		t.Skip("-short: this test starts processes")
	}
	binary.once.Do(func() {
		if binary.dir, binary.err = scratch.New("", "processes"); binary.err != nil {
			return
		}
		binary.path = filepath.Join(binary.dir.Path, "tickfeed.exe")
		out, err := exec.Command("go", "build", "-o", binary.path, "tickfeed/cmd/tickfeed").CombinedOutput()
		if err != nil {
			binary.err = fmt.Errorf("go build: %w\n%s", err, out)
		}
	})
	require.NoError(t, binary.err)
	return binary.path
}

// chance is the random source of a test; the log tells how to repeat it.
func chance(t *testing.T) *rand.Rand {
	s := *seed
	if s == 0 {
		s = rand.Uint64()
	}
	t.Logf("repeat with -run '^%s$' -processes.seed %d", t.Name(), s)
	return rand.New(rand.NewPCG(s, 0))
}

// A process is a tickfeed at work, or another program. It ends with the test at the latest.
type process struct {
	*child.Process
	t      *testing.T
	stdout bytes.Buffer // to be read once Done is closed, unless the process was given another output
	killed bool         // by the test

	mu    sync.Mutex
	lines []string      // of standard error
	more  chan struct{} // closed and replaced when there is another line
}

// start starts cmd. Its standard output is kept unless cmd names one.
func start(t *testing.T, cmd *exec.Cmd) *process {
	t.Helper()
	p := &process{t: t, more: make(chan struct{})}
	cmd.Env = append(cmd.Env, child.Environ()...)
	if cmd.Stdout == nil {
		cmd.Stdout = &p.stdout
	}
	var err error
	p.Process, err = child.Start(cmd, child.Options{Stdin: true, Stderr: p.listen})
	require.NoError(t, err)
	t.Cleanup(func() {
		killed := p.killed
		p.kill()
		if t.Failed() && !killed {
			p.mu.Lock()
			defer p.mu.Unlock()
			t.Logf("%s said last:\n%s", strings.Join(cmd.Args, " "), strings.Join(p.lines[max(0, len(p.lines)-20):], "\n"))
		}
	})
	return p
}

func (p *process) listen(stderr io.Reader) {
	lines := bufio.NewScanner(stderr)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		p.mu.Lock()
		p.lines = append(p.lines, lines.Text())
		close(p.more)
		p.more = make(chan struct{})
		p.mu.Unlock()
	}
}

// kill ends the process as a crash would, and waits for it.
func (p *process) kill() {
	p.killed = true
	_ = p.Kill() // it may have ended
}

// wait waits until the process has ended by itself, and returns its exit code.
func (p *process) wait() int {
	p.t.Helper()
	select {
	case <-p.Done():
	case <-time.After(patience):
		require.FailNow(p.t, "still running", "%s", strings.Join(p.Cmd.Args, " "))
	}
	return p.Cmd.ProcessState.ExitCode()
}

// said is everything on standard error so far.
func (p *process) said() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.lines[:len(p.lines):len(p.lines)]
}

// line waits for a line of standard error, from number from on, that is wanted. It is false
// if the process ended without one.
func (p *process) line(from int, want func(string) bool) (string, bool) {
	p.t.Helper()
	timeout := time.After(patience)
	for {
		p.mu.Lock()
		lines, more := p.lines, p.more
		p.mu.Unlock()
		for ; from < len(lines); from++ {
			if want(lines[from]) {
				return lines[from], true
			}
		}
		select {
		case <-more:
		case <-p.Done():
			if from == len(p.said()) {
				return "", false
			}
		case <-timeout:
			require.FailNow(p.t, "not said in time", "%s", strings.Join(p.Cmd.Args, " "))
		}
	}
}

// An event is a line of a publisher's log, as far as the tests look at it.
type event struct {
	Message  string         `json:"message"`
	Listen   string         `json:"listen"`
	Session  feed.SessionID `json:"session"`
	First    uint64         `json:"first"`
	Remote   string         `json:"remote"`
	Torn     int64          `json:"torn_bytes"`
	Sessions int            `json:"sessions"`
	Head     uint64         `json:"head"`
	Client   string         `json:"client"`
	Next     uint64         `json:"next"`
	Of       string         `json:"of"` // message of the lines that were only counted
	More     int            `json:"more"`
}

// joined returns how many times subscribers joined, by the lines of a log that has ended.
func joined(lines []string) (n int) {
	const message = "subscriber joined"
	for _, line := range lines {
		switch e, _ := parse(line); {
		case e.Message == message:
			n++
		case e.Of == message:
			n += e.More
		}
	}
	return n
}

func parse(line string) (e event, ok bool) {
	err := json.Unmarshal([]byte(line), &e)
	return e, err == nil
}

// event waits for a line of the log, from number from on, with that message.
func (p *process) event(from int, message string) (event, bool) {
	p.t.Helper()
	line, ok := p.line(from, func(s string) bool {
		e, ok := parse(s)
		return ok && e.Message == message
	})
	e, _ := parse(line)
	return e, ok
}

// A publisher is a process of "tickfeed publish" that listens.
type publisher struct {
	*process
	addr    string
	session feed.SessionID
	first   uint64 // of the session
	root    bool   // the journal knew of no session before it
	torn    int64  // bytes that recovery cut from the journal
}

// publish starts a publisher with args, which listens on a port of its own choice unless args
// name one, and waits until it listens.
func publish(t *testing.T, args ...string) *publisher {
	t.Helper()
	p := startPublisher(t, args...)
	listening, ok := p.event(0, "listening")
	require.True(t, ok, "the publisher ended: %v", p.said())
	session, _ := p.event(0, "session")
	p.addr, p.session, p.first, p.root = listening.Listen, session.Session, session.First, true
	for _, line := range p.said() {
		if e, ok := parse(line); ok && e.Message == "recovered" {
			p.root, p.torn = false, e.Torn
		}
	}
	return p
}

// startPublisher is publish without waiting.
func startPublisher(t *testing.T, args ...string) *publisher {
	t.Helper()
	return startPublisherBy(t, nil, args...)
}

// startPublisherBy is startPublisher by way of another command, which is to start the one that follows.
func startPublisherBy(t *testing.T, by []string, args ...string) *publisher {
	t.Helper()
	all := []string{"publish", "--log-format", "json", "--status", "0", "--stdin-orders"}
	listens := false
	for _, a := range args {
		listens = listens || a == "--listen"
	}
	if !listens {
		all = append(all, "--listen", "127.0.0.1:0")
	}
	all = append(append(append(by, tickfeed(t)), all...), args...)
	return &publisher{process: start(t, exec.Command(all[0], all[1:]...))}
}

// end orders the publisher to end its source.
func (p *publisher) end() {
	p.t.Helper()
	_, err := io.WriteString(p.Stdin, "end\n")
	require.NoError(p.t, err)
}

// stop lets the publisher end in order, and returns the number after the last one.
func (p *publisher) stop() (head uint64) {
	p.t.Helper()
	require.NoError(p.t, p.Stdin.Close())
	require.Equal(p.t, 0, p.wait(), "exit code of a publisher that was stopped")
	e, ok := p.event(0, "stopped")
	require.True(p.t, ok)
	return e.Head
}

// livelyHeartbeat is the heartbeat interval of publishers with the flags lively.
const livelyHeartbeat = 500 * time.Millisecond

// lively are flags of a small market that is under load from its first moment; rate may be max.
func lively(rate string, more ...string) []string {
	args := []string{"--instruments", "20", "--rate", rate, "--sync", "none", "--heartbeat", livelyHeartbeat.String(), "--memory", "8MiB"}
	if rate != "max" {
		args = append(args, "--steady")
	}
	return append(args, more...)
}

const mebibyte = 1 << 20

// journalled is how long the one file of the journal is.
func journalled(t *testing.T, dir string) int64 {
	files, err := filepath.Glob(filepath.Join(dir, "*.tick"))
	if !assert.NoError(t, err) || !assert.Len(t, files, 1) {
		return 0
	}
	info, err := os.Stat(files[0])
	if !assert.NoError(t, err) {
		return 0
	}
	return info.Size()
}
