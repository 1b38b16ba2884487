package parquetfile

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"math/big"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/format"

	"tickfeed/feed/files/rawfile"
)

// Magic is at the beginning and the end of a Parquet file.
const Magic = "PAR1"

// Recognise reports whether head, the first bytes of a file, begins a Parquet file.
func Recognise(head []byte) bool { return bytes.HasPrefix(head, []byte(Magic)) }

// Rows is a reader of the rows of Parquet files as CSV with one header, for the importer of text. The
// columns are those of all files, by name. A null value is an empty cell. Numbers
// are exact. A time ends with Z if its column is marked as UTC or tickfeed wrote the file;
// otherwise it is local. Columns of lists, maps and groups are left out.
//
// Rows holds the footers of the files, and one page of each column. Only one goroutine
// may call Read; any goroutine may call Close.
type Rows struct {
	paths   []string
	columns []string

	mu     sync.Mutex // held while a file is read
	files  []*os.File
	open   []*parquet.File
	next   int // index of the next file
	group  int // index of the next row group of the current file
	leaves []leaf
	left   int64 // remaining rows of the current row group
	buf    []byte
	out    []byte  // the part of buf that Read has not returned
	rows   int64   // rows read so far
	starts []int64 // for each file begun, the number of rows before it
	err    error
}

// A leaf is a column of the current row group.
type leaf struct {
	at     int // index in Rows.columns
	render func([]byte, parquet.Value) []byte
	null   string
	pages  parquet.Pages
	page   parquet.Page
	values parquet.ValueReader
	some   []parquet.Value
	i, n   int
}

const (
	readRows   = 512  // rows that are converted at once
	maxColumns = 1024 // columns of all files together
	pageBuffer = 64 << 10
)

// OpenRows opens the files at paths. m counts the bytes read from them. The error is a
// [*rawfile.FormatError] if a file is not Parquet, or else names the file that cannot be opened.
func OpenRows(paths []string, m *rawfile.Meter) (*Rows, error) {
	r := &Rows{paths: slices.Clone(paths)}
	for _, path := range paths {
		if err := r.add(path, m); err != nil {
			r.Close()
			return nil, err
		}
	}
	for i, name := range r.columns {
		if i > 0 {
			r.buf = append(r.buf, ',')
		}
		r.buf = appendCell(r.buf, name)
	}
	r.buf = append(r.buf, '\n')
	r.out = r.buf
	return r, nil
}

func (r *Rows) add(path string, m *rawfile.Meter) (err error) {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	r.files = append(r.files, f)
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return &rawfile.FormatError{File: path, Reason: "is not a regular file; Parquet is read from its end: save it to a file"}
	}
	defer guard(&err, path)
	p, err := parquet.OpenFile(m.ReaderAt(f), info.Size(), parquet.SkipPageIndex(true), parquet.SkipBloomFilters(true),
		parquet.ReadBufferSize(pageBuffer))
	if err != nil {
		return &rawfile.FormatError{File: path, Reason: "cannot be read as Parquet: " + strings.TrimPrefix(err.Error(), "parquet: "), Err: err}
	}
	r.open = append(r.open, p)
	for _, c := range p.Root().Columns() {
		if !c.Leaf() || c.Repeated() || slices.Contains(r.columns, c.Name()) {
			continue
		}
		if len(r.columns) == maxColumns {
			return &rawfile.FormatError{File: path, Reason: fmt.Sprintf("more than %d columns", maxColumns)}
		}
		r.columns = append(r.columns, c.Name())
	}
	return nil
}

// guard converts a panic of the library, which a damaged file can cause, to an error.
func guard(err *error, path string) {
	if p := recover(); p != nil {
		*err = &rawfile.DamageError{File: path, Reason: fmt.Sprintf("is damaged: %v", p)}
	}
}

// Read implements [io.Reader]. The error is a [*rawfile.DamageError] if a file is damaged.
func (r *Rows) Read(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for len(r.out) == 0 && r.err == nil {
		r.buf = r.buf[:0]
		r.err = r.fill()
		r.out = r.buf
	}
	if len(r.out) == 0 {
		return 0, r.err
	}
	n := copy(p, r.out)
	r.out = r.out[n:]
	return n, nil
}

// fill converts some rows to CSV in buf.
func (r *Rows) fill() (err error) {
	if r.left == 0 {
		return r.begin()
	}
	path := r.paths[r.next-1]
	defer guard(&err, path)
	n := int(min(r.left, readRows))
	for range n {
		at := 0
		for i := range r.leaves {
			l := &r.leaves[i]
			for ; at < l.at; at++ {
				r.buf = append(r.buf, ',')
			}
			v, err := l.next()
			if err != nil {
				return &rawfile.DamageError{File: path, Reason: fmt.Sprintf("row %d of the file, column %q: %v",
					r.rows-r.starts[r.next-1]+1, r.columns[l.at], err), Err: err}
			}
			if v.IsNull() {
				r.buf = append(r.buf, l.null...)
			} else {
				r.buf = l.render(r.buf, v)
			}
		}
		for ; at < len(r.columns)-1; at++ {
			r.buf = append(r.buf, ',')
		}
		r.buf = append(r.buf, '\n')
		r.rows++
	}
	r.left -= int64(n)
	return nil
}

