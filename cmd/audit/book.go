package audit

import (
	"iter"

	"tickfeed/feed"
)

// A Book has an entry for each number of each session. The zero Book has only zero entries. It is not safe for concurrent use.
type Book[T any] struct {
	pages map[page]*[pageSize]T
	last  *[pageSize]T // the page that was used last, and
	at    page         // which it is
}

// A page is the numbers of a session from index*pageSize on.
type page struct {
	session feed.SessionID
	index   uint64
}

const pageSize = 1024

// At returns the entry of a number for the caller to change.
func (b *Book[T]) At(session feed.SessionID, seq uint64) *T {
	if k := (page{session, seq / pageSize}); b.last == nil || k != b.at {
		p := b.pages[k]
		if p == nil {
			if b.pages == nil {
				b.pages = make(map[page]*[pageSize]T)
			}
			p = new([pageSize]T)
			b.pages[k] = p
		}
		b.last, b.at = p, k
	}
	return &b.last[seq%pageSize]
}

// Of returns the entry of a number.
func (b *Book[T]) Of(session feed.SessionID, seq uint64) (entry T) {
	if p := b.pages[page{session, seq / pageSize}]; p != nil {
		entry = p[seq%pageSize]
	}
	return entry
}

// All returns all entries that are not known to be zero, in no order.
func (b *Book[T]) All() iter.Seq[T] {
	return func(yield func(T) bool) {
		for _, p := range b.pages {
			for i := range p {
				if !yield(p[i]) {
					return
				}
			}
		}
	}
}
