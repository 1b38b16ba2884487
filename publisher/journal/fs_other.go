//go:build !linux

package journal

import (
	"errors"
	"os"
)

func datasync(f *os.File) error { return f.Sync() }

func prepareFile(string, int64) (PreparedFile, error) { return nil, errors.ErrUnsupported }
