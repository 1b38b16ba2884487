package publisher

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"tickfeed/codec"
	"tickfeed/codec/liveness"
)

// A conn is one subscriber. Its reader, a succession of goroutines that run one at a time, receives pulses and
// requests (receive.go). Its writer writes to the connection and advances the line (writer.go). The writer is a goroutine
// only while it may have to wait: the flusher or a pump serves a caught-up connection (inline.go). The writer is bounded
// by a write deadline, which it extends as long as the client gives signs of life, and the reader by three intervals of
// silence.
type conn struct {
	visit
	p        *Publisher
	nc       net.Conn
	client   client
	progress progress
	selected atomic.Pointer[Selection] // of line, for Stats
	alive    liveness.Monitor          // on the clock of the publisher
	mail     mailbox
	in       receiver
	pump     *pump

	// turn is held by the goroutine that advances the line and writes to the connection: the writer or, for a moment,
	// the flusher or a pump. It protects the fields below.
	turn     sync.Mutex
	out      sender
	line     line
	slow     lagLimit
	opening  opening
	stopSeen time.Duration // when the writer first saw the shutdown, on the clock of the publisher; 0 before
	over     bool          // nothing more is written
	endTold  bool
	reason   error // why the connection ends

	parked     bool        // protected by parking.mu: waits in parking.parked
	filtered   atomic.Bool // the line has a filter
	writerDone atomic.Bool // the writer has ended, or is about to end
	writers    sync.WaitGroup
}

// A visit is how long a connection may stay: until the door closes, or until stop is called.
type visit struct {
	*door
	stopped atomic.Pointer[error] // why it ends before the door does; nil if it does not
}

// stopCause returns why the connection must end, or nil.
func (v *visit) stopCause() error {
	if why := v.stopped.Load(); why != nil {
		return *why
	}
	return context.Cause(v.ctx)
}

// stop ends the visit of c for the given reason, unless it has ended already.
func (c *conn) stop(why error) {
	c.stopped.CompareAndSwap(nil, &why)
	c.mail.interrupt()
	c.signal()
}

// A client is what a hello, and a certificate, says about the client.
type client struct {
	number uint64    // number of the connection, unique in the publisher
	since  time.Time // when it was accepted
	name   string
	cert   string // the name in its certificate, or ""
	proof  *proof // nil without a certificate
	user   string // "" without Config.Authorize
	login  *Login // nil if clients need no credentials
	narrow bool   // the publisher may narrow the line unasked: see codec.FeatureNarrow
	asked  uint64 // the position in the hello
	back   bool   // the hello had a position: the client has been connected before
}

// A progress is how far the line was sent and confirmed. Its fields are safe for concurrent use.
type progress struct {
	position  uint64        // position at which the line began; never changes
	told      atomic.Uint64 // number after the last one sent, or position if that is higher: see tell
	passed    atomic.Uint64 // as told, and beyond it while a skip is pending
	read      atomic.Int64  // publish time of the last packet read from the journal; 0 if none was
	confirmed atomic.Uint64
	roundTrip atomic.Int64 // in ns
}

// tell records that the client was sent every number before next, and that those before read need not be sent. A line begins at the packet that holds the
// position, and the first data sent may end before the position; the client may confirm its position all the same.
func (x *progress) tell(next, read uint64) {
	x.told.Store(max(next, x.position))
	x.passed.Store(max(next, read, x.position))
}

func (x *progress) connProgress() ConnProgress {
	return ConnProgress{x.told.Load(), x.passed.Load(), x.read.Load()}
}

