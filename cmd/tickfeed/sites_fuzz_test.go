package main

import (
	"bufio"
	"context"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/stretchr/testify/require"

	"tickfeed/cmd/ops"
)

// requestTime bounds a request of FuzzRequest: a profile takes as long as the request says.
const requestTime = 50 * time.Millisecond

// Whatever a request to a command is, the response is one of those listed and holds no markup and no control character, and an
// effect happens only for a POST for this site, with the token if there is one, that no web page sent (PROMISES.md, 26, 27).
func FuzzRequest(f *testing.F) {
	s := newSites(f)
	commands := slices.Sorted(maps.Keys(s.byCommand))
	var handlers []http.Handler // of each command: to this machine, and to others
	for i, command := range commands {
		local := s.handler(command, httpOptions{addr: "localhost:8427", pprof: true})
		handlers = append(handlers, local, s.handler(command, beyond))
		add := func(toOthers int, format string, args ...any) {
			f.Add(uint8(2*i+toOthers), fmt.Sprintf(format, args...))
		}
		for path, effect := range pathsOf(f, local) {
			if !effect {
				add(0, "GET %s?format=text HTTP/1.1\r\nHost: localhost:8427\r\n\r\n", path)
				add(1, "GET %s HTTP/1.1\r\nHost: feed.example\r\nAuthorization: Bearer s3cret\r\n\r\n", path)
				continue
			}
			for _, body := range bodies[path] {
				add(1, "POST %s HTTP/1.1\r\nHost: feed.example\r\nX-Tickfeed: 1\r\nAuthorization: Bearer s3cret\r\nContent-Length: %d\r\n\r\n%s", path, len(body), body)
				add(0, "POST %s HTTP/1.1\r\nHost: [::1]\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", path, len(body), body)
			}
			add(0, "POST %s HTTP/1.1\r\nHost: localhost\r\nX-Tickfeed: 1\r\nOrigin: http://localhost:1\r\n\r\n", path)
			add(1, "POST %s HTTP/1.1\r\nHost: 192.0.2.1\r\nX-Tickfeed: 1\r\nAuthorization: Bearer s3cre\r\n\r\n", path)
		}
		add(0, "GET /connz?sort=lag&limit=5 HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: text/plain\r\n\r\n")
		add(1, "GET /metrics?detail=1 HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept-Encoding: gzip\r\nAuthorization: Bearer s3cret\r\n\r\n")
	}
	f.Add(uint8(0), "GET /debug/pprof/goroutine?debug=1 HTTP/1.1\r\nHost: localhost\r\n\r\n")
	f.Add(uint8(1), "GET /debug/pprof/profile?seconds=1 HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer s3cret\r\n\r\n")
	f.Add(uint8(0), "GET /%3Cscript%3E%1b%5b31m HTTP/1.1\r\nHost: evil.example\r\nSec-Fetch-Site: cross-site\r\n\r\n")
	f.Add(uint8(1), "OPTIONS * HTTP/1.1\r\nHost: localhost\r\n\r\n")
	f.Fuzz(func(t *testing.T, which uint8, text string) {
		r, err := http.ReadRequest(bufio.NewReader(strings.NewReader(text)))
		if err != nil {
			return
		}
		ctx, cancel := context.WithTimeout(t.Context(), requestTime)
		defer cancel()
		authorized := r.Header.Get("Authorization") == "Bearer s3cret"
		if !authorized && r.Header.Get("Authorization") != "" {
			cancel() // the answer to a wrong token is delayed
		}
		s.reset(t)
		before := s.effects.Load()
		at := int(which) % len(handlers)
		w := httptest.NewRecorder()
		handlers[at].ServeHTTP(w, r.WithContext(ctx))
		toOthers := at%2 == 1
		switch {
		case slices.Contains([]int{200, 400, 401, 403, 404, 405, 409, 413, 421, 422, 503}, w.Code):
		case w.Code == 500 && (ctx.Err() != nil || strings.HasPrefix(r.URL.Path, profiles)): // such as two profiles at a time
		default:
			t.Fatalf("status %d: %s", w.Code, w.Body)
		}
		if s.effects.Load() != before && !mayAct(r, toOthers, authorized) {
			t.Fatalf("an effect of %q", text)
		}
		if toOthers && !authorized && w.Code == 200 && !slices.Contains([]string{"/livez", "/readyz", "/metrics"}, r.URL.Path) {
			t.Fatalf("a response without the token to %q", text)
		}
		if w.Header().Get("Content-Encoding") != "" || w.Code == 200 && strings.HasPrefix(r.URL.Path, profiles) {
			return
		}
		media := w.Header().Get("Content-Type")
		if ctx.Err() == nil && media != "application/json" && !strings.HasPrefix(media, "text/plain") {
			t.Fatalf("content type %q", media)
		}
		if media == "application/json" && strings.ContainsAny(w.Body.String(), "<>") {
			t.Fatalf("markup in %q", w.Body)
		}
		for _, c := range w.Body.String() {
			if c != '\n' && !unicode.IsPrint(c) {
				t.Fatalf("character %q in %q", c, w.Body)
			}
		}
	})
}

const profiles = "/debug/pprof/"

// mayAct reports whether r may have an effect.
func mayAct(r *http.Request, toOthers, authorized bool) bool {
	host, _, _ := strings.Cut(strings.ToLower(r.Host), ":")
	ours := host == "localhost" || strings.HasPrefix(host, "127.") || strings.Contains(r.Host, "::1")
	if toOthers {
		ours = authorized && host != "evil.example"
	}
	site, origin := r.Header.Get("Sec-Fetch-Site"), r.Header.Get("Origin")
	page := site != "" && site != "none" && site != "same-origin" || origin != "" && site == "" && origin != "http://"+r.Host && origin != "https://"+r.Host
	form := r.Header.Get(ops.Header) == "" && !strings.HasPrefix(strings.ToLower(strings.TrimSpace(r.Header.Get("Content-Type"))), "application/json")
	return r.Method == "POST" && ours && !page && !form
}

// bodies are examples of the bodies of effects, by path.
var bodies = map[string][]string{
	"/drain": {"", `{"over":"1s"}`}, "/reload": {"", "{}"}, "/kick": {`{"connection":1}`}, "/pause": {""}, "/resume": {"{}"},
	"/step": {"", `{"n":3}`}, "/speed": {`{"speed":"10x"}`, `{"speed":2.5}`, `{"speed":"max"}`}, "/seek": {`{"to":"09:45"}`, `{"to":"seq:77"}`, `{"to":"<b>\u001b"}`},
	"/symbols": {`{"patterns":"*"}`, `{"patterns":"<script>,A*\u001b"}`}, "/remove": {`{"n":1}`},
	"/add":     {`{"rule":"at seq 77: cut rst"}`, `{"rule":"halt <b> for 1m"}`, `{"rule":"for <b>\u001b at seq 9: cut rst"}`, `{"rule":"at 10:00: calm"}`},
	"/trigger": {`{"name":"storm"}`, `{"name":"<b>\u009b"}`},
}

// Each path that has an effect has an example.
func TestBodiesHaveAnExampleForEachPath(t *testing.T) {
	s := newSites(t)
	for command := range s.byCommand {
		for path, effect := range pathsOf(t, s.handler(command, httpOptions{addr: "localhost:8427"})) {
			require.True(t, !effect || len(bodies[path]) > 0, path)
		}
	}
}
