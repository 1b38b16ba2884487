package publisher

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"tickfeed/codec"
	"tickfeed/feed"
	"tickfeed/publisher/journal"
)

// states makes snapshots as of past numbers, whose states have to be computed from memory or from the journal. A pass
// folds one stretch of the log, which is a file of the journal or a part of the memory log, and serves every request
// for a number ahead of it in the stretch, including requests made meanwhile. Nothing is read for dropped requests.
// Passes run in goroutines of the publisher, at most maxPasses at a time.
type states struct {
	p *Publisher

	mu       sync.Mutex
	requests []*stateRequest // not served yet, in no order
	passes   []*pass
	begun    int           // passes so far
	changes  atomic.Uint64 // number of changes to requests
}

// maxPasses is how many stretches of the log are folded at the same time.
const maxPasses = 4

// A stateRequest asks for a snapshot.
type stateRequest struct {
	stateView
	conn *conn // the holder of the snapshot

	dropped bool          // protected by states.mu
	done    chan struct{} // closed when held or err is set
	held    *snapshot
	err     error
}

// A pass is one fold of a stretch. Its fields are protected by states.mu.
type pass struct {
	from uint64 // lowest number still ahead of the pass
	last uint64 // highest number of the pass
}

func (w *pass) covers(seq uint64) bool { return w.from <= seq && seq <= w.last }

// request asks for a snapshot of the state as of seq, as seen by the line of c. added is the filter of ScopeAdded.
func (s *states) request(c *conn, seq uint64, scope codec.ScopeKind, added *wanted) *stateRequest {
	l := &c.line
	as := &line{p: l.p, seed: l.seed, filter: l.filter, wanted: l.wanted} // a copy: l may move on after the request is dropped
	r := &stateRequest{stateView: stateView{seq, as, scope, added}, conn: c, done: make(chan struct{})}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.requests = append(s.requests, r)
	s.changes.Add(1)
	if !s.coveredLocked(seq) && len(s.passes) < maxPasses {
		w := &pass{from: seq, last: seq}
		s.passes = append(s.passes, w)
		s.p.done.Go(func() { s.run(w) })
	}
	return r
}

// drop withdraws a request, and releases its snapshot if the snapshot was not taken.
func (s *states) drop(r *stateRequest) {
	s.mu.Lock()
	if i := slices.Index(s.requests, r); i >= 0 {
		s.requests = slices.Delete(s.requests, i, i+1)
		s.changes.Add(1)
	}
	r.dropped = true
	held := r.held
	r.held = nil
	s.mu.Unlock()
	s.p.serving.snapshots.release(r.conn, held)
}

// takeSnapshot returns the snapshot of a served request. The caller must release it.
func (s *states) takeSnapshot(r *stateRequest) *snapshot {
	s.mu.Lock()
	defer s.mu.Unlock()
	held := r.held
	r.held = nil
	return held
}

// serve makes the snapshot for r, as soon as there is room for it.
func (s *states) serve(r *stateRequest, state *feed.State) {
	all := &s.p.serving.snapshots
	held, freed := all.hold(r.conn, &r.stateView, state)
	for held == nil && r.err == nil {
		select {
		case <-freed:
		case <-time.After(roomPause):
		case <-s.p.flusher.closing:
			r.err = ErrClosed
			continue
		}
		s.mu.Lock()
		dropped := r.dropped
		s.mu.Unlock()
		if dropped {
			return
		}
		held, freed = all.hold(r.conn, &r.stateView, state)
	}
	if held != nil {
		r.err = all.make(held, &r.stateView, state)
	}
	s.mu.Lock()
	if r.err == nil && !r.dropped {
		r.held, held = held, nil
	}
	s.mu.Unlock()
	all.release(r.conn, held)
	close(r.done)
}

func (s *states) coveredLocked(seq uint64) bool {
	return slices.ContainsFunc(s.passes, func(w *pass) bool { return w.covers(seq) })
}

