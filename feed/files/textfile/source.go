// Package textfile reads quotes and trades from text files, CSV or NDJSON (one JSON object per line), as a [feed.Source],
// and writes them.
//
//	src, err := textfile.Open([]string{"quotes.csv.gz"}, os.Stdin, textfile.Config{Zone: "America/New_York"})
//	if err != nil {
//		return err
//	}
//	defer src.Close()
//	for batch := make([]feed.Tick, 256); ; {
//		n, err := src.Next(ctx, batch)
//		use(batch[:n])
//		if err != nil {
//			return err // io.EOF at the end
//		}
//	}
//
// [Source] documents files, columns, what a row is, prices, and times. A [Formatter] writes ticks as CSV or NDJSON that a
// Source reads back to the same ticks.
package textfile

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"sync"

	"tickfeed/feed"
	"tickfeed/feed/files/rawfile"
)

// A Source yields the ticks of text files. Make one with [Open]; it implements [feed.Source].
//
// # Files
//
// Files are read one after the other in the order given; "-" is standard input. The format of a
// file is detected from its content, not from its name: gzip, zstd and a zip with one file of data are
// unpacked (data after the compressed data is ignored and noted), an object in
// the first line means NDJSON, anything else CSV, whose delimiter (comma, semicolon, tab or
// bar) is the one that occurs most often in the header. A quoted CSV field ends on its line. A line
// has at most MaxLine bytes. A line that repeats the header is skipped, so that CSV files
// can be joined with cat. Memory grows with the number of instruments, but not with the
// input: it holds two read buffers, one line, and the window for unpacking (at most 128 MiB, with
// zstd's longest window).
//
// # Columns
//
// The first line of a CSV file is its header, unless Config.Header names the columns in
// order. A first line that is data is an error, except with the [Preset] of a vendor that
// publishes files without headers.
//
// Columns (in NDJSON, fields) are recognised by the names that feeds
// and vendors use, in any case and with or without '_', '-', '.' and blanks; Config.Columns
// names others. Unknown columns are ignored. If a file has several names of one line of this table, the leftmost is used.
//
//	time          ts_event event_time exchange_time time timestamp datetime dt ts ts_recv …
//	date          date trade_date: the date of a time that is only a time of day
//	symbol        symbol sym ticker instrument product_id pair raw_symbol sym_root …
//	symbol_suffix sym_suffix: appended to the symbol after a blank (BRK B)
//	venue         venue exchange ex mic
//	bid           bid bid_price bid_px best_bid bid_px_00 …
//	bid_size      bid_size bidsiz bid_sz bid_qty bid_quantity bid_volume bid_amount …
//	ask           ask ofr offer ask_price ask_px best_ask ask_px_00 …
//	ask_size      ask_size ofrsiz asksiz ask_sz ask_qty …
//	price         price px trade_price last last_price …
//	size          size qty quantity volume vol shares last_size amount …
//	side          side aggressor taker_side: b buy bid, s sell a ask offer, n none or empty;
//	              or is_buyer_maker, taker_side_sell: true if the aggressor sold. If there is a
//	              maker_order_id (Coinbase), side is the side of the maker
//	trade_id      trade_id tradeid tid exec_id match_id id
//	conditions    conditions cond sale_condition tr_scond: up to 8 characters
//	correction    corr tr_corr correction_code, see below
//
// # What a row is
//
// The column that states the kind of a row decides. If there is none, the cells decide: a row with a price
// is a trade, one with a bid or an ask is a quote, and one with both is a quote and then a
// trade. But a last price without its own size, id or side, or with a volume, belongs to
// a ticker and is not a trade, unless Config.Columns names its column.
//
//	type          one of our kinds, or trade, match, t. A row of another type is a quote if it
//	              has a bid or an ask, and otherwise a bad line; the type of an order (limit, market)
//	              or a side states no kind
//	rtype         in Databento's CSV and JSON: trades, mbp-1, mbp-10, tbbo, bbo, cmbp-1, cbbo,
//	              tcbbo. Only rows with action T are trades. Prices may be multiples of 10^-9, and
//	              times are in nanoseconds; the venue is the publisher's. mbo, definitions, statuses
//	              and imbalances are refused (their DBN encoding can be read), and so are bars
//	              and statistics; system messages are skipped and counted
//	is_snapshot   in Tardis's incremental_book_L2: rows are levels; the first row of a
//	              snapshot clears the book
//	action        or update_type, message_type, …: trade, t. A row with another action is a
//	              quote if it has a bid or an ask, and otherwise a bad line
//	side          bid or ask, in a row with a price and without the columns above: a bad line,
//	              because it may be a level or a trade
//
// A row with several levels of a book (Databento's mbp-10, Tardis's book_snapshot) makes levels for
// the changes since the row before, and then a
// quote if the best bid or ask has changed; with Config.QuotesOnly each row makes only a quote.
//
// Config.Rows states the kind of all rows and overrides all of these. Vendors' files that have
// prices but no ticks (bars, Tardis's derivative_ticker, options_chain and liquidations,
// Binance's klines, bookDepth, metrics and liquidationSnapshot) are recognised by their columns and refused.
//
// Empty cells, null, NA and NaN are missing values. A bid or ask that is missing or 0 means that there is no quote on that side
// ([feed.NoPrice]), as in NYSE TAQ files; Config.ZeroIsPrice keeps 0 as a price. A missing size, or a size
// without a column, is 0, except that a level must have a size. In a trade, correction or cancel that names its type, a
// missing price means that the price is not known (feed.NoPrice). In CSV files that tickfeed writes, an apostrophe precedes
// text that a spreadsheet would take for a formula (see [Defuse]).
//
// A trade with a NYSE TAQ correction code (Daily TAQ Client Specification, trade
// correction indicator) is a trade if the code means that the record is good: 0 regular, 1
// with the corrected data, 2 symbol correction. 7, 8, 10, 11 and 12 mark trades that were
// cancelled or wrong, and the records that report this: they are left out and counted in
// [Stats].Voided. Any other code makes a bad line. A quote of NYSE TAQ whose cancel and correction
// code is B cancels an earlier one; it is left out and counted in [Stats].VoidedQuotes. The last
// line of a Daily TAQ file, END and the number of rows, is skipped.
//
// # Trades that several files have
//
// A trade that an earlier file has, with the same instrument, time, price, size,
// side and id (or Databento sequence number), is left out and counted in [Stats].Duplicates. Without
// an id, the trade is kept, and a note gives the number of trades that may be duplicates. If an instrument has both aggregated
// trades of Binance (agg_trade_id) and single trades at the same time, those read later are bad lines. The last two to
// four million trades are remembered, in at most 128 MiB.
//
// # Prices and sizes
//
// All are exact: the text of a number, with or without a power of ten, becomes an integer
// in the instrument's exponents, never through a float. Only rounding errors of another program's
// floats are removed: 0.30000000000000004 and 149.99999999999997, texts of floats with 16 or 17
// digits, are read as 0.3 and 150 and counted in [Stats].Rounded. An instrument is one symbol at one
// venue; a symbol of more than [feed.MaxText] bytes is shortened, as in package dbn, and noted. The instrument is
// defined before its first tick, with Config.PriceExponent and
// Config.SizeExponent or as many more decimals as that row needs. When a later row needs
// more decimals, the instrument is defined again under the same id, with the finer exponent,
// before that row's ticks; exponents never get coarser. A number that needs more than 18
// decimals, or does not fit 64 bits in the instrument's exponent, makes a bad line, and
// such a line changes no definition. So does a number with so many decimals that earlier prices
// or sizes would not fit. If only the volume would not fit, it is dropped, and a note reports this.
//
// # Times
//
// A time is one of
//
//   - RFC 3339 or a similar form with Z, UTC or an offset at its end: 2018-01-02T15:04:05.999999999Z,
//     2018-01-02 15:04:05.9+01;
//   - a local date and time: 2018-01-02 15:04:05.999, 20180102 15:04:05, 2018/01/02 15:04,
//     2018.01.02D15:04:05, 20180102 150405999. Config.Zone must state the zone. When clocks go back, an
//     ambiguous local time is the one that continues from the line before, or else the
//     first; a time that clocks skip makes a bad line;
//   - the time since the Unix epoch, with decimals or not: in Config.EpochUnit, or else in
//     seconds below 10^11, milliseconds below 10^14, microseconds below 10^17, and
//     nanoseconds above (each unit then reaches from 1973 to beyond 2262);
//   - a time of day, 9:30:00.5, or 093000500 if Config.EpochUnit is hhmmss, with a column
//     for the date, or with Config.Date;
//   - a number, with a column for the date: the time after midnight if Config.EpochUnit states its unit, or since the
//     epoch if that is on the date. Any other number makes a bad line.
//
// Times are exact to the nanosecond; further decimals make a bad line unless they are zeros. Ticks
// have the order of the file, whatever their times. The zones of the IANA database are
// built in.
//
// # Output of tickfeed
//
// The output of "tickfeed subscribe --json" and --csv can be read back, with all kinds of ticks.
// The column type states the kind, and each kind has further columns:
// price_exponent, size_exponent, currency, tick_size, lot (definition), old_price,
// old_size (correction), status, trading_day (status), and for all kinds more, which is true if the next row belongs to the
// same venue event. Rows with a type of ours and a ts_event are read without guessing: ts_event is in nanoseconds, whatever
// Config.EpochUnit is, and a bid or ask of 0 is a price. Lines with "snapshot":true describe a state, not a change; they are
// skipped and counted.
type Source struct {
	cfg     Config
	columns columns
	clock   clock
	lines   lines
	format  string // format of the current file; empty until its first line
	header  header // header of the current CSV file
	object  object // parser for the current NDJSON file
	row     row
	desk    desk
	where   func(line int64) (file string, at int64) // see Parts; nil without several parts
	part    string                                   // the part of the current line, see Parts
	pump    rawfile.Pump

	count Stats // used by the goroutine in Next only
	mu    sync.Mutex
	stats Stats // the counts that Stats returns; guarded by mu
}

