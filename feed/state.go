package feed

import (
	"fmt"
	"math"
	"slices"
	"tickfeed/feed/decimal"
)

// A State is everything known of each instrument after some ticks: definition, status, last quote, trading day
// so far, book. It is a fold: the same ticks give the same state, whether a publisher or a subscriber applies
// them. Its memory is proportional to the number of instruments defined and book levels held, whatever the ids.
//
// Many goroutines may read a State at once as long as none calls a method that changes it, nor Clone or
// Catalog. [State.Clone] returns an independent copy.
type State struct {
	// chunks hold the values of slot n in chunks[n/chunkSize].values[n%chunkSize].
	chunks []chunk
	// catalog maps instruments to slots, in order of definition. It is shared with a clone until one of the two
	// adds or changes a definition.
	catalog       catalog
	catalogShared bool
	// books and refs are indexed by slot and grow when first needed. A slot beyond their end has no book, or no
	// textual id of its last trade.
	books []*book
	refs  []string
	// reasons hold, by slot, the reason and expected end of each status that has one.
	reasons map[uint]statusReason
	// owner marks the books that only this state may change; see book.owner.
	owner   *byte
	unknown uint64
}

// A chunk is the values of some instruments. A chunk that its state does not own is shared with a clone and
// copied before it changes. Clone itself thus copies almost nothing, and its later cost is proportional to the
// changes.
type chunk struct {
	values *[chunkRoom]values
	own    bool
}

const (
	chunkSize = 32
	// chunkRoom is one more than is used. Without it a chunk would be as long as a page, the values of many
	// instruments would have the same offset in their pages, and their cache lines would collide.
	chunkRoom = chunkSize + 1
)

// values are the numbers of one instrument: 128 bytes without pointers. A quote changes the first half only.
type values struct {
	quote      [4]int64 // as Tick.Values
	quoteTime  int64
	statusTime int64
	lastID     uint64
	day        int32
	lastSide   Side
	status     Status
	known      known

	open, high, low, last int64 // NoPrice while trades is 0, unless a summary said otherwise
	lastSize              int64
	lastTime              int64
	volume, trades        int64 // never negative
}

type statusReason struct {
	text string
	end  int64
}

// known says which optional parts of values are set.
type known uint8

const (
	knownQuote known = 1 << iota
	knownStatus
	knownRef // refs holds the textual id of the last trade
)

// NewState returns a state without instruments.
func NewState() *State { return &State{owner: new(byte)} }

// An UndefinedError reports a tick whose instrument is not defined, or has an id out of bounds.
type UndefinedError struct {
	Instrument InstrumentID
	Kind       Kind
	Seq        uint64
}

func (e *UndefinedError) Error() string {
	if e.Instrument >= MaxInstruments {
		return fmt.Sprintf("tick %d: %v of instrument %d, ids are below %d", e.Seq, e.Kind, e.Instrument, MaxInstruments)
	}
	return fmt.Sprintf("tick %d: %v of instrument %d, which is not defined", e.Seq, e.Kind, e.Instrument)
}

