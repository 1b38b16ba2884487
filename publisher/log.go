package publisher

import (
	"slices"
	"sort"
	"sync"
	"sync/atomic"

	"tickfeed/codec"
	"tickfeed/feed"
)

// A memlog is the part of the log that is in memory: whole packets, verbatim, in contiguous
// segments of one size. The newest segment is filled by the sequencer; readers see only what
// was committed, which never changes. When the log is full the oldest segment goes, and who
// still wants it reads the journal.
type memlog struct {
	mu       sync.Mutex // held for a few instructions, never while anything blocks
	segments []*segment // oldest first, never empty
	base     uint64     // number of segments[0]
	most     int        // how many segments there may be
	size     int        // of a segment, in bytes
	next     uint64     // number after the last one committed
	time     int64      // publish time of the last packet committed
	spare    [][]byte   // of segments that were evicted while nobody read them: to be used again
	stated   uint64     // first number of the newest segment that has a state
	unstated int        // how many there are after it
}

// A segment is contiguous memory for packets.
type segment struct {
	buf       []byte // len is its size; the sequencer writes beyond committed
	first     uint64 // number of its first packet
	firstTime int64  // publish time of its first committed packet; protected by memlog.mu
	committed int    // bytes that readers may see; protected by memlog.mu
	marks     []mark // in order, about markEvery bytes apart; protected by memlog.mu
	pins      atomic.Int32
	cloning   sync.Mutex
	state     *feed.State // as of first; nil where it is to be made from that of an older segment
	restated  bool        // state is not what the ticks before it make
}

// stateEvery is how many ticks there are for each instrument between two states that the log keeps, and at most an
// eighth of the log. A state takes time and memory for each instrument that changes after it: with one for each
// segment, a publisher of 10,000 instruments took 364 MB instead of 204.
const stateEvery = 16

// A mark says where in its segment a packet begins, or will begin.
type mark struct {
	first  uint64 // number of the packet
	offset int
}

// markEvery is so little that find walks over a few hundred packets at most, unless they were
// committed at once. From the beginning of a segment of single ticks it was 20,000, and 150 µs of
// a reconnect.
const markEvery = 16 << 10

// A place is where a cursor stands in the log: a segment, and an offset into it at which a
// packet begins or will begin.
type place struct {
	segment uint64
	offset  int
}

func newMemlog(size, most int, next uint64, time int64, state *feed.State) *memlog {
	l := &memlog{most: most, size: size, next: next, time: time, stated: next}
	l.segments = append(l.segments, &segment{buf: make([]byte, size), first: next, state: state})
	return l
}

// newest is the segment that is being filled.
func (l *memlog) newest() *segment {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.segments[len(l.segments)-1]
}

// stateDue reports whether the segment that begins at number first is to have a state, where there are so many
// instruments.
func (l *memlog) stateDue(first uint64, instruments int) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.unstated+1 >= l.most/8 || first-l.stated >= uint64(instruments*stateEvery)
}

// extend begins a new segment at number first, whose state is as of there, or nil. It is false where
// there is no room: the oldest segments, up to the second that has a state, are not committed as far as written bytes.
func (l *memlog) extend(first uint64, state *feed.State) (*segment, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.segments) >= l.most {
		n := l.oldestLocked()
		if l.next < l.segments[n].first {
			return nil, false
		}
		for _, old := range l.segments[:n] {
			if old.pins.Load() == 0 {
				l.spare = append(l.spare, old.buf)
			}
		}
		l.segments = slices.Delete(l.segments, 0, n)
		l.base += uint64(n)
	}
	s := &segment{first: first, state: state}
	if n := len(l.spare); n > 0 {
		s.buf, l.spare[n-1] = l.spare[n-1], nil
		l.spare = l.spare[:n-1]
	} else {
		s.buf = make([]byte, l.size)
	}
	l.segments = append(l.segments, s)
	if l.unstated++; state != nil {
		l.stated, l.unstated = first, 0
	}
	return s, true
}

// oldestLocked is how many of the oldest segments go together: no state is older than what is left.
func (l *memlog) oldestLocked() int {
	n := 1
	for n < len(l.segments)-1 && l.segments[n].state == nil {
		n++
	}
	return n
}

// canExtend reports whether extend has room.
func (l *memlog) canExtend() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.segments) < l.most || l.next >= l.segments[l.oldestLocked()].first
}

