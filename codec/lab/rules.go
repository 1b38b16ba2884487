package lab

import (
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"math"
	"path"
	"slices"
	"sync"

	"tickfeed/feed"
)

// rules decides which rules of a script apply. It reads no clock and no socket. Its methods are safe for concurrent use.
type rules struct {
	seed uint64

	mu      sync.Mutex
	list    []*Rule // nil where a rule was removed; only ever appended to
	faults  []Fault // of list, also where a rule was removed
	clients map[string]*counts
	fired   []uint64 // by rule
	shared  []uint64 // by rule: as counts.reached, of rules that happen once for all clients
	whys    []string // by rule: why it did nothing when it could have
}

// counts are the events of one client name.
type counts struct {
	logins, snapshots, lives, packets, ends uint64
	reached                                 []uint64 // by rule: the number up to which it has been decided
	refused                                 []uint64 // by rule: logins that were refused in a row
}

func newRules(s *Script) *rules {
	x := &rules{seed: s.Seed, clients: make(map[string]*counts)}
	for _, r := range s.Rules {
		x.add(r)
	}
	return x
}

// add adds a rule and returns its index.
func (x *rules) add(r *Rule) int {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.list, x.faults, x.fired, x.shared = append(x.list, r), append(x.faults, r.Fault), append(x.fired, 0), append(x.shared, 0)
	x.whys = append(x.whys, "")
	for _, c := range x.clients {
		c.reached, c.refused = append(c.reached, 0), append(c.refused, 0)
	}
	return len(x.list) - 1
}

// remove removes rule i, which then applies to nothing. It returns false if there is none.
func (x *rules) remove(i int) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	if i < 0 || i >= len(x.list) || x.list[i] == nil {
		return false
	}
	x.list[i] = nil
	return true
}

// rule returns rule i, or nil if it was removed.
func (x *rules) rule(i int) *Rule {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.list[i]
}

// faultOf returns the fault of rule i, also if it was removed meanwhile.
func (x *rules) faultOf(i int) Fault {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.faults[i]
}

// all returns the rules with how often each has done something; nil for those that were removed.
func (x *rules) all() ([]*Rule, []uint64) {
	x.mu.Lock()
	defer x.mu.Unlock()
	return slices.Clone(x.list), slices.Clone(x.fired)
}

// maxClients bounds the client names that have counts of their own; all further names share one.
const maxClients = 100_000

func (x *rules) clientLocked(name string) *counts {
	c := x.clients[name]
	if c == nil {
		if len(x.clients) >= maxClients {
			name = ""
			if c = x.clients[name]; c != nil {
				return c
			}
		}
		c = &counts{reached: make([]uint64, len(x.list)), refused: make([]uint64, len(x.list))}
		x.clients[name] = c
	}
	return c
}

// appliesLocked reports whether rule i applies to clients called name.
func (x *rules) appliesLocked(i int, name string) bool {
	if x.list[i] == nil {
		return false
	}
	w := &x.list[i].Who
	if w.Name != "" {
		ok, _ := path.Match(w.Name, name)
		return ok
	}
	return w.Share == 0 || x.chance(i, name, 0) < w.Share
}

// reachedLocked returns the number up to which rule i has been decided for c.
func (x *rules) reachedLocked(c *counts, i int) *uint64 {
	if v := x.faults[i].Verb; v.is(ofPublisher) || v.is(ofSessions) {
		return &x.shared[i]
	}
	return &c.reached[i]
}

// onceLocked reports whether rule i, whose trigger is a count, may still apply to c, and notes that it does.
func (x *rules) onceLocked(c *counts, i int) bool {
	at := x.reachedLocked(c, i)
	if *at > 0 {
		return false
	}
	*at = 1
	return true
}

// chance returns a number in [0, 1) that depends on the seed, the index of rule i, the text and the number alone.
func (x *rules) chance(i int, text string, n uint64) float64 {
	h := fnv.New64a()
	var b [24]byte
	seed := x.seed
	if own := x.list[i].seed; own != nil {
		seed = *own
	}
	binary.BigEndian.PutUint64(b[:], seed)
	binary.BigEndian.PutUint64(b[8:], uint64(i))
	binary.BigEndian.PutUint64(b[16:], n)
	_, _ = h.Write(b[:])
	_, _ = h.Write([]byte(text))
	v := h.Sum64()
	v ^= v >> 33 // FNV mixes its high bits poorly (MurmurHash3, fmix64)
	v *= 0xff51afd7ed558ccd
	v ^= v >> 33
	v *= 0xc4ceb9fe1a85ec53
	v ^= v >> 33
	return float64(v>>11) / (1 << 53)
}

// sessionID returns the id of the session that rule i makes up before number seq, after session in. It depends on the seed.
func (x *rules) sessionID(i int, in, seq uint64) feed.SessionID {
	x.mu.Lock()
	defer x.mu.Unlock()
	h := fnv.New64a()
	_ = binary.Write(h, binary.BigEndian, []uint64{x.seed, uint64(i), in, seq, x.fired[i]})
	return feed.SessionID(h.Sum64() | 1) // 0 is no session
}

// login returns the rules for the next hello of name, and the number of that hello.
func (x *rules) login(name string) (hits []int, n uint64) {
	x.mu.Lock()
	defer x.mu.Unlock()
	c := x.clientLocked(name)
	c.logins++
	for i, r := range x.list {
		if !x.appliesLocked(i, name) || r.Trigger.When != AtLogin {
			continue
		}
		if r.Fault.Verb == Refuse { // also the logins that follow
			if c.logins >= r.Trigger.N && c.refused[i] < r.Fault.ForTimes {
				c.refused[i]++
				hits = append(hits, i)
			}
			continue
		}
		if c.logins == r.Trigger.N && x.onceLocked(c, i) {
			hits = append(hits, i)
		}
	}
	return hits, c.logins
}

