package main

import (
	"compress/gzip"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A named pipe that no program writes to is waited for, and said to be. What then comes is read as the file would be, whatever its
// format, and under the name of the pipe.
func TestNamedPipes(t *testing.T) {
	day, err := os.ReadFile("../../testdata/day.tick")
	require.NoError(t, err)
	dbn, err := os.ReadFile("../../feed/files/dbn/testdata/test_data.trades.v1.dbn.zst")
	require.NoError(t, err)
	temporary := t.TempDir()
	t.Setenv("TMPDIR", temporary)
	for _, c := range []struct {
		args    []string
		content []byte
		out     string
		code    int
	}{
		{[]string{"inspect", "--verify", "fifo"}, day, `^fifo: sound, .*7,848 numbers`, exitDone},
		{[]string{"inspect", "--verify", "fifo"}, dbn, `^fifo: sound, closed in order; 3 numbers`, exitDone},
		{[]string{"inspect", "fifo"}, day[:len(day)/2], `^fifo: .*not closed`, exitDone},
		{[]string{"inspect", "fifo"}, []byte("a,b\n1,2\n"), `^$`, exitData},
		{[]string{"import", "fifo", "-o", "out.tick", "--force"}, []byte(`{"time":"2026-03-02T14:30:00Z","symbol":"A","bid":1,"ask":2}`), `^$`, exitDone},
	} {
		dir := t.TempDir()
		fifo := filepath.Join(dir, "fifo")
		require.NoError(t, syscall.Mkfifo(fifo, 0o600))
		cmd := startCommand(t, dir, c.args...)
		cmd.says(t, "^waiting for fifo: nothing has come yet\n$")
		require.NoError(t, os.WriteFile(fifo, c.content, 0))
		assert.Equal(t, c.code, cmd.exit(t), cmd.err.String())
		assert.Regexp(t, c.out, cmd.out.String())
		switch {
		case c.code == exitData:
			assert.Contains(t, cmd.err.String(), "tickfeed: fifo:1: the header names no column")
		case c.args[0] == "import":
			assert.Contains(t, cmd.err.String(), "fifo: 1 row of ndjson in ")
		}
		left, err := os.ReadDir(temporary)
		require.NoError(t, err)
		assert.Empty(t, left)
	}
}

// A recording that is packed with gzip is read as it is.
func TestGzippedRecording(t *testing.T) {
	day, err := os.ReadFile("../../testdata/day.tick")
	require.NoError(t, err)
	dir := t.TempDir()
	f, err := os.Create(filepath.Join(dir, "day.tick.gz"))
	require.NoError(t, err)
	z := gzip.NewWriter(f)
	_, err = z.Write(day)
	require.NoError(t, err)
	require.NoError(t, z.Close())
	require.NoError(t, f.Close())
	assert.Contains(t, outputOf(t, dir, "inspect", "--verify", "day.tick.gz"), "day.tick.gz: sound, closed in order; 7,848 numbers")

	b, err := os.ReadFile(f.Name())
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(f.Name(), b[:len(b)/2], 0))
	cut := startCommand(t, dir, "inspect", "--verify", "day.tick.gz")
	assert.Equal(t, exitData, cut.exit(t))
	assert.Contains(t, cut.err.String(), "tickfeed: day.tick.gz: cannot be unpacked: ")
}
