// Package publishertest serves a feed to the code under test, in the spirit of net/http/httptest: a publisher on a
// random port of this machine or, with [NewNetwork], in memory, which works in a testing/synctest bubble. What goes wrong is a
// method: [Server.Cut], [Server.Silence], [Server.Restart], [Server.Refuse] and others, or a rule of package lab.
//
//	func TestReconnectSeesTheNextNumber(t *testing.T) {
//		s := publishertest.New(t)
//		aapl := s.Define("AAPL")
//		c := connect(t, s.Addr)                     // the client under test
//		s.Rule("at seq 500: cut rst")               // before number 500, once
//		s.Quotes(aapl, 1000)
//		require.Equal(t, 1001, c.receivedUpTo())    // and none twice
//	}
//
// Everything is closed when the test ends. A method that fails ends the test with t.Fatal; only the goroutine of the test may
// call them.
package publishertest

import (
	"context"
	"fmt"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	"tickfeed/codec"
	"tickfeed/codec/lab"
	"tickfeed/codec/netsim"
	"tickfeed/feed"
	"tickfeed/publisher"
	"tickfeed/publisher/hosted"
)

// A Server is a publisher with a lab before it. Its journal is in memory, so that Kill and Restart lose nothing.
type Server struct {
	Addr string // where clients connect

	t       testing.TB
	network *netsim.Network // nil for TCP
	lab     *lab.Lab
	host    *hosted.Publisher
	event   int64 // event time of the last quote of Quotes
	serving sync.WaitGroup

	mu          sync.Mutex
	definitions []feed.Definition // each publisher makes them
	faults      []lab.Event
}

// Heartbeat is the heartbeat interval of a server whose Config sets none. It is short, so that tests of dead peers are.
const Heartbeat = 50 * time.Millisecond

// New starts a publisher on a random port of 127.0.0.1. Journal and FS of configs, of which at most one may be given, are
// ignored.
func New(t testing.TB, configs ...publisher.Config) *Server {
	t.Helper()
	return start(t, nil, "127.0.0.1:0", configs)
}

// NewNetwork starts a publisher at addr of a simulated network, for clients that dial there; see [Server.Dial].
func NewNetwork(t testing.TB, network *netsim.Network, addr string, configs ...publisher.Config) *Server {
	t.Helper()
	return start(t, network, addr, configs)
}

func start(t testing.TB, network *netsim.Network, addr string, configs []publisher.Config) *Server {
	t.Helper()
	s := &Server{t: t, network: network, event: time.Now().UnixNano()}
	var cfg publisher.Config
	if len(configs) > 0 {
		cfg = configs[0]
	}
	if cfg.Heartbeat == 0 {
		cfg.Heartbeat = Heartbeat
	}
	if network != nil && cfg.Sleep == nil {
		cfg.Sleep = time.Sleep // which testing/synctest can fake
	}
	var err error
	s.host, err = hosted.New(t.Context(), hosted.Config{
		Publisher: cfg, Dial: s.dial, Began: s.define,
		Listen: func(life uint64) (net.Listener, error) {
			if network == nil {
				return net.Listen("tcp", "127.0.0.1:0")
			}
			return network.Listen(fmt.Sprintf("publisher-%d:1", life))
		},
	})
	s.must(err)
	ln, err := s.listen(addr)
	s.must(err)
	s.Addr = ln.Addr().String()
	s.lab = &lab.Lab{Dial: s.host.Dial, Publisher: s.host, Event: s.happened}
	ctx, cancel := context.WithCancel(context.Background())
	s.serving.Go(func() {
		if err := s.lab.Serve(ctx, ln); ctx.Err() == nil {
			t.Error("publishertest: ", err)
		}
	})
	t.Cleanup(func() {
		cancel()
		s.serving.Wait()
		if err := s.host.Close(); err != nil {
			t.Error("publishertest:", err)
		}
		for _, r := range s.lab.Results() {
			if r.Times == 0 && r.Rule.Trigger.When != lab.WithChance && !t.Failed() {
				if r.Why != "" {
					r.Why = ": " + r.Why
				}
				t.Errorf("publishertest: the rule %q never did anything%s", r.Text, r.Why)
			}
		}
	})
	return s
}

