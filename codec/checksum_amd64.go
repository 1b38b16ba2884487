//go:build !purego

package codec

import (
	"hash/crc32"
	"math/bits"

	"golang.org/x/sys/cpu"
)

var hasFold = cpu.X86.HasAVX512F && cpu.X86.HasAVX512VPCLMULQDQ && cpu.X86.HasSSE42

// foldFrom is the minimum length of foldChecksum's input, in bytes.
const foldFrom = 256

// updateChecksum is crc32.Update for the CRC-32C, and is faster for long inputs (see BenchmarkChecksum).
func updateChecksum(crc uint32, p []byte) uint32 {
	if hasFold && len(p) >= foldFrom {
		return foldChecksum(crc, p, &foldBy)
	}
	return crc32.Update(crc, castagnoli, p)
}

// foldChecksum folds 256 bytes at a time into the next ones by carry-less multiplication. The method is described in
// V. Gopal et al., "Fast CRC Computation for Generic Polynomials Using PCLMULQDQ Instruction", Intel 2009.
//
//go:noescape
func foldChecksum(crc uint32, p []byte, by *[4]uint64) uint32

// foldBy holds the multipliers that move the two halves of 16 bytes by 2048 bits, and those that move them by 512 bits.
var foldBy = [4]uint64{multiplier(2048 + 32), multiplier(2048 - 32), multiplier(512 + 32), multiplier(512 - 32)}

// multiplier returns x^n modulo the polynomial, in the bit order of the checksum. It is shifted left by one bit, because a
// product of two such numbers is one bit short.
func multiplier(n int) uint64 {
	const polynomial = 0x1edc6f41
	r := uint32(1)
	for range n {
		r = r<<1 ^ polynomial*(r>>31)
	}
	return uint64(bits.Reverse32(r)) << 1
}
