package journal

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// The real file system syncs the bytes of a file, a file that was cut, at its new length, and the names in a directory.
func TestRealSyncs(t *testing.T) {
	dir := t.TempDir()
	type synced struct {
		name string
		size int64
	}
	var datas, files []synced
	watch := func(calls *[]synced, sync func(*os.File) error) func(*os.File) error {
		return func(f *os.File) error {
			info, err := f.Stat()
			require.NoError(t, err)
			s := synced{name: f.Name()}
			if !info.IsDir() {
				s.size = info.Size()
			}
			*calls = append(*calls, s)
			return sync(f)
		}
	}
	realData, realFile := fdatasync, fsync
	t.Cleanup(func() { fdatasync, fsync = realData, realFile })
	fdatasync, fsync = watch(&datas, realData), watch(&files, realFile)

	name := filepath.Join(dir, "f")
	f, err := OS{}.Create(name)
	require.NoError(t, err)
	_, err = f.Write(make([]byte, 1000))
	require.NoError(t, err)
	assert.Empty(t, datas)
	require.NoError(t, f.Sync())
	assert.Equal(t, []synced{{name, 1000}}, datas)
	require.NoError(t, f.Close())
	assert.Empty(t, files)
	require.NoError(t, OS{}.Truncate(name, 700))
	assert.Equal(t, []synced{{name, 700}}, files)
	require.NoError(t, OS{}.SyncDir(dir))
	assert.Equal(t, []synced{{name, 700}, {dir, 0}}, files)

	r, w, err := os.Pipe() // which cannot be synced: so it is seen that it was tried
	require.NoError(t, err)
	defer r.Close()
	defer w.Close()
	assert.Error(t, osFile{w}.Sync())
}
