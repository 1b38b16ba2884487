package journal_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tickfeed/codec"
	"tickfeed/feed"
	"tickfeed/publisher/journal"
	"tickfeed/publisher/journal/memfs"
)

// overtaken lets retention remove a file just before it is opened.
type overtaken struct {
	*memfs.FS
	before func()
}

func (o *overtaken) Open(name string) (journal.ReadFile, error) {
	if before := o.before; before != nil {
		o.before = nil
		before()
	}
	return o.FS.Open(name)
}

// A cursor that is about to open a file which retention removes meanwhile reports those numbers as expired, not
// as damaged; one whose file somebody else removed reports them as damaged.
func TestRetentionOvertakesACursor(t *testing.T) {
	w, fs := newWorld(), &overtaken{FS: &memfs.FS{}}
	j := w.start(t, journal.Config{Dir: "j", FS: fs, SegmentSize: journal.MinSegmentSize, RetainBytes: 1})
	for len(files(t, fs)) < 10 {
		w.append(t, j, 20)
	}
	second := j.Cursor(1)
	chunk, err := second.Next()
	require.NoError(t, err)
	at := chunk.Range.To // in the first file, or the second begins here
	require.NoError(t, second.Close())
	fs.Unlink("j/" + files(t, fs)[3])
	c := j.Cursor(at)
	for range 10 {
		if chunk, err = c.Next(); err != nil || !chunk.Gone.Empty() {
			break
		}
	}
	require.NoError(t, err)
	require.Equal(t, codec.GoneDamaged, chunk.Reason)
	require.NoError(t, c.Close())

	c = j.Cursor(chunk.Gone.To)
	defer c.Close()
	fs.before = func() { require.NoError(t, j.Retain(0)) }
	expired, err := c.Next()
	require.NoError(t, err)
	assert.Equal(t, feed.Range{From: chunk.Gone.To, To: j.Tail()}, expired.Gone)
	assert.Equal(t, codec.GoneExpired, expired.Reason)
	require.NoError(t, j.Close())
}

// Retention keeps what is young enough and what fits: it removes a file only if with it there would be too much, or if
// it ended too long ago, and it leaves no file that must go. Each bound is tested from both sides.
func TestRetentionKeeps(t *testing.T) {
	type file struct {
		first uint64
		size  int64
		last  int64 // publish time of its last packet
	}
	for _, c := range []struct {
		bytes int64
		age   time.Duration
	}{{20 << 10, 0}, {50 << 10, 0}, {1 << 30, 0}, {0, 300}, {0, 500}, {0, 1 << 40}, {20 << 10, 300}, {1 << 30, 300}, {20 << 10, 1 << 40}} {
		for _, restarted := range []bool{false, true} {
			w, fs := newWorld(), &memfs.FS{}
			cfg := journal.Config{
				Dir: "j", FS: fs, SegmentSize: 2 << 10, RetainBytes: c.bytes, RetainAge: c.age, Now: func() int64 { return w.time },
			}
			j := w.start(t, cfg)
			var all []file
			for range 100 {
				if j.Full() {
					all = append(all, file{last: w.time - 10})
				}
				w.append(t, j, 20)
			}
			if restarted {
				all = append(all, file{last: w.time - 10})
				require.NoError(t, j.Close())
				j = w.start(t, cfg)
			}
			names := files(t, fs)
			require.Len(t, names, len(all)+1)
			all = append(all, file{})
			for i, name := range names {
				_, err := fmt.Sscanf(name, "%d-", &all[i].first)
				require.NoError(t, err)
				all[i].size = int64(len(fs.Bytes("j/" + name)))
			}
			require.NoError(t, j.Retain(w.time))
			kept := len(all) - len(files(t, fs))
			require.Equal(t, all[kept].first, j.Tail())
			left := j.Bytes()
			tooMuch := func(bytes int64) bool { return c.bytes > 0 && bytes > c.bytes }
			tooOld := func(f file) bool { return c.age > 0 && f.last < w.time-int64(c.age) }
			what := fmt.Sprintf("%v, restarted %v: %d of %d files go", c, restarted, kept, len(all))
			if kept < len(all)-1 {
				assert.False(t, tooMuch(left), "%s: there is still too much", what)
				assert.False(t, tooOld(all[kept]), "%s: the oldest that stays is too old", what)
			}
			if kept > 0 {
				assert.True(t, tooMuch(left+all[kept-1].size) || tooOld(all[kept-1]), "%s: the last that went could have stayed", what)
			}
			if c.bytes <= 20<<10 && c.age <= 500 {
				assert.Positive(t, kept, what)
				assert.Less(t, kept, len(all)-1, what)
			}
			require.NoError(t, j.Close())
		}
	}
}

