package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/rs/zerolog"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"golang.org/x/term"

	"tickfeed/cmd/ops"
	"tickfeed/codec/certs"
	"tickfeed/codec/lab"
	"tickfeed/feed/nouns"
	"tickfeed/feed/script"
)

// labOptions are the flags of lab.
type labOptions struct {
	upstream    string
	tls         serveTLS
	upstreamTLS dialTLS
	command     []string // of the publisher; empty if it runs already
	journal     string
	listen      []string
	rules       []string
	list        bool
	json        bool
	commands    bool
	duration    time.Duration
	http        httpOptions
}

// labPort is the port on which a lab listens by default, next to that of the publisher.
const labPort = "8426"

func (p *program) labCommand() *cobra.Command {
	o := labOptions{upstreamTLS: dialTLS{prefix: "upstream-"}}
	cmd := &cobra.Command{
		Use:   "lab [SCRIPT] [-- COMMAND [ARG]...]",
		Short: "Stand between a publisher and its subscribers and make faults",
		Long: `Pass connections on to a publisher, and do to them what a script says: cut, stall, drop, reorder, corrupt, refuse,
and more. The lab knows messages and sequence numbers, so that the same script, seed and session give the
same faults at the same ticks. Each fault is printed with what it hit; at the end each rule is listed with
how often it did something, and the exit code is 3 if one never did (130 after Ctrl-C). While the publisher
cannot be reached the lab says so, keeps trying, and closes the connections of clients.

SCRIPT is a file, or - for standard input. A line is a rule: a trigger, a colon and a fault, as in

  seed 7
  at seq 1000: cut rst                   # before this number, once
  at login 2: refuse busy retry 200ms
  for 10% with 0.1%: drop packet         # of the clients, of the ticks

Some faults spoil the stream (drop, repeat, swap, flip, forge, ahead, garbage, a wrong snapshot, a repeated end), and a right client
ends the connection. Before the next rule for a number, or for a live line, applies there, the lab waits up to one second
for that and sends heartbeats meanwhile: so the rules that follow are met in the same place each time. If the client goes on, the
lab says that it has not noticed the fault, and the client meets the rules that follow all the same.

"for PATTERN" or "for SHARE%" before a trigger chooses clients by the name in their hello. Rules with a trigger
at a number, login, snapshot or count are kept for each client name: a client that reconnects does not
meet them again. tickfeed lab --list documents every trigger and fault.

With a COMMAND the lab starts the publisher itself, ends it with itself, and rules may kill, stop, freeze and restart it, or
fill its disk. In its arguments {listen} stands for the address on which it must listen, and {journal} for
the directory of its journal, which is a new one that is removed at the end unless --journal names it. A wrapper script
must start the publisher by exec: one below the wrapper is not ended if the lab itself is killed. A
rule that needs what is not there is refused before anything starts. Faults of the publisher happen once for all clients,
one after the other: a line that meets the next one waits for it.

While the lab runs, rules are listed, added, removed and triggered by lines: list, remove N (or NAME, or all),
trigger NAME, help, or a rule, which is added. Rules are numbered from 1. The lab reads them at its terminal, or with --commands from standard input; with --http,
"tickfeed control" does the same.`,
		Example: `  tickfeed lab --upstream localhost:8425 --listen localhost:9000 faults.lab
  tickfeed lab --rule 'at seq 1000: cut rst' --rule 'every 10s: stall 2s'
  tickfeed lab --rule 'at seq 1000: kill for 200ms' -- \
    tickfeed publish --listen {listen} --journal {journal}
  tickfeed lab --rule 'on storm: cut rst' --http localhost &
  tickfeed control trigger storm
  tickfeed subscribe localhost:9000 --json --events
  tickfeed lab --list`,
		Args: func(cmd *cobra.Command, args []string) error {
			if n := cmd.ArgsLenAtDash(); n >= 0 {
				args = args[:n]
			}
			if len(args) > 1 {
				return fmt.Errorf("%q is too much: there is one SCRIPT, and the command of a publisher comes after --", args[1])
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if n := cmd.ArgsLenAtDash(); n >= 0 {
				if args, o.command = args[:n], args[n:]; len(o.command) == 0 {
					return usage("the command of the publisher must follow --")
				}
				if !cmd.Flags().Changed("upstream") {
					o.upstream = ""
				}
			}
			if !hasPlaceholder(o.command, journalPlaceholder) {
				dropUnlessGiven(cmd, "journal", &o.journal)
			}
			return p.lab(cmd.Context(), &o, args)
		},
	}
	group(cmd, "Connection", func(f *pflag.FlagSet) {
		f.StringVar(&o.upstream, "upstream", "localhost", "`ADDR` of the publisher: HOST[:PORT] or unix:PATH")
		f.StringVar(&o.journal, "journal", "", "`DIR` of the journal of a publisher that the lab starts")
		f.StringSliceVar(&o.listen, "listen", []string{"localhost:" + labPort}, "serve clients on `ADDR`: HOST:PORT or unix:PATH; can be repeated")
		f.DurationVar(&o.duration, "duration", 0, "end after this time; 0 for no end")
	})
	group(cmd, groupTLS, func(f *pflag.FlagSet) {
		o.tls.define(f)
		o.upstreamTLS.define(f)
	})
	group(cmd, "Faults", func(f *pflag.FlagSet) {
		f.StringArrayVar(&o.rules, "rule", nil, "add the `RULE` to the script; can be repeated")
		f.BoolVar(&o.commands, "commands", false, "read commands from standard input, also if it is not a terminal")
		f.BoolVar(&o.list, "list", false, "list the triggers and the faults, with an example of each")
	})
	o.http.define(cmd, "")
	o.http.tls = &o.tls
	group(cmd, "Output", func(f *pflag.FlagSet) {
		f.BoolVar(&o.json, "json", false, "print JSON lines: one for each fault and connection, then one for each rule")
	})
	return cmd
}

// listLab documents the language.
func (p *program) listLab(o *labOptions) error {
	type word struct {
		Kind       string `json:"kind"`
		Usage      string `json:"usage"`
		Does       string `json:"does"`
		Example    string `json:"example"`
		Repeatable *bool  `json:"repeatable,omitempty"`
	}
	var words []word
	for i, t := range lab.Triggers {
		repeatable := lab.Trigger{When: lab.When(i)}.Repeatable()
		words = append(words, word{"trigger", t.Usage, t.Does, t.Example, &repeatable})
	}
	for _, v := range lab.Verbs {
		words = append(words, word{"fault", v.Usage, v.Does, v.Example, nil})
	}
	var b strings.Builder
	if o.json {
		for _, w := range words {
			line, err := json.Marshal(w)
			if err != nil {
				return err
			}
			b.Write(append(line, '\n'))
		}
	} else {
		s := p.screen(p.stdout)
		kind := ""
		for _, w := range words {
			if w.Kind != kind {
				kind = w.Kind
				fmt.Fprintf(&b, "%s:\n", map[string]string{"trigger": "Triggers", "fault": "\nFaults"}[kind])
			}
			does := w.Does
			if w.Repeatable != nil && !*w.Repeatable {
				does += " (not repeatable, except on a recording or in virtual time)"
			}
			fmt.Fprintf(&b, "  %s\n%s\n      %s\n", w.Usage, s.fit("      "+does, "      "), w.Example)
		}
	}
	if !o.json {
		s := p.screen(p.stdout)
		fmt.Fprintf(&b, "\n%s\n", s.fit("A client that does not end the connection within a second after a fault of the stream, such as drop or flip, has not noticed it: the lab says so, and the client meets the rules that follow all the same.", ""))
		fmt.Fprintf(&b, "\n%s\n", s.fit("Events of a simulated market may stand in the same script, for tickfeed publish --scenario, which also makes the faults: tickfeed publish --list documents them.", ""))
	}
	_, err := fmt.Fprint(p.stdout, b.String())
	return output(err)
}

// labScript reads the script and the rules of the flags.
func (p *program) labScript(ctx context.Context, o *labOptions, args []string) (*lab.Script, error) {
	s := &lab.Script{Seed: 1}
	if len(args) > 0 {
		var text []byte
		var err error
		if args[0] == "-" {
			text, err = waitFor(ctx, func() ([]byte, error) { return readUpTo(p.stdin, "standard input", lab.MaxScript) })
		} else {
			text, err = readSmall(ctx, args[0], lab.MaxScript)
		}
		switch {
		case errors.Is(err, fs.ErrNotExist) && looksLikeAddress(args[0]):
			return nil, usage("%s is no file with a SCRIPT; if it is the address of the publisher, use --upstream %[1]s", args[0])
		case err != nil:
			return nil, usage("script: %w", err)
		}
		all, err := script.Parse(args[0], text, labLanguages...)
		if err != nil {
			return nil, usage("%w", err)
		}
		if s = lab.FaultsOf(all); len(s.Rules) < len(all.Rules) {
			p.notef("%s: %s of a market left out: they are for tickfeed publish --scenario", args[0], nouns.Count(len(all.Rules)-len(s.Rules), "event"))
		}
	}
	for _, text := range o.rules {
		r, err := flagRule("--rule", text, lab.Language)
		if err != nil {
			return nil, err
		}
		s.Rules = append(s.Rules, lab.FaultsOf(r).Rules...)
	}
	if len(s.Rules) == 0 && !o.commands && o.http.addr == "" {
		return nil, usage("there is no rule: name a SCRIPT, give --rule, or add rules by --commands or --http; tickfeed lab --list shows what can be written")
	}
	for i, r := range s.Rules { // rules of flags have no line of their own
		if i >= len(s.Rules)-len(o.rules) {
			r.Line = i + 1
		}
	}
	return s, nil
}

// looksLikeAddress reports whether name, which is no file, is HOST:PORT, a host that is known by heart, or unix:PATH.
func looksLikeAddress(name string) bool {
	host, port, err := net.SplitHostPort(name)
	return err == nil && host != "" && port != "" || name == "localhost" || net.ParseIP(name) != nil || strings.HasPrefix(name, unixPrefix)
}

// A runningLab is a lab with what the command makes for it.
type runningLab struct {
	p         *program
	o         *labOptions
	lab       *lab.Lab
	rules     ops.Rules
	publisher *labPublisher // nil if it runs already
	reached   ops.Upstream
	listeners []net.Listener
	web       net.Listener // nil without --http
	failed    error        // of the output
}

func (p *program) lab(ctx context.Context, o *labOptions, args []string) (err error) {
	if o.list {
		return p.listLab(o)
	}
	x, err := p.newLab(ctx, o, args)
	if err != nil {
		return err
	}
	running, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer p.followSecrets(running, o.tls.key, o.upstreamTLS.key, o.http.tokenFile)()
	if x.publisher, err = p.labPublisher(running, o, x.lab, cancel); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, x.publisher.Close()) }()
	if err := x.lab.Check(x.lab.Script.Rules...); err != nil {
		return usage("%w", err)
	}
	if err := x.listen(ctx); err != nil {
		return err
	}
	if o.duration > 0 {
		var stop func()
		running, stop = context.WithTimeout(running, o.duration)
		defer stop()
	}
	if err := x.serve(running, cancel); err != nil {
		return err
	}
	return x.end(ctx, context.Cause(running))
}

