// Package logto makes the loggers that publishers, replays and subscribers take write to something else than zerolog's JSON.
//
//	pub, err := publisher.New(publisher.Config{Logger: logto.Slog(slog.Default().Handler())})
package logto

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"strconv"
	"time"

	"github.com/rs/zerolog"
)

// Slog returns a logger whose events h handles, for programs that log with log/slog. Levels keep their meaning: trace is 4
// below [slog.LevelDebug]. Fields keep their order and type: numbers, booleans, texts, and objects, which become groups.
// A level that h has not enabled is not logged; Level of the logger that is returned says so sooner, before the event is made.
func Slog(h slog.Handler) zerolog.Logger { return zerolog.New(slogWriter{h}) }

// A slogWriter passes the events of a logger on to a handler.
type slogWriter struct{ h slog.Handler }

func (w slogWriter) Write(event []byte) (int, error) {
	return w.WriteLevel(zerolog.NoLevel, event)
}

// WriteLevel implements [zerolog.LevelWriter].
func (w slogWriter) WriteLevel(level zerolog.Level, event []byte) (int, error) {
	ctx, to := context.Background(), slogLevel(level)
	if !w.h.Enabled(ctx, to) {
		return len(event), nil
	}
	d := json.NewDecoder(bytes.NewReader(event))
	d.UseNumber()
	all, err := slogValue(d)
	if err != nil {
		return 0, fmt.Errorf("log event %.100q: %w", event, err)
	}
	r := slog.NewRecord(time.Now(), to, "", 0)
	for _, a := range all.Group() {
		switch a.Key {
		case zerolog.LevelFieldName, zerolog.TimestampFieldName:
		case zerolog.MessageFieldName:
			r.Message = a.Value.String()
		default:
			r.AddAttrs(a)
		}
	}
	return len(event), w.h.Handle(ctx, r)
}

func slogLevel(l zerolog.Level) slog.Level {
	switch l {
	case zerolog.TraceLevel:
		return slog.LevelDebug - 4
	case zerolog.DebugLevel:
		return slog.LevelDebug
	case zerolog.WarnLevel:
		return slog.LevelWarn
	case zerolog.ErrorLevel:
		return slog.LevelError
	case zerolog.FatalLevel, zerolog.PanicLevel:
		return slog.LevelError + 4
	}
	return slog.LevelInfo
}

// slogValue reads a JSON value. Objects become groups, in their order.
func slogValue(d *json.Decoder) (slog.Value, error) {
	token, err := d.Token()
	if err != nil {
		return slog.Value{}, err
	}
	switch v := token.(type) {
	case json.Delim:
		if v == '[' {
			var list []any
			for d.More() {
				x, err := slogValue(d)
				if err != nil {
					return slog.Value{}, err
				}
				list = append(list, x.Any())
			}
			_, err := d.Token()
			return slog.AnyValue(list), err
		}
		var group []slog.Attr
		for d.More() {
			key, err := d.Token()
			if err != nil {
				return slog.Value{}, err
			}
			x, err := slogValue(d)
			if err != nil {
				return slog.Value{}, err
			}
			group = append(group, slog.Attr{Key: key.(string), Value: x})
		}
		_, err := d.Token()
		return slog.GroupValue(group...), err
	case json.Number:
		if n, err := strconv.ParseInt(v.String(), 10, 64); err == nil {
			return slog.Int64Value(n), nil
		}
		if n, err := strconv.ParseUint(v.String(), 10, 64); err == nil {
			return slog.Uint64Value(n), nil
		}
		f, err := v.Float64()
		return slog.Float64Value(f), err
	}
	return slog.AnyValue(token), nil // a text, a boolean or nil
}
