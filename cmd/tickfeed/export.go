package main

import (
	"bufio"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"tickfeed/codec"
	"tickfeed/codec/recording"
	"tickfeed/codec/recording/place"
	"tickfeed/codec/recording/text"
	"tickfeed/feed"
	"tickfeed/feed/files/parquetfile"
	"tickfeed/feed/files/textfile"
	"tickfeed/feed/nouns"
)

// exportOptions are the flags of export.
type exportOptions struct {
	importOptions
	output, as string
	force      bool
	json       bool
	symbols    []string
	kinds      []string
	from, to   string
	clock      string
	time       string
	raw        bool
}

func (p *program) exportCommand() *cobra.Command {
	o := exportOptions{importOptions: importOptions{places: true}}
	cmd := &cobra.Command{
		Use:   "export FILE... -o OUT.parquet|.csv|.ndjson|.txt",
		Short: "Write the ticks of recordings as Parquet, CSV, NDJSON or text",
		Long: `Write the ticks of recordings, or of any file that "tickfeed import" reads, as a table with a row per
tick, one file after the other. ` + pipesHelp + ` The file name
selects the format:

  .parquet            for pandas, polars, DuckDB, …: exact decimals, times in ns
                      (UTC)
  .csv  .ndjson       the columns of "subscribe --csv" and "--json"; import
                      reads them
  .csv.zst  .csv.gz   the same, compressed
  .txt                one whole recording, a line per packet and tick, to review
                      and edit; import makes the same bytes of it again

Parquet has quotes and trades unless --kinds says otherwise, CSV and NDJSON have every kind of tick.
Snapshots are not exported: their ticks were counted before. A price that is not known is null, in CSV an
empty cell. In CSV, text that begins with =, +, -, @, a tab or a carriage return is prefixed with an
apostrophe, so that spreadsheets do not take it for a formula; import removes the apostrophe.

` + placesHelp + `

The output appears under its name once it is complete. If a recording is damaged, the rest of it is
exported and the exit code is 3.`,
		Example: `  tickfeed export session.tick -o session.parquet
  duckdb -c "select symbol, max(price) from 'session.parquet' group by 1"
  tickfeed export day.tick --symbols AAPL --from 14:45 --to 15:00 -o q.csv.gz
  tickfeed export es.dbn.zst --kinds trade -o trades.parquet
  tickfeed export day.tick -o - --as ndjson | jq -c 'select(.size > 1000)'`,
		Args: wantArgs(1, math.MaxInt, "name of a file"),
		RunE: func(cmd *cobra.Command, args []string) error { return p.export(cmd, &o, args) },
	}
	group(cmd, "Output", func(f *pflag.FlagSet) {
		f.StringVarP(&o.output, "output", "o", "", "write to `FILE`; - is standard output, in the format of --as (required)")
		f.StringVar(&o.as, "as", "", "write in `FORMAT` parquet, csv, ndjson or text, regardless of the file name")
		f.BoolVar(&o.force, "force", false, "replace the file if it exists")
		timeVar(f, &o.time)
		rawVar(f, &o.raw, "NDJSON")
		f.BoolVar(&o.json, "json", false, "print a summary as one JSON object")
	})
	group(cmd, "What to export", func(f *pflag.FlagSet) {
		f.StringSliceVar(&o.symbols, "symbols", nil, "only instruments that match `PATTERNS`: SYMBOL or SYMBOL@VENUE with wildcards * and ?, separated by commas")
		f.StringSliceVar(&o.kinds, "kinds", nil, "only ticks of these `KINDS`, separated by commas: definition, quote, trade, correction, cancel, level, clear, status, auction; or all")
		f.StringVar(&o.from, "from", "", "begin at `PLACE`: a time of day such as 09:45, a date and time such as 2026-01-05T09:45, seq:N, or +10s from the beginning or -1m from the end")
		f.StringVar(&o.to, "to", "", "end before `PLACE`, as --from; +10s is from --from")
		clockFlag(f, &o.clock)
	})
	importFlags(cmd, &o.importOptions)
	return cmd
}

// The formats of export.
const (
	formatParquet = "parquet"
	formatCSV     = "csv"
	formatNDJSON  = "ndjson"
	formatText    = "text"
)

var exportExtensions = map[string]string{
	".parquet": formatParquet, ".pq": formatParquet,
	".csv":    formatCSV,
	".ndjson": formatNDJSON, ".jsonl": formatNDJSON, ".json": formatNDJSON,
	".txt": formatText,
}

