// Package publishertest serves a feed to the code under test, in the spirit of net/http/httptest: a publisher on a
// random port of this machine or, with [NewNetwork], in memory, which works in a testing/synctest bubble. What goes wrong is a
// method: [Server.Cut], [Server.Silence], [Server.Restart], [Server.Refuse] and others, or a rule of package lab.
//
//	func TestReconnect(t *testing.T) {
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
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"tickfeed/codec"
	"tickfeed/codec/lab"
	"tickfeed/codec/netsim"
	"tickfeed/feed"
	"tickfeed/publisher"
	"tickfeed/publisher/journal/memfs"
)

// A Server is a publisher with a lab before it. Its journal is in memory, so that Kill and Restart lose nothing.
type Server struct {
	Addr string // where clients connect
	// Publisher is the present publisher; Restart and the like replace it.
	Publisher *publisher.Publisher

	t       testing.TB
	cfg     publisher.Config
	network *netsim.Network // nil for TCP
	lab     *lab.Lab
	inner   atomic.Pointer[string] // address of the present publisher
	fs      *memfs.FS
	backup  *memfs.FS
	end     func() error // ends the present publisher
	event   int64        // event time of the last quote of Quotes
	serving sync.WaitGroup
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
	s := &Server{t: t, network: network, fs: new(memfs.FS), event: time.Now().UnixNano()}
	if len(configs) > 0 {
		s.cfg = configs[0]
	}
	if s.cfg.Heartbeat == 0 {
		s.cfg.Heartbeat = Heartbeat
	}
	if network != nil && s.cfg.Sleep == nil {
		s.cfg.Sleep = time.Sleep // which testing/synctest can fake
	}
	s.cfg.Journal = "journal"
	s.open()
	ln, err := s.listen(addr)
	if err != nil {
		t.Fatal("publishertest: ", err)
	}
	s.Addr = ln.Addr().String()
	s.lab = &lab.Lab{Dial: func(ctx context.Context) (net.Conn, error) { return s.dial(ctx, *s.inner.Load()) }}
	ctx, cancel := context.WithCancel(context.Background())
	s.serving.Go(func() { _ = s.lab.Serve(ctx, ln) })
	t.Cleanup(func() {
		cancel()
		s.serving.Wait()
		if err := s.end(); err != nil && !errors.Is(err, publisher.ErrClosed) {
			t.Error("publishertest: ", err)
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

// open starts a publisher over s.fs.
func (s *Server) open() {
	s.t.Helper()
	cfg := s.cfg
	cfg.FS = s.fs
	pub, err := publisher.New(cfg)
	if err != nil {
		s.t.Fatal("publishertest: ", err)
	}
	addr := "127.0.0.1:0"
	if s.network != nil {
		addr = fmt.Sprintf("publisher-%v:1", pub.Lineage().Current().ID)
	}
	ln, err := s.listen(addr)
	if err != nil {
		s.t.Fatal("publishertest: ", err)
	}
	addr = ln.Addr().String()
	s.inner.Store(&addr)
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan struct{})
	go func() {
		defer close(served)
		_ = pub.Serve(ctx, ln)
	}()
	s.Publisher = pub
	s.end = func() error {
		cancel()
		<-served
		return pub.Close(context.Background())
	}
}

func (s *Server) must(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal("publishertest: ", err)
	}
}

// Define registers an instrument with two decimals, and returns its id.
func (s *Server) Define(symbol string) feed.InstrumentID {
	s.t.Helper()
	id, err := s.Publisher.Define(s.t.Context(), feed.Definition{Symbol: symbol, PriceExponent: -2})
	s.must(err)
	s.must(s.Publisher.Flush(s.t.Context()))
	return id
}

// Publish publishes ticks, and returns the number after the last one once they may be sent.
func (s *Server) Publish(ticks ...feed.Tick) (next uint64) {
	s.t.Helper()
	s.must(s.Publisher.Publish(s.t.Context(), ticks))
	s.must(s.Publisher.Flush(s.t.Context()))
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

// Source publishes all ticks of a source: a recording, a file, a simulated market.
func (s *Server) Source(source feed.Source) (next uint64) {
	s.t.Helper()
	_, err := s.Publisher.Feed(s.t.Context(), source, publisher.Pace{})
	s.must(err)
	s.must(s.Publisher.Flush(s.t.Context()))
	return s.Head()
}

// Head returns the next sequence number.
func (s *Server) Head() uint64 { return s.Publisher.Stats().Head }

// End ends the session.
func (s *Server) End() {
	s.t.Helper()
	s.must(s.Publisher.End(s.t.Context()))
}

// Rule adds a rule to the script of the lab, for example "at seq 1000: cut rst"; the verbs are documented in lab.Verbs, the
// triggers in lab.Triggers. It applies until the end of the test.
func (s *Server) Rule(text string) {
	s.t.Helper()
	script, err := lab.Parse("rule", []byte(text))
	s.must(err)
	for _, r := range script.Rules {
		s.lab.Add(r)
	}
}

// do makes a fault happen to all connections now.
func (s *Server) do(fault string) {
	s.t.Helper()
	script, err := lab.Parse("fault", []byte("on now: "+fault))
	s.must(err)
	i := s.lab.Add(script.Rules[0])
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

// Drop leaves out the tick with number seq, once for each client name: what follows does not join.
func (s *Server) Drop(seq uint64) {
	s.t.Helper()
	s.Rule(fmt.Sprintf("at seq %d: drop tick", seq))
}

// Restart stops the publisher in order and starts it again over its journal: the next session continues the numbers.
func (s *Server) Restart() {
	s.t.Helper()
	s.must(s.end())
	s.open()
}

// Kill ends the publisher as kill -9 would, and starts it again over what its journal holds then.
func (s *Server) Kill() {
	s.t.Helper()
	killed := s.fs.Killed()
	s.Cut()
	s.must(s.end())
	s.fs = killed
	s.open()
}

// Backup keeps a copy of the journal for Restore.
func (s *Server) Backup() {
	s.t.Helper()
	s.must(s.Publisher.Flush(s.t.Context()))
	s.backup = s.fs.Killed()
}

// Restore stops the publisher and starts it again over the copy that Backup kept: numbers published since are disowned.
func (s *Server) Restore() {
	s.t.Helper()
	if s.backup == nil {
		s.t.Fatal("publishertest: Restore without Backup")
	}
	s.must(s.end())
	s.fs, s.backup = s.backup, s.backup.Killed()
	s.open()
}

// Replace stops the publisher and starts another one, which has no session in common with it.
func (s *Server) Replace() {
	s.t.Helper()
	s.must(s.end())
	s.fs = new(memfs.FS)
	s.open()
}

// Happened returns how often the rules added by Rule, Drop and Refuse have done something.
func (s *Server) Happened() (n uint64) {
	for _, r := range s.lab.Results() {
		n += r.Times
	}
	return n
}
