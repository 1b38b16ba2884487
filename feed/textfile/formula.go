package textfile

import "slices"

// Defuse reports whether a cell of text in our own CSV files has an apostrophe before it: a spreadsheet would take it for a
// formula, because it begins with =, +, -, @, a tab or a carriage return, or it would be read back as another text, because
// it begins with such a character behind apostrophes. Numbers are written as they are.
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

// fused is the text of a cell of one of our own CSV files.
func fused(cell []byte) []byte {
	if len(cell) > 1 && cell[0] == '\'' && Defuse(string(cell)) {
		return cell[1:]
	}
	return cell
}

// ownColumns are what the header of our own CSV files begins with.
var ownColumns = []string{"session", "seq", "snapshot", "type", "symbol", "venue", "ts_event", "ts_publish"}

// isOwn reports whether a file with columns of these names is one of our own.
func isOwn(names []string) bool {
	return len(names) >= len(ownColumns) && slices.Equal(names[:len(ownColumns)], ownColumns)
}

// isOwn reports whether r is in the form that tickfeed itself prints: it names its kind and has its time in ts_event. What is
// guessed of other files is known of it: times are nanoseconds, and a price of 0 is a price.
func (r *row) isOwn() bool {
	return r.names[fieldTime] == "ts_event" && kindOf(r.cells[fieldType]) != 0
}

// isText reports whether our own files hold text in f, which may have been defused.
func isText(f field) bool {
	switch f {
	case fieldSymbol, fieldVenue, fieldCurrency, fieldTradeID, fieldConditions, fieldReason:
		return true
	}
	return false
}
