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

// A fold computes the state from the contents of a file.
type fold struct {
	state   *feed.State
	whole   bool   // the state began with a whole snapshot
	next    uint64 // every number before it is folded or missing
	packets int    // runs folded
	// defined, if not nil, is called with each definition tick.
	defined func(*feed.Tick)
	event   int64 // greatest event time seen
	batch   [64]feed.Tick
	until   uint64 // if not 0, numbers from until on are not folded

	// Fields of a fold that calls visit.
	visit func(state *feed.State, from, to uint64) (next uint64) // as described for Fold; nil for none
	stood uint64                                                 // end of the last packet folded, or where the file begins
	short bool                                                   // the state is not whole: visit is not called
	done  bool                                                   // visit asked for nothing more
}

// add folds one item.
func (x *fold) add(r *recording.Reader, item recording.Item) error {
	switch item.Kind {
	case recording.KindSnapshot:
		x.whole = x.whole || item.Whole
		x.short = x.short && !x.whole
		return r.SnapshotTicks(item, x.ticks)
	case recording.KindPackets:
		x.packets++
		for h, raw := range recording.Packets(item.Data) {
			if x.until > 0 && h.First >= x.until {
				return io.EOF
			}
			if x.visit == nil {
				x.packet(&h, raw, feed.Range{To: math.MaxUint64})
			} else if x.stop(&h, raw); x.short || x.done {
				return io.EOF
			}
		}
		x.next = item.Range.To
	case recording.KindDamage:
		x.next = max(x.next, item.Range.To)
	}
	return nil
}

// stop folds a packet, and calls visit with the state before it and at each number in it that visit asks for.
func (x *fold) stop(h *codec.Packet, raw []byte) {
	end := h.First + h.Count
	if x.until > 0 {
		end = min(end, x.until)
	}
	for at := h.First; at < end && !x.short; x.stood = at {
		next := x.visit(x.state, min(x.stood, at), at)
		if x.done = next <= at; x.done {
			return
		}
		r := feed.Range{From: at, To: min(next, end)}
		x.packet(h, raw, r)
		at = r.To
	}
}

// packet folds the ticks of a packet that are in r.
func (x *fold) packet(h *codec.Packet, raw []byte, r feed.Range) {
	b := codec.PacketBody(h, raw[codec.PacketHeader:])
	for {
		n, err := b.Decode(x.batch[:])
		ticks := r.Of(x.batch[:n])
		for i := range ticks {
			if t := &ticks[i]; t.Kind == feed.KindDefinition && x.defined != nil {
				x.defined(t)
			}
		}
		x.ticks(ticks)
		if n == 0 || err != nil || x.batch[n-1].Seq >= r.To {
			return
		}
	}
}

func (x *fold) ticks(ticks []feed.Tick) {
	for i := range ticks {
		x.event = max(x.event, ticks[i].EventTime)
	}
	_, _ = x.state.ApplyKnown(ticks) // no error: the publisher has folded these ticks before it appended them
}

// read opens segment s for the duration of do.
func (j *Journal) read(s *segment, do func(*recording.Reader) error) error {
	r, f, err := j.open(s)
	if err != nil {
		return err
	}
	defer j.done(f)
	defer r.Release()
	return do(r)
}

// An openFile is a file shared by any number of readers. Its descriptor is open during a read, and after it as
// long as no other file needs the descriptor.
type openFile struct {
	j *Journal
	s *segment
	r *recording.Reader // positioned at the beginning

	// Protected by Journal.mu.
	file    ReadFile // nil if it is not open
	busy    int      // reads under way
	readers int
	left    bool // no longer in Journal.files: the last reader closes it
}

// maxOpen is how many files stay open for later readers, because opening and closing a file is a large part of
// the cost of a find (see BenchmarkFind). If descriptors are scarce, files get an eighth of them, and at least minOpen.
const (
	maxOpen = 64
	minOpen = 2
)

// OpenFiles returns how many file descriptors a journal may use at a time in a process whose limit is limit, 0
// for no limit: for the files being read, the lock, the files that ended, the current one and the prepared one (at
// most maxUnsettled + 1 of these), a directory, and the reserve.
func OpenFiles(limit int) int { return readFiles(limit) + reservedFiles + maxUnsettled + 3 }

func readFiles(limit int) int {
	if limit > 0 {
		return max(minOpen, min(maxOpen, limit/8))
	}
	return maxOpen
}

