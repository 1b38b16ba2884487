package feed

import (
	"fmt"
	"math"

	"tickfeed/feed/words"
)

// A Tick is one market event of one instrument. It is 64 bytes and holds every kind of tick, so that a batch of
// mixed kinds is one array and needs no allocation; the typed views ([Tick.Quote], [Tick.Trade], …) name its
// values. Use [Quote.Tick], [Trade.Tick] and so on to make one.
type Tick struct {
	// Seq is the tick's place in its session, from 1. It is zero if the tick is not published yet or comes from
	// a snapshot.
	Seq uint64
	// EventTime is when the venue made the change. It is zero if the venue did not say.
	EventTime int64
	// Instrument is the id of the priced instrument; definitions assign ids.
	Instrument InstrumentID
	// Kind says which view is valid. Ticks of kinds that this package does not know pass through with Kind set
	// and no values.
	Kind Kind
	// Flags holds the marks that any kind may carry.
	Flags Flags
	// Side is the aggressor of a trade, or the side of a book level or clear.
	Side Side
	// Status is the trading status that a status tick reports. Of an auction tick it holds the Auction.
	Status Status
	// Values holds the numbers of the kind, in this order:
	//
	//	quote       bid, bid size, ask, ask size
	//	trade       price, size, venue trade id, conditions
	//	correction  price, size, venue trade id, conditions (old price and size in Extra)
	//	cancel      price, size, venue trade id (of the void trade)
	//	level       price, size
	//	status      trading day, expected end
	//	auction     price, size, imbalance, expected time
	Values [4]int64
	// Extra holds the parts that do not fit in Values. It is nil for quotes, levels, clears, status, and nearly
	// all trades. Copies of the tick share it: never change it in place.
	Extra *Extra
}

// An Extra holds the parts of rare ticks.
type Extra struct {
	Definition *Definition // of a definition tick
	Summary    *Summary    // of a summary
	// TradeRef is the venue's trade id if it is text; at most MaxText bytes.
	TradeRef string
	// OldPrice and OldSize are the price and size that a correction replaces.
	OldPrice, OldSize int64
	// Reason is why the status is as it is, in the venue's words or letters; at most MaxText bytes.
	Reason string
}

// An InstrumentID names an instrument within a lineage. Ids are dense: the first
// definition of a lineage has id 0, the next new instrument id 1.
type InstrumentID uint32

// MaxInstruments bounds the ids of a lineage.
const MaxInstruments = 1 << 24

// A Kind is the kind of a tick.
type Kind uint8

// The kinds of ticks. A summary occurs in snapshots only and has no sequence number.
const (
	KindDefinition Kind = 1 + iota // what an instrument is from now on
	KindQuote                      // best bid and offer
	KindTrade
	KindCorrection // an earlier trade was wrong: its old and new values
	KindCancel     // an earlier trade is void
	KindLevel      // new size at one price of one side of the book
	KindClear      // one side of the book, or both, is empty
	KindStatus     // trading status, perhaps with a new trading day
	KindSummary    // the trading day so far
	kindGone       // no tick: see package codec
	KindAuction    // what an auction would come to now
)

// MaxKind bounds the kinds that later versions may add.
const MaxKind Kind = 127

// Known reports whether this package has a view for the kind.
func (k Kind) Known() bool { return k >= KindDefinition && k <= KindAuction && k != kindGone }

var kindWords = words.List{What: "kind", Words: []string{
	"", "definition", "quote", "trade", "correction", "cancel", "level", "clear", "status", "summary", "", "auction",
}}

// String returns the word for k.
func (k Kind) String() string { return kindWords.Word(int(k)) }

// MarshalText writes the word that String returns.
func (k Kind) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

// UnmarshalText reads the word that String returns.
func (k *Kind) UnmarshalText(text []byte) error { return words.Parse(k, &kindWords, text) }

// Flags are marks on a tick.
type Flags uint8

const (
	// FlagMore marks a tick that is not the last of its venue event: the next tick belongs
	// to the same event.
	FlagMore Flags = 1 << iota
	// FlagSnapshot marks a tick that describes a state rather than a change; it has no Seq.
	FlagSnapshot
)

// A Side is a side of the market.
type Side uint8

// The sides. SideBoth is for a clear of the whole book only.
const (
	SideNone Side = iota // not stated
	SideBuy              // the bid; a trade whose aggressor bought
	SideSell             // the ask; a trade whose aggressor sold
	SideBoth
)

