package lab

import (
	"slices"
	"sync"

	"tickfeed/codec"
	"tickfeed/feed"
)

// A history is the sessions that rules have made up, for a publisher that need not know of them: its clients see them in
// its lineage. Numbers and ticks stay those of the publisher; only the session that owns a number is another.
type history struct {
	mu   sync.Mutex
	up   feed.Lineage // newest lineage that the publisher has named
	made []madeUp     // oldest first
}

// A madeUp is a session that a rule has made up.
type madeUp struct {
	session feed.Session
	in      feed.SessionID // session of the publisher that it follows
	root    bool           // it has nothing in common with what came before
}

// present returns what clients see as the lineage up of the publisher, and how many sessions were made up so far.
func (h *history) present(up feed.Lineage) (feed.Lineage, int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return presented(up, h.made), len(h.made)
}

// presented returns up with the sessions made, each after the session that it follows. A session takes the place of those that
// begin at a higher number.
func presented(up feed.Lineage, made []madeUp) (p feed.Lineage) {
	grow := func(s feed.Session) {
		for len(p) > 0 && p.Current().First > s.First {
			p = p[:len(p)-1]
		}
		p = append(p, s)
	}
	for _, s := range up {
		grow(s)
		for _, m := range made {
			if m.in != s.ID {
				continue
			}
			if m.root {
				p = nil
			}
			grow(m.session)
		}
	}
	return p
}

// note notes a lineage of the publisher.
func (h *history) note(up feed.Lineage) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.up = up
}

// begin begins session id at number first, after session in of the publisher.
func (h *history) begin(id, in feed.SessionID, first uint64, root bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.made = append(h.made, madeUp{feed.Session{ID: id, First: first}, in, root})
}

// A turn is how a hello was changed for the publisher.
type turn uint8

const (
	asIs      turn = iota
	rewound        // to the fork of the client's lineage and the one that is presented
	unrelated      // to none: the client's position is of no session that is presented
)

// upward returns the hello that the publisher is sent instead of m, in its own sessions, and how many sessions were made up
// by then.
func (h *history) upward(m codec.Hello) (codec.Hello, turn, int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.made) == 0 || len(m.Position.Lineage) == 0 {
		return m, asIs, len(h.made)
	}
	p := presented(h.up, h.made)
	fork, ok := p.Fork(m.Position.Lineage, m.Position.Next)
	if ok {
		_, _, ok = p.Owner(fork)
	}
	if !ok {
		if m.Position, m.HasState = (codec.Position{}), false; m.Start.Kind != codec.StartBeginning {
			m.Start = codec.Start{Kind: codec.StartSnapshot}
		}
		return m, unrelated, len(h.made)
	}
	how := asIs
	if fork < m.Position.Next {
		how, m.HasState = rewound, false
	}
	m.Position = codec.Position{Lineage: h.up.Newest(), Next: fork}
	return m, how, len(h.made)
}

// A role is what a link presents to its client as the sessions of the publisher. The goroutine that passes messages down owns it.
type role struct {
	turn    turn
	made    int          // sessions that were made up when the hello was changed
	lineage feed.Lineage // nil if it is that of the publisher
	session feed.SessionID
	mode    codec.Mode
	origin  feed.SessionID
	full    bool   // the line is not filtered: its seed follows from the session
	seed    uint32 // of the publisher; the link's is the one presented
}

// translate returns the hello that is sent to the publisher instead of hello.
func (k *link) translate(hello []byte) ([]byte, error) {
	k.hello, k.role.turn, k.role.made = k.lab.history.upward(k.hello)
	if k.role.made == 0 {
		return hello, nil
	}
	return encode(nil, &k.hello)
}

// isStale reports whether a session was made up since the hello was translated.
func (k *link) isStale() bool {
	_, made := k.lab.history.present(nil)
	return made != k.role.made
}

// welcomed changes the welcome of the publisher into the one that the client is sent. It returns true if it has.
func (k *link) welcomed(m *codec.Welcome) (changed bool) {
	r := &k.role
	owner, _, _ := m.Lineage.Owner(m.Start)
	r.full, r.seed, r.mode, r.origin = m.Seed == codec.LineSeed(owner.ID, nil), m.Seed, m.Mode, m.Origin
	k.lab.history.note(m.Lineage)
	k.lineage = m.Lineage
	k.lab.rules.begins(k.name, m.Start)
	if r.made == 0 {
		k.enter(owner.ID, m.Start, m.Seed)
		return false
	}
	r.lineage, _ = k.lab.history.present(m.Lineage)
	owner, _, _ = r.lineage.Owner(m.Start)
	m.Lineage, m.Seed = r.lineage.Newest(), k.seedOf(owner.ID, m.Seed)
	switch {
	case r.turn == rewound && m.Reason == codec.StartedResumed:
		m.Reason = codec.StartedRewound
	case r.turn == unrelated && m.Reason == codec.StartedAsAsked:
		m.Reason = codec.StartedBySnapshot
	}
	k.enter(owner.ID, m.Start, m.Seed)
	return true
}

