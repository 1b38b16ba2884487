package codec

import (
	"fmt"
	"math"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/vmihailenco/msgpack/v5"

	"tickfeed/feed"
)

// encodeAny writes elements as a program without this package would by the library,
// not in the shortest form.
func encodeAny(t *testing.T, elements ...any) []byte {
	t.Helper()
	if typ, ok := elements[0].(Type); ok {
		elements[0] = int(typ) // a fixint
	}
	raw, err := msgpack.Marshal(elements)
	require.NoError(t, err)
	return raw
}

// A reader accepts integers of every valid width, signed or not. PROTOCOL.md, "Conventions".
func TestDecodeAcceptsEveryWidth(t *testing.T) {
	for _, head := range []string{
		"2b", "cc2b", "cd002b", "ce0000002b", "cf000000000000002b", "d02b", "d1002b", "d20000002b", "d3000000000000002b",
	} {
		var raw []byte
		_, err := fmt.Sscanf("920e"+head, "%x", &raw)
		require.NoError(t, err)
		m, err := Decode(raw)
		require.NoError(t, err, head)
		assert.Equal(t, &End{Final: 43}, m)
	}
}

// Unknown elements at the end of a message are ignored, so that messages can grow. PROTOCOL.md, "Versions".
func TestDecodeIgnoresTrailingElements(t *testing.T) {
	m, err := Decode(encodeAny(t, TypeEnd, 43, "new", []any{1, map[string]any{"a": nil}}, 1.5))
	require.NoError(t, err)
	assert.Equal(t, &End{Final: 43}, m)
}

func TestDecodeRefusesWhatIsNotOneMessage(t *testing.T) {
	end := encodeAny(t, TypeEnd, 43)
	for name, c := range map[string]struct {
		raw  []byte
		want string
	}{
		"nothing":           {nil, "cut short after 0 bytes"},
		"half a message":    {end[:len(end)-1], "end: cut short"},
		"two messages":      {append(end, end...), "end: 3 bytes follow it"},
		"a packet":          {AppendPacket(nil, &Packet{First: 1, Count: 1}, nil, 0), "packet is not a control message"},
		"an unknown type":   {encodeAny(t, 63, 1), "message type 63 is not a control message"},
		"a missing element": {encodeAny(t, TypePulse, 1), "pulse: echo: missing"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Decode(c.raw)
			require.ErrorIs(t, err, ErrMalformed)
			assert.ErrorContains(t, err, c.want)
		})
	}
}

