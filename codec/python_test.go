package codec

import (
	"bytes"
	"context"
	"net"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tickfeed/feed"
)

// python is an interpreter that has msgpack; without one the test is skipped.
func python(t *testing.T) string {
	for _, name := range []string{"/usr/bin/python3", "python3"} {
		if exec.Command(name, "-c", "import msgpack").Run() == nil {
			return name
		}
	}
	t.Skip("no python3 with msgpack here (Debian: python3-msgpack)")
	return ""
}

// A visit is what the scripted server expects and does on one connection.
type visit struct {
	hello func(*testing.T, *Hello)
	send  []byte
}

// runAgainst runs a program of python/ against a server that serves visits, one connection
// each, and returns what it printed. The server closes a connection when all is sent.
func runAgainst(t *testing.T, program string, count string, visits []visit) string {
	t.Helper()
	interpreter := python(t)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	served := make(chan struct{})
	go func() {
		defer close(served)
		for _, v := range visits {
			conn, err := ln.Accept()
			if !assert.NoError(t, err) {
				return
			}
			_ = conn.SetDeadline(time.Now().Add(time.Minute))
			_, raw, err := NewReader(conn, 0).Next()
			if assert.NoError(t, err) {
				m, err := Decode(raw)
				if assert.NoError(t, err) {
					v.hello(t, m.(*Hello))
				}
			}
			_, err = conn.Write(v.send)
			assert.NoError(t, err)
			_ = conn.(*net.TCPConn).CloseWrite()
			_, _ = new(bytes.Buffer).ReadFrom(conn) // until the program has read all and left
			_ = conn.Close()
		}
	}()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var stdout, stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, interpreter, "python/"+program, ln.Addr().String(), count)
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	assert.NoError(t, cmd.Run(), "%s", &stderr)
	_ = ln.Close()
	<-served
	return stdout.String()
}

func mustAppend(t *testing.T, dst []byte, messages ...Message) []byte {
	t.Helper()
	for _, m := range messages {
		var err error
		dst, err = Append(dst, m)
		require.NoError(t, err)
	}
	return dst
}

// lineStart is a welcome and a snapshot of definitions as of start.
func lineStart(t *testing.T, start uint64, reason StartReason) []byte {
	t.Helper()
	out := mustAppend(t, nil, &Welcome{
		Version: 1, Lineage: lineageA, Head: 45, Tail: 1, Heartbeat: time.Second,
		Seed: seedA, Start: start, Reason: reason, Now: opening,
	})
	out, err := AppendSnapshot(out, &SnapshotBegin{Seq: start, Scope: ScopeDefinitions}, func(yield func(feed.Tick) bool) {
		yield(feed.Tick{Kind: feed.KindDefinition, EventTime: opening, Extra: &feed.Extra{Definition: &appleDefinition}})
	}, seedA)
	require.NoError(t, err)
	return out
}

func examplePacket(first uint64, ticks ...feed.Tick) []byte {
	var body []byte
	for i := range ticks {
		body = AppendTick(body, &ticks[i], opening)
	}
	return AppendPacket(nil, &Packet{First: first, Count: uint64(len(ticks)), PublishTime: opening, Base: opening}, body, seedA)
}

var (
	aQuote = feed.Quote{Bid: 18725, BidSize: 300, Ask: feed.NoPrice}.Tick(0, opening)
	aTrade = feed.Trade{Price: 18726, Size: 100, Side: feed.SideBuy, ID: 9001}.Tick(0, opening)
)

// The client of PROTOCOL.md in Python prints the quotes that a publisher sends.
func TestQuotesInPython(t *testing.T) {
	send := lineStart(t, 41, StartedAsAsked)
	send = append(send, examplePacket(41, aTrade, aQuote)...)
	got := runAgainst(t, "quotes.py", "1", []visit{{
		hello: func(t *testing.T, h *Hello) {
			assert.Equal(t, &Hello{MinVersion: 1, MaxVersion: 1, Client: "quotes.py", Heartbeat: time.Second}, h)
		},
		send: send,
	}})
	assert.Equal(t, "AAPL 187.25 x 300 - x 0\n", got)
}

// Four connections: the first is cut after 42; the second repeats a packet, then misses 44, which ends it; the third resumes at
// 44 and is cut after 1044; in the fourth the client may no longer see what lies below 1050. Every tick is printed once.
func TestResumeInPython(t *testing.T) {
	expect := func(next uint64) func(*testing.T, *Hello) {
		return func(t *testing.T, h *Hello) {
			assert.Equal(t, next, h.Position.Next)
			assert.Equal(t, next > 0, h.HasState)
			assert.Equal(t, next > 0, len(h.Position.Lineage) > 0)
		}
	}
	first := append(lineStart(t, 41, StartedAsAsked), examplePacket(41, aTrade, aQuote)...)
	second := append(lineStart(t, 41, StartedResumed), examplePacket(41, aTrade, aQuote)...)
	second = append(second, examplePacket(43, aQuote)...)
	second = append(second, examplePacket(45, aQuote)...)
	third := mustAppend(t, lineStart(t, 44, StartedResumed), &Heartbeat{Covered: 44, Head: 45})
	third = append(third, AppendPacket(nil, &Packet{First: 44, Count: 1000, Base: opening}, AppendSkip(nil, 1000), seedA)...)
	third = append(third, examplePacket(1044, aTrade)...)
	fourth := mustAppend(t, nil, &Welcome{
		Version: 1, Lineage: lineageA, Head: 1051, Tail: 1050, Heartbeat: time.Second, Seed: seedA, Start: 1045, Reason: StartedResumed, Now: opening,
	})
	fourth = append(fourth, AppendPacket(nil, &Packet{First: 1045, Count: 5, Base: opening}, AppendGone(nil, 5, GoneDenied), seedA)...)
	fourth, err := AppendSnapshot(fourth, &SnapshotBegin{Seq: 1050, Scope: ScopeAll}, func(yield func(feed.Tick) bool) {
		yield(feed.Tick{Kind: feed.KindDefinition, EventTime: opening, Extra: &feed.Extra{Definition: &appleDefinition}})
	}, seedA)
	require.NoError(t, err)
	fourth = append(fourth, examplePacket(1050, aQuote)...)

	got := runAgainst(t, "resume.py", "5", []visit{
		{hello: expect(0), send: first}, {hello: expect(43), send: second}, {hello: expect(44), send: third}, {hello: expect(1045), send: fourth},
	})
	assert.Equal(t, strings.Join([]string{
		"41 3 AAPL 18726 100 1 9001 ", "42 2 AAPL 18725 300 None 0", "43 2 AAPL 18725 300 None 0", "1044 3 AAPL 18726 100 1 9001 ",
		"1050 2 AAPL 18725 300 None 0", "",
	}, "\n"), got)
}
