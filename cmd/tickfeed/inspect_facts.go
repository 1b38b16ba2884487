package main

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"io"
	"math"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
	"unicode/utf8"

	"tickfeed/codec"
	"tickfeed/codec/recording"
	"tickfeed/feed"
	"tickfeed/feed/facts"
	factspage "tickfeed/feed/facts/page"
	"tickfeed/feed/nouns"
)

// measuredFile is the facts of one recording.
type measuredFile struct {
	title  string
	report *facts.Report
	others int // instruments that were not measured

	simulated bool
}

// measureFacts reads f twice: once to find its busiest instruments, and once to measure them.
func (p *program) measureFacts(ctx context.Context, o *inspectOptions, f *openRecording, read *atomic.Int64) (*measuredFile, error) {
	chosen, n, err := busiestOf(ctx, f, o.filter, read, facts.MaxInstruments)
	if err != nil {
		return nil, err
	}
	m := facts.New(chosen...)
	var names stableIDs
	if err := names.each(ctx, f, o.filter, read, m.Add, func(id feed.InstrumentID, d *feed.Definition) { m.Define(id, *d) }); err != nil {
		return nil, err
	}
	return &measuredFile{f.title(), m.Report(), n - len(chosen), names.simulated}, nil
}

// busiestOf returns the stable ids of the most instruments with the most ticks, and the number of all instruments.
func busiestOf(ctx context.Context, f *openRecording, filter *fileFilter, read *atomic.Int64, most int) (chosen []feed.InstrumentID, n int, err error) {
	var names stableIDs
	var ticks []uint64 // by stable id
	err = names.each(ctx, f, filter, read, func(batch []feed.Tick) {
		for i := range batch {
			ticks[batch[i].Instrument]++
		}
	}, func(feed.InstrumentID, *feed.Definition) { ticks = append(ticks, 0) })
	if err != nil {
		return nil, 0, err
	}
	ids := make([]feed.InstrumentID, len(ticks))
	for i := range ids {
		ids[i] = feed.InstrumentID(i)
	}
	slices.SortStableFunc(ids, func(a, b feed.InstrumentID) int { return cmp.Compare(ticks[b], ticks[a]) })
	return ids[:min(len(ids), most)], len(ids), nil
}

// stableIDs gives each instrument that is named in a recording an id, from 0. Sessions of other lineages may use an id of the
// recording for another instrument.
type stableIDs struct {
	byName  map[string]feed.InstrumentID
	byID    feed.Table[feed.InstrumentID] // one more than the stable id; 0 if it is not known
	session feed.SessionID

	simulated bool // the last session is of a simulated market
}

// each calls visit with the ticks of f that filter wants, with stable ids, and define before the first tick of each
// instrument. Ticks without a definition are passed over.
func (s *stableIDs) each(ctx context.Context, f *openRecording, filter *fileFilter, read *atomic.Int64, visit func([]feed.Tick), define func(feed.InstrumentID, *feed.Definition)) error {
	r, err := f.Reader()
	if err != nil {
		return err
	}
	s.byName = make(map[string]feed.InstrumentID)
	ticks := recording.NewTicks(r, filter.match)
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		part, err := ticks.Next()
		if err == io.EOF {
			return nil
		} else if err != nil {
			return err
		}
		read.Store(r.Offset())
		s.simulated = r.Header().Mode == codec.ModeSimulation
		if part.Session != s.session || part.Ticks[0].Kind == feed.KindDefinition {
			s.session, s.byID = part.Session, feed.Table[feed.InstrumentID]{}
		}
		kept := part.Ticks[:0]
		for _, t := range part.Ticks {
			at := s.byID.At(t.Instrument)
			if *at == 0 {
				d := part.Definition(t.Instrument)
				if d == nil {
					continue
				}
				id, known := s.byName[d.Name()]
				if !known {
					id = feed.InstrumentID(len(s.byName))
					s.byName[d.Name()] = id
					define(id, d)
				}
				*at = id + 1
			}
			t.Instrument = *at - 1
			kept = append(kept, t)
		}
		visit(kept)
	}
}

// Widths of the table of facts.
const (
	factsNames  = 56 // columns for the number, the name and the range of a row
	factsValues = 8  // columns for a value
	factsWidth  = 80 // where the width of the screen is not known
	factsCharts = 3  // instruments whose charts are shown
)

