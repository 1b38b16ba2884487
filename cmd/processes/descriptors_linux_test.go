package processes

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tickfeed/codec"
	"tickfeed/codec/effort"
)

// publishWithin is publish for a process that may have n file descriptors, from its beginning. It has none of those that the
// program that started the tests may have left open.
func publishWithin(t *testing.T, n int, args ...string) *publisher {
	t.Helper()
	p := startPublisherBy(t, []string{"sh", "-c", fmt.Sprintf(`exec 3>&- 4>&- 5>&- 6>&- 7>&- 8>&- 9>&- && ulimit -n %d && exec "$0" "$@"`, n)}, args...)
	listening, ok := p.event(0, "listening")
	require.True(t, ok, "the publisher ended: %v", p.said())
	session, _ := p.event(0, "session")
	p.addr, p.session, p.first = listening.Listen, session.Session, session.First
	return p
}

// limitDescriptors sets how many file descriptors a process may have, in the part that can be raised again.
func limitDescriptors(t *testing.T, p *process, n uint64) {
	t.Helper()
	limit := syscall.Rlimit{Cur: n, Max: 4096}
	_, _, errno := syscall.RawSyscall6(syscall.SYS_PRLIMIT64, uintptr(p.Cmd.Process.Pid), syscall.RLIMIT_NOFILE,
		uintptr(unsafe.Pointer(&limit)), 0, 0, 0)
	require.Zero(t, errno, "prlimit: %v", errno)
}

// crowdOf has n clients connect and log in, which read nothing and say nothing, again as soon as they are cut off, until
// the caller calls disperse, or the test ends.
func crowdOf(t *testing.T, addr string, n int) (disperse func()) {
	t.Helper()
	hello, err := codec.Append(nil, &codec.Hello{MinVersion: codec.Version, MaxVersion: codec.Version})
	require.NoError(t, err)
	done := make(chan struct{})
	ended := make(chan struct{})
	for range n {
		go func() {
			defer func() { ended <- struct{}{} }()
			for {
				nc, err := net.Dial("tcp", addr)
				if err == nil {
					_, _ = nc.Write(hello)
					_ = nc.SetReadDeadline(time.Now().Add(time.Second))
					_, _ = nc.Read(make([]byte, 16))
				}
				select {
				case <-done:
					if err == nil {
						nc.Close()
					}
					return
				case <-time.After(200 * time.Millisecond):
					if err == nil {
						nc.Close()
					}
				}
			}
		}()
	}
	disperse = sync.OnceFunc(func() {
		close(done)
		for range n {
			<-ended
		}
	})
	t.Cleanup(disperse)
	return disperse
}

// File descriptors that run out end nobody: with 40 of them, and twice as many clients that crowd in, a publisher rotates its
// journal on and on, and a subscriber that came before the crowd misses nothing. The bound on connections is lowered
// to what there are descriptors for, and said (PROMISES.md, 32).
func TestFileDescriptors(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "journal")
	audit, addr := newAuditor(), newAddress()
	p := publishWithin(t, 40, lively("100k", "--journal", dir, "--retain", "4MB", "--max-connections", "1000")...)
	line, ok := p.line(0, func(s string) bool { return strings.Contains(s, "fewer connections than wanted") })
	require.True(t, ok)
	most, err := strconv.Atoi(regexp.MustCompile(`"connections":(\d+)`).FindStringSubmatch(line)[1])
	require.NoError(t, err)
	assert.Greater(t, most, 5)
	assert.Less(t, most, 30)
	addr.is(p.addr)
	f := follow(t, "follower", audit, addr, patiently)
	f.wait(t, "ticks", func() bool { return f.got > 0 })
	disperse := crowdOf(t, p.addr, 80)
	late := follow(t, "late", audit, addr, nil)
	first := newest(t, dir)
	for range 3 {
		f.wait(t, "a rotation", func() bool { return newest(t, dir) > first })
		first = newest(t, dir)
	}
	disperse() // at the latest now there is a place for it
	late.wait(t, "ticks", func() bool { return late.got > 0 })
	late.leave()
	p.end()
	f.wait(t, "the end", func() bool { return f.final > 0 })
	f.leave()
	f.reconcile()
	assert.Empty(t, f.reports, "the subscriber lost its connection")
	p.stop()
	for _, line := range p.said() {
		assert.NotContains(t, line, `"level":"error"`)
	}
	audit.judge(t)
}

