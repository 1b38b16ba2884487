// Package itch reads Nasdaq TotalView-ITCH 5.0, as BinaryFILE (the exchange's sample days) or as MoldUDP64 in
// captures (pcap, pcapng), and provides its ticks as a [feed.Source]. Formats: Nasdaq TotalView-ITCH 5.0,
// BinaryFILE 1.00, MoldUDP64 1.00.
//
//	src, err := itch.Open([]string{"01302020.NASDAQ_ITCH50.gz"}, itch.Config{})
//	if err != nil {
//		return err
//	}
//	defer src.Close()
//	for batch := make([]feed.Tick, 256); ; {
//		n, err := src.Next(ctx, batch)
//		use(batch[:n])
//		if err != nil {
//			return err // io.EOF at the end
//		}
//	}
//
// [Source] documents which messages become which ticks.
package itch

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"time"
	_ "time/tzdata" // New York on a machine that has no zones

	"tickfeed/feed"
	"tickfeed/feed/files/internal/pcap"
	"tickfeed/feed/files/rawfile"
)

// Config configures a Source. The zero Config reads captures, and files with a date in their name.
type Config struct {
	// Date is the date of all messages, as yyyymmdd; 0 takes it from the capture or the file's name.
	Date int
	// Venue is the venue of all instruments; empty means XNAS. Nasdaq BX (XBOS) and PSX (XPSX) use the same
	// format, which does not say which of them it is.
	Venue string
	// QuotesOnly omits levels and clears: of the books, only the best bid and offer are published.
	QuotesOnly bool
	// SkipBad is how many damaged messages or packets are skipped, in all files together, before one ends the
	// source. Not negative.
	SkipBad int
}

// A Source yields the ticks of ITCH files; see [rawfile.Source] for its methods and errors.
//
// # Messages
//
//	R            a definition: symbol, round lot
//	H h          a status: trading action, operational halt
//	A F X D U    orders: levels, and a quote if the best bid or offer has changed
//	E C          executions: a trade, then the level and the quote; a C that is not printable
//	             (a cross reports its volume) gives no trade
//	P            a trade with an order that was never shown
//	Q            a cross: a trade, unless it is of 0 shares
//	B            a cancel, with price and size of the trade if it is among the last 262,144
//	             (a table by match number); otherwise with size 0 and without price
//	I            net order imbalance indicator: an auction, see Values
//	S            the start of messages (O) drops all orders and clears the books
//
// All other messages (positions of market participants, price collars, …) give no ticks and are
// counted as ignored. The first message of each unknown type is also noted. The ticks of one message are one
// event: all but the last have [feed.FlagMore].
//
// A message about an unknown order, as at the beginning of a capture that starts during the day, is counted in
// Stats.Unknown. It changes nothing, but a printable C still gives a trade, because it states the price.
//
// # Values
//
// Prices are exact, in units of 10^-4 dollars. The aggressor of an execution is on the side opposite to the
// order; P and Q do not state it. A trade's id is the match number; a cross has its type as condition: O
// opening, C closing, H after a halt or IPO, I intraday.
//
// The reason for a status is the code of its trading action (T1 news pending, LUDP a pause for volatility, …), or
// "operational halt".
//
// An auction has the near indicative price, at which it would clear with the orders of the book, or the current
// reference price if that is 0 (the near price is sent in the last minutes only), and no price if both are 0. The
// paired shares (the size) and the imbalance are those at the reference price. Its kind is opening (O), closing (C),
// halt (H, also for an IPO), or unknown. The far indicative price, of the cross orders alone, is not read.
//
// Messages carry nanoseconds after midnight in New York and no date. The date is Config.Date, or that of the
// capture, or the one in the file's name (01302020, 20200130, 2020-01-30, S013020). The first status of an
// instrument on a date names the date as the trading day.
//
// # Numbering
//
// Each session of MoldUDP64 has numbers, and its messages are read in their order: a [pcap.Window] waits for a
// packet that one of two lines has lost and the other brings. A gap that remains is counted and noted, and
// reading continues; a repeated message is counted and left out. A change of session is counted as a reset, and
// so is a sender that begins again at number 1 in the same session; unlike a duplicate it has later times.
// Packets with number 0, as in anonymised captures, are not numbered.
type Source = rawfile.Source

// ErrNoDate is returned if nothing gives the date of the messages; Config.Date must be set then.
var ErrNoDate = errors.New("ITCH messages carry no date, and the file's name has none")

