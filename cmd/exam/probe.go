package exam

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"time"

	"tickfeed/codec"
	"tickfeed/feed"
)

// A probe is one case for a publisher: it starts the publisher, gives it ticks, and plays the subscribers. The function of
// the case runs in one goroutine and calls the methods, which end it by throw when something is wrong; each line has a
// goroutine of its own that judges the messages.
type probe struct {
	x      *Exam
	c      *Case
	ctx    context.Context
	cancel context.CancelCauseFunc // with the *Fault
	beat   time.Duration           // heartbeat interval that hellos ask for
	token  codec.Token

	journal, retain, tokenFile string

	book    book
	supply  supply
	proc    Process
	said    string   // by processes that have ended
	input   *os.File // of the process
	addr    string
	lines   []*line
	witness *line // sees everything
	reading sync.WaitGroup
	run     int // index of the first tick that was given to the present process

	mu   sync.Mutex
	late bool
}

const (
	probeBeat = 100 * time.Millisecond
	slowProbe = 500 * time.Millisecond // of a case that is repeated
)

// probe examines the publisher in one case.
func (x *Exam) probe(ctx context.Context, c *Case, dir string) (said string, fault *Fault, late bool) {
	p := &probe{x: x, c: c, beat: probeBeat}
	if x.slow {
		p.beat = slowProbe
	}
	p.ctx, p.cancel = context.WithCancelCause(ctx)
	defer p.cancel(nil)
	p.book.sessions, p.book.runs = make(map[feed.SessionID]map[uint64]bookEntry), make(map[feed.SessionID]int)
	if !p.lacks(Input) {
		p.book.supply = &p.supply
	}
	if !p.lacks(Journal) {
		p.journal = filepath.Join(dir, "journal")
		if err := os.Mkdir(p.journal, 0o700); err != nil {
			return "", &Fault{Text: err.Error()}, false
		}
	}
	fault = p.sit(dir)
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.said, fault, p.late
}

// A thrown ends the function of a case.
type thrown struct{ fault *Fault }

func (p *probe) throw(f *Fault) { panic(thrown{f}) }

func (p *probe) throwf(format string, args ...any) {
	p.throw(&Fault{Text: fmt.Sprintf(format, args...)})
}

// sit runs the case, and returns what is wrong.
func (p *probe) sit(dir string) (fault *Fault) {
	defer func() {
		for _, l := range p.lines {
			l.cut()
		}
		p.reading.Wait()
		p.kill()
	}()
	defer func() {
		switch r := recover().(type) {
		case nil:
		case thrown:
			fault = r.fault
			var first *Fault // a line may have found something before, of which this is a consequence
			if errors.As(context.Cause(p.ctx), &first) {
				fault = first
			}
		default:
			panic(r)
		}
	}()
	if slices.Contains(p.c.Needs, Tokens) {
		p.tokenFile, p.token = filepath.Join(dir, "token"), "s3cret-of-the-exam"
		if err := os.WriteFile(p.tokenFile, []byte(p.token), 0o600); err != nil {
			p.throwf("%v", err)
		}
	}
	p.c.probe(p)
	p.settle()
	return nil
}

// settle ends the lines in order, and judges what all of them saw.
func (p *probe) settle() {
	if err := context.Cause(p.ctx); err != nil {
		p.ended("the case is over", nil)
	}
	for _, l := range p.lines {
		l.mu.Lock()
		over, may, farewell := l.over, l.mayEnd, l.farewell()
		late := l.ofTime()
		l.mu.Unlock()
		switch {
		case over && !may:
			if late {
				p.isLate()
			}
			p.throwf("the publisher has ended %s: %s", l.name, farewell)
		case !over:
			l.leave()
		}
	}
	p.reading.Wait()
	if text := p.book.settle(); text != "" {
		p.throwf("%s", text)
	}
}

func (p *probe) lacks(a Ability) bool { return slices.Contains(p.x.Lacks, a) }

