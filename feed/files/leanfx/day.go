package leanfx

import (
	"archive/zip"
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"tickfeed/feed"
	"tickfeed/feed/decimal"
	"tickfeed/feed/files/rawfile"
)

// A day is one zip, with the current row.
type day struct {
	source   *Source
	path     string
	midnight int64
	end      int64 // midnight of the next day, 23 hours later if clocks go forward
	date     int32
	pair     *pair
	file     *os.File
	member   io.ReadCloser
	lines    *rawfile.Lines

	time     int64
	bid, ask int64
	exponent int8  // of both
	before   int64 // time of the previous row
}

const (
	maxLine     = 1 << 10
	nanosOfDay  = 86_400_000_000_000
	maxExponent = -5 // the exponent of most quotes; coarser prices fit too
)

// memberName matches LEAN's name of the file in a zip.
var memberName = regexp.MustCompile(`^(\d{8})_([A-Za-z0-9]+)_(tick|second|minute|hour|daily)_(quote|trade)\.csv$`)

var byteOrderMark = []byte("\ufeff")

// zones are the zones of the markets' midnight.
var zones = map[string]*time.Location{
	"FXCM":  time.FixedZone("UTC-5", -5*60*60),
	"OANDA": time.UTC,
}

// newDay reads the directory and the first row of the zip at path.
func newDay(path string, s *Source) (*day, error) {
	z, err := zip.OpenReader(path)
	if err != nil {
		return nil, &rawfile.LineError{File: path, Line: 1, Reason: "it is not a zip, or is cut short: " + err.Error(), Err: err}
	}
	defer z.Close()
	f, err := theMember(path, &z.Reader)
	if err != nil {
		return nil, err
	}
	m := memberName.FindStringSubmatch(filepath.Base(f.Name))
	if m[3] != "tick" || m[4] != "quote" {
		return nil, &rawfile.FormatError{File: path, Reason: fmt.Sprintf("holds %s of schema %s %s, which has no ticks of quotes", f.Name, m[3], m[4])}
	}
	if what, err := whoseQuotes(f); err != nil {
		return nil, &rawfile.FormatError{File: path, Reason: fmt.Sprintf("is a zip whose file %.100q cannot be unpacked: %v", f.Name, err), Err: err}
	} else if what != "" {
		return nil, &rawfile.FormatError{File: path, Reason: fmt.Sprintf(
			"holds %s, whose rows are quotes of %s; of LEAN's, only the tick quotes of currency pairs are read: milliseconds, bid, ask", f.Name, what)}
	}
	date, err := time.Parse("20060102", m[1])
	if err != nil || date.Year() < 1970 || date.Year() > 2261 {
		return nil, &rawfile.FormatError{File: path, Reason: fmt.Sprintf("holds %s: %s is not a date", f.Name, m[1])}
	}
	market := s.cfg.Market
	if market == "" {
		market = marketOf(path)
	}
	zone := s.zone
	if zone == nil {
		if zone = zones[market]; zone == nil {
			return nil, fmt.Errorf("%s: the market %q is not known, nor the zone of its days: "+
				"rename the zip to fxcm_… or oanda_…, or state market and zone", path, market)
		}
	}
	symbol := strings.ToUpper(m[2])
	if err := feed.ValidateText(symbol); err != nil {
		return nil, fmt.Errorf("%s: symbol: %w", path, err)
	}
	key := market + "\x00" + symbol
	p := s.pairs[key]
	if p == nil {
		p = &pair{def: feed.Definition{Symbol: symbol, Venue: market, PriceExponent: maxExponent}}
		if len(symbol) == 6 {
			p.def.Currency = symbol[3:]
		}
		s.pairs[key] = p
	}
	year, month, dayOfMonth := date.Date()
	return &day{
		source: s, path: path, pair: p,
		midnight: time.Date(year, month, dayOfMonth, 0, 0, 0, 0, zone).UnixNano(),
		end:      time.Date(year, month, dayOfMonth+1, 0, 0, 0, 0, zone).UnixNano(),
		date:     int32(year*10000 + int(month)*100 + dayOfMonth),
	}, nil
}

// whoseQuotes returns what the quotes of f are for, if not for currency pairs, and otherwise "". LEAN gives
// files of all kinds the same names, so it looks at the number of columns in the first row.
func whoseQuotes(f *zip.File) (string, error) {
	member, err := rawfile.OpenMember(f)
	if err != nil {
		return "", err
	}
	defer member.Close()
	line, err := rawfile.NewLines(member, maxLine).Next()
	if err != nil && err != io.EOF && err != rawfile.ErrLongLine {
		return "", err
	}
	switch n := bytes.Count(line, []byte{','}) + 1; {
	case n == 5:
		return "cryptocurrencies (milliseconds, bid, bid size, ask, ask size)", nil
	case n >= 6:
		return fmt.Sprintf("shares, futures or options (%d columns)", n), nil
	}
	return "", nil
}

