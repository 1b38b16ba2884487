package exam

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"tickfeed/codec"
	"tickfeed/codec/liveness"
	"tickfeed/codec/start"
	"tickfeed/feed"
)

// A line is a subscriber that the exam plays: one connection, of which every message of the publisher is judged by
// PROTOCOL.md as it comes. A goroutine reads it and sends pulses; the methods are for the goroutine of the case.
type line struct {
	p     *probe
	name  string
	nc    net.Conn
	hello codec.Hello
	mute  bool        // sends no pulses
	stall atomic.Bool // reads nothing for now
	done  chan struct{}

	mu   sync.Mutex
	more chan struct{} // closed and replaced when something has changed
	over bool          // the connection has ended
	err  error         // how
	mayEnd,
	leaving bool

	welcome  *codec.Welcome
	placed   start.Placed
	refusal  *codec.Refusal
	goodbye  *codec.Goodbye
	lineage  feed.Lineage
	session  feed.SessionID
	owned    feed.Range
	at       uint64 // end of what the line has covered
	next     uint64 // the position
	head     uint64
	seed     uint32
	filter   codec.Filter
	interval time.Duration
	publish  int64
	final    uint64 // of the end; 0 before it

	state    *feed.State
	due      bool // a snapshot must come before the next tick
	scope    codec.ScopeKind
	added    codec.Filter // of the snapshot that is due, if its scope is ScopeAdded
	begin    *codec.SnapshotBegin
	part     *feed.State
	parts    uint64
	requests []codec.Subscribe // without an answer

	events  []string // everything but packets of ticks, parts and heartbeats
	packets []feed.Range
	recent  []string  // the last messages, for people
	heard   time.Time // when the last message came
	longest time.Duration
	beats   int // heartbeats
	echo    int64

	ticks int    // delivered, without definitions
	last  int    // index in the supply of the newest tick; −1 before the first
	low   uint64 // the position at the welcome
}

// dial connects a line that says h. It does not wait for the answer. The options change the line before it reads.
func (p *probe) dial(h codec.Hello, options ...func(*line)) *line {
	if h.MaxVersion == 0 {
		h.MinVersion, h.MaxVersion = codec.Version, codec.Version
	}
	if h.Heartbeat == 0 {
		h.Heartbeat = p.beat
	}
	if h.Client == "" {
		h.Client = "tickfeed exam " + p.c.ID
	}
	if h.Token == "" {
		h.Token = p.token
	}
	return p.dialBytes(h, encoded(&h), options...)
}

// dialBytes is dial with other bytes for the hello.
func (p *probe) dialBytes(h codec.Hello, b []byte, options ...func(*line)) *line {
	l := &line{
		p: p, nc: p.connect(), hello: h, name: fmt.Sprintf("connection %d", len(p.lines)+1), done: make(chan struct{}), more: make(chan struct{}),
		state: feed.NewState(), interval: h.Heartbeat, heard: time.Now(), filter: h.Filter, last: -1,
	}
	p.lines = append(p.lines, l)
	for _, option := range options {
		option(l)
	}
	l.write(b)
	p.reading.Go(l.read)
	return l
}

// mute makes a line that sends no pulses.
func mute(l *line) { l.mute = true }

// narrow makes a line for which the kernel holds little that was not read.
func narrow(l *line) {
	if tc, ok := l.nc.(*net.TCPConn); ok {
		_ = tc.SetReadBuffer(128 << 10)
	}
}

// goOn lets a line read that was stalled.
func (l *line) goOn() {
	if tc, ok := l.nc.(*net.TCPConn); ok {
		_ = tc.SetReadBuffer(1 << 20)
	}
	l.stall.Store(false)
}

// from makes a line that has the state, and has seen the ticks, of a line that is over.
func from(old *line) func(*line) {
	return func(l *line) { l.state, l.ticks, l.last = old.state, old.ticks, old.last }
}

// join connects a line and waits for its welcome.
func (p *probe) join(h codec.Hello, options ...func(*line)) *line {
	l := p.dial(h, options...)
	l.wait("its welcome", func() bool { return l.welcome != nil })
	return l
}