// begin begins the next row group or file.
func (r *Rows) begin() (err error) {
	r.release()
	if r.next == 0 || r.group == len(r.open[r.next-1].RowGroups()) {
		if r.next == len(r.open) {
			return io.EOF
		}
		r.next++
		r.group = 0
		r.starts = append(r.starts, r.rows)
		return nil
	}
	path := r.paths[r.next-1]
	defer guard(&err, path)
	f := r.open[r.next-1]
	group := f.RowGroups()[r.group]
	r.group++
	own := isOwn(f)
	chunks := group.ColumnChunks()
	for _, c := range f.Root().Columns() {
		if !c.Leaf() || c.Repeated() {
			continue
		}
		at := slices.Index(r.columns, c.Name())
		l := leaf{at: at, render: renderer(c, own), pages: chunks[c.Index()].Pages(), some: make([]parquet.Value, readRows)}
		if own && c.Name() == "ts_event" {
			l.null = "1970-01-01T00:00:00Z" // the venue gave no time
		}
		r.leaves = append(r.leaves, l)
	}
	slices.SortFunc(r.leaves, func(a, b leaf) int { return a.at - b.at })
	r.left = group.NumRows()
	return nil
}

// release frees the pages of the current row group.
func (r *Rows) release() {
	for i := range r.leaves {
		l := &r.leaves[i]
		if l.page != nil {
			parquet.Release(l.page)
		}
		_ = l.pages.Close() // it was only read
	}
	r.leaves = r.leaves[:0]
}

// next returns the column's value in the next row. Its bytes are valid until the following call.
func (l *leaf) next() (parquet.Value, error) {
	for l.i == l.n {
		if l.values == nil {
			page, err := l.pages.ReadPage()
			if err == io.EOF {
				err = errors.New("the column has fewer values than there are rows")
			}
			if err != nil {
				return parquet.Value{}, err
			}
			l.page, l.values = page, page.Values()
		}
		n, err := l.values.ReadValues(l.some)
		l.i, l.n = 0, n
		switch {
		case n > 0:
		case err == io.EOF:
			parquet.Release(l.page)
			l.page, l.values = nil, nil
		case err != nil:
			return parquet.Value{}, err
		default:
			return parquet.Value{}, io.ErrNoProgress
		}
	}
	v := l.some[l.i]
	l.i++
	return v, nil
}

// Where returns the file, and the row in it from 1, that a line of the CSV was made from. The
// header is line 1.
func (r *Rows) Where(line int64) (path string, row int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	row = line - 1
	for i := len(r.starts) - 1; i >= 0; i-- {
		if row > r.starts[i] {
			return r.paths[i], row - r.starts[i]
		}
	}
	return r.paths[0], row
}

// Close closes the files. It may be called more than once; the error is always nil.
func (r *Rows) Close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.release()
	for _, f := range r.files {
		f.Close() // it was only read
	}
	r.files, r.out = nil, nil
	if r.err == nil {
		r.err = os.ErrClosed
	}
	return nil
}

// isOwn reports whether f has the columns that a [Writer] writes to every file. Its times are then UTC,
// although they are not marked as such.
func isOwn(f *parquet.File) bool {
	c := f.Root().Columns()
	return len(c) > 4 && c[0].Name() == "session" && c[1].Name() == "seq" && c[2].Name() == "type"
}

