// Package place names places in a recording: "09:45", "2026-01-05T09:45", "seq:4000", "+10s" or "start".
//
//	from, err := place.Parse("09:45", zone)
//	if err != nil {
//		return err // it lists the forms of places
//	}
//	to := place.Jump(10 * time.Minute)
//	from, to = place.Resolve(from, to, first, last) // the times of the recording give 09:45 its date
//	if from.Reached(seq, at) && !to.Reached(seq, at) {
//		// the tick with number seq, at time at, is in the part
//	}
//
// Parse and the other constructors return a Place, which is a number, a time, or relative to the recording; Resolve, or
// recording.Reader.Resolve, makes a relative one absolute. A Clock selects which time of a tick counts, and a Timeline computes that
// time tick by tick.
package place
