package replay

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"

	"tickfeed/codec/recording"
	"tickfeed/publisher"
)

// Serve plays the recordings in files to the subscribers that connect on listener, at the pace of the market; several
// recordings are merged by time. It goes on serving after the last tick, until ctx ends, whose cause it returns, or until
// something fails. It owns listener, and waits for everything that it started. For another speed, a part, a filter, loops
// or controls, make a Player with New, and a Stage for it.
func Serve(ctx context.Context, listener net.Listener, files ...string) error {
	var recordings []Recording
	for _, name := range files {
		in, err := recording.Open(name)
		if err != nil {
			return errors.Join(err, listener.Close())
		}
		defer in.Close()
		recordings = append(recordings, Recording{Name: name, R: in, Size: in.Size()})
	}
	if len(recordings) == 0 {
		return errors.Join(errors.New("replay: Serve needs a file to play"), listener.Close())
	}
	stage, err := NewStage(publisher.Config{Source: "replay of " + strings.Join(files, " ")}, 0, "", []net.Listener{listener})
	if err != nil {
		return fmt.Errorf("replay: %w", err)
	}
	player, err := New(Config{Recordings: recordings}, stage)
	if err != nil {
		return errors.Join(err, stage.Close())
	}
	ctx, cancel := context.WithCancelCause(ctx)
	var serving sync.WaitGroup
	serving.Go(func() { cancel(stage.Run(ctx)) })
	if err := player.Run(ctx); err != nil && ctx.Err() == nil {
		cancel(err)
	}
	<-ctx.Done()
	serving.Wait()
	return errors.Join(context.Cause(ctx), stage.Close())
}
