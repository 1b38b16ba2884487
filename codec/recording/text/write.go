package text

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"fmt"
	"io"
	"strconv"
	"time"

	"tickfeed/codec"
	"tickfeed/codec/recording"
	"tickfeed/feed"
	"tickfeed/feed/decimal"
)

// Write writes the text form of the recording in the first size bytes of file to w, and returns the number of
// damages: places with unusable bytes, which the text keeps. The error comes from [recording.NewReader], from
// file, or from w. Besides the definitions Write takes no more memory than a Reader.
func Write(w io.Writer, file io.ReaderAt, size int64) (damages int, err error) {
	r, err := recording.NewReader(file, size)
	if err != nil {
		return 0, err
	}
	x := &writer{out: bufio.NewWriterSize(w, 64<<10), file: file, end: newEnding()}
	x.out.WriteString(magic + "\n")
	for {
		item, err := r.Next()
		if err == io.EOF {
			break
		} else if err != nil {
			return x.damages, err
		}
		if err := x.item(&item); err != nil {
			return x.damages, err
		}
	}
	if err := x.between(size); err != nil {
		return x.damages, err
	}
	if err := x.flush(); err != nil {
		return x.damages, err
	}
	return x.damages, x.out.Flush()
}

type writer struct {
	out     *bufio.Writer
	file    io.ReaderAt
	buf     []byte // of file
	line    []byte
	state   lineState
	end     ending
	pending []byte // a header that may be repeated
	damages int
	ticks   [1]feed.Tick
	entry   []byte
}

func (w *writer) item(item *recording.Item) error {
	if err := w.between(item.Offset); err != nil {
		return err
	}
	to := item.Offset + item.Size
	if !w.state.begun && len(w.pending) == 0 && item.Size > 0 && item.Kind != recording.KindHeader {
		w.damages++
		return w.bytes(to) // intact messages before the first header need it to be decoded
	}
	switch item.Kind {
	case recording.KindHeader:
		return w.between(to)
	case recording.KindSnapshot:
		return w.snapshot(to)
	case recording.KindPackets:
		for h, raw := range recording.Packets(item.Data) {
			if err := w.packet(&h, raw); err != nil {
				return err
			}
		}
	default:
		w.damages++
		return w.bytes(to)
	}
	return nil
}

// read returns the bytes of the file from the place reached so far up to byte to, at most the length of a
// message.
func (w *writer) read(to int64) ([]byte, error) {
	n := int(min(to-w.end.at, codec.MaxMessage))
	if cap(w.buf) < n {
		w.buf = make([]byte, codec.MaxMessage)
	}
	p := w.buf[:n]
	if got, err := w.file.ReadAt(p, w.end.at); got < n {
		if err == nil || err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		return nil, fmt.Errorf("at byte %d: %w", w.end.at, err)
	}
	return p, nil
}

// between writes what the Reader skips up to byte to: headers, and the index.
func (w *writer) between(to int64) error {
	for w.end.at < to {
		p, err := w.read(to)
		if err != nil {
			return err
		}
		n, err := codec.MessageSize(p)
		if err != nil || n == 0 {
			return w.bytes(to)
		}
		m, err := codec.Decode(p[:n])
		h, ok := m.(*codec.FileHeader)
		if err != nil || !ok || h.Version != codec.Version {
			return w.ending(to)
		}
		if err := w.header(h, p[:n]); err != nil {
			return err
		}
	}
	return nil
}

// header writes header h, the bytes raw, or keeps it if it may be the first of two.
func (w *writer) header(h *codec.FileHeader, raw []byte) error {
	if len(w.pending) > 0 && bytes.Equal(w.pending, raw) {
		w.pending = w.pending[:0]
		return w.headers(h, raw, 2)
	}
	if err := w.flush(); err != nil {
		return err
	}
	w.pending = append(w.pending[:0], raw...)
	w.end.at += int64(len(raw))
	return nil
}

// flush writes the pending header, which did not come twice.
func (w *writer) flush() error {
	if len(w.pending) == 0 {
		return nil
	}
	m, err := codec.Decode(w.pending)
	if err != nil {
		return err
	}
	raw := w.pending
	w.pending = nil
	return w.headers(m.(*codec.FileHeader), raw, 1)
}

