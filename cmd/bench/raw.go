package bench

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"time"

	"tickfeed/codec/usage"

	"golang.org/x/sync/errgroup"
)

// This file measures what the machine itself can do: a sender and a receiver in separate processes, like
// publisher and subscribers, with only system calls between them.

// rawWrite is the size of the sender's writes in bytes.
const rawWrite = 256 << 10

// A sender is the child process that sends.
type sender struct{ ln net.Listener }

func (s *sender) ops() map[string]op {
	return map[string]op{
		"listen": handle(s.listen), "send": handle(s.send), "sendfile": handle(s.sendFiles), "ping": handle(s.ping), "answer": handle(s.answer),
	}
}

func (s *sender) listen(context.Context, nothing) (addr string, err error) {
	if s.ln, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		return "", err
	}
	return s.ln.Addr().String(), nil
}

// accept accepts n connections, which it closes when ctx ends.
func (s *sender) accept(ctx context.Context, n int) (conns []*net.TCPConn, done func(), err error) {
	hangUp := func() {
		for _, c := range conns {
			c.Close()
		}
	}
	for range n {
		c, err := s.ln.Accept()
		if err != nil {
			hangUp()
			return nil, nil, err
		}
		conns = append(conns, c.(*net.TCPConn))
	}
	stop := context.AfterFunc(ctx, hangUp)
	return conns, func() { stop(); hangUp() }, nil
}

type sendArgs struct {
	Sockets  int
	Duration time.Duration
}

type sendResult struct {
	Bytes   int64
	Elapsed time.Duration // until the receiver had everything
	CPU     time.Duration
}

// send writes to all sockets for a while, with the system's default socket buffers: the targets are ratios of
// this limit. (The publisher's connections have a send buffer of their own size, with which a single socket may
// be faster.) The receiver acknowledges the end of each with a byte.
func (s *sender) send(ctx context.Context, a sendArgs) (r sendResult, err error) {
	conns, done, err := s.accept(ctx, a.Sockets)
	if err != nil {
		return r, err
	}
	defer done()
	block := make([]byte, rawWrite)
	for i := range block {
		block[i] = byte(i * 7)
	}
	sent := make([]int64, len(conns))
	cpu, began := usage.CPU(), time.Now()
	var all errgroup.Group
	for i, c := range conns {
		all.Go(func() error {
			for time.Since(began) < a.Duration {
				n, err := c.Write(block)
				sent[i] += int64(n)
				if err != nil {
					return err
				}
			}
			return finish(c)
		})
	}
	err = all.Wait()
	r.Elapsed, r.CPU = time.Since(began), usage.CPU()-cpu
	for _, n := range sent {
		r.Bytes += n
	}
	return r, err
}

// finish signals the end to the receiver, and waits until the receiver has everything.
func finish(c *net.TCPConn) error {
	if err := c.CloseWrite(); err != nil {
		return err
	}
	_, err := io.ReadFull(c, make([]byte, 1))
	return err
}

// sendFiles sends files from the page cache: io.Copy from a file to a TCP connection uses sendfile(2) where the
// system has it.
func (s *sender) sendFiles(ctx context.Context, paths []string) (r sendResult, err error) {
	conns, done, err := s.accept(ctx, 1)
	if err != nil {
		return r, err
	}
	defer done()
	cpu, began := usage.CPU(), time.Now()
	for _, path := range paths {
		f, err := os.Open(path)
		if err != nil {
			return r, err
		}
		n, err := io.Copy(conns[0], f)
		r.Bytes += n
		if err := errors.Join(err, f.Close()); err != nil {
			return r, err
		}
	}
	err = finish(conns[0])
	r.Elapsed, r.CPU = time.Since(began), usage.CPU()-cpu
	return r, err
}

// pingSize is the size of a ping in bytes, that of a quote.
const pingSize = 26

// ping writes on one connection, at a given rate, the time at which each write was due.
func (s *sender) ping(ctx context.Context, a pacedArgs) (r pacedResult, err error) {
	conns, done, err := s.accept(ctx, 1)
	if err != nil {
		return r, err
	}
	defer done()
	c := conns[0]
	buf := make([]byte, pingSize)
	cpu, began := usage.CPU(), time.Now()
	r.Late, err = paced(ctx, a, func(due time.Time) error {
		binary.LittleEndian.PutUint64(buf, uint64(due.UnixNano()))
		r.Ticks++
		_, err := c.Write(buf)
		return err
	})
	r.Elapsed, r.CPU = time.Since(began), usage.CPU()-cpu
	return r, errors.Join(err, finish(c))
}

