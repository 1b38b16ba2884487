package ops

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// maxAnswer bounds a response, in bytes.
const maxAnswer = 16 << 20

// An Answer is a response of a site.
type Answer struct {
	Command string // the command that responded
	Status  int    // of HTTP
	Body    []byte
}

// ErrForeign reports that a server responded that is not the HTTP server of a tickfeed command.
var ErrForeign = errors.New("the server there is not that of a tickfeed command")

// Ask sends one request to the server at addr, HOST:PORT or unix:PATH, and returns its response. path may have a query. If
// body is not nil, the request is a POST of it as JSON, otherwise a GET. accept is a content type, empty for any.
func Ask(ctx context.Context, addr, path string, body any, accept string, timeout time.Duration) (*Answer, error) {
	transport := &http.Transport{DisableKeepAlives: true}
	host := addr
	if socket, ok := strings.CutPrefix(addr, "unix:"); ok {
		host = "localhost"
		transport.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", socket)
		}
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
	r, err := http.NewRequestWithContext(ctx, method, "http://"+host+path, bytes.NewReader(content))
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
	response, err := client.Do(r)
	if err != nil {
		var at *url.Error
		if errors.As(err, &at) {
			err = at.Err
		}
		return nil, err
	}
	defer response.Body.Close()
	a := &Answer{Command: response.Header.Get(Header), Status: response.StatusCode}
	if a.Command == "" {
		return nil, ErrForeign
	}
	a.Body, err = io.ReadAll(io.LimitReader(response.Body, maxAnswer))
	return a, err
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
