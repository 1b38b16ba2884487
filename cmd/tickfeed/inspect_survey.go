package main

import (
	"context"
	"fmt"
	"math"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"tickfeed/codec"
	"tickfeed/codec/recording/survey"
	"tickfeed/feed"
	"tickfeed/feed/nouns"
)

// showSurvey prints a survey of f that fits on one screen.
func (p *program) showSurvey(ctx context.Context, o *inspectOptions, f *openRecording, out *lines, read *atomic.Int64) (bool, error) {
	r, err := f.Reader()
	if err != nil {
		return false, err
	}
	s, err := survey.Take(ctx, r, o.by, read)
	if err != nil {
		return false, err
	}
	if o.json {
		out.json(surveyJSON(f, s))
	} else {
		surveyText(out, f, s)
	}
	return s.Sound(), nil
}

// Bounds of the survey for people.
const (
	busiest     = 8
	linesShown  = 6
	shownDamage = 8
	chartWidth  = 60 // width of a chart that is not shown on a terminal

	rowIndent = 15 // column in which the text of a row begins
	eachWidth = 14 // columns for the text after a chart
)

// surveyText prints the survey of f for people.
func surveyText(out *lines, f *openRecording, s *survey.Survey) {
	row := func(name, format string, args ...any) {
		c := plain
		if name == "damage" && !s.Sound() {
			c = red
		}
		out.paintf(c, strings.Repeat(" ", rowIndent), "  %-12s %s\n", name, oneLine(fmt.Sprintf(format, args...)))
	}
	size := formatBytes(s.Size)
	if f.Compressed() {
		size = fmt.Sprintf("%s compressed to %s", size, formatBytes(f.FileSize()))
	}
	if f.imported {
		size = "imported, " + size
	}
	closed := "closed in order, with an index"
	if !s.Closed {
		closed = notClosed
	}
	out.printf("%s: %s, %s\n", f.title(), size, closed)
	sessionRows(row, s)
	told := s.Withheld + s.Expired + s.Damaged
	numbers := fmt.Sprintf("%s without a tick", nouns.Thousands(s.NotAsked+told+s.Missing))
	if s.NotAsked+told+s.Missing == 0 {
		numbers = "each has its tick"
	}
	row("numbers", "%s", numbers)
	for _, x := range []struct {
		n    uint64
		what string
	}{
		{s.NotAsked, "not asked for: the filter leaves them out"},
		{s.Withheld, "withheld: the recorder was too slow"},
		{s.Expired, "gone: " + goneReason(codec.GoneExpired.String())},
		{s.Damaged, "gone: " + goneReason(codec.GoneDamaged.String())},
		{s.Missing, "missing: the file is damaged"},
		{s.Disowned, "disowned: a later session begins before them"},
	} {
		if x.n > 0 {
			row("", "%s %s", nouns.Thousands(x.n), x.what)
		}
	}
	row("ticks", "%s", kinds(s))
	row("instruments", "%d", named(s))
	if text := busiestText(s); text != "" {
		row("busiest", "%s", text)
	}
	if s.Packets > 0 {
		row("published", "%s", span(s.FirstTime, s.LastTime))
	}
	if s.FirstEvent != 0 || s.LastEvent != 0 {
		row("events", "%s", span(s.FirstEvent, s.LastEvent))
	}
	rateRows(row, s, out.screen.width)
	if s.Ticks > 0 {
		text := fmt.Sprintf("%.1f bytes a tick, in %s of %s on average", float64(s.Bytes)/float64(s.Ticks), nouns.Count(s.Packets, "packet"), formatBytes(s.Bytes/int64(s.Packets)))
		if priced := s.Kinds[feed.KindQuote] + s.Kinds[feed.KindTrade]; priced > 0 {
			text += fmt.Sprintf("; %.1f %% of quotes and trades in a fixed-width pattern", 100*float64(s.Fixed)/float64(priced))
		}
		row("size", "%s", text)
	}
	damageRows(row, s)
}

// sessionRows prints the sessions.
func sessionRows(row func(string, string, ...any), s *survey.Survey) {
	for i, l := range s.Lines {
		if i == linesShown && len(s.Lines)+s.MoreLines > linesShown+1 {
			row("", "and %s more", nouns.Count(len(s.Lines)+s.MoreLines-linesShown, "session"))
			break
		}
		h := l.Header
		text := fmt.Sprintf("%v, %s", h.Lineage.Current().ID, h.Mode.String())
		if h.Origin != 0 {
			text += fmt.Sprintf(" of %v", h.Origin)
		}
		row("session", "%s: numbers %v", text, l.Range)
		var before codec.FileHeader
		if i > 0 {
			before = *s.Lines[i-1].Header
		}
		if h.Source != before.Source {
			row("source", "%s", h.Source)
		}
		if !h.Filter.All() && !slices.Equal(h.Filter, before.Filter) {
			text := strings.Join(h.Filter[:min(len(h.Filter), 12)], ", ")
			if more := len(h.Filter) - 12; more > 0 {
				text += fmt.Sprintf(" and %d more", more)
			}
			row("filter", "only %s", text)
		}
	}
	lineage := s.Lines[len(s.Lines)-1].Header.Lineage
	if n := len(lineage); n > 1 {
		var chain []string
		for _, session := range lineage[max(0, n-4):] {
			chain = append(chain, fmt.Sprintf("%v from %d", session.ID, session.First))
		}
		if n > 4 {
			chain = append([]string{fmt.Sprintf("%d before", n-4)}, chain...)
		}
		row("lineage", "%s", strings.Join(chain, ", "))
	}
}

