package main

import (
	"errors"
	"time"

	"github.com/rs/zerolog"
	"github.com/spf13/pflag"

	"tickfeed/codec"
	"tickfeed/feed/nouns"
	"tickfeed/publisher"
)

// To add a command that serves subscribers, follow program.lab (lab.go), the shortest example, and for a command with a publisher
// program.publish (publish.go):
//
//   - Register the command in main.go. If it writes files with ticks or positions, name it in the call of fileModeFlag there.
//   - serviceOptions.define and check are its flags. httpOptions.define and check are those of --http; set httpOptions.tls to the
//     certificates of the command, or leave it nil for no HTTPS. Name the paths that it serves in httpTopic (topics.go).
//   - serveTLS.config, with certs.Protocol, makes a *tls.Config of the files of certificates, which are read at each connection.
//     It goes to publisher.Config.TLS, never to tls.NewListener: the publisher writes to the sockets of its connections directly,
//     which a *tls.Conn that it did not make itself would hide.
//   - warnOfSecrets warns of files with keys and tokens that others can read.
//   - listenAll opens the listeners, that of --http too. Call it before publisher.New, which counts the open file descriptors.
//   - An ops.Site says what the command shows over HTTP. serveBeside serves it until the stop that it returns is called.
//   - (*Publisher).Serve owns each listener of subscribers, and returns when the command's context ends.
//   - Add its site to both sets of sites for tests: sites_test.go here and in cmd/ops. Their tests check every site.

// serviceOptions are the flags of the commands that serve subscribers: publish and replay.
type serviceOptions struct {
	listen         []string
	heartbeat      time.Duration
	maxConnections int
	connections    *pflag.Flag // the flag of maxConnections
	maxLag         time.Duration
	retryAfter     time.Duration
	tokenFile      string
	tls            serveTLS
	memory         byteSize
	status         time.Duration
}

// define adds the flags of the heading Service; memoryNote and statusNote are appended to the usage of --memory and --status.
func (o *serviceOptions) define(f *pflag.FlagSet, memoryNote, statusNote string) {
	f.StringArrayVar(&o.listen, "listen", []string{defaultAddress}, "`ADDR` to listen on: HOST[:PORT], [IPv6]:PORT or unix:PATH; repeatable")
	f.DurationVar(&o.heartbeat, "heartbeat", publisher.DefaultHeartbeat, "send a heartbeat on a connection that was silent this long")
	countVar(f, &o.maxConnections, "max-connections", publisher.DefaultConnections, "accept at most `N` subscribers; fewer if the file descriptor limit is too low")
	o.connections = f.Lookup("max-connections")
	f.DurationVar(&o.maxLag, "max-lag", publisher.DefaultMaxLag, "default lag limit for subscribers with --slow latest or disconnect that set none")
	f.DurationVar(&o.retryAfter, "retry-after", 0, "at shutdown, ask each subscriber to wait a random time up to this long before it reconnects")
	f.StringVar(&o.tokenFile, "token-file", "", "require the credentials in `FILE` (default: those in TICKFEED_TOKEN, if set)")
	o.memory = publisher.DefaultMemory
	f.Var(&o.memory, "memory", "`SIZE` of the in-memory log"+memoryNote)
	f.DurationVar(&o.status, "status", 5*time.Second, "interval between status lines"+statusNote+"; 0 for never")
}

// connectionsAsked returns --max-connections, or 0 if the flag was not given; the publisher then accepts as many as file
// descriptors allow.
func (o *serviceOptions) connectionsAsked() int {
	if !o.connections.Changed && o.maxConnections == publisher.DefaultConnections {
		return 0
	}
	return o.maxConnections
}

// check reports all invalid flags, and completes the addresses.
func (o *serviceOptions) check() error {
	return errors.Join(
		usageIf(o.heartbeat < publisher.MinHeartbeat || o.heartbeat > publisher.MaxHeartbeat, "--heartbeat must be from %v to %v, got %v", publisher.MinHeartbeat, publisher.MaxHeartbeat, o.heartbeat),
		usageIf(o.maxConnections < 1, "--max-connections must be at least 1, got %d", o.maxConnections),
		usageIf(o.maxLag < time.Millisecond || o.maxLag > codec.MaxDuration, "--max-lag must be from 1ms to %v, got %v", codec.MaxDuration, o.maxLag),
		usageIf(o.retryAfter < 0 || o.retryAfter > time.Hour, "--retry-after must be from 0 to 1h, got %v", o.retryAfter),
		usageIf(o.memory < publisher.MinMemory, "--memory must be at least 1MiB (%s), got %s", nouns.Count(publisher.MinMemory, "byte"), nouns.Count(int64(o.memory), "byte")),
		usageIf(o.status < 0, "--status must not be negative, got %v", o.status),
		usageIf(len(o.listen) == 0, "--listen names no address"),
		readAddresses("--listen", o.listen, defaultPort))
}

// An announcer logs the events of a service.
type announcer struct {
	log     zerolog.Logger
	console bool // the log is for people
}

// say logs one event: text on a console, otherwise event with the fields.
func (a *announcer) say(event, text string, fields ...any) {
	if a.console {
		a.log.Info().Msg(printable(text))
		return
	}
	a.log.Info().Fields(fields).Msg(event)
}
