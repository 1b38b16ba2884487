package publisher

import (
	"errors"
	"io"

	"tickfeed/codec"
	"tickfeed/feed"
	"tickfeed/publisher/journal"
)

// A line is the cursor of one subscription: where it stands in the log, and what of the log
// it sees. Only its connection's writer uses it.
type line struct {
	p       *Publisher
	session feed.Session // whose packets come next
	seed    uint32
	next    uint64 // number after the last one told to the client, or begun with
	filter  codec.Filter
	wanted  *wanted // nil: all

	at     place
	inMem  bool
	cursor *journal.Cursor // reading the journal, if not nil
	read   uint64          // number after the last packet read; beyond next where a skip is pending
}

// A chunk is what a line sends next: bytes, and where the line is after them.
type chunk struct {
	data []byte
	next uint64
	time int64 // publish time of the first packet; 0 for messages that have none
	mem  view  // what data is part of, if it is the log's own memory
	// gone, if not empty, is what cannot be had any more; data is the packet that says so, and
	// a snapshot must follow.
	gone feed.Range
}

// begin places the line at the packet that holds seq, which is at most the log's end.
func (l *line) begin(seq uint64) {
	l.stop()
	l.next, l.read = seq, seq
	if l.at, l.inMem = l.p.log.find(seq); !l.inMem {
		l.openJournal()
	}
}

// packetOf is the first number of the packet that holds seq, where a line for seq begins; seq
// itself if there is no such packet. The error says that the journal cannot be read now.
func (l *line) packetOf(seq uint64) (uint64, error) {
	if owner, _, ok := l.p.lineage.Owner(seq); ok && owner.First == seq {
		return seq, nil // a session begins with a packet
	}
	if h, ok, err := l.packetFrom(seq); err != nil {
		return 0, err
	} else if ok {
		return min(seq, h.First), nil
	}
	return seq, nil
}

// packetFrom is the packet that holds seq, or the next one that can be had. It returns false if there is none.
func (l *line) packetFrom(seq uint64) (codec.Packet, bool, error) {
	for {
		at, ok := l.p.log.find(seq)
		if !ok {
			break
		}
		v, ok := l.p.log.view(at)
		if !ok {
			continue // memory has just dropped it
		}
		if len(v.data) == 0 {
			return codec.Packet{}, false, nil
		}
		defer v.release()
		return codec.PacketAt(v.data), true, nil
	}
	if l.p.journal == nil {
		if tail := l.p.log.tail(); seq < tail {
			return l.packetFrom(tail)
		}
		return codec.Packet{}, false, nil
	}
	cursor := l.p.journal.Cursor(seq)
	defer cursor.Close()
	for {
		c, err := cursor.Next()
		if errors.Is(err, io.EOF) {
			return codec.Packet{}, false, nil
		} else if err != nil {
			return codec.Packet{}, false, err
		}
		if c.Gone.Empty() {
			return codec.PacketAt(c.Data), true, nil
		}
		if tail := l.p.log.tail(); seq < tail && tail < c.Gone.To { // memory holds what the journal no longer has
			return l.packetFrom(tail)
		}
	}
}

// timeAt is the publish time for a packet that ends at seq and stands for what is not sent: that of the packet which
// follows, so that the times of a line never decrease. The error says that the journal cannot be read now: any other time
// could be later than that of what follows.
func (l *line) timeAt(seq uint64) (int64, error) {
	next, last := l.p.log.end()
	if seq < next {
		if h, ok, err := l.packetFrom(seq); err != nil || ok {
			return h.PublishTime, err
		}
	}
	return last, nil
}

func (l *line) openJournal() {
	if l.p.journal != nil {
		l.cursor = l.p.journal.Cursor(l.read)
	}
}

// stop frees what the line holds.
func (l *line) stop() {
	if l.cursor != nil {
		l.cursor.Close()
		l.cursor = nil
	}
}

// reopen makes l go on in the journal at read. What advance returned of the journal is not valid after it.
func (l *line) reopen() {
	l.stop()
	l.openJournal()
}

// in makes session s the line's, and tells its seed.
func (l *line) in(s feed.Session) {
	l.session = s
	l.seed = codec.LineSeed(s.ID, l.filter)
}

// advance returns the next chunk: none (no data) where the line has all there is. The buffer
// is for what has to be made; the chunk belongs to the log or to it.
func (l *line) advance(buf []byte) (chunk, error) {
	if l.inMem {
		v, ok := l.p.log.view(l.at)
		if ok {
			if len(v.data) == 0 {
				return chunk{next: l.next}, nil
			}
			return l.pass(v.data, l.p.session, v, v.end, buf), nil
		}
		l.inMem = false
		l.openJournal()
	}
	if at, ok := l.p.log.find(l.read); ok {
		l.stop()
		l.at, l.inMem = at, true
		return l.advance(buf)
	}
	if l.cursor == nil {
		return l.lost(feed.Range{From: l.read, To: l.p.log.tail()}, codec.GoneExpired, buf)
	}
	c, err := l.cursor.Next()
	switch {
	case errors.Is(err, io.EOF):
		// What memory gave up is in the journal, so that what follows is in memory.
		return chunk{next: l.next}, nil
	case err != nil:
		return chunk{}, err
	case !c.Gone.Empty():
		if tail := l.p.log.tail(); tail > max(l.read, c.Gone.From) {
			c.Gone.To = min(c.Gone.To, tail) // what is not on disk any more may still be in memory
		}
		return l.lost(c.Gone, c.Reason, buf)
	}
	return l.pass(c.Data, c.Session, view{}, c.Range.To, buf), nil
}

