package survey

import (
	"cmp"
	"context"
	"io"
	"math"
	"slices"
	"sync/atomic"
	"time"

	"tickfeed/codec"
	"tickfeed/codec/recording"
	"tickfeed/codec/recording/place"
	"tickfeed/feed"
)

// A Survey describes the contents of a recording. Times are nanoseconds since the Unix epoch.
type Survey struct {
	Size   int64 // bytes, decompressed
	Closed bool  // closed in order: with an index and a trailer that agree with the rest

	Lines     []Line // sessions and lines of sessions, in order; at most MaxLines
	MoreLines int    // number of lines beyond MaxLines
	Snapshots int
	Packets   uint64
	Bytes     int64 // of the packets

	Ticks   uint64
	Kinds   [feed.MaxKind + 1]uint64 // ticks by kind
	Fixed   uint64                   // quotes and trades in a fixed-width pattern
	Unknown uint64                   // ticks of kinds that this version does not know

	// Numbers without a tick, by reason.
	NotAsked, Withheld, Expired, Damaged uint64 // as stated by the packets
	Missing                              uint64 // lost by the damages below
	Disowned                             uint64 // recorded, then disowned by a session that begins before them

	Damages     []Damage // at most MaxDamages
	MoreDamages int      // number of damages beyond MaxDamages
	Malformed   uint64   // packets with a valid checksum but malformed contents

	Instruments []Count // most ticks first; ticks without a definition have no name
	// Rate is the ticks by their times on Clock, from First to Last, and Peak the greatest number of ticks in
	// one second.
	Rate        Rate
	Peak        uint64
	Clock       place.Clock // as requested, or PublishClock if no tick has an event time
	First, Last int64       // both NoTime if there are no ticks

	// FirstTime and LastTime are the publish times of the first and the last packet, if Packets is not 0.
	FirstTime, LastTime int64
	// FirstEvent and LastEvent are the least and greatest event time; both 0 if no tick has one.
	FirstEvent, LastEvent int64
}

// Bounds of what a Survey lists.
const (
	MaxLines   = 64
	MaxDamages = 100
)

// A Line is the part of a recording under one header.
type Line struct {
	Header *codec.FileHeader
	Range  feed.Range // from the header's Next to the next number at its end
	Ticks  uint64
}

// A Damage is a range of unusable bytes, and the numbers missing because of it.
type Damage struct {
	Offset, Size int64
	Missing      feed.Range
	Torn         bool // nothing valid follows
}

// A Count is the number of ticks of an instrument.
type Count struct {
	Symbol, Venue string
	Ticks         uint64
}

// A Rate is ticks over time, in at most 4096 intervals of one width, which begin at Start, Start+Width, …
type Rate struct {
	Start int64
	Width time.Duration
	Ticks []uint64
}

const maxRate = 4096

// add counts n ticks at time at.
func (r *Rate) add(at int64, n uint64) {
	if r.Width == 0 {
		r.Start, r.Width = at, time.Millisecond
	}
	past := at - r.Start
	for past/int64(r.Width) >= maxRate {
		r.Width *= 2
		for i := range (len(r.Ticks) + 1) / 2 {
			sum := r.Ticks[2*i]
			if 2*i+1 < len(r.Ticks) {
				sum += r.Ticks[2*i+1]
			}
			r.Ticks[i] = sum
		}
		r.Ticks = r.Ticks[:(len(r.Ticks)+1)/2]
	}
	i := int(past / int64(r.Width))
	for len(r.Ticks) <= i {
		r.Ticks = append(r.Ticks, 0)
	}
	r.Ticks[i] += n
}

// Over returns the rate in n intervals of equal width, in ticks.
func (r *Rate) Over(n int) []float64 {
	out := make([]float64, n)
	for i, ticks := range r.Ticks {
		// The ticks of the interval are spread over the new intervals that it touches.
		from, to := float64(i)*float64(n)/float64(len(r.Ticks)), float64(i+1)*float64(n)/float64(len(r.Ticks))
		for k := int(from); k < n && float64(k) < to; k++ {
			share := min(to, float64(k+1)) - max(from, float64(k))
			out[k] += float64(ticks) * share / (to - from)
		}
	}
	return out
}

