package edit_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tickfeed/codec"
	"tickfeed/codec/recording"
	"tickfeed/codec/recording/edit"
	"tickfeed/codec/recording/place"
	"tickfeed/codec/recording/text"
	"tickfeed/codec/recording/text/texttest"
	"tickfeed/feed"
)

// toText returns the text of a recording without its first line.
func toText(t testing.TB, file []byte) string {
	t.Helper()
	var b strings.Builder
	_, err := text.Write(&b, bytes.NewReader(file), int64(len(file)))
	require.NoError(t, err)
	_, lines, _ := strings.Cut(b.String(), "\n")
	return lines
}

// cut cuts the recording of a text.
func cut(t testing.TB, lines, from, to string, symbols ...string) (string, edit.CutStats, error) {
	t.Helper()
	return cutBy(t, place.MarketClock, lines, from, to, symbols...)
}

// cutBy cuts the recording of a text by a clock.
func cutBy(t testing.TB, clock place.Clock, lines, from, to string, symbols ...string) (string, edit.CutStats, error) {
	t.Helper()
	cfg := edit.CutConfig{Clock: clock}
	var err error
	if from != "" {
		cfg.From, err = place.Parse(from, nil)
		require.NoError(t, err)
	}
	if to != "" {
		cfg.To, err = place.Parse(to, nil)
		require.NoError(t, err)
	}
	cfg.Filter, err = codec.NewFilter(symbols)
	require.NoError(t, err)
	var out texttest.Memory
	st, err := edit.Cut(context.Background(), &out, texttest.Reader(t, texttest.Recording(t, lines)), cfg)
	if err != nil {
		return "", st, err
	}
	return toText(t, out.Bytes()), st, nil
}

// day is a recording of two sessions whose packets all differ.
const day = `session lineage=00000000000000a1:1 mode=live source=day
packet 2026-03-02T14:30:00Z
  define #0 symbol=AAPL venue=XNAS price=-2
  define #1 symbol=MSFT price=-2
  quote AAPL 187 1 188 1
packet 2026-03-02T14:30:01Z
  quote MSFT 400 1 401 1
  trade AAPL 187.5 1
  quote MSFT 400 2 401 2
packet 2026-03-02T14:30:02Z
  quote AAPL 187.01 1 188 1
session lineage=00000000000000a1:1,00000000000000a2:8 mode=live source=day next=8
packet 2026-03-02T14:30:03Z
  quote MSFT 402 1 403 1
packet 2026-03-02T14:30:04Z
  quote AAPL 187.02 1 188 1
closed
`

// A cut without bounds copies the recording.
func TestCutNothing(t *testing.T) {
	got, st, err := cut(t, day, "", "")
	require.NoError(t, err)
	assert.Equal(t, day, got)
	assert.Equal(t, edit.CutStats{Range: feed.Range{From: 1, To: 10}, Packets: 5}, st)
}

// A part begins with the state as of its first number, keeps numbers, sessions and times, and is cut at the
// given number even inside a packet.
func TestCutFromTo(t *testing.T) {
	got, st, err := cut(t, day, "seq:5", "seq:9")
	require.NoError(t, err)
	assert.Equal(t, `session lineage=00000000000000a1:1 mode=live source=day next=5
snapshot
part 2026-03-02T14:30:00Z
  define @0 #0 symbol=AAPL venue=XNAS price=-2
  quote AAPL 187 1 188 1
  define @0 #1 symbol=MSFT price=-2
  quote +1000000000 MSFT 400 1 401 1
end
packet 2026-03-02T14:30:01Z
  trade AAPL 187.5 1
  quote MSFT 400 2 401 2
packet 2026-03-02T14:30:02Z
  quote AAPL 187.01 1 188 1
session lineage=00000000000000a1:1,00000000000000a2:8 mode=live source=day next=8
packet 2026-03-02T14:30:03Z
  quote MSFT 402 1 403 1
closed
`, got)
	assert.Equal(t, edit.CutStats{Range: feed.Range{From: 5, To: 9}, Packets: 3}, st)

	got, _, err = cut(t, day, "14:30:03", "")
	require.NoError(t, err)
	assert.True(t, strings.HasPrefix(got, "session lineage=00000000000000a1:1,00000000000000a2:8 mode=live source=day next=8\nsnapshot\n"), got)
	assert.Contains(t, got, "summary AAPL open=187.5")
	got, _, err = cut(t, day, "", "2026-03-02T14:30:01Z")
	require.NoError(t, err)
	assert.Contains(t, got, "quote AAPL 187 1 188 1\nclosed")
	for _, from := range []string{"seq:10", "15:00"} {
		_, _, err = cut(t, day, from, "")
		assert.ErrorIs(t, err, edit.ErrEmpty, from)
	}
	_, _, err = cut(t, day, "", "seq:1")
	assert.ErrorIs(t, err, edit.ErrEmpty)
}

