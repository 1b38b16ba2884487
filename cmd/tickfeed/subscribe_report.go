package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"slices"

	"time"

	"tickfeed/feed"
	"tickfeed/feed/files/textfile"
	"tickfeed/feed/nouns"
	"tickfeed/subscriber"
)

// A moment holds the values of one row of statistics.
type moment struct {
	at         time.Time
	since      time.Duration // since the start
	span       time.Duration // duration that tally covers
	lines      int           // number of lines wanted
	live       int           // at the end, how many were live when the run ended
	lag        lags          // at the end only max, the highest of the run
	reconnects int           // so far
	tally      *tally        // ticks in span
}

// The lags are the numbers by which lines are behind the newest number that any of them knows of.
type lags struct{ max, median, sum uint64 }

// lagOf compares lines. All heads must be read before all nexts, so that a line read later does not appear to be ahead of
// another. lineages holds the lineage of the session of each head: a disconnected line may be behind in a parent session.
// A line that has no session yet has no lag.
func lagOf(heads, nexts []subscriber.Status, lineages map[feed.SessionID]feed.Lineage) (l lags) {
	newest := make(map[feed.SessionID]uint64)
	for _, s := range heads {
		newest[s.Session] = max(newest[s.Session], s.Head)
	}
	for session, lineage := range lineages {
		for _, ancestor := range lineage {
			newest[ancestor.ID] = max(newest[ancestor.ID], newest[session])
		}
	}
	var behind []uint64
	for _, s := range nexts {
		if s.Session != 0 {
			behind = append(behind, max(newest[s.Session], s.Next)-s.Next)
		}
	}
	if len(behind) == 0 {
		return lags{}
	}
	slices.Sort(behind)
	for _, n := range behind {
		l.sum += n
	}
	l.max, l.median = behind[len(behind)-1], behind[(len(behind)-1)/2]
	return l
}

// isLive reports whether a line in state s has received everything that its publisher has sent.
func isLive(s subscriber.ConnState) bool { return s == subscriber.Live || s == subscriber.Ended }

// A report writes statistics on standard output: lines of at most columns columns, or JSON.
type report struct {
	out   io.Writer
	json  bool
	times textfile.Times
	rows  int // rows of text written
}

// headerRows is how many rows of text follow a header.
const headerRows = 20

// second writes one row.
func (r *report) second(m *moment) error {
	if r.json {
		return r.line(r.figures("second", m))
	}
	var b bytes.Buffer
	live := fmt.Sprintf("%d/%d", m.live, m.lines)
	width := max(len("live"), 2*len(fmt.Sprint(m.lines))+1)
	if r.rows%headerRows == 0 {
		fmt.Fprintf(&b, "%6s %*s %7s %13s %17s %17s\n", "", width, "", "", "lag in ticks", "latency (publish)", "latency (event)")
		fmt.Fprintf(&b, "%6s %*s %7s %6s %6s %5s %5s %5s %5s %5s %5s\n", "time", width, "live", "ticks/s", "max", "median",
			"p50", "p99", "p99.9", "p50", "p99", "p99.9")
	}
	r.rows++
	fmt.Fprintf(&b, "%6s %*s %7s %6s %6s", fmt.Sprintf("%.0fs", m.since.Seconds()), width, live, formatCount(rounded(perSecond(m.tally.ticks, m.span))),
		formatCount(float64(m.lag.max)), formatCount(float64(m.lag.median)))
	for _, l := range []*latency{&m.tally.publish, &m.tally.event} {
		for _, percentile := range []float64{50, 99, 99.9} {
			fmt.Fprintf(&b, " %5s", latencyText(l, l.at(percentile)))
		}
	}
	b.WriteByte('\n')
	_, err := r.out.Write(b.Bytes())
	return output(err)
}

// latencyText formats d, a latency of l, in at most five columns.
func latencyText(l *latency, d time.Duration) string {
	switch {
	case l.count() == 0:
		return "-"
	case d >= time.Hour:
		return fmt.Sprintf("%.3gh", d.Hours())
	case d >= 10*time.Minute:
		return fmt.Sprintf("%.3gm", d.Minutes())
	}
	return formatDuration(d)
}

