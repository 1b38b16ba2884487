package codec

// MessageSize is the size of the message that p begins with, 0 if p holds only a part of it.
// It scans as [Reader] does and decodes nothing; an error wraps ErrMalformed.
func MessageSize(p []byte) (int, error) {
	var s scanner
	return s.scan(p, MaxMessage)
}
