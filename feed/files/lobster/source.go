// Package lobster reads LOBSTER files (order book data of Nasdaq, one message file and one order book file per
// instrument and day; lobsterdata.com, "Data Structure") and provides their ticks as a [feed.Source].
//
//	src, err := lobster.Open([]string{"XYZ_2024-03-11_34200000_57600000_message_10.csv"}, lobster.Config{})
//
// Type [Source] says which files it reads, and which ticks it makes of them.
package lobster

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"tickfeed/feed"
	"tickfeed/feed/files/internal/merge"
	"tickfeed/feed/files/rawfile"
)

// A Source yields the ticks of LOBSTER files. Make one with [Open]; it implements [feed.Source].
//
// # Files
//
// Both files of a pair have the standard name, SYMBOL_YYYY-MM-DD_START_END_message_LEVELS.csv and
// …_orderbook_LEVELS.csv; naming one of them is enough if the other is in the same directory. A message file
// without its order book gives trades and statuses only, which Stats.Notes reports. The rest of the name after
// LEVELS must be the same in both. The date occurs only in the name. Files may be compressed with gzip or zstd.
// Several pairs, of many instruments or days, are merged by time; pairs that do not overlap are not open at
// once, and memory does not grow with the files.
//
// # Ticks
//
// A message row and the book row with the same number are one event; all of its ticks but the last have
// FlagMore. Each instrument is defined with prices in units of 10^-4 dollars, as in the files. The first event
// of a pair begins a trading day with a status tick, and clears the book of an earlier day.
//
//	type 4  execution of a visible order: a trade; the row states the side of the resting order,
//	        and the aggressor is on the other side
//	type 5  execution of a hidden order: the same, with the condition H
//	type 6  cross, such as an auction: a trade without aggressor, with the condition X
//	type 7  a status: halted, or with price 0 quoting again, or with price 1 trading again
//
// Messages 1, 2 and 3 (new, partly cancelled, deleted) are visible in the book only. LOBSTER has no trade ids.
// Changes from one book row to the next become level ticks, and a quote if the best bid or offer changed. A
// price that drops out of the levels of the rows is removed, and added again when it returns: at all times the
// book of a state equals the book row. The dummy prices ±9999999999 are empty levels.
//
// # Times
//
// Times are seconds after midnight in New York, with up to nine decimals, trailing zeros omitted; the zone is
// built in. More decimals are rounded if they are smaller than the error of a float, which must have produced
// them.
type Source struct {
	cfg         Config
	meter       *rawfile.Meter
	queue       *merge.Queue[*pair]
	instruments map[string]*instrument // by symbol
	pump        rawfile.Pump
	buf         []feed.Tick // backing array of pending

	count rawfile.Counter[Stats]
}

var _ feed.Source = (*Source)(nil)

// Config configures a Source. The zero Config gives all ticks.
type Config struct {
	// Venue is the venue of the definitions; empty means NASDAQ.
	Venue string
	// TradesOnly ignores order book files: the ticks are trades and statuses.
	TradesOnly bool
	// NoLevels omits level ticks: the ticks are quotes, trades and statuses.
	NoLevels bool
	// SkipBad is how many bad rows are skipped, in all files together, before one ends the source. A bad row is
	// skipped together with the row of the other file. Not negative.
	SkipBad int
}

// Stats counts what a Source has read and returned.
type Stats struct {
	rawfile.RowStats
	Messages int64    // message rows, good or bad
	Trades   int64    // executions of visible and of hidden orders, and crosses
	Hidden   int64    // trades among them with hidden orders
	Halts    int64    // messages of type 7
	Backward int64    // rows with a time before that of the previous row
	Notes    []string // message files without their order book, the first maxNotes of them
}

// maxNotes bounds Stats.Notes.
const maxNotes = 16

// An instrument is the state of one symbol.
type instrument struct {
	id   feed.InstrumentID
	pair *pair // the pair being read
	asks []level
	bids []level
}

type level struct{ price, size int64 }

