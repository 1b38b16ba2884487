package ops_test

import (
	"bufio"
	"context"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"unicode"

	"tickfeed/cmd/ops"
	"tickfeed/codec/lab"
	"tickfeed/publisher"
)

// Every request gets one of the listed responses, and has an effect only if it is a POST to this machine that no web page sent.
func FuzzRequest(f *testing.F) {
	f.Add("GET /status HTTP/1.1\r\nHost: localhost:8427\r\n\r\n")
	f.Add("GET /connz?sort=lag&limit=5&format=text HTTP/1.1\r\nHost: [::1]\r\nAccept: text/plain\r\n\r\n")
	f.Add("GET /metrics?detail=1 HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept-Encoding: gzip\r\n\r\n")
	f.Add("POST /trigger HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 16\r\n\r\n{\"name\":\"storm\"}")
	f.Add("POST /add HTTP/1.1\r\nHost: localhost\r\nX-Tickfeed: 1\r\nContent-Length: 32\r\n\r\n{\"rule\":\"at seq 77: cut rst\"}   ")
	f.Add("POST /remove HTTP/1.1\r\nHost: localhost\r\nX-Tickfeed: 1\r\nOrigin: http://localhost:1\r\nContent-Length: 7\r\n\r\n{\"n\":1}")
	f.Add("GET /trigger HTTP/1.1\r\nHost: evil.example\r\nSec-Fetch-Site: cross-site\r\n\r\n")
	f.Add("OPTIONS * HTTP/1.1\r\nHost: localhost\r\n\r\n")
	f.Add("GET /overview HTTP/1.1\r\nHost: localhost\r\n\r\n")
	f.Add("POST /kick HTTP/1.1\r\nHost: localhost\r\nX-Tickfeed: 1\r\nContent-Length: 16\r\n\r\n{\"connection\":1}")
	var effects atomic.Int64
	script, err := lab.Parse("fuzz", []byte("on storm: cut rst"))
	if err != nil {
		f.Fatal(err)
	}
	rules := ops.Rules{Lab: &lab.Lab{Script: script}}
	pub, err := publisher.New(publisher.Config{})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { _ = pub.Close(context.Background()) })
	site := ops.Site{
		Command: "lab", Status: func() any { return rules.List() }, Conns: func() []ops.Conn { return []ops.Conn{{Name: hostile}, {Number: 2}} },
		Metrics: []ops.Collector{rules.Metrics}, Details: []ops.Collector{rules.Details}, Routes: append(ops.RuleRoutes(rules), ops.NewPublisher(pub, 0).Routes()...),
	}
	for i, r := range site.Routes {
		if r.Effect {
			site.Routes[i].Do = func(ctx context.Context, body []byte) (any, error) {
				effects.Add(1)
				return r.Do(ctx, body)
			}
		}
	}
	h := site.Handler()
	f.Fuzz(func(t *testing.T, text string) {
		r, err := http.ReadRequest(bufio.NewReader(strings.NewReader(text)))
		if err != nil {
			return
		}
		for _, x := range rules.List() { // they would add up
			if x.Index > 0 {
				rules.Lab.Remove(x.Index)
			}
		}
		before := effects.Load()
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if !slices.Contains([]int{200, 400, 403, 404, 405, 413, 421}, w.Code) {
			t.Fatalf("status %d: %s", w.Code, w.Body)
		}
		if effects.Load() != before {
			host, _, _ := strings.Cut(strings.ToLower(r.Host), ":")
			local := host == "localhost" || strings.HasPrefix(host, "127.") || strings.Contains(r.Host, "::1")
			site, origin := r.Header.Get("Sec-Fetch-Site"), r.Header.Get("Origin")
			if r.Method != "POST" || !local || site != "" && site != "none" && site != "same-origin" || origin != "" && site == "" && origin != "http://"+r.Host && origin != "https://"+r.Host ||
				r.Header.Get("X-Tickfeed") == "" && !strings.HasPrefix(strings.ToLower(strings.TrimSpace(r.Header.Get("Content-Type"))), "application/json") {
				t.Fatalf("an effect of %q", text)
			}
		}
		if w.Header().Get("Content-Encoding") != "" {
			return
		}
		for _, c := range w.Body.String() {
			if c != '\n' && !unicode.IsPrint(c) {
				t.Fatalf("character %q in %q", c, w.Body)
			}
		}
	})
}
