package feed

import (
	"fmt"
	"iter"
	"math"
	"slices"
	"strings"
)

// A State is what is known of every instrument after some ticks: definition, status, last
// quote, trading day so far, book. It is a fold: the same ticks give the same state,
// whether a publisher or a subscriber applies them. The memory it takes is proportional to
// the instruments defined and the book levels held, whatever their ids.
//
// A State may be read by many goroutines at once as long as none applies, clones or
// replaces. [State.Clone] gives a copy that goes its own way.
type State struct {
	// chunks hold the values of slot n in chunks[n/chunkSize].values[n%chunkSize].
	chunks []chunk
	// catalog says which instrument has which slot, in order of definition. It is shared with
	// a clone until either of them defines something new.
	catalog       catalog
	catalogShared bool
	// books and refs are by slot and grow when they are first needed; a slot beyond their
	// end has no book, and no textual id of its last trade.
	books []*book
	refs  []string
	// owner marks the books that are this state's alone; see book.owner.
	owner   *byte
	unknown uint64
}

// A chunk is the values of some instruments. Those that are not its state's own are shared
// with a clone, and copied before they change; so Clone itself copies next to nothing, and
// what it costs later is proportional to what changes.
type chunk struct {
	values *[chunkRoom]values
	own    bool
}

const (
	chunkSize = 32
	// chunkRoom is one more than is used. Otherwise a chunk would be a page, the values of many instruments would be
	// at the same place in their pages, and to fold a tick would take a tenth longer.
	chunkRoom = chunkSize + 1
)

// values are the numbers of one instrument: 128 bytes without pointers. What a quote writes
// is in the first half.
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

// known says which optional parts of values were told.
type known uint8

const (
	knownQuote known = 1 << iota
	knownStatus
	knownRef // refs holds the textual id of the last trade
)

// NewState is a state without instruments.
func NewState() *State { return &State{owner: new(byte)} }

// An UndefinedError reports a tick of an instrument that no definition has named, or whose
// id is out of bounds.
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

// Apply folds one tick into the state. On an error the state is as before.
//
//   - A definition names an instrument, or tells it anew under the same id. With other
//     exponents than before, the prices and sizes of quote, trading day and book are
//     multiplied or divided by the power of ten between them, and so mean what they meant.
//     If that would not leave each of them an exact integer of 64 bits, all three are
//     forgotten; the trading day keeps its date.
//   - A trade counts into the trading day and is its last trade.
//   - A correction adds its size less the old size to the volume and stretches high and low
//     to its price; it changes the last trade if that is the trade it names, by id or, where
//     one of the two has no id, by old price and size. It cannot pull high and low back.
//   - A cancel takes its size and one trade from the day, and leaves prices as they are.
//   - Corrections and cancels of a day without trades are not that day's and change nothing;
//     a day whose trades are all cancelled is a day without trades.
//   - A status with a trading day begins that day: no prices, no volume. Quote and book stay.
//   - A level with size 0 removes the level. A side holds at most MaxLevels: the level
//     farthest from the touch goes, or does not come.
//   - A summary replaces the trading day.
//
// Sums that leave [0, MaxSize] stay at the bound. Unknown kinds are counted and change
// nothing.
//
// The error is an *UndefinedError, or says what is wrong with a definition, a level or a
// clear. What t points to is copied, but for texts.
func (s *State) Apply(t *Tick) error {
	// Quotes and plain trades of instruments with dense ids are done here; what else there may
	// be is left to the calls, so that nothing has to be kept across one.
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

// ApplyAll is Apply for each of ticks in turn, as far as the first error; n is how many were
// folded. It is what to call for many: quotes cost half as much.
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

// applyPlain is Apply for quotes and plain trades of instruments with dense ids, up to the first other tick. It
// calls nothing, so that nothing has to be kept across a call.
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

// applyShared is Apply for a tick whose instrument's values are shared with a clone.
func (s *State) applyShared(c *chunk, t *Tick) error {
	c.copy()
	return s.Apply(t)
}

// trade is Apply for a trade, except for its textual id. It has two parts for the compiler to inline.
func (v *values) trade(t *Tick) {
	v.tradePrice(t.Values[0])
	v.tradeLast(t)
}

// tradePrice is what a trade's price does to open, high and low: nothing if it is NoPrice.
func (v *values) tradePrice(price int64) {
	if price == NoPrice {
		return
	}
	if v.low == NoPrice { // as long as the day has no price
		v.low = price
	}
	if v.open == NoPrice {
		v.open = price
	}
	v.high, v.low = max(v.high, price), min(v.low, price)
}

func (v *values) tradeLast(t *Tick) {
	v.last, v.lastSize, v.lastTime = t.Values[0], t.Values[1], t.EventTime
	v.lastID, v.lastSide = uint64(t.Values[2]), t.Side
	v.volume = addSize(v.volume, t.Values[1])
	v.trades = addSize(v.trades, 1)
}

// applyRare is Apply for what is defined and is neither a quote nor a trade without textual id.
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
		v.known |= knownStatus
		if day := t.TradingDay(); day != 0 {
			v.setSummary(emptyDay(day))
			s.setRef(slot, "")
		}
	case KindSummary:
		sum := t.Summary()
		if sum == nil {
			return fmt.Errorf("tick %d: summary of instrument %d tells nothing", t.Seq, t.Instrument)
		}
		v.setSummary(*sum)
		s.setRef(slot, sum.LastRef)
	default:
		s.unknown++
	}
	return nil
}