var _ feed.Source = (*Source)(nil)

// Open prepares to read the files at paths one after the other; "-", at most once, is stdin.
// It reads nothing, but returns an error if a path does not exist or is a directory, or cfg is invalid. The Source never
// closes stdin.
func Open(paths []string, stdin io.Reader, cfg Config) (*Source, error) {
	columns, zone, err := cfg.validate()
	if err != nil {
		return nil, err
	}
	if len(paths) == 0 {
		return nil, errors.New("no file to read; - is standard input")
	}
	std := false
	for _, p := range paths {
		if p != "-" {
			if info, err := os.Stat(p); err != nil {
				return nil, err
			} else if info.IsDir() {
				return nil, fmt.Errorf("%s is a directory; name its files", p)
			}
			continue
		}
		if std {
			return nil, errors.New("standard input (-) can be read only once")
		}
		if stdin == nil {
			return nil, errors.New("there is no standard input to read (-)")
		}
		std = true
	}
	s := &Source{
		cfg: cfg, columns: columns,
		clock: clock{zone: zone, unit: cfg.EpochUnit},
		lines: lines{in: newInput(paths, stdin, readSize)},
		desk:  newDesk(&cfg),
	}
	if len(paths) > 1 {
		s.desk.repeats = &repeats{}
	}
	return s, nil
}

