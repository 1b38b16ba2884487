package main

import (
	"sync"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"tickfeed/codec"
	"tickfeed/feed"
	"tickfeed/subscriber"
)

// Bounds of a latency: differences below the least are not told apart, and what is longer than the greatest counts as the greatest.
const (
	leastLatency    = 500 * time.Nanosecond
	greatestLatency = 24 * time.Hour
)

// nearEvent is how far the event time of a tick may be from its publish time. An event time that is further away is the time of
// another day's market, as in a simulation or in files, and says nothing about latency.
const nearEvent = time.Minute

// A latency is how long after one of their times, the publish time or the event time, ticks were handed over.
type latency struct {
	values   *hdrhistogram.Histogram // in ns
	early    int64                   // ticks handed over before that time, whose latency counts as 0: two clocks differ
	earliest time.Duration           // the longest time before it
}

func newLatency() latency {
	return latency{values: hdrhistogram.New(int64(leastLatency), int64(greatestLatency), 3)}
}

// record counts n ticks with latency d.
func (l *latency) record(d time.Duration, n int64) {
	if d < 0 {
		l.early += n
		l.earliest = max(l.earliest, -d)
	}
	_ = l.values.RecordValues(int64(min(max(d, 0), greatestLatency)), n) // within its bounds
}

func (l *latency) add(o *latency) {
	l.values.Merge(o.values)
	l.early += o.early
	l.earliest = max(l.earliest, o.earliest)
}

func (l *latency) reset() {
	l.values.Reset()
	l.early, l.earliest = 0, 0
}

func (l *latency) count() int64 { return l.values.TotalCount() }

// at returns the latency of a percentile.
func (l *latency) at(percentile float64) time.Duration {
	return time.Duration(l.values.ValueAtPercentile(percentile))
}

func (l *latency) max() time.Duration { return time.Duration(l.values.Max()) }

// A tally counts ticks and their latencies.
type tally struct {
	ticks   uint64
	publish latency // from the publish time
	event   latency // from the event time

	history  uint64 // ticks without a latency: published before their line was live for the first time
	recorded uint64 // ticks without a latency: of a replay, which sends the times of the recording
	foreign  uint64 // other ticks without a latency from the event time, because it is not within nearEvent
	undated  uint64 // other ticks without an event time
}

func newTally() *tally { return &tally{publish: newLatency(), event: newLatency()} }

func (t *tally) add(o *tally) {
	t.ticks += o.ticks
	t.publish.add(&o.publish)
	t.event.add(&o.event)
	t.history += o.history
	t.recorded += o.recorded
	t.foreign += o.foreign
	t.undated += o.undated
}

func (t *tally) reset() {
	t.publish.reset()
	t.event.reset()
	*t = tally{publish: t.publish, event: t.event}
}

// count counts the ticks of b, which were handed over at now, in nanoseconds since the Unix epoch. Timed says whether their
// times are compared with now.
func (t *tally) count(b *subscriber.Batch, now int64, timed timing) {
	n := uint64(len(b.Ticks))
	t.ticks += n
	switch timed {
	case timedHistory:
		t.history += n
		return
	case timedRecorded:
		t.recorded += n
		return
	}
	for publish, ticks := range b.ByPublishTime() {
		t.publish.record(time.Duration(now-publish), int64(len(ticks)))
		for i := range ticks {
			switch at := ticks[i].EventTime; {
			case at == 0:
				t.undated++
			case time.Duration(publish-at).Abs() > nearEvent:
				t.foreign++
			default:
				t.event.record(time.Duration(now-at), 1)
			}
		}
	}
}

// A timing says whether ticks have a latency.
type timing uint8

const (
	timedHistory  timing = iota // no: their line has not been live yet
	timedRecorded               // no: they come from a replay
	timedLive                   // yes
)

// A meter is a tally that a few lines add to, and that is taken away every second. Its lock is held for a batch, not a tick.
// There are as many as processors, rather than one for each line: each has a megabyte.
type meter struct {
	mu    sync.Mutex
	now   *tally
	spare *tally   // of take alone
	_     [64]byte // keep the locks of two meters apart
}

func newMeter() *meter { return &meter{now: newTally(), spare: newTally()} }

func (m *meter) count(b *subscriber.Batch, now int64, timed timing) {
	m.mu.Lock()
	m.now.count(b, now, timed)
	m.mu.Unlock()
}

// take adds what was counted since the last call to sum.
func (m *meter) take(sum *tally) {
	m.mu.Lock()
	taken := m.now
	m.now = m.spare
	m.mu.Unlock()
	sum.add(taken)
	taken.reset()
	m.spare = taken
}

// A timer decides whether the ticks of one line have a latency.
type timer struct {
	live    bool // the line has been live
	session feed.SessionID
	mode    codec.Mode // of session
}

// timing of the ticks of b; mode returns the mode of the session that they are of.
func (t *timer) timing(b *subscriber.Batch, mode func() codec.Mode) timing {
	if b.Session != t.session {
		t.session, t.mode = b.Session, mode()
	}
	switch {
	case t.mode == codec.ModeReplay:
		return timedRecorded
	case !t.live:
		return timedHistory
	}
	return timedLive
}