// newLab checks the flags, reads the script, and makes a lab of them.
func (p *program) newLab(ctx context.Context, o *labOptions, args []string) (*runningLab, error) {
	if o.commands && slices.Equal(args, []string{"-"}) {
		return nil, usage("standard input cannot be both the script and --commands")
	}
	o.commands = o.commands || p.atTerminal() && !slices.Equal(args, []string{"-"})
	if o.duration < 0 {
		return nil, usage("--duration must not be negative, got %v", o.duration)
	}
	script, err := p.labScript(ctx, o, args)
	if err != nil {
		return nil, err
	}
	if err := o.http.check(); err != nil {
		return nil, err
	}
	if o.upstream != "" || len(o.command) == 0 {
		if o.upstream, err = readAddress("--upstream", o.upstream, defaultPort); err != nil {
			return nil, err
		}
	}
	encryption, err := o.tls.config(p.logger(zerolog.InfoLevel), certs.Protocol)
	if err != nil {
		return nil, err
	}
	upstream, err := o.upstreamTLS.config(p.notef)
	if err != nil {
		return nil, err
	}
	if err := readAddresses("--listen", o.listen, labPort); err != nil {
		return nil, err
	}
	x := &runningLab{p: p, o: o}
	x.lab = &lab.Lab{
		Script: script,
		TLS:    encryption,
		Dial: func(ctx context.Context) (net.Conn, error) {
			nc, err := dialSecure(ctx, o.upstream, upstream)
			x.reached.Note(err)
			return nc, err
		},
	}
	x.rules = ops.Rules{Lab: x.lab}
	return x, nil
}

