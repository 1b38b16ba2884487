// Package pcap reads packet captures, pcap and pcapng, and finds the UDP payload of their packets: Ethernet
// with any VLAN tags, Linux cooked, BSD loopback and raw IP; IPv4, and IPv6 with any extension headers.
//
// Formats: draft-ietf-opsawg-pcap and draft-ietf-opsawg-pcapng.
package pcap

import (
	"encoding/binary"
	"fmt"
	"io"
	"math"
	"math/bits"
	"net/netip"

	"tickfeed/feed/files/rawfile"
)

// A Packet is one captured packet.
type Packet struct {
	// Time is when the packet was captured, in nanoseconds since the Unix epoch; 0 if the capture does not say.
	Time int64
	// Link is the type of Data's first header (LINKTYPE_…).
	Link uint32
	// Data is the captured bytes, which may be fewer than the packet had. It is valid until the next packet is
	// read.
	Data []byte
	// Offset is where the packet's record begins in the unpacked file.
	Offset int64
}

// A Reader reads the packets of captures. The zero Reader is ready for Begin.
type Reader struct {
	order binary.ByteOrder
	ng    bool
	nano  bool   // classic: times are nanoseconds
	link  uint32 // classic
	faces []face // pcapng: interfaces of the section
	other string // link type of the first packet that cannot be read
}

type face struct {
	link  uint32
	units uint64 // per second; 0 if out of range
	shift int64  // seconds to add
}

// Bounds of a capture.
const (
	maxPacket  = rawfile.MaxPeek - 64 // bytes of a record
	maxFaces   = 4096
	maxSeconds = math.MaxInt64/1_000_000_000 - 1
)

// Magic numbers, as written by a machine of the same byte order.
const (
	magicMicro   = 0xa1b2c3d4
	magicNano    = 0xa1b23c4d
	magicSection = 0x0a0d0d0a
	magicOrder   = 0x1a2b3c4d
)

// Recognise reports whether head, the first bytes of an unpacked file, begins a capture.
func Recognise(head []byte) bool {
	if len(head) < 12 {
		return false
	}
	for _, order := range []binary.ByteOrder{binary.LittleEndian, binary.BigEndian} {
		switch order.Uint32(head) {
		case magicMicro, magicNano:
			return true
		case magicSection:
			if order.Uint32(head[8:]) == magicOrder {
				return true
			}
		}
	}
	return false
}

// Begin reads the header before the first packet. The caller must call it for each file. The error is a
// [*rawfile.FormatError] if the file is not a capture.
func (p *Reader) Begin(r *rawfile.Reader) error {
	*p = Reader{faces: p.faces[:0]}
	b, err := r.Peek(24)
	if err != nil && err != io.EOF && err != io.ErrUnexpectedEOF {
		return err
	}
	if !Recognise(b) || err != nil {
		return &rawfile.FormatError{File: r.Path(), Reason: "not a capture (pcap, pcapng)"}
	}
	if binary.LittleEndian.Uint32(b) == magicSection {
		p.ng = true
		return nil // the section header is a block like others
	}
	p.order = binary.LittleEndian
	if m := binary.BigEndian.Uint32(b); m == magicMicro || m == magicNano {
		p.order = binary.BigEndian
	}
	p.nano = p.order.Uint32(b) == magicNano
	p.link = p.order.Uint32(b[20:]) & 0xffff
	r.Skip(24)
	return nil
}

// Unread returns a clause for errors, which says that packets have a link type that cannot be read, or "" if
// there are none.
func (p *Reader) Unread() string {
	if p.other == "" {
		return ""
	}
	return ": its packets are of " + p.other + ", which cannot be read"
}

// Next returns the next packet. The error is io.EOF at the end, and comes from r.Torn if the capture ends
// inside a packet.
func (p *Reader) Next(r *rawfile.Reader) (Packet, error) {
	packet, err := p.next(r)
	if err == nil && p.other == "" {
		p.other = LinkName(packet.Link)
	}
	return packet, err
}

func (p *Reader) next(r *rawfile.Reader) (Packet, error) {
	if p.ng {
		return p.block(r)
	}
	start := r.Offset()
	b, err := r.Peek(16)
	if err != nil {
		return Packet{}, r.Torn("the header of a packet", err)
	}
	n := p.order.Uint32(b[8:])
	if n > maxPacket {
		return Packet{}, r.Damage(start, "a packet of %d bytes, at most %d", n, maxPacket)
	}
	sec, frac := int64(p.order.Uint32(b)), int64(p.order.Uint32(b[4:]))
	if b, err = r.Peek(16 + int(n)); err != nil {
		return Packet{}, r.Torn("a packet", err)
	}
	r.Skip(len(b))
	if !p.nano {
		frac *= 1000
	}
	return Packet{Time: sec*1e9 + frac, Link: p.link, Data: b[16:], Offset: start}, nil
}

