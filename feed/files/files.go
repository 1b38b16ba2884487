// Package files opens files of market data in several formats as one [feed.Source]. It
// recognises a format by a file's content, not by its name, and unpacks gzip, zstd and a zip with one file of
// data.
//
//	src, err := files.Open([]string{"es.definition.dbn.zst", "es.mbp-1.dbn.zst"}, nil, files.Config{})
//	if err != nil {
//		return err
//	}
//	defer src.Close()
//	for batch := make([]feed.Tick, 1024); ; {
//		n, err := src.Next(ctx, batch)
//		if err != nil { // io.EOF after the last tick
//			return err
//		}
//		err = pub.Publish(ctx, batch[:n])
//	}
//
// [Format] lists the formats; the package of each documents what it reads and which ticks it makes.
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
	"tickfeed/feed/files/iex"
	"tickfeed/feed/files/internal/pcap"
	"tickfeed/feed/files/itch"
	"tickfeed/feed/files/rawfile"
	"tickfeed/feed/files/textfile"
)

// Config configures how files are read. The zero Config detects the format from the content.
// Fields that do not apply to a format are ignored.
type Config struct {
	// Format is the format of all files. If it is empty, each file's format is detected from its content.
	Format Format
	// Text configures CSV, NDJSON and Parquet. If Format, Venue, Zone, Date or SkipBad of this Config are set, they replace the
	// fields of the same name in Text.
	Text textfile.Config
	// Venue is the venue of CSV, NDJSON and Parquet rows without one, the venue of all ITCH and LOBSTER
	// instruments, and the market of LEAN's zips.
	Venue string
	// Zone is the time zone of local times in CSV, NDJSON and Parquet, and of midnight in LEAN's zips.
	Zone string
	// Date is the date of ITCH messages, as yyyymmdd, and of times of day without a date in CSV and NDJSON.
	// 0 means the date of the capture or in the file name.
	Date int
	// NoBooks leaves out the levels of books in DBN, ITCH and LOBSTER, and in CSV, NDJSON and
	// Parquet rows with several levels. What remains is quotes of the best bid and offer, trades and statuses.
	NoBooks bool
	// PartialBooks includes, for websocket captures, updates of books without a
	// snapshot. ArrivalTimes uses the recorder's times instead of the exchange's.
	PartialBooks, ArrivalTimes bool
	// SkipBad is how many damaged parts (lines, records, packets) are skipped, in all files
	// together, before one ends the source. It must not be negative.
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
	text   *textfile.Source // if set, it detects whether the only file is CSV or NDJSON
}

// An importer is the Source of one format.
type importer interface {
	feed.Source
	Meter(*rawfile.Meter)
}

// Open prepares to read the files at paths, which must all have the same format. LOBSTER and LEAN
// files are merged by time, others are read one after the other. The path "-", at most once, is
// stdin; if it is the only path, the first Next detects its format, unless stdin is a
// [*Pipe]. Named pipes are read as CSV or NDJSON unless cfg states a format. Open reads only
// the beginning of each file.
//
// Open returns an error if a file does not exist or is a directory, a [*rawfile.FormatError]
// if a file has an unknown format or another one than the first, or an error about
// cfg. The errors of Next come from the format's Source: see [Damaged].
func Open(paths []string, stdin io.Reader, cfg Config) (*Source, error) {
	return OpenContext(context.Background(), paths, stdin, cfg)
}

