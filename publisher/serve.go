package publisher

import (
	"container/list"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"tickfeed/codec"

	"github.com/rs/zerolog"
)

// A server holds the connections of a publisher.
type server struct {
	token [sha256.Size]byte
	most  int // connections at most
	first int // handshakes at most
	grace time.Duration

	mu         sync.Mutex
	conns      map[*conn]struct{} // logged in
	users      map[string]int     // their number, by user
	handshakes *list.List         // of *entrant, not logged in, oldest first
	opened     uint64             // connections so far
	joined     uint64             // connections that logged in so far
	returned   uint64             // those of them whose clients had been connected before
	missing    int                // clients whose connection ended before they had everything, and that have not resumed
	missed     time.Time          // when the last of the missing clients was lost
	absent     []ConnStats        // the connections lost last, at most maxAbsent
	sentBefore uint64             // bytes sent on connections that have ended
	leftBy     map[Reason]uint64  // connections that have ended
	refusedBy  map[codec.Code]uint64
	dismissed  atomic.Pointer[dismissal] // set by Dismiss, under mu; nil before

	parking sync.Mutex
	parked  []*conn // waiting for something to send
	waking  []*conn // the buffer that wake swaps with parked
	pumps   []pump

	final  atomic.Uint64 // number after the last one of an ended session; 0 until End
	skips  atomic.Uint64 // see Summary.Skipped
	pulses chan struct{} // 1 slot: a client has confirmed a position
	ended  chan struct{} // 1 slot: a handshake has ended

	joining   sync.Mutex
	join      *join
	work      chan struct{} // a slot for each client that uses the processor for long: to make a snapshot, or to match its filter
	states    states
	snapshots snapshots

	guesses guesses
	tallies tallies
}

// Bounds of the server.
const (
	joinAge      = 100 * time.Millisecond // maximum age of a join that another client shares
	refusalWait  = 250 * time.Millisecond // time for the client to read a refusal or goodbye before the connection is closed
	acceptPause  = 50 * time.Millisecond  // pause after accept failed for a passing reason
	drainTime    = time.Second            // time to send the remaining data at shutdown
	loginGrace   = 20 * time.Millisecond  // minimum time for a handshake when others wait for its place
	secureGrace  = 500 * time.Millisecond // the same with TLS, which takes more turns and processor time
	maxSubscribe = 16                     // filter changes that a client may have queued
	maxDrain     = 64 << 10               // bytes read from a peer whose connection has ended
	sendBuffer   = 72 << 10               // send buffer of a connection in the kernel; Linux holds twice as much, plus a segment of 64 KiB
	maxInline    = 4                      // connections that the flusher serves itself
	maxPumps     = 8                      // goroutines that serve the connections if there are more
	workShare    = 2                      // one in this many processors works for clients that join or change filters, so that publishing continues
	maxAbsent    = 64                     // lost connections that are remembered by name
	maxTurn      = 128 << 10              // bytes sent to a connection before the next connection is served
)

func (s *server) init(cfg Config) {
	s.token = sha256.Sum256([]byte(cfg.Token))
	s.most, s.first, s.grace = cfg.MaxConnections, cfg.MaxHandshakes, loginGrace
	if cfg.TLS != nil {
		s.grace = secureGrace
	}
	s.conns, s.users = make(map[*conn]struct{}), make(map[string]int)
	s.leftBy, s.refusedBy = make(map[Reason]uint64), make(map[codec.Code]uint64)
	s.handshakes = list.New()
	s.pulses = make(chan struct{}, 1)
	s.snapshots.init()
	s.work = make(chan struct{}, max(1, runtime.GOMAXPROCS(0)/workShare))
	s.ended = make(chan struct{}, 1)
	s.guesses.init(min(guessAnswers, cfg.MaxHandshakes))
	s.pumps = make([]pump, min(runtime.GOMAXPROCS(0), maxPumps))
	for i := range s.pumps {
		s.pumps[i].kick = make(chan struct{}, 1)
	}
}

// A door is one call of Serve.
type door struct {
	ctx   context.Context // ends the connections
	conns sync.WaitGroup
}

