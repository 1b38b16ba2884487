package recording

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tickfeed/codec"
	"tickfeed/feed"
)

// recorded is a Recorder and the files that it made.
type recorded struct {
	*Recorder
	files []*memory
}

func newRecorded(cfg RecorderConfig) *recorded {
	r := &recorded{}
	cfg.Create = func(int) (File, error) {
		f := &memory{}
		r.files = append(r.files, f)
		return f, nil
	}
	cfg.Now = func() int64 { return noon }
	r.Recorder = NewRecorder(cfg)
	return r
}

// feed records packets as a subscriber would.
func (r *recorded) feed(t *testing.T, state *feed.State, packets ...[]byte) {
	t.Helper()
	for _, raw := range packets {
		require.NoError(t, r.Before(codec.PacketAt(raw), state))
		require.NoError(t, r.Packet(raw))
	}
}

// told describes what a reader finds in a file: sessions by their last hex digits, snapshots, ranges of
// packets, and the numbers that packets list as absent.
func told(t *testing.T, f *memory) string {
	t.Helper()
	var out []string
	r := open(t, f.Bytes())
	for {
		item, err := r.Next()
		if err == io.EOF {
			break
		}
		require.NoError(t, err)
		switch item.Kind {
		case KindHeader:
			out = append(out, fmt.Sprintf("session %x next %d", uint64(item.Header.Lineage.Current().ID), item.Header.Next))
		case KindSnapshot:
			assert.True(t, item.Whole)
			out = append(out, fmt.Sprintf("snapshot %d", item.Range.From))
		case KindPackets:
			requireTiled(t, &item)
			for h, raw := range Packets(item.Data) {
				text := h.Range().String()
				b := codec.PacketBody(&h, raw[codec.PacketHeader:])
				for {
					n, err := b.Decode(make([]feed.Tick, 9))
					require.NoError(t, err)
					if n == 0 {
						break
					}
				}
				if n, _ := b.Gone(); n > 0 {
					text += " gone"
				} else if b.Withheld() > 0 {
					text += " withheld"
				} else if b.NotAsked() > 0 {
					text += fmt.Sprintf(" %d not asked", b.NotAsked())
				}
				out = append(out, text)
			}
		default:
			out = append(out, fmt.Sprintf("damage %v", item.Range))
		}
	}
	if !r.Closed() {
		out = append(out, "not closed")
	}
	return strings.Join(out, "; ")
}

func absentPacket(seed uint32, first uint64, body []byte, count uint64) []byte {
	return codec.AppendPacket(nil, &codec.Packet{First: first, Count: count, PublishTime: noon}, body, seed)
}

