package ops_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// The image is built of the sources alone: .dockerignore leaves everything out, among it the tokens and journals that the commands
// of README.md make, and lets in each directory with sources.
func TestImageIsBuiltOfSources(t *testing.T) {
	root := filepath.Join("..", "..")
	b, err := os.ReadFile(filepath.Join(root, ".dockerignore"))
	require.NoError(t, err)
	var patterns []string
	for line := range strings.Lines(string(b)) {
		if line = strings.TrimSpace(line); line != "" && line[0] != '#' {
			patterns = append(patterns, line)
		}
	}
	require.Equal(t, "*", patterns[0])
	for _, p := range patterns[1:] {
		name, isException := strings.CutPrefix(p, "!")
		assert.True(t, isException, "%s: it is left out anyway", p)
		assert.NotContains(t, name, "*", "a secret may match")
		if name != ".git" { // absent from an archive of the sources
			_, err := os.Stat(filepath.Join(root, name))
			assert.NoError(t, err)
		}
	}
	for _, dir := range []string{"cmd", "codec", "feed", "publisher", "subscriber", "testdata", "go.mod", "go.sum"} {
		assert.Contains(t, patterns, "!"+dir)
	}
}
