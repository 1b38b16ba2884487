// Package memfs is an in-memory file system for tests of a journal. It fails, fills up, loses power and holds
// damage as the test asks. It implements journal.FS.
package memfs

import (
	"errors"
	"fmt"
	"hash/maphash"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"time"

	"tickfeed/codec/recording"
	"tickfeed/publisher/journal"
)

// An FS maps names to files. Its zero value is empty, works, and has room. Change Fault, Delay and Room only
// while nothing else uses the FS.
type FS struct {
	// Fault, if not nil, is called before each operation and makes it fail by returning an error. A write that
	// fails has written the first n bytes. A sync that fails makes nothing durable, and the data it should have
	// made durable never becomes so. Fault must not use the FS.
	Fault func(op Op) (n int, err error)
	// Delay, if not nil, is called before each operation and returns how long the disk takes for it. Other
	// operations continue meanwhile. Delay must not use the FS.
	Delay func(op Op) time.Duration
	// Room, if not nil, is the number of bytes that still fit.
	Room *int64

	mu     sync.Mutex
	ops    int
	limit  int // limit of open descriptors; 0 for none
	open   int // number of open descriptors
	opened int // greatest value of open so far
	files  map[string]*file
	// entries is the durable contents of the directories.
	entries map[string]*file
	locked  map[string]*lock
}

// An Op is one operation on the file system.
type Op struct {
	Index int // number of the operation, from 0
	Kind  Kind
	Name  string
	Size  int // length of the bytes read or written
}

// A Kind is a kind of operation.
type Kind string

// The kinds of operations.
const (
	Create   Kind = "create"
	Link     Kind = "link" // gives a prepared file its name
	Write    Kind = "write"
	Sync     Kind = "sync"
	Close    Kind = "close" // of a file opened for writing
	Truncate Kind = "truncate"
	Remove   Kind = "remove"
	SyncDir  Kind = "sync directory"

	MkdirAll Kind = "make directory"
	Lock     Kind = "lock"
	Names    Kind = "list directory"
	Open     Kind = "open"
	ReadAt   Kind = "read"
	Size     Kind = "size"
	Check    Kind = "check"
	Reserve  Kind = "reserve"
	Prepare  Kind = "prepare"
)

// Changes reports whether the operation changes the contents of files or makes them durable.
func (k Kind) Changes() bool {
	switch k {
	case Create, Link, Write, Sync, Close, Truncate, Remove, SyncDir:
		return true
	}
	return false
}

// A file only grows, or is truncated.
type file struct {
	data    []byte
	durable int      // number of bytes synced
	lost    [][2]int // ranges of these bytes that a failed sync has lost

	reserved int64 // bytes beyond the end that are taken from Room
}

// sector is the unit, in bytes, in which a power cut keeps or loses unsynced data.
const sector = 512

// ErrLostPower is for a Fault to return from every operation after a power cut.
var ErrLostPower = errors.New("power lost")

// Ops returns the number of operations so far.
func (m *FS) Ops() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.ops
}

// begin counts an operation, waits as long as Delay says, and calls Fault. It returns with mu held.
func (m *FS) begin(kind Kind, name string, size int) (int, error) {
	m.mu.Lock()
	op := Op{Index: m.ops, Kind: kind, Name: name, Size: size}
	m.ops++
	if m.Delay != nil {
		if d := m.Delay(op); d > 0 {
			m.mu.Unlock()
			time.Sleep(d)
			m.mu.Lock()
		}
	}
	if m.files == nil {
		m.files, m.entries, m.locked = map[string]*file{}, map[string]*file{}, map[string]*lock{}
	}
	if m.Fault == nil {
		return 0, nil
	}
	n, err := m.Fault(op)
	if err != nil {
		err = &os.PathError{Op: string(kind), Path: name, Err: err}
	}
	return min(n, size), err
}

// Limit sets how many descriptors may be open at a time, like RLIMIT_NOFILE; 0 for no limit. At the limit,
// operations that take a descriptor fail with EMFILE.
func (m *FS) Limit(n int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.limit = n
}

// Descriptors returns how many descriptors are open, and the most that ever were.
func (m *FS) Descriptors() (now, most int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.open, m.opened
}

