package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"tickfeed/codec/recording"
	"tickfeed/codec/recording/text"
	"tickfeed/feed/files"
	"tickfeed/feed/files/itch"
	"tickfeed/feed/files/rawfile"
	"tickfeed/feed/files/textfile"
	"tickfeed/feed/scratch"
	"tickfeed/feed/script"
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
	places  bool // the command has flags that name places, to which --zone applies too
}

// groupImport is the heading of the flags of importFlags.
const groupImport = "Files that are not recordings"

// importFlags adds to cmd the flags that say how files that are not recordings are read.
func importFlags(cmd *cobra.Command, o *importOptions) {
	o.flags = cmd.Flags()
	group(cmd, groupImport, func(f *pflag.FlagSet) {
		f.StringVar(&o.format, "format", "", "`FORMAT` "+listOf(files.Formats())+" (default: detected from the content)")
		f.StringVar(&o.preset, "preset", "", "columns and times of a `VENDOR`'s CSV files: "+strings.Join(textfile.PresetNames(), ", ")+"; massive is polygon, and binance-trades is binance")
		f.StringSliceVar(&o.header, "header", nil, "`NAMES` of the columns of csv without a header line, such as time,symbol,price,size; leave the name of a column empty to ignore it")
		f.StringArrayVar(&o.columns, "column", nil, "read FIELD from the column NAME: `FIELD=NAME` with FIELD time, symbol, bid, bid_size, price, ...; repeatable")
		f.StringVar(&o.files.Text.Rows, "rows", "", "read every row as `KIND` trade, quote or level (default: detected from its columns)")
		f.StringVar(&o.files.Text.Symbol, "symbol", "", "`SYMBOL` of rows without a symbol")
		f.StringVar(&o.files.Venue, "venue", "", "`VENUE` if the file names none")
		of, without := "local times", ""
		if o.places {
			of, without = "places, and of local times in the files", " (default: UTC, of places only)"
		}
		f.StringVar(&o.files.Zone, "zone", "", "time `ZONE` of "+of+", such as America/New_York, UTC or -05:00"+without)
		f.StringVar(&o.date, "date", "", "`DATE` of itch messages, and of times of day (hhmmss), such as 2026-03-02 (default: the capture's or the file name's)")
		f.StringVar(&o.files.Text.EpochUnit, "epoch-unit", "", "`UNIT` of times that are numbers: s, ms, us, ns or hhmmss (default: detected from the magnitude)")
		f.Int8Var(&o.files.Text.PriceExponent, "price-exponent", 0, "store prices as multiples of 10^`N`, or finer if rows need it (default: -4)")
		f.Int8Var(&o.files.Text.SizeExponent, "size-exponent", 0, "store sizes as multiples of 10^`N`, or finer if rows need it")
		f.BoolVar(&o.files.Text.ZeroIsPrice, "zero-is-price", false, "read a bid or ask of 0 as a price, not as an empty side")
		f.BoolVar(&o.files.NoBooks, "no-books", false, "read only the best bid and offer of books ("+listOf(files.SettingNoBooks.Formats())+")")
		f.BoolVar(&o.files.PartialBooks, "partial-books", false, "also read changes of books without a snapshot ("+listOf(files.SettingPartialBooks.Formats())+")")
		f.BoolVar(&o.files.ArrivalTimes, "arrival-times", false, "use the recorder's times, not the exchange's ("+listOf(files.SettingArrivalTimes.Formats())+")")
		countVar(f, &o.files.SkipBad, "skip-bad", 0, "skip up to `N` bad lines, records or packets instead of stopping at the first")
	})
}

func listOf(formats []files.Format) string {
	var names []string
	for _, f := range formats {
		names = append(names, string(f))
	}
	return strings.Join(names, ", ")
}

// flagSettings lists the settings of the flags of importFlags that apply to some formats only.
var flagSettings = map[string]files.Setting{
	"preset":         files.SettingRows,
	"header":         files.SettingHeader,
	"column":         files.SettingRows,
	"rows":           files.SettingRows,
	"symbol":         files.SettingRows,
	"epoch-unit":     files.SettingRows,
	"price-exponent": files.SettingRows,
	"size-exponent":  files.SettingRows,
	"zero-is-price":  files.SettingRows,
	"venue":          files.SettingVenue,
	"zone":           files.SettingZone,
	"date":           files.SettingDate, // also text with times of day, see checkFormats
	"no-books":       files.SettingNoBooks,
	"partial-books":  files.SettingPartialBooks,
	"arrival-times":  files.SettingArrivalTimes,
}

