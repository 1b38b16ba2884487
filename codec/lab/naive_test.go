package lab

import (
	"context"
	"fmt"
	"io"
	"net"
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

// naive reads the session from its beginning behind the lab, checks nothing, and returns the packets that it was sent and the error
// that ended the connection: nil if it was the end of the session.
func naive(t *testing.T, cfg subscriber.Config, client string, wait func()) (packets []feed.Range, err error) {
	t.Helper()
	nc, err := cfg.Dial(t.Context(), cfg.Addrs[0])
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	pulsing := make(chan struct{})
	go func() {
		defer close(pulsing)
		for {
			select {
			case <-time.After(50 * time.Millisecond):
			case <-ctx.Done():
				return
			}
			b, err := codec.Append(nil, &codec.Pulse{Next: 1})
			assert.NoError(t, err)
			_, _ = nc.Write(b)
		}
	}()
	defer func() { nc.Close(); cancel(); <-pulsing }()
	hello, err := codec.Append(nil, &codec.Hello{MinVersion: codec.Version, MaxVersion: codec.Version, Client: client, Start: codec.Start{Kind: codec.StartBeginning}})
	require.NoError(t, err)
	_, err = nc.Write(hello)
	require.NoError(t, err)
	messages := codec.NewReader(nc, codec.MaxMessage)
	for {
		kind, raw, err := messages.Next()
		if err != nil {
			return packets, err
		}
		switch kind {
		case codec.TypePacket:
			h, _, err := codec.ParsePacket(raw)
			require.NoError(t, err)
			packets = append(packets, feed.Range{From: h.First, To: h.First + h.Count})
		case codec.TypeEnd:
			return packets, nil
		case codec.TypeWelcome:
			if wait != nil {
				wait()
			}
		}
	}
}

// after runs f on a lab with the given script, behind which a right client has read a session of 3,000 quotes.
func after(t *testing.T, script string, f func(*testing.T, *trial, subscriber.Config)) *trial {
	t.Helper()
	var x *trial
	synctest.Test(t, func(t *testing.T) {
		x = try(t, script, 3000, nil, func(x *trial, cfg subscriber.Config) { f(t, x, cfg) })
	})
	return x
}

// timesOf returns how often the rules have done something.
func timesOf(x *trial) (all []uint64) {
	for _, r := range x.lab.Results() {
		all = append(all, r.Times)
	}
	return all
}

// A client that does not notice a fault of the stream meets the rules that follow all the same, at their numbers, and the lab
// says that it has not noticed. A right client never is said not to have noticed.
func TestClientThatDoesNotNotice(t *testing.T) {
	for _, fault := range []string{"drop tick", "drop", "drop 3 packets", "repeat tick", "repeat", "swap tick", "swap", "flip tick", "flip", "forge tick", "forge", "ahead 5"} {
		t.Run(fault, func(t *testing.T) {
			script := "for naive at seq 1000: " + fault + "\nfor naive at seq 2000: " + fault + "\nfor naive at seq 2500: delay tick 1ms\nfor naive at live 1: stall 1ms\nfor naive at seq 2600: cut rst"
			if strings.Contains(fault, "5") || strings.Contains(fault, "packets") {
				script = strings.Replace(script, "at seq 2600: cut rst", "at end 1: cut rst", 1)
			}
			x := after(t, script, func(t *testing.T, x *trial, cfg subscriber.Config) {
				assert.Empty(t, x.said("not noticed"))
				_, err := naive(t, cfg, "naive", nil)
				assert.Error(t, err, "the last rule ends the connection")
			})
			got := timesOf(x)
			assert.NotContains(t, append(got[:3], got[4]), uint64(0), "%v %v", got, x.what)
			assert.Len(t, x.said(`the client has not noticed "for naive at seq 1000: `+fault), 1, "%v", x.what)
			assert.Len(t, x.said("not noticed"), 1, "%v", x.what)
			for _, e := range x.events {
				if strings.Contains(e.Fault, "at seq") && !strings.Contains(fault, "packets") {
					assert.Contains(t, e.Fault, "seq "+fmt.Sprint(e.Seq))
				}
			}
		})
	}
}

// A swapped tick is sent after the packet that follows, also if it is the last or the only tick of its packet.
func TestSwapLastTick(t *testing.T) {
	x := after(t, "every seq 100: swap tick", func(t *testing.T, x *trial, cfg subscriber.Config) {
		packets, err := naive(t, cfg, "naive", nil)
		require.NoError(t, err)
		for seq := uint64(100); seq < 3000; seq += 100 {
			at := -1
			for i, p := range packets {
				if p == (feed.Range{From: seq, To: seq + 1}) {
					at = i
				}
			}
			require.Positive(t, at, seq)
			assert.Equal(t, seq+1, packets[at-1].From, "what follows it comes first")
		}
	})
	assert.Equal(t, []uint64{60}, timesOf(x))

	// The last tick of a packet, and the only one.
	seal := func(from, to uint64) []byte {
		var body []byte
		for seq := from; seq < to; seq++ {
			q := feed.Quote{Bid: 1, Ask: 2}.Tick(0, int64(seq))
			body = codec.AppendTick(body, &q, 0)
		}
		return codec.AppendPacket(nil, &codec.Packet{First: from, Count: to - from, PublishTime: 9}, body, 7)
	}
	for _, from := range []uint64{1, 5} {
		k, got := bareLink(t, "at seq 5: swap tick")
		require.NoError(t, k.packet(seal(from, 6), nil))
		beat, err := codec.Append(nil, &codec.Heartbeat{Covered: 6, Head: 6, Now: 1})
		require.NoError(t, err)
		require.NoError(t, k.pass(nil))
		require.NoError(t, k.write(beat))
		require.NoError(t, k.packet(seal(6, 8), nil))
		k.client.Close()
		want := []uint64{6, 5}
		if from < 5 {
			want = []uint64{from, 6, 5}
		}
		assert.Equal(t, want, <-got)
	}
}

// bareLink returns a link of a client that wants number 1 next, and where the first numbers of the packets go that the client
// receives, once the connection is closed.
func bareLink(t *testing.T, script string) (*link, <-chan []uint64) {
	t.Helper()
	s, err := Parse("x", []byte(script))
	require.NoError(t, err)
	l := &Lab{Script: s}
	l.init()
	client, other := net.Pipe()
	got := make(chan []uint64, 1)
	go func() {
		messages := codec.NewReader(other, codec.MaxMessage)
		var firsts []uint64
		for {
			kind, raw, err := messages.Next()
			if err != nil {
				got <- firsts
				return
			}
			if kind == codec.TypePacket {
				h, _, _ := codec.ParsePacket(raw)
				firsts = append(firsts, h.First)
			}
		}
	}()
	return &link{lab: l, ctx: t.Context(), client: client, gone: make(chan struct{}), expire: -1, seed: 7, decided: 1, at: 1}, got
}

// Each rule for a number happens at each of its numbers, also if a fault of a whole packet spoils others with it that a right
// client goes on after.
func TestEachNumberOnce(t *testing.T) {
	for _, fault := range []string{"repeat", "drop", "swap", "flip", "forge", "cut", "repeat tick", "delay 1ms"} {
		t.Run(fault, func(t *testing.T) {
			x := after(t, "for late every seq 100: "+fault+"\nfor late at seq 1003: "+fault+"\nfor late at seq 1005: stall 1ms", func(t *testing.T, x *trial, cfg subscriber.Config) {
				cfg.Client = "late"
				readOn(t, x, cfg)
			})
			assert.Equal(t, []uint64{30, 1, 1}, timesOf(x))
			for _, e := range x.events[1:] {
				if strings.Contains(e.Fault, "at seq") {
					assert.Contains(t, e.Fault, fmt.Sprint(e.Seq))
				} else {
					assert.Zero(t, e.Seq%100)
				}
			}
			assert.Empty(t, x.said("not noticed"))
		})
	}
}

// Of several faults of whole packets for the same number each happens, also if the first repeats the packet, which a right client then
// has.
func TestFaultsOfOnePacket(t *testing.T) {
	for _, script := range []string{"repeat\ndrop", "repeat\nrepeat\nflip\nrepeat", "repeat\nstall 1ms\nforge\ncut", "drop\nrepeat\nswap"} {
		for _, at := range []string{"1003", "1"} { // 1 begins a packet
			t.Run(script, func(t *testing.T) {
				rules := strings.Split(script, "\n")
				want := make([]uint64, len(rules))
				for i := range rules {
					rules[i], want[i] = "for late at seq "+at+": "+rules[i], 1
				}
				x := after(t, strings.Join(rules, "\n"), func(t *testing.T, x *trial, cfg subscriber.Config) {
					cfg.Client = "late"
					readOn(t, x, cfg)
				})
				assert.Equal(t, want, timesOf(x))
				for _, e := range x.events[1:] {
					if e.Fault != "" {
						assert.Equal(t, at, fmt.Sprint(e.Seq), e.Fault)
					}
				}
			})
		}
	}
}

// A rule for a number that every line has passed applies to no other number, says so, and happens to a line that begins again
// below the number.
func TestNumberThatIsPast(t *testing.T) {
	x := after(t, "for late at seq 1: stall 1ms", func(t *testing.T, x *trial, cfg subscriber.Config) {
		add := func(text string) {
			s, err := Parse("x", []byte(text))
			require.NoError(t, err)
			_, err = x.lab.Add(s.Rules[0])
			require.NoError(t, err)
		}
		second := cfg
		second.Client, second.Start = "second", codec.Start{Kind: codec.StartSeq, Value: 2000}
		add("for second at seq 1500: cut")
		readOn(t, x, second)
		assert.Regexp(t, "a line began at .*, beyond 1500", x.lab.Results()[1].Why)
		_, err := naive(t, cfg, "late", func() {
			time.Sleep(time.Second)
			add("for late at seq 3: drop tick")
		})
		require.NoError(t, err)
		assert.Equal(t, "every line is beyond 3: only one that begins below it meets the rule", x.lab.Results()[2].Why)
		assert.Len(t, x.said(`"for late at seq 3: drop tick": every line is beyond 3`), 1)
		assert.Equal(t, []uint64{1, 0, 0}, timesOf(x))
		_, err = naive(t, cfg, "late", nil)
		require.NoError(t, err)
	})
	assert.Equal(t, []uint64{1, 0, 1}, timesOf(x))
	assert.Equal(t, uint64(3), x.events[len(x.events)-1].Seq)
	assert.Empty(t, x.lab.Results()[2].Why)
}

// Faults that are triggered by hand happen to a connection only until one of the rules ends it.
func TestNothingHappensToAConnectionThatHasEnded(t *testing.T) {
	for script, want := range map[string][]uint64{
		"on a: cut\non a: cut rst\non a: stall 10s\non a: half-open in\non a: flip":    {1, 0, 0, 0, 0},
		"on a: stall 10ms\non a: cut rst\non a: cut\non a: stall 10s\non a: slow 1000": {1, 1, 0, 0, 0},
	} {
		x := after(t, script, func(t *testing.T, x *trial, cfg subscriber.Config) {
			_, _ = naive(t, cfg, "a", func() {
				assert.True(t, x.lab.Trigger("a"))
				time.Sleep(time.Second)
			})
		})
		assert.Equal(t, want, timesOf(x))
	}
}

// A number that is too large for its place does nothing, and the lab says why; it does not blame the publisher.
func TestNumbersThatAreTooLarge(t *testing.T) {
	for _, test := range []struct{ script, want string }{
		{"at snapshot 1: move snapshot 9223372036854775807", "there is no number 9223372036854775807 before it"},
		{"at snapshot 1: stale snapshot 9223372036854775807", "the state is empty"},
		{"at seq 10: ahead 9223372036854775807", "no sequence number is 9223372036854775807 beyond 10"},
		{"at seq 100: cut\nat login 2: expire 9223372036854775807", "no sequence number is 9223372036854775807 beyond 100"},
		{"at seq 100: cut\nat login 2: expire 20000", "had no 20000 numbers from 100 on"},
		{"at login 1: expire 5", "the client has no position"},
	} {
		t.Run(test.script, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				x := try(t, test.script, 1000, func(cfg *subscriber.Config) {
					if strings.Contains(test.script, "snapshot") {
						cfg.Start = codec.Start{}
					}
				})
				assert.Len(t, x.said(test.want), 1, "%v", x.what)
				assert.Empty(t, x.said("the upstream sent"))
				results := x.lab.Results()
				last := results[len(results)-1]
				assert.Zero(t, last.Times)
				assert.Contains(t, last.Why, test.want)
				assert.Equal(t, x.pub.Stats().Head, x.sub.Position().Next)
			})
		})
	}
}

