package bench

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"tickfeed/feed/scratch"
	"tickfeed/publisher/journal"
)

// A Config says what to measure and how. Every field except Command has a default.
type Config struct {
	Scenarios []string      // by name; none for all
	Duration  time.Duration // of one measurement; 0 for DefaultDuration
	Runs      int           // of each measurement; 0 for DefaultRuns
	// Smoke makes everything small and short and judges no figure: it only shows that the bench works.
	Smoke bool
	// Ticks are files with the ticks to publish, which Child can open; none for the simulated market.
	Ticks []string
	// Profile is a directory for CPU profiles of the publisher's and the subscribers' process of each scenario,
	// which is created if need be; empty for no profiles.
	Profile string
	Dir     string       // for temporary journals; empty for the system's temporary directory
	Sync    journal.Sync // of the journals
	TLS     bool         // connect over TLS, in the scenarios that use it; the figures of the machine stay those of plain TCP

	// Parameters of single scenarios; 0 for the scenario's default.
	Subscribers, Symbols, Instruments, Cuts, Count int
	Rate                                           float64 // ticks per second

	// Command returns a command that runs Child with role; its standard input, output and error must not be
	// set.
	Command func(role string) *exec.Cmd

	// If not nil, Machine and Figure are called with each result as soon as it is available, and Progress with
	// the measurement in progress.
	Machine  func(*Machine)
	Figure   func(*Figure)
	Progress func(string)
}

// Defaults of a Config.
const (
	DefaultDuration = 2 * time.Second
	DefaultRuns     = 5
)

// MaxCount is the greatest Count.
const MaxCount = 10_000_000_000

// A Scenario is a group of measurements.
type Scenario struct {
	Name  string
	About string   // one line
	Uses  []string // names of the Config's parameters that it uses, as flags: subscribers, rate, …
	run   func(b *bench, ctx context.Context) error
}

// Scenarios returns all scenarios in the order in which they run.
func Scenarios() []Scenario {
	return []Scenario{
		{"throughput", "ticks/s from 1 publisher to 1 subscriber, 100 ticks and 1 tick for each call of Publish", []string{"tls"}, (*bench).throughput},
		{"journal", "the same with the journal and without", nil, (*bench).journal},
		{"fanout", "ticks/s delivered to many subscribers", []string{"tls", "subscribers"}, (*bench).fanOut},
		{"latency", "from when a tick is due to the application, at a steady rate", []string{"tls", "subscribers", "rate"}, (*bench).latency},
		{"catchup", "a late joiner reads stored ticks from the journal", []string{"count"}, (*bench).catchUp},
		{"reconnect", "from an outage of each kind to its notice, the first new tick and live, and ticks lost", []string{"cuts", "rate"}, (*bench).reconnect},
		{"snapshot", "a late joiner: from connecting to the complete state", []string{"instruments"}, (*bench).snapshot},
		{"filter", "what a published tick costs where each subscriber wants other symbols", []string{"tls", "subscribers", "symbols"}, (*bench).filter},
		{"memory", "the publisher's resident memory, for each idle and each stalled subscriber", []string{"tls", "subscribers"}, (*bench).memory},
		{"idle", "cores used by a quiet feed: ticks one at a time to 1 subscriber", []string{"tls", "rate"}, (*bench).idle},
		{"slow", "latency of healthy subscribers while as many others have stalled", []string{"tls", "subscribers", "rate"}, (*bench).slow},
		{"connections", "cores used by very many connections", []string{"tls", "subscribers", "rate"}, (*bench).connections},
		{"sim", "ticks/s of the simulated market on one core, nothing published, without levels and with a depth of 5", []string{"instruments"}, (*bench).sim},
		{"scale", "throughput against the number of instruments, and of subscribers", nil, (*bench).scale},
		{"age", "throughput and memory after many ticks were published against before", []string{"count"}, (*bench).age},
	}
}

// A Machine describes the machine and the ticks of a Run.
type Machine struct {
	Processors int     `json:"processors"`
	Platform   string  `json:"platform"`
	Go         string  `json:"go"`
	Ticks      string  `json:"ticks"` // sim, or the files
	Held       int     `json:"ticks_held"`
	TickSize   float64 `json:"bytes_per_tick"`
	// FixedWidth is the share of the quotes and trades that have a fixed-width pattern, in [0, 1].
	FixedWidth float64 `json:"fixed_width_share"`
}

