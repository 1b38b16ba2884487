// Package journal is a publisher's log on disk: a directory of recordings (see package
// recording), each of which can be read alone.
//
// One goroutine begins sessions, appends and rotates. Any number of cursors may read at the same time: they see
// only whole appends and never make the writer wait. Other goroutines may sync, settle and apply retention.
//
// Set publisher.Config.Journal to use a journal; [Look] reads one without changing it. A program that writes ticks of its own to
// a journal does what a publisher does:
//
//	j, err := journal.Open(journal.Config{Dir: "journal"})
//	if err != nil {
//		return err
//	}
//	r := j.Recovered() // what earlier sessions have left
//	id := feed.NewSessionID()
//	err = j.Begin(r.Lineage.Child(id, r.Next), codec.ModeLive, r.State)
//	err = j.Append(packet, next, publishTime)
//	cursor := j.Cursor(j.Tail())
//	chunk, err := cursor.Next() // io.EOF after the last append
//	err = j.Close()
//
//	Open → Recovered → Begin → Append … Rotate → Append … → Close
//	                        │               └→ Prepare, Settle
//	                        └→ Cursor → Next … (for subscribers behind the log in memory)
//
// [Journal] says what is durable when, and what happens if the disk fails or files disappear.
package journal

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"time"

	"tickfeed/codec"
	"tickfeed/codec/recording"
	"tickfeed/feed"
)

// A Journal is a directory of recordings that join.
//
// Rotate is on the way of ticks to subscribers, so it does only what must precede the next append: it creates the
// next file and writes the header and the state that the file begins with. Settle does the rest, from another
// goroutine: it syncs the file that ended, then writes its index and trailer, syncs those, and closes the file.
// So a trailer says that everything before it is durable, and Open syncs the files without a trailer that a killed
// process may have left. If power fails before Settle has synced, the file that ended may be cut short although
// the next one survived. The next header states its first number, so the numbers between the two are reported as
// missing, and the next session begins after all that is left. [Journal.Unsynced] returns how much a power cut
// may cost. With SyncAlways, the file that ends, the next file and its name are durable before Rotate returns.
//
// A condition that can end by itself is not a failure: if room, file descriptors or permission are lacking, a
// call returns ErrFull and may be made again. A journal holds a few descriptors in reserve, so that it can
// create the next file when the process has none left, and bounds the number of files that are open for
// reading.
//
// The current file, the lock or the directory may be removed, moved or replaced by someone else. Check detects
// this. The session then continues in a new file, and Rotate makes the directory and the lock again if they are
// missing. The header of the new file states its first sequence number, so no number is ever given to other
// bytes, not even after a restart. Numbers in the missing files are reported as missing to the readers that
// need them. Data appended to a removed file before the next Check (publishers call it each second) is lost if
// the process is killed; the next start then begins a child session at the end of what is on disk, which
// disowns the ticks beyond it. If another publisher holds the new lock, the journal fails.
//
// A file costs less CPU time to write if the file system has reserved its disk space before. If a file was filled
// within ten seconds, Prepare makes the next one ahead and reserves the space for all of it, on ext4 and if there is
// plenty. This file has no name until Rotate uses it: the directory does not show it, and a killed process leaves
// nothing of it. It is given up if the disk is full or the feed slows down. When a file ends, the space that it
// reserved and did not use is freed; after a kill, Open frees it. Until then du counts more than the size of the file.
type Journal struct {
	cfg       Config
	fs        FS
	recovered *Recovered

	// Fields used by the writer's goroutine alone.
	header   codec.FileHeader
	begun    int    // length of the append that ErrFull interrupted; 0 if none was
	leftover string // file that a failed attempt could not remove

	retaining sync.Mutex    // held by Retain
	syncing   chan struct{} // one slot, taken while files are synced, closed or checked; acquired before mu
	reading   chan struct{} // one slot for each descriptor that may be open for reading

	mu       sync.Mutex // held for a few instructions only
	lock     io.Closer
	out      []*outFile   // files open for writing, oldest first; an element never changes
	current  *outFile     // the last of out, which is appended to; nil if all of out have ended
	missing  bool         // the directory no longer names current or lock
	prepared PreparedFile // becomes the next file; nil if there is none
	wanted   bool         // Prepare is to make the next file
	reserve  []io.Closer  // descriptors held so that they can be given up
	segments []*segment   // oldest first; current, if not nil, is the last one
	files    []*openFile  // least recently requested first
	opened   []*openFile  // files whose descriptor is open, least recently read first
	opening  int          // number of files about to be opened
	next     uint64
	synced   uint64
	stamps   []stamp // when the appends from synced on were made, oldest first
	failed   error   // final for the current file
	closed   bool
}

