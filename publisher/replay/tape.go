package replay

import (
	"fmt"
	"io"
	"iter"
	"math"
	"slices"
	"sync/atomic"

	"github.com/rs/zerolog"

	"tickfeed/codec"
	"tickfeed/codec/recording"
	"tickfeed/codec/recording/place"
	"tickfeed/feed"
)

// A Recording is an open recording. The caller remains responsible for closing it.
type Recording struct {
	Name string // for messages
	R    io.ReaderAt
	Size int64 // in bytes
}

// A unit is what a player plays next: ticks, packets, a hole or the beginning of a line.
type unit struct {
	kind  unitKind
	first uint64      // number of its beginning
	end   uint64      // number after it
	ticks []feed.Tick // each with its Seq; numbers between them were not asked for
	dues  []int64     // when each tick is due, in recorded time, or when each packet ends; never decreasing
	due   int64       // when the end of the unit is due
	why   recording.SkipKind
	state *feed.State // for a line: as of first; for a hole: as of end, nil if the recording has no snapshot there

	// Unchanged packets, valid until the tape reads again, and the place before the first of them.
	packets []byte
	before  tapePlace
	offset  int64 // offset of packets in the file

	// Fields for an ahead.
	err   error
	after any // place of the reel after the unit
}

type unitKind uint8

const (
	unitTicks unitKind = iota
	unitHole           // numbers that were withheld, or are gone
	unitLine           // the beginning of another line, which does not continue the previous one
	unitPackets
)

// unitSize is the approximate number of ticks in a unit, and unitBytes the approximate size of its packets.
const (
	unitSize  = 2048
	unitBytes = 64 << 10
)

// wholeSize is the minimum size in bytes of packets that are passed on unchanged. Smaller packets gain nothing (see
// BenchmarkServe/imported), and all their headers would be sent.
const wholeSize = 1 << 10

func (u *unit) reset() {
	u.kind, u.first, u.end, u.state = unitTicks, 0, 0, nil
	u.ticks, u.dues, u.packets = u.ticks[:0], u.dues[:0], nil
}

// A tapePlace is a place at which a tape can continue.
type tapePlace struct {
	part int    // how many lines began before
	next uint64 // next number of the last of these lines
	due  int64  // recorded time of the last tick before the place
}

// A tape reads one recording as units. Only one goroutine may use it at a time.
type tape struct {
	rec    Recording
	filter codec.Filter
	log    zerolog.Logger
	tally  *tally
	clock  place.Clock
	first  int64 // first time of the recording on clock: no tick is due earlier

	r      *recording.Reader // nil if the tape decodes the packets of a unit: see enter
	marks  []codec.Mark      // the index, once it was read
	line   *codec.FileHeader // the header in force; nil before the first
	at     tapePlace
	from   uint64   // ticks below it are left out
	seen   int64    // damage before this offset in the file was logged
	wanted []uint64 // bit set of instrument ids; unused without a filter

	item  recording.Item // valid if have
	have  bool
	rest  []byte            // packets that were not returned yet
	batch []feed.Tick       // scratch space to find times
	hole  unit              // returned before anything else if its end is not 0
	next  *codec.FileHeader // header of a line that begins, returned after the hole
	with  *feed.State       // its state
}

// A tally counts the damage in recordings.
type tally struct {
	damaged atomic.Uint64 // numbers lost
	unknown atomic.Uint64 // ticks of kinds that this version does not know
}

func openTape(rec Recording, filter codec.Filter, clock place.Clock, tl *tally, log zerolog.Logger) (*tape, error) {
	t := &tape{rec: rec, filter: filter, tally: tl, log: log}
	if err := t.rewind(); err != nil {
		return nil, err
	}
	line, first, err := t.r.Timeline(clock)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", rec.Name, err)
	}
	t.clock, t.first = line.Clock, first
	return t, nil
}

// rewind goes to the beginning of the recording, where a line begins.
func (t *tape) rewind() error {
	r, err := recording.NewReader(t.rec.R, t.rec.Size)
	if err != nil {
		return fmt.Errorf("%s: %w", t.rec.Name, err)
	}
	r.SetMarks(t.marks)
	t.r = r
	t.line, t.at, t.wanted = nil, tapePlace{part: -1, due: math.MinInt64}, nil
	t.forget()
	return nil
}

// here returns the place at which the tape can continue. It returns false if no place describes where it is.
func (t *tape) here() (tapePlace, bool) {
	p := t.at
	if t.hole.end != 0 {
		p.next = t.hole.first
	}
	return p, t.next == nil
}

