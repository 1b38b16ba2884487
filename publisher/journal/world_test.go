package journal_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"tickfeed/codec"
	"tickfeed/codec/recording"
	"tickfeed/feed"
	"tickfeed/publisher/journal"
)

// A world is what a publisher did with one journal over all its lives, and the judge of what
// the journal says afterwards. It shares no code with the journal but the format.
type world struct {
	lineage feed.Lineage
	ids     feed.SessionID
	next    uint64
	time    int64
	state   *feed.State

	// made holds every packet that any session ever made, also those that were refused.
	made map[place][]byte
	// states holds the state as of every packet's end, by session.
	states    map[place]*feed.State
	syncEvery int // packets; 0 as 1
	// rotates has life use small files with SyncInterval, settle each file only after the second packet of the next
	// one, and end like a killed process.
	rotates bool
	// acked is up to where appending succeeded, synced up to where syncing did after it.
	acked, synced uint64
	hole          feed.Range // below synced, where a power cut may have cost something
}

type place struct {
	id  feed.SessionID
	seq uint64
}

func newWorld() *world {
	w := &world{next: 1, acked: 1, synced: 1, time: 1000, state: feed.NewState(),
		made: map[place][]byte{}, states: map[place]*feed.State{}}
	return w
}

// restart begins the next session where the journal says that it ends.
func (w *world) restart(rec *journal.Recovered) error {
	w.ids++
	if rec.Next == 1 {
		w.state = feed.NewState()
	} else {
		s := w.states[place{rec.Lineage.Current().ID, rec.Next}]
		if s == nil {
			return fmt.Errorf("recovered at %d of %v, where no packet ends", rec.Next, rec.Lineage.Current().ID)
		}
		w.state = cloneState(s)
	}
	w.lineage = rec.Lineage.Child(w.ids, rec.Next)
	w.next = rec.Next
	w.acked, w.synced = rec.Next, min(w.synced, rec.Next)
	w.states[place{w.ids, w.next}] = w.state.Clone()
	return nil
}

// fork begins a child session at seq of the current one.
func (w *world) fork(seq uint64) {
	from := w.states[place{w.lineage.Current().ID, seq}]
	w.ids++
	w.lineage = w.lineage.Child(w.ids, seq)
	w.state = cloneState(from)
	w.next, w.acked = seq, seq
	w.states[place{w.ids, seq}] = w.state.Clone()
}

// cloning is held while a state is cloned that worlds of several goroutines share.
var cloning sync.Mutex

func cloneState(s *feed.State) *feed.State {
	cloning.Lock()
	defer cloning.Unlock()
	return s.Clone()
}

const instruments = 4

// packet makes the next packet, of n ticks. The first ticks of all are definitions; later
// ones define again.
func (w *world) packet(n int) []byte {
	h := codec.Packet{First: w.next, Count: uint64(n), PublishTime: w.time, Base: w.time}
	var body []byte
	for range n {
		id := feed.InstrumentID((w.next - 1) % instruments)
		t := feed.Quote{Bid: int64(w.next), Ask: int64(w.next + 1), BidSize: 1, AskSize: 2}.Tick(id, w.time)
		switch {
		case w.next <= instruments || w.next%97 == 0:
			t = feed.Tick{Kind: feed.KindDefinition, Instrument: id, EventTime: w.time, Extra: &feed.Extra{
				Definition: &feed.Definition{Symbol: fmt.Sprintf("S%d", id), Lot: int64(w.next)},
			}}
		case w.next%5 == 0:
			t = feed.Trade{Price: int64(100 + w.next), Size: int64(w.next), ID: w.next}.Tick(id, w.time)
		}
		if err := w.state.Apply(&t); err != nil {
			panic(err)
		}
		body = codec.AppendTick(body, &t, h.Base)
		w.next++
	}
	w.time += 10
	id := w.lineage.Current().ID
	p := codec.AppendPacket(nil, &h, body, codec.LineSeed(id, nil))
	w.made[place{id, h.First}] = p
	w.states[place{id, w.next}] = w.state.Clone()
	return p
}

// append makes a packet and appends it, after a rotation if one is due.
func (w *world) append(t testing.TB, j *journal.Journal, n int) {
	t.Helper()
	if j.Full() {
		w.rotate(t, j)
	}
	p := w.packet(n)
	require.NoError(t, j.Append(p, w.next, w.time-10))
	w.acked = w.next
}

// rotate goes on to the next file, settles the one that ended and prepares the one after it, as a publisher does.
func (w *world) rotate(t testing.TB, j *journal.Journal) {
	t.Helper()
	require.NoError(t, j.Rotate(w.state))
	j.Prepare()
	require.NoError(t, j.Settle())
}

// start opens the journal and begins a session.
func (w *world) start(t testing.TB, cfg journal.Config) *journal.Journal {
	t.Helper()
	j, err := journal.Open(cfg)
	require.NoError(t, err)
	require.NoError(t, w.restart(j.Recovered()))
	require.NoError(t, j.Begin(w.lineage, codec.ModeLive, w.state))
	return j
}

// told is what a cursor told of a journal from one number to its end.
type told struct {
	gone    feed.RangeSet
	packets int
}

// audit reads everything that the journal has from seq on and reports what is wrong: a packet
// that was never made, bytes that differ, a number told twice, out of order, or not at all.
func (w *world) audit(j *journal.Journal, seq uint64) (out told, err error) {
	c := j.Cursor(seq)
	defer c.Close()
	lineage := j.Recovered().Lineage
	if len(w.lineage) > 0 && j.Next() > j.Recovered().Next {
		lineage = w.lineage
	}
	next := uint64(0)
	for steps := 0; ; steps++ {
		if steps > 100_000 {
			return out, errors.New("does not end")
		}
		chunk, err := c.Next()
		if err == io.EOF {
			break
		} else if err != nil {
			return out, err
		}
		if !chunk.Gone.Empty() {
			if next != 0 && chunk.Gone.From != next || len(chunk.Data) > 0 {
				return out, fmt.Errorf("gone %v at %d", chunk.Gone, next)
			}
			out.gone.Add(chunk.Gone)
			next = chunk.Gone.To
			continue
		}
		if next == 0 {
			next = chunk.Range.From
			if next > max(seq, 1) {
				return out, fmt.Errorf("begins at %d, asked for %d", next, seq)
			}
		}
		if chunk.Range.From != next || chunk.Range.Empty() {
			return out, fmt.Errorf("packets %v at %d", chunk.Range, next)
		}
		if owner, _, ok := lineage.Owner(chunk.Range.From); !ok || owner.ID != chunk.Session.ID {
			return out, fmt.Errorf("packets %v of %v, which %v owns", chunk.Range, chunk.Session.ID, owner.ID)
		}
		for h, raw := range recording.Packets(chunk.Data) {
			if h.First != next {
				return out, fmt.Errorf("packet %v at %d", h.Range(), next)
			}
			if !bytes.Equal(raw, w.made[place{chunk.Session.ID, h.First}]) {
				return out, fmt.Errorf("packet %v of %v never was", h.Range(), chunk.Session.ID)
			}
			next = h.First + h.Count
			out.packets++
		}
		if next != chunk.Range.To {
			return out, fmt.Errorf("packets end at %d, range %v", next, chunk.Range)
		}
	}
	if next != 0 && next != j.Next() && seq < j.Next() || next == 0 && seq < j.Next() {
		return out, fmt.Errorf("ends at %d, the journal at %d", next, j.Next())
	}
	return out, nil
}
