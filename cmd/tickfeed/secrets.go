package main

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/rs/zerolog"

	"tickfeed/codec/filemode"
)

// exposed returns a warning for each of the files that hold secrets and that users of this machine can read who need not. Empty
// paths are left out.
func exposed(paths ...string) (warnings []string) {
	for _, path := range paths {
		if path == "" {
			continue
		}
		if err := filemode.Exposed(path); err != nil {
			warnings = append(warnings, err.Error())
		}
	}
	return warnings
}

// warnOfSecrets writes what exposed returns to standard error.
func (p *program) warnOfSecrets(paths ...string) {
	for _, w := range exposed(paths...) {
		p.note(zerolog.WarnLevel, "warning: %s", w)
	}
}

// lookAgain is how often a command that runs for long looks at its files with secrets again: they are read again when they change, and
// a new one may have another mode.
const lookAgain = time.Second

// follow calls warn for each text of current that it did not return the time before, every lookAgain until ctx ends. warned are the
// texts of which warn was called before follow.
func follow(ctx context.Context, warned []string, current func() []string, warn func(text string)) error {
	tick := time.NewTicker(lookAgain)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		warnings := current()
		for _, w := range warnings {
			if !slices.Contains(warned, w) {
				warn(w)
			}
		}
		warned = warnings
	}
}

// followSecrets does what warnOfSecrets does, and again when a file can be read by others later, until ctx ends or stop is called,
// which waits.
func (p *program) followSecrets(ctx context.Context, paths ...string) (stop func()) {
	warn := func(w string) { p.note(zerolog.WarnLevel, "warning: %s", w) }
	warned := exposed(paths...)
	for _, w := range warned {
		warn(w)
	}
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = follow(ctx, warned, func() []string { return exposed(paths...) }, func(w string) { // it ends with ctx
			if isTerminal(p.stderr) {
				fmt.Fprint(p.stderr, clearLine) // a line that shows the progress may be there
			}
			warn(w)
		})
	}()
	return func() {
		cancel()
		<-done
	}
}
