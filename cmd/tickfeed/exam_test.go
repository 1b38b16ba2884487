package main

import (
	"context"
	"io"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tickfeed/cmd/exam"
	"tickfeed/codec"
	"tickfeed/codec/effort"
)

// A liar is a client that is wrong on purpose: the subscriber of this program, behind glasses that change what it says to
// the publisher, and a mouth that changes what it prints.
type liar struct {
	name string
	// says changes a message to the publisher; nil for none. It returns nil to leave it out.
	says func(n int, m codec.Message) codec.Message
	// prints returns what is printed instead of a line; nil for the line. state is the client's own.
	prints func(state map[string]int, line string) []string
	deaf   bool     // SIGTERM is not passed on
	fails  []string // the cases meant for it
	passes []string // a case that it passes
}

// Deliberately wrong clients. Each fails the cases that are meant for it and passes others.
var liars = []liar{
	{name: "forgets a tick", prints: each(`"seq":100,`, nothing), fails: []string{"recover-fin", "session-end"}, passes: []string{"good-plain"}},
	{name: "prints a tick twice", prints: each(`"seq":100,`, twice), fails: []string{"session-end"}, passes: []string{"good-plain"}},
	{name: "delivers a tick again after each reconnect", prints: again, fails: []string{"recover-fin", "account-resumed"}, passes: []string{"session-end"}},
	{name: "swaps two ticks", prints: swapped, fails: []string{"session-end"}, passes: []string{"good-plain"}},
	{name: "invents a price", prints: each(`"bid":77,`, replaced(`"bid":77,`, `"bid":78,`)), fails: []string{"session-end"}, passes: []string{"good-plain"}},
	{name: "drops the first tick after a snapshot", prints: afterSnapshot, fails: []string{"recover-snapshot-cut", "good-snapshot"}, passes: []string{"session-end"}},
	{name: "does not say what it lost", prints: each(`"event":"lost"`, nothing), fails: []string{"account-damaged"}, passes: []string{"session-end"}},
	{name: "calls what it lost withheld", prints: each(`"event":"lost"`, replaced(`"lost"`, `"withheld"`)), fails: []string{"account-damaged"}, passes: []string{"session-end"}},
	{name: "admits a loss that did not happen", prints: admits, fails: []string{"recover-fin"}, passes: []string{"session-end"}},
	{name: "does not disown", prints: each(`"event":"disowned"`, nothing), fails: []string{"account-rewound", "session-restored"}, passes: []string{"session-end"}},
	{name: "does not say that it was disconnected", prints: each(`"event":"disconnected"`, nothing), fails: []string{"recover-fin"}, passes: []string{"session-end"}},
	{name: "calls every end a cut", prints: each(`"event":"disconnected"`, asCut), fails: []string{"bad-gap", "recover-dropped-tick", "alive-dead-peer"}, passes: []string{"session-end"}},
	{name: "does not print the end of the session", prints: each(`"event":"end"`, nothing), fails: []string{"good-end"}, passes: []string{"good-plain"}},
	{name: "counts wrong", prints: each(`"event":"left"`, replaced(`"lost":0`, `"lost":1`)), fails: []string{"session-end", "good-plain"}},
	{name: "prints prices as text", prints: each(`"bid":`, priceAsText), fails: []string{"session-end", "good-plain"}, passes: []string{"bad-early"}},
	{name: "prints for people", prints: each(`"event":"connected"`, func(line string) []string { return []string{"connected!", line} }), fails: []string{"good-plain"}},
	{name: "does not say goodbye", says: only(codec.TypeGoodbye, nil), fails: []string{"session-end"}, passes: []string{"good-plain"}},
	{name: "sends no pulses", says: only(codec.TypePulse, nil), fails: []string{"alive-pulses", "session-end"}, passes: []string{"good-plain"}},
	{name: "resumes one number too early", says: shifts(-1), fails: []string{"recover-fin", "account-resumed"}, passes: []string{"session-end"}},
	{name: "resumes one number too late", says: shifts(+1), fails: []string{"recover-fin", "account-resumed"}, passes: []string{"session-end"}},
	{name: "forgets its lineage", says: forgets, fails: []string{"recover-fin", "account-resumed"}, passes: []string{"session-end"}},
	{name: "throws its state away", says: state(false), fails: []string{"account-resumed"}, passes: []string{"session-end"}},
	{name: "always claims a state", says: state(true), fails: []string{"account-cut-in-packet", "recover-snapshot-cut"}, passes: []string{"session-end"}},
	{name: "asks for everything", says: filter, fails: []string{"recover-filtered"}, passes: []string{"session-end"}},
	{name: "does not end", deaf: true, fails: []string{"session-end", "good-plain"}},
	{name: "prints half of its ledger", prints: each(`{"sessions":`, replaced(`"delivered":`, `"withheld":`)), fails: []string{"account-delivered", "account-resumed"}, passes: []string{"session-end"}},
	{name: "takes ticks for entries of a snapshot", prints: each(`"seq":4,`, replaced(`"seq":4,`, `"snapshot":true,`)), fails: []string{"good-plain"}, passes: []string{"bad-before-welcome"}},
	{name: "prints the wrong session", prints: each(`"seq":50,`, replaced(`"session":"`, `"session":"1`)), fails: []string{"session-end"}, passes: []string{"good-plain"}},
	{name: "ends a range too late", prints: each(`"event":"disowned"`, replaced(`"to":6`, `"to":7`)), fails: []string{"account-rewound"}, passes: []string{"session-end"}},
	{name: "says hello twice in other words", says: start, fails: []string{"good-live"}, passes: []string{"session-end"}},
}

