// Package textfile reads quotes and trades from text, CSV or NDJSON (one JSON object a line), and gives them to a publisher as a [feed.Source].
//
//	src, err := textfile.Open([]string{"quotes.csv.gz"}, os.Stdin, textfile.Config{Zone: "America/New_York"})
//
// # Files
//
// Files are read one after the other in the order given; "-" is standard input. Each is
// told from its content, whatever it is called: gzip, zstd and a zip with one file of data are
// unpacked (what stands behind compressed data is left and noted), an object in
// the first line means NDJSON, anything else CSV, whose delimiter (comma, semicolon, tab or
// bar) is the one that the header has most of. A quoted CSV field ends on its line. A line
// is at most MaxLine bytes. A line that repeats the header is passed over, so that CSV files
// can be joined with cat. Memory does not grow with the input, only with the number of
// instruments: two read buffers, one line, and what unpacking needs (at most 128 MiB, with
// zstd's longest window).
//
// # Columns
//
// The first line of a CSV file is its header, unless Config.Header names the columns by their
// places. A first line that is data is an error, except with the [Preset] of a vendor that
// publishes files without headers.
//
// Columns (fields, in NDJSON; unknown ones are ignored) are known by the names that feeds
// and vendors use, in any case and with or without '_', '-', '.' and blanks; Config.Columns
// names others. Where several names of one line are present, the leftmost is used.
//
//	time          ts_event event_time exchange_time time timestamp datetime dt ts ts_recv …
//	date          date trade_date: joined with a time that is only a time of day
//	symbol        symbol sym ticker instrument product_id pair raw_symbol sym_root …
//	symbol_suffix sym_suffix: behind the symbol and a blank (BRK B)
//	venue         venue exchange ex mic
//	bid           bid bid_price bid_px best_bid bid_px_00 …
//	bid_size      bid_size bidsiz bid_sz bid_qty bid_quantity bid_volume bid_amount …
//	ask           ask ofr offer ask_price ask_px best_ask ask_px_00 …
//	ask_size      ask_size ofrsiz asksiz ask_sz ask_qty …
//	price         price px trade_price last last_price …
//	size          size qty quantity volume vol shares last_size amount …
//	side          side aggressor taker_side: b buy bid, s sell a ask offer, n none or empty;
//	              or is_buyer_maker, taker_side_sell: true if the aggressor sold. Beside a
//	              maker_order_id (Coinbase) it is the side of the maker
//	trade_id      trade_id tradeid tid exec_id match_id id
//	conditions    conditions cond sale_condition tr_scond: up to 8 characters
//	correction    corr tr_corr correction_code, see below
//
// # What a row is
//
// The column that states it decides, and only where there is none the cells do: with a price
// a row is a trade, with a bid or an ask it is a quote, with both it is a quote and then a
// trade; except that a last price without a size, an id or a side of its own, or with a volume, is
// that of a ticker, and no trade unless Config.Columns names it.
//
//	type          one of our kinds, or trade, match, t. A row of another type is a quote if it
//	              has a bid or an ask, else a bad line; the type of an order (limit, market)
//	              or a side says nothing
//	rtype         of Databento's CSV and JSON: trades, mbp-1, mbp-10, tbbo, bbo, cmbp-1, cbbo,
//	              tcbbo. Only rows of action T are trades. Prices may be whole numbers of 10^-9, times nanoseconds; the venue is
//	              the publisher's. mbo, definitions and statuses are refused (their DBN
//	              encoding can be read), bars, statistics and imbalances too; messages of the
//	              system are passed over and counted
//	is_snapshot   of Tardis's incremental_book_L2: rows are levels; the first row of a
//	              snapshot clears the book
//	action        or update_type, message_type, …: trade, t. A row with another action is a
//	              quote if it has a bid or an ask, else a bad line
//	side          bid or ask, in a row with a price and without any column above: a bad line,
//	              because it may be a level or a trade
//
// A row that holds several levels of a book (Databento's mbp-10, Tardis's book_snapshot) tells how
// they differ from those that the rows before told, as levels, and then its best bid and ask as a
// quote if that has changed; Config.QuotesOnly leaves the levels out, and each row is a quote.
//
// Config.Rows states what all rows are, against all of these. Files of vendors that have
// prices and no ticks (bars, Tardis's derivative_ticker, options_chain and liquidations,
// Binance's klines, bookDepth, metrics and liquidationSnapshot) are refused by their columns.
//
// Empty cells, null, NA and NaN mean that
// there is nothing. A bid or ask that is empty or 0 is no quote on that side
// ([feed.NoPrice]), as in NYSE TAQ files; Config.ZeroIsPrice keeps 0 as a price. A size that
// is empty, or without a column, is 0, except that of a level, which must be there. A trade, correction or cancel that names its type may have an
// empty price, or null: the price is not known (feed.NoPrice). In CSV files of our own, text
// that a spreadsheet would take for a formula is preceded by an apostrophe (see [Defuse]).
//
// A trade with a NYSE TAQ correction code (Daily TAQ Client Specification, trade
// correction indicator) is a trade if the code says that the record is good: 0 regular, 1
// with the corrected data, 2 symbol correction. 7, 8, 10, 11 and 12 are trades that were
// cancelled or wrong and the records that say so: they are left out and counted in
// [Stats].Voided. Any other code is a bad line. A quote of NYSE TAQ whose cancel and correction
// code is B cancels an earlier one; it is left out and counted in [Stats].VoidedQuotes. The last
// line of the Daily TAQ's files, END and how many rows there were, is passed over.
//
// # Trades that several files have
//
// A trade of one file that stands in a file before it, with the same instrument, time, price, size,
// side and id (or sequence number, of Databento), is left out and counted in [Stats].Duplicates. Where
// there is no id, the trade counts and a note says how many may be the same. Of aggregated trades of
// Binance (agg_trade_id) and single ones of the same time, the second are bad lines. The last two to
// four million trades are known, in at most 128 MiB.
//
// # Prices and sizes
//
// All are exact: the text of a number, with or without a power of ten, becomes an integer
// in the instrument's exponents, never through a float. Only the trace of another program's
// floats is cut: 0.30000000000000004 and 149.99999999999997, texts of floats of 16 or 17
// digits, are read as 0.3 and 150 and counted in [Stats].Rounded. An instrument is one symbol at one
// venue; a symbol of more than [feed.MaxText] bytes is shortened, as by package dbn, and noted. It is
// defined before its first tick, with Config.PriceExponent and
// Config.SizeExponent or as many more decimals as that row needs. When a later row needs
// more decimals, the instrument is defined again under the same id, with the finer exponent,
// before that row's ticks; exponents never get coarser. A number that needs more than 18
// decimals, or does not fit 64 bits in the instrument's exponent, makes a bad line, and
// such a line changes no definition. So does a number with so many decimals that the prices
// or sizes seen before would not fit. If only the volume would not, it is forgotten, and noted.
//
// # Times
//
// A time is one of
//
//   - RFC 3339 or the like with Z, UTC or an offset at its end: 2018-01-02T15:04:05.999999999Z,
//     2018-01-02 15:04:05.9+01;
//   - a local date and time: 2018-01-02 15:04:05.999, 20180102 15:04:05, 2018/01/02 15:04,
//     2018.01.02D15:04:05, 20180102 150405999. Config.Zone must state the zone. Where clocks go back, a
//     local time that there is twice is the one that goes on from the line before, or else the
//     first; a time that clocks skip is a bad line;
//   - the time since the Unix epoch, with decimals or not: in Config.EpochUnit, or else in
//     seconds below 10^11, milliseconds below 10^14, microseconds below 10^17, and
//     nanoseconds from there on (each unit then reaches from 1973 to beyond 2262);
//   - a time of day, 9:30:00.5, or 093000500 if Config.EpochUnit is hhmmss, beside a column
//     that holds the date, or on Config.Date;
//   - a number beside a date: after midnight if Config.EpochUnit states its unit, or since the
//     epoch if that is on the date. Anything else is a bad line.
//
// Nanoseconds are kept, more decimals than that are a bad line unless they are zeros. Ticks
// come in the order of the file, whatever their times. The zones of the IANA database are
// built in.
//
// # Output of tickfeed
//
// What "tickfeed subscribe --json" or --csv prints can be read back, all kinds of ticks:
// the column type then says the kind, and further columns are those that the kind has:
// price_exponent, size_exponent, currency, tick_size, lot (definition), old_price,
// old_size (correction), status, trading_day (status), and of all kinds more, which is true where the next row belongs to the
// same venue event. Of rows with a type of ours and a ts_event nothing is guessed: ts_event is in nanoseconds, whatever
// Config.EpochUnit says, and a bid or ask of 0 is a price. Lines with "snapshot":true tell a state, not a change; they are skipped and counted.
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
	"tickfeed/feed/rawfile"
)

