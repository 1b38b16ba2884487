package journal

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"slices"
	"strconv"
	"strings"

	"tickfeed/codec"
	"tickfeed/codec/recording"
	"tickfeed/codec/recording/place"
	"tickfeed/feed"
)

// Recovered describes what a journal held when it was opened.
type Recovered struct {
	Lineage   feed.Lineage // of the last session, as far as all files together know it; nil if the journal is empty
	Mode      codec.Mode   // of the last session
	Next      uint64       // number after the last one held; 1 if the journal is empty
	LastTime  int64        // publish time of the last packet; 0 if there is none
	LastEvent int64        // greatest event time in the last file; 0 if there is none
	// State is the state as of Next.
	State *feed.State
	// Definitions gives the definitions as of any number from Tail to Next. It leaves out a change that was
	// undone within the same file, unless that file is the last.
	Definitions *feed.Definitions
	Torn        int64 // bytes cut from the end of the last file, and kept in a side file
	// Damage lists what Open found to be missing: everything in the last file, the beginnings of files whose
	// header is damaged, numbers between files, and numbers before the first file unless retention may have
	// removed them. Cursors report the damage that they meet.
	Damage []Damage
}

// A Damage is a part of a file that cannot be used, or numbers that are in no file.
type Damage struct {
	File         string
	Offset, Size int64      // the bytes; 0 if whole packets are absent
	Range        feed.Range // the missing numbers; empty if none are missing
	Problem      string     // for a person
	Unused       bool       // the whole file is left as it is: none of its ticks belong to the journal
	Before       bool       // Range is all before the first file, which a retention may have removed
}

func (d Damage) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %s", d.File, d.Problem)
	if d.Size > 0 {
		fmt.Fprintf(&b, ": %d bytes at byte %d", d.Size, d.Offset)
	}
	if !d.Range.Empty() {
		fmt.Fprintf(&b, ": numbers %v", d.Range)
	}
	return b.String()
}

// TornSuffix is appended to the name of a file to name the side file that keeps the bytes cut from it.
const TornSuffix = ".torn"

// IsSideFile reports whether name is a file in a journal's directory that is not a recording: the lock, or the
// bytes cut from a torn file.
func IsSideFile(name string) bool { return name == lockName || strings.HasSuffix(name, TornSuffix) }

// IsFile reports whether name is the name of a recording in a journal's directory; the journal ignores other recordings.
func IsFile(name string) bool {
	_, _, ok := parseName(name)
	return ok
}

// parseName parses a name made by fileName.
func parseName(name string) (first uint64, id feed.SessionID, ok bool) {
	digits, rest, ok1 := strings.Cut(name, "-")
	hex, ok2 := strings.CutSuffix(rest, ".tick")
	if !ok1 || !ok2 || len(digits) != 20 || len(hex) != 16 {
		return 0, 0, false
	}
	first, err1 := strconv.ParseUint(digits, 10, 64)
	session, err2 := strconv.ParseUint(hex, 16, 64)
	if err1 != nil || err2 != nil || first == 0 || session == 0 || fileName(first, feed.SessionID(session)) != name {
		return 0, 0, false
	}
	return first, feed.SessionID(session), true
}

// recover reads the directory and prepares it for the next session: it removes empty files of sessions that
// never began, and cuts a torn end.
func (j *Journal) recover() error {
	j.recovered = &Recovered{Next: 1, State: feed.NewState(), Definitions: &feed.Definitions{}}
	segments, err := j.scanDir()
	if err != nil {
		return err
	}
	scanned := j.recovered.Damage
	for {
		j.recovered.Damage = slices.Clip(scanned)
		j.segments, j.recovered.Lineage = j.chain(segments)
		if len(j.segments) == 0 {
			return nil
		}
		last := j.segments[len(j.segments)-1]
		again, err := j.recoverLast(segments)
		if err != nil {
			return err
		}
		if !again {
			if err := j.syncUnsettled(); err != nil {
				return err
			}
			j.reportGaps()
			return nil
		}
		segments = slices.DeleteFunc(segments, func(s *segment) bool { return s == last })
	}
}

