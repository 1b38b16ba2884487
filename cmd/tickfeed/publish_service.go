package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"math"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"
	"golang.org/x/sync/errgroup"

	"tickfeed/cmd/ops"
	"tickfeed/feed"
	"tickfeed/feed/files"
	"tickfeed/feed/nouns"
	"tickfeed/publisher"
	"tickfeed/publisher/journal"
)

// A service is a running publisher.
type service struct {
	p         *program
	o         *publishOptions
	pub       *publisher.Publisher
	input     *input
	listeners []net.Listener
	web       net.Listener // of --http; nil for none
	endSite   func()       // ends what serveSite started, and waits for it, at most for endTime; nil before
	faults    *faultLab    // between the subscribers and the publisher; nil for none
	who       admission
	announcer
	ticks  atomic.Uint64
	short  error         // the recordings are damaged: the exit code at their end
	drains chan drainage // 1 slot: the order to drain
	reload *reloader
}

// errOver ends the goroutines of a service that is done.
var errOver = errors.New("over")

// lastFlush bounds how long the last ticks may take to reach the journal before the goodbye is sent without them.
const lastFlush = time.Second

// run publishes and serves until the end, or until ctx ends. Connections are served until the source has stopped and
// every published tick is in the journal, so that subscribers receive those ticks before the goodbye.
func (s *service) run(ctx context.Context) error {
	s.sayStart()
	group, running := errgroup.WithContext(ctx)
	serving, endServing := context.WithCancelCause(context.WithoutCancel(ctx))
	defer endServing(nil)
	if s.faults == nil {
		for _, ln := range s.listeners {
			group.Go(func() error { return s.pub.Serve(serving, ln) })
		}
	} else {
		group.Go(func() error { return s.faults.serve(serving, s) })
	}
	if s.o.status > 0 {
		group.Go(func() error { return s.sayStatus(running) })
	}
	if s.web != nil {
		ended := s.serveSite(ctx)
		group.Go(func() error {
			select {
			case err := <-ended:
				return err
			case <-running.Done():
				return context.Cause(running)
			}
		})
		group.Go(func() error { return s.drain(running) })
	}
	group.Go(func() error { return s.guard(running) })
	group.Go(func() error { return s.followFiles(running) })
	if hangups := s.p.hangups(); hangups != nil {
		group.Go(func() error { return s.reload.follow(running, hangups) })
	}
	notify(s.log, stateReady)
	group.Go(func() error {
		<-running.Done()
		notify(s.log, stateStopping)
		return nil
	})
	feeding, endFeed := context.WithCancel(running)
	defer endFeed()
	if s.o.stdinOrders {
		orders := bufio.NewScanner(s.p.stdin)
		group.Go(func() error { return s.obey(running, orders, endFeed) })
	}
	group.Go(func() error {
		err := s.feed(running, feeding)
		flushing, cancel := context.WithTimeout(serving, lastFlush)
		defer cancel()
		_ = s.pub.Flush(flushing) // if it fails, Close reports what is missing
		endServing(err)
		return err
	})
	err := s.p.waitBounded(running, group.Wait)
	if errors.Is(err, errOver) || ctx.Err() != nil && errors.Is(err, context.Cause(ctx)) {
		return nil
	}
	return err
}

// serveSite serves the site until close has closed the journal: "control drain" takes the process for ended, and a script starts the
// next one, when nothing responds any more. The channel returns the error of a server that ends before.
func (s *service) serveSite(ctx context.Context) <-chan error {
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	ended := make(chan error, 1)
	var serving sync.WaitGroup
	serving.Go(func() { ended <- s.o.http.serve(ctx, s.web, s.site(), s.log) })
	s.endSite = func() {
		cancel()
		_ = s.p.waitBounded(ctx, func() error { serving.Wait(); return nil }) // a request may wait for a disk that hangs
	}
	return ended
}