// A Source yields the ticks of text files. Make one with [Open]; it implements [feed.Source].
type Source struct {
	cfg     Config
	columns columns
	clock   clock
	lines   lines
	format  string // of the file at hand; empty until its first line
	header  header // of the CSV file at hand
	object  object // of the NDJSON file at hand
	row     row
	desk    desk
	where   func(line int64) (file string, at int64) // see Parts; nil if a file is a file
	part    string                                   // that the line at hand is of, by Parts
	pending []feed.Tick
	err     error // once set, Next repeats it

	count Stats // of the goroutine in Next
	mu    sync.Mutex
	stats Stats // what Stats returns
}

var _ feed.Source = (*Source)(nil)

// Open prepares to read the files at paths one after the other; "-", at most once, is stdin.
// It reads nothing yet, but a path that is not there, or a Config that is not valid, is an
// error now. The Source never closes stdin.
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

// Meter makes m count what is read of the files. It is called before the first Next.
func (s *Source) Meter(m *rawfile.Meter) { s.lines.in.meter = m }

// Parts names the files that the one input was made of: notes name them, and trades that several of
// them have count once. where returns the file of a line, from 1. It is called before the first Next.
func (s *Source) Parts(files []string, where func(line int64) (file string, at int64)) {
	if len(files) == 1 {
		s.part = files[0]
		return
	}
	s.where, s.desk.repeats = where, &repeats{}
}

