package publisher

import (
	"crypto/sha256"
	"fmt"
	"math"
	"slices"
	"sync"
	"time"

	"tickfeed/codec"
	"tickfeed/feed"
)

// snapshots are the encoded snapshots that connections are sent, each made once for all connections that are sent the same.
// A client that does not read would hold its snapshot for as long as it stays; so what all of them take is bounded. Where a
// snapshot finds no room its connection waits, and the connections that have taken nothing of theirs for snapshotStall
// are ended.
type snapshots struct {
	room int // bytes; see limitLocked

	mu      sync.Mutex
	all     map[snapshotKey]*snapshot
	size    int           // bytes of all
	current uint64        // the snapshots as of this number stay though no connection holds them, for those that join next
	freed   chan struct{} // closed when there may be more room; nil if nobody waits

	// The last large snapshot, by which the size of one is estimated before it is made.
	instruments, bytes int
}

// Bounds of the snapshots.
const (
	snapshotRoom  = 64 << 20               // bytes of all of them, or
	snapshotCount = 4                      // as many as this of the largest, if that is more
	snapshotStall = time.Second            // after which a connection that has not taken chunkTarget bytes of its snapshot makes room for another
	roomPause     = 100 * time.Millisecond // between two looks for room, if none was given back meanwhile
)

// A stateView is what of the state as of seq a connection is to be sent.
type stateView struct {
	seq   uint64
	line  *line // whose seed, filter and wanted count
	scope codec.ScopeKind
	added *wanted // what ScopeAdded adds; nil for all instruments
}

// wanted returns the instruments that v has; nil for all.
func (v *stateView) wanted() *wanted {
	if v.scope == codec.ScopeAdded {
		return v.added
	}
	return v.line.wanted
}

// A snapshotKey is equal for connections that are sent the same snapshot.
type snapshotKey struct {
	seq uint64
	of  [sha256.Size]byte
}

func (v *stateView) key() snapshotKey {
	of := fmt.Sprintf("%d %08x %q", v.scope, v.line.seed, v.line.filter)
	if v.added != nil {
		of += fmt.Sprintf(" %q", v.added.filter)
	}
	return snapshotKey{v.seq, sha256.Sum256([]byte(of))}
}

// A snapshot is held by the connections that wait for it or are sent it.
type snapshot struct {
	key     snapshotKey
	size    int                     // protected by snapshots.mu: an estimate until made
	made    bool                    // protected by snapshots.mu
	holders map[*conn]time.Duration // protected by snapshots.mu: since when, as heard

	making sync.Mutex
	data   []byte // protected by making until it is made; it must not be changed
}

func (s *snapshots) init() {
	s.room, s.all = snapshotRoom, make(map[snapshotKey]*snapshot)
}

func (s *snapshots) limitLocked() int { return max(s.room, snapshotCount*s.bytes) }

// estimateLocked is what a snapshot of that many instruments is thought to take: in proportion to the last large one, but never more than
// would be let in beside others.
func (s *snapshots) estimateLocked(instruments int) int {
	most := s.limitLocked() / snapshotCount
	if s.instruments == 0 {
		return most
	}
	return min(s.bytes*instruments/s.instruments, most)
}

// hold gives c the snapshot of what v has of state, which may still have to be made, for release to take back. It returns nil if there
// is no room for it; then freed is closed when there may be.
func (s *snapshots) hold(c *conn, v *stateView, state *feed.State) (held *snapshot, freed <-chan struct{}) {
	key := v.key()
	s.mu.Lock()
	defer s.mu.Unlock()
	held = s.all[key]
	if held == nil {
		size := s.estimateLocked(v.wanted().count(state.Len()))
		if freed := s.roomLocked(size); freed != nil {
			return nil, freed
		}
		held = &snapshot{key: key, size: size, holders: make(map[*conn]time.Duration)}
		s.all[key] = held
		s.size += size
	}
	held.holders[c] = c.now()
	return held, nil
}

// vacancy returns nil if there is room for a snapshot of what w wants, or else what is closed when there may be.
func (s *snapshots) vacancy(w *wanted) (freed <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.roomLocked(s.estimateLocked(w.count(s.instruments)))
}

