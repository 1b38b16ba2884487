package logtest_test

import (
	"errors"
	"fmt"

	"github.com/rs/zerolog"

	"tickfeed/codec/logto/logtest"
)

// The events of a logger are found by their text, and their fields are values.
func ExampleBuffer_Events() {
	var log logtest.Buffer
	logger := zerolog.New(&log)
	logger.Info().Uint64("seq", 41).Msg("connected")
	logger.Warn().Uint64("seq", 42).Err(errors.New("timeout")).Msg("connection lost")
	for _, event := range log.Events("connection lost") {
		fmt.Println(event["level"], event["seq"], event["error"])
	}
	// Output:
	// warn 42 timeout
}
