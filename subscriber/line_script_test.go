package subscriber

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"tickfeed/codec"
	"tickfeed/feed"
)

// A lineScript plays the publisher, the loop and the application for a line.
type lineScript struct {
	line  *line
	cfg   Config
	f     codec.Filter
	hello *codec.Hello
	now   time.Time
	out   []string
	broke error // what the last message was found to be
}

var scriptSessions = map[byte]feed.SessionID{'A': sessionA, 'B': sessionB, 'C': sessionC}

// lineageOf reads A, C or AB45.
func lineageOf(text string) feed.Lineage {
	l := feed.Lineage{{ID: scriptSessions[text[0]], First: 1}}
	if len(text) > 1 {
		first, err := strconv.ParseUint(text[2:], 10, 64)
		if err != nil {
			panic(err)
		}
		l = append(l, feed.Session{ID: scriptSessions[text[1]], First: first})
	}
	return l
}

func number(text string) uint64 {
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		panic(err)
	}
	return n
}

func (s *lineScript) do(words []string) string {
	s.out = nil
	s.now = s.now.Add(time.Millisecond)
	seed := codec.LineSeed(sessionA, s.f)
	if n := len(words); n > 2 && words[n-2] == "of" {
		seed = codec.LineSeed(scriptSessions[words[n-1][0]], s.f)
		words = words[:n-2]
	}
	l := s.line
	var err error
	switch words[0] {
	case "ask":
		switch words[1] {
		case "live":
			s.cfg.Start = codec.Start{Kind: codec.StartLive}
		case "beginning":
			s.cfg.Start = codec.Start{Kind: codec.StartBeginning}
		case "time":
			s.cfg.Start = codec.Start{Kind: codec.StartTime, Value: number(words[2])}
		default:
			s.cfg.Start = codec.Start{Kind: codec.StartSeq, Value: number(words[1])}
		}
	case "filter":
		s.f = codec.Filter(words[1:])
	case "connect":
		l.connect("pub:1")
		l.change(Change{State: Connecting})
		s.hello = s.cfg.hello(s.f, l.position, l.hasState(s.f))
		want := strings.Join(words, " ")
		got := "connect"
		if s.hello.Position.Next > 0 {
			got += fmt.Sprintf(" %d", s.hello.Position.Next)
		}
		if s.hello.HasState {
			got += " state"
		}
		if got != want {
			s.out = append(s.out, "the hello says: "+got)
		}
	case "lost":
		if s.broke == nil {
			s.broke = io.ErrUnexpectedEOF
		}
		l.lost(s.broke, s.now)
		s.broke = nil
	case "welcome":
		reason := map[string]codec.StartReason{"asked": 0, "resumed": 1, "rewound": 2, "snapshot": 3}[words[3]]
		w := &codec.Welcome{
			Version: 1, Lineage: lineageOf(words[4]), Start: number(words[1]), Head: number(words[2]), Tail: 1, Heartbeat: interval, Reason: reason,
		}
		if len(words) > 5 {
			w.Tail = number(strings.TrimPrefix(words[5], "tail:"))
		}
		owner, _, _ := w.Lineage.Owner(w.Start)
		w.Seed = codec.LineSeed(owner.ID, s.f)
		if err = l.welcome(s.hello, w, s.f, s.now); err == nil {
			l.settle(s.now)
		}
	case "packet":
		var entries []any
		next := number(words[1])
		for _, w := range words[2:] {
			word, n, _ := strings.Cut(w, ":")
			switch word {
			case "define":
				entries = append(entries, definition(0))
				next++
			case "undefined":
				entries = append(entries, quote(9, 1))
				next++
			case "skip":
				entries = append(entries, int(number(n)))
				next += number(n)
			case "withheld":
				entries = append(entries, -int(number(n)))
			case "gone":
				entries = append(entries, gone{number(n), codec.GoneExpired})
			case "denied":
				entries = append(entries, gone{number(n), codec.GoneDenied})
			case "damaged":
				entries = append(entries, gone{number(n), codec.GoneDamaged})
			default:
				for range number(word) {
					entries = append(entries, quote(0, int64(next)))
					next++
				}
			}
		}
		err = l.open(packet(seed, number(words[1]), entries...))
		for more := err == nil; more; {
			more, err = l.fill()
			s.flush()
		}
	case "session":
		lineage := lineageOf(words[2])
		err = s.control(&codec.SessionChange{Lineage: lineage, Next: number(words[1]), Seed: codec.LineSeed(lineage.Current().ID, s.f)})
	case "heartbeat":
		err = s.control(&codec.Heartbeat{Covered: number(words[1]), Head: number(words[2])})
	case "end":
		err = s.control(&codec.End{Final: number(words[1])})
	case "begin":
		err = s.control(&codec.SnapshotBegin{Seq: number(words[1])})
	case "snapshot":
		scope := map[string]codec.ScopeKind{"all": codec.ScopeAll, "definitions": codec.ScopeDefinitions}[words[2]]
		for raw := snapshot(seed, number(words[1]), scope); len(raw) > 0 && err == nil; {
			n, _ := codec.MessageSize(raw)
			_, err = l.control(codec.Type(raw[1]), raw[:n])
			raw = raw[n:]
		}
		if err == nil {
			l.settle(s.now)
		}
	default:
		panic(words[0])
	}
	s.flush()
	if err != nil {
		s.broke = err
		text := err.Error()
		if p := err.(*ProtocolError); !p.Missing.Empty() {
			text += fmt.Sprintf("; missing %v", p.Missing)
		}
		s.out = append(s.out, text)
	}
	return strings.Join(s.out, "; ")
}