// mayDrop reports whether extend would drop segments because memory is full, and if so whether nobody reads them and sent
// accepts that memory begins at number next then. It calls sent while no reader can come to those segments.
func (l *memlog) mayDrop(sent func(next uint64) bool) (full, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.segments) < l.most {
		return false, false
	}
	n := l.oldestLocked()
	for _, s := range l.segments[:n] {
		if s.pins.Load() > 0 {
			return true, false
		}
	}
	return true, sent(l.segments[n].first)
}

// commit lets readers see s up to end; next is the number after it.
func (l *memlog) commit(s *segment, end int, next uint64, time int64) {
	l.mu.Lock()
	if s.committed == 0 {
		s.firstTime = codec.PacketAt(s.buf).PublishTime
	}
	marked := 0
	if n := len(s.marks); n > 0 {
		marked = s.marks[n-1].offset
	}
	if end-marked >= markEvery {
		s.marks = append(s.marks, mark{first: next, offset: end})
	}
	s.committed = end
	l.next, l.time = next, time
	l.mu.Unlock()
}

// end is the number after the last one committed, and the publish time of the last packet.
func (l *memlog) end() (next uint64, time int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.next, l.time
}

// tail is the oldest number in memory, or the next one if there is none.
func (l *memlog) tail() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.segments[0].first
}

// A view is committed packets in memory. It must be released when its data is no longer used.
type view struct {
	seg  *segment
	data []byte // whole packets
	at   place  // of data
	end  uint64 // number after data
}

func (v *view) release() {
	if v.seg != nil {
		v.seg.pins.Add(-1)
		v.seg = nil
	}
}

// limit shortens v to the packets that begin in its first n bytes.
func (v *view) limit(n int) {
	size := 0
	for size < n && size < len(v.data) {
		size += codec.PacketSize(v.data[size:])
	}
	if size < len(v.data) {
		v.end = codec.PacketAt(v.data[size:]).First
		v.data = v.data[:size:size]
	}
}

// view returns what is committed at p, all of it that is in one segment; no data where there
// is none yet. It is false where p is no longer in memory.
func (l *memlog) view(p place) (view, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if p.segment < l.base {
		return view{}, false
	}
	i := int(p.segment - l.base)
	s := l.segments[i]
	if p.offset == s.committed && i+1 < len(l.segments) && l.next >= l.segments[i+1].first {
		p = place{segment: p.segment + 1}
		i++
		s = l.segments[i]
	}
	v := view{at: p, data: s.buf[p.offset:s.committed:s.committed], end: l.next}
	if i+1 < len(l.segments) {
		v.end = min(l.next, l.segments[i+1].first)
	}
	if len(v.data) > 0 {
		s.pins.Add(1)
		v.seg = s
	}
	return v, true
}

// find is the place of the packet that covers seq, or of the next packet if seq is the number
// after the last one committed. It is false where seq is not in memory.
func (l *memlog) find(seq uint64) (place, bool) {
	p, s, committed, ok := l.pinFor(seq)
	if !ok {
		return place{}, false
	}
	defer s.pins.Add(-1)
	for p.offset < committed {
		b := s.buf[p.offset:committed]
		h := codec.PacketAt(b)
		if seq < h.First+h.Count {
			break
		}
		p.offset += codec.PacketSize(b)
	}
	return p, true
}

// pinFor pins the segment that holds seq and returns a place in it that is not far before seq, with
// how much of it may be read.
func (l *memlog) pinFor(seq uint64) (p place, s *segment, committed int, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	i, ok := l.segmentLocked(seq)
	if !ok {
		return place{}, nil, 0, false
	}
	s = l.segments[i]
	s.pins.Add(1)
	p.segment = l.base + uint64(i)
	if m := sort.Search(len(s.marks), func(i int) bool { return s.marks[i].first > seq }); m > 0 {
		p.offset = s.marks[m-1].offset
	}
	return p, s, s.committed, true
}

// segmentLocked is the index of the segment that holds seq, or will hold it if it is the number after the last one
// committed. It is false where seq is not in memory.
func (l *memlog) segmentLocked(seq uint64) (i int, ok bool) {
	if seq < l.segments[0].first || seq > l.next {
		return 0, false
	}
	return sort.Search(len(l.segments), func(i int) bool { return l.segments[i].first > seq }) - 1, true
}

