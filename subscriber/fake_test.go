package subscriber

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"tickfeed/codec"
	"tickfeed/codec/netsim"
	"tickfeed/feed"
)

// Values chosen to be read.
const (
	sessionA feed.SessionID = 0x20261122a
	sessionB feed.SessionID = 0x20261122b
	sessionC feed.SessionID = 0x20261122c
	interval                = time.Second
)

var lineageA = feed.Lineage{{ID: sessionA, First: 1}}

func seedA() uint32 { return codec.LineSeed(sessionA, nil) }

// welcomeA returns the welcome of a publisher of session A with numbers [1, head) for a line that starts at start.
func welcomeA(start, head uint64, reason codec.StartReason) *codec.Welcome {
	return &codec.Welcome{
		Version: 1, Server: "fake", Lineage: lineageA, Head: head, Tail: 1, Heartbeat: interval,
		Seed: seedA(), Start: start, Reason: reason, Now: 1000,
	}
}

func definition(id feed.InstrumentID) feed.Tick {
	return feed.Tick{Kind: feed.KindDefinition, Instrument: id, Extra: &feed.Extra{Definition: &feed.Definition{Symbol: fmt.Sprintf("S%d", id)}}}
}

func quote(id feed.InstrumentID, bid int64) feed.Tick {
	return feed.Quote{Bid: bid, BidSize: 1, Ask: bid + 1, AskSize: 1}.Tick(id, 100)
}

// body returns a body with the given entries: a tick, an int that skips numbers or, if negative, withholds them, or a gone.
type gone struct {
	n      uint64
	reason codec.GoneReason
}

func packet(seed uint32, first uint64, entries ...any) []byte {
	var body []byte
	count := uint64(0)
	for _, e := range entries {
		switch e := e.(type) {
		case feed.Tick:
			body = codec.AppendTick(body, &e, 0)
			count++
		case int:
			if e < 0 {
				body = codec.AppendWithheld(body, uint64(-e))
				count += uint64(-e)
			} else {
				body = codec.AppendSkip(body, uint64(e))
				count += uint64(e)
			}
		case gone:
			body = codec.AppendGone(body, e.n, e.reason)
			count += e.n
		}
	}
	return codec.AppendPacket(nil, &codec.Packet{First: first, Count: count, PublishTime: 500}, body, seed)
}

// ticksA is a packet of session A with quotes [from, to), whose bids are their numbers.
func ticksA(from, to uint64) []byte { return ticksOf(seedA(), from, to) }

func ticksOf(seed uint32, from, to uint64) []byte {
	var entries []any
	for seq := from; seq < to; seq++ {
		entries = append(entries, quote(0, int64(seq)))
	}
	return packet(seed, from, entries...)
}

func message(m codec.Message) []byte {
	raw, err := codec.Append(nil, m)
	if err != nil {
		panic(err)
	}
	return raw
}

// snapshot returns a whole snapshot that defines instruments 0 and 1, and has a quote of the first one.
func snapshot(seed uint32, seq uint64, scope codec.ScopeKind) []byte {
	s := feed.NewState()
	for _, t := range []feed.Tick{definition(0), definition(1), quote(0, 7)} {
		if err := s.Apply(&t); err != nil {
			panic(err)
		}
	}
	entries := s.Entries(nil)
	if scope == codec.ScopeDefinitions {
		entries = s.Definitions(nil)
	}
	raw, err := codec.AppendSnapshot(nil, &codec.SnapshotBegin{Seq: seq, Scope: scope}, entries, seed)
	if err != nil {
		panic(err)
	}
	return raw
}

func heartbeat(covered, head uint64) []byte {
	return message(&codec.Heartbeat{Covered: covered, Head: head, Now: 2000})
}

// A peer is one accepted connection of a fake publisher.
type peer struct {
	net.Conn
	reader *codec.Reader
	hello  *codec.Hello
	mu     sync.Mutex
	pulses []codec.Pulse
	bye    *codec.Goodbye
	subs   chan *codec.Subscribe
	gone   chan struct{} // closed when the client has left
}

// send writes all in one piece, so that batches do not depend on when the client reads.
func (p *peer) send(raws ...[]byte) { _, _ = p.Write(slices.Concat(raws...)) }

// beat sends heartbeats of a caught-up line until the client has left or d has passed.
func (p *peer) beat(next uint64, d time.Duration) {
	for end := time.Now().Add(d); time.Now().Before(end); {
		select {
		case <-p.gone:
			return
		case <-time.After(interval):
			p.send(heartbeat(next, next))
		}
	}
}

