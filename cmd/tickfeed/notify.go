package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
	"github.com/rs/zerolog"

	"tickfeed/cmd/ops"
)

// The states that are sent to a service manager, with Type=notify in the unit of systemd. See sd_notify(3).
const (
	stateReady    = daemon.SdNotifyReady
	stateStopping = daemon.SdNotifyStopping
	stateAlive    = daemon.SdNotifyWatchdog
)

// stateReloading is followed by stateReady.
func stateReloading() string {
	return strings.TrimSpace(daemon.SdNotifyReloading + "\n" + daemon.SdNotifyMonotonicUsec())
}

// stateDraining is stateStopping of a process that takes this long to stop.
func stateDraining(over time.Duration) string {
	return fmt.Sprintf("%s\nEXTEND_TIMEOUT_USEC=%d", stateStopping, (over + drainMargin).Microseconds())
}

// drainMargin is more than a shutdown takes: what waitBounded and Close wait for, and a margin.
const drainMargin = 30 * time.Second

// notify sends a state to the service manager. It does nothing if there is none.
func notify(log zerolog.Logger, state string) {
	if _, err := daemon.SdNotify(false, state); err != nil {
		log.Warn().Err(err).Msg("cannot notify the service manager")
	}
}

// guard reports to the service manager that the publisher is alive, twice in each of its watchdog intervals, until ctx ends. It
// returns at once if there is no watchdog. A publisher that hangs is killed and started again.
func (s *service) guard(ctx context.Context) error {
	interval, err := daemon.SdWatchdogEnabled(false)
	if err != nil {
		s.log.Warn().Err(err).Msg("the watchdog of the service manager is not used")
	}
	if interval <= 0 {
		return nil
	}
	s.log.Info().Dur("interval", interval).Msg("guarded by the watchdog of the service manager")
	view := ops.NewPublisher(s.pub, s.o.staleAfter)
	beat := time.NewTicker(interval / 2)
	defer beat.Stop()
	for {
		if s.lives(ctx, view, interval/2) {
			notify(s.log, stateAlive)
		}
		select {
		case <-beat.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// lives reports whether the publisher does its work: what was published reaches the journal within the given time, and the
// simulated market moves unless it is closed. Files and standard input may be quiet for long. While the disk takes nothing,
// the publisher waits for it, and a restart would not help.
func (s *service) lives(ctx context.Context, view *ops.Publisher, within time.Duration) bool {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	if s.pub.Flush(ctx) != nil && s.pub.Summary().Disk == "" {
		return false
	}
	return s.input.source != nil || view.Moves()
}
