package ops

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"tickfeed/codec"
	"tickfeed/codec/certs"
)

// Bounds of a response, in bytes: of a command, and of another server.
const (
	maxAnswer = 16 << 20
	maxText   = 1 << 10
)

// An Answer is a response of a site.
type Answer struct {
	Command string    // the command that responded
	Started time.Time // see StartedHeader; zero if the command does not send it
	Status  int       // of HTTP
	Body    []byte
}

// Errors of Client.Ask, which say why what responded is not the server of a command.
var (
	ErrForeign = errors.New("the server there is not that of a tickfeed command")
	ErrHTTPS   = errors.New("the server there speaks HTTPS") // and was asked without
	ErrNotHTTP = errors.New("the server there does not speak HTTP")
	ErrSilent  = errors.New("the server there does not respond") // in time
)

// A Client asks the server of a command.
type Client struct {
	Addr  string      // HOST:PORT or unix:PATH
	TLS   *tls.Config // for HTTPS; nil for plain HTTP
	Token codec.Token // sent with each request; empty for none
}

// Ask sends one request and returns the response. path may have a query. If body is not nil, the request is a POST of it as JSON,
// otherwise a GET. accept is a content type, empty for any.
func (c *Client) Ask(ctx context.Context, path string, body any, accept string, timeout time.Duration) (*Answer, error) {
	transport := &http.Transport{DisableKeepAlives: true}
	scheme, host, name := "http://", c.Addr, "localhost"
	if socket, ok := strings.CutPrefix(c.Addr, "unix:"); ok {
		host = name
		transport.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", socket)
		}
	}
	if c.TLS != nil {
		if h, _, err := net.SplitHostPort(host); err == nil {
			name = h
		}
		scheme, transport.TLSClientConfig = "https://", certs.ForHost(c.TLS, name)
	}
	client := &http.Client{
		Transport: transport, Timeout: timeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return ErrForeign },
	}
	method, content := http.MethodGet, []byte(nil)
	if body != nil {
		var err error
		if content, err = json.Marshal(body); err != nil {
			return nil, err
		}
		method = http.MethodPost
	}
	r, err := http.NewRequestWithContext(ctx, method, scheme+host+path, bytes.NewReader(content))
	if err != nil {
		return nil, err
	}
	r.Header.Set(Header, "client")
	if body != nil {
		r.Header.Set("Content-Type", "application/json")
	}
	if accept != "" {
		r.Header.Set("Accept", accept)
	}
	if c.Token != "" {
		r.Header.Set("Authorization", bearer+string(c.Token))
	}
	response, err := client.Do(r)
	if err != nil {
		var at *url.Error
		if errors.As(err, &at) {
			err = at.Err
		}
		return nil, c.explain(err, timeout)
	}
	defer response.Body.Close()
	a := &Answer{Command: response.Header.Get(Header), Status: response.StatusCode}
	if a.Command == "" {
		text, _ := io.ReadAll(io.LimitReader(response.Body, maxText))
		if c.TLS == nil && bytes.Contains(text, []byte("HTTP request to an HTTPS server")) { // so says package net/http
			return nil, ErrHTTPS
		}
		return nil, ErrForeign
	}
	a.Started, _ = time.Parse(time.RFC3339Nano, response.Header.Get(StartedHeader))
	if a.Body, err = io.ReadAll(io.LimitReader(response.Body, maxAnswer)); err != nil {
		return nil, c.explain(err, timeout)
	}
	return a, nil
}

// explain describes err, which ended a request with the given timeout.
func (c *Client) explain(err error, timeout time.Duration) error {
	var n net.Error
	switch {
	case errors.As(err, &n) && n.Timeout():
		return fmt.Errorf("%w within %v", ErrSilent, timeout)
	case strings.Contains(err.Error(), "malformed HTTP"): // so says package net/http
		return ErrNotHTTP
	case c.TLS == nil:
		return err
	case certs.IsFeed(err):
		return ErrNotHTTP
	}
	return certs.DialError(err)
}

// Err returns the error that the server reports, or nil.
func (a *Answer) Err() error {
	if a.Status == http.StatusOK {
		return nil
	}
	var p problem
	if json.Unmarshal(a.Body, &p) == nil && p.Text != "" {
		return errors.New(p.Text)
	}
	text := strings.TrimSpace(string(a.Body))
	if text == "" {
		text = http.StatusText(a.Status)
	}
	return fmt.Errorf("%s", text)
}
