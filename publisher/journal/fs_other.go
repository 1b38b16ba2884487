//go:build !linux

package journal

import "os"

func datasync(f *os.File) error { return f.Sync() }

// reserve returns false: only Linux supports it.
func reserve(*os.File, int64, int64) bool { return false }
