package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"tickfeed/cmd/ops"
	"tickfeed/codec/certs"
)

// askOptions are the flags of the commands that ask another command over HTTP: control, health and top.
type askOptions struct {
	tls       dialTLS
	tokenFile string
}

// define adds the flags.
func (o *askOptions) define(cmd *cobra.Command) {
	group(cmd, "Access", func(f *pflag.FlagSet) {
		f.StringVar(&o.tokenFile, strings.TrimPrefix(httpTokenFlag, "--"), "", "send the token in `FILE`, which control of the command needs if it has one (default: that in TICKFEED_HTTP_TOKEN, if set)")
	})
	group(cmd, groupTLS, o.tls.define)
}

// client returns a client of the server at addr, the value of flag: HOST[:PORT] or unix:PATH, or https://HOST[:PORT].
func (o *askOptions) client(ctx context.Context, p *program, flag, addr string) (*ops.Client, error) {
	on := o.tls
	if rest, ok := strings.CutPrefix(addr, "https://"); ok {
		addr, on.on = strings.TrimSuffix(rest, "/"), true
	} else if rest, ok := strings.CutPrefix(addr, "http://"); ok {
		addr = strings.TrimSuffix(rest, "/")
	}
	addr, err := readAddress(flag, addr, httpPort)
	if err != nil {
		return nil, err
	}
	c := &ops.Client{Addr: addr}
	if c.TLS, err = on.config(p.notef); err != nil {
		return nil, err
	}
	p.warnOfSecrets(o.tokenFile, o.tls.key)
	c.Token, err = secret(ctx, httpTokenFlag, o.tokenFile, httpTokenEnv)
	return c, err
}

// askError describes err of ops.Client for people.
func askError(ctx context.Context, addr string, err error) error {
	var secure *certs.Error
	switch {
	case ctx.Err() != nil:
		return errInterrupted
	case errors.Is(err, ops.ErrHTTPS):
		return &exitError{exitRefused, fmt.Errorf("%s: %w: write https://%[1]s", addr, err)}
	case errors.Is(err, ops.ErrSilent):
		return fmt.Errorf("%s: %w: the process hangs or is stopped, or the network drops its answers", addr, err)
	case errors.Is(err, ops.ErrNotHTTP):
		return fmt.Errorf("%s: %w; it may be the address at which a publisher serves its feed: name the value of its --http instead", addr, err)
	case errors.Is(err, ops.ErrForeign):
		return fmt.Errorf("%s: %w; name the address at which a command serves HTTP, the value of its --http", addr, err)
	case errors.As(err, &secure):
		return &exitError{exitRefused, fmt.Errorf("%s: %w", addr, secure)}
	case strings.Contains(err.Error(), "HTTP response to HTTPS client"): // so says package net/http
		return &exitError{exitRefused, fmt.Errorf("%s: the server there speaks plain HTTP: leave out https:// and the flags of TLS", addr)}
	}
	return fmt.Errorf("cannot reach a command at %s: %w; is one running there, with this --http?", addr, cause(err))
}

// answerError returns the error that the answer of the server reports, or nil.
func answerError(a *ops.Answer) error {
	err := a.Err()
	switch {
	case err != nil && a.Status == http.StatusUnauthorized:
		needs := "no token was sent"
		if strings.Contains(err.Error(), ops.WrongToken) {
			needs = ops.WrongToken
		}
		return &exitError{exitRefused, fmt.Errorf("%s, and this needs the one that tickfeed %s was started with: name its file with %s, or write it into %s",
			needs, a.Command, httpTokenFlag, httpTokenEnv)}
	case err != nil && a.Status == http.StatusForbidden:
		return &exitError{exitRefused, err}
	}
	return err
}
