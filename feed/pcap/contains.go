package pcap

import (
	"bytes"

	"tickfeed/feed/rawfile"
)

// Contains reports whether head, the first bytes of an unpacked file, are a capture that has
// a packet whose UDP payload is wanted.
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
