package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"tickfeed/cmd/ops"
	"tickfeed/codec"
	"tickfeed/codec/recording"
	"tickfeed/feed"
	"tickfeed/feed/nouns"
	"tickfeed/subscriber"
)

// recordOptions are the flags of record.
type recordOptions struct {
	subscribeOptions
	output     string
	duration   time.Duration
	rotateSize byteSize
	rotateTime time.Duration
}

func (p *program) recordCommand() *cobra.Command {
	var o recordOptions
	cmd := &cobra.Command{
		Use:   "record [ADDR...] -o FILE",
		Short: "Record what a publisher sends, byte for byte",
		Long: `Receive the packets of a publisher at ADDR (HOST[:PORT] or unix:PATH, default ` + defaultAddress + `; several
are tried in turn) and write them to FILE unchanged (.tick, or compressed as .tick.zst). When the
connection breaks or the publisher restarts, record reconnects and continues in the same file. Ticks that
the publisher no longer had are listed as missing in the file and at the end:

  account: 12,345 ticks, 2 recoveries, 0 withheld, 0 lost, 0 disowned, 0 duplicated; next seq 12346
  recorded: 345 packets, 1.2 MB in 1 file

After a crash, record what follows into another file with --from seq:N, where N is the number after the last one
in FILE, and join the two with "tickfeed merge"; --force would replace FILE.

On Ctrl-C the file is closed, synced and verified. FILE has its name from the first packet on: other
commands can read it while it is written, and after a crash, as it is, up to the last packet (if
compressed, the last MiB or so is missing). If the disk is full, record waits until there is space;
meanwhile the publisher keeps the ticks.

With --rotate-size or --rotate-time the files are numbered FILE-0001.tick and so on, continuing after
existing files; each file can be read alone.

Exit codes: 0 --count, --duration or --until-end was reached; 1 the file could not be written, or
--max-attempts was reached; 3 ticks were lost that are not expired; 4 refused for good, or --max-attempts was reached and TLS
found something wrong (see tickfeed subscribe --help, also for what is tried again); 130 Ctrl-C.
SIGTERM and SIGHUP end record as --count does.`,
		Example: `  tickfeed record -o session.tick
  tickfeed record --from beginning --until-end -o all.tick.zst localhost:8425
  tickfeed record --symbols 'AAPL,MSFT' --duration 10m -o two.tick
  tickfeed record --rotate-size 1GB --rotate-time 1h -o archive/feed.tick`,
		RunE: func(cmd *cobra.Command, args []string) error { return p.record(cmd.Context(), &o, args) },
	}
	group(cmd, "What to record", func(f *pflag.FlagSet) {
		f.StringSliceVar(&o.symbols, "symbols", nil, "only instruments that match `PATTERNS`: SYMBOL or SYMBOL@VENUE with wildcards * and ?, separated by commas")
		f.StringVar(&o.from, "from", "snapshot", "where to `START`: snapshot (now), beginning, seq:N, or time:T with T in RFC 3339 or ns since the Unix epoch")
		countVar(f, &o.count, "count", 0, "end with the packet that brings the `N`th tick; 0 for no limit")
		f.DurationVar(&o.duration, "duration", 0, "end after this time")
		f.BoolVar(&o.untilEnd, "until-end", false, "end when the publisher's source has ended and every tick was received")
	})
	group(cmd, "Output", func(f *pflag.FlagSet) {
		f.StringVarP(&o.output, "output", "o", "", "write to `FILE`, NAME.tick or NAME.tick.zst (required)")
		f.BoolVar(&o.force, "force", false, "replace FILE if it exists")
		f.Var(&o.rotateSize, "rotate-size", "start a new file when the current one reaches this size (before compression), such as 1GB; at least "+strconv.Itoa(recording.MarkInterval)+" bytes")
		f.DurationVar(&o.rotateTime, "rotate-time", 0, "start a new file when the current one spans this much publish time, such as 1h")
	})
	o.connectionFlags(cmd)
	return cmd
}

