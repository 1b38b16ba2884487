//go:build !linux

package journal

import "os"

func datasync(f *os.File) error { return f.Sync() }

// reserve cannot be done here.
func reserve(*os.File, int64, int64) bool { return false }
