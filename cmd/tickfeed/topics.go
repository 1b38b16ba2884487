package main

import (
	"fmt"

	"github.com/spf13/cobra"
)

// Help topics are commands that only have a help page: "tickfeed help formats".
const (
	topicFormats   = "formats"
	topicScenarios = "scenarios"
)

// formatsTopic describes the flags that say how files that are not recordings are read, once for all commands that have them.
func (p *program) formatsTopic() *cobra.Command {
	var o importOptions
	cmd := &cobra.Command{
		Use:   topicFormats,
		Short: "How files that are not recordings are read, and the flags for that",
		Long: `publish, replay, import, inspect, cut, merge, export and bench read files of
these formats, which they detect by content: CSV and NDJSON, Parquet, Databento
DBN, Nasdaq ITCH, IEX, LOBSTER, websocket captures, LEAN. Files compressed with
gzip or zstd are decompressed. "tickfeed import --help" describes each format.
All these commands accept the flags below.`,
	}
	importFlags(cmd, &o)
	cmd.SetHelpFunc(func(cmd *cobra.Command, _ []string) { // cobra prints no flags of a topic
		fmt.Fprintln(cmd.OutOrStdout(), cmd.Long)
		fmt.Fprint(cmd.OutOrStdout(), cmd.UsageString())
	})
	return cmd
}

// scenariosTopic describes the two forms in which a person or a script writes ticks by hand.
func (p *program) scenariosTopic() *cobra.Command {
	return &cobra.Command{
		Use:   topicScenarios,
		Short: "How to write ticks by hand, as NDJSON or in the text form",
		Long: `Tests of a client often need a few exact ticks. They can be written in two ways.

NDJSON has one line per tick, which any script can write to standard input:

  $ tickfeed publish - --exit-at-end <<'END'
  {"time":"2026-03-02T14:30:00Z","symbol":"AAPL","bid":187.25,"ask":187.26}
  {"time":"2026-03-02T14:30:01Z","symbol":"AAPL","price":187.26,"size":100}
  END

  time      the event time, in UTC: RFC 3339, or a number since the Unix epoch,
            in s, ms, us or ns by its magnitude (--epoch-unit sets the unit)
  symbol    the instrument; venue is optional
  bid, bid_size, ask, ask_size
            a quote. Prices and sizes are decimal numbers in the instrument's
            currency and units, exact as written; if a bid is left out or null,
            there is no bid
  price, size, side
            a trade; side is the aggressor's, buy or sell. trade_id and
            conditions are optional
  type      quote, trade, correction, cancel, level, clear, status, auction or
            definition, each with the keys that "subscribe --json" prints

The publisher numbers the ticks from 1 and sends the definition of an instrument
before its first tick. It publishes them at once, or at --rate N.

The text form is a whole recording, with numbers, publish times, gaps and
sessions. It is played at the pace of its publish times:

  $ tickfeed replay scenario.txt

  tickfeed-text 1
  session lineage=00000000000000a1:1 mode=live
  packet 2026-03-02T14:30:00Z
    define #0 symbol=AAPL venue=XNAS price=-2
    quote AAPL 187.25 300 187.26 500
  packet 2026-03-02T14:30:00.5Z
    trade AAPL 187.26 100 buy id=7
  packet 2026-03-02T14:30:01Z
    gone 50 expired
  closed

  packet TIME   the publish time of the ticks that follow; their event time too,
                unless given as an offset in ns: trade +1000 AAPL 187.26 100
  define        #ID symbol= venue= price=EXPONENT size=EXPONENT currency=
                tick= lot=; prices are multiples of 10^EXPONENT
  quote         INSTRUMENT BID SIZE ASK SIZE; - is no price
  trade         INSTRUMENT PRICE SIZE [buy|sell] id= cond=
  level         INSTRUMENT bid|ask PRICE SIZE
  clear         INSTRUMENT bid|ask|both
  status        INSTRUMENT pre-open|trading|halted|auction|closed day=YYYYMMDD
                reason= end=+NS, after the event time
  auction       INSTRUMENT opening|closing|intraday|halt|ipo PRICE SIZE
                [buy|sell] imbalance=SIZE at=+NS, after the event time
  skip N, withheld N, gone N expired|damaged
                N numbers without ticks; withheld and gone need a packet of
                their own

"tickfeed export session.tick -o session.txt" writes any recording in this form,
for editing; "tickfeed import session.txt -o session.tick" converts it back.`,
	}
}