// Serve feeds the subscribers that connect on ln until ctx is cancelled or ln fails. Several calls may run at once.
// Serve owns ln and every goroutine it starts: once it returns, ln and its connections are closed. When ctx ends,
// each client is sent the remaining data, for a bounded time, and a goodbye that asks it to reconnect, at once if the
// cause of ctx is ErrMoved. The error is never nil; after cancellation it is the cause of ctx.
func (p *Publisher) Serve(ctx context.Context, ln net.Listener) error {
	ctx, cancel := context.WithCancel(ctx)
	d := &door{ctx: ctx}
	defer d.conns.Wait() // second: nothing outlives Serve
	defer cancel()       // first: ask every connection to end

	stop := context.AfterFunc(ctx, func() {
		ln.Close() // unblocks Accept
		p.serving.wakeAll()
	})
	defer func() {
		if stop() {
			ln.Close()
		}
	}()
	var refusing condition // the system refuses connections
	for {
		nc, err := ln.Accept()
		passes := acceptPasses(err)
		switch {
		case err != nil && ctx.Err() != nil:
			return context.Cause(ctx)
		case errors.Is(err, syscall.ECONNABORTED): // the client has left already
			continue
		case refusing.begins(passes):
			p.cfg.Logger.Warn().Err(err).Msg("cannot accept connections for now; existing connections continue")
		case refusing.ends(err == nil):
			p.cfg.Logger.Info().Msg("accepting connections again")
		}
		if passes {
			select {
			case <-time.After(acceptPause):
			case <-ctx.Done():
			}
			continue
		} else if err != nil {
			return fmt.Errorf("accept on %s: %w", ln.Addr(), err)
		}
		e := p.serving.enter(ctx, nc) // before the next Accept, so that the open connections stay within the bounds
		d.conns.Go(func() {
			if c := p.admit(d, e); c != nil {
				c.run()
			}
		})
	}
}

// acceptPasses reports whether err, returned by Accept, concerns a single connection or a passing shortage rather
// than the listener: see accept(2).
func acceptPasses(err error) bool {
	for _, passing := range []syscall.Errno{
		syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM, syscall.EPERM, syscall.EPROTO, syscall.ENETDOWN,
		syscall.ENETUNREACH, syscall.EHOSTDOWN, syscall.EHOSTUNREACH, syscall.ENOPROTOOPT, syscall.EOPNOTSUPP,
	} {
		if errors.Is(err, passing) {
			return true
		}
	}
	return false
}

// An entrant is a connection that has not logged in.
type entrant struct {
	net.Conn
	number  uint64
	at      time.Time     // when it was accepted
	place   *list.Element // element of server.handshakes
	evicted bool          // closed by enter; guarded by server.mu
}

// errEvicted is why an entrant ends that enter has closed after its hello was read.
var errEvicted = errors.New("closed to make room for another connection that has not logged in")

// enter adds nc to the handshakes. If there are too many, it waits until a handshake ends or the oldest one has had
// grace, and closes the oldest.
func (s *server) enter(ctx context.Context, nc net.Conn) *entrant {
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.handshakes.Len() >= s.first {
		oldest := s.handshakes.Front().Value.(*entrant)
		grace := time.Until(oldest.at.Add(s.grace))
		if grace <= 0 || ctx.Err() != nil {
			s.handshakes.Remove(oldest.place)
			oldest.evicted = true
			oldest.Close()
			break
		}
		s.mu.Unlock()
		timer := time.NewTimer(grace)
		select {
		case <-s.ended:
		case <-timer.C:
		case <-ctx.Done():
		}
		timer.Stop()
		s.mu.Lock()
	}
	s.opened++
	e := &entrant{Conn: nc, number: s.opened, at: time.Now()}
	e.place = s.handshakes.PushBack(e)
	return e
}

// enteredLocked removes e from the handshakes.
func (s *server) enteredLocked(e *entrant) {
	s.handshakes.Remove(e.place)
	select {
	case s.ended <- struct{}{}:
	default:
	}
}