// A publisher that does not answer a hello is reported after the time that a client waits.
func TestUpstreamThatIsSilent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var said []string
		ours, theirs := net.Pipe()
		client, labs := net.Pipe()
		l := &Lab{Dial: func(context.Context) (net.Conn, error) { return ours, nil }, Event: func(e Event) { said = append(said, e.What) }}
		l.init()
		go func() { // a publisher that reads and says nothing
			b := make([]byte, 1000)
			for {
				if _, err := theirs.Read(b); err != nil {
					return
				}
			}
		}()
		served := make(chan struct{})
		go func() { defer close(served); l.serve(t.Context(), labs) }()
		hello, err := codec.Append(nil, &codec.Hello{MinVersion: codec.Version, MaxVersion: codec.Version, Client: "a"})
		require.NoError(t, err)
		_, err = client.Write(hello)
		require.NoError(t, err)
		time.Sleep(4 * time.Second)
		synctest.Wait()
		l.saying.Lock()
		assert.Equal(t, []string{"connected"}, said)
		l.saying.Unlock()
		time.Sleep(2 * time.Second)
		synctest.Wait()
		client.Close()
		synctest.Wait()
		theirs.Close()
		<-served
		assert.Equal(t, []string{"connected", "the publisher has not answered the hello for 5s: is it one?", "disconnected: the client has closed"}, said)
	})
}

