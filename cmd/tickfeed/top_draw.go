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
	foot := v.foot(width, f.has(v.chosen))
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
	line := fmt.Sprintf("head %s   %s", nouns.Thousands(o.Head), formatRate(f.Rate))
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
	sent := sentRate(f.SentRate, f.measured)
	if f.measured {
		sent += "/s"
	}
	add(plain, "%s   sent %s", text, sent)
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
		if a.Position == 0 {
			rest = fmt.Sprintf(" from %s, before it confirmed a tick", a.Address)
		}
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
	words := map[string]string{"lost": "lost the connection"} // the number alone would read as that of lost ticks
	add := func(name string, counts map[string]uint64) {
		var parts []string
		for _, what := range slices.SortedFunc(maps.Keys(counts), func(a, b string) int { return cmp.Or(cmp.Compare(counts[b], counts[a]), strings.Compare(a, b)) }) {
			parts = append(parts, nouns.Thousands(counts[what])+" "+cmp.Or(words[what], what))
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
	name, filter, compact := width-64, 0, width < 76
	switch {
	case compact:
		name = max(6, width-34)
	case width > 96:
		name, filter = 20, width-85
	}
	row := func(c colour, mark, number, client, address, lag, since, loss, sent, policy, instruments string) {
		text := fmt.Sprintf("%s%6s %s %s %7s %7s %12s %8s", mark, number, pad(client, name), pad(address, 17), lag, since, loss, sent)
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
		row(colour, mark, fmt.Sprint(c.Number), c.Who(), c.Address, lag, since, c.fate(), sentRate(c.SentRate, c.measured), c.Policy, c.Instruments(","))
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
		text := fmt.Sprintf("connection %d has ended", v.chosen)
		if was := v.last; was != nil && was.Number == v.chosen {
			text = fmt.Sprintf("connection %d of %s has ended", v.chosen, cmp.Or(was.Name, "a client without a name"))
			if back := f.back(was); back != 0 {
				text += fmt.Sprintf("; its client is back as connection %d", back)
			}
		}
		add(yellow, "%s", text)
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
	if c.Certificate != "" {
		row("certificate", "%s", c.Certificate)
	}
	instruments := c.Instruments(", ")
	if instruments == "*" {
		instruments = "all"
	}
	row("instruments", "%s", instruments)
	if c.Limits != "" {
		row("asked for", "%s", cmp.Or(strings.Join(c.Filter, ", "), "all"))
		row("limits", "%s", c.Limits)
	}
	row("began at", "%s", nouns.Thousands(c.Start))
	row("sent up to", "%s, of %s", nouns.Thousands(c.Position), nouns.Thousands(max(f.Overview.Head, c.Position))) // the head is a little older
	row("confirmed", "%s, %s after it was sent", nouns.Thousands(c.Confirmed), formatDuration(c.Echo))
	switch {
	case c.LagTicks == 0:
		row("behind", "no")
	case c.Growth > 0:
		row("behind", "%s (%s), growing by %s", nouns.Count(c.LagTicks, "tick"), formatDuration(c.LagTime), formatRate(c.Growth))
	default:
		row("behind", "%s (%s), catching up by %s", nouns.Count(c.LagTicks, "tick"), formatDuration(c.LagTime), formatRate(-c.Growth))
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
	sent := formatBytes(int64(c.Bytes))
	if c.measured {
		sent += ", now " + formatBytes(int64(c.SentRate)) + "/s"
	}
	row("sent", "%s", sent)
}

// has reports whether the connection with that number is shown.
func (f *topFrame) has(number uint64) bool {
	return slices.ContainsFunc(f.Conns, func(c topConn) bool { return c.Number == number })
}

// foot returns the last lines of the screen. alive says that there is a chosen connection, which has not ended.
func (v *topView) foot(width int, alive bool) []topLine {
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
	case v.details && !alive:
		return append(foot, topLine{"q quit  esc back  ↑↓ another", dim})
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
