package recording

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"slices"
	"sync"

	"github.com/SaveTheRbtz/zstd-seekable-format-go/pkg"
	"github.com/klauspost/compress/zstd"
)

// An Input is a file opened for random access. If it is compressed with zstd, whatever its name, it reads as
// its contents. A file that is seekable, as [Compress] writes it, or made of frames that state their size, is
// decompressed frame by frame; any other is decompressed into a temporary file. A lost seek table is remade
// from the frames.
//
// Damage stays local: the part of a frame that cannot be decompressed reads as zeros, which a [Reader] reports
// as damaged, or as torn at the end.
//
// Several goroutines may read an Input at once. Besides the temporary file it takes two decompressed frames of
// at most 8 MiB, and 16 bytes for each frame of the file.
type Input struct {
	r    io.ReaderAt
	file *os.File        // to close; nil if the caller closes the file
	size int64           // length of the contents
	raw  int64           // length of the file
	ctx  context.Context // see SetContext; may be nil

	// Fields of a compressed file.
	compressed bool
	frames     []frame // the frames, and the end of the last one
	tail       int64   // zeros after the last frame, for bytes that are not a frame
	spill      *os.File
	decoder    *zstd.Decoder
	mu         sync.Mutex // guards the fields below
	cache      [2]decoded // most recently used first
	packed     []byte
}

// A frame is the offset of a frame in the file and in the contents.
type frame struct{ at, holds int64 }

type decoded struct {
	frame int // -1 for none
	data  []byte
}

// Bounds of compressed files.
const (
	maxFrame  = 8 << 20 // decompressed bytes of a frame that is read at random
	maxWindow = 8 << 20 // RFC 8878 recommends that every decoder support it
	maxRatio  = 4 << 10 // bytes per compressed byte; packets, with a checksum each, stay below
	maxBlock  = 128 << 10
	maxBlocks = 4 << 10 // of a frame that is read at random
	tornMark  = 64      // zeros in place of a lost end
)

// Open opens the recording at path, plain or compressed. It does not check that the file is a recording;
// [Input.Reader] does. The error is the operating system's, or says why compressed data cannot be read.
func Open(path string) (*Input, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil && info.IsDir() {
		err = fmt.Errorf("%s is a directory, not a recording", path)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	in, err := NewInput(f, info.Size())
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	in.file = f
	return in, nil
}

// NewInput returns an Input of the first size bytes of r, which the caller must close.
func NewInput(r io.ReaderAt, size int64) (*Input, error) {
	in := &Input{r: r, size: size, raw: size, cache: [2]decoded{{frame: -1}, {frame: -1}}}
	var magic [4]byte
	if n, err := r.ReadAt(magic[:], 0); err != nil && err != io.EOF {
		return nil, err
	} else if !IsCompressed(magic[:n]) {
		return in, nil
	}
	in.compressed = true
	decoder, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1),
		zstd.WithDecoderMaxMemory(maxFrame), zstd.WithDecoderMaxWindow(maxWindow))
	if err != nil {
		return nil, err
	}
	in.decoder = decoder
	if err := in.locate(); err != nil {
		in.Close()
		return nil, err
	}
	return in, nil
}

// IsCompressed reports whether head, the first bytes of a file, begins zstd data.
func IsCompressed(head []byte) bool {
	if len(head) < 4 {
		return false
	}
	magic := binary.LittleEndian.Uint32(head)
	return magic == zstdMagic || magic&^0xf == skippableMagic
}

const (
	zstdMagic      = 0xfd2fb528
	skippableMagic = 0x184d2a50
	seekableMagic  = 0x8f92eab1
)

// Size returns the length of the recording in bytes, decompressed.
func (in *Input) Size() int64 { return in.size }

// FileSize returns the length of the file in bytes.
func (in *Input) FileSize() int64 { return in.raw }

// Compressed reports whether the file is compressed.
func (in *Input) Compressed() bool { return in.compressed }

