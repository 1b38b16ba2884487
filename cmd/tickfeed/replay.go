package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net"
	"strings"
	"time"

	"github.com/rs/zerolog"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"golang.org/x/sync/errgroup"

	"tickfeed/cmd/ops"
	"tickfeed/codec/certs"
	"tickfeed/codec/recording/place"
	"tickfeed/feed"
	"tickfeed/feed/nouns"
	"tickfeed/publisher"
	"tickfeed/publisher/replay"
)

// replayOptions are the flags of replay.
type replayOptions struct {
	importOptions

	speed     replaySpeed
	from, to  string
	symbols   []string
	loop      bool
	shift     string
	gapLimit  time.Duration
	clock     string
	paused    bool
	waitFor   int
	startAt   string
	exitAtEnd bool

	begin, end place.Place // from and to, parsed

	serviceOptions
	http httpOptions
}

// replaySpeed is a flag: 1x, 10x, 0.5x or max.
type replaySpeed float64

func (s *replaySpeed) Type() string { return "speed" }

func (s *replaySpeed) String() string { return replay.Speed(*s).String() }

func (s *replaySpeed) Set(text string) error {
	v, err := replay.ParseSpeed(text)
	*s = replaySpeed(v)
	return err
}

func (p *program) replayCommand() *cobra.Command {
	o := replayOptions{speed: 1, importOptions: importOptions{places: true}}
	cmd := &cobra.Command{
		Use:   "replay FILE...",
		Short: "Publish a recording again, as it happened or at another pace",
		Long: `Publish recorded ticks to any number of subscribers, which share one clock. FILE is a recording, or
any file that "tickfeed import" reads, which is imported first. ` + pipesHelp + ` The ticks of one recording keep their numbers; numbers
that the recording does not hold stay not asked, withheld or gone. Several files are combined as by
"tickfeed merge": recordings of one session and its successors are joined, and keep their numbers; others
are merged by time under new numbers, and the state that each recording begins with is published when
that recording begins. Each tick is published at its original time or later, never earlier: its market time,
which is the latest event time so far, or with --clock publish its publish time; --speed sets the pace.
No tick is dropped at any speed. Numbers and event times are those of the recording; publish times, which
subscribers measure their latency from, are those of the replay.

A running replay is controlled by "tickfeed control", by HTTP on ` + defaultHTTP + `, and on a terminal by keys:

` + indented(keysHelp) + `

A seek, a loop, or another session in the recording starts a new session from the state at that point;
subscribers follow automatically. Before a loop or another session of the recording begins, all
subscribers are sent the rest of the session before it: the replay waits for each subscriber as long as
it confirms more ticks within 10 s, and 10 s for those that lost their connection, but in all at most
10 s plus one second per 1,000 numbers of the session, and never more than 5 minutes. The log names the
subscribers that the replay waits for and those that it leaves behind. A seek does not wait, and ends the
wait. At the end the replay serves late joiners, and can seek back, until Ctrl-C. Ticks that subscribers
may still read are kept in the directory for temporary files (TMPDIR).

` + placesHelp + `

Exit codes: 0 done; 3 the recording is damaged, or holds nothing to play; 130 Ctrl-C.`,
		Example: `  tickfeed replay day.tick
  tickfeed replay day.tick.zst --speed 10x --from 09:45 --zone America/New_York
  tickfeed replay quotes.dbn.zst --symbols 'ES*' --loop --shift now
  tickfeed replay night.tick --gap-limit 5s --wait-subscribers 2 --exit-at-end
  tickfeed replay a.tick b.tick --speed max --listen unix:r.sock --http ''
  zstdcat day.tick.zst | tickfeed replay -`,
		Args: wantArgs(1, math.MaxInt, "name of a file"),
		RunE: func(cmd *cobra.Command, args []string) error { return p.replay(cmd, &o, args) },
	}
	group(cmd, "What to play", func(f *pflag.FlagSet) {
		f.StringVar(&o.from, "from", "", "begin at this `PLACE` (default: the first tick)")
		f.StringVar(&o.to, "to", "", "end before this `PLACE` (default: after the last tick)")
		f.StringSliceVar(&o.symbols, "symbols", nil, "only instruments that match `PATTERNS`: SYMBOL or SYMBOL@VENUE with wildcards * and ?, separated by commas")
		f.BoolVar(&o.loop, "loop", false, "start again after the end")
		clockFlag(f, &o.clock)
	})
	group(cmd, "Pace", func(f *pflag.FlagSet) {
		f.Var(&o.speed, "speed", "playback speed: 1x, 10x, 0.5x, or max (as fast as possible)")
		f.DurationVar(&o.gapLimit, "gap-limit", 0, "limit quiet periods, such as nights, to this length, in recorded time")
		f.StringVar(&o.shift, "shift", "", "`now`: shift event times by a constant, so that they begin now")
		f.BoolVar(&o.paused, "paused", false, "start paused")
		countVar(f, &o.waitFor, "wait-subscribers", 0, "start when `N` subscribers are connected")
		f.StringVar(&o.startAt, "start-at", "", "start at this `TIME` of the clock, such as 14:30:00 (today, or tomorrow if it has passed) or RFC 3339")
		f.BoolVar(&o.exitAtEnd, "exit-at-end", false, "exit at the end, once a subscriber has connected (with --wait-subscribers: N of them) and every subscriber, also one on its way from one session to the next, has everything")
	})
	group(cmd, "Service", func(f *pflag.FlagSet) {
		o.define(f, "; subscribers that lag further behind are served from a temporary file", ", if standard error is not a terminal")
	})
	group(cmd, groupTLS, o.tls.define)
	o.http.define(cmd, defaultHTTP)
	o.http.tls = &o.tls
	importFlags(cmd, &o.importOptions)
	excludeEachOther(cmd.Flags(), "loop", "exit-at-end")
	return cmd
}

