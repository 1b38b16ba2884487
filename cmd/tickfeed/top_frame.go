package main

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"tickfeed/cmd/ops"
	"tickfeed/feed/nouns"
)

// A topSample is what a publisher said about itself at one moment.
type topSample struct {
	command  string // publish or replay
	overview ops.Overview
	conns    []ops.Conn
}

// A topView is what the person at the terminal has chosen to see.
type topView struct {
	order   int    // index of topOrders
	filter  string // shows the connections with this text in their name, user, address or instruments
	typing  bool   // the filter is being typed
	chosen  uint64 // number of a connection; 0 for none
	details bool   // of the chosen connection
	kicking bool   // the kick of the chosen connection waits for a confirmation
	note    string // the outcome of the last order
	problem string // why there is no newer sample
}

// A topFrame is what top shows, computed of two samples; it is also the output of --json.
type topFrame struct {
	Command     string          `json:"command"`
	Rate        float64         `json:"ticks_per_second"`
	SentRate    float64         `json:"sent_bytes_per_second"`
	Behind      int             `json:"behind"` // connections with a lag of more than a second
	Overview    ops.Overview    `json:"overview"`
	Conns       []topConn       `json:"connections"` // those that the view shows, in its order
	Instruments []topInstrument `json:"instruments"`
}

// A topConn is a connection, with the values that are computed from the previous sample.
type topConn struct {
	ops.Conn
	SentRate float64       `json:"sent_bytes_per_second"`
	Growth   float64       `json:"lag_growth_per_second"` // of LagTicks; negative if it catches up
	Fate     topFate       `json:"fate,omitempty"`
	In       time.Duration `json:"fate_in_ns,omitempty"` // when, if it keeps falling behind like this
}

// A topFate is the fate of a subscriber that keeps falling behind.
type topFate string

const (
	fateNone  topFate = ""           // it does not fall behind, or nothing is known of it yet
	fateLoss  topFate = "loss"       // numbers that it was not sent are no longer kept
	fateSkip  topFate = "skip"       // its policy withholds numbers
	fateCut   topFate = "disconnect" // its policy disconnects it
	fateNever topFate = "never"      // it falls behind, but everything is kept
)

// A topInstrument is an instrument and its rate.
type topInstrument struct {
	Name  string   `json:"name"`
	Rate  float64  `json:"ticks_per_second"`
	Share float64  `json:"share"` // of all ticks, from 0 to 1
	Ticks []uint32 `json:"ticks"` // by slots of the overview's activity
}

// A topOrder is an order of connections.
type topOrder struct {
	name, server string // server is the value of ?sort= of /connz that comes closest
	compare      func(a, b *topConn) int
}

var topOrders = []topOrder{
	{"lag", "lag", func(a, b *topConn) int {
		return cmp.Or(cmp.Compare(b.LagTicks, a.LagTicks), cmp.Compare(b.LagTime, a.LagTime))
	}},
	{"time to loss", "lag", func(a, b *topConn) int {
		return cmp.Or(cmp.Compare(a.urgency(), b.urgency()), cmp.Compare(b.LagTicks, a.LagTicks))
	}},
	{"bytes", "bytes", func(a, b *topConn) int {
		return cmp.Or(cmp.Compare(b.SentRate, a.SentRate), cmp.Compare(b.Bytes, a.Bytes))
	}},
	{"name", "name", func(a, b *topConn) int { return strings.Compare(a.Name, b.Name) }},
	{"newest", "since", func(a, b *topConn) int { return cmp.Compare(b.Number, a.Number) }},
}

// urgency is less for connections that lose something sooner.
func (c *topConn) urgency() time.Duration {
	switch c.Fate {
	case fateNone, fateNever:
		return 1<<63 - 1
	}
	return c.In
}

