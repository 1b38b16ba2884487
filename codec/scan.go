package codec

import "encoding/binary"

// maxControl bounds a message that has no fixed layout, in bytes.
const maxControl = 65536

// Bound returns the greatest length of a message of type t, in bytes.
func (t Type) Bound() int {
	switch t {
	case TypeHello:
		return MaxHello
	case TypePacket:
		return PacketHeader + MaxBody
	case TypeSnapshotPart:
		return PartHeader + MaxBody
	case TypeTrailer:
		return TrailerSize
	}
	return maxControl
}

// A scanner finds the end of a message without decoding it, and refuses messages that no decoder
// should see: those with a length or count that exceeds the message's bound, with arrays and maps
// that have more elements than bytes can follow, with nesting beyond MaxDepth, or with ext. A message may arrive
// in pieces; no byte is scanned twice. The zero scanner is at the start of a message.
type scanner struct {
	pos     int           // bytes scanned; inside a str or bin it may be beyond the bytes received
	typ     Type          // 0 until it has been scanned
	depth   int           // number of open arrays and maps
	left    [MaxDepth]int // missing elements of each open array or map
	pending int           // sum of left: the message has at least this many more bytes
}

// scan continues in b, which holds all received bytes of the message, from its first one.
// It returns the message's size if b holds all of it, and 0 if more bytes
// are needed. limit bounds the message in addition to its type. An error wraps ErrMalformed;
// the scanner must not be used afterwards.
func (s *scanner) scan(b []byte, limit int) (size int, err error) {
	if s.pos == 0 {
		if size := fixedSize(b); size > 0 && size <= limit {
			s.pos = size
			s.typ = Type(b[1])
		}
	}
	for s.pos == 0 || s.depth > 0 {
		if s.pos >= len(b) {
			return 0, nil
		}
		whole, err := s.element(b[s.pos:], limit)
		if !whole || err != nil {
			return 0, err
		}
	}
	if s.pos > len(b) {
		return 0, nil
	}
	return s.pos, nil
}

// fixedSize returns the size of the packet or snapshot part at the start of b, or 0 if there is none.
func fixedSize(b []byte) int {
	if len(b) < PartHeader {
		return 0
	}
	if b[1] == byte(TypePacket) {
		return PacketSize(b)
	}
	return PartSize(b)
}

// element scans one element: a scalar, a whole str or bin, or the head of an array or map.
// It returns false if the head is incomplete.
func (s *scanner) element(b []byte, limit int) (whole bool, err error) {
	m := b[0]
	if s.pos == 0 && m&0xf0 != 0x90 && m != 0xdc && m != 0xdd {
		return false, malformed("a message begins with marker %#02x, want an array", m)
	}
	if s.depth > 0 && s.typ == 0 {
		if m == 0 || m > byte(MaxType) {
			return false, malformed("a message's first element has marker %#02x, want a type from 1 to %d", m, MaxType)
		}
		s.typ = Type(m)
	}
	head, payload, elements, nested := 1, 0, 0, false
	switch {
	case m < 0x80 || m >= 0xe0 || m == 0xc0 || m == 0xc2 || m == 0xc3: // fixint, nil, bool
	case m&0xf0 == 0x80:
		elements, nested = 2*int(m&0x0f), true
	case m&0xf0 == 0x90:
		elements, nested = int(m&0x0f), true
	case m&0xe0 == 0xa0:
		payload = int(m & 0x1f)
	case m >= 0xca && m <= 0xd3: // float 32, 64; uint and int 8 to 64
		payload = scalarWidth[m-0xca]
	case lengthWidth[m] > 0: // bin, str, array, map
		head += lengthWidth[m]
		if len(b) < head {
			if s.depth > 0 {
				head-- // pending counts a byte of this element
			}
			return false, s.checkBound(head, limit)
		}
		n := length(b[1:head])
		switch {
		case m <= 0xdb:
			payload = n
		case m <= 0xdd:
			elements, nested = n, true
		default:
			elements, nested = 2*n, true
		}
	default:
		return false, malformed("%s: marker %#02x at byte %d: ext is not used", s.name(), m, s.pos)
	}

	if s.depth > 0 {
		s.left[s.depth-1]--
		s.pending--
	}
	if nested {
		if s.depth == MaxDepth {
			return false, malformed("%s: nested deeper than %d at byte %d", s.name(), MaxDepth, s.pos)
		}
		if s.depth == 0 && elements == 0 {
			return false, malformed("a message is empty, want a type first")
		}
		s.left[s.depth] = elements
		s.depth++
		s.pending += elements
	}
	if err := s.checkBound(head+payload, limit); err != nil {
		return false, err
	}
	s.pos += head + payload
	for s.depth > 0 && s.left[s.depth-1] == 0 {
		s.depth--
	}
	return true, nil
}

// checkBound returns an error if n more bytes, and one for each missing element, exceed the
// message's bound. (A count of 2³² elements does not overflow an int of 64
// bits; for an int of 32 bits, length has cut it.)
func (s *scanner) checkBound(n, limit int) error {
	if s.typ != 0 {
		limit = min(limit, s.typ.Bound())
	}
	if least := s.pos + n + s.pending; least > limit {
		return malformed("%s: at least %d bytes long at byte %d, at most %d", s.name(), least, s.pos, limit)
	}
	return nil
}

func (s *scanner) name() string {
	if s.typ == 0 {
		return "message"
	}
	return s.typ.String()
}

// Format: bytes after the marker of 0xca to 0xd3, and bytes of the length after each marker.
var (
	scalarWidth = [...]int{4, 8, 1, 2, 4, 8, 1, 2, 4, 8}
	lengthWidth = [256]int{
		0xc4: 1, 0xc5: 2, 0xc6: 4, // bin
		0xd9: 1, 0xda: 2, 0xdb: 4, // str
		0xdc: 2, 0xdd: 4, // array
		0xde: 2, 0xdf: 4, // map
	}
)

// length reads a length of 1, 2 or 4 bytes. It cuts a great length to one that still exceeds every bound.
func length(b []byte) int {
	n := uint32(0)
	switch len(b) {
	case 1:
		n = uint32(b[0])
	case 2:
		n = uint32(binary.BigEndian.Uint16(b))
	case 4:
		n = binary.BigEndian.Uint32(b)
	}
	return int(min(n, 1<<24))
}
