package codec

import (
	"fmt"
	"hash/crc32"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tickfeed/feed"
)

// PROTOCOL.md, "5 packet": a count is 1 to 2⁶²; "Conventions": numbers are 1 to 2⁶³, and first + count is at most 2⁶³.
func TestPacketHoldsEachBound(t *testing.T) {
	for _, test := range []struct {
		name         string
		first, count uint64
		ok           bool
	}{
		{"the first number", 1, 1, true},
		{"number 0", 0, 1, false},
		{"no numbers", 41, 0, false},
		{"the greatest count", 41, 1 << 62, true},
		{"a count beyond it", 41, 1<<62 + 1, false},
		{"the last number", 1<<63 - 1, 1, true},
		{"one beyond the last number", 1<<63 - 1, 2, false},
		{"number 2⁶³", 1 << 63, 1, false},
		{"a number beyond 2⁶³", 1<<63 + 1, 1, false},
		{"the greatest sum", 1 << 62, 1 << 62, true},
		{"a sum beyond it", 1<<62 + 1, 1 << 62, false},
		{"a sum that overflows", 1<<64 - 1, 1, false},
	} {
		raw := AppendPacket(nil, &Packet{First: test.first, Count: test.count}, []byte{1}, 7)
		h, body, err := ParsePacket(raw)
		if !test.ok {
			require.ErrorIs(t, err, ErrMalformed, test.name)
			continue
		}
		require.NoError(t, err, test.name)
		assert.Equal(t, Packet{First: test.first, Count: test.count}, h)
		assert.Equal(t, []byte{1}, body)
	}
}

// PROTOCOL.md, "7 snapshot begin, …": parts are numbered from 0 and joined without a hole, none is longer than its bound, and the
// end says how many there were.
func TestSnapshotPartsAreNumbered(t *testing.T) {
	definitions := func(yield func(feed.Tick) bool) {
		for i := range 9000 {
			d := feed.Definition{Symbol: fmt.Sprint("SYMBOL", i), Venue: "XNAS", Currency: "USD"}
			if !yield(feed.Tick{Kind: feed.KindDefinition, Instrument: feed.InstrumentID(i), Extra: &feed.Extra{Definition: &d}}) {
				return
			}
		}
	}
	raw, err := AppendSnapshot(nil, &SnapshotBegin{Seq: 45}, definitions, 7)
	require.NoError(t, err)
	parts, ended := uint64(0), false
	for len(raw) > 0 {
		n, err := MessageSize(raw)
		require.NoError(t, err)
		require.Positive(t, n)
		switch Type(raw[1]) {
		case TypeSnapshotPart:
			part, err := ParsePart(raw[:n], 7)
			require.NoError(t, err)
			require.Equal(t, uint64(45), part.Seq)
			require.Equal(t, parts, part.Index)
			parts++
		case TypeSnapshotEnd:
			m, err := Decode(raw[:n])
			require.NoError(t, err)
			assert.Equal(t, &SnapshotEnd{Seq: 45, Parts: parts}, m)
			ended = true
		}
		raw = raw[n:]
	}
	assert.True(t, ended)
	assert.Greater(t, parts, uint64(2))
}

// A packet of another line, or with any bit wrong, does not pass (PROTOCOL.md, "Checksum").
func TestPacketChecksum(t *testing.T) {
	quote := exampleTicks()["narrow quote"]
	h := Packet{First: 41, Count: 1, PublishTime: noon + 100, Base: noon}
	seed := LineSeed(0x20261122A, nil)
	p := AppendPacket(nil, &h, AppendTick(nil, &quote, noon), seed)
	require.Equal(t, len(p), PacketSize(p))
	require.True(t, VerifyPacket(p, seed))
	got, body, err := ParsePacket(p)
	require.NoError(t, err)
	assert.Equal(t, h, got)
	assert.Equal(t, feed.Range{From: 41, To: 42}, got.Range())
	assert.Len(t, body, 26)

	assert.False(t, VerifyPacket(p, LineSeed(0x20261122B, nil)), "another session")
	assert.False(t, VerifyPacket(p, LineSeed(0x20261122A, Filter{"AAPL"})), "another line")
	for bit := range 8 * len(p) {
		p[bit/8] ^= 1 << (bit % 8)
		if n := PacketSize(p); n == len(p) {
			assert.False(t, VerifyPacket(p, seed), "bit %d", bit)
		}
		p[bit/8] ^= 1 << (bit % 8)
	}
	assert.Equal(t, crc32.Update(seed, castagnoli, append([]byte{byte(TypePacket)}, p[7:]...)), checksum(seed, TypePacket, p[7:]))
}
