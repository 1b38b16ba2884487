package publisher

import (
	"container/list"
	"context"
	"net"
	"net/netip"
	"sync"
	"time"
)

// guesses slows down clients that guess tokens. The answer to a wrong token is delayed, longer for each wrong token
// from the same address; the waiting connection does not count as a handshake. A correct token is answered at once,
// also from an address with wrong tokens, unless too many wrong tokens from there wait for their answers: then no
// token from the address is checked, which slows down parallel guesses as well.
type guesses struct {
	mu      sync.Mutex
	by      map[string]*list.Element // elements of recent, by address
	recent  *list.List               // of *guesser, most recent last
	waiting *list.List               // of chan struct{}, oldest first: closed to send the answer at once
	most    int                      // answers that may wait
}

// A guesser is an address that has sent wrong tokens.
type guesser struct {
	address string
	wrong   int       // wrong tokens
	at      time.Time // when the last one came
	waiting int       // answers that wait
}

// Bounds of guesses.
const (
	guessDelay   = 250 * time.Millisecond // delay of the answer to the first wrong token; doubled for each further one
	maxGuess     = 4 * time.Second        // longest delay
	guessMemory  = time.Minute            // time after which an address without new wrong tokens is forgotten
	guessers     = 4096                   // addresses that are remembered; above it, the least recent one is forgotten
	sideBySide   = 16                     // answers that may wait per address, at most maxHandshakes; above it, no token from there is checked
	guessAnswers = 256                    // answers that may wait in all, at most maxHandshakes; above it, the oldest is sent at once
)

func (g *guesses) init(most int) {
	g.most = most
	g.by, g.recent, g.waiting = make(map[string]*list.Element), list.New(), list.New()
}

// addressOf returns the address that guesses are counted for: an IPv4 address, the 64-bit network prefix of an IPv6
// address, or otherwise the host before the port.
func addressOf(a net.Addr) string {
	if p, err := netip.ParseAddrPort(a.String()); err == nil {
		ip := p.Addr().Unmap().WithZone("")
		if ip.Is6() {
			if network, err := ip.Prefix(64); err == nil {
				return network.String()
			}
		}
		return ip.String()
	}
	if host, _, err := net.SplitHostPort(a.String()); err == nil {
		return host
	}
	return a.Network()
}

// mayCheck reports whether a token from address may be checked.
func (g *guesses) mayCheck(address string) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	e, ok := g.by[address]
	return !ok || e.Value.(*guesser).waiting < min(sideBySide, g.most)
}

// delayAnswer calls answer after the delay for a wrong token from address, or when ctx ends.
func (g *guesses) delayAnswer(ctx context.Context, address string, answer func()) {
	guess, delay, early := g.note(address)
	timer := time.NewTimer(delay)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-early.Value.(chan struct{}):
	case <-ctx.Done():
	}
	answer()
	g.mu.Lock()
	defer g.mu.Unlock()
	guess.waiting--
	g.waiting.Remove(early)
}

// note records a wrong token, and returns the delay of its answer. The value of early is closed if the answer must be
// sent at once.
func (g *guesses) note(address string) (guess *guesser, delay time.Duration, early *list.Element) {
	g.mu.Lock()
	defer g.mu.Unlock()
	now := time.Now()
	e, ok := g.by[address]
	if !ok {
		e = g.recent.PushBack(&guesser{address: address})
		g.by[address] = e
	}
	guess = e.Value.(*guesser)
	if now.Sub(guess.at) > guessMemory {
		guess.wrong = 0
	}
	guess.wrong++
	guess.at = now
	guess.waiting++
	g.recent.MoveToBack(e)
	for e := g.recent.Front(); g.recent.Len() > guessers || now.Sub(e.Value.(*guesser).at) > guessMemory; e = g.recent.Front() {
		delete(g.by, e.Value.(*guesser).address)
		g.recent.Remove(e)
	}
	delay = maxGuess
	if shift := guess.wrong - 1; shift < 10 {
		delay = min(delay, guessDelay<<shift)
	}
	if g.waiting.Len() >= g.most {
		oldest := g.waiting.Front()
		close(oldest.Value.(chan struct{}))
		g.waiting.Remove(oldest)
	}
	return guess, delay, g.waiting.PushBack(make(chan struct{}))
}
