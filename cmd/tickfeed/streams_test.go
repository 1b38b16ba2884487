package main

import (
	"bytes"
	"encoding/json"
	"flag"
	"io"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tickfeed/codec"
)

var updateStreams = flag.Bool("update", false, "write the lines beside testdata/streams anew")

// The command prints of each stream of testdata what stands beside it, whether its bytes come together or one by one, and says
// the hello that the stream answers. CLIENT.md, "Streams to test with".
func TestStreamsPrintWhatStandsBesideThem(t *testing.T) {
	files, err := filepath.Glob("../../testdata/streams/*.msgpack")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	groups := map[string][]string{}
	for _, f := range files { // sorted: -1 before -2
		name := strings.TrimSuffix(filepath.Base(f), ".msgpack")
		if i := strings.LastIndexByte(name, '-'); strings.Trim(name[i+1:], "0123456789") == "" && name != "good-65-sessions" {
			name = name[:i]
		}
		groups[name] = append(groups[name], f)
	}
	for name, files := range groups {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, step := range []int{1 << 20, 1} {
				lines := playStreams(t, name, files, step)
				require.Len(t, lines, len(files))
				for i, f := range files {
					path := strings.TrimSuffix(f, ".msgpack") + ".ndjson"
					if *updateStreams && step > 1 {
						require.NoError(t, os.WriteFile(path, []byte(lines[i]), 0o644))
					}
					want, err := os.ReadFile(path)
					require.NoError(t, err)
					assert.Equal(t, string(want), lines[i], "%s, %d bytes at a time", path, step)
				}
			}
		})
	}
}

// playStreams serves the files, one connection each, in pieces of step bytes, and returns what the command printed of each.
func playStreams(t *testing.T, name string, files []string, step int) []string {
	var streams [][]byte
	var hellos []*codec.Hello
	for _, f := range files {
		hello, stream := readStream(t, f)
		hellos, streams = append(hellos, hello), append(streams, stream)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	said := make(chan *codec.Hello, len(files))
	served := make(chan error, 1)
	go func() { served <- serveStreams(ln, streams, step, said) }()

	dir := t.TempDir()
	args := append([]string{"subscribe", ln.Addr().String(), "--json", "--raw", "--events"}, receiveFlags(hellos[0])...)
	if held := hellos[0].Position; len(held.Lineage) > 0 {
		b, err := json.Marshal(held)
		require.NoError(t, err)
		path := filepath.Join(dir, "position.json")
		require.NoError(t, os.WriteFile(path, b, 0o600))
		args = append(args, "--state", path)
	}
	if strings.HasPrefix(name, "account-") {
		args = append(args, "--ledger", "-")
	}
	if strings.HasPrefix(name, "state-") {
		args = append(args, "--final-state")
	}
	var out, told bytes.Buffer
	run(args, strings.NewReader(""), &out, &told)
	require.NoError(t, <-served, told.String())
	for i, want := range hellos {
		got := <-said
		got.Client, got.Token, got.Features = want.Client, want.Token, want.Features
		assert.Equal(t, want, got, "hello of %s", files[i])
	}
	return byConnection(t, out.String(), len(files))
}

// Each stream that a recorder accepts, or the part of it before what it refuses, stands in its recording: the readers of
// recordings give the same ticks, find it sound, and its text form comes back as the same bytes. CLIENT.md.
func TestStreamsAreRecorded(t *testing.T) {
	files, err := filepath.Glob("../../testdata/streams/*.msgpack")
	require.NoError(t, err)
	recorded := 0
	for _, f := range files {
		hello, stream := readStream(t, f)
		if len(hello.Position.Lineage) > 0 || hello.Start.Kind == codec.StartLive {
			continue // record keeps no position between runs, and begins with a state
		}
		b, err := os.ReadFile(strings.TrimSuffix(f, ".msgpack") + ".ndjson")
		require.NoError(t, err)
		printed := string(b)
		want := tickLines(t, printed)
		if len(want) == 0 {
			continue
		}
		recorded++
		t.Run(strings.TrimSuffix(filepath.Base(f), ".msgpack"), func(t *testing.T) {
			t.Parallel()
			ln, err := net.Listen("tcp", "127.0.0.1:0")
			require.NoError(t, err)
			served := make(chan error, 1)
			go func() { served <- serveStreams(ln, [][]byte{stream}, 1<<20, make(chan *codec.Hello, 1)) }()
			path := filepath.Join(t.TempDir(), "a.tick")
			args := append(receiveFlags(hello), "-o", path, ln.Addr().String())
			runCommand(t, append([]string{"record"}, args...)...)
			require.NoError(t, <-served)

			out, code := runCommand(t, "export", path, "--as", "ndjson", "--raw", "-o", "-")
			assert.Equal(t, exitDone, code)
			known := slices.DeleteFunc(slices.Clone(want), func(line string) bool { return strings.Contains(line, `"type":"kind(`) })
			assert.Equal(t, known, tickLines(t, out), "export writes the kinds that import reads")
			out, _ = runCommand(t, "inspect", path, "--ticks", "--json", "--raw")
			assert.Equal(t, want, tickLines(t, out), "inspect --ticks")
			out, code = runCommand(t, "inspect", "--verify", path)
			sound := exitDone
			if strings.Contains(printed, `"event":"lost"`) {
				sound = exitData // a number that was asked for is not there
			}
			assert.Equal(t, sound, code, out)
			if strings.Contains(printed, `"seq":1,"type":"definition"`) && !unknownWords.MatchString(printed) {
				assertImported(t, strings.TrimSuffix(f, ".msgpack")+".ndjson", known)
			}
			text, back := path+".txt", path+".back.tick"
			runCommand(t, "export", path, "-o", text)
			runCommand(t, "import", text, "-o", back)
			first, err := os.ReadFile(path)
			require.NoError(t, err)
			second, err := os.ReadFile(back)
			require.NoError(t, err)
			assert.True(t, bytes.Equal(first, second), "the text form is of other bytes")
		})
	}
	assert.Greater(t, recorded, 60)
}

// unknownWords stand in lines that import refuses: kinds, statuses and auctions without a name, and the ledger.
var unknownWords = regexp.MustCompile(`kind\(|status\(|auction\(|"sessions":`)

// assertImported imports lines that subscribe printed, events, snapshots and the final state among them: only the ticks count.
func assertImported(t *testing.T, lines string, want []string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "imported.tick")
	_, code := runCommand(t, "import", lines, "-o", path)
	assert.Equal(t, exitDone, code)
	out, _ := runCommand(t, "export", path, "--as", "ndjson", "--raw", "-o", "-")
	assert.Equal(t, valuesOf(want), valuesOf(tickLines(t, out)))
}

