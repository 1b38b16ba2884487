package publisher

import (
	"runtime"
	"slices"
	"sync"
)

// A parking holds the connections that wait for something to send, and the pumps that serve them if they are many.
type parking struct {
	pumps []pump

	mu     sync.Mutex
	parked []*conn
	waking []*conn // the buffer that wake swaps with parked; between two calls of wake it is empty
}

// Bounds of the parking.
const (
	maxInline = 4 // connections that the flusher serves itself
	maxPumps  = 8 // goroutines that serve the connections if there are more
)

func (k *parking) init() {
	k.pumps = make([]pump, min(runtime.GOMAXPROCS(0), maxPumps))
	for i := range k.pumps {
		k.pumps[i].kick = make(chan struct{}, 1)
	}
}

// pumpFor returns the pump of connection n.
func (k *parking) pumpFor(n uint64) *pump { return &k.pumps[n%uint64(len(k.pumps))] }

// park arranges for c to be woken when the log grows beyond what c has read. It returns false if the log has grown
// already.
func (k *parking) park(c *conn, log *memlog) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	if c.parked {
		return true
	}
	if next, _ := log.head(); next > c.line.read {
		return false
	}
	c.parked = true
	k.parked = append(k.parked, c)
	return true
}

// remove removes c, which has ended.
func (k *parking) remove(c *conn) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if i := slices.Index(k.parked, c); i >= 0 {
		last := len(k.parked) - 1
		k.parked[i], k.parked[last] = k.parked[last], nil
		k.parked = k.parked[:last]
	}
}

// wake serves the parked connections after the log has grown: a few directly, which is fastest, many through the
// pumps. Only the goroutine that flushes may call it.
func (k *parking) wake() {
	k.mu.Lock()
	k.parked, k.waking = k.waking[:0], k.parked
	for _, c := range k.waking {
		c.parked = false
	}
	k.mu.Unlock()
	if len(k.waking) > maxInline {
		for i := range k.pumps {
			k.pumps[i].add(k.waking)
		}
	} else {
		for _, c := range k.waking {
			if c.serveInline() != parkedAgain {
				c.signal()
			}
		}
	}
	clear(k.waking)
}