// config returns the player's configuration from the flags, without recordings.
func (o *replayOptions) config(now time.Time) (cfg replay.Config, zone *time.Location, err error) {
	if zone, err = o.location(); err != nil {
		return cfg, nil, err
	}
	if cfg.Clock, err = o.parsePlaces(o.clock, placeFlag{"--from", o.from, &o.begin}, placeFlag{"--to", o.to, &o.end}); err != nil {
		return cfg, nil, err
	}
	for _, x := range []struct {
		flag, text string
		to         *replay.Target
	}{{"--from", o.from, &cfg.From}, {"--to", o.to, &cfg.To}} {
		if x.text == "" {
			continue
		}
		if *x.to, err = replay.ParseTarget(x.text, zone); err != nil {
			return cfg, nil, usage("%s: %w", x.flag, err)
		}
	}
	if cfg.Filter, err = symbolFilter(o.symbols); err != nil {
		return cfg, nil, usage("--symbols: %w", err)
	}
	switch {
	case o.gapLimit < 0:
		return cfg, nil, usage("--gap-limit must not be negative, got %v", o.gapLimit)
	case o.shift != "" && o.shift != "now":
		return cfg, nil, usage("--shift must be now, got %q", o.shift)
	case o.waitFor < 0:
		return cfg, nil, usage("--wait-subscribers must not be negative, got %d", o.waitFor)
	case o.loop && o.exitAtEnd:
		return cfg, nil, usage("--loop and --exit-at-end exclude each other: a loop has no end")
	}
	if err := o.serviceOptions.check(); err != nil {
		return cfg, nil, err
	}
	if err := o.http.check(); err != nil {
		return cfg, nil, err
	}
	if cfg.StartAt, err = parseStartAt(o.startAt, now); err != nil {
		return cfg, nil, err
	}
	cfg.Speed, cfg.Loop, cfg.GapLimit, cfg.ShiftToNow, cfg.ExitAtEnd = float64(o.speed), o.loop, o.gapLimit, o.shift != "", o.exitAtEnd
	cfg.Paused = o.paused || o.waitFor > 0
	return cfg, zone, nil
}

// parseStartAt parses --start-at. It returns the zero time if s is empty.
func parseStartAt(s string, now time.Time) (time.Time, error) {
	if s == "" {
		return time.Time{}, nil
	}
	at, daily, ok := parseMoment(s, now.Location(), now)
	if !ok {
		return time.Time{}, usage("--start-at must be a time such as 14:30:00 or 2026-01-05T14:30:00Z, got %q", s)
	}
	if daily && at.Before(now) {
		at = at.AddDate(0, 0, 1)
	}
	if at.Before(now) {
		return time.Time{}, usage("--start-at %s has passed", s)
	}
	return at, nil
}