// Fields have bounds, and an error names the message, the field, the value and the bound. PROTOCOL.md,
// "Messages". Values that the library would accept (nil as 0, −1 as 2⁶⁴−1) are
// refused.
func TestDecodeRefusesFieldsOutOfBounds(t *testing.T) {
	lineage := []any{[]any{uint64(sessionA), 1}}
	hello := func(change map[int]any) []any {
		h := []any{1, 1, 1, "client", "", []any{}, 0, 0, 0, 0, 0, false, []any{}, 0}
		for i, v := range change {
			h[i] = v
		}
		return h
	}
	for want, elements := range map[string][]any{
		"end: final: -1, want 0 or more":             {TypeEnd, -1},
		"end: final: marker 0xc0, want an integer":   {TypeEnd, nil},
		"end: final: marker 0xcb, want an integer":   {TypeEnd, 43.0},
		"end: final: 0, want 1 to 92233720368547758": {TypeEnd, 0},
		"end: final: 9223372036854775809, want 1 to": {TypeEnd, uint64(MaxSeq) + 1},
		"end: final: marker 0xa2, want an integer":   {TypeEnd, "43"},

		"pulse: echo: 9223372036854775808 is beyond 63 bits": {TypePulse, 1, uint64(math.MaxInt64) + 1},
		"subscribed: seed: 4294967296 is beyond 32 bits":     {TypeSubscribed, 1, 1, uint64(1 << 32)},
		"snapshot begin: scope: 3, want at most 2":           {TypeSnapshotBegin, 1, 3, []any{}},
		"session: lineage: lineage is empty":                 {TypeSession, 0, []any{}, 0, 0, 1},
		"session: lineage: marker 0xc0, want an array":       {TypeSession, 0, nil, 0, 0, 1},
		"session: lineage: an array of 1 elements, want 2":   {TypeSession, 0, []any{[]any{1}}, 0, 0, 1},
		"session: lineage: 66 elements, want at most 65":     {TypeSession, 0, make([]any, 66), 0, 0, 1},
		"session: mode: 256, want at most 2":                 {TypeSession, 256, lineage, 0, 0, 1},
		"refusal: code: 0, want 1 to 255":                    {TypeRefusal, 0, "", false, 0},
		"goodbye: code: 256, want at most 255":               {TypeGoodbye, 256, "", false, 0},
		"goodbye: text: 1025 bytes, want at most 1024":       {TypeGoodbye, 1, strings.Repeat("x", 1025), false, 0},
		"goodbye: text: marker 0xc4, want a str":             {TypeGoodbye, 1, []byte("x"), false, 0},
		"goodbye: retry: marker 0x01, want true or false":    {TypeGoodbye, 1, "", 1, 0},
		"goodbye: retry after: -1ns, want 0s to 24h0m0s":     {TypeGoodbye, 1, "", true, -1},
		"goodbye: retry after: 25h0m0s, want 0s to 24h":      {TypeGoodbye, 1, "", true, int64(25 * time.Hour)},
		"index: marks: 2049 elements, want at most 2048":     {TypeIndex, make([]any, 2049)},
		"index: mark offset: 9223372036854775808 is beyond":  {TypeIndex, []any{[]any{1, 1, uint64(1 << 63)}}},
		"trailer: next: 0, want 1 to":                        {TypeTrailer, 1, 0, 1},
		`file: magic: "tickfood", want "tickfeed"`:           {TypeFile, "tickfood", 1},
		"file: magic: 9 bytes, want at most 8":               {TypeFile, "tickfeeds", 1},
		"welcome: tail: 46, want at most head 45":            {TypeWelcome, 1, "", 0, lineage, 0, 45, 46, 1000000, 0, 1, 0, 0},
		"welcome: heartbeat: 0s, want 1ms to 24h0m0s":        {TypeWelcome, 1, "", 0, lineage, 0, 45, 1, 0, 0, 1, 0, 0},
		"welcome: reason: 4, want at most 3":                 {TypeWelcome, 1, "", 0, lineage, 0, 45, 1, 1000000, 0, 1, 4, 0},

		"hello: min version: versions 0 to 1, want 1 or more": hello(map[int]any{1: 0}),
		"hello: min version: versions 2 to 1, want 1 or more": hello(map[int]any{1: 2}),
		"hello: start: 5, want at most 4":                     hello(map[int]any{6: 5}),
		"hello: start value: sequence number 0, want 1":       hello(map[int]any{6: 3}),
		"hello: start value: time 9223372036854775808":        hello(map[int]any{6: 4, 7: uint64(1 << 63)}),
		"hello: slow: 3, want at most 2":                      hello(map[int]any{8: 3}),
		"hello: next: 0, want 1 to":                           hello(map[int]any{12: lineage}),
		"hello: next: 5 without a lineage, want 0":            hello(map[int]any{13: 5}),
		"hello: token: 1025 bytes, want at most 1024":         hello(map[int]any{4: strings.Repeat("x", 1025)}),
		"hello: token: has characters that cannot":            hello(map[int]any{4: "s3cret\n"}),
		"hello: filter: 4097 elements, want at most 4096":     {TypeHello, 1, 1, "", "", make([]any, 4097)},
		"hello: filter: pattern \"\" names no symbol":         hello(map[int]any{5: []any{""}}),
		"hello: filter: symbol \"A\\n\" has a":                hello(map[int]any{5: []any{"A\n"}}),
		"hello: filter: 131 bytes, want at most 130":          hello(map[int]any{5: []any{strings.Repeat("x", 131)}}),
	} {
		t.Run(want, func(t *testing.T) {
			_, err := Decode(encodeAny(t, elements...))
			require.ErrorIs(t, err, ErrMalformed)
			if want != "hello: filter: 4097 elements, want at most 4096" { // the bound of a hello is reached first
				var field *FieldError
				require.ErrorAs(t, err, &field)
				assert.ErrorContains(t, err, want)
			}
			assert.NotContains(t, err.Error(), "s3cret")
		})
	}
}

