package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"tickfeed/cmd/exam"
	"tickfeed/codec/recording"
	"tickfeed/feed/nouns"
	"tickfeed/feed/scratch"
)

func abilityNames(abilities []exam.Ability) string {
	var names []string
	for _, a := range abilities {
		names = append(names, string(a))
	}
	return strings.Join(names, ", ")
}

// examOptions are the flags of exam.
type examOptions struct {
	bytes, self    bool
	publisher      bool
	list           bool
	show           string
	judge          string
	serve          string
	cases, lacks   []string
	limit          time.Duration
	parallel       int
	json, force    bool
	junit          string
	served, failed int
}

// examFlags is how exam --self starts the subscriber of this program.
var examFlags = []string{
	"subscribe", "{addr}", "--json", "--raw", "--events", "--final-state", "--ledger", "-", "--log-level", "off",
	"--symbols", "{filter}", "--from", "{from}", "--slow", "{slow}", "--state", "{state-file}",
}

// examPublishFlags returns how exam --self --publisher starts the publisher of this program, which lacks abilities. One with a
// journal has little memory, so that it reads the journal.
func examPublishFlags(lacks ...exam.Ability) []string {
	flags := []string{"publish", "--listen", "{listen}", "--token-file", "{token-file}", "--log-level", "error", "--log-format", "console"}
	if slices.Contains(lacks, exam.Input) {
		flags = append(flags, "--instruments", "20")
	} else {
		flags = append(flags, "-")
	}
	if slices.Contains(lacks, exam.Journal) {
		return flags
	}
	return append(flags, "--journal", "{journal}", "--append", "--retain", "{retain}", "--memory", "1MiB")
}