// roomLocked makes room for size more bytes, as far as that can be done at once.
func (s *snapshots) roomLocked(size int) (freed <-chan struct{}) {
	over := func() int {
		if s.size == 0 {
			return 0
		}
		return s.size + size - s.limitLocked()
	}
	for _, o := range s.all {
		if over() <= 0 {
			return nil
		}
		if len(o.holders) == 0 {
			s.removeLocked(o)
		}
	}
	lacking := over()
	if lacking <= 0 {
		return nil
	}
	for _, o := range s.all {
		if o.crowded() {
			lacking -= o.size
		}
	}
	for lacking > 0 {
		o := s.stalledLocked()
		if o == nil {
			break
		}
		lacking -= o.size
		for c := range o.holders {
			c.crowded.Store(true)
			_ = c.nc.SetWriteDeadline(time.Now()) // it looks at crowded
		}
	}
	if s.freed == nil {
		s.freed = make(chan struct{})
	}
	return s.freed
}

// crowded reports whether the connections that hold s are about to give it back, to make room.
func (o *snapshot) crowded() bool {
	for c := range o.holders {
		if !c.crowded.Load() {
			return false
		}
	}
	return len(o.holders) > 0
}

// stalledLocked returns the snapshot that connections have taken nothing of for the longest time, if that is snapshotStall or more.
func (s *snapshots) stalledLocked() (longest *snapshot) {
	most := snapshotStall
	for _, o := range s.all {
		if !o.made || len(o.holders) == 0 || o.crowded() {
			continue
		}
		stall := time.Duration(math.MaxInt64)
		for c, since := range o.holders {
			stall = min(stall, c.now()-max(since, time.Duration(c.sent.Load())))
		}
		if stall >= most {
			longest, most = o, stall
		}
	}
	return longest
}

// make makes the snapshot that is held of v, in its turn, if that was not done yet.
func (s *snapshots) make(held *snapshot, v *stateView, state *feed.State) error {
	held.making.Lock()
	defer held.making.Unlock()
	if held.data != nil {
		return nil
	}
	work := v.line.p.serving.work
	work <- struct{}{}
	defer func() { <-work }()
	instruments := v.wanted().count(state.Len())
	// Grown as it is written it would be copied many times; it is about as long as others.
	room := 0
	s.mu.Lock()
	if s.instruments > 0 && v.scope != codec.ScopeDefinitions {
		room = s.bytes * instruments / s.instruments * 17 / 16
	}
	s.mu.Unlock()
	b, err := v.encode(state, room)
	if err != nil {
		return err
	}
	if cap(b) > len(b)*5/4 {
		b = slices.Clone(b)
	}
	held.data = b
	s.mu.Lock()
	defer s.mu.Unlock()
	s.size += cap(b) - held.size
	held.size, held.made = cap(b), true
	if v.scope != codec.ScopeDefinitions && instruments*2 >= s.instruments {
		s.instruments, s.bytes = max(1, instruments), len(b)
	}
	return nil
}

// encode encodes the snapshot. It is written into room bytes, if it has room there.
func (v *stateView) encode(state *feed.State, room int) ([]byte, error) {
	begin, want := &codec.SnapshotBegin{Seq: v.seq, Scope: v.scope}, v.wanted()
	if v.added != nil {
		begin.Filter = v.added.filter
	}
	see := want.has
	if want == nil {
		see = nil
	}
	entries := state.Entries(see)
	if v.scope == codec.ScopeDefinitions {
		entries = state.Definitions(see)
	}
	return codec.AppendSnapshot(make([]byte, 0, room), begin, entries, v.line.seed)
}

// release takes back what c was given. Nil is nothing.
func (s *snapshots) release(c *conn, held *snapshot) {
	if held == nil {
		return
	}
	s.mu.Lock()
	delete(held.holders, c)
	if len(held.holders) == 0 && (held.key.seq != s.current || !held.made) {
		s.removeLocked(held)
	}
	s.freeLocked()
	s.mu.Unlock()
	if c.crowded.Swap(false) {
		_ = c.nc.SetWriteDeadline(time.Time{})
	}
}

// keep makes the snapshots as of seq those that stay.
func (s *snapshots) keep(seq uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.current = seq
	for _, o := range s.all {
		if len(o.holders) == 0 && o.key.seq != seq {
			s.removeLocked(o)
			s.freeLocked()
		}
	}
}

func (s *snapshots) removeLocked(o *snapshot) {
	delete(s.all, o.key)
	s.size -= o.size
}

func (s *snapshots) freeLocked() {
	if s.freed != nil {
		close(s.freed)
		s.freed = nil
	}
}
