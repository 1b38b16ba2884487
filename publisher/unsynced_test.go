package publisher

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"tickfeed/publisher/journal"
)

// Publishing waits once more than 256 MiB are unsynced, or something for more than two seconds. It is a condition that
// passes, and only the second is worth a line in the log.
func TestBehindByBytesOrTimeWaits(t *testing.T) {
	for _, c := range []struct {
		bytes        int64
		age          time.Duration
		waits, hangs bool
	}{
		{0, 0, false, false},
		{1, maxUnsyncedAge, false, false},
		{1, maxUnsyncedAge + 1, true, true},
		{maxUnsyncedBytes, 0, false, false},
		{maxUnsyncedBytes + 1, 0, true, false},
		{maxUnsyncedBytes + 1, maxUnsyncedAge + 1, true, true},
	} {
		err := behind(c.bytes, c.age)
		if !c.waits {
			assert.NoError(t, err, "%+v", c)
			continue
		}
		assert.ErrorIs(t, err, journal.ErrFull, "%+v", c)
		assert.Equal(t, c.hangs, err.(*behindError).hangs(), "%+v", c)
	}
	assert.EqualError(t, behind(70_000, 2340*time.Millisecond), "journal: the disk does not keep up: 70000 bytes are not synced, the oldest for 2.3s")
}
