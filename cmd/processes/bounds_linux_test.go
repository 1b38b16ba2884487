package processes

import (
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tickfeed/codec"
	"tickfeed/codec/effort"
	"tickfeed/subscriber"
)

// rss is the memory of a process, in bytes: VmRSS of /proc/PID/status.
func rss(t *testing.T, p *process) int64 {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.Cmd.Process.Pid))
	require.NoError(t, err)
	for line := range strings.Lines(string(status)) {
		if rest, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			kb, err := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
			require.NoError(t, err)
			return kb << 10
		}
	}
	require.FailNow(t, "no VmRSS")
	return 0
}

// peak is the most memory that the process has in a while, looked at now and then until done
// is closed.
func peak(t *testing.T, p *process, done <-chan struct{}) int64 {
	t.Helper()
	most := rss(t, p)
	look := time.NewTicker(20 * time.Millisecond)
	defer look.Stop()
	for {
		select {
		case <-look.C:
			most = max(most, rss(t, p))
		case <-done:
			return max(most, rss(t, p))
		}
	}
}

func after(d time.Duration) <-chan struct{} {
	done := make(chan struct{})
	time.AfterFunc(d, func() { close(done) })
	return done
}

// sockets returns how many sockets a process has open.
func sockets(p *process) (n int) {
	dir := fmt.Sprintf("/proc/%d/fd", p.Cmd.Process.Pid)
	files, _ := os.ReadDir(dir)
	for _, f := range files {
		if target, err := os.Readlink(filepath.Join(dir, f.Name())); err == nil && strings.HasPrefix(target, "socket:") {
			n++
		}
	}
	return n
}

const (
	// handshakeEnd is how long a connection that does not log in may stay, and two seconds for a busy machine to accept and end a
	// thousand of them.
	handshakeEnd = 5*time.Second + 2*time.Second
	// passing is how many connections of honest clients come and go at one moment, at most.
	passing = 10
)

// untilSockets waits until a process has at most n sockets, or for patience, and sends how long that took.
func untilSockets(p *process, n int) <-chan time.Duration {
	took, began := make(chan time.Duration, 1), time.Now()
	go func() {
		for sockets(p) > n && time.Since(began) < patience {
			time.Sleep(50 * time.Millisecond)
		}
		took <- time.Since(began)
	}()
	return took
}

// warm is how long a publisher's memory is watched before the load: about one collection and more.
const warm = 1500 * time.Millisecond

