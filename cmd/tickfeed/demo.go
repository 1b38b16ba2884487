package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"net"
	"path/filepath"
	"regexp"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"text/tabwriter"
	"time"

	"github.com/rs/zerolog"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"tickfeed/cmd/audit"
	"tickfeed/codec"
	"tickfeed/codec/lab"
	"tickfeed/feed"
	"tickfeed/feed/nouns"
	"tickfeed/feed/scratch"
	"tickfeed/feed/sim"
	"tickfeed/subscriber"
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

// A party is one subscriber of the demo.
type party struct {
	name  string
	who   int
	rule  rule
	delay time.Duration // time that the subscriber takes per tick
	lab   *lab.Lab      // through which it reaches the publisher
	sub   *subscriber.Subscriber
	order order
	names []bool // by instrument: whether the filter of the demo wants it

	mu      sync.Mutex
	reports []subscriber.Report
	ended   chan struct{} // closed at the end of the source
	final   uint64
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
	intro := fmt.Sprintf(`A simulated market of %d instruments is published over TCP at %s ticks/s, a trading day in %v. `+
		`Three subscribers read it: "full" everything, "filtered" only %s, "slow" everything, but so slowly that it skips ahead. `+
		`Every %v there is a fault. A subscriber notices it at once, after %v if its network is silent, or, if it is slow, when it has read what came before. `+
		`No tick may be lost or come twice. Each second a line shows the rate, the time in New York, and for each `+
		`subscriber its state and how far it is behind: in time or, if it receives nothing, in ticks, such as -31.5k.`, o.instruments, formatCount(float64(o.rate)), o.duration, strings.Join(o.symbols, ","), o.every, demoSilence)
	d.print("%s\n", d.screen().fit(intro, ""))

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

// guestsMeet triggers a fault for the subscribers that have joined.
func (d *demo) guestsMeet(fault string) {
	if d.guests != nil {
		d.guests.Trigger(fault)
	}
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

func (d *demo) startParty(ctx context.Context, x *party) (err error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	if x.lab, err = d.newLab(); err != nil {
		ln.Close()
		return err
	}
	d.group.Go(func() { _ = x.lab.Serve(ctx, narrowListener{ln}) })
	cfg := subscriber.Config{
		Addrs: []string{ln.Addr().String()}, Start: codec.Start{Kind: codec.StartBeginning}, Client: "demo " + x.name,
		MaxBackoff: demoMaxBackoff, Seed: d.o.seed + uint64(x.who) + 1, Logger: zerolog.Nop(),
	}
	switch x.rule {
	case filtered:
		cfg.Filter = d.o.symbols
	case skipping:
		cfg.Slow = codec.SlowLatest
		cfg.Dial = dialNarrow
	}
	if x.sub, err = subscriber.New(cfg); err != nil {
		return err
	}
	d.group.Go(func() {
		defer func() {
			if v := recover(); v != nil {
				d.crash(fmt.Errorf("%s: panic: %v\n%s", x.name, v, debug.Stack()))
			}
		}()
		if err := x.sub.Run(ctx, func(b *subscriber.Batch) error { return d.receive(ctx, x, b) }); ctx.Err() == nil {
			d.crash(fmt.Errorf("%s: %w", x.name, err))
		}
	})
	return nil
}

// demoRules are the faults of a demo's connection, which the demo triggers by name.
const (
	demoCut   = "cut"
	demoStall = "stall"
	demoRules = "on " + demoCut + ": cut rst\non " + demoStall + ": stall "
)

// newLab returns a lab before the present publisher.
func (d *demo) newLab() (*lab.Lab, error) {
	script, err := lab.Parse("demo", []byte(demoRules+stallTime.String()))
	if err != nil {
		return nil, err
	}
	return &lab.Lab{
		Script: script,
		Dial:   func(ctx context.Context) (net.Conn, error) { return dialNarrow(ctx, d.publisher.Load().listens()) },
	}, nil
}

// narrow is the size of the socket buffers of a demo's connections. It is small, so that the publisher soon notices a slow
// reader.
const narrow = 32 << 10

func narrowed(nc net.Conn) net.Conn {
	if tcp, ok := nc.(*net.TCPConn); ok {
		_ = tcp.SetReadBuffer(narrow)
		_ = tcp.SetWriteBuffer(narrow)
	}
	return nc
}

// dialNarrow connects with small buffers.
func dialNarrow(ctx context.Context, addr string) (net.Conn, error) {
	nc, err := new(net.Dialer).DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	return narrowed(nc), nil
}

// A narrowListener accepts connections with small buffers.
type narrowListener struct{ net.Listener }

func (l narrowListener) Accept() (net.Conn, error) {
	nc, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return narrowed(nc), nil
}

func (d *demo) crash(err error) {
	select {
	case d.crashed <- err:
	default:
	}
}

// receive is the handler of subscriber x: it reports the ticks to the auditor.
func (d *demo) receive(ctx context.Context, x *party, b *subscriber.Batch) error {
	if b.Change != nil {
		d.change(x, b.Change)
		return nil
	}
	wanted := x.know(b.Ticks, d.o.symbols)
	if b.Snapshot {
		return nil
	}
	x.order.check(b.Session, b.Ticks)
	done := 0
	for published, ticks := range b.ByPublishTime() {
		var wants []bool
		if wanted != nil {
			wants = wanted[done : done+len(ticks)]
		}
		d.books.ticks(x.who, x.name, b.Session, published, x.rule == filtered, ticks, wants)
		done += len(ticks)
	}
	if x.delay > 0 && !d.hurry.Load() {
		wait := time.NewTimer(x.delay * time.Duration(len(b.Ticks)))
		defer wait.Stop()
		select {
		case <-wait.C:
		case <-ctx.Done():
		}
	}
	return nil
}

// know returns whether the demo's filter wants each tick, if x is the full subscriber, which sees every definition;
// otherwise nil.
func (x *party) know(ticks []feed.Tick, patterns []string) []bool {
	if x.rule != everything {
		return nil
	}
	wanted := make([]bool, len(ticks))
	for i := range ticks {
		t := &ticks[i]
		for int(t.Instrument) >= len(x.names) {
			x.names = append(x.names, false)
		}
		if def := t.Definition(); def != nil {
			x.names[t.Instrument] = codec.Filter(patterns).Match(def)
		}
		wanted[i] = x.names[t.Instrument]
	}
	return wanted
}

func (d *demo) change(x *party, c *subscriber.Change) {
	for _, told := range []struct {
		numbers []subscriber.Numbers
		outcome audit.Outcome
	}{{c.Withheld, audit.Withheld}, {c.Lost, audit.Lost}, {c.Disowned, audit.Disowned}} {
		for _, n := range told.numbers {
			d.books.reported(x.who, x.name, n.Session, n.Range, told.outcome)
			d.say(outcomeColours[told.outcome], "  %s: %s %v", x.name, nouns.Count(n.Range.Len(), "tick"), told.outcome)
		}
	}
	if r := c.Report; r != nil {
		cause := string(r.Cause)
		if r.Cause != subscriber.CauseCut && r.Cause != subscriber.CauseSilent {
			cause += ": " + r.Detail
		}
		x.mu.Lock()
		x.reports = append(x.reports, *r)
		x.mu.Unlock()
		d.say(green, "  %s recovered by %s %s after it noticed: %s replayed, %s, cause %s", x.name,
			r.Resume, formatDuration(r.Live), nouns.Count(r.Replayed, "tick"), nouns.Count(r.Attempts, "attempt"), cause)
	}
	if c.End {
		x.mu.Lock()
		if x.final == 0 {
			close(x.ended)
		}
		x.final = c.Final
		x.mu.Unlock()
	}
}

// watch causes the faults and prints the status, until the demo's time is over or ctx ends.
func (d *demo) watch(ctx context.Context) error {
	chance := rand.New(rand.NewPCG(d.o.seed, 0x64656d6f))
	second := time.NewTicker(time.Second)
	defer second.Stop()
	end := time.NewTimer(d.o.duration)
	defer end.Stop()
	next := time.NewTimer(d.o.every)
	defer next.Stop()
	var deck []fault
	for {
		select {
		case <-second.C:
			d.status()
		case <-next.C:
			if len(deck) == 0 {
				deck = slices.Clone(faults)
				chance.Shuffle(len(deck), func(i, j int) { deck[i], deck[j] = deck[j], deck[i] })
			}
			if err := deck[0].do(d, ctx, chance); err != nil && ctx.Err() == nil {
				return err
			}
			d.faults[deck[0].name]++
			deck = deck[1:]
			// After the last fault there is time to see the recovery.
			if time.Since(d.began)+d.o.every+d.o.every/2 < d.o.duration {
				next.Reset(d.o.every)
			}
		case err := <-d.crashed:
			return err
		case <-end.C:
			return nil
		case <-ctx.Done():
			d.print("\nInterrupted: finishing early.\n")
			return nil
		}
	}
}

// A fault is a failure that the demo causes.
type fault struct {
	name string
	do   func(d *demo, ctx context.Context, chance *rand.Rand) error
}

var faults = []fault{
	{"cut one", func(d *demo, _ context.Context, chance *rand.Rand) error {
		x := d.parties[chance.IntN(len(d.parties))]
		d.say(yellow, "FAULT: the connection of %s is cut", x.name)
		x.lab.Trigger(demoCut)
		d.guestsMeet(demoCut)
		return nil
	}},
	{"kill", func(d *demo, ctx context.Context, _ *rand.Rand) error {
		d.say(yellow, "FAULT: the publisher is killed (kill -9), and started again over its journal; its market opens on the next day")
		if err := d.publisher.Load().Kill(); err != nil {
			return err
		}
		select {
		case <-time.After(downTime):
		case <-ctx.Done():
		}
		return d.startPublisher(context.WithoutCancel(ctx))
	}},
	{"stall", func(d *demo, _ context.Context, chance *rand.Rand) error {
		x := d.parties[chance.IntN(len(d.parties)-1)] // except the slow one, which would hardly notice
		d.say(yellow, "FAULT: the network of %s goes dead for %v, connections stay open", x.name, stallTime)
		x.lab.Trigger(demoStall)
		d.guestsMeet(demoStall)
		return nil
	}},
	{"cut all", func(d *demo, _ context.Context, _ *rand.Rand) error {
		d.say(yellow, "FAULT: all connections are cut at once")
		for _, x := range d.parties {
			x.lab.Trigger(demoCut)
		}
		d.guestsMeet(demoCut)
		return nil
	}},
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

// lag describes the state of a subscriber and how far behind it is: in time, or if nothing reaches it, in ticks before
// head, the newest number that any subscriber knows of.
func lag(s subscriber.Status, head uint64, rate float64) string {
	behind := max(head, s.Next) - s.Next
	switch {
	case s.LagTime >= time.Millisecond:
		return fmt.Sprintf("%s %s", s.State, formatDuration(s.LagTime.Round(time.Millisecond)))
	case s.Next > 0 && float64(behind) > rate/10:
		return fmt.Sprintf("%s -%s", s.State, formatCount(float64(behind)))
	}
	return fmt.Sprintf("%s 0", s.State)
}

// status prints the status line of this second.
func (d *demo) status() {
	now, head := time.Now(), d.head
	for _, x := range d.parties {
		head = max(head, x.sub.Status().Head)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%5s/s", formatCount(math.Round(float64(head-d.head)/now.Sub(d.headAt).Seconds())))
	st := d.publisher.Load().now()
	if at := st.marketTime(now, d.o.speed()); at != 0 {
		est := time.FixedZone("EST", -5*60*60)
		fmt.Fprintf(&b, " %s", time.Unix(0, at).In(est).Format("15:04"))
	}
	d.head, d.headAt = head, now
	for _, x := range d.parties {
		fmt.Fprintf(&b, " | %s %s", x.name, lag(x.sub.Status(), head, float64(d.o.rate)))
	}
	text := printable(b.String())
	for _, state := range []subscriber.ConnState{subscriber.Connecting, subscriber.Stale, subscriber.Disconnected} {
		text = strings.ReplaceAll(text, " "+state.String()+" ", " "+d.screen().paint(yellow, state.String())+" ")
	}
	d.line(plain, text)
}

// outcomeColours are the colours of ticks that were not delivered.
var outcomeColours = map[audit.Outcome]colour{audit.Withheld: yellow, audit.Lost: red, audit.Disowned: red}

// happens shows a rule of the scenario when it happens for the first time.
func (d *demo) happens(rule string) {
	if _, shown := d.happened.LoadOrStore(rule, true); !shown {
		d.say(plain, "market: %s", rule)
	}
}

// say prints an event, in colour c, after the time.
func (d *demo) say(c colour, format string, args ...any) {
	d.line(c, printable(fmt.Sprintf(format, args...)))
}

// line is say for text that is already printable, except for colours.
func (d *demo) line(c colour, text string) {
	s := d.screen()
	at := fmt.Sprintf("%5.1fs ", time.Since(d.began).Seconds())
	text = s.fit(at+text, "         ")
	d.print("%s\n", s.paint(dim, at)+s.paintLines(c, strings.TrimPrefix(text, at)))
}

// screen returns the screen of the output; if that is not a terminal, the width is columns.
func (d *demo) screen() screen {
	s := d.p.screen(d.out)
	s.width = cmp.Or(s.width, columns)
	return s
}

func (d *demo) print(format string, args ...any) {
	d.outMu.Lock()
	defer d.outMu.Unlock()
	if d.outErr != nil {
		return
	}
	if _, err := fmt.Fprintf(d.out, format, args...); err != nil {
		d.outErr = output(err)
		d.crash(d.outErr) // end the demo: its output is gone
	}
}

// printed returns the error of the first failed write.
func (d *demo) printed() error {
	d.outMu.Lock()
	defer d.outMu.Unlock()
	return d.outErr
}

// A demoResult is the final account.
type demoResult struct {
	Agree     bool           `json:"agree"`
	Problems  []string       `json:"problems,omitempty"`
	Seed      uint64         `json:"seed"`
	Published uint64         `json:"published"`
	Sessions  int            `json:"sessions"`
	Faults    map[string]int `json:"faults"`
	Parties   []partyResult  `json:"subscribers"`
	P50       time.Duration  `json:"recover_p50_ns"`
	Max       time.Duration  `json:"recover_max_ns"`
}

// A partyResult is the account of one subscriber. The auditor counted its ticks; the recoveries are from its reports.
type partyResult struct {
	Name       string `json:"name"`
	Delivered  uint64 `json:"delivered"`
	NotAsked   uint64 `json:"not_asked"`
	Withheld   uint64 `json:"withheld"`
	Lost       uint64 `json:"lost"`
	Disowned   uint64 `json:"disowned"`
	Duplicated uint64 `json:"duplicated"`
	ByReplay   int    `json:"recoveries_by_replay"`
	BySnapshot int    `json:"recoveries_by_snapshot"`
	Replayed   uint64 `json:"replayed"`
}

// result closes the books and returns the final account.
func (d *demo) result() demoResult {
	lineage := d.parties[0].sub.Position().Lineage
	final := d.parties[0].final
	r := demoResult{Seed: d.o.seed, Published: final - 1, Sessions: len(lineage), Faults: d.faults}
	var times []time.Duration
	for _, x := range d.parties {
		if x.final != final {
			d.books.problem("the last number of %s is %d, but that of full is %d", x.name, x.final-1, final-1)
		}
		d.books.close(x.who, x.name, lineage, final, x.rule)
		d.books.compare(x.who, x.name, x.sub.Ledger())
		c := d.books.tally(x.who)
		pr := partyResult{
			Name: x.name, Delivered: c[audit.Delivered], Withheld: c[audit.Withheld], Lost: c[audit.Lost], Disowned: c[audit.Disowned],
			NotAsked: x.sub.Ledger().Totals().NotAsked, Duplicated: x.order.repeated,
		}
		x.mu.Lock()
		for i := range x.reports {
			times = append(times, x.reports[i].Live)
			pr.Replayed += x.reports[i].Replayed
			if x.reports[i].Resume == subscriber.ResumeReplay {
				pr.ByReplay++
			} else {
				pr.BySnapshot++
			}
		}
		x.mu.Unlock()
		if pr.Duplicated > 0 {
			d.books.problem("%s: %s came twice or out of order", x.name, nouns.Count(pr.Duplicated, "tick"))
		}
		r.Parties = append(r.Parties, pr)
	}
	if n := len(times); n > 0 {
		slices.Sort(times)
		r.P50, r.Max = times[n/2], times[n-1]
	}
	r.Problems = d.books.problems
	if d.books.more > 0 {
		r.Problems = append(r.Problems, fmt.Sprintf("and %d more", d.books.more))
	}
	r.Agree = len(r.Problems) == 0
	return r
}

// lostRow matches the rows of the table that report errors and are not all 0.
var lostRow = regexp.MustCompile(`(?m)^ +(lost|disowned|duplicated) .*[1-9].*$`)

// show prints the table, and with --json also the JSON object.
func (d *demo) show(stdout io.Writer, r demoResult) error {
	var b strings.Builder
	fmt.Fprintf(&b, "\n%s published in %s\n\n", nouns.Count(r.Published, "tick"), nouns.Count(r.Sessions, "session"))
	w := tabwriter.NewWriter(&b, 0, 0, 3, ' ', tabwriter.AlignRight)
	row := func(name string, of func(x partyResult) string) {
		fmt.Fprintf(w, "%s\t", name)
		for _, x := range r.Parties {
			fmt.Fprintf(w, "%s\t", of(x))
		}
		fmt.Fprint(w, "\n")
	}
	row("", func(x partyResult) string { return x.Name })
	for _, measure := range []struct {
		name string
		of   func(x partyResult) uint64
	}{
		{"delivered", func(x partyResult) uint64 { return x.Delivered }},
		{"not asked", func(x partyResult) uint64 { return x.NotAsked }},
		{"withheld", func(x partyResult) uint64 { return x.Withheld }},
		{"lost", func(x partyResult) uint64 { return x.Lost }},
		{"disowned", func(x partyResult) uint64 { return x.Disowned }},
		{"duplicated", func(x partyResult) uint64 { return x.Duplicated }},
		{"recovered by replay", func(x partyResult) uint64 { return uint64(x.ByReplay) }},
		{"recovered by snapshot", func(x partyResult) uint64 { return uint64(x.BySnapshot) }},
		{"ticks replayed", func(x partyResult) uint64 { return x.Replayed }},
	} {
		row(measure.name, func(x partyResult) string { return nouns.Thousands(measure.of(x)) })
	}
	w.Flush()
	fmt.Fprintf(&b, "\nTime from noticing a fault to having recovered: p50 %s, max %s.\n", formatDuration(r.P50), formatDuration(r.Max))
	screen := d.screen()
	if r.Agree {
		b.WriteString(screen.paint(green, "Every number is accounted for exactly once: the auditor and all ledgers agree.") + "\n")
	}
	d.print("%s", lostRow.ReplaceAllStringFunc(b.String(), func(row string) string { return screen.paint(red, row) }))
	if d.o.json {
		return output(json.NewEncoder(stdout).Encode(r))
	}
	return d.printed()
}
