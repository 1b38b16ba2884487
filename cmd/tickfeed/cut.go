package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"tickfeed/codec"
	"tickfeed/codec/recording"
	"tickfeed/codec/recording/edit"
	"tickfeed/codec/recording/place"
	"tickfeed/feed"
	"tickfeed/feed/nouns"
)

// cutOptions are the flags of cut.
type cutOptions struct {
	importOptions
	output   string
	force    bool
	json     bool
	from, to string
	clock    string
	symbols  []string
}

func (p *program) cutCommand() *cobra.Command {
	o := cutOptions{importOptions: importOptions{places: true}}
	cmd := &cobra.Command{
		Use:   "cut FILE -o OUT.tick",
		Short: "Write a part of a recording as a recording of its own",
		Long: `Write a part of a recording as a recording of its own, with the same sessions, numbers, times and
bytes. It begins with a snapshot, so that it can be read and replayed alone. A file of another
format is imported first. ` + pipesHelp + `

With --symbols, the numbers of other instruments are skipped, and the new recording marks them as not
asked for. Damaged numbers of the part are gone in the new recording, and are reported at the end: the exit
code is then 3.

` + placesHelp,
		Example: `  tickfeed cut day.tick --from 14:30 --to 14:45 -o open.tick
  tickfeed cut day.tick.zst --symbols 'AAPL,MSFT' -o two.tick.zst
  tickfeed cut day.tick --from seq:1000 --to seq:2000 -o some.tick`,
		Args: wantArgs(1, 1, "name of a file"),
		RunE: func(cmd *cobra.Command, args []string) error { return p.cut(cmd.Context(), &o, args[0]) },
	}
	group(cmd, "Output", func(f *pflag.FlagSet) {
		f.StringVarP(&o.output, "output", "o", "", "write the recording to `FILE`, compressed if its name ends in .zst; - is standard output")
		f.BoolVar(&o.force, "force", false, "replace the file if it exists")
		f.BoolVar(&o.json, "json", false, "print a summary as one JSON object")
	})
	group(cmd, "Which part", func(f *pflag.FlagSet) {
		f.StringVar(&o.from, "from", "", "begin at `PLACE`: a time of day such as 09:45, a date and time such as 2026-01-05T09:45, seq:N, or +10s from the beginning or -1m from the end")
		f.StringVar(&o.to, "to", "", "end before `PLACE`, as --from; +10s is from --from")
		clockFlag(f, &o.clock)
		f.StringSliceVar(&o.symbols, "symbols", nil, "only instruments that match `PATTERNS`: SYMBOL or SYMBOL@VENUE with wildcards * and ?, separated by commas")
	})
	importFlags(cmd, &o.importOptions)
	return cmd
}

func (p *program) cut(ctx context.Context, o *cutOptions, path string) (err error) {
	var read atomic.Int64
	cfg := edit.CutConfig{Read: &read}
	if cfg.Clock, err = o.parsePlaces(o.clock, placeFlag{"--from", o.from, &cfg.From}, placeFlag{"--to", o.to, &cfg.To}); err != nil {
		return err
	}
	filter, err := fileSymbols(o.symbols)
	if err != nil {
		return err
	}
	cfg.Filter, cfg.Seen = filter.Filter, filter.note
	r := remaking{importOptions: &o.importOptions, output: o.output, force: o.force, json: o.json, paths: []string{path}, doing: "cutting", read: &read}
	return p.remake(ctx, r,
		func(ctx context.Context, out recording.File, all []*openRecording) (*remade, error) {
			r, err := all[0].Reader()
			if err != nil {
				return nil, err
			}
			st, err := edit.Cut(ctx, out, r, cfg)
			if errors.Is(err, edit.ErrEmpty) {
				of := ""
				if len(o.symbols) > 0 {
					of = " of " + strings.Join(o.symbols, ", ")
				}
				return nil, wrong("%s: there is nothing%s in that part%s; inspect shows what there is%s", all[0].title(), of, spanOf(all[0], cfg.Clock, cfg.From, cfg.To), filter.meant())
			} else if errors.As(err, new(*edit.FilterError)) {
				return nil, usage("%w", err)
			}
			if typo := filter.typo(); typo != "" && err == nil {
				p.notef("%s", typo)
			}
			m := &remade{From: st.Range.From, To: st.Range.To, Packets: st.Packets, Damages: st.Damages, Missing: st.Missing, Torn: st.Torn}
			m.note("numbers      %v of %s", st.Range, all[0].title())
			if st.Damages > 0 {
				m.note("damage       in %s: %s", nouns.Count(st.Damages, "place"), nouns.Are(st.Missing, "number", "gone"))
			}
			m.noteTorn()
			m.wrong = damaged(uint64(st.Damages), st.Missing, "the output")
			return m, err
		})
}