// A recording joins, whatever happens to the line: each number is in it once, or it lists the number as missing
// (PROTOCOL.md, "Recordings").
func TestRecorderLines(t *testing.T) {
	cases := []struct {
		name  string
		story func(r *recorded, s *session)
		want  string
	}{
		{"one line, resumed after a cut", func(r *recorded, s *session) {
			h := s.header
			require.NoError(t, r.Begin(h, s.state, feed.Range{}))
			r.feed(t, s.state, s.packet(50), s.packet(10))
			h.Next = 61
			require.NoError(t, r.Begin(h, s.state, feed.Range{}))
			r.feed(t, s.state, s.packet(5))
		}, "session a1 next 1; [1, 51); [51, 61); [61, 66)"},
		{"a packet that comes again, and one of which a part does", func(r *recorded, s *session) {
			h := s.header
			require.NoError(t, r.Begin(h, s.state, feed.Range{}))
			p := s.packet(50)
			r.feed(t, s.state, p, p)
			h.Next = 51
			require.NoError(t, r.Begin(h, s.state, feed.Range{}))
			again := newSession(0xa1)
			again.packet(40)
			r.feed(t, s.state, again.packet(20))
		}, "session a1 next 1; [1, 51); [51, 61)"},
		{"a start inside of a packet", func(r *recorded, s *session) {
			s.packet(40)
			h := s.header
			h.Next = 45
			p := s.packet(10)
			require.NoError(t, r.Begin(h, s.state, feed.Range{}))
			r.feed(t, s.state, p)
		}, "session a1 next 45; snapshot 45; [45, 51)"},
		{"a child goes on", func(r *recorded, s *session) {
			require.NoError(t, r.Begin(s.header, s.state, feed.Range{}))
			r.feed(t, s.state, s.packet(50))
			require.NoError(t, r.Begin(s.child(0xa2), s.state, feed.Range{}))
			r.feed(t, s.state, s.packet(10))
		}, "session a1 next 1; [1, 51); session a2 next 51; snapshot 51; [51, 61)"},
		{"a child forks off before what was received", func(r *recorded, s *session) {
			require.NoError(t, r.Begin(s.header, s.state, feed.Range{}))
			r.feed(t, s.state, s.packet(50))
			s.next = 45
			require.NoError(t, r.Begin(s.child(0xa2), s.state, feed.Range{}))
			r.feed(t, s.state, s.packet(10))
		}, "session a1 next 1; [1, 51); session a2 next 45; snapshot 45; [45, 55)"},
		{"numbers that the publisher no longer has, over two sessions", func(r *recorded, s *session) {
			require.NoError(t, r.Begin(s.header, s.state, feed.Range{}))
			r.feed(t, s.state, s.packet(50))
			s.next = 61
			s.child(0xa2)
			s.next = 71
			h := s.child(0xa3)
			s.next = 80
			h.Next = 80
			require.NoError(t, r.Begin(h, s.state, feed.Range{}))
			r.feed(t, s.state, s.packet(10))
			assert.Equal(t, uint64(29), r.Stats().Gone)
		}, "session a1 next 1; [1, 51); [51, 61) gone; session a2 next 61; [61, 71) gone; session a3 next 71; [71, 80) gone; snapshot 80; [80, 90)"},
		{"lost and disowned at once", func(r *recorded, s *session) {
			require.NoError(t, r.Begin(s.header, s.state, feed.Range{}))
			r.feed(t, s.state, s.packet(50))
			s.next = 46
			h := s.child(0xa2)
			s.next, h.Next = 60, 60
			require.NoError(t, r.Begin(h, s.state, feed.Range{}))
			r.feed(t, s.state, s.packet(10))
		}, "session a1 next 1; [1, 51); session a2 next 46; [46, 60) gone; snapshot 60; [60, 70)"},
		{"the publisher says that numbers are gone, then tells the state", func(r *recorded, s *session) {
			require.NoError(t, r.Begin(s.header, s.state, feed.Range{}))
			r.feed(t, s.state, s.packet(50))
			r.feed(t, nil, absentPacket(s.header.Seed, 51, codec.AppendGone(nil, 9, codec.GoneDamaged), 9))
			h := s.header
			s.next, h.Next = 60, 60
			require.NoError(t, r.Begin(h, s.state, feed.Range{}))
			r.feed(t, s.state, s.packet(10))
		}, "session a1 next 1; [1, 51); [51, 60) gone; snapshot 60; [60, 70)"},
		{"a part of what is gone was recorded", func(r *recorded, s *session) {
			require.NoError(t, r.Begin(s.header, s.state, feed.Range{}))
			r.feed(t, s.state, s.packet(50))
			r.feed(t, nil, absentPacket(s.header.Seed, 41, codec.AppendGone(nil, 19, codec.GoneDamaged), 19))
		}, "session a1 next 1; [1, 51); [51, 60) gone"},
		{"gone numbers come first", func(r *recorded, s *session) {
			h := s.header
			h.Next = 51
			require.NoError(t, r.Begin(h, nil, feed.Range{}))
			r.feed(t, nil, absentPacket(s.header.Seed, 51, codec.AppendGone(nil, 9, codec.GoneExpired), 9))
			s.packet(50)
			s.next, h.Next = 60, 60
			require.NoError(t, r.Begin(h, s.state, feed.Range{}))
			r.feed(t, s.state, s.packet(1))
		}, "session a1 next 51; [51, 60) gone; snapshot 60; [60, 61)"},
		{"withheld across a restart, the state only at the end", func(r *recorded, s *session) {
			require.NoError(t, r.Begin(s.header, s.state, feed.Range{}))
			r.feed(t, s.state, s.packet(50), absentPacket(s.header.Seed, 51, codec.AppendWithheld(nil, 9), 9))
			s.next = 60
			h := s.child(0xa2)
			require.NoError(t, r.Begin(h, nil, feed.Range{}))
			r.feed(t, nil, absentPacket(h.Seed, 60, codec.AppendWithheld(nil, 20), 20))
			s.next, h.Next = 80, 80
			require.NoError(t, r.Begin(h, s.state, feed.Range{}))
			r.feed(t, s.state, s.packet(3))
		}, "session a1 next 1; [1, 51); [51, 60) withheld; session a2 next 60; [60, 80) withheld; snapshot 80; [80, 83)"},
		{"another line with nothing in common", func(r *recorded, s *session) {
			require.NoError(t, r.Begin(s.header, s.state, feed.Range{}))
			r.feed(t, s.state, s.packet(50))
			o := newSession(0xb1)
			o.packet(45)
			o.header.Next = 46
			require.NoError(t, r.Begin(o.header, o.state, feed.Range{}))
			r.feed(t, o.state, o.packet(2))
		}, "session a1 next 1; [1, 51); session b1 next 46; snapshot 46; [46, 48)"},
		{"another line with nothing in common, of which the beginning is lost", func(r *recorded, s *session) {
			require.NoError(t, r.Begin(s.header, s.state, feed.Range{}))
			r.feed(t, s.state, s.packet(50))
			o := newSession(0xb1)
			o.packet(3)
			o.header.Next = 4
			require.NoError(t, r.Begin(o.header, o.state, feed.Range{From: 1, To: 4}))
			r.feed(t, o.state, o.packet(2))
			assert.Equal(t, uint64(3), r.Stats().Gone)
			o.header.Next = 6
			require.NoError(t, r.Begin(o.header, o.state, feed.Range{}))
			r.feed(t, o.state, o.packet(2))
		}, "session a1 next 1; [1, 51); session b1 next 1; [1, 4) gone; snapshot 4; [4, 6); [6, 8)"},
		{"a line with nothing in common, of which two sessions are lost", func(r *recorded, s *session) {
			require.NoError(t, r.Begin(s.header, s.state, feed.Range{}))
			r.feed(t, s.state, s.packet(50))
			o := newSession(0xb1)
			o.packet(40)
			h := o.child(0xb2)
			o.packet(10)
			h.Next = 51
			require.NoError(t, r.Begin(h, o.state, feed.Range{From: 11, To: 51}))
			r.feed(t, o.state, o.packet(2))
		}, "session a1 next 1; [1, 51); session b1 next 11; [11, 41) gone; session b2 next 41; [41, 51) gone; snapshot 51; [51, 53)"},
		{"the first line begins behind what was asked for", func(r *recorded, s *session) {
			s.packet(50)
			h := s.header
			h.Next = 51
			require.NoError(t, r.Begin(h, s.state, feed.Range{From: 1, To: 51}))
			r.feed(t, s.state, s.packet(2))
		}, "session a1 next 1; [1, 51) gone; snapshot 51; [51, 53)"},
		{"the first line begins behind two sessions that were asked for", func(r *recorded, s *session) {
			s.packet(50)
			h := s.child(0xa2)
			s.packet(10)
			h.Next = 61
			require.NoError(t, r.Begin(h, s.state, feed.Range{From: 1, To: 61}))
			r.feed(t, s.state, s.packet(2))
		}, "session a1 next 1; [1, 51) gone; session a2 next 51; [51, 61) gone; snapshot 61; [61, 63)"},
		{"the first line begins behind what was asked for, and is cut before a packet", func(r *recorded, s *session) {
			s.packet(50)
			h := s.header
			h.Next = 51
			require.NoError(t, r.Begin(h, s.state, feed.Range{From: 1, To: 51}))
			require.NoError(t, r.Begin(h, s.state, feed.Range{From: 1, To: 51}))
			r.feed(t, s.state, s.packet(2))
		}, "session a1 next 1; [1, 51) gone; snapshot 51; [51, 53)"},
		{"the only line begins behind what was asked for, and nothing comes", func(r *recorded, s *session) {
			s.packet(50)
			h := s.header
			h.Next = 51
			require.NoError(t, r.Begin(h, s.state, feed.Range{From: 1, To: 51}))
		}, "session a1 next 1; [1, 51) gone; snapshot 51"},
		{"the first line begins behind what was asked for, its state is not known", func(r *recorded, s *session) {
			s.packet(50)
			h := s.header
			h.Next = 51
			require.NoError(t, r.Begin(h, nil, feed.Range{From: 1, To: 51}))
			r.feed(t, nil, absentPacket(s.header.Seed, 51, codec.AppendGone(nil, 9, codec.GoneDamaged), 9))
			s.next, h.Next = 60, 60
			require.NoError(t, r.Begin(h, s.state, feed.Range{From: 1, To: 60}))
			r.feed(t, s.state, s.packet(1))
		}, "session a1 next 1; [1, 51) gone; [51, 60) gone; snapshot 60; [60, 61)"},
		{"the line leaves for an unrelated session, without numbers of the one before and of its child", func(r *recorded, s *session) {
			require.NoError(t, r.Begin(s.header, s.state, feed.Range{}))
			r.feed(t, s.state, s.packet(50))
			require.NoError(t, r.Left(0xa1, feed.Range{From: 51, To: 60}))
			require.NoError(t, r.Left(0xa2, feed.Range{From: 60, To: 70}))
			other := newSession(0xb1)
			require.NoError(t, r.Begin(other.header, other.state, feed.Range{}))
			r.feed(t, other.state, other.packet(3))
		}, "session a1 next 1; [1, 51); [51, 60) gone; session a2 next 60; [60, 70) gone; session b1 next 1; [1, 4)"},
		{"numbers left that do not follow what was recorded", func(r *recorded, s *session) {
			require.NoError(t, r.Begin(s.header, s.state, feed.Range{}))
			r.feed(t, s.state, s.packet(50))
			require.NoError(t, r.Left(0xc1, feed.Range{From: 70, To: 80}))
		}, "session a1 next 1; [1, 51)"},
		{"a filtered line: skips are cut where they were recorded", func(r *recorded, s *session) {
			s.packet(50)
			h := s.header
			h.Filter, h.Next, h.Seed = codec.Filter{"S1"}, 51, 77
			require.NoError(t, r.Begin(h, s.state, feed.Range{}))
			body := func(skip uint64) []byte {
				q := feed.Quote{Bid: 1, BidSize: 1, Ask: 2, AskSize: 1}.Tick(1, noon)
				return codec.AppendTick(codec.AppendSkip(nil, skip), &q, noon)
			}
			r.feed(t, s.state, absentPacket(77, 51, codec.AppendSkip(nil, 9), 9))
			r.feed(t, s.state, absentPacket(77, 55, body(9), 10))
		}, "session a1 next 51; snapshot 51; [51, 60) 9 not asked; [60, 65) 4 not asked"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			r, s := newRecorded(RecorderConfig{}), newSession(0xa1)
			c.story(r, s)
			require.NoError(t, r.Close())
			require.Len(t, r.files, 1)
			assert.Equal(t, c.want, told(t, r.files[0]))
		})
	}
}

