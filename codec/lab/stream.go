package lab

import (
	"fmt"
	"time"

	"tickfeed/codec"
	"tickfeed/feed"
)

// packet passes a packet; pending are rules that apply to it besides those of the script's numbers.
func (k *link) packet(raw []byte, pending []int) error {
	if k.ended {
		return nil
	}
	h, _, err := codec.ParsePacket(raw)
	if err != nil {
		return k.pass(raw)
	}
	end := h.First + h.Count
	if h.First < k.skip {
		if _, raw, _ = split(raw, min(end, k.skip), k.seed); end <= k.skip {
			return nil
		}
		h.First = k.skip
	}
	defer func() { k.decided = end }()
	if k.dropping > 0 {
		k.dropping--
		k.happened(k.dropper, h.First)
		k.keep(pending)
		k.moved(end)
		return nil
	}
	raw = append([]byte(nil), raw...) // the reader reuses its memory
	for n := k.lab.rules.packet(k.name); raw != nil; {
		var x hit
		var again []hit // repeat the packet as x does
		r := feed.Range{From: max(h.First, k.at), To: end}
		given := true // by a number of the script
		if len(pending) > 0 {
			x, pending, given = hit{rule: pending[0], seq: r.From}, pending[1:], false
		} else {
			var ok bool
			if x, ok = k.lab.rules.next(k.name, k.decided, r, n); !ok {
				break
			}
			x, again = k.repeatLast(x, r, n)
		}
		f := k.lab.rules.faultOf(x.rule)
		left, right, ok := split(raw, x.seq, k.seed)
		if !ok {
			left, right = nil, raw // before the packet
		}
		var rest []byte // what follows the tick or the packet that is spoiled
		to := end       // its first number
		if f.Verb.spoils() {
			tick, after, one := []byte(nil), []byte(nil), false
			if ok && f.How == "tick" {
				tick, after, one = split(right, x.seq+1, k.seed)
			}
			if one {
				right, rest, to = tick, after, x.seq+1
			} else {
				left, right = nil, raw
				// A client may go on after this packet, so that it ends before the number of the next rule.
				if next, ok := k.lab.rules.peek(k.name, k.decided, r, n); ok && next.seq > r.From {
					if first, second, ok := split(raw, next.seq, k.seed); ok && second != nil {
						right, rest, to = first, second, next.seq
					}
				}
			}
		} else if f.Verb == Delay && f.How == "packet" {
			left, right = nil, raw
		}
		if left != nil {
			if err = k.pass(left); err == nil {
				k.moved(x.seq)
			}
		}
		if err == nil && k.broken {
			err = k.goesOn()
		}
		if err == nil && k.isOver() {
			err = errEnded
		}
		if err != nil {
			if given {
				k.giveBack(append(again, x))
			} else {
				k.keep(append([]int{x.rule}, pending...))
			}
			return err
		}
		if !f.Verb.spoils() {
			raw = right
			if err := k.do(x.rule, x.seq, raw); err != nil {
				return err
			}
			if k.ended {
				return nil
			}
			continue
		}
		if err := k.pass(k.spoil(x, right)); err != nil {
			return err
		}
		for _, h := range again {
			if err := k.pass(k.spoil(h, right)); err != nil {
				return err
			}
		}
		k.moved(to)
		raw = rest
	}
	if err := k.pass(raw); err != nil {
		return err
	}
	k.keep(pending)
	return k.reached(end)
}

// repeatLast returns x. If x repeats a packet, and other rules come after it for the same number, they would meet a client that has the
// packet already: repeatLast then returns the first of them that does something else, and x happens when the client comes back. again
// are those that also repeat the packet.
func (k *link) repeatLast(x hit, r feed.Range, n uint64) (first hit, again []hit) {
	repeats := func(h hit) bool {
		f := k.lab.rules.faultOf(h.rule)
		return f.Verb == Repeat && f.How == "packet"
	}
	if !repeats(x) {
		return x, nil
	}
	for {
		later, ok := k.lab.rules.next(k.name, k.decided, r, n)
		switch {
		case !ok:
			return x, again
		case later.seq != x.seq:
			k.lab.rules.giveBack(k.name, later)
			return x, again
		case !repeats(later):
			k.giveBack(append(again, x))
			return later, nil
		}
		again = append(again, later)
	}
}

// giveBack undoes next for hits.
func (k *link) giveBack(hits []hit) {
	for _, h := range hits {
		k.lab.rules.giveBack(k.name, h)
	}
}

// spoil applies a fault of the stream to a packet, and returns the bytes to send for it; nil for none.
func (k *link) spoil(x hit, raw []byte) []byte {
	k.happened(x.rule, x.seq)
	k.breaks(x.rule)
	switch f := k.lab.rules.faultOf(x.rule); f.Verb {
	case Drop:
		if f.N > 1 {
			k.dropping, k.dropper = f.N-1, x.rule
		}
		return nil
	case Repeat:
		return append(raw, raw...)
	case Swap:
		k.kept = append(k.kept, raw...)
		return nil
	case Flip:
		return flip(raw)
	case Forge:
		return forge(raw, k.seed)
	default:
		panic(unmade(f.Verb))
	}
}

// breaks notes that the client must end the connection because of rule i, unless it has gone on after such a fault.
func (k *link) breaks(i int) {
	if !k.blind[k.lab.rules.faultOf(i).Verb] {
		k.broken, k.breaker = true, i
	}
}

// patience is how long a client may take to end the connection because of a fault of the stream.
const patience = time.Second

// goesOn waits until the client has ended the connection because of a fault of the stream, and returns an error. If it goes
// on instead, goesOn reports that, and the link no longer waits after such faults.
func (k *link) goesOn() error {
	if err := k.beat(patience); err != nil {
		return err
	}
	k.broken = false
	k.blind[k.lab.rules.faultOf(k.breaker).Verb] = true
	if r := k.lab.rules.rule(k.breaker); r != nil {
		k.lab.say(Event{What: fmt.Sprintf("the client has not noticed %q within %v, and meets the rules that follow all the same", r.Text, patience), Client: k.name, Connection: k.number, Login: k.login})
	}
	return nil
}
