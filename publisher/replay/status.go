package replay

import (
	"sync"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// A State says what a player is doing.
type State string

// The states of a player.
const (
	Waiting State = "waiting" // for the time to start
	Playing State = "playing"
	Paused  State = "paused"
	Seeking State = "seeking"
	Ended   State = "ended" // everything was played; a seek resumes
)

// A Status describes the progress of a replay. Times are in ns since the Unix epoch.
type Status struct {
	State    State         `json:"state"`
	Speed    Speed         `json:"speed"`
	Recorded int64         `json:"recorded_time"` // current place in the recording
	Wall     int64         `json:"replay_time"`   // now
	Behind   time.Duration `json:"behind_ns"`     // how late the next tick is
	Seq      uint64        `json:"seq"`           // next number
	Ticks    uint64        `json:"ticks"`         // ticks played so far, in all sessions
	Sessions int           `json:"sessions"`      // sessions so far: one, and one more for each seek and loop
	First    int64         `json:"recording_start"`
	Last     int64         `json:"recording_end"` // 0 until it is known: a recording without an index must be read to its end to find it
	// LateP50 and LateP99 are how late the player published ticks that it had to wait for.
	LateP50 time.Duration `json:"late_p50_ns"`
	LateP99 time.Duration `json:"late_p99_ns"`
	Damaged uint64        `json:"damaged"` // numbers lost to damage in the recordings, as far as they were read
}

// shown is what a player shows of itself to other goroutines.
type shown struct {
	mu     sync.Mutex
	status Status
	anchor clock // clock of status, which extrapolates the recorded time between two updates
	next   int64 // bound of the recorded time in status
	late   *hdrhistogram.Histogram
}

// note updates the fields behind Status.
func (p *Player) note() {
	p.shown.mu.Lock()
	defer p.shown.mu.Unlock()
	s := &p.shown.status
	switch {
	case p.over:
		s.State = Ended
	case p.paused.on:
		s.State = Paused
	case p.clock.wall.After(time.Now()):
		s.State = Waiting
	default:
		s.State = Playing
	}
	s.Speed = Speed(p.clock.speed)
	s.Damaged = p.tally.damaged.Load()
	s.Seq = p.session.next
	p.shown.anchor = p.clock
	s.Recorded = p.head.due
	p.shown.next = p.head.due
	if p.head.full && p.head.unit.kind == unitTicks && p.head.at < len(p.head.unit.ticks) {
		p.shown.next = p.head.unit.dues[p.head.at]
	} else if p.head.full {
		p.shown.next = p.head.unit.due
	}
	if p.paused.steps == 0 || p.over || !p.paused.on {
		for _, c := range p.paused.stepped {
			close(c)
		}
		p.paused.stepped = nil
	}
}

// count counts played ticks.
func (p *Player) count(n uint64) {
	p.session.played += n
	p.kept.since += n
	p.shown.mu.Lock()
	p.shown.status.Ticks += n
	p.shown.mu.Unlock()
}

// Status returns the progress of the replay.
func (p *Player) Status() Status {
	now := time.Now()
	p.shown.mu.Lock()
	defer p.shown.mu.Unlock()
	s := p.shown.status
	s.Wall = now.UnixNano()
	s.LateP50, s.LateP99 = time.Duration(p.shown.late.ValueAtQuantile(50)), time.Duration(p.shown.late.ValueAtQuantile(99))
	if s.State == Playing && p.shown.anchor.speed != Max {
		s.Recorded = max(s.Recorded, min(p.shown.anchor.now(now), p.shown.next))
		s.Behind = max(0, now.Sub(p.shown.anchor.due(p.shown.next)))
	}
	return s
}
