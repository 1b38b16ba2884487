package publisher

import (
	"context"
	"time"

	"github.com/rs/zerolog"
)

// An audience is the subscribers that publishing without a journal waits for: see Config.WaitFor.
type audience struct {
	waitFor int // 0 for none
	log     *memlog
	roster  *roster
	logger  *zerolog.Logger
}

// mustWait reports whether memory is full of numbers that must first be sent to subscribers.
func (a *audience) mustWait() bool {
	if a.waitFor == 0 {
		return false
	}
	full, ok := a.log.mayDrop(func(next uint64) bool {
		sent, connected, joined := a.roster.sentTo(next)
		return joined >= uint64(a.waitFor) && sent >= min(a.waitFor, connected)
	})
	return full && !ok
}

// wait waits until mustWait returns false.
func (a *audience) wait(ctx context.Context, closing <-chan struct{}) error {
	poll := time.NewTicker(waitPoll)
	defer poll.Stop()
	said := time.Now().Add(-waitSay)
	for a.mustWait() {
		if _, _, joined := a.roster.sentTo(0); joined < uint64(a.waitFor) && time.Since(said) >= waitSay {
			said = time.Now()
			a.logger.Warn().Int("wait_for", a.waitFor).Uint64("connected", joined).
				Msg("memory is full: publishing waits for subscribers before it drops the first number")
		}
		select {
		case <-poll.C:
		case <-ctx.Done():
			return ctx.Err()
		case <-closing:
			return ErrClosed
		}
	}
	return nil
}
