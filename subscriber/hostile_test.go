package subscriber

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/vmihailenco/msgpack/v5"

	"tickfeed/codec"
	"tickfeed/codec/netsim"
	"tickfeed/feed"
)

// lie returns raw with the bytes at offset replaced, and sealed again if it is a packet.
func lie(raw []byte, offset int, value uint64) []byte {
	for i := range 8 {
		raw[offset+i] = byte(value >> (56 - 8*i))
	}
	h := codec.PacketAt(raw)
	codec.SealPacket(raw, &h, seedA())
	return raw
}

func pack(elements ...any) []byte {
	raw, err := msgpack.Marshal(elements)
	if err != nil {
		panic(err)
	}
	return raw
}

func rawPacket(first, count uint64, body []byte) []byte {
	return codec.AppendPacket(nil, &codec.Packet{First: first, Count: count}, body, seedA())
}

func part(seq, index uint64, ticks ...feed.Tick) []byte {
	var body []byte
	for i := range ticks {
		body = codec.AppendTick(body, &ticks[i], 0)
	}
	raw := append(make([]byte, codec.PartHeader), body...)
	codec.SealPart(raw, &codec.SnapshotPart{Seq: seq, Index: index}, seedA())
	return raw
}

func begin(seq uint64, scope codec.ScopeKind) []byte {
	return message(&codec.SnapshotBegin{Seq: seq, Scope: scope})
}

func end(seq, parts uint64) []byte { return message(&codec.SnapshotEnd{Seq: seq, Parts: parts}) }

