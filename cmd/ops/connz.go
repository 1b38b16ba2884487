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
	Number    uint64        `json:"connection"`
	Name      string        `json:"name"` // of the client, as it says
	User      string        `json:"user,omitempty"`
	Address   string        `json:"address"` // of the peer
	State     string        `json:"state"`   // of a subscription; of a subscriber, live or behind
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
		if c.State == "" {
			c.State = stateLive
			if c.LagTime > behindTime {
				c.State = stateBehind
			}
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

// tableWidth is the width of the table of connections, in columns, if their names are not extraordinary.
const tableWidth = 100

// A column is a column of that table.
type column struct {
	head  string
	cell  func(c *Conn) string
	least int // width to which it may be cut; 0 for not at all
}

// columns returns the columns of the table. Those that are empty for all connections are left out.
func columns(now time.Time) []column {
	number := func(n uint64) string { return nouns.Thousands(n) }
	return []column{
		{"CONN", func(c *Conn) string { return strconv.FormatUint(c.Number, 10) }, 0},
		{"NAME", func(c *Conn) string { return c.Name }, 10},
		{"USER", func(c *Conn) string { return c.User }, 8},
		{"ADDRESS", func(c *Conn) string { return c.Address }, 15},
		{"STATE", func(c *Conn) string { return c.State }, 0},
		{"FOR", func(c *Conn) string {
			if c.Since == nil {
				return ""
			}
			return roughly(now.Sub(*c.Since))
		}, 0},
		{"POSITION", func(c *Conn) string {
			if c.Position == 0 {
				return ""
			}
			return number(c.Position)
		}, 0},
		{"LAG", func(c *Conn) string { return number(c.LagTicks) }, 0},
		{"TIME", func(c *Conn) string { return short(c.LagTime) }, 0},
		{"POLICY", func(c *Conn) string {
			if c.Policy != "" && c.Policy != "all" {
				return c.Policy + " " + c.MaxLag.String()
			}
			return c.Policy
		}, 0},
		{"BYTES", func(c *Conn) string {
			if c.Bytes == 0 {
				return ""
			}
			return number(c.Bytes)
		}, 0},
		{"FILTER", func(c *Conn) string { return cmp.Or(strings.Join(c.Filter, ","), "*") }, 8},
	}
}

// narrowing are the columns of a table that is too wide that are cut or, if they may not be cut, left out, in this order; JSON has
// them.
var narrowing = []string{"FILTER", "BYTES", "ADDRESS", "USER", "NAME", "FOR", "POSITION"}

// String is the list as a table.
func (l *connList) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s of %s, by %s\n", nouns.Thousands(len(l.Conns)), nouns.Count(l.Total, "connection"), l.Sort)
	if len(l.Conns) == 0 {
		return b.String()
	}
	var table [][]string // by column; the heading first
	least := make(map[string]int)
	for _, c := range columns(time.Now()) {
		cells, empty := []string{c.head}, true
		for i := range l.Conns {
			text := c.cell(&l.Conns[i])
			cells, empty = append(cells, dash(text)), empty && text == ""
		}
		if !empty {
			table, least[c.head] = append(table, cells), c.least
		}
	}
	for _, head := range narrowing {
		over := 2*(len(table)-1) - tableWidth
		for _, cells := range table {
			over += widest(cells)
		}
		i := slices.IndexFunc(table, func(cells []string) bool { return cells[0] == head })
		switch {
		case over <= 0 || i < 0:
		case least[head] == 0:
			table = slices.Delete(table, i, i+1)
		default:
			room := max(least[head], widest(table[i])-over)
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
