//go:build unix

package codec

import (
	"os"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"tickfeed/feed"
)

// Vectors read more than an entry has, but nothing of a page that the body is not on: here there is none.
func TestVectorsStayOnThePage(t *testing.T) {
	requireVector(t)
	page := os.Getpagesize()
	m, err := syscall.Mmap(-1, 0, 2*page, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_ANON|syscall.MAP_PRIVATE)
	require.NoError(t, err)
	defer func() { require.NoError(t, syscall.Munmap(m)) }()
	require.NoError(t, syscall.Mprotect(m[page:], syscall.PROT_NONE))

	ticks := variedTicks(8)
	for i := range ticks {
		ticks[i].Values[0] <<= 40 * (i % 2)
	}
	var body []byte
	for i := range ticks {
		body = AppendTick(body, &ticks[i], noon)
	}
	batch := make([]feed.Tick, len(ticks)+1)
	for after := range 70 {
		for cut := range len(body) + 1 {
			p := m[page-after-cut : page-after : page-after]
			copy(p, body)
			want, size := decodeScalar(body[:cut:cut], make([]feed.Tick, len(batch)), noon, 1)
			n, got := decodeFixed(p, batch, noon, 1)
			require.Equal(t, want, n)
			require.Equal(t, size, got)
		}
	}
}
