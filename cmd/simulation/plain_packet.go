package simulation

import (
	"fmt"
	"time"

	"tickfeed/feed"
)

func (l *plainLine) part(raw []byte, m *wireMessage) error {
	if !l.snapshot || len(raw) < 37 {
		return broken("a part outside a snapshot")
	}
	if sum := uint32(m.uint(1)); sum != wireChecksum(l.seed, raw) {
		return broken("a snapshot part's checksum")
	}
	if m.uint(2) != l.seq || m.uint(3) != l.parts {
		return broken("part %d as of %d, want %d as of %d", m.uint(3), m.uint(2), l.parts, l.seq)
	}
	l.parts++
	for body := raw[37:]; len(body) > 0; {
		size, err := wireSize(body, 1)
		if size == 0 || err != nil {
			return broken("a part's body: %v", err)
		}
		v, _ := wireValue(body)
		body = body[size:]
		entry, _ := v.([]any)
		e := wireMessage{fields: entry}
		if code := e.uint(0); code>>1 == 1 {
			l.symbols[e.uint(1)] = e.text(3)
		}
		if e.bad {
			return broken("a snapshot's entry: %v", v)
		}
	}
	return nil
}

func (l *plainLine) snapshotEnd(m *wireMessage) error {
	if !l.snapshot || m.uint(1) != l.seq || m.uint(2) != l.parts {
		return broken("the end of a snapshot: %v", m.fields)
	}
	if l.scope == 0 {
		l.plain.symbols = l.symbols
	} else {
		for id, symbol := range l.symbols {
			l.plain.symbols[id] = symbol
		}
	}
	l.snapshot, l.due = false, false
	l.holds = l.filter == nil
	return nil
}

func (l *plainLine) packet(raw []byte) error {
	p, err := readPacket(raw)
	switch {
	case err != nil:
		return broken("%v", err)
	case p.checksum != wireChecksum(l.seed, raw):
		return broken("a packet's checksum")
	case p.count == 0 || p.count > 1<<62 || p.first+p.count > l.owned.To:
		return broken("a packet of %d numbers from %d of a session that owns %v", p.count, p.first, l.owned)
	case p.publish < l.publish:
		return l.wrong("publish time %d of packet %d after %d", p.publish, p.first, l.publish)
	}
	if err := l.joins(p.first, "a packet"); err != nil {
		return err
	}
	entries, err := l.entries(&p)
	if err != nil {
		return err
	}
	// The packet is whole. Nothing of it was used before this point.
	l.publish = p.publish
	l.brought = l.brought || p.first+p.count > l.next
	l.head = max(l.head, p.first+p.count)
	ticks := l.ticks[:0]
	for _, e := range entries {
		if e.gone {
			l.lose(feed.Range{From: max(e.r.From, l.next), To: e.r.To})
			l.next, l.due = max(l.next, e.r.To), true
		}
		if e.tick == nil {
			continue
		}
		if e.known && e.tick.Kind == feed.KindDefinition {
			l.plain.symbols[uint64(e.tick.Instrument)] = e.tick.Definition().Symbol
		}
		if l.had != nil && within(l.had.delivered, e.tick.Seq) {
			continue // it came before the line went to unrelated sessions, and is not new
		}
		if e.tick.Seq >= l.next && (l.force == nil || e.defined && l.needs(e.symbol)) {
			ticks = append(ticks, *e.tick)
		}
	}
	l.at, l.ticks = p.first+p.count, ticks
	if entries[0].gone {
		return nil
	}
	return l.deliver(p.publish, feed.Range{From: max(p.first, l.next), To: l.at}, ticks)
}

// A plainEntry is an entry of a packet.
type plainEntry struct {
	r       feed.Range
	gone    bool
	tick    *feed.Tick // nil for a skip and for gone
	known   bool       // the kind of the tick is known
	symbol  string     // of the tick's instrument
	defined bool
}

