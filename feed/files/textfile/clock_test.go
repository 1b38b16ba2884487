package textfile

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Each way to write one instant is read to the nanosecond.
func TestTimesAreReadToTheNanosecond(t *testing.T) {
	want := time.Date(2018, 1, 2, 10, 1, 21, 479_000_000, time.UTC).UnixNano()
	for _, c := range []struct {
		text, day, zone, unit string
		plus                  int64
	}{
		{text: "2018-01-02T10:01:21.479Z"},
		{text: "2018-01-02t10:01:21.479000001z", plus: 1},
		{text: "2018-01-02T10:01:21.4790000010000Z", plus: 1},
		{text: "2018-01-02 10:01:21,479 UTC"},
		{text: "2018-01-02T05:01:21.479-05:00"},
		{text: "2018-01-02 15:31:21.479+0530"},
		{text: "2018-01-02 11:01:21.479 +01"},
		{text: "2018-01-02 05:01:21.479000", zone: "America/New_York"},
		{text: "2018-01-02 5:01:21.479", zone: "-05:00"},
		{text: "20180102 05:01:21.479", zone: "-05"},
		{text: "20180102-10:01:21.479", zone: "UTC"},
		{text: "2018/01/02 10:01:21.479", zone: "+00:00"},
		{text: "2018.01.02D10:01:21.479000000", zone: "UTC"},
		{text: "2018-01-02 10:01", zone: "UTC", plus: -21_479_000_000},
		{text: "9:01:21.479", day: "20180102", zone: "-0100"},
		{text: "10:01:21.479Z", day: "2018-01-02"},
		{text: "1514887281479000000"},
		{text: "1514887281479000"},
		{text: "1514887281479"},
		{text: "1514887281", plus: -479_000_000},
		{text: "1514887281.479"},
		{text: "1514887281.479000001", plus: 1},
		{text: "1514887281479.000001", plus: 1},
		{text: "1514887281479000.00100", plus: 1},
		{text: "1.514887281479e9"},
		{text: "1.514887281479000001e+18", plus: 1},
		{text: "1514887281479", unit: "ms"},
		{text: "1514887281.479", unit: "s"},
		{text: "1514887281479000", unit: "us"},
		{text: "1514887281479000000", unit: "ns"},
	} {
		zone, err := parseZone(c.zone)
		require.NoError(t, err)
		clock := clock{zone: zone, unit: c.unit}
		for range 2 { // the second time with what the first one learnt
			got, err := clock.parse([]byte(c.text), []byte(c.day))
			require.NoError(t, err, c.text)
			assert.Equal(t, want+c.plus, got, c.text)
		}
	}
}

// The unit of a number follows from its magnitude, unless it is stated.
func TestEpochUnits(t *testing.T) {
	for _, c := range []struct {
		text, unit string
		want       int64
	}{
		{"0", "", 0},
		{"-1", "", -1e9},
		{"-0.000000001", "", -1},
		{"9223372036.854775807", "", 1<<63 - 1},
		{"00000000000001", "", 1e9},
		{"100000000000", "", 100_000_000_000 * 1e6},
		{"-100000000000", "", -100_000_000_000 * 1e6},
		{"9223372036854", "", 9223372036854 * 1e6},
		{"100000000000000", "", 100_000_000_000_000 * 1e3},
		{"99999999999999", "us", 99_999_999_999_999 * 1e3},
		{"100000000000000000", "", 100_000_000_000_000_000},
		{"9223372036854775807", "", 1<<63 - 1},
		{"1", "ns", 1},
		{"1", "us", 1e3},
		{"1", "ms", 1e6},
		{"20180102", "s", 20180102 * 1e9},
	} {
		clock := clock{unit: c.unit}
		got, err := clock.parse([]byte(c.text), nil)
		require.NoError(t, err, c.text)
		assert.Equal(t, c.want, got, c.text)
	}
}

// Invalid and ambiguous times are refused.
func TestNotTimes(t *testing.T) {
	for _, c := range []struct {
		text, day, zone string
		want            error
	}{
		{"", "", "", errNotTime},
		{"now", "", "", errNotTime},
		{"2018-01-02", "", "UTC", errDateOnly},
		{"20180102", "", "UTC", errDateOnly},
		{"2018-01-02T05:01:21", "", "", ErrNoZone},
		{"5:01:21", "", "UTC", errNoDate},
		{"5:01:21", "today", "UTC", errNotDate},
		{"2018-02-29 05:01:21", "", "UTC", errNotTime},
		{"2018-13-01 05:01:21", "", "UTC", errNotTime},
		{"2018-01-02 24:00:00", "", "UTC", errNotTime},
		{"2018-01-02 05:60:00", "", "UTC", errNotTime},
		{"2018-01-02 05:00:60", "", "UTC", errNotTime},
		{"2018-01-02 05:00:0", "", "UTC", errNotTime},
		{"2018-01-02 05:", "", "UTC", errNotTime},
		{"2018-01-02 ", "", "UTC", errNotTime},
		{"2018-01-02 05:01:21 PM", "", "UTC", errNotTime},
		{"2018-01-02 05:01:21+24:00", "", "UTC", errNotTime},
		{"2018-01-02 05:01:21+1", "", "UTC", errNotTime},
		{"2018-01-02T05:01:21Zx", "", "UTC", errNotTime},
		{"01/02/2018 05:01:21", "", "UTC", errNotTime},
		{"2018-01-02T05:01:21.0000000001Z", "", "", errPrecision},
		{"1514887281.00000000000", "", "", nil},
		{"151488728.0000000001", "", "", errPrecision},
		{"1514887281.0000000001", "", "", errTimeRange}, // beyond 64 bits in any unit
		{"1500-01-02T05:01:21Z", "", "", errTimeRange},
		{"2300-01-02T05:01:21Z", "", "", errTimeRange},
		{"20180102050121", "", "UTC", errTimeRange},
		{"9223372036854775808", "", "", errTimeRange},
		{"2024-03-10 02:30:00", "", "America/New_York", errNoSuchTime},
	} {
		zone, err := parseZone(c.zone)
		require.NoError(t, err)
		clock := clock{zone: zone}
		_, err = clock.parse([]byte(c.text), []byte(c.day))
		assert.Equal(t, c.want, err, "%q %q", c.text, c.day)
	}
}

// Local times are read by the zone's rules around every change of the clocks; of two possible times the
// first is used.
func TestLocalTimesAroundChanges(t *testing.T) {
	for _, name := range []string{"America/New_York", "Europe/London", "Asia/Tokyo", "Australia/Lord_Howe", "Pacific/Apia", "+05:45"} {
		zone, err := parseZone(name)
		require.NoError(t, err)
		clock := clock{zone: zone}
		const step, steps = 15 * time.Minute, 2 * 366 * 24 * 4
		for i := range 2 * steps { // forth, and back again
			at := time.Date(2011, 1, 1, 0, 0, 0, 0, time.UTC).Add(time.Duration(min(i, 2*steps-i)) * step)
			local := at.In(zone)
			got, err := clock.parse([]byte(local.Format("2006-01-02 15:04:05")), nil)
			require.NoError(t, err)
			if got == at.UnixNano() {
				continue
			}
			first := time.Unix(0, got).In(zone)
			assert.Equal(t, local.Format("2006-01-02 15:04:05"), first.Format("2006-01-02 15:04:05"), name)
			assert.True(t, first.Before(local), "%s: %v, %v", name, first, local)
			assert.LessOrEqual(t, local.Sub(first), time.Hour, name)
		}
	}
}
