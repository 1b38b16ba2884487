package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/rs/zerolog"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"tickfeed/cmd/ops"
	"tickfeed/codec/lab"
	"tickfeed/feed/files/rawfile"
	"tickfeed/feed/nouns"
	"tickfeed/feed/sim"
	"tickfeed/publisher"
	"tickfeed/publisher/journal"
)

// A checklist is what publish --check finds: a line for each part of the configuration, or why it cannot be used.
type checklist struct {
	lines    []string
	wrong    []error
	warnings []string
	open     []net.Listener // kept until the end, so that the same port twice is found
}

// add adds a line, or err if it is not nil.
func (c *checklist) add(name, text string, err error) {
	if err != nil {
		c.fail(err)
		return
	}
	c.lines = append(c.lines, fmt.Sprintf("%-9s %s", name, ops.Clean(text)))
}

// fail adds those of errs that are not nil.
func (c *checklist) fail(errs ...error) {
	if err := errors.Join(errs...); err != nil {
		c.wrong = append(c.wrong, err)
	}
}

// validates reports whether cmd is to report all that is wrong with its flags and the configuration.
func validates(cmd *cobra.Command) bool {
	checking, err := cmd.Flags().GetBool("check")
	return err == nil && checking
}

// misreadFlags handles err, a mistake in the flags of cmd, which is publish: with --check the others are found too, and the rest is
// checked.
func (p *program) misreadFlags(cmd *cobra.Command, err error) error {
	if !slices.Contains(p.args, "--check") {
		return flagError(cmd, err)
	}
	args := slices.Clone(p.args)
	if i := slices.Index(args, cmd.Name()); i >= 0 {
		args = slices.Delete(args, i, i+1)
	}
	p.misread = errors.Join(setAll(cmd, joined(args))...)
	if err := cmd.Root().PersistentPreRunE(cmd, nil); err != nil {
		return err
	}
	return cmd.RunE(cmd, cmd.Flags().Args())
}

// setAll sets the flags of cmd as args say, and returns all mistakes. Some of them may have been set already.
func setAll(cmd *cobra.Command, args []string) (wrong []error) {
	flags := cmd.Flags()
	flags.Visit(func(f *pflag.Flag) {
		if list, ok := f.Value.(pflag.SliceValue); ok {
			_ = list.Replace(nil) // a list that was set would grow
		}
	})
	known := func(*pflag.Flag, string) error { return nil }
	for err := flags.ParseAll(args, known); err != nil; err = flags.ParseAll(args, known) {
		wrong = append(wrong, flagError(cmd, err))
		var unknown *pflag.NotExistError
		i := len(args) - 1 // a flag without its value
		if errors.As(err, &unknown) {
			name := "--" + unknown.GetSpecifiedName()
			if short := unknown.GetSpecifiedShortnames(); short != "" {
				name = "-" + short
			}
			i = slices.IndexFunc(args, func(arg string) bool { return arg == name || strings.HasPrefix(arg, name+"=") })
		}
		if i < 0 {
			break
		}
		end := i + 1
		if end < len(args) && !strings.Contains(args[i], "=") && !strings.HasPrefix(args[end], "-") {
			end++ // its value, most likely
		}
		args = slices.Delete(args, i, end)
	}
	_ = flags.ParseAll(args, func(f *pflag.Flag, value string) error {
		if err := flags.Set(f.Name, value); err != nil {
			wrong = append(wrong, flagError(cmd, err))
		}
		return nil
	})
	return wrong
}