// Retention removes whole files, oldest first, by size and by age, never the current one; a
// cursor that it overtakes gets an error for it once.
func TestRetainRemovesOldestFiles(t *testing.T) {
	for name, c := range map[string]struct {
		segment, bytes int64
		age            time.Duration
		most           int64
	}{
		"nothing":                    {4 << 10, 0, 0, 1 << 40},
		"by size":                    {4 << 10, 20 << 10, 0, 20 << 10},
		"by age":                     {4 << 10, 0, 300, 24 << 10},
		"by size, files as they are": {0, 20 << 10, 0, 20 << 10},
		"by age, files as they are":  {0, 0, 300, 24 << 10},
		"all old":                    {4 << 10, 1, 0, 9 << 10},
		"all aged":                   {4 << 10, 0, 1, 9 << 10},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld()
			fs := &memfs.FS{}
			cfg := journal.Config{
				Dir: "j", FS: fs, SegmentSize: c.segment, RetainBytes: c.bytes, RetainAge: c.age,
				Now: func() int64 { return w.time },
			}
			j := w.start(t, cfg)
			slow := j.Cursor(1)
			defer slow.Close()
			for range 100 {
				w.append(t, j, 20)
			}
			all := j.Bytes()
			sides := func() (tick, torn []string) {
				names, err := fs.Names("j")
				require.NoError(t, err)
				for _, name := range names {
					if base, ok := strings.CutSuffix(name, journal.TornSuffix); ok {
						torn = append(torn, base)
					} else if strings.HasSuffix(name, ".tick") {
						tick = append(tick, name)
					}
				}
				return tick, torn
			}
			files, _ := sides()
			for _, name := range files {
				fs.Put("j/"+name+journal.TornSuffix, []byte("torn"))
			}
			require.NoError(t, j.Retain(w.time))
			require.LessOrEqual(t, j.Bytes(), c.most)
			files, torn := sides()
			require.ElementsMatch(t, files, torn, "side files go with their files")
			got, err := w.audit(j, 1)
			require.NoError(t, err)
			if c.most < all {
				require.Greater(t, j.Tail(), uint64(1))
				require.Equal(t, []feed.Range{{From: 1, To: j.Tail()}}, got.gone.Ranges())
				chunk, err := slow.Next()
				require.NoError(t, err)
				require.Equal(t, feed.Range{From: 1, To: j.Tail()}, chunk.Gone)
				require.Equal(t, codec.GoneExpired, chunk.Reason)
				_, err = j.StateAt(j.Tail() - 1)
				require.ErrorIs(t, err, journal.ErrGone)
			} else {
				require.Equal(t, uint64(1), j.Tail())
				require.True(t, got.gone.Empty())
			}
			s, err := j.StateAt(j.Tail())
			require.NoError(t, err)
			require.Equal(t, "", s.Diff(w.states[place{w.ids, j.Tail()}]))
			require.NoError(t, j.Close())

			again, err := journal.Open(cfg)
			require.NoError(t, err)
			require.Equal(t, "", again.Recovered().State.Diff(w.state))
			require.Equal(t, w.next, again.Next())
			require.NoError(t, again.Close())
		})
	}
}
