package replay

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
	"github.com/rs/zerolog"

	"tickfeed/codec"
	"tickfeed/codec/recording"
	"tickfeed/codec/recording/place"
	"tickfeed/feed"
	"tickfeed/publisher"
	"tickfeed/publisher/journal"
)

// An Output is where a player publishes, such as a Stage.
type Output interface {
	// Begin ends the current session, if any, and begins a session at number first. state is the state as of first
	// and belongs to the output.
	Begin(ctx context.Context, first uint64, state *feed.State) error
	// Republish, Relay and Skip do what the methods of publisher.Publisher do.
	Republish(ctx context.Context, ticks []feed.Tick, end uint64) error
	Relay(ctx context.Context, packets []byte) (n, ticks int, err error)
	Skip(ctx context.Context, n uint64, why recording.SkipKind, state *feed.State) error
	// State returns a copy of the state of the session so far, and the next number.
	State() (*feed.State, uint64)
	// WaitForSubscribers waits, for a bounded time, until all have received what was published in this session.
	WaitForSubscribers(ctx context.Context) error
	// End ends the session: no tick will follow in it.
	End(ctx context.Context) error
}

// A Config says what to play, and how. The zero value of each field selects its default.
type Config struct {
	Recordings []Recording   // at least one; several are merged by time
	Filter     codec.Filter  // instruments to play; ticks of other instruments are reported as not asked for
	Clock      place.Clock   // decides when ticks are due, and what times in From, To and seeks mean
	From, To   Target        // plays from From up to, but not including, To; zero values for all
	Speed      float64       // recorded seconds per second: MinSpeed to MaxSpeed, or Max; 0 for 1
	Loop       bool          // start again at From after the end
	Paused     bool          // start paused
	StartAt    time.Time     // time of the start; zero to start at once
	GapLimit   time.Duration // longest wait in recorded time between two ticks; the rest of the gap is skipped; 0 for no limit
	ShiftToNow bool          // move event times by a constant so that the session begins now; the delay from event to publication is kept
	ExitAtEnd  bool          // Run returns at the end

	Logger zerolog.Logger // the zero Logger is silent; package logto makes one of a slog.Handler
	// Sleep sleeps for times below two milliseconds; nil for the most precise way. A test with testing/synctest sets
	// time.Sleep.
	Sleep func(time.Duration)
}

// Errors of a Player's methods.
var (
	// ErrStopped reports that the player no longer runs.
	ErrStopped = errors.New("the replay has stopped")
	// ErrEmpty reports that there is nothing to play.
	ErrEmpty = errors.New("no tick to play")
)

// Bounds of a player.
const (
	catchUp       = time.Second // a tick that is later than this moves the schedule
	maxStates     = 128         // states kept for seeking, at most
	keptSum       = 1 << 20     // approximate number of instruments in all of them
	stateInterval = 1 << 17     // ticks between two of them, at first
	maxLate       = 100 * time.Second
	sameClock     = time.Minute // an event time farther from its publish time is of another clock
)

// A reel yields recordings as units: one tape, or several tapes that are merged.
type reel interface {
	// read fills u with the next unit. It may return packets only if raw is set; packets that cannot be played
	// unchanged are returned as ticks.
	read(u *unit, raw bool) error
	rewind() error
	// place returns the place at which the reel continues, or nil if it cannot describe it. It is called for each
	// unit.
	place() any
	goTo(p any, state *feed.State) error
}

// A Player plays recordings into an Output. Run does all the work; the other methods may be called from any goroutine
// while it runs.
//
// # Pace
//
// A tick is due at its market time, which is the greatest event time so far, including its own; a tick without an event
// time does not advance it. With place.PublishClock as Config.Clock, a tick is due when its packet was published
// instead. If that is the greatest event time in the packet, as in imported recordings, each tick is due at its own
// event time. Times in Config.From, Config.To and seeks are on the same clock. The schedule is absolute: no tick is
// early, and a late tick does not delay the next one. The schedule begins anew when the speed changes, when a pause ends,
// and when the player is more than a second late.
//
// On Linux the player sleeps the last milliseconds before a tick in the kernel, because Go's timers have a resolution of
// a millisecond there. If ticks are at least a millisecond apart, it spins for the last 100 µs.
type Player struct {
	cfg      Config
	out      Output
	reel     *ahead
	tally    tally
	commands chan func(context.Context)
	done     chan struct{} // closed when Run returns

	// The fields below belong to Run.
	clock   clock
	session session
	paused  pausing
	head    head
	kept    keepsakes
	over    bool   // everything was played
	until   Target // end of the replay
	ending  bool   // until is set
	span    *extent
	cut     func() // ends waitForSubscribers before a seek; nil outside of it
	broken  error  // makes Run return

	shown shown
}

