package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"tickfeed/cmd/ops"
	"tickfeed/feed/script"
	"tickfeed/publisher"
	"tickfeed/publisher/replay"
)

// controlOptions are the flags of control.
type controlOptions struct {
	askOptions
	addr string
	json bool
	over time.Duration
}

func (p *program) controlCommand() *cobra.Command {
	var o controlOptions
	cmd := &cobra.Command{
		Use:   "control VERB [VALUE]",
		Short: "Control a command that runs on this machine, or show its status",
		Long: `Control a command that runs on this machine with --http, which a replay has by default, or show what it does:

` + indented(controlHelp()) + `

A place is a time of day (09:45, 14:30:00.250, in the --zone of the replay), a date and time
(2026-01-05T09:45), a sequence number, seq:N, a jump such as +10s or -1m, or start. A place beyond either
end of the recording is refused, except that a jump back stops at the beginning. step returns once its ticks
have been played. Each verb of a replay prints the resulting status.

The same is available over HTTP: "tickfeed help http" lists the paths.`,
		Example: `  tickfeed control pause
  tickfeed control step 10
  tickfeed control speed 0.5x
  tickfeed control seek 14:45
  tickfeed control seek -30s
  tickfeed control status --json
  tickfeed control drain --over 30s
  tickfeed control --addr unix:lab.sock add 'every 10s: cut rst'
  tickfeed control --addr unix:lab.sock trigger storm`,
		Args:      wantArgs(1, 64, "verb"),
		ValidArgs: controlNames(),
		RunE:      func(cmd *cobra.Command, args []string) error { return p.control(cmd.Context(), &o, args) },
	}
	group(cmd, "Control", func(f *pflag.FlagSet) {
		f.StringVar(&o.addr, "addr", defaultHTTP, "`ADDR` of --http of the command: HOST[:PORT], unix:PATH or https://HOST[:PORT]")
		f.BoolVar(&o.json, "json", false, "print the answer as JSON")
		f.DurationVar(&o.over, "over", defaultDrain, "for drain: the time over which the goodbyes are spread")
	})
	o.askOptions.define(cmd)
	return cmd
}

// A controlVerb is a verb of control.
type controlVerb struct {
	name, value string // value describes what follows the name; empty for nothing
	of          string // the commands that have it, separated by commas; empty for all
	does        string
	path        string // of the request, without the slash
	// body returns the body of the request for value, nil for a GET. It is nil for a GET without a value.
	body func(o *controlOptions, value string) (any, error)
	ends bool // the process ends, which control waits for
}

