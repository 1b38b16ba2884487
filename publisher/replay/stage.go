package replay

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"tickfeed/codec"
	"tickfeed/codec/recording"
	"tickfeed/feed"
	"tickfeed/publisher"
	"tickfeed/publisher/journal"
)

// A Stage is where a player publishes for subscribers: one publisher after the other, a new one
// for each seek and loop, behind the same listeners. Each keeps its log in a directory of its
// own, which is removed after it, so that a subscriber that is slow loses nothing.
type Stage struct {
	cfg     publisher.Config
	scratch *scratchDir
	doors   []*door
	follow  time.Duration // followTime, except in a test
	stall   time.Duration // stallTime, except in a test
	longest time.Duration // longestDrain, except in a test
	retired sync.WaitGroup
	slots   chan struct{} // of publishers whose subscribers are still taking leave

	mu      sync.Mutex
	current *act
	acts    int
	joined  uint64                // subscribers of those before
	sent    uint64                // subscribers of those before that were sent on to the present one, or may be on their way to it
	moved   time.Time             // when they were
	movers  []publisher.ConnStats // the connections of those that were sent on from the session before
	failed  error                 // why serving the present one ended
}

// An act is one publisher.
type act struct {
	pub    *publisher.Publisher
	dir    string
	cancel context.CancelCauseFunc
	done   sync.WaitGroup
}

// maxLeaving bounds the publishers that are kept for subscribers that take leave. sideBySide is for how many publishers there
// are file descriptors: the present one and the one before it, whose subscribers move.
const (
	maxLeaving = 16
	sideBySide = 2
)

// stagePoll is how often Drain looks, stageRetry how often a full disk, or a process without file
// descriptors, is tried again.
const (
	stagePoll  = 5 * time.Millisecond
	stageRetry = 100 * time.Millisecond
)

// Bounds of what a stage waits for. At each of them it goes on without the subscriber.
const (
	// followTime is how long a subscriber may take to come back: from a session that it was sent on from, or after its
	// connection was lost. It is also how long one Drain waits in all while nobody but absent subscribers holds it up, however
	// many connections are lost meanwhile.
	followTime = 10 * time.Second
	// stallTime is how long a connected subscriber may take to confirm that it has received something more.
	stallTime = 10 * time.Second
	// leastRate is how many numbers a second a subscriber must be able to take: one Drain waits in all for stallTime and
	// the time that the numbers of the session take at leastRate, but never longer than longestDrain.
	leastRate    = 1000
	longestDrain = 5 * time.Minute
	// noticeTime is how long a Drain waits before it says for which subscribers.
	noticeTime = time.Second
)

// NewStage returns a stage on listeners, which it owns from now on. Cfg is that of all its
// publishers, but for what belongs to a session; Mode is always that of a replay. Logs are kept in
// a new directory within dir, the system's for temporary files if that is empty, until Close.
func NewStage(cfg publisher.Config, dir string, listeners []net.Listener) (*Stage, error) {
	cfg.Mode = codec.ModeReplay
	cfg.FS, cfg.Sync = scratch{}, journal.SyncNone
	s := &Stage{cfg: cfg, follow: followTime, stall: stallTime, longest: longestDrain, slots: make(chan struct{}, maxLeaving)}
	for _, ln := range listeners {
		s.doors = append(s.doors, newDoor(ln))
	}
	var err error
	if s.scratch, err = newScratchDir(dir); err == nil {
		s.cfg.Journal = s.scratch.path
		if err = s.cfg.Fit(sideBySide); err != nil {
			_ = s.scratch.remove()
		}
	}
	if err != nil {
		for _, d := range s.doors {
			d.ln.Close()
		}
		return nil, err
	}
	return s, nil
}

