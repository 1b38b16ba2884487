package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/rs/zerolog"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"tickfeed/cmd/ops"
	"tickfeed/codec"
	"tickfeed/codec/filemode"
	"tickfeed/codec/recording"
	"tickfeed/feed"
	"tickfeed/feed/files/parquetfile"
	"tickfeed/subscriber"
)

// subscribeOptions are the flags of subscribe.
type subscribeOptions struct {
	symbols     []string
	from        string
	count       uint64
	untilEnd    bool
	until       string
	slow        string
	maxLag      time.Duration
	state       string
	heartbeat   time.Duration
	maxAttempts int
	maxBackoff  time.Duration
	client      string
	tokenFile   string
	tls         dialTLS

	json, csv, quiet bool
	raw, events      bool
	finalState       bool
	time             string
	kinds            []string
	noSnapshot       bool
	ledger, reports  string
	force            bool

	commands bool
	http     httpOptions

	stats, latency bool
	connections    int
	hdr, hdrEvent  string
}

func (p *program) subscribeCommand() *cobra.Command {
	var o subscribeOptions
	cmd := &cobra.Command{
		Use:   "subscribe [ADDR...]",
		Short: "Receive ticks, survive disconnections, account for every tick",
		Long: `Receive the ticks of a publisher at ADDR (HOST[:PORT] or unix:PATH, default ` + defaultAddress + `; several
are tried in turn) and print them. When the connection breaks, subscribe reconnects and replays the
ticks that it missed; it reports events on standard error, and the last line there is the account:

  account: 12,345 ticks, 2 recoveries, 0 withheld, 0 lost, 0 disowned, 0 duplicated; next seq 12346

A recovery is over once every tick that was missed is there: "2 recoveries (1 not over)" if subscribe ended
before. Ticks of a snapshot are marked as such, have no number and are not counted. Times in text are UTC.

Every number that was requested and is not available is lost; with --from beginning that includes the
numbers that the publisher no longer holds. One kind of loss is not an error: with --from beginning or
time:T, the numbers that the publisher's retention (--retain) had removed before the first one that it
still has was received. They are lost and expired, and the account counts them in both: "58 lost (50 expired)". Numbers that retention
removes later, while a subscriber is too slow or disconnected, and numbers that were requested exactly
(seq:N, or the position in --state), are lost and not expired.

With --stats, subscribe prints no ticks, but a line every second and the totals of the run at the end, as
text or with --json: how many of the --connections are live, the ticks per second of all of them, the lag
(how many numbers a connection is behind the newest number that any of them knows of: maximum and
median), and percentiles of the latency. Each connection is a subscriber of its own, which checks, folds
and accounts for every tick, and --count is the number of ticks of each. The first connection that is
refused or gives up ends all of them. The type of a JSON object is second or total, whose live counts the connections that
were live when the run ended; durations are in nanoseconds.

Latency is the time from a tick's publish time, or its event time, until the tick is handed to the
program. It starts at those times, not when the tick could be read, so stalls count in full, and so do
outages once the ticks are replayed. It includes the difference between two clocks: ticks that arrive
before their time count as 0, and the end reports how many there are and by how much. Ticks that were
published before their connection was first live are counted without a latency. For the event time, so
are ticks whose event time is not within a minute of the publish time, such as those of a simulated
market or of files from another day. A replay sends the times of its recording, from which no latency
can be measured; it is printed as "-". With --symbols the latency from publish time may be up to 1 ms
too small, because the publisher joins packets.

With --commands, a line on standard input such as "symbols AAPL,ES*" (or "symbols *" for all) replaces the
patterns of --symbols on all connections, and standard error reports the number from which the new patterns
apply. An invalid line and the end of the input change nothing; a line of more than 1 MiB is
taken for the end. Without the flag, standard input is not
read, because its lines may be meant for another program: commands that were pasted into a shell, or the
list of a "while read" loop. A background job of a terminal reads nothing.

Exit codes: 0 --count, --until or --until-end was reached, or the output was closed; 3 the same, but ticks
were lost that are not expired; 4 refused by the publisher; 130 Ctrl-C. SIGTERM and SIGHUP end subscribe
as --count does.`,
		Example: `  tickfeed subscribe
  tickfeed subscribe --symbols 'AAPL,MSFT,ES*' --json localhost:8425
  tickfeed subscribe --from beginning --until-end --csv > ticks.csv
  tickfeed subscribe --state position.json --json >> ticks.ndjson
  tickfeed subscribe --quiet --ledger ledger.json --reports reports.ndjson
  tickfeed subscribe --connections 500 --stats
  tickfeed subscribe --latency --hdr latency.hgrm --symbols 'ES*' --count 1M
  (sleep 60; echo 'symbols MSFT') | tickfeed subscribe --symbols AAPL --commands`,
		RunE: func(cmd *cobra.Command, args []string) error { return p.subscribe(cmd.Context(), &o, args) },
	}
	group(cmd, "What to receive", func(f *pflag.FlagSet) {
		f.StringSliceVar(&o.symbols, "symbols", nil, "only instruments that match `PATTERNS`: SYMBOL or SYMBOL@VENUE with wildcards * and ?, separated by commas")
		f.StringVar(&o.from, "from", "snapshot", "where to `START`: snapshot, live, beginning, seq:N, or time:T, the first packet published at T or later, with T in RFC 3339 or ns since the Unix epoch")
		countVar(f, &o.count, "count", 0, "end after `N` ticks; 0 for no limit")
		f.BoolVar(&o.untilEnd, "until-end", false, "end when the publisher's source has ended and every tick was received")
		f.StringVar(&o.until, "until", "", "end `BEFORE` seq:N, once every number below N is accounted for; with --from seq:M, fetch [M, N)")
		f.BoolVar(&o.commands, "commands", false, "read commands from standard input: a line \"symbols PATTERNS\" replaces --symbols")
		f.StringVar(&o.state, "state", "", "keep the position in `FILE` and continue from it after a restart; after a crash or a power cut some ticks may repeat, but none is missing: standard output, if it is a file, is synced before the position. Only one subscriber at a time may use FILE")
	})
	group(cmd, "Output", func(f *pflag.FlagSet) {
		f.BoolVar(&o.json, "json", false, "print a JSON object per tick; with --stats or --latency, one per second and one at the end")
		f.BoolVar(&o.csv, "csv", false, "print CSV with a header")
		rawVar(f, &o.raw, "--json")
		f.BoolVar(&o.events, "events", false, "with --json: also print a line for each connection, snapshot and loss, and a last one with the totals; codec/CLIENT.md lists the fields")
		f.BoolVar(&o.finalState, "final-state", false, "with --json: at the end, print the state of every instrument, as in a snapshot")
		timeVar(f, &o.time)
		f.StringSliceVar(&o.kinds, "kinds", nil, "print only ticks of these `KINDS`, separated by commas: definition, quote, trade, correction, cancel, level, clear, status, auction; all ticks are received and accounted for, but --count counts only those that are printed")
		f.BoolVar(&o.noSnapshot, "no-snapshot", false, "print no ticks of snapshots")
		f.BoolVar(&o.quiet, "quiet", false, "print no ticks")
		f.StringVar(&o.ledger, "ledger", "", "write the account of every number as JSON to `FILE` at the end; - is standard output")
		f.BoolVar(&o.force, "force", false, "replace the files of --ledger, --hdr and --hdr-event if they exist")
		f.StringVar(&o.reports, "reports", "", "append a JSON line to `FILE` at each recovery; - is standard output")
	})
	group(cmd, "Statistics", func(f *pflag.FlagSet) {
		f.BoolVar(&o.stats, "stats", false, "instead of ticks, print rate, lag and latency percentiles, every second and for the whole run at the end")
		countVar(f, &o.connections, "connections", 1, "with --stats or --latency: open `N` connections, each a subscriber of its own; a short --max-backoff brings them back together after an outage")
		f.BoolVar(&o.latency, "latency", false, "as --stats, with more percentiles at the end")
		f.StringVar(&o.hdr, "hdr", "", "write the latencies from publish time to `FILE` at the end, as a percentile distribution in microseconds for the HdrHistogram plotter (.hgrm); - is standard output")
		f.StringVar(&o.hdrEvent, "hdr-event", "", "write the latencies from event time to `FILE`, as --hdr does")
	})
	o.connectionFlags(cmd)
	return cmd
}

