// Package recent remembers recent keys and trades in bounded memory.
package recent

// Generation is the least number of recent keys that a Set remembers when it forgets older ones.
const Generation = 1 << 21

// A Set remembers the keys that were added most recently: between one and two generations of
// them, at 16 to 32 bytes each. Keys are hashes: their bits must be evenly distributed. The zero Set is
// empty. A Set is not safe for concurrent use.
type Set struct {
	young, old table
	forgot     bool
}

// Add adds key.
func (s *Set) Add(key uint64) {
	if s.young.n >= Generation {
		s.forgot = s.forgot || s.old.n > 0
		s.young, s.old = table{slots: s.old.slots}, s.young
		clear(s.young.slots)
	}
	s.young.add(key)
}

// Has reports whether key was added and is not forgotten.
func (s *Set) Has(key uint64) bool { return s.young.has(key) || s.old.has(key) }

// Forgot reports whether some keys were forgotten.
func (s *Set) Forgot() bool { return s.forgot }

// AddAll adds the keys of o, the oldest first.
func (s *Set) AddAll(o *Set) {
	for _, t := range [...]*table{&o.old, &o.young} {
		for _, key := range t.slots {
			if key != 0 {
				s.Add(key)
			}
		}
		if t.zero {
			s.Add(0)
		}
	}
	s.forgot = s.forgot || o.forgot
}

// A table is a hash table with open addressing. At most half of its slots are in use.
type table struct {
	slots []uint64 // the length is a power of two; a slot with 0 is free
	n     int
	zero  bool // the table has the key 0
}

const leastSlots = 1 << 10

func (t *table) add(key uint64) {
	if 2*(t.n+1) > len(t.slots) {
		old := t.slots
		t.slots = make([]uint64, max(leastSlots, 2*len(old)))
		for _, k := range old {
			if k != 0 {
				t.slots[t.find(k)] = k
			}
		}
	}
	if key == 0 {
		if !t.zero {
			t.zero = true
			t.n++
		}
		return
	}
	if i := t.find(key); t.slots[i] == 0 {
		t.slots[i] = key
		t.n++
	}
}

func (t *table) has(key uint64) bool {
	if key == 0 {
		return t.zero
	}
	return t.n > 0 && t.slots[t.find(key)] == key
}

// find returns the index of the slot of key, or of the free slot for it.
func (t *table) find(key uint64) uint64 {
	mask := uint64(len(t.slots) - 1)
	i := key & mask
	for t.slots[i] != 0 && t.slots[i] != key {
		i = (i + 1) & mask
	}
	return i
}
