// Package dbn reads Databento Binary Encoding, versions 1 to 3, as a [feed.Source]. The format is
// documented at https://github.com/databento/dbn.
//
//	src, err := dbn.Open([]string{"es.definition.dbn.zst", "es.mbp-1.dbn.zst"}, dbn.Config{})
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
// [Source] documents which records become which ticks.
package dbn

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"

	"tickfeed/feed"
	"tickfeed/feed/files/internal/book"
	"tickfeed/feed/files/internal/recent"
	"tickfeed/feed/files/rawfile"
)

// Config configures how files are read. The zero Config is ready to use.
type Config struct {
	// QuotesOnly leaves out levels and clears of mbo and mbp-10: of the books only quotes of the best bid and offer
	// remain.
	QuotesOnly bool
	// SkipBad is how many damaged records are skipped, in all files together, before one
	// ends the source. It must not be negative.
	SkipBad int
}

// A Source yields the ticks of DBN files; see [rawfile.Source] for its methods and errors.
//
// # Files
//
// Files are read one after the other. gzip and zstd are detected from the content and unpacked. A
// fragment (records without metadata) is detected from its first record. Memory
// grows with the number of instruments and of live orders, not with the file.
//
// # Records
//
//	trades                  trades
//	mbp-1, tbbo, cmbp-1,    quotes, and the trades between them
//	tcbbo
//	bbo-1s, bbo-1m, cbbo-…  quotes, at the end of their interval (ts_recv): their ts_event, price
//	                        and size are those of the last trade, if any, and are not used
//	mbp-10                  levels, as changes from the ten levels before; a quote
//	                        when the best level changes; trades
//	mbo                     a book is built: levels, clears, trades; a quote if the best level
//	                        has changed at the end of an event (F_LAST)
//	definition              definitions
//	status                  statuses
//	imbalance               auctions
//	symbol mapping          the symbols of instruments (live data)
//
// A record with action T shows the book before its trade took effect. It never changes the
// book here; if its best bid and offer differ from the last quote (as in tbbo), a quote
// precedes the trade. Fills (action F) are ignored, because they repeat T and C records.
//
// Records of unknown types are counted as ignored and skipped by their length, if
// publisher and time are plausible; the first one of a type is noted.
// System and error messages are skipped; bars and statistics are skipped
// in files of mixed records, and a file with nothing else is refused with a [*rawfile.FormatError].
//
// # Values
//
// Prices are exact, in units of 10^-9 (PriceExponent -9), or [feed.NoPrice] if they are
// undefined. Event times are ts_event, or ts_recv if ts_event is undefined and in mbo
// snapshots, whose records have the time at which each order was entered, days before. DBN
// has no trade ids. A tick has [feed.FlagMore] if more ticks of the same record follow.
//
// The reason for a status is the reason and the trading event of its record in words, such as "news pending", or their
// numbers if this version does not know them. Records whose action changes no status are ignored.
//
// An auction has the indicative match price, or else the clearing price of the continuous book, or else the reference
// price; a price that is undefined or 0 is none. The paired quantity (the size) and the total imbalance are those at the
// reference price; a quantity that is undefined is 0. Its kind is opening for the auction types O and M, closing for C, P
// and R, halt for H and V, IPO for I, and unknown for others. The other clearing prices and the collars are not read.
//
// An instrument is one instrument id at one publisher. Its venue is the publisher's, by
// Databento's code. Its symbol comes from its definition record, or else from the mappings of the
// metadata for the day of the record (ts_recv, UTC) or from a symbol mapping record; on
// a day that no mapping covers, it is the id in digits. If a symbol moves to another id (a continuous contract that rolls),
// the instrument stays the same and its book is cleared.
//
// # Stats
//
// Messages counts records, and Types counts them by rtype. Duplicates counts trades that an earlier file has as well (with
// several files, the last two to four million trades are remembered). Gaps counts the starts of doubtful books
// (F_MAYBE_BAD_BOOK), and Unknown the mbo records about orders that were never added. DBN's sequence
// is the venue's packet number, which has gaps by nature.
type Source = rawfile.Source

