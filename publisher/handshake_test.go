package publisher_test

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rs/zerolog"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tickfeed/codec"
	"tickfeed/codec/logto/logtest"
	"tickfeed/publisher"
)

// A client that breaks a rule before login is refused with a code and a reason.
func TestRefusalsHaveCodeAndReason(t *testing.T) {
	for name, c := range map[string]struct {
		hello codec.Hello
		raw   []byte
		code  codec.Code
	}{
		"version":      {hello: codec.Hello{MinVersion: 2, MaxVersion: 9}, code: codec.CodeVersion},
		"no token":     {hello: codec.Hello{}, code: codec.CodeUnauthorized},
		"wrong token":  {hello: codec.Hello{Token: "guess"}, code: codec.CodeUnauthorized},
		"future seq":   {hello: codec.Hello{Token: "open sesame", Start: codec.Start{Kind: codec.StartSeq, Value: 99}}, code: codec.CodeBadRequest},
		"not msgpack":  {raw: []byte("GET / HTTP/1.1\r\n\r\n"), code: codec.CodeProtocol},
		"a bomb":       {raw: []byte{0xdd, 0xff, 0xff, 0xff, 0xff}, code: codec.CodeProtocol},
		"not a hello":  {raw: []byte{0x93, 13, 1, 0}, code: codec.CodeProtocol},
		"odd position": {hello: codec.Hello{Token: "open sesame", Position: codec.Position{Next: 99}}, code: codec.CodeBadRequest},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := start(t, publisher.Config{Seed: 1, Token: "open sesame"})
				if c.hello.Position.Next > 0 {
					c.hello.Position.Lineage = w.pub.Lineage()
				}
				var cl *client
				if c.raw == nil {
					cl = w.dial(c.hello)
				} else {
					nc, err := w.connect(t.Context(), "pub:1")
					require.NoError(t, err)
					_, err = nc.Write(c.raw)
					require.NoError(t, err)
					cl = &client{t: t, nc: nc, r: codec.NewReader(nc, 0)}
				}
				m := cl.message()
				require.IsType(t, &codec.Refusal{}, m)
				assert.Equal(t, c.code, m.(*codec.Refusal).Code)
				assert.NotEmpty(t, m.(*codec.Refusal).Text)
				cl.nc.Close()
			})
		})
	}
}

// A peer that continues to send after it was refused does not keep the publisher busy.
func TestFloodAfterRefusal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := start(t, publisher.Config{Seed: 1})
		nc, err := w.connect(context.Background(), "pub:1")
		require.NoError(t, err)
		defer nc.Close()
		sent, chunk := 0, make([]byte, 4096)
		chunk[0] = 0xc1 // no msgpack
		for err == nil && sent < 16<<20 {
			var n int
			n, err = nc.Write(chunk)
			sent += n
		}
		assert.Error(t, err, "%d bytes were taken of a connection that was refused", sent)
	})
}

// Silent connections are ended after 5 s (PROMISES.md, 17). If there are too many, the oldest is closed, and a client that sends a
// hello is served at once.
func TestSilentConnections(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := start(t, publisher.WithHandshakes(publisher.Config{Seed: 1}, 100, 0))
		for range 300 {
			nc, err := w.connect(t.Context(), "pub:1")
			require.NoError(t, err)
			defer nc.Close()
			_, _ = nc.Write([]byte{0x9d})
		}
		synctest.Wait()
		assert.Equal(t, 100, w.pub.Stats().Handshakes)
		begun := time.Now()
		c := w.join(codec.Hello{})
		c.snapshot()
		assert.Less(t, time.Since(begun), time.Second)
		time.Sleep(5*time.Second + 100*time.Millisecond - time.Since(begun)) // ending them takes some of it
		synctest.Wait()
		assert.Zero(t, w.pub.Stats().Handshakes)
	})
}

// A connection that sends nothing, such as one that looks whether the port is open, is logged for debugging only; one that ends
// inside its hello is logged.
func TestProbesAreNotLogged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := &logtest.Buffer{}
		w := start(t, publisher.Config{Seed: 1, Logger: zerolog.New(log)})
		for _, sent := range [][]byte{nil, {0x9c}} {
			nc, err := w.connect(t.Context(), "pub:1")
			require.NoError(t, err)
			_, err = nc.Write(sent)
			require.NoError(t, err)
			nc.Close()
			synctest.Wait()
			time.Sleep(time.Second)
		}
		assert.Contains(t, log.String(), `{"level":"debug","remote":`)
		assert.Equal(t, 1, strings.Count(log.String(), `"message":"connection ended before login: nothing was sent"`), log.String())
		assert.Equal(t, 1, strings.Count(log.String(), `"message":"connection ended before login"`), log.String())
		assert.Contains(t, log.String(), "the peer closed the connection in the middle of a message")
	})
}

// The log says in plain words why a connection that did not log in was closed.
func TestLateLoginsAreExplained(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := &logtest.Buffer{}
		w := start(t, publisher.Config{Seed: 1, Logger: zerolog.New(log)})
		nc, err := w.connect(t.Context(), "pub:1")
		require.NoError(t, err)
		defer nc.Close()
		_, err = nc.Write([]byte{0x9c})
		require.NoError(t, err)
		time.Sleep(6 * time.Second)
		synctest.Wait()
		assert.Contains(t, log.String(), `"error":"the client did not log in within 5s","message":"connection ended before login"`)
	})
}
