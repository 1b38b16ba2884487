package exam

import (
	"os"
	"slices"
	"strings"
	"time"

	"tickfeed/codec"
)

var restartCases = []Case{
	{
		ID: "restart-orderly", Rule: "after an orderly stop the child begins at the head, and subscribers go on with the next number", Section: inChanges, Needs: []Ability{Journal, History},
		Does: "The publisher is stopped and started again twice.",
		probe: func(p *probe) {
			p.begin(100)
			for range 2 {
				next := p.all()
				p.stop()
				p.reopen()
				if first := p.witness.welcome.Lineage.Current().First; first < next || first > next && !p.lacks(Input) {
					p.throwf("the session after an orderly stop begins at %d; the next number was %d", first, next)
				}
				p.resumed()
				p.feed(50)
			}
			p.all()
		},
	},
	{
		ID: "restart-killed", Rule: "a kill loses nothing that a subscriber has seen, and no number is ever given twice", Section: inChanges, Needs: []Ability{Journal, History},
		Does: "The publisher is killed three times while ticks are published.",
		probe: func(p *probe) {
			p.begin(100)
			for range 3 {
				p.feed(1000)
				p.pause(time.Millisecond)
				p.kill()
				p.reopen()
				p.resumed()
				p.feed(50)
				p.all()
			}
		},
	},
	{
		ID: "restart-history", Rule: "a line through history says where the next session of the lineage begins", Section: inChanges, Needs: []Ability{Journal, History},
		Does: "After two restarts a subscriber reads from the beginning, and one from a number of the first session.",
		probe: func(p *probe) {
			p.begin(100)
			p.stop()
			p.reopen()
			p.feed(100)
			p.all()
			p.kill()
			p.reopen()
			p.feed(100)
			next := p.all()
			all := p.join(fromBeginning)
			all.reach(next)
			p.sessions(all, 2)
			if !p.lacks(Snapshots) {
				middle := p.join(fromSeq(40))
				middle.reach(next)
				p.sessions(middle, 2)
			}
		},
	},
	{
		ID: "restart-filtered", Rule: "a filtered line through history says so too", Section: inChanges, Needs: []Ability{Journal, History, Filters},
		Does: "After a restart a subscriber of one instrument reads from the beginning.",
		probe: func(p *probe) {
			p.begin(100)
			p.stop()
			p.reopen()
			p.feed(100)
			next := p.all()
			h := fromBeginning
			h.Filter = codec.Filter{exact(p.book.names()[0])}
			l := p.join(h)
			l.reach(next)
			p.sessions(l, 1)
		},
	},
	{
		ID: "restart-state", Rule: "the state survives a restart", Section: inState, Needs: []Ability{Journal, History, Snapshots},
		Does: "After a kill, subscribers ask for a snapshot before and after new ticks.",
		probe: func(p *probe) {
			p.begin(300)
			p.kill()
			p.reopen()
			p.join(fromSnapshot).reach(p.all())
			p.feed(50)
			p.join(fromSnapshot).reach(p.all())
		},
	},
	{
		ID: "restart-old-position", Rule: "a position in an earlier session of the lineage resumes", Section: inStarts, Needs: []Ability{Journal, History},
		Does: "A subscriber leaves, the publisher is restarted twice, and the subscriber comes back with its lineage of then.",
		probe: func(p *probe) {
			p.begin(100)
			l := p.join(fromBeginning)
			l.reach(p.all())
			l.leave()
			p.feed(50)
			p.all()
			p.stop()
			p.reopen()
			p.feed(50)
			p.all()
			p.kill()
			p.reopen()
			p.feed(50)
			l = p.join(codec.Hello{Position: l.position(), HasState: true}, from(l))
			if l.welcome.Reason != codec.StartedResumed {
				p.throwf("%s is welcomed with reason %v, want resumed", l.name, l.welcome.Reason)
			}
			l.reach(p.all())
		},
	},
	{
		ID: "restart-rewound", Rule: "after an old journal was restored, a client that is ahead is rewound to the fork, and given a snapshot there", Section: inStarts, Needs: []Ability{Journal, History, Snapshots},
		Does: "The journal is copied after 100 ticks and put back after 200. Subscribers come back at the fork, after it and before it.",
		probe: func(p *probe) {
			p.begin(100)
			early := p.witness.position()
			early.Next -= 10
			fork := p.all()
			p.stop()
			p.copyJournal(false)
			p.reopen()
			p.feed(100)
			p.all()
			p.stop()
			p.copyJournal(true)
			p.reopen()
			w := p.witness.welcome
			if p.lacks(Input) { // it went on after fork was read
				fork = w.Lineage.Current().First
			}
			if w.Reason != codec.StartedRewound || p.witness.placed.Position != fork {
				p.throwf("the journal was put back to number %d; the client is welcomed with reason %v and position %d", fork, w.Reason, p.witness.placed.Position)
			}
			p.feed(50)
			next := p.all()
			l := p.join(codec.Hello{Position: early})
			if l.welcome.Reason != codec.StartedResumed {
				p.throwf("%s holds nothing beyond the fork, and is welcomed with reason %v", l.name, l.welcome.Reason)
			}
			l.reach(next)
			p.join(fromBeginning).reach(next)
		},
	},
	{
		ID: "restart-replaced", Rule: "after the journal was lost, a client is given a snapshot of the new root, reason 3", Section: inStarts, Needs: []Ability{Journal, History, Snapshots},
		Does: "The journal is removed between two starts.",
		probe: func(p *probe) {
			p.begin(100)
			p.stop()
			if err := os.RemoveAll(p.journal); err != nil {
				p.throwf("%v", err)
			}
			if err := os.Mkdir(p.journal, 0o700); err != nil {
				p.throwf("%v", err)
			}
			p.reopen()
			if r := p.witness.welcome.Reason; r != codec.StartedBySnapshot {
				p.throwf("the client is welcomed with reason %v, want snapshot", r)
			}
			p.feed(50)
			p.all()
		},
	},
	{
		ID: "restart-gone", Rule: "numbers that retention removed are reported as gone, and a snapshot follows", Section: inEntries, Needs: []Ability{Input, Journal, History, Snapshots, Retention},
		Does: "The publisher keeps 256 KiB, and is given several megabytes. Subscribers ask for the beginning, for number 5, and resume at number 7.",
		probe: func(p *probe) {
			p.retain = "262144"
			p.begin(100)
			held := p.witness.position()
			held.Next = 7
			for tail := uint64(1); tail < 100; {
				p.feedHeavy(5000)
				next := p.all()
				l := p.join(fromLive)
				tail = l.welcome.Tail
				l.reach(next)
				l.leave()
				p.pause(100 * time.Millisecond)
			}
			next := p.all()
			for _, h := range []codec.Hello{fromBeginning, fromSeq(5), {Position: held, HasState: true}} {
				l := p.join(h)
				l.reach(next)
				if events := l.seen(); !slices.ContainsFunc(events, func(e string) bool { return strings.HasPrefix(e, "gone") }) && l.placed.Position < l.welcome.Tail {
					p.throwf("%s begins at %d, below tail %d, and nothing was reported as gone: %q", l.name, l.placed.Position, l.welcome.Tail, events)
				}
			}
		},
	},
}

// resumed checks that the witness has resumed where it was.
func (p *probe) resumed() {
	if w := p.witness.welcome; w.Reason != codec.StartedResumed {
		p.throwf("the publisher was started again over its journal, and the client, at number %d, is welcomed with reason %v: numbers that it saw are lost",
			p.witness.hello.Position.Next, w.Reason)
	}
}

// sessions checks how often a line was sent a new session.
func (p *probe) sessions(l *line, want int) {
	n := 0
	for _, e := range l.seen() {
		if strings.HasPrefix(e, "session") {
			n++
		}
	}
	if n != want {
		p.throwf("%s was sent %d new sessions, want %d", l.name, n, want)
	}
}
