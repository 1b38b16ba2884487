package main

import (
	"strconv"
	"strings"
	"time"

	"tickfeed/feed"
	"tickfeed/feed/files/textfile"
)

// textFormat is for people and fits a terminal of 80 columns: number, time of day of the event in UTC, instrument, kind,
// values. Ticks of a snapshot have no number.
type textFormat struct {
	width  int   // width of the terminal in columns, to which lines are wrapped; 0 if there is none
	second int64 // the second, since the epoch, that clock is the text of
	clock  []byte
}

// Header returns "".
func (*textFormat) Header() string { return "" }

const (
	seqWidth  = 6
	nameWidth = 13
	kindWidth = 10
	timeWidth = 12

	valuesAt   = seqWidth + 1 + timeWidth + 1 + nameWidth + 1 + kindWidth + 1 // column of the values of a tick
	priceWidth = 8
	sizeWidth  = 4
)

// Names implements [textfile.Format].
func (*textFormat) Names(d *feed.Definition) []byte {
	name := []byte(d.Name())
	return append(padRight(name, 0, nameWidth+len(name)-cells(d.Name())), ' ')
}

// AppendTick implements [textfile.Format].
func (f *textFormat) AppendTick(b []byte, _ *textfile.Stamp, in *textfile.Listing, t *feed.Tick) []byte {
	begun := len(b)
	if t.Flags&feed.FlagSnapshot == 0 {
		b = strconv.AppendUint(b, t.Seq, 10)
	}
	b = append(padLeft(b, begun, seqWidth), ' ')
	if t.EventTime == 0 { // not known
		b = append(b, "           - "...)
	} else {
		b = append(f.timeOfDay(b, t.EventTime), ' ')
	}
	b = append(b, in.Names...)
	start := len(b)
	b = append(b, t.Kind.String()...)
	b = append(padRight(b, start, kindWidth), ' ')
	switch t.Kind {
	case feed.KindQuote:
		q := t.Quote()
		b = textSide(b, in, priceWidth, q.Bid, q.BidSize)
		b = append(b, " | "...)
		b = textSide(b, in, priceWidth, q.Ask, q.AskSize)
	case feed.KindTrade, feed.KindCorrection, feed.KindCancel:
		b = textTrade(b, in, t)
	case feed.KindLevel:
		l := t.Level()
		b = textSide(b, in, priceWidth, l.Price, l.Size)
		b = append(append(b, ' '), t.SideName()...)
	case feed.KindClear:
		b = append(b, t.SideName()...)
	case feed.KindStatus:
		b = append(b, t.Status.String()...)
		b = textNumber(b, "  trading day ", int64(t.TradingDay()))
		if reason := t.StatusReason(); reason != "" {
			b = append(append(b, "  "...), reason...)
		}
		if end := t.StatusEnd(); end != 0 {
			b = f.timeOfDay(append(b, "  until "...), end)
		}
	case feed.KindAuction:
		a := t.Auction()
		b = textSide(append(append(b, a.Kind.String()...), "  "...), in, priceWidth, a.Price, a.Size)
		if a.Imbalance != 0 || a.Side != feed.SideNone {
			b = in.AppendSize(append(b, "  imbalance "...), a.Imbalance)
			b = append(append(b, ' '), a.Side.String()...)
		}
		if a.Time != 0 {
			b = f.timeOfDay(append(b, "  at "...), a.Time)
		}
	case feed.KindDefinition:
		b = textDefinition(b, in, t.Definition())
	case feed.KindSummary:
		b = textSummary(b, in, t.Summary())
	}
	if t.Flags&feed.FlagSnapshot != 0 {
		b = append(b, "  (snapshot)"...)
	}
	for b[len(b)-1] == ' ' {
		b = b[:len(b)-1]
	}
	if f.width > 0 && len(b)-begun > f.width {
		b = append(b[:begun], wrap(string(b[begun:]), f.width, valuesIndent)...)
	}
	return append(b, '\n')
}

// valuesIndent is the indent of values on continuation lines.
var valuesIndent = strings.Repeat(" ", valuesAt)