func newConn(p *Publisher, nc net.Conn, r *codec.Reader, h *codec.Hello) *conn {
	c := &conn{
		p: p, nc: nc, in: receiver{raw: rawConn(nc), messages: r},
		client: client{name: h.Client, asked: h.Position.Next, back: len(h.Position.Lineage) > 0},
		slow:   lagLimit{policy: h.Slow, maxLag: cmp.Or(h.MaxLag, p.cfg.MaxLag)},
		line:   line{p: p, filter: h.Filter, grant: grant{filter: h.Filter}, until: h.Until},
	}
	if s, ok := nc.(*secureConn); ok {
		c.client.cert, c.client.proof = s.identity(), s.proof()
	}
	if p.cfg.authenticates() {
		login := NewLogin(h.Token, c.client.cert)
		c.client.login = &login
	}
	c.alive.Interval = p.cfg.Heartbeat
	if h.Heartbeat != 0 {
		c.alive.Interval = min(max(h.Heartbeat, MinHeartbeat), MaxHeartbeat)
	}
	c.out = newSender(nc, c.in.raw, &c.alive, &p.clock)
	c.selected.Store(c.line.selection())
	return c
}

func (c *conn) now() time.Duration { return c.p.clock.now() }

// hear notes a sign of life of the client. The reader listens again at once.
func (c *conn) hear() {
	c.alive.Heard()
	c.alive.Listen(c.now())
}

// silentAt returns when the client counts as silent, if it sends nothing before.
func (c *conn) silentAt() time.Duration { return c.alive.DeadAt(c.now()) }

func (c *conn) silent() bool { return c.alive.Dead(c.now()) }

// run starts to serve the connection and returns. The reader calls Publisher.remove when the connection has ended.
func (c *conn) run() {
	filter, more := cut(c.selected.Load().Filter)
	e := c.p.serving.tallies.joined.line(c.nc).Str("client", cutText(c.client.name)).Strs("filter", filter)
	if more > 0 {
		e = e.Int("more_patterns", more)
	}
	if c.client.user != "" {
		e = e.Str("user", cutText(c.client.user))
	}
	if c.line.grant.limited {
		e = e.Str("limits", c.line.grant.limits)
	}
	if c.client.cert != "" {
		e = e.Str("certificate", cutText(c.client.cert))
	}
	e.Uint64("start", c.progress.told.Load()).Msg("subscriber joined")
	c.in.messages.SetLimit(codec.MaxMessage)
	c.listen(c.silentAt())
	c.signal()
	c.conns.Go(c.attend)
}

// signal makes the writer look at the connection, and starts a writer if none is running.
func (c *conn) signal() {
	c.mail.callWriter(c)
	if c.writerDone.Load() && c.stopCause() != nil {
		_ = c.nc.SetReadDeadline(time.Now().Add(refusalWait)) // the time that the client has to read the goodbye
	}
}

// startWriter implements starter.
func (c *conn) startWriter() { c.writers.Go(c.runWriter) }

// Reasons for which a connection ends, besides network errors.
var (
	errClientLeft = errors.New("the client said goodbye")
	errLost       = errors.New("the connection was lost")
	errSlow       = errors.New("slow consumer")
	errSilent     = errors.New("nothing heard for three intervals")
	errShutdown   = errors.New("shutdown")
	errCovered    = errors.New("the client has all that it asked for")
	errCrowded    = errors.New("a snapshot was not read, and its memory is needed for other clients")
)

// crowdedWait is how long a client is asked to wait before it reconnects, if it was disconnected because it did not
// read its snapshot.
const crowdedWait = time.Second

// unreadableWait is how long a client is asked to wait before it reconnects, if the state that it needs cannot be
// read.
const unreadableWait = time.Second

// An unreadableError ends a connection whose client needs a state that cannot be read.
type unreadableError struct{ seq uint64 }

func (e *unreadableError) Error() string {
	return fmt.Sprintf("the state as of %d cannot be read", e.seq)
}

// partingTime bounds how long a client that is too slow may take to read the data already sent, and the goodbye. It
// is sent nothing more, so it costs no more memory than before.
const partingTime = 30 * time.Second

