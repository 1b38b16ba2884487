package netsim

import (
	"fmt"
	"time"
)

// Stats counts faults that took effect: a requested fault that met no bytes is not counted.
type Stats struct {
	Connections  uint64 // made
	RefusedDials uint64 // by mode Refuse; not those that found no listener
	HungDials    uint64 // by mode Hang or a partition, until their context ended

	Resets     uint64 // connections ended by Reset
	Cuts       uint64 // connections ended by ResetAfter
	Truncated  uint64 // directions ended by EndAfter
	BlackHoles uint64 // directions that swallowed bytes or a close
	Swallowed  uint64 // bytes swallowed by black holes
	Stalls     uint64 // stalls that kept bytes or an end from a waiting reader
	Partitions uint64 // partitions that kept bytes or an end from a waiting reader, counted per direction of a connection
	Flips      uint64 // flipped bits that were read

	Delayed uint64 // writes that arrive later because of latency or jitter
	Slowed  uint64 // writes that arrive later because of bandwidth
	Full    uint64 // writes that met a full buffer, and TryWrites that took less than all
}

// An Event is one line of a trace. Events can be compared with ==.
type Event struct {
	At    time.Duration // since New
	Conn  uint64        // number of the connection, from 1; 0 if there is none
	Dir   string        // "up" from dialler to listener, "down", or "" for both
	What  string        // "connect", "dial refused", "dial hung", "write", "read", "end", "close", or a fault
	Bytes int
}

func (e Event) String() string {
	return fmt.Sprintf("%v %d %s %s %d", e.At, e.Conn, e.Dir, e.What, e.Bytes)
}

func (n *Network) note(count func(*Stats)) {
	n.notes.Lock()
	defer n.notes.Unlock()
	count(&n.stats)
}

func (n *Network) trace(conn uint64, dir, what string, bytes int) {
	if n.cfg.Trace == nil {
		return
	}
	n.notes.Lock()
	defer n.notes.Unlock()
	n.cfg.Trace(Event{n.clock.now(), conn, dir, what, bytes})
}