func (p *program) examCommand() *cobra.Command {
	var o examOptions
	places := func(all []exam.Placeholder) string {
		var b strings.Builder
		for _, x := range all {
			fmt.Fprintf(&b, "  %-12s  %s\n", x.Name, strings.Join(strings.Split(wrap(x.Is, columns-16, ""), "\n"), "\n"+strings.Repeat(" ", 16)))
		}
		return b.String()
	}
	cmd := &cobra.Command{
		Use:   "exam [-- PROGRAM [ARG...]]",
		Short: "Examine a subscriber or a publisher in any language",
		Long: `Examine whether a subscriber does what codec/PROTOCOL.md says. The exam plays a publisher, starts the client
for each case, reads the lines that the client prints (codec/CLIENT.md, "What a client prints") and compares
them, field by field, with those of a right client. A case takes at most --limit, the end of the client
included; the longest takes a right client about 8 s. One that failed on time alone is repeated once, alone,
before it counts. A client that prints far more than any client would is ended. The result is a score for each
chapter; the exit code is 3 if a case failed.

The client prints prices and sizes as integers, and at its end the state and the ledger: what tickfeed
subscribe prints with --json --events --raw --final-state --ledger -. When a case is over, the exam sends it
SIGTERM; its exit code does not count. A wrapper script must start it by exec: a client below the wrapper is not
ended if the exam itself is killed. Begin with --case good-plain, which needs
{addr} and {from}; CLIENT.md, "The exam", has what each ability of a client adds.

These placeholders in ARG are replaced for each case, and others are refused; { x } is none, and ${x} belongs to a
shell. An argument that would be empty is left out, together with a flag before it:

` + places(exam.Placeholders) + `
With --bytes nothing is connected: the client reads the bytes of a connection, hello first, from standard
input or, if {files} stands in ARG, from files, one connection each.

A case of your own is a file NAME.case, which names what must happen and then, in the language of tickfeed lab,
what goes wrong: CLIENT.md, "Cases of your own". --case runs it, or every such file of a directory.

A client that cannot be started from here connects to --serve, and names the case as its token; what it
prints is judged by --judge.

With --publisher the program is a publisher: the exam plays its subscribers and judges every message that it
sends (codec/PUBLISHER.md). It publishes the ticks that come on standard input, one JSON line each as a client
prints them, or --lacks input and has a source of its own. Its standard output is thrown away. The exam ends it
with SIGTERM, kills it and starts it again:

` + places(exam.PublisherPlaceholders) + `
Begin with --case welcome-fields.`,
		Example: `  tickfeed exam --self
  tickfeed exam --case good-plain -- ./my-client {addr} {from}
  tickfeed exam -- python3 my_client.py {addr} --symbols {filter} \
    --from {from} --state {state-file}
  tickfeed exam --bytes -- ./decode
  tickfeed exam --lacks filters,policies --junit exam.xml -- \
    ./my-client {addr} {from}
  tickfeed exam --case 'bad-*' -- ./my-client {addr} {from}
  tickfeed exam --case mine.case -- ./my-client {addr} {from}
  tickfeed exam --list
  tickfeed exam --show account-rewound
  tickfeed exam --serve localhost:9000
  tickfeed exam --judge bad-gap < output.ndjson
  tickfeed exam --publisher --self
  tickfeed exam --publisher -- \
    ./my-publisher --listen {listen} --journal {journal}
  tickfeed exam --publisher --lacks input,filters -- ./my-publisher {listen}
  tickfeed exam --publisher --list`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 { // the program on the command line overrides what the environment or the file asks for instead
				dropUnlessGiven(cmd, "self", &o.self)
				dropUnlessGiven(cmd, "list", &o.list)
				dropUnlessGiven(cmd, "show", &o.show)
				dropUnlessGiven(cmd, "judge", &o.judge)
				dropUnlessGiven(cmd, "serve", &o.serve)
			}
			return p.exam(cmd, &o, args)
		},
	}
	group(cmd, "Program", func(f *pflag.FlagSet) {
		f.BoolVar(&o.publisher, "publisher", false, "examine a publisher")
		f.BoolVar(&o.self, "self", false, "examine the subscribe command of this program, or with --publisher its publish command")
		f.BoolVar(&o.bytes, "bytes", false, "give the client bytes on standard input or in {files}, not a connection")
		f.StringSliceVar(&o.lacks, "lacks", nil, "the program lacks these `ABILITIES`; cases that need one do not count: "+abilityNames(exam.Abilities)+"; of a publisher: "+abilityNames(exam.PublisherAbilities))
	})
	group(cmd, "Cases", func(f *pflag.FlagSet) {
		f.StringSliceVar(&o.cases, "case", nil, "run the cases whose id matches `PATTERN`, which may contain * and ?, or those of a file or a directory of your own; can be repeated")
		f.DurationVar(&o.limit, "limit", exam.DefaultLimit, "longest time that a case may take, with every start and the end of the program")
		countVar(f, &o.parallel, "parallel", 0, "run `N` cases at the same time (default: two for each processor)")
		f.BoolVar(&o.list, "list", false, "list the cases")
		f.StringVar(&o.show, "show", "", "print the hello and the lines that the case `ID` expects")
		f.StringVar(&o.judge, "judge", "", "judge lines on standard input, which a client printed in the case `ID`")
		f.StringVar(&o.serve, "serve", "", "play cases to the clients that connect to `ADDR`: HOST:PORT or unix:PATH")
	})
	group(cmd, "Output", func(f *pflag.FlagSet) {
		f.BoolVar(&o.json, "json", false, "print JSON lines: one for each case, then one with the scores")
		f.StringVar(&o.junit, "junit", "", "also write the result to `FILE` as JUnit XML; after Ctrl-C, that of the cases judged so far")
		f.BoolVar(&o.force, "force", false, "replace FILE of --junit")
	})
	excludeEachOther(cmd.Flags(), "self", "list", "show", "judge", "serve")
	for _, way := range []string{"bytes", "serve", "judge"} {
		excludeEachOther(cmd.Flags(), "publisher", way)
	}
	excludeEachOther(cmd.Flags(), "self", "bytes")
	return cmd
}

func (p *program) exam(cmd *cobra.Command, o *examOptions, args []string) error {
	if err := o.check(cmd, args); err != nil {
		return err
	}
	cases, err := p.selectCases(cmd.Context(), o)
	if err != nil {
		return err
	}
	switch {
	case o.list:
		return p.listCases(o, cases)
	case o.show != "":
		return p.showCase(o, cases)
	case o.judge != "":
		return p.judgeLines(cmd.Context(), o)
	case o.serve != "":
		return p.serveCases(cmd.Context(), o, cases)
	}
	return p.examine(cmd.Context(), o, cases, args)
}

