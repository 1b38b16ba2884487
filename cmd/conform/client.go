package conform

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"time"

	"tickfeed/codec"
)

// A Program is a client or a publisher under exam.
type Program interface {
	// Start starts the program.
	Start(ctx context.Context, o Orders) (Process, error)
}

// Orders say what one run of a program does. A Program passes on what it has abilities for.
type Orders struct {
	Addr      string   // address of the publisher, HOST:PORT
	Stdin     []byte   // instead of Addr: the bytes of a connection, hello first
	Files     []string // instead of Addr: files with the bytes of one connection each, hello first
	Filter    codec.Filter
	From      string // snapshot, live, beginning, seq:N or time:T
	Slow      string // all, latest or disconnect
	StateFile string // file that holds the position, and is kept up to date
	Token     string

	// For publishers.
	Listen    string   // HOST:PORT
	Journal   string   // directory
	Retain    string   // bytes that the journal keeps; empty for all
	TokenFile string   // file with the credentials that clients must have; empty for none
	Input     *os.File // standard input: ticks
}

// A Process is a running program.
type Process interface {
	// Lines returns the lines printed so far, and a channel that is closed when there are more, or the process has ended.
	Lines() (lines []string, more <-chan struct{})
	// Done is closed when the process has ended and all its lines are there.
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
}

// Has reports whether the command contains placeholder, for example "{addr}".
func (c *Command) Has(placeholder string) bool {
	return slices.ContainsFunc(c.Args, func(a string) bool { return strings.Contains(a, placeholder) })
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
	maxOutput = 64 << 20
	maxLine   = 1 << 20
	maxSaid   = 4 << 10
	endTime   = 5 * time.Second // time that a program has to end after SIGTERM; then it is killed
)

// Start implements Client.
func (c *Command) Start(ctx context.Context, o Orders) (Process, error) {
	args := c.args(o)
	if len(args) == 0 {
		return nil, errors.New("the command is empty")
	}
	p := &process{Output: NewOutput(), cmd: exec.CommandContext(ctx, args[0], args[1:]...)}
	if c.Path != "" {
		p.cmd.Path, p.cmd.Err = c.Path, nil
	}
	ownGroup(p.cmd)
	p.cmd.Cancel = func() error { return signalGroup(p.cmd, os.Kill) }
	p.cmd.WaitDelay = time.Second
	p.cmd.Env = append(os.Environ(), "PYTHONUNBUFFERED=1")
	switch {
	case o.Input != nil:
		p.cmd.Stdin = o.Input
	case o.Stdin != nil:
		p.cmd.Stdin = strings.NewReader(string(o.Stdin))
	}
	stdout, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	p.cmd.Stderr = &p.said
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start the program: %w", err)
	}
	go func() {
		err := p.Output.read(stdout)
		if err != nil {
			p.Kill()
			_, _ = io.Copy(io.Discard, stdout)
		}
		ended := p.cmd.Wait()
		if err == nil { // otherwise it was killed for what it printed
			err = ended
		}
		p.Output.End(err)
	}()
	return p, nil
}

type process struct {
	*Output
	cmd  *exec.Cmd
	said tail
}

func (p *process) Stop() {
	_ = signalGroup(p.cmd, stopSignal)
}

func (p *process) Kill() { _ = signalGroup(p.cmd, os.Kill) }

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

func (p *Output) read(r io.Reader) error {
	s := bufio.NewScanner(r)
	s.Buffer(nil, maxLine)
	size := 0
	for s.Scan() {
		if size += len(s.Bytes()); size > maxOutput {
			return fmt.Errorf("the program printed more than %d MiB", maxOutput>>20)
		}
		p.Add(s.Text())
	}
	if errors.Is(s.Err(), bufio.ErrTooLong) {
		return fmt.Errorf("the program printed a line of more than %d MiB", maxLine>>20)
	}
	return nil
}

// A tail keeps the last maxSaid bytes written to it.
type tail struct {
	mu sync.Mutex
	b  []byte
}

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.b = append(t.b, p...)
	t.b = t.b[max(0, len(t.b)-maxSaid):]
	return len(p), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return strings.TrimSpace(string(t.b))
}
