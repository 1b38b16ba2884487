package recording

import (
	"errors"
	"io"

	"golang.org/x/sys/unix"
)

// skipHole returns the offset of the first data of the file from pos on, or its size if there is none. What lies between, such as
// disk space that was reserved and not written, reads as zeros, with which no message begins. It returns pos if that is not known.
func (r *Reader) skipHole(pos int64) int64 {
	s, ok := r.r.(io.Seeker) // a file, which is read with ReadAt only: its offset does not matter
	if !ok {
		return pos
	}
	at, err := s.Seek(pos, unix.SEEK_DATA)
	switch {
	case err == nil:
		return min(max(at, pos), r.size)
	case errors.Is(err, unix.ENXIO):
		if n, _ := r.r.ReadAt(make([]byte, 1), r.size-1); n == 1 { // the file was not cut meanwhile
			return r.size
		}
	}
	return pos
}