// all returns the cases for the kind of program.
func (o *examOptions) all() []*exam.Case {
	if o.publisher {
		return exam.PublisherCases()
	}
	return exam.Cases()
}

// check refuses flags that contradict each other.
func (o *examOptions) check(cmd *cobra.Command, args []string) error {
	modes := 0
	for _, on := range []bool{o.list, o.show != "", o.judge != "", o.serve != "", o.self, len(args) > 0} {
		if on {
			modes++
		}
	}
	switch {
	case modes == 0:
		return usage("name the program to examine, as in: tickfeed exam -- ./my-client {addr} {from}; or --self, --list, --show, --judge or --serve")
	case modes > 1:
		return usage("only one of a program, --self, --list, --show, --judge and --serve can be given")
	case o.limit <= 0:
		return usage("--limit must be positive, got %v", o.limit)
	case o.publisher && (o.bytes || o.serve != "" || o.judge != ""):
		return usage("--publisher starts a publisher and connects to it: it has no --bytes, --serve or --judge")
	case o.self && o.bytes:
		return usage("--self connects: it has no --bytes")
	case cmd.Flags().Changed("parallel") && o.parallel < 1:
		return usage("--parallel must be at least 1")
	}
	c := exam.Command{Args: args}
	switch {
	case len(args) == 0:
	case o.publisher && !c.Has("{listen}"):
		return usage("the publisher is given no address: write {listen} where it expects HOST:PORT to listen on")
	case o.publisher && c.Has("{addr}"):
		return usage("{addr} is for clients: a publisher listens on {listen}")
	case o.publisher:
	case c.Has("{listen}"):
		return usage("{listen} is for publishers: add --publisher, or write {addr} where the client expects HOST:PORT")
	case o.bytes && c.Has("{addr}"):
		return usage("with --bytes there is no {addr}: the client reads standard input or {files}")
	case !o.bytes && !c.Has("{addr}"):
		return usage("the client is given no address: write {addr} where it expects HOST:PORT, or use --bytes")
	case !o.bytes && c.Has("{files}"):
		return usage("{files} is for --bytes")
	}
	places := exam.Placeholders
	if o.publisher {
		places = exam.PublisherPlaceholders
	}
	if err := exam.Unknown(args, places); err != nil {
		return usage("%w", err)
	}
	abilities, of := exam.Abilities, "a client"
	if o.publisher {
		abilities, of = exam.PublisherAbilities, "a publisher"
	}
	for _, a := range o.lacks {
		if !slices.Contains(abilities, exam.Ability(a)) {
			return usage("--lacks %s: the abilities of %s are %s", a, of, abilityNames(abilities))
		}
	}
	return nil
}

// byID returns the case named by flag.
func (o *examOptions) byID(flag, id string) (*exam.Case, error) {
	for _, c := range o.all() {
		if c.ID == id {
			return c, nil
		}
	}
	return nil, usage("%s %s: there is no such case; %s names them", flag, id, o.command("--list"))
}

// command returns the command line that has these arguments, for the kind of program.
func (o *examOptions) command(args string) string {
	if o.publisher {
		return "tickfeed exam --publisher " + args
	}
	return "tickfeed exam " + args
}

// A listedCase is a case in the list.
type listedCase struct {
	ID          string         `json:"case"`
	Chapter     string         `json:"chapter"`
	Rule        string         `json:"rule"`
	Section     string         `json:"section"`
	Connections int            `json:"connections,omitempty"` // 0: as many as it takes
	Script      string         `json:"script,omitempty"`
	Needs       []exam.Ability `json:"needs,omitempty"`
}

func (p *program) listCases(o *examOptions, cases []*exam.Case) error {
	var b bytes.Buffer
	lines := json.NewEncoder(&b)
	s := p.screen(p.stdout)
	for _, c := range cases {
		if o.json {
			l := listedCase{ID: c.ID, Chapter: c.Chapter, Rule: c.Rule, Section: c.Section, Connections: len(c.Streams), Needs: c.Needs}
			if c.Drive != nil {
				l.Script = c.Drive.Script
			}
			if err := lines.Encode(l); err != nil {
				return err
			}
			continue
		}
		fmt.Fprintln(&b, s.fit(fmt.Sprintf("%-30s %s", c.ID, c.Rule), strings.Repeat(" ", 31)))
	}
	if !o.json {
		fmt.Fprintf(&b, "\n%d cases\n", len(cases))
	}
	_, err := p.stdout.Write(b.Bytes())
	return output(err)
}