// Apply folds one tick into the state. If it returns an error, the state is unchanged.
//
//   - A definition adds an instrument, or replaces the definition of the same id. If it changes
//     an exponent, the prices or sizes of quote, trading day and book are multiplied by the
//     power of ten between old and new, so that they keep their meaning. If one of them would
//     not be an exact integer of 64 bits, quote and book are dropped, and the day becomes one
//     without trades, with its date.
//   - A quote replaces the quote.
//   - A trade counts into the trading day and becomes its last trade.
//   - A correction adds its size less the old size to the volume and stretches high and low
//     to its price, but never pulls them back. It changes the last trade if it names that
//     trade: by id or, if one of the two has no id, by old price and size.
//   - A cancel takes its size and one trade from the day, and leaves the prices.
//   - Corrections and cancels on a day without trades change nothing; a day whose trades are
//     all cancelled becomes a day without trades, with its date.
//   - A level with size 0 removes the level. A side holds at most MaxLevels: of one level too
//     many, the one farthest from the best price is dropped.
//   - A clear removes all levels of its side, or of both.
//   - A status replaces the status. With a trading day it also begins that day, without prices
//     and volume. Quote and book stay. Its reason and expected end replace those before it.
//   - An auction changes nothing.
//   - A summary replaces the trading day.
//
// Volume and number of trades stay within [0, MaxSize]. Ticks of unknown kinds are counted and change nothing
// else.
//
// The error is an *UndefinedError, or says what is wrong with a definition, summary, level or clear. Apply
// copies what t points to, except texts.
func (s *State) Apply(t *Tick) error {
	// This function handles quotes and plain trades of instruments with dense ids. Calls handle all other
	// ticks, in tail position, so that no register has to be saved.
	slot := uint(t.Instrument)
	if slot >= s.catalog.dense {
		var ok bool
		if slot, ok = s.catalog.slot(t.Instrument); !ok {
			return s.applyUndefined(t)
		}
	}
	c := &s.chunks[slot/chunkSize]
	if !c.own {
		return s.applyShared(c, t)
	}
	v := &c.values[slot%chunkSize]
	switch {
	case t.Kind == KindQuote:
		v.setQuote(t)
		return nil
	case t.Kind == KindTrade && t.Extra == nil && v.known&knownRef == 0:
		v.trade(t)
		return nil
	}
	return s.applyRare(slot, v, t)
}

// ApplyAll calls Apply for each of ticks until the first error; n is the number of ticks folded. For many ticks
// it is faster than calling Apply.
func (s *State) ApplyAll(ticks []Tick) (n int, err error) {
	for {
		n += s.applyPlain(ticks[n:])
		if n == len(ticks) {
			return n, nil
		}
		if err := s.Apply(&ticks[n]); err != nil {
			return n, err
		}
		n++
	}
}

// ApplyKnown folds ticks of which some definitions may be missing: they were in a part of a recording or journal that is
// damaged, or that was removed. It calls Apply for each tick and leaves out those that Apply refuses. undefined is the number
// of ticks that were left out because their instrument is not defined; err is the first error of another kind, which only a
// publisher that broke its own rules can cause.
func (s *State) ApplyKnown(ticks []Tick) (undefined int, err error) {
	for {
		n, refused := s.ApplyAll(ticks)
		if refused == nil {
			return undefined, err
		}
		if _, ok := refused.(*UndefinedError); ok {
			undefined++
		} else if err == nil {
			err = refused
		}
		ticks = ticks[n+1:]
	}
}

// applyPlain folds quotes and plain trades of instruments with dense ids, up to the first other tick. It makes
// no calls, so that no register has to be saved.
func (s *State) applyPlain(ticks []Tick) (n int) {
	chunks, dense := s.chunks, s.catalog.dense
	for n = range ticks {
		t := &ticks[n]
		slot := uint(t.Instrument)
		if slot >= dense {
			return n
		}
		c := &chunks[slot/chunkSize]
		if !c.own {
			return n
		}
		v := &c.values[slot%chunkSize]
		switch {
		case t.Kind == KindQuote:
			v.setQuote(t)
		case t.Kind == KindTrade && t.Extra == nil && v.known&knownRef == 0:
			v.tradePrice(t.Values[0])
			v.tradeLast(t)
		default:
			return n
		}
	}
	return len(ticks)
}

func (v *values) setQuote(t *Tick) {
	v.quote = t.Values
	v.quoteTime = t.EventTime
	if v.known&knownQuote == 0 {
		v.known |= knownQuote
	}
}

// applyShared does the work of Apply for a tick whose instrument shares its values with a clone.
func (s *State) applyShared(c *chunk, t *Tick) error {
	c.copy()
	return s.Apply(t)
}

// trade folds a trade, except its textual id. It has two parts so that the compiler inlines them.
func (v *values) trade(t *Tick) {
	v.tradePrice(t.Values[0])
	v.tradeLast(t)
}

// tradePrice folds a trade's price into open, high and low. It does nothing if price is NoPrice.
func (v *values) tradePrice(price int64) {
	if price == NoPrice {
		return
	}
	if v.open == NoPrice {
		v.open = price
	}
	v.stretch(price)
}