// SetContext makes Readers of the Input return the error of ctx once ctx is done, if they search damaged bytes, which may be many,
// for the next intact message. It must be called before Reader.
func (in *Input) SetContext(ctx context.Context) { in.ctx = ctx }

// Reader returns a new Reader of the recording; the errors are those of [NewReader].
func (in *Input) Reader() (*Reader, error) { return NewReader(in, in.size) }

// Close releases the Input's resources, and closes the file if Open opened it.
func (in *Input) Close() error {
	if in.decoder != nil {
		in.decoder.Close()
	}
	if in.spill != nil {
		remove(in.spill)
	}
	if in.file != nil {
		return in.file.Close()
	}
	return nil
}

func remove(f *os.File) {
	f.Close()
	os.Remove(f.Name())
}

// ReadAt implements io.ReaderAt.
func (in *Input) ReadAt(p []byte, off int64) (int, error) {
	switch {
	case off < 0:
		return 0, errors.New("recording: negative offset")
	case off >= in.size:
		return 0, io.EOF
	}
	most := int(min(int64(len(p)), in.size-off))
	n, err := in.readAt(p[:most], off)
	if err == nil && n < len(p) {
		err = io.EOF
	}
	return n, err
}

func (in *Input) readAt(p []byte, off int64) (int, error) {
	if !in.compressed {
		return in.r.ReadAt(p, off)
	}
	if in.spill != nil {
		return in.spill.ReadAt(p, off)
	}
	in.mu.Lock()
	defer in.mu.Unlock()
	n := 0
	i, found := slices.BinarySearchFunc(in.frames, off, func(f frame, off int64) int {
		return int(min(1, max(-1, f.holds-off)))
	})
	if !found {
		i--
	}
	for n < len(p) {
		for i+1 < len(in.frames) && in.frames[i+1].holds <= off {
			i++ // empty frames
		}
		if i+1 >= len(in.frames) { // the tail
			clear(p[n:])
			return len(p), nil
		}
		data, err := in.decode(i)
		if err != nil {
			return n, err
		}
		part := copy(p[n:], data[off-in.frames[i].holds:])
		n, off = n+part, off+int64(part)
	}
	return n, nil
}

// decode returns the contents of frame i; bytes that cannot be decompressed are zeros.
func (in *Input) decode(i int) ([]byte, error) {
	if in.cache[0].frame == i {
		return in.cache[0].data, nil
	}
	in.cache[0], in.cache[1] = in.cache[1], in.cache[0]
	c := &in.cache[0]
	if c.frame == i {
		return c.data, nil
	}
	c.frame = -1
	from, to := in.frames[i], in.frames[i+1]
	in.packed = slices.Grow(in.packed[:0], int(to.at-from.at))[:to.at-from.at]
	if n, err := in.r.ReadAt(in.packed, from.at); n < len(in.packed) {
		if err == nil || err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		return nil, fmt.Errorf("at byte %d: %w", from.at, err)
	}
	holds := int(to.holds - from.holds)
	data, _ := in.decoder.DecodeAll(in.packed, slices.Grow(c.data[:0], holds+64)) // damage reads as zeros
	good := min(len(data), holds)
	c.data = slices.Grow(data[:good], holds-good)[:holds]
	clear(c.data[good:])
	c.frame = i
	return c.data, nil
}

// locate finds the frames, or makes the temporary file if they cannot be read at random.
func (in *Input) locate() error {
	if in.loadTable() {
		return nil
	}
	ok, err := in.walk()
	if err != nil {
		return err
	}
	if ok {
		last := in.frames[len(in.frames)-1]
		in.size = last.holds + in.tail
		return nil
	}
	in.frames, in.tail = nil, 0
	return in.decompress()
}

