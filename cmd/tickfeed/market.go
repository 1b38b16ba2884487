package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"tickfeed/feed"
	"tickfeed/feed/nouns"
	"tickfeed/feed/sim"
)

// marketOptions are the flags of the simulated market.
type marketOptions struct {
	market      sim.Config
	shape       string
	start       string
	speed       float64
	rate        rate
	defaultRate float64 // ticks per second if --rate is not given
	steady      bool
	universe    universeOptions
	profile     string // name of its file; "" for none
	scenario    scenarioOptions
}

// universeOptions are the flags that choose the instruments of the simulated market.
type universeOptions struct {
	file        string
	print       string      // csv or yaml; "" for not
	instruments *pflag.Flag // how many
}

// define adds the flags to f; instruments is the flag that says how many instruments there are.
func (o *universeOptions) define(f *pflag.FlagSet, instruments string) {
	o.instruments = f.Lookup(instruments)
	f.StringVar(&o.file, "universe", "", "simulate the instruments in `FILE`, CSV or YAML as --print-universe writes it")
	f.StringVar(&o.print, "print-universe", "", "write the instruments to standard output, to be edited for --universe, and exit: `FORMAT` csv or yaml")
	f.Lookup("print-universe").NoOptDefVal = "csv"
}

// joined returns args with the format that follows --print-universe as its value: pflag takes one after = only, because the format
// may be left out.
func joined(args []string) []string {
	const name = "--print-universe"
	i := slices.Index(args, name)
	if i < 0 || slices.Contains(args[:i], "--") || i+1 == len(args) || strings.HasPrefix(args[i+1], "-") {
		return args
	}
	return slices.Concat(args[:i], []string{name + "=" + args[i+1]}, args[i+2:])
}

// load reads the file, if one is named, and makes n, the number of instruments, fit.
func (o *universeOptions) load(ctx context.Context, n *int) (*sim.Universe, error) {
	if o.file == "" {
		return nil, nil
	}
	text, err := readSmall(ctx, o.file, sim.MaxUniverseFile)
	if err != nil {
		return nil, usage("--universe: %w", err)
	}
	u, err := sim.ParseUniverse(o.file, text)
	switch {
	case err != nil:
		return nil, usage("--universe: %w", err)
	case !o.instruments.Changed:
		*n = u.Len()
	case *n > u.Len():
		return nil, usage("--instruments must be at most %s, the number in %s, got %s", nouns.Thousands(uint64(u.Len())), o.file, nouns.Thousands(uint64(*n)))
	}
	return u, nil
}

// printUniverse writes the first n instruments of u, or of the default universe, to standard output.
func (p *program) printUniverse(o *universeOptions, u *sim.Universe, n int) error {
	if u == nil {
		u = sim.DefaultUniverse(n)
	}
	u = u.First(n)
	var text []byte
	switch o.print {
	case "csv":
		text = u.AppendCSV(nil)
	case "yaml":
		text = u.AppendYAML(nil)
	default:
		return usage("--print-universe must be csv or yaml, got %q", o.print)
	}
	_, err := p.stdout.Write(text)
	return output(err)
}

// groupMarket is the heading of the flags that apply to the simulated market only.
const groupMarket = "Simulated market"

// defaultRate is the rate of a published market, in ticks per second.
const defaultRate = 10_000

// define adds the flags, except --rate, to f. days is the default of --days.
func (o *marketOptions) define(f *pflag.FlagSet, days int) {
	o.defaultRate = defaultRate
	countVar(f, &o.market.Instruments, "instruments", 1000, "simulate `N` instruments, the most active first")
	o.universe.define(f, "instruments")
	f.StringVar(&o.profile, "profile", "", "simulate a market with the habits in `FILE`, as sim fit writes it: instruments, rate, day and distributions")
	o.scenario.define(f)
	f.Uint64Var(&o.market.Seed, "seed", 1, "random seed `NUMBER`: the same seed and flags give the same ticks")
	countVar(f, &o.market.Depth, "depth", 0, "publish `N` price levels on each side of the book")
	f.StringVar(&o.shape, "day-shape", sim.Flat.String(), "how ticks are spread over the day: `SHAPE` flat (--rate in every minute) or u (4 times --rate at the opening, 0.6 times past noon, 3 times at the close, as real days are: only u has rows 13 of inspect --facts)")
	f.StringVar(&o.start, "start", "", "when the market opens: `TIME` such as 2026-01-05, 2026-01-05T09:30 (New York) or RFC 3339, or now (default: 2026-01-05 09:30 New York)")
	f.Float64Var(&o.speed, "speed", 1, "simulate this many `SECONDS` of the market per second; each then has --rate / SECONDS ticks. With the same --seed, --rate, --speed and instruments, sim makes the same ticks")
	countVar(f, &o.market.Days, "days", days, "end after `N` trading days; 0 for never")
	f.BoolVar(&o.steady, "steady", false, "space ticks evenly at --rate instead of by their event times")
}

