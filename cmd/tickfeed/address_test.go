package main

import (
	"io"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestCheckAddress(t *testing.T) {
	for _, good := range []string{"localhost:8425", "127.0.0.1:0", "[::1]:8425", ":8425", "unix:p.sock"} {
		assert.NoError(t, checkAddress("--listen", good), good)
	}
	for _, bad := range []string{"", "localhost", "localhost:", "localhost:http", "localhost:65536", "::1:8425", "unix:"} {
		assert.Error(t, checkAddress("--listen", bad), bad)
	}
}

// The socket of a dead process is replaced, that of a living one is not.
func TestListenUnix(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("no unix sockets that outlive their process")
	}
	path := filepath.Join(t.TempDir(), "s")
	old, err := net.Listen("unix", path)
	require.NoError(t, err)
	_, err = listen(t.Context(), "unix:"+path)
	assert.ErrorContains(t, err, "address in use")
	old.(*net.UnixListener).SetUnlinkOnClose(false)
	require.NoError(t, old.Close())
	_, err = os.Stat(path)
	require.NoError(t, err, "a process that dies leaves its socket")
	ln, err := listen(t.Context(), "unix:"+path)
	require.NoError(t, err)
	assert.Equal(t, "unix:"+path, listenName(ln))
	require.NoError(t, ln.Close())
}

// A relay passes bytes on, holds them while it stalls, and resets connections when it cuts.
func TestRelay(t *testing.T) {
	echo, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	go func() {
		for {
			c, err := echo.Accept()
			if err != nil {
				return
			}
			go func() { _, _ = io.Copy(c, c); c.Close() }()
		}
	}()
	defer echo.Close()
	r, err := newRelay(func() string { return echo.Addr().String() })
	require.NoError(t, err)
	ended := make(chan struct{})
	go func() { r.run(t.Context()); close(ended) }()
	t.Cleanup(func() { <-ended })

	c, err := net.Dial("tcp", r.addr())
	require.NoError(t, err)
	defer c.Close()
	ping := func() error {
		if _, err := c.Write([]byte("ping")); err != nil {
			return err
		}
		_, err := io.ReadFull(c, make([]byte, 4))
		return err
	}
	require.NoError(t, ping())
	const stall = 100 * time.Millisecond
	began := time.Now()
	r.stall(stall)
	require.NoError(t, ping())
	assert.GreaterOrEqual(t, time.Since(began), stall)
	assert.Equal(t, 1, r.cut())
	assert.Error(t, ping())
}
