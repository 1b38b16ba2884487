package text

import (
	"bufio"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"

	"tickfeed/codec"
	"tickfeed/codec/recording"
	"tickfeed/feed"
)

// maxLine bounds a line, in bytes.
const maxLine = 1 << 20

// A LineError reports a line that cannot be read.
type LineError struct {
	Line int // from 1
	Err  error
}

func (e *LineError) Error() string { return fmt.Sprintf("line %d: %v", e.Line, e.Err) }

// Unwrap returns Err.
func (e *LineError) Unwrap() error { return e.Err }

// Read reads text from r and writes its recording to w as it goes. The error is a *LineError, r's or w's; w has
// then received a part of the recording. Besides the definitions and 24 bytes for each mark, Read holds one
// line and one packet.
//
// # Lines
//
// The first line is "tickfeed-text 1". Each further line is one part of the file, in the order of the file;
// blank lines, blanks at either end of a line, and lines that begin with # are ignored. A line is words
// separated by blanks; the first word names the part. Words shown as key=value below may be left out, and then
// mean 0, empty, or the value in the table. A value may be quoted, as in Go, and must be if it contains blanks,
// quotes or characters other than ASCII.
//
//	session   a session or a line of it begins: the header, twice
//	header    the header, once
//	            lineage=ID:FIRST,…  root first, the session itself last
//	            mode=live|simulation|replay, origin=ID
//	            seed=HEX            of checksums; default: the seed of the session's line with the filter
//	            filter=PATTERN      any number of times
//	            source=TEXT, next=SEQ (default 1), created=TIME
//	mark      the header again, with the next number; next=SEQ states another one
//	restate   the same, twice: the line begins again, so that a snapshot can follow
//	snapshot  begin of the snapshot as of the next number
//	part TIME a part of it: ticks and summaries follow; TIME is the base of their times
//	            index=N             default: one more than the previous part's
//	end       end of the snapshot; parts=N states a number other than that of the parts before
//	packet TIME  a packet with publish time TIME: ticks follow
//	            base=TIME           of the times of its ticks; default: the publish time
//	            seq=N               first number, if the packet does not join
//	            count=N             default: the numbers that its ticks cover
//	closed    the index and the trailer, at the end of a recording that was closed in order
//	bytes HEX exactly these bytes: damage, or the output of a later version
//
// raw=HEX at the end of a session, header or mark gives its bytes, if this version would write others. TIME is
// as in RFC 3339 with up to nine decimals, or nanoseconds since the Unix epoch.
//
// The entries of a packet or part are indented by two blanks:
//
//	define     #ID symbol=S venue=S price=EXPONENT size=EXPONENT currency=S tick=PRICE lot=SIZE
//	quote      INSTRUMENT BID SIZE ASK SIZE
//	trade      INSTRUMENT PRICE SIZE [buy|sell] id=N cond=S ref=S
//	correction INSTRUMENT PRICE SIZE [buy|sell] id=N cond=S ref=S old=PRICE oldsize=SIZE
//	cancel     INSTRUMENT PRICE SIZE id=N ref=S
//	level      INSTRUMENT bid|ask PRICE SIZE
//	clear      INSTRUMENT bid|ask|both
//	status     INSTRUMENT unknown|pre-open|trading|halted|auction|closed|N day=YYYYMMDD reason=S
//	           end=+NS; the end is so many ns after the event time
//	auction    INSTRUMENT unknown|opening|closing|intraday|halt|ipo|N PRICE SIZE [buy|sell] imbalance=SIZE at=+NS
//	summary    INSTRUMENT day=YYYYMMDD open=PRICE high=PRICE low=PRICE last=PRICE lastsize=SIZE
//	           lastside=buy|sell lasttime=+NS volume=SIZE trades=N id=N ref=S
//	skip N     N numbers that were not asked for
//	withheld N N numbers that the slow-consumer policy withheld
//	gone N expired|damaged|denied|N   N numbers that are no longer available
//	raw N HEX  bytes of the body that cover N numbers, if no other line stands for exactly these bytes
//
// A tick's event time may follow its kind: +NS or -NS, the event time minus the base in nanoseconds, or @0 if
// the tick has none. "more" at the end says that the next tick belongs to the same venue event.
//
// INSTRUMENT is the symbol, or SYMBOL@VENUE, if exactly one of the instruments defined so far has that name,
// and otherwise #ID. It is always #ID if the symbol does not begin with a letter or digit, or contains a blank,
// a quote, a comma, a backslash, an equals sign or a character other than ASCII. PRICE and SIZE are exact
// decimal numbers in the instrument's exponents, or whole numbers if it has no definition. A price is - if
// there is none, and so are prices that a summary leaves out. At the beginning of a snapshot, or of a session
// that begins at 1, definitions are dropped.
//
// The text does not contain checksums, numbers, counts, sizes, index and trailer, because they are computed. If
// those in a recording differ from the computed ones, the text contains their bytes.
func Read(w io.Writer, r io.Reader) error {
	in := bufio.NewScanner(r)
	in.Buffer(make([]byte, 64<<10), maxLine)
	x := &reader{out: bufio.NewWriterSize(w, 64<<10), end: newEnding()}
	line := 0
	for in.Scan() {
		line++
		if err := x.read(in.Bytes()); err != nil {
			return &LineError{line, err}
		}
		if x.failed != nil {
			return x.failed
		}
	}
	if errors.Is(in.Err(), bufio.ErrTooLong) {
		return &LineError{line + 1, fmt.Errorf("longer than %d bytes", maxLine)}
	} else if in.Err() != nil {
		return in.Err()
	}
	if err := x.seal(); err != nil {
		return &LineError{line, err}
	}
	if !x.titled || x.end.at == 0 {
		return &LineError{max(line, 1), errors.New("the text ends before a session line")}
	}
	if x.failed != nil {
		return x.failed
	}
	return x.out.Flush()
}