// check reports all invalid flags.
func (o *marketOptions) check() error {
	return errors.Join(
		usageIf(!(o.speed > 0) || math.IsInf(o.speed, 1), "--speed must be greater than 0, got %v", o.speed),
		usageIf(o.steady && math.IsInf(float64(o.rate), 1), "--steady needs a --rate other than max"),
		usageIf(o.profile != "" && o.universe.file != "", "--profile and --universe both say which instruments there are; choose one"),
		usageIf(o.profile != "" && o.steady && o.rate == 0, "--steady with --profile needs a --rate"),
		usageIf(o.market.Instruments < 1 || o.market.Instruments > feed.MaxInstruments, "--instruments must be from 1 to %d, got %d", feed.MaxInstruments, o.market.Instruments))
}

// load reads the files that the flags name, and reports all that cannot be used. The caller must have called check.
func (o *marketOptions) load(ctx context.Context) error {
	universe, instruments := o.universe.load(ctx, &o.market.Instruments)
	profile := o.loadProfile(ctx)
	events, scenario := o.scenario.load(ctx)
	o.market.Universe, o.market.Scenario = universe, events
	return errors.Join(instruments, profile, scenario)
}

// loadProfile reads the file of --profile, if one is named, and makes the number of instruments fit.
func (o *marketOptions) loadProfile(ctx context.Context) error {
	if o.profile == "" {
		return nil
	}
	text, err := readSmall(ctx, o.profile, sim.MaxProfileFile)
	if err != nil {
		return usage("--profile: %w", err)
	}
	if o.market.Profile, err = sim.ParseProfile(o.profile, text); err != nil {
		return usage("--profile: %w", err)
	}
	switch n := len(o.market.Profile.Instruments); {
	case !o.universe.instruments.Changed:
		o.market.Instruments = n
	case o.market.Instruments > n:
		return usage("--instruments must be at most %d, the number in %s, got %s", n, o.profile, nouns.Thousands(uint64(o.market.Instruments)))
	}
	return nil
}

// printsInstead prints what is asked for instead of a market: the instruments, or the language of scenarios. The caller must
// have called load.
func (o *marketOptions) printsInstead(p *program) (printed bool, err error) {
	switch {
	case o.scenario.list:
		return true, p.listScenarios(o.scenario.name)
	case o.universe.print != "":
		u := o.market.Universe
		if o.market.Profile != nil {
			u = o.market.Profile.Universe()
		}
		return true, p.printUniverse(&o.universe, u, o.market.Instruments)
	}
	return false, nil
}

// marketName describes the market, for people.
func (o *marketOptions) marketName() string {
	text := fmt.Sprintf("simulated market, seed %d", o.market.Seed)
	if o.profile != "" {
		text += ", profile " + oneLine(o.profile)
	}
	if o.scenario.name != "" {
		text += ", scenario " + o.scenario.name
	}
	return text
}

// ticksPerSecond returns the rate asked for, in ticks per second of real time; +Inf for max, and 0 for that of the profile.
func (o *marketOptions) ticksPerSecond() float64 {
	if o.profile != "" {
		return float64(o.rate)
	}
	return cmp.Or(float64(o.rate), o.defaultRate)
}

// marketConfig returns the configuration of the simulated market from the flags.
func (o *marketOptions) marketConfig() (sim.Config, error) {
	cfg := o.market
	start, err := parseOpening(o.start, time.Now())
	cfg.Start = start
	if cfg.Profile != nil && start.IsZero() {
		cfg.Start = cfg.Profile.Start
	}
	shape, failed := sim.ParseShape(o.shape)
	if cfg.Shape = shape; failed != nil {
		err = errors.Join(err, usage("--day-shape: %w", failed))
	}
	if rate := o.ticksPerSecond(); !math.IsInf(rate, 1) {
		cfg.Rate = rate / o.speed
	}
	cfg.Continuous = o.paced() // so that a paced market does not pause for the nights
	if o.speed > 0 && cfg.Rate != 0 && (cfg.Rate < sim.MinRate || cfg.Rate > sim.MaxRate) {
		err = errors.Join(err, usage("--rate %s at --speed %v is %v ticks per second of the market; it must be from %v to %.0f",
			formatCount(o.ticksPerSecond()), o.speed, cfg.Rate, sim.MinRate, sim.MaxRate))
	}
	return cfg, err
}

// paced reports whether the simulated market is published by its event times.
func (o *marketOptions) paced() bool { return !o.steady && !math.IsInf(float64(o.rate), 1) }

// parseOpening parses --start. It returns the zero time if s is empty.
func parseOpening(s string, now time.Time) (time.Time, error) {
	switch s {
	case "":
		return time.Time{}, nil
	case "now":
		return now, nil
	}
	zone, err := time.LoadLocation("America/New_York")
	if err != nil {
		return time.Time{}, err
	}
	if at, err := time.ParseInLocation(time.DateOnly, s, zone); err == nil {
		return at.Add(9*time.Hour + 30*time.Minute), nil
	}
	if at, daily, ok := parseMoment(s, zone, now); ok && !daily {
		return at, nil
	}
	return time.Time{}, usage("--start must be a time such as 2026-01-05, 2026-01-05T09:30 or 2026-01-05T14:30:00Z, or now; got %q", s)
}