// compose computes a frame of now and the sample before it, which may be nil, as v chooses.
func compose(now, before *topSample, v *topView) *topFrame {
	f := &topFrame{Command: now.command, Overview: now.overview, Conns: []topConn{}, Instruments: []topInstrument{}}
	o := &f.Overview
	activity := &o.Activity
	seconds := activity.Slot.Seconds() * float64(len(activity.Ticks))
	total := uint64(0)
	for _, n := range activity.Ticks {
		total += n
	}
	if seconds > 0 {
		f.Rate = float64(total) / seconds
	}
	elapsed := 0.0
	old := map[uint64]*ops.Conn{}
	if before != nil && before.overview.Session == o.Session {
		elapsed = o.Now.Sub(before.overview.Now).Seconds()
		for i := range before.conns {
			old[before.conns[i].Number] = &before.conns[i]
		}
	}
	if elapsed > 0 {
		f.Rate = (float64(o.Head) - float64(before.overview.Head)) / elapsed
		f.SentRate = max(0, (float64(o.Sent)-float64(before.overview.Sent))/elapsed)
	}
	for i := range now.conns {
		c := topConn{Conn: now.conns[i]}
		if was := old[c.Number]; was != nil && elapsed > 0 {
			c.SentRate = max(0, (float64(c.Bytes)-float64(was.Bytes))/elapsed)
			c.Growth = (float64(c.LagTicks) - float64(was.LagTicks)) / elapsed
			c.Fate, c.In = fate(&c, was, o, elapsed)
		}
		if c.LagTime > lagTold {
			f.Behind++
		}
		if v.shows(&c) {
			f.Conns = append(f.Conns, c)
		}
	}
	order := topOrders[v.order].compare
	slices.SortStableFunc(f.Conns, func(a, b topConn) int { return cmp.Or(order(&a, &b), cmp.Compare(a.Number, b.Number)) })
	for _, b := range activity.Instruments {
		f.Instruments = append(f.Instruments, topInstrument{b.Name, float64(b.Total) / seconds, float64(b.Total) / float64(max(1, total)), b.Ticks})
	}
	return f
}

// shows reports whether the filter of the view matches c.
func (v *topView) shows(c *topConn) bool {
	return v.filter == "" || strings.Contains(strings.ToLower(c.Name+" "+c.User+" "+c.Address+" "+strings.Join(c.Filter, ",")), strings.ToLower(v.filter))
}

// fate returns what awaits c, which elapsed seconds ago was as was says, and when.
func fate(c *topConn, was *ops.Conn, o *ops.Overview, elapsed float64) (topFate, time.Duration) {
	if c.LagTime < lagFelt {
		return fateNone, 0
	}
	after := func(room, speed float64) time.Duration {
		return time.Duration(max(0, min(room/speed, maxFate.Seconds())) * float64(time.Second))
	}
	if c.Policy == "latest" || c.Policy == "disconnect" {
		growth := (c.LagTime - was.LagTime).Seconds() / elapsed
		if growth <= 0 {
			return fateNone, 0
		}
		f := fateSkip
		if c.Policy == "disconnect" {
			f = fateCut
		}
		return f, after((c.MaxLag - c.LagTime).Seconds(), growth)
	}
	if c.Growth <= 0 {
		return fateNone, 0
	}
	f, in := fateNever, maxFate
	if full := o.Kept.Full; full > 0 { // once it is, the tail follows the head at its pace
		f, in = fateLoss, after(float64(o.Head-o.Tail)/full-float64(c.LagTicks), c.Growth)
	}
	if growth := (c.LagTime - was.LagTime).Seconds() / elapsed; o.Kept.For > 0 && growth > 0 {
		f, in = fateLoss, min(in, after((o.Kept.For-c.LagTime).Seconds(), growth))
	}
	return f, in
}

// maxFate is the longest time that is computed for a lag that grows very slowly.
const maxFate = 100 * 24 * time.Hour

// A topLine is a line of a frame.
type topLine struct {
	text   string
	colour colour
}

// lines returns the frame as lines of at most width columns. height is how many there are at most; 0 for as many as the frame
// has.
func (f *topFrame) lines(width, height int, v *topView) []topLine {
	var page []topLine
	add := func(c colour, format string, args ...any) {
		page = append(page, topLine{fmt.Sprintf(format, args...), c})
	}
	say := func(c colour, format string, args ...any) {
		page = append(page, wrapped(c, width, fmt.Sprintf(format, args...))...)
	}
	f.head(width, say)
	foot := v.foot(width)
	if most := max(1, height/3); height > 0 && len(foot) > most {
		foot = foot[len(foot)-most:]
	}
	if v.details {
		add(plain, "")
		f.detail(v, say)
	} else {
		rows := 1 << 30
		if height > 0 {
			rows = max(2, height-len(page)-len(foot)-4) // two headings, and two blank lines
		}
		busy := min(len(f.Instruments), rows/3)
		conns := min(len(f.Conns), rows-busy)
		busy = min(len(f.Instruments), rows-conns)
		if height == 0 {
			busy = min(len(f.Instruments), onceInstruments)
		}
		add(plain, "")
		f.connRows(width, conns, v, add)
		add(plain, "")
		f.instrumentRows(width, busy, add)
	}
	if height > 0 {
		page = page[:min(len(page), max(0, height-len(foot)))]
		for len(page)+len(foot) < height {
			add(plain, "")
		}
		page = append(page, foot...)
	}
	for i := range page {
		page[i].text = cut(oneLine(printable(page[i].text)), width)
	}
	return page
}