// With a filter the numbers of other instruments are not asked for. The header states the filter, and the
// snapshot has no other instruments. Packets that contain nothing else are merged.
func TestCutSymbols(t *testing.T) {
	got, _, err := cut(t, day, "", "", "MSFT")
	require.NoError(t, err)
	assert.Equal(t, `session lineage=00000000000000a1:1 mode=live filter=MSFT source=day
packet 2026-03-02T14:30:00Z
  skip 1
  define #1 symbol=MSFT price=-2
  skip 1
packet 2026-03-02T14:30:01Z
  quote MSFT 400 1 401 1
  skip 1
  quote MSFT 400 2 401 2
packet 2026-03-02T14:30:02Z base=0
  skip 1
session lineage=00000000000000a1:1,00000000000000a2:8 mode=live filter=MSFT source=day next=8
packet 2026-03-02T14:30:03Z
  quote MSFT 402 1 403 1
packet 2026-03-02T14:30:04Z base=0
  skip 1
closed
`, got)
	again, _, err := cut(t, got, "seq:5", "", "M*")
	require.NoError(t, err)
	assert.Contains(t, again, "filter=MSFT")
	assert.NotContains(t, again, "AAPL")
	_, _, err = cut(t, got, "", "", "AAPL")
	assert.ErrorIs(t, err, edit.ErrEmpty, "it was not recorded")
	_, _, err = cut(t, day, "", "", "NONE")
	assert.ErrorIs(t, err, edit.ErrEmpty, "there is no such instrument")
	wild, _, err := cut(t, day, "", "", "M*")
	require.NoError(t, err)
	_, _, err = cut(t, wild, "", "", "*T")
	var filters *edit.FilterError
	assert.ErrorAs(t, err, &filters)
}

// Damaged, withheld and gone numbers of the part are so in the new recording, followed by the state.
func TestCutDamage(t *testing.T) {
	damaged := strings.Replace(day, "packet 2026-03-02T14:30:01Z\n  quote MSFT 400 1 401 1\n  trade AAPL 187.5 1\n  quote MSFT 400 2 401 2\n",
		"bytes 0011\n", 1)
	damaged = strings.Replace(damaged, "packet 2026-03-02T14:30:02Z\n", "packet 2026-03-02T14:30:02Z seq=7\n", 1)
	damaged = strings.Replace(damaged, "packet 2026-03-02T14:30:03Z\n  quote MSFT 402 1 403 1\n", "packet 2026-03-02T14:30:03Z\n  withheld 50\n", 1)
	got, st, err := cut(t, damaged, "", "seq:30")
	require.NoError(t, err)
	assert.Contains(t, got, "packet 2026-03-02T14:30:00Z base=0\n  gone 3 damaged\nrestate\nsnapshot\n")
	assert.Contains(t, got, "packet 2026-03-02T14:30:03Z\n  withheld 22\nclosed")
	assert.Equal(t, 1, st.Damages)
	assert.Equal(t, uint64(3), st.Missing)
}

func join(t testing.TB, parts ...string) (string, edit.JoinStats, error) {
	t.Helper()
	var open []func() (*recording.Reader, error)
	var readers []*recording.Reader
	for _, p := range parts {
		file := texttest.Recording(t, p)
		open = append(open, func() (*recording.Reader, error) { return recording.NewReader(bytes.NewReader(file), int64(len(file))) })
		readers = append(readers, texttest.Reader(t, file))
	}
	lineage, err := edit.Lineage(context.Background(), open)
	if err != nil {
		return "", edit.JoinStats{}, err
	}
	var out texttest.Memory
	st, err := edit.Join(context.Background(), &out, lineage, readers, nil)
	if err != nil {
		return "", st, err
	}
	return toText(t, out.Bytes()), st, nil
}