// newest is the name of the newest file of a journal.
func newest(t *testing.T, dir string) string {
	names, err := filepath.Glob(filepath.Join(dir, "*.tick"))
	require.NoError(t, err)
	if len(names) == 0 {
		return ""
	}
	return names[len(names)-1]
}

// Descriptors that another has taken, here by a limit that is lowered under a publisher at work, are a state: it says so, waits,
// serves, and goes on by itself when there are some again.
func TestNoFileDescriptors(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "journal")
	audit, addr := newAuditor(), newAddress()
	p := publish(t, lively("100k", "--journal", dir, "--retain", "4MB")...)
	addr.is(p.addr)
	f := follow(t, "follower", audit, addr, patiently)
	f.wait(t, "ticks", func() bool { return f.got > 0 })
	for range 3 {
		before := len(p.said())
		limitDescriptors(t, p.process, 1)
		_, ok := p.event(before, "journal: no file descriptors left, publishing waits; subscribers are still served, and publishing resumes once there are some")
		require.True(t, ok, "the publisher ended: %v", p.said())
		at := f.sub.Position().Next
		time.Sleep(700 * time.Millisecond) // longer than a heartbeat
		limitDescriptors(t, p.process, 1024)
		f.wait(t, "ticks again", func() bool { return f.next > at })
		_, ok = p.event(before, "journal: can be written again")
		require.True(t, ok)
	}
	p.end()
	f.wait(t, "the end", func() bool { return f.final > 0 })
	f.leave()
	f.reconcile()
	assert.Empty(t, f.reports, "the subscriber lost its connection")
	p.stop()
	audit.judge(t)
}

// A journal that is deleted under a publisher is noticed, and said, and the publisher goes on in a new directory; killed after
// that, it goes on where it was, and no number is given twice (PROMISES.md, 21).
func TestJournalIsDeleted(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "journal")
	audit, addr := newAuditor(), newAddress()
	args := lively(effort.Of(t, "20k", "10k"), "--journal", dir)
	p := publish(t, args...)
	addr.is(p.addr)
	f := follow(t, "follower", audit, addr, nil)
	for i := range 4 {
		f.wait(t, "ticks", func() bool { return f.session == p.session && f.next > p.first+1000 })
		before := len(p.said())
		began := time.Now()
		if i%2 == 0 {
			require.NoError(t, os.RemoveAll(dir))
		} else {
			require.NoError(t, os.Rename(dir, fmt.Sprintf("%s.%d", dir, i)))
		}
		goesOn, ok := p.event(before, "journal: continues in a new file; the ticks of the missing files are served from memory only, and not at all after a restart")
		require.True(t, ok, "the publisher ended: %v", p.said())
		t.Logf("noticed after %v", time.Since(began))
		require.NotZero(t, goesOn.Next)
		f.wait(t, "what the new file does not have", func() bool { return f.next > goesOn.Next })
		addr.is("")
		p.kill()
		f.wait(t, "the connection's end", func() bool { return f.down })
		f.mu.Lock()
		f.held, f.disownedBefore = f.next, len(f.disowned)
		f.mu.Unlock()
		p = publish(t, args...)
		assert.False(t, p.root, "the new file names the session")
		assert.GreaterOrEqual(t, p.first, f.held, "where the next session begins")
		addr.is(p.addr)
		f.waitFork(t, p)
	}
	p.end()
	f.wait(t, "the end", func() bool { return f.final > 0 })
	f.leave()
	p.stop()
	f.reconcile()
	assert.Empty(t, f.lost, "lost")
	assert.Empty(t, f.disowned, "disowned")
	audit.judge(t)
}
