package codec

import (
	"bytes"
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/vmihailenco/msgpack/v5"

	"tickfeed/feed"
)

var update = flag.Bool("update", false, "write testdata/messages and the examples of PROTOCOL.md anew")

const messagesDir = "../testdata/messages"

// The story of the examples: session 20261122a was numbered from 1, and its child 20261122b continues at 42. Times are from half past two on 22 November 2026, UTC, when New York opens.
const (
	sessionA = feed.SessionID(0x20261122a)
	sessionB = feed.SessionID(0x20261122b)
	opening  = int64(1_795_357_800_000_000_000)
	millis   = int64(time.Millisecond)
)

var (
	lineageA  = feed.Lineage{{ID: sessionA, First: 1}}
	lineageAB = feed.Lineage{{ID: sessionA, First: 1}, {ID: sessionB, First: 42}}
	seedA     = LineSeed(sessionA, nil)
	seedB     = LineSeed(sessionB, nil)
)

var goldenControl = []struct {
	name string
	m    Message
}{
	{"hello", &Hello{
		MinVersion: 1, MaxVersion: 1, Client: "quotes.py 1.0",
		Filter: Filter{"AAPL", "ES*@XCME"}, Heartbeat: time.Second,
	}},
	{"hello-resume", &Hello{
		MinVersion: 1, MaxVersion: 1, Client: "resume.py 1.0", Token: "s3cret",
		Start: Start{Kind: StartSeq, Value: 41}, Slow: SlowLatest, MaxLag: 5 * time.Second,
		HasState: true, Position: Position{Lineage: lineageA, Next: 44},
	}},
	{"hello-until", &Hello{
		MinVersion: 1, MaxVersion: 1, Client: "repair.py 1.0", Start: Start{Kind: StartSeq, Value: 42}, Until: 99, Features: []string{FeatureAck},
	}},
	{"welcome-granted", &Welcome{
		Version: 1, Server: "tickfeed 0.1", Lineage: lineageA, Head: 45, Tail: 1, Heartbeat: time.Second,
		Seed: LineSeed(sessionA, Filter{"AAPL"}), Start: 42, Now: opening, Features: []string{FeatureAck}, Granted: &Filter{"AAPL"},
	}},
	{"welcome-limits", &Welcome{
		Version: 1, Server: "tickfeed 0.1", Lineage: lineageA, Head: 45, Tail: 1, Heartbeat: time.Second,
		Seed: LineSeed(sessionA, Filter{"?*"}), Start: 45, Now: opening, Granted: &Filter{"?*"}, Limits: "without the patterns ES*",
	}},
	{"welcome", &Welcome{
		Version: 1, Server: "tickfeed 0.1", Mode: ModeSimulation, Lineage: lineageAB,
		Head: 45, Tail: 1, Heartbeat: time.Second, Seed: seedB, Start: 42, Reason: StartedRewound, Now: opening,
	}},
	{"refusal", &Refusal{
		Code: CodeBusy, Text: "5000 connections are served, try again", Retry: true, RetryAfter: 250 * time.Millisecond,
	}},
	{"goodbye", &Goodbye{Code: CodeDone, Text: "count reached"}},
	{"heartbeat", &Heartbeat{Covered: 45, Head: 45, Now: opening + 1000*millis}},
	{"snapshot-begin", &SnapshotBegin{Seq: 45, Scope: ScopeAdded, Filter: Filter{"MSFT"}}},
	{"snapshot-end", &SnapshotEnd{Seq: 45, Parts: 1}},
	{"session", &SessionChange{Mode: ModeSimulation, Lineage: lineageAB, Seed: seedB, Next: 42}},
	{"subscribe", &Subscribe{Request: 7, Filter: Filter{"AAPL", "MSFT"}}},
	{"subscribed", &Subscribed{Request: 7, From: 45, Seed: LineSeed(sessionB, Filter{"AAPL", "MSFT"})}},
	{"subscribed-granted", &Subscribed{Request: 8, From: 45, Seed: LineSeed(sessionB, Filter{"AAPL"}), Granted: &Filter{"AAPL"}}},
	{"subscribed-limits", &Subscribed{From: 45, Seed: LineSeed(sessionB, Filter{"AAPL"}), Granted: &Filter{"AAPL"}, Limits: "without the levels of the book"}},
	{"pulse", &Pulse{Next: 45, Echo: opening + 1000*millis}},
	{"end", &End{Final: 45}},
	{"file", &FileHeader{
		Version: 1, Mode: ModeSimulation, Lineage: lineageA, Seed: seedA, Source: "simulated market, seed 7",
		Next: 1, Created: opening,
	}},
	{"index", &Index{Marks: []Mark{{Seq: 1, Time: opening, Offset: 0}, {Seq: 42, Time: opening + 5*millis, Offset: 1 << 20}}}},
	{"trailer", &Trailer{IndexOffset: 1<<20 + 500, Next: 45, LastTime: opening + 9*millis}},
}