// OpenContext is Open. If stdin is a [*Pipe] that must be copied to a temporary file first, ctx ends the copying.
func OpenContext(ctx context.Context, paths []string, stdin io.Reader, cfg Config) (*Source, error) {
	s := &Source{format: cfg.Format}
	if cfg.Format != "" && dialectOf(cfg.Format) == nil {
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
	if d := dialectOf(cfg.Format); d != nil && d.notPiped != nil && std > 0 {
		return nil, d.notPiped
	}
	if pipe, ok := stdin.(*Pipe); ok && len(paths) == 1 && std == 1 {
		p := &piped{cfg: cfg, glance: &glance{pipe: pipe, done: closed}}
		s.importer = p
		if err := p.open(ctx); err != nil {
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
			f = s.format // the format of the other files
		}
		if err != nil {
			return nil, err
		}
		if s.format == "" {
			s.format = f
		} else if f != s.format && !(f.Text() && s.format.Text()) {
			return nil, &rawfile.FormatError{File: p, Reason: fmt.Sprintf(
				"is %s, but %s is %s; files read together must have the same format", f, paths[max(0, i-1)], s.format)}
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

// open opens paths, of the format s.format.
func (s *Source) open(paths []string, stdin io.Reader, cfg *Config) (err error) {
	d := dialectOf(s.format)
	if d == nil {
		d = dialectOf(CSV) // there are no paths, which its package refuses
	}
	s.noun = d.noun
	s.importer, s.stats, err = d.open(&input{paths: paths, stdin: stdin, cfg: cfg, meter: &s.meter})
	if text, ok := s.importer.(*textfile.Source); ok && len(paths) == 1 && cfg.Format == "" {
		s.text = text
	}
	return err
}

// text returns the Config for files of rows.
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

// interruptible returns src, or if it reads standard input, a source whose Next returns when its context ends, even while no
// input arrives.
func interruptible(src importer, paths []string) importer {
	if slices.Contains(paths, rawfile.Stdin) {
		return &patient{importer: src}
	}
	return src
}

// known returns s, or the source of standard input once its format is known, and nil before that.
func (s *Source) known() *Source {
	if p, ok := s.importer.(*piped); ok {
		return p.source.Load()
	}
	return s
}

// Format returns the format of the files. It returns CSV if it is not yet known whether the format is CSV or NDJSON, and ""
// if standard input has not sent anything yet and no format was stated.
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

// Noun returns the name of what Stats.Messages counts, in the singular: row, line, record or message.
func (s *Source) Noun() string {
	if k := s.known(); k != nil {
		return k.noun
	}
	return "row"
}

// Size returns the size of all files on disk, in bytes, without standard input.
func (s *Source) Size() int64 { return s.size }

// Read returns how many bytes of the files have been read. It is safe for concurrent use.
func (s *Source) Read() int64 {
	if k := s.known(); k != nil {
		return k.meter.Bytes()
	}
	return 0
}

// Stats returns the counts as of the last return from Next. It is safe for concurrent use.
func (s *Source) Stats() Stats {
	k := s.known()
	if k == nil {
		return Stats{}
	}
	st := k.stats()
	if p, ok := s.importer.(*piped); ok {
		st.FirstBad = rawfile.AsGiven(st.FirstBad, p.spool, rawfile.StdinName)
	}
	return st
}

// Recognise returns the format of the file at path. If the format is unknown, the error is a [*rawfile.FormatError] that
// describes the file; otherwise the error is about opening the file.
func Recognise(path string) (Format, error) { return recognise(path, "") }

// recognise is Recognise for a file whose format is stated, or not if stated is empty.
func recognise(path string, stated Format) (Format, error) {
	if path == rawfile.Stdin {
		if stated == "" {
			return CSV, nil
		}
		if d := dialectOf(stated); d.spooled || d.notPiped != nil {
			return "", fmt.Errorf("standard input cannot be read as %s together with other files; save it to a file first", stated)
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
	case !info.Mode().IsRegular(): // a pipe, whose beginning cannot be read twice
		if stated == "" {
			return CSV, nil
		}
		return stated, nil
	case info.Size() == 0:
		return "", &rawfile.FormatError{File: path, Reason: "is empty"}
	case stated == "" && leanEntry(path) != "":
		return "", &rawfile.FormatError{File: path, Reason: fmt.Sprintf("is a LEAN zip with %s; of LEAN's zips only the tick quotes of currency pairs"+
			" (YYYYMMDD_PAIR_tick_quote.csv) can be read", leanEntry(path))}
	}
	if stated != "" {
		return stated, nil
	}
	for _, d := range dialects {
		if d.recogniseFile != nil && d.recogniseFile(path) {
			return d.format, nil
		}
	}
	head, err := rawfile.HeadInZip(path, rawfile.HeadSize)
	if errors.As(err, new(*rawfile.FormatError)) {
		return "", err
	}
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return "", &rawfile.FormatError{File: path, Reason: "cannot be unpacked: the compressed file is cut off"}
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

// RecogniseHead returns the format of an unpacked file that begins with head, which need not
// exceed rawfile.HeadSize bytes. If the format is unknown, f is empty, and reason describes the file, in words that
// may follow its name.
func RecogniseHead(head []byte) (f Format, reason string) {
	if f := recognisedBy(head, false); f != "" {
		return f, ""
	}
	switch {
	case pcap.Recognise(head) && iex.OtherProtocol(head) != 0:
		return "", fmt.Sprintf("is a capture of IEX%s with message protocol %#04x; only TOPS 1.6 (0x8003) and DEEP 1.0 (0x8004) can be read: download the day as one of these, if IEX has it",
			map[uint16]string{iex.ProtocolTOPS15: " TOPS 1.5"}[iex.OtherProtocol(head)], iex.OtherProtocol(head))
	case pcap.Recognise(head):
		return "", "is a capture, but none of ITCH 5.0 (MoldUDP64), IEX TOPS 1.6 or IEX DEEP 1.0 in its first packets" +
			" (if those come later, state the format: itch or iex)" + pcap.Describe(head)
	case itch.OtherFraming(head) != "":
		return "", fmt.Sprintf("is ITCH 5.0 with its messages %s; only BinaryFILE, with a length before each, and captures of MoldUDP64 can be read", itch.OtherFraming(head))
	case bytes.Contains(head[:min(len(head), 16)], []byte("\xa8tickfeed")):
		return "", `is a recording, which is not read here; "tickfeed replay -" plays it from standard input`
	case bytes.HasPrefix(head, []byte("tickfeed-text ")):
		return "", `is the text form of a recording, which is not read here; "tickfeed replay -" plays it from standard input`
	case whatIs(head) != "":
		return "", fmt.Sprintf("is %s; the known formats are %s", whatIs(head), names())
	}
	if f := recognisedBy(head, true); f != "" {
		return f, ""
	}
	return textOf(head), ""
}

// magics are the first bytes of files that people mistake for market data.
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

// whatIs describes an unreadable file that begins with head. It returns "" for text.
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
	case bytes.HasPrefix(bytes.TrimLeft(head, blank), []byte("-----BEGIN ")):
		return "PEM, such as a certificate or a private key, not market data"
	case isMarkup(head):
		return "HTML or XML, such as an error page, not market data"
	case !text:
		return "a binary file of unknown format"
	case len(bytes.TrimLeft(head, blank)) == 0:
		return "blank"
	}
	return ""
}

// The mark of a tar archive, in the header of its first file, and its offset.
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

// blank holds the characters that may precede the first line.
const blank = "\ufeff \t\r\n"

var _ feed.Source = (*Source)(nil)

// Next implements [feed.Source].
func (s *Source) Next(ctx context.Context, batch []feed.Tick) (int, error) {
	return s.importer.Next(ctx, batch)
}
