package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"time"

	"github.com/rs/zerolog"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"tickfeed/cmd/ops"
	"tickfeed/codec"
	"tickfeed/feed"
	"tickfeed/feed/nouns"
	"tickfeed/publisher"
	"tickfeed/subscriber"
)

// httpOptions are the flags of the HTTP server of the commands that run for long.
type httpOptions struct {
	addr      string // empty for none
	pprof     bool
	tokenFile string
	hosts     []string
	tls       *serveTLS // for HTTPS; nil for a command that serves none

	needsCredentials bool        // the command asks its own clients for credentials: see listenAll
	beyond           bool        // other machines can reach addr
	token            codec.Token // that effects require; empty for none
}

// defaultHTTP is the address at which "tickfeed control" and "tickfeed health" look for a command.
const defaultHTTP = "localhost:" + httpPort

// define adds the flags; addr is the default of --http.
func (o *httpOptions) define(cmd *cobra.Command, addr string) {
	defer needPartners(cmd, "http-token-file,http-host,pprof", "http")
	group(cmd, "HTTP", func(f *pflag.FlagSet) {
		f.StringVar(&o.addr, "http", addr, "serve status, control, health, metrics and connections over HTTP on `ADDR`: localhost[:PORT] or unix:PATH; one that other machines can reach, such as :8427, needs a token; empty for none; \"tickfeed help http\" lists the paths")
		f.StringVar(&o.tokenFile, "http-token-file", "", "with --http: control needs the token in `FILE` (default: that in TICKFEED_HTTP_TOKEN, if set), and so does all but health and metrics if other machines can reach ADDR")
		f.StringSliceVar(&o.hosts, "http-host", nil, "with --http: a `NAME` by which other machines call this one, besides its host name and its addresses; repeatable")
		f.BoolVar(&o.pprof, "pprof", false, "with --http: serve profiles of this process below /debug/pprof/")
	})
}

// check reports all invalid flags, and completes the address.
func (o *httpOptions) check() error {
	if o.addr == "" {
		own := o.tls != nil && o.tls.prefix != "" && *o.tls != serveTLS{prefix: o.tls.prefix}
		const needs = "%s needs --http, the address to serve HTTP on"
		return errors.Join(usageIf(o.pprof, needs, "--pprof"), usageIf(o.tokenFile != "", needs, "--http-token-file"),
			usageIf(len(o.hosts) > 0, needs, "--http-host"), usageIf(own, needs, "--http-tls-cert"))
	}
	addr, err := readAddress("--http", o.addr, httpPort)
	if err != nil {
		return err
	}
	o.addr, o.beyond = addr, isBeyond(addr)
	return nil
}

// credentials reads the token. It is an error if there is none and other machines can reach the address.
func (o *httpOptions) credentials(ctx context.Context) (err error) {
	if o.addr == "" {
		return nil
	}
	if o.token, err = secret(ctx, httpTokenFlag, o.tokenFile, httpTokenEnv); err != nil {
		return err
	}
	if o.beyond && o.token == "" {
		return usage("--http %s: other machines can reach this address: name a token with %s FILE or %s, which control then needs, or write localhost:PORT, 127.0.0.1:PORT, [::1]:PORT or unix:PATH",
			o.addr, httpTokenFlag, httpTokenEnv)
	}
	if o.tls != nil && o.tls.prefix != "" { // otherwise the command reads them for its feed
		_, err = o.tls.config(zerolog.Nop())
	}
	return err
}

// guarded reports whether all but health and metrics needs the token. The permissions of a unix socket say who may use it; to use
// a port of this machine it takes only an account, and a command that asks its clients for credentials does not trust every account.
func (o *httpOptions) guarded() bool {
	return o.beyond || o.needsCredentials && !strings.HasPrefix(o.addr, unixPrefix)
}

// listen returns the listener for --http, or nil if there is none.
func (o *httpOptions) listen(ctx context.Context) (net.Listener, error) {
	if o.addr == "" {
		return nil, nil
	}
	if err := o.credentials(ctx); err != nil {
		return nil, err
	}
	return listen(ctx, httpFlag, o.addr)
}

// healthOnly reports whether nothing but health and metrics is served, because the rest needs a token and there is none.
func (o *httpOptions) healthOnly() bool { return o.guarded() && o.token == "" }

// secured reports whether HTTPS is served: with a certificate of its own everywhere, with that of the feed to other machines.
func (o *httpOptions) secured() bool {
	return o.tls != nil && o.tls.cert != "" && (o.beyond || o.tls.prefix != "")
}

