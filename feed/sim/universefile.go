package sim

import (
	"bytes"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"tickfeed/feed"
	"tickfeed/feed/decimal"
	"tickfeed/feed/script"
)

// A Universe is the instruments of a simulated market, with their prices and habits.
type Universe struct{ listings []listing }

// DefaultUniverse returns the first n instruments of the fixed list.
func DefaultUniverse(n int) *Universe { return &Universe{universe(n)} }

// Len returns the number of instruments.
func (u *Universe) Len() int { return len(u.listings) }

// First returns the first n instruments of u, which must have as many.
func (u *Universe) First(n int) *Universe { return &Universe{u.listings[:n:n]} }

// Symbols returns the symbols of the instruments.
func (u *Universe) Symbols() []string {
	symbols := make([]string, len(u.listings))
	for i := range symbols {
		symbols[i] = u.listings[i].definition.Symbol
	}
	return symbols
}

// A UniverseError is a mistake in the file of a universe or a profile.
type UniverseError struct {
	File         string
	Line, Column int    // from 1
	Field        string // "" if the mistake is not one of a field
	Text         string
}

func (e *UniverseError) Error() string {
	text := e.Text
	if e.Field != "" {
		text = fmt.Sprintf("field %q: %s", e.Field, e.Text)
	}
	return fmt.Sprintf("%s:%d:%d: %s", e.File, e.Line, e.Column, text)
}

// MaxUniverseFile bounds the file of a universe, in bytes.
const MaxUniverseFile = 256 << 20

// universeFields are the fields of an instrument, in the order of the columns.
var universeFields = []string{
	"symbol", "venue", "kind", "currency", "price", "tick_size", "lot", "spread", "volatility", "beta", "activity", "sector", "hours", "negative",
}

// UniverseHelp describes the fields, as comments that a universe file may hold.
const UniverseHelp = `# One line for each instrument of the simulated market. Only symbol and price are needed.
#   symbol, venue  the name; the venue is SIM if it is left out
#   kind           stock, future or crypto: how large its trades are
#   currency       USD if it is left out
#   price          at which it opens on the first day, a multiple of tick_size
#   tick_size      least price step; its decimals, as written, are those of the prices
#   lot            size of a round lot; its decimals, as written, are those of the sizes
#                  (a coin with lot 1 instead of 0.00000001 trades millions)
#   spread         usual spread in calm times, in ticks
#   volatility     standard deviation of its own moves in one day, as a fraction of the price;
#                  of an instrument whose price may be negative, in ticks
#   beta           share in the moves of the whole market, 1 for all of them
#   activity       weight of its events relative to the other instruments
#   sector         instruments of a sector move together beyond the market; empty for none
#   hours          24h, 24h ZONE, or [DAYS] HH:MM-HH:MM ZONE, such as 09:30-16:00 America/New_York
#                  or sun-thu 17:00-16:00 America/Chicago (DAYS are those on which it opens, mon-fri
#                  if they are left out); empty for the hours of the market
#   negative       yes if the price may be negative
`

// kinds are the names of the size classes.
var kindNames = [sizeClasses]string{shares: "stock", contracts: "future", coins: "crypto"}

// AppendCSV appends u as CSV with a header line, from which ParseUniverse makes a universe with the same ticks.
func (u *Universe) AppendCSV(dst []byte) []byte {
	b := bytes.NewBuffer(append(dst, UniverseHelp...))
	w := csv.NewWriter(b)
	_ = w.Write(universeFields) // a bytes.Buffer takes every write
	for i := range u.listings {
		fields := u.listings[i].fields()
		if symbol := fields[0]; symbol[0] == '#' { // without quotes it would begin a comment
			w.Flush()
			b.WriteString(`"` + strings.ReplaceAll(symbol, `"`, `""`) + `",`)
			fields = fields[1:]
		}
		_ = w.Write(fields)
	}
	w.Flush()
	return b.Bytes()
}

// AppendYAML appends u as YAML, from which ParseUniverse makes a universe with the same ticks.
func (u *Universe) AppendYAML(dst []byte) []byte {
	dst = append(dst, UniverseHelp...)
	dst = append(dst, "instruments:\n"...)
	for i := range u.listings {
		dst = u.listings[i].appendYAML(dst)
	}
	return dst
}

