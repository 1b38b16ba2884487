// Package iex reads captures (pcap, pcapng) of IEX TOPS 1.6 and DEEP 1.0 and gives their
// ticks to a publisher as a [feed.Source]. Formats: IEX Transport Protocol 1.25, IEX TOPS
// Specification 1.6, IEX DEEP Specification 1.0.
//
//	src, err := iex.Open([]string{"TOPS16.pcap.gz"}, iex.Config{})
//
// # Messages
//
//	Q  quote update           a quote; a side of price 0 and size 0 is empty
//	8 5  price level update   a level, and a quote where the best has changed at the end of
//	                          the event
//	T  trade report           a trade
//	B  trade break            a cancel, with the trade's price and size
//	H  trading status         a status
//	O  operational halt       a status: halted, or what H said last
//	D  security directory     a definition with the round lot
//
// All others (system events, auction information, short sale restrictions, …) hold no ticks;
// they are counted as ignored. Of types that are not known at all, the first is noted too.
//
// # Values
//
// Prices are exact, in units of 10^-4 dollars. Event times are those of the messages. Trade
// ids are numbers; conditions are the sale condition flags as letters: F intermarket sweep,
// T extended hours, I odd lot, E trade-through exempt, X single-price cross. IEX does not
// say who the aggressor was. The venue of all instruments is IEXG. The first trading status
// of an instrument after the start of messages names the trading day (New York).
//
// # Numbering
//
// Each stream (protocol, channel) has numbers. A gap is counted and noted and reading goes
// on; what comes again, as from the second of two lines, is left out and counted; a new
// session is counted as a reset, and the books are cleared.
package iex

import (
	"encoding/binary"
	"time"
	_ "time/tzdata" // New York on a machine that has no zones

	"tickfeed/feed"
	"tickfeed/feed/book"
	"tickfeed/feed/pcap"
	"tickfeed/feed/rawfile"
)

// Config says how captures are to be read. The zero Config is ready to use.
type Config struct {
	// SkipBad is how many damaged packets are passed over, in all files together, before
	// one ends the source. Not negative.
	SkipBad int
}

// A Source yields the ticks of captures; see [rawfile.Source] for its methods and errors.
type Source = rawfile.Source

// Venue is that of all instruments.
const Venue = "IEXG"

// Open prepares to read the captures at paths one after the other. It reads nothing yet, but
// a path that is not there is an error now.
func Open(paths []string, cfg Config) (*Source, error) {
	zone, err := time.LoadLocation("America/New_York")
	if err != nil {
		return nil, err
	}
	d := &decoder{
		zone: zone, symbols: make(map[[8]byte]*instrument), streams: make(map[uint64]*stream),
	}
	return rawfile.NewSource(paths, cfg.SkipBad, d, &d.count)
}

// Message protocols.
const (
	protocolTOPS = 0x8003
	protocolDEEP = 0x8004
)

const (
	segmentHeader = 40
	maxStreams    = 1024
	dollars       = -4 // exponent of prices
)

// Recognise reports whether head, the first bytes of an unpacked file, are those of a
// capture with an IEX segment among its first packets.
func Recognise(head []byte) bool {
	return pcap.Contains(head, func(payload []byte) bool {
		_, ok := segment(payload)
		return ok
	})
}

// segment reports whether payload is an IEX-TP segment of TOPS 1.6 or DEEP 1.0.
func segment(payload []byte) (protocol uint16, ok bool) {
	if len(payload) < segmentHeader || payload[0] != 1 {
		return 0, false
	}
	protocol = binary.LittleEndian.Uint16(payload[2:])
	return protocol, protocol == protocolTOPS || protocol == protocolDEEP
}

// A decoder implements rawfile.Decoder.
type decoder struct {
	count   rawfile.Stats
	zone    *time.Location
	capture pcap.Reader
	names   rawfile.Instruments
	symbols map[[8]byte]*instrument
	order   []*instrument      // all, as they came
	streams map[uint64]*stream // by protocol << 32 | channel
	day     int32              // the trading day at hand
	packets int64              // of the format, in the file at hand
}

// A stream is what one channel of one protocol has told so far.
type stream struct {
	session uint32
	next    uint64 // number of the next message; 0 if any may come
}

type instrument struct {
	id     feed.InstrumentID
	day    int32 // of its last status tick that named one
	status feed.Status
	halted bool // operationally
	book   book.Book
}

func (d *decoder) Begin(r *rawfile.Reader) error {
	d.packets = 0
	return d.capture.Begin(r)
}

func (d *decoder) End(out []feed.Tick) []feed.Tick { return out }

func (d *decoder) Decode(r *rawfile.Reader, out []feed.Tick) ([]feed.Tick, error) {
	p, err := d.capture.Next(r)
	if err != nil {
		if rawfile.AtEnd(err) && d.packets == 0 {
			return out, &rawfile.FormatError{File: r.Path(), Reason: "a capture without packets of IEX TOPS 1.6 or DEEP 1.0"}
		}
		return out, err
	}
	payload, whole, ok := p.UDP()
	var protocol uint16
	if ok {
		protocol, ok = segment(payload)
	}
	if !ok {
		d.count.Foreign++
		return out, nil
	}
	d.packets++
	d.count.Packets++
	le := binary.LittleEndian
	size, count := int(le.Uint16(payload[12:])), int(le.Uint16(payload[14:]))
	first := le.Uint64(payload[24:])
	body := payload[segmentHeader:]
	if !whole || size > len(body) {
		return out, r.Bad(p.Offset, "a segment of %d bytes of which the capture has %d", size, len(body))
	}
	body = body[:size]
	s, out, err := d.stream(out, protocol, le.Uint32(payload[4:]), le.Uint32(payload[8:]), int64(le.Uint64(payload[32:])))
	if err != nil {
		return out, r.Bad(p.Offset, "%v", err)
	}
	if s.next != 0 && first > s.next {
		d.count.Gaps++
		d.count.Missing += int64(min(first-s.next, 1<<62))
		d.count.Note("gap: messages %d to %d of session %d are missing", s.next, first-1, s.session)
		s.next = first
	}
	for i := range count {
		if len(body) < 2 || len(body)-2 < int(le.Uint16(body)) {
			return out, r.Bad(p.Offset, "message %d of %d is longer than its segment", i+1, count)
		}
		n := int(le.Uint16(body))
		m := body[2 : 2+n]
		body = body[2+n:]
		if seq := first + uint64(i); s.next != 0 && seq < s.next {
			d.count.Duplicates++
			continue
		}
		s.next = first + uint64(i) + 1
		if out, err = d.message(out, m); err != nil {
			return out, r.Bad(p.Offset, "message %d: %v", first+uint64(i), err)
		}
	}
	if s.next == 0 {
		s.next = first // a heartbeat carries the number of the next message
	}
	return out, nil
}
