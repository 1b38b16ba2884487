package place

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"tickfeed/codec"
)

// A Place is a place in a recording: before the tick with a given number, or before the first tick at or after
// a given time. It is a number, a time, a time of day, a jump, or the start. The zero Place is no place.
type Place struct {
	kind placeKind
	seq  uint64
	at   int64 // ns since the Unix epoch, or since midnight, or of a jump
	zone *time.Location
}

type placeKind uint8

const (
	placeNone placeKind = iota
	placeStart
	placeSeq
	placeTime
	placeDaily
	placeJump
)

// Help lists the forms that Parse accepts.
const Help = "a time of day such as 09:45 or 14:30:00.250, a date and time such as 2026-01-05T09:45, a number as seq:N, a jump such as +10s or -1m, or start"

// Parse parses a place: a time of day (15:04, with seconds and decimals), a date and time (RFC 3339, or
// without a zone), seq:N, a duration with a sign, or start. Times without a zone are in zone; nil means UTC.
// The error lists these forms.
func Parse(s string, zone *time.Location) (Place, error) {
	if zone == nil {
		zone = time.UTC
	}
	wrong := fmt.Errorf("%.64q is no place in a recording; write %s", s, Help)
	if s == "start" {
		return Place{kind: placeStart}, nil
	}
	if n, ok := strings.CutPrefix(s, "seq:"); ok {
		seq, err := strconv.ParseUint(n, 10, 64)
		if err != nil || seq == 0 || seq > codec.MaxSeq {
			return Place{}, wrong
		}
		return Place{kind: placeSeq, seq: seq}, nil
	}
	if strings.HasPrefix(s, "+") || strings.HasPrefix(s, "-") {
		d, err := time.ParseDuration(s)
		if err != nil {
			return Place{}, wrong
		}
		return Place{kind: placeJump, at: int64(d)}, nil
	}
	for _, layout := range []string{"15:04", time.TimeOnly} {
		if t, err := time.Parse(layout, s); err == nil {
			return Place{kind: placeDaily, at: int64(t.Sub(t.Truncate(24 * time.Hour))), zone: zone}, nil
		}
	}
	for _, layout := range []string{time.RFC3339, "2006-01-02T15:04:05", "2006-01-02T15:04", time.DateTime, "2006-01-02 15:04", time.DateOnly} {
		if t, err := time.ParseInLocation(layout, s, zone); err == nil {
			if year := t.Year(); year < 1678 || year > 2261 {
				return Place{}, fmt.Errorf("%.64q is out of range: times must be in the years 1678 to 2261", s)
			}
			return Place{kind: placeTime, at: t.UnixNano(), zone: zone}, nil
		}
	}
	return Place{}, wrong
}

// Seq returns the place before the tick with number seq, or before the next tick if there is none.
func Seq(seq uint64) Place { return Place{kind: placeSeq, seq: seq} }

// Time returns the place before the first tick at or after t, in ns since the Unix epoch.
func Time(t int64) Place { return Place{kind: placeTime, at: t} }

// Jump returns the place at distance d from the beginning or, if d is negative, from the end. In a seek
// the distance is from the current place of the replay.
func Jump(d time.Duration) Place { return Place{kind: placeJump, at: int64(d)} }

// IsZero reports whether p is no place.
func (p Place) IsZero() bool { return p.kind == placeNone }

// IsStart reports whether p is the start.
func (p Place) IsStart() bool { return p.kind == placeStart }

// Seq returns the number of p; ok is false if p is not a number.
func (p Place) Seq() (seq uint64, ok bool) { return p.seq, p.kind == placeSeq }

// Time returns the time of p, in ns since the Unix epoch; ok is false if p is not a time.
func (p Place) Time() (t int64, ok bool) { return p.at, p.kind == placeTime }

// Jump returns the distance of p; ok is false if p is not a jump.
func (p Place) Jump() (d time.Duration, ok bool) { return time.Duration(p.at), p.kind == placeJump }

// Relative reports whether p is a time of day or a jump, for which Resolve needs the times of the
// recording.
func (p Place) Relative() bool { return p.kind == placeDaily || p.kind == placeJump }

// Follows reports whether p can be after q in some recording: false only if both are numbers, or both are times, and p
// is not greater.
func (p Place) Follows(q Place) bool {
	switch {
	case p.kind != q.kind:
		return true
	case p.kind == placeSeq:
		return p.seq > q.seq
	case p.kind == placeTime:
		return p.at > q.at
	}
	return true
}

// Resolve turns the bounds of a part of a recording into numbers and times. The times of the recording
// are from first to last, in ns since the Unix epoch. A time of day is on the day of first in its zone, or on
// the next day if it is before first and the recording reaches that; the time of day to is the next one after
// both from and first, but never on a day that the recording does not reach: then the part is empty. A jump
// ahead is from first, or, for to, from the place from; a jump back is from last.
func Resolve(from, to Place, first, last int64) (Place, Place) {
	switch from.kind {
	case placeDaily:
		at := from.On(first, 0)
		if next := from.On(first, 1); at < first && next <= last {
			at = next
		}
		from = Place{kind: placeTime, at: at, zone: from.zone}
	case placeJump:
		from = jump(from, first, last)
	}
	begin := first
	if from.kind == placeTime {
		begin = max(first, from.at)
	}
	switch to.kind {
	case placeDaily:
		at := to.On(begin, 0)
		midnight := Place{kind: placeDaily, zone: to.zone}.On(begin, 1)
		if at <= begin && midnight <= last {
			at = to.On(begin, 1)
		}
		to = Place{kind: placeTime, at: at, zone: to.zone}
	case placeJump:
		to = jump(to, begin, last)
	}
	return from, to
}

// jump returns the place at p's distance from first, or back from last.
func jump(p Place, first, last int64) Place {
	if p.at < 0 {
		if at := last + p.at; at < last {
			return Time(at)
		}
		return Time(math.MinInt64)
	}
	if at := first + p.at; at >= first {
		return Time(at)
	}
	return Time(math.MaxInt64)
}

// On returns the time of day p on the day of t in p's zone, plus the given number of days, in ns since the Unix
// epoch.
func (p Place) On(t int64, days int) int64 {
	at, d := time.Unix(0, t).In(p.zone), time.Duration(p.at)
	return time.Date(at.Year(), at.Month(), at.Day()+days, int(d/time.Hour), int(d/time.Minute)%60,
		int(d/time.Second)%60, int(d%time.Second), p.zone).UnixNano()
}

// Reached reports whether a tick with number seq, at the given time, is at or after p. A relative place must be
// resolved before. No tick reaches the zero Place, and every tick reaches the start.
func (p Place) Reached(seq uint64, time int64) bool {
	switch p.kind {
	case placeTime:
		return time >= p.at
	case placeSeq:
		return seq >= p.seq
	}
	return p.kind == placeStart
}

func (p Place) String() string {
	switch p.kind {
	case placeStart:
		return "start"
	case placeDaily:
		return time.Unix(0, p.at).UTC().Format("15:04:05.999999999")
	case placeTime:
		return time.Unix(0, p.at).UTC().Format(time.RFC3339Nano)
	case placeSeq:
		return "seq:" + strconv.FormatUint(p.seq, 10)
	case placeJump:
		if p.at >= 0 {
			return "+" + time.Duration(p.at).String()
		}
		return time.Duration(p.at).String()
	}
	return ""
}