// admit reads and answers the hello of a client. It returns the connection to serve, or nil if it has closed e.
func (p *Publisher) admit(d *door, e *entrant) (admitted *conn) {
	if b, ok := e.Conn.(interface{ SetWriteBuffer(int) error }); ok {
		_ = b.SetWriteBuffer(sendBuffer) // otherwise the kernel grows it to megabytes if the client does not read
	}
	s := &p.serving
	stop := context.AfterFunc(d.ctx, func() { e.Close() })
	nc := p.secured(e.Conn)
	c, refusal, err := p.handshake(nc)
	if below := plain(err); below != nil {
		nc, refusal, err = below, &codec.Refusal{Code: codec.CodeProtocol, Text: "this publisher speaks TLS: connect with --tls"}, nil
	}
	if c != nil && refusal == nil {
		c.client.number, c.client.since, c.pump = e.number, e.at, &s.pumps[e.number%uint64(len(s.pumps))]
		c.door = d
		c.hear()
		_ = nc.SetDeadline(time.Time{})
		defer func() {
			if admitted == nil {
				c.line.closeCursor()
			}
		}()
	}
	stopped := stop()
	leave := func() {
		s.mu.Lock()
		s.enteredLocked(e)
		s.mu.Unlock()
	}
	defer func() { // a connection that is refused counts until it is closed
		if admitted == nil {
			nc.Close()
		}
		leave()
	}()
	s.mu.Lock()
	if err == nil && e.evicted {
		err = errEvicted
	}
	if err == nil && refusal == nil && stopped {
		if leaving := s.dismissed.Load(); leaving != nil {
			refusal = leaving.refusal(p.chance(e.number))
		} else if refusal = s.roomForLocked(c); refusal == nil {
			s.enteredLocked(e)
			s.conns[c] = struct{}{}
			s.users[c.client.user]++
			s.joined++
			if c.client.back {
				s.returned++
				s.backLocked(c)
			}
		}
	}
	if err == nil && refusal != nil {
		s.refusedBy[refusal.Code]++
	}
	s.mu.Unlock()
	switch {
	case err != nil:
		switch {
		case d.ctx.Err() != nil:
		case errors.Is(err, io.EOF): // nothing was sent: something looked whether the port is open
			s.tallies.ended.log.Debug().Str("remote", nc.RemoteAddr().String()).Msg("connection ended before login: nothing was sent")
		default:
			s.tallies.ended.line(nc).Err(err).Msg("connection ended before login")
		}
		abandon(nc, err)
		return nil
	case refusal != nil:
		s.tallies.refused.line(nc).Func(c.logClient).Stringer("code", refusal.Code).Str("text", refusal.Text).Msg("refused")
		if refusal.Code == codec.CodeUnauthorized {
			leave() // from here it counts among the waiting answers
			s.guesses.delayAnswer(d.ctx, addressOf(nc.RemoteAddr()), func() { p.farewell(nc, refusal) })
			return nil
		}
		p.farewell(nc, refusal)
		return nil
	case !stopped:
		return nil
	}
	return c
}

// logClient adds to a log line who c says it is. A nil c adds nothing.
func (c *conn) logClient(e *zerolog.Event) {
	if c == nil {
		return
	}
	if c.client.name != "" {
		e.Str("client", c.client.name)
	}
	if c.client.cert != "" {
		e.Str("certificate", c.client.cert)
	}
}

// roomForLocked returns the refusal of c if there are too many connections, in all or of its user, or nil.
func (s *server) roomForLocked(c *conn) *codec.Refusal {
	busy := &codec.Refusal{Code: codec.CodeBusy, Retry: true, RetryAfter: time.Second}
	user := c.line.permit
	switch {
	case len(s.conns) >= s.most:
		busy.Text = fmt.Sprintf("%d subscribers are connected, which is the limit", len(s.conns))
	case user != nil && user.Connections > 0 && s.users[user.User] >= user.Connections:
		busy.Text = fmt.Sprintf("user %s has %d connections, which is the limit", user.User, s.users[user.User])
	default:
		return nil
	}
	return busy
}

