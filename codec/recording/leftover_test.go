//go:build unix

package recording

import (
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// kill releases what the operating system releases when the process of o is killed.
func kill(t *testing.T, o *Output) {
	require.NoError(t, o.file.Close())
	require.NoError(t, o.lock.Close())
}

func namesIn(t *testing.T, dir string) (names []string) {
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

// Create removes the temporary files that killed processes left for the same path, and nothing else.
func TestLeftoversAreRemoved(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "day.tick")
	create := func(path string) *Output {
		o, err := Create(path, true)
		require.NoError(t, err)
		t.Cleanup(o.Discard)
		return o
	}
	others := []string{
		".day.tick.0badf00.tmp", ".day.tick.0badf00dd.tmp", ".day.tick.0BADF00D.tmp", ".day.tick.0badf00d.tmp2", ".day.tick.0badf00d",
		".day.tick..0badf00d.tmp", "day.tick.0badf00d.tmp", ".today.tick.0badf00d.tmp", ".day.tick.zst.0badf00d.tmp", ".day.tick.tmp",
	}
	for _, name := range others {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte("x"), 0o600))
	}
	others = append(others, ".day.tick.00000001.tmp", ".day.tick.00000002.tmp") // named as a temporary file, but not regular files
	require.NoError(t, os.Mkdir(filepath.Join(dir, others[10]), 0o700))
	require.NoError(t, os.Symlink(others[0], filepath.Join(dir, others[11])))

	living, elsewhere := create(path), create(filepath.Join(dir, "other.tick"))
	kill(t, elsewhere)
	killed := create(path)
	kill(t, killed)
	closed := create(path) // and not yet renamed
	require.NoError(t, closed.Close())
	base := func(o *Output) string { return filepath.Base(o.temporary) }
	assert.NotContains(t, namesIn(t, dir), base(killed))
	require.NoError(t, Check(path, true))
	assert.ElementsMatch(t, append(others, base(living), base(elsewhere), base(closed)), namesIn(t, dir))

	require.NoError(t, closed.Commit())
	require.NoError(t, living.Commit())
	create(filepath.Join(dir, "other.tick")).Discard()
	assert.ElementsMatch(t, append(others, "day.tick"), namesIn(t, dir))
}

// A process removes at most maxLeftovers files.
func TestLeftoversAreBounded(t *testing.T) {
	dir := t.TempDir()
	for i := range maxLeftovers + 3 {
		require.NoError(t, os.WriteFile(filepath.Join(dir, temporaryName("a", uint32(i))), nil, 0o600))
	}
	removeLeftovers(filepath.Join(dir, "a"))
	assert.Len(t, namesIn(t, dir), 3)
}

// No output is taken for a leftover, even if many create the same file at once.
func TestOutputsAtOnce(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.tick")
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			for range 20 {
				o, err := Create(path, true)
				if !assert.NoError(t, err) {
					return
				}
				_, err = o.Write([]byte(strconv.Itoa(i)))
				assert.NoError(t, err)
				removeLeftovers(path)
				assert.NoError(t, o.Commit())
			}
		})
	}
	all.Wait()
	assert.Equal(t, []string{"a.tick"}, namesIn(t, filepath.Dir(path)))
}
