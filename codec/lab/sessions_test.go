package lab

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tickfeed/codec"
	"tickfeed/feed"
	"tickfeed/subscriber"
)

// A right subscriber of any publisher is right when the lab makes up sessions (PROTOCOL.md, "Sessions change"): it resumes,
// disowns, or begins anew, and so does a client that reads everything afterwards.
func TestMadeUpSessions(t *testing.T) {
	for _, test := range []struct {
		name, script string
		filter       codec.Filter
		sessions     int          // in the lineage of the position
		firsts       []uint64     // of the made-up sessions there
		again        []feed.Range // numbers that come again
		disowned     uint64
		replaced     bool
	}{
		{"restarted", "at seq 1000: restart session", nil, 2, []uint64{1000}, nil, 0, false},
		{"restarted, filtered", "at seq 1000: restart session", codec.Filter{"AAPL"}, 2, []uint64{1000}, nil, 0, false},
		{"restarted often", "every seq 500: restart session", nil, 7, []uint64{500, 1000, 1500, 2000, 2500, 3000}, nil, 0, false},
		{"rewound", "at seq 1000: rewind session 50", nil, 2, []uint64{950}, []feed.Range{{From: 950, To: 1000}}, 50, false},
		{"rewound, filtered", "at seq 1000: rewind session 50", codec.Filter{"A*"}, 2, []uint64{950}, []feed.Range{{From: 950, To: 1000}}, 50, false},
		{"rewound beyond a restart", "at seq 500: restart session\nat seq 1000: rewind session 600", nil, 2, []uint64{400}, []feed.Range{{From: 400, To: 1000}}, 600, false},
		{"rewound to a restart", "at seq 500: restart session\nat seq 1000: rewind session 500", nil, 3, []uint64{500, 500}, []feed.Range{{From: 500, To: 1000}}, 500, false},
		{"restarted after a rewind", "at seq 1000: rewind session 50\nat seq 1200: restart session", nil, 3, []uint64{950, 1200}, []feed.Range{{From: 950, To: 1000}}, 50, false},
		{"replaced", "at seq 1000: replace session", nil, 1, []uint64{1}, []feed.Range{{From: 1, To: 1000}}, 0, true},
		{"restarted after it was replaced", "at seq 1000: replace session\nat seq 2000: restart session", nil, 2, []uint64{1, 2000}, []feed.Range{{From: 1, To: 1000}}, 0, true},
		{"with other faults", "at seq 1000: restart session\nfor probe at seq 999: cut\nfor probe at seq 1001: drop tick\nfor probe at seq 1500: flip\nat seq 1700: rewind session 100\nfor probe at login 4: slow login 5ms", nil, 3, []uint64{1000, 1600}, []feed.Range{{From: 1600, To: 1700}}, 100, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			run := func() (x *trial, lineage feed.Lineage) {
				synctest.Test(t, func(t *testing.T) {
					var late feed.Lineage
					x = try(t, test.script, 3000, func(cfg *subscriber.Config) { cfg.Filter = test.filter }, func(x *trial, cfg subscriber.Config) {
						late = readAll(t, x, cfg)
					})
					lineage = x.sub.Position().Lineage
					assert.Equal(t, lineage, late, "a client that reads everything afterwards sees the same sessions")
				})
				return x, lineage
			}
			x, lineage := run()
			for _, r := range x.lab.Results() {
				require.Positive(t, r.Times, r.Text)
			}
			head := x.pub.Stats().Head
			require.Equal(t, head, x.sub.Position().Next, "%v %v", x.err, x.ended)
			require.Len(t, lineage, test.sessions)
			var firsts []uint64
			for _, s := range lineage[len(lineage)-len(test.firsts):] {
				firsts = append(firsts, s.First)
				assert.NotEqual(t, x.pub.Lineage().Current().ID, s.ID)
			}
			assert.Equal(t, test.firsts, firsts)
			next := uint64(1)
			again := test.again
			for _, seq := range x.ticks {
				if len(again) > 0 && seq == again[0].From && next == again[0].To {
					next, again = again[0].From, again[1:]
				}
				require.Equal(t, next, seq)
				next++
			}
			assert.Empty(t, again, "what is disowned comes again")
			assert.Equal(t, head, next)
			require.NoError(t, x.sub.Ledger().Check())
			totals := x.sub.Ledger().Totals()
			assert.Equal(t, test.disowned, totals.Disowned)
			if !test.replaced {
				assert.Zero(t, totals.Lost)
			}
			type what struct {
				Line       int
				Seq, Login uint64
			}
			faults := func(x *trial) (all []what) {
				for _, e := range x.events {
					all = append(all, what{e.Line, e.Seq, e.Login})
				}
				return all
			}
			other, _ := run()
			assert.Equal(t, faults(x), faults(other), "the same script does the same at the same ticks")
		})
	}
}

