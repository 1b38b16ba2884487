package rawfile

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
)

// Lines splits the contents of r into lines. Make one with [NewLines].
type Lines struct {
	r      *bufio.Reader
	max    int
	long   []byte // a line that did not fit the buffer
	number int64
	offset int64 // of the current line
	next   int64 // of the line after it
}

// ErrLongLine is returned instead of a line that is too long; the line after it can be read.
var ErrLongLine = errors.New("the line is too long")

// lineBuffer is large enough to hold nearly every line without copying it.
const lineBuffer = 64 << 10

// NewLines returns Lines that splits r into lines of at most max bytes each.
func NewLines(r io.Reader, max int) *Lines {
	return &Lines{r: bufio.NewReaderSize(r, lineBuffer), max: max}
}

// Next returns the next line without its newline or carriage return, valid until the following call. The error
// is io.EOF after the last line, ErrLongLine, or the error of the reader.
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

// nextLong reads the rest of a line that begins with start and exceeds the buffer.
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

// Ready reports whether the next line is buffered completely.
func (l *Lines) Ready() bool {
	b, _ := l.r.Peek(l.r.Buffered())
	return bytes.IndexByte(b, '\n') >= 0
}

func cut(line []byte) []byte {
	line = bytes.TrimSuffix(line, []byte{'\n'})
	return bytes.TrimSuffix(line, []byte{'\r'})
}

// Number returns the number of the current line, from 1.
func (l *Lines) Number() int64 { return l.number }

// Offset returns the offset at which the current line begins, in bytes.
func (l *Lines) Offset() int64 { return l.offset }

// Bad returns an error about the current line, of a file called name. err may be nil.
func (l *Lines) Bad(name, reason string, err error) *LineError {
	return &LineError{File: name, Line: max(1, l.number), Offset: l.offset, Reason: reason, Err: err}
}

// A LineError reports a line of a text file that cannot be read, for example:
//
//	AMZN_message_1.csv:17: byte 812: price "22x" is not a whole number
type LineError struct {
	File   string // as given to Open
	Line   int64  // from 1
	Offset int64  // where the line begins, in bytes of the unpacked file
	Reason string // what is wrong and, if it helps, what to do
	Err    error  // the cause if there is one
}

func (e *LineError) Error() string {
	return fmt.Sprintf("%s:%d: byte %d: %s", e.File, e.Line, e.Offset, e.Reason)
}

func (e *LineError) Unwrap() error { return e.Err }
