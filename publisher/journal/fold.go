package journal

import (
	"errors"
	"fmt"
	"io"
	"math"
	"slices"

	"tickfeed/codec"
	"tickfeed/codec/recording"
	"tickfeed/feed"
)

// A fold makes the state from what a file tells.
type fold struct {
	state   *feed.State
	whole   bool   // the state began with a whole snapshot
	next    uint64 // every number before it is folded or missing
	packets int    // runs folded
	// defined, if it is not nil, is told each definition tick.
	defined func(*feed.Tick)
	event   int64 // greatest event time seen
	batch   [64]feed.Tick
	until   uint64 // numbers from it on are not folded, if it is not 0
}

// add folds one item. Ticks that the state refuses, because their definition was lost, are
// left out, as a subscriber leaves them out.
func (x *fold) add(r *recording.Reader, item recording.Item) error {
	switch item.Kind {
	case recording.KindSnapshot:
		x.whole = x.whole || item.Whole
		return r.SnapshotTicks(item, func(t *feed.Tick) {
			x.event = max(x.event, t.EventTime)
			_ = x.state.Apply(t)
		})
	case recording.KindPackets:
		x.packets++
		for h, raw := range recording.Packets(item.Data) {
			if x.until > 0 && h.First >= x.until {
				return io.EOF
			}
			x.packet(&h, raw)
		}
		x.next = item.Range.To
	case recording.KindDamage:
		x.next = max(x.next, item.Range.To)
	}
	return nil
}

func (x *fold) packet(h *codec.Packet, raw []byte) {
	b := codec.PacketBody(h, raw[codec.PacketHeader:])
	for {
		n, err := b.Decode(x.batch[:])
		for i := range x.batch[:n] {
			t := &x.batch[i]
			if x.until > 0 && t.Seq >= x.until {
				return
			}
			x.event = max(x.event, t.EventTime)
			if t.Kind == feed.KindDefinition && x.defined != nil {
				x.defined(t)
			}
			_ = x.state.Apply(t)
		}
		if n == 0 || err != nil {
			return
		}
	}
}

// read opens segment s for as long as do takes.
func (j *Journal) read(s *segment, do func(*recording.Reader) error) error {
	r, f, err := j.open(s)
	if err != nil {
		return err
	}
	defer j.done(f)
	defer r.Release()
	return do(r)
}

// An openFile is a file that is open for reading, for as many as read it.
type openFile struct {
	s *segment
	f ReadFile
	r *recording.Reader // at the beginning

	// Protected by Journal.mu.
	readers int
	left    bool // nobody else will be given it: who reads it last closes it
}

// maxOpen is how many files stay open for the next one who reads them. To open a file and to close it was half of what
// a find takes.
const maxOpen = 64

// open returns a Reader at the beginning of s, and the file, for done.
func (j *Journal) open(s *segment) (*recording.Reader, *openFile, error) {
	j.mu.Lock()
	size, marks, i := j.readableLocked(s), s.marks, j.openLocked(s)
	if i >= 0 {
		f := j.files[i]
		j.files = append(slices.Delete(j.files, i, i+1), f)
		f.readers++
		j.mu.Unlock()
		r := f.r.Again(size)
		r.SetMarks(marks)
		return r, f, nil
	}
	j.mu.Unlock()
	file, err := j.fs.Open(j.path(s.name))
	if err != nil {
		return nil, nil, err
	}
	first, err := recording.NewReader(file, size)
	if err != nil {
		file.Close()
		return nil, nil, fmt.Errorf("%s: %w", s.name, err)
	}
	f := &openFile{s: s, f: file, r: first, readers: 1}
	r := first.Again(size)
	r.SetMarks(marks)
	first.Release()
	j.mu.Lock()
	var oldest *openFile
	if f.left = j.closed || j.openLocked(s) >= 0 || s.gone; !f.left {
		if j.files = append(j.files, f); len(j.files) > maxOpen {
			oldest = j.leaveLocked(0)
		}
	}
	j.mu.Unlock()
	oldest.close()
	return r, f, nil
}

// openLocked is the place of s in j.files; negative if it is not there.
func (j *Journal) openLocked(s *segment) int {
	return slices.IndexFunc(j.files, func(f *openFile) bool { return f.s == s })
}

// leaveLocked takes a file from j.files; it returns it if it is to be closed.
func (j *Journal) leaveLocked(i int) *openFile {
	f := j.files[i]
	j.files = slices.Delete(j.files, i, i+1)
	if f.left = true; f.readers > 0 {
		return nil
	}
	return f
}

// done ends what open began.
func (j *Journal) done(f *openFile) {
	j.mu.Lock()
	f.readers--
	over := f.left && f.readers == 0
	j.mu.Unlock()
	if over {
		f.close()
	}
}

// closeFiles closes all that nobody reads; the others are closed by who reads them last.
func (j *Journal) closeFiles() {
	j.mu.Lock()
	var unread []*openFile
	for len(j.files) > 0 {
		unread = append(unread, j.leaveLocked(0))
	}
	j.mu.Unlock()
	for _, f := range unread {
		f.close()
	}
}

