package publishertest_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"tickfeed/codec"
	"tickfeed/codec/netsim"
	"tickfeed/feed/files/textfile"
	"tickfeed/publisher"
	"tickfeed/publisher/publishertest"
	"tickfeed/subscriber"
	"tickfeed/subscriber/subscribertest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// A first reconnect test: after a cut before number 1000 the handler sees 1000 next, within 50 ms.
func TestReconnectSeesTheNextNumber(t *testing.T) {
	s := publishertest.New(t)
	aapl := s.Define("AAPL") // number 1
	s.Rule("at seq 1000: cut rst")
	r := subscribertest.Start(t, subscriber.Config{Addrs: []string{s.Addr}, Start: subscriber.Beginning})
	s.Quotes(aapl, 1500)
	r.Wait(1502)
	r.Complete(1, 1502)
	r.WaitRecovered(1)
	require.Equal(t, uint64(1), s.Happened())
}

// follow starts a subscriber of s from the beginning.
func follow(t *testing.T, s *publishertest.Server, change func(*subscriber.Config)) *subscribertest.Recorder {
	cfg := subscriber.Config{Addrs: []string{s.Addr}, Dial: s.Dial, Start: subscriber.Beginning, Seed: 1, MaxBackoff: time.Second}
	if change != nil {
		change(&cfg)
	}
	return subscribertest.Start(t, cfg)
}

// Each fault, in a simulated network and virtual time, with the recovery that it causes.
func TestFaultsCauseTheirRecoveries(t *testing.T) {
	for _, test := range []struct {
		name  string
		fault func(s *publishertest.Server)
		cause subscriber.Cause // "" for no recovery
		least time.Duration    // virtual time that it takes
	}{
		{"cut", (*publishertest.Server).Cut, subscriber.CauseCut, 0},
		{"silence", (*publishertest.Server).Silence, subscriber.CauseSilent, 2 * publishertest.Heartbeat},
		{"a stall that a client must bear", func(s *publishertest.Server) { s.Stall(2 * publishertest.Heartbeat) }, "", 2 * publishertest.Heartbeat},
		{"goodbye", func(s *publishertest.Server) { s.Goodbye(codec.CodeShutdown, 300*time.Millisecond) }, subscriber.CauseGoodbye, 300 * time.Millisecond},
		{"refused three times", func(s *publishertest.Server) { s.Refuse(codec.CodeBusy, 200*time.Millisecond, 3); s.Cut() }, subscriber.CauseCut, 600 * time.Millisecond},
		{"a tick is dropped", func(s *publishertest.Server) { s.Drop(s.Head() + 5) }, subscriber.CauseGap, 0},
		{"restart", (*publishertest.Server).Restart, subscriber.CauseGoodbye, 0},
		{"kill", (*publishertest.Server).Kill, subscriber.CauseCut, 0},
		{"frozen for four heartbeats", func(s *publishertest.Server) { s.Freeze(4 * publishertest.Heartbeat) }, subscriber.CauseSilent, 2 * publishertest.Heartbeat},
		{"frozen for one heartbeat", func(s *publishertest.Server) { s.Freeze(publishertest.Heartbeat) }, "", publishertest.Heartbeat},
		{"disk full", func(s *publishertest.Server) { s.FillDisk(5 * publishertest.Heartbeat) }, "", 5 * publishertest.Heartbeat},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := publishertest.NewNetwork(t, netsim.New(1, netsim.Config{}), "feed:1")
				aapl := s.Define("AAPL")
				r := follow(t, s, nil)
				r.Wait(s.Quotes(aapl, 20))
				began := time.Now()
				test.fault(s)
				next := s.Quotes(aapl, 20)
				r.Wait(next)
				r.Complete(1, next)
				assert.GreaterOrEqual(t, time.Since(began), test.least)
				if test.cause == "" {
					assert.Empty(t, r.Recoveries())
					return
				}
				r.WaitRecovered(1)
				assert.Equal(t, test.cause, r.Recoveries()[0].Cause)
			})
		})
	}
}

// Numbers after a backup that is restored are disowned; after a replacement they are of another session.
func TestSessionsAreDisownedOrReplaced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := publishertest.NewNetwork(t, netsim.New(1, netsim.Config{}), "feed:1")
		aapl := s.Define("AAPL")
		r := follow(t, s, nil)
		fork := s.Quotes(aapl, 10)
		s.Backup()
		r.Wait(s.Quotes(aapl, 5))
		s.Restore()
		next := s.Quotes(aapl, 3)
		r.WaitFor("the numbers that are disowned", func() bool { return r.Subscriber.Ledger().Totals().Disowned == 5 })
		r.Wait(next) // its position is before that only now
		assert.Equal(t, fork+3, s.Head())
		r.Complete(1, fork+3)
		s.Replace()
		s.Define("MSFT")
		r.WaitFor("the other session", func() bool {
			return r.Subscriber.Position().Lineage.Current().ID == s.Publisher().Lineage().Current().ID && r.Subscriber.Position().Next == s.Head()
		})
		r.Complete(1, s.Head())
	})
}

