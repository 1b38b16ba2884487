package publisher_test

import (
	"bytes"
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rs/zerolog"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tickfeed/codec"
	"tickfeed/feed"
	"tickfeed/publisher"
	"tickfeed/publisher/journal/memfs"
	"tickfeed/subscriber"
)

// A subscribe that comes with the hello, on a line that begins before the position, is answered only at the
// position: the snapshot of the added instruments is as of a number that the client has reached.
func TestSubscribeWaitsForThePosition(t *testing.T) {
	for _, journalled := range []bool{false, true} {
		for _, filter := range []codec.Filter{nil, {"A0"}} {
			t.Run(fmt.Sprintf("journal %v, filter %v", journalled, filter), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					cfg := publisher.Config{Seed: 1}
					if journalled {
						cfg.Journal, cfg.FS, cfg.Memory = "j", &memfs.FS{}, publisher.MinMemory
					}
					w := start(t, cfg)
					w.quotes(100)
					all := w.join(codec.Hello{Start: fromBeginning})
					all.until(104)
					if journalled {
						for range 10 {
							w.quotes(5000) // memory has dropped what comes first
						}
					}
					sent, err := codec.Append(nil, &codec.Hello{MinVersion: 1, MaxVersion: 1, Filter: filter, HasState: true, Position: w.position(all, 50)})
					require.NoError(t, err)
					sent, err = codec.Append(sent, &codec.Subscribe{Request: 7, Filter: codec.Filter{"A0", "B0"}})
					require.NoError(t, err)
					c := w.raw(sent)
					welcome := c.message().(*codec.Welcome)
					c.at, c.seed, c.next, c.state = welcome.Start, welcome.Seed, 50, all.state.Clone()
					require.Less(t, c.at, uint64(50), "the line begins before the position")
					for len(c.events) == 0 {
						require.NoError(t, c.step())
					}
					assert.Equal(t, "subscribed 7", c.events[0])
					assert.GreaterOrEqual(t, c.at, uint64(50))
					if filter != nil {
						c.snapshot()
					}
				})
			})
		}
	}
}

// Several subscribes may be open at once, even with the same request id. They are answered in order.
func TestSubscribesAreAnsweredInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := start(t, publisher.Config{Seed: 1})
		c := w.join(codec.Hello{Start: fromBeginning})
		c.until(4)
		for _, m := range []*codec.Subscribe{{Request: 9, Filter: codec.Filter{"A0"}}, {Request: 3, Filter: codec.Filter{"A1"}}, {Request: 3}} {
			c.send(m)
		}
		for len(c.events) < 5 {
			require.NoError(t, c.step())
		}
		assert.Equal(t, []string{"subscribed 9", "subscribed 3", "snapshot 4 scope 2", "subscribed 3", "snapshot 4 scope 2"}, c.events,
			"all that is new is scope 2, also where that is everything")
	})
}

// A subscribe after the end is answered as before it, with a snapshot of the added instruments.
func TestSubscribeAfterTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := start(t, publisher.Config{Seed: 1})
		c := w.join(codec.Hello{Start: fromBeginning, Filter: codec.Filter{"A0"}})
		c.until(4)
		require.NoError(t, w.pub.End(context.Background()))
		for len(c.events) == 0 {
			require.NoError(t, c.step())
		}
		c.send(&codec.Subscribe{Request: 1, Filter: codec.Filter{"A0", "B0"}})
		for len(c.events) < 3 {
			require.NoError(t, c.step())
		}
		assert.Equal(t, []string{"end", "subscribed 1", "snapshot 4 scope 2"}, c.events)
	})
}

// Start applies if the position is of no use: the publisher knows none of its sessions, and no longer has all of
// its own numbers.
func TestStartWithAForeignPosition(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, head := retained(t, publisher.MinMemory, 2<<20)
		foreign := codec.Position{Lineage: feed.Lineage{{ID: 77, First: 1}}, Next: 5}
		for _, test := range []struct {
			start codec.Start
			want  uint64
		}{
			{codec.Start{}, head},
			{codec.Start{Kind: codec.StartLive}, head},
			{codec.Start{Kind: codec.StartBeginning}, 1},
			{codec.Start{Kind: codec.StartSeq, Value: head - 1000}, head - 1000},
			{codec.Start{Kind: codec.StartSeq, Value: head + 1000}, head}, // with a position, a start beyond the head is not refused
		} {
			c := w.join(codec.Hello{Start: test.start, Position: foreign})
			assert.Equal(t, codec.StartedBySnapshot, c.welcome.Reason, test.start)
			assert.LessOrEqual(t, c.welcome.Start, test.want, test.start)
			assert.Greater(t, c.welcome.Start+1000, test.want, test.start)
			c.nc.Close()
		}
	})
}