// close closes the publisher and says what was published. It returns err, the error of run, joined with its own.
func (s *service) close(ctx context.Context, err error) error {
	bound := closeTime
	if errors.Is(err, errHangs) {
		bound = lastFlush // run has already waited
	}
	closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), bound)
	defer cancel()
	if closeErr := s.pub.Close(closing); err == nil || s.pub.Failed() == nil { // otherwise err already reports the failure
		err = errors.Join(err, journalError(s.o.journal, closeErr))
	}
	if s.endSite != nil {
		s.endSite()
	}
	ticks, head := s.ticks.Load(), s.pub.Stats().Head
	if errors.Is(err, errHangs) { // the source has not returned its count
		ticks = head - s.pub.Lineage().Current().First
	}
	s.say("stopped", fmt.Sprintf("stopped: %s published, next seq %d", nouns.Count(ticks, "tick"), head), "ticks", ticks, "head", head)
	if err == nil {
		err = s.short
	}
	return err
}

// warnings returns what is doubtful about the files that decide who may connect, although they can be used, and about the way of
// the tokens.
func (o *publishOptions) warnings(who admission) []string {
	warnings := append(exposed(o.tls.key, o.tokenFile, o.users, o.http.tokenFile), who.warnings(time.Now())...)
	if who.unused {
		warnings = append(warnings, envPrefix+"TOKEN is not used with --users: clients are admitted as the file says")
	}
	if w := guessable(tokenFlag, who.token); w != "" {
		warnings = append(warnings, w)
	}
	if i := slices.IndexFunc(o.listen, isBeyond); i >= 0 && who.needsCredentials() && o.tls.cert == "" {
		warnings = append(warnings, "--listen "+o.listen[i]+" without TLS: tokens cross the network in the clear, and anyone between can read them; name a certificate with --tls-cert and --tls-key")
	}
	return warnings
}

// followFiles reads the file of users each second, if it has changed, and logs warnings about it and the files with secrets when
// they arise, until ctx ends.
func (s *service) followFiles(ctx context.Context) error {
	warn := func(w string) { s.log.Warn().Msg(printable(w)) }
	warned := s.o.warnings(s.who)
	for _, w := range warned {
		warn(w)
	}
	return follow(ctx, warned, func() []string {
		if s.who.users != nil {
			_ = s.who.users.Check() // it logs the error
		}
		return s.o.warnings(s.who)
	}, warn)
}

// site returns the site that is served over HTTP.
func (s *service) site() ops.Site {
	started := time.Now()
	view := ops.NewPublisher(s.pub, s.o.staleAfter)
	view.Source, view.RetainBytes, view.RetainAge = s.input.String(), s.o.retain.bytes, s.o.retain.age
	if s.o.journal == "" {
		view.Memory = int64(s.o.memory)
	}
	site := ops.Site{
		Command: "publish", Status: func() any { return newPublisherStatus(s.pub, s.input.String(), started) }, Ready: view.Ready, Conns: view.Conns,
		Metrics: []ops.Collector{view.Metrics}, Details: []ops.Collector{view.Details},
	}
	site.Files.Users = s.who.users
	site.Routes = append(view.Routes(), s.drainRoute(), s.reload.route())
	site.Routes = append(site.Routes, ops.RuleRoutes(s.input.director)...)
	return site
}

// endTime bounds how long a publisher waits for its source and its connections at the end: a disk that hangs may block
// both. It is longer than their own timeouts.
const endTime = 8 * time.Second

// errHangs reports that a shutdown took longer than endTime.
var errHangs = fmt.Errorf("the shutdown did not finish within %v; the disk of the journal may not be responding", endTime)

// waitBounded returns the result of wait, or errHangs if wait takes longer than endTime after ctx ends.
func (p *program) waitBounded(ctx context.Context, wait func() error) error {
	ended := make(chan error, 1)
	go func() { ended <- wait() }()
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
	}
	select {
	case err := <-ended:
		return err
	case <-time.After(endTime):
		return errHangs
	}
}

// feed publishes the source until it or feeding ends, and announces the end of the source.
func (s *service) feed(ctx, feeding context.Context) error {
	src, pace, err := s.input.ticks(s.pub.Recovered())
	if err != nil {
		return err
	}
	if s.o.commands && s.input.sim != nil {
		stop := s.p.readRules(feeding, s.input.director)
		defer stop()
	}
	defer s.input.director.end()
	ticks, err := s.pub.Feed(feeding, src, pace)
	s.ticks.Store(ticks)
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err != nil && feeding.Err() == nil {
		return s.feedError(err)
	}
	if err := s.pub.End(ctx); err != nil {
		return err
	}
	s.warnOfInput()
	what := "end of the source: %s published; serving late joiners until Ctrl-C"
	if s.o.exitAtEnd {
		what = "end of the source: %s published; exiting once all subscribers have them"
	}
	s.say("end of the source", fmt.Sprintf(what, nouns.Count(ticks, "tick")), append(s.inputStats(), "ticks", ticks)...)
	if !s.o.exitAtEnd {
		<-ctx.Done()
		return context.Cause(ctx)
	}
	if err := s.allHave(ctx); err != nil {
		return err
	}
	if s.input.recorded != nil {
		st := s.input.recorded.Stats()
		s.short = damaged(st.Damages, st.Damaged, "what was published")
	}
	return errOver
}

