package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"github.com/rs/zerolog"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"tickfeed/codec/certs"
	"tickfeed/codec/recording"
	"tickfeed/feed/nouns"
	"tickfeed/publisher"
	"tickfeed/publisher/journal"
)

// publishOptions are the flags of publish.
type publishOptions struct {
	marketOptions
	imports importOptions

	serviceOptions
	users      string // file of --users; empty for none
	usersFlag  *pflag.Flag
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

Without arguments, publish a simulated market until Ctrl-C. --scenario adds events such as auctions,
halts, news and a flash crash, at times of the market and the same in each run; --list documents them.
While the market runs, publish reads lines at its terminal, or with --commands from standard input: an
event, such as halt TSLA for 10m, which happens at once; a rule, such as at 10:00: calm; list, remove N (or
NAME, or all) and trigger NAME for the rules; and help. Rules that wait, and events that go on, such as activity
TSLA x3, are numbered from 1. The answer says what has happened and to how many instruments, when a rule will
happen, which may be on the next day, or why it never will; it waits for up to 2 s. With --http, "tickfeed control" does the same.

--universe names a file with the instruments: their prices, tick sizes, habits and hours (tickfeed publish
--print-universe describes the fields). If any of them has hours, a day is 24 hours, and --rate is the rate
while all instruments trade. With events, an instrument that is halted, quiet or delisted takes its own
ticks away, and the others go on at their rates. --profile names a file with the habits of a recorded
market, which tickfeed sim fit measures; its rate and its day are then the defaults. Instruments halt at
random, two or three a day in a large market, only until the first event is typed or added, and only if there is no
scenario, no profile, and no hours in the universe.

With arguments, read the ticks from files, one after the other: CSV (with a header) or NDJSON, - for
standard input; the formats of exchanges and vendors that "tickfeed import --help" lists (which also says
what of standard input is first copied to a temporary file, ` + spoolBound + `); or recordings,
whose ticks get new numbers (replay keeps the recorded numbers and pace). Files are published as fast as
--rate allows (default: no limit). At the end of the files the publisher announces that the source has
ended, and serves late joiners until Ctrl-C or, with --exit-at-end, until all subscribers have
everything; the exit code is then 3 if numbers are missing because the recordings are damaged.

With --journal, every tick is written to disk before it is sent: a publisher that is killed and started
again with the same directory continues the numbering, and its subscribers reconnect and continue. The
simulated market then opens on a later day. If the disk is full, publishing waits. If the directory or
its current file is removed or moved away, the journal continues in a new file within about a second;
the ticks in the missing files can be replayed from memory only, and not at all after a restart.

Without --journal, only the ticks in memory (--memory) can be replayed; a subscriber that asks for older
ones receives the range that is lost. Files without a journal are published until memory is full, and
the publisher then waits for the first subscriber; --wait-for sets how many it waits for.

SIGTERM and Ctrl-C say goodbye to all subscribers at once. With --http, "tickfeed control drain" spreads
the goodbyes, and with them the returns of the subscribers to the next publisher, over a period. Without a
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
	cmd.SetFlagErrorFunc(p.misreadFlags)
	o.define(cmd)
	return cmd
}

// define adds the flags of publish.
func (o *publishOptions) define(cmd *cobra.Command) {
	group(cmd, groupMarket, func(f *pflag.FlagSet) { o.marketOptions.define(f, 0) })
	group(cmd, groupMarket, func(f *pflag.FlagSet) {
		f.BoolVar(&o.commands, "commands", false, "read lines such as halt TSLA for 10m from standard input while the market runs, also if it is not a terminal")
	})
	group(cmd, "Pace", func(f *pflag.FlagSet) {
		f.Var(&o.rate, "rate", "ticks per second of real time, at any --speed: `N` such as 500, 10k, 2.5M, or max; for the simulated market the rate of every minute, with bursts within it (see --day-shape) (default: 10k for the simulated market, no limit for files)")
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
		o.usersFlag = f.Lookup("users")
	})
	group(cmd, groupTLS, o.tls.define)
	o.http.define(cmd, "")
	o.http.tls = &o.tls
	group(cmd, "HTTP", func(f *pflag.FlagSet) {
		f.DurationVar(&o.staleAfter, "stale-after", time.Minute, "with --http: not ready if an open market has no tick for this long; 0 for any time")
	})
	needPartners(cmd, "retain,append", "journal")
	needPartners(cmd, "stale-after", "http")
	exclude(cmd.Flags(), "token-file", "users")
	cmd.Flags().BoolVar(&o.checking, "check", false, "only check the configuration, and print what would be done, or all that is wrong: nothing is published or written; each port is opened and closed, where a journal would begin a directory is made and removed, and of files the first rows are read; exit code 2 if a start would fail, also if the start itself would exit with 1, as for an address in use, or 3, as for a file without a price column")
	// For a parent process: read orders from standard input (see obey).
	cmd.Flags().BoolVar(&o.stdinOrders, "stdin-orders", false, "")
	_ = cmd.Flags().MarkHidden("stdin-orders")
}

// groupFiles is the heading of the flags that apply to files only.
const groupFiles = "Files"

