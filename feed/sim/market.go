// Package sim is a simulated market as a [feed.Source]: believable ticks for demonstrations and tests. The
// ticks depend on [Config] alone, not on the sizes of the batches or the machine. The package reads no clock
// and starts no goroutine; event times are those of the simulated market, and a caller that wants them at that
// pace must wait for them.
//
//	market, err := sim.New(sim.Config{Seed: 1, Instruments: 100, Rate: 1000})
//	if err != nil {
//		return err
//	}
//	batch := make([]feed.Tick, 256)
//	n, err := market.Next(ctx, batch) // it never ends, unless Config.Days does
//
// The market is within the ranges of package facts: what it has in common with real ones is measured, and a test holds it
// to the ranges in which real days lie.
//
// Type [Market] says how it behaves.
package sim

import (
	"cmp"
	"context"
	"io"
	"math/rand/v2"
	"slices"
	"time"

	"tickfeed/feed"
)

// A Market is a simulated market. Only one goroutine may use it.
//
//   - A few instruments are very active and many are quiet (Zipf's law). Events come in clusters, on time scales from
//     a millisecond to seconds, where each event makes others of its instrument more likely; now and then an
//     instrument has a rush. Any minute has as many ticks as [Config].Rate asks for; with the U-shaped day many at
//     the opening, few past noon, many before the close.
//   - Prices follow the market in part, a second late, and move on their own in part; both volatilities wander, and
//     the spread widens with them. The usual spread is proportional to the volatility from one order to the next, so
//     that a market with few ticks has wide spreads.
//   - Orders are parts of parent orders, and so their sides have a long memory. The surprise in them moves the price;
//     the liquidity answers what was expected. They hit the bid or lift the offer at the quoted price in one or more
//     trades, then the quote shows the remaining sizes.
//   - The sizes of the quote lean to where the price is going. Sizes have heavy tails.
//
// About one tick in seven is a trade and the others are quotes; level ticks are added if asked for.
//
// The source begins with the definition of every instrument. On each day every instrument has a pre-open status
// one second before the opening, which names the trading day, a trading status at the opening, and a closed
// status at the end. Now and then an instrument is halted for some minutes and neither quotes nor trades. With
// levels, a clear follows a pre-open or halted status in the same event.
//
// [Config].Scenario lets something happen at times of the market: see [Language] and [Verbs]. The rules above then hold, except for what
// the scenario does. [Config].Universe replaces the instruments, each with the hours of its venue. With [Config].Profile the market
// has the habits of a recorded one, which package fit has measured: its rate, its clusters, the shape of its day, and the
// distributions, the order flow and the prices of its instruments, instead of those that are the same for all markets here.
//
// Between days the event times jump by a night or a weekend. A caller that waits for event times would wait
// that long; [Config].Continuous leaves nights and weekends out.
type Market struct {
	config   Config
	rng      *rand.Rand
	bits     *rand.PCG // source of rng
	listings []listing
	extras   []feed.Extra // for the definition ticks

	instruments []instrument
	books       books
	arrivals    arrivals
	climate     climate
	calendar    *calendar // nil if all instruments have the hours of the market
	stage       stage
	habits      []habit // nil without a Profile
	byEvents    bool    // the rate is that of events, not of ticks
	shape       daily
	commands    commands

	phase phase
	index int // index of the next instrument, in phases that visit all of them
	// scratch is for an event that may not fit into the caller's batch; pending is the part of scratch that did
	// not fit.
	scratch, pending []feed.Tick

	day        int       // number of days begun
	date       time.Time // the trading day, as midnight UTC
	open       int64     // time of the opening, in nanoseconds since the Unix epoch
	dayUnits   int64     // length of the day in units of arrivals.now
	until      int64     // end of the epoch, in those units
	controls   []control // the day's halts and resumptions, soonest first
	control    int       // index in controls of the next one
	dayTicks   int64     // ticks since the opening
	most       int64     // if dayTicks exceeds most, the epoch ends early
	ticks      float64   // ticks and events of all days so far, for their ratio
	events     float64
	shares     []float64 // of the instruments in the events
	pace       float64   // variance that an event brings now, as a multiple of the day's mean
	lag        float64   // marketLag as a share of the day
	tradeShare uint64    // orders in 1024 events
}

// A phase is a part of the source. Every phase except trading visits the instruments once.
type phase uint8

