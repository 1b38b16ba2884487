//go:build unix

package journal_test

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tickfeed/codec/filemode"
	"tickfeed/publisher/journal"
)

// Only the owner can read the files of a journal, unless another mode is set.
func TestFileModes(t *testing.T) {
	check := func(file, dir os.FileMode) {
		t.Helper()
		path := filepath.Join(t.TempDir(), "a", "journal")
		w := newWorld()
		j := w.start(t, journal.Config{Dir: path})
		w.append(t, j, 20)
		require.NoError(t, j.Close())
		names := append(files(t, journal.OS{}, path), "LOCK")
		require.Len(t, names, 2)
		for _, name := range names {
			info, err := os.Stat(filepath.Join(path, name))
			require.NoError(t, err)
			assert.Equal(t, file, info.Mode().Perm(), name)
		}
		for _, d := range []string{path, filepath.Dir(path)} {
			info, err := os.Stat(d)
			require.NoError(t, err)
			assert.Equal(t, dir, info.Mode().Perm(), d)
		}
	}
	check(0o600, 0o700)
	defer syscall.Umask(syscall.Umask(0o022))
	require.NoError(t, filemode.Set(0o640))
	defer func() { require.NoError(t, filemode.Set(filemode.Default)) }()
	check(0o640, 0o750)
}