// complete returns site with what the flags say.
func (o *httpOptions) complete(site ops.Site) ops.Site {
	site.Version, site.Profiles, site.Token, site.Guarded = thisBuild().Version, o.pprof, o.token, o.guarded()
	if o.beyond {
		name, _ := os.Hostname()
		host, _, _ := net.SplitHostPort(o.addr)
		site.Hosts = append([]string{name, host}, o.hosts...)
	}
	if o.tls != nil {
		site.Files.TLS = o.tls.files
	}
	return site
}

// warning says what is doubtful about the flags, or returns "".
func (o *httpOptions) warning() string {
	switch {
	case o.secured():
		return ""
	case o.healthOnly():
		return "HTTP serves health and metrics only, since this command asks its clients for credentials: for the rest name a token with " + httpTokenFlag + ", or serve on unix:PATH"
	case o.beyond:
		return "HTTP without TLS: the token crosses the network in the clear, and anyone between can read it"
	}
	return ""
}

// serve serves site on ln until ctx ends. It returns nil at once if ln is nil.
func (o *httpOptions) serve(ctx context.Context, ln net.Listener, site ops.Site, log zerolog.Logger) error {
	if ln == nil {
		return nil
	}
	if w := guessable(httpTokenFlag, o.token); w != "" {
		log.Warn().Str("http", listenName(ln)).Msg(w)
	}
	site = o.complete(site)
	var cfg *tls.Config
	if o.secured() {
		var err error
		if cfg, err = o.tls.config(log); err != nil {
			return err
		}
	} else if w := o.warning(); w != "" {
		log.Warn().Str("http", listenName(ln)).Msg(w)
	}
	return ops.ServeTLS(ctx, ln, cfg, site.Handler(), log)
}

// serveBeside starts serve, unless ln is nil, and returns a function that ends it and waits.
func (o *httpOptions) serveBeside(ctx context.Context, ln net.Listener, site ops.Site, log zerolog.Logger) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := o.serve(ctx, ln, site, log); err != nil && ctx.Err() == nil {
			log.Error().Err(err).Msg("http: ended")
		}
	}()
	return func() {
		cancel()
		<-done
	}
}

// A publisherStatus is the status of publish.
type publisherStatus struct {
	Source      string         `json:"source"`
	Started     time.Time      `json:"started"`
	Session     feed.SessionID `json:"session"`
	Head        uint64         `json:"head"`
	Tail        uint64         `json:"tail"`
	Ended       bool           `json:"ended"`
	LastEvent   int64          `json:"event_time"`
	LastPublish int64          `json:"publish_time"`
	Subscribers int            `json:"subscribers"`
	Missing     int            `json:"missing"`
	LagTicks    uint64         `json:"lag_ticks"` // of the slowest subscriber
	LagTime     time.Duration  `json:"lag_ns"`
	Journal     int64          `json:"journal_bytes"`
	Disk        string         `json:"disk,omitempty"`
	Draining    bool           `json:"draining,omitempty"`
}

func newPublisherStatus(pub *publisher.Publisher, source string, started time.Time) publisherStatus {
	s := pub.Summary()
	return publisherStatus{
		Source: source, Started: started, Session: s.Session, Head: s.Head, Tail: s.Tail, Ended: s.Ended, LastEvent: s.LastEvent,
		LastPublish: s.LastPublish, Subscribers: s.Subscribers, Missing: s.Missing, LagTicks: s.Committed - s.Slowest.Passed,
		LagTime: pub.Lag(s.Slowest), Journal: s.Journal, Disk: s.Disk, Draining: s.Draining,
	}
}

// String describes the status for people.
func (s publisherStatus) String() string {
	text := fmt.Sprintf("publishing %s since %s: session %v, next seq %d, %s", ops.Clean(s.Source), s.Started.UTC().Format(time.DateTime), s.Session, s.Head,
		nouns.Count(s.Subscribers, "subscriber"))
	if s.LastEvent != 0 {
		text += ", event time " + time.Unix(0, s.LastEvent).UTC().Format(time.DateTime+"Z")
	}
	if s.LagTicks > 0 {
		text += fmt.Sprintf(", the slowest %s behind (%s)", nouns.Count(s.LagTicks, "tick"), formatDuration(s.LagTime))
	}
	switch {
	case s.Missing == 1:
		text += ", 1 client lost its connection and has not come back"
	case s.Missing > 1:
		text += fmt.Sprintf(", %s lost their connections and have not come back", nouns.Count(s.Missing, "client"))
	}
	if s.Journal > 0 {
		text += ", journal " + formatBytes(s.Journal)
	}
	if s.Ended {
		text += ", the source has ended"
	}
	if s.Draining {
		text += ", DRAINING"
	}
	if s.Disk != "" {
		text += ", PUBLISHING WAITS: " + ops.Clean(s.Disk)
	}
	return text
}

