package recording

import (
	"bytes"
	"io"

	"tickfeed/codec"
	"tickfeed/codec/recording/place"
)

// Marks returns the index of the recording: the one at the end of the file, or, if there is none or it does not
// agree with the file, one made by walking the headers of the packets. It belongs to the Reader. Marks moves
// the Reader to the end.
func (r *Reader) Marks() ([]codec.Mark, error) {
	if r.marks == nil {
		if err := r.loadIndex(); err != nil {
			return nil, err
		}
	}
	if r.marks == nil {
		if err := r.makeIndex(); err != nil {
			return nil, err
		}
	}
	return r.marks, nil
}

// SetMarks sets an index that the caller already has.
func (r *Reader) SetMarks(marks []codec.Mark) { r.marks = marks }

// SeekSeq moves the Reader so that Next returns the first run whose first packet covers seq, or, if there is
// none, the item that comes instead: the damage, or the item after seq. If the recording was numbered back, SeekSeq
// finds the first such packet. Next does not return the header in force then; Header does.
func (r *Reader) SeekSeq(seq uint64) error {
	return r.seek(
		func(m codec.Mark) bool { return m.Seq <= seq },
		func(h codec.Packet) bool { return h.First+h.Count > seq },
		seq,
	)
}

// SeekTime moves the Reader, like SeekSeq, to the first packet with a publish time of at least t.
func (r *Reader) SeekTime(t int64) error {
	return r.seek(
		func(m codec.Mark) bool { return m.Time < t },
		func(h codec.Packet) bool { return h.PublishTime >= t },
		0,
	)
}

// seek goes to the last mark of the leading ones for which before is true, and walks from there to the first
// packet that is wanted. If seq is not 0, that is the packet of seq.
func (r *Reader) seek(before func(codec.Mark) bool, wanted func(codec.Packet) bool, seq uint64) error {
	marks, err := r.Marks()
	if err != nil {
		return err
	}
	i := 0
	for i < len(marks) && before(marks[i]) {
		i++
	}
	between := seq > 0 && i > 0 && i < len(marks)
	if between && r.seed == r.first { // numbers in the first line do not occur earlier
		found, err := r.leap(seq, marks[i-1], marks[i])
		if err != nil {
			return err
		} else if found {
			return r.walk(wanted)
		}
	}
	entered, seed := false, r.seed
	if i > 0 {
		if entered, err = r.enterMark(marks[i-1]); err != nil {
			return err
		}
	}
	if !entered { // before the first mark; or the index is wrong and useless
		if i > 0 {
			r.marks = nil
		}
		if err := r.rewind(); err != nil {
			return err
		}
	}
	r.begun, r.ahead = true, 0
	if entered && between && r.seed != seed {
		if _, err := r.leap(seq, marks[i-1], marks[i]); err != nil {
			return err
		}
	}
	return r.walk(wanted)
}

// leapSize is the number of bytes that a leap reads: a few packets of a hundred ticks. If packets are larger,
// there are few to walk over. leaps bounds the number of reads.
const (
	leapSize = 16 << 10
	leaps    = 4
)

var packetBegins = []byte{0x97, byte(codec.TypePacket), 0xce}

// leap moves from mark a towards seq, which is between a and b. Numbers are spread about evenly there, so leap
// looks for the packet before seq where it should be. A packet with a valid checksum belongs to the line in
// force, so the header at a need not be read. If no packet is found, or nothing would be gained, leap returns
// false and the Reader does not move. BenchmarkSeek measures seeks.
func (r *Reader) leap(seq uint64, a, b codec.Mark) (found bool, err error) {
	for range leaps {
		if b.Seq <= a.Seq || b.Offset <= a.Offset {
			return false, nil
		}
		share := float64(seq-a.Seq) / float64(b.Seq-a.Seq)
		at := int64(a.Offset) + int64(share*float64(b.Offset-a.Offset)) - leapSize/2
		if at < int64(a.Offset)+leapSize/2 {
			return false, nil
		}
		p, err := r.read(at, leapSize, 0)
		if err != nil {
			return false, err
		}
		i := 0
		for {
			next := bytes.Index(p[i:], packetBegins)
			if next < 0 {
				return false, nil
			}
			i += next
			if n := codec.PacketSize(p[i:]); n > 0 && n <= len(p)-i && codec.VerifyPacket(p[i:i+n], r.seed) {
				break
			}
			i++
		}
		h := codec.PacketAt(p[i:])
		if h.First <= a.Seq || h.First >= b.Seq { // numbered back in between
			return false, nil
		}
		if h.First <= seq {
			r.pos, r.next, r.last, r.begun, r.ahead = at+int64(i), h.First, place.NoTime, true, 0
			r.whole, r.marked, r.orphan, r.lost, r.closed = false, false, false, false, false
			return true, nil
		}
		b = codec.Mark{Seq: h.First, Offset: uint64(at) + uint64(i)}
	}
	return false, nil
}

