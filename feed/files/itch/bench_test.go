package itch_test

import (
	"encoding/binary"
	"math/rand/v2"
	"testing"
)

// made returns a BinaryFILE of n messages about orders.
func made(b testing.TB, n int) string {
	rng := rand.New(rand.NewPCG(1, 2))
	const instruments = 200
	var symbols [instruments][8]byte
	for i := range symbols {
		copy(symbols[i][:], "S       ")
		symbols[i][1], symbols[i][2] = byte('A'+i/26%26), byte('A'+i%26)
	}
	type order struct {
		ref    uint64
		locate int
		price  uint32
	}
	w := make(writer, 0, n*32)
	var live []order
	ref := uint64(1)
	for i := range n {
		ns := uint64(i) * 1000
		if len(live) < 100_000 && rng.IntN(10) < 6 || len(live) == 0 {
			o := order{ref, 1 + rng.IntN(instruments), 0}
			side, away := byte('B'), -int(rng.ExpFloat64()*20)-1
			if rng.IntN(2) == 0 {
				side, away = 'S', -away
			}
			o.price = uint32(1_000_000 + 100*away)
			w.message('A', o.locate, ns, func(m []byte) {
				binary.BigEndian.PutUint64(m[11:], ref)
				m[19] = side
				binary.BigEndian.PutUint32(m[20:], 100)
				copy(m[24:], symbols[o.locate-1][:])
				binary.BigEndian.PutUint32(m[32:], o.price)
			}, 36)
			live = append(live, o)
			ref++
			continue
		}
		k := rng.IntN(len(live))
		o := live[k]
		switch rng.IntN(10) {
		case 0:
			w.order('U', ns, o.ref, 35, ref, 100, uint64(o.price))
			live[k].ref = ref
			ref++
			continue
		case 1:
			w.order('E', ns, o.ref, 31, 100, uint64(i))
		default:
			w.order('D', ns, o.ref, 19)
		}
		live[k] = live[len(live)-1]
		live = live[:len(live)-1]
	}
	return w.file(b, "made.itch")
}
