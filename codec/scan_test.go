package codec

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
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

// Rule 1 of reliability: nothing is decoded before its lengths were compared with what the
// message's bound leaves. PROTOCOL.md, "Limits".
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
		bound := Bound(typ)
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
