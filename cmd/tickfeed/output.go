package main

import (
	"fmt"
	"io"

	"github.com/spf13/pflag"

	"tickfeed/feed"
	"tickfeed/feed/files/textfile"
)

// A printer writes ticks as lines of text. A handler flushes it before it returns, so that the operating system has the
// ticks of the handler's batch then.
type printer struct {
	*textfile.Formatter
	out  io.Writer
	buf  []byte
	file bool // out is not standard output
}

func newPrinter(out io.Writer, f textfile.Format) *printer {
	return &printer{Formatter: textfile.NewFormatter(f), out: out, buf: []byte(f.Header())}
}

// writeSize is, roughly, the maximum number of bytes in a write.
const writeSize = 64 << 10

// append writes ticks of one session that were published together, publish nanoseconds since the Unix epoch; fewer than
// writeSize bytes are kept until flush. state supplies the definitions that were in no batch. The error is errOutputClosed, or
// that of the write.
func (p *printer) append(session feed.SessionID, publish int64, ticks []feed.Tick, state *feed.State) error {
	for i := range ticks {
		p.buf = p.Append(p.buf, session, publish, &ticks[i], state)
		if len(p.buf) >= writeSize {
			if err := p.flush(); err != nil {
				return err
			}
		}
	}
	return nil
}

func (p *printer) flush() error {
	if len(p.buf) == 0 {
		return nil
	}
	_, err := p.out.Write(p.buf)
	p.buf = p.buf[:0]
	if p.file {
		return err
	}
	return output(err)
}

// output returns the error of a write to standard output: errOutputClosed if the reader is gone.
func output(err error) error {
	switch {
	case err == nil:
		return nil
	case isClosedPipe(err):
		return errOutputClosed
	}
	return fmt.Errorf("write standard output: %w", err)
}

// The values of --time.
const (
	timeNs      = "ns"
	timeRFC3339 = "rfc3339"
)

// timeVar defines the flag --time.
func timeVar(f *pflag.FlagSet, v *string) {
	f.StringVar(v, "time", timeNs, "write times in JSON and CSV as `FORM` ns, nanoseconds since the Unix epoch (integers above 2^53, which float64 rounds), or rfc3339, text with nine decimals")
}

// parseTimes parses --time.
func parseTimes(s string) (textfile.Times, error) {
	switch s {
	case timeNs:
		return textfile.Nanoseconds, nil
	case timeRFC3339:
		return textfile.RFC3339, nil
	}
	return 0, usage("--time must be ns or rfc3339, got %q", s)
}

// rawVar defines the flag --raw, which requires the flag or format named json.
func rawVar(f *pflag.FlagSet, v *bool, json string) {
	f.BoolVar(v, "raw", false, "with "+json+": print prices and sizes as the integers on the wire, with price_exponent and size_exponent")
}