// A thousand connections that do whatever a hostile or broken peer may do cost a publisher at most
// 16 MiB in all and 5 s before they log in and 64 KiB each after that, a line in its log, or two, and
// they cost nothing to its subscribers and to those who log in meanwhile (PROMISES.md, 17).
func TestHostileConnections(t *testing.T) {
	t.Parallel()
	random, timers := chance(t), effort.WatchTimers(t)
	audit, addr := newAuditor(), newAddress()
	p := publish(t, lively(effort.Of(t, "20k", "10k"), "--memory", "1MiB")...) // which is full soon
	addr.is(p.addr)
	honest := follow(t, "honest", audit, addr, patiently)
	honest.wait(t, "ticks", func() bool { return honest.got > 0 })
	before := peak(t, p.process, after(warm))
	position, own := honest.sub.Position().Next, sockets(p.process)

	const connections = 1000
	silent := 0
	for _, h := range hostiles {
		if h.login {
			silent++
		}
	}
	want := int64(connections - silent*connections/len(hostiles))
	loggedIn := connections - want
	var (
		all     sync.WaitGroup
		allowed = map[string]int{} // lines in the log by remote address, which may serve again
		ended   atomic.Int64
	)
	done := make(chan struct{})
	for i := range connections {
		nc, err := net.Dial("tcp", p.addr)
		require.NoError(t, err)
		defer nc.Close()
		h := hostiles[i%len(hostiles)]
		allowed[nc.LocalAddr().String()]++
		if h.login {
			allowed[nc.LocalAddr().String()]++ // joined, left
		}
		seed := random.Uint64()
		all.Go(func() {
			h.act(nc, rand.New(rand.NewPCG(seed, uint64(i))), done)
			if h.login {
				return
			}
			_ = nc.SetReadDeadline(time.Now().Add(patience))
			if _, err := io.Copy(io.Discard, nc); !os.IsTimeout(err) {
				ended.Add(1)
			}
		})
	}

	logins := make(chan []time.Duration)
	go func() {
		var took []time.Duration
		next := time.NewTicker(20 * time.Millisecond)
		defer next.Stop()
		for {
			select {
			case <-done:
				logins <- took
				return
			case <-next.C:
				took = append(took, login(p.addr))
			}
		}
	}()
	gone := untilSockets(p.process, own+int(loggedIn)+len(hostiles)+passing)
	most := peak(t, p.process, after(6*time.Second)) // hellos have 5 s
	timers.Judge(t, "time until connections that do not log in are ended", <-gone, handshakeEnd)
	close(done)
	all.Wait()
	took := <-logins
	slices.Sort(took)
	require.NotEmpty(t, took)

	assert.InDelta(t, want, ended.Load(), float64(len(hostiles)), "connections that the publisher ended")
	assert.LessOrEqual(t, most-before, 16*mebibyte+loggedIn*64<<10, "memory for %d hostile connections, of which %d logged in", connections, loggedIn)
	timers.Judge(t, "median time of an honest login", took[len(took)/2], time.Second)
	assert.Less(t, took[len(took)-1], loginPatience, "an honest login failed")

	lines := map[string][]string{}
	for _, line := range p.said() {
		if e, ok := parse(line); ok && e.Remote != "" {
			lines[e.Remote] = append(lines[e.Remote], line)
		}
	}
	for remote, most := range allowed {
		assert.LessOrEqual(t, len(lines[remote]), most, "lines of the log about %s: %q", remote, lines[remote])
	}
	now := honest.sub.Position().Next
	honest.wait(t, "the feed goes on", func() bool { return honest.next > now+1000 })
	honest.leave()
	assert.Empty(t, honest.reports, "the honest subscriber lost its connection")
	assert.Greater(t, now, position+10_000, "the feed went on meanwhile")
	t.Logf("%d connections: memory %.1f MiB, %.1f MiB more; %d honest logins: p50 %v, max %v",
		connections, float64(before)/mebibyte, float64(most-before)/mebibyte, len(took), took[len(took)/2], took[len(took)-1])
	audit.judge(t)
}

const loginPatience = patience

// login is how long a hello waits for its welcome; loginPatience if there is none.
func login(addr string) time.Duration {
	began := time.Now()
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 2)}} // its ports are not those of the hostile
	nc, err := d.Dial("tcp", addr)
	return welcomed(nc, err, began)
}

// welcomed returns how long after began the welcome comes on nc, which it closes; loginPatience if there is none.
func welcomed(nc net.Conn, err error, began time.Time) time.Duration {
	if err != nil {
		return loginPatience
	}
	defer nc.Close()
	_ = nc.SetDeadline(began.Add(loginPatience))
	if _, err := nc.Write(hello(codec.StartLive)); err != nil {
		return loginPatience
	}
	if typ, _, err := codec.NewReader(nc, 0).Next(); err != nil || typ != codec.TypeWelcome {
		return loginPatience
	}
	return time.Since(began)
}

func hello(start codec.StartKind) []byte {
	b, err := codec.Append(nil, &codec.Hello{
		MinVersion: codec.Version, MaxVersion: codec.Version, Client: "exam", Start: codec.Start{Kind: start},
	})
	if err != nil {
		panic(err)
	}
	return b
}

