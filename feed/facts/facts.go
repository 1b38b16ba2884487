// Package facts measures what distinguishes a market from noise: the statistics that real markets share ("stylised facts"),
// each beside the range in which real days lie. It judges the simulated market, and describes any recording.
//
//	m := facts.New(0, 1) // the ids of AAPL and MSFT
//	for batch := make([]feed.Tick, 256); ; {
//		n, err := source.Next(ctx, batch) // source is a feed.Source, such as a sim.Market
//		m.Add(batch[:n])
//		if err == io.EOF {
//			break
//		} else if err != nil {
//			return err
//		}
//	}
//	aapl := m.Report().Instruments[0]
//	for _, row := range facts.Rows {
//		if v, ok := aapl.Values[row.ID]; ok { // otherwise the row does not apply, or there are too few ticks
//			fmt.Println(row.Name, row.Range, v)
//		}
//	}
//
// Ticks are measured as they pass: an instrument takes about 100 KiB, whatever the length of the recording. Prices are mid
// prices, and returns are their differences.
package facts

import (
	"time"

	"tickfeed/feed"
)

// MaxInstruments bounds the instruments that one Meter measures.
const MaxInstruments = 64

// maxGap is the longest time without a tick that is part of a trading day: returns do not reach across it.
const maxGap = time.Hour

// A Meter measures instruments. It reads no clock and is not safe for concurrent use.
type Meter struct {
	of          feed.Table[*instrument]
	instruments []*instrument
	second      int64 // the next to be sampled, since the Unix epoch; 0 before the first tick
	whole       load
}

// New returns a Meter of the instruments with the given ids, at most MaxInstruments, the most important one first: the others
// are correlated with it, and it with the second one.
func New(ids ...feed.InstrumentID) *Meter {
	e := &Meter{}
	for _, id := range ids[:min(len(ids), MaxInstruments)] {
		if at := e.of.At(id); *at == nil {
			*at = newInstrument()
			e.instruments = append(e.instruments, *at)
		}
	}
	for i, in := range e.instruments {
		if i > 0 {
			in.partner = e.instruments[0]
		} else if len(e.instruments) > 1 {
			in.partner = e.instruments[1]
		}
	}
	return e
}

// Add measures the next ticks. Ticks of other instruments count for the whole feed only, and those of snapshots not at all,
// except definitions.
func (e *Meter) Add(ticks []feed.Tick) {
	for i := range ticks {
		t := &ticks[i]
		e.whole.add(t)
		at := e.of.Lookup(t.Instrument)
		if at == nil || *at == nil || t.Flags&feed.FlagSnapshot != 0 && t.Kind != feed.KindDefinition {
			continue
		}
		if t.EventTime >= e.second*second && t.EventTime > 0 && t.Kind != feed.KindDefinition {
			e.advance(t.EventTime / second)
		}
		(*at).add(t)
	}
}

// Define sets the definition of an instrument, as a definition tick does.
func (e *Meter) Define(id feed.InstrumentID, d feed.Definition) {
	if at := e.of.Lookup(id); at != nil && *at != nil {
		(*at).define(d)
	}
}

// advance samples the seconds before second now, which begins.
func (e *Meter) advance(now int64) {
	if e.second == 0 || now-e.second > int64(maxGap/time.Second) {
		if e.second != 0 {
			for _, in := range e.instruments {
				in.silence()
				in.dayBegan = 0
			}
		}
		e.second = now
	}
	for ; e.second <= now; e.second++ {
		for _, in := range e.instruments {
			in.sample(e.second)
		}
		for _, in := range e.instruments {
			in.correlate()
		}
	}
}