// headers writes the line of header h, which occurs the given number of times in a row; end.at includes the
// first one.
func (w *writer) headers(h *codec.FileHeader, raw []byte, times int) error {
	w.end.at -= int64(len(raw))
	defer func() { w.end.at += int64(times * len(raw)) }()
	if w.state.begun {
		mark := w.state.mark()
		mark.Next = h.Next
		if want, err := recording.AppendHeader(nil, &mark); err == nil && bytes.Equal(want, raw) {
			w.line = append(w.line[:0], []string{1: "mark", 2: "restate"}[times]...)
			if h.Next != w.state.next {
				w.uint("next", h.Next)
				w.state.next = h.Next
			}
			w.end.header(times == 1)
			return w.write()
		}
	}
	return w.headerLine([]string{1: "header", 2: "session"}[times], h, raw)
}

// headerLine writes all fields of header h.
func (w *writer) headerLine(name string, h *codec.FileHeader, raw []byte) error {
	w.line = append(append(w.line[:0], name...), " lineage="...)
	for i, s := range h.Lineage {
		if i > 0 {
			w.line = append(w.line, ',')
		}
		w.line = append(append(w.line, s.ID.String()...), ':')
		w.line = strconv.AppendUint(w.line, s.First, 10)
	}
	w.word("mode", modes[h.Mode])
	if h.Origin != 0 {
		w.word("origin", h.Origin.String())
	}
	if h.Seed != codec.LineSeed(h.Lineage.Current().ID, h.Filter) {
		w.word("seed", fmt.Sprintf("%08x", h.Seed))
	}
	for _, p := range h.Filter {
		w.word("filter", p)
	}
	w.text("source", h.Source)
	if h.Next != 1 {
		w.uint("next", h.Next)
	}
	if h.Created != 0 {
		w.line = appendTime(append(w.line, " created="...), h.Created)
	}
	if want, err := recording.AppendHeader(nil, h); err != nil || !bytes.Equal(want, raw) {
		w.line = hex.AppendEncode(append(w.line, " raw="...), raw)
	}
	w.end.header(false)
	w.state.enter(h)
	return w.write()
}

// snapshot writes the messages of a snapshot up to byte to.
func (w *writer) snapshot(to int64) error {
	if err := w.flush(); err != nil {
		return err
	}
	for w.end.at < to {
		p, err := w.read(to)
		if err != nil {
			return err
		}
		w.line = w.line[:0]
		if n := codec.PartSize(p); n > 0 && n <= len(p) {
			part, err := codec.ParsePart(p[:n], w.state.header.Seed)
			if err != nil || part.Seq != w.state.next {
				return w.bytes(to)
			}
			if err := w.part(&part, n); err != nil {
				return err
			}
			continue
		}
		begin, end := snapshotBegin(w.state.next), snapshotEnd(w.state.next, w.state.part)
		switch {
		case bytes.HasPrefix(p, begin):
			w.state.snapshot()
			w.end.at += int64(len(begin))
			w.line = append(w.line, "snapshot"...)
		case bytes.HasPrefix(p, end):
			w.end.at += int64(len(end))
			w.line = append(w.line, "end"...)
		default:
			return w.bytes(to)
		}
		if err := w.write(); err != nil {
			return err
		}
	}
	return nil
}

func (w *writer) part(part *codec.SnapshotPart, size int) error {
	w.line = appendTime(append(w.line, "part "...), part.Base)
	if part.Index != w.state.part {
		w.uint("index", part.Index)
	}
	w.state.part = part.Index + 1
	w.end.at += int64(size)
	if err := w.write(); err != nil {
		return err
	}
	return w.entries(part.Body, part.Base, true)
}

func (w *writer) packet(h *codec.Packet, raw []byte) error {
	if err := w.flush(); err != nil {
		return err
	}
	body := raw[codec.PacketHeader:]
	w.line = appendTime(append(w.line[:0], "packet "...), h.PublishTime)
	if h.Base != h.PublishTime {
		w.line = appendTime(append(w.line, " base="...), h.Base)
	}
	if h.First != w.state.next {
		w.uint("seq", h.First)
	}
	if covered(body) != h.Count {
		w.uint("count", h.Count)
	}
	w.end.packet(h)
	w.end.at += int64(len(raw))
	w.state.next = h.First + h.Count
	if err := w.write(); err != nil {
		return err
	}
	return w.entries(body, h.Base, false)
}

