package main

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tickfeed/cmd/exam"
	"tickfeed/codec"
	"tickfeed/codec/effort"
	"tickfeed/feed"
)

// A fraud is a publisher that is wrong on purpose: the publisher of this program, and a middle that changes what passes.
type fraud struct {
	name string
	// hears changes a message to the publisher. It returns nil to leave it out.
	hears func(c *frauded, m codec.Message) codec.Message
	// says changes a message of the publisher. It returns nil to leave it out.
	says func(c *frauded, m codec.Message) codec.Message
	// ticks changes what a packet, or with snapshot a part of a snapshot, holds. Numbers without a tick are skipped.
	ticks func(c *frauded, h *codec.Packet, ticks []feed.Tick, snapshot bool) []feed.Tick
	// raw replaces the bytes of a packet or part.
	raw func(c *frauded, typ codec.Type, raw []byte) []byte
	// starts changes the arguments of the publisher before its nth start.
	starts func(n int, o *exam.Orders)
	pulses bool // the middle sends pulses for the client
	holds  bool // the middle does not close before a welcome
	oneBy  bool // the middle writes to one client at a time

	fails  []string // the cases meant for it
	passes []string // cases that it passes, as near to the others as there are
}

// A frauded is a connection through a middle.
type frauded struct {
	run      int // of the fraud in this case, from 1
	n        int // of the run, from 0
	seed     uint32
	filter   codec.Filter
	answered bool // the publisher has welcomed or refused it
	packets  int  // so far
	state    map[string]int
}