// Meter makes m count the bytes read from the files. Call it before the first Next.
func (s *Source) Meter(m *rawfile.Meter) { s.lines.in.meter = m }

// Parts declares that the only input was made from the given files: notes then name them, and trades that several of
// them have count once. where returns the file of a line, from 1, and the line in it. Call Parts before the first Next.
func (s *Source) Parts(files []string, where func(line int64) (file string, at int64)) {
	if len(files) == 1 {
		s.part = files[0]
		return
	}
	s.where, s.desk.repeats = where, &repeats{}
}

// enter begins the next part, if the line belongs to one.
func (s *Source) enter(line int64) {
	file, _ := s.where(line)
	if file == s.part {
		return
	}
	s.noteRepeats()
	s.part = file
	s.desk.repeats.begin()
}

// noteRepeats adds the notes about repeated trades of the file that has ended.
func (s *Source) noteRepeats() {
	p := s.desk.repeats
	if p == nil {
		return
	}
	for _, text := range p.notes() {
		s.note(text)
	}
	p.known, p.alike = 0, 0 // begin is not called for a file without lines
}

// Next implements [feed.Source]. It waits only while it has no ticks: it returns ticks from
// a pipe as soon as they arrive.
//
// The first Next starts a goroutine that reads the input, so that a waiting Next
// returns ctx.Err() when ctx ends, even during a read of silent standard input.
// Next may then be called again, and loses nothing.
//
// The error is io.EOF after the last file, a [*LineError] if a line is bad and
// Config.SkipBad is used up, a [*rawfile.DamageError] if a file cannot be unpacked, or
// an error that names the file that cannot be read.
func (s *Source) Next(ctx context.Context, batch []feed.Tick) (int, error) {
	n, err := s.pump.Next(ctx, batch, func(wait bool) error { return s.more(ctx, wait) })
	s.count.Ticks += int64(n)
	s.mu.Lock()
	s.stats = s.count
	s.mu.Unlock()
	return n, err
}