// A bad message of a hostile publisher ends the connection with an error that names it. Good messages before it are
// delivered, and nothing of the bad one. The next connection, to an honest publisher, continues at the position.
func TestHostilePublisher(t *testing.T) {
	good := message(welcomeA(1, 1, codec.StartedAsAsked))
	start := [][]byte{good, packet(seedA(), 1, definition(0), quote(0, 2))} // position 3
	after := func(raws ...[]byte) [][]byte { return append(start[:2:2], raws...) }
	welcomed := func(f func(w *codec.Welcome)) [][]byte {
		w := welcomeA(1, 1, codec.StartedAsAsked)
		f(w)
		return [][]byte{message(w)}
	}
	var huge []any
	for i := range 66 {
		huge = append(huge, []any{uint64(i + 1), uint64(1)})
	}
	deep := append([]byte{0x94, byte(codec.TypeHeartbeat)}, 0x91, 0x91, 0x91, 0x91, 0x91, 0x01, 0x01, 0x01)
	bigID := []byte{0x97, 0x04, 0xce, 0x01, 0x00, 0x00, 0x00, 0, 1, 1, 2, 1} // a quote of instrument 2^24

	for _, test := range []struct {
		name string
		send [][]byte
		want string // in the error
		next uint64 // position afterwards; 0 for none
	}{
		{"a packet before the welcome", [][]byte{ticksA(1, 2)}, "packet before the welcome", 0},
		{"a heartbeat before the welcome", [][]byte{heartbeat(1, 1)}, "heartbeat before the welcome", 0},
		{"a welcome of another version", welcomed(func(w *codec.Welcome) { w.Version = 2 }), "version 2", 0},
		{"a welcome with the seed of another session", welcomed(func(w *codec.Welcome) { w.Seed++ }), "is not that of session", 0},
		{"a welcome that starts beyond its head", welcomed(func(w *codec.Welcome) { w.Start = 9 }), "start 9 is not in", 0},
		{"a welcome that starts before its lineage", welcomed(func(w *codec.Welcome) {
			w.Lineage, w.Head = feed.Lineage{{ID: sessionA, First: 5}}, 9
		}), "start 1 is not in", 0},
		{"a welcome that resumes what was not held", welcomed(func(w *codec.Welcome) { w.Reason = codec.StartedResumed }), "resumed at 1", 0},
		{"a welcome that rewinds what was not held", welcomed(func(w *codec.Welcome) { w.Reason = codec.StartedRewound }), "rewound to 1", 0},
		{"a lineage of 66 sessions", [][]byte{pack(2, 1, "x", 0, huge, 0, 1, 1, 1000000000, 1, 1, 0, 0)}, "lineage", 0},
		{"a lineage that names a session twice", [][]byte{pack(2, 1, "x", 0, []any{[]any{7, 1}, []any{7, 1}}, 0, 1, 1, 1000000000, 1, 1, 0, 0)}, "is listed twice", 0},
		{"a heartbeat interval of 0", [][]byte{pack(2, 1, "x", 0, []any{[]any{7, 1}}, 0, 1, 1, 0, 1, 1, 0, 0)}, "heartbeat", 0},
		{"a welcome beyond the bound before login", [][]byte{pack(2, 1, strings.Repeat("x", 5000))}, "at most 4096", 0},
		{"an array that promises 2^32 elements", [][]byte{{0xdd, 0xff, 0xff, 0xff, 0xff}}, "does not speak tickfeed", 0},

		{"messages of types 64 to 127 before the welcome, 16,387 bytes", [][]byte{bytes.Repeat(pack(64, make([]byte, 4096-5)), 4), pack(64, 1), good}, "more than 16384 bytes", 0},
		{"a mode that is not known", [][]byte{pack(2, 1, "x", 3, []any{[]any{uint64(sessionA), 1}}, 0, 1, 1, 1000000000, seedA(), 1, 0, 0)}, "mode: 3", 0},
		{"a lineage without a session", [][]byte{pack(2, 1, "x", 0, []any{}, 0, 1, 1, 1000000000, seedA(), 1, 0, 0)}, "lineage: ", 0},
		{"a lineage with session 0", [][]byte{pack(2, 1, "x", 0, []any{[]any{0, 1}}, 0, 1, 1, 1000000000, seedA(), 1, 0, 0)}, "lineage: ", 0},
		{"a lineage whose firsts decrease", [][]byte{pack(2, 1, "x", 0, []any{[]any{7, 5}, []any{8, 4}}, 0, 9, 1, 1000000000, seedA(), 5, 0, 0)}, "lineage: ", 0},
		{"a tail beyond the head", [][]byte{pack(2, 1, "x", 0, []any{[]any{uint64(sessionA), 1}}, 0, 1, 2, 1000000000, seedA(), 1, 0, 0)}, "tail: 2", 0},
		{"a seed beyond 32 bits", [][]byte{pack(2, 1, "x", 0, []any{[]any{uint64(sessionA), 1}}, 0, 1, 1, 1000000000, uint64(1<<32), 1, 0, 0)}, "seed: ", 0},
		{"a goodbye with code 0", after(pack(4, 0, "", false, 0)), "code: 0", 3},
		{"a session message of a mode that is not known", after(pack(10, 3, []any{[]any{uint64(sessionA), 1}}, 0, seedA(), 3)), "mode: 3", 3},
		{"a second welcome", after(good), "a second welcome", 3},
		{"a refusal after the welcome", after(message(&codec.Refusal{Code: codec.CodeBusy})), "refusal from a publisher", 3},
		{"a pulse", after(message(&codec.Pulse{})), "pulse from a publisher", 3},
		{"a message of a type that must be known", after(pack(40, 1)), "unknown message of type 40", 3},
		{"nesting too deep", after(deep), "nested deeper", 3},
		{"a packet of another session", after(ticksOf(seedA()^1, 3, 4)), "wrong checksum", 3},
		{"a packet with a flipped bit", after(func() []byte { p := ticksA(3, 4); p[60] ^= 1; return p }()), "wrong checksum", 3},
		{"numbers that go backwards", after(ticksA(2, 3)), "packet begins at 2, want 3", 3},
		{"numbers that were left out", after(ticksA(4, 5)), "packet begins at 4, want 3", 3},
		{"a packet that begins at 0", after(lie(ticksA(3, 4), 8, 0)), "seq 0", 3},
		{"a count of 0", after(lie(ticksA(3, 4), 17, 0)), "count 0", 3},
		{"a count of 2^63", after(lie(ticksA(3, 4), 17, 1<<63)), "count 9223372036854775808", 3},
		{"a count of 2^62 for one tick", after(lie(ticksA(3, 4), 17, 1<<62)), "numbers early", 3},
		{"first and count that overflow", after(lie(lie(ticksA(3, 4), 8, 1<<63), 17, 1<<62)), "seq 9223372036854775808", 3},
		{"more ticks than the count", after(lie(ticksA(3, 6), 17, 2)), "more numbers than its count", 3},
		{"a skip beyond the count", after(rawPacket(3, 5, codec.AppendSkip(nil, 1<<62))), "more numbers than its count", 3},
		{"skips whose sum overflows", after(rawPacket(3, 5, codec.AppendSkip(codec.AppendSkip(nil, 4), 1<<63-1))), "more numbers than its count", 3},
		{"withheld and a tick in one packet", after(packet(seedA(), 3, quote(0, 3), -4)), "is not the only one", 3},
		{"gone and a tick in one packet", after(packet(seedA(), 3, gone{4, codec.GoneExpired}, quote(0, 3))), "is not the only one", 3},
		{"a tick of an instrument beyond the bound", after(rawPacket(3, 1, bigID)), "instrument: 16777216", 3},
		{"a definition under another's name", after(packet(seedA(), 3, func() feed.Tick { d := definition(0); d.Instrument = 1; return d }())), "it is instrument 0", 3},
		{"gone with code 21", after(rawPacket(3, 4, []byte{0x93, 21, 4, 1})), "gone: code 21", 3},
		{"gone for reason 0", after(rawPacket(3, 4, []byte{0x93, 20, 4, 0})), "reason 0", 3},
		{"gone for a reason beyond 255", after(rawPacket(3, 4, []byte{0x93, 20, 4, 0xcd, 1, 0})), "reason 256", 3},
		{"a trade with side 3", after(rawPacket(3, 1, []byte{0x98, 6, 0, 0, 1, 1, 3, 0, 0xa0})), "side: 3", 3},
		{"a level with side 3", after(rawPacket(3, 1, []byte{0x96, 12, 0, 0, 3, 1, 1})), "side: 3", 3},
		{"a clear with side 4", after(rawPacket(3, 1, []byte{0x94, 14, 0, 0, 4})), "side: 4", 3},
		{"a scope that is not known", after(pack(7, 3, 3, []string{})), "scope: 3", 3},
		{"a reason that is not known", [][]byte{pack(2, 1, "x", 0, []any{[]any{uint64(sessionA), 1}}, 0, 1, 1, 1000000000, seedA(), 1, 4, 0)}, "reason: 4", 0},
		{"a code of a tick beyond 255", after(rawPacket(3, 1, []byte{0x93, 0xcd, 1, 0, 0, 0})), "code 256", 3},
		{"an event time beyond 64 bits, narrow", after(codec.AppendPacket(nil, &codec.Packet{First: 3, Count: 1, Base: 1<<63 - 1}, codec.AppendTick(nil, new(quote(0, 3)), 99), seedA())), "beyond the bound", 3},
		{"an event time beyond 64 bits, wide", after(codec.AppendPacket(nil, &codec.Packet{First: 3, Count: 1, Base: 1<<62 - 1}, codec.AppendTick(nil, new(feed.Quote{Bid: -1, Ask: 1}.Tick(0, 1<<62-1)), -1<<62), seedA())), "beyond the bound", 3},
		{"an event time beyond 64 bits, before the first", after(codec.AppendPacket(nil, &codec.Packet{First: 3, Count: 1, Base: -1 << 63}, codec.AppendTick(nil, new(quote(0, 3)), 101), seedA())), "beyond the bound", 3},
		{"an event time beyond 64 bits, compact", after(codec.AppendPacket(nil, &codec.Packet{First: 3, Count: 1, Base: 1<<63 - 1}, codec.AppendTick(nil, new(feed.ClearTick(0, 100, feed.SideBoth)), 99), seedA())), "beyond the bound", 3},
		{"a definition with a negative tick size", after(rawPacket(3, 1, pack(2, 2, 0, "C", "X", -2, 0, "USD", -1, 0))), "tick size: -1", 3},
		{"a definition with a negative lot", after(rawPacket(3, 1, pack(2, 2, 0, "C", "X", -2, 0, "USD", 0, -1))), "lot: -1", 3},
		{"a definition with a price exponent of 19", after(rawPacket(3, 1, pack(2, 2, 0, "C", "X", 19, 0, "USD", 0, 0))), "price exponent: 19", 3},
		{"a definition with a size exponent of -19", after(rawPacket(3, 1, pack(2, 2, 0, "C", "X", 0, -19, "USD", 0, 0))), "size exponent: -19", 3},
		{"a symbol of 65 bytes", after(rawPacket(3, 1, pack(2, 2, 0, strings.Repeat("C", 65), "X", 0, 0, "USD", 0, 0))), "symbol: a str of 65 bytes", 3},
		{"a venue with a control character", after(rawPacket(3, 1, pack(2, 2, 0, "C", "X\n", 0, 0, "USD", 0, 0))), "venue: ", 3},
		{"a trade ref of 65 bytes", after(rawPacket(3, 1, pack(6, 0, 0, 1, 1, 0, 0, "", strings.Repeat("r", 65)))), "trade ref: a str of 65 bytes", 3},
		{"a trade of -1 shares", after(rawPacket(3, 1, pack(6, 0, 0, 1, -1, 0, 0, ""))), "size: -1", 3},
		{"a trade at -2^63", after(rawPacket(3, 1, pack(6, 0, 0, math.MinInt64, 1, 0, 0, ""))), "price: -9223372036854775808", 3},
		{"a trade whose price is a float", after(rawPacket(3, 1, pack(6, 0, 0, 1.0, 1, 0, 0, ""))), "price: ", 3},
		{"a trading day of five digits of year", after(rawPacket(3, 1, pack(16, 0, 0, 2, 99991232))), "trading day: 99991232", 3},
		{"a status of 256", after(rawPacket(3, 1, pack(16, 0, 0, 256, 0))), "status: 256", 3},
		{"an auction with a side of 3", after(rawPacket(3, 1, pack(22, 0, 0, 1, 1, 1, 3, 0, 0))), "side: 3", 3},
		{"an auction with a negative imbalance", after(rawPacket(3, 1, pack(22, 0, 0, 1, 1, 1, 2, -1, 0))), "imbalance: -1", 3},
		{"an entry whose arrays are five deep", after(rawPacket(3, 1, append([]byte{0x98, 4, 0, 0, 1, 1, 2, 1}, 0x91, 0x91, 0x91, 0x91, 1))), "nested too deep", 3},
		{"an entry that is a map", after(rawPacket(3, 1, []byte{0x80})), "marker 0x80", 3},
		{"an entry that is a skip of 0", after(rawPacket(3, 1, []byte{0})), "skip of 0", 3},
		{"an entry that is a skip of -2^63", after(rawPacket(3, 1, pack(int64(math.MinInt64))[1:])), "skip of -9223372036854775808", 3},
		{"a skip where a snapshot is due", after(packet(seedA(), 3, gone{4, codec.GoneExpired}), rawPacket(7, 5, codec.AppendSkip(nil, 5))), "before the snapshot", 7},
		{"a summary outside a snapshot", after(packet(seedA(), 3, feed.Tick{Kind: feed.KindSummary, Extra: &feed.Extra{Summary: &feed.Summary{}}})), "outside a snapshot", 3},
		{"an empty packet", after(rawPacket(3, 1, nil)), "numbers early", 3},
		{"ticks where a snapshot is due", after(packet(seedA(), 3, gone{4, codec.GoneExpired}), ticksA(7, 8)), "tick 7 before the snapshot", 7},

		{"a heartbeat ahead of the data", after(heartbeat(9, 9)), "heartbeat covers up to at 9, want 3", 3},
		{"a heartbeat behind the data", after(heartbeat(2, 9)), "heartbeat covers up to at 2, want 3", 3},
		{"a head below what was covered", after(heartbeat(3, 2)), "head 2 is below covered 3", 3},

		{"a snapshot without an end", after(begin(3, codec.ScopeAll), part(3, 0, definition(0)), ticksA(3, 4)), "packet inside a snapshot", 3},
		{"a snapshot in a snapshot", after(begin(3, codec.ScopeAll), begin(3, codec.ScopeAll)), "snapshot begin inside a snapshot", 3},
		{"a part outside a snapshot", after(part(3, 0, definition(0))), "part outside a snapshot", 3},
		{"an end outside a snapshot", after(end(3, 0)), "end outside a snapshot", 3},
		{"a part out of order", after(begin(3, codec.ScopeAll), part(3, 1, definition(0))), "snapshot part 1 as of 3, want part 0", 3},
		{"a part of another snapshot", after(begin(3, codec.ScopeAll), part(4, 0, definition(0))), "part 0 as of 4, want part 0 as of 3", 3},
		{"a part that is missing", after(begin(3, codec.ScopeAll), part(3, 0, definition(0)), end(3, 2)), "with 2 parts, 1 parts as of 3 have come", 3},
		{"a part with a skip", after(begin(3, codec.ScopeAll), func() []byte {
			raw := append(make([]byte, codec.PartHeader), 5)
			codec.SealPart(raw, &codec.SnapshotPart{Seq: 3}, seedA())
			return raw
		}()), "skip of 5", 3},
		{"a part with an auction", after(begin(3, codec.ScopeAll), part(3, 0, definition(0), feed.Auction{Price: 1, Size: 1}.Tick(0, 1))), "an auction is no part of the state", 3},
		{"a part that tells what is not defined", after(begin(3, codec.ScopeAll), part(3, 0, quote(8, 1))), "not defined", 3},
		{"a snapshot of everything with a filter", after(pack(7, 3, 0, []string{"A"})), "filter", 3},
		{"a part with gone numbers", after(begin(3, codec.ScopeAll), func() []byte {
			raw := append(append(make([]byte, codec.PartHeader), codec.AppendGone(nil, 4, codec.GoneExpired)...), 0)[:codec.PartHeader+4]
			codec.SealPart(raw, &codec.SnapshotPart{Seq: 3}, seedA())
			return raw
		}()), "gone", 3},
		{"a snapshot of another place", after(begin(9, codec.ScopeAll)), "snapshot as of 9, the position is 3", 3},
		{"a snapshot that takes the state away", after(begin(3, codec.ScopeDefinitions)), "snapshot of scope definitions", 3},

		{"a session message that leaves numbers out", after(message(&codec.SessionChange{Lineage: lineageOf("AB5"), Next: 5, Seed: codec.LineSeed(sessionB, nil)})), "session goes on at 5, want 3", 3},
		{"a session message with a number that is not its own", after(message(&codec.SessionChange{Lineage: lineageOf("AB5"), Next: 3, Seed: codec.LineSeed(sessionB, nil)})), "which it does not own", 3},
		{"a session message with another's seed", after(message(&codec.SessionChange{Lineage: lineageOf("AB3"), Next: 3, Seed: 1})), "is not that of session", 3},
		{"a session that comes back before what was delivered of it", after(
			message(&codec.SessionChange{Lineage: lineageOf("C"), Next: 1, Seed: codec.LineSeed(sessionC, nil)}),
			message(&codec.SessionChange{Lineage: lineageOf("A"), Next: 1, Seed: seedA()})), "goes back to 1, 2 was delivered", 1},
		{"a packet beyond the end of its session", [][]byte{message(&codec.Welcome{
			Version: 1, Lineage: lineageOf("AB2"), Head: 9, Tail: 1, Heartbeat: interval, Seed: seedA(), Start: 1,
		}), packet(seedA(), 1, definition(0), quote(0, 1))}, "goes beyond session", 1},

		{"subscribed without a request", after(message(&codec.Subscribed{Request: 1, From: 3})), "which was not made", 3},
		{"an end before what was covered", after(message(&codec.End{Final: 2})), "the session ends at 2, want 3", 3},
		{"an end beyond what was covered", after(message(&codec.End{Final: 4})), "the session ends at 4, want 3", 3},
		{"a packet after the end", after(message(&codec.End{Final: 3}), ticksA(3, 4)), "packet after the end", 3},
		{"a heartbeat that goes on after the end", after(message(&codec.End{Final: 3}), heartbeat(3, 4)), "head 4 after the end", 3},
		{"a snapshot after the end", after(message(&codec.End{Final: 3}), begin(3, codec.ScopeAll)), "a snapshot after the end", 3},
		{"an end where a snapshot is due", after(packet(seedA(), 3, gone{4, codec.GoneExpired}), message(&codec.End{Final: 7})), "although a snapshot is due", 7},
		{"two ends", after(message(&codec.End{Final: 3}), message(&codec.End{Final: 3})), "a second end", 3},
	} {
		t.Run(test.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, network *netsim.Network, cfg Config) {
				var hello *codec.Hello
				var said *codec.Goodbye
				stop := publish(network, "pub:1", func(p *peer) {
					p.send(test.send...)
					<-p.gone
					said = p.goodbye()
				}, func(p *peer) {
					hello = p.hello
					<-p.gone
				})
				s, a := mustNew(t, cfg), &app{}
				var broke *ProtocolError
				a.on = func(b *Batch) error {
					if b.Change != nil && b.Change.State == Disconnected {
						require.ErrorAs(t, b.Change.Err, &broke) // on the test's goroutine
					}
					return nil
				}
				err := runFor(4*interval, s, a)
				stop()
				require.Error(t, err)
				require.NotNil(t, broke, "%v", a.events)
				assert.Contains(t, broke.Error(), test.want)
				require.NotNil(t, hello, "no second connection")
				assert.Equal(t, test.next, hello.Position.Next)
				for i, tick := range a.ticks {
					assert.Equal(t, uint64(i+1), tick.Seq)
				}
				require.NoError(t, s.Ledger().Check())
				assert.Len(t, a.ticks, int(s.Ledger().Totals().Delivered))
				require.NotNil(t, said, "the publisher is told, before the welcome too")
				assert.Equal(t, codec.CodeProtocol, said.Code)
				assert.NotEmpty(t, said.Text)
			})
		})
	}
}

