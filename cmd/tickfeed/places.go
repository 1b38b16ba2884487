package main

import (
	"fmt"
	"math"
	"time"

	"github.com/spf13/pflag"

	"tickfeed/codec/recording/place"
	"tickfeed/feed/files/textfile"
)

// placesHelp explains places in the help of the commands that read recordings.
const placesHelp = `A place is a time of day (09:45, 14:30:00.250) or a date and time
(2026-01-05T09:45), in --zone (default UTC); a sequence number, seq:N; or a
jump (+10s, -1m). Times are market time: a place in time is before the first
tick whose event time is that time or later. A tick without an event time, or
with an earlier one than a tick before it, counts as if it had the latest event
time so far. With --clock publish, times are publish times.`

// clockFlag adds --clock to f, which selects the clock of times in a recording.
func clockFlag(f *pflag.FlagSet, clock *string) {
	f.StringVar(clock, "clock", place.MarketClock.String(), "`CLOCK` of times: market (the event times) or publish (when the packets were published)")
}

// parseClock reads --clock.
func parseClock(text string) (place.Clock, error) {
	clock, err := place.ParseClock(text)
	if err != nil {
		return 0, usage("--clock: %w", err)
	}
	return clock, nil
}

// location returns the time zone of --zone, in which places and local times in files are; UTC if it was not given.
func (o *importOptions) location() (*time.Location, error) {
	zone, err := textfile.ParseZone(o.files.Zone)
	if err != nil {
		return nil, usage("--zone: %w", err)
	}
	if zone == nil {
		zone = time.UTC
	}
	return zone, nil
}

// A placeFlag is a flag that names a place in a recording, empty if it was not given.
type placeFlag struct {
	name, text string
	place      *place.Place
}

// parsePlaces reads the flags that name places, and --clock and --zone, which say what they mean.
func (o *importOptions) parsePlaces(clock string, flags ...placeFlag) (place.Clock, error) {
	zone, err := o.location()
	if err != nil {
		return 0, err
	}
	for _, f := range flags {
		if f.text == "" {
			continue
		}
		if *f.place, err = place.Parse(f.text, zone); err != nil {
			return 0, usage("%s: %w", f.name, err)
		}
	}
	if err := checkPart(flags...); err != nil {
		return 0, err
	}
	return parseClock(clock)
}

// checkPart refuses the bounds --from and --to of a part if nothing can be between them in any recording.
func checkPart(flags ...placeFlag) error {
	if len(flags) == 2 && !flags[1].place.Follows(*flags[0].place) {
		return usage("%s %s is not after %s %s: nothing lies between", flags[1].name, flags[1].text, flags[0].name, flags[0].text)
	}
	return nil
}

// spanOf returns the times of a recording for a message about a part that has nothing, if one of its bounds was given, and says so if
// the part ends before it begins.
func spanOf(r *openRecording, clock place.Clock, from, to place.Place) string {
	if from.IsZero() && to.IsZero() {
		return ""
	}
	reader, err := r.Reader()
	if err != nil {
		return ""
	}
	first, last, err := reader.Span(clock)
	if err != nil || first == place.NoTime {
		return ""
	}
	order := ""
	if from, to = place.Resolve(from, to, first, last); !from.IsZero() && !to.IsZero() && !to.Follows(from) {
		order = "; --to is not after --from"
	}
	return fmt.Sprintf("%s; its %s times are %s to %s", order, clock, eventTime(first), eventTime(last))
}

// checkTimes returns an error if the times of r say that no tick is in the part from from up to to.
func checkTimes(r *openRecording, clock place.Clock, from, to place.Place) error {
	if from.IsZero() && to.IsZero() {
		return nil
	}
	reader, err := r.Reader()
	if err != nil {
		return wrong("%s: %w", r.title(), err)
	}
	first, last, err := reader.Span(clock)
	if err != nil {
		return wrong("%s: %w", r.title(), err)
	}
	if first == place.NoTime {
		return nil
	}
	begin, end := place.Resolve(from, to, first, last)
	switch {
	case !from.IsZero() && !begin.Reached(math.MaxUint64, last), !to.IsZero() && end.Reached(0, first), !from.IsZero() && !to.IsZero() && !end.Follows(begin):
		return wrong("%s: there is nothing in that part%s; inspect shows what there is", r.title(), spanOf(r, clock, from, to))
	}
	return nil
}

// parseMoment parses a flag that is a moment of the real world or of a simulated one, in the grammar of places: a date and
// time, RFC 3339 or in zone, or a date, which means its midnight. A time of day is on the day of now; daily reports whether it
// is one.
func parseMoment(s string, zone *time.Location, now time.Time) (at time.Time, daily, ok bool) {
	p, err := place.Parse(s, zone)
	if err != nil {
		return time.Time{}, false, false
	}
	if t, timed := p.Time(); timed {
		return time.Unix(0, t).In(zone), false, true
	}
	if _, jump := p.Jump(); jump || !p.Relative() {
		return time.Time{}, false, false
	}
	return time.Unix(0, p.On(now.UnixNano(), 0)).In(zone), true, true
}
