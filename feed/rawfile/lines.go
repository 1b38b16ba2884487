package rawfile

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
)

// Lines cuts what r gives into lines. Make one with [NewLines].
type Lines struct {
	r      *bufio.Reader
	max    int
	long   []byte // a line that did not fit the buffer
	number int64
	offset int64 // of the line at hand
	next   int64 // of the line after it
}

// ErrLongLine stands in the place of a line that is longer than allowed; the line after it
// can be read.
var ErrLongLine = errors.New("the line is too long")

// lineBuffer holds nearly every line without copying it.
const lineBuffer = 64 << 10

// NewLines cuts r into lines of at most max bytes each.
func NewLines(r io.Reader, max int) *Lines {
	return &Lines{r: bufio.NewReaderSize(r, lineBuffer), max: max}
}

// Next is the next line without its newline or carriage return, valid until the following
// call. The error is io.EOF after the last line, ErrLongLine, or what reading gave.
func (l *Lines) Next() ([]byte, error) {
	l.offset = l.next
	line, err := l.r.ReadSlice('\n')
	l.next += int64(len(line))
	if err == bufio.ErrBufferFull {
		return l.nextLong(line)
	}
	if err != nil && (err != io.EOF || len(line) == 0) {
		return nil, err
	}
	l.number++
	if len(line) > l.max+1 {
		return nil, ErrLongLine
	}
	return cut(line), nil
}

// nextLong is Next for a line that begins with start and goes on beyond the buffer.
func (l *Lines) nextLong(start []byte) ([]byte, error) {
	l.long = append(l.long[:0], start...)
	tooLong := false
	for {
		more, err := l.r.ReadSlice('\n')
		l.next += int64(len(more))
		if tooLong = tooLong || len(l.long)+len(more) > l.max+1; !tooLong {
			l.long = append(l.long, more...)
		}
		if err == bufio.ErrBufferFull {
			continue
		}
		if err != nil && err != io.EOF {
			return nil, err
		}
		l.number++
		if tooLong {
			return nil, ErrLongLine
		}
		return cut(l.long), nil
	}
}

// Ready reports whether the next line is there without reading on.
func (l *Lines) Ready() bool {
	b, _ := l.r.Peek(l.r.Buffered())
	return bytes.IndexByte(b, '\n') >= 0
}

func cut(line []byte) []byte {
	line = bytes.TrimSuffix(line, []byte{'\n'})
	return bytes.TrimSuffix(line, []byte{'\r'})
}

// Number is the number of the line at hand, from 1.
func (l *Lines) Number() int64 { return l.number }

// Offset is where the line at hand begins, in bytes.
func (l *Lines) Offset() int64 { return l.offset }

// Bad is the error of the line at hand, of a file called name. err may be nil.
func (l *Lines) Bad(name, reason string, err error) *LineError {
	return &LineError{File: name, Line: max(1, l.number), Offset: l.offset, Reason: reason, Err: err}
}

// A LineError names the line of a text file that cannot be read. It reads, for example:
// AMZN_message_1.csv:17: byte 812: price "22x" is not a whole number
type LineError struct {
	File   string // as given to Open
	Line   int64  // from 1
	Offset int64  // where the line begins, in bytes of the unpacked file
	Reason string // what is wrong and, where it helps, what to do
	Err    error  // the cause where there is one
}

func (e *LineError) Error() string {
	return fmt.Sprintf("%s:%d: byte %d: %s", e.File, e.Line, e.Offset, e.Reason)
}

func (e *LineError) Unwrap() error { return e.Err }
