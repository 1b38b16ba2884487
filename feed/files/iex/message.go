package iex

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"time"

	"tickfeed/feed"
	"tickfeed/feed/files/internal/book"
	"tickfeed/feed/files/internal/pcap"
	"tickfeed/feed/files/rawfile"
)

// line returns the line of the channel on which a segment came.
func (d *decoder) line(segment []byte) (*pcap.Line, error) {
	le := binary.LittleEndian
	key := uint64(le.Uint16(segment[2:]))<<32 | uint64(le.Uint32(segment[4:]))
	s := d.lines[key]
	if s == nil {
		if len(d.lines) >= maxStreams {
			return nil, errors.New("too many channels")
		}
		s = &stream{session: le.Uint32(segment[8:])}
		d.lines[key], d.streams[&s.Line] = s, s
	}
	return &s.Line, nil
}

// clear empties all books.
func (d *decoder) clear(out []feed.Tick, t int64) []feed.Tick {
	for _, in := range d.order {
		if in.book.Clear(feed.SideBoth) {
			out = append(out, feed.ClearTick(in.id, t, feed.SideBoth))
			if !in.tops {
				out[len(out)-1].Flags |= feed.FlagMore
				out = in.book.Quote(out, t)
			}
		}
	}
	return out
}

// least is the least length of a message by type; 0 for unknown types.
var least = [256]byte{
	'S': 10, 'D': 31, 'H': 22, 'O': 18, 'P': 19, 'Q': 42, 'T': 38, 'B': 38, 'X': 26, 'A': 80,
	'8': 30, '5': 30, 'E': 18, 'I': 18,
}

func (d *decoder) message(out []feed.Tick, m []byte, protocol uint16) ([]feed.Tick, error) {
	if len(m) == 0 {
		return out, errors.New("it is empty")
	}
	kind := m[0]
	if need := int(least[kind]); len(m) < need {
		return out, fmt.Errorf("type %q has %d bytes, at least %d", kind, len(m), need)
	}
	d.count.Messages++
	d.count.Types[kind]++
	if least[kind] == 0 && d.count.Types[kind] == 1 {
		d.count.Note("messages of type %q are not known", kind)
	}
	switch kind {
	case 'Q', 'T', 'B', 'H', 'O', 'D', 'A', '8', '5':
	case 'S':
		if m[1] == 'O' {
			d.day = d.date(int64(binary.LittleEndian.Uint64(m[2:])))
		}
		fallthrough
	default:
		d.count.Ignored++
		return out, nil
	}
	le := binary.LittleEndian
	t := int64(le.Uint64(m[2:]))
	in, out, err := d.instrument(out, m, t)
	if err != nil {
		return out, err
	}
	if d.repeated(m, protocol) {
		d.count.Duplicates++
		return out, nil
	}
	switch kind {
	case 'Q':
		in.tops = true
		q := feed.Quote{
			BidSize: int64(le.Uint32(m[18:])), Bid: int64(le.Uint64(m[22:])),
			Ask: int64(le.Uint64(m[30:])), AskSize: int64(le.Uint32(m[38:])),
		}
		if q.Bid == 0 && q.BidSize == 0 {
			q.Bid = feed.NoPrice
		}
		if q.Ask == 0 && q.AskSize == 0 {
			q.Ask = feed.NoPrice
		}
		out = append(out, q.Tick(in.id, t))
	case 'T':
		out = append(out, feed.Trade{
			Price: int64(le.Uint64(m[22:])), Size: int64(le.Uint32(m[18:])), ID: le.Uint64(m[30:]),
			Conditions: conditions(m[1]),
		}.Tick(in.id, t))
	case 'B':
		out = append(out, feed.Cancel{
			Price: int64(le.Uint64(m[22:])), Size: int64(le.Uint32(m[18:])), ID: le.Uint64(m[30:]),
		}.Tick(in.id, t, ""))
	case 'A':
		out = append(out, auction(m).Tick(in.id, t))
	case '8', '5':
		side := feed.SideBuy
		if kind == '5' {
			side = feed.SideSell
		}
		price, size := int64(le.Uint64(m[22:])), int64(le.Uint32(m[18:]))
		if price == math.MinInt64 {
			return out, errors.New("a level without a price")
		}
		start := len(out)
		in.book.Set(side, price, size)
		out = append(out, feed.Level{Side: side, Price: price, Size: size}.Tick(in.id, t))
		if m[1]&1 != 0 && !in.tops { // the event is complete
			out = in.book.Quote(out, t)
		}
		book.More(out[start:])
	case 'H':
		switch m[1] {
		case 'T':
			in.status = feed.StatusTrading
		case 'H':
			in.status = feed.StatusHalted
		case 'O', 'P': // order acceptance period; paused, with orders accepted
			in.status = feed.StatusPreOpen
		default:
			in.status = feed.StatusUnknown
		}
		in.reason = rawfile.Text(m[18:22])
		out = d.tellStatus(out, in, t)
	case 'O':
		if halted := m[1] == 'O'; halted != in.halted {
			in.halted = halted
			out = d.tellStatus(out, in, t)
		} else {
			d.count.Ignored++
		}
	}
	return out, nil
}

