package fit

import (
	"cmp"
	"math"
	"slices"
	"time"

	"tickfeed/feed"
	"tickfeed/feed/facts"
)

// Bounds of what is kept for an instrument. Longer recordings are thinned.
const (
	maxSamples = 1 << 14 // values of a distribution
	maxSigns   = 1 << 16 // trades whose sides are kept
	maxSlots   = 1 << 16 // prices, one for each slotLength
	slotLength = 10 * time.Second
	shapeParts = 288 // of partOfDay each: one day
	partOfDay  = 5 * time.Minute
	maxGap     = time.Hour // without a tick, after which another day begins
)

// samples keeps evenly spaced values of a series: every one, then, whenever there are maxSamples, every second of them.
type samples[T any] struct {
	values []T
	every  int // values for each one that is kept; 0 stands for 1
	wait   int
}

func (s *samples[T]) add(v T) {
	if s.wait--; s.wait > 0 {
		return
	}
	s.every = max(s.every, 1)
	s.wait = s.every
	if len(s.values) == maxSamples {
		for i := range maxSamples / 2 {
			s.values[i] = s.values[2*i]
		}
		s.values = s.values[:maxSamples/2]
		s.every *= 2
		s.wait = s.every
	}
	s.values = append(s.values, v)
}

// queues are the sizes of a quote.
type queues struct{ bid, ask float64 }

// A measure is what was measured of one instrument. Prices are in its currency, and sizes in shares, contracts or coins.
type measure struct {
	row         *facts.Instrument // what package facts has measured, once it is done
	definition  feed.Definition
	defined     bool
	price, size float64 // 10 to the power of the exponents
	events      eventMeasure
	path        pathMeasure

	quotes  int // ticks
	spreads samples[float64]
	queues  samples[queues]

	dealt   int // ticks
	trades  samples[float64]
	signs   []int8
	pauses  []float64 // before the trades of signs, in seconds
	tradeAt int64     // time of the last trade
}

// An eventMeasure counts events.
type eventMeasure struct {
	all      int
	orders   int  // events with trades
	followed int  // events with trades that follow one
	after    bool // the last event had trades
	deeper   int  // events without a quote or a trade
	together int  // events at the same time as the one before
	last     int64
	gaps     samples[float64]    // seconds
	parts    [shapeParts]float64 // by time of day
	counts   [len(windows)]windowCount

	open           bool // an event is at hand
	traded, quoted bool // in it
}

// A pathMeasure is the course of the price.
type pathMeasure struct {
	step  int64 // greatest common divisor of the prices of quotes, in units of 10^exponent
	odd   int64 // of those of trades
	first float64
	least float64
	now   float64
	slots []slot
}

// windows are the times in which events are counted.
var windows = [...]float64{0.1, 1, 10}

// A windowCount counts the events in windows of equal length.
type windowCount struct {
	at      int64
	n       float64
	squares float64
}

func (w *windowCount) add(window int64) {
	if window != w.at {
		w.squares += w.n * w.n
		w.at, w.n = window, 0
	}
	w.n++
}

// A Fitter measures the instruments of a recording, and makes a sim.Profile of what it has measured.
type Fitter struct {
	of    feed.Table[*measure]
	all   []*measure
	meter *facts.Meter
	days  []span
}

// A span is the first and the last event time of a day.
type span struct{ from, to int64 }

// MaxInstruments bounds the instruments that a Fitter measures.
const MaxInstruments = facts.MaxInstruments

// New returns a Fitter of the instruments with the given ids, the most active one first, at most MaxInstruments.
func New(ids ...feed.InstrumentID) *Fitter {
	f := &Fitter{meter: facts.New(ids...)}
	for _, id := range ids[:min(len(ids), MaxInstruments)] {
		if at := f.of.At(id); *at == nil {
			*at = &measure{price: 1, size: 1, path: pathMeasure{least: math.Inf(1)}}
			f.all = append(f.all, *at)
		}
	}
	return f
}

// Define sets the definition of an instrument, as a definition tick does.
func (f *Fitter) Define(id feed.InstrumentID, d feed.Definition) {
	f.meter.Define(id, d)
	if at := f.of.Lookup(id); at != nil && *at != nil {
		(*at).define(d)
	}
}

// Add measures the next ticks, in order. Those of other instruments and of snapshots are passed over, except definitions.
func (f *Fitter) Add(ticks []feed.Tick) {
	f.meter.Add(ticks)
	for i := range ticks {
		t := &ticks[i]
		at := f.of.Lookup(t.Instrument)
		if at == nil || *at == nil || t.Flags&feed.FlagSnapshot != 0 && t.Kind != feed.KindDefinition {
			continue
		}
		switch t.Kind {
		case feed.KindDefinition:
			(*at).define(*t.Definition())
		case feed.KindQuote, feed.KindTrade, feed.KindLevel:
			if t.EventTime > 0 {
				f.day(t.EventTime)
				(*at).add(t, f.days)
			}
		}
	}
}

// day notes an event time.
func (f *Fitter) day(at int64) {
	n := len(f.days)
	if n == 0 || at-f.days[n-1].to > int64(maxGap) {
		f.days = append(f.days, span{at, at})
		return
	}
	f.days[n-1].to = max(f.days[n-1].to, at)
}

