package ops

import (
	"fmt"
	"slices"
	"sync"

	"github.com/prometheus/client_golang/prometheus"

	"tickfeed/feed"
	"tickfeed/subscriber"
)

// Subscriptions describes running subscriptions. Its methods are safe for concurrent use.
type Subscriptions struct {
	subs []*subscriber.Subscriber

	mu         sync.Mutex
	recoveries map[recovery]uint64
	times      prometheus.Histogram
}

// A recovery is the labels of a recovery.
type recovery struct {
	cause  subscriber.Cause
	resume subscriber.Resume
}

// NewSubscriptions returns a Subscriptions of subs.
func NewSubscriptions(subs ...*subscriber.Subscriber) *Subscriptions {
	return &Subscriptions{
		subs: subs, recoveries: make(map[recovery]uint64),
		times: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "tickfeed_recovery_seconds", Help: "Time from the loss of a connection to the end of the recovery.",
			Buckets: []float64{.001, .01, .1, 1, 10, 100},
		}),
	}
}

// Note counts the recovery that r reports.
func (s *Subscriptions) Note(r *subscriber.Report) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.recoveries[recovery{r.Cause, r.Resume}]++
	s.times.Observe(r.Live.Seconds())
}

// IsJoined reports whether a subscriber in state st has a publisher.
func IsJoined(st subscriber.ConnState) bool {
	switch st {
	case subscriber.Snapshotting, subscriber.Replaying, subscriber.Live, subscriber.Ended:
		return true
	}
	return false
}

// Ready returns the condition that all subscriptions have a publisher.
func (s *Subscriptions) Ready() []Check {
	joined := 0
	detail := ""
	for _, sub := range s.subs {
		if st := sub.Status().State; IsJoined(st) {
			joined++
		} else if detail == "" {
			detail = st.String()
		}
	}
	if joined < len(s.subs) && len(s.subs) > 1 {
		detail = fmt.Sprintf("%d of %d connections are joined, one is %s", joined, len(s.subs), detail)
	}
	return []Check{{checkUpstream, joined == len(s.subs), detail}}
}

// Conns returns the subscriptions.
func (s *Subscriptions) Conns() []Conn {
	conns := make([]Conn, len(s.subs))
	for i, sub := range s.subs {
		st := sub.Status()
		conns[i] = Conn{
			Number: uint64(i + 1), Address: st.Addr, State: st.State.String(), Filter: sub.Filter(), Granted: st.Granted, Limits: st.Limits, Position: st.Next,
			LagTicks: st.LagTicks, LagTime: st.LagTime, RoundTrip: st.RoundTrip,
		}
	}
	return conns
}

// The metrics of subscriptions.
var (
	descConnections = desc("subscriptions", "Subscriptions, by the state of their connection.", "state")
	descSubLagTicks = desc("subscription_lag_ticks_max", "Published ticks that the subscription that is furthest behind has not delivered.")
	descSubLag      = desc("subscription_lag_seconds_max", "Time since the last delivered tick was published, of the subscription that is furthest behind.")
	descNumbers     = desc("subscription_numbers", "Sequence numbers accounted for, by what became of them; lost includes expired.", "outcome")
	descReconnects  = desc("subscription_reconnects_total", "Connections after the first of each subscription.")
	descRecoveries  = desc("recoveries_total", "Recoveries, by why the connection was lost and how the subscription resumed.", "cause", "resume")

	descSubPosition = desc("subscription_position_seq", "The next sequence number of a subscription.", "connection")
	descSubBehind   = desc("subscription_lag_ticks", "Published ticks that a subscription has not delivered.", "connection")
)

// states are the values of the label state, so that each has a series from the beginning.
var states = []subscriber.ConnState{
	subscriber.Disconnected, subscriber.Connecting, subscriber.Snapshotting, subscriber.Replaying, subscriber.Live, subscriber.Stale, subscriber.Ended, subscriber.Closed,
}

// Metrics adds the metrics of all subscriptions together.
func (s *Subscriptions) Metrics(emit func(prometheus.Metric)) {
	in := make(map[subscriber.ConnState]int)
	var ticks uint64
	var lag float64
	var totals feed.Totals
	reconnects := 0
	for _, sub := range s.subs {
		st := sub.Status()
		in[st.State]++
		ticks, lag = max(ticks, st.LagTicks), max(lag, st.LagTime.Seconds())
		reconnects += st.Reconnects
		totals.Add(sub.Totals())
	}
	for _, st := range states {
		emit(gauge(descConnections, float64(in[st]), st.String()))
	}
	emit(gauge(descSubLagTicks, float64(ticks)))
	emit(gauge(descSubLag, lag))
	for _, x := range []struct {
		outcome string
		n       uint64
	}{
		{"delivered", totals.Delivered}, {"not_asked", totals.NotAsked}, {"withheld", totals.Withheld}, {"lost", totals.Lost},
		{"expired", totals.Expired}, {"disowned", totals.Disowned},
	} {
		emit(gauge(descNumbers, float64(x.n), x.outcome))
	}
	emit(counter(descReconnects, float64(reconnects)))
	s.mu.Lock()
	defer s.mu.Unlock()
	for r, n := range s.recoveries {
		emit(counter(descRecoveries, float64(n), string(r.cause), labelOf(string(r.resume))))
	}
	emit(s.times)
}

// Details adds the metrics of each subscription.
func (s *Subscriptions) Details(emit func(prometheus.Metric)) {
	conns := s.Conns()
	slices.SortFunc(conns, func(a, b Conn) int { return orders["lag"](&a, &b) })
	for _, c := range conns[:min(len(conns), mostDetails)] {
		emit(gauge(descSubPosition, float64(c.Position), fmt.Sprint(c.Number)))
		emit(gauge(descSubBehind, float64(c.LagTicks), fmt.Sprint(c.Number)))
	}
}

// OutputReady returns the condition that the output of a recording can be written.
func OutputReady(full bool) Check {
	if full {
		return Check{checkOutput, false, "the disk is full: recording waits for room"}
	}
	return Check{Name: checkOutput, Ok: true}
}

// The metrics of a recording.
var (
	descRecordedBytes = desc("recorded_bytes_total", "Bytes of packets recorded, before compression.")
	descRecordedTicks = desc("recorded_ticks_total", "Ticks recorded.")
	descRecordBlocked = desc("recording_blocked", "1 if recording waits for room on the disk.")
)

// RecordingMetrics returns the metrics of a recording.
func RecordingMetrics(bytes, ticks func() int64, full func() bool) Collector {
	return func(emit func(prometheus.Metric)) {
		emit(counter(descRecordedBytes, float64(bytes())))
		emit(counter(descRecordedTicks, float64(ticks())))
		emit(gauge(descRecordBlocked, yes(full())))
	}
}
