package rawfile

import (
	"archive/zip"
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

// An Unpacked reads the unpacked contents of a file. Only one goroutine may use it.
type Unpacked struct {
	r        io.Reader
	close    func() // of the decompressor
	packed   bool
	trailing *bool // set by the decompressor
}

// Unpack reads r, which its first bytes identify as gzip, zstd, a zip with one file of data, or none of these.
// A zip must be an *os.File, because its directory is at its end. Unpacking takes at most 128 MiB, with zstd's
// longest window. m counts the bytes read from r.
func Unpack(r io.Reader, m *Meter) (*Unpacked, error) {
	b := bufio.NewReaderSize(m.Reader(r), 64<<10)
	u := &Unpacked{r: b, close: func() {}, trailing: new(bool)}
	magic, err := b.Peek(4)
	if err != nil && err != io.EOF {
		return nil, err
	}
	switch {
	case bytes.HasPrefix(magic, gzipMagic):
		z, err := gzip.NewReader(b)
		if err != nil {
			return nil, err
		}
		z.Multistream(false)
		u.r, u.packed = &gzipMembers{z: z, b: b, trailing: u.trailing}, true
	case isZstd(magic):
		z, err := zstd.NewReader(b, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true),
			zstd.WithDecoderMaxMemory(maxWindow), zstd.WithDecoderMaxWindow(maxWindow))
		if err != nil {
			return nil, err
		}
		u.r, u.close, u.packed = &zstdFrames{z: z, trailing: u.trailing}, z.Close, true
	case string(magic) == zipMagic:
		f, ok := r.(*os.File)
		if !ok {
			break
		}
		member, err := openZip(f, m)
		if err != nil {
			return nil, err
		}
		u.r, u.close, u.packed = member, func() { member.Close() }, true // only read, so nothing is lost
	}
	return u, nil
}

// Read implements [io.Reader].
func (u *Unpacked) Read(p []byte) (int, error) { return u.r.Read(p) }

// Packed reports whether the file is compressed.
func (u *Unpacked) Packed() bool { return u.packed }

// Trailing reports, once Read has returned io.EOF, whether the compressed data is followed by bytes of another
// kind, as left by a collector or a tape. They are not read.
func (u *Unpacked) Trailing() bool { return *u.trailing }

// Close releases the decompressor's resources. It may be called more than once.
func (u *Unpacked) Close() {
	u.close()
	u.close = func() {}
}

// TrailingNote is the note that reports trailing data to people.
const TrailingNote = "bytes behind the end of the compressed data are not read"

const zipMagic = "PK\x03\x04"

var gzipMagic = []byte{0x1f, 0x8b}

func isZstd(magic []byte) bool {
	return bytes.Equal(magic, []byte{0x28, 0xb5, 0x2f, 0xfd}) || isZstdPadding(magic)
}

// isZstdPadding reports whether magic begins a frame that zstd skips.
func isZstdPadding(magic []byte) bool {
	return len(magic) == 4 && magic[0]&0xf0 == 0x50 && bytes.Equal(magic[1:], []byte{0x2a, 0x4d, 0x18})
}

// gzipMembers reads the members of a gzip file one after another, up to the first bytes that are not a member.
type gzipMembers struct {
	z        *gzip.Reader
	b        *bufio.Reader
	trailing *bool
}

func (g *gzipMembers) Read(p []byte) (int, error) {
	for {
		n, err := g.z.Read(p)
		if err != io.EOF {
			return n, err
		}
		magic, peekErr := g.b.Peek(len(gzipMagic))
		switch {
		case len(magic) == 0 && peekErr == io.EOF:
			return n, io.EOF
		case peekErr != nil && peekErr != io.EOF:
			return n, peekErr
		case !bytes.Equal(magic, gzipMagic):
			*g.trailing = true
			return n, io.EOF
		}
		if err := g.z.Reset(g.b); err != nil {
			return n, err
		}
		g.z.Multistream(false)
		if n > 0 {
			return n, nil
		}
	}
}

// zstdFrames reads the frames of a zstd file, up to the first bytes that are not a frame.
type zstdFrames struct {
	z        *zstd.Decoder
	n        int64 // bytes unpacked
	trailing *bool
}

func (z *zstdFrames) Read(p []byte) (int, error) {
	n, err := z.z.Read(p)
	z.n += int64(n)
	if errors.Is(err, zstd.ErrWindowSizeExceeded) || errors.Is(err, zstd.ErrDecoderSizeExceeded) {
		err = fmt.Errorf("it is compressed with a window, or as a single segment, of more than %d MiB: decompress it first, with zstd -d --long=31", maxWindow>>20)
	}
	// The decoder checks the magic number between frames only.
	if errors.Is(err, zstd.ErrMagicMismatch) && z.n > 0 {
		*z.trailing = true
		err = io.EOF
	}
	return n, err
}

// openZip opens the only file of data in the zip f.
func openZip(f *os.File, m *Meter) (io.ReadCloser, error) {
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, &FormatError{File: f.Name(), Reason: "is a zip in a pipe, where its directory cannot be read; unzip -p unpacks it into the pipe"}
	}
	z, err := zip.NewReader(m.ReaderAt(f), info.Size())
	if err != nil {
		return nil, &FormatError{File: f.Name(), Reason: "is a zip that is damaged or cut short: " + err.Error(), Err: err}
	}
	var files []*zip.File
	for _, member := range z.File {
		if isData(member) {
			files = append(files, member)
		}
	}
	if slices.ContainsFunc(z.File, func(member *zip.File) bool { return member.Name == "[Content_Types].xml" }) {
		return nil, &FormatError{File: f.Name(), Reason: "is a workbook of Excel, or another document of Office; save its table as CSV"}
	}
	if len(files) != 1 {
		return nil, &FormatError{File: f.Name(), Reason: fmt.Sprintf(
			"is a zip, but not one of LEAN's, and holds %d files of CSV or NDJSON, where one can be read; unzip it and name its files", len(files))}
	}
	member, err := OpenMember(files[0])
	if err != nil {
		return nil, &FormatError{File: f.Name(), Reason: fmt.Sprintf("is a zip whose file %.100q cannot be opened: %v", files[0].Name, err), Err: err}
	}
	return member, nil
}

// OpenMember opens a file in a zip. If the file is encrypted, the error says so.
func OpenMember(f *zip.File) (io.ReadCloser, error) {
	const encrypted = 1 << 0 // of the general purpose flags
	if f.Flags&encrypted != 0 {
		return nil, errEncrypted
	}
	return f.Open()
}

var errEncrypted = errors.New("it is encrypted; unpack it with its password")

// isData reports whether a file in a zip is data, rather than a note, a checksum, or an extra of the operating
// system.
func isData(f *zip.File) bool {
	name := strings.ToLower(path.Base(f.Name))
	if f.FileInfo().IsDir() || strings.HasPrefix(f.Name, "__MACOSX/") || strings.HasPrefix(name, ".") {
		return false
	}
	switch path.Ext(name) {
	case ".csv", ".tsv", ".ndjson", ".jsonl":
		return true
	}
	return false
}
