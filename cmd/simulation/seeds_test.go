package simulation_test

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// committedSeeds is the file of seeds that every run simulates first.
const committedSeeds = "testdata/failing-seeds"

// mostKept bounds the failing seeds of a file that are simulated again: the newest.
const mostKept = 100

// A seedFile is seeds that have failed: those that are committed, and those of a file that failing ones are added to.
type seedFile struct {
	path  string // of the file to add to; empty for none
	seeds []uint64
}

// keptSeeds reads the files of failing seeds.
func keptSeeds(t *testing.T) *seedFile {
	t.Helper()
	f := &seedFile{path: *failing}
	switch f.path {
	case "none":
		f.path = ""
	case "":
		dir, err := os.UserCacheDir()
		if err != nil {
			t.Logf("failing seeds are not kept: %v; -simulation.failing names a file", err)
			break
		}
		f.path = filepath.Join(dir, "tickfeed", "failing-seeds")
	}
	f.seeds = readSeeds(t, committedSeeds)
	if f.path != "" {
		more := readSeeds(t, f.path)
		for _, seed := range more[max(0, len(more)-mostKept):] {
			if !slices.Contains(f.seeds, seed) {
				f.seeds = append(f.seeds, seed)
			}
		}
	}
	return f
}

// readSeeds reads a file of seeds; one that is not there has none.
func readSeeds(t *testing.T, path string) (seeds []uint64) {
	t.Helper()
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	require.NoError(t, err)
	defer f.Close()
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		text, _, _ := strings.Cut(lines.Text(), "#")
		if text = strings.TrimSpace(text); text == "" {
			continue
		}
		seed, err := strconv.ParseUint(text, 10, 64)
		require.NoError(t, err, "%s: %q is no seed", path, lines.Text())
		seeds = append(seeds, seed)
	}
	require.NoError(t, lines.Err())
	return seeds
}

// add adds a seed that has failed to the file.
func (f *seedFile) add(t *testing.T, seed uint64) {
	t.Helper()
	if f.path == "" || slices.Contains(readSeeds(t, f.path), seed) || slices.Contains(readSeeds(t, committedSeeds), seed) {
		return
	}
	require.NoError(t, os.MkdirAll(filepath.Dir(f.path), 0o700))
	file, err := os.OpenFile(f.path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	require.NoError(t, err)
	_, err = fmt.Fprintln(file, seed)
	require.NoError(t, errors.Join(err, file.Close()))
}

// running is the file with the seed that a long run is simulating: a simulation that deadlocks or panics ends the process.
func (f *seedFile) running() string { return f.path + ".running" }

// interrupted keeps the seed at which an earlier long run was ended, by itself or by somebody.
func (f *seedFile) interrupted(t *testing.T) {
	t.Helper()
	if f.path == "" {
		return
	}
	for _, seed := range readSeeds(t, f.running()) {
		f.add(t, seed)
		f.seeds = append(f.seeds, seed)
	}
	f.done(t)
}

// begin notes, in a long run, that seed is being simulated.
func (f *seedFile) begin(t *testing.T, seed uint64) {
	t.Helper()
	if f.path == "" || *longest == 0 {
		return
	}
	require.NoError(t, os.MkdirAll(filepath.Dir(f.path), 0o700))
	require.NoError(t, os.WriteFile(f.running(), fmt.Appendln(nil, seed), 0o600))
}

// done notes that the simulation has come to its end.
func (f *seedFile) done(t *testing.T) {
	t.Helper()
	if f.path == "" {
		return
	}
	if err := os.Remove(f.running()); !errors.Is(err, fs.ErrNotExist) {
		require.NoError(t, err)
	}
}

// A seed that fails is kept once and comes first in the next run, as does the one at which a run was ended; committed seeds
// come before them.
func TestFailingSeedsAreKept(t *testing.T) {
	before, long := *failing, *longest
	defer func() { *failing, *longest = before, long }()
	*failing, *longest = filepath.Join(t.TempDir(), "deeper", "failing-seeds"), 1
	committed := readSeeds(t, committedSeeds)

	f := keptSeeds(t)
	assert.Equal(t, committed, f.seeds)
	f.add(t, 41)
	f.add(t, 42)
	f.add(t, 41)
	assert.Equal(t, append(slices.Clone(committed), 41, 42), keptSeeds(t).seeds)

	f.begin(t, 43)
	f.done(t)
	f = keptSeeds(t)
	f.interrupted(t)
	assert.Equal(t, append(slices.Clone(committed), 41, 42), f.seeds, "a run that came to its end")
	f.begin(t, 44)
	f = keptSeeds(t)
	f.interrupted(t)
	assert.Equal(t, append(slices.Clone(committed), 41, 42, 44), f.seeds, "a run that was ended in seed 44")
	assert.Equal(t, f.seeds, keptSeeds(t).seeds)
	assert.NoFileExists(t, f.running())

	for seed := range uint64(2 * mostKept) {
		f.add(t, 1000+seed)
	}
	f = keptSeeds(t)
	assert.Len(t, f.seeds, len(committed)+mostKept)
	assert.Equal(t, uint64(1000+2*mostKept-1), f.seeds[len(f.seeds)-1], "the newest are simulated again")

	*failing = "none"
	f = keptSeeds(t)
	f.add(t, 41)
	f.begin(t, 41)
	f.done(t)
	assert.Equal(t, committed, f.seeds)
}
