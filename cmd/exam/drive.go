package exam

import (
	"context"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"tickfeed/codec"
	"tickfeed/codec/lab"
	"tickfeed/feed"
	"tickfeed/publisher"
	"tickfeed/publisher/hosted"
)

// A Drive is a case in which a real publisher sends ticks, as time passes, through a lab that does what a script says.
// The publisher defines three instruments (numbers 1 to 3), publishes Ticks quotes, and ends the session. The client is
// then stopped.
type Drive struct {
	Script string // of package lab
	Ticks  int    // 0 for 1200
	Filter codec.Filter
	From   codec.Start
	Slow   codec.SlowPolicy
	Permit codec.Filter // all that the client may see from a third of the quotes on; empty for everything
	Memory int64        // of a publisher without a journal; 0 for one with a journal

	// The client may and must do the following, besides delivering each tick once, in order, with a right account.
	MayLose   bool          // numbers may be lost or withheld
	Terminal  bool          // the client must end by itself, and may lack what follows
	Causes    []string      // of its disconnects, in order, as "cause" or "cause code"; nil for any
	Logins    [2]int        // least and greatest number of hellos; zero for any
	Within    time.Duration // longest time from a fault to the next hello; 0 for any
	Pulses    int           // least number of pulses on its first connection
	Quiet     bool          // the publisher publishes nothing after the first tick for two seconds
	KillAfter int           // the client is killed once it has printed so many ticks, and started again with its state file
}

// Describe returns what happens, and what the client must do, for people.
func (d *Drive) Describe() string {
	var b strings.Builder
	n := d.Ticks
	if n == 0 {
		n = driveTicks
	}
	fmt.Fprintf(&b, "A publisher of 3 instruments publishes %d quotes, a thousand a second, and ends the session.\n", n)
	if d.Quiet {
		b.WriteString("After the first one nothing comes for two seconds.\n")
	}
	fmt.Fprintf(&b, "Heartbeats come every %v. The client starts at %s", driveBeat, fromOf(d.From))
	if len(d.Filter) > 0 {
		fmt.Fprintf(&b, " and asks for %s", strings.Join(d.Filter, ","))
	}
	b.WriteString(".\n")
	if len(d.Permit) > 0 {
		fmt.Fprintf(&b, "After %d quotes the client may see %s only: the publisher sends subscribed with request 0 to a client that named the\nfeature narrow, and says goodbye (denied, retry true) to others. It notices within about a second.\n", n/3, strings.Join(d.Permit, ","))
	}
	if d.KillAfter > 0 {
		fmt.Fprintf(&b, "The client is killed after %d ticks, and started again with its state file.\n", d.KillAfter)
	}
	if d.Script != "" {
		fmt.Fprintf(&b, "Between them stands a lab (tickfeed lab --list) with this script:\n  %s\n", strings.ReplaceAll(d.Script, "\n", "\n  "))
	}
	b.WriteString("The client must ")
	if d.Terminal {
		b.WriteString("end by itself")
	} else {
		b.WriteString("deliver each tick once and in order, print the end of the session, and leave with a goodbye on SIGTERM")
	}
	b.WriteString(".\n")
	if d.Causes != nil {
		fmt.Fprintf(&b, "The causes of its disconnects must be %q.\n", d.Causes)
	}
	if d.Logins[1] > 0 {
		fmt.Fprintf(&b, "It must say hello %s.\n", times(d.Logins[0], d.Logins[1]))
	}
	if d.Within > 0 {
		fmt.Fprintf(&b, "It must be back at most %v after each fault.\n", d.Within)
	}
	return b.String()
}

// times says in words how often something must happen: from least to most times.
func times(least, most int) string {
	switch {
	case least < most:
		return fmt.Sprintf("%d to %d times", least, most)
	case least == 1:
		return "once"
	case least == 2:
		return "exactly twice"
	}
	return fmt.Sprintf("exactly %d times", least)
}

const (
	driveTicks = 1200
	driveBeat  = 50 * time.Millisecond  // interval of heartbeats
	slowBeat   = 500 * time.Millisecond // the same, of a case that is repeated
	drivePace  = 10                     // ticks a millisecond step publishes
)

