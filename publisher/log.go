package publisher

import (
	"slices"
	"sort"
	"sync"
	"sync/atomic"

	"tickfeed/codec"
	"tickfeed/feed"
)

// A memlog is the part of the log in memory: whole packets, unchanged, in contiguous segments of equal size. The
// sequencer fills the newest segment; readers see only committed bytes, which never change. When the log is full the
// oldest segments are dropped, and readers that still need them read the journal.
type memlog struct {
	mu       sync.Mutex // held for a few instructions, never while anything blocks
	segments []*segment // oldest first, never empty
	base     uint64     // index of segments[0], counted from the first segment ever
	most     int        // segments at most
	size     int        // size of a segment, in bytes
	next     uint64     // number after the last one committed
	time     int64      // publish time of the last packet committed
	spare    [][]byte   // buffers of dropped segments that were not pinned, for reuse
	stated   uint64     // first number of the newest segment that has a state
	unstated int        // segments after that segment

	holed atomic.Bool // the log has packets that withhold numbers, or report them gone
}

// A segment is contiguous memory for packets.
type segment struct {
	buf       []byte // len is the segment size; the sequencer writes beyond committed
	first     uint64 // number of its first packet
	firstTime int64  // publish time of its first committed packet; protected by memlog.mu
	committed int    // bytes that readers may see; protected by memlog.mu
	marks     []mark // in order, about markEvery bytes apart; protected by memlog.mu
	pins      atomic.Int32
	cloning   sync.Mutex
	state     *feed.State // as of first; nil if it must be computed from the state of an older segment
	restated  bool        // state was replaced by Skip, and is not the result of the ticks before it
}

// stateEvery is how many ticks per instrument there are between two states that the log keeps. The distance is at
// most an eighth of the log. A state costs time and memory for each instrument that changes after it: a state for
// every segment would almost double the memory of a publisher of 10,000 instruments.
const stateEvery = 16

// A mark is the place in a segment at which a packet begins or will begin.
type mark struct {
	first  uint64 // number of the packet
	offset int
}

// markEvery is the distance between marks, in bytes. It is so small that find walks over a few hundred packets at
// most, unless more were committed at once. See BenchmarkFind.
const markEvery = 16 << 10

// A place is the position of a cursor in the log: the index of a segment, and an offset in it at which a packet
// begins or will begin.
type place struct {
	segment uint64
	offset  int
}

func newMemlog(size, most int, next uint64, time int64, state *feed.State) *memlog {
	l := &memlog{most: most, size: size, next: next, time: time, stated: next}
	l.segments = append(l.segments, &segment{buf: make([]byte, size), first: next, state: state})
	return l
}

// newest returns the segment that is being filled.
func (l *memlog) newest() *segment {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.segments[len(l.segments)-1]
}

// stateDue reports whether a segment that begins at number first must have a state, given the number of instruments.
func (l *memlog) stateDue(first uint64, instruments int) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.unstated+1 >= l.most/8 || first-l.stated >= uint64(instruments*stateEvery)
}

// extend begins a new segment at number first; state is the state as of first, or nil. It returns false if there is
// no room: a segment that would be dropped (the oldest ones, up to the second with a state) still holds uncommitted
// ticks.
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

// oldestLocked returns how many of the oldest segments are dropped together, so that the oldest remaining segment has
// a state.
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

// mayDrop reports whether memory is full, so that extend would drop segments, and if so whether they may be dropped:
// no reader has pinned them, and sent accepts that memory then begins at number next. No reader can pin the segments
// while sent is called.
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

// commit makes s visible to readers up to offset end; next is the number after end.
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

// head returns the number after the last one committed, and the publish time of the last packet.
func (l *memlog) head() (next uint64, time int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.next, l.time
}

// bytes returns how much memory the log takes.
func (l *memlog) bytes() int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return int64(len(l.segments)) * int64(l.size)
}

// tail returns the oldest number in memory, or the next number if memory is empty.
func (l *memlog) tail() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.segments[0].first
}

// A view is a run of committed packets in memory. It pins them until release is called.
type view struct {
	seg  *segment
	data []byte // whole packets
	at   place  // position of data
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

// view returns all committed packets from p to the end of its segment, without data if there are none yet. It returns
// false if p is no longer in memory.
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

// find returns the place of the packet that holds seq, or of the next packet if seq is the number after the last one
// committed. It returns false if seq is not in memory.
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

// pinFor pins the segment that holds seq, and returns a place shortly before seq and how many bytes of the segment
// may be read.
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

// segmentLocked returns the index of the segment that holds seq, or will hold it if seq is the number after the last
// one committed. It returns false if seq is not in memory.
func (l *memlog) segmentLocked(seq uint64) (i int, ok bool) {
	if seq < l.segments[0].first || seq > l.next {
		return 0, false
	}
	return sort.Search(len(l.segments), func(i int) bool { return l.segments[i].first > seq }) - 1, true
}

// seqAt returns the number of the first packet in memory with a publish time of at least time, or the next number if
// there is none. It returns false if that packet may be older than memory.
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

// stateAt returns the state as of seq. It returns false if seq is not in memory.
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

// A stretch is a part of the memory log that begins with a state. It is pinned until it is folded.
type stretch struct {
	first, last uint64 // range of numbers, both included, whose states it can compute
	segments    []*segment
	packets     [][]byte // committed packets of each segment
}

// stretch returns the stretch from which the state as of seq can be computed. It returns false if seq is not in
// memory.
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

// fold computes states and passes them to visit: first the state as of t.first, then the state before each packet, or
// as of the number that visit returned if that comes earlier. It ends when that number is not above to, or beyond
// t.last; visit may then keep the last state.
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

// fold applies the ticks of a packet with numbers in r, except those of undefined instruments, whose definitions a
// recording lost. It panics if the packet is malformed, since this process wrote it.
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
		if _, err := state.ApplyKnown(r.Of(batch[:k])); err != nil {
			panic("publisher: internal error: the log holds a tick that does not apply: " + err.Error())
		}
		if batch[k-1].Seq >= r.To-1 {
			return
		}
	}
}
