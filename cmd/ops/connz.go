package ops

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"tickfeed/feed/nouns"
)

// A Conn is a connection of a command. Fields that a command does not know are empty.
type Conn struct {
	Number    uint64        `json:"connection"`
	Name      string        `json:"name"` // of the client, as it says
	User      string        `json:"user,omitempty"`
	Address   string        `json:"address"` // of the peer
	State     string        `json:"state,omitempty"`
	Since     *time.Time    `json:"since,omitempty"`
	Filter    []string      `json:"filter,omitempty"` // of the line; empty for all instruments
	Start     uint64        `json:"start,omitempty"`  // number at which the line began
	Position  uint64        `json:"position"`         // number after the last one that was sent, or received
	Confirmed uint64        `json:"confirmed,omitempty"`
	LagTicks  uint64        `json:"lag_ticks"`
	LagTime   time.Duration `json:"lag_ns"` // since the first number that is behind was published
	Policy    string        `json:"policy,omitempty"`
	MaxLag    time.Duration `json:"max_lag_ns,omitempty"` // of Policy
	Bytes     uint64        `json:"bytes"`                // sent, or received
	// RoundTrip is from the hello to the welcome. Echo is from sending to the confirmation, so with the wait until the next
	// sign of life of the client.
	RoundTrip time.Duration `json:"round_trip_ns,omitempty"`
	Echo      time.Duration `json:"echo_ns,omitempty"`

	lag func() time.Duration // computes LagTime of a connection that is listed; nil if it is set
}

// Bounds of /connz.
const (
	defaultConns = 100
	mostConns    = 10_000
	mostPatterns = 20 // of a filter that are listed
)

// orders are the values of ?sort=, each with the order of connections.
var orders = map[string]func(a, b *Conn) int{
	"lag": func(a, b *Conn) int {
		return cmp.Or(cmp.Compare(b.LagTicks, a.LagTicks), cmp.Compare(b.LagTime, a.LagTime))
	},
	"bytes":      func(a, b *Conn) int { return cmp.Compare(b.Bytes, a.Bytes) },
	"position":   func(a, b *Conn) int { return cmp.Compare(a.Position, b.Position) },
	"connection": func(a, b *Conn) int { return 0 },
	"name":       func(a, b *Conn) int { return strings.Compare(a.Name, b.Name) },
	"user":       func(a, b *Conn) int { return strings.Compare(a.User, b.User) },
	"address":    func(a, b *Conn) int { return strings.Compare(a.Address, b.Address) },
	"since": func(a, b *Conn) int {
		if a.Since == nil || b.Since == nil {
			return 0
		}
		return b.Since.Compare(*a.Since) // the newest first
	},
}

// A connList is the response of /connz.
type connList struct {
	Total int    `json:"total"`
	Sort  string `json:"sort"`
	Conns []Conn `json:"connections"`
}

func (s *Site) connz(x *exchange) {
	if x.query("sort", "limit") != nil {
		return
	}
	q := x.r.URL.Query()
	by := cmp.Or(q.Get("sort"), "lag")
	order := orders[by]
	if order == nil {
		x.fail(BadRequest("sort: want %s, got %q", strings.Join(slices.Sorted(maps.Keys(orders)), ", "), by))
		return
	}
	limit := defaultConns
	if text := q.Get("limit"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 || n > mostConns {
			x.fail(BadRequest("limit: want a number from 1 to %d, got %q", mostConns, text))
			return
		}
		limit = n
	}
	x.send(200, list(s.Conns(), by, order, limit))
}

// list sorts conns, keeps the first limit of them, and completes those.
func list(conns []Conn, by string, order func(a, b *Conn) int, limit int) *connList {
	l := &connList{Total: len(conns), Sort: by}
	sorted := make([]*Conn, len(conns))
	for i := range conns {
		sorted[i] = &conns[i]
	}
	slices.SortFunc(sorted, func(a, b *Conn) int { return cmp.Or(order(a, b), cmp.Compare(a.Number, b.Number)) })
	l.Conns = make([]Conn, min(limit, len(conns)))
	for i := range l.Conns {
		c := &l.Conns[i]
		*c = *sorted[i]
		if c.lag != nil {
			c.LagTime = c.lag()
		}
		c.Name, c.User, c.Address = nameOf(c.Name), nameOf(c.User), nameOf(c.Address)
		n := len(c.Filter)
		c.Filter = slices.Clone(c.Filter[:min(n, mostPatterns)])
		for i := range c.Filter {
			c.Filter[i] = nameOf(c.Filter[i])
		}
		if n > mostPatterns {
			c.Filter = append(c.Filter, fmt.Sprintf("… %d more", n-mostPatterns))
		}
	}
	return l
}

// String is the list as a table.
func (l *connList) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s of %s, by %s\n", nouns.Thousands(len(l.Conns)), nouns.Count(l.Total, "connection"), l.Sort)
	if len(l.Conns) == 0 {
		return b.String()
	}
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "CONN\tNAME\tUSER\tADDRESS\tSTATE\tSINCE\tSTART\tPOSITION\tLAG\tTIME\tPOLICY\tBYTES\tFILTER")
	for i := range l.Conns {
		c := &l.Conns[i]
		since, policy, filter, start, bytes := "", c.Policy, strings.Join(c.Filter, ","), "", ""
		if c.Since != nil {
			since = c.Since.UTC().Format(time.RFC3339)
		}
		if policy != "" && policy != "all" {
			policy += " " + c.MaxLag.String()
		}
		if filter == "" {
			filter = "*"
		}
		if c.Start != 0 {
			start = strconv.FormatUint(c.Start, 10)
		}
		if c.Bytes != 0 {
			bytes = strconv.FormatUint(c.Bytes, 10)
		}
		fmt.Fprintf(w, "%d\t%s\t%s\t%s\t%s\t%s\t%s\t%d\t%d\t%s\t%s\t%s\t%s\n", c.Number, dash(c.Name), dash(c.User), dash(c.Address), dash(c.State), dash(since), dash(start), c.Position,
			c.LagTicks, short(c.LagTime), dash(policy), dash(bytes), filter)
	}
	w.Flush()
	return b.String()
}

func dash(s string) string { return cmp.Or(s, "-") }

// short returns d with about three digits.
func short(d time.Duration) string {
	for _, unit := range []time.Duration{time.Minute, time.Second, time.Millisecond, time.Microsecond} {
		if d >= unit {
			return d.Round(unit / 100).String()
		}
	}
	return d.String()
}
