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

// snapshots holds the encoded snapshots that are being sent, each encoded once for all connections that are sent the
// same one. A client that does not read would hold its snapshot for as long as it stays connected, so the total size
// is bounded. If there is no room for a snapshot, its connection waits, and connections that have taken nothing of
// their snapshot for snapshotStall are closed.
type snapshots struct {
	room int // bound of size, in bytes; see limitLocked

	mu      sync.Mutex
	all     map[snapshotKey]*snapshot
	size    int           // total of all, in bytes
	current uint64        // snapshots as of this number are kept even if no connection holds them, for clients that connect next
	freed   chan struct{} // closed when there may be more room; nil if no connection waits

	// The size of the last large snapshot, from which the sizes of others are estimated.
	instruments, bytes int
}

// Bounds of the snapshots.
const (
	snapshotRoom  = 64 << 20               // bytes of all snapshots, or
	snapshotCount = 4                      // this many times the size of the last large snapshot, if that is more
	snapshotStall = time.Second            // a connection that takes less than chunkTarget bytes in this time may be closed to make room
	roomPause     = 100 * time.Millisecond // between two checks for room, if nothing was released meanwhile
)

// A stateView is the part of the state as of seq that a connection is sent.
type stateView struct {
	seq   uint64
	line  *line // provides seed, filter and wanted
	scope codec.ScopeKind
	added *wanted // the instruments that ScopeAdded adds; nil for all
}

// wanted returns the instruments in v; nil for all.
func (v *stateView) wanted() *wanted {
	if v.scope == codec.ScopeAdded {
		return v.added
	}
	return v.line.wanted
}

// A snapshotKey is the same for connections that are sent the same snapshot.
type snapshotKey struct {
	seq uint64
	of  [sha256.Size]byte
}

func (v *stateView) key() snapshotKey {
	of := fmt.Sprintf("%d %08x %q", v.scope, v.line.seed, v.line.filter)
	if v.added != nil {
		of += fmt.Sprintf(" %q", v.added.filter)
	}
	if w := v.wanted(); w != nil {
		of += " " + w.permit.view()
	}
	return snapshotKey{v.seq, sha256.Sum256([]byte(of))}
}

// A snapshot is held by the connections that wait for it or are sent it.
type snapshot struct {
	key     snapshotKey
	size    int                     // protected by snapshots.mu: an estimate until made
	made    bool                    // protected by snapshots.mu
	holders map[*conn]time.Duration // protected by snapshots.mu: when each began to hold it, on the clock of conn.alive

	making sync.Mutex
	data   []byte // protected by making until it is made, then read-only
}

func (s *snapshots) init() {
	s.room, s.all = snapshotRoom, make(map[snapshotKey]*snapshot)
}

func (s *snapshots) limitLocked() int { return max(s.room, snapshotCount*s.bytes) }

// estimateLocked returns the estimated size of a snapshot of the given number of instruments, in proportion to the
// last large snapshot. The estimate is at most the share of one snapshot in the limit.
func (s *snapshots) estimateLocked(instruments int) int {
	most := s.limitLocked() / snapshotCount
	if s.instruments == 0 {
		return most
	}
	return min(s.bytes*instruments/s.instruments, most)
}

// hold makes c a holder of the snapshot for v, whose data may still have to be made. The caller must release it. hold
// returns nil if there is no room; freed is then closed when there may be.
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

// vacancy returns nil if there is room for a snapshot of the instruments in w, otherwise a channel that is closed
// when there may be.
func (s *snapshots) vacancy(w *wanted) (freed <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.roomLocked(s.estimateLocked(w.count(s.instruments)))
}

// roomLocked makes room for size more bytes. It removes snapshots without holders; if that is not enough, it closes
// stalled connections and returns a channel that is closed when there may be more room.
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
			c.out.crowd()
		}
	}
	if s.freed == nil {
		s.freed = make(chan struct{})
	}
	return s.freed
}

// crowded reports whether all holders of o are about to release it, to make room.
func (o *snapshot) crowded() bool {
	for c := range o.holders {
		if !c.out.isCrowded() {
			return false
		}
	}
	return len(o.holders) > 0
}

// stalledLocked returns the snapshot whose holders have taken nothing for the longest time, if that is at least
// snapshotStall, or nil.
func (s *snapshots) stalledLocked() (longest *snapshot) {
	most := snapshotStall
	for _, o := range s.all {
		if !o.made || len(o.holders) == 0 || o.crowded() {
			continue
		}
		stall := time.Duration(math.MaxInt64)
		for c, since := range o.holders {
			stall = min(stall, c.now()-max(since, c.alive.LastSpoke()))
		}
		if stall >= most {
			longest, most = o, stall
		}
	}
	return longest
}

// make encodes the data of held, the snapshot for v, in a slot of server.work, unless that is done already.
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
	// A buffer of the estimated size avoids the copies that growing it would make.
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

// encode encodes the snapshot into a buffer that has room bytes at first.
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
	if want != nil && want.permit.shallow() {
		entries = withoutBook(entries)
	}
	return codec.AppendSnapshot(make([]byte, 0, room), begin, entries, v.line.seed)
}

// release ends the hold of c on held. It does nothing if held is nil.
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
	c.out.relieve()
}

// keep sets the number whose snapshots are kept without holders, and removes others that have no holders.
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