// enter notes that the line is at number at of a session.
func (k *link) enter(session feed.SessionID, at uint64, seed uint32) {
	k.mu.Lock()
	k.session, k.at = session, at
	k.mu.Unlock()
	if k.decided == 0 || at < k.decided {
		k.decided = at
	}
	k.role.session, k.seed = session, seed
}

// seedOf returns the seed of the line in a session that is presented; otherwise is that of a filtered line.
func (k *link) seedOf(session feed.SessionID, otherwise uint32) uint32 {
	if k.role.full {
		return codec.LineSeed(session, nil)
	}
	return otherwise
}

// changed changes a session message of the publisher into what the client is sent; nil for nothing.
func (k *link) changed(m *codec.SessionChange, raw []byte) ([]byte, error) {
	r := &k.role
	r.full, r.seed, r.mode, r.origin = m.Seed == codec.LineSeed(m.Lineage.Current().ID, nil), m.Seed, m.Mode, m.Origin
	if r.lineage == nil {
		k.lineage = m.Lineage
		k.enter(m.Lineage.Current().ID, m.Next, m.Seed)
		return raw, nil
	}
	if known, ok := k.lineage.Until(m.Lineage.Current().ID); !ok || !slices.Equal(known, m.Lineage) { // not one that the line only comes to
		k.lineage = m.Lineage
		k.lab.history.note(m.Lineage)
		r.lineage, _ = k.lab.history.present(m.Lineage)
	}
	k.moved(m.Next)
	return k.cross(m.Next)
}

// subscribed changes the answer to a subscribe into the one that the client is sent.
func (k *link) subscribed(m *codec.Subscribed, raw []byte) ([]byte, error) {
	r := &k.role
	owner, _, _ := k.lineage.Owner(m.From)
	r.full, r.seed = m.Seed == codec.LineSeed(owner.ID, nil), m.Seed
	k.seed = k.seedOf(r.session, m.Seed)
	if k.seed == m.Seed {
		return raw, nil
	}
	m.Seed = k.seed
	return encode(nil, m)
}

// cross returns the session message that is due at number at, where another session that is presented owns it; nil for none.
func (k *link) cross(at uint64) ([]byte, error) {
	r := &k.role
	owner, _, ok := r.lineage.Owner(at)
	if r.lineage == nil || !ok || owner.ID == r.session {
		return nil, nil
	}
	until, _ := r.lineage.Until(owner.ID)
	m := codec.SessionChange{Mode: r.mode, Lineage: until.Newest(), Origin: r.origin, Seed: k.seedOf(owner.ID, r.seed), Next: at}
	k.enter(owner.ID, at, m.Seed)
	return encode(nil, &m)
}

// across passes a packet of the publisher in the sessions that are presented: sealed with their seed, and split where one begins.
func (k *link) across(raw []byte, hits []int) error {
	r := &k.role
	if r.lineage == nil || !codec.VerifyPacket(raw, r.seed) {
		return k.packet(raw, hits)
	}
	for raw != nil {
		h, body, err := codec.ParsePacket(raw)
		if err != nil {
			return k.packet(raw, hits)
		}
		part, rest, end := raw, []byte(nil), h.First+h.Count
		if _, owned, _ := r.lineage.Owner(h.First); owned.To < end {
			if left, right, ok := cleave(raw, owned.To, k.seed); ok && left != nil {
				part, rest, end = left, right, owned.To
			}
		}
		if rest == nil && k.seed != r.seed {
			part = seal(&h, h.First, end, append([]byte(nil), body...), k.seed)
		}
		if err := k.packet(part, hits); err != nil || k.ended {
			return err
		}
		hits = nil
		m, err := k.cross(end)
		if err == nil && m != nil {
			err = k.pass(m)
		}
		if err != nil {
			return err
		}
		raw = rest
	}
	return nil
}

// resealed returns a snapshot part that the publisher has sealed with from, sealed as the client expects it.
func (k *link) resealed(raw []byte, from uint32) []byte {
	if from == k.seed {
		return raw
	}
	s, err := codec.ParsePart(raw, from)
	if err != nil {
		return raw
	}
	b := append([]byte(nil), raw...)
	codec.SealPart(b, &s, k.seed)
	return b
}

// makeUp makes up the session of rule i, before number seq, and ends every connection, as a publisher does that starts again.
func (k *link) makeUp(i int, seq uint64) error {
	f := k.lab.rules.faultOf(i)
	first := uint64(1)
	if f.Verb != ReplaceSession {
		first = max(seq, f.N+1) - f.N
	}
	in := k.lineage.Current().ID
	k.lab.history.begin(k.lab.rules.sessionID(i, uint64(in), seq), in, first, f.Verb == ReplaceSession)
	k.lab.mu.Lock()
	var others []*link
	for other := range k.lab.links {
		if other != k {
			others = append(others, other)
		}
	}
	k.lab.mu.Unlock()
	for _, other := range others {
		other.over.Store(true)
		other.client.Close()
	}
	b, err := encode(nil, &codec.Goodbye{Code: codec.CodeShutdown, Text: "another session begins", Retry: true})
	if err == nil {
		err = k.write(b)
	}
	if err != nil {
		return err
	}
	return errEnded
}