// snapshot returns the rules for the next snapshot of name, and live those for the next time that name is live.
func (x *rules) snapshot(name string) []int {
	return x.counted(name, AtSnapshot, func(c *counts) *uint64 { return &c.snapshots })
}

func (x *rules) live(name string) []int {
	return x.counted(name, AtLive, func(c *counts) *uint64 { return &c.lives })
}

// end returns the rules for the next end of a session that name is sent.
func (x *rules) end(name string) []int {
	return x.counted(name, AtEnd, func(c *counts) *uint64 { return &c.ends })
}

func (x *rules) counted(name string, when When, of func(*counts) *uint64) (hits []int) {
	x.mu.Lock()
	defer x.mu.Unlock()
	c := x.clientLocked(name)
	n := of(c)
	*n++
	for i, r := range x.list {
		if x.appliesLocked(i, name) && r.Trigger.When == when && r.Trigger.N == *n && x.onceLocked(c, i) {
			hits = append(hits, i)
		}
	}
	return hits
}

// A hit is a rule that applies at a number.
type hit struct {
	rule   int
	seq    uint64
	before uint64 // for giveBack
}

// packet counts a packet of name, and returns its number.
func (x *rules) packet(name string) uint64 {
	x.mu.Lock()
	defer x.mu.Unlock()
	c := x.clientLocked(name)
	c.packets++
	return c.packets
}

// next returns the rule that applies first to the numbers r of the n-th packet of name, and the number. from is the number
// after the last one that the line has come to before: the line reaches those between from and r with r, if they come by no packet.
// Each rule is returned once for each number. Of rules for the same number the first in the script is returned first.
func (x *rules) next(name string, from uint64, r feed.Range, n uint64) (first hit, ok bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	first, mark, ok := x.nextLocked(name, from, r, n)
	if ok {
		at := x.reachedLocked(x.clientLocked(name), first.rule)
		first.before, *at = *at, mark
	}
	return first, ok
}

// peek returns what next will return.
func (x *rules) peek(name string, from uint64, r feed.Range, n uint64) (first hit, ok bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	first, _, ok = x.nextLocked(name, from, r, n)
	return first, ok
}

func (x *rules) nextLocked(name string, from uint64, r feed.Range, n uint64) (first hit, mark uint64, ok bool) {
	c := x.clientLocked(name)
	found := func(i int, seq, reached uint64) {
		if !ok || seq < first.seq {
			first, mark, ok = hit{rule: i, seq: seq}, reached, true
		}
	}
	for i, rule := range x.list {
		if !x.appliesLocked(i, name) {
			continue
		}
		reached := *x.reachedLocked(c, i)
		switch t := rule.Trigger; t.When {
		case AtSeq:
			if from <= t.N && t.N < r.To && reached < t.N {
				found(i, max(t.N, r.From), t.N)
			}
		case EverySeq:
			if next := nextMultiple(max(reached, r.From-1), t.N); next < r.To {
				found(i, next, next)
			}
		case AtPacket:
			if n >= t.N && reached == 0 {
				found(i, r.From, 1)
			}
		case WithChance:
			for seq := max(r.From, reached+1); seq < r.To && seq-r.From < maxChances; seq++ {
				if x.chance(i, "", seq) < t.Chance {
					found(i, seq, seq)
					break
				}
			}
		}
	}
	return first, mark, ok
}

// giveBack undoes next: the client has gone before the rule could do anything.
func (x *rules) giveBack(name string, h hit) {
	x.mu.Lock()
	defer x.mu.Unlock()
	*x.reachedLocked(x.clientLocked(name), h.rule) = h.before
}

// maxChances bounds the numbers of a packet for which chance is asked: a skip may cover very many.
const maxChances = 1 << 16

func nextMultiple(after, of uint64) uint64 {
	n := after/of + 1
	if n > math.MaxUint64/of {
		return math.MaxUint64
	}
	return n * of
}

// byHand returns the rules that name triggers.
func (x *rules) byHand(name string) (hits []int) {
	x.mu.Lock()
	defer x.mu.Unlock()
	for i, r := range x.list {
		if r != nil && r.Trigger.On(name) {
			hits = append(hits, i)
		}
	}
	return hits
}

// because notes why rule i did nothing when it could have, and why returns that, unless the rule has done something.
func (x *rules) because(i int, why string) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.whys[i] = why
}

func (x *rules) why(i int) string {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.fired[i] > 0 {
		return ""
	}
	return x.whys[i]
}

// begins notes that a line of name begins at number at: it does not meet rules for a number before.
func (x *rules) begins(name string, at uint64) {
	x.mu.Lock()
	defer x.mu.Unlock()
	for i, r := range x.list {
		if x.appliesLocked(i, name) && r.Trigger.When == AtSeq && r.Trigger.N < at && x.whys[i] == "" {
			x.whys[i] = fmt.Sprintf("a line began at %d, beyond %d", at, r.Trigger.N)
		}
	}
}

// awaitLive reports whether a rule waits for name to be live again.
func (x *rules) awaitLive(name string) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	n := x.clientLocked(name).lives + 1
	for i, r := range x.list {
		if x.appliesLocked(i, name) && r.Trigger.When == AtLive && r.Trigger.N == n {
			return true
		}
	}
	return false
}

// happened counts that rule i did something.
func (x *rules) happened(i int) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.fired[i]++
}

// applies reports whether rule i applies to clients called name.
func (x *rules) applies(i int, name string) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.appliesLocked(i, name)
}
