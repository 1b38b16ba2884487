package page

import (
	"fmt"
	"html/template"
	"math"
	"strings"

	"tickfeed/feed/facts"
)

// A plot is one curve or one set of bars with axes.
type plot struct {
	Title, X, Y string
	Points      []facts.Point
	LogX, LogY  bool
	Times       bool // X is a time in seconds
	Bars, Dots  bool // bars instead of a line; a line with dots
	Zero        bool // the Y axis includes 0
	Normal      bool // also the density of the normal distribution
	Stops       []stop
}

// A stop is a vertical line with a text, which a browser shows beside the pointer.
type stop struct {
	x    float64
	text string
}

// Sizes in the drawing's own units.
const (
	plotWidth, plotHeight                      = 360.0, 200.0
	leftMargin, rightMargin, topMargin, bottom = 46.0, 8.0, 22.0, 34.0
)

// An axis maps values to places.
type axis struct {
	from, to     float64 // values, or their logarithms to base 10
	log          bool
	start, place float64 // place of from, and the length
}

func (a *axis) at(v float64) float64 {
	if a.log {
		v = math.Log10(v)
	}
	return a.start + (v-a.from)/(a.to-a.from)*a.place
}

// ticks returns round values within the axis, about n.
func (a *axis) ticks(n int) (out []float64) {
	if a.log {
		step := math.Max(1, math.Ceil((a.to-a.from)/float64(n)))
		for v := math.Ceil(a.from); v <= a.to+1e-9; v += step {
			out = append(out, math.Pow(10, v))
		}
		return out
	}
	step := math.Pow(10, math.Floor(math.Log10((a.to-a.from)/float64(n))))
	for _, times := range []float64{1, 2, 5, 10} {
		if (a.to-a.from)/(step*times) <= float64(n) {
			step *= times
			break
		}
	}
	for k := math.Ceil(a.from/step - 1e-9); k*step <= a.to+step*1e-9; k++ {
		out = append(out, k*step)
	}
	return out
}

// span returns an axis that holds all values.
func span(values []float64, log, zero bool) axis {
	a := axis{from: math.Inf(1), to: math.Inf(-1), log: log}
	for _, v := range values {
		if log {
			v = math.Log10(v)
		}
		a.from, a.to = math.Min(a.from, v), math.Max(a.to, v)
	}
	if zero && !log {
		a.from, a.to = math.Min(a.from, 0), math.Max(a.to, 0)
	}
	if a.to <= a.from {
		a.to = a.from + 1
	}
	return a
}

// svg draws the plot. It writes numbers and texts, which are escaped.
func (p *plot) svg() template.HTML {
	var b strings.Builder
	fmt.Fprintf(&b, `<svg viewBox="0 0 %g %g" role="img"><title>%s</title><text class="title" x="%g" y="14">%s</text>`,
		plotWidth, plotHeight, template.HTMLEscapeString(p.Title), leftMargin, template.HTMLEscapeString(p.Title))
	points := p.Points[:0:0]
	for _, q := range p.Points {
		bad := math.IsNaN(q.Y) || math.IsInf(q.Y, 0) || p.LogY && q.Y <= 0
		if p.LogX && q.X <= 0 {
			q.X = 1e-9 // times of 0
		}
		if !bad {
			points = append(points, q)
		}
	}
	if len(points) < 2 {
		fmt.Fprintf(&b, `<text class="empty" x="%g" y="%g">too little data</text></svg>`, leftMargin, plotHeight/2)
		return template.HTML(b.String())
	}
	var xs, ys []float64
	for _, q := range points {
		xs, ys = append(xs, q.X), append(ys, q.Y)
	}
	x, y := span(xs, p.LogX, false), span(ys, p.LogY, p.Zero)
	if p.Bars {
		pad := (x.to - x.from) / float64(len(points)-1) / 2
		x.from, x.to = x.from-pad, x.to+pad
	}
	x.start, x.place = leftMargin, plotWidth-leftMargin-rightMargin
	y.start, y.place = plotHeight-bottom, -(plotHeight - bottom - topMargin)
	label := number
	if p.Times {
		label = seconds
	}
	for _, v := range x.ticks(6) {
		fmt.Fprintf(&b, `<path class="grid" d="M%.1f %gV%g"/><text class="x" x="%.1f" y="%g">%s</text>`,
			x.at(v), topMargin, plotHeight-bottom, x.at(v), plotHeight-bottom+12, label(v))
	}
	for _, v := range y.ticks(4) {
		fmt.Fprintf(&b, `<path class="grid" d="M%g %.1fH%g"/><text class="y" x="%g" y="%.1f">%s</text>`,
			leftMargin, y.at(v), plotWidth-rightMargin, leftMargin-4, y.at(v)+3, number(v))
	}
	for _, s := range p.Stops {
		if s.x >= x.from && s.x <= x.to {
			fmt.Fprintf(&b, `<path class="stop" d="M%.1f %gV%g"><title>%s</title></path>`,
				x.at(s.x), topMargin, plotHeight-bottom, template.HTMLEscapeString(s.text))
		}
	}
	if p.Normal {
		fmt.Fprint(&b, `<path class="normal" d="`)
		pen := 'M'
		for v := x.from; v <= x.to; v += (x.to - x.from) / 100 {
			density := math.Exp(-v*v/2) / math.Sqrt(2*math.Pi)
			if at := y.at(density); at <= y.start && !math.IsInf(at, 0) {
				fmt.Fprintf(&b, "%c%.1f %.1f", pen, x.at(v), at)
				pen = 'L'
			}
		}
		fmt.Fprint(&b, `"/>`)
	}
	switch {
	case p.Bars:
		width := x.place / float64(len(points)) * 0.8
		for _, q := range points {
			from, to := y.at(0), y.at(q.Y)
			fmt.Fprintf(&b, `<rect x="%.1f" y="%.1f" width="%.1f" height="%.1f"/>`, x.at(q.X)-width/2, min(from, to), width, math.Abs(to-from))
		}
	default:
		fmt.Fprint(&b, `<path class="curve" d="`)
		for i, q := range points {
			fmt.Fprintf(&b, "%c%.1f %.1f", "ML"[min(i, 1)], x.at(q.X), y.at(q.Y))
		}
		fmt.Fprint(&b, `"/>`)
		for _, q := range points {
			if p.Dots {
				fmt.Fprintf(&b, `<circle cx="%.1f" cy="%.1f" r="2"/>`, x.at(q.X), y.at(q.Y))
			}
		}
	}
	axes := p.X
	if p.Y != "" {
		axes += " · y: " + p.Y
	}
	fmt.Fprintf(&b, `<text class="label" x="%g" y="%g">%s</text></svg>`, leftMargin, plotHeight-6, template.HTMLEscapeString(axes))
	return template.HTML(b.String())
}
