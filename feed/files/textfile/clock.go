package textfile

import (
	"bytes"
	"errors"
	"math"
	"time"

	"tickfeed/feed/decimal"
	"tickfeed/feed/files/rawfile"
)

// A clock parses times. The zero clock has no zone and infers units from magnitudes.
type clock struct {
	zone *time.Location // zone of local times; nil if not stated
	unit string         // unit of numbers; empty if not stated
	day  []byte         // date of times of day without a date; empty if not known

	// offset is the zone's offset in seconds, which is known to apply to the Unix times [from, to). The last call of look sets
	// them.
	offset, from, to int64

	last     int64 // Unix time of the last local time of the current file
	hasLast  bool
	backward bool // the last unambiguous time was more than lateness before the line before it
}

// begin starts another file, whose lines have their own order.
func (c *clock) begin(day []byte) { c.day, c.hasLast, c.backward = day, false, false }

// lateness is how many seconds a line may be earlier than the line before it if the file counts as ordered.
const lateness = 60

// ErrNoZone reports a local time whose zone is not stated.
var ErrNoZone = errors.New("is a local time; state its zone, for example with --zone America/New_York")

// Reasons why a text is not a time.
var (
	errNotTime    = errors.New("is not a time: want RFC 3339, a local date and time, or a number since the Unix epoch")
	errNoDate     = errors.New("is a time of day without a date; name the date's column with --column date=NAME, or state the date with --date and --epoch-unit hhmmss")
	errNotDigits  = errors.New("is not a time of day: want hhmmss, with or without the digits of a fraction")
	errBesideDate = errors.New("is a number beside a date, and its unit is not known; state it with --epoch-unit: " +
		"s, ms, us or ns after midnight, or hhmmss; to ignore the date use --column date=")
	errOtherDate  = errors.New("is a time on another day than the date beside it; to ignore the date use --column date=")
	errNotDate    = errors.New("is not a date: want 2018-01-02 or 20180102")
	errDateOnly   = errors.New("is a date without a time")
	errPrecision  = errors.New("has decimals finer than a nanosecond")
	errTimeRange  = errors.New("is out of range: want 1678 to 2261, to the nanosecond")
	errNoSuchTime = errors.New("is a local time that does not exist: the clocks of the zone skip it")
)

// epochExponents holds, for each unit, the power of ten of a nanosecond in that unit.
var epochExponents = map[string]int8{"s": -9, "ms": -6, "us": -3, "ns": 0}

// UnitClock is the EpochUnit of numbers that are the digits of a time of day: 093000, 093000123456789.
const UnitClock = "hhmmss"

// parse parses b as a time and returns nanoseconds since the Unix epoch. day is the date in its own column; if b is only a
// time of day and day is empty, its date is c.day.
func (c *clock) parse(b, day []byte) (int64, error) {
	if date, n, ok := parseDate(b); ok && n == len(b) && c.unit == "" {
		return 0, errDateOnly
	} else if ok && n < len(b) && separator(b[n]) {
		return c.at(date, b[n+1:])
	}
	var buf [len("hh:mm:ss.") + 20]byte
	switch {
	case len(b) > 2 && (b[1] == ':' || b[2] == ':'):
	case c.unit == UnitClock:
		if b = clockDigits(buf[:0], b); b == nil {
			return 0, errNotDigits
		}
	case len(day) > 0:
		return c.beside(b, day)
	default:
		return c.epoch(b)
	}
	if len(day) == 0 {
		day = c.day
	}
	if len(day) == 0 {
		return 0, errNoDate
	}
	date, n, ok := parseDate(day)
	if !ok || n != len(day) {
		return 0, errNotDate
	}
	return c.at(date, b)
}

// beside parses the number b, with the date day in its own column. The number counts from midnight if its unit is stated
// and it is less than a day; otherwise it counts from the epoch, and must be near that date.
func (c *clock) beside(b, day []byte) (int64, error) {
	date, _, ok := parseDate(day)
	if !ok {
		return 0, errBesideDate
	}
	t, err := c.epoch(b)
	if err != nil {
		return 0, err
	}
	const dayNanos = 86_400_000_000_000
	if c.unit != "" && t >= 0 && t < dayNanos {
		if c.zone == nil {
			return 0, ErrNoZone
		}
		seconds, err := c.utc(date + t/1e9)
		return seconds*1e9 + t%1e9, err
	}
	if from := date - 86_400; t/1e9 >= from && t/1e9 < date+2*86_400 {
		return t, nil
	}
	if c.unit == "" {
		return 0, errBesideDate
	}
	return 0, errOtherDate
}

