package codec

import (
	"bytes"
	"slices"
	"strings"

	"tickfeed/feed"
)

func goodStreams() []stream {
	msft := Filter{"MSFT"}
	filtered := func() *tape {
		w := begin(Hello{Start: Start{Kind: StartBeginning}, Filter: msft})
		w.seed = LineSeed(sessionA, msft)
		return w
	}
	wanted := func(start, head uint64) *Welcome {
		m := welcomeTo(start, head)
		m.Seed = LineSeed(sessionA, msft)
		return m
	}
	wide := func() []byte { // five, with integers of nine bytes in everything but the packets' headers
		w := begin(fromBeginning)
		w.bytes(widths(welcomeTo(1, 3))...)
		body := append(wideEntry(entry(define(0))), wideEntry(entry(quoteOf(0, 18725, 18726)))...)
		w.packet(1, 2, body)
		return w.bytes(widths(&Heartbeat{Covered: 3, Head: 3, Now: opening + second})...).raw
	}
	shortest := func() []byte {
		w := begin(fromBeginning).welcome(1, 4)
		body := entry(define(0))
		body = append(body, 0x97, 4, 0, 0, 1, 2, 3, 4)          // [4, 0, 0, 1, 2, 3, 4]
		body = append(body, 0x98, 6, 0, 0xff, 3, 4, 1, 5, 0xa0) // a trade 1 ns before the base
		return w.packet(1, 3, body).raw
	}
	larger := func() []byte {
		w := begin(fromBeginning)
		m := welcomeTo(1, 3)
		m.Features, m.Granted = []string{"of-another-time"}, &Filter{}
		w.bytes(grown(msg(m), 0xa0)...) // with limits, which are empty
		w.packet(1, 2, append(grown(entry(define(0))), grown(entry(quoteOf(0, 18725, 18726)))...))
		w.bytes(grown(msg(&Heartbeat{Covered: 3, Head: 3, Now: opening + second}))...)
		return w.bytes(grown(msg(&End{Final: 3}))...).raw
	}
	var skips []byte
	covered := uint64(0)
	for len(skips) < MaxBody-9 {
		skips = append(skips, 0xcf, 0, 0, 0, 0, 0, 0, 0, 1) // 1, in nine bytes
		covered++
	}
	for len(skips) < MaxBody {
		skips = append(skips, 1)
		covered++
	}
	var many feed.Lineage
	for i := range uint64(feed.MaxLineage) {
		many = append(many, feed.Session{ID: sessionA + feed.SessionID(i), First: 1000 + i})
	}
	old := begin(Hello{Start: Start{Kind: StartLive}})
	old.seed = LineSeed(many[64].ID, nil)
	longest := welcomeTo(1064, 1064)
	longest.Lineage, longest.Seed, longest.Tail = many, old.seed, 1064
	top := begin(Hello{Start: Start{Kind: StartSeq, Value: MaxSeq - 2}})
	topWelcome := welcomeTo(MaxSeq-2, MaxSeq)
	topWelcome.Tail = MaxSeq - 2
	child := func(w *tape, lineage feed.Lineage, next uint64) *tape {
		w.seed = LineSeed(lineage.Current().ID, nil)
		return w.send(&SessionChange{Mode: ModeLive, Lineage: lineage, Seed: w.seed, Next: next})
	}
	granted := wanted(1, 3)
	granted.Granted = &msft
	six := feed.Lineage{{ID: sessionA, First: 1}, {ID: sessionB, First: 6}}
	return []stream{
		{"good-plain", "two packets and a heartbeat", five().heartbeat(6, 6).raw},
		{"good-any-width", "integers of nine bytes, signed and unsigned, in messages and entries", wide()},
		{"good-shortest", "entries in the shortest integers, and an event time before the base", shortest()},
		{"good-grown", "messages and ticks with elements that this version does not know", larger()},
		{"good-auction", "auctions, and statuses with a reason and an expected end",
			begin(fromBeginning).welcome(1, 6).ticks(1, define(0),
				feed.StatusTick(0, opening, feed.StatusHalted, 0).Because("LUDP", opening+300*second),
				feed.Auction{Kind: feed.AuctionHalt, Price: 18725, Size: 70_000, Side: feed.SideSell, Imbalance: 1200, Time: opening + 300*second}.Tick(0, opening+1),
				feed.Auction{Kind: 200, Price: feed.NoPrice}.Tick(0, opening+2),
				feed.StatusTick(0, opening+3, feed.StatusTrading, 0).Because("", opening-1)).raw},
		{"good-deep-entry", "an entry with an element of three arrays inside each other: four with the entry itself",
			begin(fromBeginning).welcome(1, 3).packet(1, 2, append(entry(define(0)), 0x98, 4, 0, 0, 1, 1, 2, 1, 0x91, 0x91, 0x91, 1)).raw},
		{"good-granted", "a welcome that grants less than what was asked for",
			begin(Hello{Start: Start{Kind: StartBeginning}, Filter: Filter{"AAPL", "MSFT"}}).as(granted.Seed).send(granted).
				packet(1, 3, slices.Concat(AppendSkip(nil, 1), entry(define(1)), entry(quoteOf(1, 48290, 48299)))).raw},
		{"good-early", "messages of types 64 to 127 before the welcome, 16,384 bytes together",
			begin(fromBeginning).early(MaxEarly).welcome(1, 2).ticks(1, define(0)).raw},
		{"good-unknown-types", "messages of types 64 to 127 before the welcome, between packets and inside a snapshot",
			begin(Hello{}).bytes(0x92, 64, 1).welcome(4, 4).bytes(0x92, 127, 0xa1, 'x').
				send(&SnapshotBegin{Seq: 4, Scope: ScopeAll}).bytes(0x91, 64).part(4, 0, define(0), quoteOf(0, 1, 2)).bytes(0x91, 100).
				send(&SnapshotEnd{Seq: 4, Parts: 1}).bytes(0x91, 64).ticks(4, quoteOf(0, 2, 3)).raw},
		{"good-unknown-kinds", "ticks of kinds 50 and 127: each covers one number and is passed over",
			begin(fromBeginning).welcome(1, 5).packet(1, 4, slices.Concat(entry(define(0)),
				[]byte{0x94, 0x64, 0, 0, 0xa1, 'x'}, []byte{0x93, 0xcc, 0xff, 0, 0}, entry(quoteOf(0, 1, 2)))).raw},
		{"good-snapshot", "a start with a snapshot in two parts, then a tick",
			begin(Hello{}).welcome(10, 11).send(&SnapshotBegin{Seq: 10, Scope: ScopeAll}).
				part(10, 0, define(0), quoteOf(0, 18725, 18726)).part(10, 1, define(1)).send(&SnapshotEnd{Seq: 10, Parts: 2}).
				ticks(10, tradeOf(1, 48290, 5, 1)).raw},
		{"good-snapshot-heartbeats", "heartbeats where a snapshot is due, and inside one",
			begin(Hello{}).welcome(10, 11).heartbeat(10, 11).send(&SnapshotBegin{Seq: 10, Scope: ScopeAll}).heartbeat(10, 11).
				part(10, 0, define(0)).heartbeat(10, 11).send(&SnapshotEnd{Seq: 10, Parts: 1}).ticks(10, quoteOf(0, 1, 2)).raw},
		{"good-snapshot-empty", "a snapshot without parts, of a state without instruments",
			begin(Hello{}).welcome(3, 3).send(&SnapshotBegin{Seq: 3, Scope: ScopeAll}).send(&SnapshotEnd{Seq: 3}).ticks(3, define(0)).raw},
		{"good-snapshot-cut", "a cut inside a snapshot: nothing of it counts",
			begin(Hello{}).welcome(10, 11).send(&SnapshotBegin{Seq: 10, Scope: ScopeAll}).part(10, 0, define(0)).raw},
		{"good-live", "a live start: a snapshot of definitions only",
			begin(Hello{Start: Start{Kind: StartLive}}).welcome(10, 10).snapshot(10, ScopeDefinitions, nil, define(0), define(1)).
				ticks(10, quoteOf(0, 18725, 18726)).raw},
		{"good-filtered", "a filtered line: skips before, between and after ticks, and one that moves an idle line to the head",
			filtered().send(wanted(1, 40)).
				packet(1, 9, slices.Concat(AppendSkip(nil, 1), entry(define(1)), AppendSkip(nil, 5), entry(quoteOf(1, 48290, 48299)), AppendSkip(nil, 1))).
				packet(10, 30, AppendSkip(nil, 30)).heartbeat(40, 40).raw},
		{"good-largest-packet", "a packet with a body of 65,535 bytes", filtered().send(wanted(1, covered+2)).
			packet(1, covered, skips).packet(covered+1, 1, entry(define(1))).raw},
		{"good-65-sessions", "a lineage of 65 sessions, whose oldest begins at 1000",
			old.send(longest).snapshot(1064, ScopeDefinitions, nil, define(0)).ticks(1064, quoteOf(0, 1, 2)).raw},
		{"good-greatest-numbers", "numbers up to 2^63, beyond which there is none",
			top.send(topWelcome).snapshot(MaxSeq-2, ScopeAll, nil, define(0)).ticks(MaxSeq-2, quoteOf(0, 1, 2), quoteOf(0, 2, 3)).raw},
		{"good-start-inside-a-packet", "start at number 4, in the midst of a packet from 1 on: what comes before is passed over",
			begin(Hello{Start: Start{Kind: StartSeq, Value: 4}}).welcome(3, 6).snapshot(4, ScopeAll, nil, define(0), define(1), quoteOf(0, 18725, 18726)).
				ticks(3, quoteOf(0, 18725, 18726), tradeOf(0, 18726, 100, 9001), quoteOf(1, 48290, 48299)).raw},
		{"good-session", "the line goes on in a child session, and nothing else happens",
			child(five(), six, 6).ticks(6, tradeOf(0, 18727, 100, 9002)).raw},
		{"good-end", "the session ends, heartbeats go on, and a child session follows",
			child(five().send(&End{Final: 6}).heartbeat(6, 6), six, 6).ticks(6, tradeOf(0, 18727, 100, 9002)).raw},
		{"good-publish-time-back", "publish times that decrease: a reader need not check them",
			begin(fromBeginning).welcome(1, 3).packetAt(1, 1, opening+second, opening, entry(define(0))).
				packetAt(2, 1, opening, opening, entry(quoteOf(0, 1, 2))).raw},
		{"good-goodbye", "goodbye with a code and a text that a reader does not know, and retry",
			five().bytes(0x95, 0x04, 0xcc, 0xc8, 0xa3, 'o', 0xff, 'o', 0xc3, 0x00).raw},
		{"good-refused", "a refusal that forbids to try again",
			begin(fromBeginning).send(&Refusal{Code: CodeUnauthorized, Text: "the token is not known"}).raw},
		{"good-withheld", "a skip n < 0 under the policy all, which a reader accepts",
			five().packet(6, 20, AppendWithheld(nil, 20)).snapshot(26, ScopeAll, nil, define(0)).ticks(26, quoteOf(0, 3, 4)).raw},
		{"good-gone-twice", "gone twice in a row, with a reason that a reader does not know, before the snapshot",
			five().packet(6, 4, AppendGone(nil, 4, GoneExpired)).packet(10, 5, []byte{0x93, 20, 5, 77}).
				snapshot(15, ScopeAll, nil, define(0)).ticks(15, quoteOf(0, 3, 4)).raw},
		{"good-sparse-ids", "ids with holes, as in a replay of a filtered recording",
			begin(fromBeginning).welcome(1, 5).ticks(1, define(3), quoteOf(3, 1, 2), define(1), quoteOf(1, 3, 4)).raw},
		{"good-undefined", "after damage, a tick of an instrument whose definition is gone: delivered, and not in the state",
			five().packet(6, 1, AppendGone(nil, 1, GoneDamaged)).snapshot(7, ScopeAll, nil, define(0)).
				ticks(7, tradeOf(1, 48290, 5, 9003), quoteOf(0, 3, 4)).raw},
	}
}

