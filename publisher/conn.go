package publisher

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"tickfeed/codec"
	"tickfeed/feed"
	"tickfeed/publisher/journal"
)

// A conn is one subscriber. Its reader, one goroutine after the other, hears pulses and requests.
// Its writer writes to the connection and moves the line; it is a goroutine only while
// there is something that may have to wait: a caught-up connection is served by who flushes, or by
// a pump, see inline. Both are bounded: the writer by a deadline that it renews as long as
// the client gives signs of life, the reader by three intervals of silence.
type conn struct {
	*door
	p      *Publisher
	nc     net.Conn
	raw    syscall.RawConn           // of nc; nil if it has none
	try    func([]byte) (int, error) // writes what fits without waiting; nil if the connection cannot
	reader *codec.Reader             // nil while there is nothing to read, if awaitBytes can tell
	read   int64                     // bytes before that
	number uint64                    // of the connection
	client string
	asked  codec.Filter // at first

	until    uint64 // the line ends once it has covered the numbers below; 0 for no end
	granted  []string
	pump     *pump
	interval time.Duration // of heartbeats and pulses
	maxLag   time.Duration
	line     line
	welcome  []byte        // which is sent first; nil after that
	due      *dueSnapshot  // which comes after it; nil for none
	begun    time.Duration // when that began, as heard: a bound on the lag holds once the line was live, or had the bound's time to become so

	// turn is held by who moves the line and writes to the connection: its writer, and for a
	// moment whoever calls inline. It protects what follows.
	turn     sync.Mutex
	rest     []byte        // what inline could not write; the writer has to
	restTime int64         // publish time of the packets that rest began with
	unsent   []byte        // what is left of a message that was begun when the writer gave up
	failed   error         // why inline could not write
	reason   error         // why it is over
	stopping time.Duration // when the writer first saw that the publisher stops, as heard
	slow     codec.SlowPolicy
	back     bool // the client had a position, as one that comes back has
	over     bool // nothing is written any more
	live     bool // the line has had all there was at least once
	endTold  bool

	parked   bool        // protected by server.parking
	filtered atomic.Bool // the line has a filter
	ending   atomic.Bool // the writer has ended, or is about to
	crowded  atomic.Bool // protected by snapshots.mu, to be set: others need the room of the snapshot that it holds
	buf      []byte      // for what is made for this connection; nil until it is needed

	heard     atomic.Int64  // when the client last gave a sign of life, in ns since p.started
	sent      atomic.Int64  // when something was sent last, about, likewise
	told      atomic.Uint64 // number after the last one sent, or the position at which the line began: see tell
	position  uint64        // at which the line began
	confirmed atomic.Uint64
	roundTrip atomic.Int64

	writers sync.WaitGroup

	mail     sync.Mutex
	writing  bool               // protected by mail: there is a writer
	again    bool               // protected by mail: it has to look again before it goes
	left     bool               // protected by mail: the client has left, there is nobody to say goodbye to
	said     bool               // protected by mail: it said goodbye before it left
	requests []*codec.Subscribe // protected by mail, at most maxSubscribe
	changes  time.Duration      // protected by mail: when, as heard, what changes of the filter cost is paid off; see mayChangeLocked
	waits    bool               // protected by mail: a timer signals when a change is due
	leaving  *codec.Goodbye     // protected by mail: why the reader wants to end the connection
	departed chan struct{}      // protected by mail: closed when the reader has ended, if the writer waits for a state
}

func newConn(p *Publisher, nc net.Conn, r *codec.Reader, h *codec.Hello) *conn {
	c := &conn{
		p: p, nc: nc, raw: rawConn(nc), reader: r, client: h.Client, asked: h.Filter, slow: h.Slow, back: len(h.Position.Lineage) > 0,
		interval: p.cfg.Heartbeat, maxLag: p.cfg.MaxLag,
	}
	c.try = tryWriter(nc, c.raw)
	if h.Heartbeat != 0 {
		c.interval = min(max(h.Heartbeat, MinHeartbeat), MaxHeartbeat)
	}
	if h.MaxLag != 0 {
		c.maxLag = h.MaxLag
	}
	c.line = line{p: p, filter: h.Filter}
	c.until = h.Until
	if slices.Contains(h.Features, codec.FeatureAck) { // the reader hears pulses whenever they come
		c.granted = []string{codec.FeatureAck}
	}
	return c
}

