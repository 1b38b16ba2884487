package exam

import (
	"slices"
	"strings"
	"time"

	"tickfeed/codec"
)

// heavyTicks of the largest kind are more than the kernel holds for a connection that is not read.
const heavyTicks = 80_000

var slowCases = []Case{
	{
		ID: "slow-others", Rule: "a client that never reads delays nobody", Section: inSlow, Needs: []Ability{Input},
		Does: "One subscriber reads nothing, while many megabytes are published; the others get them.",
		probe: func(p *probe) {
			p.begin(20)
			slow := p.join(p.anywhere(), narrow)
			slow.reach(p.all())
			slow.stall.Store(true)
			p.feedHeavy(heavyTicks)
			p.all()
			l := p.join(p.anywhere())
			p.feed(10)
			l.reach(p.all())
			slow.mayEndNow()
			slow.cut()
		},
	},
	{
		ID: "slow-all", Rule: "under policy 0 a slow client gets everything, later", Section: inSlow, Needs: []Ability{Input, History},
		Does: "A subscriber reads nothing, while many megabytes are published, and then all.",
		probe: func(p *probe) {
			p.begin(20)
			slow := p.join(fromBeginning, narrow)
			slow.reach(p.all())
			slow.stall.Store(true)
			p.feedHeavy(heavyTicks)
			next := p.all()
			slow.goOn()
			slow.reach(next)
			if events := slow.seen(); slices.ContainsFunc(events, func(e string) bool { return strings.HasPrefix(e, "gone") }) {
				p.throwf("%s was slow, and numbers that the publisher has are gone: %q", slow.name, events)
			}
		},
	},
	{
		ID: "slow-latest", Rule: "under policy 1 a client that lags jumps to a snapshot, and what it jumps over is withheld", Section: inSlow, Needs: []Ability{Input, Policies, Snapshots},
		Does: "A subscriber with a lag of 50 ms reads nothing, while many megabytes are published, and then all.",
		probe: func(p *probe) {
			p.begin(20)
			slow := p.lagging(codec.SlowLatest)
			slow.goOn()
			next := p.all()
			slow.reach(next)
			if events := slow.seen(); !slices.ContainsFunc(events, func(e string) bool { return strings.HasPrefix(e, "withheld") }) {
				p.throwf("%s lagged for a second with a bound of %v, and nothing was withheld: %q", slow.name, slow.hello.MaxLag, events)
			}
		},
	},
	{
		ID: "slow-disconnect", Rule: "under policy 2 a client that lags is disconnected, with goodbye, code slow, if it still reads", Section: inSlow, Needs: []Ability{Input, Policies},
		Does: "A subscriber with a lag of 50 ms reads nothing, while many megabytes are published.",
		probe: func(p *probe) {
			p.begin(20)
			slow := p.lagging(codec.SlowDisconnect)
			slow.mayEndNow()
			slow.goOn()
			if bye := slow.ends(); bye != nil && (bye.Code != codec.CodeSlow || !bye.Retry) {
				p.throwf("the goodbye is %v, retry %t; want slow, true", bye.Code, bye.Retry)
			}
			p.ok()
		},
	},
}

// lagging returns a line of which nothing was read for so long that it lags by more than its bound.
func (p *probe) lagging(policy codec.SlowPolicy) *line {
	h := p.anywhere()
	h.Slow, h.MaxLag = policy, 50*time.Millisecond
	l := p.join(h, narrow)
	l.reach(p.all())
	l.stall.Store(true)
	for range 4 {
		p.feedHeavy(heavyTicks / 4)
		p.all()
		p.pause(250 * time.Millisecond)
	}
	return l
}
