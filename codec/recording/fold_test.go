package recording

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tickfeed/feed"
)

// Numbers that a recording lists as gone or withheld have changed the state in a way that only the snapshot
// after them shows. The state as of the number after them has these changes, whether a reader asks for that
// state or cuts there; the state as of a number within them does not.
func TestStateBehindMissingNumbers(t *testing.T) {
	for _, why := range []SkipKind{SkipWithheld, SkipExpired, SkipDamaged} {
		t.Run(why.String(), func(t *testing.T) {
			state := feed.NewState()
			bid := func(v int64) feed.Tick {
				return feed.Quote{Bid: v, BidSize: 1, Ask: feed.NoPrice}.Tick(0, noon)
			}
			apply := func(ticks ...feed.Tick) []feed.Tick {
				_, err := state.ApplyAll(ticks)
				require.NoError(t, err)
				return ticks
			}
			var f memory
			b, err := NewBuilder(&f, rootHeader(1), nil)
			require.NoError(t, err)
			require.NoError(t, b.AppendAt(noon, apply(definition(0, noon), bid(1))))
			require.NoError(t, b.Skip(4, why)) // 3 to 6
			apply(bid(2))
			require.NoError(t, b.Restate(state))
			require.NoError(t, b.AppendAt(noon+1, apply(bid(3))))
			require.NoError(t, b.Close())

			reader := func(file []byte) *Reader {
				r, err := NewReader(bytes.NewReader(file), int64(len(file)))
				require.NoError(t, err)
				return r
			}
			check := func(file []byte, seq int, want int64) {
				t.Helper()
				at, err := ParsePlace(fmt.Sprintf("seq:%d", seq), nil)
				require.NoError(t, err)
				m, err := StateAt(t.Context(), reader(file), at, MarketClock, nil)
				require.NoError(t, err)
				in, ok := m.State.Instrument(0)
				require.True(t, ok)
				assert.Equal(t, want, in.Quote.Bid, "as of %d", seq)
				assert.EqualValues(t, seq, m.Next)
			}
			for seq, want := range map[int]int64{3: 1, 5: 1, 7: 2, 8: 3} {
				check(f.Bytes(), seq, want)
			}
			from, err := ParsePlace("seq:7", nil)
			require.NoError(t, err)
			var part memory
			_, err = Cut(t.Context(), &part, reader(f.Bytes()), CutConfig{From: from})
			require.NoError(t, err)
			check(part.Bytes(), 7, 2)
		})
	}
}
