package publisher

import (
	"fmt"
	"io"
	"net"
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tickfeed/codec"
	"tickfeed/codec/netsim"
	"tickfeed/feed"
)

// A crowd is a publisher of many instruments, whose clients stall after little data.
type crowd struct {
	t   *testing.T
	net *netsim.Network
	p   *Publisher
	ids []feed.InstrumentID
}

const (
	crowdInstruments = 4000
	crowdRoom        = 1 << 20 // of snapshots
	crowdSize        = 40      // clients that do not read
)

func newCrowd(t *testing.T) *crowd {
	c := &crowd{t: t, net: netsim.New(1, netsim.Config{Conditions: netsim.Conditions{Buffer: 32 << 10}})}
	p, err := New(Config{Seed: 1, Sleep: time.Sleep, maxHandshakes: 2 * crowdSize})
	require.NoError(t, err)
	p.serving.snapshots.room = crowdRoom
	c.p = p
	for i := range crowdInstruments {
		id, err := p.Define(t.Context(), feed.Definition{Symbol: fmt.Sprintf("S%04d", i), Venue: "XNAS"})
		require.NoError(t, err)
		c.ids = append(c.ids, id)
	}
	c.publish(c.ids)
	serveAt(t, c.net, p)
	return c
}

// publish publishes a quote of each of ids, ten in a packet.
func (c *crowd) publish(ids []feed.InstrumentID) {
	now := time.Now().UnixNano()
	ticks := make([]feed.Tick, 0, 10)
	for i, id := range ids {
		if ticks = append(ticks, feed.Quote{Bid: int64(i), BidSize: 1, Ask: int64(i) + 1, AskSize: 2}.Tick(id, now)); len(ticks) == cap(ticks) {
			require.NoError(c.t, c.p.Publish(c.t.Context(), ticks))
			require.NoError(c.t, c.p.Flush(c.t.Context()))
			ticks = ticks[:0]
		}
	}
}

func (c *crowd) send(nc net.Conn, messages ...codec.Message) {
	for _, m := range messages {
		b, err := codec.Append(nil, m)
		require.NoError(c.t, err)
		_, err = nc.Write(b)
		require.NoError(c.t, err)
	}
}

// dial connects a client that gives signs of life for as long as it is connected.
func (c *crowd) dial(hello codec.Hello) net.Conn {
	nc, err := c.net.Dial(c.t.Context(), "pub:1")
	require.NoError(c.t, err)
	hello.MinVersion, hello.MaxVersion = 1, 1
	c.send(nc, &hello)
	pulse, err := codec.Append(nil, &codec.Pulse{})
	require.NoError(c.t, err)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for err == nil {
			time.Sleep(time.Second)
			_, err = nc.Write(pulse)
		}
	}()
	c.t.Cleanup(func() {
		nc.Close()
		<-ended
	})
	return nc
}

// rest reads what was sent, at most rate bytes per second unless rate is 0, and returns the number of whole snapshots
// and the goodbye.
func (c *crowd) rest(nc net.Conn, rate int, until func(snapshots int) bool) (snapshots int, bye *codec.Goodbye) {
	var from io.Reader = nc
	if rate > 0 {
		from = &slowReader{nc, rate}
	}
	r := codec.NewReader(from, 0)
	for {
		typ, raw, err := r.Next()
		if err != nil {
			assert.ErrorIs(c.t, err, io.EOF)
			return snapshots, bye
		}
		require.NoError(c.t, err)
		switch typ {
		case codec.TypeSnapshotEnd:
			if snapshots++; until != nil && until(snapshots) {
				return snapshots, nil
			}
		case codec.TypeGoodbye:
			m, err := codec.Decode(raw)
			require.NoError(c.t, err)
			bye = m.(*codec.Goodbye)
		}
	}
}

type slowReader struct {
	nc   net.Conn
	rate int // bytes in a second
}

func (r *slowReader) Read(p []byte) (int, error) {
	time.Sleep(time.Second / 16)
	return r.nc.Read(p[:min(len(p), r.rate/16)])
}