// run makes passes until every request is served or covered by another pass. w is registered in passes and describes
// the current pass.
func (s *states) run(w *pass) {
	for {
		s.mu.Lock()
		w.from, w.last = 1, 0 // covers nothing
		i := slices.IndexFunc(s.requests, func(r *stateRequest) bool { return !s.coveredLocked(r.seq) })
		if i < 0 {
			s.passes = slices.DeleteFunc(s.passes, func(o *pass) bool { return o == w })
			s.mu.Unlock()
			return
		}
		s.begun++
		asked := s.requests[i]
		seq := asked.seq
		part, ok := s.p.log.stretch(seq)
		if ok {
			w.from, w.last = part.first, part.last
		} else if w.from, w.last, ok = s.p.stretch(seq); !ok {
			w.from, w.last = seq, seq
		}
		s.mu.Unlock()

		v := visitor{s: s, w: w}
		err := fmt.Errorf("the state as of %d is neither in memory nor in the journal: %w", seq, journal.ErrGone)
		switch {
		case part != nil:
			err = part.fold(v.visit)
		case ok:
			err = s.p.journal.Fold(seq, v.visit)
			if s.p.flusher.starves(err) {
				select {
				case <-time.After(diskRetry):
					continue
				case <-s.p.flusher.closing:
				}
			}
		}
		s.fail(w, asked, err)
	}
}

// stretch returns the range of numbers around seq whose states one fold of the journal computes.
func (p *Publisher) stretch(seq uint64) (from, last uint64, ok bool) {
	if p.journal == nil {
		return 0, 0, false
	}
	return p.journal.Stretch(seq)
}

// fail ends pass w. If err is not nil, or the request for which the pass was made was not served, the remaining
// requests of the pass fail.
func (s *states) fail(w *pass, asked *stateRequest, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	left := slices.Contains(s.requests, asked)
	if left {
		w.from, w.last = min(max(w.from, 1), asked.seq), max(w.last, asked.seq)
	}
	switch {
	case err == nil && !left:
		return
	case err == nil:
		err = fmt.Errorf("the state as of %d was passed over", asked.seq)
	}
	if errors.Is(err, journal.ErrGone) {
		w.from, w.last = asked.seq, asked.seq // the other requests are tried again
	} else {
		s.p.cfg.Logger.Error().Err(err).Uint64("seq", asked.seq).Msg("cannot read a state")
	}
	for _, r := range s.takeRequestsLocked(w, w.last) {
		r.err = err
		close(r.done)
	}
}

// takeRequestsLocked removes and returns the requests that w covers with numbers up to to.
func (s *states) takeRequestsLocked(w *pass, to uint64) (taken []*stateRequest) {
	s.requests = slices.DeleteFunc(s.requests, func(r *stateRequest) bool {
		if !w.covers(r.seq) || r.seq > to {
			return false
		}
		taken = append(taken, r)
		return true
	})
	return taken
}

// A visitor serves requests during a pass.
type visitor struct {
	s       *states
	w       *pass
	changes uint64 // value of states.changes when next was found
	next    uint64 // next requested number; 0 if unknown
}

// visit serves the requests for numbers in [from, to]; state is the state as of each of them. It returns the next
// number whose state is requested, or 0 if there is none.
func (v *visitor) visit(state *feed.State, from, to uint64) (next uint64) {
	if v.next > to && v.s.changes.Load() == v.changes {
		return v.next
	}
	v.s.mu.Lock()
	v.w.from = max(v.w.from, from) // requests for earlier numbers are for another pass
	asked := v.s.takeRequestsLocked(v.w, to)
	v.s.mu.Unlock()
	for _, r := range asked {
		v.s.serve(r, state)
	}
	v.s.mu.Lock()
	defer v.s.mu.Unlock()
	v.w.from = max(v.w.from, to+1)
	v.next, v.changes = math.MaxUint64, v.s.changes.Load()
	for _, r := range v.s.requests {
		if v.w.covers(r.seq) {
			v.next = min(v.next, r.seq)
		}
	}
	if v.next == math.MaxUint64 {
		v.next, v.w.last = 0, 0 // later requests are for another pass
	}
	return v.next
}
