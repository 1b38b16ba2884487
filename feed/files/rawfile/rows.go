package rawfile

import "sync"

// RowStats counts the rows of a source that skips bad ones. The Stats of such a source embed it.
type RowStats struct {
	Ticks    int64 // returned, definitions included
	Skipped  int64 // bad rows tolerated
	FirstBad *LineError
}

// Bad counts a bad row. It returns nil if the row is skipped, because fewer than most were.
func (r *RowStats) Bad(e *LineError, most int) error {
	if r.FirstBad == nil {
		r.FirstBad = e
	}
	if r.Skipped >= int64(most) {
		return e
	}
	r.Skipped++
	return nil
}

// A Counter is counts of type S, which the goroutine in Next changes, and which any goroutine reads as they were when Next
// returned last.
type Counter[S any] struct {
	Now S // used by the goroutine in Next

	mu    sync.Mutex
	shown S
}

// Show shows the counts as they are now. Next calls it before it returns.
func (c *Counter[S]) Show() {
	c.mu.Lock()
	c.shown = c.Now
	c.mu.Unlock()
}

// Shown returns the counts that were shown last.
func (c *Counter[S]) Shown() S {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.shown
}