// Deliberately wrong publishers. Each fails the cases that are meant for it and passes others.
var frauds = []fraud{
	{name: "changes a price", ticks: fraudTicks(false, func(_ *frauded, t *feed.Tick) {
		if t.Kind == feed.KindQuote {
			t.Values[1]++
		}
	}), fails: []string{"numbers-join", "numbers-kinds"}, passes: []string{"refuse-version", "refuse-garbage"}},
	{name: "leaves out a packet", raw: fraudPacket(5, func(*frauded, []byte) []byte { return nil }),
		fails: []string{"numbers-join"}, passes: []string{"refuse-field", "start-first"}},
	{name: "sends a packet twice", raw: fraudPacket(5, func(_ *frauded, raw []byte) []byte { return append(slices.Clone(raw), raw...) }),
		fails: []string{"numbers-join"}, passes: []string{"start-first"}},
	{name: "leaves a checksum wrong", raw: fraudPacket(2, func(_ *frauded, raw []byte) []byte {
		raw[3] ^= 1
		return raw
	}), fails: []string{"numbers-checksums"}, passes: []string{"refuse-version"}},
	{name: "gives late subscribers other publish times", ticks: func(c *frauded, h *codec.Packet, ticks []feed.Tick, snapshot bool) []feed.Tick {
		if c.n > 2 {
			h.PublishTime++
		}
		return ticks
	}, fails: []string{"numbers-same-on-all-lines"}, passes: []string{"numbers-kinds", "numbers-checksums"}},
	{name: "leaves out an entry of a snapshot", ticks: func(_ *frauded, _ *codec.Packet, ticks []feed.Tick, snapshot bool) []feed.Tick {
		if snapshot {
			return ticks[:len(ticks)-1]
		}
		return ticks
	}, fails: []string{"snapshot-whole", "snapshot-in-flow"}, passes: []string{"numbers-same-on-all-lines"}},
	{name: "gives an old quote in a snapshot", ticks: fraudTicks(true, func(_ *frauded, t *feed.Tick) {
		if t.Kind == feed.KindQuote {
			t.EventTime--
		}
	}), fails: []string{"snapshot-whole", "restart-state"}, passes: []string{"snapshot-definitions", "start-beginning"}},
	{name: "says half a snapshot", says: func(_ *frauded, m codec.Message) codec.Message {
		if _, ok := m.(*codec.SnapshotEnd); ok {
			return nil
		}
		return m
	}, fails: []string{"start-snapshot"}, passes: []string{"start-beginning"}},
	{name: "sends what was not asked for", hears: fraudHello(func(h *codec.Hello) { h.Filter = nil }),
		fails: []string{"filter-hello", "snapshot-filtered"}, passes: []string{"start-beginning", "snapshot-whole"}},
	{name: "skips what was asked for", ticks: func(c *frauded, _ *codec.Packet, ticks []feed.Tick, snapshot bool) []feed.Tick {
		if !snapshot && len(c.filter) > 0 && len(ticks) > 1 {
			return ticks[:len(ticks)-1]
		}
		return ticks
	}, fails: []string{"filter-patterns"}, passes: []string{"numbers-join"}},
	{name: "gives no snapshot of what was added", says: fraudAdded, raw: func(c *frauded, typ codec.Type, raw []byte) []byte {
		if typ == codec.TypeSnapshotPart && c.state["added"] == 1 {
			return nil
		}
		return raw
	}, fails: []string{"filter-change"}, passes: []string{"filter-hello", "filter-requests"}},
	{name: "answers another request", says: func(_ *frauded, m codec.Message) codec.Message {
		if s, ok := m.(*codec.Subscribed); ok {
			s.Request++
		}
		return m
	}, fails: []string{"filter-requests", "filter-everything"}, passes: []string{"filter-hello"}},
	{name: "sends no heartbeats", says: fraudBeats(nil), fails: []string{"life-heartbeats", "life-pulses"}, passes: []string{"numbers-burst"}},
	{name: "sends heartbeats ahead of the data", says: fraudBeats(func(h *codec.Heartbeat) { h.Covered, h.Head = h.Covered+1, h.Head+1 }),
		fails: []string{"life-heartbeats"}, passes: []string{"refuse-version"}},
	{name: "claims numbers that it has not", says: fraudBeats(func(h *codec.Heartbeat) { h.Head += 5 }),
		fails: []string{"life-head"}, passes: []string{"life-heartbeats", "life-pulses"}},
	{name: "keeps dead clients", pulses: true, fails: []string{"life-dead-client"}, passes: []string{"life-heartbeats", "life-pulses"}},
	{name: "believes every pulse", hears: func(_ *frauded, m codec.Message) codec.Message {
		if p, ok := m.(*codec.Pulse); ok {
			p.Next = 0
		}
		return m
	}, fails: []string{"life-pulse-beyond"}, passes: []string{"life-pulses", "hostile-pulse"}},
	{name: "closes without a goodbye", says: func(_ *frauded, m codec.Message) codec.Message {
		if _, ok := m.(*codec.Goodbye); ok {
			return nil
		}
		return m
	}, fails: []string{"life-shutdown", "hostile-second-hello", "start-until"}, passes: []string{"numbers-join", "life-client-leaves"}},
	{name: "tells clients not to come back", says: func(_ *frauded, m codec.Message) codec.Message {
		if g, ok := m.(*codec.Goodbye); ok {
			g.Retry = false
		}
		return m
	}, fails: []string{"life-shutdown"}, passes: []string{"life-pulse-beyond", "life-client-leaves"}},
	{name: "asks hopeless clients to come back", says: func(_ *frauded, m codec.Message) codec.Message {
		if r, ok := m.(*codec.Refusal); ok {
			r.Retry = true
		}
		return m
	}, fails: []string{"refuse-version", "start-seq-beyond", "resume-beyond", "refuse-garbage"}, passes: []string{"life-shutdown"}},
	{name: "believes every client that it has the state", hears: fraudHello(func(h *codec.Hello) { h.HasState = len(h.Position.Lineage) > 0 }),
		fails: []string{"resume-without-state"}, passes: []string{"resume-with-state"}},
	{name: "does not believe that a client has the state", hears: fraudHello(func(h *codec.Hello) { h.HasState = false }),
		fails: []string{"resume-with-state"}, passes: []string{"resume-without-state"}},
	{name: "starts one number late", hears: fraudHello(func(h *codec.Hello) {
		if h.Start.Kind == codec.StartSeq {
			h.Start.Value++
		}
	}), fails: []string{"start-seq"}, passes: []string{"start-time", "start-beginning"}},
	{name: "starts one packet late", hears: fraudHello(func(h *codec.Hello) {
		if h.Start.Kind == codec.StartTime {
			h.Start.Value++
		}
	}), fails: []string{"start-time"}, passes: []string{"start-seq", "start-time-early"}},
	{name: "starts live at the beginning", hears: fraudHello(func(h *codec.Hello) {
		if h.Start.Kind == codec.StartLive {
			h.Start.Kind = codec.StartBeginning
		}
	}), fails: []string{"start-live", "snapshot-definitions"}, passes: []string{"start-snapshot", "start-first"}},
	{name: "forgets its journal", starts: func(_ int, o *exam.Orders) { empty(o.Journal) },
		fails: []string{"restart-orderly", "restart-killed"}, passes: []string{"restart-replaced", "numbers-join"}},
	{name: "gives its numbers again", starts: func(n int, o *exam.Orders) { empty(o.Journal) }, says: fraudSession, ticks: func(c *frauded, _ *codec.Packet, ticks []feed.Tick, _ bool) []feed.Tick { return ticks },
		fails: []string{"restart-killed"}, passes: []string{"numbers-join"}},
	{name: "does not say that numbers are disowned", says: func(_ *frauded, m codec.Message) codec.Message {
		if w, ok := m.(*codec.Welcome); ok && w.Reason == codec.StartedRewound {
			w.Reason = codec.StartedResumed
		}
		return m
	}, fails: []string{"restart-rewound"}, passes: []string{"restart-orderly", "restart-old-position"}},
	{name: "does not say that a session begins", says: func(_ *frauded, m codec.Message) codec.Message {
		if _, ok := m.(*codec.SessionChange); ok {
			return nil
		}
		return m
	}, fails: []string{"restart-history", "restart-old-position"}, passes: []string{"restart-orderly"}},
	{name: "does not say the end", says: func(_ *frauded, m codec.Message) codec.Message {
		if _, ok := m.(*codec.End); ok {
			return nil
		}
		return m
	}, fails: []string{"numbers-end"}, passes: []string{"numbers-join"}},
	{name: "gives everything to those that want the latest", hears: fraudHello(func(h *codec.Hello) { h.Slow = codec.SlowAll }),
		fails: []string{"slow-latest", "slow-disconnect"}, passes: []string{"slow-all"}},
	{name: "waits for the slowest", oneBy: true, fails: []string{"slow-others"}, passes: []string{"numbers-burst"}},
	{name: "waits for a hello for ever", holds: true, fails: []string{"refuse-silence"}, passes: []string{"refuse-version", "hostile-lengths"}},
}