// chooseFormat returns the format of the output, and whether to compress it with gzip. The output file itself handles
// zstd.
func (o *exportOptions) chooseFormat() (format string, gz bool, err error) {
	if o.output == "" {
		return "", false, usage("name the file to write with -o, such as -o out.parquet")
	}
	name, zst := strings.CutSuffix(strings.ToLower(o.output), zstdSuffix)
	name, gz = strings.CutSuffix(name, ".gz")
	format = exportExtensions[filepath.Ext(name)]
	switch o.as {
	case formatParquet, formatCSV, formatNDJSON, formatText:
		format = o.as
	case "":
	default:
		return "", false, usage("--as must be parquet, csv, ndjson or text, got %q", o.as)
	}
	switch {
	case o.output == "-" && format == "":
		return "", false, usage("-o - needs a format: --as csv, ndjson, parquet or text")
	case strings.HasSuffix(name, recordingSuffix):
		return "", false, usage("-o %s: a recording is made by import, cut or merge; export writes .parquet, .csv, .ndjson and .txt", o.output)
	case format == "":
		return "", false, usage("-o %s: the file name selects no format: want .parquet, .csv, .ndjson or .txt (or .csv.zst, .csv.gz, …), or --as FORMAT", o.output)
	case format == formatParquet && (gz || zst):
		return "", false, usage("-o %s: Parquet is compressed by itself; leave the last extension out", o.output)
	case o.json && o.output == "-":
		return "", false, usage("--json prints to standard output, where -o - writes the ticks")
	}
	return format, gz, nil
}

// chooseKinds returns the kinds of ticks to export.
func (o *exportOptions) chooseKinds(format string) ([]feed.Kind, error) {
	all := parquetfile.Kinds()
	if len(o.kinds) == 0 {
		if format == formatParquet {
			return []feed.Kind{feed.KindQuote, feed.KindTrade}, nil
		}
		return all, nil
	}
	kinds, err := parseKinds(o.kinds)
	if kinds == nil {
		kinds = all
	}
	return kinds, err
}

func (p *program) export(cmd *cobra.Command, o *exportOptions, paths []string) error {
	ctx := cmd.Context()
	e := exporting{p: p, ctx: ctx, output: o.output, started: time.Now()}
	var gz bool
	var err error
	if e.format, gz, err = o.chooseFormat(); err != nil {
		return err
	}
	if e.kinds, err = o.chooseKinds(e.format); err != nil {
		return err
	}
	if e.times, err = parseTimes(o.time); err != nil {
		return err
	}
	if e.format != formatNDJSON {
		dropUnlessGiven(cmd, "raw", &o.raw)
	}
	if e.raw = o.raw; e.raw && e.format != formatNDJSON {
		return usage("--raw is for NDJSON: name the output .ndjson, or add --as ndjson")
	}
	for _, k := range e.kinds {
		e.wanted[k] = true
	}
	filter, err := fileSymbols(o.symbols)
	if err != nil {
		return err
	}
	if !filter.All() {
		e.match = filter.match
	}
	if e.format == formatText && (len(paths) > 1 || len(o.kinds) > 0 && !slices.Contains(o.kinds, "all") || len(o.symbols) > 0 || o.from != "" || o.to != "") {
		return usage("the text form holds one whole recording, without --kinds, --symbols, --from and --to; use cut for a part of one, and merge for several")
	}
	if e.clock, err = o.parsePlaces(o.clock, placeFlag{"--from", o.from, &e.from}, placeFlag{"--to", o.to, &e.to}); err != nil {
		return err
	}
	bounded := !e.from.IsZero() || !e.to.IsZero()
	out, err := p.createRecording(o.output, o.force)
	if err != nil {
		return err
	}
	defer out.Discard()
	if e.all, err = p.openRecordings(ctx, paths, &o.importOptions); err != nil {
		return err
	}
	defer closeAll(e.all)
	err = e.write(out, gz)
	switch {
	case errors.Is(err, errInterrupted), errors.Is(err, context.Canceled):
		p.notef("interrupted after %s; %s was not written", nouns.Count(e.sum.Ticks, "tick"), o.output)
		return errInterrupted
	case err != nil:
		return err
	case e.sum.Ticks == 0 && e.match != nil:
		return wrong("%s: there is nothing of %s in that part%s; inspect shows what there is%s", namesOf(paths), strings.Join(o.symbols, ", "), spanOf(e.all[0], e.clock, e.from, e.to), filter.meant())
	case e.sum.Ticks == 0 && bounded && e.sum.leftOut == [feed.MaxKind + 1]uint64{}:
		return wrong("%s: there is nothing in that part%s; inspect shows what there is", namesOf(paths), spanOf(e.all[0], e.clock, e.from, e.to))
	}
	if err := out.Commit(); err != nil {
		return err
	}
	if typo := filter.typo(); typo != "" {
		p.notef("%s", typo)
	}
	return e.report(o.json)
}