func wideEntry(raw []byte) []byte {
	v := decoded(raw)
	turn := 0
	return widen(nil, v, &turn, false)
}

func badStreams() []stream {
	one := func(body []byte) []byte { return begin(fromBeginning).welcome(1, 9).packet(1, 1, body).raw }
	after := func(body []byte, count uint64) []byte { return five().packet(6, count, body).raw }
	bend := func(w *tape, at int, to byte) []byte { // changes one byte, counted from the end
		w.raw[len(w.raw)-at] = to
		return w.raw
	}
	answered := func(change func(m *Welcome)) []byte {
		m := welcomeTo(1, 6)
		change(m)
		return begin(fromBeginning).send(m).ticks(1, define(0)).raw
	}
	named := func(id feed.InstrumentID, symbol string) feed.Tick {
		return defineAs(id, feed.Definition{Symbol: symbol, Venue: "XNAS", PriceExponent: -2})
	}
	defineRaw := func(symbol string) []byte { // without the checks of a writer
		b := []byte{0x9a, 2, 0, 0, 0xa0 | byte(len(symbol))}
		return append(append(b, symbol...), 0xa4, 'X', 'N', 'A', 'S', 0xfe, 0, 0xa0, 0, 0)
	}
	return []stream{
		{"bad-gap", "a packet that begins beyond the end of the one before", five().ticks(7, quoteOf(0, 1, 2)).raw},
		{"bad-overlap", "a packet that begins before the end of the one before", five().ticks(5, quoteOf(0, 1, 2)).raw},
		{"bad-heartbeat-gap", "a heartbeat that covers more than was sent", five().heartbeat(7, 7).raw},
		{"bad-heartbeat-head", "a heartbeat whose head is below covered", five().heartbeat(6, 5).raw},
		{"bad-checksum", "a packet with one bit changed", bend(five().ticks(6, quoteOf(0, 1, 2)), 1, 0x55)},
		{"bad-seed", "a packet of another session", func() []byte {
			w := five()
			w.seed = seedB
			return w.ticks(6, quoteOf(0, 1, 2)).raw
		}()},
		{"bad-welcome-seed", "a full line whose seed is not that of its session", answered(func(m *Welcome) { m.Seed = seedB })},
		{"bad-welcome-version", "a version that the hello did not offer", answered(func(m *Welcome) { m.Version = 2 })},
		{"bad-welcome-start", "a start beyond the head", answered(func(m *Welcome) { m.Start = 7 })},
		{"bad-welcome-reason", "resumed, though the hello has no position", answered(func(m *Welcome) { m.Reason = StartedResumed })},
		{"bad-welcome-resumed-elsewhere", "as asked, though the hello has a position",
			begin(held(3, false)).welcome(1, 6).ticks(1, define(0)).raw},
		{"bad-welcome-twice", "a second welcome", five().welcome(6, 6).raw},
		{"bad-early", "messages of types 64 to 127 before the welcome, 16,385 bytes together", begin(fromBeginning).early(MaxEarly+1).welcome(1, 6).raw},
		{"bad-before-welcome", "a packet before the welcome", begin(fromBeginning).ticks(1, define(0)).raw},
		{"bad-lineage", "a lineage whose firsts decrease", five().bytes(
			append([]byte{0x96, 10, 0, 0x92, 0x92, 1, 9, 0x92, 2, 5, 0, 0xce, 0, 0, 0, 0}, 6)...).raw},
		{"bad-count-too-great", "count is 2^62, and the body has one tick: nothing of it counts", after(entry(quoteOf(0, 1, 2)), 1<<62)},
		{"bad-count-too-small", "count is 1, and the body has two ticks", after(append(entry(quoteOf(0, 1, 2)), entry(quoteOf(0, 2, 3))...), 1)},
		{"bad-count-zero", "a packet that covers nothing", after(nil, 0)},
		{"bad-end-of-packet", "three ticks, the last of which is broken: none of them counts",
			after(slices.Concat(entry(quoteOf(0, 1, 2)), entry(quoteOf(0, 2, 3)), []byte{0x97, 4, 0}), 3)},
		{"bad-short-integers", "a packet whose header has the shortest integers", five().bytes(0x97, 5, 0, 6, 1, 0, 0, 0xc4, 0).raw},
		{"bad-gone-not-alone", "gone beside a tick in one packet", after(append(AppendGone(nil, 4, GoneExpired), entry(quoteOf(0, 1, 2))...), 5)},
		{"bad-withheld-not-alone", "a skip n < 0 beside a tick in one packet", after(append(AppendWithheld(nil, 4), entry(quoteOf(0, 1, 2))...), 5)},
		{"bad-tick-where-snapshot-due", "after gone, a tick instead of the snapshot",
			five().packet(6, 4, AppendGone(nil, 4, GoneExpired)).ticks(10, quoteOf(0, 1, 2)).raw},
		{"bad-snapshot-below", "a snapshot as of a number below the position",
			five().packet(6, 4, AppendGone(nil, 4, GoneExpired)).snapshot(9, ScopeAll, nil, define(0)).raw},
		{"bad-snapshot-part-missing", "a snapshot whose end counts two parts, after one",
			begin(Hello{}).welcome(10, 11).send(&SnapshotBegin{Seq: 10, Scope: ScopeAll}).part(10, 0, define(0)).send(&SnapshotEnd{Seq: 10, Parts: 2}).raw},
		{"bad-snapshot-part-order", "part 1 before part 0",
			begin(Hello{}).welcome(10, 11).send(&SnapshotBegin{Seq: 10, Scope: ScopeAll}).part(10, 1, define(0)).raw},
		{"bad-snapshot-undefined", "in a snapshot, a quote of an instrument that it has not defined",
			begin(Hello{}).welcome(10, 11).snapshot(10, ScopeAll, nil, define(0), quoteOf(1, 1, 2)).raw},
		{"bad-snapshot-packet-inside", "a packet inside a snapshot",
			begin(Hello{}).welcome(10, 11).send(&SnapshotBegin{Seq: 10, Scope: ScopeAll}).ticks(10, define(0)).raw},
		{"bad-unknown-type", "a message of type 40, which this version does not know", five().bytes(0x91, 40).raw},
		{"bad-client-message", "a message that only clients send", five().send(&Pulse{Next: 1}).raw},
		{"bad-missing-element", "a heartbeat without its last element", five().bytes(0x93, 6, 6, 6).raw},
		{"bad-negative", "a negative number where there is none", five().bytes(0x94, 6, 0xff, 6, 0).raw},
		{"bad-nil", "nil where an integer must stand", five().bytes(0x94, 6, 0xc0, 6, 0).raw},
		{"bad-deep", "five arrays inside each other", five().bytes(0x95, 6, 6, 6, 0, 0x91, 0x91, 0x91, 0x91, 1).raw},
		{"bad-granted-everything", "a welcome that grants everything, where patterns were asked for", func() []byte {
			m := welcomeTo(1, 6)
			m.Granted = &Filter{}
			return begin(Hello{Start: Start{Kind: StartBeginning}, Filter: Filter{"MSFT"}}).send(m).raw
		}()},
		{"bad-head-after-end", "after the end, a heartbeat whose head is beyond it",
			five().send(&End{Final: 6}).send(&Heartbeat{Covered: 6, Head: 7, Now: opening}).raw},
		{"bad-deep-entry", "an entry with an element of four arrays inside each other: five with the entry itself",
			after([]byte{0x98, 4, 0, 0, 1, 1, 2, 1, 0x91, 0x91, 0x91, 0x91, 1}, 1)},
		{"bad-mode", "a welcome of mode 3, which this version does not know", begin(fromBeginning).bytes(func() []byte {
			raw := msg(welcomeTo(1, 6))
			raw[bytes.Index(raw, []byte("golden"))+6] = 3
			return raw
		}()...).raw},
		{"bad-tick-size", "a definition with a negative tick size", after([]byte{0x9a, 2, 2, 0, 0xa1, 'C', 0xa1, 'X', 0, 0, 0xa0, 0xff, 0}, 1)},
		{"bad-ext", "a msgpack ext in an element that is otherwise ignored", five().bytes(0x95, 6, 6, 6, 0, 0xd4, 1, 0).raw},
		{"bad-length", "a str that claims 4 GiB", five().bytes(0x95, 4, 1, 0xdb, 0xff, 0xff, 0xff, 0xff).bytes(bytes.Repeat([]byte{'x'}, MaxMessage)...).raw},
		{"bad-no-array", "a string where a message should begin", five().bytes(0xa4, 'H', 'T', 'T', 'P').raw},
		{"bad-event-time", "base and offset whose sum is beyond 64 bits",
			five().packetAt(6, 1, opening, 1<<62, []byte{0x97, 4, 0, 0xd3, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1, 1, 2, 1}).raw},
		{"bad-second-id", "a symbol at a venue under a second id", after(entry(named(2, "AAPL")), 1)},
		{"bad-symbol-control", "a symbol with a control character", one(defineRaw("A\x1bL"))},
		{"bad-symbol-empty", "a symbol without a character", one(defineRaw(""))},
		{"bad-symbol-utf8", "a symbol that is not UTF-8", one(defineRaw("A\xff"))},
		{"bad-side", "a trade of side 7", after([]byte{0x98, 6, 0, 0, 1, 1, 7, 0, 0xa0}, 1)},
		{"bad-conditions", "conditions of nine characters", after(append([]byte{0x98, 6, 0, 0, 1, 1, 1, 0, 0xa9}, "ABCDEFGHI"...), 1)},
		{"bad-size", "a negative size", after([]byte{0x97, 4, 0, 0, 1, 0xff, 2, 1}, 1)},
		{"bad-level-price", "a level without a price", after([]byte{0x96, 12, 0, 0, 1, 0xc0, 5}, 1)},
		{"bad-kind-zero", "an entry of code 0", after([]byte{0x93, 0, 0, 0}, 1)},
		{"bad-gone-reason", "gone with reason 0: a reason is 1 to 255", after([]byte{0x93, 20, 1, 0}, 1)},
		{"bad-gone-code", "gone with code 21: gone is code 20", after([]byte{0x93, 21, 1, 1}, 1)},
		{"bad-session-gap", "a session message whose next is beyond the position",
			five().send(&SessionChange{Lineage: feed.Lineage{{ID: sessionA, First: 1}, {ID: sessionB, First: 6}}, Seed: seedB, Next: 7}).raw},
		{"bad-session-owner", "a session message whose next its session does not own",
			five().send(&SessionChange{Lineage: feed.Lineage{{ID: sessionA, First: 1}, {ID: sessionB, First: 9}}, Seed: seedB, Next: 6}).raw},
		{"bad-subscribed", "an answer to a request that was not made", five().send(&Subscribed{Request: 1, From: 6, Seed: seedA}).raw},
		{"bad-end-gap", "an end that is not where the line is", five().send(&End{Final: 7}).raw},
		{"bad-end-twice", "a second end", five().send(&End{Final: 6}).send(&End{Final: 6}).raw},
		{"bad-after-end", "a packet after the end", five().send(&End{Final: 6}).ticks(6, quoteOf(0, 1, 2)).raw},
		{"bad-goodbye-length", "a goodbye whose text is longer than 1024 bytes", five().bytes(append(append([]byte{0x95, 4, 1, 0xda, 4, 1}, strings.Repeat("x", 1025)...), 0xc3, 0)...).raw},
	}
}

