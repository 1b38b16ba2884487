package main

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"tickfeed/feed"
	"tickfeed/feed/files/rawfile"
	"tickfeed/feed/files/textfile"
	"tickfeed/feed/nouns"
	"tickfeed/publisher/journal"
	"tickfeed/subscriber"
)

// Bounds of --connections.
const (
	maxConnections = 100_000
	// maxJoining bounds how many lines make their first connection at the same time. It is far below the number of
	// connections without a hello that a publisher accepts.
	maxJoining = 64
	// spareDescriptors is the number of file descriptors kept for files. A line that connects may briefly use two if the
	// host has two addresses.
	spareDescriptors = 16
	// crowdBatch is the batch size of each of many lines, smaller than that of a single line to save memory.
	crowdBatch = 64
)

// measures reports whether statistics are printed instead of ticks.
func (o *subscribeOptions) measures() bool { return o.stats || o.latency }

// checkStats refuses flags that make no sense with statistics, or without them.
func (o *subscribeOptions) checkStats() error {
	switch {
	case o.connections < 1 || o.connections > maxConnections:
		return usage("--connections must be from 1 to %d, got %d", maxConnections, o.connections)
	case !o.measures() && o.connections > 1:
		return usage("--connections %d: the ticks of many connections are not printed; add --stats to print statistics instead", o.connections)
	case !o.measures() && o.hdr+o.hdrEvent != "":
		return usage("--hdr and --hdr-event write the latencies that --stats or --latency measure; add one of them")
	case !o.measures():
		return nil
	case o.csv:
		return usage("--csv is a format of ticks, but --stats and --latency print none; use --json")
	case o.raw || o.events || o.finalState:
		return usage("--raw, --events and --final-state apply to printed ticks, but --stats and --latency print none")
	case o.kinds != nil:
		return usage("--kinds chooses the ticks that are printed, but --stats and --latency print none")
	case o.json && (o.hdr == "-" || o.hdrEvent == "-"):
		return usage("--hdr - and --json would mix two formats on standard output; name a file")
	case o.connections > 1 && o.state != "":
		return usage("--state keeps the position of one connection, but --connections is %d", o.connections)
	case o.connections > 1 && o.ledger != "":
		return usage("--ledger is the account of one connection, but --connections is %d; the statistics end with the sum", o.connections)
	}
	limit, open := journal.FileLimit()
	if needed := open + o.connections + min(o.connections, maxJoining) + spareDescriptors; limit != 0 && needed > limit {
		return usage("--connections %d: the process may have %d file descriptors, of which %d are open, and needs %d: raise the limit (ulimit -n), or share the connections between several processes",
			o.connections, limit, open, needed)
	}
	return nil
}

// A load is the set of lines of subscribe --stats or --latency, whose ticks are counted and timed.
type load struct {
	p       *program
	lines   []*loadLine
	meters  []*meter
	crowd   *crowd // nil for a single line, which reports its own changes
	report  report
	began   time.Time
	last    time.Time // when the last line of statistics was written
	current *tally    // ticks since last
	total   *tally    // ticks of the whole run
	maxLag  uint64

	saidForeign bool
}

// A loadLine is one line of a load.
type loadLine struct {
	sub    *subscriber.Subscriber
	recv   receiver
	meter  *meter
	live   bool   // it has been live
	joined func() // lets another line connect
	away   bool   // disconnected, and neither live nor at the end of the source since
	ended  atomic.Bool
}

// subscribers returns a subscriber for each of --connections.
func (o *subscribeOptions) subscribers(cfg subscriber.Config) (subs []*subscriber.Subscriber, err error) {
	if o.connections > 1 && cfg.BatchSize == 0 {
		cfg.BatchSize = crowdBatch
	}
	for i := range o.connections {
		if o.client != "" && o.connections > 1 {
			cfg.Client = fmt.Sprintf("%s-%d", o.client, i+1)
		}
		s, err := subscriber.New(cfg)
		if err != nil {
			return nil, rawfile.AsGiven(err, "subscriber: position file", "--state: position file")
		}
		subs = append(subs, s)
	}
	return subs, nil
}

