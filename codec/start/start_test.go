package start

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tickfeed/codec"
	"tickfeed/feed"
)

// After 10,000 restarts that each published ticks, the lineage in a welcome has at most 65 sessions, shows
// which session owns the number where the line begins, and has the same fork with every position that names at least
// one of the sessions.
func TestWelcomeNamesEnough(t *testing.T) {
	const sessions, each = 10_000, 7
	p := &Offer{}
	for i := range feed.SessionID(sessions) {
		p.Lineage = append(p.Lineage, feed.Session{ID: 1 + i, First: 1 + uint64(i)*each})
	}
	check := func(held codec.Position, next uint64) {
		t.Helper()
		l := p.named(held, next)
		require.NoError(t, l.Validate())
		owner, _, _ := p.Lineage.Owner(next)
		got, _, ok := l.Owner(next)
		require.True(t, ok && got == owner, "who owns %d", next)
		if next >= p.Lineage.Newest()[0].First+each {
			require.Equal(t, p.Lineage.Newest(), l)
		}
		want, common := p.Lineage.Fork(held.Lineage, held.Next)
		fork, ok := l.Fork(held.Lineage, held.Next)
		require.Equal(t, common, ok)
		if common {
			require.Equal(t, want, fork, "the fork with %d of %v", held.Next, held.Lineage.Current())
		}
	}
	for _, next := range []uint64{1, 2, each, each + 1, sessions / 2 * each, sessions*each - 66*each, sessions*each + 1} {
		check(codec.Position{}, next)
		check(codec.Position{Lineage: feed.Lineage{{ID: 1 << 40, First: 1}}, Next: 99}, next)
	}
	for _, n := range []int{0, 1, 63, 64, 65, 66, 5000, sessions - 67, sessions - 66, sessions - 65, sessions - 64, sessions - 2, sessions - 1} {
		upto := p.Lineage[:n+1].Newest()
		for _, ahead := range []uint64{0, 1, each - 1, each, each + 5} { // beyond each, numbers that no session owns now
			held := codec.Position{Lineage: upto, Next: p.Lineage[n].First + ahead}
			fork, ok := p.Lineage.Fork(held.Lineage, held.Next)
			require.True(t, ok)
			check(held, fork)
			// So has a position that continued in a session outside this lineage.
			held.Lineage = upto.Child(1<<40, p.Lineage[n].First+min(ahead, 3)).Newest()
			fork, ok = p.Lineage.Fork(held.Lineage, held.Next)
			require.True(t, ok)
			check(held, fork)
		}
	}
	assert.Len(t, p.Lineage, sessions, "the publisher keeps all sessions")
}

// A fakeLog is a log of packets of which each begins at one of bounds; the last of bounds is the head.
type fakeLog struct {
	bounds     []uint64
	tail       uint64 // oldest number that the log still has
	unreadable bool
}

func (l *fakeLog) Join(least uint64) uint64 {
	i, _ := slices.BinarySearch(l.bounds, least)
	return l.bounds[max(i, len(l.bounds)-2)] // a shared join may be a packet behind
}

func (l *fakeLog) SeqAt(time int64) uint64 { // the publish time of a packet is its first number
	i, _ := slices.BinarySearch(l.bounds, uint64(time))
	return max(l.tail, l.bounds[min(i, len(l.bounds)-1)])
}

func (l *fakeLog) PacketOf(seq uint64) (uint64, error) {
	if l.unreadable {
		return 0, errors.New("the disk is on fire")
	}
	if i, ok := slices.BinarySearch(l.bounds, seq); ok || i == 0 {
		return seq, nil
	} else {
		return l.bounds[i-1], nil
	}
}

