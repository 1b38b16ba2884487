package files_test

import (
	"archive/zip"
	"bytes"
	"context"
	"io"
	"testing"

	"github.com/klauspost/compress/zstd"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tickfeed/feed"
	"tickfeed/feed/files"
	"tickfeed/feed/files/rawfile"
)

// zipOf returns a zip of files; the arguments are names and contents in turn.
func zipOf(t testing.TB, namesAndContents ...string) []byte {
	t.Helper()
	var out bytes.Buffer
	w := zip.NewWriter(&out)
	for i := 0; i < len(namesAndContents); i += 2 {
		f, err := w.Create(namesAndContents[i])
		require.NoError(t, err)
		_, err = io.WriteString(f, namesAndContents[i+1])
		require.NoError(t, err)
	}
	require.NoError(t, w.Close())
	return out.Bytes()
}

func zstded(t testing.TB, b string) []byte {
	t.Helper()
	w, err := zstd.NewWriter(nil)
	require.NoError(t, err)
	defer w.Close()
	return w.EncodeAll([]byte(b), nil)
}

// ticksOf counts the ticks of a file, without definitions.
func ticksOf(t testing.TB, path string, cfg files.Config) (n int, stats files.Stats) {
	t.Helper()
	src, err := files.Open([]string{path}, nil, cfg)
	require.NoError(t, err)
	defer src.Close()
	batch := make([]feed.Tick, 16)
	for {
		k, err := src.Next(context.Background(), batch)
		for i := range batch[:k] {
			if batch[i].Kind == feed.KindQuote {
				n++
			}
		}
		if err == io.EOF {
			return n, src.Stats()
		}
		require.NoError(t, err)
	}
}

// Data that collectors and tapes leave after compressed data does not stop the import, and is noted.
func TestTrailingBytes(t *testing.T) {
	const more = "2026-03-02T14:30:02Z,AAPL,101.25,101.5\n"
	for name, content := range map[string][]byte{
		"gzip":            gzipped([]byte(quotes + more)),
		"gzip, two parts": append(gzipped([]byte(quotes)), gzipped([]byte(more))...),
		"zstd":            zstded(t, quotes+more),
		"zstd, two parts": append(zstded(t, quotes), zstded(t, more)...),
	} {
		for _, tail := range []string{"", "\x00\x00\x00\x00\x00\x00", "old bytes of a longer file", "\x1fx\x1f\x8b"} {
			path := write(t, "quotes", append(bytes.Clone(content), tail...))
			n, stats := ticksOf(t, path, files.Config{})
			assert.Equal(t, 3, n, "%s %q", name, tail)
			if tail == "" {
				assert.Empty(t, stats.Notes)
			} else {
				assert.Equal(t, []string{path + ": bytes behind the end of the compressed data are not read"}, stats.Notes, "%s %q", name, tail)
			}
		}
	}
}

// The only CSV file of a zip is read; files that people and systems add to a zip are ignored.
func TestZipsHaveOneCSV(t *testing.T) {
	path := write(t, "a.zip", zipOf(t, "__MACOSX/._quotes.csv", "\x00\x05", "readme.txt", "hello", "quotes.csv", quotes, "quotes.csv.CHECKSUM", "ab"))
	n, _ := ticksOf(t, path, files.Config{})
	assert.Equal(t, 2, n)

	path = write(t, "a.zip", zipOf(t, "a.csv", quotes, "b.csv", quotes))
	_, err := files.Open([]string{path}, nil, files.Config{})
	require.ErrorAs(t, err, new(*rawfile.FormatError))
	assert.ErrorContains(t, err, "holds 2 files of CSV or NDJSON, where one can be read; unzip it and name its files")

	const rows = "\ufeff1014,1.39248,1.39250\r\n1015,1.39248,1.39251\r\n"
	path = write(t, "oanda_a.zip", zipOf(t, "notes.txt", "hello", "20140507_eurusd_tick_quote.csv", rows, "__MACOSX/20140507_eurusd_tick_quote.csv", "\x00"))
	f, err := files.Recognise(path)
	require.NoError(t, err)
	assert.Equal(t, files.LEAN, f)
	n, _ = ticksOf(t, path, files.Config{})
	assert.Equal(t, 2, n)

	path = write(t, "oanda_a.zip", zipOf(t, "20140507_eurusd_tick_quote.csv", rows, "20140508_eurusd_tick_quote.csv", rows))
	_, err = files.Open([]string{path}, nil, files.Config{})
	assert.True(t, files.Damaged(err), "wrong data, not wrong usage: %v", err)
	assert.ErrorContains(t, err, `LEAN's tick zips hold one file`)
}
