package main

import (
	"fmt"
	"strings"

	"tickfeed/feed/files"

	"github.com/spf13/cobra"
)

// Help topics are commands that only have a help page: "tickfeed help formats".
const (
	topicFormats   = "formats"
	topicScenarios = "scenarios"
	topicHTTP      = "http"
)

// formatsTopic describes the flags that say how files that are not recordings are read, once for all commands that have them.
func (p *program) formatsTopic() *cobra.Command {
	var o importOptions
	cmd := &cobra.Command{
		Use:   topicFormats,
		Short: "How files that are not recordings are read, and the flags for that",
		Long: `publish, replay, import, inspect, cut, merge, export and bench read files of
these formats, which they detect by content:

` + titlesOfFormats() + `

Files compressed with gzip or zstd are decompressed. "tickfeed import --help"
describes each format. All these commands accept the flags below.`,
	}
	importFlags(cmd, &o)
	cmd.SetHelpFunc(func(cmd *cobra.Command, _ []string) { // cobra prints no flags of a topic
		fmt.Fprintln(cmd.OutOrStdout(), cmd.Long)
		fmt.Fprint(cmd.OutOrStdout(), cmd.UsageString())
	})
	return cmd
}

// titlesOfFormats returns the names of all formats of files, wrapped.
func titlesOfFormats() string {
	var titles []string
	for _, f := range files.Formats() {
		titles = append(titles, f.Title())
	}
	return wrap("  "+strings.Join(titles, ", "), 80, "  ")
}

// scenariosTopic describes the two forms in which a person or a script writes ticks by hand.
func (p *program) scenariosTopic() *cobra.Command {
	return &cobra.Command{
		Use:   topicScenarios,
		Short: "How to write ticks by hand, as NDJSON or in the text form",
		Long: `This page is about ticks. Scenarios of a simulated market (halts, crashes,
bursts) are scripts of rules for publish --scenario and --event, which "tickfeed
publish --list" documents. "tickfeed lab --list" documents faults of a network.

Tests of a client often need a few exact ticks. They can be written in two ways.

NDJSON has one line per tick, which any script can write to standard input:

  $ tickfeed publish - --exit-at-end <<'END'
  {"time":"2026-03-02T14:30:00Z","symbol":"AAPL","bid":187.25,"ask":187.26}
  {"time":"2026-03-02T14:30:01Z","symbol":"AAPL","price":187.26,"size":100}
  END

  time      the event time, in UTC: RFC 3339, or a number since the Unix epoch,
            in s, ms, us or ns by its magnitude (--epoch-unit sets the unit)
  symbol    the instrument; venue is optional
  bid, bid_size, ask, ask_size
            a quote. Prices and sizes are decimal numbers in the instrument's
            currency and units, exact as written; if a bid is left out or null,
            there is no bid
  price, size, side
            a trade; side is the aggressor's, buy or sell. trade_id and
            conditions are optional
  type      quote, trade, correction, cancel, level, clear, status, auction or
            definition, each with the keys that "subscribe --json" prints

The publisher numbers the ticks from 1 and sends the definition of an instrument
before its first tick. It publishes them at once, or at --rate N.

The text form is a whole recording, with numbers, publish times, gaps and
sessions. It is played at the pace of its publish times:

  $ tickfeed replay scenario.txt

  tickfeed-text 1
  session lineage=00000000000000a1:1 mode=live
  packet 2026-03-02T14:30:00Z
    define #0 symbol=AAPL venue=XNAS price=-2
    quote AAPL 187.25 300 187.26 500
  packet 2026-03-02T14:30:00.5Z
    trade AAPL 187.26 100 buy id=7
  packet 2026-03-02T14:30:01Z
    gone 50 expired
  closed

  packet TIME   the publish time of the ticks that follow; their event time too,
                unless given as an offset in ns: trade +1000 AAPL 187.26 100
  define        #ID symbol= venue= price=EXPONENT size=EXPONENT currency=
                tick= lot=; prices are multiples of 10^EXPONENT
  quote         INSTRUMENT BID SIZE ASK SIZE; - is no price
  trade         INSTRUMENT PRICE SIZE [buy|sell] id= cond=
  level         INSTRUMENT bid|ask PRICE SIZE
  clear         INSTRUMENT bid|ask|both
  status        INSTRUMENT pre-open|trading|halted|auction|closed day=YYYYMMDD
                reason= end=+NS, after the event time
  auction       INSTRUMENT opening|closing|intraday|halt|ipo PRICE SIZE
                [buy|sell] imbalance=SIZE at=+NS, after the event time
  skip N, withheld N, gone N expired|damaged|denied
                N numbers without ticks; withheld and gone need a packet of
                their own

"tickfeed export session.tick -o session.txt" writes any recording in this form,
for editing; "tickfeed import session.txt -o session.tick" converts it back.`,
	}
}

