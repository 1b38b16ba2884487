//go:build unix

package textfile_test

import (
	"context"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tickfeed/feed"
	"tickfeed/feed/files/textfile"
)

// A named pipe without a writer delays neither Next beyond its context nor Close;
// a pipe with a silent writer is closed.
func TestNamedPipe(t *testing.T) {
	path := filepath.Join(t.TempDir(), "pipe")
	require.NoError(t, syscall.Mkfifo(path, 0o600))
	batch := make([]feed.Tick, 10)
	open := func() *textfile.Source {
		src, err := textfile.Open([]string{path}, nil, textfile.Config{})
		require.NoError(t, err)
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Millisecond)
		defer cancel()
		_, err = src.Next(ctx, batch)
		require.Equal(t, context.DeadlineExceeded, err)
		return src
	}
	unopened := open()
	require.NoError(t, unopened.Close())
	w, err := os.OpenFile(path, os.O_WRONLY, 0) // lets go of the goroutine that opens it
	require.NoError(t, err)
	require.NoError(t, w.Close())

	src := open()
	w, err = os.OpenFile(path, os.O_WRONLY, 0)
	require.NoError(t, err)
	defer w.Close()
	_, err = w.WriteString("time,symbol,price,size\n1772461800,A,1,1\n")
	require.NoError(t, err)
	n, err := src.Next(context.Background(), batch)
	require.NoError(t, err)
	assert.Equal(t, 2, n)
	require.NoError(t, src.Close())
}