type reader struct {
	out    *bufio.Writer
	failed error // of out
	titled bool
	closed bool
	state  lineState
	end    ending
	words  words

	// The current packet or part.
	open   opened
	buf    []byte // room for its header, and its body
	packet codec.Packet
	sized  bool // the line states the count
	covers uint64
	alone  bool // the entry must be the only one
	of     codec.SnapshotPart
}

type opened uint8

const (
	nothing opened = iota
	aPacket
	aPart
)

var errUnknown = errors.New("unknown line")

// read handles one line.
func (r *reader) read(line []byte) error {
	text := strings.TrimSpace(string(line))
	if !r.titled {
		if text != magic {
			return fmt.Errorf("want %q: this is not the text form of a recording, or of another version", magic)
		}
		r.titled = true
		return nil
	}
	if text == "" || text[0] == '#' {
		return nil
	}
	if err := r.words.split(text); err != nil {
		return err
	}
	kind, _ := r.words.next()
	if r.open != nothing {
		err := r.entry(kind)
		if err == nil {
			return r.words.end()
		} else if err != errUnknown {
			return fmt.Errorf("%s: %w", kind, err)
		}
	}
	if r.closed && kind != "bytes" {
		return fmt.Errorf("%s: nothing but bytes can follow closed", kind)
	}
	if err := r.seal(); err != nil {
		return err
	}
	err := r.message(kind)
	if err == errUnknown {
		return fmt.Errorf("%q is not the beginning of a line here", kind)
	} else if err != nil {
		return fmt.Errorf("%s: %w", kind, err)
	}
	return r.words.end()
}

func (r *reader) write(p []byte) {
	if _, err := r.out.Write(p); err != nil && r.failed == nil {
		r.failed = err
	}
	r.end.at += int64(len(p))
}

// message handles a line other than an entry.
func (r *reader) message(kind string) error {
	switch kind {
	case "session":
		return r.header(2)
	case "header":
		return r.header(1)
	case "bytes":
		return r.bytes()
	case "mark", "restate", "snapshot", "part", "end", "packet", "closed":
		if !r.state.begun {
			return errors.New("a session line must come first")
		}
	}
	switch kind {
	case "mark":
		return r.mark(1)
	case "restate":
		return r.mark(2)
	case "snapshot":
		r.state.snapshot()
		r.write(snapshotBegin(r.state.next))
		return nil
	case "end":
		parts, ok, err := r.words.uint("parts", 0, math.MaxInt64)
		if err != nil {
			return err
		}
		if !ok {
			parts = r.state.part
		}
		r.write(snapshotEnd(r.state.next, parts))
		return nil
	case "part":
		return r.part()
	case "packet":
		return r.begin()
	case "closed":
		r.closed = true
		b, err := r.end.bytes(r.state.next)
		if err != nil {
			return err
		}
		r.write(b)
		return nil
	}
	return errUnknown
}

