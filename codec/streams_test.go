package codec

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/vmihailenco/msgpack/v5"

	"tickfeed/feed"
)

const streamsDir = "../testdata/streams"

// The streams with which the author of a client tests it before there is a server; CLIENT.md, "Streams to test with". Each
// begins with the hello that it answers, and holds one connection. The lines that a right client prints stand beside it;
// cmd/tickfeed compares its own with them.
//
// A stream is made of these numbers: session A from 1 and its child B from 42, the instruments AAPL and MSFT, times from half past two on
// 22 November 2026.
var streams = slices.Concat(goodStreams(), badStreams(), accountStreams(), stateStreams())

// A stream is the bytes of one connection.
type stream struct {
	name string
	rule string // the sentence of the index
	raw  []byte
}

// Each stream of testdata is what this file makes of it, and the index lists them all.
func TestStreamsAreWhatThisFileMakes(t *testing.T) {
	var index strings.Builder
	seen := map[string]bool{}
	for _, s := range streams {
		require.False(t, seen[s.name], "two streams are called %s", s.name)
		seen[s.name] = true
		fmt.Fprintf(&index, "%-34s %s\n", s.name, s.rule)
		path := filepath.Join(streamsDir, s.name+".msgpack")
		if *update {
			require.NoError(t, os.WriteFile(path, s.raw, 0o644))
		}
		want, err := os.ReadFile(path)
		require.NoError(t, err)
		assert.True(t, bytes.Equal(want, s.raw), "bytes of %s; go test ./codec -run Streams -update writes them anew", path)

		r := NewReader(bytes.NewReader(want), 0)
		_, hello, err := r.Next()
		require.NoError(t, err)
		m, err := Decode(hello)
		require.NoError(t, err, s.name)
		assert.IsType(t, &Hello{}, m, "%s begins with the hello that it answers", s.name)
	}
	path := filepath.Join(streamsDir, "index.txt")
	if *update {
		require.NoError(t, os.WriteFile(path, []byte(index.String()), 0o644))
	}
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	assert.Equal(t, index.String(), string(text))
	files, err := filepath.Glob(filepath.Join(streamsDir, "*.msgpack"))
	require.NoError(t, err)
	assert.Len(t, files, len(streams), "files that no stream writes")
	assert.GreaterOrEqual(t, len(streams), 40)
}

// A tape collects the bytes of a stream.
type tape struct {
	raw  []byte
	seed uint32
}

// as sets the seed of the following messages.
func (w *tape) as(seed uint32) *tape {
	w.seed = seed
	return w
}

// begin is a tape with the hello that the stream answers. The hello names only what a test can set: filter, start, policy, position.
func begin(h Hello) *tape {
	h.MinVersion, h.MaxVersion, h.Client = Version, Version, "golden"
	w := &tape{seed: seedA}
	return w.send(&h)
}

func (w *tape) send(m Message) *tape {
	raw, err := Append(w.raw, m)
	if err != nil {
		panic(err)
	}
	w.raw = raw
	return w
}

func (w *tape) bytes(b ...byte) *tape {
	w.raw = append(w.raw, b...)
	return w
}

// welcome answers as asked from number start, in session A, whose head is head.
func (w *tape) welcome(start, head uint64) *tape { return w.send(welcomeTo(start, head)) }

// early sends messages of types 64 and 127 of n bytes together.
func (w *tape) early(n int) *tape {
	for ; n > MaxHello; n -= MaxHello - 100 {
		w.bytes(append([]byte{0x92, 64, 0xc5, (MaxHello - 105) >> 8, (MaxHello - 105) & 0xff}, make([]byte, MaxHello-105)...)...)
	}
	return w.bytes(append([]byte{0x92, 127, 0xc5, byte((n - 5) >> 8), byte(n - 5)}, make([]byte, n-5)...)...)
}

func welcomeTo(start, head uint64) *Welcome {
	return &Welcome{
		Version: 1, Server: "golden", Mode: ModeLive, Lineage: lineageA, Head: head, Tail: 1,
		Heartbeat: second, Seed: seedA, Start: start, Reason: StartedAsAsked, Now: opening,
	}
}

const second = 1000 * 1000 * 1000

// ticks sends a packet of ticks from number first on, all of the opening millisecond.
func (w *tape) ticks(first uint64, ticks ...feed.Tick) *tape {
	var body []byte
	for i := range ticks {
		if err := ValidateTick(&ticks[i]); err != nil {
			panic(err)
		}
		body = AppendTick(body, &ticks[i], opening)
	}
	return w.packet(first, uint64(len(ticks)), body)
}

// packet sends a packet that covers count numbers with body, whatever that is.
func (w *tape) packet(first, count uint64, body []byte) *tape {
	return w.packetAt(first, count, opening+int64(first)*millis, opening, body)
}

func (w *tape) packetAt(first, count uint64, publish, base int64, body []byte) *tape {
	w.raw = AppendPacket(w.raw, &Packet{First: first, Count: count, PublishTime: publish, Base: base}, body, w.seed)
	return w
}

func (w *tape) heartbeat(covered, head uint64) *tape {
	return w.send(&Heartbeat{Covered: covered, Head: head, Now: opening + 60*second})
}

// snapshot sends the state of entries as of seq.
func (w *tape) snapshot(seq uint64, scope ScopeKind, filter Filter, entries ...feed.Tick) *tape {
	raw, err := AppendSnapshot(w.raw, &SnapshotBegin{Seq: seq, Scope: scope, Filter: filter}, entriesOf(entries), w.seed)
	if err != nil {
		panic(err)
	}
	w.raw = raw
	return w
}