func (t *tape) forget() {
	t.from, t.have, t.rest, t.hole.end, t.next, t.with = 0, false, nil, 0, nil, nil
}

// goTo goes to p. definitions are the definitions in force there.
func (t *tape) goTo(p tapePlace, definitions iter.Seq2[feed.InstrumentID, *feed.Definition]) error {
	if p.part > 0 { // a number does not identify a place in the file, since each line has its own
		if err := t.rewind(); err != nil {
			return err
		}
		var u unit
		for t.at.part < p.part {
			if err := t.read(&u, false); err != nil {
				return err
			}
		}
	} else {
		t.forget()
		marks, err := t.r.Marks()
		if err == nil {
			t.marks = marks
			err = t.r.SeekSeq(p.next)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", t.rec.Name, err)
		}
		t.line = t.r.Header()
	}
	t.at, t.from = p, p.next
	if !t.filter.All() {
		t.wanted = t.wanted[:0]
		for id, d := range definitions {
			t.learn(id, d)
		}
	}
	return nil
}

// enter goes to the packets of u.
func (t *tape) enter(u *unit) {
	t.forget()
	t.rest = u.packets
	t.item = recording.Item{Kind: recording.KindPackets, Offset: u.offset, Data: t.rest}
	t.at = u.before
}

// read fills u with the next unit. It returns unchanged packets if raw is set and possible. It returns io.EOF at the
// end, or the error of the file.
func (t *tape) read(u *unit, raw bool) error {
	u.reset()
	for {
		if len(t.rest) > 0 {
			if raw && t.whole(u) || t.fill(u) {
				return nil
			}
			if t.hole.end != 0 && len(t.rest) > 0 { // no state follows
				t.begin(u)
				return nil
			}
			continue
		}
		if !t.have {
			item, err := t.nextItem()
			if err == io.EOF {
				if t.begin(u) {
					return nil
				}
				return io.EOF
			} else if err != nil {
				return fmt.Errorf("%s: %w", t.rec.Name, err)
			}
			t.item, t.have = item, true
		}
		joins := t.item.Kind == recording.KindSnapshot || t.item.Kind == recording.KindHeader && t.joins(t.item.Header)
		if !joins && t.begin(u) {
			return nil
		}
		t.have = false
		if err := t.take(&t.item); err != nil {
			return fmt.Errorf("%s: %w", t.rec.Name, err)
		}
	}
}

func (t *tape) nextItem() (recording.Item, error) {
	if t.r == nil {
		return recording.Item{}, io.EOF
	}
	return t.r.Next()
}

// begin makes u the pending hole or line. It returns false if there is none.
func (t *tape) begin(u *unit) bool {
	switch {
	case t.hole.end != 0:
		u.kind, u.first, u.end, u.due, u.why, u.state = unitHole, t.hole.first, t.hole.end, t.hole.due, t.hole.why, t.hole.state
		t.hole.end, t.hole.state = 0, nil
	case t.next != nil:
		t.line = t.next
		t.at.part++
		t.at.next = t.next.Next
		u.kind, u.first, u.end, u.due, u.state = unitLine, t.next.Next, t.next.Next, t.at.due, t.with
		if u.state == nil {
			u.state = feed.NewState()
		}
		t.next, t.with = nil, nil
	default:
		return false
	}
	return true
}

// joins reports whether h continues the line in force.
func (t *tape) joins(h *codec.FileHeader) bool {
	if t.line == nil || t.next != nil || h.Next != t.at.next || !slices.Equal(h.Filter, t.line.Filter) {
		return false
	}
	_, ok := h.Lineage.Until(t.line.Lineage.Current().ID)
	return ok
}

// take processes an item of the recording.
func (t *tape) take(item *recording.Item) error {
	switch item.Kind {
	case recording.KindHeader:
		if t.joins(item.Header) {
			t.line = item.Header
			return nil
		}
		t.next, t.wanted = item.Header, t.wanted[:0]
	case recording.KindSnapshot:
		ofHole := t.hole.end != 0 && t.next == nil && item.Range.From == t.hole.end
		if t.next == nil && !ofHole {
			return nil // the ticks produce the same state
		}
		if !item.Whole {
			t.damage(item, "the snapshot is not whole")
		}
		state := feed.NewState()
		err := t.r.SnapshotTicks(*item, func(ticks []feed.Tick) {
			// An error is a name that the recorded publisher gave to two instruments: the state keeps the first.
			_, _ = state.ApplyKnown(slices.DeleteFunc(ticks, func(x feed.Tick) bool { return !t.wants(&x) }))
		})
		if ofHole {
			t.hole.state = state
		} else {
			t.with = state
		}
		return err
	case recording.KindPackets:
		t.rest = item.Data
	case recording.KindDamage, recording.KindTorn:
		problem := "damaged"
		if item.Kind == recording.KindTorn {
			problem = "an incomplete write at its end is left out"
		}
		if t.damage(item, problem) {
			t.tally.damaged.Add(item.Range.Len())
		}
		if !item.Range.Empty() {
			t.tell(item.Range, recording.SkipDamaged, t.at.due)
		}
	}
	return nil
}

