package effort

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
)

// A listener is a test that only listens.
type listener struct {
	testing.TB
	logs, errors []string
}

func (l *listener) Log(args ...any) { l.logs = append(l.logs, fmt.Sprint(args...)) }
func (l *listener) Helper()         {}
func (l *listener) Logf(format string, args ...any) {
	l.logs = append(l.logs, fmt.Sprintf(format, args...))
}
func (l *listener) Errorf(format string, args ...any) {
	l.errors = append(l.errors, fmt.Sprintf(format, args...))
}

func setFull(t *testing.T, to bool) {
	before := *full
	*full = to
	t.Cleanup(func() { *full = before })
}

// A test that does less than all says so, once.
func TestOfSaysWhatIsLeftOut(t *testing.T) {
	for _, c := range []struct {
		full         bool
		want, stride int
		logs         []string
	}{
		{false, 3, 17, []string{"3 here, 40 with -full", "one case of 17 here, each with -full"}},
		{true, 40, 1, nil},
	} {
		setFull(t, c.full)
		for range 2 {
			l := &listener{}
			for range 2 {
				assert.Equal(t, c.want, Of(l, 40, 3))
				assert.Equal(t, c.stride, Stride(l, 17))
			}
			assert.Equal(t, c.logs, l.logs)
		}
	}
}

// A budget ends after its time, and not at all with -full.
func TestBudgetEndsAfterItsTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		setFull(t, false)
		b := Within(2 * time.Second)
		time.Sleep(2*time.Second - 1)
		assert.False(t, b.Spent())
		time.Sleep(time.Nanosecond)
		assert.True(t, b.Spent())
		l := &listener{}
		b.Log(l, 5, 5)
		assert.Empty(t, l.logs)
		b.Log(l, 4, 5)
		assert.Equal(t, []string{"4 of 5 cases: the budget of 2s was used up; -full has no budget"}, l.logs)
		setFull(t, true)
		assert.False(t, b.Spent())
	})
}

// A loop stops when its time has passed, and the least was done.
func TestTimesStopAfterTheLeast(t *testing.T) {
	for _, c := range []struct {
		full            bool
		n, least, times int
		log             string
	}{
		{false, 3, 1, 3, ""},
		{false, 9, 1, 3, "3 of 9 cases: the budget of 3s was used up; -full has no budget"},
		{false, 9, 5, 5, "5 of 9 cases: the budget of 3s was used up; -full has no budget"},
		{true, 9, 5, 9, ""},
	} {
		synctest.Test(t, func(t *testing.T) {
			setFull(t, c.full)
			l := &listener{}
			times := 0
			for i := range Times(l, c.n, c.least, 3*time.Second) {
				assert.Equal(t, times, i)
				times++
				time.Sleep(time.Second)
			}
			assert.Equal(t, c.times, times)
			assert.Equal(t, c.log, strings.Join(l.logs, "\n"))
		})
	}
}

// A bound in real time is judged with -full, on a machine whose timers fire in time.
func TestJudgeOnlyOnExactMachines(t *testing.T) {
	for _, c := range []struct {
		name       string
		full       bool
		took, late time.Duration
		log, error string
	}{
		{"usual effort", false, 11 * time.Second, 0, "x: 11s, the bound is 10s; -full judges it", ""},
		{"in time", true, 10 * time.Second, 0, "x: 10s, the bound is 10s; a plain timer was at most 0s late", ""},
		{"too late", true, 10*time.Second + 1, 0, "", "x: 10.000000001s, the bound is 10s; a plain timer was at most 0s late"},
		{"as late as a timer", true, 11 * time.Second, time.Second, "x: 11s, the bound is 10s; a plain timer was at most 1s late", ""},
		{"a busy machine", true, 99 * time.Second, time.Second + 1, "not judged: x: 1m39s, the bound is 10s, and a plain timer was 1.000000001s late", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			setFull(t, c.full)
			w, l := &Timers{}, &listener{}
			w.latest.Store(int64(c.late))
			w.Judge(l, "x", c.took, 10*time.Second)
			assert.Equal(t, c.log, strings.Join(l.logs, "\n"))
			assert.Equal(t, c.error, strings.Join(l.errors, "\n"))
		})
	}
}

// WatchTimers measures how late timers fire.
func TestWatchTimers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := WatchTimers(t)
		time.Sleep(time.Second)
		assert.Zero(t, w.Latest(), "time is virtual here")
	})
	w := WatchTimers(t)
	for end := time.Now().Add(time.Minute); w.Latest() == 0 && time.Now().Before(end); {
		time.Sleep(timerPeriod)
	}
	assert.Positive(t, w.Latest())
}