// check refuses invalid flags, in addition to the checks of subscribe.
func (o *recordOptions) check() error {
	switch {
	case o.output == "":
		return usage("-o FILE is missing: name the file to record to, such as -o session.tick")
	case o.output == "-":
		return usage("-o -: a recording is written to a file, not to standard output")
	case !strings.HasSuffix(o.output, recordingSuffix) && !strings.HasSuffix(o.output, recordingSuffix+zstdSuffix):
		return usage("-o %s: want a name that ends in %s or %s%s; export writes other formats", o.output, recordingSuffix, recordingSuffix, zstdSuffix)
	case o.from == "live":
		return usage("--from live: a recording begins with a snapshot; leave the flag out")
	case o.duration < 0:
		return usage("--duration must not be negative, got %v", o.duration)
	case o.rotateTime < 0:
		return usage("--rotate-time must not be negative, got %v", o.rotateTime)
	case o.rotateSize != 0 && o.rotateSize < recording.MarkInterval:
		return usage("--rotate-size must be at least %d bytes, got %d", recording.MarkInterval, o.rotateSize)
	}
	if info, err := os.Stat(filepath.Dir(o.output)); err != nil || !info.IsDir() {
		return usage("-o %s: there is no directory %s", o.output, filepath.Dir(o.output))
	}
	if !o.rotates() && !o.force {
		if _, err := os.Lstat(o.output); err == nil {
			return usage("-o %s: the file exists; choose another%s, or replace it with --force", o.output, goOn(o.output))
		}
	}
	return nil
}

// maxLook bounds the size of a recording that goOn reads, in bytes.
const maxLook = 256 << 20

// goOn says how to record what follows the recording at path, such as one that record was writing when it was killed. It returns ""
// if there is no recording.
func goOn(path string) string {
	in, err := recording.Open(path)
	if err != nil {
		return ""
	}
	defer in.Close()
	r, err := in.Reader()
	if err != nil {
		return ""
	}
	next := "N, the number after its last one, which tickfeed inspect shows"
	if in.Size() <= maxLook {
		last := r.Header().Next
		for err == nil {
			var item recording.Item
			if item, err = r.Next(); err == nil && item.Kind == recording.KindPackets {
				last = item.Range.To
			}
		}
		if err == io.EOF {
			next = strconv.FormatUint(last, 10)
		}
	}
	return fmt.Sprintf(" and go on where this one ends with --from seq:%s, then join both with tickfeed merge", next)
}

func (o *recordOptions) rotates() bool { return o.rotateSize > 0 || o.rotateTime > 0 }

const (
	recordingSuffix = ".tick"
	zstdSuffix      = ".zst"
)

func (p *program) record(ctx context.Context, o *recordOptions, addrs []string) error {
	if err := o.check(); err != nil {
		return err
	}
	cfg, err := o.config(ctx, addrs)
	if err != nil {
		return err
	}
	p.shown = o.shown(cfg.Token)
	names, err := o.names()
	if err != nil {
		return err
	}
	if err := recording.Check(names(1), o.force); err != nil {
		return usage("-o: %w", err)
	}
	running, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	if o.duration > 0 {
		timer := time.AfterFunc(o.duration, func() { stop(errEnough) })
		defer timer.Stop()
	}
	say := p.notef
	if isTerminal(p.stderr) {
		say = func(format string, args ...any) {
			fmt.Fprint(p.stderr, clearLine)
			p.notef(format, args...)
		}
	}
	if cfg.TLS, err = o.tls.config(say); err != nil {
		return err
	}
	defer p.followSecrets(ctx, o.tokenFile, o.tls.key, o.http.tokenFile, o.http.tls.key)()
	keep := &recorder{
		recv:  receiver{say: say, failures: failures{say: say, maxAttempts: o.maxAttempts}, count: o.count, untilEnd: o.untilEnd, patterns: patterns{filter: cfg.Filter}, stop: stop},
		names: names,
		ctx:   running,
		o:     o,
	}
	keep.Recorder = recording.NewRecorder(recording.RecorderConfig{
		Create: keep.create, Closed: keep.closed,
		RotateSize: int64(o.rotateSize), RotateTime: o.rotateTime,
		Source: "recorded from " + strings.Join(cfg.Addrs, ", "), Now: func() int64 { return time.Now().UnixNano() },
	})
	cfg.Recorder, cfg.BatchSize = keep, 0
	cfg.Logger = p.logger(zerolog.ErrorLevel) // describe reports the events
	cfg.Dial = dial
	s, err := subscriber.New(cfg)
	if err != nil {
		return usage("%w", err)
	}
	web, err := o.http.listen(ctx)
	if err != nil {
		return err
	}
	view := ops.NewSubscriptions(s)
	keep.recv.recovered = view.Note
	defer o.http.serveBeside(ctx, web, keep.site(view, s), p.logger(zerolog.WarnLevel))()
	began := time.Now()
	done := p.progress(func() string {
		st, ticks := s.Status(), keep.ticks.Load()
		return fmt.Sprintf("recording: %s, %s ticks, %s, %s ticks behind, %v", formatBytes(keep.bytes.Load()), formatCount(float64(ticks)),
			formatRate(float64(ticks)/time.Since(began).Seconds()), formatCount(float64(st.LagTicks)), st.State)
	})
	defer p.owe(func() string { return "the end of -o " + o.output + ", which can be read up to its last whole packet" })()
	err = s.Run(running, keep.handle)
	done()
	return p.closeRecording(keep, s, p.ended(ctx, err))
}

