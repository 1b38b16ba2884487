package ops

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	stdlog "log"
	"net"
	"net/http"
	"net/http/pprof"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"tickfeed/codec"
)

// A Site is what a command serves. Set the fields before Handler.
type Site struct {
	Command string // its name, such as publish
	Version string
	// Status returns what the command does now. It is sent as JSON, or as text if it is a fmt.Stringer.
	Status func() any
	// Ready returns the conditions under which the command does its work; nil for one that always does.
	Ready func() []Check
	// Files are those that decide who may connect; Ready and Metrics need not mention them.
	Files Files
	// Conns returns the connections; nil for a command that has none.
	Conns func() []Conn
	// Metrics are served at /metrics, and Details only if the request asks for them.
	Metrics, Details []Collector
	Routes           []Route
	// Profiles adds the profiles of net/http/pprof below /debug/pprof/.
	Profiles bool
	// Token is what effects and profiles require; empty for nothing.
	Token codec.Token
	// Guarded requires Token for all paths except /livez, /readyz, and /metrics without details. If there is no Token, all other
	// paths are refused. A site that other machines can reach is guarded.
	Guarded bool
	// Hosts are the names by which other machines reach the site, besides its addresses. Nil for a site of this machine.
	Hosts []string
}

// A Route is what one command serves in addition to what all commands serve.
type Route struct {
	Name   string // its path without the slash
	Effect bool   // it changes something: only POST may call it. Otherwise it is for GET
	// Do returns what is sent, as for Site.Status. body is that of a POST request, at most MaxBody bytes. An *Error chooses
	// the HTTP status.
	Do func(ctx context.Context, body []byte) (any, error)
}

// An Error is an error with its HTTP status. Other errors have status 500.
type Error struct {
	Status int
	Err    error
}

func (e *Error) Error() string { return e.Err.Error() }
func (e *Error) Unwrap() error { return e.Err }

// BadRequest returns an error in a request.
func BadRequest(format string, args ...any) error {
	return &Error{http.StatusBadRequest, fmt.Errorf(format, args...)}
}

// Read decodes body, one JSON object, into a request of type T, which is empty if body is. A field that is unknown, or there twice,
// is an error.
func Read[T any](body []byte) (*T, error) {
	q := new(T)
	if len(bytes.TrimSpace(body)) == 0 {
		return q, nil
	}
	d := json.NewDecoder(bytes.NewReader(body))
	d.DisallowUnknownFields()
	var wrong *json.UnmarshalTypeError
	if err := d.Decode(q); errors.As(err, &wrong) {
		return nil, BadRequest("the body: %s cannot be a %s", cmp.Or(wrong.Field, "it"), wrong.Value)
	} else if err != nil {
		return nil, BadRequest("the body: %w", err)
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, BadRequest("the body: more than one JSON value")
	}
	if name := repeated(body); name != "" {
		return nil, BadRequest("the body: %q is there twice", name)
	}
	return q, nil
}

// repeated returns a name that occurs twice in body, which is a JSON object, or "".
func repeated(body []byte) string {
	d := json.NewDecoder(bytes.NewReader(body))
	_, _ = d.Token() // the brace: the body was decoded before, so nothing here fails
	seen := make(map[string]bool)
	for d.More() {
		name, _ := d.Token()
		text, _ := name.(string)
		if seen[strings.ToLower(text)] { // package json ignores case, too
			return text
		}
		seen[strings.ToLower(text)] = true
		_ = d.Decode(new(json.RawMessage))
	}
	return ""
}

const (
	// Header is the header by which a program shows that its request does not come from a web page; any value that is not empty
	// will do. A JSON content type has the same effect. Each response has it as well, with the command as its value.
	Header = "X-Tickfeed"
	// StartedHeader is the header of each response that identifies the process: the time, as in RFC 3339, at which it began to serve
	// its site.
	StartedHeader = Header + "-Started"
)

// Bounds of a server.
const (
	MaxBody    = 64 << 10 // of a request, in bytes
	maxHeader  = 16 << 10 // of a request, in bytes, with the request line
	headerTime = 5 * time.Second
	readTime   = 10 * time.Second
	writeTime  = time.Minute            // for a response; longer than a profile takes by default
	answerTime = 500 * time.Millisecond // for the responses under way when the server ends
	effectTime = 5 * time.Minute        // for an effect and its response: a seek in a large file may read much of it
)

