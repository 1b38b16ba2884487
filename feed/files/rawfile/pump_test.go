package rawfile_test

import (
	"context"
	"errors"
	"testing"

	"github.com/stretchr/testify/assert"

	"tickfeed/feed"
	"tickfeed/feed/files/rawfile"
)

// A batch holds ticks of several pieces, or a part of one; the error comes after the ticks before it, and again.
func TestPumpReturnsErrorsAfterTicks(t *testing.T) {
	broken := errors.New("broken")
	pieces := [][]feed.Tick{{{Seq: 1}, {Seq: 2}, {Seq: 3}}, nil, {{Seq: 4}}, {{Seq: 5}}}
	var p rawfile.Pump
	more := func(bool) error {
		if len(pieces) == 0 {
			return broken
		}
		p.Pending, pieces = pieces[0], pieces[1:]
		return nil
	}
	batch := make([]feed.Tick, 2)
	for _, want := range [][]feed.Tick{{{Seq: 1}, {Seq: 2}}, {{Seq: 3}, {Seq: 4}}, {{Seq: 5}}} {
		n, err := p.Next(t.Context(), batch, more)
		assert.NoError(t, err)
		assert.Equal(t, want, batch[:n])
	}
	p.End(errors.New("closed"))
	for range 2 {
		n, err := p.Next(t.Context(), batch, more)
		assert.Zero(t, n)
		assert.Equal(t, broken, err)
	}
}

// A source that would wait returns the ticks that it has; and one whose context ends may be asked again.
func TestPumpDoesNotWait(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	p := rawfile.Pump{Pending: []feed.Tick{{Seq: 1}}}
	asked := 0
	more := func(wait bool) error {
		if asked++; !wait {
			return rawfile.ErrNotYet
		}
		cancel()
		return ctx.Err()
	}
	batch := make([]feed.Tick, 2)
	n, err := p.Next(ctx, batch, more)
	assert.NoError(t, err)
	assert.Equal(t, 1, n)
	_, err = p.Next(ctx, batch, more)
	assert.Equal(t, context.Canceled, err)
	_, err = p.Next(ctx, batch, more)
	assert.Equal(t, context.Canceled, err)
	assert.Equal(t, 2, asked, "an ended context is not asked for more")
	n, err = p.Next(t.Context(), nil, more)
	assert.NoError(t, err)
	assert.Zero(t, n)

	p.End(errors.New("closed"))
	_, err = p.Next(t.Context(), batch, more)
	assert.EqualError(t, err, "closed")
}