func (p *peer) listen() {
	defer close(p.gone)
	for {
		t, raw, err := p.reader.Next()
		if err != nil {
			return
		}
		m, err := codec.Decode(raw)
		if err != nil {
			panic(fmt.Sprintf("client sent a bad %v: %v", t, err))
		}
		switch m := m.(type) {
		case *codec.Pulse:
			p.mu.Lock()
			p.pulses = append(p.pulses, *m)
			p.mu.Unlock()
		case *codec.Goodbye:
			p.mu.Lock()
			p.bye = m
			p.mu.Unlock()
		case *codec.Subscribe:
			p.subs <- m
		default:
			panic(fmt.Sprintf("client sent %v", t))
		}
	}
}

func (p *peer) lastPulse() (pulse codec.Pulse, count int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.pulses) == 0 {
		return pulse, 0
	}
	return p.pulses[len(p.pulses)-1], len(p.pulses)
}

func (p *peer) goodbye() *codec.Goodbye {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.bye
}

// publish serves one connection after the other by scripts; the last one serves all that follow. When a script returns the
// connection is closed.
func publish(network *netsim.Network, addr string, scripts ...func(*peer)) (stop func()) {
	ln, err := network.Listen(addr)
	if err != nil {
		panic(err)
	}
	var serving sync.WaitGroup
	serving.Go(func() {
		for i := 0; ; i++ {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			script := scripts[min(i, len(scripts)-1)]
			serving.Go(func() {
				p := &peer{Conn: conn, reader: codec.NewReader(conn, 0), subs: make(chan *codec.Subscribe, 8), gone: make(chan struct{})}
				_, raw, err := p.reader.Next()
				if err != nil {
					conn.Close()
					return
				}
				m, err := codec.Decode(raw)
				if err != nil {
					panic(err)
				}
				p.hello = m.(*codec.Hello)
				serving.Go(p.listen)
				script(p)
				conn.Close()
			})
		}
	})
	return func() {
		synctest.Wait() // what the client said last is read
		ln.Close()
		for _, l := range network.Links() {
			l.Reset()
		}
		serving.Wait()
	}
}

// An app is a handler that records its batches in words.
type app struct {
	events  []string
	ticks   []feed.Tick
	reports []Report
	onTick  func(seq uint64) error
	on      func(*Batch) error
}

func (a *app) handle(b *Batch) error {
	switch c := b.Change; {
	case b.Snapshot:
		a.events = append(a.events, fmt.Sprintf("snapshot of %d entries", len(b.Ticks)))
	case c == nil:
		first, last := b.Ticks[0].Seq, b.Ticks[len(b.Ticks)-1].Seq
		a.events = append(a.events, fmt.Sprintf("ticks %d to %d", first, last))
		if a.onTick != nil {
			if err := a.onTick(last); err != nil {
				return err
			}
		}
		a.ticks = append(a.ticks, b.Ticks...)
	default:
		s := c.State.String()
		for _, ns := range []struct {
			word    string
			numbers []Numbers
		}{{"withheld", c.Withheld}, {"lost", c.Lost}, {"disowned", c.Disowned}} {
			for _, n := range ns.numbers {
				s += fmt.Sprintf(", %s %v", ns.word, n.Range)
			}
		}
		if c.Filtered != nil {
			s += fmt.Sprintf(", filter %v from %d", c.Filtered.Filter, c.Filtered.From)
		}
		if c.End {
			s += fmt.Sprintf(", end at %d", c.Final)
		}
		if c.Report != nil {
			a.reports = append(a.reports, *c.Report)
			s += fmt.Sprintf(", recovered from %s by %s", c.Report.Cause, c.Report.Resume)
		}
		if c.Snapshot != nil {
			s += fmt.Sprintf(", snapshot as of %d", c.Snapshot.Seq)
		}
		a.events = append(a.events, s)
	}
	if a.on != nil {
		return a.on(b)
	}
	return nil
}

var errEnough = errors.New("enough")

func seqs(ticks []feed.Tick) []uint64 {
	var out []uint64
	for _, t := range ticks {
		out = append(out, t.Seq)
	}
	return out
}

// inBubble runs f in a synctest bubble with a network and a base Config.
func inBubble(t *testing.T, f func(t *testing.T, network *netsim.Network, cfg Config)) {
	synctest.Test(t, func(t *testing.T) {
		network := netsim.New(1, netsim.Config{})
		f(t, network, Config{Addrs: []string{"pub:1"}, Dial: network.Dial, Seed: 1})
	})
}

func mustNew(t *testing.T, cfg Config) *Subscriber {
	t.Helper()
	s, err := New(cfg)
	require.NoError(t, err)
	return s
}

func runFor(d time.Duration, s *Subscriber, a *app) error {
	ctx, cancel := context.WithTimeout(context.Background(), d)
	defer cancel()
	return s.Run(ctx, a.handle)
}
