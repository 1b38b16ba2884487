package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"tickfeed/codec"
	"tickfeed/codec/recording"
	"tickfeed/codec/recording/place"
	"tickfeed/codec/recording/survey"
	"tickfeed/feed"
	"tickfeed/feed/files/textfile"
	"tickfeed/feed/nouns"
)

// inspectOptions are the flags of inspect.
type inspectOptions struct {
	importOptions
	verify, packets, ticks bool
	facts, force           bool
	retained               bool
	html                   string
	at, clock              string
	symbols                []string
	json, csv              bool
	time                   string

	times    textfile.Times
	raw      bool
	filter   *fileFilter
	place    place.Place
	by       place.Clock     // clock of place and rates
	begun    bool            // something was printed: CSV has a header already
	measured []*measuredFile // with --facts, the recordings so far
}

func (p *program) inspectCommand() *cobra.Command {
	o := inspectOptions{importOptions: importOptions{places: true}}
	cmd := &cobra.Command{
		Use:   "inspect FILE...",
		Short: "Show the contents of recordings",
		Long: `Show the contents of recordings: their sessions, instruments, ticks by kind, times, the rate over time,
which numbers are missing and why, and which parts are damaged. Other files are imported first. A
directory stands for its .tick files, so "inspect j" shows a journal. A file that cannot be read is
reported, and the others are still shown. ` + pipesHelp + `

A file that is being written is read up to its present size. Times are UTC; published is when the
publisher sent a packet, events is when the venue made the changes. The rate is by market time unless
--clock says otherwise.

With --verify, a recording is whole if every checksum holds, every packet can be decoded, and every number
that it covers is there: none is damaged, and none is listed as gone, whatever the reason (the publisher
had removed it, or it was damaged or missing in what the recording was made of). Numbers that were not asked for, and numbers
that the recorder's own slow-consumer policy withheld, are not faults; their counts are printed. The directory
of a journal is also checked as a whole: no file may be missing, foreign or swapped with another. Add
--retained if a retention may have removed its first files.

With --facts, inspect measures the statistics that real markets share (Cont 2001; Lillo and Farmer 2004;
LOB-Bench 2025) for the busiest instruments, at most 64, or for those that --symbols names. Each row has the
value beside the range of real days, and is left out if there is not enough data. Several recordings also
get row 19, the distance of each to the one before it. Rows 13 expect a day that is busy at its opening and
close; that of a simulated market is with --day-shape u. Above the rows is the load of the whole feed, all
instruments together: its rate, its busiest second and tenth of a second, and for both the variance of the
counts divided by their mean, which is 1 for independent ticks.

` + placesHelp + ` A place after the end is refused.

Exit codes: 0 done; 3 the file is no recording, or with --verify a recording or journal is not whole; 130 Ctrl-C.`,
		Example: `  tickfeed inspect session.tick
  tickfeed inspect --verify archive/*.tick
  tickfeed inspect j
  tickfeed inspect --ticks --symbols AAPL --json session.tick.zst
  tickfeed inspect --at 14:30:00.5 --symbols 'AAPL,MSFT' session.tick
  tickfeed inspect --facts --html facts.html real.tick simulated.tick
  tickfeed inspect --packets session.tick | tail -n 3`,
		Args: wantArgs(1, math.MaxInt, "name of a file"),
		RunE: func(cmd *cobra.Command, args []string) error { return p.inspect(cmd.Context(), &o, args) },
	}
	group(cmd, "What to show", func(f *pflag.FlagSet) {
		f.BoolVar(&o.verify, "verify", false, "only check every checksum, and that all numbers are there; exit code 3 if a number is damaged or gone")
		f.BoolVar(&o.retained, "retained", false, "with --verify: the numbers before the first file of a journal are no fault, because a retention (publish --retain) removed them")
		f.BoolVar(&o.packets, "packets", false, "print a line for each packet, header, snapshot and damage")
		f.BoolVar(&o.ticks, "ticks", false, "print every tick, including those of snapshots")
		f.BoolVar(&o.facts, "facts", false, "print the statistics that real markets share, of the busiest instruments, beside the ranges in which those of real days lie")
		f.StringVar(&o.html, "html", "", "with --facts: also write a page with plots to `FILE`, of one recording or two side by side")
		f.BoolVar(&o.force, "force", false, "replace the page of --html if it exists")
		f.StringVar(&o.at, "at", "", "print the state as of `PLACE` (last trades, quotes and books): a time of day such as 14:30, a date and time, seq:N, or +10s from the beginning or -1m from the end")
		clockFlag(f, &o.clock)
		f.StringSliceVar(&o.symbols, "symbols", nil, "with --ticks, --at or --facts: only instruments that match `PATTERNS`: SYMBOL or SYMBOL@VENUE with wildcards * and ?, separated by commas")
	})
	group(cmd, "Output", func(f *pflag.FlagSet) {
		f.BoolVar(&o.json, "json", false, "print a JSON object for each file, packet or tick, and with --verify for each journal")
		f.BoolVar(&o.csv, "csv", false, "print the ticks of --ticks or --at as CSV with a header")
		timeVar(f, &o.time)
		rawVar(f, &o.raw, "--ticks --json")
	})
	importFlags(cmd, &o.importOptions)
	needPartners(cmd, "retained", "verify")
	needPartners(cmd, "csv", "ticks|at")
	needPartners(cmd, "symbols", "ticks|at|facts")
	needPartners(cmd, "html", "facts")
	needPartners(cmd, "force", "html")
	needPartners(cmd, "raw", "ticks", "json")
	excludeEachOther(cmd.Flags(), "verify", "packets", "ticks", "facts", "at")
	excludeEachOther(cmd.Flags(), "json", "csv")
	return cmd
}