// A segment is one file of a journal. Journal.mu protects the fields that change.
type segment struct {
	name    string
	first   uint64
	lineage feed.Lineage
	mode    codec.Mode
	created int64 // wall clock in ns; 0 if another process created it

	to    uint64       // first number of the next file, which owns the numbers from there; 0 if s is the last
	size  int64        // length of the whole appends, in bytes
	safe  int64        // bytes of size that are synced or recovered
	next  uint64       // number after the last one held; 0 if not known
	last  int64        // publish time of the last packet; meaningless while next is 0
	marks []codec.Mark // nil if not known; only ever appended to
	gone  bool         // removed by retention
	late  bool         // the file has lost its first header: the header was found at a later mark
	cut   bool         // the file was recovered without a trailer: its writer was killed, or lost power

	indexing chan struct{} // one slot, taken while marks are made for a file that has none
}

func (s *segment) session() feed.Session { return s.lineage.Current() }

// An outFile is a file that is open for writing: the current file, or one that ended and waits for Settle.
type outFile struct {
	*segment
	w *recording.Writer
	f recording.File // the file that w writes

	// Protected by Journal.mu.
	synced uint64 // the file is durable up to this number; its first number if nothing of it is
	named  bool   // its name is durable
	broken bool   // a sync failed: it is unknown what is durable
}

// Errors, sorted by consequence.
var (
	// ErrLocked is returned if another publisher holds the journal.
	ErrLocked = errors.New("in use by another publisher")
	// ErrFull is returned if the file system lacks room, file descriptors or permission at the moment; the
	// caller may make the same call again later.
	ErrFull = errors.New("not possible now")
	// ErrFailed is returned if nothing more can be appended to the current file. Appended data can still be
	// read, but data beyond Synced may not be durable. Begin continues in a child session.
	ErrFailed = errors.New("journal file failed")
	// ErrClosed is returned once the journal is closed.
	ErrClosed = errors.New("journal is closed")
)

// Open locks the directory, which it creates if need be, and recovers its contents. The error wraps ErrLocked
// if another publisher holds the lock; any other error comes from the config or the file system.
func Open(cfg Config) (*Journal, error) {
	j, err := newJournal(cfg)
	if err != nil {
		return nil, err
	}
	if err := j.fs.MkdirAll(cfg.Dir); err != nil {
		return nil, fmt.Errorf("journal %s: %w", cfg.Dir, err)
	}
	lock, err := j.fs.Lock(j.path(lockName))
	if errors.Is(err, ErrLocked) {
		return nil, fmt.Errorf("journal %s is %w", cfg.Dir, ErrLocked)
	} else if err != nil {
		return nil, fmt.Errorf("journal %s: %w", cfg.Dir, err)
	}
	j.lock = lock
	err = j.fillReserve()
	if err == nil {
		err = j.recover()
	}
	if err != nil {
		j.closeFiles()
		j.emptyReserve()
		lock.Close()
		return nil, fmt.Errorf("journal %s: %w", cfg.Dir, err)
	}
	j.next = j.recovered.Next
	j.synced = j.next
	return j, nil
}