var sideWords = words.List{What: "side", Words: []string{"", "buy", "sell", "both"}}

// String returns the word for s, which is empty for SideNone.
func (s Side) String() string {
	if s == SideNone {
		return ""
	}
	return sideWords.Word(int(s))
}

// MarshalText writes the word that String returns.
func (s Side) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText reads the word that String returns.
func (s *Side) UnmarshalText(text []byte) error {
	if len(text) == 0 {
		*s = SideNone
		return nil
	}
	return words.Parse(s, &sideWords, text)
}

var bookSideNames = [...]string{"", "bid", "ask", "both"}

// SideName returns the side of t in words: bid, ask or both for a level or clear, otherwise buy or sell, or ""
// if there is none.
func (t *Tick) SideName() string {
	if (t.Kind == KindLevel || t.Kind == KindClear) && int(t.Side) < len(bookSideNames) {
		return bookSideNames[t.Side]
	}
	return t.Side.String()
}

// A Status is the trading status of an instrument.
type Status uint8

// The trading statuses.
const (
	StatusUnknown Status = iota
	StatusPreOpen        // orders are taken, nothing trades
	StatusTrading        // continuous trading
	StatusHalted         // trading is stopped by the venue
	StatusAuction        // a call auction is under way
	StatusClosed         // the trading day is over
)

var statusWords = words.List{What: "status", Words: []string{"unknown", "pre-open", "trading", "halted", "auction", "closed"}}

// String returns the word for s.
func (s Status) String() string { return statusWords.Word(int(s)) }

// MarshalText writes the word that String returns.
func (s Status) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText reads the word that String returns.
func (s *Status) UnmarshalText(text []byte) error { return words.Parse(s, &statusWords, text) }

// NoPrice is the price where there is none: the empty side of a quote, the high of a day without trades.
const NoPrice = math.MinInt64

// MaxSize bounds sizes, volumes and counts; they are never negative.
const MaxSize = math.MaxInt64

// A Quote is the best bid and offer of one instrument.
type Quote struct {
	// Bid and Ask are in price units of the instrument; NoPrice if the side is empty.
	Bid     int64
	BidSize int64 // in size units; 0 if the venue does not say
	Ask     int64
	AskSize int64
}

// Quote returns the view of a quote tick.
func (t *Tick) Quote() Quote {
	return quoteOf(t.Values)
}

func quoteOf(v [4]int64) Quote { return Quote{Bid: v[0], BidSize: v[1], Ask: v[2], AskSize: v[3]} }

// Tick returns q as a tick of instrument id at eventTime.
func (q Quote) Tick(id InstrumentID, eventTime int64) Tick {
	return Tick{
		Kind: KindQuote, Instrument: id, EventTime: eventTime,
		Values: [4]int64{q.Bid, q.BidSize, q.Ask, q.AskSize},
	}
}

// A Trade is one execution.
type Trade struct {
	Price      int64
	Size       int64
	ID         uint64 // the venue's trade id; 0 if there is none, or if it is text (Extra.TradeRef)
	Conditions Conditions
	Side       Side // the side of the aggressor
}

// Trade returns the view of a trade tick.
func (t *Tick) Trade() Trade {
	return Trade{
		Price: t.Values[0], Size: t.Values[1], ID: uint64(t.Values[2]),
		Conditions: Conditions(t.Values[3]), Side: t.Side,
	}
}

// Tick returns tr as a tick of instrument id at eventTime.
func (tr Trade) Tick(id InstrumentID, eventTime int64) Tick {
	return Tick{
		Kind: KindTrade, Instrument: id, EventTime: eventTime, Side: tr.Side,
		Values: [4]int64{tr.Price, tr.Size, int64(tr.ID), int64(tr.Conditions)},
	}
}

// TradeRef returns the venue's trade id of a trade, correction or cancel if it is text, else "".
func (t *Tick) TradeRef() string {
	if t.Extra == nil {
		return ""
	}
	return t.Extra.TradeRef
}

// A Correction replaces an earlier trade, named by its venue trade id.
type Correction struct {
	OldPrice, OldSize int64 // the trade before
	Trade             Trade // the trade now; its ID names the trade
}

// Correction returns the view of a correction tick.
func (t *Tick) Correction() Correction {
	c := Correction{Trade: t.Trade()}
	if t.Extra != nil {
		c.OldPrice, c.OldSize = t.Extra.OldPrice, t.Extra.OldSize
	}
	return c
}

