package publisher

import (
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/rs/zerolog"

	"tickfeed/codec/recording"
	"tickfeed/publisher/journal"
)

// A flusher writes sealed packets to the journal and commits them, so that they may be sent. It runs on its own
// goroutine or, if the publisher was idle and does not sync each write, on that of the caller of Publish, which is fastest.
type flusher struct {
	journal     *journal.Journal // nil: memory only
	path        string           // of the journal
	sync        journal.Sync
	log         *memlog
	seq         *sequencer
	wakeReaders func() // serves subscribers after the log has grown
	logger      *zerolog.Logger
	clock       *clock

	active   atomic.Bool   // a goroutine is flushing, and looks for more before it stops
	flushing chan struct{} // 1 slot, held by the goroutine that flushes
	lastDone atomic.Int64  // when the last flush ended, in ns, on clock
	kick     chan struct{} // 1 slot: wakes the flusher
	syncNow  chan struct{} // 1 slot: wakes the housekeeper
	closing  chan struct{} // closed by Close
	fatal    atomic.Pointer[fatalError]
	disk     atomic.Pointer[string] // why the flusher waits for the disk; nil if it does not
	trouble  string                 // the condition for writing to resume, as last logged; protected by the slot of flushing
	starved  atomic.Bool            // a subscriber waits for a file descriptor to read the journal
}

func (f *flusher) init() {
	f.flushing, f.kick, f.syncNow = make(chan struct{}, 1), make(chan struct{}, 1), make(chan struct{}, 1)
	f.closing = make(chan struct{})
}

type fatalError struct{ err error }

// usable returns why nothing can be published any more, or nil.
func (f *flusher) usable() error {
	if f := f.fatal.Load(); f != nil {
		return f.err
	}
	select {
	case <-f.closing:
		return ErrClosed
	default:
		return nil
	}
}

// flushSome gets appended ticks flushed: by this goroutine if the publisher was idle, which is fastest, otherwise
// by the flusher, which then sends more at once. A flush that syncs may wait for a disk longer than the context of the
// caller of Publish allows, so it is the flusher's.
func (f *flusher) flushSome() {
	if f.active.Load() || !f.active.CompareAndSwap(false, true) {
		return
	}
	if f.sync == journal.SyncAlways || f.clock.now()-time.Duration(f.lastDone.Load()) < handOver {
		f.wake()
		return
	}
	select {
	case f.flushing <- struct{}{}:
	default:
		f.wake()
		return
	}
	err := f.flush()
	<-f.flushing
	if err != nil {
		f.wake() // the flusher waits for room, or reports that the journal failed
		return
	}
	f.goIdle()
}

// goIdle marks the publisher as idle after a flush, and kicks the flusher if there is more to flush.
func (f *flusher) goIdle() {
	f.lastDone.Store(int64(f.clock.now()))
	f.active.Store(false)
	if f.seq.pending() && f.active.CompareAndSwap(false, true) {
		f.wake()
	}
}

func (f *flusher) wake() {
	select {
	case f.kick <- struct{}{}:
	default:
	}
}

// run flushes whenever it is kicked, and retries while the journal cannot be written.
func (f *flusher) run() {
	retry := time.NewTimer(time.Hour)
	retry.Stop()
	for {
		select {
		case <-f.kick:
		case <-retry.C:
		case <-f.closing:
			return
		}
		f.flushing <- struct{}{}
		err := f.flush()
		<-f.flushing
		switch {
		case err == nil:
			f.goIdle()
		case errors.Is(err, journal.ErrFull):
			retry.Reset(diskRetry)
		default:
			f.fail(err)
			return
		}
	}
}

// flush writes all appended ticks to the journal and commits them. The caller must hold the slot of f.flushing. After
// an error the uncommitted pieces are kept for the next flush.
func (f *flusher) flush() error {
	for {
		if err := f.goHome(); err != nil {
			f.diskState(err)
			return err
		}
		pieces := f.seq.takePieces()
		if len(pieces) == 0 {
			f.seq.piecesDone(pieces)
			f.diskState(nil)
			return nil
		}
		for i := range pieces {
			if err := f.flushPiece(&pieces[i]); err != nil {
				pieces[i].tried = true
				f.seq.putBack(pieces[i:])
				f.diskState(err)
				return err
			}
		}
		f.diskState(nil)
		f.seq.piecesDone(pieces)
		f.wakeReaders()
	}
}