// newJournal returns a Journal that has touched nothing.
func newJournal(cfg Config) (*Journal, error) {
	if err := cfg.validate(); err != nil {
		return nil, fmt.Errorf("journal: %w", err)
	}
	if cfg.FS == nil {
		cfg.FS = OS{}
	}
	if cfg.SegmentSize == 0 {
		cfg.SegmentSize = DefaultSegmentSize
		if cfg.RetainBytes > 0 {
			cfg.SegmentSize = max(MinSegmentSize, min(cfg.SegmentSize, cfg.RetainBytes/retained))
		}
	}
	if cfg.Now == nil {
		cfg.Now = func() int64 { return time.Now().UnixNano() }
	}
	limit, _ := FileLimit()
	return &Journal{cfg: cfg, fs: cfg.FS, syncing: make(chan struct{}, 1), reading: make(chan struct{}, readFiles(limit))}, nil
}

func (j *Journal) path(name string) string { return filepath.Join(j.cfg.Dir, name) }

// Recovered returns the contents that Open found. The result belongs to the caller.
func (j *Journal) Recovered() *Recovered { return j.recovered }

// Begin creates the first file of a session, the current one of lineage, durably. The session must be a child
// of the journal's contents that begins at Next, or a root, which may begin at any number, if the journal is
// empty. State is the state as of the session's first number. After ErrFailed the session may begin at any
// number from Synced to Next at which a packet begins; no session then owns the data appended from that number
// on. The journal keeps lineage. After ErrFull the caller may call Begin again with the same arguments.
func (j *Journal) Begin(lineage feed.Lineage, mode codec.Mode, state *feed.State) error {
	lineage = lineage.Newest()
	if err := lineage.Validate(); err != nil {
		return fmt.Errorf("journal %s: %w", j.cfg.Dir, err)
	}
	session := lineage.Current()
	j.mu.Lock()
	next, synced, failed, closed := j.next, j.synced, j.failed, j.closed
	empty := len(j.segments) == 0 && next == 1
	j.mu.Unlock()
	switch {
	case closed:
		return ErrClosed
	case session.First > next && !empty || session.First < next && (failed == nil || session.First < synced):
		return fmt.Errorf("journal %s: session %v begins at %d, the journal ends at %d", j.cfg.Dir, session.ID, session.First, next)
	}
	if failed != nil {
		_ = j.closeOut() // as far as possible
	} else if err := j.finish(); err != nil {
		return err
	}
	j.header = codec.FileHeader{
		Mode: mode, Lineage: lineage, Origin: j.cfg.Origin, Seed: codec.LineSeed(session.ID, nil),
		Source: j.cfg.Source, Next: session.First,
	}
	return j.create(state, SyncAlways, failed)
}

// Append appends p verbatim. P must be whole sealed packets of the current session that join; next is the
// number after them and lastTime the publish time of the last one. Once Append returns nil, the operating
// system has the packets and cursors see them (with SyncAlways: once Sync has returned). Append makes one
// write, allocates nothing, and waits for no cursor.
//
// After ErrFull the caller must call Append again with the same p: it resumes at the byte where it stopped.
// After ErrFailed the caller must call Begin.
func (j *Journal) Append(p []byte, next uint64, lastTime int64) error {
	j.mu.Lock()
	out, first, err := j.current, j.next, j.usableLocked()
	j.mu.Unlock()
	if err != nil {
		return err
	}
	if codec.PacketSize(p) == 0 || codec.PacketAt(p).First != first {
		return fmt.Errorf("journal %s: internal error: append does not begin at %d", j.cfg.Dir, first)
	}
	if j.begun != 0 && j.begun != len(p) {
		return fmt.Errorf("journal %s: internal error: append of %d bytes resumed with %d", j.cfg.Dir, j.begun, len(p))
	}
	if err := out.w.Append(p, next, lastTime); err != nil {
		j.begun = len(p)
		return j.failedTo("append", err)
	}
	j.begun = 0
	now := time.Now()
	j.mu.Lock()
	out.size, out.next, out.last, out.marks = out.w.Size(), next, lastTime, out.w.Marks()
	j.stampLocked(first, now)
	j.next = next
	j.mu.Unlock()
	return nil
}

