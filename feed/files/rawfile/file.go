// Package rawfile is shared by the importers of venue and vendor files: it opens files that may be compressed,
// reads them in bounded memory, reports where they are damaged, and turns their contents into a [feed.Source].
package rawfile

import (
	"errors"
	"fmt"
	"io"
	"os"
	"sync/atomic"
)

// A File is an open file, unpacked while it is read. Only one goroutine may use it.
type File struct {
	// Path is as given to Open.
	Path string
	// Size is the size of the file on disk, in bytes.
	Size int64

	unpacked *Unpacked
	file     *os.File
}

// A Meter counts the bytes read from files on disk, compressed or not. Any goroutine may read it; a nil Meter
// counts nothing.
type Meter struct{ n atomic.Int64 }

// Bytes returns the number of bytes read.
func (m *Meter) Bytes() int64 {
	if m == nil {
		return 0
	}
	return m.n.Load()
}

// Reader returns r with its reads counted.
func (m *Meter) Reader(r io.Reader) io.Reader {
	if m == nil {
		return r
	}
	return &metered{r: r, m: m}
}

// ReaderAt returns r with its reads counted.
func (m *Meter) ReaderAt(r io.ReaderAt) io.ReaderAt {
	if m == nil {
		return r
	}
	return &meteredAt{r: r, m: m}
}

type meteredAt struct {
	r io.ReaderAt
	m *Meter
}

func (r *meteredAt) ReadAt(p []byte, off int64) (int, error) {
	n, err := r.r.ReadAt(p, off)
	r.m.n.Add(int64(n))
	return n, err
}

type metered struct {
	r io.Reader
	m *Meter
}

func (r *metered) Read(p []byte) (int, error) {
	n, err := r.r.Read(p)
	r.m.n.Add(int64(n))
	return n, err
}

// maxWindow is the greatest window that zstd's command line tool accepts by default.
const maxWindow = 128 << 20

// Open opens the file at path. It detects by the first bytes, whatever the name, whether the file is gzip,
// zstd, or a zip with one file of CSV or NDJSON, and unpacks it then (see [Unpack]). A directory is an error.
func Open(path string) (*File, error) { return OpenMetered(path, nil) }

// OpenMetered is Open with m counting the bytes read from the file.
func OpenMetered(path string, m *Meter) (*File, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil && info.IsDir() {
		err = fmt.Errorf("%s is a directory; name its files", path)
	}
	file := &File{Path: path, file: f}
	if err == nil {
		file.Size = info.Size()
		file.unpacked, err = Unpack(f, m)
		if err != nil && !errors.As(err, new(*os.PathError)) && !errors.As(err, new(*FormatError)) {
			err = fmt.Errorf("%s: %w", path, err)
		}
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return file, nil
}

// OpenReader reads r as Open reads a file, and calls it name in messages; m counts the bytes read. Close leaves
// r open.
func OpenReader(name string, r io.Reader, m *Meter) (*File, error) {
	u, err := Unpack(r, m)
	if err != nil {
		return nil, err
	}
	return &File{Path: name, unpacked: u}, nil
}

// Read implements [io.Reader].
func (f *File) Read(p []byte) (int, error) { return f.unpacked.Read(p) }

// Trailing is [Unpacked.Trailing].
func (f *File) Trailing() bool { return f.unpacked.Trailing() }

// Close releases the file's resources. It may be called more than once; the error is always nil.
func (f *File) Close() error {
	f.unpacked.Close()
	if f.file != nil {
		f.file.Close() // only read, so nothing is lost
	}
	return nil
}

// Head returns the first n bytes of the file at path, unpacked unless it is a zip, or fewer if the file is
// shorter. The importers' Recognise functions detect formats by it; n = [HeadSize] is enough for all of them.
func Head(path string, n int) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	magic := make([]byte, len(zipMagic))
	if k, err := f.ReadAt(magic, 0); err == nil && string(magic[:k]) == zipMagic {
		return HeadOf(f, n)
	}
	return HeadInZip(path, n)
}

// HeadInZip is Head, but unpacks zips too.
func HeadInZip(path string, n int) ([]byte, error) {
	f, err := Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return HeadOf(f, n)
}

// HeadOf returns the first n bytes of r, or fewer if it ends or fails before. An r that fails before its first byte, such as a
// compressed file that is cut off there, is an error.
func HeadOf(r io.Reader, n int) ([]byte, error) {
	head := make([]byte, n)
	k, err := io.ReadFull(r, head)
	if err == io.EOF || k > 0 {
		err = nil
	}
	return head[:k], err
}

// HeadSize is a number of bytes that is enough for any Recognise function.
const HeadSize = 16 << 10
