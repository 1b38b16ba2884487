package replay

import (
	"context"
	"io"
	"math"
	"sort"

	"tickfeed/feed"
)

// A keepsake is a kept state for seeking.
type keepsake struct {
	place any
	part  int
	seq   uint64 // number as of which state is
	due   int64  // recorded time of the tick before it
	state *feed.State
	shift int64 // shift of the times in state
}

// keepsakes are the states that a player keeps for seeking.
type keepsakes struct {
	all      []keepsake // in order
	interval uint64     // ticks between them
	since    uint64     // ticks since the last
}

// seek begins a session at t, which must be resolved.
func (p *Player) seek(ctx context.Context, t Target) error {
	first, state, err := p.locate(ctx, t)
	if err != nil {
		return err
	}
	at := p.head.due
	switch {
	case t.kind == toTime && (p.head.full || p.over):
		at = max(t.at, p.shown.status.First)
	case p.head.full && p.head.unit.kind == unitTicks && len(p.head.unit.ticks) > p.head.at:
		at = p.head.unit.dues[p.head.at]
	case p.head.full:
		at = p.head.unit.due
	}
	p.head.part-- // begin increments it again
	return p.begin(ctx, first, state, at)
}

// locate reads up to t, so that the next unit is the first to be played, and returns the number at t and the state as
// of that number.
func (p *Player) locate(ctx context.Context, t Target) (first uint64, state *feed.State, err error) {
	p.head.full, p.head.last, p.over, p.paused.steps, p.head.at = false, false, false, 0, 0
	p.head.unit.packets = nil
	first, state = 1, feed.NewState()
	if k := p.nearest(t); k != nil {
		first, p.head.part, p.head.due, p.kept.since = k.seq, k.part, k.due, 0
		state = restamp(k.state.Clone(), -k.shift)
		err = p.reel.goTo(k.place, state)
	} else {
		p.head.part, p.head.due, p.kept.since = -1, math.MinInt64, 0
		err = p.reel.rewind()
	}
	for err == nil {
		if ctx.Err() != nil {
			return 0, nil, context.Cause(ctx)
		}
		p.keepState(first, state, 0)
		u := &p.head.unit
		if err = p.reel.read(u, false); err != nil {
			break
		}
		switch u.kind {
		case unitLine:
			first, state = u.first, u.state
			p.head.part++
			continue
		case unitHole:
			if t.kind != toStart && !(t.kind == toSeq && u.end > t.seq) && !(t.kind == toTime && u.due >= t.at) {
				if u.state != nil {
					state = u.state
				}
				first, p.head.due = u.end, max(p.head.due, u.due)
				continue
			}
			p.head.full = true
			p.trim()
			return first, state, nil
		}
		i := sort.Search(len(u.ticks), func(i int) bool { return t.reached(u.ticks[i].Seq, u.dues[i]) })
		_, _ = state.ApplyKnown(u.ticks[:i]) // an error is a name that the recorded publisher gave to two instruments
		if i > 0 {
			p.head.due = u.dues[i-1]
		}
		p.kept.since += uint64(i)
		if i == len(u.ticks) && (t.kind == toTime || t.kind == toSeq && u.end <= t.seq) {
			first, p.head.due = u.end, max(p.head.due, u.due)
			continue
		}
		p.head.full, p.head.at = true, i
		switch {
		case t.kind == toSeq:
			first = max(first, t.seq)
		case i > 0:
			first = u.ticks[i-1].Seq + 1
		}
		p.trim()
		p.head.at = min(p.head.at, len(u.ticks))
		return first, state, nil
	}
	if err == io.EOF { // t is beyond the end: there is nothing to play
		p.head.last = true
		return first, state, nil
	}
	return 0, nil, err
}

// nearest returns the kept state from which to reach t, or nil to start at the beginning.
func (p *Player) nearest(t Target) *keepsake {
	var best *keepsake
	for i := range p.kept.all {
		k := &p.kept.all[i]
		if t.kind == toSeq && k.part == 0 && k.seq <= t.seq || t.kind == toTime && k.due < t.at {
			best = k
		}
	}
	return best
}

// keep keeps the current state while playing, if one is due.
func (p *Player) keep() {
	if p.kept.since < p.kept.interval {
		return
	}
	state, next := p.out.State()
	p.keepState(next, state, p.session.shift)
}

// keepState keeps state, which is as of number seq at the place of the reel, if one is due. If there are too many
// kept states, it drops every other one.
func (p *Player) keepState(seq uint64, state *feed.State, shift int64) {
	if p.kept.since < p.kept.interval {
		return
	}
	k := keepsake{place: p.reel.place(), part: p.head.part, seq: seq, due: p.head.due, shift: shift}
	if k.place == nil {
		return
	}
	p.kept.since = 0
	if n := len(p.kept.all); n > 0 && (p.kept.all[n-1].part > k.part || p.kept.all[n-1].part == k.part && p.kept.all[n-1].seq >= seq) {
		return // kept when it was first played
	}
	k.state = state.Clone()
	most := max(4, min(maxStates, keptSum/max(1, state.Len())))
	if len(p.kept.all) >= most {
		half := p.kept.all[:0]
		for i := 1; i < len(p.kept.all); i += 2 {
			half = append(half, p.kept.all[i])
		}
		clear(p.kept.all[len(half):])
		p.kept.all = half
		p.kept.interval *= 2
	}
	p.kept.all = append(p.kept.all, k)
}