// choose decides where the line starts, and prepares what is sent first.
func (c *conn) choose(h *codec.Hello) *codec.Refusal {
	p, l := c.p, &c.line
	tail := p.tail() // before the head, which it must not exceed
	head, latest := p.log.end()
	var (
		start  uint64
		reason codec.StartReason
		scope  = codec.ScopeAll
		tell   bool // a snapshot stands at the start
		j      *join
	)
	fork, common := uint64(0), false
	if len(h.Position.Lineage) > 0 {
		if fork, common = p.lineage.Fork(h.Position.Lineage, h.Position.Next); common {
			_, _, common = p.lineage.Owner(fork)
		}
		if common && fork > head {
			return &codec.Refusal{Code: codec.CodeBadRequest, Text: fmt.Sprintf(
				"position %d is beyond the head of session %v, which is %d", fork, p.session.ID, head)}
		}
	}
	held := len(h.Position.Lineage) > 0
	switch {
	case common:
		start, reason = fork, codec.StartedResumed
		tell = !h.HasState
		if fork != h.Position.Next {
			reason, tell = codec.StartedRewound, true
		}
	case held && p.hasFirst(h.Position.Next):
		// The client followed a session that this one takes over from, and misses nothing of this one.
		start, reason, tell = p.lineage[0].First, codec.StartedBySnapshot, true
	default:
		var ok bool
		if h.Start.Kind == codec.StartTime && int64(h.Start.Value) > max(p.cfg.Now(), latest) {
			return &codec.Refusal{Code: codec.CodeBadRequest, Text: fmt.Sprintf(
				"time %d is later than the publisher's clock, which is at %d", h.Start.Value, p.cfg.Now())}
		}
		if start, scope, j, ok = c.asAsked(h.Start, head, tail); !ok && !held {
			return &codec.Refusal{Code: codec.CodeBadRequest, Text: fmt.Sprintf(
				"seq %d was not given yet: the head is %d", start, head)}
		} else if !ok {
			start, scope, j, _ = c.asAsked(codec.Start{}, head, tail)
		}
		if tell = true; held {
			reason, scope = codec.StartedBySnapshot, codec.ScopeAll
		}
	}
	first, err := l.packetOf(start)
	if err != nil {
		return &codec.Refusal{Code: codec.CodeInternal, Retry: true, RetryAfter: unreadableWait,
			Text: fmt.Sprintf("what follows %d cannot be read", start)}
	}
	if reason == codec.StartedBySnapshot {
		start = first // which is the position
	}
	owner, _, _ := p.lineage.Owner(start) // start is none of those that the lineage has forgotten
	l.in(owner)
	l.wanted = p.wants(l.filter, p.catalog())
	welcome, err := codec.Append(nil, &codec.Welcome{
		Version: codec.Version, Server: p.cfg.Server, Mode: p.cfg.Mode, Lineage: p.named(h.Position, start), Origin: p.cfg.Origin,
		Head: max(head, start), Tail: tail, Heartbeat: c.interval, Seed: l.seed, Start: first, Reason: reason, Now: p.cfg.Now(),
		Features: c.granted,
	})
	if err != nil {
		panic("publisher: internal error: welcome: " + err.Error())
	}
	c.welcome = welcome
	if tell && start > 1 && start >= p.tail() {
		c.due = &dueSnapshot{seq: start, scope: scope, join: j}
	}
	l.begin(first)
	c.position = start
	c.tell(start)
	return nil
}

// named is the lineage that a welcome names for a line whose position is next, of a client that held a position: the newest sessions
// of the publisher's, or those up to the one that owns next if the newest do not show where the line begins.
func (p *Publisher) named(held codec.Position, next uint64) feed.Lineage {
	newest := p.lineage.Newest()
	fork, common := p.lineage.Fork(held.Lineage, held.Next)
	if as, ok := newest.Fork(held.Lineage, held.Next); next >= newest[0].First && as == fork && ok == common {
		return newest
	}
	owner, _, _ := p.lineage.Owner(next)
	upto, _ := p.lineage.Until(owner.ID)
	return upto.Newest()
}

// tell notes that the client is sent everything before number next. A line begins at the packet that holds the position, and what
// it is sent first may end before the position; the client confirms its position all the same.
func (c *conn) tell(next uint64) { c.told.Store(max(next, c.position)) }

// asAsked returns where a line begins that asks for start: its number, the scope of its first snapshot, and the join
// that it was given, if any. It returns false if start is a number beyond head.
//
// The beginning is what the publisher was meant to keep: of a journal everything, so that a line for the beginning
// first hears what retention removed; of memory alone what it still holds.
func (c *conn) asAsked(start codec.Start, head, tail uint64) (seq uint64, scope codec.ScopeKind, j *join, ok bool) {
	p := c.p
	oldest := tail
	if p.journal != nil {
		oldest = p.lineage[0].First
	}
	switch start.Kind {
	case codec.StartSnapshot:
		j = p.joinAt(0, joinAge)
		return j.seq, codec.ScopeAll, j, true
	case codec.StartLive:
		j = p.joinAt(head, joinAge)
		return j.seq, codec.ScopeDefinitions, j, true
	case codec.StartBeginning:
		return oldest, codec.ScopeAll, nil, true
	case codec.StartTime:
		if seq = p.seqAt(int64(start.Value)); seq == tail { // what was removed may be as late
			seq = oldest
		}
		return seq, codec.ScopeAll, nil, true
	}
	seq = max(start.Value, p.lineage[0].First)
	return seq, codec.ScopeAll, nil, seq <= head
}

// hasFirst reports whether a client that held next in another session is best served from the publisher's first number:
// memory holds it, or the client has had nothing yet, or the publisher replays a recording from there.
func (p *Publisher) hasFirst(next uint64) bool {
	first := p.lineage[0].First
	return p.log.tail() == first || p.tail() == first && (next == first || p.cfg.Mode == codec.ModeReplay)
}

// A dueSnapshot is the snapshot that stands where a line begins.
type dueSnapshot struct {
	seq   uint64
	scope codec.ScopeKind
	join  *join // at seq, if not nil
}

// snapshotAt waits for the snapshot as of seq, which it gives the caller to hold; added is the filter of ScopeAdded. It returns nil if
// the publisher no longer has what follows seq: the line finds that out next.
func (c *conn) snapshotAt(seq uint64, scope codec.ScopeKind, added *wanted) (*snapshot, error) {
	states := &c.p.serving.states
	r := states.request(c, seq, scope, added)
	defer states.drop(r)
	if err := c.waitFor(r.served, nil); err != nil {
		return nil, err
	}
	if r.err != nil && seq < c.p.tail() {
		return nil, nil
	} else if r.err != nil {
		return nil, &unreadableError{seq}
	}
	return states.take(r), nil
}

