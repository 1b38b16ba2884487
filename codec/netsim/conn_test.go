package netsim_test

import (
	"net"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"golang.org/x/net/nettest"

	"tickfeed/codec/netsim"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// connect returns both ends of a connection from "client" to "pub:1", on which it listens for as long as the test runs.
func connect(t testing.TB, network *netsim.Network) (client, server *netsim.Conn) {
	ln, err := network.Listen("pub:1")
	require.NoError(t, err)
	t.Cleanup(func() { ln.Close() })
	return connectTo(t, network, ln)
}

func connectTo(t testing.TB, network *netsim.Network, ln net.Listener) (client, server *netsim.Conn) {
	dialled, err := network.Dial(t.Context(), ln.Addr().String())
	require.NoError(t, err)
	t.Cleanup(func() { dialled.Close() })
	accepted, err := ln.Accept()
	require.NoError(t, err)
	t.Cleanup(func() { accepted.Close() })
	return dialled.(*netsim.Conn), accepted.(*netsim.Conn)
}

// A connection does what the standard library asks of every net.Conn, whatever its conditions.
func TestConnIsANetConn(t *testing.T) {
	for name, conditions := range map[string]netsim.Conditions{
		"as it comes":          {},
		"buffer of 64 bytes":   {Buffer: 64},
		"latency and jitter":   {Latency: 20_000, Jitter: 5_000},
		"1 GB a second":        {Bandwidth: 1 << 30},
		"everything at a time": {Latency: 10_000, Jitter: 2_000, Bandwidth: 1 << 30, Buffer: 4096},
	} {
		t.Run(name, func(t *testing.T) {
			nettest.TestConn(t, func() (c1, c2 net.Conn, stop func(), err error) {
				network := netsim.New(1, netsim.Config{Conditions: conditions})
				ln, err := network.Listen("pub:1")
				if err != nil {
					return nil, nil, nil, err
				}
				if c1, err = network.Dial(t.Context(), "pub:1"); err != nil {
					return nil, nil, nil, err
				}
				if c2, err = ln.Accept(); err != nil {
					return nil, nil, nil, err
				}
				return c1, c2, func() { c1.Close(); c2.Close(); ln.Close() }, nil
			})
		})
	}
}
