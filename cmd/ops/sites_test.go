package ops_test

import (
	"context"
	"net"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"tickfeed/cmd/ops"
	"tickfeed/cmd/ops/opstest"
	"tickfeed/codec/lab"
	"tickfeed/codec/recording"
	"tickfeed/feed"
	"tickfeed/publisher"
	"tickfeed/publisher/publishertest"
	"tickfeed/publisher/replay"
	"tickfeed/subscriber"
)

// A world has a site of each command, whose parts are connected: the subscriber reads through the lab what the publisher
// publishes.
type world struct {
	sites  map[string]*ops.Site
	server *publishertest.Server
	aapl   feed.InstrumentID
	view   *ops.Publisher
	sub    *subscriber.Subscriber
	subs   *ops.Subscriptions
	rules  ops.Rules
	player *replay.Player
}

// hostile is a name that a page, a terminal or a scraper might take for something else.
const hostile = "<script>\"x\"\x1b[31m\u009b\n# HELP \xff"

func newWorld(t testing.TB) *world {
	t.Helper()
	w := &world{server: publishertest.New(t)}
	w.aapl = w.server.Define("AAPL")
	w.server.Quotes(w.aapl, 100)
	w.view = ops.NewPublisher(w.server.Publisher(), time.Minute)
	var running sync.WaitGroup
	ctx, stop := context.WithCancel(context.Background())
	t.Cleanup(running.Wait)
	t.Cleanup(stop)

	script, err := lab.Parse("test", []byte("on storm: cut rst\nat seq 1000000: stall 1s"))
	require.NoError(t, err)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	var upstream ops.Upstream
	w.rules = ops.Rules{Lab: &lab.Lab{Script: script, Dial: func(ctx context.Context) (net.Conn, error) {
		nc, err := new(net.Dialer).DialContext(ctx, "tcp", w.server.Addr)
		upstream.Note(err)
		return nc, err
	}}}
	running.Go(func() { _ = w.rules.Lab.Serve(ctx, ln) })

	live := make(chan struct{}, 1)
	w.sub, err = subscriber.New(subscriber.Config{Addrs: []string{ln.Addr().String()}, Client: hostile, Start: subscriber.Beginning, Filter: []string{"A*", "B*"}})
	require.NoError(t, err)
	w.subs = ops.NewSubscriptions(w.sub)
	running.Go(func() {
		_ = w.sub.Run(ctx, func(b *subscriber.Batch) error {
			if b.Change != nil && b.Change.Report != nil {
				w.subs.Note(b.Change.Report)
			}
			if b.Change != nil && b.Change.State == subscriber.Live {
				select {
				case live <- struct{}{}:
				default:
				}
			}
			return nil
		})
	})
	select {
	case <-live:
	case <-time.After(patience):
		t.Fatal("the subscriber is not live")
	}
	in, err := recording.Open("../../testdata/day.tick")
	require.NoError(t, err)
	t.Cleanup(func() { in.Close() })
	door, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	stage, err := replay.NewStage(publisher.Config{}, 0, t.TempDir(), []net.Listener{door})
	require.NoError(t, err)
	w.player, err = replay.New(replay.Config{Recordings: []replay.Recording{{Name: "day.tick", R: in, Size: in.Size()}}, Paused: true}, stage)
	require.NoError(t, err)
	played := make(chan struct{})
	running.Go(func() { _ = stage.Run(ctx) })
	running.Go(func() {
		defer close(played)
		_ = w.player.Run(ctx)
	})
	t.Cleanup(func() {
		stop()
		<-played
		_ = stage.Close()
	})
	// The status is that of a replay that has begun.
	require.Eventually(t, func() bool { return stage.Publisher() != nil }, patience, time.Millisecond)

	played2 := &ops.Publisher{Get: func() *publisher.Publisher { return stage.Publisher().Publisher }}
	status := func() any { return w.player.Status() }
	w.sites = map[string]*ops.Site{
		"publish": {
			Status: func() any { return w.server.Publisher().Summary() }, Ready: w.view.Ready, Conns: w.view.Conns,
			Metrics: []ops.Collector{w.view.Metrics}, Details: []ops.Collector{w.view.Details}, Routes: w.view.Routes(),
		},
		"replay": {
			Status: status, Ready: played2.Ready, Conns: played2.Conns, Metrics: []ops.Collector{played2.Metrics, ops.ReplayMetrics(w.player)},
			Details: []ops.Collector{played2.Details}, Routes: append(played2.Routes(), ops.ReplayRoutes(w.player, time.UTC, status)...),
		},
		"subscribe": {
			Status: func() any { return w.sub.Status() }, Ready: w.subs.Ready, Conns: w.subs.Conns,
			Metrics: []ops.Collector{w.subs.Metrics}, Details: []ops.Collector{w.subs.Details},
		},
		"record": {
			Status: func() any { return w.sub.Status() }, Ready: func() []ops.Check { return append(w.subs.Ready(), ops.OutputReady(false)) },
			Conns: w.subs.Conns, Details: []ops.Collector{w.subs.Details},
			Metrics: []ops.Collector{w.subs.Metrics, ops.RecordingMetrics(func() int64 { return 7 }, func() int64 { return 3 }, func() bool { return false })},
		},
		"lab": {
			Status: func() any { return w.rules.List() }, Ready: upstream.Ready, Metrics: []ops.Collector{w.rules.Metrics},
			Details: []ops.Collector{w.rules.Details}, Routes: ops.RuleRoutes(w.rules),
		},
	}
	for name, s := range w.sites {
		s.Command, s.Version, s.Profiles = name, "test", true
	}
	return w
}

// patience bounds what a test waits for.
const patience = 30 * time.Second

// ask sends a request to the site of a command: see [opstest.Ask].
func (w *world) ask(command, method, path, body string, header ...string) *http.Response {
	return opstest.Ask(w.sites[command].Handler(), method, path, body, header...).Result()
}

// json are the headers of a program that asks for an effect.
var json = []string{"Content-Type", "application/json"}

func dialTCP(t *testing.T, addr string) net.Conn {
	t.Helper()
	nc, err := net.Dial("tcp", addr)
	require.NoError(t, err)
	t.Cleanup(func() { nc.Close() })
	return nc
}