// more reads a line, and makes its ticks pending.
func (s *Source) more(ctx context.Context, wait bool) error {
	line, err := s.lines.next(ctx, wait)
	switch err {
	case nil, errLong:
		return s.read(line, err)
	case errEndOfFile:
		s.format = ""
		s.noteRepeats()
		if s.lines.note != "" {
			s.note(s.lines.note)
			s.lines.note = ""
		}
		return nil
	}
	return err
}

// read reads one line and sets pending to its ticks. An error ends the source.
func (s *Source) read(line []byte, tooLong error) error {
	line = bytes.TrimPrefix(line, utf8BOM) // at the start of the file, or of one appended with cat
	if n := len(line); n > 0 && line[n-1] == '\r' {
		line = line[:n-1]
	}
	var bad *LineError
	if tooLong != nil {
		bad = &LineError{Reason: fmt.Sprintf("the line is longer than %d bytes", MaxLine)}
		if s.format == "" {
			return s.place(bad)
		}
	} else if blank(line) {
		return nil
	}
	if s.format == "" {
		if excelSeparator.Match(line) {
			return nil
		}
		fixed, err := s.begin(line)
		if err != nil || fixed {
			return s.place(err)
		}
	}
	switch {
	case bad != nil:
	case s.format == formatNDJSON:
		bad = s.object.scan(line, &s.row)
	default:
		bad = s.header.split(line, &s.row)
	}
	if s.format == formatCSV && s.header.isTrailer(line) {
		return nil
	}
	if bad == nil {
		if s.where != nil {
			s.enter(s.lines.number)
		}
		s.pump.Pending, bad = s.desk.ticks(&s.row, &s.clock, &s.count)
		if bad == nil && s.desk.shortened != "" {
			s.note(s.desk.shortened)
			s.desk.shortened = ""
		}
		if bad == nil && s.desk.forgot {
			s.note(fmt.Sprintf("line %d needs so many decimals that the volume of %q before it does not fit 64 bits and is not kept",
				s.lines.number, s.desk.key[:bytes.IndexByte(s.desk.key, 0)]))
		}
	}
	if bad == nil {
		s.count.Rows++
		return nil
	}
	if bad.Reason == reasonNothing && s.format == formatNDJSON && s.object.nested != "" {
		// Such as the books of Bybit, OKX and of websocket messages.
		bad.Reason += fmt.Sprintf("; %q holds an object or a list, which is not read", clip([]byte(s.object.nested)))
	}
	if s.format == formatCSV && bytes.Equal(line, s.header.line) && len(line) > 0 {
		return nil
	}
	s.count.Rows++
	err := s.place(bad)
	if s.count.FirstBad == nil {
		s.count.FirstBad = bad
	}
	if s.count.Skipped >= int64(s.cfg.SkipBad) {
		return err
	}
	s.count.Skipped++
	return nil
}