// An exporting is an export in progress.
type exporting struct {
	p        *program
	ctx      context.Context
	all      []*openRecording
	output   string
	format   string
	times    textfile.Times
	raw      bool
	kinds    []feed.Kind
	wanted   [feed.MaxKind + 1]bool
	match    func(*feed.Definition) bool
	clock    place.Clock
	from, to place.Place // places in all recordings; resolved by the first recording

	started     time.Time
	read, size  atomic.Int64 // bytes
	rows        atomic.Int64
	instruments map[[2]string]struct{} // by symbol and venue
	sum         exportSummary
}

// An exportSummary counts the ticks that were written, and the numbers that the recordings are missing. Times are nanoseconds since the Unix
// epoch.
type exportSummary struct {
	Output      string            `json:"output"`
	Format      string            `json:"format"`
	Bytes       int64             `json:"output_bytes"` // before the compression of text
	Ticks       uint64            `json:"ticks"`
	Kinds       map[string]uint64 `json:"kinds"`
	Instruments int               `json:"instruments"`
	First       int64             `json:"first_ts_event"`
	Last        int64             `json:"last_ts_event"`
	LeftOut     map[string]uint64 `json:"left_out"` // ticks of kinds that were not wanted
	NotAsked    uint64            `json:"not_asked"`
	Withheld    uint64            `json:"withheld"`
	Gone        uint64            `json:"gone"`
	GoneDamaged uint64            `json:"gone_damaged"` // the part of Gone that was damaged, or missing, in what was recorded
	Damaged     uint64            `json:"damaged"`
	Damages     int               `json:"damages"`
	Torn        int64             `json:"torn_bytes"`
	Undefined   uint64            `json:"undefined"`

	kinds, leftOut [feed.MaxKind + 1]uint64
}

// A tickWriter is an output format.
type tickWriter interface {
	write(part *recording.Part, ticks []feed.Tick, ts *recording.Ticks) error
	close() error
}

// write exports all recordings to out.
func (e *exporting) write(out io.Writer, gz bool) (err error) {
	defer e.p.progress(e.progress)()
	passes := int64(1)
	if e.format == formatParquet {
		passes = 2
	}
	for _, r := range e.all {
		e.size.Add(passes * r.Size())
	}
	counting := &countingWriter{w: out}
	buffered := bufio.NewWriterSize(counting, 256<<10)
	var sink io.Writer = buffered
	var zipped *gzip.Writer
	if gz {
		zipped = gzip.NewWriter(buffered)
		sink = zipped
	}
	var w tickWriter
	switch e.format {
	case formatCSV:
		w = newTextRows(sink, textfile.CSVFormat{Times: e.times})
	case formatNDJSON:
		w = newTextRows(sink, textfile.JSONFormat{Times: e.times, Raw: e.raw})
	case formatText:
		e.sum.Damages, err = text.Write(interruptible{sink, e.ctx}, e.all[0].Input, e.all[0].Size())
		if e.ctx.Err() != nil {
			return errInterrupted
		}
		if err != nil {
			return fmt.Errorf("%s: %w", e.all[0].name, err)
		}
	default:
		survey := &surveyRows{}
		if err := e.pass(survey); err != nil {
			return err
		}
		file, err := parquetfile.New(sink, e.kinds, &survey.Survey)
		if err != nil {
			return wrong("%w", err)
		}
		w = &parquetRows{file}
		e.sum = exportSummary{}
		e.rows.Store(0)
	}
	if e.format != formatText {
		if err := e.pass(w); err != nil {
			return err
		}
		err = w.close()
	}
	if zipped != nil {
		err = errors.Join(err, zipped.Close())
	}
	err = errors.Join(err, buffered.Flush())
	e.sum.Bytes = counting.n
	return err
}

// An interruptible writer fails once ctx has ended.
type interruptible struct {
	io.Writer
	ctx context.Context
}

