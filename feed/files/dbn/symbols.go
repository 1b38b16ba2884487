package dbn

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
	"time"

	"tickfeed/feed"
	"tickfeed/feed/files/rawfile"
)

// metadata holds the fields of a file's metadata that are used.
type metadata struct {
	version byte // 0 for a fragment
	dataset string
	schema  uint16
}

// schemas holds the names of schemas by their number in the metadata.
var schemas = []string{
	"mbo", "mbp-1", "mbp-10", "tbbo", "trades", "ohlcv-1s", "ohlcv-1m", "ohlcv-1h", "ohlcv-1d", "definition",
	"statistics", "status", "imbalance", "ohlcv-eod", "cmbp-1", "cbbo-1s", "cbbo-1m", "tcbbo", "bbo-1s", "bbo-1m",
}

const (
	mixedSchema  = 0xffff
	fixedSize    = 100 // size of the metadata before its lists
	symbolSizeV1 = 22
	stypeID      = 0 // symbols are instrument ids
)

// A mapping is the symbol of an instrument id for records in [from, to).
type mapping struct {
	from, to int64
	symbol   string
}

// readMetadata reads the metadata before the records: the magic and version, a length, fixed
// fields, and lists of symbols, of which only the mappings are used. It reads piece by
// piece, and does not allocate for a count beyond the bytes that the file has.
func (d *decoder) readMetadata(r *rawfile.Reader) error {
	le := binary.LittleEndian
	start := r.Offset()
	head, err := r.Peek(8)
	if err != nil {
		return r.Torn("the metadata", err)
	}
	version := head[3]
	if version < 1 || version > 3 {
		return &rawfile.FormatError{File: r.Path(), Reason: fmt.Sprintf("DBN version %d is not known, only 1 to 3", version)}
	}
	left := int64(le.Uint32(head[4:]))
	r.Skip(8)
	if left < fixedSize+4 {
		return r.Damage(start, "metadata of %d bytes; at least %d", left, fixedSize+4)
	}
	take := func(n int) ([]byte, error) {
		if left < int64(n) {
			return nil, r.Damage(r.Offset(), "the lists of the metadata are longer than the metadata")
		}
		b, err := r.Peek(n)
		if err == io.EOF || err == io.ErrUnexpectedEOF {
			err = r.Damage(r.Offset(), "the file ends inside its metadata")
		}
		if err != nil {
			return nil, err
		}
		r.Skip(n)
		left -= int64(n)
		return b, nil
	}
	b, err := take(fixedSize)
	if err != nil {
		return err
	}
	d.meta = metadata{version: version, dataset: cstring(b[:16]), schema: le.Uint16(b[16:])}
	symbolSize, stypeAt := symbolSizeV1, 50
	if version == 1 {
		// A count of records precedes the kinds of symbols.
	} else {
		stypeAt = 42
		symbolSize = int(le.Uint16(b[45:]))
	}
	stypeIn, stypeOut := b[stypeAt], b[stypeAt+1]
	if symbolSize < 2 || symbolSize > 4096 {
		return r.Damage(start, "the metadata says that a symbol has %d bytes", symbolSize)
	}
	if s := int(d.meta.schema); s < len(schemas) {
		name := schemas[s]
		if strings.HasPrefix(name, "ohlcv") || name == "statistics" {
			return &rawfile.FormatError{File: r.Path(), Reason: fmt.Sprintf("schema %s holds no ticks", name)}
		}
	} else if d.meta.schema != mixedSchema {
		d.count.Note("schema %d is not known; only its records of known types are read", s)
	}
	number := func() (int, error) {
		b, err := take(4)
		if err != nil {
			return 0, err
		}
		return int(le.Uint32(b)), nil
	}
	n, err := number() // a schema definition, always empty so far
	if err != nil {
		return err
	}
	if int64(n) > left {
		return r.Damage(r.Offset(), "the lists of the metadata are longer than the metadata")
	}
	if err := r.Discard(int64(n)); err != nil {
		return r.Damage(r.Offset(), "the file ends inside its metadata")
	}
	left -= int64(n)
	for range 3 { // symbols, partial, not found
		if n, err = number(); err != nil {
			return err
		}
		for range n {
			if _, err := take(symbolSize); err != nil {
				return err
			}
		}
	}
	if n, err = number(); err != nil {
		return err
	}
	for range n {
		if b, err = take(symbolSize); err != nil {
			return err
		}
		symbol := cstring(b)
		k, err := number()
		if err != nil {
			return err
		}
		for range k {
			if b, err = take(8 + symbolSize); err != nil {
				return err
			}
			name, id := symbol, cstring(b[8:])
			if stypeIn == stypeID && stypeOut != stypeID {
				name, id = id, name
			}
			if err := d.addMapping(id, mapping{day(le.Uint32(b), 0), day(le.Uint32(b[4:]), forever), name}); err != nil {
				return r.Damage(r.Offset(), "%v", err)
			}
		}
	}
	if err := r.Discard(left); err != nil {
		return r.Damage(r.Offset(), "the file ends inside its metadata")
	}
	return nil
}