// waitFor waits until done is closed, or due is over, with heartbeats meanwhile. An error is why the connection ends.
func (c *conn) waitFor(done <-chan struct{}, due <-chan time.Time) error {
	departed := make(chan struct{})
	c.mail.Lock()
	ended := c.left || c.leaving != nil
	c.departed = departed
	c.mail.Unlock()
	if ended {
		_, err := c.post()
		return err
	}
	defer func() {
		c.mail.Lock()
		c.departed = nil
		c.mail.Unlock()
	}()
	beat := time.NewTimer(c.beat() - c.now())
	defer beat.Stop()
	for {
		select {
		case <-done:
			return nil
		case <-due:
			return nil
		case <-beat.C:
			if err := c.heartbeat(); err != nil {
				return err
			}
			beat.Reset(c.interval)
		case <-departed:
			_, err := c.post()
			return err
		case <-c.ctx.Done():
			return errShutdown
		}
	}
}

// An unreadableError ends a connection whose client needs a state that cannot be read.
type unreadableError struct{ seq uint64 }

func (e *unreadableError) Error() string {
	return fmt.Sprintf("the state as of %d cannot be read", e.seq)
}

// crowdedWait is when a client may try again that took nothing of its snapshot.
const crowdedWait = time.Second

// unreadableWait is when a client may try again that needs a state that cannot be read.
const unreadableWait = time.Second

// Reasons for which a connection ends, beside those of the network.
var (
	errClientLeft = errors.New("the client said goodbye")
	errLost       = errors.New("the connection was lost")
	errSlow       = errors.New("slow consumer")
	errSilent     = errors.New("nothing heard for three intervals")
	errShutdown   = errors.New("shutdown")
	errCovered    = errors.New("the client has all that it asked for")
	errCrowded    = errors.New("a snapshot was not taken, and others need its room")
)

// run serves the connection; leave is called when it has ended.
func (c *conn) run() {
	filter, more := cut(c.asked)
	e := c.p.serving.tallies.joined.line(c.nc).Str("client", cutText(c.client)).Strs("filter", filter)
	if more > 0 {
		e = e.Int("more_patterns", more)
	}
	e.Uint64("start", c.told.Load()).Msg("subscriber joined")
	c.reader.SetLimit(codec.MaxMessage)
	c.listen(time.Duration(c.heard.Load()) + silence*c.interval)
	c.signal()
	c.conns.Go(c.attend)
}

// partingTime bounds how long a client that is too slow is given to read what was sent before, and the goodbye. It is fed nothing
// more, so that it costs no more memory than before.
const partingTime = 30 * time.Second

// end says goodbye for reason, and gets the reader to end. The caller has the turn.
func (c *conn) end(reason error) {
	c.over, c.reason = true, reason
	c.line.stop()
	slow := errors.Is(reason, errSlow) || errors.Is(reason, errCrowded)
	wait := refusalWait
	if slow {
		wait = partingTime
	}
	until := time.Now().Add(wait)
	said := false
	if bye := c.goodbye(reason); bye != nil {
		said = c.part(bye, until)
	}
	c.ending.Store(true)
	if c.ctx.Err() != nil {
		until = soonest(until, time.Now().Add(refusalWait))
	}
	_ = c.nc.SetReadDeadline(until) // the reader sees the client close, or gives up
	if errors.Is(reason, errClientLeft) || errors.Is(reason, errLost) || errors.Is(reason, errSilent) || slow && !said {
		c.nc.Close()
	}
}

// part writes what is left of a message that has begun, and then m, as soon as the client takes it, and closes for writing. It returns
// false if the client has not taken it at until, has left, or is silent. What was not read of a client would reset the
// connection when it is closed, and take m back: the reader goes on until the client closes.
func (c *conn) part(m codec.Message, until time.Time) (said bool) {
	b, err := codec.Append(nil, m)
	if err != nil {
		return false
	}
	unsent := c.unsent
	c.unsent = nil
	for _, b := range [][]byte{unsent, b} {
		for len(b) > 0 {
			_ = c.nc.SetWriteDeadline(soonest(until, time.Now().Add(min(c.interval, refusalWait))))
			n, err := c.nc.Write(b)
			b = b[n:]
			c.mail.Lock()
			left := c.left
			c.mail.Unlock()
			switch {
			case err == nil:
			case !errors.Is(err, os.ErrDeadlineExceeded), left, !time.Now().Before(until), c.silent():
				return false
			case c.ctx.Err() != nil: // the publisher does not wait longer than it waits for others
				until = soonest(until, time.Now().Add(refusalWait))
			}
		}
	}
	if w, ok := c.nc.(interface{ CloseWrite() error }); ok {
		_ = w.CloseWrite()
	}
	return true
}

