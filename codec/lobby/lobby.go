// Package lobby bounds the connections that a port has open before they have proved themselves. If there are too many, the oldest of
// them gives way to a new one, so that connections that send nothing do not keep others out.
package lobby

import (
	"container/list"
	"context"
	"io"
	"sync"
	"time"
)

// A Lobby has a number of places for connections. Its methods, and those of its guests, are safe for concurrent use.
type Lobby struct {
	most  int           // places
	grace time.Duration // minimum time for a guest to prove itself
	freed chan struct{} // 1 slot: a place may be free

	mu      sync.Mutex
	taken   int        // places; at most most
	waiting *list.List // of *Guest, oldest first: those that have not proved themselves
}

// New returns a lobby with most places, in which a guest has grace to prove itself before another one can have its place.
func New(most int, grace time.Duration) *Lobby {
	return &Lobby{most: most, grace: grace, freed: make(chan struct{}, 1), waiting: list.New()}
}

// A Guest is a connection that has, or had, a place in a lobby.
type Guest struct {
	At time.Time // when it came in

	lobby *Lobby
	conn  io.Closer
	entry *list.Element // of lobby.waiting; nil if the guest has proved itself or has left; guarded by lobby.mu
	left  bool          // it has no place; guarded by lobby.mu
}

// Enter waits for a place and gives it to conn. evicted reports whether Enter has closed the oldest connection that had not proved
// itself to get the place. If ctx ends first, Enter returns nil, and conn is the caller's to close.
func (l *Lobby) Enter(ctx context.Context, conn io.Closer) (g *Guest, evicted bool) {
	for {
		g, oldest, wait := l.enter(conn, time.Now())
		if oldest != nil {
			oldest.conn.Close()
		}
		if g != nil {
			return g, oldest != nil
		}
		var timer <-chan time.Time // blocks if only a guest that leaves can free a place
		if wait > 0 {
			timer = time.After(wait)
		}
		select {
		case <-l.freed:
		case <-timer:
		case <-ctx.Done():
			return nil, false
		}
	}
}

// enter gives a place to conn if there is one, or that of the oldest guest, which it returns, if that guest has had its grace without
// proving itself. Otherwise g is nil, and wait is how long the grace lasts; 0 if all guests have proved themselves.
func (l *Lobby) enter(conn io.Closer, now time.Time) (g, oldest *Guest, wait time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.taken >= l.most {
		front := l.waiting.Front()
		if front == nil {
			return nil, nil, 0
		}
		oldest = front.Value.(*Guest)
		if wait := oldest.At.Add(l.grace).Sub(now); wait > 0 {
			return nil, nil, wait
		}
		oldest.leaveLocked()
	}
	g = &Guest{At: now, lobby: l, conn: conn}
	g.entry = l.waiting.PushBack(g)
	if l.taken++; l.taken < l.most {
		l.wake() // another Enter that waits, if two places became free at once
	}
	return g, oldest, 0
}

// Waiting returns the number of guests that have not proved themselves.
func (l *Lobby) Waiting() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.waiting.Len()
}

// Stay records that g has proved itself: it keeps its place until it leaves. Stay returns false if g has left, or had to give way.
func (g *Guest) Stay() bool {
	g.lobby.mu.Lock()
	defer g.lobby.mu.Unlock()
	g.proveLocked()
	return !g.left
}

// Leave frees the place of g. It returns false if g has left before, or had to give way.
func (g *Guest) Leave() bool {
	g.lobby.mu.Lock()
	defer g.lobby.mu.Unlock()
	return g.leaveLocked()
}

// Left reports whether g has left, or had to give way.
func (g *Guest) Left() bool {
	g.lobby.mu.Lock()
	defer g.lobby.mu.Unlock()
	return g.left
}

func (g *Guest) proveLocked() {
	if g.entry != nil {
		g.lobby.waiting.Remove(g.entry)
		g.entry = nil
	}
}

func (g *Guest) leaveLocked() bool {
	if g.left {
		return false
	}
	g.left = true
	g.proveLocked()
	g.lobby.taken--
	g.lobby.wake()
	return true
}

// wake lets one call of Enter look again.
func (l *Lobby) wake() {
	select {
	case l.freed <- struct{}{}:
	default:
	}
}