func kinds(s *survey.Survey) string {
	var parts []string
	for k, n := range s.Kinds {
		if n > 0 && feed.Kind(k).Known() {
			parts = append(parts, nouns.Count(n, feed.Kind(k).String()))
		}
	}
	if s.Unknown > 0 {
		parts = append(parts, nouns.Thousands(s.Unknown)+" of kinds that this version does not know")
	}
	if len(parts) == 0 {
		return "none"
	}
	return nouns.Thousands(s.Ticks) + ": " + strings.Join(parts, ", ")
}

// named returns the number of defined instruments.
func named(s *survey.Survey) int {
	n := len(s.Instruments)
	for _, c := range s.Instruments {
		if c.Symbol == "" {
			n--
		}
	}
	return n
}

func busiestText(s *survey.Survey) string {
	var parts []string
	for _, c := range s.Instruments {
		if len(parts) == busiest || c.Ticks == 0 {
			break
		}
		parts = append(parts, fmt.Sprintf("%s %s", countName(c), nouns.Thousands(c.Ticks)))
	}
	return strings.Join(parts, ", ")
}

func countName(c survey.Count) string {
	if c.Symbol == "" {
		return "(not defined)"
	}
	return (&feed.Definition{Symbol: c.Symbol, Venue: c.Venue}).Name()
}

// span formats two times and the time between them.
func span(from, to int64) string {
	first, last := eventTime(from), eventTime(to)
	if strings.HasPrefix(last, first[:11]) {
		last = last[11:]
	}
	return fmt.Sprintf("%s to %s (%s)", first, last, formatDuration(time.Duration(to-from)))
}

// rateRows prints the rate over time.
func rateRows(row func(string, string, ...any), s *survey.Survey, columns int) {
	if s.Ticks == 0 || s.Last <= s.First {
		return
	}
	seconds := time.Duration(s.Last - s.First).Seconds()
	average := ""
	if seconds >= 1 {
		average = formatRate(float64(s.Ticks)/seconds) + " on average, "
	}
	row("rate", "%sat most %s in a second, by %v time", average, formatCount(float64(s.Peak)), s.Clock)
	width := chartWidth
	if columns > 0 {
		width = columns - rowIndent - eachWidth
	}
	width = min(width, len(s.Rate.Ticks))
	if width > 1 {
		each := time.Duration(float64(s.Rate.Width) * float64(len(s.Rate.Ticks)) / float64(width))
		row("", "%s  %s each", chart(s.Rate.Over(width)), formatDuration(each))
	}
}

// bars are the heights of the bars in a chart, for values above 0.
var bars = []rune("▁▂▃▄▅▆▇█")

// chart draws values as bars; 0 is a blank.
func chart(values []float64) string {
	most := 0.0
	for _, v := range values {
		most = max(most, v)
	}
	var b strings.Builder
	for _, v := range values {
		if v <= 0 || most == 0 {
			b.WriteByte(' ')
			continue
		}
		b.WriteRune(bars[min(len(bars)-1, int(math.Ceil(v/most*float64(len(bars))))-1)])
	}
	return b.String()
}

func damageRows(row func(string, string, ...any), s *survey.Survey) {
	if s.Sound() {
		row("damage", "none, all checksums hold")
		return
	}
	if s.Malformed > 0 {
		row("damage", "%s with a valid checksum and invalid content", nouns.Count(s.Malformed, "packet"))
	}
	for i, d := range s.Damages {
		if i == shownDamage && len(s.Damages)+s.MoreDamages > shownDamage+1 {
			row("", "and %s more", nouns.Count(len(s.Damages)+s.MoreDamages-shownDamage, "place"))
			break
		}
		name := "damage"
		if i > 0 {
			name = ""
		}
		row(name, "%s", damageOf(d))
	}
}

