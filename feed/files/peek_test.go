package files

import (
	"bytes"
	"compress/gzip"
	"io"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Small reads find the same beginning as large ones, and unpack the input a bounded number of times.
func TestPeekIsLinear(t *testing.T) {
	noise := make([]byte, 40<<10)
	source := rand.NewChaCha8([32]byte{})
	_, _ = source.Read(noise)
	noise = bytes.ReplaceAll(noise, []byte("\n"), []byte{0}) // binary, of no known format
	var packed bytes.Buffer
	w := gzip.NewWriter(&packed)
	_, err := w.Write(noise)
	require.NoError(t, err)
	require.NoError(t, w.Close())
	for name, input := range map[string][]byte{
		"packed": packed.Bytes(), "not packed": noise, "a long line": []byte(strings.Repeat("x", 40<<10)),
	} {
		t.Run(name, func(t *testing.T) {
			given := 0
			count := func(b []byte) []byte {
				given += len(b)
				return unpacked(b)
			}
			p := peek(iotest.OneByteReader(bytes.NewReader(input)), count)
			assert.Equal(t, peek(bytes.NewReader(input), unpacked).Head(), p.Head())
			all, err := io.ReadAll(p)
			require.NoError(t, err)
			assert.Equal(t, input, all)
			assert.Less(t, given, promptly*promptly/2+16*len(input))
		})
	}
}

// A long line of text is recognised as soon as it ends, although nothing follows.
func TestPeekNeedsNoMoreThanALine(t *testing.T) {
	r, w := io.Pipe()
	go func() {
		for range 10_000 {
			_, _ = w.Write([]byte("x"))
		}
		_, _ = w.Write([]byte("\n"))
	}()
	p := peek(r, unpacked)
	assert.Equal(t, 10_001, len(p.Head()))
	require.NoError(t, r.Close())
}