func perSecond(n uint64, span time.Duration) float64 {
	if span <= 0 {
		return 0
	}
	return float64(n) / span.Seconds()
}

// rounded drops the decimals that formatCount would show of a number below 1000.
func rounded(v float64) float64 { return float64(int64(v + 0.5)) }

// A percentile is a percentile with its name in text.
type percentile struct {
	at   float64
	name string
}

// The percentiles at the end, without and with --latency.
var (
	fewPercentiles  = []percentile{{50, "p50"}, {99, "p99"}, {99.9, "p99.9"}}
	manyPercentiles = []percentile{{50, "p50"}, {75, "p75"}, {90, "p90"}, {95, "p95"}, {99, "p99"}, {99.5, "p99.5"}, {99.9, "p99.9"},
		{99.99, "p99.99"}, {99.999, "p99.999"}}
)

// total writes the totals: m is for the whole run, account is the sum over all lines.
func (r *report) total(m *moment, account feed.Totals, percentiles []percentile) error {
	t := m.tally
	if r.json {
		f := r.figures("total", m)
		f.Account = (*accountFigures)(&account)
		f.PublishLatency.Percentiles, f.EventLatency.Percentiles = allOf(&t.publish, percentiles), allOf(&t.event, percentiles)
		return r.line(f)
	}
	var b bytes.Buffer
	row := func(name, publish, event string) { fmt.Fprintf(&b, "  %-12s %18s %18s\n", name, publish, event) }
	count := func(name string, n uint64) { fmt.Fprintf(&b, "  %-12s %18s\n", name, nouns.Thousands(n)) }
	fmt.Fprintf(&b, "\n%s in %s: %s, %s\n", nouns.Count(m.lines, "connection"), formatDuration(m.since), nouns.Count(t.ticks, "tick"),
		formatRate(rounded(perSecond(t.ticks, m.span))))
	row("latency from", "publish time", "event time")
	for _, p := range percentiles {
		row(p.name, latencyText(&t.publish, t.publish.at(p.at)), latencyText(&t.event, t.event.at(p.at)))
	}
	row("max", latencyText(&t.publish, t.publish.max()), latencyText(&t.event, t.event.max()))
	row("ticks", nouns.Thousands(uint64(t.publish.count())), nouns.Thousands(uint64(t.event.count())))
	for _, text := range remarks(t) {
		fmt.Fprintln(&b, wrap("  "+text, columns, "    "))
	}
	b.WriteString("all connections\n")
	count("delivered", account.Delivered)
	note := ""
	if account.NotAsked > 0 {
		note = "  before the start, or of other symbols"
	}
	fmt.Fprintf(&b, "  %-12s %18s%s\n", "not asked", nouns.Thousands(account.NotAsked), note)
	count("withheld", account.Withheld)
	count("lost", account.Lost)
	if account.Expired > 0 {
		count("  expired", account.Expired)
	}
	count("disowned", account.Disowned)
	count("reconnects", uint64(m.reconnects))
	count("max lag", m.lag.max)
	_, err := r.out.Write(b.Bytes())
	return output(err)
}

// remarks describes the ticks that have no latency, or a corrected one.
func remarks(t *tally) (out []string) {
	remark := func(n uint64, format string, args ...any) {
		if n > 0 {
			out = append(out, nouns.Count(n, "tick")+" "+fmt.Sprintf(format, args...))
		}
	}
	remark(t.history, "without latency: published before the connection was live")
	remark(t.foreign, "without latency from event time: it is not within %s of the publish time", formatDuration(nearEvent))
	remark(t.undated, "without latency from event time: they have none")
	for _, l := range []struct {
		from string
		*latency
	}{{"publish", &t.publish}, {"event", &t.event}} {
		remark(uint64(l.early), "came before their %s time, by up to %s: two clocks differ; their latency counts as 0", l.from, formatDuration(l.earliest))
	}
	return out
}

