package recording

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tickfeed/codec"
	"tickfeed/feed"
)

// A part of a packet has the same content for its numbers as the packet, wherever it is cut.
func TestAppendPart(t *testing.T) {
	const seed, base = 7, 1000
	quote := func(id feed.InstrumentID) []byte {
		q := feed.Quote{Bid: 1, BidSize: 2, Ask: feed.NoPrice}.Tick(id, base+int64(id))
		return codec.AppendTick(nil, &q, base)
	}
	join := func(parts ...[]byte) (body []byte) {
		for _, p := range parts {
			body = append(body, p...)
		}
		return body
	}
	read := func(raw []byte) (ticks []feed.Tick, b codec.Body) {
		require.True(t, codec.VerifyPacket(raw, seed))
		h, body, err := codec.ParsePacket(raw)
		require.NoError(t, err)
		assert.Equal(t, int64(500), h.PublishTime)
		b = codec.PacketBody(&h, body)
		ticks = make([]feed.Tick, 16)
		n, err := b.Decode(ticks)
		require.NoError(t, err)
		return ticks[:n], b
	}
	for name, c := range map[string]struct {
		body  []byte
		count uint64
	}{
		"ticks and skips": {join(codec.AppendSkip(nil, 3), quote(1), quote(70000), codec.AppendSkip(nil, 300), quote(2)), 306},
		"a skip":          {codec.AppendSkip(nil, 5), 5},
		"gone":            {codec.AppendGone(nil, 1000, codec.GoneDamaged), 1000},
		"withheld":        {codec.AppendWithheld(nil, 40), 40},
	} {
		h := codec.Packet{First: 100, Count: c.count, PublishTime: 500, Base: base}
		whole := codec.AppendPacket(nil, &h, c.body, seed)
		all, b := read(whole)
		for from := uint64(101); from < 100+c.count; from++ {
			rest, _, err := AppendPart([]byte("x"), &h, whole, from, 100+c.count, nil, seed)
			require.NoError(t, err, "%s from %d", name, from)
			got, r := read(rest[1:])
			h := codec.PacketAt(rest[1:])
			require.Equal(t, feed.Range{From: from, To: 100 + c.count}, h.Range())
			want := all
			for len(want) > 0 && want[0].Seq < from {
				want = want[1:]
			}
			require.Equal(t, len(want), len(got))
			for i := range want {
				require.Equal(t, want[i], got[i])
			}
			if b.Gone(); b.Withheld() > 0 {
				require.Equal(t, 100+c.count-from, r.Withheld())
			}
			if n, reason := b.Gone(); n > 0 {
				n, same := r.Gone()
				require.Equal(t, 100+c.count-from, n)
				require.Equal(t, reason, same)
			}
		}
	}
}