// listen listens for subscribers and for HTTP. It refuses an address at which the lab would be its own publisher.
func (x *runningLab) listen(ctx context.Context) (err error) {
	if x.listeners, x.web, err = listenAll(ctx, x.o.listen, &x.o.http, x.o.tls.clientCA != ""); err != nil {
		return err
	}
	for _, ln := range x.listeners {
		if x.o.upstream != "" && isItself(ctx, ln, x.o.upstream) {
			x.closeListeners()
			return usage("the lab would be its own publisher: --upstream %s and --listen %s are one address; name the publisher with --upstream", x.o.upstream, listenName(ln))
		}
	}
	return nil
}

func (x *runningLab) closeListeners() { closeListeners(append(x.listeners, x.web)) }

// serve starts the publisher, if the lab runs it, and passes connections on until ctx ends. It calls end if something fails.
func (x *runningLab) serve(ctx context.Context, end context.CancelCauseFunc) error {
	p, o := x.p, x.o
	x.lab.Event = func(e lab.Event) {
		if x.failed == nil {
			if x.failed = p.printLabEvent(o, &e); x.failed != nil {
				end(nil)
			}
		}
	}
	if err := x.publisher.begin(ctx); err != nil {
		x.closeListeners()
		return err
	}
	for _, ln := range x.listeners {
		p.notef("listening on %s, passing connections on to %s; %s", listenName(ln), o.upstream, nouns.Count(len(x.lab.Script.Rules), "rule"))
	}
	stop := func() {}
	if o.commands {
		stop = p.readRules(ctx, x.rules)
	}
	if x.web != nil {
		p.notef("control and status over HTTP on %s", listenName(x.web))
	}
	stopWeb := o.http.serveBeside(ctx, x.web, labSite(x.rules, o.upstream, &x.reached), p.logger(zerolog.WarnLevel))
	var serving sync.WaitGroup
	if len(o.command) == 0 {
		serving.Go(func() { p.watchUpstream(ctx, o.upstream, x.lab.Dial) })
	}
	errs := make(chan error, len(x.listeners))
	for _, ln := range x.listeners {
		serving.Go(func() {
			err := x.lab.Serve(ctx, ln)
			if ctx.Err() == nil {
				errs <- err
			}
			end(nil)
		})
	}
	serving.Wait()
	stop()
	stopWeb()
	switch {
	case x.failed != nil:
		return x.failed
	case len(errs) > 0:
		return <-errs
	}
	return nil
}

