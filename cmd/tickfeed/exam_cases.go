package main

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"tickfeed/cmd/exam"
	"tickfeed/codec/lab"
)

// maxOwnCases bounds the cases that --case reads from files.
const maxOwnCases = 1000

// selectCases returns the cases that the values of --case name: ids or patterns of them, files of cases, and directories
// of such files. For no value it returns all.
func (p *program) selectCases(ctx context.Context, o *examOptions) ([]*exam.Case, error) {
	var patterns, files []string
	for _, v := range o.cases {
		info, err := os.Stat(v)
		switch {
		case strings.HasSuffix(v, exam.CaseSuffix):
			files = append(files, v)
		case err == nil && info.IsDir():
			found, err := filepath.Glob(filepath.Join(v, "*"+exam.CaseSuffix))
			if err != nil || len(found) == 0 {
				return nil, usage("--case %s: the directory has no file that ends in %s", v, exam.CaseSuffix)
			}
			slices.Sort(found)
			files = append(files, found...)
		default:
			patterns = append(patterns, v)
		}
	}
	var cases []*exam.Case
	if len(patterns) > 0 || len(files) == 0 {
		var err error
		if cases, err = exam.Select(o.all(), patterns); err != nil {
			return nil, usage("--case: %w", err)
		}
	}
	switch {
	case len(files) == 0:
		return cases, nil
	case o.publisher:
		return nil, usage("--case %s: files hold cases for clients, not for publishers", files[0])
	case len(files) > maxOwnCases:
		return nil, usage("--case: %d files, at most %d", len(files), maxOwnCases)
	}
	cases = slices.Clone(cases)
	for _, f := range files {
		text, err := readSmall(ctx, f, lab.MaxScript)
		if err != nil {
			return nil, usage("--case: %w", err)
		}
		c, err := exam.ParseCase(strings.TrimSuffix(filepath.Base(f), exam.CaseSuffix), f, text)
		if err != nil {
			return nil, usage("--case: %w", err)
		}
		cases = append(cases, c)
	}
	return cases, nil
}