// Tick returns c as a tick of instrument id at eventTime; ref is the trade's id if it is text.
func (c Correction) Tick(id InstrumentID, eventTime int64, ref string) Tick {
	t := c.Trade.Tick(id, eventTime)
	t.Kind = KindCorrection
	t.Extra = &Extra{TradeRef: ref, OldPrice: c.OldPrice, OldSize: c.OldSize}
	return t
}

// A Cancel voids an earlier trade, named by its venue trade id.
type Cancel struct {
	Price, Size int64 // of the void trade
	ID          uint64
}

// Cancel returns the view of a cancel tick.
func (t *Tick) Cancel() Cancel {
	return Cancel{Price: t.Values[0], Size: t.Values[1], ID: uint64(t.Values[2])}
}

// Tick returns c as a tick of instrument id at eventTime; ref is the trade's id if it is text.
func (c Cancel) Tick(id InstrumentID, eventTime int64, ref string) Tick {
	t := Tick{
		Kind: KindCancel, Instrument: id, EventTime: eventTime,
		Values: [4]int64{c.Price, c.Size, int64(c.ID)},
	}
	if ref != "" {
		t.Extra = &Extra{TradeRef: ref}
	}
	return t
}

// A Level is the new size at one price of one side of the book.
type Level struct {
	Side  Side // SideBuy or SideSell
	Price int64
	Size  int64 // 0 removes the level
}

// Level returns the view of a book level tick.
func (t *Tick) Level() Level {
	return Level{Side: t.Side, Price: t.Values[0], Size: t.Values[1]}
}

// Tick returns l as a tick of instrument id at eventTime.
func (l Level) Tick(id InstrumentID, eventTime int64) Tick {
	return Tick{
		Kind: KindLevel, Instrument: id, EventTime: eventTime, Side: l.Side,
		Values: [4]int64{l.Price, l.Size},
	}
}

// ClearTick returns a tick that empties one side of the book of instrument id, or both, at eventTime.
func ClearTick(id InstrumentID, eventTime int64, side Side) Tick {
	return Tick{Kind: KindClear, Instrument: id, EventTime: eventTime, Side: side}
}

// StatusTick returns a tick with the trading status of instrument id. day is not 0 if a new trading day begins;
// see [Tick.TradingDay].
func StatusTick(id InstrumentID, eventTime int64, s Status, day int32) Tick {
	return Tick{
		Kind: KindStatus, Instrument: id, EventTime: eventTime, Status: s,
		Values: [4]int64{int64(day)},
	}
}

// Because returns t, a status tick, with the reason for the status and the time at which the venue expects it to end, or 0.
func (t Tick) Because(reason string, end int64) Tick {
	t.Values[1] = end
	if t.Extra = nil; reason != "" {
		t.Extra = &Extra{Reason: reason}
	}
	return t
}

// StatusReason returns the reason that a status tick gives, or "".
func (t *Tick) StatusReason() string {
	if t.Extra == nil {
		return ""
	}
	return t.Extra.Reason
}

// StatusEnd returns when the venue expects the status of a status tick to end, or 0.
func (t *Tick) StatusEnd() int64 { return t.Values[1] }

// An AuctionKind says which auction an auction tick is about.
type AuctionKind uint8

// The kinds of auctions.
const (
	AuctionUnknown AuctionKind = iota
	AuctionOpening
	AuctionClosing
	AuctionIntraday
	AuctionHalt // the one that ends a halt
	AuctionIPO
)

var auctionWords = words.List{What: "auction", Words: []string{"unknown", "opening", "closing", "intraday", "halt", "ipo"}}

// String returns the word for k.
func (k AuctionKind) String() string { return auctionWords.Word(int(k)) }

// MarshalText writes the word that String returns.
func (k AuctionKind) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

// UnmarshalText reads the word that String returns.
func (k *AuctionKind) UnmarshalText(text []byte) error { return words.Parse(k, &auctionWords, text) }

// An Auction is the outcome of a call auction if it were held now. It is not part of a State.
type Auction struct {
	Kind AuctionKind
	// Price is indicative: the price at which the auction would clear. If the venue states no such price, Price is the
	// reference price for which it states Size and Imbalance, and NoPrice if there is neither.
	Price     int64
	Size      int64 // that would trade, at the price for which the venue states it: Price or its reference price
	Side      Side  // of the imbalance; SideNone if there is none, or the venue does not say
	Imbalance int64 // size that would be left on Side
	Time      int64 // when the auction is expected to be held; 0 if the venue does not say
}

