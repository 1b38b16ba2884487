package recording

import (
	"io"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
)

func BenchmarkAppend(b *testing.B) {
	s := newSession(0xa1)
	p := s.packet(100)
	for len(p) < 64<<10 {
		p = append(p, s.packet(100)...)
	}
	w, err := NewWriter(discard{}, s.header, nil)
	require.NoError(b, err)
	b.SetBytes(int64(len(p)))
	b.ReportAllocs()
	for b.Loop() {
		if err := w.Append(p, s.next, s.time); err != nil {
			b.Fatal(err)
		}
	}
}

type discard struct{ File }

func (discard) Write(p []byte) (int, error) { return len(p), nil }

func BenchmarkRead(b *testing.B) {
	s := newSession(0xa1)
	var f memory
	w, err := NewWriter(&f, s.header, nil)
	require.NoError(b, err)
	for f.Len() < 16<<20 {
		require.NoError(b, w.Append(s.packet(100), s.next, s.time))
	}
	require.NoError(b, w.Close())
	r := open(b, f.Bytes())
	b.SetBytes(int64(f.Len()))
	b.ReportAllocs()
	for b.Loop() {
		if err := r.rewind(); err != nil {
			b.Fatal(err)
		}
		for {
			if _, err := r.Next(); err == io.EOF {
				break
			} else if err != nil {
				b.Fatal(err)
			}
		}
	}
}

func BenchmarkSeek(b *testing.B) {
	s := newSession(0xa1)
	var f memory
	w, err := NewWriter(&f, s.header, nil)
	require.NoError(b, err)
	for f.Len() < 16<<20 {
		require.NoError(b, w.Append(s.packet(100), s.next, s.time))
	}
	r := open(b, f.Bytes())
	random := rand.New(rand.NewPCG(1, 2))
	b.ReportAllocs()
	for b.Loop() {
		if err := r.SeekSeq(1 + random.Uint64N(s.next)); err != nil {
			b.Fatal(err)
		}
	}
}
