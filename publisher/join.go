package publisher

import (
	"sync"
	"time"

	"tickfeed/feed"
)

// A join is a place in the log where clients start, with the state at that place. Clients that connect within a short
// time share a join, and with it one encoded snapshot.
type join struct {
	seq   uint64
	state *feed.State
	at    time.Time
}

// joinAge is the maximum age of a join that another client shares.
const joinAge = 100 * time.Millisecond

// joins holds the last join.
type joins struct {
	mu   sync.Mutex
	last *join
}

// joinAt returns a join at or after seq: the last join, if it is not older than age, or a new one at the end of the
// log.
func (p *Publisher) joinAt(seq uint64, age time.Duration) *join {
	s := &p.serving.joins
	s.mu.Lock()
	defer s.mu.Unlock()
	if j := s.last; j != nil && j.seq >= seq && time.Since(j.at) <= age {
		if _, ok := p.log.find(j.seq); ok {
			return j
		}
	}
	for {
		next, _ := p.log.head()
		if s.last != nil && s.last.seq == next {
			return s.last
		}
		if state, ok := p.log.stateAt(next); ok {
			s.last = &join{seq: next, state: state, at: time.Now()}
			p.serving.snapshots.keep(next)
			return s.last
		}
	}
}