func (r *reader) header(times int) error {
	h := codec.FileHeader{Version: codec.Version, Next: 1}
	var seed, raw []byte
	if err := r.words.pairs(func(key, value string) (err error) {
		switch key {
		case "lineage":
			h.Lineage, err = parseLineage(value)
		case "mode":
			var m int
			m, err = oneOf(modes, value)
			h.Mode = codec.Mode(m)
		case "origin":
			err = h.Origin.UnmarshalText([]byte(value))
		case "seed":
			if seed, err = hex.DecodeString(value); err == nil && len(seed) != 4 {
				err = errors.New("want 8 hexadecimal digits")
			}
		case "filter":
			h.Filter = append(h.Filter, value)
		case "source":
			h.Source = value
		case "next":
			h.Next, err = strconv.ParseUint(value, 10, 64)
		case "created":
			h.Created, err = parseTime(value)
		case "raw":
			raw, err = hex.DecodeString(value)
		default:
			return errForeign
		}
		return err
	}); err != nil {
		return err
	}
	if len(h.Lineage) == 0 {
		return errors.New("lineage=ID:FIRST is missing")
	}
	filter, err := codec.NewFilter(h.Filter)
	if err != nil {
		return err
	}
	h.Filter = filter
	h.Seed = codec.LineSeed(h.Lineage.Current().ID, h.Filter)
	if seed != nil {
		h.Seed = uint32(seed[0])<<24 | uint32(seed[1])<<16 | uint32(seed[2])<<8 | uint32(seed[3])
	}
	want, err := recording.AppendHeader(nil, &h)
	if err != nil {
		return err
	}
	if raw == nil {
		raw = want
	}
	r.end.header(false)
	for range times {
		r.write(raw)
	}
	r.state.enter(&h)
	return nil
}

func (r *reader) mark(times int) error {
	next, ok, err := r.words.uint("next", 1, codec.MaxSeq)
	if err != nil {
		return err
	}
	if ok {
		r.state.next = next
	}
	h := r.state.mark()
	b, err := recording.AppendHeader(nil, &h)
	if err != nil {
		return err
	}
	r.end.header(times == 1)
	for range times {
		r.write(b)
	}
	return nil
}

func (r *reader) bytes() error {
	text, ok := r.words.next()
	b, err := hex.DecodeString(text)
	if err != nil || !ok {
		return errors.New("want pairs of hexadecimal digits")
	}
	r.write(b)
	return nil
}

func (r *reader) time() (int64, error) {
	text, ok := r.words.next()
	if !ok {
		return 0, errors.New("a time is missing, such as 2026-01-05T14:30:00Z")
	}
	return parseTime(text)
}

// room resets buf to n zero bytes, the room for a header.
func (r *reader) room(n int) {
	if r.buf == nil {
		r.buf = make([]byte, 0, codec.PacketHeader+codec.MaxBody+codec.MaxEntry)
	}
	r.buf = r.buf[:n]
	clear(r.buf)
	r.covers, r.alone = 0, false
}

func (r *reader) begin() (err error) {
	h := codec.Packet{First: r.state.next}
	if h.PublishTime, err = r.time(); err != nil {
		return err
	}
	h.Base = h.PublishTime
	if text, ok := r.words.value("base"); ok {
		if h.Base, err = parseTime(text); err != nil {
			return err
		}
	}
	if seq, ok, err := r.words.uint("seq", 1, codec.MaxSeq-1); err != nil {
		return err
	} else if ok {
		h.First = seq
	}
	if h.Count, r.sized, err = r.words.uint("count", 1, codec.MaxSpan); err != nil {
		return err
	}
	r.open, r.packet = aPacket, h
	r.room(codec.PacketHeader)
	return nil
}

