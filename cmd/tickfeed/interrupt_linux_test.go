package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	osignal "os/signal"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"tickfeed/codec/logto/logtest"
	"tickfeed/feed"
	"tickfeed/publisher"
)

// The first signal cancels. If the process has not ended 700 ms later it says what it waits for. What comes within a second of it
// is the same Ctrl-C; what comes later ends the process, which says what was not saved and has not been paid since.
func TestInterruptsCancelAndThenEnd(t *testing.T) {
	for _, test := range []struct {
		name  string
		after []time.Duration // of each signal, after the one before
		waits bool            // it says so
		exit  bool
	}{
		{"one", []time.Duration{0}, false, false},
		{"two at once", []time.Duration{0, 0}, false, false},
		{"three within 700 ms", []time.Duration{0, 1, 698 * time.Millisecond}, false, false},
		{"five within the second", []time.Duration{0, 1, time.Millisecond, 500 * time.Millisecond, 498 * time.Millisecond}, true, false},
		{"a second later", []time.Duration{0, time.Second}, true, true},
		{"at once, and later", []time.Duration{0, 0, 2 * time.Second}, true, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var stderr logtest.Buffer // the notice and the report come from goroutines of their own
				p := &program{stderr: &stderr}
				p.owe(func() string { return "paid" })()
				p.owe(func() string { return "the ledger" })
				signals := make(chan os.Signal, 4)
				cancelled, code := 0, -1
				go p.interrupts(signals, func() { cancelled++ }, func(c int) { code = c })
				synctest.Wait()
				require.Zero(t, cancelled)
				for _, d := range test.after {
					time.Sleep(d)
					signals <- os.Interrupt
					synctest.Wait()
					require.Equal(t, 1, cancelled)
				}
				said, wanted := "", -1
				if test.waits {
					said = "tickfeed: interrupted, and still ending in order; Ctrl-C again ends at once\n"
				}
				if test.exit {
					said += "tickfeed: interrupted again: ended at once; files that were being written are incomplete\nnot saved: the ledger\n"
					wanted = exitInterrupted
				}
				assert.Equal(t, wanted, code)
				assert.Equal(t, said, stderr.String())
				close(signals)
			})
		})
	}
}

// Standard error that nobody reads does not keep the process.
func TestInterruptedWithoutAReader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		blocked := make(chan struct{})
		p := &program{stderr: blocking(blocked)}
		signals := make(chan os.Signal, 4)
		exited := make(chan int, 1)
		go p.interrupts(signals, func() {}, func(c int) { exited <- c })
		signals <- os.Interrupt
		time.Sleep(sameInterrupt)
		signals <- syscall.SIGTERM
		assert.Equal(t, exitInterrupted, <-exited)
		close(blocked)
	})
}

type blocking chan struct{}

func (b blocking) Write(p []byte) (int, error) {
	<-b
	return len(p), nil
}

// servedQuotes serves a publisher with n quotes.
func servedQuotes(t *testing.T, n int) *served {
	pub := serve(t, publisher.Config{}, "127.0.0.1:0")
	id, err := pub.Define(t.Context(), feed.Definition{Symbol: "A", Venue: "with a long name, so that a line is long"})
	require.NoError(t, err)
	ticks := make([]feed.Tick, n)
	for i := range ticks {
		ticks[i] = feed.Quote{Bid: int64(i), BidSize: 1, Ask: int64(i) + 1, AskSize: 1}.Tick(id, noon)
	}
	require.NoError(t, pub.Publish(t.Context(), ticks))
	require.NoError(t, pub.Flush(t.Context()))
	return pub
}

// Two signals at once, as when timeout and its command both get a Ctrl-C, end the subscription in order: the position, the
// ledger and the account are there.
func TestTwoInterruptsAtOnce(t *testing.T) {
	pub := servedQuotes(t, 1000)
	for _, signal := range []os.Signal{os.Interrupt, syscall.SIGTERM} {
		dir := t.TempDir()
		c := startCommand(t, dir, "subscribe", pub.addr, "--from", "beginning", "--state", "position", "--ledger", "ledger", "--json")
		c.says(t, "live: |connected to")
		require.NoError(t, c.Process.Signal(signal))
		_ = c.Process.Signal(signal)
		code := exitInterrupted
		if signal == syscall.SIGTERM {
			code = exitDone
		}
		require.Equal(t, code, c.exit(t), c.err.String())
		assert.Regexp(t, `account: [\d,]+ ticks?, 0 recoveries, 0 withheld, 0 lost, 0 disowned, 0 duplicated; next seq \d+\n$`, c.err.String())
		assert.NotContains(t, c.err.String(), "not saved")
		b, err := os.ReadFile(filepath.Join(dir, "ledger"))
		require.NoError(t, err)
		var ledger feed.Ledger
		require.NoError(t, json.Unmarshal(b, &ledger))
		lines := bytes.Count([]byte(c.out.String()), []byte("\n"))
		assert.Equal(t, uint64(lines), ledger.Totals().Delivered)
		if lines > 0 {
			assert.Equal(t, uint64(lines)+1, position(t, filepath.Join(dir, "position")).Next)
		}
	}
}