// A trap is a test whose Fatalf panics with what it says, and ends nothing.
type trap struct{ testing.TB }

func (trap) Fatalf(format string, args ...any) { panic(fmt.Sprintf(format, args...)) }

// Wrong arguments, and an account that is not complete, fail the test with a message.
func TestFatalMistakesFailTheTest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := publishertest.NewNetwork(trap{t}, netsim.New(1, netsim.Config{}), "feed:1")
		aapl := s.Define("AAPL")
		cfg := subscriber.Config{Addrs: []string{s.Addr}, Start: subscriber.At(3), Dial: s.Dial}
		next := s.Quotes(aapl, 9)
		r := subscribertest.Start(trap{t}, cfg)
		r.Wait(next)
		r.Complete(3, next)
		for _, test := range []struct {
			do   func()
			want string
		}{
			{func() { r.Complete(1, next) }, "subscribertest: numbers from 1 to 2 were not delivered"},
			{func() { r.Complete(3, next+2) }, "subscribertest: numbers from 11 to 12 were not delivered"},
			{func() { r.Complete(next, 1) }, "subscribertest: Complete(11, 1): there is no number in that range"},
			{func() { r.Complete(3, 3) }, "subscribertest: Complete(3, 3): there is no number in that range"},
			{func() { r.Resumed(0) }, "subscribertest: Resumed(0): losses of the connection are counted from 1"},
			{func() { s.Drop(5) }, "publishertest: number 5 cannot be dropped: it was published already, and the next number is 11"},
		} {
			assert.PanicsWithValue(t, test.want, test.do)
		}
	})
}

// Each start, over ticks from a file, to the end of the session.
func TestStartsReachTheEnd(t *testing.T) {
	const file = `type,symbol,time,price,size
trade,A,2026-01-05T09:30:00Z,1.25,1
trade,A,2026-01-05T09:30:01Z,1.26,1
trade,A,2026-01-05T09:30:02Z,1.27,1
`
	for _, test := range []struct {
		name      string
		start     func(noon time.Time) subscriber.Start // noon: when the file was published
		first     uint64                                // the first number delivered; 0 if there is none
		snapshots bool
	}{
		{"beginning", func(time.Time) subscriber.Start { return subscriber.Beginning }, 1, false},
		{"a number", func(time.Time) subscriber.Start { return subscriber.At(3) }, 3, true},
		{"the time of the file", subscriber.Since, 2, true},
		{"a time before 1970", func(time.Time) subscriber.Start { return subscriber.Since(time.Unix(0, -1)) }, 1, false},
		{"a snapshot", func(time.Time) subscriber.Start { return subscriber.Start{} }, 0, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := publishertest.NewNetwork(t, netsim.New(1, netsim.Config{}), "feed:1")
				s.Define("B") // number 1
				time.Sleep(time.Hour)
				noon := time.Now()
				source, err := textfile.Open([]string{"-"}, strings.NewReader(file), textfile.Config{})
				require.NoError(t, err)
				next := s.Source(source)
				r := follow(t, s, func(cfg *subscriber.Config) { cfg.Start = test.start(noon) })
				r.WaitFor("the last tick", func() bool { return r.Subscriber.Position().Next == next })
				s.End()
				r.WaitFor("the end of the session", func() bool {
					return slices.ContainsFunc(r.Changes(), func(c subscriber.Change) bool { return c.End && c.Final == next })
				})
				if test.first > 0 {
					r.Complete(test.first, next)
					require.NotEmpty(t, r.Ticks())
					assert.Equal(t, test.first, r.Ticks()[0].Seq)
				} else {
					assert.Empty(t, r.Ticks())
				}
				assert.Equal(t, test.snapshots, r.Snapshots() > 0)
			})
		})
	}
}

// Stop ends a subscriber without an error, and nothing is delivered afterwards.
func TestStopDeliversNothingAfterwards(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := publishertest.NewNetwork(t, netsim.New(1, netsim.Config{}), "feed:1")
		aapl := s.Define("AAPL")
		r := follow(t, s, nil)
		next := s.Quotes(aapl, 10)
		r.Wait(next)
		require.NoError(t, r.Stop())
		s.Quotes(aapl, 10)
		synctest.Wait()
		assert.Len(t, r.Ticks(), int(next-1))
		assert.Equal(t, next, r.Subscriber.Position().Next)
	})
}

// A refusal for good ends the subscriber.
func TestRefusedForGood(t *testing.T) {
	s := publishertest.New(t, publisher.Config{Token: "secret"})
	r := follow(t, s, func(cfg *subscriber.Config) { cfg.Token = "wrong" })
	r.WaitFor("the end", func() bool { return r.Err() != nil })
	var refused *subscriber.RefusedError
	require.True(t, errors.As(r.Err(), &refused))
	assert.Equal(t, codec.CodeUnauthorized, refused.Code)
}