// A tickTruth is a tick that was published.
type tickTruth struct {
	symbol string
	bid    int64 // 0 for a definition
	event  int64
}

// A truth is everything that was published.
type truth struct {
	sessions []feed.SessionID // in the order in which they began
	ticks    map[feed.SessionID]map[uint64]tickTruth
	lineage  feed.Lineage // of the last publisher
	final    uint64       // of the last session
	permit   uint64       // the first number that was published under Drive.Permit; 0 for none
}

// A sight is what the lab saw of the client.
type sight struct {
	hellos   []lab.Heard
	turned   int // connections that were turned away before their hello
	goodbyes []*codec.Goodbye
	pulses   map[uint64]int // by connection
	gone     int            // connections that the client has ended
	faults   []lab.Event
}

// driver runs a Drive.
type driver struct {
	d     *Drive
	beat  time.Duration
	lab   *lab.Lab
	host  *hosted.Publisher
	pub   *publisher.Publisher // the present one
	ids   []feed.InstrumentID
	truth truth
	mu    sync.Mutex
	sight sight

	permission atomic.Pointer[publisher.Permission] // of the client; nil for a Drive without Permit

	turn   chan struct{}           // held by what publishes, and by what happens to the publisher
	giveUp context.CancelCauseFunc // ends the case
}

// errTooOften ends a case whose client has said hello more often than it may.
var errTooOften = errors.New("the client has said hello too often")

var driveSymbols = []string{"AAPL", "AMZN", "MSFT"}

// drive lets the client sit a drive, and returns what it printed, what it said for people, what is wrong, and whether that is
// a matter of time. The error is one of the exam itself.
func (x *Exam) drive(ctx context.Context, c *Case, dir string) (lines []string, said string, fault *Fault, late bool, err error) {
	d := c.Drive
	ctx, giveUp := context.WithCancelCause(ctx)
	defer giveUp(nil)
	v := &driver{d: d, turn: make(chan struct{}, 1), giveUp: giveUp, beat: driveBeat, truth: truth{ticks: make(map[feed.SessionID]map[uint64]tickTruth)}, sight: sight{pulses: make(map[uint64]int)}}
	if x.slow {
		v.beat = slowBeat
	}
	script, err := lab.Parse(c.ID, []byte(d.Script))
	if err != nil {
		return nil, "", nil, false, err
	}
	if err := v.open(ctx); err != nil {
		return nil, "", nil, false, err
	}
	defer func() { err = errors.Join(err, v.host.Close()) }()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, "", nil, false, err
	}
	serving, cancel := context.WithCancel(ctx)
	v.lab = &lab.Lab{Script: script, Heard: v.heard, Event: v.event, Dial: v.host.Dial, Publisher: gate{v.host, v, serving}}
	served := make(chan struct{})
	go func() {
		defer close(served)
		if err := v.lab.Serve(serving, ln); serving.Err() == nil {
			giveUp(err)
		}
	}()
	defer func() {
		cancel()
		<-served
	}()
	o := Orders{Addr: ln.Addr().String(), Filter: d.Filter, From: fromOf(d.From), Slow: d.Slow.String(), Token: c.ID, MaxOutput: maxOutput + d.Ticks*maxPerTick}
	if d.KillAfter > 0 {
		o.StateFile = filepath.Join(dir, "position.json")
	}
	before, p, err := v.conduct(ctx, func() (Process, error) { return x.Program.Start(ctx, o) })
	if p == nil {
		return nil, "", nil, false, err
	}
	lines, _ = p.Lines()
	v.settle(ctx)
	cancel() // nothing happens to the publisher any more
	<-served
	v.mu.Lock()
	defer v.mu.Unlock()
	if len(v.sight.hellos) == 0 && errors.Is(err, errLimit) {
		err = timedOut(ctx, errors.New("the client has not said hello"), true)
	}
	fault, late = (&judge{d: d, beat: v.beat, script: script, truth: &v.truth, sight: &v.sight}).all(before, lines, err)
	late = late || fault != nil && fault.Line == 0 && ofTime(err)
	return append(before, lines...), p.Said(), fault, late, nil
}

