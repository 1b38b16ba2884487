package main

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"tickfeed/codec"
	"tickfeed/codec/recording"
	"tickfeed/codec/recording/text"
	"tickfeed/feed"
	"tickfeed/feed/files"
	"tickfeed/feed/itch"
	"tickfeed/feed/rawfile"
	"tickfeed/feed/textfile"
	"tickfeed/publisher/journal"
)

// importOptions are the flags that say how files that are not recordings are read.
type importOptions struct {
	flags   *pflag.FlagSet
	files   files.Config
	format  string
	preset  string
	header  []string
	columns []string
	date    string
	places  bool // the command has flags that name places: --zone is about them, too
}

// groupImport is the heading of the flags of importFlags.
const groupImport = "Files that are not recordings"

// importFlags adds to cmd the flags that say how files that are not recordings are read.
func importFlags(cmd *cobra.Command, o *importOptions) {
	o.flags = cmd.Flags()
	var names []string
	for _, f := range files.Formats() {
		names = append(names, string(f))
	}
	group(cmd, groupImport, func(f *pflag.FlagSet) {
		f.StringVar(&o.format, "format", "", "`FORMAT` "+strings.Join(names, ", ")+" (default: told from the content)")
		f.StringVar(&o.preset, "preset", "", "columns and times of a `VENDOR`'s CSV files: "+strings.Join(textfile.PresetNames(), ", "))
		f.StringSliceVar(&o.header, "header", nil, "the `NAMES` of the columns of csv without a header line, such as time,symbol,price,size; no name for a column that is not read")
		f.StringArrayVar(&o.columns, "column", nil, "the column NAME holds FIELD, as `FIELD=NAME` with FIELD time, symbol, bid, bid_size, price, ...; repeatable")
		f.StringVar(&o.files.Text.Rows, "rows", "", "every row is a `KIND` trade, quote or level, whatever its columns say (default: told by its columns)")
		f.StringVar(&o.files.Text.Symbol, "symbol", "", "`SYMBOL` of rows that name none")
		f.StringVar(&o.files.Venue, "venue", "", "`VENUE` where the file names none")
		of, without := "local times", ""
		if o.places {
			of, without = "places, and of local times in the files", " (default: UTC, of places only)"
		}
		f.StringVar(&o.files.Zone, "zone", "", "time `ZONE` of "+of+", such as America/New_York, UTC or -05:00"+without)
		f.StringVar(&o.date, "date", "", "`DATE` of itch messages, and of times of day (hhmmss), such as 2026-03-02 (default: the capture's or the file name's)")
		f.StringVar(&o.files.Text.EpochUnit, "epoch-unit", "", "`UNIT` of times that are numbers: s, ms, us, ns or hhmmss (default: told from the magnitude)")
		f.Int8Var(&o.files.Text.PriceExponent, "price-exponent", 0, "prices are multiples of 10^`N`; finer where rows need it (default: -4)")
		f.Int8Var(&o.files.Text.SizeExponent, "size-exponent", 0, "sizes are multiples of 10^`N`; finer where rows need it")
		f.BoolVar(&o.files.Text.ZeroIsPrice, "zero-is-price", false, "a bid or ask of 0 is a price, not an empty side")
		f.BoolVar(&o.files.NoBooks, "no-books", false, "of books, tell only the best bid and offer (dbn, itch, lobster, and rows of several levels)")
		f.BoolVar(&o.files.PartialBooks, "partial-books", false, "tell also the changes of books that no snapshot came for (websocket)")
		f.BoolVar(&o.files.ArrivalTimes, "arrival-times", false, "take the recorder's times, not the exchange's (websocket)")
		countVar(f, &o.files.SkipBad, "skip-bad", 0, "pass over up to `N` bad lines, records or packets instead of stopping at the first")
	})
}

// flagFormats are the formats that flags of importFlags are about; others are about all.
var flagFormats = map[string][]files.Format{
	"preset":         {files.CSV, files.NDJSON, files.Parquet},
	"header":         {files.CSV},
	"column":         {files.CSV, files.NDJSON, files.Parquet},
	"rows":           {files.CSV, files.NDJSON, files.Parquet},
	"symbol":         {files.CSV, files.NDJSON, files.Parquet},
	"epoch-unit":     {files.CSV, files.NDJSON, files.Parquet},
	"price-exponent": {files.CSV, files.NDJSON, files.Parquet},
	"size-exponent":  {files.CSV, files.NDJSON, files.Parquet},
	"zero-is-price":  {files.CSV, files.NDJSON, files.Parquet},
	"venue":          {files.CSV, files.NDJSON, files.Parquet, files.ITCH, files.LOBSTER, files.LEAN},
	"zone":           {files.CSV, files.NDJSON, files.Parquet, files.LEAN},
	"date":           {files.ITCH}, // and of text with times of day: see checkFormats
	"no-books":       {files.DBN, files.ITCH, files.LOBSTER, files.CSV, files.NDJSON, files.Parquet},
	"partial-books":  {files.Websocket},
	"arrival-times":  {files.Websocket},
}