// enter notes which file a line is of, by where.
func (s *Source) enter(line int64) {
	file, _ := s.where(line)
	if file == s.part {
		return
	}
	s.noteRepeats()
	s.part = file
	s.desk.repeats.begin()
}

// noteRepeats notes what trades of the file that ends were known.
func (s *Source) noteRepeats() {
	p := s.desk.repeats
	if p == nil {
		return
	}
	for _, text := range p.notes() {
		s.note(text)
	}
	p.known, p.alike = 0, 0 // of a file without a line, begin is not called
}

// Next implements [feed.Source]. It waits only while it has no tick to give: what came
// down a pipe goes out at once.
//
// The input is read by a goroutine that the first Next starts, so that a Next that waits
// returns ctx.Err() when ctx ends, even while a read of a silent standard input is under
// way; it may be called again then and nothing is lost.
//
// The error is io.EOF after the last file, a [*LineError] where a line is bad and
// Config.SkipBad is used up, a [*rawfile.DamageError] where a file cannot be unpacked, and
// else names the file that cannot be read.
func (s *Source) Next(ctx context.Context, batch []feed.Tick) (int, error) {
	if s.err != nil {
		return 0, s.err
	}
	if err := ctx.Err(); err != nil || len(batch) == 0 {
		return 0, err
	}
	n := 0
	for {
		k := copy(batch[n:], s.pending)
		s.pending = s.pending[k:]
		if n += k; n == len(batch) {
			break
		}
		line, err := s.lines.next(ctx, n == 0)
		if err == errNotYet {
			break
		}
		if err == errEndOfFile {
			s.format = ""
			s.noteRepeats()
			if s.lines.note != "" {
				s.note(s.lines.note)
				s.lines.note = ""
			}
			continue
		}
		if err != nil && err != errLong {
			if err != ctx.Err() {
				s.err = err
			}
			s.publishStats(n)
			return n, err
		}
		if err := s.read(line, err); err != nil {
			s.err = err
			s.publishStats(n)
			return n, err
		}
	}
	s.publishStats(n)
	return n, nil
}

