package simulation

import (
	"fmt"
	"net"
	"slices"
	"sort"
	"sync"
	"time"

	"tickfeed/codec/netsim"
	"tickfeed/feed"
	"tickfeed/publisher"
)

// mergedWithin bounds the time between the first and the last of the packets whose ticks a filtered line
// receives in one packet.
const mergedWithin = time.Millisecond

// A tap reads the bytes of one connection at the publisher's end, before any middlebox, and checks the
// publisher's messages against PROTOCOL.md: their order and form are right, their statements about the
// publisher are true, and each number has the publish time known to the auditor. It records the states that it
// sees.
type tap struct {
	*netsim.Conn
	w *world
	n *node

	mu       sync.Mutex
	in, out  []byte // from the client and from the publisher; incomplete messages
	closed   bool
	deaf     bool // a message broke the protocol, which was reported; later messages are not checked
	welcomed bool

	who       string
	filter    []string
	hello     bool
	resuming  bool
	next      uint64 // of the hello's position
	beat      time.Duration
	requests  map[uint64][]string
	lineage   feed.Lineage
	owned     feed.Range
	at        uint64
	target    uint64 // the head at the welcome
	seed      uint32
	reason    uint64
	publish   int64
	sealed    time.Time // when the packet with publish time publish was sent
	packets   int
	crossings int
	snapshot  bool
	skip      bool  // the previous message was a packet with only a skip
	memory    bool  // the line has read from memory
	files     int64 // number of files begun when the line last read from memory
}

// A tapped is a listener that puts a tap on each connection.
type tapped struct {
	net.Listener
	w *world
	n *node
}

func (l *tapped) Accept() (net.Conn, error) {
	nc, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	c := nc.(*netsim.Conn)
	from, _ := c.Link().Names()
	return &tap{Conn: c, w: l.w, n: l.n, who: "to " + from, requests: make(map[uint64][]string)}, nil
}

func (t *tap) Read(p []byte) (int, error) {
	n, err := t.Conn.Read(p)
	t.hear(&t.in, p[:n], t.client)
	return n, err
}

func (t *tap) Write(p []byte) (int, error) {
	n, err := t.Conn.Write(p)
	t.hear(&t.out, p[:n], t.publisher)
	return n, err
}

// TryWrite is Write without waiting. The publisher uses it for clients that are caught up.
func (t *tap) TryWrite(p []byte) (int, error) {
	n, err := t.Conn.TryWrite(p)
	t.hear(&t.out, p[:n], t.publisher)
	return n, err
}

func (t *tap) Close() error {
	t.mu.Lock()
	if !t.closed && t.welcomed {
		t.closed = true
		if t.snapshot {
			t.w.see(CutInSnapshot)
		}
		if len(t.requests) > 0 {
			t.w.see(CutRequest)
		}
	}
	t.mu.Unlock()
	return t.Conn.Close()
}

// hear appends p to b and passes each complete message to take.
func (t *tap) hear(b *[]byte, p []byte, take func(raw []byte) error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.deaf || len(p) == 0 {
		return
	}
	*b = append(*b, p...)
	rest := *b
	for {
		size, err := wireSize(rest, 1)
		if err == nil && size == 0 {
			break
		}
		if err == nil {
			err = take(rest[:size:size])
		}
		if err != nil {
			t.deaf = true
			t.w.fail(fmt.Errorf("%s: %w", t.who, err))
			return
		}
		rest = rest[size:]
	}
	*b = append((*b)[:0], rest...)
}

// client records a message of the client.
func (t *tap) client(raw []byte) error {
	v, _ := wireValue(raw)
	m := wireMessage{fields: v.([]any)}
	switch m.uint(0) {
	case typeHello:
		t.hello, t.filter, t.beat = true, m.texts(5), time.Duration(m.uint(10))
		t.resuming, t.next = len(m.lineage(12)) > 0, m.uint(13)
	case typeSubscribe:
		t.requests[m.uint(1)] = m.texts(2)
	}
	return nil
}

// publisher checks a message of the publisher.
func (t *tap) publisher(raw []byte) error {
	if raw[0] == 0x97 && raw[1] == typePacket {
		return t.packet(raw)
	}
	v, _ := wireValue(raw)
	m := wireMessage{}
	m.fields, _ = v.([]any)
	err := t.message(m.uint(0), &m, raw)
	if err == nil && m.bad {
		err = fmt.Errorf("a message that PROTOCOL.md does not allow: %v", m.fields)
	}
	return err
}

