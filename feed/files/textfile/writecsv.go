package textfile

import (
	"bytes"
	"strconv"
	"strings"

	"tickfeed/feed"
)

// CSVFormat is CSV with a header and fixed columns. Columns that a tick does not have are empty, and so is the number of
// a tick from a snapshot. Text that a spreadsheet would take for a formula is prefixed with an apostrophe; see
// [Defuse].
type CSVFormat struct{ Times Times }

// csvColumns are the columns, in order.
const csvColumns = "session,seq,snapshot,type,symbol,venue,ts_event,ts_publish," +
	"bid,bid_size,ask,ask_size," +
	"price,size,side,trade_id,conditions,old_price,old_size," +
	"status,trading_day," +
	"price_exponent,size_exponent,currency,tick_size,lot," +
	"open,high,low,last,last_size,volume,trades,more," +
	"reason,expected_end,auction,imbalance,expected_time"

// Header returns the names of the columns.
func (CSVFormat) Header() string { return csvColumns + "\n" }

// Names implements [Format].
func (CSVFormat) Names(d *feed.Definition) []byte {
	b := append(csvText(nil, d.Symbol), ',')
	return append(csvText(b, d.Venue), ',')
}

// csvText appends a cell of text, in quotes if it needs them (RFC 4180), so that no spreadsheet takes it for a formula.
func csvText(b []byte, s string) []byte {
	if Defuse(s) {
		s = "'" + s
	}
	if !strings.ContainsAny(s, "\",\r\n") && strings.TrimSpace(s) == s {
		return append(b, s...)
	}
	return append(append(append(b, '"'), strings.ReplaceAll(s, `"`, `""`)...), '"')
}

// The number of columns in each group; a tick fills one or more groups.
const (
	csvQuote      = 4
	csvTrade      = 7
	csvStatus     = 2
	csvDefinition = 5
	csvSummary    = 7
	csvReason     = 2 // columns of a status, after the column more
	csvAuction    = 3
)

// AppendTick implements [Format].
func (f CSVFormat) AppendTick(b []byte, s *Stamp, in *Listing, t *feed.Tick) []byte {
	b = append(append(b, s.Session...), ',')
	if t.Flags&feed.FlagSnapshot != 0 {
		b = append(b, ",true,"...)
	} else {
		b = append(strconv.AppendUint(b, t.Seq, 10), ",,"...)
	}
	b = append(append(append(b, t.Kind.String()...), ','), in.Names...)
	b = append(f.Times.AppendCSV(b, t.EventTime), ',')
	if s.PublishTime != 0 {
		b = f.Times.AppendCSV(b, s.PublishTime)
	}
	b = append(b, ',')
	switch t.Kind {
	case feed.KindQuote:
		q := t.Quote()
		b = append(csvPrice(b, in, q.Bid), ',')
		b = append(in.AppendSize(b, q.BidSize), ',')
		b = append(csvPrice(b, in, q.Ask), ',')
		b = append(in.AppendSize(b, q.AskSize), ',')
		b = blankCells(b, csvTrade+csvStatus+csvDefinition+csvSummary)
	case feed.KindTrade, feed.KindCorrection, feed.KindCancel, feed.KindLevel, feed.KindClear:
		b = blankCells(b, csvQuote)
		b = csvTradeCells(b, in, t)
		b = blankCells(b, csvStatus+csvDefinition+csvSummary)
	case feed.KindStatus:
		b = blankCells(b, csvQuote+csvTrade)
		b = append(append(b, t.Status.String()...), ',')
		b = csvDay(b, t.TradingDay())
		b = blankCells(b, csvDefinition+csvSummary)
	case feed.KindAuction:
		a := t.Auction()
		b = blankCells(b, csvQuote)
		b = append(csvPrice(b, in, a.Price), ',')
		b = append(in.AppendSize(b, a.Size), ',')
		b = append(append(b, t.SideName()...), ',')
		b = blankCells(b, csvTrade-3+csvStatus+csvDefinition+csvSummary)
	case feed.KindDefinition:
		b = blankCells(b, csvQuote+csvTrade+csvStatus)
		b = csvDefinitionCells(b, in, t.Definition())
		b = blankCells(b, csvSummary)
	case feed.KindSummary:
		b = csvSummaryCells(b, in, t.Summary())
	default:
		b = blankCells(b, csvQuote+csvTrade+csvStatus+csvDefinition+csvSummary)
	}
	if t.Flags&feed.FlagMore != 0 {
		b = append(b, "true"...)
	}
	b = append(b, ',')
	return append(f.last(b, in, t), '\n')
}

