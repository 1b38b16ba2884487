package edit

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"sync/atomic"

	"tickfeed/codec"
	"tickfeed/codec/recording"
	"tickfeed/codec/recording/place"
	"tickfeed/feed"
)

// JoinStats describes a join.
type JoinStats struct {
	Range   feed.Range
	Packets uint64
	Agreed  uint64 // numbers that several recordings have, with the same bytes
	Damages int    // damaged places in the recordings
	Torn    int64  // bytes of incomplete messages at the ends of the recordings
	Holes   []Hole // numbers that no recording has, in order; at most MaxHoles
	More    int    // number of holes beyond MaxHoles
	Missing uint64 // numbers of all holes that no recording lists as gone or withheld: damaged in each that covers them, or in none
	Left    uint64 // numbers that no session owns, because a later session begins before them
}

// MaxHoles bounds the holes that JoinStats lists.
const MaxHoles = 100

// A Hole is a range of numbers without ticks, and the reason.
type Hole struct {
	feed.Range
	Why recording.SkipKind
	// Unrecorded is true if no recording covers the numbers, and none is damaged there. Why is then recording.SkipDamaged, because
	// the stream has no reason of its own for that.
	Unrecorded bool
}

// A DisagreeError reports two recordings with different ticks under the same numbers.
type DisagreeError struct {
	A, B  int // indices of the recordings
	Range feed.Range
}

func (e *DisagreeError) Error() string {
	return fmt.Sprintf("recordings %d and %d disagree about the numbers %v of one session", e.A+1, e.B+1, e.Range)
}

// ErrUnrelated is returned if recordings are not all of one lineage.
var ErrUnrelated = errors.New("recording: the recordings are not of one lineage")

// A FiltersError reports recordings of one lineage with different filters.
type FiltersError struct{ A, B int } // indices of the recordings

func (e *FiltersError) Error() string {
	return fmt.Sprintf("recordings %d and %d are of one session, but have different filters: only recordings with the same filter can be joined", e.A+1, e.B+1)
}

// Lineage returns the lineage of the last session in recordings if it contains every session in them. It reads
// the recordings to their ends. The error is ErrUnrelated if there is no such lineage, a *FiltersError, or
// comes from ctx or from reading.
func Lineage(ctx context.Context, open []func() (*recording.Reader, error)) (feed.Lineage, error) {
	var headers []*codec.FileHeader
	var of []int
	for i, open := range open {
		r, err := open()
		if err != nil {
			return nil, err
		}
		for {
			item, err := r.Next()
			if err == io.EOF {
				break
			}
			if err == nil {
				err = ctx.Err()
			}
			if err != nil {
				return nil, err
			}
			if item.Kind != recording.KindHeader {
				continue
			}
			if len(headers) == 0 || of[len(of)-1] != i || headers[len(headers)-1].Lineage.Current() != item.Header.Lineage.Current() {
				headers, of = append(headers, item.Header), append(of, i)
			}
			if len(headers) > maxHeaders {
				return nil, fmt.Errorf("more than %d sessions", maxHeaders)
			}
		}
	}
	whole := headers[0].Lineage
	for _, h := range headers {
		if _, ok := h.Lineage.Until(whole.Current().ID); ok {
			whole = h.Lineage
		}
	}
	for i, h := range headers {
		part, ok := whole.Until(h.Lineage.Current().ID)
		if !ok || part.Current() != h.Lineage.Current() {
			return nil, ErrUnrelated
		}
		if !slices.Equal(h.Filter, headers[0].Filter) {
			return nil, &FiltersError{of[0], of[i]}
		}
	}
	return whole, nil
}

const maxHeaders = 1 << 16

// Join joins recordings of one lineage, which must be at their beginnings, into dst, and closes dst: each
// number gets its bytes from any recording that has it. If several recordings have a number, they must agree.
// Numbers that one recording lacks are taken from another. Numbers that none has become gone, or withheld if a
// recording says so. Numbers of a session beyond the first number of the next session are left out. Read, if
// not nil, is set to the number of bytes read so far.
//
// The error is a *DisagreeError, ErrEmpty, or comes from ctx, from dst, or from reading.
func Join(ctx context.Context, dst recording.File, lineage feed.Lineage, readers []*recording.Reader, read *atomic.Int64) (JoinStats, error) {
	j := &joiner{dst: dst, lineage: lineage, next: math.MaxUint64}
	for i, r := range readers {
		t := &track{index: i, fold: newFold(r), joiner: j}
		j.tracks = append(j.tracks, t)
		if err := t.advance(); err != nil {
			return j.stats, err
		}
		if t.raw != nil {
			j.next = min(j.next, t.h.First)
		}
	}
	if j.next == math.MaxUint64 {
		return j.stats, ErrEmpty
	}
	j.stats.Range.From = j.next
	j.stats.Missing = j.damaged.Intersect(feed.NewRangeSet(feed.Range{To: j.next})).Len()
	for {
		if err := ctx.Err(); err != nil {
			return j.stats, err
		}
		if read != nil {
			n := int64(0)
			for _, t := range j.tracks {
				n += t.r.Offset()
			}
			read.Store(n)
		}
		more, err := j.step()
		if err != nil {
			return j.stats, err
		}
		if !more {
			break
		}
	}
	if j.w == nil {
		return j.stats, ErrEmpty
	}
	j.stats.Range.To = j.next
	return j.stats, j.w.Close()
}

