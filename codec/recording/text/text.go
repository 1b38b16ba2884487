package text

import (
	"bytes"
	"slices"
	"strings"

	"tickfeed/codec"
	"tickfeed/codec/recording"
	"tickfeed/codec/recording/place"
	"tickfeed/feed"
)

// magic is the first line.
const magic = "tickfeed-text 1"

// noTime stands for event time 0, unless that is the base.
const noTime = "@0"

// Recognise reports whether head, the first bytes of a file, begins the text form of a recording, of any
// version.
func Recognise(head []byte) bool { return bytes.HasPrefix(head, []byte("tickfeed-text ")) }

// A lineState is what reading and writing know before a line. Only lines change it, so it is the same in both
// directions.
type lineState struct {
	header codec.FileHeader
	begun  bool   // header is set
	next   uint64 // the next number
	part   uint64 // index of the next part of the snapshot
	names  names
}

// enter puts h in force.
func (s *lineState) enter(h *codec.FileHeader) {
	s.header, s.begun, s.next = *h, true, h.Next
	if h.Next == 1 {
		s.names = names{}
	}
}

// mark returns the header of a mark before the line.
func (s *lineState) mark() codec.FileHeader {
	h := s.header
	h.Next = s.next
	return h
}

// snapshot begins a snapshot.
func (s *lineState) snapshot() {
	s.part = 0
	s.names = names{}
}

// names finds instruments by their definitions.
type names struct {
	listed map[feed.InstrumentID]*listing
	ids    map[string][]feed.InstrumentID
	change int // number of definitions so far
}

// A listing describes one instrument.
type listing struct {
	definition  *feed.Definition // nil if there is none
	price, size int8             // exponents
	token       string           // the instrument's name in the text, as of change
	change      int
}

// define adds a definition.
func (n *names) define(id feed.InstrumentID, d *feed.Definition) {
	if n.ids == nil {
		n.ids, n.listed = make(map[string][]feed.InstrumentID), make(map[feed.InstrumentID]*listing)
	}
	if old := n.listed[id]; old != nil {
		for _, name := range calls(old.definition) {
			n.ids[name] = slices.DeleteFunc(n.ids[name], func(i feed.InstrumentID) bool { return i == id })
		}
	}
	for _, name := range calls(d) {
		n.ids[name] = append(n.ids[name], id)
	}
	n.change++
	n.listed[id] = &listing{definition: d, price: d.PriceExponent, size: d.SizeExponent}
}

// calls returns the possible names of an instrument.
func calls(d *feed.Definition) []string {
	if d.Venue == "" {
		return []string{d.Symbol}
	}
	return []string{d.Symbol, d.Name()}
}

// lookup returns the id of the only instrument named name. If there is none, many reports whether there are
// several.
func (n *names) lookup(name string) (id feed.InstrumentID, many bool, ok bool) {
	ids := n.ids[name]
	if len(ids) != 1 {
		return 0, len(ids) > 1, false
	}
	return ids[0], false, true
}

// listing returns the listing of instrument id.
func (n *names) listing(id feed.InstrumentID) *listing {
	if in := n.listed[id]; in != nil {
		return in
	}
	return &unlisted
}

var unlisted listing

// callable reports whether name may be used for an instrument.
func callable(name string) bool {
	if name == "" || !alphanumeric(name[0]) {
		return false
	}
	return !strings.ContainsFunc(name, func(r rune) bool {
		return r <= ' ' || r > '~' || strings.ContainsRune(`",\=`, r)
	})
}

func alphanumeric(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
}

// kindWords are the first words of ticks.
var kindWords = [...]string{
	feed.KindDefinition: "define", feed.KindQuote: "quote", feed.KindTrade: "trade",
	feed.KindCorrection: "correction", feed.KindCancel: "cancel", feed.KindLevel: "level",
	feed.KindClear: "clear", feed.KindStatus: "status", feed.KindSummary: "summary", feed.KindAuction: "auction",
}

var modes = []string{"live", "simulation", "replay"}

var statuses = []string{"unknown", "pre-open", "trading", "halted", "auction", "closed"}

var auctions = []string{"unknown", "opening", "closing", "intraday", "halt", "ipo"}

var tradeSides = []string{"", "buy", "sell"}

var bookSides = []string{"", "bid", "ask", "both"}

var reasons = []string{"", "expired", "damaged", "denied"}

// An ending collects the index.
type ending struct {
	marks  []codec.Mark
	mark   codec.Mark // of a header; it counts once a packet follows
	marked bool
	last   int64
	at     int64 // length of the file so far
}

func newEnding() ending { return ending{last: place.NoTime} }

// header records a header at this place, as a mark if isMark is true.
func (e *ending) header(isMark bool) {
	if isMark || len(e.marks) == 0 && !e.marked {
		e.mark, e.marked = codec.Mark{Offset: uint64(e.at)}, true
	}
}

// packet records a packet.
func (e *ending) packet(h *codec.Packet) {
	if e.marked {
		e.marked = false
		e.mark.Seq, e.mark.Time = h.First, h.PublishTime
		e.marks = append(e.marks, e.mark)
	}
	e.last = h.PublishTime
}

// bytes returns the end of a file that is closed in order here.
func (e *ending) bytes(next uint64) ([]byte, error) {
	return recording.AppendEnd(nil, e.marks, e.at, next, e.last)
}