// covered returns how many numbers the entries of body cover.
func covered(body []byte) (n uint64) {
	for len(body) > 0 {
		e, ok := entryAt(body, n)
		if !ok {
			return n
		}
		n += e.Covers
		body = body[e.Size:]
	}
	return n
}

// entryAt returns the first entry of body; the entries before it cover before numbers. It returns false if
// there is no valid entry, so that the rest of body can only be written as raw bytes.
func entryAt(body []byte, before uint64) (codec.Entry, bool) {
	e, err := codec.EntryAt(body)
	return e, err == nil && e.Size > 0 && e.Covers <= codec.MaxSpan && before+e.Covers <= codec.MaxSpan
}

// entries writes the lines of a body.
func (w *writer) entries(body []byte, base int64, snapshot bool) error {
	whole := len(body)
	for covers := uint64(0); len(body) > 0; {
		e, ok := entryAt(body, covers)
		w.line = append(w.line[:0], "  "...)
		if !ok {
			w.raw(0, body)
			return w.write()
		}
		entry := body[:e.Size]
		alone := e.Size == whole
		if !w.tick(entry, base, snapshot) && (snapshot || !w.absent(entry, e.Covers, alone)) {
			w.raw(e.Covers, entry)
		}
		if err := w.write(); err != nil {
			return err
		}
		covers += e.Covers
		body = body[e.Size:]
	}
	return nil
}

func (w *writer) raw(covers uint64, b []byte) {
	w.line = strconv.AppendUint(append(w.line[:2], "raw "...), covers, 10)
	w.line = hex.AppendEncode(append(w.line, ' '), b)
}

// absent makes the line of an entry without a tick. It returns false if no line stands for exactly these bytes.
// Most such entries must be alone in their packet.
func (w *writer) absent(entry []byte, covers uint64, alone bool) bool {
	w.line = w.line[:2]
	if covers == 0 || covers > codec.MaxSpan {
		return false
	}
	if bytes.Equal(entry, codec.AppendSkip(w.entry[:0], covers)) {
		w.line = strconv.AppendUint(append(w.line, "skip "...), covers, 10)
		return true
	}
	if !alone {
		return false
	}
	if bytes.Equal(entry, codec.AppendWithheld(w.entry[:0], covers)) {
		w.line = strconv.AppendUint(append(w.line, "withheld "...), covers, 10)
		return true
	}
	body := codec.PacketBody(&codec.Packet{First: 1, Count: covers}, entry)
	if n, err := body.Decode(w.ticks[:]); n > 0 || err != nil {
		return false
	}
	n, reason := body.Gone()
	if n == 0 || !bytes.Equal(entry, codec.AppendGone(w.entry[:0], n, reason)) {
		return false
	}
	w.line = strconv.AppendUint(append(w.line, "gone "...), n, 10)
	w.line = append(w.line, ' ')
	w.named(reasons, uint8(reason))
	return true
}

// named appends the name of v, or v itself if it has no name.
func (w *writer) named(names []string, v uint8) {
	if int(v) < len(names) && names[v] != "" {
		w.line = append(w.line, names[v]...)
		return
	}
	w.line = strconv.AppendUint(w.line, uint64(v), 10)
}

// tick makes the line of a tick. It returns false if no line stands for exactly these bytes.
func (w *writer) tick(entry []byte, base int64, snapshot bool) bool {
	var body codec.Body
	if snapshot {
		body = codec.PartBody(&codec.SnapshotPart{Base: base, Body: entry})
	} else {
		body = codec.PacketBody(&codec.Packet{First: 1, Count: 1, Base: base}, entry)
	}
	t := &w.ticks[0]
	if n, err := body.Decode(w.ticks[:]); n != 1 || err != nil {
		return false
	}
	t.Flags &^= feed.FlagSnapshot
	if codec.ValidateTick(t) != nil {
		return false
	}
	w.entry = codec.AppendTick(w.entry[:0], t, base)
	if !bytes.Equal(w.entry, entry) {
		return false
	}
	w.line = append(w.line, kindWords[t.Kind]...)
	switch t.EventTime {
	case base:
	case 0:
		w.line = append(append(w.line, ' '), noTime...)
	default:
		w.line = appendOffset(append(w.line, ' '), t.EventTime-base)
	}
	w.line = append(w.line, ' ')
	if t.Kind == feed.KindDefinition {
		w.definition(t)
	} else {
		in := w.instrument(t.Instrument)
		w.values(t, in, base)
	}
	if t.Flags&feed.FlagMore != 0 {
		w.line = append(w.line, " more"...)
	}
	return true
}

