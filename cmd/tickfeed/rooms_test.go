package main

import (
	"go/parser"
	gotoken "go/token"
	"io/fs"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Imports flow one way: cmd -> publisher, subscriber -> codec -> feed, in every package of the module. publisher and subscriber never
// import each other, package feed imports the standard library and packages that import nothing else, and only package codec imports
// msgpack. Tests are free, and so is testdata.
func TestImportsFlowOneWay(t *testing.T) {
	root := filepath.Join("..", "..")
	imports := make(map[string]map[string]bool) // of each package, by its path in the module
	require.NoError(t, filepath.WalkDir(root, func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && name != root && (d.Name() == "testdata" || d.Name() == "node_modules" || d.Name()[0] == '.' && d.Name() != ".."):
			return fs.SkipDir
		case d.IsDir() || !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go"):
			return nil
		}
		f, err := parser.ParseFile(gotoken.NewFileSet(), name, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, filepath.Dir(name))
		if err != nil {
			return err
		}
		pkg := filepath.ToSlash(rel)
		if imports[pkg] == nil {
			imports[pkg] = make(map[string]bool)
		}
		for _, i := range f.Imports {
			of, err := strconv.Unquote(i.Path.Value)
			if err != nil {
				return err
			}
			imports[pkg][of] = true
		}
		return nil
	}))
	floors := map[string]int{"feed": 0, "codec": 1, "publisher": 2, "subscriber": 2, "cmd": 3}
	room := func(pkg string) string { first, _, _ := strings.Cut(pkg, "/"); return first }
	require.Greater(t, len(imports), 60)
	for pkg, all := range imports {
		floor, ok := floors[room(pkg)]
		assert.True(t, ok, "%s is in no room", pkg)
		for of := range all {
			assert.False(t, strings.HasPrefix(of, "github.com/vmihailenco/msgpack") && pkg != "codec", "%s imports %s", pkg, of)
			other, ours := strings.CutPrefix(of, "tickfeed/")
			if !ours || room(other) == "testdata" {
				continue
			}
			below := floors[room(other)] < floor || room(other) == room(pkg)
			assert.True(t, below, "%s imports %s", pkg, other)
		}
	}
	for of := range imports["feed"] {
		other, ours := strings.CutPrefix(of, "tickfeed/")
		assert.True(t, ours || isStandard(of), "feed imports %s", of)
		for next := range imports[other] {
			assert.True(t, isStandard(next), "feed imports %s, which imports %s", other, next)
		}
	}
}

// isStandard reports whether a package of this path, imported by this module, is in the standard library.
func isStandard(pkg string) bool {
	first, _, _ := strings.Cut(path.Clean(pkg), "/")
	return first != "tickfeed" && !strings.Contains(first, ".")
}
