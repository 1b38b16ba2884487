// Package wscap reads captures of the websocket feeds of crypto exchanges as a
// [feed.Source]: Binance spot, USD-M and COIN-M futures, Coinbase Exchange,
// Kraken spot (versions 1 and 2) and Kraken Futures. Captures of other exchanges are refused by name.
//
//	src, err := wscap.Open([]string{"btcusdt.gz"}, wscap.Config{})
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
// [Source] documents which messages become which ticks, their instruments, times and books.
package wscap

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"io"
	"math"
	"os"
	"slices"

	"tickfeed/feed"
	"tickfeed/feed/decimal"
	"tickfeed/feed/files/internal/recent"
	"tickfeed/feed/files/rawfile"
)

// A Source yields the ticks of captures. Make one with [Open]; it implements [feed.Source].
//
// # Files
//
// A line is one message: the local time of its arrival, if the recorder wrote it (since the Unix epoch; seconds with
// decimals, ms, µs or ns, inferred from the magnitude), a blank or a colon and a blank, and the
// JSON. The recorders of hftbacktest and cryptofeed write this format. Lines of the recorder (connect,
// subscribe), which begin with wss:// or ws://, and blank lines are skipped. Files are
// read one after the other as one session: a book continues in the next file. They may
// be packed with gzip or zstd. Memory does not grow with the files; a line has at most
// MaxLine bytes.
//
// # Instruments and numbers
//
// Symbols are the exchange's. Venues are BINANCE, BINANCE_USDM, BINANCE_COINM, BINANCE_OPTIONS,
// COINBASE, KRAKEN and KRAKEN_FUTURES, so that BTCUSDT spot and future are two instruments. If a line of the
// recorder names another site that sends Binance's messages, the venue is named after the site:
// BINANCE_US for binance.us, BINANCE_TR for trbinance.com. All numbers are exact, never through a float:
// an instrument is defined with the decimals that its first message needs, and defined again
// with a finer exponent when a later message needs more.
//
// # Times
//
// EventTime is the exchange's time of the trade or change (T, time, timestamp), or else of the
// message (E). Messages without a time of the exchange have the local time of arrival:
// Binance spot bookTicker and REST snapshots, Coinbase snapshots, Kraken ticker_lite. The
// two clocks may differ by seconds, in either direction (see SkewMin and SkewMax in [Stats]); with
// Config.Clock = [ClockArrival] all ticks have the local time. Ticks have the order of
// the file in both cases.
//
// # Messages
//
//	Binance   trade, aggTrade   a trade; m (the buyer is the maker) means that the aggressor sold.
//	                            If an instrument has both streams, the one that came first
//	                            is used, the other is Repeated. X other than MARKET is
//	                            the trade's condition; X NA with price 0 is not a trade.
//	          bookTicker        a quote
//	          depthUpdate       levels; see below
//	          REST snapshot     the whole book; it has no symbol: see below
//	Coinbase  match             a trade; side is the maker's, and the aggressor is on the other side
//	          last_match        a trade from before the subscription: Repeated
//	          ticker            a quote, without sizes unless it has them
//	          snapshot          the whole book
//	          l2update          levels
//	Kraken    trade             a trade; uid is its TradeRef; a type other than fill is its condition
//	          trade_snapshot    trades from before the subscription: Repeated
//	          ticker_lite       a quote without sizes; ticker: with sizes
//	          book_snapshot     the whole book
//	          book              a level
//	Kraken    trade             trades; version 1 has no ids
//	spot      spread, ticker    a quote
//	          book              its first message is the whole book, the others are levels
//
// Two collectors may have written the same messages to a capture. A trade with a known id
// that is not later than the last one is Repeated, and so is a quote whose number (Binance
// u, Coinbase sequence) is not above the last. An id that goes back at a later time is a reset.
// Trades and spreads of version 1 of Kraken spot, and its books, have no number: a message with the same
// times, prices and sizes as one of the last two million is Repeated.
// A trade that one collector lost and the other wrote later is used when it comes.
//
// A message with several levels is one event. Messages of other kinds (candles, mark prices,
// confirmations) are counted in Stats.Other; a file with no other messages is refused.
//
// # Books
//
// A book begins with its snapshot: it is cleared, and the snapshot's levels and then the
// updates follow. A Binance snapshot comes from another connection, after updates that it does not
// include. So updates are held until the snapshot arrives, those that it includes are dropped, and the
// first of the others must join it (Binance API documentation, "How to manage a local order
// book correctly": U ≤ lastUpdateId+1 ≤ u; for futures pu ≤ lastUpdateId ≤ u). After that
// each update must join the one before (U = u+1; for futures pu = u; Kraken seq+1). If one
// does not, updates are missing: the book is cleared, the gap is reported in Stats, and the
// book waits for its next snapshot. Books of Kraken spot have checksums instead of numbers; a wrong
// checksum also means that updates are missing. Levels beyond the subscribed depth are removed, because
// Kraken does not send their removal. At most 16 MiB of updates are held. Updates without a
// snapshot are counted in Stats.Unanchored; with Config.PartialBooks they become levels
// as they come, and the book then holds only the changes since the start of the file.
type Source struct {
	cfg   Config
	paths []string
	next  int           // index of the path to open next
	raw   *rawfile.File // nil between files
	lines *rawfile.Lines
	meter *rawfile.Meter
	stdin io.Reader // nil if there is none

	instruments map[string]*instrument // by venue, NUL, symbol
	order       []*instrument          // instruments that a snapshot without a symbol may belong to
	unnumbered  []*instrument          // instruments with levels whose books have no numbers
	host        string                 // the host that the recorder connected to last
	site        [4]string              // Binance's venues at host, by market
	defined     int
	key         []byte
	held        int          // bytes of held updates
	seen        recent.Set   // hashes of Kraken's messages whose trades and quotes have no number
	seed        maphash.Seed // seed of these hashes
	useful      bool
	otherName   string // the first kind of message without ticks in the current file

	arrival int64 // arrival time of the current line; math.MinInt64 if it has none
	stated  int64 // the exchange's time of the current message; 0 if it has none
	numbers []number
	sides   []feed.Side // sides of the current levels, which have two numbers each
	buf     []feed.Tick
	pump    rawfile.Pump

	count rawfile.Counter[Stats]
}

