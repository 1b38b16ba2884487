package bench

import (
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// A Unit is the unit of a figure.
type Unit string

// The units.
const (
	TicksPerSecond Unit = "ticks/s"
	Ticks          Unit = "ticks"
	Seconds        Unit = "s"
	Bytes          Unit = "B"
	Cores          Unit = "cores"
	CPUSeconds     Unit = "CPU s" // per tick
)

// A Figure is a measured number with the number that it is compared to.
type Figure struct {
	Scenario string  `json:"scenario"`
	Name     string  `json:"name"` // what was measured, with the parameters
	Unit     Unit    `json:"unit"`
	Measured *Spread `json:"measured"`
	// Limit is what the machine itself achieved in the same runs, or the value that Against names; Ratio is
	// Measured divided by Limit, run by run. Both are nil if there is nothing to compare with.
	Limit   *Spread `json:"limit,omitempty"`
	Against string  `json:"against,omitempty"`
	Ratio   *Spread `json:"ratio,omitempty"`
	Target  *Target `json:"target,omitempty"`
	// Reached reports whether the target is reached; nil without a target, and in a smoke run.
	Reached *bool `json:"reached,omitempty"`
	// PublisherCPU and SubscriberCPU are processor seconds per tick delivered, the latter for all subscribers
	// together.
	PublisherCPU  *Spread `json:"publisher_cpu_s_per_tick,omitempty"`
	SubscriberCPU *Spread `json:"subscriber_cpu_s_per_tick,omitempty"`
	// Detail is additional numbers; the name of each ends with its unit.
	Detail map[string]float64 `json:"detail,omitempty"`

	rows []string // what WriteText writes instead of the columns; nil for the columns
}

// A Target is a bound that a figure should meet.
type Target struct {
	Ratio   bool    `json:"ratio"` // of the ratio; otherwise of the measured value in the figure's unit
	AtLeast bool    `json:"at_least"`
	Value   float64 `json:"value"`
}

func atLeastRatio(v float64) *Target     { return &Target{Ratio: true, AtLeast: true, Value: v} }
func atMostRatio(v float64) *Target      { return &Target{Ratio: true, Value: v} }
func atMost(v float64) *Target           { return &Target{Value: v} }
func atLeast(v float64) *Target          { return &Target{AtLeast: true, Value: v} }
func atMostTime(d time.Duration) *Target { return &Target{Value: d.Seconds()} }
func (t *Target) holds(v float64) bool   { return t.AtLeast == (v > t.Value) || v == t.Value }
func (f *Figure) judge() {
	if f.Target == nil {
		return
	}
	s := f.Measured
	if f.Target.Ratio {
		s = f.Ratio
	}
	if s == nil {
		return
	}
	ok := f.Target.holds(s.Median)
	f.Reached = &ok
}

// columns are the columns of the table, with their widths; a negative width means left-aligned.
var columns = []struct {
	title string
	width int
}{
	{"", -46}, {"measured (range)", 28}, {"limit of the same run", 26}, {"ratio (range)", 20}, {"target", 16}, {"CPU/tick pub + sub", 20},
}

func writeRow(w io.Writer, cells []string) error {
	var b strings.Builder
	for i, c := range columns {
		pad := max(0, abs(c.width)-utf8.RuneCountInString(cells[i]))
		if c.width < 0 {
			b.WriteString(cells[i] + strings.Repeat(" ", pad))
		} else {
			b.WriteString("  " + strings.Repeat(" ", pad) + cells[i])
		}
	}
	_, err := fmt.Fprintln(w, strings.TrimRight(b.String(), " "))
	return err
}

func abs(n int) int { return max(n, -n) }

// WriteHeader writes the column titles of the table.
func WriteHeader(w io.Writer) error {
	cells := make([]string, len(columns))
	for i, c := range columns {
		cells[i] = c.title
	}
	return writeRow(w, cells)
}

// TableWidth is the width of the table, in columns.
const TableWidth = 166

// WriteText writes f as a line of the table.
func (f *Figure) WriteText(w io.Writer) error {
	if f.rows == nil {
		return writeRow(w, f.cells())
	}
	for _, row := range f.rows {
		if _, err := fmt.Fprintln(w, f.Scenario+": "+row); err != nil {
			return err
		}
	}
	return nil
}

// Sentence returns the line of the table that WriteText writes as a sentence, for a terminal on which the table has no room.
func (f *Figure) Sentence() string {
	cells := f.cells()
	text := cells[0] + ": " + cells[1]
	for i, c := range columns[2:] {
		if cell := cells[i+2]; cell != "" {
			title, _, _ := strings.Cut(c.title, " (")
			text += "; " + title + " " + cell
		}
	}
	return text
}

// cells returns the cells of the line of f, one for each column.
func (f *Figure) cells() []string {
	cells := []string{f.Scenario + ": " + f.Name, f.spread(f.Measured), "", "", "", ""}
	if f.Limit != nil {
		cells[2] = f.Against + " " + f.value(f.Limit.Median)
	}
	if f.Ratio != nil {
		cells[3] = spreadText(f.Ratio, ratioText)
	}
	if t := f.Target; t != nil {
		sign, value := "≤", f.value(t.Value)
		if t.AtLeast {
			sign = "≥"
		}
		if t.Ratio {
			value = ratioText(t.Value) + " ×"
		}
		cells[4] = sign + " " + value
		if f.Reached != nil && *f.Reached {
			cells[4] += " yes"
		} else if f.Reached != nil {
			cells[4] += " NO"
		}
	}
	if f.PublisherCPU != nil && f.SubscriberCPU != nil {
		cells[5] = nanosText(f.PublisherCPU.Median) + " + " + nanosText(f.SubscriberCPU.Median) + " ns"
	}
	return cells
}

func (f *Figure) spread(s *Spread) string {
	if s == nil {
		return ""
	}
	return spreadText(s, f.value)
}

func spreadText(s *Spread, text func(float64) string) string {
	if len(s.Runs) < 2 {
		return text(s.Median)
	}
	return fmt.Sprintf("%s (%s–%s)", text(s.Median), text(s.Min), text(s.Max))
}

func ratioText(v float64) string {
	if v >= 10 {
		return strconv.FormatFloat(v, 'f', 1, 64)
	}
	return strconv.FormatFloat(v, 'f', 2, 64)
}

func nanosText(seconds float64) string {
	ns := seconds * 1e9
	if ns < 99.5 {
		return strconv.FormatFloat(ns, 'f', 1, 64)
	}
	return strconv.FormatFloat(ns, 'f', 0, 64)
}

// value formats v for people, with about three digits.
func (f *Figure) value(v float64) string {
	switch f.Unit {
	case Ticks:
		return strconv.FormatFloat(v, 'f', 0, 64)
	case TicksPerSecond:
		return scaled(v, 1000, "", "k", "M", "G") + "/s"
	case Seconds:
		return scaled(v*1e9, 1000, " ns", " µs", " ms", " s")
	case CPUSeconds:
		return nanosText(v) + " ns"
	case Bytes:
		return scaled(v, 1024, " B", " KiB", " MiB", " GiB")
	case Cores:
		return strconv.FormatFloat(v, 'f', 2, 64)
	}
	return strconv.FormatFloat(v, 'g', 3, 64)
}

func scaled(v, step float64, units ...string) string {
	u := 0
	for math.Abs(v) >= step && u < len(units)-1 {
		v /= step
		u++
	}
	decimals := 0
	switch {
	case v == math.Trunc(v) && u == 0:
	case math.Abs(v) < 9.995:
		decimals = 2
	case math.Abs(v) < 99.95:
		decimals = 1
	}
	return strconv.FormatFloat(v, 'f', decimals, 64) + units[u]
}
