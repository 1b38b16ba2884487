package processes

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"tickfeed/codec/effort"
	"tickfeed/feed"
)

// After a power cut a file that the recorder had closed is whole, and one that it had not is readable up to a torn tail: each
// packet equals that of the publisher's journal (PROMISES.md, 33).
func TestPowerCutsOfARecorder(t *testing.T) {
	t.Parallel()
	random := chance(t)
	d := newDisk(t, t.TempDir())
	journal := filepath.Join(t.TempDir(), "journal")
	p := publish(t, lively(effort.Of(t, "50k", "10k"), "--journal", journal)...)
	var whole, open []kept
	cuts := times(t, powerCuts, 10, 4)
	for cut := range cuts {
		path := filepath.Join(d.path, fmt.Sprintf("%d.tick", cut)) // what was removed may come back
		r := record(t, p.addr, path, "--from", "beginning")
		time.Sleep(time.Duration(random.Int64N(int64(300 * time.Millisecond))))
		closed := cut%2 == 0
		if !closed { // a disk writes by itself what is older than some seconds
			d.write()
			time.Sleep(time.Duration(random.Int64N(int64(100 * time.Millisecond))))
		} else {
			require.NoError(t, r.Cmd.Process.Signal(os.Interrupt))
			require.Contains(t, []int{0, 130}, r.wait(), "%v", r.said())
		}
		d.cutPower()
		r.kill()
		d.again()
		info, err := os.Stat(path)
		switch {
		case closed:
			require.NoError(t, err, "cut %d: a recording that was closed is gone", cut)
			k := readRecording(t, path)
			assert.True(t, k.closed, "cut %d: a recording that was closed has no index", cut)
			assert.Zero(t, k.torn, "cut %d", cut)
			assert.NotEmpty(t, k.packets, "cut %d", cut)
			whole = append(whole, k)
		case err == nil && info.Size() > 0:
			k := readRecording(t, path)
			assert.False(t, k.closed, "cut %d", cut)
			open = append(open, k)
		}
		require.NoError(t, os.RemoveAll(path))
	}
	p.end()
	p.stop()
	files, err := filepath.Glob(filepath.Join(journal, "*.tick"))
	require.NoError(t, err)
	want := readRecording(t, files...)
	packets := 0
	for _, k := range append(whole, open...) {
		for first, raw := range k.packets {
			require.True(t, bytes.Equal(raw, want.packets[first]), "packet %d", first)
		}
		packets += len(k.packets)
	}
	require.NotEmpty(t, open)
	var missing []feed.Range
	for _, k := range whole {
		at := uint64(1)
		for at < k.next {
			raw, held := k.packets[at]
			if !held {
				missing = append(missing, feed.Range{From: at, To: k.next})
				break
			}
			at += countOf(raw)
		}
	}
	assert.Empty(t, missing, "missing in recordings that were closed")
	t.Logf("%d power cuts: %d closed recordings, %d open ones that were there, %d packets", cuts, len(whole), len(open), packets)
}

// write makes the disk hold all that was written to it so far.
func (d *disk) write() {
	d.t.Helper()
	f, err := os.Open(d.path)
	require.NoError(d.t, err)
	defer f.Close()
	require.NoError(d.t, unix.Syncfs(int(f.Fd())))
}

// countOf is how many numbers a packet covers, by the layout of PROTOCOL.md.
func countOf(packet []byte) (n uint64) {
	for _, b := range packet[17:25] {
		n = n<<8 | uint64(b)
	}
	return n
}