// Open prepares to read the files at paths one after the other. It reads nothing, but returns an error if a
// path does not exist.
func Open(paths []string, cfg Config) (*Source, error) {
	d := &decoder{
		cfg: cfg, several: len(paths) > 1, instruments: make(map[uint64]*instrument), mappings: make(map[uint32][]mapping),
	}
	return rawfile.NewSource(paths, cfg.SkipBad, d, &d.count)
}

// The types of records.
const (
	rtypeTrade         = 0x00
	rtypeMBP1          = 0x01
	rtypeMBP10         = 0x0a
	rtypeOHLCVOld      = 0x11
	rtypeStatus        = 0x12
	rtypeDefinition    = 0x13
	rtypeImbalance     = 0x14
	rtypeError         = 0x15
	rtypeSymbolMapping = 0x16
	rtypeSystem        = 0x17
	rtypeStatistics    = 0x18
	rtypeOHLCV1s       = 0x20
	rtypeOHLCVLast     = 0x24
	rtypeMBO           = 0xa0
	rtypeCMBP1         = 0xb1
	rtypeCBBO1s        = 0xc0
	rtypeCBBO1m        = 0xc1
	rtypeTCBBO         = 0xc2
	rtypeBBO1s         = 0xc3
	rtypeBBO1m         = 0xc4
)

// Bits of a record's flags.
const (
	flagMaybeBadBook = 1 << 2
	flagSnapshot     = 1 << 5
	flagTOB          = 1 << 6
	flagLast         = 1 << 7
)

const (
	undefPrice    = math.MaxInt64
	undefTime     = math.MaxUint64
	undefQuantity = math.MaxUint32
	headerSize    = 16
	latestTime    = 1 << 62 // times from here on, of the year 2116 and later, are not expected times of auctions
	forever       = math.MaxInt64
)

// least is the minimum length of a record by type, or 0 for unknown types. Records
// may be longer: ts_out adds 8 bytes, and later versions may add more.
var least = [256]uint16{
	rtypeTrade: 48, rtypeMBP1: 80, rtypeMBP10: 368, rtypeMBO: 56, rtypeCMBP1: 80, rtypeTCBBO: 80,
	rtypeCBBO1s: 80, rtypeCBBO1m: 80, rtypeBBO1s: 80, rtypeBBO1m: 80,
	rtypeStatus: 40, rtypeDefinition: 360, rtypeSymbolMapping: 80,
	rtypeImbalance: 112, rtypeError: 16, rtypeSystem: 16, rtypeStatistics: 16,
	rtypeOHLCVOld: 16, 0x20: 16, 0x21: 16, 0x22: 16, 0x23: 16, 0x24: 16,
}

// tickless returns the schema of a type of market data records that hold no ticks, or "" for other types.
func tickless(rtype byte) string {
	switch {
	case rtype == rtypeOHLCVOld || rtype >= rtypeOHLCV1s && rtype <= rtypeOHLCVLast:
		return "ohlcv"
	case rtype == rtypeStatistics:
		return "statistics"
	}
	return ""
}

// A decoder implements rawfile.Decoder.
type decoder struct {
	cfg         Config
	count       rawfile.Stats
	several     bool          // there are several files
	prints      recent.Prints // the trades, if there are several files
	path        string        // path of the current file
	meta        metadata
	names       rawfile.Instruments
	instruments map[uint64]*instrument // by publisher << 32 | instrument id
	last        *instrument            // instrument of the last record
	owners      []*instrument          // by feed.InstrumentID: the instrument that has this id now
	mappings    map[uint32][]mapping   // mappings of the current file, by instrument id
	mapped      int                    // number of mappings
	dirty       []*instrument          // all instruments that were dirty in the current file, without duplicates
}