// appendYAML appends l as an item of a list of instruments.
func (l *listing) appendYAML(dst []byte) []byte {
	lead := "  - "
	for j, value := range l.fields() {
		if value == "" {
			continue
		}
		switch universeFields[j] {
		case "symbol", "venue", "currency", "sector", "hours":
			value = strconv.Quote(value)
		}
		dst = fmt.Appendf(dst, "%s%s: %s\n", lead, universeFields[j], value)
		lead = "    "
	}
	return dst
}

// fields returns the values of universeFields.
func (l *listing) fields() []string {
	d := &l.definition
	float := func(v float64) string { return strconv.FormatFloat(v, 'g', -1, 64) }
	negative := ""
	if l.signed {
		negative = "yes"
	}
	return []string{
		d.Symbol, d.Venue, kindNames[l.sizes], d.Currency,
		fixedDecimal(int64(l.price)*d.TickSize, d.PriceExponent), fixedDecimal(d.TickSize, d.PriceExponent), fixedDecimal(d.Lot, d.SizeExponent),
		float(l.spread), float(l.own), float(l.beta), float(l.activity), l.sector, l.hours.text, negative,
	}
}

// fixedDecimal returns v × 10^exponent with all of its decimals.
func fixedDecimal(v int64, exponent int8) string {
	text := string(decimal.Append(nil, v, exponent))
	decimals := int(-exponent)
	if decimals <= 0 {
		return text
	}
	whole, fraction, _ := strings.Cut(text, ".")
	return whole + "." + fraction + strings.Repeat("0", decimals-len(fraction))
}

// A cell is a value of a universe file, and where it is.
type cell struct {
	text         string
	line, column int
}

// A row is the fields of one instrument, and where it is.
type row struct {
	line, column int
	fields       map[string]cell
}

// maxErrors bounds the mistakes that ParseUniverse and ParseProfile report, and New in a scenario.
const maxErrors = 20

// mistakes are what is wrong with a file.
type mistakes struct {
	file string
	errs []error
}

// add adds err, or the errors that it joins, unless it is nil, and says in which file they are. Beyond maxErrors it says once
// that there are more.
func (m *mistakes) add(err error) {
	for _, err := range flattened(err) {
		if m.full() {
			return
		}
		var wrong *UniverseError
		if errors.As(err, &wrong) {
			wrong.File = m.file
			if len(m.errs) == maxErrors {
				wrong.Field, wrong.Text = "", "there are more mistakes from here on"
			}
		}
		m.errs = append(m.errs, err)
	}
}

// full reports whether further mistakes are left out.
func (m *mistakes) full() bool { return len(m.errs) > maxErrors }

// err returns the mistakes, joined if there are several, or nil.
func (m *mistakes) err() error {
	if len(m.errs) == 1 {
		return m.errs[0]
	}
	return errors.Join(m.errs...)
}

// flattened returns the errors that err joins, or err alone, or none if err is nil.
func flattened(err error) (all []error) {
	joined, ok := err.(interface{ Unwrap() []error })
	switch {
	case err == nil:
		return nil
	case !ok:
		return []error{err}
	}
	for _, err := range joined.Unwrap() {
		all = append(all, flattened(err)...)
	}
	return all
}

// ParseUniverse reads a universe from CSV with a header line, or from YAML: a list of instruments, by itself or as
// "instruments". name is for errors, which are of type *UniverseError; if there are several mistakes, the error joins the first
// maxErrors, and says where there are more.
func ParseUniverse(name string, text []byte) (*Universe, error) {
	text = bytes.TrimPrefix(text, []byte("\ufeff"))
	read := readCSV
	if isYAML(text) {
		read = readYAML
	}
	rows, err := read(text)
	u := &Universe{listings: make([]listing, 0, len(rows))}
	if err == nil && len(rows) == 0 {
		err = &UniverseError{Line: 1, Column: 1, Text: "there is no instrument"}
	}
	lines := make(map[string]int, len(rows))
	total := 0.0
	wrong := mistakes{file: name}
	wrong.add(err)
	for i := range rows {
		if wrong.full() {
			break
		}
		r := &rows[i]
		l, failed := r.listing(i)
		if failed != nil {
			wrong.add(failed)
			continue
		}
		total += l.activity
		full := l.definition.Name()
		if len(u.listings) == feed.MaxInstruments {
			wrong.add(r.wrong("", "more than %d instruments", feed.MaxInstruments))
			break
		}
		if earlier := lines[full]; earlier > 0 {
			wrong.add(r.wrong("symbol", "%s is already there, in line %d", full, earlier))
		}
		lines[full] = r.line
		u.listings = append(u.listings, l)
	}
	if len(wrong.errs) == 0 && !(total > 0) {
		wrong.add(rows[0].wrong("activity", "no instrument has any: there would be no ticks"))
	}
	if err := wrong.err(); err != nil {
		return nil, err
	}
	return u, nil
}

