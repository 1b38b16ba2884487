package codec

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/vmihailenco/msgpack/v5"
)

func TestScanFindsTheEndOfAMessage(t *testing.T) {
	for name, raw := range map[string][]byte{
		"heartbeat":             {0x94, 0x06, 43, 43, 0x00},
		"array with a length":   {0xdc, 0x00, 0x02, 0x0e, 43},
		"array with a long one": {0xdd, 0, 0, 0, 2, 0x0e, 43},
		"every scalar": {
			0x9c, 0x7f, 0xc0, 0xc2, 0xc3, 0xff, 0xcc, 1, 0xd1, 1, 2, 0xca, 1, 2, 3, 4,
			0xcb, 1, 2, 3, 4, 5, 6, 7, 8, 0xd9, 1, 'x', 0xc4, 1, 0, 0xa1, 'x',
		},
		"nested as deep as it may": {0x92, 0x0e, 0x91, 0x91, 0x90},
		"empty str at the end":     {0x92, 0x0e, 0xa0},
		"map":                      {0x93, 0x0e, 0x82, 1, 2, 3, 4, 5},
		"map with a length":        {0x93, 0x0e, 0xde, 0, 1, 3, 4, 5},
	} {
		t.Run(name, func(t *testing.T) {
			var whole scanner
			size, err := whole.scan(append(bytes.Clone(raw), raw...), MaxMessage)
			require.NoError(t, err)
			assert.Equal(t, len(raw), size)

			var trickle scanner
			for n := range len(raw) {
				size, err := trickle.scan(raw[:n], MaxMessage)
				require.NoError(t, err)
				require.Zero(t, size, "after %d bytes", n)
			}
			size, err = trickle.scan(raw, MaxMessage)
			require.NoError(t, err)
			assert.Equal(t, len(raw), size)
		})
	}
}

// Nothing is decoded before its lengths are compared with the
// message's bound. PROTOCOL.md, "Limits".
func TestScanRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		raw  []byte
		want string
	}{
		"what is no array":              {[]byte("GET / HTTP/1.1"), "marker 0x47, want an array"},
		"an empty message":              {[]byte{0x90}, "empty"},
		"a type that is no fixint":      {[]byte{0x91, 0xcc, 0x01}, "want a type"},
		"type 0":                        {[]byte{0x91, 0x00}, "want a type"},
		"a negative type":               {[]byte{0x91, 0xff}, "want a type"},
		"ext":                           {[]byte{0x92, 0x0e, 0xd6, 0, 0, 0, 0, 0}, "ext"},
		"ext with a length":             {[]byte{0x92, 0x0e, 0xc7, 0, 0}, "ext"},
		"the marker that is never used": {[]byte{0x92, 0x0e, 0xc1}, "0xc1"},
		"nesting too deep":              {[]byte{0x92, 0x0e, 0x91, 0x91, 0x91, 0x90}, "nested deeper than 4"},
		"a bomb of five bytes":          {[]byte{0xdd, 0xff, 0xff, 0xff, 0xff}, "at least 16777221 bytes long"},
		"a str beyond the bound":        {[]byte{0x92, 0x0e, 0xdb, 0, 1, 0, 0}, "end: at least 65543 bytes long at byte 2, at most 65536"},
		"a map beyond the bound":        {[]byte{0x92, 0x0e, 0xdf, 0x80, 0, 0, 0}, "at most 65536"},
		"a hello beyond its bound":      {[]byte{0x92, 0x01, 0xda, 0x10, 0x00}, "hello: at least 4101 bytes long at byte 2, at most 4096"},
		"nested heads that share what is left": {
			[]byte{0x92, 0x0e, 0xdc, 0xf0, 0x00, 0xdc, 0xf0, 0x00}, "at most 65536",
		},
	} {
		t.Run(name, func(t *testing.T) {
			var s scanner
			_, err := s.scan(c.raw, MaxMessage)
			require.ErrorIs(t, err, ErrMalformed)
			assert.ErrorContains(t, err, c.want)

			var trickle scanner
			for n := range len(c.raw) + 1 {
				if _, err = trickle.scan(c.raw[:n], MaxMessage); err != nil {
					break
				}
			}
			assert.ErrorIs(t, err, ErrMalformed)
		})
	}
}

func TestScanHoldsEachBoundToTheByte(t *testing.T) {
	for _, typ := range []Type{TypeHello, TypeEnd, MaxType} {
		bound := typ.Bound()
		for extra, ok := range []bool{true, false} {
			raw := []byte{0x92, byte(typ), 0xda, byte((bound - 5 + extra) >> 8), byte(bound - 5 + extra)}
			raw = append(raw, make([]byte, bound-5+extra)...)
			var s scanner
			size, err := s.scan(raw, MaxMessage)
			if ok {
				require.NoError(t, err)
				assert.Equal(t, bound, size)
			} else {
				assert.ErrorIs(t, err, ErrMalformed)
			}
		}
	}
	// Before login the caller's limit is less than the type's.
	var s scanner
	_, err := s.scan([]byte{0x92, byte(TypeSubscribe), 0xda, 0x10, 0x00}, MaxHello)
	assert.ErrorIs(t, err, ErrMalformed)
}

// Scanning allocates almost nothing, agrees with the library on the end of a message, and
// gives the same result however few bytes arrive at a time.
func FuzzScan(f *testing.F) {
	for _, g := range goldenControl {
		raw, err := Append(nil, g.m)
		require.NoError(f, err)
		f.Add(raw, uint16(3))
	}
	f.Add(AppendPacket(nil, &Packet{First: 41, Count: 1}, []byte{1}, seedA), uint16(45))
	f.Add([]byte{0x95, 0x0e, 0x81, 0xc0, 0xca, 0, 0, 0, 0, 0xc4, 1, 0, 0xdf, 0, 0, 0, 0}, uint16(1))
	f.Add([]byte("\x94\x11\x96\x85\xa4\x11\x11\x11\x11\xdd\x00\x00\x00\x00"), uint16(0)) // as long as a trailer may be, if all that it promises comes
	f.Fuzz(func(t *testing.T, raw []byte, step uint16) {
		var size int
		var err error
		if got := allocated(4096, func() {
			var s scanner
			size, err = s.scan(raw, MaxMessage)
		}); got > 4096 {
			t.Fatalf("%d bytes allocated to scan %d", got, len(raw))
		}
		if size > len(raw) || size > MaxMessage || err != nil && size != 0 {
			t.Fatalf("size %d of %d bytes, error %v", size, len(raw), err)
		}
		var s scanner
		var size2 int
		var err2 error
		for n := 0; size2 == 0 && err2 == nil && n < len(raw); {
			n = min(n+1+int(step), len(raw))
			size2, err2 = s.scan(raw[:n], MaxMessage)
		}
		if size != size2 || (err == nil) != (err2 == nil) {
			t.Fatalf("at once: %d, %v; in steps of %d: %d, %v", size, err, step+1, size2, err2)
		}
		if size > 0 {
			r := bytes.NewReader(raw[:size])
			require.NoError(t, msgpack.NewDecoder(r).Skip())
			require.Zero(t, r.Len())
		}
	})
}
