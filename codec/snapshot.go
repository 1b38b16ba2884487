package codec

import (
	"fmt"
	"iter"

	"tickfeed/feed"
)

// AppendSnapshot appends a whole snapshot: its begin, parts that hold entries, and its end.
// The entries are ticks and summaries, as feed.State yields them; seed is the seed of the line.
func AppendSnapshot(dst []byte, begin *SnapshotBegin, entries iter.Seq[feed.Tick], seed uint32) ([]byte, error) {
	dst, err := Append(dst, begin)
	if err != nil {
		return dst, fmt.Errorf("snapshot as of %d: %w", begin.Seq, err)
	}
	part := SnapshotPart{Seq: begin.Seq}
	for t := range entries {
		if t.EventTime != 0 { // definitions have none, and all offsets from 0 would be wide
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

// Fold applies the entries of part p to s, as [Body.Decode] and [feed.State.Apply] would, and
// returns the first error of either. It is cheaper, because it reuses the memory that only the ticks point to.
func (p *SnapshotPart) Fold(s *feed.State) error {
	b := PartBody(p)
	b.kept = new(kept)
	b.kept.texts.Grow(len(b.rest) / 8) // about the share of symbols, nearly all of which the state keeps
	var room [foldRoom]feed.Tick
	definitions, summaries := make([]keptDefinition, len(room)), make([]keptSummary, len(room))
	for {
		b.kept.definitions, b.kept.summaries = definitions, summaries // the state has copied their content
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

// foldRoom is how many entries Fold decodes before it applies them.
const foldRoom = 16
