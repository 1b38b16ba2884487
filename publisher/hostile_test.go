package publisher_test

import (
	"bytes"
	"context"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/vmihailenco/msgpack/v5"

	"tickfeed/codec"
	"tickfeed/publisher"
)

// pack encodes a message of the given elements, valid or not.
func pack(elements ...any) []byte {
	raw, err := msgpack.Marshal(elements)
	if err != nil {
		panic(err)
	}
	return raw
}

// Elements of a hello, by their number in PROTOCOL.md.
const (
	helloMin = 1 + iota
	helloMax
	helloClient
	helloToken
	helloFilter
	helloStart
	helloStartValue
	helloSlow
	helloMaxLag
	helloHeartbeat
	helloHasState
	helloLineage
	helloNext
)

const secret = "open sesame"

// hello encodes a hello that is accepted, except for the elements changed: number, value, number, value, …
func hello(changed ...any) []byte {
	e := []any{1, 1, 1, "hostile", secret, []string{}, 0, 0, 0, 0, 0, false, []any{}, 0}
	for i := 0; i < len(changed); i += 2 {
		e[changed[i].(int)] = changed[i+1]
	}
	return pack(e...)
}

func join(raws ...[]byte) []byte { return bytes.Join(raws, nil) }

// An outcome is how the publisher treats a hostile client.
type outcome uint8

const (
	served  outcome = iota // nothing forbidden by the protocol: the client stays connected and is sent heartbeats
	refused                // a refusal, then the end of the stream
	ended                  // a goodbye, then the end of the stream
	closed                 // the end of the stream, without a message
)

// hostileHead is the head of the publisher when the attacks begin.
const hostileHead = 14

