package main

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"

	"tickfeed/codec"
	"tickfeed/codec/recording"
	"tickfeed/feed"
	"tickfeed/feed/script"
)

// A fileFilter is the filter of --symbols for files. It notes which patterns match no instrument of the files, so that a typo is
// reported.
type fileFilter struct {
	codec.Filter
	missing []string // patterns that have matched nothing
	symbols []string // of the instruments that matched no pattern, at most maxSymbols
}

// maxSymbols bounds the symbols among which a fileFilter looks for the one that was meant.
const maxSymbols = 100_000

// fileSymbols returns the filter of --symbols.
func fileSymbols(patterns []string) (*fileFilter, error) {
	filter, err := symbolFilter(patterns)
	if err != nil {
		return nil, usage("--symbols: %w", err)
	}
	return &fileFilter{Filter: filter, missing: slices.Clone(filter)}, nil
}

// note notes that d is an instrument of a file.
func (f *fileFilter) note(d *feed.Definition) {
	if len(f.missing) == 0 {
		return
	}
	f.missing = slices.DeleteFunc(f.missing, func(pattern string) bool { return codec.Filter{pattern}.Match(d) })
	if len(f.symbols) < maxSymbols && !f.Filter.Match(d) {
		f.symbols = append(f.symbols, d.Symbol, d.Name())
	}
}

// match reports whether f selects d, an instrument of a file, which it notes.
func (f *fileFilter) match(d *feed.Definition) bool {
	f.note(d)
	return f.Filter.Match(d)
}

// look reads the definitions of recordings until each pattern has matched, and returns an error if none does.
func (f *fileFilter) look(ctx context.Context, p *program, recordings []*openRecording) error {
	for _, x := range recordings {
		if len(f.missing) == 0 {
			return nil
		}
		if err := f.lookIn(ctx, x); ctx.Err() != nil {
			return errInterrupted
		} else if err != nil {
			return wrong("%s: %w", x.title(), err)
		}
	}
	return f.check(p)
}

func (f *fileFilter) lookIn(ctx context.Context, x *openRecording) error {
	r, err := x.Reader()
	if err != nil {
		return err
	}
	ticks := recording.NewTicks(r, f.match)
	for len(f.missing) > 0 {
		if err := ctx.Err(); err != nil {
			return err
		}
		if _, err := ticks.Next(); err == io.EOF {
			return nil
		} else if err != nil {
			return err
		}
	}
	return nil
}

// typo says which patterns match no instrument of the files that were read, and which symbol was meant. It returns "" if there is none.
func (f *fileFilter) typo() string {
	if len(f.missing) == 0 {
		return ""
	}
	return "--symbols: no instrument matches " + firstPatterns(f.missing) + f.meant()
}

// meant says what may have been meant by the patterns without a match.
func (f *fileFilter) meant() string { return symbolMeant(f.missing, f.symbols) }

// symbolMeant says what may have been meant by missing, patterns that match none of symbols: several patterns, or a symbol that is
// close to one. It returns "" if it finds nothing.
func symbolMeant(missing, symbols []string) string {
	for _, pattern := range missing {
		text := script.DidYouMean(pattern, symbols)
		switch {
		case strings.Contains(pattern, " "):
			return fmt.Sprintf("; in %q, separate patterns with commas", pattern)
		case text != "" && len(missing) > 1:
			return "; for " + pattern + ", " + strings.TrimPrefix(text, "; ")
		case text != "":
			return text
		}
	}
	return ""
}

// listed says where the instruments are listed, if meant has no suggestion.
func (f *fileFilter) listed() string {
	if f.meant() != "" {
		return ""
	}
	return "; inspect lists the instruments that there are"
}

// check returns an error if no pattern has matched anything. Otherwise it reports those that have not.
func (f *fileFilter) check(p *program) error {
	switch typo := f.typo(); {
	case typo == "":
		return nil
	case len(f.missing) == len(f.Filter):
		return wrong("%s%s", typo, f.listed())
	default:
		p.notef("%s", typo)
		return nil
	}
}
