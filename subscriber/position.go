package subscriber

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/gofrs/flock"

	"tickfeed/codec"
	"tickfeed/codec/filemode"
	"tickfeed/codec/syncdir"
)

// A positionFile keeps a position on disk. Each save replaces the whole file. If path is empty, it does nothing.
type positionFile struct {
	path    string
	output  func() error // Config.SyncOutput
	disk    disk
	saved   codec.Position // the position in the file
	savedAt time.Time      // when the last save ended
	failed  error          // the error of output; once set, nothing is saved
}

// A disk has the operations that replace a file durably. Tests record their order.
type disk interface {
	// Create creates a file, which must not exist, for writing.
	Create(name string) (diskFile, error)
	Rename(from, to string) error
	Remove(name string) error
	// SyncDir makes the list of files in a directory durable.
	SyncDir(dir string) error
}

type diskFile interface {
	io.WriteCloser
	Sync() error
}

const (
	saveEvery       = 100 * time.Millisecond
	maxPositionFile = 64 << 10 // holds a position with feed.MaxLineage sessions
	lockSuffix      = ".lock"
)

// ErrPositionLocked is returned by Run if another running subscriber uses the same position file.
var ErrPositionLocked = errors.New("in use by another subscriber")

// open finds and reads the file at path. It refuses a file that is not regular: reading it could block, and a save would
// replace it.
func (p *positionFile) open(path string) error {
	if path == "" {
		return nil
	}
	if real, err := filepath.EvalSymlinks(path); err == nil {
		path = real // so that a save replaces the file, and not the link
	}
	p.path = path
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		dir := filepath.Dir(path)
		if info, err := os.Stat(dir); err != nil || !info.IsDir() {
			return fmt.Errorf("position file %s: there is no directory %s", path, dir)
		}
		return nil
	case err != nil:
		return fmt.Errorf("position file: %w", err)
	case !info.Mode().IsRegular():
		return fmt.Errorf("position file %s is a %s: name a regular file, or one that does not exist yet", path, kindOf(info.Mode()))
	}
	p.saved, err = p.read()
	return err
}

func kindOf(m fs.FileMode) string {
	switch {
	case m.IsDir():
		return "directory"
	case m&fs.ModeNamedPipe != 0:
		return "named pipe"
	case m&fs.ModeSocket != 0:
		return "socket"
	}
	return "device"
}

// read returns the position in the file, or the zero position if there is no file.
func (p *positionFile) read() (held codec.Position, err error) {
	f, err := os.Open(p.path)
	if errors.Is(err, fs.ErrNotExist) {
		return held, nil
	}
	if err != nil {
		return held, fmt.Errorf("position file: %w", err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxPositionFile+1))
	if err != nil {
		return held, fmt.Errorf("position file: %w", err)
	}
	if err := parsePosition(data, &held); err != nil {
		return codec.Position{}, fmt.Errorf("position file %s is damaged (%w): restore it, or delete it to begin anew", p.path, err)
	}
	return held, nil
}

func parsePosition(data []byte, held *codec.Position) error {
	if len(data) > maxPositionFile {
		return fmt.Errorf("more than %d bytes", maxPositionFile)
	}
	if err := json.Unmarshal(data, held); err != nil {
		return err
	}
	if err := held.Lineage.Validate(); err != nil {
		return err
	}
	if held.Next < 1 || held.Next > codec.MaxSeq {
		return fmt.Errorf("next is %d, want 1 to %d", held.Next, codec.MaxSeq)
	}
	return nil
}

// lock locks the file for one Run. The lock is on a second file beside it, because a save replaces the position file. The
// operating system releases the lock when the process ends, even if it crashes.
func (p *positionFile) lock() (unlock func(), err error) {
	if p.path == "" {
		return func() {}, nil
	}
	name := p.path + lockSuffix
	l := flock.New(name, flock.SetPermissions(filemode.File()))
	switch ok, err := l.TryLock(); {
	case err != nil:
		return nil, fmt.Errorf("position file %s: lock %s: %w", p.path, name, err)
	case !ok:
		return nil, fmt.Errorf("position file %s is %w (which holds %s): stop it, or give each subscriber a file of its own", p.path, ErrPositionLocked, name)
	}
	now, err := p.read()
	if err == nil && (now.Next != p.saved.Next || !slices.Equal(now.Lineage, p.saved.Lineage)) {
		err = fmt.Errorf("position file %s has changed since this subscriber read it (next was %d and is %d): start again", p.path, p.saved.Next, now.Next)
	}
	if err != nil {
		return nil, errors.Join(err, l.Close())
	}
	_ = os.Remove(p.temporary()) // a killed process may have left it
	return func() { _ = l.Close() }, nil
}

// due returns when held must be saved, or the zero time if it need not be saved.
func (p *positionFile) due(held codec.Position) time.Time {
	if p.path == "" || !p.changed(held) {
		return time.Time{}
	}
	return p.savedAt.Add(saveEvery)
}

func (p *positionFile) changed(held codec.Position) bool {
	return len(held.Lineage) > 0 && (held.Next != p.saved.Next || held.Lineage.Current() != p.saved.Lineage.Current() || len(held.Lineage) != len(p.saved.Lineage))
}

// save writes held, if it has changed, after it has made the application's output durable. An *outputError repeats: after a
// failed sync it is unknown which output is durable, even if a later sync succeeds.
func (p *positionFile) save(held codec.Position) error {
	if p.failed != nil {
		return p.failed
	}
	if p.path == "" || !p.changed(held) {
		return nil
	}
	if p.output != nil {
		if err := p.output(); err != nil {
			p.failed = &outputError{err}
			return p.failed
		}
	}
	data, err := json.Marshal(held)
	if err != nil {
		return fmt.Errorf("position file: %w", err)
	}
	if err := p.replace(append(data, '\n')); err != nil {
		return fmt.Errorf("position file: %w", err)
	}
	p.saved = held
	return nil
}

// temporary returns the name of the file that replace writes before it renames it.
func (p *positionFile) temporary() string {
	return filepath.Join(filepath.Dir(p.path), "."+filepath.Base(p.path)+".tmp")
}

// replace replaces the content of the file with data. After a power cut the file has either the old content or all of data.
func (p *positionFile) replace(data []byte) error {
	temporary := p.temporary()
	f, err := p.disk.Create(temporary)
	if err != nil {
		return err
	}
	if _, err = f.Write(data); err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = p.disk.Rename(temporary, p.path)
	}
	if err != nil {
		return errors.Join(err, p.disk.Remove(temporary))
	}
	return p.disk.SyncDir(filepath.Dir(p.path))
}

// An outputError reports that the application's output could not be made durable. Run returns err.
type outputError struct{ err error }

func (e *outputError) Error() string { return e.err.Error() }

// osDisk is the disk of the operating system.
type osDisk struct{}

func (osDisk) Create(name string) (diskFile, error) {
	return os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, filemode.File())
}

func (osDisk) Rename(from, to string) error { return os.Rename(from, to) }

func (osDisk) Remove(name string) error { return os.Remove(name) }

func (osDisk) SyncDir(dir string) error { return syncdir.Sync(dir, (*os.File).Sync) }
