package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"tickfeed/cmd/child"
	"tickfeed/cmd/exam"
	"tickfeed/codec/lab"
	"tickfeed/feed/scratch"
)

// Placeholders in the command of a lab's publisher.
const (
	listenPlaceholder  = "{listen}"
	journalPlaceholder = "{journal}"
)

// A labPublisher is the publisher that lab runs: a command, in a process group of its own. It is a lab.Publisher; those methods
// are called one at a time.
type labPublisher struct {
	p       *program
	args    []string     // without placeholders
	addr    string       // where it listens
	journal string       // directory; empty if the lab does not know it
	temp    *scratch.Dir // removed at the end; nil for none
	kept    []string     // journals that were left behind
	died    func(error)

	mu    sync.Mutex
	child *child.Process // nil if it does not run
	ended chan struct{}  // closed when child has ended and child is nil
}

// Bounds of a lab's publisher.
const (
	publisherStarts = 20 * time.Second // until it accepts connections
	publisherStops  = 20 * time.Second // until it has ended, after it was asked to
	publisherPolls  = 10 * time.Millisecond
)

// newLabPublisher prepares the command args. upstream is where it listens, empty for an address of the lab's choice. died is
// called if the publisher ends by itself; with nil for exit code 0.
func newLabPublisher(p *program, args []string, upstream, journal string, died func(error)) (*labPublisher, error) {
	x := &labPublisher{p: p, args: slices.Clone(args), addr: upstream, journal: journal, died: died}
	switch {
	case upstream == "" && !hasPlaceholder(args, listenPlaceholder):
		return nil, usage("where does the publisher listen? write %s in its command, as in tickfeed publish --listen %s, or name its address with --upstream", listenPlaceholder, listenPlaceholder)
	case journal != "" && !hasPlaceholder(args, journalPlaceholder):
		return nil, usage("--journal is the directory that takes the place of %s in the command of the publisher, which lacks it", journalPlaceholder)
	}
	if err := exam.Unknown(args, []exam.Placeholder{{Name: listenPlaceholder}, {Name: journalPlaceholder}}); err != nil {
		return nil, usage("%w", err)
	}
	if _, err := exec.LookPath(args[0]); err != nil {
		return nil, unstartable(args[0], err)
	}
	if upstream == "" {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		x.addr = ln.Addr().String()
		ln.Close()
	}
	if hasPlaceholder(args, journalPlaceholder) && journal == "" {
		var err error
		if x.temp, err = scratch.New("", "lab"); err != nil {
			return nil, err
		}
		x.journal = filepath.Join(x.temp.Path, "journal")
	}
	for i := range x.args {
		x.args[i] = strings.NewReplacer(listenPlaceholder, x.addr, journalPlaceholder, x.journal).Replace(x.args[i])
	}
	return x, nil
}

// hasPlaceholder reports whether placeholder is in one of the arguments of a command.
func hasPlaceholder(args []string, placeholder string) bool {
	return slices.ContainsFunc(args, func(a string) bool { return strings.Contains(a, placeholder) })
}

// labPublisher prepares the publisher that o asks for, and gives it to l. It returns nil if o asks for none. end ends the lab.
func (p *program) labPublisher(ctx context.Context, o *labOptions, l *lab.Lab, end context.CancelCauseFunc) (*labPublisher, error) {
	if len(o.command) == 0 {
		if o.journal != "" {
			return nil, usage("--journal is that of a publisher that the lab starts: give its command after --")
		}
		return nil, nil
	}
	x, err := newLabPublisher(p, o.command, o.upstream, o.journal, func(err error) {
		p.notef("the publisher has ended by itself")
		for deadline := time.Now().Add(publisherStops); l.Connections() > 0 && time.Now().Before(deadline) && ctx.Err() == nil; {
			time.Sleep(publisherPolls) // what it has sent is on its way
		}
		end(&publisherEnded{err})
	})
	if err != nil {
		return nil, err
	}
	if x.journal == "" {
		p.notef("the command of the publisher has no %s: without a journal, it begins another session whenever a rule starts it again", journalPlaceholder)
	}
	o.upstream, l.Publisher = x.addr, x
	return x, nil
}

// A publisherEnded is why a lab ends: its publisher has ended by itself.
type publisherEnded struct{ err error }

func (e *publisherEnded) Error() string {
	if e.err == nil {
		return "the publisher has ended"
	}
	return fmt.Sprintf("the publisher has ended: %v; what it printed is above", e.err)
}

func (e *publisherEnded) Unwrap() error { return e.err }

// begin starts the publisher for the first time.
func (x *labPublisher) begin(ctx context.Context) error {
	if x == nil {
		return nil
	}
	x.p.notef("starting %s", strings.Join(x.args, " "))
	return x.Start(ctx, lab.SameJournal)
}

// Can implements lab.Publisher.
func (x *labPublisher) Can(f lab.Fault) error {
	switch f.Verb {
	case lab.CopyJournal, lab.FillDisk:
	case lab.Restart:
		if lab.Journal(f.How) == lab.SameJournal {
			return child.CanSignal()
		}
	case lab.Stop, lab.Freeze:
		return child.CanSignal()
	case lab.Kill:
		return nil
	default:
		return errors.New("the lab cannot do it to a publisher that it runs by a command")
	}
	if x.journal == "" {
		return fmt.Errorf("the lab does not know the journal: write %s in the command of the publisher, as in tickfeed publish --journal %s", journalPlaceholder, journalPlaceholder)
	}
	if f.Verb == lab.FillDisk {
		return canFill()
	}
	return child.CanSignal()
}

