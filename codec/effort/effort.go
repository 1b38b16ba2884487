// Package effort sets how much work tests do. Without flags, "go test ./..." ends in about three minutes on two idle cores, and
// within Go's limit of ten minutes on any machine; tests log the work that they leave out. With the flag -full, which
// .ci/run sets, tests do all their work, and also check bounds on real time.
//
//	for seed := range effort.Times(t, 10_000, 5, time.Second) { // at least 5, then as many as fit in a second
//		simulate(t, seed, effort.Of(t, time.Hour, time.Minute))
//	}
//
// Only packages whose tests import effort have the flag -full.
package effort

import (
	"flag"
	"fmt"
	"iter"
	"sync"
	"testing"
	"time"
)

var full = flag.Bool("full", false, "do all the work that a test can do, without a budget of time, and judge bounds in real time")

// Full reports whether tests must do all their work.
func Full() bool { return *full }

// Of returns all with -full. Otherwise it returns usual, and logs both.
func Of[T any](t testing.TB, all, usual T) T {
	t.Helper()
	if Full() {
		return all
	}
	logOnce(t, fmt.Sprintf("%v here, %v with -full", usual, all))
	return usual
}

// Stride returns 1 with -full. Otherwise it returns usual, and logs it: the test does one of usual cases.
func Stride(t testing.TB, usual int) int {
	t.Helper()
	if Full() {
		return 1
	}
	logOnce(t, fmt.Sprintf("one case of %d here, each with -full", usual))
	return usual
}

// A logLine is a line of one test.
type logLine struct {
	t    testing.TB
	line string
}

var logged sync.Map // of logLine

// logOnce logs line, unless t has logged it before.
func logOnce(t testing.TB, line string) {
	t.Helper()
	if _, before := logged.LoadOrStore(logLine{t, line}, true); !before {
		t.Log(line)
	}
}

// A Budget is how long a test may take for its cases. With -full it has no limit.
type Budget struct {
	began time.Time
	limit time.Duration
}

// Within returns a budget that begins now.
func Within(limit time.Duration) *Budget { return &Budget{began: time.Now(), limit: limit} }

// Spent reports whether the budget is used up. It is safe for concurrent use.
func (b *Budget) Spent() bool { return !Full() && time.Since(b.began) >= b.limit }

// Times yields the numbers 0 to n-1. It stops early when limit has passed and it has yielded at least least numbers, and logs
// that.
func Times(t testing.TB, n, least int, limit time.Duration) iter.Seq[int] {
	return func(yield func(int) bool) {
		b := Within(limit)
		for i := range n {
			if i >= least && b.Spent() {
				b.Log(t, i, n)
				return
			}
			if !yield(i) {
				return
			}
		}
	}
}

// Log logs how many cases were done, if it is fewer than all.
func (b *Budget) Log(t testing.TB, done, all int) {
	t.Helper()
	if done < all {
		t.Logf("%d of %d cases: the budget of %v was used up; -full has no budget", done, all, b.limit)
	}
}
