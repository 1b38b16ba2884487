package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"golang.org/x/sync/errgroup"

	"tickfeed/cmd/ops"
	"tickfeed/codec"
	"tickfeed/codec/certs"
	"tickfeed/codec/recording"
	"tickfeed/feed"
	"tickfeed/feed/files"
	"tickfeed/feed/files/rawfile"
	"tickfeed/feed/sim"
	"tickfeed/publisher"
	"tickfeed/publisher/journal"
)

// publishOptions are the flags of publish.
type publishOptions struct {
	marketOptions
	imports importOptions

	serviceOptions
	users      string // file of --users; empty for none
	http       httpOptions
	staleAfter time.Duration

	journal   string
	sync      string
	retain    retention
	appending bool

	exitAtEnd   bool
	waitFor     int
	stdinOrders bool
	commands    bool
	checking    bool
}

func (p *program) publishCommand() *cobra.Command {
	var o publishOptions
	cmd := &cobra.Command{
		Use:   "publish [FILE...|-]",
		Short: "Publish a simulated market, files, or standard input",
		Long: `Number ticks, journal them, and stream them to all subscribers.

Without arguments, publish a simulated market until Ctrl-C. --scenario lets auctions, halts, news, a
flash crash and more happen in it, at times of the market and the same each time; --list documents the
events, and --commands reads them from standard input while the market runs. Halts at random, two or
three a day in a large market, happen only without a scenario, without --commands, without hours of
one's own and without a profile. --universe names a file with its instruments: their prices, tick sizes,
habits and hours (tickfeed publish --print-universe describes the fields). If any of them has hours, a
day is 24 hours, and --rate is the rate while all instruments trade. --profile names a file with the
habits of a recorded market, which tickfeed sim fit measures: its rate and its day are the default then.

With arguments, read the ticks from files, one after the other: CSV (with a header) or NDJSON, - for
standard input; the formats of exchanges and vendors that "tickfeed import --help" lists; or recordings,
whose ticks get new numbers (replay keeps the recorded numbers and pace). Files are published as fast as
--rate allows (default: no limit). At the end of the files the publisher announces that the source has
ended, and serves late joiners until Ctrl-C or, with --exit-at-end, until all subscribers have
everything.

With --journal, every tick is written to disk before it is sent: a publisher that is killed and started
again with the same directory continues the numbering, and its subscribers reconnect and continue. The
simulated market then opens on a later day. If the disk is full, publishing waits. If the directory or
its current file is removed or moved away, the journal continues in a new file within about a second;
the ticks in the missing files can be replayed from memory only, and not at all after a restart.

Without --journal, only the ticks in memory (--memory) can be replayed; a subscriber that asks for older
ones receives the range that is lost. Files without a journal are published until memory is full, and
the publisher then waits for the first subscriber; --wait-for sets how many it waits for.

SIGTERM and Ctrl-C say goodbye to all subscribers at once. With --http, "tickfeed control drain" spreads
the goodbyes, and with them the returns of the subscribers to the next publisher, over a time. Without a
terminal SIGHUP reads files such as certificates again, as "tickfeed control reload" does. Under systemd,
Type=notify and WatchdogSec are supported.`,
		Example: `  tickfeed publish
  tickfeed publish --journal j --rate 100k --instruments 5000
  tickfeed publish --journal j --tls-cert feed.pem --tls-key feed.key --check
  tickfeed publish --speed 1170 --days 1          # a trading day in 20 seconds
  tickfeed publish --scenario flash-crash
  tickfeed publish --event 'at 10:00: halt TSLA for 10m reason "news pending"'
  tickfeed publish --print-universe > u.csv       # edit it for --universe u.csv
  tickfeed publish --profile profile.yaml         # see tickfeed sim fit --help
  tickfeed publish quotes.csv.gz --zone America/New_York --column bid=BEST_BID
  producer | tickfeed publish - --listen unix:/run/tickfeed.sock`,
		RunE: func(cmd *cobra.Command, args []string) error { return p.publish(cmd, &o, args) },
	}
	group(cmd, groupMarket, func(f *pflag.FlagSet) { o.marketOptions.define(f, 0) })
	group(cmd, groupMarket, func(f *pflag.FlagSet) {
		f.BoolVar(&o.commands, "commands", false, "read events from standard input while the market runs, such as halt TSLA for 10m; list and trigger NAME. With --http also tickfeed control add and trigger")
	})
	group(cmd, "Pace", func(f *pflag.FlagSet) {
		f.Var(&o.rate, "rate", "ticks per second: `N` such as 500, 10k, 2.5M, or max; for the simulated market the rate of every minute, with bursts within it (see --day-shape) (default: 10k for the simulated market, no limit for files)")
	})
	group(cmd, groupFiles, func(f *pflag.FlagSet) {
		f.BoolVar(&o.exitAtEnd, "exit-at-end", false, "exit at the end of the files, once all connected subscribers have everything")
		f.IntVar(&o.waitFor, "wait-for", -1, "wait for `N` subscribers: without a journal, before dropping unsent ticks from full memory; with --exit-at-end, before exiting; 0 never waits (default: 1, or 0 with a journal)")
		f.Lookup("wait-for").DefValue = "0"
	})
	importFlags(cmd, &o.imports)
	group(cmd, "Log", func(f *pflag.FlagSet) {
		f.StringVar(&o.journal, "journal", "", "write every tick to a journal in the directory `DIR`, which is created if it does not exist")
		f.StringVar(&o.sync, "sync", "1s", "when to sync the journal to disk, so that ticks survive a power cut: `WHEN` none, 1s (every second) or always (before sending)")
		f.Var(&o.retain, "retain", "how much of the journal to keep: `LIMITS` such as 10GB, 24h or 10GB,24h (default: all)")
		f.BoolVar(&o.appending, "append", false, "publish the files after the ticks that the journal already holds")
	})
	group(cmd, "Service", func(f *pflag.FlagSet) {
		o.serviceOptions.define(f, "", "")
		f.StringVar(&o.users, "users", "", "admit only the users in `FILE`, and send each what they may see; tickfeed user add adds one and describes the file; read again when it changes")
	})
	group(cmd, groupTLS, o.tls.define)
	o.http.define(cmd, "")
	o.http.tls = &o.tls
	group(cmd, "HTTP", func(f *pflag.FlagSet) {
		f.DurationVar(&o.staleAfter, "stale-after", time.Minute, "with --http: not ready if an open market has no tick for this long; 0 for any time")
	})
	cmd.Flags().BoolVar(&o.checking, "check", false, "only check the configuration, and print what would be done: nothing is published, listened on or written; exit code 2 if it would fail")
	// For a parent process: read orders from standard input (see obey).
	cmd.Flags().BoolVar(&o.stdinOrders, "stdin-orders", false, "")
	_ = cmd.Flags().MarkHidden("stdin-orders")
	return cmd
}