// Each control message of testdata decodes to the value above and encodes to the same bytes.
func TestGoldenControlMessages(t *testing.T) {
	for _, g := range goldenControl {
		t.Run(g.name, func(t *testing.T) {
			raw, err := Append(nil, g.m)
			require.NoError(t, err)
			if g.m.Type() == TypeFile || g.m.Type() == TypeIndex {
				raw = sealed(raw)
			}
			assertGolden(t, g.name, raw)
			m, err := Decode(raw)
			require.NoError(t, err)
			assert.Equal(t, g.m, m)
		})
	}
}

// sealed is message m with its checksum as one more element, as it stands in files.
// PROTOCOL.md, "Recordings".
func sealed(m []byte) []byte {
	m = bytes.Clone(m)
	m[0]++
	return append(append(m, 0xce), binary.BigEndian.AppendUint32(nil, crc32.Checksum(m, crc32.MakeTable(crc32.Castagnoli)))...)
}

// In a file each header and index ends with the checksum of what stands before it in the
// message, also when it has grown by an element that this version does not know, and also in a
// whole file. PROTOCOL.md, "Recordings".
func TestHeadersInFilesEndWithTheirChecksum(t *testing.T) {
	grown, err := Append(nil, &FileHeader{Version: 1, Lineage: lineageA, Seed: seedA, Next: 1, Created: opening})
	require.NoError(t, err)
	want, err := Decode(grown)
	require.NoError(t, err)
	grown[0]++
	grown = sealed(append(grown, 0x2a))
	got, err := Decode(grown)
	require.NoError(t, err)
	assert.Equal(t, want, got, "a header that has grown")

	file, err := os.ReadFile("recording/testdata/example.tick")
	require.NoError(t, err)
	seen := map[Type]int{}
	for r := NewReader(bytes.NewReader(file), 0); ; {
		typ, raw, err := r.Next()
		if err == io.EOF {
			break
		}
		require.NoError(t, err)
		seen[typ]++
		if typ == TypeFile || typ == TypeIndex {
			plain := bytes.Clone(raw[:len(raw)-5])
			plain[0]--
			assert.Equal(t, sealed(plain), raw, "checksum of %v %d", typ, seen[typ])
		}
	}
	assert.GreaterOrEqual(t, seen[TypeFile], 2, "the header with which a file begins stands twice")
	assert.Equal(t, 1, seen[TypeIndex])
	assert.Equal(t, 1, seen[TypeTrailer])
	assert.Zero(t, seen[TypeSession], "a file says by a header that a session changes")
}

var appleDefinition = feed.Definition{
	Symbol: "AAPL", Venue: "XNAS", PriceExponent: -2, Currency: "USD", TickSize: 1, Lot: 100,
}

// at gives ticks their numbers, from first on.
func at(first uint64, ticks ...feed.Tick) []feed.Tick {
	for i := range ticks {
		ticks[i].Seq = first + uint64(i)
	}
	return ticks
}

func more(t feed.Tick) feed.Tick {
	t.Flags |= feed.FlagMore
	return t
}

func conditions(s string) feed.Conditions {
	c, err := feed.ParseConditions(s)
	if err != nil {
		panic(err)
	}
	return c
}

