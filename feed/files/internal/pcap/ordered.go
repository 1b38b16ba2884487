package pcap

import (
	"io"

	"tickfeed/feed/files/rawfile"
)

// An Ordered reads captures whose packets are numbered, through a [Window]. The zero Ordered is ready for Begin.
type Ordered struct {
	Window
	// Found is how many packets of its format the caller has found in the current file.
	Found int64

	reader Reader
	end    error // of the current file, returned once the window is empty
}

// Begin begins a file: see [Reader.Begin].
func (o *Ordered) Begin(r *rawfile.Reader) error {
	o.Found, o.end = 0, nil
	return o.reader.Begin(r)
}

// Held returns the next packet of the window that may be read: see [Window.Ready], and [Window.Drain] at the end of the file.
func (o *Ordered) Held() (Numbered, bool) {
	if p, ok := o.Ready(); ok || o.end == nil {
		return p, ok
	}
	return o.Drain()
}

// Next returns the next packet of the capture. It must be called only if Held returns none. ok is false without an error if Held must
// be called again, at the end of the file. A file of which the caller has found no packet is not of the format, which what names.
func (o *Ordered) Next(r *rawfile.Reader, what string) (p Packet, ok bool, err error) {
	if err = o.end; err != nil {
		o.end = nil
		return Packet{}, false, err
	}
	if p, err = o.reader.Next(r); err == nil {
		o.Arrived()
		return p, true, nil
	}
	if rawfile.AtEnd(err) && o.Found == 0 {
		err = &rawfile.FormatError{File: r.Path(), Reason: "a capture without " + what + o.reader.Unread()}
	}
	if err == io.EOF && r.Last() || rawfile.Final(err) {
		o.end = err
		return Packet{}, false, nil
	}
	return Packet{}, false, err
}
