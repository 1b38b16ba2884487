package subscriber

import (
	"bytes"
	"encoding/json"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"tickfeed/codec"
	"tickfeed/codec/netsim"
	"tickfeed/feed"
)

// No goroutine is left after Run, however it ends.
func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// The report is one record: the callback's value, the log line, and JSON.
func TestReportForms(t *testing.T) {
	r := Report{
		Cause: CauseCut, Detail: "EOF", Down: time.Second, FirstTick: 1500 * time.Millisecond, Live: 2 * time.Second,
		Attempts: 3, Resume: ResumeReplay, Replayed: 4, Duplicates: 5, Disowned: []Numbers{{Session: sessionB, Range: feed.Range{From: 1, To: 2}}},
		Addr: "pub:1", Session: sessionA, Lost: []Numbers{{Session: sessionA, Range: feed.Range{From: 41, To: 44}}},
	}
	want := `{"cause":"cut","detail":"EOF","down_ns":1000000000,"first_tick_ns":1500000000,"live_ns":2000000000,"attempts":3,"resume":"replay",
		"replayed":4,"duplicates":5,"disowned":[{"session":"000000020261122b","range":[1,2]}],"lost":[{"session":"000000020261122a","range":[41,44]}],"addr":"pub:1","session":"000000020261122a"}`
	raw, err := json.Marshal(&r)
	require.NoError(t, err)
	assert.JSONEq(t, want, string(raw))
	var back Report
	require.NoError(t, json.Unmarshal(raw, &back))
	assert.Equal(t, r, back)

	var log bytes.Buffer
	logger := zerolog.New(&log)
	logger.Info().Object("report", &r).Send()
	assert.JSONEq(t, `{"level":"info","report":{"cause":"cut","detail":"EOF","down":1000,"first_tick":1500,"live":2000,"attempts":3,
		"resume":"replay","replayed":4,"duplicates":5,"lost":[{"session":"000000020261122a","range":[41,44]}],
		"disowned":[{"session":"000000020261122b","range":[1,2]}],"addr":"pub:1","session":"000000020261122a"}}`, log.String())
}

// One event per change of state; what the publisher says is a value, never a message or a key. The token is nowhere.
func TestLogHasOneEventPerChange(t *testing.T) {
	inBubble(t, func(t *testing.T, network *netsim.Network, cfg Config) {
		var log bytes.Buffer
		cfg.Logger, cfg.Token = zerolog.New(&log), "s3cret"
		stop := publish(network, "pub:1", beginning(3), func(p *peer) {
			p.send(message(&codec.Goodbye{Code: codec.CodeShutdown, Text: "evil words"}))
		})
		a := &app{}
		a.on = func(b *Batch) error {
			if b.Change != nil && b.Change.State == Live {
				for _, l := range network.Links() {
					l.Reset()
				}
			}
			return nil
		}
		err := runFor(time.Minute, mustNew(t, cfg), a)
		stop()
		require.ErrorAs(t, err, new(*RefusedError))
		assert.NotContains(t, log.String(), "s3cret")
		lines := strings.Split(strings.TrimSpace(log.String()), "\n")
		assert.Len(t, lines, 8) // connecting, welcome, replaying, live, disconnected, connecting, disconnected, closed
		for _, line := range lines {
			var event map[string]any
			require.NoError(t, json.Unmarshal([]byte(line), &event))
			assert.Contains(t, []any{"subscription", "welcome"}, event["message"])
		}
	})
}

// Without Config.Dial an address is host:port, host, or unix:PATH.
func TestDialAddsTheDefaultPort(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	for _, network := range []string{"tcp", "unix"} {
		at := map[string]string{"tcp": "localhost:0", "unix": path}[network]
		ln, err := net.Listen(network, at)
		require.NoError(t, err)
		addr := map[string]string{"tcp": ln.Addr().String(), "unix": "unix:" + path}[network]
		conn, err := dial(t.Context(), addr)
		require.NoError(t, err)
		conn.Close()
		ln.Close()
		_, err = dial(t.Context(), addr)
		require.Error(t, err)
	}
	for _, host := range []string{"127.0.0.1", "::1", "[::1]"} {
		conn, err := dial(t.Context(), host)
		if err == nil { // somebody listens there
			conn.Close()
			continue
		}
		assert.Contains(t, err.Error(), ":8425")
	}
}
