package recording

import (
	"fmt"
	"io"

	"tickfeed/codec"
	"tickfeed/feed"
)

// A Clock selects the time of a tick that places in a recording, and the pace of a replay, use. The zero Clock
// is MarketClock.
type Clock uint8

// The clocks of a recording. Neither goes back.
const (
	// MarketClock is the greatest event time so far: a tick without an event time, or with an earlier one,
	// counts at the time of the ticks before it. A recording without event times uses PublishClock.
	MarketClock Clock = iota
	// PublishClock is the time when the publisher sent the tick's packet.
	PublishClock
)

// ParseClock returns the clock named text: market or publish.
func ParseClock(text string) (Clock, error) {
	switch text {
	case "market":
		return MarketClock, nil
	case "publish":
		return PublishClock, nil
	}
	return 0, fmt.Errorf("a clock is market or publish, got %q", text)
}

// String returns the name that ParseClock accepts.
func (c Clock) String() string {
	if c == PublishClock {
		return "publish"
	}
	return "market"
}

// A Timeline assigns a time to each tick of a recording in turn. It is at [NoTime] until the first time is
// known, so that earlier ticks are before every place.
type Timeline struct {
	Clock Clock // never MarketClock if the recording has no event times
	At    int64 // time of the ticks so far, in ns since the Unix epoch
}

// Pass advances the timeline to a tick with event time event, 0 if not known, in a packet published at
// published, and returns the tick's time.
func (l *Timeline) Pass(event, published int64) int64 {
	if l.Clock == PublishClock {
		event = published
	} else if event == 0 {
		return l.At
	}
	l.At = max(l.At, event)
	return l.At
}

// packet passes the ticks of packet h, the bytes raw, one after another and calls each with their times; batch
// is a buffer for decoding. If each returns false, packet stops and returns false.
func (l *Timeline) packet(h *codec.Packet, raw []byte, batch []feed.Tick, each func(t *feed.Tick, at int64) bool) bool {
	body := codec.PacketBody(h, raw[codec.PacketHeader:])
	for {
		n, err := body.Decode(batch)
		for i := range batch[:n] {
			if t := &batch[i]; !each(t, l.Pass(t.EventTime, h.PublishTime)) {
				return false
			}
		}
		if err != nil || n == 0 {
			return true
		}
	}
}

// timelineSearch bounds the bytes of a recording that are read to find its first event time.
const timelineSearch = 64 << 20

// Timeline returns the timeline of clock at the beginning of the recording, and the first time on it, which is
// NoTime if the recording has no ticks. It does not move the Reader.
func (r *Reader) Timeline(clock Clock) (Timeline, int64, error) {
	probe, err := NewReader(r.r, r.size)
	if err != nil {
		return Timeline{}, 0, err
	}
	defer probe.Release()
	line := Timeline{Clock: clock, At: NoTime}
	published := int64(NoTime)
	var batch [64]feed.Tick
	for probe.Offset() < timelineSearch {
		item, err := probe.Next()
		if err == io.EOF {
			break
		} else if err != nil {
			return Timeline{}, 0, err
		}
		for h, raw := range Packets(item.Data) {
			if !line.packet(&h, raw, batch[:], func(_ *feed.Tick, at int64) bool {
				if published == NoTime {
					published = h.PublishTime
				}
				return at == NoTime
			}) {
				return Timeline{Clock: clock, At: NoTime}, line.At, nil
			}
		}
	}
	return Timeline{Clock: PublishClock, At: NoTime}, published, nil
}

// Span returns the first and the last time of the recording on clock, both NoTime if there are no ticks. It
// reads the index and the last part of the file, or, if there is no index, the headers of all packets. It does
// not move the Reader.
func (r *Reader) Span(clock Clock) (first, last int64, err error) {
	line, first, err := r.Timeline(clock)
	if err != nil || first == NoTime {
		return NoTime, NoTime, err
	}
	probe, err := NewReader(r.r, r.size)
	if err != nil {
		return 0, 0, err
	}
	defer probe.Release()
	probe.marks = r.marks
	marks, err := probe.Marks()
	if err != nil {
		return 0, 0, err
	}
	line.At = first
	const most = 8 // marks to go back in search of a tick
	var batch [64]feed.Tick
	for i := len(marks) - 1; i >= max(0, len(marks)-most) && line.At == first; i-- {
		if ok, err := probe.enterMark(marks[i]); err != nil || !ok {
			return first, first, err
		}
		for {
			item, err := probe.Next()
			if err == io.EOF {
				break
			} else if err != nil {
				return 0, 0, err
			}
			for h, raw := range Packets(item.Data) {
				line.packet(&h, raw, batch[:], func(*feed.Tick, int64) bool { return true })
			}
		}
	}
	return first, line.At, nil
}

// Resolve calls ResolvePlaces for the recording on clock.
func (r *Reader) Resolve(from, to Place, clock Clock) (Place, Place, error) {
	first, last := int64(0), int64(0)
	if from.Relative() || to.Relative() {
		var err error
		if first, last, err = r.Span(clock); err != nil {
			return from, to, err
		}
	}
	from, to = ResolvePlaces(from, to, first, last)
	return from, to, nil
}

// A locator turns places that are times into numbers.
type locator struct {
	line  Timeline
	batch []feed.Tick
}

func newLocator(r *Reader, clock Clock) (*locator, error) {
	line, _, err := r.Timeline(clock)
	return &locator{line: line, batch: make([]feed.Tick, 256)}, err
}

// pass advances past packet h, the bytes raw. If a tick of the packet reaches one of places that is a time,
// pass replaces the place by the number of that tick.
func (l *locator) pass(h *codec.Packet, raw []byte, places ...*Place) {
	timed := false
	for _, p := range places {
		timed = timed || p.kind == placeTime
	}
	if !timed { // none will be a time again
		return
	}
	if l.line.Clock == PublishClock {
		l.line.At = max(l.line.At, h.PublishTime)
		for _, p := range places {
			if p.kind == placeTime && l.line.At >= p.at {
				*p = Place{kind: placeSeq, seq: h.First}
			}
		}
		return
	}
	l.line.packet(h, raw, l.batch, func(t *feed.Tick, at int64) bool {
		for _, p := range places {
			if p.kind == placeTime && at >= p.at {
				*p = Place{kind: placeSeq, seq: t.Seq}
			}
		}
		return true
	})
}