// connectionFlags adds the connection flags, which record has too.
func (o *subscribeOptions) connectionFlags(cmd *cobra.Command) {
	group(cmd, "Connection", func(f *pflag.FlagSet) {
		f.StringVar(&o.slow, "slow", "all", "`POLICY` if this subscriber is too slow: all (lose nothing), latest (skip to a snapshot) or disconnect")
		f.DurationVar(&o.maxLag, "max-lag", 0, "lag at which this subscriber is too slow, for --slow latest and disconnect (default: the publisher's)")
		f.DurationVar(&o.heartbeat, "heartbeat", 0, "ask for a heartbeat after this much silence (default: the publisher's)")
		countVar(f, &o.maxAttempts, "max-attempts", 0, "give up after `N` failed attempts in a row (default: never)")
		f.StringVar(&o.client, "client", "", "say this `NAME` to the publisher, for its log and for the rules of a lab; of many --connections each adds its number (default: the name and version of this program)")
		f.DurationVar(&o.maxBackoff, "max-backoff", defaultBackoff, "longest wait between two attempts to connect; the wait is random, and its bound doubles from 100ms to this. Within this time after the publisher is back the subscriber has tried again, unless a busy publisher asked it to wait")
		f.StringVar(&o.tokenFile, "token-file", "", "read the credentials from `FILE` (default: TICKFEED_TOKEN)")
	})
	group(cmd, groupTLS, o.tls.define)
	o.http.define(cmd, "")
}

// The default of --max-backoff, which is also the subscriber's, and its minimum.
const (
	defaultBackoff = 30 * time.Second
	minBackoff     = time.Millisecond
)

