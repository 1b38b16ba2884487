package exam

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"time"

	"tickfeed/codec"
	"tickfeed/feed"
)

func fromSeq(seq uint64) codec.Hello {
	return codec.Hello{Start: codec.Start{Kind: codec.StartSeq, Value: seq}}
}

func fromTime(ns int64) codec.Hello {
	return codec.Hello{Start: codec.Start{Kind: codec.StartTime, Value: uint64(ns)}}
}

// anywhere returns a hello that also a publisher without snapshots or history can answer.
func (p *probe) anywhere() codec.Hello {
	if p.lacks(Snapshots) {
		return fromBeginning
	}
	return fromSnapshot
}

var welcomeCases = []Case{
	{
		ID: "welcome-fields", Rule: "the welcome names the version, the session with its lineage, head, tail and the clock", Section: inWelcome,
		Does: "It connects before there are ticks, and again after 50.",
		probe: func(p *probe) {
			p.begin(50)
			l := p.join(p.anywhere())
			w := l.welcome
			if now := time.Now().UnixNano(); w.Now < now-int64(time.Minute) || w.Now > now+int64(time.Minute) {
				p.throwf("the welcome says that it is %v, and it is %v", time.Unix(0, w.Now).UTC(), time.Unix(0, now).UTC())
			}
			at, _ := p.witness.now()
			if w.Head > at && !p.lacks(Input) {
				p.throwf("the welcome has head %d, and the session has the numbers below %d", w.Head, at)
			}
			if w.Lineage.Current().ID != p.witness.welcome.Lineage.Current().ID {
				p.throwf("one connection is welcomed in session %v, another in %v", p.witness.welcome.Lineage.Current().ID, w.Lineage.Current().ID)
			}
			if w.Lineage[0].First != 1 {
				p.throwf("the lineage begins at %d: the first number of a root is 1", w.Lineage[0].First)
			}
		},
	},
	{
		ID: "welcome-features", Rule: "the welcome grants features of the hello only, and the publisher passes over those that it does not know", Section: inFeatures,
		Does: "The hello names ack and a feature of the future.",
		probe: func(p *probe) {
			p.begin(10)
			h := p.anywhere()
			h.Features = []string{"ack", "x-of-the-future"}
			l := p.join(h)
			if slices.Contains(l.welcome.Features, "x-of-the-future") {
				p.throwf("the welcome grants %q", l.welcome.Features)
			}
		},
	},
	{
		ID: "welcome-versions", Rule: "of the versions that the hello speaks, the publisher uses one that it speaks too", Section: inVersions,
		Does: "The hello speaks versions 1 to 9.",
		probe: func(p *probe) {
			p.begin(10)
			h := p.anywhere()
			h.MinVersion, h.MaxVersion = 1, 9
			p.join(h)
		},
	},
	{
		ID: "welcome-grown-hello", Rule: "the publisher ignores elements of a hello beyond those it knows", Section: inVersions,
		Does: "The hello has two more elements, a float and a map in one of them.",
		probe: func(p *probe) {
			p.begin(10)
			h := p.complete(p.anywhere())
			h.Until, h.Features = 0, []string{"ack"}
			b := encoded(&h)
			b = append([]byte{0xdc, 0, 18}, b[3:]...) // 16 elements, then two
			b = append(b, 0xa1, 'f', 0x82, 0xa1, 'k', 0xca, 0, 0, 0, 0, 0xa1, 'l', 0xc0)
			l := p.dialBytes(h, b)
			l.wait("its welcome", func() bool { return l.welcome != nil })
		},
	},
	{
		ID: "welcome-wide-hello", Rule: "the publisher accepts every width of an integer, and a hello in pieces", Section: "Conventions",
		Does: "The integers of the hello have nine bytes, and its bytes come one by one.",
		probe: func(p *probe) {
			p.begin(10)
			h := p.complete(p.anywhere())
			b := []byte{0x9e}
			wide := func(v uint64) {
				b = append(b, 0xcf)
				for shift := 56; shift >= 0; shift -= 8 {
					b = append(b, byte(v>>shift))
				}
			}
			text := func(s string) { b = append(append(b, 0xd9, byte(len(s))), s...) }
			b = append(b, 1) // the type is always a fixint
			wide(1)
			wide(1)
			text(h.Client)
			text(string(h.Token))
			b = append(b, 0xdc, 0, 0)
			wide(uint64(h.Start.Kind))
			wide(0)
			wide(0)
			wide(0)
			wide(uint64(h.Heartbeat))
			b = append(b, 0xc2, 0xdc, 0, 0)
			wide(0)
			l := p.dialBytes(h, nil)
			for i := range b {
				l.write(b[i : i+1])
			}
			l.wait("its welcome", func() bool { return l.welcome != nil })
		},
	},
	{
		ID: "welcome-early-messages", Rule: "messages of types 64 to 127 before the hello are passed over", Section: inConnection,
		Does: "Ten such messages come before the hello.",
		probe: func(p *probe) {
			p.begin(10)
			h := p.complete(p.anywhere())
			b := bytes.Repeat([]byte{0x92, 100, 0xa3, 'n', 'e', 'w'}, 10)
			l := p.dialBytes(h, append(b, encoded(&h)...))
			l.wait("its welcome", func() bool { return l.welcome != nil })
		},
	},
	{
		ID: "welcome-many", Rule: "connections do not disturb each other", Section: inConnection,
		Does: "Twenty subscribers connect at the same time, while ticks are published.",
		probe: func(p *probe) {
			p.begin(10)
			var lines []*line
			for range 20 {
				lines = append(lines, p.dial(p.anywhere()))
				p.feed(5)
			}
			p.feed(20)
			next := p.all()
			for _, l := range lines {
				l.reach(next)
			}
		},
	},
}

