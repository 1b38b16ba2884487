// Package text is the text form of a recording: a line for each header, packet and tick, to be
// read in a review, edited by hand, and turned into exactly the bytes again that it was made of.
//
// [Write] makes text of any recording, damaged ones too, and [Read] makes the recording of
// text. A text that [Read] takes is in canonical form once it went through both.
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
// The first line is "tickfeed-text 1". Then each line is one thing of the file, in the order of
// the file; blank lines, blanks at either end, and lines that begin with # are ignored. A line is
// words with blanks between; the first says what it is. A word is key=value where it is named so
// below; these may be left out, and then mean 0, empty, or what the table says. A value may
// stand in quotes, as in Go, and must where it holds blanks, quotes or what is not ASCII.
//
//	session   a session or a line of it begins: the header, twice
//	header    the header, once
//	            lineage=ID:FIRST,…  root first, the session itself last
//	            mode=live|simulation|replay, origin=ID
//	            seed=HEX            of checksums; else that of the session's line with the filter
//	            filter=PATTERN      any number
//	            source=TEXT, next=SEQ (else 1), created=TIME
//	mark      the header again, with the number that comes next; next=SEQ states another
//	restate   the same twice: the line begins anew, so that a snapshot can follow
//	snapshot  begin of the snapshot as of the number that comes next
//	part TIME a part of it: ticks and summaries follow; TIME is the base of their times
//	            index=N             else one more than that of the part before
//	end       end of the snapshot; parts=N states another number than there were
//	packet TIME  a packet with publish time TIME: ticks follow
//	            base=TIME           of the times of its ticks; else TIME
//	            seq=N               first number, where it does not join
//	            count=N             else what its ticks cover
//	closed    the index and the trailer, which end a recording that was closed in order
//	bytes HEX these bytes, whatever they are: damage, or what a later version wrote
//
// raw=HEX at the end of a session, header or mark states its bytes, where they are not those
// that this version writes. TIME is as in RFC 3339 with up to nine decimals, or nanoseconds since
// the Unix epoch.
//
// Indented by two blanks come the entries of a packet or part:
//
//	define     #ID symbol=S venue=S price=EXPONENT size=EXPONENT currency=S tick=PRICE lot=SIZE
//	quote      INSTRUMENT BID SIZE ASK SIZE
//	trade      INSTRUMENT PRICE SIZE [buy|sell] id=N cond=S ref=S
//	correction INSTRUMENT PRICE SIZE [buy|sell] id=N cond=S ref=S old=PRICE oldsize=SIZE
//	cancel     INSTRUMENT PRICE SIZE id=N ref=S
//	level      INSTRUMENT bid|ask PRICE SIZE
//	clear      INSTRUMENT bid|ask|both
//	status     INSTRUMENT unknown|pre-open|trading|halted|auction|closed|N day=YYYYMMDD
//	summary    INSTRUMENT day=YYYYMMDD open=PRICE high=PRICE low=PRICE last=PRICE lastsize=SIZE
//	           lastside=buy|sell lasttime=+NS volume=SIZE trades=N id=N ref=S
//	skip N     N numbers that were not asked for
//	withheld N N numbers that the slow-consumer policy withheld
//	gone N expired|damaged|N   N numbers that could not be had any more
//	raw N HEX  bytes of the body that cover N numbers, where no other line says just these
//
// Between a tick's kind and its instrument may stand +NS or -NS, its event time less the base, in
// nanoseconds, or @0 if it has none; and "more" at its end says that the next tick belongs to the
// same venue event.
//
// INSTRUMENT is the symbol, or SYMBOL@VENUE, if the definitions above it leave one that is meant;
// else #ID, as always where the symbol does not begin with a letter or digit or holds a blank, a
// quote, a comma, a backslash, an equals sign or what is not ASCII. PRICE and SIZE are decimal
// numbers in the instrument's exponents, exact, and whole numbers where it has no definition;
// a price is - where there is none, and those of a summary are that if they are left out.
// Definitions are forgotten where a snapshot, or a session that begins at 1, begins.
//
// Checksums, numbers, counts, sizes, index and trailer are not in the text: they are computed.
// Where a recording's are others than those computed, its bytes stand there.
package text