// pausing is whether a player is paused, and which steps it makes meanwhile.
type pausing struct {
	on      bool
	steps   uint64          // ticks still to be played
	stepped []chan struct{} // closed once no step is left to play
}

// A head is the place in the recordings at which a player is.
type head struct {
	unit unit
	at   int   // next tick of unit
	full bool  // unit has parts that were not played
	last bool  // unit is the last one to play
	due  int64 // recorded time of the last thing played
	part int
}

// New returns a player that plays cfg into out. It reads the beginnings of the recordings.
func New(cfg Config, out Output) (*Player, error) {
	if cfg.Speed == 0 {
		cfg.Speed = 1
	}
	if cfg.Speed != Max && !(cfg.Speed >= MinSpeed && cfg.Speed <= MaxSpeed) {
		return nil, fmt.Errorf("replay: Speed must be from %g to %g, or Max, got %g", MinSpeed, MaxSpeed, cfg.Speed)
	}
	if cfg.GapLimit < 0 {
		return nil, fmt.Errorf("replay: GapLimit must not be negative, got %v", cfg.GapLimit)
	}
	if cfg.Sleep == nil {
		cfg.Sleep = sleep
	}
	p := &Player{cfg: cfg, out: out, commands: make(chan func(context.Context)), done: make(chan struct{})}
	p.paused.on, p.head.part = cfg.Paused, -1
	p.kept.interval = stateInterval
	p.shown.late = hdrhistogram.New(1000, int64(maxLate), 3)
	p.clock.speed = cfg.Speed
	switch len(cfg.Recordings) {
	case 0:
		return nil, errors.New("replay: no recording")
	case 1:
		t, err := openTape(cfg.Recordings[0], cfg.Filter, cfg.Clock, &p.tally, cfg.Logger)
		if err != nil {
			return nil, err
		}
		p.reel = newAhead(t)
	default:
		m, err := openMerge(cfg.Recordings, cfg.Filter, cfg.Clock, &p.tally, cfg.Logger)
		if err != nil {
			return nil, err
		}
		p.reel = &ahead{r: m}
	}
	p.shown.status = Status{State: Waiting, Speed: Speed(cfg.Speed)}
	if err := p.lookAhead(); err != nil {
		return nil, err
	}
	return p, nil
}

// lookAhead finds when the recording begins, and resolves relative targets.
func (p *Player) lookAhead() error {
	defer p.reel.stop()
	for {
		err := p.reel.read(&p.head.unit, false)
		if err == io.EOF {
			return ErrEmpty
		} else if err != nil {
			return err
		}
		if p.head.unit.kind == unitTicks && len(p.head.unit.ticks) > 0 {
			break
		}
	}
	first := p.head.unit.dues[0]
	p.shown.status.First = first
	p.ending = !p.cfg.To.IsStart()
	last := first
	if p.cfg.From.place().Relative() || p.cfg.To.place().Relative() {
		x, err := p.held()
		if err != nil {
			return err
		}
		last = x.to
	}
	from, to := place.Resolve(p.cfg.From.place(), p.cfg.To.place(), first, last)
	p.cfg.From, p.until = targetOf(from), targetOf(to)
	if p.sealed() {
		_, err := p.extent()
		return err
	}
	return nil
}

// Run plays until ctx ends, and returns the cause of ctx, or until the end if Config.ExitAtEnd is set, and returns
// nil. Any other error comes from a recording or the output, or wraps ErrEmpty. It may be called once.
func (p *Player) Run(ctx context.Context) error {
	defer close(p.done)
	defer p.reel.stop()
	if err := p.round(ctx); err != nil {
		return err
	}
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case c := <-p.commands:
			c(ctx)
		default:
		}
		if p.broken != nil {
			return p.broken
		}
		until, err := p.play(ctx, time.Now())
		if err != nil {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			return err
		}
		p.note()
		if p.over && p.cfg.ExitAtEnd {
			return nil
		}
		p.wait(ctx, until)
	}
}

// forever is a time that never comes.
var forever = time.Unix(1<<40, 0)

