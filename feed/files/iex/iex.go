// Package iex reads captures (pcap, pcapng) of IEX TOPS 1.6 and DEEP 1.0 and provides their ticks as a
// [feed.Source]. Formats: IEX Transport Protocol 1.25, IEX TOPS Specification 1.6, IEX DEEP Specification 1.0.
//
//	src, err := iex.Open([]string{"TOPS16.pcap.gz"}, iex.Config{})
//
// Type [Source] says which messages give which ticks, with which values.
package iex

import (
	"encoding/binary"
	"hash/maphash"
	"time"
	_ "time/tzdata" // New York on a machine that has no zones

	"tickfeed/feed"
	"tickfeed/feed/files/internal/book"
	"tickfeed/feed/files/internal/pcap"
	"tickfeed/feed/files/internal/recent"
	"tickfeed/feed/files/rawfile"
)

// Config configures a Source. The zero Config is ready to use.
type Config struct {
	// SkipBad is how many damaged packets are skipped, in all files together, before one ends the source. Not
	// negative.
	SkipBad int
}

// A Source yields the ticks of captures; see [rawfile.Source] for its methods and errors.
//
// # Messages
//
//	Q  quote update           a quote; a side of price 0 and size 0 is empty
//	8 5  price level update   a level, and at the end of the event a quote if the best bid or
//	                          offer has changed
//	T  trade report           a trade
//	B  trade break            a cancel, with the trade's price and size
//	H  trading status         a status
//	O  operational halt       a status: halted, or the last status from H
//	D  security directory     a definition with the round lot
//	A  auction information    an auction, see Values
//
// All other messages (system events, official prices, short sale restrictions, …) give no ticks and are
// counted as ignored. The first message of each unknown type is also noted.
//
// # Values
//
// Prices are exact, in units of 10^-4 dollars. Event times are those of the messages. Trade ids are numbers;
// conditions are the sale condition flags as letters: F intermarket sweep, T extended hours, I odd lot, E
// trade-through exempt, X single-price cross. IEX does not identify the aggressor. The venue of all instruments
// is IEXG. The first trading status of an instrument after the start of messages names the trading day (New
// York).
//
// The reason for a status is the code of its message (T1 news pending, IPO1, MCB3, …), which IEX sends for halts and
// order acceptance periods, or "operational halt".
//
// An auction has the indicative clearing price, or the reference price if that is 0, and no price if both are 0. The
// paired shares (the size) and the imbalance are those at the reference price. Its expected time is the scheduled
// auction time. After a halt and after a pause for volatility it is of kind halt. The clearing price of the auction book
// alone and the collars are not read.
//
// Captures of both TOPS and DEEP, in one file or several, have each trade, auction and status twice: the first copy
// counts, the other is a duplicate (the last two million reports of each protocol are remembered). The quotes
// of an instrument are then those of TOPS.
//
// # Numbering
//
// Each stream (protocol, channel) has numbers, and its messages are read in their order: a [pcap.Window] waits
// for a segment that one of two lines has lost and the other brings. A gap that remains is counted and noted,
// and reading continues; a repeated segment is counted and left out. A new session is counted as a reset and
// clears the books, and so is a sender that begins again at number 1 in the same session; unlike a duplicate it
// has a later send time.
type Source = rawfile.Source

// Venue is the venue of all instruments.
const Venue = "IEXG"

// Open prepares to read the captures at paths one after another. It reads nothing yet, but returns an error if
// a path does not exist.
func Open(paths []string, cfg Config) (*Source, error) {
	zone, err := time.LoadLocation("America/New_York")
	if err != nil {
		return nil, err
	}
	d := &decoder{
		zone: zone, symbols: make(map[[8]byte]*instrument), lines: make(map[uint64]*stream),
		streams: make(map[*pcap.Line]*stream), seed: maphash.MakeSeed(),
	}
	return rawfile.NewSource(paths, cfg.SkipBad, d, &d.count)
}

