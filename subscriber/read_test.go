package subscriber

import (
	"io"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// sockets returns both ends of a connection over network.
func sockets(t *testing.T, network, addr string) (near, far net.Conn) {
	ln, err := net.Listen(network, addr)
	require.NoError(t, err)
	defer ln.Close()
	near, err = net.Dial(network, ln.Addr().String())
	require.NoError(t, err)
	far, err = ln.Accept()
	require.NoError(t, err)
	t.Cleanup(func() { near.Close(); far.Close() })
	return near, far
}

// The function that readerOf returns for a socket behaves like the socket's Read: it waits, obeys deadlines without losing
// bytes, and distinguishes the end from an error.
func TestReaderOf(t *testing.T) {
	for network, addr := range map[string]string{"tcp": "127.0.0.1:0", "unix": filepath.Join(t.TempDir(), "s")} {
		t.Run(network, func(t *testing.T) {
			near, far := sockets(t, network, addr)
			read := readerOf(near)
			buf := make([]byte, 8)

			require.NoError(t, near.SetReadDeadline(past))
			n, err := read(buf)
			assert.Zero(t, n)
			assert.ErrorIs(t, err, os.ErrDeadlineExceeded)

			require.NoError(t, near.SetReadDeadline(time.Time{}))
			go far.Write([]byte("tick"))
			n, err = read(buf[:3])
			require.NoError(t, err)
			assert.Equal(t, "tic", string(buf[:n]))
			n, err = read(buf)
			require.NoError(t, err)
			assert.Equal(t, "k", string(buf[:n]))

			require.NoError(t, far.Close())
			_, err = read(buf)
			assert.Equal(t, io.EOF, err)
			require.NoError(t, near.Close())
			_, err = read(buf)
			assert.ErrorIs(t, err, net.ErrClosed)
		})
	}
	t.Run("reset", func(t *testing.T) {
		near, far := sockets(t, "tcp", "127.0.0.1:0")
		require.NoError(t, far.(*net.TCPConn).SetLinger(0))
		require.NoError(t, far.Close())
		_, err := readerOf(near)(make([]byte, 8))
		assert.ErrorIs(t, err, syscall.ECONNRESET)
		assert.ErrorContains(t, err, near.RemoteAddr().String())
	})
	t.Run("a connection with a Read of its own", func(t *testing.T) {
		near, _ := sockets(t, "tcp", "127.0.0.1:0")
		_, err := readerOf(&ownRead{near.(*net.TCPConn)})(nil)
		assert.Equal(t, io.ErrNoProgress, err)
	})
}

type ownRead struct{ *net.TCPConn }

func (*ownRead) Read([]byte) (int, error) { return 0, io.ErrNoProgress }
