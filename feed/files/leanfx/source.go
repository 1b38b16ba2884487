// Package leanfx reads the tick quotes of currency pairs in the format of the LEAN engine (QuantConnect/Lean,
// Data/forex/readme.md) and provides them as a [feed.Source].
//
// # Files
//
// Each zip holds one CSV file without header for one pair and day; its name, YYYYMMDD_PAIR_tick_quote.csv,
// states both. A row is the time in milliseconds after midnight (decimals are kept to the nanosecond), the bid,
// and the ask; there are no sizes and no trades. Zips of bars (second, minute, hour, daily) are refused by
// their names. Zips of cryptocurrencies and shares, which have the same names, are refused by the columns of
// their first row. Several zips, of many pairs and days, are merged by time; those that do not overlap are not
// open at once. Memory does not grow with the files.
//
// # Market and zone
//
// The market is the venue, and determines the zone of midnight: FXCM's days are in UTC-5 all year, OANDA's in
// UTC. The market is stated by Config, or by the beginning of the zip's name (fxcm_…zip, oanda_…zip), or it is
// the folder above tick in LEAN's layout (forex/MARKET/tick/PAIR/YYYYMMDD_quote.zip).
//
// # Ticks
//
// Rows are quotes, including locked and crossed ones. A price of 0 means no quote on that side. Prices are
// exact; a pair is defined with five decimals, and redefined with more if a row has more. The first row of a
// zip begins a trading day, whose date is the one in the name.
package leanfx

import (
	"archive/zip"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"
	_ "time/tzdata" // zones for machines without a zone database

	"tickfeed/feed"
	"tickfeed/feed/files/internal/merge"
	"tickfeed/feed/files/rawfile"
)

// A Source yields the quotes of zips. Make one with [Open]; it implements [feed.Source].
type Source struct {
	cfg     Config
	zone    *time.Location // nil if the market decides
	meter   *rawfile.Meter
	queue   *merge.Queue[*day]
	pairs   map[string]*pair // by market, NUL, symbol
	defined int              // number of pairs defined so far
	buf     [3]feed.Tick
	pump    rawfile.Pump

	count rawfile.Counter[Stats]
}

var _ feed.Source = (*Source)(nil)

// Config configures a Source. The zero Config is right for FXCM and OANDA.
type Config struct {
	// Market is the market of all zips; empty takes it from their paths.
	Market string
	// Zone is the zone of the files' midnight: an IANA name such as America/New_York or UTC. Empty takes it
	// from the market, which must be FXCM or OANDA then.
	Zone string
	// SkipBad is how many bad rows are skipped, in all files together, before one ends the source. Not
	// negative.
	SkipBad int
}

// Stats counts what a Source has read and returned.
type Stats struct {
	rawfile.RowStats
	Rows     int64 // good or bad
	Locked   int64 // quotes whose bid equals the ask
	Crossed  int64 // quotes whose bid is above the ask
	Backward int64 // rows with a time before that of the previous row
}

// A pair is the state of one currency pair at one market.
type pair struct {
	id      feed.InstrumentID
	def     feed.Definition
	defined bool
	day     *day // the day being read
}

// Open prepares to read the zips at paths, in any order. It reads their directories and first rows, and returns
// an error if a path does not exist, is not a zip, or does not contain tick quotes, or if two zips have the
// same pair and day.
func Open(paths []string, cfg Config) (*Source, error) {
	if cfg.SkipBad < 0 {
		return nil, fmt.Errorf("SkipBad must not be negative, got %d", cfg.SkipBad)
	}
	if err := feed.ValidateText(cfg.Market); err != nil {
		return nil, fmt.Errorf("config: Market: %w", err)
	}
	if len(paths) == 0 {
		return nil, errors.New("no file to read")
	}
	s := &Source{cfg: cfg, pairs: make(map[string]*pair)}
	if cfg.Zone != "" {
		zone, err := time.LoadLocation(cfg.Zone)
		if err != nil {
			return nil, fmt.Errorf("config: Zone: %q is not an IANA zone such as America/New_York or UTC", cfg.Zone)
		}
		s.zone = zone
	}
	var days []*day
	seen := make(map[string]string) // pair and date → path
	for _, path := range paths {
		if info, err := os.Stat(path); err != nil {
			return nil, err
		} else if info.IsDir() {
			return nil, fmt.Errorf("%s is a directory; name its files", path)
		}
		d, err := newDay(path, s)
		if err != nil {
			return nil, err
		}
		key := fmt.Sprint(d.pair.def.Name(), d.date)
		if other, ok := seen[key]; ok {
			return nil, fmt.Errorf("%s and %s are both of %s on %d", other, path, d.pair.def.Name(), d.date)
		}
		seen[key] = path
		days = append(days, d)
	}
	s.queue = merge.New(days)
	return s, nil
}

// Meter makes m count the bytes read from the zips. It must be called before the first Next.
func (s *Source) Meter(m *rawfile.Meter) { s.meter = m }

// Next implements [feed.Source]. The error is io.EOF after the last file, or a [*rawfile.LineError] if a row is
// bad and Config.SkipBad is used up, or if a zip cannot be unpacked.
func (s *Source) Next(ctx context.Context, batch []feed.Tick) (int, error) {
	n, err := s.pump.Next(ctx, batch, s.more)
	s.count.Now.Ticks += int64(n)
	s.count.Show()
	return n, err
}

func (s *Source) more(bool) error {
	d, err := s.queue.Next()
	if err == nil {
		s.tell(d)
	}
	return err
}

// tell makes the ticks of d's current row pending.
func (s *Source) tell(d *day) {
	out := s.buf[:0]
	p := d.pair
	if !p.defined || p.def.PriceExponent != d.exponent {
		if !p.defined {
			p.id = feed.InstrumentID(s.defined)
			s.defined++
			p.defined = true
		}
		p.def.PriceExponent = d.exponent
		def := p.def
		out = append(out, feed.Tick{
			Kind: feed.KindDefinition, Instrument: p.id, EventTime: d.time, Extra: &feed.Extra{Definition: &def},
		})
	}
	if p.day != d {
		p.day = d
		out = append(out, feed.StatusTick(p.id, d.time, feed.StatusUnknown, d.date))
	}
	q := feed.Quote{Bid: d.bid, Ask: d.ask}
	switch {
	case q.Bid == 0 || q.Ask == 0:
	case q.Bid == q.Ask:
		s.count.Now.Locked++
	case q.Bid > q.Ask:
		s.count.Now.Crossed++
	}
	if q.Bid == 0 {
		q.Bid = feed.NoPrice
	}
	if q.Ask == 0 {
		q.Ask = feed.NoPrice
	}
	s.pump.Pending = append(out, q.Tick(p.id, d.time))
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

var errClosed = errors.New("leanfx: the source is closed")

// RecogniseFile reports whether the file at path is a zip with a file that has LEAN's name for quotes or
// trades; it may contain others.
func RecogniseFile(path string) bool {
	z, err := zip.OpenReader(path)
	if err != nil {
		return false
	}
	defer z.Close()
	return slices.ContainsFunc(z.File, isMember)
}

// Recognise reports whether a file that begins with head is a zip whose first file has LEAN's name for quotes
// or trades. Open refuses those that are not ticks.
func Recognise(head []byte) bool {
	const header = 30 // of a local file, before its name
	if len(head) < header || string(head[:4]) != "PK\x03\x04" {
		return false
	}
	n := int(head[26]) | int(head[27])<<8
	if len(head) < header+n {
		return false
	}
	name := string(head[header : header+n])
	return memberName.MatchString(name[strings.LastIndexByte(name, '/')+1:])
}
