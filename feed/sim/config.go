package sim

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"tickfeed/feed"
	"tickfeed/feed/script"
)

// A Config says which market to simulate. The zero Config is a market of 1000 instruments and 10,000 ticks a
// second that continues day after day.
type Config struct {
	// Seed selects the course of the market. The instruments are the same for every seed.
	Seed uint64
	// Instruments is the number of instruments: the first n of a fixed list, the most active first. 0 means
	// 1000; at most feed.MaxInstruments.
	Instruments int
	// Universe is the instruments; nil for the fixed list. With a Universe, Instruments is how many of its first ones are
	// simulated, 0 for all. If an instrument has hours of its own, the days of the market are 24 hours, the first from Start
	// or the first opening after it, without random halts; instruments without hours then trade for DayLength from the time
	// of day of Start, Monday to Friday, and Rate is that of the time when all instruments trade: less of them have their
	// share of it.
	Universe *Universe
	// Profile is the habits of the market, nil for those that this package knows. It has the instruments: Universe must be nil.
	// With a Profile, Rate, Start and DayLength are those of the Profile if they are 0, and the shape of the day is if it is Flat.
	// Rate then is what Profile.Rate is if it is 0, and there are no random halts.
	Profile *Profile
	// Scenario is what happens in the market: its rules in Language; others are ignored. There are no random halts then. The
	// error of New is or joins a *script.Error for each rule that can never do anything.
	Scenario *script.Script
	// Commands allows Market.Do. Next then does not go on beyond the end of an epoch if it has taken long, so that a command waits for a quarter of a
	// second of the market at most. The ticks are the same until the first command; after it there are no random halts.
	Commands bool
	// Happens, if set, is called by Next for each rule that happens, with its ticks, and by New for a rule of Scenario that waits for a
	// time at which some of its instruments do not trade.
	Happens func(Event)
	// Rate is the mean number of ticks per second of simulated time, over the day and, with the flat shape,
	// over any minute of it. Definitions and the status ticks that begin and end a day are not counted. 0 means
	// 10,000; in [MinRate, MaxRate].
	Rate float64
	// Shape says how the ticks are spread over the day. The zero Shape is Flat.
	Shape Shape
	// Start is when trading opens on the first day, whatever the hour or weekday. The
	// zero time means 2026-01-05 09:30 in New York. Later days open at the same hour of
	// Start's own location: give it one with daylight saving and the market follows it.
	// The year must lie in [1971, 2200].
	Start time.Time
	// DayLength is the time from the opening to the close. 0 means 6h30m; in
	// [MinDayLength, MaxDayLength].
	DayLength time.Duration
	// Continuous leaves out nights and weekends, or the times at which no instrument trades: each day opens two seconds after the last one closed. Each day
	// is still dated as a trading day of its own.
	Continuous bool
	// Days is the number of trading days after which the source ends. 0 means no end before the year 2262,
	// where event times no longer fit.
	Days int
	// Depth is the number of levels on each side of the book that are published as level ticks. 0 means none;
	// at most MaxDepth, and Instruments × Depth at most MaxLevels.
	Depth int
}

// A Shape is the distribution of ticks over a day. Events come in bursts of less than a second, and any minute
// has as many ticks as the shape demands: within 10 % at 10 ticks a second and more, or, with levels, where one
// event has many ticks, at 50 and more. A minute in which every instrument with events is halted has none. With a Scenario or a
// command, an instrument that is halted, quiet or delisted takes its own ticks away, and the others go on at their rates.
type Shape uint8

// The shapes of a day.
const (
	Flat    Shape = iota // Config.Rate in every minute
	UShaped              // 4 times Config.Rate at the opening, 0.6 times past noon, 3 times at the close
)

// ParseShape returns the shape that text names: flat or u.
func ParseShape(text string) (Shape, error) {
	switch text {
	case "flat":
		return Flat, nil
	case "u":
		return UShaped, nil
	}
	return 0, fmt.Errorf("the shape of a day is flat or u, got %q", text)
}

// String returns the name that ParseShape accepts.
func (s Shape) String() string {
	if s == UShaped {
		return "u"
	}
	return "flat"
}

// at returns the tick rate after part done of a day, as a multiple of the day's mean.
func (s Shape) at(done float64) float64 {
	if s == UShaped {
		return dayShape(done)
	}
	return 1
}

// done returns the share of the day's ticks that come in its part up to done.
func (s Shape) done(done float64) float64 {
	if s == UShaped {
		return dayDone(done)
	}
	return done
}

// A daily shape is how ticks are spread over a day: a Shape, or steps.
type daily interface {
	at(done float64) float64
	done(done float64) float64
}

// steps are the values in equal parts of a day, as multiples of their mean; without any, the day is flat.
type steps []float64

// at returns the value after part done of a day.
func (s steps) at(done float64) float64 {
	if len(s) == 0 {
		return 1
	}
	return s[min(max(int(done*float64(len(s))), 0), len(s)-1)]
}