func (m *measure) define(d feed.Definition) {
	if m.defined && d.PriceExponent != m.definition.PriceExponent {
		from, to := m.definition.PriceExponent, d.PriceExponent
		for ; from > to; from-- { // a step in the new, finer units
			m.path.step, m.path.odd = m.path.step*10, m.path.odd*10
		}
		for ; from < to; from++ {
			m.path.step, m.path.odd = max(m.path.step/10, min(m.path.step, 1)), max(m.path.odd/10, min(m.path.odd, 1))
		}
	}
	m.definition, m.defined = d, true
	m.price, m.size = math.Pow(10, float64(d.PriceExponent)), math.Pow(10, float64(d.SizeExponent))
}

// add measures a tick. The last of days is the day of the tick.
func (m *measure) add(t *feed.Tick, days []span) {
	if !m.events.open {
		m.begin(t.EventTime, days)
	}
	switch t.Kind {
	case feed.KindQuote:
		m.addQuote(t.Quote(), t.EventTime)
	case feed.KindTrade:
		m.addTrade(t.Trade(), t.EventTime)
	}
	if m.events.open = t.Flags&feed.FlagMore != 0; !m.events.open {
		switch {
		case m.events.traded:
			if m.events.orders++; m.events.after {
				m.events.followed++
			}
		case !m.events.quoted:
			m.events.deeper++
		}
		m.events.after = m.events.traded
		m.events.traded, m.events.quoted = false, false
	}
}

// begin counts the beginning of an event.
func (m *measure) begin(at int64, days []span) {
	gap := at - m.events.last
	switch {
	case m.events.all == 0:
	case gap >= 0 && gap < int64(maxGap):
		m.events.gaps.add(float64(gap) / 1e9)
		if gap == 0 {
			m.events.together++
		}
	}
	m.events.all++
	m.events.last = max(m.events.last, at)
	if len(days) > 0 {
		if part := (at - days[len(days)-1].from) / int64(partOfDay); part >= 0 && part < shapeParts {
			m.events.parts[part]++
		}
	}
	for i, seconds := range windows {
		m.events.counts[i].add(int64(float64(at) / (seconds * 1e9)))
	}
}

func (m *measure) addQuote(q feed.Quote, at int64) {
	m.quotes++
	m.events.quoted = true
	if q.Bid == feed.NoPrice || q.Ask == feed.NoPrice || q.Bid >= q.Ask {
		return
	}
	m.path.step = gcd(gcd(m.path.step, q.Bid), q.Ask)
	m.spreads.add(float64(q.Ask-q.Bid) * m.price)
	if q.BidSize > 0 && q.AskSize > 0 {
		m.queues.add(queues{float64(q.BidSize) * m.size, float64(q.AskSize) * m.size})
	}
	m.sample(float64(q.Bid+q.Ask)/2*m.price, at)
}

func (m *measure) addTrade(tr feed.Trade, at int64) {
	m.dealt++
	m.events.traded = true
	m.path.odd = gcd(m.path.odd, tr.Price)
	if tr.Size > 0 {
		m.trades.add(float64(tr.Size) * m.size)
	}
	if sided := tr.Side == feed.SideBuy || tr.Side == feed.SideSell; sided && len(m.signs) < maxSigns {
		sign := int8(1)
		if tr.Side == feed.SideSell {
			sign = -1
		}
		m.signs, m.pauses = append(m.signs, sign), append(m.pauses, max(float64(at-m.tradeAt)/1e9, 0))
		m.tradeAt = at
	}
	if m.quotes == 0 {
		m.sample(float64(tr.Price)*m.price, at)
	}
}

// sample notes the price at the beginning of each slot of event time.
func (m *measure) sample(price float64, at int64) {
	if m.path.first == 0 {
		m.path.first = price
	}
	m.path.least = min(m.path.least, price)
	now := at / int64(slotLength)
	next := now
	if n := len(m.path.slots); n > 0 && now-m.path.slots[n-1].at <= int64(maxGap/slotLength) {
		next = m.path.slots[n-1].at + 1
	}
	for ; next <= now && len(m.path.slots) < maxSlots; next++ {
		m.path.slots = append(m.path.slots, slot{next, cmp.Or(m.path.now, price)})
	}
	m.path.now = price
}

// A slot is a time of slotLength, counted since the Unix epoch, and the price at its beginning.
type slot struct {
	at    int64
	price float64
}

// returns calls visit with the differences of prices that are slots apart, without overlap.
func (m *measure) returns(slots int, visit func(at int64, r float64)) {
	for i := slots; i < len(m.path.slots); i += slots {
		if m.path.slots[i].at-m.path.slots[i-slots].at == int64(slots) {
			visit(m.path.slots[i].at, m.path.slots[i].price-m.path.slots[i-slots].price)
		}
	}
}

func gcd(a, b int64) int64 {
	if b < 0 {
		b = -b
	}
	for b != 0 {
		a, b = b, a%b
	}
	return a
}

// sortedBy returns the values of a series, in order.
func sortedBy[T any](s *samples[T], value func(T) float64) []float64 {
	out := make([]float64, len(s.values))
	for i, v := range s.values {
		out[i] = value(v)
	}
	slices.SortFunc(out, cmp.Compare[float64])
	return out
}