func (t *tap) message(typ uint64, m *wireMessage, raw []byte) error {
	skip := t.skip
	t.skip = false
	joins := func(seq uint64) error {
		if seq != t.at {
			return fmt.Errorf("message %d is at %d, the line at %d", typ, seq, t.at)
		}
		return nil
	}
	if t.snapshot && typ != typeSnapshotPart && typ != typeSnapshotEnd && typ != typeHeartbeat && typ != typeGoodbye {
		return fmt.Errorf("message %d inside a snapshot", typ)
	}
	switch typ {
	case typeWelcome:
		return t.welcome(m)
	case typeRefusal:
		return nil
	case typeGoodbye:
		if m.uint(1) == codeShutdown && t.at < t.target {
			t.w.see(StoppedInCatchUp)
		}
		return nil
	}
	if !t.welcomed {
		return fmt.Errorf("message %d before the welcome", typ)
	}
	switch typ {
	case typeHeartbeat:
		if skip {
			t.w.see(QuietSkip)
		}
		if head, now := m.uint(2), m.int(3); head < t.at || !t.w.plausible(now) {
			return fmt.Errorf("a heartbeat of a line at %d says head %d and the time %d", t.at, head, now)
		}
		return joins(m.uint(1))
	case typeSnapshotBegin:
		t.snapshot = true
		if t.packets > 0 && t.at < t.target {
			t.w.see(CatchUpSnapshot)
		}
		if scope := m.uint(2); scope > 2 || scope < 2 && len(m.texts(3)) > 0 {
			return fmt.Errorf("a snapshot of scope %d of %v", scope, m.texts(3))
		}
	case typeSnapshotPart:
		if sum := uint32(m.uint(1)); sum != wireChecksum(t.seed, raw) {
			return fmt.Errorf("a snapshot part whose checksum is not that of the line")
		}
	case typeSnapshotEnd:
		t.snapshot = false
	case typeSession:
		return t.session(m)
	case typeSubscribed:
		if t.at < t.target {
			t.w.see(CatchUpFilter)
		}
		filter, asked := t.requests[m.uint(1)]
		if !asked {
			return fmt.Errorf("an answer to request %d, which was not made", m.uint(1))
		}
		delete(t.requests, m.uint(1))
		t.filter, t.seed = filter, uint32(m.uint(3))
		return joins(m.uint(2))
	case typeEnd:
		return joins(m.uint(1))
	default:
		return fmt.Errorf("message %d from a publisher", typ)
	}
	return nil
}

func (t *tap) welcome(m *wireMessage) error {
	if t.welcomed || !t.hello {
		return fmt.Errorf("a welcome, welcomed %t after a hello %t", t.welcomed, t.hello)
	}
	t.welcomed = true
	t.lineage, t.target, t.seed, t.at, t.reason = m.lineage(4), m.uint(6), uint32(m.uint(9)), m.uint(10), m.uint(11)
	beat := t.beat
	if beat == 0 {
		beat = t.w.heartbeat
	}
	switch tail := m.uint(7); {
	case m.uint(1) != 1 || m.uint(3) != uint64(t.w.mode) || m.uint(5) != 0:
		return fmt.Errorf("a welcome of version %d, mode %d and origin %d, want 1, %d and 0", m.uint(1), m.uint(3), m.uint(5), t.w.mode)
	case !slices.Equal(t.lineage, t.n.lineage):
		return fmt.Errorf("a welcome says that the lineage is %v, it is %v", t.lineage, t.n.lineage)
	case tail > t.target || t.at > t.target:
		return fmt.Errorf("a welcome that starts at %d, of tail %d and head %d", t.at, tail, t.target)
	case time.Duration(m.uint(8)) != beat:
		return fmt.Errorf("a welcome with heartbeats each %v, want %v", time.Duration(m.uint(8)), beat)
	case t.reason == 1 && (!t.resuming || t.at > t.next), t.reason == 0 && t.resuming, t.reason > 3:
		return fmt.Errorf("a welcome that starts at %d for reason %d, the position is %d", t.at, t.reason, t.next)
	case !t.w.plausible(m.int(12)):
		return fmt.Errorf("a welcome that says it is %d", m.int(12))
	}
	switch {
	case t.reason == 2:
		t.w.see(Rewound)
	case t.reason == 3 && t.resuming:
		t.w.see(NoCommonSession)
	case t.reason == 1 && t.at < t.next:
		t.w.see(BeforePosition)
	}
	if t.w.disk.Load() == diskFull {
		t.w.see(FullDiskJoin)
	}
	return t.enter(t.at)
}

