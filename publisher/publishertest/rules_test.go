package publishertest_test

import (
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tickfeed/codec/lab"
	"tickfeed/codec/netsim"
	"tickfeed/publisher"
	"tickfeed/publisher/publishertest"
	"tickfeed/subscriber"
	"tickfeed/subscriber/subscribertest"
)

// script runs a script against a publisher of its own and a subscriber, in virtual time, while 300 quotes are published, one each
// millisecond. It returns when the subscriber has all of them.
func script(t *testing.T, text string) (*publishertest.Server, *subscribertest.Recorder) {
	s := publishertest.NewNetwork(t, netsim.New(1, netsim.Config{Conditions: netsim.Conditions{Latency: 100 * time.Microsecond}}), "feed:1", publisher.Config{Seed: 1})
	aapl := s.Define("AAPL")
	r := follow(t, s, nil)
	r.Wait(2)
	s.Rule(text)
	for range 300 {
		s.Quotes(aapl, 1)
		time.Sleep(time.Millisecond)
	}
	s.Quotes(aapl, 1)
	r.WaitFor("the last number", func() bool {
		p := r.Subscriber.Position()
		return p.Next == s.Head() && p.Lineage.Current().ID == s.Publisher().Lineage().Current().ID
	})
	return s, r
}

// Each fault of the publisher happens once, at its number, and a right subscriber recovers from it as told.
func TestFaultsOfThePublisher(t *testing.T) {
	for _, test := range []struct {
		rules    string
		causes   []subscriber.Cause
		sessions int           // of the lineage at the end
		head     uint64        // at the end
		disowned uint64        // numbers
		least    time.Duration // until the subscriber is connected again
	}{
		{"at seq 100: kill", []subscriber.Cause{subscriber.CauseCut}, 2, 303, 0, 0},
		{"at seq 100: kill for 200ms", []subscriber.Cause{subscriber.CauseCut}, 2, 303, 0, 200 * time.Millisecond},
		{"at seq 100: stop for 150ms", []subscriber.Cause{subscriber.CauseGoodbye}, 2, 303, 0, 150 * time.Millisecond},
		{"at seq 100: restart", []subscriber.Cause{subscriber.CauseGoodbye}, 2, 303, 0, 0},
		{"every seq 100: kill for 1ms", []subscriber.Cause{subscriber.CauseCut, subscriber.CauseCut, subscriber.CauseCut}, 4, 303, 0, 0},
		{"at seq 100: copy journal\nat seq 150: restart over copy", []subscriber.Cause{subscriber.CauseGoodbye}, 2, 253, 50, 0},
		{"at seq 100: restart over none", []subscriber.Cause{subscriber.CauseGoodbye}, 1, 204, 0, 0},
		{"at seq 100: freeze for 120ms", nil, 1, 303, 0, 0},
		{"at seq 100: freeze for 1s", []subscriber.Cause{subscriber.CauseSilent}, 1, 303, 0, 800 * time.Millisecond},
		{"at seq 100: disk full for 500ms", nil, 1, 303, 0, 0},
		{"at 100ms: kill for 10ms", []subscriber.Cause{subscriber.CauseCut}, 2, 303, 0, 10 * time.Millisecond},
		{"at login 2: kill for 10ms\nat seq 100: cut", []subscriber.Cause{subscriber.CauseCut}, 2, 303, 0, 10 * time.Millisecond},
	} {
		t.Run(test.rules, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s, r := script(t, test.rules)
				r.WaitRecovered(len(test.causes))
				var causes []subscriber.Cause
				down := time.Duration(0)
				for _, x := range r.Recoveries() {
					causes, down = append(causes, x.Cause), max(down, x.Down)
				}
				assert.Equal(t, test.causes, causes)
				assert.GreaterOrEqual(t, down, test.least)
				rules, err := lab.Parse("", []byte(test.rules))
				require.NoError(t, err)
				for _, x := range rules.Rules {
					assert.True(t, slices.ContainsFunc(s.Faults(), func(e lab.Event) bool { return e.Fault == x.Text }), "%s has not happened", x.Text)
				}
				totals := r.Subscriber.Ledger().Totals()
				assert.Len(t, s.Publisher().Lineage(), test.sessions)
				assert.Equal(t, test.head, s.Head(), "each quote is published once; those after a copy are gone with their session")
				assert.Equal(t, test.disowned, totals.Disowned)
				assert.Zero(t, totals.Lost)
				assert.Equal(t, int(totals.Delivered+totals.Disowned), len(r.Ticks()))
				require.NoError(t, r.Subscriber.Ledger().Check())
			})
		})
	}
}

// The same rules, seed and session give the same faults at the same ticks.
func TestFaultsOfThePublisherRepeat(t *testing.T) {
	run := func(seed int, rules string) (faults []string) {
		synctest.Test(t, func(t *testing.T) {
			s, _ := script(t, fmt.Sprintf("seed %d\n%s", seed, rules))
			for _, e := range s.Faults() {
				faults = append(faults, fmt.Sprintf("%d: %s, login %d, at %d", e.Line, e.Fault, e.Login, e.Seq))
			}
		})
		return faults
	}
	kills := "with 0.6%: kill for 3ms\nwith 0.6%: restart\nat seq 40: copy journal\nat seq 60: restart over copy\nat login 3: stop for 5ms\nwith 1%: drop tick"
	for _, rules := range []string{kills, "with 1%: freeze for 70ms\nat seq 200: disk full for 20ms\nwith 1%: drop tick"} {
		faults := run(1, rules)
		require.Greater(t, len(faults), 5)
		assert.Equal(t, faults, run(1, rules))
		assert.NotEqual(t, faults, run(2, rules))
	}
}
