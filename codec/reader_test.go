package codec

import (
	"bytes"
	"errors"
	"io"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A read is one message as Next returned it, copied.
type read struct {
	typ Type
	raw string
}

func readAll(r *Reader) (messages []read, err error) {
	for {
		typ, raw, err := r.Next()
		if err != nil {
			return messages, err
		}
		messages = append(messages, read{typ, string(raw)})
	}
}

// exampleStream returns every message of testdata that a server sends, and a long packet.
func exampleStream(tb testing.TB) (stream []byte, messages []read) {
	add := func(typ Type, raw []byte) {
		stream = append(stream, raw...)
		messages = append(messages, read{typ, string(raw)})
	}
	for _, g := range goldenControl {
		raw, err := Append(nil, g.m)
		require.NoError(tb, err)
		add(g.m.Type(), raw)
		add(TypePacket, AppendPacket(nil, &Packet{First: 41, Count: 1}, []byte{1}, seedA))
	}
	add(TypePacket, AppendPacket(nil, &Packet{First: 1, Count: 1}, make([]byte, MaxBody), seedA))
	part := append(make([]byte, PartHeader), 1, 2, 3)
	SealPart(part, &SnapshotPart{Seq: 41}, seedA)
	add(TypeSnapshotPart, part)
	return stream, messages
}

// However the bytes arrive, the messages are the same.
func TestReaderCutsAStreamIntoMessages(t *testing.T) {
	stream, want := exampleStream(t)
	for name, source := range map[string]io.Reader{
		"all at once":            bytes.NewReader(stream),
		"byte by byte":           iotest.OneByteReader(bytes.NewReader(stream)),
		"with the end, together": iotest.DataErrReader(bytes.NewReader(stream)),
	} {
		t.Run(name, func(t *testing.T) {
			r := NewReader(source, 1)
			got, err := readAll(r)
			assert.Equal(t, io.EOF, err)
			assert.Equal(t, want, got)
			assert.EqualValues(t, len(stream), r.Offset())
		})
	}
}

// The stream may end after a message and nowhere else.
func TestReaderTellsACutFromAnEnd(t *testing.T) {
	stream := append(encodeAny(t, TypeEnd, 43), encodeAny(t, TypePulse, 43, 0)...)
	for cut := range len(stream) + 1 {
		_, err := readAll(NewReader(bytes.NewReader(stream[:cut]), 0))
		want := io.ErrUnexpectedEOF
		if cut == 0 || cut == 3 || cut == len(stream) {
			want = io.EOF
		}
		assert.Equal(t, want, err, "cut after %d bytes", cut)
	}
}

// Unknown types up to 63 end the connection, greater ones are skipped and counted.
// PROTOCOL.md, "Versions".
func TestReaderAndUnknownMessages(t *testing.T) {
	end := encodeAny(t, TypeEnd, 43)
	stream := append(encodeAny(t, 64, "new"), encodeAny(t, 127)...)
	stream = append(stream, end...)
	stream = append(stream, encodeAny(t, 100, []int{1, 2})...)
	r := NewReader(bytes.NewReader(stream), 0)
	assert.False(t, r.Buffered())
	got, err := readAll(r)
	assert.Equal(t, io.EOF, err)
	assert.Equal(t, []read{{TypeEnd, string(end)}}, got)
	assert.EqualValues(t, 3, r.Skipped())

	for _, typ := range []int{int(TypeTrailer) + 1, int(MaxCritical)} {
		r = NewReader(bytes.NewReader(append(bytes.Clone(end), encodeAny(t, typ)...)), 0)
		got, err = readAll(r)
		assert.Len(t, got, 1)
		assert.ErrorIs(t, err, ErrUnknownMessage)
		assert.ErrorContains(t, err, "at byte 3: unknown message of type")
		_, _, again := r.Next()
		assert.Equal(t, err, again, "a reader that failed stays failed")
	}
}

// Before login a connection has a buffer of 512 bytes, or of 4 KiB if the hello is longer; no
// message may be longer than that. PROTOCOL.md, "Limits".
func TestReaderBeforeLogin(t *testing.T) {
	hello, err := Append(nil, goldenControl[0].m)
	require.NoError(t, err)
	long := AppendPacket(nil, &Packet{First: 1, Count: 1}, make([]byte, MaxBody), seedA)

	r := NewReader(iotest.OneByteReader(bytes.NewReader(append(bytes.Clone(hello), long...))), 0)
	r.SetLimit(MaxHello)
	typ, _, err := r.Next()
	require.NoError(t, err)
	assert.Equal(t, TypeHello, typ)
	assert.Len(t, r.buf, smallBuffer)

	r.SetLimit(MaxMessage)
	typ, raw, err := r.Next()
	require.NoError(t, err)
	assert.Equal(t, TypePacket, typ)
	assert.Equal(t, long, raw)
	assert.Len(t, r.buf, DefaultBuffer)

	r = NewReader(bytes.NewReader(long), 0)
	r.SetLimit(MaxHello)
	_, _, err = r.Next()
	assert.ErrorIs(t, err, ErrMalformed)
	assert.Len(t, r.buf, smallBuffer)

	const text = MaxHello - 5
	raw = append([]byte{0x92, byte(MaxCritical) + 1 /* of a later version */, 0xda, text >> 8, text & 0xff}, make([]byte, text)...)
	r = NewReader(iotest.OneByteReader(bytes.NewReader(append(raw, hello...))), 0)
	r.SetLimit(MaxHello)
	typ, _, err = r.Next()
	require.NoError(t, err)
	assert.Equal(t, TypeHello, typ, "after a message as long as may be")
	assert.Len(t, r.buf, MaxHello)
}

// Before login the messages that a reader skips are bounded together; after it they are not. PROTOCOL.md, "Limits".
func TestReaderSkipsLittleBeforeLogin(t *testing.T) {
	hello, err := Append(nil, goldenControl[0].m)
	require.NoError(t, err)
	const size = 1024
	skipped := append([]byte{0x92, byte(MaxCritical) + 1, 0xda, (size - 5) >> 8, (size - 5) & 0xff}, make([]byte, size-5)...)
	most := bytes.Repeat(skipped, MaxEarly/size)

	r := NewReader(bytes.NewReader(slices.Concat(most, hello, most, skipped, hello)), 0)
	r.SetLimit(MaxHello)
	typ, _, err := r.Next()
	require.NoError(t, err)
	assert.Equal(t, TypeHello, typ)
	r.SetLimit(MaxMessage)
	typ, _, err = r.Next()
	require.NoError(t, err, "after login")
	assert.Equal(t, TypeHello, typ)

	r = NewReader(bytes.NewReader(slices.Concat(most, []byte{0x91, byte(MaxCritical) + 1}, hello)), 0)
	r.SetLimit(MaxHello)
	_, _, err = r.Next()
	require.ErrorIs(t, err, ErrMalformed)
	assert.Contains(t, err.Error(), "more than 16384 bytes")
}

// If the head of an element begins at the last allowed byte, it is refused without waiting for more bytes: there
// would be no room for them.
func TestReaderRefusesAHeadBeyondTheLimit(t *testing.T) {
	raw := append([]byte{0x93, byte(TypeEnd), 0xda, 0x0f, 0xfa}, make([]byte, 4090)...) // 4095 bytes
	r := NewReader(bytes.NewReader(append(raw, 0xdb, 0, 0, 0, 1, 'x')), 0)
	r.SetLimit(MaxHello)
	_, _, err := r.Next()
	assert.ErrorIs(t, err, ErrMalformed)
}

// Buffered reports whether Next returns without reading: a whole message, or an error, is there.
func TestReaderBuffered(t *testing.T) {
	end := encodeAny(t, TypeEnd, 43)
	skipped := encodeAny(t, 64, "new")
	in, out := io.Pipe()
	defer in.Close()
	write := func(p ...byte) {
		go func() { _, _ = out.Write(p) }()
	}
	r := NewReader(in, 0)
	write(append(append(append(bytes.Clone(end), end...), skipped...), end[:2]...)...)
	assert.False(t, r.Buffered(), "nothing was read yet")
	_, _, err := r.Next()
	require.NoError(t, err)
	assert.True(t, r.Buffered())
	assert.EqualValues(t, len(end), r.Offset())
	_, _, err = r.Next()
	require.NoError(t, err)
	assert.False(t, r.Buffered(), "a message to pass over and half a message are none")
	write(append(bytes.Clone(end[2:]), 'G')...)
	_, raw, err := r.Next()
	require.NoError(t, err)
	assert.Equal(t, end, raw)
	assert.True(t, r.Buffered(), "an error needs no reading")
	_, _, err = r.Next()
	assert.ErrorIs(t, err, ErrMalformed)
}

// A deadline inside a message loses nothing: Next continues where it stopped.
func TestReaderSurvivesADeadline(t *testing.T) {
	end := encodeAny(t, TypeEnd, 43)
	r := NewReader(io.MultiReader(
		bytes.NewReader(end[:1]), &errOnce{err: os.ErrDeadlineExceeded}, bytes.NewReader(end[1:]),
	), 0)
	_, _, err := r.Next()
	assert.Equal(t, os.ErrDeadlineExceeded, err)
	_, raw, err := r.Next()
	require.NoError(t, err)
	assert.Equal(t, end, raw)
}

type errOnce struct{ err error }

func (e *errOnce) Read([]byte) (int, error) {
	err := e.err
	e.err = io.EOF
	return 0, err
}

func TestReaderGivesUpOnAReaderThatDoesNothing(t *testing.T) {
	_, _, err := NewReader(idle{}, 0).Next()
	assert.Equal(t, io.ErrNoProgress, err)
}

type idle struct{}

func (idle) Read([]byte) (int, error) { return 0, nil }

func TestReaderAllocatesNothingPerMessage(t *testing.T) {
	stream, messages := exampleStream(t)
	source := bytes.NewReader(stream)
	r := NewReader(source, 0)
	allocs := testing.AllocsPerRun(10, func() {
		source.Reset(stream)
		for range messages {
			if _, _, err := r.Next(); err != nil {
				panic(err)
			}
		}
	})
	assert.Zero(t, allocs)
}

// chunks returns data in pieces of the lengths in sizes, repeatedly.
type chunks struct {
	data, sizes []byte
	next        int
}

func (c *chunks) Read(p []byte) (int, error) {
	if len(c.data) == 0 {
		return 0, io.EOF
	}
	n := 1
	if len(c.sizes) > 0 {
		n += int(c.sizes[c.next%len(c.sizes)])
		c.next++
	}
	n = copy(p, c.data[:min(n, len(c.data))])
	c.data = c.data[n:]
	return n, nil
}

// Any bytes, in any pieces, give the same messages and the same end, in bounded memory.
func FuzzReader(f *testing.F) {
	stream, _ := exampleStream(f)
	f.Add(stream[:1000], []byte{0, 99, 3}, false)
	f.Add([]byte{0x91, 0x40, 0x91, 0x0e, 0x91, 0x3f}, []byte{0}, true)
	f.Add(append(bytes.Repeat([]byte{0x91, 0x40}, 300), 0x92, 0x0e), []byte{255}, true)
	f.Fuzz(func(t *testing.T, stream, sizes []byte, login bool) {
		limit := MaxMessage
		if login {
			limit = MaxHello
		}
		var whole *Reader
		var want []read
		var wantErr error
		bound := maxAllocation(len(stream)) + MaxMessage*5/4 + 64*uint64(len(stream)) // the buffer and our copies
		if got := allocated(bound, func() {
			whole = NewReader(bytes.NewReader(stream), 1)
			whole.SetLimit(limit)
			want, wantErr = readAll(whole)
		}); got > bound {
			t.Fatalf("%d bytes allocated to read %d", got, len(stream))
		}
		r := NewReader(&chunks{data: stream, sizes: sizes}, 1)
		r.SetLimit(limit)
		got, err := readAll(r)
		require.Equal(t, want, got)
		require.Equal(t, wantErr, err)
		require.Equal(t, whole.Offset(), r.Offset())
		require.Equal(t, whole.Skipped(), r.Skipped())
		total := 0
		for _, m := range got {
			total += len(m.raw)
		}
		require.LessOrEqual(t, total, len(stream))
		require.True(t, err == io.EOF || err == io.ErrUnexpectedEOF || errors.Is(err, ErrMalformed) ||
			errors.Is(err, ErrUnknownMessage), "%v", err)
	})
}

func BenchmarkReader(b *testing.B) {
	packet := AppendPacket(nil, &Packet{First: 1, Count: 1}, make([]byte, 2600), seedA) // 100 quotes
	stream := strings.Repeat(string(packet), 400)
	source := strings.NewReader(stream)
	r := NewReader(source, 0)
	b.SetBytes(int64(len(packet)))
	b.ReportAllocs()
	for b.Loop() {
		_, _, err := r.Next()
		if err == io.EOF {
			source.Reset(stream)
		} else if err != nil {
			b.Fatal(err)
		}
	}
}
