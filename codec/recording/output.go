package recording

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	seekable "github.com/SaveTheRbtz/zstd-seekable-format-go/pkg"
	"github.com/klauspost/compress/zstd"

	"tickfeed/codec"
	"tickfeed/codec/filemode"
	"tickfeed/feed/scratch"
)

// An Output is a new file that gets its name only once it is complete and durable: until [Output.Commit] it has
// a name in a temporary directory beside it. It is a [File]; if its name ends in .zst, [Compress] compresses it.
type Output struct {
	File
	path, temporary string
	file            *os.File
	dir             *scratch.Dir // of the temporary file; nil if there is none
	replace         bool
	closed, done    bool
}

// Create begins the file path. If it exists and replace is false, the error wraps fs.ErrExist. If path is not a
// regular file, such as /dev/null, Create writes to it directly. Otherwise it first removes the temporary
// directories for path that killed processes left.
func Create(path string, replace bool) (*Output, error) {
	o := &Output{path: path, replace: replace}
	info, err := os.Stat(path)
	switch {
	case err == nil && info.IsDir():
		return nil, fmt.Errorf("%s is a directory", path)
	case err == nil && !info.Mode().IsRegular():
		o.file, err = os.OpenFile(path, os.O_WRONLY, 0)
		o.done = true
	case err == nil && !replace:
		return nil, o.exists()
	default:
		err = o.createTemporary()
	}
	if err != nil {
		if pathError := (*fs.PathError)(nil); errors.As(err, &pathError) {
			pathError.Op, pathError.Path = "open", path // the temporary name means nothing to the user
		}
		return nil, err
	}
	o.File = o.file
	if !o.done { // not a device, for example
		o.File = durableFile{o.file}
	}
	if strings.HasSuffix(path, ".zst") {
		if o.File, err = Compress(o.File); err != nil {
			o.Discard()
			return nil, err
		}
	}
	return o, nil
}

// Check returns the error that Create or Commit would return, as far as it can be known, and leaves no file
// behind. It does not open a pipe, because opening waits for a reader.
func Check(path string, replace bool) error {
	if info, err := os.Stat(path); err == nil && info.Mode()&fs.ModeNamedPipe != 0 {
		return nil
	}
	o, err := Create(path, replace)
	if err != nil {
		return err
	}
	o.Discard()
	return nil
}

// createTemporary creates the temporary file of o.
func (o *Output) createTemporary() (err error) {
	if o.dir, err = scratch.Beside(o.path); err != nil {
		return err
	}
	o.temporary = filepath.Join(o.dir.Path, filepath.Base(o.path))
	if o.file, err = os.OpenFile(o.temporary, os.O_RDWR|os.O_CREATE|os.O_EXCL, filemode.File()); err != nil {
		_ = o.dir.Remove()
	}
	return err
}

func (o *Output) exists() error {
	return &fs.PathError{Op: "create", Path: o.path, Err: fs.ErrExist}
}

// Close makes the file durable and closes it under its temporary name. Further calls do nothing.
func (o *Output) Close() error {
	if o.closed {
		return nil
	}
	o.closed = true
	return o.File.Close()
}

// Commit closes the file if it is open, gives it its name, and makes the name durable. After an error the file
// does not have the name, except if the error says that the name may be lost.
func (o *Output) Commit() error {
	err := o.Close()
	if err != nil || o.done {
		return err
	}
	if _, err := os.Lstat(o.path); err == nil && !o.replace {
		return o.exists()
	}
	if err := system.Rename(o.temporary, o.path); err != nil {
		return err
	}
	o.done = true
	_ = o.dir.Remove() // the next Create for path removes what is left
	return syncName(o.path)
}

// Discard closes and removes the file, unless it was committed. It may be deferred.
func (o *Output) Discard() {
	if !o.closed {
		o.closed = true
		o.file.Close()
	}
	if !o.done {
		o.done = true
		_ = o.dir.Remove()
	}
}

// frameSize is the approximate number of bytes in a frame of a compressed recording.
const frameSize = 1 << 20

