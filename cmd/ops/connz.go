package ops

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"tickfeed/feed/nouns"
)

// A Conn is a connection of a command. Fields that a command does not know are empty.
type Conn struct {
	Number      uint64        `json:"connection"`
	Name        string        `json:"name"` // of the client, as it says
	User        string        `json:"user,omitempty"`
	Certificate string        `json:"certificate,omitempty"` // the name in the certificate that the peer has shown
	Address     string        `json:"address"`               // of the peer
	State       string        `json:"state"`                 // of a subscription; of a subscriber, live or behind
	Since       *time.Time    `json:"since,omitempty"`
	Filter      []string      `json:"filter,omitempty"`  // as asked last; empty for all instruments
	Granted     []string      `json:"granted,omitempty"` // patterns of Filter that the user may see; empty if nothing is withheld
	Denied      []string      `json:"denied,omitempty"`  // patterns that take more from Granted
	Depth       string        `json:"depth,omitempty"`   // l1 if the levels of the book are withheld
	Limits      string        `json:"limits,omitempty"`  // what the user may not see, for people
	Start       uint64        `json:"start,omitempty"`   // number at which the line began
	Position    uint64        `json:"position"`          // number after the last one that was sent, or received
	Confirmed   uint64        `json:"confirmed,omitempty"`
	LagTicks    uint64        `json:"lag_ticks"`
	LagTime     time.Duration `json:"lag_ns"` // since the first number that is behind was published
	Policy      string        `json:"policy,omitempty"`
	MaxLag      time.Duration `json:"max_lag_ns,omitempty"` // of Policy
	Bytes       uint64        `json:"bytes"`                // sent, or received
	// RoundTrip is from the hello to the welcome. Echo is from sending to the confirmation, so with the wait until the next
	// sign of life of the client.
	RoundTrip time.Duration `json:"round_trip_ns,omitempty"`
	Echo      time.Duration `json:"echo_ns,omitempty"`

	lag func() time.Duration // computes LagTime of a connection that is listed; nil if it is set
}

// The states of a subscriber: it is behind if the ticks that it has not been sent are older than behindTime.
const (
	stateLive, stateBehind = "live", "behind"
	behindTime             = time.Second
)

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

// A ConnList is the response of /connz.
type ConnList struct {
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
func list(conns []Conn, by string, order func(a, b *Conn) int, limit int) *ConnList {
	l := &ConnList{Total: len(conns), Sort: by}
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
		if c.State == "" {
			c.State = stateLive
			if c.LagTime > behindTime {
				c.State = stateBehind
			}
		}
		c.Name, c.User, c.Certificate, c.Address = nameOf(c.Name), nameOf(c.User), nameOf(c.Certificate), nameOf(c.Address)
		c.Filter, c.Granted, c.Denied = patternsOf(c.Filter), patternsOf(c.Granted), patternsOf(c.Denied)
		c.Limits = Clean(c.Limits)
	}
	return l
}

// patternsOf returns the first mostPatterns patterns, and how many are left out.
func patternsOf(patterns []string) []string {
	n := len(patterns)
	some := slices.Clone(patterns[:min(n, mostPatterns)])
	for i := range some {
		some[i] = nameOf(some[i])
	}
	if n > mostPatterns {
		some = append(some, fmt.Sprintf("… %d more", n-mostPatterns))
	}
	return some
}

// Instruments returns the instruments that the connection is sent, with the limits of its user: "ES?6,NQ?6", "*, not AAPL, l1".
// Patterns are separated by sep.
func (c *Conn) Instruments(sep string) string {
	patterns := c.Filter
	if len(c.Granted) > 0 {
		patterns = c.Granted
	}
	text := strings.Join(patterns, sep)
	if text == "" || text == "?*" {
		text = "*"
	}
	if len(c.Denied) > 0 {
		text += ", not " + strings.Join(c.Denied, sep)
	}
	if c.Depth != "" {
		text += ", " + c.Depth
	}
	if c.Limits != "" && len(c.Denied) == 0 && c.Depth == "" && slices.Equal(patterns, c.Filter) {
		text += ", limited" // by patterns that are too many to be compared: Limits has the words
	}
	return text
}

// Who returns what names the peer best: its user, the name in its certificate, or else the name that it gives itself.
func (c *Conn) Who() string { return cmp.Or(c.User, c.Certificate, c.Name) }

// A column is a column of that table.
type column struct {
	head string
	cell func(c *Conn) string
}