// Open prepares to read the pairs that paths name, in any order; it reads no rows. It returns an error if a
// path does not exist, an order book lacks its message file, a file lacks a LOBSTER name, or two pairs cover
// the same symbol and time.
func Open(paths []string, cfg Config) (*Source, error) {
	if cfg.SkipBad < 0 {
		return nil, fmt.Errorf("SkipBad must not be negative, got %d", cfg.SkipBad)
	}
	if cfg.Venue == "" {
		cfg.Venue = "NASDAQ"
	}
	if err := feed.ValidateText(cfg.Venue); err != nil {
		return nil, fmt.Errorf("config: Venue: %w", err)
	}
	if len(paths) == 0 {
		return nil, errors.New("no file to read")
	}
	s := &Source{cfg: cfg, instruments: make(map[string]*instrument)}
	var pairs []*pair
	seen := make(map[string]bool)
	for _, path := range paths {
		p, err := newPair(path, s)
		if err != nil {
			return nil, err
		}
		if seen[p.message.path] {
			continue
		}
		seen[p.message.path] = true
		for _, f := range []*file{&p.message, &p.book} {
			if f == &p.book && p.noBook {
				continue
			}
			info, err := os.Stat(f.path)
			if f == &p.book && f.path != path && errors.Is(err, fs.ErrNotExist) {
				p.noBook = true
				if len(s.count.Now.Notes) < maxNotes {
					s.count.Now.Notes = append(s.count.Now.Notes, fmt.Sprintf(
						"%s: its order book file is missing: only trades and statuses are read, no quotes and no book", path))
				}
				continue
			}
			if err != nil && f.path != path {
				return nil, fmt.Errorf("%s: its other half is missing: %w", path, err)
			}
			if err != nil {
				return nil, err
			}
			if info.IsDir() {
				return nil, fmt.Errorf("%s is a directory; name its files", f.path)
			}
		}
		for _, o := range pairs {
			if p.overlaps(o) {
				return nil, fmt.Errorf("%s and %s are both of %s on %d", o.message.path, p.message.path, p.symbol, p.day)
			}
		}
		pairs = append(pairs, p)
	}
	s.queue = merge.New(pairs)
	return s, nil
}

// Meter makes m count the bytes read from the files. It must be called before the first Next.
func (s *Source) Meter(m *rawfile.Meter) { s.meter = m }

// Next implements [feed.Source]. The error is io.EOF after the last file, a [*rawfile.LineError] if a row is
// bad and Config.SkipBad is used up, or else names the file that cannot be read or unpacked.
func (s *Source) Next(ctx context.Context, batch []feed.Tick) (int, error) {
	n, err := s.pump.Next(ctx, batch, s.more)
	s.count.Now.Ticks += int64(n)
	s.count.Show()
	return n, err
}

func (s *Source) more(bool) error {
	p, err := s.queue.Next()
	if err == nil {
		s.tell(p)
	}
	return err
}

// tell makes the ticks of p's current event pending.
func (s *Source) tell(p *pair) {
	s.buf = s.buf[:0]
	in := s.instruments[p.symbol]
	if in == nil {
		in = &instrument{id: feed.InstrumentID(len(s.instruments))}
		s.instruments[p.symbol] = in
		s.buf = append(s.buf, feed.Tick{
			Kind: feed.KindDefinition, Instrument: in.id, EventTime: p.time,
			Extra: &feed.Extra{Definition: &feed.Definition{
				Symbol: p.symbol, Venue: s.cfg.Venue, PriceExponent: -4, Currency: "USD",
			}},
		})
	}
	if in.pair != p {
		s.begin(in, p)
	}
	if p.kind == typeHalt {
		s.count.Now.Halts++
		s.buf = append(s.buf, feed.StatusTick(in.id, p.time, p.status(), 0))
	} else if tr, ok := p.trade(); ok {
		s.count.Now.Trades++
		if p.kind == typeHidden {
			s.count.Now.Hidden++
		}
		s.buf = append(s.buf, tr.Tick(in.id, p.time))
	}
	if !p.noBook {
		s.tellBook(in, p)
	}
	for i := range s.buf[:max(0, len(s.buf)-1)] {
		s.buf[i].Flags |= feed.FlagMore
	}
	s.pump.Pending = s.buf
}

