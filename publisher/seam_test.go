package publisher

import (
	"bytes"
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"tickfeed/codec"
	"tickfeed/codec/effort"
	"tickfeed/feed"
	"tickfeed/publisher/journal"
	"tickfeed/publisher/journal/memfs"
)

// A seam is a publisher without goroutines of its own: the test takes each of their steps. Its memory holds two
// segments, and its journal everything.
type seam struct {
	p    *Publisher
	conn *conn

	from   uint64 // where the line began
	at     uint64 // end of what was read
	wanted int    // ticks read
	held   view   // of the last read, not released yet: the connection is still writing it
	data   []byte
	was    []byte // a copy of data
	err    error
}

const (
	seamSegment = 2048
	seamPacket  = 3 // ticks
)

func newSeam(t *testing.T, filter codec.Filter, inMemory bool) *seam {
	t.Helper()
	cfg := Config{Journal: "j", Now: func() int64 { return 1000 }}
	require.NoError(t, cfg.fill())
	j, err := journal.Open(journal.Config{Dir: "j", FS: &memfs.FS{}, SegmentSize: journal.MinSegmentSize, Now: cfg.Now})
	require.NoError(t, err)
	p := &Publisher{cfg: cfg, journal: j, clock: clock{time.Now()}, lineage: feed.Lineage{{ID: 7, First: 1}}}
	require.NoError(t, j.Begin(p.lineage, cfg.Mode, feed.NewState()))
	p.assemble(newMemlog(seamSegment, 2, 1, 0, feed.NewState()), feed.NewState(), 0)

	s := &seam{p: p}
	for i := range 2 {
		d := feed.Tick{Kind: feed.KindDefinition, Instrument: feed.InstrumentID(i), Extra: &feed.Extra{Definition: &feed.Definition{Symbol: fmt.Sprintf("S%d", i)}}}
		require.NoError(t, p.seq.appendTickLocked(context.Background(), &d))
	}
	for range 3 {
		s.step('a')
		s.step('f')
		s.step('e')
	}
	s.step('a')
	s.step('f')
	s.conn = &conn{p: p, mail: mailbox{writing: true}, line: line{p: p, filter: filter}}
	l := &s.conn.line
	l.setSession(p.session)
	l.wanted = newWanted(filter, nil, p.seq.state)
	s.at = 1
	if inMemory {
		s.at = p.log.tail()
	}
	l.seek(s.at)
	s.from = s.at
	require.Equal(t, inMemory, l.inMem)
	require.NoError(t, s.err)
	return s
}

// step takes one step; one that is not possible now is none.
//
//	a  append and seal a packet        e  begin a segment of memory, which evicts the oldest
//	f  journal, commit and wake        r  rotate the journal's file
//	n  read what is next               p  park, where all is read
func (s *seam) step(what byte) {
	p := s.p
	switch what {
	case 'a':
		for range seamPacket {
			seq := int64(p.seq.next)
			q := feed.Quote{Bid: seq, Ask: seq + 1}.Tick(feed.InstrumentID(seq%2), seq)
			if p.seq.off+codec.PacketHeader+codec.MaxEntry > len(p.seq.seg.buf) {
				break // a segment begins by its own step
			}
			s.note(p.seq.appendTickLocked(context.Background(), &q))
		}
		p.seq.sealLocked()
	case 'f':
		parked, before := s.conn != nil && s.conn.parked, p.seq.next
		if next, _ := p.log.head(); next == before {
			parked = false
		}
		s.note(p.flusher.flush())
		if parked {
			if !s.conn.mail.again {
				s.note(fmt.Errorf("parked at %d, not woken although the log has numbers up to %d", s.conn.line.read, before))
			}
			s.conn.mail.again = false
		}
	case 'e':
		p.seq.sealLocked()
		if p.seq.off == 0 {
			return
		}
		if seg, ok := p.log.extend(p.seq.next, p.seq.state.Clone()); ok {
			p.seq.seg, p.seq.off = seg, 0
		}
	case 'r':
		if next, _ := p.log.head(); next == p.seq.next {
			s.note(p.journal.Rotate(p.seq.state.Clone()))
		}
	case 'n':
		s.read()
	case 'p':
		l := &s.conn.line
		next, _ := p.log.head()
		if did := p.serving.parking.park(s.conn, p.log); did != (l.read >= next) {
			s.note(fmt.Errorf("park says %v at %d, the log has numbers up to %d", did, l.read, next))
		}
	}
}