// Serve serves h on ln until ctx ends, and returns its cause, or until ln fails. It owns ln; when it returns, ln and the
// connections are closed and no call of h runs.
func Serve(ctx context.Context, ln net.Listener, h http.Handler, logger zerolog.Logger) error {
	return ServeTLS(ctx, ln, nil, h, logger)
}

// ServeTLS is Serve over HTTPS, unless cfg is nil.
func ServeTLS(ctx context.Context, ln net.Listener, cfg *tls.Config, h http.Handler, logger zerolog.Logger) error {
	var calls sync.WaitGroup
	defer calls.Wait()
	server := &http.Server{
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			calls.Add(1)
			defer calls.Done()
			if r.ContentLength == 0 { // otherwise exchange.call reads the body first
				stays(r.Context())
			}
			h.ServeHTTP(w, r)
		}),
		ReadHeaderTimeout: headerTime, ReadTimeout: readTime, WriteTimeout: writeTime, MaxHeaderBytes: maxHeader,
		BaseContext: func(net.Listener) context.Context { return ctx }, ConnContext: withGuest,
		ErrorLog: stdlog.New(errorLog{logger}, "", 0),
	}
	server.SetKeepAlivesEnabled(false) // an idle connection would take the place of another
	closed := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(closed)
		answering, cancel := context.WithTimeout(context.WithoutCancel(ctx), answerTime)
		defer cancel()
		_ = server.Shutdown(answering) // the request that ended the command is answered
		server.Close()
	})
	defer stop()
	var err error
	if cfg != nil {
		err = server.Serve(tls.NewListener(newBounded(ln, secureGrace, logger), cfg))
	} else {
		err = server.Serve(newBounded(ln, plainGrace, logger))
	}
	if errors.Is(err, http.ErrServerClosed) {
		<-closed
		return context.Cause(ctx)
	}
	server.Close()
	return fmt.Errorf("accept on %s: %w", ln.Addr(), err)
}

// errorLog logs what net/http reports: a panic of a handler, or a connection that could not be accepted. A failed handshake is the
// client's matter, and anyone can make many.
type errorLog struct{ zerolog.Logger }

func (l errorLog) Write(b []byte) (int, error) {
	level := zerolog.WarnLevel
	if bytes.Contains(b, []byte("TLS handshake error")) {
		level = zerolog.DebugLevel
	}
	l.WithLevel(level).Str("error", strings.TrimSpace(string(b))).Msg("the HTTP server reports a problem")
	return len(b), nil
}

// A route is the handler of a path.
type route struct {
	effect bool
	secret bool // it is no effect, and requires the token all the same
	health bool // it does not require the token on a guarded site, unless it is asked for details
	handle func(x *exchange)
}

// Handler serves the routes of the site. It refuses
//
//   - requests for a name that is not one of this machine, or of Hosts (421): a web page may have its own name resolve to
//     127.0.0.1
//   - effects and profiles without the token, if there is one, and on a guarded site whatever is not about health (401, or 403 if
//     there is no token)
//   - requests that a browser says another site or another port has made (403)
//   - effects by another method than POST (405), and those with neither Header nor a JSON content type (403), which a form
//     of another site cannot send
//   - paths, queries and bodies that it does not know, and those beyond its bounds (404, 400, 413)
func (s *Site) Handler() http.Handler {
	routes := s.routes()
	token := sha256.Sum256([]byte(s.Token))
	started := time.Now().UTC().Format(time.RFC3339Nano)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set(Header, s.Command)
		h.Set(StartedHeader, started)
		h.Set("Cache-Control", "no-store")
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Content-Security-Policy", "default-src 'none'; sandbox")
		x := &exchange{w: w, r: r, text: wantsText(r)}
		if err := s.guard(r); err != nil {
			x.fail(err)
			return
		}
		found, ok := routes[r.URL.Path]
		if !ok && s.Profiles && strings.HasPrefix(r.URL.Path, profilePath) {
			found, ok = routes[profilePath]
		}
		if !ok {
			x.fail(&Error{http.StatusNotFound, fmt.Errorf("tickfeed %s does not serve this path; it serves %s", s.Command, strings.Join(s.paths(), ", "))})
			return
		}
		if err := found.admit(w, r); err != nil {
			x.fail(err)
			return
		}
		switch guarded := s.Guarded && !(found.health && !wantsDetails(r)); {
		case guarded && s.Token == "":
			x.fail(errNoToken)
			return
		case s.Token != "" && (found.effect || found.secret || guarded) && !presents(r, token):
			w.Header().Set("WWW-Authenticate", strings.TrimSpace(bearer))
			x.fail(refuseToken(r))
			return
		}
		found.handle(x)
	})
}

