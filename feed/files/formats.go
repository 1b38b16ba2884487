package files

import (
	"bytes"
	"io"
	"slices"
	"strings"

	"tickfeed/feed/files/dbn"
	"tickfeed/feed/files/iex"
	"tickfeed/feed/files/itch"
	"tickfeed/feed/files/leanfx"
	"tickfeed/feed/files/lobster"
	"tickfeed/feed/files/parquetfile"
	"tickfeed/feed/files/rawfile"
	"tickfeed/feed/files/textfile"
	"tickfeed/feed/files/wscap"
)

// A Format names a format that this package reads, and the package that documents it:
//
//	csv        quotes and trades with a header        feed/files/textfile
//	ndjson     quotes and trades, one object a line   feed/files/textfile
//	parquet    rows in columns with the names of CSV  feed/files/parquetfile
//	dbn        Databento Binary Encoding, v1 to v3    feed/files/dbn
//	itch       Nasdaq TotalView-ITCH 5.0              feed/files/itch
//	iex        IEX TOPS 1.6 and DEEP 1.0, captured    feed/files/iex
//	lobster    LOBSTER messages and order books       feed/files/lobster
//	websocket  Binance, Coinbase, Kraken, captured    feed/files/wscap
//	lean       tick quotes of currency pairs, LEAN    feed/files/leanfx
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

// dialects are all formats. A new format needs its package, a constant above, an entry here, and a line in the
// comment of Format: the commands take its name, its description and its settings from here.
var dialects = []dialect{
	{format: CSV, title: "CSV", noun: "row", settings: SettingRows | SettingHeader | SettingVenue | SettingZone | SettingNoBooks, open: openText},
	{format: NDJSON, title: "NDJSON", noun: "row", settings: SettingRows | SettingVenue | SettingZone | SettingNoBooks, open: openText},
	{
		format: Parquet, title: "Parquet", noun: "row",
		content:   "tickfeed's own, and any with the column names of CSV",
		recognise: parquetfile.Recognise, open: openParquet, spooled: true,
		settings: SettingRows | SettingVenue | SettingZone | SettingNoBooks,
	},
	{
		format: DBN, title: "Databento DBN", noun: "record",
		content:   "Databento: trades, mbp-1, mbp-10, tbbo, bbo, mbo, definitions, statuses, imbalances (auctions)",
		recognise: dbn.Recognise, open: openDBN, settings: SettingNoBooks,
	},
	{
		format: ITCH, title: "Nasdaq ITCH", noun: "message",
		content:   "Nasdaq TotalView-ITCH 5.0, as BinaryFILE or as MoldUDP64 in pcap; net order imbalances become auctions",
		recognise: itch.Recognise, open: openITCH, settings: SettingVenue | SettingDate | SettingNoBooks,
	},
	{
		format: IEX, title: "IEX", noun: "message",
		content:   "IEX TOPS 1.6 and DEEP 1.0 in pcap, with auction information",
		recognise: iex.Recognise, open: openIEX,
	},
	{
		format: LOBSTER, title: "LOBSTER", noun: "row",
		content:   "LOBSTER messages and order books; naming one file of a pair is enough. A message file alone gives trades and statuses",
		recognise: lobster.Recognise, text: true, open: openLOBSTER, notPiped: errNoPair, settings: SettingVenue | SettingNoBooks,
	},
	{
		format: Websocket, title: "websocket captures", noun: "line",
		content:   "captures of Binance (spot, USD-M, COIN-M), Coinbase, Kraken (spot, futures)",
		recognise: wscap.Recognise, text: true, open: openWebsocket, settings: SettingPartialBooks | SettingArrivalTimes,
	},
	{
		format: LEAN, title: "LEAN", noun: "row",
		content:   "LEAN's zips of currency quotes",
		recognise: leanfx.Recognise, recogniseFile: leanfx.RecogniseFile, open: openLEAN, spooled: true, settings: SettingVenue | SettingZone,
	},
}

// A dialect is how one format is recognised and read.
type dialect struct {
	format  Format
	title   string // names the format in a sentence
	content string // describes what is read, for a help text; empty for rows of text, which the command describes
	noun    string // what Stats.Messages counts
	// recognise reports whether an unpacked file that begins with head has the format. It is nil for rows of text, which a
	// file has that no other dialect recognises.
	recognise func(head []byte) bool
	text      bool // files are text, which recognise is asked about if head is of no file that cannot be read
	// recogniseFile is recognise for a file that does not begin with its data, such as an archive; nil if there is none.
	recogniseFile func(path string) bool
	open          func(*input) (importer, func() Stats, error)
	spooled       bool  // standard input is first copied to a file, because it cannot be read sequentially
	notPiped      error // why standard input cannot be read; nil if it can
	settings      Setting
}

// An input is what a dialect opens.
type input struct {
	paths []string
	stdin io.Reader
	cfg   *Config
	meter *rawfile.Meter
}

// dialectOf returns the dialect of f, or nil if there is none.
func dialectOf(f Format) *dialect {
	if i := slices.IndexFunc(dialects, func(d dialect) bool { return d.format == f }); i >= 0 {
		return &dialects[i]
	}
	return nil
}

