// Package replay plays recordings into publishers: at the pace they happened, any other, or as
// fast as it goes, with pause, steps, and seeking.
//
//	recording ──> tape ──┐
//	recording ──> tape ──┴─> Player ──> Stage ──> Publisher, Publisher, … ──> subscribers
//	                        (when)     (where)   (one for each seek or loop)
//
// A replay is a session of its own that names its origin and keeps the recorded numbers. What
// the recording does not hold stays not asked, withheld or gone. A seek or a loop goes on in a
// sibling session behind the same listeners: subscribers are sent a goodbye, come back by
// themselves, and are given the state as of there. A loop, and the next session of a recording,
// begin only when all subscribers have received what came before, or do not receive it in bounded
// time (followTime, stallTime); a seek does not wait. Recordings that are played together are
// merged by time into a new session with numbers of its own.
//
// # Pace
//
// A tick is due at its market time: the greatest event time so far, which a tick counts at that
// has none, or a lesser one. By Config.Clock it may be due when its packet was published instead;
// where that is the greatest event time in the packet, as in imported recordings, then each tick
// is due at its own event time. Places in a recording are about the same clock. The schedule is
// absolute: a tick is never early, and a late one does not delay the next. It begins anew where
// the speed changes or a pause ends, and where the player is more than a second behind.
//
// On Linux the last milliseconds before a tick are slept in the kernel, because Go's timers count
// in milliseconds there, and where ticks are at least a millisecond apart the last 100 µs are spun.
package replay
