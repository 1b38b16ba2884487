package main

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tickfeed/codec"
	"tickfeed/feed"
	"tickfeed/publisher"
)

// An address to listen on is HOST:PORT with a number, or unix:PATH.
func TestCheckAddress(t *testing.T) {
	for _, good := range []string{"localhost:8425", "127.0.0.1:0", "[::1]:8425", ":8425", "unix:p.sock"} {
		assert.NoError(t, checkAddress("--listen", good), good)
	}
	for _, bad := range []string{"", "localhost", "localhost:", "localhost:http", "localhost:65536", "::1:8425", "unix:"} {
		assert.Error(t, checkAddress("--listen", bad), bad)
	}
}

// The port may be left out, in every command that takes an address: it is that of publishers, or of a replay's control.
func TestDefaultPort(t *testing.T) {
	for given, want := range map[string]string{
		"localhost": "localhost:8425", "10.0.0.1": "10.0.0.1:8425", "[::1]": "[::1]:8425", "host:1": "host:1", ":1": ":1", "unix:p.sock": "unix:p.sock",
	} {
		got, err := readAddress("--listen", given, defaultPort)
		require.NoError(t, err)
		assert.Equal(t, want, got)
	}
	for _, bad := range []string{"", "8425", "::1", "localhost:", "unix:"} {
		_, err := readAddress("--listen", bad, defaultPort)
		assert.Error(t, err, "%q", bad)
	}
	var o subscribeOptions
	o.slow, o.from, o.maxBackoff = "all", "snapshot", defaultBackoff
	cfg, err := o.config(t.Context(), []string{"a", "b:1"})
	require.NoError(t, err)
	assert.Equal(t, []string{"a:8425", "b:1"}, cfg.Addrs)
	web := httpOptions{addr: "localhost"}
	require.NoError(t, web.check())
	assert.Equal(t, "localhost:8427", web.addr)
	for _, args := range [][]string{{"publish", "--listen", "192.0.2.1"}, {"replay", "../../testdata/day.tick", "--listen", "192.0.2.1"}} {
		c := startCommand(t, ".", args...)
		require.Equal(t, exitFailure, c.exit(t))
		assert.Contains(t, c.err.String(), "listen on 192.0.2.1:8425: ")
	}
}

// A start that lies ahead is refused, a time as a number is; a time before 1970 is one before everything.
func TestFromRefusesTheFuture(t *testing.T) {
	now := time.Date(2026, 1, 5, 14, 30, 0, 0, time.UTC)
	for from, want := range map[string]uint64{
		"time:2026-01-05T14:30:30Z": uint64(now.Add(30 * time.Second).UnixNano()), "time:1767623400000000001": 1_767_623_400_000_000_001,
		"time:1969-12-31T23:59:59Z": 0, "time:-1": 0, "time:1066-10-14T09:00:00Z": 0,
	} {
		start, err := parseStart(from, now)
		require.NoError(t, err)
		assert.Equal(t, codec.Start{Kind: codec.StartTime, Value: want}, start, from)
	}
	for _, ahead := range []string{"time:2026-01-05T14:32:00Z", "time:2099-01-01T00:00:00Z", "time:9999-01-01T00:00:00Z", "time:9223372036854775807"} {
		_, err := parseStart(ahead, now)
		assert.ErrorContains(t, err, "is in the future", ahead)
	}
	_, err := parseStart("time:2026", now)
	assert.ErrorContains(t, err, "time:2026-01-01T00:00:00Z")
	pub := serve(t, publisher.Config{}, "127.0.0.1:0")
	for _, test := range []struct {
		from string
		code int
	}{{"seq:99999999", exitRefused}, {"time:2099-01-01T00:00:00Z", exitUsage}} {
		for _, args := range [][]string{{"subscribe"}, {"record", "-o", "a.tick"}} {
			c := startCommand(t, t.TempDir(), append(args, pub.addr, "--from", test.from)...)
			assert.Equal(t, test.code, c.exit(t))
		}
	}
}

