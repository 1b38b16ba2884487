package main

import (
	"bytes"
	"context"
	"encoding/json"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tickfeed/cmd/ops"
	"tickfeed/publisher"
)

// A publisher that is drained is not ready, ends with exit code 0 once its subscribers have left, and the next one over its
// journal has them back without a loss.
func TestDrainAndRestart(t *testing.T) {
	dir := t.TempDir()
	listen, web := "unix:"+filepath.Join(dir, "feed"), "unix:"+filepath.Join(dir, "http")
	publish := func() *command {
		c := startCommand(t, dir, "publish", "--journal", "j", "--rate", "1000", "--listen", listen, "--http", web, "--status", "0")
		c.says(t, "(?s)listening.*http")
		return c
	}
	c := publish()
	sub := startCommand(t, dir, "subscribe", listen, "--connections", "2", "--stats", "--from", "beginning")
	require.Eventually(t, func() bool {
		answer, err := (&ops.Client{Addr: web}).Ask(t.Context(), "/connz", nil, "text/plain", patience)
		return err == nil && len(answer.Body) > 0 && answer.Body[0] == '2'
	}, patience, pollTime)

	drain := startCommand(t, dir, "control", "drain", "--over", "800ms", "--addr", web)
	c.says(t, `"subscribers":2,"over":"800ms".*"draining"`)
	answer, err := (&ops.Client{Addr: web}).Ask(t.Context(), "/readyz", nil, "text/plain", patience)
	require.NoError(t, err)
	assert.Equal(t, http.StatusServiceUnavailable, answer.Status)
	assert.Contains(t, string(answer.Body), "admits: FAILED, the publisher is being drained")
	again := startCommand(t, dir, "control", "drain", "--addr", web)
	assert.Equal(t, exitFailure, again.exit(t))
	assert.Contains(t, again.err.String(), "is being drained already; SIGTERM ends it at once")

	assert.Equal(t, exitDone, c.exit(t), "%s", c.err.String())
	assert.Contains(t, c.err.String(), "stopped")
	assert.Equal(t, exitDone, drain.exit(t))
	assert.Equal(t, "draining 2 subscribers over 800ms; the process then ends\n", drain.out.String())

	c = publish()
	c.says(t, "(?s)joined.*joined")
	require.NoError(t, sub.Process.Signal(syscall.SIGTERM))
	assert.Equal(t, exitDone, sub.exit(t), "%s", sub.err.String())
	assert.Contains(t, sub.err.String(), "0 lost")
}

// An order to drain that makes no sense is refused, and nothing is drained.
func TestDrainRequests(t *testing.T) {
	pub, err := publisher.New(publisher.Config{})
	require.NoError(t, err)
	defer pub.Close(context.Background())
	s := service{pub: pub, drains: make(chan drainage, 1)}
	route := s.drainRoute()
	for _, body := range []string{`{"over": "soon"}`, `{"over": "-1s"}`, `{"over": "2h"}`, `{"within": "1s"}`} {
		_, err := route.Do(t.Context(), []byte(body))
		assert.Error(t, err, body)
	}
	assert.Empty(t, s.drains)
	answer, err := route.Do(t.Context(), nil)
	require.NoError(t, err)
	assert.Equal(t, drainAnswer{0, defaultDrain}, answer)
	assert.Len(t, s.drains, 1)
	for _, args := range [][]string{{"drain", "10s"}, {"drain", "--over", "-1s"}, {"drain", "--over", "61m"}} {
		c := startCommand(t, ".", append([]string{"control"}, args...)...)
		assert.Equal(t, exitUsage, c.exit(t), "%v", args)
	}
}

