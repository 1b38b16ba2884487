package recording

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"iter"
	"slices"
	"sync"

	"tickfeed/codec"
	"tickfeed/codec/recording/place"
	"tickfeed/feed"
)

// A Reader reads a recording from its beginning to its end, or from the place set by [Reader.SeekSeq] or
// [Reader.SeekTime], and skips damaged parts. Whatever the bytes are, it ends, does not panic, and takes no
// more memory than a buffer of 256 KiB, a few messages and a mark for each 256 KiB of the file. Only one
// goroutine may use it.
type Reader struct {
	r    io.ReaderAt
	size int64 // of the file, or of the part of it that may be read

	buf   []byte // nil until it is needed, short until more than a header is needed
	at    int64  // offset of buf[0] in the file
	n     int    // number of bytes read into buf
	ahead int    // least size of a window's reads: it grows while the Reader reads on

	pos    int64 // offset of the next item
	header *codec.FileHeader
	raw    []byte // the wire form of header
	seed   uint32
	first  uint32       // seed of the file's first header
	next   uint64       // the next number
	last   int64        // publish time of the last packet read
	begun  bool         // Next has returned the header in force
	lost   bool         // next is not known: the header that states it is damaged
	orphan bool         // snapshot parts may be at pos without a snapshot begin
	closed bool         // a trailer was read
	dense  bool         // packets are small: see peek
	marks  []codec.Mark // the index; nil until it is needed

	// These fields become the index if the whole file is read.
	passed []codec.Mark
	mark   codec.Mark // the last header passed; its time is set by the next packet
	marked bool
	whole  bool // nothing was skipped since the beginning
}

// bufferSize is the size of a Reader's buffer, at least the greatest message.
const bufferSize = 256 << 10

var buffers = sync.Pool{New: func() any { return new([bufferSize]byte) }}

// ErrNoHeader is returned if the bytes have no intact header of a recording.
var ErrNoHeader = errors.New("not a recording: no file header")

// A VersionError reports a recording with another version of the format.
type VersionError struct{ Version uint64 }

func (e *VersionError) Error() string {
	return fmt.Sprintf("recording of version %d, written by a newer tickfeed: this one reads version %d, so use the newer one", e.Version, codec.Version)
}

// NewReader returns a Reader of the first size bytes of r. The error is ErrNoHeader, a
// *VersionError, or r's.
func NewReader(r io.ReaderAt, size int64) (*Reader, error) {
	x := &Reader{r: r, size: size}
	return x, x.rewind()
}

// Again returns a Reader of the first size bytes of the same file, at its beginning. r must be at the
// beginning, too: the bytes that it read there are not read again.
func (r *Reader) Again(size int64) *Reader {
	x := *r
	x.size, x.buf, x.n, x.raw = size, nil, 0, slices.Clone(r.raw)
	return &x
}

// rewind goes to the beginning.
func (r *Reader) rewind() error {
	r.pos, r.last, r.lost, r.orphan, r.closed = 0, place.NoTime, false, false, false
	r.passed, r.marked, r.whole = nil, false, r.marks == nil
	h, raw, err := r.headerAt(0)
	if err != nil {
		return err
	}
	if h == nil {
		found, err := r.search(0, nil)
		if err != nil {
			return err
		}
		if h = found.header; h == nil {
			return ErrNoHeader
		}
		r.lost = true // damage will be reported before it
	}
	r.enter(h, raw)
	r.first = r.seed
	if r.lost {
		r.next = 1
	}
	return checkVersion(h)
}

func checkVersion(h *codec.FileHeader) error {
	if h.Version != codec.Version {
		return &VersionError{h.Version}
	}
	return nil
}

// enter puts h in force; raw is its wire form, or nil.
func (r *Reader) enter(h *codec.FileHeader, raw []byte) {
	r.raw = append(r.raw[:0], raw...)
	r.header, r.seed, r.next, r.begun = h, h.Seed, h.Next, false
}

// Header returns the header in force; after NewReader, the first one. A header does not change; another one
// replaces it.
func (r *Reader) Header() *codec.FileHeader { return r.header }

// NextSeq returns the next number, in the session of Header.
func (r *Reader) NextSeq() uint64 { return r.next }

// LastTime returns the publish time of the last packet read, or the least int64 if there is none.
func (r *Reader) LastTime() int64 { return r.last }

// Offset returns the offset of the next item in the file.
func (r *Reader) Offset() int64 { return r.pos }

// Closed reports whether the recording was read to its end and closed in order.
func (r *Reader) Closed() bool { return r.closed }

// Size returns the size of the file in bytes.
func (r *Reader) Size() int64 { return r.size }

// Grow sets the size of the file to size bytes, which must not be less than before.
func (r *Reader) Grow(size int64) { r.size = size }

// A Kind is the kind of an Item.
type Kind uint8

// The kinds of items.
const (
	KindHeader   Kind = 1 + iota // a session, or a line of it, begins with Header
	KindSnapshot                 // the state as of Range.From; see Reader.State
	KindPackets                  // a run of packets that cover Range without a gap
	KindDamage                   // unusable bytes; the numbers Range are missing
	KindTorn                     // like KindDamage, at the end of the file: nothing valid follows
)

