package netsim

import (
	"container/heap"
	"math"
	"sync"
	"time"
)

// A clock rings alarms in order of their instants, and alarms of one instant in the order in which they were
// set. One timer serves all alarms, because timers of a synctest bubble that are due at the same instant fire
// in random order.
type clock struct {
	epoch time.Time // instants are durations since epoch

	mu     sync.Mutex // acquired after Network.mu and Link.mu
	queue  alarms
	asked  uint64
	timer  *time.Timer
	armed  time.Duration // the instant at which timer fires, or never
	firing bool          // fire is running: alarms ring one at a time, and fire arms the timer when it is done
}

// An alarm calls ring once after it is set, and may be set again.
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

// set makes alarm a ring no later than when. An alarm that is set for an earlier instant keeps it: the waiter that it
// wakes sets it again.
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

// fire rings all due alarms, holding no lock.
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

// A wakeup is a condition that goroutines wait for under a mutex, at most until a given instant.
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

// wait must be called with the mutex held. It may return early, so the caller must check its condition again.
func (w *wakeup) wait(until time.Duration) {
	if until != never {
		w.clock.set(&w.alarm, until)
	}
	w.waiting++
	w.cond.Wait()
	w.waiting--
}

// wake must be called with the mutex held.
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
