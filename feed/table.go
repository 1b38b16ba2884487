package feed

// A Table holds a T for each instrument, the zero T at first. The memory that it takes is proportional to the pages of 256 ids
// that were asked for, so that one great id costs little. The zero Table is empty and ready to use.
type Table[T any] struct {
	pages []*[tablePage]T
}

const tablePage = 256

// Lookup returns a pointer to the T of instrument id; nil if At was not called for an id of its page.
func (t *Table[T]) Lookup(id InstrumentID) *T {
	n := int(id / tablePage)
	if n >= len(t.pages) || t.pages[n] == nil {
		return nil
	}
	return &t.pages[n][id%tablePage]
}

// At returns a pointer to the T of instrument id, which is below MaxInstruments. The pointer stays valid.
func (t *Table[T]) At(id InstrumentID) *T {
	n := int(id / tablePage)
	if n >= len(t.pages) {
		t.pages = append(t.pages, make([]*[tablePage]T, n+1-len(t.pages))...)
	}
	if t.pages[n] == nil {
		t.pages[n] = new([tablePage]T)
	}
	return &t.pages[n][id%tablePage]
}
