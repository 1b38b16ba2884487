package publisher_test

import (
	"context"
	"crypto/tls"
	"flag"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tickfeed/codec/certs/certstest"
	"tickfeed/codec/netsim"
	"tickfeed/feed"
	"tickfeed/publisher"
)

var overTLS = flag.Bool("tls", false, "make the connections of the tests with a world TLS")

const noon = int64(1_767_700_800_000_000_000)

// A world is a publisher on a simulated network, in virtual time.
type world struct {
	t      *testing.T
	net    *netsim.Network
	pub    *publisher.Publisher
	ids    []feed.InstrumentID
	serve  chan error
	cancel context.CancelFunc
	trust  *tls.Config
	silent bool // nothing is published, no instruments either
}

// start makes a publisher with instruments A0, A1, B0 and serves it at pub:1.
func start(t *testing.T, cfg publisher.Config) *world {
	t.Helper()
	w := &world{t: t, net: netsim.New(1, netsim.Config{})}
	w.open(cfg)
	t.Cleanup(w.stop)
	return w
}

// startRecorded is start for a publisher of recorded ticks.
func startRecorded(t *testing.T, cfg publisher.Config, origin publisher.Origin) *world {
	t.Helper()
	w := &world{t: t, net: netsim.New(1, netsim.Config{})}
	cfg.Sleep = time.Sleep
	pub, err := publisher.NewRecorded(cfg, origin)
	require.NoError(t, err)
	w.serveWith(pub.Publisher)
	t.Cleanup(w.stop)
	return w
}

func (w *world) open(cfg publisher.Config) {
	w.t.Helper()
	cfg.Sleep = time.Sleep
	w.encrypt(&cfg)
	pub, err := publisher.New(cfg)
	require.NoError(w.t, err)
	w.serveWith(pub)
}

func (w *world) serveWith(pub *publisher.Publisher) {
	w.t.Helper()
	w.pub, w.ids = pub, nil
	w.define()
	ctx, cancel := context.WithCancel(context.Background())
	w.cancel, w.serve = cancel, make(chan error, 1)
	ln, err := w.net.Listen("pub:1")
	require.NoError(w.t, err)
	go func() { w.serve <- pub.Serve(ctx, ln) }()
}

func (w *world) define() {
	w.t.Helper()
	if w.silent {
		return
	}
	for _, s := range []string{"A0", "A1", "B0"} {
		id, err := w.pub.Define(context.Background(), feed.Definition{Symbol: s, PriceExponent: -2})
		require.NoError(w.t, err)
		w.ids = append(w.ids, id)
	}
	require.NoError(w.t, w.pub.Flush(context.Background())) // so that clients that join find them
}

func (w *world) stop() {
	if w.pub == nil {
		return
	}
	w.cancel()
	<-w.serve
	assert.NoError(w.t, w.pub.Close(context.Background()))
	w.pub = nil
}

// quotes publishes n quotes, round robin over the instruments, and flushes.
func (w *world) quotes(n int) {
	w.t.Helper()
	ticks := make([]feed.Tick, n)
	for i := range ticks {
		p := int64(100 + i)
		ticks[i] = feed.Quote{Bid: p, BidSize: 1, Ask: p + 1, AskSize: 2}.Tick(w.ids[i%len(w.ids)], noon+int64(i))
	}
	require.NoError(w.t, w.pub.Publish(context.Background(), ticks))
	require.NoError(w.t, w.pub.Flush(context.Background()))
}

// encrypt makes the connections TLS, if the tests were run with -tls and the test has no TLS of its own.
func (w *world) encrypt(cfg *publisher.Config) {
	if *overTLS && cfg.TLS == nil {
		a := certstest.NewAuthority("test")
		cfg.TLS = &tls.Config{Certificates: []tls.Certificate{a.Issue(certstest.Want{Names: []string{"pub"}}).TLS}}
		w.trust = &tls.Config{RootCAs: a.Pool(), ServerName: "pub"}
	}
}

// connect dials, and speaks TLS if the publisher does.
func (w *world) connect(ctx context.Context, addr string) (net.Conn, error) {
	return w.connectFrom(ctx, w.net.From("client"), addr)
}

// connectFrom does what connect does, with the dialler of another host.
func (w *world) connectFrom(ctx context.Context, from *netsim.Dialer, addr string) (net.Conn, error) {
	nc, err := from.Dial(ctx, addr)
	if err == nil && w.trust != nil {
		return tls.Client(nc, w.trust), nil
	}
	return nc, err
}
