package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"time"

	"tickfeed/codec/recording"
	"tickfeed/codec/recording/text"
	"tickfeed/feed"
	"tickfeed/feed/files"
	"tickfeed/feed/files/rawfile"
	"tickfeed/feed/scratch"
)

// spoolBound says for help texts how much of a pipe is copied.
var spoolBound = fmt.Sprintf("at most %d GiB", files.MaxSpool>>30)

// pipesHelp says for help texts how commands that read recordings read pipes.
var pipesHelp = "A named pipe, and - for standard input, is first copied to a temporary file (TMPDIR), " + spoolBound + "."

// spoolPipes copies the named pipes among paths to temporary files, and standard input too if it is a recording or one of
// several files. In with, the temporary paths replace the pipes; spooled maps them to the names that the user gave. The
// caller must remove the files. accept refuses a pipe by its beginning, before any of it is copied. The error has its exit code.
func (p *program) spoolPipes(ctx context.Context, paths []string, accept accepter) (with []string, spooled map[string]string, err error) {
	spooled = make(map[string]string)
	defer func() {
		if err != nil {
			for spool := range spooled {
				_ = os.Remove(spool) // err is already set
			}
		}
	}()
	with, spool, err := p.standardInput(ctx, paths, len(paths) > 1, accept)
	if err != nil {
		return nil, nil, err
	}
	if spool != "" {
		spooled[spool] = rawfile.StdinName
	}
	with = slices.Clone(with)
	for i, path := range with {
		if !isNamedPipe(path) {
			continue
		}
		if with[i], err = p.spoolNamedPipe(ctx, path, accept); err != nil {
			return nil, nil, err
		}
		spooled[with[i]] = path
	}
	return with, spooled, nil
}

// spoolNamedPipe copies the named pipe at path to a temporary file.
func (p *program) spoolNamedPipe(ctx context.Context, path string, accept accepter) (string, error) {
	came := p.awaiting(oneLine(path))
	defer came()
	f, err := waitFor(ctx, func() (*os.File, error) { return os.Open(path) })
	if err != nil {
		return "", usage("%w", err)
	}
	defer f.Close()
	pipe, err := files.NewPipe(ctx, f)
	if err != nil {
		return "", errInterrupted
	}
	came()
	return p.spool(ctx, pipe, path, accept)
}

// An accepter returns an error for a pipe whose unpacked data begins with head, if that cannot be read. The error has its exit
// code, and names the pipe.
type accepter func(name string, head []byte) error

// acceptFiles returns an accepter of recordings and of the files that can be imported with o.
func acceptFiles(ctx context.Context, o *importOptions) accepter {
	return func(name string, head []byte) error {
		if recording.Recognise(head) || text.Recognise(head) {
			return nil
		}
		cfg, err := o.config()
		if err != nil {
			return err
		}
		if bytes.IndexByte(head, 0) >= 0 {
			if f, reason := files.RecogniseHead(head); f == "" && cfg.Format == "" && !bytes.HasPrefix(head, []byte("PK\x03\x04")) {
				return fileError(&rawfile.FormatError{File: name, Reason: reason}, true)
			}
			return nil
		}
		whole := bytes.LastIndexByte(head, '\n') + 1 // lines of a text
		if whole == 0 {
			return nil
		}
		src, err := files.Open([]string{rawfile.Stdin}, bytes.NewReader(head[:whole]), cfg)
		if err == nil {
			defer src.Close()
			_, err = src.Next(ctx, make([]feed.Tick, 1))
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		return fileError(rawfile.AsGiven(err, rawfile.StdinName, name), true)
	}
}

// spool copies pipe to a temporary file, with a progress line. name is the pipe's name for people.
func (p *program) spool(ctx context.Context, pipe *files.Pipe, name string, accept accepter) (string, error) {
	if len(bytes.TrimSpace(pipe.Head())) > 0 {
		if err := accept(name, pipe.Head()); err != nil {
			return "", err
		}
	}
	stop := p.progress(func() string { return fmt.Sprintf("copying %s: %s", oneLine(name), formatBytes(pipe.Copied())) })
	defer stop()
	dir, err := p.scratchDir()
	if err != nil {
		return "", fmt.Errorf("copy %s to a temporary file: %w", name, err)
	}
	path, err := pipe.Spool(ctx, dir)
	switch {
	case errors.Is(err, context.Canceled):
		return "", errInterrupted
	case err != nil:
		return "", fmt.Errorf("copy %s to a temporary file: %w", name, err)
	}
	return path, nil
}

// scratchDir returns the directory for the command's temporary files, which run removes.
func (p *program) scratchDir() (string, error) {
	if p.scratch == nil {
		d, err := scratch.New("", "pipe")
		if err != nil {
			return "", err
		}
		p.scratch = d
	}
	return p.scratch.Path, nil
}

// awaiting reports after a second that nothing has come from name, unless came is called before. came may be called more
// than once.
func (p *program) awaiting(name string) (came func()) {
	timer := time.AfterFunc(waitNotice, func() { p.sayAwaiting(name) })
	return func() { timer.Stop() }
}

func (p *program) sayAwaiting(name string) { p.notef("waiting for %s: nothing has come yet", name) }

// isNamedPipe reports whether the file at path is a named pipe.
func isNamedPipe(path string) bool {
	info, err := os.Stat(path)
	return path != rawfile.Stdin && err == nil && info.Mode()&os.ModeNamedPipe != 0
}

// standardInput inspects standard input if one of paths is "-". If the input is a recording, the text form of one, or
// always is set, it is copied to the temporary file at path, which replaces "-" in with and which the caller must remove,
// unless accept refuses it. The error has its exit code.
func (p *program) standardInput(ctx context.Context, paths []string, always bool, accept accepter) (with []string, path string, err error) {
	i := slices.Index(paths, rawfile.Stdin)
	if i < 0 {
		return paths, "", nil
	}
	if slices.Contains(paths[i+1:], rawfile.Stdin) {
		return nil, "", usage("standard input (-) can be read only once")
	}
	came := p.awaiting("standard input")
	pipe, err := files.NewPipe(ctx, p.stdin)
	came()
	if err != nil {
		return nil, "", errInterrupted
	}
	p.stdin = pipe
	if !always && !recording.Recognise(pipe.Head()) && !text.Recognise(pipe.Head()) {
		return paths, "", nil
	}
	if path, err = p.spool(ctx, pipe, rawfile.StdinName, accept); err != nil {
		return nil, "", err
	}
	with = slices.Clone(paths)
	with[i] = path
	return with, path, nil
}
