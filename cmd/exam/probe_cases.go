package exam

import (
	"bytes"
	"fmt"
	"math"
	"strings"
	"sync"
	"time"

	"tickfeed/codec"
	"tickfeed/feed"
)

// PublisherCases returns the cases for publishers, in the order of their chapters. The result is shared and must not be changed.
func PublisherCases() []*Case { return publisherCases() }

var publisherCases = sync.OnceValue(func() (all []*Case) {
	for _, chapter := range []struct {
		name  string
		cases []Case
	}{
		{"welcome", welcomeCases}, {"starts", startCases}, {"numbers", numberCases}, {"snapshots", snapshotCases}, {"filters", filterCases},
		{"life", lifeCases}, {"refusals", refusalCases}, {"hostility", hostileCases}, {"restarts", restartCases}, {"slowness", slowCases},
	} {
		for i := range chapter.cases {
			c := chapter.cases[i]
			c.Chapter = chapter.name
			all = append(all, &c)
		}
	}
	return all
})

// Sections of codec/PROTOCOL.md.
const (
	inConnection  = "A connection"
	inStarts      = "Where a line starts"
	inJoining     = "The joining rule"
	inChanges     = "Sessions change"
	inHello       = "1 hello (client)"
	inWelcome     = "2 welcome"
	inFarewell    = "3 refusal, 4 goodbye (either side)"
	inPacket      = "5 packet"
	inHeartbeat   = "6 heartbeat"
	inSnapshot    = "7 snapshot begin, 8 snapshot part, 9 snapshot end"
	inSubscribe   = "11 subscribe (client), 12 subscribed"
	inPulse       = "13 pulse (client)"
	inEnd         = "14 end"
	inEntries     = "Body entries"
	inState       = "The state"
	inFilters     = "Filters"
	inChecksums   = "Checksums"
	inSlow        = "Slow consumers"
	inLimits      = "Limits"
	inVersions    = "Versions"
	inFeatures    = "Features"
	inSecurity    = "Security"
	inRefuses     = "What a reader refuses, and what it accepts"
	closeWithin   = 3 * time.Second  // a publisher closes a connection that it has refused
	handshakeTime = 10 * time.Second // longest wait for a hello
)

var (
	fromSnapshot  = codec.Hello{}
	fromLive      = codec.Hello{Start: codec.Start{Kind: codec.StartLive}}
	fromBeginning = codec.Hello{Start: codec.Start{Kind: codec.StartBeginning}}
)