// entries decodes the entries of p, and checks that they cover exactly its numbers. It changes nothing.
func (l *plainLine) entries(p *wirePacket) (list []plainEntry, err error) {
	symbols := make(map[uint64]string) // that the packet defines
	at := p.first
	for body := p.body; len(body) > 0; {
		size, err := wireSize(body, 1)
		if size == 0 || err != nil {
			return nil, broken("a packet's body: %v", err)
		}
		v, _ := wireValue(body)
		body = body[size:]
		e := plainEntry{r: feed.Range{From: at, To: at + 1}}
		switch v := v.(type) {
		case int64:
			e.r.To = at + uint64(v)
			switch {
			case v == 0:
				return nil, broken("a skip of 0")
			case v < 0:
				return nil, l.wrong("numbers were withheld without a request: %d", v)
			case l.due:
				return nil, broken("a skip before the required snapshot")
			case l.filter == nil:
				return nil, l.wrong("%v was skipped on a line of everything", e.r)
			}
		case []any:
			m := wireMessage{fields: v}
			if e.gone = m.uint(0) == kindGone; e.gone {
				e.r.To = at + m.uint(1)
				if reason := m.uint(2); m.bad || m.uint(1) == 0 || m.uint(1) > 1<<62 || reason == 0 || reason > 255 {
					return nil, broken("gone: %v", v)
				}
				break
			}
			if l.due {
				return nil, broken("a tick before the required snapshot")
			}
			t, known, err := wireTick(v, p.base)
			if err != nil {
				return nil, broken("%v", err)
			}
			t.Seq = at
			e.tick, e.known = &t, known
			if known && t.Kind == feed.KindDefinition {
				symbols[uint64(t.Instrument)] = t.Definition().Symbol
			}
			if e.symbol, e.defined = symbols[uint64(t.Instrument)]; !e.defined {
				e.symbol, e.defined = l.plain.symbols[uint64(t.Instrument)]
			}
			if !e.defined && !l.w.damaged.Load() {
				return nil, broken("tick %d is of instrument %d, which is not defined", t.Seq, t.Instrument)
			}
		default:
			return nil, broken("an entry: %v", v)
		}
		if at = e.r.To; at-p.first > p.count {
			return nil, broken("a packet of %d numbers has entries for %d", p.count, at-p.first)
		}
		list = append(list, e)
	}
	for _, e := range list {
		if e.gone && len(list) > 1 {
			return nil, broken("gone is not the only entry of its packet")
		}
	}
	if at != p.first+p.count {
		return nil, broken("a packet of %d numbers has entries for %d", p.count, at-p.first)
	}
	return list, nil
}

// wrong reports a fault that no middlebox can cause, and fails the simulation.
func (l *plainLine) wrong(format string, args ...any) error {
	err := fmt.Errorf(l.name+": "+format, args...)
	l.w.fail(err)
	return err
}

// deliver passes ticks to the auditor, and accounts for numbers r.
func (l *plainLine) deliver(publish int64, r feed.Range, ticks []feed.Tick) error {
	if err := l.w.audit.Received(l.name, l.session, ticks, nil); err != nil {
		l.w.fail(err)
		return err
	}
	exact := time.Duration(0)
	if l.filter != nil {
		exact = mergedWithin
	}
	for i := range ticks {
		seq := ticks[i].Seq
		if err := l.w.audit.Sealed(l.name, l.session, feed.Range{From: seq, To: seq + 1}, publish, exact); err != nil {
			l.w.fail(err)
			return err
		}
	}
	if l.next < r.To {
		l.missed(r, ticks)
		l.cover(r, ticks)
		l.next = r.To
	}
	l.delivered += uint64(len(ticks))
	return nil
}

// needs reports whether the client wants ticks of symbol.
func (l *plainLine) needs(symbol string) bool {
	want, known := l.matched[symbol]
	if !known {
		if l.matched == nil {
			l.matched = make(map[string]bool)
		}
		want = matches(l.force, symbol)
		l.matched[symbol] = want
	}
	return want
}

// missed asks the auditor for the instruments of the numbers of r that are not among ticks, and fails the simulation if the
// client wants one of them.
func (l *plainLine) missed(r feed.Range, ticks []feed.Tick) {
	if l.w.damaged.Load() {
		return // the publisher cannot match ticks whose definition is lost
	}
	for seq := r.From; seq < r.To; seq++ {
		if len(ticks) > 0 && ticks[0].Seq == seq {
			ticks = ticks[1:]
			continue
		}
		if l.had != nil && within(l.had.delivered, seq) {
			continue
		}
		if symbol, known := l.w.audit.Subject(l.session, seq); known && l.needs(symbol) {
			_ = l.wrong("number %d of session %v is of %s, which is wanted, and was not delivered", seq, l.session, symbol)
			return
		}
	}
}