// stretch makes high and low reach price, which is not NoPrice.
func (v *values) stretch(price int64) {
	if v.low == NoPrice { // the day has no price so far; NoPrice is below every price
		v.low = price
	}
	v.high, v.low = max(v.high, price), min(v.low, price)
}

func (v *values) tradeLast(t *Tick) {
	v.last, v.lastSize, v.lastTime = t.Values[0], t.Values[1], t.EventTime
	v.lastID, v.lastSide = uint64(t.Values[2]), t.Side
	v.volume = addSize(v.volume, t.Values[1])
	v.trades = addSize(v.trades, 1)
}

// applyRare folds a tick of a defined instrument that is neither a quote nor a trade without textual id.
func (s *State) applyRare(slot uint, v *values, t *Tick) error {
	switch t.Kind {
	case KindDefinition:
		return s.define(t)
	case KindTrade:
		s.setRef(slot, t.TradeRef())
		v.trade(t)
	case KindCorrection:
		v.correct(t, s.ref(slot))
	case KindCancel:
		v.cancel(t.Values[1])
		if v.trades == 0 {
			s.setRef(slot, "")
		}
	case KindLevel:
		return s.applyLevel(slot, t)
	case KindClear:
		return s.applyClear(slot, t)
	case KindStatus:
		v.status, v.statusTime = t.Status, t.EventTime
		s.setReason(slot, statusReason{t.StatusReason(), t.StatusEnd()})
		v.known |= knownStatus
		if day := t.TradingDay(); day != 0 {
			v.setSummary(emptyDay(day))
			s.setRef(slot, "")
		}
	case KindAuction: // of no state
	case KindSummary:
		sum := t.Summary()
		if sum == nil {
			return fmt.Errorf("tick %d: summary of instrument %d is empty", t.Seq, t.Instrument)
		}
		v.setSummary(*sum)
		s.setRef(slot, sum.LastRef)
	default:
		s.unknown++
	}
	return nil
}

// applyUndefined folds a tick of an instrument that is not defined.
func (s *State) applyUndefined(t *Tick) error {
	switch {
	case t.Kind == KindDefinition && t.Instrument < MaxInstruments:
		return s.define(t)
	case !t.Kind.Known():
		s.unknown++
		return nil
	}
	return &UndefinedError{Instrument: t.Instrument, Kind: t.Kind, Seq: t.Seq}
}

func (s *State) define(t *Tick) error {
	id, d := t.Instrument, t.Definition()
	if d == nil {
		return fmt.Errorf("tick %d: definition of instrument %d is empty", t.Seq, id)
	}
	if err := d.Validate(); err != nil {
		return fmt.Errorf("tick %d: %w", t.Seq, err)
	}
	hash := nameOf(d).hash()
	if other, ok := s.catalog.find(nameOf(d), hash); ok && other != id {
		return fmt.Errorf("tick %d: definition of %s as instrument %d: it is instrument %d", t.Seq, d.Name(), id, other)
	}
	slot, known := s.catalog.slot(id)
	if known && *s.catalog.definition(slot) == *d {
		return nil
	}
	if s.catalogShared {
		s.catalog, s.catalogShared = s.catalog.clone(), false
	}
	if !known {
		s.catalog.add(id, d, hash)
		s.grow().setSummary(emptyDay(0))
		return nil
	}
	old := s.catalog.redefine(id, slot, d, hash)
	price, size := int(old.PriceExponent)-int(d.PriceExponent), int(old.SizeExponent)-int(d.SizeExponent)
	if (price != 0 || size != 0) && !s.rescale(slot, price, size) {
		s.forget(slot)
	}
	return nil
}