var numberCases = []Case{
	{
		ID: "numbers-join", Rule: "ranges join, and every tick comes once, in order and unchanged", Section: inJoining,
		Does: "2000 ticks are published a few at a time; one subscriber was there before, one comes in the middle.",
		probe: func(p *probe) {
			p.begin(100)
			l := p.join(p.anywhere())
			for range 95 {
				p.feed(20)
			}
			next := p.all()
			l.reach(next)
		},
	},
	{
		ID: "numbers-burst", Rule: "a burst changes nothing", Section: inJoining, Needs: []Ability{Input},
		Does: "20,000 ticks come at once.",
		probe: func(p *probe) {
			p.begin(20)
			l := p.join(p.anywhere())
			p.feed(20_000)
			next := p.all()
			l.reach(next)
		},
	},
	{
		ID: "numbers-same-on-all-lines", Rule: "a number is the same tick, with the same publish time, on every line and at every time", Section: inJoining, Needs: []Ability{History},
		Does: "Three subscribers read 1000 ticks: as they come, while they come, and later.",
		probe: func(p *probe) {
			p.begin(100)
			during := p.join(fromBeginning)
			p.feed(900)
			next := p.all()
			after := p.join(fromBeginning)
			during.reach(next)
			after.reach(next)
		},
	},
	{
		ID: "numbers-kinds", Rule: "every kind of tick comes as it was given", Section: inEntries, Needs: []Ability{Input},
		Does: "The publisher is given quotes, trades, corrections, cancels, levels, clears, statuses and auctions, with missing prices, texts and the greatest values.",
		probe: func(p *probe) {
			p.open()
			ref := func(t feed.Tick, ref string) feed.Tick {
				x := feed.Extra{}
				if t.Extra != nil {
					x = *t.Extra
				}
				x.TradeRef = ref
				t.Extra = &x
				return t
			}
			none := int64(feed.NoPrice)
			p.feedTicks(&supplyNames[0],
				feed.Tick{Kind: feed.KindStatus, Status: feed.StatusPreOpen, Values: [4]int64{20261122}},
				feed.Tick{Kind: feed.KindStatus, Status: feed.StatusTrading},
				feed.Quote{Bid: 18725, BidSize: 300, Ask: 18726, AskSize: 500}.Tick(0, 0),
				feed.Quote{Bid: none, Ask: 18726, AskSize: 500}.Tick(0, 0),
				feed.Quote{Bid: -5, BidSize: 1, Ask: none}.Tick(0, 0),
				feed.Quote{Bid: none, Ask: none}.Tick(0, 0),
				feed.Quote{Bid: math.MinInt64 + 1, BidSize: math.MaxInt64, Ask: math.MaxInt64, AskSize: math.MaxInt64}.Tick(0, 0),
				feed.Trade{Price: 18726, Size: 100, ID: 9001, Conditions: conditions("@ F")}.Tick(0, 0),
				feed.Trade{Price: 18727, Size: 7, ID: 9002}.Tick(0, 0),
				ref(feed.Trade{Price: 18728, Size: 8}.Tick(0, 0), "T-17"),
				feed.Correction{OldPrice: 18727, OldSize: 7, Trade: feed.Trade{Price: 18720, Size: 9, ID: 9002}}.Tick(0, 0, ""),
				feed.Cancel{Price: 18728, Size: 8}.Tick(0, 0, "T-17"),
				feed.Cancel{Price: 18726, Size: 100, ID: 9001}.Tick(0, 0, ""),
				feed.Tick{Kind: feed.KindLevel, Side: feed.SideBuy, Values: [4]int64{18725, 300}},
				feed.Tick{Kind: feed.KindLevel, Side: feed.SideSell, Values: [4]int64{18726, 200}},
				feed.Tick{Kind: feed.KindLevel, Side: feed.SideSell, Values: [4]int64{18726, 0}},
				feed.Tick{Kind: feed.KindClear, Side: feed.SideBuy},
				feed.Tick{Kind: feed.KindClear, Side: feed.SideSell},
				feed.Tick{Kind: feed.KindClear, Side: feed.SideBoth},
				feed.Tick{Kind: feed.KindAuction, Status: feed.Status(feed.AuctionClosing), Side: feed.SideBuy, Values: [4]int64{18725, 70000, 1200}},
				feed.Tick{Kind: feed.KindStatus, Status: feed.StatusHalted, Extra: &feed.Extra{Reason: "LUDP"}},
				feed.Tick{Kind: feed.KindStatus, Status: feed.StatusClosed},
			)
			next := p.all()
			if !p.lacks(Snapshots) {
				p.join(fromSnapshot).reach(next)
			}
		},
	},
	{
		ID: "numbers-checksums", Rule: "every packet and snapshot part has the checksum of its line, and a full line the seed of its session", Section: inChecksums, Needs: []Ability{Checksums},
		Does: "500 ticks are published to a subscriber of everything and a late one.",
		probe: func(p *probe) {
			p.begin(100)
			l := p.join(p.anywhere())
			p.feed(400)
			l.reach(p.all())
		},
	},
	{
		ID: "numbers-end", Rule: "when the source is over, every line says end; the connections live on, and late subscribers get everything", Section: inEnd, Needs: []Ability{Input},
		Does: "The standard input ends after 100 ticks. One subscriber was there, one comes later.",
		probe: func(p *probe) {
			p.begin(100)
			next := p.all()
			p.endInput()
			end := fmt.Sprintf("end %d", next)
			p.witness.has(end)
			p.alive(p.witness)
			l := p.join(p.anywhere())
			l.reach(next)
			l.has(end)
			p.alive(l)
		},
	},
}

func conditions(s string) feed.Conditions {
	c, err := feed.ParseConditions(s)
	if err != nil {
		panic("exam: internal error: " + err.Error())
	}
	return c
}

// alive waits for three more heartbeats.
func (p *probe) alive(l *line) {
	l.mu.Lock()
	want := l.beats + 3
	l.mu.Unlock()
	l.wait("a heartbeat", func() bool { return l.beats >= want })
}

