package codec

import (
	"fmt"
	"slices"

	"github.com/vmihailenco/msgpack/v5"
)

// Append appends the wire form of m, with compact integers, and returns the extended slice. It returns dst unchanged and an
// error if a field is out of bounds (a *FieldError), or if the message would exceed the Bound of its type. It does not change
// m.
func Append(dst []byte, m Message) ([]byte, error) {
	e := encoder{out: append(dst, 0x90, byte(m.Type())), typ: m.Type(), elements: 1}
	e.enc = msgpack.NewEncoder(&e)
	m.layout(&e)
	at := len(dst)
	if e.elements > 15 {
		e.out = slices.Insert(e.out, at, 0xdc, 0)
		e.out[at+2] = byte(e.elements)
	} else {
		e.out[at] |= byte(e.elements)
	}
	size := len(e.out) - at
	if bound := e.typ.Bound(); e.err == nil && size > bound {
		e.err = fmt.Errorf("%v: %d bytes, at most %d", e.typ, size, bound)
	}
	if e.err != nil {
		return dst, e.err
	}
	return e.out, nil
}

// An encoder is the wire that writes.
type encoder struct {
	out      []byte
	enc      *msgpack.Encoder // writes to out
	typ      Type
	elements int // elements of the message so far
	depth    int // open arrays inside the message
	err      error
}

func (e *encoder) Write(p []byte) (int, error) {
	e.out = append(e.out, p...)
	return len(p), nil
}

func (e *encoder) WriteByte(c byte) error {
	e.out = append(e.out, c)
	return nil
}

func (e *encoder) wrote(err error) {
	if e.depth == 0 {
		e.elements++
	}
	if err != nil && e.err == nil {
		e.err = fmt.Errorf("%v: %w", e.typ, err)
	}
}

func (e *encoder) reading() bool { return false }

func (e *encoder) more(wanted bool) bool { return wanted }

func (e *encoder) uint(_ string, v *uint64) { e.wrote(e.enc.EncodeUint(*v)) }

func (e *encoder) int(_ string, v *int64) { e.wrote(e.enc.EncodeInt(*v)) }

func (e *encoder) wideUint(_ string, v *uint64) { e.wrote(e.enc.EncodeUint64(*v)) }

func (e *encoder) wideInt(_ string, v *int64) { e.wrote(e.enc.EncodeInt64(*v)) }

func (e *encoder) bool(_ string, v *bool) { e.wrote(e.enc.EncodeBool(*v)) }

func (e *encoder) text(field string, v *string, most int) {
	if len(*v) > most {
		e.invalid(field, "%d bytes, want at most %d", len(*v), most)
	}
	e.wrote(e.enc.EncodeString(*v))
}

func (e *encoder) open(field string, n, most int) int {
	if n > most {
		e.invalid(field, "%d elements, want at most %d", n, most)
	}
	e.wrote(e.enc.EncodeArrayLen(n))
	e.depth++
	return n
}

func (e *encoder) close() { e.depth-- }

func (e *encoder) invalid(field, format string, args ...any) {
	if e.err == nil {
		e.err = &FieldError{e.typ, field, fmt.Sprintf(format, args...)}
	}
}
