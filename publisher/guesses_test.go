package publisher

import (
	"context"
	"fmt"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
)

// Addresses that one client may hold are counted as one.
func TestAddressOf(t *testing.T) {
	for address, want := range map[string]string{
		"192.0.2.1:5000":             "192.0.2.1",
		"[::ffff:192.0.2.1]:5000":    "192.0.2.1",
		"[2001:db8:1:2:3:4:5:6]:5":   "2001:db8:1:2::/64",
		"[2001:db8:1:2:ffff::1%3]:5": "2001:db8:1:2::/64",
		"[2001:db8:1:3::1]:5":        "2001:db8:1:3::/64",
		"somewhere:5":                "somewhere",
		"@":                          "test",
	} {
		assert.Equal(t, want, addressOf(named(address)), address)
	}
}

type named string

func (n named) Network() string { return "test" }
func (n named) String() string  { return string(n) }

var _ net.Addr = named("")

// The memory for wrong tokens is bounded: both the addresses and the waiting answers.
func TestGuessesAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var g guesses
		g.init(guessAnswers)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		answered := 0
		done := make(chan struct{}, 2*guessers)
		for i := range guessers + 100 {
			go func() {
				g.delayAnswer(ctx, fmt.Sprint("address ", i), Login{}, func() {})
				done <- struct{}{}
			}()
			synctest.Wait()
		}
		for range len(done) {
			<-done
			answered++
		}
		waiting := func() int {
			g.mu.Lock()
			defer g.mu.Unlock()
			return g.waiting.Len()
		}
		assert.Equal(t, guessers+100-guessAnswers, answered, "the oldest are answered at once")
		assert.Equal(t, guessAnswers, waiting())
		g.mu.Lock()
		assert.Len(t, g.by, guessers)
		assert.Equal(t, guessers, g.recent.Len())
		assert.NotContains(t, g.by, "address 99")
		assert.Contains(t, g.by, "address 100")
		g.mu.Unlock()
		time.Sleep(time.Second)
		synctest.Wait()
		assert.Zero(t, waiting())
		time.Sleep(guessMemory)
		g.delayAnswer(ctx, "the last", Login{}, func() {})
		assert.Len(t, g.by, 1, "addresses remembered after a minute")
	})
}
