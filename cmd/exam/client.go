package exam

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"tickfeed/cmd/child"
	"tickfeed/codec"
)

// A Program is a client or a publisher under exam.
type Program interface {
	// Start starts the program.
	Start(ctx context.Context, o Orders) (Process, error)
}

// Orders describe one run of a program. A Program passes on those for which it has the ability.
type Orders struct {
	Addr      string   // address of the publisher, HOST:PORT
	Stdin     []byte   // instead of Addr: the bytes of a connection, hello first
	Files     []string // instead of Addr: files with the bytes of one connection each, hello first
	Filter    codec.Filter
	From      string // snapshot, live, beginning, seq:N or time:T
	Slow      string // all, latest or disconnect
	StateFile string // file that holds the position, and is kept up to date
	Token     string
	MaxOutput int // bytes that the client may print, lineCost more for each line; 0 for maxOutput

	// For publishers.
	Listen    string   // HOST:PORT; a publisher may print any amount, which is thrown away
	Journal   string   // directory
	Retain    string   // bytes that the journal keeps; empty for all
	TokenFile string   // file with the credentials that clients must have; empty for none
	Input     *os.File // standard input: ticks
}

// A Process is a running program.
type Process interface {
	// Lines returns the lines printed so far, and a channel that is closed when there are more, or the process has ended.
	Lines() (lines []string, more <-chan struct{})
	// Done is closed when the process has ended and all its lines are there. Children that a process leaves behind have some
	// seconds to print the rest.
	Done() <-chan struct{}
	// Err returns how the process ended: nil for exit code 0.
	Err() error
	// Stop asks the process to end, as SIGTERM does.
	Stop()
	// Kill ends the process at once.
	Kill()
	// Said returns the end of what the process printed for people.
	Said() string
}

// A Placeholder may stand in a command; in each case something else takes its place.
type Placeholder struct{ Name, Is string }

// Placeholders lists what the command of a client may contain.
var Placeholders = []Placeholder{
	{"{addr}", "address of the publisher, HOST:PORT"},
	{"{filter}", "patterns of symbols with commas between them; empty for everything"},
	{"{from}", "where to start without a position: snapshot, live, beginning or seq:N"},
	{"{slow}", "slow-consumer policy: all, latest or disconnect"},
	{"{state-file}", `file with the position, {"lineage":[{"session":"…","first":N},…],"next":N}, read at the start and kept up to date; empty if the case needs none`},
	{"{token}", "the id of the case, for the hello"},
	{"{files}", "with --bytes: files with the bytes of one connection each, in this order"},
}

// PublisherPlaceholders lists what the command of a publisher may contain.
var PublisherPlaceholders = []Placeholder{
	{"{listen}", "address to listen on, HOST:PORT; another one for each start"},
	{"{journal}", "directory, empty at the first start of a case, for what the publisher keeps between two starts"},
	{"{retain}", "bytes of ticks that are kept in the journal; empty, except in the cases of retention, for all"},
	{"{token-file}", "file with the credentials that a hello must have as its token; empty, except in the case of credentials, for none"},
}

// A Command is a program that is started as a process. Placeholders in its arguments are replaced. An argument in which
// an empty value stands is left out, together with a flag before it that would then lack its value.
type Command struct {
	Args []string
	Path string // of the program; if empty, Args[0] is looked up

	linger time.Duration // 0 for lingerTime
}

// Has reports whether the command contains placeholder, for example "{addr}".
func (c *Command) Has(placeholder string) bool {
	return slices.ContainsFunc(c.Args, func(a string) bool { return strings.Contains(a, placeholder) })
}

// braces is the form of a placeholder. ${name} belongs to a shell.
var braces = regexp.MustCompile(`\$?\{[A-Za-z][A-Za-z0-9_-]*\}`)

// Unknown returns an error if args have something of the form of a placeholder that is not among known.
func Unknown(args []string, known []Placeholder) error {
	var names []string
	for _, k := range known {
		names = append(names, k.Name)
	}
	for _, arg := range args {
		for _, found := range braces.FindAllString(arg, -1) {
			if !strings.HasPrefix(found, "$") && !slices.Contains(names, found) {
				return fmt.Errorf("there is no placeholder %s, only %s; braces that belong to the program need a space, as in { x }", found, strings.Join(names, ", "))
			}
		}
	}
	return nil
}

// ShownBy and PublisherShownBy say by which placeholder the command of a client, or of a publisher, shows that it has an ability.
// The other abilities are those of every program that does not lack them.
var (
	ShownBy          = map[Ability]string{Filters: "{filter}", Starts: "{from}", Policies: "{slow}", StateFile: "{state-file}"}
	PublisherShownBy = map[Ability]string{Journal: "{journal}", Retention: "{retain}", Tokens: "{token-file}"}
)

// Lacks returns the abilities that the command of a client cannot use, because the placeholder that asks for them is missing.
func (c *Command) Lacks() []Ability { return c.without(ShownBy) }

// PublisherLacks is Lacks for the command of a publisher.
func (c *Command) PublisherLacks() []Ability { return c.without(PublisherShownBy) }

func (c *Command) without(shownBy map[Ability]string) (lacks []Ability) {
	for _, a := range slices.Sorted(maps.Keys(shownBy)) {
		if !c.Has(shownBy[a]) {
			lacks = append(lacks, a)
		}
	}
	return lacks
}

