package recording

import "tickfeed/codec"

// A restart is a point where reading can continue.
type restart struct {
	at     int64
	next   uint64            // every earlier number of the session is skipped
	header *codec.FileHeader // the header there, if it is one
}

// search looks from pos for a valid message that joins or follows. If in is nil, there is no session yet and
// only a header qualifies. If there is no such message, search returns the end of the file. It reads at most bufferSize bytes
// between two checks of the context of the Input.
func (r *Reader) search(pos int64, in *codec.FileHeader) (restart, error) {
	for {
		var err error
		if pos, err = r.skipHole(pos); err != nil {
			return restart{}, err
		} else if pos >= r.size {
			return restart{at: r.size}, nil
		}
		p, err := r.window(pos, codec.MaxMessage)
		if err != nil {
			return restart{}, err
		}
		atEnd := pos+int64(len(p)) == r.size
		for i := range p {
			if !atEnd && len(p)-i < codec.MaxMessage {
				p = p[:i]
				break
			}
			if p[i]&0xf0 != 0x90 || i+1 == len(p) {
				continue
			}
			if found, ok := r.candidate(p[i:], pos+int64(i), in); ok {
				return found, nil
			}
		}
		pos += int64(len(p))
	}
}

// skipHole returns the offset of the first data of the file from pos on, or its size if there is none. The error is that of the
// context of the Input.
func (r *Reader) skipHole(pos int64) (int64, error) {
	file := r.r
	if in, ok := file.(*Input); ok {
		if in.ctx != nil && in.ctx.Err() != nil {
			return 0, in.ctx.Err()
		}
		if !in.compressed {
			file = in.r
		}
	}
	from, _ := NextData(file, pos, r.size)
	return from, nil
}

// candidate reports whether reading can continue at p, which is at pos.
func (r *Reader) candidate(p []byte, pos int64, in *codec.FileHeader) (restart, bool) {
	found := restart{at: pos}
	switch codec.Type(p[1]) {
	case codec.TypePacket:
		n := codec.PacketSize(p)
		if in == nil || n == 0 || n > len(p) {
			return restart{}, false
		}
		h, _, err := codec.ParsePacket(p[:n])
		found.next = h.First
		return found, err == nil && h.First >= r.next && codec.VerifyPacket(p[:n], r.seed)
	case codec.TypeSnapshotPart:
		if r.lost && codec.PartSize(p) > 0 {
			part, err := codec.ParsePart(p[:min(codec.PartSize(p), len(p))], r.seed)
			found.next = part.Seq
			return found, err == nil && part.Seq > 0
		}
		return found, in != nil && r.orphan && partSize(p, r.next, r.seed) > 0
	case codec.TypeFile:
		found.header, _ = r.headerOf(p)
		if found.header == nil || in == nil {
			return found, found.header != nil
		}
		if checkVersion(found.header) != nil {
			return restart{}, false
		}
		if r.continuedBy(found.header) {
			found.next = found.header.Next
		}
		return found, !r.sameLine(found.header) || found.next >= r.next
	case codec.TypeIndex:
		if in == nil || sealedSize(p, codec.TypeIndex) == 0 {
			return restart{}, false
		}
		t := r.trailerOf(pos)
		if t == nil || t.Next < r.next {
			return restart{}, false
		}
		found.next = t.Next
		return found, true
	}
	return restart{}, false
}
