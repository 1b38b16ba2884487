package codec

import (
	"encoding/binary"
	"hash/crc32"

	"tickfeed/feed"
)

// Packets and snapshot parts have a fixed layout (PROTOCOL.md, "Packet"), so that a writer
// can fill in the header when it seals the packet, a reader can find the end of a packet without scanning it, and
// a damaged file can be searched for packets.

// Sizes of what has a fixed length, in bytes.
const (
	PacketHeader = 46 // before the body of a packet
	PartHeader   = 37 // before the body of a snapshot part
	TrailerSize  = 29
)

const (
	packetMark = 0x97_05_ce // array(7), type packet, uint32
	partMark   = 0x96_08_ce // array(6), type snapshot part, uint32

	checksumAt  = 3
	checksumEnd = 7
)

// A Packet is the header of a packet. It covers the numbers [First, First+Count).
type Packet struct {
	First       uint64
	Count       uint64
	PublishTime int64 // never decreases along a lineage
	Base        int64 // base event time; entries hold offsets from it
}

// Range returns the numbers that the packet covers.
func (h *Packet) Range() feed.Range { return feed.Range{From: h.First, To: h.First + h.Count} }

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// LineSeed returns the checksum seed of a line. For an unfiltered line it is the CRC-32C of the session's id as
// eight bytes, most significant first. For a filtered line the checksum continues over each
// pattern of the filter, in canonical order, followed by a zero byte.
func LineSeed(id feed.SessionID, f Filter) uint32 {
	seed := crc32.Checksum(binary.BigEndian.AppendUint64(nil, uint64(id)), castagnoli)
	for _, p := range f {
		seed = crc32.Update(seed, castagnoli, append([]byte(p), 0))
	}
	return seed
}

func checksum(seed uint32, t Type, rest []byte) uint32 {
	return updateChecksum(typeSeed(seed, t), rest)
}

// typeSeed is crc32.Update(seed, castagnoli, []byte{t}), without storing the byte in memory.
func typeSeed(seed uint32, t Type) uint32 {
	seed = ^seed
	return ^(castagnoli[byte(seed)^byte(t)] ^ seed>>8)
}

// SealPacket writes the header h into the first PacketHeader bytes of p. The rest of p is
// the body, at most MaxBody bytes.
func SealPacket(p []byte, h *Packet, seed uint32) {
	_ = p[PacketHeader-1]
	p[0], p[1], p[2] = 0x97, byte(TypePacket), 0xce
	p[7] = 0xcf
	binary.BigEndian.PutUint64(p[8:], h.First)
	p[16] = 0xcf
	binary.BigEndian.PutUint64(p[17:], h.Count)
	p[25] = 0xd3
	binary.BigEndian.PutUint64(p[26:], uint64(h.PublishTime))
	p[34] = 0xd3
	binary.BigEndian.PutUint64(p[35:], uint64(h.Base))
	p[43] = 0xc5
	binary.BigEndian.PutUint16(p[44:], uint16(len(p)-PacketHeader))
	binary.BigEndian.PutUint32(p[checksumAt:], checksum(seed, TypePacket, p[checksumEnd:]))
}

// AppendPacket appends a packet with the given body.
func AppendPacket(dst []byte, h *Packet, body []byte, seed uint32) []byte {
	at := len(dst)
	dst = append(dst, make([]byte, PacketHeader)...)
	dst = append(dst, body...)
	SealPacket(dst[at:], h, seed)
	return dst
}

// PacketSize returns the size of the packet at the start of p, which may be cut short after PacketHeader bytes. It returns 0
// if p does not begin with the header of a packet.
func PacketSize(p []byte) int {
	if len(p) < PacketHeader ||
		binary.BigEndian.Uint32(p)>>8 != packetMark || p[7] != 0xcf || p[16] != 0xcf ||
		p[25] != 0xd3 || p[34] != 0xd3 || p[43] != 0xc5 {
		return 0
	}
	return PacketHeader + int(binary.BigEndian.Uint16(p[44:]))
}

// ParsePacket returns the header and the body of the packet p. The body is part of p. It does
// not check the checksum or the body. An error wraps ErrMalformed.
func ParsePacket(p []byte) (Packet, []byte, error) {
	if n := PacketSize(p); n == 0 || n != len(p) {
		return Packet{}, nil, malformed("packet: not in the fixed layout")
	}
	h := PacketAt(p)
	if h.First == 0 || h.First > MaxSeq || h.Count == 0 || h.Count > MaxSpan || h.First+h.Count > MaxSeq {
		return Packet{}, nil, malformed("packet: seq %d, count %d", h.First, h.Count)
	}
	return h, p[PacketHeader:], nil
}

// PacketAt returns the header of the packet at the start of p. The caller must know that there is one.
func PacketAt(p []byte) Packet {
	_ = p[PacketHeader-1]
	return Packet{
		First:       binary.BigEndian.Uint64(p[8:]),
		Count:       binary.BigEndian.Uint64(p[17:]),
		PublishTime: int64(binary.BigEndian.Uint64(p[26:])),
		Base:        int64(binary.BigEndian.Uint64(p[35:])),
	}
}

// VerifyPacket reports whether the checksum of the packet p is correct for a line with the given seed.
func VerifyPacket(p []byte, seed uint32) bool {
	return binary.BigEndian.Uint32(p[checksumAt:]) == checksum(seed, TypePacket, p[checksumEnd:])
}

// SealPart writes the header of part s into the first PartHeader bytes of p. The rest of p is
// the body.
func SealPart(p []byte, s *SnapshotPart, seed uint32) {
	_ = p[PartHeader-1]
	p[0], p[1], p[2] = 0x96, byte(TypeSnapshotPart), 0xce
	p[7] = 0xcf
	binary.BigEndian.PutUint64(p[8:], s.Seq)
	p[16] = 0xcf
	binary.BigEndian.PutUint64(p[17:], s.Index)
	p[25] = 0xd3
	binary.BigEndian.PutUint64(p[26:], uint64(s.Base))
	p[34] = 0xc5
	binary.BigEndian.PutUint16(p[35:], uint16(len(p)-PartHeader))
	binary.BigEndian.PutUint32(p[checksumAt:], checksum(seed, TypeSnapshotPart, p[checksumEnd:]))
}

// PartSize returns the size of the snapshot part at the start of p, which may be cut short after PartHeader bytes. It returns
// 0 if p does not begin with the header of a snapshot part.
func PartSize(p []byte) int {
	if len(p) < PartHeader ||
		binary.BigEndian.Uint32(p)>>8 != partMark || p[7] != 0xcf || p[16] != 0xcf ||
		p[25] != 0xd3 || p[34] != 0xc5 {
		return 0
	}
	return PartHeader + int(binary.BigEndian.Uint16(p[35:]))
}

// ParsePart parses the snapshot part p and verifies its checksum for a line with the given seed. The Body it returns is part
// of p. An error wraps ErrMalformed.
func ParsePart(p []byte, seed uint32) (SnapshotPart, error) {
	if n := PartSize(p); n == 0 || n != len(p) {
		return SnapshotPart{}, malformed("snapshot part: not in the fixed layout")
	}
	if binary.BigEndian.Uint32(p[checksumAt:]) != checksum(seed, TypeSnapshotPart, p[checksumEnd:]) {
		return SnapshotPart{}, malformed("snapshot part: wrong checksum")
	}
	return SnapshotPart{
		Seq:   binary.BigEndian.Uint64(p[8:]),
		Index: binary.BigEndian.Uint64(p[17:]),
		Base:  int64(binary.BigEndian.Uint64(p[26:])),
		Body:  p[PartHeader:],
	}, nil
}
