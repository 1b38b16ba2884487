package simulation

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tickfeed/cmd/audit"
	"tickfeed/codec"
	"tickfeed/feed"
)

// The decoder of this package reads the examples of PROTOCOL.md as package codec does, whole and in parts.
func TestWireReadsTheExamples(t *testing.T) {
	files, err := filepath.Glob("../../testdata/messages/*.msgpack")
	require.NoError(t, err)
	require.Greater(t, len(files), 15)
	ticks := 0
	for _, file := range files {
		raw, err := os.ReadFile(file)
		require.NoError(t, err)
		size, err := wireSize(append(bytes.Clone(raw), 0x90), 1)
		require.NoError(t, err, file)
		assert.Equal(t, len(raw), size, file)
		for n := range raw {
			size, err := wireSize(raw[:n], 1)
			require.NoError(t, err, "%s, %d bytes", file, n)
			require.Zero(t, size, "%s, %d bytes", file, n)
		}
		v, rest := wireValue(raw)
		assert.Empty(t, rest, file)
		m := wireMessage{fields: v.([]any)}
		if m.uint(0) != typePacket {
			continue
		}
		p, err := readPacket(raw)
		require.NoError(t, err, file)
		h, body, err := codec.ParsePacket(raw)
		require.NoError(t, err, file)
		assert.Equal(t, h, codec.Packet{First: p.first, Count: p.count, PublishTime: p.publish, Base: p.base}, file)
		assert.Equal(t, p.checksum, wireChecksum(fullSeed(0x20261122a), raw), file)
		b := codec.PacketBody(&h, body)
		var want [16]feed.Tick
		n, err := b.Decode(want[:])
		require.NoError(t, err, file)
		var got []feed.Tick
		for body := p.body; len(body) > 0; {
			var v any
			v, body = wireValue(body)
			entry, ok := v.([]any)
			if ok && entry[0] != int64(kindGone) {
				tick, known, err := wireTick(entry, p.base)
				require.NoError(t, err, file)
				require.True(t, known, file)
				got = append(got, tick)
			}
		}
		require.Len(t, got, n, file)
		for i := range got {
			assert.Equal(t, audit.Hash(&want[i]), audit.Hash(&got[i]), "%s, tick %d: %+v, want %+v", file, i, got[i], want[i])
		}
		ticks += n
	}
	assert.Greater(t, ticks, 10)
}

// Package codec decodes the messages that this package encodes by itself.
func TestWireSaysWhatIsMeant(t *testing.T) {
	lineage := feed.Lineage{{ID: 1 << 63, First: 1}, {ID: 2, First: 300}}
	raw := appendWire(nil, []any{1, 1, 1, "plain", "", []string{"A*", "B01"}, 2, 0, 0, 0, uint64(1_000_000_000), true, lineage, uint64(70_000)})
	m, err := codec.Decode(raw)
	require.NoError(t, err)
	assert.Equal(t, &codec.Hello{
		MinVersion: 1, MaxVersion: 1, Client: "plain", Filter: codec.Filter{"A*", "B01"}, Start: codec.Start{Kind: codec.StartBeginning},
		Heartbeat: 1_000_000_000, HasState: true, Position: codec.Position{Lineage: lineage, Next: 70_000},
	}, m)
}

// Bytes that are not msgpack, as PROTOCOL.md allows it, are refused, and none of them ends the simulation.
func TestWireRefuses(t *testing.T) {
	for name, raw := range map[string]string{
		"ext":            "\x92\x05\xc7\x01\x00\x00",
		"fixext":         "\x92\x05\xd4\x01\x00",
		"map":            "\x92\x05\x81\x01\x01",
		"float":          "\x92\x05\xcb\x00\x00\x00\x00\x00\x00\x00\x00",
		"array 32":       "\xdd\x00\x00\x00\x01\x05",
		"nested":         "\x91\x91\x91\x91\x91\x01",
		"never used":     "\x91\xc1",
		"timestamp, ext": "\x91\xd6\xff\x00\x00\x00\x00",
	} {
		_, err := wireSize([]byte(raw), 1)
		assert.Error(t, err, name)
	}
}