// bearer precedes the token in the header Authorization.
const bearer = "Bearer "

// presents reports whether r has the token with the given SHA-256.
func presents(r *http.Request, token [sha256.Size]byte) bool {
	given, ok := strings.CutPrefix(r.Header.Get("Authorization"), bearer)
	sum := sha256.Sum256([]byte(given))
	return subtle.ConstantTimeCompare(sum[:], token[:]) == 1 && ok
}

// errNoToken refuses what needs a token that the site does not have.
var errNoToken = &Error{http.StatusForbidden, errors.New("this command asks its clients for credentials, so this needs a token also on this machine: start it with --http-token-file FILE, or serve on --http unix:PATH, where the permissions of the file decide")}

// wrongWait delays the answer to a wrong token. With maxConns it bounds how fast tokens can be guessed.
const wrongWait = 250 * time.Millisecond

// WrongToken begins the text of the error of a request with a wrong token.
const WrongToken = "the token is wrong"

// refuseToken returns the error of a request without the token of the site.
func refuseToken(r *http.Request) error {
	if r.Header.Get("Authorization") == "" {
		return &Error{http.StatusUnauthorized, errors.New("this needs the token that this command was given with --http-token-file, in the header Authorization: Bearer TOKEN")}
	}
	select {
	case <-time.After(wrongWait):
	case <-r.Context().Done():
	}
	return &Error{http.StatusUnauthorized, errors.New(WrongToken + ": this needs the one that this command was given with --http-token-file")}
}

// guard refuses requests that do not come from a program or a user, of this machine unless the site has Hosts.
func (s *Site) guard(r *http.Request) error {
	switch {
	case isLocal(r.Host):
	case s.Hosts == nil:
		return &Error{http.StatusMisdirectedRequest, errors.New("this server is for programs on this machine; use the host name localhost")}
	case !s.isHost(r.Host):
		return &Error{http.StatusMisdirectedRequest, errors.New("this server does not have that host name: use its address, or give it the name with --http-host")}
	}
	switch site := r.Header.Get("Sec-Fetch-Site"); site {
	case "", "same-origin", "none":
	default:
		return &Error{http.StatusForbidden, errors.New("a page of another site made this request")}
	}
	return nil
}

// isHost reports whether host, with or without a port, is one of Hosts or an address: no web page can have an address for its name.
func (s *Site) isHost(host string) bool {
	host = withoutPort(host)
	return net.ParseIP(host) != nil || slices.ContainsFunc(s.Hosts, func(h string) bool { return strings.EqualFold(h, host) })
}

func withoutPort(host string) string {
	if name, port, err := net.SplitHostPort(host); err == nil {
		if _, err := strconv.ParseUint(port, 10, 16); err == nil {
			host = name
		}
	}
	return strings.Trim(host, "[]")
}

// isLocal reports whether host, with or without a port, is a name or an address of this machine.
func isLocal(host string) bool {
	host = withoutPort(host)
	ip := net.ParseIP(host)
	return strings.EqualFold(host, "localhost") || ip != nil && ip.IsLoopback()
}

var crossOrigin = http.NewCrossOriginProtection()

// admit refuses methods that the route does not have, and effects that a web page could ask for.
func (x *route) admit(w http.ResponseWriter, r *http.Request) error {
	switch {
	case !x.effect && r.Method != http.MethodGet && r.Method != http.MethodHead:
		w.Header().Set("Allow", "GET, HEAD")
		return &Error{http.StatusMethodNotAllowed, fmt.Errorf("%s is for GET", r.URL.Path)}
	case !x.effect:
		return nil
	case r.Method != http.MethodPost:
		w.Header().Set("Allow", "POST")
		return &Error{http.StatusMethodNotAllowed, fmt.Errorf("%s has an effect and is for POST", r.URL.Path)}
	}
	if err := crossOrigin.Check(r); err != nil {
		return &Error{http.StatusForbidden, errors.New("a page of another site made this request")}
	}
	media, _, _ := strings.Cut(r.Header.Get("Content-Type"), ";")
	if r.Header.Get(Header) == "" && !strings.EqualFold(strings.TrimSpace(media), "application/json") {
		return &Error{http.StatusForbidden, errors.New("an effect needs the header " + Header + ", or a JSON content type")}
	}
	return nil
}

const profilePath = "/debug/pprof/"

