package recording

import (
	"fmt"

	"tickfeed/codec"
	"tickfeed/feed"
)

// AppendPart appends a packet with the part of packet h, the bytes raw, that is in [from, to), which h must
// cover: of the ticks only those that want accepts; nil accepts all. skips is true if the new packet consists
// of numbers that were not asked for. An error wraps codec.ErrMalformed.
func AppendPart(dst []byte, h *codec.Packet, raw []byte, from, to uint64, want func(*codec.Entry, []byte) bool, seed uint32) (out []byte, skips bool, err error) {
	body := raw[codec.PacketHeader:]
	part := codec.Packet{First: from, Count: to - from, PublishTime: h.PublishTime, Base: h.Base}
	whole := codec.PacketBody(h, body)
	var none [1]feed.Tick
	if n, err := whole.Decode(none[:]); n == 0 && err == nil && whole.NotAsked() == 0 { // withheld or gone, alone
		entry := codec.AppendWithheld(nil, part.Count)
		if _, reason := whole.Gone(); reason > 0 {
			entry = codec.AppendGone(nil, part.Count, reason)
		}
		return codec.AppendPacket(dst, &part, entry, seed), false, nil
	}
	at := len(dst)
	dst = append(dst, make([]byte, codec.PacketHeader)...)
	skip, skips := uint64(0), true
	for seq := h.First; seq < to; {
		e, err := codec.EntryAt(body)
		if err == nil && (e.Covers == 0 || e.Covers > codec.MaxSpan) {
			err = fmt.Errorf("%w: an entry covers %d numbers", codec.ErrMalformed, e.Covers)
		}
		if err != nil {
			return dst[:at], false, err
		}
		entry := body[:e.Size]
		body = body[e.Size:]
		first, end := max(seq, from), min(seq+e.Covers, to)
		seq += e.Covers
		switch {
		case e.Tick && want != nil && !want(&e, entry): // want must see definitions before from, too
			if first < end {
				skip++
			}
		case first >= end:
		case e.Tick:
			if skip > 0 {
				dst = codec.AppendSkip(dst, skip)
			}
			dst, skip, skips = append(dst, entry...), 0, false
		default:
			skip += end - first
		}
	}
	if skip > 0 {
		dst = codec.AppendSkip(dst, skip)
	}
	if len(dst)-at-codec.PacketHeader > codec.MaxBody {
		return dst[:at], false, fmt.Errorf("%w: the packet grows beyond its bound", codec.ErrMalformed)
	}
	codec.SealPacket(dst[at:], &part, seed)
	return dst, skips, nil
}
