package main

import (
	"errors"
	"net"
	"os"
	osignal "os/signal"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tickfeed/cmd/ops"
	"tickfeed/codec/certs/certstest"
	"tickfeed/feed"
	"tickfeed/feed/files"
	"tickfeed/publisher"
	"tickfeed/publisher/journal/memfs"
)

// A manager is a service manager that records what it is sent.
type manager struct {
	t  *testing.T
	nc *net.UnixConn
}

func newManager(t *testing.T, name string) *manager {
	nc, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: name, Net: "unixgram"})
	require.NoError(t, err)
	t.Cleanup(func() { nc.Close() })
	return &manager{t, nc}
}

// next returns the next state other than "alive".
func (m *manager) next() string {
	m.t.Helper()
	for {
		if s := m.any(); s != stateAlive {
			return s
		}
	}
}

func (m *manager) any() string {
	m.t.Helper()
	b := make([]byte, 1<<10)
	require.NoError(m.t, m.nc.SetReadDeadline(time.Now().Add(patience)))
	n, err := m.nc.Read(b)
	require.NoError(m.t, err)
	return string(b[:n])
}

// A publisher reports to its service manager when it serves, reads its files again, lives and stops, in this order, over a socket in
// the file system or an abstract one.
func TestServiceManager(t *testing.T) {
	for name, drain := range map[string]bool{filepath.Join(t.TempDir(), "notify"): false, "@tickfeed-test-" + filepath.Base(t.TempDir()) + t.TempDir(): true} {
		dir := t.TempDir()
		m := newManager(t, name)
		c := newCommand(dir, "publish", "--journal", "j", "--rate", "1k", "--instruments", "5", "--listen", "unix:feed", "--http", "unix:http", "--status", "0")
		c.Env = append(os.Environ(), "NOTIFY_SOCKET="+name, "WATCHDOG_USEC=100000")
		c.SysProcAttr = &syscall.SysProcAttr{Setsid: true} // as a service: without a terminal
		c.start(t)
		assert.Equal(t, stateReady, m.next())
		nc, err := net.Dial("unix", filepath.Join(dir, "feed"))
		require.NoError(t, err, "the publisher listens once it is ready")
		nc.Close()
		for range 3 {
			assert.Equal(t, stateAlive, m.any())
		}
		if osignal.Ignored(syscall.SIGHUP) {
			t.Log("SIGHUP is not tried: the tests run under nohup, and so do the commands")
			reload := startCommand(t, dir, "control", "reload", "--addr", "unix:http")
			assert.Equal(t, exitDone, reload.exit(t))
		} else {
			require.NoError(t, c.Process.Signal(syscall.SIGHUP))
		}
		assert.Regexp(t, `^RELOADING=1\nMONOTONIC_USEC=\d+$`, m.next())
		assert.Equal(t, stateReady, m.next())
		if drain {
			assert.Equal(t, exitDone, startCommand(t, dir, "control", "drain", "--addr", "unix:http").exit(t))
			assert.Equal(t, "STOPPING=1\nEXTEND_TIMEOUT_USEC=40000000", m.next())
		} else {
			require.NoError(t, c.Process.Signal(syscall.SIGTERM))
		}
		assert.Equal(t, stateStopping, m.next())
		assert.Equal(t, exitDone, c.exit(t), c.err.String())
	}
}

// control reload says what is in force, or why new files cannot be used; what was in force then stays.
func TestReloadSaysWhatIsInForce(t *testing.T) {
	dir, a := t.TempDir(), certstest.NewAuthority("here")
	a.Issue(certstest.Want{Names: []string{"localhost"}}).Write(dir, "feed")
	certstest.WriteFile(dir, "ca.pem", a.PEM)
	pub := startCommand(t, dir, "publish", "--rate", "1k", "--instruments", "5", "--listen", "unix:feed", "--http", "unix:http", "--tls-cert", "feed.pem", "--tls-key", "feed.key")
	pub.says(t, "(?s)listening.*http")
	reload := func() *command { return startCommand(t, dir, "control", "reload", "--addr", "unix:http") }
	c := reload()
	assert.Equal(t, exitDone, c.exit(t), c.err.String())
	assert.Regexp(t, `^read again: TLS: the certificate feed.pem of localhost, until 20\d\d-\d\d-\d\dT[0-9:]+Z\n$`, c.out.String())

	a.Issue(certstest.Want{Names: []string{"other"}}).Write(dir, "other")
	key, err := os.ReadFile(filepath.Join(dir, "other.key"))
	require.NoError(t, err)
	certstest.WriteFile(dir, "feed.key", key)
	c = reload()
	assert.Equal(t, exitFailure, c.exit(t))
	assert.Contains(t, strings.ReplaceAll(c.err.String(), "\n", " "), "TLS: the key feed.key does not belong to the certificate feed.pem")
	assert.Contains(t, c.err.String(), "the previous ones of these files stay in force, and the other files are in use")
	assert.Equal(t, 1, strings.Count(pub.err.String(), "does not belong to the certificate"), "the log reports it once: %s", pub.err.String())
	assert.Equal(t, exitDone, startCommand(t, dir, "subscribe", "unix:feed", "--quiet", "--count", "1", "--tls-ca", "ca.pem").exit(t))

	answer, err := (&ops.Client{Addr: "unix:" + filepath.Join(dir, "http")}).Ask(t.Context(), "/reload", map[string]string{"files": "all"}, "", patience)
	require.NoError(t, err)
	assert.Equal(t, 400, answer.Status)
}