// scanDir reads the headers of the directory's files that are named like a journal's, and then removes empty ones, which a
// crash left just after creating them.
func (j *Journal) scanDir() ([]*segment, error) {
	names, err := j.fs.Names(j.cfg.Dir)
	if err != nil {
		return nil, err
	}
	var segments []*segment
	var empty []string
	for _, name := range names {
		first, id, ok := parseName(name)
		if !ok {
			continue
		}
		s, err := j.scanFile(name, first, id)
		if err != nil {
			return nil, err
		}
		switch {
		case s != nil && s.size == 0:
			empty = append(empty, name)
		case s != nil:
			segments = append(segments, s)
		}
	}
	for _, name := range empty {
		if err := j.fs.Remove(j.path(name)); err != nil {
			return nil, err
		}
	}
	return segments, nil
}

// scanFile reads the header of one file. It returns nil if the file has no header or another session's, and a segment of
// size 0 if the file is empty.
func (j *Journal) scanFile(name string, first uint64, id feed.SessionID) (*segment, error) {
	f, err := j.fs.Open(j.path(name))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	size, err := f.Size()
	if err != nil {
		return nil, err
	}
	if size == 0 {
		return &segment{name: name}, nil
	}
	r, err := recording.NewReader(f, size)
	var version *recording.VersionError
	switch {
	case errors.Is(err, recording.ErrNoHeader):
		j.report(Damage{File: name, Size: size, Problem: "no header: the file is left as it is", Unused: true})
		return nil, nil
	case errors.As(err, &version):
		return nil, fmt.Errorf("%s: %w", name, err)
	case err != nil:
		return nil, err
	}
	h := r.Header()
	// If the header at the beginning is damaged, the header found at a later mark has a greater Next than the name, and the
	// reader's next number is not known.
	begun := h.Next == first || h.Next > first && r.NextSeq() != h.Next
	if h.Lineage.Current().ID != id || !begun || !h.Filter.All() {
		j.report(Damage{File: name, Size: size, Unused: true,
			Problem: fmt.Sprintf("foreign: the header says session %v from number %d", h.Lineage.Current().ID, h.Next)})
		return nil, nil
	}
	s := &segment{name: name, first: first, lineage: h.Lineage, mode: h.Mode, size: size, safe: size, late: h.Next > first}
	if t := r.Trailer(); t != nil && t.Next >= first {
		s.next, s.last = t.Next, t.LastTime
	} else {
		s.cut = true
		err = s.findEnd(f)
	}
	return s, err
}

// syncUnsettled makes the files of the last session durable that a killed process may have left unsynced: those
// without a trailer. The files of earlier sessions were made durable before the last session began, and the last
// file by recoverLast.
func (j *Journal) syncUnsettled() error {
	last := j.segments[len(j.segments)-1]
	for _, s := range j.segments[:len(j.segments)-1] {
		if s.cut && s.session() == last.session() {
			if err := j.fs.Truncate(j.path(s.name), s.size); err != nil {
				return err
			}
		}
	}
	return nil
}

// findEnd sets where s ends if its last bytes are a packet. A process that was killed leaves a file without a
// trailer, and walking through that file would take as long as reading it.
func (s *segment) findEnd(f io.ReaderAt) error {
	b := make([]byte, min(s.size, codec.PacketHeader+codec.MaxBody))
	if _, err := f.ReadAt(b, s.size-int64(len(b))); err != nil && err != io.EOF {
		return err
	}
	seed := codec.LineSeed(s.session().ID, nil)
	for i := len(b) - codec.PacketHeader; i >= 0; i-- {
		if p := b[i:]; codec.PacketSize(p) == len(p) && codec.VerifyPacket(p, seed) {
			h := codec.PacketAt(p)
			s.next, s.last = h.First+h.Count, h.PublishTime
			return nil
		}
	}
	return nil
}

func (j *Journal) report(d Damage) { j.recovered.Damage = append(j.recovered.Damage, d) }

