// Package memfs is a file system in memory for tests of a journal: it fails, fills up, loses
// power and holds damage as it is told. It implements journal.FS.
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

	"tickfeed/codec/recording"
	"tickfeed/publisher/journal"
)

// An FS holds files by their names. Its zero value is empty, works, and has room. Change
// Fault and Room only while nothing else uses it.
type FS struct {
	// Fault, if it is not nil, is asked before each operation and makes it fail by returning an
	// error. A write that fails has written the first n bytes; a sync that fails makes durable
	// nothing, and what it was to make durable never becomes so.
	Fault func(op Op) (n int, err error)
	// Room, if it is not nil, is how many more bytes fit.
	Room *int64

	mu    sync.Mutex
	ops   int
	files map[string]*file
	// entries is what the directories hold durably.
	entries map[string]*file
	locked  map[string]bool
}

// An Op is one operation on the file system.
type Op struct {
	Index int // operations are numbered from 0
	Kind  Kind
	Name  string
	Size  int // of a write
}

// A Kind is what an operation does.
type Kind string

// The kinds of operations that change something or wait for the disk. Others are not counted.
const (
	Create   Kind = "create"
	Write    Kind = "write"
	Sync     Kind = "sync"
	Close    Kind = "close"
	Truncate Kind = "truncate"
	Remove   Kind = "remove"
	SyncDir  Kind = "sync directory"
)

// A file only ever grows, or is cut.
type file struct {
	data    []byte
	durable int      // so many bytes were synced
	lost    [][2]int // of these, ranges that a failed sync has lost
}

// sector is the unit in which a power cut keeps or loses what was not synced, in bytes.
const sector = 512

// ErrLostPower is what every operation returns after a power cut, where Fault says so.
var ErrLostPower = errors.New("power lost")

// Ops is how many operations there were.
func (m *FS) Ops() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.ops
}

// op counts an operation and asks Fault. The lock is held.
func (m *FS) op(kind Kind, name string, size int) (int, error) {
	op := Op{Index: m.ops, Kind: kind, Name: name, Size: size}
	m.ops++
	if m.files == nil {
		m.files, m.entries = map[string]*file{}, map[string]*file{}
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

// MkdirAll implements journal.FS.
func (m *FS) MkdirAll(string) error { return nil }

// Lock implements journal.FS.
func (m *FS) Lock(name string) (io.Closer, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.locked[name] {
		return nil, fmt.Errorf("lock %s: %w", name, journal.ErrLocked)
	}
	if m.locked == nil {
		m.locked = map[string]bool{}
	}
	m.locked[name] = true
	return &unlock{m, name}, nil
}

type unlock struct {
	m    *FS
	name string
}

func (u *unlock) Close() error {
	u.m.mu.Lock()
	defer u.m.mu.Unlock()
	delete(u.m.locked, u.name)
	return nil
}

// Names implements journal.FS.
func (m *FS) Names(dir string) ([]string, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
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
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, err := m.op(Create, name, 0); err != nil {
		return nil, err
	}
	if m.files[name] != nil {
		return nil, &os.PathError{Op: "create", Path: name, Err: os.ErrExist}
	}
	f := &file{}
	m.files[name] = f
	return &writer{m, f, name}, nil
}

type writer struct {
	m    *FS
	f    *file
	name string
}

func (w *writer) Write(p []byte) (int, error) {
	w.m.mu.Lock()
	defer w.m.mu.Unlock()
	n, err := w.m.op(Write, w.name, len(p))
	if err == nil {
		n = len(p)
		if room := w.m.Room; room != nil && int64(n) > *room {
			n = int(*room)
			err = &os.PathError{Op: "write", Path: w.name, Err: syscall.ENOSPC}
		}
	}
	if w.m.Room != nil {
		*w.m.Room -= int64(n)
	}
	w.f.data = append(w.f.data, p[:n]...)
	return n, err
}

func (w *writer) Sync() error {
	w.m.mu.Lock()
	defer w.m.mu.Unlock()
	_, err := w.m.op(Sync, w.name, 0)
	if err != nil && w.f.durable < len(w.f.data) {
		w.f.lost = append(w.f.lost, [2]int{w.f.durable, len(w.f.data)})
	}
	w.f.durable = len(w.f.data)
	return err
}

func (w *writer) Close() error {
	w.m.mu.Lock()
	defer w.m.mu.Unlock()
	_, err := w.m.op(Close, w.name, 0)
	return err
}

// Open implements journal.FS.
func (m *FS) Open(name string) (journal.ReadFile, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	f := m.files[name]
	if f == nil {
		return nil, &os.PathError{Op: "open", Path: name, Err: os.ErrNotExist}
	}
	return &reader{m, f}, nil
}

type reader struct {
	m *FS
	f *file
}

func (r *reader) ReadAt(p []byte, at int64) (int, error) {
	r.m.mu.Lock()
	defer r.m.mu.Unlock()
	if at >= int64(len(r.f.data)) {
		return 0, io.EOF
	}
	n := copy(p, r.f.data[at:])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

func (r *reader) Size() (int64, error) {
	r.m.mu.Lock()
	defer r.m.mu.Unlock()
	return int64(len(r.f.data)), nil
}

func (r *reader) Close() error { return nil }

// Truncate implements journal.FS.
func (m *FS) Truncate(name string, size int64) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, err := m.op(Truncate, name, 0); err != nil {
		return err
	}
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
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, err := m.op(Remove, name, 0); err != nil {
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
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, err := m.op(SyncDir, dir, 0); err != nil {
		return err
	}
	m.entries = maps.Clone(m.files)
	return nil
}

// Bytes is what file name holds; they belong to the file. Nil if there is none.
func (m *FS) Bytes(name string) []byte {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.files[name] == nil {
		return nil
	}
	return m.files[name].data
}

// Put makes file name hold data, which it keeps, durably.
func (m *FS) Put(name string, data []byte) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.files == nil {
		m.files, m.entries = map[string]*file{}, map[string]*file{}
	}
	m.files[name] = &file{data: data, durable: len(data)}
	m.entries[name] = m.files[name]
}

// All are the names of all files, sorted.
func (m *FS) All() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Sorted(maps.Keys(m.files))
}

var hashSeed = maphash.MakeSeed()

// Hash tells apart, within a process, what files there are and what they hold.
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

// Killed is what a process that was killed leaves: all that it wrote, and no lock.
func (m *FS) Killed() *FS {
	m.mu.Lock()
	defer m.mu.Unlock()
	out := &FS{}
	for name, f := range m.files {
		out.Put(name, slices.Clone(f.data))
	}
	return out
}

// PowerCut is what a power cut leaves on disk. Of what was not synced it keeps each sector
// with the given chance; what it does not keep reads as zeros, or as garbage, or the file
// ends before it. A file that was made or removed, with its directory not yet synced, is
// there by the same chance.
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
				size = end // the length was written, the bytes were not
			}
		}
		at = end
	}
	return data[:size]
}
