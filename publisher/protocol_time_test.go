package publisher_test

import (
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tickfeed/codec"
	"tickfeed/publisher"
	"tickfeed/publisher/journal/memfs"
)

func testPublishTimesNeverDecrease(t *testing.T) {
	bubble(func(t *testing.T) {
		var now atomic.Int64
		now.Store(noon)
		cfg := publisher.Config{Seed: 1, Journal: "j", FS: &memfs.FS{}, Now: func() int64 { return now.Load() }}
		w := start(t, cfg)
		for range 3 {
			w.quotes(10)
			now.Add(-int64(time.Hour))
			w.quotes(10)
			now.Add(int64(time.Minute))
			w.stop()
			now.Add(-int64(time.Hour))
			w.open(cfg)
			w.quotes(10)
		}
		for _, filter := range []codec.Filter{nil, {"A1"}} {
			c := w.join(codec.Hello{Start: fromBeginning, Filter: filter})
			c.until(94) // each packet is compared with the one before
			assert.GreaterOrEqual(t, c.publish, noon)
			c.nc.Close()
		}
	})(t)
}

func testHeartbeats(t *testing.T) {
	for _, asked := range []time.Duration{0, 200 * time.Millisecond, time.Nanosecond, 24 * time.Hour} {
		synctest.Test(t, func(t *testing.T) {
			w := start(t, publisher.Config{Seed: 1})
			c := w.join(codec.Hello{Start: fromBeginning, Heartbeat: asked})
			interval := c.welcome.Heartbeat
			if asked == 0 || asked == 200*time.Millisecond {
				assert.Equal(t, max(asked, min(publisher.DefaultHeartbeat, publisher.DefaultHeartbeat*max(0, 1-asked))), interval)
			}
			assert.GreaterOrEqual(t, interval, time.Millisecond)
			assert.LessOrEqual(t, interval, 24*time.Hour)
			c.until(4)
			last := time.Now() // when a message was last sent to it

			var beats []time.Time
			for len(beats) < 5 { // a quiet market
				c.send(&codec.Pulse{Next: c.next})
				for _, o := range c.observe(interval / 2) {
					require.Equal(t, codec.TypeHeartbeat, o.typ)
					beats = append(beats, o.at)
				}
			}
			for _, at := range beats {
				assert.Equal(t, interval, at.Sub(last), "one interval after what came before")
				last = at
			}
			for range 10 { // a market with a tick in 9 of 10 intervals: no heartbeat is due
				time.Sleep(time.Until(last.Add(interval * 9 / 10)))
				w.quotes(1)
				c.send(&codec.Pulse{Next: c.next})
				seen := c.observe(interval / 20)
				require.Len(t, seen, 1)
				require.Equal(t, codec.TypePacket, seen[0].typ)
				last = seen[0].at
			}
			c.nc.Close()
		})
	}
}

func testHeartbeatFields(t *testing.T) {
	bubble(func(t *testing.T) {
		fs := &memfs.FS{}
		var now atomic.Int64
		now.Store(noon)
		w := start(t, publisher.Config{Seed: 1, Journal: "j", FS: fs, Now: func() int64 { return now.Load() }})
		c := w.join(codec.Hello{Start: fromBeginning})
		c.until(4)
		now.Add(77)
		beats := c.observe(publisher.DefaultHeartbeat * 3 / 2)
		require.Len(t, beats, 1)
		assert.Equal(t, &codec.Heartbeat{Covered: 4, Head: 4, Now: now.Load()}, beats[0].msg)
		w.quotes(10)
		c.send(&codec.Pulse{Next: 4, Echo: now.Load()})
		now.Add(1000)
		beats = c.observe(publisher.DefaultHeartbeat * 3 / 2)
		require.NotEmpty(t, beats)
		m, ok := beats[len(beats)-1].msg.(*codec.Heartbeat)
		require.True(t, ok)
		assert.GreaterOrEqual(t, m.Head, m.Covered)
		assert.Equal(t, uint64(14), m.Covered)
	})(t)
}

func testSilence(t *testing.T) {
	bubble(func(t *testing.T) {
		w := start(t, publisher.Config{Seed: 1})
		c := w.join(codec.Hello{})
		for range 5 {
			time.Sleep(3*publisher.DefaultHeartbeat - time.Millisecond)
			c.send(&codec.Pulse{})
		}
		for i := range 5 {
			time.Sleep(3*publisher.DefaultHeartbeat - time.Millisecond)
			c.send(&codec.Subscribe{Request: uint64(i)}) // any message that the text names is a sign of life
		}
		began := time.Now()
		synctest.Wait()
		require.Len(t, w.pub.Stats().Conns, 1, "a sign of life within three intervals is enough")
		bye := c.ending()
		require.NotNil(t, bye)
		assert.Equal(t, codec.CodeSilent, bye.Code)
		assert.True(t, bye.Retry)
		assert.Equal(t, 3*publisher.DefaultHeartbeat, time.Since(began))
	})(t)
}
