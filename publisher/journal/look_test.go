package journal_test

import (
	"context"
	"encoding/binary"
	"hash/crc32"
	"io/fs"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tickfeed/codec"
	"tickfeed/codec/recording"
	"tickfeed/feed"
	"tickfeed/publisher/journal"
)

// copied copies the journal that version 1 has written, and returns the directory.
func copied(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "j")
	require.NoError(t, os.CopyFS(dir, os.DirFS("../../testdata/v1/journal")))
	return dir
}

// contents returns the contents of the files in dir.
func contents(t *testing.T, dir string) map[string]string {
	t.Helper()
	all := map[string]string{}
	require.NoError(t, fs.WalkDir(os.DirFS(dir), ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(filepath.Join(dir, name))
		all[name] = string(b)
		return err
	}))
	return all
}

// Look finds what Open does, of a journal that is at rest, torn, or in use, and changes nothing.
func TestLookFindsWhatOpenDoes(t *testing.T) {
	found, err := journal.Look(t.Context(), journal.Config{Dir: filepath.Join(t.TempDir(), "none")}, nil)
	require.NoError(t, err)
	assert.Nil(t, found)

	dir := copied(t)
	last := filepath.Join(dir, "00000000000000000030-000000000000002b.tick")
	whole, err := os.ReadFile(last)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(last, append(whole, 0xdd, 1, 2, 3), 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "00000000000000000099-000000000000003c.tick"), nil, 0o600)) // a crash left it
	before := contents(t, dir)
	found, err = journal.Look(t.Context(), journal.Config{Dir: dir}, nil)
	require.NoError(t, err)
	assert.Equal(t, before, contents(t, dir))
	assert.False(t, found.InUse)

	j, err := journal.Open(journal.Config{Dir: dir})
	require.NoError(t, err)
	opened := j.Recovered()
	assert.Equal(t, opened.Lineage, found.Lineage)
	assert.Equal(t, opened.Next, found.Next)
	assert.Equal(t, opened.Torn, found.Torn)
	assert.Equal(t, opened.Damage, found.Damage)
	assert.Positive(t, found.Torn)
	assert.NotEmpty(t, found.Source)

	found, err = journal.Look(t.Context(), journal.Config{Dir: dir}, nil)
	require.NoError(t, err)
	assert.True(t, found.InUse)
	require.NoError(t, j.Close())
	found, err = journal.Look(t.Context(), journal.Config{Dir: dir}, nil)
	require.NoError(t, err)
	assert.False(t, found.InUse)

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = journal.Look(ctx, journal.Config{Dir: dir}, nil)
	assert.ErrorIs(t, err, context.Canceled)
	_, _, err = journal.Files(ctx, journal.Config{Dir: dir})
	assert.ErrorIs(t, err, context.Canceled)
	var read atomic.Int64
	_, err = journal.Look(t.Context(), journal.Config{Dir: dir}, &read)
	require.NoError(t, err)
	assert.Positive(t, read.Load())

	file := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	_, err = journal.Look(t.Context(), journal.Config{Dir: file}, nil)
	assert.ErrorContains(t, err, "not a directory")
}

