package textfile

import (
	"bytes"
	"strconv"
	"time"

	"tickfeed/feed"
	"tickfeed/feed/decimal"
)

// A Formatter formats ticks as lines of text. For each instrument it uses the last definition before the tick, so that
// prices are right even if a later tick defines the instrument again. It must not be copied after the first Append.
type Formatter struct {
	// Definition, if set, returns the definition of each tick's instrument, instead of earlier ticks and the state.
	Definition func(feed.InstrumentID) *feed.Definition

	format Format
	listed feed.Table[Listing]
	stamp  Stamp
}

// A Format is the form of lines: [CSVFormat] and [JSONFormat], which a [Source] reads, or another for people.
type Format interface {
	// Header returns the first line, with its newline; empty for none.
	Header() string
	// Names returns the part of a line that names an instrument.
	Names(d *feed.Definition) []byte
	// AppendTick appends the line of t, with its newline, to dst.
	AppendTick(dst []byte, s *Stamp, in *Listing, t *feed.Tick) []byte
}

// A Stamp is what the lines of a batch have in common.
type Stamp struct {
	Session     []byte // the session as text
	PublishTime int64  // nanoseconds since the Unix epoch; 0 if not known

	sessionID feed.SessionID
}

// A Listing is the data of an instrument that its lines need.
type Listing struct {
	Names                       []byte // what Format.Names returned; nil before the first tick
	priceExponent, sizeExponent int8
	decimals                    int              // decimals of AppendAligned: those of the tick size, or of the longest price so far
	definition                  *feed.Definition // result of the formatter's Definition
}

// NewFormatter returns a Formatter for lines of the form f.
func NewFormatter(f Format) *Formatter { return &Formatter{format: f} }

// Append appends the line of t, of session and published at publish, in nanoseconds since the Unix epoch or 0 if that is
// not known, to dst. state supplies the definitions that were in no earlier tick; it may be nil.
func (f *Formatter) Append(dst []byte, session feed.SessionID, publish int64, t *feed.Tick, state *feed.State) []byte {
	s := &f.stamp
	s.PublishTime = publish
	if session != s.sessionID || s.Session == nil {
		s.sessionID, s.Session = session, []byte(session.String())
	}
	return f.format.AppendTick(dst, s, f.listing(t, state), t)
}

func (f *Formatter) listing(t *feed.Tick, state *feed.State) *Listing {
	in := f.listed.At(t.Instrument)
	if f.Definition != nil {
		if def := f.Definition(t.Instrument); def != in.definition || in.Names == nil {
			in.definition = def
			if def == nil {
				def = &feed.Definition{}
			}
			in.Names, in.priceExponent, in.sizeExponent = f.format.Names(def), def.PriceExponent, def.SizeExponent
		}
		return in
	}
	def := t.Definition()
	if def == nil && in.Names == nil && state != nil {
		def, _ = state.Definition(t.Instrument)
	}
	switch {
	case def != nil:
		*in = Listing{Names: f.format.Names(def), priceExponent: def.PriceExponent, sizeExponent: def.SizeExponent}
		in.decimals = decimalsOf(in.AppendPrice(nil, def.TickSize))
	case in.Names == nil:
		*in = Listing{Names: f.format.Names(&feed.Definition{})}
	}
	return in
}

// AppendPrice appends the price v, which must not be feed.NoPrice, with all its decimals.
func (in *Listing) AppendPrice(dst []byte, v int64) []byte {
	return decimal.Append(dst, v, in.priceExponent)
}

// AppendAligned appends the price v with at least as many decimals as earlier prices, so that prices line up.
func (in *Listing) AppendAligned(dst []byte, v int64) []byte {
	start := len(dst)
	dst = in.AppendPrice(dst, v)
	decimals := decimalsOf(dst[start:])
	if decimals == 0 && in.decimals > 0 {
		dst = append(dst, '.')
	}
	for ; decimals < in.decimals; decimals++ {
		dst = append(dst, '0')
	}
	in.decimals = decimals
	return dst
}

func decimalsOf(number []byte) int {
	point := bytes.IndexByte(number, '.')
	if point < 0 {
		return 0
	}
	return len(number) - point - 1
}

// AppendSize appends the size v with all its decimals.
func (in *Listing) AppendSize(dst []byte, v int64) []byte {
	return decimal.Append(dst, v, in.sizeExponent)
}

// Times is how times are written.
type Times int

const (
	// Nanoseconds is a whole number of nanoseconds since the Unix epoch. The numbers are greater than 2^53, so a JSON
	// reader that uses float64 for all numbers rounds them, by up to 128 ns today.
	Nanoseconds Times = iota
	// RFC3339 is text with nine decimals, so that times have one width and sort as text.
	RFC3339
)

const rfc3339Nano = "2006-01-02T15:04:05.000000000Z07:00"

// AppendJSON appends ns as a JSON value. An unknown time is 0 as a number, and null as text.
func (t Times) AppendJSON(b []byte, ns int64) []byte {
	switch {
	case t == Nanoseconds:
		return strconv.AppendInt(b, ns, 10)
	case ns == 0:
		return append(b, "null"...)
	}
	return append(time.Unix(0, ns).UTC().AppendFormat(append(b, '"'), rfc3339Nano), '"')
}

// AppendCSV appends ns as a cell. An unknown time is 0 as a number, and an empty cell as text.
func (t Times) AppendCSV(b []byte, ns int64) []byte {
	switch {
	case t == Nanoseconds:
		return strconv.AppendInt(b, ns, 10)
	case ns == 0:
		return b
	}
	return time.Unix(0, ns).UTC().AppendFormat(b, rfc3339Nano)
}