// fraudTicks changes the ticks of packets or, with snapshot, of snapshots.
func fraudTicks(of bool, change func(*frauded, *feed.Tick)) func(*frauded, *codec.Packet, []feed.Tick, bool) []feed.Tick {
	return func(c *frauded, _ *codec.Packet, ticks []feed.Tick, snapshot bool) []feed.Tick {
		if snapshot == of {
			for i := range ticks {
				change(c, &ticks[i])
			}
		}
		return ticks
	}
}

// fraudPacket changes the nth packet of each connection.
func fraudPacket(n int, change func(*frauded, []byte) []byte) func(*frauded, codec.Type, []byte) []byte {
	return func(c *frauded, typ codec.Type, raw []byte) []byte {
		if typ == codec.TypePacket && c.packets == n {
			return change(c, raw)
		}
		return raw
	}
}

func fraudHello(change func(*codec.Hello)) func(*frauded, codec.Message) codec.Message {
	return func(_ *frauded, m codec.Message) codec.Message {
		if h, ok := m.(*codec.Hello); ok && h.MaxVersion == codec.Version {
			change(h)
		}
		return m
	}
}

// fraudBeats changes heartbeats, or leaves them out.
func fraudBeats(change func(*codec.Heartbeat)) func(*frauded, codec.Message) codec.Message {
	return func(_ *frauded, m codec.Message) codec.Message {
		if h, ok := m.(*codec.Heartbeat); ok {
			if change == nil {
				return nil
			}
			change(h)
		}
		return m
	}
}

// fraudAdded leaves out snapshots of what was added.
func fraudAdded(c *frauded, m codec.Message) codec.Message {
	switch m := m.(type) {
	case *codec.SnapshotBegin:
		if c.state["added"] = 0; m.Scope == codec.ScopeAdded {
			c.state["added"] = 1
			return nil
		}
	case *codec.SnapshotEnd:
		if c.state["added"] == 1 {
			return nil
		}
	}
	return m
}

// fraudSession gives all sessions one id.
func fraudSession(c *frauded, m codec.Message) codec.Message {
	if w, ok := m.(*codec.Welcome); ok {
		w.Lineage = feed.Lineage{{ID: 42, First: 1}}
		w.Seed = codec.LineSeed(42, nil)
	}
	return m
}

func empty(dir string) {
	names, _ := filepath.Glob(filepath.Join(dir, "*"))
	for _, name := range names {
		_ = os.RemoveAll(name)
	}
}

// A middle is a fraud in one case.
type middle struct {
	*fraud
	runs    int
	writing sync.Mutex // of oneBy
}