func (w *writer) definition(t *feed.Tick) {
	d := t.Definition()
	w.line = strconv.AppendUint(append(w.line, '#'), uint64(t.Instrument), 10)
	w.text("symbol", d.Symbol)
	w.text("venue", d.Venue)
	if d.PriceExponent != 0 {
		w.line = strconv.AppendInt(append(w.line, " price="...), int64(d.PriceExponent), 10)
	}
	if d.SizeExponent != 0 {
		w.line = strconv.AppendInt(append(w.line, " size="...), int64(d.SizeExponent), 10)
	}
	w.text("currency", d.Currency)
	w.decimal("tick", d.TickSize, d.PriceExponent)
	w.decimal("lot", d.Lot, d.SizeExponent)
	w.state.names.define(t.Instrument, d)
}

// instrument appends the name of instrument id.
func (w *writer) instrument(id feed.InstrumentID) *listing {
	n := &w.state.names
	in := n.listing(id)
	if in.definition == nil {
		w.line = strconv.AppendUint(append(w.line, '#'), uint64(id), 10)
		return in
	}
	if in.token == "" || in.change != n.change {
		in.token, in.change = "#"+strconv.FormatUint(uint64(id), 10), n.change
		for _, name := range calls(in.definition) {
			if _, _, ok := n.lookup(name); ok && callable(name) {
				in.token = name
				break
			}
		}
	}
	w.line = append(w.line, in.token...)
	return in
}

func (w *writer) values(t *feed.Tick, in *listing, base int64) {
	v := &t.Values
	price := func(p int64) { w.line = appendPrice(append(w.line, ' '), p, in.price) }
	size := func(n int64) { w.line = decimal.Append(append(w.line, ' '), n, in.size) }
	switch t.Kind {
	case feed.KindQuote:
		price(v[0])
		size(v[1])
		price(v[2])
		size(v[3])
	case feed.KindTrade, feed.KindCorrection, feed.KindCancel:
		price(v[0])
		size(v[1])
		if t.Side != feed.SideNone {
			w.line = append(append(w.line, ' '), tradeSides[t.Side]...)
		}
		if v[2] != 0 {
			w.uint("id", uint64(v[2]))
		}
		w.text("cond", feed.Conditions(v[3]).String())
		w.text("ref", t.TradeRef())
		if t.Kind == feed.KindCorrection {
			c := t.Correction()
			w.line = appendPrice(append(w.line, " old="...), c.OldPrice, in.price)
			w.decimal("oldsize", c.OldSize, in.size)
		}
	case feed.KindLevel:
		w.line = append(append(w.line, ' '), bookSides[t.Side]...)
		price(v[0])
		size(v[1])
	case feed.KindClear:
		w.line = append(append(w.line, ' '), bookSides[t.Side]...)
	case feed.KindStatus:
		w.line = append(w.line, ' ')
		w.named(statuses, uint8(t.Status))
		if v[0] != 0 {
			w.uint("day", uint64(v[0]))
		}
		w.text("reason", t.StatusReason())
		if end := t.StatusEnd(); end != 0 {
			w.line = appendOffset(append(w.line, " end="...), end-t.EventTime)
		}
	case feed.KindAuction:
		w.line = append(w.line, ' ')
		w.named(auctions, uint8(t.Status))
		price(v[0])
		size(v[1])
		if t.Side != feed.SideNone {
			w.line = append(append(w.line, ' '), tradeSides[t.Side]...)
		}
		w.decimal("imbalance", v[2], in.size)
		if v[3] != 0 {
			w.line = appendOffset(append(w.line, " at="...), v[3]-t.EventTime)
		}
	case feed.KindSummary:
		w.summary(t.Summary(), in, base)
	}
}

func (w *writer) summary(s *feed.Summary, in *listing, base int64) {
	if s.TradingDay != 0 {
		w.uint("day", uint64(s.TradingDay))
	}
	for _, p := range [...]struct {
		key string
		v   int64
	}{{"open", s.Open}, {"high", s.High}, {"low", s.Low}, {"last", s.Last}} {
		if p.v != feed.NoPrice {
			w.line = append(append(append(w.line, ' '), p.key...), '=')
			w.line = appendPrice(w.line, p.v, in.price)
		}
	}
	w.decimal("lastsize", s.LastSize, in.size)
	if s.LastSide != feed.SideNone {
		w.word("lastside", tradeSides[s.LastSide])
	}
	if s.LastTime != base {
		w.line = appendOffset(append(w.line, " lasttime="...), s.LastTime-base)
	}
	w.decimal("volume", s.Volume, in.size)
	if s.Trades != 0 {
		w.uint("trades", uint64(s.Trades))
	}
	if s.LastID != 0 {
		w.uint("id", s.LastID)
	}
	w.text("ref", s.LastRef)
}

