package recording

import (
	"fmt"
	"io"
	"io/fs"
	"strings"
	"testing"

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