// begin starts the trading day of p.
func (s *Source) begin(in *instrument, p *pair) {
	if in.pair != nil && len(in.asks)+len(in.bids) > 0 {
		s.buf = append(s.buf, feed.ClearTick(in.id, p.time, feed.SideBoth))
	}
	in.pair, in.asks, in.bids = p, in.asks[:0], in.bids[:0]
	status := feed.StatusUnknown
	if p.kind != typeHalt && p.from >= openOfTrading {
		status = feed.StatusTrading // a halt message would say otherwise
	}
	s.buf = append(s.buf, feed.StatusTick(in.id, p.time, status, p.day))
}

// tellBook appends the changes from in's book to p's current one.
func (s *Source) tellBook(in *instrument, p *pair) {
	first := len(in.asks)+len(in.bids) == 0
	quoted := touch(in.asks) != touch(p.asks) || touch(in.bids) != touch(p.bids)
	if !s.cfg.NoLevels {
		s.tellSide(in.id, p.time, feed.SideSell, in.asks, p.asks)
		s.tellSide(in.id, p.time, feed.SideBuy, in.bids, p.bids)
	}
	if quoted || first && len(p.asks)+len(p.bids) > 0 {
		q := feed.Quote{Bid: feed.NoPrice, Ask: feed.NoPrice}
		if len(p.bids) > 0 {
			q.Bid, q.BidSize = p.bids[0].price, p.bids[0].size
		}
		if len(p.asks) > 0 {
			q.Ask, q.AskSize = p.asks[0].price, p.asks[0].size
		}
		s.buf = append(s.buf, q.Tick(in.id, p.time))
	}
	in.asks = append(in.asks[:0], p.asks...)
	in.bids = append(in.bids[:0], p.bids...)
}

func touch(side []level) level {
	if len(side) == 0 {
		return level{}
	}
	return side[0]
}

// tellSide appends the level ticks that turn the side old into now; both are sorted, best price first.
func (s *Source) tellSide(id feed.InstrumentID, at int64, side feed.Side, old, now []level) {
	for len(old) > 0 || len(now) > 0 {
		switch {
		case len(old) > 0 && len(now) > 0 && old[0].price == now[0].price:
			if old[0].size != now[0].size {
				s.buf = append(s.buf, feed.Level{Side: side, Price: now[0].price, Size: now[0].size}.Tick(id, at))
			}
			old, now = old[1:], now[1:]
		case len(now) == 0 || len(old) > 0 && better(side, old[0].price, now[0].price):
			s.buf = append(s.buf, feed.Level{Side: side, Price: old[0].price}.Tick(id, at))
			old = old[1:]
		default:
			s.buf = append(s.buf, feed.Level{Side: side, Price: now[0].price, Size: now[0].size}.Tick(id, at))
			now = now[1:]
		}
	}
}

func better(side feed.Side, a, b int64) bool {
	if side == feed.SideBuy {
		return a > b
	}
	return a < b
}

// bad counts a bad row. It returns nil if the row is skipped.
func (s *Source) bad(e *rawfile.LineError) error { return s.count.Now.Bad(e, s.cfg.SkipBad) }

// Stats returns the counts as of the last return of Next. Any goroutine may call it at any time.
func (s *Source) Stats() Stats { return s.count.Shown() }

// Close closes the open files. The error is always nil.
func (s *Source) Close() error {
	s.queue.Close()
	s.pump.End(errClosed)
	return nil
}

var errClosed = errors.New("lobster: the source is closed")

// Recognise reports whether a file that begins with head is a LOBSTER message or order book
// file. head should hold at least the first line.
func Recognise(head []byte) bool {
	line, ok := firstLine(head)
	if !ok {
		return false
	}
	p := pair{levels: maxLevels}
	if p.parseMessage(line) == "" {
		return true
	}
	return p.parseBook(line) == "" && len(p.asks) > 0 && len(p.bids) > 0 && p.asks[0].price > p.bids[0].price
}