// change returns the message that must come before packets of session s, if any.
func (l *line) change(s feed.Session, buf []byte) []byte {
	if s.ID == l.session.ID {
		return buf
	}
	l.in(s)
	lineage, _ := l.p.lineage.Until(s.ID)
	buf, err := codec.Append(buf, &codec.SessionChange{
		Mode: l.p.cfg.Mode, Lineage: lineage.Newest(), Origin: l.p.cfg.Origin, Seed: l.seed, Next: l.next,
	})
	if err != nil {
		panic("publisher: internal error: session change: " + err.Error())
	}
	return buf
}

// pass makes a chunk of whole packets of session s that end before number end.
func (l *line) pass(data []byte, s feed.Session, mem view, end uint64, buf []byte) chunk {
	c := chunk{next: end, time: codec.PacketAt(data).PublishTime, mem: mem}
	if s.ID != l.session.ID { // rare: told alone, and the packets with the next call
		mem.release()
		c.mem = view{}
		if l.cursor != nil {
			l.reopen()
		}
		// What a filter has not told yet belongs to the session before.
		buf = l.skipTo(l.read, c.time, buf[:0])
		c.data, c.next, c.time = l.change(s, buf), l.next, 0
		return c
	}
	cut := false
	if l.p.holed.Load() {
		n := untilHole(data)
		if n == 0 {
			return l.passHole(data, mem, buf)
		}
		if cut = n < len(data); cut {
			end = codec.PacketAt(data[n:]).First
			data, c.next = data[:n], end
			if l.inMem {
				mem.data, c.mem.data = data, data
			}
		}
	}
	if l.wanted == nil {
		c.data = data
		l.read = end
		if l.inMem {
			l.at = place{mem.at.segment, mem.at.offset + len(data)}
		} else if cut {
			c.data = append(buf[:0], data...) // the cursor's memory goes with it
			l.reopen()
		}
		l.next = end
		return c
	}
	used := 0
	c.data, used, c.next = l.filterPackets(data, buf[:0])
	if l.inMem {
		l.at = place{mem.at.segment, mem.at.offset + used}
	} else if used < len(data) || cut {
		l.reopen()
	}
	mem.release()
	c.mem = view{}
	l.next = c.next
	return c
}

// untilHole is how many bytes of packets stand before the first that is a hole.
func untilHole(packets []byte) int {
	n := 0
	for n < len(packets) {
		size := codec.PacketSize(packets[n:])
		if e, err := codec.EntryAt(packets[n+codec.PacketHeader : n+size]); err == nil && e.Hole {
			break
		}
		n += size
	}
	return n
}

// passHole makes the chunk of the packet that data begins with, which is a hole: every line is
// told it, and then the state.
func (l *line) passHole(data []byte, mem view, buf []byte) chunk {
	size := codec.PacketSize(data)
	h := codec.PacketAt(data)
	buf = l.skipTo(h.First, h.PublishTime, buf[:0])
	buf = codec.AppendPacket(buf, &h, data[codec.PacketHeader:size], l.seed)
	mem.release()
	l.next, l.read = h.First+h.Count, h.First+h.Count
	if l.inMem {
		l.at = place{mem.at.segment, mem.at.offset + size}
	} else {
		l.reopen()
	}
	return chunk{data: buf, next: l.next, gone: h.Range()}
}

// lost makes the chunk that says that r is gone. It covers the part of r in one session; the
// rest comes with the next call. After an error the line is where it was.
func (l *line) lost(r feed.Range, reason codec.GoneReason, buf []byte) (chunk, error) {
	from := max(l.read, r.From)
	if l.wanted == nil {
		from = l.next
	}
	r.From = max(l.next, from)
	owner, owned, ok := l.p.lineage.Owner(r.From)
	if ok {
		r.To = min(r.To, owned.To)
	}
	time, err := l.timeAt(r.To)
	if err != nil {
		if l.cursor != nil {
			l.reopen()
		}
		return chunk{}, err
	}
	buf = l.skipTo(from, time, buf[:0])
	if ok {
		buf = l.change(owner, buf)
	}
	buf = codec.AppendPacket(buf, &codec.Packet{First: r.From, Count: r.Len(), PublishTime: time},
		codec.AppendGone(nil, r.Len(), reason), l.seed)
	l.next, l.read = r.To, r.To
	if l.cursor != nil {
		l.reopen()
	}
	return chunk{data: buf, next: l.next, gone: r}, nil
}

// skip appends a packet that skips what the filter has left out so far, if anything. If the journal cannot be read now, which has
// its publish time, it does nothing: the line stays where it is.
func (l *line) skip(buf []byte) []byte {
	if l.wanted == nil || l.read <= l.next {
		return buf
	}
	time, err := l.timeAt(l.read)
	if err != nil {
		return buf
	}
	return l.skipTo(l.read, time, buf)
}

// skipTo appends a packet, of a publish time, that skips what the filter left out up to number to, if anything.
func (l *line) skipTo(to uint64, time int64, buf []byte) []byte {
	if l.wanted == nil || to <= l.next {
		return buf
	}
	buf = codec.AppendPacket(buf, &codec.Packet{First: l.next, Count: to - l.next, PublishTime: time},
		codec.AppendSkip(nil, to-l.next), l.seed)
	l.next = to
	return buf
}

// withhold appends a packet that withholds everything up to number to.
func (l *line) withhold(to uint64, buf []byte) ([]byte, error) {
	time, err := l.timeAt(to)
	if err != nil {
		return nil, err
	}
	buf = codec.AppendPacket(buf, &codec.Packet{First: l.next, Count: to - l.next, PublishTime: time},
		codec.AppendWithheld(nil, to-l.next), l.seed)
	l.next = to
	return buf, nil
}
