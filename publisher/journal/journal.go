// Package journal is a publisher's log on disk: a directory of recordings (see package
// recording), each of which can be read alone.
//
// One goroutine begins sessions, appends and rotates. Any number of cursors may read at the same time: they see
// only whole appends and never make the writer wait. Other goroutines may sync and apply retention.
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
//	Open → Recovered → Begin → Append … Rotate → Append … → Close
//	                        └→ Cursor → Next … (for subscribers behind the log in memory)
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

	// Fields used by the writer's goroutine alone.
	header   codec.FileHeader
	sealed   bool   // the current file is finished; the next one is not made yet
	begun    int    // length of the append that ErrFull interrupted; 0 if none was
	leftover string // file that a failed attempt could not remove

	retaining sync.Mutex    // held by Retain
	syncing   chan struct{} // one slot, taken while the current file is synced, closed or checked; acquired before mu
	reading   chan struct{} // one slot for each descriptor that may be open for reading

	mu       sync.Mutex // held for a few instructions only
	lock     io.Closer
	file     recording.File // the file that w writes; nil once it is closed
	missing  bool           // the directory no longer names file or lock
	reserve  []io.Closer    // descriptors held so that they can be given up
	w        *recording.Writer
	segments []*segment  // oldest first; w, if not nil, writes the last one
	files    []*openFile // least recently requested first
	opened   []*openFile // files whose descriptor is open, least recently read first
	opening  int         // number of files about to be opened
	next     uint64
	synced   uint64
	failed   error // final for the current file
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

	indexing chan struct{} // one slot, taken while marks are made for a file that has none
}

func (s *segment) session() feed.Session { return s.lineage.Current() }

// A Sync is a policy that says when appended data becomes durable.
type Sync int

// The policies. The journal itself syncs only when it begins, rotates or closes a file; in between, its owner
// calls [Journal.Sync].
const (
	SyncNone     Sync = iota // files are synced when a session begins and at Close
	SyncInterval             // the owner calls Sync from time to time
	SyncAlways               // the owner calls Sync after Append and before it sends; cursors see synced data only
)

// A Config says how a journal is kept.
type Config struct {
	Dir string // created if it does not exist
	FS  FS     // nil for the operating system's
	// SegmentSize is the approximate size of a file in bytes, at least MinSegmentSize. Zero means
	// DefaultSegmentSize, or an eighth of RetainBytes if that is less.
	SegmentSize int64
	// RetainBytes and RetainAge bound what Retain keeps: the total size of the files, and the age of the last
	// packet of a file by its publish time. Zero means no bound. No file is written to for longer than an
	// eighth of RetainAge.
	RetainBytes int64
	RetainAge   time.Duration
	Sync        Sync
	Source      string         // description of the recorded data, for a person
	Origin      feed.SessionID // the recorded session if this is a replay; else 0
	Now         func() int64   // wall clock in ns since the Unix epoch; nil for the system's
}

// Sizes of files, in bytes.
const (
	DefaultSegmentSize = 256 << 20
	MinSegmentSize     = 1 << 10
)

// retained is the least number of files that the retained journal is split into, unless SegmentSize asks for
// larger ones.
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

// Append appends p verbatim. P must be whole sealed packets of the current session that join; next is the
// number after them and lastTime the publish time of the last one. Once Append returns nil, the operating
// system has the packets and cursors see them (with SyncAlways: once Sync has returned). Append makes one
// write, allocates nothing, and waits for no cursor.
//
// After ErrFull the caller must call Append again with the same p: it resumes at the byte where it stopped.
// After ErrFailed the caller must call Begin.
func (j *Journal) Append(p []byte, next uint64, lastTime int64) error {
	j.mu.Lock()
	w, first, err := j.w, j.next, j.usableLocked()
	j.mu.Unlock()
	if err != nil {
		return err
	}
	if codec.PacketSize(p) == 0 || codec.PacketAt(p).First != first {
		return fmt.Errorf("journal %s: internal error: append does not begin at %d", j.cfg.Dir, first)
	}
	if j.sealed {
		return fmt.Errorf("journal %s: the current file is finished: call Rotate before Append", j.cfg.Dir)
	}
	if j.begun != 0 && j.begun != len(p) {
		return fmt.Errorf("journal %s: internal error: append of %d bytes resumed with %d", j.cfg.Dir, j.begun, len(p))
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

// passes reports whether err, returned by creating or writing a file, describes a condition that can end by
// itself.
func passes(err error) bool {
	return recording.IsFull(err) || OutOfDescriptors(err) || errors.Is(err, os.ErrPermission) || errors.Is(err, syscall.EROFS) ||
		isGone(err) || errors.Is(err, os.ErrExist) || errors.Is(err, syscall.EISDIR)
}

// failedTo wraps an error of the current file in ErrFull if it may pass, else in ErrFailed, and records the
// latter.
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

// Full reports whether Rotate is due because the current file has reached its size or age, or is missing. Only
// the writer's goroutine may call it.
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

// Rotate ends the current file and begins the next one of the session; state is the state as of Next. After
// ErrFull the caller must call it again with the same state. A file without packets is not rotated, unless
// Check found that it is missing.
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

// seal ends the current file, if there is one: it writes index and trailer, syncs if the policy asks for it,
// and closes.
func (j *Journal) seal() error {
	if j.w == nil || j.sealed {
		return nil
	}
	_ = j.w.Finish() // the index only makes reading faster
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

// closeFile closes the current file by calling end.
func (j *Journal) closeFile(end func() error) error {
	j.syncing <- struct{}{}
	defer func() { <-j.syncing }()
	j.mu.Lock()
	j.file = nil
	j.mu.Unlock()
	return end()
}

// abandon closes a file that has failed.
func (j *Journal) abandon() {
	if j.w != nil && !j.sealed {
		_ = j.closeFile(j.w.CloseTorn)
	}
	j.sealed = true
}

// create creates the next file as described by j.header, durably unless sync is SyncNone.
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
			j.miss() // the directory is missing
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

// Sync makes appended data durable. Any goroutine may call it; appends continue meanwhile. The error wraps
// ErrFailed, which is final for the file, because the operating system drops data that it could not write.
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

// A finalError hides its cause from passes: a sync that failed for lack of room has failed for good.
type finalError struct{ err error }

func (e finalError) Error() string { return e.err.Error() }

// Unsynced returns the number of bytes of the current file that were appended and not synced.
func (j *Journal) Unsynced() int64 {
	j.mu.Lock()
	defer j.mu.Unlock()
	if len(j.segments) == 0 {
		return 0
	}
	s := j.segments[len(j.segments)-1]
	return s.size - s.safe
}

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

// Retain removes the oldest files, each as a whole, while the total size exceeds RetainBytes or the oldest file
// ended more than RetainAge before now. It never removes the file being written. Any goroutine may call it.
// Cursors in a removed file read it to its end.
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

// Close ends the current file with index and trailer, syncs it, and releases the lock. The journal is closed
// even if Close returns an error; the error wraps ErrFailed if some data may not be durable. The callers of
// Cursor must still close their cursors.
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