// conduct starts the client, publishes, kills the client and starts it again if the case says so, and makes it end. It returns
// what a process that was killed has printed, and the last process, which has ended; nil if it cannot be started.
func (v *driver) conduct(ctx context.Context, start func() (Process, error)) (before []string, p Process, err error) {
	if p, err = start(); err != nil {
		return nil, nil, err
	}
	defer func() {
		p.Kill()
		<-p.Done()
	}()
	if v.d.KillAfter > 0 {
		if err := awaitTicks(ctx, p, 1); err != nil {
			return nil, p, err
		}
	}
	publishing, stop := context.WithCancel(ctx)
	published := make(chan error, 1)
	go func() {
		published <- v.publish(publishing)
		close(published)
	}()
	defer func() {
		stop()
		for range published {
		}
	}()
	if v.d.KillAfter > 0 {
		if err := awaitTicks(ctx, p, v.d.KillAfter); err != nil {
			return nil, p, err
		}
		p.Kill()
		<-p.Done()
		before, _ = p.Lines()
		again, err := start()
		if err != nil {
			return before, p, err
		}
		p = again
	}
	ended := p.Done()
	if v.d.Terminal {
		ended = nil
	}
	select {
	case err = <-published:
	case <-ended:
		err = errEnded(ctx, p)
	}
	if err != nil {
		return before, p, err
	}
	return before, p, v.end(ctx, p)
}

// end waits until the client has everything, and makes it end.
func (v *driver) end(ctx context.Context, p Process) error {
	if v.d.Terminal {
		select {
		case <-p.Done():
			return nil
		case <-ctx.Done():
			return fmt.Errorf("the client was refused for good, and has not ended by itself: %w", context.Cause(ctx))
		}
	}
	final := fmt.Sprintf(`"final":%d`, v.truth.final)
	err := await(ctx, p, func(lines []string) bool {
		return slices.ContainsFunc(lines, func(l string) bool { return strings.Contains(strings.ReplaceAll(l, " ", ""), final) })
	})
	if err != nil {
		return fmt.Errorf("the client has not printed the event \"end\" with the final %d: %w", v.truth.final, err)
	}
	return end(ctx, p)
}

// awaitTicks waits until p has printed n ticks.
func awaitTicks(ctx context.Context, p Process, n int) error {
	err := await(ctx, p, func(lines []string) bool { return countTicks(lines) >= n })
	if err != nil {
		return fmt.Errorf("the client has printed %d ticks, and must print %d before it is killed: %w", func() int { lines, _ := p.Lines(); return countTicks(lines) }(), n, err)
	}
	return nil
}

