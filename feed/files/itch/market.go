package itch

import (
	"bytes"
	"encoding/binary"
	"fmt"

	"tickfeed/feed"
	"tickfeed/feed/files/internal/book"
	"tickfeed/feed/files/rawfile"
)

// A market is the state after the messages so far: instruments, orders, books.
type market struct {
	cfg      Config
	count    rawfile.Stats
	names    rawfile.Instruments
	symbols  map[uint64]*instrument // by the eight bytes of the symbol
	locates  [1 << 16]*instrument   // by stock locate
	all      []*instrument          // by Order.Book
	orders   book.Orders
	matches  []match // by match number modulo its length; nil until the first trade
	midnight int64   // midnight of the messages' date in New York, nanoseconds since the Unix epoch
	date     int32   // yyyymmdd
}

type instrument struct {
	symbol uint64
	number uint32 // in market.all
	id     feed.InstrumentID
	day    int32 // of the last status that named one
	status feed.Status
	reason string // for status
	halted bool   // operationally
	book   book.Book
}

// A match is an execution that may be broken later.
type match struct {
	number uint64
	size   int64
	price  uint32
}

const (
	dollars    = -4      // exponent of prices
	maxMatches = 1 << 18 // bounds the executions kept in case they are broken

	operational = "operational halt" // reason for a status that an h message halts: it has no code of its own
)

// message reads one message whose frame is complete.
func (k *market) message(out []feed.Tick, m []byte) ([]feed.Tick, error) {
	if len(m) == 0 {
		return out, fmt.Errorf("a message of 0 bytes")
	}
	kind := m[0]
	switch need := int(lengths[kind]); {
	case need == 0 && (len(m) < leastLength || kind < 'A' || kind > 'z'):
		return out, fmt.Errorf("a message of unknown type %q with %d bytes", kind, len(m))
	case need != 0 && len(m) != need:
		return out, fmt.Errorf("a message of type %q with %d bytes, not %d", kind, len(m), need)
	}
	k.count.Messages++
	k.count.Types[kind]++
	be := binary.BigEndian
	t := k.midnight + nanoseconds(m)
	start := len(out)
	var err error
	switch kind {
	case 'A', 'F':
		out, err = k.add(out, t, m)
	case 'D':
		out = k.reduce(out, t, m, be.Uint64(m[11:]), maxSize)
	case 'X':
		out = k.reduce(out, t, m, be.Uint64(m[11:]), be.Uint32(m[19:]))
	case 'U':
		out, err = k.replace(out, t, m)
	case 'E', 'C':
		out = k.execute(out, t, m)
	case 'P', 'Q':
		out, err = k.print(out, t, m)
	case 'B':
		out = k.broken(out, t, m)
	case 'I':
		out, err = k.auction(out, t, m)
	case 'H', 'h':
		out, err = k.status(out, t, m)
	case 'R':
		_, out, err = k.instrument(out, t, m, m[11:19])
	case 'S':
		k.count.Ignored++
		if m[11] == 'O' {
			out = k.reset(out, t)
		}
	default:
		k.count.Ignored++
		if lengths[kind] == 0 && k.count.Types[kind] == 1 {
			k.count.Note("messages of type %q are not known", kind)
		}
	}
	if len(out) > start+1 {
		book.More(out[start:])
	}
	return out, err
}

// nanoseconds returns the time of message m after midnight.
func nanoseconds(m []byte) int64 {
	return int64(binary.BigEndian.Uint64(m[3:]) & (1<<48 - 1)) // six bytes, from 5
}

const maxSize = 1<<32 - 1

// instrument returns the instrument of symbol, eight bytes padded with blanks. It appends a definition to out
// if the instrument is new, or if m is a directory message with another definition.
func (k *market) instrument(out []feed.Tick, t int64, m, symbol []byte) (*instrument, []feed.Tick, error) {
	locate := binary.BigEndian.Uint16(m[1:])
	key := binary.BigEndian.Uint64(symbol)
	in := k.locates[locate]
	if in != nil && in.symbol == key && m[0] != 'R' {
		return in, out, nil
	}
	in = k.symbols[key]
	if in == nil || m[0] == 'R' {
		def := feed.Definition{
			Symbol: string(bytes.TrimRight(symbol, " ")), Venue: k.cfg.Venue, PriceExponent: dollars, Currency: "USD",
		}
		if m[0] == 'R' {
			def.Lot = int64(binary.BigEndian.Uint32(m[21:]))
		}
		id, defined, err := k.names.Define(out, def, t)
		if err != nil {
			return nil, out, err
		}
		out = defined
		if in == nil {
			in = &instrument{symbol: key, number: uint32(len(k.all)), id: id, book: book.Book{ID: id}}
			k.symbols[key] = in
			k.all = append(k.all, in)
		}
	}
	k.locates[locate] = in
	return in, out, nil
}

