// Package child runs other programs as children of this process, each in one way: what the child prints is read until it
// ends, and then Done is closed. The caller of Start can ask the child to end, kill it, or freeze it.
//
//	p, err := child.Start(exec.Command("tickfeed", "publish"), child.Options{Stdin: true, Stderr: logLines})
//	if err != nil {
//		return err
//	}
//	defer p.Kill()
//	err = p.Stop(10 * time.Second) // closes its standard input, and kills it if it does not end
//
// On Windows a process can only be killed: see [CanSignal].
package child

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"time"
)

// EnvPrefix is how the names of tickfeed's environment variables begin.
const EnvPrefix = "TICKFEED_"

// Environ returns the environment of this process without tickfeed's variables, so that a child has only the flags that it
// is given.
func Environ() []string {
	var env []string
	for _, e := range os.Environ() {
		if !strings.HasPrefix(e, EnvPrefix) {
			env = append(env, e)
		}
	}
	return env
}

// A Process is a child that was started. Its methods are safe for concurrent use.
type Process struct {
	// Cmd is the command, of which only Args and Process may be used before Done is closed.
	Cmd *exec.Cmd
	// Stdin is the child's standard input if Options.Stdin is set.
	Stdin io.WriteCloser

	group bool
	done  chan struct{}
	err   error // how it ended; set before done is closed
}

// Options say how a child is started.
type Options struct {
	// Group gives the child a process group of its own, with all that it starts, to which signals are sent. On Linux the
	// kernel kills the child itself if this process dies first.
	Group bool
	// Stdin connects the child's standard input to Process.Stdin. A child that ends when its standard input does never
	// outlives this process.
	Stdin bool
	// At most one of Stdout, Stderr and Output is set. It is called once, in a goroutine, to read what the child prints
	// there, until the end; Output reads both.
	Stdout, Stderr, Output func(io.Reader)
}

// Start starts cmd. The caller must see to it that the child ends. The error is of exec.Cmd.Start.
func Start(cmd *exec.Cmd, o Options) (*Process, error) {
	p := &Process{Cmd: cmd, group: o.Group, done: make(chan struct{})}
	if o.Group {
		ownGroup(cmd)
		if cmd.Cancel != nil {
			cmd.Cancel = func() error { return p.Signal(os.Kill) }
		}
	}
	var err error
	if o.Stdin {
		if p.Stdin, err = cmd.StdinPipe(); err != nil {
			return nil, err
		}
	}
	var printed io.Reader
	read := o.Stdout
	switch {
	case o.Stdout != nil:
		printed, err = cmd.StdoutPipe()
	case o.Stderr != nil:
		read = o.Stderr
		printed, err = cmd.StderrPipe()
	case o.Output != nil:
		read = o.Output
		printed, err = cmd.StdoutPipe()
		cmd.Stderr = cmd.Stdout
	}
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		defer close(p.done)
		if read != nil {
			read(printed)
			_, _ = io.Copy(io.Discard, printed) // Wait must not come before the end of a pipe
		}
		p.err = cmd.Wait()
	}()
	return p, nil
}

// Done returns a channel that is closed when the child has ended and all that it printed was read.
func (p *Process) Done() <-chan struct{} { return p.done }

// Err returns how the child ended, as exec.Cmd.Wait does. Done must be closed.
func (p *Process) Err() error { return p.err }

// Signal sends s to the child, or to its group.
func (p *Process) Signal(s os.Signal) error {
	if p.group {
		return signalGroup(p.Cmd, s)
	}
	return p.Cmd.Process.Signal(s)
}

// Terminate asks the child to end, as a service manager does; on Windows it kills it.
func (p *Process) Terminate() error { return p.Signal(terminate) }

// Kill kills the child, as a crash would, and waits for it.
func (p *Process) Kill() error {
	err := p.Signal(os.Kill)
	if p.Stdin != nil {
		p.Stdin.Close()
	}
	if err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	<-p.done
	return nil
}

// Stop closes the child's standard input, or calls Terminate if Options.Stdin is not set, and waits for it. If the child has
// not ended after patience, Stop kills it and returns an error that says so.
func (p *Process) Stop(patience time.Duration) error {
	if p.Stdin != nil {
		p.Stdin.Close()
	} else {
		_ = p.Terminate() // it may have ended
	}
	timeout := time.NewTimer(patience)
	defer timeout.Stop()
	select {
	case <-p.done:
		return nil
	case <-timeout.C:
		_ = p.Kill() // it may have ended
		return fmt.Errorf("it has not ended within %v after it was asked to", patience)
	}
}

// A Tail keeps the end of what is written to it: the last TailSize bytes. It is safe for concurrent use.
type Tail struct {
	mu  sync.Mutex
	buf []byte
}

// TailSize is what a Tail keeps, in bytes.
const TailSize = 4 << 10

// Write implements [io.Writer]. The error is always nil.
func (t *Tail) Write(b []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.buf = append(t.buf, b...)
	if n := len(t.buf) - TailSize; n > 0 {
		t.buf = append(t.buf[:0], t.buf[n:]...)
	}
	return len(b), nil
}

// String returns what is kept, without blanks around it.
func (t *Tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(bytes.TrimSpace(t.buf))
}
