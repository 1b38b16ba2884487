package ops_test

import (
	"errors"
	"io"
	"net/http/httptest"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tickfeed/cmd/ops"
	"tickfeed/feed"
	"tickfeed/publisher"
	"tickfeed/publisher/journal"
	"tickfeed/publisher/journal/memfs"
)

// expectReady expects that the site is ready, or is not because of check; detail is part of the reason.
func expectReady(t *testing.T, site *ops.Site, check string, ok bool, detail string) {
	t.Helper()
	h := site.Handler()
	ask := func(path string) (int, string) {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest("GET", "http://localhost"+path, nil))
		b, err := io.ReadAll(w.Body)
		require.NoError(t, err)
		return w.Code, string(b)
	}
	status, text := ask("/readyz?format=text")
	_, metrics := ask("/metrics")
	if ok {
		assert.Equal(t, 200, status, text)
		assert.Contains(t, text, check+": ok")
		assert.Contains(t, metrics, "\ntickfeed_ready{check=\""+check+"\"} 1\n")
		return
	}
	assert.Equal(t, 503, status, text)
	assert.Contains(t, text, check+": FAILED")
	assert.Contains(t, text, detail)
	assert.Contains(t, metrics, "\ntickfeed_ready{check=\""+check+"\"} 0\n")
}

// A publisher whose disk is full is not ready until there is room, and one whose journal has failed is not ready until it is
// started again.
func TestPublisherIsReadyWhileItCanWriteItsJournal(t *testing.T) {
	for name, c := range map[string]struct {
		fault func(op memfs.Op) error
		says  string
		ends  bool // with the fault
	}{
		"a full disk": {func(op memfs.Op) error {
			if op.Kind == memfs.Write {
				return syscall.ENOSPC
			}
			return nil
		}, "no space left on device", true},
		"a failed sync": {func(op memfs.Op) error {
			if op.Kind == memfs.Sync {
				return errors.New("the disk is broken")
			}
			return nil
		}, "the disk is broken", false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var broken atomic.Bool
				fs := &memfs.FS{Fault: func(op memfs.Op) (int, error) {
					if !broken.Load() {
						return 0, nil
					}
					return 0, c.fault(op)
				}}
				pub, err := publisher.New(publisher.Config{Seed: 1, Journal: "j", FS: fs, Sync: journal.SyncAlways, Memory: publisher.MinMemory})
				require.NoError(t, err)
				id, err := pub.Define(t.Context(), feed.Definition{Symbol: "A"})
				require.NoError(t, err)
				view := ops.NewPublisher(pub, 0)
				site := &ops.Site{Command: "publish", Ready: view.Ready, Metrics: []ops.Collector{view.Metrics}}
				expectReady(t, site, "journal", true, "")

				broken.Store(true)
				require.NoError(t, pub.Publish(t.Context(), []feed.Tick{feed.Trade{Price: 1, Size: 1}.Tick(id, 1)}))
				time.Sleep(time.Second)
				synctest.Wait()
				expectReady(t, site, "journal", false, c.says)
				broken.Store(false)
				time.Sleep(2 * time.Second)
				synctest.Wait()
				expectReady(t, site, "journal", c.ends, c.says)
				assert.Equal(t, !c.ends, pub.Close(t.Context()) != nil)
			})
		})
	}
}