// chain is those segments that lead to the last one, oldest first: each belongs to the
// lineage of the one after it, and begins where its session was still the current one. The
// last one is of a session that none other descends from. A file names only the newest sessions of
// its lineage; the whole lineage is what all of them name.
func (j *Journal) chain(all []*segment) ([]*segment, feed.Lineage) {
	slices.SortFunc(all, func(a, b *segment) int {
		switch {
		case a.first != b.first:
			return cmp.Compare(b.first, a.first)
		case isAncestor(a, b):
			return 1
		case isAncestor(b, a):
			return -1
		}
		return cmp.Compare(b.name, a.name)
	})
	last := slices.IndexFunc(all, func(s *segment) bool {
		return !slices.ContainsFunc(all, func(o *segment) bool { return isAncestor(s, o) })
	})
	if last < 0 {
		return nil, nil
	}
	chain := []*segment{all[last]}
	var (
		lineage feed.Lineage // newest first
		ends    = make(map[feed.SessionID]uint64)
	)
	remember := func(l feed.Lineage) { // a lineage that names the oldest session of lineage, and perhaps older ones
		if len(lineage) > 0 {
			l, _ = l.Until(lineage[len(lineage)-1].ID)
			l = l[:max(0, len(l)-1)]
		}
		for _, s := range slices.Backward(l) {
			ends[s.ID] = math.MaxUint64
			if n := len(lineage); n > 0 {
				ends[s.ID] = lineage[n-1].First
			}
			lineage = append(lineage, s)
		}
	}
	remember(all[last].lineage)
	for _, s := range all {
		end, ok := ends[s.session().ID]
		switch {
		case s == all[last]:
		case !ok:
			j.report(Damage{File: s.name, Size: s.size, Problem: "foreign: its session is not of the lineage", Unused: true})
		case s.first >= end || s.first >= all[last].first:
			// No session of the lineage has its numbers.
		default:
			chain = append(chain, s)
			remember(s.lineage)
		}
	}
	slices.Reverse(lineage)
	slices.Reverse(chain)
	for i, s := range chain {
		s.to = 0
		if i+1 < len(chain) {
			s.to = chain[i+1].first
		}
	}
	return chain, lineage
}

func isAncestor(a, b *segment) bool {
	_, ok := b.lineage.Until(a.session().ID)
	return ok && a.session().ID != b.session().ID
}

// recoverLast reads the last segment of all to its end. It returns again as true if it removed the segment
// because it holds nothing that the one before it does not.
func (j *Journal) recoverLast(all []*segment) (again bool, err error) {
	s := j.segments[len(j.segments)-1]
	f, err := j.fs.Open(j.path(s.name))
	if err != nil {
		return false, err
	}
	defer f.Close()
	r, err := recording.NewReader(f, s.size)
	if err != nil {
		return false, err
	}
	defer r.Release()
	x := fold{state: feed.NewState(), next: s.first}
	var defined []feed.Tick
	x.defined = func(t *feed.Tick) { defined = append(defined, *t) }
	var damage []Damage
	torn := int64(-1)
	for {
		item, err := r.Next()
		if err == io.EOF {
			break
		} else if err != nil {
			return false, err
		}
		switch item.Kind {
		case recording.KindDamage:
			if item.Range.From == item.Range.To && x.packets == 0 {
				item.Range.From = min(x.next, item.Range.To)
			}
			damage = append(damage, Damage{File: s.name, Offset: item.Offset, Size: item.Size, Range: item.Range, Problem: "damaged"})
		case recording.KindTorn:
			torn = item.Offset
		}
		if err := x.add(r, item); err != nil {
			return false, err
		}
	}
	x.next = max(x.next, r.NextSeq())
	if x.packets == 0 && j.spare(s, x.next, all) {
		if torn >= 0 {
			if err := j.keep(s, f, 0); err != nil {
				return false, err
			}
		}
		if err := j.fs.Remove(j.path(s.name)); err != nil {
			return false, err
		}
		return true, j.fs.SyncDir(j.cfg.Dir)
	}
	rec := j.recovered
	if torn >= 0 {
		if err := j.cut(s, f, torn); err != nil {
			return false, err
		}
		rec.Torn += s.size - torn
		s.size, s.safe = torn, torn
	} else if !r.Closed() {
		// The process was killed. Truncate makes the file durable before another session continues after it.
		if err := j.fs.Truncate(j.path(s.name), s.size); err != nil {
			return false, err
		}
	}
	s.next, s.last = x.next, r.LastTime()
	if s.marks, err = r.Marks(); err != nil {
		return false, err
	}
	if x.packets == 0 {
		s.last = j.newestTime(j.segments[:len(j.segments)-1])
	}
	rec.Mode, rec.Next, rec.LastTime, rec.LastEvent = s.mode, x.next, s.last, x.event
	rec.Damage = append(rec.Damage, damage...)
	rec.State = x.state
	if s.first > 1 && !x.whole && len(j.segments) > 1 {
		j.next = x.next
		if state, err := j.stateAt(x.next, len(j.segments)-2); err == nil {
			rec.State = state
		}
	}
	return false, j.define(defined)
}