type joiner struct {
	dst     recording.File
	lineage feed.Lineage
	tracks  []*track
	w       *recording.Writer
	session feed.SessionID // the session being written
	seed    uint32
	next    uint64
	broken  bool          // a hole ends at next: the state must be written
	damaged feed.RangeSet // numbers in damaged parts of the recordings, as far as these were read, except those before the last hole
	stats   JoinStats
	buf     []byte
}

// A track is one of the recordings.
type track struct {
	*fold // of the packets before the current one
	*joiner
	index int
	run   []byte // packets after the current one
	h     codec.Packet
	raw   []byte // the current packet; nil at the end
	hole  recording.SkipKind
	ticks bool // the packet has ticks, or numbers not asked for: it is not a hole
}

// advance goes to the next packet that belongs to the lineage.
func (t *track) advance() error {
	if t.raw != nil {
		t.fold.packet(&t.h, t.raw, place.Place{})
	}
	for {
		for len(t.run) == 0 {
			item, err := t.r.Next()
			if err == io.EOF {
				t.raw = nil
				return nil
			} else if err != nil {
				return err
			}
			switch {
			case item.Kind == recording.KindDamage || item.Kind == recording.KindTorn && !item.Range.Empty():
				t.stats.Damages++
				t.damaged.Add(item.Range)
			case item.Kind == recording.KindTorn:
				t.stats.Torn += item.Size
			}
			if err := t.enter(&item); err != nil {
				return err
			}
			t.run = item.Data
		}
		n := codec.PacketSize(t.run)
		t.raw, t.run = t.run[:n:n], t.run[n:]
		t.h = codec.PacketAt(t.raw)
		owner, owned, ok := t.lineage.Owner(t.h.First)
		if !ok || owner.ID != t.fold.header.Lineage.Current().ID {
			t.stats.Left += t.h.Count
			t.fold.packet(&t.h, t.raw, place.Place{})
			continue
		}
		if end := t.h.First + t.h.Count; end > owned.To {
			t.stats.Left += end - owned.To
		}
		body := codec.PacketBody(&t.h, t.raw[codec.PacketHeader:])
		var tick [1]feed.Tick
		k, err := body.Decode(tick[:])
		t.ticks = k > 0 || err != nil || body.NotAsked() > 0
		if !t.ticks {
			t.hole = recording.SkipWithheld
			switch _, reason := body.Gone(); reason {
			case 0:
			case codec.GoneDamaged:
				t.hole = recording.SkipDamaged
			default:
				t.hole = recording.SkipExpired
			}
		}
		return nil
	}
}

// end returns the number after the current packet, limited to what its session owns.
func (t *track) end() uint64 {
	_, owned, _ := t.lineage.Owner(t.h.First)
	return min(t.h.First+t.h.Count, owned.To)
}

// step writes the next packet or hole. It returns false if there is none.
func (j *joiner) step() (bool, error) {
	for _, t := range j.tracks {
		for t.raw != nil && t.end() <= j.next {
			if err := t.advance(); err != nil {
				return false, err
			}
		}
	}
	var from *track
	least, left := uint64(math.MaxUint64), false
	for _, t := range j.tracks {
		switch {
		case t.raw == nil:
			continue
		case t.h.First <= j.next && t.ticks && from == nil:
			from = t
		case t.h.First > j.next:
			least = min(least, t.h.First)
		}
		left = true
	}
	if !left {
		return false, nil
	}
	if from != nil {
		return true, j.packet(from)
	}
	listed := false
	hole := Hole{Range: feed.Range{From: j.next, To: least}, Why: recording.SkipDamaged, Unrecorded: true}
	for _, t := range j.tracks {
		if t.raw != nil && t.h.First <= j.next { // it gives the reason
			hole.Why, hole.To, hole.Unrecorded, listed = t.hole, min(hole.To, t.end()), false, true
			break
		}
	}
	for _, d := range j.damaged.Ranges() {
		switch {
		case hole.Unrecorded && d.Contains(j.next):
			hole.To, hole.Unrecorded = min(hole.To, d.To), false
		case hole.Unrecorded && d.From > j.next:
			hole.To = min(hole.To, d.From)
		}
	}
	if _, owned, _ := j.lineage.Owner(j.next); hole.To > owned.To {
		hole.To = owned.To
	}
	if !listed {
		j.stats.Missing += hole.Len()
	}
	return true, j.gone(hole)
}

