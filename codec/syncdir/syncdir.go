// Package syncdir makes durable which files a directory holds: a file that was made, renamed or removed is so after a power cut
// only once its directory was synced.
package syncdir

import (
	"errors"
	"os"
	"runtime"
)

// Sync makes durable which files are in dir. sync is (*os.File).Sync, or what a test puts in its place. On Windows a directory
// cannot be synced, and need not be: Sync does nothing.
func Sync(dir string, sync func(*os.File) error) error {
	if runtime.GOOS == "windows" {
		return nil
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(sync(d), d.Close())
}
