package lab

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync"
	"time"

	"tickfeed/codec"
	"tickfeed/feed"
)

// A Lab stands between a publisher and its clients. Set the fields before Serve.
type Lab struct {
	Script *Script
	// Dial connects to the publisher.
	Dial func(ctx context.Context) (net.Conn, error)
	// TLS is the configuration for clients; nil for plain connections. Dial chooses for itself: see Secure.
	TLS *tls.Config
	// Publisher is the publisher behind Dial, if rules may end it, freeze it and start it again; nil if they may not.
	Publisher Publisher
	// Event is called for each fault that happens, and for connections; one call at a time. It may be nil.
	Event func(Event)
	// Heard is called for each message of a client, and with a nil message when the client has ended its connection; one
	// call at a time. It may be nil.
	Heard func(Heard)

	once    sync.Once
	start   sync.Once // of the first Serve, which runs the clocks
	rules   *rules
	mu      sync.Mutex
	links   map[*link]struct{}
	number  uint64
	waiting []int                           // rules at a time that met no connection
	spawn   func(func(ctx context.Context)) // starts a goroutine; nil unless Serve runs
	ends    []context.CancelCauseFunc       // of the calls of Serve
	refused time.Time                       // until when new connections are closed
	refuser int                             // rule because of which they are
	hung    time.Time                       // until when new connections hang
	hanger  int                             // rule because of which they do
	frozen  time.Time                       // until when the publisher is suspended
	history history                         // sessions made up
	hellos  map[int]uint64                  // rules triggered by hand that the next hellos meet, and how many
	copied  bool                            // there is a copy of the publisher's journal, or there will be
	down    int                             // faults for which the publisher is away; new connections are closed
	turn    chan struct{}                   // closed when the last fault of the publisher is done; nil before the first
	saying  sync.Mutex
}

// TurnedAway is Event.What of a connection that was closed before its hello, because a rule has ended the publisher.
const TurnedAway = "turned away: the publisher is down"

// An Event is something that happened to a connection.
type Event struct {
	Time       time.Time      `json:"time"`
	Line       int            `json:"line,omitempty"`  // of the script; 0 if no rule is behind it
	Fault      string         `json:"fault,omitempty"` // as written
	What       string         `json:"what,omitempty"`  // without a rule: connected, disconnected, or an error
	Client     string         `json:"client,omitempty"`
	Connection uint64         `json:"connection"`
	Login      uint64         `json:"login,omitempty"`
	Session    feed.SessionID `json:"session,omitempty"`
	Seq        uint64         `json:"seq,omitempty"` // number that the fault is about: the numbers below were passed
}

func (l *Lab) init() {
	l.once.Do(func() {
		if l.Script == nil {
			l.Script = &Script{Seed: 1}
		}
		l.rules, l.links = newRules(l.Script), make(map[*link]struct{})
	})
}

func (l *Lab) say(e Event) {
	if e.Time.IsZero() {
		e.Time = time.Now()
	}
	l.saying.Lock()
	defer l.saying.Unlock()
	if l.Event != nil {
		l.Event(e)
	}
}

// Heard is a message of a client.
type Heard struct {
	Time       time.Time
	Connection uint64
	Message    codec.Message // nil: the client has ended the connection
}

func (l *Lab) hear(connection uint64, m codec.Message) {
	l.saying.Lock()
	defer l.saying.Unlock()
	if l.Heard != nil {
		l.Heard(Heard{time.Now(), connection, m})
	}
}

// Bounds of a lab.
const (
	dialTime     = 5 * time.Second
	handshakeFor = 10 * time.Second // time that a client has to say hello
	answerFor    = 5 * time.Second  // time after which a publisher without an answer is reported (PROTOCOL.md, "A connection")
	maxLinks     = 10_000           // connections at the same time; above it new ones are closed
	acceptPause  = 50 * time.Millisecond
)