// config is what the flags say. The error is a usage error.
func (o *importOptions) config() (files.Config, error) {
	cfg := o.files
	cfg.Format = files.Format(o.format)
	if cfg.Format != "" && !slices.Contains(files.Formats(), cfg.Format) {
		return cfg, usage("--format must be one of %v, got %q", files.Formats(), o.format)
	}
	if o.preset != "" {
		preset, err := textfile.Preset(o.preset)
		if err != nil {
			return cfg, usage("--preset: %w", err)
		}
		if cfg.Zone == "" {
			cfg.Zone = preset.Zone
		}
		if cfg.Venue == "" {
			cfg.Venue = preset.Venue
		}
		given := cfg.Text
		cfg.Text = preset
		cfg.Text.Rows, cfg.Text.Symbol, cfg.Text.ZeroIsPrice = given.Rows, given.Symbol, given.ZeroIsPrice
		cfg.Text.PriceExponent, cfg.Text.SizeExponent = given.PriceExponent, given.SizeExponent
		if given.EpochUnit != "" {
			cfg.Text.EpochUnit = given.EpochUnit
		}
	}
	cfg.Text.Header = o.header
	if cfg.Text.Columns == nil {
		cfg.Text.Columns = make(map[string]string)
	}
	for _, c := range o.columns {
		field, name, ok := strings.Cut(c, "=")
		if !ok {
			return cfg, usage("--column %q: want FIELD=NAME, such as bid=BEST_BID", c)
		}
		cfg.Text.Columns[field] = name
	}
	if o.date != "" {
		at, err := time.Parse(time.DateOnly, o.date)
		if err != nil {
			if at, err = time.Parse("20060102", o.date); err != nil {
				return cfg, usage("--date must be a date such as 2026-03-02, got %q", o.date)
			}
		}
		year, month, day := at.Date()
		cfg.Date = year*10000 + int(month)*100 + day
	}
	return cfg, nil
}

// checkFormats reports a flag that was given although it is about none of the formats that are
// read.
func (o *importOptions) checkFormats(formats []files.Format) error {
	var err error
	o.flags.Visit(func(f *pflag.Flag) {
		about := flagFormats[f.Name]
		if f.Name == "date" && o.timesOfDay() {
			about = append(slices.Clip(about), files.CSV, files.NDJSON)
		}
		if about == nil || err != nil || o.places && f.Name == "zone" {
			return
		}
		for _, format := range formats {
			if format == "" || slices.Contains(about, format) { // "": nothing of standard input has come yet
				return
			}
		}
		if len(formats) == 0 {
			err = usage("--%s is about files that are not recordings, and here are only recordings", f.Name)
			return
		}
		err = usage("--%s is about files of %v, and what is read here is %v", f.Name, about, formats)
	})
	return err
}

// timesOfDay reports whether the flags say that the times of CSV and NDJSON are times of day, which need a date.
func (o *importOptions) timesOfDay() bool {
	cfg, err := o.config()
	return err == nil && cfg.Text.EpochUnit == textfile.UnitClock
}

// openSource opens files that are not recordings. Errors have their exit codes.
func (o *importOptions) openSource(paths []string, stdin io.Reader) (*files.Source, error) {
	cfg, err := o.config()
	if err != nil {
		return nil, err
	}
	for _, path := range paths {
		if info, err := os.Stat(path); path != "-" && err == nil && info.Mode()&os.ModeDevice != 0 {
			return nil, deviceError(path)
		}
	}
	src, err := files.Open(paths, stdin, cfg)
	if err != nil {
		return nil, fileError(err, true)
	}
	return src, nil
}

// fileError is err, of reading files that are not recordings, with its exit code and what to do
// about it. What is wrong with the data is exit code 3; while opening, all else is wrong usage.
func fileError(err error, opening bool) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, context.Canceled):
		return errInterrupted
	case files.Skippable(err) && errors.As(err, new(*rawfile.DamageError)):
		return wrong("%w (--skip-bad N passes over N bad records or packets)", err)
	case files.Skippable(err):
		return wrong("%w (--skip-bad N passes over N bad lines)", err)
	case errors.Is(err, itch.ErrNoDate):
		return usage("%w; state it with --date, such as --date 2026-03-02", err)
	case files.Damaged(err):
		return wrong("%w", err)
	case opening:
		return usage("%w", err)
	}
	return err
}

