package exam

import (
	"context"

	"tickfeed/codec/lab"
	"tickfeed/publisher/hosted"
)

// A gate is the publisher of a drive for its lab, which ends and starts it between two ticks: what was published is in the
// journal then, so that the judge knows it.
type gate struct {
	*hosted.Publisher
	v   *driver
	ctx context.Context
}

// take lets nothing be published until give. It returns false if ctx ends.
func (v *driver) take(ctx context.Context) bool {
	select {
	case v.turn <- struct{}{}:
		return true
	case <-ctx.Done():
		return false
	}
}

func (v *driver) give() { <-v.turn }

// pause waits for a turn in which everything published is in the journal.
func (g gate) pause() error {
	if !g.v.take(g.ctx) {
		return context.Cause(g.ctx)
	}
	if err := g.v.pub.Flush(g.ctx); err != nil {
		g.v.give()
		return err
	}
	return nil
}

// Can implements lab.Publisher.
func (gate) Can(lab.Fault) error { return nil }

// Kill and Stop end the publisher; nothing is published until Start.
func (g gate) Kill() error {
	if err := g.pause(); err != nil {
		return err
	}
	return g.Publisher.Kill()
}

// Stop is described with Kill.
func (g gate) Stop() error {
	if err := g.pause(); err != nil {
		return err
	}
	return g.Publisher.Stop()
}

// Start implements lab.Publisher.
func (g gate) Start(ctx context.Context, over lab.Journal) error {
	if err := g.Publisher.Start(ctx, over); err != nil {
		return err
	}
	g.v.give()
	return nil
}

// Copy implements lab.Publisher.
func (g gate) Copy() error {
	if err := g.pause(); err != nil {
		return err
	}
	defer g.v.give()
	return g.Publisher.Copy()
}

// Freeze lets nothing be published until Thaw.
func (g gate) Freeze() error { return g.pause() }

// Thaw implements lab.Publisher.
func (g gate) Thaw() error {
	g.v.give()
	return nil
}
