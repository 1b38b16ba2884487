package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"tickfeed/codec"
	"tickfeed/feed"
	"tickfeed/publisher"
)

// A tickSet is ticks held in memory, so that making them takes no time during a measurement. It can be
// published repeatedly: each time around, the event times continue.
type tickSet struct {
	ticks  []feed.Tick       // without definitions
	source []feed.Definition // by the source's ids
	ids    []feed.InstrumentID
	span   int64 // added to the event times each time around, in ns

	at    int
	again bool // at has returned to 0
}

// seam is the event time between the last tick of the set and the first one.
const seam = int64(time.Millisecond)

// loadTicks takes up to size ticks from src after skipping skip others. A source with fewer ticks is published
// more often.
func loadTicks(ctx context.Context, src feed.Source, skip, size int) (*tickSet, error) {
	s := &tickSet{ticks: make([]feed.Tick, 0, size)}
	batch := make([]feed.Tick, 256)
	for len(s.ticks) < size {
		n, err := src.Next(ctx, batch)
		for _, t := range batch[:n] {
			switch {
			case t.Kind != feed.KindDefinition && skip > 0:
				skip--
			case t.Kind != feed.KindDefinition && len(s.ticks) < size:
				s.ticks = append(s.ticks, t)
			case t.Kind == feed.KindDefinition && int(t.Instrument) == len(s.source):
				s.source = append(s.source, *t.Definition())
			}
		}
		if errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return nil, err
		}
	}
	if len(s.ticks) == 0 {
		return nil, errors.New("there is no tick in it")
	}
	first, last := s.ticks[0].EventTime, s.ticks[0].EventTime
	for i := range s.ticks {
		first, last = min(first, s.ticks[i].EventTime), max(last, s.ticks[i].EventTime)
	}
	s.span = last - first + seam
	return s, nil
}

// define defines the set's instruments at pub, and gives the ticks pub's ids.
func (s *tickSet) define(ctx context.Context, pub *publisher.Publisher) error {
	ids := make([]feed.InstrumentID, len(s.source))
	for i, d := range s.source {
		id, err := pub.Define(ctx, d)
		if err != nil {
			return err
		}
		ids[i] = id
	}
	back := make(map[feed.InstrumentID]feed.InstrumentID, len(ids)) // to the source's ids
	for i, id := range s.ids {
		back[id] = feed.InstrumentID(i)
	}
	for i := range s.ticks {
		t := &s.ticks[i]
		id := t.Instrument
		if s.ids != nil {
			id = back[id]
		}
		if int(id) >= len(ids) {
			return fmt.Errorf("a tick of instrument %d, which is not defined", id)
		}
		t.Instrument = ids[id]
	}
	s.ids = ids
	return nil
}

// next returns the next n ticks, or fewer at the end of the set, after which it starts over with later event
// times. They are valid until the next call. next copies nothing, because that would count as publishing.
func (s *tickSet) next(n int) []feed.Tick {
	if s.at == len(s.ticks) {
		s.at, s.again = 0, true
	}
	batch := s.ticks[s.at:min(s.at+n, len(s.ticks))]
	s.at += len(batch)
	if s.again {
		for i := range batch {
			batch[i].EventTime += s.span
		}
	}
	return batch
}

// A setInfo describes a tickSet.
type setInfo struct {
	Ticks       int      `json:"ticks"`
	Symbols     []string `json:"symbols"`        // SYMBOL@VENUE, by instrument
	Size        float64  `json:"bytes_per_tick"` // on the wire, in full packets
	Fixed       float64  `json:"fixed_width"`    // share of the quotes and trades in a fixed-width pattern
	PerSecond   float64  `json:"per_second"`     // of event time
	Instruments int      `json:"instruments"`
}

// packetBody is the approximate length of the body of a full packet, in bytes.
const packetBody = 16 << 10

// info encodes the set once and describes it.
func (s *tickSet) info() setInfo {
	var patterned, priced, size, body int
	base := s.ticks[0].EventTime
	buf := make([]byte, 0, codec.MaxEntry)
	size = codec.PacketHeader
	for i := range s.ticks {
		t := &s.ticks[i]
		if body > packetBody {
			base, body = t.EventTime, 0
			size += codec.PacketHeader
		}
		buf = codec.AppendTick(buf[:0], t, base)
		body += len(buf)
		size += len(buf)
		if t.Kind == feed.KindQuote || t.Kind == feed.KindTrade {
			priced++
			if fixedWidth(t.Kind, buf) {
				patterned++
			}
		}
	}
	in := setInfo{Ticks: len(s.ticks), Size: float64(size) / float64(len(s.ticks)), Instruments: len(s.source)}
	if priced > 0 {
		in.Fixed = float64(patterned) / float64(priced)
	}
	if s.span > seam {
		in.PerSecond = float64(len(s.ticks)) / time.Duration(s.span).Seconds()
	}
	for _, d := range s.source {
		in.Symbols = append(in.Symbols, d.Symbol+"@"+d.Venue)
	}
	return in
}

// fixedWidth reports whether an entry has a pattern of constant length (PROTOCOL.md, "Fixed-width patterns").
// The patterns write the instrument with 16 or 32 bits and the time with 32 or 64, whatever their values.
func fixedWidth(k feed.Kind, p []byte) bool {
	narrow, wide := 26, 52
	if k == feed.KindTrade {
		narrow, wide = 31, 53
	}
	return len(p) == narrow && p[2] == 0xcd && p[5] == 0xd2 || len(p) == wide && p[2] == 0xce && p[7] == 0xd3
}
