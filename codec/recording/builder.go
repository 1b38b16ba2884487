package recording

import (
	"bytes"
	"context"
	"fmt"
	"io"

	"tickfeed/codec"
	"tickfeed/feed"
)

// A Builder makes a recording of ticks: it gives them their numbers, packs them, and appends
// the packets through a [Writer]. Only one goroutine may use it.
//
// Ticks given to [Builder.Append] are published when they happened: the publish time of a
// packet is the greatest event time up to its end, so that it never decreases. Ticks given to
// [Builder.AppendAt] have their publish time stated.
type Builder struct {
	w    *Writer
	seed uint32

	// buf is sealed packets, and from open on the packet at hand; open is negative between
	// packets.
	buf     []byte
	open    int
	first   uint64 // number that the packet at hand begins with
	next    uint64
	ticks   int    // in the packet at hand
	skipped uint64 // numbers not asked for, whose entry is still to be written
	base    int64  // base event time of the packet at hand; of no meaning before its first tick
	time    int64  // publish time of the packet at hand, or of the one before; minTime at first
	stated  bool   // it was stated by AppendAt
	err     error  // once set, it stays

	stats   BuilderStats
	defined []bool // instruments, by id
}

// BuilderStats are what a Builder was given.
type BuilderStats struct {
	Ticks uint64
	Kinds [feed.KindAuction + 1]uint64 // ticks by their kind
	// Instruments is how many were defined, by ids that had no definition before.
	Instruments uint64
	Skipped     uint64 // numbers without a tick
	// First and Last are the least and the greatest event time, in ns since the Unix epoch; both 0
	// where no tick had one.
	First, Last int64
	// Backward counts the ticks whose event time is before that of a tick before them; Back is
	// by how much at most, in nanoseconds.
	Backward uint64
	Back     int64
}

// Bounds of the packets that a Builder makes. A packet is also ended before a tick that
// happened more than PacketSpan after the packet's first, so that a replay by publish times
// keeps the shape of the original.
const (
	PacketBytes = 16 << 10 // of the body; beyond it no tick is added
	PacketTicks = 1000
	PacketSpan  = 1_000_000 // nanoseconds

	builderBuffer = 128 << 10 // sealed packets are written when there is more of them
)

// NewBuilder begins a recording in f as NewWriter does; the seed of h is filled in from its
// lineage and filter. State is as of h.Next, and stays the caller's; it may be nil where h.Next
// is 1.
func NewBuilder(f File, h codec.FileHeader, state *feed.State) (*Builder, error) {
	h.Seed = codec.LineSeed(h.Lineage.Current().ID, h.Filter)
	w, err := NewWriter(f, h, state)
	if err != nil {
		return nil, err
	}
	return &Builder{
		w: w, seed: h.Seed, open: -1, next: h.Next, time: minTime,
		buf: make([]byte, 0, builderBuffer+codec.PacketHeader+PacketBytes+2*codec.MaxEntry),
	}, nil
}

// Append adds ticks under the next numbers; their Seq is not looked at. That instruments are
// defined before they are used is the caller's care. It keeps nothing of ticks. The error is
// about a tick that is not valid, and the ticks before it are in, or is the file's.
func (b *Builder) Append(ticks []feed.Tick) error {
	if b.stated {
		b.seal()
		b.stated = false
	}
	return b.add(ticks)
}

// AppendAt is Append for ticks that were published at time, in nanoseconds since the Unix
// epoch, or at the time of the packet before if that is later. It also sets the time of a
// Skip that follows; ticks may be empty.
func (b *Builder) AppendAt(time int64, ticks []feed.Tick) error {
	if !b.stated || time > b.time {
		b.seal()
		b.stated, b.time = true, max(b.time, time)
	}
	return b.add(ticks)
}

func (b *Builder) add(ticks []feed.Tick) error {
	for i := range ticks {
		t := &ticks[i]
		if err := b.check(t); err != nil {
			return err
		}
		if b.open < 0 || b.ticks > 0 && (b.ticks == PacketTicks || len(b.buf)-b.open > codec.PacketHeader+PacketBytes ||
			t.EventTime > b.base+PacketSpan && !b.stated || b.base == 0 && t.EventTime != 0) { // offsets from no time would all be wide
			b.begin()
		}
		if b.err != nil {
			return b.err
		}
		if b.ticks == 0 {
			b.base = t.EventTime
		}
		if b.skipped > 0 {
			b.writeSkip()
		}
		b.buf = codec.AppendTick(b.buf, t, b.base)
		b.ticks++
		b.next++
		b.count(t)
	}
	return b.err
}

func (b *Builder) check(t *feed.Tick) error {
	if err := codec.ValidateTick(t); err != nil {
		return err
	}
	if t.Kind == feed.KindSummary || t.Flags&feed.FlagSnapshot != 0 {
		return fmt.Errorf("%v of instrument %d stands in a snapshot, it is not an event", t.Kind, t.Instrument)
	}
	return nil
}

// count notes t, and the publish time that follows from it.
func (b *Builder) count(t *feed.Tick) {
	s := &b.stats
	s.Ticks++
	s.Kinds[t.Kind]++
	if t.Kind == feed.KindDefinition {
		for int(t.Instrument) >= len(b.defined) {
			b.defined = append(b.defined, false)
		}
		if !b.defined[t.Instrument] {
			b.defined[t.Instrument] = true
			s.Instruments++
		}
	}
	at := t.EventTime
	if at == 0 {
		return
	}
	switch {
	case s.First == 0 && s.Last == 0:
		s.First, s.Last = at, at
	case at >= s.Last:
		s.Last = at
	default:
		s.Backward++
		s.Back = max(s.Back, s.Last-at)
		s.First = min(s.First, at)
	}
	if !b.stated && at > b.time {
		b.time = at
	}
}