// An imported tick has a number, a session and a publish time of its own, and a number of a trade where its text was one.
var identity = regexp.MustCompile(`"(session|seq|ts_publish)":("[0-9a-f]*"|[0-9]+),?`)

// valuesOf are lines of ticks without what an import gives anew.
func valuesOf(lines []string) (values []string) {
	for _, line := range lines {
		values = append(values, identity.ReplaceAllString(line, ""))
	}
	return values
}

// runCommand runs the command line in this process, and returns what it printed on standard output, and the exit code.
func runCommand(t *testing.T, args ...string) (out string, code int) {
	t.Helper()
	var stdout, stderr bytes.Buffer
	code = run(args, strings.NewReader(""), &stdout, &stderr)
	if t.Failed() {
		t.Log(args, stderr.String())
	}
	return stdout.String(), code
}

// tickLines are the lines of ticks, without those of snapshots and states.
func tickLines(t *testing.T, lines string) (ticks []string) {
	for line := range strings.Lines(lines) {
		var fields map[string]any
		require.NoError(t, json.Unmarshal([]byte(line), &fields), line)
		if _, ok := fields["seq"]; ok && fields["event"] == nil {
			ticks = append(ticks, line)
		}
	}
	return ticks
}

func readStream(t *testing.T, path string) (*codec.Hello, []byte) {
	raw, err := os.ReadFile(path)
	require.NoError(t, err)
	_, first, err := codec.NewReader(bytes.NewReader(raw), 0).Next()
	require.NoError(t, err)
	m, err := codec.Decode(first)
	require.NoError(t, err)
	return m.(*codec.Hello), raw[len(first):]
}

// receiveFlags returns the flags with which subscribe and record send the hello h, apart from its position.
func receiveFlags(h *codec.Hello) []string {
	flags := []string{"--max-attempts", "1", "--from", startFlag(h.Start), "--slow", []string{"all", "latest", "disconnect"}[h.Slow]}
	if len(h.Filter) > 0 {
		flags = append(flags, "--symbols", strings.Join(h.Filter, ","))
	}
	return flags
}

func startFlag(s codec.Start) string {
	if s.Kind == codec.StartSeq {
		return "seq:" + strconv.FormatUint(s.Value, 10)
	}
	return map[codec.StartKind]string{codec.StartSnapshot: "snapshot", codec.StartLive: "live", codec.StartBeginning: "beginning"}[s.Kind]
}

// serveStreams serves one connection for each of streams, and reports the hellos.
func serveStreams(ln net.Listener, streams [][]byte, step int, said chan<- *codec.Hello) error {
	defer close(said)
	defer ln.Close()
	for i, stream := range streams {
		conn, err := ln.Accept()
		if err != nil {
			return err
		}
		if i == len(streams)-1 {
			ln.Close() // the next attempt ends the command
		}
		if err := serveStream(conn, stream, step, said); err != nil {
			return err
		}
	}
	return nil
}

func serveStream(conn net.Conn, stream []byte, step int, said chan<- *codec.Hello) error {
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(patience))
	_, raw, err := codec.NewReader(conn, codec.MaxHello).Next()
	if err != nil {
		return err
	}
	m, err := codec.Decode(raw)
	if err != nil {
		return err
	}
	said <- m.(*codec.Hello)
	if step < len(stream)/10_000 {
		step = 97 // largest packets take too long byte by byte
	}
	for part := range slices.Chunk(stream, step) {
		if _, err := conn.Write(part); err != nil {
			break // the client has refused what came before
		}
	}
	_ = conn.(*net.TCPConn).CloseWrite()
	_, _ = io.Copy(io.Discard, conn) // until the client has closed: a reset would lose what it has not read
	return nil
}

// byConnection splits what was printed after each connection. What differs from run to run is left out: the time of a save, and
// text for people.
func byConnection(t *testing.T, out string, connections int) []string {
	lines := make([]string, connections)
	i := 0
	for line := range strings.Lines(out) {
		var fields map[string]any
		require.NoError(t, json.Unmarshal([]byte(line), &fields), line)
		if fields["event"] == "saved" {
			continue
		}
		if detail, ok := fields["detail"]; ok {
			b, err := json.Marshal(detail)
			require.NoError(t, err)
			line = strings.Replace(line, `,"detail":`+string(b), "", 1)
		}
		lines[i] += line
		if fields["event"] == "disconnected" && i < connections-1 {
			i++
		}
	}
	return lines
}
