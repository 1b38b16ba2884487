package files_test

import (
	"bytes"
	"context"
	"io"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tickfeed/feed"
	"tickfeed/feed/files"
	"tickfeed/feed/recorded"
)

const captured = `1735689600123456789 {"e":"trade","E":1735689600123,"s":"AB","t":1,"p":"1","q":"1","T":1735689600123,"m":true,"M":true}` + "\n"

// The format of standard input is detected from its content. Before any input arrives, a Source does not
// know the format, and has read nothing.
func TestStandardInput(t *testing.T) {
	itch := append([]byte{0, 12, 'S', 0, 0, 0, 0}, 1, 2, 3, 4, 5, 6, 'O')
	for _, c := range []struct {
		name    string
		content []byte
		want    files.Format
		cfg     files.Config
	}{
		{"csv", []byte(quotes), files.CSV, files.Config{}},
		{"csv, packed", gzipped([]byte(quotes)), files.CSV, files.Config{}},
		{"ndjson", []byte(`{"symbol":"A","price":1,"time":"2024-01-02T14:30:00Z"}`), files.NDJSON, files.Config{}},
		{"websocket", []byte("wss://stream.binance.com/ws <-> 1735689600.1\n" + captured), files.Websocket, files.Config{}},
		{"itch", itch, files.ITCH, files.Config{Date: 20240102}},
		{"lean", zipped(t, "20140507_eurusd_tick_quote.csv", "1014,1.39248,1.39250\n"), files.LEAN, files.Config{Zone: "UTC"}},
		{"nothing", nil, files.CSV, files.Config{}},
	} {
		t.Run(c.name, func(t *testing.T) {
			src, err := files.Open([]string{"-"}, bytes.NewReader(c.content), c.cfg)
			require.NoError(t, err)
			assert.Empty(t, src.Format())
			assert.Zero(t, src.Stats())
			recorded.Read(t, src)
			assert.Equal(t, c.want, src.Format())
			require.NoError(t, src.Close())

			pipe, err := files.NewPipe(context.Background(), bytes.NewReader(c.content))
			require.NoError(t, err)
			src, err = files.Open([]string{"-"}, pipe, c.cfg)
			require.NoError(t, err)
			assert.Equal(t, c.want, src.Format(), "known at once")
			require.NoError(t, src.Close())
		})
	}
	src, err := files.Open([]string{"-"}, strings.NewReader("\x01\x02\x00\x03"), files.Config{})
	require.NoError(t, err)
	_, _, err = recorded.Read(t, src)
	assert.ErrorContains(t, err, "stdin: is a binary file of unknown format")
	assert.True(t, files.Damaged(err))
}

// A Next that waits for silent standard input returns when its context ends, before and after the format is known,
// and may be called again.
func TestSilentStandardInput(t *testing.T) {
	r, w, err := os.Pipe()
	require.NoError(t, err)
	defer r.Close()
	src, err := files.Open([]string{"-"}, r, files.Config{})
	require.NoError(t, err)
	defer src.Close()
	batch := make([]feed.Tick, 8)
	ended, cancel := context.WithCancel(context.Background())
	cancel()
	waits := func() {
		ctx, cancel := context.WithCancel(context.Background())
		go cancel()
		n, err := src.Next(ctx, batch)
		assert.Zero(t, n)
		assert.ErrorIs(t, err, context.Canceled)
	}
	waits()
	_, err = io.WriteString(w, captured)
	require.NoError(t, err)
	n := 0
	for n < 2 {
		k, err := src.Next(context.Background(), batch)
		require.NoError(t, err)
		n += k
	}
	assert.Equal(t, files.Websocket, src.Format())
	waits()
	_, err = src.Next(ended, batch)
	require.ErrorIs(t, err, context.Canceled)
	require.NoError(t, w.Close())
	_, err = src.Next(context.Background(), batch)
	assert.ErrorIs(t, err, io.EOF)
}

// A capture with quotes on the recorder's clock and trades on the exchange's has a note that suggests what to do.
func TestTwoClocks(t *testing.T) {
	quote := `1735689600100000000 {"u":5,"s":"AB","b":"1","B":"2","a":"3","A":"4"}` + "\n"
	trade := func(millis string) string { return strings.ReplaceAll(captured, "1735689600123,", millis+",") }
	for millis, noted := range map[string]bool{"1735689601373": true, "1735689600123": false} {
		src, err := files.Open([]string{write(t, "x", []byte(quote+trade(millis)))}, nil, files.Config{})
		require.NoError(t, err)
		recorded.ReadAll(t, src)
		assert.Equal(t, noted, strings.Contains(strings.Join(src.Stats().Notes, "\n"), "1 quotes without a time of the exchange have the recorder's"))
	}
}