// read first checks that the previous chunk is unchanged, as if its write ended now, and then reads the next chunk.
func (s *seam) read() (more bool) {
	s.release()
	l := &s.conn.line
	read := l.read
	ch, err := l.advance(nil)
	s.note(err)
	if !ch.gone.Empty() {
		s.note(fmt.Errorf("%v is gone", ch.gone))
	}
	s.held, s.data, s.was = ch.mem, ch.data, bytes.Clone(ch.data)
	s.take(ch.data)
	return len(ch.data) > 0 || l.read != read
}

func (s *seam) release() {
	if !bytes.Equal(s.data, s.was) {
		s.note(fmt.Errorf("bytes up to %d changed while they were being written", s.at))
	}
	s.held.release()
	s.data, s.was = nil, nil
}

// take checks that packets follow each other, and that each tick is the one with its number.
func (s *seam) take(data []byte) {
	var ticks [8]feed.Tick
	for len(data) > 0 && s.err == nil {
		n := codec.PacketSize(data)
		if n == 0 || n > len(data) {
			s.note(fmt.Errorf("no packet at %d", s.at))
			return
		}
		h := codec.PacketAt(data)
		if h.First != s.at {
			s.note(fmt.Errorf("packet %v, want one from %d", h.Range(), s.at))
		}
		if !codec.VerifyPacket(data[:n], s.conn.line.seed) {
			s.note(fmt.Errorf("packet %v: wrong checksum", h.Range()))
		}
		s.at = h.First + h.Count
		body := codec.PacketBody(&h, data[codec.PacketHeader:n])
		for {
			k, err := body.Decode(ticks[:])
			s.note(err)
			if k == 0 || err != nil {
				break
			}
			for _, t := range ticks[:k] {
				if t.Kind == feed.KindQuote && t.Values[0] != int64(t.Seq) {
					s.note(fmt.Errorf("number %d holds tick %d", t.Seq, t.Values[0]))
				}
			}
			s.wanted += k
		}
		data = data[n:]
	}
}

func (s *seam) note(err error) {
	if s.err == nil {
		s.err = err
	}
}

// end reads the rest and checks that nothing is missing.
func (s *seam) end() error {
	s.step('f')
	for s.err == nil && s.read() {
	}
	s.release()
	l := &s.conn.line
	s.take(l.skip(nil)) // as before a heartbeat
	l.closeCursor()
	want := int(s.p.seq.next - s.from)
	if l.wanted != nil {
		want /= 2 // one of two instruments
	}
	switch {
	case s.err != nil:
	case s.at != s.p.seq.next:
		s.note(fmt.Errorf("read up to %d, published up to %d", s.at, s.p.seq.next))
	case s.wanted != want && l.wanted == nil, s.wanted < want-1 || s.wanted > want+1:
		s.note(fmt.Errorf("%d ticks read, want %d", s.wanted, want))
	}
	if err := s.p.journal.Close(); err != nil {
		s.note(err)
	}
	return s.err
}

// The hand-over from journal to memory to live ticks loses and repeats nothing, in whatever order its steps come
// (PROMISES.md, 10).
func TestSeamLosesAndRepeatsNothing(t *testing.T) {
	const steps = "afernp"
	depth := effort.Of(t, 6, 4)
	for _, c := range []struct {
		name     string
		filter   codec.Filter
		inMemory bool
	}{
		{"full, from the journal", nil, false},
		{"full, from memory", nil, true},
		{"filtered, from the journal", codec.Filter{"S1"}, false},
		{"filtered, from memory", codec.Filter{"S1"}, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			all := 1
			for range depth {
				all *= len(steps)
			}
			order := make([]byte, depth)
			for i := range all {
				for j, k := 0, i; j < depth; j, k = j+1, k/len(steps) {
					order[j] = steps[k%len(steps)]
				}
				s := newSeam(t, c.filter, c.inMemory)
				for _, what := range order {
					s.step(what)
				}
				require.NoError(t, s.end(), "steps %s", order)
			}
		})
	}
}
