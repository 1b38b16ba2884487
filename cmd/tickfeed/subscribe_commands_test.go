package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tickfeed/cmd/ops"
	"tickfeed/codec"
	"tickfeed/codec/logto/logtest"
	"tickfeed/subscriber"
)

// A line of --commands names its patterns as --symbols does.
func TestParseCommand(t *testing.T) {
	for line, want := range map[string]codec.Filter{
		"symbols AAPL":                {"AAPL"},
		"  symbols MSFT, AAPL,MSFT  ": {"AAPL", "MSFT"},
		"symbols ES*@XCME,BRK B":      {"BRK B", "ES*@XCME"},
		`symbols "A,B",C`:             {"A,B", "C"},
		"symbols *":                   nil,
		"symbols AAPL,*":              nil,
		"symbols\tAAPL":               {"AAPL"},
	} {
		got, err := parseCommand(line)
		require.NoError(t, err, line)
		assert.Equal(t, want, got, line)
	}
	for line, want := range map[string]string{
		"symbols":           "name PATTERNS",
		"symbols   ":        "name PATTERNS",
		"symbols ,":         "symbols: a pattern is empty; want SYMBOL or SYMBOL@VENUE, with commas between; * is all",
		"symbols A,,B":      "symbols: a pattern is empty; want SYMBOL or SYMBOL@VENUE",
		"symbols @XNAS":     `symbols: pattern "@XNAS" names no symbol`,
		`symbols "A`:        "symbols: ",
		"AAPL":              `there is no command "AAPL"; want symbols PATTERNS`,
		"symbol AAPL":       `there is no command "symbol"`,
		"symbols A\x1b[31m": "symbol",
		"symbolsAAPL":       "there is no command",
	} {
		_, err := parseCommand(line)
		assert.ErrorContains(t, err, want, line)
		assert.NotContains(t, fmt.Sprint(err), "filter", "a word of the protocol")
	}
}

// Commands are obeyed in order. What is wrong is reported and changes nothing, what is there already is said to be, and the end
// of the input ends nothing.
func TestCommandsAreObeyedInOrder(t *testing.T) {
	var said, set []string
	p := &program{stdin: strings.NewReader("symbols A\n\nsymbols A\nnonsense\nsymbols REFUSED\nsymbols A\n  \nsymbols B")}
	done := make(chan struct{})
	c := &commander{
		say: func(format string, args ...any) { said = append(said, fmt.Sprintf(format, args...)) },
		set: func(patterns []string) error {
			if patterns[0] == "REFUSED" {
				return errors.New("refused")
			}
			if set = append(set, patterns...); patterns[0] == "B" {
				close(done)
			}
			return nil
		},
	}
	stop := p.readCommands(t.Context(), c.line)
	<-done
	stop()
	assert.Equal(t, []string{"A", "B"}, set)
	assert.Equal(t, []string{
		"commands: symbols A already, nothing changes",
		`commands: there is no command "nonsense"; want symbols PATTERNS; nothing changes`,
		"commands: refused; nothing changes",
		"commands: symbols A already, nothing changes",
	}, said)
}

// A line without an end is not read for ever.
func TestCommandWithoutEnd(t *testing.T) {
	var stderr logtest.Buffer
	p := &program{stdin: io.MultiReader(strings.NewReader("symbols A\n"), endless{}), stderr: &stderr}
	lines := make(chan string, 10)
	stop := p.readCommands(t.Context(), func(line string) { lines <- line })
	defer stop()
	assert.Equal(t, "symbols A", <-lines)
	require.Eventually(t, func() bool {
		return strings.Contains(stderr.String(), "no more are read: a line is longer than 1048576 bytes")
	}, patience, time.Millisecond)
	assert.Empty(t, lines)
}

type endless struct{}

func (endless) Read(b []byte) (int, error) {
	for i := range b {
		b[i] = 'A'
	}
	return len(b), nil
}

// Nothing is obeyed any more once a subscription has ended, though its input goes on.
func TestCommandsEnd(t *testing.T) {
	in, out := io.Pipe()
	defer out.Close()
	p := &program{stdin: in}
	lines := make(chan string, 10)
	ctx, cancel := context.WithCancel(t.Context())
	stop := p.readCommands(ctx, func(line string) { lines <- line })
	_, err := io.WriteString(out, "one\n")
	require.NoError(t, err)
	assert.Equal(t, "one", <-lines)
	cancel()
	stop()
	_, err = io.WriteString(out, "two\n")
	require.NoError(t, err)
	assert.Empty(t, lines)
}

// The answer to a change has the warning about its own patterns, not one about patterns before it, and does not wait for ever.
func TestAskAnswersWithTheWarning(t *testing.T) {
	c := newCommander(nil, nil, nil)
	c.set = func(patterns []string) error {
		if patterns[0] != "MUTE" {
			c.settled(outcome{granted: patterns, warning: "no instrument matches " + patterns[0]})
		}
		return nil
	}
	c.settled(outcome{warning: "old"})
	for _, test := range []struct{ symbols, warning string }{{"A", "no instrument matches A"}, {"A", ""}, {"B", "no instrument matches B"}} {
		answer, err := c.ask(t.Context(), "symbols "+test.symbols)
		require.NoError(t, err)
		assert.Equal(t, test.warning, answer.Warning, test.symbols)
	}
	c.patience = time.Nanosecond
	answer, err := c.ask(t.Context(), "symbols MUTE")
	require.NoError(t, err)
	assert.Equal(t, "symbols MUTE from now on; WARNING: "+unconfirmed, answer.String())
}

// The answer to a change says what the publisher grants of it. An outcome of the filter before it is not its outcome. A change that
// ends the subscription is refused, with the publisher's reason.
func TestAskAnswersWithTheGrant(t *testing.T) {
	const limits = "user desk may not see more than A"
	c := newCommander(nil, nil, nil)
	earlier := make(chan struct{})
	c.set = func(patterns []string) error {
		switch patterns[0] {
		case "A":
			c.settled(outcome{granted: codec.Filter{"A"}, limits: limits})
		case "B":
			c.settled(outcome{granted: codec.Filter{"A", "C"}})
			go func() {
				defer close(earlier)
				for len(c.outcomes) > 0 { // until ask has taken the first one
					runtime.Gosched()
				}
				c.settled(outcome{granted: patterns})
			}()
		default:
			c.settled(outcome{closed: true, err: &subscriber.RefusedError{Code: codec.CodeDenied, Text: "user desk may not see D", Goodbye: true}})
		}
		return nil
	}
	answer, err := c.ask(t.Context(), "symbols A,X")
	require.NoError(t, err)
	assert.Equal(t, symbolsAnswer{Filter: codec.Filter{"A"}, Changed: true, Limits: limits}, answer)
	assert.Equal(t, "symbols A from now on; "+limits, answer.String())
	answer, err = c.ask(t.Context(), "symbols B")
	require.NoError(t, err)
	assert.Equal(t, symbolsAnswer{Filter: codec.Filter{"B"}, Changed: true}, answer)
	<-earlier
	ended, cancel := context.WithCancel(t.Context())
	cancel() // as the end of the subscription does
	for _, symbols := range []string{"D", "E"} {
		_, err = c.ask(ended, "symbols "+symbols)
		var refused *ops.Error
		require.ErrorAs(t, err, &refused)
		assert.Equal(t, http.StatusForbidden, refused.Status)
		assert.EqualError(t, err, "the publisher denies symbols "+symbols+", and has ended the subscription: user desk may not see D; start it again with symbols that it may see")
	}
}