// factsText prints the facts of a recording for people.
func factsText(out *lines, m *measuredFile) {
	all := m.report.Instruments
	others := ""
	if m.others > 0 {
		others = fmt.Sprintf(", the busiest of %s", nouns.Thousands(uint64(m.others+len(all))))
	}
	out.printf("%s: %s measured%s\n", m.title, nouns.Count(len(all), "instrument"), others)
	if len(all) == 0 {
		return
	}
	wholeText(out, &m.report.Whole)
	width := cmp.Or(out.screen.width, factsWidth)
	shown := max(1, min(len(all), (width-factsNames)/factsValues-1))
	row := func(id, name, within string) string {
		return fmt.Sprintf("%-3s %s%*s ", id, name, factsNames-5-utf8.RuneCountInString(name), within)
	}
	head := row("", "statistic", "range")
	for i := range all[:shown] {
		head += fmt.Sprintf("%*s", factsValues, columnTitle(oneLine(m.report.Title(i)), factsValues-1))
	}
	out.paintf(dim, "", "%s%*s\n", head, factsValues, "median")
	outside, judged, flat := 0, 0, false
	for i := range facts.Rows {
		r := &facts.Rows[i]
		median, n := m.report.Median(r.ID)
		if n == 0 {
			continue
		}
		text := row(r.ID, r.Name, r.Range.String())
		for k := range all[:shown] {
			v, ok := all[k].Values[r.ID]
			text += factCell(r, v, ok)
		}
		judged++
		c := plain
		if !r.Range.Holds(median) {
			c = yellow
			outside++
			flat = flat || strings.HasPrefix(r.ID, "13") && median < r.Range.Low
		}
		out.paintf(c, "", "%s%s\n", text, factCell(r, median, true))
	}
	if judged == 0 {
		out.printf("No statistic has enough ticks.\n")
		return
	}
	out.printf("%d of %d medians lie in the range of real markets; * marks a value outside of it.\n", judged-outside, judged)
	if flat {
		how := ""
		if m.simulated {
			how = "; a simulated market has it with --day-shape u"
		}
		out.printf("Rows 13 look for the shape of a trading day, busy at the open and at the close%s.\n", how)
	}
	for k := range all[:min(len(all), factsCharts)] {
		in := &all[k]
		out.printf("\n%s: %s, %.3g a second\n", oneLine(in.Definition.Name()), nouns.Count(in.Events, "event"), in.Rate)
		for _, picture := range factsPictures(in) {
			if len(picture.values) > 1 {
				out.paintf(plain, "", "  %-20s %s  %s\n", picture.name, chart(resample(picture.values, min(36, width-46))), picture.about)
			}
		}
	}
}

// columnTitle shortens title to width columns. Of SYMBOL@VENUE the symbol is shortened, because the venue is what differs.
func columnTitle(title string, width int) string {
	runes := []rune(title)
	if len(runes) <= width {
		return title
	}
	if symbol, venue, ok := strings.Cut(title, "@"); ok {
		keep := max(width-1-utf8.RuneCountInString(venue), 1)
		runes = []rune(string([]rune(symbol)[:min(keep, utf8.RuneCountInString(symbol))]) + "@" + venue)
	}
	return string(runes[:min(len(runes), width)])
}

// wholeText prints the load of the whole feed.
func wholeText(out *lines, w *facts.Whole) {
	if w.Ticks == 0 {
		return
	}
	bursts := ""
	if w.FanoSecond > 0 {
		bursts = fmt.Sprintf("; variance / mean of counts %s in 1 s, %s in 0.1 s", shortNumber(w.FanoSecond), shortNumber(w.FanoTenth))
	}
	out.printf("  whole feed: %s (%s), %.3g a second; busiest second %s (%s × the mean), busiest 0.1 s %s%s\n",
		nouns.Count(w.Ticks, "tick"), w.Kinds(), w.Rate, nouns.Thousands(w.BusiestSecond), shortNumber(w.Peak()), nouns.Thousands(w.BusiestTenth), bursts)
}

// factCell formats one value of the table.
func factCell(row *facts.Row, v float64, ok bool) string {
	if !ok {
		return fmt.Sprintf("%*s", factsValues, "-")
	}
	mark := ""
	if !row.Range.Holds(v) {
		mark = "*"
	}
	return fmt.Sprintf("%*s", factsValues, shortNumber(v)+mark)
}

// shortNumber formats v in at most six columns.
func shortNumber(v float64) string {
	a := math.Abs(v)
	switch {
	case a < 10:
		return strconv.FormatFloat(v, 'f', 2, 64)
	case a < 1000:
		return strconv.FormatFloat(v, 'f', 0, 64)
	}
	return strings.ReplaceAll(formatCount(v), " ", "")
}

// A factsPicture is a distribution or a curve as a row of bars.
type factsPicture struct {
	name, about string
	values      []float64
}