// applyUndefined is Apply for ticks of instruments that are not defined.
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
		return fmt.Errorf("tick %d: definition of instrument %d tells nothing", t.Seq, id)
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

// rescale multiplies the prices of slot by 10^price and its sizes by 10^size. It reports
// false, and changes nothing, if that is not exact for all of them.
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

// timesPowerOfTen is v × 10^n, NoPrice being always itself; ok is false if that is no integer
// of 64 bits.
func timesPowerOfTen(v int64, n int) (product int64, ok bool) {
	const greatest = 18 // of the powers that an int64 holds
	switch {
	case v == 0 || v == NoPrice || n == 0:
		return v, true
	case n > greatest || n < -greatest:
		return 0, false
	case n < 0:
		p := int64(pow10[-n])
		return v / p, v%p == 0
	}
	p := int64(pow10[n])
	product = v * p
	return product, product/p == v
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
		v.high, v.low = max(v.high, price), min(v.low, price)
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

// at is the values of slot, to read.
func (s *State) at(slot uint) *values { return &s.chunks[slot/chunkSize].values[slot%chunkSize] }

// change is the values of slot, to change.
func (s *State) change(slot uint) *values {
	c := &s.chunks[slot/chunkSize]
	if !c.own {
		c.copy()
	}
	return &c.values[slot%chunkSize]
}

// grow is the values of the slot that the catalog gave last, to fill.
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

// chunksAtOnce is how many chunks are allocated together for a state that has so many: a late joiner
// is told thousands of instruments, and to allocate each chunk alone was 8 % of the time of that. Five of
// values leave little unused of what the allocator gives for them.
func chunksAtOnce(have int) int { return min(max(have, 1), 5) }

func (c *chunk) copy() {
	values := *c.values
	c.values, c.own = &values, true
}

func emptyDay(day int32) Summary {
	return Summary{TradingDay: day, Open: NoPrice, High: NoPrice, Low: NoPrice, Last: NoPrice}
}

// addSize is a + b, at most MaxSize; b is not negative.
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

// setRef is for slots whose values may be changed.
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

// Len is one more than the greatest id that is defined: where ids are given densely, the
// next new id.
func (s *State) Len() int { return s.catalog.limit }

// Unknown is how many ticks of unknown kinds were ignored.
func (s *State) Unknown() uint64 { return s.unknown }

// Defined reports whether instrument id is defined. It costs less than to ask as what.
func (s *State) Defined(id InstrumentID) bool {
	_, ok := s.catalog.slot(id)
	return ok
}

// Definition is what instrument id is; ok is false if it is not defined. Shared: do not
// change it.
func (s *State) Definition(id InstrumentID) (d *Definition, ok bool) {
	slot, ok := s.catalog.slot(id)
	if !ok {
		return nil, false
	}
	return s.catalog.definition(slot), true
}

// Lookup is the id of symbol at venue.
func (s *State) Lookup(symbol, venue string) (id InstrumentID, ok bool) {
	n := name{symbol, venue}
	return s.catalog.find(n, n.hash())
}

// An Instrument is what a state knows of one instrument.
type Instrument struct {
	Definition *Definition // shared: do not change it
	Status     Status      // StatusUnknown until a status tick
	StatusTime int64       // event time of the last status tick
	Quote      Quote       // zero until a quote tick, see HasQuote
	QuoteTime  int64       // event time of the last quote
	HasQuote   bool
	Summary    Summary // the trading day so far, with the last trade
	// Bids and Asks are the book, the best price first. They belong to the state and hold
	// until it changes.
	Bids, Asks []BookLevel
}

// Instrument is what is known of instrument id; ok is false if it is not defined.
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
		Status:     v.status, StatusTime: v.statusTime,
		Quote: quoteOf(v.quote), QuoteTime: v.quoteTime, HasQuote: v.known&knownQuote != 0,
		Summary: s.summary(slot),
	}
	if b := s.book(slot); b != nil {
		in.Bids, in.Asks = b.bids, b.asks
	}
	return in
}