// timeOfDay appends the time of day of ns since the Unix epoch, in UTC, with milliseconds.
func (f *textFormat) timeOfDay(b []byte, ns int64) []byte {
	second, rest := ns/int64(time.Second), ns%int64(time.Second)
	if rest < 0 {
		second--
		rest += int64(time.Second)
	}
	if second != f.second || f.clock == nil {
		f.second = second
		f.clock = time.Unix(second, 0).UTC().AppendFormat(f.clock[:0], "15:04:05.")
	}
	b = append(b, f.clock...)
	ms := rest / int64(time.Millisecond)
	return append(b, byte('0'+ms/100), byte('0'+ms/10%10), byte('0'+ms%10))
}

// textSide appends a price of at least width bytes and a size, aligned: "  187.25 x 300   ". A side that has neither is
// "-".
func textSide(b []byte, in *textfile.Listing, width int, price, size int64) []byte {
	start := len(b)
	b = padLeft(textPrice(b, in, price), start, width)
	if price != feed.NoPrice || size != 0 {
		b = in.AppendSize(append(b, " x "...), size)
	}
	return padRight(b, start, width+3+sizeWidth)
}

// textPrice appends a price, or "-" if there is none.
func textPrice(b []byte, in *textfile.Listing, price int64) []byte {
	if price == feed.NoPrice {
		return append(b, '-')
	}
	return in.AppendAligned(b, price)
}

func textTrade(b []byte, in *textfile.Listing, t *feed.Tick) []byte {
	tr := t.Trade()
	b = textSide(b, in, priceWidth, tr.Price, tr.Size)
	b = append(append(b, ' '), t.Side.String()...)
	if ref := t.TradeRef(); ref != "" {
		b = append(append(b, "  #"...), ref...)
	} else if tr.ID != 0 {
		b = strconv.AppendUint(append(b, "  #"...), tr.ID, 10)
	}
	if t.Kind != feed.KindCancel && tr.Conditions != 0 {
		b = append(append(b, "  ["...), tr.Conditions.String()...)
		b = append(b, ']')
	}
	if t.Kind == feed.KindCorrection {
		c := t.Correction()
		b = textPrice(append(b, "  was "...), in, c.OldPrice)
		b = in.AppendSize(append(b, " x "...), c.OldSize)
	}
	return b
}

func textDefinition(b []byte, in *textfile.Listing, d *feed.Definition) []byte {
	if d == nil {
		return b
	}
	b = strconv.AppendInt(append(b, "price 10^"...), int64(d.PriceExponent), 10)
	b = strconv.AppendInt(append(b, "  size 10^"...), int64(d.SizeExponent), 10)
	if d.Currency != "" {
		b = append(append(b, "  "...), d.Currency...)
	}
	if d.TickSize != 0 {
		b = in.AppendPrice(append(b, "  tick "...), d.TickSize)
	}
	if d.Lot != 0 {
		b = in.AppendSize(append(b, "  lot "...), d.Lot)
	}
	return b
}

func textSummary(b []byte, in *textfile.Listing, m *feed.Summary) []byte {
	if m == nil {
		return b
	}
	for _, v := range [...]struct {
		name  string
		price int64
	}{{"open ", m.Open}, {"  high ", m.High}, {"  low ", m.Low}, {"  last ", m.Last}} {
		b = textPrice(append(b, v.name...), in, v.price)
	}
	return in.AppendSize(append(b, "  volume "...), m.Volume)
}

func textNumber(b []byte, name string, v int64) []byte {
	if v == 0 {
		return b
	}
	return strconv.AppendInt(append(b, name...), v, 10)
}

// padRight appends blanks to b until it has at least width bytes after start.
func padRight(b []byte, start, width int) []byte {
	for len(b)-start < width {
		b = append(b, ' ')
	}
	return b
}

// padLeft inserts blanks into b at start until it has at least width bytes after start.
func padLeft(b []byte, start, width int) []byte {
	missing := width - (len(b) - start)
	if missing <= 0 {
		return b
	}
	for range missing {
		b = append(b, ' ')
	}
	copy(b[start+missing:], b[start:len(b)-missing])
	for i := range missing {
		b[start+i] = ' '
	}
	return b
}
