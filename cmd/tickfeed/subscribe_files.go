package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"tickfeed/codec/filemode"
	"tickfeed/codec/recording"
	"tickfeed/feed"
)

// unsaved describes what is lost if the process ends now at position next.
func (o *subscribeOptions) unsaved(next uint64) string {
	var parts []string
	switch {
	case o.measures():
		parts = append(parts, "the end of the statistics")
	case !o.quiet:
		parts = append(parts, "the end of the output on standard output")
	}
	if o.state != "" && next > 0 {
		parts = append(parts, fmt.Sprintf("the position, if --state %s does not say %d yet: the ticks from there on come again", o.state, next))
	}
	for _, f := range []struct{ what, path string }{
		{"the account, --ledger ", o.ledger}, {"the latencies, --hdr ", o.hdr}, {"the latencies, --hdr-event ", o.hdrEvent},
	} {
		if f.path != "" {
			parts = append(parts, f.what+f.path)
		}
	}
	if o.connections == 1 {
		parts = append(parts, positionText(next))
	}
	return strings.Join(parts, "; ")
}

// checkFiles refuses output files that exist, that two flags name, or that could not be written at the end.
func (o *subscribeOptions) checkFiles() error {
	files := []struct {
		flag, path string
		end        bool // written at the end
	}{{"--state", o.state, false}, {"--ledger", o.ledger, true}, {"--hdr", o.hdr, true}, {"--hdr-event", o.hdrEvent, true}, {"--reports", o.reports, false}}
	for _, f := range files {
		if !f.end || f.path == "" || f.path == "-" {
			continue
		}
		if _, err := os.Lstat(f.path); err == nil && !o.force {
			return usage("%s %s: the file exists; choose another, or replace it with --force", f.flag, f.path)
		}
		if err := recording.Check(f.path, o.force); err != nil {
			return usage("%s: %w", f.flag, err)
		}
	}
	for i, a := range files {
		for _, b := range files[i+1:] {
			if a.path != "" && a.path != "-" && b.path != "" && samePath(a.path, b.path) {
				return usage("%s and %s are both %s: give each a file of its own", a.flag, b.flag, a.path)
			}
		}
	}
	return nil
}

func samePath(a, b string) bool {
	if filepath.Clean(a) == filepath.Clean(b) {
		return true
	}
	x, errX := os.Stat(a)
	y, errY := os.Stat(b)
	return errX == nil && errY == nil && x.Mode().IsRegular() && os.SameFile(x, y)
}

// openReports opens the file of --reports. Opening a named pipe blocks until it has a reader; ctx ends the wait.
func openReports(ctx context.Context, path string) (*os.File, error) {
	f, err := waitFor(ctx, func() (*os.File, error) {
		return os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, filemode.File())
	})
	if err != nil && !errors.Is(err, errInterrupted) {
		err = usage("--reports: %w", err)
	}
	if err == nil && endsInLine(f) {
		_, err = f.WriteString("\n")
	}
	return f, err
}

// endsInLine reports whether out is a regular file whose last line does not end, as after a kill in the middle of a write. What is
// appended to it must begin with a new line: a tick that continued the half of another one would be lost. It returns false if
// the file cannot be read, such as standard output that was opened for writing only where the system has no /dev/stdout for it.
func endsInLine(out io.Writer) bool {
	f, ok := out.(interface {
		Name() string
		Stat() (fs.FileInfo, error)
	})
	if !ok {
		return false
	}
	info, err := f.Stat()
	if err != nil || !info.Mode().IsRegular() || info.Size() == 0 {
		return false
	}
	in, err := os.Open(f.Name())
	if err != nil {
		return false
	}
	defer in.Close()
	if same, err := in.Stat(); err != nil || !os.SameFile(info, same) {
		return false
	}
	var last [1]byte
	_, err = in.ReadAt(last[:], info.Size()-1)
	return err == nil && last[0] != '\n'
}

// syncOutput syncs the regular files among outs. Data written to a pipe or a terminal is already with its reader.
func syncOutput(outs ...io.Writer) error {
	for _, out := range outs {
		f, ok := out.(interface {
			Name() string
			Stat() (fs.FileInfo, error)
			Sync() error
		})
		if !ok {
			continue
		}
		if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
			continue
		}
		if err := f.Sync(); err != nil {
			return fmt.Errorf("sync %s: %w; the position in --state is no longer saved", f.Name(), err)
		}
	}
	return nil
}

func (p *program) writeLedger(path string, replace bool, l *feed.Ledger) error {
	b, err := json.Marshal(l)
	if err != nil {
		return fmt.Errorf("--ledger: %w", err)
	}
	return p.writeResult("--ledger", path, replace, append(b, '\n'))
}

// writeResult writes b to the file at path, which flag names; - is standard output.
func (p *program) writeResult(flag, path string, replace bool, b []byte) error {
	if path == "-" {
		_, err := p.stdout.Write(b)
		return output(err)
	}
	slow := p.watch(flag + " " + path)
	out, err := slow.create(path, replace)
	if err != nil {
		return fmt.Errorf("%s: %w", flag, err)
	}
	defer out.Discard()
	if _, err = slow.write(out, b); err == nil {
		err = slow.save(out.Commit)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", flag, err)
	}
	return nil
}