// A publisher's text for people has no control characters when the application gets it.
func TestGoodbyeTextIsHarmless(t *testing.T) {
	inBubble(t, func(t *testing.T, network *netsim.Network, cfg Config) {
		stop := publish(network, "pub:1", func(p *peer) {
			p.send(pack(4, 1, "bye\x1b[2J\nnext", false, 0))
			<-p.gone
		})
		err := mustNew(t, cfg).Run(t.Context(), (&app{}).handle)
		stop()
		var refused *RefusedError
		require.ErrorAs(t, err, &refused)
		assert.Equal(t, "bye?[2J?next", refused.Text)
	})
}

// A snapshot is bounded, however many parts it has, and takes little more memory than its parts.
func TestSnapshotIsBounded(t *testing.T) {
	l := newLine(codec.Position{}, 256)
	hello := (&Config{}).hello(nil, codec.Position{}, false)
	l.connect("pub:1")
	require.NoError(t, l.welcome(hello, welcomeA(5, 9, codec.StartedAsAsked), nil, time.Time{}))
	_, err := l.control(codec.TypeSnapshotBegin, begin(5, codec.ScopeAll))
	require.NoError(t, err)
	var ticks []feed.Tick
	ticks = append(ticks, definition(0))
	for len(ticks) < 2000 {
		ticks = append(ticks, quote(0, 1))
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	sent := 0
	for index := uint64(0); ; index++ {
		raw := part(5, index, ticks...)
		l.c.awaited.snapshot.size += 64 * len(raw) // as if 64 had come before it
		sent += 65 * len(raw)
		if _, err = l.control(codec.TypeSnapshotPart, raw); err != nil {
			break
		}
		require.Less(t, sent, 2*maxSnapshot)
	}
	runtime.ReadMemStats(&after)
	assert.True(t, errors.As(err, new(*ProtocolError)))
	assert.Contains(t, err.Error(), fmt.Sprintf("more than %d MiB", maxSnapshot>>20))
	assert.Less(t, after.HeapAlloc, before.HeapAlloc+64<<20)
}