const (
	defining phase = iota
	preOpening
	opening
	trading
	performing // tasks of the stage, between two epochs
	closing
	ended
)

// A control halts an instrument or resumes trading in it.
type control struct {
	at   int64 // units since the opening
	id   uint32
	halt bool
}

const (
	preOpen   = int64(time.Second) // from the pre-open status to the opening
	unitShift = 10                 // units are 1/1024 ns

	// longBatch is the time in a batch, in units, after which a command must not wait for the rest of the batch.
	longBatch = maxEpoch / 2 * unitsPerSecond

	maxControls = 8 // of a day

	deepShare = 3 // of 8 events without a trade change the book behind the best levels, if there is one
)

// New returns the market of config, or an error that names the field out of bounds. A Market takes about 500
// bytes per instrument, and 32 per instrument and level of depth.
func New(config Config) (*Market, error) {
	byEvents := config.Profile != nil && config.Rate == 0
	if config.Profile != nil {
		if err := config.Profile.validate(); err != nil {
			return nil, err
		}
	}
	config = config.withDefaults()
	if err := config.validate(); err != nil {
		return nil, err
	}
	listings := config.listings()
	bits := rand.NewPCG(config.Seed, 0x7469636b66656564)
	rng := rand.New(bits)
	m := &Market{
		config:      config,
		rng:         rng,
		bits:        bits,
		listings:    listings,
		extras:      make([]feed.Extra, config.Instruments),
		instruments: make([]instrument, config.Instruments),
		arrivals:    arrivals{rng: rng, bits: bits, byActivity: aliasTable(activities(listings)), kernels: usualKernels},
		climate:     newClimate(rng, listings),
		scratch:     make([]feed.Tick, 2*maxControls+maxFills+1+maxLevelTicks(config.Depth)),
		dayUnits:    int64(config.DayLength) << unitShift,
		controls:    make([]control, 0, maxControls),
		shares:      eventShares(listings),
		tradeShare:  tradeShare,
		byEvents:    byEvents,
		shape:       config.Shape,
	}
	if config.Depth > 1 {
		m.tradeShare = deepTradeShare
	}
	if config.Depth > 0 {
		m.books = newBooks(config.Instruments, config.Depth)
	}
	// These are a first guess of the ratio.
	m.ticks, m.events = 1200, 1000
	for i := range m.listings {
		m.extras[i].Definition = &m.listings[i].definition
		m.instruments[i] = newInstrument(&m.listings[i])
		m.instruments[i].sector = m.climate.sectorOf(m.listings[i].sector)
	}
	if config.Profile != nil {
		m.follow(config.Profile)
	}
	m.calendar = newCalendar(m.listings, &m.config)
	m.lag = marketLag / m.config.DayLength.Seconds()
	if err := m.setUp(); err != nil {
		return nil, err
	}
	if m.calendar != nil {
		m.startCalendar()
		for _, r := range m.stage.rules {
			if at, timed := m.first(r); timed {
				if why := m.unopened(r, at<<unitShift); why != "" {
					return nil, r.Wrong("%s", why)
				}
			}
		}
		return m, nil
	}
	m.startDay()
	return m, nil
}

// Next fills batch with the next ticks. It never waits and ignores ctx. It returns io.EOF after Config.Days
// days and no other error. With Config.Commands it returns no tick and no error if none comes for a while: a caller that
// keeps the pace of the market then waits for the time that Reached returns, so that a command finds the market at that time.
func (m *Market) Next(_ context.Context, batch []feed.Tick) (int, error) {
	n := copy(batch, m.pending)
	m.pending = m.pending[n:]
	m.stage.epochEnded = false
	began := m.arrivals.now
	for n < len(batch) {
		if m.phase == ended {
			m.commands.end()
			return n, io.EOF
		}
		began = min(began, m.arrivals.now) // a day may have begun
		if m.stage.epochEnded && m.arrivals.now-began >= longBatch {
			return n, nil
		}
		if len(batch)-n >= len(m.scratch) {
			n += m.step(batch[n:])
			continue
		}
		made := m.step(m.scratch)
		taken := copy(batch[n:], m.scratch[:made])
		m.pending = m.scratch[taken:made]
		n += taken
	}
	return n, nil
}

// Reached returns the event time up to which Next has returned all ticks. The ticks after it are not decided yet.
func (m *Market) Reached() int64 { return m.timeOf(m.arrivals.now) }

