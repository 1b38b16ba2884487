package ops_test

import (
	"bytes"
	"context"
	"crypto/tls"
	encoding "encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
	"unicode"

	"github.com/rs/zerolog"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tickfeed/cmd/ops"
)

// The names by which a program on this machine asks are those of this machine.
func TestLocalNames(t *testing.T) {
	w := newWorld(t)
	for _, host := range []string{"localhost", "LocalHost:1", "127.0.0.1", "127.1.2.3:80", "[::1]", "[::1]:8427", "::1"} {
		assert.Equal(t, 200, w.ask("publish", "GET", "/status", "", "Host", host).StatusCode, host)
	}
	for _, site := range []string{"none", "same-origin"} {
		assert.Equal(t, 200, w.ask("publish", "GET", "/status", "", "Sec-Fetch-Site", site).StatusCode, site)
	}
	assert.Equal(t, 200, w.ask("replay", "POST", "/pause", "", ops.Header, "1").StatusCode)
	assert.Equal(t, 200, w.ask("replay", "POST", "/pause", "", "Content-Type", "application/json; charset=utf-8").StatusCode)
	assert.Equal(t, "replay", w.ask("replay", "GET", "/livez", "").Header.Get(ops.Header))
}

// Each response of a process, errors included, names the command and the time at which the process began to serve.
func TestResponsesIdentifyTheProcess(t *testing.T) {
	before := time.Now()
	h := (&ops.Site{Command: "lab"}).Handler()
	after := time.Now()
	server := httptest.NewServer(h)
	defer server.Close()
	var first *ops.Answer
	for _, path := range []string{"/livez", "/none", "/livez"} {
		answer, err := (&ops.Client{Addr: server.Listener.Addr().String()}).Ask(t.Context(), path, nil, "", time.Minute)
		require.NoError(t, err)
		if first == nil {
			first = answer
		}
		assert.Equal(t, "lab", answer.Command, path)
		assert.Equal(t, first.Started, answer.Started, path)
	}
	assert.WithinRange(t, first.Started, before, after)
}

// Text that a peer chooses, such as the name of a client or of a rule, stays text wherever it is shown: no browser, terminal
// or scraper takes it for anything else.
func TestMarkupOfPeersIsText(t *testing.T) {
	w := newWorld(t)
	_ = w.ask("lab", "POST", "/add", `{"rule":"for <b>\u001b[31m at seq 1000000: cut rst"}`, json...)
	shown := 0
	for command := range w.sites {
		for _, path := range []string{"/status", "/status?format=text", "/connz", "/connz?format=text", "/overview", "/rules", "/rules?format=text", "/metrics?detail=1", "/readyz?format=text", "/%1b%5b31m"} {
			r := w.ask(command, "GET", path, "")
			b, err := io.ReadAll(r.Body)
			require.NoError(t, err)
			media := r.Header.Get("Content-Type")
			assert.True(t, strings.HasPrefix(media, "text/plain") || media == "application/json", "%s %s: %s", command, path, media)
			for _, c := range string(b) {
				if c != '\n' && !unicode.IsPrint(c) {
					t.Errorf("%s %s: character %q in %.2000q", command, path, c, b)
					break
				}
			}
			assert.NotContains(t, string(b), "\n# HELP \\xff", "%s %s", command, path)
			if media == "application/json" {
				assert.NotContains(t, string(b), "<script>", "%s %s", command, path)
			}
			if strings.Contains(string(b), "script") {
				shown++
			}
		}
	}
	assert.GreaterOrEqual(t, shown, 3, "the name of the client is in the lists and in the details")
}

// Text is for people, JSON for programs, and a request says which it wants.
func TestFormatsAreAsTheRequestSays(t *testing.T) {
	w := newWorld(t)
	for _, c := range []struct{ path, accept, media string }{
		{"/readyz", "", "application/json"},
		{"/readyz", "*/*", "application/json"},
		{"/readyz", "text/plain", "text/plain; charset=utf-8"},
		{"/readyz", "application/json, text/plain", "application/json"},
		{"/readyz?format=json", "text/plain", "application/json"},
		{"/readyz?format=text", "application/json", "text/plain; charset=utf-8"},
	} {
		r := w.ask("publish", "GET", c.path, "", "Accept", c.accept)
		assert.Equal(t, c.media, r.Header.Get("Content-Type"), c)
	}
	for _, path := range []string{"/readyz?format=xml", "/status?format=text&format=json", "/connz?limt=5", "/connz?limit=0", "/connz?limit=10001", "/connz?limit=x", "/connz?sort=beauty",
		"/metrics?detail=2", "/metrics?details=1", "/livez?x", "/rules?x=1"} {
		command := "publish"
		if strings.HasPrefix(path, "/rules") {
			command = "lab"
		}
		assert.Equal(t, 400, w.ask(command, "GET", path, "").StatusCode, path)
	}
	r := w.ask("publish", "HEAD", "/status", "")
	assert.Equal(t, 200, r.StatusCode)
}

