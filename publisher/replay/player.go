package replay

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"sync"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
	"github.com/rs/zerolog"

	"tickfeed/codec"
	"tickfeed/codec/recording"
	"tickfeed/feed"
	"tickfeed/publisher"
	"tickfeed/publisher/journal"
)

// An Output is where a player publishes. A Stage is one.
type Output interface {
	// Begin begins a session at number first; state is as of there and the output's. The one
	// before it, if any, is left.
	Begin(ctx context.Context, first uint64, state *feed.State) error
	// Republish, Relay and Skip are those of publisher.Publisher.
	Republish(ctx context.Context, ticks []feed.Tick, end uint64) error
	Relay(ctx context.Context, packets []byte) (n, ticks int, err error)
	Skip(ctx context.Context, n uint64, why recording.SkipKind, state *feed.State) error
	// State is the state of the session so far, a copy, and the next number.
	State() (*feed.State, uint64)
	// Drain waits, for a bounded time, until all subscribers have received what was published in this session.
	Drain(ctx context.Context) error
	// End says that no tick will follow in this session.
	End(ctx context.Context) error
}

// A Config says what is played, and how. Zero values are the defaults.
type Config struct {
	Recordings []Recording     // at least one; several are merged by time
	Filter     codec.Filter    // instruments that are played; others are not asked for
	Clock      recording.Clock // by which ticks are due, and which times in From, To and seeks are about
	From, To   Target          // from the first, and up to the other, which is left out; zero for all
	Speed      float64         // seconds of recorded time in a second: MinSpeed to MaxSpeed, or Max; 0 for 1
	Loop       bool            // begin again at From after the end
	Paused     bool            // begin in a pause
	StartAt    time.Time       // not before; zero for at once
	GapLimit   time.Duration
	ShiftToNow bool // move event times by a constant, so that a session begins now; how late ticks were published stays
	ExitAtEnd  bool // Run returns at the end

	Logger zerolog.Logger
	// Sleep waits for times below two milliseconds; nil for what is most precise. A test in
	// virtual time sets time.Sleep.
	Sleep func(time.Duration)
}

// A State says what a player does.
type State string

// The states of a player.
const (
	Waiting State = "waiting" // for the time to start
	Playing State = "playing"
	Paused  State = "paused"
	Seeking State = "seeking"
	Ended   State = "ended" // everything was played; a seek goes back
)

// Status is how a replay goes. Times are in ns since the Unix epoch.
type Status struct {
	State    State         `json:"state"`
	Speed    Speed         `json:"speed"`
	Recorded int64         `json:"recorded_time"` // where it is in the recording
	Wall     int64         `json:"replay_time"`   // now
	Behind   time.Duration `json:"behind_ns"`     // how late the next tick is already
	Seq      uint64        `json:"seq"`           // next number
	Ticks    uint64        `json:"ticks"`         // played so far, over all sessions
	Sessions int           `json:"sessions"`      // so far: one, and one for each seek and loop
	First    int64         `json:"recording_start"`
	Last     int64         `json:"recording_end"` // 0 until it is known: a recording without an index is read to its end for it
	// LateP50 and LateP99 are how late ticks were published that the player had to wait for.
	LateP50 time.Duration `json:"late_p50_ns"`
	LateP99 time.Duration `json:"late_p99_ns"`
	Damaged uint64        `json:"damaged"` // numbers that the recordings lost, as far as they were read
}

// Errors of a Player's methods.
var (
	// ErrStopped: the player does not run any more.
	ErrStopped = errors.New("the replay has stopped")
	// ErrEmpty: there is nothing to play.
	ErrEmpty = errors.New("no tick to play")
)

// Bounds of a player.
const (
	catchUp       = time.Second // what is later than this is not caught up
	maxStates     = 128         // states kept to seek from, at most
	keptSum       = 1 << 20     // instruments in them, about
	stateInterval = 1 << 17     // ticks between two of them, at first
	maxLate       = 100 * time.Second
	sameClock     = time.Minute // event times that are farther from when they were published are of another clock
)

