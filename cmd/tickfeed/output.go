package main

import (
	"bytes"
	"fmt"
	"io"
	"strconv"
	"time"

	"github.com/spf13/pflag"

	"tickfeed/feed"
)

// A printer writes ticks as lines of text. It writes each batch before batch returns, so that the operating system has
// the ticks of a handler's batch when the handler returns. For each instrument it uses the last definition before the
// tick, so that prices are right even if a later tick of the same batch defines the instrument again.
type printer struct {
	out    io.Writer
	format format
	buf    []byte
	listed feed.Table[listing]
	stamp  stamp
	file   bool // out is not standard output
	// definition, if set, returns the definition of each tick's instrument, instead of state and earlier ticks.
	definition func(feed.InstrumentID) *feed.Definition
}

// A format formats ticks as lines.
type format interface {
	// header returns the first line; empty for none.
	header() string
	// names returns the part of a line that names an instrument.
	names(d *feed.Definition) []byte
	// line appends t to dst.
	line(dst []byte, s *stamp, in *listing, t *feed.Tick) []byte
}

// A listing is the data of an instrument that its lines need.
type listing struct {
	names                       []byte // nil before the first tick
	priceExponent, sizeExponent int8
	decimals                    int              // decimals of a price with fixed: those of the tick size, or of the longest price so far
	definition                  *feed.Definition // result of the printer's definition
}

// A stamp is the text that the lines of a batch have in common.
type stamp struct {
	session, publish     []byte
	sessionID            feed.SessionID
	publishTime, started int64 // started: the second, since the epoch, that clock is the text of
	clock                []byte
}

func newPrinter(out io.Writer, f format) *printer {
	return &printer{out: out, format: f, buf: []byte(f.header())}
}

// writeSize is, roughly, the maximum number of bytes in a write.
const writeSize = 64 << 10

// append writes ticks of one session that were published together, publish nanoseconds since the Unix epoch; fewer than
// writeSize bytes are kept until flush. state supplies the definitions that were in no batch. The error is errOutputClosed, or
// that of the write.
func (p *printer) append(session feed.SessionID, publish int64, ticks []feed.Tick, state *feed.State) error {
	p.stamp.set(session, publish)
	for i := range ticks {
		t := &ticks[i]
		p.buf = p.format.line(p.buf, &p.stamp, p.listing(t, state), t)
		if len(p.buf) >= writeSize {
			if err := p.flush(); err != nil {
				return err
			}
		}
	}
	return nil
}

func (p *printer) flush() error {
	if len(p.buf) == 0 {
		return nil
	}
	_, err := p.out.Write(p.buf)
	p.buf = p.buf[:0]
	if p.file {
		return err
	}
	return output(err)
}

// output returns the error of a write to standard output: errOutputClosed if the reader is gone.
func output(err error) error {
	switch {
	case err == nil:
		return nil
	case isClosedPipe(err):
		return errOutputClosed
	}
	return fmt.Errorf("write standard output: %w", err)
}

func (p *printer) listing(t *feed.Tick, state *feed.State) *listing {
	in := p.listed.At(t.Instrument)
	if p.definition != nil {
		if def := p.definition(t.Instrument); def != in.definition || in.names == nil {
			in.definition = def
			if def == nil {
				def = &feed.Definition{}
			}
			in.names, in.priceExponent, in.sizeExponent = p.format.names(def), def.PriceExponent, def.SizeExponent
		}
		return in
	}
	def := t.Definition()
	if def == nil && in.names == nil && state != nil {
		def, _ = state.Definition(t.Instrument)
	}
	switch {
	case def != nil:
		*in = listing{names: p.format.names(def), priceExponent: def.PriceExponent, sizeExponent: def.SizeExponent}
		in.decimals = decimalsOf(in.price(nil, def.TickSize))
	case in.names == nil:
		*in = listing{names: p.format.names(&feed.Definition{})}
	}
	return in
}

func (s *stamp) set(session feed.SessionID, publish int64) {
	if session != s.sessionID || s.session == nil {
		s.sessionID, s.session = session, []byte(session.String())
	}
	if publish != s.publishTime || s.publish == nil {
		s.publishTime = publish
		s.publish = strconv.AppendInt(s.publish[:0], publish, 10)
	}
}

func (in *listing) price(dst []byte, v int64) []byte {
	return feed.AppendDecimal(dst, v, in.priceExponent)
}

// fixed appends v with at least as many decimals as earlier prices, so that prices line up.
func (in *listing) fixed(dst []byte, v int64) []byte {
	start := len(dst)
	dst = in.price(dst, v)
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

func (in *listing) size(dst []byte, v int64) []byte {
	return feed.AppendDecimal(dst, v, in.sizeExponent)
}

// timeText is how --json and --csv write times: as a whole number of nanoseconds since the Unix epoch, or as text if
// rfc3339 is set. The numbers are greater than 2^53, so a JSON reader that uses float64 for all numbers rounds them, by
// up to 128 ns today.
type timeText struct{ rfc3339 bool }

// The values of --time.
const (
	timeNs      = "ns"
	timeRFC3339 = "rfc3339"
)

// timeVar defines the flag --time.
func timeVar(f *pflag.FlagSet, v *string) {
	f.StringVar(v, "time", timeNs, "write times in JSON and CSV as `FORM` ns, nanoseconds since the Unix epoch (integers above 2^53, which float64 rounds), or rfc3339, text with nine decimals")
}

// parseTimeText parses --time.
func parseTimeText(s string) (timeText, error) {
	switch s {
	case timeNs:
		return timeText{}, nil
	case timeRFC3339:
		return timeText{rfc3339: true}, nil
	}
	return timeText{}, usage("--time must be ns or rfc3339, got %q", s)
}

// rfc3339Nano always has nine decimals, so that times have one width and sort as text.
const rfc3339Nano = "2006-01-02T15:04:05.000000000Z07:00"

// json appends ns as a JSON value. An unknown time is 0 as a number, and null as text.
func (t timeText) json(b []byte, ns int64) []byte {
	switch {
	case !t.rfc3339:
		return strconv.AppendInt(b, ns, 10)
	case ns == 0:
		return append(b, "null"...)
	}
	return append(time.Unix(0, ns).UTC().AppendFormat(append(b, '"'), rfc3339Nano), '"')
}

// csv appends ns as a cell. An unknown time is 0 as a number, and an empty cell as text.
func (t timeText) csv(b []byte, ns int64) []byte {
	switch {
	case !t.rfc3339:
		return strconv.AppendInt(b, ns, 10)
	case ns == 0:
		return b
	}
	return time.Unix(0, ns).UTC().AppendFormat(b, rfc3339Nano)
}
