package main

import (
	"bytes"
	"encoding/json"
	"flag"
	"io"
	"net"
	"os"
	"path/filepath"
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
func TestStreams(t *testing.T) {
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
		raw, err := os.ReadFile(f)
		require.NoError(t, err)
		r := codec.NewReader(bytes.NewReader(raw), 0)
		_, first, err := r.Next()
		require.NoError(t, err)
		m, err := codec.Decode(first)
		require.NoError(t, err)
		hellos = append(hellos, m.(*codec.Hello))
		streams = append(streams, raw[len(first):])
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	said := make(chan *codec.Hello, len(files))
	served := make(chan error, 1)
	go func() { served <- serveStreams(ln, streams, step, said) }()

	dir := t.TempDir()
	args := []string{
		"subscribe", ln.Addr().String(), "--json", "--raw", "--events", "--max-attempts", "1", "--from", startFlag(hellos[0].Start),
		"--slow", []string{"all", "latest", "disconnect"}[hellos[0].Slow],
	}
	if len(hellos[0].Filter) > 0 {
		args = append(args, "--symbols", strings.Join(hellos[0].Filter, ","))
	}
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
		got.Client, got.Token = want.Client, want.Token
		assert.Equal(t, want, got, "hello of %s", files[i])
	}
	return byConnection(t, out.String(), len(files))
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
