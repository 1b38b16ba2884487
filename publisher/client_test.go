package publisher_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"tickfeed/codec"
	"tickfeed/feed"
)

// A client is a subscriber that checks the rules of PROTOCOL.md and applies what it receives to a state.
type client struct {
	t       *testing.T
	nc      net.Conn
	r       *codec.Reader
	welcome *codec.Welcome

	at      uint64 // end of what the line has covered
	next    uint64 // the position
	seed    uint32
	lineage feed.Lineage
	state   *feed.State
	ticks   []feed.Tick
	events  []string // everything but packets of ticks and heartbeats
	gone    feed.RangeSet
	publish int64 // publish time of the last packet
	skipped uint64
	part    *feed.State
	begin   *codec.SnapshotBegin
	goodbye string // its text
}

func (w *world) dial(h codec.Hello) *client {
	w.t.Helper()
	nc, err := w.connect(context.Background(), "pub:1")
	require.NoError(w.t, err)
	c := &client{t: w.t, nc: nc, r: codec.NewReader(nc, 0), state: feed.NewState()}
	w.t.Cleanup(func() { nc.Close() })
	if h.MaxVersion == 0 {
		h.MinVersion, h.MaxVersion = 1, 1
	}
	c.send(&h)
	return c
}

// join dials and reads the welcome.
func (w *world) join(h codec.Hello) *client {
	w.t.Helper()
	c := w.dial(h)
	m := c.message()
	require.IsType(w.t, &codec.Welcome{}, m)
	c.welcome = m.(*codec.Welcome)
	c.at, c.seed, c.lineage = c.welcome.Start, c.welcome.Seed, c.welcome.Lineage
	c.next = c.at
	switch {
	case len(h.Position.Lineage) > 0 && c.welcome.Reason != codec.StartedBySnapshot:
		c.next, _ = c.lineage.Fork(h.Position.Lineage, h.Position.Next)
	case len(h.Position.Lineage) == 0 && h.Start.Kind == codec.StartSeq:
		c.next = max(c.at, h.Start.Value)
	}
	require.LessOrEqual(w.t, c.at, c.next, "a line starts at its position or before")
	return c
}

func (w *world) position(c *client, next uint64) codec.Position {
	return codec.Position{Lineage: c.lineage, Next: next}
}

func (c *client) send(m codec.Message) {
	c.t.Helper()
	b, err := codec.Append(nil, m)
	require.NoError(c.t, err)
	_, err = c.nc.Write(b)
	require.NoError(c.t, err)
}

// message returns the next message other than packets and parts.
func (c *client) message() codec.Message {
	c.t.Helper()
	_ = c.nc.SetReadDeadline(time.Now().Add(time.Minute))
	_, raw, err := c.r.Next()
	require.NoError(c.t, err)
	m, err := codec.Decode(raw)
	require.NoError(c.t, err)
	return m
}

// until reads and checks the stream until the line has reached number next and no snapshot is open. The client gives
// signs of life meanwhile.
func (c *client) until(next uint64) {
	c.t.Helper()
	for c.next < next || c.begin != nil {
		require.NoError(c.t, c.step())
	}
}

// snapshot reads until a snapshot has ended.
func (c *client) snapshot() {
	c.t.Helper()
	for n := len(c.events); len(c.events) == n || c.begin != nil; {
		require.NoError(c.t, c.step())
	}
}