// A subscriptionStatus is the status of subscribe and record.
type subscriptionStatus struct {
	Connections int               `json:"connections"`
	Joined      int               `json:"joined"` // connections that have a publisher
	Line        subscriber.Status `json:"subscription"`
	Totals      numberTotals      `json:"numbers"`
	Recorded    int64             `json:"recorded_bytes,omitempty"`
}

// numberTotals are the totals of the account, as JSON.
type numberTotals struct {
	Delivered uint64 `json:"delivered"`
	NotAsked  uint64 `json:"not_asked"`
	Withheld  uint64 `json:"withheld"`
	Lost      uint64 `json:"lost"`
	Expired   uint64 `json:"expired"`
	Disowned  uint64 `json:"disowned"`
}

// newSubscriptionStatus returns the status of subs; Line is that of the one that is furthest behind.
func newSubscriptionStatus(subs []*subscriber.Subscriber) subscriptionStatus {
	st := subscriptionStatus{Connections: len(subs)}
	var totals feed.Totals
	for i, sub := range subs {
		s := sub.Status()
		if ops.IsJoined(s.State) {
			st.Joined++
		}
		if i == 0 || s.LagTicks > st.Line.LagTicks {
			st.Line = s
		}
		totals.Add(sub.Totals())
	}
	st.Totals = numberTotals(totals)
	return st
}

// String describes the status for people.
func (s subscriptionStatus) String() string {
	session := ""
	if s.Line.Next > 0 {
		session = fmt.Sprintf("session %v, ", s.Line.Session)
	}
	text := fmt.Sprintf("%v at %s, %s%s", s.Line.State, ops.Clean(s.Line.Addr), session, positionText(s.Line.Next))
	if s.Connections > 1 {
		text = fmt.Sprintf("%d of %d connections are joined; the one furthest behind is %s", s.Joined, s.Connections, text)
	}
	if s.Line.LagTicks > 0 {
		text += fmt.Sprintf(", %s behind (%s)", nouns.Count(s.Line.LagTicks, "tick"), formatDuration(s.Line.LagTime))
	}
	text += fmt.Sprintf("; %s delivered, %s withheld, %s lost, %s disowned", nouns.Thousands(s.Totals.Delivered), nouns.Thousands(s.Totals.Withheld),
		nouns.Thousands(s.Totals.Lost), nouns.Thousands(s.Totals.Disowned))
	if s.Recorded > 0 {
		text += ", " + formatBytes(s.Recorded) + " recorded"
	}
	return text
}

// subscriptionSite returns the site of subscribe and record.
func subscriptionSite(command string, view *ops.Subscriptions, status func() any) ops.Site {
	return ops.Site{
		Command: command, Status: status, Ready: view.Ready, Conns: view.Conns,
		Metrics: []ops.Collector{view.Metrics}, Details: []ops.Collector{view.Details},
	}
}

// A symbolsRequest is the body of POST /symbols.
type symbolsRequest struct {
	Patterns string `json:"patterns"` // separated by commas; * is all
}

// A symbolsAnswer is the response to it.
type symbolsAnswer struct {
	Filter  []string `json:"filter"` // what the publisher grants
	Changed bool     `json:"changed"`
	Limits  string   `json:"limits,omitempty"`  // what it does not grant
	Warning string   `json:"warning,omitempty"` // about patterns that match no instrument
}

// String describes the filter for people.
func (a symbolsAnswer) String() string {
	if !a.Changed {
		return ops.Clean(filterText(a.Filter)) + " already, nothing changes"
	}
	text := filterText(a.Filter) + " from now on"
	if a.Limits != "" {
		text += "; " + a.Limits
	}
	if a.Warning != "" {
		text += "; WARNING: " + strings.TrimPrefix(a.Warning, symbolsCommand+": ")
	}
	return ops.Clean(text)
}

// symbolsRoute returns POST /symbols, which changes the filter of the subscriptions.
func symbolsRoute(c *commander) ops.Route {
	return ops.Route{Name: symbolsCommand, Effect: true, Do: func(ctx context.Context, body []byte) (any, error) {
		q, err := ops.Read[symbolsRequest](body)
		if err != nil {
			return nil, err
		}
		answer, err := c.ask(ctx, symbolsCommand+" "+q.Patterns)
		switch {
		case errors.As(err, new(*ops.Error)):
			return nil, err
		case err != nil:
			return nil, ops.BadRequest("%w", err)
		}
		return answer, nil
	}}
}