// clockDigits appends the time hhmmss in b, with or without a fraction, as
// hh:mm:ss.fraction. A leading zero may be missing. It returns nil if b is no such time.
func clockDigits(to, b []byte) []byte {
	whole, fraction, _ := bytes.Cut(b, []byte{'.'})
	for _, c := range whole {
		if c-'0' > 9 {
			return nil
		}
	}
	switch {
	case len(whole) < 5 || len(b) > 20:
		return nil
	case len(whole)%3 == 2: // 5, 8, 11 or 14 digits
		to = append(to, '0')
	case len(whole)%3 != 0:
		return nil
	}
	to = append(to, whole...)
	digits := len(to)
	if digits > 6 && len(fraction) > 0 {
		return nil
	}
	fraction = append(append(make([]byte, 0, 20), to[6:]...), fraction...)
	to = append(to[:6], "00"...)
	copy(to[6:], to[4:6])
	copy(to[3:], to[2:4])
	to[2], to[5] = ':', ':'
	if len(fraction) > 0 {
		to = append(append(to, '.'), fraction...)
	}
	return to
}

// at parses b, a time of day that an offset may follow, on the day that begins at date (in seconds
// since the epoch, as if it were UTC).
func (c *clock) at(date int64, b []byte) (int64, error) {
	seconds, nanos, rest, err := parseTimeOfDay(b)
	if err != nil {
		return 0, err
	}
	seconds += date
	if len(rest) == 0 {
		if c.zone == nil {
			return 0, ErrNoZone
		}
		if seconds, err = c.utc(seconds); err != nil {
			return 0, err
		}
	} else if offset, tail, ok := parseOffset(rest); ok && len(tail) == 0 {
		seconds -= offset
	} else {
		return 0, errNotTime
	}
	const limit = int64(math.MaxInt64/1_000_000_000 - 1)
	if seconds < -limit || seconds > limit {
		return 0, errTimeRange
	}
	return seconds*1e9 + nanos, nil
}

// utc returns the Unix time at which the zone's clocks show local. If there are two, it returns the one that
// continues from the line before; without such a line, the first.
func (c *clock) utc(local int64) (int64, error) {
	t, twice := local-c.offset, false
	if t < c.from || t >= c.to {
		var err error
		if t, twice, err = c.look(local); err != nil {
			return 0, err
		}
	}
	if !twice {
		c.backward = c.hasLast && t < c.last-lateness
	}
	c.last, c.hasLast = t, true
	return t, nil
}

// look is utc for a time to which the last known offset may not apply. It also reports whether clocks show local twice.
func (c *clock) look(local int64) (t int64, twice bool, err error) {
	// Near a change either the offset before it or the one after it can apply.
	at := time.Unix(local, 0).In(c.zone)
	start, end := at.ZoneBounds()
	const none = int64(math.MaxInt64)
	best, second := none, none
	for _, x := range []time.Time{start.Add(-1), at, end} {
		if x.IsZero() || x.Year() < 1 {
			continue
		}
		_, offset := x.In(c.zone).Zone()
		t := local - int64(offset)
		switch _, holds := time.Unix(t, 0).In(c.zone).Zone(); {
		case holds != offset || t == best || t == second:
		case t < best:
			best, second = t, best
		case t < second:
			second = t
		}
	}
	if best == none {
		return 0, false, errNoSuchTime
	}
	if c.hasLast && !c.backward && second != none && best < c.last-lateness && second >= c.last-lateness {
		best = second // second stays set, so that twice is reported
	}
	// The same offset applies until a day before the next change.
	first := time.Unix(best, 0).In(c.zone)
	_, offset := first.Zone()
	start, end = first.ZoneBounds()
	const day = 86400
	c.offset, c.from, c.to = int64(offset), math.MinInt64, math.MaxInt64
	if !start.IsZero() {
		c.from = start.Unix() + day
	}
	if !end.IsZero() {
		c.to = end.Unix() - day
	}
	return best, second != none, nil
}

// epoch parses a number that counts from the Unix epoch.
func (c *clock) epoch(b []byte) (int64, error) {
	unit := c.unit
	if unit == "" {
		digits := wholeDigits(b)
		switch {
		case digits <= 11:
			unit = "s"
		case digits <= 14:
			unit = "ms"
		case digits <= 17:
			unit = "us"
		default:
			unit = "ns"
		}
	}
	t, err := rawfile.ParseTime(b, epochExponents[unit])
	switch err {
	case nil:
		return t, nil
	case decimal.ErrInexact:
		return 0, errPrecision
	case decimal.ErrOverflow:
		return 0, errTimeRange
	}
	return 0, errNotTime
}

// wholeDigits returns the number of digits of b before the decimal point, without leading zeros.
func wholeDigits(b []byte) int {
	n := 0
	for i, c := range b {
		switch {
		case c-'0' <= 9:
			if n > 0 || c != '0' {
				n++
			}
		case i == 0 && (c == '-' || c == '+'):
		case c == '.' && !hasPower(b):
			return n
		default:
			m, e, err := decimal.Scan(b)
			if err != nil {
				return 0
			}
			for ; m != 0; m /= 10 {
				e++
			}
			return e
		}
	}
	return n
}

func hasPower(b []byte) bool {
	for _, c := range b {
		if c|0x20 == 'e' {
			return true
		}
	}
	return false
}

