package sim

import (
	"math"
	"time"

	"tickfeed/feed"
	"tickfeed/feed/script"
)

// An auction is a call auction of one instrument.
type auction struct {
	kind      feed.AuctionKind
	from, to  int64 // units
	step      int64 // between two indicative ticks
	size      int64 // of the trade with which it ends
	imbalance float64
}

// auctionFor is an auction that a rule, or the end of a halt, causes.
type auctionFor struct {
	rule *script.Rule
	what request
	kind feed.AuctionKind
	span time.Duration
}

// beginAuction begins an auction of an instrument.
func (m *Market) beginAuction(out []feed.Tick, id uint32, at int64, f *auctionFor) int {
	d := m.ask(f.rule, f.what, id, at, at+units(f.span))
	if !d.granted {
		return 0
	}
	o, in := &m.stage.overlays[id], &m.instruments[id]
	count := min(max((d.end-at)/units(auctionStep), leastIndices), mostIndices)
	m.stopTrading(id)
	o.auction = &auction{kind: f.kind, from: at, to: d.end, step: max((d.end-at)/count, 1),
		size: m.size(id, in) * int64(20+m.rng.IntN(80)), imbalance: m.rng.NormFloat64()}
	m.stage.add(at+o.auction.step, o.auction.of(m, id))
	reason := f.kind.String() + " auction"
	if f.kind == feed.AuctionHalt {
		reason = "reopening auction"
	}
	return m.silence(out, id, feed.StatusTick(feed.InstrumentID(id), m.timeOf(at), feed.StatusAuction, 0).Because(reason, m.timeOf(d.end)))
}

// of returns the next task of the auction: an indicative tick, or the uncross.
func (x *auction) of(m *Market, id uint32) doer {
	return &visit{ids: []uint32{id}, one: func(id uint32, at int64, out []feed.Tick) int {
		o := &m.stage.overlays[id]
		if o.auction != x {
			return 0
		}
		in := &m.instruments[id]
		if at >= x.to {
			return m.uncross(out, id, in, x, at)
		}
		m.drift(in)
		done := float64(at-x.from) / float64(x.to-x.from)
		x.imbalance = float64(0.9*x.imbalance) + float64(0.4*m.rng.NormFloat64())
		// The price comes to the one of the uncross as the orders come in.
		price := int64(math.Floor(in.fair + float64(4*float64(in.spread)*(1-done)*x.imbalance) + 0.5))
		a := feed.Auction{Kind: x.kind, Price: max(price, in.lowest) * in.tickSize, Size: max(int64(done*float64(x.size)), 1),
			Imbalance: int64(math.Abs(x.imbalance) * (1 - done) * 0.3 * float64(x.size)), Time: m.timeOf(x.to)}
		switch {
		case a.Imbalance == 0:
		case x.imbalance > 0:
			a.Side = feed.SideBuy
		default:
			a.Side = feed.SideSell
		}
		out[0] = a.Tick(feed.InstrumentID(id), m.timeOf(at))
		next := at + x.step
		if x.to-next < x.step/2 {
			next = x.to
		}
		m.stage.add(next, x.of(m, id))
		return 1
	}}
}

// uncross ends an auction: a last indicative tick, the trade at its price, and the status that follows.
func (m *Market) uncross(out []feed.Tick, id uint32, in *instrument, x *auction, at int64) int {
	o := &m.stage.overlays[id]
	name, when := feed.InstrumentID(id), m.timeOf(at)
	m.drift(in)
	price := max(int64(math.Floor(in.fair+0.5)), in.lowest)
	in.fair = float64(price)
	in.tradeID++
	out[0] = feed.Auction{Kind: x.kind, Price: price * in.tickSize, Size: x.size, Time: when}.Tick(name, when)
	trade := feed.Trade{Price: price * in.tickSize, Size: x.size, ID: uint64(in.tradeID), Conditions: auctionConditions[x.kind] << 56}
	out[1] = trade.Tick(name, when)
	out[0].Flags = feed.FlagMore
	if in.special&remembered != 0 {
		o.recent = append(o.recent[:min(len(o.recent), maxBust-1)], trade)
	}
	if x.kind == feed.AuctionClosing {
		m.stopTrading(id)
		o.shut = true
		out[2] = feed.StatusTick(name, when, feed.StatusClosed, 0)
		return 3
	}
	m.release(id)
	if o.limits != nil {
		o.limits.restart(in.fair)
	}
	out[2] = m.tradingStatus(id, when)
	return 3 + m.requote(out[3:], id, when)
}