// isYAML reports whether text is YAML rather than CSV: CSV has a header line without a colon.
func isYAML(text []byte) bool {
	for line := range strings.Lines(string(text[:min(len(text), 64<<10)])) {
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		return strings.HasPrefix(line, "-") || strings.HasPrefix(line, "[") || strings.HasPrefix(line, "{") || strings.Contains(line, ":")
	}
	return false
}

// fieldName returns the field that a column or key names, or "".
func fieldName(text string) string {
	name := strings.NewReplacer(" ", "_", "-", "_").Replace(strings.ToLower(strings.TrimSpace(text)))
	if name == "tick" {
		name = "tick_size"
	}
	if slices.Contains(universeFields, name) {
		return name
	}
	return ""
}

// readCSV returns the rows that can be read, and joins all mistakes in the others.
func readCSV(text []byte) (rows []row, wrong error) {
	r := csv.NewReader(bytes.NewReader(text))
	r.Comment, r.TrimLeadingSpace, r.ReuseRecord = '#', true, true
	header, err := r.Read()
	if err == io.EOF {
		return nil, nil
	}
	if err != nil {
		return nil, csvError(err)
	}
	names := make([]string, len(header))
	for i, text := range header {
		line, column := r.FieldPos(i)
		names[i] = fieldName(text)
		switch {
		case names[i] == "":
			wrong = errors.Join(wrong, &UniverseError{Line: line, Column: column, Text: noField(text, universeFields)})
		case slices.Contains(names[:i], names[i]):
			wrong = errors.Join(wrong, &UniverseError{Line: line, Column: column, Field: names[i], Text: "there are two such columns"})
		}
	}
	if wrong != nil {
		return nil, wrong
	}
	for bad := 0; bad <= maxErrors; {
		record, err := r.Read()
		if err == io.EOF {
			break
		}
		if err != nil {
			wrong = errors.Join(wrong, csvError(err))
			if bad++; errors.Is(err, csv.ErrFieldCount) {
				continue
			}
			break // quotes are wrong, and where the next line begins is not known
		}
		line, column := r.FieldPos(0)
		w := row{line, column, make(map[string]cell, len(names))}
		for i, value := range record {
			line, column := r.FieldPos(i)
			w.fields[names[i]] = cell{strings.TrimSpace(value), line, column}
		}
		rows = append(rows, w)
	}
	return rows, wrong
}

func csvError(err error) error {
	var parse *csv.ParseError
	if !errors.As(err, &parse) {
		return err
	}
	text := parse.Err.Error()
	if errors.Is(parse, csv.ErrFieldCount) {
		text = "the line has not as many fields as the header"
	}
	return &UniverseError{Line: parse.Line, Column: max(parse.Column, 1), Text: text}
}

// readYAML returns the rows that can be read, and joins all mistakes in the others.
func readYAML(text []byte) (rows []row, wrong error) {
	list, err := parseYAML(text, "price: 271.00")
	if err != nil || list == nil {
		return nil, err
	}
	if list.Kind == yaml.MappingNode {
		if len(list.Content) != 2 || list.Content[0].Value != "instruments" {
			return nil, nodeError(list.Content[0], "", "want \"instruments:\", and below it a list of them, each of which begins with \"- symbol: AAPL\"")
		}
		list = list.Content[1]
	}
	if list.Kind != yaml.SequenceNode {
		return nil, nodeError(list, "", "want a list of instruments, each of which begins with \"- symbol: AAPL\"")
	}
	bad := 0
	for _, item := range list.Content {
		w, err := readItem(item)
		if err == nil {
			rows = append(rows, w)
			continue
		}
		wrong = errors.Join(wrong, err)
		if bad++; bad > maxErrors {
			break
		}
	}
	return rows, wrong
}

