// Package rawfile is what the importers of venue and vendor files share: opening files that
// may be compressed, reading them in bounded memory, saying where they are damaged, and
// giving what they hold to a publisher as a [feed.Source].
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
	// Size is that of the file as it lies on disk, in bytes.
	Size int64

	unpacked *Unpacked
	file     *os.File
}

// A Meter counts the bytes that are read of files as they lie on disk, packed or not. Any
// goroutine may read it; a nil Meter counts nothing.
type Meter struct{ n atomic.Int64 }

// Bytes is how many bytes were read.
func (m *Meter) Bytes() int64 {
	if m == nil {
		return 0
	}
	return m.n.Load()
}

// Reader is r with what is read of it counted.
func (m *Meter) Reader(r io.Reader) io.Reader {
	if m == nil {
		return r
	}
	return &metered{r: r, m: m}
}

// ReaderAt is r with what is read of it counted.
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

// maxWindow is zstd's greatest window, what its own command line tool unpacks by default.
const maxWindow = 128 << 20

// Open opens the file at path. It is told from its first bytes, whatever it is called,
// whether it is gzip, zstd, or a zip with one file of CSV or NDJSON; it is unpacked then (see [Unpack]).
// A directory is an error.
func Open(path string) (*File, error) { return OpenMetered(path, nil) }

// OpenMetered is Open with what is read of the file counted by m.
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

// Read implements [io.Reader].
func (f *File) Read(p []byte) (int, error) { return f.unpacked.Read(p) }

// Trailing is [Unpacked.Trailing].
func (f *File) Trailing() bool { return f.unpacked.Trailing() }

// Close frees what the file holds. It may be called more than once; the error is always nil.
func (f *File) Close() error {
	f.unpacked.Close()
	f.file.Close() // it was only read: nothing is lost
	return nil
}

// Head is the first n bytes of the file at path, unpacked unless it is a zip, fewer if it holds
// fewer: what the importers' Recognise functions tell a format by. n = [HeadSize] is enough for all.
func Head(path string, n int) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	magic := make([]byte, len(zipMagic))
	if k, err := f.ReadAt(magic, 0); err == nil && string(magic[:k]) == zipMagic {
		return firstBytes(f, n)
	}
	return HeadInZip(path, n)
}

// HeadInZip is Head, of what a zip holds too.
func HeadInZip(path string, n int) ([]byte, error) {
	f, err := Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return firstBytes(f, n)
}

func firstBytes(f io.Reader, n int) ([]byte, error) {
	head := make([]byte, n)
	k, err := io.ReadFull(f, head)
	if errors.Is(err, io.ErrUnexpectedEOF) || err == io.EOF || k > 0 {
		err = nil
	}
	return head[:k], err
}

// HeadSize is how many bytes of a file are enough for any Recognise function.
const HeadSize = 16 << 10
