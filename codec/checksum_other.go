//go:build !amd64 || purego

package codec

import "hash/crc32"

func updateChecksum(crc uint32, p []byte) uint32 { return crc32.Update(crc, castagnoli, p) }