func (p *program) showCase(o *examOptions, cases []*exam.Case) error {
	var c *exam.Case
	if i := slices.IndexFunc(cases, func(c *exam.Case) bool { return c.ID == o.show }); i >= 0 {
		c = cases[i]
	} else {
		var err error
		if c, err = o.byID("--show", o.show); err != nil {
			return err
		}
	}
	var b bytes.Buffer
	if o.json {
		for _, line := range c.Wants() {
			fmt.Fprintln(&b, line)
		}
	} else {
		screen := p.screen(p.stdout)
		fmt.Fprintf(&b, "%s\nPROTOCOL.md, %q\n", screen.fit(c.ID+": "+c.Rule, "  "), c.Section)
		switch {
		case c.Drive != nil:
			b.WriteString("\n" + screen.fit(c.Drive.Describe(), "  "))
		case c.Does != "":
			fmt.Fprintf(&b, "\n%s\n", screen.fit("What happens: "+c.Does, "  "))
		}
		for i, s := range c.Streams {
			fmt.Fprintf(&b, "\nconnection %d of %d, %d bytes; the client says hello with\n", i+1, len(c.Streams), len(s.Bytes))
			h := s.Hello
			fmt.Fprintf(&b, "  start %v %d, policy %v, filter %v, position %d of %v, has state %v\nand prints\n",
				h.Start.Kind, h.Start.Value, h.Slow, h.Filter, h.Position.Next, h.Position.Lineage, h.HasState)
			for _, line := range s.Want {
				fmt.Fprintln(&b, line)
			}
		}
	}
	_, err := p.stdout.Write(b.Bytes())
	return output(err)
}

// judgeLines judges what a client printed in a case.
func (p *program) judgeLines(ctx context.Context, o *examOptions) error {
	c, err := o.byID("--judge", o.judge)
	if err != nil {
		return err
	}
	if c.Drive != nil {
		return usage("--judge %s: what a client must print in this case depends on the exam that it sat", c.ID)
	}
	printed, err := waitFor(ctx, func() ([]byte, error) { return readUpTo(p.stdin, "standard input", maxJudged) })
	if err != nil {
		return fmt.Errorf("--judge: %w", err)
	}
	lines := strings.Split(strings.TrimSuffix(string(printed), "\n"), "\n")
	x := exam.Exam{Lacks: o.lacking()}
	v := exam.Verdict{Case: c, ID: c.ID, Outcome: exam.Passed}
	if v.Fault = exam.Judge(x.Wants(c), lines); v.Fault != nil {
		v.Outcome = exam.Failed
	}
	if err := p.printVerdict(o, &v, true); err != nil {
		return err
	}
	if v.Fault != nil {
		return &exitError{code: exitData}
	}
	return nil
}

// maxJudged bounds the output of a client that --judge reads.
const maxJudged = 64 << 20

func (o *examOptions) lacking() (lacks []exam.Ability) {
	for _, a := range o.lacks {
		lacks = append(lacks, exam.Ability(a))
	}
	return lacks
}

// serveCases plays cases to clients until it is interrupted.
func (p *program) serveCases(ctx context.Context, o *examOptions, cases []*exam.Case) error {
	cases = slices.DeleteFunc(slices.Clone(cases), func(c *exam.Case) bool { return c.Drive != nil })
	if len(cases) == 0 {
		return usage("--serve plays the cases of bytes; those that were chosen need a client that the exam starts")
	}
	ln, err := listen(ctx, serveFlag, o.serve)
	if err != nil {
		return err
	}
	p.notef("playing the %d cases of bytes on %s: the token of a client names its case, without one they come in order", len(cases), listenName(ln))
	var failed error
	server := exam.Server{Cases: cases, Limit: o.limit, Played: func(played exam.Played) {
		o.served++
		line := "no case"
		if played.Case != nil {
			line = fmt.Sprintf("%s, connection %d of %d", played.Case.ID, played.Stream+1, len(played.Case.Streams))
		}
		if played.Fault != "" {
			o.failed++
			line += ": " + played.Fault
		} else {
			line += ": the client said the right hello and has closed"
		}
		if _, err := fmt.Fprintln(p.stdout, printable(line)); err != nil && failed == nil {
			failed = err
		}
	}}
	err = server.Serve(ctx, ln)
	p.notef("played %s, %d with a fault of the client", nouns.Count(o.served, "connection"), o.failed)
	switch {
	case failed != nil:
		return output(failed)
	case ctx.Err() != nil:
		return p.stopped()
	}
	return err
}