var goldenPackets = []struct {
	name     string
	header   Packet
	ticks    []feed.Tick
	skip     uint64 // numbers not asked for, before the ticks
	withheld uint64
	gone     uint64
}{
	{
		name: "packet", header: Packet{First: 41, Count: 2, PublishTime: opening + millis, Base: opening},
		ticks: at(41,
			more(feed.Quote{Bid: 18725, BidSize: 300, Ask: 18726, AskSize: 500}.Tick(0, opening)),
			feed.Trade{Price: 18726, Size: 100, Side: feed.SideBuy, ID: 9001, Conditions: conditions("@ F")}.
				Tick(0, opening+1000)),
	},
	{
		name: "packet-wide", header: Packet{First: 43, Count: 2, PublishTime: opening + 5*millis, Base: opening},
		ticks: at(43,
			feed.Quote{Bid: -3763, BidSize: 70000, Ask: -3760, AskSize: 1}.Tick(70000, opening-5_000_000_000),
			feed.Trade{Price: 1 << 32, Size: 1 << 40, Side: feed.SideSell, ID: 1 << 33, Conditions: conditions("@FTIX")}.
				Tick(70000, opening)),
	},
	{
		name: "packet-kinds", header: Packet{First: 1, Count: 8, PublishTime: opening + 2*millis, Base: opening},
		ticks: at(1,
			feed.Tick{Kind: feed.KindDefinition, EventTime: opening, Extra: &feed.Extra{Definition: &appleDefinition}},
			feed.StatusTick(0, opening, feed.StatusTrading, 20261122),
			more(feed.ClearTick(0, opening, feed.SideBoth)),
			feed.Level{Side: feed.SideBuy, Price: 18725, Size: 300}.Tick(0, opening),
			feed.Quote{Bid: 18725, BidSize: 300, Ask: feed.NoPrice}.Tick(0, opening),
			tradeWithRef(),
			feed.Correction{
				OldPrice: 18726, OldSize: 100, Trade: feed.Trade{Price: 18725, Size: 100, Side: feed.SideBuy, ID: 9001},
			}.Tick(0, opening+3000, ""),
			feed.Cancel{Price: 18725, Size: 100, ID: 9001}.Tick(0, opening+4000, "")),
	},
	{
		name: "packet-auction", header: Packet{First: 45, Count: 4, PublishTime: opening + 6*millis, Base: opening},
		ticks: at(45,
			feed.StatusTick(0, opening, feed.StatusHalted, 0).Because("LUDP", opening+300_000*millis),
			feed.Auction{
				Kind: feed.AuctionHalt, Price: 18725, Size: 70_000, Side: feed.SideSell, Imbalance: 1200, Time: opening + 300_000*millis,
			}.Tick(0, opening+1000),
			feed.Auction{Kind: feed.AuctionHalt, Price: feed.NoPrice}.Tick(0, opening+2000),
			feed.StatusTick(0, opening+3000, feed.StatusTrading, 0)),
	},
	{
		name: "packet-skip", header: Packet{First: 100, Count: 1001, PublishTime: opening + 3*millis, Base: opening}, skip: 1000,
		ticks: at(1100, feed.Quote{Bid: 18724, BidSize: 200, Ask: 18726, AskSize: 400}.Tick(0, opening)),
	},
	{name: "packet-withheld", header: Packet{First: 100, Count: 5000, PublishTime: opening + 3*millis}, withheld: 5000},
	{name: "packet-gone", header: Packet{First: 100, Count: 5000, PublishTime: opening + 3*millis}, gone: 5000},
}

func tradeWithRef() feed.Tick {
	t := feed.Trade{Price: 18726, Size: 100, Side: feed.SideBuy}.Tick(0, opening+2000)
	t.Extra = &feed.Extra{TradeRef: "T-17"}
	return t
}