// takeLocked takes a descriptor.
func (m *FS) takeLocked(kind Kind, name string) error {
	if m.limit > 0 && m.open >= m.limit {
		return &os.PathError{Op: string(kind), Path: name, Err: syscall.EMFILE}
	}
	m.open++
	m.opened = max(m.opened, m.open)
	return nil
}

// A descriptor returns an error if it is closed twice, like *os.File.
type descriptor struct {
	m      *FS
	closed bool
}

func (d *descriptor) closeLocked() error {
	if d.closed {
		return os.ErrClosed
	}
	d.closed = true
	d.m.open--
	return nil
}

// Reserve implements journal.FS.
func (m *FS) Reserve() (io.Closer, error) {
	_, err := m.begin(Reserve, "", 0)
	defer m.mu.Unlock()
	if err == nil {
		err = m.takeLocked(Reserve, "")
	}
	if err != nil {
		return nil, err
	}
	return &reserved{descriptor{m: m}}, nil
}

type reserved struct{ descriptor }

func (r *reserved) Close() error {
	r.m.mu.Lock()
	defer r.m.mu.Unlock()
	return r.closeLocked()
}

// MkdirAll implements journal.FS.
func (m *FS) MkdirAll(dir string) error {
	_, err := m.begin(MkdirAll, dir, 0)
	defer m.mu.Unlock()
	return err
}

// Lock implements journal.FS.
func (m *FS) Lock(name string) (io.Closer, error) {
	_, err := m.begin(Lock, name, 0)
	defer m.mu.Unlock()
	if err == nil && m.locked[name] != nil {
		err = fmt.Errorf("lock %s: %w", name, journal.ErrLocked)
	}
	if err == nil {
		err = m.takeLocked(Lock, name)
	}
	if err != nil {
		return nil, err
	}
	l := &lock{descriptor{m: m}, name}
	m.locked[name] = l
	return l, nil
}

type lock struct {
	descriptor
	name string
}

func (l *lock) Close() error {
	l.m.mu.Lock()
	defer l.m.mu.Unlock()
	if l.m.locked[l.name] == l {
		delete(l.m.locked, l.name)
	}
	return l.closeLocked()
}

// Unlink removes a name, also of a lock, as rm does: an open file or lock remains usable.
func (m *FS) Unlink(name string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.files, name)
	delete(m.locked, name)
}

// Check implements journal.FS.
func (m *FS) Check(name string, f io.Closer) error {
	_, err := m.begin(Check, name, 0)
	defer m.mu.Unlock()
	if err != nil {
		return err
	}
	there := false
	switch f := f.(type) {
	case *writer:
		there = m.files[name] == f.f
	case *lock:
		there = m.locked[name] == f
	}
	if !there {
		return &os.PathError{Op: "check", Path: name, Err: os.ErrNotExist}
	}
	return nil
}

// Names implements journal.FS.
func (m *FS) Names(dir string) ([]string, error) {
	_, err := m.begin(Names, dir, 0)
	defer m.mu.Unlock()
	if err != nil {
		return nil, err
	}
	var names []string
	for name := range m.files {
		if filepath.Dir(name) == filepath.Clean(dir) {
			names = append(names, filepath.Base(name))
		}
	}
	slices.Sort(names)
	return names, nil
}

// Create implements journal.FS.
func (m *FS) Create(name string) (recording.File, error) {
	_, err := m.begin(Create, name, 0)
	defer m.mu.Unlock()
	if err == nil && m.files[name] != nil {
		err = &os.PathError{Op: "create", Path: name, Err: os.ErrExist}
	}
	if err == nil {
		err = m.takeLocked(Create, name)
	}
	if err != nil {
		return nil, err
	}
	f := &file{}
	m.files[name] = f
	return &writer{descriptor{m: m}, f, name}, nil
}

// Prepare implements journal.FS.
func (m *FS) Prepare(dir string, size int64) (journal.PreparedFile, error) {
	_, err := m.begin(Prepare, dir, 0)
	defer m.mu.Unlock()
	if err == nil && m.Room != nil && *m.Room < 2*size {
		err = &os.PathError{Op: "prepare", Path: dir, Err: syscall.ENOSPC}
	}
	if err == nil {
		err = m.takeLocked(Prepare, dir)
	}
	if err != nil {
		return nil, err
	}
	if m.Room != nil {
		*m.Room -= size
	}
	return &prepared{&writer{descriptor{m: m}, &file{reserved: size}, ""}}, nil
}