func soonest(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

// goodbye is what to say to the client when the connection ends for reason; nil for nothing.
func (c *conn) goodbye(reason error) *codec.Goodbye {
	switch {
	case errors.Is(reason, errShutdown) && errors.Is(context.Cause(c.ctx), ErrMoved):
		return &codec.Goodbye{Code: codec.CodeShutdown, Text: ErrMoved.Error(), Retry: true}
	case errors.Is(reason, errShutdown):
		after := time.Duration(0)
		if c.p.cfg.RetryAfter > 0 {
			after = time.Duration(c.p.chance(c.number).Int64N(int64(c.p.cfg.RetryAfter)))
		}
		return &codec.Goodbye{Code: codec.CodeShutdown, Text: "the publisher stops", Retry: true, RetryAfter: after}
	case errors.Is(reason, errCovered):
		return &codec.Goodbye{Code: codec.CodeDone, Text: fmt.Sprintf("covered up to %d, as asked", c.until)}
	case errors.Is(reason, errSlow):
		return &codec.Goodbye{Code: codec.CodeSlow, Text: fmt.Sprintf("more than %v behind", c.maxLag), Retry: true}
	case errors.Is(reason, errCrowded):
		return &codec.Goodbye{Code: codec.CodeBusy, Text: "nothing was read of a snapshot whose memory others need", Retry: true, RetryAfter: crowdedWait}
	case errors.Is(reason, errSilent):
		return &codec.Goodbye{Code: codec.CodeSilent, Text: "no pulse for three intervals", Retry: true}
	}
	if unreadable := (*unreadableError)(nil); errors.As(reason, &unreadable) {
		return &codec.Goodbye{Code: codec.CodeInternal, Text: reason.Error(), Retry: true, RetryAfter: unreadableWait}
	}
	c.mail.Lock()
	defer c.mail.Unlock()
	if c.left {
		return nil
	}
	return c.leaving
}

func (c *conn) now() time.Duration { return time.Since(c.p.started) }

func (c *conn) hear() { c.heard.Store(int64(c.now())) }

// speak notes that something was sent.
func (c *conn) speak() { c.sent.Store(int64(c.now())) }

// patience is when the client is found to be silent, if it says nothing before.
func (c *conn) patience() time.Duration {
	return time.Duration(c.heard.Load()) + silence*c.interval
}

func (c *conn) silent() bool { return c.now() >= c.patience() }

// beat is when a heartbeat is due, if nothing is sent before.
func (c *conn) beat() time.Duration { return time.Duration(c.sent.Load()) + c.interval }

// signal gets the writer to look at the connection: the one there is, or a new one.
func (c *conn) signal() {
	c.mail.Lock()
	defer c.mail.Unlock()
	c.again = true
	if c.ending.Load() && c.ctx.Err() != nil {
		_ = c.nc.SetReadDeadline(time.Now().Add(refusalWait)) // the client has no longer than that to read the goodbye
	}
	if c.writing || c.ending.Load() {
		return
	}
	c.writing = true
	c.writers.Go(c.write)
}

// attend is the reader: it waits until something comes, hears it, and leaves the rest to another
// goroutine like it. It is most of the memory of an idle connection: so it waits without a buffer,
// and on a stack that no message was decoded on. Each of 1000 takes 5.7 KiB instead of 8.3; of
// these 2 KiB are the stack, the least there is, and 1.5 KiB what Go has for a goroutine and a socket.
func (c *conn) attend() {
	err := c.await()
	if err == nil {
		err = c.message()
	}
	if errors.Is(err, os.ErrDeadlineExceeded) && !c.ending.Load() && !c.silent() {
		// The writer is not there to see that a heartbeat is due, and a timer would be 128 bytes.
		if c.listen(c.patience()); c.now() >= c.beat() {
			c.signal() // to listen once that is sent
		} else {
			c.listen(min(c.beat(), c.patience()))
		}
		err = nil
	}
	if err == nil {
		c.conns.Go(c.attend)
		return
	}
	c.gone(err)
}

// listen wakes the reader at a time since p.started, or when it is time for the client to close.
func (c *conn) listen(until time.Duration) {
	_ = c.nc.SetReadDeadline(c.p.started.Add(until))
	if c.ending.Load() {
		_ = c.nc.SetReadDeadline(time.Now().Add(refusalWait))
	}
}

// await waits until there is something to read, if the connection can tell.
func (c *conn) await() error {
	if c.raw == nil || c.reader != nil && c.reader.Held() > 0 {
		return nil
	}
	if c.reader != nil {
		c.read, c.reader = c.reader.Offset(), nil
	}
	return awaitBytes(c.raw)
}

// message hears the client's next message.
func (c *conn) message() error {
	if c.reader == nil {
		c.reader = codec.NewReader(c.nc, codec.MaxMessage)
		c.reader.Reset(c.nc, c.read)
	}
	t, raw, err := c.reader.Next()
	if err != nil {
		return err
	}
	c.hear()
	return c.handle(t, raw)
}

// gone ends the connection for err: the client has left, has fallen silent, or has broken the
// protocol.
func (c *conn) gone(err error) {
	var field *codec.FieldError
	c.mail.Lock()
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		c.leaving = &codec.Goodbye{Code: codec.CodeSilent, Text: "no pulse for three intervals", Retry: true}
	case errors.As(err, &field) && field.Message == codec.TypeSubscribe:
		c.leaving = &codec.Goodbye{Code: codec.CodeBadRequest, Text: err.Error()}
	case errors.Is(err, codec.ErrMalformed), errors.Is(err, codec.ErrUnknownMessage), errors.Is(err, errProtocol):
		c.leaving = &codec.Goodbye{Code: codec.CodeProtocol, Text: err.Error()}
	default:
		c.left, c.said = true, errors.Is(err, errClientLeft)
	}
	if c.departed != nil {
		close(c.departed)
		c.departed = nil // which the writer does once more
	}
	c.mail.Unlock()
	c.signal() // it finds why the reader has ended, if it has not ended itself
	c.writers.Wait()
	drain(c.nc)
	c.p.leave(c)
	c.nc.Close()
}

var errProtocol = errors.New("protocol")

