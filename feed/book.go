package feed

import (
	"cmp"
	"fmt"
	"slices"
)

// A BookLevel is the size at one price of one side of a book.
type BookLevel struct {
	Price, Size int64
	EventTime   int64 // of the tick that set the size
}

// MaxLevels bounds the levels that a state keeps per side of a book.
const MaxLevels = 4096

// A book is both sides of one instrument, the best price first.
type book struct {
	// owner is State.owner of the only state that may change the book; all other states that hold the book must
	// copy it first.
	owner      *byte
	bids, asks []BookLevel
}

func (s *State) book(slot uint) *book {
	if slot >= uint(len(s.books)) {
		return nil
	}
	return s.books[slot]
}

// ownBook returns the book of slot for changing. It creates or copies the book if need be.
func (s *State) ownBook(slot uint) *book {
	b := s.book(slot)
	if b != nil && b.owner == s.owner {
		return b
	}
	own := &book{owner: s.owner}
	if b != nil {
		own.bids, own.asks = slices.Clone(b.bids), slices.Clone(b.asks)
	}
	s.setBook(slot, own)
	return own
}

func (s *State) setBook(slot uint, b *book) {
	for uint(len(s.books)) <= slot {
		s.books = append(s.books, nil)
	}
	s.books[slot] = b
}

func (s *State) applyLevel(slot uint, t *Tick) error {
	l := t.Level()
	if l.Side != SideBuy && l.Side != SideSell {
		return fmt.Errorf("tick %d: level of instrument %d: side must be buy or sell, got %q", t.Seq, t.Instrument, l.Side)
	}
	b := s.ownBook(slot)
	if l.Side == SideBuy {
		b.bids = setLevel(b.bids, l, t.EventTime, func(x BookLevel, price int64) int { return cmp.Compare(price, x.Price) })
	} else {
		b.asks = setLevel(b.asks, l, t.EventTime, func(x BookLevel, price int64) int { return cmp.Compare(x.Price, price) })
	}
	return nil
}

func setLevel(side []BookLevel, l Level, eventTime int64, order func(BookLevel, int64) int) []BookLevel {
	i, found := slices.BinarySearchFunc(side, l.Price, order)
	level := BookLevel{Price: l.Price, Size: l.Size, EventTime: eventTime}
	switch {
	case l.Size <= 0 && found:
		return slices.Delete(side, i, i+1)
	case l.Size <= 0 || i >= MaxLevels:
		return side
	case found:
		side[i] = level
		return side
	case len(side) >= MaxLevels:
		side = side[:MaxLevels-1]
	}
	return slices.Insert(side, i, level)
}

func (s *State) applyClear(slot uint, t *Tick) error {
	if t.Side != SideBuy && t.Side != SideSell && t.Side != SideBoth {
		return fmt.Errorf("tick %d: clear of instrument %d: side must be buy, sell or both, got %q", t.Seq, t.Instrument, t.Side)
	}
	if s.book(slot) == nil {
		return nil
	}
	b := s.ownBook(slot)
	if t.Side != SideSell {
		b.bids = b.bids[:0]
	}
	if t.Side != SideBuy {
		b.asks = b.asks[:0]
	}
	return nil
}

// yield yields one side as level ticks. It returns the result of the last call of the function yield.
func (b *book) yield(id InstrumentID, side Side, yield func(Tick) bool) bool {
	levels := b.bids
	if side == SideSell {
		levels = b.asks
	}
	for _, l := range levels {
		t := Level{Side: side, Price: l.Price, Size: l.Size}.Tick(id, l.EventTime)
		t.Flags = FlagSnapshot
		if !yield(t) {
			return false
		}
	}
	return true
}

// equal compares the levels of two books; a nil book equals an empty one.
func (b *book) equal(o *book) bool {
	if b == nil {
		b = &book{}
	}
	if o == nil {
		o = &book{}
	}
	return slices.Equal(b.bids, o.bids) && slices.Equal(b.asks, o.asks)
}
