package main

import (
	"bufio"
	"cmp"
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode"

	"github.com/rs/zerolog"
	"golang.org/x/term"

	"tickfeed/cmd/ops"
	"tickfeed/codec"
	"tickfeed/subscriber"
)

// A commander changes the filter of running subscriptions, by the lines of --commands or over HTTP. Its methods are safe for
// concurrent use.
type commander struct {
	say func(format string, args ...any)
	set func(patterns []string) error

	patience time.Duration // that ask has with the publisher; 0 means outcomePatience
	outcomes chan outcome  // of capacity 1: the latest one

	asking sync.Mutex // one ask at a time waits for an outcome
	mu     sync.Mutex
	filter codec.Filter // the current filter of the subscriptions
}

// newCommander returns a commander of subs, whose filter is filter.
func newCommander(say func(format string, args ...any), filter codec.Filter, subs []*subscriber.Subscriber) *commander {
	return &commander{say: say, filter: filter, outcomes: make(chan outcome, 1), set: func(patterns []string) error {
		for _, s := range subs {
			if err := s.SetFilter(patterns); err != nil {
				return err // the patterns are invalid: the first one refuses them
			}
		}
		return nil
	}}
}

// symbolsCommand is the only command.
const symbolsCommand = "symbols"

// line carries out one line. An invalid line is reported and changes nothing.
func (c *commander) line(text string) {
	if strings.TrimSpace(text) == "" {
		return
	}
	switch answer, err := c.obey(text); {
	case err != nil:
		c.say("commands: %v; nothing changes", err)
	case !answer.Changed: // the subscriptions report a change
		c.say("commands: %v", answer)
	}
}

