// Package journal is a publisher's log on disk: a directory of recordings (see package
// recording), each of which can be read alone.
//
// One goroutine begins sessions, appends and rotates. Cursors read, any number of them, at
// the same time; they see what was wholly appended and never make the writer wait. Syncing
// and retention may be done by other goroutines.
//
// What can end by itself is a state, not a failure: for want of room, of file descriptors or of permission
// a call returns ErrFull and may be made again. A journal holds a few descriptors in reserve, so that the
// next file can be made when the process has no more, and has a bounded number of files open for reading.
//
// Somebody may remove, move or replace the current file, the lock, or the directory. Check finds that out.
// The session then goes on in a new file, in a directory and with a lock that are made again if need be: its
// header says with which number, so that no number is ever given to other bytes, also after a restart. What
// the missing files held is reported as missing to the readers that need it. Until Check is called, which
// publishers do each second, what is appended to a removed file is lost by a kill; the next start is a
// child session at the last number that is there, and subscribers beyond it are told so. If another
// publisher has the new lock, the journal fails.
//
//	Open → Recovered → Begin → Append … Rotate → Append … → Close
//	                        └→ Cursor → Next … (from memory's fallback, for any subscriber)
package journal

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"tickfeed/codec"
	"tickfeed/codec/recording"
	"tickfeed/feed"
)

// A Journal is a directory of recordings that join.
type Journal struct {
	cfg       Config
	fs        FS
	recovered *Recovered

	// The writer's goroutine alone uses what follows.
	header   codec.FileHeader
	sealed   bool   // the current file has its end; the next one is to be made
	begun    int    // bytes of the append that was interrupted by ErrFull; 0 if none was
	leftover string // a file that a failed attempt could not remove

	retaining sync.Mutex    // held by Retain
	syncing   chan struct{} // 1 slot, taken while the current file is synced, closed or checked; before mu
	reading   chan struct{} // a slot for each descriptor that may be open for reading

	mu       sync.Mutex // held for a few instructions only
	lock     io.Closer
	file     recording.File // of w; nil once it is closed
	missing  bool           // the directory does not name file, or lock, any more
	reserve  []io.Closer    // descriptors that are held so that they can be given up
	w        *recording.Writer
	segments []*segment  // oldest first; the last is written by w, if that is not nil
	files    []*openFile // the one that was asked for last comes last
	opened   []*openFile // those that are open; the one that was read last comes last
	opening  int         // those that are about to be
	next     uint64
	synced   uint64
	failed   error // final for the current file
	closed   bool
}

// A segment is one file of a journal. What is not constant is protected by Journal.mu.
type segment struct {
	name    string
	first   uint64
	lineage feed.Lineage
	mode    codec.Mode
	created int64 // ns by the wall clock; 0 if not by this publisher

	to    uint64       // first of the next file: numbers from it on are not this one's; 0 if it is the last
	size  int64        // bytes of whole appends
	safe  int64        // of these, bytes that were synced or recovered
	next  uint64       // number after those that it holds; 0 if not known
	last  int64        // publish time of its last packet; meaningless while next is 0
	marks []codec.Mark // nil if not known; only ever appended to
	gone  bool         // removed by retention
	late  bool         // its header was found on the way only

	indexing chan struct{} // one slot, taken while marks that are in no file are made
}

func (s *segment) session() feed.Session { return s.lineage.Current() }

// A Sync says when what was appended is made durable.
type Sync int

// The policies. The journal syncs on its own only when it begins, rotates and closes files;
// between, it is its owner who calls [Journal.Sync].
const (
	SyncNone     Sync = iota // files are synced when a session begins and at Close
	SyncInterval             // the owner calls Sync from time to time
	SyncAlways               // the owner calls Sync after Append and before it sends; cursors see what is synced
)

// A Config says how a journal is kept.
type Config struct {
	Dir string // made if it does not exist
	FS  FS     // nil for the operating system's
	// SegmentSize is about how long a file becomes, in bytes, at least MinSegmentSize: 0 for
	// DefaultSegmentSize, or an eighth of RetainBytes if that is less.
	SegmentSize int64
	// RetainBytes and RetainAge bound what Retain keeps, in bytes of whole files and in publish
	// time of a file's last packet; 0 for no bound. No file is filled for longer than an eighth
	// of RetainAge.
	RetainBytes int64
	RetainAge   time.Duration
	Sync        Sync
	Source      string         // what is recorded, for a person
	Origin      feed.SessionID // of a replay: the session that was recorded; else 0
	Now         func() int64   // wall clock in ns since the Unix epoch; nil for the system's
}

