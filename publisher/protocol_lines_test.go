package publisher_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tickfeed/codec"
	"tickfeed/feed"
	"tickfeed/publisher"
)

// manyInstruments defines n more instruments.
func (w *world) manyInstruments(n int) {
	w.t.Helper()
	for i := range n {
		_, err := w.pub.Define(context.Background(), feed.Definition{Symbol: fmt.Sprintf("MANY%d", i), Venue: "XNAS", Currency: "USD"})
		require.NoError(w.t, err)
	}
	require.NoError(w.t, w.pub.Flush(context.Background()))
}

func testSeeds(t *testing.T) {
	bubble(func(t *testing.T) {
		w := start(t, publisher.Config{Seed: 1})
		w.quotes(10)
		seeds := map[uint32]string{}
		for _, filter := range []codec.Filter{nil, {"A0"}, {"A1"}, {"A0", "A1"}} {
			c := w.join(codec.Hello{Filter: filter, Start: fromBeginning})
			if filter == nil {
				var id [8]byte
				binary.BigEndian.PutUint64(id[:], uint64(c.lineage[0].ID))
				assert.Equal(t, crc32.Checksum(id[:], crc32.MakeTable(crc32.Castagnoli)), c.welcome.Seed)
			}
			assert.Empty(t, seeds[c.welcome.Seed], "%v has the seed of another line", filter)
			seeds[c.welcome.Seed] = fmt.Sprint(filter)
			c.until(12) // each packet is compared with the seed
			c.nc.Close()
		}
	})(t)
}

func testLineStartsAtItsPacket(t *testing.T) {
	bubble(func(t *testing.T) {
		w := start(t, publisher.Config{Seed: 1})
		w.quotes(10)
		w.quotes(10) // packets that begin at 1, 4, 14
		full := w.join(codec.Hello{Start: fromBeginning})
		begins := []uint64{}
		for _, o := range full.observe(time.Second / 2) {
			if o.typ == codec.TypePacket {
				begins = append(begins, codec.PacketAt(o.raw).First)
			}
		}
		require.Contains(t, begins, uint64(14))
		for position := uint64(1); position <= 24; position++ {
			want := uint64(1)
			for _, b := range append(begins, 24) {
				if b <= position {
					want = b
				}
			}
			asked := w.join(codec.Hello{Start: codec.Start{Kind: codec.StartSeq, Value: position}})
			assert.Equal(t, want, asked.welcome.Start, "number %d", position)
			assert.Equal(t, codec.StartedAsAsked, asked.welcome.Reason)
			resumed := w.join(codec.Hello{HasState: true, Position: codec.Position{Lineage: full.lineage, Next: position}})
			assert.Equal(t, want, resumed.welcome.Start, "position %d", position)
			assert.Equal(t, codec.StartedResumed, resumed.welcome.Reason)
			resumed.state = feed.NewState()
			if position == 14 {
				assert.Empty(t, resumed.events)
			}
			asked.nc.Close()
			resumed.nc.Close()
		}
	})(t)
}

func testSubscribed(t *testing.T) {
	for _, test := range []struct {
		from, to []string
		added    codec.Filter // of the snapshot
		none     bool         // there is no snapshot
		told     []string     // afterwards
	}{
		{from: []string{"A0", "A1"}, to: []string{"A0"}, none: true, told: []string{"A0"}},
		{from: []string{"A0"}, to: []string{"A0", "B0"}, added: codec.Filter{"B0"}, told: []string{"A0", "B0"}},
		{from: []string{"A0", "A1"}, to: []string{"A1", "B*", "C*"}, added: codec.Filter{"B*", "C*"}, told: []string{"A1", "B0"}},
		{from: []string{"A0"}, to: []string{"A0"}, none: true, told: []string{"A0"}},
		{from: []string{"A0"}, to: nil, added: nil, told: []string{"A0", "A1", "B0"}},
		{from: nil, to: []string{"A*"}, none: true, told: []string{"A0", "A1"}},
		{from: nil, to: nil, none: true, told: []string{"A0", "A1", "B0"}},
	} {
		synctest.Test(t, func(t *testing.T) {
			w := start(t, publisher.Config{Seed: 1})
			w.quotes(9)
			c := w.join(codec.Hello{Filter: test.from, Start: fromBeginning})
			c.until(13)
			c.send(&codec.Subscribe{Request: 1, Filter: test.to})
			var begin *codec.SnapshotBegin
			var answer *codec.Subscribed
			for _, o := range c.observe(time.Second / 2) {
				switch m := o.msg.(type) {
				case *codec.Subscribed:
					answer = m
				case *codec.SnapshotBegin:
					require.NotNil(t, answer, "the snapshot comes after the answer")
					begin = m
				}
			}
			require.NotNil(t, answer)
			assert.Equal(t, codec.Subscribed{Request: 1, From: 13, Seed: codec.LineSeed(c.lineage[0].ID, test.to)}, *answer)
			if test.none {
				assert.Nil(t, begin, "%v to %v", test.from, test.to)
			} else if assert.NotNil(t, begin, "%v to %v", test.from, test.to) {
				assert.Equal(t, codec.SnapshotBegin{Seq: 13, Scope: codec.ScopeAdded, Filter: test.added}, *begin)
			}
			full := w.join(codec.Hello{})
			full.snapshot()
			c.seed, c.ticks, c.state = answer.Seed, nil, full.state
			full.nc.Close()
			c.send(&codec.Pulse{Next: 13})
			w.quotes(3)
			c.until(16)
			var told []string
			for _, tick := range c.ticks {
				d, _ := c.state.Definition(tick.Instrument)
				told = append(told, d.Symbol)
			}
			assert.Equal(t, test.told, told)
			c.nc.Close()
		})
	}
}