// remove closes c, which has ended, and removes it from the server.
func (p *Publisher) remove(c *conn) {
	c.nc.Close() // before its place is given to another connection
	s := &p.serving
	next, _ := p.log.head()
	if errors.Is(c.mail.clientGone(), errClientLeft) { // the client closed after its goodbye, whatever error the writer saw
		c.reason = errClientLeft
	}
	s.mu.Lock()
	delete(s.conns, c)
	if s.users[c.client.user]--; s.users[c.client.user] == 0 {
		delete(s.users, c.client.user)
	}
	s.leftBy[reasonOf(c.reason)]++
	s.sentBefore += c.out.bytes.Load()
	denied := (*deniedError)(nil)
	done := errors.Is(c.reason, errClientLeft) || errors.Is(c.reason, errCovered) || errors.As(c.reason, &denied) && !denied.retry
	if !done && c.progress.confirmed.Load() < next {
		s.missing++
		s.missed = time.Now()
		s.absent = append(s.absent, c.stats())
		s.absent = s.absent[max(0, len(s.absent)-maxAbsent):]
	}
	s.mu.Unlock()
	s.parking.Lock()
	for i, o := range s.parked {
		if o == c {
			s.parked[i] = s.parked[len(s.parked)-1]
			s.parked = s.parked[:len(s.parked)-1]
			break
		}
	}
	s.parking.Unlock()
	s.pulsed()
	s.tallies.departed(c.reason).line(c.nc).Str("client", cutText(c.client.name)).Uint64("next", c.progress.told.Load()).Uint64("confirmed", c.progress.confirmed.Load()).
		AnErr("reason", c.reason).Msg("subscriber left")
}

// backLocked records that a client has come back. It forgets the lost connection with the same client name and
// address or, if there is none, the oldest one.
func (s *server) backLocked(c *conn) {
	s.missing = max(0, s.missing-1)
	i := slices.IndexFunc(s.absent, c.stats().isClientOf)
	if i < 0 && len(s.absent) > s.missing {
		i = 0
	}
	if i >= 0 {
		s.absent = slices.Delete(s.absent, i, i+1)
	}
}

// farewell sends m to a peer that has not logged in, closes the connection for writing, and gives the peer time to read
// m.
func (p *Publisher) farewell(nc net.Conn, m codec.Message) {
	until := time.Now().Add(refusalWait)
	_ = nc.SetReadDeadline(until)
	out := newSender(nc, nil, new(codec.Liveness), &p.clock)
	if out.last(m, until, refusalWait, func(until time.Time) (time.Time, bool) { return until, false }) {
		discardInput(nc)
	}
}

// discardInput reads and discards data from the peer until it closes, the deadline passes, or maxDrain bytes were read.
// Closing a socket with unread bytes would discard data that the peer has not read yet.
func discardInput(nc net.Conn) {
	var b [512]byte
	for left := maxDrain; left > 0; {
		n, err := nc.Read(b[:])
		if err != nil {
			return
		}
		left -= n
	}
}

