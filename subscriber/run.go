package subscriber

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"time"

	"github.com/rs/zerolog"

	"tickfeed/codec"
	"tickfeed/codec/certs"
	"tickfeed/codec/neterror"
)

// A runner is one Run.
type runner struct {
	*Subscriber
	handle  func(*Batch) error
	log     zerolog.Logger
	wire    *wire
	reader  *codec.Reader // reused for each connection
	writer  *writer
	settled *codec.Filter // the value of wanted that the line is known to have; nil if none
	saveErr bool          // the last save failed, and that was logged
}

func (r *runner) run(ctx context.Context) error {
	l := r.line
	l.recovery, l.out.changes, l.out.told = nil, nil, Disconnected
	failed := 0
	if l.covered() {
		return r.closed(nil)
	}
	for {
		when, addr := r.retry.next(time.Now())
		if err := sleep(ctx, time.Until(when)); err != nil {
			return r.closed(context.Cause(ctx))
		}
		began := time.Now()
		err := r.connection(ctx, addr)
		var handler *handlerError
		if errors.As(err, &handler) {
			l.lost(err, time.Now())
			if handler.err == errCovered {
				l.out.changes = l.out.changes[:0]
				return r.closed(nil)
			}
			return handler.err
		}
		now := time.Now()
		slow := r.cfg.Slow == codec.SlowDisconnect && l.head > l.position.Next
		l.lost(err, now)
		if ctx.Err() != nil {
			l.out.changes = l.out.changes[:0]
			return r.closed(context.Cause(ctx))
		}
		worth := r.retry.ended(outcome{began, l.c.flowed, l.c.fresh || l.c.anew && l.c.flowed, slow}, now, err)
		if err := r.tellChanges(); err != nil {
			return err.(*handlerError).err
		}
		var refused *RefusedError
		if errors.As(err, &refused) && !refused.Retry {
			return r.closed(err)
		}
		if failed++; worth {
			failed = 0
		}
		if r.cfg.MaxAttempts > 0 && failed >= r.cfg.MaxAttempts {
			return r.closed(&GiveUpError{Attempts: failed, Last: err})
		}
	}
}

// closed delivers the last change, and returns err.
func (r *runner) closed(err error) error {
	r.line.c = connected{}
	r.line.change(Change{State: Closed, Err: err})
	if handlerErr := r.tellChanges(); handlerErr != nil && !errors.As(handlerErr, new(stopped)) {
		r.log.Warn().Err(handlerErr).Msg("handler failed on the last change")
	}
	return err
}