// feedError adds to err what to do about it.
func (s *service) feedError(err error) error {
	if files.Damaged(err) {
		return fileError(err, false)
	}
	return journalError(s.o.journal, err)
}

// inputStats returns log fields about the files that were read.
func (s *service) inputStats() []any {
	switch {
	case s.input.files != nil:
		st := s.input.files.Stats()
		fields := []any{s.input.files.Noun() + "s", st.Messages, "skipped", st.Skipped}
		for _, c := range st.Counts {
			fields = append(fields, strings.ReplaceAll(c.Name, " ", "_"), c.N)
		}
		return fields
	case s.input.recorded != nil:
		st := s.input.recorded.Stats()
		return []any{"damages", st.Damages, "lost", st.Lost, "left_out", st.LeftOut, "dropped", st.Dropped}
	}
	return nil
}

// warnOfInput logs how much of the input was not published.
func (s *service) warnOfInput() {
	if s.input.files != nil {
		if st := s.input.files.Stats(); st.Skipped > 0 {
			s.log.Warn().Int64("skipped", st.Skipped).AnErr("first", st.FirstBad).Msg("bad parts of the files were skipped")
		}
	}
	if s.input.recorded != nil {
		if st := s.input.recorded.Stats(); st.Lost > 0 || st.Damages > 0 || st.Dropped > 0 {
			text := "the recordings do not hold everything"
			if st.Lost == 0 && st.Dropped == 0 {
				text = "the recordings are damaged in places, but no number is missing because of that"
			}
			s.log.Warn().Uint64("lost", st.Lost).Uint64("damages", st.Damages).Uint64("dropped", st.Dropped).Msg(text)
		}
		if text := unclosed(s.input.recordings); text != "" {
			s.log.Warn().Msg(printable(text))
		}
	}
}

// pollTime is the interval at which waitUntil polls.
const pollTime = 20 * time.Millisecond

