package codec

import (
	"strconv"
	"strings"

	"tickfeed/feed"
)

// Quotes and trades have fixed-width patterns: their fields are at constant offsets. Compact integers would cost one branch
// per field, which is often mispredicted on varied data. Other entries take the general path, which reads every valid
// msgpack width.

// fixedPatterns is the table of the patterns. The vector code is derived from it (vector_amd64.go). The loops that process one
// tick at a time are unrolled by hand (unrolled.go), and TestFixedPatterns compares them with the table.
//
// Two digits are a mark: a byte that each entry of the pattern has. A letter is half a byte of a field: k is the code
// (kind<<1 | more), i the instrument, t the event time less the packet's base, u v w x are the four values, s is the side,
// z the conditions, which are the fourth value from its highest byte on.
//
// vector_amd64.s relies on the order: quote and trade, narrow, then wide.
var fixedPatterns = [...]struct {
	kind  feed.Kind
	bytes string
}{
	{feed.KindQuote, "97 kk cd iiii d2 tttttttt ce uuuuuuuu cd vvvv ce wwwwwwww cd xxxx"},
	{feed.KindTrade, "98 kk cd iiii d2 tttttttt ce uuuuuuuu ce vvvvvvvv ss ce wwwwwwww a4 zzzzzzzz"},
	{feed.KindQuote, "97 kk ce iiiiiiii d3 tttttttttttttttt d3 uuuuuuuuuuuuuuuu cf vvvvvvvvvvvvvvvv d3 wwwwwwwwwwwwwwww cf xxxxxxxxxxxxxxxx"},
	{feed.KindTrade, "98 kk ce iiiiiiii d3 tttttttttttttttt d3 uuuuuuuuuuuuuuuu cf vvvvvvvvvvvvvvvv ss cf wwwwwwwwwwwwwwww a8 zzzzzzzzzzzzzzzz"},
}

// A fixedField is a field of a pattern, or a mark.
type fixedField struct {
	letter byte // 0 for a mark
	mark   byte
	at     int // index of its first byte in the entry
	size   int // in bytes
}

// fixedFields takes the text of a pattern apart, in order, and returns the size of its entries, in bytes.
func fixedFields(text string) (fields []fixedField, size int) {
	for token := range strings.FieldsSeq(text) {
		f := fixedField{letter: token[0], at: size, size: len(token) / 2}
		if mark, err := strconv.ParseUint(token, 16, 8); err == nil {
			f.letter, f.mark = 0, byte(mark)
		}
		fields = append(fields, f)
		size += f.size
	}
	return fields, size
}
