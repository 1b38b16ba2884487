package codec

// MessageSize returns the size of the message at the start of p, or 0 if p holds only a part of it.
// It scans the message as [Reader] does, without decoding it. An error wraps ErrMalformed.
func MessageSize(p []byte) (int, error) {
	var s scanner
	return s.scan(p, MaxMessage)
}