var _ feed.Source = (*Source)(nil)

// Config configures how captures are read. The zero Config is right for most captures.
type Config struct {
	// Clock is the clock of EventTime.
	Clock Clock
	// PartialBooks includes updates of books without a snapshot.
	PartialBooks bool
	// SkipBad is how many bad lines are skipped, in all files together, before one ends
	// the source. It must not be negative.
	SkipBad int
}

// A Clock is one of the two clocks of a capture.
type Clock uint8

const (
	// ClockVenue is the exchange's clock, or the recorder's for messages without a time.
	ClockVenue Clock = iota
	// ClockArrival is the recorder's clock: a replay then has the pace at which messages arrived.
	ClockArrival
)

// MaxLine bounds a line, in bytes; a longer one is a bad line. It is enough for the whole book of any
// instrument.
const MaxLine = 8 << 20

// maxHeld bounds the updates held for snapshots, in bytes.
const maxHeld = 16 << 20

// Stats counts what a Source has read.
type Stats struct {
	Lines     int64 // lines that are not blank, good or bad
	Control   int64 // lines of the recorder
	Ticks     int64 // ticks returned, including definitions
	Trades    int64
	Quotes    int64
	Updates   int64 // messages that change a book
	Snapshots int64 // messages with a whole book
	Other     int64 // messages without ticks
	// Repeated counts messages that were left out: trades from before a
	// subscription, repeated trades, and quotes, snapshots and updates that are older than the last one.
	Repeated   int64
	Unanchored int64 // updates of books without a snapshot, which are left out unless PartialBooks is set
	Unplaced   int64 // snapshots without symbol that fit none, or more than one, of the instruments
	Gaps       int64 // places where updates or trades of the exchange are missing
	Resets     int64 // ids of the exchange that went back, and connections after the first of a file
	// Reports describes the first few gaps, resets and unplaced snapshots.
	Reports []string
	// SkewMin and SkewMax bound the difference between the exchange's time of a message and the local time of its
	// arrival, in nanoseconds; both are 0 without such messages.
	SkewMin, SkewMax int64
	// Arrived counts quotes without a time of the exchange, which have the time of arrival
	// although other ticks have the exchange's time.
	Arrived  int64
	Skipped  int64 // bad lines that were skipped
	FirstBad *rawfile.LineError
}

