package ops

import (
	"context"
	"fmt"
	"net/http"
	"runtime/metrics"
	"time"

	"tickfeed/feed"
	"tickfeed/publisher"
)

// An Overview is a picture of a publisher at one moment, for a live view. With the connections of /connz it is all that the
// view shows.
type Overview struct {
	Now         time.Time         `json:"now"`
	Source      string            `json:"source"` // what is published
	Started     time.Time         `json:"started"`
	Session     feed.SessionID    `json:"session"`
	Head        uint64            `json:"head"`
	Tail        uint64            `json:"tail"`
	Committed   uint64            `json:"committed"`
	LastPublish int64             `json:"publish_time"`
	Ended       bool              `json:"ended"`
	Draining    bool              `json:"draining,omitempty"`
	Disk        string            `json:"disk,omitempty"` // why publishing waits for the disk
	Paused      string            `json:"paused,omitempty"`
	Journal     int64             `json:"journal_bytes"`
	Memory      int64             `json:"memory_bytes"` // of the process
	Kept        Kept              `json:"kept"`
	Subscribers int               `json:"subscribers"`
	Handshakes  int               `json:"handshakes"`
	Joined      uint64            `json:"joined"`
	Returned    uint64            `json:"returned"`
	Missing     int               `json:"missing"`
	Left        map[string]uint64 `json:"left"`    // by reason
	Refused     map[string]uint64 `json:"refused"` // by code
	Skipped     uint64            `json:"skipped"`
	Sent        uint64            `json:"sent_bytes"`
	Absent      []Absence         `json:"absent"` // the clients that are missing, the last ones first
	Activity    Recent            `json:"activity"`
}

// A Kept says how long the publisher keeps the ticks that a lagging subscriber is still to be sent. Without a bound it keeps them
// for ever.
type Kept struct {
	Full float64       `json:"full,omitempty"`   // how full the log is, from 0 to 1, if its size is bounded; otherwise 0
	For  time.Duration `json:"for_ns,omitempty"` // 0 for no bound of age
}

// An Absence is a client whose connection was lost and that has not come back.
type Absence struct {
	Name     string `json:"name"`
	Address  string `json:"address"`
	Position uint64 `json:"position"`
}

// Recent is what was published lately.
type Recent struct {
	Slot        time.Duration `json:"slot_ns"` // the time that each entry of Ticks stands for
	Ticks       []uint64      `json:"ticks"`
	Instruments []Busy        `json:"instruments"`
}

// A Busy is an instrument with many ticks.
type Busy struct {
	Name  string   `json:"name"`
	Total uint64   `json:"total"`
	Ticks []uint32 `json:"ticks"`
}

// Bounds of an Overview.
const (
	overviewSlots = 30
	overviewSlot  = time.Second
	mostBusy      = 50
	mostAbsent    = 10
)

// Overview returns the picture of now; ok is false if there is no publisher yet.
func (p *Publisher) Overview() (o Overview, ok bool) {
	pub := p.Get()
	if pub == nil {
		return o, false
	}
	s := pub.Stats()
	o = Overview{
		Now: time.Now(), Source: Clean(p.Source), Started: p.began, Session: s.Session, Head: s.Head, Tail: s.Tail, Committed: s.Committed,
		LastPublish: s.LastPublish, Ended: s.Ended, Draining: s.Draining, Disk: Clean(s.Disk), Journal: s.Journal, Memory: memory(), Kept: p.kept(&s.Summary),
		Subscribers: s.Subscribers, Handshakes: s.Handshakes, Joined: s.Joined, Returned: s.Returned, Missing: s.Missing,
		Left: map[string]uint64{}, Refused: map[string]uint64{}, Skipped: s.Skipped, Sent: s.Sent, Absent: []Absence{},
	}
	if p.Paused != nil {
		o.Paused = p.Paused()
	}
	for reason, n := range s.Left {
		o.Left[string(reason)] = n
	}
	for code, n := range s.Refused {
		o.Refused[code.String()] = n
	}
	for i := len(s.Absent) - 1; i >= 0 && len(o.Absent) < mostAbsent; i-- {
		c := &s.Absent[i]
		o.Absent = append(o.Absent, Absence{nameOf(c.Client), nameOf(c.Remote), c.Confirmed})
	}
	a := pub.Activity(overviewSlots, overviewSlot, mostBusy)
	o.Activity = Recent{Slot: a.Slot, Ticks: a.Ticks, Instruments: make([]Busy, len(a.Busiest))}
	for i, b := range a.Busiest {
		o.Activity.Instruments[i] = Busy{nameOf(b.Name), b.Total, b.Ticks}
	}
	return o, true
}

// kept returns how full the memory or the journal is.
func (p *Publisher) kept(s *publisher.Summary) (k Kept) {
	switch {
	case p.Memory > 0:
		k.Full = float64(s.Memory) / float64(p.Memory)
	case p.RetainBytes > 0:
		k.Full = float64(s.Journal) / float64(p.RetainBytes)
	}
	k.Full, k.For = min(1, k.Full), p.RetainAge
	return k
}

// memory returns how many bytes the process has from the operating system, in so far as the Go runtime manages them.
func memory() int64 {
	s := []metrics.Sample{{Name: "/memory/classes/total:bytes"}, {Name: "/memory/classes/heap/released:bytes"}}
	metrics.Read(s)
	return int64(s[0].Value.Uint64() - s[1].Value.Uint64())
}

// A KickRequest is the body of POST /kick.
type KickRequest struct {
	Connection uint64 `json:"connection"` // its number in /connz
}

// A kicked is the response to it.
type kicked struct {
	Connection uint64 `json:"connection"`
}

// String describes the response for people.
func (k kicked) String() string {
	return fmt.Sprintf("connection %d is ended, and its client asked to come back", k.Connection)
}

// Routes returns GET /overview and POST /kick.
func (p *Publisher) Routes() []Route {
	return []Route{
		{Name: "overview", Do: func(context.Context, []byte) (any, error) {
			o, ok := p.Overview()
			if !ok {
				return nil, &Error{http.StatusServiceUnavailable, errNotBegun}
			}
			return o, nil
		}},
		{Name: "kick", Effect: true, Do: func(_ context.Context, body []byte) (any, error) {
			q, err := Read[KickRequest](body)
			if err != nil {
				return nil, err
			}
			if q.Connection == 0 {
				return nil, BadRequest("want the body {\"connection\": N}, with the number of a connection; /connz lists them")
			}
			var pub *publisher.Publisher
			if pub = p.Get(); pub == nil || !pub.Kick(q.Connection) {
				return nil, &Error{http.StatusNotFound, fmt.Errorf("there is no connection %d; \"tickfeed control connections\" lists them, as /connz does", q.Connection)}
			}
			return kicked{q.Connection}, nil
		}},
	}
}