// A subscription that hangs on output which nobody reads is ended at once by a signal that comes a second after the first,
// and says what it did not save.
func TestSecondInterrupt(t *testing.T) {
	t.Parallel()
	pub := servedQuotes(t, 10_000)
	dir := t.TempDir()
	r, w, err := os.Pipe()
	require.NoError(t, err)
	defer r.Close()
	c := newCommand(dir, "subscribe", pub.addr, "--from", "beginning", "--state", "position", "--ledger", "ledger", "--json")
	c.Stdout = w
	c.start(t)
	w.Close()
	c.says(t, "connected to")
	require.Eventually(t, func() bool {
		n, err := unix.IoctlGetInt(int(r.Fd()), unix.TIOCINQ)
		return err == nil && n > 60_000
	}, patience, time.Millisecond, "the pipe is full")
	require.NoError(t, c.Process.Signal(os.Interrupt))
	c.says(t, `tickfeed: interrupted, and waiting for standard output to take [\d,]+ lines; Ctrl-C again ends at once, and lists what is not saved\n`)
	for begun := time.Now(); time.Since(begun) < 2*sameInterrupt; {
		select {
		case <-c.done:
			t.Fatalf("one signal ended it, though its output is not written:\n%s", c.err.String())
		case <-time.After(sameInterrupt / 4):
		}
	}
	require.NoError(t, c.Process.Signal(syscall.SIGTERM))
	require.Equal(t, exitInterrupted, c.exit(t), c.err.String())
	assert.Contains(t, c.err.String(), "interrupted again: ended at once")
	assert.Regexp(t, `not saved: the end of the output on standard output; the position, if --state position does not say \d+ yet: `+
		`the ticks from there on come again; the account, --ledger ledger; next seq \d+\n`, c.err.String())
	_, err = os.Lstat(filepath.Join(dir, "ledger"))
	assert.ErrorIs(t, err, os.ErrNotExist)
}

// Every command that writes to standard output says what it waits for if nobody reads that, and a second signal ends it at once.
func TestInterruptWhileStandardOutputIsBlocked(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	day, err := filepath.Abs("../../testdata/day.tick")
	require.NoError(t, err)
	for name, args := range map[string][]string{
		"export":  {"export", day, "-o", "-", "--as", "ndjson"},
		"import":  {"import", day, "-o", "-"},
		"cut":     {"cut", day, "-o", "-"},
		"inspect": {"inspect", day, "--ticks", "--json"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r, w, err := os.Pipe()
			require.NoError(t, err)
			defer r.Close()
			if name == "import" {
				quotes := []byte("ts_event,symbol,bid,ask\n")
				for i := range 20_000 {
					quotes = fmt.Appendf(quotes, "2026-03-02T14:30:00Z,AAPL,%d,%d\n", i+1, i+2)
				}
				require.NoError(t, os.WriteFile(filepath.Join(dir, "quotes.csv"), quotes, 0o600))
				args[1] = "quotes.csv"
			}
			c := newCommand(dir, args...)
			c.Stdout = w
			c.start(t)
			w.Close()
			require.Eventually(t, func() bool {
				n, err := unix.IoctlGetInt(int(r.Fd()), unix.TIOCINQ)
				return err == nil && n > 60_000
			}, patience, time.Millisecond, "the pipe is full")
			require.NoError(t, c.Process.Signal(os.Interrupt))
			c.says(t, `tickfeed: interrupted, and waiting for standard output to take [\d,.]+ \w+; Ctrl-C again ends at once`)
			time.Sleep(sameInterrupt) // it had the first signal before it said that
			require.NoError(t, c.Process.Signal(os.Interrupt))
			require.Equal(t, exitInterrupted, c.exit(t), c.err.String())
			assert.Contains(t, c.err.String(), "interrupted again: ended at once")
			assert.Regexp(t, "not saved: .*standard output", c.err.String())
		})
	}
}