// routes returns the routes by their paths.
func (s *Site) routes() map[string]*route {
	all := map[string]*route{
		"/livez": {health: true, handle: func(x *exchange) {
			if x.query() == nil {
				x.send(http.StatusOK, Checks{Ok: true})
			}
		}},
		"/readyz":  {health: true, handle: func(x *exchange) { s.ready(x) }},
		"/metrics": {health: true, handle: s.metrics()},
	}
	if s.Status != nil {
		all["/status"] = &route{handle: func(x *exchange) {
			if x.query() == nil {
				x.send(http.StatusOK, s.Status())
			}
		}}
	}
	if s.Conns != nil {
		all["/connz"] = &route{handle: func(x *exchange) { s.connz(x) }}
	}
	for _, r := range s.Routes {
		all["/"+r.Name] = &route{effect: r.Effect, handle: func(x *exchange) { x.call(&r) }}
	}
	if s.Profiles {
		all[profilePath] = &route{secret: true, handle: func(x *exchange) { profile(x.w, x.r) }}
	}
	return all
}

// paths returns what the site serves, for people.
func (s *Site) paths() (list []string) {
	for path, r := range s.routes() {
		if r.effect {
			path += " (POST)"
		}
		list = append(list, path)
	}
	slices.Sort(list)
	return list
}

func profile(w http.ResponseWriter, r *http.Request) {
	switch strings.TrimPrefix(r.URL.Path, profilePath) {
	case "cmdline":
		pprof.Cmdline(w, r)
	case "profile":
		pprof.Profile(w, r)
	case "symbol":
		pprof.Symbol(w, r)
	case "trace":
		pprof.Trace(w, r)
	default:
		pprof.Index(w, r)
	}
}

// An exchange is a request and its response.
type exchange struct {
	w    http.ResponseWriter
	r    *http.Request
	text bool // the response is text for people
}

// wantsText reports whether the response is text: format=text, or else a client that accepts text/plain and not JSON.
func wantsText(r *http.Request) bool {
	if f := r.URL.Query().Get("format"); f != "" {
		return f == "text"
	}
	accept := r.Header.Get("Accept")
	return strings.Contains(accept, "text/plain") && !strings.Contains(accept, "json")
}

// query sends an error, and returns it, if the query has a parameter other than format and those allowed.
func (x *exchange) query(allowed ...string) error {
	q := x.r.URL.Query()
	for name, values := range q {
		if name == "format" && len(values) == 1 && (values[0] == "text" || values[0] == "json") {
			continue
		}
		if name == "format" || len(values) != 1 || !slices.Contains(allowed, name) {
			err := BadRequest("the query: want format=text or json%s, each once", orWords(allowed))
			x.fail(err)
			return err
		}
	}
	return nil
}

func orWords(names []string) string {
	text := ""
	for _, n := range names {
		text += ", " + n + "="
	}
	return text
}

// call calls the route of a command.
func (x *exchange) call(r *Route) {
	if x.query() != nil {
		return
	}
	var body []byte
	if r.Effect {
		_ = http.NewResponseController(x.w).SetWriteDeadline(time.Now().Add(effectTime))
		var err error
		if body, err = io.ReadAll(http.MaxBytesReader(x.w, x.r.Body, MaxBody)); err != nil {
			x.fail(&Error{http.StatusRequestEntityTooLarge, fmt.Errorf("the body has more than %d bytes, or was cut", MaxBody)})
			return
		}
		if !stays(x.r.Context()) {
			return // the client is gone
		}
	}
	answer, err := r.Do(x.r.Context(), body)
	if err != nil {
		x.fail(err)
		return
	}
	x.send(http.StatusOK, answer)
}

// A problem is the body of a response to an error.
type problem struct {
	Text string `json:"error"`
}

func (p problem) String() string { return p.Text }

func (x *exchange) fail(err error) {
	status := http.StatusInternalServerError
	var chosen *Error
	if errors.As(err, &chosen) {
		status = chosen.Status
	}
	x.send(status, problem{Clean(err.Error())})
}

// send sends v as JSON, or as text if the client wants that and v is a fmt.Stringer.
func (x *exchange) send(status int, v any) {
	if text, ok := v.(fmt.Stringer); ok && x.text {
		x.w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		x.w.WriteHeader(status)
		_, _ = io.WriteString(x.w, strings.TrimSuffix(text.String(), "\n")+"\n")
		return
	}
	b, err := json.Marshal(v)
	if err != nil {
		status, b = http.StatusInternalServerError, []byte(`{"error":"the response cannot be written as JSON"}`)
	}
	x.w.Header().Set("Content-Type", "application/json")
	x.w.WriteHeader(status)
	_, _ = x.w.Write(append(b, '\n'))
}