func (p *program) replay(cmd *cobra.Command, o *replayOptions, paths []string) error {
	cfg, zone, err := o.config(time.Now())
	if err != nil {
		return err
	}
	credentials, err := token(cmd.Context(), o.tokenFile)
	if err != nil {
		return err
	}
	encryption, err := o.tls.config(p.logger(zerolog.InfoLevel), certs.Protocol)
	if err != nil {
		return err
	}
	p.warnOfSecrets(o.secrets()...)
	if w := guessable(tokenFlag, credentials); w != "" {
		p.note(zerolog.WarnLevel, "warning: %s", w)
	}
	ctx := cmd.Context()
	recordings, err := p.openRecordings(ctx, paths, &o.importOptions)
	if err != nil {
		return err
	}
	s := replaying{p: p, o: o, zone: zone, exposed: exposed(o.secrets()...), startAt: cfg.StartAt, byPublish: cfg.Clock == place.PublishClock}
	for _, r := range recordings {
		s.names = append(s.names, r.name)
	}
	open := unclosed(recordings)
	if recordings, s.missing, err = joinRelated(ctx, recordings); err != nil {
		return err
	}
	defer closeAll(recordings)
	if filter, err := fileSymbols(o.symbols); err != nil {
		return err
	} else if err := filter.look(ctx, p, recordings); err != nil {
		return err
	}
	for _, r := range recordings {
		cfg.Recordings = append(cfg.Recordings, replay.Recording{Name: r.name, R: r.Input, Size: r.Size()})
	}
	header, err := recordings[0].Reader()
	if err != nil {
		return wrong("%s: %w", s.names[0], err)
	}
	if len(recordings) == 1 {
		if err := checkTimes(recordings[0], cfg.Clock, o.begin, o.end); err != nil {
			return err
		}
		s.origin = header.Header().Lineage.Current().ID
	}
	restore, keys := p.openConsole()
	defer restore()
	context.AfterFunc(ctx, restore) // a second signal ends the process at once
	s.announcer = announcer{p.logger(zerolog.InfoLevel), p.consoleLog()}
	cfg.Logger = s.log
	if open != "" {
		s.log.Warn().Msg(printable(open))
	}
	source := "replay of " + strings.Join(s.names, " ")
	if s.listeners, s.web, err = listenAll(ctx, o.listen, &o.http, credentials != "" || o.tls.clientCA != ""); err != nil {
		return err
	}
	s.stage, err = replay.NewStage(publisher.Config{
		Memory: int64(o.memory), Heartbeat: o.heartbeat, MaxConnections: o.connectionsAsked(), MaxLag: o.maxLag, RetryAfter: o.retryAfter,
		Token: credentials, TLS: encryption, ClientCAs: o.tls.clientCAs(), Server: software(), Source: source, Logger: s.log.Level(max(s.log.GetLevel(), zerolog.WarnLevel)),
	}, s.origin, "", s.listeners)
	if err != nil {
		closeListeners([]net.Listener{s.web})
		return err
	}
	if s.player, err = replay.New(cfg, announced{s.stage, &s}); err == nil {
		err = s.run(ctx, keys)
	} else {
		closeListeners([]net.Listener{s.web})
	}
	restore()
	err = errors.Join(err, s.stage.Close())
	return s.result(ctx, err)
}

// secrets returns the paths of the files that hold secrets; empty ones are of flags that were not given.
func (o *replayOptions) secrets() []string { return []string{o.tls.key, o.tokenFile, o.http.tokenFile} }

// A replaying is a running replay.
type replaying struct {
	p         *program
	o         *replayOptions
	zone      *time.Location
	exposed   []string // the warnings of secrets that were given at the start
	names     []string
	origin    feed.SessionID
	listeners []net.Listener
	stage     *replay.Stage
	player    *replay.Player
	announcer

	startAt   time.Time
	byPublish bool         // times are publish times, not market times
	missing   uint64       // numbers that none of several joined recordings has
	web       net.Listener // of --http; nil for none
	begun     bool         // the first session was announced; used by the player's goroutine only
}

