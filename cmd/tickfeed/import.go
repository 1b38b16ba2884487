package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"tickfeed/codec"
	"tickfeed/codec/recording"
	"tickfeed/feed"
	"tickfeed/feed/files"
	"tickfeed/feed/files/rawfile"
	"tickfeed/feed/nouns"
)

// importCommandOptions are the flags of import.
type importCommandOptions struct {
	importOptions
	output  string
	force   bool
	json    bool
	partial bool
	session string
	created string
	symbols []string
}

func (p *program) importCommand() *cobra.Command {
	var o importCommandOptions
	cmd := &cobra.Command{
		Use:   "import FILE...|- -o OUT.tick",
		Short: "Convert market data files of exchanges and vendors to a recording",
		Long: `Read market data files and write their ticks as a recording, with their original times, exact
prices, trade ids, and the venue's reasons for statuses. The format is detected from the content; gzip,
zstd and a zip with one CSV in it are decompressed:

  csv, ndjson   quotes, trades and levels. A column such as type, rtype, action
                or is_snapshot decides what a row is; a row that is not read is
                counted or refused, never taken for a trade. --rows says what
                all rows are, --header names the columns of a file without a
                header. Also CSV and JSON of Databento (trades, mbp-1, mbp-10,
                tbbo, bbo), CSV of Bybit and OKX, and with --preset:
                  binance   trades, aggTrades, bookTicker, header optional
                  taq       NYSE Daily TAQ, WRDS, DT,EX,SYMBOL,...; BRK B with
                            its suffix
                  tardis    trades, quotes, incremental_book_L2, book_snapshot
                  polygon (massive), kraken, histdata, truefx
` + contentOfFormats() + `
and the text form of a recording (tickfeed export -o out.txt), which becomes that recording again.
- is standard input, in any of these formats except lobster. Zip, Parquet, LEAN and recordings cannot be read
in one pass: from standard input or a named pipe they are first copied to a temporary file (TMPDIR), ` + spoolBound + `.

All files of one import must have the same format and become one recording: LOBSTER and LEAN files are
merged by time, others are read one after the other. A trade that an earlier file also has is imported
once if an id or a sequence number identifies it (csv, ndjson, parquet, dbn, iex, websocket). An invalid
line, record or packet stops the import with an error that gives its place, unless --skip-bad allows it.
The recording appears under its name once it is complete and on disk.

With --session and --created, the same input produces the same bytes.

A summary is printed to standard error at the end: ticks by kind, times, and what the source itself was
missing. The exit code is 3 if the data is wrong.`,
		Example: `  tickfeed import AMZN_2012-06-21_34200000_57600000_message_1.csv -o amzn.tick
  tickfeed import es.definition.dbn.zst es.mbp-1.dbn.zst -o es.tick.zst
  tickfeed import 01302020.NASDAQ_ITCH50.gz --symbols 'AAPL,MSFT' -o itch.tick
  tickfeed import trades.csv.gz --preset taq -o taq.tick
  tickfeed import quotes.csv --column bid=BEST_BID --zone UTC -o quotes.tick
  producer | tickfeed import - -o quotes.tick`,
		Args: wantArgs(1, math.MaxInt, "name of a file"),
		RunE: func(cmd *cobra.Command, args []string) error { return p.runImport(cmd, &o, args) },
	}
	group(cmd, "Output", func(f *pflag.FlagSet) {
		f.StringVarP(&o.output, "output", "o", "", "write the recording to `FILE`, compressed if its name ends in .zst; - is standard output")
		f.BoolVar(&o.force, "force", false, "replace the file if it exists")
		f.BoolVar(&o.json, "json", false, "print the summary as one JSON object")
		f.BoolVar(&o.partial, "partial", false, "if the files cannot be read to the end, keep the ticks before the error; the exit code still reports it")
	})
	group(cmd, "Identity of the recording", func(f *pflag.FlagSet) { originFlags(f, &o.session, &o.created) })
	group(cmd, "What to import", func(f *pflag.FlagSet) {
		f.StringSliceVar(&o.symbols, "symbols", nil, "only instruments that match `PATTERNS`: SYMBOL or SYMBOL@VENUE with wildcards * and ?, separated by commas")
	})
	importFlags(cmd, &o.importOptions)
	return cmd
}

