package main

import (
	"io"
	"sync"
	"time"
)

// How long work goes on before a progress line appears, and how often it changes.
const (
	progressAfter = time.Second
	progressEvery = 200 * time.Millisecond
)

// progress shows what say says on a line of its own while work goes on, if standard error is a
// terminal and the work takes more than a second. say is called on another goroutine. The
// line is gone when stop returns; stop may be called more than once.
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
