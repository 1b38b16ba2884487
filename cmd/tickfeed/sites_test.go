package main

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tickfeed/cmd/ops"
	"tickfeed/cmd/ops/opstest"
	"tickfeed/codec/lab"
	"tickfeed/codec/recording"
	"tickfeed/feed/sim"
	"tickfeed/publisher"
	"tickfeed/publisher/publishertest"
	"tickfeed/publisher/replay"
	"tickfeed/subscriber"
)

// markup is a name that a page, a terminal or a scraper might take for something else.
const markup = "<script>\"x\"\x1b[31m\u009b\n# HELP \xff"

// The sites are those that the commands serve. Their parts run and are connected: the subscriber reads what the publisher publishes.
type sites struct {
	byCommand map[string]ops.Site
	effects   atomic.Int64 // calls of a route with an effect
	market    *director    // of the publisher
	lab       *lab.Lab
}

func newSites(t testing.TB) *sites {
	t.Helper()
	s := &sites{}
	server := publishertest.New(t)
	server.Quotes(server.Define("<script>"), 100)
	var running sync.WaitGroup
	ctx, stop := context.WithCancel(context.Background())
	t.Cleanup(running.Wait)
	t.Cleanup(stop)

	s.market = &director{}
	s.newMarket(t)
	reads := 0
	publish := &service{
		p: &program{stdout: io.Discard, stderr: io.Discard}, pub: server.Publisher(), drains: make(chan drainage, 1),
		o: &publishOptions{commands: true, staleAfter: time.Minute}, input: &input{paths: []string{"<b>.csv"}, director: s.market},
		reload: &reloader{log: zerolog.Nop(), files: []reloadable{{"<i>", func() (string, error) {
			if reads++; reads%2 == 0 {
				return "", errors.New("x.pem: <b>\x1b no certificate")
			}
			return "<b>\x1b", nil
		}}}},
	}

	sub, err := subscriber.New(subscriber.Config{Addrs: []string{server.Addr}, Client: markup, Start: subscriber.Beginning})
	require.NoError(t, err)
	live := make(chan struct{})
	view := ops.NewSubscriptions(sub)
	running.Go(func() {
		begun := sync.OnceFunc(func() { close(live) })
		_ = sub.Run(ctx, func(b *subscriber.Batch) error {
			if b.Change != nil && b.Change.State == subscriber.Live {
				begun()
			}
			return nil
		})
	})
	select {
	case <-live:
	case <-time.After(patience):
		t.Fatal("the subscriber is not live")
	}
	subs := []*subscriber.Subscriber{sub}
	subscribe := subscriptionSite("subscribe", view, func() any { return newSubscriptionStatus(subs) })
	subscribe.Routes = append(subscribe.Routes, symbolsRoute(newCommander(func(string, ...any) {}, nil, subs)))

	script, err := lab.Parse("test", []byte("on storm: cut rst\nfor <b> at seq 1000000: stall 1s"))
	require.NoError(t, err)
	s.lab = &lab.Lab{Script: script}
	reached := &ops.Upstream{}

	in, err := recording.Open("../../testdata/day.tick")
	require.NoError(t, err)
	t.Cleanup(func() { in.Close() })
	door, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	play := &replaying{zone: time.UTC, names: []string{"<b>\x1b.tick"}}
	play.stage, err = replay.NewStage(publisher.Config{}, 0, t.TempDir(), []net.Listener{door})
	require.NoError(t, err)
	play.player, err = replay.New(replay.Config{Recordings: []replay.Recording{{Name: "<b>.tick", R: in, Size: in.Size()}}, Paused: true}, play.stage)
	require.NoError(t, err)
	played := make(chan struct{})
	running.Go(func() { _ = play.stage.Run(ctx) })
	running.Go(func() {
		defer close(played)
		_ = play.player.Run(ctx)
	})
	t.Cleanup(func() {
		stop()
		<-played
		_ = play.stage.Close()
	})
	require.Eventually(t, func() bool { return play.stage.Publisher() != nil }, patience, time.Millisecond)

	s.byCommand = map[string]ops.Site{
		"publish": publish.site(), "replay": play.site(), "subscribe": subscribe, "record": new(recorder).site(view, sub),
		"lab": labSite(ops.Rules{Lab: s.lab}, "<b>\x1b:1", reached),
	}
	for _, site := range s.byCommand {
		for i, r := range site.Routes {
			if r.Effect {
				site.Routes[i].Do = func(ctx context.Context, body []byte) (any, error) {
					s.effects.Add(1)
					return r.Do(ctx, body)
				}
			}
		}
	}
	return s
}

// newMarket gives the publisher a market without events.
func (s *sites) newMarket(t testing.TB) {
	o := publishOptions{}
	o.market.Instruments = 1
	m, err := sim.New(o.market)
	require.NoError(t, err)
	s.market.begin(m, nil)
}

// reset removes what effects have added.
func (s *sites) reset(t testing.TB) {
	for _, r := range s.lab.Results() {
		if r.Number > 2 {
			s.lab.Remove(r.Number)
		}
	}
	if len(s.market.entries) > 0 {
		s.market.entries = nil
		s.newMarket(t)
	}
}

// handler returns the handler of a command with flags of HTTP.
func (s *sites) handler(command string, o httpOptions) http.Handler {
	site := o.complete(s.byCommand[command])
	return site.Handler()
}