// An openRecording is a recording that is open for reading: a file as it is, or what was made
// of files in other formats.
type openRecording struct {
	*recording.Input
	name     string // the file, or the files, as given
	imported bool
	// temporary is a file to be removed in the end; empty where there is none.
	temporary string
}

// title is the name for people, on one line.
func (r *openRecording) title() string { return oneLine(r.name) }

// Close closes the recording and removes what was made for it.
func (r *openRecording) Close() error {
	err := r.Input.Close()
	if r.temporary != "" {
		err = errors.Join(err, os.Remove(r.temporary))
	}
	return err
}

// closeAll closes recordings.
func closeAll(all []*openRecording) {
	for _, r := range all {
		_ = r.Close() // they were only read
	}
}

// openRecordings opens the files at paths, in their order. What is no recording is imported
// into a temporary one, with a progress line: CSV and NDJSON files each into one of its own,
// files of another format all into one, which stands where the first of them stood. The error
// has its exit code.
func (p *program) openRecordings(ctx context.Context, paths []string, o *importOptions) (all []*openRecording, err error) {
	defer func() {
		if err != nil {
			closeAll(all)
			all = nil
		}
	}()
	cfg, err := o.config()
	if err != nil {
		return nil, err
	}
	if paths, err = expandJournals(paths); err != nil {
		return nil, err
	}
	paths, spool, err := p.standardInput(ctx, paths)
	if err != nil {
		return nil, err
	}
	defer func() {
		if spool == "" || os.Remove(spool) == nil { // it stays open, and leaves nothing behind whatever happens
			return
		}
		for _, r := range all {
			if r.name == rawfile.StdinName && r.temporary == "" {
				r.temporary = spool
			}
		}
	}()
	var formats []files.Format
	var groups [][]string // of paths; a recording is a group without a format
	var kinds []files.Format
	for _, path := range paths {
		format, err := p.kindOf(path, cfg.Format)
		if err != nil {
			return nil, fileError(err, true)
		}
		if format != "" && !slices.Contains(formats, format) {
			formats = append(formats, format)
		}
		if i := slices.Index(kinds, format); format != "" && !format.Text() && i >= 0 {
			groups[i] = append(groups[i], path)
			continue
		}
		groups, kinds = append(groups, []string{path}), append(kinds, format)
	}
	if err := o.checkFormats(formats); err != nil {
		return nil, err
	}
	for i, group := range groups {
		var r *openRecording
		var err error
		if kinds[i] == "" {
			if r, err = openFile(ctx, group[0]); err == nil && group[0] == spool {
				r.name = rawfile.StdinName
			}
		} else {
			r, err = p.importTemporary(ctx, group, o)
		}
		if err != nil {
			return all, err
		}
		all = append(all, r)
	}
	return all, nil
}

// expandJournals returns paths with the recordings of a journal in the place of its directory, in their order, and without the files
// of a journal that are no recordings, which j/* names too: its lock, and what was cut from torn files. The error is a usage error.
func expandJournals(paths []string) (out []string, err error) {
	for _, path := range paths {
		info, err := os.Stat(path)
		switch {
		case err == nil && info.IsDir():
			names, err := filepath.Glob(filepath.Join(escapeGlob(path), "*"+recordingSuffix))
			if err != nil || len(names) == 0 {
				return nil, usage("%s is a directory, and no journal: it holds no %s files; name the files", path, recordingSuffix)
			}
			slices.Sort(names) // by first number
			out = append(out, names...)
		case err == nil && len(paths) > 1 && journal.IsSideFile(filepath.Base(path)):
		default:
			out = append(out, path)
		}
	}
	if len(out) == 0 {
		return nil, usage("%s: none of these files is a recording", namesOf(paths))
	}
	return out, nil
}