// An order to drain, with any content, is refused, or accepted once with a time within the bounds.
func FuzzDrain(f *testing.F) {
	for _, body := range []string{"", `{}`, `{"over": "10s"}`, `{"over": "1h"}`, `{"over": "1h1ns"}`, `{"over": "-1ns"}`, `{"over": 5}`, `{"over": "9999999h"}`, `{"over": "1s"} {}`} {
		f.Add([]byte(body))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		pub, err := publisher.New(publisher.Config{Memory: publisher.MinMemory})
		require.NoError(t, err)
		defer pub.Close(t.Context())
		s := service{pub: pub, drains: make(chan drainage, 1), reload: &reloader{}}
		answer, err := s.drainRoute().Do(t.Context(), body)
		require.Equal(t, err == nil, len(s.drains) == 1, "%q: %v", body, err)
		require.Equal(t, err == nil, pub.Summary().Draining, "%q: %v", body, err)
		if err == nil {
			d := <-s.drains
			require.Equal(t, drainAnswer{0, d.over}, answer, "%q", body)
			require.True(t, d.over >= 0 && d.over <= publisher.MaxDrain, "%q: %v", body, d.over)
			_, err = s.drainRoute().Do(t.Context(), body)
			require.Error(t, err, "%q was accepted twice", body)
		}
		if _, err := s.reload.route().Do(t.Context(), body); err == nil && len(bytes.TrimSpace(body)) > 0 {
			require.True(t, json.Valid(body), "reload accepted %q", body)
		}
	})
}

// A process that was asked to end and hangs, as one stopped by SIGSTOP, is not taken for one that has ended; one at whose address
// nothing accepts connections has ended.
func TestDrainDoesNotTakeAHungProcessForAnEndedOne(t *testing.T) {
	ln, err := net.Listen("tcp", "localhost:0") // the kernel accepts connections, as for a process that is stopped
	require.NoError(t, err)
	defer ln.Close()
	client := &ops.Client{Addr: ln.Addr().String()}
	_, err = nextProcess(t.Context(), client, time.Time{}, 20*time.Millisecond)
	assert.ErrorContains(t, err, "still runs")
	require.NoError(t, ln.Close())
	next, err := nextProcess(t.Context(), client, time.Time{}, patience)
	assert.NoError(t, err)
	assert.Nil(t, next)
}

// If a supervisor starts the next process at the same address between two questions, the wait for the end of the first one ends, and
// control says what it found.
func TestDrainTellsTheNextProcessFromTheDrainedOne(t *testing.T) {
	started := time.Date(2026, 11, 22, 9, 30, 0, 1, time.UTC)
	var asked atomic.Int32
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		at := started
		if r.URL.Path == "/livez" && asked.Add(1) > 1 {
			at = started.Add(time.Nanosecond)
		}
		w.Header().Set(ops.Header, "publish")
		w.Header().Set(ops.StartedHeader, at.Format(time.RFC3339Nano))
		_, _ = w.Write([]byte("draining"))
	}))
	defer server.Close()
	addr := server.Listener.Addr().String()
	c := startCommand(t, t.TempDir(), "control", "drain", "--addr", addr)
	assert.Equal(t, exitDone, c.exit(t), "%s", c.err.String())
	assert.Equal(t, "draining\n", c.out.String())
	assert.Equal(t, addr+": the process has ended, and another one, a tickfeed publish, serves there since 2026-11-22 09:30:00Z\n", c.err.String())
	assert.EqualValues(t, 2, asked.Load())
}

// A publisher that ends responds over HTTP until its journal is closed, so that "control drain" does not return before the next
// publisher can open the journal.
func TestSiteIsServedUntilTheJournalIsClosed(t *testing.T) {
	dir := t.TempDir()
	pub, err := publisher.New(publisher.Config{Journal: dir})
	require.NoError(t, err)
	ln, err := net.Listen("tcp", "localhost:0")
	require.NoError(t, err)
	s := service{o: &publishOptions{journal: dir}, pub: pub, input: &input{paths: []string{"a.csv"}}, web: ln, reload: &reloader{}}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	ended := s.serveSite(ctx)
	_, err = (&ops.Client{Addr: ln.Addr().String()}).Ask(t.Context(), "/status", nil, "", patience)
	require.NoError(t, err)
	require.NoError(t, s.close(ctx, nil))
	assert.ErrorIs(t, <-ended, context.Canceled)
	_, err = (&ops.Client{Addr: ln.Addr().String()}).Ask(t.Context(), "/livez", nil, "", patience)
	require.Error(t, err)
	next, err := publisher.New(publisher.Config{Journal: dir})
	require.NoError(t, err)
	require.NoError(t, next.Close(t.Context()))
}