// controlVerbs are the verbs, in the order of the help.
var controlVerbs = []controlVerb{
	{name: "status", does: "show what the command does", path: "status"},
	{name: "connections", value: "[LIMIT]", does: "show its connections, those that are furthest behind first", path: "connz", body: func(_ *controlOptions, value string) (any, error) {
		if n, err := strconv.Atoi(value); value != "" && (err != nil || n < 1) {
			return nil, usage("control connections: want a number from 1, got %q", value)
		}
		return nil, nil
	}},
	{name: "drain", of: "publish", does: "end the process without a storm: no client is admitted any more, each subscriber is asked to leave and to come back to the next process, evenly spread over --over; returns when the process has ended, even if the next one serves there at once, with exit code 1 if it hangs instead", path: "drain", ends: true, body: func(o *controlOptions, _ string) (any, error) {
		if o.over < 0 || o.over > publisher.MaxDrain {
			return nil, usage("--over must be from 0 to %v, got %v", publisher.MaxDrain, o.over)
		}
		return &drainRequest{o.over.String()}, nil
	}},
	{name: "kick", value: "N", of: "publish, replay", does: "end connection N, whose client comes back after a second", path: "kick", body: func(_ *controlOptions, value string) (any, error) {
		n, err := strconv.ParseUint(value, 10, 64)
		if err != nil {
			return nil, usage("control kick: want the number of a connection, which connections shows, got %q", value)
		}
		return &ops.KickRequest{Connection: n}, nil
	}},
	{name: "reload", of: "publish", does: "read certificates and other files again; if one cannot be used, the previous one stays in force", path: "reload", body: noBody},
	{name: "pause", of: "replay", does: "stop the recorded time", path: "pause", body: noBody},
	{name: "resume", of: "replay", does: "continue the recorded time", path: "resume", body: noBody},
	{name: "step", value: "[N]", of: "replay", does: "pause, and play N ticks (1)", path: "step", body: func(_ *controlOptions, value string) (any, error) {
		n, err := uint64(1), error(nil)
		if value != "" {
			n, err = strconv.ParseUint(value, 10, 64)
		}
		if err != nil || n == 0 || n > replay.MaxStep {
			return nil, usage("control step: want a number of ticks from 1 to %d, got %q", replay.MaxStep, value)
		}
		return &ops.ReplayRequest{N: n}, nil
	}},
	{name: "speed", value: "SPEED", of: "replay", does: "play at 1x, 10x, 0.5x or max", path: "speed", body: func(_ *controlOptions, value string) (any, error) {
		speed, err := replay.ParseSpeed(value)
		if err != nil {
			return nil, usage("control speed: %w", err)
		}
		return &ops.ReplayRequest{Speed: &speed}, nil
	}},
	{name: "seek", value: "PLACE", of: "replay", does: "go to a place", path: "seek", body: func(_ *controlOptions, value string) (any, error) {
		if _, err := replay.ParseTarget(value, nil); err != nil {
			return nil, usage("control seek: %w", err)
		}
		return &ops.ReplayRequest{To: value}, nil
	}},
	{name: "rules", of: "lab, publish", does: "list the rules, with how often each did something", path: "rules"},
	{name: "add", value: "RULE", of: "lab, publish", does: "add a rule, such as 'every 10s: cut rst', or let an event happen in a simulated market, such as 'halt TSLA for 10m'; prints what has happened, or when it will", path: "add", body: func(_ *controlOptions, value string) (any, error) {
		if value == "" {
			return nil, usage("control add: the rule is missing; tickfeed lab --list documents faults, and tickfeed publish --list events")
		}
		return &ops.RuleRequest{Rule: value}, nil
	}},
	{name: "remove", value: "N|NAME|all", of: "lab, publish", does: "remove rule N, the rules \"on NAME: …\", or all; what an event multiplies, quiets, locks or moves ends", path: "remove", body: func(_ *controlOptions, value string) (any, error) {
		if value == "" {
			return nil, usage("control remove: want the number of a rule, which rules shows, the name of rules \"on NAME: …\", or all")
		}
		if n, err := strconv.Atoi(value); err == nil {
			return &ops.RuleRequest{N: &n}, nil
		}
		return &ops.RuleRequest{Name: value}, nil
	}},
	{name: "trigger", value: "NAME", of: "lab, publish", does: "make the faults or events of the rules \"on NAME: …\" now", path: "trigger", body: func(_ *controlOptions, value string) (any, error) {
		if value == "" {
			return nil, usage("control trigger: the name is missing, such as storm for a rule \"on storm: cut rst\"")
		}
		return &ops.RuleRequest{Name: value}, nil
	}},
	{name: "symbols", value: "PATTERNS", of: "subscribe", does: "receive these instruments from now on, * is all; the answer says which patterns match none, and what the publisher does not grant; if it grants none, the subscription ends (exit code 4)", path: "symbols", body: func(_ *controlOptions, value string) (any, error) {
		if value == "" {
			return nil, usage("control symbols: the patterns are missing, such as 'AAPL,ES*'")
		}
		return &symbolsRequest{value}, nil
	}},
}

func noBody(*controlOptions, string) (any, error) { return struct{}{}, nil }

func controlNames() (names []string) {
	for _, v := range controlVerbs {
		names = append(names, v.name)
	}
	return names
}

// controlHelp describes the verbs, one a line.
func controlHelp() string {
	var b strings.Builder
	for _, v := range controlVerbs {
		of := ""
		if v.of != "" {
			of = v.of + ": "
		}
		fmt.Fprintf(&b, "%-20s %s%s\n", strings.TrimSpace(v.name+" "+v.value), of, v.does)
	}
	return strings.TrimSuffix(b.String(), "\n")
}

// controlRequest returns the verb of args, the path of the request for it, and its body, nil for a GET.
func controlRequest(o *controlOptions, args []string) (v *controlVerb, path string, body any, err error) {
	i := slices.IndexFunc(controlVerbs, func(v controlVerb) bool { return v.name == args[0] })
	if i < 0 {
		return nil, "", nil, usage("control %s: want %s%s", args[0], strings.Join(controlNames(), ", "), script.DidYouMean(args[0], controlNames()))
	}
	v = &controlVerbs[i]
	for i := 2; v.name == symbolsCommand && i < len(args); i++ {
		if !strings.HasSuffix(args[i-1], ",") && !strings.HasPrefix(args[i], ",") {
			return nil, "", nil, usage("control symbols: separate patterns with commas, as in '%s,%s'", args[i-1], args[i])
		}
	}
	value := strings.Join(args[1:], " ") // a rule may be given without quotes
	if v.value == "" && value != "" {
		return nil, "", nil, usage("control %s takes no value, got %q", v.name, value)
	}
	if v.body != nil {
		if body, err = v.body(o, value); err != nil {
			return nil, "", nil, err
		}
	}
	path = "/" + v.path
	if body == nil && value != "" {
		path += "?limit=" + value
	}
	return v, path, body, nil
}