func sleep(ctx context.Context, d time.Duration) error {
	if ctx.Err() != nil || d <= 0 {
		return ctx.Err()
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}

// past is a deadline that wakes a reader.
var past = time.Unix(1, 0)

// connection makes one connection and serves it until it ends.
func (r *runner) connection(ctx context.Context, addr string) (err error) {
	l := r.line
	l.connect(addr)
	l.change(Change{State: Connecting})
	if err := r.tellChanges(); err != nil {
		return err
	}
	dialing, cancel := context.WithTimeout(ctx, dialTimeout)
	conn, err := r.cfg.Dial(dialing, addr)
	if err == nil && r.cfg.TLS != nil {
		conn, err = secure(dialing, conn, addr, r.cfg.TLS)
	}
	cancel()
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := r.handshake(ctx, conn, addr); err != nil {
		if m := goodbye(ctx, err); m != nil {
			_ = send(conn, m, goodbyeTimeout) // best effort: the connection ends either way
		}
		return err
	}
	defer func() {
		r.mu.Lock()
		r.conn = nil
		r.mu.Unlock()
		r.writer.close(goodbye(ctx, err))
	}()
	return r.follow(ctx)
}

// goodbye returns the goodbye to send at the end of a connection that ended with err, or nil if none is needed.
func goodbye(ctx context.Context, err error) *codec.Goodbye {
	var protocol *ProtocolError
	switch {
	case ctx.Err() != nil, errors.As(err, new(*handlerError)):
		return &codec.Goodbye{Code: codec.CodeDone}
	case errors.Is(err, ErrSilent):
		return &codec.Goodbye{Code: codec.CodeSilent, Text: err.Error(), Retry: true}
	case errors.As(err, &protocol):
		return &codec.Goodbye{Code: codec.CodeProtocol, Text: protocol.Error(), Retry: true}
	}
	return nil
}

// handshake sends the hello, receives the welcome, and starts the writer.
func (r *runner) handshake(ctx context.Context, conn net.Conn, addr string) error {
	l := r.line
	r.woken.Store(false)
	wanted := r.wanted.Load()
	hello, raw, err := r.cfg.appendHello(*wanted, l.position, l.hasState)
	if err != nil {
		return &handlerError{fmt.Errorf("subscriber: internal error: %w", err)}
	}

	began := time.Now()
	conn.SetDeadline(began.Add(handshakeTimeout))
	stop := context.AfterFunc(ctx, func() { conn.SetDeadline(past) })
	defer stop()
	if _, err := conn.Write(raw); err != nil && r.cfg.TLS == nil { // otherwise there may be an alert to read, which says why
		return err
	}
	r.wire = &wire{conn: conn, read: readerOf(conn), ctx: ctx, began: began, woken: &r.woken, until: began.Add(handshakeTimeout)}
	if r.reader == nil {
		r.reader = codec.NewReader(nil, 0)
	}
	r.reader.Reset(r.wire, 0) // reuses the buffer: to allocate and clear another (256 KiB) would delay the first tick
	r.reader.SetLimit(codec.MaxHello)
	t, raw, err := r.reader.Next()
	for r.woken.Load() && errors.Is(err, os.ErrDeadlineExceeded) && ctx.Err() == nil && time.Now().Before(r.wire.until) {
		r.woken.Store(false)
		t, raw, err = r.reader.Next()
	}
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return fmt.Errorf("%s: no welcome within %v: is it the address of a feed (--listen of the publisher), and not that of --http or of another program?", addr, handshakeTimeout)
	case err != nil:
		return r.readError(addr, err)
	case t != codec.TypeWelcome:
		_, err := l.control(t, raw)
		return err
	}
	m, err := codec.Decode(raw)
	if err != nil {
		return &ProtocolError{What: "welcome", Err: err}
	}
	w := m.(*codec.Welcome)
	now := time.Now()
	r.mu.Lock()
	err = l.welcome(hello, w, *wanted, now)
	if err == nil {
		r.noteLocked()
		r.conn = conn
		r.status.Addr, r.status.RoundTrip = addr, now.Sub(began)
		if r.status.welcomes++; r.status.welcomes > 1 {
			r.status.Reconnects++
		}
	}
	r.mu.Unlock()
	if err != nil {
		return err
	}
	if r.settled = wanted; l.c.change.narrow != nil {
		r.settled = nil // subscribe sends it later
	}
	r.reader.SetLimit(codec.MaxMessage)
	r.wire.until = time.Time{}
	r.wire.alive.Interval = w.Heartbeat
	r.writer = startWriter(conn, w.Heartbeat, r.pulse)
	r.log.Info().Str("addr", addr).Str("server", w.Server).Stringer("session", w.Lineage.Current().ID).
		Uint64("start", w.Start).Uint64("head", w.Head).Stringer("reason", w.Reason).Msg("welcome")
	return nil
}

// pulse returns the current sign of life; the writer calls it.
func (r *runner) pulse() *codec.Pulse {
	r.mu.Lock()
	defer r.mu.Unlock()
	return &codec.Pulse{Next: r.held.Next, Echo: r.status.echo}
}

// follow reads until the connection ends. It delivers everything received before the error that it returns.
func (r *runner) follow(ctx context.Context) error {
	stop := context.AfterFunc(ctx, func() { r.wire.conn.SetReadDeadline(past) })
	defer stop()
	l := r.line
	l.settle(time.Now())
	if err := r.tellChanges(); err != nil {
		return err
	}
	if l.covered() {
		return r.covered()
	}
	for {
		if !r.reader.Buffered() {
			if err := r.beforeWait(); err != nil {
				return err
			}
		}
		t, raw, err := r.next()
		if err != nil {
			return r.last(err)
		}
		if t == codec.TypePacket {
			if err = l.open(raw); err == nil {
				err = r.before(raw)
			}
			for more := err == nil; more && err == nil; {
				if more, err = l.fill(); !more && err == nil {
					err = r.record(raw)
				}
				if more || l.out.n >= l.out.size || l.c.packet.absent != absentNone {
					if flushErr := r.flush(); flushErr != nil {
						err = flushErr
					}
				}
			}
		} else {
			err = r.message(t, raw)
		}
		if err == nil && l.covered() {
			err = r.covered()
		}
		if err != nil {
			return r.last(err)
		}
	}
}

// covered delivers the batch and ends the connection.
func (r *runner) covered() error {
	if err := r.flush(); err != nil {
		return err
	}
	return &handlerError{errCovered}
}

