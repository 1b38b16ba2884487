package wscap

import (
	"bytes"
	"fmt"
	"net"
	neturl "net/url"
	"slices"
	"strings"

	"tickfeed/feed"
)

// A market is a market of Binance; their messages differ.
type market uint8

const (
	marketSpot market = iota
	marketUSDM
	marketCOINM
	marketOptions
)

// marketSuffix is appended to the name of the exchange to make a venue.
var marketSuffix = [...]string{marketSpot: "", marketUSDM: "_USDM", marketCOINM: "_COINM", marketOptions: "_OPTIONS"}

// venue returns the venue of a market on the site that the recorder connected to: binance.com, or another site that
// sends the same messages.
func (s *Source) venue(of market) string { return s.site[of] }

// connectedTo sets the site from the address that a recorder connected to, such as wss://stream.binance.us:9443.
func (s *Source) connectedTo(url []byte) {
	u, err := neturl.Parse(string(bytes.TrimSpace(firstWord(url))))
	if err != nil || u.Hostname() == s.host {
		return
	}
	s.host = u.Hostname()
	s.setSite(siteOf(s.host))
}

func firstWord(b []byte) []byte {
	word, _, _ := bytes.Cut(b, []byte{' '})
	return word
}

func (s *Source) setSite(site string) {
	for of, suffix := range marketSuffix {
		s.site[of] = site + suffix
	}
}

// siteOf returns the name of the exchange at a host: BINANCE for the domains of binance.com,
// BINANCE_US for binance.us, and the like; for other exchanges, which run the same software, the name of their domain in
// capitals.
func siteOf(host string) string {
	labels := strings.Split(strings.ToLower(host), ".")
	if len(labels) < 2 || net.ParseIP(host) != nil {
		return exchangeName // a proxy, or a name of a local network
	}
	domain, top := labels[len(labels)-2], labels[len(labels)-1]
	switch {
	case slices.Contains(labels, "testnet") || domain == "binancefuture":
		return exchangeName + "_TESTNET"
	case domain == "binance" && (top == "com" || top == "vision"):
		return exchangeName
	case domain == "binance":
		return exchangeName + "_" + strings.ToUpper(top)
	case domain == "trbinance":
		return exchangeName + "_TR"
	}
	return strings.ToUpper(domain)
}

const exchangeName = "BINANCE"

// delivery reports whether symbol is a COIN-M future: BTCUSD_PERP, BTCUSD_240927. A
// USD-M future with a date is BTCUSDT_240927.
func delivery(symbol []byte) bool {
	pair, date, ok := bytes.Cut(symbol, []byte{'_'})
	if !ok {
		return false
	}
	if string(date) == "PERP" {
		return true
	}
	return bytes.HasSuffix(pair, []byte("USD")) && !bytes.HasSuffix(pair, []byte("BUSD")) && len(date) == 6 && number6(date)
}

func number6(b []byte) bool {
	for _, c := range b {
		if c-'0' > 9 {
			return false
		}
	}
	return true
}

// futures returns the market of a message that is not from spot.
func (m *binanceMessage) futures() market {
	symbol := text(m.s)
	switch {
	case m.ps != nil || m.pair != nil || delivery(symbol):
		return marketCOINM
	case bytes.Count(symbol, []byte{'-'}) == 3: // BTC-240927-60000-C
		return marketOptions
	}
	return marketUSDM
}

// A binanceMessage holds the members of the messages that are read, as they are in the line.
// The names are the exchange's; a letter has different meanings in different messages.
type binanceMessage struct {
	e, E, T, s, t, p, q, m, X, M, U, u, pu []byte
	b, B, a, A, S, ps, pair, symbol        []byte
	lastUpdateID, bids, asks               []byte
}

func (m *binanceMessage) parse(b []byte) string {
	w := walk(b, '{')
	for key, v := range w.members {
		switch string(key) {
		case "e":
			m.e = v
		case "E":
			m.E = v
		case "T":
			m.T = v
		case "s":
			m.s = v
		case "t":
			m.t = v
		case "p":
			m.p = v
		case "q":
			m.q = v
		case "m":
			m.m = v
		case "X":
			m.X = v
		case "M":
			m.M = v
		case "U":
			m.U = v
		case "u":
			m.u = v
		case "pu":
			m.pu = v
		case "S":
			m.S = v
		case "ps":
			m.ps = v
		case "pair":
			m.pair = v
		case "symbol":
			m.symbol = v
		case "b":
			m.b = v
		case "B":
			m.B = v
		case "a":
			m.a = v
		case "A":
			m.A = v
		case "lastUpdateId":
			m.lastUpdateID = v
		case "bids":
			m.bids = v
		case "asks":
			m.asks = v
		}
	}
	return w.over()
}

