package textfile

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"sync"

	"tickfeed/feed/files/rawfile"
)

// MaxLine bounds a line, in bytes; a longer one is a bad line.
const MaxLine = 1 << 20

// The size and the number of the read buffers.
const (
	readSize    = 256 << 10
	readBuffers = 2
)

// lines splits the chunks of an input into lines.
type lines struct {
	in     *input
	file   int    // index of the file of the line
	number int64  // number of the line, from 1
	rest   []byte // the part of the current chunk that is not split yet
	buf    []byte // the chunk's buffer, to be returned to the input
	tail   []byte // the beginning of a line that continues in the next chunk
	long   bool   // the line is longer than MaxLine; its rest is skipped
	ended  bool   // no more chunks of this file
	note   string // a note about this file; the caller clears it
	end    byte   // what ends this file's lines: a newline or a carriage return; 0 until it is known
}

// Errors of lines.next that do not end the source.
var (
	errEndOfFile = errors.New("end of one file")
	errLong      = errors.New("line too long")
)

// next returns the next line without its newline, valid until the following call. The error is
// rawfile.ErrNotYet if wait is false and no line has arrived, errLong instead of a line that is too
// long, errEndOfFile after each file, io.EOF after the last one, ctx.Err(), or from reading a file.
func (l *lines) next(ctx context.Context, wait bool) ([]byte, error) {
	for {
		if l.end == 0 {
			l.findEnd()
		}
		if i := bytes.IndexByte(l.rest, l.end); i >= 0 && l.end != 0 {
			line := l.rest[:i]
			l.rest = l.rest[i+1:]
			return l.join(line)
		}
		l.keep()
		if l.ended {
			if len(l.tail) > 0 || l.long {
				return l.join(nil) // the last line, without a newline
			}
			l.ended, l.number, l.end = false, 0, 0
			return nil, errEndOfFile
		}
		c, err := l.in.next(ctx, wait)
		if err != nil {
			return nil, err
		}
		l.file, l.rest, l.buf = c.file, c.data, c.data
		if c.note != "" {
			l.note = c.note
		}
		if l.ended = c.err == io.EOF; !l.ended && c.err != nil {
			return nil, c.err
		}
	}
}

// findEnd detects what ends the lines of this file: a carriage return, if one comes first and
// no newline follows it, or else a newline. The end stays unknown if more of the file is needed.
func (l *lines) findEnd() {
	if n := len(l.tail); n > 0 && l.tail[n-1] == '\r' && len(l.rest) > 0 {
		l.end = '\n'
		if l.rest[0] != '\n' {
			// The carriage return was the end of the previous chunk: put it back in front.
			l.end, l.tail = '\r', l.tail[:n-1]
			l.rest = append([]byte{'\r'}, l.rest...)
		}
		return
	}
	i := bytes.IndexAny(l.rest, "\r\n")
	switch {
	case i < 0:
	case l.rest[i] == '\n' || i+1 < len(l.rest) && l.rest[i+1] == '\n':
		l.end = '\n'
	case i+1 < len(l.rest):
		l.end = '\r'
	}
}

// join returns the line that consists of tail and end.
func (l *lines) join(end []byte) ([]byte, error) {
	l.number++
	long := l.long || len(l.tail)+len(end) > MaxLine
	line := end
	if len(l.tail) > 0 && !long {
		l.tail = append(l.tail, end...)
		line = l.tail
	}
	l.tail, l.long = l.tail[:0], false
	if long {
		return nil, errLong
	}
	return line, nil
}

// keep appends the rest of the chunk to tail and returns the chunk's buffer to the input.
func (l *lines) keep() {
	if l.long = l.long || len(l.tail)+len(l.rest) > MaxLine; l.long {
		l.tail = l.tail[:0]
	} else {
		l.tail = append(l.tail, l.rest...)
	}
	if l.buf != nil {
		l.in.free <- l.buf[:cap(l.buf)]
	}
	l.rest, l.buf = nil, nil
}

// An input reads files one after the other in a separate goroutine, a few buffers ahead.
type input struct {
	paths  []string
	stdin  io.Reader
	chunks chan chunk // closed after the last file
	size   int        // size of a buffer, in bytes
	meter  *rawfile.Meter
	free   chan []byte   // buffers to be filled, nil until first used; it has room for all buffers
	stop   chan struct{} // closed by close
	done   chan struct{} // closed at the end of run
	start  sync.Once

	mu     sync.Mutex
	closed bool
	stuck  bool // the goroutine is in a call that cannot be interrupted
	file   *os.File
}

// A chunk is a part of a file. err is io.EOF at the end of the file, or the error that ends the input.
type chunk struct {
	file int
	data []byte
	err  error
	note string // a note about the file, for people
}