// Open prepares to read the files at paths one after another. It reads nothing yet, but returns an error if a
// path does not exist or the Config is not valid.
func Open(paths []string, cfg Config) (*Source, error) {
	zone, err := time.LoadLocation("America/New_York")
	if err != nil {
		return nil, err
	}
	if cfg.Venue == "" {
		cfg.Venue = "XNAS"
	}
	if err := feed.ValidateText(cfg.Venue); err != nil {
		return nil, configError("Venue: %w", err)
	}
	if cfg.Date != 0 && !validDate(cfg.Date) {
		return nil, configError("Date must be yyyymmdd, got %d", cfg.Date)
	}
	d := newDecoder(cfg, zone)
	return rawfile.NewSource(paths, cfg.SkipBad, d, &d.count)
}

// configError returns an error about a field of Config.
func configError(format string, args ...any) error { return fmt.Errorf(format, args...) }

func newDecoder(cfg Config, zone *time.Location) *decoder {
	return &decoder{
		market: market{cfg: cfg, symbols: make(map[uint64]*instrument)},
		zone:   zone, streams: make(map[[10]byte]*stream), lines: make(map[*pcap.Line]*stream),
	}
}

const (
	moldHeader  = 20
	moldEnd     = 0xffff // count of the packet that ends a session
	maxStreams  = 1024
	leastLength = 11 // of any message: type, locate, tracking number, time
)

// lengths of messages by type; 0 for types that are not known.
var lengths = [256]byte{
	'S': 12, 'R': 39, 'H': 25, 'Y': 20, 'L': 26, 'V': 35, 'W': 12, 'K': 28, 'J': 35, 'h': 21, 'A': 36, 'F': 40,
	'E': 31, 'C': 36, 'X': 23, 'D': 19, 'U': 35, 'P': 44, 'Q': 40, 'B': 19, 'I': 50, 'N': 20, 'O': 48,
}

// Recognise reports whether head, the first bytes of an unpacked file, begins a BinaryFILE of ITCH 5.0, or a
// capture with a MoldUDP64 packet of ITCH 5.0 in head.
func Recognise(head []byte) bool {
	return recogniseFile(head, 16) || pcap.Contains(head, certain)
}

// recogniseFile reports whether the messages in head, at least one and at most most, have the lengths of their
// types.
func recogniseFile(head []byte, most int) bool {
	for n := range most {
		if len(head) < 3 {
			return n > 0
		}
		k := int(binary.BigEndian.Uint16(head))
		if k == 0 && n > 0 {
			return true
		}
		if k == 0 || k != int(lengths[head[2]]) {
			return false
		}
		if len(head) < 2+k {
			return n > 0
		}
		head = head[2+k:]
	}
	return true
}

// OtherFraming returns how the messages of ITCH 5.0 that head, the first bytes of an unpacked file, holds
// follow each other, if it is in another way than those that are read; empty if they are none.
func OtherFraming(head []byte) string {
	if bytes.IndexByte(head, 0) < 0 {
		return "" // text, whose letters may look like types
	}
	for _, f := range []struct {
		name string
		cut  func(b []byte) (message, rest []byte)
	}{
		{"without their lengths", func(b []byte) (message, rest []byte) {
			n := min(int(lengths[b[0]]), len(b))
			return b[:n], b[n:]
		}},
		{"in packets of SoupBinTCP", func(b []byte) (message, rest []byte) {
			if len(b) < 4 || b[2] != 'S' {
				return nil, nil
			}
			n := min(2+int(binary.BigEndian.Uint16(b)), len(b))
			if n < 3 {
				return nil, nil
			}
			return b[3:n], b[n:]
		}},
	} {
		n := 0
		for rest := head; len(rest) > 0; n++ {
			var m []byte
			if m, rest = f.cut(rest); len(rest) == 0 && n > 1 {
				return f.name // the last one may be cut
			}
			if len(m) < leastLength || len(m) != int(lengths[m[0]]) || nanoseconds(m) >= 24*int64(time.Hour) {
				break
			}
		}
	}
	return ""
}

// mold reports whether payload may be a MoldUDP64 packet of ITCH 5.0 messages: a heartbeat, the end of a
// session, or a packet whose first message has the length of its type.
func mold(payload []byte) bool {
	if len(payload) < moldHeader {
		return false
	}
	if moldCount(payload) == 0 {
		return len(payload) == moldHeader
	}
	b := payload[moldHeader:]
	return len(b) >= 3 && lengths[b[2]] != 0 && int(binary.BigEndian.Uint16(b)) == int(lengths[b[2]])
}

