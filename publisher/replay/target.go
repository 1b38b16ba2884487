package replay

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// A Target is a place in a recording: a number, a time, a time of day, or so far from where the
// replay is. The zero Target is the beginning.
type Target struct {
	kind targetKind
	seq  uint64
	at   int64          // time in ns since the Unix epoch; or a duration
	zone *time.Location // of a time of day, and of messages about a time
}

type targetKind uint8

const (
	toStart targetKind = iota
	toSeq
	toTime
	toTimeOfDay
	toOffset
)

// ToSeq is the tick with number seq, or the next one there is.
func ToSeq(seq uint64) Target { return Target{kind: toSeq, seq: seq} }

// ToTime is the first tick that is due at recorded time t, in ns since the Unix epoch, or later.
func ToTime(t int64) Target { return Target{kind: toTime, at: t} }

// ToOffset is d of recorded time from where the replay is, back if d is negative.
func ToOffset(d time.Duration) Target { return Target{kind: toOffset, at: int64(d)} }

// IsStart reports whether t is the beginning.
func (t Target) IsStart() bool { return t.kind == toStart }

// targetHelp says what ParseTarget reads.
const targetHelp = "a time of day such as 09:45 or 14:30:00.250, a date and time such as 2026-01-05T09:45, a number as seq:N, a jump such as +10s or -1m, or start"

// ParseTarget reads a place: a time of day (15:04, with seconds and decimals), a date and time
// (RFC 3339, or without a zone), seq:N, a duration with a sign, or start. Times without a zone
// are in zone.
func ParseTarget(s string, zone *time.Location) (Target, error) {
	if zone == nil {
		zone = time.UTC
	}
	wrong := fmt.Errorf("%.64q is no place in a recording; write %s", s, targetHelp)
	if s == "start" {
		return Target{}, nil
	}
	if n, ok := strings.CutPrefix(s, "seq:"); ok {
		seq, err := strconv.ParseUint(n, 10, 64)
		if err != nil || seq == 0 || seq > math.MaxInt64 {
			return Target{}, wrong
		}
		return ToSeq(seq), nil
	}
	if strings.HasPrefix(s, "+") || strings.HasPrefix(s, "-") {
		d, err := time.ParseDuration(s)
		if err != nil {
			return Target{}, wrong
		}
		return ToOffset(d), nil
	}
	for _, layout := range []string{"15:04", "15:04:05"} {
		if t, err := time.Parse(layout, s); err == nil {
			day := time.Duration(t.Hour())*time.Hour + time.Duration(t.Minute())*time.Minute +
				time.Duration(t.Second())*time.Second + time.Duration(t.Nanosecond())
			return Target{kind: toTimeOfDay, at: int64(day), zone: zone}, nil
		}
	}
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02T15:04:05", "2006-01-02T15:04", time.DateTime, "2006-01-02 15:04", time.DateOnly} {
		if t, err := time.ParseInLocation(layout, s, zone); err == nil {
			if year := t.Year(); year < 1678 || year > 2261 {
				return Target{}, fmt.Errorf("%.64q is beyond the times of 64-bit nanoseconds, which are those of the years 1678 to 2261", s)
			}
			return Target{kind: toTime, at: t.UnixNano(), zone: zone}, nil
		}
	}
	return Target{}, wrong
}

// resolve is t as a number or a time. Start is when the recording begins, now where the replay
// is. A time of day is that of now's day, or of the next day if that is before start. A jump back ends at start.
func (t Target) resolve(start, now int64) Target {
	switch t.kind {
	case toTimeOfDay:
		ref := time.Unix(0, now).In(t.zone)
		d := time.Duration(t.at)
		of := func(days int) int64 {
			return time.Date(ref.Year(), ref.Month(), ref.Day()+days, int(d/time.Hour), int(d/time.Minute)%60,
				int(d/time.Second)%60, int(d%time.Second), t.zone).UnixNano()
		}
		at := of(0)
		if at < start {
			at = of(1)
		}
		return Target{kind: toTime, at: at, zone: t.zone}
	case toOffset:
		at := now + t.at
		if t.at > 0 && at < now {
			at = math.MaxInt64
		} else if t.at < 0 && at > now {
			at = math.MinInt64
		}
		if t.at < 0 {
			at = max(at, start)
		}
		return ToTime(at)
	}
	return t
}

// reached reports whether a tick with number seq, due at due, is at t or behind it.
func (t Target) reached(seq uint64, due int64) bool {
	switch t.kind {
	case toSeq:
		return seq >= t.seq
	case toTime:
		return due >= t.at
	}
	return true
}
