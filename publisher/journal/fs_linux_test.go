package journal

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

// A file that grows reserves the disk ahead of its end, and is no longer for that; a small one, and
// one that is closed, takes what it holds.
func TestReserve(t *testing.T) {
	name := filepath.Join(t.TempDir(), "f")
	f, err := OS{}.Create(name)
	require.NoError(t, err)
	onDisk := func() (size, blocks int64) {
		info, err := os.Stat(name)
		require.NoError(t, err)
		return info.Size(), info.Sys().(*syscall.Stat_t).Blocks * 512
	}
	write := func(n int) {
		_, err := f.Write(make([]byte, n))
		require.NoError(t, err)
	}
	const slack = 1 << 17 // pages, and what the file system needs for itself
	write(1000)
	_, blocks := onDisk()
	require.Less(t, blocks, int64(slack))
	write(2 * reserveFrom)
	require.NoError(t, f.Sync())
	size, blocks := onDisk()
	require.Equal(t, int64(1000+2*reserveFrom), size)
	if blocks < reserveStep {
		t.Skip("this file system does not reserve")
	}
	write(2 * reserveStep)
	require.NoError(t, f.Close())
	size, blocks = onDisk()
	require.Equal(t, int64(1000+2*reserveFrom+2*reserveStep), size)
	require.Less(t, blocks, size+slack)
}
