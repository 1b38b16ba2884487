package netsim

// A ring is a byte queue that grows by doubling and keeps its memory.
type ring struct {
	buf  []byte // its length is zero or a power of two
	head int    // index of the oldest byte
	size int
}

func (r *ring) write(p []byte) {
	if r.size+len(p) > len(r.buf) {
		r.grow(r.size + len(p))
	}
	tail := (r.head + r.size) & (len(r.buf) - 1)
	if n := copy(r.buf[tail:], p); n < len(p) {
		copy(r.buf, p[n:])
	}
	r.size += len(p)
}

// read takes len(p) bytes, which must be available.
func (r *ring) read(p []byte) {
	if n := copy(p, r.buf[r.head:]); n < len(p) {
		copy(p[n:], r.buf)
	}
	r.size -= len(p)
	r.head = (r.head + len(p)) & (len(r.buf) - 1)
	if r.size == 0 {
		r.head = 0
	}
}

func (r *ring) grow(need int) {
	length := max(len(r.buf), 4096)
	for length < need {
		length *= 2
	}
	buf := make([]byte, length)
	n := copy(buf, r.buf[r.head:min(r.head+r.size, len(r.buf))])
	copy(buf[n:], r.buf[:r.size-n])
	r.buf, r.head = buf, 0
}