// Clone is a copy that goes its own way, made in a few microseconds. What either of the two
// changes later it copies first, a few instruments or a book at a time.
func (s *State) Clone() *State {
	for i := range s.chunks {
		s.chunks[i].own = false
	}
	s.catalogShared = true
	s.owner = new(byte) // from here on both have to copy a book before they change it
	c := *s
	c.owner = new(byte)
	c.chunks = slices.Clone(s.chunks)
	c.books = slices.Clone(s.books)
	c.refs = slices.Clone(s.refs)
	return &c
}

// Entries yields what is known of the wanted instruments (all, if want is nil) as ticks with
// FlagSnapshot, Seq 0 and the event times of the ticks that told it. They come by
// instrument in order of ids; of each, as far as known: definition, status with the trading
// day, summary, quote, bids and asks, each best first. Applied to an empty state they give
// an equal state.
//
// What Extra points to is never written again. The state must not change meanwhile.
func (s *State) Entries(want func(InstrumentID) bool) iter.Seq[Tick] {
	return func(yield func(Tick) bool) {
		var definitions []Extra
		var summaries []summaryExtra
		for id, slot := range s.catalog.all() {
			if want != nil && !want(id) {
				continue
			}
			if !yield(s.catalog.definitionEntry(id, slot, &definitions)) {
				return
			}
			v := s.at(slot)
			told := emptyDay(0)
			if v.known&knownStatus != 0 {
				told.TradingDay = v.day
				t := StatusTick(id, v.statusTime, v.status, v.day)
				t.Flags = FlagSnapshot
				if !yield(t) {
					return
				}
			}
			if sum := s.summary(slot); sum != told {
				if len(summaries) == 0 {
					summaries = make([]summaryExtra, entriesAtOnce)
				}
				x := &summaries[0]
				summaries = summaries[1:]
				x.summary = sum
				x.extra.Summary = &x.summary
				t := Tick{
					Kind: KindSummary, Flags: FlagSnapshot, Instrument: id,
					EventTime: sum.LastTime, Extra: &x.extra,
				}
				if !yield(t) {
					return
				}
			}
			if v.known&knownQuote != 0 {
				t := quoteOf(v.quote).Tick(id, v.quoteTime)
				t.Flags = FlagSnapshot
				if !yield(t) {
					return
				}
			}
			if b := s.book(slot); b != nil && (!b.yield(id, SideBuy, yield) || !b.yield(id, SideSell, yield)) {
				return
			}
		}
	}
}

// entriesAtOnce is for how many entries what their Extra points to is allocated together.
const entriesAtOnce = 32

type summaryExtra struct {
	extra   Extra
	summary Summary
}

// Definitions yields the definitions among what Entries yields.
func (s *State) Definitions(want func(InstrumentID) bool) iter.Seq[Tick] {
	return Catalog{s.catalog}.Definitions(want)
}

// A Catalog is the definitions of a state. It stays as it is when the state changes, and costs next to nothing.
type Catalog struct{ c catalog }

// Catalog returns the definitions that s has now.
func (s *State) Catalog() Catalog {
	s.catalogShared = true
	return Catalog{s.catalog}
}

