package exam

import (
	"bytes"
	"cmp"
	"fmt"
	"maps"
	"math"
	"reflect"
	"slices"
	"strings"
	"sync"

	"tickfeed/codec"
	"tickfeed/feed"
)

// A supply makes the ticks that a publisher is given on standard input, and remembers them. Each but the definitions has an
// event time of its own, by which it is recognised.
type supply struct {
	ticks []supplied // but the definitions
}

// A supplied is a tick that was given to the publisher.
type supplied struct {
	tick feed.Tick // Seq and Instrument are 0
	name string    // of the instrument, as feed.Definition.Name returns it
}

// supplyTime is the event time of the first tick.
const supplyTime = int64(1795357800_000000000)

// supplyNames are the instruments: one symbol at two venues, one without a venue.
var supplyNames = []feed.Definition{
	{Symbol: "AAPL", Venue: "XNAS", PriceExponent: -2, Currency: "USD", TickSize: 1, Lot: 100},
	{Symbol: "AMZN", Venue: "XNAS", PriceExponent: -2, Currency: "USD", TickSize: 1, Lot: 100},
	{Symbol: "MSFT", Venue: "XNAS", PriceExponent: -2, Currency: "USD", TickSize: 1, Lot: 100},
	{Symbol: "MSFT", Venue: "ARCX", PriceExponent: -4, Currency: "USD", TickSize: 100, Lot: 1},
	{Symbol: "BTC-USD", PriceExponent: -3, SizeExponent: -8, Currency: "USD"},
}

// definitions returns the lines that define the instruments.
func (s *supply) definitions() []byte {
	var b []byte
	for i := range supplyNames {
		d := &supplyNames[i]
		b = appendTick(b, &feed.Tick{Kind: feed.KindDefinition, EventTime: supplyTime, Extra: &feed.Extra{Definition: d}}, d)
	}
	return b
}

// lines makes n ticks of several kinds of all instruments, and returns their lines.
func (s *supply) lines(n int) (b []byte) {
	for range n {
		i := len(s.ticks)
		d := &supplyNames[i%len(supplyNames)]
		t, price, size := feed.Tick{}, int64(10_000+i%977), int64(1+i%500)
		switch i % 7 {
		case 1:
			t = feed.Trade{Price: price, Size: size, ID: uint64(i + 1)}.Tick(0, 0)
			t.Side = feed.Side(i % 3)
		case 3:
			t = feed.Tick{Kind: feed.KindLevel, Side: feed.SideBuy, Values: [4]int64{price - int64(i%4), size * int64(i%9)}}
		case 4:
			t = feed.Tick{Kind: feed.KindLevel, Side: feed.SideSell, Values: [4]int64{price + 1 + int64(i%4), size * int64(i%9)}}
		default:
			q := feed.Quote{Bid: price, BidSize: size, Ask: price + 1, AskSize: size + 1}
			if i%11 == 0 {
				q.Bid, q.BidSize = feed.NoPrice, 0
			}
			t = q.Tick(0, 0)
		}
		b = s.line(b, t, d)
	}
	return b
}

// heavy makes n trades that are as large as trades become, and returns their lines.
func (s *supply) heavy(n int) (b []byte) {
	for range n {
		i := len(s.ticks)
		t := feed.Trade{Price: math.MaxInt64 - int64(i), Size: math.MaxInt64 - 1}.Tick(0, 0)
		t.Extra = &feed.Extra{TradeRef: fmt.Sprintf("T%0*d", feed.MaxText-1, i)}
		b = s.line(b, t, &supplyNames[0])
	}
	return b
}

// line appends the line of a tick of the instrument d, and gives the tick its event time.
func (s *supply) line(b []byte, t feed.Tick, d *feed.Definition) []byte {
	t.EventTime = supplyTime + int64(len(s.ticks)) + 1
	s.ticks = append(s.ticks, supplied{t, d.Name()})
	return appendTick(b, &t, d)
}

