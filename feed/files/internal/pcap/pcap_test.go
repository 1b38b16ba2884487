package pcap_test

import (
	"bytes"
	"encoding/binary"
	"io"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tickfeed/feed/files/internal/pcap"
	"tickfeed/feed/files/rawfile"
)

// frame returns payload in Ethernet with the given number of VLAN tags, IPv4 and UDP, padded to 60 bytes.
func frame(tags int, payload string) []byte {
	be := binary.BigEndian
	b := make([]byte, 12)
	for range tags {
		b = append(b, 0x81, 0, 0, 5)
	}
	b = append(b, 8, 0)
	ip := make([]byte, 28)
	ip[0], ip[9] = 0x45, 17
	be.PutUint16(ip[2:], uint16(28+len(payload)))
	be.PutUint16(ip[24:], uint16(8+len(payload)))
	b = append(append(b, ip...), payload...)
	for len(b) < 60 {
		b = append(b, 0xee)
	}
	return b
}

func classic(order binary.AppendByteOrder, magic uint32, frames ...[]byte) []byte {
	b := order.AppendUint32(nil, magic)
	b = append(b, make([]byte, 16)...)
	b = order.AppendUint32(b, 1)
	for _, f := range frames {
		b = order.AppendUint32(b, 1700000000)
		b = order.AppendUint32(b, 123456)
		b = order.AppendUint32(b, uint32(len(f)))
		b = order.AppendUint32(b, uint32(len(f)))
		b = append(b, f...)
	}
	return b
}

func block(order binary.AppendByteOrder, kind uint32, body []byte) []byte {
	for len(body)%4 != 0 {
		body = append(body, 0)
	}
	b := order.AppendUint32(nil, kind)
	b = order.AppendUint32(b, uint32(12+len(body)))
	b = append(b, body...)
	return order.AppendUint32(b, uint32(12+len(body)))
}

// ng returns a pcapng file with an interface whose times are in units of 10^-resolution seconds.
func ng(order binary.AppendByteOrder, resolution byte, time uint64, frames ...[]byte) []byte {
	section := order.AppendUint32(nil, 0x1a2b3c4d)
	section = append(section, make([]byte, 12)...)
	b := block(order, 0x0a0d0d0a, section)
	b = append(b, block(order, 0x99, []byte("not known"))...)
	face := order.AppendUint16(nil, 1)
	face = append(face, make([]byte, 6)...)
	face = order.AppendUint16(face, 9)
	face = order.AppendUint16(face, 1)
	face = append(face, resolution, 0, 0, 0, 0, 0, 0, 0)
	b = append(b, block(order, 1, face)...)
	for _, f := range frames {
		p := order.AppendUint32(nil, 0)
		p = order.AppendUint32(p, uint32(time>>32))
		p = order.AppendUint32(p, uint32(time))
		p = order.AppendUint32(p, uint32(len(f)))
		p = order.AppendUint32(p, uint32(len(f)))
		b = append(b, block(order, 6, append(p, f...))...)
	}
	return b
}

// Captures of every kind give the same payload at the same time.
func TestKindsOfCaptures(t *testing.T) {
	const micro, nano = 1700000000123456000, 1700000000000123456
	for _, c := range []struct {
		name string
		file []byte
		time int64
	}{
		{"little endian, microseconds", classic(binary.LittleEndian, 0xa1b2c3d4, frame(0, "tick")), micro},
		{"big endian, microseconds", classic(binary.BigEndian, 0xa1b2c3d4, frame(0, "tick")), micro},
		{"little endian, nanoseconds", classic(binary.LittleEndian, 0xa1b23c4d, frame(0, "tick")), nano},
		{"VLAN tag", classic(binary.LittleEndian, 0xa1b23c4d, frame(1, "tick")), nano},
		{"two VLAN tags", classic(binary.LittleEndian, 0xa1b23c4d, frame(2, "tick")), nano},
		{"pcapng, microseconds", ng(binary.LittleEndian, 6, micro/1000, frame(0, "tick")), micro},
		{"pcapng, nanoseconds", ng(binary.LittleEndian, 9, nano, frame(0, "tick")), nano},
		{"pcapng, big endian", ng(binary.BigEndian, 9, nano, frame(0, "tick")), nano},
		{"pcapng, powers of two", ng(binary.BigEndian, 0x80|10, 1700000000<<10|512, frame(0, "tick")), 1700000000500000000},
	} {
		t.Run(c.name, func(t *testing.T) {
			assert.True(t, pcap.Recognise(c.file))
			r := rawfile.NewReader("x", bytes.NewReader(c.file))
			var p pcap.Reader
			require.NoError(t, p.Begin(r))
			packet, err := p.Next(r)
			require.NoError(t, err)
			assert.Equal(t, c.time, packet.Time)
			payload, whole, ok := packet.UDP()
			assert.Equal(t, "tick", string(payload), "without the padding")
			assert.True(t, ok && whole)
			_, err = p.Next(r)
			assert.Equal(t, io.EOF, err)
		})
	}
}

