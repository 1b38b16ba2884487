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

	"tickfeed/cmd/child"
)

// A demoPublisher is a publisher in a process of its own that runs this same binary. It ends when its standard input ends,
// so that it never outlives this process.
type demoPublisher struct {
	*child.Process
	ready chan struct{} // closed when it listens

	mu     sync.Mutex
	addr   string
	status demoPublisherStatus
	last   string // last line that was an error or not a log event
}

// A demoPublisherStatus is a log event of a demoPublisher, which keeps the last status.
type demoPublisherStatus struct {
	Level     string    `json:"level"`
	Time      time.Time `json:"time"`
	Message   string    `json:"message"`
	Listen    string    `json:"listen"`
	EventTime int64     `json:"event_time"`
	Rule      string    `json:"rule"`
}

// marketTime returns the market time at now, in nanoseconds since the Unix epoch, of a market in which speed seconds pass
// per second, or 0 if it is not known. The market is taken to go on for as long as a status is expected.
func (s *demoPublisherStatus) marketTime(now time.Time, speed float64) int64 {
	if s.EventTime == 0 {
		return 0
	}
	since := min(max(now.Sub(s.Time), 0), 2*demoStatus)
	return s.EventTime + int64(speed*float64(since))
}

// startTime bounds how long a demoPublisher may take to listen, and stopTime how long it may take to end.
const (
	startTime = 10 * time.Second
	stopTime  = 10 * time.Second
)

// startDemoPublisher starts "tickfeed publish" with args and waits until it listens. happens is called, by a goroutine of
// the publisher, with the rule of each event in the market.
func startDemoPublisher(ctx context.Context, happens func(rule string), args ...string) (*demoPublisher, error) {
	exe, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(exe)
	cmd.Args = append([]string{"tickfeed", "publish", "--stdin-orders", "--log-format", "json", "--log-level", "info"}, args...)
	cmd.Env = child.Environ()
	c := &demoPublisher{ready: make(chan struct{})}
	c.Process, err = child.Start(cmd, child.Options{Stdin: true, Stderr: func(log io.Reader) { c.watch(log, happens) }})
	if err != nil {
		return nil, err
	}
	timeout := time.NewTimer(startTime)
	defer timeout.Stop()
	select {
	case <-c.ready:
		return c, nil
	case <-c.Done():
		err = fmt.Errorf("the publisher did not start: %s", c.said())
	case <-timeout.C:
		err = fmt.Errorf("the publisher did not listen within %v: %s", startTime, c.said())
	case <-ctx.Done():
		err = context.Cause(ctx)
	}
	return nil, errors.Join(err, c.Kill())
}

// watch reads the publisher's log until it ends.
func (c *demoPublisher) watch(log io.Reader, happens func(rule string)) {
	lines := bufio.NewScanner(log)
	for lines.Scan() {
		var s demoPublisherStatus
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
}

func (c *demoPublisher) said() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.last
}

func (c *demoPublisher) listens() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.addr
}

func (c *demoPublisher) now() demoPublisherStatus {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.status
}

// end orders the publisher to end its source.
func (c *demoPublisher) end() error {
	_, err := io.WriteString(c.Stdin, "end\n")
	return err
}

// stop makes the publisher end in order, and waits for it.
func (c *demoPublisher) stop() error {
	if err := c.Stop(stopTime); err != nil {
		return fmt.Errorf("the publisher: %w", err)
	}
	return nil
}
