package dbn_test

import (
	"encoding/binary"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tickfeed/feed"
	"tickfeed/feed/files/dbn"
)

// statusRecord is a status record, field by field as in StatusMsg of the dbn crate.
func statusRecord(action, reason, event uint16) []byte {
	le := binary.LittleEndian
	r := []byte{10, 0x12, 2, 0, 7, 0, 0, 0} // length / 4, rtype, publisher, instrument
	r = le.AppendUint64(r, 1_800_000_000_000_000_000)
	r = le.AppendUint64(r, 1_800_000_000_000_000_001) // ts_event, ts_recv
	r = le.AppendUint16(r, action)
	r = le.AppendUint16(r, reason)
	r = le.AppendUint16(r, event)
	return append(r, 'N', 'Y', '~', 0, 0, 0, 0, 0, 0, 0) // is_trading to is_short_sell_restricted, padding
}

// Each action that changes the status gives a status.
func TestActionsGiveStatuses(t *testing.T) {
	want := map[uint16]feed.Status{
		1: feed.StatusPreOpen, 2: feed.StatusAuction, 3: feed.StatusPreOpen, 4: feed.StatusAuction, 5: feed.StatusAuction,
		6: feed.StatusPreOpen, 7: feed.StatusTrading, 8: feed.StatusHalted, 9: feed.StatusHalted, 10: feed.StatusHalted,
		11: feed.StatusPreOpen, 12: feed.StatusClosed, 13: feed.StatusClosed, 15: feed.StatusClosed,
	}
	for action := range uint16(17) {
		file := builder(statusRecord(action, 30, 0))
		ticks, _, stats := read(t, dbn.Config{}, file.file(t))
		status, changes := want[action]
		if !changes {
			assert.EqualValues(t, 1, stats.Ignored, action)
			assert.Len(t, ticks, 1, action)
			continue
		}
		require.Len(t, ticks, 2, action)
		assert.Equal(t, status, ticks[1].Status, action)
		assert.Equal(t, "news pending", ticks[1].StatusReason(), action)
		assert.Zero(t, ticks[1].StatusEnd())
	}
}

// A status gives the reason and the trading event of its record in words, or by their numbers.
func TestReasonsAreWords(t *testing.T) {
	for _, c := range []struct {
		reason, event uint16
		want          string
	}{
		{0, 0, ""},
		{1, 0, "scheduled"},
		{2, 0, "surveillance intervention"},
		{3, 0, "market event"},
		{4, 0, "instrument activation"},
		{5, 0, "instrument expiration"},
		{6, 0, "recovery in process"},
		{7, 0, "reason 7"},
		{10, 0, "regulatory"},
		{11, 0, "administrative"},
		{12, 0, "non-compliance"},
		{13, 0, "filings not current"},
		{14, 0, "SEC trading suspension"},
		{15, 0, "new issue"},
		{16, 0, "issue available"},
		{17, 0, "issues reviewed"},
		{18, 0, "filing requirements satisfied"},
		{30, 0, "news pending"},
		{31, 0, "news released"},
		{32, 0, "news and resumption times"},
		{33, 0, "news not forthcoming"},
		{40, 0, "order imbalance"},
		{50, 0, "LULD pause"},
		{60, 0, "operational"},
		{70, 0, "additional information requested"},
		{80, 0, "merger effective"},
		{90, 0, "ETF"},
		{100, 0, "corporate action"},
		{110, 0, "new security offering"},
		{120, 0, "market-wide halt level 1"},
		{121, 0, "market-wide halt level 2"},
		{122, 0, "market-wide halt level 3"},
		{123, 0, "market-wide halt carryover"},
		{124, 0, "market-wide halt resumption"},
		{130, 0, "quotation not available"},
		{0, 1, "no cancel"},
		{0, 2, "change of trading session"},
		{0, 3, "implied matching on"},
		{0, 4, "implied matching off"},
		{0, 5, "trading event 5"},
		{1, 2, "scheduled, change of trading session"},
		{65535, 65535, "reason 65535, trading event 65535"},
	} {
		file := builder(statusRecord(8, c.reason, c.event))
		ticks, _, _ := read(t, dbn.Config{}, file.file(t))
		require.Len(t, ticks, 2)
		assert.Equal(t, feed.StatusHalted, ticks[1].Status)
		assert.Equal(t, c.want, ticks[1].StatusReason())
	}
}
