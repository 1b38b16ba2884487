package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"tickfeed/codec/lab"
	"tickfeed/feed/nouns"
	"tickfeed/feed/scratch"
	"tickfeed/feed/sim"
)

// demoOptions are the flags of demo.
type demoOptions struct {
	duration, every time.Duration
	seed            uint64
	rate            rate
	instruments     int
	universe        universeOptions
	scenario        scenarioOptions
	symbols         []string
	patterns        *pflag.Flag // the flag of symbols
	listen          string
	http            httpOptions
	json            bool
}

func (p *program) demoCommand() *cobra.Command {
	o := demoOptions{rate: 20_000}
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "See it work: a market, three subscribers, and things going wrong",
		Long: `Run a simulated market, a publisher with a journal in a temporary directory, and three subscribers:
one of everything, one of a few symbols, and one that is deliberately slow. Every few seconds there is a
fault: connections are cut or stall, or the publisher is killed and started again. At the end a table
accounts for every tick, checked by an auditor that shares no code with the subscribers.

With --scenario, events such as auctions, halts and a flash crash happen in the market, at times of its day.

With --listen, subscribers of your own can join: they connect to ADDR and meet the same faults (tickfeed lab
makes faults of your choice, and tickfeed exam judges a client). --http serves the status of the publisher.

Exit codes: 0 all accounts agree; 3 they do not; 130 Ctrl-C, after the table.`,
		Example: "  tickfeed demo\n  tickfeed demo --duration 1m --seed 7\n  tickfeed demo --json > account.json\n  tickfeed demo --scenario flash-crash\n  tickfeed demo --duration 5m --listen localhost:9000",
		Args:    wantArgs(0, 0, ""),
		RunE:    func(cmd *cobra.Command, _ []string) error { return p.demo(cmd.Context(), &o) },
	}
	group(cmd, "Demo", func(f *pflag.FlagSet) {
		f.DurationVar(&o.duration, "duration", 20*time.Second, "length of the demo, in which the market's whole day passes")
		f.DurationVar(&o.every, "every", 3*time.Second, "interval between faults")
		f.Uint64Var(&o.seed, "seed", 1, "random seed `NUMBER` of the market and of the faults")
		f.Var(&o.rate, "rate", "ticks per second: `N` such as 20k")
		countVar(f, &o.instruments, "instruments", 1000, "`N` instruments")
		o.universe.define(f, "instruments")
		o.scenario.define(f)
		f.StringSliceVar(&o.symbols, "symbols", []string{"AAPL", "MSFT", "ES*"}, "`PATTERNS` of the filtered subscriber; with --universe its first three instruments, if not given")
		o.patterns = f.Lookup("symbols")
		f.StringVar(&o.listen, "listen", "", "let subscribers join on `ADDR`, HOST:PORT or unix:PATH, and meet the faults")
		f.BoolVar(&o.json, "json", false, "print the final account as one JSON object, and the rest on standard error")
	})
	o.http.define(cmd, "")
	return cmd
}

// speed returns how many seconds of the market pass per second, so that its day fits into the demo.
func (o *demoOptions) speed() float64 { return marketDay.Seconds() / o.duration.Seconds() }

func (o *demoOptions) check() error {
	switch {
	case o.duration < time.Second || o.duration > 24*time.Hour:
		return usage("--duration must be from 1s to 24h, got %v", o.duration)
	case o.every < 100*time.Millisecond:
		return usage("--every must be at least 100ms, got %v", o.every)
	case math.IsInf(float64(o.rate), 1):
		return usage("--rate must be a number in a demo, got max")
	case o.instruments < 1:
		return usage("--instruments must be at least 1, got %d", o.instruments)
	case float64(o.rate) < sim.MinRate*o.speed() || float64(o.rate) > sim.MaxRate:
		return usage("--rate must be from %s to %s in a demo of %v, got %s", formatCount(math.Ceil(sim.MinRate*o.speed())), formatCount(sim.MaxRate), o.duration, o.rate.String())
	case len(o.symbols) == 0:
		return usage("--symbols names no pattern")
	}
	if o.listen != "" {
		if err := checkAddress("--listen", o.listen); err != nil {
			return err
		}
	}
	if err := o.http.check(); err != nil {
		return err
	}
	filter, err := symbolFilter(o.symbols)
	if err != nil {
		return usage("--symbols: %w", err)
	}
	if !filter.All() {
		o.symbols = filter
	}
	return nil
}