// handle takes one message of the client.
func (c *conn) handle(t codec.Type, raw []byte) error {
	switch t {
	case codec.TypePulse, codec.TypeSubscribe, codec.TypeGoodbye:
	default:
		return fmt.Errorf("%w: a client does not send a %v", errProtocol, t)
	}
	m, err := codec.Decode(raw)
	if err != nil {
		return err
	}
	switch m := m.(type) {
	case *codec.Pulse:
		if m.Next > c.told.Load() {
			return fmt.Errorf("%w: a pulse for %d, told were numbers up to %d", errProtocol, m.Next, c.told.Load())
		}
		c.confirmed.Store(m.Next)
		if m.Echo != 0 {
			c.roundTrip.Store(max(0, c.p.cfg.Now()-m.Echo))
		}
		c.p.serving.pulsed()
	case *codec.Subscribe:
		c.mail.Lock()
		room := len(c.requests) < maxSubscribe
		if room {
			c.requests = append(c.requests, m)
		}
		c.mail.Unlock()
		if !room {
			return fmt.Errorf("%w: more than %d changes of instruments under way", errProtocol, maxSubscribe)
		}
		c.signal()
	case *codec.Goodbye:
		return errClientLeft
	}
	return nil
}

// post is what the reader left for the writer.
func (c *conn) post() (request *codec.Subscribe, ending error) {
	c.mail.Lock()
	defer c.mail.Unlock()
	switch {
	case c.left:
		return nil, c.departureLocked()
	case c.leaving != nil && c.leaving.Code == codec.CodeSilent:
		return nil, errSilent
	case c.leaving != nil:
		return nil, errors.New(c.leaving.Text)
	case len(c.requests) > 0 && c.line.read >= c.position && c.mayChangeLocked(): // the client's position must be reached first
		request = c.requests[0]
		c.requests = slices.Delete(c.requests, 0, 1)
	}
	return request, nil
}

// Bounds of how often a client may change its filter. What is above them waits, and the line goes on meanwhile.
const (
	changePause = 100 * time.Millisecond // for each change, on average
	changeBurst = maxSubscribe           // changes that need not wait
	changeShare = 10                     // the pause is at least so many times as long as the change took
	stepTime    = time.Nanosecond        // for a step of a filter, about
)

// mayChangeLocked reports whether a change of the filter is due; if not, the writer is woken when it is.
func (c *conn) mayChangeLocked() bool {
	wait := c.changes - changeBurst*changePause - c.now()
	if wait < 0 {
		return true
	}
	if !c.waits {
		c.waits = true
		time.AfterFunc(wait+1, c.signal)
	}
	return false
}

// changed notes a change of the filter, for which that many steps were taken.
func (c *conn) changed(steps int) {
	c.mail.Lock()
	defer c.mail.Unlock()
	c.waits = false
	c.changes = max(c.changes, c.now()) + max(changePause, changeShare*time.Duration(steps)*stepTime)
}

// departureLocked is how a client that has left did so.
func (c *conn) departureLocked() error {
	if c.said {
		return errClientLeft
	}
	return errLost
}

// write is the writer: it sends the line to the client until the client has all there is, or the
// connection ends.
func (c *conn) write() {
	c.turn.Lock()
	defer c.turn.Unlock()
	for !c.over {
		c.mail.Lock()
		if !c.again {
			c.writing = false
			c.mail.Unlock()
			return
		}
		c.again = false
		c.mail.Unlock()
		if err := c.send(); err != nil {
			c.end(err)
		}
	}
}

// send sends what there is, and a heartbeat if nothing was sent for an interval. Once the client
// has all there is the connection is parked.
func (c *conn) send() error {
	if c.welcome != nil {
		if err := c.begin(); err != nil {
			return err
		}
	}
	for {
		if err := c.finish(); err != nil {
			return err
		}
		request, err := c.post()
		if err != nil {
			return err
		}
		if request != nil {
			if err := c.subscribe(request); err != nil {
				return err
			}
			continue
		}
		if c.covered() {
			return c.cover()
		}
		if c.ctx.Err() == nil && c.joins() {
			c.pumpOf().add([]*conn{c})
			break
		}
		more, err := c.step()
		if errors.Is(err, journal.ErrFull) { // no file descriptor, for now
			time.AfterFunc(diskRetry, c.signal)
			break
		}
		if err != nil {
			return err
		}
		if c.ctx.Err() != nil {
			if c.stopping == 0 {
				c.stopping = c.now()
			}
			if !more || c.now()-c.stopping > drainTime {
				return errShutdown
			}
		}
		if !more && c.p.serving.park(c, c.p.log) {
			break
		}
	}
	if c.now() >= c.beat() {
		if err := c.heartbeat(); err != nil {
			return err
		}
	}
	c.listen(min(c.beat(), c.patience()))
	return nil
}

// joins reports whether what comes next is better sent by a pump: a line that is filtered alone
// costs as much as all that are filtered together, and would go on alone as long as the log grows.
func (c *conn) joins() bool {
	l := &c.line
	if l.wanted == nil || c.try == nil || !l.inMem || l.read < c.position || c.covered() || l.session.ID != c.p.session.ID || c.p.holed.Load() {
		return false
	}
	v, ok := c.p.log.view(l.at)
	defer v.release()
	return ok && len(v.data) > 0 && !c.late(&v)
}

// begin sends what comes first: the welcome, and then the snapshot, which may have to be read.
func (c *conn) begin() error {
	c.speak()
	c.filtered.Store(c.line.wanted != nil)
	err := c.block(c.welcome, nil)
	c.welcome = nil
	if err != nil {
		return err
	}
	due := c.due
	c.due = nil
	if due != nil {
		if err := c.sendDue(due); err != nil {
			return err
		}
	}
	c.begun = max(c.begun, c.now())
	if c.p.cfg.Mode == codec.ModeReplay {
		// A paused replay that is wound again and again must not look like a publisher that fails:
		// only after a packet or a heartbeat does a client try again at once.
		if err := c.heartbeat(); err != nil {
			return err
		}
	}
	return nil
}