var snapshotCases = []Case{
	{
		ID: "snapshot-whole", Rule: "a snapshot is what the ticks before it fold into: definitions, statuses, days, quotes and books", Section: inState, Needs: []Ability{Snapshots},
		Does: "Subscribers ask for a snapshot after 100, 200, … 1000 ticks.",
		probe: func(p *probe) {
			p.open()
			for range 10 {
				p.feed(100)
				next := p.all()
				p.join(fromSnapshot).reach(next)
			}
		},
	},
	{
		ID: "snapshot-in-flow", Rule: "while ticks are published, a snapshot joins what follows", Section: inSnapshot, Needs: []Ability{Snapshots},
		Does: "Thirty subscribers ask for a snapshot while 3000 ticks are published.",
		probe: func(p *probe) {
			p.begin(50)
			var lines []*line
			for range 30 {
				p.feed(100)
				lines = append(lines, p.dial(fromSnapshot))
			}
			next := p.all()
			for _, l := range lines {
				l.wait("its welcome", func() bool { return l.welcome != nil })
				l.reach(next)
			}
		},
	},
	{
		ID: "snapshot-large", Rule: "a large state comes in several parts, and a side of a book has at most 4096 levels", Section: inSnapshot, Needs: []Ability{Input, Snapshots},
		Does: "Two sides of a book get 4200 levels each.",
		probe: func(p *probe) {
			p.begin(10)
			var levels []feed.Tick
			for i := range int64(4200) {
				levels = append(levels,
					feed.Tick{Kind: feed.KindLevel, Side: feed.SideBuy, Values: [4]int64{50_000 - (i*17)%4211, 1 + i}},
					feed.Tick{Kind: feed.KindLevel, Side: feed.SideSell, Values: [4]int64{50_001 + (i*19)%4211, 1 + i}})
			}
			p.feedTicks(&supplyNames[1], levels...)
			next := p.all()
			p.join(fromSnapshot).reach(next)
		},
	},
	{
		ID: "snapshot-definitions", Rule: "the snapshot of start 1 holds the definitions, and only them", Section: inSnapshot, Needs: []Ability{Snapshots},
		Does: "Ten subscribers start live while ticks are published.",
		probe: func(p *probe) {
			p.begin(100)
			var lines []*line
			for range 10 {
				at, _ := p.witness.now()
				l := p.join(fromLive)
				p.position(l, at, math.MaxInt64)
				lines = append(lines, l)
				p.feed(20)
			}
			next := p.all()
			for _, l := range lines {
				l.reach(next)
			}
		},
	},
	{
		ID: "snapshot-filtered", Rule: "the snapshot of a filtered line holds the instruments of its filter", Section: inSnapshot, Needs: []Ability{Snapshots, Filters},
		Does: "Subscribers of each instrument ask for a snapshot.",
		probe: func(p *probe) {
			p.begin(200)
			next := p.all()
			for _, name := range some(p.book.names()) {
				l := p.join(codec.Hello{Filter: codec.Filter{exact(name)}})
				l.reach(next)
			}
		},
	},
}

// exact returns a pattern that matches the instrument with that name only.
func exact(name string) string {
	if !strings.Contains(name, "@") {
		return name + "@"
	}
	return name
}

// some returns at most ten names.
func some(names []string) []string { return names[:min(len(names), 10)] }

