// Package effort sets how much work tests do. "go test ./..." ends within two minutes on two idle cores, and within Go's limit of
// ten minutes on any machine: a test that does less than it could logs what it leaves out. With the flag -full, which
// .ci/run sets, tests do all that the project promises, and judge the bounds that hold in real time only.
//
// Only packages whose tests import effort know the flag -full.
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

// Full reports whether tests are to do all their work.
func Full() bool { return *full }

// Of returns all with -full, and else usual, which it logs.
func Of[T any](t testing.TB, all, usual T) T {
	t.Helper()
	if Full() {
		return all
	}
	logOnce(t, fmt.Sprintf("%v here, %v with -full", usual, all))
	return usual
}

// Stride returns 1 with -full, and else usual, which it logs: of so many cases, a test does one.
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

// logOnce logs a line that t did not log yet.
func logOnce(t testing.TB, line string) {
	t.Helper()
	if _, before := logged.LoadOrStore(logLine{t, line}, true); !before {
		t.Log(line)
	}
}

// A Budget is how long a test may go through its cases. With -full it never ends.
type Budget struct {
	began time.Time
	limit time.Duration
}

// Within returns a budget that begins now.
func Within(limit time.Duration) *Budget { return &Budget{began: time.Now(), limit: limit} }

// Spent reports whether the budget is used up. It is safe for concurrent use.
func (b *Budget) Spent() bool { return !Full() && time.Since(b.began) >= b.limit }

// Times returns the numbers 0 to n-1, and stops before n, but not before least, when limit has passed. It logs that.
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

// Log logs what was left out, if fewer than all cases were done.
func (b *Budget) Log(t testing.TB, done, all int) {
	t.Helper()
	if done < all {
		t.Logf("%d of %d cases: the budget of %v was used up; -full has no budget", done, all, b.limit)
	}
}
