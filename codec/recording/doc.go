// Package recording is the file form of the stream (PROTOCOL.md, "Recordings"). A publisher's journal consists
// of recordings, and recorders write them.
//
//	header header [snapshot] packets … header packets … [header header [snapshot] packets …] [index … trailer]
//	└ a session begins ────┘           └ a mark now and then  └ another session ─────┘        └ closed in order
//
// To read the ticks of a recording, with their definitions:
//
//	for part, err := range recording.Parts("day.tick") {
//		if err != nil {
//			return err
//		}
//		for i := range part.Ticks {
//			t := &part.Ticks[i]
//			if d := part.Definition(t.Instrument); d != nil && t.Kind == feed.KindTrade {
//				fmt.Println(t.Seq, d.Symbol, d.Price(t.Trade().Price))
//			}
//		}
//	}
//
// A [Builder] makes a recording of ticks, and a [Recorder] writes what a subscriber receives. A [Writer] only appends. A [Reader]
// reads any bytes: it verifies every checksum, reports missing or damaged parts with their ranges of sequence numbers, and continues
// after them. The index only makes seeking faster. Package edit cuts and combines recordings, package survey reports what is in one,
// and package place names a place in one. Package text is the form of a recording that people read and edit.
package recording
