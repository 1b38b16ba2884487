package exam

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"tickfeed/codec"
	"tickfeed/feed/scratch"
)

// An Outcome is the result of a case.
type Outcome string

// The outcomes.
const (
	Passed        Outcome = "passed"
	Failed        Outcome = "failed"
	NotApplicable Outcome = "not applicable" // the client lacks an ability
)

// A Verdict is the result of one case for one client.
type Verdict struct {
	Case     *Case         `json:"-"`
	ID       string        `json:"case"`
	Outcome  Outcome       `json:"outcome"`
	Lacks    Ability       `json:"lacks,omitempty"` // if not applicable
	Fault    *Fault        `json:"fault,omitempty"` // if failed
	Said     string        `json:"said,omitempty"`  // the end of what a failed client printed for people
	Took     time.Duration `json:"took_ns"`
	Late     bool          `json:"-"` // failed on time alone
	Repeated bool          `json:"repeated,omitempty"`
	Lines    []string      `json:"-"` // what the client printed
}

// A Way is how a client sits a case.
type Way uint8

// The ways.
const (
	ByTCP   Way = iota // the exam listens, and the client connects
	ByStdin            // the client reads a connection from standard input
	ByFiles            // the client reads each connection from a file
)

// An Exam runs cases.
type Exam struct {
	Program Program
	Way     Way
	Lacks   []Ability     // abilities that the client does not have
	Limit   time.Duration // of one case; 0 for DefaultLimit
	Dir     string        // for files; empty for the default directory for temporary files

	slow bool // heartbeats are rare: a case is repeated
}

// DefaultLimit is how long a case may take: every start of the program, what happens, and its end. The longest case, repeated
// with rare heartbeats, takes a right client 8 s.
const DefaultLimit = 20 * time.Second

// errLimit ends a case.
var errLimit = errors.New("the time limit of the case")

// Run lets the client sit c.
func (x *Exam) Run(ctx context.Context, c *Case) (v Verdict) {
	began := time.Now()
	v = Verdict{Case: c, ID: c.ID}
	defer func() { v.Took = time.Since(began) }()
	for _, a := range c.Needs {
		if slices.Contains(x.Lacks, a) {
			v.Outcome, v.Lacks = NotApplicable, a
			return v
		}
	}
	if x.Way != ByTCP && c.Drive != nil {
		v.Outcome, v.Lacks = NotApplicable, "a connection"
		return v
	}
	if x.Way == ByStdin && len(c.Streams) > 1 {
		v.Outcome, v.Lacks = NotApplicable, "several connections on standard input"
		return v
	}
	limit := cmp.Or(x.Limit, DefaultLimit)
	ctx, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("%w, %v, is over", errLimit, limit))
	defer cancel()
	temporary, err := scratch.New(x.Dir, "exam")
	if err != nil {
		v.Outcome, v.Fault = Failed, &Fault{Text: err.Error()}
		return v
	}
	defer temporary.Remove()
	dir := temporary.Path
	var lines []string
	var said string
	var fault *Fault
	switch {
	case c.probe != nil:
		said, fault, v.Late = x.probe(ctx, c, dir)
	case c.Drive != nil:
		lines, said, fault, v.Late, err = x.drive(ctx, c, dir)
	default:
		lines, said, err = x.sit(ctx, c, dir)
		fault = Judge(x.Wants(c), lines)
	}
	if fault != nil && fault.Line == 0 && err == nil && x.Way == ByTCP && strings.Contains(fault.Want, `"event":"left"`) {
		fault.Text = missingLeft
	}
	v.Lines = lines
	v.Late = v.Late || ofTime(err) && (fault == nil || fault.Line == 0)
	var wrong *Fault
	switch {
	case errors.As(err, &wrong): // what the client sent is wrong, so what it printed may be too
		fault = wrong
	case fault == nil && errors.As(err, new(endedError)):
	case fault == nil && err != nil:
		fault = &Fault{Text: err.Error()}
	case fault != nil && err != nil:
		fault.Text += "; " + err.Error()
	}
	if v.Outcome, v.Fault = Passed, fault; fault != nil {
		v.Outcome, v.Said = Failed, said
	}
	return v
}

// Wants returns the lines that c expects of the client.
func (x *Exam) Wants(c *Case) []string {
	return slices.DeleteFunc(c.Wants(), func(line string) bool {
		return slices.Contains(x.Lacks, Ledgers) && strings.HasPrefix(line, `{"sessions":`) ||
			slices.Contains(x.Lacks, States) && strings.Contains(line, `"state":true`)
	})
}

// orders returns what the client must do.
func (x *Exam) orders(c *Case, dir string) (Orders, error) {
	h := c.Streams[0].Hello
	o := Orders{
		Filter: h.Filter, From: fromOf(h.Start), Slow: h.Slow.String(), Token: c.ID,
	}
	if len(h.Position.Lineage) > 0 {
		b, err := json.Marshal(h.Position)
		if err != nil {
			return o, err
		}
		o.StateFile = filepath.Join(dir, "position.json")
		if err := os.WriteFile(o.StateFile, b, 0o600); err != nil {
			return o, err
		}
	}
	return o, nil
}