// hostiles are what a peer may do to a publisher. Act returns when it has done it, or when done is closed.
var hostiles = []struct {
	name  string
	login bool // it says a good hello
	act   func(nc net.Conn, random *rand.Rand, done <-chan struct{})
}{
	{"silent", false, func(net.Conn, *rand.Rand, <-chan struct{}) {}},
	{"a byte a second", false, func(nc net.Conn, _ *rand.Rand, done <-chan struct{}) {
		second := time.NewTicker(time.Second)
		defer second.Stop()
		for _, b := range hello(codec.StartLive) {
			if _, err := nc.Write([]byte{b}); err != nil {
				return
			}
			select {
			case <-second.C:
			case <-done:
				return
			}
		}
	}},
	{"declared lengths", false, func(nc net.Conn, random *rand.Rand, _ <-chan struct{}) {
		bombs := []string{
			"\xdd\xff\xff\xff\xff", "\xdc\xff\xff", "\x9e\x01\x01\x01\xdb\xff\xff\xff\xff", "\x9e\x01\x01\x01\xa0\xa0\xdd\x7f\xff\xff\xff",
			"\x97\x05\xce\x00\x00\x00\x00\xc6\xff\xff\xff\xff", strings.Repeat("\x91", 4096), strings.Repeat("\xdd\x00\x00\x10\x00", 800),
			"\x9e\x01\xc9\xff\xff\xff\xff\x01", "\xdf\xff\xff\xff\xff",
		}
		_, _ = io.WriteString(nc, bombs[random.IntN(len(bombs))])
	}},
	{"endless hello", false, func(nc net.Conn, _ *rand.Rand, done <-chan struct{}) {
		_, err := io.WriteString(nc, "\x9e\x01\x01\x01\xa1x\xa0\xdd\x00\x0f\xff\xff") // a filter of a million patterns
		for err == nil {
			select {
			case <-done:
				return
			default:
				_, err = io.WriteString(nc, strings.Repeat("\xa4AAPL", 100))
			}
		}
	}},
	{"garbage", false, func(nc net.Conn, random *rand.Rand, _ <-chan struct{}) {
		b := make([]byte, 1+random.IntN(4096))
		for i := range b {
			b[i] = byte(random.Uint32())
		}
		_, _ = nc.Write(b)
	}},
	{"never reading after a hello", true, func(nc net.Conn, _ *rand.Rand, done <-chan struct{}) {
		_, _ = nc.Write(hello(codec.StartBeginning))
		<-done
	}},
}

// A reader is a subscriber that takes everything as bytes and checks that the packets join: it costs less than a follower.
type reader struct {
	name        string
	first, next uint64 // the numbers that it was sent
	final       uint64 // number of the end message; 0 before it arrives
	err         error
}

// read follows the publisher at addr until it receives the end of the session.
func (r *reader) read(addr string) {
	r.err = func() error {
		nc, err := net.Dial("tcp", addr)
		if err != nil {
			return err
		}
		defer nc.Close()
		if _, err := nc.Write(hello(codec.StartBeginning)); err != nil {
			return err
		}
		in := codec.NewReader(nc, codec.MaxMessage)
		pulsed := time.Now()
		for {
			_ = nc.SetReadDeadline(time.Now().Add(patience))
			typ, raw, err := in.Next()
			if err != nil {
				return err
			}
			if now := time.Now(); now.Sub(pulsed) > 500*time.Millisecond {
				pulse, err := codec.Append(nil, &codec.Pulse{Next: r.next})
				if err != nil {
					return err
				}
				if _, err := nc.Write(pulse); err != nil {
					return err
				}
				pulsed = now
			}
			switch typ {
			case codec.TypePacket:
				p := codec.PacketAt(raw)
				if r.next == 0 {
					r.first, r.next = p.First, p.First
				}
				if p.First != r.next {
					return fmt.Errorf("packet %d comes after %d", p.First, r.next)
				}
				r.next += p.Count
			case codec.TypeEnd:
				m, err := codec.Decode(raw)
				if err != nil {
					return err
				}
				r.final = m.(*codec.End).Final
				return nil
			case codec.TypeGoodbye, codec.TypeRefusal:
				return fmt.Errorf("the publisher says %v", typ)
			}
		}
	}()
}