// The hello of a peer with another version is read up to the versions, so that the peer can be refused with the right
// code. PROTOCOL.md, "Versions".
func TestDecodeReadsOnlyTheVersionsOfAnotherVersionsHello(t *testing.T) {
	m, err := Decode(encodeAny(t, TypeHello, 2, 3, map[string]any{"nothing": "we know"}))
	require.NoError(t, err)
	assert.Equal(t, &Hello{MinVersion: 2, MaxVersion: 3}, m)

	m, err = Decode(encodeAny(t, TypeFile, FileMagic, 2, nil))
	require.NoError(t, err)
	assert.Equal(t, &FileHeader{Version: 2}, m)
}

// A text for people is never refused because of its characters: those that could upset a terminal are
// replaced. PROTOCOL.md, "Conventions".
func TestNotesArePrintableBothWays(t *testing.T) {
	const hostile, harmless = "red \x1b[31m, \xff, \u202e, é", "red ?[31m, ?, ?, é"
	m, err := Decode(encodeAny(t, TypeGoodbye, 1, hostile, false, 0))
	require.NoError(t, err)
	assert.Equal(t, harmless, m.(*Goodbye).Text)

	long := &Goodbye{Code: CodeInternal, Text: hostile + strings.Repeat("é", MaxText/2)}
	raw, err := Append(nil, long)
	require.NoError(t, err)
	m, err = Decode(raw)
	require.NoError(t, err)
	text := m.(*Goodbye).Text
	assert.True(t, strings.HasPrefix(text, harmless))
	assert.LessOrEqual(t, len(text), MaxText)
	assert.Greater(t, len(text), MaxText-2)
	assert.True(t, strings.HasSuffix(text, "é"), "cut inside a character")
}

// Equal subscriptions have equal filters, however a client wrote them.
func TestDecodeMakesFiltersCanonical(t *testing.T) {
	for _, c := range []struct {
		patterns []any
		want     Filter
	}{
		{[]any{"MSFT", "AAPL", "MSFT"}, Filter{"AAPL", "MSFT"}},
		{[]any{"AAPL", "*"}, nil},
		{[]any{}, nil},
	} {
		m, err := Decode(encodeAny(t, TypeSubscribe, 7, c.patterns))
		require.NoError(t, err)
		assert.Equal(t, &Subscribe{Request: 7, Filter: c.want}, m)
	}
}

func TestAppendRefusesWhatDecodeWould(t *testing.T) {
	var tooMany Filter
	for i := range 2000 {
		tooMany = append(tooMany, fmt.Sprintf("%050d", i))
	}
	dst := []byte("before")
	for want, m := range map[string]Message{
		"end: final: 0, want 1 to":                      &End{},
		"hello: heartbeat: -1s, want 0s to 24h0m0s":     &Hello{MinVersion: 1, MaxVersion: 1, Heartbeat: -time.Second},
		"hello: min version: versions 0 to 0":           &Hello{},
		"subscribe: filter: symbol \"A\\x00\"":          &Subscribe{Filter: Filter{"A\x00"}},
		"subscribe: 104006 bytes, at most 65536":        &Subscribe{Filter: tooMany},
		"session: lineage: 66 elements, want at most 6": &SessionChange{Lineage: make(feed.Lineage, 66), Next: 1},
		"index: marks: 2049 elements, want at most 204": &Index{Marks: make([]Mark, 2049)},
	} {
		out, err := Append(dst, m)
		assert.ErrorContains(t, err, want)
		assert.Equal(t, dst, out)
	}
}

