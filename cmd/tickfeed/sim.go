package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"strings"
	"sync/atomic"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"tickfeed/codec"
	"tickfeed/codec/recording"
	"tickfeed/feed"
	"tickfeed/feed/nouns"
	"tickfeed/feed/sim"
)

// simOptions are the flags of sim.
type simOptions struct {
	marketOptions
	output  string
	force   bool
	session string
	created string
}

// simRate is the default rate of sim, in ticks per second of the market: a day of a few ten megabytes.
const simRate = 100

func (p *program) simCommand() *cobra.Command {
	var o simOptions
	cmd := &cobra.Command{
		Use:   "sim -o OUT.tick",
		Short: "Write a recording of the simulated market, without a network",
		Long: `Simulate a market as "tickfeed publish" does, and write its ticks to a recording as fast as the machine goes.

The recording begins with the definitions of the instruments, and the ticks are published at their event
times: nights and weekends between the days are kept. The same flags give the same ticks; with --session
and --created also the same bytes.

With --profile the market is like a recorded one: tickfeed sim fit measures a recording and writes the
profile, which people can read and edit. Rate, day and instruments are those of the profile by default.

Ctrl-C ends the recording at the tick it has reached and says where; the exit code is then 130, and the
recording is complete up to there. If the disk is full, nothing is written. Standard error says at the end
which events of --scenario and --event happened otherwise than they are written, and gives a summary.`,
		Example: `  tickfeed sim -o day.tick
  tickfeed sim --day-shape u -o day.tick   # busy at the opening and the close
  tickfeed sim --days 5 --rate 1000 --depth 5 -o week.tick.zst
  tickfeed sim --seed 7 --session 7 --created 2026-01-05 -o seven.tick
  tickfeed sim -o - --instruments 20 | tickfeed inspect -
  tickfeed sim fit day.tick -o profile.yaml       # then
  tickfeed sim --profile profile.yaml -o like.tick`,
		Args: wantArgs(0, 0, ""),
		RunE: func(cmd *cobra.Command, _ []string) error { return p.sim(cmd.Context(), &o) },
	}
	group(cmd, "Output", func(f *pflag.FlagSet) {
		f.StringVarP(&o.output, "output", "o", "", "write the recording to `FILE`, compressed if its name ends in .zst; - is standard output")
		f.BoolVar(&o.force, "force", false, "replace the file if it exists")
	})
	group(cmd, groupMarket, func(f *pflag.FlagSet) {
		o.marketOptions.define(f, 1)
		o.defaultRate = simRate
		f.Var(&o.rate, "rate", "ticks per second of the market: `N` such as 500, 10k or 2.5M; the rate of publish is per second of real time, see --speed (default: 100)")
		f.Lookup("speed").Usage = "divide --rate by `N`: with the same --seed, --rate, --speed and instruments, publish makes the same ticks"
		f.Lookup("days").Usage = "end after `N` trading days"
		f.Lookup("steady").Usage = "space the times of publishing evenly at --rate; event times stay"
	})
	group(cmd, "Identity of the recording", func(f *pflag.FlagSet) { originFlags(f, &o.session, &o.created) })
	cmd.AddCommand(p.fitCommand())
	return cmd
}

// check reports the first invalid flag.
func (o *simOptions) check() error {
	switch {
	case o.output == "" && o.universe.print == "" && !o.scenario.list:
		return usage("name the recording to write with -o, such as -o day.tick")
	case math.IsInf(float64(o.rate), 1):
		return usage("--rate must be a number: ticks per second of the market; sim is as fast as the machine at any rate")
	case o.market.Days < 1:
		return usage("--days must be at least 1: a recording ends, got %d", o.market.Days)
	}
	return o.marketOptions.check()
}

