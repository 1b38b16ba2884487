package sim

import (
	"math"
	"slices"
	"strconv"

	"tickfeed/feed"
	"tickfeed/feed/nouns"
	"tickfeed/feed/script"
)

// An effect changes how instruments behave, or the rate of the whole market, for a time.
type effect struct {
	rule       *script.Rule
	ids        []uint32 // ascending; nil for the rate of the market
	vol        float64
	spread     float64
	depth      float64
	factor     float64 // of the activity, or of the rate
	quiet      bool
	locked     bool
	crossed    int64 // ticks by which the bid is above the ask, of locked
	rate       rateShape
	factor2    float64
	every      int64 // units
	span       int64 // of a burst, in units
	begin, end int64 // units since the opening; end is math.MaxInt64 for none
}

func (e *effect) has(id uint32) bool {
	_, ok := slices.BinarySearch(e.ids, id)
	return ok
}

// rateAt returns the factor of the rate at a time, and the time of its next sudden change.
func (e *effect) rateAt(now int64) (factor float64, next int64) {
	since := now - e.begin
	next = e.end
	switch e.rate {
	case rampRate:
		if now >= e.end {
			return e.factor2, math.MaxInt64
		}
		return e.factor + float64((e.factor2-e.factor)*float64(since)/float64(e.end-e.begin)), next
	case burstRate:
		if e.every == 0 {
			return e.factor, next
		}
		if at := since % e.every; at < e.span {
			return e.factor, min(next, now-at+e.span)
		} else {
			return 1, min(next, now-at+e.every)
		}
	case squareRate:
		if at := since % e.every; at < e.every/2 {
			return e.factor, min(next, now-at+e.every/2)
		} else {
			return e.factor2, min(next, now-at+e.every)
		}
	}
	return e.factor, next
}

// An overlay is what a scenario knows of an instrument beyond the market's own state.
type overlay struct {
	scales   scaling // of the instrument without effects
	activity float64 // factor of the effects
	depth    float64 // factor of the effects
	hold     hold    // of a halt or an auction
	auction  *auction
	limits   *limits // of luld; nil for none
	crossed  int64
	gone     bool // delisted
	shut     bool // by a closing auction, until the day ends
	recent   []feed.Trade
}

// begin adds an effect.
func (m *Market) begin(e *effect) {
	m.stage.effects = append(m.stage.effects, e)
	m.retuneAll(e)
}

// finish removes an effect, if it is still there.
func (m *Market) finish(e *effect) {
	i := slices.Index(m.stage.effects, e)
	if i < 0 {
		return
	}
	m.stage.effects = slices.Delete(m.stage.effects, i, i+1)
	m.retuneAll(e)
}

func (m *Market) retuneAll(e *effect) {
	for _, id := range e.ids {
		m.retune(id)
	}
	if e.ids != nil && (e.factor != 1 || e.quiet) {
		m.reweigh()
	}
}

// maxFactors bounds the product of the factors of effects that overlap.
const maxFactors = 1e8

// factors are the products of the effects on an instrument, by what they multiply.
type factors struct{ vol, spread, depth, activity float64 }

// factors returns the factors of an instrument, the activity 0 if it is quiet.
func (m *Market) factors(id uint32) factors {
	f := factors{1, 1, 1, 1}
	for _, e := range m.stage.effects {
		if e.ids == nil || !e.has(id) {
			continue
		}
		f.vol *= e.vol
		f.spread *= e.spread
		f.depth *= e.depth
		f.activity *= e.factor
		if e.quiet {
			f.activity = 0
		}
	}
	for _, factor := range []*float64{&f.vol, &f.spread, &f.depth, &f.activity} {
		if *factor > 0 {
			*factor = min(max(*factor, 1/maxFactors), maxFactors)
		}
	}
	return f
}

// of returns the factor that a verb multiplies; ok is false if the verb multiplies none.
func (f *factors) of(v verb) (factor float64, ok bool) {
	switch v {
	case doVolatility:
		return f.vol, true
	case doSpread:
		return f.spread, true
	case doDepth:
		return f.depth, true
	case doActivity:
		return f.activity, true
	}
	return 1, false
}

// inAll says by which factor all effects on the instruments of the last one, which rule r has begun, multiply what it multiplies, if
// that is not its own factor.
func (m *Market) inAll(r *script.Rule) string {
	a, effects := r.Does.(*action), m.stage.effects
	own := factors{a.vol, a.spread, a.depth, a.factor}
	k, ok := own.of(a.verb)
	if !ok || len(effects) == 0 || effects[len(effects)-1].rule != r {
		return ""
	}
	least, most := math.Inf(1), 0.0
	for _, id := range effects[len(effects)-1].ids {
		f := m.factors(id)
		now, _ := f.of(a.verb)
		least, most = min(least, now), max(most, now)
	}
	if least == k && most == k {
		return ""
	}
	text := factorText(least)
	if least != most {
		text += " to " + factorText(most)
	}
	return text
}

// factorText formats a factor, of which maxFactors is the bound.
func factorText(k float64) string {
	by := "x"
	if 0 < k && k < 1 {
		by, k = "/", 1/k
	}
	switch {
	case k == 0:
		return "x0, quiet"
	case k >= maxFactors*(1-1e-9):
		return by + nouns.Thousands(uint64(maxFactors)) + ", the limit"
	case k >= 1000:
		return by + nouns.Thousands(uint64(math.Round(k)))
	}
	return by + strconv.FormatFloat(k, 'g', 4, 64)
}