func factsPictures(in *facts.Instrument) []factsPicture {
	ys := func(points []facts.Point) []float64 {
		var out []float64
		for _, p := range points {
			if !math.IsNaN(p.Y) && !math.IsInf(p.Y, 0) {
				out = append(out, p.Y)
			}
		}
		return out
	}
	ends := func(points []facts.Point, format func(float64) string) string {
		if len(points) == 0 {
			return ""
		}
		return format(points[0].X) + " to " + format(points[len(points)-1].X)
	}
	ns := func(v float64) string { return formatDuration(time.Duration(v)) }
	number := func(v float64) string { return strings.TrimSpace(formatCount(v)) }
	low, high := math.Inf(1), math.Inf(-1)
	path := ys(in.Path)
	for _, v := range path {
		low, high = min(low, v), max(high, v)
	}
	for i := range path {
		path[i] -= low - (high-low)/8
	}
	size := math.Pow(10, float64(in.SizeUnit))
	sizes := slices.Clone(in.Sizes)
	for i := range sizes {
		sizes[i].X *= size
	}
	return []factsPicture{
		{"price", fmt.Sprintf("%.6g to %.6g", low, high), path},
		{"events, the day", "events a second", ys(in.Shape)},
		{"volatility, the day", "of 10 s returns", ys(in.Volatility)},
		{"returns, 10 s", "-5 to +5 std dev", ys(in.Returns)},
		{"time between", ends(in.Gaps, ns), ys(in.Gaps)},
		{"trade signs", "autocorrelation, " + ends(in.ACFSigns, number) + " trades", ys(in.ACFSigns)},
		{"absolute returns", "autocorrelation, 10 s to 5 min", ys(in.ACFAbs)},
		{"variance per second", ends(in.Signature, number) + " s", ys(in.Signature)},
		{"impact", "after " + ends(in.Impact, number) + " trades", ys(in.Impact)},
		{"trade sizes", ends(sizes, number), ys(in.Sizes)},
		{"imbalance", "all asked to all bid", ys(in.Imbalance)},
		{"depth", "size at levels " + ends(in.Profile, number), ys(in.Profile)},
	}
}

// resample returns values as at most n means; fewer are kept as they are.
func resample(values []float64, n int) []float64 {
	if len(values) <= n {
		return values
	}
	out := make([]float64, n)
	for i := range out {
		from, to := i*len(values)/n, (i+1)*len(values)/n
		for _, v := range values[from:to] {
			out[i] += v / float64(to-from)
		}
	}
	return out
}

// jsonFacts is the facts of a recording as JSON.
type jsonFacts struct {
	File        string             `json:"file"`
	Others      int                `json:"instruments_not_measured"`
	Whole       jsonWhole          `json:"whole"`
	Medians     []jsonFact         `json:"medians"`
	Instruments []jsonMeasured     `json:"instruments"`
	Distances   []jsonFactDistance `json:"distances,omitempty"`
}

// jsonWhole is the load of all instruments together, measured or not.
type jsonWhole struct {
	Ticks         uint64  `json:"ticks"`
	PerSecond     float64 `json:"ticks_per_second"`
	BusiestSecond uint64  `json:"busiest_second"`
	BusiestTenth  uint64  `json:"busiest_tenth"`
	FanoSecond    float64 `json:"fano_second"`
	FanoTenth     float64 `json:"fano_tenth"`
	Quotes        uint64  `json:"quotes"`
	Trades        uint64  `json:"trades"`
	Levels        uint64  `json:"levels"`
}

type jsonFact struct {
	Row   string   `json:"row"`
	Name  string   `json:"name"`
	Value float64  `json:"value"`
	Low   *float64 `json:"low"` // nil if there is no bound
	High  *float64 `json:"high"`
	Holds bool     `json:"holds"`
}

type jsonMeasured struct {
	Symbol    string                  `json:"symbol"`
	Venue     string                  `json:"venue"`
	Events    uint64                  `json:"events"`
	Quotes    uint64                  `json:"quotes"`
	Trades    uint64                  `json:"trades"`
	Levels    uint64                  `json:"levels"`
	PerSecond float64                 `json:"events_per_second"`
	First     int64                   `json:"first_ts_event"`
	Last      int64                   `json:"last_ts_event"`
	Facts     []jsonFact              `json:"facts"`
	Pictures  map[string][][2]float64 `json:"pictures"`
}

// jsonFactDistance is row 19 between an instrument and the same or the busiest one of the recording before.
type jsonFactDistance struct {
	From      string  `json:"from"`
	To        string  `json:"to"`
	Spread    float64 `json:"spread"`
	Imbalance float64 `json:"imbalance"`
	Times     float64 `json:"times"`
	Volume    float64 `json:"volume"`
	Mean      float64 `json:"mean"`
}

func factJSON(row *facts.Row, v float64) jsonFact {
	f := jsonFact{Row: row.ID, Name: row.Name, Value: v, Holds: row.Range.Holds(v)}
	if !math.IsInf(row.Range.Low, 0) {
		f.Low = &row.Range.Low
	}
	if !math.IsInf(row.Range.High, 0) {
		f.High = &row.Range.High
	}
	return f
}