// check refuses flags that exclude each other.
func (o *inspectOptions) check() (err error) {
	chosen := 0
	for _, set := range []bool{o.verify, o.packets, o.ticks, o.facts, o.at != ""} {
		if set {
			chosen++
		}
	}
	switch {
	case chosen > 1:
		return usage("--verify, --packets, --ticks, --facts and --at show different things; choose one")
	case o.json && o.csv:
		return usage("--json and --csv are two formats; choose one")
	case o.csv && !o.ticks && o.at == "":
		return usage("--csv is for --ticks and --at")
	case len(o.symbols) > 0 && !o.ticks && !o.facts && o.at == "":
		return usage("--symbols is for --ticks, --at and --facts")
	case o.html != "" && !o.facts:
		return usage("--html is for --facts: add it")
	case o.force && o.html == "":
		return usage("--force is for --html")
	case o.retained && !o.verify:
		return usage("--retained is for --verify: add it")
	case o.html != "" && !o.force && exists(o.html):
		return usage("--html %s: the file exists; choose another, or replace it with --force", o.html)
	}
	if o.by, err = o.parsePlaces(o.clock, placeFlag{"--at", o.at, &o.place}); err != nil {
		return err
	}
	if o.raw && !(o.ticks && o.json) {
		return usage("--raw is for --ticks --json: add them")
	}
	if o.times, err = parseTimes(o.time); err != nil {
		return err
	}
	o.filter, err = fileSymbols(o.symbols)
	return err
}

func (p *program) inspect(ctx context.Context, o *inspectOptions, paths []string) error {
	if err := o.check(); err != nil {
		return err
	}
	given := paths
	paths, err := expandJournals(paths)
	if err != nil {
		return err
	}
	paths, spooled, err := p.spoolPipes(ctx, paths, acceptFiles(ctx, &o.importOptions))
	if err != nil {
		return err
	}
	defer func() {
		for spool := range spooled {
			_ = os.Remove(spool) // the file was only read
		}
	}()
	all, err := p.openSpooled(ctx, paths, spooled, &o.importOptions)
	var unread *exitError // exit code of a file that could not be opened; already reported
	if err != nil && len(paths) > 1 && ctx.Err() == nil {
		if all, unread, err = p.openEach(ctx, o, paths, spooled); len(all) == 0 {
			return err
		}
	}
	if err != nil {
		return err
	}
	defer closeAll(all)
	if o.html != "" && len(all) > maxFactsPage {
		return usage("--html shows one recording, or two side by side, got %d", len(all))
	}
	damaged := 0
	lines := p.newLines(p.stdout)
	for i, f := range all {
		if i > 0 && !o.json && !o.verify && !o.ticks {
			lines.printf("\n")
		}
		sound, err := p.inspectOne(ctx, o, f, lines)
		if err != nil {
			return err
		}
		if !sound {
			damaged++
		}
	}
	journals := 0 // that are not whole
	if o.verify {
		if journals, err = verifyJournals(ctx, given, o, lines); err != nil {
			return err
		}
	}
	if o.at == "" {
		err = o.filter.check(p)
	} else { // an instrument that is missing at the place may be defined later
		err = o.filter.look(ctx, p, all)
	}
	if err != nil {
		return err
	}
	if o.html != "" {
		if err := writeFactsPage(o.html, o.measured); err != nil {
			return fmt.Errorf("--html: %w", err)
		}
		p.notef("%s: the page is written", oneLine(o.html))
	}
	switch {
	case unread != nil && !o.verify:
		return unread
	case !o.verify || damaged == 0 && journals == 0 && unread == nil:
		return nil
	case len(all) == 1 || journals > 0 || unread != nil:
		return &exitError{code: exitData} // already reported
	}
	return wrong("%d of %s are not whole", damaged, nouns.Count(len(all), "recording"))
}

