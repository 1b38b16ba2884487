package iex_test

import (
	"encoding/binary"
	"testing"

	"github.com/stretchr/testify/assert"

	"tickfeed/feed"
	"tickfeed/feed/recorded"
)

// sent sets the send time of a packet and returns it.
func sent(at int64, p []byte) []byte {
	binary.LittleEndian.PutUint64(p[16+42+32:], uint64(at))
	return p
}

// one returns a segment with one message, whose price and send time are its number.
func one(number int64) []byte {
	return sent(number, packet(1, uint64(number), levelMessage(number, 1)))
}

// Messages are read in the order of their numbers if two lines were captured together and each has packets that
// the other lost.
func TestReorderedLines(t *testing.T) {
	for _, c := range []struct {
		name       string
		numbers    []int64
		want       []int64
		gaps, dups int64
	}{
		{"one late", []int64{1, 2, 4, 3, 5}, []int64{1, 2, 3, 4, 5}, 0, 0},
		{"first late", []int64{2, 1, 3}, []int64{1, 2, 3}, 0, 0},
		{"both lines", []int64{1, 1, 3, 3, 2, 2, 4, 4}, []int64{1, 2, 3, 4}, 0, 4},
		{"two holes", []int64{1, 3, 5, 4, 2, 6}, []int64{1, 2, 3, 4, 5, 6}, 0, 0},
		{"one lost", []int64{1, 2, 4, 6, 5}, []int64{1, 2, 4, 5, 6}, 1, 0},
		{"begins later", []int64{7, 8, 10, 9}, []int64{7, 8, 9, 10}, 0, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			var parts [][]byte
			for _, n := range c.numbers {
				parts = append(parts, one(n))
			}
			ticks, _, stats := read(t, file(t, parts...))
			assert.Equal(t, c.want, recorded.LevelPrices(ticks))
			assert.Equal(t, c.gaps, stats.Gaps)
			assert.Equal(t, c.dups, stats.Duplicates)
			assert.Zero(t, stats.Resets)
		})
	}
}

// The other line may bring a message in the next file of a rotated capture.
func TestReorderedOverFiles(t *testing.T) {
	ticks, _, stats := read(t, file(t, one(1), one(3)), file(t, one(2), one(4)))
	assert.Equal(t, []int64{1, 2, 3, 4}, recorded.LevelPrices(ticks))
	assert.Zero(t, stats.Gaps+stats.Duplicates)
}

// The window is bounded: an unfilled hole is given up after 4,096 packets.
func TestWindowIsBounded(t *testing.T) {
	var parts [][]byte
	parts = append(parts, one(1))
	for n := range int64(5000) {
		parts = append(parts, one(3+n))
	}
	parts = append(parts, one(2))
	ticks, _, stats := read(t, file(t, parts...))
	assert.Len(t, recorded.LevelPrices(ticks), 5001)
	assert.EqualValues(t, 1, stats.Gaps)
	assert.EqualValues(t, 1, stats.Missing)
	assert.EqualValues(t, 1, stats.Duplicates, "2, too late")
}

// A sender that begins again at number 1 in the same session has later send times than before; late packets of the
// old numbering on the other line are left out.
func TestSenderBeginsAgain(t *testing.T) {
	again := func(first, at int64) []byte {
		return sent(at, packet(1, uint64(first), levelMessage(100+first, 1)))
	}
	ticks, _, stats := read(t, file(t, one(1), one(2), one(3), one(4), one(2),
		again(1, 11), one(4), again(1, 11), again(3, 13), again(2, 12), again(4, 14),
		again(1, 21), again(2, 22)))
	assert.Equal(t, []int64{1, 2, 3, 4, 101, 102, 103, 104, 101, 102}, recorded.LevelPrices(ticks))
	assert.EqualValues(t, 2, stats.Resets)
	assert.EqualValues(t, 3, stats.Duplicates)
	assert.Zero(t, stats.Gaps)
	assert.Equal(t, "session 1 begins again at number 1 after 4", stats.Notes[0])
	assert.Len(t, recorded.Only(ticks, feed.KindClear), 2, "of the one book, each time")
}