// checkPublish prints what publish would do with the flags; invalid is what is wrong with them. It writes nothing, closes the ports
// that it opens, and removes the directory that tryDirectory makes. The error lists all that is wrong.
func (p *program) checkPublish(ctx context.Context, o *publishOptions, paths []string, invalid error) error {
	var c checklist
	defer func() { closeListeners(c.open) }()
	c.fail(p.misread, invalid)
	in := input{o: o, paths: paths, director: &director{}, happens: func(e sim.Event) {
		c.warnings = append(c.warnings, e.Rule.Text+": "+noteOf(&e))
	}}
	defer in.close()
	err := o.marketOptions.load(ctx)
	if len(paths) == 0 {
		_, invalid := o.marketConfig()
		err = errors.Join(o.marketOptions.check(), err, invalid)
	}
	switch {
	case err != nil:
		c.fail(err)
	case slices.Contains(paths, rawfile.Stdin):
		c.add("publish", in.describe()+", which is not read now", nil)
	case slices.ContainsFunc(paths, isNamedPipe):
		c.add("publish", in.describe()+", of which pipes are not read now", in.open(ctx, nil))
	default:
		c.add("publish", in.describe(), in.open(ctx, nil))
	}
	var read atomic.Int64
	stop := p.progress(func() string { return "looking at the journal: " + formatBytes(read.Load()) + " read" })
	text, inUse, err := o.describeJournal(ctx, paths, &read)
	stop()
	if ctx.Err() != nil {
		return errInterrupted
	}
	c.add("journal", text, err)
	for _, addr := range o.listen {
		c.address(ctx, "listen", listenFlag, addr, "", inUse)
	}
	who, err := o.admission(ctx, zerolog.Nop())
	if o.http.addr != "" {
		o.http.needsCredentials = o.needsCredentials(who)
		c.fail(o.http.credentials(ctx))
		if w := guessable(httpTokenFlag, o.http.token); w != "" {
			c.warnings = append(c.warnings, w)
		}
		about := ""
		switch w := o.http.warning(); {
		case o.http.beyond && o.http.token == "": // credentials has returned the error
		case o.http.healthOnly():
			about = ", for health and metrics only; the rest needs a token (" + httpTokenFlag + ") or unix:PATH, since clients need credentials"
		case w != "":
			c.warnings = append(c.warnings, w)
		}
		c.address(ctx, "http", httpFlag, o.http.addr, about, inUse)
	}
	if o.tls.cert != "" || o.tls.key != "" || o.tls.clientCA != "" {
		text, warning, err := o.checkTLS()
		c.add("tls", text, err)
		if warning != nil { // a start is no worse than to keep running: see cmd/ops/README.md
			c.warnings = append(c.warnings, "TLS: "+warning.Error())
		}
	}
	cfg := publisher.Config{Journal: o.journal, MaxConnections: o.connectionsAsked(), Token: who.token, Authorize: who.authorize(), Logger: zerolog.Nop()}
	if err == nil {
		err = cfg.Fit(1)
	}
	if cfg.MaxConnections == 0 {
		cfg.MaxConnections = publisher.DefaultConnections
	}
	c.add("admit", fmt.Sprintf("%s, at most %s at a time", who, nouns.Thousands(uint64(cfg.MaxConnections))), err)
	if n := faultsIn(o.market.Scenario); n > 0 {
		c.add("faults", nouns.Count(n, "rule")+" of the scenario, between the publisher and its subscribers", o.checkFaults())
	}
	for _, w := range append(c.warnings, o.warnings(who)...) {
		c.add("warning", w, nil)
	}
	s := p.screen(p.stdout)
	for _, line := range c.lines {
		if _, err := fmt.Fprintln(p.stdout, s.fit(line, "          ")); err != nil {
			return output(err)
		}
	}
	if err := errors.Join(c.wrong...); err != nil {
		return &exitError{exitUsage, err}
	}
	_, err = fmt.Fprintln(p.stdout, "ok: publish would start")
	return output(err)
}

// address adds the line called name about addr, the value of flag, with about after it. If the journal is in use, as inUse says, its
// publisher may listen there now.
func (c *checklist) address(ctx context.Context, name, flag, addr, about string, inUse bool) {
	if checkAddress(flag, addr) != nil {
		return // the check of the flags has reported it
	}
	ln, err := tryListen(ctx, flag, addr)
	if ln != nil {
		c.open = append(c.open, ln)
	}
	if errors.Is(err, errInUse) && inUse {
		c.warnings = append(c.warnings, err.Error()+"; the publisher that writes to the journal now may be that process")
		err = nil
	}
	c.add(name, addr+about, err)
}

// checkTLS reads the files and returns what describe does.
func (o *publishOptions) checkTLS() (text string, warning, err error) {
	if _, err := o.tls.config(zerolog.Nop()); err != nil {
		return "", nil, err
	}
	return o.tls.describe()
}