// Sizes of files, in bytes.
const (
	DefaultSegmentSize = 256 << 20
	MinSegmentSize     = 1 << 10
)

// retained is of how many files, at least, what retention keeps is made.
const retained = 8

func (c *Config) validate() error {
	switch {
	case c.Dir == "":
		return errors.New("the config's Dir must not be empty")
	case c.SegmentSize != 0 && c.SegmentSize < MinSegmentSize:
		return fmt.Errorf("SegmentSize must be 0 or at least %d, got %d", MinSegmentSize, c.SegmentSize)
	case c.RetainBytes < 0:
		return fmt.Errorf("RetainBytes must not be negative, got %d", c.RetainBytes)
	case c.RetainAge < 0:
		return fmt.Errorf("RetainAge must not be negative, got %v", c.RetainAge)
	case c.Sync < SyncNone || c.Sync > SyncAlways:
		return fmt.Errorf("Sync must be from %d to %d, got %d", SyncNone, SyncAlways, c.Sync)
	}
	return nil
}

// Errors by what their consequence is.
var (
	// ErrLocked: another publisher has the journal.
	ErrLocked = errors.New("in use by another publisher")
	// ErrFull: the file system takes nothing now, for want of room, of file descriptors or of
	// permission; the same call may be made again later.
	ErrFull = errors.New("not possible now")
	// ErrFailed: nothing more can be appended to the current file. What was appended can be
	// read, but it is not known what of it is durable beyond Synced. Begin goes on, in a
	// child session.
	ErrFailed = errors.New("journal file failed")
	// ErrClosed: the journal is closed.
	ErrClosed = errors.New("journal is closed")
)

// Open makes the directory if need be, locks it and recovers what it holds. An error wraps
// ErrLocked if another publisher has it, else it is the file system's.
func Open(cfg Config) (*Journal, error) {
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
	j := &Journal{cfg: cfg, fs: cfg.FS, syncing: make(chan struct{}, 1), reading: make(chan struct{}, readFiles(limit))}
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

func (j *Journal) path(name string) string { return filepath.Join(j.cfg.Dir, name) }

// Recovered is what Open found. It belongs to the caller.
func (j *Journal) Recovered() *Recovered { return j.recovered }

// Begin makes the first file of a session, durably: lineage's current one, a child of what
// the journal holds from its Next on, or a root, from any number, where it holds nothing. State
// is as of there. After ErrFailed the session may begin at any number from Synced to Next at which a
// packet begins; from there on what was appended is then nobody's. The lineage is kept. On
// ErrFull Begin may be called again with the same arguments.
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
	if failed == nil {
		if err := j.seal(); err != nil {
			return err
		}
	} else {
		j.abandon()
	}
	j.header = codec.FileHeader{
		Mode: mode, Lineage: lineage, Origin: j.cfg.Origin, Seed: codec.LineSeed(session.ID, nil),
		Source: j.cfg.Source, Next: session.First,
	}
	return j.create(state, SyncAlways)
}

// Append appends p, whole sealed packets of the current session that join, verbatim; next is
// the number after them and lastTime the publish time of the last. When it returns nil they
// are with the operating system and cursors see them (with SyncAlways: once Sync returned). It is one write, allocates nothing, and
// waits for no cursor.
//
// On ErrFull, call it again with the same p: it goes on at the byte where it stopped. After
// ErrFailed call Begin.
func (j *Journal) Append(p []byte, next uint64, lastTime int64) error {
	j.mu.Lock()
	w, first, err := j.w, j.next, j.usableLocked()
	j.mu.Unlock()
	if err != nil {
		return err
	}
	if codec.PacketSize(p) == 0 || codec.PacketAt(p).First != first {
		return fmt.Errorf("journal %s: internal error: what is appended does not begin at %d", j.cfg.Dir, first)
	}
	if j.sealed {
		return fmt.Errorf("journal %s: the file is at its end: rotate before the next append", j.cfg.Dir)
	}
	if j.begun != 0 && j.begun != len(p) {
		return fmt.Errorf("journal %s: internal error: an append of %d bytes goes on with %d", j.cfg.Dir, j.begun, len(p))
	}
	if err := w.Append(p, next, lastTime); err != nil {
		j.begun = len(p)
		return j.failedTo("append", err)
	}
	j.begun = 0
	j.mu.Lock()
	s := j.segments[len(j.segments)-1]
	s.size, s.next, s.last, s.marks = w.Size(), next, lastTime, w.Marks()
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
	case j.w == nil:
		return fmt.Errorf("journal %s: no session was begun", j.cfg.Dir)
	}
	return nil
}

