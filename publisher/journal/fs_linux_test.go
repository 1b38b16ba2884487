package journal

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"tickfeed/codec"
	"tickfeed/feed"
)

// A file that grows reserves the disk ahead of its end, and is no longer for that; a small one, and
// one that is closed, takes what it holds.
func TestReserve(t *testing.T) {
	name := filepath.Join(t.TempDir(), "f")
	f, err := OS{}.Create(name)
	require.NoError(t, err)
	onDisk := func() (size, blocks int64) { return sizeOnDisk(t, name) }
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

// What a process that was killed had reserved is given back at the next start.
func TestReservedByAKilledProcess(t *testing.T) {
	dir, next := t.TempDir(), t.TempDir()
	j, err := Open(Config{Dir: dir})
	require.NoError(t, err)
	defer j.Close()
	lineage := feed.Lineage{{ID: 7, First: 1}}
	require.NoError(t, j.Begin(lineage, codec.ModeLive, nil))
	var body []byte
	for range 1000 {
		tick := feed.Quote{Bid: 1, BidSize: 2, Ask: 3, AskSize: 4}.Tick(0, 5)
		body = codec.AppendTick(body, &tick, 5)
	}
	for seq := uint64(1); j.Bytes() < 2*reserveFrom; seq += 1000 {
		p := codec.AppendPacket(nil, &codec.Packet{First: seq, Count: 1000, Base: 5}, body, codec.LineSeed(7, nil))
		require.NoError(t, j.Append(p, seq+1000, 5))
	}
	name := fileName(1, 7)
	require.NoError(t, os.Link(filepath.Join(dir, name), filepath.Join(next, name))) // the very file, as the kill leaves it
	size, blocks := sizeOnDisk(t, filepath.Join(next, name))
	if blocks < reserveStep {
		t.Skip("this file system does not reserve")
	}
	again, err := Open(Config{Dir: next})
	require.NoError(t, err)
	require.Zero(t, again.Recovered().Torn)
	require.NoError(t, again.Close())
	left, blocks := sizeOnDisk(t, filepath.Join(next, name))
	require.Equal(t, size, left)
	require.Less(t, blocks, size+1<<17)
}

// sizeOnDisk is how long a file is, and how many bytes of the disk it has.
func sizeOnDisk(t *testing.T, name string) (size, blocks int64) {
	info, err := os.Stat(name)
	require.NoError(t, err)
	return info.Size(), info.Sys().(*syscall.Stat_t).Blocks * 512
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
