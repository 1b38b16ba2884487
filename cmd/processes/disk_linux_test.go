package processes

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tickfeed/codec/effort"
)

// A disk is an ext4 file system on a loop device, which can fail as real ones do.
type disk struct {
	t           *testing.T
	image, path string
	device      string
}

// newDisk makes a disk whose image is in the directory dir, mounted. It takes root and loop
// devices; without them the test is skipped.
func newDisk(t *testing.T, dir string) *disk {
	t.Helper()
	d := &disk{t: t, image: filepath.Join(dir, "image"), path: filepath.Join(t.TempDir(), "disk")}
	require.NoError(t, os.WriteFile(d.image, nil, 0o600))
	require.NoError(t, os.Truncate(d.image, 64<<20))
	require.NoError(t, os.Mkdir(d.path, 0o700))
	attempt(t, "mkfs.ext4", "-q", "-F", d.image)
	d.device = attempt(t, "losetup", "--find", "--show", d.image)
	t.Cleanup(func() { _ = exec.Command("losetup", "--detach", d.device).Run() })
	attempt(t, "mount", "-t", "ext4", d.device, d.path)
	t.Cleanup(func() { _ = syscall.Unmount(d.path, syscall.MNT_DETACH) })
	return d
}

// attempt runs a command that may not be there, or not be allowed, and returns what it prints.
func attempt(t *testing.T, name string, args ...string) string {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("it takes root to mount a disk that fails")
	}
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		t.Skipf("a disk that fails cannot be made here: %s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return strings.TrimSpace(string(out))
}

// cutPower makes the file system forget what it did not write yet (FS_IOC_SHUTDOWN of the kernel,
// with FS_SHUTDOWN_FLAGS_NOLOGFLUSH); every operation fails from now on.
func (d *disk) cutPower() {
	d.t.Helper()
	const shutdown, noLogFlush = 0x8004587d, 2
	f, err := os.Open(d.path)
	require.NoError(d.t, err)
	defer f.Close()
	flags := uint32(noLogFlush)
	_, _, errno := syscall.Syscall(syscall.SYS_IOCTL, f.Fd(), shutdown, uintptr(unsafe.Pointer(&flags)))
	if errno != 0 {
		d.t.Skipf("the power of a disk cannot be cut here: FS_IOC_SHUTDOWN: %v", errno)
	}
}

// again mounts the disk anew: what was only in memory is gone.
func (d *disk) again() {
	d.t.Helper()
	deadline := time.Now().Add(patience)
	for {
		err := syscall.Unmount(d.path, 0)
		if err == nil {
			break
		}
		require.True(d.t, time.Now().Before(deadline), "unmount: %v", err)
		time.Sleep(pollTime)
	}
	require.NoError(d.t, syscall.Mount(d.device, d.path, "ext4", 0, ""))
}

