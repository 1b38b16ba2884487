package main

import (
	"bytes"
	"fmt"
	"iter"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
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

// commandsBelow yields cmd and all commands below it, without those that help does not list.
func commandsBelow(cmd *cobra.Command) iter.Seq[*cobra.Command] {
	return func(yield func(*cobra.Command) bool) {
		if cmd.Hidden || !yield(cmd) {
			return
		}
		for _, c := range cmd.Commands() {
			for below := range commandsBelow(c) {
				if !yield(below) {
					return
				}
			}
		}
	}
}

// All help fits a terminal of 80 columns.
func TestHelpWidth(t *testing.T) {
	pages := 0
	for c := range commandsBelow((&program{}).command()) {
		pages++
		path := strings.Fields(c.CommandPath())[1:]
		for line := range strings.Lines(helpOf(t, append([]string{"help"}, path...)...)) {
			assert.LessOrEqual(t, utf8.RuneCountInString(strings.TrimSuffix(line, "\n")), columns, "%s: %s", path, line)
		}
	}
	assert.Greater(t, pages, 30)
}

// The description of a flag names only flags of its own command, or of one that it names before them.
func TestHelpNamesFlagsThatExist(t *testing.T) {
	root := (&program{}).command()
	elsewhere := map[string]bool{ // in other words
		"control --addr: --http": true, "diff --allow-repeats: --state": true, "publish --max-lag: --slow": true, "replay --max-lag: --slow": true,
	}
	for c := range commandsBelow(root) {
		c.LocalFlags() // adds the flags of all commands to c.Flags
		c.Flags().VisitAll(func(f *pflag.Flag) {
			for _, m := range regexp.MustCompile(`(\w*) ?--([a-z][a-z-]+)`).FindAllStringSubmatch(f.Usage, -1) {
				of := c
				if named, _, err := root.Find([]string{m[1]}); err == nil && named != root {
					of = named
				}
				place := fmt.Sprintf("%s --%s: --%s", c.Name(), f.Name, m[2])
				assert.True(t, of.Flags().Lookup(m[2]) != nil || elsewhere[place], place)
			}
		})
	}
}

// A command that only has commands below it is a mistake without one of them, and says which there are.
func TestCommandMissing(t *testing.T) {
	for c := range commandsBelow((&program{}).command()) {
		if !c.HasSubCommands() || !c.HasParent() || c.Name() == "sim" { // which does something itself
			continue
		}
		var out, problems bytes.Buffer
		assert.Equal(t, exitUsage, run([]string{c.Name()}, strings.NewReader(""), &out, &problems), c.Name())
		assert.Empty(t, out.String())
		for _, below := range c.Commands() {
			assert.Regexp(t, `(?s)^tickfeed: the (command|shell) is missing: tickfeed `+c.Name()+` (COMMAND|SHELL); want .*`+below.Name(), problems.String())
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
	assert.Equal(t, "  name  one two\n        three\n  b     x\n  c\n    d\ne", reflow("  name  one\n        two\n        three\n  b     x\n  c\n    d\ne", 15), "lines of a text are joined")
	assert.Equal(t, "a\n  b  c\nd", reflow("a\n  b  c\nd", 80))
}