// closeWith sends a goodbye for reason and makes the reader end. The caller must hold the turn.
func (c *conn) closeWith(reason error) {
	if errors.Is(reason, errShutdown) && errors.Is(c.stopCause(), errKicked) {
		reason = errKicked
	}
	c.over, c.reason = true, reason
	c.line.closeCursor()
	slow := errors.Is(reason, errSlow) || errors.Is(reason, errCrowded)
	wait := refusalWait
	if slow {
		wait = partingTime
	}
	until := time.Now().Add(wait)
	said := false
	if bye := c.goodbye(reason); bye != nil {
		said = c.sayGoodbye(bye, until)
	}
	c.writerDone.Store(true)
	if c.stopCause() != nil {
		until = soonest(until, time.Now().Add(refusalWait))
	}
	_ = c.nc.SetReadDeadline(until) // the reader sees the client close, or gives up
	if errors.Is(reason, errClientLeft) || errors.Is(reason, errLost) || errors.Is(reason, errSilent) || slow && !said {
		c.nc.Close()
	}
}

// sayGoodbye sends m as the last message, as the client takes it. It returns false if the client has not taken it by until,
// has left, or is silent. The reader continues until the client closes.
func (c *conn) sayGoodbye(m codec.Message, until time.Time) (said bool) {
	return c.out.last(m, until, min(c.alive.Interval, refusalWait), func(until time.Time) (time.Time, bool) {
		if c.stopCause() != nil { // the publisher stops, and waits no longer than for other connections
			until = soonest(until, time.Now().Add(refusalWait))
		}
		return until, c.mail.clientGone() == nil && !c.silent()
	})
}

// goodbye returns the goodbye for a connection that ends for reason, or nil if none is sent.
func (c *conn) goodbye(reason error) *codec.Goodbye {
	switch {
	case errors.Is(reason, errShutdown) && errors.Is(c.stopCause(), ErrMoved):
		return &codec.Goodbye{Code: codec.CodeShutdown, Text: ErrMoved.Error(), Retry: true}
	case errors.Is(reason, errShutdown) && errors.Is(c.stopCause(), errDrained):
		return &codec.Goodbye{
			Code: codec.CodeShutdown, Text: restartText, Retry: true,
			RetryAfter: c.p.serving.roster.draining.Load().retryAfter(c.p.chance(c.client.number)),
		}
	case errors.Is(reason, errKicked):
		return &codec.Goodbye{Code: codec.CodeShutdown, Text: errKicked.Error(), Retry: true, RetryAfter: kickedWait}
	case errors.Is(reason, errShutdown):
		after := time.Duration(0)
		if c.p.cfg.RetryAfter > 0 {
			after = time.Duration(c.p.chance(c.client.number).Int64N(int64(c.p.cfg.RetryAfter)))
		}
		return &codec.Goodbye{Code: codec.CodeShutdown, Text: "the publisher stops", Retry: true, RetryAfter: after}
	case errors.Is(reason, errCovered):
		return &codec.Goodbye{Code: codec.CodeDone, Text: fmt.Sprintf("covered up to %d, as asked", c.line.until)}
	case errors.Is(reason, errSlow):
		return &codec.Goodbye{Code: codec.CodeSlow, Text: fmt.Sprintf("more than %v behind", c.slow.maxLag), Retry: true}
	case errors.Is(reason, errCrowded):
		return &codec.Goodbye{Code: codec.CodeBusy, Text: "the snapshot was not read, and its memory is needed for other clients", Retry: true, RetryAfter: crowdedWait}
	case errors.Is(reason, errSilent):
		return &codec.Goodbye{Code: codec.CodeSilent, Text: "no pulse for three intervals", Retry: true}
	}
	if denied := (*deniedError)(nil); errors.As(reason, &denied) {
		return &codec.Goodbye{Code: denied.code, Text: denied.text, Retry: denied.retry}
	}
	if unreadable := (*unreadableError)(nil); errors.As(reason, &unreadable) {
		return &codec.Goodbye{Code: codec.CodeInternal, Text: reason.Error(), Retry: true, RetryAfter: unreadableWait}
	}
	return c.mail.readerGoodbye()
}

// pumpOf returns the pump that serves the connection. All filtered lines share one pump, which filters them in one
// pass over the log.
func (c *conn) pumpOf() *pump {
	if c.filtered.Load() {
		return c.p.serving.parking.pumpFor(0)
	}
	return c.pump
}