// step reads one message.
func (c *client) step() error {
	c.t.Helper()
	_ = c.nc.SetReadDeadline(time.Now().Add(time.Minute))
	typ, raw, err := c.r.Next()
	if err != nil {
		return err
	}
	switch typ {
	case codec.TypePacket:
		c.packet(raw)
		return nil
	case codec.TypeSnapshotPart:
		part, err := codec.ParsePart(raw, c.seed)
		require.NoError(c.t, err)
		require.Equal(c.t, c.begin.Seq, part.Seq)
		body := codec.PartBody(&part)
		c.each(&body, func(t feed.Tick) { require.NoError(c.t, c.part.Apply(&t)) })
		return nil
	}
	m, err := codec.Decode(raw)
	require.NoError(c.t, err)
	switch m := m.(type) {
	case *codec.Heartbeat:
		require.Equal(c.t, c.at, m.Covered, "a heartbeat has the position of the line")
		c.send(&codec.Pulse{Next: c.next, Echo: m.Now})
	case *codec.SnapshotBegin:
		require.Equal(c.t, c.next, m.Seq, "a snapshot comes at its own number")
		c.begin, c.part = m, feed.NewState()
	case *codec.SnapshotEnd:
		c.events = append(c.events, fmt.Sprintf("snapshot %d scope %d", m.Seq, uint8(c.begin.Scope)))
		var scope func(feed.InstrumentID, *feed.Definition) bool
		if c.begin.Scope == codec.ScopeAdded {
			f := c.begin.Filter
			scope = func(_ feed.InstrumentID, d *feed.Definition) bool { return f.Match(d) }
		}
		c.state.Replace(scope, c.part)
		c.begin = nil
	case *codec.SessionChange:
		require.Equal(c.t, c.at, m.Next)
		c.seed = m.Seed
		c.events = append(c.events, fmt.Sprintf("session %d", len(m.Lineage)))
	case *codec.Subscribed:
		require.Equal(c.t, c.at, m.From)
		c.seed = m.Seed
		c.events = append(c.events, fmt.Sprintf("subscribed %d", m.Request))
	case *codec.End:
		require.Equal(c.t, c.at, m.Final)
		c.events = append(c.events, "end")
	case *codec.Goodbye:
		c.events, c.goodbye = append(c.events, "goodbye "+m.Code.String()), m.Text
		return io.EOF
	default:
		c.t.Fatalf("unexpected %T", m)
	}
	return nil
}

func (c *client) packet(raw []byte) {
	c.t.Helper()
	require.True(c.t, codec.VerifyPacket(raw, c.seed), "checksum of %+v", codec.PacketAt(raw))
	h, b, err := codec.ParsePacket(raw)
	require.NoError(c.t, err)
	require.Equal(c.t, c.at, h.First, "packets follow each other")
	require.LessOrEqual(c.t, c.publish, h.PublishTime, "publish times never decrease along a line")
	c.publish = h.PublishTime
	body := codec.PacketBody(&h, b)
	c.each(&body, func(t feed.Tick) {
		if t.Seq >= c.next {
			require.NoError(c.t, c.state.Apply(&t))
			c.ticks = append(c.ticks, t)
		}
	})
	c.skipped += body.NotAsked()
	if n := body.Withheld(); n > 0 {
		c.events = append(c.events, fmt.Sprintf("withheld [%d, %d)", h.First, h.First+n))
	}
	if n, reason := body.Gone(); n > 0 {
		c.gone.Add(h.Range())
		c.events = append(c.events, fmt.Sprintf("gone [%d, %d) %v", h.First, h.First+n, reason))
	}
	c.at = h.First + h.Count
	c.next = max(c.next, c.at)
}

func (c *client) each(b *codec.Body, f func(feed.Tick)) {
	c.t.Helper()
	var batch [7]feed.Tick
	for {
		n, err := b.Decode(batch[:])
		require.NoError(c.t, err)
		if n == 0 {
			return
		}
		for _, t := range batch[:n] {
			f(t)
		}
	}
}

func (c *client) seqs() []uint64 {
	var s []uint64
	for _, t := range c.ticks {
		s = append(s, t.Seq)
	}
	return s
}

// consecutive asserts that the client received every number of [from, to) once, in order.
func (c *client) consecutive(from, to uint64) {
	c.t.Helper()
	require.Len(c.t, c.ticks, int(to-from))
	for i, t := range c.ticks {
		require.Equal(c.t, from+uint64(i), t.Seq)
	}
}
