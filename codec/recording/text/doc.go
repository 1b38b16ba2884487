// Package text is the text form of a recording: a line for each header, packet and tick. The text can be read
// in a review, edited by hand, and converted back into exactly the bytes that it was made of.
//
// [Write] makes the text of any recording, even a damaged one, and [Read] makes the recording of a text. A text
// that [Read] accepts is in canonical form after passing through both.
//
//	tickfeed-text 1
//	session lineage=000000020261122a:1 mode=simulation source="two ticks" created=2026-11-22T14:30:00Z
//	packet 2026-11-22T14:30:00.001Z base=2026-11-22T14:30:00Z
//	  define #0 symbol=AAPL venue=XNAS price=-2 currency=USD tick=0.01 lot=100
//	  status AAPL trading day=20261122
//	  quote AAPL 187.25 300 187.26 500
//	  trade +1000 AAPL 187.26 100 buy id=9001 cond="@ F"
//	closed
//
// [Read] documents the lines.
package text