func (w interruptible) Write(p []byte) (int, error) {
	if err := w.ctx.Err(); err != nil {
		return 0, err
	}
	return w.Writer.Write(p)
}

// A countingWriter counts bytes.
type countingWriter struct {
	w io.Writer
	n int64
}

func (c *countingWriter) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.n += int64(n)
	return n, err
}

// pass writes all wanted ticks to w.
func (e *exporting) pass(w tickWriter) error {
	e.instruments = make(map[[2]string]struct{})
	before := int64(0)
	for _, open := range e.all {
		r, err := open.Reader()
		if err != nil {
			return wrong("%s: %w", open.name, err)
		}
		ts := recording.NewTicks(r, e.match)
		if !e.from.IsZero() || !e.to.IsZero() {
			if e.from, e.to, err = r.Resolve(e.from, e.to, e.clock); err != nil {
				return fmt.Errorf("%s: %w", open.name, err)
			}
			line, _, err := r.Timeline(e.clock)
			if err != nil {
				return fmt.Errorf("%s: %w", open.name, err)
			}
			ts.SetTimeline(line)
		}
		seen := make(map[feed.InstrumentID]*feed.Definition)
		start := e.read.Load()
		for {
			part, err := ts.Next()
			if err == io.EOF {
				break
			}
			if err != nil {
				return fmt.Errorf("%s: %w", open.name, err)
			}
			if offset := r.Offset(); offset != before {
				before = offset
				e.read.Store(start + offset)
				if e.ctx.Err() != nil {
					return errInterrupted
				}
			}
			ticks := e.choose(part)
			if len(ticks) == 0 {
				continue
			}
			for i := range ticks {
				id := ticks[i].Instrument
				if d := ts.Definition(id); d != nil && seen[id] != d {
					seen[id] = d
					e.instruments[[2]string{d.Symbol, d.Venue}] = struct{}{}
				}
			}
			e.rows.Add(int64(len(ticks)))
			if err := w.write(part, ticks, ts); err != nil {
				return err
			}
		}
		e.read.Store(start + open.Size())
		st := ts.Stats()
		e.sum.NotAsked += st.NotAsked
		e.sum.Withheld += st.Withheld
		e.sum.Gone += st.Gone
		e.sum.GoneDamaged += st.GoneDamaged
		e.sum.Damaged += st.Damaged
		e.sum.Damages += st.Damages
		e.sum.Torn += st.Torn
		e.sum.Undefined += st.Undefined
	}
	return nil
}

// choose returns the wanted ticks of part, in the memory of part.Ticks, and counts all ticks.
func (e *exporting) choose(part *recording.Part) []feed.Tick {
	bounded := !e.from.IsZero() || !e.to.IsZero()
	kept := part.Ticks[:0]
	for i := range part.Ticks {
		t := &part.Ticks[i]
		if bounded {
			at := part.Times[i]
			if !e.from.IsZero() && !e.from.Reached(t.Seq, at) || e.to.Reached(t.Seq, at) {
				continue
			}
		}
		if !e.wanted[t.Kind] {
			e.sum.leftOut[t.Kind]++
			continue
		}
		e.sum.kinds[t.Kind]++
		if at := t.EventTime; at != 0 {
			if e.sum.First == 0 || at < e.sum.First {
				e.sum.First = at
			}
			e.sum.Last = max(e.sum.Last, at)
		}
		if len(kept) == i {
			kept = part.Ticks[:i+1]
		} else {
			kept = append(kept, *t)
		}
	}
	e.sum.Ticks += uint64(len(kept))
	return kept
}

// textRows writes ticks as lines of text.
type textRows struct{ printer *printer }

func newTextRows(out io.Writer, f textfile.Format) *textRows {
	w := &textRows{newPrinter(out, f)}
	w.printer.file = true
	return w
}

func (w *textRows) write(part *recording.Part, ticks []feed.Tick, ts *recording.Ticks) error {
	w.printer.Definition = ts.Definition
	return w.printer.append(part.Session, part.PublishTime, ticks, nil)
}

func (w *textRows) close() error { return w.printer.flush() }

// surveyRows determines the column types that a Parquet file must have.
type surveyRows struct{ parquetfile.Survey }

func (w *surveyRows) write(_ *recording.Part, ticks []feed.Tick, ts *recording.Ticks) error {
	for i := range ticks {
		w.Add(&ticks[i], ts.Definition(ticks[i].Instrument))
	}
	return nil
}

