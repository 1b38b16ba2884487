package rawfile_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tickfeed/feed"
	"tickfeed/feed/files/rawfile"
)

func write(t *testing.T, name string, b []byte) string {
	path := filepath.Join(t.TempDir(), name)
	require.NoError(t, os.WriteFile(path, b, 0o600))
	return path
}

func packed(t *testing.T, text string) (gz, zst []byte) {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	_, err := w.Write([]byte(text))
	require.NoError(t, err)
	require.NoError(t, w.Close())
	enc, err := zstd.NewWriter(nil)
	require.NoError(t, err)
	return b.Bytes(), enc.EncodeAll([]byte(text), nil)
}

// A file is unpacked according to its content, whatever its name; a directory is refused.
func TestOpenUnpacksByContent(t *testing.T) {
	text := string(bytes.Repeat([]byte("tick "), 10_000))
	gz, zst := packed(t, text)
	for name, b := range map[string][]byte{"plain.gz": []byte(text), "gzip.csv": gz, "zstd.bin": zst} {
		head, err := rawfile.Head(write(t, name, b), len(text)+1)
		require.NoError(t, err)
		assert.Equal(t, text, string(head), name)
	}
	_, err := rawfile.Open(t.TempDir())
	assert.ErrorContains(t, err, "is a directory")
	head, err := rawfile.Head(write(t, "empty", nil), 10)
	require.NoError(t, err)
	assert.Empty(t, head)
}

// words is a Decoder of words of four bytes; "bad!" is damage that may be skipped.
type words struct {
	count rawfile.Stats
	names rawfile.Instruments
}

func (w *words) Begin(*rawfile.Reader) error     { return nil }
func (w *words) End(out []feed.Tick) []feed.Tick { return out }

func (w *words) Decode(r *rawfile.Reader, out []feed.Tick) ([]feed.Tick, error) {
	b, err := r.Peek(4)
	if err != nil {
		return out, r.Torn("a word", err)
	}
	word, at := string(b), r.Offset()
	r.Skip(4)
	if word == "bad!" {
		return out, r.Bad(at, "a bad word")
	}
	w.count.Messages++
	_, out, err = w.names.Define(out, feed.Definition{Symbol: word}, 1)
	return out, err
}

func read(t *testing.T, skip int, files ...string) (symbols []string, s rawfile.Stats, err error) {
	var w words
	src, err := rawfile.NewSource(files, skip, &w, &w.count)
	require.NoError(t, err)
	defer src.Close()
	batch := make([]feed.Tick, 2)
	for {
		n, err := src.Next(context.Background(), batch)
		for _, tick := range batch[:n] {
			symbols = append(symbols, tick.Definition().Symbol)
		}
		if err != nil {
			again, same := src.Next(context.Background(), batch)
			assert.Zero(t, again)
			assert.Equal(t, err, same, "errors repeat")
			return symbols, src.Stats(), err
		}
	}
}

// Files are read one after another. Damage within SkipBad is skipped, and the first is kept; beyond SkipBad it
// ends the source after the ticks before it.
func TestSourceSkipsDamageWithinBounds(t *testing.T) {
	one, two := write(t, "one", []byte("aaaabad!bbbb")), write(t, "two", []byte("ccccaaaadd"))
	symbols, s, err := read(t, 2, one, two)
	assert.Equal(t, io.EOF, err)
	assert.Equal(t, []string{"aaaa", "bbbb", "cccc"}, symbols)
	assert.EqualValues(t, 2, s.Files)
	assert.EqualValues(t, 2, s.Skipped)
	assert.Equal(t, one+": offset 4: a bad word", s.FirstBad.Error())

	symbols, s, err = read(t, 1, one, two)
	var damage *rawfile.DamageError
	require.ErrorAs(t, err, &damage)
	assert.Equal(t, two+": offset 8: the file ends 2 bytes into a word", damage.Error())
	assert.Equal(t, []string{"aaaa", "bbbb", "cccc"}, symbols)
	assert.EqualValues(t, 1, s.Skipped)
}

// A truncated compressed file is damage that cannot be skipped; the part that could be unpacked is returned.
func TestCutOffCompression(t *testing.T) {
	gz, zst := packed(t, "aaaabbbbccccddddeeee")
	for name, b := range map[string][]byte{"gzip": gz[:len(gz)-9], "zstd": zst[:len(zst)-3]} {
		_, _, err := read(t, 100, write(t, name, b))
		var damage *rawfile.DamageError
		require.ErrorAs(t, err, &damage, name)
		assert.Error(t, damage.Err, name)
	}
}

// Errors that show before the first byte come from NewSource; Next ends with its context and after Close.
func TestBeforeAndAfter(t *testing.T) {
	var w words
	_, err := rawfile.NewSource(nil, 0, &w, &w.count)
	assert.ErrorContains(t, err, "no file to read")
	_, err = rawfile.NewSource([]string{filepath.Join(t.TempDir(), "none")}, 0, &w, &w.count)
	assert.ErrorIs(t, err, os.ErrNotExist)
	_, err = rawfile.NewSource([]string{t.TempDir()}, 0, &w, &w.count)
	assert.ErrorContains(t, err, "is a directory")
	path := write(t, "x", []byte("aaaabbbb"))
	_, err = rawfile.NewSource([]string{path}, -1, &w, &w.count)
	assert.ErrorContains(t, err, "SkipBad must not be negative")

	src, err := rawfile.NewSource([]string{path}, 0, &w, &w.count)
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_, err = src.Next(ctx, make([]feed.Tick, 1))
	assert.ErrorIs(t, err, context.Canceled)
	n, err := src.Next(context.Background(), make([]feed.Tick, 1))
	require.NoError(t, err)
	assert.Equal(t, 1, n)
	require.NoError(t, src.Close())
	require.NoError(t, src.Close())
	_, err = src.Next(context.Background(), make([]feed.Tick, 1))
	assert.Error(t, err)
	assert.False(t, errors.Is(err, io.EOF))
}

// A zstd file that needs more memory than is justified is refused with what to do, whether its window is large or it is a
// single segment, which has no window.
func TestLargeWindow(t *testing.T) {
	const magic, emptyBlock = "\x28\xb5\x2f\xfd", "\x01\x00\x00"
	for name, header := range map[string]string{
		"window of 256 MiB":         "\x00\x90",
		"single segment of 256 MiB": "\xa0\x00\x00\x00\x10",
	} {
		u, err := rawfile.Unpack(bytes.NewReader([]byte(magic+header+emptyBlock)), nil)
		require.NoError(t, err, name)
		_, err = io.ReadAll(u)
		assert.ErrorContains(t, err, "of more than 128 MiB: decompress it first, with zstd -d --long=31", name)
		u.Close()
	}
}