// inspectOne shows one recording in the way that o asks for. It returns false if the recording was verified and is not whole.
func (p *program) inspectOne(ctx context.Context, o *inspectOptions, f *openRecording, lines *lines) (sound bool, err error) {
	show := p.showSurvey
	switch {
	case o.verify:
		show = p.showVerified
	case o.packets:
		show = p.showPackets
	case o.ticks:
		show = p.showTicks
	case o.facts:
		show = p.showFacts
	case o.at != "":
		show = p.showState
	}
	var read atomic.Int64
	started := time.Now()
	stop := p.progress(func() string {
		n, took := read.Load(), time.Since(started).Seconds()
		return fmt.Sprintf("reading %s: %.0f %% of %s, %s/s", f.title(), 100*float64(n)/float64(max(f.Size(), 1)), formatBytes(f.Size()), formatBytes(int64(float64(n)/took)))
	})
	sound, err = show(ctx, o, f, lines, &read)
	stop()
	if err == nil {
		err = lines.flush()
	}
	switch {
	case errors.Is(err, context.Canceled):
		p.notef("interrupted at byte %d of %s", read.Load(), f.title())
		return false, errInterrupted
	case err != nil && !errors.Is(err, errOutputClosed):
		return false, fmt.Errorf("%s: %w", f.title(), err)
	}
	return sound, err
}

// openEach opens the recordings at paths one by one. It reports those that cannot be opened, so that one of them does not
// hide the others; unread then has the exit code of the first. If none can be opened, err is unread.
func (p *program) openEach(ctx context.Context, o *inspectOptions, paths []string, spooled map[string]string) (all []*openRecording, unread *exitError, err error) {
	for _, path := range paths {
		one, err := p.openSpooled(ctx, []string{path}, spooled, &o.importOptions)
		if ctx.Err() != nil {
			closeAll(all)
			return nil, nil, errInterrupted
		}
		if err != nil {
			if code := p.exit(nil, err); unread == nil {
				unread = &exitError{code: code}
			}
			continue
		}
		all = append(all, one...)
	}
	if len(all) == 0 {
		return nil, nil, unread
	}
	return all, unread, nil
}

// lines buffers lines of standard output.
type lines struct {
	out    io.Writer
	screen screen
	buf    []byte
	err    error
}

func (p *program) newLines(out io.Writer) *lines { return &lines{out: out, screen: p.screen(out)} }

// printf appends text, escaped except for newlines, and wrapped to the width of the terminal.
func (l *lines) printf(format string, args ...any) {
	l.paintf(plain, continued4, format, args...)
}

// continued4 is the indent of continuation lines.
const continued4 = "    "

// paintf is printf in colour c; continuation lines begin with indent.
func (l *lines) paintf(c colour, indent, format string, args ...any) {
	text, newline := strings.CutSuffix(l.screen.fit(printable(fmt.Sprintf(format, args...)), indent), "\n")
	l.buf = append(l.buf, l.screen.paintLines(c, text)...)
	if newline {
		l.buf = append(l.buf, '\n')
	}
	if len(l.buf) >= writeSize {
		_ = l.flush() // the error stays
	}
}

