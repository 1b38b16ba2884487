package logto_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"log/slog"
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tickfeed/codec/logto"
)

// An event that is logged to a slog.Handler keeps its level, its message, and the order and types of its fields.
func TestSlogKeepsEvents(t *testing.T) {
	var out bytes.Buffer
	log := logto.Slog(slog.NewJSONHandler(&out, &slog.HandlerOptions{Level: slog.LevelDebug - 4}))
	log = log.With().Str("component", "feed").Timestamp().Logger()
	for _, c := range []struct {
		do    func()
		level string
	}{
		{func() { log.Trace().Msg("x") }, "DEBUG-4"},
		{func() { log.Debug().Msg("x") }, "DEBUG"},
		{func() { log.Info().Msg("x") }, "INFO"},
		{func() { log.Log().Msg("x") }, "INFO"},
		{func() { log.Warn().Msg("x") }, "WARN"},
		{func() { log.Error().Msg("x") }, "ERROR"},
	} {
		out.Reset()
		c.do()
		var event map[string]any
		require.NoError(t, json.Unmarshal(out.Bytes(), &event))
		at, err := time.Parse(time.RFC3339, event["time"].(string))
		require.NoError(t, err)
		assert.WithinDuration(t, time.Now(), at, time.Minute)
		delete(event, "time")
		assert.Equal(t, map[string]any{"level": c.level, "msg": "x", "component": "feed"}, event)
	}

	out.Reset()
	log.Info().Uint64("seq", math.MaxUint64).Int64("least", math.MinInt64).Float64("rate", 0.5).Bool("live", true).Str("remote", "a \"b\"").
		Err(errors.New("broken")).Ints("some", []int{1, 2}).Any("range", map[string]int{"from": 1}).Any("none", nil).Msg("a message")
	_, fields, _ := bytes.Cut(out.Bytes(), []byte(`"level"`))
	assert.Equal(t, `:"INFO","msg":"a message","component":"feed","seq":18446744073709551615,"least":-9223372036854775808,"rate":0.5,`+
		`"live":true,"remote":"a \"b\"","error":"broken","some":[1,2],"range":{"from":1},"none":null}`+"\n", string(fields))

	out.Reset()
	quiet := logto.Slog(slog.NewJSONHandler(&out, nil))
	quiet.Debug().Msg("below the level of the handler")
	assert.Empty(t, out.String())
}
