package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"sync/atomic"
	"syscall"
	"time"

	"tickfeed/codec/recording"
	"tickfeed/feed/nouns"
)

// A slowOutput is an output that may block: a pipe without a reader, a disk that hangs. It records what it waits for, so
// that the process can report that after the first signal.
type slowOutput struct {
	name   string
	writes atomic.Pointer[[]byte] // data being written; nil if none is
	saves  atomic.Bool            // written data is being synced
	opens  atomic.Bool            // the output is being opened
}

// watch adds the output name to those that the process may wait for.
func (p *program) watch(name string) *slowOutput {
	s := &slowOutput{name: name}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.slow = append(p.slow, s)
	return s
}

func (s *slowOutput) write(w io.Writer, b []byte) (int, error) {
	s.writes.Store(&b)
	defer s.writes.Store(nil)
	return w.Write(b)
}

func (s *slowOutput) save(do func() error) error {
	s.saves.Store(true)
	defer s.saves.Store(false)
	return do()
}

// create calls recording.Create, which waits for a reader if path is a pipe.
func (s *slowOutput) create(path string, replace bool) (*recording.Output, error) {
	s.opens.Store(true)
	defer s.opens.Store(false)
	return recording.Create(path, replace)
}

// waits describes what the output waits for; "" if nothing.
func (s *slowOutput) waits() string {
	if b := s.writes.Load(); b != nil {
		if n := bytes.Count(*b, []byte("\n")); n > 0 && s.name == standardOutputName {
			return fmt.Sprintf("%s to take %s", s.name, nouns.Count(uint64(n), "line"))
		}
		return fmt.Sprintf("%s to take %s", s.name, formatBytes(int64(len(*b))))
	}
	if s.opens.Load() {
		return s.name + " to be opened by a reader"
	}
	if s.saves.Load() {
		return s.name + " to be on the disk"
	}
	return ""
}

const standardOutputName = "standard output"

// A watchedFile is standard output, if it is an *os.File: a pipe, a terminal or a regular file.
type watchedFile struct {
	*os.File
	slow     *slowOutput
	terminal bool
}

// Write implements [io.Writer]. A closed terminal is treated as a pipe without a reader.
func (f *watchedFile) Write(p []byte) (int, error) {
	n, err := f.slow.write(f.File, p)
	if f.terminal && errors.Is(err, syscall.EIO) {
		err = &os.PathError{Op: "write", Path: f.Name(), Err: syscall.EPIPE}
	}
	return n, err
}

func (f *watchedFile) WriteString(s string) (int, error) { return f.Write([]byte(s)) }

// ReadFrom hides the method of *os.File, whose writes would not be watched.
func (f *watchedFile) ReadFrom(r io.Reader) (int64, error) {
	return io.Copy(struct{ io.Writer }{f}, r)
}

func (f *watchedFile) Sync() error { return f.slow.save(f.File.Sync) }

// A watchedOutput is a file that is being written.
type watchedOutput struct {
	recordingOutput
	slow *slowOutput
	paid func()
}

func (o *watchedOutput) Write(p []byte) (int, error) { return o.slow.write(o.recordingOutput, p) }
func (o *watchedOutput) Sync() error                 { return o.slow.save(o.recordingOutput.Sync) }
func (o *watchedOutput) Close() error                { return o.slow.save(o.recordingOutput.Close) }

func (o *watchedOutput) Commit() error {
	err := o.slow.save(o.recordingOutput.Commit)
	if err == nil {
		o.paid()
	}
	return err
}

func (o *watchedOutput) Discard() {
	o.recordingOutput.Discard()
	o.paid()
}

// waitNotice is how long after the first signal a process that has not ended reports what it waits for.
const waitNotice = 700 * time.Millisecond

// sayWaits reports what keeps the process from ending.
func (p *program) sayWaits() {
	p.mu.Lock()
	slow := append([]*slowOutput(nil), p.slow...)
	p.mu.Unlock()
	for _, s := range slow {
		if what := s.waits(); what != "" {
			p.notef("tickfeed: interrupted, and waiting for %s; Ctrl-C again ends at once, and lists what is not saved", what)
			return
		}
	}
	p.notef("tickfeed: interrupted, and still ending in order; Ctrl-C again ends at once")
}
