package main

import (
	"context"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tickfeed/cmd/ops"
	"tickfeed/cmd/ops/opstest"
	"tickfeed/codec/recording"
	"tickfeed/subscriber"
)

// packets OUT PATTERN...: writes the packets of recordings, byte for byte, one file after the other, to OUT. Numbers must
// join, and nothing may be damaged but a torn end.
func packets(ts *testscript.TestScript, _ bool, args []string) {
	var out []byte
	next := uint64(0)
	for _, pattern := range args[1:] {
		names, err := filepath.Glob(ts.MkAbs(pattern))
		ts.Check(err)
		if len(names) == 0 {
			ts.Fatalf("no file matches %s", pattern)
		}
		for _, name := range names {
			f, err := recording.Open(name)
			ts.Check(err)
			defer f.Close()
			r, err := f.Reader()
			ts.Check(err)
			for {
				item, err := r.Next()
				if err == io.EOF {
					break
				}
				ts.Check(err)
				switch item.Kind {
				case recording.KindDamage:
					ts.Fatalf("%s: damage at byte %d", name, item.Offset)
				case recording.KindPackets:
					if next != 0 && item.Range.From != next {
						ts.Fatalf("%s: %v where %d is due", name, item.Range, next)
					}
					next = item.Range.To
					out = append(out, item.Data...)
				}
			}
		}
	}
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), out, 0o600))
}

// A full disk is waited for, unless the work is to end.
func TestPatientFile(t *testing.T) {
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Skip("no /dev/full here")
	}
	defer full.Close()
	ctx, cancel := context.WithCancel(context.Background())
	var said []string
	var waits atomic.Bool
	f := &patientFile{File: full, ctx: ctx, full: &waits, say: func(format string, _ ...any) {
		assert.True(t, waits.Load(), "while it waits")
		said = append(said, format)
		cancel()
	}}
	n, err := f.Write([]byte("x"))
	assert.Zero(t, n)
	require.ErrorIs(t, err, syscall.ENOSPC)
	require.Len(t, said, 1)
	assert.Contains(t, said[0], "waiting for room")
}

// A recorder makes files as recording.CreateNew does: each one new, with a name that is durable, and a Close that makes what is
// in it durable.
func TestRecorderCreates(t *testing.T) {
	dir := t.TempDir()
	made, err := recording.CreateNew(filepath.Join(dir, "like"))
	require.NoError(t, err)
	defer made.Close()
	path := filepath.Join(dir, "a.tick")
	r := &recorder{names: func(int) string { return path }, o: &recordOptions{}}
	f, err := r.create(1)
	require.NoError(t, err)
	defer f.Close()
	require.IsType(t, &patientFile{}, f)
	assert.IsType(t, made, f.(*patientFile).File, "the file under it")
	_, err = r.create(1)
	require.ErrorIs(t, err, fs.ErrExist)
}

// startswith FILE PART: the file begins with the part, which is not empty.
func startswith(ts *testscript.TestScript, _ bool, args []string) {
	if part := ts.ReadFile(args[1]); part == "" || !strings.HasPrefix(ts.ReadFile(args[0]), part) {
		ts.Fatalf("%s does not begin with the %d bytes of %s", args[0], len(part), args[1])
	}
}

// A recording is ready while it has joined a publisher and its file takes what it writes.
func TestRecordingIsReadyWhileItCanWrite(t *testing.T) {
	sub, err := subscriber.New(subscriber.Config{Addrs: []string{"localhost:1"}})
	require.NoError(t, err)
	for _, c := range []struct {
		subs   []*subscriber.Subscriber
		full   bool
		status int
		says   string
	}{
		{nil, false, 200, "output: ok"},
		{nil, true, 503, "output: FAILED, the disk is full: recording waits for room"},
		{[]*subscriber.Subscriber{sub}, false, 503, "upstream: FAILED, disconnected"},
	} {
		var r recorder
		r.full.Store(c.full)
		site := r.site(ops.NewSubscriptions(c.subs...), sub)
		w := opstest.Ask(site.Handler(), "GET", "/readyz?format=text", "")
		assert.Equal(t, c.status, w.Code)
		assert.Contains(t, w.Body.String(), c.says)
		metrics := opstest.Ask(site.Handler(), "GET", "/metrics", "").Body.String()
		assert.Equal(t, c.full, strings.Contains(metrics, "tickfeed_ready{check=\"output\"} 0\n"))
		assert.Equal(t, c.full, strings.Contains(metrics, "tickfeed_recording_blocked 1\n"))
	}
}
