package lab

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"tickfeed/codec"
)

// maxOld bounds the snapshot that a stale snapshot sends.
const maxOld = 64 << 20

// another opens a further connection to the publisher, as the client of k with position next, without its state. It returns
// the publisher's welcome. The caller must close the connection, whose reads and writes end after dialTime.
func (k *link) another(p codec.Position) (net.Conn, *codec.Reader, *codec.Welcome, error) {
	h := k.hello
	h.Position, h.HasState = p, false
	b, err := encode(nil, &h)
	if err != nil {
		return nil, nil, nil, err
	}
	ctx, cancel := context.WithTimeout(k.ctx, dialTime)
	defer cancel()
	nc, err := k.lab.Dial(ctx)
	if err != nil {
		return nil, nil, nil, err
	}
	_ = nc.SetDeadline(time.Now().Add(dialTime))
	if _, err := nc.Write(b); err != nil {
		nc.Close()
		return nil, nil, nil, err
	}
	r := codec.NewReader(nc, codec.MaxMessage)
	w, err := welcomeOf(r)
	if err != nil {
		nc.Close()
		return nil, nil, nil, err
	}
	return nc, r, w, nil
}

// welcomeOf reads the answer to a hello.
func welcomeOf(r *codec.Reader) (*codec.Welcome, error) {
	for {
		t, raw, err := r.Next()
		switch {
		case err != nil:
			return nil, err
		case t != codec.TypeWelcome && t != codec.TypeRefusal && t != codec.TypeGoodbye:
			continue // of a type that may come before it; the deadline bounds the wait
		}
		m, err := codec.Decode(raw)
		if err != nil {
			return nil, err
		}
		w, ok := m.(*codec.Welcome)
		if !ok {
			return nil, fmt.Errorf("the publisher answers %v", m)
		}
		return w, nil
	}
}

// oldSnapshot returns the messages of the snapshot as of back numbers before seq.
func (k *link) oldSnapshot(seq, back uint64) (b []byte, err error) {
	if seq < back+2 {
		return nil, fmt.Errorf("the state is empty %d numbers before %d", back, seq)
	}
	nc, r, w, err := k.another(codec.Position{Lineage: k.lineage, Next: seq - back})
	if err != nil {
		return nil, err
	}
	defer nc.Close()
	for len(b) < maxOld {
		t, raw, err := r.Next()
		switch {
		case err != nil:
			return nil, err
		case t == codec.TypeSnapshotBegin:
			b = append(b, raw...)
		case t == codec.TypeSnapshotPart:
			b = append(b, k.resealed(raw, w.Seed)...)
		case t == codec.TypeSnapshotEnd:
			return append(b, raw...), nil
		case t == codec.TypePacket:
			return nil, errors.New("the publisher sends none")
		}
	}
	return nil, fmt.Errorf("it has more than %d MiB", maxOld>>20)
}

// overtake returns the hello that is sent to the publisher instead of hello: if numbers are to be gone, the client's position
// is moved beyond them, once the publisher has them.
func (k *link) overtake(hello []byte) ([]byte, error) {
	if k.expire < 0 {
		return hello, nil
	}
	rule, p := k.expire, k.hello.Position
	k.expire = -1
	n := k.lab.rules.faultOf(rule).N
	switch {
	case len(p.Lineage) == 0:
		k.cannot(rule, "the client has no position, so that retention cannot overtake it")
		return hello, nil
	case p.Next > codec.MaxSeq-n:
		k.cannot(rule, fmt.Sprintf("no sequence number is %d beyond %d", n, p.Next))
		return hello, nil
	}
	nc, r, w, err := k.another(p)
	if err != nil {
		return hello, nil // the publisher gives the reason
	}
	defer nc.Close()
	owner, owned, ok := w.Lineage.Owner(p.Next)
	if w.Reason != codec.StartedResumed || !ok || owner.ID != p.Lineage.Current().ID || !owned.Contains(p.Next+n) {
		k.cannot(rule, fmt.Sprintf("the client's session has no %d numbers from %d on", n, p.Next))
		return hello, nil
	}
	for head := w.Head; head < p.Next+n; {
		t, raw, err := r.Next()
		if err != nil {
			k.cannot(rule, fmt.Sprintf("the publisher is at %d, and had no %d numbers from %d on within %v", head, n, p.Next, dialTime))
			return hello, nil
		}
		switch t {
		case codec.TypePacket:
			if h, _, err := codec.ParsePacket(raw); err == nil {
				head = max(head, h.First+h.Count)
			}
		case codec.TypeHeartbeat:
			if m, err := codec.Decode(raw); err == nil {
				head = max(head, m.(*codec.Heartbeat).Head)
			}
		}
	}
	k.expire, k.from, k.skip = rule, p.Next, p.Next+n
	h := k.hello
	h.HasState, h.Position.Next = false, k.skip
	return encode(nil, &h)
}

// expired returns the welcome of a line after whose position numbers are gone, and the packet that says so.
func (k *link) expired(m *codec.Welcome, raw []byte) ([]byte, error) {
	if k.expire < 0 {
		return raw, nil
	}
	k.happened(k.expire, k.from)
	k.expire = -1
	m.Start = k.from
	b, err := encode(nil, m)
	if err != nil {
		return nil, err
	}
	k.moved(k.skip)
	n := k.skip - k.from
	return codec.AppendPacket(b, &codec.Packet{First: k.from, Count: n, PublishTime: m.Now}, codec.AppendGone(nil, n, codec.GoneExpired), m.Seed), nil
}
