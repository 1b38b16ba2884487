package main

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tickfeed/codec/recording/edit"
	"tickfeed/feed"
)

// opener is a program with the flags of importFlags set to args, in a directory of its own as the
// place of temporary files.
func opener(t *testing.T, stdin string, args ...string) (*program, *importOptions, string) {
	t.Helper()
	dir := t.TempDir()
	t.Setenv("TMPDIR", dir)
	var o importOptions
	cmd := &cobra.Command{Use: "test"}
	importFlags(cmd, &o)
	require.NoError(t, cmd.ParseFlags(args))
	return &program{stdin: strings.NewReader(stdin), stdout: io.Discard, stderr: io.Discard}, &o, dir
}

func writeFile(t *testing.T, name, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	require.NoError(t, os.WriteFile(path, []byte(content), 0o600))
	return path
}

const (
	quotesCSV  = "ts_event,symbol,bid,ask\n2026-03-02T14:30:00Z,AAPL,101.25,101.5\n"
	tradesCSV  = "ts_event,symbol,price,size\n2026-03-02T14:30:00Z,AAPL,101.25,100\n2026-03-02T14:30:01Z,AAPL,101.5,1\n"
	messageCSV = "34200.5,4,77,100,1000000,1\n"
	bookCSV    = "1001000,10,1000000,100\n"
	sessionTxt = "tickfeed-text 1\nsession lineage=000000020261122a:1\npacket 2026-11-22T14:30:00Z\n  define #0 symbol=AAPL\nclosed\n"
)

// Files of any format are opened as recordings: those that are none are imported, text files each by itself, files of other
// formats together.
func TestOpenRecordings(t *testing.T) {
	p, o, tmp := opener(t, quotesCSV)
	out := filepath.Join(t.TempDir(), "a.tick.zst")
	require.Equal(t, exitDone, run([]string{"import", writeFile(t, "q", quotesCSV), "-o", out}, strings.NewReader(""), io.Discard, io.Discard))
	dir := t.TempDir()
	pair := func(symbol string) (string, string) {
		message := filepath.Join(dir, symbol+"_2012-06-21_34200000_57600000_message_1.csv")
		book := filepath.Join(dir, symbol+"_2012-06-21_34200000_57600000_orderbook_1.csv")
		require.NoError(t, os.WriteFile(message, []byte(messageCSV), 0o600))
		require.NoError(t, os.WriteFile(book, []byte(bookCSV), 0o600))
		return message, book
	}
	message, book := pair("X")
	other, _ := pair("Y")
	all, err := p.openRecordings(t.Context(), []string{
		out, message, writeFile(t, "t.csv", tradesCSV), book, other, writeFile(t, "s", sessionTxt), "-",
	}, o)
	require.NoError(t, err)
	defer closeAll(all)
	var told []uint64
	for _, r := range all {
		reader, err := r.Reader()
		require.NoError(t, err)
		src := edit.NewSource(reader)
		drain(t, src)
		told = append(told, src.Stats().Ticks)
	}
	assert.Equal(t, []uint64{2, 2 * 6, 3, 1, 2}, told)
	assert.False(t, all[0].imported)
	assert.True(t, all[1].imported)
	assert.Equal(t, message+" "+book+" "+other, all[1].name)
	for _, r := range all {
		require.NoError(t, r.Close())
	}
	require.NoError(t, p.scratch.Remove()) // as run does at the end
	left, err := os.ReadDir(tmp)
	require.NoError(t, err)
	assert.Empty(t, left, "temporary files are gone")
}