// time returns T, or else E, or else the time of arrival.
func (m *binanceMessage) time(s *Source) (at int64, reason string) {
	millis, ok := integer(m.T)
	if ok && millis == 0 {
		millis, ok = integer(m.E)
	}
	if ok {
		at, ok = s.venueTime(millis)
	}
	if !ok {
		return 0, reasonNoTime
	}
	return at, ""
}

// binance handles a message of Binance. stream is empty if the message has none.
func (s *Source) binance(stream, b []byte) string {
	_, channel, _ := bytes.Cut(stream, []byte{'@'})
	var m binanceMessage
	if reason := m.parse(b); reason != "" {
		return reason
	}
	switch e := text(m.e); {
	case string(e) == "trade":
		return s.binanceTrade(&m, streamTrade, m.t)
	case string(e) == "aggTrade":
		return s.binanceTrade(&m, streamAggregate, m.a)
	case string(e) == "bookTicker", len(e) == 0 && m.u != nil && m.b != nil && m.a != nil && m.s != nil:
		return s.binanceQuote(&m)
	case len(channel) > 5 && bytes.HasPrefix(channel, []byte("depth")) && channel[5] != '@':
		return s.other(channel) // repeats the best levels
	case string(e) == "depthUpdate":
		return s.binanceUpdate(&m, b)
	case m.lastUpdateID != nil && m.bids != nil && m.asks != nil && len(stream) == 0:
		return s.binanceSnapshot(&m)
	case len(e) > 0:
		return s.other(e)
	case len(channel) > 0:
		return s.other(channel)
	}
	return s.other([]byte("confirmation"))
}

func (s *Source) binanceTrade(m *binanceMessage, from stream, id []byte) string {
	of := m.futures()
	if m.M != nil {
		of = marketSpot // only spot messages have M
	}
	in, reason := s.instrument(s.venue(of), text(m.s))
	if reason != "" {
		return reason
	}
	at, reason := m.time(s)
	if reason != "" {
		return reason
	}
	n, ok := integer(id)
	if !ok {
		return fmt.Sprintf("trade id %.40q is not a whole number", id)
	}
	t := trade{price: m.p, size: m.q, id: n, count: n}
	switch string(m.m) {
	case "true":
		t.side = feed.SideSell
	case "false":
		t.side = feed.SideBuy
	case "": // options: 1 bought, -1 sold
		switch string(text(m.S)) {
		case "1", "BUY":
			t.side = feed.SideBuy
		case "-1", "SELL":
			t.side = feed.SideSell
		}
	}
	if x := text(m.X); len(x) > 0 && string(x) != "MARKET" {
		if string(x) == "NA" {
			return s.other([]byte("trade of type NA"))
		}
		t.condition = x
	}
	if in.trades != streamNone && in.trades != from {
		s.count.Now.Repeated++
		return ""
	}
	reason = s.trade(in, at, t)
	if reason == "" {
		in.trades = from
	}
	return reason
}

func (s *Source) binanceQuote(m *binanceMessage) string {
	of := marketSpot
	if m.e != nil || m.T != nil {
		of = m.futures()
	}
	in, reason := s.instrument(s.venue(of), text(m.s))
	if reason != "" {
		return reason
	}
	at, reason := m.time(s)
	if reason != "" {
		return reason
	}
	if text(m.b) == nil || text(m.a) == nil {
		return "the best bid or offer is missing"
	}
	id, ok := integer(m.u)
	if !ok {
		return fmt.Sprintf("update id %.40q is not a whole number", m.u)
	}
	return s.quote(in, at, id, m.b, m.B, m.a, m.A)
}