// rescale multiplies the prices of slot by 10^price and its sizes by 10^size. If not all of the results are
// exact, it changes nothing and returns false.
func (s *State) rescale(slot uint, price, size int) bool {
	v, exact := *s.at(slot), true
	multiply := func(n int, numbers ...*int64) {
		for _, p := range numbers {
			var ok bool
			*p, ok = timesPowerOfTen(*p, n)
			exact = exact && ok
		}
	}
	multiply(price, &v.quote[0], &v.quote[2], &v.open, &v.high, &v.low, &v.last)
	multiply(size, &v.quote[1], &v.quote[3], &v.lastSize, &v.volume)
	b := s.book(slot)
	if b != nil {
		b = &book{owner: s.owner, bids: slices.Clone(b.bids), asks: slices.Clone(b.asks)}
		for _, side := range [][]BookLevel{b.bids, b.asks} {
			for i := range side {
				multiply(price, &side[i].Price)
				multiply(size, &side[i].Size)
			}
		}
	}
	if !exact {
		return false
	}
	*s.change(slot) = v
	if b != nil {
		s.books[slot] = b
	}
	return true
}

// timesPowerOfTen returns v × 10^n; NoPrice stays NoPrice. ok is false if the product is not an integer of 64
// bits.
func timesPowerOfTen(v int64, n int) (product int64, ok bool) {
	if v == NoPrice {
		return v, true
	}
	return decimal.Shift(v, n)
}

// forget drops quote, trading day and book of slot.
func (s *State) forget(slot uint) {
	v := s.change(slot)
	v.quote, v.quoteTime = [4]int64{}, 0
	v.known &^= knownQuote
	v.setSummary(emptyDay(v.day))
	s.setRef(slot, "")
	if slot < uint(len(s.books)) {
		s.books[slot] = nil
	}
}

func (v *values) correct(t *Tick, lastRef string) {
	if v.trades == 0 {
		return
	}
	c := t.Correction()
	wasLast := v.last == c.OldPrice && v.lastSize == c.OldSize
	if id, ref := c.Trade.ID, t.TradeRef(); (id != 0 || ref != "") && (v.lastID != 0 || lastRef != "") {
		wasLast = id == v.lastID && ref == lastRef
	}
	v.volume = max(0, addSize(v.volume, c.Trade.Size)-c.OldSize)
	if price := c.Trade.Price; price != NoPrice {
		v.stretch(price)
	}
	if !wasLast {
		return
	}
	v.last, v.lastSize = c.Trade.Price, c.Trade.Size
	if c.Trade.Side != SideNone {
		v.lastSide = c.Trade.Side
	}
}

func (v *values) cancel(size int64) {
	if v.trades == 0 {
		return
	}
	v.volume = max(0, v.volume-size)
	v.trades--
	if v.trades == 0 {
		v.setSummary(emptyDay(v.day))
	}
}

// at returns the values of slot for reading.
func (s *State) at(slot uint) *values { return &s.chunks[slot/chunkSize].values[slot%chunkSize] }

// change returns the values of slot for changing.
func (s *State) change(slot uint) *values {
	c := &s.chunks[slot/chunkSize]
	if !c.own {
		c.copy()
	}
	return &c.values[slot%chunkSize]
}

// grow returns the values of the slot that the catalog added last, for filling.
func (s *State) grow() *values {
	slot := s.catalog.defined - 1
	if slot/chunkSize == uint(len(s.chunks)) {
		room := make([][chunkRoom]values, chunksAtOnce(len(s.chunks)))
		for i := range room {
			s.chunks = append(s.chunks, chunk{values: &room[i], own: true})
		}
	}
	return s.change(slot)
}

// chunksAtOnce returns how many chunks to allocate together for a state that has the given number. A late
// joiner adds thousands of instruments, and allocating each chunk alone takes longer. Five chunks of values
// waste little of the allocator's size class.
func chunksAtOnce(have int) int { return min(max(have, 1), 5) }

func (c *chunk) copy() {
	values := *c.values
	c.values, c.own = &values, true
}

func emptyDay(day int32) Summary {
	return Summary{TradingDay: day, Open: NoPrice, High: NoPrice, Low: NoPrice, Last: NoPrice}
}

// addSize returns a + b, at most MaxSize; b must not be negative.
func addSize(a, b int64) int64 {
	if sum := a + b; sum >= a {
		return sum
	}
	return math.MaxInt64
}

