package edit

import (
	"tickfeed/codec"
	"tickfeed/codec/recording"
	"tickfeed/codec/recording/place"
	"tickfeed/feed"
)

// A locator turns places that are times into numbers.
type locator struct {
	line  place.Timeline
	batch []feed.Tick
}

func newLocator(r *recording.Reader, clock place.Clock) (*locator, error) {
	line, _, err := r.Timeline(clock)
	return &locator{line: line, batch: make([]feed.Tick, 256)}, err
}

// pass advances past packet h, the bytes raw. If a tick of the packet reaches one of places that is a time,
// pass replaces the place by the number of that tick.
func (l *locator) pass(h *codec.Packet, raw []byte, places ...*place.Place) {
	timed := false
	for _, p := range places {
		_, ok := p.Time()
		timed = timed || ok
	}
	if !timed { // none will be a time again
		return
	}
	if l.line.Clock == place.PublishClock {
		l.line.At = max(l.line.At, h.PublishTime)
		for _, p := range places {
			if at, ok := p.Time(); ok && l.line.At >= at {
				*p = place.Seq(h.First)
			}
		}
		return
	}
	l.line.PassPacket(h, raw, l.batch, func(t *feed.Tick, at int64) bool {
		for _, p := range places {
			if from, ok := p.Time(); ok && at >= from {
				*p = place.Seq(t.Seq)
			}
		}
		return true
	})
}
