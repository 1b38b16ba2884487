package codec

import (
	"errors"
	"fmt"
	"io"
)

// DefaultBuffer is the default size of a Reader's buffer, in bytes.
const DefaultBuffer = 256 << 10

// ErrUnknownMessage is wrapped by the error for a message whose type this version does not know
// and must not skip.
var ErrUnknownMessage = errors.New("unknown message")

// maxEmptyReads is how often in a row the underlying reader may return neither bytes nor an
// error.
const maxEmptyReads = 100

// A Reader splits a stream into messages. It has one buffer and allocates nothing per message;
// it reads ahead, so that one read returns many messages. Only one goroutine may use it.
type Reader struct {
	r          io.Reader
	buf        []byte
	start, end int     // buf[start:end] is read but not yet returned
	at         scanner // scans the message at start
	size       int     // size of buf once limit exceeds MaxHello
	limit      int     // bound of a message
	offset     int64   // offset of start in the stream
	skipped    uint64
	early      int   // bytes skipped under a limit of at most MaxHello
	err        error // final
}

// smallBuffer is large enough for the messages of a client after its hello. A server has thousands of clients.
const smallBuffer = 512

// NewReader returns a Reader of r with a buffer of size bytes, but at least MaxMessage; 0 means DefaultBuffer. With a buffer
// of MaxMessage bytes, the buffer stays small until a longer message arrives.
func NewReader(r io.Reader, size int) *Reader {
	if size == 0 {
		size = DefaultBuffer
	}
	return &Reader{r: r, size: max(size, MaxMessage), limit: MaxMessage}
}

// Unread returns the bytes that were read and are not part of a message yet: after an error, those that it is about. They are
// valid until the next call of Next.
func (r *Reader) Unread() []byte { return r.buf[r.start:r.end] }

// SetLimit bounds each later message to n bytes, in addition to the bound of its type. The initial limit is MaxMessage. If n is
// at most MaxHello, for a peer that has not logged in, a new buffer has at most MaxHello bytes, and grows when a greater limit
// is set; and the messages that Next skips are at most MaxEarly bytes together.
func (r *Reader) SetLimit(n int) { r.limit = min(n, MaxMessage) }

// Next returns the next whole message and its type. The message is part of the Reader's buffer and
// is valid until the next call of Next. Messages of unknown types beyond MaxCritical are
// skipped.
//
// Next returns io.EOF if the stream ends after a message, and io.ErrUnexpectedEOF if it
// ends inside one. An error that wraps ErrMalformed or ErrUnknownMessage reports an invalid stream, and is final. Any other
// error comes from the underlying reader; after a temporary one, such as a deadline, Next may be called again and loses no
// bytes.
func (r *Reader) Next() (Type, []byte, error) {
	for empty := 0; ; {
		size, err := r.next()
		if err != nil {
			return 0, nil, err
		}
		if size > 0 {
			raw := r.buf[r.start : r.start+size : r.start+size]
			t := r.at.typ
			r.advance(size)
			return t, raw, nil
		}
		r.makeRoom()
		n, err := r.r.Read(r.buf[r.end:])
		r.end += n
		switch {
		case n > 0:
			empty = 0
		case err == io.EOF && r.end > r.start:
			return 0, nil, io.ErrUnexpectedEOF
		case err != nil:
			return 0, nil, err
		default:
			if empty++; empty == maxEmptyReads {
				return 0, nil, io.ErrNoProgress
			}
		}
	}
}

// Reset makes r a new Reader of another stream that begins at the given byte offset. It keeps the buffer.
func (r *Reader) Reset(from io.Reader, offset int64) {
	*r = Reader{r: from, buf: r.buf, size: r.size, limit: MaxMessage, offset: offset}
}

// Partial returns how many bytes of an incomplete next message have arrived, or 0 if the message will be skipped.
func (r *Reader) Partial() int {
	if r.at.typ > MaxCritical {
		return 0
	}
	return r.end - r.start
}

// Held returns the number of bytes that were read and that Next has not returned.
func (r *Reader) Held() int { return r.end - r.start }

// Buffered reports whether Next will return without reading.
func (r *Reader) Buffered() bool {
	size, err := r.next()
	return size > 0 || err != nil
}

// Offset returns the number of consumed bytes of the stream: the offset after the last message that was returned or
// skipped.
func (r *Reader) Offset() int64 { return r.offset }

// Skipped returns the number of messages of unknown types that were skipped.
func (r *Reader) Skipped() uint64 { return r.skipped }

// next returns the size of the next message to return, or 0 if the message is not complete in the buffer.
func (r *Reader) next() (int, error) {
	for r.err == nil && r.start < r.end {
		size, err := r.at.scan(r.buf[r.start:r.end], r.limit)
		switch {
		case err != nil:
			r.err = fmt.Errorf("at byte %d: %w", r.offset, err)
		case size == 0 || r.at.typ <= TypeTrailer:
			return size, nil
		case r.at.typ <= MaxCritical:
			r.err = fmt.Errorf("at byte %d: %w of type %d", r.offset, ErrUnknownMessage, r.at.typ)
		case r.limit <= MaxHello && r.early+size > MaxEarly:
			r.err = malformed("at byte %d: more than %d bytes of messages of unknown types before login", r.offset, MaxEarly)
		default:
			if r.limit <= MaxHello {
				r.early += size
			}
			r.skipped++
			r.advance(size)
		}
	}
	return 0, r.err
}

func (r *Reader) advance(size int) {
	r.start += size
	r.offset += int64(size)
	r.at = scanner{}
}

// makeRoom makes buf[end:] long enough for the rest of the message at start. At first, and
// after the limit was raised, it allocates a new buffer; otherwise it moves buf[start:end] to the front. Since
// a message is much shorter than the buffer, it moves few bytes compared with those read.
// A Reader of the minimum size is for a peer that sends little: its buffer grows beyond MaxHello only for a longer message.
func (r *Reader) makeRoom() {
	size := r.size
	switch held := r.end - r.start; {
	case r.limit > MaxHello && size > MaxMessage:
	case held < smallBuffer:
		size = smallBuffer
	case r.limit <= MaxHello || held < MaxHello:
		size = MaxHello
	}
	switch {
	case len(r.buf) < size:
		buf := make([]byte, size)
		r.end = copy(buf, r.buf[r.start:r.end])
		r.buf, r.start = buf, 0
	case r.start == r.end:
		r.start, r.end = 0, 0
	case len(r.buf)-r.start < min(r.limit, len(r.buf)):
		r.end = copy(r.buf, r.buf[r.start:r.end])
		r.start = 0
	}
}
