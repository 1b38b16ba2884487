package lab

import (
	"context"
	"fmt"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"tickfeed/codec"
	"tickfeed/codec/netsim"
	"tickfeed/feed"
	"tickfeed/publisher"
	"tickfeed/subscriber"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// A trial is a publisher, a lab before it and a subscriber called probe behind it, in virtual time.
type trial struct {
	pub    *publisher.Publisher
	lab    *Lab
	events []Event  // those of rules
	what   []string // the others
	ticks  []uint64
	sub    *subscriber.Subscriber
	err    error    // of Run
	ended  []error  // why each connection has ended, as the subscriber sees it
	hellos []uint64 // positions in the hellos
}

// said returns what the lab said that contains text.
func (x *trial) said(text string) (all []string) {
	for _, what := range x.what {
		if strings.Contains(what, text) {
			all = append(all, what)
		}
	}
	return all
}

// try publishes n quotes, 10 a millisecond, to a subscriber behind a lab with the given script, and ends the session. Then it
// calls each of then with the configuration of the subscriber.
func try(t *testing.T, script string, n int, change func(*subscriber.Config), then ...func(*trial, subscriber.Config)) *trial {
	t.Helper()
	x := &trial{}
	s, err := Parse("script", []byte(script))
	require.NoError(t, err)
	network := netsim.New(1, netsim.Config{Conditions: netsim.Conditions{Latency: 100 * time.Microsecond}})
	x.pub, err = publisher.New(publisher.Config{Seed: 1, Heartbeat: 100 * time.Millisecond, Sleep: time.Sleep, Memory: 8 << 20})
	require.NoError(t, err)
	id, err := x.pub.Define(t.Context(), feed.Definition{Symbol: "AAPL", PriceExponent: -2})
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 2)
	listen := func(addr string, serve func(context.Context, net.Listener) error) {
		ln, err := network.Listen(addr)
		require.NoError(t, err)
		go func() { served <- serve(ctx, ln) }()
	}
	listen("pub:1", x.pub.Serve)
	x.lab = &Lab{
		Script: s,
		Dial:   func(ctx context.Context) (net.Conn, error) { return network.From("lab").Dial(ctx, "pub:1") },
		Event: func(e Event) {
			if e.Line > 0 {
				x.events = append(x.events, e)
			} else {
				x.what = append(x.what, e.What)
			}
		},
	}
	x.lab.Heard = func(h Heard) {
		if m, ok := h.Message.(*codec.Hello); ok {
			x.hellos = append(x.hellos, m.Position.Next)
		}
	}
	listen("lab:1", x.lab.Serve)
	cfg := subscriber.Config{
		Addrs: []string{"lab:1"}, Client: "probe", Start: subscriber.Beginning, Seed: 1, MaxBackoff: time.Second,
		Dial: func(ctx context.Context, addr string) (net.Conn, error) { return network.From("probe").Dial(ctx, addr) },
	}
	if change != nil {
		change(&cfg)
	}
	x.sub, err = subscriber.New(cfg)
	require.NoError(t, err)
	running, stop := context.WithCancel(context.Background())
	ran := make(chan struct{})
	go func() {
		defer close(ran)
		x.err = x.sub.Run(running, func(b *subscriber.Batch) error {
			if b.Change != nil && b.Change.State == subscriber.Disconnected {
				x.ended = append(x.ended, b.Change.Err)
			}
			for i := range b.Ticks {
				if !b.Snapshot {
					x.ticks = append(x.ticks, b.Ticks[i].Seq)
				}
			}
			return nil
		})
	}()
	for i := range n {
		require.NoError(t, x.pub.Publish(t.Context(), []feed.Tick{feed.Quote{Bid: int64(i), BidSize: 1, Ask: int64(i) + 1, AskSize: 1}.Tick(id, int64(i+1))}))
		if i%10 == 9 {
			time.Sleep(time.Millisecond)
		}
	}
	require.NoError(t, x.pub.End(t.Context()))
	select {
	case <-ran:
	case <-time.After(time.Minute):
		stop()
		<-ran
	}
	stop()
	for _, f := range then {
		f(x, cfg)
	}
	cancel()
	<-served
	<-served
	require.NoError(t, x.pub.Close(context.Background()))
	return x
}

