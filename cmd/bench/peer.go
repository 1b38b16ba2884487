package bench

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"slices"
	"sync"

	"tickfeed/cmd/child"
)

// A peer is a child process that handles requests: a request is a line of JSON on its standard input, an answer
// a line on its standard output. It ends when its standard input does, so that it never outlives this process.
type peer struct {
	*child.Process
	role string
	said child.Tail // its output to standard error

	mu      sync.Mutex
	last    int
	waiting map[int]chan answer
}

type request struct {
	ID   int             `json:"id"`
	Op   string          `json:"op"`
	Args json.RawMessage `json:"args"`
}

type answer struct {
	ID     int             `json:"id"`
	Error  string          `json:"error,omitempty"`
	Is     int             `json:"is,omitempty"` // the error is sentinels[Is], if not 0
	Result json.RawMessage `json:"result,omitempty"`
}

// startPeer starts cmd, which runs Child.
func startPeer(role string, cmd *exec.Cmd) (p *peer, err error) {
	p = &peer{role: role, waiting: make(map[int]chan answer)}
	cmd.Stderr = &p.said
	if p.Process, err = child.Start(cmd, child.Options{Stdin: true, Stdout: p.listen}); err != nil {
		return nil, fmt.Errorf("start the %s: %w", role, err)
	}
	return p, nil
}

// listen passes answers to their callers until the child ends.
func (p *peer) listen(stdout io.Reader) {
	answers := json.NewDecoder(stdout)
	for {
		var a answer
		if answers.Decode(&a) != nil {
			return
		}
		p.mu.Lock()
		if c := p.waiting[a.ID]; c != nil {
			c <- a
			delete(p.waiting, a.ID)
		}
		p.mu.Unlock()
	}
}

// call makes the child perform op, and waits for the result. Several calls may be in progress.
func call[R any](ctx context.Context, p *peer, op string, args any) (r R, err error) {
	raw, err := json.Marshal(args)
	if err != nil {
		return r, err
	}
	c := make(chan answer, 1)
	p.mu.Lock()
	p.last++
	id := p.last
	p.waiting[id] = c
	line, _ := json.Marshal(request{ID: id, Op: op, Args: raw})
	_, err = p.Stdin.Write(append(line, '\n'))
	p.mu.Unlock()
	if err != nil {
		return r, p.gone(op)
	}
	select {
	case a := <-c:
		if a.Error != "" {
			return r, &childError{p.role, op, a}
		}
		return r, json.Unmarshal(a.Result, &r)
	case <-p.Done():
		return r, p.gone(op)
	case <-ctx.Done():
		return r, context.Cause(ctx)
	}
}

// A childError is an error of a child.
type childError struct {
	role, op string
	answer   answer
}

func (e *childError) Error() string { return fmt.Sprintf("%s, %s: %s", e.role, e.op, e.answer.Error) }

// Unwrap returns one of sentinels, or nil.
func (e *childError) Unwrap() error {
	if e.answer.Is < 0 || e.answer.Is >= len(sentinels) {
		return nil
	}
	return sentinels[e.answer.Is]
}

func (p *peer) gone(op string) error {
	return fmt.Errorf("the %s ended during %q: %s", p.role, op, p.said.String())
}

// stop ends the child and waits for it.
func (p *peer) stop() {
	p.Stdin.Close()
	<-p.Done()
}

// kill kills the child and waits for it.
func (p *peer) kill() { _ = p.Kill() } // it may have ended

// An op is an operation of a child.
type op func(ctx context.Context, args json.RawMessage) (any, error)

// handle converts f to an op.
func handle[A, R any](f func(context.Context, A) (R, error)) op {
	return func(ctx context.Context, raw json.RawMessage) (any, error) {
		var args A
		if err := json.Unmarshal(raw, &args); err != nil {
			return nil, err
		}
		return f(ctx, args)
	}
}

// nothing stands for the arguments or the result of an op without any.
type nothing struct{}

// maxRequest bounds a request in bytes; ten thousand filters fit.
const maxRequest = 64 << 20

// serve performs the requests in in, each in a goroutine of its own, until in ends; then it cancels the context
// of those in progress and waits for them.
func serve(ctx context.Context, in io.Reader, out io.Writer, ops map[string]op) error {
	ctx, cancel := context.WithCancel(ctx)
	var under sync.WaitGroup
	defer under.Wait()
	defer cancel()
	var mu sync.Mutex
	answers := json.NewEncoder(out)
	lines := bufio.NewScanner(in)
	lines.Buffer(nil, maxRequest)
	for lines.Scan() {
		var r request
		if err := json.Unmarshal(lines.Bytes(), &r); err != nil {
			return fmt.Errorf("request: %w", err)
		}
		do := ops[r.Op]
		if do == nil {
			return fmt.Errorf("request: unknown op %q", r.Op)
		}
		under.Go(func() {
			a := answer{ID: r.ID}
			result, err := do(ctx, r.Args)
			if err == nil {
				a.Result, err = json.Marshal(result)
			}
			if err != nil {
				a.Error = err.Error()
				a.Is = slices.IndexFunc(sentinels, func(s error) bool { return s != nil && errors.Is(err, s) })
			}
			mu.Lock()
			defer mu.Unlock()
			_ = answers.Encode(a) // there is no one to report an error to
		})
	}
	return lines.Err()
}