func (j *Journal) usableLocked() error {
	switch {
	case j.closed:
		return ErrClosed
	case j.failed != nil:
		return j.failed
	case j.current == nil:
		return fmt.Errorf("journal %s: no session was begun", j.cfg.Dir)
	}
	return nil
}

// passes reports whether err, returned by creating or writing a file, describes a condition that can end by
// itself.
func passes(err error) bool {
	return recording.IsFull(err) || OutOfDescriptors(err) || errors.Is(err, os.ErrPermission) || errors.Is(err, syscall.EROFS) ||
		isGone(err) || errors.Is(err, os.ErrExist) || errors.Is(err, syscall.EISDIR)
}

// failedTo wraps an error of the current file in ErrFull if it may pass, else in ErrFailed, and records the
// latter. If there is no room, it removes the prepared file.
func (j *Journal) failedTo(what string, err error) error {
	if passes(err) {
		if recording.IsFull(err) {
			j.dropPrepared() // its room is for ticks
		}
		return fmt.Errorf("journal %s: %s: %w: %w", j.cfg.Dir, what, ErrFull, err)
	}
	err = fmt.Errorf("journal %s: %s: %w: %w", j.cfg.Dir, what, ErrFailed, err)
	j.mu.Lock()
	if j.failed == nil {
		j.failed = err
	}
	j.mu.Unlock()
	return err
}

// Full reports whether Rotate is due because the current file has reached its size or age, or is missing. It
// returns false while too many files that ended wait for Settle. Only the writer's goroutine may call it.
func (j *Journal) Full() bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	switch {
	case j.missing:
		return true
	case j.current == nil || len(j.out) > maxUnsettled:
		return false
	}
	s := j.current
	return s.size >= j.cfg.SegmentSize || j.cfg.RetainAge > 0 && j.cfg.Now()-s.created >= int64(j.cfg.RetainAge)/retained
}

// Rotate ends the current file and begins the next one of the session; state is the state as of Next. The owner
// then calls Settle, from another goroutine. After ErrFull nothing has changed: the caller may call Rotate again
// with the same state, or append to the current file. A file without packets is not rotated, unless Check found
// that it is missing. Rotate waits for the disk only with SyncAlways, or if too many files that ended wait for
// Settle.
func (j *Journal) Rotate(state *feed.State) error {
	j.mu.Lock()
	err := j.usableLocked()
	if err == nil && j.current.first == j.next && !j.missing {
		j.mu.Unlock()
		return nil
	}
	next, crowded := j.next, len(j.out) > maxUnsettled
	j.mu.Unlock()
	if err == nil && crowded {
		err = j.Settle()
	}
	if err == nil && j.cfg.Sync == SyncAlways {
		err = j.Sync()
	}
	if err != nil {
		return err
	}
	j.header.Next = next
	return j.create(state, j.cfg.Sync, nil)
}

// finish ends the current file and settles it.
func (j *Journal) finish() error {
	j.mu.Lock()
	j.current = nil
	j.mu.Unlock()
	return j.Settle()
}