func (s *Server) listen(addr string) (net.Listener, error) {
	if s.network != nil {
		return s.network.Listen(addr)
	}
	return net.Listen("tcp", addr)
}

func (s *Server) dial(ctx context.Context, addr string) (net.Conn, error) {
	if s.network != nil {
		return s.network.From("lab").Dial(ctx, addr)
	}
	return new(net.Dialer).DialContext(ctx, "tcp", addr)
}

// Dial connects to the server, for a client that takes a function such as subscriber.Config.Dial.
func (s *Server) Dial(ctx context.Context, addr string) (net.Conn, error) {
	if s.network != nil {
		return s.network.Dial(ctx, addr)
	}
	return new(net.Dialer).DialContext(ctx, "tcp", addr)
}

// define makes the instruments of Define known to a publisher that begins.
func (s *Server) define(ctx context.Context, pub *publisher.Publisher) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, d := range s.definitions {
		if _, err := pub.Define(ctx, d); err != nil {
			return err
		}
	}
	return nil
}

func (s *Server) happened(e lab.Event) {
	if e.Line > 0 {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.faults = append(s.faults, e)
	}
}

// Publisher returns the present publisher, once it is there; Restart and the like replace it.
func (s *Server) Publisher() *publisher.Publisher {
	s.t.Helper()
	pub, err := s.host.Wait(s.t.Context())
	s.must(err)
	return pub
}

func (s *Server) must(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal("publishertest: ", err)
	}
}

// Define registers an instrument with two decimals, and returns its id. A publisher that is started again has it too.
func (s *Server) Define(symbol string) (id feed.InstrumentID) {
	s.t.Helper()
	d := feed.Definition{Symbol: symbol, PriceExponent: -2}
	s.must(s.host.Do(s.t.Context(), func(pub *publisher.Publisher) (err error) {
		if id, err = pub.Define(s.t.Context(), d); err == nil {
			err = pub.Flush(s.t.Context())
		}
		return err
	}))
	s.mu.Lock()
	defer s.mu.Unlock()
	s.definitions = append(s.definitions, d)
	return id
}

// Publish publishes ticks, and returns the number after the last one once they may be sent. If a rule ends the publisher
// meanwhile, Publish waits for the next one, and goes on with what has not survived.
func (s *Server) Publish(ticks ...feed.Tick) (next uint64) {
	s.t.Helper()
	s.must(s.host.Publish(s.t.Context(), ticks))
	return s.Head()
}

// Quotes publishes n quotes of an instrument, one a packet, whose bids are the numbers of the ticks, and returns the number
// after the last one.
func (s *Server) Quotes(id feed.InstrumentID, n int) (next uint64) {
	s.t.Helper()
	for range n {
		s.event++
		bid := int64(s.Head())
		s.Publish(feed.Quote{Bid: bid, BidSize: 1, Ask: bid + 1, AskSize: 1}.Tick(id, s.event))
	}
	return s.Head()
}

// Source publishes all ticks of a source: a recording, a file, a simulated market. No rule may end the publisher meanwhile.
func (s *Server) Source(source feed.Source) (next uint64) {
	s.t.Helper()
	pub := s.Publisher()
	_, err := pub.Feed(s.t.Context(), source, publisher.Pace{})
	s.must(err)
	s.must(pub.Flush(s.t.Context()))
	return s.Head()
}

// Head returns the next sequence number.
func (s *Server) Head() uint64 {
	s.t.Helper()
	return s.Publisher().Stats().Head
}

// End ends the session.
func (s *Server) End() {
	s.t.Helper()
	s.must(s.host.Do(s.t.Context(), func(pub *publisher.Publisher) error { return pub.End(s.t.Context()) }))
}

