package files

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"sync/atomic"

	"tickfeed/feed"
	"tickfeed/feed/rawfile"
)

// A Pipe is standard input whose beginning was looked at. It reads from the start.
type Pipe struct {
	r    io.Reader
	read []byte // looked at, and not read yet
	head []byte // the beginning, unpacked
	err  error  // that ended the look
}

// NewPipe reads of r what is needed to recognise it: a line of text, or up to rawfile.HeadSize bytes
// of anything else. If ctx ends before, NewPipe returns its error, and r is still being read.
func NewPipe(ctx context.Context, r io.Reader) (*Pipe, error) {
	if p, ok := r.(*Pipe); ok {
		return p, nil
	}
	l := look(r)
	select {
	case <-l.done:
		return l.pipe, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// A glance is a look at standard input that goes on in a goroutine of its own, because nothing
// interrupts it.
type glance struct {
	pipe *Pipe
	done chan struct{} // closed when pipe is there
}

func look(r io.Reader) *glance {
	l := &glance{done: make(chan struct{})}
	go func() {
		defer close(l.done)
		l.pipe = peek(r)
	}()
	return l
}

// maxGlance bounds what is read of a pipe to recognise it, in bytes: more than rawfile.HeadSize if
// that much is needed to unpack it.
const maxGlance = 256 << 10

func peek(r io.Reader) *Pipe {
	p := &Pipe{r: r}
	buf := make([]byte, 32<<10)
	for p.err == nil && len(p.read) < maxGlance {
		var n int
		n, p.err = r.Read(buf)
		p.read = append(p.read, buf[:n]...)
		p.head = unpacked(p.read)
		if enough(p.head) {
			break
		}
	}
	return p
}

// unpacked is the beginning of what packed is the beginning of.
func unpacked(packed []byte) []byte {
	f, err := rawfile.OpenReader(rawfile.StdinName, bytes.NewReader(packed), nil)
	if err != nil { // cut off, or a zip, whose directory stands at its end
		return packed[:min(len(packed), rawfile.HeadSize)]
	}
	defer f.Close()
	head, _ := rawfile.HeadOf(f, rawfile.HeadSize)
	return head
}

// enough reports whether head says what follows.
func enough(head []byte) bool {
	if len(head) >= rawfile.HeadSize {
		return true
	}
	text := bytes.TrimLeft(head, blank)
	if len(text) == 0 {
		return false
	}
	if bytes.IndexByte(head, 0) < 0 { // text: a line that is not the recorder's
		for {
			line, rest, whole := bytes.Cut(text, []byte{'\n'})
			if !whole {
				return false
			}
			if !bytes.HasPrefix(line, []byte("wss://")) && !bytes.HasPrefix(line, []byte("ws://")) {
				return true
			}
			text = rest
		}
	}
	f, _ := RecogniseHead(head)
	return f != ""
}

// Head is the beginning of what the pipe gives, unpacked.
func (p *Pipe) Head() []byte { return p.head }

// Read implements [io.Reader].
func (p *Pipe) Read(b []byte) (int, error) {
	if len(p.read) > 0 {
		n := copy(b, p.read)
		p.read = p.read[n:]
		return n, nil
	}
	if p.err != nil {
		return 0, p.err
	}
	return p.r.Read(b)
}

// Spool writes what the pipe gives, as it is, to a new temporary file, which is the caller's to
// remove. The error is that of reading, writing, or ctx's.
func (p *Pipe) Spool(ctx context.Context) (path string, err error) {
	f, err := os.CreateTemp("", "tickfeed-*.stdin")
	if err != nil {
		return "", err
	}
	ended := make(chan error, 1)
	go func() {
		_, copyErr := io.Copy(f, p)
		ended <- errors.Join(copyErr, f.Close())
	}()
	select {
	case err = <-ended:
	case <-ctx.Done():
		err = ctx.Err()
	}
	if err != nil {
		_ = os.Remove(f.Name()) // the error before it is the one that counts
		return "", err
	}
	return f.Name(), nil
}

// A piped is standard input as a source: its format is known once something has come.
type piped struct {
	cfg    Config
	stdin  io.Reader
	glance *glance
	source atomic.Pointer[Source] // nil until the format is known
	spool  string                 // the file that it was written to; empty if there is none
	err    error                  // of opening; repeats
}

// Next implements [feed.Source]. It may be called again after ctx has ended.
func (p *piped) Next(ctx context.Context, batch []feed.Tick) (int, error) {
	if p.err == nil && p.source.Load() == nil {
		if err := p.open(ctx); err != nil {
			if err != ctx.Err() {
				p.err = err
			}
			return 0, err
		}
	}
	if p.err != nil {
		return 0, p.err
	}
	return p.source.Load().Next(ctx, batch)
}

func (p *piped) open(ctx context.Context) error {
	if p.glance == nil {
		p.glance = look(p.stdin)
	}
	select {
	case <-p.glance.done:
	case <-ctx.Done():
		return ctx.Err()
	}
	pipe := p.glance.pipe
	s := &Source{}
	if err := s.openPipe(ctx, pipe, p.cfg, &p.spool); err != nil {
		return err
	}
	p.source.Store(s)
	return nil
}

// openPipe opens standard input, of which the beginning is known. A format that is not read from
// front to back is written to a file first, whose path becomes spool.
func (s *Source) openPipe(ctx context.Context, pipe *Pipe, cfg Config, spool *string) (err error) {
	f := cfg.Format
	if bytes.HasPrefix(pipe.Head(), []byte("PK\x03\x04")) {
		if *spool, err = pipe.Spool(ctx); err == nil {
			f, err = recognise(*spool, f)
		}
		if err != nil {
			return err
		}
		s.format = f
		if err := s.open([]string{*spool}, nil, &cfg); err != nil {
			return err
		}
		s.importer.Meter(&s.meter)
		return nil
	}
	if f == "" && len(pipe.Head()) > 0 {
		var reason string
		if f, reason = RecogniseHead(pipe.Head()); f == "" {
			return &rawfile.FormatError{File: rawfile.StdinName, Reason: reason}
		}
	}
	if f == "" {
		f = CSV // of nothing
	}
	paths, stdin := []string{rawfile.Stdin}, io.Reader(pipe)
	switch f {
	case LOBSTER:
		return errNoPair
	case LEAN, Parquet:
		if *spool, err = pipe.Spool(ctx); err != nil {
			return err
		}
		paths, stdin = []string{*spool}, nil
	}
	s.format = f
	if err := s.open(paths, stdin, &cfg); err != nil {
		return err
	}
	s.importer.Meter(&s.meter)
	return nil
}

var errNoPair = &rawfile.FormatError{File: rawfile.StdinName, Reason: "LOBSTER files come in pairs; put it into a file with its own name"}

// Meter implements importer: the source that reads counts.
func (p *piped) Meter(*rawfile.Meter) {}

// Close implements [feed.Source].
func (p *piped) Close() error {
	var err error
	if s := p.source.Load(); s != nil {
		err = s.Close()
	}
	if p.spool != "" {
		err = errors.Join(err, os.Remove(p.spool))
		p.spool = ""
	}
	if p.err == nil {
		p.err = os.ErrClosed
	}
	return err
}

// A patient source reads standard input in a goroutine of its own, so that Next ends with its
// context though nothing interrupts a read.
type patient struct {
	importer
	asked bool
	ticks []feed.Tick
	given chan given // by the Next that was asked
	err   error      // of the last Next that gave something
	rest  []feed.Tick
}

// given is what a Next returned.
type given struct {
	n   int // ticks
	err error
}

// Next implements [feed.Source].
func (p *patient) Next(ctx context.Context, batch []feed.Tick) (int, error) {
	if err := ctx.Err(); err != nil || len(batch) == 0 {
		return 0, err
	}
	if len(p.rest) == 0 {
		if p.err != nil {
			return 0, p.err
		}
		if !p.asked {
			if p.given == nil {
				p.given, p.ticks = make(chan given, 1), make([]feed.Tick, 1024)
			}
			p.asked = true
			go func() {
				n, err := p.importer.Next(context.Background(), p.ticks)
				p.given <- given{n, err}
			}()
		}
		select {
		case g := <-p.given:
			p.asked, p.rest, p.err = false, p.ticks[:g.n], g.err
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	}
	n := copy(batch, p.rest)
	if p.rest = p.rest[n:]; len(p.rest) > 0 || n > 0 {
		return n, nil
	}
	return 0, p.err
}

// Close implements [feed.Source]. A read that is under way is left to itself.
func (p *patient) Close() error {
	if p.asked {
		return nil
	}
	return p.importer.Close()
}
