package recording

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"tickfeed/codec"
	"tickfeed/feed"
)

// A Recorder writes the packets that a subscriber receives into recordings, verbatim, together with what a
// reader must know about each line. Its methods Begin, Before and Packet are those of subscriber.Recorder. Only
// one goroutine may use it.
//
// The Recorder writes numbers that a line leaves out although they were asked for as gone (expired), in the
// sessions that own them: the numbers between the last recorded one and the line, and, if the next session has
// nothing in common with the last one, the numbers that the subscriber lost of either. A recording thus lists
// the numbers that it lacks. If a packet repeats recorded numbers, the Recorder writes the rest only.
type Recorder struct {
	cfg  RecorderConfig
	w    *Writer
	line codec.FileHeader // the last line begun
	// unknown reports whether the state at Next is not recorded, because withheld or gone numbers came last.
	unknown bool
	waiting *beginning // a file that begins with gone numbers, and is created with the next packet
	empty   bool       // the file holds no packet
	since   int64      // publish time of the first packet in the file
	last    int64      // publish time of the last packet in all files
	buf     []byte
	stats   RecorderStats
}

// A RecorderConfig configures a Recorder.
type RecorderConfig struct {
	// Create creates file n, from 1. The Recorder calls it when it has something to write, and closes the file.
	Create func(n int) (File, error)
	// Closed, if set, is called for each file that was finished, made durable and closed. The Recorder returns
	// its error.
	Closed func(n int) error
	// RotateSize bounds the size of a file in bytes, approximately: the packet that exceeds it is still written.
	// RotateTime bounds the publish time of a file's last packet minus that of its first. Zero means no bound.
	RotateSize int64
	RotateTime time.Duration
	Source     string // description of the recorded data, for a person
	Now        func() int64
}

// RecorderStats counts what a Recorder has written.
type RecorderStats struct {
	Files   int
	Bytes   int64 // in all files, before compression
	Packets uint64
	Gone    uint64 // numbers that the Recorder did not receive and recorded as gone
}

// NewRecorder returns a Recorder; cfg.Create and cfg.Now must be set.
func NewRecorder(cfg RecorderConfig) *Recorder { return &Recorder{cfg: cfg} }

// Stats returns the counts so far.
func (r *Recorder) Stats() RecorderStats {
	s := r.stats
	if r.w != nil {
		s.Bytes += r.w.Size()
	}
	return s
}

// A beginning is the arguments of Begin for the first line of a file whose publish time is not known yet.
type beginning struct {
	h     codec.FileHeader
	state *feed.State
	lost  feed.Range
}

// Begin begins a line at h.Next; a nil state is not known. Lost is the numbers of h.Lineage directly before
// h.Next that were asked for but are not available; it may be empty. If the line is already being recorded and
// its next packet joins, Begin writes nothing. The error is the file's, or about a header or state that cannot
// be written.
func (r *Recorder) Begin(h codec.FileHeader, state *feed.State, lost feed.Range) error {
	h.Source, h.Created = r.cfg.Source, r.cfg.Now()
	if err := r.start(h.Created); err != nil { // no packet has come since
		return err
	}
	switch {
	case r.w != nil:
	case lost.Empty():
		return r.open(h, state)
	default:
		if state != nil {
			state = state.Clone()
		}
		r.waiting = &beginning{h, state, lost}
		return nil
	}
	r.line = h
	if r.sameLine(h) && h.Next < r.w.Next() {
		return nil // repeated numbers are left out
	}
	if fork, related := h.Lineage.Fork(r.w.Header().Lineage, r.w.Next()); related {
		lost = feed.Range{From: fork, To: h.Next}
	}
	if err := r.gone(h, lost); err != nil {
		return err
	}
	if r.sameLine(h) && (!r.unknown || state == nil) {
		return nil
	}
	r.unknown = state == nil && h.Next > 1
	return r.w.Continue(h, state)
}

// Left records that the line has left session for one that has nothing in common with it, without the numbers
// missing, which directly follow the recorded ones and belong to session or to earlier ones in its lineage.
// Left writes them as gone (expired). It writes nothing if the numbers do not follow the recorded ones.
func (r *Recorder) Left(session feed.SessionID, missing feed.Range) error {
	if err := r.start(r.cfg.Now()); err != nil {
		return err
	}
	if r.w == nil || missing.Empty() || missing.From != r.w.Next() {
		return nil
	}
	h := *r.w.Header()
	if h.Lineage.Current().ID != session { // session has no packet here
		h.Lineage, h.Seed = h.Lineage.Child(session, missing.From), codec.LineSeed(session, h.Filter)
	}
	return r.gone(h, missing)
}

// sameLine reports whether packets of line h may follow packets of the header in force.
func (r *Recorder) sameLine(h codec.FileHeader) bool {
	w := r.w.Header()
	return h.Seed == w.Seed && h.Lineage.Current() == w.Lineage.Current() && slices.Equal(h.Filter, w.Filter)
}

// start creates the file that waits for its first packet, if there is one. The packet was published at time.
func (r *Recorder) start(time int64) error {
	b := r.waiting
	if b == nil {
		return nil
	}
	r.waiting = nil
	first := r.owner(b.h, b.lost.From)
	if err := r.open(first, nil); err != nil {
		return err
	}
	r.last = max(r.last, time)
	r.line = b.h
	if err := r.gone(b.h, b.lost); err != nil {
		return err
	}
	r.unknown = b.state == nil
	return r.w.Continue(b.h, b.state)
}