// goHome continues the journal in a new file if the current file was removed, or is no longer at its path in the
// journal directory. The numbering continues: no other publisher has used these numbers.
func (f *flusher) goHome() error {
	if f.journal == nil || !f.journal.Missing() {
		return nil
	}
	next, _ := f.log.head()
	state, ok := f.log.stateAt(next)
	if !ok {
		panic(fmt.Sprintf("publisher: internal error: the state as of %d, the end of the log, is not in memory", next))
	}
	if err := f.journal.Rotate(state); err != nil {
		return err
	}
	f.wakeHousekeeper()
	f.logger.Warn().Str("journal", f.path).Uint64("next", next).
		Msg("journal: continues in a new file; the ticks of the missing files are served from memory only, and not at all after a restart")
	return nil
}

// flushPiece writes one piece to the journal and commits it. A new journal file begins only at the start of a memory
// segment, where the state that the file begins with is at hand or quickly computed.
func (f *flusher) flushPiece(x *piece) error {
	if f.journal != nil {
		if err := f.behind(); err != nil {
			return err
		}
		if x.from == 0 && (x.seg.restated || f.journal.Full()) {
			state, ok := f.log.stateAt(x.seg.first)
			if !ok {
				panic(fmt.Sprintf("publisher: internal error: the state as of %d is to be written, and is not in memory", x.seg.first))
			}
			if err := f.journal.Rotate(state); err != nil {
				return err
			}
			f.wakeHousekeeper()
		}
		if err := f.journal.Append(x.seg.buf[x.from:x.to], x.next, x.time); err != nil {
			return err
		}
		switch f.sync {
		case journal.SyncAlways:
			if err := f.journal.Sync(); err != nil {
				return err
			}
		case journal.SyncInterval:
			if unsynced, _ := f.journal.Unsynced(); unsynced > syncAhead {
				f.wakeHousekeeper()
			}
		}
	}
	f.log.commit(x.seg, x.to, x.next, x.time)
	return nil
}

func (f *flusher) wakeHousekeeper() {
	select {
	case f.syncNow <- struct{}{}:
	default:
	}
}

// diskState logs once when the flusher has to wait for the disk, because the journal cannot be written or is not synced in
// time, again when the reason changes, and once when it goes on. The caller must hold the slot of f.flushing.
func (f *flusher) diskState(err error) {
	switch {
	case err == nil && f.disk.Load() != nil:
		f.disk.Store(nil)
		if f.trouble != "" {
			f.trouble = ""
			f.logger.Info().Msg("journal: can be written again")
		}
	case errors.Is(err, journal.ErrFull):
		s := err.Error()
		f.disk.Store(&s)
		if b, ok := err.(*behindError); ok && !b.hangs() {
			return
		}
		what, until := diskTrouble(err)
		if until == f.trouble {
			return
		}
		f.trouble = until
		f.logger.Warn().Err(err).Msgf("journal: %s, publishing waits; subscribers are still served, and publishing resumes once %s", what, until)
	}
}

// diskTrouble returns why the flusher waits for the disk, and the condition under which it goes on.
func diskTrouble(err error) (what, until string) {
	if _, ok := err.(*behindError); ok {
		return "the disk does not keep up", "it has synced what was written"
	}
	switch {
	case recording.IsFull(err):
		return "disk full", "there is room"
	case journal.OutOfDescriptors(err):
		return "no file descriptors left", "there are some"
	case errors.Is(err, os.ErrPermission), errors.Is(err, syscall.EROFS):
		return "files cannot be created or written", "the publisher has write permission"
	case errors.Is(err, os.ErrNotExist):
		return "files cannot be created or written", "the directory can be created"
	}
	return "files cannot be created or written", "the file in the place of the directory, or of a file in it, is removed or moved away"
}

