package replay

import (
	"math"
	"time"
)

// Max is the speed of a replay that does not wait.
var Max = math.Inf(1)

// Bounds of speeds other than Max.
const (
	MinSpeed = 1e-6
	MaxSpeed = 1e6
)

// A clock computes when recorded times are due. It does not read the time itself. At time wall the recorded time is
// at, in ns since the Unix epoch; after wall it passes speed times as fast.
type clock struct {
	wall  time.Time
	at    int64
	speed float64 // Max: everything is due
}

// due returns when recorded time t is reached, never too early. For times up to at it returns wall or an earlier
// time.
func (c *clock) due(t int64) time.Time {
	if t <= c.at || c.speed == Max {
		return c.wall
	}
	after := math.Ceil(float64(uint64(t)-uint64(c.at)) / c.speed)
	if after > math.MaxInt64/2 {
		after = math.MaxInt64 / 2
	}
	return c.wall.Add(time.Duration(after))
}

// now returns the recorded time at time t; math.MaxInt64 for Max.
func (c *clock) now(t time.Time) int64 {
	passed := t.Sub(c.wall)
	switch {
	case passed < 0:
		return c.at - 1 // nothing is due before the clock begins
	case c.speed == Max:
		return math.MaxInt64
	}
	d := float64(passed) * c.speed
	if d >= float64(math.MaxInt64-max(c.at, 0)) {
		return math.MaxInt64
	}
	return c.at + int64(d)
}

// anchor makes the clock continue from recorded time at, which is reached at time wall.
func (c *clock) anchor(wall time.Time, at int64) { c.wall, c.at = wall, at }