// wait waits until the given time, a command or the end of ctx. It may return early.
func (p *Player) wait(ctx context.Context, until time.Time) {
	d := time.Until(until)
	switch {
	case d <= 0:
		return
	case d <= coarse:
		p.cfg.Sleep(d)
		return
	}
	timer := time.NewTimer(d - coarse*3/4)
	defer timer.Stop()
	select {
	case <-timer.C:
	case c := <-p.commands:
		c(ctx)
	case <-ctx.Done():
	}
}

// play plays one thing that is due at now, and returns when to continue.
func (p *Player) play(ctx context.Context, now time.Time) (time.Time, error) {
	if p.over || p.paused.on && p.paused.steps == 0 {
		return forever, nil
	}
	if !p.head.full {
		return time.Time{}, p.load(ctx)
	}
	switch u := &p.head.unit; {
	case u.kind == unitLine:
		p.head.full = false
		if over, err := p.waitForSubscribers(ctx); !over {
			return time.Time{}, err
		}
		return time.Time{}, p.begin(ctx, u.first, u.state, u.due)
	case u.kind == unitPackets:
		return time.Time{}, p.relay(ctx)
	case u.kind == unitHole:
		if due := p.clock.due(u.due); !p.paused.on && due.After(now) {
			return due, nil
		}
		p.head.full = false
		p.head.due, p.session.next = max(p.head.due, u.due), u.end
		if u.state != nil && p.session.shift != 0 {
			u.state = restamp(u.state, p.session.shift)
		}
		return time.Time{}, p.out.Skip(ctx, u.end-u.first, u.why, u.state)
	case p.head.at == len(u.ticks): // the end of the unit: numbers that were not asked for
		if due := p.clock.due(u.due); len(u.ticks) == 0 && !p.paused.on && p.cfg.GapLimit == 0 && due.After(now) {
			return due, nil
		}
		return time.Time{}, p.leave(ctx)
	}
	return p.ticks(ctx, now)
}

// asIs reports whether whole packets may be played unchanged: nothing has to be changed, left out or waited for.
func (p *Player) asIs() bool {
	return p.clock.speed == Max && !p.paused.on && p.cfg.GapLimit == 0 && !p.ending && !p.cfg.ShiftToNow
}

// relay plays the packets of the unit, as far as the output takes them; the rest is then read as ticks. Relaying is
// faster than decoding packets and encoding them again, see BenchmarkServe.
func (p *Player) relay(ctx context.Context) error {
	p.head.full = false
	if !p.asIs() { // no longer
		return nil
	}
	u := &p.head.unit
	n, ticks, err := p.out.Relay(ctx, u.packets)
	if n == 0 {
		return err
	}
	for i, done := 0, u.packets[:n]; len(done) > 0; i, done = i+1, done[codec.PacketSize(done):] {
		h := codec.PacketAt(done)
		u.before.next, u.before.due = h.First+h.Count, u.dues[i]
	}
	u.packets, u.offset = u.packets[n:], u.offset+int64(n)
	p.session.started = true
	p.head.due, p.session.next = max(p.head.due, u.before.due), u.before.next
	p.count(uint64(ticks))
	return err
}

// ticks plays the ticks of the unit that are due.
func (p *Player) ticks(ctx context.Context, now time.Time) (time.Time, error) {
	u, limit := &p.head.unit, int64(math.MaxInt64)
	first := u.dues[p.head.at]
	if gap := p.gap(p.head.due, first); gap > 0 {
		p.clock.at += gap
		p.head.due += gap
	}
	to := len(u.ticks)
	switch due := p.clock.due(first); {
	case p.paused.on:
		to = p.head.at + int(min(p.paused.steps, uint64(to-p.head.at)))
		p.paused.steps -= uint64(to - p.head.at)
		p.clock.anchor(now, u.dues[to-1])
	case due.After(now):
		return due, nil
	case p.clock.speed == Max:
	default:
		late := now.Sub(due)
		if late > catchUp {
			p.clock.anchor(now, first)
		} else if p.session.started {
			p.shown.mu.Lock()
			_ = p.shown.late.RecordValue(int64(late))
			p.shown.mu.Unlock()
		}
		limit = p.clock.now(now)
	}
	if !p.session.started {
		p.start(now, first)
	}
	n := p.head.at + 1
	if p.clock.speed == Max && p.cfg.GapLimit == 0 {
		n = to
	}
	for n < to && u.dues[n] <= limit && p.gap(u.dues[n-1], u.dues[n]) == 0 {
		n++
	}
	ticks := u.ticks[p.head.at:n]
	if p.session.shift != 0 {
		for i := range ticks {
			if ticks[i].EventTime != 0 {
				ticks[i].EventTime += p.session.shift
			}
		}
	}
	end := ticks[len(ticks)-1].Seq + 1
	if err := p.out.Republish(ctx, ticks, end); err != nil {
		return time.Time{}, p.failed(err)
	}
	p.head.due, p.head.at, p.session.next = u.dues[n-1], n, end
	p.count(uint64(len(ticks)))
	return time.Time{}, nil
}