func (f *openFile) close() {
	if f != nil {
		f.f.Close()
	}
}

// keepMarks remembers the index that r had to make, so that it is made once.
func (j *Journal) keepMarks(s *segment, r *recording.Reader) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if s.marks == nil {
		s.marks, _ = r.Marks()
	}
}

// measure finds out where segment s ends, and when.
func (j *Journal) measure(s *segment) error {
	return j.read(s, func(r *recording.Reader) error {
		if err := r.SeekSeq(math.MaxUint64); err != nil {
			return err
		}
		j.keepMarks(s, r)
		j.mu.Lock()
		defer j.mu.Unlock()
		if s.next == 0 {
			s.next, s.last = max(s.first, r.NextSeq()), r.LastTime()
		}
		return nil
	})
}

// lastTime is the publish time of the last packet of segment s; the greatest time if s cannot
// be read.
func (j *Journal) lastTime(s *segment) int64 {
	j.mu.Lock()
	known, last := s.next != 0, s.last
	j.mu.Unlock()
	if known {
		return last
	}
	if err := j.measure(s); err != nil {
		return math.MaxInt64
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	return s.last
}

// ErrGone is returned for numbers that the journal does not hold.
var ErrGone = errors.New("not in the journal")

// StateAt is the state as of seq, from Tail to what cursors see: every number before it is folded. It
// reads from the beginning of the file that holds seq; from the one before it where that one's
// snapshot is damaged. Numbers that are missing are left out. It may be called from any
// goroutine.
func (j *Journal) StateAt(seq uint64) (*feed.State, error) {
	j.mu.Lock()
	i := j.indexLocked(seq)
	ok := seq >= j.tailLocked() && seq <= j.shownLocked()
	j.mu.Unlock()
	if !ok || i < 0 {
		if ok && seq == 1 {
			return feed.NewState(), nil
		}
		return nil, fmt.Errorf("state as of %d: %w", seq, ErrGone)
	}
	return j.stateAt(seq, i)
}

// indexLocked is the last segment that begins at seq or before; -1 if none does.
func (j *Journal) indexLocked(seq uint64) int {
	i := len(j.segments) - 1
	for i >= 0 && j.segments[i].first > seq {
		i--
	}
	return i
}

// stateAt is the state as of seq from segment i on, or an earlier one.
func (j *Journal) stateAt(seq uint64, i int) (*feed.State, error) {
	j.mu.Lock()
	segments := append([]*segment(nil), j.segments...)
	j.mu.Unlock()
	if i >= len(segments) {
		return nil, fmt.Errorf("state as of %d: %w", seq, ErrGone)
	}
	for start := i; ; start-- {
		x := fold{state: feed.NewState(), until: seq}
		for k := start; k < len(segments) && segments[k].first <= seq; k++ {
			if k+1 < len(segments) {
				x.until = min(seq, segments[k+1].first)
			} else {
				x.until = seq
			}
			if err := j.foldSegment(&x, segments[k], k == start); err != nil {
				return nil, err
			}
			if k == start && !x.whole && segments[k].first > 1 && start > 0 {
				break
			}
		}
		if x.whole || segments[start].first == 1 || start == 0 {
			return x.state, nil
		}
	}
}

func (j *Journal) foldSegment(x *fold, s *segment, snapshot bool) error {
	return j.read(s, func(r *recording.Reader) error {
		for {
			item, err := r.Next()
			if err == io.EOF {
				return nil
			} else if err != nil {
				return err
			}
			if item.Kind == recording.KindSnapshot && !snapshot {
				continue
			}
			if err := x.add(r, item); err == io.EOF {
				return nil
			} else if err != nil {
				return err
			}
		}
	})
}

// SeqAt is the first number of the first packet with a publish time of at least time; Next
// if there is none. Where a file cannot be read it is the first number of that file. It may
// be called from any goroutine.
func (j *Journal) SeqAt(time int64) uint64 {
	j.mu.Lock()
	segments := append([]*segment(nil), j.segments...)
	next := j.shownLocked()
	j.mu.Unlock()
	for i, s := range segments {
		to := next
		if i+1 < len(segments) {
			to = segments[i+1].first
			if j.lastTime(s) < time {
				continue
			}
		}
		if seq := j.seqAt(s, time); seq < to {
			return seq
		}
	}
	return next
}

// seqAt is SeqAt in segment s; the greatest number if there is no such packet.
func (j *Journal) seqAt(s *segment, time int64) uint64 {
	seq := uint64(math.MaxUint64)
	err := j.read(s, func(r *recording.Reader) error {
		if err := r.SeekTime(time); err != nil {
			return err
		}
		j.keepMarks(s, r)
		for {
			item, err := r.Next()
			if err == io.EOF {
				return nil
			} else if err != nil {
				return err
			}
			if item.Kind == recording.KindPackets {
				seq = item.Range.From
				return nil
			}
		}
	})
	if err != nil {
		return s.first
	}
	return seq
}