// readItem returns the row of an item of the list, or all mistakes in its form.
func readItem(item *yaml.Node) (w row, wrong error) {
	if item.Kind != yaml.MappingNode {
		return w, nodeError(item, "", "want an instrument, which begins with \"- symbol: AAPL\", and below it price: 271.00")
	}
	w = row{item.Line, item.Column, make(map[string]cell, len(item.Content)/2)}
	for i := 0; i < len(item.Content); i += 2 {
		key, value := item.Content[i], item.Content[i+1]
		name := fieldName(key.Value)
		var err error
		switch _, twice := w.fields[name]; {
		case name == "":
			err = nodeError(key, "", noField(key.Value, universeFields))
		case twice:
			err = nodeError(key, name, "it is there twice")
		case value.Kind != yaml.ScalarNode:
			err = nodeError(value, name, fmt.Sprintf("want one value, such as %s: %s", name, examples[name]))
		}
		wrong = errors.Join(wrong, err)
		text := value.Value
		if value.Tag == "!!null" {
			text = ""
		}
		w.fields[name] = cell{strings.TrimSpace(text), value.Line, value.Column}
	}
	return w, wrong
}

// examples are values of the universe fields.
var examples = map[string]string{
	"symbol": "AAPL", "venue": "XNAS", "kind": "stock", "currency": "USD", "price": "271.00", "tick_size": "0.01", "lot": "100", "spread": "2",
	"volatility": "0.015", "beta": "1", "activity": "0.5", "sector": "technology", "hours": "09:30-16:00 America/New_York", "negative": "yes",
}

// noField says that there is no field called name: which one was meant, or which there are.
func noField(name string, fields []string) string {
	name = clip(name)
	if near := script.DidYouMean(name, fields); near != "" {
		return fmt.Sprintf("there is no field %q%s", name, near)
	}
	return fmt.Sprintf("there is no field %q; the fields are %s", name, strings.Join(fields, ", "))
}

// clip returns the beginning of a text that an error quotes, if it is long.
func clip(text string) string {
	if len(text) <= maxQuoted {
		return text
	}
	return strings.ToValidUTF8(text[:maxQuoted], "") + "…"
}

// maxQuoted is, about, the number of bytes of a field that an error quotes.
const maxQuoted = 200

func nodeError(n *yaml.Node, field, text string) error {
	return &UniverseError{Line: n.Line, Column: n.Column, Field: field, Text: text}
}

// wrong returns an error about a field, or about the row if field is "".
func (r *row) wrong(field, format string, args ...any) error {
	for i, arg := range args {
		if text, ok := arg.(string); ok {
			args[i] = clip(text)
		}
	}
	e := &UniverseError{Line: r.line, Column: r.column, Field: field, Text: fmt.Sprintf(format, args...)}
	if c, ok := r.fields[field]; ok {
		e.Line, e.Column = c.line, c.column
	}
	return e
}

// number returns the value of a field in [least, most], or standard if it is empty.
func (r *row) number(field string, standard, least, most float64) (float64, error) {
	text := r.fields[field].text
	if text == "" {
		return standard, nil
	}
	v, err := strconv.ParseFloat(text, 64)
	if err != nil || !(v >= least && v <= most) {
		return 0, r.wrong(field, "want a number from %v to %v, got %q", least, most, text)
	}
	return v, nil
}

// step returns a positive decimal and the exponent that its decimals, as written, make.
func (r *row) step(field, standard string) (v int64, exponent int8, err error) {
	text := r.fields[field].text
	if text == "" {
		text = standard
	}
	_, fraction, _ := strings.Cut(text, ".")
	if len(fraction) <= -feed.MinExponent {
		exponent = int8(-len(fraction))
		v, err = decimal.Parse(text, exponent)
	}
	if err != nil || v <= 0 || v > maxStep {
		return 0, 0, r.wrong(field, "want a decimal number greater than 0, such as %s, got %q", standard, text)
	}
	return v, exponent, nil
}

// Bounds of the numbers in a universe file.
const (
	maxStep        = 1 << 31 // of the tick size and the lot, in units
	maxSpread      = 1e9     // ticks
	maxVolatility  = 1.0     // of the price in a day
	maxTickMoves   = 1e9     // ticks in a day
	defaultVolatil = 0.015
)

