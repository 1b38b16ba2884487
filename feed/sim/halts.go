package sim

import (
	"cmp"
	"math"
	"time"

	"tickfeed/feed"
	"tickfeed/feed/script"
)

// A hold is what keeps an instrument from trading: a halt or an auction.
type hold struct {
	n      uint32        // counts halts, auctions and resumptions, so that the end of an earlier one does nothing
	end    int64         // of a halt, in units; never if it has none
	reopen time.Duration // length of the auction that ends the halt; 0 for none
	reason string        // of a halt
}

// never is the end, in units, of what does not end by itself.
const never = math.MaxInt64

// A state is what an instrument does when a request comes.
type state uint8

const (
	trades state = iota
	isHalted
	inAuction
	isShut   // its closing auction is over
	isClosed // outside its hours
	isGone   // delisted
)

// A request is a change of trading that is asked for an instrument.
type request uint8

const (
	toHalt    request = iota
	toPause           // a halt after a limit state
	toAuction         // an auction that a rule asks for
	toReopen          // the auction that ends a halt
	toResume          // the end of a halt or an auction
	toSplit           // a split, which needs an instrument that trades
)

// A decision is what becomes of a request.
type decision struct {
	granted bool
	end     int64  // of the halt or auction, in units
	note    string // says what is not as the rule says; empty if all is
}

// decide returns what becomes of a request for an instrument at now. The halt or auction is to end at end; the halt that goes on
// ends at ends, and the session at closes. Times are in units, or never.
func decide(s state, what request, now, end, ends, closes int64) decision {
	no := func(note string) decision { return decision{note: note} }
	switch {
	case s == isGone:
		return no("it was delisted")
	case s == isClosed:
		return no("its market is closed")
	case s == isShut:
		return no("its closing auction has ended its day")
	case closes <= now && what != toResume:
		return no("its market closes now")
	}
	d := decision{granted: true, end: end}
	past := end > closes && end != never
	switch what {
	case toHalt, toPause:
		switch {
		case s != trades && what == toPause:
			return no("it does not trade, so the limit state causes no pause")
		case s == inAuction:
			d.note = "its auction is called off"
		case s == isHalted:
			d.end, d.note = max(end, ends), "it was halted already; the later end counts"
		}
		if past {
			d.end = never
			if d.note != "" {
				d.note += "; "
			}
			d.note += "the close comes before the end"
		}
	case toAuction, toReopen:
		switch {
		case s == inAuction:
			d.note = "its earlier auction is called off"
		case s == isHalted && what == toAuction:
			d.note = "the auction ends its halt"
		}
		if past {
			d.end = closes
			if d.note != "" {
				d.note += "; "
			}
			d.note += "the auction ends at the close, which comes first"
		}
	case toResume:
		switch s {
		case trades:
			return no("it is neither halted nor in an auction")
		case inAuction:
			d.note = "its auction is called off"
		}
	case toSplit:
		if s != trades {
			return no("it does not trade; split it when it does")
		}
	}
	return d
}

// Overlaps says what decide does, for people.
var Overlaps = []string{
	"A halt during a halt: the later of both ends counts.",
	"A halt during an auction calls the auction off; an auction during a halt ends the halt; of two auctions the later one is held.",
	"resume ends a halt without an auction, and calls an auction off without a trade.",
	"A halt whose end is after the close lasts to the close, and an auction ends there. After its closing auction, or while its market is closed, an instrument is neither halted nor resumed.",
	"A limit state of an instrument that is halted meanwhile causes no pause.",
	"Factors of one kind are multiplied, up to 100,000,000 in all, and the answer to a command says what they are in all. A price that is driven up stays below 2^57 of its decimal units.",
	"A rule for a time at which none of its instruments trades is refused, and if some of them trade then, the others are reported when the rule is read. News, crashes, bands, busts and delistings need no open market.",
	"Whatever happens otherwise than a rule says is reported.",
}

// stateOf returns what an instrument does.
func (m *Market) stateOf(id uint32) state {
	o, in := &m.stage.overlays[id], &m.instruments[id]
	switch {
	case o.gone:
		return isGone
	case in.special&closed != 0:
		return isClosed
	case o.shut:
		return isShut
	case o.auction != nil:
		return inAuction
	case in.special&halted != 0:
		return isHalted
	}
	return trades
}

// ask decides a request of a rule for an instrument, and reports where the decision differs from the rule.
func (m *Market) ask(r *script.Rule, what request, id uint32, at, end int64) decision {
	closes := m.dayUnits
	if m.calendar != nil {
		closes = never
		if g := m.calendar.of[id]; !g.hours.roundClock {
			closes = m.calendar.units(g.to) - 1<<unitShift // what is due then happens before the close
			if (what == toAuction || what == toReopen) && end == m.calendar.units(g.to) {
				end = closes
			}
		}
	}
	d := decide(m.stateOf(id), what, at, end, m.stage.overlays[id].hold.end, closes)
	if m.stateOf(id) == isClosed {
		d.note = m.closedText(r, d.note, id, at)
	}
	if d.note != "" {
		m.remark(r, id, d.note)
	}
	return d
}

