package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"tickfeed/cmd/bench"
	"tickfeed/cmd/child"
	"tickfeed/codec/recording"
	"tickfeed/codec/recording/edit"
	"tickfeed/feed"
	"tickfeed/feed/files/rawfile"
)

// benchOptions are the flags of bench.
type benchOptions struct {
	duration             time.Duration
	runs                 int
	ticks                []string
	smoke, json, tls     bool
	profile, dir, sync   string
	subscribers, symbols int
	instruments, cuts    int
	rate                 rate
	files                importOptions
}

// benchChild is the name of the hidden command that bench starts as a child process.
const benchChild = "bench-child"

func (p *program) benchCommand() *cobra.Command {
	var o benchOptions
	var list strings.Builder
	var names []string
	for _, s := range bench.Scenarios() {
		fmt.Fprintf(&list, "  %-12s%s\n", s.Name, s.About)
		names = append(names, s.Name)
	}
	cmd := &cobra.Command{
		Use:   "bench [SCENARIO...|all]",
		Short: "Measure how fast tickfeed is on this machine",
		Long: `Measure tickfeed in realistic use: the publisher and its subscribers run in processes of their own,
connected over loopback, with journal, checksums, heartbeats and ledgers on, and every tick is decoded,
checked and folded into the state. Each figure is printed beside a reference figure of the machine,
measured alternately in the same run (plain TCP with writes of 256 KiB over as many sockets, a plain
ping, sendfile), and the ratio of the two. The ratio says more than the figure, because machines differ
and are noisy. Latency is measured from the time at which a tick was due, so it includes stalls. Each
measurement is made --runs times; the median and the range are printed. A figure with a target has the
target beside it, and yes or NO.

Scenarios (all of them by default):

` + list.String(),
		Example: `  tickfeed bench throughput
  tickfeed bench fanout --subscribers 100 --runs 3
  tickfeed bench latency --rate 100k --subscribers 50
  tickfeed bench catchup --ticks 50M
  tickfeed bench throughput --ticks quotes.csv.gz --profile profiles
  tickfeed bench --json > bench.json`,
		ValidArgs: append(names, "all"),
		RunE:      func(cmd *cobra.Command, args []string) error { return p.bench(cmd, &o, args) },
	}
	group(cmd, "Bench", func(f *pflag.FlagSet) {
		f.DurationVar(&o.duration, "duration", bench.DefaultDuration, "duration of one measurement")
		countVar(f, &o.runs, "runs", bench.DefaultRuns, "make each measurement `N` times")
		f.StringSliceVar(&o.ticks, "ticks", []string{"sim"}, "take the ticks from `SOURCE`: sim (the simulated market) or files; a number such as 10M sets how many ticks catchup stores and age publishes")
		f.StringVar(&o.profile, "profile", "", "write CPU profiles of the publisher and the subscribers to the directory `DIR`")
		f.StringVar(&o.dir, "dir", "", "keep journals, up to 3 GB, under `DIR` while bench runs (default: the system's directory for temporary files)")
		f.StringVar(&o.sync, "sync", "1s", "when to sync the journal, as for publish: `WHEN` none, 1s or always")
		f.BoolVar(&o.tls, "tls", false, "connect over TLS; the reference figures stay those of plain TCP")
		f.BoolVar(&o.smoke, "smoke", false, "make everything small and short, only to check that it works; targets are not judged")
		f.BoolVar(&o.json, "json", false, "print JSON lines: one that describes the machine, then one per figure")
	})
	group(cmd, "Parameters of scenarios", func(f *pflag.FlagSet) {
		countVar(f, &o.subscribers, "subscribers", 0, "`N` subscribers")
		f.Var(&o.rate, "rate", "`N` ticks a second")
		countVar(f, &o.symbols, "symbols", 0, "each subscriber wants `K` symbols")
		countVar(f, &o.instruments, "instruments", 0, "`N` instruments")
		countVar(f, &o.cuts, "cuts", 0, "cut the connection `N` times, and make a tenth as many outages of each other kind")
	})
	importFlags(cmd, &o.files)
	return cmd
}

// benchParameters are the flags that only some scenarios use.
var benchParameters = []string{"tls", "subscribers", "rate", "symbols", "instruments", "cuts", "count"}