// checkFaults returns an error if the faults of the scenario cannot be made.
func (o *publishOptions) checkFaults() error {
	if o.tls.cert != "" {
		return errFaultsTLS
	}
	l := &lab.Lab{Script: lab.FaultsOf(o.market.Scenario)}
	return l.Check(l.Script.Rules...)
}

// describeJournal says what the journal holds, and what publish would do with it. inUse reports whether a publisher writes to it.
// It adds to read how many bytes it has read.
func (o *publishOptions) describeJournal(ctx context.Context, paths []string, read *atomic.Int64) (text string, inUse bool, err error) {
	if o.journal == "" {
		return "none: only the ticks in memory, at most " + o.memory.String() + ", can be replayed", false, nil
	}
	found, err := journal.Look(ctx, journal.Config{Dir: o.journal, RetainBytes: o.retain.bytes, RetainAge: o.retain.age}, read)
	if err != nil {
		return "", false, journalError(o.journal, err)
	}
	if err := canWrite(existing(o.journal)); err != nil {
		return "", false, journalError(o.journal, err)
	}
	if found == nil || len(found.Lineage) == 0 && !found.InUse {
		if err := tryDirectory(existing(o.journal)); err != nil {
			return "", false, journalError(o.journal, fmt.Errorf("journal %s: %w", o.journal, err))
		}
	}
	if found == nil || len(found.Lineage) == 0 {
		return o.journal + " is empty, and a first session would begin in it", found != nil && found.InUse, nil
	}
	text = fmt.Sprintf("%s holds %s of %s, the last of them %s (%v, %s); the next would continue at seq %d", o.journal, nouns.Count(found.Next-1, "tick"),
		nouns.Count(len(found.Lineage), "session"), found.Lineage.Current().ID, found.Mode, found.Source, found.Next)
	switch {
	case found.InUse:
		text += ", once the publisher that writes to it now has ended"
	case found.Torn > 0:
		text += fmt.Sprintf(", after its torn end of %s is cut and kept beside it", nouns.Count(uint64(found.Torn), "byte"))
	}
	if n := len(found.Damage); n > 0 && !found.InUse {
		text += fmt.Sprintf("; it is damaged in %s, and what is missing is reported to subscribers: %v", nouns.Count(n, "place"), found.Damage[0])
	}
	if len(paths) > 0 && !o.appending {
		return "", found.InUse, errHoldsTicks(o.journal, found.Next)
	}
	return text, found.InUse, nil
}

// tryDirectory makes a directory in dir and removes it: some file systems, such as /proc, let nothing be created in a directory that
// they call writable.
func tryDirectory(dir string) error {
	made, err := os.MkdirTemp(dir, ".tickfeed-check-*")
	if failed := (*os.PathError)(nil); errors.As(err, &failed) {
		return &os.PathError{Op: "write to", Path: dir, Err: failed.Err}
	} else if err != nil {
		return err
	}
	return os.Remove(made)
}

// existing returns path, or the nearest directory above it that exists.
func existing(path string) string {
	for {
		if _, err := os.Stat(path); err == nil || path == filepath.Dir(path) {
			return path
		}
		path = filepath.Dir(path)
	}
}

// tryListen listens on addr, the value of flag, if it is a port, which the caller must close. The error is that of listen. If addr is a
// unix socket, tryListen makes no socket and returns nil.
func tryListen(ctx context.Context, flag, addr string) (net.Listener, error) {
	path, ok := strings.CutPrefix(addr, unixPrefix)
	if !ok {
		return listen(ctx, flag, addr)
	}
	info, err := os.Lstat(path)
	if err == nil && info.Mode()&os.ModeSocket == 0 {
		return nil, fmt.Errorf("listen on %s: the file exists and is not a socket; choose another path with %s", addr, flag)
	}
	err = canWrite(filepath.Dir(path))
	if err == nil && info == nil {
		err = tryDirectory(filepath.Dir(path))
	}
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w; choose another path with %s", addr, err, flag)
	}
	if conn, err := net.DialTimeout("unix", path, dialOld); err == nil {
		conn.Close()
		return nil, inUse(flag, addr)
	}
	return nil, nil
}