// The longest index that a writer may write stays within its bound.
func TestALongIndexFits(t *testing.T) {
	m := &Index{}
	for range MaxMarks {
		m.Marks = append(m.Marks, Mark{Seq: MaxSeq, Time: math.MinInt64, Offset: math.MaxInt64})
	}
	_, err := Append(nil, m)
	assert.NoError(t, err)
}

// One message may be encoded by many goroutines at once: Append only reads it. For -race.
func TestAppendLeavesTheMessageAlone(t *testing.T) {
	for _, g := range goldenControl {
		var wg sync.WaitGroup
		for range 2 {
			wg.Go(func() {
				_, err := Append(nil, g.m)
				assert.NoError(t, err)
			})
		}
		wg.Wait()
	}
}

func TestTokensAreNotPrinted(t *testing.T) {
	h := &Hello{Token: "s3cret"}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x"} {
		assert.NotContains(t, fmt.Sprintf(verb, h), "s3cret", verb)
		assert.NotContains(t, fmt.Sprintf(verb, h.Token), "733363726574", verb)
	}
}

// allocated returns how many bytes f allocates. Other allocations of the process count
// too, so if the result exceeds bound, the least of a few runs is returned.
func allocated(bound uint64, f func()) uint64 {
	least := uint64(math.MaxUint64)
	for range 5 {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		f()
		runtime.ReadMemStats(&after)
		least = min(least, after.TotalAlloc-before.TotalAlloc)
		if least <= bound {
			break
		}
	}
	return least
}

// maxAllocation returns how many bytes decoding n hostile bytes may allocate: 20 times n, and a
// constant.
func maxAllocation(n int) uint64 { return 20*uint64(n) + 4096 }

// Decoding any bytes allocates at most a bounded multiple of their length, and a decoded message can be
// encoded and decoded again to the same message.
func FuzzDecode(f *testing.F) {
	for _, g := range goldenControl {
		raw, err := Append(nil, g.m)
		require.NoError(f, err)
		f.Add(raw)
	}
	f.Add([]byte{0xdd, 0xff, 0xff, 0xff, 0xff})                   // a bomb
	f.Add([]byte{0x93, 0x0b, 0x07, 0xdd, 0x00, 0x00, 0xff, 0x00}) // a filter of 65,280 patterns
	f.Add(append([]byte{0x93, 0x0b, 0x07, 0xdc, 0x0f, 0xff},      // 4095 empty patterns
		[]byte(strings.Repeat("\xa0", 4095))...))
	f.Add([]byte{0x92, 0x0e, 0xff})
	f.Fuzz(func(t *testing.T, raw []byte) {
		var m Message
		var err error
		bound := maxAllocation(len(raw))
		if got := allocated(bound, func() { m, err = Decode(raw) }); got > bound {
			t.Fatalf("%d bytes allocated to decode %d", got, len(raw))
		}
		if err != nil {
			if !assert.ErrorIs(t, err, ErrMalformed) || m != nil {
				t.Fatalf("message %v with error %v", m, err)
			}
			return
		}
		again, err := Append(nil, m)
		if h, ok := m.(*Hello); ok && h.MinVersion > Version || ok && h.MaxVersion < Version {
			return
		}
		if h, ok := m.(*FileHeader); ok && h.Version != Version {
			return
		}
		require.NoError(t, err, "%+v", m)
		m2, err := Decode(again)
		require.NoError(t, err, "%+v", m)
		require.Equal(t, m, m2)
	})
}