// config returns the configuration from the flags.
func (o *benchOptions) config(cmd *cobra.Command, args []string) (bench.Config, error) {
	cfg := bench.Config{
		Duration: o.duration, Runs: o.runs, Smoke: o.smoke, Profile: o.profile, Dir: o.dir, TLS: o.tls,
		Subscribers: o.subscribers, Symbols: o.symbols, Instruments: o.instruments, Cuts: o.cuts, Rate: float64(o.rate),
	}
	if !cmd.Flags().Changed("duration") {
		cfg.Duration = 0
	}
	if !cmd.Flags().Changed("runs") {
		cfg.Runs = 0
	}
	if !slices.Contains(args, "all") {
		cfg.Scenarios = args
	}
	var err error
	if cfg.Sync, err = parseSync(o.sync); err != nil {
		return cfg, err
	}
	for _, t := range o.ticks {
		n, err := parseCount(t)
		switch _, statErr := os.Stat(t); {
		case t == "sim":
		case err != nil || statErr == nil:
			cfg.Ticks = append(cfg.Ticks, t)
		case n < 1 || n > bench.MaxCount:
			return cfg, usage("--ticks %s: a number is from 1 to 10G ticks", t)
		default:
			cfg.Count = int(n)
		}
	}
	for _, name := range []string{"subscribers", "runs", "symbols", "instruments", "cuts"} {
		if f := cmd.Flags().Lookup(name); f.Changed && f.Value.String() == "0" {
			return cfg, usage("--%s must be at least 1", name)
		}
	}
	if err := cfg.Validate(); err != nil {
		if name, _, ok := strings.Cut(strings.TrimPrefix(err.Error(), "the "), " must be"); ok && cmd.Flags().Lookup(name) != nil {
			err = rawfile.AsGiven(err, "the "+name, "--"+name)
		}
		return cfg, usage("%w", err)
	}
	for _, name := range benchParameters {
		given := name == "count" && cfg.Count != 0 || name != "count" && cmd.Flags().Changed(name)
		if given && !slices.ContainsFunc(bench.Scenarios(), func(s bench.Scenario) bool {
			return (len(cfg.Scenarios) == 0 || slices.Contains(cfg.Scenarios, s.Name)) && slices.Contains(s.Uses, name)
		}) {
			if name == "count" {
				name = "ticks with a number"
			}
			return cfg, usage("--%s is not used by %s", name, strings.Join(cfg.Scenarios, ", "))
		}
	}
	return cfg, nil
}

func (p *program) bench(cmd *cobra.Command, o *benchOptions, args []string) error {
	cfg, err := o.config(cmd, args)
	if err != nil {
		return err
	}
	if len(cfg.Ticks) > 0 { // report unreadable files before measuring anything
		src, err := openTicks(cfg.Ticks, &o.files)
		if err != nil {
			return err
		}
		if err := src.Close(); err != nil {
			return err
		}
	}
	reading := readingFlags(cmd)
	if len(cfg.Ticks) == 0 && len(reading) > 0 {
		return usage("%s applies only to files; name them with --ticks", reading[0])
	}
	exe, err := os.Executable()
	if err != nil {
		return err
	}
	cfg.Command = func(role string) *exec.Cmd {
		c := exec.Command(exe)
		c.Args = append([]string{"tickfeed", benchChild, role}, reading...)
		c.Env = child.Environ()
		return c
	}
	ctx, cancel := context.WithCancel(cmd.Context())
	defer cancel()
	var failed error // error of a write
	var doing atomic.Value
	doing.Store("")
	cfg.Progress = func(what string) { doing.Store(what) }
	stop := func() {}
	print := func(write func() error) { // clears the progress line first
		stop()
		if failed == nil {
			if failed = write(); failed != nil {
				cancel() // the output is gone
			}
		}
		stop = p.progress(func() string { return doing.Load().(string) })
	}
	print(func() error { return nil })
	p.benchOutput(&cfg, o.json, print)
	err = bench.Run(ctx, cfg)
	stop()
	switch {
	case failed != nil:
		return output(failed)
	case cmd.Context().Err() != nil:
		p.notef("interrupted; the figures above are complete")
		return errInterrupted
	case errors.Is(err, bench.ErrAccount), errors.Is(err, bench.ErrTicks):
		return wrong("%w", err)
	}
	return err
}