// handshake reads the hello and decides on it. It does not write to the connection. It returns the connection also if a hello that
// could be read is refused.
func (p *Publisher) handshake(nc net.Conn) (*conn, *codec.Refusal, error) {
	if err := nc.SetDeadline(time.Now().Add(p.cfg.HandshakeTimeout)); err != nil {
		return nil, nil, err
	}
	if err := secure(nc); err != nil {
		return nil, nil, err
	}
	r := codec.NewReader(nc, codec.MaxMessage)
	r.SetLimit(codec.MaxHello)
	t, raw, err := r.Next()
	refuse := func(code codec.Code, format string, args ...any) (*conn, *codec.Refusal, error) {
		return nil, &codec.Refusal{Code: code, Text: fmt.Sprintf(format, args...)}, nil
	}
	switch {
	case errors.Is(err, codec.ErrMalformed) && isTLS(r.Unread()):
		return refuse(codec.CodeProtocol, "the client speaks TLS, and this listener does not: connect without TLS, or serve with --tls-cert")
	case errors.Is(err, codec.ErrMalformed), errors.Is(err, codec.ErrUnknownMessage):
		return refuse(codec.CodeProtocol, "this is a tickfeed publisher: %v", err)
	case err != nil:
		return nil, nil, err
	case t != codec.TypeHello:
		return refuse(codec.CodeProtocol, "the first message must be a hello, got %v", t)
	}
	m, err := codec.Decode(raw)
	if err != nil {
		return refuse(codec.CodeBadRequest, "%v", err)
	}
	h := m.(*codec.Hello)
	if h.MinVersion > codec.Version || h.MaxVersion < codec.Version {
		return refuse(codec.CodeVersion, "this publisher speaks version %d, the client %d to %d", codec.Version, h.MinVersion, h.MaxVersion)
	}
	if p.cfg.authenticates() && !p.serving.guesses.mayCheck(addressOf(nc.RemoteAddr())) {
		return nil, &codec.Refusal{
			Code: codec.CodeBusy, Retry: true, RetryAfter: time.Second, Text: "too many wrong tokens or certificates came from this address",
		}, nil
	}
	c := newConn(p, nc, r, h)
	refusal := c.checkLogin(h)
	if refusal == nil {
		refusal = c.chooseStart(h)
	}
	return c, refusal, nil
}

// wake serves the parked connections after the log has grown: a few directly, which is fastest, many through the
// pumps. Only the goroutine that flushes may call it.
func (s *server) wake() {
	s.parking.Lock()
	s.parked, s.waking = s.waking[:0], s.parked
	for _, c := range s.waking {
		c.parked = false
	}
	s.parking.Unlock()
	if len(s.waking) > maxInline {
		for i := range s.pumps {
			s.pumps[i].add(s.waking)
		}
	} else {
		for _, c := range s.waking {
			if c.serveInline() != parkedAgain {
				c.signal()
			}
		}
	}
	clear(s.waking)
}

// wakeAll signals every connection.
func (s *server) wakeAll() {
	for _, c := range s.all() {
		c.signal()
	}
}

// park arranges for c to be woken when the log grows beyond what c has read. It returns false if the log has grown
// already.
func (s *server) park(c *conn, log *memlog) bool {
	s.parking.Lock()
	defer s.parking.Unlock()
	if c.parked {
		return true
	}
	if next, _ := log.head(); next > c.line.read {
		return false
	}
	c.parked = true
	s.parked = append(s.parked, c)
	return true
}

// sentTo returns how many connected subscribers were sent everything before number next, how many subscribers are
// connected, and how many have connected so far. While a write from memory is in progress, which pins its segment,
// sent may count a subscriber too early.
func (s *server) sentTo(next uint64) (sent, connected int, joined uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.conns {
		if c.progress.told.Load() >= next {
			sent++
		}
	}
	return sent, len(s.conns), s.joined
}

func (s *server) pulsed() {
	select {
	case s.pulses <- struct{}{}:
	default:
	}
}

// Drained waits, after End, until every connected subscriber has confirmed that it has everything. That includes
// subscribers that connect meanwhile; a subscriber whose connection was lost before it had everything is given three
// heartbeat intervals to reconnect. Drained returns ctx.Err() if ctx ends first, or ErrClosed. Only one goroutine may
// call it at a time.
func (p *Publisher) Drained(ctx context.Context) error {
	s := &p.serving
	for {
		final := s.final.Load()
		behind := final == 0
		var back <-chan time.Time
		s.mu.Lock()
		for c := range s.conns {
			behind = behind || c.progress.confirmed.Load() < final
		}
		if wait := time.Until(s.missed.Add(codec.DeadAfter * p.cfg.Heartbeat)); s.missing > 0 && wait > 0 {
			behind, back = true, time.After(wait)
		}
		s.mu.Unlock()
		if !behind {
			return nil
		}
		select {
		case <-s.pulses:
		case <-back:
		case <-ctx.Done():
			return ctx.Err()
		case <-p.flusher.closing:
			return ErrClosed
		}
	}
}