// loadTable reads the seek table at the end of the file, if there is a plausible one.
func (in *Input) loadTable() bool {
	var footer [9]byte
	if n, _ := in.r.ReadAt(footer[:], max(0, in.raw-int64(len(footer)))); n < len(footer) ||
		binary.LittleEndian.Uint32(footer[5:]) != seekableMagic {
		return false
	}
	entry := int64(8)
	if footer[4]&0x80 != 0 {
		entry = 12
	}
	size := 8 + entry*int64(binary.LittleEndian.Uint32(footer[:])) + int64(len(footer))
	if size > in.raw {
		return false
	}
	raw := make([]byte, size)
	if n, _ := in.r.ReadAt(raw, in.raw-size); int64(n) < size {
		return false
	}
	table, err := seekable.NewSeekTable(raw)
	if err != nil {
		return false
	}
	frames := make([]frame, 1, table.NumFrames()+1)
	for i := range table.NumFrames() {
		e, _ := table.EntryByID(i)
		last := frames[len(frames)-1]
		if !plausible(int64(e.CompressedSize), uint64(e.DecompressedSize)) {
			return false
		}
		frames = append(frames, frame{last.at + int64(e.CompressedSize), last.holds + int64(e.DecompressedSize)})
	}
	last := frames[len(frames)-1]
	if last.at != in.raw-size {
		return false
	}
	in.frames, in.size = frames, last.holds
	return true
}

// plausible reports whether a frame of packed bytes may hold that many bytes.
func plausible(packed int64, holds uint64) bool {
	return holds <= maxFrame && packed <= 2*maxFrame && holds <= maxRatio*uint64(packed)
}

// walk finds the frames by their headers and those of their blocks. It returns false if a frame does not state
// its size, or is too large to read at random.
func (in *Input) walk() (bool, error) {
	s := scan{r: in.r, size: in.raw}
	in.frames = []frame{{}}
	holds := int64(0)
	for at := int64(0); at < in.raw; {
		f, err := s.frame(at)
		switch {
		case err != nil:
			return false, err
		case f.kind == frameSizeless, f.kind == frameData && f.holds > maxFrame:
			return false, nil
		case f.kind == frameDamaged: // the next frame is found by its magic number
			if f.end, err = s.search(at + 1); err != nil {
				return false, err
			}
			if !plausible(f.end-at, f.holds) {
				f.holds = 0
			}
			if f.holds == 0 && f.end == in.raw {
				in.tail = tornMark
			}
		case f.kind == frameData:
			f.holds = min(f.holds, maxRatio*uint64(f.end-at))
		}
		at = f.end
		holds += int64(f.holds)
		in.frames = append(in.frames, frame{at, holds})
	}
	return true, nil
}

// decompress makes the temporary file.
func (in *Input) decompress() error {
	spill, err := os.CreateTemp("", "tickfeed-*.tick")
	if err != nil {
		return fmt.Errorf("decompress to a temporary file: %w", err)
	}
	in.spill = spill
	_ = os.Remove(spill.Name()) // so that nothing is left if the process is killed; some systems remove no open file
	stream, err := zstd.NewReader(io.NewSectionReader(in.r, 0, in.raw), zstd.WithDecoderConcurrency(1),
		zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(maxWindow))
	if err != nil {
		return err
	}
	defer stream.Close()
	most := int64(math.MaxInt64)
	if in.raw < most/maxRatio {
		most = in.raw * maxRatio
	}
	from := &remember{r: stream}
	n, err := io.Copy(spill, io.LimitReader(from, most))
	switch {
	case errors.Is(from.err, zstd.ErrWindowSizeExceeded), errors.Is(from.err, zstd.ErrDecoderSizeExceeded):
		return fmt.Errorf("compressed with a window, or as a single segment, of more than %d MiB (zstd --long or --ultra): decompress it first, with zstd -d --long=31", maxWindow>>20)
	case from.err != nil: // damaged or cut off: the data before the error is good
		n, err = n+tornMark, spill.Truncate(n+tornMark)
	}
	if err != nil {
		return fmt.Errorf("decompress to a temporary file: %w", err)
	}
	in.size = n
	return nil
}

// A remember records the errors of a reader, to distinguish them from those of the writer it is copied to.
type remember struct {
	r   io.Reader
	err error
}

