package netsim

import (
	"container/heap"
	"math"
	"sync"
	"time"
)

// A clock rings alarms in the order (instant, order of asking). One timer serves all of them, because timers of a synctest
// bubble that are due at the same instant fire in random order.
type clock struct {
	epoch time.Time // instants are durations since

	mu     sync.Mutex // taken after Network.mu and Link.mu
	queue  alarms
	asked  uint64
	timer  *time.Timer
	armed  time.Duration // when timer fires; never if it does not
	firing bool          // fire is at work: it arms the timer when it is done, so that alarms ring one at a time
}

// An alarm calls ring once, unless it is set again.
type alarm struct {
	when  time.Duration
	order uint64
	index int // in clock.queue; -1 if not in it
	ring  func()
}

const never = time.Duration(math.MaxInt64)

func newClock() *clock { return &clock{epoch: time.Now(), armed: never} }

func (c *clock) now() time.Duration { return time.Since(c.epoch) }

func (c *clock) at(t time.Time) time.Duration { return t.Sub(c.epoch) }

// set has a ring no later than when. An alarm that is set for an earlier instant stays: whoever waits looks, and sets it
// again.
func (c *clock) set(a *alarm, when time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if a.index >= 0 && a.when <= when {
		return
	}
	c.asked++
	a.when, a.order = when, c.asked
	if a.index >= 0 {
		heap.Fix(&c.queue, a.index)
	} else {
		heap.Push(&c.queue, a)
	}
	c.armLocked()
}

func (c *clock) cancel(a *alarm) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if a.index < 0 {
		return
	}
	heap.Remove(&c.queue, a.index)
	if len(c.queue) == 0 && c.timer != nil {
		c.timer.Stop()
		c.armed = never
	}
}

func (c *clock) armLocked() {
	if c.firing || len(c.queue) == 0 || c.queue[0].when >= c.armed {
		return
	}
	c.armed = c.queue[0].when
	d := c.armed - c.now()
	if c.timer == nil {
		c.timer = time.AfterFunc(d, c.fire)
	} else {
		c.timer.Reset(d)
	}
}

// fire rings what is due, holding no lock.
func (c *clock) fire() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.firing {
		return
	}
	c.firing = true
	for len(c.queue) > 0 && c.queue[0].when <= c.now() {
		a := heap.Pop(&c.queue).(*alarm)
		c.mu.Unlock()
		a.ring()
		c.mu.Lock()
	}
	c.firing = false
	c.armed = never
	c.armLocked()
}

// alarms is a heap.
type alarms []*alarm

func (q alarms) Len() int { return len(q) }

func (q alarms) Less(i, j int) bool {
	if q[i].when != q[j].when {
		return q[i].when < q[j].when
	}
	return q[i].order < q[j].order
}

func (q alarms) Swap(i, j int) {
	q[i], q[j] = q[j], q[i]
	q[i].index, q[j].index = i, j
}

func (q *alarms) Push(x any) {
	a := x.(*alarm)
	a.index = len(*q)
	*q = append(*q, a)
}

func (q *alarms) Pop() any {
	last := len(*q) - 1
	a := (*q)[last]
	(*q)[last] = nil
	*q = (*q)[:last]
	a.index = -1
	return a
}

// A wakeup is a condition to wait for under a mutex, until some instant at the latest.
type wakeup struct {
	cond    sync.Cond
	waiting int // guarded by cond.L
	clock   *clock
	alarm   alarm
}

func (w *wakeup) init(mu *sync.Mutex, c *clock) {
	w.cond.L = mu
	w.clock = c
	w.alarm = alarm{index: -1, ring: w.wakeUnlocked}
}

// wait is called with the mutex held. It may return early: the caller looks again.
func (w *wakeup) wait(until time.Duration) {
	if until != never {
		w.clock.set(&w.alarm, until)
	}
	w.waiting++
	w.cond.Wait()
	w.waiting--
}

// wake is called with the mutex held.
func (w *wakeup) wake() {
	if w.waiting > 0 {
		w.cond.Broadcast()
	}
}

func (w *wakeup) wakeUnlocked() {
	w.cond.L.Lock()
	defer w.cond.L.Unlock()
	w.wake()
}

func (w *wakeup) cancel() { w.clock.cancel(&w.alarm) }