// Sound reports whether the recording has no damage and nothing malformed. A recording that was not closed can
// be sound.
func (s *Survey) Sound() bool { return len(s.Damages) == 0 && s.Malformed == 0 }

// A name identifies an instrument.
type name struct{ symbol, venue string }

// A surveyor takes a Survey.
type surveyor struct {
	*Survey
	r      *recording.Reader
	batch  [256]feed.Tick
	byID   feed.Table[*uint64] // of the lineage at hand; nil where there is no definition
	byName map[name]*uint64
	nobody uint64            // ticks of ids without a definition
	root   feed.SessionID    // of the lineage at hand
	line   *Line             // nil beyond MaxLines
	next   uint64            // number that comes next
	last   *codec.FileHeader // the header in force
	times  place.Timeline    // of the ticks so far
	second int64             // of the timeline
	ticks  uint64            // in second
}

// Take reads r, which must be at its beginning, to its end. It verifies every checksum and decodes every
// tick. Rates use the times on clock. Read, if not nil, is set to the number of bytes read so far. The error
// comes from ctx or from reading.
func Take(ctx context.Context, r *recording.Reader, clock place.Clock, read *atomic.Int64) (*Survey, error) {
	s := &surveyor{Survey: &Survey{Size: r.Size(), FirstEvent: math.MaxInt64, LastEvent: math.MinInt64}, r: r, byName: make(map[name]*uint64)}
	var err error
	if s.times, s.First, err = r.Timeline(clock); err != nil {
		return nil, err
	}
	s.times.At = s.First // no tick is before First
	s.Clock = s.times.Clock
	for {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		item, err := r.Next()
		if read != nil {
			read.Store(r.Offset())
		}
		if err == io.EOF {
			break
		} else if err != nil {
			return nil, err
		}
		if err := s.item(&item); err != nil {
			return nil, err
		}
	}
	s.Last = s.times.At
	s.finish()
	return s.Survey, nil
}

func (s *surveyor) item(item *recording.Item) error {
	switch item.Kind {
	case recording.KindHeader:
		s.header(item.Header)
	case recording.KindSnapshot:
		s.Snapshots++
		return s.r.SnapshotTicks(*item, func(ticks []feed.Tick) {
			for i := range ticks {
				if d := ticks[i].Definition(); d != nil {
					s.define(ticks[i].Instrument, d)
				}
			}
		})
	case recording.KindPackets:
		for h, raw := range recording.Packets(item.Data) {
			s.packet(&h, raw)
		}
	case recording.KindDamage, recording.KindTorn:
		s.Missing += item.Range.Len()
		s.advance(item.Range.To)
		if len(s.Damages) == MaxDamages {
			s.MoreDamages++
			return nil
		}
		s.Damages = append(s.Damages, Damage{item.Offset, item.Size, item.Range, item.Kind == recording.KindTorn})
	}
	return nil
}

// advance records that the current line extends to next.
func (s *surveyor) advance(next uint64) {
	s.next = max(s.next, next)
	if s.line != nil {
		s.line.Range.To = max(s.line.Range.To, next)
	}
}

func (s *surveyor) header(h *codec.FileHeader) {
	if s.last != nil {
		if _, ok := h.Lineage.Fork(s.last.Lineage, s.next); ok && h.Next < s.next {
			s.Disowned += s.next - h.Next
		}
	}
	s.last, s.next = h, h.Next
	if root := h.Lineage[0].ID; root != s.root {
		s.root, s.byID = root, feed.Table[*uint64]{}
	}
	s.line = nil
	if len(s.Lines) == MaxLines {
		s.MoreLines++
		return
	}
	s.Lines = append(s.Lines, Line{Header: h, Range: feed.Range{From: h.Next, To: h.Next}})
	s.line = &s.Lines[len(s.Lines)-1]
}