// jsonSurvey is a survey as JSON. Times are nanoseconds since the Unix epoch, ranges [from, to).
type jsonSurvey struct {
	File       string `json:"file"`
	FileBytes  int64  `json:"file_bytes"`
	Bytes      int64  `json:"bytes"`
	Compressed bool   `json:"compressed"`
	Imported   bool   `json:"imported"`
	Closed     bool   `json:"closed"`
	Index      string `json:"index"` // present, or rebuilt if the file has none
	Sound      bool   `json:"sound"`

	Sessions     []jsonLine        `json:"sessions"`
	MoreSessions int               `json:"more_sessions,omitempty"`
	Ticks        uint64            `json:"ticks"`
	Kinds        map[string]uint64 `json:"kinds"`
	Unknown      uint64            `json:"unknown"`
	NotAsked     uint64            `json:"not_asked"`
	Withheld     uint64            `json:"withheld"`
	Expired      uint64            `json:"expired"`
	Damaged      uint64            `json:"damaged"`
	Missing      uint64            `json:"missing"`
	Disowned     uint64            `json:"disowned"`

	Packets    uint64  `json:"packets"`
	Snapshots  int     `json:"snapshots"`
	TickBytes  float64 `json:"bytes_per_tick"`
	FixedWidth float64 `json:"fixed_width"` // share of quotes and trades

	FirstPublish int64 `json:"first_ts_publish"`
	LastPublish  int64 `json:"last_ts_publish"`
	FirstEvent   int64 `json:"first_ts_event"`
	LastEvent    int64 `json:"last_ts_event"`

	Rate        jsonRate         `json:"rate"`
	Instruments []jsonInstrument `json:"instruments"`
	Damages     []jsonDamage     `json:"damages"`
	MoreDamages int              `json:"more_damages,omitempty"`
	Malformed   uint64           `json:"malformed_packets"`
}

type jsonLine struct {
	Session feed.SessionID `json:"session"`
	Mode    string         `json:"mode"`
	Lineage feed.Lineage   `json:"lineage"`
	Origin  string         `json:"origin,omitempty"`
	Source  string         `json:"source"`
	Filter  []string       `json:"filter"`
	Range   feed.Range     `json:"range"`
	Ticks   uint64         `json:"ticks"`
	Created int64          `json:"created"`
}

type jsonRate struct {
	Clock      string   `json:"clock"` // clock of the times: market or publish
	PerSecond  float64  `json:"per_second"`
	Peak       uint64   `json:"peak_per_second"`
	Start      int64    `json:"start"`
	IntervalNS int64    `json:"interval_ns"`
	Ticks      []uint64 `json:"ticks"`
}

type jsonInstrument struct {
	Symbol string `json:"symbol"`
	Venue  string `json:"venue"`
	Ticks  uint64 `json:"ticks"`
}

// jsonIntervals bounds the number of rate intervals in JSON.
const jsonIntervals = 240

func surveyJSON(f *openRecording, s *survey.Survey) *jsonSurvey {
	j := &jsonSurvey{
		File: f.name, FileBytes: f.FileSize(), Bytes: s.Size, Compressed: f.Compressed(), Imported: f.imported,
		Closed: s.Closed, Index: "present", Sound: s.Sound(), Sessions: []jsonLine{}, MoreSessions: s.MoreLines,
		Ticks: s.Ticks, Kinds: make(map[string]uint64), Unknown: s.Unknown,
		NotAsked: s.NotAsked, Withheld: s.Withheld, Expired: s.Expired, Damaged: s.Damaged, Missing: s.Missing, Disowned: s.Disowned,
		Packets: s.Packets, Snapshots: s.Snapshots, FirstPublish: s.FirstTime, LastPublish: s.LastTime,
		FirstEvent: s.FirstEvent, LastEvent: s.LastEvent,
		Instruments: []jsonInstrument{}, Damages: []jsonDamage{}, MoreDamages: s.MoreDamages, Malformed: s.Malformed,
	}
	if !s.Closed {
		j.Index = "rebuilt"
	}
	for _, l := range s.Lines {
		h := l.Header
		line := jsonLine{
			Session: h.Lineage.Current().ID, Mode: h.Mode.String(), Lineage: h.Lineage, Source: h.Source,
			Filter: append([]string{}, h.Filter...), Range: l.Range, Ticks: l.Ticks, Created: h.Created,
		}
		if h.Origin != 0 {
			line.Origin = h.Origin.String()
		}
		j.Sessions = append(j.Sessions, line)
	}
	for k, n := range s.Kinds {
		if n > 0 && feed.Kind(k).Known() {
			j.Kinds[feed.Kind(k).String()] = n
		}
	}
	if s.Ticks > 0 {
		j.TickBytes = float64(s.Bytes) / float64(s.Ticks)
	}
	if priced := s.Kinds[feed.KindQuote] + s.Kinds[feed.KindTrade]; priced > 0 {
		j.FixedWidth = float64(s.Fixed) / float64(priced)
	}
	j.Rate = jsonRate{Clock: s.Clock.String(), Peak: s.Peak, Start: s.Rate.Start, Ticks: []uint64{}}
	if s.Last > s.First {
		j.Rate.PerSecond = float64(s.Ticks) / time.Duration(s.Last-s.First).Seconds()
	}
	if n := len(s.Rate.Ticks); n > 0 {
		per := (n + jsonIntervals - 1) / jsonIntervals
		j.Rate.IntervalNS = int64(s.Rate.Width) * int64(per)
		for i := 0; i < n; i += per {
			sum := uint64(0)
			for _, ticks := range s.Rate.Ticks[i:min(n, i+per)] {
				sum += ticks
			}
			j.Rate.Ticks = append(j.Rate.Ticks, sum)
		}
	}
	for _, c := range s.Instruments {
		j.Instruments = append(j.Instruments, jsonInstrument{c.Symbol, c.Venue, c.Ticks})
	}
	for _, d := range s.Damages {
		j.Damages = append(j.Damages, damageOf(d))
	}
	return j
}