func testOrderOfPatterns(t *testing.T) {
	bubble(func(t *testing.T) {
		w := start(t, publisher.Config{Seed: 1})
		w.quotes(9)
		var welcomes []*codec.Welcome
		for _, filter := range [][]string{{"A0", "B0"}, {"B0", "A0"}, {"B0", "A0", "B0"}} {
			c := w.raw(hello(helloFilter, filter, helloStart, 2))
			c.welcome = c.message().(*codec.Welcome)
			c.at, c.next, c.seed = c.welcome.Start, c.welcome.Start, c.welcome.Seed
			welcomes = append(welcomes, c.welcome)
			c.until(13)
			assert.Equal(t, []uint64{1, 3, 4, 6, 7, 9, 10, 12}, c.seqs(), "%v", filter)
			c.nc.Close()
		}
		assert.Equal(t, welcomes[0].Seed, welcomes[1].Seed)
		assert.Equal(t, welcomes[0].Seed, welcomes[2].Seed)
	})(t)
}

func testIdleFilteredLine(t *testing.T) {
	bubble(func(t *testing.T) {
		w := start(t, publisher.Config{Seed: 1})
		c := w.join(codec.Hello{Filter: codec.Filter{"QUIET"}, Start: fromBeginning})
		for round := range uint64(5) {
			w.quotes(10)
			seen := c.observe(publisher.DefaultHeartbeat * 9 / 8)
			require.Len(t, seen, 2, "a packet and a heartbeat")
			require.Equal(t, codec.TypePacket, seen[0].typ)
			h, raw, err := codec.ParsePacket(seen[0].raw)
			require.NoError(t, err)
			body := codec.PacketBody(&h, raw)
			n, err := body.Decode(make([]feed.Tick, 1))
			require.NoError(t, err)
			assert.Zero(t, n)
			assert.Equal(t, h.Count, body.NotAsked(), "it skips")
			head := 14 + 10*round
			assert.Equal(t, head, h.First+h.Count, "up to the head")
			beat := seen[1].msg.(*codec.Heartbeat)
			assert.Equal(t, head, beat.Covered)
			assert.Equal(t, head, beat.Head)
			c.send(&codec.Pulse{Next: head})
		}
	})(t)
}

func testWithheld(t *testing.T) {
	for _, filter := range []codec.Filter{nil, {"A*"}} {
		synctest.Test(t, func(t *testing.T) {
			w := start(t, publisher.Config{Seed: 1})
			c := w.join(codec.Hello{Filter: filter, Start: fromBeginning, Slow: codec.SlowLatest, MaxLag: time.Second})
			c.until(3)
			for range 20 {
				w.quotes(5000)
				c.send(&codec.Pulse{Next: c.next})
				time.Sleep(500 * time.Millisecond)
			}
			c.until(100_004)
			if len(c.events)%2 == 1 {
				c.snapshot()
			}
			require.NotEmpty(t, c.events)
			for i := 0; i+1 < len(c.events); i += 2 {
				var from, to, seq uint64
				_, err := fmt.Sscanf(c.events[i], "withheld [%d, %d)", &from, &to)
				require.NoError(t, err, c.events[i])
				_, err = fmt.Sscanf(c.events[i+1], "snapshot %d scope 0", &seq)
				require.NoError(t, err, c.events[i+1])
				assert.Equal(t, to, seq)
			}
			late := w.join(codec.Hello{Filter: filter})
			late.snapshot()
			assert.Empty(t, late.state.Diff(c.state), "volumes stay right")
			c.nc.Close()
		})
	}
}

func testSnapshotOrder(t *testing.T) {
	bubble(func(t *testing.T) {
		w := start(t, publisher.Config{Seed: 1})
		w.manyInstruments(6000)
		c := w.join(codec.Hello{})
		seen := c.observe(3 * time.Second / 2)
		require.Greater(t, len(seen), 4)
		begin, ok := seen[0].msg.(*codec.SnapshotBegin)
		require.True(t, ok)
		assert.Equal(t, uint64(6004), begin.Seq)
		parts := uint64(0)
		for _, o := range seen[1:] {
			if o.typ == codec.TypeHeartbeat {
				continue
			}
			if end, ok := o.msg.(*codec.SnapshotEnd); ok {
				assert.Equal(t, begin.Seq, end.Seq)
				assert.Equal(t, parts, end.Parts)
				assert.GreaterOrEqual(t, parts, uint64(2))
				return
			}
			require.Equal(t, codec.TypeSnapshotPart, o.typ)
			require.LessOrEqual(t, len(o.raw), 37+65_535)
			part, err := codec.ParsePart(o.raw, c.seed)
			require.NoError(t, err)
			assert.Equal(t, begin.Seq, part.Seq)
			assert.Equal(t, parts, part.Index)
			parts++
		}
		t.Error("the snapshot has no end")
	})(t)
}

func testSnapshotOfDefinitions(t *testing.T) {
	bubble(func(t *testing.T) {
		w := start(t, publisher.Config{Seed: 1})
		w.quotes(10)
		for filter, want := range map[string]int{"*": 3, "A*": 2, "NONE": 0} {
			c := w.join(codec.Hello{Filter: codec.Filter{filter}, Start: codec.Start{Kind: codec.StartLive}})
			ticks := 0
			for _, o := range c.observe(time.Second / 2) {
				if o.typ != codec.TypeSnapshotPart {
					continue
				}
				part, err := codec.ParsePart(o.raw, c.seed)
				require.NoError(t, err)
				body := codec.PartBody(&part)
				c.each(&body, func(tick feed.Tick) {
					assert.Equal(t, feed.KindDefinition, tick.Kind)
					ticks++
				})
			}
			assert.Equal(t, want, ticks, filter)
			c.nc.Close()
		}
	})(t)
}
