package scratch

import (
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// New removes the directories that killed processes left, of any kind and at most maxAbandoned, and nothing else.
func TestAbandonedDirectories(t *testing.T) {
	parent := t.TempDir()
	living, err := New(parent, "lab")
	require.NoError(t, err)
	killed, err := New(parent, "demo")
	require.NoError(t, err)
	require.NoError(t, os.MkdirAll(filepath.Join(killed.Path, "1"), 0o700))
	require.NoError(t, os.WriteFile(filepath.Join(killed.Path, "1", "journal.tick"), []byte("x"), 0o600))
	require.NoError(t, killed.lock.Close()) // as the operating system does
	unlocked, foreign, journal := filepath.Join(parent, prefix+"new"), filepath.Join(parent, "other"), filepath.Join(parent, prefix+"journal")
	for path, file := range map[string]string{unlocked: "x", foreign: lockName, journal: "LOCK"} {
		require.NoError(t, os.Mkdir(path, 0o700))
		require.NoError(t, os.WriteFile(filepath.Join(path, file), nil, 0o600))
	}

	another, err := New(parent, "replay")
	require.NoError(t, err)
	for _, path := range []string{living.Path, unlocked, foreign, journal, another.Path} {
		assert.DirExists(t, path)
	}
	assert.NoDirExists(t, killed.Path)
	require.NoError(t, another.Remove())
	require.NoError(t, living.Remove())
	assert.NoDirExists(t, living.Path)

	for i := range maxAbandoned + 1 {
		path := filepath.Join(parent, prefix+strconv.Itoa(i))
		require.NoError(t, os.Mkdir(path, 0o700))
		require.NoError(t, os.WriteFile(filepath.Join(path, lockName), nil, 0o600))
	}
	another, err = New(parent, "replay")
	require.NoError(t, err)
	require.NoError(t, another.Remove())
	left, err := filepath.Glob(filepath.Join(parent, prefix+"*", lockName))
	require.NoError(t, err)
	assert.Len(t, left, 1)
}

// Beside removes the directories that killed processes left for the same path, and nothing else.
func TestBesideRemovesItsOwn(t *testing.T) {
	parent := t.TempDir()
	path := filepath.Join(parent, "day.tick")
	beside := func(path string) *Dir {
		d, err := Beside(path)
		require.NoError(t, err)
		t.Cleanup(func() { _ = d.Remove() })
		return d
	}
	var others []string
	for _, name := range []string{
		".day.tick.12a.tmp", ".day.tick..tmp", ".day.tick.12.tmp2", ".day.tick.12", ".day.tick.zst.12.tmp", "day.tick.12.tmp",
		".today.tick.12.tmp", prefix + "lab-12",
	} {
		others = append(others, name)
		require.NoError(t, os.Mkdir(filepath.Join(parent, name), 0o700))
		require.NoError(t, os.WriteFile(filepath.Join(parent, name, lockName), nil, 0o600))
	}
	others = append(others, ".day.tick.1.tmp", ".day.tick.2.tmp", ".day.tick.3.tmp") // named as its directories are, but others
	require.NoError(t, os.WriteFile(filepath.Join(parent, ".day.tick.1.tmp"), nil, 0o600))
	require.NoError(t, os.Symlink(others[0], filepath.Join(parent, ".day.tick.2.tmp")))
	require.NoError(t, os.Mkdir(filepath.Join(parent, ".day.tick.3.tmp"), 0o700)) // without a lock

	living, elsewhere, killed := beside(path), beside(filepath.Join(parent, "other.tick")), beside(path)
	require.NoError(t, elsewhere.lock.Close()) // as the operating system does
	require.NoError(t, killed.lock.Close())
	another := beside(path)
	want := append(others, filepath.Base(living.Path), filepath.Base(elsewhere.Path), filepath.Base(another.Path))
	var names []string
	entries, err := os.ReadDir(parent)
	require.NoError(t, err)
	for _, e := range entries {
		names = append(names, e.Name())
	}
	assert.ElementsMatch(t, want, names)
}

// A directory that is in use is never removed, even if many are made and removed at once.
func TestDirectoriesAtOnce(t *testing.T) {
	parent := t.TempDir()
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range 10 {
				d, err := New(parent, "test")
				if !assert.NoError(t, err) {
					return
				}
				assert.NoError(t, os.WriteFile(filepath.Join(d.Path, "file"), nil, 0o600))
				other, err := New(parent, "test")
				assert.NoError(t, err)
				assert.NoError(t, other.Remove())
				assert.FileExists(t, filepath.Join(d.Path, "file"))
				assert.NoError(t, d.Remove())
			}
		})
	}
	all.Wait()
	left, err := os.ReadDir(parent)
	require.NoError(t, err)
	assert.Empty(t, left)
}