// There may be nothing to read again.
func TestReloadOfNothing(t *testing.T) {
	a, err := new(reloader).reload()
	require.NoError(t, err)
	assert.Contains(t, a.String(), "there is nothing to read again")
}

// A warning about a file is one line of the log, and a line of the answer.
func TestReloadWarnsOnce(t *testing.T) {
	var log strings.Builder
	r := &reloader{
		log: zerolog.New(&log), files: []reloadable{{"users", func() (string, error) { return "1 user", nil }}},
		warnings: func() []string { return []string{"others can read u.yml"} },
	}
	a, err := r.reload()
	require.NoError(t, err)
	assert.Equal(t, "read again: users: 1 user\nwarning: others can read u.yml", a.String())
	assert.Equal(t, `{"level":"warn","message":"others can read u.yml"}`+"\n"+`{"level":"info","message":"read again: users: 1 user"}`+"\n", log.String())
}

// The mistakes of a file, one on each line, become one line.
func TestReloadErrorsAreOneLine(t *testing.T) {
	r := &reloader{files: []reloadable{{"users", func() (string, error) { return "", errors.New("u.yml:1: one\nu.yml:2: two") }}}}
	_, err := r.reload()
	assert.EqualError(t, err, "users: u.yml:1: one; u.yml:2: two; the previous ones of these files stay in force, and the other files are in use")
}

// SIGHUP ends a publisher that has a terminal, because the terminal is gone.
func TestHangupEndsAPublisherWithATerminal(t *testing.T) {
	if osignal.Ignored(syscall.SIGHUP) {
		t.Skip("the tests run under nohup, and so do the commands")
	}
	_, slave := newTerminal(t)
	c := newCommand(t.TempDir(), "publish", "--rate", "1k", "--listen", "unix:feed")
	c.Stdin = slave
	c.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	c.start(t)
	c.says(t, "listening")
	require.NoError(t, c.Process.Signal(syscall.SIGHUP))
	assert.Equal(t, exitDone, c.exit(t), c.err.String())
}

// A publisher lives as long as its ticks reach the journal and the simulated market moves, unless the disk takes nothing. Files may
// be quiet.
func TestLivesAsLongAsTicksReachTheJournal(t *testing.T) {
	var full atomic.Bool
	disk := &memfs.FS{Fault: func(op memfs.Op) (int, error) {
		if full.Load() && op.Kind == memfs.Write {
			return 0, syscall.ENOSPC
		}
		return op.Size, nil
	}}
	pub, err := publisher.New(publisher.Config{Journal: "j", FS: disk})
	require.NoError(t, err)
	defer pub.Close(t.Context())
	s := service{pub: pub, input: &input{}}
	fresh, stale := ops.NewPublisher(pub, time.Minute), ops.NewPublisher(pub, time.Nanosecond)
	assert.True(t, s.lives(t.Context(), fresh, patience))
	assert.False(t, s.lives(t.Context(), stale, patience), "the market has stopped")
	s.input.source = new(files.Source)
	assert.True(t, s.lives(t.Context(), stale, patience), "the file is quiet")

	full.Store(true)
	_, err = pub.Define(t.Context(), feed.Definition{Symbol: "AAPL"})
	require.NoError(t, err)
	require.Eventually(t, func() bool { return pub.Summary().Disk != "" }, patience, time.Millisecond)
	assert.True(t, s.lives(t.Context(), fresh, time.Millisecond), "it waits for the disk")
	full.Store(false)
}