// controlTimeout bounds a request: a seek in a large file may read much of it.
const controlTimeout = 5 * time.Minute

func (p *program) control(ctx context.Context, o *controlOptions, args []string) error {
	verb, path, body, err := controlRequest(o, args)
	if err != nil {
		return err
	}
	if o.addr == "" {
		return usage("--addr names no address")
	}
	client, err := o.client(ctx, p, "--addr", o.addr)
	if err != nil {
		return err
	}
	addr := client.Addr
	accept := "text/plain"
	width := p.screen(p.stdout).width
	table := verb.path == "connz" && !o.json && width > 0 // the command does not know how wide the terminal is
	if o.json || table {
		accept = "application/json"
	}
	answer, err := client.Ask(ctx, path, body, accept, controlTimeout)
	if err != nil {
		return askError(ctx, addr, err)
	}
	if verb.of != "" && !slices.Contains(strings.Split(verb.of, ", "), answer.Command) {
		return fmt.Errorf("%s is a tickfeed %s, but %s is for a %s; name another command with --addr", addr, answer.Command, verb.name, verb.of)
	}
	if err := answerError(answer); err != nil {
		return err
	}
	text := bytes.TrimRight(answer.Body, " \n") // the first line of a table may be indented
	if o.json {
		if _, err := fmt.Fprintf(p.stdout, "%s\n", printableJSON(text)); err != nil || !verb.ends {
			return output(err)
		}
		return p.awaitEnd(ctx, client, answer)
	}
	if table {
		var list ops.ConnList
		if err := json.Unmarshal(text, &list); err != nil {
			return fmt.Errorf("%s: the answer is no list of connections: %w", addr, err)
		}
		text = []byte(strings.TrimRight(list.Table(width), "\n"))
	}
	shown := printable(string(text))
	if !strings.Contains(shown, "\n") { // a table keeps its lines
		shown = p.screen(p.stdout).fit(shown, "  ")
	}
	if _, err = fmt.Fprintln(p.stdout, shown); err != nil || !verb.ends {
		return output(err)
	}
	return p.awaitEnd(ctx, client, answer)
}

// awaitEnd waits until the process that sent last, the answer to its order to end, has ended. If another process responds at its
// address by then, awaitEnd says so.
func (p *program) awaitEnd(ctx context.Context, client *ops.Client, last *ops.Answer) error {
	next, err := nextProcess(ctx, client, last.Started, endPatience)
	if err == nil && next != nil {
		since := ""
		if !next.Started.IsZero() {
			since = " since " + next.Started.UTC().Format(time.DateTime+"Z")
		}
		p.notef("%s: the process has ended, and another one, a tickfeed %s, serves there%s", client.Addr, next.Command, since)
	}
	return err
}

// nextProcess waits until the process that client asks, which started at the given time, has ended: nothing accepts connections at
// its address any more, or another process responds, whose response nextProcess returns. A process that accepts connections and does
// not respond for patience still runs, which is an error.
func nextProcess(ctx context.Context, client *ops.Client, started time.Time, patience time.Duration) (*ops.Answer, error) {
	for poll := time.Tick(endPoll); ; {
		answer, err := client.Ask(ctx, "/livez", nil, "", patience)
		switch {
		case ctx.Err() != nil:
			return nil, errInterrupted
		case errors.Is(err, ops.ErrSilent):
			return nil, fmt.Errorf("%s: the process was asked to end and still runs, but has not responded for %v: it hangs or is stopped, or the network drops its answers; end it yourself if it does not end", client.Addr, patience)
		case err != nil:
			return nil, nil
		case !answer.Started.Equal(started): // a supervisor has started it at once
			return answer, nil
		}
		select {
		case <-poll:
		case <-ctx.Done():
			return nil, errInterrupted
		}
	}
}

const (
	endPoll     = 100 * time.Millisecond // nextProcess asks this often
	endPatience = 5 * time.Second        // for each response
)

// jumps rearranges args of control, whose flags are known, so that a jump back such as -10s is not taken for a flag. A value that
// follows its flag, as in --over -1s, stays there.
func jumps(args []string, known *pflag.FlagSet) []string {
	if len(args) == 0 || args[0] != "control" || slices.Contains(args, "--") {
		return args
	}
	takesValue := func(a string) bool {
		name, ok := strings.CutPrefix(a, "--")
		f := known.Lookup(name)
		return ok && f != nil && f.NoOptDefVal == ""
	}
	var flags, values []string
	for i, a := range args {
		if len(a) > 1 && a[0] == '-' && (a[1] >= '0' && a[1] <= '9' || a[1] == '.') && !takesValue(args[i-1]) {
			values = append(values, a)
		} else {
			flags = append(flags, a)
		}
	}
	if len(values) == 0 {
		return args
	}
	return append(append(flags, "--"), values...)
}
