package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"sync/atomic"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"tickfeed/codec/compare"
	"tickfeed/codec/recording"
	"tickfeed/codec/recording/text"
	"tickfeed/feed"
	"tickfeed/feed/files/rawfile"
	"tickfeed/feed/nouns"
)

// diffOptions are the flags of ledger diff.
type diffOptions struct {
	in       importOptions
	symbols  []string
	kinds    []string
	byNumber bool
	common   bool
	repeats  bool
	anyOrder bool
	show     uint64
	json     bool
}

func (p *program) ledgerCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "ledger COMMAND",
		Short: "Compare the ticks that two parties hold",
		Args:  cobra.NoArgs,
		Long:  `Work with the accounts of numbers that subscribers keep.`,
		RunE:  commandMissing,
	}
	cmd.AddCommand(p.ledgerDiffCommand())
	return cmd
}

func (p *program) ledgerDiffCommand() *cobra.Command {
	var o diffOptions
	cmd := &cobra.Command{
		Use:   "diff A B",
		Short: "Find out whether two parties hold the same ticks",
		Long: `Find out whether two parties hold the same ticks, and if not, which numbers of which sessions differ, which
instruments, and how. A and B are each one of

  a journal       the directory of publish --journal, also while it is written; files that the publisher would not
                  use (foreign, swapped, or without a header) are reported, and their ticks are not held
  a recording     of record or cut, plain or compressed
  lines           what subscribe --json [--events] printed, plain or compressed
  a ledger        of subscribe --ledger; it has numbers, but no ticks

` + pipesHelp + `

Times, prices and sizes are compared as values: --raw and --time of subscribe do not matter. Publish times are
not compared if one of them asked for some instruments only, because several packets may then be sent as one, nor
with --by-number: a replay publishes the ticks of its recording again, at times of its own.

They differ if one holds a tick and the other one says nothing about its number, says that it is lost, or
withheld by its slow-consumer policy, or has another tick there; or if one has a tick twice or out of order,
because a subscriber delivers each tick at most once and those of a session in order. The output of a
subscriber that was killed, or whose machine lost power, and that continued with --state may repeat its last
ticks: --allow-repeats permits that. Lines are out of order if a number comes after a greater one of its session,
and did not come before that; with --events, each run of a subscriber ("connected" to "left") has an order of
its own. --any-order permits ticks out of order, as when the lines of several runs were put together.

Numbers that a party did not ask for, and disowned numbers (a later session of the lineage begins before them),
are listed and do not count as differences. Numbers before the beginning of a recording, numbers that a journal
no longer keeps, and numbers that a ledger does not reach were not asked for.

With --events, lines also say which numbers were not asked for: those below the position of the first
"connected", those from the next number of "left" on, and those between, if the totals of "left" add up with
that many numbers not asked for. A client without a "left" at its end asked for everything that follows.
Without --events, numbers without a line are missing, so use the --symbols and --kinds of subscribe here too.

Ticks in order are compared in bounded memory. Lines in which numbers repeat or go back (of several runs, or of
a wrong client) are sorted in memory, 40 bytes for each tick.

Exit codes: 0 they hold the same ticks; 3 they differ, or have nothing that could be compared, or a tick is there
twice or out of order; 1 one of them cannot be read; 2 there is no such file.`,
		Example: `  tickfeed ledger diff journal client.ndjson
  tickfeed ledger diff journal ledger.json
  tickfeed ledger diff monday.tick.zst monday-backup.tick --common
  tickfeed ledger diff journal client.ndjson --symbols 'AAPL,ES*' --show 20
  tickfeed ledger diff day.tick replayed.ndjson --by-number
  tickfeed ledger diff run1 run2 --by-number`,
		Args: wantArgs(2, 2, "two files or journals"),
		RunE: func(cmd *cobra.Command, args []string) error {
			o.in.flags = cmd.Flags()
			return p.ledgerDiff(cmd.Context(), &o, args)
		},
	}
	group(cmd, "What to compare", func(f *pflag.FlagSet) {
		f.StringSliceVar(&o.symbols, "symbols", nil, "only instruments that match `PATTERNS`: SYMBOL or SYMBOL@VENUE with wildcards * and ?, separated by commas; not with a ledger")
		f.StringSliceVar(&o.kinds, "kinds", nil, "only ticks of these `KINDS`, as subscribe has them; not with a ledger")
		f.BoolVar(&o.common, "common", false, "ignore ticks of one party before the first or after the last number of the other one")
		f.BoolVar(&o.repeats, "allow-repeats", false, "permit ticks that a party has twice, if they are the same: the output of a subscriber that was killed and continued with --state may repeat its last ticks")
		f.BoolVar(&o.anyOrder, "any-order", false, "permit ticks out of the order of their numbers, as in the lines of several runs that were put together")
		f.BoolVar(&o.byNumber, "by-number", false, "compare numbers whatever their session is, and no publish times: a replay is a session of its own, with the numbers of its recording, and two runs of publish with one seed differ in nothing else")
	})
	group(cmd, "Output", func(f *pflag.FlagSet) {
		countVar(f, &o.show, "show", 5, "show the first `N` differing ticks, and of each party the first N that are there twice or out of order")
		f.BoolVar(&o.json, "json", false, "print one JSON object")
	})
	return cmd
}

