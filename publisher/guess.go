package publisher

import (
	"container/list"
	"context"
	"net"
	"net/netip"
	"sync"
	"time"
)

// guesses slows down clients that guess tokens. The answer to a wrong login is delayed, longer for each wrong login
// from the same address; the waiting connection does not count as a handshake. A correct login is answered at once,
// also from an address with wrong ones, except that no further token from the address is checked while the answers to
// guessesAside different tokens wait: a client that guesses over many connections is as slow as over one.
//
// A login that is wrong already, because the same one waits for its answer, is no guess: its client learns nothing. Nor
// is a login without a token, since a certificate cannot be guessed. Such logins do not use up the places of guesses, so
// the clients of an address that all have the token of last month do not keep out one that has the new token.
//
// While a client of its own address sends ever different tokens, a client with the right token waits as long as the
// guesser keeps it up, as if the publisher were busy. It cannot be let in: whatever checks its token at once, be it a list
// of the tokens that were right before, checks those of the guesser as quickly. Certificates have no such wait.
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
	wrong   int           // wrong logins
	at      time.Time     // when the last one came
	waiting map[Login]int // answers that wait, by login
	guesses int           // those of them that answer guesses
	others  int           // and those that do not
}

// tries reports whether the login l, if it is wrong, would be a guess.
func (g *guesser) tries(l Login) bool { return l.Token != (Login{}).Token && g.waiting[l] == 0 }

// Bounds of guesses.
const (
	guessDelay   = 250 * time.Millisecond // delay of the answer to the first wrong login; doubled for each further one
	maxGuess     = 4 * time.Second        // longest delay
	guessMemory  = time.Minute            // time after which an address without new wrong logins is forgotten
	guessers     = 4096                   // addresses that are remembered; above it, the least recent one is forgotten
	guessesAside = 8                      // answers to guesses that may wait per address, at most maxHandshakes; above it, no new token from there is checked
	othersAside  = 8                      // answers to other logins that may wait per address; above it, those that are wrong already are not answered
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

// mayCheck reports whether the login l from address may be checked.
func (g *guesses) mayCheck(address string, l Login) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	e, ok := g.by[address]
	if !ok {
		return true
	}
	guess := e.Value.(*guesser)
	switch {
	case guess.tries(l):
		return guess.guesses < min(guessesAside, g.most)
	case guess.waiting[l] > 0:
		return guess.others < min(othersAside, g.most)
	}
	return true
}

// delayAnswer calls answer after the delay for the wrong login l from address, or when ctx ends.
func (g *guesses) delayAnswer(ctx context.Context, address string, l Login, answer func()) {
	answered, delay, early := g.note(address, l)
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
	answered()
	g.waiting.Remove(early)
}

// note records the wrong login l, and returns the delay of its answer. The value of early is closed if the answer must be
// sent at once. answered must be called, with the lock, when it was sent.
func (g *guesses) note(address string, l Login) (answered func(), delay time.Duration, early *list.Element) {
	g.mu.Lock()
	defer g.mu.Unlock()
	now := time.Now()
	e, ok := g.by[address]
	if !ok {
		e = g.recent.PushBack(&guesser{address: address, waiting: make(map[Login]int)})
		g.by[address] = e
	}
	guess := e.Value.(*guesser)
	if now.Sub(guess.at) > guessMemory {
		guess.wrong = 0
	}
	guess.wrong++
	guess.at = now
	kind := &guess.others
	if guess.tries(l) {
		kind = &guess.guesses
	}
	*kind++
	guess.waiting[l]++
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
	return func() {
		*kind--
		if guess.waiting[l]--; guess.waiting[l] == 0 {
			delete(guess.waiting, l)
		}
	}, delay, g.waiting.PushBack(make(chan struct{}))
}