// A replay is controlled by requests, and each responds with the status that results.
func TestReplayRoutes(t *testing.T) {
	w := newWorld(t)
	ask := func(path, body string) (int, map[string]any) {
		r := w.ask("replay", "POST", path, body, json...)
		var answer map[string]any
		require.NoError(t, encoding.NewDecoder(r.Body).Decode(&answer))
		return r.StatusCode, answer
	}
	for name, c := range map[string]struct {
		path, body string
		status     int
		says       string
	}{
		"a pause":                  {"/pause", "", 200, ""},
		"a speed":                  {"/speed", `{"speed":"2x"}`, 200, ""},
		"a speed as a number":      {"/speed", `{"speed":2.5}`, 200, ""},
		"no speed":                 {"/speed", `{}`, 400, "the body must contain the speed"},
		"a speed that is none":     {"/speed", `{"speed":"-1x"}`, 400, ""},
		"a place that is none":     {"/seek", `{"to":"yesterday"}`, 400, "is no place in a recording"},
		"a place beyond the end":   {"/seek", `{"to":"+100h"}`, 400, "is after the end"},
		"a seek":                   {"/seek", `{"to":"seq:77"}`, 200, ""},
		"a step":                   {"/step", `{"n":2}`, 200, ""},
		"a step of too many ticks": {"/step", `{"n":1000001}`, 400, "a step has at most 1000000 ticks, got 1000001; to play on, resume"},
		"the greatest step":        {"/step", `{"n":18446744073709551615}`, 400, ""},
		"no JSON":                  {"/step", `{`, 400, "the body: "},
	} {
		status, answer := ask(c.path, c.body)
		assert.Equal(t, c.status, status, name)
		if c.status == 200 {
			assert.Equal(t, "paused", answer["state"], name)
		} else {
			assert.Contains(t, answer["error"], c.says, name)
		}
	}
}

// The rules of a running lab are listed, added, removed and triggered, by requests as by lines.
func TestLabRoutes(t *testing.T) {
	w := newWorld(t)
	ask := func(method, path, body string) (int, string) {
		r := w.ask("lab", method, path, body, append(json, "Accept", "text/plain")...)
		b, err := io.ReadAll(r.Body)
		require.NoError(t, err)
		return r.StatusCode, string(b)
	}
	line := func(text string) string {
		answer, err := ops.Obey(w.rules, text)
		if err != nil {
			return err.Error()
		}
		return fmt.Sprint(answer)
	}
	for _, step := range []struct {
		path, body, line string // the same, in both ways
		status           int
		says             string
	}{
		{"/rules", "", "list", 200, "1  not yet  on storm: cut rst\n  2  not yet  at seq 1000000: stall 1s"},
		{"/add", `{"rule":"at seq 3000000: cut fin"}`, "at seq 4000000: cut fin", 200, "added rule %d: at seq %d000000: cut fin"},
		{"/add", `{"rule":"at seq 5: nonsense"}`, "at seq 5: nonsense", 400, `there is no fault "nonsense"`},
		{"/add", `{}`, "list all", 400, "want"},
		{"/add", `{"rule":"on a: cut\non b: cut"}`, "seed 7", 400, "want"},
		{"/remove", `{"n":3}`, "remove 4", 200, "removed rule %d: at seq %d000000: cut fin"},
		{"/remove", `{"n":3}`, "remove 4", 400, "there is no such rule; list shows the numbers"},
		{"/remove", `{}`, "remove x", 400, ""},
		{"/trigger", `{"name":"storm"}`, "trigger storm", 200, "triggered: on storm"},
		{"/trigger", `{"name":"calm"}`, "trigger calm", 400, `no rule is "on calm: …"; list shows the rules`},
		{"/rules", "", "list", 200, "×  on storm: cut rst"},
	} {
		method := "POST"
		if step.path == "/rules" {
			method = "GET"
		}
		expect := func(k int) string {
			if strings.Contains(step.says, "%d") {
				return fmt.Sprintf(step.says, k, k)
			}
			return step.says
		}
		status, text := ask(method, step.path, step.body)
		assert.Equal(t, step.status, status, "%s %s: %s", step.path, step.body, text)
		assert.Contains(t, text, expect(3))
		answer := line(step.line)
		assert.Contains(t, answer, expect(4))
		assert.NotRegexp(t, `:\d+:\d+: `, text+answer, "who types a line sees it: no place is named")
	}
	assert.Equal(t, "<nil>", line("   "))
	for _, ask := range []string{"help", "?"} {
		assert.Equal(t, ops.LineHelp, line(ask))
	}
	assert.Equal(t, "quit: Ctrl-C ends the command", line("quit"))
}

