package publisher

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"tickfeed/codec"
	"tickfeed/codec/certs"
	"tickfeed/codec/liveness"
	"tickfeed/codec/lobby"
	"tickfeed/codec/neterror"

	"github.com/rs/zerolog"
)

// A server serves the connections of a publisher. Each of its parts has a lock of its own: inside.go says in which order
// they are acquired.
type server struct {
	token   [sha256.Size]byte
	lobby   *lobby.Lobby  // connections that have not logged in
	opened  atomic.Uint64 // connections so far
	roster  roster        // connections that have logged in
	parking parking       // those of them that wait for something to send
	final   atomic.Uint64 // number after the last one of an ended session; 0 until End

	joins     joins
	states    states
	snapshots snapshots
	work      chan struct{} // a slot for each client that uses the processor for long: to make a snapshot, or to match its filter

	guesses guesses
	tallies tallies
}

// Bounds of the server.
const (
	refusalWait  = 250 * time.Millisecond // time for the client to read a refusal or goodbye before the connection is closed
	acceptPause  = 50 * time.Millisecond  // pause after accept failed for a passing reason
	stopTime     = time.Second            // time to send the remaining data at shutdown
	maxSubscribe = 16                     // filter changes that a client may have queued
	maxDiscard   = 64 << 10               // bytes read from a peer whose connection has ended
	sendBuffer   = 72 << 10               // send buffer of a connection in the kernel; Linux holds twice as much, plus a segment of 64 KiB
	workShare    = 2                      // one in this many processors works for clients that join or change filters, so that publishing continues
	maxTurn      = 128 << 10              // bytes sent to a connection before the next connection is served
)

func (s *server) init(p *Publisher) {
	s.token = sha256.Sum256([]byte(p.cfg.Token))
	s.lobby = newLobby(&p.cfg)
	s.roster.init(p.cfg.MaxConnections)
	s.parking.init()
	s.states.p = p
	s.snapshots.init()
	s.work = make(chan struct{}, max(1, runtime.GOMAXPROCS(0)/workShare))
	s.guesses.init(min(guessAnswers, p.cfg.maxHandshakes))
	s.tallies.init(&p.cfg.Logger)
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
//
// The connections of ln may be of any kind. Those of package net, and each TryWriter, have the shortest way from Publish
// to the client.
func (p *Publisher) Serve(ctx context.Context, ln net.Listener) error {
	ctx, cancel := context.WithCancel(ctx)
	d := &door{ctx: ctx}
	defer d.conns.Wait() // second: nothing outlives Serve
	defer cancel()       // first: ask every connection to end

	stop := context.AfterFunc(ctx, func() {
		ln.Close() // unblocks Accept
		p.serving.roster.signalAll()
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
			p.cfg.Logger.Warn().Err(neterror.Plain(err)).Msg("cannot accept connections for now; existing connections continue")
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
		if e == nil {
			nc.Close()
			return context.Cause(ctx)
		}
		d.conns.Go(func() {
			if c := p.admit(d, e); c != nil {
				c.run()
			}
		})
	}
}

// loginError explains err, which ended a connection before its login.
func (p *Publisher) loginError(err error) error {
	switch {
	case errors.Is(err, net.ErrClosed): // the publisher closes a connection before its login for this reason only
		return errEvicted
	case errors.As(err, new(*certs.Error)): // it explains itself
		return err
	case errors.Is(err, os.ErrDeadlineExceeded):
		return fmt.Errorf("the client did not log in within %v", p.cfg.handshakeTimeout)
	}
	return err
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
		c.client.number, c.client.since, c.pump = e.number, e.At, s.parking.pumpFor(e.number)
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
	defer func() { // a connection that is refused counts until it is closed
		if admitted == nil {
			nc.Close()
		}
		e.Leave()
	}()
	if err == nil && e.Left() {
		err = errEvicted
	}
	if err == nil && refusal == nil && stopped {
		refusal, err = s.roster.add(c, e.Leave)
	}
	if err == nil && refusal != nil {
		s.roster.countRefusal(refusal.Code)
	}
	switch {
	case err != nil:
		switch {
		case d.ctx.Err() != nil:
		case errors.Is(err, io.EOF): // nothing was sent: something looked whether the port is open
			s.tallies.ended.log.Debug().Str("remote", nc.RemoteAddr().String()).Msg("connection ended before login: nothing was sent")
		default:
			s.tallies.ended.line(nc).Err(neterror.Plain(p.loginError(err))).Msg("connection ended before login")
		}
		abandon(nc, err)
		return nil
	case refusal != nil:
		s.tallies.refused.line(nc).Func(c.logClient).Stringer("code", refusal.Code).Str("text", refusal.Text).Msg("refused")
		if refusal.Code == codec.CodeUnauthorized {
			e.Leave() // from here it counts among the waiting answers
			s.guesses.delayAnswer(d.ctx, addressOf(nc.RemoteAddr()), *c.client.login, func() { p.farewell(nc, refusal) })
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
		e.Str("client", cutText(c.client.name))
	}
	if c.client.cert != "" {
		e.Str("certificate", cutText(c.client.cert))
	}
}

// remove closes c, which has ended, and removes it from the server.
func (p *Publisher) remove(c *conn) {
	c.nc.Close() // before its place is given to another connection
	next, _ := p.log.head()
	if errors.Is(c.mail.clientGone(), errClientLeft) { // the client closed after its goodbye, whatever error the writer saw
		c.reason = errClientLeft
	}
	p.serving.parking.remove(c)
	p.serving.roster.remove(c, next)
	e := p.serving.tallies.departed(c.reason).line(c.nc).Str("client", cutText(c.client.name))
	if c.client.user != "" {
		e = e.Str("user", cutText(c.client.user))
	}
	e.Uint64("next", c.progress.told.Load()).Uint64("confirmed", c.progress.confirmed.Load()).
		AnErr("reason", neterror.Plain(c.reason)).Msg("subscriber left")
}

// farewell sends m to a peer that has not logged in, closes the connection for writing, and gives the peer time to read
// m.
func (p *Publisher) farewell(nc net.Conn, m codec.Message) {
	until := time.Now().Add(refusalWait)
	_ = nc.SetReadDeadline(until)
	out := newSender(nc, nil, new(liveness.Monitor), &p.clock)
	if out.last(m, until, refusalWait, func(until time.Time) (time.Time, bool) { return until, false }) {
		discardInput(nc)
	}
}

// discardInput reads and discards data from the peer until it closes, the deadline passes, or maxDiscard bytes were read.
// Closing a socket with unread bytes would discard data that the peer has not read yet.
func discardInput(nc net.Conn) {
	var b [512]byte
	for left := maxDiscard; left > 0; {
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
	if err := nc.SetDeadline(time.Now().Add(p.cfg.handshakeTimeout)); err != nil {
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
	case errors.Is(err, codec.ErrMalformed) && isHTTP(r.Unread()):
		return refuse(codec.CodeProtocol, "the client speaks HTTP, and this is the address of the feed: commands such as health, top and control, and scrapers, connect to that of --http")
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
	c := newConn(p, nc, r, h)
	if p.cfg.authenticates() && !p.serving.guesses.mayCheck(addressOf(nc.RemoteAddr()), *c.client.login) {
		return c, &codec.Refusal{
			Code: codec.CodeBusy, Retry: true, RetryAfter: time.Second, Text: "too many wrong tokens or certificates came from this address",
		}, nil
	}
	refusal := c.checkLogin(h)
	if refusal == nil {
		refusal = c.chooseStart(h)
	}
	return c, refusal, nil
}
