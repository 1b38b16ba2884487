package main

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/spf13/pflag"

	"tickfeed/codec"
	"tickfeed/codec/recording"
	"tickfeed/feed"
	"tickfeed/feed/files"
	"tickfeed/feed/files/rawfile"
	"tickfeed/feed/nouns"
)

// importTemporary imports the files at paths, which are not recordings, into a temporary recording. given are their names
// for people.
func (p *program) importTemporary(ctx context.Context, paths, given []string, o *importOptions) (*openRecording, error) {
	src, err := o.openSource(ctx, paths, p.stdin)
	if err != nil {
		return nil, err
	}
	defer src.Close()
	r, err := openTemporary(namesOf(given), func(f *os.File) error {
		i, err := newImporting(f, src, given, origin{})
		if err != nil {
			return err
		}
		return i.run(ctx, p, src)
	})
	if err != nil {
		return nil, err
	}
	if st := src.Stats(); st.Skipped > 0 {
		p.notef("%s: skipped %s, the first: %v", r.name, nouns.Count(uint64(st.Skipped), "bad "+src.Noun()), st.FirstBad)
	}
	return r, nil
}

// An importing is an import in progress.
type importing struct {
	name    string // name of the files, for people
	several bool   // there are several files
	piped   bool   // one of the files is a named pipe, which may have no writer yet
	files   *files.Source
	builder *recording.Builder
	ticks   atomic.Int64
	started time.Time
}

// namesOf lists paths for people; only the first of many.
func namesOf(paths []string) string {
	paths = slices.Clone(paths)
	for i := range paths {
		if paths[i] == rawfile.Stdin {
			paths[i] = rawfile.StdinName
		}
	}
	const most = 3
	if len(paths) <= most {
		return oneLine(strings.Join(paths, " "))
	}
	return fmt.Sprintf("%s and %d more", oneLine(strings.Join(paths[:most-1], " ")), len(paths)-most+1)
}

// newImporting starts the recording of src, the ticks of the files at paths, in f.
func newImporting(f recording.File, src *files.Source, paths []string, as origin) (*importing, error) {
	i := &importing{name: namesOf(paths), several: len(paths) > 1, files: src, started: time.Now()}
	as = as.complete(i.started)
	var err error
	i.builder, err = recording.NewBuilder(f, codec.FileHeader{
		Lineage: feed.Lineage{{ID: as.session, First: 1}},
		Source:  "imported from " + i.name, Next: 1, Created: as.created.UnixNano(),
	}, nil)
	return i, err
}

// An origin is the session and the creation time that distinguish a recording from another one of the same ticks. Zero
// fields are chosen by the command.
type origin struct {
	session feed.SessionID
	created time.Time
}

// complete returns o with a random session if it has none, and created now if it has no time.
func (o origin) complete(now time.Time) origin {
	if o.session == 0 {
		o.session = feed.NewSessionID()
	}
	if o.created.IsZero() {
		o.created = now
	}
	return o
}

// originFlags adds --session and --created to f.
func originFlags(f *pflag.FlagSet, session, created *string) {
	f.StringVar(session, "session", "", "`ID` of the session, up to 16 hexadecimal digits (default: random)")
	f.StringVar(created, "created", "", "`TIME` of the recording's creation, such as 2026-03-02T14:30:00Z (default: now)")
}

// parseOrigin parses --session and --created. The error is a usage error.
func parseOrigin(session, created string) (as origin, err error) {
	if session != "" {
		id, err := strconv.ParseUint(session, 16, 64)
		if err != nil || id == 0 {
			return as, usage("--session must be 1 to 16 hexadecimal digits, not all 0, got %q", session)
		}
		as.session = feed.SessionID(id)
	}
	if created != "" {
		at, daily, ok := parseMoment(created, time.UTC, time.Time{})
		if !ok || daily || at.Year() < 1970 || at.Year() > 2261 {
			return as, usage("--created must be a time such as 2026-03-02T14:30:00Z or a date, from 1970 to 2261, got %q", created)
		}
		as.created = at
	}
	return as, nil
}

// run imports ticks, all or some of those of the files, and closes the recording. The error has its exit code.
func (i *importing) run(ctx context.Context, p *program, ticks feed.Source) error {
	stop := p.progress(i.progress)
	defer stop()
	if i.piped {
		came := time.AfterFunc(waitNotice, func() {
			if i.files.Read() == 0 {
				p.sayAwaiting(i.name)
			}
		})
		defer came.Stop()
	}
	err := fileError(i.builder.Feed(ctx, counted{ticks, &i.ticks}), false)
	closeErr := i.builder.Close()
	stop()
	if err != nil {
		return err
	}
	return closeErr
}

// counted is a source that counts its ticks in n, which other goroutines may read.
type counted struct {
	feed.Source
	n *atomic.Int64
}

func (c counted) Next(ctx context.Context, batch []feed.Tick) (int, error) {
	n, err := c.Source.Next(ctx, batch)
	c.n.Add(int64(n))
	return n, err
}

// progress returns the progress line.
func (i *importing) progress() string {
	took := time.Since(i.started)
	ticks, read := i.ticks.Load(), i.files.Read()
	text := fmt.Sprintf("importing %s: %s read", i.name, formatBytes(read))
	if size := i.files.Size(); size > 0 {
		text = fmt.Sprintf("importing %s: %.0f %% of %s", i.name, 100*float64(read)/float64(size), formatBytes(size))
	}
	return fmt.Sprintf("%s, %s ticks, %s", text, formatCount(float64(ticks)), formatRate(float64(ticks)/took.Seconds()))
}