// result reports the end of the replay, and returns the error with its exit code.
func (s *replaying) result(ctx context.Context, err error) error {
	if s.player == nil {
		if errors.Is(err, replay.ErrEmpty) {
			return wrong("%s: %w%s", strings.Join(s.names, " "), err, s.forSymbols())
		}
		return err
	}
	st := s.player.Status()
	if st.Sessions > 0 {
		s.say("stopped", fmt.Sprintf("stopped at %s: %s played, next seq %d%s", s.clock(st.Recorded), nouns.Count(st.Ticks, "tick"), st.Seq, s.pacing(st)),
			"recorded_time", st.Recorded, "ticks", st.Ticks, "seq", st.Seq, "late_p50_ns", int64(st.LateP50), "late_p99_ns", int64(st.LateP99))
	}
	var bad *replay.DataError
	switch {
	case errors.As(err, &bad), errors.Is(err, replay.ErrEmpty):
		return wrong("%s: %w", strings.Join(s.names, " "), err)
	case err == nil && ctx.Err() != nil:
		return s.p.stopped()
	case err == nil && s.o.exitAtEnd && st.Damaged+s.missing > 0:
		return wrong("%s: damaged: %s, and reported to the subscribers as lost", strings.Join(s.names, " "), nouns.Are(st.Damaged+s.missing, "tick", "missing"))
	}
	return err
}

func (s *replaying) forSymbols() string {
	if len(s.o.symbols) == 0 {
		return ""
	}
	return " of " + strings.Join(s.o.symbols, ",")
}

// pacing describes how late ticks were, if the replay was paced.
func (s *replaying) pacing(st replay.Status) string {
	if st.LateP99 == 0 {
		return ""
	}
	return fmt.Sprintf(", pacing error p50 %s, p99 %s", formatDuration(st.LateP50), formatDuration(st.LateP99))
}

// run plays and serves until the end, or until ctx ends.
func (s *replaying) run(ctx context.Context, keys <-chan keystroke) error {
	group, running := errgroup.WithContext(ctx)
	group.Go(func() error { return s.stage.Run(running) })
	if s.web != nil {
		group.Go(func() error { return s.o.http.serve(running, s.web, s.site(), s.log) })
	}
	group.Go(func() error {
		if err := s.player.Run(running); err != nil {
			return err
		}
		return s.endAfterAll(running)
	})
	group.Go(func() error { return s.tell(running) })
	group.Go(func() error { return s.startWithSubscribers(running) })
	group.Go(func() error { return s.warnOfNobody(running) })
	group.Go(func() error {
		return follow(running, s.exposed, func() []string { return exposed(s.o.secrets()...) }, func(w string) { s.log.Warn().Msg(printable(w)) })
	})
	if keys != nil {
		group.Go(func() error { return s.obey(running, keys) })
	}
	err := s.p.waitBounded(running, group.Wait)
	if errors.Is(err, errOver) || ctx.Err() != nil && errors.Is(err, context.Cause(ctx)) {
		return nil
	}
	return err
}

// endAfterAll waits until the wanted subscribers have connected and all have everything, and then ends the replay.
func (s *replaying) endAfterAll(ctx context.Context) error {
	s.say("end of the recording", "end of the recording; exiting once all subscribers have everything")
	want := uint64(max(1, s.o.waitFor))
	if err := waitUntil(ctx, func() bool { return s.stage.Joined() >= want }); err != nil {
		return err
	}
	if err := s.stage.WaitConfirmed(ctx); err != nil {
		return err
	}
	warnOfAbsent(s.log, s.stage.Publisher().Stats())
	return errOver
}

// startWithSubscribers starts the replay once as many subscribers as --wait-subscribers says are connected.
func (s *replaying) startWithSubscribers(ctx context.Context) error {
	if s.o.waitFor == 0 || s.o.paused {
		return nil
	}
	if err := waitUntil(ctx, func() bool {
		pub := s.stage.Publisher()
		return pub != nil && len(pub.Stats().Conns) >= s.o.waitFor
	}); err != nil {
		return err
	}
	return unlessStopped(s.player.Resume(ctx))
}