// Two signals at once end every command in order, with the exit code of the one that the process takes first.
func TestTwoInterruptsOfOtherCommands(t *testing.T) {
	pub := servedQuotes(t, 10)
	for name, args := range map[string][]string{
		"record":  {"record", pub.addr, "--from", "beginning", "-o", "r.tick"},
		"publish": {"publish", "--listen", "127.0.0.1:0", "--rate", "1k", "--instruments", "5"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			c := startCommand(t, dir, args...)
			c.says(t, map[string]string{"record": "live: |connected to", "publish": "127.0.0.1"}[name])
			require.NoError(t, c.Process.Signal(os.Interrupt))
			_ = c.Process.Signal(syscall.SIGTERM)
			require.Contains(t, []int{exitInterrupted, exitDone}, c.exit(t), c.err.String())
			assert.NotContains(t, c.err.String(), "interrupted again")
			assert.Contains(t, c.err.String(), map[string]string{"record": "recorded: ", "publish": `"message":"stopped"`}[name])
			if name == "record" {
				assert.NoError(t, verifyRecording(filepath.Join(dir, "r.tick")))
			}
		})
	}
}

// servedWithoutTail serves a publisher that does not have its first numbers any more.
func servedWithoutTail(t *testing.T) *served {
	pub := serve(t, publisher.Config{Journal: t.TempDir(), SegmentSize: 64 << 10, RetainBytes: 128 << 10, Memory: publisher.MinMemory}, "127.0.0.1:0")
	id, err := pub.Define(t.Context(), feed.Definition{Symbol: "A"})
	require.NoError(t, err)
	ticks := make([]feed.Tick, 1000)
	for i := range ticks {
		ticks[i] = feed.Quote{Bid: int64(i), BidSize: 1, Ask: int64(i) + 1, AskSize: 1}.Tick(id, 1)
	}
	for pub.Stats().Tail == 1 {
		require.NoError(t, pub.Publish(t.Context(), ticks))
		require.NoError(t, pub.Flush(t.Context()))
	}
	return pub
}

// A service that SIGTERM or SIGHUP stops, and that saves everything, is done; if ticks were lost, exit code 3 says so all the same.
// Ctrl-C is exit code 130.
func TestSignalsHaveExitCodes(t *testing.T) {
	t.Parallel()
	pub := servedQuotes(t, 10)
	lossy := servedWithoutTail(t)
	day, err := filepath.Abs("../../testdata/day.tick")
	require.NoError(t, err)
	for name, test := range map[string]struct {
		args []string
		says string
		code int
	}{
		"subscribe":      {[]string{"subscribe", pub.addr, "--from", "beginning", "--state", "position", "--ledger", "ledger"}, "live: ", exitDone},
		"record":         {[]string{"record", pub.addr, "--from", "beginning", "-o", "r.tick"}, "live: ", exitDone},
		"publish":        {[]string{"publish", "--journal", "j", "--listen", "127.0.0.1:0", "--rate", "1k", "--instruments", "5"}, "listening", exitDone},
		"replay":         {[]string{"replay", day, "--listen", "127.0.0.1:0", "--http", ""}, "listening", exitDone},
		"subscribe lost": {[]string{"subscribe", lossy.addr, "--from", "seq:1", "--quiet"}, "live: ", exitData},
		"record lost":    {[]string{"record", lossy.addr, "--from", "seq:1", "-o", "r.tick"}, "live: ", exitData},
	} {
		t.Run(name, func(t *testing.T) {
			for signal, code := range map[os.Signal]int{syscall.SIGTERM: test.code, syscall.SIGHUP: test.code, os.Interrupt: exitInterrupted} {
				dir := t.TempDir()
				if signal == syscall.SIGHUP && osignal.Ignored(signal) {
					t.Log("not tried: the tests run under nohup, and so do the commands")
					continue
				}
				if signal == syscall.SIGHUP && name == "publish" {
					continue // see TestHangupEndsAPublisherWithATerminal
				}
				c := startCommand(t, dir, test.args...)
				c.says(t, test.says)
				require.NoError(t, c.Process.Signal(signal))
				require.Equal(t, code, c.exit(t), "%v: %s", signal, c.err.String())
			}
		})
	}
}