// The rules of PROTOCOL.md, "Where a line starts", one row each: the publisher continues sessions A, B and C, whose
// packets are [1, 4), [4, 8), and so on; memory holds the numbers from 24, the journal those from 8, and the head is 40.
func TestWhereALineStarts(t *testing.T) {
	const a, b, c, x = 0xA, 0xB, 0xC, 0xE
	lineage := feed.Lineage{{ID: a, First: 1}, {ID: b, First: 16}, {ID: c, First: 32}}
	position := func(next uint64, sessions ...feed.Session) codec.Position {
		return codec.Position{Lineage: sessions, Next: next}
	}
	inC := position(36, lineage...)
	journal := Offer{Lineage: lineage, Oldest: 1, Head: 40, Tail: 8, Memory: 24, Now: 45}
	memory := Offer{Lineage: lineage, Oldest: 24, Head: 40, Tail: 24, Memory: 24, Now: 45}
	whole := Offer{Lineage: lineage, Oldest: 1, Head: 40, Tail: 1, Memory: 24, Now: 45}
	for _, test := range []struct {
		rule  string
		offer Offer
		hello codec.Hello
		want  string
	}{
		{"start 0: a snapshot as of now", journal, codec.Hello{}, "as asked at 36; snapshot of all; not asked A[1, 16) B[16, 32) C[32, 36)"},
		{"start 1: what follows from now, after the definitions", journal, codec.Hello{Start: codec.Start{Kind: codec.StartLive}}, "as asked at 40; snapshot of definitions; not asked A[1, 16) B[16, 32) C[32, 40)"},
		{"start 2: with a journal the first number of its lineage", journal, codec.Hello{Start: codec.Start{Kind: codec.StartBeginning}}, "as asked at 1"},
		{"start 2: without a journal the oldest number that it has", memory, codec.Hello{Start: codec.Start{Kind: codec.StartBeginning}}, "as asked at 24; snapshot of all; lost A[1, 16) B[16, 24)"},
		{"start 3: a number", journal, codec.Hello{Start: codec.Start{Kind: codec.StartSeq, Value: 12}}, "as asked at 12; snapshot of all; not asked A[1, 12)"},
		{"start 3: a number inside a packet", journal, codec.Hello{Start: codec.Start{Kind: codec.StartSeq, Value: 14}}, "as asked at 14 in the packet at 12; snapshot of all; not asked A[1, 14)"},
		{"start 3: the head", journal, codec.Hello{Start: codec.Start{Kind: codec.StartSeq, Value: 40}}, "as asked at 40; snapshot of all; not asked A[1, 16) B[16, 32) C[32, 40)"},
		{"start 3: beyond the head", journal, codec.Hello{Start: codec.Start{Kind: codec.StartSeq, Value: 41}}, "refused: seq 41 has not been published yet: the head is 40"},
		{"start 4: the first packet with that publish time", journal, codec.Hello{Start: codec.Start{Kind: codec.StartTime, Value: 13}}, "as asked at 16; snapshot of all; not asked A[1, 16)"},
		{"start 4: before all that the publisher has, as start 2", journal, codec.Hello{Start: codec.Start{Kind: codec.StartTime, Value: 2}}, "as asked at 1"},
		{"start 4: without a journal, as start 2", memory, codec.Hello{Start: codec.Start{Kind: codec.StartTime, Value: 2}}, "as asked at 24; snapshot of all; lost A[1, 16) B[16, 24)"},
		{"start 4: the publisher's clock", journal, codec.Hello{Start: codec.Start{Kind: codec.StartTime, Value: 45}}, "as asked at 40; snapshot of all; not asked A[1, 16) B[16, 32) C[32, 40)"},
		{"start 4: later than the publisher's clock", journal, codec.Hello{Start: codec.Start{Kind: codec.StartTime, Value: 46}}, "refused: time 46 is later than the publisher's clock, which is at 45"},
		{"resumed with state", journal, codec.Hello{Position: inC, HasState: true}, "resumed at 36"},
		{"resumed without state", journal, codec.Hello{Position: inC}, "resumed at 36; snapshot of all"},
		{"resumed below what the publisher has", journal, codec.Hello{Position: position(5, lineage[0]), HasState: true}, "resumed at 5 in the packet at 4"},
		{"resumed at the end of a session that another followed", journal, codec.Hello{Position: position(16, lineage[0]), HasState: true}, "resumed at 16"},
		{"rewound: numbers of A that B replaced", journal, codec.Hello{Position: position(20, lineage[0]), HasState: true}, "rewound at 16; snapshot of all; disowned A[16, 20)"},
		{"rewound: the client followed another child of A", journal, codec.Hello{Position: position(20, lineage[0], feed.Session{ID: x, First: 10}), HasState: true}, "rewound at 10 in the packet at 8; snapshot of all; disowned E[10, 20)"},
		{"beyond the head", journal, codec.Hello{Position: position(41, lineage...)}, "refused: position 41 is beyond the head of session 000000000000000c, which is 40"},
		{"no session in common: the start is used", journal, codec.Hello{Position: position(7, feed.Session{ID: x, First: 1}), Start: codec.Start{Kind: codec.StartSeq, Value: 20}}, "snapshot at 20; snapshot of all; lost A[1, 16) B[16, 20)"},
		{"no session in common, and a number that is not reached: a snapshot as of now", journal, codec.Hello{Position: position(7, feed.Session{ID: x, First: 1}), Start: codec.Start{Kind: codec.StartSeq, Value: 99}}, "snapshot at 36; snapshot of all; lost A[1, 16) B[16, 32) C[32, 36)"},
		{"no session in common, and nothing received yet: the first number", whole, codec.Hello{Position: position(1, feed.Session{ID: x, First: 1})}, "snapshot at 1"},
		{"no session in common, something received: the start is used", whole, codec.Hello{Position: position(2, feed.Session{ID: x, First: 1})}, "snapshot at 36; snapshot of all; lost A[1, 16) B[16, 32) C[32, 36)"},
		{"no session in common with a replay, which has its first number", func() Offer { o := whole; o.Mode = codec.ModeReplay; return o }(), codec.Hello{Position: position(2, feed.Session{ID: x, First: 1})}, "snapshot at 1"},
		{"no session in common with a publisher whose memory has its first number", func() Offer { o := whole; o.Memory = 1; return o }(), codec.Hello{Position: position(2, feed.Session{ID: x, First: 1})}, "snapshot at 1"},
		{"a snapshot is the position, not a number in its packet", journal, codec.Hello{Position: position(7, feed.Session{ID: x, First: 1}), Start: codec.Start{Kind: codec.StartSeq, Value: 22}}, "snapshot at 20; snapshot of all; lost A[1, 16) B[16, 20)"},
	} {
		t.Run(test.rule, func(t *testing.T) {
			log := &fakeLog{bounds: []uint64{1, 4, 8, 12, 16, 20, 24, 28, 32, 36, 40}, tail: test.offer.Tail}
			answer, refusal, err := test.offer.Answer(&test.hello, log)
			require.NoError(t, err)
			got := fmt.Sprintf("%v at %d", answer.Reason, answer.Position)
			if refusal != nil {
				require.False(t, refusal.Retry)
				got = "refused: " + refusal.Text
			} else if answer.First != answer.Position {
				got += fmt.Sprintf(" in the packet at %d", answer.First)
			}
			if answer.Snapshot {
				got += fmt.Sprintf("; snapshot of %v", answer.Scope)
			}
			if refusal == nil {
				p, err := Place(&test.hello, &codec.Welcome{
					Lineage: answer.Lineage, Head: 40, Tail: test.offer.Tail, Start: answer.First, Reason: answer.Reason,
				})
				require.NoError(t, err)
				for _, account := range []struct {
					word    string
					numbers []feed.Numbers
				}{{"not asked", p.NotAsked}, {"lost", p.Lost}, {"disowned", p.Disowned}} {
					for i, n := range account.numbers {
						if i == 0 {
							got += "; " + account.word
						}
						got += fmt.Sprintf(" %X%v", uint64(n.Session), n.Range)
					}
				}
			}
			assert.Equal(t, test.want, got)
		})
	}
	_, _, err := journal.Answer(&codec.Hello{}, &fakeLog{bounds: []uint64{1, 40}, unreadable: true})
	require.Error(t, err, "a log that cannot be read is no reason to refuse")
}