// Rule adds rules to the script of the lab, for example "at seq 1000: cut rst" or "at seq 1000: kill for 10ms"; the verbs are
// documented in lab.Verbs, the triggers in lab.Triggers. They apply until the end of the test, which fails if one of them,
// except one with a chance, never did anything. Before "at seq N: cut fin" a client receives every number below N; a reset, cut rst, throws away what
// the client has not read yet.
func (s *Server) Rule(text string) {
	s.t.Helper()
	script, err := lab.Parse("rule", []byte(text))
	s.must(err)
	for _, r := range script.Rules {
		_, err := s.lab.Add(r)
		s.must(err)
	}
}

// do makes a fault happen to all connections now.
func (s *Server) do(fault string) {
	s.t.Helper()
	script, err := lab.Parse("fault", []byte("on now: "+fault))
	s.must(err)
	i, err := s.lab.Add(script.Rules[0])
	s.must(err)
	s.lab.Trigger("now")
	s.lab.Remove(i)
}

// Cut resets all connections.
func (s *Server) Cut() { s.do("cut rst") }

// Silence lets no byte reach the clients from now on; the connections stay open.
func (s *Server) Silence() { s.do("half-open in") }

// Stall lets no byte pass in either direction for d.
func (s *Server) Stall(d time.Duration) { s.do("stall " + d.String()) }

// Goodbye ends all connections with a goodbye, before the next message, that asks the clients to come back after retry.
func (s *Server) Goodbye(code codec.Code, retry time.Duration) {
	s.t.Helper()
	s.do(fmt.Sprintf("goodbye %d%s", code, after(retry)))
}

// Refuse refuses the next n logins of each client name, and asks the clients to come back after retry. A negative retry
// tells them not to come back.
func (s *Server) Refuse(code codec.Code, retry time.Duration, n int) {
	s.t.Helper()
	s.Rule(fmt.Sprintf("at login 1: refuse %d%s %d times", code, after(retry), n))
}

func after(retry time.Duration) string {
	switch {
	case retry < 0:
		return " for good"
	case retry > 0:
		return " retry " + retry.String()
	}
	return ""
}

// Drop leaves out the tick with number seq, once for each client name: what follows does not join. It must be called before number
// seq is published, since a client that has it already would miss a later one. For clients that start later there is
// Rule("at seq N: drop tick").
func (s *Server) Drop(seq uint64) {
	s.t.Helper()
	if head := s.Head(); seq < head {
		s.t.Fatalf("publishertest: number %d cannot be dropped: it was published already, and the next number is %d", seq, head)
	}
	s.Rule(fmt.Sprintf("at seq %d: drop tick", seq))
}

// Restart stops the publisher in order and starts it again over its journal: the next session continues the numbers.
func (s *Server) Restart() {
	s.t.Helper()
	s.do("restart")
}

// Kill ends the publisher as kill -9 would, and starts it again over what its journal holds then.
func (s *Server) Kill() {
	s.t.Helper()
	s.do("kill")
}

// Backup keeps a copy of the journal for Restore.
func (s *Server) Backup() {
	s.t.Helper()
	s.must(s.Publisher().Flush(s.t.Context()))
	s.do("copy journal")
}

// Restore stops the publisher and starts it again over the copy that Backup kept: numbers published since are disowned.
func (s *Server) Restore() {
	s.t.Helper()
	s.do("restart over copy")
}

// Replace stops the publisher and starts another one, which has no session in common with it.
func (s *Server) Replace() {
	s.t.Helper()
	s.do("restart over none")
}

// Freeze suspends the publisher for d, as SIGSTOP does: its connections stay open, and Publish waits.
func (s *Server) Freeze(d time.Duration) {
	s.t.Helper()
	s.do("freeze for " + d.String())
}

// FillDisk leaves no room on the disk of the journal for d: Publish waits.
func (s *Server) FillDisk(d time.Duration) {
	s.t.Helper()
	s.do("disk full for " + d.String())
}

// Faults returns what the rules and methods have done so far, in order.
func (s *Server) Faults() []lab.Event {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.faults)
}

// Happened returns how often the rules added by Rule, Drop and Refuse have done something.
func (s *Server) Happened() (n uint64) {
	for _, r := range s.lab.Results() {
		n += r.Times
	}
	return n
}