// excelSeparator matches a line that Excel writes before the header.
var excelSeparator = regexp.MustCompile(`^"?sep=.?"?$`)

// begin begins a file with its first line. It returns true if that line is not data.
func (s *Source) begin(line []byte) (header bool, bad *LineError) {
	if bytes.HasPrefix(line, []byte{0xff, 0xfe}) || bytes.HasPrefix(line, []byte{0xfe, 0xff}) {
		return false, &LineError{Reason: "the file is UTF-16; convert it to UTF-8"}
	}
	if bytes.IndexByte(line, 0) >= 0 {
		return false, &LineError{Reason: "the file is not text"}
	}
	format := s.cfg.Format
	if format == "" {
		switch bytes.TrimLeft(line, " \t")[0] {
		case '{':
			if string(bytes.TrimSpace(line)) == "{" {
				return false, &LineError{Reason: "the file is JSON whose objects go over several lines; write each on one line (jq -c .)"}
			}
			format = formatNDJSON
		case '[':
			return false, &LineError{Reason: "the file is a JSON array; write one object on each line (jq -c '.[]')"}
		default:
			format = formatCSV
		}
	}
	s.row = row{}
	if s.desk.repeats != nil && s.where == nil {
		s.desk.repeats.begin()
	}
	s.clock.begin(s.day())
	file := s.lines.in.name(s.lines.file)
	cfg := s.cfg
	if m := cfg.symbolInName; m != nil && cfg.Symbol == "" {
		if m := m.FindStringSubmatch(filepath.Base(file)); m != nil {
			cfg.Symbol = m[1]
		}
	}
	s.desk.symbol = []byte(cfg.Symbol)
	used := format == formatCSV
	if format == formatNDJSON {
		s.object.reset(&s.columns)
	} else {
		cells, bad := s.header.cells(line)
		if bad != nil {
			return true, bad
		}
		names := cfg.Header
		data := isData(cells, &s.columns)
		if data && len(names) == 0 && cfg.headerOf != nil {
			names = cfg.headerOf(cells)
		}
		switch {
		case len(names) > 0:
			used = false
			bad = s.header.place(line, names, &s.columns, &cfg, file, &s.row)
		case data:
			bad = errNoHeader(cells, cfg.headerOf != nil)
		default:
			bad = s.header.parse(line, &s.columns, &cfg, file, &s.row)
		}
		if bad != nil {
			return true, bad
		}
	}
	s.desk.venue = []byte(cfg.Venue)
	if cfg.venueOf != nil && cfg.Venue == "" {
		s.desk.venue = []byte(cfg.venueOf(s.header.names, cfg.Symbol))
	}
	s.format, s.count.Format = format, format
	if format == formatCSV {
		s.remark()
	}
	return used, nil
}

// day returns the date, as yyyymmdd, of times of day without a date in the current file, or nil if it is not known.
func (s *Source) day() []byte {
	switch {
	case s.cfg.Date != 0:
		return strconv.AppendInt(nil, int64(s.cfg.Date), 10)
	case s.cfg.DateInName:
		if m := dateInName.FindStringSubmatch(filepath.Base(s.lines.in.name(s.lines.file))); m != nil {
			return []byte(m[1])
		}
	}
	return nil
}

// dateInName finds the date in names such as EQY_US_ALL_TRADE_20240102.gz.
var dateInName = regexp.MustCompile(`(?:^|\D)((?:19|20)\d{6})(?:\D|$)`)