func (s *Source) publishStats(n int) {
	s.count.Ticks += int64(n)
	s.mu.Lock()
	s.stats = s.count
	s.mu.Unlock()
}

// read takes one line; its ticks are pending then. The error ends the source.
func (s *Source) read(line []byte, tooLong error) error {
	line = bytes.TrimPrefix(line, utf8BOM) // of the file, or of one that was joined to it with cat
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
		s.pending, bad = s.desk.ticks(&s.row, &s.clock, &s.count)
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
		bad.Reason += fmt.Sprintf("; %q holds an object or a list, of which nothing is read", clip([]byte(s.object.nested)))
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

// excelSeparator is a line that Excel writes before the header.
var excelSeparator = regexp.MustCompile(`^"?sep=.?"?$`)

// begin looks at the first line of a file. header is true if that line is used up.
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

// day is the date of times of day without one in the file at hand, as yyyymmdd; nil if it is not known.
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

// remark notes what the columns of the CSV file at hand hold that is not read.
func (s *Source) remark() {
	if names := &s.row.names; names[fieldSize] != "" && names[fieldPrice] == "" && names[fieldRecordType] == "" {
		s.note(fmt.Sprintf("column %q is not read, because the rows are quotes; their sizes are in bid_size and ask_size", names[fieldSize]))
	}
	if bid := s.row.names[fieldBid]; normal(bid) == "bidprice" && s.header.has("bestbidprice") {
		s.note(fmt.Sprintf("each row is the quote of its exchange (%s); the national best bid and offer is not read unless --column bid=…, bid_size=…, ask=…, ask_size=… and venue= say so", bid))
	}
}

// note adds to the notes about the file at hand.
func (s *Source) note(text string) {
	if len(s.count.Notes) < maxNotes {
		file := s.part
		if file == "" {
			file = s.lines.in.name(s.lines.file)
		}
		s.count.Notes = append(slices.Clip(s.count.Notes), file+": "+text)
	}
}

// maxNotes bounds Stats.Notes.
const maxNotes = 16

// place completes bad with where it is. A nil *LineError is a nil error.
func (s *Source) place(bad *LineError) error {
	if bad == nil {
		return nil
	}
	bad.File, bad.Line = s.lines.in.name(s.lines.file), s.lines.number
	return bad
}

// Stats is what was read so far, as of the last return from Next. It may be called at any
// time, from any goroutine.
func (s *Source) Stats() Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.stats
}

// Close ends the reading goroutine and closes the file at hand. It waits for the goroutine
// unless a read of standard input, or the opening of a named pipe, is under way: nothing can
// interrupt these, the goroutine then ends when they return. The error is always nil.
func (s *Source) Close() error {
	s.lines.in.close()
	if s.err == nil {
		s.err = errClosed
	}
	return nil
}

var errClosed = errors.New("textfile: the source is closed")

// Stats counts what a Source has read.
type Stats struct {
	Format   string // csv or ndjson, of the file that was begun last; empty before
	Rows     int64  // lines with data, good or bad; no headers, no blank lines
	Ticks    int64  // given out, definitions among them
	Snapshot int64  // rows that told the state of a snapshot, skipped
	Voided   int64  // trades left out for their correction code
	// VoidedQuotes are quotes left out because they cancel an earlier one (NYSE TAQ, B).
	VoidedQuotes int64
	// Duplicates are trades left out because a file before has them.
	Duplicates int64
	Skipped    int64    // bad lines tolerated
	Rounded    int64    // numbers without the trace that a float left behind their digits
	Unread     []Unread // rows passed over because their type is no tick
	Notes      []string // what of the files was not read, in words, the first maxNotes of them
	FirstBad   *LineError
}

// A LineError names what cannot be read. It reads, for example:
// quotes.csv:17: column "BID": "12x.5" is not a decimal number
type LineError struct {
	File   string // as given to Open; "stdin" for standard input
	Line   int64  // from 1, the header included
	Column string // the column's or field's name in the file; empty if the line as a whole is bad
	Value  string // what stands there, at most its first 64 bytes
	Reason string // what is wrong and what to do
	Err    error  // the cause where there is a sentinel, such as feed.ErrDecimalSyntax
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