func (p *program) examine(ctx context.Context, o *examOptions, cases []*exam.Case, args []string) error {
	if o.junit != "" && o.junit != "-" {
		if err := recording.Check(o.junit, o.force); err != nil {
			return usage("--junit: %w", err)
		}
	}
	x := exam.Exam{Lacks: o.lacking(), Limit: o.limit}
	if o.self {
		exe, err := os.Executable()
		if err != nil {
			return err
		}
		flags := examFlags
		if o.publisher {
			flags = examPublishFlags(x.Lacks...)
		}
		args = append([]string{exe}, flags...)
	}
	temporary, err := scratch.New("", "exam")
	if err != nil {
		return err
	}
	defer temporary.Remove()
	x.Dir = temporary.Path
	command := &exam.Command{Args: args}
	if _, err := exec.LookPath(args[0]); err != nil {
		return unstartable(args[0], err)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	x.Program = startedOrEnd{command, func(err error) { cancel(unstartable(args[0], err)) }}
	x.Way = exam.ByTCP
	switch {
	case o.publisher:
		x.Lacks = append(x.Lacks, command.PublisherLacks()...)
	case !o.bytes:
		x.Lacks = append(x.Lacks, command.Lacks()...)
	case o.bytes && command.Has("{files}"):
		x.Way = exam.ByFiles
	case o.bytes:
		x.Way = exam.ByStdin
	}
	done := 0
	var doing string
	stop := p.progress(func() string { return doing })
	var failed error
	verdicts := x.RunAll(ctx, cases, o.parallel, func(v exam.Verdict) {
		done++
		stop()
		doing = fmt.Sprintf("%d of %d cases", done, len(cases))
		if o.json || v.Outcome == exam.Failed {
			if failed = errors.Join(failed, p.printVerdict(o, &v, len(o.cases) > 0)); failed != nil {
				cancel(failed)
			}
		}
		stop = p.progress(func() string { return doing })
	})
	stop()
	if ended := new(exitError); errors.As(context.Cause(ctx), &ended) {
		return ended
	}
	if ctx.Err() == nil {
		err = p.printScores(o, verdicts)
	}
	if o.junit != "" {
		var b bytes.Buffer
		err = errors.Join(err, exam.WriteJUnit(&b, verdicts), p.writeResult("--junit", o.junit, o.force, b.Bytes()))
	}
	switch {
	case failed != nil || err != nil:
		return errors.Join(failed, err)
	case ctx.Err() != nil:
		p.notef("interrupted after %d of %d cases", len(verdicts), len(cases))
		return errInterrupted
	}
	return p.judgeExam(o, verdicts)
}

// A startedOrEnd is a program that ends the exam if it cannot be started: it could not in any other case either.
type startedOrEnd struct {
	*exam.Command
	end func(error)
}

// Start implements exam.Program.
func (s startedOrEnd) Start(ctx context.Context, o exam.Orders) (exam.Process, error) {
	p, err := s.Command.Start(ctx, o)
	if err != nil && ctx.Err() == nil {
		s.end(err)
	}
	return p, err
}

// unstartable returns the error of a program that cannot be started because of err. It is one of usage if there is no such
// program, or the system cannot run it.
func unstartable(program string, err error) error {
	err = fmt.Errorf("the program %s cannot be started: %w", program, err)
	if errors.Is(err, exec.ErrNotFound) || errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) || errors.Is(err, syscall.ENOEXEC) {
		return usage("%w", err)
	}
	return &exitError{exitFailure, err}
}