func (c *Command) args(o Orders) []string {
	values := map[string]string{
		"{addr}": o.Addr, "{filter}": strings.Join(o.Filter, ","), "{from}": o.From, "{slow}": o.Slow, "{state-file}": o.StateFile, "{token}": o.Token,
		"{listen}": o.Listen, "{journal}": o.Journal, "{retain}": o.Retain, "{token-file}": o.TokenFile,
	}
	var out []string
	for i, arg := range c.Args {
		if arg == "{files}" {
			out = append(out, o.Files...)
			continue
		}
		filled, empty := arg, false
		for name, value := range values {
			if strings.Contains(arg, name) {
				empty = empty || value == ""
				filled = strings.ReplaceAll(filled, name, value)
			}
		}
		switch {
		case !empty:
			out = append(out, filled)
		case strings.HasPrefix(arg, "{") && i > 1 && len(out) > 1 && strings.HasPrefix(c.Args[i-1], "-") && out[len(out)-1] == c.Args[i-1] && !strings.Contains(c.Args[i-1], "="):
			out = out[:len(out)-1]
		}
	}
	return out
}

// Bounds of what a program may print in a case.
const (
	maxOutput  = 16 << 20 // with lineCost for each line
	maxPerTick = 1 << 10  // more for each tick of a case that takes time
	lineCost   = 64       // about what a line takes in memory besides its text
	maxLine    = 1 << 20
	endTime    = 5 * time.Second // time that a program has to end after SIGTERM; then it is killed
)

// lingerTime is how long the output of a program that has ended may stay open, because the program has started another one
// that holds it. It is longer than endTime, so that a client in a wrapper has its time to end.
const lingerTime = endTime + time.Second

// Start implements Program.
func (c *Command) Start(ctx context.Context, o Orders) (Process, error) {
	args := c.args(o)
	if len(args) == 0 {
		return nil, errors.New("the command is empty")
	}
	ctx, kill := context.WithCancel(ctx)
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	if c.Path != "" {
		cmd.Path, cmd.Err = c.Path, nil
	}
	cmd.WaitDelay = cmp.Or(c.linger, lingerTime)
	cmd.Env = append(os.Environ(), "PYTHONUNBUFFERED=1")
	switch {
	case o.Input != nil:
		cmd.Stdin = o.Input
	case o.Stdin != nil:
		cmd.Stdin = strings.NewReader(string(o.Stdin))
	}
	p := &process{Output: NewOutput()}
	most := cmp.Or(o.MaxOutput, maxOutput)
	lines := &lineWriter{out: p.Output, most: most, room: most, excess: kill}
	if o.Listen == "" {
		cmd.Stdout = lines
	}
	cmd.Stderr = &p.said
	var err error
	if p.child, err = child.Start(cmd, child.Options{Group: true}); err != nil {
		kill()
		return nil, err
	}
	go func() {
		<-p.child.Done()
		kill()
		lines.end()
		err := p.child.Err()
		switch {
		case lines.err != nil:
			err = lines.err
		case errors.Is(err, exec.ErrWaitDelay):
			err = errLeftBehind
		}
		p.Output.End(err)
	}()
	return p, nil
}

// errLeftBehind says how a program ended that is a wrapper of another one, and has not waited for it.
var errLeftBehind = errors.New("exit status 0, and what it has started still holds its output open: a wrapper must wait for the program, or become it by exec")

// An excessError says why the exam has ended a client.
type excessError struct{ did string }

func (e *excessError) Error() string { return "the exam has ended the client, which printed " + e.did }

type process struct {
	*Output
	child *child.Process
	said  child.Tail
}

func (p *process) Stop() { _ = p.child.Terminate() } // it may have ended

func (p *process) Kill() { _ = p.child.Signal(os.Kill) } // it may have ended

func (p *process) Said() string { return p.said.String() }

// An Output collects the lines of a client. Its methods are safe for concurrent use.
type Output struct {
	mu    sync.Mutex
	lines []string
	more  chan struct{}
	done  chan struct{}
	err   error
}

// NewOutput returns an output without lines.
func NewOutput() *Output { return &Output{more: make(chan struct{}), done: make(chan struct{})} }

// Lines and Done are those of Process.
func (p *Output) Lines() ([]string, <-chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.lines[:len(p.lines):len(p.lines)], p.more
}

// Done is described with Lines.
func (p *Output) Done() <-chan struct{} { return p.done }

// Err returns the error of End.
func (p *Output) Err() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.err
}

// Add adds a line.
func (p *Output) Add(line string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.lines = append(p.lines, line)
	close(p.more)
	p.more = make(chan struct{})
}

// End notes that the client has ended; err says how. It is called once.
func (p *Output) End(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.err = err
	close(p.more)
	p.more = make(chan struct{})
	close(p.done)
}

// A lineWriter adds what is written to it to an Output, line by line. Its error is an *excessError, after which nothing more
// is added.
type lineWriter struct {
	out        *Output
	most, room int    // what may be written, and what may still be
	excess     func() // is called before the error is returned
	part       []byte // of a line whose end has not come
	err        error
}

// Write implements io.Writer.
func (w *lineWriter) Write(b []byte) (int, error) {
	n := len(b)
	for w.err == nil {
		line, rest, whole := bytes.Cut(b, []byte("\n"))
		switch cost := len(w.part) + len(line) + lineCost; {
		case len(w.part)+len(line) > maxLine:
			w.err = &excessError{fmt.Sprintf("a line of more than %d MiB", maxLine>>20)}
		case cost > w.room:
			w.err = &excessError{fmt.Sprintf("more than %d MiB, with %d bytes for the end of each line", w.most>>20, lineCost)}
		case !whole:
			w.part = append(w.part, line...)
			return n, nil
		default:
			w.room -= cost
			w.out.Add(string(bytes.TrimSuffix(append(w.part, line...), []byte("\r"))))
			w.part, b = w.part[:0], rest
		}
	}
	w.excess()
	return 0, w.err
}

// end adds a last line without an end.
func (w *lineWriter) end() {
	if w.err == nil && len(w.part) > 0 {
		_, _ = w.Write([]byte("\n"))
	}
}
