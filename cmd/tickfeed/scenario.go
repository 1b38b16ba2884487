package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/rs/zerolog"
	"github.com/spf13/pflag"
	"golang.org/x/sync/errgroup"

	"tickfeed/codec/lab"
	"tickfeed/feed/nouns"
	"tickfeed/feed/script"
	"tickfeed/feed/sim"
)

// scenarioOptions are the flags that say what happens in the simulated market.
type scenarioOptions struct {
	name  string
	rules []string
	list  bool
}

// define adds the flags to f.
func (o *scenarioOptions) define(f *pflag.FlagSet) {
	f.StringVar(&o.name, "scenario", "", "let the events of a script happen in the market: `FILE`, or "+strings.Join(sim.Scenarios(), ", ")+", which ship with tickfeed")
	f.StringArrayVar(&o.rules, "event", nil, "add the `RULE` to the scenario, such as 'at 10:00: halt TSLA for 10m'; can be repeated")
	f.BoolVar(&o.list, "list", false, "list the triggers and events that a scenario knows, and the scenarios that ship, and exit; with --scenario NAME print that one")
}

// languages are those of all scripts: what happens in the market comes first for the market, and faults for the lab.
var (
	marketLanguages = []*script.Language{sim.Language, lab.Language}
	labLanguages    = []*script.Language{lab.Language, sim.Language}
)

// load reads the scenario: nil if there is none. The error is a usage error.
func (o *scenarioOptions) load(ctx context.Context) (*script.Script, error) {
	if o.name == "" && len(o.rules) == 0 {
		return nil, nil
	}
	s := &script.Script{Seed: 1}
	var wrong error
	if o.name != "" {
		text, err := readSmall(ctx, o.name, script.MaxScript)
		if shipped, ok := sim.ScenarioText(o.name); ok && errors.Is(err, fs.ErrNotExist) {
			text, err = shipped, nil
		}
		if errors.Is(err, fs.ErrNotExist) {
			return nil, usage("--scenario: there is no file %s, and no scenario of that name ships%s (%s)", o.name, script.DidYouMean(o.name, sim.Scenarios()), strings.Join(sim.Scenarios(), ", "))
		} else if err != nil {
			return nil, usage("--scenario: %w", err)
		}
		if parsed, err := script.Parse(o.name, text, marketLanguages...); err != nil {
			wrong = usage("%w\n%s: instruments and times are not checked until every line can be read", err, o.name)
		} else {
			s = parsed
		}
	}
	for _, text := range o.rules {
		r, err := flagRule("--event", text, marketLanguages...)
		if wrong = errors.Join(wrong, err); err == nil {
			s.Rules = append(s.Rules, r.Rules...)
		}
	}
	if wrong != nil {
		return nil, wrong
	}
	return s, nil
}

// marketFlags maps the fields of sim.Config that flags set to the flags.
var marketFlags = map[string]string{
	"Instruments × Depth": "--instruments × --depth", "Instruments": "--instruments", "Depth": "--depth", "Start": "--start",
	"Rate": "--rate", "Days": "--days", "Shape": "--day-shape", "DayLength": "the day of --profile",
}

// refused returns the usage error for err, of a market that refuses its configuration or the scenario.
func (o *scenarioOptions) refused(err error) error {
	var wrong *sim.ConfigError
	if errors.As(err, &wrong) {
		if flag, ok := marketFlags[wrong.Field]; ok {
			return usage("%s %s", flag, wrong.Rule)
		}
	}
	var at *script.Error
	if !errors.As(err, &at) || at.Name != o.name || !slices.Contains(sim.Scenarios(), o.name) {
		return usage("%w", err)
	}
	return usage("%w; the scenario %s is written for the instruments and days that tickfeed simulates by default: write it to a file with publish --list --scenario %s > my.market, change it there, and use --scenario my.market", err, o.name, o.name)
}

// flagRule parses text, a value of flag, which must be one rule. The error is a usage error.
func flagRule(flag, text string, languages ...*script.Language) (*script.Script, error) {
	s, err := script.Parse(flag, []byte(text), languages...)
	switch {
	case err != nil:
		return nil, usage("%w", err)
	case s.Seeded:
		return nil, usage("%s %q sets a seed, which only a script can: write the line in a file, and its rules below", flag, text)
	case len(s.Rules) != 1:
		return nil, usage("%s %q must be one rule; repeat the flag for more", flag, text)
	}
	return s, nil
}

// faultsIn returns how many rules of s are faults, which are no business of the market.
func faultsIn(s *script.Script) int {
	if s == nil {
		return 0
	}
	return len(lab.FaultsOf(s).Rules)
}

// byHandIn returns how many events of s happen only when something triggers them by name.
func byHandIn(s *script.Script) (n int) {
	if s == nil {
		return 0
	}
	for _, r := range s.Rules {
		if _, fault := r.Does.(lab.Fault); !fault && r.Trigger.When == script.ByHand {
			n++
		}
	}
	return n
}

// A faultLab is the faults of a scenario: a lab between the subscribers of a publisher and the publisher, which listens on an
// address of its own.
type faultLab struct {
	lab    *lab.Lab
	behind net.Listener
}