// sendDue sends the snapshot that stands where the line begins.
func (c *conn) sendDue(due *dueSnapshot) error {
	all := &c.p.serving.snapshots
	var held *snapshot
	if j := due.join; j != nil && j.seq == due.seq {
		v := &stateView{seq: j.seq, line: &c.line, scope: due.scope}
		if held, _ = all.hold(c, v, j.state); held != nil {
			if err := all.make(held, v, j.state); err != nil {
				all.release(c, held)
				return err
			}
		}
		due.join = nil // who waits for room does not hold a state
	}
	if held == nil {
		var err error
		if held, err = c.snapshotAt(due.seq, due.scope, nil); err != nil {
			return err
		}
	}
	c.begun = c.now()
	return c.sendSnapshot(held)
}

// sendSnapshot sends a snapshot, and gives it back. Nil is nothing.
func (c *conn) sendSnapshot(held *snapshot) error {
	if held == nil {
		return nil
	}
	defer c.p.serving.snapshots.release(c, held)
	err := c.block(held.data, nil)
	if err != nil && len(c.unsent) > 0 {
		// Only the message that was begun is still to be sent, and must not keep the rest.
		sent := len(held.data) - len(c.unsent)
		c.unsent = slices.Clone(c.unsent[:untilMessageOf(held.data, sent)])
	}
	return err
}

// untilMessageOf returns how many bytes of messages stand between offset n and the end of the message that n is in; 0 if one begins there.
func untilMessageOf(messages []byte, n int) int {
	end := 0
	for end < n {
		size := codec.PartSize(messages[end:])
		if size == 0 {
			var err error
			if size, err = codec.MessageSize(messages[end:]); err != nil || size == 0 {
				panic(fmt.Sprintf("publisher: internal error: no message at %d of %d", end, len(messages)))
			}
		}
		end += size
	}
	return end - n
}

// finish writes what inline could not.
func (c *conn) finish() error {
	if c.failed != nil {
		return c.failed
	}
	if c.rest == nil {
		return nil
	}
	rest := c.rest
	c.rest = nil
	return c.block(rest, c.stillFast(c.restTime))
}

// What inline made of a connection.
type served uint8

const (
	parkedAgain served = iota // it has all there is, and waits
	stillBehind               // there is more, and the connection took all so far
	needsWriter               // its writer has to go on: it has to wait for the client, or read the journal
)

// inline sends what the log has now, for a writer that waits, without a hand-over to it: one
// wake-up less between a tick and its subscriber. It never waits: what the connection does
// not take is left for the writer.
func (c *conn) inline() served {
	if !c.take() {
		return needsWriter
	}
	defer c.turn.Unlock()
	l := &c.line
	v, ok := c.p.log.view(l.at)
	if !ok {
		return needsWriter
	}
	if len(v.data) > 0 {
		if c.late(&v) {
			v.release()
			return needsWriter
		}
		if l.wanted == nil {
			v.limit(maxTurn)
		}
		ch := l.pass(v.data, c.p.session, v, v.end, c.buf)
		c.tell(ch.next)
		if l.wanted != nil && cap(ch.data) > cap(c.buf) {
			c.buf = ch.data[:0]
		}
		if n := c.put(ch.data); n < len(ch.data) && ch.mem.seg != nil {
			c.rest, c.restTime = c.copyRest(&ch, n), ch.time
		} else if n < len(ch.data) {
			c.keep(ch.data[n:], ch.time)
		}
		ch.mem.release()
	}
	return c.stay()
}

// take takes the turn, if the writer waits, the client has taken all that was written, and all that the line needs is in
// memory.
func (c *conn) take() bool {
	if c.try == nil || !c.turn.TryLock() {
		return false
	}
	if c.over || !c.drain() || c.failed != nil || !c.line.inMem || c.p.holed.Load() {
		c.turn.Unlock()
		return false
	}
	return true
}

// late reports whether the client is so far behind v that its policy has to be looked at.
func (c *conn) late(v *view) bool {
	if c.slow == codec.SlowAll {
		return false
	}
	_, now := c.p.log.end()
	return now-codec.PacketAt(v.data).PublishTime > int64(c.maxLag)
}

// put writes what the connection takes of b without waiting, and returns how much that was: all of
// it if the connection failed.
func (c *conn) put(b []byte) int {
	if len(b) == 0 {
		return 0
	}
	n, err := c.try(b)
	if err != nil {
		c.failed = err
		return len(b)
	}
	if n == len(b) {
		c.speak()
	}
	return n
}

// keep copies what the connection did not take, for the writer, or for the next round of its pump.
// time is the publish time of the packets that rest is of.
func (c *conn) keep(rest []byte, time int64) {
	if c.rest == nil {
		c.restTime = time
	}
	c.buf = append(append(c.buf[:0], c.rest...), rest...) // c.rest is part of it
	c.rest = c.buf
}

// drain writes what was kept, as far as the connection takes it now; it is false if something is left.
func (c *conn) drain() bool {
	if c.rest == nil {
		return true
	}
	if c.failed == nil {
		c.rest = c.rest[c.put(c.rest):]
	}
	if len(c.rest) > 0 {
		return false
	}
	c.rest = nil
	return true
}

// pumpOf is the pump that serves the connection: one for all whose lines are filtered, so that what they are told is
// made in one pass over the log.
func (c *conn) pumpOf() *pump {
	if c.filtered.Load() {
		return &c.p.serving.pumps[0]
	}
	return c.pump
}

// covered reports whether the line has come to the end that the client asked for.
func (c *conn) covered() bool { return c.until != 0 && c.line.read >= c.until }