// Types of pcapng blocks.
const (
	blockInterface   = 1
	blockPacket      = 2 // obsolete
	blockSimple      = 3
	blockEnhanced    = 6
	optionResolution = 9
	optionOffset     = 14
)

// block reads pcapng blocks up to the next packet.
func (p *Reader) block(r *rawfile.Reader) (Packet, error) {
	for {
		start := r.Offset()
		b, err := r.Peek(12)
		if err != nil {
			return Packet{}, r.Torn("a block", err)
		}
		if binary.LittleEndian.Uint32(b) == magicSection {
			switch {
			case binary.LittleEndian.Uint32(b[8:]) == magicOrder:
				p.order = binary.LittleEndian
			case binary.BigEndian.Uint32(b[8:]) == magicOrder:
				p.order = binary.BigEndian
			default:
				return Packet{}, r.Damage(start, "a section without its byte order")
			}
			p.faces = p.faces[:0]
		}
		kind, n := p.order.Uint32(b), p.order.Uint32(b[4:])
		if n < 12 || n%4 != 0 {
			return Packet{}, r.Damage(start, "a block of %d bytes", n)
		}
		if kind != blockInterface && kind != blockPacket && kind != blockSimple && kind != blockEnhanced {
			if err := r.Discard(int64(n)); err != nil {
				if err == io.EOF || err == io.ErrUnexpectedEOF {
					err = r.Bad(start, "the file ends inside a block")
				}
				return Packet{}, err
			}
			continue
		}
		if n > maxPacket {
			return Packet{}, r.Damage(start, "a block of %d bytes, at most %d", n, maxPacket)
		}
		if b, err = r.Peek(int(n)); err != nil {
			return Packet{}, r.Torn("a block", err)
		}
		r.Skip(len(b))
		body := b[8 : n-4]
		if kind == blockInterface {
			if len(body) < 8 || len(p.faces) == maxFaces {
				return Packet{}, r.Bad(start, "an interface that is too short or too many")
			}
			p.faces = append(p.faces, p.face(body))
			continue
		}
		packet, ok := p.captured(kind, body)
		if !ok {
			return Packet{}, r.Bad(start, "a packet block that does not hold what it says")
		}
		packet.Offset = start
		return packet, nil
	}
}

func (p *Reader) face(body []byte) face {
	f := face{link: uint32(p.order.Uint16(body)), units: 1e6}
	for o := body[8:]; len(o) >= 4; {
		code, n := p.order.Uint16(o), int(p.order.Uint16(o[2:]))
		padded := 4 + (n+3)&^3
		if code == 0 || padded > len(o) {
			break
		}
		switch {
		case code == optionResolution && n >= 1:
			f.units = resolution(o[4])
		case code == optionOffset && n >= 8:
			f.shift = int64(p.order.Uint64(o[4:]))
		}
		o = o[padded:]
	}
	return f
}

// resolution returns units per second: 10^v, or 2^v if the highest bit is set; 0 if it exceeds 64 bits.
func resolution(v byte) uint64 {
	if v&0x80 != 0 {
		if v &= 0x7f; v > 63 {
			return 0
		}
		return 1 << v
	}
	if v > 19 {
		return 0
	}
	u := uint64(1)
	for range v {
		u *= 10
	}
	return u
}

func (f *face) time(t uint64) int64 {
	if f.units == 0 {
		return 0
	}
	sec, rest := t/f.units, t%f.units
	hi, lo := bits.Mul64(rest, 1e9)
	ns, _ := bits.Div64(hi, lo, f.units) // hi < units, because rest < units
	s := int64(sec) + f.shift
	if sec > math.MaxInt32*8 || s < 0 || s > maxSeconds {
		return 0
	}
	return s*1e9 + int64(ns)
}

func (p *Reader) captured(kind uint32, body []byte) (Packet, bool) {
	var f face
	var n, at int
	var time uint64
	switch {
	case kind == blockSimple && len(body) >= 4 && len(p.faces) > 0:
		at, f = 4, p.faces[0]
		n = min(int(p.order.Uint32(body)), len(body)-4)
		return Packet{Link: f.link, Data: body[at : at+n]}, true
	case kind == blockSimple || len(body) < 20:
		return Packet{}, false
	}
	id := int(p.order.Uint32(body))
	if kind == blockPacket {
		id = int(p.order.Uint16(body))
	}
	if id >= len(p.faces) {
		return Packet{}, false
	}
	f = p.faces[id]
	time = uint64(p.order.Uint32(body[4:]))<<32 | uint64(p.order.Uint32(body[8:]))
	at, n = 20, int(p.order.Uint32(body[12:]))
	if n > len(body)-at {
		return Packet{}, false
	}
	return Packet{Time: f.time(time), Link: f.link, Data: body[at : at+n]}, true
}

// Link types.
const (
	linkNull     = 0
	linkEthernet = 1
	linkRaw      = 101
	linkRawOld   = 12
	linkLoop     = 108
	linkCooked   = 113
	linkIPv4     = 228
	linkIPv6     = 229
	linkCooked2  = 276
)