// pipes is a listener in memory.
type pipes struct {
	conns chan net.Conn
	done  chan struct{}
	once  sync.Once
}

func newPipes() *pipes { return &pipes{conns: make(chan net.Conn), done: make(chan struct{})} }

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case nc := <-p.conns:
		return nc, nil
	case <-p.done:
		return nil, net.ErrClosed
	}
}
func (p *pipes) Close() error   { p.once.Do(func() { close(p.done) }); return nil }
func (p *pipes) Addr() net.Addr { return &net.UnixAddr{Name: "pipes", Net: "unix"} }

// dial returns the client's side of a connection that the server may accept or not.
func (p *pipes) dial() net.Conn {
	client, server := net.Pipe()
	go func() {
		select {
		case p.conns <- server:
		case <-p.done:
			server.Close()
		}
	}()
	return client
}

// get sends a request, and returns the status line of the response.
func get(nc net.Conn, path string) (string, error) {
	go func() { _, _ = io.WriteString(nc, "GET "+path+" HTTP/1.1\r\nHost: localhost\r\n\r\n") }()
	b, err := io.ReadAll(nc)
	line, _, _ := strings.Cut(string(b), "\r\n")
	return line, err
}

// A client that sends nothing, or reads nothing, costs a bounded time and one of a bounded number of connections. When Serve
// returns, nothing of it is left.
func TestServerBounds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ln := newPipes()
		site := ops.Site{Command: "test", Status: func() any { return strings.Repeat("x", 1<<20) }, Routes: []ops.Route{{Name: "hang", Do: func(ctx context.Context, _ []byte) (any, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		}}}}
		ctx, cancel := context.WithCancelCause(t.Context())
		served := make(chan error, 1)
		go func() { served <- ops.Serve(ctx, ln, site.Handler(), zerolog.Nop()) }()

		began := time.Now()
		silent := ln.dial()
		synctest.Wait()
		_, err := silent.Read(make([]byte, 1))
		assert.ErrorIs(t, err, io.EOF)
		assert.Equal(t, 5*time.Second, time.Since(began))

		began = time.Now()
		slow := ln.dial()
		_, err = io.WriteString(slow, "GET /status HTTP/1.1\r\nHost: localhost\r\n\r\n")
		require.NoError(t, err)
		time.Sleep(2 * time.Minute) // does not read the response
		_, err = io.ReadAll(slow)
		assert.NoError(t, err)
		assert.Equal(t, 2*time.Minute, time.Since(began))

		line, _ := get(ln.dial(), "/"+strings.Repeat("x", 64<<10))
		assert.Contains(t, line, "431", "a request line and headers of more than 16 KiB")

		hangs := make(chan error, 1)
		hanging := ln.dial()
		go func() {
			_, err := get(hanging, "/hang")
			hangs <- err
		}()
		synctest.Wait()
		over := errors.New("over")
		cancel(over)
		assert.ErrorIs(t, <-served, over)
		<-hangs
	})
}

// Connections that send nothing, or half a request, give way to newer ones. A request under way does not, and the log says so.
func TestIdleConnectionsGiveWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ln := newPipes()
		answer, hangs := make(chan struct{}), make(chan string, 1)
		site := ops.Site{Command: "test", Routes: []ops.Route{{Name: "hang", Do: func(context.Context, []byte) (any, error) {
			<-answer
			return "done", nil
		}}, {Name: "act", Effect: true, Do: func(context.Context, []byte) (any, error) { return "done", nil }}}}
		ctx, cancel := context.WithCancel(t.Context())
		served := make(chan error, 1)
		var log bytes.Buffer
		go func() { served <- ops.Serve(ctx, ln, site.Handler(), zerolog.New(&log)) }()

		hanging := ln.dial()
		go func() {
			line, _ := get(hanging, "/hang")
			hangs <- line
		}()
		synctest.Wait()
		halves := []string{"", "GET /livez HT", "GET /livez HTTP/1.1\r\nHost: localhost\r\n", "POST /act HTTP/1.1\r\nHost: localhost\r\nX-Tickfeed: 1\r\nContent-Length: 9\r\n\r\n{"}
		for i := range 600 {
			nc := ln.dial()
			go func() { _, _ = io.WriteString(nc, halves[i%len(halves)]) }()
		}
		synctest.Wait()
		began := time.Now()
		line, err := get(ln.dial(), "/livez")
		require.NoError(t, err)
		assert.Equal(t, "HTTP/1.1 200 OK", line)
		assert.Less(t, time.Since(began), time.Second)
		close(answer)
		assert.Equal(t, "HTTP/1.1 200 OK", <-hangs)
		cancel()
		assert.ErrorIs(t, <-served, context.Canceled)
		assert.Equal(t, 1, strings.Count(log.String(), "without a request"), log.String())
	})
}