// The day of the simulated market, and settings that let a demo of a few seconds show everything.
const (
	marketDay      = 6*time.Hour + 30*time.Minute
	demoHeartbeat  = 400 * time.Millisecond
	demoSilence    = 3 * demoHeartbeat // after which a connection is dead
	demoMaxLag     = time.Second
	demoStatus     = 200 * time.Millisecond // interval between two statuses of the publisher
	stallTime      = 1700 * time.Millisecond
	downTime       = 300 * time.Millisecond // time between a kill and the next start
	slowness       = 3                      // the slow subscriber reads this many times slower than the mean rate
	finishTime     = 20 * time.Second
	demoMaxBackoff = 500 * time.Millisecond
)

// A demo is one run of the demo command.
type demo struct {
	p     *program
	o     *demoOptions
	out   io.Writer
	began time.Time
	dir   string

	outMu     sync.Mutex
	outErr    error // error of the first failed write
	publisher atomic.Pointer[demoPublisher]
	books     *auditor
	parties   []*party
	guests    *lab.Lab // before subscribers that join; nil for none
	group     sync.WaitGroup
	crashed   chan error // holds one error
	hurry     atomic.Bool
	faults    map[string]int
	happened  sync.Map // rules of the scenario that were shown
	head      uint64   // head at the last status line
	headAt    time.Time
}

func (p *program) demo(ctx context.Context, o *demoOptions) (err error) {
	if err := o.check(); err != nil {
		return err
	}
	u, err := o.universe.load(ctx, &o.instruments)
	if err != nil {
		return err
	}
	s, err := o.scenario.load(ctx)
	switch {
	case err != nil:
		return err
	case o.scenario.list:
		return p.listScenarios(o.scenario.name)
	case o.universe.print != "":
		return p.printUniverse(&o.universe, u, o.instruments)
	case faultsIn(s) > 0:
		return usage("--scenario %s: the demo makes faults of its own; publish the scenario, or leave its %s out", o.scenario.name, nouns.Count(faultsIn(s), "fault"))
	}
	if u != nil && !o.patterns.Changed {
		o.symbols = u.First(min(o.instruments, 3)).Symbols()
	}
	d := &demo{p: p, o: o, out: p.stdout, began: time.Now(), books: new(auditor), crashed: make(chan error, 1), faults: make(map[string]int)}
	if o.json {
		d.out = p.stderr
	}
	temporary, err := scratch.New("", "demo")
	if err != nil {
		return err
	}
	defer temporary.Remove()
	d.dir = temporary.Path
	intro := fmt.Sprintf(`A simulated market of %d instruments is published over TCP at %s, a trading day in %v. `+
		`Three subscribers read it: "full" everything, "filtered" only %s, "slow" everything, but so slowly that it skips ahead. `+
		`Every %v there is a fault. A subscriber notices it at once, after %v if its network is silent, or, if it is slow, when it has read what came before. `+
		`No tick may be lost or come twice. Each second a line shows the rate, the time in New York, and for each `+
		`subscriber its state and how far it is behind: in time or, if it receives nothing, in ticks, such as -31.5k.`, o.instruments, formatRate(float64(o.rate)), o.duration, strings.Join(o.symbols, ","), o.every, demoSilence)
	d.print("%s\n", d.screen().fit(intro, ""))

	defer p.followSecrets(ctx, o.http.tokenFile)()
	working, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer d.group.Wait()
	defer func() {
		if c := d.publisher.Load(); c != nil {
			err = errors.Join(err, c.stop())
		}
	}()
	defer stop()
	if err := d.start(working); err != nil {
		return err
	}
	d.head, d.headAt = 1, time.Now()
	if err := d.watch(ctx); err != nil {
		return err
	}
	if err := d.finish(); err != nil {
		return err
	}
	stop() // close the books only once no subscriber receives any more
	d.group.Wait()
	r := d.result()
	if err := d.show(p.stdout, r); err != nil {
		return err
	}
	switch {
	case !r.Agree:
		return wrong("the accounts do not agree:\n  %s", strings.Join(r.Problems, "\n  "))
	case ctx.Err() != nil:
		return p.stopped()
	}
	return nil
}

