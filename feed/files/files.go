// Package files opens files of market data, whatever their format, as one [feed.Source]. The
// package recognises a format by what a file holds, not by its name; gzip, zstd and a zip with one file of
// data are unpacked.
//
//	src, err := files.Open([]string{"es.definition.dbn.zst", "es.mbp-1.dbn.zst"}, nil, files.Config{})
//
// # Formats
//
//	csv        quotes and trades with a header        feed/textfile
//	ndjson     quotes and trades, an object a line    feed/textfile
//	parquet    rows in columns named as those of CSV  feed/parquetfile
//	dbn        Databento Binary Encoding, v1 to v3    feed/dbn
//	itch       Nasdaq TotalView-ITCH 5.0              feed/itch
//	iex        IEX TOPS 1.6 and DEEP 1.0, captured    feed/iex
//	lobster    LOBSTER messages and order books       feed/lobster
//	websocket  Binance, Coinbase, Kraken, captured    feed/wscap
//	lean       tick quotes of currency pairs, LEAN    feed/leanfx
//
// The package of each format says what it reads and what becomes of it.
package files

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"tickfeed/feed"
	"tickfeed/feed/dbn"
	"tickfeed/feed/iex"
	"tickfeed/feed/itch"
	"tickfeed/feed/leanfx"
	"tickfeed/feed/lobster"
	"tickfeed/feed/parquetfile"
	"tickfeed/feed/pcap"
	"tickfeed/feed/rawfile"
	"tickfeed/feed/textfile"
	"tickfeed/feed/wscap"
)

// A Format is one of the package comment, by its name there.
type Format string

// The formats.
const (
	CSV       Format = "csv"
	NDJSON    Format = "ndjson"
	Parquet   Format = "parquet"
	DBN       Format = "dbn"
	ITCH      Format = "itch"
	IEX       Format = "iex"
	LOBSTER   Format = "lobster"
	Websocket Format = "websocket"
	LEAN      Format = "lean"
)

// Formats are all there are.
func Formats() []Format {
	return []Format{CSV, NDJSON, Parquet, DBN, ITCH, IEX, LOBSTER, Websocket, LEAN}
}

// Text reports whether f is CSV or NDJSON, which package textfile reads.
func (f Format) Text() bool { return f == CSV || f == NDJSON }

// Config says how files are to be read. The zero Config tells the format from the content.
// What is of no meaning in a format is not looked at.
type Config struct {
	// Format is that of all files; empty tells it from each file's content.
	Format Format
	// Text is about CSV, NDJSON and Parquet; its Format, Venue, Zone and SkipBad are taken from here
	// where they are set here.
	Text textfile.Config
	// Venue is that of CSV, NDJSON and Parquet rows that name none, of all ITCH and LOBSTER
	// instruments, and the market of LEAN's zips.
	Venue string
	// Zone is that of local times in CSV, NDJSON and Parquet, and of midnight in LEAN's zips.
	Zone string
	// Date is that of ITCH messages, as yyyymmdd, and of times of day in CSV and NDJSON beside which
	// there is no date; 0 takes the capture's or the file name's.
	Date int
	// NoBooks leaves the levels of books out of DBN, ITCH, LOBSTER, and of rows of CSV, NDJSON and
	// Parquet that hold several: only quotes of the best bid and offer, trades and statuses.
	NoBooks bool
	// PartialBooks tells, of websocket captures, also updates of books that no snapshot came
	// for; ArrivalTimes takes the recorder's times instead of the exchange's.
	PartialBooks, ArrivalTimes bool
	// SkipBad is how many damaged parts (lines, records, packets) are passed over, in all files
	// together, before one ends the source. Not negative.
	SkipBad int
}

// A Source yields the ticks of files. Make one with [Open]; it implements [feed.Source].
type Source struct {
	importer
	format Format
	noun   string
	stats  func() Stats
	meter  rawfile.Meter
	size   int64
	text   *textfile.Source // set if it knows better than format whether its only file is CSV or NDJSON
}

