package recording

import (
	"fmt"
	"io"
	"io/fs"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tickfeed/codec"
	"tickfeed/feed"
)

// allParts returns the results of Ticks, a word for each part: session, publish time, and number, kind and
// symbol of each tick.
func allParts(t *testing.T, ts *Ticks) (words []string) {
	t.Helper()
	for {
		part, err := ts.Next()
		if err == io.EOF {
			return words
		}
		require.NoError(t, err)
		require.NotEmpty(t, part.Ticks)
		var b strings.Builder
		fmt.Fprintf(&b, "%x@%d", uint64(part.Session), part.PublishTime-noon)
		for i := range part.Ticks {
			tick := &part.Ticks[i]
			symbol := "?"
			if d := ts.Definition(tick.Instrument); d != nil {
				symbol = d.Symbol
			}
			fmt.Fprintf(&b, " %d:%v:%s", tick.Seq, tick.Kind, symbol)
		}
		words = append(words, b.String())
	}
}

// Ticks returns ticks with the definitions as of each, also definitions from snapshots, and counts what the
// recording lacks.
func TestTicksHaveTheirDefinitions(t *testing.T) {
	define := func(id feed.InstrumentID, symbol string) feed.Tick {
		return feed.Tick{Kind: feed.KindDefinition, Instrument: id, Extra: &feed.Extra{Definition: &feed.Definition{Symbol: symbol}}}
	}
	quote := func(id feed.InstrumentID) feed.Tick {
		return feed.Quote{Bid: 1, BidSize: 1, Ask: 2, AskSize: 1}.Tick(id, noon)
	}
	at := int64(noon)
	packet := func(seed uint32, first uint64, parts ...any) []byte {
		var body []byte
		count := uint64(0)
		for _, p := range parts {
			switch p := p.(type) {
			case feed.Tick:
				body = codec.AppendTick(body, &p, noon)
				count++
			case int:
				body = codec.AppendSkip(body, uint64(p))
				count += uint64(p)
			case string:
				if p == "gone" {
					body, count = codec.AppendGone(body, 7, codec.GoneExpired), 7
				} else {
					body, count = codec.AppendWithheld(body, 8), 8
				}
			}
		}
		at++
		return codec.AppendPacket(nil, &codec.Packet{First: first, Count: count, PublishTime: at, Base: noon}, body, seed)
	}
	story := func(r *recorded) {
		s := newSession(0xa1)
		seed := s.header.Seed
		require.NoError(t, r.Begin(s.header, s.state, feed.Range{}))
		r.feed(t, nil, packet(seed, 1, define(0, "A"), quote(0), quote(0), define(1, "B"), quote(1), quote(5), define(0, "C"), quote(0), 3, quote(1)),
			packet(seed, 13, "gone"), packet(seed, 20, "withheld"))
		state := feed.NewState()
		for _, d := range []feed.Tick{define(0, "C"), define(1, "D")} {
			require.NoError(t, state.Apply(&d))
		}
		h := s.header
		h.Next = 28
		require.NoError(t, r.Begin(h, state, feed.Range{}))
		r.feed(t, state, packet(seed, 28, quote(1)))
		other := newSession(0xb1).header
		require.NoError(t, r.Begin(other, feed.NewState(), feed.Range{}))
		r.feed(t, feed.NewState(), packet(other.Seed, 1, define(0, "E"), quote(0)), packet(other.Seed, 3, quote(1)))
		require.NoError(t, r.Close())
	}
	r := newRecorded(RecorderConfig{})
	story(r)
	ts := NewTicks(open(t, r.files[0].Bytes()), nil)
	assert.Equal(t, []string{
		"a1@1 1:definition:A 2:quote:A 3:quote:A",
		"a1@1 4:definition:B 5:quote:B 6:quote:?",
		"a1@1 7:definition:C 8:quote:C 12:quote:B",
		"a1@4 28:quote:D",
		"b1@5 1:definition:E 2:quote:E",
		"b1@6 3:quote:?",
	}, allParts(t, ts))
	assert.Equal(t, TicksStats{NotAsked: 3, Gone: 7, Withheld: 8, Undefined: 2}, ts.Stats())

	ts = NewTicks(open(t, r.files[0].Bytes()), func(d *feed.Definition) bool { return d.Symbol == "A" || d.Symbol == "D" })
	assert.Equal(t, []string{"a1@1 1:definition:A 2:quote:A 3:quote:A", "a1@4 28:quote:D"}, allParts(t, ts))

	// Damage is skipped and counted, and so is a packet with a valid checksum and a malformed body.
	b := append([]byte(nil), r.files[0].Bytes()...)
	b[strings.Index(string(b), "\x97\x05\xce")+60] ^= 1
	ts = NewTicks(open(t, b), nil)
	assert.Equal(t, "a1@4 28:quote:D", allParts(t, ts)[0])
	assert.Equal(t, 1, ts.Stats().Damages)
	assert.Equal(t, uint64(12), ts.Stats().Damaged)

	f := &memory{}
	s := newSession(0xa1)
	w, err := NewWriter(f, s.header, nil)
	require.NoError(t, err)
	d := define(0, "A")
	bad := codec.AppendPacket(nil, &codec.Packet{First: 1, Count: 3, PublishTime: noon}, append(codec.AppendTick(nil, &d, 0), 0xc1), s.header.Seed)
	require.NoError(t, w.Append(bad, 4, noon))
	require.NoError(t, w.Append(packet(s.header.Seed, 4, quote(0)), 5, noon))
	ts = NewTicks(open(t, f.Bytes()), nil)
	assert.Equal(t, []string{"a1@0 1:definition:A", "a1@7 4:quote:A"}, allParts(t, ts))
	assert.Equal(t, TicksStats{Damages: 1, Damaged: 2}, ts.Stats())
	ts = NewTicks(open(t, f.Bytes()[:f.Len()-5]), nil)
	assert.Len(t, allParts(t, ts), 1)
	assert.NotZero(t, ts.Stats().Torn)
}

