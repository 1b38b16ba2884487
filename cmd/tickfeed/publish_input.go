package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
	"time"

	"tickfeed/codec"
	"tickfeed/codec/recording"
	"tickfeed/codec/recording/edit"
	"tickfeed/feed"
	"tickfeed/feed/files"
	"tickfeed/feed/files/rawfile"
	"tickfeed/feed/sim"
	"tickfeed/publisher"
	"tickfeed/publisher/journal"
)

// An input is the source of the published ticks.
type input struct {
	o     *publishOptions
	paths []string // none: the simulated market
	sim   *sim.Market
	// director changes what happens in the market, and happens receives what happens; it may be nil.
	director *director
	happens  func(sim.Event)

	source     feed.Source   // nil for the simulated market
	files      *files.Source // what source reads, if paths are not recordings
	recorded   *edit.Source  // source, if paths are recordings
	recordings []*openRecording
}

// String describes what is published, for people.
func (in *input) String() string {
	if len(in.paths) == 0 {
		return in.o.marketName()
	}
	names := slices.Clone(in.paths)
	for i := range names {
		if names[i] == rawfile.Stdin {
			names[i] = rawfile.StdinName
		}
	}
	return strings.Join(names, " ")
}

// describe returns the source and the rate, for the first line of the log.
func (in *input) describe() string {
	if len(in.paths) > 0 {
		return in.String()
	}
	text := in.String() + ", "
	rate := in.o.ticksPerSecond()
	switch n := formatRate(rate); {
	case math.IsInf(rate, 1):
		return text + "as fast as possible"
	case rate == 0:
		return text + fmt.Sprintf("%s events/s on average over the day", formatCount(in.o.market.Profile.Rate*in.o.speed))
	case in.o.steady:
		return text + n + " evenly spaced"
	case in.o.shape == sim.UShaped.String():
		return text + n + " on average over the day, 4 times as many at the opening (--day-shape u)"
	default:
		return text + n + " in every minute (--day-shape flat)"
	}
}

func (in *input) mode() codec.Mode {
	if len(in.paths) == 0 {
		return codec.ModeSimulation
	}
	return codec.ModeLive
}

// open opens the files and checks everything that can be checked before there is a publisher.
func (in *input) open(ctx context.Context, stdin io.Reader) error {
	if len(in.paths) == 0 {
		cfg, err := in.o.marketConfig()
		if err != nil {
			return err
		}
		cfg.Happens = in.happens
		if _, err = sim.New(cfg); err != nil {
			return in.o.scenario.refused(err)
		}
		return nil
	}
	recorded, err := allRecordings(in.paths)
	switch {
	case err != nil:
		return err
	case recorded:
		return in.openRecordings(ctx)
	case in.o.stdinOrders:
		stdin = nil
	}
	if in.files, err = in.o.imports.openSource(ctx, in.paths, stdin); err != nil {
		return err
	}
	in.source = in.files
	if err := in.o.imports.checkFormats([]files.Format{in.files.Format()}); err != nil {
		return err
	}
	return in.begin(ctx)
}

// begin reads the first ticks of the files, so that a header or first row that cannot be read is found before the publisher listens.
// It reads nothing if one of the files is standard input or a pipe, which may have nothing yet.
func (in *input) begin(ctx context.Context) error {
	if slices.ContainsFunc(in.paths, func(path string) bool { return path == rawfile.Stdin || isNamedPipe(path) }) {
		return nil
	}
	first := make([]feed.Tick, firstTicks)
	n, err := in.files.Next(ctx, first)
	if n == 0 && !errors.Is(err, io.EOF) {
		return fileError(err, false)
	}
	in.source = &begunSource{in.files, first[:n]} // an error comes again
	return nil
}

// firstTicks is how many ticks of files are read before the publisher listens.
const firstTicks = 16

// A begunSource yields ticks of a source that were read before, and then the rest.
type begunSource struct {
	*files.Source
	first []feed.Tick
}

func (s *begunSource) Next(ctx context.Context, batch []feed.Tick) (int, error) {
	if len(s.first) > 0 {
		n := copy(batch, s.first)
		s.first = s.first[n:]
		return n, nil
	}
	return s.Source.Next(ctx, batch)
}

// allRecordings reports whether paths are recordings. It is an error if only some are.
func allRecordings(paths []string) (bool, error) {
	count := 0
	for _, path := range paths {
		if path == "-" {
			continue
		}
		recorded, err := isRecording(path)
		if err != nil {
			return false, usage("%w", err)
		}
		if recorded {
			count++
		}
	}
	if count > 0 && count < len(paths) {
		return false, usage("some of the files are recordings and some are not; import those that are not")
	}
	return count > 0, nil
}

func (in *input) openRecordings(ctx context.Context) error {
	if err := in.o.imports.checkFormats(nil); err != nil {
		return err
	}
	var readers []*recording.Reader
	for _, path := range in.paths {
		r, err := openFile(ctx, path)
		if err != nil {
			return err
		}
		in.recordings = append(in.recordings, r)
		reader, err := r.Reader()
		if err != nil {
			return wrong("%s: %w", path, err)
		}
		readers = append(readers, reader)
	}
	in.recorded = edit.NewSource(readers...)
	in.source = in.recorded
	return nil
}

func (in *input) close() {
	if in.source != nil {
		in.source.Close()
	}
	closeAll(in.recordings)
}

// ticks returns the source to publish after the ticks in the journal, and its pace. The simulated market continues on a
// later day, with another seed.
func (in *input) ticks(rec *journal.Recovered) (feed.Source, publisher.Pace, error) {
	var pace publisher.Pace
	if in.source != nil {
		if r := float64(in.o.rate); r > 0 && !math.IsInf(r, 1) {
			pace.Rate = r
		}
		return in.source, pace, nil
	}
	cfg, err := in.o.marketConfig()
	if err != nil {
		return nil, pace, err
	}
	if rec != nil && rec.Next > 1 {
		cfg.Seed += uint64(len(rec.Lineage))
		cfg.Start = laterDay(cfg.Start, rec.LastEvent)
	}
	switch {
	case in.o.paced():
		pace.Speed = in.o.speed
	case in.o.steady:
		pace.Rate = in.o.ticksPerSecond()
	}
	cfg.Happens, cfg.Commands = in.happens, true
	in.sim, err = sim.New(cfg)
	if err != nil {
		return nil, pace, in.o.scenario.refused(err)
	}
	in.director.begin(in.sim, cfg.Scenario)
	return in.sim, pace, nil
}

// laterDay returns start, or the first weekday after it whose opening is later than last, in nanoseconds since the Unix
// epoch.
func laterDay(start time.Time, last int64) time.Time {
	if start.IsZero() {
		start = time.Date(2026, 1, 5, 9, 30, 0, 0, time.FixedZone("EST", -5*60*60)) // the default of sim.Config.Start
	}
	opens := start.Add(-time.Second) // the first ticks come before the opening
	if opens.UnixNano() > last {
		return start
	}
	days := int(time.Unix(0, last).Sub(opens).Hours()/24) + 1
	for {
		at := start.AddDate(0, 0, days)
		if w := at.Weekday(); w != time.Saturday && w != time.Sunday && at.Add(-time.Second).UnixNano() > last {
			return at
		}
		days++
	}
}
