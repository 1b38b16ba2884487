package main

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/rs/zerolog"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"tickfeed/cmd/ops"
	"tickfeed/codec"
	"tickfeed/feed"
	"tickfeed/feed/files/textfile"
	"tickfeed/feed/nouns"
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
	snapshot         bool
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
still has was received, and the numbers that are older than the user may see (history in the file of publish --users). They are
lost and expired, and the account counts them in both: "58 lost (50 expired)". Numbers that retention
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
market, of files from another day, or of a replay, which publishes the event times of its recording. A
latency without ticks is printed as "-". With --symbols the latency from publish time may be up to 1 ms
too small, because the publisher joins packets.

With --commands, a line on standard input such as "symbols AAPL,ES*" (or "symbols *" for all) replaces the
patterns of --symbols on all connections, and standard error reports the number from which the new patterns
apply. If the user may see some of the instruments only, standard error says so; if it may see none of them,
the publisher ends the subscription for good (exit code 4). An invalid line and the end of the input change
nothing; a line of more than 1 MiB is taken for the end. Without the flag, standard input is not read, because
its lines may be meant for another program: commands that were pasted into a shell, or the list of a
"while read" loop. A background job of a terminal reads nothing.

A publisher that cannot be reached, or asks for another attempt because it is busy or stops, is tried again for ever, after waits
that grow to --max-backoff. So is one where TLS finds something wrong, such as a certificate that has expired, because
certificates are renewed: "NOT CONNECTED" says at once what is wrong and what to do, and again after 10 s, 20 s and so on.
--max-attempts N gives up after N failures in a row. A refusal for good ends subscribe at once: wrong credentials, symbols or a
policy that the user may not have, no common version, a start that does not exist, or no --tls where the publisher speaks TLS.

Exit codes: 0 --count, --until or --until-end was reached, or the output was closed; 1 a failure, or
--max-attempts was reached; 3 as 0, but ticks were lost that are not expired; 4 refused for good, or --max-attempts was
reached and TLS found something wrong at the last attempt; 130 Ctrl-C. SIGTERM and SIGHUP end subscribe
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
	o.define(cmd)
	o.connectionFlags(cmd)
	return cmd
}