// An importer is what the Source of each format can do.
type importer interface {
	feed.Source
	Meter(*rawfile.Meter)
}

// Open prepares to read the files at paths, which are all of one format (LOBSTER and LEAN
// files are merged by time, others are read one after the other). "-", at most once, is
// stdin; where it stands alone the first Next recognises its format by what comes, unless it is a
// [*Pipe] already. Named pipes are read as CSV or NDJSON if no format is stated. Open reads no more
// than the beginning of each file.
//
// The error names the file that is not there or is a directory, is a [*rawfile.FormatError]
// where a file is of no known format or of another one than the first, or says what in cfg is
// wrong. Later errors are those of the format's Source: see [Damaged].
func Open(paths []string, stdin io.Reader, cfg Config) (*Source, error) {
	s := &Source{format: cfg.Format}
	if cfg.Format != "" && !slices.Contains(Formats(), cfg.Format) {
		return nil, fmt.Errorf("there is no format %q, only %s", cfg.Format, names())
	}
	std := 0
	seen := make(map[string]bool)
	for _, p := range paths {
		if p == rawfile.Stdin {
			if std++; std > 1 {
				return nil, errors.New("standard input (-) can be read only once")
			}
			continue
		}
		info, err := os.Stat(p)
		if err != nil {
			return nil, err
		}
		if info.IsDir() {
			return nil, fmt.Errorf("%s is a directory; name its files", p)
		}
		s.size += info.Size()
		if real, err := filepath.EvalSymlinks(p); err == nil && info.Mode().IsRegular() {
			if real = filepath.Clean(real); seen[real] {
				return nil, fmt.Errorf("%s is named twice", p)
			}
			seen[real] = true
		}
	}
	if cfg.Format == LOBSTER && std > 0 {
		return nil, errNoPair
	}
	if pipe, ok := stdin.(*Pipe); ok && len(paths) == 1 && std == 1 {
		p := &piped{cfg: cfg, glance: &glance{pipe: pipe, done: closed}}
		s.importer = p
		if err := p.open(context.Background()); err != nil {
			return nil, errors.Join(err, p.Close())
		}
		return s, nil
	}
	if len(paths) == 1 && std == 1 && stdin != nil && !cfg.Format.Text() {
		s.importer = &piped{cfg: cfg, stdin: stdin}
		return s, nil
	}
	for i, p := range paths {
		f, err := recognise(p, cfg.Format)
		if err == nil && p == rawfile.Stdin && cfg.Format == "" && s.format != "" {
			f = s.format // as the files beside it
		}
		if err != nil {
			return nil, err
		}
		if s.format == "" {
			s.format = f
		} else if f != s.format && !(f.Text() && s.format.Text()) {
			return nil, &rawfile.FormatError{File: p, Reason: fmt.Sprintf(
				"is %s, but %s is %s; files that are read together must be of one format", f, paths[max(0, i-1)], s.format)}
		}
	}
	if err := s.open(paths, stdin, &cfg); err != nil {
		return nil, err
	}
	s.importer.Meter(&s.meter)
	return s, nil
}

var closed = func() chan struct{} {
	c := make(chan struct{})
	close(c)
	return c
}()

func names() string {
	var all []string
	for _, f := range Formats() {
		all = append(all, string(f))
	}
	return strings.Join(all, ", ")
}

