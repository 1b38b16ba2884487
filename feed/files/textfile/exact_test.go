package textfile_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tickfeed/feed/files/textfile"
)

// An instrument is defined again, under the same id, before the tick that needs more
// decimals; no digit is lost, and a bad line changes no definition.
func TestExponentsGrowWithoutLoss(t *testing.T) {
	got, _, err := read(t, "time,symbol,price,size\n"+
		"1772461800,A,1.5,1\n"+
		"1772461800,A,0.00001,1\n"+
		"1772461800,A,0.000000001,x\n"+
		"1772461800,A,2.50000000000,0.5\n"+
		"1772461800,A,1e2,1e-3\n"+
		"1772461800,B,1e-7,1E+3\n", textfile.Config{PriceExponent: -2, SkipBad: 1})
	require.NoError(t, err)
	assert.Equal(t, []string{
		"0 0 definition A 10^-2 10^0",
		`0 trade A 1.5 x 1 id 0 ""`,
		"0 0 definition A 10^-5 10^0",
		`0 trade A 0.00001 x 1 id 0 ""`,
		"0 0 definition A 10^-5 10^-1",
		`0 trade A 2.5 x 0.5 id 0 ""`,
		"0 0 definition A 10^-5 10^-3",
		`0 trade A 100 x 0.001 id 0 ""`,
		"1 0 definition B 10^-7 10^0",
		`0 trade B 0.0000001 x 1000 id 0 ""`,
	}, got)
}

// The rounding errors of another program's floats do not make an instrument finer,
// and a trade with an empty size is a trade whose size is not known.
func TestTracesOfFloats(t *testing.T) {
	got, stats, err := read(t, "time,symbol,price,size\n"+
		"1772461800,A,11649.98,0.30000000000000004\n"+
		"1772461800,A,11649.98,149.99999999999997\n"+
		"1772461800,A,0.010000000000000002,150\n"+
		"1772461800,A,-1.1000000000000001,\n"+
		"1772461800,B,1,0.12345678901234567\n"+ // digits that count
		"1772461800,B,1,0.000000000000000001\n", textfile.Config{})
	require.NoError(t, err)
	assert.Equal(t, []string{
		"0 0 definition A 10^-4 10^-1",
		`0 trade A 11649.98 x 0.3 id 0 ""`,
		`0 trade A 11649.98 x 150 id 0 ""`,
		`0 trade A 0.01 x 150 id 0 ""`,
		`0 trade A -1.1 x 0 id 0 ""`,
		"1 0 definition B 10^-4 10^-17",
		`0 trade B 1 x 0.12345678901234567 id 0 ""`,
		"1 0 definition B 10^-4 10^-18",
		`0 trade B 1 x 0.000000000000000001 id 0 ""`,
	}, got)
	assert.EqualValues(t, 4, stats.Rounded)
}

// If a volume does not fit with the decimals of a row, a note reports that it was dropped.
func TestForgottenVolumeIsNoted(t *testing.T) {
	_, stats, err := read(t, "time,symbol,price,size\n"+strings.Repeat("1772461800,A,1,5\n", 40)+"1772461800,A,1,0.12345678901234567\n1772461800,A,1,5\n", textfile.Config{})
	require.NoError(t, err)
	assert.Equal(t, []string{`stdin: line 42 needs so many decimals that the volume of "A" before it does not fit 64 bits and is not kept`}, stats.Notes)
}

// A tick size and a lot keep their value when the exponents get finer.
func TestExponentsKeepSteps(t *testing.T) {
	const def = `{"type":"definition","time":1772461800,"symbol":"A","price_exponent":-2,"tick_size":0.25,"lot":100}` + "\n"
	got, _, err := read(t, def+`{"time":1772461800,"symbol":"A","price":0.125,"size":0.5}`+"\n", textfile.Config{})
	require.NoError(t, err)
	assert.Equal(t, []string{
		"0 0 definition A 10^-2 10^0 tick 0.25 lot 100 ",
		"0 0 definition A 10^-3 10^-1 tick 0.25 lot 100 ",
		`0 trade A 0.125 x 0.5 id 0 ""`,
	}, got)
	_, _, err = read(t, strings.Replace(def, "100", "9e18", 1)+`{"time":1772461800,"symbol":"A","price":1,"size":0.5}`+"\n", textfile.Config{})
	assert.ErrorContains(t, err, "tick size or lot")
}