// groupFiles is the heading of the flags that apply to files only.
const groupFiles = "Files"

// check reports the first invalid flag, before anything is opened.
func (o *publishOptions) check(cmd *cobra.Command, paths []string) error {
	foreign, kind := []string{groupFiles, groupImport}, "files, but the simulated market is published"
	if len(paths) > 0 {
		foreign, kind = []string{groupMarket}, "the simulated market, but files are published"
	}
	var wrongFlag string
	cmd.Flags().Visit(func(f *pflag.Flag) {
		if g := f.Annotations[groupAnnotation]; len(g) > 0 && slices.Contains(foreign, g[0]) && f.Name != "exit-at-end" && f.Name != "wait-for" {
			wrongFlag = f.Name
		}
	})
	switch {
	case wrongFlag != "":
		return usage("--%s applies only to %s", wrongFlag, kind)
	case o.journal == "" && (o.retain != retention{} || o.appending):
		return usage("--retain and --append need a journal; name its directory with --journal")
	case o.commands && o.stdinOrders:
		return usage("--commands and the orders of a parent process both need standard input")
	case o.waitFor < -1 || o.waitFor < 0 && cmd.Flags().Changed("wait-for"):
		return usage("--wait-for must not be negative, got %d", o.waitFor)
	}
	if err := o.marketOptions.check(); err != nil {
		return err
	}
	if err := o.serviceOptions.check(); err != nil {
		return err
	}
	if _, err := parseSync(o.sync); err != nil {
		return err
	}
	if o.staleAfter < 0 {
		return usage("--stale-after must not be negative, got %v", o.staleAfter)
	}
	return o.http.check()
}

