package files

import (
	"bytes"
	"context"
	"io"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A copy of a pipe has a bound, and ends with its context.
func TestSpoolBound(t *testing.T) {
	text := strings.Repeat("a,b\n", 5)
	for most, want := range map[int64]string{int64(len(text)): "", int64(len(text)) - 1: "more than 0 GiB came, and there may be no end: write it to a file first"} {
		p, err := NewPipe(t.Context(), strings.NewReader(text))
		require.NoError(t, err)
		var b bytes.Buffer
		if err := p.copyTo(t.Context(), &b, most); want != "" {
			assert.EqualError(t, err, want)
			assert.Empty(t, b.String())
			continue
		}
		assert.Equal(t, text, b.String())
		assert.Equal(t, int64(len(text)), p.Copied())
	}
	ended, cancel := context.WithCancel(t.Context())
	p, err := NewPipe(ended, strings.NewReader(text))
	require.NoError(t, err)
	cancel()
	var b bytes.Buffer
	require.ErrorIs(t, p.copyTo(ended, &b, MaxSpool), context.Canceled)
	assert.Empty(t, b.String())
}

// OpenContext stops copying a pipe that has no end when its context ends, and leaves no file.
func TestOpenContextEndsSpool(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("TMPDIR", dir)
	t.Setenv("TMP", dir) // on Windows
	r, w := io.Pipe()
	defer w.Close()
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		_, _ = w.Write(append([]byte("PK\x03\x04"), make([]byte, 300<<10)...))
		_, _ = w.Write([]byte{0}) // the copy has begun
		cancel()
	}()
	p, err := NewPipe(ctx, r)
	require.NoError(t, err)
	_, err = OpenContext(ctx, []string{"-"}, p, Config{})
	require.ErrorIs(t, err, context.Canceled)
	left, err := os.ReadDir(dir)
	require.NoError(t, err)
	assert.Empty(t, left)
}