// json appends v as a line of JSON.
func (l *lines) json(v any) {
	b, err := json.Marshal(v)
	if err != nil {
		panic("tickfeed: internal error: " + err.Error()) // all printed types can be marshalled
	}
	l.buf = append(append(l.buf, printableJSON(b)...), '\n')
	if len(l.buf) >= writeSize {
		_ = l.flush() // the error stays
	}
}

func (l *lines) flush() error {
	if l.err == nil && len(l.buf) > 0 {
		_, err := l.out.Write(l.buf)
		l.err = output(err)
	}
	l.buf = l.buf[:0]
	return l.err
}

// showPackets prints a line for each item of the Reader, and for each packet.
func (p *program) showPackets(ctx context.Context, o *inspectOptions, f *openRecording, out *lines, read *atomic.Int64) (bool, error) {
	r, err := f.Reader()
	if err != nil {
		return false, err
	}
	if !o.json {
		out.printf("%12s  %7s  %-30s  %s\n", "byte", "size", "published", "what")
	}
	batch := make([]feed.Tick, 256)
	for {
		if err := ctx.Err(); err != nil {
			return false, err
		}
		if out.err != nil {
			return false, out.err
		}
		item, err := r.Next()
		if err == io.EOF {
			return true, nil
		} else if err != nil {
			return false, err
		}
		read.Store(r.Offset())
		line := packetLine{Offset: item.Offset, Bytes: item.Size}
		switch item.Kind {
		case recording.KindHeader:
			line.What, line.From, line.To = "header", item.Header.Next, item.Header.Next
			line.Session = item.Header.Lineage.Current().ID.String()
		case recording.KindSnapshot:
			line.What, line.From, line.To = "snapshot", item.Range.From, item.Range.From
		case recording.KindDamage, recording.KindTorn:
			line.What, line.From, line.To = "damage", item.Range.From, item.Range.To
			if item.Kind == recording.KindTorn {
				line.What = "torn"
			}
		case recording.KindPackets:
			at := item.Offset
			for h, raw := range recording.Packets(item.Data) {
				line := packetLine{Offset: at, Bytes: int64(len(raw)), What: "packet", From: h.First, To: h.First + h.Count, Published: &h.PublishTime}
				line.count(&h, raw, batch)
				line.print(o.json, out)
				at += int64(len(raw))
			}
			continue
		}
		line.print(o.json, out)
	}
}

// packetLine is a packet or another item of a file. Numbers are [from, to).
type packetLine struct {
	What      string `json:"what"`
	Offset    int64  `json:"offset"`
	Bytes     int64  `json:"bytes"`
	From      uint64 `json:"from"`
	To        uint64 `json:"to"`
	Published *int64 `json:"ts_publish,omitempty"`
	Session   string `json:"session,omitempty"`
	Ticks     uint64 `json:"ticks"`
	NotAsked  uint64 `json:"not_asked,omitempty"`
	Withheld  uint64 `json:"withheld,omitempty"`
	Gone      uint64 `json:"gone,omitempty"`
	Reason    string `json:"reason,omitempty"`
	Malformed string `json:"malformed,omitempty"`
	malformed uint64 // the first number that could not be decoded
}

// count fills in the counts from the entries of a packet.
func (l *packetLine) count(h *codec.Packet, raw []byte, batch []feed.Tick) {
	body := codec.PacketBody(h, raw[codec.PacketHeader:])
	for {
		n, err := body.Decode(batch)
		l.Ticks += uint64(n)
		if err != nil {
			l.Malformed, l.malformed = err.Error(), body.Seq()
		}
		if err != nil || n == 0 {
			break
		}
	}
	l.NotAsked, l.Withheld = body.NotAsked(), body.Withheld()
	if n, reason := body.Gone(); n > 0 {
		l.Gone, l.Reason = n, reason.String()
	}
}