func (s *Source) open(paths []string, stdin io.Reader, cfg *Config) (err error) {
	switch s.format {
	case DBN:
		src, e := dbn.Open(paths, dbn.Config{QuotesOnly: cfg.NoBooks, SkipBad: cfg.SkipBad})
		err = s.raw(src, e, "record", paths, stdin)
	case ITCH:
		src, e := itch.Open(paths, itch.Config{Date: cfg.Date, Venue: cfg.Venue, QuotesOnly: cfg.NoBooks, SkipBad: cfg.SkipBad})
		err = s.raw(src, e, "message", paths, stdin)
	case IEX:
		src, e := iex.Open(paths, iex.Config{SkipBad: cfg.SkipBad})
		err = s.raw(src, e, "message", paths, stdin)
	case LOBSTER:
		src, e := lobster.Open(paths, lobster.Config{Venue: cfg.Venue, NoLevels: cfg.NoBooks, SkipBad: cfg.SkipBad})
		s.importer, s.noun, err = src, "row", e
		s.stats = func() Stats { return lobsterStats(src.Stats()) }
	case LEAN:
		src, e := leanfx.Open(paths, leanfx.Config{Market: strings.ToUpper(cfg.Venue), Zone: cfg.Zone, SkipBad: cfg.SkipBad})
		s.importer, s.noun, err = src, "row", e
		s.stats = func() Stats { return leanStats(src.Stats()) }
	case Websocket:
		w := wscap.Config{PartialBooks: cfg.PartialBooks, SkipBad: cfg.SkipBad}
		if cfg.ArrivalTimes {
			w.Clock = wscap.ClockArrival
		}
		src, e := wscap.Open(paths, w)
		if e != nil {
			return e
		}
		src.Stdin(stdin)
		s.importer, s.noun = interruptible(src, paths), "line"
		s.stats = func() Stats { return websocketStats(src.Stats()) }
	case Parquet:
		rows, e := parquetfile.OpenRows(paths, &s.meter)
		if e != nil {
			return e
		}
		t := cfg.text()
		t.Format = string(CSV)
		src, e := textfile.Open([]string{"-"}, rows, t)
		if e != nil {
			rows.Close()
			return e
		}
		src.Parts(paths, rows.Where)
		table := &table{src, rows}
		s.importer, s.noun = table, "row"
		s.stats = table.stats
	default:
		t := cfg.text()
		if cfg.Format != "" {
			t.Format = string(cfg.Format)
		}
		src, e := textfile.Open(paths, stdin, t)
		s.importer, s.noun, err = src, "row", e
		s.stats = func() Stats { return textStats(src.Stats()) }
		if len(paths) == 1 && cfg.Format == "" {
			s.text = src
		}
	}
	return err
}

// text is how files of rows are read.
func (c *Config) text() textfile.Config {
	t := c.Text
	if c.Venue != "" {
		t.Venue = c.Venue
	}
	if c.Zone != "" {
		t.Zone = c.Zone
	}
	if c.Date != 0 {
		t.Date = c.Date
	}
	if c.SkipBad != 0 {
		t.SkipBad = c.SkipBad
	}
	t.QuotesOnly = t.QuotesOnly || c.NoBooks
	return t
}

// raw is the source of a format that package rawfile reads.
func (s *Source) raw(src *rawfile.Source, err error, noun string, paths []string, stdin io.Reader) error {
	if err != nil {
		return err
	}
	src.Stdin(stdin)
	s.importer, s.noun = interruptible(src, paths), noun
	s.stats = func() Stats { return rawStats(src.Stats()) }
	return nil
}

// interruptible is src, whose Next ends with its context also while standard input is silent.
func interruptible(src importer, paths []string) importer {
	if slices.Contains(paths, rawfile.Stdin) {
		return &patient{importer: src}
	}
	return src
}

// known is s, or the source of standard input once its format is known; nil before that.
func (s *Source) known() *Source {
	if p, ok := s.importer.(*piped); ok {
		return p.source.Load()
	}
	return s
}

// Format is that of the files; CSV where it is CSV or NDJSON and not yet known which, and empty
// where nothing of standard input has come yet.
func (s *Source) Format() Format {
	k := s.known()
	if k == nil {
		return s.format // as stated
	}
	if k.text != nil {
		if f := k.text.Stats().Format; f != "" {
			return Format(f)
		}
	}
	return k.format
}

// Noun is what Stats.Messages counts, in the singular: row, line, record or message.
func (s *Source) Noun() string {
	if k := s.known(); k != nil {
		return k.noun
	}
	return "row"
}

// Size is that of all files as they lie on disk, in bytes; without standard input.
func (s *Source) Size() int64 { return s.size }

