package ops_test

import (
	stdjson "encoding/json"
	"fmt"
	"io"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tickfeed/cmd/ops"
)

// An overview says what was published and who receives it; a kick ends one connection, whose client comes back.
func TestOverviewAndKick(t *testing.T) {
	w := newWorld(t)
	overview := func(command string) (o ops.Overview) {
		r := w.ask(command, "GET", "/overview", "")
		b, err := io.ReadAll(r.Body)
		require.NoError(t, err)
		require.Equal(t, 200, r.StatusCode, "%s", b)
		require.NoError(t, stdjson.Unmarshal(b, &o))
		return o
	}
	o := overview("publish")
	assert.EqualValues(t, 102, o.Head)
	assert.EqualValues(t, 1, o.Tail)
	assert.Equal(t, 1, o.Subscribers)
	assert.EqualValues(t, 1, o.Joined)
	assert.Positive(t, o.Memory)
	require.Len(t, o.Activity.Ticks, 30)
	require.Len(t, o.Activity.Instruments, 1)
	assert.Equal(t, "AAPL", o.Activity.Instruments[0].Name)
	assert.EqualValues(t, 101, o.Activity.Instruments[0].Total)
	assert.Zero(t, overview("replay").Subscribers)

	number := w.view.Conns()[0].Number
	gone := w.ask("publish", "POST", "/kick?format=text", `{"connection": 99}`, json...)
	assert.Equal(t, 404, gone.StatusCode)
	why, err := io.ReadAll(gone.Body)
	require.NoError(t, err)
	assert.Equal(t, "there is no connection 99; \"tickfeed control connections\" lists them, as /connz does\n", string(why))
	for body, want := range map[string]string{
		``:                    `want the body {"connection": N}, with the number of a connection; /connz lists them`,
		`{"connection": "x"}`: `the body: connection cannot be a string`,
	} {
		r := w.ask("publish", "POST", "/kick?format=text", body, json...)
		b, err := io.ReadAll(r.Body)
		require.NoError(t, err)
		assert.Equal(t, 400, r.StatusCode)
		assert.Equal(t, want+"\n", string(b))
	}
	r := w.ask("publish", "POST", "/kick?format=text", fmt.Sprintf(`{"connection": %d}`, number), json...)
	b, err := io.ReadAll(r.Body)
	require.NoError(t, err)
	assert.Equal(t, fmt.Sprintf("connection %d is ended, and its client asked to come back\n", number), string(b))
	require.Eventually(t, func() bool { return overview("publish").Left["kicked"] == 1 }, patience, time.Millisecond)
	require.Eventually(t, func() bool { return overview("publish").Returned == 1 }, patience, time.Millisecond)
}