// isLate notes that the fault to come is one of time.
func (p *probe) isLate() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.late = true
}

// ended ends the case because its context has ended: a line has found a fault, or the time is over.
func (p *probe) ended(what string, recent []string) {
	var f *Fault
	err := context.Cause(p.ctx)
	if errors.As(err, &f) {
		p.throw(f)
	}
	if errors.Is(err, errLimit) {
		p.isLate()
	}
	p.throw(&Fault{Text: what + ": " + err.Error(), Before: recent})
}

// pause waits.
func (p *probe) pause(d time.Duration) {
	select {
	case <-time.After(d):
	case <-p.ctx.Done():
		p.ended(fmt.Sprintf("for %v nothing happens", d), nil)
	}
}

// open starts the publisher, lets the witness join, and gives the publisher the definitions.
func (p *probe) open() {
	p.start()
	h := codec.Hello{Start: codec.Start{Kind: codec.StartBeginning}}
	if p.lacks(History) {
		h.Start.Kind = codec.StartSnapshot
	}
	p.witness = p.join(h)
	p.begun(p.witness.welcome)
	p.define()
}

// begin is open, and n ticks that the witness has.
func (p *probe) begin(n int) {
	p.open()
	p.feed(n)
	p.all()
}

// reopen starts the publisher again; the witness resumes.
func (p *probe) reopen() {
	p.start()
	p.resume()
}

// resume lets the witness resume after a restart, and gives the publisher the definitions.
func (p *probe) resume() {
	old := p.witness
	p.witness = p.join(codec.Hello{Position: old.position(), HasState: old.whole()}, from(old))
	p.begun(p.witness.welcome)
	p.define()
}

// begun notes which session the present process has begun.
func (p *probe) begun(w *codec.Welcome) {
	p.book.mu.Lock()
	defer p.book.mu.Unlock()
	current := w.Lineage.Current()
	if _, known := p.book.runs[current.ID]; known {
		p.cancel(&Fault{Text: fmt.Sprintf("the publisher was started again, and continues session %v: every start of a writer begins a session", current.ID)})
		return
	}
	p.book.runs[current.ID] = p.run
}

// start starts the publisher and waits until it accepts connections.
func (p *probe) start() {
	addr, hold, err := freeAddr(firstPort, ports)
	if err != nil {
		p.throwf("%v", err)
	}
	defer hold.Close()
	in, out, err := os.Pipe()
	if err != nil {
		p.throwf("%v", err)
	}
	p.run = len(p.supply.ticks)
	p.proc, err = p.x.Program.Start(p.ctx, Orders{
		Listen: addr, Journal: p.journal, Retain: p.retain, TokenFile: p.tokenFile, Token: p.c.ID, Input: in,
	})
	in.Close()
	if err != nil {
		out.Close()
		p.throwf("%v", err)
	}
	p.input, p.addr = out, addr
	for {
		nc, err := net.DialTimeout("tcp", addr, dialTime)
		if err == nil {
			nc.Close()
			return
		}
		select {
		case <-p.proc.Done():
			how := p.proc.Err()
			if how == nil {
				how = errors.New("exit status 0")
			}
			p.throwf("the publisher has ended by itself before it accepted a connection on %s: %v", addr, how)
		case <-p.ctx.Done():
			p.ended("the publisher accepts no connection on "+addr, nil)
		case <-time.After(dialPoll):
		}
	}
}

const (
	dialTime = time.Second
	dialPoll = 5 * time.Millisecond
)

// ports below those that systems give to clients, so that nobody takes one between its choice and the start.
const (
	firstPort = 20_000
	ports     = 10_000
)