func parseSync(s string) (journal.Sync, error) {
	switch s {
	case "none":
		return journal.SyncNone, nil
	case "1s":
		return journal.SyncInterval, nil
	case "always":
		return journal.SyncAlways, nil
	}
	return 0, usage("--sync must be none, 1s or always, got %q", s)
}

func (p *program) publish(cmd *cobra.Command, o *publishOptions, paths []string) error {
	if err := o.check(cmd, paths); err != nil {
		return err
	}
	if err := o.marketOptions.load(cmd.Context()); err != nil {
		return err
	}
	if printed, err := o.printsInstead(p); printed {
		return err
	}
	if o.checking {
		return p.checkPublish(cmd.Context(), o, paths)
	}
	if o.stdinOrders {
		signal.Ignore(os.Interrupt) // Ctrl-C also reaches the parent, which decides
	}
	log := p.logger(zerolog.InfoLevel)
	encryption, err := o.tls.config(log, certs.Protocol)
	if err != nil {
		return err
	}
	who, err := o.admission(cmd.Context(), log)
	if err != nil {
		return err
	}
	input := input{o: o, paths: paths, director: &director{say: p.notef}}
	if err := input.open(cmd.Context(), p.stdin); err != nil {
		return err
	}
	defer input.close()
	if err := o.checkJournal(paths); err != nil {
		return err
	}
	ctx := cmd.Context()
	faults, err := newFaults(ctx, o.market.Scenario)
	switch {
	case err != nil:
		return err
	case faults != nil && encryption != nil:
		faults.close()
		return errFaultsTLS
	}
	defer faults.close()
	listeners, web, err := listenAll(ctx, o.listen, &o.http)
	if err != nil {
		return err
	}
	policy, _ := parseSync(o.sync)
	full, _ := o.awaited(paths)
	pub, err := publisher.New(publisher.Config{
		Journal: o.journal, Sync: policy, RetainBytes: o.retain.bytes, RetainAge: o.retain.age,
		Memory: int64(o.memory), Heartbeat: o.heartbeat, Mode: input.mode(),
		MaxConnections: o.connectionsAsked(), MaxLag: o.maxLag, RetryAfter: o.retryAfter, WaitFor: full,
		Token: who.token, Authorize: who.authorize(), TLS: encryption, Server: software(), Source: input.String(), Logger: log,
	})
	if err != nil {
		closeListeners(append(listeners, web))
		return journalError(o.journal, err)
	}
	s := service{p: p, o: o, pub: pub, input: &input, listeners: listeners, web: web, faults: faults, log: log, drains: make(chan drainage, 1), reload: &reloader{log: log, files: append(o.tls.reloadables(), who.reloadables()...)}}
	input.happens = func(e sim.Event) { sayHappened(log, p.consoleLog(), e) }
	err = s.run(ctx)
	bound := closeTime
	if errors.Is(err, errHangs) {
		bound = lastFlush // run has already waited
	}
	closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), bound)
	defer cancel()
	if closeErr := pub.Close(closing); err == nil || pub.Failed() == nil { // otherwise err already reports the failure
		err = errors.Join(err, journalError(o.journal, closeErr))
	}
	ticks, head := s.ticks.Load(), pub.Stats().Head
	if errors.Is(err, errHangs) { // the source has not returned its count
		ticks = head - pub.Lineage().Current().First
	}
	s.say("stopped", fmt.Sprintf("stopped: %s ticks published, next seq %d", formatThousands(ticks), head), "ticks", ticks, "head", head)
	if err == nil && ctx.Err() != nil && !o.stdinOrders {
		return p.stopped()
	}
	return err
}

// errFaultsTLS reports flags that exclude each other.
var errFaultsTLS = usage("the scenario has faults, which are made between a publisher and its subscribers, where TLS hides the stream: leave out TLS or the faults")

// closeTime bounds how long a full disk delays the shutdown.
const closeTime = 5 * time.Second

// checkJournal refuses to append files to a journal that holds ticks, unless --append is set.
func (o *publishOptions) checkJournal(paths []string) error {
	if len(paths) == 0 || o.journal == "" || o.appending {
		return nil
	}
	if names, err := filepath.Glob(filepath.Join(o.journal, "*.tick")); err != nil || len(names) == 0 {
		return nil
	}
	j, err := journal.Open(journal.Config{Dir: o.journal})
	if err != nil {
		return journalError(o.journal, err)
	}
	next := j.Recovered().Next
	if err := j.Close(); err != nil {
		return journalError(o.journal, err)
	}
	if next > 1 {
		return errHoldsTicks(o.journal, next)
	}
	return nil
}