// define adds the flags that only subscribe has.
func (o *subscribeOptions) define(cmd *cobra.Command) {
	group(cmd, "What to receive", func(f *pflag.FlagSet) {
		f.StringSliceVar(&o.symbols, "symbols", nil, "only instruments that match `PATTERNS`: SYMBOL or SYMBOL@VENUE with wildcards * and ?, separated by commas")
		f.StringVar(&o.from, "from", "snapshot", "where to `START`: snapshot, live, beginning, seq:N, or time:T, the first packet published at T or later, with T in RFC 3339 or ns since the Unix epoch")
		countVar(f, &o.count, "count", 0, "end after `N` ticks; 0 for no limit")
		f.BoolVar(&o.untilEnd, "until-end", false, "end when the publisher's source has ended and every tick was received")
		f.StringVar(&o.until, "until", "", "end `BEFORE` seq:N, once every number below N is accounted for; with --from seq:M, fetch [M, N)")
		f.BoolVar(&o.commands, "commands", false, "read commands from standard input: a line \"symbols PATTERNS\" replaces --symbols")
		f.StringVar(&o.state, "state", "", "keep the position in `FILE` and continue from it after a restart; after a crash or a power cut some ticks may repeat, and a line may be cut off, but none is missing: standard output, if it is a file, is synced before the position. Only one subscriber at a time may use FILE")
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
		f.BoolVar(&o.snapshot, "snapshot", false, "print each tick of a snapshot as text, too, which otherwise has one line for a snapshot of more than 10 instruments")
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
	needPartners(cmd, "raw,events,final-state", "json")
	needPartners(cmd, "hdr,hdr-event,connections", "stats|latency")
	excludeEachOther(cmd.Flags(), "snapshot", "no-snapshot")
	excludeEachOther(cmd.Flags(), "json", "csv")
	for _, measures := range []string{"stats", "latency"} {
		for _, printing := range []string{"csv", "raw", "events", "final-state", "kinds"} {
			excludeEachOther(cmd.Flags(), measures, printing)
		}
	}
	excludeEachOther(cmd.Flags(), "connections", "state")
	excludeEachOther(cmd.Flags(), "connections", "ledger")
}

// connectionFlags adds the connection flags, which record has too.
func (o *subscribeOptions) connectionFlags(cmd *cobra.Command) {
	many := ""
	if cmd.Flags().Lookup("connections") != nil {
		many = "; each of many --connections adds its number"
	}
	group(cmd, "Connection", func(f *pflag.FlagSet) {
		f.StringVar(&o.slow, "slow", "all", "`POLICY` if this subscriber is too slow: all (lose nothing), latest (skip to a snapshot) or disconnect")
		f.DurationVar(&o.maxLag, "max-lag", 0, "lag at which this subscriber is too slow, for --slow latest and disconnect (default: the publisher's)")
		f.DurationVar(&o.heartbeat, "heartbeat", 0, "ask for a heartbeat after this much silence (default: the publisher's)")
		countVar(f, &o.maxAttempts, "max-attempts", 0, "give up after `N` failed attempts in a row (default: never)")
		f.StringVar(&o.client, "client", "", "say this `NAME` to the publisher, for its log and for the rules of a lab"+many+" (default: the name and version of this program)")
		f.DurationVar(&o.maxBackoff, "max-backoff", defaultBackoff, "longest wait between two attempts to connect; the wait is random, and its bound doubles from 100ms to this. Within this time after the publisher is back the subscriber has tried again, unless a busy publisher asked it to wait")
		f.StringVar(&o.tokenFile, "token-file", "", "read the credentials from `FILE` (default: TICKFEED_TOKEN)")
	})
	group(cmd, groupTLS, o.tls.define)
	o.http.define(cmd, "")
	o.http.tls = &serveTLS{prefix: "http-"}
	group(cmd, "HTTP", o.http.tls.define)
	needPartners(cmd, "http-tls-cert,http-tls-key,http-tls-client-ca", "http")
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
	if err := cfg.Slow.UnmarshalText([]byte(o.slow)); err != nil {
		return cfg, usage("--slow: %w", err)
	}
	if o.snapshot && o.noSnapshot {
		return cfg, usage("--snapshot and --no-snapshot contradict each other; choose one")
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

// shown says which credentials are shown to the publisher, for a client whose credentials are refused. sent is the token.
func (o *subscribeOptions) shown(sent codec.Token) string {
	switch {
	case o.tokenFile != "":
		return "the token in " + o.tokenFile + " was sent (" + tokenFlag + ")"
	case sent != "":
		return "the token in " + envPrefix + "TOKEN was sent"
	case o.tls.cert != "":
		return "the certificate " + o.tls.cert + " was shown; if there is a token, name its file with " + tokenFlag + ", or write it into " + envPrefix + "TOKEN"
	}
	return "name the file of the token with " + tokenFlag + ", or write it into " + envPrefix + "TOKEN"
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
	p.shown = o.shown(cfg.Token)
	cfg.Logger = p.logger(zerolog.ErrorLevel) // describe reports the events
	cfg.Dial = dial
	if cfg.TLS, err = o.tls.config(p.notef); err != nil {
		return err
	}
	defer p.followSecrets(ctx, o.tokenFile, o.tls.key, o.http.tokenFile, o.http.tls.key)()
	if err := o.checkStats(); err != nil {
		return err
	}
	if err := o.checkFiles(); err != nil {
		return err
	}
	times, err := parseTimes(o.time)
	if err != nil {
		return err
	}
	kinds, err := parseKinds(o.kinds)
	if err != nil {
		return err
	}
	r := receiver{say: p.notef, failures: failures{say: p.notef, maxAttempts: o.maxAttempts}, count: o.count, untilEnd: o.untilEnd, patterns: patterns{filter: cfg.Filter}, kinds: kinds, noSnapshot: o.noSnapshot, quiet: o.quiet, events: o.events}
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
	c := newCommander(p.notef, r.filter, subs)
	r.settled = c.settled
	steer := func() (stop func()) { return p.steer(ctx, o, c, web, site) }
	if o.measures() {
		return p.measure(ctx, o, subs, r, times, steer)
	}
	return p.receive(ctx, o, subs[0], r, times, steer)
}

// receive runs s and prints its ticks, as r says, until either ends.
func (p *program) receive(ctx context.Context, o *subscribeOptions, s *subscriber.Subscriber, r receiver, times textfile.Times, steer func() (stop func())) error {
	format := textfile.JSONFormat{Times: times, Raw: o.raw}
	switch {
	case o.quiet && !o.events:
	case o.json:
		r.printer = newPrinter(p.stdout, format)
	case o.csv:
		r.printer = newPrinter(p.stdout, textfile.CSVFormat{Times: times})
	default:
		r.printer = newPrinter(p.stdout, &textFormat{width: p.screen(p.stdout).width})
		r.brief = !o.snapshot && !o.noSnapshot
	}
	if r.printer != nil && endsInLine(p.stdout) {
		r.printer.buf = slices.Insert(r.printer.buf, 0, '\n')
		p.notef("the last line of standard output is cut off: a new one begins after it")
	}
	running, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	r.stop = stop
	defer p.owe(func() string { return o.unsaved(s.Position().Next) })()
	stopSteering := steer()
	err := s.Run(running, r.handle)
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
		return wrong("%s; the reasons are listed above", nouns.Are(lost, "tick", "lost"))
	}
	return nil
}