// Serve serves the clients that connect on ln until ctx ends, ln fails, or the Publisher does. It owns ln and all goroutines
// that it starts. Several calls may run at once.
func (l *Lab) Serve(ctx context.Context, ln net.Listener) error {
	l.init()
	ctx, cancel := context.WithCancelCause(ctx)
	var all sync.WaitGroup
	defer all.Wait()
	defer cancel(nil)
	l.mu.Lock()
	l.ends = append(l.ends, cancel)
	l.mu.Unlock()
	stop := context.AfterFunc(ctx, func() { ln.Close() })
	defer stop()
	defer ln.Close()
	l.start.Do(func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.spawn = func(f func(context.Context)) { all.Go(func() { f(ctx) }) }
		list, _ := l.rules.all()
		for i, r := range list {
			if r != nil && r.Trigger.Timed() {
				l.clockLocked(i)
			}
		}
	})
	defer func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.spawn = nil // before all.Wait
	}()
	for {
		nc, err := ln.Accept()
		switch {
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case errors.Is(err, net.ErrClosed):
			return fmt.Errorf("accept on %s: %w", ln.Addr(), err)
		case err != nil: // a passing shortage
			select {
			case <-time.After(acceptPause):
			case <-ctx.Done():
			}
			continue
		}
		all.Go(func() { l.serve(ctx, nc) })
	}
}

// clockLocked starts the clock of rule i.
func (l *Lab) clockLocked(i int) {
	l.spawn(func(ctx context.Context) { l.clock(ctx, i) })
}

// clock triggers rule i by time.
func (l *Lab) clock(ctx context.Context, i int) {
	r := l.rules.rule(i)
	if r == nil {
		return
	}
	t := r.Trigger
	timer := time.NewTimer(t.After)
	defer timer.Stop()
	for {
		select {
		case <-timer.C:
		case <-ctx.Done():
			return
		}
		l.inject([]int{i})
		if t.When == AtTime || l.rules.rule(i) == nil {
			return
		}
		timer.Reset(t.After)
	}
}

// Trigger triggers the rules "on NAME: …". It returns false if there is none. When it returns, a publisher that
// they end is back, and one that they freeze is frozen.
func (l *Lab) Trigger(name string) bool {
	l.init()
	hits := l.rules.byHand(name)
	l.inject(hits)
	return len(hits) > 0
}

// inject applies rules to all connections now.
func (l *Lab) inject(hits []int) {
	for _, i := range hits {
		r := l.rules.rule(i)
		if r == nil {
			continue
		}
		if r.Fault.Verb.is(ofLogins) {
			l.mu.Lock()
			if l.hellos == nil {
				l.hellos = make(map[int]uint64)
			}
			l.hellos[i] += max(1, r.Fault.ForTimes)
			l.mu.Unlock()
			continue
		}
		if r.Fault.Verb.is(ofPublisher) {
			<-l.act(i, Event{})
			continue
		}
		if f := r.Fault; f.Verb.is(ofDials) {
			until := time.Now().Add(f.For)
			l.rules.because(i, "no client connected while it lasted")
			l.mu.Lock()
			switch f.Verb { // counts when it meets a connection
			case RefuseDials:
				l.refused, l.refuser = until, i
			case HangDials:
				l.hung, l.hanger = until, i
			default:
				panic(unmade(f.Verb))
			}
			l.mu.Unlock()
			continue
		}
		l.mu.Lock()
		links := make([]*link, 0, len(l.links))
		for k := range l.links {
			if l.rules.applies(i, k.name) {
				links = append(links, k)
			}
		}
		l.mu.Unlock()
		slices.SortFunc(links, func(a, b *link) int { return int(a.number) - int(b.number) })
		met := false
		for _, k := range links {
			if met = k.inject(i) || met; met && r.Fault.Verb.is(ofSessions) {
				break // it ends the others
			}
		}
		if !met && r.Trigger.When == AtTime { // nobody is connected: the next connection meets it
			l.mu.Lock()
			l.waiting = append(l.waiting, i)
			l.mu.Unlock()
		}
	}
}

