package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"time"
)

// A child is a publisher in a process of its own that runs this same binary. It ends when its standard input ends, so
// that it never outlives this process.
type child struct {
	cmd   *exec.Cmd
	stdin io.WriteCloser
	ready chan struct{} // closed when it listens
	done  chan struct{} // closed when the process has ended

	mu     sync.Mutex
	addr   string
	status childStatus
	last   string // last line that was an error or not a log event
}

// A childStatus is a log event of a child; the child keeps the last status.
type childStatus struct {
	Level     string    `json:"level"`
	Time      time.Time `json:"time"`
	Message   string    `json:"message"`
	Listen    string    `json:"listen"`
	EventTime int64     `json:"event_time"`
	Rule      string    `json:"rule"`
}

// marketTime returns the market time at now, in nanoseconds since the Unix epoch, of a market in which speed seconds pass
// per second, or 0 if it is not known. The market is taken to go on for as long as a status is expected.
func (s *childStatus) marketTime(now time.Time, speed float64) int64 {
	if s.EventTime == 0 {
		return 0
	}
	since := min(max(now.Sub(s.Time), 0), 2*demoStatus)
	return s.EventTime + int64(speed*float64(since))
}

// startTime bounds how long a child may take to listen, and stopTime how long it may take to end.
const (
	startTime = 10 * time.Second
	stopTime  = 10 * time.Second
)

// startChild starts "tickfeed publish" with args and waits until it listens. happens is called, by a goroutine of the child, with the
// rule of each event in the market.
func startChild(ctx context.Context, happens func(rule string), args ...string) (*child, error) {
	exe, err := os.Executable()
	if err != nil {
		return nil, err
	}
	c := &child{ready: make(chan struct{}), done: make(chan struct{})}
	c.cmd = exec.Command(exe)
	c.cmd.Args = append([]string{"tickfeed", "publish", "--stdin-orders", "--log-format", "json", "--log-level", "info"}, args...)
	for _, e := range os.Environ() {
		if !strings.HasPrefix(e, envPrefix) {
			c.cmd.Env = append(c.cmd.Env, e)
		}
	}
	if c.stdin, err = c.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	stderr, err := c.cmd.StderrPipe()
	if err != nil {
		return nil, err
	}
	if err := c.cmd.Start(); err != nil {
		return nil, err
	}
	go c.watch(stderr, happens)
	timeout := time.NewTimer(startTime)
	defer timeout.Stop()
	select {
	case <-c.ready:
		return c, nil
	case <-c.done:
		err = fmt.Errorf("the publisher did not start: %s", c.said())
	case <-timeout.C:
		err = fmt.Errorf("the publisher did not listen within %v: %s", startTime, c.said())
	case <-ctx.Done():
		err = context.Cause(ctx)
	}
	c.kill()
	return nil, err
}

// watch reads the child's log until it ends.
func (c *child) watch(stderr io.Reader, happens func(rule string)) {
	defer close(c.done)
	lines := bufio.NewScanner(stderr)
	for lines.Scan() {
		var s childStatus
		err := json.Unmarshal(lines.Bytes(), &s)
		c.mu.Lock()
		switch {
		case err != nil:
			c.last = lines.Text()
		case s.Level == "error":
			c.last = strings.TrimPrefix(s.Message, errorPrefix)
		case s.Message == "listening":
			c.addr = s.Listen
			close(c.ready)
		case s.Message == "status":
			c.status = s
		}
		c.mu.Unlock()
		if err == nil && s.Message == "market" {
			happens(s.Rule)
		}
	}
	_ = c.cmd.Wait() // the child may have been killed
}

func (c *child) said() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.last
}

func (c *child) listens() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.addr
}

func (c *child) now() childStatus {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.status
}

// kill kills the child, as a crash would, and waits for it.
func (c *child) kill() {
	_ = c.cmd.Process.Kill()
	c.stdin.Close()
	<-c.done
}

// end orders the child to end its source.
func (c *child) end() error {
	_, err := io.WriteString(c.stdin, "end\n")
	return err
}

// stop makes the child end in order, and waits for it.
func (c *child) stop() error {
	c.stdin.Close()
	select {
	case <-c.done:
		return nil
	case <-time.After(stopTime):
		c.kill()
		return errors.New("the publisher did not stop by itself")
	}
}