// fromOf returns the flag for a start.
func fromOf(s codec.Start) string {
	switch s.Kind {
	case codec.StartLive:
		return "live"
	case codec.StartBeginning:
		return "beginning"
	case codec.StartSeq:
		return fmt.Sprintf("seq:%d", s.Value)
	case codec.StartTime:
		return "time:" + time.Unix(0, int64(s.Value)).UTC().Format(time.RFC3339Nano)
	}
	return "snapshot"
}

// sit runs the client on c, and returns what it printed, the end of what it printed for people, and what went wrong.
func (x *Exam) sit(ctx context.Context, c *Case, dir string) (lines []string, said string, err error) {
	o, err := x.orders(c, dir)
	if err != nil {
		return nil, "", err
	}
	var played chan error
	switch x.Way {
	case ByStdin:
		if o.Stdin, err = wholeOf(&c.Streams[0]); err != nil {
			return nil, "", err
		}
	case ByFiles:
		for _, s := range c.Streams {
			b, err := wholeOf(&s)
			if err != nil {
				return nil, "", err
			}
			path := filepath.Join(dir, s.Name+".msgpack")
			if err := os.WriteFile(path, b, 0o600); err != nil {
				return nil, "", err
			}
			o.Files = append(o.Files, path)
		}
	default:
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, "", err
		}
		defer ln.Close() // only after the client has ended: it would connect to whoever listens there next
		o.Addr = ln.Addr().String()
		played = make(chan error, 1)
		playing, stop := context.WithCancel(ctx)
		defer func() {
			stop()
			ln.Close()
			<-played
		}()
		go func() {
			played <- play(playing, ln, c.Streams)
			close(played)
		}()
	}
	p, err := x.Program.Start(ctx, o)
	if err != nil {
		return nil, "", err
	}
	if played != nil {
		err = x.conduct(ctx, p, played, len(c.Streams))
	}
	if err == nil {
		select {
		case <-p.Done():
			if ended := p.Err(); errors.As(ended, new(*excessError)) {
				err = ended
			}
		case <-ctx.Done():
			err = fmt.Errorf("the client has not ended: %w", context.Cause(ctx))
		}
	}
	p.Kill()
	<-p.Done()
	lines, _ = p.Lines()
	return lines, p.Said(), err
}

// conduct waits until the streams were played and the client has said so, and makes it end.
func (x *Exam) conduct(ctx context.Context, p Process, played <-chan error, connections int) error {
	var err error
	select {
	case err = <-played:
	case <-p.Done():
		if ctx.Err() == nil {
			return errEnded(ctx, p)
		}
		err = <-played
	case <-ctx.Done():
		err = <-played
	}
	switch {
	case ctx.Err() != nil:
		return timedOut(ctx, err, errors.Is(err, errNotConnected))
	case err != nil:
		return err
	}
	for {
		lines, more := p.Lines()
		if ended(lines, connections) {
			break
		}
		select {
		case <-more:
		case <-p.Done():
			return errEnded(ctx, p)
		case <-ctx.Done():
			return fmt.Errorf("the client has not printed that it is disconnected: %w", context.Cause(ctx))
		}
	}
	return end(ctx, p)
}

// end asks the client to end, and waits for it.
func end(ctx context.Context, p Process) error {
	p.Stop()
	select {
	case <-p.Done():
		return nil
	case <-time.After(endTime):
		return fmt.Errorf("the client has %w %v after SIGTERM, and was killed", errNotEnded, endTime)
	case <-ctx.Done():
		return fmt.Errorf("the client has not ended after SIGTERM: %w", context.Cause(ctx))
	}
}

// An idleError says that a client has not connected until the time was over. The case is not repeated: more time would not help.
type idleError struct{ error }

func (e idleError) Unwrap() error { return e.error }

// ofTime reports whether err may be one of time alone.
func ofTime(err error) bool {
	return errors.Is(err, errNotEnded) || errors.Is(err, errTooOften) || errors.Is(err, errLimit) && !errors.As(err, new(idleError))
}

// timedOut returns the error of a case whose time is over, where missing says what the client has not done. away says that it
// has not connected at all.
func timedOut(ctx context.Context, missing error, away bool) error {
	if missing == nil {
		missing = errors.New("the client has not ended the connection in time")
	}
	err := fmt.Errorf("%w: %w", missing, context.Cause(ctx))
	if away {
		return idleError{err}
	}
	return err
}

// errNotEnded says that a client has not ended after SIGTERM.
var errNotEnded = errors.New("not ended")

// errNotConnected says that a client has not connected.
var errNotConnected = errors.New("the client has not connected")

// An endedError says how a client ended by itself. It is no fault: a client may end after a refusal without retry, with any
// exit code. But if its output is wrong, it explains why.
type endedError struct{ err error }

func (e endedError) Error() string {
	if e.err == nil {
		return "the client has ended by itself"
	}
	return "the client has ended by itself: " + e.err.Error()
}