func accountStreams() []stream {
	lost := welcomeTo(1, 30)
	lost.Tail = 10
	again := func(next uint64, hasState bool, m *Welcome) *tape { return begin(held(next, hasState)).send(m) }
	resumed := func(start uint64) *Welcome {
		m := welcomeTo(start, 8)
		m.Reason = StartedResumed
		return m
	}
	fork := feed.Lineage{{ID: sessionA, First: 1}, {ID: sessionB, First: 4}}
	rewound := welcomeTo(4, 6)
	rewound.Lineage, rewound.Seed, rewound.Reason = fork, seedB, StartedRewound
	other := welcomeTo(3, 5)
	other.Lineage, other.Seed, other.Reason = feed.Lineage{{ID: sessionB, First: 1}}, seedB, StartedBySnapshot
	onB := func(w *tape) *tape {
		w.seed = seedB
		return w
	}
	msft := Filter{"MSFT"}
	filtered := begin(Hello{Start: Start{Kind: StartBeginning}, Filter: msft})
	filtered.seed = LineSeed(sessionA, msft)
	toFiltered := welcomeTo(1, 20)
	toFiltered.Seed = filtered.seed
	late := welcomeTo(12, 13)
	late.Tail = 12
	return []stream{
		{"account-delivered", "everything delivered", five().raw},
		{"account-not-asked", "a live start: what came before was not asked for",
			begin(Hello{Start: Start{Kind: StartLive}}).welcome(10, 10).snapshot(10, ScopeDefinitions, nil, define(0)).ticks(10, quoteOf(0, 1, 2)).raw},
		{"account-expired", "from the beginning, of which retention removed [1, 10): lost, and expired",
			begin(fromBeginning).send(lost).packet(1, 9, AppendGone(nil, 9, GoneExpired)).snapshot(10, ScopeAll, nil, define(0)).ticks(10, quoteOf(0, 1, 2)).raw},
		{"account-lost-later", "numbers that retention removed after the first tick came: lost, and not expired",
			five().packet(6, 4, AppendGone(nil, 4, GoneExpired)).snapshot(10, ScopeAll, nil, define(0)).ticks(10, quoteOf(0, 1, 2)).raw},
		{"account-damaged", "numbers that are damaged where the publisher reads them",
			five().packet(6, 2, AppendGone(nil, 2, GoneDamaged)).snapshot(8, ScopeAll, nil, define(0)).ticks(8, quoteOf(0, 1, 2)).raw},
		{"account-denied", "from the beginning, of which the client may not see [1, 10): lost with reason denied, and expired",
			begin(fromBeginning).send(lost).packet(1, 9, AppendGone(nil, 9, GoneDenied)).snapshot(10, ScopeAll, nil, define(0)).ticks(10, quoteOf(0, 1, 2)).raw},
		{"account-lost-start", "number 5 was asked for, and the line begins at 12: [5, 12) is lost",
			begin(Hello{Start: Start{Kind: StartSeq, Value: 5}}).send(late).snapshot(12, ScopeAll, nil, define(0)).ticks(12, quoteOf(0, 1, 2)).raw},
		{"account-withheld", "numbers that the policy withheld",
			begin(Hello{Start: Start{Kind: StartBeginning}, Slow: SlowLatest}).welcome(1, 60).ticks(1, define(0), quoteOf(0, 1, 2)).
				packet(3, 50, AppendWithheld(nil, 50)).snapshot(53, ScopeAll, nil, define(0), quoteOf(0, 7, 8)).ticks(53, quoteOf(0, 8, 9)).raw},
		{"account-filtered", "a filtered line: spans of numbers, of which some were delivered",
			filtered.send(toFiltered).packet(1, 10, slices.Concat(AppendSkip(nil, 1), entry(define(1)), AppendSkip(nil, 8))).
				packet(11, 4, slices.Concat(entry(quoteOf(1, 1, 2)), AppendSkip(nil, 3))).heartbeat(15, 20).raw},
		{"account-resumed-1", "five ticks, then a cut", five().raw},
		{"account-resumed-2", "the line is resumed in the midst of a packet: 5 comes again and is passed over",
			again(6, true, resumed(5)).ticks(5, quoteOf(1, 48290, 48299), tradeOf(0, 18727, 100, 9002), tradeOf(0, 18728, 100, 9003)).raw},
		{"account-cut-in-packet-1", "a cut in the midst of the second packet", func() []byte { raw := five().raw; return raw[:len(raw)-7] }()},
		{"account-cut-in-packet-2", "the position is behind the first packet", again(4, true, resumed(4)).
			ticks(4, tradeOf(0, 18726, 100, 9001), quoteOf(1, 48290, 48299)).raw},
		{"account-rewound-1", "five ticks, then a cut", five().raw},
		{"account-rewound-2", "the publisher's session forked at 4: [4, 6) is disowned, and a snapshot comes",
			onB(again(6, true, rewound)).snapshot(4, ScopeAll, nil, define(0), define(1), quoteOf(0, 18725, 18726)).
				ticks(4, tradeOf(0, 18720, 7, 9101), tradeOf(0, 18721, 8, 9102)).raw},
		{"account-disowned", "a session message whose fork is below the position: [4, 6) is disowned",
			onB(five().send(&SessionChange{Lineage: fork, Seed: seedB, Next: 4})).snapshot(4, ScopeAll, nil, define(0), define(1)).
				ticks(4, tradeOf(0, 18720, 7, 9101)).raw},
		{"account-unrelated-1", "five ticks of ten that the heartbeat tells of, then a cut", five().heartbeat(6, 11).raw},
		{"account-unrelated-2", "no common session: [6, 11) of the old one and [1, 3) of the new one are lost",
			onB(again(6, true, other)).snapshot(3, ScopeAll, nil, define(0)).ticks(3, quoteOf(0, 1, 2), quoteOf(0, 2, 3)).raw},
		{"account-replay-wound", "a replay goes on in a sibling at number 100: what was known of the session left is lost",
			onB(five().heartbeat(6, 8).send(&SessionChange{Mode: ModeReplay, Lineage: feed.Lineage{{ID: sessionB, First: 100}}, Origin: sessionA, Seed: seedB, Next: 100})).
				snapshot(100, ScopeAll, nil, define(0)).ticks(100, quoteOf(0, 1, 2)).raw},
	}
}