// last fills the columns after more, the last of which ends without a comma.
func (f CSVFormat) last(b []byte, in *Listing, t *feed.Tick) []byte {
	switch t.Kind {
	case feed.KindStatus:
		b = append(csvText(b, t.StatusReason()), ',')
		if end := t.StatusEnd(); end != 0 {
			b = f.Times.AppendCSV(b, end)
		}
		return blankCells(b, csvAuction)
	case feed.KindAuction:
		a := t.Auction()
		b = append(append(blankCells(b, csvReason), a.Kind.String()...), ',')
		b = append(in.AppendSize(b, a.Imbalance), ',')
		if a.Time != 0 {
			b = f.Times.AppendCSV(b, a.Time)
		}
		return b
	}
	return blankCells(b, csvReason+csvAuction-1)
}

var commas = bytes.Repeat([]byte{','}, csvQuote+csvTrade+csvStatus+csvDefinition+csvSummary)

func blankCells(b []byte, n int) []byte { return append(b, commas[:n]...) }

func csvPrice(b []byte, in *Listing, v int64) []byte {
	if v == feed.NoPrice {
		return b
	}
	return in.AppendPrice(b, v)
}

func csvDay(b []byte, day int32) []byte {
	if day != 0 {
		b = strconv.AppendInt(b, int64(day), 10)
	}
	return append(b, ',')
}

func csvTradeCells(b []byte, in *Listing, t *feed.Tick) []byte {
	tr := t.Trade()
	if t.Kind == feed.KindClear {
		b = append(b, ",,"...)
	} else {
		b = append(csvPrice(b, in, tr.Price), ',')
		b = append(in.AppendSize(b, tr.Size), ',')
	}
	b = append(append(b, t.SideName()...), ',')
	if t.Kind == feed.KindLevel || t.Kind == feed.KindClear {
		return blankCells(b, csvTrade-3)
	}
	if ref := t.TradeRef(); ref != "" {
		b = csvText(b, ref)
	} else if tr.ID != 0 {
		b = strconv.AppendUint(b, tr.ID, 10)
	}
	b = append(b, ',')
	if t.Kind != feed.KindCancel && tr.Conditions != 0 {
		b = append(b, '"')
		if Defuse(tr.Conditions.String()) {
			b = append(b, '\'')
		}
		b = append(appendConditions(b, tr.Conditions, '"', '"'), '"')
	}
	b = append(b, ',')
	if t.Kind != feed.KindCorrection {
		return blankCells(b, 2)
	}
	c := t.Correction()
	b = append(csvPrice(b, in, c.OldPrice), ',')
	return append(in.AppendSize(b, c.OldSize), ',')
}

func csvDefinitionCells(b []byte, in *Listing, d *feed.Definition) []byte {
	if d == nil {
		return blankCells(b, csvDefinition)
	}
	b = append(strconv.AppendInt(b, int64(d.PriceExponent), 10), ',')
	b = append(strconv.AppendInt(b, int64(d.SizeExponent), 10), ',')
	b = append(csvText(b, d.Currency), ',')
	if d.TickSize != 0 {
		b = in.AppendPrice(b, d.TickSize)
	}
	b = append(b, ',')
	if d.Lot != 0 {
		b = in.AppendSize(b, d.Lot)
	}
	return append(b, ',')
}

// csvSummaryCells fills a whole line, because a summary has a trading day.
func csvSummaryCells(b []byte, in *Listing, m *feed.Summary) []byte {
	if m == nil {
		m = &feed.Summary{Open: feed.NoPrice, High: feed.NoPrice, Low: feed.NoPrice, Last: feed.NoPrice}
	}
	b = blankCells(b, csvQuote+csvTrade+1)
	b = csvDay(b, m.TradingDay)
	b = blankCells(b, csvDefinition)
	for _, v := range [...]int64{m.Open, m.High, m.Low, m.Last} {
		b = append(csvPrice(b, in, v), ',')
	}
	b = append(in.AppendSize(b, m.LastSize), ',')
	b = append(in.AppendSize(b, m.Volume), ',')
	return append(strconv.AppendInt(b, m.Trades, 10), ',')
}