// Message protocols.
const (
	protocolTOPS = 0x8003
	protocolDEEP = 0x8004
)

// ProtocolTOPS15 is the message protocol of TOPS 1.5, which is not read.
const ProtocolTOPS15 = 0x8002

const (
	segmentHeader = 40
	maxStreams    = 1024
	dollars       = -4 // exponent of prices
)

// Recognise reports whether head, the first bytes of an unpacked file, begins a capture with an IEX segment in
// head.
func Recognise(head []byte) bool {
	return pcap.Contains(head, func(payload []byte) bool {
		_, ok := segment(payload)
		return ok
	})
}

// OtherProtocol returns the message protocol of a capture that begins with head and has segments of
// IEX-TP of another protocol than those that are read, such as TOPS 1.5; 0 if it has none.
func OtherProtocol(head []byte) (protocol uint16) {
	pcap.Contains(head, func(payload []byte) bool {
		le := binary.LittleEndian
		if len(payload) >= segmentHeader && payload[0] == 1 && payload[1] == 0 && payload[3] == 0x80 &&
			int(le.Uint16(payload[12:])) == len(payload)-segmentHeader {
			protocol = le.Uint16(payload[2:])
		}
		return protocol != 0
	})
	return protocol
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
	capture pcap.Ordered
	names   rawfile.Instruments
	symbols map[[8]byte]*instrument
	order   []*instrument          // all instruments in order of appearance
	lines   map[uint64]*stream     // by protocol << 32 | channel
	streams map[*pcap.Line]*stream // the same streams by their lines
	day     int32                  // the current trading day
	tops    recent.Set             // hashes of the reports that came first over TOPS
	deep    recent.Set             // hashes of the reports that came first over DEEP
	seed    maphash.Seed
}

// A stream is the state of one channel of one protocol.
type stream struct {
	pcap.Line
	session  uint32
	sent     int64  // the latest send time of a segment read
	previous uint32 // the previous session; the same if the session began again
	began    int64  // sent of the previous numbering; 0 if there is none
}

// A place is the numbering that a segment belongs to.
type place int

const (
	following place = iota // the current numbering: new, or a duplicate
	straggler              // the previous numbering
	beginning              // a new numbering
)

// place decides which numbering a segment belongs to. A duplicate, as from the second of two lines, has the
// send time of the original; a sender that begins again at 1 sends later.
func (s *stream) place(session uint32, first uint64, count int, sent int64) place {
	switch {
	case s.began != 0 && session == s.previous && sent != 0 && sent <= s.began:
		return straggler
	case session != s.session:
		return beginning
	case first < s.Next && sent > s.sent && (first <= 1 || count > 0 && first+uint64(count) <= s.Next):
		return beginning
	}
	return following
}

// begin starts the numbering of a session. A session that begins again begins at 1.
func (s *stream) begin(session uint32) {
	next := uint64(0)
	if session == s.session {
		next = 1
	}
	s.previous, s.session, s.began, s.Next = s.session, session, s.sent, next
}

type instrument struct {
	id     feed.InstrumentID
	day    int32 // of the last status tick that named one
	status feed.Status
	reason string // for status
	halted bool   // operationally
	book   book.Book
	tops   bool // quotes come from TOPS, not from the book
}

// A report is a trade (T), its break (B), a status (H), an operational halt (O) or auction information (A), which
// TOPS and DEEP both send.
type report struct {
	kind, code byte
	symbol     [8]byte
	time, id   uint64
}

// repeated reports whether a message came over the other protocol before. It records the message otherwise.
func (d *decoder) repeated(m []byte, protocol uint16) bool {
	r := report{kind: m[0], symbol: [8]byte(m[10:18]), time: binary.LittleEndian.Uint64(m[2:])}
	switch m[0] {
	case 'T', 'B':
		r.id = binary.LittleEndian.Uint64(m[30:])
	case 'H', 'O', 'A':
		r.code = m[1]
	default:
		return false
	}
	own, other := &d.tops, &d.deep
	if protocol == protocolDEEP {
		own, other = other, own
	}
	key := maphash.Comparable(d.seed, r)
	if other.Has(key) {
		return true
	}
	own.Add(key)
	return false
}