// A client of the server reports what is not there, and does not take another server for a tickfeed command.
func TestAskReportsWhatIsNotThere(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	foreign := &http.Server{Handler: http.RedirectHandler("http://evil.example/", http.StatusFound)}
	go func() { _ = foreign.Serve(ln) }()
	defer foreign.Close()
	_, err = (&ops.Client{Addr: ln.Addr().String()}).Ask(t.Context(), "/readyz", nil, "", patience)
	assert.ErrorIs(t, err, ops.ErrForeign)

	silent, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer silent.Close()
	for _, cfg := range []*tls.Config{nil, {}} {
		_, err = (&ops.Client{Addr: silent.Addr().String(), TLS: cfg}).Ask(t.Context(), "/readyz", nil, "", 50*time.Millisecond)
		assert.ErrorIs(t, err, ops.ErrSilent)
		assert.ErrorContains(t, err, "does not respond within 50ms")
	}

	feed, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer feed.Close()
	go func() {
		for {
			nc, err := feed.Accept()
			if err != nil {
				return
			}
			_, _ = io.ReadAtLeast(nc, make([]byte, 1<<10), 20)
			_, _ = io.WriteString(nc, "\x95\x03\x01\xc0\xc0 a refusal")
			nc.Close()
		}
	}()
	_, err = (&ops.Client{Addr: feed.Addr().String()}).Ask(t.Context(), "/readyz", nil, "", patience)
	assert.ErrorIs(t, err, ops.ErrNotHTTP)

	w := newWorld(t)
	own, err := net.Listen("unix", t.TempDir()+"/s")
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- ops.Serve(ctx, own, w.sites["lab"].Handler(), zerolog.Nop()) }()
	addr := "unix:" + own.Addr().String()
	subscriber, err := net.Dial("unix", own.Addr().String())
	require.NoError(t, err)
	_, err = subscriber.Write([]byte{0x9a, 0x01, 0x01, 0x01})
	require.NoError(t, err)
	_ = subscriber.SetReadDeadline(time.Now().Add(4 * time.Second)) // the server waits 5 s for the rest of a request
	said, err := io.ReadAll(subscriber)
	require.NoError(t, err)
	assert.Regexp(t, `^HTTP/1.1 400 (.|\s)*the feed is at that of --listen`, string(said))
	answer, err := (&ops.Client{Addr: addr}).Ask(t.Context(), "/trigger", &ops.RuleRequest{Name: "storm"}, "text/plain", patience)
	require.NoError(t, err)
	assert.Equal(t, "lab", answer.Command)
	assert.Equal(t, "triggered: on storm\n", string(answer.Body))
	answer, err = (&ops.Client{Addr: addr}).Ask(t.Context(), "/pause", struct{}{}, "application/json", patience)
	require.NoError(t, err)
	assert.ErrorContains(t, answer.Err(), "tickfeed lab does not serve this path; it serves /add (POST), /debug/pprof/, ")
	cancel()
	<-served
	_, err = (&ops.Client{Addr: addr}).Ask(t.Context(), "/readyz", nil, "", patience)
	assert.Error(t, err)
}

// A request that ends the command is answered all the same.
func TestAnswerAtTheEnd(t *testing.T) {
	for range 20 {
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		site := ops.Site{Command: "publish", Routes: []ops.Route{{Name: "end", Effect: true, Do: func(context.Context, []byte) (any, error) {
			cancel()
			for { // until the server has begun to close
				nc, err := net.Dial("tcp", ln.Addr().String())
				if err != nil {
					return "ending", nil
				}
				nc.Close()
			}
		}}}}
		go func() {
			defer close(ended)
			_ = ops.Serve(ctx, ln, site.Handler(), zerolog.Nop())
		}()
		answer, err := (&ops.Client{Addr: ln.Addr().String()}).Ask(t.Context(), "/end", struct{}{}, "", patience)
		require.NoError(t, err)
		assert.Equal(t, "\"ending\"\n", string(answer.Body))
		<-ended
	}
}

// A name that occurs twice in a body is refused: one of its two values would be ignored.
func TestReadRefusesANameTwice(t *testing.T) {
	type request struct {
		Speed float64
		Inner struct{ Speed float64 }
	}
	q, err := ops.Read[request]([]byte(`{"Speed":2,"Inner":{"Speed":3}}`))
	require.NoError(t, err)
	assert.Equal(t, 3.0, q.Inner.Speed)
	for _, body := range []string{`{"Speed":2,"Inner":{},"Speed":3}`, `{"Speed":2,"speed":3}`} {
		_, err := ops.Read[request]([]byte(body))
		assert.ErrorContains(t, err, "is there twice", body)
	}
	_, err = ops.Read[request]([]byte(`null`))
	assert.NoError(t, err)
}
