package publisher

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"tickfeed/codec"
	"tickfeed/feed"
	"tickfeed/feed/nouns"
	"tickfeed/publisher/journal"
)

// A Publisher numbers ticks, appends them to the log, and serves the log to subscribers. Its methods are safe for
// concurrent use, except Close.
type Publisher struct {
	cfg     Config
	origin  feed.SessionID   // the recorded session, of a replay
	journal *journal.Journal // nil: memory only
	lineage feed.Lineage
	session feed.Session
	log     *memlog
	clock   clock

	seq      sequencer
	flusher  flusher
	audience audience
	serving  server
	done     sync.WaitGroup // goroutines that New started
}

// A clock counts the time since a publisher started.
type clock struct{ started time.Time }

func (c *clock) now() time.Duration { return time.Since(c.started) }

// ErrEnded is returned for ticks published after End, and ErrClosed by a closed publisher.
var (
	ErrEnded  = errors.New("publisher: the session has ended")
	ErrClosed = errors.New("publisher: closed")
)

// New returns a publisher and begins its session: a child of the session in the journal, or a root session if there
// is none. The error wraps journal.ErrLocked if another publisher uses the journal, and ErrDescriptors if there are
// too few file descriptors. The caller must call Close.
func New(cfg Config) (*Publisher, error) { return open(cfg, Origin{}) }

// open is New for a publisher that begins as origin says.
func open(cfg Config, origin Origin) (*Publisher, error) {
	if err := cfg.fill(); err != nil {
		return nil, err
	}
	if origin.First > codec.MaxSeq {
		return nil, fmt.Errorf("publisher: First must be at most %d, got %d", uint64(codec.MaxSeq), origin.First)
	}
	p := &Publisher{cfg: cfg, origin: origin.Session, clock: clock{time.Now()}}
	state, next := cmp.Or(origin.State, feed.NewState()), cmp.Or(origin.First, 1)
	var lastTime, event int64
	id := feed.NewSessionID()
	p.lineage = feed.Lineage{{ID: id, First: next}}
	if cfg.Journal != "" {
		j, err := journal.Open(journal.Config{
			Dir: cfg.Journal, FS: cfg.FS, SegmentSize: cfg.SegmentSize, Sync: cfg.Sync, Now: cfg.Now,
			RetainBytes: cfg.RetainBytes, RetainAge: cfg.RetainAge, Source: cfg.Source,
			Origin: origin.Session,
		})
		if err != nil {
			return nil, err
		}
		p.journal = j
		if r := j.Recovered(); len(r.Lineage) > 0 {
			if origin.First > 0 {
				return nil, errors.Join(fmt.Errorf("publisher: a session cannot begin at %d in journal %s, which is not empty", origin.First, cfg.Journal), j.Close())
			}
			p.lineage = r.Lineage.Child(id, r.Next)
			state, next, lastTime, event = r.State, r.Next, r.LastTime, r.LastEvent
			if lastTime == 0 { // nothing is left of what was published: what is gone has the time of what will follow it, at most
				lastTime = cfg.Now()
			}
		}
		if err := j.Begin(p.lineage, cfg.Mode, state.Clone()); err != nil {
			return nil, errors.Join(err, j.Close())
		}
	}
	size := int(min(segmentSize, cfg.Memory/minSegments))
	p.assemble(newMemlog(size, int(cfg.Memory/int64(size)), next, lastTime, state.Clone()), state, event)
	p.done.Go(p.flusher.run)
	if cfg.Authorize != nil || cfg.TLS != nil {
		p.done.Go(p.watchLogins)
	}
	for i := range p.serving.parking.pumps {
		p.done.Go(func() { p.serving.parking.pumps[i].run(p.flusher.closing, p.cfg.Sleep) })
	}
	if p.journal != nil {
		p.done.Go(func() { p.flusher.housekeep(cfg.RetainBytes > 0 || cfg.RetainAge > 0) })
	}
	return p, nil
}

// assemble connects the parts of p, which has its configuration, journal and lineage. Publishing continues after log with
// the given state; event is the event time of the last tick that had one.
func (p *Publisher) assemble(log *memlog, state *feed.State, event int64) {
	p.session, p.log = p.lineage.Current(), log
	p.audience = audience{log: log, roster: &p.serving.roster, logger: &p.cfg.Logger}
	if p.journal == nil {
		p.audience.waitFor = p.cfg.WaitFor
	}
	p.seq = sequencer{
		mode: p.cfg.Mode, now: p.cfg.Now, seed: codec.LineSeed(p.session.ID, nil), log: log, flusher: &p.flusher, audience: &p.audience,
	}
	p.seq.begin(state, event)
	p.flusher = flusher{
		journal: p.journal, path: p.cfg.Journal, sync: p.cfg.Sync, log: log, seq: &p.seq, wakeReaders: p.serving.parking.wake,
		logger: &p.cfg.Logger, clock: &p.clock,
	}
	p.flusher.init()
	p.serving.init(p)
}

// Lineage returns the sessions that this publisher continues, oldest first; its own session is the last.
func (p *Publisher) Lineage() feed.Lineage { return p.lineage }

// Recovered returns what the journal held when the publisher started; nil without a journal.
func (p *Publisher) Recovered() *journal.Recovered {
	if p.journal == nil {
		return nil
	}
	return p.journal.Recovered()
}

// Define registers an instrument and returns its id, which is new unless an instrument with the same symbol and venue
// exists. It publishes a definition tick if the instrument is new or its definition has changed. It returns the
// errors of Publish.
func (p *Publisher) Define(ctx context.Context, d feed.Definition) (feed.InstrumentID, error) {
	id, _, err := p.define(ctx, d, 0)
	return id, err
}

