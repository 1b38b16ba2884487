package recording

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"testing"

	"github.com/klauspost/compress/zstd"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tickfeed/codec"
	"tickfeed/codec/effort"
)

// packed returns b as seekable zstd in frames of about size bytes, and the length of its seek table.
func packed(t testing.TB, b []byte, size int) (file []byte, table int) {
	t.Helper()
	var f memory
	c, err := compress(&f, size)
	require.NoError(t, err)
	for len(b) > 0 { // as a Writer writes: headers alone
		n := min(len(b), 700)
		if at := bytes.Index(b[1:], []byte(codec.FileMagic)); twice(b) == 0 && at >= 2 && at-2 < n {
			n = at - 2
		}
		n = max(n, 1)
		_, err := c.Write(b[:n])
		require.NoError(t, err)
		b = b[n:]
	}
	require.NoError(t, c.Close())
	file = f.Bytes()
	return file, 8 + 9 + 12*int(binary.LittleEndian.Uint32(file[len(file)-9:]))
}

func input(t testing.TB, b []byte) *Input {
	t.Helper()
	in, err := NewInput(bytes.NewReader(b), int64(len(b)))
	require.NoError(t, err)
	t.Cleanup(func() { in.Close() })
	return in
}

func allOf(t testing.TB, in *Input) []byte {
	t.Helper()
	b, err := io.ReadAll(io.NewSectionReader(in, 0, in.Size()))
	require.NoError(t, err)
	return b
}

// Compressed data reads as the original, at any place: with its seek table, without, and written by any zstd
// program. A recording in it is found and sought in like a plain one.
func TestCompressedReadsAsTheOriginal(t *testing.T) {
	b, packets := example(t, 64<<10)
	seekable, table := packed(t, b, 4<<10)
	encoder, err := zstd.NewWriter(nil)
	require.NoError(t, err)
	var streamed bytes.Buffer // a frame that does not state its size
	stream, err := zstd.NewWriter(&streamed)
	require.NoError(t, err)
	_, err = io.Copy(stream, struct{ io.Reader }{bytes.NewReader(b)})
	require.NoError(t, err)
	require.NoError(t, stream.Close())
	half := len(b) / 2
	for name, file := range map[string][]byte{
		"plain": b, "with its seek table": seekable, "without": seekable[:len(seekable)-table],
		"ordinary zstd": encoder.EncodeAll(b, nil), "of no stated size": streamed.Bytes(),
		"several files together":  append(encoder.EncodeAll(b[:half], nil), encoder.EncodeAll(b[half:], nil)...),
		"a skippable frame first": append([]byte{0x50, 0x2a, 0x4d, 0x18, 3, 0, 0, 0, 'h', 'e', 'y'}, seekable[:len(seekable)-table]...),
	} {
		t.Run(name, func(t *testing.T) {
			in := input(t, file)
			assert.Equal(t, name != "plain", in.Compressed())
			assert.Equal(t, int64(len(file)), in.FileSize())
			require.Equal(t, int64(len(b)), in.Size())
			require.True(t, bytes.Equal(b, allOf(t, in)))
			random := rand.New(rand.NewPCG(1, 2))
			for range 200 {
				at := random.IntN(len(b))
				p := make([]byte, random.IntN(20<<10))
				n, err := in.ReadAt(p, int64(at))
				if at+len(p) > len(b) {
					require.Equal(t, io.EOF, err)
				} else {
					require.NoError(t, err)
				}
				require.True(t, bytes.Equal(p[:n], b[at:at+n]))
			}
			_, err := in.ReadAt(make([]byte, 1), in.Size())
			require.Equal(t, io.EOF, err)

			r, err := in.Reader()
			require.NoError(t, err)
			data, missing, damages := readAll(t, r)
			assert.True(t, bytes.Equal(bytes.Join(packets, nil), data))
			assert.True(t, missing.Empty())
			assert.Zero(t, damages)
			assert.True(t, r.Closed())
			seq := codec.PacketAt(packets[len(packets)/2]).First
			require.NoError(t, r.SeekSeq(seq))
			item, err := r.Next()
			require.NoError(t, err)
			assert.Equal(t, seq, item.Range.From)
		})
	}
	decoder, err := zstd.NewReader(nil)
	require.NoError(t, err)
	whole, err := decoder.DecodeAll(seekable, nil)
	require.NoError(t, err)
	assert.True(t, bytes.Equal(b, whole))
}

