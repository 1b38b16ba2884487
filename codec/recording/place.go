package recording

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"tickfeed/codec"
)

// A Place is a bound of a part of a recording: a number, a time, or a time of day. The zero Place is no bound.
type Place struct {
	seq   uint64
	at    int64 // ns since the Unix epoch; or since midnight
	timed bool
	daily bool
}

// ParsePlace reads seq:N; a time of day, 15:04 with seconds and decimals if wanted, in UTC; or a date and time, 2006-01-02T15:04
// with seconds, decimals and a zone if wanted, else UTC. The error says all that.
func ParsePlace(s string) (Place, error) {
	if n, ok := strings.CutPrefix(s, "seq:"); ok {
		seq, err := strconv.ParseUint(n, 10, 64)
		if err == nil && seq > 0 && seq <= codec.MaxSeq {
			return Place{seq: seq}, nil
		}
	}
	for _, layout := range []string{"15:04", time.TimeOnly} {
		if t, err := time.Parse(layout, s); err == nil {
			return Place{at: int64(t.Sub(t.Truncate(24 * time.Hour))), timed: true, daily: true}, nil
		}
	}
	for _, layout := range []string{time.RFC3339, "2006-01-02T15:04:05", "2006-01-02T15:04", time.DateTime, "2006-01-02 15:04", time.DateOnly} {
		if t, err := time.Parse(layout, s); err == nil && t.Year() >= 1678 && t.Year() <= 2261 { // what int64 holds
			return Place{at: t.UnixNano(), timed: true}, nil
		}
	}
	return Place{}, fmt.Errorf("%.64q is no place in a recording: want a time of day such as 09:45 (UTC), a date and time such as 2026-01-05T09:45, or a number as seq:N", s)
}

// IsZero reports whether p is no bound.
func (p Place) IsZero() bool { return p == Place{} }

// ResolvePlaces gives times of day their dates, in a recording whose first tick happened at start, in ns since the Unix epoch:
// from is of the same day (UTC), and to is the first such time after both from and start.
func ResolvePlaces(from, to Place, start int64) (Place, Place) {
	if from.daily {
		from = Place{at: midnight(start) + from.at, timed: true}
	}
	if to.daily {
		if from.timed {
			start = max(start, from.at)
		}
		to = Place{at: midnight(start) + to.at, timed: true}
		if to.at <= start {
			to.at += int64(24 * time.Hour)
		}
	}
	return from, to
}

// midnight is the one before or at t.
func midnight(t int64) int64 {
	const day = int64(24 * time.Hour)
	return t - (t%day+day)%day
}

// Reached reports whether a tick with number seq that happened at time is at p or behind it. A time of day must have been
// resolved. The zero Place is reached by none.
func (p Place) Reached(seq uint64, time int64) bool {
	if p.timed {
		return time >= p.at
	}
	return p.seq > 0 && seq >= p.seq
}

func (p Place) String() string {
	switch {
	case p.daily:
		return time.Unix(0, p.at).UTC().Format("15:04:05.999999999")
	case p.timed:
		return time.Unix(0, p.at).UTC().Format(time.RFC3339Nano)
	case p.seq > 0:
		return "seq:" + strconv.FormatUint(p.seq, 10)
	}
	return ""
}
