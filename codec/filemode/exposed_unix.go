//go:build unix

package filemode

import (
	"fmt"
	"os"
	"syscall"
)

// Exposed returns a warning, which says what to do, if the file at path holds a secret and users of this machine can read it who
// need not. It returns nil for a pipe, and for a file that cannot be found: opening it reports that. A file of another user that only
// its group can read is not exposed, since this process, which is not root, reads it as a member of that group.
func Exposed(path string) error {
	info, err := os.Stat(path)
	if err != nil || !info.Mode().IsRegular() {
		return nil
	}
	uid, mine := os.Geteuid(), true
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		mine = uid == 0 || int(st.Uid) == uid
	}
	mode := info.Mode().Perm()
	switch {
	case mode&0o004 != 0 && !mine:
		return fmt.Errorf("%s has mode %04o, so that every user of this machine can read it, and belongs to another user: make it a file of this user, and chmod 600 %[1]s", path, mode)
	case mode&0o004 != 0:
		return fmt.Errorf("%s has mode %04o, so that every user of this machine can read it: chmod 600 %[1]s", path, mode)
	case mode&0o040 != 0 && mine:
		return fmt.Errorf("%s has mode %04o, so that its group can read it: chmod 600 %[1]s", path, mode)
	}
	return nil
}
