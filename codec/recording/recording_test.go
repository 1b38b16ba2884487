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
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tickfeed/codec"
	"tickfeed/codec/effort"
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

func (*memory) Sync() error  { return nil }
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
func TestGolden(t *testing.T) {
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
func TestSeek(t *testing.T) {
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

// A checker reads damaged copies of a recording and compares them with the original.
type checker struct {
	packets [][]byte
	first   []uint64 // first number of each packet
	next    uint64   // where reading must end, unless the end is torn; 0 for anywhere
	reader  Reader
	got     []bool
}

func newChecker(packets [][]byte) *checker {
	c := &checker{packets: packets, got: make([]bool, len(packets))}
	for _, p := range packets {
		h := codec.PacketAt(p)
		c.first = append(c.first, h.First)
		c.next = h.First + h.Count
	}
	return c
}

// read reads b and returns how many packets are lost, whether anything was reported, and what is wrong: a
// packet that never existed, comes twice or out of order, or a loss that is not reported.
func (c *checker) read(b []byte) (lost int, reported bool, problem string) {
	return c.readFrom(bytes.NewReader(b), int64(len(b)))
}

func (c *checker) readFrom(file io.ReaderAt, size int64) (lost int, reported bool, problem string) {
	r := &c.reader
	buf := r.buf
	*r = Reader{r: file, size: size, buf: buf, n: 0}
	if err := r.rewind(); err != nil {
		return len(c.packets), true, ""
	}
	clear(c.got)
	next := c.first[0]
	at := 0
	torn := false
	for steps := 0; ; steps++ {
		if steps > 2*len(c.packets)+100 {
			return 0, false, "does not end"
		}
		item, err := r.Next()
		if err == io.EOF {
			break
		} else if err != nil {
			return 0, false, err.Error()
		}
		switch item.Kind {
		case KindDamage, KindTorn:
			reported = true
			torn = torn || item.Kind == KindTorn
			if !item.Range.Empty() {
				if item.Range.From != next {
					return 0, false, fmt.Sprintf("missing %v reported at %d", item.Range, next)
				}
				next = item.Range.To
			}
		case KindPackets:
			if item.Range.From != next {
				return 0, false, fmt.Sprintf("packets %v at %d without a report", item.Range, next)
			}
			next = item.Range.To
			for h, raw := range Packets(item.Data) {
				for at < len(c.first) && c.first[at] < h.First {
					at++
				}
				if at == len(c.first) || !bytes.Equal(c.packets[at], raw) {
					return 0, false, fmt.Sprintf("a packet %v that never was", h.Range())
				}
				c.got[at] = true
			}
		}
	}
	for _, ok := range c.got {
		if !ok {
			lost++
		}
	}
	if c.next > 0 && next != c.next && !torn {
		return 0, false, fmt.Sprintf("ends at %d", next)
	}
	return lost, reported, ""
}

// stride thins out tests that try every bit or byte.
func stride(t *testing.T) int { return effort.Stride(t, 17) }

// parallel calls do for parts of [0, n), or with the stride for some of them, each with its own checker and
// copy of b. It stops after a minute, unless -full is set.
func parallel(t *testing.T, b []byte, packets [][]byte, n int, do func(c *checker, b []byte, i int) string) {
	t.Helper()
	var group sync.WaitGroup
	var mu sync.Mutex
	var problems []string
	workers, stride, budget := runtime.GOMAXPROCS(0), stride(t), effort.Within(time.Minute)
	var done atomic.Int64
	for worker := range workers {
		group.Go(func() {
			c, b := newChecker(packets), bytes.Clone(b)
			for i := worker * stride; i < n && !budget.Spent(); i += workers * stride {
				done.Add(1)
				if p := do(c, b, i); p != "" {
					mu.Lock()
					problems = append(problems, fmt.Sprintf("%d: %s", i, p))
					mu.Unlock()
					return
				}
			}
		})
	}
	group.Wait()
	assert.Empty(t, problems)
	if len(problems) == 0 {
		budget.Log(t, int(done.Load()), (n+stride-1)/stride)
	}
}

// A flipped bit costs at most the packet that it hits and is always reported, and the rest is read. The test
// tries every bit of a recording of 64 KiB.
func TestEveryFlippedBit(t *testing.T) {
	b, packets := example(t, 64<<10)
	parallel(t, b, packets, 8*len(b), func(c *checker, b []byte, i int) string {
		b[i/8] ^= 1 << (i % 8)
		lost, reported, problem := c.read(b)
		b[i/8] ^= 1 << (i % 8)
		switch {
		case problem != "":
			return problem
		case lost > 1:
			return fmt.Sprintf("%d packets lost", lost)
		case !reported:
			return "not reported"
		}
		return ""
	})
}

// A snapshot with a flipped bit is never Whole, and the rest of it is intact.
func TestEveryFlippedBitOfASnapshot(t *testing.T) {
	b, _ := example(t, 16<<10)
	r := open(t, b)
	_, err := r.Next()
	require.NoError(t, err)
	item, err := r.Next()
	require.NoError(t, err)
	require.Equal(t, KindSnapshot, item.Kind)
	require.True(t, item.Whole)
	want, err := r.State(item)
	require.NoError(t, err)
	require.Equal(t, instruments, want.Len())
	stride := int64(stride(t))
	for i := 8 * item.Offset; i < 8*(item.Offset+item.Size); i += stride {
		b[i/8] ^= 1 << (i % 8)
		r := open(t, b)
		for range 4 {
			got, err := r.Next()
			require.NoError(t, err)
			if got.Kind != KindSnapshot || got.Offset > item.Offset+item.Size {
				continue
			}
			require.False(t, got.Whole, "bit %d", i)
			s, err := r.State(got)
			require.NoError(t, err)
			for id := range feed.InstrumentID(s.Len()) {
				have, ok := s.Instrument(id)
				wanted, _ := want.Instrument(id)
				require.True(t, ok)
				require.Equal(t, wanted, have)
			}
		}
		b[i/8] ^= 1 << (i % 8)
	}
}

// A truncated recording is read up to the last whole packet, and no further.
func TestEveryCut(t *testing.T) {
	b, packets := example(t, 64<<10)
	ends := []int{}
	at := 0
	for _, p := range packets {
		at += bytes.Index(b[at:], p) + len(p)
		ends = append(ends, at)
	}
	parallel(t, b, packets, len(b), func(c *checker, b []byte, i int) string {
		c.next = 0
		lost, reported, problem := c.read(b[:i])
		want := 0
		for _, e := range ends {
			if e > i {
				want++
			}
		}
		if problem == "" && lost != want {
			problem = fmt.Sprintf("%d packets lost, want %d (reported: %v)", lost, want, reported)
		}
		return problem
	})
}

// Bursts, zeroed and swapped sectors cost only the packets that they hit, and are reported.
func TestDamagedSectors(t *testing.T) {
	b, packets := example(t, 64<<10)
	r := rand.New(rand.NewPCG(1, 2))
	c := newChecker(packets)
	var heads []int // where headers stand
	for at := range b[:len(b)-len(codec.FileMagic)] {
		if string(b[at:at+len(codec.FileMagic)]) == codec.FileMagic {
			heads = append(heads, at)
		}
	}
	require.Len(t, heads, 4)
	for range 3000 {
		d := bytes.Clone(b)
		from := r.IntN(len(d))
		to := min(len(d), from+1+r.IntN(2000))
		kind := r.IntN(3)
		misplaced := kind == 2
		switch kind {
		case 0:
			clear(d[from:to])
		case 1:
			for i := from; i < to; i++ {
				d[i] = byte(r.Uint32())
			}
		case 2:
			other := r.IntN(len(d) - (to - from))
			copy(d[from:to], b[other:])
		}
		hit := 0
		at := 0
		for _, p := range packets {
			at += bytes.Index(b[at:], p)
			if at < to && from < at+len(p) {
				hit++
			}
			at += len(p)
		}
		lost, reported, problem := c.read(d)
		headers := 0
		for _, at := range heads {
			if from < at+60 && to > at-3 {
				headers++
			}
		}
		if misplaced || headers > 1 { // a header was moved along, or both of a session were hit
			continue
		}
		require.Equal(t, "", problem)
		require.Equal(t, !bytes.Equal(b, d), reported, "%d bytes at %d", to-from, from)
		require.LessOrEqual(t, lost, hit)
	}
}

// Absent numbers without a trace are reported: packets cut out as a whole.
func TestAbsentPackets(t *testing.T) {
	b, packets := example(t, 16<<10)
	c := newChecker(packets)
	for i, p := range packets[:len(packets)-1] {
		at := bytes.Index(b, p)
		d := append(bytes.Clone(b[:at]), b[at+len(p):]...)
		lost, reported, problem := c.read(d)
		assert.Equal(t, "", problem, "packet %d", i)
		assert.Equal(t, 1, lost)
		assert.True(t, reported)
	}
}

// An absent packet is reported by its range, at the byte where it should be, and no run of packets spans it.
func TestAbsentPacketIsNamed(t *testing.T) {
	b, packets := example(t, 16<<10)
	_, gaps, _ := readAll(t, open(t, b)) // numbers that a later session disowned
	for i, p := range packets[:len(packets)-1] {
		at, absent := bytes.Index(b, p), codec.PacketAt(p)
		d := append(bytes.Clone(b[:at]), b[at+len(p):]...)
		r := open(t, d)
		var damaged []feed.Range
		for {
			item, err := r.Next()
			if err == io.EOF {
				break
			}
			require.NoError(t, err)
			switch item.Kind {
			case KindPackets:
				requireTiled(t, &item)
			case KindDamage, KindTorn:
				if !item.Range.Empty() {
					damaged = append(damaged, item.Range)
					assert.Equal(t, int64(at), item.Offset, "packet %d", i)
				}
			}
		}
		assert.Equal(t, []feed.Range{absent.Range()}, damaged, "packet %d", i)
	}
	assert.True(t, gaps.Empty())
}

// Bytes of another file, or of an earlier use of this one, are not read as its own: the session's seed and the
// next number end the recording.
func TestRecycledBytes(t *testing.T) {
	b, packets := example(t, 16<<10)
	older, _ := example(t, 32<<10)
	cut := len(b) - 2000
	d := append(bytes.Clone(b[:cut]), older[len(b)-5000:len(b)-3000]...)
	c := newChecker(packets)
	_, _, problem := c.read(d)
	assert.NotContains(t, problem, "never was")
	assert.NotContains(t, problem, "without")
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

// FuzzReader reads hostile files: reading them and seeking in them always ends, in bounded memory.
func FuzzReader(f *testing.F) {
	b, _ := example(f, 8<<10)
	f.Add(b, uint64(60))
	f.Add(b[:len(b)/2], uint64(1))
	f.Add(append(bytes.Clone(b[:3000]), b[1000:]...), uint64(70))
	f.Add([]byte{}, uint64(0))
	f.Fuzz(func(t *testing.T, b []byte, seq uint64) {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		r, err := NewReader(bytes.NewReader(b), int64(len(b)))
		if err != nil {
			return
		}
		read := func() {
			next := uint64(0)
			for steps := 0; ; steps++ {
				item, err := r.Next()
				if err != nil {
					return
				}
				if steps > len(b)+10 {
					t.Fatal("does not end")
				}
				if item.Kind == KindHeader {
					next = 0
				}
				if item.Kind == KindPackets {
					if item.Range.From < next || item.Range.Empty() {
						t.Fatalf("packets %v at %d", item.Range, next)
					}
					next = item.Range.To
				}
			}
		}
		read()
		if _, err := r.Marks(); err != nil {
			t.Fatal(err)
		}
		if err := r.SeekSeq(seq); err == nil {
			read()
		}
		if err := r.SeekTime(int64(seq)); err == nil {
			read()
		}
		runtime.ReadMemStats(&after)
		if n := after.TotalAlloc - before.TotalAlloc; n > 1<<20+20*uint64(len(b)) {
			t.Fatalf("%d bytes allocated for a file of %d", n, len(b))
		}
	})
}

// Any mixture of pieces of recordings ends and stays within its memory; the fuzzer's corpus starts here.
func TestShuffledPieces(t *testing.T) {
	b, packets := example(t, 16<<10)
	r := rand.New(rand.NewPCG(3, 4))
	c := newChecker(packets)
	for range 2000 {
		var d []byte
		for len(d) < 8<<10 {
			at := r.IntN(len(b))
			d = append(d, b[at:min(len(b), at+r.IntN(4000))]...)
		}
		c.next = 0
		_, _, problem := c.read(d)
		require.NotContains(t, problem, "does not end")
	}
}

func BenchmarkAppend(b *testing.B) {
	s := newSession(0xa1)
	p := s.packet(100)
	for len(p) < 64<<10 {
		p = append(p, s.packet(100)...)
	}
	w, err := NewWriter(discard{}, s.header, nil)
	require.NoError(b, err)
	b.SetBytes(int64(len(p)))
	b.ReportAllocs()
	for b.Loop() {
		if err := w.Append(p, s.next, s.time); err != nil {
			b.Fatal(err)
		}
	}
}

type discard struct{ File }

func (discard) Write(p []byte) (int, error) { return len(p), nil }

func BenchmarkRead(b *testing.B) {
	s := newSession(0xa1)
	var f memory
	w, err := NewWriter(&f, s.header, nil)
	require.NoError(b, err)
	for f.Len() < 16<<20 {
		require.NoError(b, w.Append(s.packet(100), s.next, s.time))
	}
	require.NoError(b, w.Close())
	r := open(b, f.Bytes())
	b.SetBytes(int64(f.Len()))
	b.ReportAllocs()
	for b.Loop() {
		if err := r.rewind(); err != nil {
			b.Fatal(err)
		}
		for {
			if _, err := r.Next(); err == io.EOF {
				break
			} else if err != nil {
				b.Fatal(err)
			}
		}
	}
}

func BenchmarkSeek(b *testing.B) {
	s := newSession(0xa1)
	var f memory
	w, err := NewWriter(&f, s.header, nil)
	require.NoError(b, err)
	for f.Len() < 16<<20 {
		require.NoError(b, w.Append(s.packet(100), s.next, s.time))
	}
	r := open(b, f.Bytes())
	random := rand.New(rand.NewPCG(1, 2))
	b.ReportAllocs()
	for b.Loop() {
		if err := r.SeekSeq(1 + random.Uint64N(s.next)); err != nil {
			b.Fatal(err)
		}
	}
}
