package publisher

import (
	"container/list"
	"context"
	"net"
	"net/netip"
	"sync"
	"time"
)

// guesses slows down who guesses tokens. The answer to a wrong token waits, longer with each one from the same
// address; meanwhile the connection takes no place among the handshakes. A right token is answered at once, also from an
// address that guesses, unless too many of its wrong ones wait: then none is looked at, so that guesses
// that are made side by side are slowed down as well.
type guesses struct {
	mu      sync.Mutex
	by      map[string]*list.Element // of recent, by address
	recent  *list.List               // of *guesser, the one that guessed last at the end
	waiting *list.List               // of chan struct{}, oldest first: to be closed if the answer must not wait any longer
	most    int                      // answers that wait
}

// A guesser is an address from which wrong tokens came.
type guesser struct {
	address string
	wrong   int       // tokens, the last of them at
	at      time.Time // then
	waiting int       // answers
}

// Bounds of guesses.
const (
	guessDelay   = 250 * time.Millisecond // of the answer to the first wrong token; doubled with each more
	maxGuess     = 4 * time.Second        // delay
	guessMemory  = time.Minute            // after which an address without wrong tokens is forgotten
	guessers     = 4096                   // addresses that are remembered; beyond, the one that guessed least recently is forgotten
	sideBySide   = 16                     // answers that wait for one address, at most MaxHandshakes; beyond, no token from there is looked at
	guessAnswers = 256                    // answers that wait in all, at most MaxHandshakes; beyond, the oldest is given at once
)

func (g *guesses) init(most int) {
	g.most = most
	g.by, g.recent, g.waiting = make(map[string]*list.Element), list.New(), list.New()
}

// addressOf is what is slowed down as one: an IPv4 address, the 64 bits of an IPv6 address that name a network, or what else
// stands before the port.
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

// may reports whether a token from an address is looked at.
func (g *guesses) may(address string) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	e, ok := g.by[address]
	return !ok || e.Value.(*guesser).waiting < min(sideBySide, g.most)
}

// wrong calls answer once the answer to a wrong token from an address has waited as long as it has to, or ctx ends.
func (g *guesses) wrong(ctx context.Context, address string, answer func()) {
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

// note notes a wrong token, and returns how long its answer waits, unless early is closed.
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
