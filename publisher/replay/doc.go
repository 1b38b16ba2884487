// Package replay plays recordings into publishers: at their original pace, at any other speed or without waiting, with
// pause, single steps and seeking.
//
//	recording ──> tape ──┐
//	recording ──> tape ──┴─> Player ──> Stage ──> Publisher, Publisher, … ──> subscribers
//	                        (when)     (where)   (one for each seek or loop)
//
// [Serve] is the whole of it for most programs:
//
//	listener, err := net.Listen("tcp", ":8425")
//	if err != nil {
//		return err
//	}
//	return replay.Serve(ctx, listener, "day.tick")
//
// A [Player] with a [Stage] can be paused, stepped and moved.
//
// A replay is a session of its own that names its origin and keeps the recorded numbers. Numbers that the recording
// lacks are reported as not asked for, withheld or gone, as they were recorded. A seek or a loop continues in a sibling
// session behind the same listeners: subscribers are sent a goodbye, reconnect by themselves, and are sent the state at
// the new place. A loop, and the next session of a recording, begin only once all subscribers have received the previous
// session, or have failed to receive it within bounds (followTime, stallTime, leastRate, longestDrain). A seek does not
// wait, and ends such a wait. The replay waits up to 5 minutes for a subscriber that takes at least 1,000 numbers a
// second. A subscriber that is left behind loses the ticks that it did not receive, and its account says so. Recordings
// that are played together are merged by time into a new session with its own numbers.
//
// # Pace
//
// A tick is due at its market time, which is the greatest event time so far, including its own; a tick without an event
// time does not advance it. With recording.PublishClock as Config.Clock, a tick is due when its packet was published
// instead. If that is the greatest event time in the packet, as in imported recordings, each tick is due at its own
// event time. Times in Config.From, Config.To and seeks are on the same clock. The schedule is absolute: no tick is
// early, and a late tick does not delay the next one. The schedule begins anew when the speed changes, when a pause ends,
// and when the player is more than a second late.
//
// On Linux the player sleeps the last milliseconds before a tick in the kernel, because Go's timers have a resolution of
// a millisecond there. If ticks are at least a millisecond apart, it spins for the last 100 µs.
package replay