func (o *subscribeOptions) config(ctx context.Context, addrs []string) (subscriber.Config, error) {
	if len(addrs) == 0 {
		addrs = []string{defaultAddress}
	}
	addrs = slices.Clone(addrs)
	if err := readAddresses("address", addrs, defaultPort); err != nil {
		return subscriber.Config{}, err
	}
	if err := o.http.check(); err != nil {
		return subscriber.Config{}, err
	}
	cfg := subscriber.Config{
		Addrs: addrs, MaxLag: o.maxLag, Heartbeat: o.heartbeat,
		PositionFile: o.state, MaxAttempts: o.maxAttempts, MaxBackoff: o.maxBackoff, Client: cmp.Or(o.client, software()),
	}
	filter, err := symbolFilter(o.symbols)
	if err != nil {
		return cfg, usage("--symbols: %w", err)
	}
	cfg.Filter = filter
	if cfg.Start, err = parseStart(o.from, time.Now()); err != nil {
		return cfg, err
	}
	if o.until != "" {
		seq, ok := strings.CutPrefix(o.until, "seq:")
		if cfg.Until, err = strconv.ParseUint(seq, 10, 64); !ok || err != nil || cfg.Until == 0 || cfg.Until > codec.MaxSeq {
			return cfg, usage("--until must be seq:N with a sequence number, from 1, got %q", o.until)
		}
		if cfg.Start.Kind == codec.StartSeq && cfg.Until <= cfg.Start.Value {
			return cfg, usage("--until %s is not after --from %s: nothing lies between", o.until, o.from)
		}
	}
	switch o.slow {
	case "all":
		cfg.Slow = codec.SlowAll
	case "latest":
		cfg.Slow = codec.SlowLatest
	case "disconnect":
		cfg.Slow = codec.SlowDisconnect
	default:
		return cfg, usage("--slow must be all, latest or disconnect, got %q", o.slow)
	}
	if o.json && o.csv {
		return cfg, usage("--json and --csv are two formats; choose one")
	}
	for _, f := range []struct {
		flag string
		set  bool
	}{{"--raw", o.raw}, {"--events", o.events}, {"--final-state", o.finalState}} {
		if f.set && !o.json {
			return cfg, usage("%s needs --json", f.flag)
		}
	}
	for _, d := range []struct {
		flag     string
		v        time.Duration
		min, max time.Duration
	}{
		{"--max-lag", o.maxLag, time.Millisecond, codec.MaxDuration},
		{"--heartbeat", o.heartbeat, codec.MinHeartbeat, codec.MaxDuration},
	} {
		if d.v != 0 && (d.v < d.min || d.v > d.max) {
			return cfg, usage("%s must be from %v to %v, got %v", d.flag, d.min, d.max, d.v)
		}
	}
	if o.maxAttempts < 0 {
		return cfg, usage("--max-attempts must not be negative, got %d", o.maxAttempts)
	}
	if o.maxBackoff < minBackoff || o.maxBackoff > codec.MaxDuration {
		return cfg, usage("--max-backoff must be from %v to %v, got %v", minBackoff, codec.MaxDuration, o.maxBackoff)
	}
	if o.count > 0 {
		cfg.BatchSize = 1 // so that the account ends where the output does
	}
	cfg.Token, err = token(ctx, o.tokenFile)
	return cfg, err
}

// clockSlack is how far a publisher's clock may be ahead of this machine's.
const clockSlack = time.Minute

// parseStart parses --from. A start in the future is refused: a time here, by the clock of this machine, and a number by
// the publisher, which knows its head (PROTOCOL.md, "start").
func parseStart(s string, now time.Time) (codec.Start, error) {
	kind, value, hasValue := strings.Cut(s, ":")
	switch {
	case s == "snapshot":
		return codec.Start{Kind: codec.StartSnapshot}, nil
	case s == "live":
		return codec.Start{Kind: codec.StartLive}, nil
	case s == "beginning":
		return codec.Start{Kind: codec.StartBeginning}, nil
	case kind == "seq" && hasValue:
		seq, err := strconv.ParseUint(value, 10, 64)
		if err != nil || seq == 0 || seq > codec.MaxSeq {
			return codec.Start{}, usage("--from %s: want a sequence number, from 1", s)
		}
		return codec.Start{Kind: codec.StartSeq, Value: seq}, nil
	case kind == "time" && hasValue:
		var at time.Time
		if ns, err := strconv.ParseInt(value, 10, 64); err == nil {
			if ns >= 1900 && ns < 3000 {
				return codec.Start{}, usage("--from %s is that many nanoseconds after 1970; for the year, %s-01-01T00:00:00Z", s, s)
			}
			at = time.Unix(0, ns)
		} else if at, err = time.Parse(time.RFC3339Nano, value); err != nil {
			return codec.Start{}, usage("--from %s: want a time such as 2026-01-05T09:30:00Z, or nanoseconds since the Unix epoch", s)
		}
		if at.After(now.Add(clockSlack)) {
			return codec.Start{}, usage("--from %s is in the future; to wait for new ticks, leave --from out", s)
		}
		ns := int64(0) // nothing was published before 1970
		if at.After(time.Unix(0, 0)) {
			ns = at.UnixNano()
		}
		return codec.Start{Kind: codec.StartTime, Value: uint64(ns)}, nil
	}
	return codec.Start{}, usage("--from must be snapshot, live, beginning, seq:N or time:T, got %q", s)
}

