package simulation_test

import (
	"cmp"
	"flag"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"testing"
	"testing/cryptotest"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tickfeed/cmd/simulation"
	"tickfeed/codec/effort"
	"tickfeed/codec/netsim"
)

var (
	seeds   = flag.Uint64("simulation.seeds", 0, "simulate this many seeds, without a budget of time; 0 for 6 within a minute, or 200 with -full")
	oneSeed = flag.Uint64("simulation.seed", 0, "simulate this seed alone, and print its events")
	from    = flag.Uint64("simulation.from", 1, "simulate seeds from this one on")
	longest = flag.Duration("simulation.for", 0, "simulate seed after seed for this long")
	failing = flag.String("simulation.failing", "", "keep seeds that fail in this file, whose seeds are simulated first; empty for tickfeed/failing-seeds in the user's cache directory, none for no file")
)

// simulate runs one seed in a bubble of its own.
func simulate(t *testing.T, p simulation.Plan) (o *simulation.Outcome, err error) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		cryptotest.SetGlobalRandom(t, p.Seed)
		o, err = simulation.Simulate(p)
	})
	return o, err
}

// alone makes the scheduler's choices repeatable, as far as they can be.
func alone(t *testing.T) {
	before := runtime.GOMAXPROCS(1)
	t.Cleanup(func() { runtime.GOMAXPROCS(before) })
}

// scratch is a directory for position files, in memory where there is such a place.
func scratch(t *testing.T) string {
	t.Helper()
	if dir, err := os.MkdirTemp("/dev/shm", "exam"); err == nil {
		t.Cleanup(func() { os.RemoveAll(dir) })
		return dir
	}
	return t.TempDir()
}

// No tick comes twice, none out of order, and every number is accounted for, over any sequence of faults (PROMISES.md,
// 9, 23 and 29). Seeds that have failed before come first.
func TestSimulationAccountsForEveryNumber(t *testing.T) {
	alone(t)
	defer debug.SetGCPercent(debug.SetGCPercent(800)) // what is alive is small, and made anew each second
	runtime.GC()                                      // 800 % of that, not of what other tests left
	plan := simulation.Plan{Dir: scratch(t)}
	if *oneSeed != 0 {
		plan.Seed, plan.Log = *oneSeed, func(s string) { fmt.Println(s) }
		o, err := simulate(t, plan)
		require.NoError(t, err)
		t.Logf("%v of virtual time, %d ticks published, %d delivered, %d reconnects\n%v%v", o.Virtual, o.Published, o.Delivered, o.Reconnects, &o.Faults, &o.States)
		return
	}
	n, least := *seeds, *seeds
	switch {
	case *longest > 0:
		n, least = 0, 0
	case n == 0:
		n, least = effort.Of(t, uint64(200), 6), 3
		if raceEnabled {
			n = min(n, 2) // each takes ten times as long
		}
	}
	budget := effort.Within(time.Minute)
	kept := keptSeeds(t)
	kept.interrupted(t)
	var total simulation.Outcome
	began := time.Now()
	run := func(seed uint64) {
		plan.Seed = seed
		kept.begin(t, seed)
		o, err := simulate(t, plan)
		kept.done(t)
		if err != nil {
			kept.add(t, seed)
			// A night goes on after a failure: there may be others.
			fail := assert.NoError
			if *longest == 0 {
				fail = func(t assert.TestingT, err error, args ...any) bool {
					require.NoError(t.(require.TestingT), err, args...)
					return true
				}
			}
			fail(t, err, "seed %d, which later runs simulate first; replay with: go test ./cmd/simulation -run TestSimulationAccountsForEveryNumber -simulation.seed %d", seed, seed)
		}
		total.Faults.Add(&o.Faults)
		total.States.Add(&o.States)
		total.Virtual += o.Virtual
		total.Published += o.Published
		total.Delivered += o.Delivered
		total.Reconnects += o.Reconnects
	}
	for _, seed := range kept.seeds {
		run(seed)
	}
	done := uint64(len(kept.seeds))
	first := done
	for seed := *from; seed-*from < n || time.Since(began) < *longest; seed++ {
		if seed-*from >= least && budget.Spent() && *longest == 0 {
			break
		}
		run(seed)
		done++
	}
	budget.Log(t, int(done-first), int(n))
	t.Logf("%d seeds in %v, %d of which had failed before: %v of virtual time, %d ticks published, %d delivered, %d reconnects\n%v%v",
		done, time.Since(began).Round(time.Millisecond), len(kept.seeds), total.Virtual.Round(time.Minute), total.Published, total.Delivered,
		total.Reconnects, &total.Faults, &total.States)
	if done >= enoughSeeds {
		assert.Empty(t, total.Faults.Absent(), "faults that never happened")
		assert.Empty(t, total.States.Absent(), "states that were never seen")
		assert.GreaterOrEqual(t, total.Reconnects, 500*done)
		assert.GreaterOrEqual(t, total.Virtual, time.Duration(done)*30*time.Minute)
	}
}