// ReadAt implements io.ReaderAt for r. It opens the file if it is not open.
func (f *openFile) ReadAt(p []byte, at int64) (int, error) {
	j := f.j
	j.reading <- struct{}{}
	defer func() { <-j.reading }()
	file, err := f.hold()
	if err != nil {
		return 0, err
	}
	defer f.drop()
	return file.ReadAt(p, at)
}

// hold returns the descriptor, which stays open until drop.
func (f *openFile) hold() (ReadFile, error) {
	j := f.j
	j.mu.Lock()
	if f.file == nil {
		j.opening++
		idle := j.idleLocked(cap(j.reading) - j.opening)
		j.mu.Unlock()
		closeAll(idle)
		var file ReadFile
		err := j.withDescriptors(func() (err error) {
			file, err = j.fs.Open(j.path(f.s.name))
			return err
		})
		if OutOfDescriptors(err) {
			err = fmt.Errorf("%w: %w", ErrFull, err)
		}
		j.mu.Lock()
		switch {
		case err != nil:
			j.opening--
			j.mu.Unlock()
			return nil, err
		case f.file != nil: // another reader was faster; the extra descriptor counts until it is closed
			defer j.closeSpare(file)
		default:
			j.opening--
			f.file = file
		}
	}
	f.busy++
	if i := slices.Index(j.opened, f); i >= 0 {
		j.opened = slices.Delete(j.opened, i, i+1)
	}
	j.opened = append(j.opened, f)
	file := f.file
	j.mu.Unlock()
	return file, nil
}

// closeSpare closes a descriptor that hold opened in vain.
func (j *Journal) closeSpare(file ReadFile) {
	file.Close()
	j.mu.Lock()
	defer j.mu.Unlock()
	j.opening--
}

func (f *openFile) drop() {
	f.j.mu.Lock()
	f.busy--
	file := f.unusedLocked()
	f.j.mu.Unlock()
	closeAll(file)
}

// unusedLocked takes the descriptor from f for the caller to close if no reader will use f again.
func (f *openFile) unusedLocked() []ReadFile {
	if !f.left || f.readers > 0 {
		return nil
	}
	return f.takeLocked()
}

// takeLocked takes the descriptor from f for the caller to close if it is open and no read is under way.
func (f *openFile) takeLocked() []ReadFile {
	if f.file == nil || f.busy > 0 {
		return nil
	}
	file := f.file
	f.file = nil
	f.j.opened = slices.DeleteFunc(f.j.opened, func(o *openFile) bool { return o == f })
	return []ReadFile{file}
}

// idleLocked takes the descriptors of the least recently read files, for the caller to close, until at most
// most files are open. It takes files that can be opened again before files that retention removed.
func (j *Journal) idleLocked(most int) (idle []ReadFile) {
	for _, gone := range []bool{false, true} {
		for i := 0; i < len(j.opened) && len(j.opened) > most; {
			if f := j.opened[i]; f.s.gone == gone && f.busy == 0 {
				idle = append(idle, f.takeLocked()...)
			} else {
				i++
			}
		}
	}
	return idle
}

func closeAll(files []ReadFile) {
	for _, f := range files {
		f.Close()
	}
}

// open returns a Reader at the beginning of s, and the file to pass to done.
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
	f := &openFile{j: j, s: s, readers: 1}
	first, err := recording.NewReader(f, size)
	if err != nil {
		f.left = true
		j.done(f)
		return nil, nil, fmt.Errorf("%s: %w", s.name, err)
	}
	f.r = first
	r := first.Again(size)
	r.SetMarks(marks)
	first.Release()
	j.mu.Lock()
	var oldest []ReadFile
	if f.left = j.closed || j.openLocked(s) >= 0 || s.gone; !f.left {
		if j.files = append(j.files, f); len(j.files) > maxOpen {
			oldest = j.leaveLocked(0)
		}
	}
	j.mu.Unlock()
	closeAll(oldest)
	return r, f, nil
}

// openLocked returns the index of s in j.files, or a negative number.
func (j *Journal) openLocked(s *segment) int {
	return slices.IndexFunc(j.files, func(f *openFile) bool { return f.s == s })
}

// leaveLocked removes a file from j.files and returns descriptors for the caller to close.
func (j *Journal) leaveLocked(i int) []ReadFile {
	f := j.files[i]
	j.files = slices.Delete(j.files, i, i+1)
	f.left = true
	return f.unusedLocked()
}

// done releases a file returned by open.
func (j *Journal) done(f *openFile) {
	j.mu.Lock()
	f.readers--
	unused := f.unusedLocked()
	j.mu.Unlock()
	closeAll(unused)
}