// Compress returns a File that writes to f as seekable zstd: frames of about 1 MiB, then a seek table, which
// Close writes before it closes f. Any zstd program can read it.
//
// A frame ends at the first mark after 1 MiB, or without a mark at 2 MiB. Most frames thus
// begin with a header, and the loss from a damaged frame ends at the next one. At the beginning of a session
// the first header is a frame of its own, so that no damaged frame hides both headers. Sync ends the current
// frame: everything written before can be read, whatever happens afterwards. Frequent Syncs reduce the compression
// slightly.
func Compress(f File) (File, error) { return compress(f, frameSize) }

func compress(f File, size int) (File, error) {
	level := zstd.WithEncoderLevel(zstd.SpeedDefault) // SingleSegment makes each frame state its size
	encoder, err := zstd.NewWriter(nil, level, zstd.WithEncoderConcurrency(1), zstd.WithSingleSegment(true))
	if err != nil {
		return nil, err
	}
	frames, err := seekable.NewEncoder(encoder)
	if err != nil {
		return nil, err
	}
	return &compressor{f: f, encoder: encoder, frames: frames, size: size, buf: make([]byte, 0, 2*max(size, codec.MaxMessage))}, nil
}

type compressor struct {
	f       File
	encoder *zstd.Encoder
	frames  *seekable.Encoder
	size    int
	buf     []byte // the current frame
	packed  []byte // finished frames not written yet
}

// Write takes p. If writing a full frame fails, the returned count includes the bytes already taken, and the
// next call resumes with the frame.
func (c *compressor) Write(p []byte) (int, error) {
	if err := c.flush(); err != nil {
		return 0, err
	}
	first := twice(p)
	if first > 0 || len(c.buf) >= c.size && isHeader(p) {
		if err := c.end(); err != nil {
			return 0, err
		}
	}
	n := copy(c.buf[:first], p)
	if n > 0 {
		c.buf = c.buf[:n]
		if err := c.end(); err != nil {
			return n, err
		}
	}
	for n < len(p) {
		part := min(len(p)-n, 2*c.size-len(c.buf))
		c.buf = append(c.buf, p[n:n+part]...)
		n += part
		if len(c.buf) < 2*c.size {
			continue
		}
		if err := c.end(); err != nil {
			return n, err
		}
	}
	return n, nil
}

// twice returns the size of the header that p begins with if p begins with it twice, as at the beginning of a
// session; otherwise 0.
func twice(p []byte) int {
	if !isHeader(p) {
		return 0
	}
	n, err := codec.MessageSize(p)
	if err != nil || n == 0 || !isHeader(p[n:]) {
		return 0
	}
	return n
}

// isHeader reports whether p begins with a file header.
func isHeader(p []byte) bool {
	return len(p) > 3+len(codec.FileMagic) && p[0]&0xf0 == 0x90 && p[1] == byte(codec.TypeFile) &&
		string(p[3:3+len(codec.FileMagic)]) == codec.FileMagic
}

// end ends the current frame.
func (c *compressor) end() error {
	packed, err := c.frames.Encode(c.buf)
	if err != nil {
		return err
	}
	c.buf = c.buf[:0]
	c.packed = packed
	return c.flush()
}

func (c *compressor) flush() error {
	if len(c.packed) == 0 {
		return nil
	}
	n, err := c.f.Write(c.packed)
	c.packed = c.packed[n:]
	return err
}

// Sync ends the current frame and makes it durable.
func (c *compressor) Sync() error {
	if err := c.flush(); err != nil {
		return err
	}
	if err := c.end(); err != nil {
		return err
	}
	return c.f.Sync()
}

// Close writes the last frame and the seek table, and closes the file even if writing fails.
func (c *compressor) Close() error {
	err := c.flush()
	if err == nil {
		err = c.end()
	}
	if err == nil {
		if c.packed, err = c.frames.EndStream(); err == nil {
			err = c.flush()
		}
	}
	return errors.Join(err, c.encoder.Close(), c.f.Close())
}