// Close does nothing; a Market holds only memory.
func (m *Market) Close() error { return nil }

// step writes the ticks of one event to out, which must be at least as long as m.scratch, and returns their
// number, which may be 0.
func (m *Market) step(out []feed.Tick) int {
	if m.phase == trading {
		n := m.event(out)
		m.dayTicks += int64(m.cost(n))
		return n
	}
	if m.phase == performing {
		return m.perform(out)
	}
	id := feed.InstrumentID(m.index)
	n := 1
	if m.stage.active && m.phase != defining && m.passesOver(uint32(id)) {
		n = 0
	}
	if n > 0 {
		n = m.visit(out, id)
	}
	if m.index++; m.index == len(m.instruments) {
		m.index = 0
		m.endPhase()
	}
	return n
}

// visit writes the ticks of one instrument in a phase that visits all of them.
func (m *Market) visit(out []feed.Tick, id feed.InstrumentID) int {
	switch m.phase {
	case defining:
		out[0] = feed.Tick{
			Kind: feed.KindDefinition, Instrument: id, EventTime: m.open - preOpen, Extra: &m.extras[id],
		}
	case preOpening:
		day := int32(m.date.Year()*10_000 + int(m.date.Month())*100 + m.date.Day())
		return m.silence(out, uint32(id), feed.StatusTick(id, m.open-preOpen, feed.StatusPreOpen, day))
	case opening:
		out[0] = m.tradingStatus(uint32(id), m.open)
	case closing:
		out[0] = feed.StatusTick(id, m.open+int64(m.config.DayLength), feed.StatusClosed, 0)
	}
	return 1
}

// endPhase goes on to the next phase after one that has visited all instruments.
func (m *Market) endPhase() {
	switch was := m.phase; {
	case m.calendar != nil: // after the definitions the calendar opens and closes instruments
		m.phase = performing
	case m.stage.active && was == preOpening:
		m.phase = performing // what happens at the opening, then goOn
	case m.stage.active && was == opening:
		m.stage.opened = true
		m.phase = performing
	case was == closing:
		m.phase = ended
		if m.day != m.config.Days {
			m.startDay()
		}
	default:
		m.phase++
	}
}

// silence writes a status that ends the quote, and with levels the clear of the book that goes with it.
func (m *Market) silence(out []feed.Tick, id uint32, status feed.Tick) int {
	m.instruments[id].quoted = false
	out[0] = status
	if m.config.Depth == 0 {
		return 1
	}
	m.books.clear(id)
	out[0].Flags = feed.FlagMore
	out[1] = feed.ClearTick(status.Instrument, status.EventTime, feed.SideBoth)
	return 2
}

// startDay prepares the next trading day, or ends the source if the event times no longer fit.
func (m *Market) startDay() {
	if m.day > 0 {
		m.phase = preOpening
	}
	at := m.nextOpening()
	if at.Year() >= 2262 {
		m.phase = ended
		return
	}
	date := time.Date(at.Year(), at.Month(), at.Day(), 0, 0, 0, 0, time.UTC)
	if !date.After(m.date) {
		date = m.date.AddDate(0, 0, 1)
	}
	m.date = date
	m.open = at.UnixNano()
	if m.day > 0 {
		m.overnight()
	}
	for i := range m.instruments {
		m.startDayOf(uint32(i))
	}
	m.day++
	m.dayTicks = 0
	m.planHalts()
	m.arrivals.now = 0
	m.arrivals.calm()
	m.climate.open()
	m.startEpoch()
	m.schedule()
}

// nextOpening returns the opening time of the day after the current one.
func (m *Market) nextOpening() time.Time {
	start := m.config.Start
	if m.day == 0 {
		return start
	}
	soonest := time.Unix(0, m.open).Add(m.config.DayLength + 2*time.Second).In(start.Location())
	if m.config.Continuous {
		return soonest
	}
	last := time.Unix(0, m.open).In(start.Location())
	for days := 1; ; days++ {
		at := time.Date(last.Year(), last.Month(), last.Day()+days, start.Hour(), start.Minute(),
			start.Second(), start.Nanosecond(), start.Location())
		if w := at.Weekday(); w == time.Saturday || w == time.Sunday {
			continue
		}
		if at.Before(soonest) { // daylight saving has shortened the night
			return soonest
		}
		return at
	}
}

