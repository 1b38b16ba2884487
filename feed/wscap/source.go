// Package wscap reads captures of the websocket feeds of crypto exchanges and gives them to
// a publisher as a [feed.Source]: Binance spot, USD-M and COIN-M futures, Coinbase Exchange,
// Kraken spot (versions 1 and 2) and Kraken Futures. Captures of other exchanges are refused by name.
//
// # Files
//
// A line is one message: the local time of its arrival, if the recorder wrote it (since the Unix epoch; seconds with
// decimals, ms, µs or ns, told by the magnitude), a blank or a colon and a blank, and the
// JSON. So hftbacktest's and cryptofeed's recorders write. Lines of the recorder (connect,
// subscribe), which begin with wss:// or ws://, and blank lines are passed over. Files are
// read one after the other and are one session: a book goes on in the next file. They may
// be packed with gzip or zstd. Memory does not grow with the files; a line is at most
// MaxLine bytes.
//
// # Instruments and numbers
//
// Symbols are the exchange's, venues BINANCE, BINANCE_USDM, BINANCE_COINM, BINANCE_OPTIONS,
// COINBASE, KRAKEN and KRAKEN_FUTURES; so BTCUSDT spot and future are two instruments. Where a line of the
// recorder names another site that sends Binance's messages, the venue is called after that:
// BINANCE_US for binance.us, BINANCE_TR for trbinance.com. All numbers are exact, never through a float:
// an instrument is defined with the decimals that its first message needs, and defined again
// with a finer exponent when a later one needs more.
//
// # Times
//
// EventTime is the exchange's: of the trade or change (T, time, timestamp), else of the
// message (E). Messages in which the exchange states none carry the local time of arrival:
// Binance spot bookTicker and REST snapshots, Coinbase snapshots, Kraken ticker_lite. The
// two clocks may differ by seconds, in either direction ([Stats].Skew tells); with
// Config.Clock = [ClockArrival] all ticks have the local time. Ticks come in the order of
// the file either way.
//
// # Messages
//
//	Binance   trade, aggTrade   a trade; m (the buyer is the maker) means that the aggressor sold.
//	                            Where both streams of an instrument are there, the one that came
//	                            first counts, the other is Repeated. X other than MARKET is told as
//	                            the trade's condition; X NA with price 0 is no trade.
//	          bookTicker        a quote
//	          depthUpdate       levels; see below
//	          REST snapshot     the whole book; it has no symbol: see below
//	Coinbase  match             a trade; side is the maker's, the aggressor is the other
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
//	          book              its first message the whole book, the others levels
//
// Two collectors may have written the same messages into a capture: a trade whose id was told,
// and that is not later than the last one, is Repeated, and so is a quote whose number (Binance
// u, Coinbase sequence) is not above the last. An id that goes back at a later time is a reset.
// Trades and spreads of version 1 of Kraken spot, and its books, have no number: a message with the same
// times, prices and sizes as one of the last two million is Repeated.
// A trade that one collector has lost and the other brings later is told when it comes.
//
// A message with several levels is one event. Messages of other kinds (candles, mark prices,
// confirmations) are counted in Stats.Other; a file that holds nothing else is refused.
//
// # Books
//
// A book is told from its snapshot on: it is cleared, the snapshot's levels follow, then the
// updates. A Binance snapshot comes from another connection, after updates that it does not
// hold; so updates are held until then, those that the snapshot holds are dropped, and the
// first of the others must join it (Binance API documentation, "How to manage a local order
// book correctly": U ≤ lastUpdateId+1 ≤ u; for futures pu ≤ lastUpdateId ≤ u). From there on
// each update must join the one before (U = u+1; for futures pu = u; Kraken seq+1). Where one
// does not, updates are missing: the book is cleared, the gap is reported in Stats, and the
// book waits for its next snapshot. Books of Kraken spot have no numbers but checksums, from which
// it follows likewise that updates are missing; levels that fall out of the depth that was
// subscribed, of which Kraken sends nothing, are removed. At most 16 MiB of updates are held. Updates that no
// snapshot came for are counted in Stats.Unanchored; with Config.PartialBooks they are told
// as they come, and the book then holds what has changed since the start of the file only.
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
	"sync"

	"tickfeed/feed"
	"tickfeed/feed/internal/recent"
	"tickfeed/feed/rawfile"
)

