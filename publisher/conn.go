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
	"tickfeed/codec/start"
	"tickfeed/publisher/journal"
)

// A conn is one subscriber. Its reader, a succession of goroutines that run one at a time, receives pulses and
// requests. Its writer writes to the connection and advances the line. The writer is a goroutine only while it may
// have to wait: the flusher or a pump serves a caught-up connection, see inline. The writer is bounded by a write
// deadline, which it extends as long as the client gives signs of life, and the reader by three intervals of silence.
type conn struct {
	*door
	p      *Publisher
	nc     net.Conn
	raw    syscall.RawConn           // raw socket of nc; nil if nc has none
	try    func([]byte) (int, error) // writes what fits without waiting; nil if nc cannot do that
	reader *codec.Reader             // nil between messages, if awaitBytes can wait without it
	read   int64                     // bytes read before reader was made
	number uint64                    // number of the connection, unique in the publisher
	client string
	asked  codec.Filter // filter in the hello

	until   uint64 // number at which the line ends; 0 for no end
	granted []string
	pump    *pump
	maxLag  time.Duration
	line    line
	welcome []byte        // sent first; nil once sent
	due     *dueSnapshot  // snapshot sent after the welcome; nil for none
	begun   time.Duration // when the line began to be sent, on the clock of alive. MaxLag applies once live, or MaxLag after begun

	// turn is held by the goroutine that advances the line and writes to the connection: the writer or, for a moment,
	// a caller of inline. It protects the fields below.
	turn     sync.Mutex
	rest     []byte        // bytes that inline could not write, for the writer or the next round of the pump
	restTime int64         // publish time of the first packet in rest
	unsent   []byte        // rest of the message that the writer had begun when it gave up
	failed   error         // error of a write by inline or a pump
	reason   error         // why the connection ends
	stopping time.Duration // when the writer first saw the shutdown, on the clock of alive
	slow     codec.SlowPolicy
	back     bool // the hello had a position: the client has been connected before
	over     bool // nothing more is written
	live     bool // the line was caught up at least once
	endTold  bool

	parked   bool        // protected by server.parking: waits in server.parked
	filtered atomic.Bool // the line has a filter
	ending   atomic.Bool // the writer has ended, or is about to end
	crowded  atomic.Bool // set under snapshots.mu: the memory of the snapshot that this connection holds is needed for others
	buf      []byte      // scratch buffer of this connection; nil until needed

	alive     codec.Liveness // on the clock of now
	told      atomic.Uint64  // number after the last one sent, or position if that is higher: see tell
	position  uint64         // position at which the line began
	confirmed atomic.Uint64
	roundTrip atomic.Int64

	writers sync.WaitGroup

	mail     sync.Mutex
	writing  bool               // protected by mail: a writer is running
	again    bool               // protected by mail: the writer must look at the connection again before it ends
	left     bool               // protected by mail: the client has left, so no goodbye is sent
	said     bool               // protected by mail: the client sent a goodbye before it left
	requests []*codec.Subscribe // protected by mail, at most maxSubscribe
	changes  time.Duration      // protected by mail: when the cost of past filter changes is paid off, on the clock of alive; see mayChangeLocked
	waits    bool               // protected by mail: a timer will signal when a filter change may be made
	leaving  *codec.Goodbye     // protected by mail: goodbye with which the reader wants to end the connection
	departed chan struct{}      // protected by mail: closed when the reader ends; set while the writer is in waitFor
}

func newConn(p *Publisher, nc net.Conn, r *codec.Reader, h *codec.Hello) *conn {
	c := &conn{
		p: p, nc: nc, raw: rawConn(nc), reader: r, client: h.Client, asked: h.Filter, slow: h.Slow, back: len(h.Position.Lineage) > 0,
		maxLag: p.cfg.MaxLag,
	}
	c.alive.Interval = p.cfg.Heartbeat
	c.try = tryWriter(nc, c.raw)
	if h.Heartbeat != 0 {
		c.alive.Interval = min(max(h.Heartbeat, MinHeartbeat), MaxHeartbeat)
	}
	if h.MaxLag != 0 {
		c.maxLag = h.MaxLag
	}
	c.line = line{p: p, filter: h.Filter}
	c.until = h.Until
	if slices.Contains(h.Features, codec.FeatureAck) { // the reader always accepts pulses
		c.granted = []string{codec.FeatureAck}
	}
	return c
}