// A position beyond the head of its own session is refused with code bad request, without retry.
func TestPositionBeyondTheHead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := start(t, publisher.Config{Seed: 1})
		all := w.join(codec.Hello{Start: fromBeginning})
		all.until(4)
		for next, ok := range map[uint64]bool{4: true, 5: false, codec.MaxSeq: false} {
			c := w.dial(codec.Hello{Position: w.position(all, next)})
			switch m := c.message().(type) {
			case *codec.Welcome:
				assert.True(t, ok, next)
			case *codec.Refusal:
				assert.False(t, ok, next)
				assert.Equal(t, codec.CodeBadRequest, m.Code)
				assert.False(t, m.Retry)
				assert.Contains(t, m.Text, "beyond the head")
			}
			c.nc.Close()
		}
	})
}

// The interval that a client asks for is limited to the bounds of the publisher, and the welcome has the
// resulting interval.
func TestHeartbeatIsClamped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := start(t, publisher.Config{Seed: 1})
		for wanted, want := range map[time.Duration]time.Duration{
			0: publisher.DefaultHeartbeat, 1: publisher.MinHeartbeat, publisher.MinHeartbeat: publisher.MinHeartbeat,
			3 * time.Second: 3 * time.Second, publisher.MaxHeartbeat: publisher.MaxHeartbeat, 24 * time.Hour: publisher.MaxHeartbeat,
		} {
			c := w.join(codec.Hello{Heartbeat: wanted})
			assert.Equal(t, want, c.welcome.Heartbeat, "%v is wanted", wanted)
			c.nc.Close()
		}
	})
}

// A line with an end: the publisher sends a goodbye with code done once the line has covered the numbers before the
// end, with and without a filter, from memory and from the journal, for past and for future numbers.
func TestUntilEndsALineWithGoodbye(t *testing.T) {
	for _, filter := range []codec.Filter{nil, {"A0"}, {"NONE"}} {
		for _, until := range []uint64{1, 50, 104, 150, 204} {
			t.Run(fmt.Sprintf("filter %v, until %d", filter, until), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					w := start(t, publisher.Config{Seed: 1})
					w.quotes(100)
					c := w.join(codec.Hello{Start: fromBeginning, Filter: filter, Until: until})
					time.Sleep(time.Second)
					w.quotes(100)
					published := time.Now()
					for err := error(nil); err == nil; err = c.step() {
					}
					assert.Zero(t, time.Since(published), "it ends at once")
					assert.Equal(t, []string{"goodbye done"}, c.events)
					assert.GreaterOrEqual(t, c.at, until)
					assert.LessOrEqual(t, c.at, max(until, 104)+100, "it ends with the packet that holds the last number")
					time.Sleep(time.Second)
					assert.Empty(t, w.pub.Stats().Conns)
					assert.Zero(t, w.pub.Stats().Missing, "it had everything that it asked for")
				})
			})
		}
	}
}

// The publisher grants the features in the hello that it knows, and leaves out the others.
func TestFeaturesThatAreKnownAreGranted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := start(t, publisher.Config{Seed: 1})
		for _, test := range []struct{ asked, granted []string }{
			{nil, nil}, {[]string{"of-another-time"}, nil}, {[]string{"a", codec.FeatureAck}, []string{codec.FeatureAck}},
		} {
			c := w.join(codec.Hello{Features: test.asked})
			assert.Equal(t, test.granted, c.welcome.Features)
			c.nc.Close()
		}
	})
}

// A gap is fetched on a second connection, from number 42 up to 99, while the first connection continues.
func TestGapOnASecondConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := start(t, publisher.Config{Seed: 1})
		w.quotes(300)
		s, err := subscriber.New(subscriber.Config{
			Addrs: []string{"pub:1"}, Dial: w.connect, Start: codec.Start{Kind: codec.StartSeq, Value: 42}, Until: 99, Ack: true,
		})
		require.NoError(t, err)
		var got []uint64
		require.NoError(t, s.Run(t.Context(), func(b *subscriber.Batch) error {
			for i := range b.Ticks {
				if !b.Snapshot {
					got = append(got, b.Ticks[i].Seq)
				}
			}
			return nil
		}))
		require.Len(t, got, 57)
		assert.Equal(t, []uint64{42, 98}, []uint64{got[0], got[56]})
		assert.Equal(t, feed.Totals{NotAsked: 41, Delivered: 57}, s.Ledger().Totals())
	})
}

// The log says what a client that left was sent, and what it has confirmed. The reason is the goodbye of the client
// if it sent one, whatever became of data still being sent to it.
func TestLogOfAClientThatLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := new(bytes.Buffer)
		w := start(t, publisher.Config{Seed: 1, Logger: zerolog.New(log)})
		w.quotes(10)
		c := w.join(codec.Hello{Start: fromBeginning})
		c.until(14)
		c.send(&codec.Pulse{Next: 5})
		c.send(&codec.Goodbye{Code: codec.CodeDone})
		time.Sleep(time.Second)
		synctest.Wait()
		assert.Contains(t, log.String(), `"next":14,"confirmed":5,"reason":"the client said goodbye","message":"subscriber left"`)
	})
}