// Blanks around patterns are no part of them, and a pattern that matches nothing is reported once it is known.
func TestSymbolsThatMatchNothingAreReported(t *testing.T) {
	f, err := symbolFilter([]string{"AAPL", " MSFT", "ES* "})
	require.NoError(t, err)
	assert.Equal(t, codec.Filter{"AAPL", "ES*", "MSFT"}, f)
	_, err = symbolFilter([]string{"AAPL", " "})
	assert.ErrorContains(t, err, "a pattern is empty")

	state := feed.NewState()
	for id, d := range []feed.Definition{{Symbol: "AAPL", Venue: "SIM"}, {Symbol: "ESH6"}} {
		require.NoError(t, state.Apply(&feed.Tick{Kind: feed.KindDefinition, Instrument: feed.InstrumentID(id), Extra: &feed.Extra{Definition: &d}}))
	}
	missing, meant := unmatched(codec.Filter{"AAPL", "AAPL@SIM", "AAPL@X", "ES*", "ES??@", "NQ*", "aapl"}, state)
	assert.Equal(t, []string{"AAPL@X", "NQ*", "aapl"}, missing)
	assert.Equal(t, `; for AAPL@X, did you mean "AAPL"?`, meant)
	_, meant = unmatched(codec.Filter{"APPL"}, state)
	assert.Equal(t, `; did you mean "AAPL"?`, meant)
	_, meant = unmatched(codec.Filter{"AAPL ESH6"}, state)
	assert.Equal(t, `; in "AAPL ESH6", separate patterns with commas`, meant)
	_, meant = unmatched(codec.Filter{"NQ*"}, state)
	assert.Empty(t, meant)
	assert.Equal(t, []string{"localhost:8425", "localhost:1", "[::1]:9", "h:1", "unix:/run/x"},
		[]string{dialable("0.0.0.0:8425"), dialable(":1"), dialable("[::1]:9"), dialable("h:1"), dialable("unix:/run/x")})

	pub := serve(t, publisher.Config{}, "127.0.0.1:0")
	_, err = pub.Define(t.Context(), feed.Definition{Symbol: "AAPL"})
	require.NoError(t, err)
	for _, args := range [][]string{{"subscribe"}, {"record", "-o", "a.tick"}} {
		c := startCommand(t, t.TempDir(), append(args, pub.addr, "--symbols", "AAPL, MSTF")...)
		c.says(t, "(?m)^--symbols: no instrument matches MSTF so far")
	}
}

// The socket of a dead process is replaced, that of a living one is not.
func TestListenUnix(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("no unix sockets that outlive their process")
	}
	path := filepath.Join(t.TempDir(), "s")
	old, err := net.Listen("unix", path)
	require.NoError(t, err)
	_, err = listen(t.Context(), listenFlag, "unix:"+path)
	assert.ErrorContains(t, err, "address in use")
	old.(*net.UnixListener).SetUnlinkOnClose(false)
	require.NoError(t, old.Close())
	_, err = os.Stat(path)
	require.NoError(t, err, "a process that dies leaves its socket")
	ln, err := listen(t.Context(), listenFlag, "unix:"+path)
	require.NoError(t, err)
	assert.Equal(t, "unix:"+path, listenName(ln))
	require.NoError(t, ln.Close())
}

// An address that is taken is refused with the flag that named it.
func TestListenNamesTheFlag(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer ln.Close()
	for flag, want := range map[string]string{
		listenFlag: "address in use; stop the process that listens there or choose another with --listen",
		httpFlag:   "address in use; stop the process that listens there or choose another with --http (empty for none)",
		serveFlag:  "address in use; stop the process that listens there or choose another with --serve",
	} {
		_, err := listen(t.Context(), flag, ln.Addr().String())
		assert.ErrorContains(t, err, want)
	}
}

// A lab recognizes its own address, however it is written.
func TestIsItself(t *testing.T) {
	for _, test := range []struct {
		listen, host string
		want         bool
	}{
		{"127.0.0.1:0", "127.0.0.1", true},
		{"127.0.0.1:0", "localhost", true},
		{"127.0.0.1:0", "", true},
		{"127.0.0.1:0", "0.0.0.0", true},
		{":0", "127.0.0.1", true},
		{":0", "localhost", true},
		{":0", "192.0.2.1", false},
		{"127.0.0.1:0", "127.0.0.2", false},
	} {
		ln, err := net.Listen("tcp", test.listen)
		require.NoError(t, err)
		port := ln.Addr().(*net.TCPAddr).Port
		assert.Equal(t, test.want, isItself(t.Context(), ln, fmt.Sprintf("%s:%d", test.host, port)), "%+v", test)
		assert.False(t, isItself(t.Context(), ln, fmt.Sprintf("%s:%d", test.host, port%65535+1)), "%+v: another port", test)
		assert.False(t, isItself(t.Context(), ln, "unix:/none"))
		require.NoError(t, ln.Close())
	}
}