// cover sends what a filter left out before the end that the client asked for, and returns why the connection ends.
func (c *conn) cover() error {
	b := c.line.skip(nil)
	c.tell(c.line.next)
	if err := c.block(b, nil); err != nil {
		return err
	}
	return errCovered
}

// stay parks the connection, if it has taken all there is.
func (c *conn) stay() served {
	switch {
	case c.rest != nil || c.failed != nil || c.covered():
		return needsWriter
	case c.p.serving.park(c, c.p.log):
		return parkedAgain
	}
	return stillBehind
}

// step sends the next chunk of the line; it is false if there is none.
func (c *conn) step() (bool, error) {
	l := &c.line
	before := l.next
	ch, err := l.advance(c.buf)
	if err != nil {
		if !c.p.starves(err) {
			c.p.cfg.Logger.Error().Err(err).Uint64("seq", l.read).Msg("cannot read the journal")
		}
		return false, err
	}
	if l.cursor != nil {
		c.p.starves(nil)
	}
	if l.wanted != nil && cap(ch.data) > cap(c.buf) {
		c.buf = ch.data[:0]
	}
	if len(ch.data) == 0 {
		if next, _ := c.p.log.end(); l.read < next {
			return true, nil // only what the filter leaves out
		}
		c.live = true
		return c.sessionEnd()
	}
	if ch.time != 0 && c.slow != codec.SlowAll && (c.live || c.now()-c.begun > c.maxLag) {
		if _, now := c.p.log.end(); now-ch.time > int64(c.maxLag) {
			ch.mem.release()
			l.next = before
			return true, c.jump()
		}
	}
	if ch.mem.seg != nil || l.cursor != nil && ch.time != 0 {
		return true, c.sendPackets(&ch)
	}
	c.tell(ch.next)
	if err := c.block(ch.data, c.stillFast(ch.time)); errors.Is(err, errSlow) {
		c.unsent = c.unsent[:untilMessageEnds(ch.data, len(ch.data)-len(c.unsent))]
		return false, err
	} else if err != nil {
		return false, err
	}
	if !ch.gone.Empty() {
		return true, c.restart(ch.gone.To)
	}
	return true, nil
}

// sendPackets writes packets straight from the log's memory, as far as the connection takes them without waiting, or from
// what was read of the journal, as far as it does so in stallTime. Where it does not take all, the packet that it stopped in is
// copied, so that a client that does not read costs that and no more, and the line goes back to there.
func (c *conn) sendPackets(ch *chunk) error {
	c.tell(ch.next)
	n := 0
	var err error
	switch {
	case ch.mem.seg == nil:
		_ = c.nc.SetWriteDeadline(time.Now().Add(stallTime))
		n, err = c.nc.Write(ch.data)
		_ = c.nc.SetWriteDeadline(time.Time{})
		if errors.Is(err, os.ErrDeadlineExceeded) {
			err = nil
		}
	case c.try != nil:
		n, err = c.try(ch.data)
	}
	if err != nil || n == len(ch.data) {
		ch.mem.release()
		if err == nil {
			c.speak()
		}
		return err
	}
	rest := c.copyRest(ch, n)
	ch.mem.release()
	return c.block(rest, c.stillFast(ch.time))
}

// untilMessageEnds returns how many bytes of packets stand between offset n and the end of the packet that n is in; 0 if one begins there.
func untilMessageEnds(packets []byte, n int) int {
	end := 0
	for end < n {
		end += codec.PacketSize(packets[end:])
	}
	return end - n
}

// stallTime is how long a client may take to have what was read of the journal for it, at most 256 KiB; then the memory of that
// is others'. For one that takes less than 5 MB/s some of it is read again.
const stallTime = 50 * time.Millisecond

// copyRest copies what is left of the packet in which a write of ch stopped after n bytes, and takes the line back to the packet
// after it; what was read of the journal is others' then. (What a filter made of that is the connection's own already.)
func (c *conn) copyRest(ch *chunk, n int) []byte {
	l, rest := &c.line, ch.data[n:]
	if l.inMem || l.wanted == nil {
		cut := 0
		for cut <= n {
			cut += codec.PacketSize(ch.data[cut:])
		}
		if cut < len(ch.data) {
			l.at = place{ch.mem.at.segment, ch.mem.at.offset + cut}
			l.next = codec.PacketAt(ch.data[cut:]).First
			l.read = l.next
			c.tell(l.next)
		}
		c.buf = append(c.buf[:0], ch.data[n:cut]...)
		rest = c.buf
	}
	if !l.inMem {
		l.reopen()
	}
	return rest
}

// stillFast is asked while a write waits: it fails if the client's policy is to be cut off
// when it is more than the bound behind the packet of publish time at.
func (c *conn) stillFast(at int64) func() error {
	if c.slow != codec.SlowDisconnect || !c.live || at == 0 {
		return nil
	}
	return func() error {
		if _, now := c.p.log.end(); now-at > int64(c.maxLag) {
			return errSlow
		}
		return nil
	}
}

// block writes all of b, waiting for the client as long as it gives signs of life. If it gives up, what it has not written is
// unsent.
func (c *conn) block(b []byte, check func() error) error {
	defer c.nc.SetWriteDeadline(time.Time{}) // a deadline that has passed would fail c.try
	var deadline time.Time                   // of the shutdown
	for len(b) > 0 {
		now := time.Now()
		if c.ctx.Err() != nil && deadline.IsZero() {
			deadline = now.Add(drainTime)
		}
		_ = c.nc.SetWriteDeadline(now.Add(min(c.interval, drainTime)))
		n, err := c.nc.Write(b[:min(len(b), chunkTarget)])
		b = b[n:]
		switch {
		case err == nil:
			c.speak()
			continue
		case !errors.Is(err, os.ErrDeadlineExceeded):
			return err
		}
		if err := c.stillWaits(deadline, check); err != nil {
			c.unsent = b
			return err
		}
	}
	return nil
}