// Formats returns all formats.
func Formats() []Format {
	var all []Format
	for _, d := range dialects {
		all = append(all, d.format)
	}
	return all
}

func names() string {
	var all []string
	for _, d := range dialects {
		all = append(all, string(d.format))
	}
	return strings.Join(all, ", ")
}

// Text reports whether f is CSV or NDJSON, which package textfile reads.
func (f Format) Text() bool { return f == CSV || f == NDJSON }

// Title returns the name of f in a sentence, such as "Nasdaq ITCH". f must be one of Formats.
func (f Format) Title() string { return dialectOf(f).title }

// Content describes what is read of files of f. It returns "" for CSV and NDJSON: see package textfile.
func (f Format) Content() string { return dialectOf(f).content }

// A Setting is fields of Config that some formats ignore.
type Setting uint

// The settings.
const (
	SettingRows         Setting = 1 << iota // Text, except Text.Header
	SettingHeader                           // Text.Header
	SettingVenue                            // Venue
	SettingZone                             // Zone
	SettingDate                             // Date; rows use it only for times of day
	SettingNoBooks                          // NoBooks
	SettingPartialBooks                     // PartialBooks
	SettingArrivalTimes                     // ArrivalTimes
)

// Formats returns the formats that use s.
func (s Setting) Formats() []Format {
	var all []Format
	for _, d := range dialects {
		if d.settings&s != 0 {
			all = append(all, d.format)
		}
	}
	return all
}

func openDBN(in *input) (importer, func() Stats, error) {
	src, err := dbn.Open(in.paths, dbn.Config{QuotesOnly: in.cfg.NoBooks, SkipBad: in.cfg.SkipBad})
	return in.raw(src, err)
}

func openITCH(in *input) (importer, func() Stats, error) {
	src, err := itch.Open(in.paths, itch.Config{Date: in.cfg.Date, Venue: in.cfg.Venue, QuotesOnly: in.cfg.NoBooks, SkipBad: in.cfg.SkipBad})
	return in.raw(src, err)
}

func openIEX(in *input) (importer, func() Stats, error) {
	src, err := iex.Open(in.paths, iex.Config{SkipBad: in.cfg.SkipBad})
	return in.raw(src, err)
}

// raw returns the source of a format that package rawfile reads.
func (in *input) raw(src *rawfile.Source, err error) (importer, func() Stats, error) {
	if err != nil {
		return nil, nil, err
	}
	src.Stdin(in.stdin)
	return interruptible(src, in.paths), func() Stats { return rawStats(src.Stats()) }, nil
}

func openLOBSTER(in *input) (importer, func() Stats, error) {
	src, err := lobster.Open(in.paths, lobster.Config{Venue: in.cfg.Venue, NoLevels: in.cfg.NoBooks, SkipBad: in.cfg.SkipBad})
	if err != nil {
		return nil, nil, err
	}
	return src, func() Stats { return lobsterStats(src.Stats()) }, nil
}

func openLEAN(in *input) (importer, func() Stats, error) {
	src, err := leanfx.Open(in.paths, leanfx.Config{Market: strings.ToUpper(in.cfg.Venue), Zone: in.cfg.Zone, SkipBad: in.cfg.SkipBad})
	if err != nil {
		return nil, nil, err
	}
	return src, func() Stats { return leanStats(src.Stats()) }, nil
}

func openWebsocket(in *input) (importer, func() Stats, error) {
	cfg := wscap.Config{PartialBooks: in.cfg.PartialBooks, SkipBad: in.cfg.SkipBad}
	if in.cfg.ArrivalTimes {
		cfg.Clock = wscap.ClockArrival
	}
	src, err := wscap.Open(in.paths, cfg)
	if err != nil {
		return nil, nil, err
	}
	src.Stdin(in.stdin)
	return interruptible(src, in.paths), func() Stats { return websocketStats(src.Stats()) }, nil
}

func openParquet(in *input) (importer, func() Stats, error) {
	rows, err := parquetfile.OpenRows(in.paths, in.meter)
	if err != nil {
		return nil, nil, err
	}
	cfg := in.cfg.text()
	cfg.Format = string(CSV)
	src, err := textfile.Open([]string{"-"}, rows, cfg)
	if err != nil {
		rows.Close()
		return nil, nil, err
	}
	src.Parts(in.paths, rows.Where)
	t := &table{src, rows}
	return t, t.stats, nil
}

func openText(in *input) (importer, func() Stats, error) {
	cfg := in.cfg.text()
	if in.cfg.Format != "" {
		cfg.Format = string(in.cfg.Format)
	}
	src, err := textfile.Open(in.paths, in.stdin, cfg)
	if err != nil {
		return nil, nil, err
	}
	return src, func() Stats { return textStats(src.Stats()) }, nil
}

// textOf returns the format of text that no dialect recognises.
func textOf(head []byte) Format {
	if bytes.TrimLeft(head, blank)[0] == '{' {
		return NDJSON
	}
	return CSV
}

// recognisedBy returns the format of the dialect, of text or not, that recognises head, or "".
func recognisedBy(head []byte, text bool) Format {
	for _, d := range dialects {
		if d.text == text && d.recognise != nil && d.recognise(head) {
			return d.format
		}
	}
	return ""
}
