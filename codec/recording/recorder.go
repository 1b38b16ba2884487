package recording

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"tickfeed/codec"
	"tickfeed/feed"
)

// A Recorder writes what a subscriber is sent into recordings: the packets as they came, with what a reader needs to know of
// each line. Its methods Begin, Before and Packet are those of subscriber.Recorder. Only one goroutine may use it.
//
// Numbers that a line leaves out although they were asked for go in as gone (expired), in the sessions that own them: those
// between the last number recorded and the line, and where the next session has nothing in common with the last one, those that
// the subscriber lost of either. So the recording lists what it does not hold. Where a packet repeats numbers that were recorded, only
// the rest of it goes in.
type Recorder struct {
	cfg  RecorderConfig
	w    *Writer
	line codec.FileHeader // the last one begun
	// unknown says that the state at Next was not told: withheld or gone numbers came last.
	unknown bool
	waiting *beginning // a file that begins with numbers that are gone, and with the next packet
	empty   bool       // the file holds no packet
	since   int64      // publish time of the file's first packet
	last    int64      // publish time of the last packet of all files
	buf     []byte
	stats   RecorderStats
}

// A RecorderConfig says where a Recorder writes.
type RecorderConfig struct {
	// Create makes file n, from 1; it is called when there is something to write. The Recorder closes it.
	Create func(n int) (File, error)
	// Closed, if it is set, is told each file that was finished, made durable and closed. An error of it is the Recorder's.
	Closed func(n int) error
	// RotateSize is how many bytes a file has at most, about (the packet that goes beyond it is its last), and RotateTime
	// how far from the publish time of its first packet that of its last may be. 0 for no bound.
	RotateSize int64
	RotateTime time.Duration
	Source     string // what is recorded, for a person
	Now        func() int64
}

// RecorderStats are what a Recorder has written.
type RecorderStats struct {
	Files   int
	Bytes   int64 // of all files, before compression
	Packets uint64
	Gone    uint64 // numbers that the Recorder was not sent, and said so
}

// NewRecorder returns a Recorder; cfg.Create and cfg.Now must be set.
func NewRecorder(cfg RecorderConfig) *Recorder { return &Recorder{cfg: cfg} }

// Stats tells what was written so far.
func (r *Recorder) Stats() RecorderStats {
	s := r.stats
	if r.w != nil {
		s.Bytes += r.w.Size()
	}
	return s
}

// A beginning is the first line of a file whose publish time is not known yet: the arguments of Begin.
type beginning struct {
	h     codec.FileHeader
	state *feed.State
	lost  feed.Range
}

// Begin begins a line, at h.Next; nil is a state that is not known. Lost is the numbers directly before h.Next that were
// asked for and cannot be had, of h.Lineage; it may be empty. Where it is the line that is being recorded, and what comes
// joins, nothing is written. The error is the file's, or of a header or state that cannot be written.
func (r *Recorder) Begin(h codec.FileHeader, state *feed.State, lost feed.Range) error {
	h.Source, h.Created = r.cfg.Source, r.cfg.Now()
	if err := r.start(h.Created); err != nil { // no packet came since
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
		return nil // what is repeated is left out
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

// Left says that the line has left session for one that has nothing in common with it, without the numbers missing: they
// follow directly what is recorded, of that session or of those before it in its lineage. They go in as gone (expired). Numbers
// that do not follow what is recorded are not this file's, and nothing is written.
func (r *Recorder) Left(session feed.SessionID, missing feed.Range) error {
	if err := r.start(r.cfg.Now()); err != nil {
		return err
	}
	if r.w == nil || missing.Empty() || missing.From != r.w.Next() {
		return nil
	}
	h := *r.w.Header()
	if h.Lineage.Current().ID != session { // which has no packet here
		h.Lineage, h.Seed = h.Lineage.Child(session, missing.From), codec.LineSeed(session, h.Filter)
	}
	return r.gone(h, missing)
}

// sameLine reports whether packets of the line h may follow those of the header in force.
func (r *Recorder) sameLine(h codec.FileHeader) bool {
	w := r.w.Header()
	return h.Seed == w.Seed && h.Lineage.Current() == w.Lineage.Current() && slices.Equal(h.Filter, w.Filter)
}

// start begins the file that waits for its first packet, which was published at time, if there is one.
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

// owner is the header of the session of line h that owns number seq, from seq on.
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

// gone writes that missing numbers before those of line h are missing, session by session as its lineage has them.
func (r *Recorder) gone(h codec.FileHeader, missing feed.Range) error {
	for ; !missing.Empty(); missing.From = r.w.Next() {
		owner, owned, ok := h.Lineage.Owner(missing.From)
		if !ok {
			return fmt.Errorf("recording: nobody owns %v", missing)
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

// Before begins another file, if packet p has no place in the present one; the state is as of p, nil if it is not known.
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

// Packet records raw: all of it, or where it begins before the next number, the rest.
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
		return fmt.Errorf("recording: internal error: packet %v where %d is due", p.Range(), next)
	case p.First < next:
		rest, err := codec.AppendRest(r.buf[:0], raw, next, r.w.Header().Seed)
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

// absent reports whether packet p withholds its numbers, or says that they are gone.
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

// Close finishes the file: index and trailer, made durable, closed. The file is closed whatever the error. Begin may begin
// another one.
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
