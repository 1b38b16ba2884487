package wscap_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tickfeed/feed"
	"tickfeed/feed/files/wscap"
)

// krakenSnapshot is the book of "Spot Websockets (v1) Book Checksum" of Kraken's documentation,
// whose checksum is 974947235 once the size at 0.05000 is 0.00000500.
func krakenSnapshot(sizeOfBest string) string {
	level := func(price, size string) string { return `["` + price + `","` + size + `","1582905487.000000"]` }
	var bids, asks []string
	for _, p := range strings.Fields("0.05005 0.05010 0.05015 0.05020 0.05025 0.05030 0.05035 0.05040 0.05045 0.05050") {
		asks = append(asks, level(p, "0.00000500"))
	}
	for _, p := range strings.Fields("0.05000 0.04995 0.04990 0.04980 0.04975 0.04970 0.04965 0.04960 0.04955 0.04950") {
		size := "0.00000500"
		if p == "0.05000" {
			size = sizeOfBest
		}
		bids = append(bids, level(p, size))
	}
	return `1582905488.0: [0,{"as":[` + strings.Join(asks, ",") + `],"bs":[` + strings.Join(bids, ",") + `]},"book-10","XBT/USD"]`
}

// krakenUpdate is a change of that book.
func krakenUpdate(objects string) string {
	return `1582905489.0: [0,` + objects + `,"book-10","XBT/USD"]`
}

// Kraken spot, version 1: a book begins with its snapshot, and each update is checked against
// its checksum. A level beyond the depth is removed, although no message removes it.
func TestKrakenArrayBook(t *testing.T) {
	ticks, st, state, err := ticksOf(t, wscap.Config{},
		krakenUpdate(`{"b":[["0.05000","0.00000100","1582905480.1"]],"c":"1"}`), // before the snapshot
		krakenSnapshot("0.00000304"),
		krakenUpdate(`{"b":[["0.05000","0.00000500","1582905488.493008"]],"c":"974947235"}`),
		krakenUpdate(`{"a":[["0.05001","1.00000000","1582905488.500000"]],"c":"2782141652"}`),
		krakenUpdate(`{"a":[["0.05001","0.00000000","1582905488.600000"],["0.05050","0.00000500","1582905487.000000","r"]]},{"b":[["0.04950","0.00000500","1582905487.0"]],"c":"974947235"}`))
	require.NoError(t, err)
	assert.Zero(t, st.Gaps, "%v", st.Reports)
	assert.Equal(t, []int64{1, 3, 1}, []int64{st.Snapshots, st.Updates, st.Unanchored})
	d, _ := state.Definition(0)
	assert.Equal(t, "XBT/USD@KRAKEN", d.Name())

	told := without(ticks, feed.KindDefinition)
	require.Len(t, told, 1+20+1+2+3)
	assert.Equal(t, feed.KindClear, told[0].Kind)
	tick := func(side feed.Side, price, size, at int64, more bool) feed.Tick {
		t := feed.Level{Side: side, Price: price, Size: size}.Tick(0, at)
		if more {
			t.Flags = feed.FlagMore
		}
		return t
	}
	assert.Equal(t, []feed.Tick{
		tick(feed.SideBuy, 5000, 500, 1582905488493008000, false),
		tick(feed.SideSell, 5001, 100000000, 1582905488500000000, true),
		tick(feed.SideSell, 5050, 0, 1582905488500000000, false), // the eleventh
		tick(feed.SideSell, 5001, 0, 1582905488600000000, true),
		tick(feed.SideSell, 5050, 500, 1582905488600000000, true),
	}, told[21:26])
	in, _ := state.Instrument(0)
	assert.Len(t, in.Bids, 10)
	assert.Len(t, in.Asks, 10)
	assert.EqualValues(t, 5005, in.Asks[0].Price)
}

