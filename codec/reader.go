package codec

import (
	"errors"
	"fmt"
	"io"
)

// DefaultBuffer is the size of a Reader's buffer if nothing else is said, in bytes.
const DefaultBuffer = 256 << 10

// ErrUnknownMessage is wrapped by the error about a message that this version does not know
// and must not pass over.
var ErrUnknownMessage = errors.New("unknown message")

// maxEmptyReads is how often in a row the underlying reader may return neither bytes nor an
// error.
const maxEmptyReads = 100

// A Reader cuts a stream into messages. It has one buffer and allocates nothing per message;
// it reads ahead, so that one read brings many messages. Only one goroutine may use it.
type Reader struct {
	r          io.Reader
	buf        []byte
	start, end int     // what is not yet returned: buf[start:end]
	at         scanner // in the message at start
	size       int     // of buf, once the limit is beyond MaxHello
	limit      int     // of a message
	offset     int64   // of start in the stream
	skipped    uint64
	err        error // final
}

// smallBuffer is enough for what a client says after its hello. Thousands of clients say it.
const smallBuffer = 512

// NewReader returns a Reader of r with a buffer of size bytes: DefaultBuffer if size is 0,
// never less than the greatest message. With MaxMessage, the least, the buffer is small until
// a longer message comes.
func NewReader(r io.Reader, size int) *Reader {
	if size == 0 {
		size = DefaultBuffer
	}
	return &Reader{r: r, size: max(size, MaxMessage), limit: MaxMessage}
}

// SetLimit bounds every message from the next one on to n bytes, in addition to the bound of
// its type; at first n is MaxMessage. With n of at most MaxHello a new buffer is no longer than
// that, and grows when a greater limit is set. For a peer that has not logged in.
func (r *Reader) SetLimit(n int) { r.limit = min(n, MaxMessage) }

// Next returns the next message, whole, with its type. It belongs to the Reader's buffer and
// is valid until the next call of Next. Messages of unknown types beyond MaxCritical are
// passed over.
//
// The error is io.EOF where the stream ends after a message, io.ErrUnexpectedEOF where it
// ends inside one. It wraps ErrMalformed or ErrUnknownMessage where the stream is not one of
// messages; these two are final. Any other error is the underlying reader's; after one that
// is temporary, such as a deadline, Next may be called again and has lost nothing.
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

// Reset makes r a Reader of another stream, from its byte offset on. It is as a new one, but keeps
// its buffer.
func (r *Reader) Reset(from io.Reader, offset int64) {
	*r = Reader{r: from, buf: r.buf, size: r.size, limit: MaxMessage, offset: offset}
}

// Partial is how many bytes of the next message have come, if it is not one to be passed over, and not all there.
func (r *Reader) Partial() int {
	if r.at.typ > MaxCritical {
		return 0
	}
	return r.end - r.start
}

// Held is how many bytes were read that Next has not returned.
func (r *Reader) Held() int { return r.end - r.start }

// Buffered reports whether Next will return without reading.
func (r *Reader) Buffered() bool {
	size, err := r.next()
	return size > 0 || err != nil
}

// Offset is how many bytes of the stream were consumed: the end of the message that Next
// returned last, and of those it passed over.
func (r *Reader) Offset() int64 { return r.offset }

// Skipped is how many messages of unknown types were passed over.
func (r *Reader) Skipped() uint64 { return r.skipped }

// next is the size of the next message to return, 0 if it is not all in the buffer.
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
		default:
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

// makeRoom makes buf[end:] long enough for the rest of the message at start: at first, and
// after the limit was raised, by a new buffer, else by moving what is left to the front. As
// a message is at most a fraction of the buffer, little is moved for much that is read.
// A Reader of the least size is for a peer that says little: its buffer grows only for a
// message that is longer than MaxHello.
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