// appendTick appends t as the line that CLIENT.md, "What a client prints", gives it, with integers for prices and sizes.
func appendTick(b []byte, t *feed.Tick, d *feed.Definition) []byte {
	out := bytes.NewBuffer(b)
	fmt.Fprintf(out, `{"type":%q,"symbol":%q,"venue":%q,"ts_event":%d,"raw":true,"price_exponent":%d,"size_exponent":%d`,
		t.Kind.String(), d.Symbol, d.Venue, t.EventTime, d.PriceExponent, d.SizeExponent)
	price := func(key string, v int64) {
		if v == feed.NoPrice {
			fmt.Fprintf(out, `,%q:null`, key)
		} else {
			fmt.Fprintf(out, `,%q:%d`, key, v)
		}
	}
	side := func(names ...string) {
		if name := names[t.Side]; name != "" {
			fmt.Fprintf(out, `,"side":%q`, name)
		}
	}
	trade := func() {
		price("price", t.Values[0])
		fmt.Fprintf(out, `,"size":%d`, t.Values[1])
		if t.Kind != feed.KindCancel {
			side("", "buy", "sell")
			if c := feed.Conditions(t.Values[3]); c != 0 {
				fmt.Fprintf(out, `,"conditions":%q`, c)
			}
		}
		switch {
		case t.Extra != nil && t.Extra.TradeRef != "":
			fmt.Fprintf(out, `,"trade_id":%q`, t.Extra.TradeRef)
		case t.Values[2] != 0:
			fmt.Fprintf(out, `,"trade_id":"%d"`, t.Values[2])
		}
	}
	switch t.Kind {
	case feed.KindDefinition:
		fmt.Fprintf(out, `,"currency":%q,"tick_size":%d,"lot":%d`, d.Currency, d.TickSize, d.Lot)
	case feed.KindQuote:
		price("bid", t.Values[0])
		fmt.Fprintf(out, `,"bid_size":%d`, t.Values[1])
		price("ask", t.Values[2])
		fmt.Fprintf(out, `,"ask_size":%d`, t.Values[3])
	case feed.KindTrade, feed.KindCancel:
		trade()
	case feed.KindCorrection:
		trade()
		price("old_price", t.Extra.OldPrice)
		fmt.Fprintf(out, `,"old_size":%d`, t.Extra.OldSize)
	case feed.KindLevel:
		side("", "bid", "ask")
		price("price", t.Values[0])
		fmt.Fprintf(out, `,"size":%d`, t.Values[1])
	case feed.KindClear:
		side("", "bid", "ask", "both")
	case feed.KindStatus:
		fmt.Fprintf(out, `,"status":%q`, t.Status)
		if t.Values[0] != 0 {
			fmt.Fprintf(out, `,"trading_day":%d`, t.Values[0])
		}
		if t.Extra != nil && t.Extra.Reason != "" {
			fmt.Fprintf(out, `,"reason":%q`, t.Extra.Reason)
		}
		if t.Values[1] != 0 {
			fmt.Fprintf(out, `,"expected_end":%d`, t.Values[1])
		}
	case feed.KindAuction:
		fmt.Fprintf(out, `,"auction":"closing"`)
		price("price", t.Values[0])
		fmt.Fprintf(out, `,"size":%d,"imbalance":%d`, t.Values[1], t.Values[2])
		side("", "buy", "sell")
	}
	out.WriteString("}\n")
	return out.Bytes()
}

// A book is all that a publisher has sent in a case, over all connections and sessions. It finds contradictions between
// them, and with the ticks that were supplied. Its methods are safe for concurrent use.
type book struct {
	mu        sync.Mutex
	supply    *supply // nil if the publisher has a source of its own
	sessions  map[feed.SessionID]map[uint64]bookEntry
	runs      map[feed.SessionID]int // index of the first tick that was supplied to the process that began the session
	skips     []bookSkip
	snapshots []bookSnapshot
}

// A bookEntry is a tick that was sent.
type bookEntry struct {
	tick    feed.Tick
	name    string
	publish int64 // on a full line; 0 if it came on filtered lines only
}

// A bookSkip is a range that a filtered line skipped.
type bookSkip struct {
	line    string
	session feed.SessionID
	r       feed.Range
	filter  codec.Filter
}

// A bookSnapshot is a snapshot that was sent.
type bookSnapshot struct {
	line    string
	lineage feed.Lineage
	seq     uint64
	scope   codec.ScopeKind
	filter  codec.Filter // of its instruments
	state   *feed.State
}

// place returns the index of a tick in the supply.
func (s *supply) place(t *feed.Tick) (int, bool) {
	i := t.EventTime - supplyTime - 1
	return int(i), i >= 0 && i < int64(len(s.ticks))
}