// Begin implements Output: subscribers of the session before are sent a goodbye and come back to
// this one.
func (s *Stage) Begin(ctx context.Context, first uint64, state *feed.State) error {
	s.mu.Lock()
	s.acts++
	a := &act{dir: filepath.Join(s.scratch.path, strconv.Itoa(s.acts))}
	s.mu.Unlock()
	cfg := s.cfg
	cfg.Journal, cfg.First, cfg.State = a.dir, first, state
	var err error
	for {
		if a.pub, err = publisher.New(cfg); err == nil {
			break
		}
		if !errors.Is(err, journal.ErrFull) && !journal.OutOfDescriptors(err) {
			return err
		}
		select { // subscribers of the session before are served meanwhile
		case <-time.After(stageRetry):
		case <-ctx.Done():
			return errors.Join(ctx.Err(), err)
		}
	}
	serving, cancel := context.WithCancelCause(context.Background())
	a.cancel = cancel
	for _, d := range s.doors {
		ln := d.open()
		a.done.Go(func() {
			if err := a.pub.Serve(serving, ln); serving.Err() == nil {
				s.mu.Lock()
				s.failed = errors.Join(s.failed, err)
				s.mu.Unlock()
			}
		})
	}
	s.mu.Lock()
	old := s.current
	if old != nil {
		st := old.pub.Stats()
		s.joined += st.Joined
		s.movers = st.Conns
		s.sent, s.moved = uint64(len(st.Conns))+s.away(st), time.Now()
	}
	s.current = a
	err = s.failed
	s.mu.Unlock()
	if old != nil {
		s.slots <- struct{}{}
		s.retired.Go(func() {
			old.leave(publisher.ErrMoved)
			<-s.slots
		})
	}
	return err
}

// leave lets the subscribers go, and removes what there is on disk.
func (a *act) leave(why error) error {
	a.cancel(why)
	a.done.Wait()
	ctx, cancel := context.WithCancel(context.Background())
	cancel() // nobody wants what is not in the journal yet
	err := a.pub.Close(ctx)
	if errors.Is(err, context.Canceled) {
		err = nil
	}
	return errors.Join(err, os.RemoveAll(a.dir))
}

// Publisher is the present publisher; nil before the first session.
func (s *Stage) Publisher() *publisher.Publisher {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.current == nil {
		return nil
	}
	return s.current.pub
}

// Joined is how many subscribers have logged in so far, in all sessions; who follows a seek
// counts again.
func (s *Stage) Joined() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := s.joined
	if s.current != nil {
		n += s.current.pub.Stats().Joined
	}
	return n
}

// serving is the present publisher, or why there is none that serves.
func (s *Stage) serving() (*publisher.Publisher, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.current.pub, s.failed
}

// Republish implements Output.
func (s *Stage) Republish(ctx context.Context, ticks []feed.Tick, end uint64) error {
	p, err := s.serving()
	if err != nil {
		return err
	}
	return p.Republish(ctx, ticks, end)
}

// Relay implements Output.
func (s *Stage) Relay(ctx context.Context, packets []byte) (n, ticks int, err error) {
	p, err := s.serving()
	if err != nil {
		return 0, 0, err
	}
	return p.Relay(ctx, packets)
}

// Skip implements Output.
func (s *Stage) Skip(ctx context.Context, n uint64, why recording.SkipKind, state *feed.State) error {
	return s.Publisher().Skip(ctx, n, why, state)
}

// State implements Output.
func (s *Stage) State() (*feed.State, uint64) { return s.Publisher().State() }

// End implements Output.
func (s *Stage) End(ctx context.Context) error { return s.Publisher().End(ctx) }

// away is how many subscribers of the present session, which has statistics st, are likely to come yet: they were sent on
// to it, or their connection was lost. The caller holds mu.
func (s *Stage) away(st publisher.Stats) (n uint64) {
	if s.sent > st.Joined && time.Since(s.moved) < s.follow {
		n = s.sent - st.Joined
	}
	if st.Missing > 0 && time.Since(st.Missed) < s.follow {
		n += uint64(st.Missing)
	}
	return n
}

// patience is how long a Drain of a session with that many numbers waits in all.
func (s *Stage) patience(numbers uint64) time.Duration {
	atLeastRate := time.Duration(min(numbers/leastRate, uint64(longestDrain/time.Second))) * time.Second
	return min(s.stall+atLeastRate, s.longest)
}

// An absence adds up how long nobody but absent subscribers is waited for.
type absence struct {
	spent time.Duration
	since time.Time // when that was looked at last; zero if somebody else was waited for then
}

// over reports whether bound is spent at now. Alone says that nobody but absent subscribers is waited for.
func (a *absence) over(now time.Time, alone bool, bound time.Duration) bool {
	if !a.since.IsZero() {
		a.spent += now.Sub(a.since)
	}
	if a.since = now; !alone {
		a.since = time.Time{}
	}
	return a.spent >= bound
}