// await waits until done accepts the lines of p. It returns an error if p ends first, or ctx does.
func await(ctx context.Context, p Process, done func([]string) bool) error {
	for {
		lines, more := p.Lines()
		if done(lines) {
			return nil
		}
		select {
		case <-p.Done():
			if lines, _ := p.Lines(); done(lines) {
				return nil
			}
			return errEnded(ctx, p)
		default:
		}
		select {
		case <-more:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

func countTicks(lines []string) (n int) {
	for _, l := range lines {
		if strings.Contains(l, `"seq"`) && !strings.Contains(l, `"event"`) {
			n++
		}
	}
	return n
}

func (v *driver) heard(h lab.Heard) {
	v.mu.Lock()
	defer v.mu.Unlock()
	switch m := h.Message.(type) {
	case *codec.Hello:
		if v.sight.hellos = append(v.sight.hellos, h); v.d.Logins[1] > 0 && len(v.sight.hellos) > v.d.Logins[1] {
			v.giveUp(errTooOften)
		}
	case *codec.Goodbye:
		v.sight.goodbyes = append(v.sight.goodbyes, m)
	case *codec.Pulse:
		v.sight.pulses[h.Connection]++
	case nil:
		v.sight.gone++
	}
}

// settle waits until the lab has read all that a client has sent that has ended, but no longer than the case may take.
func (v *driver) settle(ctx context.Context) {
	for deadline := time.Now().Add(settleTime); time.Now().Before(deadline) && ctx.Err() == nil; time.Sleep(settlePoll) {
		v.mu.Lock()
		settled := v.sight.gone >= len(v.sight.hellos)
		v.mu.Unlock()
		if settled {
			return
		}
	}
}

const (
	settleTime = 5 * time.Second
	settlePoll = 2 * time.Millisecond
)

func (v *driver) event(e lab.Event) {
	v.mu.Lock()
	defer v.mu.Unlock()
	switch {
	case e.Line > 0:
		v.sight.faults = append(v.sight.faults, e)
	case e.What == lab.TurnedAway:
		v.sight.turned++
	}
}

// open starts the publisher.
func (v *driver) open(ctx context.Context) (err error) {
	cfg := publisher.Config{Heartbeat: v.beat, Server: "tickfeed exam", Memory: v.d.Memory}
	if len(v.d.Permit) > 0 {
		v.permission.Store(&publisher.Permission{User: "client"})
		cfg.Authorize = func(publisher.Login) (*publisher.Permission, error) { return v.permission.Load(), nil }
	}
	v.host, err = hosted.New(ctx, hosted.Config{
		Publisher: cfg, InMemory: v.d.Memory > 0,
		Listen: func(uint64) (net.Listener, error) { return net.Listen("tcp", "127.0.0.1:0") },
		Dial: func(ctx context.Context, addr string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "tcp", addr)
		},
		Began: v.began,
	})
	return err
}

// began defines the instruments of a publisher that was started.
func (v *driver) began(ctx context.Context, pub *publisher.Publisher) error {
	v.pub = pub
	v.truth.lineage = pub.Lineage()
	session := pub.Lineage().Current().ID
	v.truth.sessions = append(v.truth.sessions, session)
	v.truth.ticks[session] = make(map[uint64]tickTruth)
	v.ids = v.ids[:0]
	for _, s := range driveSymbols {
		before := pub.Stats().Head
		id, err := pub.Define(ctx, feed.Definition{Symbol: s, Venue: "XNAS", PriceExponent: -2, Currency: "USD"})
		if err != nil {
			return err
		}
		if pub.Stats().Head > before {
			v.truth.ticks[session][before] = tickTruth{symbol: s}
		}
		v.ids = append(v.ids, id)
	}
	return pub.Flush(ctx)
}

// publish publishes the ticks of the drive, and ends the session.
func (v *driver) publish(ctx context.Context) error {
	n := v.d.Ticks
	if n == 0 {
		n = driveTicks
	}
	for i := range n {
		if !v.take(ctx) {
			return context.Cause(ctx)
		}
		session, seq := v.truth.lineage.Current().ID, v.pub.Stats().Head
		if i == n/3 && len(v.d.Permit) > 0 {
			v.truth.permit = seq
			v.permission.Store(&publisher.Permission{User: "client", Allow: v.d.Permit})
		}
		event := 1795357800_000000000 + int64(i)*1000
		q := feed.Quote{Bid: int64(i + 1), BidSize: 10, Ask: int64(i + 2), AskSize: 20}.Tick(v.ids[i%len(v.ids)], event)
		v.truth.ticks[session][seq] = tickTruth{driveSymbols[i%len(driveSymbols)], int64(i + 1), event}
		err := v.pub.Publish(ctx, []feed.Tick{q})
		v.give()
		if err != nil {
			return err
		}
		wait := time.Duration(0)
		if i%drivePace == drivePace-1 {
			wait = 10 * time.Millisecond
			if v.beat > driveBeat { // what takes intervals takes as large a part of the session
				wait *= 5
			}
		}
		if i == 0 && v.d.Quiet {
			wait = 2 * time.Second
		}
		if wait > 0 {
			select {
			case <-time.After(wait):
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		}
	}
	if !v.take(ctx) {
		return context.Cause(ctx)
	}
	defer v.give()
	if err := v.pub.End(ctx); err != nil {
		return err
	}
	v.truth.final = v.pub.Stats().Head
	return nil
}