func (p *program) subscribe(ctx context.Context, o *subscribeOptions, addrs []string) error {
	cfg, err := o.config(ctx, addrs)
	if err != nil {
		return err
	}
	cfg.Logger = p.logger(zerolog.ErrorLevel) // describe reports the events
	cfg.Dial = dial
	if cfg.TLS, err = o.tls.config(p.notef); err != nil {
		return err
	}
	if err := o.checkStats(); err != nil {
		return err
	}
	if err := o.checkFiles(); err != nil {
		return err
	}
	times, err := parseTimeText(o.time)
	if err != nil {
		return err
	}
	kinds, err := parseKinds(o.kinds)
	if err != nil {
		return err
	}
	r := receiver{say: p.notef, failures: failures{say: p.notef, maxAttempts: o.maxAttempts}, count: o.count, untilEnd: o.untilEnd, filter: cfg.Filter, kinds: kinds, noSnapshot: o.noSnapshot, quiet: o.quiet, events: o.events}
	cfg.SyncOutput = func() error { return syncOutput(p.stdout, r.reports) }
	subs, err := o.subscribers(cfg)
	if err != nil {
		return usage("%w", err)
	}
	if o.reports == "-" {
		r.reports = p.stdout
	} else if o.reports != "" {
		f, err := openReports(ctx, o.reports)
		if err != nil {
			return err
		}
		defer f.Close()
		r.reports = f
	}
	web, err := o.http.listen(ctx)
	if err != nil {
		return err
	}
	view := ops.NewSubscriptions(subs...)
	r.recovered = view.Note
	site := subscriptionSite("subscribe", view, func() any { return newSubscriptionStatus(subs) })
	steer := func() (stop func()) { return p.steer(ctx, o, subs, r.filter, web, site) }
	if o.measures() {
		return p.measure(ctx, o, subs, r, times, steer)
	}
	s := subs[0]
	format := jsonFormat{times: times, raw: o.raw}
	switch {
	case o.quiet && !o.events:
	case o.json:
		r.printer = newPrinter(p.stdout, format)
	case o.csv:
		r.printer = newPrinter(p.stdout, csvFormat{times})
	default:
		r.printer = newPrinter(p.stdout, textFormat{p.screen(p.stdout).width})
	}
	running, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	r.stop = stop
	defer p.owe(func() string { return o.unsaved(s.Position().Next) })()
	stopSteering := steer()
	err = s.Run(running, r.handle)
	stopSteering()
	ledger := s.Ledger()
	return p.finish(ctx, err, ledger.Totals(), r.account(ledger, s.Position().Next), func() error {
		if !errors.Is(err, errOutputClosed) {
			if endErr := r.printEnd(p.stdout, o, format, s); endErr != nil && !errors.Is(endErr, errOutputClosed) {
				return endErr
			}
		}
		if o.ledger == "" {
			return nil
		}
		return p.writeLedger(o.ledger, o.force, ledger)
	})
}

// finish ends the subscriptions whose Run returned err and whose numbers add up to totals: it calls save, reports errors,
// and prints account as the last line on standard error.
func (p *program) finish(ctx context.Context, err error, totals feed.Totals, account string, save func() error) error {
	if errors.Is(err, subscriber.ErrPositionLocked) {
		return usage("--state: %w", err)
	}
	err = p.ended(ctx, err)
	if err == nil || errors.Is(err, errOutputClosed) {
		err = cmp.Or(lostError(totals), err)
	}
	if saveErr := save(); saveErr != nil {
		err = errors.Join(besides(err, errInterrupted), saveErr)
	}
	code := p.exit(nil, err)
	p.notef("%s", account)
	if code != exitDone {
		return &exitError{code: code} // already reported
	}
	return nil
}

// ended returns the result of a subscription whose Run returned err: nil if it has enough, and the result of stopped if a
// signal ended it, unless there was another error, such as a position that could not be saved.
func (p *program) ended(ctx context.Context, err error) error {
	ends := []error{errEnough, context.Canceled}
	if ctx.Err() != nil {
		ends = append(ends, errOutputClosed) // the same Ctrl-C may have ended the reader
	}
	switch failed := besides(err, ends...); {
	case failed != nil:
		return failed
	case errors.Is(err, errEnough):
		return nil
	case ctx.Err() != nil:
		return p.stopped()
	}
	return err
}

// lostError returns an error if requested numbers are lost. Expired numbers are no error, because they were never
// promised; see feed.Account.
func lostError(t feed.Totals) error {
	if lost := t.Lost - t.Expired; lost > 0 {
		return wrong("%s; the reasons are listed above", countAre(lost, "tick", "lost"))
	}
	return nil
}

// unsaved describes what is lost if the process ends now at position next.
func (o *subscribeOptions) unsaved(next uint64) string {
	var parts []string
	switch {
	case o.measures():
		parts = append(parts, "the end of the statistics")
	case !o.quiet:
		parts = append(parts, "the end of the output on standard output")
	}
	if o.state != "" {
		parts = append(parts, fmt.Sprintf("the position, if --state %s does not say %d yet: the ticks from there on come again", o.state, next))
	}
	for _, f := range []struct{ what, path string }{
		{"the account, --ledger ", o.ledger}, {"the latencies, --hdr ", o.hdr}, {"the latencies, --hdr-event ", o.hdrEvent},
	} {
		if f.path != "" {
			parts = append(parts, f.what+f.path)
		}
	}
	if o.connections == 1 {
		parts = append(parts, fmt.Sprintf("next seq %d", next))
	}
	return strings.Join(parts, "; ")
}

