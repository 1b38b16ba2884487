package dbn_test

import (
	"encoding/binary"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// builder writes small DBN files.
type builder []byte

func (b *builder) record(rtype byte, size int, id uint32, ts uint64, fill func(r []byte)) *builder {
	r := make([]byte, size)
	r[0], r[1] = byte(size/4), rtype
	binary.LittleEndian.PutUint16(r[2:], 1)
	binary.LittleEndian.PutUint32(r[4:], id)
	binary.LittleEndian.PutUint64(r[8:], ts)
	if fill != nil {
		fill(r)
	}
	*b = append(*b, r...)
	return b
}

const noon = 1700000000000000000

func (b *builder) order(ts uint64, action, side, flags byte, ref uint64, price int64, size uint32) *builder {
	return b.record(0xa0, 56, 7, ts, func(r []byte) {
		binary.LittleEndian.PutUint64(r[16:], ref)
		binary.LittleEndian.PutUint64(r[24:], uint64(price))
		binary.LittleEndian.PutUint32(r[32:], size)
		r[36], r[38], r[39] = flags, action, side
		binary.LittleEndian.PutUint64(r[40:], ts)
	})
}

func (b *builder) trade(ts uint64, price int64, size uint32) *builder {
	return b.record(0, 48, 7, ts, func(r []byte) {
		binary.LittleEndian.PutUint64(r[16:], uint64(price))
		binary.LittleEndian.PutUint32(r[24:], size)
		r[28], r[29] = 'T', 'B'
		binary.LittleEndian.PutUint64(r[32:], ts)
	})
}

func (b *builder) file(t testing.TB) string {
	path := filepath.Join(t.TempDir(), "data.dbn")
	require.NoError(t, os.WriteFile(path, *b, 0o600))
	return path
}
