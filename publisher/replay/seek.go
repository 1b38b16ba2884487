package replay

import (
	"context"
	"io"
	"math"
	"sort"

	"tickfeed/feed"
)

// seek begins a session at t, which must be resolved.
func (p *Player) seek(ctx context.Context, t Target) error {
	first, state, err := p.locate(ctx, t)
	if err != nil {
		return err
	}
	at := p.due
	switch {
	case t.kind == toTime && (p.full || p.over):
		at = max(t.at, p.status.First)
	case p.full && p.u.kind == unitTicks && len(p.u.ticks) > p.at:
		at = p.u.dues[p.at]
	case p.full:
		at = p.u.due
	}
	p.part-- // begin increments it again
	return p.begin(ctx, first, state, at)
}

// locate reads up to t, so that the next unit is the first to be played, and returns the number at t and the state as
// of that number.
func (p *Player) locate(ctx context.Context, t Target) (first uint64, state *feed.State, err error) {
	p.full, p.last, p.over, p.steps, p.at = false, false, false, 0, 0
	p.u.packets = nil
	first, state = 1, feed.NewState()
	if k := p.nearest(t); k != nil {
		first, p.part, p.due, p.since = k.seq, k.part, k.due, 0
		state = restamp(k.state.Clone(), -k.shift)
		err = p.reel.goTo(k.place, state)
	} else {
		p.part, p.due, p.since = -1, math.MinInt64, 0
		err = p.reel.rewind()
	}
	for err == nil {
		if ctx.Err() != nil {
			return 0, nil, context.Cause(ctx)
		}
		p.keepState(first, state, 0)
		u := &p.u
		if err = p.reel.read(u, false); err != nil {
			break
		}
		switch u.kind {
		case unitLine:
			first, state = u.first, u.state
			p.part++
			continue
		case unitHole:
			if t.kind != toStart && !(t.kind == toSeq && u.end > t.seq) && !(t.kind == toTime && u.due >= t.at) {
				if u.state != nil {
					state = u.state
				}
				first, p.due = u.end, max(p.due, u.due)
				continue
			}
			p.full = true
			p.trim()
			return first, state, nil
		}
		i := sort.Search(len(u.ticks), func(i int) bool { return t.reached(u.ticks[i].Seq, u.dues[i]) })
		_, _ = state.ApplyKnown(u.ticks[:i]) // an error is a name that the recorded publisher gave to two instruments
		if i > 0 {
			p.due = u.dues[i-1]
		}
		p.since += uint64(i)
		if i == len(u.ticks) && (t.kind == toTime || t.kind == toSeq && u.end <= t.seq) {
			first, p.due = u.end, max(p.due, u.due)
			continue
		}
		p.full, p.at = true, i
		switch {
		case t.kind == toSeq:
			first = max(first, t.seq)
		case i > 0:
			first = u.ticks[i-1].Seq + 1
		}
		p.trim()
		p.at = min(p.at, len(u.ticks))
		return first, state, nil
	}
	if err == io.EOF { // t is beyond the end: there is nothing to play
		p.last = true
		return first, state, nil
	}
	return 0, nil, err
}

// nearest returns the kept state from which to reach t, or nil to start at the beginning.
func (p *Player) nearest(t Target) *keepsake {
	var best *keepsake
	for i := range p.kept {
		k := &p.kept[i]
		if t.kind == toSeq && k.part == 0 && k.seq <= t.seq || t.kind == toTime && k.due < t.at {
			best = k
		}
	}
	return best
}

// keep keeps the current state while playing, if one is due.
func (p *Player) keep() {
	if p.since < p.interval {
		return
	}
	state, next := p.out.State()
	p.keepState(next, state, p.shift)
}

// keepState keeps state, which is as of number seq at the place of the reel, if one is due. If there are too many
// kept states, it drops every other one.
func (p *Player) keepState(seq uint64, state *feed.State, shift int64) {
	if p.since < p.interval {
		return
	}
	k := keepsake{place: p.reel.place(), part: p.part, seq: seq, due: p.due, shift: shift}
	if k.place == nil {
		return
	}
	p.since = 0
	if n := len(p.kept); n > 0 && (p.kept[n-1].part > k.part || p.kept[n-1].part == k.part && p.kept[n-1].seq >= seq) {
		return // kept when it was first played
	}
	k.state = state.Clone()
	most := max(4, min(maxStates, keptSum/max(1, state.Len())))
	if len(p.kept) >= most {
		half := p.kept[:0]
		for i := 1; i < len(p.kept); i += 2 {
			half = append(half, p.kept[i])
		}
		clear(p.kept[len(half):])
		p.kept = half
		p.interval *= 2
	}
	p.kept = append(p.kept, k)
}