// Drain implements Output. A subscriber that is away is given followTime to come back, and one that confirms nothing more
// for stallTime is not waited for any longer. So that no client can hold the replay up by being lost again and again, or by
// confirming one number at a time, the wait is bounded in all as well: see followTime and leastRate. A line in the log says
// for which subscribers the replay waits, and a warning names each subscriber that it goes on without.
func (s *Stage) Drain(ctx context.Context) error {
	p := s.Publisher()
	if err := p.Flush(ctx); err != nil {
		return err
	}
	type progress struct {
		confirmed uint64
		at        time.Time
	}
	seen := make(map[uint64]progress) // by the connection's number
	var st publisher.Stats
	var absent absence
	began, noticed := time.Now(), false
	bound := s.patience(p.Stats().Head - p.Lineage().Current().First)
	if err := s.await(ctx, func() bool {
		now := time.Now()
		st = p.Stats()
		waiting := false
		for _, c := range st.Conns {
			if c.Confirmed >= st.Head {
				continue
			}
			last, known := seen[c.Number]
			if !known || c.Confirmed > last.confirmed {
				last = progress{c.Confirmed, now}
				seen[c.Number] = last
			}
			waiting = waiting || now.Sub(last.at) < s.stall
		}
		s.mu.Lock()
		away := s.away(st) > 0
		s.mu.Unlock()
		if spent := absent.over(now, away && !waiting, s.follow); !waiting && (!away || spent) || now.Sub(began) >= bound {
			return true
		}
		if !noticed && now.Sub(began) >= min(noticeTime, bound/2) {
			noticed = true
			s.noteWait(st, bound)
		}
		return false
	}); err != nil {
		return err
	}
	s.warnOfLeft(st)
	return nil
}

// noteWait says for which subscribers of the session, whose statistics are st, the replay waits.
func (s *Stage) noteWait(st publisher.Stats, bound time.Duration) {
	clients := zerolog.Arr()
	n := 0
	for _, group := range s.behind(st) {
		for _, c := range group.conns {
			if n++; n <= maxWarnings {
				clients.Str(fmt.Sprintf("%s (%s)", c.Remote, c.Client))
			}
		}
	}
	s.cfg.Logger.Warn().Stringer("session", st.Session).Array("clients", clients).Int("more", max(0, n-maxWarnings)).
		Stringer("at_most", bound).Msg("the replay waits for subscribers that do not have the whole session yet")
}

// maxWarnings bounds how many subscribers are named when the replay goes on without them.
const maxWarnings = 16

// A behindGroup is subscribers that do not have the whole session, and why.
type behindGroup struct {
	why   string
	conns []publisher.ConnStats
}

// behind returns the subscribers that do not have all of the session whose statistics are st: those that have not
// confirmed everything, those whose connection was lost and that did not come back, and those that were sent on to the session
// and did not come.
func (s *Stage) behind(st publisher.Stats) []behindGroup {
	s.mu.Lock()
	var late []publisher.ConnStats
	if s.sent > st.Joined {
		late = publisher.Without(s.movers, slices.Concat(st.Conns, st.Absent))
		late = late[:min(len(late), int(s.sent-st.Joined))]
		for i := range late {
			late[i].Confirmed = 0 // it was of another session
		}
	}
	s.mu.Unlock()
	var slow []publisher.ConnStats
	for _, c := range st.Conns {
		if c.Confirmed < st.Head {
			slow = append(slow, c)
		}
	}
	return []behindGroup{
		{"it confirmed nothing more for too long, or too little in all", slow},
		{"its connection was lost, and it did not come back in time", st.Absent},
		{"it was sent on to the session, and did not come in time", late},
	}
}

// warnOfLeft warns of the subscribers that did not get the rest of the session, whose statistics are st.
func (s *Stage) warnOfLeft(st publisher.Stats) {
	warned := 0
	for _, group := range s.behind(st) {
		for _, c := range group.conns {
			if warned++; warned > maxWarnings {
				continue
			}
			s.cfg.Logger.Warn().Stringer("session", st.Session).Str("remote", c.Remote).Str("client", c.Client).Uint64("confirmed", c.Confirmed).
				Uint64("head", st.Head).Str("why", group.why).Msg("the replay goes on without a subscriber that did not get the rest of the session")
		}
	}
	if warned > maxWarnings {
		s.cfg.Logger.Warn().Stringer("session", st.Session).Int("more", warned-maxWarnings).
			Msg("the replay goes on without more subscribers that did not get the rest of the session")
	}
}

// Drained waits, after End, until every subscriber has confirmed that it has everything: see [publisher.Publisher.Drained].
// Before that it gives subscribers that were sent on to the present session, or whose connection was lost, followTime in all.
func (s *Stage) Drained(ctx context.Context) error {
	p := s.Publisher()
	began := time.Now()
	if err := s.await(ctx, func() bool {
		st := p.Stats()
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.away(st) == 0 || time.Since(began) >= s.follow
	}); err != nil {
		return err
	}
	return p.Drained(ctx)
}

