package page

import (
	"encoding/xml"
	"io"
	"math"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tickfeed/feed"
	"tickfeed/feed/facts"
)

// The page is one file without scripts and references, its plots are well formed, and names are escaped.
func TestPageIsOneFileWithoutScripts(t *testing.T) {
	points := []facts.Point{{X: 1, Y: 0.5}, {X: 10, Y: 2}, {X: 100, Y: math.NaN()}, {X: 1000, Y: 1}}
	in := facts.Instrument{
		Definition: feed.Definition{Symbol: "<A>"}, Values: map[string]float64{"1a": 10, "2": 9},
		Stops: []facts.Stop{{At: 10e9, Status: feed.StatusHalted, Reason: "<news>"}, {At: 5000e9, Status: feed.StatusAuction}},
		Path:  points, Shape: points, Returns: points, Gaps: points, Impact: points, Sizes: points,
	}
	whole := facts.Whole{Ticks: 1000, Quotes: 999, Levels: 1, Rate: 2, BusiestSecond: 30, BusiestTenth: 20, FanoSecond: 7.5, FanoTenth: 3.25}
	r := &facts.Report{Whole: whole, Instruments: []facts.Instrument{in, {}, {}, {}, {}}}
	var b strings.Builder
	require.NoError(t, Write(&b, []Recording{{"a & b", r, nil}, {"c", r, []facts.Distances{{Spread: 1}}}}))
	html := b.String()
	assert.NotContains(t, html, "<A>")
	assert.Contains(t, html, "&lt;A&gt;")
	assert.Contains(t, html, "a &amp; b")
	assert.NotContains(t, html, "NaN")
	assert.NotRegexp(t, `<script|<link|src=|url\(|https?:`, html)
	assert.Contains(t, html, `<td class="in">10</td>`)
	assert.Contains(t, html, `<td class="out">9.00*</td>`)
	assert.Contains(t, html, "mean 0.25")
	assert.Contains(t, html, "<title>halted 00:00:10: &lt;news&gt;</title>")
	assert.NotContains(t, html, "<title>auction", "it is not within the path")
	assert.Contains(t, html, "minutes; dashed: halts and auctions begin")
	assert.Contains(t, html, "Whole feed: 1,000 ticks (999 quotes, 1 level), 2 a second; busiest second 30 (15 × the mean), busiest 0.1 s 20; variance / mean of counts 7.5 in 1 s, 3.25 in 0.1 s")
	plots := regexp.MustCompile(`(?s)<svg.*?</svg>`).FindAllString(html, -1)
	assert.Len(t, plots, 2*maxShown*13)
	for _, plot := range plots {
		d := xml.NewDecoder(strings.NewReader(plot))
		for {
			if _, err := d.Token(); err == io.EOF {
				break
			} else {
				require.NoError(t, err, plot)
			}
		}
	}
	require.NoError(t, Write(io.Discard, []Recording{{"nothing", &facts.Report{}, nil}}))
}

func TestAxisHasRoundTicks(t *testing.T) {
	a := span([]float64{0, 7.3}, false, false)
	assert.Equal(t, []float64{0, 2, 4, 6}, a.ticks(4))
	a = span([]float64{0.01, 1000}, true, false)
	assert.InDeltaSlice(t, []float64{0.01, 0.1, 1, 10, 100, 1000}, a.ticks(6), 1e-9)
	assert.Equal(t, []float64{5, 6}, []float64{span([]float64{5, 5}, false, false).from, span([]float64{5, 5}, false, false).to})
}

func TestNumberHasThreeDigits(t *testing.T) {
	for want, v := range map[string]float64{"0": -0.0000000000000001, "0.123": 0.12345, "12.3": 12.345, "1,234": 1234.4, "12,345": 12345, "-6,880": -6880, "999": 999.4, "1,000": 999.6, "1.23M": 1.2345e6, "-2G": -2e9} {
		assert.Equal(t, want, number(v))
	}
}

// Figures have a unit, and no sign without a value.
func TestFiguresAreReadable(t *testing.T) {
	for want, v := range map[string]float64{"100 ns": 1e-7, "10 µs": 1e-5, "1 ms": 0.001, "100 ms": 0.1, "1 s": 1, "1,000 s": 1000} {
		assert.Equal(t, want, seconds(v))
	}
	assert.Equal(t, []string{"0.00", "-0.01", "1,234"}, []string{cellNumber(-0.001), cellNumber(-0.01), cellNumber(1234)})
	var text strings.Builder
	whole := facts.Whole{Ticks: 7800, BusiestSecond: 1234}
	require.NoError(t, Write(&text, []Recording{{"x", &facts.Report{Whole: whole, Instruments: []facts.Instrument{{Events: 1537, Trades: 1}}}, nil}}))
	assert.Contains(t, text.String(), "Whole feed: 7,800 ticks (")
	assert.Contains(t, text.String(), "busiest second 1,234 ")
	assert.Contains(t, text.String(), "1,537 events, 0 quotes, 1 trade, 0 levels;")
}