func (r *reader) part() (err error) {
	s := codec.SnapshotPart{Seq: r.state.next, Index: r.state.part}
	if s.Base, err = r.time(); err != nil {
		return err
	}
	if index, ok, err := r.words.uint("index", 0, math.MaxInt64); err != nil {
		return err
	} else if ok {
		s.Index = index
	}
	r.state.part = s.Index + 1
	r.open, r.of = aPart, s
	r.room(codec.PartHeader)
	return nil
}

// seal writes the current packet or part.
func (r *reader) seal() error {
	open := r.open
	r.open = nothing
	switch open {
	case aPart:
		codec.SealPart(r.buf, &r.of, r.state.header.Seed)
	case aPacket:
		if !r.sized {
			r.packet.Count = r.covers
		}
		h := &r.packet
		if h.Count == 0 || h.Count > codec.MaxSpan || h.First+h.Count > codec.MaxSeq {
			return fmt.Errorf("the packet before this line covers %d numbers from %d, want 1 or more, up to %d", h.Count, h.First, uint64(codec.MaxSeq))
		}
		codec.SealPacket(r.buf, h, r.state.header.Seed)
		r.end.packet(h)
		r.state.next = h.First + h.Count
	default:
		return nil
	}
	r.write(r.buf)
	return nil
}

// entry handles a line of the current packet or part.
func (r *reader) entry(kind string) error {
	head, base, packet := codec.PacketHeader, r.packet.Base, true
	if r.open == aPart {
		head, base, packet = codec.PartHeader, r.of.Base, false
	}
	before := len(r.buf)
	covers := uint64(1)
	var err error
	switch i := slices.Index(kindWords[:], kind); {
	case i > 0:
		var t feed.Tick
		t.Kind = feed.Kind(i)
		if packet && t.Kind == feed.KindSummary {
			return errors.New("stands in snapshots only")
		}
		if err = r.tick(&t, base); err == nil {
			r.buf = codec.AppendTick(r.buf, &t, base)
		}
		if err == nil && t.Kind == feed.KindDefinition {
			r.state.names.define(t.Instrument, t.Definition())
		}
	case kind == "raw":
		covers, err = r.raw()
	case (kind == "skip" || kind == "withheld" || kind == "gone") && packet:
		covers, err = r.absent(kind)
	default:
		return errUnknown
	}
	if err != nil {
		r.buf = r.buf[:before]
		return err
	}
	if len(r.buf)-head > codec.MaxBody {
		return fmt.Errorf("the body has more than %d bytes: begin another packet", codec.MaxBody)
	}
	if r.alone || (kind == "withheld" || kind == "gone") && before > head {
		return errors.New("numbers that are withheld or gone must be all of their packet")
	}
	r.alone = kind == "withheld" || kind == "gone"
	if covers > codec.MaxSpan || r.covers+covers > codec.MaxSpan {
		return fmt.Errorf("the packet covers more than %d numbers", uint64(codec.MaxSpan))
	}
	r.covers += covers
	return nil
}

// absent parses an entry without a tick.
func (r *reader) absent(kind string) (n uint64, err error) {
	text, ok := r.words.next()
	if n, err = strconv.ParseUint(text, 10, 64); !ok || err != nil || n == 0 || n > codec.MaxSpan {
		return 0, fmt.Errorf("want how many numbers, from 1 to %d, got %q", uint64(codec.MaxSpan), text)
	}
	switch kind {
	case "skip":
		r.buf = codec.AppendSkip(r.buf, n)
	case "withheld":
		r.buf = codec.AppendWithheld(r.buf, n)
	case "gone":
		text, _ := r.words.next()
		reason, err := oneOrNumber(reasons, text)
		if err != nil {
			return 0, err
		} else if reason == 0 {
			return 0, errors.New("the reason of gone numbers is 1 to 255, got 0")
		}
		r.buf = codec.AppendGone(r.buf, n, codec.GoneReason(reason))
	}
	return n, nil
}

func (r *reader) raw() (uint64, error) {
	text, _ := r.words.next()
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("want how many numbers the bytes cover, got %q", text)
	}
	text, ok := r.words.next()
	b, err := hex.DecodeString(text)
	if err != nil || !ok {
		return 0, errors.New("want pairs of hexadecimal digits")
	}
	r.buf = append(r.buf, b...)
	return n, nil
}