// enoughSeeds is how many seeds must meet every fault and see every state.
const enoughSeeds = 50

// The same seed has the same trace: everything that the network did, and when. The race detector shuffles the scheduler, and
// a machine that is busy may take the processor away from a goroutine in its midst, after which a run is like no other: so two runs
// and more than a quarter must be the same, at some point of at most sixty. What chance decides makes each run another one. The shorter
// a run, the less often the machine gets in its way.
func TestSameSeedSameTrace(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector shuffles the scheduler")
	}
	alone(t)
	defer debug.SetGCPercent(debug.SetGCPercent(-1)) // the collector takes its turns by the real clock
	const most = 60
	late := effort.WatchTimers(t) // while the test runs: a machine that was busy may be idle at the end
	traces, total := 0, 0
	for i := range effort.Times(t, effort.Of(t, 20, 10), 3, time.Minute) {
		seed := uint64(1001 + i)
		var first []netsim.Event
		outcomes := make(map[simulation.Outcome]int)
		runs, same := 0, 0
		for same < 2 || same*4 <= runs {
			var trace []netsim.Event
			o, err := simulate(t, simulation.Plan{Seed: seed, Steps: 40, Quiet: 10 * time.Second, Trace: func(e netsim.Event) { trace = append(trace, e) }})
			require.NoError(t, err, "seed %d", seed)
			runs++
			outcomes[*o]++
			same = max(same, outcomes[*o])
			if first == nil {
				first = trace
			}
			if runs == most {
				if gap := max(longestGap(), late.Latest()); gap > busyGap {
					t.Skipf("not judged: the machine is busy, and takes the processor away for %v; %d of %d runs of seed %d are the same", gap, same, runs, seed)
				}
				require.Greater(t, same*4, runs, "runs that are the same, seed %d: %s", seed, firstDifference(first, trace))
			}
			runtime.GC()
		}
		traces, total = traces+1, total+runs
	}
	t.Logf("%d seeds took %d runs", traces, total)
}

// busyGap is for how long a machine that is not busy does not take the processor away.
const busyGap = 3 * time.Millisecond

// longestGap returns for how long the machine took the processor away at most, in a fifth of a second.
func longestGap() (longest time.Duration) {
	began := time.Now()
	for last := began; last.Sub(began) < 200*time.Millisecond; {
		now := time.Now()
		longest, last = max(longest, now.Sub(last)), now
	}
	return longest
}

// firstDifference tells in what two traces differ first; those of one instant are in no order.
func firstDifference(a, b []netsim.Event) string {
	for _, events := range [][]netsim.Event{a, b} {
		slices.SortStableFunc(events, func(x, y netsim.Event) int {
			return cmp.Or(cmp.Compare(x.At, y.At), strings.Compare(x.String(), y.String()))
		})
	}
	for i := range min(len(a), len(b)) {
		if a[i] != b[i] {
			return fmt.Sprintf("event %d of %d: %v, then %v", i, len(a), a[i], b[i])
		}
	}
	return fmt.Sprintf("%d events, then %d", len(a), len(b))
}
