package publisher

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
)

// Retention goes by the wall clock. It follows jumps back and small steps at once, and a jump forward after an hour, unless the clock
// is set back before. Each jump is reported once.
func TestRetentionWaitsAfterAJumpOfTheClock(t *testing.T) {
	const noon = int64(1_767_700_800_000_000_000)
	for _, c := range []struct {
		name  string
		jumps map[time.Duration]time.Duration // by the time at which they happen
		want  map[time.Duration]time.Duration // by time: how far the time of retention is from a clock that does not jump
	}{
		{"small steps", map[time.Duration]time.Duration{5: 59, 6: 59, 7: -90}, map[time.Duration]time.Duration{4: 0, 5: 59, 6: 118, 7: 28}},
		{"back", map[time.Duration]time.Duration{5: -7200}, map[time.Duration]time.Duration{5: -7200, 4000: -7200}},
		{"forward", map[time.Duration]time.Duration{5: 7200}, map[time.Duration]time.Duration{5: 0, 3604: 0, 3605: 7200, 4000: 7200}},
		{"forward and back", map[time.Duration]time.Duration{5: 7200, 3000: -7200, 3100: 60}, map[time.Duration]time.Duration{5: 0, 4000: 0, 6699: 0, 6700: 60}},
		{"forward, and farther", map[time.Duration]time.Duration{5: 7200, 3000: 7200}, map[time.Duration]time.Duration{3604: 0, 3605: 14400}},
	} {
		var w wallWatch
		wall, reported := noon, time.Duration(0)
		for at := range time.Duration(7000) {
			wall += int64(time.Second + c.jumps[at]*time.Second)
			retain, jump := w.follow(wall, at*time.Second)
			reported += jump / time.Second
			want, ok := c.want[at]
			if ok {
				assert.Equal(t, noon+int64((at+1+want)*time.Second), retain, "%s at %d", c.name, at)
			}
			assert.Equal(t, max(c.jumps[at], -c.jumps[at]) >= 60, jump != 0, "%s at %d", c.name, at)
		}
	}
}