// freeAddr returns an address with one of n ports from first on, on which nobody listens. Until hold is closed, no other examination
// gets the address: hold has the same port of UDP, which only one process can have.
func freeAddr(first, n int) (addr string, hold io.Closer, err error) {
	var last error
	for range 100 {
		addr := net.JoinHostPort("127.0.0.1", strconv.Itoa(first+rand.IntN(n)))
		hold, err := net.ListenPacket("udp", addr)
		if err != nil {
			last = err
			continue
		}
		ln, err := net.Listen("tcp", addr)
		if err == nil {
			return addr, hold, ln.Close()
		}
		hold.Close()
		last = err
	}
	return "", nil, fmt.Errorf("no free port: %w", last)
}

// define gives the publisher the definitions of the instruments.
func (p *probe) define() {
	if !p.lacks(Input) {
		p.give(p.supply.definitions())
	}
}

// give writes lines to the standard input of the publisher.
func (p *probe) give(b []byte) {
	if deadline, ok := p.ctx.Deadline(); ok {
		_ = p.input.SetWriteDeadline(deadline)
	}
	if _, err := p.input.Write(b); err != nil {
		if errors.Is(err, os.ErrDeadlineExceeded) {
			p.isLate()
		}
		p.throwf("the publisher does not read its standard input: %v", err)
	}
}

// feed gives the publisher n ticks; one with a source of its own is waited for.
func (p *probe) feed(n int) {
	if !p.lacks(Input) {
		p.book.mu.Lock()
		b := p.supply.lines(n)
		p.book.mu.Unlock()
		p.give(b)
		return
	}
	_, ticks := p.witness.now()
	want := ticks + n
	p.witness.wait(fmt.Sprintf("%d more ticks of the publisher's own", n), func() bool { return p.witness.ticks >= want })
}

// feedHeavy gives the publisher n of the largest trades.
func (p *probe) feedHeavy(n int) {
	p.book.mu.Lock()
	b := p.supply.heavy(n)
	p.book.mu.Unlock()
	p.give(b)
}

// feedTicks gives the publisher ticks of one instrument.
func (p *probe) feedTicks(d *feed.Definition, ticks ...feed.Tick) {
	p.book.mu.Lock()
	var b []byte
	for _, t := range ticks {
		b = p.supply.line(b, t, d)
	}
	p.book.mu.Unlock()
	p.give(b)
}

// all waits until the witness has every tick that the publisher was given, and returns the next number.
func (p *probe) all() (next uint64) {
	p.has(p.witness)
	next, _ = p.witness.now()
	return next
}

// has waits until a line of everything has the last tick that the publisher was given.
func (p *probe) has(l *line) {
	if p.lacks(Input) {
		at, _ := p.witness.now()
		l.reach(at)
		return
	}
	last := len(p.supply.ticks) - 1
	l.wait(fmt.Sprintf("tick %d of those given to the publisher", last+1), func() bool { return l.last >= last && !l.due && l.begin == nil })
}

// endInput ends the standard input of the publisher.
func (p *probe) endInput() { _ = p.input.Close() }

// stop ends the publisher by SIGTERM, and waits for it.
func (p *probe) stop() {
	for _, l := range p.lines {
		l.mayEndNow()
	}
	p.proc.Stop()
	select {
	case <-p.proc.Done():
	case <-time.After(endTime):
		p.throwf("the publisher has not ended %v after SIGTERM, and was killed", endTime)
	case <-p.ctx.Done():
		p.ended("the publisher has not ended after SIGTERM", nil)
	}
	p.gone()
}

// kill ends the publisher by SIGKILL.
func (p *probe) kill() {
	if p.proc == nil {
		return
	}
	for _, l := range p.lines {
		l.mayEndNow()
	}
	p.proc.Kill()
	<-p.proc.Done()
	p.gone()
}

// gone waits until the lines to a publisher that has ended are over.
func (p *probe) gone() {
	p.said = p.proc.Said()
	_ = p.input.Close()
	p.proc = nil
	for _, l := range p.lines {
		select {
		case <-l.done:
		case <-time.After(writeTime): // a middle that holds it
			l.cut()
		}
	}
}

