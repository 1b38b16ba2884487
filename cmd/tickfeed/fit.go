package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"tickfeed/feed"
	"tickfeed/feed/nouns"
	"tickfeed/feed/sim/fit"
)

// fitOptions are the flags of sim fit.
type fitOptions struct {
	importOptions
	output  string
	force   bool
	symbols []string
	filter  *fileFilter
}

func (p *program) fitCommand() *cobra.Command {
	var o fitOptions
	cmd := &cobra.Command{
		Use:   "fit FILE... -o PROFILE.yaml",
		Short: "Write a profile of a recording, to simulate a market like it",
		Long: `Measure a recording, or files that tickfeed import reads, and write a profile: YAML with comments, for
tickfeed sim --profile and tickfeed publish --profile, which people can edit.

A profile has the busiest instruments, at most 64, or those that --symbols names, with their prices, tick
sizes and volatilities; the rate of events, their spread over the day, and how they cause one another; the
distributions of spreads, of the sizes of quotes and of trades; the share of orders, the memory of their
sides and their impact on the price; with books also the sizes by level; and how much the instruments move
together. With books, simulate the market with --depth: without levels it has no rows 18, and no sizes by
level. Habits that the recording does not show keep the values of the simulated market: without quotes
the spreads and the sizes of quotes, without trades their sizes and their share, with less than half an hour
the shape of the day. The summary on standard error lists these habits, and the distance (row 19 of tickfeed
inspect --facts) between each instrument and a simulation of it.

Files that are not recordings are imported first; they must be of one market and one format. Recordings
of several days are joined by tickfeed merge.`,
		Example: `  tickfeed sim fit day.tick -o profile.yaml
  tickfeed sim --profile profile.yaml -o like.tick
  tickfeed inspect --facts --html facts.html day.tick like.tick
  tickfeed sim fit AMZN_2012-06-21_34200000_57600000_message_1.csv -o amzn.yaml
  tickfeed sim fit btcusdt.gz --arrival-times -o - | less`,
		Args: wantArgs(1, maxFitFiles, "name of a file"),
		RunE: func(cmd *cobra.Command, args []string) error { return p.fit(cmd.Context(), &o, args) },
	}
	group(cmd, "Output", func(f *pflag.FlagSet) {
		f.StringVarP(&o.output, "output", "o", "", "write the profile to `FILE`; - is standard output")
		f.BoolVar(&o.force, "force", false, "replace the file if it exists")
		f.StringSliceVar(&o.symbols, "symbols", nil, "only instruments that match `PATTERNS`: SYMBOL or SYMBOL@VENUE with wildcards * and ?, separated by commas")
	})
	importFlags(cmd, &o.importOptions)
	return cmd
}

// maxFitFiles bounds the files of one market.
const maxFitFiles = 1000

// check reports the first invalid flag.
func (o *fitOptions) check() (err error) {
	switch {
	case o.output == "":
		return usage("name the profile to write with -o, such as -o profile.yaml")
	case o.output != "-" && !o.force && exists(o.output):
		return usage("-o %s: the file exists; choose another, or replace it with --force", o.output)
	}
	o.filter, err = fileSymbols(o.symbols)
	return err
}

func (p *program) fit(ctx context.Context, o *fitOptions, paths []string) error {
	if err := o.check(); err != nil {
		return err
	}
	all, err := p.openRecordings(ctx, paths, &o.importOptions)
	if err != nil {
		return err
	}
	defer closeAll(all)
	if len(all) > 1 {
		return usage("these are %d recordings, and a profile is of one: join them with tickfeed merge", len(all))
	}
	f, began := all[0], time.Now()
	var read atomic.Int64
	stop := p.progress(func() string {
		return fmt.Sprintf("measuring %s: %.0f %% of %s", f.title(), 100*float64(read.Load())/float64(max(f.Size(), 1)), formatBytes(f.Size()))
	})
	result, others, err := fitRecording(ctx, f, o.filter, &read)
	stop()
	switch {
	case errors.Is(err, context.Canceled):
		p.notef("interrupted; %s was not written", o.output)
		return errInterrupted
	case err != nil:
		return fmt.Errorf("%s: %w", f.title(), err)
	}
	if err := o.filter.check(p); err != nil {
		return err
	}
	text := result.Profile.AppendYAML(nil)
	if o.output == "-" {
		if _, err := p.stdout.Write(text); err != nil {
			return output(err)
		}
	} else if err := os.WriteFile(o.output, text, 0o644); err != nil {
		return err
	}
	p.notef("%s", fitSummary(result, others, f.title(), time.Since(began)))
	return nil
}

// fitRecording makes a profile of the busiest instruments of f that filter wants, and returns how many others there are.
func fitRecording(ctx context.Context, f *openRecording, filter *fileFilter, read *atomic.Int64) (*fit.Result, int, error) {
	ids, n, err := busiestOf(ctx, f, filter, read, fit.MaxInstruments)
	if err != nil {
		return nil, 0, err
	}
	if n == 0 {
		return nil, 0, wrong("there is no such instrument%s%s", filter.meant(), filter.listed())
	}
	fitter := fit.New(ids...)
	var names stableIDs
	err = names.each(ctx, f, filter, read, fitter.Add, func(id feed.InstrumentID, d *feed.Definition) { fitter.Define(id, *d) })
	if err != nil {
		return nil, 0, err
	}
	result, err := fitter.Fit(ctx, f.title())
	if ctx.Err() != nil {
		return nil, 0, ctx.Err()
	}
	if err != nil {
		return nil, 0, wrong("%w", err)
	}
	return result, n - len(result.Profile.Instruments), nil
}

// fitSummary describes a profile, for people.
func fitSummary(r *fit.Result, others int, title string, took time.Duration) string {
	p := r.Profile
	out := []string{fmt.Sprintf("%s: %s fitted in %s", title, nouns.Count(len(p.Instruments), "instrument"), formatDuration(took))}
	if others > 0 {
		out[0] += fmt.Sprintf("; %s left out, less busy or with too few ticks", nouns.Count(others, "instrument"))
	}
	out = append(out, fmt.Sprintf("  market       %.4g events/s, %s from %s", p.Rate, formatDuration(p.DayLength), p.Start.Format("2006-01-02 15:04Z")))
	levels := 0
	for i := range p.Instruments {
		levels = max(levels, len(p.Instruments[i].Depth))
	}
	if levels > 0 {
		out = append(out, fmt.Sprintf("  books        %s on each side: simulate them with --depth %d", nouns.Count(levels, "level"), levels))
	}
	for i := range p.Instruments {
		d, name := r.Distances[i], oneLine(p.Instruments[i].Definition.Name())
		if i == fitShown {
			out = append(out, fmt.Sprintf("  and %d more", len(p.Instruments)-i))
			break
		}
		out = append(out, fmt.Sprintf("  %-12s %.4g events/s; distance of a simulation (L1, 0 to 2): spread %.2f, imbalance %.2f, times %.2f, volume %.2f",
			name, p.Instruments[i].Activity, d.Spread, d.Imbalance, d.Times, d.Volume))
		if usual := r.Usual[i]; len(usual) > 0 {
			out = append(out, "               as usual, for want of data: "+strings.Join(usual, ", "))
		}
	}
	return strings.Join(out, "\n")
}

// fitShown is the number of instruments that a summary shows.
const fitShown = 8