func (l *packetLine) print(asJSON bool, out *lines) {
	if asJSON {
		out.json(l)
		return
	}
	published := ""
	if l.Published != nil {
		published = eventTime(*l.Published)
	}
	text := l.What
	if l.From < l.To {
		text += " " + feed.Range{From: l.From, To: l.To}.String()
	} else if l.From > 0 {
		text += " as of " + strconv.FormatUint(l.From, 10)
	}
	if l.Session != "" {
		text += ", session " + l.Session
	}
	if l.What == "packet" {
		text += ": " + nouns.Count(l.Ticks, "tick")
	}
	for _, x := range []struct {
		n    uint64
		what string
	}{{l.NotAsked, "not asked"}, {l.Withheld, "withheld"}, {l.Gone, "gone, " + l.Reason}} {
		if x.n > 0 {
			text += fmt.Sprintf(", %s %s", nouns.Thousands(x.n), x.what)
		}
	}
	if l.Malformed != "" {
		text += ", " + l.Malformed
	}
	c := plain
	if l.What == "damage" || l.What == "torn" || l.Gone > 0 || l.Malformed != "" {
		c = red
	}
	out.paintf(c, strings.Repeat(" ", 55), "%12d  %7d  %-30s  %s\n", l.Offset, l.Bytes, published, text)
}

// printer returns a printer for the ticks of one file.
func (o *inspectOptions) printer(p *program) *printer {
	var f textfile.Format = &textFormat{width: p.screen(p.stdout).width}
	switch {
	case o.json:
		f = textfile.JSONFormat{Times: o.times, Raw: o.raw}
	case o.csv:
		f = textfile.CSVFormat{Times: o.times}
	}
	to := newPrinter(p.stdout, f)
	if o.begun {
		to.buf = to.buf[:0] // the header is printed once, at the top
	}
	o.begun = true
	return to
}

// A chooser selects the ticks of instruments that match a filter. It must see all definitions.
type chooser struct {
	filter *fileFilter
	wanted feed.Table[bool]
}

// choose moves the wanted ticks to the front and returns their number.
func (c *chooser) choose(ticks []feed.Tick) int {
	if c.filter.All() {
		return len(ticks)
	}
	n := 0
	for i := range ticks {
		t := &ticks[i]
		if d := t.Definition(); d != nil {
			*c.wanted.At(t.Instrument) = c.filter.match(d)
		}
		if wanted := c.wanted.Lookup(t.Instrument); wanted != nil && *wanted {
			ticks[n] = *t
			n++
		}
	}
	return n
}

// showTicks prints all ticks.
func (p *program) showTicks(ctx context.Context, o *inspectOptions, f *openRecording, out *lines, read *atomic.Int64) (bool, error) {
	r, err := f.Reader()
	if err != nil {
		return false, err
	}
	to := o.printer(p)
	choose := chooser{filter: o.filter}
	batch := make([]feed.Tick, 256)
	print := func(session feed.SessionID, publish int64, ticks []feed.Tick) error {
		if n := choose.choose(ticks); n > 0 {
			return to.append(session, publish, ticks[:n], nil)
		}
		return nil
	}
	for {
		if err := ctx.Err(); err != nil {
			return false, errors.Join(err, to.flush())
		}
		item, err := r.Next()
		if err == io.EOF {
			return true, to.flush()
		} else if err != nil {
			return false, errors.Join(err, to.flush())
		}
		read.Store(r.Offset())
		session := r.Header().Lineage.Current().ID
		switch item.Kind {
		case recording.KindSnapshot:
			var failed error
			err := r.SnapshotTicks(item, func(ticks []feed.Tick) {
				if failed == nil {
					failed = print(session, 0, ticks)
				}
			})
			if err = errors.Join(failed, err); err != nil {
				return false, err
			}
		case recording.KindPackets:
			for h, raw := range recording.Packets(item.Data) {
				body := codec.PacketBody(&h, raw[codec.PacketHeader:])
				for {
					n, err := body.Decode(batch)
					if failed := print(session, h.PublishTime, batch[:n]); failed != nil {
						return false, failed
					}
					if err != nil || n == 0 {
						break
					}
				}
			}
		case recording.KindDamage, recording.KindTorn:
			d := damageOf(survey.Damage{Offset: item.Offset, Size: item.Size, Missing: item.Range, Torn: item.Kind == recording.KindTorn})
			if err := to.flush(); err != nil {
				return false, err
			}
			p.notef("%s: damage: %s", f.title(), d)
		}
	}
}
