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

// A printer writes ticks as lines of text. Each batch is written before batch returns, so
// that what a handler was given is with the operating system by then. It knows each
// instrument by the definition that went before, so that prices are right where a later tick
// of the same batch defines the instrument again.
type printer struct {
	out    io.Writer
	format format
	buf    []byte
	listed feed.Table[listing]
	stamp  stamp
	file   bool // out is not standard output
	// definition, if set, is asked for the definition of each tick's instrument, rather than state and what went before.
	definition func(feed.InstrumentID) *feed.Definition
}

// A format is how a tick becomes a line.
type format interface {
	// header is the first line; empty for none.
	header() string
	// names is what a line says of an instrument.
	names(d *feed.Definition) []byte
	// line appends t to dst.
	line(dst []byte, s *stamp, in *listing, t *feed.Tick) []byte
}

// A listing is what a line needs to know of an instrument.
type listing struct {
	names                       []byte // nil if it is not defined
	priceExponent, sizeExponent int8
	decimals                    int              // of a price with fixed: those of the tick size, or of the longest price so far
	definition                  *feed.Definition // that the printer's definition told
}

// A stamp is what the ticks of a batch have in common, as text.
type stamp struct {
	session, publish     []byte
	sessionID            feed.SessionID
	publishTime, started int64 // started: the second since the epoch that clock is about
	clock                []byte
}

func newPrinter(out io.Writer, f format) *printer {
	return &printer{out: out, format: f, buf: []byte(f.header())}
}

// writeSize is about how many bytes one write takes at most.
const writeSize = 64 << 10

// batch writes ticks, which are of one session and were published together, publish ns since
// the Unix epoch. The state is asked for instruments whose definition was in no batch. The
// error is errOutputClosed, or of the write.
func (p *printer) batch(session feed.SessionID, publish int64, ticks []feed.Tick, state *feed.State) error {
	if err := p.append(session, publish, ticks, state); err != nil {
		return err
	}
	return p.flush()
}

// append is batch, but what is little is kept until flush.
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

// output is the error of a write to standard output.
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

// fixed appends v with as many decimals as the prices before it, so that prices line up.
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

// timeText is how --json and --csv write times: as a whole number of nanoseconds since the Unix epoch, or if rfc3339 is set as text.
// The numbers are beyond 2^53, which a JSON reader that takes all numbers for float64 rounds, by up to 128 ns today.
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

// parseTimeText reads --time.
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

// json appends ns as a JSON value. A time that is not known is 0 as a number, and null as text.
func (t timeText) json(b []byte, ns int64) []byte {
	switch {
	case !t.rfc3339:
		return strconv.AppendInt(b, ns, 10)
	case ns == 0:
		return append(b, "null"...)
	}
	return append(time.Unix(0, ns).UTC().AppendFormat(append(b, '"'), rfc3339Nano), '"')
}

// csv appends ns as a cell. A time that is not known is 0 as a number, and an empty cell as text.
func (t timeText) csv(b []byte, ns int64) []byte {
	switch {
	case !t.rfc3339:
		return strconv.AppendInt(b, ns, 10)
	case ns == 0:
		return b
	}
	return time.Unix(0, ns).UTC().AppendFormat(b, rfc3339Nano)
}