// newLoad returns a load with a line for each of subs; each line handles its ticks with a copy of recv.
func (p *program) newLoad(subs []*subscriber.Subscriber, recv receiver, rep report) *load {
	l := &load{p: p, report: rep, current: newTally(), total: newTally()}
	if len(subs) > 1 {
		l.crowd = newCrowd(p.notef, recv.failures.maxAttempts)
		recv.crowd = l.crowd
	}
	for range min(len(subs), runtime.GOMAXPROCS(0)) {
		l.meters = append(l.meters, newMeter())
	}
	for i, s := range subs {
		l.lines = append(l.lines, &loadLine{sub: s, recv: recv, meter: l.meters[i%len(l.meters)]})
		recv.say = func(string, ...any) {} // the first line speaks for all
	}
	return l
}

// handle is the handler for subscriber.Run.
func (l *loadLine) handle(b *subscriber.Batch) error {
	now := time.Now().UnixNano()
	if c := b.Change; c != nil && c.State != subscriber.Connecting {
		l.joined()
		l.live = l.live || c.State == subscriber.Live
		l.away = !isLive(c.State) && (l.away || c.State == subscriber.Disconnected)
	}
	if err := l.recv.handle(b); err != nil { // also where it has all that it wants
		return err
	}
	if b.Change == nil && !b.Snapshot {
		l.meter.count(b, now, l.live)
	}
	return nil
}

// run runs the line. joining bounds how many lines make their first connection at the same time.
func (l *loadLine) run(ctx context.Context, joining chan struct{}) error {
	select {
	case joining <- struct{}{}:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	l.joined = sync.OnceFunc(func() { <-joining })
	defer l.joined()
	running, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	l.recv.stop = stop
	defer l.ended.Store(true)
	return l.sub.Run(running, l.handle)
}

// run runs all lines and writes a row of statistics every second, until all lines have enough, one fails, or ctx ends.
func (l *load) run(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var once sync.Once
	var failed error
	fail := func(err error) {
		if err = besides(err, errEnough, context.Canceled); err != nil {
			once.Do(func() {
				failed = err
				cancel(err)
			})
		}
	}
	l.began = time.Now()
	l.last = l.began
	joining := make(chan struct{}, maxJoining)
	var running sync.WaitGroup
	for _, line := range l.lines {
		running.Go(func() { fail(line.run(ctx, joining)) })
	}
	done := make(chan struct{})
	go func() {
		running.Wait()
		close(done)
	}()
	ticker := time.NewTicker(time.Second)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			if ctx.Err() == nil {
				fail(l.second(time.Now())) // the last write may have taken longer than a second
			}
		case <-done:
			if failed == nil && ctx.Err() == nil {
				return errEnough
			}
			return errors.Join(failed, ctx.Err())
		}
	}
}

// second writes a row of statistics.
func (l *load) second(now time.Time) error {
	m := l.take(now)
	if l.crowd != nil {
		l.crowd.report()
	}
	l.explain()
	return l.report.second(m)
}

// take ends the current second and returns its statistics.
func (l *load) take(now time.Time) *moment {
	l.current.reset()
	for _, m := range l.meters {
		m.take(l.current)
	}
	l.total.add(l.current)
	m := &moment{at: now, since: now.Sub(l.began), span: now.Sub(l.last), lines: len(l.lines), tally: l.current}
	l.last = now
	heads, nexts := l.statuses(), l.statuses() // in this order
	m.lag = lagOf(heads, nexts, l.lineages(heads))
	l.maxLag = max(l.maxLag, m.lag.max)
	for _, s := range nexts {
		m.reconnects += s.Reconnects
		if isLive(s.State) {
			m.live++
		}
	}
	return m
}