// Each packet of testdata decodes to the ticks above and encodes to the same bytes.
func TestGoldenPackets(t *testing.T) {
	for _, g := range goldenPackets {
		t.Run(g.name, func(t *testing.T) {
			var body []byte
			if g.skip > 0 {
				body = AppendSkip(body, g.skip)
			}
			if g.withheld > 0 {
				body = AppendWithheld(body, g.withheld)
			}
			if g.gone > 0 {
				body = AppendGone(body, g.gone, GoneExpired)
			}
			for i := range g.ticks {
				require.NoError(t, ValidateTick(&g.ticks[i]))
				body = AppendTick(body, &g.ticks[i], g.header.Base)
			}
			raw := AppendPacket(nil, &g.header, body, seedA)
			assertGolden(t, g.name, raw)

			header, body, err := ParsePacket(raw)
			require.NoError(t, err)
			assert.Equal(t, g.header, header)
			assert.True(t, VerifyPacket(raw, seedA))
			assert.False(t, VerifyPacket(raw, seedB), "a packet of another session passes")
			b := PacketBody(&header, body)
			assertTicks(t, g.ticks, &b)
			assert.Equal(t, g.skip, b.NotAsked())
			assert.Equal(t, g.withheld, b.Withheld())
			gone, _ := b.Gone()
			assert.Equal(t, g.gone, gone)
		})
	}
}

// A part of a snapshot has the bytes of testdata, and reads as the same ticks.
func TestGoldenSnapshotPart(t *testing.T) {
	ticks := []feed.Tick{
		{Kind: feed.KindDefinition, EventTime: opening, Extra: &feed.Extra{Definition: &appleDefinition}},
		feed.StatusTick(0, opening, feed.StatusTrading, 20261122),
		feed.Quote{Bid: 18725, BidSize: 300, Ask: 18726, AskSize: 500}.Tick(0, opening),
		{Kind: feed.KindSummary, EventTime: opening + 1000, Extra: &feed.Extra{Summary: &feed.Summary{
			TradingDay: 20261122, Open: 18700, High: 18731, Low: 18699, Last: 18726,
			LastSize: 100, LastSide: feed.SideBuy, LastTime: opening + 1000, Volume: 48200, Trades: 391, LastID: 9001,
		}}},
	}
	part := SnapshotPart{Seq: 45, Index: 0, Base: opening}
	raw := make([]byte, PartHeader)
	for i := range ticks {
		ticks[i].Flags |= feed.FlagSnapshot
		raw = AppendTick(raw, &ticks[i], part.Base)
	}
	SealPart(raw, &part, seedA)
	assertGolden(t, "snapshot-part", raw)

	got, err := ParsePart(raw, seedA)
	require.NoError(t, err)
	assert.Equal(t, part.Seq, got.Seq)
	assert.Equal(t, part.Base, got.Base)
	b := PartBody(&got)
	assertTicks(t, ticks, &b)
	_, err = ParsePart(raw, seedB)
	assert.ErrorIs(t, err, ErrMalformed)
}

func assertTicks(t *testing.T, want []feed.Tick, b *Body) {
	t.Helper()
	batch := make([]feed.Tick, len(want)+1)
	n, err := b.Decode(batch)
	require.NoError(t, err)
	require.Equal(t, len(want), n)
	for i := range want {
		assert.True(t, want[i].Equal(&batch[i]), "tick %d: want %+v, got %+v", i, want[i], batch[i])
	}
	n, err = b.Decode(batch)
	require.NoError(t, err)
	require.Zero(t, n)
}

// assertGolden compares raw with its file, byte for byte, and sees that a Reader takes the
// file for one message.
func assertGolden(t *testing.T, name string, raw []byte) {
	t.Helper()
	path := filepath.Join(messagesDir, name+".msgpack")
	if *update {
		require.NoError(t, os.WriteFile(path, raw, 0o644))
	}
	want, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, want, raw, "bytes of %s", path)

	r := NewReader(bytes.NewReader(want), 0)
	_, message, err := r.Next()
	require.NoError(t, err)
	assert.Equal(t, want, message)
	_, _, err = r.Next()
	assert.Equal(t, io.EOF, err)
}

// A recording's last message can be read backwards from the end of the file: it has a fixed
// size, whatever its values. PROTOCOL.md, "Recordings".
func TestTrailerHasAFixedSize(t *testing.T) {
	for _, m := range []*Trailer{{Next: 1}, {IndexOffset: 1 << 62, Next: MaxSeq, LastTime: -1}} {
		raw, err := Append(nil, m)
		require.NoError(t, err)
		assert.Len(t, raw, TrailerSize)
	}
}