// A SkipKind says why numbers have no tick.
type SkipKind uint8

// The kinds of skips.
const (
	SkipNotAsked SkipKind = iota // the recording's filter leaves them out
	SkipWithheld                 // by the slow-consumer policy of whoever recorded
	SkipExpired                  // gone: retention had dropped them
	SkipDamaged                  // gone: they were damaged
)

func (k SkipKind) String() string {
	switch k {
	case SkipNotAsked:
		return "not asked"
	case SkipWithheld:
		return "withheld"
	case SkipExpired:
		return codec.GoneExpired.String()
	case SkipDamaged:
		return codec.GoneDamaged.String()
	}
	return fmt.Sprintf("skip(%d)", uint8(k))
}

// Skip covers the next n numbers without ticks, where what was published at the time at hand
// belongs. Readers want a snapshot after numbers that are withheld or gone: see Restate. n is
// at most codec.MaxSpan.
func (b *Builder) Skip(n uint64, kind SkipKind) error {
	switch {
	case n == 0 || b.err != nil:
		return b.err
	case n > codec.MaxSpan:
		return fmt.Errorf("skip of %d numbers, at most %d", n, codec.MaxSpan)
	case kind > SkipDamaged:
		return fmt.Errorf("%v: there is no such kind", kind)
	}
	if kind != SkipNotAsked || b.open < 0 || b.next-b.first+n > codec.MaxSpan {
		b.begin()
	}
	if b.err != nil {
		return b.err
	}
	b.next += n
	b.stats.Skipped += n
	switch kind {
	case SkipNotAsked:
		b.skipped += n
		return nil
	case SkipWithheld:
		b.buf = codec.AppendWithheld(b.buf, n)
	case SkipExpired:
		b.buf = codec.AppendGone(b.buf, n, codec.GoneExpired)
	case SkipDamaged:
		b.buf = codec.AppendGone(b.buf, n, codec.GoneDamaged)
	}
	b.seal()
	return b.err
}

// Restate tells the state as of Next, as readers want it after numbers that are withheld or
// gone.
func (b *Builder) Restate(state *feed.State) error {
	h := *b.w.Header()
	h.Next = b.next
	return b.Continue(h, state)
}

// Continue begins another session or line of the recording, as [Writer.Continue] does. The
// seed of h is filled in; its Next is where the new line begins.
func (b *Builder) Continue(h codec.FileHeader, state *feed.State) error {
	b.flush()
	if b.err != nil {
		return b.err
	}
	h.Seed = codec.LineSeed(h.Lineage.Current().ID, h.Filter)
	if b.err = b.w.Continue(h, state); b.err == nil {
		b.seed, b.next = h.Seed, h.Next
	}
	return b.err
}

// Header is the header in force; its Next is where the line began.
func (b *Builder) Header() *codec.FileHeader { return b.w.Header() }

// Next is the number that the next tick gets.
func (b *Builder) Next() uint64 { return b.next }

// Size is how many bytes the file has, without what is still pending.
func (b *Builder) Size() int64 { return b.w.size }

// Stats is what was given so far.
func (b *Builder) Stats() BuilderStats { return b.stats }

// Close writes what is pending, the index and the trailer, and closes the file, whatever the
// error; it does not sync it.
func (b *Builder) Close() error {
	b.flush()
	if b.err != nil {
		_ = b.w.CloseTorn() // the error before it is the one that counts
		return b.err
	}
	b.err = errBuilt
	return b.w.Close()
}

var errBuilt = fmt.Errorf("recording: the recording is closed")

// begin ends the packet at hand and begins another.
func (b *Builder) begin() {
	b.seal()
	if b.err != nil {
		return
	}
	b.open, b.first, b.ticks = len(b.buf), b.next, 0
	var header [codec.PacketHeader]byte
	b.buf = append(b.buf, header[:]...)
}

func (b *Builder) writeSkip() {
	b.buf = codec.AppendSkip(b.buf, b.skipped)
	b.skipped = 0
}

// seal ends the packet at hand, if there is one.
func (b *Builder) seal() {
	if b.open < 0 || b.err != nil {
		return
	}
	if b.skipped > 0 {
		b.writeSkip()
	}
	if b.time == minTime {
		b.time = 0
	}
	h := codec.Packet{First: b.first, Count: b.next - b.first, PublishTime: b.time}
	if b.ticks > 0 {
		h.Base = b.base
	}
	codec.SealPacket(b.buf[b.open:], &h, b.seed)
	b.open = -1
	if len(b.buf) >= builderBuffer {
		b.write()
	}
}

func (b *Builder) flush() {
	b.seal()
	if len(b.buf) > 0 && b.err == nil {
		b.write()
	}
}

// write appends the sealed packets to the file; none is at hand.
func (b *Builder) write() {
	b.err = b.w.Append(b.buf, b.next, b.time)
	b.buf = b.buf[:0]
}

// Feed appends what src yields, up to its end. It does not close src. The error is src's, or
// that of Append; what came before it is in.
func (b *Builder) Feed(ctx context.Context, src feed.Source) error {
	batch := make([]feed.Tick, PacketTicks)
	for {
		n, err := src.Next(ctx, batch)
		if appendErr := b.Append(batch[:n]); appendErr != nil {
			return appendErr
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// Recognise reports whether an unpacked file that begins with head is a recording: whether
// one of the headers at its front is there, intact or not. 16 KiB are enough.
func Recognise(head []byte) bool {
	magic := append([]byte{byte(codec.TypeFile), 0xa0 | byte(len(codec.FileMagic))}, codec.FileMagic...)
	return bytes.Contains(head, magic)
}