// An Item is one result of Reader.Next.
type Item struct {
	Kind         Kind
	Offset, Size int64 // the bytes in the file; a damage may have none, if packets are absent
	// Range is the numbers of the packets, in the session of the header in force, or the missing numbers. No
	// numbers are missing if only a mark or the index is damaged; at a torn end the missing numbers are not
	// known.
	Range  feed.Range
	Header *codec.FileHeader
	// Data is the packets, verbatim, with verified checksums. It is valid until the next call of a method of
	// the Reader.
	Data []byte
	// Whole is true for a snapshot without missing parts.
	Whole bool
}

// Packets yields the packets of a run: the header and the bytes of each whole packet.
func Packets(run []byte) iter.Seq2[codec.Packet, []byte] {
	return func(yield func(codec.Packet, []byte) bool) {
		for len(run) > 0 {
			n := codec.PacketSize(run)
			if n == 0 || n > len(run) || !yield(codec.PacketAt(run), run[:n:n]) {
				return
			}
			run = run[n:]
		}
	}
}

// Next returns the next item. The error is io.EOF at the end, or comes from the underlying reader. After io.EOF
// Next may be called again once the file has grown.
func (r *Reader) Next() (Item, error) {
	if !r.begun {
		r.begun = true
		return Item{Kind: KindHeader, Offset: r.pos, Header: r.header}, nil
	}
	for {
		p := r.held(r.pos) // as after a walk
		run, to := r.run(p)
		if run == 0 {
			var err error
			if p, err = r.window(r.pos, codec.MaxMessage); err != nil {
				return Item{}, err
			}
			run, to = r.run(p)
		}
		if len(p) == 0 {
			return Item{}, r.end()
		}
		if run > 0 {
			item := Item{
				Kind: KindPackets, Offset: r.pos, Size: int64(run),
				Range: feed.Range{From: r.next, To: to}, Data: p[:run:run],
			}
			r.passPacket(codec.PacketAt(p))
			r.pos += int64(run)
			r.next, r.orphan = to, false
			return item, nil
		}
		if h, n := r.headerOf(p); h != nil && checkVersion(h) == nil {
			if !r.sameLine(h) && !(r.continuedBy(h) && h.Next > r.next) {
				r.passHeader(h)
				r.pos += int64(n)
				r.enter(h, p[:n])
				r.begun, r.orphan = true, true
				return Item{Kind: KindHeader, Offset: r.pos - int64(n), Size: int64(n), Header: h}, nil
			}
			if r.sameLine(h) && h.Next == r.next {
				r.orphan = r.orphan || r.pos == 0
				r.passHeader(h)
				r.pos += int64(n)
				continue
			}
		}
		if item, ok, err := r.snapshot(p); ok || err != nil {
			return item, err
		}
		if t := r.trailerOf(r.pos); t != nil {
			return r.finish(t)
		}
		return r.damage()
	}
}

// passHeader records that header h is at pos, for the index.
func (r *Reader) passHeader(h *codec.FileHeader) {
	if r.whole && !r.marked {
		r.mark, r.marked = codec.Mark{Seq: h.Next, Offset: uint64(r.pos)}, true
	}
}

// passPacket records the first packet after a header, for the index.
func (r *Reader) passPacket(h codec.Packet) {
	if !r.marked {
		return
	}
	r.marked = false
	if i := len(r.passed); i == 0 || r.mark.Offset >= r.passed[i-1].Offset+MarkInterval {
		r.mark.Time = h.PublishTime
		r.passed = append(r.passed, r.mark)
	}
}

// end records that the end of the file is reached, and returns io.EOF.
func (r *Reader) end() error {
	if r.whole && r.marks == nil {
		r.marks = slices.Clip(r.passed)
		if r.marks == nil {
			r.marks = []codec.Mark{}
		}
	}
	return io.EOF
}

// run returns the size of the packets at the beginning of p that join, and the number after them.
func (r *Reader) run(p []byte) (size int, next uint64) {
	next = r.next
	for {
		n := codec.PacketSize(p[size:])
		if n == 0 || n > len(p)-size || !codec.VerifyPacket(p[size:size+n], r.seed) {
			return size, next
		}
		h, _, err := codec.ParsePacket(p[size : size+n])
		if err != nil || h.First != next {
			return size, next
		}
		r.last = h.PublishTime
		next += h.Count
		size += n
	}
}

// sameLine reports whether h continues the line of the header in force.
func (r *Reader) sameLine(h *codec.FileHeader) bool {
	return h.Seed == r.seed && h.Lineage.Current() == r.header.Lineage.Current()
}

// continuedBy reports whether h is a header of the session in force or of a descendant.
func (r *Reader) continuedBy(h *codec.FileHeader) bool {
	_, ok := h.Lineage.Until(r.header.Lineage.Current().ID)
	return ok
}

