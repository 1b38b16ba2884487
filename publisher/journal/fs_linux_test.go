package journal

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

// A directory that takes no more files is found without making one.
func TestCheckAsksWhetherFilesCanBeMade(t *testing.T) {
	name := filepath.Join(t.TempDir(), "f")
	f, err := OS{}.Create(name)
	require.NoError(t, err)
	defer f.Close()
	require.NoError(t, OS{}.Check(name, f))
	real := access
	t.Cleanup(func() { access = real })
	access = func(path string, _ uint32) error {
		require.Equal(t, filepath.Dir(name), path)
		return syscall.EROFS
	}
	err = OS{}.Check(name, f)
	require.ErrorIs(t, err, syscall.EROFS)
	require.False(t, errors.Is(err, os.ErrNotExist), "nothing is missing")
}