func (*surveyRows) close() error { return nil }

// parquetRows writes rows of a Parquet file.
type parquetRows struct{ file *parquetfile.Writer }

func (w *parquetRows) write(part *recording.Part, ticks []feed.Tick, ts *recording.Ticks) error {
	for i := range ticks {
		if err := w.file.Write(part.Session, part.PublishTime, &ticks[i], ts.Definition(ticks[i].Instrument)); err != nil {
			return err
		}
	}
	return nil
}

func (w *parquetRows) close() error { return w.file.Close() }

// progress returns the progress line.
func (e *exporting) progress() string {
	read, size, rows := e.read.Load(), e.size.Load(), e.rows.Load()
	return fmt.Sprintf("exporting to %s: %.0f %% of %s, %s ticks, %s", e.output,
		100*float64(read)/float64(max(size, 1)), formatBytes(size), formatCount(float64(rows)), formatRate(float64(rows)/time.Since(e.started).Seconds()))
}

// report prints the summary. It returns an error if a recording is damaged.
func (e *exporting) report(asJSON bool) error {
	s := &e.sum
	s.Output, s.Format, s.Instruments = e.output, e.format, len(e.instruments)
	s.Kinds, s.LeftOut = countsByKind(s.kinds[:]), countsByKind(s.leftOut[:])
	if asJSON {
		b, err := json.Marshal(s)
		if err != nil {
			return err
		}
		if _, err := e.p.stdout.Write(append(printableJSON(b), '\n')); err != nil {
			return output(err)
		}
	} else {
		for _, line := range s.lines(time.Since(e.started)) {
			e.p.notef("%s", line)
		}
		if text := unclosed(e.all); text != "" {
			e.p.notef("  end          %s", text)
		}
	}
	if s.Damages > 0 && s.Format == formatText {
		return wrong("%s: bytes that cannot be decoded are exported as they are", nouns.Count(s.Damages, "damaged place"))
	}
	return damaged(uint64(s.Damages), s.Damaged, "the output")
}

func countsByKind(counts []uint64) map[string]uint64 {
	m := make(map[string]uint64)
	for k, n := range counts {
		if n > 0 {
			m[feed.Kind(k).String()] = n
		}
	}
	return m
}

// lines returns the summary for people.
func (s *exportSummary) lines(took time.Duration) (lines []string) {
	add := func(format string, args ...any) { lines = append(lines, fmt.Sprintf(format, args...)) }
	if s.Format == formatText {
		add("%s: %s in %s", s.Output, formatBytes(s.Bytes), formatDuration(took))
		return lines
	}
	list := kindList(s.kinds[:])
	if list != "" {
		list = " (" + list + ")"
	}
	add("%s: %s%s of %s, %s in %s", s.Output, nouns.Count(s.Ticks, "tick"), list, nouns.Count(s.Instruments, "instrument"), formatBytes(s.Bytes), formatDuration(took))
	if s.First != 0 {
		add("  time         %s to %s", eventTime(s.First), eventTime(s.Last))
	}
	if list := kindList(s.leftOut[:]); list != "" {
		add("  left out     %s (--kinds all takes every kind)", list)
	}
	for _, c := range []struct {
		name string
		n    uint64
		why  string
	}{
		{"not asked", s.NotAsked, "numbers at most that the recorded line left out"},
		{"withheld", s.Withheld, "numbers that the recorder was too slow for"},
		{"gone", s.Gone - s.GoneDamaged, "numbers: " + goneReason(codec.GoneExpired.String())},
		{"gone", s.GoneDamaged, "numbers: " + goneReason(codec.GoneDamaged.String())},
		{"undefined", s.Undefined, "ticks whose definition is missing"},
		{"torn", uint64(s.Torn), "bytes at the end, of an incomplete write"},
	} {
		if c.n > 0 {
			add("  %-12s %s %s", c.name, nouns.Thousands(c.n), c.why)
		}
	}
	if s.Damages > 0 {
		add("  damage       in %s: %s", nouns.Count(s.Damages, "place"), nouns.Are(s.Damaged, "number", "gone"))
	}
	return lines
}

// kindList lists the kinds that occur: "5 quotes, 1 trade".
func kindList(counts []uint64) string {
	var parts []string
	for k, n := range counts {
		if n > 0 {
			parts = append(parts, nouns.Count(n, feed.Kind(k).String()))
		}
	}
	return strings.Join(parts, ", ")
}