// A reel is recordings as units: one tape, or several that are merged.
type reel interface {
	// read fills u with what comes next. Only where raw is set there may be packets, and then what cannot be
	// told by them comes as ticks.
	read(u *unit, raw bool) error
	rewind() error
	// place is where it goes on with what comes next, nil if that cannot be told. It is asked for each unit.
	place() any
	goTo(p any, state *feed.State) error
}

// A keepsake is a state to seek from.
type keepsake struct {
	place any
	part  int
	seq   uint64 // as of
	due   int64  // of what comes before
	state *feed.State
	shift int64 // of the times in state
}

// A Player plays recordings into an Output. Run does all the work; the other methods may be
// called by any goroutine while it runs.
type Player struct {
	cfg      Config
	out      Output
	reel     *ahead
	tally    tally
	commands chan func(context.Context)
	done     chan struct{} // closed when Run returns

	// What follows is Run's.
	clock   clock
	started bool // the clock was set in this session, or a tick was published
	whole   bool // the session began at Config.From
	paused  bool
	steps   uint64 // ticks to play in the pause
	over    bool
	u       unit
	at      int    // next tick of u
	full    bool   // u has something that was not played
	last    bool   // nothing of the recording comes after u
	until   Target // the end
	ending  bool   // there is one
	due     int64  // recorded time of what was played last
	part    int
	shift   int64
	skew    int64  // of event times, where their clock is not that of publishing
	played  uint64 // ticks since the session began
	seq     uint64 // next number of the session
	broken  error  // ends Run
	span    *extent
	stepped []chan struct{} // closed once no step is left to be played
	cut     func()          // ends the wait in drain, because the place changes; nil outside of it

	kept     []keepsake // in order
	interval uint64     // ticks between them
	since    uint64     // ticks since the last

	mu     sync.Mutex
	status Status
	anchor clock // of status: recorded time goes on between two updates
	next   int64 // and is at most this
	late   *hdrhistogram.Histogram
}

// New returns a player of cfg into out. It reads the beginnings of the recordings.
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
	p := &Player{
		cfg: cfg, out: out, commands: make(chan func(context.Context)), done: make(chan struct{}),
		paused: cfg.Paused, interval: stateInterval, part: -1,
		late: hdrhistogram.New(1000, int64(maxLate), 3),
	}
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
	p.status = Status{State: Waiting, Speed: Speed(cfg.Speed)}
	if err := p.lookAhead(); err != nil {
		return nil, err
	}
	return p, nil
}

// lookAhead finds out when the recording begins, and resolves what is relative to that.
func (p *Player) lookAhead() error {
	defer p.reel.stop()
	for {
		err := p.reel.read(&p.u, false)
		if err == io.EOF {
			return ErrEmpty
		} else if err != nil {
			return err
		}
		if p.u.kind == unitTicks && len(p.u.ticks) > 0 {
			break
		}
	}
	first := p.u.dues[0]
	p.status.First = first
	p.ending = !p.cfg.To.IsStart()
	last := first
	if p.cfg.From.place().Relative() || p.cfg.To.place().Relative() {
		x, err := p.held()
		if err != nil {
			return err
		}
		last = x.to
	}
	from, to := recording.ResolvePlaces(p.cfg.From.place(), p.cfg.To.place(), first, last)
	p.cfg.From, p.until = targetOf(from), targetOf(to)
	if p.sealed() {
		_, err := p.extent()
		return err
	}
	return nil
}

// Run plays until ctx ends, which it returns the cause of, or until the end where Config.ExitAtEnd
// is set, where it returns nil. Else the error is the recording's, wraps ErrEmpty, or is the
// output's. It may be called once.
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

// forever is a time that does not come.
var forever = time.Unix(1<<40, 0)

// wait waits until a time or for a command, or for less than that.
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