func part(t testing.TB, from, to string) string {
	t.Helper()
	p, _, err := cut(t, day, from, to)
	require.NoError(t, err)
	return p
}

// Joining parts that touch or overlap, in any order, gives the whole: at packets and inside them.
func TestJoinOfPartsIsTheWhole(t *testing.T) {
	for _, cuts := range [][2]string{{"seq:4", "seq:4"}, {"seq:5", "seq:5"}, {"seq:8", "seq:8"}, {"seq:3", "seq:7"}, {"seq:5", "seq:6"}, {"seq:2", "seq:9"}} {
		a, b := part(t, "", cuts[1]), part(t, cuts[0], "")
		for _, parts := range [][]string{{a, b}, {b, a}, {a, b, a}} {
			got, st, err := join(t, parts...)
			require.NoError(t, err)
			if cuts[0] == "seq:4" || cuts[0] == "seq:8" || cuts[0] == "seq:3" || cuts[0] == "seq:2" {
				assert.Equal(t, withoutSplits(day), withoutSplits(got), "%v", cuts)
			}
			assert.Equal(t, feed.Range{From: 1, To: 10}, st.Range)
			assert.Empty(t, st.Holes)
			assert.Equal(t, ticksOf(t, day), ticksOf(t, got), "%v", cuts)
		}
	}
	_, st, err := join(t, day, day)
	require.NoError(t, err)
	assert.Equal(t, uint64(9), st.Agreed)
}

// withoutSplits returns a text without the lines of packets, because a packet that was cut becomes two.
func withoutSplits(s string) string {
	var kept []string
	for _, l := range strings.Split(s, "\n") {
		if !strings.HasPrefix(l, "packet") {
			kept = append(kept, l)
		}
	}
	return strings.Join(kept, "\n")
}

// ticksOf returns the ticks of a text with their numbers.
func ticksOf(t testing.TB, lines string) (ticks []feed.Tick) {
	r := texttest.Reader(t, texttest.Recording(t, lines))
	for {
		item, err := r.Next()
		if err == io.EOF {
			return ticks
		}
		require.NoError(t, err)
		for h, raw := range recording.Packets(item.Data) {
			body := codec.PacketBody(&h, raw[codec.PacketHeader:])
			batch := make([]feed.Tick, 100)
			n, err := body.Decode(batch)
			require.NoError(t, err)
			ticks = append(ticks, batch[:n]...)
		}
	}
}

// Numbers that no part has are gone, followed by the state of the next part; numbers that one part lost come
// from another; numbers that a recording withheld stay withheld if no other has them.
func TestJoinHoles(t *testing.T) {
	got, st, err := join(t, part(t, "", "seq:4"), part(t, "seq:7", ""))
	require.NoError(t, err)
	assert.Contains(t, got, "packet 2026-03-02T14:30:00Z base=0\n  gone 3 damaged\nrestate\nsnapshot\n")
	assert.Contains(t, got, "  quote MSFT 400 2 401 2\nend\npacket 2026-03-02T14:30:02Z\n")
	assert.Equal(t, []edit.Hole{{Range: feed.Range{From: 4, To: 7}, Why: recording.SkipDamaged, Unrecorded: true}}, st.Holes)

	damaged := strings.Replace(day, "packet 2026-03-02T14:30:01Z\n  quote MSFT 400 1 401 1\n  trade AAPL 187.5 1\n  quote MSFT 400 2 401 2\n", "bytes 0011\n", 1)
	damaged, _, _ = strings.Cut(damaged, "packet 2026-03-02T14:30:03Z\n")
	damaged = strings.Replace(damaged, "packet 2026-03-02T14:30:02Z\n", "packet 2026-03-02T14:30:02Z seq=7\n", 1) + "closed\n"
	_, st, err = join(t, damaged, part(t, "seq:9", ""))
	require.NoError(t, err)
	assert.Equal(t, []edit.Hole{{Range: feed.Range{From: 4, To: 7}, Why: recording.SkipDamaged}, {Range: feed.Range{From: 8, To: 9}, Why: recording.SkipDamaged, Unrecorded: true}}, st.Holes)
	assert.Equal(t, uint64(4), st.Missing)

	withheld := strings.Replace(day, "  quote MSFT 400 1 401 1\n  trade AAPL 187.5 1\n  quote MSFT 400 2 401 2\n", "  withheld 3\n", 1)
	got, st, err = join(t, withheld, part(t, "seq:4", "seq:6"))
	require.NoError(t, err)
	assert.Equal(t, []edit.Hole{{Range: feed.Range{From: 6, To: 7}, Why: recording.SkipWithheld}}, st.Holes)
	assert.Zero(t, st.Missing, "a recording lists them")
	assert.Contains(t, got, "  trade AAPL 187.5 1\n")
	assert.Contains(t, got, "  withheld 1\n")
}

