package publishertest_test

import (
	"flag"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"tickfeed/codec"
	"tickfeed/codec/netsim"
	"tickfeed/publisher/publishertest"
	"tickfeed/subscriber"
	"tickfeed/subscriber/subscribertest"
)

// run runs test once, as go test would, and prints nothing unless it fails.
func run(test func(t *testing.T)) {
	for _, f := range [][2]string{{"test.v", "false"}, {"test.skip", ""}} { // which are those of the examples
		was := flag.Lookup(f[0]).Value.String()
		defer func() { _ = flag.Set(f[0], was) }()
		_ = flag.Set(f[0], f[1])
	}
	again := false
	testing.RunTests(func(_, _ string) (bool, error) { return true, nil }, []testing.InternalTest{{Name: "Test", F: func(t *testing.T) {
		if again { // as with -count or -cpu
			return
		}
		again = true
		test(t)
	}}})
}

// A first reconnect test: the connection is cut before number 1000, and the handler sees 1000 next.
func Example() {
	run(func(t *testing.T) { // in a file of yours: func TestReconnectSeesTheNextNumber(t *testing.T) {
		s := publishertest.New(t)
		aapl := s.Define("AAPL")       // number 1
		s.Rule("at seq 1000: cut fin") // "cut rst" also takes what the client has not read yet
		r := subscribertest.Start(t, subscriber.Config{Addrs: []string{s.Addr}, Start: subscriber.Beginning})
		next := s.Quotes(aapl, 1500)
		r.Wait(next)
		r.Complete(1, next) // each number once, in order
		seq, _ := r.Resumed(1)
		fmt.Println("after the cut:", seq)
		fmt.Println("lost:", r.Lost())
	})
	// Output:
	// after the cut: 1000
	// lost: 0
}

// In a bubble of testing/synctest, with a simulated network, time is virtual: a test of times takes none, and is exact. After a
// cut at number 1000 the handler sees 1000 next, within 50 ms.
func ExampleNewNetwork() {
	run(func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			network := netsim.New(1, netsim.Config{Conditions: netsim.Conditions{Latency: 5 * time.Millisecond}})
			s := publishertest.NewNetwork(t, network, "feed:1")
			aapl := s.Define("AAPL")
			s.Rule("at seq 1000: cut rst")
			r := subscribertest.Start(t, subscriber.Config{Addrs: []string{s.Addr}, Dial: s.Dial, Start: subscriber.Beginning})
			s.Quotes(aapl, 1500)
			if seq, after := r.Resumed(1); seq != 1000 || after > 50*time.Millisecond {
				t.Fatalf("after the cut %d came, after %v", seq, after)
			}
			fmt.Println("1000 came next, within 50 ms")
		})
	})
	// Output: 1000 came next, within 50 ms
}

// The publisher is killed as by kill -9, and started again over its journal: a second session continues the numbers.
func ExampleServer_Kill() {
	run(func(t *testing.T) {
		s := publishertest.New(t)
		aapl := s.Define("AAPL")
		r := subscribertest.Start(t, subscriber.Config{Addrs: []string{s.Addr}, Start: subscriber.Beginning})
		r.Wait(s.Quotes(aapl, 100))
		s.Kill()
		next := s.Quotes(aapl, 100)
		r.Wait(next)
		r.Complete(1, next)
		fmt.Println("sessions:", len(r.Subscriber.Position().Lineage))
		fmt.Println("next:", next, "lost:", r.Lost())
	})
	// Output:
	// sessions: 2
	// next: 202 lost: 0
}

// The publisher refuses three logins and asks the client to wait a second each time; it must not come back earlier.
func ExampleServer_Refuse() {
	run(func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s := publishertest.NewNetwork(t, netsim.New(1, netsim.Config{}), "feed:1")
			aapl := s.Define("AAPL")
			r := subscribertest.Start(t, subscriber.Config{Addrs: []string{s.Addr}, Dial: s.Dial, Start: subscriber.Beginning})
			r.Wait(s.Quotes(aapl, 10))
			s.Refuse(codec.CodeBusy, time.Second, 3)
			s.Cut()
			r.WaitRecovered(1)
			back := r.Recoveries()[0]
			fmt.Println("attempts:", back.Attempts)
			fmt.Println("down for 3 s or more:", back.Down >= 3*time.Second)
		})
	})
	// Output:
	// attempts: 4
	// down for 3 s or more: true
}

// The publisher falls silent, and its connections stay open: only heartbeats, every 50 ms here, show that it is gone.
func ExampleServer_Silence() {
	run(func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s := publishertest.NewNetwork(t, netsim.New(1, netsim.Config{}), "feed:1")
			aapl := s.Define("AAPL")
			r := subscribertest.Start(t, subscriber.Config{Addrs: []string{s.Addr}, Dial: s.Dial, Start: subscriber.Beginning})
			r.Wait(s.Quotes(aapl, 10))
			began := time.Now()
			s.Silence()
			r.WaitRecovered(1)
			fmt.Println("cause:", r.Recoveries()[0].Cause)
			fmt.Println("within four intervals:", time.Since(began) <= 4*publishertest.Heartbeat)
		})
	})
	// Output:
	// cause: silent
	// within four intervals: true
}

// A subscriber changes its filter while ticks flow: from one number on, and without a hole in its account.
func Example_filter() {
	run(func(t *testing.T) {
		s := publishertest.New(t)
		aapl, msft := s.Define("AAPL"), s.Define("MSFT") // numbers 1 and 2
		r := subscribertest.Start(t, subscriber.Config{Addrs: []string{s.Addr}, Start: subscriber.Beginning, Filter: codec.Filter{"AAPL"}})
		s.Quotes(aapl, 10)
		r.Wait(s.Quotes(msft, 10))
		if err := r.Subscriber.SetFilter(codec.Filter{"MSFT"}); err != nil {
			t.Fatal(err)
		}
		r.WaitFor("the new filter", func() bool {
			return slices.ContainsFunc(r.Changes(), func(c subscriber.Change) bool { return c.Filtered != nil })
		})
		s.Quotes(aapl, 10)
		r.Wait(s.Quotes(msft, 10))
		account := r.Subscriber.Ledger().Totals()
		fmt.Println("delivered:", account.Delivered) // the definition and 10 quotes of AAPL, 10 quotes of MSFT
		fmt.Println("not asked:", account.NotAsked)
		fmt.Println("lost:", account.Lost)
	})
	// Output:
	// delivered: 21
	// not asked: 21
	// lost: 0
}
