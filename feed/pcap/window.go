package pcap

import "slices"

// Bounds of a [Window].
const (
	// windowPackets is how many packets of the capture may follow the first packet behind a
	// hole before the window gives the hole up.
	windowPackets = 4096
	// windowBytes is how many bytes of payload a window holds, of all lines together.
	windowBytes = 8 << 20
)

// A Line is the numbering of one sender as a [Window] follows it.
type Line struct {
	// Next is the number of the next message; 0 if any may come.
	Next uint64

	held []Numbered // behind a hole, by First; equal numbers in the order of arrival
}

// A Numbered packet carries messages First, First+1, ... of a line.
type Numbered struct {
	Line    *Line
	First   uint64
	Payload []byte // UDP payload
	Time    int64  // see Packet
	Offset  int64  // see Packet
	Due     bool   // to be read now: it joins its line, or the hole before it is given up

	arrived int64 // Window.read when the packet was held
}

// A Window puts the packets of numbered lines in the order of their numbers. A capture of two
// lines that carry the same messages holds packets out of order where one line has lost a
// packet and the other brings it later. The window holds the packets behind a hole until the
// hole is filled; after windowPackets further packets of the capture, or at windowBytes of
// held payload, it gives the hole up. The zero Window is ready to use.
type Window struct {
	read  int64     // packets of all lines, as Arrived counts them
	bytes int       // of held payload
	lines []*Line   // those that hold packets
	again *Numbered // of FlushBefore
	spare [][]byte  // payloads that can be used again
	last  []byte    // the payload that Ready returned last
}

// Arrived counts one more packet of the capture.
func (w *Window) Arrived() { w.read++ }

// Ahead reports whether p is behind a hole in its line. At the start of a line, that is a
// number above 1 from which 1 is not far.
func (p *Numbered) Ahead() bool {
	if p.Line.Next == 0 {
		return p.First > 1 && p.First <= windowPackets
	}
	return p.First > p.Line.Next
}

// Hold keeps a copy of p, which is ahead, until [Window.Ready] returns it.
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

// FlushBefore makes Ready return every held packet, and then p, which begins a numbering.
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

// Ready returns the next held packet whose turn has come: one that joins its line, the first
// behind a hole that is given up, or the packet of FlushBefore, which is not Due. The payload
// is valid until the next call.
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

// Drain is Ready at the end of the capture: it gives every hole up, the oldest first.
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