// httpTopic describes what --http serves, once for all commands that have it.
func (p *program) httpTopic() *cobra.Command {
	return &cobra.Command{
		Use:   topicHTTP,
		Short: "What a command serves over HTTP: status, health, metrics, control",
		Long: `publish, replay, record, subscribe, lab and demo serve HTTP on the address of
--http: localhost:PORT (8427 if PORT is left out), unix:PATH, or an address that
other machines can reach. A replay does so by default, on localhost, the others
if they are asked to.

  $ tickfeed publish --http localhost
  $ tickfeed health && tickfeed control status
  $ curl localhost:8427/metrics

All commands:
  GET  /status    what the command does, as "tickfeed control status" shows it
  GET  /livez     200 as long as the process responds
  GET  /readyz    200 if it does its work, 503 and the reasons if not: the journal
                  or the recording can be written, the head moves or the market
                  is closed (publish --stale-after), the publisher is joined,
                  the certificate has not expired, no drain is under way
  GET  /metrics   for Prometheus; ?detail=1 adds those of each connection and of
                  the Go runtime. cmd/ops has alert rules and a dashboard
  GET  /debug/pprof/   profiles of the process, with --pprof

publish, replay, record, subscribe:
  GET  /connz     the connections; ?limit=100, ?sort=lag (the default), bytes,
                  position, connection, name, user, address or since. "filter" is
                  what was asked for last; "granted", "denied", "depth" and
                  "limits" say what the user may see of it, if not all

replay:
  POST /pause, /resume, /step {"n": 3}, /speed {"speed": "10x"},
       /seek {"to": "09:45"}

lab, publish:
  GET  /rules     the rules, with how often each did something
  POST /add {"rule": "every 10s: cut rst"}, with publish
       {"rule": "halt TSLA for 10m"}; /remove {"n": 3}, {"name": "storm"} or
       {"name": "all"}; /trigger {"name": "storm"}

publish, replay:
  GET  /overview  all that "tickfeed top" shows, but the connections
  POST /kick {"connection": 7}   end a connection; its client comes back

publish:
  POST /drain {"over": "30s"}   end the process without a storm: no client
                  is admitted any more, and the goodbyes are spread over that
                  time (10s)
  POST /reload    read files again; so does SIGHUP if there is no terminal

subscribe:
  POST /symbols {"patterns": "AAPL,ES*"}
                  the response has the filter that the publisher grants, and as
                  limits what it does not; status 403 if it grants nothing,
                  which ends the subscription

Responses are JSON, or text for people with ?format=text; durations are in
nanoseconds, times of ticks in nanoseconds since the Unix epoch. The header
X-Tickfeed of a response names the command, and X-Tickfeed-Started the time at
which its process began to serve HTTP, which tells it from the next process. A
POST needs a JSON content type, or any value in the header X-Tickfeed. Requests
of web pages are refused: for another host name than localhost, or from another
site.

With --http-token-file FILE, or TICKFEED_HTTP_TOKEN, each POST and /debug/pprof/
need the token in FILE, in the header "Authorization: Bearer TOKEN"; "tickfeed
control" and "top" take the same flag and variable.

An address that other machines can reach, such as :8427, needs that token, and
there every path needs it but /livez, /readyz, and /metrics without details, which
name no client, user or instrument. The same holds for a port of this machine if
the command asks its own clients for credentials (--users, --token-file,
--tls-client-ca); without a token the rest is then refused. unix:PATH is for the
accounts that may write to the file PATH, and needs a token only if there is one.

Other machines reach the host name and the addresses of this machine; --http-host
adds names. publish, replay and lab serve them HTTPS if they have --tls-cert, and
with --tls-client-ca only to clients with a certificate; localhost and unix:PATH
stay plain HTTP. subscribe and record serve HTTPS with --http-tls-cert. Without
TLS the token crosses the network in the clear.

  $ tickfeed publish --tls-cert feed.pem --tls-key feed.key \
      --http :8427 --http-token-file token
  $ tickfeed control drain --addr https://feed.example.com \
      --tls-ca ca.pem --http-token-file token`,
	}
}