// Each example of the documentation makes its fault, and a right client delivers each number once, in order, and accounts for
// all of them.
func TestEveryFaultHappensAndIsSurvived(t *testing.T) {
	scripts := map[string]string{ // where the example alone would not meet anything
		"at 5s: stall 2s":                "at 50ms: stall 2s",
		"at 5s: refuse dials 1s":         "at 50ms: refuse dials 1s\nat 60ms: cut rst",
		"at 5s: hang dials 1s":           "at 50ms: hang dials 1s\nat 60ms: cut rst",
		"every 10s: cut fin":             "every 100ms: cut fin",
		"with 0.1%: drop packet":         "with 0.5%: drop packet",
		"with 1%: delay 5ms":             "with 1%: delay 5ms",
		"every seq 5000: cut":            "every seq 500: cut",
		"on storm: cut rst":              "at 90ms: cut rst",
		"at seq 100: mute heartbeats 1s": "at seq 2990: mute heartbeats 1s",
		"at login 1: ignore pulses 5s":   "at login 1: ignore pulses 5s",
		"at login 2: expire 50":          "at seq 1000: cut\nat login 2: expire 50",
	}
	lines := []string{"with 1%: drop tick", "at seq 1005: repeat tick", "at seq 1005: swap tick", "at seq 1005: flip tick", "at seq 1005: forge tick", "with 1%: delay tick 5ms", "at seq 1000: end 3 times", "at snapshot 1: stale snapshot 1", "at seq 1000: cut inside", "at seq 700: half-open out", "at login 2: refuse shutdown retry 3s 3 times\nat seq 100: cut"}
	var examples []string
	for v, f := range Verbs {
		if !Verb(v).is(ofSessions) && !Verb(v).is(ofPublisher) { // see TestMadeUpSessions, and publisher/publishertest
			examples = append(examples, f.Example)
		}
	}
	for _, f := range Triggers {
		examples = append(examples, f.Example)
	}
	for _, script := range examples {
		if s, ok := scripts[script]; ok {
			script = s
		}
		lines = append(lines, script)
	}
	for i, script := range lines {
		t.Run(fmt.Sprint(i, " ", script), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, err := Parse("x", []byte(script))
				require.NoError(t, err)
				r := s.Rules[0]
				change := func(cfg *subscriber.Config) {
					if r.Fault.Verb.is(ofSnapshots) || r.Trigger.When == AtSnapshot {
						cfg.Start = codec.Start{}
					}
				}
				first := script
				if r.Trigger.When == AtLogin && r.Trigger.N == 2 {
					first += "\nat seq 100: cut"
				}
				x := try(t, first, 3000, change)
				for _, result := range x.lab.Results() {
					assert.Positive(t, result.Times, "%s: never happened", result.Text)
				}
				require.Equal(t, x.pub.Stats().Head, x.sub.Position().Next, "err %v, %d events", x.err, len(x.events))
				for j := 1; j < len(x.ticks); j++ {
					if strings.Contains(script, "expire 50") && x.ticks[j] == 1050 {
						require.Equal(t, uint64(999), x.ticks[j-1])
						continue
					}
					require.Equal(t, x.ticks[j-1]+1, x.ticks[j])
				}
				require.NoError(t, x.sub.Ledger().Check())
				totals := x.sub.Ledger().Totals()
				if strings.Contains(script, "expire 50") {
					assert.Equal(t, uint64(50), totals.Lost)
				} else {
					assert.Zero(t, totals.Lost)
				}
				assert.Equal(t, uint64(len(x.ticks)), totals.Delivered)
			})
		})
	}
}

// Each fault does what its description says, at its number, and the subscriber notices as it must.
func TestWhatFaultsDo(t *testing.T) {
	for _, test := range []struct {
		script string
		start  codec.Start
		cause  string // of the first disconnect; "" for none
		at     uint64 // position in the hello after it
		lost   feed.Range
	}{
		{"at seq 1005: drop tick", subscriber.Beginning, "begins at 1006, want 1005", 1005, feed.Range{}},
		{"at seq 1005: drop 2 packets", subscriber.Beginning, "want 1", 0, feed.Range{}},
		{"at seq 1005: repeat tick", subscriber.Beginning, "begins at 1005, want 1006", 1006, feed.Range{}},
		{"at seq 1005: swap tick", subscriber.Beginning, "begins at 1006, want 1005", 1005, feed.Range{}},
		{"at seq 1005: flip tick", subscriber.Beginning, "checksum", 1005, feed.Range{}},
		{"at seq 1005: forge tick", subscriber.Beginning, "begins at 1006, want 1005", 1005, feed.Range{}},
		{"at seq 1005: delay tick 20ms", subscriber.Beginning, "", 0, feed.Range{}},
		{"at seq 1000: end 2 times", subscriber.Beginning, "end", 1000, feed.Range{}},
		{"at live 1: end\nat seq 1000: cut", codec.Start{}, "", 0, feed.Range{}},
		{"at snapshot 1: stale snapshot 3", codec.Start{}, "snapshot as of", 0, feed.Range{}},
		{"at seq 1000: cut\nat login 2: expire 50", subscriber.Beginning, "EOF", 1000, feed.Range{From: 1000, To: 1050}},
		{"at login 1: ignore pulses 5s", subscriber.Beginning, "silent: no pulse", 0, feed.Range{}},
	} {
		t.Run(test.script, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				x := try(t, test.script, 3000, func(cfg *subscriber.Config) { cfg.Start = test.start })
				t.Log(x.ended, x.hellos)
				require.NotEmpty(t, x.events)
				if strings.Contains(test.script, "2 packets") {
					require.Len(t, x.events, 2)
				}
				if test.cause != "" {
					require.NotEmpty(t, x.ended)
					assert.ErrorContains(t, x.ended[0], test.cause)
					require.Greater(t, len(x.hellos), 1)
					if test.at > 0 {
						assert.Equal(t, test.at, x.hellos[1])
					}
				}
				require.Equal(t, x.pub.Stats().Head, x.sub.Position().Next)
				require.NoError(t, x.sub.Ledger().Check())
				assert.Equal(t, test.lost.Len(), x.sub.Ledger().Totals().Lost)
				for _, seq := range x.ticks {
					assert.False(t, test.lost.Contains(seq), seq)
				}
			})
		})
	}
}