// An instrument is one instrument id of one publisher.
type instrument struct {
	key      uint64
	id       feed.InstrumentID
	symbol   string
	from, to int64 // the symbol applies to records in [from, to)
	defined  bool  // a definition record has defined it
	doubtful bool  // the last record was marked flagMaybeBadBook

	prints recent.Group
	quote  feed.Quote // the last quote of mbp-1 and the like
	quoted bool

	book   book.Book // the book from mbo or mbp-10
	orders book.Orders
	dirty  bool
	listed bool  // the instrument is in decoder.dirty
	since  int64 // event time of the change that made it dirty
}

func (d *decoder) Begin(r *rawfile.Reader) error {
	d.prints.Begin()
	d.path = r.Path()
	for _, in := range d.instruments {
		if !in.defined {
			in.from, in.to = 0, 0 // look the symbol up in the mappings of this file
		}
	}
	clear(d.mappings)
	d.mapped = 0
	head, err := r.Peek(headerSize)
	if damage := (*rawfile.DamageError)(nil); errors.As(err, &damage) {
		return err
	}
	if len(head) < 4 {
		if err == io.EOF {
			return &rawfile.FormatError{File: r.Path(), Reason: "the file is empty"}
		}
		return &rawfile.FormatError{File: r.Path(), Reason: "not a DBN file"}
	}
	if string(head[:3]) == "DBN" {
		return d.readMetadata(r)
	}
	d.meta = metadata{}
	if !recogniseRecord(head) {
		return &rawfile.FormatError{File: r.Path(), Reason: "not a DBN file: neither metadata nor a record at its start"}
	}
	if what := tickless(head[1]); what != "" {
		return &rawfile.FormatError{File: r.Path(), Reason: fmt.Sprintf("records of schema %s hold no ticks", what)}
	}
	return nil
}

// Recognise reports whether head, the first bytes of an unpacked file, begins a DBN
// file of any version, or a fragment, whose first records must all be plausible.
func Recognise(head []byte) bool {
	if len(head) >= 4 && string(head[:3]) == "DBN" && head[3] < 32 {
		return true
	}
	if !recogniseRecord(head) {
		return false
	}
	for range 16 {
		if n := 4 * int(head[0]); n < len(head) {
			head = head[n:]
		} else {
			break
		}
		if len(head) >= headerSize && !plausible(head) {
			return false
		}
	}
	return true
}

// plausible reports whether head may be the header of a record of any type: it has a valid length and
// publisher, and a time that is undefined or in [1990, 2100).
func plausible(head []byte) bool {
	if 4*int(head[0]) < headerSize || binary.LittleEndian.Uint16(head[2:]) > 4096 {
		return false
	}
	ts := binary.LittleEndian.Uint64(head[8:])
	return ts == undefTime || ts == 0 || ts >= 631152000e9 && ts < 4102444800e9
}

// recogniseRecord reports whether head may be the header of a record of a known type,
// with a length that is possible for the type.
func recogniseRecord(head []byte) bool {
	if len(head) < headerSize {
		return false
	}
	n, rtype := 4*int(head[0]), head[1]
	if least[rtype] == 0 || n < int(least[rtype]) || n > int(least[rtype])+8 && least[rtype] > headerSize && rtype != rtypeDefinition && rtype != rtypeSymbolMapping {
		return false
	}
	return plausible(head)
}

func (d *decoder) Decode(r *rawfile.Reader, out []feed.Tick) ([]feed.Tick, error) {
	b, err := r.Peek(4)
	if err != nil {
		return out, r.Torn("a record", err)
	}
	n := 4 * int(b[0])
	if n < headerSize {
		return out, r.Damage(r.Offset(), "a record of %d bytes; its header alone has %d", n, headerSize)
	}
	if string(b[:3]) == "DBN" {
		return out, d.readMetadata(r) // files joined with cat
	}
	if b, err = r.Peek(n); err != nil {
		return out, r.Torn("a record", err)
	}
	r.Skip(n)
	rtype := b[1]
	need := int(least[rtype])
	switch {
	case need == 0 && plausible(b):
		if d.count.Types[rtype] == 0 {
			d.count.Note("records of type 0x%02x are not known", rtype)
		}
	case need == 0:
		return out, r.Bad(r.Offset()-int64(n), "a record of unknown type 0x%02x", rtype)
	case n < need:
		return out, r.Bad(r.Offset()-int64(n), "a record of type 0x%02x with %d bytes, at least %d", rtype, n, need)
	}
	d.count.Messages++
	d.count.Types[rtype]++
	switch rtype {
	case rtypeTrade, rtypeMBP1, rtypeMBP10, rtypeMBO, rtypeCMBP1, rtypeTCBBO,
		rtypeCBBO1s, rtypeCBBO1m, rtypeBBO1s, rtypeBBO1m, rtypeStatus, rtypeImbalance:
		out, err = d.market(out, rtype, b)
	case rtypeDefinition:
		out, err = d.definition(out, b)
	case rtypeSymbolMapping:
		err = d.symbolMapping(b)
	default:
		d.count.Ignored++
	}
	if err != nil {
		return out, r.Bad(r.Offset()-int64(n), "%v", err)
	}
	return out, nil
}