func (s *surveyor) define(id feed.InstrumentID, d *feed.Definition) {
	key := name{d.Symbol, d.Venue}
	n := s.byName[key]
	if n == nil {
		n = new(uint64)
		s.byName[key] = n
	}
	*s.byID.At(id) = n
}

func (s *surveyor) packet(h *codec.Packet, raw []byte) {
	if s.Packets == 0 {
		s.FirstTime = h.PublishTime
	}
	s.Packets++
	s.LastTime = h.PublishTime
	s.Bytes += int64(len(raw))
	s.advance(h.First + h.Count)
	data := raw[codec.PacketHeader:]
	s.Fixed += fixed(data)
	body := codec.PacketBody(h, data)
	ticks := uint64(0)
	for {
		n, err := body.Decode(s.batch[:])
		for i := range s.batch[:n] {
			s.tick(&s.batch[i])
			s.pass(s.times.Pass(s.batch[i].EventTime, h.PublishTime))
		}
		ticks += uint64(n)
		if err != nil {
			s.Malformed++
			s.Missing += h.First + h.Count - body.Seq()
		}
		if err != nil || n == 0 {
			break
		}
	}
	s.Unknown += body.Unknown()
	s.NotAsked += body.NotAsked()
	s.Withheld += body.Withheld()
	switch n, reason := body.Gone(); reason {
	case codec.GoneDamaged:
		s.Damaged += n
	default:
		s.Expired += n
	}
	s.Ticks += ticks
	if s.line != nil {
		s.line.Ticks += ticks
	}
}

// pass counts a tick at time at.
func (s *surveyor) pass(at int64) {
	s.Rate.add(at, 1)
	if second := at / int64(time.Second); second != s.second {
		s.second, s.ticks = second, 0
	}
	s.ticks++
	s.Peak = max(s.Peak, s.ticks)
}

func (s *surveyor) tick(t *feed.Tick) {
	s.Kinds[t.Kind]++
	if d := t.Definition(); d != nil {
		s.define(t.Instrument, d)
	}
	if n := s.byID.Lookup(t.Instrument); n != nil && *n != nil {
		**n++
	} else {
		s.nobody++
	}
	if t.EventTime != 0 {
		s.FirstEvent = min(s.FirstEvent, t.EventTime)
		s.LastEvent = max(s.LastEvent, t.EventTime)
	}
}

// fixed returns how many entries of a body have a fixed-width pattern.
func fixed(body []byte) (n uint64) {
	var (
		ids   [64]feed.InstrumentID
		sizes [64]uint8
	)
	for len(body) > 0 {
		k := codec.ScanFixed(body, ids[:], sizes[:])
		n += uint64(k)
		for _, size := range sizes[:k] {
			body = body[size:]
		}
		if k == len(ids) || len(body) == 0 {
			continue
		}
		e, err := codec.EntryAt(body)
		if err != nil || e.Size == 0 {
			break
		}
		body = body[e.Size:]
	}
	return n
}

func (s *surveyor) finish() {
	s.Closed = s.r.Closed() && s.trailed()
	if s.FirstEvent > s.LastEvent {
		s.FirstEvent, s.LastEvent = 0, 0
	}
	for n, ticks := range s.byName {
		s.Instruments = append(s.Instruments, Count{n.symbol, n.venue, *ticks})
	}
	if s.nobody > 0 {
		s.Instruments = append(s.Instruments, Count{Ticks: s.nobody})
	}
	slices.SortFunc(s.Instruments, func(a, b Count) int {
		return cmp.Or(cmp.Compare(b.Ticks, a.Ticks), cmp.Compare(a.Symbol, b.Symbol), cmp.Compare(a.Venue, b.Venue))
	})
}

// trailed reports whether the end of the file is undamaged.
func (s *Survey) trailed() bool {
	if len(s.Damages) == 0 {
		return true
	}
	last := s.Damages[len(s.Damages)-1]
	return s.MoreDamages > 0 || last.Offset+last.Size < s.Size
}
