package pcap

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net/netip"

	"tickfeed/feed/files/rawfile"
)

// Contains reports whether head, the first bytes of an unpacked file, is a capture with a packet whose UDP
// payload want accepts.
func Contains(head []byte, want func(payload []byte) bool) bool {
	if !Recognise(head) {
		return false
	}
	r := rawfile.NewReader("", bytes.NewReader(head))
	var p Reader
	if p.Begin(r) != nil {
		return false
	}
	for {
		packet, err := p.Next(r)
		if err != nil {
			return false
		}
		if payload, _, ok := packet.UDP(); ok && want(payload) {
			return true
		}
	}
}

// Describe describes the first packets of a capture that begins with head, for errors about captures without
// readable data. The result is "" or a clause that begins with "; ".
func Describe(head []byte) string {
	r := rawfile.NewReader("", bytes.NewReader(head))
	var p Reader
	if p.Begin(r) != nil {
		return ""
	}
	other := ""
	for {
		packet, err := p.Next(r)
		if err != nil {
			return other
		}
		if name := LinkName(packet.Link); name != "" {
			other = "; its packets are of " + name + ", which cannot be read"
		} else if b, to, ok := packet.datagram(); ok {
			return fmt.Sprintf("; its first UDP packet goes to %s", netip.AddrPortFrom(to, binary.BigEndian.Uint16(b[2:])))
		} else if other == "" {
			other = "; its first packets are not UDP"
		}
	}
}