// A Source yields the ticks of captures. Make one with [Open]; it implements [feed.Source].
type Source struct {
	cfg   Config
	paths []string
	next  int           // path to open next
	raw   *rawfile.File // nil between files
	lines *rawfile.Lines
	meter *rawfile.Meter
	stdin io.Reader // nil if there is none

	instruments map[string]*instrument // by venue, NUL, symbol
	order       []*instrument          // those that may have a snapshot without a symbol
	unnumbered  []*instrument          // those whose books have no numbers, once a level was told
	host        string                 // that the recorder connected to last
	site        [4]string              // Binance's venues there, by market
	defined     int
	key         []byte
	held        int          // bytes of held updates
	seen        recent.Set   // hashes of Kraken's messages whose trades and quotes have no number
	seed        maphash.Seed // of these hashes
	useful      bool
	otherName   string // first kind of message of the file at hand that has no ticks

	arrival int64 // of the line at hand; math.MinInt64 if it states none
	stated  int64 // the exchange's time of the message at hand; 0 if it states none
	numbers []number
	sides   []feed.Side // of the levels at hand; two numbers each
	buf     []feed.Tick
	pending []feed.Tick
	err     error // once set, Next repeats it

	count Stats
	mu    sync.Mutex
	stats Stats // what Stats returns
}

var _ feed.Source = (*Source)(nil)

// Config says how captures are to be read. The zero Config is right for most.
type Config struct {
	// Clock says whose time EventTime is.
	Clock Clock
	// PartialBooks tells updates of books that no snapshot came for.
	PartialBooks bool
	// SkipBad is how many bad lines are passed over, in all files together, before one ends
	// the source. Not negative.
	SkipBad int
}

// A Clock is one of the two that a capture has.
type Clock uint8

const (
	// ClockVenue is the exchange's where the message states a time.
	ClockVenue Clock = iota
	// ClockArrival is the recorder's: it gives replay the pace at which messages came.
	ClockArrival
)

// MaxLine bounds a line, in bytes; a longer one is a bad line. It holds the whole book of any
// instrument.
const MaxLine = 8 << 20

// maxHeld bounds the updates held for snapshots, in bytes.
const maxHeld = 16 << 20

// Stats counts what a Source has read.
type Stats struct {
	Lines     int64 // with something in them, good or bad
	Control   int64 // of them the recorder's own
	Ticks     int64 // given out, definitions among them
	Trades    int64
	Quotes    int64
	Updates   int64 // messages that change a book
	Snapshots int64 // messages that tell a whole book
	Other     int64 // messages without ticks
	// Repeated are messages that tell again what was told: trades from before a
	// subscription, a trade twice, a quote, snapshot or update that is older than the last.
	Repeated   int64
	Unanchored int64 // updates of books that no snapshot came for; told with PartialBooks only
	Unplaced   int64 // snapshots without symbol that fit none, or more than one, of the instruments
	Gaps       int64 // places where updates or trades of the exchange are missing
	Resets     int64 // ids of the exchange that went back, and connections after the first of a file
	// Reports tells the first few gaps, resets and unplaced snapshots in words.
	Reports []string
	// SkewMin and SkewMax bound the exchange's time of a message less the local time of its
	// arrival, in nanoseconds; both 0 without such messages.
	SkewMin, SkewMax int64
	// Arrived are quotes in which the exchange states no time, so that they have that of arrival
	// although other ticks have the exchange's.
	Arrived  int64
	Skipped  int64 // bad lines tolerated
	FirstBad *rawfile.LineError
}

const maxReports = 16

// Open prepares to read the files at paths one after the other. It reads nothing yet, but a
// path that is not there is an error now.
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
		count: Stats{SkewMin: math.MaxInt64, SkewMax: math.MinInt64},
	}
	s.setSite(exchangeName)
	return s, nil
}

// Stdin makes r what is read in place of the path [rawfile.Stdin]. It is called before the first
// Next.
func (s *Source) Stdin(r io.Reader) { s.stdin = r }

