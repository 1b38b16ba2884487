package simulation

import (
	"errors"
	"math/rand/v2"

	"tickfeed/codec"
)

// A middlebox passes on a publisher's messages and damages some of them. It is a netsim.Middlebox for the
// direction from the publisher, set before the first byte. It is no lab: a lab is goroutines and buffers between two
// connections, whose order the scheduler decides, and the simulation promises the same trace for the same seed.
type middlebox struct {
	chance func() float64 // share of the messages after the welcome that are damaged
	rand   *rand.Rand
	happen func(Fault)

	in     []byte // not parsed yet
	reader *codec.Reader
	seen   int
	kept   []byte // a message to send after the next one
	lost   int    // number of further messages to drop
}

var errNoMore = errors.New("no more bytes yet")

// Read gives the reader the bytes of Pass.
func (m *middlebox) Read(p []byte) (int, error) {
	if len(m.in) == 0 {
		return 0, errNoMore
	}
	n := copy(p, m.in)
	m.in = m.in[n:]
	return n, nil
}

// Pass implements netsim.Middlebox.
func (m *middlebox) Pass(dst, p []byte) []byte {
	if m.reader == nil {
		m.reader = codec.NewReader(m, codec.MaxMessage)
	}
	if len(p) == 0 {
		dst = append(dst, m.kept...)
		m.kept = nil
		return dst
	}
	m.in = p
	for {
		t, raw, err := m.reader.Next()
		if err != nil {
			return dst
		}
		m.seen++
		kept := m.kept
		m.kept = nil
		switch {
		case m.lost > 0:
			m.lost--
			m.happen(DroppedMessage)
		case m.seen == 1 || kept != nil || m.rand.Float64() >= m.chance():
			dst = append(dst, raw...)
		default:
			switch m.rand.IntN(4) {
			case 0:
				m.lost = m.rand.IntN(3)
				m.happen(DroppedMessage)
			case 1:
				dst = append(append(dst, raw...), raw...)
				m.happen(RepeatedMessage)
			case 2:
				// Flip bits only in messages with a checksum: TCP protects the others.
				at := len(dst)
				dst = append(dst, raw...)
				if t == codec.TypePacket || t == codec.TypeSnapshotPart {
					dst[at+m.rand.IntN(len(raw))] ^= 1 << m.rand.IntN(8)
					m.happen(BitFlip)
				}
			default:
				m.kept = append([]byte(nil), raw...)
			}
		}
		if kept != nil {
			dst = append(dst, kept...)
			m.happen(SwappedMessages)
		}
	}
}