// A message that was being written when a recording ended is not damage, but is counted.
func TestJoinTorn(t *testing.T) {
	whole := texttest.Recording(t, day)
	for cut := len(whole) - 1; cut > len(whole)*3/4; cut -= 7 {
		torn := whole[:cut]
		r := texttest.Reader(t, torn)
		lineage := r.Header().Lineage
		var end int64
		for {
			item, err := r.Next()
			if err == io.EOF {
				break
			}
			require.NoError(t, err)
			if item.Kind == recording.KindTorn {
				end = item.Size
			}
		}
		var out texttest.Memory
		st, err := edit.Join(context.Background(), &out, lineage, []*recording.Reader{texttest.Reader(t, torn), texttest.Reader(t, torn)}, nil)
		require.NoError(t, err)
		assert.Equal(t, 2*end, st.Torn, "of %d bytes %d", len(whole), cut)
		assert.Zero(t, st.Damages)
	}
}

// Numbers of a session beyond the beginning of a later one are left out.
func TestJoinDisowned(t *testing.T) {
	fork := `session lineage=00000000000000a1:1 mode=live source=day
packet 2026-03-02T14:30:00Z
  define #0 symbol=AAPL venue=XNAS price=-2
  define #1 symbol=MSFT price=-2
  quote AAPL 187 1 188 1
packet 2026-03-02T14:30:01Z
  quote MSFT 400 1 401 1
  trade AAPL 187.5 1
  quote MSFT 400 2 401 2
packet 2026-03-02T14:30:02Z
  quote AAPL 187.01 1 188 1
  quote AAPL 555 1 556 1
packet 2026-03-02T14:30:03Z
  quote AAPL 666 1 667 1
`
	got, st, err := join(t, fork, part(t, "seq:8", ""))
	require.NoError(t, err)
	assert.Equal(t, uint64(2), st.Left)
	assert.Equal(t, ticksOf(t, day), ticksOf(t, got))
}

// Recordings that disagree, have different lineages, or different instruments, are not joined.
func TestJoinRefuses(t *testing.T) {
	_, _, err := join(t, day, strings.Replace(day, "trade AAPL 187.5 1", "trade AAPL 187.5 2", 1))
	var disagree *edit.DisagreeError
	require.ErrorAs(t, err, &disagree)
	assert.Equal(t, edit.DisagreeError{A: 0, B: 1, Range: feed.Range{From: 4, To: 7}}, *disagree)
	_, _, err = join(t, day, strings.ReplaceAll(day, "a1:1", "b1:1"))
	assert.ErrorIs(t, err, edit.ErrUnrelated)
	_, _, err = join(t, day, strings.ReplaceAll(day, "a2:8", "a3:8"))
	assert.ErrorIs(t, err, edit.ErrUnrelated, "a fork")
	only, _, err := cut(t, day, "", "", "AAPL")
	require.NoError(t, err)
	_, _, err = join(t, day, only)
	var filters *edit.FiltersError
	assert.ErrorAs(t, err, &filters)
}

func merge(t testing.TB, parts ...string) (string, edit.MergeStats, error) {
	t.Helper()
	var readers []*recording.Reader
	for _, p := range parts {
		readers = append(readers, texttest.Reader(t, texttest.Recording(t, p)))
	}
	var out texttest.Memory
	h := codec.FileHeader{Lineage: feed.Lineage{{ID: 0xb1, First: 1}}, Next: 1}
	st, err := edit.Merge(context.Background(), &out, h, readers, place.PublishClock, nil)
	return toText(t, out.Bytes()), st, err
}

