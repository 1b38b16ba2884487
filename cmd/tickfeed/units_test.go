package main

import (
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tickfeed/codec"
	"tickfeed/feed"
	"tickfeed/subscriber"
)

func TestRateHasUnits(t *testing.T) {
	for text, want := range map[string]float64{"1": 1, "0.5": 0.5, "10k": 1e4, "2.5M": 2.5e6, "1e6": 1e6, "max": math.Inf(1)} {
		var r rate
		require.NoError(t, r.Set(text), text)
		assert.Equal(t, want, float64(r), text)
	}
	for _, text := range []string{"", "0", "-1", "k", "1kk", "NaN", "Inf", "10 k", "fast"} {
		assert.Error(t, new(rate).Set(text), text)
	}
}

func TestCountHasUnits(t *testing.T) {
	for text, want := range map[string]uint64{"0": 0, "12": 12, "10k": 1e4, "2.5M": 2.5e6, "1e3": 1000, "9223372036854775807": 1<<63 - 1} {
		var n uint64
		require.NoError(t, count[uint64]{&n}.Set(text), text)
		assert.Equal(t, want, n, text)
		assert.Equal(t, fmt.Sprint(want), count[uint64]{&n}.String())
	}
	for _, text := range []string{"", "-1", "2.5", "k", "NaN", "10 k", "10G G", "9223372036854775808", "many"} {
		assert.Error(t, count[int]{new(int)}.Set(text), text)
	}
}

func TestBytesHaveUnits(t *testing.T) {
	for text, want := range map[string]int64{"0": 0, "4096": 4096, "64MB": 64e6, "64mb": 64e6, "1.5KiB": 1536, "10 GB": 10e9, "7B": 7} {
		got, err := parseBytes(text)
		require.NoError(t, err, text)
		assert.Equal(t, want, got, text)
	}
	for _, text := range []string{"", "MB", "-1", "NaN", "1e30", "64Mb/s"} {
		_, err := parseBytes(text)
		assert.Error(t, err, text)
	}
}

func TestRetentionIsASizeAnAgeOrBoth(t *testing.T) {
	for text, want := range map[string]retention{
		"10GB": {bytes: 10e9}, "24h": {age: 24 * time.Hour}, "24h,10GB": {10e9, 24 * time.Hour},
	} {
		var r retention
		require.NoError(t, r.Set(text), text)
		assert.Equal(t, want, r, text)
	}
	for _, text := range []string{"", "0", "10GB,10GB", "1h,2h", "-1h", "forever"} {
		assert.Error(t, new(retention).Set(text), text)
	}
}

// Numbers, sizes and durations for people have about three digits.
func TestForPeople(t *testing.T) {
	for v, want := range map[float64]string{0: "0", 999: "999", 1000: "1k", 1234: "1.23k", 99_960: "100k", 12_345_678: "12.3M"} {
		assert.Equal(t, want, formatCount(v))
		assert.Equal(t, want+" ticks/s", formatRate(v))
	}
	assert.Equal(t, "1 tick/s", formatRate(1))
	assert.Equal(t, "4.1 KB", formatBytes(4096))
	for d, want := range map[time.Duration]string{
		1234 * time.Microsecond: "1.2ms", 12345 * time.Millisecond: "12.3s", 250 * time.Second: "4m10s", 900: "1µs",
	} {
		assert.Equal(t, want, formatDuration(d))
	}
}

// A date opens the market at 09:30 in New York, in summer and in winter.
func TestStartOfMarket(t *testing.T) {
	now := time.Date(2026, 3, 4, 5, 6, 7, 8, time.UTC)
	for text, want := range map[string]string{
		"2026-01-05": "2026-01-05T14:30:00Z", "2026-07-06": "2026-07-06T13:30:00Z", "2026-01-05T10:00": "2026-01-05T15:00:00Z",
		"2026-01-05T10:00:00Z": "2026-01-05T10:00:00Z", "now": "2026-03-04T05:06:07Z",
	} {
		at, err := parseOpening(text, now)
		require.NoError(t, err, text)
		assert.Equal(t, want, at.UTC().Format(time.RFC3339), text)
	}
	_, err := parseOpening("yesterday", now)
	assert.Error(t, err)
}