// stillWaits returns why the writer waits no longer for the client to take something; nil if it does. The deadline is that of the
// shutdown, if there is one; check is the policy.
func (c *conn) stillWaits(deadline time.Time, check func() error) error {
	switch {
	case c.silent():
		return errSilent
	case c.crowded.Load():
		return errCrowded
	case !deadline.IsZero() && time.Now().After(deadline):
		return errShutdown
	}
	if check != nil {
		if err := check(); err != nil {
			return err
		}
	}
	c.mail.Lock()
	defer c.mail.Unlock()
	if c.left {
		return c.departureLocked()
	}
	return nil
}

// jump applies the client's policy for being too far behind.
func (c *conn) jump() error {
	if c.slow == codec.SlowDisconnect {
		return errSlow
	}
	l, all := &c.line, &c.p.serving.snapshots
	l.read = l.next // what is beyond that was not sent
	var j *join
	var held *snapshot
	as := &line{p: c.p, filter: l.filter} // as the line is after it
	as.in(c.p.session)
	v := &stateView{line: as, scope: codec.ScopeAll}
	for {
		freed := all.vacancy(l.wanted)
		if freed == nil {
			j = c.p.joinAt(l.next+1, 0)
			as.wanted = c.p.wants(l.filter, j.state)
			v.seq = j.seq
			if held, freed = all.hold(c, v, j.state); held != nil {
				break
			}
		}
		if err := c.waitFor(freed, time.After(roomPause)); err != nil {
			return err
		}
	}
	defer func() { all.release(c, held) }()
	if err := all.make(held, v, j.state); err != nil {
		return err
	}
	l.stop()
	var b []byte
	for { // what is withheld is told session by session
		owner, owned, ok := c.p.lineage.Owner(l.next)
		if !ok {
			owned.To = j.seq
		} else {
			b = l.change(owner, b)
		}
		var err error
		if b, err = l.withhold(min(j.seq, owned.To), b); err != nil {
			return fmt.Errorf("what follows %d cannot be read: %v", min(j.seq, owned.To), err) // and cannot be waited for: the line has moved
		}
		if l.next == j.seq {
			break
		}
	}
	b = l.change(c.p.session, b)
	l.wanted = as.wanted
	l.begin(j.seq)
	c.tell(j.seq)
	c.p.serving.tallies.skipped.line(c.nc).Uint64("next", j.seq).Msg("slow consumer skips to a snapshot")
	if err := c.block(b, nil); err != nil {
		return err
	}
	snapshot := held
	held = nil
	return c.sendSnapshot(snapshot)
}

// restart tells the state as of seq, after numbers before it were lost.
func (c *conn) restart(seq uint64) error {
	c.line.wanted = c.p.wants(c.line.filter, c.p.catalog())
	held, err := c.snapshotAt(seq, codec.ScopeAll, nil)
	if err != nil {
		return err
	}
	return c.sendSnapshot(held)
}

// sessionEnd tells, once, that the session is over, if it is and the client has everything. It is
// false if there was nothing to tell.
func (c *conn) sessionEnd() (bool, error) {
	final := c.p.serving.final.Load()
	if final == 0 || c.endTold || c.line.read < final {
		return false, nil
	}
	c.endTold = true
	b := c.line.skip(nil)
	b, err := codec.Append(b, &codec.End{Final: final})
	if err != nil {
		return false, err
	}
	c.tell(c.line.next)
	return true, c.block(b, nil)
}

// heartbeat proves that the writer lives, after it had nothing to send for an interval.
func (c *conn) heartbeat() error {
	if c.silent() {
		return errSilent
	}
	b := c.line.skip(nil)
	head, _ := c.p.log.end()
	b, err := codec.Append(b, &codec.Heartbeat{Covered: c.line.next, Head: head, Now: c.p.cfg.Now()})
	if err != nil {
		return err
	}
	c.tell(c.line.next)
	return c.block(b, nil)
}

// subscribe changes the instruments from the line's next number on.
func (c *conn) subscribe(r *codec.Subscribe) error {
	l := &c.line
	if l.read > l.next { // what the filter so far has left out
		b := l.skip(nil)
		c.tell(l.next)
		if err := c.block(b, nil); err != nil {
			return err
		}
	}
	l.stop()
	known := c.p.catalog()
	var added codec.Filter
	for _, p := range r.Filter {
		if _, had := slices.BinarySearch(l.filter, p); !l.filter.All() && !had {
			added = append(added, p)
		}
	}
	all := r.Filter.All() && !l.filter.All()
	l.filter = r.Filter
	l.in(l.session)
	l.wanted = c.p.wants(l.filter, known)
	more := c.p.wants(added, known)
	c.changed(l.wanted.cost() + more.cost())
	c.filtered.Store(l.wanted != nil)
	l.begin(l.next)
	var held *snapshot
	if all || len(added) > 0 {
		var err error
		if held, err = c.snapshotAt(l.next, codec.ScopeAdded, more); err != nil {
			return err
		} else if held == nil { // retention was quicker; a client that resumes is told so
			return &unreadableError{l.next}
		}
	}
	b, err := codec.Append(nil, &codec.Subscribed{Request: r.Request, From: l.next, Seed: l.seed})
	if err == nil {
		err = c.block(b, nil)
	}
	if err != nil {
		c.p.serving.snapshots.release(c, held)
		return err
	}
	return c.sendSnapshot(held)
}