// damage skips from pos to the next message that joins or follows.
func (r *Reader) damage() (Item, error) {
	found, err := r.search(r.pos, r.header)
	if err != nil {
		return Item{}, err
	}
	item := Item{Kind: KindDamage, Offset: r.pos, Size: found.at - r.pos, Range: feed.Range{From: r.next, To: max(r.next, found.next)}}
	if r.lost {
		item.Range.From = item.Range.To
	}
	if found.at == r.size {
		item.Kind = KindTorn
	} else {
		r.lost = false
	}
	r.pos, r.next = found.at, item.Range.To
	r.orphan = r.orphan || found.header != nil
	return item, nil
}

// finish reads the index at pos, which ends with trailer t. A bad index is only reported.
func (r *Reader) finish(t *codec.Trailer) (Item, error) {
	item := Item{Kind: KindDamage, Offset: r.pos, Size: r.size - r.pos, Range: feed.Range{From: r.next, To: r.next}}
	sound := t.Next == r.next && (r.last == place.NoTime || t.LastTime == r.last)
	end := r.size - codec.TrailerSize
	for r.pos < end {
		p, err := r.window(r.pos, codec.MaxMessage)
		if err != nil {
			return Item{}, err
		}
		n := sealedSize(p, codec.TypeIndex)
		sound = sound && n > 0
		if n == 0 {
			break
		}
		r.pos += int64(n)
	}
	sound = sound && r.pos == end
	r.pos, r.closed = r.size, true
	if !sound {
		return item, nil
	}
	return Item{}, r.end()
}

// headerOf returns the file header at the beginning of p, and its size, or nil if there is none with a valid
// checksum.
func (r *Reader) headerOf(p []byte) (*codec.FileHeader, int) {
	n := sealedSize(p, codec.TypeFile)
	if n == 0 {
		return nil, 0
	}
	if bytes.Equal(p[:n], r.raw) {
		return r.header, n
	}
	m, err := codec.Decode(p[:n])
	if err != nil {
		return nil, 0
	}
	return m.(*codec.FileHeader), n
}

// trailerOf returns the trailer at the end of the file, if the index that it names begins at pos.
func (r *Reader) trailerOf(pos int64) *codec.Trailer {
	t, err := r.readTrailer()
	if err != nil || t == nil || int64(t.IndexOffset) != pos {
		return nil
	}
	return t
}

// readTrailer reads the trailer at the end of the file, without changing the buffer.
func (r *Reader) readTrailer() (*codec.Trailer, error) {
	if r.size < codec.TrailerSize {
		return nil, nil
	}
	var p [codec.TrailerSize]byte
	if n, err := r.r.ReadAt(p[:], r.size-codec.TrailerSize); n < len(p) {
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		return nil, err
	}
	m, err := codec.Decode(p[:])
	if err != nil {
		return nil, nil
	}
	t, ok := m.(*codec.Trailer)
	if !ok || int64(t.IndexOffset) > r.size-codec.TrailerSize {
		return nil, nil
	}
	return t, nil
}

// window returns the bytes at pos: at least want of them or all that there are, with the rest of the buffer.
func (r *Reader) window(pos int64, want int) ([]byte, error) {
	if left := r.size - pos; left < int64(want) {
		want = int(max(left, 0))
	}
	if p := r.held(pos); len(p) >= want {
		return p, nil
	}
	r.ahead = min(max(2*r.ahead, codec.MaxMessage), bufferSize)
	return r.read(pos, r.ahead, want)
}

// held returns the part of the buffer that begins at pos.
func (r *Reader) held(pos int64) []byte {
	if pos < r.at || pos >= r.at+int64(r.n) {
		return nil
	}
	return r.buf[pos-r.at : r.n]
}

// read fills the buffer with most bytes at pos, or all that there are; at least want bytes must exist.
func (r *Reader) read(pos int64, most, want int) ([]byte, error) {
	n := int(max(0, min(int64(most), r.size-pos)))
	switch {
	case len(r.buf) >= n:
	case n <= peekSize:
		r.buf = make([]byte, peekSize)
	default:
		r.buf = buffers.Get().(*[bufferSize]byte)[:]
	}
	r.at, r.n = pos, 0
	got, err := r.r.ReadAt(r.buf[:n], pos)
	r.n = got
	if got >= want && (err == nil || err == io.EOF) {
		return r.buf[:got], nil
	}
	if err == nil || err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return nil, fmt.Errorf("at byte %d: %w", pos, err)
}

// Trailer returns the trailer of a recording that was closed in order, otherwise nil. It is not yet compared
// with the packets.
func (r *Reader) Trailer() *codec.Trailer {
	t, err := r.readTrailer()
	if err != nil {
		return nil
	}
	return t
}

// Release returns the buffer to the pool. The Reader stays usable, but results of Next are no longer valid.
func (r *Reader) Release() {
	if len(r.buf) == bufferSize {
		buffers.Put((*[bufferSize]byte)(r.buf))
	}
	r.buf, r.n = nil, 0
}

// Return moves the Reader back before the run that the last Next returned.
func (r *Reader) Return(item Item) {
	r.pos, r.next = item.Offset, item.Range.From
}
