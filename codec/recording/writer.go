package recording

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
	"slices"

	"tickfeed/codec"
	"tickfeed/codec/recording/place"
	"tickfeed/feed"
)

// A Writer appends to a recording. Only one goroutine may use it.
type Writer struct {
	f      File
	header codec.FileHeader
	size   int64 // bytes written, also of an append that is not complete
	end    int64 // bytes of complete appends
	next   uint64
	last   int64        // publish time of the last packet
	marks  []codec.Mark // only ever appended to
	marked int64        // where the newest mark's header begins

	// The fields below are the unfinished part of an interrupted append.
	pending []byte // part of scratch that must be written first
	done    int    // bytes of p already written
	until   int    // bytes of p before the next mark
	scratch []byte
}

// A File is the file that a Writer needs; *os.File implements it.
type File interface {
	io.Writer
	Sync() error
	Close() error
}

// MarkInterval is the least, and approximate, number of bytes between two marks. Seeking walks from a mark, for
// 128 KiB on average; each mark costs a write and a header of about 100 bytes.
const MarkInterval = 256 << 10

// NewWriter begins a recording in f, which must be empty and then belongs to the Writer: it writes the header h
// and, if h.Next exceeds 1, a snapshot of state, the state as of h.Next. If NewWriter returns an error, f
// contains no recording; it is not closed.
func NewWriter(f File, h codec.FileHeader, state *feed.State) (*Writer, error) {
	w := &Writer{f: f, last: place.NoTime}
	if err := w.prepare(h, state); err != nil {
		return nil, err
	}
	if err := w.flush(); err != nil {
		return nil, err
	}
	w.end = w.size
	return w, nil
}

// Continue begins another session, or a line with another filter, in the same recording: it writes h and a
// snapshot of state, or no snapshot if state is nil. If it fails, the caller may call it again with the same
// arguments to resume where it stopped, but must not call any other method before.
func (w *Writer) Continue(h codec.FileHeader, state *feed.State) error {
	if len(w.pending) == 0 {
		h.Created = w.header.Created
		if err := w.prepare(h, state); err != nil {
			return err
		}
	}
	if err := w.flush(); err != nil {
		return err
	}
	w.end = w.size
	return nil
}

// prepare puts the beginning of a session into pending: the header twice, so that a single bad byte never hides
// the session, and the snapshot.
func (w *Writer) prepare(h codec.FileHeader, state *feed.State) error {
	h.Version = codec.Version
	out, err := appendSealed(w.scratch[:0], &h)
	if err != nil {
		return err
	}
	out = append(out, out...)
	if state != nil && h.Next > 1 {
		begin := codec.SnapshotBegin{Seq: h.Next, Scope: codec.ScopeAll}
		if out, err = codec.AppendSnapshot(out, &begin, state.Entries(nil), h.Seed); err != nil {
			return err
		}
	}
	w.pending = out
	if cap(w.scratch) == 0 || len(out) <= maxScratch {
		w.scratch = out[:0]
	}
	w.header, w.next, w.marked = h, h.Next, w.size
	return nil
}

const maxScratch = 64 << 10

// Append writes p, whole sealed packets that join and begin at Next. next is the number after them and lastTime
// the publish time of the last one. It makes one Write, and about one more every 256 KiB. It allocates only for
// marks.
//
// If Append fails, it may have written some bytes of p. The caller must then call it again with the same p: it
// resumes at the byte where it stopped. The error is the file's, or io.ErrShortWrite.
func (w *Writer) Append(p []byte, next uint64, lastTime int64) error {
	for {
		switch {
		case len(w.pending) > 0:
			if err := w.flush(); err != nil {
				return err
			}
		case w.done < w.until:
			n, err := w.write(p[w.done:w.until])
			w.done += n
			if err != nil {
				return err
			}
		case w.done == len(p):
			w.done, w.until = 0, 0
			w.end, w.next, w.last = w.size, next, lastTime
			return nil
		case len(w.marks) == 0 || w.size-w.marked >= MarkInterval:
			if err := w.mark(p[w.done:]); err != nil {
				return err
			}
		default:
			w.until += w.run(p[w.done:])
		}
	}
}

// mark adds the next packet to the index and makes its header precede it.
func (w *Writer) mark(p []byte) error {
	first := packetAt(p)
	if len(w.marks) == 0 { // the header at the beginning of the file
		w.marks = append(w.marks, codec.Mark{Seq: first.First, Time: first.PublishTime})
		return nil
	}
	h := w.header
	h.Next = first.First
	out, err := appendSealed(w.scratch[:0], &h)
	if err != nil {
		return err
	}
	w.marks = append(w.marks, codec.Mark{Seq: first.First, Time: first.PublishTime, Offset: uint64(w.size)})
	w.pending, w.scratch, w.marked = out, out[:0], w.size
	return nil
}