// remade is the result of cut or merge.
type remade struct {
	Output  string   `json:"output"`
	Files   []string `json:"input"`
	Joined  bool     `json:"joined,omitempty"`
	From    uint64   `json:"from,omitempty"`
	To      uint64   `json:"to,omitempty"`
	Ticks   uint64   `json:"ticks,omitempty"`
	Packets uint64   `json:"packets,omitempty"`
	Agreed  uint64   `json:"agreed,omitempty"`
	Left    uint64   `json:"disowned,omitempty"`
	Holes   []hole   `json:"holes,omitempty"`
	Damages int      `json:"damages"`
	Missing uint64   `json:"missing"`
	Torn    int64    `json:"torn_bytes,omitempty"`

	notes []string
	lost  uint64 // numbers of a join that none of the recordings has, or lists as gone
	wrong error  // the exit code is 3, although the recording is written, because ticks are missing from it; nil if none is
}

type hole struct {
	Range feed.Range `json:"range"`
	Why   string     `json:"why"`
}

func (m *remade) note(format string, args ...any) {
	m.notes = append(m.notes, fmt.Sprintf("  "+format, args...))
}

// noteTorn notes how many bytes at torn ends were left out.
func (m *remade) noteTorn() {
	if m.Torn > 0 {
		m.note("torn         %s at the end, of an incomplete write, left out", nouns.Count(m.Torn, "byte"))
	}
}

// A remaking is what cut and merge have in common.
type remaking struct {
	*importOptions
	output      string
	force, json bool
	paths       []string
	doing       string        // what the progress line says
	read        *atomic.Int64 // bytes of the recordings read so far
}

// remake opens the recordings of r and writes the recording that do makes from them.
func (p *program) remake(ctx context.Context, r remaking, do func(context.Context, recording.File, []*openRecording) (*remade, error)) error {
	if r.output == "" {
		return usage("name the recording to write with -o, such as -o out.tick")
	}
	if r.output == "-" && r.json {
		return usage("--json prints to standard output, where -o - writes the recording")
	}
	out, err := p.createRecording(r.output, r.force)
	if err != nil {
		return err
	}
	defer out.Discard()
	all, err := p.openRecordings(ctx, r.paths, r.importOptions)
	if err != nil {
		return err
	}
	defer closeAll(all)
	size := int64(0)
	for _, f := range all {
		size += f.Size()
	}
	name := all[0].title()
	if len(all) > 1 {
		name = nouns.Count(len(all), "recording")
	}
	stop := p.progress(func() string {
		return fmt.Sprintf("%s %s: %.0f %% of %s", r.doing, name, 100*float64(r.read.Load())/float64(max(size, 1)), formatBytes(size))
	})
	m, err := do(ctx, out, all)
	stop()
	switch {
	case errors.Is(err, context.Canceled):
		p.notef("interrupted after %s of %s; %s was not written", formatBytes(r.read.Load()), formatBytes(size), r.output)
		return errInterrupted
	case err != nil:
		return err
	}
	if err := out.Commit(); err != nil {
		return err
	}
	m.Output, m.Files = r.output, r.paths
	if r.json {
		b, err := json.Marshal(m)
		if err != nil {
			return err
		}
		if _, err = p.stdout.Write(append(printableJSON(b), '\n')); err != nil {
			return output(err)
		}
		return m.wrong
	}
	p.notef("%s:", r.output)
	if text := unclosed(all); text != "" {
		m.note("end          %s", text)
	}
	for _, n := range m.notes {
		p.notef("%s", n)
	}
	return m.wrong
}

// damaged returns the error that export, cut, merge and publish end with if the recordings that they read are damaged in places, so
// that numbers are missing from what they write; nil if none is.
func damaged(places, missing uint64, from string) error {
	if missing == 0 {
		return nil
	}
	return wrong("%s: %s from %s", nouns.Count(places, "damaged place"), nouns.Are(missing, "number", "missing"), from)
}

// mergeOptions are the flags of merge.
type mergeOptions struct {
	importOptions
	output string
	force  bool
	json   bool
	byTime bool
	clock  string
}

