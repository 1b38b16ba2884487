package exam_test

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

	"tickfeed/cmd/exam"
	"tickfeed/codec/netsim"
)

var (
	seeds    = flag.Uint64("exam.seeds", 0, "simulate this many seeds; 0 for 200, or 10 with -short or -race")
	oneSeed  = flag.Uint64("exam.seed", 0, "simulate this seed alone, and tell what happens")
	from     = flag.Uint64("exam.from", 1, "simulate seeds from this one on")
	examTime = flag.Duration("exam.for", 0, "simulate seed after seed for this long")
)

// simulate runs one seed in a bubble of its own.
func simulate(t *testing.T, p exam.Plan) (o *exam.Outcome, err error) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		cryptotest.SetGlobalRandom(t, p.Seed)
		o, err = exam.Simulate(p)
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

// No tick comes twice, none out of order, and every number is accounted for, over any sequence of faults (RELIABILITY.md,
// 9, 23 and 29).
func TestSimulation(t *testing.T) {
	alone(t)
	defer debug.SetGCPercent(debug.SetGCPercent(800)) // what is alive is small, and made anew each second
	first, n := *from, uint64(200)
	if testing.Short() || raceEnabled {
		n = 10
	}
	if *seeds != 0 {
		n = *seeds
	}
	plan := exam.Plan{Dir: scratch(t)}
	if *examTime > 0 {
		n = 0
	}
	if *oneSeed != 0 {
		first, n = *oneSeed, 1
		plan.Log = func(s string) { fmt.Println(s) }
	}
	var total exam.Outcome
	began := time.Now()
	done := uint64(0)
	for plan.Seed = first; done < n || time.Since(began) < *examTime; plan.Seed++ {
		o, err := simulate(t, plan)
		require.NoError(t, err, "seed %d; replay with: go test ./cmd/exam -run TestSimulation -exam.seed %d", plan.Seed, plan.Seed)
		total.Faults.Add(&o.Faults)
		total.Virtual += o.Virtual
		total.Published += o.Published
		total.Delivered += o.Delivered
		total.Reconnects += o.Reconnects
		done++
	}
	t.Logf("%d seeds in %v: %v of virtual time, %d ticks published, %d delivered, %d reconnects\n%v",
		done, time.Since(began).Round(time.Millisecond), total.Virtual.Round(time.Minute), total.Published, total.Delivered, total.Reconnects, &total.Faults)
	if done >= 50 {
		assert.Empty(t, total.Faults.Absent(), "faults that never happened")
		assert.GreaterOrEqual(t, total.Reconnects, 500*done)
		assert.GreaterOrEqual(t, total.Virtual, time.Duration(done)*30*time.Minute)
	}
}

// The same seed has the same trace: everything that the network did, and when. The race detector shuffles the scheduler, and
// a machine that is busy may take the processor away from a goroutine in its midst, after which a run is like no other: more
// than half of the runs so far must be the same, at some point of at most forty.
func TestSameSeedSameTrace(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector shuffles the scheduler")
	}
	alone(t)
	defer debug.SetGCPercent(debug.SetGCPercent(-1)) // the collector takes its turns by the real clock
	const most = 40
	total := 0
	for seed := uint64(1001); seed < 1016; seed++ {
		var first []netsim.Event
		outcomes := make(map[exam.Outcome]int)
		runs, same := 0, 0
		for runs < 2 || same*2 <= runs {
			var trace []netsim.Event
			o, err := simulate(t, exam.Plan{Seed: seed, Steps: 200, Quiet: time.Minute, Trace: func(e netsim.Event) { trace = append(trace, e) }})
			require.NoError(t, err, "seed %d", seed)
			runs++
			outcomes[*o]++
			same = max(same, outcomes[*o])
			if first == nil {
				first = trace
			}
			if runs == most {
				require.Greater(t, same*2, runs, "runs that are the same, seed %d: %s", seed, firstDifference(first, trace))
			}
			runtime.GC()
		}
		total += runs
	}
	t.Logf("15 seeds took %d runs", total)
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