func (d *decoder) Begin(r *rawfile.Reader) error {
	return d.capture.Begin(r)
}

func (d *decoder) End(out []feed.Tick) []feed.Tick { return out }

func (d *decoder) Decode(r *rawfile.Reader, out []feed.Tick) ([]feed.Tick, error) {
	if h, ok := d.capture.Held(); ok {
		return d.segment(r, out, h)
	}
	p, ok, err := d.capture.Next(r, "packets of IEX TOPS 1.6 or DEEP 1.0")
	if !ok {
		return out, err
	}
	payload, whole, ok := p.UDP()
	if ok {
		_, ok = segment(payload)
	}
	if !ok {
		d.count.Foreign++
		return out, nil
	}
	d.capture.Found++
	d.count.Packets++
	le := binary.LittleEndian
	if size := int(le.Uint16(payload[12:])); !whole || size > len(payload)-segmentHeader {
		return out, r.Bad(p.Offset, "a segment of %d bytes of which the capture has %d", size, len(payload)-segmentHeader)
	}
	n := pcap.Numbered{First: le.Uint64(payload[24:]), Payload: payload, Time: p.Time, Offset: p.Offset}
	if n.Line, err = d.line(payload); err != nil {
		return out, r.Bad(p.Offset, "%v", err)
	}
	return d.segment(r, out, n)
}

// segment reads the messages of a segment, or puts the segment into the window if it is ahead of its line.
func (d *decoder) segment(r *rawfile.Reader, out []feed.Tick, p pcap.Numbered) ([]feed.Tick, error) {
	le := binary.LittleEndian
	s := d.streams[p.Line]
	protocol := le.Uint16(p.Payload[2:])
	size, count := int(le.Uint16(p.Payload[12:])), int(le.Uint16(p.Payload[14:]))
	session, sent := le.Uint32(p.Payload[8:]), int64(le.Uint64(p.Payload[32:]))
	if !p.Due {
		switch s.place(session, p.First, count, sent) {
		case straggler:
			d.count.Duplicates += int64(count)
			return out, nil
		case beginning:
			if d.capture.Holds() {
				d.capture.FlushBefore(p)
				return out, nil
			}
			d.count.Resets++
			if session == s.session {
				d.count.Note("session %d begins again at number %d after %d", session, p.First, s.Next-1)
			} else {
				d.count.Note("session %d follows session %d", session, s.session)
			}
			s.begin(session)
			out = d.clear(out, sent)
		}
		if p.Ahead() {
			d.capture.Hold(p)
			return out, nil
		}
	}
	s.sent = max(s.sent, sent)
	if s.Next != 0 && p.First > s.Next {
		d.count.Gaps++
		d.count.Missing += int64(min(p.First-s.Next, 1<<62))
		d.count.Note("gap: messages %d to %d of session %d are missing", s.Next, p.First-1, s.session)
		s.Next = p.First
	}
	body := p.Payload[segmentHeader:][:size]
	for i := range count {
		if len(body) < 2 || len(body)-2 < int(le.Uint16(body)) {
			return out, r.Bad(p.Offset, "message %d of %d is longer than its segment", i+1, count)
		}
		n := int(le.Uint16(body))
		m := body[2 : 2+n]
		body = body[2+n:]
		if seq := p.First + uint64(i); s.Next != 0 && seq < s.Next {
			d.count.Duplicates++
			continue
		}
		s.Next = p.First + uint64(i) + 1
		var err error
		if out, err = d.message(out, m, protocol); err != nil {
			return out, r.Bad(p.Offset, "message %d: %v", p.First+uint64(i), err)
		}
	}
	if s.Next == 0 {
		s.Next = p.First // a heartbeat carries the number of the next message
	}
	return out, nil
}
