package files

import (
	"archive/zip"
	"bytes"
	"context"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tickfeed/feed"
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

// What is wrong with a pipe that is copied to a temporary file names standard input, and the file is removed at the end.
func TestSpooledErrorsNameStandardInput(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("TMPDIR", dir)
	t.Setenv("TMP", dir) // on Windows
	var packed bytes.Buffer
	z := zip.NewWriter(&packed)
	w, err := z.Create("quotes.csv")
	require.NoError(t, err)
	_, err = io.WriteString(w, "time,symbol,bid,ask\n2026-03-02T09:30:00Z,AAPL,187.25,187.27\n2026-03-02T09:30:01Z,AAPL,x,187.27\n")
	require.NoError(t, err)
	require.NoError(t, z.Close())
	read := func(input []byte, cfg Config) (*Source, error) {
		p, err := NewPipe(t.Context(), bytes.NewReader(input))
		require.NoError(t, err)
		src, err := Open([]string{"-"}, p, cfg)
		if err != nil {
			return nil, err
		}
		t.Cleanup(func() { src.Close() })
		for err == nil {
			_, err = src.Next(t.Context(), make([]feed.Tick, 10))
		}
		return src, err
	}
	_, err = read(packed.Bytes(), Config{})
	assert.ErrorContains(t, err, "stdin:3:")
	assert.True(t, Skippable(err))
	src, err := read(packed.Bytes(), Config{SkipBad: 1})
	assert.Equal(t, io.EOF, err)
	assert.ErrorContains(t, src.Stats().FirstBad, "stdin:3:")
	_, err = read(packed.Bytes()[:packed.Len()-30], Config{})
	assert.ErrorContains(t, err, "stdin")
	assert.NotContains(t, err.Error(), dir)

	spooled, err := filepath.Glob(filepath.Join(dir, "*", "*.stdin"))
	require.NoError(t, err)
	assert.Len(t, spooled, 2, "of the sources that are open")
	require.NoError(t, src.Close())
	spooled, err = filepath.Glob(filepath.Join(dir, "*"))
	require.NoError(t, err)
	assert.Len(t, spooled, 1)
}