// wrapped returns text as lines of at most width columns, where that is possible; continuation lines are indented as the text of a row of
// the details is, or by two columns.
func wrapped(c colour, width int, text string) (lines []topLine) {
	indent := "  "
	if strings.HasPrefix(text, indent) {
		indent = strings.Repeat(" ", detailIndent)
	}
	for line := range strings.SplitSeq(wrap(oneLine(printable(text)), width, indent), "\n") {
		lines = append(lines, topLine{line, c})
	}
	return lines
}

// onceInstruments is how many instruments a frame without a height shows.
const onceInstruments = 10

// head adds the lines about the publisher as a whole.
func (f *topFrame) head(width int, add func(colour, string, ...any)) {
	o := &f.Overview
	up := ""
	if !o.Started.IsZero() {
		up = "up " + formatDuration(o.Now.Sub(o.Started).Round(time.Second))
	}
	left := f.Command + "  " + o.Source
	left = shorten(oneLine(printable(left)), width-cells(up)-1)
	add(bold, "%s%*s", left, max(1, width-cells(left)), up)
	line := fmt.Sprintf("head %s   %s ticks/s", nouns.Thousands(o.Head), formatCount(f.Rate))
	keeps := fmt.Sprintf("   memory %s", formatBytes(o.Memory))
	if o.Journal > 0 {
		keeps += "   journal " + formatBytes(o.Journal)
	}
	if room := width - cells(line) - cells(keeps) - 1; room >= 8 {
		line += " " + chart(fold(o.Activity.Ticks, room))
	}
	add(plain, "%s%s", line, keeps)
	text := nouns.Count(o.Subscribers, "subscriber")
	for _, part := range []struct {
		n    int
		what string
	}{{f.Behind, "behind"}, {o.Missing, "missing"}, {o.Handshakes, "logging in"}} {
		if part.n > 0 {
			text += fmt.Sprintf(", %d %s", part.n, part.what)
		}
	}
	add(plain, "%s   sent %s/s", text, formatBytes(int64(f.SentRate)))
	for _, line := range recoveries(o, width) {
		add(plain, "%s", line)
	}
	switch {
	case o.Disk != "":
		add(red, "PUBLISHING WAITS: %s", o.Disk)
	case o.Draining:
		add(yellow, "DRAINING: no client is admitted, and the process then ends")
	case o.Ended:
		add(yellow, "the source has ended")
	case o.Paused != "":
		add(yellow, "%s", o.Paused)
	}
	for i, a := range o.Absent[:min(len(o.Absent), o.Missing)] {
		if i == shownAbsent {
			break
		}
		rest := fmt.Sprintf(" from %s, at %s", a.Address, nouns.Thousands(a.Position))
		add(yellow, "missing: %s%s", shorten(oneLine(printable(a.Name)), max(leastName, width-len("missing: ")-cells(rest))), rest)
	}
}

const (
	lagTold     = time.Second            // a subscriber with less is not counted as behind
	lagFelt     = 100 * time.Millisecond // a subscriber with less is not judged by its growth, which is noise
	shownAbsent = 2
	leastName   = 6 // columns of a name that is shortened
)

// recoveries says how connections ended, and how many clients came back, in lines of at most width columns.
func recoveries(o *ops.Overview, width int) (lines []string) {
	text := fmt.Sprintf("%s logged in, %s came back", nouns.Thousands(o.Joined), nouns.Thousands(o.Returned))
	add := func(name string, counts map[string]uint64) {
		var parts []string
		for _, what := range slices.SortedFunc(maps.Keys(counts), func(a, b string) int { return cmp.Or(cmp.Compare(counts[b], counts[a]), strings.Compare(a, b)) }) {
			parts = append(parts, nouns.Thousands(counts[what])+" "+what)
		}
		if len(parts) == 0 {
			return
		}
		if all := "   " + name + strings.Join(parts, ", "); cells(text)+cells(all) <= width {
			text += all
			return
		}
		lines, text = append(lines, text), name+parts[0]
		for _, part := range parts[1:] {
			if text += ","; cells(text)+1+cells(part)+1 > width { // a comma may follow
				lines, text = append(lines, text), " "
			}
			text += " " + part
		}
	}
	add("left: ", o.Left)
	add("refused: ", o.Refused)
	if o.Skipped > 0 {
		skips := nouns.Count(o.Skipped, "skip")
		if cells(text)+3+cells(skips) > width {
			return append(lines, text, skips)
		}
		text += "   " + skips
	}
	return append(lines, text)
}