const maxReports = 16

// Open prepares to read the files at paths one after the other. It reads nothing, but returns an error if a
// path does not exist or is a directory, or cfg is invalid.
func Open(paths []string, cfg Config) (*Source, error) {
	if cfg.SkipBad < 0 {
		return nil, fmt.Errorf("SkipBad must not be negative, got %d", cfg.SkipBad)
	}
	if cfg.Clock > ClockArrival {
		return nil, fmt.Errorf("Clock must be ClockVenue or ClockArrival, got %d", cfg.Clock)
	}
	if len(paths) == 0 {
		return nil, errors.New("no file to read")
	}
	for _, p := range paths {
		if p == rawfile.Stdin {
			continue
		}
		if info, err := os.Stat(p); err != nil {
			return nil, err
		} else if info.IsDir() {
			return nil, fmt.Errorf("%s is a directory; name its files", p)
		}
	}
	s := &Source{
		cfg: cfg, paths: slices.Clone(paths), seed: maphash.MakeSeed(), instruments: make(map[string]*instrument),
		count: rawfile.Counter[Stats]{Now: Stats{SkewMin: math.MaxInt64, SkewMax: math.MinInt64}},
	}
	s.setSite(exchangeName)
	return s, nil
}

// Stdin makes r the input for the path [rawfile.Stdin]. Call it before the first
// Next.
func (s *Source) Stdin(r io.Reader) { s.stdin = r }

// Meter makes m count the bytes read from the files. Call it before the first Next.
func (s *Source) Meter(m *rawfile.Meter) { s.meter = m }

// Next implements [feed.Source]. The error is io.EOF after the last file, a
// [*rawfile.LineError] if a line is bad and Config.SkipBad is used up, or if a file
// cannot be unpacked, a [*rawfile.FormatError] if a file holds no ticks, or an error that names the file that cannot be
// opened.
func (s *Source) Next(ctx context.Context, batch []feed.Tick) (int, error) {
	n, err := s.pump.Next(ctx, batch, s.more)
	s.count.Now.Ticks += int64(n)
	s.count.Show()
	return n, err
}

// more reads a line, and makes its ticks pending.
func (s *Source) more(wait bool) error {
	if !wait && s.stdin != nil && s.raw != nil && !s.lines.Ready() {
		return rawfile.ErrNotYet // ticks from a pipe are returned as soon as they arrive
	}
	if s.raw == nil {
		if s.next == len(s.paths) {
			return io.EOF
		}
		raw, err := rawfile.OpenOrStdin(s.paths[s.next], s.stdin, s.meter)
		if err != nil {
			return err
		}
		s.next++
		s.raw, s.lines = raw, rawfile.NewLines(raw, MaxLine)
		s.useful, s.otherName = false, ""
	}
	line, err := s.lines.Next()
	reason := ""
	switch err {
	case nil:
		if s.lines.Number() == 1 {
			line = bytes.TrimPrefix(line, byteOrderMark)
		}
		if len(bytes.TrimSpace(line)) == 0 {
			return nil
		}
		s.buf = s.buf[:0]
		reason = s.read(line)
		s.pump.Pending = s.buf
	case rawfile.ErrLongLine:
		reason = err.Error()
	case io.EOF:
		path := s.raw.Path
		s.raw.Close()
		s.raw = nil
		switch {
		case s.useful:
			return nil
		case s.otherName != "":
			return &rawfile.FormatError{File: path, Reason: fmt.Sprintf("holds no trades, quotes or books, only messages such as %q", s.otherName)}
		}
		return &rawfile.FormatError{File: path, Reason: "holds no messages of an exchange"}
	default:
		return s.lines.Bad(s.raw.Path, "cannot be unpacked further: "+err.Error(), err)
	}
	s.count.Now.Lines++
	if reason == "" {
		return nil
	}
	bad := s.lines.Bad(s.raw.Path, reason, nil)
	if s.count.Now.FirstBad == nil {
		s.count.Now.FirstBad = bad
	}
	if s.count.Now.Skipped >= int64(s.cfg.SkipBad) {
		return bad
	}
	s.count.Now.Skipped++
	return nil
}