// Gone numbers have the publish time of the packet after them: a file never begins with a time at which nothing
// was published.
func TestRecorderTimesWhatIsGone(t *testing.T) {
	r, s := newRecorded(RecorderConfig{}), newSession(0xa1)
	s.packet(50)
	h := s.header
	h.Next = 51
	require.NoError(t, r.Begin(h, s.state, feed.Range{From: 1, To: 51}))
	p := s.packet(2)
	r.feed(t, s.state, p)
	require.NoError(t, r.Close())
	got := readBuilt(t, r.files[0].Bytes())
	assert.Equal(t, codec.PacketAt(p).PublishTime, got.packets[0].PublishTime)
	assert.Equal(t, []string{"50 expired"}, got.skips)
}

// Rotated files join, and each can be read alone, because it begins with the state as of its first packet.
func TestRecorderRotates(t *testing.T) {
	for name, cfg := range map[string]RecorderConfig{
		"by size": {RotateSize: 20_000},
		"by time": {RotateTime: 9 * time.Microsecond},
	} {
		t.Run(name, func(t *testing.T) {
			closed := 0
			cfg.Closed = func(n int) error { closed++; assert.Equal(t, closed, n); return nil }
			r, s := newRecorded(cfg), newSession(0xa1)
			require.NoError(t, r.Begin(s.header, s.state, feed.Range{}))
			var want []byte
			states := map[uint64]*feed.State{}
			for range 100 {
				before := s.state.Clone()
				states[s.next] = before
				p := s.packet(50)
				want = append(want, p...)
				r.feed(t, before, p)
			}
			require.NoError(t, r.Close())
			require.Greater(t, len(r.files), 5)
			assert.Equal(t, len(r.files), closed)
			var got []byte
			next := uint64(1)
			for i, f := range r.files {
				x := open(t, f.Bytes())
				require.Equal(t, next, x.Header().Next, "file %d", i)
				if i > 0 {
					_, err := x.Next()
					require.NoError(t, err)
					item, err := x.Next()
					require.NoError(t, err)
					require.Equal(t, KindSnapshot, item.Kind)
					state, err := x.State(item)
					require.NoError(t, err)
					assert.Empty(t, states[next].Diff(state), "file %d", i)
				}
				data, missing, damages := readAll(t, open(t, f.Bytes()))
				got = append(got, data...)
				assert.Empty(t, missing)
				assert.Zero(t, damages)
				first, last := codec.PacketAt(data), codec.Packet{}
				for h := range Packets(data) {
					last = h
				}
				next = last.First + last.Count
				if cfg.RotateTime > 0 {
					assert.Less(t, last.PublishTime-first.PublishTime, int64(cfg.RotateTime))
				} else {
					assert.Less(t, f.Len(), 30_000)
				}
			}
			assert.True(t, bytes.Equal(want, got), "the packets of all files are those that were sent")
		})
	}
}