// enter sets the line's session to the owner of seq.
func (t *tap) enter(seq uint64) error {
	for i, s := range t.lineage {
		t.owned = feed.Range{From: s.First, To: 1 << 63}
		if i+1 < len(t.lineage) {
			t.owned.To = t.lineage[i+1].First
		}
		if t.owned.Contains(seq) {
			if len(t.filter) == 0 && t.seed != fullSeed(s.ID) {
				return fmt.Errorf("seed %08x of a full line of session %v", t.seed, s.ID)
			}
			return nil
		}
	}
	return fmt.Errorf("no session owns %d in %v", seq, t.lineage)
}

func (t *tap) session(m *wireMessage) error {
	lineage := m.lineage(2)
	if m.uint(1) != uint64(t.w.mode) || m.uint(3) != 0 || m.uint(5) != t.at {
		return fmt.Errorf("a session of mode %d and origin %d that goes on at %d, want %d, 0 and %d", m.uint(1), m.uint(3), m.uint(5), t.w.mode, t.at)
	}
	if len(lineage) > len(t.n.lineage) || !slices.Equal(lineage, t.n.lineage[:len(lineage)]) {
		return fmt.Errorf("a session with lineage %v, the publisher's is %v", lineage, t.n.lineage)
	}
	if len(t.filter) > 0 {
		t.w.see(FilteredCrossing)
	}
	if t.crossings++; t.crossings == 2 {
		t.w.see(TwoCrossings)
	}
	t.lineage, t.seed = lineage, uint32(m.uint(4))
	if err := t.enter(t.at); err != nil {
		return err
	}
	if t.owned.To != 1<<63 {
		return fmt.Errorf("a session message for %v, which goes on at %d, where another one owns the numbers", lineage, t.at)
	}
	return nil
}

func (t *tap) packet(raw []byte) error {
	p, err := readPacket(raw)
	if err != nil {
		return err
	}
	id := t.sessionID()
	switch {
	case !t.welcomed || t.snapshot:
		return fmt.Errorf("a packet, welcomed %t, inside a snapshot %t", t.welcomed, t.snapshot)
	case p.first != t.at || p.count == 0 || p.first+p.count > t.owned.To:
		return fmt.Errorf("a packet of %d numbers from %d, the line is at %d and session %v owns %v", p.count, p.first, t.at, id, t.owned)
	case p.checksum != wireChecksum(t.seed, raw):
		return fmt.Errorf("packet %d does not have the checksum of its line", p.first)
	case p.publish < t.publish:
		return fmt.Errorf("packet %d was published at %d, the one before it at %d", p.first, p.publish, t.publish)
	case !t.w.plausible(p.publish):
		return fmt.Errorf("packet %d was published at %d, which no clock has shown", p.first, p.publish)
	}
	now := time.Now()
	if p.publish == t.publish && now.Sub(t.sealed) > 10*time.Millisecond && t.at >= t.target {
		t.w.see(ClockHeld)
	}
	if p.publish != t.publish {
		t.sealed = now
	}
	t.publish = p.publish
	if t.packets == 0 && t.reason == 1 {
		t.resumed(id, p.first)
	}
	t.packets++
	r := feed.Range{From: p.first, To: p.first + p.count}
	t.at, t.skip = r.To, false
	hole, err := t.entries(id, &p)
	if err != nil || hole {
		return err
	}
	if len(t.filter) > 0 {
		return nil
	}
	t.w.volumes.note(id, r, len(raw))
	t.place(id, r.From)
	return t.w.audit.Sealed(t.who, id, r, p.publish, 0)
}

// sessionID returns the session that owns the next number of the line.
func (t *tap) sessionID() feed.SessionID {
	for i, s := range t.lineage {
		if s.First == t.owned.From && (i+1 == len(t.lineage) || t.lineage[i+1].First == t.owned.To) {
			return s.ID
		}
	}
	return 0
}