// A file that cannot be opened gives the exit code of its fault, and leaves no temporary file behind.
func TestOpenRecordingsRefuses(t *testing.T) {
	for _, c := range []struct {
		name    string
		args    []string
		content string
		file    string
		code    int
		want    string
	}{
		{"an empty file", nil, "", "x", exitData, "is empty"},
		{"an empty recording", nil, "", "x.tick", exitData, "the file is empty"},
		{"no recording", nil, quotesCSV, "x.tick", exitData, "not a recording"},
		{"binary", nil, "\x00\x01", "x", exitData, "is a binary file"},
		{"a bad line", nil, quotesCSV + "x\n", "x", exitData, "--skip-bad N"},
		{"bad text", nil, "tickfeed-text 1\nhello\n", "x", exitData, "line 2"},
		{"a flag of another format", []string{"--date", "2026-03-02"}, quotesCSV, "x", exitUsage, "--date applies only to files of [itch]"},
		{"a flag of files", []string{"--zone", "UTC"}, sessionTxt, "x", exitUsage, "but all files are recordings"},
		{"a bad flag", []string{"--format", "xls"}, quotesCSV, "x", exitUsage, "--format must be one of"},
	} {
		t.Run(c.name, func(t *testing.T) {
			p, o, tmp := opener(t, "", c.args...)
			all, err := p.openRecordings(t.Context(), []string{writeFile(t, "good.csv", quotesCSV), writeFile(t, c.file, c.content)}[1:], o)
			require.Empty(t, all)
			var coded *exitError
			require.ErrorAs(t, err, &coded)
			assert.Equal(t, c.code, coded.code)
			assert.Contains(t, err.Error(), c.want)
			left, err := os.ReadDir(tmp)
			require.NoError(t, err)
			assert.Empty(t, left)
		})
	}
	p, o, tmp := opener(t, "")
	for _, path := range []string{"no-such-file", t.TempDir()} {
		_, err := p.openRecordings(t.Context(), []string{path}, o)
		var coded *exitError
		require.ErrorAs(t, err, &coded)
		assert.Equal(t, exitUsage, coded.code)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for _, content := range []string{quotesCSV, sessionTxt} {
		_, err := p.openRecordings(ctx, []string{writeFile(t, "x", content)}, o)
		assert.ErrorIs(t, err, errInterrupted)
	}
	left, err := os.ReadDir(tmp)
	require.NoError(t, err)
	assert.Empty(t, left)
}

// The flags of a preset are taken where no other flag says otherwise.
func TestImportFlags(t *testing.T) {
	_, o, _ := opener(t, "", "--preset", "taq", "--column", "bid=B", "--date", "20260302", "--venue", "V")
	cfg, err := o.config()
	require.NoError(t, err)
	assert.Equal(t, "America/New_York", cfg.Zone)
	assert.Equal(t, "V", cfg.Venue)
	assert.Equal(t, 20260302, cfg.Date)
	assert.Equal(t, "B", cfg.Text.Columns["bid"])
	_, o, _ = opener(t, "", "--preset", "taq", "--zone", "UTC")
	cfg, err = o.config()
	require.NoError(t, err)
	assert.Equal(t, "UTC", cfg.Zone)
	for _, args := range [][]string{{"--column", "x"}, {"--date", "x"}, {"--preset", "x"}, {"--format", "x"}} {
		_, o, _ = opener(t, "", args...)
		_, err = o.config()
		var coded *exitError
		require.True(t, errors.As(err, &coded))
		assert.Equal(t, exitUsage, coded.code)
	}
}

// The ticks of an import are counted as they go.
func TestCountedTicksAreThoseOfTheImport(t *testing.T) {
	var i importing
	src := counted{&fixed{ticks: make([]feed.Tick, 5)}, &i.ticks}
	drain(t, src)
	assert.Equal(t, int64(5), i.ticks.Load())
}

// fixed is a source of some ticks.
type fixed struct{ ticks []feed.Tick }

func (f *fixed) Next(_ context.Context, batch []feed.Tick) (int, error) {
	n := copy(batch, f.ticks)
	if f.ticks = f.ticks[n:]; n == 0 {
		return 0, io.EOF
	}
	return n, nil
}

func (f *fixed) Close() error { return nil }

// Messages name at most three files.
func TestNamesOf(t *testing.T) {
	assert.Equal(t, "a", namesOf([]string{"a"}))
	assert.Equal(t, "a b c", namesOf([]string{"a", "b", "c"}))
	assert.Equal(t, "a b and 2 more", namesOf([]string{"a", "b", "c", "d"}))
}

// A command that reads a recording with a long damaged part ends with Ctrl-C while it searches for the end of that part.
func TestCancelEndsTheSearchOfARecording(t *testing.T) {
	day, err := os.ReadFile("../../testdata/day.tick")
	require.NoError(t, err)
	path := writeFile(t, "x.tick", string(day[:len(day)/2])+strings.Repeat("\x00", 1<<20))
	ctx, cancel := context.WithCancel(t.Context())
	r, err := openFile(ctx, path)
	require.NoError(t, err)
	defer r.Close()
	reader, err := r.Reader()
	require.NoError(t, err)
	cancel()
	for err == nil {
		_, err = reader.Next()
	}
	require.ErrorIs(t, err, context.Canceled)

	_, err = openFile(ctx, writeFile(t, "y.tick", strings.Repeat("\x00", 1<<20)))
	require.ErrorIs(t, err, errInterrupted)
}