// config returns the configuration from the flags. The error is a usage error.
func (o *importOptions) config() (files.Config, error) {
	cfg := o.files
	cfg.Format = files.Format(o.format)
	if cfg.Format != "" && !slices.Contains(files.Formats(), cfg.Format) {
		return cfg, usage("--format must be one of %v, got %q%s", files.Formats(), o.format, script.DidYouMean(o.format, files.Formats()))
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

// checkFormats reports a flag that was given although it applies to none of the formats of the input.
func (o *importOptions) checkFormats(formats []files.Format) error {
	var err error
	o.flags.Visit(func(f *pflag.Flag) {
		about := flagSettings[f.Name].Formats()
		if f.Name == "date" && o.timesOfDay() {
			about = append(about, files.CSV, files.NDJSON)
		}
		if about == nil || err != nil || o.places && f.Name == "zone" {
			return
		}
		for _, format := range formats {
			if format == "" || slices.Contains(about, format) { // "": nothing was read from standard input yet
				return
			}
		}
		if len(formats) == 0 {
			err = usage("--%s applies only to files that are not recordings, but all files are recordings", f.Name)
			return
		}
		err = usage("--%s applies only to files of %v, but the input is %v", f.Name, about, formats)
	})
	return err
}

// timesOfDay reports whether the flags make the times of CSV and NDJSON times of day, which need a date.
func (o *importOptions) timesOfDay() bool {
	cfg, err := o.config()
	return err == nil && cfg.Text.EpochUnit == textfile.UnitClock
}

// openSource opens files that are not recordings. Errors have their exit codes.
func (o *importOptions) openSource(ctx context.Context, paths []string, stdin io.Reader) (*files.Source, error) {
	cfg, err := o.config()
	if err != nil {
		return nil, err
	}
	for _, path := range paths {
		if info, err := os.Stat(path); path != "-" && err == nil && info.Mode()&os.ModeDevice != 0 {
			return nil, deviceError(path)
		}
	}
	src, err := files.OpenContext(ctx, paths, stdin, cfg)
	switch {
	case err != nil && ctx.Err() != nil:
		return nil, errInterrupted
	case err != nil:
		return nil, fileError(flagsNamed(err), true)
	}
	return src, nil
}

// flagsNamed returns err, from opening files, with the name of an invalid configuration field replaced by its flag.
func flagsNamed(err error) error {
	for field, flag := range map[string]string{
		"EpochUnit": "--epoch-unit", "Rows": "--rows", "PriceExponent": "--price-exponent", "SizeExponent": "--size-exponent",
		"Symbol": "--symbol", "Venue": "--venue", "Zone": "--zone", "Columns": "--column",
	} {
		if rest, ok := strings.CutPrefix(err.Error(), field); ok && (rest[0] == ' ' || rest[0] == ':') {
			return rawfile.AsGiven(err, field, flag)
		}
	}
	return err
}

// fileError returns err, from reading files that are not recordings, with its exit code and what to do about it. Errors
// in the data are exit code 3; while opening, all other errors are usage errors.
func fileError(err error, opening bool) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, context.Canceled):
		return errInterrupted
	case files.Skippable(err) && errors.As(err, new(*rawfile.DamageError)):
		return wrong("%w (--skip-bad N skips N bad records or packets)", err)
	case files.Skippable(err):
		return wrong("%w (--skip-bad N skips N bad lines)", err)
	case errors.Is(err, itch.ErrNoDate):
		return usage("%w; state it with --date, such as --date 2026-03-02", err)
	case files.Damaged(err):
		return wrong("%w", err)
	case opening:
		return usage("%w", err)
	}
	return err
}

// An openRecording is a recording that is open for reading: a file as it is, or one imported from files in other formats.
type openRecording struct {
	*recording.Input
	name     string // the file or files, as given
	imported bool
	// temporary is a directory that Close removes; nil if there is none.
	temporary *scratch.Dir
}