// done returns the integral from 0 to done: 1 at the end of the day.
func (s steps) done(done float64) float64 {
	if len(s) == 0 {
		return done
	}
	place := min(max(done, 0), 1) * float64(len(s))
	sum := 0.0
	for _, v := range s[:int(place)] {
		sum += v
	}
	if i := int(place); i < len(s) {
		sum += float64(s[i] * (place - float64(i)))
	}
	return sum / float64(len(s))
}

// newSteps returns values as multiples of their mean.
func newSteps(values []float64) steps {
	sum := 0.0
	for _, v := range values {
		sum += v
	}
	s := make(steps, len(values))
	for i, v := range values {
		s[i] = v * float64(len(values)) / sum
	}
	return s
}

// Bounds of a Config.
const (
	MinRate      = 0.001
	MaxRate      = 1e9
	MinDayLength = time.Minute
	MaxDayLength = 24*time.Hour - 2*time.Second
	MaxDepth     = 50
	MaxLevels    = 1 << 22
)

// withDefaults returns c with every zero replaced by its default.
func (c Config) withDefaults() Config {
	if p := c.Profile; p != nil {
		c.Instruments = cmp.Or(c.Instruments, len(p.Instruments))
		c.DayLength = cmp.Or(c.DayLength, p.DayLength)
		if c.Rate == 0 {
			c.Rate = p.rate(c.Instruments, c.Depth)
		}
		if c.Start.IsZero() {
			c.Start = p.Start
		}
	}
	switch {
	case c.Instruments != 0:
	case c.Universe != nil:
		c.Instruments = c.Universe.Len()
	default:
		c.Instruments = 1000
	}
	if c.Rate == 0 {
		c.Rate = 10_000
	}
	if c.Start.IsZero() {
		// Standard time all year, so that no time zone data is needed to run.
		c.Start = time.Date(2026, 1, 5, 9, 30, 0, 0, time.FixedZone("EST", -5*60*60))
	}
	if c.DayLength == 0 {
		c.DayLength = 6*time.Hour + 30*time.Minute
	}
	return c
}

// listings returns the instruments of the market.
func (c *Config) listings() []listing {
	if c.Profile != nil {
		return c.Profile.listings(c.Instruments)
	}
	if c.Universe != nil {
		return slices.Clone(c.Universe.listings[:c.Instruments])
	}
	return universe(c.Instruments)
}

// A ConfigError reports a field of a Config that is out of bounds.
type ConfigError struct {
	Field string // such as Rate, or Instruments × Depth
	Rule  string // such as "must not be negative, got -1"
}

func (e *ConfigError) Error() string { return "sim: " + e.Field + " " + e.Rule }

func refuse(field, rule string, args ...any) error {
	return &ConfigError{field, fmt.Sprintf(rule, args...)}
}

// validate returns an error about the first field out of bounds, a *ConfigError if it is one field alone.
func (c *Config) validate() error {
	switch {
	case c.Instruments < 1 || c.Instruments > feed.MaxInstruments:
		return refuse("Instruments", "must be from 1 to %d, got %d", feed.MaxInstruments, c.Instruments)
	case c.Universe != nil && c.Instruments > c.Universe.Len():
		return refuse("Instruments", "must be at most %d, the length of the universe, got %d", c.Universe.Len(), c.Instruments)
	case c.Profile != nil && c.Universe != nil:
		return errors.New("sim: Profile and Universe both say which instruments there are; set one")
	case c.Profile != nil && c.Instruments > len(c.Profile.Instruments):
		return refuse("Instruments", "must be at most %d, the number in the profile, got %d", len(c.Profile.Instruments), c.Instruments)
	case math.IsNaN(c.Rate) || c.Rate < MinRate || c.Rate > MaxRate:
		return refuse("Rate", "must be from %v to %.0f ticks per second, got %v", MinRate, MaxRate, c.Rate)
	case c.Shape > UShaped:
		return refuse("Shape", "must be Flat or UShaped, got %d", c.Shape)
	case c.Start.Year() < 1971 || c.Start.Year() > 2200:
		return refuse("Start", "must be from the year 1971 to 2200, got %s", c.Start.Format(time.RFC3339))
	case c.DayLength < MinDayLength || c.DayLength > MaxDayLength:
		return refuse("DayLength", "must be from %v to %v, got %v", MinDayLength, MaxDayLength, c.DayLength)
	case c.Days < 0:
		return refuse("Days", "must not be negative, got %d", c.Days)
	case c.Depth < 0 || c.Depth > MaxDepth:
		return refuse("Depth", "must be from 0 to %d, got %d", MaxDepth, c.Depth)
	case c.Instruments*c.Depth > MaxLevels:
		return refuse("Instruments × Depth", "must be at most %d, got %d × %d",
			MaxLevels, c.Instruments, c.Depth)
	}
	return nil
}
