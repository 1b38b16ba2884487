//go:build !linux

package recording

import "io"

// NextData returns pos and size: holes are found on Linux only.
func NextData(_ io.ReaderAt, pos, size int64) (from, to int64) { return pos, size }