// A failure to save while a subscription ends is reported and is exit code 1, however the subscription ended.
func TestEndThatSavesNothing(t *testing.T) {
	pub := servedQuotes(t, 10)
	for _, signal := range []os.Signal{os.Interrupt, syscall.SIGTERM, nil} {
		dir := t.TempDir()
		gone := filepath.Join(dir, "gone")
		require.NoError(t, os.Mkdir(gone, 0o755))
		head := pub.Stats().Head
		c := startCommand(t, dir, "subscribe", pub.addr, "--from", "beginning", "--quiet", "--ledger", "gone/ledger", "--count", fmt.Sprint(head))
		c.says(t, "live: ")
		require.NoError(t, os.Remove(gone))
		if signal != nil {
			require.NoError(t, c.Process.Signal(signal))
		} else { // the one that is missing
			_, err := pub.Define(t.Context(), feed.Definition{Symbol: "B"})
			require.NoError(t, err)
			require.NoError(t, pub.Flush(t.Context()))
		}
		assert.Equal(t, exitFailure, c.exit(t), "%v: %s", signal, c.err.String())
		assert.Contains(t, c.err.String(), "tickfeed: --ledger: ")
	}
}

// A file that never ends, or never begins, is given up at the first signal.
func TestInterruptEndsTheReadingOfFiles(t *testing.T) {
	for _, flag := range []string{"--config", "--token-file"} {
		for _, signal := range []os.Signal{os.Interrupt, syscall.SIGTERM} {
			dir := t.TempDir()
			fifo := filepath.Join(dir, "fifo")
			require.NoError(t, syscall.Mkfifo(fifo, 0o600))
			c := startCommand(t, dir, "subscribe", "127.0.0.1:1", flag, "fifo")
			var w *os.File
			require.Eventually(t, func() (opened bool) { // once somebody reads it
				var err error
				w, err = os.OpenFile(fifo, os.O_WRONLY|syscall.O_NONBLOCK, 0)
				return err == nil
			}, patience, time.Millisecond)
			defer w.Close()
			require.NoError(t, c.Process.Signal(signal))
			assert.Equal(t, exitInterrupted, c.exit(t), c.err.String())
		}
	}
}

// A named pipe of --reports that nobody reads is waited for until a signal comes.
func TestInterruptEndsTheWaitForAReader(t *testing.T) {
	fifo := filepath.Join(t.TempDir(), "fifo")
	require.NoError(t, syscall.Mkfifo(fifo, 0o600))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := openReports(ctx, fifo)
	assert.ErrorIs(t, err, errInterrupted)
	r, err := os.OpenFile(fifo, os.O_RDONLY|syscall.O_NONBLOCK, 0) // the open goes on: let it end
	require.NoError(t, err)
	defer r.Close()
	require.Eventually(t, func() bool {
		stacks := make([]byte, 1<<20)
		return !bytes.Contains(stacks[:runtime.Stack(stacks, true)], []byte("tickfeed.waitFor["))
	}, patience, time.Millisecond)
}

// A pipe that nobody writes to is not waited for without end, and is named.
func TestSmallFileThatDoesNotCome(t *testing.T) {
	fifo := filepath.Join(t.TempDir(), "fifo")
	require.NoError(t, syscall.Mkfifo(fifo, 0o600))
	_, err := readWithin(t.Context(), fifo, 100, 10*time.Millisecond)
	assert.EqualError(t, err, fifo+" could not be read completely within 10ms: is it a pipe that nobody writes to?")
	w, err := os.OpenFile(fifo, os.O_RDWR, 0) // the open goes on: let it end
	require.NoError(t, err)
	require.NoError(t, w.Close())
}

// The first signal is answered with the name of a ledger that waits for a reader.
func TestLedgerWaitsForAReader(t *testing.T) {
	fifo := filepath.Join(t.TempDir(), "fifo")
	require.NoError(t, syscall.Mkfifo(fifo, 0o600))
	require.NoError(t, (&subscribeOptions{ledger: fifo, force: true}).checkFiles(), "a pipe is not opened at the start")
	var said bytes.Buffer
	p := &program{stderr: &said}
	written := make(chan error, 1)
	go func() { written <- p.writeLedger(fifo, true, &feed.Ledger{}) }()
	require.Eventually(t, func() bool {
		p.mu.Lock()
		defer p.mu.Unlock()
		return len(p.slow) == 1 && p.slow[0].waits() != ""
	}, patience, time.Millisecond)
	p.sayWaits()
	assert.Contains(t, said.String(), "interrupted, and waiting for --ledger "+fifo+" to be opened by a reader")
	r, err := os.Open(fifo)
	require.NoError(t, err)
	defer r.Close()
	b, err := io.ReadAll(r)
	require.NoError(t, err)
	assert.NotEmpty(t, b)
	require.NoError(t, <-written)
}

