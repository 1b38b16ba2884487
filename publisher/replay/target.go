package replay

import (
	"math"
	"time"

	"tickfeed/codec/recording"
)

// A Target is a place in a recording: a number, a time on the clock of the replay, a time of day, or so far from where the replay
// is; as Config.From, from the beginning, and as Config.To, from Config.From, or back from the end. The zero Target is the
// beginning.
type Target struct {
	kind targetKind
	seq  uint64
	at   int64           // time in ns since the Unix epoch; or a duration
	zone *time.Location  // of messages about a time
	day  recording.Place // a time of day
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

// ParseTarget reads what recording.ParsePlace reads. Times without a zone are in zone.
func ParseTarget(s string, zone *time.Location) (Target, error) {
	p, err := recording.ParsePlace(s, zone)
	if err != nil || p.IsStart() {
		return Target{}, err
	}
	t := targetOf(p)
	t.zone = zone
	return t, nil
}

// targetOf returns the target that p is.
func targetOf(p recording.Place) Target {
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

// place returns the place in a recording that t is; the zero Place for the beginning.
func (t Target) place() recording.Place {
	switch t.kind {
	case toSeq:
		return recording.SeqPlace(t.seq)
	case toTime:
		return recording.TimePlace(t.at)
	case toTimeOfDay:
		return t.day
	case toOffset:
		return recording.JumpPlace(time.Duration(t.at))
	}
	return recording.Place{}
}

// resolve is t as a number or a time. Start is when the recording begins, now where the replay
// is. A time of day is that of now's day, or of the next day if that is before start. A jump back ends at start.
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