// theMember returns the one file in the zip at path that has a name from LEAN.
func theMember(path string, z *zip.Reader) (*zip.File, error) {
	var member *zip.File
	for _, f := range z.File {
		switch {
		case !isMember(f): // an extra such as a note or __MACOSX
		case member != nil:
			return nil, &rawfile.FormatError{File: path, Reason: fmt.Sprintf(
				"holds %.100q and %.100q; LEAN's tick zips hold one file", member.Name, f.Name)}
		default:
			member = f
		}
	}
	if member == nil {
		return nil, &rawfile.FormatError{File: path, Reason: "holds no file that LEAN has named; want YYYYMMDD_PAIR_tick_quote.csv"}
	}
	return member, nil
}

// isMember reports whether f has a name that LEAN gives.
func isMember(f *zip.File) bool {
	return !strings.HasPrefix(f.Name, "__MACOSX/") && memberName.MatchString(filepath.Base(f.Name))
}

// marketOf returns the market that path names, in capitals, or "" if it names none.
func marketOf(path string) string {
	if market, _, ok := strings.Cut(filepath.Base(path), "_"); ok && zones[strings.ToUpper(market)] != nil {
		return strings.ToUpper(market)
	}
	folders := strings.Split(filepath.ToSlash(filepath.Dir(path)), "/")
	for i := len(folders) - 1; i > 0; i-- {
		if folders[i] == "tick" {
			return strings.ToUpper(folders[i-1])
		}
	}
	return ""
}

// Start implements merge.Stream. Days of one pair never overlap, so all rows of one day are returned before the
// next day is parsed with the exponent that they left.
func (d *day) Start() int64 { return d.midnight }

// Advance implements merge.Stream.
func (d *day) Advance() (int64, error) {
	if d.lines == nil {
		if err := d.open(); err != nil {
			return 0, err
		}
	}
	for {
		line, err := d.lines.Next()
		reason := ""
		switch err {
		case nil:
			if len(line) == 0 {
				continue
			}
			if d.lines.Number() == 1 {
				line = bytes.TrimPrefix(line, byteOrderMark)
			}
			reason = d.parse(line)
		case rawfile.ErrLongLine:
			reason = err.Error()
		case io.EOF:
			return 0, err
		default:
			return 0, d.lines.Bad(d.path, "the rest cannot be unpacked: "+err.Error(), err)
		}
		d.source.count.Now.Rows++
		if reason == "" {
			if d.time < d.before {
				d.source.count.Now.Backward++
			}
			d.before = d.time
			return d.time, nil
		}
		if err := d.source.bad(d.lines.Bad(d.path, reason, nil)); err != nil {
			return 0, err
		}
	}
}

func (d *day) open() error {
	var err error
	if d.file, err = os.Open(d.path); err != nil {
		return err
	}
	info, err := d.file.Stat()
	if err != nil {
		return err
	}
	z, err := zip.NewReader(d.source.meter.ReaderAt(d.file), info.Size())
	if err != nil {
		return &rawfile.FormatError{File: d.path, Reason: "is a zip that is damaged or cut short: " + err.Error(), Err: err}
	}
	f, err := theMember(d.path, z)
	if err != nil {
		return err
	}
	if d.member, err = rawfile.OpenMember(f); err != nil {
		return &rawfile.FormatError{File: d.path, Reason: fmt.Sprintf("is a zip whose file %.100q cannot be opened: %v", f.Name, err), Err: err}
	}
	d.lines = rawfile.NewLines(d.member, maxLine)
	return nil
}

// Close implements merge.Stream.
func (d *day) Close() {
	if d.member != nil {
		d.member.Close()
	}
	if d.file != nil {
		d.file.Close()
	}
}

// parse parses a row: milliseconds, bid, ask. It returns what is wrong with the row, or "".
func (d *day) parse(line []byte) string {
	var cells [3][]byte
	for i := range cells {
		n := bytes.IndexByte(line, ',')
		if (n < 0) != (i == len(cells)-1) {
			return "the row does not have 3 columns: milliseconds, bid, ask"
		}
		if n < 0 {
			n = len(line)
		}
		cells[i] = line[:n]
		line = line[min(n+1, len(line)):]
	}
	at, err := decimal.Parse(cells[0], -6)
	if err != nil || at < 0 || at >= nanosOfDay || d.midnight+at >= d.end {
		return fmt.Sprintf("%.40q is not a time: want milliseconds after midnight", cells[0])
	}
	exponent := d.pair.def.PriceExponent
	for {
		need := exponent
		for i, to := range [...]*int64{&d.bid, &d.ask} {
			var err error
			*to, err = decimal.Parse(cells[i+1], exponent)
			if err == decimal.ErrInexact {
				if _, e, _ := decimal.Scan(cells[i+1]); e >= feed.MinExponent {
					need = min(need, int8(e))
					continue
				}
			}
			if err != nil {
				return fmt.Sprintf("price %.40q: %v (in units of 10^%d)", cells[i+1], err, exponent)
			}
		}
		if need == exponent {
			break
		}
		exponent = need
	}
	d.time, d.exponent = d.midnight+at, exponent
	return ""
}