// Start implements exam.Program.
func (f *middle) Start(ctx context.Context, o exam.Orders) (exam.Process, error) {
	exe, err := os.Executable()
	if err != nil {
		return nil, err
	}
	f.runs++
	if f.starts != nil {
		f.starts(f.runs, &o)
	}
	ln, err := net.Listen("tcp", o.Listen)
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "middle") // t.TempDir is too long for a socket
	if err != nil {
		ln.Close()
		return nil, err
	}
	o.Listen = unixPrefix + filepath.Join(dir, "feed.sock")
	c := exam.Command{Args: append([]string{"tickfeed"}, examPublishFlags()...), Path: exe}
	p, err := c.Start(ctx, o)
	if err != nil {
		ln.Close()
		os.RemoveAll(dir)
		return nil, err
	}
	var all sync.WaitGroup
	run := f.runs
	all.Go(func() {
		for n := 0; ; n++ {
			client, err := ln.Accept()
			if err != nil {
				return
			}
			all.Go(func() { f.pass(p.Done(), &frauded{run: run, n: n, state: map[string]int{}}, client, o.Listen) })
		}
	})
	over := &middleProcess{Process: p, done: make(chan struct{})}
	go func() {
		<-p.Done()
		ln.Close()
		all.Wait()
		os.RemoveAll(dir)
		close(over.done)
	}()
	return over, nil
}

// A middleProcess ends when its connections have.
type middleProcess struct {
	exam.Process
	done chan struct{}
}

func (p *middleProcess) Done() <-chan struct{} { return p.done }

// pass passes messages between a client and the publisher, changed.
func (f *middle) pass(stop <-chan struct{}, c *frauded, client net.Conn, addr string) {
	defer client.Close()
	var server net.Conn
	var err error
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(5 * time.Millisecond) { // the publisher starts
		if server, err = dial(context.Background(), addr); err == nil {
			break
		}
		select {
		case <-stop:
			return
		default:
		}
		if time.Now().After(deadline) {
			return
		}
	}
	defer server.Close()
	var down sync.WaitGroup
	defer down.Wait()
	down.Go(func() {
		f.down(c, client, server)
		if f.holds && !c.answered {
			<-stop
		}
		_ = client.(*net.TCPConn).CloseWrite()
		select {
		case <-stop:
		case <-time.After(time.Second):
		}
		client.Close()
	})
	if f.pulses {
		beat, done := time.NewTicker(50*time.Millisecond), make(chan struct{})
		defer beat.Stop()
		defer close(done)
		down.Go(func() {
			for {
				select {
				case <-beat.C:
					if c.wasWelcomed() {
						b, _ := codec.Append(nil, &codec.Pulse{})
						_, _ = server.Write(b)
					}
				case <-done:
					return
				}
			}
		})
	}
	f.up(c, client, server)
	_ = server.(*net.UnixConn).CloseWrite()
}

var welcomed sync.Map // the connections that were welcomed

func (c *frauded) wasWelcomed() bool { _, ok := welcomed.Load(c); return ok }

// up passes the messages of the client. Those that cannot be read pass as they are.
func (f *middle) up(c *frauded, client, server net.Conn) {
	if f.hears == nil {
		_, _ = io.Copy(server, client)
		return
	}
	var seen bytesOf
	r := codec.NewReader(io.TeeReader(client, &seen), codec.MaxMessage)
	for {
		_, raw, err := r.Next()
		if errors.Is(err, codec.ErrMalformed) || errors.Is(err, codec.ErrUnknownMessage) {
			_, _ = server.Write(seen.after(r.Offset()))
			_, _ = io.Copy(server, client)
		}
		if err != nil {
			return
		}
		if m, err := codec.Decode(raw); err == nil {
			if h, ok := m.(*codec.Hello); !ok || h.MaxVersion == codec.Version {
				if m = f.hears(c, m); m == nil {
					continue
				}
				if raw, err = codec.Append(nil, m); err != nil {
					return
				}
			}
		}
		if _, err := server.Write(raw); err != nil {
			return
		}
	}
}

// A bytesOf keeps what a client has sent.
type bytesOf struct{ b []byte }

func (s *bytesOf) Write(b []byte) (int, error) {
	s.b = append(s.b, b...)
	return len(b), nil
}

func (s *bytesOf) after(offset int64) []byte { return s.b[offset:] }

// down passes the messages of the publisher.
func (f *middle) down(c *frauded, client, server net.Conn) {
	r := codec.NewReader(server, codec.MaxMessage)
	for {
		typ, raw, err := r.Next()
		if err != nil {
			return
		}
		if typ == codec.TypePacket || typ == codec.TypeSnapshotPart {
			c.packets++
			raw = f.packet(c, typ, slices.Clone(raw))
		} else if m, err := codec.Decode(raw); err == nil {
			c.note(m)
			if f.says != nil {
				if m = f.says(c, m); m == nil {
					continue
				}
			}
			c.seedOf(m)
			if raw, err = codec.Append(nil, m); err != nil {
				return
			}
		}
		if f.oneBy {
			f.writing.Lock()
		}
		_, err = client.Write(raw)
		if f.oneBy {
			f.writing.Unlock()
		}
		if err != nil {
			return
		}
	}
}