// touched returns how many packets are partly in the frame at byte i of the file. In the seek table, where a
// flipped bit makes a frame shorter, it returns the most for any frame.
func touched(in *Input, b []byte, packets [][]byte, i int64) (n int) {
	for k := range len(in.frames) - 1 {
		if i >= in.frames[k+1].at && i < in.frames[len(in.frames)-1].at || i < in.frames[k].at {
			continue
		}
		at, held := 0, 0
		for _, p := range packets {
			at += bytes.Index(b[at:], p)
			if int64(at) < in.frames[k+1].holds && in.frames[k].holds < int64(at+len(p)) {
				held++
			}
			at += len(p)
		}
		n = max(n, held)
	}
	return n
}

// A flipped bit in a compressed recording costs at most the frame that it hits, any loss is reported, and the
// rest is read. The test tries every bit, with the seek table and without.
func TestEveryFlippedBitCompressed(t *testing.T) {
	b, packets := example(t, 24<<10)
	seekable, table := packed(t, b, 2<<10)
	for name, file := range map[string][]byte{"with its seek table": seekable, "without": seekable[:len(seekable)-table]} {
		t.Run(name, func(t *testing.T) {
			whole := input(t, file)
			flipped(t, file, packets, 8*len(file), 3, func(lost int, reported bool, problem string, i int) string {
				most := touched(whole, b, packets, int64(i/8))
				switch {
				case problem != "":
					return problem
				case lost > most:
					return fmt.Sprintf("%d packets lost, %d in its frame", lost, most)
				case lost > 0 && !reported:
					return "not reported"
				}
				return ""
			})
		})
	}
}

// flipped reads file with each stepth bit flipped in turn.
func flipped(t *testing.T, file []byte, packets [][]byte, n, step int, check func(lost int, reported bool, problem string, i int) string) {
	var group sync.WaitGroup
	var mu sync.Mutex
	var problems []string
	workers := runtime.GOMAXPROCS(0)
	step *= stride(t)
	for worker := range workers {
		group.Go(func() {
			c, b := newChecker(packets), bytes.Clone(file)
			for i := worker * step; i < n; i += workers * step {
				b[i/8] ^= 1 << (i % 8)
				p := ""
				if in, err := NewInput(bytes.NewReader(b), int64(len(b))); err != nil {
					p = err.Error()
				} else if !in.Compressed() {
					in.Close() // its first four bytes show that
				} else {
					lost, reported, problem := c.readFrom(in, in.Size())
					in.Close()
					p = check(lost, reported, problem, i)
				}
				b[i/8] ^= 1 << (i % 8)
				if p != "" {
					mu.Lock()
					problems = append(problems, fmt.Sprintf("bit %d: %s", i, p))
					mu.Unlock()
					return
				}
			}
		})
	}
	group.Wait()
	assert.Empty(t, problems)
}