func factsJSON(m, before *measuredFile) *jsonFacts {
	w := &m.report.Whole
	whole := jsonWhole{w.Ticks, w.Rate, w.BusiestSecond, w.BusiestTenth, w.FanoSecond, w.FanoTenth, w.Quotes, w.Trades, w.Levels}
	j := &jsonFacts{File: m.title, Others: m.others, Whole: whole, Medians: []jsonFact{}, Instruments: []jsonMeasured{}}
	for i := range facts.Rows {
		if v, n := m.report.Median(facts.Rows[i].ID); n > 0 {
			j.Medians = append(j.Medians, factJSON(&facts.Rows[i], v))
		}
	}
	for i := range m.report.Instruments {
		in := &m.report.Instruments[i]
		x := jsonMeasured{
			Symbol: in.Definition.Symbol, Venue: in.Definition.Venue, Events: in.Events, Quotes: in.Quotes, Trades: in.Trades, Levels: in.Levels,
			PerSecond: in.Rate, First: in.First, Last: in.Last, Facts: []jsonFact{}, Pictures: make(map[string][][2]float64),
		}
		for k := range facts.Rows {
			if v, ok := in.Values[facts.Rows[k].ID]; ok {
				x.Facts = append(x.Facts, factJSON(&facts.Rows[k], v))
			}
		}
		for name, points := range in.Pictures() {
			xy := make([][2]float64, 0, len(points))
			for _, p := range points {
				if !math.IsNaN(p.Y) && !math.IsInf(p.Y, 0) {
					xy = append(xy, [2]float64{p.X, p.Y})
				}
			}
			x.Pictures[name] = xy
		}
		j.Instruments = append(j.Instruments, x)
	}
	for _, d := range distances(m, before) {
		j.Distances = append(j.Distances, jsonFactDistance{
			d.from, d.to, d.Spread, d.Imbalance, d.Times, d.Volume, d.Mean(),
		})
	}
	return j
}

// A factsDistance is the distance of an instrument to one of another recording.
type factsDistance struct {
	from, to string
	facts.Distances
}

// distances returns the distances of the first factsCharts instruments of m to those of the same name in before, or to its
// busiest one; none if before is nil.
func distances(m, before *measuredFile) (out []factsDistance) {
	if before == nil || len(before.report.Instruments) == 0 {
		return nil
	}
	for i := range m.report.Instruments[:min(len(m.report.Instruments), factsCharts)] {
		in, of := &m.report.Instruments[i], &before.report.Instruments[0]
		for k := range before.report.Instruments {
			if o := &before.report.Instruments[k]; o.Definition.Symbol == in.Definition.Symbol {
				of = o
				break
			}
		}
		name := func(m *measuredFile, in *facts.Instrument) string {
			return fmt.Sprintf("%s in %s", oneLine(in.Definition.Symbol), m.title)
		}
		out = append(out, factsDistance{name(m, in), name(before, of), facts.Distance(in, of)})
	}
	return out
}

// distancesText prints row 19.
func distancesText(out *lines, m, before *measuredFile) {
	for _, d := range distances(m, before) {
		out.printf("19  distance (L1, 0 to 2) of %s to %s: %.2f; spread %.2f, imbalance %.2f, times between events %.2f, volume %.2f\n",
			d.from, d.to, d.Mean(), d.Spread, d.Imbalance, d.Times, d.Volume)
	}
}

// showFacts measures f and prints its facts, and the distance to the recording before it.
func (p *program) showFacts(ctx context.Context, o *inspectOptions, f *openRecording, out *lines, read *atomic.Int64) (bool, error) {
	m, err := p.measureFacts(ctx, o, f, read)
	if err != nil {
		return false, err
	}
	var before *measuredFile
	if n := len(o.measured); n > 0 {
		before = o.measured[n-1]
	}
	o.measured = append(o.measured, m)
	if o.json {
		out.json(factsJSON(m, before))
		return true, nil
	}
	factsText(out, m)
	distancesText(out, m, before)
	return true, nil
}

// maxFactsPage bounds the recordings on a page.
const maxFactsPage = 2

// writeFactsPage writes the page of --html.
func writeFactsPage(path string, measured []*measuredFile) error {
	var all []factspage.Recording
	var before *measuredFile
	for _, m := range measured[:min(len(measured), maxFactsPage)] {
		r := factspage.Recording{Title: m.title, Report: m.report}
		for _, d := range distances(m, before) {
			r.Distances = append(r.Distances, d.Distances)
		}
		all, before = append(all, r), m
	}
	var b bytes.Buffer
	if err := factspage.Write(&b, all); err != nil {
		panic("tickfeed: internal error: " + err.Error()) // a buffer takes all, and the template is ours
	}
	return os.WriteFile(path, b.Bytes(), 0o644)
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}