// seqAt is the number of the first packet in memory with a publish time of at least time; the
// next one if there is none. It is false where that packet may be older than memory.
func (l *memlog) seqAt(time int64) (uint64, bool) {
	l.mu.Lock()
	first := l.segments[0]
	if first.committed == 0 || first.firstTime >= time {
		defer l.mu.Unlock()
		return first.first, false
	}
	i := 0
	for i+1 < len(l.segments) && l.segments[i+1].committed > 0 && l.segments[i+1].firstTime < time {
		i++
	}
	s, committed, next := l.segments[i], l.segments[i].committed, l.next
	if i+1 < len(l.segments) {
		next = min(next, l.segments[i+1].first)
	}
	s.pins.Add(1)
	l.mu.Unlock()
	defer s.pins.Add(-1)
	for b := s.buf[:committed]; len(b) > 0; b = b[codec.PacketSize(b):] {
		if h := codec.PacketAt(b); h.PublishTime >= time {
			return h.First, true
		}
	}
	return next, true
}

// stateAt is the state as of seq. It is false where seq is not in memory.
func (l *memlog) stateAt(seq uint64) (state *feed.State, ok bool) {
	t, ok := l.stretch(seq)
	if !ok {
		return nil, false
	}
	t.fold(func(s *feed.State, from, to uint64) (next uint64) {
		if seq > to {
			return seq
		}
		state = s
		return 0
	})
	return state, true
}

// A stretch is a part of the log in memory that begins with a state. It is pinned until it is folded.
type stretch struct {
	first, last uint64 // it comes to the states of these numbers and those between
	segments    []*segment
	packets     [][]byte // of the segments
}

// stretch returns the stretch that comes to the state as of seq. It is false where seq is not in memory.
func (l *memlog) stretch(seq uint64) (*stretch, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	i, ok := l.segmentLocked(seq)
	if !ok {
		return nil, false
	}
	from, to := i, i+1
	for l.segments[from].state == nil {
		from--
	}
	for to < len(l.segments) && l.segments[to].state == nil {
		to++
	}
	t := &stretch{first: l.segments[from].first, last: l.next, segments: slices.Clone(l.segments[from:to])}
	if to < len(l.segments) {
		t.last = min(t.last, l.segments[to].first-1)
	}
	for _, s := range t.segments {
		s.pins.Add(1)
		t.packets = append(t.packets, s.buf[:s.committed])
	}
	return t, true
}

// fold calls visit with the state as of first, and then before each packet, at the latest at the number that visit
// returned. It ends where that is not above to, or beyond last. The state is visit's to keep if it ends there.
func (t *stretch) fold(visit func(state *feed.State, from, to uint64) (next uint64)) error {
	defer func() {
		for _, s := range t.segments {
			s.pins.Add(-1)
		}
	}()
	t.segments[0].cloning.Lock()
	state := t.segments[0].state.Clone()
	t.segments[0].cloning.Unlock()
	batch := make([]feed.Tick, 64)
	at := t.first
	next := visit(state, at, at)
	for _, packets := range t.packets {
		for len(packets) > 0 {
			size := codec.PacketSize(packets)
			h := codec.PacketAt(packets)
			for end := h.First + h.Count; at < end; next = visit(state, at, at) {
				if next <= at || next > t.last {
					return nil
				}
				to := min(next, end)
				fold(state, batch, &h, packets[codec.PacketHeader:size], feed.Range{From: at, To: to})
				at = to
			}
			packets = packets[size:]
		}
	}
	return nil
}

// fold applies the ticks of r in a packet, which this program wrote.
func fold(state *feed.State, batch []feed.Tick, h *codec.Packet, packet []byte, r feed.Range) {
	body := codec.PacketBody(h, packet)
	for {
		k, err := body.Decode(batch)
		if err != nil {
			panic("publisher: internal error: the log holds a malformed packet: " + err.Error())
		}
		if k == 0 {
			return
		}
		for i := range batch[:k] {
			switch seq := batch[i].Seq; {
			case seq < r.From:
				continue
			case seq >= r.To:
				return
			}
			if err := applyRecorded(state, &batch[i]); err != nil {
				panic("publisher: internal error: the log holds a tick that does not apply: " + err.Error())
			}
		}
	}
}
