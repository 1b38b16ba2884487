package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"slices"
	"strings"
	"time"

	"tickfeed/codec"
	"tickfeed/codec/certs"
	"tickfeed/codec/neterror"
	"tickfeed/feed/nouns"
	"tickfeed/subscriber"
)

// describe describes c for people; before is the state of the change before it. greeted reports whether this connection was
// described as connected or live before.
func describe(c *subscriber.Change, before subscriber.ConnState, greeted bool) (lines []string) {
	add := func(format string, args ...any) { lines = append(lines, fmt.Sprintf(format, args...)) }
	if c.State != before {
		switch c.State {
		case subscriber.Live:
			switch {
			case before == subscriber.Stale:
				add("no longer stale: receiving from %s again", c.Addr)
			case c.Report == nil:
				add("live: receiving from %s", c.Addr)
			}
		case subscriber.Replaying:
			switch {
			case before == subscriber.Stale:
				add("no longer stale: replaying from %s again", c.Addr)
			case !greeted:
				add("connected to %s: replaying", c.Addr)
			}
		case subscriber.Stale:
			add("stale: nothing heard from %s for two heartbeat intervals", c.Addr)
		case subscriber.Disconnected:
			switch {
			case before == subscriber.Connecting || c.Err == nil:
			case terminal(c.Err): // the command ends, and reports it
				add("disconnected from %s", c.Addr)
			default:
				add("disconnected from %s: %s", c.Addr, strings.TrimPrefix(neterror.Plain(c.Err).Error(), c.Addr+" "))
			}
		}
	}
	if r := c.Report; r != nil {
		add("recovered in %s by %s: cause %s, down %s, %s, %s replayed, %s dropped", formatDuration(r.Live), r.Resume, r.Cause,
			formatDuration(r.Down), nouns.Count(r.Attempts, "attempt"), nouns.Count(r.Replayed, "tick"), nouns.Count(r.Duplicates, "duplicate"))
	}
	for _, n := range c.Withheld {
		add("withheld %v: %s skipped because this subscriber was too slow", n, nouns.Count(n.Range.Len(), "tick"))
	}
	for _, n := range c.Lost {
		add("lost %v: %s", n, lostReason(c, n.Range.Len()))
	}
	for _, n := range c.Disowned {
		add("disowned %v: %s that no longer belong to any session", n, nouns.Count(n.Range.Len(), "number"))
	}
	if f := c.Filtered; f != nil {
		add("%s from number %d on", filterText(f.Filter), f.From)
		if f.Limits != "" {
			add("%s", f.Limits)
		}
	}
	if c.End {
		add("end of the source: the last number is %d", c.Final-1)
	}
	return lines
}

// lostReason explains why count numbers of c are lost.
func lostReason(c *subscriber.Change, count uint64) string {
	these := "these " + nouns.Thousands(count)
	if count == 1 {
		these = "this number"
	}
	switch {
	case c.Unrelated:
		return "the publisher has no session in common with the position, and cannot send " + these
	case c.Reason == codec.GoneExpired:
		return "the publisher no longer keeps " + these
	case c.Reason == codec.GoneDenied:
		return "this user may not see " + these + ", which are older than its permission allows; whoever runs the publisher can allow more of the past (history)"
	case c.Reason == codec.GoneDamaged:
		return "the publisher's journal, or recording, is damaged there, or lacks " + these
	}
	return "the publisher no longer has " + these
}

// dial connects as the subscriber's default dialer does, but with errors for people, which failures reports.
func dial(ctx context.Context, addr string) (net.Conn, error) {
	network, host := "tcp", addr
	if path, ok := strings.CutPrefix(addr, unixPrefix); ok {
		network, host = "unix", path
	}
	nd := net.Dialer{Timeout: dialTimeout}
	conn, err := nd.DialContext(ctx, network, host)
	if err != nil {
		return nil, &dialError{addr, dialCause(addr, err)}
	}
	return conn, nil
}

// A dialError reports that connecting to addr failed.
type dialError struct {
	addr string
	err  error
}

func (e *dialError) Error() string { return fmt.Sprintf("cannot connect to %s: %v", e.addr, e.err) }

func (e *dialError) Unwrap() error { return e.err }

// dialTimeout bounds one connection attempt.
const dialTimeout = 5 * time.Second