// contentOfFormats returns a paragraph for each format of files that is not rows of text.
func contentOfFormats() string {
	var b strings.Builder
	for _, f := range files.Formats() {
		if content := f.Content(); content != "" {
			fmt.Fprintln(&b, wrap(fmt.Sprintf("  %-13s %s", f, content), 80, strings.Repeat(" ", 16)))
		}
	}
	return b.String()
}

func (p *program) runImport(cmd *cobra.Command, o *importCommandOptions, paths []string) (err error) {
	if o.output == "" {
		return usage("name the recording to write with -o, such as -o out.tick")
	}
	if o.output == "-" && o.json {
		return usage("--json prints to standard output, where -o - writes the recording")
	}
	filter, err := fileSymbols(o.symbols)
	if err != nil {
		return err
	}
	as, err := parseOrigin(o.session, o.created)
	if err != nil {
		return err
	}
	paths, spool, err := p.standardInput(cmd.Context(), paths, false, acceptFiles(cmd.Context(), &o.importOptions))
	if err != nil {
		return err
	}
	if spool != "" {
		defer os.Remove(spool)
		defer func() { err = rawfile.AsGiven(err, spool, rawfile.StdinName) }()
	}
	text, err := o.findRecordings(cmd.Context(), paths, spool, as, filter.Filter)
	if err != nil {
		return err
	}
	if text != "" {
		return p.importText(cmd.Context(), o, text, shownAs(text, spool))
	}
	src, err := o.openSource(cmd.Context(), paths, p.stdin)
	if err != nil {
		return err
	}
	defer src.Close()
	if err := o.checkFormats([]files.Format{src.Format()}); err != nil {
		return err
	}
	out, err := p.createRecording(o.output, o.force)
	if err != nil {
		return err
	}
	defer out.Discard()
	i, err := newImporting(out, src, paths, as)
	if err != nil {
		return err
	}
	i.piped = slices.ContainsFunc(paths, isNamedPipe)
	ticks := feed.Source(src)
	if !filter.All() {
		ticks = files.Select(src, filter.match)
	}
	return p.closeImport(o, i, out, filter, i.run(cmd.Context(), p, ticks))
}

// closeImport ends an import whose run ended with err: it commits out and prints the summary, or says that nothing was written.
func (p *program) closeImport(o *importCommandOptions, i *importing, out recordingOutput, filter *fileFilter, err error) error {
	summary := i.summary(o.output)
	switch {
	case errors.Is(err, errInterrupted):
		p.notef("interrupted after %s; %s was not written", summary.read(), o.output)
		return err
	case err != nil && !o.partial:
		if summary.Messages > 0 {
			p.notef("stopped after %s; %s was not written", summary.read(), o.output)
		}
		return err
	case err == nil && i.builder.Stats().Ticks == 0:
		what := "no ticks"
		if !filter.All() {
			what = "no ticks of " + strings.Join(o.symbols, ", ")
		}
		return wrong("%s: %s in %s; %s was not written%s", i.name, what, summary.all(), o.output, filter.meant())
	}
	if commitErr := out.Commit(); commitErr != nil {
		return errors.Join(err, commitErr)
	}
	typo := filter.typo()
	if err != nil {
		typo = "" // the rest might have matched
	}
	if printErr := p.printImported(o, summary, typo); printErr != nil {
		return errors.Join(err, printErr)
	}
	return err
}

// findRecordings returns the path of the text form of a recording, which is imported alone, if it is among paths. It refuses
// recordings, and the text form with flags that do not go with it.
func (o *importCommandOptions) findRecordings(ctx context.Context, paths []string, spool string, as origin, filter codec.Filter) (text string, err error) {
	for _, path := range paths {
		if path == rawfile.Stdin {
			continue
		}
		recorded, err := isRecording(path)
		switch {
		case err != nil || !recorded:
		case !isText(path):
			r, err := openFile(ctx, path)
			if err != nil {
				return "", err // path is named like a recording
			}
			_ = r.Close() // the recording is not used
			return "", usage("%s is already a recording; use \"tickfeed cut\" or \"tickfeed merge\" to make another one of it", shownAs(path, spool))
		case as != (origin{}):
			return "", usage("the text form of a recording sets --session and --created itself; leave the flags out")
		case len(paths) > 1 || !filter.All() || o.json:
			return "", usage("%s is the text form of a recording; import it alone, without --symbols and --json", path)
		default:
			return path, nil
		}
	}
	return "", nil
}