// errHoldsTicks reports that journal dir, whose next number is next, is not empty.
func errHoldsTicks(dir string, next uint64) error {
	return usage("journal %s holds %s ticks already; add --append to publish the files after them, or name another directory", dir, formatThousands(next-1))
}

// journalError adds to err what to do about it.
func journalError(dir string, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, journal.ErrLocked):
		return fmt.Errorf("journal %s is in use by another publisher; stop that one, or name another directory with --journal", dir)
	case errors.As(err, new(*recording.VersionError)):
		return usage("%w; or name another directory with --journal", err)
	case errors.Is(err, os.ErrPermission):
		return fmt.Errorf("%w; name a directory that you can write to with --journal", err)
	case journal.OutOfDescriptors(err):
		return fmt.Errorf("%w; raise the file descriptor limit (ulimit -n)", err)
	case errors.Is(err, journal.ErrFull):
		return fmt.Errorf("%w; make room, or name another directory with --journal", err)
	case errors.Is(err, journal.ErrFailed):
		return fmt.Errorf("%w; see to the disk and start again: a new session continues after the ticks on it", err)
	}
	return err
}

// listenAll listens on addrs, the values of --listen, and for --http; web is nil if that is not asked for. A command with a
// publisher calls it before it makes the publisher, which counts the open file descriptors.
func listenAll(ctx context.Context, addrs []string, o *httpOptions) (open []net.Listener, web net.Listener, err error) {
	defer func() {
		if err != nil {
			closeListeners(open)
			open = nil
		}
	}()
	for _, addr := range addrs {
		ln, err := listen(ctx, listenFlag, addr)
		if err != nil {
			return open, nil, err
		}
		open = append(open, ln)
	}
	web, err = o.listen(ctx)
	return open, web, err
}

// closeListeners closes those of listeners that are not nil.
func closeListeners(listeners []net.Listener) {
	for _, ln := range listeners {
		if ln != nil {
			ln.Close()
		}
	}
}

// An input is the source of the published ticks.
type input struct {
	o     *publishOptions
	paths []string // none: the simulated market
	sim   *sim.Market
	// director obeys --commands, and happens receives what happens in the market; it may be nil.
	director *director
	happens  func(sim.Event)

	source     feed.Source       // nil for the simulated market
	files      *files.Source     // source, if paths are not recordings
	recorded   *recording.Source // source, if paths are recordings
	recordings []*openRecording
}

// String describes what is published, for people.
func (in *input) String() string {
	if len(in.paths) == 0 {
		return in.o.marketName()
	}
	names := slices.Clone(in.paths)
	for i := range names {
		if names[i] == rawfile.Stdin {
			names[i] = rawfile.StdinName
		}
	}
	return strings.Join(names, " ")
}

// describe returns the source and the rate, for the first line of the log.
func (in *input) describe() string {
	if len(in.paths) > 0 {
		return in.String()
	}
	text := in.String() + ", "
	rate := in.o.ticksPerSecond()
	switch n := formatCount(rate) + " ticks/s"; {
	case math.IsInf(rate, 1):
		return text + "as fast as possible"
	case rate == 0:
		return text + fmt.Sprintf("%s events/s on average over the day", formatCount(in.o.market.Profile.Rate*in.o.speed))
	case in.o.steady:
		return text + n + " evenly spaced"
	case in.o.shape == sim.UShaped.String():
		return text + n + " on average over the day, 4 times as many at the opening (--day-shape u)"
	default:
		return text + n + " in every minute (--day-shape flat)"
	}
}

func (in *input) mode() codec.Mode {
	if len(in.paths) == 0 {
		return codec.ModeSimulation
	}
	return codec.ModeLive
}