func dialCause(addr string, err error) error {
	var dns *net.DNSError
	if errors.As(err, &dns) {
		return fmt.Errorf("%s: no such host", dns.Name)
	}
	if strings.HasPrefix(addr, unixPrefix) && errors.Is(err, fs.ErrNotExist) {
		return errors.New("there is no such socket")
	}
	if path, ok := strings.CutPrefix(addr, unixPrefix); ok {
		if info, failed := os.Stat(path); failed == nil && info.Mode()&fs.ModeSocket == 0 {
			return errors.New("the file is not a socket")
		}
	}
	return cause(err)
}

// The same failure of one address is reported again after firstSilence, and then after twice the previous interval, at
// most longestSilence.
const (
	firstSilence   = 10 * time.Second
	longestSilence = 10 * time.Minute
)

// notConnected begins the report of a failure that a person must mend: one that TLS has found. The subscriber tries again all the
// same, because certificates are renewed while it runs.
const notConnected = "NOT CONNECTED: "

// maxReasons bounds the reasons that are remembered for one address; the peer chooses the text of some.
const maxReasons = 16

// failures reports why connection attempts fail: a refused connection, a busy publisher, a peer that speaks another
// protocol or sends nothing. Each reason of each address has its own schedule: it is reported at once, and then at growing
// intervals, also if other reasons come in between. The schedules of an address begin anew once every connection that
// failed there has succeeded.
type failures struct {
	say         func(format string, args ...any)
	maxAttempts int
	outages     map[string]*outage // by address; bounded by the addresses on the command line
}

// An outage holds the failures at one address.
type outage struct {
	failures []*failure         // at most maxReasons, the least recently reported first
	failing  map[*receiver]bool // connections that failed here and have not succeeded here since
}

// A failure is one reason for which attempts fail.
type failure struct {
	reason string
	at     time.Time     // when it was reported last
	pause  time.Duration // until it is reported again
}

// note processes a change of the connection of r; r.state is still the state before it.
func (f *failures) note(r *receiver, c *subscriber.Change) {
	switch {
	case c.State == subscriber.Disconnected && r.state == subscriber.Connecting && c.Err != nil:
		f.failed(r, c.Addr, c.Err, time.Now())
	case c.State == subscriber.Live, c.State == subscriber.Replaying:
		f.connected(r, c.Addr)
	}
}

// failed reports that an attempt of r at addr failed with err.
func (f *failures) failed(r *receiver, addr string, err error, now time.Time) {
	if f.maxAttempts == 1 || terminal(err) {
		return // the command ends, and reports it
	}
	reason := err.Error()
	if op := (*net.OpError)(nil); errors.As(err, &op) && !strings.HasPrefix(reason, "cannot connect") && !errors.As(err, new(*subscriber.TLSError)) {
		reason = "no welcome: " + neterror.Plain(err).Error()
	}
	if !strings.Contains(reason, addr) {
		reason = addr + ": " + reason
	}
	out := f.outages[addr]
	if out == nil {
		out = &outage{failing: make(map[*receiver]bool)}
		if f.outages == nil {
			f.outages = make(map[string]*outage)
		}
		f.outages[addr] = out
	}
	out.failing[r] = true
	if !out.due(reason, now) {
		return
	}
	advice := fmt.Sprintf("trying again, %d times in all", f.maxAttempts)
	if f.maxAttempts == 0 {
		advice = "trying again until it answers (--max-attempts N would give up)"
	}
	if certs.IsMistake(err) {
		f.say("%s%s\n%s", notConnected, reason, advice)
		return
	}
	f.say("%s; %s", reason, advice)
}

// connected notes that the publisher at addr has welcomed r.
func (f *failures) connected(r *receiver, addr string) {
	if out := f.outages[addr]; out != nil {
		if delete(out.failing, r); len(out.failing) == 0 {
			delete(f.outages, addr)
		}
	}
}

// due reports whether reason is to be reported now, and if so, schedules its next report.
func (o *outage) due(reason string, now time.Time) bool {
	i := slices.IndexFunc(o.failures, func(f *failure) bool { return f.reason == reason })
	last := &failure{reason: reason, at: now, pause: firstSilence}
	switch {
	case i < 0 && len(o.failures) == maxReasons:
		o.failures = slices.Delete(o.failures, 0, 1)
	case i < 0:
	case now.Sub(o.failures[i].at) < o.failures[i].pause:
		return false
	default:
		last.pause = min(2*o.failures[i].pause, longestSilence)
		o.failures = slices.Delete(o.failures, i, i+1)
	}
	o.failures = append(o.failures, last)
	return true
}

// terminal reports whether err is a refusal that the subscriber does not retry.
func terminal(err error) bool {
	var refused *subscriber.RefusedError
	return errors.As(err, &refused) && !refused.Retry
}
