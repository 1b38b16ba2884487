package parquetfile

import (
	"encoding/binary"
	"fmt"
	"io"
	"slices"
	"strconv"

	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/compress/zstd"

	"tickfeed/feed"
)

// A Writer writes ticks as rows. Only one goroutine may use it. It holds about 64 MB, whatever the length of the file.
type Writer struct {
	file    *parquet.GenericWriter[any]
	writers []*parquet.ColumnWriter
	columns []column
	at      [columnCount]*column // nil if the file has no such column
	prices  form
	sizes   form
	rows    int // rows that are not written yet
	group   int // rows in the current row group
	arena   []byte
	err     error

	session   feed.SessionID
	sessionID parquet.Value
	kindTexts [feed.MaxKind + 1]parquet.Value
	sideTexts [2][feed.SideBoth + 1]parquet.Value // names of the sides of trades, and of books
	names     map[*feed.Definition][2]parquet.Value
}

// A column holds the values of a column that are not written yet, without trailing nulls.
type column struct {
	index  int
	level  int // definition level of a value
	values []parquet.Value
	nulls  []parquet.Value // batchRows nulls, if the column is optional
}

// The columns, in their order.
const (
	colSession = iota
	colSeq
	colType
	colSymbol
	colVenue
	colEvent
	colPublish
	colBid
	colBidSize
	colAsk
	colAskSize
	colPrice
	colSize
	colSide
	colTradeID
	colConditions
	colOldPrice
	colOldSize
	colStatus
	colTradingDay
	colPriceExponent
	colSizeExponent
	colCurrency
	colTickSize
	colLot
	colMore
	colReason
	colExpectedEnd
	colAuction
	colImbalance
	colExpectedTime
	columnCount
)

const (
	batchRows = 4096
	groupRows = 1 << 18
	maxNames  = 1 << 16 // number of definitions whose names are kept
)

// bit returns a set of kinds of ticks, as bits.
func bit(kinds ...feed.Kind) (set uint64) {
	for _, k := range kinds {
		set |= 1 << k
	}
	return set
}

var (
	everyKind = ^uint64(0)
	prints    = bit(feed.KindTrade, feed.KindCorrection, feed.KindCancel)
	priced    = prints | bit(feed.KindLevel, feed.KindAuction)
)

// Kinds returns the kinds of ticks that can be written.
func Kinds() []feed.Kind {
	return []feed.Kind{feed.KindDefinition, feed.KindQuote, feed.KindTrade, feed.KindCorrection, feed.KindCancel,
		feed.KindLevel, feed.KindClear, feed.KindStatus, feed.KindAuction}
}

// A spec declares a column.
type spec struct {
	name  string
	kinds uint64 // the kinds of ticks that have it
	node  parquet.Node
}

