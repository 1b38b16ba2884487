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
	"tickfeed/feed/scratch"
	"tickfeed/publisher"
	"tickfeed/publisher/journal"
)

// A Stage is an Output for subscribers: a succession of publishers, a new one for each seek and loop, behind the same
// listeners. Each publisher keeps its log in a directory of its own, so that slow subscribers lose nothing. The
// directory is removed after the publisher has ended.
//
// A replay is a session of its own that names its origin and keeps the recorded numbers. Numbers that the recording
// lacks are reported as not asked for, withheld or gone, as they were recorded. A seek or a loop continues in a sibling
// session behind the same listeners: subscribers are sent a goodbye, reconnect by themselves, and are sent the state at
// the new place. A loop, and the next session of a recording, begin only once all subscribers have received the previous
// session, or have failed to receive it within bounds (followTime, stallTime, leastRate, longestWait). A seek does not
// wait, and ends such a wait. The replay waits up to 5 minutes for a subscriber that takes at least 1,000 numbers a
// second. A subscriber that is left behind loses the ticks that it did not receive, and its account says so. Recordings
// that are played together are merged by time into a new session with its own numbers.
type Stage struct {
	cfg     publisher.Config
	origin  feed.SessionID
	scratch *scratch.Dir
	doors   []*door
	follow  time.Duration // followTime, except in a test
	stall   time.Duration // stallTime, except in a test
	longest time.Duration // longestWait, except in a test
	retired sync.WaitGroup
	slots   chan struct{} // held by each publisher that is still serving its last subscribers

	mu      sync.Mutex
	current *act
	acts    int
	joined  uint64                // subscribers of previous publishers
	sent    uint64                // subscribers that were sent on to the current publisher, or may be on their way to it
	moved   time.Time             // when they were sent on
	movers  []publisher.ConnStats // the connections that were sent on from the previous session
	failed  error                 // why serving the current publisher ended
}

// An act is one publisher.
type act struct {
	pub    *publisher.Recorded
	dir    string
	cancel context.CancelCauseFunc
	done   sync.WaitGroup
}

// maxLeaving bounds the publishers that are kept for their last subscribers. sideBySide is the number of publishers
// that the file descriptors must suffice for: the current one and its predecessor, whose subscribers move.
const (
	maxLeaving = 16
	sideBySide = 2
)

// stagePoll is how often a wait for subscribers checks for progress. stageRetry is how often Begin retries on a full disk or without
// file descriptors.
const (
	stagePoll  = 5 * time.Millisecond
	stageRetry = 100 * time.Millisecond
)

// Bounds on what a stage waits for. At each of them it continues without the subscriber.
const (
	// followTime is how long a subscriber may take to reconnect after it was sent on from a session or lost its
	// connection. It is also the total time of one WaitForSubscribers for absent subscribers only, however
	// many connections are lost meanwhile.
	followTime = 10 * time.Second
	// stallTime is how long a connected subscriber may take to confirm further numbers.
	stallTime = 10 * time.Second
	// leastRate is how many numbers per second a subscriber must be able to take. WaitForSubscribers waits at
	// most for stallTime plus the time that the numbers of the session take at leastRate, and never longer than longestWait.
	leastRate   = 1000
	longestWait = 5 * time.Minute
	// noticeTime is how long WaitForSubscribers waits before it logs for which.
	noticeTime = time.Second
)

