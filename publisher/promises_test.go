package publisher_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Each test that PROMISES.md names exists, each promise has one, and each promise that a test cites is there.
func TestPromises(t *testing.T) {
	text, err := os.ReadFile("PROMISES.md")
	require.NoError(t, err)
	tests := map[string]string{} // the test files of each directory
	cited := map[string][]string{}
	citation := regexp.MustCompile(`PROMISES\.md, ([0-9, and\n/]*[0-9])`)
	require.NoError(t, filepath.WalkDir("..", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		source, err := os.ReadFile(path)
		dir := strings.TrimPrefix(filepath.ToSlash(filepath.Dir(path)), "../")
		tests[dir] += string(source)
		for _, c := range citation.FindAllStringSubmatch(string(source), -1) {
			for _, n := range regexp.MustCompile(`\d+`).FindAllString(c[1], -1) {
				cited[n] = append(cited[n], path)
			}
		}
		return err
	}))

	promised := map[string]bool{}
	for _, row := range regexp.MustCompile(`(?m)^\| (\d+) \|.*\| ([^|]*) \|$`).FindAllStringSubmatch(string(text), -1) {
		n := row[1]
		assert.False(t, promised[n], "promise %s stands twice", n)
		promised[n] = true
		named := regexp.MustCompile("`([a-z/]+)\\.((?:Test|Fuzz)\\w+)`").FindAllStringSubmatch(row[2], -1)
		assert.Equal(t, n == "30", len(named) == 0, "the tests of promise %s", n)
		assert.Len(t, named, strings.Count(row[2], "`")/2, "promise %s names what is no test: %s", n, row[2])
		for _, name := range named {
			assert.True(t, strings.Contains(tests[name[1]], "\nfunc "+name[2]+"("), "promise %s: there is no test %s", n, name[0])
		}
	}
	assert.Len(t, promised, 38)
	for n, paths := range cited {
		assert.True(t, promised[n], "promise %s, cited in %s", n, paths)
	}
	assert.Greater(t, len(cited), 25, "citations are found")
}
