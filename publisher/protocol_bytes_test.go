package publisher_test

import (
	"bytes"
	"encoding/binary"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rs/zerolog"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/vmihailenco/msgpack/v5"

	"tickfeed/codec"
	"tickfeed/feed"
	"tickfeed/publisher"
)

// An observed is a message as it was received.
type observed struct {
	at  time.Time
	typ codec.Type
	raw []byte
	msg codec.Message // nil for packets and parts
}

// observe reads messages for d and returns them unchecked.
func (c *client) observe(d time.Duration) []observed {
	c.t.Helper()
	_ = c.nc.SetReadDeadline(time.Now().Add(d))
	var seen []observed
	for {
		typ, raw, err := c.r.Next()
		if err != nil {
			return seen
		}
		o := observed{at: time.Now(), typ: typ, raw: bytes.Clone(raw)}
		if typ != codec.TypePacket && typ != codec.TypeSnapshotPart {
			o.msg, err = codec.Decode(raw)
			require.NoError(c.t, err)
		}
		seen = append(seen, o)
	}
}

func testLayout(t *testing.T) {
	bubble(func(t *testing.T) {
		w := start(t, publisher.Config{Seed: 1, Memory: publisher.MinMemory})
		w.quotes(100)
		full := w.join(codec.Hello{Start: fromBeginning})
		filtered := w.join(codec.Hello{Filter: codec.Filter{"A0"}, Start: fromBeginning})
		held := w.position(full, 5)
		packets := 0
		check := func(seen []observed) {
			for _, o := range seen {
				require.Equal(t, byte(0x90), o.raw[0]&0xf0, "an array of less than 16 elements")
				require.Equal(t, byte(o.typ), o.raw[1], "the type is a positive fixint")
				if o.typ == codec.TypePacket {
					packets++
					body := int(binary.BigEndian.Uint16(o.raw[44:]))
					assert.Equal(t, []byte{0x97, 5, 0xce, 0xcf, 0xcf, 0xd3, 0xd3, 0xc5},
						[]byte{o.raw[0], o.raw[1], o.raw[2], o.raw[7], o.raw[16], o.raw[25], o.raw[34], o.raw[43]})
					assert.Equal(t, 46+body, len(o.raw))
				}
			}
		}
		check(full.observe(time.Second / 2))
		require.NoError(t, w.pub.Publish(t.Context(), []feed.Tick{feed.Trade{Price: 1, Size: 1}.Tick(w.ids[1], noon)}))
		check(filtered.observe(2 * time.Second)) // ticks, a skip, heartbeats
		for range 12 {
			w.quotes(5000)
		}
		resumed := w.join(codec.Hello{Position: held})
		check(resumed.observe(time.Second / 2)) // gone, a snapshot
		w.cancel()
		check(resumed.observe(time.Second)) // a goodbye
		assert.Greater(t, packets, 10)
	})(t)
}

func testWidths(t *testing.T) {
	bubble(func(t *testing.T) {
		w := start(t, publisher.Config{Seed: 1})
		w.quotes(10)
		for name, seq := range map[string][]byte{
			"positive fixint": {0x09}, "uint 8": {0xcc, 9}, "uint 16": {0xcd, 0, 9}, "uint 32": {0xce, 0, 0, 0, 9},
			"uint 64": {0xcf, 0, 0, 0, 0, 0, 0, 0, 9}, "int 8": {0xd0, 9}, "int 16": {0xd1, 0, 9}, "int 32": {0xd2, 0, 0, 0, 9},
			"int 64": {0xd3, 0, 0, 0, 0, 0, 0, 0, 9},
		} {
			c := w.raw(hello(helloStart, 3, helloStartValue, msgpack.RawMessage(seq)))
			m := c.message()
			require.IsType(t, &codec.Welcome{}, m, name)
			c.send(&codec.Goodbye{Code: codec.CodeDone})
			c.nc.Close()
		}
		for name, seq := range map[string][]byte{
			"negative fixint": {0xff}, "int 8": {0xd0, 0x80}, "int 16": {0xd1, 0x80, 0}, "int 32": {0xd2, 0x80, 0, 0, 0},
			"int 64": {0xd3, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff},
		} {
			c := w.raw(hello(helloStart, 3, helloStartValue, msgpack.RawMessage(seq)))
			m := c.message()
			require.IsType(t, &codec.Refusal{}, m, name)
			assert.Equal(t, codec.CodeBadRequest, m.(*codec.Refusal).Code, name)
			c.nc.Close()
		}
	})(t)
}

func testClientTextIsHarmless(t *testing.T) {
	bubble(func(t *testing.T) {
		var log bytes.Buffer
		w := start(t, publisher.Config{Seed: 1, Logger: zerolog.New(zerolog.SyncWriter(&log))})
		c := w.raw(hello(helloClient, "evil\x1b[2J\r\n\u202e\xff"))
		require.IsType(t, &codec.Welcome{}, c.message())
		synctest.Wait()
		require.Len(t, w.pub.Stats().Conns, 1)
		assert.Equal(t, "evil?[2J????", w.pub.Stats().Conns[0].Client)
		c.nc.Close()
		time.Sleep(time.Second)
		w.stop()
		assert.Contains(t, log.String(), "evil?[2J????")
		for _, forbidden := range []string{"\x1b", "\\u001b", "\u202e", "\xff"} {
			assert.NotContains(t, log.String(), forbidden)
		}
	})(t)
}

func testTokenIsNotLogged(t *testing.T) {
	bubble(func(t *testing.T) {
		var log bytes.Buffer
		w := start(t, publisher.Config{Seed: 1, Token: "the right one", Logger: zerolog.New(zerolog.SyncWriter(&log)).Level(zerolog.TraceLevel)})
		for _, token := range []string{"the right one", "the wrong one", "control\x01one"} {
			c := w.raw(hello(helloToken, token))
			_ = c.message()
			c.nc.Close()
			time.Sleep(time.Second)
		}
		w.stop()
		require.NotEmpty(t, log.String())
		for _, said := range []string{"right", "wrong", "control"} {
			assert.NotContains(t, log.String(), said+" one")
			assert.NotContains(t, log.String(), said+"\\u0001one")
		}
	})(t)
}