// NewStage returns a stage that serves on listeners and takes ownership of them. cfg configures all its publishers,
// except for the directory of the journal; Mode is always codec.ModeReplay. origin is the recorded session, 0 if it is
// unknown. Until Close, logs are kept in a
// new directory within dir, or within the default directory for temporary files if dir is empty.
func NewStage(cfg publisher.Config, origin feed.SessionID, dir string, listeners []net.Listener) (*Stage, error) {
	cfg.Mode = codec.ModeReplay
	cfg.FS, cfg.Sync = scratchFS{}, journal.SyncNone
	s := &Stage{cfg: cfg, origin: origin, follow: followTime, stall: stallTime, longest: longestWait, slots: make(chan struct{}, maxLeaving)}
	for _, ln := range listeners {
		s.doors = append(s.doors, newDoor(ln))
	}
	var err error
	if s.scratch, err = scratch.New(dir, "replay"); err == nil {
		s.cfg.Journal = s.scratch.Path
		if err = s.cfg.Fit(sideBySide); err != nil {
			_ = s.scratch.Remove()
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

// Begin implements Output: it sends the subscribers of the previous session a goodbye, after which they reconnect to
// the new session.
func (s *Stage) Begin(ctx context.Context, first uint64, state *feed.State) error {
	s.mu.Lock()
	s.acts++
	a := &act{dir: filepath.Join(s.scratch.Path, strconv.Itoa(s.acts))}
	s.mu.Unlock()
	cfg := s.cfg
	cfg.Journal = a.dir
	from := publisher.Origin{Session: s.origin, First: first, State: state}
	var err error
	for {
		if a.pub, err = publisher.NewRecorded(cfg, from); err == nil {
			break
		}
		if !errors.Is(err, journal.ErrFull) && !journal.OutOfDescriptors(err) {
			return err
		}
		select { // subscribers of the previous session are served meanwhile
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

// leave ends the connections of the publisher, closes the publisher and removes its directory.
func (a *act) leave(why error) error {
	a.cancel(why)
	a.done.Wait()
	ctx, cancel := context.WithCancel(context.Background())
	cancel() // ticks not yet in the journal are not needed any more
	err := a.pub.Close(ctx)
	if errors.Is(err, context.Canceled) {
		err = nil
	}
	return errors.Join(err, os.RemoveAll(a.dir))
}

// Publisher returns the current publisher, or nil before the first session.
func (s *Stage) Publisher() *publisher.Recorded {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.current == nil {
		return nil
	}
	return s.current.pub
}

// Joined returns how many subscribers have logged in so far, in all sessions. A subscriber that follows a seek counts
// again.
func (s *Stage) Joined() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := s.joined
	if s.current != nil {
		n += s.current.pub.Stats().Joined
	}
	return n
}

// serving returns the current publisher, or the error that ended serving it.
func (s *Stage) serving() (*publisher.Recorded, error) {
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

// away returns how many subscribers are likely still to connect to the current session, whose statistics are st: they
// were sent on to it, or lost their connection. The caller must hold mu.
func (s *Stage) away(st publisher.Stats) (n uint64) {
	if s.sent > st.Joined && time.Since(s.moved) < s.follow {
		n = s.sent - st.Joined
	}
	if st.Missing > 0 && time.Since(st.Missed) < s.follow {
		n += uint64(st.Missing)
	}
	return n
}

// patience returns how long WaitForSubscribers waits at most for a session with the given number of numbers.
func (s *Stage) patience(numbers uint64) time.Duration {
	atLeastRate := time.Duration(min(numbers/leastRate, uint64(longestWait/time.Second))) * time.Second
	return min(s.stall+atLeastRate, s.longest)
}

// An absence measures for how long absent subscribers only are waited for.
type absence struct {
	spent time.Duration
	since time.Time // last measurement; zero if connected subscribers were waited for then
}

// over reports whether bound is used up at now. alone says whether only absent subscribers are waited for.
func (a *absence) over(now time.Time, alone bool, bound time.Duration) bool {
	if !a.since.IsZero() {
		a.spent += now.Sub(a.since)
	}
	if a.since = now; !alone {
		a.since = time.Time{}
	}
	return a.spent >= bound
}

// WaitForSubscribers implements Output. It gives an absent subscriber followTime to reconnect, and stops waiting for a subscriber
// that confirms nothing more for stallTime. The total wait is bounded as well, so that no client can delay the replay
// by losing its connection again and again or by confirming one number at a time: see followTime and leastRate. It
// logs which subscribers it waits for, and warns of each subscriber that the replay continues without.
func (s *Stage) WaitForSubscribers(ctx context.Context) error {
	p := s.Publisher()
	if err := p.Flush(ctx); err != nil {
		return err
	}
	type progress struct {
		confirmed uint64
		at        time.Time
	}
	seen := make(map[uint64]progress) // by connection number
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

// noteWait logs which subscribers of the session, whose statistics are st, the replay waits for.
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

// maxWarnings bounds how many subscribers are listed when the replay waits for them or continues without them.
const maxWarnings = 16

// A behindGroup is the subscribers that lack part of a session for the same reason.
type behindGroup struct {
	why   string
	conns []publisher.ConnStats
}

// behind returns the subscribers that lack part of the session whose statistics are st: those that have not confirmed
// everything, those that lost their connection and did not reconnect, and those that were sent on to the session and
// did not connect.
func (s *Stage) behind(st publisher.Stats) []behindGroup {
	s.mu.Lock()
	var late []publisher.ConnStats
	if s.sent > st.Joined {
		late = publisher.Without(s.movers, slices.Concat(st.Conns, st.Absent))
		late = late[:min(len(late), int(s.sent-st.Joined))]
		for i := range late {
			late[i].Confirmed = 0 // a number of another session
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

// warnOfLeft logs a warning for each subscriber that lacks part of the session, whose statistics are st.
func (s *Stage) warnOfLeft(st publisher.Stats) {
	warned := 0
	for _, group := range s.behind(st) {
		for _, c := range group.conns {
			if warned++; warned > maxWarnings {
				continue
			}
			s.cfg.Logger.Warn().Stringer("session", st.Session).Str("remote", c.Remote).Str("client", c.Client).Uint64("confirmed", c.Confirmed).
				Uint64("head", st.Head).Str("why", group.why).Msg("the replay continues without a subscriber that did not receive the rest of the session")
		}
	}
	if warned > maxWarnings {
		s.cfg.Logger.Warn().Stringer("session", st.Session).Int("more", warned-maxWarnings).
			Msg("the replay continues without more subscribers that did not receive the rest of the session")
	}
}

// WaitConfirmed waits, after End, until every subscriber has confirmed that it has everything: see
// [publisher.Publisher.WaitConfirmed]. It first gives subscribers that were sent on to the current session, or lost their
// connection, followTime in all to connect.
func (s *Stage) WaitConfirmed(ctx context.Context) error {
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
	return p.WaitConfirmed(ctx)
}

// await polls until holds returns true or ctx ends.
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

// Run accepts connections until ctx ends, and returns the cause of ctx, or until a listener fails, and returns that
// error. If a listener fails, the current publisher sends its subscribers a goodbye.
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

// lastFlush bounds how long Close waits for the last ticks to reach the log. Subscribers are then sent the goodbye
// without them.
const lastFlush = time.Second

// Close sends subscribers the remaining data, for a bounded time, and a goodbye, and releases all resources. Call it
// after Run and the player have returned.
func (s *Stage) Close() error {
	var err error
	s.mu.Lock()
	current := s.current
	s.current = nil
	s.mu.Unlock()
	if current != nil {
		flushing, cancel := context.WithTimeout(context.Background(), lastFlush)
		_ = current.pub.Flush(flushing) // so that all played ticks are sent before the goodbye
		cancel()
		err = current.leave(errOver)
	}
	for _, d := range s.doors {
		d.ln.Close()
	}
	s.retired.Wait()
	return errors.Join(err, s.scratch.Remove())
}

var errOver = errors.New("the replay is over")

// A door is a listener that serves one publisher after the other.
type door struct {
	ln    net.Listener
	mu    sync.Mutex
	stage *stageListener // gets the connections; nil before the first publisher
	begun chan struct{}  // closed when stage is first set
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

// accept accepts connections until ctx ends or the listener fails for good. It passes on errors, too: the publisher
// retries those that are temporary.
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

// A stageListener is a door as seen by one publisher.
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

// Close implements net.Listener. The door remains open.
func (l *stageListener) Close() error {
	l.once.Do(func() { close(l.closed) })
	return nil
}

// Addr implements net.Listener.
func (l *stageListener) Addr() net.Addr { return l.addr }

// scratchFS is a file system for journals that do not outlive the process: nothing is synced.
type scratchFS struct{ journal.OS }

// Create implements journal.FS.
func (f scratchFS) Create(name string) (recording.File, error) {
	file, err := f.OS.Create(name)
	if err != nil {
		return nil, err
	}
	return unsynced{file}, nil
}

// Prepare implements journal.FS.
func (scratchFS) Prepare(string, int64) (journal.PreparedFile, error) {
	return nil, errors.ErrUnsupported
}

// Check implements journal.FS.
func (f scratchFS) Check(name string, file io.Closer) error {
	if u, ok := file.(unsynced); ok {
		file = u.File
	}
	return f.OS.Check(name, file)
}

// SyncDir implements journal.FS.
func (scratchFS) SyncDir(string) error { return nil }

type unsynced struct{ recording.File }

func (unsynced) Sync() error { return nil }