// await polls until holds returns true, or ctx ends.
func (s *Stage) await(ctx context.Context, holds func() bool) error {
	poll := time.NewTicker(stagePoll)
	defer poll.Stop()
	for !holds() {
		select {
		case <-poll.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return nil
}

// Run accepts connections until ctx ends, whose cause it returns, or until a listener fails. The
// present publisher then takes leave of its subscribers.
func (s *Stage) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var accepting sync.WaitGroup
	for _, d := range s.doors {
		accepting.Go(func() { cancel(d.accept(ctx)) })
	}
	<-ctx.Done()
	accepting.Wait()
	return context.Cause(ctx)
}

// lastFlush bounds how long the last ticks may take into the log before subscribers hear the goodbye without them.
const lastFlush = time.Second

// Close ends everything: subscribers are sent what there still is, for a bounded time, and a
// goodbye. It is for after Run and the player have returned.
func (s *Stage) Close() error {
	var err error
	s.mu.Lock()
	current := s.current
	s.current = nil
	s.mu.Unlock()
	if current != nil {
		flushing, cancel := context.WithTimeout(context.Background(), lastFlush)
		_ = current.pub.Flush(flushing) // so that what was played is sent before the goodbye
		cancel()
		err = current.leave(errOver)
	}
	for _, d := range s.doors {
		d.ln.Close()
	}
	s.retired.Wait()
	return errors.Join(err, s.scratch.remove())
}

var errOver = errors.New("the replay is over")

// A door is a listener that serves one publisher after the other.
type door struct {
	ln    net.Listener
	mu    sync.Mutex
	stage *stageListener // who gets the connections; nil before the first
	begun chan struct{}  // closed when there is one
}

func newDoor(ln net.Listener) *door { return &door{ln: ln, begun: make(chan struct{})} }

// open returns a listener that gets the connections from now on.
func (d *door) open() net.Listener {
	l := &stageListener{addr: d.ln.Addr(), conns: make(chan result), closed: make(chan struct{})}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.stage == nil {
		close(d.begun)
	}
	d.stage = l
	return l
}

// accept accepts until ctx ends or the listener fails for good. What fails for a while, the
// publisher knows how to wait for.
func (d *door) accept(ctx context.Context) error {
	stop := context.AfterFunc(ctx, func() { d.ln.Close() })
	defer stop()
	select {
	case <-d.begun:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	for {
		nc, err := d.ln.Accept()
		if err != nil && ctx.Err() != nil {
			return context.Cause(ctx)
		}
		for delivered := false; !delivered; {
			d.mu.Lock()
			l := d.stage
			d.mu.Unlock()
			select {
			case l.conns <- result{nc, err}:
				delivered = true
			case <-l.closed:
				d.mu.Lock()
				over := d.stage == l
				d.mu.Unlock()
				if over {
					if nc != nil {
						nc.Close()
					}
					if ctx.Err() != nil {
						return context.Cause(ctx)
					}
					return fmt.Errorf("accept on %s: %w", d.ln.Addr(), errors.Join(err, net.ErrClosed))
				}
			}
		}
	}
}

type result struct {
	nc  net.Conn
	err error
}

// A stageListener is a door while one publisher has it.
type stageListener struct {
	addr   net.Addr
	conns  chan result
	closed chan struct{}
	once   sync.Once
}

// Accept implements net.Listener.
func (l *stageListener) Accept() (net.Conn, error) {
	select {
	case r := <-l.conns:
		return r.nc, r.err
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener; the door stays open.
func (l *stageListener) Close() error {
	l.once.Do(func() { close(l.closed) })
	return nil
}

// Addr implements net.Listener.
func (l *stageListener) Addr() net.Addr { return l.addr }

// scratch is a file system for journals that need not outlive the process: nothing is synced.
type scratch struct{ journal.OS }

// Create implements journal.FS.
func (f scratch) Create(name string) (recording.File, error) {
	file, err := f.OS.Create(name)
	if err != nil {
		return nil, err
	}
	return unsynced{file}, nil
}

// Check implements journal.FS.
func (f scratch) Check(name string, file io.Closer) error {
	if u, ok := file.(unsynced); ok {
		file = u.File
	}
	return f.OS.Check(name, file)
}

// SyncDir implements journal.FS.
func (scratch) SyncDir(string) error { return nil }

type unsynced struct{ recording.File }

func (unsynced) Sync() error { return nil }