func (d *decoder) End(out []feed.Tick) []feed.Tick {
	for _, in := range d.dirty {
		if in.listed = false; in.dirty {
			out = d.flush(out, in)
		}
	}
	d.dirty = d.dirty[:0]
	return out
}

// market reads records about the market of one instrument.
func (d *decoder) market(out []feed.Tick, rtype byte, b []byte) ([]feed.Tick, error) {
	le := binary.LittleEndian
	recvAt := 32
	switch rtype {
	case rtypeMBO:
		recvAt = 40
	case rtypeStatus, rtypeImbalance:
		recvAt = 16
	}
	event, recv := le.Uint64(b[8:]), le.Uint64(b[recvAt:])
	if recv > forever {
		recv = event
	}
	if event > forever {
		event = recv
	}
	if event > forever {
		event, recv = 0, 0
	}
	t, defined := int64(event), int64(event)
	switch rtype {
	case rtypeMBO:
		if b[36]&flagSnapshot != 0 {
			defined = int64(recv)
		}
	case rtypeCBBO1s, rtypeCBBO1m, rtypeBBO1s, rtypeBBO1m:
		defined = int64(recv)
	}
	in, out, err := d.instrument(out, le.Uint16(b[2:]), le.Uint32(b[4:]), int64(recv), defined)
	if err != nil {
		return out, err
	}
	switch rtype {
	case rtypeTrade:
		return d.trade(out, in, t, b), nil
	case rtypeMBP1, rtypeCMBP1, rtypeTCBBO:
		return d.top(out, in, t, b), nil
	case rtypeMBP10:
		return d.depth(out, in, t, b), nil
	case rtypeMBO:
		return d.order(out, in, t, int64(recv), b)
	case rtypeStatus:
		return d.status(out, in, t, b), nil
	case rtypeImbalance:
		return append(out, auction(b).Tick(in.id, t)), nil
	default:
		return d.quote(out, in, int64(recv), b), nil
	}
}

// price converts a price of DBN to one of feed.
func price(b []byte) int64 {
	if p := int64(binary.LittleEndian.Uint64(b)); p != undefPrice {
		return p // the least int64 is not a price in DBN either
	}
	return feed.NoPrice
}

func side(b byte) feed.Side {
	switch b {
	case 'B':
		return feed.SideBuy
	case 'A':
		return feed.SideSell
	}
	return feed.SideNone
}

// trade appends the trade in b, whose price is at offset 16: all records except mbo have this layout.
func (d *decoder) trade(out []feed.Tick, in *instrument, t int64, b []byte) []feed.Tick {
	le := binary.LittleEndian
	return d.tellTrade(out, in, t, price(b[16:]), le.Uint32(b[24:]), b[29], le.Uint32(b[44:]))
}