// columns returns the columns of the table. Those that are empty for all connections are left out.
func columns(now time.Time) []column {
	number := func(n uint64) string { return nouns.Thousands(n) }
	return []column{
		{"CONN", func(c *Conn) string { return strconv.FormatUint(c.Number, 10) }},
		{"NAME", func(c *Conn) string { return c.Name }},
		{"USER", func(c *Conn) string { return c.User }},
		{"CERTIFICATE", func(c *Conn) string { return c.Certificate }},
		{"ADDRESS", func(c *Conn) string { return c.Address }},
		{"STATE", func(c *Conn) string { return c.State }},
		{"FOR", func(c *Conn) string {
			if c.Since == nil {
				return ""
			}
			return roughly(now.Sub(*c.Since))
		}},
		{"POSITION", func(c *Conn) string {
			if c.Position == 0 {
				return ""
			}
			return number(c.Position)
		}},
		{"LAG", func(c *Conn) string { return number(c.LagTicks) }},
		{"TIME", func(c *Conn) string { return short(c.LagTime) }},
		{"POLICY", func(c *Conn) string {
			if c.Policy != "" && c.Policy != "all" {
				return c.Policy + " " + c.MaxLag.String()
			}
			return c.Policy
		}},
		{"BYTES", func(c *Conn) string {
			if c.Bytes == 0 {
				return ""
			}
			return number(c.Bytes)
		}},
		{"FILTER", func(c *Conn) string { return c.Instruments(",") }},
	}
}

// narrowing are the steps by which a table that is too wide is made narrower: a column is cut, to no less than a width, or left out
// if that is 0. JSON has all of it.
var narrowing = []struct {
	head  string
	least int
}{
	{"FILTER", 24}, {"BYTES", 0}, {"ADDRESS", 15}, {"NAME", 10}, {"FILTER", 8}, {"CERTIFICATE", 11}, {"USER", 8}, {"FOR", 0}, {"POSITION", 0},
}

// String is the list as a table of any width.
func (l *ConnList) String() string { return l.Table(0) }

// Table is the list as a table that fits width columns, if that can be done by the steps of narrowing; 0 means any width.
func (l *ConnList) Table(width int) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s of %s, by %s\n", nouns.Thousands(len(l.Conns)), nouns.Count(l.Total, "connection"), l.Sort)
	if len(l.Conns) == 0 {
		return b.String()
	}
	var table [][]string // by column; the heading first
	for _, c := range columns(time.Now()) {
		cells, empty := []string{c.head}, true
		for i := range l.Conns {
			text := c.cell(&l.Conns[i])
			cells, empty = append(cells, dash(text)), empty && text == ""
		}
		if !empty {
			table = append(table, cells)
		}
	}
	for _, step := range narrowing {
		if width == 0 {
			break
		}
		over := 2*(len(table)-1) - width
		for _, cells := range table {
			over += widest(cells)
		}
		i := slices.IndexFunc(table, func(cells []string) bool { return cells[0] == step.head })
		switch {
		case over <= 0 || i < 0:
		case step.least == 0:
			table = slices.Delete(table, i, i+1)
		default:
			room := max(step.least, widest(table[i])-over)
			for j, text := range table[i] {
				table[i][j] = shorten(text, room)
			}
		}
	}
	for row := range table[0] {
		var line strings.Builder
		for _, cells := range table {
			fmt.Fprintf(&line, "%-*s", widest(cells)+2, cells[row])
		}
		fmt.Fprintln(&b, strings.TrimRight(line.String(), " "))
	}
	return b.String()
}

// widest returns the number of characters of the longest text.
func widest(texts []string) (n int) {
	for _, text := range texts {
		n = max(n, utf8.RuneCountInString(text))
	}
	return n
}

// shorten returns text with at most width characters.
func shorten(text string, width int) string {
	if r := []rune(text); len(r) > width {
		return string(r[:width-1]) + "…"
	}
	return text
}

// roughly returns d in its largest unit, such as 3d, 5h, 12m or 40s.
func roughly(d time.Duration) string {
	for _, unit := range []struct {
		d    time.Duration
		name string
	}{{24 * time.Hour, "d"}, {time.Hour, "h"}, {time.Minute, "m"}} {
		if d >= unit.d {
			return fmt.Sprintf("%d%s", d/unit.d, unit.name)
		}
	}
	return fmt.Sprintf("%ds", max(0, d)/time.Second)
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