// newFaults prepares the faults of s, or returns nil if there are none. The error is a usage error.
func newFaults(ctx context.Context, s *script.Script) (*faultLab, error) {
	if faultsIn(s) == 0 {
		return nil, nil
	}
	f := &faultLab{lab: &lab.Lab{Script: lab.FaultsOf(s)}}
	if err := f.lab.Check(f.lab.Script.Rules...); err != nil {
		return nil, usage("%w", err)
	}
	var err error
	if f.behind, err = listen(ctx, listenFlag, "127.0.0.1:0"); err != nil {
		return nil, err
	}
	f.lab.Dial = func(ctx context.Context) (net.Conn, error) { return dial(ctx, f.behind.Addr().String()) }
	return f, nil
}

func (f *faultLab) close() {
	if f != nil {
		f.behind.Close() // serve has closed it, unless it was never called
	}
}

// serve serves the subscribers of s through the lab until ctx ends.
func (f *faultLab) serve(ctx context.Context, s *service) error {
	f.lab.Event = func(e lab.Event) {
		if e.Line == 0 {
			return
		}
		if s.p.consoleLog() {
			s.log.Info().Msg(printable(fmt.Sprintf("fault: %s, connection %d, at %s", e.Fault, e.Connection, nouns.Thousands(e.Seq))))
			return
		}
		s.log.Info().Str("fault", e.Fault).Str("client", e.Client).Uint64("connection", e.Connection).Uint64("seq", e.Seq).Msg("fault")
	}
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return s.pub.Serve(ctx, f.behind) })
	for _, ln := range s.listeners {
		group.Go(func() error { return f.lab.Serve(ctx, ln) })
	}
	return group.Wait()
}

// listScenarios prints the scenario called name, or documents the language of scenarios and those that ship if none has the name.
func (p *program) listScenarios(name string) error {
	if text, ok := sim.ScenarioText(name); ok {
		_, err := p.stdout.Write(text)
		return output(err)
	}
	var b strings.Builder
	s := p.screen(p.stdout)
	section := func(heading string, forms []script.Form) {
		fmt.Fprintf(&b, "%s:\n", heading)
		for _, f := range forms {
			fmt.Fprintf(&b, "%s\n%s\n      %s\n", s.fit("  "+f.Usage, "    "), s.fit("      "+f.Does, "      "), f.Example)
		}
	}
	section("Triggers", sim.Triggers)
	section("\nEvents", sim.Verbs[:])
	fmt.Fprintf(&b, "\nPercentages:\n%s\n", s.fit("  They are shares of the price. Of an instrument whose price may be negative, 1 % is its volatility of one day.", "  "))
	b.WriteString("\nEvents that overlap:\n")
	for _, text := range sim.Overlaps {
		fmt.Fprintf(&b, "%s\n", s.fit("  "+text, "    "))
	}
	fmt.Fprintf(&b, "\nFaults:\n%s\n", s.fit("  Faults of the network may stand in the same script, and be added while publish runs if it has one from the beginning: tickfeed lab --list documents them.", "  "))
	b.WriteString("\nScenarios:\n")
	for _, name := range sim.Scenarios() {
		text, _ := sim.ScenarioText(name)
		comment, _, _ := strings.Cut(string(text), "\n")
		fmt.Fprintf(&b, "%s\n", s.fit("  "+strings.TrimPrefix(comment, "# "), "    "))
	}
	_, err := fmt.Fprint(p.stdout, b.String())
	return output(err)
}

// noteOf returns the note of e with the instruments that it is about.
func noteOf(e *sim.Event) string {
	n := e.Instruments
	if e.Nothing {
		n = e.Matching
	}
	switch {
	case e.Symbol == "":
		return e.Note
	case n > 1:
		return fmt.Sprintf("%s and %s more: %s", e.Symbol, nouns.Thousands(uint64(n-1)), e.Note)
	}
	return e.Symbol + ": " + e.Note
}

// bandsEvery is the time between two reports of LULD bands, which move all the time in a fast market.
const bandsEvery = time.Second

// reporter returns a function that logs what happens in the market, and counts it for d.
func (p *program) reporter(log zerolog.Logger, d *director) func(sim.Event) {
	people := p.consoleLog()
	var bands time.Time // when they were reported last
	return func(e sim.Event) {
		d.happened(e)
		if e.Bands {
			now := time.Now()
			if now.Sub(bands) < bandsEvery {
				return
			}
			bands = now
		}
		sayHappened(log, people, e)
	}
}

// sayHappened logs what has happened in the market.
func sayHappened(log zerolog.Logger, people bool, e sim.Event) {
	if people {
		log.Info().Msg(printable(happenedText(&e)))
		return
	}
	level, text := zerolog.InfoLevel, "market"
	switch {
	case e.Nothing:
		level, text = zerolog.WarnLevel, "market: "+nothingText(&e)
	case e.Never:
		level, text = zerolog.WarnLevel, "market: the rule never happens, "+e.Note
	case e.Late:
		level, text = zerolog.WarnLevel, "market: "+lateText
	case e.Note != "":
		text = "market: " + noteOf(&e)
	}
	said := log.WithLevel(level).Str("rule", e.Rule.Text).Int64("event_time", e.Time).Int("instruments", e.Instruments)
	if e.Instruments < e.Matching {
		said = said.Int("matching", e.Matching)
	}
	if e.InAll != "" {
		said = said.Str("in_all", e.InAll)
	}
	said.Msg(text)
}