// starves reports whether err means that no file descriptor is left to read the journal. It logs once when the
// shortage begins, and once when the journal can be read again.
func (f *flusher) starves(err error) bool {
	switch {
	case errors.Is(err, journal.ErrFull):
		if f.starved.CompareAndSwap(false, true) {
			f.logger.Warn().Err(err).Msg("journal: no file descriptors left to read it, subscribers that need it wait")
		}
		return true
	case err == nil && f.starved.CompareAndSwap(true, false):
		f.logger.Info().Msg("journal: can be read again")
	}
	return false
}

// fail records that the journal failed for good. Nothing is published from then on.
func (f *flusher) fail(err error) {
	if !f.fatal.CompareAndSwap(nil, &fatalError{fmt.Errorf("publisher: %w", err)}) {
		return
	}
	f.logger.Error().Err(err).Msg("journal failed: nothing more is published; restart to begin a child session")
	f.seq.wakeWaiters()
}

// failed returns the error that stopped the publisher from publishing for good, or nil.
func (f *flusher) failed() error {
	if f := f.fatal.Load(); f != nil {
		return f.err
	}
	return nil
}

// housekeep syncs the journal, checks that its files are still there and applies retention, once a second. It also
// syncs when much is unsynced. As soon as the flusher has rotated to the next journal file, housekeep settles the last
// one and prepares the one after it.
func (f *flusher) housekeep(retains bool) {
	tick := time.NewTicker(houseInterval)
	defer tick.Stop()
	var unwell, early condition // the directory is not as it was left; the wall clock is before the last publish time
	var wall wallWatch
	for {
		retain := false
		select {
		case <-tick.C:
			retain = true
		case <-f.syncNow:
		case <-f.closing:
			return
		}
		f.journal.Prepare() // first, because the current file may soon be full
		err := f.journal.Settle()
		unsynced, _ := f.journal.Unsynced()
		if err == nil && f.sync == journal.SyncInterval && (retain || unsynced > syncAhead) {
			err = f.journal.Sync()
		}
		if err != nil && !errors.Is(err, journal.ErrFull) {
			f.fail(err)
		}
		if f.disk.Load() != nil { // the flusher may wait for this sync
			f.active.Store(true)
			f.wake()
		}
		if !retain {
			continue
		}
		err = f.journal.Check()
		switch {
		case unwell.begins(err != nil):
			f.logger.Warn().Err(err).Msg("journal: the directory is not as it was left")
		case unwell.ends(err == nil):
			f.logger.Info().Msg("journal: the directory is intact again")
		}
		if f.journal.Missing() {
			f.active.Store(true)
			f.wake()
		}
		read := f.seq.now()
		now, jump := wall.follow(read, f.clock.now())
		if jump != 0 {
			f.logger.Warn().Stringer("by", jump.Round(time.Second)).Msg("the wall clock has jumped, or the machine was suspended: after a jump forward no files are removed for their age for an hour")
		}
		_, latest := f.log.head()
		switch ahead := time.Duration(latest - read); {
		case early.begins(ahead > clockJump):
			f.logger.Warn().Stringer("by", ahead.Round(time.Second)).Msg("the wall clock is before the last publish time, which never decreases: ticks get that publish time until the clock has passed it")
		case early.ends(ahead <= clockJump):
			f.logger.Info().Msg("the wall clock has passed the last publish time")
		}
		if retains {
			if err := f.journal.Retain(now); err != nil {
				f.logger.Warn().Err(err).Msg("journal: cannot remove old files")
			}
		}
	}
}

// A condition is a state that is logged when it begins and when it ends. The zero condition has not begun.
type condition struct{ on bool }

func (c *condition) begins(now bool) bool {
	begins := now && !c.on
	c.on = c.on || now
	return begins
}

func (c *condition) ends(now bool) bool {
	ends := now && c.on
	c.on = c.on && !now
	return ends
}
