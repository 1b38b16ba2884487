package main

import (
	"encoding/json"
	"errors"
	"fmt"

	"tickfeed/codec"
	"tickfeed/codec/neterror"
	"tickfeed/feed"
	"tickfeed/subscriber"
)

// An eventLine is a line of --events; see CLIENT.md, "What a client prints". Fields that an event does not have are left
// out.
type eventLine struct {
	Event     string         `json:"event"`
	Session   feed.SessionID `json:"session,omitzero"`
	Mode      string         `json:"mode,omitempty"`
	Seq       uint64         `json:"seq,omitempty"`
	Scope     string         `json:"scope,omitempty"`
	Position  uint64         `json:"position,omitempty"`
	Head      uint64         `json:"head,omitempty"`
	From      uint64         `json:"from,omitempty"`
	To        uint64         `json:"to,omitempty"`
	Reason    string         `json:"reason,omitempty"`
	Filter    []string       `json:"filter,omitempty"`
	Final     uint64         `json:"final,omitempty"`
	Next      uint64         `json:"next,omitempty"`
	Cause     string         `json:"cause,omitempty"`
	Code      string         `json:"code,omitempty"`
	Detail    string         `json:"detail,omitempty"`
	Delivered *uint64        `json:"delivered,omitempty"`
	NotAsked  *uint64        `json:"not_asked,omitempty"`
	Withheld  *uint64        `json:"withheld,omitempty"`
	Lost      *uint64        `json:"lost,omitempty"`
	Disowned  *uint64        `json:"disowned,omitempty"`
}

// eventsOf returns the events of c, in the order in which they are printed; session is the batch's.
func eventsOf(session feed.SessionID, c *subscriber.Change) (list []eventLine) {
	if to := c.Connected; to != nil {
		list = append(list, eventLine{
			Event: "connected", Session: to.Session, Mode: to.Mode.String(), Reason: to.Reason.String(), Position: to.Position, Head: to.Head,
		})
	}
	for _, numbers := range []struct {
		event  string
		of     []subscriber.Numbers
		reason string
	}{{"disowned", c.Disowned, ""}, {"withheld", c.Withheld, ""}, {"lost", c.Lost, lostWord(c.Reason)}} {
		for _, n := range numbers.of {
			list = append(list, eventLine{Event: numbers.event, Session: n.Session, From: n.Range.From, To: n.Range.To, Reason: numbers.reason})
		}
	}
	if f := c.Filtered; f != nil {
		list = append(list, eventLine{Event: "filtered", Session: session, From: f.From, Filter: f.Filter, Detail: f.Limits})
	}
	if c.Snapshot != nil {
		list = append(list, eventLine{Event: "snapshot", Session: session, Seq: c.Snapshot.Seq, Scope: c.Snapshot.Scope.String()})
	}
	if c.End {
		list = append(list, eventLine{Event: "end", Session: session, Final: c.Final})
	}
	if c.Saved != nil {
		list = append(list, saved(*c.Saved))
	}
	if c.State == subscriber.Disconnected && c.Err != nil && !errors.As(c.Err, new(*dialError)) {
		list = append(list, disconnected(c.Err))
	}
	return list
}

// lostWord returns the reason of a lost event, or "" if the publisher gave none.
func lostWord(r codec.GoneReason) string {
	switch r {
	case 0:
		return ""
	case codec.GoneExpired, codec.GoneDamaged, codec.GoneDenied:
		return r.String()
	}
	return "unknown"
}

func saved(p codec.Position) eventLine {
	return eventLine{Event: "saved", Session: p.Lineage.Current().ID, Next: p.Next}
}

func disconnected(err error) eventLine {
	e := eventLine{Event: "disconnected", Cause: string(subscriber.CauseOf(err)), Detail: neterror.Plain(err).Error()}
	if refused := (*subscriber.RefusedError)(nil); errors.As(err, &refused) {
		e.Code, e.Detail = refused.Code.String(), refused.Text
		if !refused.Goodbye {
			e.Cause = "refused"
		}
	}
	return e
}

// left returns the last event.
func left(p codec.Position, l *feed.Ledger) eventLine {
	t := l.Totals()
	e := eventLine{
		Event: "left", Next: p.Next,
		Delivered: &t.Delivered, NotAsked: &t.NotAsked, Withheld: &t.Withheld, Lost: &t.Lost, Disowned: &t.Disowned,
	}
	if len(p.Lineage) > 0 {
		e.Session = p.Lineage.Current().ID
	}
	return e
}

// event appends a line for e, which flush writes.
func (p *printer) event(e eventLine) {
	b, err := json.Marshal(e)
	if err != nil {
		panic(fmt.Sprintf("tickfeed: internal error: event %s: %v", e.Event, err))
	}
	p.buf = append(append(p.buf, b...), '\n')
}

// state writes the state s of session for the instruments that match filter, in the order of a snapshot.
func (p *printer) state(session feed.SessionID, s *feed.State, filter codec.Filter) error {
	var one [1]feed.Tick
	for one[0] = range s.Entries(func(id feed.InstrumentID) bool {
		d, _ := s.Definition(id)
		return filter.Match(d)
	}) {
		if err := p.append(session, 0, one[:], s); err != nil {
			return err
		}
	}
	return p.flush()
}