// Auction returns the values of an auction tick.
func (t *Tick) Auction() Auction {
	v := &t.Values
	return Auction{Kind: AuctionKind(t.Status), Price: v[0], Size: v[1], Side: t.Side, Imbalance: v[2], Time: v[3]}
}

// Tick returns a as a tick of instrument id at eventTime.
func (a Auction) Tick(id InstrumentID, eventTime int64) Tick {
	return Tick{
		Kind: KindAuction, Instrument: id, EventTime: eventTime, Side: a.Side, Status: Status(a.Kind),
		Values: [4]int64{a.Price, a.Size, a.Imbalance, a.Time},
	}
}

// TradingDay returns the date of the trading day that begins with a status tick, as the number yyyymmdd, or 0
// if none begins.
func (t *Tick) TradingDay() int32 { return int32(t.Values[0]) }

// Definition returns the definition in a definition tick, or nil for other kinds. It is shared: do not change
// it.
func (t *Tick) Definition() *Definition {
	if t.Extra == nil {
		return nil
	}
	return t.Extra.Definition
}

// Summary returns the trading day so far in a summary, or nil for other kinds. It is shared: do not change it.
func (t *Tick) Summary() *Summary {
	if t.Extra == nil {
		return nil
	}
	return t.Extra.Summary
}

// Equal reports whether two ticks are equal. It compares what Extra points to by value.
func (t *Tick) Equal(o *Tick) bool {
	a, b := *t, *o
	a.Extra, b.Extra = nil, nil
	if a != b {
		return false
	}
	x, y := t.Extra, o.Extra
	if x == nil {
		x = &Extra{}
	}
	if y == nil {
		y = &Extra{}
	}
	return x.TradeRef == y.TradeRef && x.Reason == y.Reason && x.OldPrice == y.OldPrice && x.OldSize == y.OldSize &&
		equalPointee(x.Definition, y.Definition) && equalPointee(x.Summary, y.Summary)
}

func equalPointee[T comparable](a, b *T) bool {
	if a == nil || b == nil {
		return a == b
	}
	return *a == *b
}

// A Summary is the trading day of one instrument so far. It occurs in snapshots and never counts as a trade.
type Summary struct {
	TradingDay int32 // yyyymmdd; 0 if no status tick has named one
	// Open, High, Low and Last are NoPrice while the day has no trade.
	Open, High, Low, Last int64
	LastSize              int64
	LastSide              Side
	LastTime              int64 // event time of the last trade
	// LastID and LastRef are the venue's id of the last trade, as a number or as text (see Trade.ID). A
	// correction uses them to find out whether it corrects the last trade.
	LastID  uint64
	LastRef string
	Volume  int64 // sizes of the day's trades, after corrections and cancels
	Trades  int64 // number of the day's trades, after cancels
}

// Conditions are a trade's sale conditions as the venue's letters: up to eight printable
// ASCII characters, the first in the most significant byte, the rest zero. A blank may
// stand between letters, not at the end.
type Conditions uint64

// MaxConditions is the number of characters that Conditions can hold.
const MaxConditions = 8

// ParseConditions packs s without its trailing blanks. It returns an error if s is longer than MaxConditions or
// not printable ASCII.
func ParseConditions(s string) (Conditions, error) {
	for len(s) > 0 && s[len(s)-1] == ' ' {
		s = s[:len(s)-1]
	}
	if len(s) > MaxConditions {
		return 0, fmt.Errorf("trade conditions %q: at most %d characters", s, MaxConditions)
	}
	var c Conditions
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' {
			return 0, fmt.Errorf("trade conditions %q: only printable ASCII characters", s)
		}
		c |= Conditions(s[i]) << (56 - 8*i)
	}
	return c, nil
}

// Valid reports whether c is printable characters followed by zeros, without a blank at the end.
func (c Conditions) Valid() bool {
	for c != 0 {
		if b := byte(c >> 56); b < ' ' || b > '~' {
			return false
		}
		if c<<8 == 0 && c>>56 == ' ' {
			return false
		}
		c <<= 8
	}
	return true
}

func (c Conditions) String() string {
	var b [MaxConditions]byte
	n := 0
	for ; c != 0; c <<= 8 {
		b[n] = byte(c >> 56)
		n++
	}
	return string(b[:n])
}
