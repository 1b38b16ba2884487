package compare

import (
	"errors"
	"io"

	"tickfeed/codec"
	"tickfeed/codec/recording"
	"tickfeed/feed"
)

// OfRecordings returns the party whose ticks are in recordings, one after the other. The recordings must stay open.
func OfRecordings(recordings ...*recording.Input) Party {
	return Party{Open: func() (Stream, error) {
		return &recordedStream{recordings: recordings, facts: Facts{Started: true}, batch: make([]feed.Tick, 1024)}, nil
	}}
}

// A recordedStream reads recordings. Numbers that a packet skips were not asked for; numbers that it reports as gone, and damaged
// ones, are lost.
type recordedStream struct {
	recordings []*recording.Input
	r          *recording.Reader // nil before the first recording
	facts      Facts

	lineage feed.Lineage
	known   feed.Table[*feed.Definition]
	run     []byte     // packets not read yet
	body    codec.Body // of the open packet
	open    bool
	packet  codec.Packet
	batch   []feed.Tick
	ticks   []feed.Tick // the rest of batch
	at      uint64      // every number of the packet below is in an entry

	entry Entry
	text  []byte
}

func (s *recordedStream) Facts() Facts { return s.facts }

func (s *recordedStream) Close() error { return nil }

func (s *recordedStream) Next() (*Entry, error) {
	for {
		switch {
		case len(s.ticks) > 0:
			t := &s.ticks[0]
			if t.Seq > s.at {
				return s.claim(feed.Range{From: s.at, To: t.Seq}, NotAsked), nil
			}
			s.ticks = s.ticks[1:]
			return s.tick(t), nil
		case s.open:
			if e := s.decode(); e != nil {
				return e, nil
			}
		case len(s.run) > 0:
			n := codec.PacketSize(s.run)
			h, body, err := codec.ParsePacket(s.run[:n])
			s.run = s.run[n:]
			s.packet, s.at = h, h.First
			if err != nil {
				return s.claim(feed.Range{From: h.First, To: h.First + h.Count}, Lost), nil
			}
			s.body, s.open = codec.PacketBody(&h, body), true
		default:
			e, err := s.item()
			if e != nil || err != nil {
				return e, err
			}
		}
	}
}

// claim returns an entry for r. A header stands wherever another session begins to own the numbers.
func (s *recordedStream) claim(r feed.Range, c Claim) *Entry {
	s.at = r.To
	s.entry = Entry{Numbers: feed.Numbers{Session: s.lineage.Current().ID, Range: r}, Claim: c}
	return &s.entry
}

func (s *recordedStream) tick(t *feed.Tick) *Entry {
	if d := t.Definition(); d != nil {
		*s.known.At(t.Instrument) = d
	}
	var d *feed.Definition
	if in := s.known.Lookup(t.Instrument); in != nil {
		d = *in
	}
	if d == nil {
		d = &feed.Definition{}
	}
	s.facts.Ticks++
	s.text = appendTick(s.text[:0], s.packet.PublishTime, t, d)
	e := s.claim(feed.Range{From: t.Seq, To: t.Seq + 1}, Held)
	e.Definition, e.Kind, e.Text = d, t.Kind, s.text
	return e
}

// decode reads ticks of the open packet. At its end it returns an entry for the numbers after the last tick, or nil if there
// are none.
func (s *recordedStream) decode() *Entry {
	n, err := s.body.Decode(s.batch)
	s.ticks = s.batch[:n]
	if err == nil && n > 0 {
		return nil
	}
	if err != nil && n > 0 {
		return nil // the error comes again
	}
	s.open = false
	rest := feed.Range{From: s.at, To: s.packet.First + s.packet.Count}
	if rest.Empty() {
		return nil
	}
	c := NotAsked
	if gone, _ := s.body.Gone(); gone > 0 || err != nil {
		c = Lost
	} else if s.body.Withheld() > 0 {
		c = Withheld
	}
	return s.claim(rest, c)
}

// item reads the next item, of this recording or the next one. It returns an entry for damaged numbers.
func (s *recordedStream) item() (*Entry, error) {
	if s.r == nil {
		if len(s.recordings) == 0 {
			return nil, io.EOF
		}
		r, err := s.recordings[0].Reader()
		if err != nil {
			return nil, err
		}
		s.r, s.recordings = r, s.recordings[1:]
	}
	item, err := s.r.Next()
	switch {
	case errors.Is(err, io.EOF):
		s.r = nil
		return nil, nil
	case err != nil:
		return nil, err
	}
	switch item.Kind {
	case recording.KindHeader:
		if _, related := item.Header.Lineage.Fork(s.lineage, 1); !related {
			s.known = feed.Table[*feed.Definition]{}
		}
		s.lineage = item.Header.Lineage
		s.facts.lineage(s.lineage)
	case recording.KindSnapshot:
		return nil, s.r.SnapshotTicks(item, func(ticks []feed.Tick) {
			for i := range ticks {
				if d := ticks[i].Definition(); d != nil {
					*s.known.At(ticks[i].Instrument) = d
				}
			}
		})
	case recording.KindPackets:
		s.run = item.Data
	case recording.KindDamage:
		if !item.Range.Empty() {
			return s.claim(item.Range, Lost), nil
		}
	case recording.KindTorn:
		s.facts.Torn = s.facts.Torn || item.Size > 0
	}
	return nil, nil
}