// The lab says which of the four that can end a connection has ended it.
func TestWhoDisconnects(t *testing.T) {
	for _, c := range []struct {
		name, want string
		end        func(l *Lab, stop func(), client, publisher net.Conn)
	}{
		{"the client", "the client has closed", func(_ *Lab, _ func(), client, _ net.Conn) { client.Close() }},
		{"the publisher", "the publisher has closed", func(_ *Lab, _ func(), _, publisher net.Conn) { publisher.Close() }},
		{"a reset", "a rule has ended it", func(l *Lab, _ func(), _, _ net.Conn) { l.Trigger("rst") }},
		{"a cut in order", "a rule has ended it", func(l *Lab, _ func(), _, _ net.Conn) { l.Trigger("fin") }},
		{"the end of the lab", "the lab ends", func(_ *Lab, stop func(), _, _ net.Conn) { stop() }},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				script, err := Parse("x", []byte("on rst: cut rst\non fin: cut fin"))
				require.NoError(t, err)
				said := make(chan string, 10)
				ours, publisher := net.Pipe()
				client, labs := net.Pipe()
				go func() { _, _ = io.Copy(io.Discard, publisher) }()
				l := &Lab{Script: script, Dial: func(context.Context) (net.Conn, error) { return ours, nil }, Event: func(e Event) {
					if e.What != "" {
						said <- e.What
					}
				}}
				l.init()
				ctx, stop := context.WithCancel(t.Context())
				served := make(chan struct{})
				go func() { defer close(served); l.serve(ctx, labs) }()
				hello, err := codec.Append(nil, &codec.Hello{MinVersion: codec.Version, MaxVersion: codec.Version, Client: "a"})
				require.NoError(t, err)
				_, err = client.Write(hello)
				require.NoError(t, err)
				assert.Equal(t, "connected", <-said)
				synctest.Wait()
				c.end(l, stop, client, publisher)
				synctest.Wait()
				client.Close()
				publisher.Close()
				<-served
				stop()
				assert.Equal(t, "disconnected: "+c.want, <-said)
			})
		})
	}
}

