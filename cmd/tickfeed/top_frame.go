package main

import (
	"cmp"
	"net"
	"slices"
	"strings"
	"time"

	"tickfeed/cmd/ops"
)

// A topSample is what a publisher said about itself at one moment.
type topSample struct {
	command  string // publish or replay
	overview ops.Overview
	conns    []ops.Conn
}

// A topView is what the person at the terminal has chosen to see.
type topView struct {
	order   int       // index of topOrders
	filter  string    // shows the connections with this text in their name, user, address or instruments
	typing  bool      // the filter is being typed
	chosen  uint64    // number of a connection; 0 for none
	details bool      // of the chosen connection
	last    *ops.Conn // a chosen connection as it was seen last; nil before
	kicking bool      // the kick of the chosen connection waits for a confirmation
	note    string    // the outcome of the last order
	problem string    // why there is no newer sample
}

// A topFrame is what top shows, computed of two samples; it is also the output of --json.
type topFrame struct {
	Command     string          `json:"command"`
	Rate        float64         `json:"ticks_per_second"`
	SentRate    float64         `json:"sent_bytes_per_second"`
	Behind      int             `json:"behind"` // connections with a lag of more than a second
	Overview    ops.Overview    `json:"overview"`
	Conns       []topConn       `json:"connections"` // those that the view shows, in its order
	Instruments []topInstrument `json:"instruments"`

	measured bool // there is a sample before, and so a rate of what is sent
}

// A topConn is a connection, with the values that are computed from the previous sample.
type topConn struct {
	ops.Conn
	SentRate float64       `json:"sent_bytes_per_second"`
	Growth   float64       `json:"lag_growth_per_second"` // of LagTicks; negative if it catches up
	Fate     topFate       `json:"fate,omitempty"`
	In       time.Duration `json:"fate_in_ns,omitempty"` // when, if it keeps falling behind like this

	measured bool // SentRate is known
}

// A topFate is the fate of a subscriber that keeps falling behind.
type topFate string

const (
	fateNone  topFate = ""           // it does not fall behind, or nothing is known of it yet
	fateLoss  topFate = "loss"       // numbers that it was not sent are no longer kept
	fateSkip  topFate = "skip"       // its policy withholds numbers
	fateCut   topFate = "disconnect" // its policy disconnects it
	fateNever topFate = "never"      // it falls behind, but everything is kept
)

// A topInstrument is an instrument and its rate.
type topInstrument struct {
	Name  string   `json:"name"`
	Rate  float64  `json:"ticks_per_second"`
	Share float64  `json:"share"` // of all ticks, from 0 to 1
	Ticks []uint32 `json:"ticks"` // by slots of the overview's activity
}

// A topOrder is an order of connections.
type topOrder struct {
	name, server string // server is the value of ?sort= of /connz that comes closest
	compare      func(a, b *topConn) int
}

var topOrders = []topOrder{
	{"lag", "lag", byLag},
	{"time to loss", "lag", func(a, b *topConn) int {
		return cmp.Or(cmp.Compare(a.urgency(), b.urgency()), byLag(a, b))
	}},
	{"bytes", "bytes", func(a, b *topConn) int {
		return cmp.Or(cmp.Compare(b.SentRate, a.SentRate), cmp.Compare(b.Bytes, a.Bytes))
	}},
	{"name", "name", func(a, b *topConn) int { return strings.Compare(a.Who(), b.Who()) }},
	{"newest", "since", func(a, b *topConn) int { return cmp.Compare(b.Number, a.Number) }},
}

// byLag puts the connections that are furthest behind first. Those that are not felt to be behind are equal: they would change places
// with each sample.
func byLag(a, b *topConn) int {
	felt := func(c *topConn) (ticks uint64, time time.Duration) {
		if c.LagTime < lagFelt {
			return 0, 0
		}
		return c.LagTicks, c.LagTime
	}
	aTicks, aTime := felt(a)
	bTicks, bTime := felt(b)
	return cmp.Or(cmp.Compare(bTicks, aTicks), cmp.Compare(bTime, aTime))
}

// urgency is less for connections that lose something sooner.
func (c *topConn) urgency() time.Duration {
	switch c.Fate {
	case fateNone, fateNever:
		return 1<<63 - 1
	}
	return c.In
}

