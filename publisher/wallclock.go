package publisher

import "time"

// Bounds of a wallWatch.
const (
	clockJump = time.Minute // least jump of the wall clock that is noticed
	clockWait = time.Hour   // time for which a jump forward must last before files are removed because of it
)

// A wallWatch follows the wall clock for the housekeeper. Retention by age removes files for good, so it follows a jump forward only once the
// jump has lasted for clockWait: a clock that is set to a wrong year, or right only some time after the machine has started, must not cost
// the whole journal. It reads no clock.
type wallWatch struct {
	begun  bool
	offset time.Duration // of the wall clock that is followed, to the clock of the publisher
	read   time.Duration // of the wall clock when it was read last
	since  time.Duration // when a jump forward that is not followed yet was noticed, on the clock of the publisher
	waits  bool          // there is such a jump
}

// follow returns the time that retention goes by, and how far the wall clock has jumped since the last call; 0 if it has not. wall is
// the wall clock in ns, and now the clock of the publisher, which does not jump.
func (w *wallWatch) follow(wall int64, now time.Duration) (retain int64, jump time.Duration) {
	offset := time.Duration(wall) - now
	if !w.begun {
		*w = wallWatch{begun: true, offset: offset, read: offset}
	}
	if jump = offset - w.read; jump.Abs() < clockJump {
		jump = 0
	}
	w.read = offset
	switch {
	case offset-w.offset < clockJump:
		w.offset, w.waits = offset, false
	case !w.waits:
		w.since, w.waits = now, true
	case now-w.since >= clockWait:
		w.offset, w.waits = offset, false
	}
	return int64(now + w.offset), jump
}