// retune applies the effects to an instrument.
func (m *Market) retune(id uint32) {
	o, in := &m.stage.overlays[id], &m.instruments[id]
	f := m.factors(id)
	o.activity, o.depth, o.crossed = f.activity, f.depth, 0
	in.special &^= quiet | locked | scaled
	for _, e := range m.stage.effects {
		if e.ids == nil || !(e.quiet || e.locked) || !e.has(id) {
			continue
		}
		if e.quiet {
			in.special |= quiet
		}
		if e.locked {
			in.special |= locked
			o.crossed = max(o.crossed, e.crossed)
		}
	}
	if o.depth != 1 {
		in.special |= scaled
	}
	s := o.scales
	s.market, s.own, s.spread = s.market*f.vol, s.own*f.vol, s.spread*f.spread
	if o.activity > 0 { // more events move the price no further: that is volatility's to do
		s.push, s.perEvent = s.push/math.Sqrt(o.activity), s.perEvent/o.activity
	}
	in.setScales(s)
}

// rebase takes over the scales of an instrument that a new day or session has set.
func (m *Market) rebase(id uint32) {
	if !m.stage.active {
		return
	}
	m.stage.overlays[id].scales = m.instruments[id].scales()
	m.retune(id)
}

// rates returns the factor of the market's rate, how the events are spaced, and the time of the next sudden change.
func (s *stage) rates(now int64) (factor float64, spacing spacing, next int64) {
	factor, next = 1, math.MaxInt64
	for _, e := range s.effects {
		if e.ids != nil {
			continue
		}
		f, change := e.rateAt(now)
		factor *= f
		next = min(next, change)
		switch e.rate {
		case constantRate:
			spacing = evenly
		case poissonRate:
			spacing = independently
		}
	}
	return factor, spacing, next
}

// unusual decides what becomes of an event of an instrument whose events are not ordinary. taken is false if the event goes on as
// an ordinary one, and adapt is to be called for its ticks.
func (m *Market) unusual(out []feed.Tick, id uint32, in *instrument, at int64) (n int, taken bool) {
	switch {
	case in.special&(halted|closed|quiet) != 0:
		return 0, true
	case in.special&locked != 0:
		return m.pinLocked(out, id, in, at), true
	case in.special&limited != 0:
		return m.limit(out, id, in, at)
	}
	return 0, false
}

// maxSize bounds a size that effects have made larger.
const maxSize = 1 << 60

// adapt changes the ticks of an event for the effects on its instrument, and remembers its trades.
func (m *Market) adapt(ticks []feed.Tick, id uint32, in *instrument) {
	o := &m.stage.overlays[id]
	for i := range ticks {
		t := &ticks[i]
		if in.special&scaled != 0 {
			scale := func(v *int64) {
				if *v > 0 {
					*v = max(int64(min(float64(*v)*o.depth, maxSize)), 1)
				}
			}
			switch t.Kind {
			case feed.KindQuote:
				scale(&t.Values[1])
				scale(&t.Values[3])
			case feed.KindTrade:
				scale(&t.Values[1])
				t.Values[3] = int64(conditions(t.Trade().Conditions>>56 == 'F', t.Values[1] < int64(in.lot)))
			case feed.KindLevel:
				scale(&t.Values[1])
			}
		}
		if t.Kind != feed.KindTrade {
			continue
		}
		if in.special&remembered != 0 {
			if len(o.recent) == maxBust {
				copy(o.recent, o.recent[1:])
				o.recent = o.recent[:maxBust-1]
			}
			o.recent = append(o.recent, t.Trade())
		}
		if o.limits != nil {
			o.limits.trade(float64(t.Values[0] / in.tickSize))
		}
	}
}

// requote publishes a new quote that fits the fair price.
func (m *Market) requote(out []feed.Tick, id uint32, at int64) int {
	in := &m.instruments[id]
	if in.special&(halted|closed|quiet) != 0 {
		return 0
	}
	if in.special&locked != 0 {
		return m.pinLocked(out, id, in, at)
	}
	in.quoted = false
	r := m.bits.Uint64()
	var n int
	if m.habits != nil {
		n = m.quoteByHabit(out, id, in, &m.habits[id], at, r)
	} else {
		n = m.quote(out, id, in, at, r)
	}
	m.adapt(out[:n], id, in)
	return n
}

// pin publishes a quote at given prices, in ticks, with new sizes.
func (m *Market) pin(out []feed.Tick, id uint32, in *instrument, at, bid, ask int64) int {
	in.bidSize, in.askSize = m.size(id, in), m.size(id, in)
	in.bid, in.ask, in.quoted = bid, ask, true
	n := m.publish(out, 0, id, in, at)
	m.adapt(out[:n], id, in)
	return n
}

// size draws a displayed size.
func (m *Market) size(id uint32, in *instrument) int64 { return m.sizeAt(id, in, m.bits.Uint64(), 0) }

// pinLocked publishes a locked or crossed quote.
func (m *Market) pinLocked(out []feed.Tick, id uint32, in *instrument, at int64) int {
	ask := max(int64(math.Floor(in.fair+0.5)), in.lowest)
	return m.pin(out, id, in, at, ask+m.stage.overlays[id].crossed, ask)
}

// drift moves the fair price of an instrument for the time since its last event, without an event.
func (m *Market) drift(in *instrument) {
	ret, variance := m.climate.at(m.arrivals.now)
	if in.sector != 0 {
		ret += m.climate.sector(in.sector, m.arrivals.now)
	}
	in.move(ret, variance, m.pace, m.lag, m.rng.NormFloat64())
}