// start starts the publisher and the subscribers, which run until ctx ends.
func (d *demo) start(ctx context.Context) error {
	if err := d.startPublisher(ctx); err != nil {
		return err
	}
	for i, x := range []*party{
		{name: "full", rule: everything},
		{name: "filtered", rule: filtered},
		{name: "slow", rule: skipping, delay: time.Duration(float64(time.Second) * slowness / float64(d.o.rate))},
	} {
		x.who, x.ended = i, make(chan struct{})
		if err := d.startParty(ctx, x); err != nil {
			return err
		}
		d.parties = append(d.parties, x)
	}
	if d.o.listen == "" {
		return nil
	}
	ln, err := listen(ctx, listenFlag, d.o.listen)
	if err != nil {
		return err
	}
	if d.guests, err = d.newLab(); err != nil {
		ln.Close()
		return err
	}
	d.group.Go(func() { _ = d.guests.Serve(ctx, ln) })
	d.say(plain, "subscribers of your own can join on %s", listenName(ln))
	return nil
}

func (d *demo) startPublisher(ctx context.Context) error {
	args := []string{
		"--listen", "127.0.0.1:0", "--journal", filepath.Join(d.dir, "journal"), "--sync", "none", "--status", demoStatus.String(),
		"--seed", strconv.FormatUint(d.o.seed, 10), "--instruments", strconv.Itoa(d.o.instruments),
		"--rate", strconv.FormatFloat(float64(d.o.rate), 'f', -1, 64),
		"--speed", strconv.FormatFloat(d.o.speed(), 'f', -1, 64),
		"--heartbeat", demoHeartbeat.String(), "--max-lag", demoMaxLag.String(),
		"--http", d.o.http.addr, "--pprof=" + strconv.FormatBool(d.o.http.pprof),
	}
	if d.o.http.tokenFile != "" {
		args = append(args, "--http-token-file", d.o.http.tokenFile)
	}
	if len(d.o.http.hosts) > 0 {
		args = append(args, "--http-host", strings.Join(d.o.http.hosts, ","))
	}
	if d.o.universe.file != "" {
		args = append(args, "--universe", d.o.universe.file)
	}
	if d.o.scenario.name != "" {
		args = append(args, "--scenario", d.o.scenario.name)
	}
	for _, rule := range d.o.scenario.rules {
		args = append(args, "--event", rule)
	}
	c, err := startDemoPublisher(ctx, d.happens, args...)
	if err != nil {
		return err
	}
	d.publisher.Store(c)
	return nil
}

func (d *demo) crash(err error) {
	select {
	case d.crashed <- err:
	default:
	}
}

// finish ends the source and waits until every subscriber has everything.
func (d *demo) finish() error {
	d.hurry.Store(true)
	if err := d.publisher.Load().end(); err != nil {
		return fmt.Errorf("the publisher is gone: %w: %s", err, d.publisher.Load().said())
	}
	timeout := time.NewTimer(finishTime)
	defer timeout.Stop()
	for _, x := range d.parties {
		select {
		case <-x.ended:
		case err := <-d.crashed:
			return err
		case <-timeout.C:
			return wrong("%s did not receive everything within %v: it is %v, at number %d of %d", x.name, finishTime,
				x.sub.Status().State, x.sub.Status().Next, x.sub.Status().Head)
		}
	}
	return nil
}