// Validate returns an error for the first invalid field of c.
func (c *Config) Validate() error {
	var names []string
	for _, s := range Scenarios() {
		names = append(names, s.Name)
	}
	for _, n := range c.Scenarios {
		if !slices.Contains(names, n) {
			return fmt.Errorf("there is no scenario %q; there are %s", n, strings.Join(names, ", "))
		}
	}
	switch {
	case c.Duration < 0 || c.Duration > time.Hour || c.Duration > 0 && c.Duration < 10*time.Millisecond:
		return fmt.Errorf("the duration must be from 10ms to 1h, got %v", c.Duration)
	case c.Runs < 0 || c.Runs > 1000:
		return fmt.Errorf("the runs must be from 1 to 1000, got %d", c.Runs)
	case c.Subscribers < 0 || c.Subscribers > 20_000:
		return fmt.Errorf("the subscribers must be from 1 to 20000, got %d", c.Subscribers)
	case c.Symbols < 0 || c.Symbols > 4096:
		return fmt.Errorf("the symbols must be from 1 to 4096, got %d", c.Symbols)
	case c.Instruments < 0 || c.Instruments > 1_000_000:
		return fmt.Errorf("the instruments must be from 1 to 1000000, got %d", c.Instruments)
	case c.Cuts < 0 || c.Cuts > 100_000:
		return fmt.Errorf("the cuts must be from 1 to 100000, got %d", c.Cuts)
	case c.Count < 0 || c.Count > MaxCount:
		return fmt.Errorf("the ticks must be from 1 to 10G, got %d", c.Count)
	case c.Rate != 0 && !(c.Rate >= 0.1 && c.Rate <= 1e7):
		return fmt.Errorf("the rate must be from 0.1 to 10M, got %v", c.Rate)
	}
	return nil
}

// Run runs the scenarios. It returns context.Cause(ctx) if ctx ends first, an error that wraps ErrAccount if
// ticks were missing, or one that wraps ErrTicks if Ticks cannot be read. It leaves no process and no file
// behind.
func Run(ctx context.Context, cfg Config) (err error) {
	if err := cfg.Validate(); err != nil {
		return err
	}
	b := &bench{Config: cfg}
	b.settle()
	if b.Profile != "" {
		if err := os.MkdirAll(b.Profile, 0o777); err != nil {
			return err
		}
	}
	temporary, err := scratch.New(b.Dir, "bench")
	if err != nil {
		return err
	}
	defer temporary.Remove()
	b.dir = temporary.Path
	defer b.killAll()
	if err := b.startRaw(ctx); err != nil {
		return err
	}
	for _, s := range Scenarios() {
		if len(b.Scenarios) > 0 && !slices.Contains(b.Scenarios, s.Name) {
			continue
		}
		b.scenario = s.Name
		if err := s.run(b, ctx); err != nil {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			return fmt.Errorf("%s: %w", s.Name, err)
		}
	}
	return nil
}

// A bench is one Run.
type bench struct {
	Config
	dir      string
	peers    []*peer
	scenario string
	told     bool // Machine was called

	sender, receiver *peer
	rawAddr          string
}

func (b *bench) settle() {
	if b.Duration == 0 {
		b.Duration = DefaultDuration
		if b.Smoke {
			b.Duration = smokeDuration
		}
	}
	if b.Runs == 0 {
		b.Runs = DefaultRuns
		if b.Smoke {
			b.Runs = 1
		}
	}
	if b.Machine == nil {
		b.Machine = func(*Machine) {}
	}
	if b.Figure == nil {
		b.Figure = func(*Figure) {}
	}
	if b.Progress == nil {
		b.Progress = func(string) {}
	}
}

const (
	smokeDuration = 50 * time.Millisecond
	setSize       = 1 << 16 // ticks held: few enough to stay in a cache, like new ticks
	smokeSetSize  = 20_000
	retained      = 1 << 30 // bytes of journal, so that a flood does not fill the disk
)

