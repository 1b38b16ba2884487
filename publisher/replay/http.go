package replay

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// ControlHeader is a header, with any value that is not empty, by which a program shows that its request does not
// come from a web page. A JSON content type has the same effect.
const ControlHeader = "X-Tickfeed"

// maxControl bounds the body of a request, in bytes.
const maxControl = 4096

// A ControlRequest is the body of POST /step, /speed and /seek. Each uses one field.
type ControlRequest struct {
	N     uint64 `json:"n,omitempty"`     // for step: number of ticks, at most MaxStep; 0 for 1
	Speed *Speed `json:"speed,omitempty"` // for speed
	To    string `json:"to,omitempty"`    // for seek: a target for ParseTarget
}

// A ControlError is the body of a response whose status is not 200.
type ControlError struct {
	Error string `json:"error"`
}

// Handler serves GET /status, and POST /pause, /resume, /step, /speed and /seek. Each responds with the Status as
// JSON, extended by the JSON fields of the value that info returns. Times of day in requests are in zone.
//
// The handler is for loopback. It accepts requests for names of this machine only (otherwise 421), so that no web
// page reaches it by a host name of its own. Commands must be POST requests from the same origin with a ControlHeader
// or a JSON content type, which a form on another site cannot send.
func (p *Player) Handler(info func() any, zone *time.Location) http.Handler {
	c := &control{p: p, info: info, zone: zone}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /status", func(w http.ResponseWriter, _ *http.Request) { c.status(w) })
	for path, do := range map[string]func(context.Context, *ControlRequest) error{
		"/pause":  func(ctx context.Context, _ *ControlRequest) error { return p.Pause(ctx) },
		"/resume": func(ctx context.Context, _ *ControlRequest) error { return p.Resume(ctx) },
		"/step":   func(ctx context.Context, r *ControlRequest) error { return p.Step(ctx, max(1, r.N)) },
		"/speed": func(ctx context.Context, r *ControlRequest) error {
			if r.Speed == nil {
				return &badRequest{`the body must contain the speed, such as {"speed": "10x"}`}
			}
			return p.SetSpeed(ctx, float64(*r.Speed))
		},
		"/seek": func(ctx context.Context, r *ControlRequest) error {
			t, err := ParseTarget(r.To, zone)
			if err != nil {
				return &badRequest{err.Error()}
			}
			return p.Seek(ctx, t)
		},
	} {
		mux.HandleFunc("POST "+path, func(w http.ResponseWriter, r *http.Request) { c.serve(w, r, do) })
	}
	return localOnly(http.NewCrossOriginProtection().Handler(mux))
}

type badRequest struct{ text string }

func (e *badRequest) Error() string { return e.text }

type control struct {
	p    *Player
	info func() any
	zone *time.Location
}

func (c *control) serve(w http.ResponseWriter, r *http.Request, do func(context.Context, *ControlRequest) error) {
	media, _, _ := strings.Cut(r.Header.Get("Content-Type"), ";")
	if r.Header.Get(ControlHeader) == "" && !strings.EqualFold(strings.TrimSpace(media), "application/json") {
		fail(w, http.StatusForbidden, "a command needs the header "+ControlHeader+", or a JSON content type")
		return
	}
	var q ControlRequest
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxControl))
	if err != nil {
		fail(w, http.StatusRequestEntityTooLarge, fmt.Sprintf("the body has more than %d bytes, or was cut", maxControl))
		return
	}
	if len(body) > 0 {
		if err := json.Unmarshal(body, &q); err != nil {
			fail(w, http.StatusBadRequest, "the body: "+err.Error())
			return
		}
	}
	switch err := do(r.Context(), &q); {
	case errors.As(err, new(*badRequest)), errors.As(err, new(*StepError)), errors.As(err, new(*RangeError)):
		fail(w, http.StatusBadRequest, err.Error())
	case errors.Is(err, ErrStopped):
		fail(w, http.StatusServiceUnavailable, err.Error())
	case err != nil:
		fail(w, http.StatusInternalServerError, err.Error())
	default:
		c.status(w)
	}
}

// status responds with the status of the player and the fields of info.
func (c *control) status(w http.ResponseWriter) {
	b, err := json.Marshal(c.p.Status())
	if err == nil && c.info != nil {
		var more []byte
		if more, err = json.Marshal(c.info()); err == nil && len(more) > 2 {
			b = append(append(b[:len(b)-1], ','), more[1:]...)
		}
	}
	if err != nil {
		fail(w, http.StatusInternalServerError, err.Error())
		return
	}
	header(w)
	_, _ = w.Write(append(b, '\n'))
}

func header(w http.ResponseWriter) {
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
}

func fail(w http.ResponseWriter, status int, text string) {
	header(w)
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(ControlError{text})
}

// localOnly refuses requests for names other than those of this machine.
func localOnly(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		host := r.Host
		if name, port, err := net.SplitHostPort(host); err == nil {
			if _, err := strconv.ParseUint(port, 10, 16); err == nil {
				host = name
			}
		}
		host = strings.Trim(host, "[]")
		if ip := net.ParseIP(host); !strings.EqualFold(host, "localhost") && (ip == nil || !ip.IsLoopback()) {
			fail(w, http.StatusMisdirectedRequest, "this server controls a replay on this machine; use the host name localhost")
			return
		}
		h.ServeHTTP(w, r)
	})
}

// ControlServer returns a server for h with bounds on the duration and size of requests.
func ControlServer(h http.Handler) *http.Server {
	return &http.Server{
		Handler: h, ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second, WriteTimeout: 5 * time.Minute,
		IdleTimeout: time.Minute, MaxHeaderBytes: 16 << 10,
	}
}