// readingFlags returns the flags of cmd that say how files are read.
func readingFlags(cmd *cobra.Command) (reading []string) {
	cmd.Flags().Visit(func(f *pflag.Flag) {
		if g := f.Annotations[groupAnnotation]; len(g) == 0 || g[0] != groupImport {
			return
		}
		values := []string{f.Value.String()}
		if list, ok := f.Value.(pflag.SliceValue); ok && f.Value.Type() == "stringArray" {
			values = list.GetSlice()
		} else if ok { // in brackets, with commas between the parts, of which any may be empty
			values[0] = strings.TrimSuffix(strings.TrimPrefix(values[0], "["), "]")
		}
		for _, v := range values {
			reading = append(reading, "--"+f.Name+"="+v)
		}
	})
	return reading
}

// benchOutput makes cfg write the machine and each figure by print.
func (p *program) benchOutput(cfg *bench.Config, asJSON bool, print func(write func() error)) {
	if asJSON {
		lines := json.NewEncoder(p.stdout)
		cfg.Machine = func(m *bench.Machine) {
			print(func() error { return lines.Encode(map[string]*bench.Machine{"machine": m}) })
		}
		cfg.Figure = func(f *bench.Figure) { print(func() error { return lines.Encode(f) }) }
	} else {
		s, width := p.screen(p.stdout), terminalWidth(p.stdout)
		narrow := width > 0 && width < bench.TableWidth
		cfg.Machine = func(m *bench.Machine) {
			print(func() error {
				text := fmt.Sprintf("%d processors, %s, %s; ticks of %s: %s held, %.1f bytes each, %.1f %% of quotes and trades in a fixed-width pattern",
					m.Processors, m.Platform, m.Go, printable(m.Ticks), formatCount(float64(m.Held)), m.TickSize, m.FixedWidth*100)
				_, err := fmt.Fprintf(p.stdout, "%s\n\n", s.fit(text, "  "))
				if narrow {
					return err
				}
				return errors.Join(err, bench.WriteHeader(p.stdout))
			})
		}
		cfg.Figure = func(f *bench.Figure) {
			print(func() error {
				if !narrow {
					return f.WriteText(p.stdout)
				}
				_, err := fmt.Fprintln(p.stdout, s.fit(f.Sentence(), "  "))
				return err
			})
		}
	}
}

// benchChildCommand is the command of a process that bench starts.
func (p *program) benchChildCommand() *cobra.Command {
	var o importOptions
	cmd := &cobra.Command{
		Use: benchChild, Hidden: true, Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			signal.Ignore(os.Interrupt) // Ctrl-C also reaches the parent, which decides
			return bench.Child(cmd.Context(), args[0], p.stdin, p.stdout, func(paths []string) (feed.Source, error) {
				return openTicks(paths, &o)
			})
		},
	}
	importFlags(cmd, &o)
	return cmd
}

// openTicks opens recordings, or other files, as a source of ticks.
func openTicks(paths []string, o *importOptions) (feed.Source, error) {
	recorded, err := isRecording(paths[0])
	if err != nil {
		return nil, usage("--ticks: %w", err)
	}
	for _, path := range paths[1:] {
		if r, err := isRecording(path); err != nil {
			return nil, usage("--ticks: %w", err)
		} else if r != recorded {
			return nil, usage("--ticks: %s and %s: recordings and other files cannot be mixed", paths[0], path)
		}
	}
	if !recorded {
		return o.openSource(context.Background(), paths, nil) // no pipe
	}
	s := &recordedTicks{}
	var readers []*recording.Reader
	for _, path := range paths {
		r, err := openFile(context.Background(), path)
		if err != nil {
			return nil, errors.Join(err, s.Close())
		}
		s.files = append(s.files, r)
		reader, err := r.Reader()
		if err != nil {
			return nil, errors.Join(err, s.Close())
		}
		readers = append(readers, reader)
	}
	s.Source = edit.NewSource(readers...)
	return s, nil
}

// recordedTicks is the source of the ticks of recordings.
type recordedTicks struct {
	feed.Source // nil until all files are open
	files       []*openRecording
}

func (s *recordedTicks) Close() error {
	closeAll(s.files)
	s.files = nil
	if s.Source == nil {
		return nil
	}
	return s.Source.Close()
}
