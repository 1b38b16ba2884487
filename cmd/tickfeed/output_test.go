package main

import (
	"errors"
	"math"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tickfeed/feed"
	"tickfeed/feed/files/textfile"
)

const noon = 1_772_461_800_000_000_000

// definedThen returns ticks, which are of instrument 0, after its definition, numbered from 1.
func definedThen(ticks ...feed.Tick) []feed.Tick {
	def := feed.Definition{Symbol: `A"B,C`, Venue: "XNAS", PriceExponent: -2, Currency: "USD", TickSize: 1, Lot: 100}
	ticks = append([]feed.Tick{{Kind: feed.KindDefinition, EventTime: noon, Extra: &feed.Extra{Definition: &def}}}, ticks...)
	for i := range ticks {
		ticks[i].Seq = uint64(i + 1)
	}
	return ticks
}

// printed returns the lines of ticks for people, in a terminal of width columns; 0 if there is none.
func printed(t *testing.T, width int, ticks []feed.Tick) string {
	t.Helper()
	var b strings.Builder
	require.NoError(t, newPrinter(&b, &textFormat{width: width}).batch(0xdeadbeef, noon+5, ticks, nil))
	return b.String()
}

// A price that is not known is - in text, never the number that stands for it.
func TestUnknownPricesAreDashes(t *testing.T) {
	text := printed(t, 0, definedThen(
		feed.Quote{Bid: feed.NoPrice, Ask: feed.NoPrice}.Tick(0, noon),
		feed.Trade{Price: feed.NoPrice, Size: 7, ID: 1}.Tick(0, noon),
		feed.Correction{OldPrice: feed.NoPrice, OldSize: 2, Trade: feed.Trade{Price: 3, Size: 4}}.Tick(0, noon, "A-17"),
		feed.Correction{OldPrice: 5, OldSize: 2, Trade: feed.Trade{Price: feed.NoPrice, Size: 4}}.Tick(0, noon, "A-17"),
		feed.Cancel{Price: feed.NoPrice}.Tick(0, noon, "A-17"),
	))
	assert.NotContains(t, text, "9223372036854775808"[:9])
	lines := strings.Split(text, "\n")
	assert.Regexp(t, `trade +- x 7 +#1$`, lines[2])
	assert.Regexp(t, `was - x 2$`, lines[3])
	assert.Regexp(t, `cancel +- +#A-17$`, lines[5])
}

// Lines of text are aligned, have no trailing blanks, and are wrapped to the terminal.
func TestTextLinesAreAligned(t *testing.T) {
	conditions, err := feed.ParseConditions(`F,"\`)
	require.NoError(t, err)
	every := definedThen(append([]feed.Tick{
		feed.Quote{Bid: 12345, BidSize: 10, Ask: feed.NoPrice}.Tick(0, noon),
		feed.Trade{Price: 12345, Size: 7, ID: math.MaxUint64, Conditions: conditions, Side: feed.SideBuy}.Tick(0, noon),
	}, slices.Concat(everyField(0)...)...)...)
	lines := strings.Split(strings.TrimSpace(printed(t, 0, every)), "\n")
	assert.Equal(t, `     2 14:30:00.000 A"B,C@XNAS    quote        123.45 x 10   |        -`, lines[1])
	assert.Equal(t, `     3 14:30:00.000 A"B,C@XNAS    trade        123.45 x 7    buy  #18446744073709551615  [F,"\]`, lines[2])
	for _, l := range lines {
		assert.Equal(t, strings.TrimRight(l, " "), l)
	}
	// Prices keep the decimals of the tick size, and of the longest price before, so that they line up.
	def := feed.Tick{Kind: feed.KindDefinition, Seq: 1, Extra: &feed.Extra{Definition: &feed.Definition{Symbol: "A", PriceExponent: -4, TickSize: 100}}}
	sides := []feed.Tick{def}
	for _, price := range []int64{1875000, 1870000, 1870050, 1880000} {
		sides = append(sides, feed.Trade{Price: price, Size: 1}.Tick(0, noon))
	}
	lines = strings.Split(printed(t, 0, sides), "\n")
	for i, want := range []string{" 187.50 x 1", " 187.00 x 1", " 187.005 x 1", " 188.000 x 1"} {
		assert.Contains(t, lines[i+1], want)
	}
	// On a terminal long lines are broken, below the values.
	for _, l := range strings.Split(printed(t, 80, every), "\n") {
		assert.LessOrEqual(t, cells(l), 80, l)
	}
	assert.Contains(t, printed(t, 80, every), "\n"+valuesIndent+"#18446744073709551615")
	assert.Equal(t, "23:59:59.999", string(new(textFormat).timeOfDay(nil, -1)))
}

type broken struct{ err error }

func (b broken) Write([]byte) (int, error) { return 0, b.err }

// A printer returns errOutputClosed if the reader of a pipe is gone, and any other error as it is.
func TestClosedOutputIsNotAFailure(t *testing.T) {
	err := newPrinter(broken{&os.PathError{Op: "write", Path: "|1", Err: syscall.EPIPE}}, textfile.JSONFormat{}).batch(1, 1, definedThen(), nil)
	assert.ErrorIs(t, err, errOutputClosed)
	failed := errors.New("no space left on device")
	err = newPrinter(broken{failed}, textfile.JSONFormat{}).batch(1, 1, definedThen(), nil)
	assert.ErrorIs(t, err, failed)
	assert.NotErrorIs(t, err, errOutputClosed)
}

// A status has its reason and expected end in text, and an auction its kind, imbalance and time.
func TestTextStatusesAndAuctions(t *testing.T) {
	text := printed(t, 0, definedThen(
		feed.StatusTick(0, noon, feed.StatusHalted, 0).Because(`LU"DP`, noon+300e9),
		feed.Auction{Kind: feed.AuctionClosing, Price: 18725, Size: 70_000, Side: feed.SideSell, Imbalance: 1200, Time: noon + 60e9}.Tick(0, noon),
		feed.Auction{Price: feed.NoPrice}.Tick(0, noon),
	))
	assert.Contains(t, text, `LU"DP  until `)
	assert.Contains(t, text, "closing  ")
	assert.Contains(t, text, "  imbalance 1200 sell  at ")
}

// batch appends ticks and flushes.
func (p *printer) batch(session feed.SessionID, publish int64, ticks []feed.Tick, state *feed.State) error {
	if err := p.append(session, publish, ticks, state); err != nil {
		return err
	}
	return p.flush()
}
