package ops_test

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/synctest"

	"github.com/rs/zerolog"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tickfeed/cmd/ops"
	"tickfeed/codec/certs"
	"tickfeed/codec/certs/certstest"
)

// access is a site with an effect, and what happened of it.
func access(site ops.Site) (h http.Handler, happened *int) {
	happened = new(int)
	site.Command, site.Status = "test", func() any { return struct{}{} }
	site.Conns = func() []ops.Conn { return nil }
	site.Routes = []ops.Route{{Name: "act", Effect: true, Do: func(context.Context, []byte) (any, error) { *happened++; return struct{}{}, nil }}}
	site.Profiles = true
	return site.Handler(), happened
}

// A site with a token lets nobody without it have an effect or take a profile; what only reads stays open, unless the site is
// guarded: then only the routes of health that name nobody answer without one (PROMISES.md, 26, 27).
func TestTokenGuardsEffects(t *testing.T) { synctest.Test(t, testToken) } // a wrong token is answered late

func testToken(t *testing.T) {
	open, opened := access(ops.Site{Token: "s3cret"})
	guarded, let := access(ops.Site{Token: "s3cret", Guarded: true})
	bare, done := access(ops.Site{Guarded: true})
	names := []string{"open", "guarded", "without a token"}
	for _, c := range []struct {
		method, path, authorization string
		open, guarded, bare         int
	}{
		{"GET", "/livez", "", 200, 200, 200},
		{"GET", "/readyz", "", 200, 200, 200},
		{"GET", "/metrics", "", 200, 200, 200},
		{"GET", "/metrics?detail=0", "", 200, 200, 200},
		{"GET", "/metrics?detail=1", "", 200, 401, 403},
		{"GET", "/metrics?detail=0&detail=1", "", 400, 401, 403},
		{"GET", "/metrics?detail=1", "Bearer s3cret", 200, 200, 403},
		{"GET", "/status", "", 200, 401, 403},
		{"GET", "/status", "Bearer s3cret", 200, 200, 403},
		{"GET", "/status", "Bearer ", 200, 401, 403},
		{"GET", "/connz", "", 200, 401, 403},
		{"POST", "/act", "", 401, 401, 403},
		{"POST", "/act", "Bearer", 401, 401, 403},
		{"POST", "/act", "Bearer wrong", 401, 401, 403},
		{"POST", "/act", "Basic s3cret", 401, 401, 403},
		{"POST", "/act", "s3cret", 401, 401, 403},
		{"POST", "/act", "Bearer s3cret ", 401, 401, 403},
		{"GET", "/act", "Bearer s3cret", 405, 405, 405},
		{"POST", "/act", "Bearer s3cret", 200, 200, 403},
		{"GET", "/debug/pprof/cmdline", "", 401, 401, 403},
		{"GET", "/debug/pprof/cmdline", "Bearer s3cret", 200, 200, 403},
	} {
		for i, h := range []http.Handler{open, guarded, bare} {
			r := httptest.NewRequest(c.method, "http://localhost"+c.path, nil)
			r.Header.Set(ops.Header, "test")
			if c.authorization != "" {
				r.Header.Set("Authorization", c.authorization)
			}
			w := httptest.NewRecorder()
			h.ServeHTTP(w, r)
			assert.Equal(t, []int{c.open, c.guarded, c.bare}[i], w.Code, "%s: %+v", names[i], c)
			assert.NotContains(t, w.Body.String(), "s3cret")
			if w.Code == 401 || w.Code == 403 {
				assert.Contains(t, w.Body.String(), "--http-token-file")
			}
			if w.Code == 401 {
				assert.Equal(t, "Bearer", w.Header().Get("WWW-Authenticate"))
			}
		}
	}
	assert.Equal(t, []int{1, 1, 0}, []int{*opened, *let, *done})
}

// A site that other machines can reach is there under its names and its addresses, and not under a name that a web page could have
// given to its address.
func TestHostsThatAPageCouldNameAreRefused(t *testing.T) {
	beyond, _ := access(ops.Site{Token: "s3cret", Hosts: []string{"feed.example", ""}})
	local, _ := access(ops.Site{Token: "s3cret"})
	for host, want := range map[string][2]int{
		"localhost:8427": {200, 200}, "127.0.0.1": {200, 200}, "feed.example:8427": {200, 421}, "FEED.example": {200, 421}, "192.0.2.1:8427": {200, 421},
		"[2001:db8::1]:8427": {200, 421}, "evil.example": {421, 421}, "feed.example.evil.example": {421, 421}, "192.0.2.1.evil.example": {421, 421},
	} {
		for i, h := range []http.Handler{beyond, local} {
			r := httptest.NewRequest("GET", "http://localhost/status", nil)
			r.Host = host
			w := httptest.NewRecorder()
			h.ServeHTTP(w, r)
			assert.Equal(t, want[i], w.Code, "%s %d", host, i)
		}
	}
}

// A client speaks HTTPS with the token, and says what is wrong with the certificate, with the token, and if one side speaks plain
// HTTP.
func TestHTTPSErrorsSayWhatIsWrong(t *testing.T) {
	a := certstest.NewAuthority("here")
	cfg := &tls.Config{Certificates: []tls.Certificate{a.Issue(certstest.Want{Names: []string{"127.0.0.1"}}).TLS}}
	h, happened := access(ops.Site{Token: "s3cret", Hosts: []string{"feed.example"}})
	ctx, cancel := context.WithCancel(t.Context())
	serve := func(cfg *tls.Config) (addr string, served chan error) {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		served = make(chan error, 1)
		go func() { served <- ops.ServeTLS(ctx, ln, cfg, h, zerolog.Nop()) }()
		return ln.Addr().String(), served
	}
	secure, one := serve(cfg)
	plain, two := serve(nil)
	defer func() { cancel(); <-one; <-two }()
	trust := &tls.Config{RootCAs: a.Pool()}
	ask := func(c ops.Client) (*ops.Answer, error) {
		return c.Ask(t.Context(), "/act", struct{}{}, "", patience)
	}
	answer, err := ask(ops.Client{Addr: secure, TLS: trust, Token: "s3cret"})
	require.NoError(t, err)
	assert.NoError(t, answer.Err())
	assert.Equal(t, 1, *happened)
	answer, err = ask(ops.Client{Addr: secure, TLS: trust, Token: "wrong"})
	require.NoError(t, err)
	assert.Equal(t, 401, answer.Status)
	assert.ErrorContains(t, answer.Err(), "the token is wrong")
	_, err = ask(ops.Client{Addr: secure, TLS: &tls.Config{RootCAs: certstest.NewAuthority("other").Pool()}, Token: "s3cret"})
	var refused *certs.Error
	assert.ErrorAs(t, err, &refused)
	_, err = ask(ops.Client{Addr: secure})
	assert.ErrorIs(t, err, ops.ErrHTTPS)
	_, err = ask(ops.Client{Addr: plain, TLS: trust})
	assert.ErrorContains(t, err, "HTTP response to HTTPS client")
	assert.Equal(t, 1, *happened)
}