func nothing(string) []string          { return nil }
func twice(line string) []string       { return []string{line, line} }
func priceAsText(line string) []string { return replaced(`"bid":`, `"bid":"1","was":`)(line) }

func asCut(line string) []string {
	return []string{`{"event":"disconnected","cause":"cut"}`}
}

func replaced(old, new string) func(string) []string {
	return func(line string) []string { return []string{strings.Replace(line, old, new, 1)} }
}

func each(part string, change func(string) []string) func(map[string]int, string) []string {
	return func(_ map[string]int, line string) []string {
		if strings.Contains(line, part) {
			return change(line)
		}
		return []string{line}
	}
}

func isTick(line string) bool {
	return strings.Contains(line, `"seq":`) && !strings.Contains(line, `"event"`)
}

var kept sync.Map // the last tick of each liar's process, by its state

func again(state map[string]int, line string) []string {
	if isTick(line) {
		if last, ok := kept.Load(state["id"]); ok && state["cut"] == 1 {
			state["cut"] = 0
			return []string{last.(string), line}
		}
		kept.Store(state["id"], line)
	}
	if strings.Contains(line, `"event":"disconnected"`) {
		state["cut"] = 1
	}
	return []string{line}
}

func swapped(state map[string]int, line string) []string {
	switch {
	case strings.Contains(line, `"seq":200,`):
		kept.Store(state["id"], line)
		return nil
	case strings.Contains(line, `"seq":201,`):
		first, _ := kept.Load(state["id"])
		return []string{line, first.(string)}
	}
	return []string{line}
}

func afterSnapshot(state map[string]int, line string) []string {
	switch {
	case strings.Contains(line, `"event":"snapshot"`):
		state["snapshot"] = 1
	case isTick(line) && state["snapshot"] == 1:
		state["snapshot"] = 0
		return nil
	}
	return []string{line}
}

func admits(state map[string]int, line string) []string {
	if strings.Contains(line, `"seq":700,`) {
		state["admitted"]++
		return []string{`{"event":"lost","session":` + line[strings.Index(line, `:"`)+1:strings.Index(line, `",`)+1] + `,"from":700,"to":701}`}
	}
	if state["admitted"] > 0 && strings.Contains(line, `"event":"left"`) { // it counts as it says
		line = strings.Replace(line, `"lost":0`, `"lost":1`, 1)
		line = strings.Replace(line, `"delivered":1203`, `"delivered":1202`, 1)
	}
	return []string{line}
}

// only leaves out, or replaces, messages of one type.
func only(t codec.Type, instead codec.Message) func(int, codec.Message) codec.Message {
	return func(_ int, m codec.Message) codec.Message {
		switch m.(type) {
		case *codec.Goodbye:
			if t == codec.TypeGoodbye {
				return instead
			}
		case *codec.Pulse:
			if t == codec.TypePulse {
				return instead
			}
		}
		return m
	}
}

func hello(change func(n int, h *codec.Hello)) func(int, codec.Message) codec.Message {
	return func(n int, m codec.Message) codec.Message {
		if h, ok := m.(*codec.Hello); ok {
			change(n, h)
		}
		return m
	}
}

func shifts(by int64) func(int, codec.Message) codec.Message {
	return hello(func(_ int, h *codec.Hello) {
		if len(h.Position.Lineage) > 0 {
			h.Position.Next = uint64(int64(h.Position.Next) + by)
		}
	})
}

func state(is bool) func(int, codec.Message) codec.Message {
	return hello(func(_ int, h *codec.Hello) {
		if len(h.Position.Lineage) > 0 || is {
			h.HasState = is
		}
	})
}

var (
	forgets = hello(func(_ int, h *codec.Hello) { h.Position, h.HasState = codec.Position{}, false })
	filter  = hello(func(_ int, h *codec.Hello) { h.Filter = nil })
	start   = hello(func(_ int, h *codec.Hello) {
		if h.Start.Kind == codec.StartLive {
			h.Start = codec.Start{}
		}
	})
)

