package liveness

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
)

// PROTOCOL.md, "A connection": a peer that gives no sign of life for three intervals is dead. A sign of life is a whole
// message, or 4096 further bytes of a message that is not complete. Only time in which this side listens counts.
func TestLivenessIsThreeIntervals(t *testing.T) {
	const i = 10 * time.Second
	for _, test := range []struct {
		name        string
		happens     func(l *Monitor)
		stale, dead time.Duration
	}{
		{"nothing", func(l *Monitor) { l.Listen(i) }, 3 * i, 4 * i},
		{"it listens from the beginning", func(l *Monitor) { l.Listen(0) }, 2 * i, 3 * i},
		{"to listen again changes nothing", func(l *Monitor) { l.Listen(i); l.Listen(2 * i) }, 3 * i, 4 * i},
		{"a message", func(l *Monitor) { l.Listen(i); l.Heard(); l.Listen(2 * i) }, 4 * i, 5 * i},
		{"4095 bytes of a message", func(l *Monitor) { l.Listen(i); l.Came(4095); l.Listen(2 * i) }, 3 * i, 4 * i},
		{"4096 bytes of a message", func(l *Monitor) { l.Listen(i); l.Came(4096); l.Listen(2 * i) }, 4 * i, 5 * i},
		{"the same 4096 bytes again", func(l *Monitor) { l.Listen(i); l.Came(4096); l.Listen(2 * i); l.Came(8191); l.Listen(3 * i) }, 4 * i, 5 * i},
		{"4096 further bytes", func(l *Monitor) { l.Listen(i); l.Came(4096); l.Listen(2 * i); l.Came(8192); l.Listen(3 * i) }, 5 * i, 6 * i},
		{"4096 bytes of the next message", func(l *Monitor) { l.Listen(i); l.Came(9000); l.Heard(); l.Came(4096); l.Listen(3 * i) }, 5 * i, 6 * i},
		{"a pause", func(l *Monitor) { l.Listen(i); l.Pause(5 * i) }, 8 * i, 9 * i},
		{"a pause before it listens", func(l *Monitor) { l.Listen(i); l.Heard(); l.Pause(5 * i); l.Listen(6 * i) }, 8 * i, 9 * i},
	} {
		t.Run(test.name, func(t *testing.T) {
			l := &Monitor{Interval: i}
			test.happens(l)
			now := test.stale - 1
			assert.Equal(t, test.stale, l.StaleAt(now))
			assert.Equal(t, test.dead, l.DeadAt(now))
			assert.False(t, l.Stale(now))
			assert.True(t, l.Stale(test.stale))
			assert.False(t, l.Dead(test.dead-1))
			assert.True(t, l.Dead(test.dead))
		})
	}
	l := &Monitor{Interval: i}
	l.Listen(i)
	l.Heard()
	assert.False(t, l.Dead(1000*i), "a side that does not listen does not call its peer dead")
	l.Spoke(3 * i)
	assert.Equal(t, 4*i, l.BeatAt())
}
