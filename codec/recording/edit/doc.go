// Package edit makes recordings of recordings: it cuts a part out of one, joins those of one lineage, and merges any by time. It also
// reads the ticks of recordings for renumbering, and the state at a place.
//
//	in, err := recording.Open("day.tick")
//	if err != nil {
//		return err
//	}
//	defer in.Close()
//	day, err := in.Reader()
//	if err != nil {
//		return err
//	}
//	noon, err := recording.CreateNew("noon.tick")
//	if err != nil {
//		return err
//	}
//	_, err = edit.Cut(ctx, noon, day, edit.CutConfig{From: place.Seq(4000), To: place.Seq(5000)})
//
// Each of them reads its recordings once, from beginning to end, in memory that does not depend on their length. Numbers that a
// recording lacks or that damage lost are listed in the new one, followed by the state as far as it is known. Cut and Join keep numbers,
// sessions, times and the bytes of ticks; Merge numbers the ticks anew.
package edit