// create creates the next file as described by j.header, durably if sync is SyncAlways. The file ends the failure
// over, or none if over is nil: Settle may find another failure meanwhile, which remains.
func (j *Journal) create(state *feed.State, sync Sync, over error) error {
	h := j.header
	h.Created = j.cfg.Now()
	seg := &segment{
		name:  fileName(h.Next, h.Lineage.Current().ID),
		first: h.Next, next: h.Next, lineage: h.Lineage, mode: h.Mode, last: h.Created, created: h.Created,
	}
	path := j.path(seg.name)
	if err := j.returnHome(); err != nil {
		return j.failedTo("make the directory and its lock again", err)
	}
	if j.leftover != "" {
		if err := j.fs.Remove(j.leftover); err != nil && !errors.Is(err, os.ErrNotExist) {
			return j.failedTo("remove", err)
		}
		j.leftover = ""
	}
	f, err := j.createFile(path)
	if err != nil {
		if isGone(err) {
			j.miss() // the directory is missing
		}
		return j.failedTo("create", err)
	}
	w, err := recording.NewWriter(f, h, state)
	if err == nil && sync == SyncAlways {
		if err = w.Sync(); err == nil {
			err = j.withDescriptors(func() error { return j.fs.SyncDir(j.cfg.Dir) })
		}
	}
	if err != nil {
		f.Close()
		j.leftover = path
		if rerr := j.fs.Remove(path); rerr == nil {
			j.leftover = ""
		}
		return j.failedTo("begin "+seg.name, err)
	}
	seg.size = w.Size()
	out := &outFile{segment: seg, w: w, f: f, synced: seg.first}
	if sync == SyncAlways {
		seg.safe, out.named = seg.size, true
	}
	j.begun = 0
	j.mu.Lock()
	defer j.mu.Unlock()
	if h.Next < j.next { // a child session begins before the end of a failed file
		j.synced, j.stamps = h.Next, nil
	}
	// The new file owns the numbers from its first one on. No number is left for files that begin there or later.
	for _, s := range j.segments {
		if s.to == 0 || s.to > seg.first {
			s.to = seg.first
		}
	}
	j.segments = slices.DeleteFunc(j.segments, func(s *segment) bool { return s.first >= seg.first })
	j.segments = append(j.segments, seg)
	j.out = append(j.out, out)
	j.wanted = j.fastLocked(seg.created)
	j.current, j.missing = out, false
	j.next = h.Next
	if j.failed == over {
		j.failed = nil
	}
	j.advanceLocked()
	return nil
}

func fileName(first uint64, id feed.SessionID) string { return fmt.Sprintf("%020d-%v.tick", first, id) }

// Next returns the number after the last one appended or recovered.
func (j *Journal) Next() uint64 {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.next
}

// Synced returns the number up to which everything was durable at the last sync.
func (j *Journal) Synced() uint64 {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.synced
}

// Tail returns the oldest number held, or Next if there is none.
func (j *Journal) Tail() uint64 {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.tailLocked()
}

func (j *Journal) tailLocked() uint64 {
	if len(j.segments) == 0 {
		return j.next
	}
	return j.segments[0].first
}

// Bytes returns the total size of all files.
func (j *Journal) Bytes() int64 {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.bytesLocked()
}

// shownLocked returns the end of the numbers that cursors may return.
func (j *Journal) shownLocked() uint64 {
	if j.cfg.Sync == SyncAlways {
		return j.synced
	}
	return j.next
}

// readableLocked returns how many bytes of segment s may be read.
func (j *Journal) readableLocked(s *segment) int64 {
	if j.cfg.Sync == SyncAlways && s.to == 0 {
		return s.safe
	}
	return s.size
}

func (j *Journal) bytesLocked() int64 {
	n := int64(0)
	for _, s := range j.segments {
		n += s.size
	}
	return n
}

// Close settles all files, with syncs under every policy, and releases the lock. The journal is closed
// even if Close returns an error; the error wraps ErrFailed if some data may not be durable. The callers of
// Cursor must still close their cursors.
func (j *Journal) Close() error {
	j.mu.Lock()
	failed, closed := j.failed, j.closed
	j.mu.Unlock()
	if closed {
		return nil
	}
	err := cmp.Or(failed, j.closeOut())
	j.mu.Lock()
	j.closed = true
	j.mu.Unlock()
	j.dropPrepared()
	j.closeFiles()
	j.emptyReserve()
	return errors.Join(err, j.lock.Close())
}