type prepared struct{ w *writer }

// Link implements journal.PreparedFile.
func (p *prepared) Link(name string) (recording.File, error) {
	m := p.w.m
	_, err := m.begin(Link, name, 0)
	defer m.mu.Unlock()
	if err == nil && m.files[name] != nil {
		err = &os.PathError{Op: "link", Path: name, Err: os.ErrExist}
	}
	if err != nil {
		return nil, err
	}
	p.w.name = name
	m.files[name] = p.w.f
	return p.w, nil
}

// Close implements journal.PreparedFile.
func (p *prepared) Close() error {
	p.w.m.mu.Lock()
	defer p.w.m.mu.Unlock()
	return p.w.releaseLocked()
}

type writer struct {
	descriptor
	f    *file
	name string
}

func (w *writer) Write(p []byte) (int, error) {
	n, err := w.m.begin(Write, w.name, len(p))
	defer w.m.mu.Unlock()
	if err == nil {
		n = len(p)
		if room := w.m.Room; room != nil && int64(n) > *room+w.f.reserved {
			n = int(*room + w.f.reserved)
			err = &os.PathError{Op: "write", Path: w.name, Err: syscall.ENOSPC}
		}
	}
	reserved := min(int64(n), w.f.reserved)
	w.f.reserved -= reserved
	if w.m.Room != nil {
		*w.m.Room -= int64(n) - reserved
	}
	w.f.data = append(w.f.data, p[:n]...)
	return n, err
}

func (w *writer) Sync() error {
	_, err := w.m.begin(Sync, w.name, 0)
	defer w.m.mu.Unlock()
	if err != nil && w.f.durable < len(w.f.data) {
		w.f.lost = append(w.f.lost, [2]int{w.f.durable, len(w.f.data)})
	}
	w.f.durable = len(w.f.data)
	return err
}

func (w *writer) Close() error {
	_, err := w.m.begin(Close, w.name, 0)
	defer w.m.mu.Unlock()
	return errors.Join(err, w.releaseLocked())
}

// releaseLocked closes w and frees what is reserved for it.
func (w *writer) releaseLocked() error {
	if w.m.Room != nil {
		*w.m.Room += w.f.reserved
	}
	w.f.reserved = 0
	return w.closeLocked()
}

// Open implements journal.FS.
func (m *FS) Open(name string) (journal.ReadFile, error) {
	_, err := m.begin(Open, name, 0)
	defer m.mu.Unlock()
	f := m.files[name]
	if err == nil && f == nil {
		err = &os.PathError{Op: "open", Path: name, Err: os.ErrNotExist}
	}
	if err == nil {
		err = m.takeLocked(Open, name)
	}
	if err != nil {
		return nil, err
	}
	return &reader{descriptor{m: m}, f, name}, nil
}

type reader struct {
	descriptor
	f    *file
	name string
}