// waitUntil polls holds until it returns true or ctx ends.
func waitUntil(ctx context.Context, holds func() bool) error {
	poll := time.NewTicker(pollTime)
	defer poll.Stop()
	for !holds() {
		select {
		case <-poll.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return nil
}

// allHave waits until the wanted number of subscribers has connected and every connected one has everything.
func (s *service) allHave(ctx context.Context) error {
	_, want := s.o.awaited(s.input.paths)
	if err := waitUntil(ctx, func() bool { return s.pub.Stats().Joined >= uint64(want) }); err != nil {
		return err
	}
	if err := s.pub.WaitConfirmed(ctx); err != nil {
		return err
	}
	st := s.pub.Stats()
	if st.Joined == 0 && s.o.journal == "" && s.ticks.Load() > 0 {
		s.log.Warn().Uint64("ticks", s.ticks.Load()).
			Msg("no subscriber came, and the ticks are not kept: --wait-for N waits for N subscribers, --journal DIR keeps the ticks")
	}
	warnOfAbsent(s.log, st)
	return nil
}

// warnOfAbsent warns about subscribers that lost their connection, have not reconnected, and do not have everything.
func warnOfAbsent(log zerolog.Logger, st publisher.Stats) {
	if st.Missing == 0 {
		return
	}
	e := log.Warn().Int("subscribers", st.Missing)
	if n := len(st.Absent); n > 0 {
		last := st.Absent[n-1]
		e = e.Str("last", last.Remote).Str("client", last.Client)
		if last.Confirmed > 0 { // otherwise it has confirmed nothing
			e = e.Uint64("confirmed", last.Confirmed)
		}
	}
	e.Uint64("head", st.Head).Msg("exiting, although subscribers that lost their connection have not reconnected for the rest")
}

// obey carries out the orders of a parent process, one per line: "end" ends the source. The end of standard input, which
// also comes if the parent dies, ends the service.
func (s *service) obey(ctx context.Context, orders *bufio.Scanner, endFeed func()) error {
	lines := make(chan string)
	go func() { // a read of standard input cannot be interrupted; it ends with the process
		defer close(lines)
		for orders.Scan() {
			select {
			case lines <- orders.Text():
			case <-ctx.Done():
				return
			}
		}
	}()
	for {
		select {
		case order, more := <-lines:
			switch {
			case !more:
				return errOver
			case order == "end":
				endFeed()
			}
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

func (s *service) sayStart() {
	session := s.pub.Lineage().Current()
	head := s.pub.Stats().Head
	rec := s.pub.Recovered()
	if rec != nil && len(rec.Lineage) > 0 {
		s.say("recovered", fmt.Sprintf("journal %s: %s of %s; continuing at seq %d",
			s.o.journal, nouns.Count(rec.Next-1, "tick"), nouns.Count(len(rec.Lineage), "session"), rec.Next),
			"journal", s.o.journal, "next", rec.Next, "sessions", len(rec.Lineage), "torn_bytes", rec.Torn)
	}
	if rec != nil {
		if rec.Torn > 0 {
			s.log.Warn().Int64("bytes", rec.Torn).Msg("a torn end of the journal was cut and kept beside it")
		}
		s.warnOfDamage(rec.Damage)
	}
	s.say("session", fmt.Sprintf("session %v from seq %d: %s", session.ID, head, s.input.describe()),
		"session", session.ID.String(), "first", head, "source", s.input.describe())
	for _, ln := range s.listeners {
		s.say("listening", "listening on "+listenName(ln), "listen", listenName(ln))
	}
	if s.web != nil {
		s.say("http", "status over HTTP on "+listenName(s.web), "http", listenName(s.web))
	}
}

// shownPlaces bounds the places, and the ranges of numbers, that the warning about a damaged journal lists.
const shownPlaces = 8

// warnOfDamage logs what is missing in a damaged journal.
func (s *service) warnOfDamage(damage []journal.Damage) {
	if len(damage) == 0 {
		return
	}
	var missing feed.RangeSet
	var places []string
	for i, d := range damage {
		if !d.Range.Empty() {
			missing.Add(d.Range)
		}
		if i < shownPlaces {
			places = append(places, d.String())
		}
	}
	ranges := missing.Ranges()
	listed := feed.NewRangeSet(ranges[:min(len(ranges), shownPlaces)]...).String()
	if more := len(ranges) - shownPlaces; more > 0 {
		listed += " and " + nouns.Count(more, "range") + " more"
	}
	if len(ranges) == 0 {
		listed = "none that is known"
	}
	s.log.Warn().Str("missing", listed).Uint64("numbers", missing.Len()).Int("damages", len(damage)).Strs("first", places).
		Msg("the journal is damaged; the missing numbers are reported as lost to subscribers that ask for them")
}

// sayStatus logs a status line every --status.
func (s *service) sayStatus(ctx context.Context) error {
	ticker := time.NewTicker(s.o.status)
	defer ticker.Stop()
	before, at := s.pub.Stats().Head, time.Now()
	for {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		st := s.pub.Stats()
		now := time.Now()
		perSecond := float64(st.Head-before) / now.Sub(at).Seconds()
		before, at = st.Head, now
		text := fmt.Sprintf("%s, head %s, %s", formatRate(math.Round(perSecond)),
			formatCount(float64(st.Head-1)), nouns.Count(len(st.Conns), "subscriber"))
		if s.o.journal != "" {
			text += ", journal " + formatBytes(st.Journal)
		}
		if st.LastEvent != 0 {
			text += ", event time " + time.Unix(0, st.LastEvent).UTC().Format("2006-01-02 15:04:05Z")
		}
		if st.Disk != "" {
			text += ", PUBLISHING WAITS: " + st.Disk
		}
		s.say("status", text, "rate", math.Round(perSecond), "head", st.Head, "subscribers", len(st.Conns),
			"journal_bytes", st.Journal, "event_time", st.LastEvent, "disk", st.Disk)
	}
}
