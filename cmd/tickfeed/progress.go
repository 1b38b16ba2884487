package main

import (
	"fmt"
	"sync"
	"time"
)

// How long work goes on before a progress line appears, and how often it changes.
const (
	progressAfter = time.Second
	progressEvery = 200 * time.Millisecond
)

// clearLine empties the line of a terminal.
const clearLine = "\r\x1b[K"

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
		shown := false
		for {
			select {
			case <-wait.C:
				fmt.Fprintf(p.stderr, clearLine+"%s", printable(say()))
				shown = true
				wait.Reset(progressEvery)
			case <-end:
				if shown {
					fmt.Fprint(p.stderr, clearLine)
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
