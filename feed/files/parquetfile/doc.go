// Package parquetfile writes ticks as Apache Parquet (parquet.apache.org, format 2), one row per tick, with column types that
// pandas, polars and DuckDB support.
//
//	session     string      16 hexadecimal digits
//	seq         int64       the number in the session
//	type        string      quote, trade, …
//	symbol      string      null if the instrument has no definition
//	venue       string      null if there is none
//	ts_event    timestamp   nanoseconds, UTC; null if the venue gave none
//	ts_publish  timestamp   nanoseconds, UTC
//	bid, ask, price, …      decimal, exact; null if there is none
//	bid_size, …             int64, or decimal if there are fractions
//	more        boolean     true if the next tick belongs to the same event of the venue, otherwise null
//
// A column is left out if none of the wanted kinds of ticks has it, and the column more if no event has several ticks. The
// names are those of the CSV and JSON forms.
//
// Decimals are decimal(18, 9), stored in 64 bits, if all values of the file fit, and otherwise decimal(38, 18). So nearly all
// files have the same schema and can be read together. A [Survey] decides which type is needed. Times are stored without the
// mark "adjusted to UTC", because DuckDB cuts marked times to microseconds.
//
// [Rows] reads Parquet files, these and any others with rows, as CSV for the importer of text.
package parquetfile