// choose decides where the line starts, and prepares the welcome and the first snapshot. It returns a refusal if the
// line cannot start.
func (c *conn) choose(h *codec.Hello) *codec.Refusal {
	p, l := c.p, &c.line
	at := places{p: p}
	tail := p.tail() // read before the head, which it must not exceed
	head, latest := p.log.end()
	a, refusal, err := (&start.Offer{
		Lineage: p.lineage, Mode: p.cfg.Mode, Keeps: p.journal != nil, Head: head, Tail: tail, Memory: p.log.tail(), Now: max(p.cfg.Now(), latest),
	}).Answer(h, &at)
	switch {
	case err != nil:
		return &codec.Refusal{Code: codec.CodeInternal, Retry: true, RetryAfter: unreadableWait,
			Text: fmt.Sprintf("the place where the line would start cannot be read: %v", err)}
	case refusal != nil:
		return refusal
	}
	l.in(a.Owner)
	l.wanted = p.wants(l.filter, p.catalog())
	welcome, err := codec.Append(nil, &codec.Welcome{
		Version: codec.Version, Server: p.cfg.Server, Mode: p.cfg.Mode, Lineage: a.Lineage, Origin: p.cfg.Origin,
		Head: max(head, a.Position), Tail: tail, Heartbeat: c.alive.Interval, Seed: l.seed, Start: a.First, Reason: a.Reason, Now: p.cfg.Now(),
		Features: c.granted,
	})
	if err != nil {
		panic("publisher: internal error: welcome: " + err.Error())
	}
	c.welcome = welcome
	if a.Snapshot && a.Position >= p.tail() {
		c.due = &dueSnapshot{seq: a.Position, scope: a.Scope, join: at.join}
	}
	l.begin(a.First)
	c.position = a.Position
	c.tell(a.Position)
	return nil
}

// places finds places in the log for a start.Offer.
type places struct {
	p    *Publisher
	join *join // the join that Join returned last
}

func (x *places) Join(least uint64) uint64 {
	x.join = x.p.joinAt(least, joinAge)
	return x.join.seq
}

func (x *places) SeqAt(time int64) uint64 { return x.p.seqAt(time) }

func (x *places) PacketOf(seq uint64) (uint64, error) { return (&line{p: x.p}).packetOf(seq) }

// tell records that the client was sent every number before next. A line begins at the packet that holds the
// position, and the first data sent may end before the position; the client may confirm its position all the same.
func (c *conn) tell(next uint64) { c.told.Store(max(next, c.position)) }

// A dueSnapshot is the snapshot to be sent where a line begins.
type dueSnapshot struct {
	seq   uint64
	scope codec.ScopeKind
	join  *join // a join at seq, or nil
}

// snapshotAt waits for the snapshot as of seq; the caller must release it. added is the filter of ScopeAdded. It
// returns nil if the ticks after seq can no longer be served: the line finds that out next.
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

// waitFor waits until done is closed or due fires, and sends heartbeats meanwhile. It returns an error if the
// connection must end.
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
	beat := time.NewTimer(c.alive.BeatAt() - c.now())
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
			beat.Reset(c.alive.Interval)
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

// crowdedWait is how long a client is asked to wait before it reconnects, if it was disconnected because it did not
// read its snapshot.
const crowdedWait = time.Second

// unreadableWait is how long a client is asked to wait before it reconnects, if the state that it needs cannot be
// read.
const unreadableWait = time.Second

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

// run starts to serve the connection and returns. leave is called when the connection has ended.
func (c *conn) run() {
	filter, more := cut(c.asked)
	e := c.p.serving.tallies.joined.line(c.nc).Str("client", cutText(c.client)).Strs("filter", filter)
	if more > 0 {
		e = e.Int("more_patterns", more)
	}
	e.Uint64("start", c.told.Load()).Msg("subscriber joined")
	c.reader.SetLimit(codec.MaxMessage)
	c.listen(c.patience())
	c.signal()
	c.conns.Go(c.attend)
}

// partingTime bounds how long a client that is too slow may take to read the data already sent, and the goodbye. It
// is sent nothing more, so it costs no more memory than before.
const partingTime = 30 * time.Second

// end sends a goodbye for reason and makes the reader end. The caller must hold the turn.
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

