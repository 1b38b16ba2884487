package merge_test

import (
	"errors"
	"io"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tickfeed/feed/files/internal/merge"
)

type stream struct {
	name  string
	start int64
	times []int64
	err   error
	now   int64
	open  *int
	live  bool
	most  *int
}

func (s *stream) Start() int64 { return s.start }

func (s *stream) Advance() (int64, error) {
	if !s.live {
		s.live = true
		*s.open++
		*s.most = max(*s.most, *s.open)
	}
	if len(s.times) == 0 {
		return 0, s.err
	}
	s.now, s.times = s.times[0], s.times[1:]
	return s.now, nil
}

func (s *stream) Close() {
	if s.live {
		s.live = false
		*s.open--
	}
}

// Events come by time, equal times in the order of the streams, each stream in its own
// order; a stream is not opened before its time has come.
func TestQueueOrdersEventsByTime(t *testing.T) {
	open, most := 0, 0
	mk := func(name string, start int64, err error, times ...int64) *stream {
		return &stream{name: name, start: start, times: times, err: err, open: &open, most: &most}
	}
	q := merge.New([]*stream{
		mk("b", 0, io.EOF, 3, 5, 4, 9), mk("a", 0, io.EOF, 1, 5, 9), mk("none", 0, io.EOF),
		mk("late", 10, io.EOF, 11, 12), mk("later", 20, io.EOF, 20),
	})
	var got []string
	var times []int64
	for {
		s, err := q.Next()
		if err == io.EOF {
			break
		}
		require.NoError(t, err)
		got, times = append(got, s.name), append(times, s.now)
	}
	assert.Equal(t, []string{"a", "b", "b", "b", "a", "b", "a", "late", "late", "later"}, got)
	assert.Equal(t, []int64{1, 3, 5, 4, 5, 9, 9, 11, 12, 20}, times)
	assert.Equal(t, 0, open)
	assert.Equal(t, 3, most)

	broken := errors.New("broken")
	q = merge.New([]*stream{mk("a", 0, broken, 1)})
	_, err := q.Next()
	require.NoError(t, err)
	_, err = q.Next()
	require.Equal(t, broken, err)
	q.Close()
	assert.Equal(t, 0, open)
}