// statuses returns the statuses of the lines. A line that has ended is reported as closed and without a session, so that
// it does not count as behind.
func (l *load) statuses() []subscriber.Status {
	out := make([]subscriber.Status, len(l.lines))
	for i, line := range l.lines {
		out[i] = line.sub.Status()
		if line.ended.Load() {
			out[i].State, out[i].Session = subscriber.Closed, 0
		}
	}
	return out
}

// lineages returns the lineages of the sessions of statuses, which has one status per line.
func (l *load) lineages(statuses []subscriber.Status) map[feed.SessionID]feed.Lineage {
	out := make(map[feed.SessionID]feed.Lineage)
	for i, s := range statuses {
		if out[s.Session] == nil {
			out[s.Session] = l.lines[i].sub.Position().Lineage
		}
	}
	return out
}

// explain reports, once, why ticks have no latency.
func (l *load) explain() {
	t := l.current
	if t.foreign > 0 && t.event.count() == 0 && !l.saidForeign {
		l.saidForeign = true
		l.p.notef("event times are not within %s of the publish times: this market is not at today's time, and no latency from event time is measured",
			formatDuration(nearEvent))
	}
}

// end returns the statistics of the whole run, once all lines have ended.
func (l *load) end(now time.Time) (m *moment, account feed.Totals) {
	last := l.take(now)
	m = &moment{at: now, since: last.since, span: last.since, lines: len(l.lines), lag: lags{max: l.maxLag}, reconnects: last.reconnects, tally: l.total}
	for _, line := range l.lines {
		if line.live && !line.away {
			m.live++
		}
		account.Add(line.sub.Ledger().Totals())
	}
	return m, account
}

// measure runs subscribe with statistics. steer begins what works beside the subscriptions.
func (p *program) measure(ctx context.Context, o *subscribeOptions, subs []*subscriber.Subscriber, recv receiver, times textfile.Times, steer func() (stop func())) error {
	l := p.newLoad(subs, recv, report{out: p.stdout, json: o.json, times: times})
	defer p.owe(func() string { return o.unsaved(l.lines[0].sub.Position().Next) })()
	stop := steer()
	err := l.run(ctx)
	stop()
	m, account := l.end(time.Now())
	if l.crowd != nil {
		l.crowd.report()
	}
	l.explain()
	ticks, recoveries, unfinished, repeated := uint64(0), uint64(0), uint64(0), uint64(0)
	for _, line := range l.lines {
		ticks += line.recv.ticks
		recoveries += line.recv.recoveries
		unfinished += line.recv.unfinished()
		repeated += line.recv.order.repeated
	}
	end, away := nouns.Count(len(l.lines), "connection"), 0
	for _, line := range l.lines {
		if line.away {
			away++
		}
	}
	if away > 0 {
		end += fmt.Sprintf(", %d of them not live at the end", away)
	}
	if len(l.lines) == 1 {
		end = positionText(l.lines[0].sub.Position().Next)
	}
	closed := errors.Is(err, errOutputClosed)
	return p.finish(ctx, err, account, accountText(ticks, recoveries, unfinished, account, repeated, end), func() error {
		var failed []error
		if !closed {
			percentiles := fewPercentiles
			if o.latency {
				percentiles = manyPercentiles
			}
			failed = append(failed, besides(l.report.total(m, account, percentiles), errOutputClosed))
		}
		for _, h := range []struct {
			flag, path, from string
			latency          *latency
		}{{"--hdr", o.hdr, "publish", &l.total.publish}, {"--hdr-event", o.hdrEvent, "event", &l.total.event}} {
			if h.path != "" {
				failed = append(failed, p.writeResult(h.flag, h.path, o.force, hgrm(h.latency, h.from)))
			}
		}
		if o.ledger != "" {
			failed = append(failed, p.writeLedger(o.ledger, o.force, l.lines[0].sub.Ledger()))
		}
		return errors.Join(failed...)
	})
}