// For any lineages, positions and starts, the subscriber accepts the decision of the publisher, both derive the same position
// from it, and each number below the position is accounted for at most once.
func TestBothSidesAgree(t *testing.T) {
	for seed := range uint64(20_000) {
		chance := rand.New(rand.NewPCG(seed, 1))
		lineage, head := feed.Lineage(nil), uint64(1+chance.IntN(3))
		for range 1 + chance.IntN(4)*(1+chance.IntN(30)) { // sometimes more sessions than a message can hold
			lineage = lineage.Child(feed.SessionID(1+chance.Uint64N(1<<40)), head)
			head += uint64(chance.IntN(9))
		}
		bounds := []uint64{lineage[0].First}
		for _, s := range lineage[1:] { // a session begins with a packet
			if s.First > bounds[len(bounds)-1] {
				bounds = append(bounds, s.First)
			}
		}
		for range chance.IntN(8) {
			bounds = append(bounds, lineage[0].First+chance.Uint64N(head-lineage[0].First+1))
		}
		bounds = append(bounds, head, head)
		slices.Sort(bounds)
		o := &Offer{Lineage: lineage, Mode: codec.Mode(chance.IntN(3)), Head: head, Now: int64(head)}
		o.Tail = bounds[chance.IntN(len(bounds))]
		if o.Oldest = o.Tail; chance.IntN(2) == 0 {
			o.Oldest = lineage[0].First
		}
		o.Memory = max(o.Tail, bounds[chance.IntN(len(bounds))])
		h := &codec.Hello{HasState: chance.IntN(2) == 0, Start: codec.Start{Kind: codec.StartKind(chance.IntN(5))}}
		if h.Start.Kind >= codec.StartSeq {
			h.Start.Value = 1 + chance.Uint64N(head+2)
		}
		if chance.IntN(3) > 0 {
			n := chance.IntN(len(lineage) + 1)
			held, next := lineage[:n:n], uint64(1)
			if n > 0 {
				next = held.Current().First + chance.Uint64N(12)
			}
			for range chance.IntN(3) {
				held = held.Child(feed.SessionID(1<<41+chance.Uint64N(1<<40)), next)
				next += chance.Uint64N(6)
			}
			h.Position = codec.Position{Lineage: slices.Clone(held.Newest()), Next: next}
			if len(held) == 0 {
				h.Position = codec.Position{}
			}
		}
		a, refusal, err := o.Answer(h, &fakeLog{bounds: slices.Compact(bounds), tail: o.Tail})
		require.NoError(t, err)
		if refusal != nil {
			continue
		}
		require.LessOrEqual(t, a.First, a.Position)
		require.NoError(t, a.Lineage.Validate())
		w := &codec.Welcome{
			Lineage: a.Lineage, Mode: o.Mode, Head: max(head, a.Position), Tail: o.Tail, Start: a.First, Reason: a.Reason,
		}
		p, err := Place(h, w)
		require.NoError(t, err, "seed %d: %+v answered to %+v by %+v", seed, a, h, o)
		require.Equal(t, a.Position, p.Position, "seed %d: %+v answered to %+v by %+v", seed, a, h, o)
		owner, _, ok := a.Lineage.Owner(a.First)
		require.True(t, ok && (owner == a.Owner || a.First < a.Position), "seed %d: the lineage of the welcome shows the owner", seed)
		var seen feed.RangeSet
		for _, n := range append(p.NotAsked, p.Lost...) {
			require.LessOrEqual(t, n.Range.To, p.Position)
			require.True(t, feed.NewRangeSet(n.Range).Minus(seen).Equal(feed.NewRangeSet(n.Range)), "seed %d: %v is accounted for twice", seed, n)
			seen = feed.NewRangeSet(append(seen.Ranges(), n.Range)...)
		}
	}
}
