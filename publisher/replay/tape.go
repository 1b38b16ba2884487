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
	"tickfeed/feed"
)

// A Recording is an open recording. It stays its owner's to close.
type Recording struct {
	Name string // for messages
	R    io.ReaderAt
	Size int64 // in bytes
}

// A unit is what a player plays next.
type unit struct {
	kind  unitKind
	first uint64      // number it begins at
	end   uint64      // number after it
	ticks []feed.Tick // with Seq; what lies between was not asked for
	dues  []int64     // when each is due, in recorded time; they do not decrease
	due   int64       // when the end of the unit is due
	why   recording.SkipKind
	state *feed.State // of a line: as of first; of a hole: as of end, nil if the recording does not tell

	// Packets as they are, the tape's until it reads again, and where the first of them begins.
	packets []byte
	before  place
	offset  int64 // in the file

	// What an ahead has to say of it.
	err   error
	after any // place of the reel
}

type unitKind uint8

const (
	unitTicks unitKind = iota
	unitHole           // numbers that were withheld, or are gone
	unitLine           // another line begins, which does not join
	unitPackets
)

// unitSize is about how many ticks a unit has, and unitBytes how many bytes of packets.
const (
	unitSize  = 2048
	unitBytes = 64 << 10
)

// wholeSize is the size in bytes from which on packets are passed on as they are. With smaller ones nothing is gained
// (BenchmarkServe/imported), and their headers would all be sent.
const wholeSize = 1 << 10

func (u *unit) reset() {
	u.kind, u.first, u.end, u.state = unitTicks, 0, 0, nil
	u.ticks, u.dues, u.packets = u.ticks[:0], u.dues[:0], nil
}

// A place is where a tape can go on.
type place struct {
	part int    // how many lines began before
	next uint64 // number of that line
	due  int64  // recorded time of what comes before
}

// A tape reads one recording as units. Only one goroutine may use it.
type tape struct {
	rec    Recording
	filter codec.Filter
	log    zerolog.Logger
	tally  *tally
	clock  recording.Clock
	first  int64 // the first time of the recording on clock: no tick is due before it

	r      *recording.Reader // nil where it reads the packets of a unit: see enter
	marks  []codec.Mark      // the index, once it was needed
	line   *codec.FileHeader // in force; nil before the first
	at     place
	from   uint64   // ticks before it are left out
	seen   int64    // what is wrong before this byte of the file was told
	wanted []uint64 // bits by instrument id; unused without a filter

	item  recording.Item // not used yet, if have
	have  bool
	rest  []byte            // packets that were not told yet
	batch []feed.Tick       // to look for times in
	hole  unit              // to be told before anything else, if its end is not 0
	next  *codec.FileHeader // a line that begins, to be told after the hole
	with  *feed.State       // its state
}

// A tally is what was found wrong with recordings.
type tally struct {
	damaged atomic.Uint64 // numbers
	unknown atomic.Uint64 // ticks of kinds that this version does not know
}

func openTape(rec Recording, filter codec.Filter, clock recording.Clock, tl *tally, log zerolog.Logger) (*tape, error) {
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

// rewind goes to the beginning: a line.
func (t *tape) rewind() error {
	r, err := recording.NewReader(t.rec.R, t.rec.Size)
	if err != nil {
		return fmt.Errorf("%s: %w", t.rec.Name, err)
	}
	r.SetMarks(t.marks)
	t.r = r
	t.line, t.at, t.wanted = nil, place{part: -1, due: math.MinInt64}, nil
	t.forget()
	return nil
}

// here is where the tape can go on; false where that cannot be told by numbers.
func (t *tape) here() (place, bool) {
	p := t.at
	if t.hole.end != 0 {
		p.next = t.hole.first
	}
	return p, t.next == nil
}

func (t *tape) forget() {
	t.from, t.have, t.rest, t.hole.end, t.next, t.with = 0, false, nil, 0, nil, nil
}

// goTo goes to p, where the instruments that are wanted have definitions.
func (t *tape) goTo(p place, definitions iter.Seq2[feed.InstrumentID, *feed.Definition]) error {
	if p.part > 0 { // numbers say nothing about where in the file that is
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

// enter goes to what u has of packets.
func (t *tape) enter(u *unit) {
	t.forget()
	t.rest = u.packets
	t.item = recording.Item{Kind: recording.KindPackets, Offset: u.offset, Data: t.rest}
	t.at = u.before
}

// read fills u with what comes next, packets as they are where raw allows it and they can be. The error is
// io.EOF at the end, or the file's.
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

// begin makes u what must be told before anything else, if there is something.
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

// joins reports whether h only continues the line in force.
func (t *tape) joins(h *codec.FileHeader) bool {
	if t.line == nil || t.next != nil || h.Next != t.at.next || !slices.Equal(h.Filter, t.line.Filter) {
		return false
	}
	_, ok := h.Lineage.Until(t.line.Lineage.Current().ID)
	return ok
}

// take notes what an item says.
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
			return nil // what the ticks make
		}
		if !item.Whole {
			t.damage(item, "the snapshot is not whole")
		}
		state := feed.NewState()
		err := t.r.SnapshotTicks(*item, func(x *feed.Tick) {
			if t.wants(x) {
				_ = state.Apply(x) // one that lacks its definition tells nothing
			}
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
		if t.damage(item, "damaged") {
			t.tally.damaged.Add(item.Range.Len())
		}
		if !item.Range.Empty() {
			t.tell(item.Range, recording.SkipDamaged, t.at.due)
		}
	}
	return nil
}

// tell notes a hole.
func (t *tape) tell(r feed.Range, why recording.SkipKind, due int64) {
	r.From = max(r.From, t.from)
	t.at.next = r.To
	if !r.Empty() {
		t.hole.first, t.hole.end, t.hole.why, t.hole.due = r.From, r.To, why, due
	}
}

// damage says what is wrong with the file, the first time that it is read.
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

// whole makes u those packets that rest begins with, as they are, which are large, all wanted, and join. It is
// false if there are none. Whether they can be decoded is not known.
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

// after returns when packet h is over, where due is when what comes before it is.
func (t *tape) after(due int64, h *codec.Packet, body []byte) int64 {
	if t.clock == recording.PublishClock {
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

// quiet returns when packet h, which has no ticks, is over.
func (t *tape) quiet(h *codec.Packet) int64 {
	if t.clock == recording.PublishClock {
		return max(t.at.due, h.PublishTime)
	}
	return max(t.at.due, t.first)
}

// fill decodes packets of rest into u. It is false if there is nothing to tell of them, or a
// hole was noted.
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
	all := t.filter.All() && h.First >= t.from // are wanted
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
		why := recording.SkipDamaged
		if reason == codec.GoneExpired {
			why = recording.SkipExpired
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
		if t.clock == recording.MarketClock {
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

// keep drops what is not wanted of the ticks of a packet, which begin at from, and says when the others are due: by event times
// if byEvent says so, else at floor; and the end of the packet not before floor. A tick without an event time is due with the one
// before it.
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

// keepAll is keep where all are wanted and of known kinds, as they are in most replays.
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

// start returns the least time that a tick of the next packet is due, and whether an event time of 0 is a time: where packets were
// published with the last of their events, as imported ones are, it is.
func (t *tape) start(floor int64, byEvent bool) (due int64, known bool) {
	if byEvent && t.clock == recording.PublishClock {
		return t.at.due, true
	}
	return max(t.at.due, floor), false
}

// wants reports whether the filter wants x; it learns definitions.
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