// note remembers what a connection is, from the publisher's words.
func (c *frauded) note(m codec.Message) {
	switch m.(type) {
	case *codec.Welcome:
		c.answered = true
		welcomed.Store(c, true)
	case *codec.Refusal:
		c.answered = true
	}
}

// seedOf remembers the seed of what follows.
func (c *frauded) seedOf(m codec.Message) {
	switch m := m.(type) {
	case *codec.Welcome:
		c.seed = m.Seed
		if m.Seed != codec.LineSeed(m.Lineage.Current().ID, nil) {
			c.filter = codec.Filter{"?"} // some
		}
	case *codec.SessionChange:
		c.seed = m.Seed
	case *codec.Subscribed:
		c.seed = m.Seed
	}
}

// packet changes a packet or a part, and seals it again.
func (f *middle) packet(c *frauded, typ codec.Type, raw []byte) []byte {
	if f.ticks != nil {
		if typ == codec.TypePacket {
			h, body, _ := codec.ParsePacket(raw)
			b := codec.PacketBody(&h, body)
			ticks := decoded(&b)
			if len(ticks) == 0 {
				return raw
			}
			ticks = f.ticks(c, &h, ticks, false)
			var out []byte
			at := h.First
			for i := range ticks {
				if ticks[i].Seq > at {
					out = codec.AppendSkip(out, ticks[i].Seq-at)
				}
				out = codec.AppendTick(out, &ticks[i], h.Base)
				at = ticks[i].Seq + 1
			}
			if at < h.First+h.Count {
				out = codec.AppendSkip(out, h.First+h.Count-at)
			}
			raw = codec.AppendPacket(nil, &h, out, c.seed)
		} else {
			part := codec.SnapshotPart{Seq: codecUint(raw[8:]), Index: codecUint(raw[17:]), Base: int64(codecUint(raw[26:])), Body: raw[codec.PartHeader:]}
			b := codec.PartBody(&part)
			out := make([]byte, codec.PartHeader)
			for _, t := range f.ticks(c, &codec.Packet{}, decoded(&b), true) {
				out = codec.AppendTick(out, &t, part.Base)
			}
			codec.SealPart(out, &part, c.seed)
			raw = out
		}
	}
	if f.raw != nil {
		raw = f.raw(c, typ, raw)
	}
	return raw
}

func codecUint(b []byte) (v uint64) {
	for _, c := range b[:8] {
		v = v<<8 | uint64(c)
	}
	return v
}

func decoded(b *codec.Body) (all []feed.Tick) {
	var batch [64]feed.Tick
	for {
		n, err := b.Decode(batch[:])
		if n == 0 || err != nil {
			return all
		}
		all = append(all, batch[:n]...)
	}
}

// Each deliberately wrong publisher fails the cases that are meant for it, and passes others.
func TestWrongPublishersFail(t *testing.T) {
	if raceEnabled {
		t.Skip("the publishers are processes of their own: the race detector sees nothing of them, and makes them late")
	}
	all := exam.PublisherCases()
	require.GreaterOrEqual(t, len(frauds), 12)
	for i := 0; i < len(frauds); i += effort.Stride(t, 17) {
		f := &frauds[i]
		t.Run(f.name, func(t *testing.T) {
			t.Parallel()
			for _, id := range slices.Concat(f.fails, f.passes) {
				i := slices.IndexFunc(all, func(c *exam.Case) bool { return c.ID == id })
				require.GreaterOrEqual(t, i, 0, id)
				want := exam.Failed
				if slices.Contains(f.passes, id) {
					want = exam.Passed
				}
				x := exam.Exam{Program: &middle{fraud: f}, Limit: 4 * time.Second, Dir: t.TempDir()}
				v := x.Run(t.Context(), all[i])
				if v.Late { // as the exam does
					x.Program = &middle{fraud: f}
					v = x.Again(t.Context(), all[i])
				}
				if v.Fault != nil {
					t.Log(id, ": ", v.Fault.Text)
				}
				assert.Equal(t, want, v.Outcome, "%s: %v", id, v.Fault)
			}
		})
	}
}