// fold returns the values as at most width values: the last ones, each for as many as it takes.
func fold(values []uint64, width int) []float64 {
	each := (len(values) + width - 1) / max(1, width)
	var out []float64
	for i := 0; i < len(values); i += max(1, each) {
		sum := 0.0
		for _, v := range values[i:min(len(values), i+each)] {
			sum += float64(v)
		}
		out = append(out, sum)
	}
	return out
}

// connRows adds a heading and the first rows of the connections, or those around the chosen one.
func (f *topFrame) connRows(width, rows int, v *topView, add func(colour, string, ...any)) {
	name, filter, compact := width-66, 0, width < 76
	switch {
	case compact:
		name = max(6, width-34)
	case width > 96:
		name, filter = 20, width-87
	}
	row := func(c colour, mark, number, client, address, lag, since, loss, sent, policy, instruments string) {
		text := fmt.Sprintf("%s%6s %s %s %8s %8s %12s %8s", mark, number, pad(client, name), pad(address, 17), lag, since, loss, sent)
		if compact {
			text = fmt.Sprintf("%s%6s %s %7s %7s %9s", mark, number, pad(client, name), lag, since, loss)
		}
		if filter > 0 {
			text += " " + pad(policy, 10) + " " + cut(instruments, filter)
		}
		add(c, "%s", text)
	}
	row(dim, " ", "CONN", "NAME", "ADDRESS", "LAG", "TIME", "LOSS IN", "SENT/S", "POLICY", "INSTRUMENTS")
	from := 0
	if at := slices.IndexFunc(f.Conns, func(c topConn) bool { return c.Number == v.chosen }); at >= rows {
		from = at - rows + 1
	}
	for i := from; i < min(len(f.Conns), from+rows); i++ {
		c := &f.Conns[i]
		colour, mark := plain, " "
		switch {
		case c.Number == v.chosen:
			colour, mark = reverse, ">"
		case c.Fate == fateLoss && c.In < time.Minute:
			colour = red
		case c.LagTime > lagTold:
			colour = yellow
		}
		lag, since := "-", "-"
		if c.LagTicks > 0 {
			lag, since = formatCount(float64(c.LagTicks)), formatDuration(c.LagTime)
		}
		instruments := "*"
		if len(c.Filter) > 0 {
			instruments = strings.Join(c.Filter, ",")
		}
		row(colour, mark, fmt.Sprint(c.Number), c.Name, c.Address, lag, since, c.fate(), formatBytes(int64(c.SentRate)), c.Policy, instruments)
	}
	switch left := len(f.Conns) - rows - from; {
	case len(f.Conns) == 0 && v.filter != "":
		add(dim, "        no connection matches the filter")
	case len(f.Conns) == 0:
		add(dim, "        nobody is connected")
	case left > 0 && rows > 0:
		page := fmt.Sprintf(" and %d more", left)
		add(dim, "%s", page)
	}
}

// fate describes what awaits the connection, for its row.
func (c *topConn) fate() string {
	switch c.Fate {
	case fateNone:
		return "-"
	case fateNever:
		return string(fateNever)
	case fateLoss:
		return formatDuration(c.In.Round(time.Second))
	case fateSkip:
		return "skip " + formatDuration(c.In.Round(time.Second))
	}
	return "cut " + formatDuration(c.In.Round(time.Second))
}

// pad returns text in exactly width columns.
func pad(text string, width int) string {
	text = shorten(oneLine(printable(text)), width)
	return text + strings.Repeat(" ", max(0, width-cells(text)))
}

