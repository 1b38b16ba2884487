package textfile

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"strings"
	"tickfeed/feed/decimal"
)

// A header describes the columns of a CSV file.
type header struct {
	names   []string
	line    []byte
	delim   byte
	dest    []field // the field of each column; noField if its cells are not read
	own     bool    // tickfeed wrote the file: its texts may be defused
	scratch []byte  // quoted cells of the current line, without their quotes
}

// maxColumns bounds the number of columns of a file.
const maxColumns = 1024

// parse parses line as a header, and stores the names of the columns in r. file is the name of the file.
func (h *header) parse(line []byte, c *columns, cfg *Config, file string, r *row) *LineError {
	h.line = bytes.Clone(line)
	names, bad := h.cells(h.line)
	if bad != nil {
		return bad
	}
	return h.adopt(names, c, cfg, file, r)
}

// cells detects the delimiter of line and returns its cells.
func (h *header) cells(line []byte) (cells []string, bad *LineError) {
	h.delim = delimiter(line)
	h.scratch = h.scratch[:0]
	for rest, more := line, true; more; {
		var cell []byte
		if cell, rest, more, bad = h.cell(rest); bad != nil {
			return nil, bad
		}
		if len(cells) == maxColumns {
			return nil, &LineError{Reason: fmt.Sprintf("more than %d columns", maxColumns)}
		}
		cells = append(cells, string(trim(cell)))
	}
	return cells, nil
}

// place uses names for the columns of a file without a header, whose first line is line.
func (h *header) place(line []byte, names []string, c *columns, cfg *Config, file string, r *row) *LineError {
	h.line, h.delim = nil, delimiter(line)
	return h.adopt(names, c, cfg, file, r)
}

// adopt uses names for the columns, in order, and stores the names of the columns that are read in r.
func (h *header) adopt(names []string, c *columns, cfg *Config, file string, r *row) *LineError {
	h.dest = nil
	var ranks, column [numFields]int
	for i, name := range names {
		h.dest = append(h.dest, noField)
		p := c.place(name)
		f := p.field
		switch {
		case f == noField:
			continue
		case f > noField && slices.Contains(h.dest, f):
			return &LineError{Column: clip([]byte(name)), Reason: fmt.Sprintf("repeats the %v", f)}
		case f > noField:
			h.dest[i] = f
			r.deepen(f)
			continue
		case r.names[f] != "" && p.rank == ranks[f]:
			return &LineError{Column: clip([]byte(name)),
				Reason: fmt.Sprintf("holds the same field as %q; choose one with --column %v=NAME", r.names[f], f)}
		case r.names[f] != "" && p.rank > ranks[f]:
			continue
		case r.names[f] != "":
			h.dest[column[f]] = noField
		}
		h.dest[i] = f
		r.names[f], ranks[f], column[f] = name, p.rank, i
	}
	h.names, h.own = names, isOwn(names)
	for _, name := range slices.Sorted(maps.Keys(c.byName)) {
		if f := c.byName[name]; r.names[f] != name {
			return &LineError{Column: clip([]byte(name)),
				Reason: fmt.Sprintf("should hold %v, but is not in the header; %s", f, list(names))}
		}
	}
	what := refusal(names, file)
	switch {
	case r.names[fieldRecordType] != "" && cfg.Rows == "": // each row states its kind
		return nil
	case what != "" && cfg.Rows == "":
		return &LineError{Reason: "the file holds " + what + "; if its rows are trades, quotes or levels all the same, state it with --rows"}
	case r.names[fieldPrice] == "" && r.names[fieldBid] == "" && r.names[fieldAsk] == "":
		return &LineError{Reason: "the header names no column for a price, bid or ask; " + list(names) +
			"; name them with --column price=NAME, or bid=NAME and ask=NAME"}
	case r.names[fieldTime] == "" && r.names[fieldDate] == "" && r.names[fieldReceived] == "":
		return &LineError{Reason: "the header names no column for the time; " + list(names) +
			"; name it with --column time=NAME"}
	case r.names[fieldSymbol] == "" && cfg.Symbol == "":
		return &LineError{Reason: "the header names no column for the symbol; " + list(names) +
			"; name it with --column symbol=NAME, or give the one symbol of the file with --symbol"}
	}
	return h.sizes(c, r)
}

// sizes returns an error if no column of a known name holds a size, but another column seems to: its values must not
// be read as sizes of 0.
func (h *header) sizes(c *columns, r *row) *LineError {
	for _, f := range []struct{ price, size field }{{fieldPrice, fieldSize}, {fieldBid, fieldBidSize}, {fieldAsk, fieldAskSize}} {
		if r.names[f.price] == "" || r.names[f.size] != "" || c.mapped[f.size] {
			continue
		}
		for i, name := range h.names {
			if h.dest[i] == noField && seemsSize(normal(name), f.size) {
				return &LineError{Column: clip([]byte(name)), Reason: fmt.Sprintf(
					"seems to hold the %v, for which there is no column with a known name; state it with --column %v=NAME, or --column %[1]v= if there is none", f.size, f.size)}
			}
		}
	}
	return nil
}

// seemsSize reports whether a column with the given normal name may hold the size f.
func seemsSize(name string, f field) bool {
	is := func(words ...string) bool {
		return slices.ContainsFunc(words, func(w string) bool { return strings.Contains(name, w) })
	}
	bid, ask := is("bid"), is("ask", "ofr", "offer")
	switch {
	case !is("size", "siz", "qty", "quantity", "volume", "shares", "amount", "lots") || is("quote", "cum", "total", "gross", "turnover", "notional", "usd"):
		return false
	case f == fieldBidSize:
		return bid && !ask
	case f == fieldAskSize:
		return ask && !bid
	}
	return !bid && !ask
}

