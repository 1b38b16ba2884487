package main

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"

	"github.com/rs/zerolog"

	"tickfeed/cmd/ops"
)

// A reloadable is a file, or files that belong together, that a running command reads again when asked by "tickfeed
// control reload" or SIGHUP. Files that are read again by themselves are here too, so that the operator learns at once
// whether they can be used.
type reloadable struct {
	name string
	// read reads the files again and describes those in force, for people. If it returns an error, the previous ones stay in force.
	read func() (string, error)
}

// A reloader reads the files of a command again. It is safe for concurrent use.
type reloader struct {
	log   zerolog.Logger
	files []reloadable
	// warnings returns doubts about the files in force, for people. It may be nil.
	warnings func() []string

	reading sync.Mutex
}

// A reloadAnswer is the response to POST /reload.
type reloadAnswer struct {
	Read     []reloaded `json:"read"`
	Warnings []string   `json:"warnings,omitempty"`
}

// A reloaded describes the files in force of a reloadable.
type reloaded struct {
	Name string `json:"name"`
	Now  string `json:"now"`
}

// String describes the answer for people.
func (a reloadAnswer) String() string {
	text := a.inForce()
	for _, w := range a.Warnings {
		text += "\nwarning: " + ops.Clean(w)
	}
	return text
}

// inForce describes what was read, without the warnings.
func (a reloadAnswer) inForce() string {
	if len(a.Read) == 0 {
		return "there is nothing to read again: this command was given no files that may change while it runs"
	}
	var lines []string
	for _, r := range a.Read {
		lines = append(lines, fmt.Sprintf("%s: %s", r.Name, ops.Clean(r.Now)))
	}
	return "read again: " + strings.Join(lines, "; ")
}

// reload reads everything again. The error names all that could not be used; the rest is in force.
func (r *reloader) reload() (reloadAnswer, error) {
	r.reading.Lock()
	defer r.reading.Unlock()
	notify(r.log, stateReloading())
	defer notify(r.log, stateReady)
	a := reloadAnswer{Read: []reloaded{}}
	var failed []string
	for _, f := range r.files {
		now, err := f.read()
		if err != nil {
			failed = append(failed, f.name+": "+strings.ReplaceAll(err.Error(), "\n", "; "))
			continue
		}
		a.Read = append(a.Read, reloaded{f.name, now})
	}
	if r.warnings != nil {
		a.Warnings = r.warnings()
	}
	for _, w := range a.Warnings {
		r.log.Warn().Msg(printable(w))
	}
	if len(failed) > 0 {
		err := fmt.Errorf("%s; the previous ones of these files stay in force, and the other files are in use", strings.Join(failed, "; "))
		r.log.Error().Err(err).Msg("some of the files that were read again cannot be used")
		return a, err
	}
	r.log.Info().Msg(printable(a.inForce())) // the warnings have lines of their own
	return a, nil
}

// route returns POST /reload.
func (r *reloader) route() ops.Route {
	return ops.Route{Name: "reload", Effect: true, Do: func(_ context.Context, body []byte) (any, error) {
		if _, err := ops.Read[struct{}](body); err != nil {
			return nil, err
		}
		a, err := r.reload()
		if err != nil {
			return nil, &ops.Error{Status: http.StatusUnprocessableEntity, Err: err}
		}
		return a, nil
	}}
}

// follow reloads at each signal of hangups until ctx ends.
func (r *reloader) follow(ctx context.Context, hangups <-chan struct{}) error {
	for {
		select {
		case <-hangups:
			_, _ = r.reload() // it logs the error
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// hangups returns a channel that receives a value at SIGHUP, which from now on ends nothing. It returns nil, and SIGHUP ends
// the command as before, if the process has a terminal: the signal then means that the terminal is gone.
func (p *program) hangups() <-chan struct{} {
	if hasTerminal() {
		return nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.hangup = make(chan struct{}, 1)
	return p.hangup
}

// hungUp reports whether SIGHUP is not to end the command, and passes it on to the receiver of hangups.
func (p *program) hungUp() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.hangup == nil {
		return false
	}
	select {
	case p.hangup <- struct{}{}:
	default: // the receiver has not yet begun with the one before
	}
	return true
}
