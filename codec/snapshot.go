package codec

import (
	"fmt"
	"iter"

	"tickfeed/feed"
)

// AppendSnapshot appends a whole snapshot: its begin, parts that hold entries, and its end.
// Entries are ticks and summaries, as feed.State tells them; seed is the line's.
func AppendSnapshot(dst []byte, begin *SnapshotBegin, entries iter.Seq[feed.Tick], seed uint32) ([]byte, error) {
	dst, err := Append(dst, begin)
	if err != nil {
		return dst, fmt.Errorf("snapshot as of %d: %w", begin.Seq, err)
	}
	part := SnapshotPart{Seq: begin.Seq}
	for t := range entries {
		if t.EventTime != 0 { // definitions have none; offsets from 0 would all be wide
			part.Base = t.EventTime
			break
		}
	}
	at := -1 // where the open part begins in dst
	for t := range entries {
		if at >= 0 && len(dst)-at-PartHeader > MaxBody-MaxEntry {
			SealPart(dst[at:], &part, seed)
			part.Index++
			at = -1
		}
		if at < 0 {
			at = len(dst)
			dst = append(dst, make([]byte, PartHeader)...)
			if t.EventTime != 0 {
				part.Base = t.EventTime
			}
		}
		dst = AppendTick(dst, &t, part.Base)
	}
	if at >= 0 {
		SealPart(dst[at:], &part, seed)
		part.Index++
	}
	return Append(dst, &SnapshotEnd{Seq: begin.Seq, Parts: part.Index})
}

// FoldPart folds the entries of part p into s, as [Body.Decode] and [feed.State.Apply] would, and
// returns the first error of either. It costs less: what only the ticks point to is used again.
func FoldPart(s *feed.State, p *SnapshotPart) error {
	b := PartBody(p)
	b.kept = new(kept)
	b.kept.texts.Grow(len(b.rest) / 8) // about what symbols are of it; a state keeps nearly all of them
	var room [foldRoom]feed.Tick
	definitions, summaries := make([]keptDefinition, len(room)), make([]keptSummary, len(room))
	for {
		b.kept.definitions, b.kept.summaries = definitions, summaries // a state has copied what they were
		n, err := b.Decode(room[:])
		for i := range room[:n] {
			if room[i].Kind == feed.KindAuction {
				return malformed("snapshot part: an auction is no part of the state")
			}
		}
		if _, err := s.ApplyAll(room[:n]); err != nil {
			return err
		}
		if n == 0 || err != nil {
			return err
		}
	}
}

// foldRoom is how many entries are decoded before they are folded.
const foldRoom = 16
