package main

import (
	"sync"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"tickfeed/subscriber"
)

// Bounds of a latency: smaller differences are not distinguished, and a longer latency counts as the greatest.
const (
	leastLatency    = 500 * time.Nanosecond
	greatestLatency = 24 * time.Hour
)

// nearEvent is how far a tick's event time may be from its publish time. An event time further away belongs to another
// day's market, such as a simulation or files, and gives no latency.
const nearEvent = time.Minute

// A latency is the distribution of the times from the ticks' publish time, or event time, until they were handed over.
type latency struct {
	values   *hdrhistogram.Histogram // in ns
	early    int64                   // ticks handed over before that time, whose latency counts as 0: two clocks differ
	earliest time.Duration           // longest time by which a tick was early
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
	_ = l.values.RecordValues(int64(min(max(d, 0), greatestLatency)), n) // the value is within bounds
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

// at returns the latency at a percentile.
func (l *latency) at(percentile float64) time.Duration {
	return time.Duration(l.values.ValueAtPercentile(percentile))
}

func (l *latency) max() time.Duration { return time.Duration(l.values.Max()) }

// A tally counts ticks and their latencies.
type tally struct {
	ticks   uint64
	publish latency // from the publish time
	event   latency // from the event time

	history uint64 // ticks without a latency: published before their line was first live
	foreign uint64 // other ticks without a latency from the event time, because it is not within nearEvent
	undated uint64 // other ticks without an event time
}

func newTally() *tally { return &tally{publish: newLatency(), event: newLatency()} }

func (t *tally) add(o *tally) {
	t.ticks += o.ticks
	t.publish.add(&o.publish)
	t.event.add(&o.event)
	t.history += o.history
	t.foreign += o.foreign
	t.undated += o.undated
}

func (t *tally) reset() {
	t.publish.reset()
	t.event.reset()
	*t = tally{publish: t.publish, event: t.event}
}

// count counts the ticks of b, which were handed over at now, in nanoseconds since the Unix epoch. They have a latency if
// their line has been live.
func (t *tally) count(b *subscriber.Batch, now int64, live bool) {
	n := uint64(len(b.Ticks))
	t.ticks += n
	if !live {
		t.history += n
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

// A meter is a tally that several lines add to and that is emptied every second. Its lock is taken once per batch, not
// per tick. There is one meter per processor, not per line, because each takes a megabyte.
type meter struct {
	mu    sync.Mutex
	now   *tally
	spare *tally   // used by take only
	_     [64]byte // keep the locks of two meters apart
}

func newMeter() *meter { return &meter{now: newTally(), spare: newTally()} }

func (m *meter) count(b *subscriber.Batch, now int64, live bool) {
	m.mu.Lock()
	m.now.count(b, now, live)
	m.mu.Unlock()
}

// take adds the ticks counted since the last call to sum.
func (m *meter) take(sum *tally) {
	m.mu.Lock()
	taken := m.now
	m.now = m.spare
	m.mu.Unlock()
	sum.add(taken)
	taken.reset()
	m.spare = taken
}