// isData reports whether the cells of a first line are data rather than names: none is a known
// name of a column, and at least one is a number or begins with a date.
func isData(cells []string, c *columns) bool {
	data := false
	for _, cell := range cells {
		if c.place(cell).field != noField {
			return false
		}
		_, _, err := decimal.Scan(cell)
		_, _, date := parseDate([]byte(cell))
		data = data || err == nil || date
	}
	return data
}

// errNoHeader returns the error for a file whose first line is data.
func errNoHeader(cells []string, preset bool) *LineError {
	data := "its first line is data, " + strings.TrimPrefix(list(cells), "its columns are ")
	if preset {
		return &LineError{Reason: "the file has no header, and does not match the preset: " + data + "; name the columns by their places with --header"}
	}
	return &LineError{Reason: "the file has no header: " + data +
		"; name the columns by their places with --header, such as --header time,symbol,price,size (no name for a column that is " +
		"not read), or state whose files they are with --preset"}
}

// list returns a clause that lists the columns. It does not quote the only column of a file: that is the whole line, and the file
// may be something else, such as a secret.
func list(names []string) string {
	if len(names) == 1 {
		return "it has one column only"
	}
	const most = 20
	more := ""
	if len(names) > most {
		names, more = names[:most], ", …"
	}
	quoted := make([]string, len(names))
	for i, n := range names {
		quoted[i] = fmt.Sprintf("%q", clip([]byte(n)))
	}
	return "its columns are " + strings.Join(quoted, ", ") + more
}

// delimiter returns the character that delimits the columns of a header.
func delimiter(line []byte) byte {
	best, most := byte(','), 0
	for _, d := range []byte(",;\t|") {
		n, quoted := 0, false
		for _, c := range line {
			if c == '"' {
				quoted = !quoted
			} else if c == d && !quoted {
				n++
			}
		}
		if n > most {
			best, most = d, n
		}
	}
	return best
}

// split stores the cells of line in r. They are valid until the next call, and share memory with line.
func (h *header) split(line []byte, r *row) *LineError {
	h.scratch = h.scratch[:0]
	col, more := 0, true
	for more {
		var cell []byte
		if isQuoted(line) {
			var bad *LineError
			if cell, line, more, bad = h.cell(line); bad != nil {
				return bad
			}
		} else if i := bytes.IndexByte(line, h.delim); i >= 0 {
			cell, line = line[:i], line[i+1:]
		} else {
			cell, more = line, false
		}
		if col < len(h.dest) {
			if f := h.dest[col]; f != noField {
				switch {
				case h.own && isText(f):
					cell = fused(cell)
				case f != fieldConditions:
					cell = trim(cell)
				}
				if f > noField {
					r.setDeep(f, cell)
				} else {
					r.cells[f] = cell
				}
			}
		}
		col++
	}
	if col != len(h.dest) {
		return &LineError{Reason: fmt.Sprintf("the line has %d columns, the header %d", col, len(h.dest))}
	}
	return nil
}

// isQuoted reports whether the first cell of line is quoted, possibly after blanks.
func isQuoted(line []byte) bool {
	for i, c := range line {
		if c != ' ' {
			return c == '"' && (i == 0 || bytes.IndexByte(line[i+1:], '"') >= 0)
		}
	}
	return false
}

// cell returns the first cell of line and the rest. more is false if it is the last cell.
func (h *header) cell(line []byte) (cell, rest []byte, more bool, bad *LineError) {
	if !isQuoted(line) {
		cell, rest, more = bytes.Cut(line, []byte{h.delim})
		return cell, rest, more, nil
	}
	line = bytes.TrimLeft(line, " ")[1:]
	start := len(h.scratch)
	for {
		i := bytes.IndexByte(line, '"')
		if i < 0 {
			return nil, nil, false, &LineError{Value: clip(line), Reason: "is a quoted cell that does not end on its line"}
		}
		h.scratch = append(h.scratch, line[:i]...)
		line = line[i+1:]
		if len(line) == 0 || line[0] != '"' {
			break
		}
		h.scratch = append(h.scratch, '"')
		line = line[1:]
	}
	cell = h.scratch[start:len(h.scratch):len(h.scratch)]
	if line = bytes.TrimLeft(line, " "); len(line) == 0 {
		return cell, nil, false, nil
	}
	if line[0] != h.delim {
		return nil, nil, false, &LineError{Value: clip(line), Reason: "follows a quoted cell, want a delimiter"}
	}
	return cell, line[1:], true, nil
}

// has reports whether there is a column with the given normal name.
func (h *header) has(name string) bool {
	return slices.ContainsFunc(h.names, func(n string) bool { return normal(n) == name })
}

// isTrailer reports whether line is the last line of a Daily TAQ file of NYSE: END|20240102|1234.
func (h *header) isTrailer(line []byte) bool {
	return h.delim == '|' && (bytes.HasPrefix(line, []byte("END|")) || string(line) == "END")
}

func trim(b []byte) []byte {
	if len(b) > 0 && (b[0] <= ' ' || b[len(b)-1] <= ' ') {
		return bytes.TrimSpace(b)
	}
	return b
}