// part writes the rest of the message that was begun and then m, as the client takes them, and closes the connection
// for writing. It returns false if the client has not taken them by until, has left, or is silent. The reader
// continues until the client closes: closing the connection with unread bytes from the client would reset it, and the
// goodbye would be lost.
func (c *conn) part(m codec.Message, until time.Time) (said bool) {
	b, err := codec.Append(nil, m)
	if err != nil {
		return false
	}
	unsent := c.unsent
	c.unsent = nil
	for _, b := range [][]byte{unsent, b} {
		for len(b) > 0 {
			_ = c.nc.SetWriteDeadline(soonest(until, time.Now().Add(min(c.alive.Interval, refusalWait))))
			n, err := c.nc.Write(b)
			b = b[n:]
			c.mail.Lock()
			left := c.left
			c.mail.Unlock()
			switch {
			case err == nil:
			case !errors.Is(err, os.ErrDeadlineExceeded), left, !time.Now().Before(until), c.silent():
				return false
			case c.ctx.Err() != nil: // the publisher stops, and waits no longer than for other connections
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

// goodbye returns the goodbye for a connection that ends for reason, or nil if none is sent.
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
		return &codec.Goodbye{Code: codec.CodeBusy, Text: "the snapshot was not read, and its memory is needed for other clients", Retry: true, RetryAfter: crowdedWait}
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

// hear notes a sign of life of the client. The reader listens again at once.
func (c *conn) hear() {
	c.alive.Heard()
	c.alive.Listen(c.now())
}

// speak notes that something was sent.
func (c *conn) speak() { c.alive.Spoke(c.now()) }

// patience returns when the client counts as silent, if it sends nothing before.
func (c *conn) patience() time.Duration { return c.alive.DeadAt(c.now()) }

func (c *conn) silent() bool { return c.alive.Dead(c.now()) }

// signal makes the writer look at the connection, and starts a writer if none is running.
func (c *conn) signal() {
	c.mail.Lock()
	defer c.mail.Unlock()
	c.again = true
	if c.ending.Load() && c.ctx.Err() != nil {
		_ = c.nc.SetReadDeadline(time.Now().Add(refusalWait)) // the time that the client has to read the goodbye
	}
	if c.writing || c.ending.Load() {
		return
	}
	c.writing = true
	c.writers.Go(c.write)
}

// attend is the reader: it waits for a message, handles it, and starts a new goroutine for the next message. The
// reader accounts for most of the memory of an idle connection, so it waits without a buffer and on a fresh stack, on
// which no message was decoded.
func (c *conn) attend() {
	err := c.await()
	if err == nil {
		err = c.message()
	}
	if errors.Is(err, os.ErrDeadlineExceeded) && !c.ending.Load() && !c.silent() {
		// The read deadline replaces a timer for the next heartbeat, which would cost 128 bytes per connection.
		if c.listen(c.patience()); c.now() >= c.alive.BeatAt() {
			c.signal() // the writer calls listen after the heartbeat
		} else {
			c.listen(min(c.alive.BeatAt(), c.patience()))
		}
		err = nil
	}
	if err == nil {
		c.conns.Go(c.attend)
		return
	}
	c.gone(err)
}

// listen sets the read deadline to until, a time since p.started or, if the connection is ending, to the time by
// which the client must close.
func (c *conn) listen(until time.Duration) {
	_ = c.nc.SetReadDeadline(c.p.started.Add(until))
	if c.ending.Load() {
		_ = c.nc.SetReadDeadline(time.Now().Add(refusalWait))
	}
}

// await waits, without a buffer, until there is something to read. It returns at once if nc has no raw socket or the
// reader holds unread bytes.
func (c *conn) await() error {
	if c.raw == nil || c.reader != nil && c.reader.Held() > 0 {
		return nil
	}
	if c.reader != nil {
		c.read, c.reader = c.reader.Offset(), nil
	}
	return awaitBytes(c.raw)
}

// message reads and handles the next message of the client.
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

// gone ends the connection after err: the client has left, has fallen silent, or has violated the protocol.
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
		c.departed = nil // waitFor also sets it to nil
	}
	c.mail.Unlock()
	c.signal() // the writer reads why the reader has ended, unless the writer has ended already
	c.writers.Wait()
	drain(c.nc)
	c.p.leave(c)
	c.nc.Close()
}

var errProtocol = errors.New("protocol")

// handle handles one message of the client.
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
			return fmt.Errorf("%w: a pulse for %d, but the next number to be sent is %d", errProtocol, m.Next, c.told.Load())
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

// post returns the next request that the reader queued for the writer, if one is due, or the reason for which the
// connection must end.
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
	case len(c.requests) > 0 && c.line.read >= c.position && c.mayChangeLocked(): // the line must first reach the position of the client
		request = c.requests[0]
		c.requests = slices.Delete(c.requests, 0, 1)
	}
	return request, nil
}

// Bounds on how often a client may change its filter. Changes above them wait, while the line continues.
const (
	changePause = 100 * time.Millisecond // average time between changes
	changeBurst = maxSubscribe           // changes that may be made at once
	changeShare = 10                     // the pause is at least this many times as long as the change took
	stepTime    = time.Nanosecond        // approximate duration of one step of a filter
)

