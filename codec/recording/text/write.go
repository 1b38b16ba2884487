package text

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"fmt"
	"io"
	"strconv"

	"tickfeed/codec"
	"tickfeed/codec/recording"
	"tickfeed/feed"
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

// snapshotBegin and snapshotEnd return the only bytes that these messages can have in a file.
func snapshotBegin(seq uint64) []byte {
	b, _ := codec.Append(nil, &codec.SnapshotBegin{Seq: seq, Scope: codec.ScopeAll})
	return b
}

func snapshotEnd(seq, parts uint64) []byte {
	b, _ := codec.Append(nil, &codec.SnapshotEnd{Seq: seq, Parts: parts})
	return b
}