func entriesOf(ticks []feed.Tick) iter.Seq[feed.Tick] {
	return func(yield func(feed.Tick) bool) {
		for _, t := range ticks {
			t.Flags |= feed.FlagSnapshot
			if t.Kind == feed.KindDefinition {
				t.EventTime = 0 // a state does not keep it
			}
			if !yield(t) {
				return
			}
		}
	}
}

// part is a snapshot part with entries.
func (w *tape) part(seq, index uint64, entries ...feed.Tick) *tape {
	raw := make([]byte, PartHeader)
	for t := range entriesOf(entries) {
		raw = AppendTick(raw, &t, opening)
	}
	SealPart(raw, &SnapshotPart{Seq: seq, Index: index, Base: opening}, w.seed)
	w.raw = append(w.raw, raw...)
	return w
}

// The ticks of the streams.
func define(id feed.InstrumentID) feed.Tick {
	d := feed.Definition{Symbol: []string{"AAPL", "MSFT", "ES", "NQ"}[id], Venue: "XNAS", PriceExponent: -2, Currency: "USD", TickSize: 1, Lot: 100}
	return defineAs(id, d)
}

func defineAs(id feed.InstrumentID, d feed.Definition) feed.Tick {
	return feed.Tick{Kind: feed.KindDefinition, Instrument: id, EventTime: opening, Extra: &feed.Extra{Definition: &d}}
}

func quoteOf(id feed.InstrumentID, bid, ask int64) feed.Tick {
	return feed.Quote{Bid: bid, BidSize: 300, Ask: ask, AskSize: 500}.Tick(id, opening)
}

func tradeOf(id feed.InstrumentID, price, size int64, number uint64) feed.Tick {
	return feed.Trade{Price: price, Size: size, Side: feed.SideBuy, ID: number}.Tick(id, opening+int64(number))
}

func correctionOf(price, size, oldPrice, oldSize int64, number uint64) feed.Tick {
	return feed.Correction{OldPrice: oldPrice, OldSize: oldSize, Trade: feed.Trade{Price: price, Size: size, ID: number}}.Tick(0, opening+50, "")
}

func levelOf(side feed.Side, price, size int64) feed.Tick {
	return feed.Level{Side: side, Price: price, Size: size}.Tick(0, opening)
}

// fromBeginning is a hello for everything.
var fromBeginning = Hello{Start: Start{Kind: StartBeginning}}

// held is a hello that resumes at number next of session A.
func held(next uint64, hasState bool) Hello {
	return Hello{Start: Start{Kind: StartBeginning}, HasState: hasState, Position: Position{Lineage: lineageA, Next: next}}
}

// five is a stream of five ticks: two definitions, and quotes and trades of both.
func five() *tape {
	return begin(fromBeginning).welcome(1, 6).
		ticks(1, define(0), define(1), quoteOf(0, 18725, 18726)).
		ticks(4, tradeOf(0, 18726, 100, 9001), quoteOf(1, 48290, 48299))
}

// widths re-encodes a message with every integer in nine bytes, signed and unsigned in turn.
func widths(m Message) []byte {
	turn := 0
	return widen(nil, decoded(msg(m)), &turn, true)
}

func decoded(raw []byte) any {
	v, err := msgpack.NewDecoder(bytes.NewReader(raw)).DecodeInterface()
	if err != nil {
		panic(err)
	}
	return v
}

// widen writes v; the first element of a message, its type, stays a fixint.
func widen(b []byte, v any, turn *int, message bool) []byte {
	number := func(n uint64) []byte {
		if *turn++; *turn%2 == 0 || int64(n) < 0 {
			return binary.BigEndian.AppendUint64(append(b, 0xd3), n)
		}
		return binary.BigEndian.AppendUint64(append(b, 0xcf), n)
	}
	switch v := v.(type) {
	case []any:
		b = binary.BigEndian.AppendUint16(append(b, 0xdc), uint16(len(v)))
		for i, e := range v {
			if i == 0 && message {
				b = append(b, byte(e.(int8)))
				continue
			}
			b = widen(b, e, turn, false)
		}
		return b
	case string:
		return append(binary.BigEndian.AppendUint32(append(b, 0xdb), uint32(len(v))), v...)
	case bool:
		if v {
			return append(b, 0xc3)
		}
		return append(b, 0xc2)
	case int8:
		return number(uint64(v))
	case int16:
		return number(uint64(v))
	case int32:
		return number(uint64(v))
	case int64:
		return number(uint64(v))
	case uint8:
		return number(uint64(v))
	case uint16:
		return number(uint64(v))
	case uint32:
		return number(uint64(v))
	case uint64:
		return binary.BigEndian.AppendUint64(append(b, 0xcf), v)
	}
	panic(fmt.Sprintf("%T", v))
}

// grown appends known elements, each of one byte, and elements that this version does not know to a message or an entry whose array header is one byte.
func grown(raw []byte, known ...byte) []byte {
	if n := raw[0]&0x0f + byte(len(known)) + 3; n <= 15 {
		raw = append([]byte{0x90 | n}, raw[1:]...)
	} else {
		raw = append([]byte{0xdc, 0, n}, raw[1:]...)
	}
	raw = append(raw, known...)
	return append(raw, 0x92, 0x01, 0xa1, 'x', 0xcb, 0x40, 0x09, 0x21, 0xfb, 0x54, 0x44, 0x2d, 0x18, 0xc0) // [1, "x"], 3.14…, nil
}

// msg is m as bytes.
func msg(m Message) []byte {
	raw, err := Append(nil, m)
	if err != nil {
		panic(err)
	}
	return raw
}

func entry(t feed.Tick) []byte { return AppendTick(nil, &t, opening) }