// certain reports whether payload is almost certainly a MoldUDP64 packet of ITCH 5.0 messages: the messages
// fill the packet, the first has a known type, and those of known types have the right length, a time of day,
// and printable symbols.
func certain(payload []byte) bool {
	if !mold(payload) {
		return false
	}
	count := moldCount(payload)
	if count == 0 {
		return printable(payload[:10]) && payload[0] != 0
	}
	b := payload[moldHeader:]
	for range count {
		if len(b) < 2+leastLength || len(b)-2 < int(binary.BigEndian.Uint16(b)) {
			return false
		}
		n := int(binary.BigEndian.Uint16(b))
		m := b[2 : 2+n]
		b = b[2+n:]
		if known := int(lengths[m[0]]); n < leastLength || known != 0 && n != known || nanoseconds(m) >= 24*int64(time.Hour) {
			return false
		}
		switch m[0] {
		case 'R', 'H', 'Y':
			if !printable(m[11:19]) {
				return false
			}
		case 'A', 'F', 'P':
			if !printable(m[24:32]) || m[19] != 'B' && m[19] != 'S' {
				return false
			}
		}
	}
	return len(b) == 0
}

// printable reports whether b is printable ASCII.
func printable(b []byte) bool {
	for _, c := range b {
		if c < ' ' || c > '~' {
			return false
		}
	}
	return true
}

// A decoder implements rawfile.Decoder.
type decoder struct {
	market
	zone    *time.Location
	capture pcap.Ordered
	isFile  bool                   // BinaryFILE, not a capture
	streams map[[10]byte]*stream   // by session
	lines   map[*pcap.Line]*stream // the same streams by their lines
	session [10]byte               // of the last numbered packet
}

func (d *decoder) Begin(r *rawfile.Reader) error {
	d.isFile = false
	head, err := r.Peek(rawfile.HeadSize)
	if damage := (*rawfile.DamageError)(nil); errors.As(err, &damage) && len(head) == 0 {
		return err
	}
	if pcap.Recognise(head) {
		d.midnight = 0
		return d.capture.Begin(r)
	}
	d.isFile = true
	if !recogniseFile(head, 1) {
		return &rawfile.FormatError{File: r.Path(), Reason: "neither a BinaryFILE of ITCH 5.0 nor a capture"}
	}
	date := d.cfg.Date
	if date == 0 {
		date = dateIn(r.Path())
	}
	if date == 0 {
		return &rawfile.FormatError{File: r.Path(), Reason: ErrNoDate.Error(), Err: ErrNoDate}
	}
	d.setDate(date)
	return nil
}

// setDate sets the date of the messages to date, yyyymmdd.
func (d *decoder) setDate(date int) {
	d.date = int32(date)
	d.midnight = time.Date(date/10000, time.Month(date/100%100), date%100, 0, 0, 0, 0, d.zone).UnixNano()
}

func (d *decoder) End(out []feed.Tick) []feed.Tick { return out }

func (d *decoder) Decode(r *rawfile.Reader, out []feed.Tick) ([]feed.Tick, error) {
	if !d.isFile {
		return d.packet(r, out)
	}
	b, err := r.Peek(2)
	if err != nil {
		return out, r.Torn("a message", err)
	}
	n := int(binary.BigEndian.Uint16(b))
	if b, err = r.Peek(2 + n); err != nil {
		return out, r.Torn("a message", err)
	}
	start := r.Offset()
	r.Skip(2 + n)
	if n == 0 {
		return out, nil // the end of a session; files may be concatenated
	}
	if out, err = d.message(out, b[2:]); err != nil {
		return out, r.Bad(start, "%v", err)
	}
	return out, nil
}

// A stream is the state of one session of MoldUDP64.
type stream struct {
	pcap.Line
	session [10]byte
	at      int64 // the latest time of a message read
	began   int64 // the value of at when the sender began again; else 0
}

// packet reads the next packet of a capture.
func (d *decoder) packet(r *rawfile.Reader, out []feed.Tick) ([]feed.Tick, error) {
	if p, ok := d.capture.Held(); ok && p.Due {
		return d.numbered(r, out, p)
	} else if ok {
		return d.arrive(r, out, p)
	}
	p, ok, err := d.capture.Next(r, "MoldUDP64 packets of ITCH 5.0")
	if !ok {
		return out, err
	}
	payload, whole, ok := p.UDP()
	if ok && whole && !certain(payload) {
		if ok = len(payload) >= moldHeader; ok { // a known session may have messages that are not certain
			_, ok = d.streams[[10]byte(payload[:10])]
		}
	}
	if !ok {
		d.count.Foreign++
		return out, nil
	}
	if !whole {
		return out, r.Bad(p.Offset, "the capture has not all of the packet")
	}
	d.capture.Found++
	d.count.Packets++
	n := pcap.Numbered{First: binary.BigEndian.Uint64(payload[10:]), Payload: payload, Time: p.Time, Offset: p.Offset}
	if n.First == 0 { // of an anonymised capture
		return d.messages(r, out, n, 0)
	}
	return d.arrive(r, out, n)
}