// held returns the size of all snapshots that connections hold, the size of the largest, and the bound of all, in
// bytes.
func (c *crowd) held() (bytes, longest, most int) {
	all := &c.p.serving.snapshots
	all.mu.Lock()
	defer all.mu.Unlock()
	for _, s := range all.all {
		bytes += cap(s.data)
		longest = max(longest, s.size)
	}
	return bytes, longest, all.limitLocked()
}

// Clients that do not read their snapshots, all of them different, take bounded memory in total, whatever the
// snapshots are for. A client that reads, even slowly, gets its snapshot meanwhile; stalled clients are disconnected
// for it, and told why.
func TestStalledSnapshotsAreBounded(t *testing.T) {
	own := func(i int) codec.Filter { return codec.Filter{"S*", fmt.Sprint("X", i)} }
	for _, test := range []struct {
		name  string
		hello func(c *crowd, i int) codec.Hello
		then  func(c *crowd, i int) codec.Message
		live  bool // ticks are published meanwhile
	}{
		{name: "the latest, of filters", hello: func(_ *crowd, i int) codec.Hello { return codec.Hello{Filter: own(i)} }},
		{name: "the latest, one after the other", live: true, hello: func(*crowd, int) codec.Hello { return codec.Hello{} }},
		{name: "definitions", hello: func(_ *crowd, i int) codec.Hello {
			return codec.Hello{Filter: own(i), Start: codec.Start{Kind: codec.StartLive}}
		}},
		{name: "of numbers", hello: func(c *crowd, i int) codec.Hello {
			return codec.Hello{Start: codec.Start{Kind: codec.StartSeq, Value: c.p.seq.next - uint64(i) - 1}}
		}},
		{name: "of positions", hello: func(c *crowd, i int) codec.Hello {
			return codec.Hello{Position: codec.Position{Lineage: c.p.Lineage(), Next: c.p.seq.next - uint64(i) - 1}}
		}},
		{name: "of instruments that are added", hello: func(_ *crowd, i int) codec.Hello {
			return codec.Hello{Filter: codec.Filter{fmt.Sprint("X", i)}}
		}, then: func(_ *crowd, i int) codec.Message { return &codec.Subscribe{Request: 1, Filter: own(i)} }},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newCrowd(t)
				var stalled []net.Conn
				for i := range crowdSize {
					nc := c.dial(test.hello(c, i))
					if test.then != nil {
						c.send(nc, test.then(c, i))
					}
					if test.live {
						c.publish(c.ids[:10])
						time.Sleep(2 * joinAge)
					}
					stalled = append(stalled, nc)
					synctest.Wait()
					bytes, _, most := c.held()
					assert.LessOrEqual(t, bytes, most*5/4, "a size is estimated before it is known")
				}
				bounded := func() {
					bytes, longest, most := c.held()
					require.Greater(t, crowdSize*longest, 2*most, "more than there is room for")
					assert.LessOrEqual(t, bytes, most*5/4, "a size is estimated before it is known")
				}
				bounded()
				began := time.Now()
				honest := c.dial(codec.Hello{Filter: own(crowdSize)})
				slow := c.dial(codec.Hello{Filter: own(crowdSize + 1)})
				for _, nc := range []net.Conn{honest, slow} {
					require.NoError(t, nc.SetReadDeadline(began.Add(time.Minute)))
				}
				done := make(chan struct{})
				go func() {
					defer close(done)
					n, _ := c.rest(slow, chunkTarget*5/4, func(n int) bool { return n == 1 })
					assert.Equal(t, 1, n, "the slow one's snapshot")
				}()
				n, _ := c.rest(honest, 0, func(n int) bool { return n == 1 })
				assert.Equal(t, 1, n, "the honest one's snapshot")
				<-done
				bounded()
				ended, last := 0, 1
				if test.then != nil {
					last = 2
				}
				for _, nc := range stalled {
					require.NoError(t, nc.SetReadDeadline(time.Now().Add(time.Minute)))
					_, bye := c.rest(nc, 0, func(n int) bool { return n == last })
					if bye != nil {
						ended++
						assert.Equal(t, codec.CodeBusy, bye.Code)
						assert.True(t, bye.Retry)
					}
				}
				assert.NotZero(t, ended, "some clients make room for others")
			})
		})
	}
}