// A fault that is on and meets nothing has not happened.
func TestFaultsThatMeetNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := try(t, "at 50ms: refuse dials 5ms\nat 50ms: hang dials 5ms\nat seq 5: mute heartbeats 1ms\nat seq 5: ignore pulses 1ms\nat login 1: expire 5\nat 40ms: kill\nat end 2: cut", 1000, nil)
		for _, r := range x.lab.Results() {
			assert.Zero(t, r.Times, r.Text)
		}
		assert.Empty(t, x.ended)
	})
}

// The same script, seed and session give the same faults at the same ticks, whatever the packets look like; another seed
// gives others.
func TestRepeatableWithScriptSeedSession(t *testing.T) {
	script := "with 0.3%: cut\nwith 0.2%: drop tick\nevery seq 777: cut rst\nat login 4: refuse busy retry 10ms"
	type what struct {
		Line       int
		Seq, Login uint64
	}
	run := func(seed int, pace func(*subscriber.Config)) (faults []what) {
		synctest.Test(t, func(t *testing.T) {
			x := try(t, fmt.Sprintf("seed %d\n%s", seed, script), 3000, pace)
			for _, e := range x.events {
				faults = append(faults, what{e.Line, e.Seq, e.Login})
			}
			require.Equal(t, x.pub.Stats().Head, x.sub.Position().Next)
		})
		return faults
	}
	first := run(7, nil)
	require.Greater(t, len(first), 10)
	assert.Equal(t, first, run(7, nil))
	assert.Equal(t, first, run(7, func(cfg *subscriber.Config) { cfg.MaxBackoff = 10 * time.Millisecond }))
	assert.NotEqual(t, first, run(8, nil))
}

// A refusal for good ends the client, and a rule that never met anything is reported as such.
func TestResultsNameRulesThatNeverMetAnything(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := try(t, "at login 1: refuse unauthorized for good\nat seq 10_000_000: cut\nfor nobody at seq 1: cut", 10, nil)
		var refused *subscriber.RefusedError
		require.ErrorAs(t, x.err, &refused)
		assert.Equal(t, codec.CodeUnauthorized, refused.Code)
		results := x.lab.Results()
		assert.Equal(t, []uint64{1, 0, 0}, []uint64{results[0].Times, results[1].Times, results[2].Times})
	})
}

// A refusal for several logins refuses as many, and a rule is not spent on a connection that the client must end because of
// an earlier fault.
func TestRulesAreSpentOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := try(t, "at seq 100: cut\nat login 2: refuse busy retry 10ms 3 times", 1000, nil)
		results := x.lab.Results()
		assert.Equal(t, []uint64{1, 3}, []uint64{results[0].Times, results[1].Times})
		assert.Equal(t, x.pub.Stats().Head, x.sub.Position().Next)
	})
	synctest.Test(t, func(t *testing.T) {
		x := try(t, "at seq 100: drop tick\nat seq 101: cut rst", 1000, nil)
		require.Len(t, x.events, 2)
		assert.Equal(t, []uint64{100, 1}, []uint64{x.events[0].Seq, x.events[0].Login})
		assert.Equal(t, []uint64{101, 2}, []uint64{x.events[1].Seq, x.events[1].Login})
	})
}