// check reports all invalid flags, before anything is opened.
func (o *publishOptions) check(cmd *cobra.Command, paths []string) error {
	foreign, kind := []string{groupFiles, groupImport}, "files, but the simulated market is published"
	if len(paths) > 0 {
		foreign, kind = []string{groupMarket}, "the simulated market, but files are published"
	}
	var foreigners []error
	cmd.Flags().Visit(func(f *pflag.Flag) {
		if g := f.Annotations[groupAnnotation]; len(g) > 0 && slices.Contains(foreign, g[0]) && f.Name != "exit-at-end" && f.Name != "wait-for" {
			foreigners = append(foreigners, usage("--%s applies only to %s", f.Name, kind))
		}
	})
	_, sync := parseSync(o.sync)
	return errors.Join(errors.Join(foreigners...),
		usageIf(o.journal == "" && (o.retain != retention{} || o.appending), "--retain and --append need a journal; name its directory with --journal"),
		usageIf(o.commands && o.stdinOrders, "--commands and the orders of a parent process both need standard input"),
		usageIf(o.waitFor < -1 || o.waitFor < 0 && cmd.Flags().Changed("wait-for"), "--wait-for must not be negative, got %d", o.waitFor),
		o.marketOptions.check(), o.serviceOptions.check(), sync,
		usageIf(o.staleAfter < 0, "--stale-after must not be negative, got %v", o.staleAfter), o.http.check())
}

func parseSync(s string) (sync journal.Sync, err error) {
	if err := sync.UnmarshalText([]byte(s)); err != nil {
		return 0, usage("--sync: %w", err)
	}
	return sync, nil
}

func (p *program) publish(cmd *cobra.Command, o *publishOptions, paths []string) error {
	err := o.check(cmd, paths)
	if o.checking {
		return p.checkPublish(cmd.Context(), o, paths, err)
	} else if err != nil {
		return err
	}
	if err := o.marketOptions.load(cmd.Context()); err != nil {
		return err
	}
	if printed, err := o.printsInstead(p); printed {
		return err
	}
	if o.stdinOrders {
		signal.Ignore(os.Interrupt) // Ctrl-C also reaches the parent, which decides
	}
	o.commands = o.commands || p.atTerminal() && !o.stdinOrders
	log := p.logger(zerolog.InfoLevel)
	encryption, err := o.tls.config(log, certs.Protocol)
	if err != nil {
		return err
	}
	who, err := o.admission(cmd.Context(), log)
	if err != nil {
		return err
	}
	input := input{o: o, paths: paths, director: &director{}}
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
	input.director.faults = faults
	input.director.addr = dialable(o.listen[0])
	listeners, web, err := listenAll(ctx, o.listen, &o.http, o.needsCredentials(who))
	if err != nil {
		return err
	}
	policy, _ := parseSync(o.sync)
	full, _ := o.awaited(paths)
	pub, err := publisher.New(publisher.Config{
		Journal: o.journal, Sync: policy, RetainBytes: o.retain.bytes, RetainAge: o.retain.age,
		Memory: int64(o.memory), Heartbeat: o.heartbeat, Mode: input.mode(),
		MaxConnections: o.connectionsAsked(), MaxLag: o.maxLag, RetryAfter: o.retryAfter, WaitFor: full,
		Token: who.token, Authorize: who.authorize(), TLS: encryption, ClientCAs: o.tls.clientCAs(), Server: software(), Source: input.String(), Logger: log,
	})
	if err != nil {
		closeListeners(append(listeners, web))
		return journalError(o.journal, err)
	}
	s := service{p: p, o: o, pub: pub, input: &input, listeners: listeners, web: web, faults: faults, who: who, announcer: announcer{log, p.consoleLog()}, drains: make(chan drainage, 1), reload: &reloader{
		log: log, files: append(o.tls.reloadables(), who.reloadables()...), warnings: func() []string { return o.warnings(who) },
	}}
	input.happens = p.reporter(log, input.director)
	err = s.close(ctx, s.run(ctx))
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
	return usage("journal %s holds %s already; add --append to publish the files after them, or name another directory", dir, nouns.Count(next-1, "tick"))
}

// journalError adds to err what to do about it.
func journalError(dir string, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, journal.ErrLocked):
		return fmt.Errorf("journal %s is in use by another publisher; stop that one, or name another directory with --journal", dir)
	case errors.Is(err, syscall.ENOTDIR):
		return usage("--journal %s: it is, or lies below, a file; name a directory, which is created if it does not exist", dir)
	case errors.As(err, new(*recording.VersionError)):
		return usage("%w; or name another directory with --journal", err)
	case errors.Is(err, os.ErrPermission):
		return fmt.Errorf("%w; name a directory that you can write to with --journal", err)
	case errors.Is(err, os.ErrNotExist): // although its parents are there: such as below /proc
		return fmt.Errorf("%w; name a directory in which files can be created with --journal", err)
	case journal.OutOfDescriptors(err):
		return fmt.Errorf("%w; raise the file descriptor limit (ulimit -n)", err)
	case errors.Is(err, journal.ErrFull):
		return fmt.Errorf("%w; make room, or name another directory with --journal", err)
	case errors.Is(err, journal.ErrFailed):
		return fmt.Errorf("%w; repair the disk, or make room on it, and start again: a new session continues after the ticks in the journal", err)
	}
	return err
}

// listenAll listens on addrs, the values of --listen, and for --http; web is nil if that is not asked for. needsCredentials says
// whether the command asks the clients on addrs for credentials. A command with a publisher calls listenAll before it makes the
// publisher, which counts the open file descriptors.
func listenAll(ctx context.Context, addrs []string, o *httpOptions, needsCredentials bool) (open []net.Listener, web net.Listener, err error) {
	o.needsCredentials = needsCredentials
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