// closeRecording closes the recording of s, which ended with err, and prints its account.
func (p *program) closeRecording(keep *recorder, s *subscriber.Subscriber, err error) error {
	ledger := s.Ledger()
	if err == nil {
		err = lostError(ledger.Totals())
	}
	if closeErr := keep.Close(); closeErr != nil {
		if errors.Is(err, errInterrupted) {
			err = nil // the incomplete file matters more
		}
		err = errors.Join(err, closeErr)
	}
	code := p.exit(nil, err)
	stats := keep.Stats()
	p.notef("%s", keep.recv.account(ledger, s.Position().Next))
	p.notef("recorded: %s, %s in %s", nouns.Count(uint64(stats.Packets), "packet"), formatBytes(stats.Bytes), nouns.Count(stats.Files, "file"))
	if code != exitDone {
		return &exitError{code: code} // already reported
	}
	return nil
}

// names returns a function that names the nth file: the name given, or numbered names after the existing ones.
func (o *recordOptions) names() (func(n int) string, error) {
	if !o.rotates() {
		return func(int) string { return o.output }, nil
	}
	suffix := recordingSuffix
	if strings.HasSuffix(o.output, zstdSuffix) {
		suffix += zstdSuffix
	}
	stem := strings.TrimSuffix(o.output, suffix)
	entries, err := os.ReadDir(filepath.Dir(o.output))
	if err != nil {
		return nil, fmt.Errorf("-o %s: %w", o.output, err)
	}
	last := 0
	for _, e := range entries {
		digits, ok := strings.CutPrefix(e.Name(), filepath.Base(stem)+"-")
		digits, _ = strings.CutSuffix(digits, zstdSuffix)
		digits, ok2 := strings.CutSuffix(digits, recordingSuffix)
		if n, err := strconv.Atoi(digits); ok && ok2 && err == nil {
			last = max(last, n)
		}
	}
	return func(n int) string { return fmt.Sprintf("%s-%04d%s", stem, last+n, suffix) }, nil
}

// A recorder handles a subscription for record: it passes packets to the Recorder, and batches to the receiver for the
// account.
type recorder struct {
	*recording.Recorder
	recv  receiver
	names func(n int) string
	ctx   context.Context
	o     *recordOptions

	created int // number of the last file created

	ticks, bytes atomic.Int64 // for the progress line
	full         atomic.Bool  // a write waits for room
}

// site returns the site that is served over HTTP.
func (r *recorder) site(view *ops.Subscriptions, s *subscriber.Subscriber) ops.Site {
	site := subscriptionSite("record", view, func() any {
		st := newSubscriptionStatus([]*subscriber.Subscriber{s})
		st.Recorded = r.bytes.Load()
		return st
	})
	site.Ready = func() []ops.Check { return append(view.Ready(), ops.OutputReady(r.full.Load())) }
	site.Metrics = append(site.Metrics, ops.RecordingMetrics(r.bytes.Load, r.ticks.Load, r.full.Load))
	return site
}