// read handles one line. It returns the reason if the line is bad, and "" otherwise.
func (s *Source) read(line []byte) string {
	if control(line) {
		s.count.Now.Control++
		s.connection(line)
		return ""
	}
	message, arrival, ok := splitLine(line)
	if !ok {
		return fmt.Sprintf("the line begins with %.40q: want the time of arrival and a JSON object", line)
	}
	s.arrival, s.stated = arrival, 0
	return s.message(message)
}

// connection handles a line of the recorder. After a new connection, books without numbers must begin again; the numbers of
// other books show whether updates are missing.
func (s *Source) connection(line []byte) {
	url, stamp, ok := bytes.Cut(line, []byte(" <-> "))
	s.connectedTo(url)
	if !ok || !s.useful {
		return
	}
	s.count.Now.Resets++
	s.report("a new connection: %.100q", line)
	at, ok := arrivalTime(bytes.TrimSpace(stamp))
	if !ok {
		at = max(0, s.arrival)
	}
	s.buf = s.buf[:0]
	for _, in := range s.unnumbered {
		if in.book.live || s.cfg.PartialBooks {
			s.buf = append(s.buf, feed.ClearTick(in.id, at, feed.SideBoth))
		}
		in.book = book{}
	}
	s.pump.Pending = s.buf
}

func control(line []byte) bool {
	return bytes.HasPrefix(line, []byte("wss://")) || bytes.HasPrefix(line, []byte("ws://"))
}

// splitLine splits line into the time of arrival, which is math.MinInt64 if there is none, and the message.
func splitLine(line []byte) (message []byte, arrival int64, ok bool) {
	if line[0] == '{' {
		return line, math.MinInt64, true
	}
	i := bytes.IndexByte(line, ' ')
	if i <= 0 || i > 32 || i+1 >= len(line) || line[i+1] != '{' && line[i+1] != '[' {
		return nil, 0, false
	}
	stamp := line[:i]
	if stamp[i-1] == ':' {
		stamp = stamp[:i-1]
	}
	if t, ok := parseTime(stamp); ok { // as Tardis writes it
		return line[i+1:], t, true
	}
	t, ok := arrivalTime(stamp)
	return line[i+1:], t, ok
}

// arrivalTime parses the recorder's time: seconds with decimals, ms, µs or ns, inferred from the magnitude.
func arrivalTime(stamp []byte) (int64, bool) {
	whole := len(stamp)
	if point := bytes.IndexByte(stamp, '.'); point >= 0 {
		whole = point
	}
	exponent := int8(0)
	switch {
	case whole <= 11:
		exponent = -9
	case whole <= 14:
		exponent = -6
	case whole <= 17:
		exponent = -3
	}
	t, err := decimal.Parse(stamp, exponent)
	return t, err == nil && t > 0
}

// message passes a message to the function for its exchange.
func (s *Source) message(b []byte) string {
	if b[0] == '[' {
		return s.krakenArray(b)
	}
	from, stream, data, key, stranger, ok := exchangeOf(b)
	switch {
	case !ok:
		return "the message is not a JSON object"
	case from == exchangeBinance:
		return s.binance(stream, data)
	case from == exchangeCoinbase:
		return s.coinbase(b)
	case from == exchangeKraken:
		return s.kraken(b)
	case from == exchangeKrakenSpot:
		return s.krakenSpot(b)
	case string(key) == "stream":
		return "the message names a stream and has no data"
	case stranger != "":
		return "a message of " + stranger + ", which is not a known exchange; " + known + `; write its trades and quotes as NDJSON, as "tickfeed help scenarios" shows`
	}
	return fmt.Sprintf("a message that begins with %.40q is from no known exchange; %s", key, known)
}