// open opens the files and checks everything that can be checked before there is a publisher.
func (in *input) open(ctx context.Context, stdin io.Reader) error {
	if len(in.paths) == 0 {
		cfg, err := in.o.marketConfig()
		if err != nil {
			return err
		}
		if _, err = sim.New(cfg); err != nil {
			return usage("%w", err)
		}
		return nil
	}
	recorded, err := allRecordings(in.paths)
	switch {
	case err != nil:
		return err
	case recorded:
		return in.openRecordings(ctx)
	case in.o.stdinOrders:
		stdin = nil
	}
	if in.files, err = in.o.imports.openSource(in.paths, stdin); err != nil {
		return err
	}
	in.source = in.files
	return in.o.imports.checkFormats([]files.Format{in.files.Format()})
}

// allRecordings reports whether paths are recordings. It is an error if only some are.
func allRecordings(paths []string) (bool, error) {
	count := 0
	for _, path := range paths {
		if path == "-" {
			continue
		}
		recorded, err := isRecording(path)
		if err != nil {
			return false, usage("%w", err)
		}
		if recorded {
			count++
		}
	}
	if count > 0 && count < len(paths) {
		return false, usage("some of the files are recordings and some are not; import those that are not")
	}
	return count > 0, nil
}

func (in *input) openRecordings(ctx context.Context) error {
	if err := in.o.imports.checkFormats(nil); err != nil {
		return err
	}
	var readers []*recording.Reader
	for _, path := range in.paths {
		r, err := openFile(ctx, path)
		if err != nil {
			return err
		}
		in.recordings = append(in.recordings, r)
		reader, err := r.Reader()
		if err != nil {
			return wrong("%s: %w", path, err)
		}
		readers = append(readers, reader)
	}
	in.recorded = recording.NewSource(readers...)
	in.source = in.recorded
	return nil
}

func (in *input) close() {
	if in.source != nil {
		in.source.Close()
	}
	closeAll(in.recordings)
}

// ticks returns the source to publish after the ticks in the journal, and its pace. The simulated market continues on a
// later day, with another seed.
func (in *input) ticks(rec *journal.Recovered) (feed.Source, publisher.Pace, error) {
	var pace publisher.Pace
	if in.source != nil {
		if r := float64(in.o.rate); r > 0 && !math.IsInf(r, 1) {
			pace.Rate = r
		}
		return in.source, pace, nil
	}
	cfg, err := in.o.marketConfig()
	if err != nil {
		return nil, pace, err
	}
	if rec != nil && rec.Next > 1 {
		cfg.Seed += uint64(len(rec.Lineage))
		cfg.Start = laterDay(cfg.Start, rec.LastEvent)
	}
	switch {
	case in.o.paced():
		pace.Speed = in.o.speed
	case in.o.steady:
		pace.Rate = in.o.ticksPerSecond()
	}
	cfg.Happens, cfg.Commands = in.happens, in.o.commands
	in.sim, err = sim.New(cfg)
	if err != nil {
		return nil, pace, usage("%w", err)
	}
	in.director.begin(in.sim, cfg.Scenario)
	return in.sim, pace, nil
}

// laterDay returns start, or the first weekday after it whose opening is later than last, in nanoseconds since the Unix
// epoch.
func laterDay(start time.Time, last int64) time.Time {
	if start.IsZero() {
		start = time.Date(2026, 1, 5, 9, 30, 0, 0, time.FixedZone("EST", -5*60*60)) // the default of sim.Config.Start
	}
	opens := start.Add(-time.Second) // the first ticks come before the opening
	if opens.UnixNano() > last {
		return start
	}
	days := int(time.Unix(0, last).Sub(opens).Hours()/24) + 1
	for {
		at := start.AddDate(0, 0, days)
		if w := at.Weekday(); w != time.Saturday && w != time.Sunday && at.Add(-time.Second).UnixNano() > last {
			return at
		}
		days++
	}
}

// A service is a running publisher.
type service struct {
	p         *program
	o         *publishOptions
	pub       *publisher.Publisher
	input     *input
	listeners []net.Listener
	web       net.Listener // of --http; nil for none
	faults    *faultLab    // between the subscribers and the publisher; nil for none
	log       zerolog.Logger
	ticks     atomic.Uint64
	drains    chan drainage // 1 slot: the order to drain
	reload    *reloader
}

// errOver ends the goroutines of a service that is done.
var errOver = errors.New("over")

// lastFlush bounds how long the last ticks may take to reach the journal before the goodbye is sent without them.
const lastFlush = time.Second