// specs returns the declarations of all columns.
func specs(prices, sizes form) [columnCount]spec {
	text := func() parquet.Node { return parquet.Encoded(parquet.String(), &parquet.RLEDictionary) }
	optional := parquet.Optional
	price := func() parquet.Node { return optional(prices.node()) }
	size := func() parquet.Node { return optional(sizes.node()) }
	time := func() parquet.Node {
		return parquet.Encoded(parquet.TimestampAdjusted(parquet.Nanosecond, false), &parquet.DeltaBinaryPacked)
	}
	quote, definition := bit(feed.KindQuote), bit(feed.KindDefinition)
	return [columnCount]spec{
		colSession:       {"session", everyKind, text()},
		colSeq:           {"seq", everyKind, parquet.Encoded(parquet.Int(64), &parquet.DeltaBinaryPacked)},
		colType:          {"type", everyKind, text()},
		colSymbol:        {"symbol", everyKind, optional(text())},
		colVenue:         {"venue", everyKind, optional(text())},
		colEvent:         {"ts_event", everyKind, optional(time())},
		colPublish:       {"ts_publish", everyKind, time()},
		colBid:           {"bid", quote, price()},
		colBidSize:       {"bid_size", quote, size()},
		colAsk:           {"ask", quote, price()},
		colAskSize:       {"ask_size", quote, size()},
		colPrice:         {"price", priced, price()},
		colSize:          {"size", priced, size()},
		colSide:          {"side", priced | bit(feed.KindClear), optional(text())},
		colTradeID:       {"trade_id", prints, optional(parquet.String())},
		colConditions:    {"conditions", bit(feed.KindTrade, feed.KindCorrection), optional(text())},
		colOldPrice:      {"old_price", bit(feed.KindCorrection), price()},
		colOldSize:       {"old_size", bit(feed.KindCorrection), size()},
		colStatus:        {"status", bit(feed.KindStatus), optional(text())},
		colTradingDay:    {"trading_day", bit(feed.KindStatus), optional(parquet.Int(32))},
		colPriceExponent: {"price_exponent", definition, optional(parquet.Int(32))},
		colSizeExponent:  {"size_exponent", definition, optional(parquet.Int(32))},
		colCurrency:      {"currency", definition, optional(text())},
		colTickSize:      {"tick_size", definition, price()},
		colLot:           {"lot", definition, size()},
		colMore:          {"more", everyKind, optional(parquet.Leaf(parquet.BooleanType))},
		colReason:        {"reason", bit(feed.KindStatus), optional(text())},
		colExpectedEnd:   {"expected_end", bit(feed.KindStatus), optional(time())},
		colAuction:       {"auction", bit(feed.KindAuction), optional(text())},
		colImbalance:     {"imbalance", bit(feed.KindAuction), size()},
		colExpectedTime:  {"expected_time", bit(feed.KindAuction), optional(time())},
	}
}

func (f form) node() parquet.Node {
	switch f {
	case formInteger:
		return parquet.Int(64)
	case formShort:
		return parquet.Decimal(shortScale, shortPrecision, parquet.Int64Type)
	}
	return parquet.Decimal(longScale, longPrecision, parquet.FixedLenByteArrayType(16))
}

// ordered is a group whose fields keep their order; parquet.Group sorts them by name.
type ordered struct {
	parquet.Group
	fields []parquet.Field
}

func (o ordered) Fields() []parquet.Field { return o.fields }

// New begins a file of ticks of the given kinds. All ticks that will be written must have been added to survey. The error
// reports values that do not fit in a column.
func New(out io.Writer, kinds []feed.Kind, survey *Survey) (*Writer, error) {
	w := &Writer{names: make(map[*feed.Definition][2]parquet.Value), columns: make([]column, 0, columnCount)}
	var err error
	if w.prices, err = survey.prices.form(false); err != nil {
		return nil, fmt.Errorf("parquet: a price of %w", err)
	}
	if w.sizes, err = survey.sizes.form(true); err != nil {
		return nil, fmt.Errorf("parquet: a size of %w", err)
	}
	group := parquet.Group{}
	var names []string
	for i, s := range specs(w.prices, w.sizes) {
		if s.kinds&bit(kinds...) == 0 || i == colMore && !survey.more {
			continue
		}
		group[s.name] = s.node
		names = append(names, s.name)
		c := column{index: len(w.columns), values: make([]parquet.Value, 0, batchRows)}
		if s.node.Optional() {
			c.level = 1
			c.nulls = slices.Repeat([]parquet.Value{parquet.NullValue().Level(0, 0, c.index)}, batchRows)
		}
		w.columns = append(w.columns, c)
		w.at[i] = &w.columns[c.index]
	}
	root := ordered{Group: group}
	for _, name := range names {
		for _, f := range group.Fields() {
			if f.Name() == name {
				root.fields = append(root.fields, f)
			}
		}
	}
	options := []parquet.WriterOption{
		parquet.NewSchema("ticks", root), parquet.CreatedBy("tickfeed", "", ""),
		parquet.Compression(&zstd.Codec{Level: zstd.SpeedFastest}),
	}
	for _, f := range root.fields {
		if f.Type().Kind() == parquet.ByteArray { // the bounds of texts in a page help no reader
			options = append(options, parquet.SkipPageBounds(f.Name()))
		}
	}
	w.file = parquet.NewGenericWriter[any](out, options...)
	w.writers = w.file.ColumnWriters()
	for k := range w.kindTexts {
		w.kindTexts[k] = w.text(colType, feed.Kind(k).String())
	}
	for side := range w.sideTexts[0] {
		for i, kind := range []feed.Kind{feed.KindTrade, feed.KindLevel} {
			t := feed.Tick{Kind: kind, Side: feed.Side(side)}
			w.sideTexts[i][side] = w.text(colSide, t.SideName())
		}
	}
	return w, nil
}

