package recording

import (
	"bytes"

	"tickfeed/codec"
	"tickfeed/feed"
)

// snapshot reads the snapshot at pos, where the bytes p are, as far as it is intact.
func (r *Reader) snapshot(p []byte) (item Item, ok bool, err error) {
	item = Item{Kind: KindSnapshot, Offset: r.pos, Range: feed.Range{From: r.next, To: r.next}}
	at := r.pos
	n := snapshotBegin(p, r.next)
	if n == 0 && !(r.orphan && partSize(p, r.next, r.seed) > 0) {
		return Item{}, false, nil
	}
	item.Whole = n > 0
	at += int64(n)
	for index := uint64(0); ; {
		if p, err = r.window(at, codec.MaxMessage); err != nil {
			return Item{}, false, err
		}
		if n = partSize(p, r.next, r.seed); n == 0 {
			n = snapshotEnd(p, r.next, index)
			item.Whole = item.Whole && n > 0
			at += int64(n)
			break
		}
		part, _ := codec.ParsePart(p[:n], r.seed)
		item.Whole = item.Whole && part.Index == index
		index = part.Index + 1
		at += int64(n)
	}
	item.Size = at - r.pos
	r.orphan = !item.Whole
	r.pos = at
	return item, true, nil
}

// snapshotBegin returns the size of the snapshot begin as of seq at p, or 0 if there is none.
func snapshotBegin(p []byte, seq uint64) int {
	return exactly(p, &codec.SnapshotBegin{Seq: seq, Scope: codec.ScopeAll})
}

// snapshotEnd returns the size of the snapshot end as of seq at p, with the given number of parts, or 0 if
// there is none.
func snapshotEnd(p []byte, seq, parts uint64) int {
	return exactly(p, &codec.SnapshotEnd{Seq: seq, Parts: parts})
}

// exactly returns the size of message m if p begins with exactly its bytes, otherwise 0. A message without
// checksum is accepted only if it says nothing new.
func exactly(p []byte, m codec.Message) int {
	if len(p) < 2 || p[1] != byte(m.Type()) {
		return 0
	}
	want, err := codec.Append(nil, m)
	if err != nil || !bytes.HasPrefix(p, want) {
		return 0
	}
	return len(want)
}

// partSize returns the size of the snapshot part as of seq at p, or 0 if there is none.
func partSize(p []byte, seq uint64, seed uint32) int {
	n := codec.PartSize(p)
	if n == 0 || n > len(p) {
		return 0
	}
	if part, err := codec.ParsePart(p[:n], seed); err != nil || part.Seq != seq {
		return 0
	}
	return n
}

// State returns the state in snapshot item: all of it, or if the item is not Whole, the intact rest. It does
// not move the Reader.
func (r *Reader) State(item Item) (*feed.State, error) {
	s := feed.NewState()
	err := r.SnapshotTicks(item, func(ticks []feed.Tick) {
		_, _ = s.ApplyKnown(ticks) // an error is a name that the recorded publisher gave to two instruments: s keeps the first
	})
	return s, err
}

// SnapshotTicks calls each with the ticks and summaries of snapshot item, some at a time, as far as it is intact. It does not
// move the Reader. The ticks are overwritten for the next call.
func (r *Reader) SnapshotTicks(item Item, each func([]feed.Tick)) error {
	batch := make([]feed.Tick, 64)
	for at, end := item.Offset, item.Offset+item.Size; at < end; {
		p, err := r.window(at, codec.MaxMessage)
		if err != nil {
			return err
		}
		n := codec.PartSize(p)
		if n == 0 || n > len(p) {
			if n, err = codec.MessageSize(p); err != nil || n == 0 {
				return nil
			}
			at += int64(n)
			continue
		}
		part, err := codec.ParsePart(p[:n], r.seed)
		if err != nil {
			return nil
		}
		body := codec.PartBody(&part)
		for {
			k, err := body.Decode(batch)
			if k > 0 {
				each(batch[:k])
			}
			if err != nil || k == 0 {
				break
			}
		}
		at += int64(n)
	}
	return nil
}
