package pcap

import "slices"

// Bounds of a [Window].
const (
	// windowPackets is how many packets of the capture may follow the first packet after a hole before the
	// window gives up the hole.
	windowPackets = 4096
	// windowBytes bounds the bytes of payload that a window holds for all lines together.
	windowBytes = 8 << 20
)

// A Line is the numbering of one sender as followed by a [Window].
type Line struct {
	// Next is the number of the next message; 0 if it may be any.
	Next uint64

	held []Numbered // after a hole, by First; equal numbers in the order of arrival
}

// A Numbered packet carries messages First, First+1, ... of a line.
type Numbered struct {
	Line    *Line
	First   uint64
	Payload []byte // UDP payload
	Time    int64  // see Packet
	Offset  int64  // see Packet
	Due     bool   // ready to be read: it joins its line, or the hole before it is given up

	arrived int64 // Window.read when the packet was held
}

// A Window puts the packets of numbered lines into the order of their numbers. If a capture has two lines with
// the same messages, packets are out of order where one line has lost a packet that the other brings later. The
// window holds the packets after a hole until the hole is filled; after windowPackets further packets of the
// capture, or if it holds more than windowBytes of payload, it gives up the hole. The zero Window is ready to
// use.
type Window struct {
	read  int64     // packets of all lines, counted by Arrived
	bytes int       // of held payload
	lines []*Line   // the lines that hold packets
	again *Numbered // the packet given to FlushBefore
	spare [][]byte  // payloads for reuse
	last  []byte    // the payload of the last result of Ready
}

// Arrived counts one more packet of the capture.
func (w *Window) Arrived() { w.read++ }

// Ahead reports whether p is after a hole in its line. At the start of a line it is if its number is above 1,
// but not far above.
func (p *Numbered) Ahead() bool {
	if p.Line.Next == 0 {
		return p.First > 1 && p.First <= windowPackets
	}
	return p.First > p.Line.Next
}

// Hold keeps a copy of p, which must be ahead, until [Window.Ready] returns it.
func (w *Window) Hold(p Numbered) {
	l := p.Line
	p = w.keep(p)
	if len(l.held) == 0 {
		w.lines = append(w.lines, l)
	}
	i, _ := slices.BinarySearchFunc(l.held, p.First+1, func(h Numbered, first uint64) int {
		if h.First < first {
			return -1
		}
		return 1
	})
	l.held = slices.Insert(l.held, i, p)
}

// FlushBefore makes Ready return every held packet, and then p, which begins a new numbering.
func (w *Window) FlushBefore(p Numbered) {
	p = w.keep(p)
	w.again = &p
}

func (w *Window) keep(p Numbered) Numbered {
	var b []byte
	if n := len(w.spare); n > 0 {
		b, w.spare = w.spare[n-1], w.spare[:n-1]
	}
	p.Payload = append(b[:0], p.Payload...)
	p.arrived = w.read
	w.bytes += len(p.Payload)
	return p
}

// Holds reports whether the window holds packets.
func (w *Window) Holds() bool { return len(w.lines) > 0 }

// Ready returns the next held packet that may be read: one that joins its line, the first one after a hole that
// is given up, or the packet given to FlushBefore, which is not Due. The payload is valid until the next call.
func (w *Window) Ready() (Numbered, bool) {
	if w.last != nil {
		w.spare = append(w.spare, w.last)
		w.last = nil
	}
	var oldest *Line
	since := w.read
	for _, l := range w.lines {
		if l.held[0].First <= l.Next {
			return w.take(l), true
		}
		if at := l.held[0].arrived; oldest == nil || at < since {
			oldest, since = l, at
		}
	}
	switch {
	case oldest != nil && (w.again != nil || w.read-since >= windowPackets || w.bytes > windowBytes):
		return w.take(oldest), true
	case w.again != nil:
		p := *w.again
		w.again = nil
		w.release(&p)
		return p, true
	}
	return Numbered{}, false
}

// Drain is Ready at the end of the capture: it gives up every hole, the oldest first.
func (w *Window) Drain() (Numbered, bool) {
	if p, ok := w.Ready(); ok || len(w.lines) == 0 {
		return p, ok
	}
	oldest := slices.MinFunc(w.lines, func(a, b *Line) int { return int(a.held[0].arrived - b.held[0].arrived) })
	return w.take(oldest), true
}

// take removes the first held packet of l.
func (w *Window) take(l *Line) Numbered {
	p := l.held[0]
	if l.held = l.held[1:]; len(l.held) == 0 {
		l.held = nil
		w.lines = slices.DeleteFunc(w.lines, func(x *Line) bool { return x == l })
	}
	p.Due = true
	w.release(&p)
	return p
}

func (w *Window) release(p *Numbered) {
	w.bytes -= len(p.Payload)
	w.last = p.Payload
}