// Subscribers that read nothing, but say that they live, delay nobody: at full rate the others get everything. They cost
// a bound, what the kernel holds for them included (PROMISES.md, 14).
func TestStalledSubscribers(t *testing.T) {
	t.Parallel()
	stalled, plain, followed := effort.Of(t, 100, 20), effort.Of(t, 90, 10), effort.Of(t, 10, 3)
	enough := int64(effort.Of(t, 12, 8) * mebibyte) // more than fits into the buffers of those who do not read
	dir := filepath.Join(t.TempDir(), "journal")
	audit, addr := newAuditor(), newAddress()
	p := publish(t, lively("max", "--journal", dir, "--heartbeat", "20s")...)
	addr.is(p.addr)
	first := follow(t, "healthy 0", audit, addr, patiently)
	first.wait(t, "ticks", func() bool { return first.got > 1000 })
	before := rss(t, p.process)

	done := make(chan struct{})
	var pulses sync.WaitGroup
	silent := map[int]bool{} // by port
	for range stalled {
		nc, err := net.Dial("tcp", p.addr)
		require.NoError(t, err)
		defer nc.Close()
		_ = nc.(*net.TCPConn).SetReadBuffer(4096)
		silent[nc.LocalAddr().(*net.TCPAddr).Port] = true
		_, err = nc.Write(hello(codec.StartBeginning))
		require.NoError(t, err)
		pulse, err := codec.Append(nil, &codec.Pulse{Next: 1})
		require.NoError(t, err)
		pulses.Go(func() {
			again := time.NewTicker(time.Second)
			defer again.Stop()
			for {
				select {
				case <-again.C:
					_, _ = nc.Write(pulse)
				case <-done:
					return
				}
			}
		})
	}
	followers := []*follower{first}
	for i := 1; i < followed; i++ {
		followers = append(followers, follow(t, fmt.Sprintf("healthy %d", i), audit, addr, patiently))
	}
	readers := make([]reader, plain)
	var reading sync.WaitGroup
	for i := range readers {
		readers[i].name = fmt.Sprintf("reader %d", i)
		reading.Go(func() { readers[i].read(p.addr) })
	}
	require.Eventually(t, func() bool { return journalled(t, dir) > enough }, patience, pollTime)
	p.end()
	over := make(chan struct{})
	go func() {
		defer close(over)
		for _, f := range followers {
			f.within(patience, func() bool { return f.final > 0 })
		}
		reading.Wait()
	}()
	most := peak(t, p.process, over)
	here, there := kernelMemory(t, p.addr)
	var total uint64
	for _, f := range followers {
		f.wait(t, "the end", func() bool { return f.final > 0 })
		assert.Equal(t, f.final-f.begun, f.got, "%s: ticks", f.name)
		total += f.got
		f.leave()
		assert.Empty(t, f.reports, "%s lost its connection", f.name)
	}
	for i := range readers {
		r := &readers[i]
		if assert.NoError(t, r.err, r.name) {
			assert.Equal(t, first.final, r.final, r.name)
			assert.Equal(t, r.final, r.next, "%s: the number after the last", r.name)
		}
		total += r.next - r.first
	}
	for _, line := range p.said() {
		e, ok := parse(line)
		assert.False(t, ok && e.Message == "subscriber left" && e.Client == "exam" && e.Next < first.final, "one that reads nothing is gone: %s", line)
	}
	close(done)
	pulses.Wait()
	final := p.stop()
	assert.Equal(t, final-1, first.got)
	behind := 0
	for _, line := range p.said() {
		if e, ok := parse(line); ok && e.Message == "subscriber left" && e.Client == "exam" && e.Next < final {
			behind++
		}
	}
	assert.Equal(t, stalled, behind, "subscribers that read nothing and were served to the end")
	// The memory log, the collector's share of it, and what is bounded for each subscriber.
	all := int64(stalled + plain + followed)
	assert.LessOrEqual(t, most-before, 32*mebibyte+all*256<<10, "memory")
	var kernel, theirs int64 // the most for one that reads nothing
	for port := range silent {
		require.Contains(t, here, port, "a socket that the kernel does not know")
		kernel, theirs = max(kernel, here[port]), max(theirs, there[port])
	}
	const own = 37 << 10 // of the process, as "tickfeed bench memory" measures it
	assert.LessOrEqual(t, own+kernel, int64(256<<10), "memory for one that reads nothing, %d KiB of it the kernel's", kernel>>10)
	t.Logf("%d ticks published, %d delivered to %d healthy subscribers beside %d that read nothing; memory %.1f MiB, %.1f MiB more; "+
		"of the kernel, for one that reads nothing, at most %d KiB at the publisher's end and %d KiB at the other",
		final-1, total, plain+followed, stalled, float64(before)/mebibyte, float64(most-before)/mebibyte, kernel>>10, theirs>>10)
	audit.judge(t)
}

