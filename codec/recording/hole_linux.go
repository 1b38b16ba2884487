package recording

import (
	"errors"
	"io"

	"golang.org/x/sys/unix"
)

// NextData returns the first range [from, to) of the file r at or after pos that is not a hole; from is size if there is none. What
// lies between, such as disk space that was reserved and not written, reads as zeros, with which no message begins. NextData returns
// pos and size, the length of the file, if that is not known.
func NextData(r io.ReaderAt, pos, size int64) (from, to int64) {
	s, ok := r.(io.Seeker) // a file, which is read with ReadAt only: its offset does not matter
	if !ok {
		return pos, size
	}
	at, err := s.Seek(pos, unix.SEEK_DATA)
	switch {
	case err == nil:
		from = min(max(at, pos), size)
		if at, err = s.Seek(from, unix.SEEK_HOLE); err != nil {
			return from, size
		}
		return from, min(max(at, from), size)
	case errors.Is(err, unix.ENXIO):
		if n, _ := r.ReadAt(make([]byte, 1), size-1); n == 1 { // the file was not cut meanwhile
			return size, size
		}
	}
	return pos, size
}
