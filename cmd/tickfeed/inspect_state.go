package main

import (
	"context"
	"strings"
	"sync/atomic"

	"tickfeed/codec/recording/edit"
	"tickfeed/codec/recording/place"
	"tickfeed/feed"
	"tickfeed/feed/decimal"
	"tickfeed/feed/nouns"
)

// showState prints the state as of --at.
func (p *program) showState(ctx context.Context, o *inspectOptions, f *openRecording, out *lines, read *atomic.Int64) (bool, error) {
	r, err := f.Reader()
	if err != nil {
		return false, err
	}
	at, err := edit.StateAt(ctx, r, o.place, o.by, read)
	if err != nil {
		return false, err
	}
	if at.Beyond {
		return false, wrong("--at %s is after the end%s, and its last number is %d", o.at, spanOf(f, o.by, o.place, place.Place{}), at.Next-1)
	}
	want := func(id feed.InstrumentID) bool {
		d, ok := at.State.Definition(id)
		return ok && o.filter.match(d)
	}
	session := at.Header.Lineage.Current().ID
	if o.json || o.csv {
		to := o.printer(p)
		for t := range at.State.Entries(want) {
			if err := to.append(session, 0, []feed.Tick{t}, at.State); err != nil {
				return false, err
			}
		}
		return true, to.flush()
	}
	when := "before anything was published"
	if at.Time != place.NoTime {
		when = "published up to " + eventTime(at.Time)
	}
	if latest := latestEvent(at.State); latest != 0 {
		when = "events up to " + eventTime(latest) + ", " + when
	}
	out.printf("%s: state as of %d, %s\n", f.title(), at.Next, when)
	known := 0
	for id := range feed.InstrumentID(at.State.Len()) {
		if want(id) {
			known++
			showInstrument(out, at.State, id)
		}
	}
	if known == 0 {
		out.printf("  no instrument%s is defined there\n", map[bool]string{true: "", false: " of " + strings.Join(o.symbols, ", ")}[len(o.symbols) == 0])
	}
	return true, nil
}

// latestEvent returns the latest event time of quotes, trades and statuses in state; 0 if there is none.
func latestEvent(state *feed.State) (latest int64) {
	for id := range feed.InstrumentID(state.Len()) {
		if in, ok := state.Instrument(id); ok {
			latest = max(latest, in.QuoteTime, in.StatusTime, in.Summary.LastTime)
		}
	}
	return latest
}

// bookLevels is the number of book levels shown.
const bookLevels = 10

// showInstrument prints the state of an instrument.
func showInstrument(out *lines, state *feed.State, id feed.InstrumentID) {
	in, ok := state.Instrument(id)
	if !ok {
		return
	}
	d := in.Definition
	price := func(v int64) string {
		if v == feed.NoPrice {
			return "-"
		}
		return string(decimal.Append(nil, v, d.PriceExponent))
	}
	size := func(v int64) string { return string(decimal.Append(nil, v, d.SizeExponent)) }
	out.printf("\n%s\n", d.Name())
	if in.StatusTime != 0 || in.Status != feed.StatusUnknown {
		out.printf("  status    %s, since %s\n", in.Status, eventTime(in.StatusTime))
	}
	if in.HasQuote {
		q := in.Quote
		out.printf("  quote     %s x %s | %s x %s, of %s\n", price(q.Bid), size(q.BidSize), price(q.Ask), size(q.AskSize), eventTime(in.QuoteTime))
	}
	if s := in.Summary; s.Trades > 0 || s.TradingDay != 0 {
		if s.TradingDay != 0 {
			out.printf("  day       %d\n", s.TradingDay)
		}
		if s.Trades > 0 {
			side := ""
			if s.LastSide != feed.SideNone {
				side = " " + s.LastSide.String()
			}
			out.printf("  trade     %s x %s%s, of %s\n", price(s.Last), size(s.LastSize), side, eventTime(s.LastTime))
			out.printf("  range     open %s, high %s, low %s; volume %s in %s\n", price(s.Open), price(s.High), price(s.Low), size(s.Volume), nouns.Count(uint64(s.Trades), "trade"))
		}
	}
	bids, asks := in.Bids, in.Asks
	if len(bids)+len(asks) == 0 {
		return
	}
	out.printf("  book      %s, %s\n", nouns.Count(len(bids), "bid"), nouns.Count(len(asks), "ask"))
	for i := range min(bookLevels, max(len(bids), len(asks))) {
		left, right := "", ""
		if i < len(bids) {
			left = size(bids[i].Size) + " x " + price(bids[i].Price)
		}
		if i < len(asks) {
			right = price(asks[i].Price) + " x " + size(asks[i].Size)
		}
		out.printf("  %26s | %s\n", left, right)
	}
}