func (p *program) sim(ctx context.Context, o *simOptions) error {
	if err := o.check(); err != nil {
		return err
	}
	if err := o.load(ctx); err != nil {
		return err
	}
	if printed, err := o.printsInstead(p); printed {
		return err
	}
	as, err := parseOrigin(o.session, o.created)
	if err != nil {
		return err
	}
	cfg, err := o.marketConfig()
	if err != nil {
		return err
	}
	cfg.Continuous = false
	r := simulating{o: o, started: time.Now()}
	cfg.Happens = r.events.add
	r.market, err = sim.New(cfg)
	if err != nil {
		return o.scenario.refused(err)
	}
	if n := faultsIn(o.market.Scenario); n > 0 {
		p.notef("%s: %s left out: they need a network; see tickfeed publish and tickfeed lab", o.scenario.name, nouns.Count(n, "fault"))
	}
	if n := byHandIn(o.market.Scenario); n > 0 {
		p.notef("%s left out: sim has nothing that triggers \"on NAME\"; see tickfeed publish --commands", nouns.Count(n, "event"))
	}
	out, err := p.createRecording(o.output, o.force)
	if err != nil {
		return err
	}
	defer out.Discard()
	as = as.complete(r.started)
	r.builder, err = recording.NewBuilder(out, codec.FileHeader{
		Lineage: feed.Lineage{{ID: as.session, First: 1}}, Mode: codec.ModeSimulation,
		Source: o.marketName(), Next: 1, Created: as.created.UnixNano(),
	}, nil)
	if err != nil {
		return fmt.Errorf("%w; %s was not written", err, r.output())
	}
	stop := p.progress(r.progress)
	defer stop()
	interrupted, err := r.run(ctx)
	if closeErr := r.builder.Close(); err == nil {
		err = closeErr
	}
	if err == nil {
		err = out.Commit()
	}
	stop()
	if err != nil {
		return fmt.Errorf("%w; %s was not written", err, r.output())
	}
	if interrupted {
		p.notef("interrupted when the market was at %s: the recording ends there", eventTime(r.at.Load()))
	}
	for _, line := range r.events.lines() {
		p.notef("%s", line)
	}
	p.notef("%s", r.summary())
	if interrupted {
		return errInterrupted
	}
	return nil
}

// A simulating is a recording of the simulated market in progress.
type simulating struct {
	o       *simOptions
	market  *sim.Market
	builder *recording.Builder
	started time.Time
	events  marketEvents

	// ticks, bytes and the event time of the last tick, for the progress line.
	ticks, bytes, at atomic.Int64
}

// output is the name of the output, for people.
func (r *simulating) output() string {
	if r.o.output == "-" {
		return standardOutputName
	}
	return oneLine(r.o.output)
}

// run writes the ticks of the market until its end, or until ctx ends, which it reports.
func (r *simulating) run(ctx context.Context) (interrupted bool, err error) {
	batch := make([]feed.Tick, recording.PacketTicks)
	var first int64 // event time of the first tick
	for {
		if ctx.Err() != nil {
			return true, nil
		}
		n, err := r.market.Next(ctx, batch)
		if n > 0 {
			if first == 0 {
				first = batch[0].EventTime
			}
			if err := r.add(batch[:n], first); err != nil {
				return false, err
			}
			r.ticks.Add(int64(n))
			r.at.Store(batch[n-1].EventTime)
			r.bytes.Store(r.builder.Size())
		}
		if errors.Is(err, io.EOF) {
			return false, nil
		} else if err != nil {
			return false, err
		}
	}
}

// add appends ticks, which are published at their event times or, with --steady, evenly spaced from first.
func (r *simulating) add(ticks []feed.Tick, first int64) error {
	if !r.o.steady {
		return r.builder.Append(ticks)
	}
	done := r.ticks.Load()
	for i := range ticks {
		after := float64(done+int64(i)) / r.o.ticksPerSecond() * float64(time.Second)
		if err := r.builder.AppendAt(first+int64(after), ticks[i:i+1]); err != nil {
			return err
		}
	}
	return nil
}

// progress returns the progress line.
func (r *simulating) progress() string {
	took := time.Since(r.started).Seconds()
	ticks := float64(r.ticks.Load())
	return fmt.Sprintf("simulating %s: %s, %s ticks, %s, %s", r.output(),
		time.Unix(0, r.at.Load()).UTC().Format("2006-01-02 15:04Z"), formatCount(ticks), formatRate(ticks/took), formatBytes(r.bytes.Load()))
}

// summary describes the recording, for people.
func (r *simulating) summary() string {
	st := r.builder.Stats()
	took := time.Since(r.started)
	var kinds []string
	for kind, n := range st.Kinds {
		if n > 0 {
			kinds = append(kinds, nouns.Count(n, feed.Kind(kind).String()))
		}
	}
	lines := []string{
		fmt.Sprintf("%s: %s in %s (%s/s)", r.o.marketName(), nouns.Count(st.Ticks, "tick"), formatDuration(took),
			formatCount(float64(st.Ticks)/max(took.Seconds(), 1e-9))),
		"  ticks        " + strings.Join(kinds, ", "),
		"  instruments  " + nouns.Thousands(st.Instruments),
		fmt.Sprintf("  time         %s to %s", eventTime(st.First), eventTime(st.Last)),
	}
	if r.o.market.Scenario != nil {
		lines = append(lines, "  events       "+r.events.summary())
	}
	lines = append(lines, fmt.Sprintf("  written      %s, %s", r.output(), formatBytes(r.builder.Size())))
	return strings.Join(lines, "\n")
}
