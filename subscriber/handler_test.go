package subscriber

import (
	"errors"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"

	"tickfeed/feed"
)

// Each batch reaches the function that it is for; functions that are missing are passed over, and the first error is returned.
func TestHandlerPassesBatchesOn(t *testing.T) {
	ticks := []feed.Tick{{Seq: 41}}
	report := &Report{}
	batches := map[string]*Batch{
		"ticks": {Ticks: ticks}, "snapshot": {Ticks: ticks, Snapshot: true}, "change": {Change: &Change{}},
		"change, recovery": {Change: &Change{Report: report}},
	}
	for want, b := range batches {
		var got, fails string
		failed := errors.New("failed")
		say := func(what string) error {
			if got != "" {
				got += ", "
			}
			got += what
			if what == fails {
				return failed
			}
			return nil
		}
		h := Handler{
			Ticks:    func(x *Batch) error { assert.Same(t, b, x); return say("ticks") },
			Snapshot: func(x *Batch) error { assert.Same(t, b, x); return say("snapshot") },
			Change:   func(c *Change) error { assert.Same(t, b.Change, c); return say("change") },
			Recovery: func(r *Report) error { assert.Same(t, report, r); return say("recovery") },
		}
		assert.NoError(t, h.Handle(b))
		assert.Equal(t, want, got)
		assert.NoError(t, Handler{}.Handle(b))
		for _, fails = range strings.Split(want, ", ") {
			got = ""
			assert.Equal(t, failed, h.Handle(b), "%s fails", fails)
			assert.True(t, strings.HasSuffix(got, fails), "nothing follows an error")
		}
	}
}