var filterCases = []Case{
	{
		ID: "filter-hello", Rule: "a filtered line carries exactly the ticks of the instruments wanted, definitions included, and skips the others", Section: inFilters, Needs: []Ability{Filters},
		Does: "A subscriber of one instrument reads 500 ticks.",
		probe: func(p *probe) {
			p.begin(100)
			h := p.anywhere()
			h.Filter = codec.Filter{exact(p.book.names()[0])}
			l := p.join(h)
			p.feed(400)
			l.reach(p.all())
			if _, ticks := l.now(); ticks == 0 && !p.lacks(Input) {
				p.throwf("%s got no tick of %s", l.name, h.Filter[0])
			}
		},
	},
	{
		ID: "filter-patterns", Rule: "patterns are SYMBOL or SYMBOL@VENUE with * and ?, and upper and lower case differ", Section: inFilters, Needs: []Ability{Input, Filters, History},
		Does: "Subscribers with ten filters read the same 200 ticks from the beginning.",
		probe: func(p *probe) {
			p.begin(200)
			next := p.all()
			for _, patterns := range [][]string{
				{"A*"}, {"?SFT"}, {"*@XNAS"}, {"MSFT@ARCX"}, {"BTC-USD@"}, {"msft"}, {"A?ZN@X*S", "BTC*"}, {"*@?*"}, {"MSF"}, {"AAPL", "AAPL@XNAS"},
			} {
				f, err := codec.NewFilter(patterns)
				if err != nil {
					panic("exam: internal error: " + err.Error())
				}
				h := fromBeginning
				h.Filter = f
				p.join(h).reach(next)
			}
		},
	},
	{
		ID: "filter-star", Rule: "a filter with the pattern * is empty, and its line a full line", Section: inFilters, Needs: []Ability{Filters, History},
		Does: "The hello has the patterns * and one symbol.",
		probe: func(p *probe) {
			p.begin(100)
			h := p.complete(fromBeginning)
			h.Filter = codec.Filter{"AAPL"}
			b := encoded(&h)
			b = bytes.Replace(b, []byte("\x91\xa4AAPL"), []byte("\x92\xa4AAPL\xa1*"), 1)
			h.Filter = nil
			l := p.dialBytes(h, b)
			l.wait("its welcome", func() bool { return l.welcome != nil })
			p.has(l)
		},
	},
	{
		ID: "filter-idle", Rule: "a filtered line with nothing to send moves to the head before its heartbeat", Section: inHeartbeat, Needs: []Ability{Filters},
		Does: "A subscriber of an instrument that there is not waits for 100 numbers, and resumes.",
		probe: func(p *probe) {
			p.begin(20)
			h := p.anywhere()
			h.Filter = codec.Filter{"no-such-instrument"}
			l := p.join(h)
			p.feed(100)
			next := p.all()
			l.reach(next)
			if !p.lacks(History) {
				l.leave()
				l = p.join(codec.Hello{Filter: h.Filter, Position: l.position(), HasState: true}, from(l))
				p.feed(10)
				l.reach(p.all())
			}
		},
	},
	{
		ID: "filter-resume", Rule: "a filtered line resumes as a full one does", Section: inStarts, Needs: []Ability{Filters, History},
		Does: "A subscriber of one instrument is cut five times while ticks are published.",
		probe: func(p *probe) {
			p.begin(20)
			h := fromBeginning
			h.Filter = codec.Filter{exact(p.book.names()[0])}
			l := p.join(h)
			for range 5 {
				p.feed(60)
				l.reach(p.all())
				l.cut()
				p.feed(30)
				p.all()
				l = p.join(codec.Hello{Filter: h.Filter, Position: l.position(), HasState: true}, from(l))
			}
			l.reach(p.all())
		},
	},
	{
		ID: "filter-change", Rule: "subscribe replaces the filter of a living line from subscribed on, and gives the state of what was added", Section: inSubscribe, Needs: []Ability{Filters, Snapshots},
		Does: "A subscriber changes its filter six times while ticks are published.",
		probe: func(p *probe) {
			p.begin(50)
			names := p.book.names()
			one, two := exact(names[0]), exact(names[len(names)-1])
			h := p.anywhere()
			h.Filter = codec.Filter{one}
			l := p.join(h)
			for i, patterns := range [][]string{{one, two}, {two}, {one}, {"no-such-instrument"}, {one, two}, {two}} {
				p.feed(30)
				l.reach(p.all())
				l.subscribe(uint64(i+1), patterns...)
				p.feed(30)
				l.answered(uint64(i + 1))
			}
			l.reach(p.all())
		},
	},
	{
		ID: "filter-everything", Rule: "a line may go from a filter to everything, and back", Section: inSubscribe, Needs: []Ability{Filters, Snapshots},
		Does: "A subscriber of one instrument asks for all, then for one again.",
		probe: func(p *probe) {
			p.begin(50)
			one := exact(p.book.names()[0])
			h := p.anywhere()
			h.Filter = codec.Filter{one}
			l := p.join(h)
			l.reach(p.all())
			l.subscribe(7)
			p.feed(30)
			l.answered(7)
			l.subscribe(3, one)
			p.feed(30)
			l.answered(3)
			l.reach(p.all())
		},
	},
	{
		ID: "filter-requests", Rule: "requests are answered in their order, each once", Section: inSubscribe, Needs: []Ability{Filters},
		Does: "A subscriber sends eight requests at once, each a part of the one before.",
		probe: func(p *probe) {
			p.begin(50)
			l := p.join(p.anywhere())
			l.reach(p.all())
			names := some(p.book.names())
			var patterns []string
			for _, name := range names {
				patterns = append(patterns, exact(name))
			}
			for i := range uint64(8) { // no pattern is new: no snapshot is due between them
				l.subscribe(100-i, patterns[:max(1, len(patterns)-int(i))]...)
			}
			p.feed(30)
			l.answered(93)
			l.reach(p.all())
		},
	},
	{
		ID: "filter-bad", Rule: "a subscribe out of bounds ends the connection as a bad request, for good, and no other", Section: inSubscribe, Needs: []Ability{Filters},
		Does: "The pattern of a subscribe names no symbol.",
		probe: func(p *probe) {
			p.begin(20)
			p.offends([]byte{0x93, 11, 1, 0x91, 0xa2, '@', 'X'}, codec.CodeBadRequest, codec.CodeProtocol)
		},
	},
}