// maxShow bounds --show.
const maxShow = 100_000

func (p *program) ledgerDiff(ctx context.Context, o *diffOptions, args []string) error {
	cfg := compare.Config{ByNumber: o.byNumber, Common: o.common, AllowRepeats: o.repeats, AnyOrder: o.anyOrder, Show: int(min(o.show, maxShow))}
	filter, err := fileSymbols(o.symbols)
	if err != nil {
		return err
	}
	kinds, err := parseKinds(o.kinds)
	if err != nil {
		return err
	}
	if !filter.All() || kinds != nil {
		cfg.Want = func(e *compare.Entry) bool {
			return filter.match(e.Definition) && (kinds == nil || slices.Contains(kinds, e.Kind))
		}
	}
	paths, spooled, err := p.spoolPipes(ctx, args, acceptParty)
	if err != nil {
		return err
	}
	defer func() {
		for spool := range spooled {
			_ = os.Remove(spool) // the file was only read
		}
	}()
	var read atomic.Uint64
	cfg.Read = read.Store
	stop := p.progress(func() string { return fmt.Sprintf("comparing: %s read", nouns.Count(read.Load(), "entry")) })
	defer stop()
	var parties [2]*diffParty
	for i, path := range paths {
		name := args[i]
		if name == rawfile.Stdin {
			name = rawfile.StdinName
		}
		d, err := p.openParty(ctx, o, path)
		if err != nil {
			return unreadable(ctx, rawfile.AsGiven(err, path, name))
		}
		defer d.close()
		d.name = name
		if d.kind == kindLedger && cfg.Want != nil {
			return usage("%s is a ledger, which has numbers but no ticks: --symbols and --kinds cannot choose among them", d.name)
		}
		parties[i] = d
	}
	r, err := compare.Compare(ctx, parties[0].Party, parties[1].Party, cfg)
	stop()
	var of *compare.PartyError
	switch {
	case ctx.Err() != nil:
		return errInterrupted
	case errors.As(err, &of):
		return &exitError{exitFailure, fmt.Errorf("%s: %w", parties[of.Party].title(), rawfile.AsGiven(of.Err, paths[of.Party], parties[of.Party].name))}
	case err != nil:
		return err
	}
	if err := filter.check(p); err != nil {
		return err
	}
	out := p.newLines(p.stdout)
	if o.json {
		out.json(diffJSON(parties, r, cfg.Show))
	} else {
		diffText(out, parties, r, cfg.Show)
	}
	if err := out.flush(); err != nil {
		return err
	}
	switch {
	case r.Differs():
		return &exitError{code: exitData}
	case !r.Compared():
		return &exitError{exitData, nothingCompared(parties, cfg.Want != nil)}
	}
	return nil
}

// nothingCompared returns the error for parties without a number in common, of which neither lacks one of the other. chosen says
// whether --symbols or --kinds chose among their ticks.
func nothingCompared(parties [2]*diffParty, chosen bool) error {
	if chosen {
		return errors.New("nothing was compared: there is no tick in both that --symbols and --kinds choose")
	}
	return fmt.Errorf("nothing was compared: no number is both in %s and in %s", parties[0].title(), parties[1].title())
}

