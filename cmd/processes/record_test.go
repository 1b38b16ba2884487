package processes

import (
	"bytes"
	"fmt"
	"io"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tickfeed/codec/effort"
	"tickfeed/codec/recording"
	"tickfeed/feed"
)

// record starts a recorder of the publisher at addr that writes to path, and waits until it has begun.
func record(t *testing.T, addr, path string, args ...string) *process {
	t.Helper()
	p := start(t, exec.Command(tickfeed(t), append([]string{"record", addr, "-o", path}, args...)...))
	waitForBytes(t, path, 1)
	return p
}

// A kept is what a recording holds.
type kept struct {
	packets map[uint64][]byte // by first number
	next    uint64
	closed  bool
	torn    int64
}

// readRecording reads recordings that follow one another: numbers join, and nothing is damaged but a torn end.
func readRecording(t *testing.T, paths ...string) kept {
	t.Helper()
	k := kept{packets: make(map[uint64][]byte)}
	for _, path := range paths {
		f, err := recording.Open(path)
		require.NoError(t, err)
		defer f.Close()
		r, err := f.Reader()
		require.NoError(t, err, path)
		for {
			item, err := r.Next()
			if err == io.EOF {
				break
			}
			require.NoError(t, err, path)
			switch item.Kind {
			case recording.KindPackets:
				for h, raw := range recording.Packets(item.Data) {
					if k.next != 0 {
						require.Equal(t, k.next, h.First, "%s: packets do not join", path)
					}
					k.packets[h.First] = bytes.Clone(raw)
					k.next = h.First + h.Count
				}
			case recording.KindDamage:
				require.Failf(t, "damage", "%s at byte %d", path, item.Offset)
			case recording.KindTorn:
				k.torn += item.Size
			}
		}
		k.closed = r.Closed()
	}
	return k
}

// wantedTicks is every tick of recordings whose symbol begins with one of the letters, as text.
func wantedTicks(t *testing.T, letters string, paths ...string) (all []string) {
	t.Helper()
	for _, path := range paths {
		f, err := recording.Open(path)
		require.NoError(t, err)
		defer f.Close()
		r, err := f.Reader()
		require.NoError(t, err)
		ts := recording.NewTicks(r, func(d *feed.Definition) bool { return strings.ContainsRune(letters, rune(d.Symbol[0])) })
		for {
			part, err := ts.Next()
			if err == io.EOF {
				break
			}
			require.NoError(t, err)
			for i := range part.Ticks {
				tick := &part.Ticks[i]
				all = append(all, fmt.Sprint(part.Session, tick.Seq, tick.Kind, tick.EventTime, tick.Instrument, tick.Values))
			}
		}
	}
	return all
}

// A recorder that lives through kills of the publisher holds the packets of its journal, byte for byte, each once; one that
// is filtered holds every tick that it was to; one that is killed leaves a file that can be read, to the last packet or so.
func TestRecordersAndKills(t *testing.T) {
	t.Parallel()
	random := chance(t)
	dir := t.TempDir()
	journal, addr := filepath.Join(dir, "journal"), "unix:"+filepath.Join(dir, "p.sock")
	args := lively(effort.Of(t, "50k", "10k"), "--journal", journal, "--listen", addr)
	p := publish(t, args...)
	all, few := filepath.Join(dir, "all.tick"), filepath.Join(dir, "few.tick")
	recorders := []*process{
		record(t, addr, all, "--from", "beginning", "--until-end"),
		record(t, addr, few, "--from", "beginning", "--until-end", "--symbols", "A*,M*"),
	}
	var killed []string
	for i := range effort.Of(t, 12, 6) {
		path := filepath.Join(dir, fmt.Sprintf("killed-%d.tick", i))
		victim := record(t, addr, path)
		time.Sleep(time.Duration(random.Int64N(int64(50 * time.Millisecond))))
		if i%2 == 0 {
			p.kill()
			p = publish(t, args...)
		}
		time.Sleep(time.Duration(random.Int64N(int64(50 * time.Millisecond))))
		victim.kill()
		killed = append(killed, path)
	}
	p.end()
	for _, r := range recorders {
		require.Equal(t, 0, r.wait(), "%v", r.said())
	}
	final := p.stop()

	files, err := filepath.Glob(filepath.Join(journal, "*.tick"))
	require.NoError(t, err)
	want, got := readRecording(t, files...), readRecording(t, all)
	assert.Equal(t, final, got.next)
	assert.True(t, got.closed)
	assert.Equal(t, len(want.packets), len(got.packets))
	for first, raw := range want.packets {
		require.True(t, bytes.Equal(raw, got.packets[first]), "packet %d", first)
	}
	held, torn := 0, 0
	for _, path := range killed {
		k := readRecording(t, path)
		assert.False(t, k.closed)
		for first, raw := range k.packets {
			require.True(t, bytes.Equal(raw, want.packets[first]), "%s: packet %d", path, first)
		}
		held += len(k.packets)
		if k.torn > 0 {
			torn++
		}
	}
	require.NotZero(t, held)
	wanted := wantedTicks(t, "AM", files...)
	require.NotEmpty(t, wanted)
	require.Equal(t, wanted, wantedTicks(t, "AM", few))
	f := readRecording(t, few)
	assert.Equal(t, final, f.next)
	assert.True(t, f.closed)
	t.Logf("%d packets of %d numbers; %d recorders killed, %d left a torn tail; %d filtered ticks in %d packets",
		len(want.packets), final-1, len(killed), torn, len(wanted), len(f.packets))
}