func newInput(paths []string, stdin io.Reader, size int) *input {
	in := &input{
		paths: paths, stdin: stdin, size: size,
		chunks: make(chan chunk, readBuffers),
		free:   make(chan []byte, readBuffers),
		stop:   make(chan struct{}),
		done:   make(chan struct{}),
	}
	for range readBuffers {
		in.free <- nil
	}
	return in
}

func (in *input) name(file int) string {
	if in.paths[file] == "-" {
		return "stdin"
	}
	return in.paths[file]
}

// next returns the next chunk, whose buffer the caller must return through free. The error is rawfile.ErrNotYet if
// wait is false and there is no chunk, io.EOF after the last file, or ctx.Err().
func (in *input) next(ctx context.Context, wait bool) (chunk, error) {
	in.start.Do(func() { go in.run() })
	var c chunk
	more := false
	select {
	case c, more = <-in.chunks:
	default:
		if !wait {
			return chunk{}, rawfile.ErrNotYet
		}
		select {
		case c, more = <-in.chunks:
		case <-ctx.Done():
			return chunk{}, ctx.Err()
		}
	}
	if !more {
		return chunk{}, io.EOF
	}
	return c, nil
}

func (in *input) close() {
	in.mu.Lock()
	first := !in.closed
	in.closed = true
	stuck, file := in.stuck, in.file
	in.mu.Unlock()
	if first {
		close(in.stop)
	}
	if file != nil {
		file.Close() // ends a read of a pipe; the error does not matter, because the file is only read
	}
	in.start.Do(func() { close(in.done) })
	if !stuck {
		<-in.done
	}
}

func (in *input) run() {
	defer close(in.done)
	defer close(in.chunks)
	for i := range in.paths {
		err := in.read(i)
		if err == nil {
			err = io.EOF
		}
		if !in.send(chunk{file: i, err: err}) || err != io.EOF {
			return
		}
	}
}

func (in *input) send(c chunk) bool {
	select {
	case in.chunks <- c:
		return true
	case <-in.stop:
		return false
	}
}

// read sends the unpacked content of file i.
func (in *input) read(i int) error {
	packed, err := in.open(i)
	if err != nil {
		return err
	}
	defer in.release()
	r, err := rawfile.Unpack(packed, in.meter)
	if err != nil {
		return in.damaged(i, 0, err)
	}
	defer r.Close()
	offset := int64(0)
	for {
		var buf []byte
		select {
		case <-in.stop:
			return nil
		case buf = <-in.free:
		}
		if in.stopped() {
			return nil
		}
		if buf == nil {
			buf = make([]byte, in.size)
		}
		n, err := 0, error(nil)
		for n == 0 && err == nil {
			n, err = r.Read(buf)
		}
		offset += int64(n)
		if n == 0 {
			in.free <- buf
		} else if !in.send(chunk{file: i, data: buf[:n]}) {
			return nil
		}
		if err == io.EOF {
			if r.Trailing() {
				in.send(chunk{file: i, note: rawfile.TrailingNote})
			}
			return nil
		}
		if err != nil && !r.Packed() {
			return in.named(i, err)
		}
		if err != nil {
			return in.damaged(i, offset, err)
		}
	}
}

// damaged returns the error for file i, which cannot be unpacked from offset on. It returns err if err is about opening or
// reading the file, or about its format.
func (in *input) damaged(i int, offset int64, err error) error {
	if errors.As(err, new(*fs.PathError)) || errors.As(err, new(*rawfile.FormatError)) {
		return err
	}
	reason := "cannot be unpacked further: " + err.Error()
	if errors.Is(err, io.ErrUnexpectedEOF) {
		reason = "the compressed file is cut off"
	}
	return &rawfile.DamageError{File: in.name(i), Offset: offset, Reason: reason, Err: err}
}

// named adds the name of file i to err, unless it has a name.
func (in *input) named(i int, err error) error {
	if pathErr := (*fs.PathError)(nil); errors.As(err, &pathErr) {
		return err
	}
	return fmt.Errorf("%s: %w", in.name(i), err)
}

func (in *input) stopped() bool {
	in.mu.Lock()
	defer in.mu.Unlock()
	return in.closed
}

// open opens file i. in.stuck is set while it does so, and as long as standard input is open.
func (in *input) open(i int) (io.Reader, error) {
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.closed {
		return nil, errClosed
	}
	in.stuck = true
	if in.paths[i] == "-" {
		return in.stdin, nil
	}
	in.mu.Unlock()
	f, err := os.Open(in.paths[i])
	in.mu.Lock()
	in.stuck = false
	if err != nil {
		return nil, err
	}
	if in.closed {
		f.Close()
		return nil, errClosed
	}
	in.file = f
	return f, nil
}

// release closes the file that open opened.
func (in *input) release() {
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.file != nil {
		in.file.Close()
	}
	in.file, in.stuck = nil, false
}