// closeFiles closes the files without readers; the last reader closes each of the others.
func (j *Journal) closeFiles() {
	j.mu.Lock()
	var unread []ReadFile
	for len(j.files) > 0 {
		unread = append(unread, j.leaveLocked(0)...)
	}
	j.mu.Unlock()
	closeAll(unread)
}

// keepMarks stores the index that r had to make, so that it is made once.
func (j *Journal) keepMarks(s *segment, r *recording.Reader) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if s.marks == nil {
		s.marks, _ = r.Marks()
	}
}

// measure sets the end of segment s and the time of its last packet.
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

// lastTime returns the publish time of the last packet of segment s, place.NoTime if it has none, or the greatest time if
// s cannot be read.
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

// StateAt returns the state as of seq, with every number before seq folded. Seq must be from Tail to the end of
// what cursors see. StateAt reads from the beginning of the file that holds seq, or of an earlier file if the
// snapshot in that one is damaged. It leaves out missing numbers. Any goroutine may call it.
func (j *Journal) StateAt(seq uint64) (state *feed.State, err error) {
	err = j.Fold(seq, func(s *feed.State, from, to uint64) (next uint64) {
		if seq > to {
			return seq
		}
		state = s
		return 0
	})
	return state, err
}

// Stretch returns the first and the last number whose states Fold reaches if it is called for seq. It returns
// false if seq cannot be folded.
func (j *Journal) Stretch(seq uint64) (from, last uint64, ok bool) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.stretchLocked(seq)
}

func (j *Journal) stretchLocked(seq uint64) (from, last uint64, ok bool) {
	last = j.shownLocked()
	i := j.indexLocked(seq)
	if seq < j.tailLocked() || seq > last || i < 0 && seq > 1 {
		return 0, 0, false
	}
	if i < 0 {
		return 1, 1, true
	}
	if i+1 < len(j.segments) {
		last = min(last, j.segments[i+1].first-1)
	}
	return max(j.segments[i].first, j.tailLocked()), last, true
}

// Fold reads the file that holds seq once, and calls visit before each packet, at the latest at the number that
// visit returned, and at the end. The state is the state as of every number in [from, to]. If visit returns a
// number not above to, the fold ends and visit may keep the state. In all else Fold works like StateAt.
func (j *Journal) Fold(seq uint64, visit func(state *feed.State, from, to uint64) (next uint64)) error {
	j.mu.Lock()
	_, last, ok := j.stretchLocked(seq)
	i, segments := j.indexLocked(seq), slices.Clone(j.segments)
	j.mu.Unlock()
	if !ok {
		return fmt.Errorf("state as of %d: %w", seq, ErrGone)
	}
	if i < 0 {
		visit(feed.NewState(), 1, 1)
		return nil
	}
	return j.fold(segments, i, last, visit)
}

// indexLocked returns the index of the last segment that begins at or before seq, or -1 if none does.
func (j *Journal) indexLocked(seq uint64) int {
	i := len(j.segments) - 1
	for i >= 0 && j.segments[i].first > seq {
		i--
	}
	return i
}

// stateAt returns the state as of seq, folded from segment i or an earlier one.
func (j *Journal) stateAt(seq uint64, i int) (state *feed.State, err error) {
	j.mu.Lock()
	segments := slices.Clone(j.segments)
	j.mu.Unlock()
	err = j.fold(segments, i, seq, func(s *feed.State, from, to uint64) (next uint64) {
		if seq > to {
			return seq
		}
		state = s
		return 0
	})
	return state, err
}

// fold does the work of Fold from segment i or an earlier one, up to number last.
func (j *Journal) fold(segments []*segment, i int, last uint64, visit func(state *feed.State, from, to uint64) (next uint64)) error {
	for start := i; ; start-- {
		x := fold{state: feed.NewState(), visit: visit, stood: segments[start].first}
		for k := start; k < len(segments) && segments[k].first <= last && !x.done; k++ {
			x.until = last + 1
			if k+1 < len(segments) {
				x.until = min(x.until, segments[k+1].first)
			}
			x.short = k == start && segments[k].first > 1 && start > 0 && !x.whole
			if err := j.foldSegment(&x, segments[k], k == start); err != nil {
				return err
			}
			if x.short {
				break
			}
		}
		switch {
		case x.short:
		case !x.done:
			x.visit(x.state, x.stood, max(last, x.stood))
			fallthrough
		default:
			return nil
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

// SeqAt returns the first number of the first packet with a publish time of at least time, or Next if there is
// none. If a file cannot be read, SeqAt returns its first number. Any goroutine may call it.
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

// seqAt returns what SeqAt does for segment s alone, or the greatest number if s has no such packet.
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
