package recording

import (
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"

	"github.com/SaveTheRbtz/zstd-seekable-format-go/pkg"
	"github.com/klauspost/compress/zstd"

	"tickfeed/codec"
	"tickfeed/codec/filemode"
)

// An Output is a new file that gets its name when it is whole and durable: until [Output.Commit] it is
// a file with a name of its own in the same directory. It is a [File]; one whose name ends in
// .zst is compressed by [Compress].
type Output struct {
	File
	path, temporary string
	file            *os.File
	replace         bool
	closed, done    bool
}

// Create begins the file path. If it exists, and replace is false, the error wraps
// fs.ErrExist. A file of path that is no regular file, such as /dev/null, is written to
// as it is.
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
		o.temporary = filepath.Join(filepath.Dir(path), fmt.Sprintf(".%s.%08x.tmp", filepath.Base(path), rand.Uint32()))
		o.file, err = os.OpenFile(o.temporary, os.O_RDWR|os.O_CREATE|os.O_EXCL, filemode.File())
	}
	if err != nil {
		if pathError := (*fs.PathError)(nil); errors.As(err, &pathError) {
			pathError.Path = path // nobody knows the temporary name
		}
		return nil, err
	}
	o.File = o.file
	if !o.done { // else it is a device, say
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

// Check reports what Create or Commit would fail with, as far as that is known before, and leaves nothing behind. A pipe is not
// opened: it has no end until somebody reads it.
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

func (o *Output) exists() error {
	return &fs.PathError{Op: "create", Path: o.path, Err: fs.ErrExist}
}

// Close makes the file durable and closes it; it keeps its temporary name. More than once it does nothing.
func (o *Output) Close() error {
	if o.closed {
		return nil
	}
	o.closed = true
	return o.File.Close()
}

// Commit closes the file, if that is still to be done, gives it its name, and makes that durable. After an error the file has
// no name, except if it says that the name may be lost.
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
	return syncName(o.path)
}

// Discard closes and removes the file, unless it was committed. So it can be deferred.
func (o *Output) Discard() {
	if !o.closed {
		o.closed = true
		o.file.Close()
	}
	if !o.done {
		o.done = true
		os.Remove(o.temporary)
	}
}

// frameSize is about how many bytes a frame of a compressed recording holds.
const frameSize = 1 << 20

// Compress returns a File that keeps what is written to it in f as seekable zstd: frames of
// about 1 MiB, then a seek table, which Close writes before it closes f. Any zstd program
// reads it too.
//
// A frame is written at the first mark after that many, and without one at twice as many; so most
// begin with a header, and what a damaged one costs ends at the next. Where a session begins, its
// first header is a frame of its own, so that none hides both. Sync ends the frame under
// way: what was written before it can be read, whatever happens then. Each costs a few per
// cent of the compression, if it comes for every 100 KB.
func Compress(f File) (File, error) { return compress(f, frameSize) }

func compress(f File, size int) (File, error) {
	level := zstd.WithEncoderLevel(zstd.SpeedDefault) // and each frame says its size, which is what SingleSegment is for
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
	buf     []byte // the frame under way
	packed  []byte // what is still to be written of frames that are done
}

// Write takes p. Where it fails to write a frame that is full, what it took of p counts, and the
// next call goes on with the frame.
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

// twice is the size of the header that p begins with, if it stands there twice, as where a
// session begins; else 0.
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

// end ends the frame under way.
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

// Sync ends the frame under way and makes it durable.
func (c *compressor) Sync() error {
	if err := c.flush(); err != nil {
		return err
	}
	if err := c.end(); err != nil {
		return err
	}
	return c.f.Sync()
}

// Close writes the last frame and the seek table, and closes the file, whatever the error.
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