// Files finds every file that is missing, foreign or swapped with another, and changes nothing.
func TestFilesFindsWhatIsMissing(t *testing.T) {
	const first, second, last = "00000000000000000001-000000000000001a.tick", "00000000000000000010-000000000000001a.tick", "00000000000000000030-000000000000002b.tick"
	rename := func(t *testing.T, dir, from, to string) {
		require.NoError(t, os.Rename(filepath.Join(dir, from), filepath.Join(dir, to)))
	}
	for _, test := range []struct {
		name    string
		harm    func(t *testing.T, dir string)
		retain  bool
		names   []string
		missing []string
	}{
		{"nothing", func(*testing.T, string) {}, false, []string{first, second, last}, nil},
		{"the first", func(t *testing.T, dir string) { require.NoError(t, os.Remove(filepath.Join(dir, first))) }, false, []string{second, last},
			[]string{second + ": the files before this one are missing; if a retention removed them, use the same one again: numbers [1, 10)"}},
		{"the first, by retention", func(t *testing.T, dir string) { require.NoError(t, os.Remove(filepath.Join(dir, first))) }, true, []string{second, last}, nil},
		{"the middle", func(t *testing.T, dir string) { require.NoError(t, os.Remove(filepath.Join(dir, second))) }, true, []string{first, last},
			[]string{first + ": the next file begins later: numbers [10, 30)"}},
		{"two are swapped", func(t *testing.T, dir string) {
			rename(t, dir, first, "x")
			rename(t, dir, second, first)
			rename(t, dir, "x", second)
		}, true, []string{last}, []string{
			first + ": foreign: the header says session 000000000000001a from number 10: 1459 bytes at byte 0",
			second + ": foreign: the header says session 000000000000001a from number 1: 672 bytes at byte 0"}},
		{"another session's name", func(t *testing.T, dir string) { rename(t, dir, second, "00000000000000000010-000000000000002b.tick") }, true,
			[]string{first, last}, []string{
				"00000000000000000010-000000000000002b.tick: foreign: the header says session 000000000000001a from number 10: 1459 bytes at byte 0",
				first + ": the next file begins later: numbers [10, 30)"}},
		{"no header", func(t *testing.T, dir string) {
			require.NoError(t, os.WriteFile(filepath.Join(dir, second), make([]byte, 100), 0o600))
		}, true, []string{first, last}, []string{
			second + ": no header: the file is left as it is: 100 bytes at byte 0",
			first + ": the next file begins later: numbers [10, 30)"}},
		{"all", func(t *testing.T, dir string) {
			for _, name := range []string{first, second, last} {
				require.NoError(t, os.Remove(filepath.Join(dir, name)))
			}
		}, false, nil, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			dir := copied(t)
			test.harm(t, dir)
			before := contents(t, dir)
			cfg := journal.Config{Dir: dir}
			if test.retain {
				cfg.RetainAge = 1
			}
			names, missing, err := journal.Files(t.Context(), cfg)
			require.NoError(t, err)
			assert.Equal(t, test.names, names)
			var got []string
			for _, d := range missing {
				got = append(got, d.String())
			}
			assert.Equal(t, test.missing, got)
			assert.Equal(t, before, contents(t, dir))
		})
	}
	_, _, err := journal.Files(t.Context(), journal.Config{Dir: filepath.Join(t.TempDir(), "none")})
	assert.ErrorIs(t, err, os.ErrNotExist)
}

// A journal with a file of a newer format is refused by name, and nothing in it is touched, whatever else could be repaired.
func TestNewerJournalIsRefused(t *testing.T) {
	dir := copied(t)
	h := codec.FileHeader{Version: codec.Version + 1, Lineage: feed.Lineage{{ID: 0x3c, First: 99}}, Next: 99}
	newer, err := codec.Append(nil, &h)
	require.NoError(t, err)
	newer[0]++ // the checksum is one more element
	newer = binary.BigEndian.AppendUint32(append(newer, 0xce), crc32.Checksum(newer, crc32.MakeTable(crc32.Castagnoli)))
	const name = "00000000000000000099-000000000000003c.tick"
	require.NoError(t, os.WriteFile(filepath.Join(dir, name), newer, 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "00000000000000000001-000000000000000f.tick"), nil, 0o600))
	require.NoError(t, os.Truncate(filepath.Join(dir, "00000000000000000030-000000000000002b.tick"), 700))
	before := contents(t, dir)
	for range 2 {
		_, err = journal.Open(journal.Config{Dir: dir})
		var version *recording.VersionError
		require.ErrorAs(t, err, &version)
		assert.ErrorContains(t, err, name+": recording of version 2, written by a newer tickfeed: this one reads version 1, so use the newer one")
	}
	after := contents(t, dir)
	delete(after, "LOCK")
	assert.Equal(t, before, after)
}