// Definitions yields what State.Definitions yields.
func (c Catalog) Definitions(want func(InstrumentID) bool) iter.Seq[Tick] {
	return func(yield func(Tick) bool) {
		var definitions []Extra
		for id, slot := range c.c.all() {
			if want != nil && !want(id) {
				continue
			}
			if !yield(c.c.definitionEntry(id, slot, &definitions)) {
				return
			}
		}
	}
}

// definitionEntry takes its Extra from room, which it fills where there is none.
func (c *catalog) definitionEntry(id InstrumentID, slot uint, room *[]Extra) Tick {
	if len(*room) == 0 {
		*room = make([]Extra, entriesAtOnce)
	}
	extra := &(*room)[0]
	*room = (*room)[1:]
	extra.Definition = c.definition(slot)
	return Tick{Kind: KindDefinition, Flags: FlagSnapshot, Instrument: id, Extra: extra}
}

// Replace makes the instruments in scope those of from, as at the end of a snapshot: those
// in scope that from lacks are no longer defined, everything else stays. A nil scope is
// all. The scope is asked with the definition that s has, and with the one that from has. An
// instrument out of scope gives way to one of from that has its id or its name. From is as
// before; s shares its definitions and books as a clone would.
func (s *State) Replace(scope func(InstrumentID, *Definition) bool, from *State) {
	unknown := s.unknown
	if scope == nil {
		*s = *from.Clone()
		s.unknown = unknown
		return
	}
	from = from.Clone()
	taken := func(id InstrumentID) bool {
		slot, ok := from.catalog.slot(id)
		return ok && scope(id, from.catalog.definition(slot))
	}
	out := NewState()
	out.unknown = unknown
	for id, slot := range s.catalog.all() {
		d := s.catalog.definition(slot)
		if scope(id, d) || taken(id) {
			continue
		}
		if other, ok := from.Lookup(d.Symbol, d.Venue); ok && taken(other) {
			continue
		}
		out.take(id, s, slot)
	}
	for id, slot := range from.catalog.all() {
		if scope(id, from.catalog.definition(slot)) {
			out.take(id, from, slot)
		}
	}
	*s = *out
}

// take adds instrument id as it is in slot of from; neither the id nor the name may be
// defined.
func (s *State) take(id InstrumentID, from *State, slot uint) {
	d := from.catalog.definition(slot)
	s.catalog.add(id, d, nameOf(d).hash())
	v := s.grow()
	*v = *from.at(slot)
	to := s.catalog.defined - 1
	if ref := from.ref(slot); ref != "" {
		s.setRef(to, ref)
	}
	if b := from.book(slot); b != nil {
		s.setBook(to, b) // owned by another: copied when it changes
	}
}

// Equal reports whether both states know the same of the same instruments.
func (s *State) Equal(o *State) bool { return s.Diff(o) == "" }

// Diff says, a line per instrument and at most ten, in what s and o differ; "" if in
// nothing.
func (s *State) Diff(o *State) string {
	var lines []string
	add := func(format string, args ...any) bool {
		lines = append(lines, fmt.Sprintf(format, args...))
		return len(lines) < 10
	}
	for id, slot := range s.catalog.all() {
		other, ok := o.catalog.slot(id)
		if !ok {
			if !add("instrument %d is %s, not defined in the other", id, s.catalog.definition(slot).Name()) {
				break
			}
			continue
		}
		if s.sameInstrument(slot, o, other) {
			continue
		}
		if !add("instrument %d: %v, in the other %v", id, s.instrument(slot), o.instrument(other)) {
			break
		}
	}
	for id, slot := range o.catalog.all() {
		if _, ok := s.catalog.slot(id); ok {
			continue
		}
		if len(lines) >= 10 || !add("instrument %d is not defined, in the other %s", id, o.catalog.definition(slot).Name()) {
			break
		}
	}
	return strings.Join(lines, "\n")
}

func (s *State) sameInstrument(slot uint, o *State, other uint) bool {
	return *s.at(slot) == *o.at(other) && s.ref(slot) == o.ref(other) &&
		*s.catalog.definition(slot) == *o.catalog.definition(other) &&
		s.book(slot).equal(o.book(other))
}