// newestTime returns the publish time of the last packet of segments, 0 if they have none that can be read.
func (j *Journal) newestTime(segments []*segment) int64 {
	for _, s := range slices.Backward(segments) {
		if t := j.lastTime(s); t != place.NoTime && t != math.MaxInt64 {
			return t
		}
	}
	return 0
}

// spare reports whether the last segment of all, which has no packets and ends at next, can be removed because
// the remaining files record the same. The first file of a root is kept: subscribers may hold ticks of it that
// never reached the disk, and only a child session can disown them.
func (j *Journal) spare(s *segment, next uint64, all []*segment) bool {
	if next != s.first {
		return false
	}
	before := all
	if n := len(j.segments); n > 1 {
		before = j.segments[n-2 : n-1]
	}
	return slices.ContainsFunc(before, func(o *segment) bool {
		if o == s || !isAncestor(o, s) && o.session().ID != s.session().ID {
			return false
		}
		end, err := j.end(o)
		return err == nil && end >= s.first
	})
}

// end returns the number after the last one that segment s holds.
func (j *Journal) end(s *segment) (uint64, error) {
	if s.next == 0 {
		if err := j.measure(s); err != nil {
			return 0, err
		}
	}
	return s.next, nil
}

// keep copies the bytes of segment s from offset into its side file, durably. Holes stay holes, and one at the end is left out: they
// may be far larger than the disk.
func (j *Journal) keep(s *segment, f io.ReaderAt, offset int64) error {
	side := j.path(s.name + TornSuffix)
	if err := j.fs.Remove(side); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	out, err := j.fs.Create(side)
	if err != nil {
		return err
	}
	for at := offset; at < s.size && err == nil; {
		from, to := recording.NextData(f, at, s.size)
		if from == s.size {
			break
		}
		if seeker, ok := out.(io.Seeker); ok {
			_, err = seeker.Seek(from-at, io.SeekCurrent)
			at = from
		}
		if err == nil {
			_, err = io.Copy(out, io.NewSectionReader(f, at, to-at))
		}
		at = to
	}
	if err == nil {
		err = out.Sync()
	}
	return errors.Join(err, out.Close())
}

// cut truncates segment s at offset, after keeping the bytes beyond it in its side file.
func (j *Journal) cut(s *segment, f io.ReaderAt, offset int64) error {
	if err := j.keep(s, f, offset); err != nil {
		return fmt.Errorf("keep the torn end of %s: %w", s.name, err)
	}
	if err := j.fs.SyncDir(j.cfg.Dir); err != nil {
		return err
	}
	return j.fs.Truncate(j.path(s.name), offset)
}

// reportGaps reports numbers missing before the first file, between files, and at the beginning of a file that
// lost its header. If no retention is configured, missing oldest files are damage.
func (j *Journal) reportGaps() {
	first := j.segments[0]
	if begin := first.lineage[0].First; first.first > begin && j.goneBefore() == codec.GoneDamaged {
		j.report(Damage{File: first.name, Range: feed.Range{From: begin, To: first.first}, Before: true,
			Problem: "the files before this one are missing; if a retention removed them, use the same one again"})
	}
	for _, s := range j.segments[:len(j.segments)-1] { // recoverLast reads the last one
		if s.late {
			j.reportBeginning(s)
		}
		end, err := j.end(s)
		switch {
		case err != nil:
			j.report(Damage{File: s.name, Size: s.size, Problem: fmt.Sprintf("cannot be read: %v", err)})
		case end < s.to:
			j.report(Damage{File: s.name, Range: feed.Range{From: end, To: s.to}, Problem: "the next file begins later"})
		}
	}
}