// Recordings of different lineages are merged by publish time with new numbers. An instrument in both becomes
// one, even if they write its prices differently; holes stay holes.
func TestMergeNumbersByPublishTime(t *testing.T) {
	a := `session lineage=a1:1
packet 2026-03-02T14:30:00Z
  define #0 symbol=AAPL venue=XNAS price=-2
  quote AAPL 187 1 188 1
packet 2026-03-02T14:30:02Z
  quote AAPL 187.02 1 188 1
packet 2026-03-02T14:30:04Z
  withheld 10
packet 2026-03-02T14:30:05Z
  quote AAPL 187.05 1 188 1
`
	b := `session lineage=c1:1,c2:9 next=9
snapshot
part 2026-03-02T14:30:00.5Z
  define #0 symbol=MSFT price=-2
  quote MSFT 400 1 401 1
  define #1 symbol=AAPL venue=XNAS price=-4
end
packet 2026-03-02T14:30:01Z
  quote AAPL 187.0101 1 188 1
packet 2026-03-02T14:30:03Z
  quote MSFT 403 1 404 1
`
	got, st, err := merge(t, a, b)
	require.NoError(t, err)
	assert.Equal(t, `session lineage=00000000000000b1:1 mode=live
packet 2026-03-02T14:30:00Z
  define #0 symbol=AAPL venue=XNAS price=-2
  quote AAPL 187 1 188 1
packet 2026-03-02T14:30:01Z base=0
  define #1 symbol=MSFT price=-2
packet 2026-03-02T14:30:01Z base=2026-03-02T14:30:00.5Z
  quote MSFT 400 1 401 1
  define @0 #0 symbol=AAPL venue=XNAS price=-4
  clear @0 AAPL both
packet 2026-03-02T14:30:01Z
  quote AAPL 187.0101 1 188 1
packet 2026-03-02T14:30:02Z
  define #0 symbol=AAPL venue=XNAS price=-2
  quote AAPL 187.02 1 188 1
packet 2026-03-02T14:30:03Z
  quote MSFT 403 1 404 1
`, strings.Split(got, "packet 2026-03-02T14:30:05Z")[0])
	assert.Contains(t, got, "packet 2026-03-02T14:30:05Z base=0\n  withheld 10\nrestate\nsnapshot\n")
	assert.Contains(t, got, "end\npacket 2026-03-02T14:30:05Z\n  quote AAPL 187.05 1 188 1\nclosed\n")
	assert.Equal(t, 2, st.Instruments)
	assert.Equal(t, uint64(10), st.Sources[0].Withheld)

	_, _, err = merge(t, "session lineage=a1:1\n")
	assert.ErrorIs(t, err, edit.ErrEmpty)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_, err = edit.Merge(ctx, &texttest.Memory{}, codec.FileHeader{Lineage: feed.Lineage{{ID: 1, First: 1}}, Next: 1}, []*recording.Reader{texttest.Reader(t, texttest.Recording(t, a))}, place.PublishClock, nil)
	assert.True(t, errors.Is(err, context.Canceled))
}

// Ticks with equal publish times come in the order of the recordings.
func TestMergeTies(t *testing.T) {
	one := `session lineage=a1:1
packet 2026-03-02T14:30:00Z
  define #0 symbol=A price=-2
packet 2026-03-02T14:30:01Z
  quote A 1 1 2 1
packet 2026-03-02T14:30:02Z
  quote A 2 1 3 1
`
	two := strings.NewReplacer("a1", "b1", "A", "B").Replace(one)
	for _, order := range [][]string{{one, two}, {two, one}} {
		got, _, err := merge(t, order...)
		require.NoError(t, err)
		var symbols []string
		for _, line := range strings.Split(got, "\n") {
			if f := strings.Fields(line); len(f) > 1 && f[0] == "quote" {
				symbols = append(symbols, f[1])
			}
		}
		first, second := "A", "B"
		if order[0] == two {
			first, second = "B", "A"
		}
		assert.Equal(t, []string{first, second, first, second}, symbols)
	}
}
