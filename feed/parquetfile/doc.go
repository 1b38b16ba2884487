// Package parquetfile writes ticks as Apache Parquet (parquet.apache.org, format 2), one row a tick, in the columns that
// pandas, polars and DuckDB work with.
//
//	session     string      16 hexadecimal digits
//	seq         int64       the number in the session
//	type        string      quote, trade, …
//	symbol      string      null where nothing defines the instrument
//	venue       string      null where there is none
//	ts_event    timestamp   nanoseconds, UTC; null where the venue did not say
//	ts_publish  timestamp   nanoseconds, UTC
//	bid, ask, price, …      decimal, exact; null where there is none
//	bid_size, …             int64, or decimal where there are fractions
//	more        boolean     true where the next tick is of the same event of the venue, else null
//
// Columns that none of the wanted kinds of ticks fills are left out, and more where no event has several ticks. Names are those of the CSV and JSON forms.
//
// Decimals are decimal(18, 9), stored in 64 bits, where all values of the file fit, else decimal(38, 18): so that nearly all
// files have one schema and can be read together. A [Survey] finds out. Times are stored without the mark "adjusted to
// UTC", because DuckDB cuts marked ones to microseconds.//
// [Rows] reads Parquet files, these and any others of rows, as CSV for the importer of text.
package parquetfile