func stateStreams() []stream {
	status := func(s feed.Status, day int32) feed.Tick { return feed.StatusTick(0, opening, s, day) }
	ref := func(t feed.Tick, text string) feed.Tick {
		t.Extra = &feed.Extra{TradeRef: text}
		return t
	}
	corrected := func(t feed.Tick, text string) feed.Tick {
		x := *t.Extra
		x.TradeRef = text
		t.Extra = &x
		return t
	}
	cancel := func(size int64, number uint64) feed.Tick {
		return feed.Cancel{Price: 18725, Size: size, ID: number}.Tick(0, opening+60, "")
	}
	all := func(ticks ...feed.Tick) []byte {
		return begin(fromBeginning).welcome(1, uint64(len(ticks)+1)).ticks(1, ticks...).raw
	}
	with := func(exponent, sizeExponent int8) feed.Tick {
		return defineAs(0, feed.Definition{Symbol: "AAPL", Venue: "XNAS", PriceExponent: exponent, SizeExponent: sizeExponent})
	}
	unpriced := feed.Trade{Price: feed.NoPrice, Size: 5, ID: 8}.Tick(0, opening+8)
	summary := feed.Tick{Kind: feed.KindSummary, EventTime: opening + 9, Extra: &feed.Extra{Summary: &feed.Summary{
		TradingDay: 20261122, Open: 10, High: 12, Low: 9, Last: 11, LastSize: 3, LastSide: feed.SideSell, LastTime: opening + 9, LastID: 7, Volume: 40, Trades: 6}}}
	return []stream{
		{"state-defined", "an instrument that was defined, and nothing else", all(define(0))},
		{"state-quote", "quotes of two instruments, one with an empty side", all(define(0), define(1), quoteOf(0, 18725, 18726),
			feed.Quote{Bid: 48290, BidSize: 3, Ask: feed.NoPrice}.Tick(1, opening+1), quoteOf(0, 18724, 18726))},
		{"state-trades", "trades make open, high, low, last and volume, also before any trading day",
			all(define(0), tradeOf(0, 18725, 100, 1), tradeOf(0, 18730, 50, 2), tradeOf(0, 18720, 25, 3))},
		{"state-trade-unpriced", "a trade without a price counts, and is no extreme", all(define(0), unpriced, tradeOf(0, 18725, 100, 9), unpriced)},
		{"state-correction-last", "a correction of the last trade, by id, changes it; it stretches high, and volume follows",
			all(define(0), tradeOf(0, 18725, 100, 1), tradeOf(0, 18726, 50, 2), correctionOf(18740, 60, 18726, 50, 2))},
		{"state-correction-older", "a correction of an older trade changes volume, high and low only",
			all(define(0), tradeOf(0, 18725, 100, 1), tradeOf(0, 18726, 50, 2), correctionOf(18700, 10, 18725, 100, 1))},
		{"state-correction-never-back", "a correction does not pull high back",
			all(define(0), tradeOf(0, 18799, 100, 1), correctionOf(18725, 100, 18799, 100, 1))},
		{"state-correction-by-price", "a correction without id is of the last trade if old price and size are its",
			all(define(0), tradeOf(0, 18725, 100, 1), correctionOf(18726, 90, 18725, 100, 0), correctionOf(18700, 5, 18725, 100, 0))},
		{"state-correction-by-ref", "a correction names its trade by a textual id",
			all(define(0), ref(tradeOf(0, 18725, 100, 0), "T-1"), corrected(correctionOf(18726, 90, 18725, 100, 0), "T-2"), corrected(correctionOf(18727, 80, 1, 1, 0), "T-1"))},
		{"state-correction-first", "corrections and cancels of a day without trades change nothing",
			all(define(0), correctionOf(18726, 90, 18725, 100, 1), cancel(50, 1))},
		{"state-cancel", "a cancel takes volume and a trade, and leaves the prices",
			all(define(0), tradeOf(0, 18725, 100, 1), tradeOf(0, 18730, 50, 2), cancel(50, 2))},
		{"state-cancel-all", "a day whose trades are all cancelled is one without trades, of the same date",
			all(define(0), status(feed.StatusTrading, 20261122), tradeOf(0, 18725, 100, 1), cancel(100, 1))},
		{"state-bounds", "volume stays within 0 and 2^63-1",
			all(define(0), define(1), tradeOf(0, 1, feed.MaxSize, 1), tradeOf(0, 1, 5, 2), tradeOf(1, 1, 5, 3), tradeOf(1, 1, 5, 4),
				feed.Cancel{Price: 1, Size: 50, ID: 3}.Tick(1, opening, ""))},
		{"state-book", "levels: set, replace, remove, and remove what is not there", all(define(0), levelOf(feed.SideBuy, 10, 5), levelOf(feed.SideBuy, 12, 1),
			levelOf(feed.SideSell, 13, 2), levelOf(feed.SideBuy, 10, 7), levelOf(feed.SideSell, 14, 4), levelOf(feed.SideSell, 13, 0), levelOf(feed.SideBuy, 11, 0))},
		{"state-clear", "a clear of one side, then levels, then of both; the quote stays", all(define(0), define(1), quoteOf(0, 9, 11),
			levelOf(feed.SideBuy, 10, 5), levelOf(feed.SideSell, 13, 2), feed.ClearTick(0, opening, feed.SideBuy), levelOf(feed.SideBuy, 8, 1),
			feed.Level{Side: feed.SideBuy, Price: 1, Size: 1}.Tick(1, opening), feed.ClearTick(1, opening, feed.SideBoth))},
		{"state-status", "halted and closed leave quote, book and day as they are", all(define(0), status(feed.StatusTrading, 20261122), quoteOf(0, 9, 11),
			levelOf(feed.SideBuy, 10, 5), tradeOf(0, 10, 1, 1), status(feed.StatusHalted, 0), status(feed.StatusClosed, 0))},
		{"state-day", "a status with a date begins a day, also of the same date", all(define(0), define(1), status(feed.StatusTrading, 20261122), tradeOf(0, 10, 1, 1),
			status(feed.StatusTrading, 20261122), tradeOf(1, 5, 1, 2), feed.StatusTick(1, opening, feed.StatusPreOpen, 20261123))},
		{"state-status-unknown", "a status that a reader does not know counts as unknown",
			begin(fromBeginning).welcome(1, 3).packet(1, 2, append(entry(define(0)), 0x95, 16, 0, 0, 9, 0)).raw},
		{"state-redefined", "other exponents: prices and sizes mean what they meant", all(with(-2, 0), quoteOf(0, 18725, 18726), tradeOf(0, 18725, 100, 1),
			levelOf(feed.SideBuy, 10, 5), with(-4, -2))},
		{"state-redefined-inexact", "other exponents, and a price that would not be an integer: quote, book and prices of the day are forgotten",
			all(with(-2, 0), status(feed.StatusTrading, 20261122), quoteOf(0, 18725, 18726), tradeOf(0, 18725, 100, 1), levelOf(feed.SideBuy, 10, 5), with(0, 0))},
		{"state-renamed", "a definition with the same id and another symbol: the rest stays",
			all(with(-2, 0), quoteOf(0, 1, 2), defineAs(0, feed.Definition{Symbol: "AAPLX", Venue: "XNAS", PriceExponent: -2}), define(1))},
		{"state-event", "ticks of one venue event are folded one by one", all(define(0), more(tradeOf(0, 10, 1, 1)), more(quoteOf(0, 9, 11)), levelOf(feed.SideBuy, 9, 1))},
		{"state-snapshot", "a snapshot with every kind of entry, and ticks after it", begin(Hello{}).welcome(10, 13).snapshot(10, ScopeAll, nil,
			define(0), status(feed.StatusTrading, 20261122), summary, quoteOf(0, 9, 11), levelOf(feed.SideBuy, 9, 1), levelOf(feed.SideSell, 11, 1), define(1)).
			ticks(10, tradeOf(0, 13, 2, 8), correctionOf(14, 2, 13, 2, 8), quoteOf(1, 1, 2)).raw},
		{"state-snapshot-replaces", "a snapshot after withheld numbers replaces everything: MSFT is no longer there, nor the book",
			five().ticks(6, levelOf(feed.SideBuy, 9, 1)).packet(7, 3, AppendWithheld(nil, 3)).snapshot(10, ScopeAll, nil, define(0), quoteOf(0, 3, 4)).
				ticks(10, tradeOf(0, 5, 1, 9)).raw},
	}
}