// checkFiles refuses output files that exist, that two flags name, or that could not be written at the end.
func (o *subscribeOptions) checkFiles() error {
	files := []struct {
		flag, path string
		end        bool // written at the end
	}{{"--state", o.state, false}, {"--ledger", o.ledger, true}, {"--hdr", o.hdr, true}, {"--hdr-event", o.hdrEvent, true}, {"--reports", o.reports, false}}
	for _, f := range files {
		if !f.end || f.path == "" || f.path == "-" {
			continue
		}
		if _, err := os.Lstat(f.path); err == nil && !o.force {
			return usage("%s %s: the file exists; choose another, or replace it with --force", f.flag, f.path)
		}
		if err := recording.Check(f.path, o.force); err != nil {
			return usage("%s: %w", f.flag, err)
		}
	}
	for i, a := range files {
		for _, b := range files[i+1:] {
			if a.path != "" && a.path != "-" && b.path != "" && samePath(a.path, b.path) {
				return usage("%s and %s are both %s: give each a file of its own", a.flag, b.flag, a.path)
			}
		}
	}
	return nil
}

func samePath(a, b string) bool {
	if filepath.Clean(a) == filepath.Clean(b) {
		return true
	}
	x, errX := os.Stat(a)
	y, errY := os.Stat(b)
	return errX == nil && errY == nil && x.Mode().IsRegular() && os.SameFile(x, y)
}

// openReports opens the file of --reports. Opening a named pipe blocks until it has a reader; ctx ends the wait.
func openReports(ctx context.Context, path string) (*os.File, error) {
	f, err := waitFor(ctx, func() (*os.File, error) {
		return os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, filemode.File())
	})
	if err != nil && !errors.Is(err, errInterrupted) {
		err = usage("--reports: %w", err)
	}
	return f, err
}

// syncOutput syncs the regular files among outs. Data written to a pipe or a terminal is already with its reader.
func syncOutput(outs ...io.Writer) error {
	for _, out := range outs {
		f, ok := out.(interface {
			Name() string
			Stat() (fs.FileInfo, error)
			Sync() error
		})
		if !ok {
			continue
		}
		if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
			continue
		}
		if err := f.Sync(); err != nil {
			return fmt.Errorf("sync %s: %w; the position in --state is no longer saved", f.Name(), err)
		}
	}
	return nil
}

func (p *program) writeLedger(path string, replace bool, l *feed.Ledger) error {
	b, err := json.Marshal(l)
	if err != nil {
		return fmt.Errorf("--ledger: %w", err)
	}
	return p.writeResult("--ledger", path, replace, append(b, '\n'))
}

// writeResult writes b to the file at path, which flag names; - is standard output.
func (p *program) writeResult(flag, path string, replace bool, b []byte) error {
	if path == "-" {
		_, err := p.stdout.Write(b)
		return output(err)
	}
	slow := p.watch(flag + " " + path)
	out, err := slow.create(path, replace)
	if err != nil {
		return fmt.Errorf("%s: %w", flag, err)
	}
	defer out.Discard()
	if _, err = slow.write(out, b); err == nil {
		err = slow.save(out.Commit)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", flag, err)
	}
	return nil
}

// errEnough ends a subscription that has received everything it was asked for.
var errEnough = errors.New("enough")

// A receiver handles the batches of one subscription for subscribe.
type receiver struct {
	say        func(format string, args ...any)
	failures   failures
	crowd      *crowd    // reports changes instead of say and failures, if this is one of many lines; otherwise nil
	printer    *printer  // nil: print nothing
	quiet      bool      // print no ticks
	events     bool      // print a line for each event
	reports    io.Writer // nil: none
	count      uint64    // ticks to end after, received one per batch; 0 for no bound
	stop       func(error)
	recovered  func(*subscriber.Report) // called for each recovery; it may be nil
	untilEnd   bool
	filter     codec.Filter
	kinds      []feed.Kind // kinds that are printed and counted; nil for all
	noSnapshot bool        // print no ticks of snapshots

	savedNext uint64      // position of the last saved event
	last      *feed.State // state as of the last batch
	matched   bool        // the patterns of filter were compared with the first complete state
	link
	ticks      uint64
	chosen     uint64      // ticks of kinds
	few        []feed.Tick // buffer of choose
	recoveries uint64
	order      order
}