// play plays what is due at now, and says when to go on.
func (p *Player) play(ctx context.Context, now time.Time) (time.Time, error) {
	if p.over || p.paused && p.steps == 0 {
		return forever, nil
	}
	if !p.full {
		return time.Time{}, p.load(ctx)
	}
	switch u := &p.u; {
	case u.kind == unitLine:
		p.full = false
		if over, err := p.drain(ctx); !over {
			return time.Time{}, err
		}
		return time.Time{}, p.begin(ctx, u.first, u.state, u.due)
	case u.kind == unitPackets:
		return time.Time{}, p.relay(ctx)
	case u.kind == unitHole:
		if due := p.clock.due(u.due); !p.paused && due.After(now) {
			return due, nil
		}
		p.full = false
		p.due, p.seq = max(p.due, u.due), u.end
		if u.state != nil && p.shift != 0 {
			u.state = restamp(u.state, p.shift)
		}
		return time.Time{}, p.out.Skip(ctx, u.end-u.first, u.why, u.state)
	case p.at == len(u.ticks): // the end of the unit: numbers that nobody asked for
		if due := p.clock.due(u.due); len(u.ticks) == 0 && !p.paused && p.cfg.GapLimit == 0 && due.After(now) {
			return due, nil
		}
		return time.Time{}, p.leave(ctx)
	}
	return p.ticks(ctx, now)
}

// asIs reports whether whole packets may be played as they are: nothing is to be changed or left out, or
// waited for.
func (p *Player) asIs() bool {
	return p.clock.speed == Max && !p.paused && p.cfg.GapLimit == 0 && !p.ending && !p.cfg.ShiftToNow
}

// relay plays the packets of the unit, as far as the output takes them; what is left of them is read as ticks. In
// BenchmarkServe 27 M ticks/s are replayed this way, 22 M where ticks are decoded ahead and encoded again.
func (p *Player) relay(ctx context.Context) error {
	p.full = false
	if !p.asIs() { // any more
		return nil
	}
	u := &p.u
	n, ticks, err := p.out.Relay(ctx, u.packets)
	if n == 0 {
		return err
	}
	for i, done := 0, u.packets[:n]; len(done) > 0; i, done = i+1, done[codec.PacketSize(done):] {
		h := codec.PacketAt(done)
		u.before.next, u.before.due = h.First+h.Count, u.dues[i]
	}
	u.packets, u.offset = u.packets[n:], u.offset+int64(n)
	p.started = true
	p.due, p.seq = max(p.due, u.before.due), u.before.next
	p.count(uint64(ticks))
	return err
}

// ticks plays those ticks of the unit that are due.
func (p *Player) ticks(ctx context.Context, now time.Time) (time.Time, error) {
	u, limit := &p.u, int64(math.MaxInt64)
	first := u.dues[p.at]
	if gap := p.gap(p.due, first); gap > 0 {
		p.clock.at += gap
		p.due += gap
	}
	to := len(u.ticks)
	switch due := p.clock.due(first); {
	case p.paused:
		to = p.at + int(min(p.steps, uint64(to-p.at)))
		p.steps -= uint64(to - p.at)
		p.clock.anchor(now, u.dues[to-1])
	case due.After(now):
		return due, nil
	case p.clock.speed == Max:
	default:
		late := now.Sub(due)
		if late > catchUp {
			p.clock.anchor(now, first)
		} else if p.started {
			p.mu.Lock()
			_ = p.late.RecordValue(int64(late))
			p.mu.Unlock()
		}
		limit = p.clock.now(now)
	}
	if !p.started {
		p.start(now, first)
	}
	n := p.at + 1
	if p.clock.speed == Max && p.cfg.GapLimit == 0 {
		n = to
	}
	for n < to && u.dues[n] <= limit && p.gap(u.dues[n-1], u.dues[n]) == 0 {
		n++
	}
	ticks := u.ticks[p.at:n]
	if p.shift != 0 {
		for i := range ticks {
			if ticks[i].EventTime != 0 {
				ticks[i].EventTime += p.shift
			}
		}
	}
	end := ticks[len(ticks)-1].Seq + 1
	if err := p.out.Republish(ctx, ticks, end); err != nil {
		return time.Time{}, p.failed(err)
	}
	p.due, p.at, p.seq = u.dues[n-1], n, end
	p.count(uint64(len(ticks)))
	return time.Time{}, nil
}

// start notes that a session's time begins to pass, which moves its event times.
func (p *Player) start(now time.Time, first int64) {
	p.started = true
	if p.cfg.ShiftToNow {
		p.look()
		p.shift = now.UnixNano() - first - p.skew
	}
}