// A publisher that is interrupted sends its subscribers everything that it has published before it says goodbye.
func TestStopSendsWhatWasPublished(t *testing.T) {
	for _, journal := range []string{"", "journal"} {
		dir := t.TempDir()
		args := []string{"publish", "--listen", "unix:p.sock", "--rate", "2M", "--instruments", "100", "--status", "0"}
		if journal != "" {
			args = append(args, "--journal", journal)
		}
		for range 4 { // the last ticks were missing now and then only
			pub := startCommand(t, dir, args...)
			pub.says(t, "listening")
			sub := startCommand(t, dir, "subscribe", "unix:p.sock", "--quiet", "--max-attempts", "1")
			sub.says(t, "live: ")
			require.NoError(t, pub.Process.Signal(os.Interrupt))
			require.Equal(t, exitInterrupted, pub.exit(t), pub.err.String())
			head := regexp.MustCompile(`"head":(\d+).*"stopped"`).FindStringSubmatch(pub.err.String())
			require.NotNil(t, head, pub.err.String())
			sub.exit(t)
			assert.Contains(t, sub.err.String(), "next seq "+head[1]+"\n", "with journal %q", journal)
		}
	}
}

// A replay that is interrupted sends its subscribers everything that it has played before it says goodbye.
func TestStopSendsWhatWasPlayed(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	startCommand(t, dir, "publish", "--instruments", "50", "--days", "1", "--speed", "23400", "--rate", "400k", "--listen", "unix:q.sock", "--exit-at-end", "--status", "0")
	record := startCommand(t, dir, "record", "unix:q.sock", "--from", "beginning", "--count", "300000", "-o", "r.tick")
	require.Equal(t, exitDone, record.exit(t), record.err.String())
	for range 4 {
		play := startCommand(t, dir, "replay", "r.tick", "--speed", "1x", "--wait-subscribers", "1", "--listen", "unix:p.sock", "--http", "", "--status", "0")
		play.says(t, "listening")
		sub := startCommand(t, dir, "subscribe", "unix:p.sock", "--quiet", "--max-attempts", "1")
		sub.says(t, "live: ")
		time.Sleep(50 * time.Millisecond) // into the midst of it
		require.NoError(t, play.Process.Signal(os.Interrupt))
		require.Equal(t, exitInterrupted, play.exit(t), play.err.String())
		next := regexp.MustCompile(`"seq":(\d+).*"stopped"`).FindStringSubmatch(play.err.String())
		require.NotNil(t, next, play.err.String())
		sub.exit(t)
		assert.Contains(t, sub.err.String(), "next seq "+next[1]+"\n")
	}
}

// waitBounded gives up a function that does not end in time, because a disk hangs.
func TestWaitIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &program{}
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Hour, cancel)
		hangs, failed := make(chan struct{}), errors.New("failed")
		begun := time.Now()
		assert.ErrorIs(t, p.waitBounded(ctx, func() error { time.Sleep(time.Minute); return failed }), failed)
		assert.ErrorIs(t, p.waitBounded(ctx, func() error { time.Sleep(time.Hour + endTime - time.Minute - 1); return failed }), failed)
		assert.Equal(t, time.Hour+endTime-1, time.Since(begun))
		assert.ErrorIs(t, p.waitBounded(ctx, func() error { <-hangs; return nil }), errHangs)
		assert.Equal(t, time.Hour+2*endTime-1, time.Since(begun))
		close(hangs)
	})
}

// A recording has its name from the first packet on, and can be read while it is written.
func TestRecordingIsReadWhileItIsWritten(t *testing.T) {
	t.Parallel()
	pub := servedQuotes(t, 500)
	dir := t.TempDir()
	rec := startCommand(t, dir, "record", pub.addr, "--from", "beginning", "-o", "r.tick")
	for deadline := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
		look := startCommand(t, dir, "inspect", "--verify", "r.tick")
		code := look.exit(t)
		if code == exitDone && strings.Contains(look.out.String(), "sound, not closed") && strings.Contains(look.out.String(), "; 501 numbers in ") {
			break
		}
		require.True(t, time.Now().Before(deadline), "%s %s", look.out.String(), look.err.String())
	}
	select {
	case <-rec.done:
		t.Fatal(rec.err.String())
	default:
	}
}
