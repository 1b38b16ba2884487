package rawfile_test

import (
	"io"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tickfeed/feed/files/rawfile"
)

// A line that is too long is lost alone; the lines after it can be read.
func TestLinesThatAreTooLongAreLostAlone(t *testing.T) {
	const max = 100_000
	long := strings.Repeat("x", max)
	l := rawfile.NewLines(strings.NewReader("a\r\n\n"+long+"\n"+long+"y\nz"), max)
	for i, want := range []struct {
		line   string
		err    error
		offset int64
	}{{"a", nil, 0}, {"", nil, 3}, {long, nil, 4}, {"", rawfile.ErrLongLine, max + 5}, {"z", nil, 2*max + 7}} {
		line, err := l.Next()
		require.Equal(t, want.err, err)
		assert.Equal(t, want.line, string(line))
		assert.Equal(t, want.offset, l.Offset())
		assert.Equal(t, int64(i+1), l.Number())
	}
	_, err := l.Next()
	assert.Equal(t, io.EOF, err)
}