// look finds out by the next event how far event times are from when they were published, as those of a simulated
// market, or of an old file that was published at a pace of its own, are by days and years.
func (p *Player) look() {
	if !p.full || p.u.kind != unitTicks {
		return
	}
	for i := p.at; i < len(p.u.ticks); i++ {
		x := &p.u.ticks[i]
		if x.EventTime == 0 || x.Kind == feed.KindDefinition || x.Kind == feed.KindStatus {
			continue
		}
		p.skew = x.EventTime - p.u.dues[i]
		if time.Duration(p.skew).Abs() < sameClock {
			p.skew = 0
		}
		return
	}
}

// failed says what is wrong with the recording where the output refused what it holds.
func (p *Player) failed(err error) error {
	var partial *publisher.PublishError
	if errors.As(err, &partial) && !errors.Is(err, publisher.ErrClosed) && !errors.Is(err, journal.ErrFailed) &&
		!errors.Is(err, context.Canceled) {
		return &DataError{Seq: p.u.ticks[p.at+partial.Published].Seq, Err: partial.Err}
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

// gap is how much of the time between two dues is left out.
func (p *Player) gap(from, to int64) int64 {
	if p.cfg.GapLimit == 0 || to <= from || uint64(to)-uint64(from) <= uint64(p.cfg.GapLimit) {
		return 0
	}
	return int64(min(uint64(to)-uint64(from)-uint64(p.cfg.GapLimit), math.MaxInt64))
}

// load reads the next unit, or ends what there is to play.
func (p *Player) load(ctx context.Context) error {
	p.at = 0
	if p.last {
		return p.end(ctx)
	}
	if len(p.u.packets) == 0 { // else the reel stands after what is left of them
		p.keep()
	}
	err := p.reel.read(&p.u, p.asIs())
	if err == io.EOF {
		return p.end(ctx)
	} else if err != nil {
		return err
	}
	p.full = true
	p.trim()
	return nil
}

// trim takes from the unit what is not to be played.
func (p *Player) trim() {
	if !p.ending || p.u.kind == unitLine {
		return
	}
	u := &p.u
	if u.kind == unitHole {
		if p.until.reached(u.first, u.due) {
			p.full, p.last = false, true
		} else if p.until.kind == toSeq && p.until.seq < u.end {
			u.end, u.state, p.last = p.until.seq, nil, true
		}
		return
	}
	for i := range u.ticks {
		if p.until.reached(u.ticks[i].Seq, u.dues[i]) {
			u.end, u.due, p.last = u.ticks[i].Seq, u.dues[i], true
			u.ticks, u.dues = u.ticks[:i], u.dues[:i]
			break
		}
	}
	if p.until.kind == toSeq && p.until.seq <= u.end {
		u.end, p.last = p.until.seq, true
		p.full = u.end > u.first
	}
	if p.until.kind == toTime && u.due >= p.until.at {
		u.due = p.until.at
	}
}

// leave ends the unit.
func (p *Player) leave(ctx context.Context) error {
	p.full = false
	if len(p.u.ticks) > 0 || p.cfg.GapLimit == 0 {
		p.due = max(p.due, p.u.due)
	}
	p.seq = max(p.seq, p.u.end)
	return p.out.Republish(ctx, nil, p.u.end)
}

// end is the end of what there is to play. A seek may go to where nothing is; that nothing is
// where the configuration says is an error.
func (p *Player) end(ctx context.Context) error {
	if p.played == 0 && p.whole {
		return fmt.Errorf("%w in that part; by its %s times the recording begins at %s", ErrEmpty, p.cfg.Clock,
			time.Unix(0, p.status.First).UTC().Format(time.RFC3339Nano))
	}
	if !p.cfg.Loop {
		p.over = true
		return p.out.End(ctx)
	}
	if over, err := p.drain(ctx); !over {
		return err
	}
	return p.round(ctx)
}

// drain waits as Output.Drain does, and carries out commands meanwhile. It returns true when the wait is over, and false if it
// failed or if a command went to another place, where there is nothing to wait for.
func (p *Player) drain(ctx context.Context) (over bool, err error) {
	waiting, cancel := context.WithCancel(ctx)
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- p.out.Drain(waiting) }()
	moved := false
	p.cut = func() {
		cancel()
		<-done
		p.cut, moved = nil, true
	}
	defer func() { p.cut = nil }()
	for {
		select {
		case err := <-done:
			return err == nil, err
		case c := <-p.commands:
			if c(ctx); moved {
				return false, nil
			}
		}
	}
}

// round begins at the beginning of what there is to play.
func (p *Player) round(ctx context.Context) error {
	steps := p.steps // of a step during the wait for subscribers
	if err := p.seek(ctx, p.cfg.From); err != nil {
		return err
	}
	p.whole, p.steps = true, steps
	return nil
}

// begin begins a session. State is unshifted.
func (p *Player) begin(ctx context.Context, first uint64, state *feed.State, at int64) error {
	now := time.Now()
	wall := now
	if p.cfg.StartAt.After(now) {
		wall = p.cfg.StartAt
	}
	p.part++
	p.seq = first
	p.clock.anchor(wall, at)
	p.due, p.started, p.played, p.shift, p.whole = at, false, 0, 0, false
	if p.cfg.ShiftToNow {
		p.look()
		p.shift = wall.UnixNano() - at - p.skew
		state = restamp(state, p.shift)
	}
	p.mu.Lock()
	p.status.Sessions++
	p.mu.Unlock()
	return p.out.Begin(ctx, first, state)
}

// restamp is state with its times moved by d.
func restamp(state *feed.State, d int64) *feed.State {
	if d == 0 {
		return state
	}
	moved := feed.NewState()
	for t := range state.Entries(nil) {
		if t.EventTime != 0 {
			t.EventTime += d
		}
		if s := t.Summary(); s != nil && s.LastTime != 0 {
			extra, sum := *t.Extra, *s
			sum.LastTime += d
			extra.Summary = &sum
			t.Extra = &extra
		}
		_ = moved.Apply(&t) // it applied to state
	}
	return moved
}

// note publishes how it goes for Status.
func (p *Player) note() {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := &p.status
	switch {
	case p.over:
		s.State = Ended
	case p.paused:
		s.State = Paused
	case p.clock.wall.After(time.Now()):
		s.State = Waiting
	default:
		s.State = Playing
	}
	s.Speed = Speed(p.clock.speed)
	s.Damaged = p.tally.damaged.Load()
	s.Seq = p.seq
	p.anchor = p.clock
	s.Recorded = p.due
	p.next = p.due
	if p.full && p.u.kind == unitTicks && p.at < len(p.u.ticks) {
		p.next = p.u.dues[p.at]
	} else if p.full {
		p.next = p.u.due
	}
	if p.steps == 0 || p.over || !p.paused {
		for _, c := range p.stepped {
			close(c)
		}
		p.stepped = nil
	}
}

// count counts ticks that were played.
func (p *Player) count(n uint64) {
	p.played += n
	p.since += n
	p.mu.Lock()
	p.status.Ticks += n
	p.mu.Unlock()
}

// Status is how the replay goes.
func (p *Player) Status() Status {
	now := time.Now()
	p.mu.Lock()
	defer p.mu.Unlock()
	s := p.status
	s.Wall = now.UnixNano()
	s.LateP50, s.LateP99 = time.Duration(p.late.ValueAtQuantile(50)), time.Duration(p.late.ValueAtQuantile(99))
	if s.State == Playing && p.anchor.speed != Max {
		s.Recorded = max(s.Recorded, min(p.anchor.now(now), p.next))
		s.Behind = max(0, now.Sub(p.anchor.due(p.next)))
	}
	return s
}

// call has Run do what do does, between two ticks.
func (p *Player) call(ctx context.Context, do func(context.Context) error) error {
	result := make(chan error, 1)
	select {
	case p.commands <- func(running context.Context) {
		err := do(running)
		p.note()
		result <- err
	}:
	case <-p.done:
		return ErrStopped
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	select {
	case err := <-result: // it comes: Run does what it takes, also where it ends with that
		return err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// recorded is the recorded time now.
func (p *Player) recorded(now time.Time) int64 {
	t := p.due
	if p.clock.speed == Max || p.paused || p.over {
		return t
	}
	next := t
	if p.full && p.u.kind == unitTicks && p.at < len(p.u.ticks) {
		next = p.u.dues[p.at]
	} else if p.full {
		next = p.u.due
	}
	return max(t, min(p.clock.now(now), next))
}

// Pause stops the recorded time. The error is ErrStopped or the cause of ctx; so of all that
// follow.
func (p *Player) Pause(ctx context.Context) error {
	return p.call(ctx, func(context.Context) error { p.pause(); return nil })
}

func (p *Player) pause() {
	if p.paused {
		return
	}
	p.due = p.recorded(time.Now())
	p.paused = true
}

// Resume lets it go on.
func (p *Player) Resume(ctx context.Context) error {
	return p.call(ctx, func(context.Context) error {
		if !p.paused {
			return nil
		}
		now := time.Now()
		if p.cfg.StartAt.After(now) {
			now = p.cfg.StartAt
		}
		p.paused, p.steps = false, 0
		p.clock.anchor(now, p.due)
		return nil
	})
}

// MaxStep is how many ticks one step may have, together with those of steps before that are still to be played.
const MaxStep = 1_000_000

// A StepError reports a step of more ticks than MaxStep.
type StepError struct {
	N, Pending uint64 // ticks that were asked for; ticks of steps before
}

func (e *StepError) Error() string {
	if e.Pending > 0 {
		return fmt.Sprintf("a step has at most %d ticks, together with the %d of steps before that are not played yet; got %d", MaxStep, e.Pending, e.N)
	}
	return fmt.Sprintf("a step has at most %d ticks, got %d; to play on, resume", MaxStep, e.N)
}

// Step pauses, and plays n more ticks. It waits until they were played, or until the end, a seek or Resume leaves nothing of the
// step to be played. The error may also be a *StepError; then nothing happens. While a round waits for subscribers
// before it ends, Step returns at once: its ticks are the first of the next round.
func (p *Player) Step(ctx context.Context, n uint64) error {
	played := make(chan struct{})
	if err := p.call(ctx, func(context.Context) error {
		if n > MaxStep || p.steps+n > MaxStep {
			return &StepError{n, p.steps}
		}
		p.pause()
		p.steps += n
		if p.cut != nil { // the next round plays them, whose beginning others hold up
			close(played)
			return nil
		}
		p.stepped = append(p.stepped, played)
		return nil
	}); err != nil {
		return err
	}
	select {
	case <-played:
		return nil
	case <-p.done:
		return ErrStopped
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// SetSpeed changes the speed, which is as in Config; a speed out of bounds is an error.
func (p *Player) SetSpeed(ctx context.Context, speed float64) error {
	if speed != Max && !(speed >= MinSpeed && speed <= MaxSpeed) {
		return fmt.Errorf("a speed must be from %g to %g, or max, got %g", MinSpeed, MaxSpeed, speed)
	}
	return p.call(ctx, func(context.Context) error {
		now := time.Now()
		if p.clock.wall.After(now) { // it has not begun
			p.clock.speed = speed
			return nil
		}
		p.clock.anchor(now, p.recorded(now))
		p.clock.speed = speed
		return nil
	})
}

// Seek goes to t in a new session, paused or not as it was. It waits until the session has begun. If t is beyond either end of
// the recording, the error is a *RangeError and nothing happens. An error of the recording or the output ends Run, too.
func (p *Player) Seek(ctx context.Context, t Target) error {
	return p.call(ctx, func(running context.Context) error {
		if p.cut != nil {
			p.cut()
		}
		p.mu.Lock()
		first := p.status.First
		p.status.State = Seeking
		p.mu.Unlock()
		to := t.resolve(first, p.recorded(time.Now()))
		if err := p.checkRange(to); err != nil {
			if !errors.As(err, new(*RangeError)) {
				p.broken = err
			}
			return err
		}
		p.broken = p.seek(running, to)
		return p.broken
	})
}
