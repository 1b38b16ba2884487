package codec

import (
	"bytes"
	"fmt"
	"math"

	"github.com/vmihailenco/msgpack/v5"
)

// Decode decodes one whole control message, as [Reader.Next] returns it. In the result every field is within
// its bounds, filters are canonical, and texts for people are printable. Elements beyond
// those that this version knows are ignored. The message keeps no reference to raw.
//
// If a Hello does not offer this package's Version, only its versions are set; if a FileHeader has another version, only
// that is set. An error wraps ErrMalformed; it is a *FieldError if one field is missing or invalid. Packets and snapshot
// parts are refused: use [ParsePacket] and [ParsePart].
func Decode(raw []byte) (Message, error) {
	var s scanner
	size, err := s.scan(raw, MaxMessage)
	switch {
	case err != nil:
		return nil, err
	case size == 0:
		return nil, malformed("%s: cut short after %d bytes", s.name(), len(raw))
	case size < len(raw):
		return nil, malformed("%s: %d bytes follow it", s.name(), len(raw)-size)
	}
	m := newMessage(s.typ)
	if m == nil {
		return nil, malformed("%v is not a control message", s.typ)
	}
	d := decoder{dec: msgpack.NewDecoder(bytes.NewReader(raw)), typ: s.typ}
	if d.elements, err = d.dec.DecodeArrayLen(); err != nil {
		return nil, malformed("%v: %v", s.typ, err)
	}
	var typ uint64
	d.uint("type", &typ)
	m.layout(&d)
	if d.err != nil {
		return nil, d.err
	}
	return m, nil
}

// A decoder is the wire that reads a message. A scanner must have accepted the message. The decoder calls only functions of
// the library that cannot allocate more than the message's size, and checks the marker before each call: the library would
// read nil as 0 and −1 as the greatest uint64.
type decoder struct {
	dec      *msgpack.Decoder
	typ      Type
	elements int // elements of the message still to be read
	depth    int // open arrays inside the message
	err      error
}

// marker returns the marker of the next element; ok is false if there is none, or after an error.
func (d *decoder) marker(field string) (m byte, ok bool) {
	if d.err != nil {
		return 0, false
	}
	if d.depth == 0 {
		if d.elements == 0 {
			d.invalid(field, "missing")
			return 0, false
		}
		d.elements--
	}
	m, err := d.dec.PeekCode()
	d.read(field, err)
	return m, d.err == nil
}

func (d *decoder) read(field string, err error) {
	if err != nil {
		d.invalid(field, "%v", err)
	}
}

func (d *decoder) reading() bool { return true }

func (d *decoder) more(bool) bool { return d.err == nil && d.elements > 0 }

func (d *decoder) uint(field string, v *uint64) {
	m, ok := d.marker(field)
	switch {
	case !ok:
	case m < 0x80 || m >= 0xcc && m <= 0xcf:
		n, err := d.dec.DecodeUint64()
		d.read(field, err)
		*v = n
	case m >= 0xe0 || m >= 0xd0 && m <= 0xd3:
		n, err := d.dec.DecodeInt64()
		d.read(field, err)
		if n < 0 {
			d.invalid(field, "%d, want 0 or more", n)
			return
		}
		*v = uint64(n)
	default:
		d.invalid(field, "marker %#02x, want an integer", m)
	}
}

func (d *decoder) int(field string, v *int64) {
	m, ok := d.marker(field)
	switch {
	case !ok:
	case m < 0x80 || m >= 0xe0 || m >= 0xcc && m <= 0xd3 && m != 0xcf:
		n, err := d.dec.DecodeInt64()
		d.read(field, err)
		*v = n
	case m == 0xcf:
		n, err := d.dec.DecodeUint64()
		d.read(field, err)
		if n > math.MaxInt64 {
			d.invalid(field, "%d is beyond 63 bits", n)
			return
		}
		*v = int64(n)
	default:
		d.invalid(field, "marker %#02x, want an integer", m)
	}
}

func (d *decoder) wideUint(field string, v *uint64) { d.uint(field, v) }

func (d *decoder) wideInt(field string, v *int64) { d.int(field, v) }

func (d *decoder) bool(field string, v *bool) {
	m, ok := d.marker(field)
	switch {
	case !ok:
	case m == 0xc2 || m == 0xc3:
		b, err := d.dec.DecodeBool()
		d.read(field, err)
		*v = b
	default:
		d.invalid(field, "marker %#02x, want true or false", m)
	}
}

func (d *decoder) text(field string, v *string, most int) {
	m, ok := d.marker(field)
	if !ok {
		return
	}
	if m&0xe0 != 0xa0 && (m < 0xd9 || m > 0xdb) {
		d.invalid(field, "marker %#02x, want a str", m)
		return
	}
	n, err := d.dec.DecodeBytesLen()
	d.read(field, err)
	if n > most {
		d.invalid(field, "%d bytes, want at most %d", n, most)
	}
	if d.err != nil {
		return
	}
	b := make([]byte, n)
	d.read(field, d.dec.ReadFull(b))
	*v = string(b)
}

func (d *decoder) open(field string, _, most int) int {
	m, ok := d.marker(field)
	d.depth++
	if !ok {
		return 0
	}
	if m&0xf0 != 0x90 && m != 0xdc && m != 0xdd {
		d.invalid(field, "marker %#02x, want an array", m)
		return 0
	}
	n, err := d.dec.DecodeArrayLen()
	d.read(field, err)
	if n > most {
		d.invalid(field, "%d elements, want at most %d", n, most)
	}
	if d.err != nil {
		return 0
	}
	return n
}

func (d *decoder) close() { d.depth-- }

func (d *decoder) invalid(field, format string, args ...any) {
	if d.err == nil {
		d.err = &FieldError{d.typ, field, fmt.Sprintf(format, args...)}
	}
}