// handle is the handler for subscriber.Run.
func (r *receiver) handle(b *subscriber.Batch) error {
	r.last = b.State
	if c := b.Change; c != nil {
		if r.events {
			for _, e := range eventsOf(b.Session, c) {
				r.printer.event(e)
			}
			if c.Saved != nil {
				r.savedNext = c.Saved.Next
			}
			if err := r.printer.flush(); err != nil {
				return err
			}
		}
		if f := c.Filtered; f != nil {
			r.filter, r.matched = f.Filter, false
		} else if c.State == subscriber.Live && !r.matched {
			r.matched = true
			r.warnOfPatterns(b.State)
		}
		return r.change(c)
	}
	if r.count > 0 && r.chosen >= r.count {
		return errEnough
	}
	if r.printer != nil && !r.quiet && !(b.Snapshot && r.noSnapshot) {
		for publish, ticks := range b.ByPublishTime() {
			if err := r.printer.append(b.Session, publish, r.choose(ticks), b.State); err != nil {
				return err
			}
		}
		if err := r.printer.flush(); err != nil {
			return err
		}
	}
	if !b.Snapshot {
		r.order.check(b.Session, b.Ticks)
		r.ticks += uint64(len(b.Ticks))
		r.chosen += uint64(len(r.choose(b.Ticks)))
	}
	if r.count > 0 && r.chosen >= r.count {
		r.stop(errEnough) // this batch still counts
	}
	return nil
}

// printEnd writes what --events and --final-state print at the end.
func (r *receiver) printEnd(out io.Writer, o *subscribeOptions, format jsonFormat, s *subscriber.Subscriber) error {
	held := s.Position()
	if o.events {
		if o.state != "" && held.Next != r.savedNext && len(held.Lineage) > 0 {
			r.printer.event(saved(held))
		}
		if err := r.printer.flush(); err != nil {
			return err
		}
	}
	if o.finalState && r.last != nil && len(held.Lineage) > 0 {
		format.state = true
		if err := newPrinter(out, format).state(held.Lineage.Current().ID, r.last, r.filter); err != nil {
			return err
		}
	}
	if o.events {
		r.printer.event(left(held, s.Ledger()))
		return r.printer.flush()
	}
	return nil
}

// choose returns the ticks of the wanted kinds. The result is valid until the next call.
func (r *receiver) choose(ticks []feed.Tick) []feed.Tick {
	if r.kinds == nil {
		return ticks
	}
	r.few = r.few[:0]
	for i := range ticks {
		if slices.Contains(r.kinds, ticks[i].Kind) {
			r.few = append(r.few, ticks[i])
		}
	}
	return r.few
}

// parseKinds parses --kinds. It returns nil for all kinds.
func parseKinds(names []string) (kinds []feed.Kind, err error) {
	all := parquetfile.Kinds()
	for _, name := range names {
		name = strings.ToLower(strings.TrimSpace(name))
		if name == "all" {
			return nil, nil
		}
		i := slices.IndexFunc(all, func(k feed.Kind) bool { return k.String() == name || k.String() == strings.TrimSuffix(name, "s") })
		if i < 0 {
			return nil, usage("--kinds: there is no kind %q; want some of definition, quote, trade, correction, cancel, level, clear, status, auction, or all", name)
		}
		kinds = append(kinds, all[i])
	}
	return kinds, nil
}

func (r *receiver) change(c *subscriber.Change) error {
	if r.crowd != nil {
		r.crowd.change(r, c)
	} else {
		r.failures.note(r, c)
		for _, text := range describe(c, r.state, r.greeted) {
			r.say("%s", text)
		}
	}
	r.link.note(c)
	if c.Report != nil {
		r.recoveries++
		if r.recovered != nil {
			r.recovered(c.Report)
		}
		if r.reports != nil {
			b, err := json.Marshal(c.Report)
			if err == nil {
				_, err = r.reports.Write(append(b, '\n'))
			}
			if err != nil {
				return fmt.Errorf("--reports: %w", err)
			}
		}
	}
	if c.End && r.untilEnd {
		return errEnough
	}
	return nil
}

// warnOfPatterns reports the patterns of --symbols that match no instrument of state, the first complete state.
func (r *receiver) warnOfPatterns(state *feed.State) {
	if r.filter.All() {
		return
	}
	missing := unmatched(r.filter, state)
	if len(missing) == 0 {
		return
	}
	r.say("--symbols: no instrument matches %s so far; patterns are case-sensitive", firstPatterns(missing))
}

// unmatched returns the patterns of f that match no instrument of state.
func unmatched(f codec.Filter, state *feed.State) (missing []string) {
	seen := make(map[string]bool) // SYMBOL and SYMBOL@VENUE
	var all []*feed.Definition
	if state != nil {
		for t := range state.Definitions(nil) {
			d := t.Definition()
			all = append(all, d)
			seen[d.Symbol], seen[d.Symbol+"@"+d.Venue] = true, true
		}
	}
	for _, p := range f {
		found := seen[p]
		if strings.ContainsAny(p, "*?") {
			found = slices.ContainsFunc(all, codec.Filter{p}.Match)
		}
		if !found {
			missing = append(missing, p)
		}
	}
	return missing
}

// account returns the last line of standard error.
func (r *receiver) account(l *feed.Ledger, next uint64) string {
	return accountText(r.ticks, r.recoveries, r.unfinished(), l.Totals(), r.order.repeated, fmt.Sprintf("next seq %d", next))
}