// or returns the parameter v if it is set, otherwise its default, which is smaller in a smoke run.
func (b *bench) or(v, normal, smoke int) int {
	switch {
	case v != 0:
		return v
	case b.Smoke:
		return smoke
	}
	return normal
}

// start starts a child.
func (b *bench) start(role string) (*peer, error) {
	p, err := startPeer(role, b.Command(role))
	if err != nil {
		return nil, err
	}
	b.peers = append(b.peers, p)
	return p, nil
}

func (b *bench) killAll() {
	for _, p := range b.peers {
		p.kill()
	}
}

func (b *bench) startRaw(ctx context.Context) (err error) {
	if b.sender, err = b.start(roleSender); err != nil {
		return err
	}
	if b.receiver, err = b.start(roleReceiver); err != nil {
		return err
	}
	b.rawAddr, err = call[string](ctx, b.sender, "listen", nothing{})
	return err
}

// A pair is a publisher and its subscribers.
type pair struct {
	b         *bench
	pub, subs *peer
	info      setInfo
	openResult
	dir    string   // the journal; empty if there is none
	loaded loadArgs // the arguments of the publisher
	opened openArgs // likewise, with the address at which it listens
}

type pairArgs struct {
	instruments int
	size        int // ticks held; 0 for the default
	noJournal   bool
	retain      int64 // 0 for retained, -1 for all
	memory      int64
	heartbeat   time.Duration
}

// pair starts a publisher and a process for subscribers.
func (b *bench) pair(ctx context.Context, a pairArgs) (*pair, error) {
	p := &pair{b: b}
	var err error
	if p.pub, err = b.start(rolePublisher); err != nil {
		return nil, err
	}
	if p.subs, err = b.start(roleSubscriber); err != nil {
		return nil, err
	}
	if a.instruments == 0 {
		a.instruments = 1000
	}
	if a.size == 0 {
		a.size = b.or(0, setSize, smokeSetSize)
	}
	b.Progress(b.scenario + ": making ticks")
	p.loaded = loadArgs{Ticks: b.Ticks, Instruments: a.instruments, Size: a.size}
	p.info, err = call[setInfo](ctx, p.pub, "load", p.loaded)
	if err != nil {
		return nil, err
	}
	b.tellMachine(p.info)
	open := openArgs{Sync: b.Sync, TLS: b.TLS, Memory: a.memory, Heartbeat: a.heartbeat}
	if !a.noJournal {
		if p.dir, err = os.MkdirTemp(b.dir, "journal-"); err != nil {
			return nil, err
		}
		open.Journal = p.dir
		if open.Retain = a.retain; a.retain == 0 {
			open.Retain = retained
		} else if a.retain < 0 {
			open.Retain = 0
		}
	}
	p.openResult, err = call[openResult](ctx, p.pub, "open", open)
	p.opened = open
	p.opened.Listen = p.Addr
	return p, err
}

// tellMachine calls Machine with the first set of ticks that is loaded.
func (b *bench) tellMachine(in setInfo) {
	if b.told {
		return
	}
	b.told = true
	ticks := "sim"
	if len(b.Ticks) > 0 {
		ticks = strings.Join(b.Ticks, " ")
	}
	b.Machine(&Machine{
		Processors: runtime.NumCPU(), Platform: runtime.GOOS + "/" + runtime.GOARCH, Go: runtime.Version(),
		Ticks: ticks, Held: in.Ticks, TickSize: in.Size, FixedWidth: in.Fixed,
	})
}

// close ends the pair. It returns an error if the subscribers' accounts are wrong.
func (p *pair) close(ctx context.Context) error {
	missing, err := call[uint64](ctx, p.subs, "unsubscribe", nothing{})
	if missing > 0 {
		err = errors.Join(err, fmt.Errorf("%w: %d ticks were lost or withheld", ErrAccount, missing))
	}
	_, closeErr := call[nothing](ctx, p.pub, "close", nothing{})
	err = errors.Join(err, p.b.end(ctx, p.subs), p.b.end(ctx, p.pub))
	if p.dir != "" {
		err = errors.Join(err, os.RemoveAll(p.dir))
	}
	return errors.Join(err, closeErr)
}

// profile begins the profiles of both processes; name names the measurement.
func (p *pair) profile(ctx context.Context, name string) error {
	return errors.Join(p.b.profile(ctx, p.pub, name), p.b.profile(ctx, p.subs, name))
}