// answer answers one request of up to 64 bytes with size bytes.
func (s *sender) answer(ctx context.Context, size int64) (nothing, error) {
	conns, done, err := s.accept(ctx, 1)
	if err != nil {
		return nothing{}, err
	}
	defer done()
	c := conns[0]
	if _, err := c.Read(make([]byte, 64)); err != nil {
		return nothing{}, err
	}
	if _, err := c.Write(make([]byte, size)); err != nil {
		return nothing{}, err
	}
	return nothing{}, finish(c)
}

// A receiver is the child process that receives.
type receiver struct{}

func (r *receiver) ops() map[string]op {
	return map[string]op{"receive": handle(r.receive), "pong": handle(r.pong), "ask": handle(r.ask)}
}

type receiveArgs struct {
	Addr    string
	Sockets int
}

type receiveResult struct {
	Bytes int64
	CPU   time.Duration
}

func (r *receiver) receive(ctx context.Context, a receiveArgs) (res receiveResult, err error) {
	cpu := usage.CPU()
	got := make([]int64, a.Sockets)
	all, ctx := errgroup.WithContext(ctx)
	for i := range a.Sockets {
		c, err := dial(ctx, a.Addr)
		if err != nil {
			return res, errors.Join(err, all.Wait())
		}
		all.Go(func() error {
			defer c.Close()
			stop := context.AfterFunc(ctx, func() { c.SetDeadline(time.Unix(1, 0)) })
			defer stop()
			buf := make([]byte, rawWrite)
			for {
				n, err := c.Read(buf)
				got[i] += int64(n)
				if errors.Is(err, io.EOF) {
					_, err := c.Write([]byte{1})
					return err
				} else if err != nil {
					return err
				}
			}
		})
	}
	err = all.Wait()
	for _, n := range got {
		res.Bytes += n
	}
	res.CPU = usage.CPU() - cpu
	return res, err
}

func dial(ctx context.Context, addr string) (*net.TCPConn, error) {
	c, err := new(net.Dialer).DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	return c.(*net.TCPConn), nil
}

type pongResult struct {
	Latency latency
	CPU     time.Duration
}

// pong receives pings, with reads that block in the system if it permits that.
func (r *receiver) pong(ctx context.Context, addr string) (res pongResult, err error) {
	c, err := dial(ctx, addr)
	if err != nil {
		return res, err
	}
	defer c.Close()
	stop := context.AfterFunc(ctx, func() { c.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	var in io.Reader = c
	if f, err := c.File(); err == nil {
		defer f.Close()
		in = f // its reads block
	}
	h := newHistogram()
	cpu := usage.CPU()
	buf := make([]byte, 64<<10)
	have := 0
	for {
		n, err := in.Read(buf[have:])
		now := time.Now().UnixNano()
		have += n
		used := 0
		for ; have-used >= pingSize; used += pingSize {
			record(h, time.Duration(now-int64(binary.LittleEndian.Uint64(buf[used:]))))
		}
		have = copy(buf, buf[used:have])
		if errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return res, err
		}
	}
	res.Latency, res.CPU = latencyOf(h), usage.CPU()-cpu
	_, err = c.Write([]byte{1})
	return res, err
}

// ask connects, requests size bytes, and returns how long it took to receive them.
func (r *receiver) ask(ctx context.Context, a askArgs) (time.Duration, error) {
	began := time.Now()
	c, err := dial(ctx, a.Addr)
	if err != nil {
		return 0, err
	}
	defer c.Close()
	if _, err := c.Write([]byte{1}); err != nil {
		return 0, err
	}
	n, err := io.Copy(io.Discard, c)
	d := time.Since(began)
	if err != nil {
		return 0, err
	}
	if n != a.Size {
		return 0, fmt.Errorf("received %d bytes, want %d", n, a.Size)
	}
	_, err = c.Write([]byte{1})
	return d, err
}

type askArgs struct {
	Addr string
	Size int64
}
