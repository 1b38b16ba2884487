// Package audit holds the parts that the auditors of ticks share: the hash by which they recognise a tick, a book with an entry
// for each number of each session, and the account of one reader. It shares no code with the feed that it judges.
//
// Each auditor judges something else: that of the demo the outcome of each number for each of its subscribers, those of package
// simulation the times between which a number was published and the lineage of each position, and those of package processes
// the sessions to which a subscriber may jump.
package audit

import "tickfeed/feed"

// Hash returns a hash of every field of t except its number. It is never 0.
func Hash(t *feed.Tick) uint64 {
	h := Hasher(0xcbf29ce484222325)
	if d := t.Definition(); d != nil {
		h.Text(d.Symbol)
		h.Text(d.Venue)
		h.Word(uint64(uint8(d.PriceExponent))<<8 | uint64(uint8(d.SizeExponent)))
		h.Text(d.Currency)
		h.Word(uint64(d.TickSize))
		h.Word(uint64(d.Lot))
	}
	h.Word(uint64(t.Instrument)<<32 | uint64(t.Kind)<<24 | uint64(t.Flags)<<16 | uint64(t.Side)<<8 | uint64(t.Status))
	h.Word(uint64(t.EventTime))
	for _, v := range t.Values {
		h.Word(uint64(v))
	}
	if x := t.Extra; x != nil {
		h.Text(x.TradeRef)
		h.Text(x.Reason)
		h.Word(uint64(x.OldPrice))
		h.Word(uint64(x.OldSize))
	} else {
		h.Text("")
		h.Text("")
		h.Word(0)
		h.Word(0)
	}
	return max(1, uint64(h))
}

// A Hasher is FNV-1a over words of 64 bits, with a shift that lets high bits reach low ones.
type Hasher uint64

// Word adds v to the hash.
func (h *Hasher) Word(v uint64) {
	x := (uint64(*h) ^ v) * 0x100000001b3
	*h = Hasher(x ^ x>>29)
}

// Text adds the length and the bytes of s to the hash.
func (h *Hasher) Text(s string) {
	h.Word(uint64(len(s)))
	for i := range len(s) {
		h.Word(uint64(s[i]))
	}
}
