package publisher_test

import (
	"context"
	"net"
	"os"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rs/zerolog"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tickfeed/codec"
	"tickfeed/codec/logto/logtest"
	"tickfeed/publisher"
	"tickfeed/publisher/journal"
	"tickfeed/publisher/journal/memfs"
)

// A process without file descriptors is handled like a full disk: when the next journal file is due, publishing waits
// within its context, subscribers are served from memory and sent heartbeats, the beginning and the end are each
// logged once, and everything resumes by itself (PROMISES.md, 32).
func TestNoDescriptors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fs, log := &memfs.FS{}, &logtest.Buffer{}
		w := start(t, publisher.Config{
			Seed: 1, Journal: "j", FS: fs, Memory: publisher.MinMemory, SegmentSize: journal.MinSegmentSize, Logger: zerolog.New(log),
		})
		c := w.join(codec.Hello{Start: codec.Start{Kind: codec.StartBeginning}})
		c.until(4)
		fs.Limit(1) // fewer than are open, so that the descriptors released by the journal do not suffice
		published := make(chan error)
		ticks := w.trades(200_000)
		go func() { published <- w.pub.Publish(t.Context(), ticks) }()
		for begun := time.Now(); time.Since(begun) < 10*time.Second; {
			at := time.Now()
			require.NoError(t, c.step())
			require.LessOrEqual(t, time.Since(at), publisher.DefaultHeartbeat)
		}
		assert.Contains(t, w.pub.Stats().Disk, "too many open files")
		assert.Len(t, log.Lines("no file descriptors left, publishing waits"), 1)
		assert.Empty(t, log.Lines("can be written again"))
		late := w.join(codec.Hello{})
		late.snapshot()
		late.nc.Close()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		assert.ErrorIs(t, w.pub.Publish(ctx, ticks), context.DeadlineExceeded)
		fs.Limit(0)
		begun := time.Now()
		require.NoError(t, <-published)
		assert.LessOrEqual(t, time.Since(begun), time.Second)
		require.NoError(t, w.pub.Flush(t.Context()))
		assert.Empty(t, w.pub.Stats().Disk)
		assert.Len(t, log.Lines("publishing waits"), 1)
		assert.Len(t, log.Lines("can be written again"), 1)
		head := w.pub.Stats().Head
		c.until(head)
		c.consecutive(1, head)
		c.nc.Close()
	})
}

// If no file descriptor is left to read the journal, a subscriber that needs the journal waits and is sent
// heartbeats. It is not disconnected, and continues once a descriptor is free.
func TestNoDescriptorToRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out atomic.Bool
		fs, log := &memfs.FS{Fault: func(op memfs.Op) (int, error) {
			if op.Kind == memfs.Open && out.Load() {
				return 0, syscall.EMFILE
			}
			return 0, nil
		}}, &logtest.Buffer{}
		w := start(t, publisher.Config{Seed: 1, Journal: "j", FS: fs, Memory: publisher.MinMemory, Logger: zerolog.New(log)})
		require.NoError(t, w.pub.Publish(t.Context(), w.trades(200_000)))
		require.NoError(t, w.pub.Flush(t.Context()))
		out.Store(true)
		c := w.join(codec.Hello{Start: codec.Start{Kind: codec.StartSeq, Value: 1}})
		for range 10 {
			begun := time.Now()
			require.NoError(t, c.step())
			require.LessOrEqual(t, time.Since(begun), publisher.DefaultHeartbeat)
		}
		assert.LessOrEqual(t, c.next, uint64(4), "nothing but heartbeats")
		// The start of the packet that holds the position cannot be read now: the client is asked to retry.
		inside := w.dial(codec.Hello{HasState: true, Position: codec.Position{Lineage: w.pub.Lineage(), Next: 77}})
		refusal := inside.message()
		require.IsType(t, &codec.Refusal{}, refusal)
		assert.Equal(t, codec.CodeInternal, refusal.(*codec.Refusal).Code)
		assert.True(t, refusal.(*codec.Refusal).Retry)
		inside.nc.Close()
		assert.Len(t, log.Lines("subscribers that need it wait"), 1)
		out.Store(false)
		at := time.Now()
		c.until(w.pub.Stats().Head)
		assert.Less(t, time.Since(at), 500*time.Millisecond, "not with the next heartbeat only")
		c.consecutive(1, w.pub.Stats().Head)
		assert.Len(t, log.Lines("can be read again"), 1)
		assert.Empty(t, c.gone.Ranges())
		c.nc.Close()
	})
}

// A flaky is a listener that fails before it accepts.
type flaky struct {
	net.Listener
	errs chan error
}

func (f *flaky) Accept() (net.Conn, error) {
	select {
	case err := <-f.errs:
		return nil, &net.OpError{Op: "accept", Net: "tcp", Err: os.NewSyscallError("accept4", err)}
	default:
		return f.Listener.Accept()
	}
}

// An error of Accept about one connection, or about a passing shortage, does not end Serve: its beginning and its end
// are each logged once. An error about the listener ends Serve.
func TestAcceptFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := &logtest.Buffer{}
		w := start(t, publisher.Config{Seed: 1, Logger: zerolog.New(log)})
		inner, err := w.net.Listen("pub:2")
		require.NoError(t, err)
		ln := &flaky{inner, make(chan error, 100)}
		for _, err := range []error{syscall.EMFILE, syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM, syscall.ECONNABORTED, syscall.EPERM} {
			ln.errs <- err
		}
		served := make(chan error)
		go func() { served <- w.pub.Serve(t.Context(), ln) }()
		nc, err := w.connect(t.Context(), "pub:2")
		require.NoError(t, err)
		_, err = nc.Write([]byte("hello?"))
		require.NoError(t, err)
		_, err = nc.Read(make([]byte, 1))
		require.NoError(t, err, "an answer")
		nc.Close()
		assert.Len(t, log.Lines("cannot accept connections for now"), 1)
		assert.Len(t, log.Lines("accepting connections again"), 1)
		ln.errs <- syscall.EBADF
		nc, err = w.connect(t.Context(), "pub:2") // makes Accept return once more
		require.NoError(t, err)
		defer nc.Close()
		require.ErrorIs(t, <-served, syscall.EBADF)
	})
}