func (p *program) mergeCommand() *cobra.Command {
	var o mergeOptions
	cmd := &cobra.Command{
		Use:   "merge FILE... -o OUT.tick",
		Short: "Write several recordings as one",
		Long: `Write several recordings as one. Files of other formats are imported first. ` + pipesHelp + `

Recordings of one session and its successors, such as the files of a journal or of record --rotate-size,
are joined, and every tick keeps its number. Where recordings overlap they must have the same ticks, and
one can supply ticks that another lost. Numbers that none of them has are gone, and are reported at the
end: the exit code is then 3, as it is if numbers are damaged in unrelated recordings.

Unrelated recordings are merged by time, tick by tick, into a new session with new numbers, in the order
in which "tickfeed replay" plays them together. Time is market time: a tick without an event time, or
with an earlier one than a tick before it in its recording, counts as if it had the latest event time so
far. With --clock publish, time is publish time. Each tick keeps both of its times, except that a publish
time earlier than the one before it is raised to that one. An instrument that several recordings have
becomes one.`,
		Example: `  tickfeed merge archive/feed-*.tick -o whole.tick
  tickfeed merge nasdaq.tick binance.tick.zst -o both.tick.zst
  tickfeed merge trades.csv quotes.csv -o day.tick`,
		Args: wantArgs(1, math.MaxInt, "name of a file"),
		RunE: func(cmd *cobra.Command, args []string) error { return p.merge(cmd.Context(), &o, args) },
	}
	group(cmd, "Output", func(f *pflag.FlagSet) {
		f.StringVarP(&o.output, "output", "o", "", "write the recording to `FILE`, compressed if its name ends in .zst; - is standard output")
		f.BoolVar(&o.force, "force", false, "replace the file if it exists")
		f.BoolVar(&o.json, "json", false, "print a summary as one JSON object")
		f.BoolVar(&o.byTime, "by-time", false, "merge by time with new numbers, even recordings that could be joined")
		clockFlag(f, &o.clock)
	})
	importFlags(cmd, &o.importOptions)
	return cmd
}

func (p *program) merge(ctx context.Context, o *mergeOptions, paths []string) error {
	var read atomic.Int64
	clock, err := parseClock(o.clock)
	if err != nil {
		return err
	}
	r := remaking{importOptions: &o.importOptions, output: o.output, force: o.force, json: o.json, paths: paths, doing: "merging", read: &read}
	return p.remake(ctx, r,
		func(ctx context.Context, out recording.File, all []*openRecording) (*remade, error) {
			var lineage feed.Lineage
			err := edit.ErrUnrelated
			if !o.byTime {
				var open []func() (*recording.Reader, error)
				for _, r := range all {
					open = append(open, r.Reader)
				}
				lineage, err = edit.Lineage(ctx, open)
			}
			var readers []*recording.Reader
			for _, r := range all {
				reader, err := r.Reader()
				if err != nil {
					return nil, err
				}
				readers = append(readers, reader)
			}
			switch {
			case err == nil:
				return join(ctx, out, lineage, readers, all, &read)
			case errors.As(err, new(*edit.FiltersError)):
				return nil, wrong("%s: %w; --by-time merges them with new numbers", names(all), err)
			case !errors.Is(err, edit.ErrUnrelated):
				return nil, err
			}
			return mergeByTime(ctx, out, readers, all, clock, &read)
		})
}

func names(all []*openRecording) string {
	var n []string
	for _, r := range all {
		n = append(n, r.title())
	}
	return strings.Join(n, ", ")
}

// joinRelated returns all, unless merge would join them because they are several recordings of one lineage: then it
// returns the joined recording, in a temporary file, and how many numbers are missing from it because none of the recordings has
// them. It closes the recordings that it does not return, all of them on an error. The error has its exit code.
func joinRelated(ctx context.Context, all []*openRecording) (_ []*openRecording, missing uint64, err error) {
	defer func() {
		if err != nil {
			closeAll(all)
			if ctx.Err() != nil {
				err = errInterrupted
			}
		}
	}()
	if len(all) < 2 {
		return all, 0, nil
	}
	var open []func() (*recording.Reader, error)
	for _, r := range all {
		open = append(open, r.Reader)
	}
	lineage, err := edit.Lineage(ctx, open)
	switch {
	case errors.Is(err, edit.ErrUnrelated), errors.As(err, new(*edit.FiltersError)):
		return all, 0, nil
	case err != nil:
		return nil, 0, err
	}
	joined, err := openTemporary(names(all), func(f *os.File) error {
		var readers []*recording.Reader
		for _, r := range all {
			reader, err := r.Reader()
			if err != nil {
				return err
			}
			readers = append(readers, reader)
		}
		var read atomic.Int64
		m, err := join(ctx, f, lineage, readers, all, &read)
		if m != nil {
			missing = m.lost
		}
		return err
	})
	if err != nil {
		return nil, 0, err
	}
	closeAll(all)
	return []*openRecording{joined}, missing, nil
}