// figures is one JSON object of --stats --json. Durations are in nanoseconds.
type figures struct {
	Type           string          `json:"type"` // second or total
	Time           json.RawMessage `json:"ts"`
	Elapsed        time.Duration   `json:"elapsed_ns"`
	Connections    int             `json:"connections"`
	Live           int             `json:"live"`
	Ticks          uint64          `json:"ticks"`
	Rate           float64         `json:"ticks_per_second"`
	LagMax         uint64          `json:"lag_max"`
	LagMedian      uint64          `json:"lag_median"`
	LagSum         uint64          `json:"lag_sum"`
	Reconnects     int             `json:"reconnects"` // so far
	PublishLatency latencyFigures  `json:"publish_latency"`
	EventLatency   latencyFigures  `json:"event_latency"`
	History        uint64          `json:"ticks_before_live"`
	Foreign        uint64          `json:"ticks_of_other_market_time"`
	Undated        uint64          `json:"ticks_without_event_time"`
	Account        *accountFigures `json:"account,omitempty"`
}

// accountFigures is feed.Totals as JSON.
type accountFigures struct {
	Delivered uint64 `json:"delivered"`
	NotAsked  uint64 `json:"not_asked"`
	Withheld  uint64 `json:"withheld"`
	Lost      uint64 `json:"lost"`
	Expired   uint64 `json:"expired"`
	Disowned  uint64 `json:"disowned"`
}

// latencyFigures is a latency as JSON. Values are null if there are no ticks.
type latencyFigures struct {
	Ticks       int64              `json:"ticks"`
	P50         *time.Duration     `json:"p50_ns"`
	P99         *time.Duration     `json:"p99_ns"`
	P999        *time.Duration     `json:"p999_ns"`
	Max         *time.Duration     `json:"max_ns"`
	Early       int64              `json:"ticks_early"`
	Earliest    time.Duration      `json:"earliest_ns"`
	Percentiles []percentileFigure `json:"percentiles,omitempty"`
}

type percentileFigure struct {
	Percentile float64       `json:"percentile"`
	Latency    time.Duration `json:"latency_ns"`
}

func (r *report) figures(kind string, m *moment) *figures {
	t := m.tally
	return &figures{
		Type: kind, Time: r.times.AppendJSON(nil, m.at.UnixNano()), Elapsed: m.since, Connections: m.lines, Live: m.live,
		Ticks: t.ticks, Rate: rounded(perSecond(t.ticks, m.span)), LagMax: m.lag.max, LagMedian: m.lag.median, LagSum: m.lag.sum,
		Reconnects: m.reconnects, PublishLatency: latencyFiguresOf(&t.publish), EventLatency: latencyFiguresOf(&t.event),
		History: t.history, Foreign: t.foreign, Undated: t.undated,
	}
}

func latencyFiguresOf(l *latency) latencyFigures {
	f := latencyFigures{Ticks: l.count(), Early: l.early, Earliest: l.earliest}
	if f.Ticks > 0 {
		p50, p99, p999, greatest := l.at(50), l.at(99), l.at(99.9), l.max()
		f.P50, f.P99, f.P999, f.Max = &p50, &p99, &p999, &greatest
	}
	return f
}

func allOf(l *latency, percentiles []percentile) (out []percentileFigure) {
	if l.count() > 0 {
		for _, p := range percentiles {
			out = append(out, percentileFigure{p.at, l.at(p.at)})
		}
	}
	return out
}

func (r *report) line(f *figures) error {
	b, err := json.Marshal(f)
	if err != nil {
		return err
	}
	_, err = r.out.Write(append(b, '\n'))
	return output(err)
}

// hgrmTicks is the number of values in a percentile distribution for each halving of the distance to 100 %, as in other
// implementations of HdrHistogram.
const hgrmTicks = 5

// hgrm formats l as a percentile distribution in microseconds for the HdrHistogram plotter.
func hgrm(l *latency, from string) []byte {
	var b bytes.Buffer
	_, _ = l.values.PercentilesPrint(&b, hgrmTicks, float64(time.Microsecond)) // writes to a buffer do not fail
	fmt.Fprintf(&b, "#[Latency from %s time in microseconds; counted as 0: %s before that time]\n", from, nouns.Count(int(l.early), "tick"))
	return b.Bytes()
}