// title returns the name for people, on one line.
func (r *openRecording) title() string { return oneLine(r.name) }

// Close closes the recording and removes its temporary file.
func (r *openRecording) Close() error {
	return errors.Join(r.Input.Close(), r.temporary.Remove())
}

// closeAll closes recordings.
func closeAll(all []*openRecording) {
	for _, r := range all {
		_ = r.Close() // recordings are only read
	}
}

// notClosed is how every command says that a recording was not closed, as after a kill or a copy that was cut off.
const notClosed = "not closed, so its end may be missing"

// unclosed says which recordings were not closed. It returns "" if all were.
func unclosed(all []*openRecording) string {
	var open []string
	for _, x := range all {
		if r, err := x.Reader(); err == nil && r.Trailer() == nil {
			open = append(open, x.name)
		}
	}
	switch len(open) {
	case 0:
		return ""
	case 1:
		return namesOf(open) + ": " + notClosed
	}
	return namesOf(open) + ": each " + notClosed
}

// openRecordings opens the files at paths, in their order. Files that are not recordings are imported into temporary
// ones, with a progress line: each CSV or NDJSON file into its own, all files of another format into one, which takes the
// place of the first of them. The error has its exit code.
func (p *program) openRecordings(ctx context.Context, paths []string, o *importOptions) (all []*openRecording, err error) {
	if paths, err = expandJournals(paths); err != nil {
		return nil, err
	}
	paths, spooled, err := p.spoolPipes(ctx, paths, acceptFiles(ctx, o))
	if err != nil {
		return nil, err
	}
	defer func() {
		for spool := range spooled {
			_ = os.Remove(spool) // the file stays open; run removes it on systems that remove no open file
		}
	}()
	return p.openSpooled(ctx, paths, spooled, o)
}

// openSpooled is openRecordings for what spoolPipes returned.
func (p *program) openSpooled(ctx context.Context, paths []string, spooled map[string]string, o *importOptions) (all []*openRecording, err error) {
	defer func() {
		if err != nil {
			closeAll(all)
			all = nil
		}
		for spool, name := range spooled {
			err = rawfile.AsGiven(err, spool, name)
		}
	}()
	cfg, err := o.config()
	if err != nil {
		return nil, err
	}
	var formats []files.Format
	var groups [][]string // groups of paths; a recording is a group without a format
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
		var given []string
		for _, path := range group {
			given = append(given, cmp.Or(spooled[path], path))
		}
		if kinds[i] == "" {
			if r, err = openFile(ctx, group[0]); err == nil {
				r.name = given[0]
			}
		} else {
			r, err = p.importTemporary(ctx, group, given, o)
		}
		if err != nil {
			return all, err
		}
		all = append(all, r)
	}
	return all, nil
}