// change adds delta to a level and, unless QuotesOnly is set, appends a level tick.
func (k *market) change(out []feed.Tick, t int64, in *instrument, side feed.Side, price, delta int64) []feed.Tick {
	if k.cfg.QuotesOnly {
		in.book.Add(side, price, delta)
		return out
	}
	return in.book.Change(out, t, side, price, delta)
}

func (k *market) add(out []feed.Tick, t int64, m []byte) ([]feed.Tick, error) {
	be := binary.BigEndian
	in, out, err := k.instrument(out, t, m, m[24:32])
	if err != nil {
		return out, err
	}
	side := feed.SideBuy
	if m[19] == 'S' {
		side = feed.SideSell
	} else if m[19] != 'B' {
		return out, fmt.Errorf("an order of side %q", m[19])
	}
	ref, size, price := be.Uint64(m[11:]), be.Uint32(m[20:]), int64(be.Uint32(m[32:]))
	return k.enter(out, t, in, ref, side, size, price)
}

// enter adds an order. It replaces a live order with the same reference.
func (k *market) enter(out []feed.Tick, t int64, in *instrument, ref uint64, side feed.Side, size uint32, price int64) ([]feed.Tick, error) {
	if old := k.orders.Get(ref); old != nil {
		k.count.Note("order %d is added while it is live", ref)
		was := k.all[old.Book]
		out = k.change(out, t, was, old.Side, old.Price, -int64(old.Size))
		if was != in {
			out = was.book.Quote(out, t)
		}
		k.orders.Delete(ref)
	}
	if size == 0 {
		return in.book.Quote(out, t), nil
	}
	if err := k.orders.Add(ref, book.Order{Price: price, Size: size, Book: in.number, Side: side}); err != nil {
		return out, err
	}
	out = k.change(out, t, in, side, price, int64(size))
	return in.book.Quote(out, t), nil
}

// reduce takes size, or at most all that is left, from the order ref.
func (k *market) reduce(out []feed.Tick, t int64, m []byte, ref uint64, size uint32) []feed.Tick {
	o := k.orders.Get(ref)
	if o == nil {
		k.count.Unknown++
		return out
	}
	return k.take(out, t, ref, o, size)
}

func (k *market) take(out []feed.Tick, t int64, ref uint64, o *book.Order, size uint32) []feed.Tick {
	in, side, price := k.all[o.Book], o.Side, o.Price
	less := min(size, o.Size)
	if o.Size -= less; o.Size == 0 {
		k.orders.Delete(ref)
	}
	out = k.change(out, t, in, side, price, -int64(less))
	return in.book.Quote(out, t)
}

func (k *market) replace(out []feed.Tick, t int64, m []byte) ([]feed.Tick, error) {
	be := binary.BigEndian
	ref := be.Uint64(m[11:])
	o := k.orders.Get(ref)
	if o == nil {
		k.count.Unknown++
		return out, nil
	}
	in, side, was, price := k.all[o.Book], o.Side, int64(o.Size), o.Price
	k.orders.Delete(ref)
	newRef, size, newPrice := be.Uint64(m[19:]), be.Uint32(m[27:]), int64(be.Uint32(m[31:]))
	if price == newPrice && size > 0 && k.orders.Get(newRef) == nil { // one level changes, once
		out = k.change(out, t, in, side, price, int64(size)-was)
		err := k.orders.Add(newRef, book.Order{Price: price, Size: size, Book: in.number, Side: side})
		return in.book.Quote(out, t), err
	}
	out = k.change(out, t, in, side, price, -was)
	return k.enter(out, t, in, newRef, side, size, newPrice)
}

func (k *market) execute(out []feed.Tick, t int64, m []byte) []feed.Tick {
	be := binary.BigEndian
	ref, size, number := be.Uint64(m[11:]), be.Uint32(m[19:]), be.Uint64(m[23:])
	o := k.orders.Get(ref)
	tr := feed.Trade{Size: int64(size), ID: number}
	var in *instrument
	if o == nil {
		k.count.Unknown++
		in = k.locates[be.Uint16(m[1:])]
	} else {
		in, tr.Price, tr.Side = k.all[o.Book], o.Price, feed.SideBuy
		if o.Side == feed.SideBuy {
			tr.Side = feed.SideSell
		}
	}
	printed := o != nil
	if m[0] == 'C' {
		tr.Price = int64(be.Uint32(m[32:]))
		printed = m[31] == 'Y' && in != nil
	}
	if printed && size > 0 {
		k.remember(number, tr.Size, tr.Price)
		out = append(out, tr.Tick(in.id, t))
	}
	if o != nil {
		out = k.take(out, t, ref, o, size)
	}
	return out
}