// reportBeginning reports the damage before the first packets of s.
func (j *Journal) reportBeginning(s *segment) {
	err := j.read(s, func(r *recording.Reader) error {
		for {
			item, err := r.Next()
			if err == io.EOF || err == nil && item.Kind == recording.KindPackets {
				return nil
			} else if err != nil {
				return err
			}
			if item.Kind == recording.KindDamage {
				missing := item.Range
				missing.From = s.first // the numbers before the first packets begin at s.first
				missing.To = max(missing.From, missing.To)
				j.report(Damage{File: s.name, Offset: item.Offset, Size: item.Size, Range: missing, Problem: "damaged"})
			}
		}
	})
	if err != nil {
		j.report(Damage{File: s.name, Size: s.size, Problem: fmt.Sprintf("cannot be read: %v", err)})
	}
}

// define collects the history of definitions: from the snapshot at the beginning of each file, from the ticks
// of each file during which definitions changed, and from last, the definition ticks of the last file.
func (j *Journal) define(last []feed.Tick) error {
	history := j.recovered.Definitions
	known := map[feed.InstrumentID]feed.Definition{}
	learn := func(seq uint64, t *feed.Tick) {
		if d := t.Definition(); known[t.Instrument] != *d {
			known[t.Instrument] = *d
			history.Define(seq, t.Instrument, d)
		}
	}
	for i, s := range j.segments {
		told, err := j.snapshotDefinitions(s)
		if err != nil {
			return err
		}
		missing := map[feed.InstrumentID]*feed.Definition{}
		for _, t := range told {
			if d := t.Definition(); known[t.Instrument] != *d {
				missing[t.Instrument] = d
			}
		}
		if i > 0 && len(missing) > 0 {
			if err := j.findDefinitions(j.segments[i-1], missing, learn); err != nil {
				return err
			}
		}
		for _, t := range told { // defined before the first file, or in damaged packets
			learn(s.first-1, &t)
		}
	}
	for _, t := range last {
		learn(t.Seq, &t)
	}
	return nil
}

// snapshotDefinitions returns the definitions in the snapshot that segment s begins with, as far as it is
// intact.
func (j *Journal) snapshotDefinitions(s *segment) (told []feed.Tick, err error) {
	err = j.read(s, func(r *recording.Reader) error {
		for {
			item, err := r.Next()
			if err == io.EOF || err == nil && item.Kind == recording.KindPackets {
				return nil
			} else if err != nil {
				return err
			}
			if item.Kind == recording.KindSnapshot {
				err = r.SnapshotTicks(item, func(ticks []feed.Tick) {
					for i := range ticks {
						if ticks[i].Kind == feed.KindDefinition {
							told = append(told, ticks[i])
						}
					}
				})
			}
			if err != nil {
				return err
			}
		}
	})
	return told, err
}

// findDefinitions passes the definition ticks of segment s to learn until it has found all of missing.
func (j *Journal) findDefinitions(s *segment, missing map[feed.InstrumentID]*feed.Definition, learn func(uint64, *feed.Tick)) error {
	return j.read(s, func(r *recording.Reader) error {
		for len(missing) > 0 {
			item, err := r.Next()
			if err == io.EOF {
				return nil
			} else if err != nil {
				return err
			}
			definitions(item.Data, func(t *feed.Tick) {
				if t.Seq >= s.to {
					return
				}
				learn(t.Seq, t)
				if d := missing[t.Instrument]; d != nil && *t.Definition() == *d {
					delete(missing, t.Instrument)
				}
			})
		}
		return nil
	})
}

// definitions calls each with every definition tick in a run of packets.
func definitions(run []byte, each func(*feed.Tick)) {
	var one [1]feed.Tick
	for h, raw := range recording.Packets(run) {
		body := raw[codec.PacketHeader:]
		seq := h.First
		for len(body) > 0 {
			e, err := codec.EntryAt(body)
			if err != nil || e.Size == 0 {
				break
			}
			if e.Tick && e.Kind == feed.KindDefinition {
				b := codec.PacketBody(&codec.Packet{First: seq, Count: 1, Base: h.Base}, body[:e.Size])
				if n, err := b.Decode(one[:]); n == 1 && err == nil {
					each(&one[0])
				}
			}
			seq += e.Covers
			body = body[e.Size:]
		}
	}
}