// listing makes the instrument of a row, at place i of the universe. The error joins all mistakes.
func (r *row) listing(i int) (l listing, err error) {
	text := func(field, standard string) string {
		if t := r.fields[field].text; t != "" {
			return t
		}
		return standard
	}
	fail := func(failed error) { err = errors.Join(err, failed) }
	for _, field := range []string{"symbol", "venue", "currency", "sector"} {
		if wrong := feed.ValidateText(r.fields[field].text); wrong != nil {
			fail(r.wrong(field, "%v", wrong))
		}
	}
	l.definition = feed.Definition{Symbol: text("symbol", ""), Venue: text("venue", venue), Currency: text("currency", "USD")}
	if l.definition.Symbol == "" {
		fail(r.wrong("symbol", "it is missing"))
	}
	kind := slices.Index(kindNames[:], strings.ToLower(text("kind", "stock")))
	if kind < 0 {
		fail(r.wrong("kind", "want %s, got %q", strings.Join(kindNames[:], ", "), text("kind", "")))
	}
	l.sizes = sizeClass(max(kind, 0))
	sign := true // of the price is what is allowed
	switch negative := strings.ToLower(text("negative", "")); negative {
	case "yes", "true":
		l.signed = true
	case "", "no", "false":
		if sign = !strings.HasPrefix(text("price", ""), "-"); !sign {
			fail(r.wrong("price", "a negative price takes negative: yes"))
		}
	default:
		fail(r.wrong("negative", "want yes or no, got %q", negative))
	}
	d := &l.definition
	var step, wrong error
	if d.TickSize, d.PriceExponent, step = r.step("tick_size", "0.01"); step != nil {
		fail(step)
	} else if sign {
		l.price, wrong = r.price(&l)
		fail(wrong)
	}
	lots := [sizeClasses]string{shares: "100", contracts: "1", coins: "0.00000001"}
	d.Lot, d.SizeExponent, wrong = r.step("lot", lots[l.sizes])
	fail(wrong)
	standard, most := defaultVolatil, maxVolatility
	beta := 1.0
	if l.signed {
		standard, most, beta = 10, maxTickMoves, 0
	}
	for _, n := range []struct {
		field                 string
		v                     *float64
		standard, least, most float64
	}{
		{"volatility", &l.own, standard, 0, most}, {"beta", &l.beta, beta, -10, 10},
		{"spread", &l.spread, max(1, math.Abs(l.price)*2e-4), 0.01, maxSpread}, {"activity", &l.activity, activity(i), 0, 1e9},
	} {
		*n.v, wrong = r.number(n.field, n.standard, n.least, n.most)
		fail(wrong)
	}
	if l.signed && l.beta != 0 {
		fail(r.wrong("beta", "want 0 or nothing, because the price may be negative: a share in the moves of the market is a fraction of the price"))
	}
	l.sector = text("sector", "")
	if l.hours, wrong = parseHours(text("hours", "")); wrong != nil {
		fail(r.wrong("hours", "%v", wrong))
	}
	if err == nil {
		if wrong := l.definition.Validate(); wrong != nil {
			fail(r.wrong("symbol", "%v", wrong))
		}
	}
	return l, err
}

// price returns the price of a row in ticks.
func (r *row) price(l *listing) (float64, error) {
	text, d := r.fields["price"].text, &l.definition
	if text == "" {
		return 0, r.wrong("price", "it is missing")
	}
	v, err := d.ParsePrice(text)
	switch {
	case errors.Is(err, decimal.ErrInexact) || err == nil && v%d.TickSize != 0:
		return 0, r.wrong("price", "%s is not a multiple of the tick size %s", text, fixedDecimal(d.TickSize, d.PriceExponent))
	case err != nil:
		return 0, r.wrong("price", "want a decimal number such as 271.00, got %q", text)
	}
	v /= d.TickSize
	most := maxTicksOf(d.TickSize)
	switch {
	case v < 2 && !l.signed:
		return 0, r.wrong("price", "want at least two ticks, %s, got %s", fixedDecimal(2*d.TickSize, d.PriceExponent), text)
	case v > most || v < -most:
		return 0, r.wrong("price", "want at most %d ticks of %s, got %s", most, fixedDecimal(d.TickSize, d.PriceExponent), text)
	}
	return float64(v), nil
}
