// Package ops serves what operators and their tools ask of a running command, over HTTP: its status, its health, its
// metrics, its connections, and the few effects that it offers. A command describes itself in a [Site] and adds routes for
// what only it can do; the guards and the bounds are those of the site, the same for all commands and all routes.
//
//	site := ops.Site{Command: "publish", Version: "1.2", Status: func() any { return status }}
//	err := ops.Serve(ctx, listener, site.Handler(), logger)
//
// The routes of every command are
//
//	GET  /status   what the command does now
//	GET  /livez    200 as long as the process responds
//	GET  /readyz   200 if it does its work, 503 with the reasons if not
//	GET  /metrics  for Prometheus; ?detail=1 adds the metrics of each connection and of the Go runtime
//	GET  /connz    the connections; ?sort=lag&limit=100
//	POST /NAME     an effect
//
// A response is JSON, or text for people if the request has ?format=text or accepts text/plain only.
//
// The server is for the machine it runs on: it listens on a loopback address or a unix socket, and requires no credentials unless
// it is given a token, which effects and profiles then require. A server that other machines can reach, or whose command asks its
// clients for credentials, is guarded: it requires the token for all but its health and the few metrics. A server may speak HTTPS.
// All refuse everything that a web page in a browser could send: see [Site.Handler].
//
// # Adding a metric
//
// A number of publisher.Summary becomes a metric in publisher.go: a desc beside the others, and a line of
// [Publisher.Metrics], or of [Publisher.Details] if each connection has one. Subscriptions and recordings have theirs in
// subscriber.go, a replay in replay.go and the rules of a lab in lab.go, in the same way. A new collector is added to
// [Site].Metrics or Details where the command makes its Site (cmd/tickfeed). Label values
// must be bounded in number. README.md explains metrics; dashboard.json and alerts.yml use some.
package ops