// copyJournal copies the journal to a directory beside it, or back. The publisher must not run.
func (p *probe) copyJournal(back bool) {
	from, to := p.journal, p.journal+"-copy"
	if back {
		from, to = to, from
	}
	if err := os.RemoveAll(to); err != nil {
		p.throwf("%v", err)
	}
	if err := os.CopyFS(to, os.DirFS(from)); err != nil {
		p.throwf("copy the journal: %v", err)
	}
}

// connect connects to the publisher.
func (p *probe) connect() net.Conn {
	nc, err := (&net.Dialer{Timeout: writeTime}).DialContext(p.ctx, "tcp", p.addr)
	if err != nil {
		if p.ctx.Err() != nil {
			p.ended("connect to the publisher", nil)
		}
		p.throwf("connect to the publisher: %v", err)
	}
	return nc
}

// knock connects, sends bytes as a client that has not said hello, and returns what the publisher says until it closes the
// connection, which it must do within the given time.
func (p *probe) knock(within time.Duration, b ...[]byte) (said []codec.Message) {
	nc := p.connect()
	defer nc.Close()
	stop := context.AfterFunc(p.ctx, func() { nc.Close() })
	defer stop()
	began := time.Now()
	_ = nc.SetDeadline(began.Add(within))
	_, _ = nc.Write(bytes.Join(b, nil)) // the publisher may close before it has read everything
	r := codec.NewReader(nc, 0)
	for {
		typ, raw, err := r.Next()
		var m codec.Message
		if err == nil {
			m, err = codec.Decode(raw)
		}
		switch {
		case p.ctx.Err() != nil:
			p.ended("the publisher has not closed the connection", nil)
		case errors.Is(err, os.ErrDeadlineExceeded):
			p.isLate()
			p.throwf("the publisher has not closed the connection after %v", within)
		case errors.Is(err, codec.ErrMalformed), errors.Is(err, codec.ErrUnknownMessage):
			p.throwf("the publisher sent bytes that PROTOCOL.md does not allow: %v", err)
		case errors.Is(err, io.EOF) || err != nil: // a reset, if it had not read everything
			return said
		case typ == codec.TypeWelcome:
			p.throwf("the publisher has welcomed the client; a refusal is expected, or the end of the connection")
		}
		said = append(said, m)
	}
}

// refused is knock for a hello that the publisher must refuse with one of codes and without retry.
func (p *probe) refused(within time.Duration, b []byte, codes ...codec.Code) {
	said := p.knock(within, b)
	if len(said) != 1 {
		p.throwf("the publisher said %d messages before it closed the connection, want a refusal", len(said))
	}
	r, ok := said[0].(*codec.Refusal)
	switch {
	case !ok:
		p.throwf("the publisher said %v, want a refusal", said[0].Type())
	case !slices.Contains(codes, r.Code):
		p.throwf("the refusal has code %v (%q), want %v", r.Code, r.Text, codes)
	case r.Retry:
		p.throwf("the refusal with code %v says that it makes sense to connect again (%q)", r.Code, r.Text)
	}
}

// ok checks that the publisher still serves.
func (p *probe) ok() {
	l := p.join(codec.Hello{Start: codec.Start{Kind: codec.StartLive}})
	l.leave()
}

func encoded(m codec.Message) []byte {
	b, err := codec.Append(nil, m)
	if err != nil {
		panic("exam: internal error: " + err.Error())
	}
	return b
}

// helloOf returns the bytes of a plain hello that change has changed.
func (p *probe) helloOf(change func(*codec.Hello)) []byte {
	h := codec.Hello{MinVersion: codec.Version, MaxVersion: codec.Version, Client: "tickfeed exam " + p.c.ID, Heartbeat: p.beat, Token: p.token}
	if change != nil {
		change(&h)
	}
	return encoded(&h)
}