// instrumentRows adds a heading and the first rows of the instruments.
func (f *topFrame) instrumentRows(width, rows int, add func(colour, string, ...any)) {
	if len(f.Instruments) == 0 || rows < 1 {
		return
	}
	a := &f.Overview.Activity
	add(dim, "%-24s %8s %6s  THE LAST %s", "INSTRUMENT", "TICKS/S", "SHARE", formatDuration(a.Slot*time.Duration(len(a.Ticks))))
	for _, in := range f.Instruments[:rows] {
		ticks := make([]uint64, len(in.Ticks))
		for i, n := range in.Ticks {
			ticks[i] = uint64(n)
		}
		add(plain, "%s %8s %5.1f%%  %s", pad(in.Name, 24), formatCount(in.Rate), 100*in.Share, chart(fold(ticks, max(1, width-42))))
	}
}

// detailIndent is the column in which the values of the details begin.
const detailIndent = 15

// detail adds the lines about the chosen connection.
func (f *topFrame) detail(v *topView, add func(colour, string, ...any)) {
	at := slices.IndexFunc(f.Conns, func(c topConn) bool { return c.Number == v.chosen })
	if at < 0 {
		add(yellow, "connection %d has ended", v.chosen)
		return
	}
	c := &f.Conns[at]
	row := func(name, format string, args ...any) {
		add(plain, "  %-*s %s", detailIndent-3, name, fmt.Sprintf(format, args...))
	}
	add(bold, "connection %d of %s, from %s", c.Number, cmp.Or(c.Name, "a client without a name"), c.Address)
	if c.Since != nil {
		row("since", "%s (%s)", c.Since.UTC().Format(time.DateTime+"Z"), formatDuration(f.Overview.Now.Sub(*c.Since).Round(time.Second)))
	}
	if c.User != "" {
		row("user", "%s", c.User)
	}
	row("instruments", "%s", cmp.Or(strings.Join(c.Filter, ", "), "all"))
	row("began at", "%s", nouns.Thousands(c.Start))
	row("sent up to", "%s, of %s", nouns.Thousands(c.Position), nouns.Thousands(f.Overview.Head))
	row("confirmed", "%s, %s after it was sent", nouns.Thousands(c.Confirmed), formatDuration(c.Echo))
	switch {
	case c.LagTicks == 0:
		row("behind", "no")
	case c.Growth > 0:
		row("behind", "%s (%s), growing by %s ticks/s", nouns.Count(c.LagTicks, "tick"), formatDuration(c.LagTime), formatCount(c.Growth))
	default:
		row("behind", "%s (%s), catching up by %s ticks/s", nouns.Count(c.LagTicks, "tick"), formatDuration(c.LagTime), formatCount(-c.Growth))
	}
	switch c.Fate {
	case fateLoss:
		row("loses ticks", "in %s, if this goes on: they are then no longer kept", formatDuration(c.In.Round(time.Second)))
	case fateSkip:
		row("skips ticks", "in %s, by its policy", formatDuration(c.In.Round(time.Second)))
	case fateCut:
		row("is cut", "in %s, by its policy", formatDuration(c.In.Round(time.Second)))
	case fateNever:
		row("loses ticks", "never: the journal keeps all")
	}
	policy := c.Policy
	if c.MaxLag > 0 {
		policy += fmt.Sprintf(", beyond a lag of %v", c.MaxLag)
	}
	row("policy", "%s", policy)
	row("sent", "%s, now %s/s", formatBytes(int64(c.Bytes)), formatBytes(int64(c.SentRate)))
}

// foot returns the last lines of the screen.
func (v *topView) foot(width int) []topLine {
	var foot []topLine
	switch {
	case v.problem != "":
		foot = wrapped(red, width, v.problem)
	case v.note != "":
		foot = wrapped(yellow, width, v.note)
	}
	switch {
	case v.kicking:
		return append(foot, topLine{fmt.Sprintf("end connection %d? Its client comes back. y kicks it, any other key does not", v.chosen), yellow})
	case v.typing:
		return append(foot, topLine{"filter: " + v.filter + "_", bold})
	case v.details:
		return append(foot, topLine{"q quit  esc back  k kick  ↑↓ another", dim})
	}
	help := "q quit  s by " + topOrders[v.order].name + "  / filter  ↑↓ choose  enter details  k kick"
	if v.filter != "" {
		begin, end := "q quit  s by "+topOrders[v.order].name+"  / filter: ", "  esc all  enter details  k kick"
		help = begin + shorten(oneLine(printable(v.filter)), max(leastName, width-cells(begin)-cells(end))) + end
	}
	return append(foot, topLine{help, dim})
}
