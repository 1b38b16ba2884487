package lab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"slices"
	"sync"
	"syscall"
	"time"

	"tickfeed/codec"
	"tickfeed/codec/neterror"
)

// serve passes the connection nc on to the publisher, with the faults that the rules say, until either side ends it.
func (l *Lab) serve(ctx context.Context, nc net.Conn) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer nc.Close()
	socket := nc
	defer context.AfterFunc(ctx, func() { socket.Close() })()
	l.mu.Lock()
	refused, hang := time.Now().Before(l.refused), time.Until(l.hung)
	refuser, hanger := l.refuser, l.hanger
	down, full := l.down > 0, len(l.links) >= maxLinks
	l.number++
	k := &link{lab: l, ctx: ctx, client: nc, number: l.number, expire: -1, gone: make(chan struct{})}
	l.mu.Unlock()
	if refused {
		k.happened(refuser, 0)
	}
	if down {
		l.say(Event{What: TurnedAway, Connection: k.number})
	}
	if refused || down || full {
		k.reset()
		return
	}
	if hang > 0 {
		k.happened(hanger, 0)
		_ = nc.SetReadDeadline(time.Now().Add(hang))
		_, _ = io.Copy(io.Discard, nc)
		return
	}
	_ = nc.SetReadDeadline(time.Now().Add(handshakeFor))
	nc, err := secureClient(nc, l.TLS)
	if err != nil {
		l.say(Event{What: "the client cannot connect: " + neterror.Plain(err).Error(), Connection: k.number})
		return
	}
	k.client = nc
	messages := codec.NewReader(nc, codec.MaxMessage)
	_, raw, err := messages.Next()
	if err != nil {
		l.say(Event{What: "the client said no hello: " + neterror.Plain(err).Error(), Connection: k.number})
		return
	}
	hello := append([]byte(nil), raw...)
	if m, err := codec.Decode(hello); err == nil {
		if h, ok := m.(*codec.Hello); ok {
			k.name, k.hello = h.Client, *h
		}
		l.hear(k.number, m)
	}
	defer l.hear(k.number, nil)
	_ = nc.SetReadDeadline(time.Time{})
	if !k.logIn() || !k.unstalled() {
		return
	}
	if hello, err = k.translate(hello); err == nil {
		hello, err = k.overtake(hello)
	}
	if err != nil {
		l.say(Event{What: "the publisher: " + neterror.Plain(err).Error(), Client: k.name, Connection: k.number})
		return
	}
	dialling, stop := context.WithTimeout(ctx, dialTime)
	server, err := l.Dial(dialling)
	stop()
	if err != nil {
		l.say(Event{What: "the publisher cannot be reached: " + neterror.Plain(err).Error(), Client: k.name, Connection: k.number})
		return
	}
	defer context.AfterFunc(ctx, func() { server.Close() })()
	k.server = server
	if !l.add(k) {
		k.reset()
		return
	}
	defer l.remove(k)
	defer server.Close()
	if _, err := server.Write(hello); err != nil {
		k.why = "the publisher: " + neterror.Plain(err).Error()
		return
	}
	k.answered = time.AfterFunc(answerFor, func() {
		l.say(Event{What: fmt.Sprintf("the publisher has not answered the hello for %v: is it one?", answerFor), Client: k.name, Connection: k.number, Login: k.login})
	})
	defer k.answered.Stop()
	var up sync.WaitGroup
	up.Go(func() {
		err := k.up(messages)
		close(k.gone) // before the publisher's end, so that down can tell why that comes
		if err != nil {
			k.leave(err)
		}
	})
	k.early = newReadAhead(server)
	defer k.early.wait() // after server.Close
	err = k.down(codec.NewReader(k.early, codec.MaxMessage))
	k.why = k.whyEnded(k.over.Swap(true), err)
	switch {
	case errors.Is(err, errEnded):
		server.Close()
		k.finish()
	case k.isDeaf():
		<-k.gone // the client must find out by itself
	case errors.Is(err, syscall.ECONNRESET):
		k.reset()
	default:
		k.finish()
	}
	nc.Close()
	server.Close()
	up.Wait()
}

// logIn applies the rules that the hello of the client meets. It returns false if the client is not to be passed on.
func (k *link) logIn() bool {
	hits, login := k.lab.rules.login(k.name)
	hits = append(hits, k.lab.nextHello(k.name)...)
	k.login = login
	wait := time.Duration(0)
	for _, i := range hits {
		switch f := k.lab.rules.faultOf(i); f.Verb {
		case Refuse:
			k.happened(i, 0)
			k.refuse(&codec.Refusal{Code: f.Code, Text: "refused by the lab", Retry: f.Retry, RetryAfter: f.RetryIn})
			return false
		case NoWelcome:
			k.happened(i, 0)
			_, _ = io.Copy(io.Discard, k.client)
			return false
		case SlowLogin:
			k.happened(i, 0)
			wait += f.For
		case Expire:
			k.expire = i
		default:
			if f.Verb.is(ofPublisher) {
				k.happenToPublisher(i, 0)
				continue
			}
			k.pending = append(k.pending, i)
		}
	}
	return k.sleep(wait)
}

// add adds k, which has dialled the publisher, to the links, and gives it the rules that wait for a connection. It returns false
// if the publisher has gone since it was dialled.
func (l *Lab) add(k *link) bool {
	l.mu.Lock()
	if l.down > 0 || k.isStale() {
		l.mu.Unlock()
		return false
	}
	l.links[k] = struct{}{}
	l.waiting = slices.DeleteFunc(l.waiting, func(i int) bool {
		if !l.rules.applies(i, k.name) {
			return false
		}
		k.pending = append(k.pending, i)
		return true
	})
	l.mu.Unlock()
	l.say(Event{What: "connected", Client: k.name, Connection: k.number, Login: k.login})
	return true
}

// remove removes k from the links, and keeps its pending rules for the next connection.
func (l *Lab) remove(k *link) {
	k.mu.Lock()
	k.over.Store(true)
	pending := k.pending
	k.mu.Unlock()
	l.mu.Lock()
	delete(l.links, k)
	for _, i := range pending { // the next connection meets those that happen once
		if r := l.rules.rule(i); r != nil && r.Trigger.When == AtTime {
			l.waiting = append(l.waiting, i)
		}
	}
	l.mu.Unlock()
	l.say(Event{What: "disconnected: " + k.why, Client: k.name, Connection: k.number, Login: k.login, Session: k.session, Seq: k.at})
}

// nextHello returns the rules triggered by hand that a hello of name meets.
func (l *Lab) nextHello(name string) (hits []int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, i := range slices.Sorted(maps.Keys(l.hellos)) {
		if !l.rules.applies(i, name) {
			continue
		}
		hits = append(hits, i)
		if l.hellos[i]--; l.hellos[i] == 0 {
			delete(l.hellos, i)
		}
	}
	return hits
}
