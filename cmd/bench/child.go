package bench

import (
	"context"
	"errors"
	"fmt"
	"io"

	"tickfeed/feed"
)

// What may be wrong with the data.
var (
	// ErrAccount: ticks are missing, or came twice. No figure makes up for that.
	ErrAccount = errors.New("the account of the ticks is wrong")
	// ErrTicks: the ticks to publish cannot be read.
	ErrTicks = errors.New("the ticks cannot be read")
)

// sentinels are the errors that reach Run from a child, by their number in an answer.
var sentinels = []error{nil, ErrAccount, ErrTicks}

// The children, by what they do.
const (
	rolePublisher  = "publisher"
	roleSubscriber = "subscriber"
	roleSender     = "sender"
	roleReceiver   = "receiver"
)

// Child is the life of a child process of Run: it does what in orders and answers on out, until
// in ends. Role is what Run passed to Config.Command. Open reads the files of Config.Ticks.
func Child(ctx context.Context, role string, in io.Reader, out io.Writer, open func(paths []string) (feed.Source, error)) error {
	var ops map[string]op
	switch role {
	case rolePublisher:
		ops = (&source{open: open}).ops()
	case roleSubscriber:
		ops = new(sink).ops()
	case roleSender:
		ops = new(sender).ops()
	case roleReceiver:
		ops = new(receiver).ops()
	default:
		return fmt.Errorf("there is no role %q", role)
	}
	return serve(ctx, in, out, ops)
}