// run publishes and serves until the end, or until ctx ends. Connections are served until the source has stopped and
// every published tick is in the journal, so that subscribers receive those ticks before the goodbye.
func (s *service) run(ctx context.Context) error {
	s.sayStart()
	group, running := errgroup.WithContext(ctx)
	serving, endServing := context.WithCancelCause(context.WithoutCancel(ctx))
	defer endServing(nil)
	if s.faults == nil {
		for _, ln := range s.listeners {
			group.Go(func() error { return s.pub.Serve(serving, ln) })
		}
	} else {
		group.Go(func() error { return s.faults.serve(serving, s) })
	}
	if s.o.status > 0 {
		group.Go(func() error { return s.sayStatus(running) })
	}
	if s.web != nil {
		group.Go(func() error { return s.o.http.serve(running, s.web, s.site(), s.log) })
		group.Go(func() error { return s.drain(running) })
	}
	group.Go(func() error { return s.guard(running) })
	if hangups := s.p.hangups(); hangups != nil {
		group.Go(func() error { return s.reload.follow(running, hangups) })
	}
	notify(s.log, stateReady)
	group.Go(func() error {
		<-running.Done()
		notify(s.log, stateStopping)
		return nil
	})
	feeding, endFeed := context.WithCancel(running)
	defer endFeed()
	if s.o.stdinOrders {
		orders := bufio.NewScanner(s.p.stdin)
		group.Go(func() error { return s.obey(running, orders, endFeed) })
	}
	group.Go(func() error {
		err := s.feed(running, feeding)
		flushing, cancel := context.WithTimeout(serving, lastFlush)
		defer cancel()
		_ = s.pub.Flush(flushing) // if it fails, Close reports what is missing
		endServing(err)
		return err
	})
	err := s.p.waitBounded(running, group.Wait)
	if errors.Is(err, errOver) || ctx.Err() != nil && errors.Is(err, context.Cause(ctx)) {
		return nil
	}
	return err
}

// site returns what is served over HTTP.
func (s *service) site() ops.Site {
	started := time.Now()
	view := ops.NewPublisher(s.pub, s.o.staleAfter)
	view.Source, view.RetainBytes, view.RetainAge = s.input.String(), s.o.retain.bytes, s.o.retain.age
	if s.o.journal == "" {
		view.Memory = int64(s.o.memory)
	}
	site := ops.Site{
		Command: "publish", Status: func() any { return newPublisherStatus(s.pub, s.input.String(), started) }, Ready: view.Ready, Conns: view.Conns,
		Metrics: []ops.Collector{view.Metrics}, Details: []ops.Collector{view.Details},
	}
	site.Routes = append(view.Routes(), s.drainRoute(), s.reload.route())
	if s.o.commands {
		site.Routes = append(site.Routes, s.input.director.routes()...)
	}
	return site
}

// endTime bounds how long a publisher waits for its source and its connections at the end: a disk that hangs may block
// both. It is longer than their own timeouts.
const endTime = 8 * time.Second

// errHangs reports that a shutdown took longer than endTime.
var errHangs = fmt.Errorf("the shutdown did not finish within %v; the disk of the journal may not be responding", endTime)

// waitBounded returns the result of wait, or errHangs if wait takes longer than endTime after ctx ends.
func (p *program) waitBounded(ctx context.Context, wait func() error) error {
	ended := make(chan error, 1)
	go func() { ended <- wait() }()
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
	}
	select {
	case err := <-ended:
		return err
	case <-time.After(endTime):
		return errHangs
	}
}

// feed publishes the source until it or feeding ends, and announces the end of the source.
func (s *service) feed(ctx, feeding context.Context) error {
	src, pace, err := s.input.ticks(s.pub.Recovered())
	if err != nil {
		return err
	}
	if s.o.commands && s.input.sim != nil {
		stop := s.p.readCommands(feeding, s.input.director.line)
		defer stop()
	}
	ticks, err := s.pub.Feed(feeding, stoppable{src}, pace)
	s.ticks.Store(ticks)
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err != nil && feeding.Err() == nil {
		return s.feedError(err)
	}
	if err := s.pub.End(ctx); err != nil {
		return err
	}
	s.warnOfInput()
	what := "end of the source: %s ticks published; serving late joiners until Ctrl-C"
	if s.o.exitAtEnd {
		what = "end of the source: %s ticks published; exiting once all subscribers have them"
	}
	s.say("end of the source", fmt.Sprintf(what, formatThousands(ticks)), append(s.inputStats(), "ticks", ticks)...)
	if !s.o.exitAtEnd {
		<-ctx.Done()
		return context.Cause(ctx)
	}
	if err := s.allHave(ctx); err != nil {
		return err
	}
	return errOver
}