// After a failed fsync, here on a disk whose image has no room although its file system has, nothing
// more is sent: the publisher says so and ends, with ticks that nobody was given. Over what the disk
// holds when it is mounted again subscribers go on, and each number is accounted for (PROMISES.md, 5).
// The subscribers may hold more than the disk: the fdatasync before the failed one can succeed although the kernel has
// lost the bytes that it was to write.
func TestFailedSync(t *testing.T) {
	t.Parallel()
	small := t.TempDir()
	attempt(t, "mount", "-t", "tmpfs", "-o", "size=12m", "tmpfs", small)
	t.Cleanup(func() { _ = syscall.Unmount(small, syscall.MNT_DETACH) })
	d := newDisk(t, small)
	journal := filepath.Join(d.path, "journal")
	audit, addr := newAuditor(), newAddress()
	p := publish(t, lively(effort.Of(t, "300k", "100k"), "--journal", journal, "--sync", "always")...)
	addr.is(p.addr)
	f := follow(t, "follower", audit, addr, nil)
	f.wait(t, "ticks", func() bool { return f.got > 0 })

	assert.Equal(t, 1, p.wait(), "exit code")
	_, failed := p.event(0, "journal failed: nothing more is published; restart to begin a child session")
	assert.True(t, failed, "the log says so: %v", p.said())
	stopped, _ := p.event(0, "stopped")
	said := p.said()
	last, _ := parse(said[len(said)-1])
	assert.Regexp(t, "^tickfeed: .*: (fdatasync|write) .*; repair the disk, or make room on it, and start again", last.Message, "the last words")
	before, _ := parse(said[len(said)-2])
	assert.NotContains(t, before.Message, "repair the disk", "what is to be done is said once: %v", said)
	addr.is("")
	f.wait(t, "the connection's end", func() bool { return f.down })
	f.mu.Lock()
	f.held, f.disownedBefore = f.next, len(f.disowned)
	f.mu.Unlock()
	assert.Less(t, f.held, stopped.Head, "what could not be synced was sent")

	attempt(t, "mount", "-o", "remount,size=100m", small) // else it cannot even be mounted
	d.again()
	p = publish(t, lively("20k", "--journal", journal)...)
	assert.Greater(t, p.first, f.held/2, "where the next session begins")
	addr.is(p.addr)
	f.waitFork(t, p)
	p.end()
	f.wait(t, "the end", func() bool { return f.final > 0 })
	f.leave()
	p.stop()
	f.reconcile()
	assert.Empty(t, f.lost, "lost")
	t.Logf("%d ticks were sent before the disk failed, the next session begins at %d", f.held-1, p.first)
	audit.judge(t)
}

// Ticks that were sent under --sync always survive a power cut. Under --sync 1s every tick that does not survive is reported
// as disowned, and subscribers continue in a child session (PROMISES.md, 2).
func TestPowerCuts(t *testing.T) {
	t.Parallel()
	cuts := times(t, cuts, 50, 10)
	for _, c := range []struct {
		sync string
		cuts int
		most time.Duration // from the first tick to the cut
	}{
		{"always", cuts, 40 * time.Millisecond},
		{"1s", (cuts + 4) / 5, 1500 * time.Millisecond},
	} {
		t.Run("sync "+c.sync, func(t *testing.T) {
			t.Parallel()
			random := chance(t)
			d := newDisk(t, t.TempDir())
			audit, addr := newAuditor(), newAddress()
			args := lively(effort.Of(t, "50k", "20k"), "--journal", filepath.Join(d.path, "journal"), "--sync", c.sync)
			followers := []*follower{follow(t, "first", audit, addr, nil), follow(t, "second", audit, addr, nil)}
			var seen, told uint64 // by any follower before the last cut
			for i := range c.cuts + 1 {
				p := publish(t, args...)
				assert.Equal(t, i == 0, p.root, "the journal is empty")
				addr.is(p.addr)
				for _, f := range followers {
					told += f.waitFork(t, p)
				}
				if c.sync == "always" {
					assert.GreaterOrEqual(t, p.first, seen, "where the session after a power cut begins")
				}
				if i == c.cuts {
					p.end()
					break
				}
				time.Sleep(time.Duration(random.Int64N(int64(c.most))))
				for _, f := range followers {
					f.mu.Lock()
					seen = max(seen, f.next)
					f.mu.Unlock()
				}
				d.cutPower() // from here on an fdatasync may succeed that did nothing
				addr.is("")
				assert.Equal(t, 1, p.wait(), "exit code: %v", p.said())
				for _, f := range followers {
					f.wait(t, "the connection's end", func() bool { return f.down })
					f.mu.Lock()
					f.held, f.disownedBefore = f.next, len(f.disowned)
					f.mu.Unlock()
				}
				d.again()
			}
			for _, f := range followers {
				f.wait(t, "the end", func() bool { return f.final > 0 })
				f.leave()
				f.reconcile()
				assert.Empty(t, f.lost, "%s: lost", f.name)
			}
			if c.sync != "always" {
				assert.NotZero(t, told, "nothing was disowned: the power was not cut")
			}
			t.Logf("%d power cuts, %d ticks, %d forks told", c.cuts, audit.total(), told)
			audit.judge(t)
		})
	}
}