func (l *line) write(b []byte) {
	_ = l.nc.SetWriteDeadline(time.Now().Add(writeTime))
	_, _ = l.nc.Write(b) // an error shows when reading
}

// writeTime bounds a write to the publisher, which must read what clients send.
const writeTime = 5 * time.Second

func (l *line) say(m codec.Message) {
	l.write(encoded(m))
}

// wait waits until done, which is called with l.mu held, reports true. The case fails if the connection ends before, or the
// time of the case does.
func (l *line) wait(what string, done func() bool) {
	for {
		l.mu.Lock()
		ok, over, more := done(), l.over, l.more
		err := l.err
		if l.goodbye != nil || l.refusal != nil {
			err = errors.New(l.farewell())
		}
		late := l.ofTime()
		recent := slices.Clone(l.recent)
		l.mu.Unlock()
		if ok {
			return
		}
		if over {
			if late {
				l.p.isLate()
			}
			l.p.throw(&Fault{Text: fmt.Sprintf("%s has ended before %s came: %v", l.name, what, err), Before: recent})
		}
		select {
		case <-more:
		case <-l.p.ctx.Done():
			l.p.ended(fmt.Sprintf("%s still waits for %s", l.name, what), recent)
		}
	}
}

// ofTime reports whether a connection that has ended may have ended because the exam was late: the publisher has found it silent,
// or has cut it.
func (l *line) ofTime() bool {
	return l.refusal == nil && (l.goodbye == nil || l.goodbye.Code == codec.CodeSilent)
}

func (l *line) farewell() string {
	switch {
	case l.refusal != nil:
		return fmt.Sprintf("refused, code %v: %s", l.refusal.Code, l.refusal.Text)
	case l.goodbye != nil:
		return fmt.Sprintf("goodbye, code %v: %s", l.goodbye.Code, l.goodbye.Text)
	}
	return ""
}

// reach waits until the position is at least seq and no snapshot is due or open.
func (l *line) reach(seq uint64) {
	l.wait(fmt.Sprintf("number %d", seq-1), func() bool { return l.next >= seq && l.at >= seq && !l.due && l.begin == nil })
}

// has waits for an event that begins so.
func (l *line) has(event string) {
	l.wait(event, func() bool {
		return slices.ContainsFunc(l.events, func(e string) bool { return strings.HasPrefix(e, event) })
	})
}

// ends waits until the publisher has ended the connection, and returns its goodbye or refusal; nil if it only closed.
func (l *line) ends() *codec.Farewell {
	l.mayEndNow()
	l.wait("the end of the connection", func() bool { return l.over })
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.refusal != nil:
		return (*codec.Farewell)(l.refusal)
	case l.goodbye != nil:
		return (*codec.Farewell)(l.goodbye)
	}
	return nil
}

// mayEndNow allows the publisher to end the connection.
func (l *line) mayEndNow() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.mayEnd = true
}

// leave says goodbye and closes.
func (l *line) leave() {
	l.mayEndNow()
	l.say(&codec.Goodbye{Code: codec.CodeDone, Text: "the exam has seen enough"})
	l.cut()
}

// cut closes the connection without a goodbye.
func (l *line) cut() {
	l.mu.Lock()
	l.mayEnd, l.leaving = true, true
	l.mu.Unlock()
	l.stall.Store(false)
	_ = l.nc.Close()
	<-l.done
}

// position returns the position of the line.
func (l *line) position() codec.Position {
	l.mu.Lock()
	defer l.mu.Unlock()
	return codec.Position{Lineage: slices.Clone(l.lineage.Newest()), Next: l.next}
}

// whole reports whether the line has the state as of its position.
func (l *line) whole() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return !l.due
}

// seen returns the events so far.
func (l *line) seen() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.events)
}

// now returns how far the line is, and how many ticks it has delivered.
func (l *line) now() (at uint64, ticks int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.at, l.ticks
}

