package publisher

import (
	"errors"
	"fmt"
	"os"
	"time"

	"tickfeed/codec"
)

// A receiver is the reading side of a connection. It belongs to the reader.
type receiver struct {
	raw      rawSocket     // nil if the connection has none
	messages *codec.Reader // nil between messages, if awaitBytes can wait without it
	read     int64         // bytes read before messages was made
	echo     int64         // of the last pulse
}

// attend is the reader: it waits for a message, handles it, and starts a new goroutine for the next message. The
// reader accounts for most of the memory of an idle connection, so it waits without a buffer and on a fresh stack, on
// which no message was decoded.
func (c *conn) attend() {
	err := c.awaitMessage()
	if err == nil {
		err = c.readMessage()
	}
	if errors.Is(err, os.ErrDeadlineExceeded) && !c.writerDone.Load() && !c.silent() {
		// The read deadline replaces a timer for the next heartbeat, whose memory "tickfeed bench memory" would show.
		if c.listen(c.silentAt()); c.now() >= c.alive.BeatAt() {
			c.signal() // the writer calls listen after the heartbeat
		} else {
			c.listen(min(c.alive.BeatAt(), c.silentAt()))
		}
		err = nil
	}
	if err == nil {
		c.conns.Go(c.attend)
		return
	}
	c.endReading(err)
}

// listen sets the read deadline to until, a time since p.started or, if the connection is ending, to the time by
// which the client must close.
func (c *conn) listen(until time.Duration) {
	_ = c.nc.SetReadDeadline(c.p.clock.started.Add(until))
	if c.writerDone.Load() {
		_ = c.nc.SetReadDeadline(time.Now().Add(refusalWait))
	}
}

// awaitMessage waits, without a buffer, until there is something to read. It returns at once if nc has no raw socket or the
// reader holds unread bytes.
func (c *conn) awaitMessage() error {
	if c.in.raw == nil || c.in.messages != nil && c.in.messages.Held() > 0 {
		return nil
	}
	if c.in.messages != nil {
		c.in.read, c.in.messages = c.in.messages.Offset(), nil
	}
	return awaitBytes(c.in.raw)
}

// readMessage reads and handles the next message of the client.
func (c *conn) readMessage() error {
	if c.in.messages == nil {
		c.in.messages = codec.NewReader(c.nc, codec.MaxMessage)
		c.in.messages.Reset(c.nc, c.in.read)
	}
	t, raw, err := c.in.messages.Next()
	if err != nil {
		return err
	}
	c.hear()
	return c.handle(t, raw)
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
		if m.Next > c.progress.told.Load() {
			return fmt.Errorf("%w: a pulse for %d, but the next number to be sent is %d", errProtocol, m.Next, c.progress.told.Load())
		}
		c.progress.confirmed.Store(m.Next)
		if m.Echo != 0 && m.Echo != c.in.echo { // a client may repeat an echo, which then is older than the position
			c.in.echo = m.Echo
			c.progress.roundTrip.Store(max(0, c.p.cfg.Now()-m.Echo))
		}
		c.p.serving.roster.pulse()
	case *codec.Subscribe:
		if !c.mail.queueRequest(m) {
			return fmt.Errorf("%w: more than %d changes of instruments under way", errProtocol, maxSubscribe)
		}
		c.signal()
	case *codec.Goodbye:
		return errClientLeft
	}
	return nil
}

// endReading ends the connection after err: the client has left, has fallen silent, or has violated the protocol.
func (c *conn) endReading(err error) {
	var field *codec.FieldError
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		c.mail.endReader(&codec.Goodbye{Code: codec.CodeSilent, Text: "no pulse for three intervals", Retry: true}, nil)
	case errors.As(err, &field) && field.Message == codec.TypeSubscribe:
		c.mail.endReader(&codec.Goodbye{Code: codec.CodeBadRequest, Text: err.Error()}, nil)
	case errors.Is(err, codec.ErrMalformed), errors.Is(err, codec.ErrUnknownMessage), errors.Is(err, errProtocol):
		c.mail.endReader(&codec.Goodbye{Code: codec.CodeProtocol, Text: err.Error()}, nil)
	case errors.Is(err, errClientLeft):
		c.mail.endReader(nil, errClientLeft)
	default:
		c.mail.endReader(nil, errLost)
	}
	c.signal() // the writer reads why the reader has ended, unless the writer has ended already
	c.writers.Wait()
	discardInput(c.nc)
	c.p.remove(c)
	c.nc.Close()
}