// A packet is split before any number that it covers, also inside a skip, and both parts are sealed.
func TestSplitSealsBothParts(t *testing.T) {
	const seed = 7
	quote := func(bid int64) feed.Tick { return feed.Quote{Bid: bid, Ask: bid + 1}.Tick(0, bid) }
	first, last := quote(1), quote(2)
	body := codec.AppendTick(nil, &first, 0)
	body = codec.AppendSkip(body, 5) // numbers 11 to 15
	body = codec.AppendTick(body, &last, 0)
	raw := codec.AppendPacket(nil, &codec.Packet{First: 10, Count: 7, PublishTime: 99}, body, seed)
	for at := uint64(10); at <= 17; at++ {
		left, right, ok := split(raw, at, seed)
		require.True(t, ok, at)
		next := uint64(10)
		for _, part := range [][]byte{left, right} {
			if part == nil {
				continue
			}
			require.True(t, codec.VerifyPacket(part, seed), at)
			h, body, err := codec.ParsePacket(part)
			require.NoError(t, err)
			require.Equal(t, next, h.First)
			next += h.Count
			b := codec.PacketBody(&h, body)
			ticks := make([]feed.Tick, 10)
			for {
				n, err := b.Decode(ticks)
				require.NoError(t, err, "split before %d", at)
				if n == 0 {
					break
				}
			}
			assert.Equal(t, h.First+h.Count, b.Seq())
		}
		assert.Equal(t, uint64(17), next)
	}
	gone := codec.AppendPacket(nil, &codec.Packet{First: 10, Count: 7, PublishTime: 99}, codec.AppendGone(nil, 7, codec.GoneExpired), seed)
	_, _, ok := split(gone, 12, seed)
	assert.False(t, ok, "no rule applies inside numbers that are gone")
	for name, hole := range map[string]func(dst []byte, n uint64) []byte{
		"gone":     func(dst []byte, n uint64) []byte { return codec.AppendGone(dst, n, codec.GoneDamaged) },
		"withheld": codec.AppendWithheld,
	} { // but a session may begin there
		raw := codec.AppendPacket(nil, &codec.Packet{First: 10, Count: 7, PublishTime: 99}, hole(nil, 7), seed)
		left, right, ok := cleave(raw, 13, seed)
		require.True(t, ok, name)
		assert.Equal(t, codec.AppendPacket(nil, &codec.Packet{First: 10, Count: 3, PublishTime: 99}, hole(nil, 3), seed), left, name)
		assert.Equal(t, codec.AppendPacket(nil, &codec.Packet{First: 13, Count: 4, PublishTime: 99}, hole(nil, 4), seed), right, name)
	}
}

// While no rule holds bytes back, a link reads from the publisher only what its client takes, so that the publisher notices a
// slow client. While one does, it goes on reading, and loses nothing when the publisher closes.
func TestReadAhead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server, publisher := net.Pipe()
		sent := 0
		go func() {
			for {
				if _, err := publisher.Write(make([]byte, 1000)); err != nil {
					return
				}
				sent++
			}
		}()
		r := newReadAhead(server)
		synctest.Wait()
		assert.Equal(t, 1, sent, "one read")
		r.hold(true)
		synctest.Wait()
		assert.Equal(t, (maxAhead+999)/1000, sent, "as much as it may hold")
		r.hold(false)
		publisher.Close()
		server.Close()
		n := 0
		b := make([]byte, 4096)
		for {
			k, err := r.Read(b)
			if n += k; err != nil {
				break
			}
		}
		assert.Equal(t, sent*1000, n)
		r.wait()
	})
}

// A fault of the publisher happens once for all clients, and a fault of a client once for each client. A rule whose client left
// before the fault could happen is not spent.
func TestOnceForAll(t *testing.T) {
	s, err := Parse("x", []byte("at seq 5: stop\nat seq 5: cut\nat login 1: kill\nevery seq 3: freeze for 1s"))
	require.NoError(t, err)
	x := newRules(s)
	hits := func(name string) (seqs []string) {
		logins, _ := x.login(name)
		for _, i := range logins {
			seqs = append(seqs, fmt.Sprint(i))
		}
		for {
			h, ok := x.next(name, 1, feed.Range{From: 1, To: 10}, 1)
			if !ok {
				return seqs
			}
			seqs = append(seqs, fmt.Sprint(h.rule, " at ", h.seq))
		}
	}
	assert.Equal(t, []string{"2", "3 at 3", "0 at 5", "1 at 5", "3 at 6", "3 at 9"}, hits("a"))
	assert.Equal(t, []string{"1 at 5"}, hits("b"))
	h, ok := x.next("c", 1, feed.Range{From: 1, To: 10}, 1)
	require.True(t, ok)
	x.giveBack("c", h)
	again, ok := x.next("c", 1, feed.Range{From: 1, To: 10}, 1)
	require.True(t, ok)
	assert.Equal(t, h, again)
}
