package replay

import (
	"math"
	"time"

	"tickfeed/codec/recording/place"
)

// A Target is a place in a recording: a number, a time on the clock of the replay, a time of day, or an offset. An
// offset is relative to the current place of the replay; as Config.From, to the beginning; and as Config.To, to
// Config.From, or to the end if it is negative. The zero Target is the beginning.
type Target struct {
	kind targetKind
	seq  uint64
	at   int64          // a time in ns since the Unix epoch, or an offset in ns
	zone *time.Location // for messages about a time
	day  place.Place    // a time of day
}

type targetKind uint8

const (
	toStart targetKind = iota
	toSeq
	toTime
	toTimeOfDay
	toOffset
)

// ToSeq returns the target at the tick with number seq, or the next one if there is none.
func ToSeq(seq uint64) Target { return Target{kind: toSeq, seq: seq} }

// ToTime returns the target at the first tick that is due at or after recorded time t, in ns since the Unix epoch.
func ToTime(t int64) Target { return Target{kind: toTime, at: t} }

// ToOffset returns the target d of recorded time after the current place, or before it if d is negative.
func ToOffset(d time.Duration) Target { return Target{kind: toOffset, at: int64(d)} }

// IsStart reports whether t is the beginning.
func (t Target) IsStart() bool { return t.kind == toStart }

// ParseTarget parses the syntax of place.Parse. Times without a zone are in zone.
func ParseTarget(s string, zone *time.Location) (Target, error) {
	p, err := place.Parse(s, zone)
	if err != nil || p.IsStart() {
		return Target{}, err
	}
	t := targetOf(p)
	t.zone = zone
	return t, nil
}

// targetOf returns p as a target.
func targetOf(p place.Place) Target {
	if seq, ok := p.Seq(); ok {
		return ToSeq(seq)
	}
	if at, ok := p.Time(); ok {
		return ToTime(at)
	}
	if d, ok := p.Jump(); ok {
		return ToOffset(d)
	}
	if p.Relative() {
		return Target{kind: toTimeOfDay, day: p}
	}
	return Target{}
}

// place returns t as a place in a recording; the zero Place for the beginning.
func (t Target) place() place.Place {
	switch t.kind {
	case toSeq:
		return place.Seq(t.seq)
	case toTime:
		return place.Time(t.at)
	case toTimeOfDay:
		return t.day
	case toOffset:
		return place.Jump(time.Duration(t.at))
	}
	return place.Place{}
}

// resolve returns t as a number or a time. start is when the recording begins, and now is the recorded time of the
// replay. A time of day is on the day of now, or on the next day if it is then before start. A negative offset does
// not go before start.
func (t Target) resolve(start, now int64) Target {
	switch t.kind {
	case toTimeOfDay:
		at := t.day.On(now, 0)
		if at < start {
			at = t.day.On(now, 1)
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

// reached reports whether a tick with number seq, due at due, is at or after t.
func (t Target) reached(seq uint64, due int64) bool {
	switch t.kind {
	case toSeq:
		return seq >= t.seq
	case toTime:
		return due >= t.at
	}
	return true
}
