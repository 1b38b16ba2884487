package journal

import (
	"time"

	"tickfeed/codec/recording"
)

// fastFile is how soon a file must be full for the next one to be prepared: made ahead, with disk space reserved for
// all of it, which makes writing cheaper. A slower feed would keep the space from others and gain little.
const fastFile = 10 * time.Second

// fastLocked reports whether the current file was filled within fastFile if the next one is created at created.
func (j *Journal) fastLocked(created int64) bool {
	s := j.current
	return s != nil && s.size >= j.cfg.SegmentSize && created-s.created < int64(fastFile)
}

// Prepare makes the next file ahead if the last one was filled fast, so that Rotate needs only to give it its name. It
// removes a prepared file that was not needed within ten seconds. Any goroutine may call Prepare. It waits for the
// disk. It leaves the next file for Rotate to create if the file system does not reserve space, or if too many files
// that ended wait for Settle: one less may wait while a file is prepared, so the number of open files stays bounded.
func (j *Journal) Prepare() {
	j.mu.Lock()
	recent := j.current != nil && j.cfg.Now()-j.current.created < int64(fastFile)
	wanted := recent && j.wanted && len(j.out) <= maxUnsettled
	if wanted {
		j.wanted = false // one attempt for each file
	}
	j.mu.Unlock()
	if !recent {
		j.dropPrepared()
	}
	if !wanted {
		return
	}
	f, err := j.fs.Prepare(j.cfg.Dir, j.cfg.SegmentSize)
	if err != nil {
		return
	}
	j.mu.Lock()
	if !j.closed {
		f, j.prepared = j.prepared, f
	}
	j.mu.Unlock()
	if f != nil {
		f.Close()
	}
}

// createFile creates the file at path, from the prepared one if there is one.
func (j *Journal) createFile(path string) (f recording.File, err error) {
	if p := j.takePrepared(); p != nil {
		if f, err = p.Link(path); err == nil {
			return f, nil
		}
		p.Close()
	}
	err = j.withDescriptors(func() (err error) {
		f, err = j.fs.Create(path)
		return err
	})
	return f, err
}

func (j *Journal) takePrepared() PreparedFile {
	j.mu.Lock()
	defer j.mu.Unlock()
	p := j.prepared
	j.prepared = nil
	return p
}

// dropPrepared removes the prepared file, if any, and so frees the disk space that is reserved for it.
func (j *Journal) dropPrepared() {
	if p := j.takePrepared(); p != nil {
		p.Close()
	}
}