// entries checks the body of a packet. It returns true if the packet is a hole, which says why its numbers are
// missing.
func (t *tap) entries(id feed.SessionID, p *wirePacket) (hole bool, err error) {
	seq, n := p.first, 0
	for body := p.body; len(body) > 0; n++ {
		size, err := wireSize(body, 1)
		if size == 0 || err != nil {
			return false, fmt.Errorf("the body of packet %d: %v", p.first, err)
		}
		entry := body[:size]
		body = body[size:]
		if entry[0]&0xf0 == 0x90 && entry[1] != kindGone {
			if len(t.filter) == 0 && n == 0 {
				return false, nil // a packet of the log, unchanged
			}
			if err := t.w.audit.Sealed(t.who, id, feed.Range{From: seq, To: seq + 1}, p.publish, mergedWithin); err != nil {
				return false, err
			}
			seq++
			continue
		}
		v, _ := wireValue(entry)
		switch v := v.(type) {
		case int64:
			if v > 0 {
				if len(t.filter) == 0 {
					return false, fmt.Errorf("packet %d skips %d numbers on a line of everything", p.first, v)
				}
				t.skip = n == 0 && len(body) == 0
				seq += uint64(v)
				continue
			}
			t.w.see(Jumped)
		case []any:
			gone := wireMessage{fields: v}
			if gone.uint(1) != p.count {
				return false, fmt.Errorf("a packet of %d numbers says that %d are gone", p.count, gone.uint(1))
			}
			switch {
			case gone.uint(2) != reasonGone:
				t.w.see(DamageReported)
			case t.packets > 1:
				t.w.see(RetentionOvertook)
			}
		}
		if n > 0 || len(body) > 0 {
			return false, fmt.Errorf("packet %d has %v beside other entries", p.first, v)
		}
		return true, nil
	}
	if seq != p.first+p.count {
		return false, fmt.Errorf("packet %d of %d numbers has entries for %d", p.first, p.count, seq-p.first)
	}
	return false, nil
}

// resumed records whether the first packet of a resumed line came from memory or from the journal.
func (t *tap) resumed(id feed.SessionID, first uint64) {
	if t.w.memory {
		return
	}
	switch behind := t.w.volumes.behind(id, first); {
	case id != t.n.session || behind > surelyJournal:
		t.w.see(JournalResume)
	case first < t.target && behind < surelyMemory:
		t.w.see(MemoryResume)
	}
}

// A number more than surelyJournal bytes behind is certainly not in memory. A number less than surelyMemory
// bytes behind certainly is.
const (
	surelyJournal = publisher.MinMemory * 9 / 8
	surelyMemory  = publisher.MinMemory / 2
)

// place records whether a line at number seq reads from memory or from the journal.
func (t *tap) place(id feed.SessionID, seq uint64) {
	if t.w.memory || id != t.n.session {
		return
	}
	switch behind := t.w.volumes.behind(id, seq); {
	case behind < surelyMemory:
		t.memory, t.files = true, t.w.files.Load()
	case behind > surelyJournal && t.memory:
		t.memory = false
		if t.w.files.Load() > t.files {
			t.w.see(FellToJournal)
		}
	}
}

// volumes counts the bytes of each session's packets that unfiltered lines have carried.
type volumes struct {
	mu  sync.Mutex
	all map[feed.SessionID]*volume
}

type volume struct {
	next  uint64
	marks []struct {
		seq   uint64
		bytes int // of the packets before
	}
	bytes int
}

func (v *volumes) note(id feed.SessionID, r feed.Range, size int) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.all == nil {
		v.all = make(map[feed.SessionID]*volume)
	}
	s := v.all[id]
	if s == nil {
		s = &volume{}
		v.all[id] = s
	}
	if r.From < s.next {
		return
	}
	s.marks = append(s.marks, struct {
		seq   uint64
		bytes int
	}{r.From, s.bytes})
	s.next, s.bytes = r.To, s.bytes+size
}

// behind returns the least number of bytes of the packets from number seq to the head.
func (v *volumes) behind(id feed.SessionID, seq uint64) int {
	v.mu.Lock()
	defer v.mu.Unlock()
	s := v.all[id]
	if s == nil {
		return 0
	}
	i := sort.Search(len(s.marks), func(i int) bool { return s.marks[i].seq >= seq })
	if i == len(s.marks) {
		return 0
	}
	return s.bytes - s.marks[i].bytes
}