// Start implements exam.Client.
func (l *liar) Start(ctx context.Context, o exam.Orders) (exam.Process, error) {
	exe, err := os.Executable()
	if err != nil {
		return nil, err
	}
	closeGlasses := func() {}
	if l.says != nil {
		if o.Addr, closeGlasses, err = l.glasses(ctx, o.Addr); err != nil {
			return nil, err
		}
	}
	c := exam.Command{Args: append([]string{"tickfeed"}, examFlags...), Path: exe}
	p, err := c.Start(ctx, o)
	if err != nil {
		closeGlasses()
		return nil, err
	}
	m := &mouth{Process: p, liar: l, output: exam.NewOutput()}
	go func() {
		defer closeGlasses()
		m.speak()
	}()
	return m, nil
}

// A mouth prints what a liar prints.
type mouth struct {
	exam.Process
	liar   *liar
	output *exam.Output
}

var mouths struct {
	sync.Mutex
	n int
}

func (m *mouth) speak() {
	mouths.Lock()
	mouths.n++
	state := map[string]int{"id": mouths.n}
	mouths.Unlock()
	done := 0
	for {
		lines, more := m.Process.Lines()
		for _, line := range lines[done:] {
			done++
			said := []string{line}
			if m.liar.prints != nil {
				said = m.liar.prints(state, line)
			}
			for _, s := range said {
				m.output.Add(s)
			}
		}
		select {
		case <-m.Process.Done():
			if lines, _ := m.Process.Lines(); done == len(lines) {
				m.output.End(m.Process.Err())
				return
			}
		default:
			select {
			case <-more:
			case <-m.Process.Done():
			}
		}
	}
}

func (m *mouth) Lines() ([]string, <-chan struct{}) { return m.output.Lines() }
func (m *mouth) Done() <-chan struct{}              { return m.output.Done() }
func (m *mouth) Stop() {
	if !m.liar.deaf {
		m.Process.Stop()
	}
}

// glasses listens for the client and passes its messages on to addr, changed.
func (l *liar) glasses(ctx context.Context, addr string) (at string, stop func(), err error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	var all sync.WaitGroup
	all.Go(func() {
		for n := 0; ; n++ {
			client, err := ln.Accept()
			if err != nil {
				return
			}
			all.Go(func() { l.see(ctx, n, client, addr) })
		}
	})
	return ln.Addr().String(), func() {
		cancel()
		ln.Close()
		all.Wait()
	}, nil
}

func (l *liar) see(ctx context.Context, n int, client net.Conn, addr string) {
	defer client.Close()
	server, err := new(net.Dialer).DialContext(ctx, "tcp", addr)
	if err != nil {
		return
	}
	defer server.Close()
	defer context.AfterFunc(ctx, func() { client.Close(); server.Close() })()
	var down sync.WaitGroup
	down.Go(func() {
		_, _ = io.Copy(client, server)
		_ = client.(*net.TCPConn).CloseWrite()
	})
	r := codec.NewReader(client, codec.MaxMessage)
	for {
		_, raw, err := r.Next()
		if err != nil {
			break
		}
		if m, err := codec.Decode(raw); err == nil {
			if m = l.says(n, m); m == nil {
				continue
			}
			if raw, err = codec.Append(nil, m); err != nil {
				break
			}
		}
		if _, err := server.Write(raw); err != nil {
			break
		}
	}
	_ = server.(*net.TCPConn).CloseWrite()
	down.Wait()
}

// Each deliberately wrong client fails the cases that are meant for it, and passes others.
func TestWrongClientsFail(t *testing.T) {
	if raceEnabled {
		t.Skip("the clients are processes of their own: the race detector sees nothing of them, and makes them late")
	}
	all := exam.Cases()
	require.GreaterOrEqual(t, len(liars), 30)
	for i := 0; i < len(liars); i += effort.Stride(t, 14) {
		l := &liars[i]
		t.Run(l.name, func(t *testing.T) {
			t.Parallel()
			x := exam.Exam{Program: l, Limit: 6 * time.Second, Dir: t.TempDir()}
			for _, id := range slices.Concat(l.fails, l.passes) {
				i := slices.IndexFunc(all, func(c *exam.Case) bool { return c.ID == id })
				require.GreaterOrEqual(t, i, 0, id)
				v := x.Run(t.Context(), all[i])
				want := exam.Failed
				if slices.Contains(l.passes, id) {
					want = exam.Passed
					if v.Late { // as the exam does
						v = x.Again(t.Context(), all[i])
					}
				}
				if v.Fault != nil {
					t.Log(id, ": ", v.Fault.Text)
				}
				assert.Equal(t, want, v.Outcome, "%s: %v", id, v.Fault)
			}
		})
	}
}
