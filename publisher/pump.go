package publisher

import (
	"sync"
	"time"

	"tickfeed/codec"
)

// A pump serves connections in turn, each as far as it takes bytes without waiting. With many connections, a few
// pumps use less processor time than a goroutine woken for each connection.
type pump struct {
	mu    sync.Mutex
	queue []*conn
	kick  chan struct{} // 1 slot

	// Only the goroutine of the pump uses the fields below.
	writes   int     // in this round
	behind   []*conn // to be served again in the next round
	filtered []*conn // to be filtered together
	members  []*conn // filtered together in this pass
	outs     []int   // index of the output of each member
}

// add queues the connections among conns that this pump serves.
func (w *pump) add(conns []*conn) {
	w.mu.Lock()
	before := len(w.queue)
	for _, c := range conns {
		if c.pumpOf() == w {
			w.queue = append(w.queue, c)
		}
	}
	some := len(w.queue) > before
	w.mu.Unlock()
	if !some {
		return
	}
	select {
	case w.kick <- struct{}{}:
	default:
	}
}

// writeTime is the approximate cost of a short write to publisher and subscriber together; most of it is waking the
// subscriber. A round begins no sooner after the previous round than the writes of the previous round take, but at
// most maxPause later, so that it finds more to send. Without the pause the machine would be busy with writes of
// single ticks.
const (
	writeTime = 20 * time.Microsecond
	maxPause  = 2 * time.Millisecond
)

// run serves the queued connections until closing is closed.
func (w *pump) run(closing <-chan struct{}, sleep func(time.Duration)) {
	var round []*conn
	var began time.Time // start of the last round
	for {
		if d := min(time.Duration(w.writes)*writeTime, maxPause) - time.Since(began); d > 0 {
			sleep(d)
		}
		w.mu.Lock()
		round = append(round, w.queue...)
		clear(w.queue)
		w.queue = w.queue[:0]
		w.mu.Unlock()
		if len(round) == 0 {
			select {
			case <-w.kick:
				continue
			case <-closing:
				return
			}
		}
		began, w.writes = time.Now(), 0
		for _, c := range round {
			if c.filtered.Load() {
				w.filtered = append(w.filtered, c)
			} else {
				w.writes++
				w.handle(c, c.serveInline())
			}
		}
		if left := w.filtered; len(left) > 0 {
			end, _ := left[0].p.log.head()
			for len(left) > 0 {
				left = w.together(left, end)
			}
		}
		clear(w.filtered)
		clear(round)
		round, w.behind, w.filtered = w.behind, round[:0], w.filtered[:0]
	}
}

func (w *pump) handle(c *conn, how outcome) {
	switch how {
	case stillBehind:
		w.behind = append(w.behind, c)
	case needsWriter:
		c.signal()
	}
}

// together does what serveInline does, for the connections among conns that have a filter and stand at the same position
// as the first one: it filters the log once for all of them, and once per distinct filter. It does not go beyond
// number end, so that all connections stand at the same position after a round, unless a slow connection has ended a
// pass early. It returns the connections that stand elsewhere, or exceed the size of a pass, in the memory of conns.
func (w *pump) together(conns []*conn, end uint64) (others []*conn) {
	f := filterings.Get().(*filtering)
	defer filterings.Put(f)
	defer f.reset()
	var (
		v  view
		at place // position of v
	)
	others = conns[:0]
	for _, c := range conns {
		if !c.tryTurn() {
			c.signal()
			continue
		}
		l := &c.line
		if l.wanted == nil || l.session.ID != c.p.session.ID { // its writer handles these cases
			c.turn.Unlock()
			c.signal()
			continue
		}
		if l.read >= end {
			how := c.parkIfCaughtUp()
			c.turn.Unlock()
			w.handle(c, how)
			continue
		}
		if v.seg == nil {
			var ok bool
			at = l.at
			v, ok = c.p.log.view(at)
			if !ok || len(v.data) == 0 {
				how := needsWriter
				if ok {
					how = c.parkIfCaughtUp()
				}
				c.turn.Unlock()
				w.handle(c, how)
				continue
			}
		}
		here := l.at == at
		if here && c.late(&v) {
			c.turn.Unlock()
			c.signal()
			continue
		}
		out, ok := 0, false
		if here {
			out, ok = f.add(l, end-l.read)
		}
		if !ok {
			c.turn.Unlock()
			others = append(others, c)
			continue
		}
		w.members, w.outs = append(w.members, c), append(w.outs, out)
	}
	defer v.release()
	if len(w.members) > 0 {
		f.pass(w.members[0].p.log, at, end, spillAt, func(out int) bool { return w.spill(out, f.outs[out].dst) })
	}
	for i, c := range w.members {
		w.send(c, f.outs[w.outs[i]].dst)
		how := c.parkIfCaughtUp()
		if c.out.failed == nil && c.out.behind() && len(c.out.rest) <= maxRest {
			how = stillBehind // it may take the rest in the next round
		}
		c.turn.Unlock()
		w.handle(c, how)
	}
	clear(w.members)
	w.members, w.outs = w.members[:0], w.outs[:0]
	return others
}

// spill sends data to the members that share output out. It returns false if one of them takes too little: the pass
// then ends so that the other members are sent their data. In the next round they are served without a member that
// has not taken everything by then.
func (w *pump) spill(out int, data []byte) bool {
	ok := true
	for i, c := range w.members {
		if w.outs[i] == out {
			ok = w.send(c, data) && ok
		}
	}
	return ok
}

// maxRest is how many bytes a connection may leave untaken and still remain in a pass.
const maxRest = 128 << 10

// send writes data, which ends at the position of the line of c, and keeps what c does not take. It returns false if
// c has left more than maxRest, or has failed.
func (w *pump) send(c *conn, data []byte) bool {
	c.progress.tell(c.line.next, c.line.read)
	n := 0
	if len(data) > 0 {
		w.writes++
	}
	if c.out.writeKept() {
		if len(data) > 0 {
			c.out.sent(codec.PacketAt(data).PublishTime)
		}
		n = c.out.now(data)
	}
	if n < len(data) {
		c.out.keep(data[n:], codec.PacketAt(data).PublishTime)
	}
	return len(c.out.rest) <= maxRest && c.out.failed == nil
}