func (m *remember) Read(p []byte) (int, error) {
	n, err := m.r.Read(p)
	if err != nil && err != io.EOF {
		m.err = err
	}
	return n, err
}

// A scan reads the structure of a zstd file (RFC 8878, section 3.1).
type scan struct {
	r    io.ReaderAt
	size int64
	buf  []byte
	at   int64 // offset of buf
}

// Kinds of frames.
const (
	frameDamaged   = iota // its end is not known
	frameData             // with known size of contents
	frameSkippable        // without contents
	frameSizeless         // does not state its size, or has very many blocks
)

type found struct {
	kind  int
	end   int64
	holds uint64 // of a damaged frame: as stated by its header
}

// window returns at least want bytes at pos, or all bytes that there are.
func (s *scan) window(pos int64, want int) ([]byte, error) {
	if pos >= s.at && pos+int64(want) <= s.at+int64(len(s.buf)) {
		return s.buf[pos-s.at:], nil
	}
	if s.buf == nil {
		s.buf = make([]byte, 64<<10)
	}
	s.buf, s.at = s.buf[:cap(s.buf)], pos
	n, err := s.r.ReadAt(s.buf, pos)
	if pos+int64(n) > s.size {
		n = int(max(0, s.size-pos))
	}
	s.buf = s.buf[:n]
	if err == io.EOF {
		err = nil
	}
	return s.buf, err
}

// frame reads the frame at pos, as far as possible without decompressing.
func (s *scan) frame(pos int64) (found, error) {
	p, err := s.window(pos, zstd.HeaderMaxSize)
	if err != nil {
		return found{}, err
	}
	var h zstd.Header
	if h.Decode(p) != nil {
		return found{}, nil
	}
	if h.Skippable {
		end := pos + int64(h.HeaderSize) + int64(h.SkippableSize)
		if end > s.size {
			return found{}, nil
		}
		return found{kind: frameSkippable, end: end}, nil
	}
	damaged := found{holds: h.FrameContentSize}
	f := found{kind: frameData, end: pos + int64(h.HeaderSize), holds: h.FrameContentSize}
	blocks := uint64(0)
	for last := false; !last; blocks++ {
		if p, err = s.window(f.end, 3); err != nil {
			return found{}, err
		}
		if len(p) < 3 {
			return damaged, nil
		}
		block := int64(p[0]) | int64(p[1])<<8 | int64(p[2])<<16
		last = block&1 != 0
		size := block >> 3
		if size > maxBlock {
			return damaged, nil
		}
		switch block >> 1 & 3 {
		case 1: // one byte, repeated
			size = 1
		case 3: // reserved
			return damaged, nil
		}
		if blocks == maxBlocks {
			return found{kind: frameSizeless}, nil
		}
		f.end += 3 + size
	}
	if h.HasCheckSum {
		f.end += 4
	}
	if f.end > s.size || h.HasFCS && h.FrameContentSize > blocks*maxBlock {
		return damaged, nil
	}
	if f.end < s.size { // the next frame shows whether the header is right
		if p, err = s.window(f.end, 4); err != nil || !IsCompressed(p) {
			return damaged, err
		}
	}
	if !h.HasFCS {
		f.kind = frameSizeless
	}
	return f, nil
}

// search returns the offset at or after pos of the next frame that is whole, or the end of the file.
func (s *scan) search(pos int64) (int64, error) {
	for pos+4 <= s.size {
		p, err := s.window(pos, 4)
		if err != nil {
			return 0, err
		}
		for i := 0; i+4 <= len(p); i++ {
			if p[i] != zstdMagic&0xff || binary.LittleEndian.Uint32(p[i:]) != zstdMagic {
				continue
			}
			at := pos + int64(i)
			if f, err := s.frame(at); err != nil || f.kind == frameData {
				return at, err
			}
			if p, err = s.window(pos, 4); err != nil {
				return 0, err
			}
			if i+4 > len(p) {
				break
			}
		}
		pos += int64(len(p)) - 3
	}
	return s.size, nil
}