// limitFiles sets how long a file the process may write, in bytes: RLIMIT_FSIZE, the part that can be raised again.
func limitFiles(t *testing.T, p *process, size uint64) {
	t.Helper()
	const unlimited = ^uint64(0)
	limit := syscall.Rlimit{Cur: size, Max: unlimited}
	const fileSize = 1 // RLIMIT_FSIZE
	_, _, errno := syscall.RawSyscall6(syscall.SYS_PRLIMIT64, uintptr(p.Cmd.Process.Pid), fileSize,
		uintptr(unsafe.Pointer(&limit)), 0, 0, 0)
	require.Zero(t, errno, "prlimit: %v", errno)
}

// A publisher whose disk is full, here one whose file may not grow, is not killed by that: it
// says so, goes on serving, and goes on publishing by itself within a second of there being
// room, without a loss or a repetition.
func TestDiskFull(t *testing.T) {
	t.Parallel()
	random := chance(t)
	dir := filepath.Join(t.TempDir(), "journal")
	audit, addr := newAuditor(), newAddress()
	p := publish(t, lively(effort.Of(t, "100k", "20k"), "--journal", dir)...)
	addr.is(p.addr)
	f := follow(t, "follower", audit, addr, patiently)
	timers := effort.WatchTimers(t)
	var resumed []time.Duration
	for range 10 {
		at := f.sub.Position().Next
		f.wait(t, "ticks", func() bool { return f.next > at+100 })
		before := len(p.said())
		limitFiles(t, p.process, uint64(journalled(t, dir))+random.Uint64N(10_000))
		_, ok := p.event(before, "journal: disk full, publishing waits; subscribers are still served, and publishing resumes once there is room")
		require.True(t, ok, "the publisher ended: %v", p.said())

		late := follow(t, "late", audit, addr, nil) // it is served
		reached := uint64(0)
		late.wait(t, "everything so far", func() bool {
			st := late.sub.Status()
			reached = st.Next
			return st.State == subscriber.Live && st.Next == st.Head
		})
		late.leave()
		f.wait(t, "everything so far", func() bool { return f.next >= reached })
		assert.Equal(t, reached, f.sub.Position().Next, "nothing is sent that is not in the journal")

		limitFiles(t, p.process, ^uint64(0))
		began := time.Now()
		f.wait(t, "ticks again", func() bool { return f.next > reached })
		resumed = append(resumed, time.Since(began))
	}
	p.end()
	f.wait(t, "the end", func() bool { return f.final > 0 })
	f.leave()
	f.reconcile()
	final := p.stop()
	assert.Equal(t, final-1, f.got, "ticks")
	assert.Empty(t, f.reports, "the subscriber lost its connection")
	slices.Sort(resumed)
	timers.Judge(t, "median time from room to ticks", resumed[len(resumed)/2], time.Second)
	t.Logf("%d times full: resumed p50 %v, max %v; %d ticks", len(resumed), resumed[len(resumed)/2], resumed[len(resumed)-1], final-1)
	audit.judge(t)
}
