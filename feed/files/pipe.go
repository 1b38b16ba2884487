package files

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync/atomic"

	"tickfeed/feed"
	"tickfeed/feed/files/rawfile"
	"tickfeed/feed/scratch"
)

// A Pipe is standard input whose beginning was read to detect its format. Read returns all bytes from the start.
type Pipe struct {
	r    io.Reader
	read []byte // bytes of the beginning that Read has not returned
	head []byte // the beginning, unpacked
	err  error  // the error of r while it was read for the beginning

	copied atomic.Int64 // bytes that Spool has copied
}

// NewPipe reads as much of r as is needed to detect its format: a line of text, or otherwise up to rawfile.HeadSize bytes.
// If ctx ends before, NewPipe returns its error while a goroutine continues to read r.
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

// A glance reads the beginning of standard input in a separate goroutine, because such a read cannot be interrupted.
type glance struct {
	pipe *Pipe
	done chan struct{} // closed when pipe is set
}

func look(r io.Reader) *glance {
	l := &glance{done: make(chan struct{})}
	go func() {
		defer close(l.done)
		l.pipe = peek(r, unpacked)
	}()
	return l
}

// maxGlance bounds how many bytes of a pipe are read to detect its format. It exceeds rawfile.HeadSize, because unpacking may
// need more bytes.
const maxGlance = 256 << 10

// promptly is how many bytes of a pipe are looked at after each read.
const promptly = 4 << 10

// peek reads from r until the format can be detected; unpack is the function unpacked. Beyond promptly bytes it looks only at the end of
// a line of text, or at a part more than the last time, because each look begins anew: small reads would take quadratic time.
func peek(r io.Reader, unpack func([]byte) []byte) *Pipe {
	p := &Pipe{r: r}
	buf := make([]byte, 32<<10)
	seen, packed := 0, false // what the last look had
	for p.err == nil && len(p.read) < maxGlance {
		var n int
		n, p.err = r.Read(buf)
		p.read = append(p.read, buf[:n]...)
		line := !packed && bytes.IndexByte(buf[:n], '\n') >= 0
		if p.err == nil && len(p.read) < maxGlance && len(p.read) > promptly && len(p.read)-seen < seen/8 && !line {
			continue
		}
		p.head = unpack(p.read)
		seen, packed = len(p.read), !bytes.HasPrefix(p.read, p.head)
		if enough(p.head) {
			break
		}
	}
	return p
}

// unpacked returns the beginning of the unpacked data, given the beginning of the packed data.
func unpacked(packed []byte) []byte {
	f, err := rawfile.OpenReader(rawfile.StdinName, bytes.NewReader(packed), nil)
	if err != nil { // cut off, or a zip, whose directory is at its end
		return packed[:min(len(packed), rawfile.HeadSize)]
	}
	defer f.Close()
	head, _ := rawfile.HeadOf(f, rawfile.HeadSize)
	return head
}

