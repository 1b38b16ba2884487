package publisher

import (
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

// joinAt returns a join at or after seq: the last join, if it is not older than age, or a new one at the end of the
// log.
func (p *Publisher) joinAt(seq uint64, age time.Duration) *join {
	s := &p.serving
	s.joining.Lock()
	defer s.joining.Unlock()
	if j := s.join; j != nil && j.seq >= seq && time.Since(j.at) <= age {
		if _, ok := p.log.find(j.seq); ok {
			return j
		}
	}
	for {
		next, _ := p.log.head()
		if s.join != nil && s.join.seq == next {
			return s.join
		}
		if state, ok := p.log.stateAt(next); ok {
			s.join = &join{seq: next, state: state, at: time.Now()}
			s.snapshots.keep(next)
			return s.join
		}
	}
}
