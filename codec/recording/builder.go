package recording

import (
	"bytes"
	"context"
	"fmt"
	"io"

	"tickfeed/codec"
	"tickfeed/codec/recording/place"
	"tickfeed/feed"
)

// A Builder makes a recording of ticks: it numbers them, packs them, and appends the packets through a
// [Writer]. Only one goroutine may use it.
//
// Ticks given to [Builder.Append] are published at their event times: the publish time of a packet is the
// greatest event time up to its end, so it never decreases. Ticks given to [Builder.AppendAt] are published at
// the given time.
type Builder struct {
	w    *Writer
	seed uint32

	// buf is sealed packets, followed by the current packet from index open; open is negative between packets.
	buf     []byte
	open    int
	first   uint64 // first number of the current packet
	next    uint64
	ticks   int    // in the current packet
	skipped uint64 // numbers not asked for, whose entry is not written yet
	base    int64  // base event time of the current packet; meaningless before its first tick
	time    int64  // publish time of the current packet, or of the last one; place.NoTime at first
	stated  bool   // time was given by AppendAt
	err     error  // once set, Builder methods return it

	stats   BuilderStats
	defined []bool // instruments, by id
}

// BuilderStats counts what a Builder was given.
type BuilderStats struct {
	Ticks uint64
	Kinds [feed.KindAuction + 1]uint64 // ticks by their kind
	// Instruments counts definitions of ids that had no definition before.
	Instruments uint64
	Skipped     uint64 // numbers without a tick
	// First and Last are the least and the greatest event time, in ns since the Unix epoch; both 0 if no tick
	// had one.
	First, Last int64
	// Backward counts the ticks whose event time is before that of an earlier tick; Back is the greatest such
	// difference, in nanoseconds.
	Backward uint64
	Back     int64
}

// Bounds of the packets that a Builder makes. A packet also ends before a tick that happened more than
// PacketSpan after the packet's first, so that a replay by publish times keeps the pace of the original.
const (
	PacketBytes = 16 << 10 // of the body; beyond it no tick is added
	PacketTicks = 1000
	PacketSpan  = 1_000_000 // nanoseconds

	builderBuffer = 128 << 10 // sealed packets are written once they exceed it
)

// NewBuilder begins a recording in f as NewWriter does; it computes the seed of h from the lineage and filter.
// State is the state as of h.Next and stays the caller's; it may be nil if h.Next is 1.
func NewBuilder(f File, h codec.FileHeader, state *feed.State) (*Builder, error) {
	h.Seed = codec.LineSeed(h.Lineage.Current().ID, h.Filter)
	w, err := NewWriter(f, h, state)
	if err != nil {
		return nil, err
	}
	return &Builder{
		w: w, seed: h.Seed, open: -1, next: h.Next, time: place.NoTime,
		buf: make([]byte, 0, builderBuffer+codec.PacketHeader+PacketBytes+2*codec.MaxEntry),
	}, nil
}

// Append adds ticks under the next numbers and ignores their Seq. The caller must define instruments before
// using them. Append keeps nothing of ticks. The error is the file's, or about a tick that is not valid; the
// ticks before it are added.
func (b *Builder) Append(ticks []feed.Tick) error {
	if b.stated {
		b.seal()
		b.stated = false
	}
	return b.add(ticks)
}

// AppendAt is Append for ticks published at time, in nanoseconds since the Unix epoch, or at the time of the
// previous packet if that is later. It also sets the publish time of a following Skip; ticks may be empty.
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
			t.EventTime > b.base+PacketSpan && !b.stated || b.base == 0 && t.EventTime != 0) { // offsets from no base would all be wide
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
		return fmt.Errorf("%v of instrument %d belongs in a snapshot: it is not an event", t.Kind, t.Instrument)
	}
	return nil
}

// count counts t, and advances the publish time to it.
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

// A SkipKind is the reason why numbers have no tick.
type SkipKind uint8

// The kinds of skips.
const (
	SkipNotAsked SkipKind = iota // the recording's filter leaves them out
	SkipWithheld                 // by the recorder's slow-consumer policy
	SkipExpired                  // gone: retention had removed them
	SkipDamaged                  // gone: they were damaged, or missing, in what this is made of
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

// Skip covers the next n numbers without ticks, at the current publish time. After withheld or gone numbers
// readers need a snapshot: see Restate. n is at most codec.MaxSpan.
func (b *Builder) Skip(n uint64, kind SkipKind) error {
	switch {
	case n == 0 || b.err != nil:
		return b.err
	case n > codec.MaxSpan:
		return fmt.Errorf("skip of %d numbers, at most %d", n, codec.MaxSpan)
	case kind > SkipDamaged:
		return fmt.Errorf("unknown kind of skip: %v", kind)
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

// Restate writes the state as of Next, which readers need after numbers that are withheld or gone.
func (b *Builder) Restate(state *feed.State) error {
	h := *b.w.Header()
	h.Next = b.next
	return b.Continue(h, state)
}

// Continue begins another session or line of the recording, like [Writer.Continue]. It computes the seed of h;
// the new line begins at h.Next.
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

// Header returns the header in force; its Next is where the line began.
func (b *Builder) Header() *codec.FileHeader { return b.w.Header() }

// Next returns the number of the next tick.
func (b *Builder) Next() uint64 { return b.next }

// Size returns the length of the file in bytes, without pending packets.
func (b *Builder) Size() int64 { return b.w.size }

// Stats returns the counts so far.
func (b *Builder) Stats() BuilderStats { return b.stats }

// Close writes the pending packets, the index and the trailer, and closes the file even if writing fails; it
// does not sync it.
func (b *Builder) Close() error {
	b.flush()
	if b.err != nil {
		_ = b.w.CloseTorn() // the earlier error is the one that counts
		return b.err
	}
	b.err = errBuilt
	return b.w.Close()
}

var errBuilt = fmt.Errorf("recording: the recording is closed")

// EndPacket makes the next tick begin a packet, as if the current one were full.
func (b *Builder) EndPacket() { b.seal() }

// begin ends the current packet and begins another.
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

// seal ends the current packet, if there is one.
func (b *Builder) seal() {
	if b.open < 0 || b.err != nil {
		return
	}
	if b.skipped > 0 {
		b.writeSkip()
	}
	if b.time == place.NoTime {
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

// write appends the sealed packets to the file. There must be no current packet.
func (b *Builder) write() {
	b.err = b.w.Append(b.buf, b.next, b.time)
	b.buf = b.buf[:0]
}

// Feed appends the ticks of src up to its end. It does not close src. The error is that of src or of Append;
// the ticks before it are added.
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

// Recognise reports whether an unpacked file that begins with head is a recording, that is, has one of the
// headers at its front, intact or not. A head of 16 KiB is enough.
func Recognise(head []byte) bool {
	magic := append([]byte{byte(codec.TypeFile), 0xa0 | byte(len(codec.FileMagic))}, codec.FileMagic...)
	return bytes.Contains(head, magic)
}
