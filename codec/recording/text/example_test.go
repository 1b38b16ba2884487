package text_test

import (
	"bytes"
	"fmt"
	"os"
	"strings"

	"tickfeed/codec/recording/text"
)

const edited = `tickfeed-text 1
session lineage=000000020261122a:1 mode=simulation source="two ticks" created=2026-11-22T14:30:00Z
packet 2026-11-22T14:30:00.001Z base=2026-11-22T14:30:00Z
  define #0 symbol=AAPL venue=XNAS price=-2 currency=USD tick=0.01 lot=100
  quote AAPL 187.25 300 187.26 500
closed
`

// A text becomes a recording, and the recording the same text.
func Example() {
	var recording bytes.Buffer
	if err := text.Read(&recording, strings.NewReader(edited)); err != nil {
		fmt.Println(err)
		return
	}
	if _, err := text.Write(os.Stdout, bytes.NewReader(recording.Bytes()), int64(recording.Len())); err != nil {
		fmt.Println(err)
	}
	// Output:
	// tickfeed-text 1
	// session lineage=000000020261122a:1 mode=simulation source="two ticks" created=2026-11-22T14:30:00Z
	// packet 2026-11-22T14:30:00.001Z base=2026-11-22T14:30:00Z
	//   define #0 symbol=AAPL venue=XNAS price=-2 currency=USD tick=0.01 lot=100
	//   quote AAPL 187.25 300 187.26 500
	// closed
}

// A line that is wrong is named.
func ExampleRead() {
	var recording bytes.Buffer
	fmt.Println(text.Read(&recording, strings.NewReader(strings.Replace(edited, "187.26", "187.265", 1))))
	// Output:
	// line 5: quote: price "187.265" with exponent -2: the number has more decimals than its unit
}