// errEnded returns why p has ended: by itself, or because of what it printed, or because the case was over.
func errEnded(ctx context.Context, p Process) error {
	err := p.Err()
	switch {
	case errors.As(err, new(*excessError)):
		return err
	case ctx.Err() != nil:
		return context.Cause(ctx)
	}
	return endedError{err}
}

// ended reports whether lines hold the end of each connection, or of the client.
func ended(lines []string, connections int) bool {
	n := 0
	for _, line := range slices.Backward(lines) {
		if !strings.Contains(line, `"event"`) {
			continue
		}
		switch o, _ := parseLine(line); o["event"] {
		case "left":
			return true
		case "disconnected":
			n++
		}
	}
	return n >= connections
}

// wholeOf returns the bytes of a stream file: the hello, then what follows.
func wholeOf(s *Stream) ([]byte, error) {
	b, err := codec.Append(nil, s.Hello)
	return append(b, s.Bytes...), err
}

// play serves one connection for each of streams.
func play(ctx context.Context, ln net.Listener, streams []Stream) error {
	stop := context.AfterFunc(ctx, func() { ln.Close() })
	defer stop()
	for i := range streams {
		nc, err := ln.Accept()
		if err != nil {
			if i == 0 {
				return errNotConnected
			}
			return fmt.Errorf("the client has not connected again after connection %d", i)
		}
		err = playOne(ctx, nc, func(*codec.Hello) (*Stream, *codec.Refusal) { return &streams[i], nil })
		if err != nil {
			return err
		}
	}
	return nil
}

// playOne reads the hello of a client, sends it the stream that choose returns or a refusal, ends the connection for
// writing, and waits until the client has closed it. It returns a *Fault if the client said something wrong.
func playOne(ctx context.Context, nc net.Conn, choose func(*codec.Hello) (*Stream, *codec.Refusal)) error {
	defer nc.Close()
	stop := context.AfterFunc(ctx, func() { nc.Close() })
	defer stop()
	r := codec.NewReader(nc, codec.MaxHello)
	_, raw, err := r.Next()
	switch {
	case ctx.Err() != nil:
		return errors.New("the client has connected, and said no hello")
	case errors.Is(err, io.EOF):
		return errors.New("the client has closed the connection before a whole hello")
	case err != nil:
		return fmt.Errorf("the hello cannot be read: %w", err)
	}
	m, err := codec.Decode(raw)
	if err != nil {
		return &Fault{Text: fmt.Sprintf("the hello is wrong: %v", err)}
	}
	hello, ok := m.(*codec.Hello)
	if !ok {
		return &Fault{Text: fmt.Sprintf("the first message of the client is a %T, want a hello", m)}
	}
	s, refusal := choose(hello)
	var answer []byte
	wrong := ""
	if refusal != nil {
		wrong = refusal.Text
		if answer, err = codec.Append(nil, refusal); err != nil {
			return err
		}
	} else {
		answer = s.Bytes
		if wrong = helloDiffers(s.Hello, hello); wrong != "" {
			wrong = s.Name + ": " + wrong
		}
	}
	// The rest is read so that the client is never stuck in a write, and closing does not reset the connection.
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		_, _ = io.Copy(io.Discard, nc)
	}()
	_, _ = nc.Write(answer) // fails if the client has refused what came before
	if w, ok := nc.(interface{ CloseWrite() error }); ok {
		_ = w.CloseWrite()
	}
	<-gone
	switch {
	case ctx.Err() != nil:
		return errors.New("the client has not closed the connection, which the publisher has ended")
	case wrong != "":
		return &Fault{Text: wrong}
	}
	return nil
}

// helloDiffers returns how a hello differs from the one that a right client sends, in a sentence, or "".
func helloDiffers(want, got *codec.Hello) string {
	switch {
	case got.MinVersion > codec.Version || got.MaxVersion < codec.Version: // the rest of such a hello is not decoded
		return fmt.Sprintf("the hello speaks versions %d to %d, want %d", got.MinVersion, got.MaxVersion, codec.Version)
	case !slices.Equal(want.Filter, got.Filter):
		return fmt.Sprintf("the hello asks for %q, want %q", got.Filter, want.Filter)
	case want.Start != got.Start && len(want.Position.Lineage) == 0:
		return fmt.Sprintf("the hello starts at %s, want %s", fromOf(got.Start), fromOf(want.Start))
	case want.Slow != got.Slow:
		return fmt.Sprintf("the hello has the policy %v, want %v", got.Slow, want.Slow)
	case !slices.Equal(want.Position.Lineage, got.Position.Lineage):
		return fmt.Sprintf("the hello has the lineage %v, want %v", got.Position.Lineage, want.Position.Lineage)
	case want.Position.Next != got.Position.Next:
		return fmt.Sprintf("the hello has next %d, want %d", got.Position.Next, want.Position.Next)
	case !want.HasState && got.HasState:
		return "the hello says has state, and the client cannot have it: it would miss the snapshot"
	case want.HasState && !got.HasState:
		return "the hello does not say has state, although the client has it: it would be sent a needless snapshot"
	}
	return ""
}