// define is Define with an event time for the definition tick; 0 selects the event time of the last tick. It also
// reports whether a tick was published.
func (p *Publisher) define(ctx context.Context, d feed.Definition, eventTime int64) (_ feed.InstrumentID, published bool, _ error) {
	id, published, err := p.seq.define(ctx, d, eventTime)
	p.flusher.flushSome()
	return id, published, err
}

// Publish numbers ticks and appends them to the log, in order and without a gap; it ignores their Seq. The caller may
// reuse ticks, but not the values that Extra points to. Subscribers are sent the ticks once they are in the journal.
//
// Publish waits while the memory log is full of ticks that the journal has not taken, because the disk is full or does
// not sync them in time, until ctx ends. A *PublishError says how many ticks of the call were published; those stay
// published. It wraps ctx.Err(), ErrEnded, ErrClosed, an error about an invalid tick or an undefined instrument, or the
// error of a failed journal, which is final.
func (p *Publisher) Publish(ctx context.Context, ticks []feed.Tick) error {
	err := p.seq.publish(ctx, ticks)
	p.flusher.flushSome()
	return err
}

// State returns a copy of the state as of the next number, and that number.
func (p *Publisher) State() (*feed.State, uint64) { return p.seq.copyState() }

// A PublishError reports that only the first Published ticks of a call were published.
type PublishError struct {
	Published int
	Err       error
}

func (e *PublishError) Error() string {
	return fmt.Sprintf("publish, after %s of the call: %v", nouns.Count(e.Published, "tick"), e.Err)
}

func (e *PublishError) Unwrap() error { return e.Err }

// Failed returns the error that stopped the publisher from publishing for good, or nil.
func (p *Publisher) Failed() error { return p.flusher.failed() }

// Flush waits until everything published before the call is in the journal, synced as Config.Sync demands, and may be
// sent. It returns ctx.Err(), ErrClosed, or the error of a failed journal.
func (p *Publisher) Flush(ctx context.Context) error {
	for {
		want, progress := p.seq.seal()
		if next, _ := p.log.head(); next >= want {
			return nil
		}
		if err := p.flusher.usable(); err != nil {
			return err
		}
		p.flusher.active.Store(true)
		p.flusher.wake()
		select {
		case <-progress:
		case <-ctx.Done():
			return ctx.Err()
		case <-p.flusher.closing:
			return ErrClosed
		}
	}
}

// End ends the session: no more ticks can be published, and each subscriber is sent the end once it has all ticks. The
// publisher continues to serve subscribers. It returns the errors of Flush.
func (p *Publisher) End(ctx context.Context) error {
	final := p.seq.endSession()
	if err := p.Flush(ctx); err != nil {
		return err
	}
	p.serving.final.Store(final)
	p.serving.roster.signalAll()
	return nil
}

// hangTime is how long Close waits, after its context has ended, for a disk that does not respond.
const hangTime = 3 * time.Second

// errHangs reports that the disk does not respond.
var errHangs = errors.New("the disk does not answer")

// Close flushes, closes the journal and releases all resources. Call it after the last Serve has returned, or if a
// hanging disk keeps Serve from returning. ctx bounds how long Close waits for a full disk. Close waits a few seconds
// longer for a disk that does not respond, then returns and leaves behind the goroutines that wait for the disk. The
// error says which ticks may not be safe; the publisher is closed in any case.
func (p *Publisher) Close(ctx context.Context) error {
	err := p.flusher.usable()
	if err == nil {
		err = p.Flush(ctx)
		if next, _ := p.log.head(); err != nil && next < p.seq.appended() {
			why := ""
			if d := p.flusher.disk.Load(); d != nil {
				why = ": " + *d
			}
			err = fmt.Errorf("publisher: %s, from number %d on, reached neither the journal nor the subscribers%s: %w",
				nouns.Count(p.seq.appended()-next, "tick"), next, why, err)
		}
	}
	select {
	case <-p.flusher.closing:
		return ErrClosed
	default:
		close(p.flusher.closing)
	}
	closed := make(chan error, 1)
	go func() {
		p.done.Wait()
		p.serving.tallies.endPeriods()
		if p.journal == nil {
			closed <- nil
			return
		}
		closed <- p.journal.Close()
	}()
	var closeErr error
	select {
	case closeErr = <-closed:
	case <-ctx.Done():
		hangs := time.NewTimer(hangTime)
		defer hangs.Stop()
		select {
		case closeErr = <-closed:
		case <-hangs.C:
			return errors.Join(err, fmt.Errorf("publisher: journal %s was not closed: %w", p.cfg.Journal, errHangs))
		}
	}
	if err == nil || p.Failed() == nil { // otherwise err already reports it
		err = errors.Join(err, closeErr)
	}
	return err
}

// tail returns the oldest number that can be served. If the journal holds more sessions than a lineage can list, the
// numbers of the oldest sessions are not served.
func (p *Publisher) tail() uint64 {
	tail := p.log.tail()
	if p.journal != nil {
		tail = min(tail, p.journal.Tail())
	}
	return max(tail, p.lineage[0].First)
}

// seqAt returns the number of the first packet with a publish time of at least time.
func (p *Publisher) seqAt(time int64) uint64 {
	seq, ok := p.log.seqAt(time)
	if ok || p.journal == nil {
		return seq
	}
	return max(min(seq, p.journal.SeqAt(time)), p.lineage[0].First)
}

// chance returns the random source of connection n, derived from the seed.
func (p *Publisher) chance(n uint64) *rand.Rand {
	return rand.New(rand.NewPCG(p.cfg.Seed, n))
}
