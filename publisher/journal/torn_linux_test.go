package journal_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tickfeed/publisher/journal"
)

// A torn end that is mostly a hole, such as disk space that was reserved before a crash, or a file that was made longer by
// mistake, is kept without the hole: it may be larger than the disk. What lies behind a hole is kept at its place.
func TestTornEndKeepsNoHoles(t *testing.T) {
	const hole = 256 << 20
	for _, behind := range []string{"", "behind"} {
		dir := copied(t)
		name := filepath.Join(dir, "00000000000000000030-000000000000002b.tick")
		whole, err := os.ReadFile(name)
		require.NoError(t, err)
		whole = append(append(whole, 0xdd, 1, 2, 3), make([]byte, 8<<10)...)
		require.NoError(t, os.WriteFile(name, whole, 0o600))
		end := int64(len(whole) + hole)
		require.NoError(t, os.Truncate(name, end))
		f, err := os.OpenFile(name, os.O_WRONLY|os.O_APPEND, 0)
		require.NoError(t, err)
		_, err = f.WriteString(behind)
		require.NoError(t, errors.Join(err, f.Close()))
		j, err := journal.Open(journal.Config{Dir: dir})
		require.NoError(t, err)
		defer j.Close()
		cut := end + int64(len(behind)) - j.Recovered().Torn
		require.Less(t, cut, int64(len(whole)))

		kept, err := os.Open(name + journal.TornSuffix)
		require.NoError(t, err)
		defer kept.Close()
		info, err := kept.Stat()
		require.NoError(t, err)
		assert.Less(t, info.Sys().(*syscall.Stat_t).Blocks*512, int64(1<<20), "disk space")
		first := make([]byte, int64(len(whole))-cut)
		_, err = kept.ReadAt(first, 0)
		require.NoError(t, err)
		assert.True(t, bytes.Equal(whole[cut:], first), "what is before the hole")
		if behind == "" {
			assert.Less(t, info.Size(), int64(1<<20))
			continue
		}
		last := make([]byte, len(behind))
		_, err = kept.ReadAt(last, end-cut)
		require.NoError(t, err)
		assert.Equal(t, behind, string(last))
		assert.Equal(t, j.Recovered().Torn, info.Size())
	}
}