// sharedTime is how long a publisher may give one snapshot to all who ask.
const sharedTime = 300 * time.Millisecond

// complete fills in what each hello has.
func (p *probe) complete(h codec.Hello) codec.Hello {
	h.MinVersion, h.MaxVersion, h.Client, h.Heartbeat, h.Token = codec.Version, codec.Version, "tickfeed exam "+p.c.ID, p.beat, p.token
	return h
}

var startCases = []Case{
	{
		ID: "start-snapshot", Rule: "start 0 gives a snapshot as of now, then what follows", Section: inStarts, Needs: []Ability{Input, Snapshots},
		Does: "It asks for start 0 after 100 ticks, when nothing is published; 50 more follow.",
		probe: func(p *probe) {
			p.begin(100)
			if p.lacks(History) { // the witness was given a snapshot
				p.pause(sharedTime)
			}
			next := p.all()
			l := p.join(fromSnapshot)
			p.position(l, next, next)
			l.reach(next)
			p.feed(50)
			p.has(l)
		},
	},
	{
		ID: "start-live", Rule: "start 1 gives the definitions, and what is published from now on", Section: inStarts, Needs: []Ability{Input, Snapshots},
		Does: "It asks for start 1 after 100 ticks, when nothing is published; 50 more follow.",
		probe: func(p *probe) {
			p.begin(100)
			next := p.all()
			l := p.join(fromLive)
			p.position(l, next, next)
			l.reach(next)
			p.feed(50)
			p.has(l)
		},
	},
	{
		ID: "start-first", Rule: "position 1 needs no snapshot: the state is empty", Section: inStarts, Needs: []Ability{Input},
		Does: "It asks for starts 0, 1 and 2 before there are ticks.",
		probe: func(p *probe) {
			p.start()
			var lines []*line
			for _, h := range []codec.Hello{fromSnapshot, fromLive, fromBeginning} {
				l := p.join(h)
				p.position(l, 1, 1)
				lines = append(lines, l)
			}
			p.witness = lines[0]
			p.define()
			p.feed(30)
			for _, l := range lines {
				p.has(l)
				if events := l.seen(); slices.ContainsFunc(events, func(e string) bool { return strings.HasPrefix(e, "snapshot") }) {
					p.throwf("%s began at 1 and was given a snapshot: %q", l.name, events)
				}
			}
		},
	},
	{
		ID: "start-beginning", Rule: "start 2 gives everything from the oldest number on", Section: inStarts, Needs: []Ability{History},
		Does: "It asks for start 2 after 300 ticks.",
		probe: func(p *probe) {
			p.begin(300)
			l := p.join(fromBeginning)
			p.position(l, 1, 1)
			p.has(l)
		},
	},
	{
		ID: "start-seq", Rule: "start 3 gives everything from that number on, in a line that begins at the packet that holds it", Section: inStarts, Needs: []Ability{History, Snapshots},
		Does: "After 200 ticks it asks for every seventh number, and for the next one that will be given.",
		probe: func(p *probe) {
			p.begin(200)
			next := p.all()
			var lines []*line
			for seq := uint64(1); seq < next; seq += 7 {
				l := p.join(fromSeq(seq))
				p.position(l, seq, seq)
				lines = append(lines, l)
			}
			lines = append(lines, p.join(fromSeq(next)))
			p.feed(10)
			for _, l := range lines {
				p.has(l)
			}
		},
	},
	{
		ID: "start-seq-beyond", Rule: "start 3 beyond the head is refused as a bad request, for good", Section: inStarts,
		Does: "It asks for number 1,000,000,000 after 10 ticks.",
		probe: func(p *probe) {
			p.begin(10)
			p.refused(closeWithin, p.helloOf(func(h *codec.Hello) { h.Start = fromSeq(1e9).Start }), codec.CodeBadRequest)
		},
	},
	{
		ID: "start-time", Rule: "start 4 gives everything from the first packet with that publish time or a later one", Section: inStarts, Needs: []Ability{Input, History, Snapshots},
		Does: "It publishes 100 ticks in ten parts, and asks for the publish time of each part, and for the nanosecond after it.",
		probe: func(p *probe) {
			p.open()
			for range 10 {
				p.feed(10)
				p.all()
				p.pause(2 * time.Millisecond)
			}
			next := p.all()
			session := p.witness.welcome.Lineage.Current().ID
			first := func(t int64) uint64 {
				for seq := uint64(1); seq < next; seq++ {
					if p.book.publishTime(session, seq) >= t {
						return seq
					}
				}
				return next
			}
			var lines []*line
			for seq := uint64(1); seq < next; seq += 10 {
				for _, t := range []int64{p.book.publishTime(session, seq), p.book.publishTime(session, seq) + 1} {
					l := p.join(fromTime(t))
					if got, want := l.placed.Position, first(t); got != want {
						p.throwf("%s asked for publish time %d and starts at %d; the first packet with that time or a later one begins at %d", l.name, t, got, want)
					}
					lines = append(lines, l)
				}
			}
			p.feed(10)
			for _, l := range lines {
				p.has(l)
			}
		},
	},
	{
		ID: "start-time-early", Rule: "a time before everything is as start 2", Section: inStarts, Needs: []Ability{History},
		Does: "It asks for the first nanosecond of 1970.",
		probe: func(p *probe) {
			p.begin(100)
			l := p.join(fromTime(1))
			p.position(l, 1, 1)
			p.has(l)
		},
	},
	{
		ID: "start-time-future", Rule: "a time later than the publisher's clock is refused as a bad request, for good", Section: inStarts,
		Does: "It asks for tomorrow.",
		probe: func(p *probe) {
			p.begin(10)
			tomorrow := fromTime(time.Now().Add(24 * time.Hour).UnixNano()).Start
			p.refused(closeWithin, p.helloOf(func(h *codec.Hello) { h.Start = tomorrow }), codec.CodeBadRequest)
		},
	},
	{
		ID: "resume-with-state", Rule: "a client with the state resumes with the next number, and without a snapshot", Section: inStarts, Needs: []Ability{History},
		Does: "A subscriber is cut five times while ticks are published, and comes back each time.",
		probe: func(p *probe) {
			p.open()
			l := p.join(fromBeginning)
			for range 5 {
				p.feed(40)
				p.has(l)
				l.cut()
				p.feed(20)
				p.all()
				h := codec.Hello{Position: l.position(), HasState: true}
				l = p.join(h, from(l))
				if l.welcome.Reason != codec.StartedResumed {
					p.throwf("%s resumes at %d, and is welcomed with reason %v", l.name, h.Position.Next, l.welcome.Reason)
				}
			}
			p.feed(10)
			p.has(l)
			if events := l.seen(); slices.ContainsFunc(events, func(e string) bool { return strings.HasPrefix(e, "snapshot") }) {
				p.throwf("%s has the state, and was given a snapshot: %q", l.name, events)
			}
		},
	},
	{
		ID: "resume-without-state", Rule: "a client without the state resumes with a snapshot as of its position, also in the middle of a packet", Section: inStarts, Needs: []Ability{History, Snapshots},
		Does: "After 200 ticks it resumes at every fifth number.",
		probe: func(p *probe) {
			p.begin(200)
			next := p.all()
			held := p.witness.position()
			var lines []*line
			for seq := uint64(1); seq <= next; seq += 5 {
				held.Next = seq
				l := p.join(codec.Hello{Position: held})
				p.position(l, seq, seq)
				lines = append(lines, l)
			}
			for _, l := range lines {
				l.reach(next)
			}
		},
	},
	{
		ID: "resume-foreign", Rule: "a position of sessions that the publisher does not know gets a snapshot, reason 3", Section: inStarts, Needs: []Ability{Snapshots},
		Does: "The hello has number 7 of a session that never was.",
		probe: func(p *probe) {
			p.begin(100)
			l := p.join(codec.Hello{Position: codec.Position{Lineage: feed.Lineage{{ID: 0xdead, First: 1}}, Next: 7}, HasState: true})
			p.feed(10)
			p.has(l)
		},
	},
	{
		ID: "resume-beyond", Rule: "a position whose fork is beyond the head is refused as a bad request, for good", Section: inStarts,
		Does: "The hello has a position a billion numbers ahead.",
		probe: func(p *probe) {
			p.begin(10)
			held := p.witness.position()
			held.Next += 1e9
			p.refused(closeWithin, p.helloOf(func(h *codec.Hello) { h.Position = held }), codec.CodeBadRequest)
		},
	},
	{
		ID: "start-until", Rule: "a line ends with goodbye, code done, soon after it has covered the numbers below until", Section: inHello, Needs: []Ability{History, Snapshots},
		Does: "A second connection fetches numbers 20 to 59.",
		probe: func(p *probe) {
			p.begin(200)
			h := fromSeq(20)
			h.Until = 60
			l := p.join(h)
			bye := l.ends()
			switch at, _ := l.now(); {
			case bye == nil:
				p.throwf("the line has ended without a goodbye")
			case bye.Code != codec.CodeDone:
				p.throwf("the goodbye has code %v, want done", bye.Code)
			case at < 60:
				p.throwf("the line has ended at %d, and the hello asked for the numbers below 60", at)
			}
		},
	},
}

// position compares the position of a line at its welcome, which must be from, or up to to.
func (p *probe) position(l *line, from, to uint64) {
	if got := l.placed.Position; got < from || got > to {
		want := fmt.Sprint(from)
		if from < to {
			want += " or later"
		}
		p.throwf("%s asked for start %v %d and position %d; its position is %d, want %s", l.name, l.hello.Start.Kind, l.hello.Start.Value, l.hello.Position.Next, got, want)
	}
}