// tell records a hole.
func (t *tape) tell(r feed.Range, why recording.SkipKind, due int64) {
	r.From = max(r.From, t.from)
	t.at.next = r.To
	if !r.Empty() {
		t.hole.first, t.hole.end, t.hole.why, t.hole.due = r.From, r.To, why, due
	}
}

// damage logs a problem of the file and returns true, unless it has done so already.
func (t *tape) damage(item *recording.Item, problem string) bool {
	if item.Offset < t.seen {
		return false
	}
	t.seen = item.Offset + 1
	e := t.log.Warn().Str("file", t.rec.Name).Int64("offset", item.Offset).Int64("bytes", item.Size)
	if !item.Range.Empty() {
		e = e.Stringer("missing", item.Range)
	}
	e.Msg("recording: " + problem)
	return true
}

// whole makes u the leading packets of rest, unchanged, if they are large, wanted as a whole, and follow each other.
// It returns false if there are none. The packets may be malformed.
func (t *tape) whole(u *unit) bool {
	if !t.filter.All() || t.hole.end != 0 {
		return false
	}
	at, n := t.at, 0
	for n < len(t.rest) && n < unitBytes {
		p := t.rest[n:]
		size, h := codec.PacketSize(p), codec.PacketAt(p)
		if size < wholeSize || h.First != at.next || h.First < t.from {
			break
		}
		if e, err := codec.EntryAt(p[codec.PacketHeader:size]); err != nil || e.Hole {
			break
		}
		at.next, at.due = h.First+h.Count, t.after(at.due, &h, p[codec.PacketHeader:size])
		u.dues = append(u.dues, at.due)
		n += size
	}
	if n == 0 {
		return false
	}
	u.kind, u.first, u.end, u.due = unitPackets, t.at.next, at.next, at.due
	u.packets = t.rest[:n]
	u.before, u.offset = t.at, t.item.Offset+int64(len(t.item.Data)-len(t.rest))
	t.at, t.rest = at, t.rest[n:]
	return true
}

// after returns when packet h ends; due is when the previous packet ends.
func (t *tape) after(due int64, h *codec.Packet, body []byte) int64 {
	if t.clock == place.PublishClock {
		return max(due, h.PublishTime)
	}
	if t.batch == nil {
		t.batch = make([]feed.Tick, 256)
	}
	due = max(due, t.first)
	for b := codec.PacketBody(h, body); ; {
		n, err := b.Decode(t.batch)
		for i := range t.batch[:n] {
			if at := t.batch[i].EventTime; at != 0 {
				due = max(due, at)
			}
		}
		if err != nil || n == 0 {
			return due
		}
	}
}

// quiet returns when packet h, which has no ticks, ends.
func (t *tape) quiet(h *codec.Packet) int64 {
	if t.clock == place.PublishClock {
		return max(t.at.due, h.PublishTime)
	}
	return max(t.at.due, t.first)
}

// fill decodes packets of rest into u. It returns false if they have no ticks, or a hole comes first.
func (t *tape) fill(u *unit) bool {
	for len(t.rest) > 0 && len(u.ticks) < unitSize && t.hole.end == 0 {
		size := codec.PacketSize(t.rest)
		h, body := codec.PacketAt(t.rest), t.rest[codec.PacketHeader:size]
		if e, err := codec.EntryAt(body); err == nil && e.Hole && u.end != 0 {
			return true
		}
		t.rest = t.rest[size:]
		t.packet(u, &h, body)
	}
	return u.end != 0
}