// overnight moves all prices to the opening of the next day.
func (m *Market) overnight() {
	market := m.rng.NormFloat64()
	for i := range m.instruments {
		m.instruments[i].overnight(&m.listings[i], market, m.rng.NormFloat64())
	}
}

// planHalts draws the halts of the day: two or three if the market has many instruments.
func (m *Market) planHalts() {
	m.controls, m.control = m.controls[:0], 0
	if m.stage.active || m.habits != nil {
		return // all halts are those of the scenario
	}
	count := len(m.instruments)
	for range maxControls / 2 {
		wanted := m.rng.Float64() < min(0.6, float64(count)/200)
		id := uint32(min(m.rng.IntN(count), m.rng.IntN(count))) // the minimum favours active instruments
		from := int64((0.05 + float64(0.75*m.rng.Float64())) * float64(m.dayUnits))
		span := int64((0.013 + float64(0.013*m.rng.Float64())) * float64(m.dayUnits)) // 5 to 10 min
		if !wanted || slices.ContainsFunc(m.controls, func(c control) bool { return c.id == id }) {
			continue
		}
		m.controls = append(m.controls, control{from, id, true}, control{from + span, id, false})
	}
	slices.SortStableFunc(m.controls, func(a, b control) int { return cmp.Compare(a.at, b.at) })
}

// event writes the ticks of the next event of the trading phase. It may write none, such as at the end of an
// epoch or if the instrument is halted.
func (m *Market) event(out []feed.Tick) int {
	if m.arrivals.background == 0 && m.idle() {
		return 0
	}
	id, ok := m.arrivals.next(m.until)
	at := m.open + m.arrivals.now>>unitShift
	if !ok {
		return m.endEpoch(out, at)
	}
	in := &m.instruments[id]
	if in.special != 0 {
		if n, taken := m.unusual(out, id, in, at); taken {
			return n
		}
	}
	ret, variance := m.climate.at(m.arrivals.now)
	if in.sector != 0 {
		ret += m.climate.sector(in.sector, m.arrivals.now)
	}
	in.move(ret, variance, m.pace, m.lag, m.rng.NormFloat64())
	r := m.bits.Uint64()
	n := 0
	switch {
	case m.habits != nil:
		n = m.habitual(out, id, in, at, r)
	case !in.quoted:
		n = m.quote(out, id, in, at, r)
	case r&1023 < m.tradeShare:
		n = m.trade(out, id, in, at, r)
	case m.config.Depth > 1 && r>>10&7 < deepShare:
		n = m.deepen(out, id, in, at, r)
	default:
		n = m.quote(out, id, in, at, r)
	}
	if in.special != 0 {
		m.adapt(out[:n], id, in)
	}
	m.events++
	m.ticks += float64(m.cost(n))
	if m.dayTicks+int64(m.cost(n)) > m.most {
		m.until = m.arrivals.now
		m.arrivals.calm()
	}
	return n
}

// quote is the event of a new quote. One side moves towards the quote that fits the fair price, if it is too far
// from it; otherwise it gets a new size, or flickers.
func (m *Market) quote(out []feed.Tick, id uint32, in *instrument, at int64, r uint64) int {
	bid, ask := in.target(m.climate.spread)
	if !in.quoted {
		in.bid, in.ask, in.quoted = bid, ask, true
		in.bidSize, in.askSize = in.displayed(r>>12, +1), in.displayed(r>>34, -1)
		return m.publish(out, 0, id, in, at)
	}
	offBid, offAsk := max(bid-in.bid, in.bid-bid), max(ask-in.ask, in.ask-ask)
	far := max(1+int64(slack*float64(in.spread)), min(int64(in.spread+0.5), 2))
	moveBid := offBid >= far && (offBid > offAsk || offBid == offAsk && r>>63 == 0)
	moveAsk := offAsk >= far && !moveBid
	switch {
	case moveBid && bid < in.bid:
		bid = max(bid-int64(shy/1024*float64(r>>45&1023)*float64(in.spread)), in.lowest)
	case moveAsk && ask > in.ask:
		ask += int64(shy / 1024 * float64(r>>45&1023) * float64(in.spread))
	case !moveBid && !moveAsk:
		moveBid = r>>63 == 0
		moveAsk = !moveBid
		bid, ask = in.bid, in.ask
		if r>>55&255 < flickers {
			step := 1 + int64(r>>45&1023)*int64(in.spread)>>10
			bid, ask = max(bid-step, in.lowest), ask+step
		}
	}
	moveBid = moveBid || moveAsk && ask <= in.bid
	moveAsk = moveAsk || moveBid && bid >= in.ask
	if moveBid {
		in.bidSize = in.another(in.bidSize, bid == in.bid, r>>12, +1)
		in.bid = bid
	}
	if moveAsk {
		in.askSize = in.another(in.askSize, ask == in.ask, r>>34, -1)
		in.ask = ask
	}
	return m.publish(out, 0, id, in, at)
}

