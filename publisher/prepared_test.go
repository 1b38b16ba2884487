package publisher_test

import (
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/assert"

	"tickfeed/publisher"
	"tickfeed/publisher/journal/memfs"
)

// A publisher that fills its journal files fast has the next one made ahead, and keeps none open when it is closed.
func TestJournalFilesArePrepared(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var created, linked atomic.Int64
		fs := &memfs.FS{Fault: func(op memfs.Op) (int, error) {
			switch op.Kind {
			case memfs.Create:
				created.Add(1)
			case memfs.Link:
				linked.Add(1)
			}
			return 0, nil
		}}
		t.Cleanup(func() { // after the publisher is closed
			open, _ := fs.Descriptors()
			assert.Zero(t, open)
		})
		w := start(t, publisher.Config{Seed: 1, Journal: "j", FS: fs, Memory: publisher.MinMemory, SegmentSize: 64 << 10})
		for range 10 {
			w.quotes(5000)
			synctest.Wait()
		}
		assert.Equal(t, int64(2), created.Load(), "before the first file was full, and after it")
		assert.Greater(t, linked.Load(), int64(3))
	})
}
