package main

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tickfeed/cmd/exam"
	"tickfeed/codec/lab"
)

// README.md has as many faults, triggers, cases and streams as there are.
func TestReadmeCounts(t *testing.T) {
	b, err := os.ReadFile("../../README.md")
	require.NoError(t, err)
	readme := strings.Join(strings.Fields(string(b)), " ")
	streams, err := filepath.Glob("../../testdata/streams/*.msgpack")
	require.NoError(t, err)
	for text, n := range map[string]int{
		"the N triggers and":                  len(lab.Triggers),
		"triggers and N faults":               len(lab.Verbs),
		"plays the publisher in N cases":      len(exam.Cases()),
		"examines a publisher, in N cases":    len(exam.PublisherCases()),
		"with N example streams in `testdata": len(streams),
	} {
		assert.Contains(t, readme, strings.Replace(text, "N", strconv.Itoa(n), 1))
	}
}

// The figures in README.md are those of cmd/bench/README.md, which has a column more: the targets.
func TestReadmeFigures(t *testing.T) {
	rows := func(path string, without int) (rows []string) {
		b, err := os.ReadFile(path)
		require.NoError(t, err)
		for _, row := range regexp.MustCompile("(?m)^\\|(.*`tickfeed bench .*)\\|$").FindAllStringSubmatch(string(b), -1) {
			cells := strings.Split(row[1], "|")
			if without < len(cells) {
				cells = append(cells[:without:without], cells[without+1:]...)
			}
			for i := range cells {
				cells[i] = strings.TrimSpace(cells[i])
			}
			rows = append(rows, strings.Join(cells, " | "))
		}
		return rows
	}
	short := rows("../../README.md", 5)
	require.Len(t, short, 6)
	assert.Subset(t, rows("../bench/README.md", 4), short)
}

// The files and directories that README.md links to or names are there.
func TestReadmePaths(t *testing.T) {
	for _, name := range []string{"README.md", "cmd/ops/README.md", "cmd/bench/README.md"} {
		b, err := os.ReadFile(filepath.Join("../..", name))
		require.NoError(t, err)
		var paths []string
		for _, m := range regexp.MustCompile(`\]\(([^)]+)\)`).FindAllStringSubmatch(string(b), -1) {
			paths = append(paths, filepath.Join("../..", filepath.Dir(name), m[1]))
		}
		for _, m := range regexp.MustCompile("`((?:cmd|codec|feed|publisher|subscriber|testdata)/[\\w./]+)`").FindAllStringSubmatch(string(b), -1) {
			paths = append(paths, filepath.Join("../..", m[1]))
		}
		for _, path := range paths {
			_, err := os.Stat(path)
			assert.NoError(t, err, name)
		}
	}
}

// The Go code in README.md compiles: it uses each error of a loop, and each name exists.
func TestReadmeGo(t *testing.T) {
	t.Parallel()
	b, err := os.ReadFile("../../README.md")
	require.NoError(t, err)
	_, code, found := strings.Cut(string(b), "```go\n")
	code, _, closed := strings.Cut(code, "```")
	require.True(t, found && closed)
	imports := []string{"context", "fmt", "net", "time", "tickfeed/feed", "tickfeed/publisher", "tickfeed/publisher/replay", "tickfeed/subscriber"}
	program := "package readme\n\nimport (\n\t\"" + strings.Join(imports, "\"\n\t\"") +
		"\"\n)\n\nfunc use(ctx context.Context, listener net.Listener) error {\n" + code + "\n\treturn err\n}\n"
	dir := t.TempDir()
	path := filepath.Join(dir, "readme.go")
	require.NoError(t, os.WriteFile(path, []byte(program), 0o600))
	root, err := filepath.Abs("../..")
	require.NoError(t, err)
	overlay, err := json.Marshal(map[string]map[string]string{"Replace": {filepath.Join(root, "cmd", "readme", "readme.go"): path}})
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "overlay.json"), overlay, 0o600))
	build := exec.Command("go", "build", "-overlay", filepath.Join(dir, "overlay.json"), "./cmd/readme")
	build.Dir = root
	out, err := build.CombinedOutput()
	assert.NoError(t, err, "%s", out)
}

// Every package has a comment, so that the list of packages that README.md asks "go list" for is complete.
func TestPackageComments(t *testing.T) {
	list := exec.Command("go", "list", "-f", "{{.ImportPath}}: {{.Doc}}", "./...")
	list.Dir = "../.."
	out, err := list.Output()
	require.NoError(t, err)
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	for _, line := range lines {
		assert.Regexp(t, `^[\w/]+: (Package|Command) \w+ `, line)
	}
}