// Meter makes m count what is read of the files. It is called before the first Next.
func (s *Source) Meter(m *rawfile.Meter) { s.meter = m }

// Next implements [feed.Source]. The error is io.EOF after the last file, a
// [*rawfile.LineError] where a line is bad and Config.SkipBad is used up, or where a file
// cannot be unpacked or holds no ticks, and else names the file that cannot be opened.
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
		if n > 0 && s.stdin != nil && s.raw != nil && !s.lines.Ready() {
			break // what came down a pipe goes out at once
		}
		if s.err = s.fill(); s.err != nil {
			break
		}
	}
	s.count.Ticks += int64(n)
	s.mu.Lock()
	s.stats = s.count
	s.mu.Unlock()
	if n == 0 {
		return 0, s.err
	}
	return n, nil
}

// fill reads a line; its ticks are pending then.
func (s *Source) fill() error {
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
		s.pending = s.buf
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
	s.count.Lines++
	if reason == "" {
		return nil
	}
	bad := s.lines.Bad(s.raw.Path, reason, nil)
	if s.count.FirstBad == nil {
		s.count.FirstBad = bad
	}
	if s.count.Skipped >= int64(s.cfg.SkipBad) {
		return bad
	}
	s.count.Skipped++
	return nil
}

// read takes one line. The result says what is wrong with it.
func (s *Source) read(line []byte) string {
	if control(line) {
		s.count.Control++
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

// connection takes a line of the recorder. A new connection tells of Coinbase's books again; those
// of the other exchanges have numbers that join, or do not.
func (s *Source) connection(line []byte) {
	url, stamp, ok := bytes.Cut(line, []byte(" <-> "))
	s.connectedTo(url)
	if !ok || !s.useful {
		return
	}
	s.count.Resets++
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
	s.pending = s.buf
}

func control(line []byte) bool {
	return bytes.HasPrefix(line, []byte("wss://")) || bytes.HasPrefix(line, []byte("ws://"))
}

// splitLine cuts the time of arrival off; it is math.MinInt64 if there is none.
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

// arrivalTime reads the recorder's time: seconds with decimals, ms, µs or ns, told by the magnitude.
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
	t, err := feed.ParseDecimal(stamp, exponent)
	return t, err == nil && t > 0
}

// An exchange is one whose messages are known.
type exchange uint8

const (
	exchangeNone exchange = iota
	exchangeBinance
	exchangeCoinbase
	exchangeKraken     // Futures
	exchangeKrakenSpot // version 2; of version 1, only events are objects
)

// members are those that tell an exchange, as bits.
type members uint16

const (
	hasType members = 1 << iota
	hasEvent
	hasAnswer // result, id, code, error
	hasChannel
	hasData
	hasArg
	hasTopic
	hasSubject
	hasRPC
	hasTable
	hasTick
	hasEvents
	hasMethod
)

var memberBits = map[string]members{
	"type": hasType, "event": hasEvent, "result": hasAnswer, "id": hasAnswer, "code": hasAnswer, "error": hasAnswer,
	"channel": hasChannel, "data": hasData, "arg": hasArg, "topic": hasTopic, "subject": hasSubject, "jsonrpc": hasRPC,
	"table": hasTable, "ch": hasTick, "tick": hasTick, "ping": hasTick, "events": hasEvents, "method": hasMethod,
}

// stranger names an exchange that cannot be read, of a message with such members; "" if it is none of
// those that are known by name.
func (has members) stranger() string {
	all := func(m members) bool { return has&m == m }
	switch {
	case all(hasRPC):
		return "Deribit"
	case all(hasArg):
		return "OKX"
	case all(hasTable):
		return "BitMEX"
	case all(hasTopic | hasSubject), all(hasTopic | hasType | hasAnswer):
		return "KuCoin"
	case all(hasTopic):
		return "Bybit"
	case all(hasTick):
		return "HTX (Huobi)"
	case all(hasChannel | hasEvents):
		return "Coinbase Advanced Trade"
	case all(hasChannel | hasEvent | hasAnswer):
		return "Gate"
	case all(hasChannel | hasEvent):
		return "Bitstamp"
	}
	return ""
}

// exchangeOf tells the exchange of a message from the names of its members, in any order. A
// message of a combined stream of Binance is data, and stream its name; key is the first member, and
// stranger the exchange where it is one that cannot be read.
func exchangeOf(b []byte) (from exchange, stream, data, key []byte, stranger string, ok bool) {
	w := walk(b, '{')
	data = b
	var has members
	for {
		name, value, more := w.member()
		if !more {
			break
		}
		if key == nil {
			key = name
		}
		switch string(name) {
		case "stream":
			stream, from = text(value), exchangeBinance
		case "data":
			data = value
		case "e", "lastUpdateId", "u":
			return exchangeBinance, nil, b, key, "", true
		case "feed":
			return exchangeKraken, nil, b, key, "", true
		}
		has |= memberBits[string(name)]
		if from == exchangeBinance && len(data) != len(b) {
			return from, stream, data, key, "", true
		}
	}
	if from == exchangeBinance { // a stream without data
		return exchangeNone, nil, b, key, "", true
	}
	if stranger = has.stranger(); stranger != "" {
		return exchangeNone, nil, b, key, stranger, true
	}
	switch {
	case has&hasEvent != 0:
		from = exchangeKraken
	case has&(hasChannel|hasMethod) != 0:
		from = exchangeKrakenSpot
	case has&hasType != 0:
		from = exchangeCoinbase
	case has&hasAnswer != 0:
		from = exchangeBinance
	}
	return from, nil, b, key, "", key != nil
}

// message hands a message to its exchange.
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
		return "a message of " + stranger + ", which is none of the exchanges known; " + known
	}
	return fmt.Sprintf("a message that begins with %.40q is of none of the exchanges known; %s", key, known)
}

