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
// # Lines
//
// The first line is "tickfeed-text 1". Each further line is one part of the file, in the order of the file;
// blank lines, blanks at either end of a line, and lines that begin with # are ignored. A line is words
// separated by blanks; the first word names the part. Words shown as key=value below may be left out, and then
// mean 0, empty, or the value in the table. A value may be quoted, as in Go, and must be if it contains blanks,
// quotes or characters other than ASCII.
//
//	session   a session or a line of it begins: the header, twice
//	header    the header, once
//	            lineage=ID:FIRST,…  root first, the session itself last
//	            mode=live|simulation|replay, origin=ID
//	            seed=HEX            of checksums; default: the seed of the session's line with the filter
//	            filter=PATTERN      any number of times
//	            source=TEXT, next=SEQ (default 1), created=TIME
//	mark      the header again, with the next number; next=SEQ states another one
//	restate   the same, twice: the line begins again, so that a snapshot can follow
//	snapshot  begin of the snapshot as of the next number
//	part TIME a part of it: ticks and summaries follow; TIME is the base of their times
//	            index=N             default: one more than the previous part's
//	end       end of the snapshot; parts=N states a number other than that of the parts before
//	packet TIME  a packet with publish time TIME: ticks follow
//	            base=TIME           of the times of its ticks; default: the publish time
//	            seq=N               first number, if the packet does not join
//	            count=N             default: the numbers that its ticks cover
//	closed    the index and the trailer, at the end of a recording that was closed in order
//	bytes HEX exactly these bytes: damage, or the output of a later version
//
// raw=HEX at the end of a session, header or mark gives its bytes, if this version would write others. TIME is
// as in RFC 3339 with up to nine decimals, or nanoseconds since the Unix epoch.
//
// The entries of a packet or part are indented by two blanks:
//
//	define     #ID symbol=S venue=S price=EXPONENT size=EXPONENT currency=S tick=PRICE lot=SIZE
//	quote      INSTRUMENT BID SIZE ASK SIZE
//	trade      INSTRUMENT PRICE SIZE [buy|sell] id=N cond=S ref=S
//	correction INSTRUMENT PRICE SIZE [buy|sell] id=N cond=S ref=S old=PRICE oldsize=SIZE
//	cancel     INSTRUMENT PRICE SIZE id=N ref=S
//	level      INSTRUMENT bid|ask PRICE SIZE
//	clear      INSTRUMENT bid|ask|both
//	status     INSTRUMENT unknown|pre-open|trading|halted|auction|closed|N day=YYYYMMDD reason=S
//	           end=+NS; the end is so many ns after the event time
//	auction    INSTRUMENT unknown|opening|closing|intraday|halt|ipo|N PRICE SIZE [buy|sell] imbalance=SIZE at=+NS
//	summary    INSTRUMENT day=YYYYMMDD open=PRICE high=PRICE low=PRICE last=PRICE lastsize=SIZE
//	           lastside=buy|sell lasttime=+NS volume=SIZE trades=N id=N ref=S
//	skip N     N numbers that were not asked for
//	withheld N N numbers that the slow-consumer policy withheld
//	gone N expired|damaged|N   N numbers that are no longer available
//	raw N HEX  bytes of the body that cover N numbers, if no other line stands for exactly these bytes
//
// A tick's event time may follow its kind: +NS or -NS, the event time minus the base in nanoseconds, or @0 if
// the tick has none. "more" at the end says that the next tick belongs to the same venue event.
//
// INSTRUMENT is the symbol, or SYMBOL@VENUE, if exactly one of the instruments defined so far has that name,
// and otherwise #ID. It is always #ID if the symbol does not begin with a letter or digit, or contains a blank,
// a quote, a comma, a backslash, an equals sign or a character other than ASCII. PRICE and SIZE are exact
// decimal numbers in the instrument's exponents, or whole numbers if it has no definition. A price is - if
// there is none, and so are prices that a summary leaves out. At the beginning of a snapshot, or of a session
// that begins at 1, definitions are dropped.
//
// The text does not contain checksums, numbers, counts, sizes, index and trailer, because they are computed. If
// those in a recording differ from the computed ones, the text contains their bytes.
package text