// A checksum that does not match the book means that updates are missing: the book is cleared and
// waits for its next snapshot. A late or repeated update of another collector does not clear the book.
func TestKrakenBookChecksum(t *testing.T) {
	good := krakenUpdate(`{"b":[["0.05000","0.00000500","1582905488.5"]],"c":"974947235"}`)
	insert := krakenUpdate(`{"a":[["0.05001","1.00000000","1582905488.6"]],"c":"2782141652"}`)
	remove := krakenUpdate(`{"a":[["0.05001","0","1582905488.7"],["0.05050","0.00000500","1582905487.0","r"]],"c":"974947235"}`)
	for _, c := range []struct {
		name                                  string
		lines                                 []string
		gaps, repeated, unanchored, snapshots int64
		bids                                  int
	}{
		{"an update is missing", []string{krakenSnapshot("0.00000304"), insert, good}, 1, 0, 1, 1, 0},
		{"and a snapshot follows", []string{krakenSnapshot("0.00000304"), insert, good, krakenSnapshot("0.00000500"), insert}, 1, 0, 1, 2, 10},
		{"late", []string{krakenSnapshot("0.00000304"), good, insert, good}, 0, 1, 0, 1, 10},
		{"back to an earlier state", []string{krakenSnapshot("0.00000500"), insert, remove, insert, remove}, 0, 2, 0, 1, 10},
		{"older than the snapshot", []string{krakenSnapshot("0.00000500"),
			krakenUpdate(`{"b":[["0.05000","0.00000100","1582905486.5"],["0.04999","0.1","1582905486.5"]],"c":"1"}`), insert}, 0, 1, 0, 1, 10},
		{"twice", []string{krakenSnapshot("0.00000304"), good, good, insert, insert}, 0, 2, 0, 1, 10},
		{"a second subscription", []string{krakenSnapshot("0.00000304"), good, strings.Replace(krakenSnapshot("0.00000304"), "book-10", "book-25", 1), insert}, 0, 1, 0, 1, 10},
		{"without checksums", []string{krakenSnapshot("0.00000304"), krakenUpdate(`{"b":[["0.05000","0","1582905488.5"]]}`)}, 0, 0, 0, 1, 9},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, st, state, err := ticksOf(t, wscap.Config{}, c.lines...)
			require.NoError(t, err)
			assert.Equal(t, []int64{c.gaps, c.repeated, c.unanchored, c.snapshots},
				[]int64{st.Gaps, st.Repeated, st.Unanchored, st.Snapshots}, "%v", st.Reports)
			in, _ := state.Instrument(0)
			assert.Len(t, in.Bids, c.bids)
		})
	}
}

// krakenObject is a message of version 2 about the book of "Spot Websockets (v2) Book Checksum".
func krakenObject(kind, bids, asks, rest string) string {
	list := func(pairs string) string {
		var all []string
		for _, pair := range strings.Fields(pairs) {
			price, size, _ := strings.Cut(pair, "x")
			all = append(all, fmt.Sprintf(`{"price":%s,"qty":%s}`, price, size))
		}
		return "[" + strings.Join(all, ",") + "]"
	}
	return `1696613755.5: {"channel":"book","type":"` + kind + `","data":[{"symbol":"BTC/USD","bids":` + list(bids) + `,"asks":` + list(asks) + rest + `}]}`
}

const (
	krakenBids = "45283.5x0.10000000 45283.4x1.54582015 45282.1x0.10000000 45281.0x0.10000000 45280.3x1.54592586 " +
		"45279.0x0.07990000 45277.6x0.03310103 45277.5x0.30000000 45277.3x1.54602737 45276.6x0.15445238"
	krakenAsks = "45285.2x0.00100000 45286.4x1.54571953 45286.6x1.54571109 45289.6x1.54560911 45290.2x0.15890660 " +
		"45291.8x1.54553491 45294.7x0.04454749 45296.1x0.35380000 45297.5x0.09945542 45299.5x0.18772827"
)