// pathsOf returns the paths that h serves, and whether they have an effect.
func pathsOf(t testing.TB, h http.Handler) map[string]bool {
	text := opstest.Ask(h, "GET", "/", "").Body.String()
	_, list, ok := strings.Cut(strings.TrimSuffix(text, "\"}\n"), "it serves ")
	require.True(t, ok, text)
	paths := make(map[string]bool)
	for path := range strings.SplitSeq(list, ", ") {
		path, effect := strings.CutSuffix(path, " (POST)")
		paths[path] = effect
	}
	return paths
}

// Every route of every command refuses what a web page could send, and an effect that is refused does not happen
// (PROMISES.md, 27).
func TestRoutesRefuseTheWeb(t *testing.T) {
	s := newSites(t)
	effects := 0
	for command := range s.byCommand {
		h := s.handler(command, httpOptions{addr: "localhost:8427", pprof: true})
		paths := pathsOf(t, h)
		paths["/debug/pprof/cmdline"], paths["/debug/pprof/heap"] = false, false
		for path, effect := range paths {
			method, other := "GET", "POST"
			var program []string
			if effect {
				method, other, program = "POST", "GET", []string{"Content-Type", "application/json"}
				effects++
			}
			with := func(header ...string) []string { return append(slices.Clone(program), header...) }
			for what, c := range map[string]struct {
				method string
				header []string
				status int
			}{
				"a name that was rebound":      {method, with("Host", "evil.example:8427"), 421},
				"a name that begins as ours":   {method, with("Host", "localhost.evil.example"), 421},
				"an address of the network":    {method, with("Host", "192.168.1.1:8427"), 421},
				"any address":                  {method, with("Host", "0.0.0.0"), 421},
				"no name":                      {method, with("Host", ""), 421},
				"a script of another site":     {method, with("Sec-Fetch-Site", "cross-site"), 403},
				"a page of another port":       {method, with("Sec-Fetch-Site", "same-site"), 403},
				"another method":               {other, with(), 405},
				"PUT":                          {"PUT", with(), 405},
				"a preflight of another site":  {"OPTIONS", with("Origin", "https://evil.example", "Access-Control-Request-Method", "POST"), 405},
				"a preflight that says it all": {"OPTIONS", with("Origin", "https://evil.example", "Sec-Fetch-Site", "cross-site"), 403},
			} {
				r := opstest.Ask(h, c.method, path, "", c.header...)
				assert.Equal(t, c.status, r.Code, "%s %s: %s", command, path, what)
				assert.Empty(t, r.Header().Get("Access-Control-Allow-Origin"))
				assert.Equal(t, "nosniff", r.Header().Get("X-Content-Type-Options"))
			}
			if !effect {
				continue
			}
			for what, header := range map[string][]string{
				"no header":                 nil,
				"a form of another site":    {"Content-Type", "application/x-www-form-urlencoded"},
				"a file of a form":          {"Content-Type", "multipart/form-data; boundary=application/json"},
				"a plain text form":         {"Content-Type", "text/plain"},
				"another origin":            with("Origin", "https://evil.example"),
				"another port of localhost": with("Origin", "http://localhost:3000"),
				"a sandboxed page":          with("Origin", "null"),
			} {
				assert.Equal(t, 403, opstest.Ask(h, "POST", path, "{}", header...).Code, "%s %s: %s", command, path, what)
			}
			assert.Equal(t, 413, opstest.Ask(h, "POST", path, strings.Repeat(" ", ops.MaxBody+1), program...).Code, path)
			assert.EqualValues(t, 0, s.effects.Load(), "%s %s: an effect that was refused has happened", command, path)
			assert.Equal(t, 400, opstest.Ask(h, "POST", path, `{"nonsense": 1}`, program...).Code, path)
			assert.Equal(t, 400, opstest.Ask(h, "POST", path, `{} {}`, program...).Code, path)
			assert.Equal(t, 400, opstest.Ask(h, "POST", path+"?x=1", `{}`, program...).Code, path)
			s.effects.Store(0)
		}
		for _, path := range []string{"/", "//", "///status", "//status/", "//../status", "/debug/pprof", "/nonsense"} {
			assert.Equal(t, 404, opstest.Ask(h, "GET", path, "").Code, path)
		}
	}
	assert.Equal(t, 6+6+1+3, effects, "of publish, replay, subscribe and the lab")
}

// beyond are flags of a server that other machines can reach.
var beyond = httpOptions{addr: "0.0.0.0:8427", beyond: true, pprof: true, token: "s3cret", hosts: []string{"feed.example"}, tls: &serveTLS{}}

// To other machines every route of every command but those of the health needs the token (PROMISES.md, 27).
func TestRoutesNeedTheToken(t *testing.T) {
	s := newSites(t)
	for command := range s.byCommand {
		h := s.handler(command, beyond)
		for path, effect := range pathsOf(t, h) {
			method := "GET"
			if effect {
				method = "POST"
			}
			want := 401
			if slices.Contains([]string{"/livez", "/readyz", "/metrics"}, path) {
				want = 200
			}
			for _, host := range []string{"feed.example:8427", "192.0.2.1", "localhost"} {
				assert.Equal(t, want, opstest.Ask(h, method, path, "", "Host", host, ops.Header, "test").Code, "%s %s", command, path)
			}
			assert.Equal(t, 421, opstest.Ask(h, method, path, "", "Host", "evil.example", ops.Header, "test", "Authorization", "Bearer s3cret").Code, "%s %s", command, path)
		}
		assert.Zero(t, s.effects.Load())
		assert.Equal(t, 401, opstest.Ask(h, "GET", "/metrics?detail=1", "").Code, command)
	}
}