// renderer returns a function that appends the text of a column's values.
func renderer(c *parquet.Column, own bool) func([]byte, parquet.Value) []byte {
	t := c.Type()
	if l := t.LogicalType(); l != nil {
		switch x := l.Value.(type) {
		case *format.DecimalType:
			scale, point := max(0, int(x.Scale)), isPrice(c)
			return func(b []byte, v parquet.Value) []byte {
				start := len(b)
				if v.Kind() == parquet.Int32 || v.Kind() == parquet.Int64 {
					var digits [24]byte
					b = appendPoint(b, strconv.AppendInt(digits[:0], wide(v), 10), scale)
				} else {
					b = appendPoint(b, integerOf(v).Append(nil, 10), scale)
				}
				if point && bytes.IndexByte(b[start:], '.') < 0 {
					b = append(b, ".0"...)
				}
				return b
			}
		case *format.TimestampType:
			per := perSecond(x.Unit)
			utc := x.IsAdjustedToUTC || own
			return func(b []byte, v parquet.Value) []byte { return appendTime(b, v.Int64(), per, utc) }
		case *format.DateType:
			return func(b []byte, v parquet.Value) []byte {
				return time.Unix(int64(v.Int32())*86400, 0).UTC().AppendFormat(b, time.DateOnly)
			}
		case *format.TimeType:
			per := perSecond(x.Unit)
			return func(b []byte, v parquet.Value) []byte { return appendClock(b, wide(v), per) }
		case *format.IntType:
			if !x.IsSigned && t.Kind() == parquet.Int64 {
				return func(b []byte, v parquet.Value) []byte { return strconv.AppendUint(b, v.Uint64(), 10) }
			}
			if !x.IsSigned && t.Kind() == parquet.Int32 {
				return func(b []byte, v parquet.Value) []byte { return strconv.AppendUint(b, uint64(v.Uint32()), 10) }
			}
		}
	}
	switch t.Kind() {
	case parquet.Boolean:
		return func(b []byte, v parquet.Value) []byte { return strconv.AppendBool(b, v.Boolean()) }
	case parquet.Int32, parquet.Int64:
		return func(b []byte, v parquet.Value) []byte { return strconv.AppendInt(b, wide(v), 10) }
	case parquet.Int96: // a time of old versions of Spark and Impala
		return func(b []byte, v parquet.Value) []byte {
			x := v.Int96()
			const julianEpoch = 2440588
			day, ns := int64(x[2])-julianEpoch, int64(x[1])<<32|int64(x[0])
			return time.Unix(day*86400, ns).UTC().AppendFormat(b, "2006-01-02T15:04:05.999999999")
		}
	case parquet.Float:
		return func(b []byte, v parquet.Value) []byte { return appendFloat(b, float64(v.Float()), 32, isPrice(c)) }
	case parquet.Double:
		return func(b []byte, v parquet.Value) []byte { return appendFloat(b, v.Double(), 64, isPrice(c)) }
	}
	return func(b []byte, v parquet.Value) []byte { return appendCell(b, string(v.ByteArray())) }
}

func wide(v parquet.Value) int64 {
	if v.Kind() == parquet.Int32 {
		return int64(v.Int32())
	}
	return v.Int64()
}

// integerOf returns the unscaled value of a decimal, which is stored in two's complement, highest byte first.
func integerOf(v parquet.Value) *big.Int {
	b := v.ByteArray()
	n := new(big.Int).SetBytes(b)
	if len(b) > 0 && b[0] >= 0x80 {
		n.Sub(n, new(big.Int).Lsh(big.NewInt(1), uint(8*len(b))))
	}
	return n
}

// appendPoint appends digits × 10^-scale without trailing zeros.
func appendPoint(b, digits []byte, scale int) []byte {
	if digits[0] == '-' {
		b, digits = append(b, '-'), digits[1:]
	}
	whole := max(0, len(digits)-scale)
	if whole == 0 {
		b = append(b, '0')
	}
	b = append(b, digits[:whole]...)
	if fraction := bytes.TrimRight(digits[whole:], "0"); len(fraction) > 0 {
		b = append(b, '.')
		for range scale - len(digits) {
			b = append(b, '0')
		}
		b = append(b, fraction...)
	}
	return b
}

// isPrice reports whether the name of a column is that of a price. A price that is a float or a decimal is always written with
// a point: without one, the importer of text takes a price of Databento for a multiple of 10^-9.
func isPrice(c *parquet.Column) bool {
	name := strings.ToLower(c.Name())
	return strings.Contains(name, "price") || strings.Contains(name, "px")
}

func appendFloat(b []byte, v float64, bits int, point bool) []byte {
	if math.IsNaN(v) || math.IsInf(v, 0) {
		return b // an empty cell
	}
	b = strconv.AppendFloat(b, v, 'f', -1, bits)
	if point && v == math.Trunc(v) {
		b = append(b, ".0"...)
	}
	return b
}

func perSecond(u format.TimeUnit) int64 {
	switch u.Value.(type) {
	case *format.MilliSeconds:
		return 1e3
	case *format.MicroSeconds:
		return 1e6
	}
	return 1e9
}

// appendTime appends the time t, in units of which a second has per.
func appendTime(b []byte, t, per int64, utc bool) []byte {
	sec, rest := t/per, t%per
	if rest < 0 {
		sec, rest = sec-1, rest+per
	}
	layout := "2006-01-02T15:04:05.999999999"
	if utc {
		layout += "Z"
	}
	return time.Unix(sec, rest*(1e9/per)).UTC().AppendFormat(b, layout)
}

// appendClock appends the time of day t, in units of which a second has per.
func appendClock(b []byte, t, per int64) []byte {
	return time.Unix(t/per, t%per*(1e9/per)).UTC().AppendFormat(b, "15:04:05.999999999")
}

// appendCell appends text as a CSV cell. Line breaks become a control character,
// which the importer refuses in a text.
func appendCell(b []byte, text string) []byte {
	if !strings.ContainsAny(text, ",;|\t\"\r\n ") {
		return append(b, text...)
	}
	b = append(b, '"')
	for i := range len(text) {
		switch c := text[i]; c {
		case '"':
			b = append(b, '"', '"')
		case '\r', '\n':
			b = append(b, 0)
		default:
			b = append(b, c)
		}
	}
	return append(b, '"')
}