// run returns how many bytes of p, all or whole packets, precede the next mark.
func (w *Writer) run(p []byte) int {
	room := w.marked + MarkInterval - w.size
	if int64(len(p)) <= room {
		return len(p)
	}
	n := 0
	for n < len(p) && int64(n) < room {
		packetAt(p[n:])
		n += codec.PacketSize(p[n:])
	}
	return min(n, len(p))
}

func packetAt(p []byte) codec.Packet {
	if codec.PacketSize(p) == 0 {
		panic("recording: internal error: Append was not given whole packets")
	}
	return codec.PacketAt(p)
}

func (w *Writer) flush() error {
	n, err := w.write(w.pending)
	w.pending = w.pending[n:]
	return err
}

func (w *Writer) write(p []byte) (int, error) {
	n, err := w.f.Write(p)
	w.size += int64(n)
	if err == nil && n < len(p) {
		err = io.ErrShortWrite
	}
	return n, err
}

// Next returns the number after the last one appended.
func (w *Writer) Next() uint64 { return w.next }

// LastTime returns the publish time of the last packet appended, or the least int64 if there is none.
func (w *Writer) LastTime() int64 { return w.last }

// Size returns the length of the complete appends in bytes.
func (w *Writer) Size() int64 { return w.end }

// Marks returns the index so far. It belongs to the Writer, which only appends to it: a reader on another
// goroutine may continue to use the slice that it was given.
func (w *Writer) Marks() []codec.Mark { return slices.Clip(w.marks) }

// Header returns the header in force.
func (w *Writer) Header() *codec.FileHeader { return &w.header }

// Sync makes the written data durable. After an error it is unknown which data is durable, and a second call
// does not find out.
func (w *Writer) Sync() error { return w.f.Sync() }

// Close writes the index and the trailer, unless an append was interrupted, and closes the file without Sync.
// Even if Close returns an error, the file is closed and the appended data stays readable.
func (w *Writer) Close() error {
	err := w.Finish()
	if cerr := w.f.Close(); err == nil {
		err = cerr
	}
	return err
}

// CloseTorn closes the file without index and trailer.
func (w *Writer) CloseTorn() error { return w.f.Close() }

// Finish writes the index and the trailer. Afterwards, even after an error, only Sync and Close may be called.
func (w *Writer) Finish() error {
	if w.size != w.end || w.until > 0 {
		return nil
	}
	out, err := AppendEnd(w.scratch[:0], w.marks, w.size, w.next, w.last)
	if err != nil {
		return err
	}
	w.until = 1 // nothing may follow
	_, err = w.write(out)
	return err
}

// AppendHeader appends the bytes that h has in a file. They do not depend on h.Version.
func AppendHeader(dst []byte, h *codec.FileHeader) ([]byte, error) {
	header := *h
	header.Version = codec.Version
	return appendSealed(dst, &header)
}

// AppendEnd appends the end of a recording that is closed in order, at byte at: an index of marks, and the
// trailer. next is the number after the last packet and last the packet's publish time, or place.NoTime.
func AppendEnd(dst []byte, marks []codec.Mark, at int64, next uint64, last int64) (out []byte, err error) {
	out = dst
	for marks := range slices.Chunk(marks, codec.MaxMarks) {
		if out, err = appendSealed(out, &codec.Index{Marks: marks}); err != nil {
			return dst, err
		}
	}
	if len(marks) == 0 {
		if out, err = appendSealed(out, &codec.Index{}); err != nil {
			return dst, err
		}
	}
	return codec.Append(out, &codec.Trailer{IndexOffset: uint64(at), Next: next, LastTime: last})
}

// sealSize is the size of the checksum element.
const sealSize = 5

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// appendSealed appends m with a checksum as its last element.
func appendSealed(dst []byte, m codec.Message) ([]byte, error) {
	at := len(dst)
	out, err := codec.Append(dst, m)
	if err != nil {
		return dst, err
	}
	if size := len(out) - at + sealSize; size > m.Type().Bound() {
		return dst, fmt.Errorf("%v: %d bytes, at most %d", m.Type(), size, m.Type().Bound())
	}
	out[at]++ // one more element; messages have fewer than 15
	out = append(out, 0xce, 0, 0, 0, 0)
	seal(out[at:])
	return out, nil
}

// seal fills in the checksum at the end of message m.
func seal(m []byte) {
	body := len(m) - sealSize
	binary.BigEndian.PutUint32(m[body+1:], crc32.Checksum(m[:body], castagnoli))
}

// sealedSize returns the size of the sealed message of type t at the beginning of p, or 0 if there is none with
// a valid checksum.
func sealedSize(p []byte, t codec.Type) int {
	if len(p) < 2+sealSize || p[0]&0xf0 != 0x90 || p[1] != byte(t) {
		return 0
	}
	n, err := codec.MessageSize(p)
	if err != nil || n < 2+sealSize {
		return 0
	}
	body := n - sealSize
	if p[body] != 0xce || binary.BigEndian.Uint32(p[body+1:n]) != crc32.Checksum(p[:body], castagnoli) {
		return 0
	}
	return n
}