// Over a journal the simulated market opens on a later weekday, at the same hour.
func TestLaterDay(t *testing.T) {
	friday := time.Date(2026, 1, 9, 14, 30, 0, 0, time.UTC)
	assert.Equal(t, friday, laterDay(friday, friday.Add(-time.Hour).UnixNano()))
	assert.Equal(t, friday.AddDate(0, 0, 3), laterDay(friday, friday.UnixNano()))
	assert.Equal(t, friday.AddDate(0, 0, 3), laterDay(friday, friday.Add(30*time.Hour).UnixNano()))
	assert.Equal(t, friday.AddDate(0, 0, 4), laterDay(friday, friday.AddDate(0, 0, 3).Add(-time.Second).UnixNano()))
}

// The account has thousands separators, and each noun its number.
func TestAccountText(t *testing.T) {
	for want, got := range map[string]string{
		"account: 1 tick, 1 recovery, 0 withheld, 1,000 lost (999 expired), 0 disowned, 0 duplicated; next seq 1002": accountText(1, 1, 0,
			feed.Totals{Lost: 1000, Expired: 999}, 0, "next seq 1002"),
		"account: 12,345,678 ticks, 0 recoveries, 1,234 withheld, 0 lost, 2,345 disowned, 3,456 duplicated; 2 connections": accountText(12_345_678, 0, 0,
			feed.Totals{Withheld: 1234, Disowned: 2345}, 3456, "2 connections"),
		"the publisher no longer keeps this number":                                                                                                  lostReason(&subscriber.Change{Reason: codec.GoneExpired}, 1),
		"the publisher's journal, or recording, is damaged there, or lacks these 1,234":                                                              lostReason(&subscriber.Change{Reason: codec.GoneDamaged}, 1234),
		"this user may not see these 2, which are older than its permission allows; whoever runs the publisher can allow more of the past (history)": lostReason(&subscriber.Change{Reason: codec.GoneDenied}, 2),
		"the publisher has no session in common with the position, and cannot send these 2":                                                          lostReason(&subscriber.Change{Unrelated: true}, 2),
	} {
		assert.Equal(t, want, got)
	}
}

// An error about a value names the flag, and shows the value once and briefly.
func TestErrorsNameTheFlagAndTheValueOnce(t *testing.T) {
	for _, test := range []struct{ args, want string }{
		{"publish --rate 1e300", "--rate 1e+300 at --speed 1 is"},
		{"publish --rate 0.0001", "--rate 0.0001 at --speed 1 is"},
		{"publish --depth 1000", "tickfeed: --depth must be from 0 to 50, got 1000"},
		{"publish --start 1800-01-01", "tickfeed: --start must be from the year 1971 to 2200, got 1800-01-01T"},
		{"publish --instruments 100000 --depth 50", "tickfeed: --instruments × --depth must be at most"},
		{"publish --seed 99999999999999999999", "want a whole number from 0 to 18446744073709551615"},
		{"publish --max-connections 99999999999999999999", "the number is too large"},
		{"publish --file-mode abc", "tickfeed: --file-mode \"abc\": the mode of files must be octal digits such as 0640\n"},
		{"bench fanout --rate 1e300", "tickfeed: --rate must be from 0.1 to 10M, got 1e+300"},
	} {
		var out, errs strings.Builder
		assert.Equal(t, exitUsage, run(strings.Fields(test.args), strings.NewReader(""), &out, &errs), test.args)
		assert.Contains(t, errs.String(), test.want, test.args)
		assert.NotContains(t, errs.String(), "sim:", test.args)
	}
}