// Read is how many bytes of the files were read so far. Any goroutine may ask.
func (s *Source) Read() int64 {
	if k := s.known(); k != nil {
		return k.meter.Bytes()
	}
	return 0
}

// Stats is what was read so far, as of the last return from Next. Any goroutine may ask.
func (s *Source) Stats() Stats {
	if k := s.known(); k != nil {
		return k.stats()
	}
	return Stats{}
}

// Recognise is the format of the file at path. The error is a [*rawfile.FormatError] that says
// what the file is where it is of none, or is about opening the file.
func Recognise(path string) (Format, error) { return recognise(path, "") }

// recognise is Recognise for a file that is stated to be of a format, or not.
func recognise(path string, stated Format) (Format, error) {
	if path == rawfile.Stdin {
		if stated == "" {
			return CSV, nil
		}
		if stated == LOBSTER || stated == LEAN || stated == Parquet {
			return "", fmt.Errorf("standard input is not read as %s beside other files; put it into a file", stated)
		}
		return stated, nil
	}
	info, err := os.Stat(path)
	if err != nil {
		return "", err
	}
	if info.IsDir() {
		return "", fmt.Errorf("%s is a directory; name its files", path)
	}
	switch {
	case !info.Mode().IsRegular(): // a pipe: what is read of it is gone
		if stated == "" {
			return CSV, nil
		}
		return stated, nil
	case info.Size() == 0:
		return "", &rawfile.FormatError{File: path, Reason: "is empty"}
	case stated == "" && leanEntry(path) != "":
		return "", &rawfile.FormatError{File: path, Reason: fmt.Sprintf("is a zip of LEAN with %s, of which only the tick quotes of currency pairs"+
			" (YYYYMMDD_PAIR_tick_quote.csv) are read", leanEntry(path))}
	}
	if stated != "" {
		return stated, nil
	}
	if leanfx.RecogniseFile(path) {
		return LEAN, nil
	}
	head, err := rawfile.HeadInZip(path, rawfile.HeadSize)
	if errors.As(err, new(*rawfile.FormatError)) {
		return "", err
	}
	if err != nil {
		return "", &rawfile.FormatError{File: path, Reason: "cannot be unpacked: " + err.Error()}
	}
	if len(head) == 0 {
		return "", &rawfile.FormatError{File: path, Reason: "is empty once it is unpacked"}
	}
	f, reason := RecogniseHead(head)
	if f == "" {
		return "", &rawfile.FormatError{File: path, Reason: reason}
	}
	return f, nil
}

// RecogniseHead is the format of an unpacked file that begins with head, of which
// rawfile.HeadSize bytes are enough; or empty, and what the file seems to be, in words that
// may follow its name.
func RecogniseHead(head []byte) (f Format, reason string) {
	switch {
	case dbn.Recognise(head):
		return DBN, ""
	case iex.Recognise(head):
		return IEX, ""
	case itch.Recognise(head):
		return ITCH, ""
	case leanfx.Recognise(head):
		return LEAN, ""
	case parquetfile.Recognise(head):
		return Parquet, ""
	case pcap.Recognise(head) && iex.OtherProtocol(head) != 0:
		return "", fmt.Sprintf("is a capture of IEX with message protocol %#04x; what can be read is TOPS 1.6 (0x8003) and DEEP 1.0 (0x8004)", iex.OtherProtocol(head))
	case pcap.Recognise(head):
		return "", "is a capture, but none of ITCH 5.0 (MoldUDP64), IEX TOPS 1.6 or IEX DEEP 1.0 in its first packets" +
			" (if those come later, state the format: itch or iex)" + pcap.Describe(head)
	case itch.OtherFraming(head) != "":
		return "", fmt.Sprintf("is ITCH 5.0 with its messages %s; what can be read is BinaryFILE, a length before each, and captures of MoldUDP64", itch.OtherFraming(head))
	case bytes.Contains(head[:min(len(head), 16)], []byte("\xa8tickfeed")):
		return "", `is a recording, which is not read here; "tickfeed replay -" plays it from standard input`
	case bytes.HasPrefix(head, []byte("tickfeed-text ")):
		return "", `is the text form of a recording, which is not read here; "tickfeed replay -" plays it from standard input`
	case whatIs(head) != "":
		return "", fmt.Sprintf("is %s; what can be read is %s", whatIs(head), names())
	case wscap.Recognise(head):
		return Websocket, ""
	case lobster.Recognise(head):
		return LOBSTER, ""
	case bytes.TrimLeft(head, blank)[0] == '{':
		return NDJSON, ""
	}
	return CSV, ""
}