// escapeGlob is path as a pattern that matches only itself.
func escapeGlob(path string) string {
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`).Replace(path)
}

// standardInput looks at what standard input gives, where one of paths is "-": a recording, or the
// text form of one, is written to the temporary file spool, whose path stands in place of "-" then,
// and which is the caller's to remove. An error has its exit code.
func (p *program) standardInput(ctx context.Context, paths []string) (with []string, spool string, err error) {
	i := slices.Index(paths, rawfile.Stdin)
	if i < 0 {
		return paths, "", nil
	}
	pipe, err := files.NewPipe(ctx, p.stdin)
	if err != nil {
		return nil, "", errInterrupted
	}
	p.stdin = pipe
	if !recording.Recognise(pipe.Head()) && !text.Recognise(pipe.Head()) {
		return paths, "", nil
	}
	spool, err = pipe.Spool(ctx)
	if errors.Is(err, context.Canceled) {
		return nil, "", errInterrupted
	} else if err != nil {
		return nil, "", fmt.Errorf("write what comes from standard input to a temporary file: %w", err)
	}
	with = slices.Clone(paths)
	with[i] = spool
	return with, spool, nil
}

// kindOf is the format of the file at path; empty for a recording.
func (p *program) kindOf(path string, stated files.Format) (files.Format, error) {
	if path == rawfile.Stdin {
		pipe, ok := p.stdin.(*files.Pipe)
		switch {
		case stated != "" || !ok:
			return stated, nil
		case len(pipe.Head()) == 0:
			return files.CSV, nil
		}
		format, reason := files.RecogniseHead(pipe.Head())
		if format == "" {
			return "", &rawfile.FormatError{File: rawfile.StdinName, Reason: reason}
		}
		return format, nil
	}
	if recorded, err := isRecording(path); recorded || err != nil {
		return "", err
	}
	if stated != "" {
		return stated, nil
	}
	return files.Recognise(path)
}

// isRecording reports whether the file at path is a recording, intact or not, or the text form
// of one.
func isRecording(path string) (bool, error) {
	info, err := os.Stat(path)
	switch {
	case err != nil:
		return false, err
	case info.IsDir():
		return false, fmt.Errorf("%s is a directory; name its files", path)
	case info.Mode()&os.ModeDevice != 0:
		return false, deviceError(path)
	case !info.Mode().IsRegular():
		return false, nil
	}
	name := strings.TrimSuffix(strings.ToLower(filepath.Base(path)), ".zst")
	if strings.HasSuffix(name, ".tick") {
		return true, nil
	}
	head, err := rawfile.Head(path, rawfile.HeadSize)
	return err == nil && (recording.Recognise(head) || text.Recognise(head)), nil
}

// deviceError is the error of a device that is named as market data.
func deviceError(path string) error {
	return usage("%s is a device, which may have no end; name a file or a pipe, or - for standard input", path)
}

// isText reports whether the file at path is the text form of a recording.
func isText(path string) bool {
	head, err := rawfile.Head(path, rawfile.HeadSize)
	return err == nil && text.Recognise(head)
}

// readText writes the recording whose text form is the file at path to w. The error has its
// exit code.
func readText(ctx context.Context, w io.Writer, path string) error {
	f, err := rawfile.Open(path)
	if err != nil {
		return usage("%w", err)
	}
	defer f.Close()
	err = text.Read(w, cancelled{ctx, f})
	switch {
	case errors.Is(err, context.Canceled):
		return errInterrupted
	case errors.As(err, new(*text.LineError)):
		return wrong("%s: %w", path, err)
	}
	return err
}

// cancelled is a reader that ends with ctx.
type cancelled struct {
	ctx context.Context
	r   io.Reader
}

func (c cancelled) Read(p []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	return c.r.Read(p)
}

// openFile opens a recording as it is, or makes a temporary one of its text form.
func openFile(ctx context.Context, path string) (*openRecording, error) {
	if isText(path) {
		return openTemporary(path, func(f *os.File) error {
			if err := readText(ctx, f, path); err != nil {
				return err
			}
			return f.Close()
		})
	}
	in, err := recording.Open(path)
	if errors.As(err, new(*fs.PathError)) {
		return nil, usage("%w", err)
	} else if err != nil {
		return nil, wrong("%w", err)
	}
	r := &openRecording{Input: in, name: path}
	if _, err := in.Reader(); err != nil {
		_ = r.Close() // it was only read
		if in.FileSize() == 0 {
			err = errors.New("the file is empty")
		}
		return nil, wrong("%s: %w", path, err)
	}
	return r, nil
}

// openTemporary opens a temporary recording that fill writes and closes; it is of the files that
// name says.
func openTemporary(name string, fill func(*os.File) error) (*openRecording, error) {
	f, err := os.CreateTemp("", "tickfeed-*.tick")
	if err != nil {
		return nil, fmt.Errorf("import into a temporary recording: %w", err)
	}
	remove := func() { os.Remove(f.Name()) }
	if err := fill(f); err != nil {
		f.Close() // more than once does nothing
		remove()
		return nil, err
	}
	in, err := recording.Open(f.Name())
	if err != nil {
		remove()
		return nil, err
	}
	r := &openRecording{Input: in, name: name, imported: true, temporary: f.Name()}
	if os.Remove(f.Name()) == nil { // it stays open, and leaves nothing behind whatever happens
		r.temporary = ""
	}
	return r, nil
}

// importTemporary makes a temporary recording of files that are none.
func (p *program) importTemporary(ctx context.Context, paths []string, o *importOptions) (*openRecording, error) {
	src, err := o.openSource(paths, p.stdin)
	if err != nil {
		return nil, err
	}
	defer src.Close()
	r, err := openTemporary(namesOf(paths), func(f *os.File) error {
		i, err := newImporting(f, src, paths, origin{})
		if err != nil {
			return err
		}
		return i.run(ctx, p, src)
	})
	if err != nil {
		return nil, err
	}
	if st := src.Stats(); st.Skipped > 0 {
		p.notef("%s: skipped %s, the first: %v", r.name, countOf(uint64(st.Skipped), "bad "+src.Noun()), st.FirstBad)
	}
	return r, nil
}

// An importing is files on their way into a recording.
type importing struct {
	name    string // of the files, for people
	several bool   // files
	files   *files.Source
	builder *recording.Builder
	ticks   atomic.Int64
	started time.Time
}

// namesOf is paths for people; of many, the first.
func namesOf(paths []string) string {
	const most = 3
	if len(paths) <= most {
		return oneLine(strings.Join(paths, " "))
	}
	return fmt.Sprintf("%s and %d more", oneLine(strings.Join(paths[:most-1], " ")), len(paths)-most+1)
}

// newImporting begins the recording of src, the ticks of the files at paths, in f.
func newImporting(f recording.File, src *files.Source, paths []string, as origin) (*importing, error) {
	i := &importing{name: namesOf(paths), several: len(paths) > 1, files: src, started: time.Now()}
	if as.session == 0 {
		var id [8]byte
		_, _ = rand.Read(id[:]) // never fails
		as.session = feed.SessionID(binary.BigEndian.Uint64(id[:]))
	}
	if as.created.IsZero() {
		as.created = i.started
	}
	var err error
	i.builder, err = recording.NewBuilder(f, codec.FileHeader{
		Lineage: feed.Lineage{{ID: as.session, First: 1}},
		Source:  "imported from " + i.name, Next: 1, Created: as.created.UnixNano(),
	}, nil)
	return i, err
}

// An origin is the session and the time of creation that distinguish a recording from another of the same ticks. The command chooses
// what is zero.
type origin struct {
	session feed.SessionID
	created time.Time
}

// parseOrigin reads --session and --created. The error is a usage error.
func parseOrigin(session, created string) (as origin, err error) {
	if session != "" {
		id, err := strconv.ParseUint(session, 16, 64)
		if err != nil || id == 0 {
			return as, usage("--session must be 1 to 16 hexadecimal digits, not all 0, got %q", session)
		}
		as.session = feed.SessionID(id)
	}
	if created != "" {
		for _, layout := range []string{time.RFC3339Nano, time.DateOnly} {
			if as.created, err = time.Parse(layout, created); err == nil {
				break
			}
		}
		if err != nil || as.created.Year() < 1970 || as.created.Year() > 2261 {
			return as, usage("--created must be a time such as 2026-03-02T14:30:00Z or a date, from 1970 to 2261, got %q", created)
		}
	}
	return as, nil
}

// run imports ticks, which are those of the files, all or some, and closes the recording. The
// error has its exit code.
func (i *importing) run(ctx context.Context, p *program, ticks feed.Source) error {
	stop := p.progress(i.progress)
	defer stop()
	err := fileError(i.builder.Feed(ctx, counted{ticks, &i.ticks}), false)
	closeErr := i.builder.Close()
	stop()
	if err != nil {
		return err
	}
	return closeErr
}

// counted is a source whose ticks are counted where another goroutine may look.
type counted struct {
	feed.Source
	n *atomic.Int64
}

func (c counted) Next(ctx context.Context, batch []feed.Tick) (int, error) {
	n, err := c.Source.Next(ctx, batch)
	c.n.Add(int64(n))
	return n, err
}

// progress is the line that tells how far it is.
func (i *importing) progress() string {
	took := time.Since(i.started)
	ticks, read := i.ticks.Load(), i.files.Read()
	text := fmt.Sprintf("importing %s: %s read", i.name, formatBytes(read))
	if size := i.files.Size(); size > 0 {
		text = fmt.Sprintf("importing %s: %.0f %% of %s", i.name, 100*float64(read)/float64(size), formatBytes(size))
	}
	return fmt.Sprintf("%s, %s ticks, %s ticks/s", text, formatCount(float64(ticks)), formatCount(float64(ticks)/took.Seconds()))
}