// Packets that are not whole UDP datagrams are distinguished.
func TestOtherPackets(t *testing.T) {
	fragment, tcp, short := frame(0, "tick"), frame(0, "tick"), frame(0, "a payload that the capture has not all of it")
	fragment[14+6] = 0x20
	tcp[14+9] = 6
	for _, c := range []struct {
		name      string
		data      []byte
		whole, ok bool
	}{
		{"fragment", fragment, false, false},
		{"TCP", tcp, false, false},
		{"ARP", append(make([]byte, 12), 8, 6, 0, 0), false, false},
		{"cut short", short[:50], false, true},
		{"nothing", nil, false, false},
	} {
		p := pcap.Packet{Link: 1, Data: c.data}
		_, whole, ok := p.UDP()
		assert.Equal(t, c.whole, whole, c.name)
		assert.Equal(t, c.ok, ok, c.name)
	}
}

// IPv6 extension headers may precede UDP; a fragment is not a datagram unless it is the whole.
func TestExtensionHeaders(t *testing.T) {
	udp := append([]byte{0, 1, 0, 2, 0, 12, 0, 0}, "tick"...)
	options := func(next, words byte) []byte { return append([]byte{next, words}, make([]byte, 6+8*int(words))...) }
	fragment := func(offset uint16) []byte {
		return binary.BigEndian.AppendUint16([]byte{17, 0}, offset)
	}
	authentication := append([]byte{17, 4}, make([]byte, 22)...) // 4*(4+2) bytes
	for _, c := range []struct {
		name  string
		first byte
		parts [][]byte
		want  bool
	}{
		{"none", 17, nil, true},
		{"hop by hop", 0, [][]byte{options(17, 0)}, true},
		{"hop by hop, routing, destination", 0, [][]byte{options(43, 0), options(60, 1), options(17, 2)}, true},
		{"authentication", 51, [][]byte{authentication}, true},
		{"the only fragment", 44, [][]byte{append(fragment(0), 0, 0, 0, 1)}, true},
		{"a fragment", 44, [][]byte{append(fragment(1), 0, 0, 0, 1)}, false},
		{"TCP", 6, nil, false},
		{"no next header", 0, [][]byte{options(59, 0)}, false},
		{"longer than the packet", 0, [][]byte{{17, 200, 0, 0, 0, 0, 0, 0}}, false},
	} {
		b := make([]byte, 40)
		b[0], b[6] = 0x60, c.first
		for _, p := range c.parts {
			b = append(b, p...)
		}
		p := pcap.Packet{Link: 101, Data: append(b, udp...)}
		payload, whole, ok := p.UDP()
		assert.Equal(t, c.want, ok && whole, c.name)
		if ok {
			assert.Equal(t, "tick", string(payload), c.name)
		}
	}
}

func FuzzReader(f *testing.F) {
	f.Add(classic(binary.LittleEndian, 0xa1b23c4d, frame(1, "tick"), frame(0, "tock")))
	f.Add(ng(binary.BigEndian, 9, 5, frame(0, "tick")))
	f.Fuzz(func(t *testing.T, b []byte) {
		r := rawfile.NewReader("x", bytes.NewReader(b))
		var p pcap.Reader
		if p.Begin(r) != nil {
			return
		}
		for range len(b) {
			packet, err := p.Next(r)
			if err != nil && rawfile.AtEnd(err) {
				return
			}
			packet.UDP()
		}
	})
}
