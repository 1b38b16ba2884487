package main

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func helpOf(t *testing.T, args ...string) string {
	t.Helper()
	var out bytes.Buffer
	require.Equal(t, exitDone, run(args, strings.NewReader(""), &out, &out))
	return out.String()
}

// The flags that say how files are read are on one page, and the pages of commands name it.
func TestHelpFormats(t *testing.T) {
	page := helpOf(t, "help", "formats")
	assert.Contains(t, page, "--price-exponent N")
	assert.Regexp(t, `massive\s+is\s+polygon,\s+and\s+binance-trades\s+is\s+binance`, page)
	for _, name := range []string{"publish", "replay", "import", "inspect", "cut", "merge", "export", "bench"} {
		page := helpOf(t, name, "--help")
		assert.NotContains(t, page, "--price-exponent", name)
		assert.Contains(t, page, `"tickfeed help formats" lists the flags`, name)
	}
	assert.Contains(t, helpOf(t, "help"), "\n  formats     How files")
}

// The examples of the page about scenarios are read as they stand, and the page fits a terminal.
func TestHelpScenarios(t *testing.T) {
	page := helpOf(t, "help", "scenarios")
	for line := range strings.Lines(page) {
		assert.LessOrEqual(t, utf8.RuneCountInString(strings.TrimSuffix(line, "\n")), 80, line)
	}
	unindented := strings.ReplaceAll(page, "\n  ", "\n")
	dir := t.TempDir()
	ndjson := regexp.MustCompile(`(?m)^\{.*\}$`).FindAllString(unindented, -1)
	require.Len(t, ndjson, 2)
	text := regexp.MustCompile(`(?s)tickfeed-text 1\n.*\nclosed\n`).FindString(unindented)
	require.NotEmpty(t, text)
	for name, content := range map[string]string{"a.ndjson": strings.Join(ndjson, "\n"), "a.txt": text} {
		path := filepath.Join(dir, name)
		require.NoError(t, os.WriteFile(path, []byte(content), 0o600))
		c := startCommand(t, dir, "export", name, "-o", "-", "--as", "ndjson")
		require.Equal(t, exitDone, c.exit(t), c.err.String())
		assert.Regexp(t, `(?s)"type":"definition","symbol":"AAPL".*"type":"quote".*"bid":187.25.*"type":"trade".*"price":187.26,"size":100`, c.out.String())
	}
}

// Help fits a terminal of 80 columns.
func TestHelpWidth(t *testing.T) {
	for _, name := range []string{"", "completion", "completion bash", "completion zsh", "bench", "control", "cut", "demo", "export", "import", "inspect", "merge", "publish", "record", "replay", "sim", "subscribe", "top", "version"} {
		page := helpOf(t, strings.Fields(name+" --help")...)
		for line := range strings.Lines(page) {
			assert.LessOrEqual(t, utf8.RuneCountInString(strings.TrimSuffix(line, "\n")), columns, "%s: %s", name, line)
		}
	}
}

func TestWrapBreaksBetweenWords(t *testing.T) {
	assert.Equal(t, "one two\n  three", wrap("one two three", 9, "  "))
	assert.Equal(t, "  one\n  two", wrap("  one two", 6, "  "))
	assert.Equal(t, "0123456789 a", wrap("0123456789 a", 12, ""))
	assert.Equal(t, "0123456789\na", wrap("0123456789 a", 11, ""))
	assert.Equal(t, "0123456789", wrap("0123456789", 4, ""), "a word is not broken")
	assert.Equal(t, "äöü äöü", wrap("äöü äöü", 7, ""))
	assert.Equal(t, "a b\n\n  list  x\nc d e", reflow("a\nb\n\n  list  x\nc d\ne", 10))
	assert.Equal(t, "  name  one\n        two", reflow("  name  one two", 11))
}