// PROMISES.md, 17, 18: the publisher answers hostile input as PROTOCOL.md says. An attack costs the publisher bounded
// memory and time and leaves nothing behind; an honest client is served meanwhile, and another one can log in.
func TestHostileClient(t *testing.T) {
	const session = uint64(0xA)
	bubble := int64(946_684_800_000_000_000) // when the time of synctest begins
	long := func(n int) string { return strings.Repeat("x", n) }
	lineage := func(entries ...[2]uint64) []any {
		out := []any{}
		for _, e := range entries {
			out = append(out, []any{e[0], e[1]})
		}
		return out
	}
	var sessions66, many []any
	for i := range 66 {
		sessions66 = append(sessions66, []any{i + 1, 1})
	}
	for range 4097 {
		many = append(many, "A")
	}
	deep := []byte{0x91, 0x91, 0x91, 0x91, 0x01} // in a message: depth 5
	bigger := func(raw []byte, trailing ...byte) []byte {
		raw[0]++ // one more element
		return append(raw, trailing...)
	}
	grown := func(elements ...any) []byte {
		raw := join([]byte{0xdc, 0, byte(14 + len(elements))}, hello()[1:])
		return join(raw, pack(elements...)[1:])
	}
	// exactly returns a hello of n bytes. Readers ignore its last element.
	exactly := func(n int) []byte {
		raw := append(grown(0, []string{}), 0xda, 0, 0)
		raw[2]++
		pad := n - len(raw)
		raw[len(raw)-2], raw[len(raw)-1] = byte(pad>>8), byte(pad)
		return append(raw, make([]byte, pad)...)
	}
	// early returns messages of types 64 to 127, n bytes together.
	early := func(n int) (raw []byte) {
		for ; n > 1000; n -= 1000 {
			raw = append(raw, pack(64, make([]byte, 995))...) // 1000 bytes
		}
		return append(raw, pack(127, make([]byte, n-5))...)
	}
	require.Equal(t, 16_384, len(early(16_384)))
	subscribe := func(filter any) []byte { return pack(11, 1, filter) }

	silent := 3 * publisher.DefaultHeartbeat
	patience := publisher.HandshakeTimeout
	for _, test := range []struct {
		name  string
		login bool // it sends a valid hello and is welcomed before the attack
		send  []byte
		want  outcome
		code  codec.Code
		after time.Duration // time until the answer
		slow  time.Duration // pause between two bytes

		messages int // number of messages, if more than a few
	}{
		// The first message.
		{name: "nothing", want: closed, after: patience},
		{name: "half a hello, then nothing", send: hello()[:9], want: closed, after: patience},
		{name: "a hello, byte by byte", send: hello(), slow: time.Second, want: closed, after: patience},
		{name: "a pulse first", send: pack(13, 1, 0), want: refused, code: codec.CodeProtocol},
		{name: "a subscribe first", send: subscribe([]string{}), want: refused, code: codec.CodeProtocol},
		{name: "a goodbye first", send: pack(4, 10, "", false, 0), want: refused, code: codec.CodeProtocol},
		{name: "a welcome", send: pack(2, 1, "x", 0, lineage([2]uint64{7, 1}), 0, 1, 1, 1000000000, 1, 1, 0, 0), want: refused, code: codec.CodeProtocol},
		{name: "a packet first", send: codec.AppendPacket(nil, &codec.Packet{First: 1, Count: 1}, []byte{1}, 0), want: refused, code: codec.CodeProtocol},
		{name: "HTTP", send: []byte("GET / HTTP/1.1\r\nHost: pub\r\n\r\n"), want: refused, code: codec.CodeProtocol},
		{name: "TLS", send: []byte{0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3}, want: refused, code: codec.CodeProtocol},
		{name: "zeros", send: make([]byte, 4096), want: refused, code: codec.CodeProtocol},
		{name: "a map", send: []byte{0x81, 1, 1}, want: refused, code: codec.CodeProtocol},
		{name: "an empty array", send: []byte{0x90}, want: refused, code: codec.CodeProtocol},
		{name: "type 0", send: pack(0, 1, 1), want: refused, code: codec.CodeProtocol},
		{name: "a type in two bytes", send: []byte{0x92, 0xcc, 0x01, 0x01}, want: refused, code: codec.CodeProtocol},
		{name: "a type that is text", send: pack("hello", 1), want: refused, code: codec.CodeProtocol},
		{name: "type 40", send: pack(40, 1), want: refused, code: codec.CodeProtocol},
		{name: "type 63", send: pack(63, 1), want: refused, code: codec.CodeProtocol},
		{name: "messages of types 64 to 127 before the hello, 16,384 bytes", send: join(early(16_384), hello()), want: served},
		{name: "messages of types 64 to 127 before the hello, 16,385 bytes", send: join(early(16_385), hello()), want: refused, code: codec.CodeProtocol},
		{name: "messages of type 127 without a hello, and without end", send: bytes.Repeat(pack(127, 1), 100_000), want: refused, code: codec.CodeProtocol},
		{name: "a message of type 64 of more than 4096 bytes before the hello", send: join(pack(64, make([]byte, 4096)), hello()), want: refused, code: codec.CodeProtocol},
		{name: "type 128", send: pack(128, 1), want: refused, code: codec.CodeProtocol},

		// Lengths and counts that lie.
		{name: "an array of 2^32 elements", send: []byte{0xdd, 0xff, 0xff, 0xff, 0xff}, want: refused, code: codec.CodeProtocol},
		{name: "an array of 65,535 elements", send: []byte{0xdc, 0xff, 0xff, 0x01}, want: refused, code: codec.CodeProtocol},
		{name: "a str of 2^32 bytes", send: []byte{0x9e, 1, 1, 1, 0xdb, 0xff, 0xff, 0xff, 0xff}, want: refused, code: codec.CodeProtocol},
		{name: "a bin of 2^32 bytes", send: []byte{0x9e, 1, 1, 1, 0xc6, 0xff, 0xff, 0xff, 0xff}, want: refused, code: codec.CodeProtocol},
		{name: "a map of 2^32 pairs", send: []byte{0x9e, 1, 1, 1, 0xdf, 0xff, 0xff, 0xff, 0xff}, want: refused, code: codec.CodeProtocol},
		{name: "nested arrays whose counts add up", send: []byte{0x9e, 1, 0xdc, 0x0f, 0, 0xdc, 0x0f, 0}, want: refused, code: codec.CodeProtocol},
		{name: "an endless hello", send: append([]byte{0x9e, 1, 1, 1, 0xda, 0x0f, 0xff}, make([]byte, 64<<10)...), want: refused, code: codec.CodeProtocol},
		{name: "nesting of 5", send: bigger(hello(), deep...), want: refused, code: codec.CodeProtocol},
		{name: "nesting without end", send: bytes.Repeat([]byte{0x91}, 4096), want: refused, code: codec.CodeProtocol},
		{name: "ext", send: bigger(hello(), 0xd4, 1, 1), want: refused, code: codec.CodeProtocol},
		{name: "ext 32", send: bigger(hello(), 0xc9, 0xff, 0xff, 0xff, 0xff, 1), want: refused, code: codec.CodeProtocol},
		{name: "the marker that is never used", send: bigger(hello(), 0xc1), want: refused, code: codec.CodeProtocol},
		{name: "a hello of 4096 bytes", send: exactly(4096), want: served},
		{name: "a hello of 4097 bytes", send: exactly(4097), want: refused, code: codec.CodeProtocol},
		{name: "nil, a float and a map behind a hello", send: join([]byte{0xdc, 0, 19}, hello()[1:], []byte{0, 0x90, 0xc0, 0xca, 0, 0, 0, 0, 0x81, 1, 1}), want: served},

		// Fields of a hello.
		{name: "an element too few", send: func() []byte { h := hello(); h[0]--; return h[:len(h)-1] }(), want: refused, code: codec.CodeBadRequest},
		{name: "version 0", send: hello(helloMin, 0), want: refused, code: codec.CodeBadRequest},
		{name: "a negative version", send: hello(helloMin, -1), want: refused, code: codec.CodeBadRequest},
		{name: "a version that is nil", send: hello(helloMin, nil), want: refused, code: codec.CodeBadRequest},
		{name: "versions the wrong way round", send: hello(helloMin, 2, helloMax, 1), want: refused, code: codec.CodeBadRequest},
		{name: "versions 2 to 9, and then what nobody knows", send: pack(1, 2, 9, nil, true), want: refused, code: codec.CodeVersion},
		{name: "a client of 1024 bytes", send: hello(helloClient, long(1024)), want: served},
		{name: "a client of 1025 bytes", send: hello(helloClient, long(1025)), want: refused, code: codec.CodeBadRequest},
		{name: "a client with control characters", send: hello(helloClient, "\x1b[2J\r\nevil"), want: served},
		{name: "a client that is a number", send: hello(helloClient, 7), want: refused, code: codec.CodeBadRequest},
		{name: "no token", send: hello(helloToken, ""), want: refused, code: codec.CodeUnauthorized, after: 250 * time.Millisecond},
		{name: "another token", send: hello(helloToken, secret+"!"), want: refused, code: codec.CodeUnauthorized, after: 250 * time.Millisecond},
		{name: "a token of 1025 bytes", send: hello(helloToken, long(1025)), want: refused, code: codec.CodeBadRequest},
		{name: "a token with control characters", send: hello(helloToken, secret+"\n"), want: refused, code: codec.CodeBadRequest},
		{name: "a filter that is text", send: hello(helloFilter, "A*"), want: refused, code: codec.CodeBadRequest},
		{name: "a filter that is nil", send: hello(helloFilter, nil), want: refused, code: codec.CodeBadRequest},
		{name: "a filter of numbers", send: hello(helloFilter, []int{1}), want: refused, code: codec.CodeBadRequest},
		{name: "an empty pattern", send: hello(helloFilter, []string{""}), want: refused, code: codec.CodeBadRequest},
		{name: "a pattern without a symbol", send: hello(helloFilter, []string{"@XNAS"}), want: refused, code: codec.CodeBadRequest},
		{name: "a symbol of 64 bytes", send: hello(helloFilter, []string{long(64) + "@" + long(64)}), want: served},
		{name: "a symbol of 65 bytes", send: hello(helloFilter, []string{long(65)}), want: refused, code: codec.CodeBadRequest},
		{name: "a venue of 65 bytes", send: hello(helloFilter, []string{"A@" + long(65)}), want: refused, code: codec.CodeBadRequest},
		{name: "a pattern with a control character", send: hello(helloFilter, []string{"A\x00"}), want: refused, code: codec.CodeBadRequest},
		{name: "a pattern that is not UTF-8", send: hello(helloFilter, []string{"A\xff"}), want: refused, code: codec.CodeBadRequest},
		{name: "patterns twice and in any order", send: hello(helloFilter, []string{"B*", "A*", "B*"}), want: served},
		{name: "start 5", send: hello(helloStart, 5), want: refused, code: codec.CodeBadRequest},
		{name: "start 256", send: hello(helloStart, 256), want: refused, code: codec.CodeBadRequest},
		{name: "number 0", send: hello(helloStart, 3, helloStartValue, 0), want: refused, code: codec.CodeBadRequest},
		{name: "the head", send: hello(helloStart, 3, helloStartValue, hostileHead), want: served},
		{name: "a number beyond the head", send: hello(helloStart, 3, helloStartValue, hostileHead+1), want: refused, code: codec.CodeBadRequest},
		{name: "number 2^63", send: hello(helloStart, 3, helloStartValue, uint64(1<<63)), want: refused, code: codec.CodeBadRequest},
		{name: "number 2^64-1", send: hello(helloStart, 3, helloStartValue, uint64(1<<64-1)), want: refused, code: codec.CodeBadRequest},
		{name: "the time of the publisher's clock", send: hello(helloStart, 4, helloStartValue, bubble), want: served},
		{name: "a time in the future", send: hello(helloStart, 4, helloStartValue, bubble+1), want: refused, code: codec.CodeBadRequest},
		{name: "time 2^63-1", send: hello(helloStart, 4, helloStartValue, uint64(1<<63-1)), want: refused, code: codec.CodeBadRequest},
		{name: "time 2^63", send: hello(helloStart, 4, helloStartValue, uint64(1<<63)), want: refused, code: codec.CodeBadRequest},
		{name: "slow 3", send: hello(helloSlow, 3), want: refused, code: codec.CodeBadRequest},
		{name: "a negative lag", send: hello(helloMaxLag, -1), want: refused, code: codec.CodeBadRequest},
		{name: "a lag of 24 h", send: hello(helloSlow, 1, helloMaxLag, int64(24*time.Hour)), want: served},
		{name: "a lag of more than 24 h", send: hello(helloMaxLag, int64(24*time.Hour+1)), want: refused, code: codec.CodeBadRequest},
		{name: "a heartbeat interval of 24 h", send: hello(helloHeartbeat, int64(24*time.Hour)), want: served},
		{name: "a heartbeat interval of more than 24 h", send: hello(helloHeartbeat, int64(24*time.Hour+1)), want: refused, code: codec.CodeBadRequest},
		{name: "a heartbeat interval of 1 ns, then silence", send: hello(helloHeartbeat, 1), want: ended, code: codec.CodeSilent, after: 3 * publisher.MinHeartbeat},
		{name: "has state 1", send: hello(helloHasState, 1), want: refused, code: codec.CodeBadRequest},

		// Elements that were added to the hello.
		{name: "a hello with an end and features", send: grown(hostileHead+1, []string{"ack", "of-another-time-1"}), want: served},
		{name: "an end that is covered", send: grown(1, []string{}), want: ended, code: codec.CodeDone},
		{name: "an end beyond 2^63", send: grown(uint64(1<<63+1), []string{}), want: refused, code: codec.CodeBadRequest},
		{name: "a negative end", send: grown(-1, []string{}), want: refused, code: codec.CodeBadRequest},
		{name: "an end that is nil", send: grown(nil, []string{}), want: refused, code: codec.CodeBadRequest},
		{name: "features that are text", send: grown(0, "ack"), want: refused, code: codec.CodeBadRequest},
		{name: "a feature that is a number", send: grown(0, []int{1}), want: refused, code: codec.CodeBadRequest},
		{name: "a feature without a name", send: grown(0, []string{""}), want: refused, code: codec.CodeBadRequest},
		{name: "a feature in upper case", send: grown(0, []string{"Ack"}), want: refused, code: codec.CodeBadRequest},
		{name: "a feature of 32 bytes", send: grown(0, []string{long(32)}), want: served},
		{name: "a feature of 33 bytes", send: grown(0, []string{long(33)}), want: refused, code: codec.CodeBadRequest},
		{name: "16 features", send: grown(0, slices.Repeat([]string{"ack"}, 16)), want: served},
		{name: "17 features", send: grown(0, slices.Repeat([]string{"ack"}, 17)), want: refused, code: codec.CodeBadRequest},
		{name: "a feed, which is reserved", send: grown(0, []string{}, "xnas"), want: served},

		// The position.
		{name: "a lineage of 65 sessions", send: hello(helloLineage, sessions66[:65], helloNext, 1), want: served},
		{name: "a lineage of 66 sessions", send: hello(helloLineage, sessions66, helloNext, 1), want: refused, code: codec.CodeBadRequest},
		{name: "session 0", send: hello(helloLineage, lineage([2]uint64{0, 1}), helloNext, 1), want: refused, code: codec.CodeBadRequest},
		{name: "a session that stands twice", send: hello(helloLineage, lineage([2]uint64{7, 1}, [2]uint64{7, 5}), helloNext, 9), want: refused, code: codec.CodeBadRequest},
		{name: "firsts that decrease", send: hello(helloLineage, lineage([2]uint64{7, 5}, [2]uint64{8, 4}), helloNext, 9), want: refused, code: codec.CodeBadRequest},
		{name: "a session that begins at 0", send: hello(helloLineage, lineage([2]uint64{7, 0}), helloNext, 9), want: refused, code: codec.CodeBadRequest},
		{name: "a session that begins beyond 2^63", send: hello(helloLineage, lineage([2]uint64{7, 1<<63 + 1}), helloNext, 9), want: refused, code: codec.CodeBadRequest},
		{name: "a session of one element", send: hello(helloLineage, []any{[]any{7}}, helloNext, 9), want: refused, code: codec.CodeBadRequest},
		{name: "a session of three elements", send: hello(helloLineage, []any{[]any{7, 1, 1}}, helloNext, 9), want: refused, code: codec.CodeBadRequest},
		{name: "a lineage without a next number", send: hello(helloLineage, lineage([2]uint64{session, 1}), helloNext, 0), want: refused, code: codec.CodeBadRequest},
		{name: "a next number without a lineage", send: hello(helloNext, 5), want: refused, code: codec.CodeBadRequest},
		{name: "a next number beyond 2^63", send: hello(helloLineage, lineage([2]uint64{session, 1}), helloNext, uint64(1<<63+1)), want: refused, code: codec.CodeBadRequest},
		{name: "a position of a session that nobody knows", send: hello(helloLineage, lineage([2]uint64{session, 1}), helloNext, uint64(1<<63)), want: served},

		// After the welcome.
		{name: "silence", login: true, want: ended, code: codec.CodeSilent, after: silent},
		{name: "half a pulse, then silence", login: true, send: pack(13, 1, 0)[:2], want: ended, code: codec.CodeSilent, after: silent},
		{name: "a pulse, byte by byte", login: true, send: pack(13, hostileHead, int64(1<<62)), slow: time.Second, want: ended, code: codec.CodeSilent, after: silent},
		{name: "a second hello", login: true, send: hello(), want: ended, code: codec.CodeProtocol},
		{name: "a welcome after the welcome", login: true, send: pack(2, 1, "x", 0, lineage([2]uint64{7, 1}), 0, 1, 1, 1000000000, 1, 1, 0, 0), want: ended, code: codec.CodeProtocol},
		{name: "a refusal", login: true, send: pack(3, 2, "", true, 0), want: ended, code: codec.CodeProtocol},
		{name: "a packet", login: true, send: codec.AppendPacket(nil, &codec.Packet{First: 1, Count: 1}, []byte{1}, 0), want: ended, code: codec.CodeProtocol},
		{name: "a heartbeat", login: true, send: pack(6, 1, 1, 0), want: ended, code: codec.CodeProtocol},
		{name: "a snapshot begin", login: true, send: pack(7, 1, 0, []string{}), want: ended, code: codec.CodeProtocol},
		{name: "a snapshot end", login: true, send: pack(9, 1, 0), want: ended, code: codec.CodeProtocol},
		{name: "a session message", login: true, send: pack(10, 0, lineage([2]uint64{7, 1}), 0, 0, 1), want: ended, code: codec.CodeProtocol},
		{name: "a subscribed", login: true, send: pack(12, 1, 1, 0), want: ended, code: codec.CodeProtocol},
		{name: "an end", login: true, send: pack(14, 1), want: ended, code: codec.CodeProtocol},
		{name: "a file header", login: true, send: pack(15, "tickfeed", 1), want: ended, code: codec.CodeProtocol},
		{name: "an index", login: true, send: pack(16, []any{}), want: ended, code: codec.CodeProtocol},
		{name: "a trailer", login: true, send: pack(17, 0, 1, 0), want: ended, code: codec.CodeProtocol},
		{name: "a message of type 40", login: true, send: pack(40), want: ended, code: codec.CodeProtocol},
		{name: "a message of type 63", login: true, send: pack(63, "x"), want: ended, code: codec.CodeProtocol},
		{name: "a message of type 64", login: true, send: pack(64, "x", 1.5, nil, map[string]int{"a": 1}), want: served},
		{name: "a message of type 127", login: true, send: pack(127), want: served},
		{name: "a message of type 128", login: true, send: pack(128), want: ended, code: codec.CodeProtocol},
		{name: "no msgpack", login: true, send: []byte{0xc1}, want: ended, code: codec.CodeProtocol},
		{name: "a number between messages", login: true, send: []byte{7}, want: ended, code: codec.CodeProtocol},
		{name: "an array of 2^32 elements, later", login: true, send: []byte{0xdd, 0xff, 0xff, 0xff, 0xff}, want: ended, code: codec.CodeProtocol},
		{name: "a str of 2^32 bytes, later", login: true, send: []byte{0x93, 13, 0xdb, 0xff, 0xff, 0xff, 0xff}, want: ended, code: codec.CodeProtocol},
		{name: "nesting of 5, later", login: true, send: append([]byte{0x94, 13, 1, 0}, deep...), want: ended, code: codec.CodeProtocol},
		{name: "ext, later", login: true, send: []byte{0x94, 13, 1, 0, 0xd4, 1, 1}, want: ended, code: codec.CodeProtocol},
		{name: "a subscribe of more than 65,536 bytes", login: true, send: append([]byte{0x94, 11, 1, 0x90, 0xc6, 0, 1, 0, 0}, make([]byte, 65_536)...), want: ended, code: codec.CodeProtocol},

		{name: "a pulse for the head", login: true, send: pack(13, hostileHead, 0), want: served},
		{name: "a pulse beyond the head", login: true, send: pack(13, hostileHead+1, 0), want: ended, code: codec.CodeProtocol},
		{name: "a pulse for 2^64-1", login: true, send: pack(13, uint64(1<<64-1), 0), want: ended, code: codec.CodeProtocol},
		{name: "a pulse for -1", login: true, send: pack(13, -1, 0), want: ended, code: codec.CodeProtocol},
		{name: "a pulse for nil", login: true, send: pack(13, nil, 0), want: ended, code: codec.CodeProtocol},
		{name: "a pulse without an echo", login: true, send: pack(13, 1), want: ended, code: codec.CodeProtocol},
		{name: "a pulse that goes back", login: true, send: join(pack(13, hostileHead, 0), pack(13, 3, 0), pack(13, 0, 0)), want: served},
		{name: "a pulse whose echo is of another time", login: true, send: join(pack(13, 1, int64(-1<<63)), pack(13, 1, int64(1<<63-1))), want: served},
		{name: "10,000 pulses", login: true, send: bytes.Repeat(pack(13, 1, 0), 10_000), messages: 10_000, want: served},

		{name: "a subscribe with a control character", login: true, send: subscribe([]string{"A\n"}), want: ended, code: codec.CodeBadRequest},
		{name: "a subscribe with an empty pattern", login: true, send: subscribe([]string{""}), want: ended, code: codec.CodeBadRequest},
		{name: "a subscribe with a symbol of 65 bytes", login: true, send: subscribe([]string{long(65)}), want: ended, code: codec.CodeBadRequest},
		{name: "a subscribe with a pattern of 131 bytes", login: true, send: subscribe([]string{long(131)}), want: ended, code: codec.CodeBadRequest},
		{name: "a subscribe with 4096 patterns", login: true, send: subscribe(many[:4096]), want: served},
		{name: "a subscribe with 4097 patterns", login: true, send: subscribe(many), want: ended, code: codec.CodeBadRequest},
		{name: "a subscribe with text for a filter", login: true, send: subscribe("A*"), want: ended, code: codec.CodeBadRequest},
		{name: "a subscribe with a negative request", login: true, send: pack(11, -1, []string{}), want: ended, code: codec.CodeBadRequest},
		{name: "a subscribe without a filter", login: true, send: pack(11, 1), want: ended, code: codec.CodeBadRequest},
		{name: "the same request twice", login: true, send: join(subscribe([]string{"A0"}), subscribe([]string{"A1"})), want: served},

		{name: "goodbye", login: true, send: pack(4, 10, "", false, 0), want: closed},
		{name: "goodbye of a code that nobody knows", login: true, send: pack(4, 200, "", false, 0), want: closed},
		{name: "goodbye, then more", login: true, send: join(pack(4, 10, "", false, 0), pack(13, 99, 0), []byte{0xc1}), want: closed},
		{name: "goodbye with code 0", login: true, send: pack(4, 0, "", false, 0), want: ended, code: codec.CodeProtocol},
		{name: "goodbye with code 256", login: true, send: pack(4, 256, "", false, 0), want: ended, code: codec.CodeProtocol},
		{name: "goodbye with a text of 1025 bytes", login: true, send: pack(4, 10, long(1025), false, 0), want: ended, code: codec.CodeProtocol},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := start(t, publisher.Config{Seed: 1, Token: secret})
				w.quotes(10)
				honest := w.join(codec.Hello{Token: secret, Start: codec.Start{Kind: codec.StartBeginning}})
				honest.until(hostileHead)

				first := test.send
				if test.login {
					first = hello()
				}
				var before, after runtime.MemStats
				runtime.ReadMemStats(&before)
				began := time.Now()
				stop, quiet := make(chan struct{}), make(chan struct{})
				go func() { // the honest client gives signs of life meanwhile
					defer close(quiet)
					for {
						select {
						case <-stop:
							return
						case <-time.After(500 * time.Millisecond):
							_, _ = honest.nc.Write(pack(13, hostileHead, 0))
						}
					}
				}()
				defer func() { close(stop); <-quiet }()
				c := w.raw(nil)
				sending := make(chan struct{})
				defer func() { c.nc.Close(); <-sending }()
				write := func(b []byte) {
					for n := 1; test.slow > 0 && n < len(b); n++ {
						_, _ = c.nc.Write(b[n-1 : n])
						time.Sleep(test.slow)
					}
					if test.slow == 0 {
						_, _ = c.nc.Write(b) // fails if the publisher has read enough
					}
				}
				if test.login {
					_, err := c.nc.Write(first)
					require.NoError(t, err)
					require.IsType(t, &codec.Welcome{}, c.message())
					began = time.Now()
					go func() { write(test.send); close(sending) }()
				} else {
					go func() { write(first); close(sending) }()
				}

				said := new(codec.Farewell)
				if test.want == served {
					heard := false
					_ = c.nc.SetReadDeadline(time.Now().Add(2 * publisher.DefaultHeartbeat))
					for {
						typ, raw, err := c.r.Next()
						if err != nil {
							require.NotErrorIs(t, err, context.Canceled)
							break // by the deadline, if it is served
						}
						require.NotContains(t, []codec.Type{codec.TypeRefusal, codec.TypeGoodbye}, typ, "%q", raw)
						heard = heard || typ == codec.TypeHeartbeat || typ == codec.TypeWelcome
					}
					assert.True(t, heard)
					assert.Len(t, w.pub.Stats().Conns, 2, "it is served")
				} else {
					said = c.ending()
					assert.Equal(t, test.after, time.Since(began), "time until the answer")
				}
				runtime.ReadMemStats(&after)
				// A message of a few bytes costs a few hundred for a moment: its decoder, and a goroutine.
				assert.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(2<<20+20*len(test.send)+512*test.messages), "memory that the attack cost")
				switch test.want {
				case refused, ended:
					require.NotNil(t, said, "the client is told why")
					assert.Equal(t, test.code.String(), said.Code.String(), said.Text)
					assert.Equal(t, test.code == codec.CodeSilent, said.Retry, "retry, as a rule")
					assert.NotEmpty(t, said.Text)
					assert.NotContains(t, said.Text, secret)
				case closed:
					assert.Nil(t, said)
				}
				c.nc.Close()
				time.Sleep(publisher.DefaultHeartbeat)

				stats := w.pub.Stats()
				assert.Zero(t, stats.Handshakes)
				assert.Len(t, stats.Conns, 1, "nothing is left of it")
				w.quotes(3)
				honest.until(hostileHead + 3)
				honest.consecutive(1, hostileHead+3)
				assert.Empty(t, honest.events)
				another := w.join(codec.Hello{Token: secret})
				another.snapshot()
				assert.Empty(t, another.state.Diff(honest.state))
			})
		})
	}
}