// expandJournals returns paths with the directory of a journal replaced by its recordings, in their order. Files of a
// journal that are not recordings, which j/* names too, are left out: its lock and the saved ends of torn files. The
// error is a usage error.
func expandJournals(paths []string) (out []string, err error) {
	for _, path := range paths {
		info, err := os.Stat(path)
		switch {
		case err == nil && info.IsDir():
			names, err := filepath.Glob(filepath.Join(escapeGlob(path), "*"+recordingSuffix))
			if err != nil || len(names) == 0 {
				return nil, usage("%s is a directory, but not a journal: it holds no %s files; name the files", path, recordingSuffix)
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

// journalFiles returns the files in dir that a publisher would use of the journal in dir, in their order, and reports the others; nil
// if dir has no files that are named like a journal's. The error has its exit code.
func (p *program) journalFiles(ctx context.Context, dir string) (paths []string, err error) {
	names, missing, err := journal.Files(ctx, journal.Config{Dir: dir})
	switch {
	case ctx.Err() != nil:
		return nil, errInterrupted
	case errors.As(err, new(*fs.PathError)):
		return nil, usage("%w", err)
	case err != nil:
		return nil, wrong("%w", err)
	case len(names) == 0 && len(missing) > 0:
		return nil, wrong("journal %s: none of its files can be used: %v", dir, missing[0])
	}
	for _, d := range missing {
		if d.Unused {
			p.notef("%s: not part of the journal: %s", oneLine(dir), oneLine(d.String()))
		}
	}
	if len(names) == 0 {
		return nil, nil
	}
	all, err := filepath.Glob(filepath.Join(escapeGlob(dir), "*"+recordingSuffix))
	if err != nil {
		return nil, err
	}
	for _, path := range all {
		if name := filepath.Base(path); !journal.IsFile(name) {
			p.notef("%s: not part of the journal: %s is not named like a file of it", oneLine(dir), oneLine(name))
		}
	}
	for _, name := range names {
		paths = append(paths, filepath.Join(dir, name))
	}
	return paths, nil
}

// escapeGlob returns path as a pattern that matches only path.
func escapeGlob(path string) string {
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`).Replace(path)
}

// kindOf returns the format of the file at path; empty for a recording.
func (p *program) kindOf(path string, stated files.Format) (files.Format, error) {
	if path == rawfile.Stdin {
		pipe, ok := p.stdin.(*files.Pipe)
		switch {
		case stated != "" || !ok:
			return stated, nil
		case len(pipe.Head()) == 0:
			return "", &rawfile.FormatError{File: rawfile.StdinName, Reason: "is empty"}
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

// deviceError returns the error for a device that is given as market data.
func deviceError(path string) error {
	return usage("%s is a device, which may have no end; name a file or a pipe, or - for standard input", path)
}

// isText reports whether the file at path is the text form of a recording.
func isText(path string) bool {
	head, err := rawfile.Head(path, rawfile.HeadSize)
	return err == nil && text.Recognise(head)
}

// readText writes to w the recording whose text form is the file at path. The error has its exit code.
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

// openFile opens a recording as it is, or a temporary one made from its text form.
func openFile(ctx context.Context, path string) (*openRecording, error) {
	if isGzip(path) {
		r, err := openTemporary(path, func(f *os.File) error { return unpack(ctx, f, path) })
		if r != nil {
			r.imported = false
		}
		return r, err
	}
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
	in.SetContext(ctx)
	r := &openRecording{Input: in, name: path}
	if _, err := in.Reader(); err != nil {
		_ = r.Close() // the file was only read
		if ctx.Err() != nil {
			return nil, errInterrupted
		}
		if in.FileSize() == 0 {
			err = errors.New("the file is empty")
		}
		return nil, wrong("%s: %w", path, err)
	}
	return r, nil
}

// isGzip reports whether the file at path is a recording compressed with gzip, which must be unpacked first, unlike zstd.
func isGzip(path string) bool {
	f, err := os.Open(path)
	if err != nil {
		return false
	}
	defer f.Close()
	var magic [2]byte
	if _, err := io.ReadFull(f, magic[:]); err != nil || magic != [2]byte{0x1f, 0x8b} {
		return false
	}
	head, err := rawfile.Head(path, rawfile.HeadSize)
	return err == nil && recording.Recognise(head)
}

// unpack writes the decompressed content of the file at path to w, and closes w.
func unpack(ctx context.Context, w *os.File, path string) error {
	f, err := rawfile.Open(path)
	if err != nil {
		return usage("%w", err)
	}
	defer f.Close()
	if _, err := io.Copy(w, cancelled{ctx, f}); errors.Is(err, context.Canceled) {
		return errInterrupted
	} else if err != nil {
		return wrong("%s: cannot be unpacked: %w", path, err)
	}
	return w.Close()
}

// openTemporary opens a temporary recording, which fill writes and closes. name names the files that it comes from.
func openTemporary(name string, fill func(*os.File) error) (*openRecording, error) {
	dir, err := scratch.New("", "import")
	if err != nil {
		return nil, fmt.Errorf("import into a temporary recording: %w", err)
	}
	f, err := os.Create(filepath.Join(dir.Path, "imported.tick"))
	if err != nil {
		return nil, errors.Join(err, dir.Remove())
	}
	if err := fill(f); err != nil {
		f.Close() // fill may have closed it already
		_ = dir.Remove()
		return nil, err
	}
	in, err := recording.Open(f.Name())
	if err != nil {
		_ = dir.Remove()
		return nil, err
	}
	r := &openRecording{Input: in, name: name, imported: true, temporary: dir}
	if dir.Remove() == nil { // the file stays open, and is gone even after a crash
		r.temporary = nil
	}
	return r, nil
}
