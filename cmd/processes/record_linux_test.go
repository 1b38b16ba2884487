package processes

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tickfeed/codec/effort"
	"tickfeed/codec/recording"
)

// A recorder whose disk is full, here one whose file may not grow, says so, waits, and goes on by itself; nothing is missing.
func TestRecorderWaitsForRoom(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	journal, path := filepath.Join(dir, "journal"), filepath.Join(dir, "a.tick")
	p := publish(t, lively(effort.Of(t, "50k", "10k"), "--journal", journal)...)
	r := record(t, p.addr, path, "--from", "beginning", "--until-end")
	for range 3 {
		before := len(r.said())
		info, err := os.Stat(path)
		require.NoError(t, err)
		limitFiles(t, r, uint64(info.Size())+20_000)
		_, ok := r.line(before, func(s string) bool { return strings.Contains(s, "waiting for room") })
		require.True(t, ok, "the recorder ended: %v", r.said())
		limitFiles(t, r, ^uint64(0))
		_, ok = r.line(before, func(s string) bool { return strings.Contains(s, "recording continues") })
		require.True(t, ok, "the recorder ended: %v", r.said())
	}
	p.end()
	require.Equal(t, 0, r.wait(), "%v", r.said())
	final := p.stop()
	files, err := filepath.Glob(filepath.Join(journal, "*.tick"))
	require.NoError(t, err)
	assert.Equal(t, readRecording(t, files...).packets, readRecording(t, path).packets)
	assert.Equal(t, final, readRecording(t, path).next)
}

// A recorder that is interrupted where the disk is full says that the file has no index, and leaves none that has nothing.
func TestRecorderInterruptedWithoutRoom(t *testing.T) {
	t.Parallel()
	const noHeader = 100 // bytes; the first packet of a publisher that has only begun is not longer
	for name, room := range map[string]uint64{"in the file": 200_000, "before its first packet": noHeader} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			addr, path := "unix:"+filepath.Join(dir, "p.sock"), filepath.Join(dir, "a.tick")
			r := start(t, exec.Command(tickfeed(t), "record", addr, "-o", path))
			_, ok := r.line(0, func(s string) bool { return strings.Contains(s, "cannot connect") })
			require.True(t, ok, "%v", r.said())
			limitFiles(t, r, room)
			p := publish(t, lively("50k", "--listen", addr)...)
			_, ok = r.line(0, func(s string) bool { return strings.Contains(s, "waiting for room") })
			require.True(t, ok, "%v", r.said())
			require.NoError(t, r.Cmd.Process.Signal(os.Interrupt))
			code := r.wait()
			p.stop()
			assert.Equal(t, 1, code, "what could not be written comes before the signal: %v", r.said())
			if room == noHeader {
				assert.NoFileExists(t, path)
				return
			}
			_, ok = r.line(0, func(s string) bool { return strings.Contains(s, "has no index, because the last write failed") })
			assert.True(t, ok, "%v", r.said())
			k := readRecording(t, path)
			assert.NotEmpty(t, k.packets)
			assert.False(t, k.closed)
		})
	}
}

// Ticks that the publisher no longer keeps when the recorder asks for them are in the recording as gone, followed by the state
// after them, and the exit code is 3.
func TestRecorderTellsWhatIsGone(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "a.tick")
	p := publish(t, "--instruments", "20", "--rate", "100k", "--heartbeat", "100ms", "--memory", "1MiB", "--status", "50ms")
	r := record(t, p.addr, path, "--until-end")
	waitForBytes(t, path, 50_000)
	require.NoError(t, r.Cmd.Process.Signal(syscall.SIGSTOP))
	at := readRecording(t, path).next
	_, ok := p.line(0, func(s string) bool { // 1 MiB is less than a third of that
		e, _ := parse(s)
		return e.Message == "status" && e.Head > at+200_000
	})
	require.True(t, ok, "the publisher ended: %v", p.said())
	require.NoError(t, r.Cmd.Process.Signal(syscall.SIGCONT))
	_, ok = r.line(0, func(s string) bool { return strings.HasPrefix(s, "lost [") })
	require.True(t, ok, "%v", r.said())
	p.end()
	require.Equal(t, 3, r.wait(), "%v", r.said())
	final := p.stop()
	assert.Equal(t, final, readRecording(t, path).next)

	f, err := recording.Open(path)
	require.NoError(t, err)
	defer f.Close()
	x, err := f.Reader()
	require.NoError(t, err)
	ts := recording.NewTicks(x, nil)
	for err == nil {
		_, err = ts.Next()
	}
	assert.Greater(t, ts.Stats().Gone, uint64(10_000))
	x, err = f.Reader()
	require.NoError(t, err)
	snapshots := 0
	for err == nil {
		var item recording.Item
		if item, err = x.Next(); err == nil && item.Kind == recording.KindSnapshot && item.Whole {
			snapshots++
		}
	}
	assert.GreaterOrEqual(t, snapshots, 2, "one at the beginning, one after what is gone")
}