// enough reports whether head is sufficient to detect the format.
func enough(head []byte) bool {
	if len(head) >= rawfile.HeadSize {
		return true
	}
	text := bytes.TrimLeft(head, blank)
	if len(text) == 0 {
		return false
	}
	if bytes.IndexByte(head, 0) < 0 { // text: a whole line that a recorder of captures did not write
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

// Head returns the beginning of the pipe's data, unpacked.
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

// MaxSpool bounds the bytes that Spool copies: a pipe may have no end.
const MaxSpool = 64 << 30

// Copied returns how many bytes Spool has copied so far. Other goroutines may call it.
func (p *Pipe) Copied() int64 { return p.copied.Load() }

// Spool copies the pipe's data, without unpacking it, to a new file in dir, which the caller must remove. The error is from reading,
// writing, or ctx, or says that there are more than MaxSpool bytes. If ctx ends, at most one read is still under way when Spool
// returns.
func (p *Pipe) Spool(ctx context.Context, dir string) (path string, err error) {
	f, err := os.CreateTemp(dir, "*.stdin")
	if err != nil {
		return "", err
	}
	ended := make(chan error, 1)
	go func() {
		ended <- errors.Join(p.copyTo(ctx, f, MaxSpool), f.Close())
	}()
	select {
	case err = <-ended:
	case <-ctx.Done():
		err = ctx.Err()
	}
	if err != nil {
		_ = os.Remove(f.Name()) // best effort: err is more important
		return "", err
	}
	return f.Name(), nil
}

// copyTo copies the pipe's data to w until ctx ends.
func (p *Pipe) copyTo(ctx context.Context, w io.Writer, most int64) error {
	buf := make([]byte, 64<<10)
	for {
		n, err := p.Read(buf)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if p.copied.Add(int64(n)) > most {
			return fmt.Errorf("more than %d GiB came, and there may be no end: write it to a file first", most>>30)
		}
		if _, err := w.Write(buf[:n]); err != nil {
			return err
		}
		if errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
	}
}

// A piped is a source that reads standard input. Its format is detected once input arrives.
type piped struct {
	cfg    Config
	stdin  io.Reader
	glance *glance
	source atomic.Pointer[Source] // nil until the format is known
	dir    *scratch.Dir           // of spool; nil if there is none
	spool  string                 // the temporary file with the input; empty if there is none
	err    error                  // the error of opening the input, which Next repeats
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
	n, err := p.source.Load().Next(ctx, batch)
	return n, rawfile.AsGiven(err, p.spool, rawfile.StdinName)
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
	if err := p.openPipe(ctx, s, pipe); err != nil {
		return rawfile.AsGiven(err, p.spool, rawfile.StdinName)
	}
	p.source.Store(s)
	return nil
}

// openPipe makes s the source of standard input, whose beginning has been read. If its format cannot be read sequentially, the input is
// first written to a temporary file.
func (p *piped) openPipe(ctx context.Context, s *Source, pipe *Pipe) (err error) {
	f, paths, stdin := p.cfg.Format, []string{rawfile.Stdin}, io.Reader(pipe)
	if bytes.HasPrefix(pipe.Head(), []byte("PK\x03\x04")) {
		if err := p.copy(ctx, pipe); err != nil {
			return err
		}
		if f, err = recognise(p.spool, f); err != nil {
			return err
		}
		paths, stdin = []string{p.spool}, nil
	}
	if f == "" && len(pipe.Head()) > 0 {
		var reason string
		if f, reason = RecogniseHead(pipe.Head()); f == "" {
			return &rawfile.FormatError{File: rawfile.StdinName, Reason: reason}
		}
	}
	if f == "" {
		f = CSV // the input is empty
	}
	switch d := dialectOf(f); {
	case p.spool != "":
	case d.notPiped != nil:
		return d.notPiped
	case d.spooled:
		if err := p.copy(ctx, pipe); err != nil {
			return err
		}
		paths, stdin = []string{p.spool}, nil
	}
	s.format = f
	if err := s.open(paths, stdin, &p.cfg); err != nil {
		return err
	}
	s.importer.Meter(&s.meter)
	return nil
}

// copy copies pipe to the temporary file spool.
func (p *piped) copy(ctx context.Context, pipe *Pipe) (err error) {
	if p.dir == nil {
		if p.dir, err = scratch.New("", "pipe"); err != nil {
			return err
		}
	}
	p.spool, err = pipe.Spool(ctx, p.dir.Path)
	return err
}

var errNoPair = &rawfile.FormatError{File: rawfile.StdinName, Reason: "LOBSTER files come in pairs; put it into a file with its own name"}

// Meter implements importer. It does nothing, because the source that reads the input counts.
func (p *piped) Meter(*rawfile.Meter) {}

// Close implements [feed.Source].
func (p *piped) Close() error {
	var err error
	if s := p.source.Load(); s != nil {
		err = s.Close()
	}
	err = errors.Join(err, p.dir.Remove())
	p.dir = nil
	if p.err == nil {
		p.err = os.ErrClosed
	}
	return err
}

// A patient source reads standard input in a separate goroutine, so that Next returns when its
// context ends, although a read cannot be interrupted.
type patient struct {
	importer
	asked bool // a call of the importer's Next is under way
	ticks []feed.Tick
	given chan given // result of that call
	err   error      // error of the last call that returned
	rest  []feed.Tick
}

// given is the result of a call of Next.
type given struct {
	n   int // number of ticks
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

// Close implements [feed.Source]. It does not wait for a read that is under way, and then does not close the importer.
func (p *patient) Close() error {
	if p.asked {
		return nil
	}
	return p.importer.Close()
}