// handle is the handler for subscriber.Run.
func (r *recorder) handle(b *subscriber.Batch) error {
	if err := r.recv.handle(b); err != nil {
		return err
	}
	if b.Change != nil && b.Change.Unrelated {
		for _, n := range b.Change.Lost {
			if err := r.Left(n.Session, n.Range); err != nil {
				return err
			}
		}
	}
	r.ticks.Store(int64(r.recv.ticks))
	return nil
}

// Begin implements subscriber.Recorder. It starts no file once the wanted ticks are recorded.
func (r *recorder) Begin(h codec.FileHeader, state *feed.State, lost feed.Range) error {
	if r.enough() {
		return errEnough
	}
	return r.begun(r.Recorder.Begin(h, state, lost))
}

// Before implements subscriber.Recorder.
func (r *recorder) Before(p codec.Packet, state *feed.State) error {
	return r.begun(r.Recorder.Before(p, state))
}

// begun removes the file whose beginning could not be written, if that is what err reports: the file holds nothing.
func (r *recorder) begun(err error) error {
	if err != nil && r.created > r.Stats().Files {
		err = errors.Join(err, os.Remove(r.names(r.created)))
	}
	return err
}

// Packet implements subscriber.Recorder.
func (r *recorder) Packet(raw []byte) error {
	if r.enough() {
		return errEnough
	}
	r.bytes.Add(int64(len(raw)))
	return r.Recorder.Packet(raw)
}

func (r *recorder) enough() bool { return r.recv.count > 0 && r.recv.ticks >= r.recv.count }

func (r *recorder) create(n int) (recording.File, error) {
	path := r.names(n)
	if r.o.force && !r.o.rotates() {
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
	}
	f, err := recording.CreateNew(path)
	if err != nil {
		return nil, err
	}
	r.created = n
	patient := &patientFile{File: f, ctx: r.ctx, say: r.recv.say, full: &r.full}
	if strings.HasSuffix(path, zstdSuffix) {
		return recording.Compress(patient)
	}
	return patient, nil
}

// closed verifies the nth file after it was closed.
func (r *recorder) closed(n int) error {
	path := r.names(n)
	switch err := verifyRecording(path); {
	case errors.Is(err, errNoEnd):
		return fmt.Errorf("%s has no index, because the last write failed; it can be read up to its last whole packet", path)
	case err != nil:
		return wrong("%s was written, but cannot be read back correctly: %w", path, err)
	}
	return nil
}

var errNoEnd = errors.New("it has no end")

// verifyRecording reads a recording to its end and returns an error unless all checksums hold, nothing is missing between
// packets, and it was closed.
func verifyRecording(path string) error {
	f, err := recording.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	r, err := f.Reader()
	if err != nil {
		return err
	}
	for {
		item, err := r.Next()
		switch {
		case err == io.EOF && !r.Closed():
			return errNoEnd
		case err == io.EOF:
			return nil
		case err != nil:
			return err
		case item.Kind == recording.KindTorn:
			return errNoEnd
		case item.Kind == recording.KindDamage:
			return fmt.Errorf("damage of %d bytes at byte %d", item.Size, item.Offset)
		}
	}
}

// A patientFile retries writes while the disk is full, until ctx ends.
type patientFile struct {
	recording.File
	ctx  context.Context
	say  func(format string, args ...any)
	full *atomic.Bool // set while a write waits
}

// roomInterval is the interval at which a write to a full disk is retried.
const roomInterval = 500 * time.Millisecond

func (f *patientFile) Write(p []byte) (n int, err error) {
	for waits := 0; ; waits++ {
		k, err := f.File.Write(p[n:])
		n += k
		switch {
		case err == nil:
			if waits > 0 {
				f.say("there is room again: recording continues")
			}
			return n, nil
		case !recording.IsFull(err) || f.ctx.Err() != nil:
			return n, err
		case waits == 0:
			f.full.Store(true)
			defer f.full.Store(false)
			f.say("%v: waiting for room; the publisher keeps the ticks meanwhile, as far as its retention allows", err)
		}
		select {
		case <-f.ctx.Done():
			return n, err
		case <-time.After(roomInterval):
		}
	}
}