// A remark is a sentence about instruments, for Event.
type remark struct {
	rule  *script.Rule
	first uint32
	n     int
	text  string
}

// remark notes a sentence about an instrument that a rule is for. All that is the same at one time is one Event.
func (m *Market) remark(r *script.Rule, id uint32, text string) {
	s := &m.stage
	if m.config.Happens == nil && len(s.asked) == 0 || r == nil {
		return
	}
	for i := range s.remarks {
		if x := &s.remarks[i]; x.rule == r && x.text == text {
			x.n++
			return
		}
	}
	s.remarks = append(s.remarks, remark{r, id, 1, text})
}

// report reports the remarks of a time, and the bands that have moved.
func (m *Market) report(at int64) {
	for _, x := range m.stage.remarks {
		m.announce(Event{Time: m.timeOf(at), Rule: x.rule, Instruments: x.n, Symbol: m.listings[x.first].definition.Symbol, Note: x.text})
	}
	m.stage.remarks = m.stage.remarks[:0]
	if m.stage.bands {
		m.stage.bands = false
		m.showBands(at)
	}
}

// holdFor is a halt that a rule or a limit state causes.
type holdFor struct {
	rule          *script.Rule
	what          request
	reason        string
	span, auction time.Duration // 0: until it is resumed; without an auction
}

// halt halts an instrument.
func (m *Market) halt(out []feed.Tick, id uint32, at int64, h *holdFor) int {
	end := int64(never)
	if h.span > 0 {
		end = at + units(h.span)
	}
	o := &m.stage.overlays[id]
	d := m.ask(h.rule, h.what, id, at, end)
	if !d.granted {
		return 0
	}
	next := hold{end: d.end, reopen: h.auction, reason: h.reason}
	if m.stateOf(id) == isHalted {
		next.reopen, next.reason = cmp.Or(next.reopen, o.hold.reopen), cmp.Or(next.reason, o.hold.reason)
	}
	m.stopTrading(id)
	next.n = o.hold.n
	o.hold = next
	expected := int64(0)
	if d.end != never {
		expected = m.timeOf(d.end)
		m.endHold(id, h.rule)
	}
	status := feed.StatusTick(feed.InstrumentID(id), m.timeOf(at), feed.StatusHalted, 0).Because(next.reason, expected)
	return m.silence(out, id, status)
}

// endHold plans the end of a halt of rule r; nil for one that no rule has caused.
func (m *Market) endHold(id uint32, r *script.Rule) {
	h := m.stage.overlays[id].hold
	m.stage.add(h.end, &visit{ids: []uint32{id}, one: func(id uint32, at int64, out []feed.Tick) int {
		switch {
		case m.stage.overlays[id].hold.n != h.n:
			return 0
		case h.reopen > 0:
			return m.beginAuction(out, id, at, &auctionFor{r, toReopen, feed.AuctionHalt, h.reopen})
		}
		return m.resume(out, id, at, r)
	}})
}

// stopTrading begins a halt or an auction, and ends the one before.
func (m *Market) stopTrading(id uint32) {
	o := &m.stage.overlays[id]
	o.hold = hold{n: o.hold.n + 1, end: never}
	o.auction = nil
	m.instruments[id].special |= halted
	m.stage.reweighed = false
}

// release ends what holds an instrument.
func (m *Market) release(id uint32) {
	o, in := &m.stage.overlays[id], &m.instruments[id]
	o.hold = hold{n: o.hold.n + 1, end: never}
	o.auction = nil
	in.special &^= halted
	m.stage.reweighed = false
}

// resume ends a halt or an auction with a status and a quote.
func (m *Market) resume(out []feed.Tick, id uint32, at int64, r *script.Rule) int {
	if d := m.ask(r, toResume, id, at, never); !d.granted {
		return 0
	}
	o, in := &m.stage.overlays[id], &m.instruments[id]
	m.release(id)
	m.settle(in)
	if o.limits != nil {
		o.limits.restart(in.fair)
	}
	out[0] = m.tradingStatus(id, m.timeOf(at))
	return 1 + m.requote(out[1:], id, m.timeOf(at))
}

// settle makes the price forget the moves of the market while the instrument did not trade: it reopens where it is.
func (m *Market) settle(in *instrument) {
	in.ret, in.variance = m.climate.at(m.arrivals.now)
	if in.sector != 0 {
		in.ret += m.climate.sector(in.sector, m.arrivals.now)
	}
}