// stoppable is a source that ends with ctx even if it never waits, such as the simulated market.
type stoppable struct{ feed.Source }

func (s stoppable) Next(ctx context.Context, batch []feed.Tick) (int, error) {
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	return s.Source.Next(ctx, batch)
}

// feedError adds to err what to do about it.
func (s *service) feedError(err error) error {
	if files.Damaged(err) {
		return fileError(err, false)
	}
	return journalError(s.o.journal, err)
}

// inputStats returns log fields about the files that were read.
func (s *service) inputStats() []any {
	switch {
	case s.input.files != nil:
		st := s.input.files.Stats()
		fields := []any{s.input.files.Noun() + "s", st.Messages, "skipped", st.Skipped}
		for _, c := range st.Counts {
			fields = append(fields, strings.ReplaceAll(c.Name, " ", "_"), c.N)
		}
		return fields
	case s.input.recorded != nil:
		st := s.input.recorded.Stats()
		return []any{"damages", st.Damages, "lost", st.Lost, "left_out", st.Untold, "dropped", st.Dropped}
	}
	return nil
}

// warnOfInput logs how much of the input was not published.
func (s *service) warnOfInput() {
	if s.input.files != nil {
		if st := s.input.files.Stats(); st.Skipped > 0 {
			s.log.Warn().Int64("skipped", st.Skipped).AnErr("first", st.FirstBad).Msg("bad parts of the files were skipped")
		}
	}
	if s.input.recorded != nil {
		if st := s.input.recorded.Stats(); st.Lost > 0 || st.Damages > 0 || st.Dropped > 0 {
			s.log.Warn().Uint64("lost", st.Lost).Uint64("damages", st.Damages).Uint64("dropped", st.Dropped).
				Msg("the recordings do not hold everything")
		}
	}
}

// awaited returns how many subscribers publishing waits for before full memory drops ticks, and how many --exit-at-end
// waits for before it exits.
func (o *publishOptions) awaited(paths []string) (full, end int) {
	switch {
	case o.waitFor >= 0:
		return o.waitFor, o.waitFor
	case o.journal != "":
		return 0, 0
	case len(paths) == 0: // the market does not wait
		return 0, 1
	}
	return 1, 1
}

// pollTime is the interval at which the number of subscribers is polled.
const pollTime = 20 * time.Millisecond