// profile begins the profile of a child.
func (b *bench) profile(ctx context.Context, c *peer, name string) error {
	if b.Profile == "" {
		return nil
	}
	name = strings.NewReplacer(" ", "-", "/", "-", ",", "").Replace(b.scenario + "-" + name)
	path, err := filepath.Abs(filepath.Join(b.Profile, name+"."+c.role+".pprof"))
	if err != nil {
		return err
	}
	_, err = call[nothing](ctx, c, "profile", path)
	return err
}

// end ends a child and its profile.
func (b *bench) end(ctx context.Context, c *peer) (err error) {
	if b.Profile != "" {
		_, err = call[nothing](ctx, c, "profile", "")
	}
	c.stop()
	return err
}

func (p *pair) subscribe(ctx context.Context, a subscribeArgs) error {
	a.Addr, a.TLS = p.Addr, p.opened.TLS
	_, err := call[nothing](ctx, p.subs, "subscribe", a)
	return err
}

// A flooded is one flood as seen from both sides.
type flooded struct {
	floodResult
	subscribers time.Duration // processor time
}

// perSecond returns deliveries per second.
func (f *flooded) perSecond() float64 { return float64(f.Deliveries) / f.Elapsed.Seconds() }

func (p *pair) flood(ctx context.Context, a floodArgs) (f flooded, err error) {
	if _, err = call[nothing](ctx, p.subs, "begin", nothing{}); err != nil {
		return f, err
	}
	if f.floodResult, err = call[floodResult](ctx, p.pub, "flood", a); err != nil {
		return f, err
	}
	c, err := call[collectResult](ctx, p.subs, "collect", nothing{})
	f.subscribers = c.CPU
	return f, err
}

// window returns how many deliveries may be outstanding with n subscribers: enough that no subscriber waits,
// and few enough that draining them does not dominate the measurement.
func window(n int) uint64 {
	return uint64(n * min(max(8<<20/max(n, 1), 8<<10), 512<<10))
}

// raw sends plain bytes over n sockets, and returns the equivalent in ticks per second.
func (b *bench) raw(ctx context.Context, sockets int, tickSize float64) (float64, error) {
	var sent sendResult
	var got receiveResult
	both, ctx := errgroup.WithContext(ctx)
	both.Go(func() (err error) {
		sent, err = call[sendResult](ctx, b.sender, "send", sendArgs{Sockets: sockets, Duration: b.Duration})
		return err
	})
	both.Go(func() (err error) {
		got, err = call[receiveResult](ctx, b.receiver, "receive", receiveArgs{Addr: b.rawAddr, Sockets: sockets})
		return err
	})
	if err := both.Wait(); err != nil {
		return 0, err
	}
	if sent.Bytes != got.Bytes {
		return 0, fmt.Errorf("raw: %d bytes sent, %d received", sent.Bytes, got.Bytes)
	}
	return float64(sent.Bytes) / sent.Elapsed.Seconds() / tickSize, nil
}

// ping measures plain pings at a given rate.
func (b *bench) ping(ctx context.Context, a pacedArgs) (sent pacedResult, got pongResult, err error) {
	both, ctx := errgroup.WithContext(ctx)
	both.Go(func() (err error) {
		sent, err = call[pacedResult](ctx, b.sender, "ping", a)
		return err
	})
	both.Go(func() (err error) {
		got, err = call[pongResult](ctx, b.receiver, "pong", b.rawAddr)
		return err
	})
	return sent, got, both.Wait()
}

// each calls f once per run.
func (b *bench) each(what string, f func() error) error {
	for i := range b.Runs {
		b.Progress(fmt.Sprintf("%s: %s, run %d of %d", b.scenario, what, i+1, b.Runs))
		if err := f(); err != nil {
			return err
		}
	}
	return nil
}

// tell completes a figure and passes it to Figure.
func (b *bench) tell(f *Figure) {
	f.Scenario = b.scenario
	if f.Ratio == nil && f.Limit != nil {
		f.Ratio = NewSpread(ratios(f.Measured.Runs, f.Limit.Runs))
	}
	if !b.Smoke {
		f.judge()
	}
	b.Figure(f)
}
