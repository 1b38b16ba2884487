package itch

import (
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tickfeed/feed"
	"tickfeed/feed/files/rawfile"
	"tickfeed/feed/recorded"
)

// After the last message the number of live orders equals that of an independent decoder, and their sizes add
// up to the levels of the books.
func TestLiveOrdersAtTheEnd(t *testing.T) {
	dir := recorded.Dir(t)
	for _, file := range []string{
		"itch/NASDAQ_ITCH50.2023-08-22.alltypes.itch",
		"itch/SIMULATED_ex20101224.TEST_ITCH_50.reframed.gz",
	} {
		e := recorded.Expected[struct {
			Live int `json:"live_orders_at_end"`
		}](t, dir, file)
		d := newDecoder(Config{Date: 20230822}, time.UTC)
		src, err := rawfile.NewSource([]string{filepath.Join(dir, file)}, 0, d, &d.count)
		require.NoError(t, err)
		recorded.ReadAll(t, src)
		assert.Equal(t, e.Live, d.orders.Len(), file)
		var inLevels int64
		for _, in := range d.all {
			for _, side := range []feed.Side{feed.SideBuy, feed.SideSell} {
				for _, size := range in.book.Levels(side) {
					inLevels += size
				}
			}
		}
		assert.Equal(t, d.orders.Sizes(), inLevels, file)
	}
}

// The date in a name is read as documented, and never from other digits.
func TestDateIn(t *testing.T) {
	for name, want := range map[string]int{
		"/data/01302020.NASDAQ_ITCH50": 20200130, "20200130.x": 20200130, "a2020-01-30b": 20200130,
		"S013020": 20200130, "013020": 0, "NASDAQ_ITCH50.first1000.itch": 0, "99999999": 0, "123456789": 0, "": 0,
		"20200130/x": 0, "2020-13-30": 0,
	} {
		assert.Equal(t, want, dateIn(name), name)
	}
}