// line begins the session of track t if it is not being written, and writes the state if a hole has ended.
func (j *joiner) line(t *track, state bool) error {
	owner, _, _ := j.lineage.Owner(j.next)
	if j.w != nil && owner.ID == j.session && !(j.broken && state) {
		return nil
	}
	h := *t.fold.header
	h.Lineage, _ = j.lineage.Until(owner.ID)
	h.Next = j.next
	h.Seed = codec.LineSeed(owner.ID, h.Filter)
	j.seed, j.session = h.Seed, owner.ID
	var known *feed.State
	if state && t.fold.next == j.next {
		known = t.state
	} else if state && t.fold.next < j.next { // the current packet began before
		known = t.state.Clone()
		part := &fold{r: t.r, header: t.fold.header, state: known, next: t.fold.next, time: t.fold.time, batch: t.batch}
		part.packet(&t.h, t.raw, place.Seq(j.next))
	}
	if j.w == nil {
		var err error
		j.w, err = recording.NewWriter(j.dst, h, known)
		return err
	}
	if !j.broken {
		known = nil // the session continues where the previous one ended
	}
	j.broken = j.broken && !state
	return j.w.Continue(h, known)
}

// packet writes the current packet of track t, from next.
func (j *joiner) packet(t *track) error {
	end := t.end()
	if err := j.line(t, true); err != nil {
		return err
	}
	for _, o := range j.tracks {
		if o == t || o.raw == nil || !o.ticks || o.h.First >= end {
			continue
		}
		both := feed.Range{From: max(j.next, o.h.First), To: min(end, o.end())}
		if both.Empty() {
			continue
		}
		same, err := agree(t, o, both)
		if err != nil {
			return err
		}
		if !same {
			return &DisagreeError{min(t.index, o.index), max(t.index, o.index), both}
		}
		j.stats.Agreed += both.Len()
	}
	j.stats.Packets++
	p := t.raw
	if t.h.First != j.next || t.h.First+t.h.Count != end || t.fold.header.Seed != j.seed {
		out, _, err := recording.AppendPart(j.buf[:0], &t.h, t.raw, j.next, end, nil, j.seed)
		if err != nil {
			j.stats.Missing += end - j.next
			return j.gone(Hole{Range: feed.Range{From: j.next, To: end}, Why: recording.SkipDamaged}) // not a sound packet
		}
		p, j.buf = out, out[:0]
	}
	j.next = end
	return j.w.Append(p, end, max(t.h.PublishTime, j.w.LastTime()))
}

// agree reports whether two packets have the same contents for the numbers r, which both cover.
func agree(a, b *track, r feed.Range) (bool, error) {
	if a.h == b.h {
		return bytes.Equal(a.raw[codec.PacketHeader:], b.raw[codec.PacketHeader:]), nil
	}
	// Both are cut to r; their offsets have the same base unless one base was recomputed.
	x, _, errX := recording.AppendPart(nil, &a.h, a.raw, r.From, r.To, nil, 0)
	y, _, errY := recording.AppendPart(nil, &b.h, b.raw, r.From, r.To, nil, 0)
	if errX != nil || errY != nil {
		return errX != nil && errY != nil, nil
	}
	return bytes.Equal(x, y), nil
}

// gone writes a hole.
func (j *joiner) gone(h Hole) error {
	for _, t := range j.tracks { // any track may begin a session of which no packet is available
		if t.fold.header != nil {
			if err := j.line(t, false); err != nil {
				return err
			}
			break
		}
	}
	last := j.w.LastTime()
	if last == place.NoTime {
		last = 0
	}
	for h.From < h.To {
		n := min(h.Len(), codec.MaxSpan)
		entry := codec.AppendWithheld(nil, n)
		switch h.Why {
		case recording.SkipExpired:
			entry = codec.AppendGone(nil, n, codec.GoneExpired)
		case recording.SkipDamaged:
			entry = codec.AppendGone(nil, n, codec.GoneDamaged)
		}
		p := codec.Packet{First: h.From, Count: n, PublishTime: last}
		if err := j.w.Append(codec.AppendPacket(nil, &p, entry, j.seed), h.From+n, last); err != nil {
			return err
		}
		if k := len(j.stats.Holes); k > 0 && j.stats.More == 0 && j.stats.Holes[k-1].To == h.From && j.stats.Holes[k-1].Why == h.Why && j.stats.Holes[k-1].Unrecorded == h.Unrecorded {
			j.stats.Holes[k-1].To += n
		} else if k < MaxHoles {
			j.stats.Holes = append(j.stats.Holes, Hole{feed.Range{From: h.From, To: h.From + n}, h.Why, h.Unrecorded})
		} else {
			j.stats.More++
		}
		h.From += n
	}
	j.next, j.broken = h.To, true
	j.damaged.Remove(feed.Range{To: j.next})
	return nil
}
