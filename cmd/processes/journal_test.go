package processes

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tickfeed/codec/effort"
	"tickfeed/feed"
)

// If the journal changes between two lives of a publisher (it is deleted, it loses its last file or some bytes of that, an
// old copy of it is restored), no two ticks ever have the same number of the same session, and the publisher
// reports to each subscriber exactly which of the numbers that it received are disowned. A second publisher is refused meanwhile.
func TestTamperedJournals(t *testing.T) {
	t.Parallel()
	random := chance(t)
	top := t.TempDir()
	dir, old := filepath.Join(top, "journal"), filepath.Join(top, "old")
	audit, addr := newAuditor(), newAddress()
	args := lively(effort.Of(t, "100k", "20k"), "--journal", dir)
	var followers []*follower
	for i := range 3 {
		followers = append(followers, follow(t, fmt.Sprintf("follower %d", i), audit, addr, nil))
	}

	done := map[string]int{}
	var disownings, told uint64
	for round := range effort.Times(t, times(t, rounds, 50, 20), 10, time.Minute) {
		p := publish(t, args...)
		if p.root {
			audit.root(p.session)
		}
		addr.is(p.addr)
		for _, f := range followers {
			told += f.waitFork(t, p)
		}
		if round%10 == 0 {
			refused(t, args)
			done["second publisher"]++
		}
		time.Sleep(time.Duration(random.Int64N(int64(20 * time.Millisecond))))
		addr.is("")
		if random.IntN(2) == 0 {
			p.kill()
		} else {
			p.stop()
		}
		for _, f := range followers {
			// The last messages of a publisher arrive until the connection is closed.
			f.wait(t, "the connection's end", func() bool { return f.down })
			f.mu.Lock()
			f.held, f.disownedBefore = f.next, len(f.disowned)
			f.mu.Unlock()
		}
		what := tamper(t, dir, old, random.IntN(6), random.Float64())
		done[what]++
	}
	for _, f := range followers {
		f.leave()
		f.reconcile()
		for _, n := range f.disowned {
			disownings += n.Range.Len()
		}
	}
	t.Logf("%v; %d ticks, %d forks told, %d numbers disowned", done, audit.total(), told, disownings)
	assert.NotZero(t, disownings, "nothing was disowned: the journals were not tampered with")
	audit.judge(t)
}

// waitFork waits until f receives ticks of the session of p, and returns what expectFork does.
func (f *follower) waitFork(t *testing.T, p *publisher) uint64 {
	t.Helper()
	f.wait(t, "ticks of the new session", func() bool { return f.session == p.session })
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.expectFork(p)
}

// expectFork judges the changes that the follower received when the session of p began: every number that it had from the first
// of that session on is disowned, or nothing is. It returns 1 if something is.
func (f *follower) expectFork(p *publisher) uint64 {
	first := p.first
	var now []feed.Range
	for _, n := range f.disowned[f.disownedBefore:] {
		now = append(now, n.Range)
	}
	if p.root || f.held <= first { // nothing in common, or nothing lost
		if len(now) > 0 {
			f.audit.wrong("%s: %v disowned, it was at %d and the session begins at %d", f.name, now, f.held, first)
		}
		return 0
	}
	at := first
	for _, r := range now {
		if r.From != at {
			f.audit.wrong("%s: %v disowned, want [%d, %d)", f.name, now, first, f.held)
		}
		at = r.To
	}
	if at != f.held {
		f.audit.wrong("%s: %v disowned, want [%d, %d)", f.name, now, first, f.held)
	}
	return 1
}

// refused starts a second publisher on the same journal, which must say why it cannot.
func refused(t *testing.T, args []string) {
	t.Helper()
	second := startPublisher(t, args...)
	assert.Equal(t, 1, second.wait(), "exit code of a second publisher on one journal")
	assert.Contains(t, strings.Join(second.said(), "\n"), "in use by another publisher")
}

// tamper does something to the journal in dir, of which old may become or be an older copy,
// and says what.
func tamper(t *testing.T, dir, old string, choice int, share float64) string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*.tick"))
	require.NoError(t, err)
	slices.Sort(files)
	last := files[len(files)-1]
	switch choice {
	case 0:
		require.NoError(t, os.RemoveAll(dir))
		require.NoError(t, os.RemoveAll(old)) // it is of another lineage
		return "delete the journal"
	case 1:
		require.NoError(t, os.Remove(last))
		require.NoError(t, os.RemoveAll(old)) // it may be newer now
		return "delete the last file"
	case 2:
		info, err := os.Stat(last)
		require.NoError(t, err)
		require.NoError(t, os.Truncate(last, int64(share*float64(info.Size()))))
		require.NoError(t, os.RemoveAll(old))
		return "cut the last file"
	case 3, 4:
		if _, err := os.Stat(old); err != nil {
			require.NoError(t, os.CopyFS(old, os.DirFS(dir)))
			return "keep a copy"
		}
		require.NoError(t, os.RemoveAll(dir))
		require.NoError(t, os.Rename(old, dir))
		return "restore an old copy"
	}
	return "nothing"
}