// unmade returns the text of a panic: no code makes fault v where faults of its class are made.
func unmade(v Verb) string {
	return fmt.Sprintf("lab: internal error: %q has no code that makes it; see inside.go", Verbs[v].Word)
}

// Check returns a *ScriptError for the first rule that can do nothing here, because there is no Publisher, or not of the
// kind that the rule needs.
func (l *Lab) Check(rules ...*Rule) error {
	for _, r := range rules {
		if !r.Fault.Verb.is(ofPublisher) {
			continue
		}
		word := Verbs[r.Fault.Verb].Word
		if l.Publisher == nil {
			return r.refuse(word + " happens to a publisher that the lab runs itself: give its command, as in tickfeed lab SCRIPT -- COMMAND")
		}
		if err := l.Publisher.Can(r.Fault); err != nil {
			return r.refuse(word + ": " + err.Error())
		}
		if r.Fault.overCopy() && !l.copies(rules) {
			return r.refuse("restart over copy needs a copy: add a rule such as \"at seq 500: copy journal\"")
		}
	}
	return nil
}

// copies reports whether there is a copy of the journal, or a rule that makes one.
func (l *Lab) copies(rules []*Rule) bool {
	l.init()
	l.mu.Lock()
	copied := l.copied
	l.mu.Unlock()
	present, _ := l.rules.all()
	return copied || slices.ContainsFunc(append(present, rules...), func(r *Rule) bool { return r != nil && r.Fault.Verb == CopyJournal })
}

// Add adds a rule while the lab runs, and returns its index for Remove. A trigger by time counts from now. The error is that
// of Check.
func (l *Lab) Add(r *Rule) (int, error) {
	l.init()
	if err := l.Check(r); err != nil {
		return 0, err
	}
	i := l.rules.add(r)
	l.passed(i)
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.spawn != nil && r.Trigger.Timed() {
		l.clockLocked(i)
	}
	return i + 1, nil
}

// passed reports that rule i, which was just added, is for a number that every line has passed.
func (l *Lab) passed(i int) {
	r := l.rules.rule(i)
	if r == nil || r.Trigger.When != AtSeq {
		return
	}
	l.mu.Lock()
	lines, past := 0, 0
	for k := range l.links {
		if !l.rules.applies(i, k.name) {
			continue
		}
		lines++
		k.mu.Lock()
		if k.at > r.Trigger.N {
			past++
		}
		k.mu.Unlock()
	}
	l.mu.Unlock()
	if lines > 0 && past == lines {
		why := fmt.Sprintf("every line is beyond %d: only one that begins below it meets the rule", r.Trigger.N)
		l.rules.because(i, why)
		l.say(Event{What: fmt.Sprintf("%q: %s", r.Text, why)})
	}
}

// Remove removes a rule. It returns false if there is none with that number.
func (l *Lab) Remove(n int) bool {
	l.init()
	return l.rules.remove(n - 1)
}

// A Result says how often a rule has done something.
type Result struct {
	Rule   *Rule  `json:"-"`
	Number int    `json:"number"` // from 1, for Remove
	Line   int    `json:"line,omitempty"`
	On     string `json:"-"` // name that triggers it; empty for another trigger
	Text   string `json:"rule"`
	Times  uint64 `json:"times"`
	Why    string `json:"why,omitempty"` // it has done nothing, if that is known
}

// Results returns what each rule did so far, without those that were removed.
func (l *Lab) Results() (all []Result) {
	l.init()
	list, fired := l.rules.all()
	for i, r := range list {
		if r != nil {
			all = append(all, Result{r, i + 1, r.Line, r.Trigger.Name, r.Text, fired[i], l.rules.why(i)})
		}
	}
	return all
}

// Connections returns how many clients are connected.
func (l *Lab) Connections() int {
	l.init()
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.links)
}