// arrive finds the stream of a packet.
func (d *decoder) arrive(r *rawfile.Reader, out []feed.Tick, p pcap.Numbered) ([]feed.Tick, error) {
	session := [10]byte(p.Payload[:10])
	s := d.streams[session]
	if s == nil {
		if len(d.streams) >= maxStreams {
			return out, r.Bad(p.Offset, "too many sessions")
		}
		if d.capture.Holds() {
			d.capture.FlushBefore(p)
			return out, nil
		}
		if d.session != [10]byte{} {
			d.count.Resets++
			d.count.Note("session %q follows session %q", session[:], d.session[:])
		}
		s = &stream{session: session}
		d.streams[session], d.lines[&s.Line] = s, s
	}
	d.session, p.Line = session, &s.Line
	return d.numbered(r, out, p)
}

// numbered reads the messages of a packet, or puts it into the window if it is ahead of its line.
func (d *decoder) numbered(r *rawfile.Reader, out []feed.Tick, p pcap.Numbered) ([]feed.Tick, error) {
	s := d.lines[p.Line]
	count := uint64(moldCount(p.Payload))
	at := int64(0)
	if count > 0 {
		if err := d.dateOf(p.Time); err != nil {
			return out, r.Bad(p.Offset, "%v", err)
		}
		at = d.timeOf(p.Payload)
	}
	if !p.Due {
		switch {
		case s.began != 0 && at != 0 && at <= s.began: // from before the sender began again
			d.count.Duplicates += int64(count)
			return out, nil
		case p.First < s.Next && at > s.at && (p.First == 1 || p.First+count <= s.Next):
			// A duplicate has the times of the original; a sender that begins again has later times.
			if d.capture.Holds() {
				d.capture.FlushBefore(p)
				return out, nil
			}
			d.count.Resets++
			d.count.Note("session %q begins again at number %d after %d", s.session[:], p.First, s.Next-1)
			s.began, s.Next = s.at, 1
		}
		if p.Ahead() {
			d.capture.Hold(p)
			return out, nil
		}
	}
	s.at = max(s.at, at)
	next := s.Next
	if next == 0 {
		next = p.First
	}
	if p.First > next {
		d.count.Gaps++
		d.count.Missing += int64(min(p.First-next, 1<<62))
		d.count.Note("gap: messages %d to %d of session %q are missing", next, p.First-1, s.session[:])
	}
	s.Next = max(next, p.First+count)
	return d.messages(r, out, p, next)
}

// moldCount returns the number of messages in a MoldUDP64 packet.
func moldCount(payload []byte) int {
	count := int(binary.BigEndian.Uint16(payload[18:]))
	if count == moldEnd {
		return 0
	}
	return count
}

// timeOf returns the time of the first message in a MoldUDP64 packet, or 0 if it has none.
func (d *decoder) timeOf(payload []byte) int64 {
	if len(payload) < moldHeader+2+leastLength {
		return 0
	}
	return d.midnight + nanoseconds(payload[moldHeader+2:])
}

// messages reads the messages of a packet, except those with numbers below next.
func (d *decoder) messages(r *rawfile.Reader, out []feed.Tick, p pcap.Numbered, next uint64) ([]feed.Tick, error) {
	be := binary.BigEndian
	count := moldCount(p.Payload)
	if err := d.dateOf(p.Time); err != nil && count > 0 {
		return out, r.Bad(p.Offset, "%v", err)
	}
	body := p.Payload[moldHeader:]
	for i := range count {
		if len(body) < 2 || len(body)-2 < int(be.Uint16(body)) {
			return out, r.Bad(p.Offset, "message %d of %d is longer than its packet", i+1, count)
		}
		n := int(be.Uint16(body))
		m := body[2 : 2+n]
		body = body[2+n:]
		if p.First+uint64(i) < next {
			d.count.Duplicates++
			continue
		}
		var err error
		if out, err = d.message(out, m); err != nil {
			return out, r.Bad(p.Offset, "message %d of %d: %v", i+1, count, err)
		}
	}
	return out, nil
}

// dateOf sets the date of messages captured at t.
func (d *decoder) dateOf(t int64) error {
	const twentyHours = 20 * int64(time.Hour)
	switch {
	case d.cfg.Date != 0:
		if d.midnight == 0 {
			d.setDate(d.cfg.Date)
		}
	case d.midnight != 0 && t >= d.midnight && t < d.midnight+twentyHours:
	case t <= 0:
		return errors.New("ITCH messages carry no date, and the capture has no time: Date must be set")
	default:
		y, m, day := time.Unix(0, t).In(d.zone).Date()
		if date := y*10000 + int(m)*100 + day; validDate(date) {
			d.setDate(date)
			return nil
		}
		return errors.New("the time of the capture is out of range")
	}
	return nil
}
