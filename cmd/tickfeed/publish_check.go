package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/rs/zerolog"

	"tickfeed/cmd/ops"
	"tickfeed/codec/lab"
	"tickfeed/feed/files/rawfile"
	"tickfeed/publisher"
	"tickfeed/publisher/journal"
)

// A checklist is what publish --check finds: a line for each part of the configuration, or why it cannot be used.
type checklist struct {
	lines []string
	wrong []error
}

// add adds a line, or err if it is not nil.
func (c *checklist) add(name, text string, err error) {
	if err != nil {
		c.wrong = append(c.wrong, err)
		return
	}
	c.lines = append(c.lines, fmt.Sprintf("%-9s %s", name, ops.Clean(text)))
}

// checkPublish prints what publish would do with the flags, which the caller has checked. It opens nothing for writing, and
// listens nowhere. The error lists all that is wrong.
func (p *program) checkPublish(ctx context.Context, o *publishOptions, paths []string) error {
	var c checklist
	in := input{o: o, paths: paths, director: &director{}}
	defer in.close()
	if slices.Contains(paths, rawfile.Stdin) {
		c.add("publish", in.describe()+", which is not read now", nil)
	} else {
		c.add("publish", in.describe(), in.open(ctx, nil))
	}
	for _, addr := range o.listen {
		c.add("listen", addr, checkSocket(listenFlag, addr))
	}
	who, err := o.admission(ctx, zerolog.Nop())
	if o.http.addr != "" {
		o.http.admits = who.admits() || o.tls.clientCA != ""
		failed := errors.Join(o.http.credentials(ctx), checkSocket(httpFlag, o.http.addr))
		text := o.http.addr
		if o.http.healthOnly() {
			text += ", for health and metrics only; the rest needs a token (" + httpTokenFlag + ") or unix:PATH, since clients need credentials"
		}
		c.add("http", text, failed)
	}
	if o.tls.cert != "" || o.tls.key != "" || o.tls.clientCA != "" {
		text, err := o.checkTLS()
		c.add("tls", text, err)
	}
	cfg := publisher.Config{Journal: o.journal, MaxConnections: o.connectionsAsked(), Token: who.token, Authorize: who.authorize(), Logger: zerolog.Nop()}
	if err == nil {
		err = cfg.Fit(1)
	}
	if cfg.MaxConnections == 0 {
		cfg.MaxConnections = publisher.DefaultConnections
	}
	c.add("admit", fmt.Sprintf("%s, at most %s at a time", who, formatThousands(uint64(cfg.MaxConnections))), err)
	text, err := o.describeJournal(paths)
	c.add("journal", text, err)
	if n := faultsIn(o.market.Scenario); n > 0 {
		c.add("faults", plural(n, "rule")+" of the scenario, between the publisher and its subscribers", o.checkFaults())
	}
	for _, w := range o.warnings(who) {
		c.add("warning", w, nil)
	}
	if _, err := fmt.Fprintln(p.stdout, strings.Join(c.lines, "\n")); err != nil {
		return output(err)
	}
	if err := errors.Join(c.wrong...); err != nil {
		return &exitError{exitUsage, err}
	}
	_, err = fmt.Fprintln(p.stdout, "ok: publish would start, as far as can be seen without opening ports")
	return output(err)
}

// checkTLS returns what describe does; a certificate that clients refuse is an error.
func (o *publishOptions) checkTLS() (string, error) {
	if _, err := o.tls.config(zerolog.Nop()); err != nil {
		return "", err
	}
	text, warning, err := o.tls.describe()
	if err == nil && warning != nil {
		return "", fmt.Errorf("TLS: %w", warning)
	}
	return text, err
}

// checkFaults returns an error if the faults of the scenario cannot be made.
func (o *publishOptions) checkFaults() error {
	if o.tls.cert != "" {
		return errFaultsTLS
	}
	l := &lab.Lab{Script: lab.FaultsOf(o.market.Scenario)}
	return l.Check(l.Script.Rules...)
}

// describeJournal says what the journal holds, and what publish would do with it.
func (o *publishOptions) describeJournal(paths []string) (string, error) {
	if o.journal == "" {
		return "none: what is not in memory (" + formatBytes(int64(o.memory)) + ") any more is lost", nil
	}
	found, err := journal.Look(journal.Config{Dir: o.journal, RetainBytes: o.retain.bytes, RetainAge: o.retain.age})
	if err != nil {
		return "", journalError(o.journal, err)
	}
	if err := canWrite(existing(o.journal)); err != nil {
		return "", journalError(o.journal, err)
	}
	if found == nil || len(found.Lineage) == 0 {
		return o.journal + " is empty, and a first session would begin in it", nil
	}
	text := fmt.Sprintf("%s holds %s of %s, the last of them %s (%v, %s); the next would continue at seq %d", o.journal, countOf(found.Next-1, "tick"),
		plural(len(found.Lineage), "session"), found.Lineage.Current().ID, found.Mode, found.Source, found.Next)
	switch {
	case found.InUse:
		text += ", once the publisher that writes to it now has ended"
	case found.Torn > 0:
		text += fmt.Sprintf(", after its torn end of %s is cut and kept beside it", countOf(uint64(found.Torn), "byte"))
	}
	if n := len(found.Damage); n > 0 && !found.InUse {
		text += fmt.Sprintf("; it is damaged in %s, and what is missing is reported to subscribers: %v", plural(n, "place"), found.Damage[0])
	}
	if len(paths) > 0 && !o.appending {
		return "", errHoldsTicks(o.journal, found.Next)
	}
	return text, nil
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

// checkSocket returns an error if addr, the value of flag, is a unix socket that cannot be made.
func checkSocket(flag, addr string) error {
	path, ok := strings.CutPrefix(addr, unixPrefix)
	if !ok {
		return nil
	}
	info, err := os.Lstat(path)
	if err == nil && info.Mode()&os.ModeSocket == 0 {
		return fmt.Errorf("listen on %s: the file exists and is not a socket; choose another path with %s", addr, flag)
	}
	if err := canWrite(filepath.Dir(path)); err != nil {
		return fmt.Errorf("listen on %s: %w; choose another path with %s", addr, err, flag)
	}
	return nil
}