// owner returns the header, from seq, of the session of line h that owns number seq.
func (r *Recorder) owner(h codec.FileHeader, seq uint64) codec.FileHeader {
	owner, _, ok := h.Lineage.Owner(seq)
	if !ok {
		return h
	}
	between := h
	between.Lineage, _ = h.Lineage.Until(owner.ID)
	between.Next = seq
	if owner.ID != h.Lineage.Current().ID {
		between.Seed = codec.LineSeed(owner.ID, h.Filter)
	}
	return between
}

// gone writes the numbers missing before line h as gone, in the sessions of h's lineage that own them.
func (r *Recorder) gone(h codec.FileHeader, missing feed.Range) error {
	for ; !missing.Empty(); missing.From = r.w.Next() {
		owner, owned, ok := h.Lineage.Owner(missing.From)
		if !ok {
			return fmt.Errorf("recording: no session owns %v", missing)
		}
		if owner.ID != r.w.Header().Lineage.Current().ID {
			if err := r.w.Continue(r.owner(h, missing.From), nil); err != nil {
				return err
			}
		}
		part := missing.Intersect(owned)
		part.To = min(part.To, part.From+codec.MaxSpan)
		r.buf = codec.AppendPacket(r.buf[:0], &codec.Packet{First: part.From, Count: part.Len(), PublishTime: r.last},
			codec.AppendGone(nil, part.Len(), codec.GoneExpired), r.w.Header().Seed)
		if err := r.append(r.buf); err != nil {
			return err
		}
		r.stats.Gone += part.Len()
		r.unknown = true
	}
	return nil
}

// Before begins another file if packet p does not fit the current one. The state is as of p; nil if it is not
// known.
func (r *Recorder) Before(p codec.Packet, state *feed.State) error {
	if err := r.start(p.PublishTime); err != nil {
		return err
	}
	if r.w == nil {
		return errNoLine
	}
	full := r.cfg.RotateSize > 0 && r.w.Size() >= r.cfg.RotateSize
	late := r.cfg.RotateTime > 0 && p.PublishTime-r.since >= int64(r.cfg.RotateTime)
	if r.empty || state == nil || r.unknown || p.First != r.w.Next() || !full && !late {
		return nil
	}
	if err := r.close(); err != nil {
		return err
	}
	h := r.line
	h.Next, h.Created = p.First, r.cfg.Now()
	return r.open(h, state)
}

var errNoLine = errors.New("recording: internal error: a packet before Begin")

// Packet records raw, or the rest of it if it begins before the next number.
func (r *Recorder) Packet(raw []byte) error {
	if r.w == nil {
		return errNoLine
	}
	p := codec.PacketAt(raw)
	next, end := r.w.Next(), p.First+p.Count
	switch {
	case end <= next:
		return nil
	case p.First > next:
		return fmt.Errorf("recording: internal error: packet %v does not join at %d", p.Range(), next)
	case p.First < next:
		rest, _, err := AppendPart(r.buf[:0], &p, raw, next, end, nil, r.w.Header().Seed)
		if err != nil {
			return err
		}
		r.buf, raw = rest[:0], rest
	}
	return r.append(raw)
}

func (r *Recorder) append(raw []byte) error {
	p := codec.PacketAt(raw)
	if err := r.w.Append(raw, p.First+p.Count, p.PublishTime); err != nil {
		return err
	}
	r.stats.Packets++
	r.unknown = r.unknown || absent(&p, raw[codec.PacketHeader:])
	r.last = p.PublishTime
	if r.empty {
		r.empty, r.since = false, p.PublishTime
	}
	return nil
}

// absent reports whether packet p says that its numbers are withheld or gone.
func absent(p *codec.Packet, body []byte) bool {
	if e, err := codec.EntryAt(body); err != nil || e.Tick || e.Size != len(body) {
		return false
	}
	var none [1]feed.Tick
	b := codec.PacketBody(p, body)
	_, err := b.Decode(none[:])
	gone, _ := b.Gone()
	return err == nil && (gone > 0 || b.Withheld() > 0)
}

func (r *Recorder) open(h codec.FileHeader, state *feed.State) error {
	f, err := r.cfg.Create(r.stats.Files + 1)
	if err != nil {
		return err
	}
	w, err := NewWriter(f, h, state)
	if err != nil {
		return errors.Join(err, f.Close())
	}
	r.stats.Files++
	r.w, r.line, r.empty, r.since, r.unknown = w, h, true, 0, state == nil && h.Next > 1
	return nil
}

// Close finishes the file with index and trailer, makes it durable and closes it. It closes the file even if
// writing fails. Begin may then begin another file.
func (r *Recorder) Close() error {
	err := r.start(r.cfg.Now())
	if r.w == nil {
		return err
	}
	return errors.Join(err, r.close())
}

func (r *Recorder) close() error {
	w := r.w
	r.w = nil
	err := w.Finish()
	if err == nil {
		err = w.Sync()
	}
	r.stats.Bytes += w.Size()
	err = errors.Join(err, w.CloseTorn())
	if err == nil && r.cfg.Closed != nil {
		err = r.cfg.Closed(r.stats.Files)
	}
	return err
}