// add notes a tick of the session, and returns its index in the supply, or −1. It returns a sentence if the tick contradicts
// an earlier one, or was never supplied.
func (b *book) add(session feed.SessionID, t *feed.Tick, name string, publish int64, full bool) (place int, text string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	entries := b.sessions[session]
	if entries == nil {
		entries = make(map[uint64]bookEntry)
		b.sessions[session] = entries
	}
	place = -1
	if b.supply != nil && t.Kind != feed.KindDefinition {
		if i, ok := b.supply.place(t); ok {
			place = i
		}
	}
	e := bookEntry{*t, name, publish}
	if !full {
		e.publish = 0
	}
	if before, ok := entries[t.Seq]; ok {
		switch {
		case !sameTick(&before.tick, t):
			return place, fmt.Sprintf("number %d of session %v was %s before, and is %s now: no number is ever given to two ticks", t.Seq, session, showTick(&before.tick, before.name), showTick(t, name))
		case before.publish != 0 && full && before.publish != publish:
			return place, fmt.Sprintf("number %d of session %v had publish time %d before, and has %d now", t.Seq, session, before.publish, publish)
		case before.publish != 0 && publish < before.publish:
			return place, fmt.Sprintf("number %d has publish time %d on a filtered line, earlier than %d on the full line", t.Seq, publish, before.publish)
		}
		e.publish = max(e.publish, before.publish)
		entries[t.Seq] = e
		return place, ""
	}
	entries[t.Seq] = e
	if b.supply == nil {
		return place, ""
	}
	if t.Kind == feed.KindDefinition {
		return place, b.defined(t)
	}
	if place < 0 {
		return place, fmt.Sprintf("number %d, %s, was not given to the publisher", t.Seq, showTick(t, name))
	}
	if want := b.supply.ticks[place]; want.name != name || !sameTick(&want.tick, t) {
		return place, fmt.Sprintf("number %d is %s; the publisher was given %s", t.Seq, showTick(t, name), showTick(&want.tick, want.name))
	}
	return place, ""
}

// defined compares a definition with the supplied one.
func (b *book) defined(t *feed.Tick) string {
	d := t.Definition()
	i := slices.IndexFunc(supplyNames, func(want feed.Definition) bool { return want.Name() == d.Name() })
	switch {
	case i < 0:
		return fmt.Sprintf("number %d defines %q, which was not given to the publisher", t.Seq, d.Name())
	case *d != supplyNames[i]:
		return fmt.Sprintf("number %d defines %+v; the publisher was given %+v", t.Seq, *d, supplyNames[i])
	}
	return ""
}

// sameTick reports whether a and b are the same, except for their numbers and, since ids are the publisher's, their instruments.
func sameTick(a, b *feed.Tick) bool {
	x, y := *a, *b
	x.Seq, x.Instrument, x.Extra, y.Seq, y.Instrument, y.Extra = 0, 0, nil, 0, 0, nil
	return x == y && (a.Extra == b.Extra || reflect.DeepEqual(a.Extra, b.Extra))
}

func showTick(t *feed.Tick, name string) string {
	text := fmt.Sprintf("a %v of %s at %d with %v", t.Kind, name, t.EventTime, t.Values)
	text = strings.ReplaceAll(text, fmt.Sprint(int64(feed.NoPrice)), "-")
	if t.Side != feed.SideNone {
		text += fmt.Sprintf(", side %d", t.Side)
	}
	if t.Extra != nil && t.Extra.TradeRef != "" {
		text += ", ref " + t.Extra.TradeRef
	}
	return text
}

// publishTime returns the publish time of a number on a full line.
func (b *book) publishTime(session feed.SessionID, seq uint64) int64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.sessions[session][seq].publish
}

// names returns the instruments of which ticks were sent, sorted.
func (b *book) names() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	set := map[string]bool{}
	for _, entries := range b.sessions {
		for _, e := range entries {
			set[e.name] = true
		}
	}
	return slices.Sorted(maps.Keys(set))
}

// settle judges what can be judged only when everything has come. It returns a sentence, or "".
func (b *book) settle() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, judge := range []func() string{b.order, b.skipped, b.states} {
		if text := judge(); text != "" {
			return text
		}
	}
	return ""
}

// order judges the order of the numbers of each session: ids dense, and the ticks as they were supplied.
func (b *book) order() string {
	where := map[int]string{} // the number of each tick that was supplied
	for session, entries := range b.sessions {
		last, lastSeq := -1, uint64(0)
		if run, ok := b.runs[session]; ok {
			last = run - 1
		}
		first := true
		for _, seq := range slices.Sorted(maps.Keys(entries)) {
			e := entries[seq]
			joins := first || seq == lastSeq+1
			first, lastSeq = false, seq
			if b.supply == nil || e.tick.Kind == feed.KindDefinition {
				continue
			}
			i, _ := b.supply.place(&e.tick)
			number := fmt.Sprintf("number %d of session %v", seq, session)
			if other, twice := where[i]; twice {
				return fmt.Sprintf("%s and %s are the same tick, which was given to the publisher once", other, number)
			}
			where[i] = number
			switch {
			case i <= last:
				return fmt.Sprintf("%s is tick %d of those given to the publisher, and tick %d came before it", number, i+1, last+1)
			case joins && i != last+1:
				return fmt.Sprintf("%s is tick %d of those given to the publisher; tick %d is missing", number, i+1, last+2)
			}
			last = i
		}
	}
	return ""
}

