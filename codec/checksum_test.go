package codec

import (
	"fmt"
	"hash/crc32"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
)

// The checksum equals the library's for every length, alignment and initial value.
func TestChecksumEqualsTheLibrarys(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	p := make([]byte, 70_000)
	for i := range p {
		p[i] = byte(r.Uint32())
	}
	for n := range 2000 {
		crc, at := r.Uint32(), r.IntN(100)
		require.Equal(t, crc32.Update(crc, castagnoli, p[at:at+n]), updateChecksum(crc, p[at:at+n]), "%d bytes", n)
	}
	for range 1000 {
		n := r.IntN(len(p))
		require.Equal(t, crc32.Update(0, castagnoli, p[:n]), updateChecksum(0, p[:n]), "%d bytes", n)
	}
}

func BenchmarkChecksum(b *testing.B) {
	for _, n := range []int{256, 512, 2 << 10, 16 << 10, 64 << 10} {
		p := make([]byte, n)
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			b.SetBytes(int64(n))
			for b.Loop() {
				updateChecksum(1, p)
			}
		})
		b.Run(fmt.Sprintf("%d by the library", n), func(b *testing.B) {
			b.SetBytes(int64(n))
			for b.Loop() {
				crc32.Update(1, castagnoli, p)
			}
		})
	}
}