// warnOfNobody warns if a replay with --exit-at-end begins to play before a subscriber has connected.
func (s *replaying) warnOfNobody(ctx context.Context) error {
	if !s.o.exitAtEnd || s.o.waitFor > 0 {
		return nil
	}
	if err := waitUntil(ctx, func() bool {
		st := s.player.Status()
		return st.Ticks > 0 || st.State == replay.Ended
	}); err != nil {
		return err
	}
	if s.stage.Joined() == 0 {
		s.log.Warn().Msg("the replay has started without a subscriber: later subscribers receive the earlier ticks only with --from beginning; " +
			"--wait-subscribers N starts once N are connected")
	}
	return nil
}

// unlessStopped returns err, or nil if the player had already stopped.
func unlessStopped(err error) error {
	if errors.Is(err, replay.ErrStopped) {
		return nil
	}
	return err
}

// site returns the site that is served over HTTP.
func (s *replaying) site() ops.Site {
	view := &ops.Publisher{Get: func() *publisher.Publisher {
		if pub := s.stage.Publisher(); pub != nil {
			return pub.Publisher
		}
		return nil
	}, Source: strings.Join(s.names, " ")}
	status := func() any { return replayStatus{s.player.Status(), s.info()} }
	return ops.Site{
		Command: "replay", Status: status, Ready: view.Ready, Conns: view.Conns,
		Metrics: []ops.Collector{view.Metrics, ops.ReplayMetrics(s.player)}, Details: []ops.Collector{view.Details},
		Routes: append(view.Routes(), ops.ReplayRoutes(s.player, s.zone, status)...),
	}
}

// A replayStatus is the status of the player, and what the replay command adds.
type replayStatus struct {
	replay.Status
	replayInfo
}

// String describes the status for people.
func (st replayStatus) String() string {
	at := time.Unix(0, st.Recorded).UTC().Format("2006-01-02 15:04:05.000Z")
	text := fmt.Sprintf("%s at %s, %v, seq %d, %s ticks played, %s, session %v", st.State, at, st.Speed, st.Seq,
		nouns.Thousands(st.Ticks), nouns.Count(st.Subscribers, "subscriber"), st.Session)
	if st.Behind >= behindTold {
		text += ", behind by " + formatDuration(st.Behind)
	}
	return text
}

// A replayInfo is what the replay command adds to the player's status.
type replayInfo struct {
	Session     feed.SessionID `json:"session"`
	Origin      feed.SessionID `json:"origin"`
	Files       []string       `json:"files"`
	Subscribers int            `json:"subscribers"`
}

func (s *replaying) info() replayInfo {
	i := replayInfo{Origin: s.origin, Files: s.names}
	if pub := s.stage.Publisher(); pub != nil {
		st := pub.Summary()
		i.Session, i.Subscribers = st.Session, st.Subscribers
	}
	return i
}

// clock formats a recorded time for people.
func (s *replaying) clock(t int64) string {
	if t == 0 || t == math.MinInt64 {
		return "the beginning"
	}
	at := time.Unix(0, t).In(s.zone)
	return at.Format("2006-01-02 15:04:05.000 MST")
}

// tell reports the status regularly: on a terminal in the status line, otherwise in the log.
func (s *replaying) tell(ctx context.Context) error {
	screen, terminal := s.p.stderr.(*console)
	every := s.o.status
	if terminal {
		every = screenEvery
	}
	if every == 0 {
		return nil
	}
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		switch st := s.player.Status(); {
		case st.Sessions == 0:
		case terminal:
			screen.status(s.line(st, keyHint, terminalWidth(screen)), stateColours[st.State])
		default:
			s.sayStatus(st)
		}
	}
}

// announced is a stage whose sessions are logged.
type announced struct {
	*replay.Stage
	s *replaying
}

// Begin implements replay.Output.
func (a announced) Begin(ctx context.Context, first uint64, state *feed.State) error {
	if err := a.Stage.Begin(ctx, first, state); err != nil {
		return err
	}
	session := a.Publisher().Lineage().Current()
	if a.s.begun {
		a.s.say("session", fmt.Sprintf("session %v from seq %d", session.ID, first), "session", session.ID.String(), "first", first)
		return nil
	}
	a.s.begun = true
	a.s.sayStart(session)
	return nil
}
