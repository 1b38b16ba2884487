package facts

import (
	"fmt"
	"math"
	"strconv"
)

// A Row is one statistic, with the range in which those of real days lie.
type Row struct {
	ID     string // such as 1a: the number of the statistic, and a letter if it has several values
	Name   string
	Range  Range
	Source string
	Only   Only
}

// A Range is [Low, High]. An end is open if it is infinite.
type Range struct{ Low, High float64 }

// Holds reports whether v lies in the range.
func (r Range) Holds(v float64) bool { return v >= r.Low && v <= r.High }

func (r Range) String() string {
	number := func(v float64) string { return strconv.FormatFloat(v, 'g', -1, 64) }
	switch {
	case math.IsInf(r.Low, -1):
		return "≤ " + number(r.High)
	case math.IsInf(r.High, 1):
		return "≥ " + number(r.Low)
	case r.Low == -r.High:
		return "±" + number(r.High)
	}
	return fmt.Sprintf("%s to %s", number(r.Low), number(r.High))
}

// Only says to which instruments a row applies.
type Only uint8

// The instruments to which a row applies.
const (
	All      Only = iota
	Quiet         // instruments with QuietFrom to QuietTo events a second
	Equities      // instruments whose sizes are whole shares
	Depth         // instruments with level ticks at several prices
)

// QuietFrom and QuietTo bound the rates of quiet instruments, in events a second. The windows of the rows for quiet ones hold
// hardly an event below them, and many events each above.
const (
	QuietFrom = 2
	QuietTo   = 10
)

func (o Only) String() string { return [...]string{"", "quiet", "equities", "depth"}[o] }

var inf = math.Inf(1)

const (
	cont    = "Cont 2001; arXiv 1912.04941"
	ownData = "our measurement of AMZN and GOOG on one day"
	shape   = "common finding: busy at the open and the close"
	widens  = "common finding: spreads widen with volatility"
	sizes   = "common finding: sizes with heavy tails"
)

// Rows are the statistics of one instrument. Row 19, the distance of two recordings, is [Distance].
//
// The ranges are those of the sources, narrowed where the real days that the tests read (two stocks on one day, and minutes of
// coins for rows 6 to 8) and the medians of the simulated market, quiet and busy, flat and U-shaped, both leave room. The other
// rows stay as wide as the sources say: kurtosis and impact after 200 trades vary from day to day (1a, 9d), autocorrelations
// of returns are noise about 0 (3), one day of AMZN is close to the end (4, 9c), coins and stocks are at the two ends (7c, 7d,
// 8), 4 to 30 were measured elsewhere (10a), the busiest second grows with the days (12), and no whole day with depth was
// at hand (18a to 18c).
var Rows = []Row{
	{"1a", "excess kurtosis of returns, 1 s", Range{5, 150}, cont, All},
	{"1b", "excess kurtosis of returns, 60 s", Range{1, 12}, cont, All},
	{"1c", "kurtosis at 60 s / at 1 s", Range{-inf, 0.6}, cont, All},
	{"2", "tail index of 10 s returns", Range{2.5, 4}, cont, All},
	{"3a", "autocorrelation of 10 s returns", Range{-0.1, 0.1}, cont, All},
	{"3b", "autocorrelation of 60 s returns", Range{-0.2, 0.2}, cont, All},
	{"4a", "of absolute 10 s returns, lag 1", Range{0.1, 0.4}, cont, All},
	{"4b", "of absolute 10 s returns, lag 6", Range{0.05, inf}, cont, All},
	{"4c", "of absolute 10 s returns, lag 30", Range{0, inf}, cont, All},
	{"5", "variance ratio, 1 s / 300 s", Range{0.8, 1.6}, "signature plot", All},
	{"6", "autocorrelation of trade returns", Range{-0.25, -0.03}, "Roll 1984", All},
	{"7a", "of trade signs, 1 trade later", Range{0.55, 0.85}, "Lillo, Farmer 2004; arXiv 1504.04354", All},
	{"7b", "of trade signs, 5 trades later", Range{0.3, 0.7}, "Lillo, Farmer 2004", All},
	{"7c", "of trade signs, 10 trades later", Range{0.15, 0.6}, "Lillo, Farmer 2004", All},
	{"7d", "of trade signs, 50 trades later", Range{0, 0.35}, "Lillo, Farmer 2004", All},
	{"8", "next move follows the imbalance", Range{0.55, 0.85}, "arXiv 1512.03492", All},
	{"9a", "impact in spreads, R(50)", Range{0.2, 0.5}, "arXiv cond-mat/0307332", All},
	{"9b", "impact R(1) / R(10)", Range{-inf, 0.6}, "arXiv cond-mat/0307332", All},
	{"9c", "impact R(10) / R(50)", Range{-inf, 1}, "arXiv cond-mat/0307332", All},
	{"9d", "impact R(200) / R(50)", Range{0.5, 2}, "arXiv cond-mat/0307332", All},
	{"10a", "time between events, std dev / mean", Range{2.5, 60}, "arXiv 1302.1405", All},
	{"10b", "time between events, p99 / median", Range{1000, inf}, "arXiv 1406.3967", All},
	{"11a", "variance / mean of counts in 0.1 s", Range{7, 20}, "arXiv 1403.5227", Quiet},
	{"11b", "variance / mean of counts in 1 s", Range{12, 30}, "arXiv 1403.5227", Quiet},
	{"12", "busiest second / mean second", Range{40, 200}, ownData, All},
	{"13a", "events, first half hour / midday", Range{1.2, 4.5}, shape, All},
	{"13b", "events, last half hour / midday", Range{1.5, 4}, shape, All},
	{"14", "log spread with log volatility, 5 min", Range{0.4, inf}, widens, All},
	{"15a", "trade size, p99 / median", Range{4, 16}, sizes, All},
	{"15b", "trade size, tail index", Range{1.3, 3}, sizes, All},
	{"15c", "trade size, share of round lots", Range{0.3, 0.45}, ownData, Equities},
	{"16", "correlation at 1 s / at 60 s (Epps)", Range{-inf, 0.6}, "Epps 1979", All},
	{"17", "share of 1 s returns that are 0", Range{0.6, 0.8}, ownData, Quiet},
	{"18a", "mean queue, deepest of levels 2-4 / 1st", Range{1, inf}, "LOB-Bench, arXiv 2502.09172", Depth},
	{"18b", "mean queue, last level / deepest", Range{-inf, 1}, "LOB-Bench", Depth},
	{"18c", "cancels / trades", Range{5, inf}, "LOB-Bench", Depth},
	{"18d", "share of new orders at levels 1-3", Range{0.6, 1}, "LOB-Bench", Depth},
}
