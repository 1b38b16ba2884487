package journal_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tickfeed/codec/recording"
	"tickfeed/feed"
	"tickfeed/publisher/journal"
	"tickfeed/publisher/journal/memfs"
)

// Opening a journal finds the numbers that it lost while it was closed: exactly those that a cursor reports as gone. That
// holds for files that are missing, empty, cut, or without a header, at the beginning and in the middle, also behind a file
// that has no trailer because its process was killed.
func TestOpenKnowsWhatIsMissing(t *testing.T) {
	cfg := journal.Config{Dir: "j", SegmentSize: 2 * recording.MarkInterval}
	remove := func(t *testing.T, fs *memfs.FS, name string) { require.NoError(t, fs.Remove(name)) }
	for _, test := range []struct {
		name string
		file int // of those in order
		harm func(t *testing.T, fs *memfs.FS, name string)
		also []int // files that are harmed in the same way
	}{
		{"the first file", 0, remove, nil},
		{"the first two files", 0, remove, []int{1}},
		{"a file in the middle", 3, remove, nil},
		{"two files in the middle", 3, remove, []int{4}},
		{"two files that are no neighbours", 3, remove, []int{6}},
		{"a file behind one without a trailer", 2, remove, nil},
		{"the first file is empty", 0, func(_ *testing.T, fs *memfs.FS, name string) { fs.Put(name, nil) }, nil},
		{"a file in the middle is empty", 3, func(_ *testing.T, fs *memfs.FS, name string) { fs.Put(name, nil) }, nil},
		{"a file has no header, and nothing that one could find", 3, func(_ *testing.T, fs *memfs.FS, name string) {
			fs.Put(name, make([]byte, len(fs.Bytes(name))))
		}, nil},
		{"the end of a file is cut off", 3, func(_ *testing.T, fs *memfs.FS, name string) {
			b := fs.Bytes(name)
			fs.Put(name, b[:len(b)*2/3])
		}, nil},
		{"the end of a file that has no trailer is cut off", 1, func(_ *testing.T, fs *memfs.FS, name string) {
			b := fs.Bytes(name)
			fs.Put(name, b[:len(b)*2/3])
		}, nil},
		{"the first half of a file", 3, func(_ *testing.T, fs *memfs.FS, name string) {
			b := slices.Clone(fs.Bytes(name))
			clear(b[:len(b)/2])
			fs.Put(name, b)
		}, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			w, fs := newWorld(), &memfs.FS{}
			cfg := cfg
			cfg.FS = fs
			j := w.start(t, cfg)
			grow := func(files int) {
				for len(fs.All()) < files+1 { // the lock too
					w.append(t, j, 500)
				}
				w.append(t, j, 500)
			}
			grow(2)
			fs = fs.Killed() // the second file has no trailer
			cfg.FS = fs
			j = w.start(t, cfg)
			grow(9)
			require.NoError(t, j.Close())
			names := slices.DeleteFunc(fs.All(), func(n string) bool { return !strings.HasSuffix(n, ".tick") })
			slices.Sort(names)
			before, err := journal.Open(cfg)
			require.NoError(t, err)
			require.Empty(t, before.Recovered().Damage)
			require.NoError(t, before.Close())
			for _, i := range append([]int{test.file}, test.also...) {
				test.harm(t, fs, names[i])
			}

			j, err = journal.Open(cfg)
			require.NoError(t, err)
			got, err := w.audit(j, 1)
			require.NoError(t, err)
			require.False(t, got.gone.Empty())
			var known feed.RangeSet
			for _, d := range j.Recovered().Damage {
				if !d.Range.Empty() {
					known.Add(d.Range)
				}
			}
			assert.Equal(t, got.gone.String(), known.String(), "%v", j.Recovered().Damage)
			require.NoError(t, j.Close())

			// With a retention nobody can say whether it removed the oldest files.
			cfg.RetainBytes = 1 << 40
			j, err = journal.Open(cfg)
			require.NoError(t, err)
			if test.file == 0 {
				assert.Empty(t, j.Recovered().Damage)
			} else {
				assert.NotEmpty(t, j.Recovered().Damage)
			}
			require.NoError(t, j.Close())
		})
	}
}
