package codec

import (
	"bytes"
	"math"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/vmihailenco/msgpack/v5"

	"tickfeed/feed"
)

// Skips, withheld and gone numbers cover what they say (PROTOCOL.md, "Body entries").
func TestBodyAccountsForNumbers(t *testing.T) {
	quote := exampleTicks()["narrow quote"]
	q := AppendTick(nil, &quote, noon)
	join := func(parts ...[]byte) []byte { return bytes.Join(parts, nil) }
	for name, c := range map[string]struct {
		body                     []byte
		count                    uint64
		seqs                     []uint64
		notAsked, withheld, gone uint64
		fails                    bool
	}{
		"two ticks":                      {body: join(q, q), count: 2, seqs: []uint64{41, 42}},
		"a skip between":                 {body: join(q, AppendSkip(nil, 3), q), count: 5, seqs: []uint64{41, 45}, notAsked: 3},
		"only a skip":                    {body: AppendSkip(nil, 1<<40), count: 1 << 40, notAsked: 1 << 40},
		"withheld":                       {body: AppendWithheld(nil, 9), count: 9, withheld: 9},
		"gone":                           {body: AppendGone(nil, 9, GoneDamaged), count: 9, gone: 9},
		"too few":                        {body: q, count: 2, seqs: []uint64{41}, fails: true},
		"too many":                       {body: join(q, q), count: 1, seqs: []uint64{41}, fails: true},
		"skip beyond the count":          {body: join(q, AppendSkip(nil, 2)), count: 2, seqs: []uint64{41}, fails: true},
		"a skip of nothing":              {body: join(AppendSkip(nil, 0), q), count: 1, fails: true},
		"a skip beyond 63 bits":          {body: AppendSkip(nil, 1<<63), count: 1, fails: true},
		"the most withheld":              {body: appendInt(nil, math.MinInt64), count: 1, fails: true},
		"withheld after a tick":          {body: join(q, AppendWithheld(nil, 1)), count: 2, seqs: []uint64{41}, fails: true},
		"a tick after withheld":          {body: join(AppendWithheld(nil, 1), q), count: 2, fails: true},
		"gone for reason 0":              {body: AppendGone(nil, 9, 0), count: 9, fails: true},
		"gone for a reason beyond 255":   {body: []byte{0x93, 20, 9, 0xcd, 1, 0}, count: 9, fails: true},
		"a tick after gone":              {body: join(AppendGone(nil, 1, GoneExpired), q), count: 2, fails: true},
		"nothing":                        {body: nil, count: 1, fails: true},
		"a map for an entry":             {body: []byte{0x80}, count: 1, fails: true},
		"an array that promises a lot":   {body: []byte{0xdd, 0xff, 0xff, 0xff, 0xff}, count: 1, fails: true},
		"an array of one element":        {body: []byte{0x91, 0x30, 0x30, 0x30}, count: 1, fails: true},
		"an instrument that is negative": {body: []byte{0x97, 4, 0xff, 0, 1, 1, 1, 1}, count: 1, fails: true},
	} {
		t.Run(name, func(t *testing.T) {
			b := PacketBody(&Packet{First: 41, Count: c.count, Base: noon}, c.body)
			var seqs []uint64
			var batch [1]feed.Tick
			var err error
			for n := 1; n > 0 && err == nil; {
				n, err = b.Decode(batch[:])
				if n > 0 {
					seqs = append(seqs, batch[0].Seq)
				}
			}
			assert.Equal(t, c.seqs, seqs)
			if c.fails {
				assert.ErrorIs(t, err, ErrMalformed)
				return
			}
			require.NoError(t, err)
			gone, _ := b.Gone()
			assert.Equal(t, []uint64{c.notAsked, c.withheld, c.gone}, []uint64{b.NotAsked(), b.Withheld(), gone})
			assert.Equal(t, 41+c.count, b.Seq())
		})
	}
}

// A kind that this version does not know covers one number and is passed on without values;
// elements that a later version adds to a known kind are ignored (PROTOCOL.md, "Versions").
func TestBodyGrows(t *testing.T) {
	later := []byte{0x94, 0xcc, 200, 7, 1, 0x92, 0xc0, 0xa1, 'x'}
	got := decodeOne(t, later, 41)
	assert.Equal(t, feed.Tick{Seq: 41, Kind: 100, Instrument: 7, EventTime: noon + 1}, got)

	quote := exampleTicks()["narrow quote"]
	longer := append(AppendTick(nil, &quote, noon), 0x93, 1, 2, 3)
	longer[0] = 0x98
	quote.Seq = 41
	got = decodeOne(t, longer, 41)
	assert.True(t, got.Equal(&quote))
}

// FuzzBody feeds hostile bodies: no panic, no laxness (what we take as a tick, the library
// takes as an array too, and our own encoding of it decodes to the same), and no more memory
// than twenty times the bytes (PROMISES.md, 18, 19).
func FuzzBody(f *testing.F) {
	for _, ticks := range []map[string]feed.Tick{exampleTicks(), exampleSummaries()} {
		for _, tick := range ticks {
			f.Add(AppendTick(nil, &tick, noon))
		}
	}
	f.Add(AppendGone(nil, 1, GoneExpired))
	f.Add(AppendSkip(nil, 5))
	f.Add([]byte{0xdd, 0xff, 0xff, 0xff, 0xff, 4})
	f.Fuzz(func(t *testing.T, body []byte) {
		if len(body) > MaxBody {
			return
		}
		for _, b := range []Body{
			PacketBody(&Packet{First: 41, Count: 1 << 40, Base: noon}, body), PartBody(&SnapshotPart{Base: noon, Body: body}),
		} {
			bound := maxAllocation(len(body))
			if got := allocated(bound, func() { decodeAll(b) }); got > bound {
				t.Fatalf("%d bytes allocated to decode %d", got, len(body))
			}
			fuzzBody(t, b)
		}
	})
}

