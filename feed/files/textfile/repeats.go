package textfile

import (
	"fmt"
	"strings"

	"tickfeed/feed"
	"tickfeed/feed/decimal"
	"tickfeed/feed/files/internal/recent"
)

// A repeats detects trades that several files have, such as trades and mbp-1 files of Databento, or two files of one day.
type repeats struct {
	prints recent.Prints
	known  int64 // trades of the current file that an earlier file has
	alike  int64 // trades of the current file that an earlier file may have: they have no id
}

// begin starts a file.
func (p *repeats) begin() {
	p.prints.Begin()
	p.known, p.alike = 0, 0
}

// notes returns the notes about the current file.
func (p *repeats) notes() (all []string) {
	if p.known > 0 {
		all = append(all, fmt.Sprintf("trades left out because an earlier file has them: %d", p.known))
	}
	if p.alike > 0 {
		all = append(all, fmt.Sprintf("trades that may repeat those of an earlier file, with the same instrument, time, price, size and side, and no id: %d", p.alike))
	}
	if len(all) > 0 && p.prints.Forgot() {
		all = append(all, "too many trades were read to remember the first ones")
	}
	return all
}

// repeated reports whether an earlier file has the trade t of row r and instrument inst, whose
// definition is def.
func (p *repeats) repeated(inst *instrument, r *row, t *feed.Tick, def *feed.Definition) bool {
	tr := t.Trade()
	print := recent.Print{
		Source: uint64(inst.id), Time: t.EventTime, Number: tr.ID, Ref: t.TradeRef(), Side: byte(tr.Side),
	}
	print.Price, print.Exponent[0] = shortest(tr.Price, def.PriceExponent)
	print.Size, print.Exponent[1] = shortest(tr.Size, def.SizeExponent)
	known := tr.ID != 0 || print.Ref != ""
	if !known && r.names[fieldRecordType] != "" && len(r.cells[fieldSequence]) > 0 {
		n, err := decimal.Parse(r.cells[fieldSequence], 0)
		known = err == nil
		print.Number = uint64(n)
	}
	switch {
	case !p.prints.Repeated(&inst.prints, print):
		return false
	case known:
		p.known++
	default:
		p.alike++
	}
	return known
}

// shortest returns v, of exponent e, without trailing zeros, and the exponent of the result.
func shortest(v int64, e int8) (int64, int8) {
	for ; v != 0 && v%10 == 0; v /= 10 {
		e++
	}
	return v, e
}

// A span is the range of event times of the trades of one kind, single or aggregated. It is empty if to is 0.
type span struct{ from, to int64 }

// mixed returns an error if inst has both single and aggregated trades at the same time: the trade of r would count
// twice.
func mixed(inst *instrument, r *row, at int64) *LineError {
	name := r.names[fieldTradeID]
	if name == "" || at <= 0 {
		return nil
	}
	own, what, other := 0, "trades", "aggTrades"
	if normalIs(name, "aggtradeid") {
		own, what, other = 1, other, what
	}
	if s := inst.traded[1-own]; s.to != 0 && at >= s.from && at <= s.to {
		return r.bad(fieldTradeID, "is of "+what+", and the "+other+" of its instrument at that time were read before: "+
			"each trade would count twice; leave out one of the files", nil)
	}
	s := &inst.traded[own]
	if s.to == 0 {
		s.from = at
	}
	s.from, s.to = min(s.from, at), max(s.to, at)
	return nil
}

// normalIs reports whether the normal form of a column's name is want.
func normalIs(name, want string) bool {
	return len(name) >= len(want) && len(name) <= len(want)+4 && strings.EqualFold(normal(name), want)
}
