package bench

import (
	"context"
	"errors"
	"fmt"
	"io"

	"tickfeed/feed"
)

// Errors in the data.
var (
	// ErrAccount is returned if ticks are missing or came twice, which makes any figure meaningless.
	ErrAccount = errors.New("the account of the ticks is wrong")
	// ErrTicks is returned if the ticks to publish cannot be read.
	ErrTicks = errors.New("the ticks cannot be read")
)

// sentinels are the errors that a child can pass to Run; an answer contains the index.
var sentinels = []error{nil, ErrAccount, ErrTicks}

// The roles of children.
const (
	rolePublisher  = "publisher"
	roleSubscriber = "subscriber"
	roleSender     = "sender"
	roleReceiver   = "receiver"
)

// Child runs a child process of Run: it handles the requests in in and answers on out, until in ends. Role is
// the role that Run passed to Config.Command. Open reads the files of Config.Ticks.
func Child(ctx context.Context, role string, in io.Reader, out io.Writer, open func(paths []string) (feed.Source, error)) error {
	var ops map[string]op
	switch role {
	case rolePublisher:
		s := &source{open: open}
		// SIGTERM ends ctx: the publisher then ends in order, as "tickfeed publish" does.
		stop := context.AfterFunc(ctx, func() { _, _ = s.closePublisher(ctx, nothing{}) })
		defer stop()
		ops = s.ops()
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
