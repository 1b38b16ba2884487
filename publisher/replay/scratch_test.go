package replay

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A stage removes the directories that killed processes left, and no other.
func TestAbandonedDirectories(t *testing.T) {
	dir := t.TempDir()
	living, err := newScratchDir(dir)
	require.NoError(t, err)
	killed, err := newScratchDir(dir)
	require.NoError(t, err)
	require.NoError(t, os.MkdirAll(filepath.Join(killed.path, "1"), 0o700))
	require.NoError(t, os.WriteFile(filepath.Join(killed.path, "1", "journal.tick"), []byte("x"), 0o600))
	require.NoError(t, killed.lock.Close()) // as the operating system does
	unlocked := filepath.Join(dir, scratchPrefix+"new")
	foreign := filepath.Join(dir, "other")
	for _, path := range []string{unlocked, foreign} {
		require.NoError(t, os.Mkdir(path, 0o700))
	}
	require.NoError(t, os.WriteFile(filepath.Join(foreign, scratchLock), nil, 0o600))

	another, err := newScratchDir(dir)
	require.NoError(t, err)
	for _, path := range []string{living.path, unlocked, foreign, another.path} {
		assert.DirExists(t, path)
	}
	assert.NoDirExists(t, killed.path)
	require.NoError(t, another.remove())
	require.NoError(t, living.remove())
	assert.NoDirExists(t, living.path)
}
