//go:build !linux

package journal

import (
	"errors"
	"os"
	"runtime"
)

func datasync(f *os.File) error { return f.Sync() }

func syncDir(dir string) error {
	if runtime.GOOS == "windows" {
		return nil // a directory cannot be synced there, and need not be
	}
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}
