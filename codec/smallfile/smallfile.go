// Package smallfile reads files that are read again while they are in use, such as certificates and lists of users.
package smallfile

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
)

// Max is how long a file may be, in bytes.
const Max = 1 << 20

// Read returns what the file at path holds. The file must be a regular one, because it is read again: when says how often, for the
// error, such as "at each handshake". A file of more than Max bytes is an error.
func Read(path, when string) ([]byte, error) {
	info, err := os.Stat(path) // before Open, which waits if it is a pipe
	if err != nil {
		if e := (*fs.PathError)(nil); errors.As(err, &e) {
			e.Op = "open" // which the caller asked for
		}
		return nil, err
	}
	if info.IsDir() {
		return nil, fmt.Errorf("%s is a directory; want a file", path)
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a regular file: it is read again %s", path, when)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, Max+1))
	if err == nil && len(b) > Max {
		err = fmt.Errorf("%s is longer than %d bytes: is it the right file?", path, Max)
	}
	return b, err
}