// mayChangeLocked reports whether a filter change may be made now. If not, a timer signals the writer when it may.
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

// changed records a filter change that took the given number of steps.
func (c *conn) changed(steps int) {
	c.mail.Lock()
	defer c.mail.Unlock()
	c.waits = false
	c.changes = max(c.changes, c.now()) + max(changePause, changeShare*time.Duration(steps)*stepTime)
}

// departureLocked returns errClientLeft if the client sent a goodbye before it left, and errLost otherwise.
func (c *conn) departureLocked() error {
	if c.said {
		return errClientLeft
	}
	return errLost
}

// write is the writer: it sends the line until the client is caught up or the connection ends.
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

// send sends what is available, and a heartbeat if nothing was sent for an interval. It parks the connection once the
// client is caught up.
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
		if errors.Is(err, journal.ErrFull) { // no file descriptor is left for now
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
	if c.now() >= c.alive.BeatAt() {
		if err := c.heartbeat(); err != nil {
			return err
		}
	}
	c.listen(min(c.alive.BeatAt(), c.patience()))
	return nil
}

// joins reports whether the filter pump should take over: filtering for one connection costs as much as for all
// together, and this connection would otherwise stay alone for as long as the log grows.
func (c *conn) joins() bool {
	l := &c.line
	if l.wanted == nil || c.try == nil || !l.inMem || l.read < c.position || c.covered() || l.session.ID != c.p.session.ID || c.p.holed.Load() {
		return false
	}
	v, ok := c.p.log.view(l.at)
	defer v.release()
	return ok && len(v.data) > 0 && !c.late(&v)
}

// begin sends the welcome and then the first snapshot, which may have to be read from the journal.
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
		// A client reconnects at once only after a packet or a heartbeat. Without this heartbeat, a paused replay
		// that seeks repeatedly would look to its clients like a publisher that fails repeatedly.
		if err := c.heartbeat(); err != nil {
			return err
		}
	}
	return nil
}

// sendDue sends the snapshot with which the line begins.
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
		due.join = nil // a connection that waits for room must not hold a state
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

// sendSnapshot sends a snapshot and releases it. It does nothing if held is nil.
func (c *conn) sendSnapshot(held *snapshot) error {
	if held == nil {
		return nil
	}
	defer c.p.serving.snapshots.release(c, held)
	err := c.block(held.data, nil)
	if err != nil && len(c.unsent) > 0 {
		// Only the rest of the message that was begun must still be sent. The copy lets go of the snapshot.
		sent := len(held.data) - len(c.unsent)
		c.unsent = slices.Clone(c.unsent[:untilMessageOf(held.data, sent)])
	}
	return err
}

// untilMessageOf returns the number of bytes from offset n to the end of the message that n is in; 0 if a message
// begins at n.
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

// finish writes what inline could not write.
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

// served is the result of serving a connection inline.
type served uint8

const (
	parkedAgain served = iota // the connection is caught up and parked
	stillBehind               // there is more to send, and the connection took everything so far
	needsWriter               // the writer must continue: it has to wait for the client, or read the journal
)

// inline sends what the log has now, on the goroutine of the caller, while the writer is idle. That saves one wake-up
// between a tick and its subscriber. It never waits: what the connection does not take is left for the writer.
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

// take acquires the turn and reports whether it did. It returns false if the writer is busy, the client has not taken
// everything written, or the line needs more than the memory log.
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

// late reports whether the client is so far behind v that its slow-consumer policy must be applied.
func (c *conn) late(v *view) bool {
	if c.slow == codec.SlowAll {
		return false
	}
	_, now := c.p.log.end()
	return now-codec.PacketAt(v.data).PublishTime > int64(c.maxLag)
}

// put writes as much of b as the connection takes without waiting and returns the number of bytes, len(b) if the
// write failed.
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

// keep copies what the connection did not take, for the writer or for the next round of its pump. time is the publish
// time of the packets in rest.
func (c *conn) keep(rest []byte, time int64) {
	if c.rest == nil {
		c.restTime = time
	}
	c.buf = append(append(c.buf[:0], c.rest...), rest...) // c.rest is a part of c.buf
	c.rest = c.buf
}

// drain writes kept bytes as far as the connection takes them now. It returns false if some are left.
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

// pumpOf returns the pump that serves the connection. All filtered lines share one pump, which filters them in one
// pass over the log.
func (c *conn) pumpOf() *pump {
	if c.filtered.Load() {
		return &c.p.serving.pumps[0]
	}
	return c.pump
}