// binanceUpdate handles a change of a book; b is the message that was parsed to m.
func (s *Source) binanceUpdate(m *binanceMessage, b []byte) string {
	of := marketSpot
	if m.pu != nil {
		of = m.futures()
	}
	in, reason := s.instrument(s.venue(of), text(m.s))
	if reason != "" {
		return reason
	}
	at, reason := m.time(s)
	if reason != "" {
		return reason
	}
	h := held{arrival: s.arrival, message: b}
	for _, v := range []struct {
		to   *uint64
		from []byte
	}{{&h.first, m.U}, {&h.last, m.u}, {&h.before, m.pu}} {
		var ok bool
		if *v.to, ok = integer(v.from); !ok {
			return fmt.Sprintf("update id %.40q is not a whole number", v.from)
		}
	}
	if h.first == 0 || h.last < h.first {
		return fmt.Sprintf("the update ids go from %d to %d", h.first, h.last)
	}
	// Parse the levels before the update is held: a held update must be good.
	s.begin()
	if reason := s.pairs(feed.SideBuy, m.b); reason != "" {
		return reason
	}
	if reason := s.pairs(feed.SideSell, m.a); reason != "" {
		return reason
	}
	bk := &in.book
	if bk.last != 0 || bk.live {
		old, joins := bk.place(&h, m.pu != nil)
		if old {
			s.count.Now.Repeated++
			return ""
		}
		if !joins {
			s.breakBook(in, at, "updates after %d are missing, the next is %d", bk.last, h.first)
		}
	}
	s.useful = true
	bk.last, bk.fresh = h.last, false
	if !bk.live {
		s.hold(in, h)
		if !s.cfg.PartialBooks {
			return ""
		}
	}
	if reason := s.tellLevels(in, at, false); reason != "" {
		return reason
	}
	if bk.live {
		s.count.Now.Updates++
	}
	return ""
}

// place reports whether the book already includes the update h, and if not, whether h is the
// next one.
func (b *book) place(h *held, futures bool) (old, joins bool) {
	switch {
	case b.fresh && futures:
		return h.last < b.last, h.before <= b.last
	case b.fresh:
		return h.last <= b.last, h.first <= b.last+1
	case h.last <= b.last:
		return true, false
	case futures:
		return false, h.before == b.last
	}
	return false, h.first == b.last+1
}

// binanceSnapshot handles a whole book, which may not name its instrument.
func (s *Source) binanceSnapshot(m *binanceMessage) string {
	last, ok := integer(m.lastUpdateID)
	if string(m.lastUpdateID) == "-1" { // the book of a new instrument, which no update has reached
		last, ok = 0, true
	}
	if !ok {
		return fmt.Sprintf("lastUpdateId %.40q is not a whole number", m.lastUpdateID)
	}
	at, reason := m.time(s)
	if reason != "" {
		return reason
	}
	s.begin()
	if reason := s.pairs(feed.SideBuy, m.bids); reason != "" {
		return reason
	}
	if reason := s.pairs(feed.SideSell, m.asks); reason != "" {
		return reason
	}
	of := marketSpot
	if m.T != nil || m.E != nil {
		of = m.futures()
	}
	venue := s.venue(of)
	in := s.owner(venue, last, of != marketSpot)
	if symbol := text(m.symbol); len(symbol) > 0 {
		if in, reason = s.instrument(venue, symbol); reason != "" {
			return reason
		}
	}
	if in == nil {
		s.count.Now.Unplaced++
		if s.otherName == "" {
			s.otherName = "a book that does not say of which instrument"
		}
		s.report("the snapshot with lastUpdateId %d fits none, or more than one, of the instruments of %s", last, venue)
		return ""
	}
	if in.book.live && last <= in.book.last {
		s.count.Now.Repeated++ // the book is newer
		return ""
	}
	if reason := s.tellLevels(in, at, true); reason != "" {
		return reason
	}
	s.count.Now.Snapshots++
	waiting := in.book.held
	in.book = book{live: true, fresh: true, last: last}
	return s.release(in, waiting)
}

// release handles the updates that waited for a snapshot.
func (s *Source) release(in *instrument, waiting []held) (reason string) {
	arrival := s.arrival
	for i := range waiting {
		h := &waiting[i]
		s.held -= len(h.message)
		s.count.Now.Unanchored--
		s.arrival = h.arrival
		var m binanceMessage
		bad := m.parse(h.message)
		if bad == "" {
			bad = s.binanceUpdate(&m, h.message)
		}
		if reason == "" && bad != "" {
			reason = "an update that waited for this snapshot: " + bad
		}
	}
	s.arrival = arrival
	return reason
}

// maxOwners bounds how many instruments are considered for a snapshot without a symbol.
const maxOwners = 1024

// owner returns the instrument of venue that a snapshot as of last belongs to: the only instrument of the venue,
// or the only one with held updates that join the snapshot. It returns nil if there is none.
func (s *Source) owner(venue string, last uint64, futures bool) *instrument {
	var only, fits *instrument
	all, fitting := 0, 0
	for _, in := range s.order {
		if in.def.Venue != venue {
			continue
		}
		only = in
		all++
		b := book{fresh: true, last: last}
		for i := range in.book.held {
			old, joins := b.place(&in.book.held[i], futures)
			if old {
				continue
			}
			if joins {
				fits = in
				fitting++
			}
			break
		}
	}
	switch {
	case all == 1 && len(s.order) < maxOwners:
		return only
	case fitting == 1 && len(s.order) < maxOwners:
		return fits
	}
	return nil
}