// A rule at a time that meets a connection which ends meanwhile happens to the next one.
func TestRuleAtATimeIsNotLost(t *testing.T) {
	for _, script := range []string{
		"at 50ms: stall 1s", "at 50ms: delay 1ms", "at 50ms: cut", "at 10m: slow 1000000",
		"at 49ms: drop 3 packets\nat 50ms: delay 1ms", "at 50ms: cut\nat 50ms: flip\nat 50ms: slow 1000000",
	} {
		t.Run(script, func(t *testing.T) {
			x := after(t, script, func(t *testing.T, x *trial, cfg subscriber.Config) {
				if strings.Contains(script, "10m") {
					time.Sleep(10 * time.Minute)
				}
				_, err := naive(t, cfg, "late", func() { time.Sleep(time.Second) })
				require.NoError(t, err)
			})
			assert.NotContains(t, timesOf(x), uint64(0), "%v %v", x.events, x.what)
		})
	}
}

// A rule that was on and met nothing says so.
func TestWhyNothingHappened(t *testing.T) {
	x := after(t, "at 50ms: refuse dials 5ms\nat 50ms: hang dials 5ms\nat seq 5: mute heartbeats 1ms\nat seq 5: ignore pulses 1ms\non a: ignore pulses 1ms", func(t *testing.T, x *trial, cfg subscriber.Config) {
		_, _ = naive(t, cfg, "late", func() { x.lab.Trigger("a") })
	})
	var whys []string
	for _, r := range x.lab.Results() {
		whys = append(whys, r.Why)
	}
	assert.Equal(t, []string{"no client connected while it lasted", "no client connected while it lasted", "no heartbeat was due while it lasted", "the client sent no pulse while it lasted", "the client sent no pulse while it lasted"}, whys)
}