// maxMappings bounds the mappings of a file.
const maxMappings = 4 << 20

// addMapping adds a mapping for id, in digits. It ignores an id that is not a number, which a
// symbol has on a day when it was not found.
func (d *decoder) addMapping(id string, m mapping) error {
	n, err := strconv.ParseUint(id, 10, 32)
	if err != nil || m.symbol == "" {
		return nil
	}
	m.symbol = d.short(m.symbol)
	if d.mapped++; d.mapped > maxMappings {
		return fmt.Errorf("more than %d symbol mappings", maxMappings)
	}
	d.mappings[uint32(n)] = append(d.mappings[uint32(n)], m)
	return nil
}

// day returns the first nanosecond of a date yyyymmdd, UTC. If date is not a date, it returns otherwise.
func day(date uint32, otherwise int64) int64 {
	y, m, d := int(date/10000), time.Month(date/100%100), int(date%100)
	t := time.Date(y, m, d, 0, 0, 0, 0, time.UTC)
	if y < 1970 || y > 2200 || t.Month() != m || t.Day() != d {
		return otherwise
	}
	return t.UnixNano()
}

// cstring returns the text before the first zero byte.
func cstring(b []byte) string {
	if i := bytes.IndexByte(b, 0); i >= 0 {
		b = b[:i]
	}
	return string(b)
}

// short returns symbol, shortened to feed.MaxText bytes if it is longer: DBN 2 and 3 allow 70 bytes.
func (d *decoder) short(symbol string) string {
	short := rawfile.Short(symbol)
	if short != symbol {
		d.count.Note("symbol %.80s is longer than %d bytes: it is shortened to %s", symbol, feed.MaxText, short)
	}
	return short
}

// symbolMapping reads a symbol mapping record of live data.
func (d *decoder) symbolMapping(b []byte) error {
	le := binary.LittleEndian
	id := le.Uint32(b[4:])
	var in, symbol string
	if len(b) >= 176 {
		in, symbol = cstring(b[17:88]), cstring(b[89:160])
	} else {
		in, symbol = cstring(b[16:38]), cstring(b[38:60])
	}
	digits := strconv.FormatUint(uint64(id), 10)
	if symbol == digits || symbol == "" {
		symbol = in
	}
	symbol = d.short(symbol)
	if err := feed.ValidateText(symbol); err != nil {
		return fmt.Errorf("symbol mapping of instrument %d: %w", id, err)
	}
	known := d.mappings[id]
	if len(known) == 1 && known[0] == (mapping{math.MinInt64, forever, symbol}) {
		return nil
	}
	d.mapped -= len(known)
	delete(d.mappings, id)
	for _, x := range d.instruments {
		if uint32(x.key) == id && !x.defined {
			x.from, x.to = 0, 0
		}
	}
	return d.addMapping(digits, mapping{math.MinInt64, forever, symbol})
}

// mapping returns the symbol of an instrument id at recv, or the digits of the id if no mapping covers recv,
// and the range of times around recv in which it applies.
func (d *decoder) mapping(id uint32, recv int64) mapping {
	m := mapping{from: math.MinInt64, to: forever}
	for _, x := range d.mappings[id] {
		if recv >= x.from && recv < x.to {
			m.symbol = x.symbol
		}
		for _, edge := range [...]int64{x.from, x.to} { // beyond an edge, the symbol may differ
			if edge <= recv {
				m.from = max(m.from, edge)
			} else {
				m.to = min(m.to, edge)
			}
		}
	}
	if m.symbol == "" {
		m.symbol = strconv.FormatUint(uint64(id), 10)
	}
	return m
}

// instrument returns the instrument of a record at recv. If the instrument is new or has another symbol, a definition is
// appended to out.
func (d *decoder) instrument(out []feed.Tick, publisher uint16, id uint32, recv, event int64) (*instrument, []feed.Tick, error) {
	key := uint64(publisher)<<32 | uint64(id)
	in := d.last
	if in == nil || in.key != key {
		in = d.instruments[key]
	}
	if in != nil && recv >= in.from && recv < in.to {
		d.last = in
		return in, out, nil
	}
	m := d.mapping(id, recv)
	def := feed.Definition{Symbol: m.symbol, Venue: venue(publisher), PriceExponent: -9}
	if _, known := d.names.Lookup(def.Symbol, def.Venue); known != nil {
		def = *known
	}
	in, out, err := d.assign(out, key, def, event)
	if err != nil {
		return nil, out, err
	}
	in.from, in.to = m.from, m.to
	d.last = in
	return in, out, nil
}

