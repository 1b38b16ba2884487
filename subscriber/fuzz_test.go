package subscriber

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"math"
	"net"
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"

	"tickfeed/codec"
	"tickfeed/codec/netsim"
	"tickfeed/feed"
)

// sealed is stream with the checksums of its packets and of the parts of its snapshots as they should be, so
// that a fuzzer gets behind them.
func sealed(stream []byte) []byte {
	out := bytes.Clone(stream)
	r := codec.NewReader(bytes.NewReader(stream), codec.MaxMessage)
	for {
		t, raw, err := r.Next()
		if err != nil {
			return out
		}
		raw = out[int(r.Offset())-len(raw) : r.Offset()]
		if t == codec.TypePacket && codec.PacketSize(raw) == len(raw) {
			h := codec.PacketAt(raw)
			codec.SealPacket(raw, &h, seedA())
		} else if t == codec.TypeSnapshotPart && codec.PartSize(raw) == len(raw) {
			codec.SealPart(raw, &codec.SnapshotPart{
				Seq: binary.BigEndian.Uint64(raw[8:]), Index: binary.BigEndian.Uint64(raw[17:]), Base: int64(binary.BigEndian.Uint64(raw[26:])),
			}, seedA())
		}
	}
}

// Any bytes that a publisher sends cost a bounded multiple of their length, no tick comes twice or out of order, and the
// ledger adds up (PROMISES.md, 18, 20).
func FuzzPublisher(f *testing.F) {
	good := message(welcomeA(1, 1, codec.StartedAsAsked))
	begun := append(bytes.Clone(good), packet(seedA(), 1, definition(0), quote(0, 2))...)
	f.Add(append(bytes.Clone(begun), ticksA(3, 40)...))
	f.Add(append(bytes.Clone(begun), packet(seedA(), 3, 5, -7, gone{9, codec.GoneExpired}, quote(0, 24))...))
	f.Add(append(append(bytes.Clone(begun), heartbeat(3, 9)...), message(&codec.End{Final: 3})...))
	f.Add(append(append(message(welcomeA(7, 9, codec.StartedAsAsked)), snapshot(seedA(), 7, codec.ScopeAll)...), ticksA(7, 9)...))
	f.Add(append(bytes.Clone(begun), message(&codec.SessionChange{Next: 3, Lineage: lineageA.Child(sessionB, 3), Seed: codec.LineSeed(sessionB, nil)})...))
	f.Add(append(bytes.Clone(begun), message(&codec.Goodbye{Code: codec.CodeShutdown, Retry: true})...))
	f.Fuzz(func(t *testing.T, stream []byte) {
		stream = sealed(stream)
		const constant = 1 << 20 // buffers of a connection, and the pages of a state
		bound := constant + 20*uint64(len(stream))
		least := uint64(math.MaxUint64)
		for range 5 { // what else is allocated meanwhile counts too
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			hear(t, stream)
			runtime.ReadMemStats(&after)
			if least = min(least, after.TotalAlloc-before.TotalAlloc); least <= bound {
				return
			}
		}
		t.Fatalf("%d bytes allocated for a stream of %d", least, len(stream))
	})
}

// hear subscribes to stream, and judges what comes of it.
func hear(t *testing.T, stream []byte) {
	dials := 0
	s, err := New(Config{
		Addrs: []string{"publisher"}, Start: codec.Start{Kind: codec.StartBeginning}, MaxAttempts: 1, Seed: 1,
		Dial: func(context.Context, string) (net.Conn, error) {
			if dials++; dials > 1 {
				return nil, errors.New("no more")
			}
			return netsim.Canned(bytes.NewReader(stream)), nil
		},
	})
	require.NoError(t, err)
	next := map[feed.SessionID]uint64{}
	err = s.Run(t.Context(), func(b *Batch) error {
		if b.Change != nil || b.Snapshot {
			return nil
		}
		for i := range b.Ticks {
			if seq := b.Ticks[i].Seq; seq < max(next[b.Session], 1) {
				t.Fatalf("number %d of session %v comes after %d", seq, b.Session, next[b.Session]-1)
			} else {
				next[b.Session] = seq + 1
			}
		}
		return nil
	})
	require.Error(t, err)
	require.NoError(t, s.Ledger().Check())
}