// tellTrade appends a trade, unless an earlier file has it: trades, tbbo, mbp-1, mbp-10 and mbo files of
// the same instruments and times have the same trades.
func (d *decoder) tellTrade(out []feed.Tick, in *instrument, t, price int64, size uint32, aggressor byte, sequence uint32) []feed.Tick {
	if price == feed.NoPrice {
		d.count.Ignored++
		d.count.Note("a trade of %s at %d without a price", in.symbol, t)
		return out
	}
	if d.several && d.prints.Repeated(&in.prints, recent.Print{
		Source: in.key, Time: t, Number: uint64(sequence), Price: price, Size: int64(size), Side: aggressor,
	}) {
		if d.count.Duplicates++; d.count.Duplicates == 1 {
			d.count.Note("%s: trades of %s, and perhaps of others, that an earlier file has are left out as duplicates", d.path, in.symbol)
		}
		return out
	}
	return append(out, feed.Trade{Price: price, Size: int64(size), Side: side(aggressor)}.Tick(in.id, t))
}

// bbo returns the first pair of levels of a record as a quote.
func bbo(b []byte) feed.Quote {
	le := binary.LittleEndian
	q := feed.Quote{Bid: price(b[48:]), Ask: price(b[56:])}
	if q.Bid != feed.NoPrice {
		q.BidSize = int64(le.Uint32(b[64:]))
	}
	if q.Ask != feed.NoPrice {
		q.AskSize = int64(le.Uint32(b[68:]))
	}
	return q
}

func (d *decoder) top(out []feed.Tick, in *instrument, t int64, b []byte) []feed.Tick {
	d.doubt(in, b[30], t)
	q := bbo(b)
	if b[28] != 'T' {
		in.quote, in.quoted = q, true
		return append(out, q.Tick(in.id, t))
	}
	start := len(out)
	if !in.quoted || q != in.quote {
		in.quote, in.quoted = q, true
		out = append(out, q.Tick(in.id, t))
	}
	out = d.trade(out, in, t, b)
	book.More(out[start:])
	return out
}

func (d *decoder) quote(out []feed.Tick, in *instrument, t int64, b []byte) []feed.Tick {
	d.doubt(in, b[30], t)
	in.quote, in.quoted = bbo(b), true
	return append(out, in.quote.Tick(in.id, t))
}

// depth appends the changes from the previous ten levels.
func (d *decoder) depth(out []feed.Tick, in *instrument, t int64, b []byte) []feed.Tick {
	d.doubt(in, b[30], t)
	start := len(out)
	out = d.compare(out, in, t, feed.SideBuy, b[48:], 0, 16)
	out = d.compare(out, in, t, feed.SideSell, b[48:], 8, 20)
	out = in.book.Quote(out, t)
	if b[28] == 'T' {
		out = d.trade(out, in, t, b)
	}
	book.More(out[start:])
	return out
}

const depthLevels = 10

// compare sets one side of the book to the levels in pairs of 32 bytes, and appends the changes.
func (d *decoder) compare(out []feed.Tick, in *instrument, t int64, side feed.Side, pairs []byte, priceAt, sizeAt int) []feed.Tick {
	var prices, sizes [depthLevels]int64
	n := 0
	for i := range depthLevels {
		p := pairs[32*i:]
		if px, size := price(p[priceAt:]), int64(binary.LittleEndian.Uint32(p[sizeAt:])); px != feed.NoPrice && size > 0 {
			prices[n], sizes[n] = px, size
			n++
		}
	}
	start := len(out)
	out = in.book.Replace(out, t, side, prices[:n], sizes[:n])
	if d.cfg.QuotesOnly {
		out = out[:start]
	}
	return out
}

func (d *decoder) level(out []feed.Tick, in *instrument, t int64, side feed.Side, price, size int64) []feed.Tick {
	if d.cfg.QuotesOnly {
		return out
	}
	return append(out, feed.Level{Side: side, Price: price, Size: size}.Tick(in.id, t))
}

// doubt counts and notes the start of doubtful books of an instrument.
func (d *decoder) doubt(in *instrument, flags byte, t int64) {
	doubtful := flags&flagMaybeBadBook != 0
	if doubtful && !in.doubtful {
		d.count.Gaps++
		d.count.Note("the book of %s may be wrong from %d on (F_MAYBE_BAD_BOOK)", in.symbol, t)
	}
	in.doubtful = doubtful
}
