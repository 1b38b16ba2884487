package processes

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tickfeed/codec/effort"
)

// linesOf cuts from file what follows its last line end, as one does who goes on with it, and returns the lines.
func linesOf(t *testing.T, path string) [][]byte {
	t.Helper()
	data, err := os.ReadFile(path)
	if os.IsNotExist(err) {
		return nil
	}
	require.NoError(t, err)
	whole := bytes.LastIndexByte(data, '\n') + 1
	require.NoError(t, os.Truncate(path, int64(whole)))
	return bytes.SplitAfter(data[:whole], []byte("\n"))
}

// A subscriber whose machine loses power has printed every tick that its position says it has: what stands in the position
// file is never ahead of the output, a regular file on the same disk (PROMISES.md, 33).
func TestPowerCutsOfASubscriber(t *testing.T) {
	t.Parallel()
	random := chance(t)
	d := newDisk(t, t.TempDir())
	p := publish(t, lively(effort.Of(t, "10k", "2k"), "--journal", filepath.Join(t.TempDir(), "journal"))...)
	state, out := filepath.Join(d.path, "position"), filepath.Join(d.path, "ticks.ndjson")
	printed := map[uint64]bool{}
	position := uint64(0)
	saved := 0 // cuts that left a newer position
	run := func(args ...string) *process {
		file, err := os.OpenFile(out, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
		require.NoError(t, err)
		defer file.Close()
		cmd := exec.Command(tickfeed(t), append([]string{"subscribe", p.addr, "--from", "beginning", "--state", state, "--json"}, args...)...)
		cmd.Stdout = file
		return start(t, cmd)
	}
	audit := func(cut int) {
		for _, line := range linesOf(t, out) {
			if len(line) == 0 {
				continue
			}
			var r row
			require.NoError(t, json.Unmarshal(line, &r), "cut %d: %q", cut, line)
			printed[r.Seq] = true
		}
		data, err := os.ReadFile(state)
		if os.IsNotExist(err) {
			require.Zero(t, position, "cut %d: the position file is gone", cut)
			return
		}
		require.NoError(t, err)
		var held struct {
			Next uint64 `json:"next"`
		}
		require.NoError(t, json.Unmarshal(data, &held), "cut %d: %q", cut, data)
		require.GreaterOrEqual(t, held.Next, position, "cut %d: the position went back", cut)
		if held.Next > position {
			saved++
		}
		position = held.Next
		for seq := uint64(1); seq < held.Next; seq++ {
			require.True(t, printed[seq], "cut %d: the position is %d, and %d is not in the output", cut, held.Next, seq)
		}
	}
	cuts := times(t, powerCuts, 10, 4)
	for cut := range cuts {
		s := run()
		waitForBytes(t, out, 1)
		// The position is saved each 100 ms, and a disk writes by itself what is older than some seconds.
		time.Sleep(time.Duration(random.Int64N(int64(600 * time.Millisecond))))
		d.cutPower()
		s.kill()
		d.again()
		audit(cut)
	}
	p.end()
	s := run("--until-end")
	require.Equal(t, 0, s.wait(), "%v", s.said())
	audit(cuts)
	assert.Equal(t, p.stop(), position)
	assert.NotZero(t, saved, "no cut came after a save")
	t.Logf("%d power cuts, %d of them left a newer position; %d ticks", cuts, saved, position-1)
}
