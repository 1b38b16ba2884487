package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"golang.org/x/term"

	"tickfeed/cmd/ops"
	"tickfeed/feed/script"
)

// topOptions are the flags of top.
type topOptions struct {
	askOptions
	interval time.Duration
	order    string
	filter   string
	once     bool
	json     bool
}

func (p *program) topCommand() *cobra.Command {
	var o topOptions
	cmd := &cobra.Command{
		Use:   "top [ADDR]",
		Short: "Watch a publisher at the terminal: rate, subscribers, instruments",
		Long: `Watch the publisher or the replay whose --http is at ADDR (default ` + defaultHTTP + `). Once a second, top shows
the rate of ticks, the head, the sizes of journal and memory, how connections ended and how many clients came back,
the busiest instruments, and the subscribers, those furthest behind first.

LOSS IN says when a subscriber that keeps falling behind like this will lose ticks, because memory or the retention
of the journal no longer keeps them; or when its own policy will skip ticks or disconnect it.

Keys: q quits, s changes the order of the connections (` + strings.Join(topOrderNames(), ", ") + `), / filters by a part of a name, a user,
an address or an instrument, the arrows choose a connection, Enter shows its details, k ends it. If the publisher is
gone, top waits for the next one.

If standard output is not a terminal, or with --once, one frame is printed.`,
		Example: "  tickfeed top\n  tickfeed top unix:/run/tickfeed/http --sort bytes\n  tickfeed top --once --json | jq .ticks_per_second",
		Args:    wantArgs(0, 1, "address"),
		RunE:    func(cmd *cobra.Command, args []string) error { return p.top(cmd.Context(), &o, args) },
	}
	group(cmd, "View", func(f *pflag.FlagSet) {
		f.DurationVar(&o.interval, "interval", time.Second, "ask the publisher this often")
		f.StringVar(&o.order, "sort", topOrders[0].name, "the order of the connections: `ORDER` "+strings.Join(topOrderNames(), ", "))
		f.StringVar(&o.filter, "filter", "", "show only connections with `TEXT` in their name, user, address or instruments")
		f.BoolVar(&o.once, "once", false, "print one frame, of two samples --interval apart")
		f.BoolVar(&o.json, "json", false, "print one frame as JSON")
	})
	o.askOptions.define(cmd)
	return cmd
}

func topOrderNames() (names []string) {
	for _, o := range topOrders {
		names = append(names, o.name)
	}
	return names
}

// mostInterval bounds --interval.
const (
	leastInterval = 100 * time.Millisecond
	mostInterval  = time.Hour
)

func (p *program) top(ctx context.Context, o *topOptions, args []string) error {
	addr := defaultHTTP
	if len(args) > 0 {
		addr = args[0]
	}
	client, err := o.client(ctx, p, "address", addr)
	if err != nil {
		return err
	}
	view := topView{filter: o.filter, order: slices.IndexFunc(topOrders, func(x topOrder) bool { return x.name == o.order })}
	switch {
	case view.order < 0:
		return usage("--sort must be %s, got %q%s", strings.Join(topOrderNames(), ", "), o.order, script.DidYouMean(o.order, topOrderNames()))
	case o.interval < leastInterval || o.interval > mostInterval:
		return usage("--interval must be from %v to %v, got %v", leastInterval, mostInterval, o.interval)
	}
	w := &watching{p: p, client: client, interval: o.interval, view: view}
	if o.once || o.json || terminalOf(p.stdout) == nil {
		return w.once(ctx, o.json)
	}
	if w.screen = p.openScreen(); w.screen == nil {
		return w.once(ctx, o.json) // there are no keys
	}
	restore := sync.OnceFunc(w.screen.restore)
	defer restore()
	stop := context.AfterFunc(ctx, restore) // a second signal ends the process at once
	defer stop()
	return w.run(ctx)
}

// A watching is a running top.
type watching struct {
	p        *program
	client   *ops.Client
	interval time.Duration
	screen   *console

	view        topView
	now, before *topSample
}

// topTimeout bounds a request, and topConns how many connections it asks for.
const (
	topTimeout = 3 * time.Second
	topConns   = 1000
)