// A catalog says which ids are defined, as what, and in which slot of a state.
type catalog struct {
	limit   int  // one more than the greatest id
	defined uint // how many there are; slots are given in order
	// definitions hold that of slot n in definitions[n/chunkSize][n%chunkSize]. Those that are
	// told never change: pointers to them are handed out, and clones share them. The last
	// ones may be room for more.
	definitions []*[chunkSize]Definition
	// dense ids from 0 are their own slots, as all are where ids were given in order.
	dense uint
	// pages find the slots of others: id → top[id/pageSize], from 1 → pages[…-1][id%pageSize],
	// slot+1. Pages exist only where ids are defined, so that one great id costs little.
	top   []uint16
	pages [][pageSize]uint32
	names names
}

const pageSize = 64

func (c *catalog) slot(id InstrumentID) (slot uint, ok bool) {
	if uint(id) < c.dense {
		return uint(id), true
	}
	i := uint(id / pageSize)
	if i >= uint(len(c.top)) {
		return 0, false
	}
	p := uint(c.top[i]) - 1
	if p >= uint(len(c.pages)) {
		return 0, false
	}
	n := c.pages[p][id%pageSize]
	return uint(n) - 1, n != 0
}

func (c *catalog) definition(slot uint) *Definition {
	return &c.definitions[slot/chunkSize][slot%chunkSize]
}

// find is the id of the instrument named n, whose hash is hash.
func (c *catalog) find(n name, hash uint32) (id InstrumentID, ok bool) {
	for other := range c.names.with(hash) {
		if slot, _ := c.slot(other); nameOf(c.definition(slot)) == n {
			return other, true
		}
	}
	return 0, false
}

// add gives id, which is not defined, the next slot; hash is that of its name.
func (c *catalog) add(id InstrumentID, d *Definition, hash uint32) {
	slot := c.defined
	if slot/chunkSize == uint(len(c.definitions)) {
		room := make([][chunkSize]Definition, chunksAtOnce(len(c.definitions)))
		for i := range room {
			c.definitions = append(c.definitions, &room[i])
		}
	}
	*c.definition(slot) = *d
	c.defined++
	c.names.add(hash, id)
	c.limit = max(c.limit, int(id)+1)
	if uint(id) == slot && slot == c.dense {
		c.dense++
		return
	}
	i := int(id / pageSize)
	if len(c.top) <= i {
		c.top = append(c.top, make([]uint16, i+1-len(c.top))...)
	}
	if c.top[i] == 0 {
		c.pages = append(c.pages, [pageSize]uint32{})
		c.top[i] = uint16(len(c.pages))
	}
	c.pages[c.top[i]-1][id%pageSize] = uint32(slot + 1)
}

// redefine returns what id was before; hash is that of its new name.
func (c *catalog) redefine(id InstrumentID, slot uint, d *Definition, hash uint32) *Definition {
	old := c.definition(slot)
	if was := nameOf(old); was != nameOf(d) {
		c.names.remove(was.hash(), id)
		c.names.add(hash, id)
	}
	chunk := *c.definitions[slot/chunkSize]
	chunk[slot%chunkSize] = *d
	c.definitions[slot/chunkSize] = &chunk
	return old
}

// all yields ids, in order, and their slots.
func (c *catalog) all() iter.Seq2[InstrumentID, uint] {
	return func(yield func(InstrumentID, uint) bool) {
		for slot := range c.dense { // all others are greater
			if !yield(InstrumentID(slot), slot) {
				return
			}
		}
		for i, p := range c.top {
			if p == 0 {
				continue
			}
			for j, n := range c.pages[p-1] {
				if n != 0 && !yield(InstrumentID(i*pageSize+j), uint(n)-1) {
					return
				}
			}
		}
	}
}

// clone is a copy to which other definitions may be added.
func (c *catalog) clone() catalog {
	out := *c
	used := (c.defined + chunkSize - 1) / chunkSize // room is whose it was
	out.definitions, out.top, out.pages = slices.Clone(c.definitions[:used]), slices.Clone(c.top), slices.Clone(c.pages)
	out.names.slots = slices.Clone(c.names.slots)
	if c.defined%chunkSize != 0 {
		last := *out.definitions[c.defined/chunkSize]
		out.definitions[c.defined/chunkSize] = &last
	}
	return out
}