func (v *values) setSummary(m Summary) {
	v.day = m.TradingDay
	v.open, v.high, v.low, v.last = m.Open, m.High, m.Low, m.Last
	v.lastSize, v.lastSide, v.lastTime, v.lastID = m.LastSize, m.LastSide, m.LastTime, m.LastID
	v.volume, v.trades = m.Volume, m.Trades
}

func (s *State) summary(slot uint) Summary {
	v := s.at(slot)
	return Summary{
		TradingDay: v.day, Open: v.open, High: v.high, Low: v.low, Last: v.last,
		LastSize: v.lastSize, LastSide: v.lastSide, LastTime: v.lastTime, LastID: v.lastID, LastRef: s.ref(slot),
		Volume: v.volume, Trades: v.trades,
	}
}

func (s *State) ref(slot uint) string {
	if s.at(slot).known&knownRef == 0 {
		return ""
	}
	return s.refs[slot]
}

// setRef sets the textual id of the last trade of slot, whose values must be owned.
func (s *State) setRef(slot uint, ref string) {
	v := s.at(slot)
	if ref == "" {
		if v.known&knownRef != 0 {
			v.known &^= knownRef
			s.refs[slot] = ""
		}
		return
	}
	for uint(len(s.refs)) <= slot {
		s.refs = append(s.refs, "")
	}
	s.refs[slot] = ref
	v.known |= knownRef
}

func (s *State) setReason(slot uint, r statusReason) {
	if r == (statusReason{}) {
		delete(s.reasons, slot)
		return
	}
	if s.reasons == nil {
		s.reasons = make(map[uint]statusReason)
	}
	s.reasons[slot] = r
}

// Len returns one more than the greatest id defined. If ids are dense, that is the next new id.
func (s *State) Len() int { return s.catalog.limit }

// Unknown returns the number of ticks of unknown kinds.
func (s *State) Unknown() uint64 { return s.unknown }

// Defined reports whether instrument id is defined. It is cheaper than Definition.
func (s *State) Defined(id InstrumentID) bool {
	_, ok := s.catalog.slot(id)
	return ok
}

// Definition returns the definition of instrument id; ok is false if it is not defined. The definition is
// shared: do not change it.
func (s *State) Definition(id InstrumentID) (d *Definition, ok bool) {
	slot, ok := s.catalog.slot(id)
	if !ok {
		return nil, false
	}
	return s.catalog.definition(slot), true
}

// Lookup returns the id of symbol at venue; ok is false if there is none.
func (s *State) Lookup(symbol, venue string) (id InstrumentID, ok bool) {
	n := name{symbol, venue}
	return s.catalog.find(n, n.hash())
}

// An Instrument is everything that a state knows of one instrument.
type Instrument struct {
	Definition *Definition // shared: do not change it
	Status     Status      // StatusUnknown until a status tick
	StatusTime int64       // event time of the last status tick
	// StatusReason is why the status is as it is, and StatusEnd when the venue expects it to end; empty and 0 if the venue does
	// not say.
	StatusReason string
	StatusEnd    int64
	Quote        Quote // zero until a quote tick, see HasQuote
	QuoteTime    int64 // event time of the last quote
	HasQuote     bool
	Summary      Summary // the trading day so far, with the last trade
	// Bids and Asks are the book, the best price first. They belong to the state and are valid until it
	// changes.
	Bids, Asks []BookLevel
}

// Instrument returns what the state knows of instrument id; ok is false if it is not defined.
func (s *State) Instrument(id InstrumentID) (in Instrument, ok bool) {
	slot, ok := s.catalog.slot(id)
	if !ok {
		return Instrument{}, false
	}
	return s.instrument(slot), true
}

func (s *State) instrument(slot uint) Instrument {
	v := s.at(slot)
	in := Instrument{
		Definition: s.catalog.definition(slot),
		Status:     v.status, StatusTime: v.statusTime, StatusReason: s.reasons[slot].text, StatusEnd: s.reasons[slot].end,
		Quote: quoteOf(v.quote), QuoteTime: v.quoteTime, HasQuote: v.known&knownQuote != 0,
		Summary: s.summary(slot),
	}
	if b := s.book(slot); b != nil {
		in.Bids, in.Asks = b.bids, b.asks
	}
	return in
}
