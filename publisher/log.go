package publisher

import (
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
	spare    *segment   // evicted while nobody read it: to be used again
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
	state     *feed.State // as of first
	restated  bool        // state is not what the ticks before it make
}

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
	l := &memlog{most: most, size: size, next: next, time: time}
	l.segments = append(l.segments, &segment{buf: make([]byte, size), first: next, state: state})
	return l
}

// newest is the segment that is being filled.
func (l *memlog) newest() *segment {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.segments[len(l.segments)-1]
}

// extend begins a new segment at number first, whose state is as of there. It is false where
// there is no room: the oldest segment is not committed as far as written bytes.
func (l *memlog) extend(first uint64, state *feed.State) (*segment, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.segments) >= l.most {
		if l.next < l.segments[1].first {
			return nil, false
		}
		old := l.segments[0]
		copy(l.segments, l.segments[1:])
		l.segments = l.segments[:len(l.segments)-1]
		l.base++
		if old.pins.Load() == 0 {
			l.spare = old
		}
	}
	s := &segment{first: first, state: state}
	if old := l.spare; old != nil {
		s.buf, l.spare = old.buf, nil
	} else {
		s.buf = make([]byte, l.size)
	}
	l.segments = append(l.segments, s)
	return s, true
}

// canExtend reports whether extend has room.
func (l *memlog) canExtend() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.segments) < l.most || l.next >= l.segments[1].first
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
	if seq < l.segments[0].first || seq > l.next {
		return place{}, nil, 0, false
	}
	i := sort.Search(len(l.segments), func(i int) bool { return l.segments[i].first > seq }) - 1
	s = l.segments[i]
	s.pins.Add(1)
	p.segment = l.base + uint64(i)
	if m := sort.Search(len(s.marks), func(i int) bool { return s.marks[i].first > seq }); m > 0 {
		p.offset = s.marks[m-1].offset
	}
	return p, s, s.committed, true
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
func (l *memlog) stateAt(seq uint64) (*feed.State, bool) {
	_, s, committed, ok := l.pinFor(seq)
	if !ok {
		return nil, false
	}
	defer s.pins.Add(-1)
	s.cloning.Lock()
	state := s.state.Clone()
	s.cloning.Unlock()
	fold(state, s.buf[:committed], seq)
	return state, true
}

// fold applies the ticks before seq in packets, which this program wrote.
func fold(state *feed.State, packets []byte, seq uint64) {
	batch := make([]feed.Tick, 64)
	for len(packets) > 0 {
		n := codec.PacketSize(packets)
		h := codec.PacketAt(packets)
		if h.First >= seq {
			return
		}
		body := codec.PacketBody(&h, packets[codec.PacketHeader:n])
		for {
			k, err := body.Decode(batch)
			if err != nil {
				panic("publisher: internal error: the log holds a malformed packet: " + err.Error())
			}
			if k == 0 {
				break
			}
			for i := range batch[:k] {
				if batch[i].Seq >= seq {
					return
				}
				if err := applyRecorded(state, &batch[i]); err != nil {
					panic("publisher: internal error: the log holds a tick that does not apply: " + err.Error())
				}
			}
		}
		packets = packets[n:]
	}
}