// Kraken spot, version 2: the snapshot has a checksum too, which is right even if a recorder has cut zeros off
// the numbers. The confirmation of a subscription states the depth.
func TestKrakenObjectBook(t *testing.T) {
	update := krakenObject("update", "45283.6x0.25000000", "", `,"checksum":1315439348,"timestamp":"2023-10-06T17:35:55.440295Z"`)
	shallow := strings.ReplaceAll(strings.ReplaceAll(krakenBids, "0000 ", " "), ".0x", "x")
	for _, c := range []struct {
		name     string
		lines    []string
		bids     int
		reported string
	}{
		{"as sent", []string{krakenObject("snapshot", krakenBids, krakenAsks, `,"checksum":3310070434`), update}, 10, ""},
		{"zeros cut", []string{krakenObject("snapshot", shallow, krakenAsks, `,"checksum":3310070434`), update}, 10, ""},
		{"depth stated", []string{
			`1696613755.1: {"method":"subscribe","result":{"channel":"book","depth":25,"snapshot":true,"symbol":"BTC/USD"},"success":true,"time_in":"2023-10-06T17:35:55.0Z"}`,
			krakenObject("snapshot", krakenBids, krakenAsks, `,"checksum":3310070434`), update}, 11, ""},
		{"changed by a program", []string{krakenObject("snapshot", krakenBids, krakenAsks, `,"checksum":1`), update}, 10, "the book is not checked"},
	} {
		t.Run(c.name, func(t *testing.T) {
			ticks, st, state, err := ticksOf(t, wscap.Config{}, c.lines...)
			require.NoError(t, err)
			assert.Equal(t, []int64{0, 1, 1}, []int64{st.Gaps, st.Snapshots, st.Updates}, "%v", st.Reports)
			in, _ := state.Instrument(0)
			require.Len(t, in.Bids, c.bids)
			assert.Equal(t, []int64{452836, 25000000}, []int64{in.Bids[0].Price, in.Bids[0].Size})
			last := ticks[len(ticks)-1]
			assert.EqualValues(t, 1696613755440295000, last.EventTime)
			assert.Zero(t, last.Flags&feed.FlagMore)
			assert.Contains(t, fmt.Sprint(st.Reports), c.reported)
			assert.Equal(t, c.reported == "", len(st.Reports) == 0)
		})
	}
}

// Messages about a book that cannot be read are bad lines, and change nothing.
func TestKrakenBadBooks(t *testing.T) {
	for line, reason := range map[string]string{
		krakenUpdate(`{"b":[["0.05000","0.1"]]}`):                                  "not a time",
		krakenUpdate(`{"b":[["0.05000"]]}`):                                        "not a level",
		krakenUpdate(`{"b":[["x","0.1","1582905488.5"]]}`):                         "not a decimal",
		`1.5: [0,{"b":[["1","1","2.5"]]},"book-x","XBT/USD"]`:                      "not the depth of a book",
		`1.5: [0,{"b":[["1","1","2.5"]]},"book-9999","XBT/USD"]`:                   "not the depth of a book",
		krakenObject("update", "1x", "", ""):                                       "not JSON",
		krakenObject("update", "nullx1", "", ""):                                   "want price and qty",
		strings.Replace(krakenObject("update", "1x1", "", ""), `"BTC/USD"`, "", 1): "not JSON",
	} {
		_, st, state, err := ticksOf(t, wscap.Config{SkipBad: 9}, krakenSnapshot("0.00000500"), krakenObject("snapshot", krakenBids, krakenAsks, ""), line)
		require.NoError(t, err)
		if assert.NotNil(t, st.FirstBad, line) && reason != "not JSON" {
			assert.Contains(t, st.FirstBad.Reason, reason, line)
		}
		in, _ := state.Instrument(0)
		assert.Len(t, in.Bids, 10)
	}
}

// The messages of the book channel in Kraken's documentation, whose numbers have lost the zeros at their
// ends: both checksums fit.
func TestKrakenDocumentedBook(t *testing.T) {
	message := func(rest string) string {
		return strings.Replace(rest, "BTC/USD", "MATIC/USD", 1)
	}
	_, st, state, err := ticksOf(t, wscap.Config{},
		message(krakenObject("snapshot",
			"0.5666x4831.75496356 0.5665x6658.22734739 0.5664x18724.91513344 0.5663x11563.92544914 0.5662x14006.65365711 "+
				"0.5661x17454.85679807 0.566x18097.1547 0.5659x33644.89175666 0.5658x148.3464 0.5657x606.70854372",
			"0.5668x4410.79769741 0.5669x4655.40412487 0.567x49844.89424998 0.5671x24306.41678 0.5672x29783.25223475 "+
				"0.5673x57234.71239278 0.5674x45065.04744 0.5675x5912.76380354 0.5676x42514.92434778 0.5677x36304.0847022",
			`,"checksum":2439117997,"timestamp":"2023-10-06T17:35:55.440295Z"`)),
		message(krakenObject("update", "0.5657x1098.3947558", "", `,"checksum":2114181697,"timestamp":"2023-10-06T17:35:55.440295Z"`)))
	require.NoError(t, err)
	assert.Equal(t, []int64{0, 0, 1, 1}, []int64{st.Gaps, st.Repeated, st.Snapshots, st.Updates}, "%v", st.Reports)
	assert.Empty(t, st.Reports)
	in, _ := state.Instrument(0)
	assert.EqualValues(t, 109839475580, in.Bids[9].Size)
}