// Start implements lab.Publisher.
func (x *labPublisher) Start(ctx context.Context, over lab.Journal) error {
	switch over {
	case lab.CopiedJournal:
		if err := x.leaveJournal(); err != nil {
			return err
		}
		if err := copyFiles(x.copied(), x.journal); err != nil {
			return err
		}
	case lab.NoJournal:
		if err := x.leaveJournal(); err != nil {
			return err
		}
	}
	ended := make(chan struct{})
	c, err := child.Start(exec.Command(x.args[0], x.args[1:]...), child.Options{Group: true, Output: x.pass})
	if err != nil {
		return unstartable(x.args[0], err)
	}
	x.mu.Lock()
	x.child, x.ended = c, ended
	x.mu.Unlock()
	go x.watch(c, ended)
	all := ctx // until the lab ends
	ctx, cancel := context.WithTimeout(all, publisherStarts)
	defer cancel()
	for {
		if nc, err := dial(ctx, x.addr); err == nil {
			nc.Close()
			return nil
		}
		select {
		case <-ended:
			return fmt.Errorf("%s has ended, and has not listened on %s: what it printed is above", x.args[0], x.addr)
		case <-ctx.Done():
			select {
			case <-ended: // which has cancelled ctx
				continue
			default:
			}
			_ = x.Kill()
			if all.Err() != nil {
				return fmt.Errorf("%s did not listen on %s before the lab ended", x.args[0], x.addr)
			}
			return fmt.Errorf("%s does not listen on %s after %v", x.args[0], x.addr, publisherStarts)
		case <-time.After(publisherPolls):
		}
	}
}

// pass prints what the publisher prints until it has ended.
func (x *labPublisher) pass(out io.Reader) {
	lines := bufio.NewReader(out)
	for {
		line, err := lines.ReadSlice('\n') // a very long line comes in parts
		if len(line) > 0 {
			_, _ = x.p.stderr.Write(line)
		}
		if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
			return
		}
	}
}

// watch waits until c has ended, and calls died if it did so by itself.
func (x *labPublisher) watch(c *child.Process, ended chan struct{}) {
	<-c.Done()
	x.mu.Lock()
	itself := x.child == c
	if itself {
		x.child = nil
	}
	x.mu.Unlock()
	close(ended)
	if itself {
		x.died(c.Err())
	}
}

// take takes the process away, so that its end is no surprise. It returns nil if there is none.
func (x *labPublisher) take() (*child.Process, chan struct{}) {
	x.mu.Lock()
	defer x.mu.Unlock()
	c := x.child
	x.child = nil
	return c, x.ended
}

// Kill implements lab.Publisher.
func (x *labPublisher) Kill() error {
	c, ended := x.take()
	if c == nil {
		return nil
	}
	if err := c.Kill(); err != nil {
		return err
	}
	<-ended
	return nil
}

// Stop implements lab.Publisher.
func (x *labPublisher) Stop() error {
	c, ended := x.take()
	if c == nil {
		return nil
	}
	err := c.Stop(publisherStops)
	<-ended
	return err
}

// running calls f with the process, if there is one.
func (x *labPublisher) running(f func(*child.Process) error) error {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.child == nil {
		return nil
	}
	return f(x.child)
}

// Freeze implements lab.Publisher.
func (x *labPublisher) Freeze() error { return x.running((*child.Process).Freeze) }

// Thaw implements lab.Publisher.
func (x *labPublisher) Thaw() error { return x.running((*child.Process).Thaw) }

// Fill implements lab.Publisher.
func (x *labPublisher) Fill() error { return x.running(fillDisk) }

// Empty implements lab.Publisher.
func (x *labPublisher) Empty() error { return x.running(emptyDisk) }

func (x *labPublisher) copied() string { return x.journal + ".copy" }

// Copy implements lab.Publisher.
func (x *labPublisher) Copy() error {
	if err := os.RemoveAll(x.copied()); err != nil {
		return err
	}
	return copyFiles(x.journal, x.copied())
}

// leaveJournal renames the journal, so that the publisher finds none, and nothing is lost.
func (x *labPublisher) leaveJournal() error {
	for n := 1; ; n++ {
		name := fmt.Sprintf("%s.%d", x.journal, n)
		if _, err := os.Lstat(name); err == nil {
			continue
		}
		err := os.Rename(x.journal, name)
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err == nil {
			x.kept = append(x.kept, name)
		}
		return err
	}
}

// Close stops the publisher, and says which journals are left.
func (x *labPublisher) Close() error {
	if x == nil {
		return nil
	}
	err := x.Stop()
	if x.temp != nil {
		return errors.Join(err, x.temp.Remove())
	}
	if len(x.kept) > 0 {
		x.p.notef("journals that the publisher has left: %s", strings.Join(x.kept, ", "))
	}
	return err
}

// copyFiles copies the files of directory from, which may change meanwhile, to a new directory to.
func copyFiles(from, to string) error {
	entries, err := os.ReadDir(from)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(to, 0o700); err != nil {
		return err
	}
	for _, e := range entries {
		if !e.Type().IsRegular() {
			continue
		}
		err := copyFile(filepath.Join(from, e.Name()), filepath.Join(to, e.Name()))
		if err != nil && !errors.Is(err, fs.ErrNotExist) { // retention may have removed it
			return err
		}
	}
	return nil
}

func copyFile(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}
