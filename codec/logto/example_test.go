package logto_test

import (
	"log/slog"
	"os"

	"tickfeed/codec/logto"
)

// A program that logs with log/slog gets the events of the feed in its own log.
func ExampleSlog() {
	handler := slog.NewTextHandler(os.Stdout, &slog.HandlerOptions{
		ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
			if a.Key == slog.TimeKey {
				return slog.Attr{} // so that the output is always the same
			}
			return a
		},
	})
	logger := logto.Slog(handler) // for publisher.Config.Logger, replay.Config.Logger or subscriber.Config.Logger
	logger.Info().Str("remote", "127.0.0.1:50000").Uint64("seq", 42).Msg("client joined")
	// Output:
	// level=INFO msg="client joined" remote=127.0.0.1:50000 seq=42
}