// end prints what the rules did, and returns the error of a lab that has ended for the reason why. ctx is that of the command.
func (x *runningLab) end(ctx context.Context, why error) error {
	never, err := x.p.printLabResults(x.o, x.lab)
	cause := new(publisherEnded)
	switch {
	case err != nil:
		return err
	case errors.As(why, &cause) && cause.err != nil:
		return cause
	case ctx.Err() != nil && x.p.stopped() != nil:
		if never > 0 {
			x.p.notef("%s never did anything", nouns.Count(never, "rule"))
		}
		return errInterrupted
	case never > 0:
		return wrong("%s never did anything", nouns.Count(never, "rule"))
	}
	return nil
}

// printLabEvent prints a fault, or what became of a connection.
func (p *program) printLabEvent(o *labOptions, e *lab.Event) error {
	if o.json {
		b, err := json.Marshal(e)
		if err != nil {
			return err
		}
		_, err = p.stdout.Write(append(b, '\n'))
		return output(err)
	}
	s := p.screen(p.stdout)
	text := e.What
	c := dim
	if e.Line > 0 {
		text, c = e.Fault, yellow
	}
	line := fmt.Sprintf("%s  %s", e.Time.Format("15:04:05.000"), s.paint(c, printable(text)))
	if e.Connection > 0 {
		line += fmt.Sprintf("  %s, connection %d", printable(strconv.Quote(e.Client)), e.Connection)
		if e.Login > 0 {
			line += fmt.Sprintf(", login %d", e.Login)
		}
	}
	if e.Seq > 0 {
		line += fmt.Sprintf(", at %s", nouns.Thousands(e.Seq))
	}
	_, err := fmt.Fprintln(p.stdout, s.fit(line, "              "))
	return output(err)
}