// last delivers the batch before err ends the connection.
func (r *runner) last(err error) error {
	if errors.As(err, new(*handlerError)) {
		return err
	}
	if flushErr := r.flush(); flushErr != nil {
		return flushErr
	}
	return err
}

// beforeWait is called before the reader waits for bytes. It delivers the batch and the changes, saves the position, and asks
// for another filter if one is wanted.
func (r *runner) beforeWait() error {
	l := r.line
	if err := r.flush(); err != nil {
		return err
	}
	l.settle(time.Now())
	if err := r.tellChanges(); err != nil {
		return err
	}
	if l.need == needNothing && l.c.awaited.snapshot == nil { // a recording begins even if no packet arrives
		if err := r.begin(); err != nil {
			return err
		}
	}
	if err := r.save(time.Now()); err != nil {
		return err
	}
	if err := r.tellChanges(); err != nil {
		return err
	}
	r.wire.saveBy = r.position.due(l.position)
	r.woken.Store(false)
	wanted := r.wanted.Load()
	if wanted == r.settled {
		return nil
	}
	if m, ok := l.subscribe(*wanted); ok {
		r.writer.send <- m // has room: one request is open at a time
	} else if sameFilter(*wanted, l.scope.asked) && !l.c.change.asked {
		r.settled, l.c.change.narrow = wanted, nil
		l.refilter(l.scope.granted, l.position.Next, false)
		return r.tellChanges()
	}
	return nil
}

// next returns the next message. While it waits, it detects silence and saves the position.
func (r *runner) next() (codec.Type, []byte, error) {
	l := r.line
	for {
		t, raw, err := r.reader.Next()
		if err == nil {
			if t != codec.TypeHeartbeat || l.c.awaited.snapshot == nil { // a heartbeat does not keep a stalled snapshot alive
				r.wire.alive.Heard()
				l.c.stale = false
			}
			return t, raw, nil
		}
		r.wire.alive.Came(r.reader.Partial())
		if r.wire.ctx.Err() != nil {
			return 0, nil, r.wire.ctx.Err()
		}
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			return 0, nil, r.readError(l.c.addr, err)
		}
		now := r.wire.now()
		if r.wire.alive.Dead(now) {
			return 0, nil, ErrSilent
		}
		l.c.stale = r.wire.alive.Stale(now)
		if err := r.beforeWait(); err != nil {
			return 0, nil, err
		}
		r.wire.alive.Pause(r.wire.now() - now) // time in the handler is not silence
	}
}

func (r *runner) readError(addr string, err error) error {
	switch {
	case certs.IsAlert(err): // a publisher refuses a certificate after the handshake
		return &TLSError{Addr: addr, Err: certs.DialError(err)}
	case errors.Is(err, codec.ErrMalformed), errors.Is(err, codec.ErrUnknownMessage):
		what := "stream"
		if !r.line.c.welcomed {
			what = addr + " does not speak tickfeed" + r.wire.hint()
		}
		return &ProtocolError{What: what, Err: err}
	case errors.Is(err, io.EOF):
		if !r.line.c.welcomed {
			return fmt.Errorf("%s closed the connection without a welcome", addr)
		}
		return fmt.Errorf("%s closed the connection: %w", addr, err)
	case errors.Is(err, io.ErrUnexpectedEOF):
		return fmt.Errorf("%s closed the connection inside a message: %w", addr, err)
	}
	return err
}

// message handles every message except packets.
func (r *runner) message(t codec.Type, raw []byte) error {
	if err := r.flush(); err != nil {
		return err
	}
	l := r.line
	r.mu.Lock()
	snapshot, err := l.control(t, raw)
	r.noteLocked()
	r.mu.Unlock()
	if err != nil {
		return err
	}
	if t == codec.TypeEnd {
		r.writer.pulseNow() // the publisher may be waiting until the subscriber has received everything
	}
	if err := r.tellChanges(); err != nil {
		return err
	}
	if snapshot != nil {
		if err := r.tellSnapshot(snapshot); err != nil {
			return err
		}
	}
	l.settle(time.Now())
	return r.tellChanges()
}