var exampleBlock = regexp.MustCompile("(?s)```\n(testdata/messages/[a-z-]+\\.msgpack)\n.*?```")

// Each example of PROTOCOL.md shows the bytes of the file that it names, and what they mean;
// each file of testdata is an example.
func TestProtocolExamplesAreTheFiles(t *testing.T) {
	doc, err := os.ReadFile("PROTOCOL.md")
	require.NoError(t, err)
	shown := map[string]bool{}
	fresh := exampleBlock.ReplaceAllStringFunc(string(doc), func(block string) string {
		name := exampleBlock.FindStringSubmatch(block)[1]
		shown[filepath.Base(name)] = true
		raw, err := os.ReadFile(filepath.Join("..", filepath.FromSlash(name)))
		if !assert.NoError(t, err) {
			return block
		}
		want := "```\n" + name + "\n" + example(raw) + "```"
		if !*update {
			assert.Equal(t, want, block)
		}
		return want
	})
	if *update {
		require.NoError(t, os.WriteFile("PROTOCOL.md", []byte(fresh), 0o644))
	}
	files, err := filepath.Glob(filepath.Join(messagesDir, "*"))
	require.NoError(t, err)
	for _, f := range files {
		assert.True(t, shown[filepath.Base(f)], "%s is not in PROTOCOL.md", f)
	}
	assert.Len(t, files, len(goldenControl)+len(goldenPackets)+1, "files that no test writes")
	seed := fmt.Sprintf("session `%x`, `%08x`", uint64(sessionA), seedA)
	assert.True(t, strings.Contains(string(doc), seed), "PROTOCOL.md does not say: %s", seed)
}

// example is a message as hexadecimal bytes and as text.
func example(raw []byte) string {
	var b strings.Builder
	for rest := raw; len(rest) > 0; {
		n := min(24, len(rest))
		fmt.Fprintf(&b, "% x\n", rest[:n])
		rest = rest[n:]
	}
	b.WriteString(notation(raw, ", ") + "\n")
	return b.String()
}

// notation writes the msgpack values of raw, which is ours, in the manner of JSON; a bin is
// the values in it, one to a line, in angle brackets.
func notation(raw []byte, separator string) string {
	dec := msgpack.NewDecoder(bytes.NewReader(raw))
	var values []string
	for {
		v, err := dec.DecodeInterface()
		if errors.Is(err, io.EOF) {
			return strings.Join(values, separator)
		} else if err != nil {
			panic(err)
		}
		values = append(values, value(v))
	}
}

func value(v any) string {
	switch v := v.(type) {
	case []any:
		parts := make([]string, len(v))
		for i := range v {
			parts[i] = value(v[i])
		}
		return "[" + strings.Join(parts, ", ") + "]"
	case []byte:
		return "<\n    " + notation(v, "\n    ") + " >"
	case string:
		return fmt.Sprintf("%q", v)
	case nil:
		return "nil"
	}
	return fmt.Sprint(v)
}

// PROTOCOL.md quotes the Python programs; what it quotes is what runs.
func TestProtocolQuotesThePrograms(t *testing.T) {
	doc, err := os.ReadFile("PROTOCOL.md")
	require.NoError(t, err)
	for _, name := range []string{"quotes.py", "resume.py"} {
		program, err := os.ReadFile(filepath.Join("python", name))
		require.NoError(t, err)
		quoted := regexp.MustCompile("(?s)(`python/" + regexp.QuoteMeta(name) + "`.*?```python\n).*?```")
		want := string(program) + "```"
		if *update {
			doc = quoted.ReplaceAllFunc(doc, func(b []byte) []byte {
				return append(bytes.Clone(quoted.FindSubmatch(b)[1]), want...)
			})
			require.NoError(t, os.WriteFile("PROTOCOL.md", doc, 0o644))
			continue
		}
		block := quoted.FindString(string(doc))
		assert.True(t, strings.HasSuffix(block, want), "PROTOCOL.md does not quote python/%s as it is", name)
	}
}
