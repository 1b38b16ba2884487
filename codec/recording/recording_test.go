package recording

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tickfeed/codec"
	"tickfeed/feed"
)

const noon = 1_700_000_000_000_000_000

// A memory is a file in memory that fails once left reaches 0.
type memory struct {
	bytes.Buffer
	left  int // bytes that still fit, if limited
	limit bool
}

var errNoRoom = errors.New("no room")

func (m *memory) Write(p []byte) (int, error) {
	if m.limit && len(p) > m.left {
		n, _ := m.Buffer.Write(p[:m.left])
		m.left = 0
		return n, errNoRoom
	}
	m.left -= len(p)
	return m.Buffer.Write(p)
}

func (*memory) Sync() error { return nil }

func (*memory) Close() error { return nil }

// A session is the recorded input of a test: packets, and the state at every packet's end.
type session struct {
	header codec.FileHeader
	next   uint64
	time   int64
	state  *feed.State
}

const instruments = 40

func newSession(id feed.SessionID) *session {
	s := &session{
		header: codec.FileHeader{
			Lineage: feed.Lineage{{ID: id, First: 1}}, Seed: codec.LineSeed(id, nil), Next: 1,
			Source: "a test", Created: noon,
		},
		next: 1, time: noon, state: feed.NewState(),
	}
	return s
}

// packet returns the next packet of n ticks; the first ticks are definitions.
func (s *session) packet(n int) []byte {
	var body []byte
	h := codec.Packet{First: s.next, Count: uint64(n), PublishTime: s.time, Base: s.time}
	for range n {
		id := feed.InstrumentID(s.next-1) % instruments
		t := feed.Quote{Bid: int64(s.next), BidSize: 1, Ask: int64(s.next) + 1, AskSize: 2}.Tick(id, s.time)
		if s.next <= instruments {
			t = feed.Tick{Kind: feed.KindDefinition, Instrument: id, Extra: &feed.Extra{
				Definition: &feed.Definition{Symbol: fmt.Sprintf("S%d", id), Currency: "USD"},
			}}
		}
		if err := s.state.Apply(&t); err != nil {
			panic(err)
		}
		body = codec.AppendTick(body, &t, s.time)
		s.next++
	}
	s.time += 1000
	return codec.AppendPacket(nil, &h, body, s.header.Seed)
}

// child returns the session that continues from here.
func (s *session) child(id feed.SessionID) codec.FileHeader {
	s.header.Lineage = s.header.Lineage.Child(id, s.next)
	s.header.Seed = codec.LineSeed(id, nil)
	s.header.Next = s.next
	return s.header
}

// readAll reads everything and returns the packets, the missing ranges, and the number of damages.
func readAll(t testing.TB, r *Reader) (data []byte, missing feed.RangeSet, damages int) {
	t.Helper()
	next := uint64(0)
	for {
		item, err := r.Next()
		if err == io.EOF {
			return data, missing, damages
		}
		require.NoError(t, err)
		switch item.Kind {
		case KindPackets:
			requireTiled(t, &item)
			data = append(data, item.Data...)
			if next > 0 && item.Range.From > next {
				missing.Add(feed.Range{From: next, To: item.Range.From})
			}
			next = item.Range.To
		case KindDamage, KindTorn:
			damages++
			missing.Add(item.Range)
			next = max(next, item.Range.To)
		}
	}
}

// requireTiled checks that the packets of a run cover its range, each number once and in order.
func requireTiled(t testing.TB, item *Item) {
	t.Helper()
	next, size := item.Range.From, 0
	for h, raw := range Packets(item.Data) {
		require.Equal(t, next, h.First, "a run of packets has a gap")
		next, size = h.First+h.Count, size+len(raw)
	}
	require.Equal(t, item.Range.To, next)
	require.Equal(t, len(item.Data), size)
}

func open(t testing.TB, b []byte) *Reader {
	t.Helper()
	r, err := NewReader(bytes.NewReader(b), int64(len(b)))
	require.NoError(t, err)
	return r
}