// unreadable returns err, of opening a party, with exit code 2 if the party is not there, as other commands do, and otherwise 1.
func unreadable(ctx context.Context, err error) error {
	var coded *exitError
	switch {
	case ctx.Err() != nil, errors.Is(err, errInterrupted):
		return errInterrupted
	case errors.As(err, &coded) && coded.code == exitUsage:
		return err
	case errors.As(err, new(*fs.PathError)):
		return usage("%w", err)
	}
	return &exitError{exitFailure, err}
}

// The kinds of parties.
const (
	kindJournal   = "journal"
	kindRecording = "recording"
	kindLines     = "lines"
	kindLedger    = "ledger"
)

// A diffParty is a party of ledger diff.
type diffParty struct {
	compare.Party
	name, kind string
	close      func()
}

func (d *diffParty) title() string { return oneLine(d.name) }

// maxLedger bounds a file with a ledger, in bytes.
const maxLedger = 1 << 30

// openParty opens the party at path.
func (p *program) openParty(ctx context.Context, o *diffOptions, path string) (*diffParty, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	recorded, kind := info.IsDir(), kindJournal
	if !recorded {
		kind = kindRecording
		if recorded, err = isRecording(path); err != nil {
			return nil, err
		}
	}
	if recorded {
		paths := []string{path}
		if info.IsDir() {
			if used, err := p.journalFiles(ctx, path); err != nil {
				return nil, err
			} else if used != nil {
				paths = used
			}
		}
		all, err := p.openRecordings(ctx, paths, &o.in)
		if err != nil {
			return nil, err
		}
		var inputs []*recording.Input
		for _, r := range all {
			inputs = append(inputs, r.Input)
		}
		return &diffParty{Party: compare.OfRecordings(inputs...), kind: kind, close: func() { closeAll(all) }}, nil
	}
	head, err := rawfile.Head(path, rawfile.HeadSize)
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return nil, fmt.Errorf("%s cannot be unpacked: the compressed file is cut off", path)
	}
	if err != nil {
		return nil, err
	}
	head = bytes.TrimSpace(head)
	switch {
	case isLedger(head):
		l, err := readLedger(ctx, path)
		return &diffParty{Party: compare.OfLedger(l), kind: kindLedger, close: func() {}}, err
	case len(head) == 0 && info.Size() == 0, len(head) > 0 && head[0] == '{':
		return &diffParty{Party: compare.OfLines(func() (compare.Lines, error) {
			f, err := rawfile.Open(path)
			if err != nil {
				return nil, err
			}
			return partyLines{rawfile.NewLines(f, compare.MaxLine), f}, nil
		}), kind: kindLines, close: func() {}}, nil
	}
	return nil, notAParty(path)
}

// acceptParty is the accepter of ledger diff.
func acceptParty(name string, head []byte) error {
	head = bytes.TrimSpace(head)
	switch {
	case recording.Recognise(head), text.Recognise(head), isLedger(head):
		return nil
	case head[0] != '{':
		return &exitError{exitFailure, notAParty(name)}
	}
	s, err := compare.OfLines(func() (compare.Lines, error) {
		return partyLines{rawfile.NewLines(bytes.NewReader(head), compare.MaxLine), io.NopCloser(nil)}, nil
	}).Open()
	if err == nil {
		_, err = s.Next()
	}
	if of := (*compare.LineError)(nil); errors.As(err, &of) && bytes.Count(head, []byte{'\n'}) >= of.Line { // not of a line that is cut off
		return &exitError{exitFailure, fmt.Errorf("%s: %w", oneLine(name), err)}
	}
	return nil
}

func notAParty(name string) error {
	return fmt.Errorf("%s is neither a journal, a recording, a ledger of subscribe --ledger, nor lines of subscribe --json", oneLine(name))
}

// partyLines are the lines of a file.
type partyLines struct {
	*rawfile.Lines
	io.Closer
}

// isLedger reports whether a file that begins with head is a ledger.
func isLedger(head []byte) bool {
	d := json.NewDecoder(bytes.NewReader(head))
	brace, err := d.Token()
	if err != nil || brace != json.Delim('{') {
		return false
	}
	name, err := d.Token()
	return err == nil && name == "sessions"
}

func readLedger(ctx context.Context, path string) (*feed.Ledger, error) {
	f, err := rawfile.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := readUpTo(cancelled{ctx, f}, path, maxLedger)
	if err != nil {
		return nil, err
	}
	l := new(feed.Ledger)
	if err := json.Unmarshal(b, l); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return l, nil
}