// print appends a trade that is not of an order in the book: P, or a cross, Q.
func (k *market) print(out []feed.Tick, t int64, m []byte) ([]feed.Tick, error) {
	be := binary.BigEndian
	var tr feed.Trade
	symbol := m[24:32]
	if m[0] == 'P' {
		tr = feed.Trade{Size: int64(be.Uint32(m[20:])), Price: int64(be.Uint32(m[32:])), ID: be.Uint64(m[36:])}
	} else {
		symbol = m[19:27]
		size := be.Uint64(m[11:])
		if size > feed.MaxSize {
			return out, fmt.Errorf("a cross of %d shares", size)
		}
		tr = feed.Trade{Size: int64(size), Price: int64(be.Uint32(m[27:])), ID: be.Uint64(m[31:])}
		if kind := m[39]; kind > ' ' && kind <= '~' {
			tr.Conditions = feed.Conditions(kind) << 56
		}
	}
	in, out, err := k.instrument(out, t, m, symbol)
	if err != nil {
		return out, err
	}
	if tr.Size == 0 {
		k.count.Ignored++
		return out, nil
	}
	k.remember(tr.ID, tr.Size, tr.Price)
	return append(out, tr.Tick(in.id, t)), nil
}

// remember keeps an execution in case a later message breaks it.
func (k *market) remember(number uint64, size, price int64) {
	if k.matches == nil {
		k.matches = make([]match, maxMatches)
	}
	k.matches[number%maxMatches] = match{number, size, uint32(price)}
}

func (k *market) broken(out []feed.Tick, t int64, m []byte) []feed.Tick {
	be := binary.BigEndian
	number := be.Uint64(m[11:])
	in := k.locates[be.Uint16(m[1:])]
	if in == nil {
		k.count.Unknown++
		k.count.Note("broken trade %d of an unknown instrument", number)
		return out
	}
	c := feed.Cancel{Price: feed.NoPrice, ID: number}
	if k.matches != nil && k.matches[number%maxMatches].number == number {
		was := k.matches[number%maxMatches]
		c.Price, c.Size = int64(was.price), was.size
	} else {
		k.count.Unknown++
		k.count.Note("broken trade %d is not among the last trades: its price and size are not known", number)
	}
	return append(out, c.Tick(in.id, t, ""))
}

// auction appends the auction that a net order imbalance indicator states.
func (k *market) auction(out []feed.Tick, t int64, m []byte) ([]feed.Tick, error) {
	be := binary.BigEndian
	paired, imbalance := be.Uint64(m[11:]), be.Uint64(m[19:])
	if max(paired, imbalance) > feed.MaxSize {
		return out, fmt.Errorf("an auction of %d paired shares with an imbalance of %d", paired, imbalance)
	}
	in, out, err := k.instrument(out, t, m, m[28:36])
	if err != nil {
		return out, err
	}
	a := feed.Auction{Price: feed.NoPrice, Size: int64(paired), Imbalance: int64(imbalance)}
	if near, reference := be.Uint32(m[40:]), be.Uint32(m[44:]); near != 0 {
		a.Price = int64(near)
	} else if reference != 0 {
		a.Price = int64(reference)
	}
	switch m[27] {
	case 'B':
		a.Side = feed.SideBuy
	case 'S':
		a.Side = feed.SideSell
	}
	switch m[48] {
	case 'O':
		a.Kind = feed.AuctionOpening
	case 'C':
		a.Kind = feed.AuctionClosing
	case 'H':
		a.Kind = feed.AuctionHalt
	}
	return append(out, a.Tick(in.id, t)), nil
}

func (k *market) status(out []feed.Tick, t int64, m []byte) ([]feed.Tick, error) {
	in, out, err := k.instrument(out, t, m, m[11:19])
	if err != nil {
		return out, err
	}
	if m[0] == 'h' {
		in.halted = m[20] == 'H'
	} else {
		switch m[19] {
		case 'T':
			in.status = feed.StatusTrading
		case 'Q': // quotation only
			in.status = feed.StatusPreOpen
		case 'H', 'P':
			in.status = feed.StatusHalted
		default:
			in.status = feed.StatusUnknown
		}
		in.reason = rawfile.Text(m[21:25])
	}
	s, reason := in.status, in.reason
	if in.halted && s != feed.StatusHalted {
		s, reason = feed.StatusHalted, operational
	}
	day := int32(0)
	if in.day != k.date {
		day, in.day = k.date, k.date
	}
	return append(out, feed.StatusTick(in.id, t, s, day).Because(reason, 0)), nil
}

// reset drops all orders: a new day has new references and locates.
func (k *market) reset(out []feed.Tick, t int64) []feed.Tick {
	k.orders.Clear()
	clear(k.locates[:])
	for _, in := range k.all {
		in.halted = false
		if in.book.Clear(feed.SideBoth) {
			if !k.cfg.QuotesOnly {
				out = append(out, feed.ClearTick(in.id, t, feed.SideBoth))
			}
			out = in.book.Quote(out, t)
		}
	}
	return out
}