// passes reports whether err, of a file that is made or written, is of a state that can end by itself.
func passes(err error) bool {
	return recording.IsFull(err) || OutOfDescriptors(err) || errors.Is(err, os.ErrPermission) || errors.Is(err, syscall.EROFS) ||
		isGone(err) || errors.Is(err, os.ErrExist) || errors.Is(err, syscall.EISDIR)
}

// failedTo sorts an error of the current file: full for now, or final.
func (j *Journal) failedTo(what string, err error) error {
	if passes(err) {
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

// Full reports whether the current file has reached its size or age, and Rotate is due. For
// the writer's goroutine.
func (j *Journal) Full() bool {
	if j.sealed {
		return true
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.missing {
		return true
	}
	if j.w == nil {
		return false
	}
	s := j.segments[len(j.segments)-1]
	return s.size >= j.cfg.SegmentSize || j.cfg.RetainAge > 0 && j.cfg.Now()-s.created >= int64(j.cfg.RetainAge)/retained
}

// Rotate ends the current file and begins the next one of the session; state is as of Next.
// On ErrFull call it again, with the same state. A file without packets is not rotated, unless Check
// found that it is missing.
func (j *Journal) Rotate(state *feed.State) error {
	j.mu.Lock()
	err := j.usableLocked()
	if err == nil && j.segments[len(j.segments)-1].first == j.next && !j.sealed && !j.missing {
		j.mu.Unlock()
		return nil
	}
	next := j.next
	j.mu.Unlock()
	if err != nil {
		return err
	}
	if err := j.seal(); err != nil {
		return err
	}
	j.header.Next = next
	return j.create(state, j.cfg.Sync)
}

// seal ends the current file, if there is one: index, trailer, sync by policy, close.
func (j *Journal) seal() error {
	if j.w == nil || j.sealed {
		return nil
	}
	_ = j.w.Finish() // an index is never needed, only fast
	if j.cfg.Sync != SyncNone {
		if err := j.sync(); err != nil {
			return err
		}
	}
	if err := j.closeFile(j.w.Close); err != nil {
		return j.failedTo("close", finalError{err})
	}
	j.sealed = true
	return nil
}

// closeFile closes the current file, which end does.
func (j *Journal) closeFile(end func() error) error {
	j.syncing <- struct{}{}
	defer func() { <-j.syncing }()
	j.mu.Lock()
	j.file = nil
	j.mu.Unlock()
	return end()
}

// abandon closes a file that failed.
func (j *Journal) abandon() {
	if j.w != nil && !j.sealed {
		_ = j.closeFile(j.w.CloseTorn)
	}
	j.sealed = true
}

// create makes the next file, as j.header says, durably unless sync is SyncNone.
func (j *Journal) create(state *feed.State, sync Sync) error {
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
	var f recording.File
	err := j.withDescriptors(func() (err error) {
		f, err = j.fs.Create(path)
		return err
	})
	if err != nil {
		if isGone(err) {
			j.miss() // the directory is not there
		}
		return j.failedTo("create", err)
	}
	w, err := recording.NewWriter(f, h, state)
	if err == nil && sync != SyncNone {
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
	seg.size, seg.safe = w.Size(), w.Size()
	j.sealed, j.begun = false, 0
	j.mu.Lock()
	if i := len(j.segments) - 1; i >= 0 {
		j.segments[i].to = seg.first
	}
	j.segments = append(j.segments, seg)
	j.file, j.missing = f, false
	j.w, j.next, j.synced, j.failed = w, h.Next, h.Next, nil
	j.mu.Unlock()
	return nil
}

func fileName(first uint64, id feed.SessionID) string { return fmt.Sprintf("%020d-%v.tick", first, id) }

// Sync makes what was appended durable. It may be called from any goroutine; appending goes
// on meanwhile. An error wraps ErrFailed, which is final for the file: the operating system
// forgets what it could not write.
func (j *Journal) Sync() error {
	j.mu.Lock()
	err := j.usableLocked()
	j.mu.Unlock()
	if err != nil {
		return err
	}
	return j.sync()
}

func (j *Journal) sync() error {
	j.syncing <- struct{}{}
	defer func() { <-j.syncing }()
	j.mu.Lock()
	w, next, failed, done := j.w, j.next, j.failed, j.next == j.synced
	s := j.segments[len(j.segments)-1]
	size := s.size
	j.mu.Unlock()
	if failed != nil || done {
		return failed
	}
	if err := w.Sync(); err != nil {
		return j.failedTo("sync", fmt.Errorf("%w", finalError{err}))
	}
	j.mu.Lock()
	if j.w == w {
		j.synced, s.safe = next, size
	}
	j.mu.Unlock()
	return nil
}

// A finalError keeps an error from being taken for one that passes: a sync that failed for
// want of room has failed for good.
type finalError struct{ err error }

func (e finalError) Error() string { return e.err.Error() }

// Unsynced is how many bytes of the current file were appended and not synced.
func (j *Journal) Unsynced() int64 {
	j.mu.Lock()
	defer j.mu.Unlock()
	if len(j.segments) == 0 {
		return 0
	}
	s := j.segments[len(j.segments)-1]
	return s.size - s.safe
}

// Next is the number after the last one appended, or recovered.
func (j *Journal) Next() uint64 {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.next
}

// Synced is the number up to which everything was durable at the last sync.
func (j *Journal) Synced() uint64 {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.synced
}

// Tail is the oldest number held; Next if none is.
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

// Bytes is the size of all files.
func (j *Journal) Bytes() int64 {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.bytesLocked()
}

// shownLocked is the end of what cursors may tell.
func (j *Journal) shownLocked() uint64 {
	if j.cfg.Sync == SyncAlways {
		return j.synced
	}
	return j.next
}

// readableLocked is how many bytes of segment s may be told.
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

// Retain removes the oldest files, whole, while all together are longer than RetainBytes or
// the oldest ended more than RetainAge before now; never the one that is written. It may be
// called from any goroutine. Cursors that are in a file that goes read it to its end.
func (j *Journal) Retain(now int64) error {
	j.retaining.Lock()
	defer j.retaining.Unlock()
	removed := false
	for {
		j.mu.Lock()
		if j.closed {
			j.mu.Unlock()
			return ErrClosed
		}
		if len(j.segments) < 2 {
			j.mu.Unlock()
			break
		}
		oldest := j.segments[0]
		tooBig := j.cfg.RetainBytes > 0 && j.bytesLocked() > j.cfg.RetainBytes
		j.mu.Unlock()
		if !tooBig {
			if j.cfg.RetainAge == 0 || j.lastTime(oldest) >= now-int64(j.cfg.RetainAge) {
				break
			}
		}
		j.mu.Lock()
		j.segments = j.segments[1:]
		oldest.gone = true
		var unread []ReadFile
		if i := j.openLocked(oldest); i >= 0 {
			unread = j.leaveLocked(i)
		}
		j.mu.Unlock()
		closeAll(unread)
		if err := j.fs.Remove(j.path(oldest.name)); err != nil && !errors.Is(err, os.ErrNotExist) {
			j.mu.Lock()
			j.segments = append([]*segment{oldest}, j.segments...)
			oldest.gone = false
			j.mu.Unlock()
			return fmt.Errorf("journal %s: retention: %w", j.cfg.Dir, err)
		}
		removed = true
	}
	if removed {
		return j.withDescriptors(func() error { return j.fs.SyncDir(j.cfg.Dir) })
	}
	return nil
}

// Close ends the current file with index and trailer, syncs it, and gives up the lock. It
// ends in order whatever the error, which wraps ErrFailed if it is not known whether all is
// durable. Cursors have to be closed by whoever opened them.
func (j *Journal) Close() error {
	j.mu.Lock()
	w, failed, closed := j.w, j.failed, j.closed
	j.mu.Unlock()
	if closed {
		return nil
	}
	var err error
	if w != nil && !j.sealed {
		if failed != nil {
			j.abandon()
			err = failed
		} else {
			_ = w.Finish()
			err = j.closeFile(func() error {
				err := w.Sync()
				if err != nil {
					err = fmt.Errorf("journal %s: sync: %w: %w", j.cfg.Dir, ErrFailed, err)
				}
				return errors.Join(err, w.Close())
			})
		}
	}
	j.mu.Lock()
	j.closed = true
	j.mu.Unlock()
	j.closeFiles()
	j.emptyReserve()
	return errors.Join(err, j.lock.Close())
}