func (s *lineScript) control(m codec.Message) error {
	_, err := s.line.control(m.Type(), message(m))
	if err == nil {
		s.line.settle(s.now)
	}
	return err
}

func (s *lineScript) flush() {
	l := s.line
	if l.out.n > 0 {
		s.out = append(s.out, fmt.Sprintf("ticks %d to %d", l.out.ticks[0].Seq, l.out.ticks[l.out.n-1].Seq))
	}
	if l.pending() {
		l.take()
		l.settle(s.now)
	}
	for _, c := range l.out.changes {
		s.out = append(s.out, changeText(&c))
	}
	l.out.changes = nil
}

func changeText(c *Change) string {
	if c.Snapshot != nil {
		return fmt.Sprintf("snapshot as of %d", c.Snapshot.Seq)
	}
	text := c.State.String()
	list := func(word string, numbers []Numbers) {
		for _, n := range numbers {
			text += fmt.Sprintf(", %s %v", word, n.Range)
		}
	}
	list("withheld", c.Withheld)
	list("lost", c.Lost)
	list("disowned", c.Disowned)
	if c.End {
		text += fmt.Sprintf(", end at %d", c.Final)
	}
	if r := c.Report; r != nil {
		text += fmt.Sprintf(", %s by %s", r.Cause, r.Resume)
		if r.Replayed > 0 {
			text += fmt.Sprintf(", %d replayed", r.Replayed)
		}
		if r.Duplicates > 0 {
			text += fmt.Sprintf(", %d repeated", r.Duplicates)
		}
		if r.Attempts > 1 {
			text += fmt.Sprintf(", %d attempts", r.Attempts)
		}
		list("lost", r.Lost)
		list("disowned", r.Disowned)
	}
	return text
}

func ledgerText(l *feed.Ledger) string {
	var parts []string
	for _, id := range l.Sessions() {
		a := l.Account(id)
		for name, known := range scriptSessions {
			if known == id {
				parts = append(parts, string(name)+":")
			}
		}
		if len(a.Filtered) > 0 {
			parts = append(parts, "filtered")
			for _, s := range a.Filtered {
				parts = append(parts, s.String())
			}
		}
		for _, class := range []struct {
			name string
			set  feed.RangeSet
		}{{"delivered", a.Delivered}, {"not asked", a.NotAsked}, {"withheld", a.Withheld}, {"lost", a.Lost}, {"expired", a.Expired}, {"disowned", a.Disowned}} {
			if !class.set.Empty() {
				parts = append(parts, class.name)
				for _, r := range class.set.Ranges() {
					parts = append(parts, r.String())
				}
			}
		}
	}
	return strings.Join(parts, " ")
}