// A place is parsed as written, and ResolvePlaces gives a time of day its date.
func TestPlaceIsParsedAndResolved(t *testing.T) {
	day := func(s string) int64 {
		at, err := time.Parse(time.RFC3339Nano, s)
		require.NoError(t, err)
		return at.UnixNano()
	}
	for text, want := range map[string]string{
		"seq:17": "seq:17", "09:45": "09:45:00", "14:30:00.250": "14:30:00.25", "2026-01-05": "2026-01-05T00:00:00Z",
		"2026-01-05T09:45": "2026-01-05T09:45:00Z", "2026-01-05 09:45:01.5": "2026-01-05T09:45:01.5Z",
		"2026-01-05T09:45:00-05:00": "2026-01-05T14:45:00Z",
	} {
		p, err := ParsePlace(text, nil)
		require.NoError(t, err, text)
		assert.Equal(t, want, p.String(), text)
		assert.False(t, p.IsZero())
	}
	for _, text := range []string{"", "seq:", "seq:0", "seq:-1", "25:00", "noon", "9223372036854775807", "+", "+1", "1h"} {
		_, err := ParsePlace(text, nil)
		require.ErrorContains(t, err, "a time of day such as 09:45", text)
	}
	for _, text := range []string{"1600-01-01", "2262-06-01"} {
		_, err := ParsePlace(text, nil)
		require.ErrorContains(t, err, "the years 1678 to 2261", text)
	}
	resolved := func(from, to, start string, end ...string) [2]string {
		f, err := ParsePlace(from, nil)
		require.NoError(t, err)
		o, err := ParsePlace(to, nil)
		require.NoError(t, err)
		last := day(start)
		if len(end) > 0 {
			last = day(end[0])
		}
		f, o = ResolvePlaces(f, o, day(start), last)
		return [2]string{f.String(), o.String()}
	}
	assert.Equal(t, [2]string{"2026-01-05T09:45:00Z", "2026-01-05T16:00:00Z"}, resolved("09:45", "16:00", "2026-01-05T09:30:00Z"))
	assert.Equal(t, [2]string{"2026-01-05T09:45:00Z", "2026-01-06T09:00:00Z"}, resolved("09:45", "09:00", "2026-01-05T18:00:00Z", "2026-01-06T02:00:00Z"))
	assert.Equal(t, [2]string{"seq:5", "2026-01-06T09:00:00Z"}, resolved("seq:5", "09:00", "2026-01-05T18:00:00Z", "2026-01-06T00:00:00Z"))
	assert.Equal(t, [2]string{"2026-01-05T15:00:00Z", "2026-01-05T14:00:00Z"}, resolved("15:00", "14:00", "2026-01-05T14:30:00Z", "2026-01-05T21:00:00Z"),
		"the recording does not reach the next day: nothing, not the rest")
	assert.Equal(t, [2]string{"start", "2026-01-05T14:00:00Z"}, resolved("start", "14:00", "2026-01-05T14:30:00Z", "2026-01-05T21:00:00Z"))
	assert.Equal(t, [2]string{"2026-01-07T00:00:00Z", "2026-01-07T00:01:00Z"}, resolved("2026-01-07", "00:01", "2026-01-05T18:00:00Z"))
	assert.Equal(t, [2]string{"2026-01-05T09:00:00Z", "2026-01-05T10:00:00Z"}, resolved("09:00", "10:00", "2026-01-05T09:30:00Z", "2026-01-05T16:00:00Z"),
		"a day that begins after 09:00")
	assert.Equal(t, [2]string{"2026-01-06T02:00:00Z", "2026-01-06T03:00:00Z"}, resolved("02:00", "03:00", "2026-01-05T20:00:00Z", "2026-01-06T08:00:00Z"),
		"a night")
	assert.Equal(t, [2]string{"2026-01-05T09:31:00Z", "2026-01-05T09:31:10Z"}, resolved("+1m", "+10s", "2026-01-05T09:30:00Z", "2026-01-05T16:00:00Z"))
	assert.Equal(t, [2]string{"2026-01-05T15:00:00Z", "2026-01-05T15:59:00Z"}, resolved("-1h", "-1m", "2026-01-05T09:30:00Z", "2026-01-05T16:00:00Z"))
	assert.Equal(t, [2]string{"1969-12-31T09:00:00Z", "1969-12-31T23:00:00Z"}, resolved("09:00", "23:00", "1969-12-31T22:00:00Z"))

	p, err := ParsePlace("seq:5", nil)
	require.NoError(t, err)
	assert.False(t, p.Reached(4, noon))
	assert.True(t, p.Reached(5, 0))
	p, err = ParsePlace("2023-11-14T22:13:20Z", nil)
	require.NoError(t, err)
	assert.False(t, p.Reached(9, noon-1))
	assert.True(t, p.Reached(1, noon))
	assert.False(t, Place{}.Reached(1, noon))
}

// Parts gives the ticks of a file with their definitions, and ends with what the recording lacks.
func TestPartsEndWithWhatIsMissing(t *testing.T) {
	var ticks, defined int
	var last error
	for part, err := range Parts("../../testdata/v1/session.tick") {
		if last = err; err != nil {
			continue
		}
		ticks += len(part.Ticks)
		for i := range part.Ticks {
			if part.Definition(part.Ticks[i].Instrument) != nil {
				defined++
			}
		}
	}
	var missing *MissingError
	require.ErrorAs(t, last, &missing)
	assert.Equal(t, TicksStats{NotAsked: 8, Withheld: 7, Gone: 5 + 6, GoneDamaged: 6}, missing.Stats)
	assert.Positive(t, ticks)
	assert.Equal(t, ticks, defined)

	for part, err := range Parts("../../testdata/day.tick") {
		require.NoError(t, err)
		require.NotEmpty(t, part.Ticks)
		break
	}
	for _, err := range Parts("missing.tick") {
		assert.ErrorIs(t, err, fs.ErrNotExist)
	}
}
