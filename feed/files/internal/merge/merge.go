// Package merge merges streams of events by time. Importers of formats with one file per
// instrument and day use it to read any number of files as one session.
package merge

import (
	"cmp"
	"io"
	"slices"
)

// A Stream is a sequence of events. Its order is kept, whatever the times of the events.
type Stream interface {
	// Start returns a time before which the stream has no event, so that it need not be opened earlier.
	Start() int64
	// Advance moves to the next event and returns its time. The first call opens the stream. The error is io.EOF after the
	// last event.
	Advance() (int64, error)
	// Close frees what Advance opened. It may be called more than once.
	Close()
}

// A Queue yields the events of several streams, the earliest first. Events with equal times are ordered by the
// position of their streams in the argument of New. Only streams whose times overlap are open at the same time.
type Queue[S Stream] struct {
	waiting []entry[S] // streams that are not open, the latest start first
	open    []entry[S] // a heap of open streams, the next event on top
	moving  bool       // Next has returned the stream on top
}

type entry[S Stream] struct {
	time   int64 // time of the current event, which never decreases; before the stream is opened, its Start
	order  int
	stream S
}

func (a *entry[S]) before(b *entry[S]) bool {
	return a.time < b.time || a.time == b.time && a.order < b.order
}

// New returns a Queue of streams.
func New[S Stream](streams []S) *Queue[S] {
	q := &Queue[S]{}
	for i, s := range streams {
		q.waiting = append(q.waiting, entry[S]{s.Start(), i, s})
	}
	slices.SortFunc(q.waiting, func(a, b entry[S]) int {
		return cmp.Or(cmp.Compare(b.time, a.time), b.order-a.order)
	})
	return q
}

// Next returns the stream that has the next event. The error is io.EOF after the last event of
// all streams, or an error from a stream's Advance.
func (q *Queue[S]) Next() (s S, err error) {
	if q.moving {
		q.moving = false
		if err = q.advance(); err != nil {
			return s, err
		}
	}
	for n := len(q.waiting) - 1; n >= 0; n-- {
		e := q.waiting[n]
		if len(q.open) > 0 && e.time > q.open[0].time {
			break
		}
		q.waiting = q.waiting[:n]
		t, err := e.stream.Advance()
		if err != nil {
			e.stream.Close()
			if err == io.EOF {
				continue
			}
			return s, err
		}
		e.time = t
		q.open = append(q.open, e)
		q.up(len(q.open) - 1)
	}
	if len(q.open) == 0 {
		return s, io.EOF
	}
	q.moving = true
	return q.open[0].stream, nil
}

// advance moves the stream on top to its next event.
func (q *Queue[S]) advance() error {
	top := &q.open[0]
	t, err := top.stream.Advance()
	switch err {
	case nil:
		top.time = max(top.time, t)
	case io.EOF:
		top.stream.Close()
		last := len(q.open) - 1
		q.open[0] = q.open[last]
		q.open[last] = entry[S]{}
		q.open = q.open[:last]
	default:
		return err
	}
	q.down()
	return nil
}

func (q *Queue[S]) up(i int) {
	for i > 0 {
		parent := (i - 1) / 2
		if !q.open[i].before(&q.open[parent]) {
			return
		}
		q.open[i], q.open[parent] = q.open[parent], q.open[i]
		i = parent
	}
}

func (q *Queue[S]) down() {
	for i := 0; ; {
		child := 2*i + 1
		if child >= len(q.open) {
			return
		}
		if child+1 < len(q.open) && q.open[child+1].before(&q.open[child]) {
			child++
		}
		if !q.open[child].before(&q.open[i]) {
			return
		}
		q.open[i], q.open[child] = q.open[child], q.open[i]
		i = child
	}
}

// Close closes the streams that are open.
func (q *Queue[S]) Close() {
	for i := range q.open {
		q.open[i].stream.Close()
	}
	q.open, q.waiting, q.moving = nil, nil, false
}