// ending writes the index and the trailer, which end at byte to.
func (w *writer) ending(to int64) error {
	if err := w.flush(); err != nil {
		return err
	}
	want, err := w.end.bytes(w.state.next)
	if err == nil && int64(len(want)) == to-w.end.at {
		same := true
		for at := w.end.at; same && at < to; {
			p := make([]byte, min(int64(codec.MaxMessage), to-at))
			if n, err := w.file.ReadAt(p, at); n < len(p) {
				return fmt.Errorf("at byte %d: %w", at, err)
			}
			same = bytes.Equal(p, want[at-w.end.at:][:len(p)])
			at += int64(len(p))
		}
		if same {
			w.end.at = to
			w.line = append(w.line[:0], "closed"...)
			return w.write()
		}
	}
	return w.bytes(to)
}

// bytesLine is the number of bytes in a line of bytes.
const bytesLine = 64

// bytes writes the bytes up to byte to unchanged.
func (w *writer) bytes(to int64) error {
	if err := w.flush(); err != nil {
		return err
	}
	for w.end.at < to {
		p, err := w.read(to)
		if err != nil {
			return err
		}
		p = p[:min(len(p), bytesLine)]
		w.line = hex.AppendEncode(append(w.line[:0], "bytes "...), p)
		w.end.at += int64(len(p))
		if err := w.write(); err != nil {
			return err
		}
	}
	return nil
}

// write writes the line.
func (w *writer) write() error {
	w.line = append(w.line, '\n')
	_, err := w.out.Write(w.line)
	return err
}

// word appends key=value, quoting the value if need be.
func (w *writer) word(key, value string) {
	w.line = append(append(append(w.line, ' '), key...), '=')
	if plain(value) {
		w.line = append(w.line, value...)
	} else {
		w.line = strconv.AppendQuote(w.line, value)
	}
}

// text is word, except that it omits an empty value.
func (w *writer) text(key, value string) {
	if value != "" {
		w.word(key, value)
	}
}

func (w *writer) uint(key string, v uint64) {
	w.line = append(append(append(w.line, ' '), key...), '=')
	w.line = strconv.AppendUint(w.line, v, 10)
}

// decimal appends key=v, unless v is 0.
func (w *writer) decimal(key string, v int64, exponent int8) {
	if v != 0 {
		w.line = append(append(append(w.line, ' '), key...), '=')
		w.line = decimal.Append(w.line, v, exponent)
	}
}

// plain reports whether a value needs no quotes.
func plain(s string) bool {
	for i := range len(s) {
		if c := s[i]; c <= ' ' || c > '~' || c == '"' || c == '\\' {
			return false
		}
	}
	return s != ""
}

func appendPrice(b []byte, v int64, exponent int8) []byte {
	if v == feed.NoPrice {
		return append(b, '-')
	}
	return decimal.Append(b, v, exponent)
}

// appendOffset appends v with its sign.
func appendOffset(b []byte, v int64) []byte {
	if v >= 0 {
		b = append(b, '+')
	}
	return strconv.AppendInt(b, v, 10)
}

// appendTime appends a time. It appends 0 and times near it, which are not dates, as nanoseconds.
func appendTime(b []byte, ns int64) []byte {
	if ns > -int64(time.Second) && ns < int64(time.Second) {
		return strconv.AppendInt(b, ns, 10)
	}
	return time.Unix(0, ns).UTC().AppendFormat(b, time.RFC3339Nano)
}

// snapshotBegin and snapshotEnd return the only bytes that these messages can have in a file.
func snapshotBegin(seq uint64) []byte {
	b, _ := codec.Append(nil, &codec.SnapshotBegin{Seq: seq, Scope: codec.ScopeAll})
	return b
}

func snapshotEnd(seq, parts uint64) []byte {
	b, _ := codec.Append(nil, &codec.SnapshotEnd{Seq: seq, Parts: parts})
	return b
}