// A file that cannot be written ends the recording, and stays readable.
func TestRecorderFails(t *testing.T) {
	f := &memory{limit: true, left: 10_000}
	r := NewRecorder(RecorderConfig{Create: func(int) (File, error) { return f, nil }, Now: func() int64 { return noon }})
	require.ErrorIs(t, r.Packet(newSession(1).packet(1)), errNoLine)
	s := newSession(0xa1)
	require.NoError(t, r.Begin(s.header, s.state, feed.Range{}))
	var err error
	for range 100 {
		if err = r.Packet(s.packet(50)); err != nil {
			break
		}
	}
	require.ErrorIs(t, err, errNoRoom)
	require.NoError(t, r.Close())
	assert.Regexp(t, `^session a1 next 1; \[1, 51\); .*; damage \[(\d+), (\d+)\); not closed$`, told(t, f))
}

// After a partial packet neither index nor trailer is written, even if there is room again: they would make the
// file appear closed in order.
func TestNoEndBehindAPartOfAPacket(t *testing.T) {
	s := newSession(0xa1)
	packets := [][]byte{s.packet(50), s.packet(50), s.packet(50)}
	for _, room := range []int{1, 20, codec.PacketHeader, len(packets[2]) - 1} {
		f := &memory{}
		w, err := NewWriter(f, s.header, nil)
		require.NoError(t, err)
		require.NoError(t, w.Append(packets[0], 51, noon))
		require.NoError(t, w.Append(packets[1], 101, noon))
		f.limit, f.left = true, room
		require.ErrorIs(t, w.Append(packets[2], 151, noon), errNoRoom)
		f.limit = false
		size := f.Len()
		require.NoError(t, w.Finish())
		require.NoError(t, w.CloseTorn())
		assert.Equal(t, size, f.Len(), "%d bytes of a packet", room)
		assert.Equal(t, fmt.Sprintf("session a1 next 1; [1, 51); [51, 101); damage %v; not closed", feed.Range{From: 101, To: 101}), told(t, f))
	}
	f := &memory{}
	w, err := NewWriter(f, s.header, nil)
	require.NoError(t, err)
	require.NoError(t, w.Append(packets[0], 51, noon))
	require.NoError(t, w.Finish())
	size := f.Len()
	require.NoError(t, w.Finish(), "a second end is not written")
	assert.Equal(t, size, f.Len())
}

// The same holds after a partial header, of another session or of a mark.
func TestNoEndBehindAPartOfAHeader(t *testing.T) {
	for name, interrupt := range map[string]func(w *Writer, s *session, f *memory) error{
		"of a session": func(w *Writer, s *session, f *memory) error {
			f.limit, f.left = true, 10
			return w.Continue(s.child(0xa2), s.state)
		},
		"of a mark": func(w *Writer, s *session, f *memory) error {
			for w.Size() < MarkInterval+1000 {
				p := s.packet(50)
				if err := w.Append(p, s.next, noon); err != nil {
					return err
				}
			}
			f.limit, f.left = true, 10
			p := s.packet(50)
			return w.Append(p, s.next, noon)
		},
	} {
		t.Run(name, func(t *testing.T) {
			s, f := newSession(0xa1), &memory{}
			w, err := NewWriter(f, s.header, nil)
			require.NoError(t, err)
			p := s.packet(50)
			require.NoError(t, w.Append(p, s.next, noon))
			require.ErrorIs(t, interrupt(w, s, f), errNoRoom)
			f.limit = false
			size := f.Len()
			require.NoError(t, w.Finish())
			require.NoError(t, w.CloseTorn())
			assert.Equal(t, size, f.Len())
		})
	}
}
