// Package ops serves what operators and their tools ask of a running command, over HTTP: its status, its health, its
// metrics, its connections, and the few effects that it offers. A command describes itself in a [Site] and adds routes for
// what only it can do; the guards and the bounds are those of the site, the same for all commands and all routes.
//
//	site := ops.Site{Command: "publish", Version: "1.2", Status: func() any { return status }}
//	err := ops.Serve(ctx, listener, site.Handler(), logger)
//
// The routes are
//
//	GET  /livez        200 as long as the process responds
//	GET  /readyz       200 if it does its work, 503 with the reasons if not
//	GET  /metrics      for Prometheus; ?detail=1 adds the metrics of each connection and of the Go runtime
//	GET  /status       what the command does now, with Site.Status
//	GET  /connz        the connections, with Site.Conns (a lab has none); ?sort=lag&limit=100
//	GET  /debug/pprof  the profiles, with Site.Profiles
//	GET  /NAME         what one command reports, such as /overview of a publisher and /rules of a lab
//	POST /NAME         an effect of one command
//
// A response is JSON, or text for people if the request has ?format=text or accepts text/plain only.
//
// A server on a loopback address or a unix socket requires no credentials, unless it has a token, which effects and profiles
// then require. A server that other machines can reach is guarded: it requires the token for all but its health and the metrics
// without details. So is a server on a loopback address whose command asks its clients for credentials; the permissions of a unix
// socket guard it instead. A server may speak HTTPS. All refuse everything that a web page in a browser could send: see
// [Site.Handler].
package ops