// A recording reads as it was written: across marks, sessions and snapshots, with and without its index
// (PROTOCOL.md, "Recordings").
func TestRoundTrip(t *testing.T) {
	s := newSession(0xa1)
	var f memory
	w, err := NewWriter(&f, s.header, nil)
	require.NoError(t, err)
	var want []byte
	var states []*feed.State
	for session := range 3 {
		if session > 0 {
			states = append(states, s.state.Clone())
			require.NoError(t, w.Continue(s.child(feed.SessionID(0xa1+session)), s.state))
		}
		for range 60 { // batches of several packets, as a publisher appends them
			var p []byte
			for range 1 + s.next%7 {
				p = append(p, s.packet(300)...)
			}
			want = append(want, p...)
			require.NoError(t, w.Append(p, s.next, s.time-1000))
		}
	}
	require.Greater(t, len(w.Marks()), 4)
	unclosed := bytes.Clone(f.Bytes())
	require.NoError(t, w.Close())

	for name, b := range map[string][]byte{"closed": f.Bytes(), "not closed": unclosed} {
		t.Run(name, func(t *testing.T) {
			r := open(t, b)
			headers, snapshots := 0, 0
			var got []byte
			for {
				item, err := r.Next()
				if err == io.EOF {
					break
				}
				require.NoError(t, err)
				switch item.Kind {
				case KindHeader:
					assert.Equal(t, feed.SessionID(0xa1+headers), item.Header.Lineage.Current().ID)
					headers++
				case KindSnapshot:
					state, err := r.State(item)
					require.NoError(t, err)
					assert.True(t, item.Whole)
					assert.Equal(t, "", state.Diff(states[snapshots]))
					snapshots++
				case KindPackets:
					got = append(got, item.Data...)
				default:
					t.Errorf("damage: %+v", item)
				}
			}
			assert.Equal(t, 3, headers)
			assert.Equal(t, 2, snapshots)
			assert.True(t, bytes.Equal(want, got))
			assert.Equal(t, name == "closed", r.Closed())
			assert.Equal(t, s.next, r.NextSeq())
			marks, err := r.Marks()
			require.NoError(t, err)
			assert.Equal(t, w.Marks(), marks)
		})
	}
}

var update = flag.Bool("update", false, "write testdata anew")

// The file in testdata reads as it was made (PROTOCOL.md, "Recordings"). It stays when the Writer's output
// changes; a new file is then added.
func TestGoldenFileReadsAsItWasMade(t *testing.T) {
	b, packets := example(t, 6<<10)
	name := filepath.Join("testdata", "example.tick")
	if *update {
		require.NoError(t, os.MkdirAll("testdata", 0o755))
		require.NoError(t, os.WriteFile(name, b, 0o644))
	}
	golden, err := os.ReadFile(name)
	require.NoError(t, err)
	r := open(t, golden)
	data, missing, damages := readAll(t, r)
	assert.True(t, bytes.Equal(bytes.Join(packets, nil), data))
	assert.True(t, missing.Empty())
	assert.Zero(t, damages)
	assert.True(t, r.Closed())
}

// Seeking by number and by time finds the same packet as reading from the beginning, with the index, without
// it, and with a wrong one.
func TestSeekFindsWhatReadingFinds(t *testing.T) {
	s := newSession(0xa1)
	var f memory
	w, err := NewWriter(&f, s.header, nil)
	require.NoError(t, err)
	type place struct {
		r    feed.Range
		time int64
	}
	var places []place
	for i := range 900 {
		p := s.packet(50 + i%100)
		h := codec.PacketAt(p)
		places = append(places, place{h.Range(), h.PublishTime})
		require.NoError(t, w.Append(p, s.next, h.PublishTime))
	}
	unclosed := bytes.Clone(f.Bytes())
	require.NoError(t, w.Close())

	lying := open(t, f.Bytes())
	marks, err := lying.Marks()
	require.NoError(t, err)
	require.Greater(t, len(marks), 1)
	wrong := append([]codec.Mark(nil), marks...)
	wrong[1].Seq -= 5000
	lying.SetMarks(wrong)

	for name, r := range map[string]*Reader{
		"with its index": open(t, f.Bytes()), "without": open(t, unclosed), "with one that lies": lying,
	} {
		t.Run(name, func(t *testing.T) {
			check := func(want place) {
				item, err := r.Next()
				require.NoError(t, err)
				require.Equal(t, KindPackets, item.Kind)
				require.Equal(t, want.r.From, item.Range.From)
			}
			for i := 0; i < len(places); i += 7 {
				p := places[i]
				for _, seq := range []uint64{p.r.From, p.r.From + 1, p.r.To - 1} {
					require.NoError(t, r.SeekSeq(seq))
					check(p)
				}
				for _, at := range []int64{p.time, p.time - 1} {
					require.NoError(t, r.SeekTime(at))
					check(p)
				}
			}
			for _, seek := range []func() error{
				func() error { return r.SeekSeq(s.next) }, func() error { return r.SeekSeq(math.MaxUint64) },
				func() error { return r.SeekTime(s.time) },
			} {
				require.NoError(t, seek())
				_, err := r.Next()
				require.Equal(t, io.EOF, err)
				require.Equal(t, s.next, r.NextSeq())
			}
			require.NoError(t, r.SeekSeq(0))
			check(places[0])
		})
	}
}

