// Package syncdir makes the list of files in a directory durable: after a power cut a file is only then certain
// to be created, renamed or removed if its directory was synced.
package syncdir

import (
	"errors"
	"os"
	"runtime"
)

// Sync makes the list of files in dir durable. sync is (*os.File).Sync, or a replacement in tests. On Windows a
// directory cannot be synced and need not be: Sync does nothing.
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
