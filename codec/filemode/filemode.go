// Package filemode holds the mode of new files with ticks or positions: journals, recordings, exports, ledgers,
// reports, position files. Like the umask, which still applies, the mode belongs to the process. Exposed warns about files with
// secrets whose mode lets others read them.
package filemode

import (
	"fmt"
	"io/fs"
	"strconv"
	"sync/atomic"
)

// Default is the mode of files unless Set is called: only the owner may read and write them.
const Default fs.FileMode = 0o600

var mode atomic.Uint32 // 0 for Default

// Set sets the mode of files created from now on. The mode must let the owner read and write, and may contain
// permission bits only.
func Set(m fs.FileMode) error {
	if m&^0o777 != 0 || m&0o600 != 0o600 {
		return fmt.Errorf("the mode of files must be from 0600 to 0777 and let the owner read and write, got %04o", uint32(m))
	}
	mode.Store(uint32(m))
	return nil
}

// Parse parses a mode in octal, such as 0640 or 640.
func Parse(s string) (fs.FileMode, error) {
	m, err := strconv.ParseUint(s, 8, 32)
	if err != nil {
		return 0, fmt.Errorf("the mode of files must be octal digits such as 0640, got %q", s)
	}
	return fs.FileMode(m), nil
}

// File returns the mode of new files.
func File() fs.FileMode {
	if m := mode.Load(); m != 0 {
		return fs.FileMode(m)
	}
	return Default
}

// Dir returns the mode of new directories: users who may read the files may also find them.
func Dir() fs.FileMode {
	m := File()
	return m | m&0o444>>2
}
