package compare

import "tickfeed/feed"

// event returns the entry of an event: of numbers that are lost or withheld.
func (s *printedStream) event(name string) (*Entry, error) {
	switch name {
	case "connected":
		return nil, s.connected()
	case "disconnected":
		if s.open {
			s.run().linked = false
		}
	case "snapshot":
		p, err := s.point("seq")
		if err == nil && s.open {
			s.run().snapshot(p)
		}
		return nil, err
	case "left":
		return nil, s.leave()
	case "lost", "withheld", "disowned":
		n, err := s.numbers()
		if err != nil {
			return nil, err
		}
		if err := s.begun(point{n.Session, n.Range.From}); err != nil {
			return nil, err
		}
		switch r := s.run(); name {
		case "disowned":
			r.disown(n.Range)
			s.facts.disown(n)
			return nil, nil
		case "lost":
			r.told.Lost += n.Range.Len()
			r.claim(n)
			s.entry = Entry{Numbers: n, Claim: Lost}
		case "withheld":
			r.told.Withheld += n.Range.Len()
			r.claim(n)
			s.entry = Entry{Numbers: n, Claim: Withheld}
		}
		s.meet(n.Session)
		return &s.entry, nil
	}
	return nil, nil
}

// meet notes that a line names session.
func (s *printedStream) meet(session feed.SessionID) {
	if !s.met[session] {
		s.met[session] = true
		s.facts.sessions = append(s.facts.sessions, session)
	}
}

// run returns the present run.
func (s *printedStream) run() *run { return &s.facts.runs[len(s.facts.runs)-1] }

// begin begins a run. A run without an end before it asked for what lies between the two.
func (s *printedStream) begin(r run) error {
	if s.open {
		last := s.run()
		last.ended, last.to, last.odd = true, last.at, true
		if r.from.session != last.at.session || r.from.seq > last.at.seq {
			last.to, last.most = r.from, max(last.most, r.from.seq)
		}
	}
	if len(s.facts.runs) == maxRuns {
		return s.bad("begins run %d of a subscriber, of at most %d: compare fewer at a time", maxRuns+1, maxRuns)
	}
	s.facts.runs, s.open = append(s.facts.runs, r), true
	clear(s.top) // each run is in an order of its own
	return nil
}

// begun begins a run that says nothing about its beginning, if none is open; first is the first number that it has.
func (s *printedStream) begun(first point) error {
	if s.open {
		return nil
	}
	return s.begin(run{at: first, high: first.seq, linked: true})
}

func (s *printedStream) connected() error {
	p, err := s.point("position")
	if err != nil {
		return err
	}
	if p.seq == 0 {
		return s.bad("has position 0: numbers begin at 1")
	}
	s.meet(p.session)
	reason := string(s.get("reason"))
	anew := reason != "resumed" && reason != "rewound" && reason != "snapshot"
	if s.open && !anew && !s.run().linked {
		s.run().connect(p, reason == "snapshot")
		return nil
	}
	return s.begin(run{from: p, at: p, high: p.seq, most: p.seq, anew: anew, linked: true})
}

func (s *printedStream) leave() error {
	t := feed.Totals{}
	for _, x := range []struct {
		name string
		n    *uint64
	}{{"delivered", &t.Delivered}, {"not_asked", &t.NotAsked}, {"withheld", &t.Withheld}, {"lost", &t.Lost}, {"disowned", &t.Disowned}} {
		n, err := s.number(x.name)
		if err != nil {
			return err
		}
		*x.n = n
	}
	at := point{}
	if s.has("session") || s.has("next") {
		var err error
		if at, err = s.point("next"); err != nil {
			return err
		}
		s.meet(at.session)
		if err := s.begun(at); err != nil {
			return err
		}
	}
	if s.open {
		s.run().end(at, t)
		s.open = false
	}
	return nil
}

// point returns the session and the number of an event.
func (s *printedStream) point(name string) (p point, err error) {
	if p.session, err = s.session(); err != nil {
		return p, err
	}
	p.seq, err = s.number(name)
	return p, err
}