func (r *reader) ReadAt(p []byte, at int64) (int, error) {
	_, err := r.m.begin(ReadAt, r.name, len(p))
	defer r.m.mu.Unlock()
	switch {
	case err != nil:
		return 0, err
	case r.closed:
		return 0, os.ErrClosed
	case at >= int64(len(r.f.data)):
		return 0, io.EOF
	}
	n := copy(p, r.f.data[at:])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

func (r *reader) Size() (int64, error) {
	_, err := r.m.begin(Size, r.name, 0)
	defer r.m.mu.Unlock()
	return int64(len(r.f.data)), err
}

func (r *reader) Close() error {
	r.m.mu.Lock()
	defer r.m.mu.Unlock()
	return r.closeLocked()
}

// Truncate implements journal.FS.
func (m *FS) Truncate(name string, size int64) error {
	_, err := m.begin(Truncate, name, 0)
	defer m.mu.Unlock()
	if err == nil {
		err = m.takeLocked(Truncate, name)
	}
	if err != nil {
		return err
	}
	m.open--
	f := m.files[name]
	if f == nil {
		return &os.PathError{Op: "truncate", Path: name, Err: os.ErrNotExist}
	}
	f.data = slices.Clone(f.data[:size])
	f.durable = len(f.data)
	return nil
}

// Remove implements journal.FS.
func (m *FS) Remove(name string) error {
	_, err := m.begin(Remove, name, 0)
	defer m.mu.Unlock()
	if err != nil {
		return err
	}
	if m.files[name] == nil {
		return &os.PathError{Op: "remove", Path: name, Err: os.ErrNotExist}
	}
	delete(m.files, name)
	return nil
}

// SyncDir implements journal.FS.
func (m *FS) SyncDir(dir string) error {
	_, err := m.begin(SyncDir, dir, 0)
	defer m.mu.Unlock()
	if err == nil {
		err = m.takeLocked(SyncDir, dir)
	}
	if err != nil {
		return err
	}
	m.open--
	m.entries = maps.Clone(m.files)
	return nil
}

// Bytes returns the contents of file name, which belong to the file, or nil if there is no such file.
func (m *FS) Bytes(name string) []byte {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.files[name] == nil {
		return nil
	}
	return m.files[name].data
}

// Put sets the contents of file name to data, durably. The FS keeps data.
func (m *FS) Put(name string, data []byte) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.files == nil {
		m.files, m.entries, m.locked = map[string]*file{}, map[string]*file{}, map[string]*lock{}
	}
	m.files[name] = &file{data: data, durable: len(data)}
	m.entries[name] = m.files[name]
}

// All returns the names of all files, sorted.
func (m *FS) All() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Sorted(maps.Keys(m.files))
}

var hashSeed = maphash.MakeSeed()

// Hash returns a hash of the names and contents of all files. It is valid only within this process.
func (m *FS) Hash() uint64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	var h maphash.Hash
	h.SetSeed(hashSeed)
	for _, name := range slices.Sorted(maps.Keys(m.files)) {
		h.WriteString(name)
		fmt.Fprint(&h, len(m.files[name].data), ":")
		h.Write(m.files[name].data)
	}
	return h.Sum64()
}

// Killed returns the files as a killed process leaves them: everything it wrote, and no lock.
func (m *FS) Killed() *FS {
	m.mu.Lock()
	defer m.mu.Unlock()
	out := &FS{}
	for name, f := range m.files {
		out.Put(name, slices.Clone(f.data))
	}
	return out
}

// Kill ends the process that uses the FS: its locks and descriptors are released. Unlike the files that Killed
// returns, those of the FS are as durable as before.
func (m *FS) Kill() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.locked, m.open = map[string]*lock{}, 0
}

// PowerCut returns the files as a power cut leaves them. It keeps each unsynced sector with probability keep; a
// sector that it does not keep reads as zeros or as garbage, or the file ends before it. A file that was
// created or removed without a sync of its directory exists with the same probability.
func (m *FS) PowerCut(r *rand.Rand, keep float64) *FS {
	m.mu.Lock()
	defer m.mu.Unlock()
	out := &FS{}
	names := map[string]bool{}
	for name := range m.files {
		names[name] = true
	}
	for name := range m.entries {
		names[name] = true
	}
	for _, name := range slices.Sorted(maps.Keys(names)) {
		now, then := m.files[name], m.entries[name]
		f := then
		if now != then && r.Float64() < keep {
			f = now
		}
		if f != nil {
			out.Put(name, f.afterPowerCut(r, keep))
		}
	}
	return out
}

func (f *file) afterPowerCut(r *rand.Rand, keep float64) []byte {
	data := slices.Clone(f.data)
	spoil := func(from, to int) {
		garbage := r.IntN(2) == 0
		for i := from; i < to; i++ {
			data[i] = 0
			if garbage {
				data[i] = byte(r.Uint32())
			}
		}
	}
	for _, l := range f.lost {
		spoil(l[0], l[1])
	}
	size := f.durable
	for at := f.durable; at < len(data); {
		end := min(len(data), (at/sector+1)*sector)
		if r.Float64() < keep {
			size = end
		} else {
			spoil(at, end)
			if r.IntN(4) == 0 {
				size = end // the length was written but not the bytes
			}
		}
		at = end
	}
	return data[:size]
}