// A link is what the changes so far say about the connection of a receiver.
type link struct {
	state       subscriber.ConnState // after the last change
	greeted     bool                 // the connection has been replaying or live
	recovering  bool                 // a connection was lost, and no report has come since
	reconnected bool                 // while recovering: a publisher has welcomed the subscriber since
}

func (l *link) note(c *subscriber.Change) {
	switch c.State {
	case subscriber.Replaying, subscriber.Live:
		l.greeted = true
	case subscriber.Connecting, subscriber.Disconnected:
		l.recovering = l.recovering || l.state != subscriber.Connecting && l.state != subscriber.Disconnected
		l.greeted = false
	}
	l.recovering = l.recovering && c.Report == nil
	l.reconnected = l.recovering && (l.reconnected || c.Connected != nil)
	l.state = c.State
}

// unfinished returns 1 if the subscriber is connected again, but has not received all that it missed.
func (l *link) unfinished() uint64 {
	if l.reconnected {
		return 1
	}
	return 0
}

// accountText formats an account for people, ending with end. unfinished counts recoveries that were not over, and are not in
// recoveries.
func accountText(ticks, recoveries, unfinished uint64, t feed.Totals, repeated uint64, end string) string {
	expired := ""
	if t.Expired > 0 {
		expired = fmt.Sprintf(" (%s expired)", formatThousands(t.Expired))
	}
	open := ""
	if unfinished > 0 {
		open = fmt.Sprintf(" (%s not over)", formatThousands(unfinished))
	}
	return fmt.Sprintf("account: %s, %s%s, %s withheld, %s lost%s, %s disowned, %s duplicated; %s",
		countOf(ticks, "tick"), countOf(recoveries+unfinished, "recovery"), open, formatThousands(t.Withheld), formatThousands(t.Lost), expired,
		formatThousands(t.Disowned), formatThousands(repeated), end)
}

// An order checks, independently of the subscriber, that no number of a session comes twice or after a greater one.
type order struct {
	session  feed.SessionID
	last     uint64 // the greatest number of session
	before   map[feed.SessionID]uint64
	repeated uint64 // numbers that were not greater than the last of their session
}

func (o *order) check(session feed.SessionID, ticks []feed.Tick) {
	if session != o.session {
		if o.before == nil {
			o.before = make(map[feed.SessionID]uint64)
		}
		o.before[o.session] = o.last
		o.session, o.last = session, o.before[session]
	}
	for i := range ticks {
		seq := ticks[i].Seq
		if seq <= o.last {
			o.repeated++
			continue
		}
		o.last = seq
	}
}

// describe describes c for people; before is the state of the change before it. greeted reports whether this connection was
// described as connected or live before.
func describe(c *subscriber.Change, before subscriber.ConnState, greeted bool) (lines []string) {
	add := func(format string, args ...any) { lines = append(lines, fmt.Sprintf(format, args...)) }
	if c.State != before {
		switch c.State {
		case subscriber.Live:
			switch {
			case before == subscriber.Stale:
				add("no longer stale: receiving from %s again", c.Addr)
			case c.Report == nil:
				add("live: receiving from %s", c.Addr)
			}
		case subscriber.Replaying:
			switch {
			case before == subscriber.Stale:
				add("no longer stale: replaying from %s again", c.Addr)
			case !greeted:
				add("connected to %s: replaying", c.Addr)
			}
		case subscriber.Stale:
			add("stale: nothing heard from %s for two heartbeat intervals", c.Addr)
		case subscriber.Disconnected:
			if before != subscriber.Connecting && c.Err != nil {
				add("disconnected from %s: %v", c.Addr, c.Err)
			}
		}
	}
	if r := c.Report; r != nil {
		add("recovered in %s by %s: cause %s, down %s, %s, %s replayed, %s dropped", formatDuration(r.Live), r.Resume, r.Cause,
			formatDuration(r.Down), plural(r.Attempts, "attempt"), countOf(r.Replayed, "tick"), countOf(r.Duplicates, "duplicate"))
	}
	for _, n := range c.Withheld {
		add("withheld %v: %s skipped because this subscriber was too slow", n, countOf(n.Range.Len(), "tick"))
	}
	for _, n := range c.Lost {
		add("lost %v: %s", n, lostReason(c, n.Range.Len()))
	}
	for _, n := range c.Disowned {
		add("disowned %v: %s that no longer belong to any session", n, countOf(n.Range.Len(), "number"))
	}
	if f := c.Filtered; f != nil {
		add("%s from number %d on", filterText(f.Filter), f.From)
	}
	if c.End {
		add("end of the source: the last number is %d", c.Final-1)
	}
	return lines
}

// lostReason explains why count numbers of c are lost.
func lostReason(c *subscriber.Change, count uint64) string {
	these := "these " + formatThousands(count)
	if count == 1 {
		these = "this number"
	}
	switch {
	case c.Unrelated:
		return "the publisher has no session in common with the position, and cannot send " + these
	case c.Reason == codec.GoneExpired:
		return "the publisher no longer keeps " + these
	case c.Reason == codec.GoneDamaged:
		return "the publisher's copy of " + these + " is damaged"
	}
	return "the publisher no longer has " + these
}