// printLabResults prints what each rule did, and returns how many never did anything.
func (p *program) printLabResults(o *labOptions, x *lab.Lab) (never int, err error) {
	s := p.screen(p.stdout)
	var b strings.Builder
	for _, r := range x.Results() {
		if r.Times == 0 {
			never++
		}
		if o.json {
			line, err := json.Marshal(r)
			if err != nil {
				return never, err
			}
			b.Write(append(line, '\n'))
			continue
		}
		times := s.paint(green, fmt.Sprintf("%7s", nouns.Thousands(r.Times)))
		if r.Times == 0 {
			times = s.paint(red, "  never")
		}
		line := fmt.Sprintf("%s  %s", times, printable(r.Text))
		if r.Why != "" {
			line += s.paint(dim, "  ("+printable(r.Why)+")")
		}
		fmt.Fprintln(&b, s.fit(line, "         "))
	}
	_, err = fmt.Fprint(p.stdout, b.String())
	return never, output(err)
}

// atTerminal reports whether a person at a terminal can type lines to this program and see the answers.
func (p *program) atTerminal() bool {
	in, ok := p.stdin.(*os.File)
	return ok && term.IsTerminal(int(in.Fd())) && isTerminal(p.stderr)
}

// readRules carries out the lines of a person or of --commands until stop is called. It says so to a person in the
// foreground.
func (p *program) readRules(ctx context.Context, rules ops.Rulebook) (stop func()) {
	if in, ok := p.stdin.(*os.File); ok && p.atTerminal() && inForeground(int(in.Fd())) {
		p.notef("%s", linesHint)
	}
	return p.readCommands(ctx, func(line string) { p.obey(rules, line) })
}

const linesHint = "type a rule, list, or help"

// obey carries out a line of a person or of --commands.
func (p *program) obey(rules ops.Rulebook, line string) {
	switch answer, err := ops.Obey(rules, line); {
	case err != nil:
		p.notef("%v", err)
	case answer != nil:
		p.notef("%s", strings.TrimSuffix(fmt.Sprint(answer), "\n"))
	}
}

// A labStatus is the status of a lab.
type labStatus struct {
	Upstream    string       `json:"upstream"`
	Connections int          `json:"connections"`
	Rules       ops.RuleList `json:"rules"`
}

// String describes the status for people.
func (s labStatus) String() string {
	return fmt.Sprintf("passing connections on to %s: %s, %s\n%v", ops.Clean(s.Upstream), nouns.Count(s.Connections, "connection"), nouns.Count(len(s.Rules), "rule"), s.Rules)
}

// labSite returns the site that is served over HTTP.
func labSite(rules ops.Rules, upstream string, reached *ops.Upstream) ops.Site {
	return ops.Site{
		Command: "lab", Status: func() any { return labStatus{upstream, rules.Lab.Connections(), rules.List()} }, Ready: reached.Ready,
		Metrics: []ops.Collector{rules.Metrics}, Details: []ops.Collector{rules.Details}, Routes: ops.RuleRoutes(rules),
	}
}