// A truncated compressed recording is read up to the last whole packet that can be decompressed, at least for
// the frames that are whole.
func TestEveryCutCompressed(t *testing.T) {
	b, packets := example(t, 24<<10)
	file, _ := packed(t, b, 2<<10)
	whole := input(t, file)
	ends := []int64{}
	at := 0
	for _, p := range packets {
		at += bytes.Index(b[at:], p) + len(p)
		ends = append(ends, int64(at))
	}
	c := newChecker(packets)
	c.next = 0
	stride := effort.Stride(t, 9)
	for i := 4; i < len(file); i += stride {
		in, err := NewInput(bytes.NewReader(file[:i]), int64(i))
		require.NoError(t, err)
		lost, _, problem := c.readFrom(in, in.Size())
		in.Close()
		require.Equal(t, "", problem, "cut at %d", i)
		held := int64(0)
		for _, f := range whole.frames {
			if f.at <= int64(i) {
				held = f.holds
			}
		}
		most := 0
		for _, e := range ends {
			if e > held {
				most++
			}
		}
		require.LessOrEqual(t, lost, most, "cut at %d", i)
	}
}

// Sync makes the data written before it readable.
func TestCompressedSync(t *testing.T) {
	b, packets := example(t, 16<<10)
	var f memory
	c, err := Compress(&f)
	require.NoError(t, err)
	half := bytes.Index(b, packets[len(packets)/2])
	_, err = c.Write(b[:half])
	require.NoError(t, err)
	require.Less(t, f.Len(), 200) // only a header
	require.NoError(t, c.Sync())
	in := input(t, f.Bytes())
	require.True(t, bytes.Equal(b[:half], allOf(t, in)))
}

// Writing to a file that failed resumes at the byte where it stopped.
func TestCompressedResumes(t *testing.T) {
	s := newSession(0xa1)
	record := func(f *memory) {
		t.Helper()
		c, err := compress(f, 1<<10)
		require.NoError(t, err)
		w, err := NewWriter(c, s.header, nil)
		require.NoError(t, err)
		s := newSession(0xa1)
		for range 100 {
			p := s.packet(30)
			for err = w.Append(p, s.next, s.time-1000); err != nil; err = w.Append(p, s.next, s.time-1000) {
				require.ErrorIs(t, err, errNoRoom)
				f.left = 100
			}
		}
		f.limit = false
		require.NoError(t, w.Close())
	}
	var want, got memory
	record(&want)
	got.limit, got.left = true, 5000
	record(&got)
	assert.True(t, bytes.Equal(want.Bytes(), got.Bytes()))
}

// A frame that claims to hold far more than it can is refused, and so is one that needs more memory than is
// justified.
func TestCompressedBounds(t *testing.T) {
	zeros := make([]byte, 4<<20)
	encoder, err := zstd.NewWriter(nil)
	require.NoError(t, err)
	file := encoder.EncodeAll(zeros, nil) // 4 MiB in some hundred bytes
	in := input(t, file)
	assert.LessOrEqual(t, in.Size(), int64(maxRatio*len(file)))
	_, err = in.Reader()
	assert.ErrorIs(t, err, ErrNoHeader)

	wide, err := zstd.NewWriter(nil, zstd.WithWindowSize(64<<20), zstd.WithSingleSegment(false))
	require.NoError(t, err)
	noise := make([]byte, 10<<20)
	random := rand.New(rand.NewPCG(1, 2))
	for i := range noise {
		noise[i] = byte(random.Uint32())
	}
	var b bytes.Buffer
	wide.Reset(&b)
	_, err = wide.Write(noise)
	require.NoError(t, err)
	require.NoError(t, wide.Close())
	_, err = NewInput(bytes.NewReader(b.Bytes()), int64(b.Len()))
	assert.ErrorContains(t, err, "decompress it first")

	single, err := zstd.NewWriter(nil, zstd.WithSingleSegment(true)) // as zstd --long and libraries write it
	require.NoError(t, err)
	file = single.EncodeAll(noise, nil)
	_, err = NewInput(bytes.NewReader(file), int64(len(file)))
	assert.ErrorContains(t, err, "or as a single segment, of more than 8 MiB (zstd --long or --ultra): decompress it first")
}

// inputMemory bounds what opening and reading a small compressed file allocates: the decoder and its windows, for each reader.
const inputMemory = 8 << 20