// shownAs returns the name of path in messages; spool is the path of a copy of standard input.
func shownAs(path, spool string) string {
	if path == spool {
		return rawfile.StdinName
	}
	return path
}

// printImported prints the summary of an import; typo says which patterns of --symbols matched nothing, "" for none.
func (p *program) printImported(o *importCommandOptions, summary *importSummary, typo string) error {
	if o.json {
		b, err := json.Marshal(summary)
		if err != nil {
			return err
		}
		_, err = p.stdout.Write(append(printableJSON(b), '\n'))
		return output(err)
	}
	for _, line := range summary.lines() {
		p.notef("%s", line)
	}
	if typo != "" {
		p.notef("  note         %s", typo)
	}
	return nil
}

// importText makes a recording from its text form, the file at path. name is the file's name for people.
func (p *program) importText(ctx context.Context, o *importCommandOptions, path, name string) error {
	if err := o.checkFormats(nil); err != nil {
		return err
	}
	out, err := p.createRecording(o.output, o.force)
	if err != nil {
		return err
	}
	defer out.Discard()
	if err := readText(ctx, out, path); err != nil {
		return err
	}
	if err := out.Commit(); err != nil {
		return err
	}
	p.notef("%s: the text form of a recording\n  written      %s", name, o.output)
	return nil
}

// createRecording creates the recording at path; - is standard output. The error has its exit code.
func (p *program) createRecording(path string, force bool) (recordingOutput, error) {
	if path == "-" {
		return &standardOutput{p.stdout, p.owe(func() string { return "the end of the output to " + standardOutputName })}, nil
	}
	slow := p.watch(path)
	out, err := slow.create(path, force)
	if errors.Is(err, fs.ErrExist) {
		return nil, usage("%s exists; choose another name, or replace it with --force", path)
	}
	if err != nil {
		return nil, usage("%w", err)
	}
	paid := p.owe(func() string { return path + ", which was not written; a temporary file is left beside it" })
	return &watchedOutput{out, slow, paid}, nil
}

// A recordingOutput is a recording that is being written; see recording.Output.
type recordingOutput interface {
	recording.File
	Commit() error
	Discard()
}

// standardOutput is standard output as a recordingOutput.
type standardOutput struct {
	io.Writer
	paid func()
}

func (s *standardOutput) Write(p []byte) (int, error) {
	n, err := s.Writer.Write(p)
	return n, output(err)
}

func (*standardOutput) Sync() error  { return nil }
func (*standardOutput) Close() error { return nil }
func (s *standardOutput) Commit() error {
	s.paid()
	return nil
}
func (s *standardOutput) Discard() { s.paid() }

// An importSummary counts what was read and written. Times are nanoseconds since the Unix epoch.
type importSummary struct {
	Output      string            `json:"output"`
	OutputBytes int64             `json:"output_bytes"` // before compression
	Files       string            `json:"input"`
	Format      files.Format      `json:"format"`
	InputBytes  int64             `json:"input_bytes"` // on disk, before decompression
	Messages    int64             `json:"messages"`    // rows, lines, records or messages
	Noun        string            `json:"messages_are"`
	Session     feed.SessionID    `json:"session"`
	Ticks       uint64            `json:"ticks"`
	Kinds       map[string]uint64 `json:"kinds"`
	Instruments uint64            `json:"instruments"`
	First       int64             `json:"first_ts_event"`
	Last        int64             `json:"last_ts_event"`
	Backward    uint64            `json:"backward"`
	Back        int64             `json:"backward_max_ns"`
	Skipped     int64             `json:"skipped"`
	FirstBad    string            `json:"first_bad,omitempty"`
	Counts      map[string]int64  `json:"counts"`
	Notes       []string          `json:"notes"`
	Seconds     float64           `json:"seconds"`

	counts  []files.Count
	kinds   []string
	several bool // there are several files
}