// Seeking finds a number where it occurs first, even between two marks where the numbering went back, and not
// in a packet that only resembles one of the line.
func TestSeekWhereNumberingWentBack(t *testing.T) {
	s := newSession(0xa1)
	var f memory
	w, err := NewWriter(&f, s.header, nil)
	require.NoError(t, err)
	first := make(map[uint64]int64) // offset of the packet that begins with a number
	add := func(packets int) {
		for range packets {
			from, at := s.next, w.Size()
			require.NoError(t, w.Append(s.packet(20), s.next, s.time-1000))
			if _, ok := first[from]; !ok {
				first[from] = at
			}
		}
	}
	for i := range 6 {
		add(700)
		s.next -= []uint64{400, 8000}[i%2] // a power cut took the last numbers
		require.NoError(t, w.Continue(s.child(feed.SessionID(0xb1+i)), nil))
	}
	add(700)
	require.NoError(t, w.Close())
	r := open(t, f.Bytes())
	marks, err := r.Marks()
	require.NoError(t, err)
	require.Greater(t, len(marks), 3)
	var order []uint64
	for seq := uint64(1); seq < s.next; seq += 20 {
		order = append(order, seq)
	}
	random := rand.New(rand.NewPCG(1, 2))
	for _, i := range random.Perm(len(order)) { // after seeking in order, from each line back to earlier ones
		order = append(order, order[i])
	}
	for _, seq := range order {
		require.NoError(t, r.SeekSeq(seq+7))
		item, err := r.Next()
		require.NoError(t, err)
		require.Equal(t, seq, item.Range.From)
		require.InDelta(t, first[seq], item.Offset, 2000, "seq %d", seq) // a mark's header may come before it
	}
}

// An append that fails resumes at the byte where it stopped: at every byte of a packet, of a mark and of the
// bytes after them.
func TestAppendResumes(t *testing.T) {
	s := newSession(0xa1)
	first := s.header
	var before []byte
	for len(before) < MarkInterval {
		before = append(before, s.packet(1000)...)
	}
	next, last := s.next, s.time-1000
	p := append(s.packet(10), s.packet(10)...)
	record := func(room int) []byte {
		var f memory
		w, err := NewWriter(&f, first, nil)
		require.NoError(t, err)
		require.NoError(t, w.Append(before, next, last))
		f.Next(f.Len() - 200) // it is the same each time
		f.limit, f.left = room >= 0, room
		err = w.Append(p, s.next, s.time-1000)
		if room >= 0 && err != nil {
			require.ErrorIs(t, err, errNoRoom)
			f.left = room / 2
			if err = w.Append(p, s.next, s.time-1000); err != nil {
				require.ErrorIs(t, err, errNoRoom)
				f.limit = false
				require.NoError(t, w.Append(p, s.next, s.time-1000))
			}
		}
		f.limit = false
		require.NoError(t, w.Close())
		return f.Bytes()
	}
	want := record(-1)
	require.Contains(t, string(want), codec.FileMagic, "no mark was due")
	for room := range len(p) + 100 {
		require.True(t, bytes.Equal(want, record(room)), "room for %d bytes", room)
	}
}

// example returns a closed recording of about 64 KiB with all features: a first session with a snapshot, a
// child in the same file, and packets of many sizes. It also returns the packets and the ranges that they
// cover.
func example(t testing.TB, size int) (file []byte, packets [][]byte) {
	t.Helper()
	s := newSession(0xa1)
	s.packet(instruments + 10)
	s.header.Next = s.next
	var f memory
	w, err := NewWriter(&f, s.header, s.state)
	require.NoError(t, err)
	add := func(n int) {
		p := s.packet(n)
		packets = append(packets, p)
		require.NoError(t, w.Append(p, s.next, s.time-1000))
	}
	for i := 0; f.Len() < size/2; i++ {
		add(1 + i*7%80)
	}
	require.NoError(t, w.Continue(s.child(0xa2), s.state))
	for i := 0; f.Len() < size-3000; i++ {
		add(1 + i*7%80)
	}
	require.NoError(t, w.Close())
	return f.Bytes(), packets
}

// A file of another format, or of a later version, is refused by name.
func TestNotARecording(t *testing.T) {
	for name, b := range map[string][]byte{
		"nothing": nil, "text": []byte("timestamp,symbol,bid,ask\n"), "zeros": make([]byte, 1<<20),
	} {
		_, err := NewReader(bytes.NewReader(b), int64(len(b)))
		assert.ErrorIs(t, err, ErrNoHeader, name)
	}
	later, err := codec.Append(nil, &codec.FileHeader{Version: 2, Lineage: feed.Lineage{{ID: 1, First: 1}}, Next: 1})
	require.NoError(t, err)
	later[0]++
	later = append(later, 0xce, 0, 0, 0, 0)
	seal(later)
	_, err = NewReader(bytes.NewReader(later), int64(len(later)))
	var version *VersionError
	require.ErrorAs(t, err, &version)
	assert.Equal(t, uint64(2), version.Version)
}
