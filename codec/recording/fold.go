package recording

import (
	"context"
	"io"
	"sync/atomic"

	"tickfeed/codec"
	"tickfeed/feed"
)

// A Moment is a recording as of a number.
type Moment struct {
	Header *codec.FileHeader // in force
	State  *feed.State       // every number of the lineage before Next is in, as far as it is recorded
	Next   uint64
	Time   int64 // publish time of the last packet before; NoTime if there is none
	Beyond bool  // the place that was asked for is after the end
}

// StateAt reads r, which is at its beginning, up to place at on clock. Where the recording does not reach it, or at is no place, the
// moment is the end, and beyond that Moment.Beyond. Read, if it is not nil, is how many bytes were read so far. The error is ctx's, or
// what reading gave.
func StateAt(ctx context.Context, r *Reader, at Place, clock Clock, read *atomic.Int64) (*Moment, error) {
	f := newFold(r)
	locator, err := newLocator(r, clock)
	if err != nil {
		return nil, err
	}
	if at, _, err = r.Resolve(at, Place{}, clock); err != nil {
		return nil, err
	}
	reached := false // packets have come up to at
	for {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		item, err := r.Next()
		if err == io.EOF {
			m := f.moment()
			m.Beyond = at.kind == placeTime || at.kind == placeSeq && at.seq > f.next
			return m, nil
		} else if err != nil {
			return nil, err
		}
		if read != nil {
			read.Store(r.Offset())
		}
		if reached && !f.restates(&item) {
			return f.moment(), nil
		}
		if err := f.enter(&item); err != nil {
			return nil, err
		}
		for h, raw := range Packets(item.Data) {
			locator.pass(&h, raw, &at)
			if at.Reached(h.First, NoTime) {
				return f.moment(), nil
			}
			f.packet(&h, raw, at)
			reached = at.kind == placeSeq && f.next >= at.seq
		}
	}
}

// A fold is the state of a recording that is read.
type fold struct {
	r      *Reader
	header *codec.FileHeader
	state  *feed.State
	next   uint64
	time   int64
	batch  []feed.Tick
}

func newFold(r *Reader) *fold {
	return &fold{r: r, state: feed.NewState(), time: minTime, batch: make([]feed.Tick, 256)}
}

func (f *fold) moment() *Moment {
	return &Moment{Header: f.header, State: f.state, Next: f.next, Time: f.time}
}

// restates reports whether item is the snapshot as of the next number, or a header before it. After numbers that are gone or
// withheld, only that snapshot has what they changed.
func (f *fold) restates(item *Item) bool {
	return (item.Kind == KindSnapshot || item.Kind == KindHeader) && f.r.Header().Seed == f.header.Seed && f.r.NextSeq() == f.next
}

// enter takes in an item that is no packets.
func (f *fold) enter(item *Item) error {
	switch item.Kind {
	case KindHeader:
		if f.header != nil {
			if _, ok := item.Header.Lineage.Fork(f.header.Lineage, f.next); !ok || item.Header.Next < f.next {
				f.state = feed.NewState() // a snapshot follows, unless it is the beginning
			}
		}
		f.header, f.next = item.Header, item.Header.Next
	case KindSnapshot:
		state, err := f.r.State(*item)
		if err != nil {
			return err
		}
		f.state = state
	case KindDamage, KindTorn:
		f.next = max(f.next, item.Range.To)
	}
	return nil
}

// packet takes in the ticks of a packet from the next number up to until, if that is a number.
func (f *fold) packet(h *codec.Packet, raw []byte, until Place) {
	body := codec.PacketBody(h, raw[codec.PacketHeader:])
	f.time = h.PublishTime
	for {
		n, err := body.Decode(f.batch)
		for i := range f.batch[:n] {
			t := &f.batch[i]
			if until.seq > 0 && t.Seq >= until.seq {
				f.next = until.seq
				return
			}
			if t.Seq < f.next { // a part of the packet was taken in before
				continue
			}
			_ = f.state.Apply(t) // one that lacks its definition tells nothing
		}
		if err != nil || n == 0 {
			break
		}
	}
	f.next = h.First + h.Count
	if until.seq > 0 {
		f.next = min(f.next, until.seq)
	}
}