// read judges the messages of the publisher until the connection ends, and sends pulses.
func (l *line) read() {
	defer close(l.done)
	r := codec.NewReader(l.nc, 0)
	pulse, heard := time.Now().Add(l.interval), time.Now()
	partial := 0
	for {
		if l.stall.Load() {
			time.Sleep(min(stallPoll, l.interval))
			if now := time.Now(); now.After(pulse) {
				pulse, heard = now.Add(l.interval), now
				l.say(&codec.Pulse{Next: l.next, Echo: l.echo})
			}
			if l.p.ctx.Err() == nil {
				continue
			}
			l.stall.Store(false)
		}
		// The publisher has three intervals, and one more for the machine that both share; a long time for its welcome.
		dead := heard.Add((liveness.DeadAfter + 1) * l.interval)
		if l.welcome == nil {
			dead = heard.Add(welcomeTime)
		}
		wake := dead
		if l.welcome != nil && !l.mute && pulse.Before(wake) {
			wake = pulse
		}
		_ = l.nc.SetReadDeadline(wake)
		typ, raw, err := r.Next()
		now := time.Now()
		switch {
		case err == nil:
			partial, heard = 0, now
			if text := l.take(typ, raw, now); text != "" {
				l.wrong(text)
				err = errors.New(text)
			}
		case errors.Is(err, os.ErrDeadlineExceeded):
			err = nil
			if n := r.Partial(); n >= partial+4096 {
				partial, heard = n, now
			} else if now.After(dead) {
				err = fmt.Errorf("no sign of life of the publisher for %v, with heartbeats every %v", now.Sub(heard).Round(time.Millisecond), l.interval)
				l.p.isLate()
				l.wrong(err.Error())
			}
		case errors.Is(err, codec.ErrMalformed), errors.Is(err, codec.ErrUnknownMessage):
			l.wrong("the publisher sent bytes that PROTOCOL.md does not allow: " + err.Error())
		case errors.Is(err, io.ErrUnexpectedEOF) && (l.goodbye != nil || l.refusal != nil):
			l.wrong("half a message follows the " + l.farewell())
		}
		if err == nil && l.welcome != nil && !l.mute && !now.Before(pulse) {
			pulse = now.Add(l.interval)
			l.mu.Lock()
			m := codec.Pulse{Next: l.next, Echo: l.echo}
			l.mu.Unlock()
			l.say(&m)
		}
		l.mu.Lock()
		if err != nil {
			l.over, l.err = true, err
		}
		unexpected := err != nil && !l.mayEnd && l.goodbye == nil && l.refusal == nil
		close(l.more)
		l.more = make(chan struct{})
		l.mu.Unlock()
		if unexpected && l.p.ctx.Err() == nil {
			l.p.isLate()
			l.wrong(fmt.Sprintf("the publisher has cut the connection without a goodbye: %v", err))
		}
		if err != nil {
			_ = l.nc.Close()
			return
		}
	}
}

// stallPoll is how often a line that reads nothing looks whether it may.
const stallPoll = 5 * time.Millisecond

// welcomeTime is how long a publisher may take to answer a hello.
const welcomeTime = 5 * time.Second

// wrong makes the case fail.
func (l *line) wrong(text string) {
	l.mu.Lock()
	recent := slices.Clone(l.recent)
	leaving := l.leaving
	l.mu.Unlock()
	if leaving {
		return
	}
	f := &Fault{Text: l.name + ": " + text}
	if len(recent) > 0 {
		f.Got, f.Before = recent[len(recent)-1], recent[:len(recent)-1]
	}
	l.p.cancel(f)
}

// subscribe changes the filter, and waits for the answer, and the snapshot if one is due.
func (l *line) subscribe(request uint64, patterns ...string) {
	f, err := codec.NewFilter(patterns)
	if err != nil {
		panic("exam: internal error: " + err.Error())
	}
	m := codec.Subscribe{Request: request, Filter: f}
	l.mu.Lock()
	l.requests = append(l.requests, m)
	l.mu.Unlock()
	l.say(&m)
}

// answered waits for the answer to a request, and for the snapshot if one is due.
func (l *line) answered(request uint64) {
	l.has(fmt.Sprintf("subscribed %d", request))
	l.wait("the snapshot of what was added", func() bool { return !l.due && l.begin == nil })
}