// decodeAll decodes b as far as it can be.
func decodeAll(b Body) {
	var batch [16]feed.Tick
	for n := 1; n > 0; {
		var err error
		if n, err = b.Decode(batch[:]); err != nil {
			return
		}
	}
}

func fuzzBody(t *testing.T, b Body) {
	batch := make([]feed.Tick, 4)
	for {
		rest := b.rest
		if len(rest) > 0 {
			compareCompact(t, b.snapshot, rest)
			compareVectors(t, rest)
		}
		n, err := b.Decode(batch[:1])
		if err != nil || n == 0 {
			return
		}
		entry := rest[:len(rest)-len(b.rest)]
		for len(entry) > 0 && entry[0]&0xf0 != 0x90 && entry[0] != 0xdc && entry[0] != 0xdd {
			e, err := EntryAt(entry)
			if err != nil {
				t.Fatalf("skip % x: %v", entry, err)
			}
			entry = entry[e.Size:]
		}
		if e, err := EntryAt(entry); err != nil || e.Size != len(entry) {
			t.Fatalf("EntryAt(% x) = %+v, %v", entry, e, err)
		}
		dec := msgpack.NewDecoder(bytes.NewReader(entry))
		if err := dec.Skip(); err != nil {
			t.Fatalf("laxer than the library: % x: %v", entry, err)
		}
		if _, err := dec.PeekCode(); err == nil {
			t.Fatalf("longer than the library: % x", entry)
		}
		again := batch[0]
		if !again.Kind.Known() {
			continue
		}
		if err := ValidateTick(&again); err != nil {
			t.Fatalf("decoded a tick that cannot be published: %+v: %v", again, err)
		}
		got := PartBody(&SnapshotPart{Base: noon, Body: AppendTick(nil, &again, noon)})
		if !b.snapshot {
			got = PacketBody(&Packet{First: again.Seq, Count: 1, Base: noon}, AppendTick(nil, &again, noon))
		}
		if n, err := got.Decode(batch[1:2]); n != 1 || err != nil || !batch[1].Equal(&again) {
			t.Fatalf("%+v\n%+v: %v", again, batch[1], err)
		}
	}
}

// An event time is the sum of two numbers. One beyond its bound, or beyond 64 bits, is refused in every form, by readers and by
// publishers.
func TestEventTimesDoNotOverflow(t *testing.T) {
	quote := func(at int64) feed.Tick { return feed.Quote{Bid: 1, BidSize: 2, Ask: 3, AskSize: 4}.Tick(7, at) }
	wide := func(at int64) feed.Tick { return feed.Quote{Bid: -1, BidSize: 2, Ask: 3, AskSize: 4}.Tick(7, at) }
	compact := func(at int64) feed.Tick { return feed.ClearTick(7, at, feed.SideBoth) }
	const most, least = 1<<62 - 1, -1 << 62
	for _, test := range []struct {
		base, offset int64
		bad          bool
	}{
		{most - 100, 100, false}, {most - 100, 101, true}, {least + 100, -100, false}, {least + 100, -101, true},
		{0, most, false}, {0, most + 1, true}, {0, least, false}, {0, least - 1, true},
		{maxBase - 1, most - maxBase + 1, false}, {maxBase, most - maxBase, false}, {maxBase - 1, most - maxBase + 2, true}, {-maxBase, maxBase - 1<<62, false},
		{noon, -noon, false}, {noon, 1 << 60, false}, {noon, most - noon, false}, {noon, most - noon + 1, true},
		{math.MaxInt64, math.MinInt64, false}, {math.MaxInt64, -1 << 62, false}, {math.MaxInt64, 1 - 1<<62, true}, {math.MaxInt64, 1, true}, {math.MinInt64, -1, true},
		{math.MinInt64, math.MinInt64, true}, {math.MaxInt64, math.MaxInt64, true}, {-1, math.MinInt64, true}, {1, math.MaxInt64, true},
	} {
		for name, make := range map[string]func(int64) feed.Tick{"narrow": quote, "wide": wide, "compact": compact} {
			var body []byte
			for range 2 * fixedRun {
				body = AppendTick(body, new(make(test.offset)), 0)
			}
			b := PacketBody(&Packet{First: 1, Count: 2 * fixedRun, Base: test.base}, body)
			var room [2 * fixedRun]feed.Tick
			n, err := b.Decode(room[:])
			if test.bad {
				assert.ErrorContains(t, err, "beyond the bound", "%s %+v", name, test)
				continue
			}
			require.NoError(t, err, "%s %+v", name, test)
			for i := range room[:n] {
				assert.Equal(t, test.base+test.offset, room[i].EventTime, "%s %+v", name, test)
			}
			assert.Equal(t, 2*fixedRun, n)
		}
	}
	for at, ok := range map[int64]bool{-1 << 62: true, 1<<62 - 1: true, 1 << 62: false, -1<<62 - 1: false} {
		tick := wide(at)
		assert.Equal(t, ok, ValidateTick(&tick) == nil, at)
		assert.Equal(t, ok, IsFixed(&tick), at)
		_, n, _ := AppendFixed(make([]byte, 0, 4*MaxEntry), []feed.Tick{tick}, 0, 0)
		assert.Equal(t, ok, n == 1, at)
	}
}
