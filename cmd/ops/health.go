package ops

import (
	"fmt"
	"net/http"
	"strings"
	"time"
)

// A Check is a condition under which a command does its work.
type Check struct {
	Name   string `json:"name"`
	Ok     bool   `json:"ok"`
	Detail string `json:"detail,omitempty"` // why it holds, or does not
}

// Checks are the conditions of a command; Ok reports whether all hold.
type Checks struct {
	Ok     bool    `json:"ok"`
	Checks []Check `json:"checks,omitempty"`
}

// String describes the checks for people, one a line.
func (c Checks) String() string {
	var b strings.Builder
	for _, k := range c.Checks {
		word := "ok"
		if !k.Ok {
			word = "FAILED"
		}
		fmt.Fprintf(&b, "%s: %s", k.Name, word)
		if k.Detail != "" {
			fmt.Fprintf(&b, ", %s", Clean(k.Detail))
		}
		b.WriteByte('\n')
	}
	if c.Ok {
		return b.String() + "ok"
	}
	return b.String() + "not ready"
}

// checks returns the conditions of the site.
func (s *Site) checks() Checks {
	c := Checks{Ok: true}
	if s.Ready != nil {
		c.Checks = s.Ready()
	}
	c.Checks = append(c.Checks, s.Files.ready(time.Now())...)
	for _, k := range c.Checks {
		c.Ok = c.Ok && k.Ok
	}
	return c
}

func (s *Site) ready(x *exchange) {
	if x.query() != nil {
		return
	}
	c := s.checks()
	status := http.StatusOK
	if !c.Ok {
		status = http.StatusServiceUnavailable
	}
	x.send(status, c)
}
