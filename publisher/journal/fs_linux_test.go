package journal

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"tickfeed/codec/filemode"
)

// A prepared file has no name, and disk space for all that it will hold. Once it has a name it is a file like others. It
// keeps only the space of what it holds when it is closed, and, if the process was killed, when Open truncates it. A
// name that is taken is left as it is.
func TestPrepareReserves(t *testing.T) {
	const size, slack = 8 << 20, 128 << 10 // slack is for pages, and for what the file system needs itself
	defer syscall.Umask(syscall.Umask(0o022))
	require.NoError(t, filemode.Set(0o640))
	defer func() { require.NoError(t, filemode.Set(filemode.Default)) }()
	dir := t.TempDir()
	name := filepath.Join(dir, "f")
	prepare := func() PreparedFile {
		t.Helper()
		p, err := OS{}.Prepare(dir, size)
		if errors.Is(err, errors.ErrUnsupported) {
			t.Skip("this is not ext4")
		}
		require.NoError(t, err)
		return p
	}
	onDisk := func() (blocks int64) {
		t.Helper()
		info, err := os.Stat(name)
		require.NoError(t, err)
		assert.Equal(t, os.FileMode(0o640), info.Mode())
		assert.Equal(t, int64(1000), info.Size())
		return info.Sys().(*syscall.Stat_t).Blocks * 512
	}
	for what, end := range map[string]func(io.Closer) error{
		"closed": func(f io.Closer) error { return f.Close() },
		"killed": func(io.Closer) error { return OS{}.Truncate(name, 1000) },
	} {
		p := prepare()
		names, err := OS{}.Names(dir)
		require.NoError(t, err)
		assert.Empty(t, names)
		f, err := p.Link(name)
		require.NoError(t, err)
		defer f.Close()
		_, err = f.Write(make([]byte, 1000))
		require.NoError(t, err)
		require.NoError(t, f.Sync())
		require.NoError(t, OS{}.Check(name, f))
		assert.GreaterOrEqual(t, onDisk(), int64(size), what)

		other := prepare()
		_, err = other.Link(name)
		assert.ErrorIs(t, err, os.ErrExist)
		require.NoError(t, other.Close())

		require.NoError(t, end(f))
		assert.Less(t, onDisk(), int64(slack), what)
		require.NoError(t, os.Remove(name))
	}
}

// Space is reserved on ext4 only, and only if as much again remains free.
func TestWhereSpaceIsReserved(t *testing.T) {
	free := func(blocks uint64) *unix.Statfs_t {
		return &unix.Statfs_t{Type: unix.EXT4_SUPER_MAGIC, Bsize: 4096, Bavail: blocks}
	}
	assert.NoError(t, reservable(free(200), 100*4096))
	assert.ErrorIs(t, reservable(free(199), 100*4096), syscall.ENOSPC)
	assert.ErrorIs(t, reservable(&unix.Statfs_t{Type: unix.TMPFS_MAGIC, Bsize: 4096, Bavail: 200}, 4096), errors.ErrUnsupported)
}

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