// allHave waits until the wanted number of subscribers has connected and every connected one has everything.
func (s *service) allHave(ctx context.Context) error {
	_, want := s.o.awaited(s.input.paths)
	poll := time.NewTicker(pollTime)
	defer poll.Stop()
	for {
		if s.pub.Stats().Joined >= uint64(want) {
			break
		}
		select {
		case <-poll.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	if err := s.pub.Drained(ctx); err != nil {
		return err
	}
	st := s.pub.Stats()
	if st.Joined == 0 && s.o.journal == "" && s.ticks.Load() > 0 {
		s.log.Warn().Uint64("ticks", s.ticks.Load()).
			Msg("no subscriber came, and the ticks are not kept: --wait-for N waits for N subscribers, --journal DIR keeps the ticks")
	}
	warnOfAbsent(s.log, st)
	return nil
}

// warnOfAbsent warns about subscribers that lost their connection, have not reconnected, and do not have everything.
func warnOfAbsent(log zerolog.Logger, st publisher.Stats) {
	if st.Missing == 0 {
		return
	}
	e := log.Warn().Int("subscribers", st.Missing)
	if n := len(st.Absent); n > 0 {
		last := st.Absent[n-1]
		e = e.Str("last", last.Remote).Str("client", last.Client).Uint64("confirmed", last.Confirmed)
	}
	e.Uint64("head", st.Head).Msg("exiting, although subscribers that lost their connection have not reconnected for the rest")
}

// obey carries out the orders of a parent process, one per line: "end" ends the source. The end of standard input, which
// also comes if the parent dies, ends the service.
func (s *service) obey(ctx context.Context, orders *bufio.Scanner, endFeed func()) error {
	lines := make(chan string)
	go func() { // a read of standard input cannot be interrupted; it ends with the process
		defer close(lines)
		for orders.Scan() {
			select {
			case lines <- orders.Text():
			case <-ctx.Done():
				return
			}
		}
	}()
	for {
		select {
		case order, more := <-lines:
			switch {
			case !more:
				return errOver
			case order == "end":
				endFeed()
			}
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// say logs one event: text on a console, otherwise event with the fields.
func (s *service) say(event, text string, fields ...any) {
	if s.p.consoleLog() {
		s.log.Info().Msg(printable(text))
		return
	}
	s.log.Info().Fields(fields).Msg(event)
}

func (s *service) sayStart() {
	session := s.pub.Lineage().Current()
	head := s.pub.Stats().Head
	rec := s.pub.Recovered()
	if rec != nil && len(rec.Lineage) > 0 {
		s.say("recovered", fmt.Sprintf("journal %s: %s ticks of %s; continuing at seq %d",
			s.o.journal, formatThousands(rec.Next-1), plural(len(rec.Lineage), "session"), rec.Next),
			"journal", s.o.journal, "next", rec.Next, "sessions", len(rec.Lineage), "torn_bytes", rec.Torn)
	}
	if rec != nil {
		if rec.Torn > 0 {
			s.log.Warn().Int64("bytes", rec.Torn).Msg("a torn end of the journal was cut and kept beside it")
		}
		s.warnOfDamage(rec.Damage)
	}
	s.say("session", fmt.Sprintf("session %v from seq %d: %s", session.ID, head, s.input.describe()),
		"session", session.ID.String(), "first", head, "source", s.input.describe())
	for _, ln := range s.listeners {
		s.say("listening", "listening on "+listenName(ln), "listen", listenName(ln))
	}
	if s.web != nil {
		s.say("http", "status over HTTP on "+listenName(s.web), "http", listenName(s.web))
	}
}

// shownPlaces bounds the places, and the ranges of numbers, that the warning about a damaged journal lists.
const shownPlaces = 8

// warnOfDamage logs what is missing in a damaged journal.
func (s *service) warnOfDamage(damage []journal.Damage) {
	if len(damage) == 0 {
		return
	}
	var missing feed.RangeSet
	var places []string
	for i, d := range damage {
		if !d.Range.Empty() {
			missing.Add(d.Range)
		}
		if i < shownPlaces {
			places = append(places, d.String())
		}
	}
	ranges := missing.Ranges()
	listed := feed.NewRangeSet(ranges[:min(len(ranges), shownPlaces)]...).String()
	if more := len(ranges) - shownPlaces; more > 0 {
		listed += " and " + plural(more, "range") + " more"
	}
	if len(ranges) == 0 {
		listed = "none that is known"
	}
	s.log.Warn().Str("missing", listed).Uint64("numbers", missing.Len()).Int("damages", len(damage)).Strs("first", places).
		Msg("the journal is damaged; the missing numbers are reported as lost to subscribers that ask for them")
}

// sayStatus logs a status line every --status.
func (s *service) sayStatus(ctx context.Context) error {
	ticker := time.NewTicker(s.o.status)
	defer ticker.Stop()
	before, at := s.pub.Stats().Head, time.Now()
	for {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		st := s.pub.Stats()
		now := time.Now()
		perSecond := float64(st.Head-before) / now.Sub(at).Seconds()
		before, at = st.Head, now
		text := fmt.Sprintf("%s ticks/s, head %s, %s", formatCount(math.Round(perSecond)),
			formatCount(float64(st.Head-1)), plural(len(st.Conns), "subscriber"))
		if s.o.journal != "" {
			text += ", journal " + formatBytes(st.Journal)
		}
		if st.LastEvent != 0 {
			text += ", event time " + time.Unix(0, st.LastEvent).UTC().Format("2006-01-02 15:04:05Z")
		}
		if st.Disk != "" {
			text += ", PUBLISHING WAITS: " + st.Disk
		}
		s.say("status", text, "rate", math.Round(perSecond), "head", st.Head, "subscribers", len(st.Conns),
			"journal_bytes", st.Journal, "event_time", st.LastEvent, "disk", st.Disk)
	}
}