func (s *Source) report(format string, args ...any) {
	if len(s.count.Now.Reports) < maxReports {
		s.count.Now.Reports = append(s.count.Now.Reports, s.raw.Path+": "+fmt.Sprintf(format, args...))
	}
}

// venueTime converts the exchange's time, in ms, µs or ns since the epoch as inferred from the
// magnitude, to an event time. If stamp is 0, it returns the time of arrival. ok is false if there is no time at all.
func (s *Source) venueTime(stamp uint64) (at int64, ok bool) {
	unit := uint64(1)
	switch {
	case stamp == 0:
		return s.arrival, s.arrival != math.MinInt64
	case stamp < 1e14:
		unit = 1e6
	case stamp < 1e17:
		unit = 1e3
	}
	if stamp > math.MaxInt64/unit {
		return 0, false
	}
	return s.eventTime(int64(stamp * unit)), true
}

// eventTime returns at, the exchange's time, or the time of arrival, according to Config.Clock.
func (s *Source) eventTime(at int64) int64 {
	s.stated = at
	if s.arrival == math.MinInt64 {
		return at
	}
	skew := at - s.arrival
	s.count.Now.SkewMin, s.count.Now.SkewMax = min(s.count.Now.SkewMin, skew), max(s.count.Now.SkewMax, skew)
	if s.cfg.Clock == ClockArrival {
		return s.arrival
	}
	return at
}

const reasonNoTime = "the message has no time that can be read, and the line none of arrival"

// Stats returns the counts as of the last return from Next. It is safe for concurrent use.
func (s *Source) Stats() Stats {
	st := s.count.Shown()
	if st.SkewMin > st.SkewMax {
		st.SkewMin, st.SkewMax = 0, 0
	}
	st.Reports = slices.Clone(st.Reports)
	return st
}

// Close closes the current file. The error is always nil.
func (s *Source) Close() error {
	if s.raw != nil {
		s.raw.Close()
		s.raw = nil
	}
	s.pump.End(errClosed)
	return nil
}

var errClosed = errors.New("wscap: the source is closed")

var byteOrderMark = []byte("\ufeff")

// Recognise reports whether a file that begins with head is a capture, of a known exchange or of
// another one, which is refused by its name. A capture begins with a line of a recorder, with a time of arrival before JSON,
// or with JSON that has the members of a message and cannot be a row of NDJSON.
func Recognise(head []byte) bool {
	head = bytes.TrimPrefix(head, byteOrderMark)
	for len(head) > 0 {
		line, rest, _ := bytes.Cut(head, []byte{'\n'})
		head = rest
		line = bytes.TrimSuffix(line, []byte{'\r'})
		if len(bytes.TrimSpace(line)) == 0 {
			continue
		}
		if control(line) {
			return true
		}
		_, arrival, ok := splitLine(line)
		return ok && (arrival != math.MinInt64 || isMessage(line))
	}
	return false
}

// isMessage reports whether line begins an object with the members of a message of Binance, Kraken or Coinbase Advanced
// Trade.
func isMessage(line []byte) bool {
	seen := make(map[string]bool)
	futures := false
	w := walk(line, '{')
	for name, v := range w.members {
		seen[string(name)] = true
		if string(name) == "feed" {
			switch string(text(v)) {
			case "trade", "trade_snapshot", "ticker", "ticker_lite", "book", "book_snapshot":
				futures = true
			}
		}
	}
	switch {
	case seen["stream"] && (seen["data"] || w.bad), seen["e"] && seen["E"] && seen["s"]:
		return true
	case seen["u"] && seen["s"] && seen["b"] && seen["a"]: // bookTicker of Binance spot
		return true
	}
	if seen["channel"] && (seen["events"] || seen["sequence_num"] && w.bad) { // Coinbase Advanced Trade, which is refused by its name
		return true
	}
	return futures && seen["product_id"] || seen["channel"] && seen["type"] && (seen["data"] || w.bad) // cut by the end of head
}