// put sets column i of the current row to v.
func (w *Writer) put(i int, v parquet.Value) {
	if c := w.at[i]; c != nil {
		c.pad(w.rows)
		if c.level > 0 {
			v = v.Level(0, c.level, c.index)
		}
		c.values = append(c.values, v)
	}
}

// putText sets column i of the current row to v, which text returned.
func (w *Writer) putText(i int, v parquet.Value) {
	if c := w.at[i]; c != nil {
		c.pad(w.rows)
		c.values = append(c.values, v)
	}
}

// text returns the value s for column i.
func (w *Writer) text(i int, s string) parquet.Value {
	v := parquet.ByteArrayValue([]byte(s))
	if c := w.at[i]; c != nil {
		v = v.Level(0, c.level, c.index)
	}
	return v
}

// pad adds nulls up to row n.
func (c *column) pad(n int) {
	if len(c.values) < n {
		c.values = append(c.values, c.nulls[:n-len(c.values)]...)
	}
}

// Write adds the tick t of session. publish is its publish time in nanoseconds since the Unix epoch, and d the definition of
// its instrument, or nil if it has none. Write keeps no reference to t. An error comes from the output, and repeats.
func (w *Writer) Write(session feed.SessionID, publish int64, t *feed.Tick, d *feed.Definition) error {
	if w.err != nil {
		return w.err
	}
	if session != w.session || w.sessionID.IsNull() {
		w.session, w.sessionID = session, w.text(colSession, session.String())
	}
	w.putText(colSession, w.sessionID)
	w.put(colSeq, parquet.Int64Value(int64(t.Seq)))
	w.putText(colType, w.kindTexts[min(t.Kind, feed.MaxKind)])
	if d == nil {
		d = &none
	} else {
		names := w.namesOf(d)
		w.putText(colSymbol, names[0])
		if d.Venue != "" {
			w.putText(colVenue, names[1])
		}
	}
	if t.EventTime != 0 {
		w.put(colEvent, parquet.Int64Value(t.EventTime))
	}
	w.put(colPublish, parquet.Int64Value(publish))
	switch t.Kind {
	case feed.KindQuote:
		w.price(colBid, d, t.Values[0])
		w.size(colBidSize, d, t.Values[1])
		w.price(colAsk, d, t.Values[2])
		w.size(colAskSize, d, t.Values[3])
	case feed.KindTrade, feed.KindCorrection, feed.KindCancel:
		w.trade(t, d)
	case feed.KindLevel:
		w.price(colPrice, d, t.Values[0])
		w.size(colSize, d, t.Values[1])
		w.side(1, t.Side)
	case feed.KindClear:
		w.side(1, t.Side)
	case feed.KindStatus:
		w.putText(colStatus, w.text(colStatus, t.Status.String()))
		if day := t.TradingDay(); day != 0 {
			w.put(colTradingDay, parquet.Int32Value(day))
		}
		if reason := t.StatusReason(); reason != "" {
			w.putText(colReason, w.text(colReason, reason))
		}
		if end := t.StatusEnd(); end != 0 {
			w.put(colExpectedEnd, parquet.Int64Value(end))
		}
	case feed.KindAuction:
		a := t.Auction()
		w.putText(colAuction, w.text(colAuction, a.Kind.String()))
		w.price(colPrice, d, a.Price)
		w.size(colSize, d, a.Size)
		w.side(0, a.Side)
		w.size(colImbalance, d, a.Imbalance)
		if a.Time != 0 {
			w.put(colExpectedTime, parquet.Int64Value(a.Time))
		}
	case feed.KindDefinition:
		w.put(colPriceExponent, parquet.Int32Value(int32(d.PriceExponent)))
		w.put(colSizeExponent, parquet.Int32Value(int32(d.SizeExponent)))
		if d.Currency != "" {
			w.putText(colCurrency, w.text(colCurrency, d.Currency))
		}
		if d.TickSize != 0 {
			w.price(colTickSize, d, d.TickSize)
		}
		if d.Lot != 0 {
			w.size(colLot, d, d.Lot)
		}
	}
	if t.Flags&feed.FlagMore != 0 {
		w.put(colMore, parquet.BooleanValue(true))
	}
	if w.rows++; w.rows == batchRows {
		w.err = w.flush()
	}
	return w.err
}