// enterMark goes to mark m. It returns false if no header there agrees with m.
func (r *Reader) enterMark(m codec.Mark) (bool, error) {
	if m.Offset == 0 {
		return true, r.rewind()
	}
	h, raw, err := r.headerAt(int64(m.Offset))
	if err != nil {
		return false, err
	}
	if h == nil || checkVersion(h) != nil || h.Next != m.Seq {
		return false, nil
	}
	r.enter(h, raw)
	r.whole, r.marked = false, false
	r.pos, r.begun, r.closed, r.lost, r.orphan = int64(m.Offset), true, false, false, false
	r.last = place.NoTime
	return true, nil
}

// headerAt returns the header at pos and its wire form, or nil if there is none.
func (r *Reader) headerAt(pos int64) (*codec.FileHeader, []byte, error) {
	p, err := r.peek(pos, codec.PacketHeader)
	if err != nil {
		return nil, nil, err
	}
	h, n := r.headerOf(p)
	if h == nil && len(p) > 1 && p[1] == byte(codec.TypeFile) {
		if p, err = r.window(pos, codec.MaxMessage); err != nil {
			return nil, nil, err
		}
		h, n = r.headerOf(p)
	}
	return h, p[:n], nil
}

// walk skips packets by their headers alone up to the first that is wanted. Where packets do not join, it reads
// completely, as Next does.
func (r *Reader) walk(wanted func(codec.Packet) bool) error {
	for {
		p, err := r.peek(r.pos, codec.PacketHeader)
		if err != nil {
			return err
		}
		if len(p) == 0 {
			r.end()
			return nil
		}
		if n := codec.PacketSize(p); n > 0 && r.pos+int64(n) <= r.size {
			h := codec.PacketAt(p)
			if h.First == r.next && h.Count > 0 && h.Count <= codec.MaxSpan && h.First+h.Count <= codec.MaxSeq {
				if wanted(h) {
					return nil
				}
				r.passPacket(h)
				r.dense = n < sparse
				r.pos += int64(n)
				r.next += h.Count
				r.last = h.PublishTime
				continue
			}
		}
		if len(p) > 1 && p[1] == byte(codec.TypeFile) {
			h, raw, err := r.headerAt(r.pos)
			if err != nil {
				return err
			}
			if h != nil && r.sameLine(h) && h.Next == r.next {
				r.orphan = r.orphan || r.pos == 0
				r.passHeader(h)
				r.pos += int64(len(raw))
				continue
			}
		}
		pos, next, last := r.pos, r.next, r.last
		item, err := r.Next()
		if err == io.EOF {
			return nil
		} else if err != nil {
			return err
		}
		if item.Kind == KindPackets {
			pos = item.Offset
		}
		for h, raw := range Packets(item.Data) {
			if wanted(h) {
				r.pos, r.next, r.last = pos, next, last
				return nil
			}
			pos += int64(len(raw))
			next, last = h.First+h.Count, h.PublishTime
		}
	}
}

// loadIndex reads the index at the end of the file if there is a plausible one.
func (r *Reader) loadIndex() error {
	t, err := r.readTrailer()
	if err != nil || t == nil {
		return err
	}
	var marks []codec.Mark
	for pos, end := int64(t.IndexOffset), r.size-codec.TrailerSize; pos < end; {
		p, err := r.window(pos, codec.MaxMessage)
		if err != nil {
			return err
		}
		n := sealedSize(p, codec.TypeIndex)
		if n == 0 {
			return nil
		}
		m, err := codec.Decode(p[:n])
		if err != nil {
			return nil
		}
		for _, k := range m.(*codec.Index).Marks {
			least := uint64(0)
			if i := len(marks); i > 0 {
				least = marks[i-1].Offset + MarkInterval
			}
			if k.Offset < least || k.Offset >= t.IndexOffset {
				return nil
			}
			marks = append(marks, k)
		}
		pos += int64(n)
	}
	r.marks = marks
	return nil
}

// makeIndex makes the index by walking the whole file.
func (r *Reader) makeIndex() error {
	if err := r.rewind(); err != nil {
		return err
	}
	r.begun = true
	return r.walk(func(codec.Packet) bool { return false })
}

// peekSize is how many bytes are read for the header of a packet, in the hope that they contain more than one.
// denseSize is used if packets are smaller than sparse, because then all bytes are read anyway and larger reads
// are faster.
const (
	peekSize  = 4 << 10
	denseSize = 32 << 10
	sparse    = 8 << 10
)

// peek is like window, for a reader that will skip most of what follows.
func (r *Reader) peek(pos int64, want int) ([]byte, error) {
	if left := r.size - pos; left < int64(want) {
		want = int(max(left, 0))
	}
	if p := r.held(pos); len(p) >= want {
		return p, nil
	}
	most := peekSize
	if r.dense {
		most = denseSize
	}
	return r.read(pos, most, want)
}