// before returns how many bytes precede the network layer, and the offset of the EtherType in them, or -1 if
// they have none.
func before(link uint32) (n, at int, ok bool) {
	switch link {
	case linkEthernet:
		return 14, 12, true
	case linkCooked:
		return 16, 14, true
	case linkCooked2:
		return 20, 0, true
	case linkNull, linkLoop:
		return 4, -1, true
	case linkRaw, linkRawOld, linkIPv4, linkIPv6:
		return 0, -1, true
	}
	return 0, 0, false
}

// linkNames names link types that occur in captures and cannot be read.
var linkNames = map[uint32]string{
	6: "token ring", 9: "PPP", 51: "PPPoE", 104: "Cisco HDLC", 105: "IEEE 802.11", 107: "frame relay", 119: "IEEE 802.11, Prism",
	127: "IEEE 802.11, radiotap", 147: "private 0", 187: "Bluetooth", 192: "PPI", 195: "IEEE 802.15.4", 220: "USB", 239: "netfilter log",
	240: "netANALYZER", 247: "InfiniBand", 253: "netlink", 258: "PKTAP", 272: "Juniper", 274: "Ethernet MPACKET",
}

// LinkName returns the name, for messages, of a link type whose packets cannot be read, or "" if they can.
func LinkName(link uint32) string {
	if _, _, ok := before(link); ok {
		return ""
	}
	if name := linkNames[link]; name != "" {
		return fmt.Sprintf("link type %d (%s)", link, name)
	}
	return fmt.Sprintf("link type %d", link)
}

// UDP returns the payload of a UDP packet over IP that is not a fragment. whole is false if the capture has
// truncated it.
func (p *Packet) UDP() (payload []byte, whole, ok bool) {
	b, _, ok := p.datagram()
	if !ok {
		return nil, false, false
	}
	n := int(binary.BigEndian.Uint16(b[4:])) - 8
	if n < 0 {
		return nil, false, false
	}
	if b = b[8:]; n > len(b) {
		return b, false, true
	}
	return b[:n], true, true
}

// datagram returns a packet from its UDP header, and its destination address.
func (p *Packet) datagram() (b []byte, to netip.Addr, ok bool) {
	be := binary.BigEndian
	b = p.Data
	n, at, ok := before(p.Link)
	if !ok || len(b) < n {
		return nil, to, false
	}
	var ether uint16
	if at >= 0 {
		ether = be.Uint16(b[at:])
	}
	b = b[n:]
	for ether == 0x8100 || ether == 0x88a8 || ether == 0x9100 {
		if len(b) < 4 {
			return nil, to, false
		}
		ether, b = be.Uint16(b[2:]), b[4:]
	}
	if len(b) == 0 || ether != 0 && ether != 0x0800 && ether != 0x86dd {
		return nil, to, false
	}
	switch {
	case b[0]>>4 == 4 && len(b) >= 20:
		header, total := 4*int(b[0]&15), int(be.Uint16(b[2:]))
		if header < 20 || len(b) < header || b[9] != protocolUDP || be.Uint16(b[6:])&0x3fff != 0 {
			return nil, to, false
		}
		if total >= header && total < len(b) {
			b = b[:total] // the rest is padding
		}
		to, b = netip.AddrFrom4([4]byte(b[16:])), b[header:]
	case b[0]>>4 == 6 && len(b) >= 40:
		to = netip.AddrFrom16([16]byte(b[24:]))
		if b = behindExtensions(b[6], b[40:]); b == nil {
			return nil, to, false
		}
	default:
		return nil, to, false
	}
	return b, to, len(b) >= 8
}

// IP protocols and IPv6 extension headers.
const (
	protocolHopByHop       = 0
	protocolUDP            = 17
	protocolRouting        = 43
	protocolFragment       = 44
	protocolAuthentication = 51
	protocolOptions        = 60
	protocolMobility       = 135
	protocolHIP            = 139
	protocolShim6          = 140
)

// maxExtensions bounds the extension headers of a packet.
const maxExtensions = 16

// behindExtensions returns the rest of an IPv6 packet after its extension headers. b begins with the header
// that next names. The result is nil if the rest is not UDP or is a fragment.
func behindExtensions(next byte, b []byte) []byte {
	for range maxExtensions {
		if next == protocolUDP {
			return b
		}
		if len(b) < 8 {
			return nil
		}
		n := 8 * (1 + int(b[1]))
		switch next {
		case protocolHopByHop, protocolRouting, protocolOptions, protocolMobility, protocolHIP, protocolShim6:
		case protocolAuthentication:
			n = 4 * (2 + int(b[1]))
		case protocolFragment:
			if n = 8; binary.BigEndian.Uint16(b[2:])&^6 != 0 { // an offset, or more fragments
				return nil
			}
		default:
			return nil
		}
		if n > len(b) {
			return nil
		}
		next, b = b[0], b[n:]
	}
	return nil
}