// start records that the time of a session begins to pass. With Config.ShiftToNow it sets the shift of event times.
func (p *Player) start(now time.Time, first int64) {
	p.session.started = true
	if p.cfg.ShiftToNow {
		p.look()
		p.session.shift = now.UnixNano() - first - p.session.skew
	}
}

// look measures how far event times are from publish times, at the next event. In a simulated market, or an old file
// that was published at its own pace, they differ by days or years.
func (p *Player) look() {
	if !p.head.full || p.head.unit.kind != unitTicks {
		return
	}
	for i := p.head.at; i < len(p.head.unit.ticks); i++ {
		x := &p.head.unit.ticks[i]
		if x.EventTime == 0 || x.Kind == feed.KindDefinition || x.Kind == feed.KindStatus {
			continue
		}
		p.session.skew = x.EventTime - p.head.unit.dues[i]
		if time.Duration(p.session.skew).Abs() < sameClock {
			p.session.skew = 0
		}
		return
	}
}

// failed returns a *DataError if the output refused a tick of the recording, and otherwise err.
func (p *Player) failed(err error) error {
	var partial *publisher.PublishError
	if errors.As(err, &partial) && !errors.Is(err, publisher.ErrClosed) && !errors.Is(err, journal.ErrFailed) &&
		!errors.Is(err, context.Canceled) {
		return &DataError{Seq: p.head.unit.ticks[p.head.at+partial.Published].Seq, Err: partial.Err}
	}
	return err
}

// A DataError reports a tick of a recording that cannot be published.
type DataError struct {
	Seq uint64 // its number in the recording
	Err error
}

func (e *DataError) Error() string { return fmt.Sprintf("tick %d of the recording: %v", e.Seq, e.Err) }

func (e *DataError) Unwrap() error { return e.Err }

// gap returns how much of the time between two dues is skipped.
func (p *Player) gap(from, to int64) int64 {
	if p.cfg.GapLimit == 0 || to <= from || uint64(to)-uint64(from) <= uint64(p.cfg.GapLimit) {
		return 0
	}
	return int64(min(uint64(to)-uint64(from)-uint64(p.cfg.GapLimit), math.MaxInt64))
}

// load reads the next unit, or ends the replay if there is none.
func (p *Player) load(ctx context.Context) error {
	p.head.at = 0
	if p.head.last {
		return p.end(ctx)
	}
	if len(p.head.unit.packets) == 0 { // otherwise the reel is after packets that are still to be played
		p.keep()
	}
	err := p.reel.read(&p.head.unit, p.asIs())
	if err == io.EOF {
		return p.end(ctx)
	} else if err != nil {
		return err
	}
	p.head.full = true
	p.trim()
	return nil
}

// trim removes from the unit everything from the end target onward.
func (p *Player) trim() {
	if !p.ending || p.head.unit.kind == unitLine {
		return
	}
	u := &p.head.unit
	if u.kind == unitHole {
		if p.until.reached(u.first, u.due) {
			p.head.full, p.head.last = false, true
		} else if p.until.kind == toSeq && p.until.seq < u.end {
			u.end, u.state, p.head.last = p.until.seq, nil, true
		}
		return
	}
	for i := range u.ticks {
		if p.until.reached(u.ticks[i].Seq, u.dues[i]) {
			u.end, u.due, p.head.last = u.ticks[i].Seq, u.dues[i], true
			u.ticks, u.dues = u.ticks[:i], u.dues[:i]
			break
		}
	}
	if p.until.kind == toSeq && p.until.seq <= u.end {
		u.end, p.head.last = p.until.seq, true
		p.head.full = u.end > u.first
	}
	if p.until.kind == toTime && u.due >= p.until.at {
		u.due = p.until.at
	}
}

// leave ends the unit.
func (p *Player) leave(ctx context.Context) error {
	p.head.full = false
	if len(p.head.unit.ticks) > 0 || p.cfg.GapLimit == 0 {
		p.head.due = max(p.head.due, p.head.unit.due)
	}
	p.session.next = max(p.session.next, p.head.unit.end)
	return p.out.Republish(ctx, nil, p.head.unit.end)
}
