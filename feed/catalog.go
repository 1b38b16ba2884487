package feed

import (
	"iter"
	"slices"
)

// A Catalog is a snapshot of the definitions of a state. It does not change when the state does, and costs
// almost nothing.
type Catalog struct{ c catalog }

// Catalog returns the current definitions of s.
func (s *State) Catalog() Catalog {
	s.catalogShared = true
	return Catalog{s.catalog}
}

// Definitions yields the same ticks as State.Definitions.
func (c Catalog) Definitions(want func(InstrumentID) bool) iter.Seq[Tick] {
	return func(yield func(Tick) bool) {
		var definitions []Extra
		for id, slot := range c.c.all() {
			if want != nil && !want(id) {
				continue
			}
			if !yield(c.c.definitionEntry(id, slot, &definitions)) {
				return
			}
		}
	}
}

// definitionEntry takes the tick's Extra from room, which it refills if it is empty.
func (c *catalog) definitionEntry(id InstrumentID, slot uint, room *[]Extra) Tick {
	if len(*room) == 0 {
		*room = make([]Extra, entriesAtOnce)
	}
	extra := &(*room)[0]
	*room = (*room)[1:]
	extra.Definition = c.definition(slot)
	return Tick{Kind: KindDefinition, Flags: FlagSnapshot, Instrument: id, Extra: extra}
}

// A catalog maps ids to definitions and to slots of a state.
type catalog struct {
	limit   int  // one more than the greatest id
	defined uint // number of instruments; slots are given in order
	// definitions hold the definition of slot n at definitions[n/chunkSize][n%chunkSize]. Definitions in use
	// never change: pointers to them are handed out, and clones share them. The last chunks may be unused.
	definitions []*[chunkSize]Definition
	// Ids below dense are their own slots; all ids are, if they were given in order.
	dense uint
	// pages hold the slots of the other ids: top[id/pageSize] is p+1, and pages[p][id%pageSize] is slot+1.
	// Pages exist only for ids that are defined, so that a single great id costs little.
	top   []uint16
	pages [][pageSize]uint32
	names names
}

// pageSize is the least with which the pages of all ids can be numbered from 1 in a uint16.
const pageSize = 512

func (c *catalog) slot(id InstrumentID) (slot uint, ok bool) {
	if uint(id) < c.dense {
		return uint(id), true
	}
	i := uint(id / pageSize)
	if i >= uint(len(c.top)) {
		return 0, false
	}
	p := uint(c.top[i]) - 1
	if p >= uint(len(c.pages)) {
		return 0, false
	}
	n := c.pages[p][id%pageSize]
	return uint(n) - 1, n != 0
}

func (c *catalog) definition(slot uint) *Definition {
	return &c.definitions[slot/chunkSize][slot%chunkSize]
}

// find returns the id of the instrument named n, whose hash is hash.
func (c *catalog) find(n name, hash uint32) (id InstrumentID, ok bool) {
	for other := range c.names.with(hash) {
		if slot, _ := c.slot(other); nameOf(c.definition(slot)) == n {
			return other, true
		}
	}
	return 0, false
}

// add gives id, which must not be defined, the next slot; hash is the hash of its name.
func (c *catalog) add(id InstrumentID, d *Definition, hash uint32) {
	slot := c.defined
	if slot/chunkSize == uint(len(c.definitions)) {
		room := make([][chunkSize]Definition, chunksAtOnce(len(c.definitions)))
		for i := range room {
			c.definitions = append(c.definitions, &room[i])
		}
	}
	*c.definition(slot) = *d
	c.defined++
	c.names.add(hash, id)
	c.limit = max(c.limit, int(id)+1)
	if uint(id) == slot && slot == c.dense {
		c.dense++
		return
	}
	i := int(id / pageSize)
	if len(c.top) <= i {
		c.top = append(c.top, make([]uint16, i+1-len(c.top))...)
	}
	if c.top[i] == 0 {
		c.pages = append(c.pages, [pageSize]uint32{})
		c.top[i] = uint16(len(c.pages))
	}
	c.pages[c.top[i]-1][id%pageSize] = uint32(slot + 1)
}

// redefine replaces the definition of id and returns the old one; hash is the hash of the new name.
func (c *catalog) redefine(id InstrumentID, slot uint, d *Definition, hash uint32) *Definition {
	old := c.definition(slot)
	if was := nameOf(old); was != nameOf(d) {
		c.names.remove(was.hash(), id)
		c.names.add(hash, id)
	}
	chunk := *c.definitions[slot/chunkSize]
	chunk[slot%chunkSize] = *d
	c.definitions[slot/chunkSize] = &chunk
	return old
}

// all yields all ids, in order, with their slots.
func (c *catalog) all() iter.Seq2[InstrumentID, uint] {
	return func(yield func(InstrumentID, uint) bool) {
		for slot := range c.dense { // all other ids are greater
			if !yield(InstrumentID(slot), slot) {
				return
			}
		}
		for i, p := range c.top {
			if p == 0 {
				continue
			}
			for j, n := range c.pages[p-1] {
				if n != 0 && !yield(InstrumentID(i*pageSize+j), uint(n)-1) {
					return
				}
			}
		}
	}
}

// clone returns a copy to which definitions may be added without changing c.
func (c *catalog) clone() catalog {
	out := *c
	used := (c.defined + chunkSize - 1) / chunkSize // unused chunks stay with c
	out.definitions, out.top, out.pages = slices.Clone(c.definitions[:used]), slices.Clone(c.top), slices.Clone(c.pages)
	out.names.slots = slices.Clone(c.names.slots)
	if c.defined%chunkSize != 0 {
		last := *out.definitions[c.defined/chunkSize]
		out.definitions[c.defined/chunkSize] = &last
	}
	return out
}