// ask asks the publisher for a sample, in the order of the view.
func (w *watching) ask(ctx context.Context, order int) (*topSample, error) {
	s := &topSample{}
	var list struct {
		Conns []ops.Conn `json:"connections"`
	}
	for path, into := range map[string]any{"/overview": &s.overview, fmt.Sprintf("/connz?sort=%s&limit=%d", topOrders[order].server, topConns): &list} {
		answer, err := w.client.Ask(ctx, path, nil, "application/json", topTimeout)
		if err != nil {
			return nil, askError(ctx, w.client.Addr, err)
		}
		s.command = answer.Command
		if answer.Command != "publish" && answer.Command != "replay" {
			return nil, usage("%s is a tickfeed %s, and top shows a publish or a replay; name its --http", w.client.Addr, answer.Command)
		}
		if err := answerError(answer); err != nil {
			return nil, fmt.Errorf("%s: %w", w.client.Addr, err)
		}
		if err := json.Unmarshal(answer.Body, into); err != nil {
			return nil, fmt.Errorf("%s: %w", w.client.Addr, err)
		}
	}
	s.conns = list.Conns
	return s, nil
}

// once prints one frame.
func (w *watching) once(ctx context.Context, asJSON bool) error {
	before, err := w.ask(ctx, w.view.order)
	if err != nil {
		return err
	}
	select {
	case <-time.After(w.interval):
	case <-ctx.Done():
		return errInterrupted
	}
	now, err := w.ask(ctx, w.view.order)
	if err != nil {
		return err
	}
	f := compose(now, before, &w.view)
	if asJSON {
		b, err := json.Marshal(f)
		if err != nil {
			return err
		}
		_, err = fmt.Fprintf(w.p.stdout, "%s\n", printableJSON(b))
		return output(err)
	}
	width := terminalWidth(w.p.stdout)
	if width == 0 {
		width = columns
	}
	screen := w.p.screen(w.p.stdout)
	for _, line := range f.lines(width, 0, &w.view) {
		if _, err := fmt.Fprintln(w.p.stdout, strings.TrimRight(screen.paint(line.colour, line.text), " ")); err != nil {
			return output(err)
		}
	}
	return nil
}

// An asked is the outcome of ask.
type asked struct {
	sample *topSample
	err    error
}

// run shows frames and obeys keys until q, Ctrl-C or the end of ctx. One goroutine at a time asks the publisher, so that keys
// are obeyed while it does not respond.
func (w *watching) run(ctx context.Context) error {
	asking, cancel := context.WithCancel(ctx)
	answers := make(chan asked)
	busy := false
	defer func() {
		cancel()
		if busy {
			<-answers
		}
	}()
	resized := make(chan os.Signal, 1)
	if len(resizes) > 0 {
		signal.Notify(resized, resizes...)
		defer signal.Stop(resized)
	}
	due := time.NewTicker(w.interval)
	defer due.Stop()
	ask := func() {
		if busy {
			return
		}
		busy = true
		order := w.view.order
		go func() {
			s, err := w.ask(asking, order)
			answers <- asked{s, err}
		}()
	}
	ask()
	for {
		select {
		case a := <-answers:
			busy = false
			if coded := (*exitError)(nil); errors.As(a.err, &coded) && w.now == nil {
				return a.err // not a publisher
			}
			w.take(a)
		case <-due.C:
			ask()
			continue
		case <-resized:
		case k := <-w.screen.keys:
			order := w.view.order
			kick, quit := w.view.press(k, w.frame())
			switch {
			case quit && k == keyCtrlC:
				return errInterrupted
			case quit:
				return nil
			case kick:
				w.view.note = w.kick(ctx, w.view.chosen)
				ask()
			case order != w.view.order:
				ask()
			}
		case <-ctx.Done():
			return w.p.stopped()
		}
		w.draw()
	}
}

// take takes the outcome of an ask into the view.
func (w *watching) take(a asked) {
	if a.err != nil {
		w.view.problem = oneLine(a.err.Error())
		return
	}
	w.view.problem = ""
	w.before, w.now = w.now, a.sample
	if c := cmp.Or(w.now.connOf(w.view.chosen), w.before.connOf(w.view.chosen)); c != nil {
		w.view.last = c
	}
}