// covered reports whether the line has reached the end that the client asked for.
func (c *conn) covered() bool { return c.until != 0 && c.line.read >= c.until }

// cover sends the last skip, up to the end that the client asked for, and returns the reason for which the connection
// ends.
func (c *conn) cover() error {
	b := c.line.skip(nil)
	c.tell(c.line.next)
	if err := c.block(b, nil); err != nil {
		return err
	}
	return errCovered
}

// stay parks the connection if it is caught up.
func (c *conn) stay() served {
	switch {
	case c.rest != nil || c.failed != nil || c.covered():
		return needsWriter
	case c.p.serving.park(c, c.p.log):
		return parkedAgain
	}
	return stillBehind
}

// step sends the next chunk of the line. It returns false if there is none.
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
			return true, nil // the filter left out everything read
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

// sendPackets writes packets directly from the memory log, as far as the connection takes them without waiting, or
// from the read buffer of the journal, as far as the connection takes them within stallTime. If some are left, it
// copies only the rest of the packet in which the write stopped, so that a client that does not read costs no more
// memory than that, and moves the line back to the next packet.
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

// untilMessageEnds returns the number of bytes from offset n to the end of the packet that n is in; 0 if a packet
// begins at n.
func untilMessageEnds(packets []byte, n int) int {
	end := 0
	for end < n {
		end += codec.PacketSize(packets[end:])
	}
	return end - n
}

// stallTime is how long a client may take for one buffer of the journal, at most 256 KiB; then the buffer is given to
// other connections. A client that takes less than 5 MB/s has part of the journal read more than once.
const stallTime = 50 * time.Millisecond

// copyRest copies the rest of the packet in which a write of ch stopped after n bytes, and moves the line back to the
// next packet. The read buffer of the journal may then be reused. (A filtered chunk is in the buffer of the
// connection already.)
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

// stillFast returns a check for use while a write waits, or nil if there is nothing to check. The check returns
// errSlow if the client asked to be disconnected when it falls behind and the log is more than maxLag past publish
// time at.
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

// block writes all of b, and waits for the client as long as it gives signs of life. If it gives up, it keeps the
// rest of b in c.unsent.
func (c *conn) block(b []byte, check func() error) error {
	defer c.nc.SetWriteDeadline(time.Time{}) // a deadline that has passed would fail c.try
	var deadline time.Time                   // of the shutdown; zero until it begins
	for len(b) > 0 {
		now := time.Now()
		if c.ctx.Err() != nil && deadline.IsZero() {
			deadline = now.Add(drainTime)
		}
		_ = c.nc.SetWriteDeadline(now.Add(min(c.alive.Interval, drainTime)))
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

// stillWaits returns why the writer must stop waiting for the client, or nil. deadline is the deadline of the
// shutdown, zero if there is none; check is the check of the slow-consumer policy, or nil.
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

// jump applies the slow-consumer policy of the client after it has fallen too far behind.
func (c *conn) jump() error {
	if c.slow == codec.SlowDisconnect {
		return errSlow
	}
	l, all := &c.line, &c.p.serving.snapshots
	l.read = l.next // packets after l.next were read, but not sent
	var j *join
	var held *snapshot
	as := &line{p: c.p, filter: l.filter} // the line after the jump
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
	for { // each session needs a withheld packet of its own
		owner, owned, ok := c.p.lineage.Owner(l.next)
		if !ok {
			owned.To = j.seq
		} else {
			b = l.change(owner, b)
		}
		var err error
		if b, err = l.withhold(min(j.seq, owned.To), b); err != nil {
			return fmt.Errorf("what follows %d cannot be read: %v", min(j.seq, owned.To), err) // not retried: the line has moved
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

// restart sends a snapshot as of seq, after earlier numbers were lost.
func (c *conn) restart(seq uint64) error {
	c.line.wanted = c.p.wants(c.line.filter, c.p.catalog())
	held, err := c.snapshotAt(seq, codec.ScopeAll, nil)
	if err != nil {
		return err
	}
	return c.sendSnapshot(held)
}

// sessionEnd sends the end message, once, if the session has ended and the client has everything. It returns false if
// it sent nothing.
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

// heartbeat sends a heartbeat, which covers the numbers that the filter left out so far. It returns errSilent if the
// client is silent.
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

// subscribe changes the filter of the line as of its next number.
func (c *conn) subscribe(r *codec.Subscribe) error {
	l := &c.line
	if l.read > l.next { // numbers that the old filter left out
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
		} else if held == nil { // retention removed it meanwhile; a client that reconnects is sent what is gone
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