// over returns a packet sent over TOPS (0x8003) or DEEP (0x8004).
func over(protocol uint16, p []byte) []byte {
	binary.LittleEndian.PutUint16(p[16+42+2:], protocol)
	return p
}

func tradeMessage(kind byte, id uint64) []byte {
	m := make([]byte, 38)
	m[0] = kind
	binary.LittleEndian.PutUint64(m[2:], 1500000000000000000)
	copy(m[10:18], "XYZ     ")
	binary.LittleEndian.PutUint32(m[18:], 100)
	binary.LittleEndian.PutUint64(m[22:], 500)
	binary.LittleEndian.PutUint64(m[30:], id)
	return m
}

func statusMessage(status byte, at uint64) []byte {
	m := make([]byte, 22)
	m[0], m[1] = 'H', status
	binary.LittleEndian.PutUint64(m[2:], at)
	copy(m[10:18], "XYZ     ")
	return m
}

func quoteMessage(bid uint64) []byte {
	m := make([]byte, 42)
	m[0] = 'Q'
	copy(m[10:18], "XYZ     ")
	m[18] = 1
	binary.LittleEndian.PutUint64(m[22:], bid)
	return m
}

// A capture of both TOPS and DEEP has each trade, break and status twice; one of them counts.
func TestTOPSAndDEEPTogether(t *testing.T) {
	const tops, deep = 0x8003, 0x8004
	ticks, state, stats := read(t, file(t,
		over(tops, packet(1, 1, statusMessage('T', 5), quoteMessage(99), tradeMessage('T', 7))),
		over(deep, packet(1, 1, statusMessage('T', 5), levelMessage(99, 1), tradeMessage('T', 7), tradeMessage('T', 8))),
		over(tops, packet(1, 4, tradeMessage('T', 8), tradeMessage('B', 7), statusMessage('H', 9))),
		over(deep, packet(1, 5, tradeMessage('B', 7), statusMessage('H', 9), statusMessage('T', 9))),
	))
	assert.Len(t, recorded.Only(ticks, feed.KindTrade), 2)
	assert.Len(t, recorded.Only(ticks, feed.KindCancel), 1)
	assert.Len(t, recorded.Only(ticks, feed.KindStatus), 3)
	assert.Len(t, recorded.Only(ticks, feed.KindQuote), 1)
	assert.EqualValues(t, 5, stats.Duplicates)
	in, _ := state.Instrument(0)
	assert.EqualValues(t, 100, in.Summary.Volume)
}

// The same holds for a file of TOPS and one of DEEP, read one after another, for any number of trades.
// Ids begin again each day: a trade with another time is another trade.
func TestTOPSThenDEEP(t *testing.T) {
	const trades = 200_000
	capture := func(protocol uint16, later uint64) string {
		var packets [][]byte
		for first := uint64(1); first <= trades; first += 1000 {
			var messages [][]byte
			for id := first; id < first+1000; id++ {
				m := tradeMessage('T', id)
				binary.LittleEndian.PutUint64(m[2:], 1500000000000000000+later)
				messages = append(messages, m)
			}
			packets = append(packets, over(protocol, packet(1, first, messages...)))
		}
		return file(t, packets...)
	}
	tops := capture(0x8003, 0)
	ticks, _, stats := read(t, tops, capture(0x8004, 0))
	assert.Equal(t, trades, len(recorded.Only(ticks, feed.KindTrade)))
	assert.EqualValues(t, trades, stats.Duplicates)
	ticks, _, stats = read(t, tops, capture(0x8004, 86400e9))
	assert.Equal(t, 2*trades, len(recorded.Only(ticks, feed.KindTrade)))
	assert.Zero(t, stats.Duplicates)
}
