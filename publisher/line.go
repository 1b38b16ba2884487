package publisher

import (
	"errors"
	"io"

	"tickfeed/codec"
	"tickfeed/feed"
	"tickfeed/publisher/journal"
)

// A line is the cursor of one subscription: its position in the log, and the part of the log that it sees. Once its
// connection is served, only the holder of the turn of the connection may use it.
type line struct {
	p       *Publisher
	session feed.Session // session of the next packets
	seed    uint32
	next    uint64       // number after the last one sent to the client, or the start of the line
	filter  codec.Filter // as the client asked
	permit  *Permission  // nil for everything
	grant   grant        // what permit leaves of filter
	floor   uint64       // the numbers below are too old for permit, and are reported as gone; 0 for none
	until   uint64       // number at which the line ends, as the client asked; 0 for no end
	wanted  *wanted      // nil for all instruments

	at     place
	inMem  bool
	cursor *journal.Cursor // reads the journal; nil otherwise
	read   uint64          // number after the last packet read; beyond next while a skip is pending
}

// covered reports whether the line has reached the end that the client asked for.
func (l *line) covered() bool { return l.until != 0 && l.read >= l.until }

// A chunk is what a line sends next: bytes, and the position of the line after them.
type chunk struct {
	data []byte
	next uint64
	time int64 // publish time of the first packet; 0 for messages that have no publish time
	mem  view  // pins data if it is memory of the log
	// gone, if not empty, is a range that can no longer be served. data is then the packet that reports the range,
	// and a snapshot must follow.
	gone feed.Range
}

// selection returns what l is sent.
func (l *line) selection() *Selection {
	g := &l.grant
	switch {
	case !g.limited && l.filter.All():
		return &everySelection // idle subscribers, of which there may be many, share it
	case !g.limited:
		return &Selection{Filter: l.filter}
	}
	s := &Selection{Filter: l.filter, Granted: g.filter, Denied: g.denied, Limits: g.limits}
	if l.permit.shallow() {
		s.Depth = DepthL1
	}
	return s
}

// seek places the line at the packet that holds seq, which must not exceed the end of the log.
func (l *line) seek(seq uint64) {
	l.closeCursor()
	l.next, l.read = seq, seq
	if l.at, l.inMem = l.p.log.find(seq); !l.inMem {
		l.openJournal()
	}
}

// packetOf returns the first number of the packet that holds seq, where a line for seq begins, or seq itself if there
// is no such packet. It returns an error if the journal cannot be read now.
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

// packetFrom returns the packet that holds seq, or the next available packet. It returns false if there is none.
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
		if tail := l.p.log.tail(); seq < tail && tail < c.Gone.To { // memory holds packets that the journal no longer has
			return l.packetFrom(tail)
		}
	}
}

// timeAt returns the publish time for a packet that replaces unsent packets and ends at seq: the publish time of the
// packet that follows, so that publish times of the line never decrease. It returns an error if the journal cannot be
// read now: any other time could exceed the time of the packet that follows.
func (l *line) timeAt(seq uint64) (int64, error) {
	next, last := l.p.log.head()
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

// closeCursor closes the cursor of the line, if it has one.
func (l *line) closeCursor() {
	if l.cursor != nil {
		l.cursor.Close()
		l.cursor = nil
	}
}

// reopen opens a new cursor at read. Data that advance returned from the old cursor is no longer valid.
func (l *line) reopen() {
	l.closeCursor()
	l.openJournal()
}

// setSession makes s the session of the line, and computes its seed.
func (l *line) setSession(s feed.Session) {
	l.session = s
	l.seed = codec.LineSeed(s.ID, l.grant.filter)
}

// advance returns the next chunk, without data if the line is caught up. Data that has to be encoded is written to
// buf; the chunk refers to buf or to the log.
func (l *line) advance(buf []byte) (chunk, error) {
	if l.read < l.floor {
		c, err := l.lost(feed.Range{From: l.read, To: l.floor}, codec.GoneDenied, buf)
		if err == nil {
			l.seek(l.next)
		}
		return c, err
	}
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
		l.closeCursor()
		l.at, l.inMem = at, true
		return l.advance(buf)
	}
	if l.cursor == nil {
		return l.lost(feed.Range{From: l.read, To: l.p.log.tail()}, codec.GoneExpired, buf)
	}
	c, err := l.cursor.Next()
	switch {
	case errors.Is(err, io.EOF):
		// The journal holds everything that memory dropped, so the next packet is in memory.
		return chunk{next: l.next}, nil
	case err != nil:
		return chunk{}, err
	case !c.Gone.Empty():
		if tail := l.p.log.tail(); tail > max(l.read, c.Gone.From) {
			c.Gone.To = min(c.Gone.To, tail) // packets no longer on disk may still be in memory
		}
		return l.lost(c.Gone, c.Reason, buf)
	}
	return l.pass(c.Data, c.Session, view{}, c.Range.To, buf), nil
}

// change appends the message that must precede packets of session s, if any.
func (l *line) change(s feed.Session, buf []byte) []byte {
	if s.ID == l.session.ID {
		return buf
	}
	l.setSession(s)
	lineage, _ := l.p.lineage.Until(s.ID)
	buf, err := codec.Append(buf, &codec.SessionChange{
		Mode: l.p.cfg.Mode, Lineage: lineage.Newest(), Origin: l.p.origin, Seed: l.seed, Next: l.next,
	})
	if err != nil {
		panic("publisher: internal error: session change: " + err.Error())
	}
	return buf
}

// pass makes a chunk of whole packets of session s that end before number end.
func (l *line) pass(data []byte, s feed.Session, mem view, end uint64, buf []byte) chunk {
	c := chunk{next: end, time: codec.PacketAt(data).PublishTime, mem: mem}
	if s.ID != l.session.ID { // rare: the change is a chunk of its own
		mem.release()
		c.mem = view{}
		if l.cursor != nil {
			l.reopen()
		}
		// A pending skip belongs to the previous session.
		buf = l.skipTo(l.read, c.time, buf[:0])
		c.data, c.next, c.time = l.change(s, buf), l.next, 0
		return c
	}
	cut := false
	if l.p.log.holed.Load() {
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
			c.data = append(buf[:0], data...) // reopen invalidates the memory of the cursor
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

// untilHole returns how many bytes of packets precede the first hole.
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

// passHole makes a chunk of the first packet of data, which is a hole. Holes are sent on every line, whatever its
// filter, followed by a snapshot.
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

// lost makes the chunk that reports r as gone. It covers the part of r in one session; the next call covers the rest.
// After an error the line has not moved.
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

// skip appends a packet that skips the numbers left out by the filter so far, if any. It appends nothing if the
// journal, which has the publish time for the packet, cannot be read now.
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

// skipTo appends a packet with the given publish time that skips the numbers left out by the filter before number to,
// if any.
func (l *line) skipTo(to uint64, time int64, buf []byte) []byte {
	if l.wanted == nil || to <= l.next {
		return buf
	}
	buf = codec.AppendPacket(buf, &codec.Packet{First: l.next, Count: to - l.next, PublishTime: time},
		codec.AppendSkip(nil, to-l.next), l.seed)
	l.next = to
	return buf
}

// withhold appends a packet that withholds all numbers before number to.
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