// packet decodes one packet.
func (t *tape) packet(u *unit, h *codec.Packet, body []byte) {
	end, from := h.First+h.Count, len(u.ticks)
	b := codec.PacketBody(h, body)
	greatest := int64(math.MinInt64)
	all := t.filter.All() && h.First >= t.from // every tick is wanted
	var broken error
	for {
		if cap(u.ticks)-len(u.ticks) < 64 {
			u.ticks = slices.Grow(u.ticks, 512)
		}
		room := u.ticks[len(u.ticks):cap(u.ticks)]
		n, err := b.Decode(room)
		for i := range room[:n] {
			greatest = max(greatest, room[i].EventTime)
			all = all && room[i].Kind.Known()
		}
		u.ticks = u.ticks[:len(u.ticks)+n]
		if err != nil {
			broken = err
		}
		if err != nil || n == 0 {
			break
		}
	}
	upto := end
	if broken != nil {
		upto = min(b.Seq(), end)
	}
	gone, reason := b.Gone()
	withheld := b.Withheld()
	switch {
	case broken != nil:
	case withheld > 0:
		t.at.due = t.quiet(h)
		t.tell(feed.Range{From: h.First, To: end}, recording.SkipWithheld, t.at.due)
		return
	case gone > 0:
		why := recording.SkipExpired
		if reason == codec.GoneDamaged {
			why = recording.SkipDamaged
		}
		t.at.due = t.quiet(h)
		t.tell(feed.Range{From: h.First, To: end}, why, t.at.due)
		return
	}
	if upto > max(h.First, t.from) {
		if u.end == 0 {
			u.first = max(h.First, t.from)
		}
		u.end = upto
		floor, byEvent := h.PublishTime, greatest == h.PublishTime
		if t.clock == place.MarketClock {
			floor, byEvent = t.first, true
		}
		if all {
			t.keepAll(u, from, floor, byEvent)
		} else {
			t.keep(u, from, floor, byEvent)
		}
		t.at.next = upto
		u.due = t.at.due
	} else {
		u.ticks = u.ticks[:from]
	}
	if broken != nil {
		r := feed.Range{From: upto, To: end}
		if t.damage(&recording.Item{Offset: t.item.Offset + int64(len(t.item.Data)-len(t.rest)), Range: r}, "a packet is malformed: "+broken.Error()) {
			t.tally.damaged.Add(r.Len())
		}
		t.tell(r, recording.SkipDamaged, t.at.due)
	}
}

// keep removes the unwanted ticks of a packet, which begin at index from of u.ticks, and computes when the others are
// due: at their event times if byEvent is set, otherwise at floor. The packet does not end before floor. A tick
// without an event time is due with the tick before it.
func (t *tape) keep(u *unit, from int, floor int64, byEvent bool) {
	due, known := t.start(floor, byEvent)
	kept := u.ticks[:from]
	for i := from; i < len(u.ticks); i++ {
		x := &u.ticks[i]
		if byEvent && (x.EventTime != 0 || known) {
			due = max(due, x.EventTime)
		}
		if x.Seq < t.from || !t.filter.All() && !t.wants(x) {
			continue
		}
		if !x.Kind.Known() {
			t.tally.unknown.Add(1)
			continue
		}
		if len(kept) < i {
			kept = append(kept, *x)
		} else {
			kept = kept[:i+1]
		}
		u.dues = append(u.dues, due)
	}
	u.ticks = kept
	t.at.due = max(due, floor)
}

// keepAll is keep for a packet whose ticks are all wanted and of known kinds, as in most replays.
func (t *tape) keepAll(u *unit, from int, floor int64, byEvent bool) {
	due, known := t.start(floor, byEvent)
	u.dues = slices.Grow(u.dues, len(u.ticks)-from)[:len(u.ticks)]
	dues, ticks := u.dues[from:], u.ticks[from:]
	for i := range dues {
		if byEvent && (ticks[i].EventTime != 0 || known) {
			due = max(due, ticks[i].EventTime)
		}
		dues[i] = due
	}
	t.at.due = max(due, floor)
}

// start returns the earliest time that a tick of the next packet is due, and whether event time 0 counts as a time,
// which it does if packets were published at the time of their last event, as in imported recordings.
func (t *tape) start(floor int64, byEvent bool) (due int64, known bool) {
	if byEvent && t.clock == place.PublishClock {
		return t.at.due, true
	}
	return max(t.at.due, floor), false
}

// wants reports whether the filter matches the instrument of x. It learns definitions.
func (t *tape) wants(x *feed.Tick) bool {
	if t.filter.All() {
		return true
	}
	if d := x.Definition(); d != nil {
		t.learn(x.Instrument, d)
	}
	w := int(x.Instrument / 64)
	return w < len(t.wanted) && t.wanted[w]>>(x.Instrument%64)&1 != 0
}

func (t *tape) learn(id feed.InstrumentID, d *feed.Definition) {
	if !t.filter.Match(d) {
		return
	}
	for int(id/64) >= len(t.wanted) {
		t.wanted = append(t.wanted, 0)
	}
	t.wanted[id/64] |= 1 << (id % 64)
}