func (i *importing) summary(output string) *importSummary {
	st, built := i.files.Stats(), i.builder.Stats()
	s := &importSummary{
		Output: output, OutputBytes: i.builder.Size(), Files: i.name, Format: i.files.Format(), InputBytes: i.files.Read(),
		Messages: st.Messages, Noun: i.files.Noun(), Session: i.builder.Header().Lineage.Current().ID,
		Ticks: built.Ticks, Kinds: make(map[string]uint64), Instruments: built.Instruments,
		First: built.First, Last: built.Last, Backward: built.Backward, Back: built.Back,
		Skipped: st.Skipped, Counts: make(map[string]int64), Notes: append([]string{}, st.Notes...),
		Seconds: time.Since(i.started).Seconds(), counts: st.Counts, several: i.several,
	}
	if st.FirstBad != nil {
		s.FirstBad = st.FirstBad.Error()
	}
	for kind, n := range built.Kinds {
		if n > 0 {
			name := feed.Kind(kind).String()
			s.Kinds[name] = n
			s.kinds = append(s.kinds, nouns.Count(n, name))
		}
	}
	for _, c := range st.Counts {
		s.Counts[strings.ReplaceAll(c.Name, " ", "_")] = c.N
	}
	return s
}

// read describes how much was read, for people.
func (s *importSummary) read() string {
	text := nouns.Count(uint64(s.Messages), s.Noun)
	if s.Skipped > 0 {
		text += fmt.Sprintf(", %s of them skipped", nouns.Thousands(s.Skipped))
	}
	if s.Last != 0 {
		text += ", up to " + eventTime(s.Last)
	}
	return text
}

// all describes how much was read and the counts of the source, for people.
func (s *importSummary) all() string {
	return strings.TrimSuffix(nouns.Count(uint64(s.Messages), s.Noun)+" ("+s.source()+")", " ()")
}

// source lists the counts of the source.
func (s *importSummary) source() string {
	var all []string
	for _, c := range s.counts {
		all = append(all, c.Name+" "+nouns.Thousands(uint64(c.N)))
	}
	return strings.Join(all, ", ")
}

// lines returns the summary for people.
func (s *importSummary) lines() []string {
	took := time.Duration(s.Seconds * float64(time.Second))
	all := []string{
		fmt.Sprintf("%s: %s of %s in %s (%s/s)", s.Files, nouns.Count(uint64(s.Messages), s.Noun), s.Format,
			formatDuration(took), formatCount(float64(s.Messages)/max(s.Seconds, 1e-9))),
		fmt.Sprintf("  ticks        %s: %s", nouns.Thousands(s.Ticks), strings.Join(s.kinds, ", ")),
		fmt.Sprintf("  instruments  %s", nouns.Thousands(s.Instruments)),
	}
	if s.Last != 0 {
		all = append(all, fmt.Sprintf("  time         %s to %s", eventTime(s.First), eventTime(s.Last)))
	}
	if s.Backward > 0 {
		all = append(all, fmt.Sprintf("  back in time %s, by up to %s: they are published when the ticks before them are",
			nouns.Count(s.Backward, "tick"), formatDuration(time.Duration(s.Back))))
		if s.several {
			all = append(all, "               where files overlap in time, tickfeed merge joins them by time")
		}
	}
	if source := s.source(); source != "" {
		all = append(all, "  source       "+source)
	}
	for _, n := range s.Notes {
		all = append(all, "  note         "+n)
	}
	if s.Skipped > 0 {
		all = append(all, fmt.Sprintf("  skipped      %s of these, the first: %s", nouns.Count(uint64(s.Skipped), "bad "+s.Noun), s.FirstBad))
	}
	return append(all, fmt.Sprintf("  written      %s, %s", s.Output, formatBytes(s.OutputBytes)))
}

// eventTime formats a time in nanoseconds since the Unix epoch for people.
func eventTime(ns int64) string {
	return time.Unix(0, ns).UTC().Format("2006-01-02 15:04:05.999999999Z")
}