// assign makes def the definition of key.
func (d *decoder) assign(out []feed.Tick, key uint64, def feed.Definition, event int64) (*instrument, []feed.Tick, error) {
	in := d.instruments[key]
	if in == nil && len(d.instruments) >= feed.MaxInstruments {
		return nil, out, fmt.Errorf("more than %d instruments", feed.MaxInstruments)
	}
	id, out, err := d.names.Define(out, def, event)
	if err != nil {
		return nil, out, err
	}
	if in == nil {
		in = &instrument{key: key, id: id}
		d.instruments[key] = in
	}
	for len(d.owners) <= int(id) {
		d.owners = append(d.owners, nil)
	}
	if in.id != id {
		*in = instrument{key: key, id: id} // key now belongs to another instrument
	}
	in.symbol, in.book.ID = def.Symbol, id
	if owner := d.owners[id]; owner != in {
		if owner != nil && owner.book.Clear(feed.SideBoth) {
			owner.orders.Clear()
			if !d.cfg.QuotesOnly {
				out = append(out, feed.ClearTick(id, event, feed.SideBoth))
			}
		}
		d.owners[id] = in
	}
	return in, out, nil
}

// A layout holds the offsets of the fields of a definition record.
type layout struct{ size, lot, currency, symbol, symbolSize int }

var layouts = [...]layout{
	{360, 148, 186, 200, 22},
	{400, 156, 186, 200, 71},
	{520, 168, 224, 238, 71},
}

func (d *decoder) definition(out []feed.Tick, b []byte) ([]feed.Tick, error) {
	le := binary.LittleEndian
	l := layouts[0]
	for _, x := range layouts[1:] {
		if len(b) >= x.size {
			l = x
		}
	}
	publisher, id := le.Uint16(b[2:]), le.Uint32(b[4:])
	def := feed.Definition{
		Symbol: d.short(cstring(b[l.symbol : l.symbol+l.symbolSize])), Venue: venue(publisher),
		PriceExponent: -9, Currency: cstring(b[l.currency : l.currency+4]),
	}
	if step := int64(le.Uint64(b[24:])); step > 0 && step != undefPrice {
		def.TickSize = step
	}
	if lot := int32(le.Uint32(b[l.lot:])); lot > 0 && lot != math.MaxInt32 {
		def.Lot = int64(lot)
	}
	event := le.Uint64(b[8:])
	if event > forever {
		event = le.Uint64(b[16:])
	}
	if event > forever {
		event = 0
	}
	in, out, err := d.assign(out, uint64(publisher)<<32|uint64(id), def, int64(event))
	if err != nil {
		return out, err
	}
	in.defined, in.from, in.to = true, math.MinInt64, forever
	d.last = in
	return out, nil
}

// venues are the codes of Databento's publishers 1 to 107, four letters each (publishers.rs
// of the dbn crate).
const venues = "" +
	"GLBXXNASXBOSXPSXBATSBATYEDGAEDGXXNYSXCISXASEXCHIXCISXCISMEMXEPRLFINNFINCFINY" + // 1 to 19
	"AMXOXBOXXCBOEMLDEDGOGMNIXISXMCRYXMIOARCOOPRAMPRLXNDQXBXOC2OXXPHLBATOMXOP" + // OPRA, to 37
	"IEXGXCHIXCISIEXGEPRLARCXXNYSXNYSXNASXNAS" + // to 47
	"XCHIXCISIEXGEPRLXNASXNYSFINNFINYFINCIFEUNDEXDBEQEQUSSPHR" + // to 61
	"XCHIXCISIEXGEPRLXNASXNYSFINNFINYFINCBATSBATYEDGAEDGXXBOSXPSXMEMXXASEARCXLTSE" + // to 80
	"XNASFINNFINCXOFFXOFFXBOSXPSXXBOSXPSXEQUSXCISXNYSEQUSEQUSEQUSEQUS" + // to 96
	"IFUSXOFFIFLLXOFFXEURXEEEXOFFXOFFXCBFXOFFOCEA" // to 107

func venue(publisher uint16) string {
	p := int(publisher)
	switch {
	case p == 0:
		return ""
	case 4*p <= len(venues):
		return venues[4*(p-1) : 4*p]
	}
	return "PUBLISHER" + strconv.Itoa(p)
}
