package recording

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
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

// zerosAfter is a file of 20 GB, of zeros after its beginning.
type zerosAfter struct {
	head   []byte
	read   int64
	cancel func() // called once 1 MiB is read
}

const zerosSize = 20 << 30

func (z *zerosAfter) ReadAt(p []byte, at int64) (int, error) {
	n := int(min(int64(len(p)), zerosSize-at))
	clear(p[:n])
	if at < int64(len(z.head)) {
		copy(p[:n], z.head[at:])
	}
	if z.read += int64(n); z.read > 1<<20 {
		z.cancel()
	}
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// A search for the next message in zeros that are written, which a hole is not, ends with the context before it reads another MiB,
// whether it looks for the first header or what follows packets.
func TestSearchEndsWithContext(t *testing.T) {
	s := newSession(0xa1)
	head, err := AppendHeader(nil, &s.header)
	require.NoError(t, err)
	head = append(head, s.packet(instruments)...)
	for name, head := range map[string][]byte{"packets": head, "nothing": nil} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			z := &zerosAfter{head: head, cancel: cancel}
			in, err := NewInput(z, zerosSize)
			require.NoError(t, err)
			defer in.Close()
			in.SetContext(ctx)
			r, err := in.Reader()
			for err == nil {
				_, err = r.Next()
			}
			require.ErrorIs(t, err, context.Canceled)
			require.Less(t, z.read, int64(2<<20))
		})
	}
}