// dial connects as the subscriber's default dialer does, but with errors for people, which failures reports.
func dial(ctx context.Context, addr string) (net.Conn, error) {
	network, host := "tcp", addr
	if path, ok := strings.CutPrefix(addr, unixPrefix); ok {
		network, host = "unix", path
	}
	nd := net.Dialer{Timeout: dialTimeout}
	conn, err := nd.DialContext(ctx, network, host)
	if err != nil {
		return nil, &dialError{addr, dialCause(addr, err)}
	}
	return conn, nil
}

// A dialError reports that connecting to addr failed.
type dialError struct {
	addr string
	err  error
}

func (e *dialError) Error() string { return fmt.Sprintf("cannot connect to %s: %v", e.addr, e.err) }

func (e *dialError) Unwrap() error { return e.err }

// dialTimeout bounds one connection attempt.
const dialTimeout = 5 * time.Second

func dialCause(addr string, err error) error {
	var dns *net.DNSError
	if errors.As(err, &dns) {
		return fmt.Errorf("%s: no such host", dns.Name)
	}
	if strings.HasPrefix(addr, unixPrefix) && errors.Is(err, fs.ErrNotExist) {
		return errors.New("there is no such socket")
	}
	return cause(err)
}

// The same failure of one address is reported again after firstSilence, and then after twice the previous interval, at
// most longestSilence.
const (
	firstSilence   = 10 * time.Second
	longestSilence = 10 * time.Minute
)

// maxReasons bounds the reasons that are remembered for one address; the peer chooses the text of some.
const maxReasons = 16

// failures reports why connection attempts fail: a refused connection, a busy publisher, a peer that speaks another
// protocol or sends nothing. Each reason of each address has its own schedule: it is reported at once, and then at growing
// intervals, also if other reasons come in between. The schedules of an address begin anew once every connection that
// failed there has succeeded.
type failures struct {
	say         func(format string, args ...any)
	maxAttempts int
	outages     map[string]*outage // by address; bounded by the addresses on the command line
}

// An outage holds the failures at one address.
type outage struct {
	failures []*failure         // at most maxReasons, the least recently reported first
	failing  map[*receiver]bool // connections that failed here and have not succeeded here since
}

// A failure is one reason for which attempts fail.
type failure struct {
	reason string
	at     time.Time     // when it was reported last
	pause  time.Duration // until it is reported again
}

// note processes a change of the connection of r; r.state is still the state before it.
func (f *failures) note(r *receiver, c *subscriber.Change) {
	switch {
	case c.State == subscriber.Disconnected && r.state == subscriber.Connecting && c.Err != nil:
		f.failed(r, c.Addr, c.Err, time.Now())
	case c.State == subscriber.Live, c.State == subscriber.Replaying:
		f.connected(r, c.Addr)
	}
}

// failed reports that an attempt of r at addr failed with err.
func (f *failures) failed(r *receiver, addr string, err error, now time.Time) {
	if f.maxAttempts == 1 || terminal(err) {
		return // the command ends, and reports it
	}
	reason := err.Error()
	if op := (*net.OpError)(nil); errors.As(err, &op) && !strings.HasPrefix(reason, "cannot connect") && !errors.As(err, new(*subscriber.TLSError)) {
		reason = "no welcome: " + cause(err).Error()
	}
	if !strings.Contains(reason, addr) {
		reason = addr + ": " + reason
	}
	out := f.outages[addr]
	if out == nil {
		out = &outage{failing: make(map[*receiver]bool)}
		if f.outages == nil {
			f.outages = make(map[string]*outage)
		}
		f.outages[addr] = out
	}
	out.failing[r] = true
	if !out.due(reason, now) {
		return
	}
	advice := fmt.Sprintf("trying again, %d times in all", f.maxAttempts)
	if f.maxAttempts == 0 {
		advice = "trying again until it answers (--max-attempts N would give up)"
	}
	f.say("%s; %s", reason, advice)
}

// connected notes that the publisher at addr has welcomed r.
func (f *failures) connected(r *receiver, addr string) {
	if out := f.outages[addr]; out != nil {
		if delete(out.failing, r); len(out.failing) == 0 {
			delete(f.outages, addr)
		}
	}
}

// due reports whether reason is to be reported now, and if so, schedules its next report.
func (o *outage) due(reason string, now time.Time) bool {
	i := slices.IndexFunc(o.failures, func(f *failure) bool { return f.reason == reason })
	last := &failure{reason: reason, at: now, pause: firstSilence}
	switch {
	case i < 0 && len(o.failures) == maxReasons:
		o.failures = slices.Delete(o.failures, 0, 1)
	case i < 0:
	case now.Sub(o.failures[i].at) < o.failures[i].pause:
		return false
	default:
		last.pause = min(2*o.failures[i].pause, longestSilence)
		o.failures = slices.Delete(o.failures, i, i+1)
	}
	o.failures = append(o.failures, last)
	return true
}

// terminal reports whether err is a refusal that the subscriber does not retry.
func terminal(err error) bool {
	var refused *subscriber.RefusedError
	return errors.As(err, &refused) && (!refused.Retry || refused.Code == codec.CodeVersion ||
		refused.Code == codec.CodeUnauthorized || refused.Code == codec.CodeBadRequest)
}