const known = "what can be read is Binance, Coinbase Exchange, Kraken"

// other counts a message without ticks.
func (s *Source) other(name []byte) string {
	s.count.Other++
	if s.otherName == "" {
		s.otherName = fmt.Sprintf("%.40s", name)
	}
	return ""
}

func (s *Source) report(format string, args ...any) {
	if len(s.count.Reports) < maxReports {
		s.count.Reports = append(s.count.Reports, s.raw.Path+": "+fmt.Sprintf(format, args...))
	}
}

// venueTime is the exchange's time as an event time, in ms, µs or ns since the epoch, told by the
// magnitude; 0 means that it stated none. ok is false if there is no time at all.
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

// eventTime is at, the exchange's time, or that of arrival.
func (s *Source) eventTime(at int64) int64 {
	s.stated = at
	if s.arrival == math.MinInt64 {
		return at
	}
	skew := at - s.arrival
	s.count.SkewMin, s.count.SkewMax = min(s.count.SkewMin, skew), max(s.count.SkewMax, skew)
	if s.cfg.Clock == ClockArrival {
		return s.arrival
	}
	return at
}

const reasonNoTime = "the message has no time that can be read, and the line none of arrival"

// Stats is what was read so far, as of the last return from Next. It may be called at any
// time, from any goroutine.
func (s *Source) Stats() Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := s.stats
	if st.SkewMin > st.SkewMax {
		st.SkewMin, st.SkewMax = 0, 0
	}
	st.Reports = slices.Clone(st.Reports)
	return st
}

// Close closes the file at hand. The error is always nil.
func (s *Source) Close() error {
	if s.raw != nil {
		s.raw.Close()
		s.raw = nil
	}
	if s.err == nil {
		s.err = errClosed
	}
	return nil
}

var errClosed = errors.New("wscap: the source is closed")

var byteOrderMark = []byte("\ufeff")

// Recognise reports whether a file that begins with head is a capture: of one of the exchanges, or of
// another, which is refused by its name. A recorder's line, or a time of arrival before JSON, decides;
// or JSON that has the members of a message and could not be rows of NDJSON.
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

// isMessage reports whether line begins an object with the members of a message of Binance or Kraken.
func isMessage(line []byte) bool {
	seen := make(map[string]bool)
	futures := false
	w := walk(line, '{')
	for {
		name, v, ok := w.member()
		if !ok {
			break
		}
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
	return futures && seen["product_id"] || seen["channel"] && seen["type"] && (seen["data"] || w.bad) // cut by the end of head
}