// magics tell files that people mistake for market data.
var magics = []struct{ magic, name string }{
	{"PK\x03\x04", "a zip, but not one of LEAN's (YYYYMMDD_PAIR_tick_quote.csv in it); unzip it"},
	{"ARROW1", "an Arrow file; convert it to CSV"},
	{"\x89HDF", "HDF5; convert it to CSV"},
	{"BZh", "packed with bzip2; unpack it"},
	{"\xfd7zXZ", "packed with xz; unpack it"},
	{"\x04\x22\x4d\x18", "packed with lz4; unpack it"},
	{"7z\xbc\xaf", "a 7-Zip archive; unpack it"},
	{"Rar!\x1a\x07", "a RAR archive; unpack it"},
	{"\x1f\x9d", "packed with compress; unpack it"},
	{"\xff\x06\x00\x00sNaPpY", "packed with snappy; unpack it"},
	{"FEA1", "a Feather file; convert it to CSV or Parquet"},
	{"ORC", "an ORC file; convert it to CSV or Parquet"},
	{"Obj\x01", "an Avro file; convert it to CSV or Parquet"},
	{"\x93NUMPY", "a NumPy file; convert it to CSV or Parquet"},
	{"\x1f\x8b", "packed with gzip twice; unpack it once"},
	{"\x28\xb5\x2f\xfd", "packed with zstd twice; unpack it once"},
	{"\xff\xfe", "UTF-16 text; convert it to UTF-8"},
	{"\xfe\xff", "UTF-16 text; convert it to UTF-8"},
	{"SQLite format 3", "an SQLite database; export its tables as CSV"},
}

// whatIs is what a file seems to be that begins with head and cannot be read; empty for text.
func whatIs(head []byte) string {
	text := bytes.IndexByte(head, 0) < 0
	for _, m := range magics {
		if bytes.HasPrefix(head, []byte(m.magic)) && (!text || strings.ContainsFunc(m.magic, notPrintable)) {
			return m.name
		}
	}
	switch {
	case len(head) >= tarMagicAt+len(tarMagic) && string(head[tarMagicAt:][:len(tarMagic)]) == tarMagic:
		return "a tar archive; unpack it and name its files"
	case isMarkup(head):
		return "HTML or XML, such as a page that tells of an error, and no data"
	case !text:
		return "binary, and nothing that is known"
	case len(bytes.TrimLeft(head, blank)) == 0:
		return "blank"
	}
	return ""
}

// What a tar archive has in the header of its first file.
const (
	tarMagic   = "ustar"
	tarMagicAt = 257
)

// isMarkup reports whether head begins as HTML or XML does.
func isMarkup(head []byte) bool {
	head = bytes.ToLower(bytes.TrimLeft(head[:min(len(head), 256)], blank))
	for _, begin := range []string{"<!doctype", "<html", "<?xml", "<error"} {
		if bytes.HasPrefix(head, []byte(begin)) {
			return true
		}
	}
	return false
}

func notPrintable(r rune) bool { return r < ' ' || r > '~' }

// blank is what may stand before the first line.
const blank = "\ufeff \t\r\n"

var _ feed.Source = (*Source)(nil)

// Next implements [feed.Source].
func (s *Source) Next(ctx context.Context, batch []feed.Tick) (int, error) {
	return s.importer.Next(ctx, batch)
}