// flush delivers the batch, accounts for it, and delivers the resulting changes.
func (r *runner) flush() error {
	l := r.line
	if l.out.n > 0 {
		if l.recovery != nil {
			l.handing(time.Now())
		}
		r.out = Batch{Session: l.c.from.session, Ticks: l.out.ticks[:l.out.n], Published: l.out.published, State: l.state}
		if err := r.handle(&r.out); err != nil {
			return r.stop(err)
		}
	}
	if !l.pending() {
		return nil
	}
	now := time.Now()
	r.mu.Lock()
	l.take()
	r.noteLocked()
	r.mu.Unlock()
	if err := r.save(now); err != nil {
		return err
	}
	if l.c.terms.ack {
		r.writer.pulseNow()
	}
	l.settle(now)
	return r.tellChanges()
}

// stop discards the batch, or the part that was not used, after the handler or the recorder returned err.
func (r *runner) stop(err error) error {
	l := r.line
	r.mu.Lock()
	defer r.mu.Unlock()
	if s, ok := err.(stopped); ok && l.out.n > 0 {
		l.takeSome(s.taken)
	}
	l.drop()
	r.noteLocked()
	return &handlerError{err}
}

func (r *runner) tellSnapshot(s *collecting) error {
	l := r.line
	n := 0
	hand := func() error {
		r.out = Batch{Session: l.c.from.session, Ticks: l.out.ticks[:n], Snapshot: true, State: l.state}
		n = 0
		if err := r.handle(&r.out); err != nil {
			return r.stop(err)
		}
		return nil
	}
	for t := range s.entries(l.c.change.narrow) {
		l.out.ticks[n] = t
		if n++; n == l.out.size {
			if err := hand(); err != nil {
				return err
			}
		}
	}
	if n > 0 {
		return hand()
	}
	return nil
}

// tellChanges logs the changes so far, and delivers them.
func (r *runner) tellChanges() error {
	l := r.line
	if len(l.out.changes) == 0 {
		return nil
	}
	changes := l.out.changes
	l.out.changes = nil
	for i := range changes {
		c := &changes[i]
		r.mu.Lock()
		r.status.State = c.State
		r.mu.Unlock()
		r.logChange(c)
		r.out = Batch{Session: l.c.from.session, State: l.state, Change: c}
		if err := r.handle(&r.out); err != nil {
			return r.stop(err)
		}
	}
	return nil
}

func (r *runner) logChange(c *Change) {
	if c.Saved != nil {
		return // up to ten times a second
	}
	e := r.log.Info()
	if c.Err != nil || len(c.Lost)+len(c.Disowned) > 0 {
		e = r.log.Warn()
	}
	e = e.Stringer("state", c.State).Str("addr", c.Addr).Uint64("next", r.line.position.Next)
	if c.Err != nil {
		e = e.AnErr("error", neterror.Plain(c.Err))
	}
	for _, ns := range []struct {
		key     string
		numbers []Numbers
	}{{"withheld", c.Withheld}, {"lost", c.Lost}, {"disowned", c.Disowned}} {
		if len(ns.numbers) > 0 {
			e = e.Interface(ns.key, ns.numbers)
		}
	}
	if c.Report != nil {
		e = e.Object("report", c.Report)
	}
	if c.Filtered != nil {
		e = e.Strs("filter", c.Filtered.Filter).Uint64("from", c.Filtered.From)
	}
	if c.End {
		e = e.Uint64("final", c.Final)
	}
	e.Msg("subscription")
}

// save writes the position file if a save is due. If the application's output cannot be made durable, save returns a
// *handlerError, which ends Run; another failure is logged once, and later calls try again.
func (r *runner) save(now time.Time) error {
	p := r.position
	if p.path == "" || now.Sub(p.savedAt) < saveEvery {
		return nil
	}
	changed := p.changed(r.line.position)
	err := p.save(r.line.position)
	p.savedAt = time.Now() // not now, so that saveEvery passes after a slow save before the next one begins
	if changed && err == nil {
		saved := p.saved
		r.line.change(Change{State: r.line.out.told, Saved: &saved})
	}
	if output, ok := err.(*outputError); ok {
		return &handlerError{output.err}
	}
	if err != nil && !r.saveErr {
		r.log.Error().Err(err).Msg("position not saved")
	}
	r.saveErr = err != nil
	return nil
}

// dial is the default Config.Dial.
func dial(ctx context.Context, addr string) (net.Conn, error) {
	var d net.Dialer
	if path, ok := strings.CutPrefix(addr, unixPrefix); ok {
		return d.DialContext(ctx, "unix", path)
	}
	if _, _, err := net.SplitHostPort(addr); err != nil {
		addr = net.JoinHostPort(strings.Trim(addr, "[]"), defaultPort)
	}
	return d.DialContext(ctx, "tcp", addr)
}

const (
	defaultPort = "8425"
	unixPrefix  = "unix:"
)