func (w *Writer) side(texts int, s feed.Side) {
	if s != feed.SideNone && s <= feed.SideBoth {
		w.putText(colSide, w.sideTexts[texts][s])
	}
}

func (w *Writer) namesOf(d *feed.Definition) [2]parquet.Value {
	names, ok := w.names[d]
	if !ok {
		if len(w.names) == maxNames {
			clear(w.names)
		}
		names = [2]parquet.Value{w.text(colSymbol, d.Symbol), w.text(colVenue, d.Venue)}
		w.names[d] = names
	}
	return names
}

func (w *Writer) trade(t *feed.Tick, d *feed.Definition) {
	tr := t.Trade()
	w.price(colPrice, d, tr.Price)
	w.size(colSize, d, tr.Size)
	w.side(0, tr.Side)
	if ref := t.TradeRef(); ref != "" {
		w.putText(colTradeID, w.text(colTradeID, ref))
	} else if tr.ID != 0 && w.at[colTradeID] != nil {
		at := len(w.arena)
		w.arena = strconv.AppendUint(w.arena, tr.ID, 10)
		w.put(colTradeID, parquet.ByteArrayValue(w.arena[at:]))
	}
	if t.Kind != feed.KindCancel && tr.Conditions != 0 && w.at[colConditions] != nil {
		at := len(w.arena)
		for c := tr.Conditions; c != 0; c <<= 8 {
			w.arena = append(w.arena, byte(c>>56))
		}
		w.put(colConditions, parquet.ByteArrayValue(w.arena[at:]))
	}
	if t.Kind == feed.KindCorrection {
		c := t.Correction()
		w.price(colOldPrice, d, c.OldPrice)
		w.size(colOldSize, d, c.OldSize)
	}
}

func (w *Writer) price(i int, d *feed.Definition, v int64) {
	if v != feed.NoPrice {
		w.decimal(i, w.prices, d.PriceExponent, v)
	}
}

func (w *Writer) size(i int, d *feed.Definition, v int64) { w.decimal(i, w.sizes, d.SizeExponent, v) }

// decimal sets column i of the current row to v × 10^exponent, which the survey has found to fit.
func (w *Writer) decimal(i int, f form, exponent int8, v int64) {
	switch f {
	case formInteger:
		w.put(i, parquet.Int64Value(v))
	case formShort:
		shift := min(max(0, shortScale+int(exponent)), shortPrecision) // beyond these, v is 0
		w.put(i, parquet.Int64Value(v*int64(powers[shift])))
	default:
		hi, lo, _ := scale(uint64(max(v, -v)), longScale+int(exponent))
		if v < 0 {
			lo = -lo
			hi = ^hi
			if lo == 0 {
				hi++
			}
		}
		at := len(w.arena)
		w.arena = binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(w.arena, hi), lo)
		w.put(i, parquet.FixedLenByteArrayValue(w.arena[at:]))
	}
}

// flush writes the rows in columns.
func (w *Writer) flush() error {
	for i := range w.columns {
		c := &w.columns[i]
		c.pad(w.rows)
		if _, err := w.writers[i].WriteRowValues(c.values); err != nil {
			return err
		}
		c.values = c.values[:0]
	}
	w.group += w.rows
	w.rows, w.arena = 0, w.arena[:0]
	if w.group < groupRows {
		return nil
	}
	w.group = 0
	return w.file.Flush()
}

// Close writes the remaining rows and the footer. It does not close the output.
func (w *Writer) Close() error {
	if w.err != nil {
		return w.err
	}
	if w.err = w.flush(); w.err == nil {
		w.err = w.file.Close()
	}
	return w.err
}
