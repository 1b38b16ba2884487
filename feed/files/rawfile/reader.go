package rawfile

import (
	"errors"
	"fmt"
	"io"
)

// MaxPeek is the greatest number of bytes that Reader.Peek can return.
const MaxPeek = 256 << 10

// A Reader reads the bytes of an unpacked file and tracks its offset. Only one goroutine may use it.
type Reader struct {
	file   io.Reader
	path   string
	buf    []byte
	r, w   int   // buf[r:w] is not yet skipped
	offset int64 // of buf[r] in the unpacked file
	err    error // of the last read
	last   bool  // no other file follows
}

// reset makes r read f from its start.
func (r *Reader) reset(path string, f io.Reader) {
	if r.buf == nil {
		r.buf = make([]byte, MaxPeek)
	}
	*r = Reader{file: f, path: path, buf: r.buf}
}

// NewReader returns a Reader of f, which must not be compressed, from its current position, which becomes
// offset 0. The path is for messages.
func NewReader(path string, f io.Reader) *Reader {
	r := &Reader{}
	r.reset(path, f)
	return r
}

// Path returns the name of the file, for messages.
func (r *Reader) Path() string { return r.path }

// Last reports whether the source reads no other file after this one.
func (r *Reader) Last() bool { return r.last }

// Offset returns the offset in the unpacked file of the next byte that Peek returns.
func (r *Reader) Offset() int64 { return r.offset }

// Peek returns the next n bytes without skipping them; they are valid until the next Peek. n is at most
// MaxPeek. If the file ends before, Peek returns the rest, with io.EOF if it is empty and io.ErrUnexpectedEOF
// otherwise. Any other error is a [*DamageError]: the file cannot be read or unpacked.
func (r *Reader) Peek(n int) ([]byte, error) {
	if r.w-r.r >= n {
		return r.buf[r.r : r.r+n], nil
	}
	return r.fill(n)
}

func (r *Reader) fill(n int) ([]byte, error) {
	if n > len(r.buf) {
		panic(fmt.Sprintf("rawfile: internal error: peek of %d bytes", n))
	}
	r.w = copy(r.buf, r.buf[r.r:r.w])
	r.r = 0
	for empty := 0; r.w < n && r.err == nil; {
		var k int
		k, r.err = r.file.Read(r.buf[r.w:])
		r.w += k
		if empty++; k > 0 {
			empty = 0
		} else if empty > 100 && r.err == nil {
			r.err = io.ErrNoProgress
		}
	}
	switch {
	case r.w >= n:
		return r.buf[:n], nil
	case r.err != io.EOF:
		reason := "the rest cannot be read: " + r.err.Error()
		if errors.Is(r.err, io.ErrUnexpectedEOF) {
			reason = "the compressed file is cut off"
		}
		return r.buf[:r.w], &DamageError{File: r.path, Offset: r.offset + int64(r.w), Reason: reason, Err: r.err}
	case r.w == 0:
		return nil, io.EOF
	}
	return r.buf[:r.w], io.ErrUnexpectedEOF
}

// Skip skips n bytes, at most as many as the last Peek returned.
func (r *Reader) Skip(n int) {
	if n > r.w-r.r {
		panic("rawfile: internal error: skip of bytes that were not peeked")
	}
	r.r += n
	r.offset += int64(n)
}

// Discard skips any number of bytes. The error is that of Peek.
func (r *Reader) Discard(n int64) error {
	for n > 0 {
		b, err := r.Peek(int(min(n, MaxPeek)))
		r.Skip(len(b))
		n -= int64(len(b))
		if err != nil {
			return err
		}
	}
	return nil
}

// Bad returns the error for a part of the file at offset that cannot be read but that the caller has skipped
// already, so that decoding may continue after it, see NewSource.
func (r *Reader) Bad(offset int64, format string, args ...any) error {
	return &DamageError{File: r.path, Offset: offset, Reason: fmt.Sprintf(format, args...), passed: true}
}

// Damage returns the error for a part at offset that cannot be read nor skipped.
func (r *Reader) Damage(offset int64, format string, args ...any) error {
	return &DamageError{File: r.path, Offset: offset, Reason: fmt.Sprintf(format, args...)}
}

// AtEnd reports whether err, returned by a Decoder, is the end of the file, torn or not.
func AtEnd(err error) bool {
	var damage *DamageError
	return err == io.EOF || errors.As(err, &damage) && damage.torn
}

// Final reports whether nothing more can be read of the file after err, returned by a Decoder, and err is not
// the regular end.
func Final(err error) bool {
	var damage *DamageError
	return err != io.EOF && !(errors.As(err, &damage) && damage.passed && !damage.torn)
}

// Torn returns the error for a file that ends inside the item that begins at the current offset, if err,
// returned by Peek, says so, and skips the rest of the file. It returns any other err unchanged.
func (r *Reader) Torn(what string, err error) error {
	if err != io.ErrUnexpectedEOF {
		return err
	}
	offset := r.offset
	left := r.w - r.r
	r.Skip(left)
	return &DamageError{
		File: r.path, Offset: offset, passed: true, torn: true,
		Reason: fmt.Sprintf("the file ends %d bytes into %s", left, what),
	}
}

// A DamageError reports a place in a file that cannot be read, for example:
//
//	es.dbn.zst: offset 183246: the file ends 12 bytes into a record
type DamageError struct {
	File   string // as given to Open
	Offset int64  // in the unpacked file, in bytes
	Reason string // what is wrong
	Err    error  // the cause if there is one

	passed bool // decoding may continue
	torn   bool // the file ends early
}

func (e *DamageError) Error() string {
	return fmt.Sprintf("%s: offset %d: %s", e.File, e.Offset, e.Reason)
}

// Passed reports whether decoding can continue after the damage, if SkipBad permits.
func (e *DamageError) Passed() bool { return e.passed }

func (e *DamageError) Unwrap() error { return e.Err }

// A FormatError reports that a file is not in a known format, or in one without ticks, for example:
//
//	bars.dbn: schema ohlcv-1s holds no ticks
type FormatError struct {
	File   string
	Reason string
	Err    error // the cause if it is a sentinel
}

func (e *FormatError) Error() string { return e.File + ": " + e.Reason }

func (e *FormatError) Unwrap() error { return e.Err }