// skipped judges the ranges that filtered lines have skipped.
func (b *book) skipped() string {
	for _, s := range b.skips {
		for seq, e := range b.sessions[s.session] {
			if s.r.Contains(seq) && s.filter.Match(named(e.name)) {
				return fmt.Sprintf("%s: number %d is of %s, which the filter %q matches, and was skipped", s.line, seq, e.name, s.filter)
			}
		}
	}
	return ""
}

// named returns a definition with a name.
func named(name string) *feed.Definition {
	symbol, venue, _ := strings.Cut(name, "@")
	return &feed.Definition{Symbol: symbol, Venue: venue}
}

// states compares each snapshot with what the ticks before it fold into. A snapshot before which ticks are not known
// cannot be judged.
func (b *book) states() string {
	slices.SortStableFunc(b.snapshots, func(x, y bookSnapshot) int { return cmp.Compare(x.seq, y.seq) })
	type fold struct {
		state *feed.State
		next  uint64
	}
	folds := map[feed.SessionID]*fold{}
	for _, s := range b.snapshots {
		f := folds[s.lineage.Current().ID]
		if f == nil {
			f = &fold{feed.NewState(), 1}
			folds[s.lineage.Current().ID] = f
		}
		for ; f.next < s.seq; f.next++ {
			owner, _, _ := s.lineage.Owner(f.next)
			e, ok := b.sessions[owner.ID][f.next]
			if !ok {
				break
			}
			if err := f.state.Apply(&e.tick); err != nil {
				return fmt.Sprintf("number %d cannot be folded into the state: %v", f.next, err)
			}
		}
		if f.next < s.seq {
			continue
		}
		want := feed.NewState()
		in := func(id feed.InstrumentID) bool {
			d, ok := f.state.Definition(id)
			return ok && s.filter.Match(d)
		}
		entries := f.state.Entries(in)
		if s.scope == codec.ScopeDefinitions {
			entries = f.state.Definitions(in)
		}
		for t := range entries {
			if err := want.Apply(&t); err != nil {
				return "internal error: " + err.Error()
			}
		}
		if !s.state.Equal(want) {
			return fmt.Sprintf("%s: the snapshot as of %d is not what the ticks below %d fold into: %s", s.line, s.seq, s.seq, stateDiffers(want, s.state))
		}
	}
	return ""
}

// stateDiffers says how the first instrument that differs does.
func stateDiffers(want, got *feed.State) string {
	for id := range feed.InstrumentID(max(want.Len(), got.Len())) {
		w, wanted := want.Instrument(id)
		g, given := got.Instrument(id)
		switch {
		case !wanted && !given:
			continue
		case !given:
			return fmt.Sprintf("%s is not in it", w.Definition.Name())
		case !wanted:
			return fmt.Sprintf("%s is in it, and should not be", g.Definition.Name())
		}
		for _, x := range []struct {
			what      string
			got, want any
		}{
			{"definition", *g.Definition, *w.Definition}, {"status", g.Status, w.Status}, {"time of the status", g.StatusTime, w.StatusTime},
			{"reason of the status", g.StatusReason, w.StatusReason}, {"expected end of the status", g.StatusEnd, w.StatusEnd},
			{"quote", g.HasQuote, w.HasQuote}, {"quote", g.Quote, w.Quote}, {"time of the quote", g.QuoteTime, w.QuoteTime},
			{"trading day", g.Summary, w.Summary}, {"number of bids", len(g.Bids), len(w.Bids)}, {"number of asks", len(g.Asks), len(w.Asks)},
			{"bids", g.Bids, w.Bids}, {"asks", g.Asks, w.Asks},
		} {
			if !reflect.DeepEqual(x.got, x.want) {
				text := fmt.Sprintf("the %s of %s is %+v, want %+v", x.what, w.Definition.Name(), x.got, x.want)
				return strings.ReplaceAll(text, fmt.Sprint(int64(feed.NoPrice)), "-")
			}
		}
	}
	return want.Diff(got)
}