// remark adds notes about columns of the current CSV file that are not read.
func (s *Source) remark() {
	if names := &s.row.names; names[fieldSize] != "" && names[fieldPrice] == "" && names[fieldRecordType] == "" {
		s.note(fmt.Sprintf("column %q is not read, because the rows are quotes; their sizes are in bid_size and ask_size", names[fieldSize]))
	}
	if bid := s.row.names[fieldBid]; normal(bid) == "bidprice" && s.header.has("bestbidprice") {
		s.note(fmt.Sprintf("each row is the quote of its exchange (%s); the national best bid and offer is not read unless --column bid=…, bid_size=…, ask=…, ask_size=… and venue= say so", bid))
	}
}

// note adds a note about the current file.
func (s *Source) note(text string) {
	if len(s.count.Notes) < maxNotes {
		file := s.part
		if file == "" {
			file = s.lines.in.name(s.lines.file)
		}
		s.count.Notes = append(slices.Clip(s.count.Notes), file+": "+text)
	}
}

// maxNotes bounds the length of Stats.Notes.
const maxNotes = 16

// place adds the file and the line to bad. It returns a nil error if bad is nil.
func (s *Source) place(bad *LineError) error {
	if bad == nil {
		return nil
	}
	bad.File, bad.Line = s.lines.in.name(s.lines.file), s.lines.number
	return bad
}

// Stats returns the counts as of the last return from Next. It is safe for concurrent use.
func (s *Source) Stats() Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.stats
}

// Close ends the reading goroutine and closes the current file. It waits for the goroutine
// unless a read of standard input, or the opening of a named pipe, is under way: these cannot be
// interrupted, and the goroutine ends when they return. The error is always nil.
func (s *Source) Close() error {
	s.lines.in.close()
	s.pump.End(errClosed)
	return nil
}

var errClosed = errors.New("textfile: the source is closed")

// Stats counts what a Source has read.
type Stats struct {
	Format   string // csv or ndjson, the format of the last file begun; empty before the first
	Rows     int64  // lines with data, good or bad, without headers and blank lines
	Ticks    int64  // ticks returned, including definitions
	Snapshot int64  // skipped rows that describe the state of a snapshot
	Voided   int64  // trades left out because of their correction code
	// VoidedQuotes counts quotes left out because they cancel an earlier one (NYSE TAQ, B).
	VoidedQuotes int64
	// Duplicates counts trades left out because an earlier file has them.
	Duplicates int64
	Skipped    int64    // bad lines that were skipped
	Rounded    int64    // numbers from which the rounding error of a float was removed
	Unread     []Unread // rows skipped because they are not ticks
	Notes      []string // descriptions of data that was not read as it is, at most maxNotes of them
	FirstBad   *LineError
}

// A LineError reports a line that cannot be read, for example:
// quotes.csv:17: column "BID": "12x.5" is not a decimal number
type LineError struct {
	File   string // as given to Open; "stdin" for standard input
	Line   int64  // from 1, the header included
	Column string // the column's or field's name in the file; empty if the line as a whole is bad
	Value  string // the value, cut to 64 bytes
	Reason string // the problem, and what to do
	Err    error  // the cause, if it is a sentinel such as decimal.ErrSyntax
}

func (e *LineError) Error() string {
	where := fmt.Sprintf("%s:%d: ", e.File, e.Line)
	switch {
	case e.Column == "" && e.Value == "":
		return where + e.Reason
	case e.Column == "":
		return where + fmt.Sprintf("%q %s", e.Value, e.Reason)
	case e.Value == "":
		return where + fmt.Sprintf("column %q %s", e.Column, e.Reason)
	}
	return where + fmt.Sprintf("column %q: %q %s", e.Column, e.Value, e.Reason)
}

func (e *LineError) Unwrap() error { return e.Err }

// maxValue bounds LineError.Value and LineError.Column, in bytes.
const maxValue = 64

func clip(b []byte) string {
	if len(b) > maxValue {
		return string(b[:maxValue])
	}
	return string(b)
}

func blank(line []byte) bool {
	for _, c := range line {
		if c != ' ' && c != '\t' {
			return false
		}
	}
	return true
}

var utf8BOM = []byte{0xef, 0xbb, 0xbf}
