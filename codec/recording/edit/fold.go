package edit

import (
	"context"
	"io"
	"math"
	"sync/atomic"

	"tickfeed/codec"
	"tickfeed/codec/recording"
	"tickfeed/codec/recording/place"
	"tickfeed/feed"
)

// A Moment is the state of a recording as of a number.
type Moment struct {
	Header *codec.FileHeader // in force
	State  *feed.State       // with every recorded number of the lineage before Next
	Next   uint64
	Time   int64 // publish time of the last packet before Next; NoTime if there is none
	Beyond bool  // the requested place is after the end
}

// StateAt reads r, which must be at its beginning, up to place at on clock. If the recording does not reach at,
// or at is the zero Place, the moment is the end of the recording; in the first case Moment.Beyond is set.
// Read, if not nil, is set to the number of bytes read so far. The error comes from ctx or from reading.
func StateAt(ctx context.Context, r *recording.Reader, at place.Place, clock place.Clock, read *atomic.Int64) (*Moment, error) {
	f := newFold(r)
	locator, err := newLocator(r, clock)
	if err != nil {
		return nil, err
	}
	if at, _, err = r.Resolve(at, place.Place{}, clock); err != nil {
		return nil, err
	}
	reached := false // a packet has reached at
	for {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		item, err := r.Next()
		if err == io.EOF {
			m := f.moment()
			_, timed := at.Time()
			seq, _ := at.Seq()
			m.Beyond = timed || seq > f.next
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
		for h, raw := range recording.Packets(item.Data) {
			locator.pass(&h, raw, &at)
			if at.Reached(h.First, place.NoTime) {
				return f.moment(), nil
			}
			f.packet(&h, raw, at)
			seq, ok := at.Seq()
			reached = ok && f.next >= seq
		}
	}
}

// A fold computes the state while a recording is read.
type fold struct {
	r      *recording.Reader
	header *codec.FileHeader
	state  *feed.State
	next   uint64
	time   int64
	batch  []feed.Tick
}

func newFold(r *recording.Reader) *fold {
	return &fold{r: r, state: feed.NewState(), time: place.NoTime, batch: make([]feed.Tick, 256)}
}

func (f *fold) moment() *Moment {
	return &Moment{Header: f.header, State: f.state, Next: f.next, Time: f.time}
}

// restates reports whether item is the snapshot as of the next number, or a header before that snapshot. After
// numbers that are gone or withheld, only the snapshot contains their changes.
func (f *fold) restates(item *recording.Item) bool {
	return (item.Kind == recording.KindSnapshot || item.Kind == recording.KindHeader) && f.r.Header().Seed == f.header.Seed && f.r.NextSeq() == f.next
}

// enter handles an item other than packets.
func (f *fold) enter(item *recording.Item) error {
	switch item.Kind {
	case recording.KindHeader:
		if f.header != nil {
			if _, ok := item.Header.Lineage.Fork(f.header.Lineage, f.next); !ok || item.Header.Next < f.next {
				f.state = feed.NewState() // a snapshot follows, unless the recording begins at 1
			}
		}
		f.header, f.next = item.Header, item.Header.Next
	case recording.KindSnapshot:
		state, err := f.r.State(*item)
		if err != nil {
			return err
		}
		f.state = state
	case recording.KindDamage, recording.KindTorn:
		f.next = max(f.next, item.Range.To)
	}
	return nil
}

// packet folds the ticks of a packet from the next number up to until, if until is a number.
func (f *fold) packet(h *codec.Packet, raw []byte, until place.Place) {
	body := codec.PacketBody(h, raw[codec.PacketHeader:])
	f.time = h.PublishTime
	fresh := feed.Range{From: f.next, To: math.MaxUint64} // a part of the packet may be folded already
	end, limited := until.Seq()
	if limited {
		fresh.To = end
	}
	for {
		n, err := body.Decode(f.batch)
		_, _ = f.state.ApplyKnown(fresh.Of(f.batch[:n])) // an error is a name that the recorded publisher gave to two instruments
		if err != nil || n == 0 || f.batch[n-1].Seq >= fresh.To {
			break
		}
	}
	f.next = h.First + h.Count
	if limited {
		f.next = min(f.next, end)
	}
}