// A client accounts for every number of the sessions that are made up, from each start, and beside other clients.
func TestMadeUpSessionsForEveryStart(t *testing.T) {
	for _, script := range []string{"at seq 1000: restart session", "for other at seq 1000: rewind session 50", "at 60ms: rewind session 300", "at seq 1000: replace session\nat seq 1200: rewind session 10"} {
		for _, start := range []codec.Start{{}, {Kind: codec.StartLive}, {Kind: codec.StartBeginning}, {Kind: codec.StartSeq, Value: 3}} {
			t.Run(fmt.Sprint(script, start), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					var other *subscriber.Subscriber
					ran := make(chan error, 1)
					ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
					defer cancel()
					x := try(t, script, 1500, func(cfg *subscriber.Config) {
						cfg.Start = start
						second := *cfg
						second.Client = "other"
						var err error
						other, err = subscriber.New(second)
						require.NoError(t, err)
						go func() { ran <- other.Run(ctx, func(*subscriber.Batch) error { return nil }) }()
					}, func(x *trial, _ subscriber.Config) {
						time.Sleep(10 * time.Second)
						cancel()
						<-ran
					})
					for _, r := range x.lab.Results() {
						require.Equal(t, uint64(1), r.Times, r.Text)
					}
					for _, s := range []*subscriber.Subscriber{x.sub, other} {
						assert.Equal(t, x.pub.Stats().Head, s.Position().Next)
						assert.Greater(t, len(s.Position().Lineage)+strings.Count(script, "replace"), 1)
						require.NoError(t, s.Ledger().Check())
					}
					assert.Equal(t, x.sub.Position().Lineage, other.Position().Lineage)
					for _, err := range x.ended {
						assert.NotContains(t, err.Error(), "protocol")
					}
				})
			})
		}
	}
}

// readAll lets another subscriber read the whole session behind the lab, in order, and returns its lineage.
func readAll(t *testing.T, x *trial, cfg subscriber.Config) feed.Lineage {
	t.Helper()
	cfg.Client = "late"
	before := len(x.ended)
	sub := readOn(t, x, cfg)
	assert.Len(t, x.ended, before, "the late client was disconnected")
	return sub.Position().Lineage
}

// readOn lets another subscriber read the session behind the lab up to its end, in order.
func readOn(t *testing.T, x *trial, cfg subscriber.Config) *subscriber.Subscriber {
	t.Helper()
	sub, err := subscriber.New(cfg)
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
	defer cancel()
	next := uint64(0)
	err = sub.Run(ctx, func(b *subscriber.Batch) error {
		for i := range b.Ticks {
			if b.Snapshot {
				break
			}
			if next > 0 {
				assert.Equal(t, next, b.Ticks[i].Seq)
			}
			next = b.Ticks[i].Seq + 1
		}
		if c := b.Change; c != nil && c.State == subscriber.Disconnected {
			x.ended = append(x.ended, c.Err)
		}
		if next == x.pub.Stats().Head {
			cancel()
		}
		return nil
	})
	require.ErrorIs(t, err, context.Canceled)
	require.NoError(t, sub.Ledger().Check())
	return sub
}
