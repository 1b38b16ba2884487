package publisher_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"net"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rs/zerolog"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tickfeed/codec"
	"tickfeed/codec/certs/certstest"
	"tickfeed/codec/logto/logtest"
	"tickfeed/publisher"
)

// Over TLS the rules of plain connections hold: slow consumers, stalls, changes of filters, goodbyes. With
// -tls all tests of this package that have a world run so.
func TestOverTLS(t *testing.T) {
	if *overTLS {
		t.Skip("all tests run over TLS")
	}
	*overTLS = true
	defer func() { *overTLS = false }()
	for name, test := range map[string]func(*testing.T){
		"slow consumers": TestSlowConsumers, "stalled readers": TestStalledReadersOfTheJournal, "filters": TestFilterSkipsTheOthers, "together": TestFilteredTogether,
		"changes": TestChangesOfFilterWait, "goodbye of slow clients": TestSlowClientGetsItsGoodbye, "clients that do not read": TestSlowClientThatDoesNotRead,
		"stop": TestStopWhileASlowClientParts, "liveness": TestLivenessOfSilentClients, "end": TestEndAndGoodbye, "refusals": TestRefusalsHaveCodeAndReason,
		"silent": TestSilentConnections, "resume": TestResumeAtPositionOrFork,
		"guesses": TestGuessesAreSlowedDown, "permissions": TestNothingForbiddenLeaves,
	} {
		t.Run(name, test)
	}
}

// A TLS client is caught up without a writer of its own: it is served by the flusher, as a plain one is, with what has
// been published by the time that Publish has returned and Flush has. Nothing waits for the next heartbeat: also of a record
// whose end the socket did not take, all comes as soon as the client reads.
func TestTLSKeepsNothingBack(t *testing.T) {
	*overTLS = true
	defer func() { *overTLS = false }()
	synctest.Test(t, func(t *testing.T) {
		w := start(t, publisher.Config{Seed: 1, Heartbeat: time.Minute})
		c := w.join(codec.Hello{Heartbeat: time.Minute})
		c.snapshot()
		for range 50 { // until the buffers of the connection are full, and not an even number of records
			w.quotes(997)
		}
		synctest.Wait()
		begun := time.Now()
		head := w.pub.Stats().Head
		c.until(head)
		assert.Less(t, time.Since(begun), time.Second, "the end of what was published came with the next heartbeat")
	})
}

// A handshake is bounded in bytes and in time, and its end is logged with the reason.
func TestHandshakeIsBounded(t *testing.T) {
	a := certstest.NewAuthority("test")
	var log logtest.Buffer
	pub, err := publisher.New(publisher.WithHandshakes(publisher.Config{
		TLS:    &tls.Config{Certificates: []tls.Certificate{a.Issue(certstest.Want{Names: []string{"localhost"}}).TLS}},
		Logger: zerolog.New(&log),
	}, 0, 200*time.Millisecond))
	require.NoError(t, err)
	addr := serveTCP(t, pub)
	for name, c := range map[string]struct {
		bytes []byte
		says  string
	}{
		"half a ClientHello":    {[]byte{0x16, 3, 1, 2, 0, 1, 0, 1}, "did not complete the handshake in time"},
		"nothing":               {nil, "did not complete the handshake in time"},
		"a message without end": {bytes.Join([][]byte{{0x16, 3, 1, 0x40, 0, 1, 0, 0xff, 0xff}, make([]byte, 0x4000-4), {0x16, 3, 1, 0x40, 0}, make([]byte, 0x4000)}, nil), "the handshake of the client is too long"},
	} {
		t.Run(name, func(t *testing.T) {
			nc, err := net.Dial("tcp", addr)
			require.NoError(t, err)
			defer nc.Close()
			_, _ = nc.Write(c.bytes)
			_ = nc.SetReadDeadline(time.Now().Add(10 * time.Second))
			for err == nil {
				_, err = nc.Read(make([]byte, 512))
			}
			assert.NotErrorIs(t, err, os.ErrDeadlineExceeded, "the connection was kept open")
			require.Eventually(t, func() bool { return strings.Contains(log.String(), c.says) }, 10*time.Second, time.Millisecond, log.String())
		})
	}
}

// A client whose certificate is refused can read why, also if it reads after the connection was closed: it has sent its hello
// before it was refused, and a socket that is closed with unread bytes takes the alert with it.
func TestTheAlertCanBeRead(t *testing.T) {
	a, other := certstest.NewAuthority("test"), certstest.NewAuthority("other")
	pub, err := publisher.New(publisher.Config{TLS: &tls.Config{
		Certificates: []tls.Certificate{a.Issue(certstest.Want{Names: []string{"localhost"}}).TLS}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: a.Pool(),
	}})
	require.NoError(t, err)
	socket, err := net.Dial("tcp", serveTCP(t, pub))
	require.NoError(t, err)
	defer socket.Close()
	own := other.Issue(certstest.Want{}).TLS
	nc := tls.Client(socket, &tls.Config{
		RootCAs: a.Pool(), ServerName: "localhost", GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &own, nil },
	})
	require.NoError(t, nc.Handshake())
	_, err = nc.Write(make([]byte, 100))
	require.NoError(t, err)
	require.Eventually(t, func() bool { return pub.Stats().Handshakes == 0 }, 10*time.Second, time.Millisecond)
	_ = nc.SetReadDeadline(time.Now().Add(10 * time.Second))
	_, err = nc.Read(make([]byte, 1))
	assert.ErrorContains(t, err, "unknown certificate authority")
}

// serveTCP serves pub on loopback until the test ends.
func serveTCP(t *testing.T, pub *publisher.Publisher) (addr string) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- pub.Serve(ctx, ln) }()
	t.Cleanup(func() {
		cancel()
		<-served
		_ = pub.Close(context.Background())
	})
	return ln.Addr().String()
}
