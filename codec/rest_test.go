package codec

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tickfeed/feed"
)

// The rest of a packet has the same content for its numbers as the packet, wherever it is cut.
func TestAppendRest(t *testing.T) {
	const seed, base = 7, 1000
	quote := func(id feed.InstrumentID) []byte {
		q := feed.Quote{Bid: 1, BidSize: 2, Ask: feed.NoPrice}.Tick(id, base+int64(id))
		return AppendTick(nil, &q, base)
	}
	join := func(parts ...[]byte) (body []byte) {
		for _, p := range parts {
			body = append(body, p...)
		}
		return body
	}
	read := func(raw []byte) (ticks []feed.Tick, b Body) {
		require.True(t, VerifyPacket(raw, seed))
		h, body, err := ParsePacket(raw)
		require.NoError(t, err)
		assert.Equal(t, int64(500), h.PublishTime)
		b = PacketBody(&h, body)
		ticks = make([]feed.Tick, 16)
		n, err := b.Decode(ticks)
		require.NoError(t, err)
		return ticks[:n], b
	}
	for name, c := range map[string]struct {
		body  []byte
		count uint64
	}{
		"ticks and skips": {join(AppendSkip(nil, 3), quote(1), quote(70000), AppendSkip(nil, 300), quote(2)), 306},
		"a skip":          {AppendSkip(nil, 5), 5},
		"gone":            {AppendGone(nil, 1000, GoneDamaged), 1000},
		"withheld":        {AppendWithheld(nil, 40), 40},
	} {
		h := Packet{First: 100, Count: c.count, PublishTime: 500, Base: base}
		whole := AppendPacket(nil, &h, c.body, seed)
		all, b := read(whole)
		for from := uint64(101); from < 100+c.count; from++ {
			rest, err := AppendRest([]byte("x"), whole, from, seed)
			require.NoError(t, err, "%s from %d", name, from)
			got, r := read(rest[1:])
			h := PacketAt(rest[1:])
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
		for _, from := range []uint64{0, 100, 100 + c.count} {
			_, err := AppendRest(nil, whole, from, seed)
			require.ErrorIs(t, err, ErrMalformed)
		}
	}
}
