package wscap_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tickfeed/feed"
	"tickfeed/feed/files/wscap"
)

// A capture of two collectors has trades twice, and one collector writes late what the other has lost.
// A duplicate has the exchange's time of its first copy; ids that go back at a later time belong to
// a new numbering.
func TestTwoCollectors(t *testing.T) {
	type trade struct{ id, at int64 }
	run := func(from, step int64, n int) (out []trade) {
		for i := range int64(n) {
			out = append(out, trade{from + i, step + i})
		}
		return out
	}
	for _, c := range []struct {
		name                   string
		trades                 [][]trade
		want                   []int64
		repeated, resets, gaps int64
	}{
		{"one behind the other", [][]trade{run(100, 1, 2), run(100, 1, 3)}, []int64{100, 101, 102}, 2, 0, 0},
		{"far behind", [][]trade{run(100, 1, 9), run(103, 4, 8)}, []int64{100, 101, 102, 103, 104, 105, 106, 107, 108, 109, 110}, 6, 0, 0},
		{"late", [][]trade{run(100, 1, 1), run(102, 3, 1), run(101, 2, 2)}, []int64{100, 102, 101}, 1, 0, 0},
		{"lost", [][]trade{run(100, 1, 1), run(102, 3, 2), run(100, 1, 1)}, []int64{100, 102, 103}, 1, 0, 1},
		{"begins again", [][]trade{run(100, 1, 2), run(1, 50, 3), run(1, 50, 2)}, []int64{100, 101, 1, 2, 3}, 2, 1, 0},
		{"begins again with the same ids", [][]trade{run(1, 1, 3), run(1, 50, 3)}, []int64{1, 2, 3, 1, 2, 3}, 0, 1, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			var lines []string
			for _, trades := range c.trades {
				for _, tr := range trades {
					lines = append(lines, fmt.Sprintf(
						`100000000000000001 {"stream":"xy@trade","data":{"e":"trade","E":%d,"T":%d,"s":"XY","t":%d,"p":"1","q":"2","m":true,"M":true}}`, tr.at+9, tr.at, tr.id))
				}
			}
			ticks, st, _, err := ticksOf(t, wscap.Config{}, lines...)
			require.NoError(t, err)
			var got []int64
			for _, tick := range without(ticks, feed.KindDefinition) {
				got = append(got, int64(tick.Trade().ID))
			}
			assert.Equal(t, c.want, got)
			assert.Equal(t, []int64{c.repeated, c.resets, c.gaps}, []int64{st.Repeated, st.Resets, st.Gaps}, "%v", st.Reports)
		})
	}
}

// A repeated quote, or one that is older than the last one, is left out; a quote whose number goes
// back for good belongs to a new numbering.
func TestQuotesOfTwoCollectors(t *testing.T) {
	quote := func(second, number int) string {
		return fmt.Sprintf(`1700000%03d.5: {"u":%d,"s":"XY","b":"%d","B":"1","a":"900","A":"1"}`, second, number, number)
	}
	ticks, st, _, err := ticksOf(t, wscap.Config{},
		quote(1, 7), quote(1, 8), quote(2, 7), quote(2, 8), quote(3, 9), quote(300, 5), quote(301, 6))
	require.NoError(t, err)
	var got []int64
	for _, tick := range without(ticks, feed.KindDefinition) {
		got = append(got, tick.Quote().Bid)
	}
	assert.Equal(t, []int64{7, 8, 9, 5, 6}, got)
	assert.EqualValues(t, 2, st.Repeated)
	assert.EqualValues(t, 1, st.Resets)

	ticker := func(sequence int) string {
		return fmt.Sprintf(`1700000000.5: {"type":"ticker","sequence":%d,"product_id":"A-B","best_bid":"1","best_ask":"2","time":"2021-04-17T16:43:3%dZ"}`, sequence, sequence)
	}
	ticks, st, _, err = ticksOf(t, wscap.Config{}, ticker(1), ticker(2), ticker(1), ticker(2), ticker(3))
	require.NoError(t, err)
	assert.Len(t, without(ticks, feed.KindDefinition), 3)
	assert.EqualValues(t, 2, st.Repeated)
}

// A snapshot of a second collector that is older than the book changes nothing.
func TestKrakenSnapshotOfTwoCollectors(t *testing.T) {
	snapshot := `100.5: {"feed":"book_snapshot","product_id":"PI_X","timestamp":5,"seq":7,"bids":[{"price":1,"qty":2}],"asks":[]}`
	update := func(seq int) string {
		return fmt.Sprintf(`100.5: {"feed":"book","product_id":"PI_X","side":"buy","seq":%d,"price":1,"qty":%d,"timestamp":%d}`, seq, seq, seq)
	}
	_, st, state, err := ticksOf(t, wscap.Config{}, snapshot, update(8), update(9), snapshot, update(8), update(9), update(10))
	require.NoError(t, err)
	in, _ := state.Instrument(0)
	assert.Equal(t, []int64{1, 10}, levels(in))
	assert.Zero(t, st.Gaps)
	assert.EqualValues(t, 3, st.Repeated)
}