// A slow consumer that is to skip to a snapshot waits for room as well. Meanwhile it is sent heartbeats, which do not
// cover the numbers that it has not received; afterwards each of these numbers is withheld.
func TestSlowConsumerWaitsForRoom(t *testing.T) {
	for _, filter := range []codec.Filter{nil, {"S0*"}} {
		t.Run(fmt.Sprint(filter), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newCrowd(t)
				nc := c.dial(codec.Hello{Filter: filter, Start: codec.Start{Kind: codec.StartSnapshot}, Slow: codec.SlowLatest, MaxLag: time.Second})
				r := codec.NewReader(nc, 0)
				next := func() (codec.Type, []byte) {
					require.NoError(t, nc.SetReadDeadline(time.Now().Add(time.Minute)))
					typ, raw, err := r.Next()
					require.NoError(t, err)
					return typ, raw
				}
				for typ, _ := next(); typ != codec.TypeSnapshotEnd; typ, _ = next() {
				}
				at := c.p.seq.next
				for i := range crowdSize {
					c.dial(codec.Hello{Filter: codec.Filter{"S*", fmt.Sprint("X", i)}})
				}
				for range 400 {
					c.publish(c.ids[:10]) // more than the network holds; the client wants each
				}
				time.Sleep(2 * time.Second)
				c.publish(c.ids[:10])
				heartbeats, withheld, began := 0, uint64(0), time.Time{}
				for {
					typ, raw := next()
					if typ == codec.TypeHeartbeat && withheld == 0 {
						heartbeats++
					}
					if typ == codec.TypeSnapshotEnd {
						break
					}
					if typ != codec.TypePacket {
						continue
					}
					h := codec.PacketAt(raw)
					require.Equal(t, at, h.First)
					at += h.Count
					for body := raw[codec.PacketHeader:]; len(body) > 0; {
						e, err := codec.EntryAt(body)
						require.NoError(t, err)
						require.True(t, e.Tick || e.Hole, "a tick that is wanted was skipped")
						if e.Hole {
							withheld += e.Covers
						} else if began.IsZero() {
							began = time.Now()
						}
						body = body[e.Size:]
					}
				}
				assert.Equal(t, c.p.seq.next, at)
				assert.NotZero(t, withheld)
				t.Logf("%d numbers withheld after %v and %d heartbeats", withheld, time.Since(began), heartbeats)
			})
		})
	}
}

// Filters are matched and snapshots are made for few clients at a time, and others wait, so that a crowd of clients
// that join leaves processor time for publishing.
func TestMakingTakesTurns(t *testing.T) {
	for _, filter := range []codec.Filter{nil, {"S0*"}} {
		t.Run(fmt.Sprint(filter), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newCrowd(t)
				work := c.p.serving.work
				require.LessOrEqual(t, cap(work), max(1, runtime.GOMAXPROCS(0)/2))
				for range cap(work) {
					work <- struct{}{}
				}
				nc := c.dial(codec.Hello{Filter: filter})
				synctest.Wait()
				assert.Empty(t, c.p.serving.snapshots.made())
				if filter != nil {
					assert.Empty(t, c.p.Stats().Conns, "a welcome that needs no look at the filter")
				}
				for range cap(work) {
					<-work
				}
				require.NoError(t, nc.SetReadDeadline(time.Now().Add(time.Minute)))
				n, _ := c.rest(nc, 0, func(n int) bool { return n == 1 })
				assert.Equal(t, 1, n)
				assert.Len(t, c.p.serving.snapshots.made(), 1)
			})
		})
	}
}

func (s *snapshots) made() (made []*snapshot) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, o := range s.all {
		if o.made {
			made = append(made, o)
		}
	}
	return made
}
