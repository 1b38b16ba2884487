package main

import (
	"io"
	"sync"
	"time"
)

// The time before a progress line appears, and the interval at which it is updated.
const (
	progressAfter = time.Second
	progressEvery = 200 * time.Millisecond
)

// progress shows the result of say in a line of its own until stop is called, if standard error is a terminal and the
// work takes more than a second. say is called on another goroutine. The line is gone when stop returns; stop may be
// called more than once.
func (p *program) progress(say func() string) (stop func()) {
	if !isTerminal(p.stderr) {
		return func() {}
	}
	end, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		wait := time.NewTimer(progressAfter)
		defer wait.Stop()
		var line statusLine
		for {
			select {
			case <-wait.C:
				_, _ = io.WriteString(p.stderr, line.show(printable(say()), terminalWidth(p.stderr)))
				wait.Reset(progressEvery)
			case <-end:
				if line.cells > 0 {
					_, _ = io.WriteString(p.stderr, line.clear(terminalWidth(p.stderr)))
				}
				return
			}
		}
	}()
	return sync.OnceFunc(func() {
		close(end)
		<-done
	})
}