// obey carries out one line.
func (c *commander) obey(text string) (symbolsAnswer, error) {
	filter, err := parseCommand(text)
	if err != nil {
		return symbolsAnswer{}, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if slices.Equal(filter, c.filter) {
		return symbolsAnswer{Filter: filter}, nil
	}
	if err := c.set(filter); err != nil {
		return symbolsAnswer{}, err
	}
	c.filter = filter
	return symbolsAnswer{Filter: filter, Changed: true}, nil
}

// An outcome is what the publisher made of a filter.
type outcome struct {
	granted codec.Filter
	limits  string // what is not granted, for people; empty for nothing
	warning string // about patterns that match no instrument; may be empty
	closed  bool   // the subscription has ended
	err     error  // why, if closed; nil if it has all it was asked for
}

// about reports whether o can be the outcome of filter, and not of an earlier one.
func (o *outcome) about(filter codec.Filter) bool {
	return o.closed || o.limits != "" || slices.Equal(o.granted, filter)
}

// failure returns the error with which the request for filter fails if the subscription has ended.
func (o *outcome) failure(filter codec.Filter) error {
	var refused *subscriber.RefusedError
	switch {
	case !o.closed:
		return nil
	case errors.As(o.err, &refused) && refused.Code == codec.CodeDenied && !refused.Retry:
		return &ops.Error{Status: http.StatusForbidden, Err: fmt.Errorf("the publisher denies %s, and has ended the subscription: %s; start it again with symbols that it may see", filterText(filter), refused.Text)}
	case o.err != nil:
		return &ops.Error{Status: http.StatusServiceUnavailable, Err: fmt.Errorf("the subscription has ended: %w", o.err)}
	}
	return &ops.Error{Status: http.StatusServiceUnavailable, Err: errors.New("the subscription has ended")}
}

// settled notes an outcome.
func (c *commander) settled(o outcome) {
	select {
	case <-c.outcomes: // of an earlier change
	default:
	}
	select {
	case c.outcomes <- o:
	default: // another connection was faster
	}
}

// unconfirmed is the warning of a change to which the publisher has not responded.
const unconfirmed = "the publisher has not confirmed this yet"

// ask carries out one line, and waits for what the publisher makes of it.
func (c *commander) ask(ctx context.Context, text string) (symbolsAnswer, error) {
	c.asking.Lock()
	defer c.asking.Unlock()
	select {
	case <-c.outcomes:
	default:
	}
	answer, err := c.obey(text)
	if err != nil || !answer.Changed {
		return answer, err
	}
	requested, timeout := answer.Filter, time.After(cmp.Or(c.patience, outcomePatience))
	for {
		select {
		case o := <-c.outcomes:
			if o.about(requested) {
				answer.Filter, answer.Limits, answer.Warning = o.granted, o.limits, o.warning
				return answer, o.failure(requested)
			}
		case <-ctx.Done():
			select {
			case o := <-c.outcomes: // the end of the subscription has ended ctx
				return answer, o.failure(requested)
			default:
				return answer, nil
			}
		case <-timeout:
			answer.Warning = unconfirmed
			return answer, nil
		}
	}
}

// parseCommand returns the filter that a line of --commands requests.
func parseCommand(text string) (codec.Filter, error) {
	name, list := strings.TrimSpace(text), ""
	if i := strings.IndexFunc(name, unicode.IsSpace); i >= 0 {
		name, list = name[:i], strings.TrimSpace(name[i:])
	}
	switch {
	case name != symbolsCommand:
		return nil, fmt.Errorf("there is no command %.64q; want symbols PATTERNS", name)
	case list == "":
		return nil, errors.New("symbols: name PATTERNS, with commas between; * is all")
	}
	r := csv.NewReader(strings.NewReader(list)) // the syntax of --symbols
	r.TrimLeadingSpace = true
	patterns, err := r.Read()
	if err == nil {
		var filter codec.Filter
		if filter, err = symbolFilter(patterns); err == nil {
			return filter, nil
		}
	}
	return nil, fmt.Errorf("symbols: %w", err)
}

// filterText formats f for people.
func filterText(f codec.Filter) string {
	if f.All() {
		return "all symbols"
	}
	return "symbols " + firstPatterns(f)
}

// shownPatterns bounds how many patterns are listed.
const shownPatterns = 10

// firstPatterns lists the first shownPatterns of patterns, and the number of the others.
func firstPatterns(patterns []string) string {
	text := strings.Join(patterns[:min(len(patterns), shownPatterns)], ", ")
	if more := len(patterns) - shownPatterns; more > 0 {
		text += fmt.Sprintf(" and %d more", more)
	}
	return text
}

// steer lets c change filters by --commands and over HTTP on web, nil for none, and serves the rest of site there, until stop is
// called. When stop returns, no change is under way and none will follow.
func (p *program) steer(ctx context.Context, o *subscribeOptions, c *commander, web net.Listener, site ops.Site) (stop func()) {
	stopCommands := func() {}
	if o.commands {
		stopCommands = p.readCommands(ctx, c.line)
	}
	site.Routes = append(site.Routes, symbolsRoute(c))
	stopWeb := o.http.serveBeside(ctx, web, site, p.logger(zerolog.WarnLevel))
	return func() {
		stopCommands()
		stopWeb()
	}
}

// maxCommand bounds a line of --commands, in bytes: more than the longest filter.
const maxCommand = 1 << 20

// readCommands calls line with each line of standard input until ctx ends; the end of the input ends nothing else. When
// stop returns, no call of line is running and none will follow.
func (p *program) readCommands(ctx context.Context, line func(string)) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	in := p.stdin
	if f, ok := in.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		in = &foregroundInput{ctx, f}
	}
	lines := make(chan string)
	var failed error // set before lines is closed
	go func() {      // a read of a pipe cannot be interrupted: it ends with the input, or with the process
		defer close(lines)
		s := bufio.NewScanner(in)
		s.Buffer(nil, maxCommand)
		for s.Scan() {
			select {
			case lines <- s.Text():
			case <-ctx.Done():
				return
			}
		}
		if failed = s.Err(); errors.Is(failed, bufio.ErrTooLong) {
			failed = fmt.Errorf("a line is longer than %d bytes", maxCommand)
		}
	}()
	var consumer sync.WaitGroup
	consumer.Go(func() {
		for {
			select {
			case text, ok := <-lines:
				if !ok {
					if failed != nil {
						p.notef("commands: no more are read: %v", failed)
					}
					return
				}
				line(text)
			case <-ctx.Done():
				return
			}
		}
	})
	return func() {
		cancel()
		consumer.Wait()
	}
}

// A foregroundInput reads a terminal only while the process is in the foreground, because the kernel stops a background
// process that reads its terminal.
type foregroundInput struct {
	ctx context.Context
	in  *os.File
}

// Read returns io.EOF once ctx has ended.
func (f *foregroundInput) Read(b []byte) (int, error) {
	fd := int(f.in.Fd())
	for f.ctx.Err() == nil {
		switch {
		case !inForeground(fd):
			select {
			case <-time.After(terminalPoll):
			case <-f.ctx.Done():
			}
		case waitInput(fd, terminalPoll) && inForeground(fd):
			return f.in.Read(b)
		}
	}
	return 0, io.EOF
}