// compose computes a frame of now and the sample before it, which may be nil, as v chooses.
func compose(now, before *topSample, v *topView) *topFrame {
	f := &topFrame{Command: now.command, Overview: now.overview, Conns: []topConn{}, Instruments: []topInstrument{}}
	o := &f.Overview
	activity := &o.Activity
	seconds := activity.Slot.Seconds() * float64(len(activity.Ticks))
	total := uint64(0)
	for _, n := range activity.Ticks {
		total += n
	}
	if seconds > 0 {
		f.Rate = float64(total) / seconds
	}
	elapsed := 0.0
	old := map[uint64]*ops.Conn{}
	if before != nil && before.overview.Session == o.Session {
		elapsed = o.Now.Sub(before.overview.Now).Seconds()
		for i := range before.conns {
			old[before.conns[i].Number] = &before.conns[i]
		}
	}
	if f.measured = elapsed > 0; f.measured {
		f.Rate = (float64(o.Head) - float64(before.overview.Head)) / elapsed
		f.SentRate = max(0, (float64(o.Sent)-float64(before.overview.Sent))/elapsed)
	}
	for i := range now.conns {
		c := topConn{Conn: now.conns[i]}
		if was := old[c.Number]; was != nil && f.measured {
			c.measured = true
			c.SentRate = max(0, (float64(c.Bytes)-float64(was.Bytes))/elapsed)
			c.Growth = (float64(c.LagTicks) - float64(was.LagTicks)) / elapsed
			c.Fate, c.In = fate(&c, was, o, elapsed)
		}
		if c.LagTime > lagTold {
			f.Behind++
		}
		if v.shows(&c) {
			f.Conns = append(f.Conns, c)
		}
	}
	order := topOrders[v.order].compare
	slices.SortStableFunc(f.Conns, func(a, b topConn) int {
		return cmp.Or(order(&a, &b), strings.Compare(a.Who(), b.Who()), cmp.Compare(a.Number, b.Number))
	})
	for _, b := range activity.Instruments {
		f.Instruments = append(f.Instruments, topInstrument{b.Name, float64(b.Total) / seconds, float64(b.Total) / float64(max(1, total)), b.Ticks})
	}
	return f
}

// shows reports whether the filter of the view matches c.
func (v *topView) shows(c *topConn) bool {
	return v.filter == "" || strings.Contains(strings.ToLower(c.Name+" "+c.User+" "+c.Certificate+" "+c.Address+" "+c.Instruments(",")), strings.ToLower(v.filter))
}

// fate returns what awaits c, which elapsed seconds ago was as was says, and when.
func fate(c *topConn, was *ops.Conn, o *ops.Overview, elapsed float64) (topFate, time.Duration) {
	if c.LagTime < lagFelt {
		return fateNone, 0
	}
	after := func(room, speed float64) time.Duration {
		return time.Duration(max(0, min(room/speed, maxFate.Seconds())) * float64(time.Second))
	}
	if c.Policy == "latest" || c.Policy == "disconnect" {
		growth := (c.LagTime - was.LagTime).Seconds() / elapsed
		if growth <= 0 {
			return fateNone, 0
		}
		f := fateSkip
		if c.Policy == "disconnect" {
			f = fateCut
		}
		return f, after((c.MaxLag - c.LagTime).Seconds(), growth)
	}
	if c.Growth <= 0 {
		return fateNone, 0
	}
	f, in := fateNever, maxFate
	if full := o.Kept.Full; full > 0 { // once it is, the tail follows the head at its pace
		f, in = fateLoss, after(float64(o.Head-o.Tail)/full-float64(c.LagTicks), c.Growth)
	}
	if growth := (c.LagTime - was.LagTime).Seconds() / elapsed; o.Kept.For > 0 && growth > 0 {
		f, in = fateLoss, min(in, after((o.Kept.For-c.LagTime).Seconds(), growth))
	}
	return f, in
}

// maxFate is the longest time that is computed for a lag that grows very slowly.
const maxFate = 100 * 24 * time.Hour

// sentRate describes how much is sent now: "-" if there is no sample before.
func sentRate(rate float64, measured bool) string {
	if !measured {
		return "-"
	}
	return formatBytes(int64(rate))
}

// connOf returns the connection of s with that number, or nil. s may be nil.
func (s *topSample) connOf(number uint64) *ops.Conn {
	if s == nil {
		return nil
	}
	i := slices.IndexFunc(s.conns, func(c ops.Conn) bool { return c.Number == number })
	if i < 0 {
		return nil
	}
	return &s.conns[i]
}

// back returns the number of the one connection with which the client of was, which has ended, seems to be back; 0 if there is none,
// or several.
func (f *topFrame) back(was *ops.Conn) (number uint64) {
	for i := range f.Conns {
		c := &f.Conns[i]
		if c.Number < was.Number || c.Name != was.Name || c.User != was.User || hostOf(c.Address) != hostOf(was.Address) {
			continue
		}
		if number != 0 {
			return 0
		}
		number = c.Number
	}
	return number
}

// hostOf returns addr without its port.
func hostOf(addr string) string {
	if host, _, err := net.SplitHostPort(addr); err == nil {
		return host
	}
	return addr
}