// FuzzInput reads hostile compressed files: opening and reading them always ends, in bounded memory.
func FuzzInput(f *testing.F) {
	b, _ := example(f, 8<<10)
	file, table := packed(f, b, 1<<10)
	f.Add(file)
	f.Add(file[:len(file)-table])
	f.Add(file[:len(file)/2])
	f.Add(append(bytes.Clone(file[:100]), file...))
	f.Fuzz(func(t *testing.T, b []byte) {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		defer func() {
			runtime.ReadMemStats(&after)
			if n := after.TotalAlloc - before.TotalAlloc; n > inputMemory+20*uint64(len(b)) {
				t.Fatalf("%d bytes allocated for a file of %d", n, len(b))
			}
		}()
		in, err := NewInput(bytes.NewReader(b), int64(len(b)))
		if err != nil {
			return
		}
		defer in.Close()
		if in.Size() > int64(maxRatio*len(b)+tornMark) {
			t.Fatalf("%d bytes of %d", in.Size(), len(b))
		}
		r, err := in.Reader()
		if err != nil {
			return
		}
		for {
			if _, err := r.Next(); err == io.EOF {
				break
			} else if err != nil {
				t.Fatal(err)
			}
		}
		if _, err := r.Marks(); err != nil {
			t.Fatal(err)
		}
	})
}

// An output has its name only once it is complete; an existing file is replaced only on request; a name that
// ends in .zst means compression.
func TestOutputHasItsNameOnceComplete(t *testing.T) {
	dir := t.TempDir()
	names := func() (n []string) {
		entries, err := os.ReadDir(dir)
		require.NoError(t, err)
		for _, e := range entries {
			n = append(n, e.Name())
		}
		return n
	}
	path := filepath.Join(dir, "a.tick")
	for _, replace := range []bool{false, true} {
		o, err := Create(path, replace)
		require.NoError(t, err)
		_, err = fmt.Fprint(o, replace)
		require.NoError(t, err)
		require.NotContains(t, names(), "a.tick.zst")
		require.Len(t, names(), map[bool]int{false: 1, true: 2}[replace])
		require.NoError(t, o.Commit())
		o.Discard() // no effect
		b, err := os.ReadFile(path)
		require.NoError(t, err)
		assert.Equal(t, fmt.Sprint(replace), string(b))
		assert.Equal(t, []string{"a.tick"}, names())
	}
	_, err := Create(path, false)
	assert.ErrorIs(t, err, fs.ErrExist)
	_, err = Create(dir, true)
	assert.ErrorContains(t, err, "is a directory")

	o, err := Create(filepath.Join(dir, "b.tick"), false)
	require.NoError(t, err)
	o.Discard()
	assert.Equal(t, []string{"a.tick"}, names())

	o, err = Create(path+".zst", false)
	require.NoError(t, err)
	_, err = o.Write([]byte("hello"))
	require.NoError(t, err)
	require.NoError(t, o.Close())
	require.NoError(t, o.Commit())
	in, err := Open(path + ".zst")
	require.NoError(t, err)
	assert.True(t, in.Compressed())
	assert.Equal(t, "hello", string(allOf(t, in)))
	require.NoError(t, in.Close())

	_, err = Open(dir)
	assert.ErrorContains(t, err, "is a directory")
	_, err = Open(filepath.Join(dir, "none"))
	assert.ErrorIs(t, err, fs.ErrNotExist)
}

func BenchmarkCompress(b *testing.B) {
	s := newSession(0xa1)
	c, err := Compress(discard{})
	require.NoError(b, err)
	w, err := NewWriter(c, s.header, nil)
	require.NoError(b, err)
	n := int64(0)
	for b.Loop() {
		p := s.packet(100)
		n += int64(len(p))
		if err := w.Append(p, s.next, s.time); err != nil {
			b.Fatal(err)
		}
	}
	b.SetBytes(n / int64(b.N))
}