// frame returns the frame of now, or nil if there is no sample yet.
func (w *watching) frame() *topFrame {
	if w.now == nil {
		return nil
	}
	return compose(w.now, w.before, &w.view)
}

// draw draws the frame, or why there is none.
func (w *watching) draw() {
	width, height := columns, 24
	if f := terminalOf(w.p.stdout); f != nil {
		if x, y, err := term.GetSize(int(f.Fd())); err == nil && x > 0 && y > 0 {
			width, height = x, y
		}
	}
	var lines []topLine
	if f := w.frame(); f != nil {
		lines = f.lines(width, height, &w.view)
	} else {
		for _, line := range strings.Split(wrap(w.view.problem, width, "  "), "\n") {
			lines = append(lines, topLine{printable(line), red})
		}
		lines = append(lines, topLine{"q quit", dim})
	}
	screen := screen{coloured: w.screen.coloured}
	var painted []string
	for _, line := range lines[:min(len(lines), height)] {
		painted = append(painted, screen.paint(line.colour, line.text))
	}
	w.screen.draw(painted)
}

// kick ends a connection, and says whether that worked.
func (w *watching) kick(ctx context.Context, number uint64) string {
	answer, err := w.client.Ask(ctx, "/kick", &ops.KickRequest{Connection: number}, "text/plain", topTimeout)
	if err == nil {
		err = answerError(answer)
	}
	if err != nil {
		return fmt.Sprintf("connection %d was not ended: %v", number, err)
	}
	return oneLine(strings.TrimSpace(string(answer.Body)))
}

// press changes the view as a key demands, given the frame that is shown, which is nil before the first. It reports whether the
// chosen connection is to be kicked, and whether to quit.
func (v *topView) press(k keystroke, f *topFrame) (kick, quit bool) {
	if k == keyCtrlC {
		return false, true
	}
	v.note = ""
	switch {
	case v.kicking:
		v.kicking = false
		return k == 'y' || k == 'Y', false
	case v.typing:
		v.typeFilter(k)
		return false, false
	}
	switch k {
	case 'q':
		return false, true
	case 's':
		v.order = (v.order + 1) % len(topOrders)
	case '/':
		v.typing, v.details = true, false
	case keyEscape:
		if v.details {
			v.details = false
		} else {
			v.filter, v.chosen = "", 0
		}
	case keyUp:
		v.move(f, -1)
	case keyDown:
		v.move(f, +1)
	case keyEnter:
		if v.chosen == 0 {
			v.move(f, +1)
		}
		v.details = v.chosen != 0 && !v.details
	case 'k':
		switch ended := f != nil && !f.has(v.chosen); {
		case v.chosen == 0:
			v.note = "choose a connection with the arrow keys first"
		case ended:
			v.note = fmt.Sprintf("connection %d has ended, or does not match the filter: choose another with the arrow keys", v.chosen)
		default:
			v.kicking = true
		}
	}
	return false, false
}

// maxFilter bounds the filter that is typed, in bytes.
const maxFilter = 40

// typeFilter takes a key while the filter is typed.
func (v *topView) typeFilter(k keystroke) {
	switch {
	case k == keyEnter:
		v.typing = false
	case k == keyEscape:
		v.typing, v.filter = false, ""
	case k == keyErase || k == '\b':
		_, size := utf8.DecodeLastRuneInString(v.filter)
		v.filter = v.filter[:len(v.filter)-size]
	case k >= ' ' && k < keyErase && len(v.filter) < maxFilter:
		v.filter += string(rune(k))
	}
}

// move chooses the next connection of f, or the one before.
func (v *topView) move(f *topFrame, by int) {
	if f == nil || len(f.Conns) == 0 {
		return
	}
	at := slices.IndexFunc(f.Conns, func(c topConn) bool { return c.Number == v.chosen })
	if at < 0 && by < 0 {
		at = 0
	}
	v.chosen = f.Conns[min(max(0, at+by), len(f.Conns)-1)].Number
}
