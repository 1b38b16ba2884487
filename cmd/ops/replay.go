package ops

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"tickfeed/publisher/replay"
)

// A ReplayRequest is the body of POST /step, /speed and /seek. Each uses one field.
type ReplayRequest struct {
	N     uint64        `json:"n,omitempty"`     // for step: number of ticks, at most replay.MaxStep; 0 for 1
	Speed *replay.Speed `json:"speed,omitempty"` // for speed
	To    string        `json:"to,omitempty"`    // for seek: a target for replay.ParseTarget
}

// ReplayRoutes returns the effects on p: POST /pause, /resume, /step, /speed and /seek. Each responds with status. Times of day
// in requests are in zone.
func ReplayRoutes(p *replay.Player, zone *time.Location, status func() any) []Route {
	effect := func(name string, do func(context.Context, *ReplayRequest) error) Route {
		return Route{Name: name, Effect: true, Do: func(ctx context.Context, body []byte) (any, error) {
			q, err := Read[ReplayRequest](body)
			if err == nil {
				err = replayError(do(ctx, q))
			}
			if err != nil {
				return nil, err
			}
			return status(), nil
		}}
	}
	return []Route{
		effect("pause", func(ctx context.Context, _ *ReplayRequest) error { return p.Pause(ctx) }),
		effect("resume", func(ctx context.Context, _ *ReplayRequest) error { return p.Resume(ctx) }),
		effect("step", func(ctx context.Context, q *ReplayRequest) error { return p.Step(ctx, max(1, q.N)) }),
		effect("speed", func(ctx context.Context, q *ReplayRequest) error {
			if q.Speed == nil {
				return BadRequest(`the body must contain the speed, such as {"speed": "10x"}`)
			}
			return p.SetSpeed(ctx, float64(*q.Speed))
		}),
		effect("seek", func(ctx context.Context, q *ReplayRequest) error {
			t, err := replay.ParseTarget(q.To, zone)
			if err != nil {
				return BadRequest("%w", err)
			}
			return p.Seek(ctx, t)
		}),
	}
}

// replayError returns err with its HTTP status.
func replayError(err error) error {
	switch {
	case errors.As(err, new(*replay.StepError)), errors.As(err, new(*replay.RangeError)):
		return &Error{http.StatusBadRequest, err}
	case errors.Is(err, replay.ErrStopped):
		return &Error{http.StatusServiceUnavailable, err}
	}
	return err
}

// The metrics of a replay.
var (
	descReplayState    = desc("replay_state", "1 for the state that the replay is in.", "state")
	descReplaySpeed    = desc("replay_speed", "Recorded seconds per second; +Inf for as fast as possible.")
	descReplayTime     = desc("replay_recorded_time_seconds", "Place in the recording, as a time.")
	descReplayBehind   = desc("replay_behind_seconds", "How late the next tick is.")
	descReplayTicks    = desc("replay_ticks_total", "Ticks played, in all sessions.")
	descReplaySessions = desc("replay_sessions_total", "Sessions begun: one, and one more for each seek and loop.")
	descReplayDamaged  = desc("replay_damaged_ticks_total", "Numbers lost to damage in the recordings, as far as they were read.")
)

// ReplayMetrics returns the metrics of p.
func ReplayMetrics(p *replay.Player) Collector {
	return func(emit func(prometheus.Metric)) {
		s := p.Status()
		emit(gauge(descReplayState, 1, string(s.State)))
		emit(gauge(descReplaySpeed, float64(s.Speed)))
		emit(gauge(descReplayTime, seconds(s.Recorded)))
		emit(gauge(descReplayBehind, s.Behind.Seconds()))
		emit(counter(descReplayTicks, float64(s.Ticks)))
		emit(counter(descReplaySessions, float64(s.Sessions)))
		emit(counter(descReplayDamaged, float64(s.Damaged)))
	}
}
