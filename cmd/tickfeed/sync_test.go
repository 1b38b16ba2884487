package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tickfeed/codec"
	"tickfeed/codec/logto/logtest"
	"tickfeed/feed"
	"tickfeed/publisher"
)

// An outputFile stands for the file behind standard output. It looks at the position file before each operation: what
// the position says was received must be there after a power cut.
type outputFile struct {
	t     *testing.T
	mode  fs.FileMode
	state string
	bytes.Buffer
	durable int // lines that were synced, or of a pipe written
	syncs   int
	fail    error // of Sync
}

func (f *outputFile) look() {
	var held codec.Position
	b, err := os.ReadFile(f.state)
	if errors.Is(err, fs.ErrNotExist) {
		return
	}
	require.NoError(f.t, err)
	require.NoError(f.t, json.Unmarshal(b, &held))
	assert.LessOrEqual(f.t, held.Next, uint64(f.durable)+1, "a position beyond what is durable")
}

func (f *outputFile) Write(p []byte) (int, error) {
	f.look()
	n, err := f.Buffer.Write(p)
	if !f.mode.IsRegular() {
		f.durable = f.lines()
	}
	return n, err
}

func (f *outputFile) lines() int { return bytes.Count(f.Bytes(), []byte("\n")) }

func (f *outputFile) Sync() error {
	f.look()
	f.syncs++
	if f.fail != nil {
		return f.fail
	}
	f.durable = f.lines()
	return nil
}

func (f *outputFile) Name() string               { return "ticks.ndjson" }
func (f *outputFile) Stat() (fs.FileInfo, error) { return statedMode{mode: f.mode}, nil }

type statedMode struct {
	fs.FileInfo
	mode fs.FileMode
}

func (m statedMode) Mode() fs.FileMode { return m.mode }
func (m statedMode) Size() int64       { return 0 }

// A regular file on standard output is synced before the position is saved; what goes to a pipe is written before that, and
// never synced. If it cannot be synced the subscription ends with exit code 1, and the position stays behind it.
func TestOutputIsDurableBeforeThePosition(t *testing.T) {
	const n = 2000
	pub := serve(t, publisher.Config{}, "127.0.0.1:0")
	id, err := pub.Define(t.Context(), feed.Definition{Symbol: "A"})
	require.NoError(t, err)
	for i := range n - 1 {
		require.NoError(t, pub.Publish(t.Context(), []feed.Tick{feed.Quote{Bid: int64(i)}.Tick(id, noon)}))
	}
	require.NoError(t, pub.End(t.Context()))
	for _, test := range []struct {
		name string
		mode fs.FileMode
		fail error
		args []string
		code int
	}{
		{"file", 0o644, nil, nil, exitDone},
		{"file, tick by tick", 0o644, nil, []string{"--count", strconv.Itoa(n)}, exitDone},
		{"pipe", fs.ModeNamedPipe | 0o600, errors.New("a pipe cannot be synced"), nil, exitDone},
		{"terminal", fs.ModeDevice | fs.ModeCharDevice, errors.New("a terminal cannot be synced"), nil, exitDone},
		{"file on a broken disk", 0o644, errors.New("input/output error"), nil, exitFailure},
	} {
		t.Run(test.name, func(t *testing.T) {
			out := &outputFile{t: t, mode: test.mode, state: filepath.Join(t.TempDir(), "position"), fail: test.fail}
			var stderr logtest.Buffer
			code := run(append([]string{"subscribe", pub.addr, "--from", "beginning", "--until-end", "--json", "--state", out.state}, test.args...), nil, out, &stderr)
			require.Equal(t, test.code, code, stderr.String())
			out.look()
			if test.code != exitDone {
				assert.Contains(t, stderr.String(), "tickfeed: sync ticks.ndjson: input/output error; the position in --state is no longer saved\n")
				_, err := os.Lstat(out.state)
				assert.ErrorIs(t, err, fs.ErrNotExist)
				return
			}
			assert.Equal(t, n, out.lines())
			assert.Equal(t, uint64(n)+1, position(t, out.state).Next)
			assert.Equal(t, test.mode.IsRegular(), out.syncs > 0)
		})
	}
}

// A subscriber that was killed in the middle of a line, and is started again with >>, loses no tick to the half of that line.
func TestAppendedTicksBeginOnALineOfTheirOwn(t *testing.T) {
	pub := serve(t, publisher.Config{}, "127.0.0.1:0")
	id, err := pub.Define(t.Context(), feed.Definition{Symbol: "A"})
	require.NoError(t, err)
	require.NoError(t, pub.Publish(t.Context(), []feed.Tick{feed.Quote{Bid: 1}.Tick(id, noon)}))
	require.NoError(t, pub.End(t.Context()))
	for _, test := range []struct{ name, before, want string }{
		{"empty", "", ""},
		{"whole", "{}\n", "{}\n"},
		{"cut off", "{}\n{\"seq\":1,\"sy", "{}\n{\"seq\":1,\"sy\n"},
	} {
		t.Run(test.name, func(t *testing.T) {
			dir := t.TempDir()
			ticks, reports := filepath.Join(dir, "ticks"), filepath.Join(dir, "reports")
			for _, path := range []string{ticks, reports} {
				require.NoError(t, os.WriteFile(path, []byte(test.before), 0o600))
			}
			out, err := os.OpenFile(ticks, os.O_WRONLY|os.O_APPEND, 0)
			require.NoError(t, err)
			defer out.Close()
			var stderr logtest.Buffer
			require.Equal(t, exitDone, run([]string{"subscribe", pub.addr, "--from", "beginning", "--until-end", "--json", "--reports", reports}, nil, out, &stderr), stderr.String())
			text, err := os.ReadFile(ticks)
			require.NoError(t, err)
			appended, ok := strings.CutPrefix(string(text), test.want)
			require.True(t, ok, "%s", text)
			assert.Equal(t, 2, strings.Count(appended, "\n"), "%s", text)
			assert.True(t, strings.HasPrefix(appended, `{"session":`), "%s", text)
			text, err = os.ReadFile(reports)
			require.NoError(t, err)
			assert.Equal(t, test.want, string(text))
		})
	}
}

func position(t *testing.T, path string) (p codec.Position) {
	b, err := os.ReadFile(path)
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(b, &p))
	return p
}
