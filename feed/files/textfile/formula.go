package textfile

import "slices"

// Defuse reports whether tickfeed writes a text to CSV with an apostrophe before it. It does so if a spreadsheet would take the
// text for a formula, because it begins with =, +, -, @, a tab or a carriage return, or if the text would be read back
// as another one, because it begins with apostrophes and such a character. Numbers are not changed.
func Defuse(text string) bool {
	for i := 0; i < len(text); i++ {
		switch text[i] {
		case '\'':
			continue
		case '=', '+', '-', '@', '\t', '\r':
			return true
		}
		return false
	}
	return false
}

// fused returns the text of a cell in a CSV file that tickfeed wrote.
func fused(cell []byte) []byte {
	if len(cell) > 1 && cell[0] == '\'' && Defuse(string(cell)) {
		return cell[1:]
	}
	return cell
}

// ownColumns are the first columns of the CSV files that tickfeed writes.
var ownColumns = []string{"session", "seq", "snapshot", "type", "symbol", "venue", "ts_event", "ts_publish"}

// isOwn reports whether tickfeed wrote a file with columns of these names.
func isOwn(names []string) bool {
	return len(names) >= len(ownColumns) && slices.Equal(names[:len(ownColumns)], ownColumns)
}

// isOwn reports whether r has the form that tickfeed prints: it names its kind and has its time in ts_event. Such a row is read
// without guessing: times are in nanoseconds, and a price of 0 is a price.
func (r *row) isOwn() bool {
	return r.names[fieldTime] == "ts_event" && kindOf(r.cells[fieldType]) != 0
}

// isText reports whether files that tickfeed writes hold text in f, which may be defused.
func isText(f field) bool {
	switch f {
	case fieldSymbol, fieldVenue, fieldCurrency, fieldTradeID, fieldConditions, fieldReason:
		return true
	}
	return false
}