func join(ctx context.Context, out recording.File, lineage feed.Lineage, readers []*recording.Reader, all []*openRecording, read *atomic.Int64) (*remade, error) {
	st, err := edit.Join(ctx, out, lineage, readers, read)
	if errors.As(err, new(*edit.DisagreeError)) {
		return nil, wrong("%s: %w", names(all), err)
	} else if errors.Is(err, edit.ErrEmpty) {
		return nil, wrong("%s: there are no ticks", names(all))
	}
	m := &remade{Joined: true, From: st.Range.From, To: st.Range.To, Packets: st.Packets, Agreed: st.Agreed, Left: st.Left, Damages: st.Damages}
	m.note("joined       numbers %v of session %v", st.Range, lineage.Current().ID)
	if st.Agreed > 0 {
		m.note("agreed       %s numbers that several recordings have", nouns.Thousands(st.Agreed))
	}
	if st.Left > 0 {
		m.note("disowned     %s numbers that no longer belong to any session were left out", nouns.Thousands(st.Left))
	}
	for i, h := range st.Holes {
		why, text := h.Why.String(), h.Why.String()+", and none of the recordings has them"
		if h.Unrecorded {
			why, text = "unrecorded", "in none of the recordings"
		}
		m.Holes = append(m.Holes, hole{h.Range, why})
		m.Missing += h.Len()
		if i < shownDamage {
			m.note("missing      %v: %s", h.Range, text)
		}
	}
	if more := len(st.Holes) + st.More - shownDamage; more > 0 {
		m.note("             and %s more", nouns.Count(more, "range"))
	}
	if st.Damages > 0 {
		m.note("damage       in %s of the recordings", nouns.Count(st.Damages, "place"))
	}
	if m.lost = st.Missing; m.lost > 0 {
		m.wrong = wrong("%s: in none of the recordings", nouns.Are(st.Missing, "number", "missing"))
	}
	m.Torn = st.Torn
	m.noteTorn()
	return m, err
}

func mergeByTime(ctx context.Context, out recording.File, readers []*recording.Reader, all []*openRecording, clock place.Clock, read *atomic.Int64) (*remade, error) {
	h := codec.FileHeader{
		Lineage: feed.Lineage{{ID: feed.NewSessionID(), First: 1}},
		Next:    1, Created: time.Now().UnixNano(),
	}
	var sources []string
	filtered := 0
	for i, r := range readers {
		text := filepath.Base(all[i].name)
		if f := r.Header().Filter; !f.All() {
			filtered++
			text += " (only " + strings.Join(f, " ") + ")"
			h.Filter = append(h.Filter, f...)
		}
		sources = append(sources, text)
		switch r.Header().Mode {
		case codec.ModeSimulation:
			h.Mode = codec.ModeSimulation
		case codec.ModeReplay:
			if h.Mode == codec.ModeLive {
				h.Mode, h.Origin = codec.ModeReplay, r.Header().Origin
			}
		}
	}
	if h.Mode != codec.ModeReplay {
		h.Origin = 0
	}
	h.Source = "merged from " + strings.Join(sources, ", ")
	if filtered < len(readers) {
		h.Filter = nil // one of the recordings is not filtered
	} else if filter, err := codec.NewFilter(h.Filter); err == nil {
		h.Filter = filter
	}
	st, err := edit.Merge(ctx, out, h, readers, clock, read)
	if errors.Is(err, edit.ErrEmpty) {
		return nil, wrong("%s: there are no ticks", names(all))
	}
	m := &remade{Ticks: st.Ticks}
	lost := uint64(0)
	m.note("merged       %s of %s by %v time, in session %v with new numbers", nouns.Count(st.Ticks, "tick"), nouns.Count(uint64(st.Instruments), "instrument"), clock, h.Lineage[0].ID)
	for i, s := range st.Sources {
		m.Damages += int(s.Damages)
		m.Missing += s.Lost
		lost += s.Damaged
		text := nouns.Count(s.Ticks, "tick")
		for _, x := range []struct {
			n    uint64
			what string
		}{{s.Withheld, "withheld"}, {s.Lost, "gone"}, {s.Dropped, "dropped, of instruments whose definition is lost"}} {
			if x.n > 0 {
				text += fmt.Sprintf(", %s %s", nouns.Thousands(x.n), x.what)
			}
		}
		m.note("             %s: %s", all[i].title(), text)
	}
	if m.Damages > 0 {
		m.note("damage       in %s of the recordings", nouns.Count(m.Damages, "place"))
	}
	m.wrong = damaged(uint64(m.Damages), lost, "the output")
	return m, err
}