// operational is the reason for a status that an operational halt message halts: it has no code of its own.
const operational = "operational halt"

// tellStatus appends the status. The first status of a trading day also names the day.
func (d *decoder) tellStatus(out []feed.Tick, in *instrument, t int64) []feed.Tick {
	s, reason := in.status, in.reason
	if in.halted && s != feed.StatusHalted {
		s, reason = feed.StatusHalted, operational
	}
	day := int32(0)
	if in.day != d.day {
		day, in.day = d.day, d.day
	}
	return append(out, feed.StatusTick(in.id, t, s, day).Because(reason, 0))
}

// date returns the date of t in New York as yyyymmdd.
func (d *decoder) date(t int64) int32 {
	y, m, day := time.Unix(0, t).In(d.zone).Date()
	if y < 1970 || y > 2262 {
		return 0
	}
	return int32(y*10000 + int(m)*100 + day)
}

// instrument returns the instrument that message m names. It appends a definition to out if the instrument is
// new, or if m is a directory message with another definition.
func (d *decoder) instrument(out []feed.Tick, m []byte, t int64) (*instrument, []feed.Tick, error) {
	key := [8]byte(m[10:18])
	in := d.symbols[key]
	if in != nil && m[0] != 'D' {
		return in, out, nil
	}
	def := feed.Definition{
		Symbol: string(bytes.TrimRight(key[:], " ")), Venue: Venue, PriceExponent: dollars, Currency: "USD",
	}
	if m[0] == 'D' {
		def.Lot = int64(binary.LittleEndian.Uint32(m[18:]))
	}
	id, out, err := d.names.Define(out, def, t)
	if err != nil {
		return nil, out, err
	}
	if in == nil {
		in = &instrument{id: id, book: book.Book{ID: id}}
		d.symbols[key] = in
		d.order = append(d.order, in)
	}
	return in, out, nil
}

// auction returns the auction of an auction information message.
func auction(m []byte) feed.Auction {
	le := binary.LittleEndian
	a := feed.Auction{
		Price: feed.NoPrice, Size: int64(le.Uint32(m[18:])), Imbalance: int64(le.Uint32(m[38:])),
		Time: int64(le.Uint32(m[44:])) * int64(time.Second),
	}
	if clearing, reference := int64(le.Uint64(m[30:])), int64(le.Uint64(m[22:])); clearing != 0 {
		a.Price = clearing
	} else if reference != 0 {
		a.Price = reference
	}
	switch m[42] {
	case 'B':
		a.Side = feed.SideBuy
	case 'S':
		a.Side = feed.SideSell
	}
	switch m[1] {
	case 'O':
		a.Kind = feed.AuctionOpening
	case 'C':
		a.Kind = feed.AuctionClosing
	case 'I':
		a.Kind = feed.AuctionIPO
	case 'H', 'V': // after a halt, after a pause for volatility
		a.Kind = feed.AuctionHalt
	}
	return a
}

// conditions returns the letters of sale condition flags.
func conditions(flags byte) feed.Conditions {
	var c feed.Conditions
	shift := 56
	for i, letter := range [...]byte{'F', 'T', 'I', 'E', 'X'} {
		if flags&(0x80>>i) != 0 {
			c |= feed.Conditions(letter) << shift
			shift -= 8
		}
	}
	return c
}
