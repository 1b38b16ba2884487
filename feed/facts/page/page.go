// Package page draws the facts of one recording, or of two side by side, as one HTML page that needs no other file.
package page

import (
	_ "embed"
	"html/template"
	"io"
	"math"
	"strconv"
	"strings"
	"time"

	"tickfeed/feed/facts"
	"tickfeed/feed/nouns"
)

// A Recording is what the page shows of one recording.
type Recording struct {
	Title  string
	Report *facts.Report
	// Distances are row 19 of each instrument shown, to the recording before; there may be fewer.
	Distances []facts.Distances
}

// maxShown is the number of instruments of each recording that have plots.
const maxShown = 3

//go:embed page.html
var text string

var parsed = template.Must(template.New("page").Funcs(template.FuncMap{
	"number":    number,
	"count":     func(n uint64, noun string) string { return nouns.Count(n, noun) },
	"thousands": nouns.Thousands[uint64],
	"plots":     plots,
	"cell":      cellOf,
	"when":      func(ns int64) string { return time.Unix(0, ns).UTC().Format("2006-01-02 15:04:05") },
	"shown":     func(r *facts.Report) []facts.Instrument { return r.Instruments[:min(len(r.Instruments), maxShown)] },
	"median": func(r *facts.Report, row facts.Row) cell {
		v, n := r.Median(row.ID)
		return newCell(row, v, n > 0)
	},
}).Parse(text))

// Write writes the page.
func Write(w io.Writer, recordings []Recording) error {
	return parsed.Execute(w, struct {
		Recordings []Recording
		Rows       []facts.Row
	}{recordings, facts.Rows})
}

// A cell is a value of the table: its text, and whether it is good, bad or empty.
type cell struct{ Text, Class string }

func newCell(row facts.Row, v float64, ok bool) cell {
	switch {
	case !ok:
		return cell{"–", "none"}
	case row.Range.Holds(v):
		return cell{cellNumber(v), "in"}
	}
	return cell{cellNumber(v) + "*", "out"}
}

func cellOf(in facts.Instrument, row facts.Row) cell {
	v, ok := in.Values[row.ID]
	return newCell(row, v, ok)
}

// cellNumber formats v as the terminal shows it: with two decimals below 10.
func cellNumber(v float64) string {
	if math.Abs(v) < 10 {
		return strings.Replace(strconv.FormatFloat(v, 'f', 2, 64), "-0.00", "0.00", 1)
	}
	return number(math.Round(v))
}

// number formats v with three significant digits, or more with separators of thousands.
func number(v float64) string {
	a := math.Abs(v)
	if a < 1e-12 {
		return "0" // and not -0, or what rounding leaves of it
	}
	for _, unit := range []struct {
		size float64
		name string
	}{{1e12, "T"}, {1e9, "G"}, {1e6, "M"}} {
		if a >= unit.size {
			return strconv.FormatFloat(v/unit.size, 'g', 3, 64) + unit.name
		}
	}
	switch {
	case a >= 999.5 && v < 0:
		return "-" + nouns.Thousands(uint64(math.Round(a)))
	case a >= 999.5:
		return nouns.Thousands(uint64(math.Round(a)))
	case a >= 100:
		return strconv.FormatFloat(v, 'f', 0, 64)
	}
	return strconv.FormatFloat(v, 'g', 3, 64)
}

// seconds formats a time in the greatest unit of which it is at least one.
func seconds(v float64) string {
	for _, unit := range []struct {
		size float64
		name string
	}{{1, " s"}, {1e-3, " ms"}, {1e-6, " µs"}} {
		if v > unit.size*0.9999 {
			return number(v/unit.size) + unit.name
		}
	}
	return number(v*1e9) + " ns"
}

// plots returns the plots of an instrument.
func plots(in facts.Instrument) []template.HTML {
	first := 0.0
	if len(in.Path) > 0 {
		first = in.Path[0].X
	}
	size := math.Pow(10, float64(in.SizeUnit))
	unit, length := "hours", 3600.0
	if n := len(in.Path); n > 0 && in.Path[n-1].X-first < 2*3600 {
		unit, length = "minutes", 60
	}
	var stops []stop
	for _, s := range in.Stops {
		text := s.Status.String() + " " + time.Unix(0, s.At).UTC().Format("15:04:05")
		if s.Reason != "" {
			text += ": " + s.Reason
		}
		stops = append(stops, stop{(float64(s.At)/1e9 - first) / length, text})
	}
	if len(stops) > 0 {
		unit += "; dashed: halts and auctions begin"
	}
	all := []plot{
		{Title: "Price path", X: unit, Points: scaled(in.Path, func(x float64) float64 { return (x - first) / length }), Stops: stops},
		{Title: "Events in the day", X: "hours since the opening", Y: "events a second", Points: scaled(in.Shape, hours), Zero: true},
		{Title: "Volatility in the day", X: "hours since the opening", Y: "deviation of 10 s returns", Points: scaled(in.Volatility, hours), Zero: true},
		{Title: "Returns over 10 s", X: "standard deviations", Y: "density", Points: positive(in.Returns), LogY: true, Normal: true},
		{Title: "Autocorrelation of returns", X: "10 s steps", Points: in.ACFReturns, Dots: true, Zero: true},
		{Title: "Autocorrelation of absolute returns", X: "10 s steps", Points: in.ACFAbs, Dots: true, Zero: true},
		{Title: "Autocorrelation of trade signs", X: "trades", Points: in.ACFSigns, LogX: true, Dots: true, Zero: true},
		{Title: "Time between events", X: "time", Y: "share per octave", Times: true, Points: scaled(in.Gaps, func(x float64) float64 { return x / 1e9 }), LogX: true, Dots: true, Zero: true},
		{Title: "Signature plot", X: "seconds", Y: "variance per second", Points: in.Signature, LogX: true, Dots: true, Zero: true},
		{Title: "Impact", X: "trades", Y: "spreads", Points: in.Impact, LogX: true, Dots: true, Zero: true},
		{Title: "Trade sizes", X: "size", Y: "share per octave", Points: scaled(in.Sizes, func(x float64) float64 { return x * size }), LogX: true, Dots: true, Zero: true},
		{Title: "Queue imbalance", X: "-1 all asked, 1 all bid", Y: "share of quotes", Points: in.Imbalance, Bars: true, Zero: true},
		{Title: "Depth profile", X: "level", Y: "mean size", Points: in.Profile, Bars: true, Zero: true},
	}
	out := make([]template.HTML, len(all))
	for i := range all {
		out[i] = all[i].svg()
	}
	return out
}

func hours(x float64) float64 { return x / 3600 }

func scaled(points []facts.Point, x func(float64) float64) []facts.Point {
	out := make([]facts.Point, len(points))
	for i, p := range points {
		out[i] = facts.Point{X: x(p.X), Y: p.Y}
	}
	return out
}

// positive returns the points that a logarithmic axis can show.
func positive(points []facts.Point) (out []facts.Point) {
	for _, p := range points {
		if p.Y > 0 {
			out = append(out, p)
		}
	}
	return out
}