// parseDate parses yyyymmdd, or yyyy-mm-dd with the separator - / or ., at the start of b. It
// returns the start of that day, in seconds since the epoch as if it were UTC, and the number of bytes
// parsed.
func parseDate(b []byte) (seconds int64, n int, ok bool) {
	if len(b) < 8 {
		return 0, 0, false
	}
	year := two(b, 0)*100 + two(b, 2)
	var month, day int64
	if sep := b[4]; sep == '-' || sep == '/' || sep == '.' {
		if len(b) < 10 || b[7] != sep {
			return 0, 0, false
		}
		month, day, n = two(b, 5), two(b, 8), 10
	} else {
		month, day, n = two(b, 4), two(b, 6), 8
	}
	if year < 1 || month < 1 || month > 12 || day < 1 || day > daysIn(year, month) {
		return 0, 0, false
	}
	return daysSinceEpoch(year, month, day) * 86400, n, true
}

func daysIn(year, month int64) int64 {
	if month == 2 && year%4 == 0 && (year%100 != 0 || year%400 == 0) {
		return 29
	}
	return [...]int64{0, 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31}[month]
}

// daysSinceEpoch returns the days from the Unix epoch to a date. It begins years in March, so that the leap day is the last of
// a year. The months from March on then begin after (153 m + 2) / 5 days.
func daysSinceEpoch(year, month, day int64) int64 {
	if month <= 2 {
		year--
		month += 12
	}
	return year*365 + year/4 - year/100 + year/400 + (153*(month-3)+2)/5 + day - 1 - 719468
}

func separator(c byte) bool {
	return c == 'T' || c == ' ' || c == 't' || c == 'D' || c == '-' || c == '_'
}

// parseTimeOfDay parses h:mm, h:mm:ss, h:mm:ss.fraction, or at least six digits hhmmss with the
// digits of a fraction. It returns the rest of b.
func parseTimeOfDay(b []byte) (seconds, nanos int64, rest []byte, err error) {
	if len(b) >= 6 && b[1]-'0' <= 9 && b[2]-'0' <= 9 {
		n := 0
		for n < len(b) && (b[n]-'0' <= 9 || b[n] == '.') {
			n++
		}
		var buf [32]byte
		if digits := clockDigits(buf[:0], b[:n]); digits != nil && n >= 6 && b[n-1] != '.' {
			seconds, nanos, _, err = parseTimeOfDay(digits)
			return seconds, nanos, b[n:], err
		}
	}
	hour := int64(-1)
	if len(b) > 1 && b[1] == ':' {
		hour, b = int64(b[0]-'0'), b[1:]
	} else if len(b) > 2 && b[2] == ':' {
		hour, b = two(b, 0), b[2:]
	}
	if hour < 0 || hour > 23 || len(b) < 3 {
		return 0, 0, nil, errNotTime
	}
	minute := two(b, 1)
	if minute < 0 || minute > 59 {
		return 0, 0, nil, errNotTime
	}
	seconds, b = hour*3600+minute*60, b[3:]
	if len(b) == 0 || b[0] != ':' {
		return seconds, 0, b, nil
	}
	if len(b) < 3 {
		return 0, 0, nil, errNotTime
	}
	second := two(b, 1)
	if second < 0 || second > 59 {
		return 0, 0, nil, errNotTime
	}
	seconds, b = seconds+second, b[3:]
	if len(b) < 2 || b[0] != '.' && b[0] != ',' || b[1]-'0' > 9 {
		return seconds, 0, b, nil
	}
	unit := int64(1e8)
	for b = b[1:]; len(b) > 0 && b[0]-'0' <= 9; b = b[1:] {
		if unit == 0 && b[0] != '0' {
			return 0, 0, nil, errPrecision
		}
		nanos += int64(b[0]-'0') * unit
		unit /= 10
	}
	return seconds, nanos, b, nil
}

// parseOffset parses Z, UTC, GMT, +hh, +hhmm or +hh:mm at the start of b, after blanks. It returns seconds east of UTC, and the
// rest of b.
func parseOffset(b []byte) (offset int64, rest []byte, ok bool) {
	for len(b) > 0 && b[0] == ' ' {
		b = b[1:]
	}
	if len(b) > 0 && b[0]|0x20 == 'z' {
		return 0, b[1:], true
	}
	if len(b) >= 3 && (string(b[:3]) == "UTC" || string(b[:3]) == "GMT") {
		return 0, b[3:], true
	}
	if len(b) < 3 || b[0] != '+' && b[0] != '-' {
		return 0, nil, false
	}
	sign := int64(44 - int64(b[0])) // '+' is 43, '-' is 45
	hours, minutes := two(b, 1), int64(0)
	b = b[3:]
	if len(b) >= 3 && b[0] == ':' {
		minutes, b = two(b, 1), b[3:]
	} else if len(b) >= 2 {
		minutes, b = two(b, 0), b[2:]
	}
	if hours < 0 || hours > 23 || minutes < 0 || minutes > 59 {
		return 0, nil, false
	}
	return sign * (hours*3600 + minutes*60), b, true
}

// two returns the number of the two digits at b[i], or a number far below 0 if there are none.
func two(b []byte, i int) int64 {
	if i+2 > len(b) {
		return -1e6
	}
	x, y := b[i]-'0', b[i+1]-'0'
	if x > 9 || y > 9 {
		return -1e6
	}
	return int64(x)*10 + int64(y)
}