// trade is the event of one order that meets the quote.
func (m *Market) trade(out []feed.Tick, id uint32, in *instrument, at int64, r uint64) int {
	return m.execute(out, id, in, nil, in.order(r, m.pace, &usualFlow) > 0, at)
}

// execute writes the fills of one order, all at the best price, and the remaining quote. With a habit a fill may be larger than the
// displayed size: the rest of it was hidden.
func (m *Market) execute(out []feed.Tick, id uint32, in *instrument, h *habit, buy bool, at int64) int {
	t := feed.Trade{Side: feed.SideBuy, Price: in.ask * in.tickSize}
	left := &in.askSize
	if !buy {
		t.Side, t.Price = feed.SideSell, in.bid*in.tickSize
		left = &in.bidSize
	}
	fills := uint64(moreFills)
	if h != nil {
		fills = h.fills
	}
	n, r := 0, uint64(0)
	for more := true; more; {
		r = m.bits.Uint64()
		switch {
		case h != nil:
			t.Size = h.trades[r&1023]
		case r>>40&15 != 0:
			t.Size = min(in.dealt(r), *left)
		default:
			t.Size = *left
		}
		*left -= min(t.Size, *left)
		more = n+1 < maxFills && *left > 0 && r>>56 < fills
		in.tradeID++
		t.ID = uint64(in.tradeID)
		t.Conditions = conditions(n > 0 || more, t.Size < int64(in.lot))
		out[n] = t.Tick(feed.InstrumentID(id), at)
		n++
	}
	if *left == 0 {
		m.exhaust(id, in, buy, r>>36)
	}
	return m.publish(out, n, id, in, at)
}

// exhaust moves a side of the quote whose size is used up to the next price.
func (m *Market) exhaust(id uint32, in *instrument, ask bool, r uint64) {
	var next level
	var known bool
	if m.config.Depth > 0 {
		w := m.books.bids(id)
		if ask {
			w = m.books.asks(id)
		}
		next, known = w.second()
	}
	side := 1.0
	if ask {
		side = -1
	}
	var size int64
	if m.habits != nil {
		size = m.habits[id].size(in, !ask, r)
	} else {
		size = in.displayed(r, side)
	}
	switch {
	case ask && known:
		in.ask, in.askSize = next.price, next.size
	case ask:
		in.ask, in.askSize = in.ask+1, size
	case known:
		in.bid, in.bidSize = next.price, next.size
	default:
		in.bid, in.bidSize = max(in.bid-1, in.lowest), size
	}
}

// publish appends the quote of an instrument to the first n ticks of the event, then the changes of its book,
// and sets FlagMore on all but the last tick.
func (m *Market) publish(out []feed.Tick, n int, id uint32, in *instrument, at int64) int {
	in.putQuote(&out[n], feed.InstrumentID(id), at)
	n++
	if m.config.Depth > 0 {
		n = m.syncBook(out, n, id, in, at)
	}
	for i := range n - 1 {
		out[i].Flags = feed.FlagMore
	}
	return n
}

// startDayOf sets the scale of the day's moves of instrument i.
func (m *Market) startDayOf(i uint32) {
	length := m.config.DayLength
	if m.calendar != nil {
		g := m.calendar.of[i]
		length = time.Duration(g.to - g.from)
	}
	events := max(m.config.Rate*length.Seconds()*m.events/m.ticks*m.shares[i], 1)
	part := float64(int64(length)<<unitShift) / float64(m.dayUnits)
	m.instruments[i].startDay(&m.listings[i], events, events*float64(m.tradeShare)/1024, part)
	if m.habits != nil {
		h := &m.habits[i]
		h.startDay(&m.instruments[i], &m.listings[i], events*h.share)
	}
}
