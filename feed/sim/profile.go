package sim

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"time"

	"tickfeed/feed"
)

// A Profile is the habits of a market: its clusters, its day and its instruments with their distributions. Package fit makes
// one that is like a recording. ParseProfile reads one from a file, and AppendYAML writes it.
type Profile struct {
	// Source is what the profile was made from, for people; it may be empty.
	Source string
	// Start is when the market opens on the first day, and DayLength for how long; as in Config.
	Start     time.Time
	DayLength time.Duration
	// Rate is the mean number of events per second that are a quote or a trade.
	Rate float64
	// Shape is the events, and Volatility the variance of returns, in equal parts of a day, relative to each other. Without any
	// the day is flat.
	Shape, Volatility []float64
	// Together is the share of events at the same time as the one before. Clusters is how the others cause further ones, from
	// the fastest to the slowest.
	Together float64
	Clusters [scales]Cluster
	// Instruments has the most active one first.
	Instruments []Habits
}

// entryOf returns an instrument of a universe.
func entryOf(l *listing) Entry {
	return Entry{
		Definition: l.definition, Kind: kindNames[l.sizes], Price: int64(l.price) * l.definition.TickSize, Spread: l.spread,
		Volatility: l.own, Beta: l.beta, Activity: l.activity, Sector: l.sector, Hours: l.hours.text, Negative: l.signed,
	}
}

// A Cluster is a time scale on which events cause further events.
type Cluster struct {
	Causes float64       // events that an event causes on average
	Within time.Duration // mean time until then
}

// UsualClusters are those of a market without a Profile.
var UsualClusters = [scales]Cluster{{branching0, time.Second / decay0}, {branching1, time.Second / decay1}, {branching2, 2 * time.Second}}

// An Entry is an instrument as a universe has it; UniverseHelp describes the fields.
type Entry struct {
	Definition feed.Definition
	Kind       string  // stock, future or crypto; "" for what the definition looks like
	Price      int64   // at which it opens on the first day, in units of the definition
	Spread     float64 // usual spread, in ticks
	Volatility float64
	Beta       float64
	Activity   float64
	Sector     string
	Hours      string
	Negative   bool
}

// Habits are an instrument and its distributions. A field that is 0, and may not be, stands for what is usual in a market without a
// profile.
type Habits struct {
	Entry

	// Spreads is the distribution of the spread that quotes aim at, in ticks; Queues that of the sizes of quotes, and Trades that
	// of the sizes of trades, in units of the definition: each its quantiles at Percents, positive and rising, or nil.
	Spreads, Queues, Trades []float64
	Correlation             float64 // of the sizes of bid and ask; in (-1, 1)
	Lean                    float64 // how strongly the sizes of a quote lean to where the price is going; in (0, 2]
	Orders                  float64 // share of events that trade; in (0, 1]
	Follow                  float64 // share of the events after such an event that trade as well; in (0, 1), or 0 for Orders
	Fills                   float64 // trades of such an event on average; in [1, 8]
	// Memory is how long the sides of orders last; its zero value stands for the usual.
	Memory Memory
	// Foresight is how much of the next side the price has already answered: the weights, in [0, 1], of a fast and of a slow
	// average of past sides. It is for a Memory that is not zero.
	Foresight [2]float64
	Impact    float64 // by which a surprising order moves the price, in usual spreads; in (0, 10]
	// Deep is the share, in [0, 1), of the events without a trade that change only levels behind the best, if levels are published.
	Deep float64
	// Depth is the mean size by level, as a multiple of the first one's, which is 1; nil for the usual.
	Depth []float64
}

// A Memory is how the sides of orders follow one another: they are parts of parent orders, whose lengths have a Pareto
// distribution.
type Memory struct {
	Exponent float64 // of the distribution; in (0, 10]
	Longest  int     // orders of a parent order; in [1, 1000]
	Strays   float64 // share of the orders that leave the side of their parent order; in [0, 0.5]
	// Patience is the pause between two orders after which half of the parent orders have ended: shares of 1/(1 + pause/Patience)
	// go on. 0 if pauses do not matter; at most a day.
	Patience time.Duration
}

// kind returns the size class.
func (h *Entry) kind() sizeClass {
	if i := slices.Index(kindNames[:], h.Kind); i >= 0 {
		return sizeClass(i)
	}
	switch {
	case h.Definition.SizeExponent < 0:
		return coins
	case h.Definition.Lot <= 1:
		return contracts
	}
	return shares
}

// listing returns the instrument in the form of a universe.
func (h *Entry) listing() (listing, error) {
	l := listing{
		definition: h.Definition, sizes: h.kind(), spread: h.Spread, own: h.Volatility, beta: h.Beta, activity: h.Activity,
		sector: h.Sector, signed: h.Negative,
	}
	l.definition.TickSize = max(l.definition.TickSize, 1)
	l.definition.Lot = max(l.definition.Lot, 1)
	l.price = math.Round(float64(h.Price) / float64(l.definition.TickSize))
	var err error
	l.hours, err = parseHours(h.Hours)
	return l, err
}

// listings returns the first n instruments, whose hours must be valid.
func (p *Profile) listings(n int) []listing {
	out := make([]listing, n)
	for i := range out {
		out[i], _ = p.Instruments[i].listing()
	}
	return out
}

// Universe returns the instruments without their habits.
func (p *Profile) Universe() *Universe { return &Universe{p.listings(len(p.Instruments))} }

// activity returns that of all instruments.
func (p *Profile) activity() (sum float64) {
	for i := range p.Instruments {
		sum += p.Instruments[i].Activity
	}
	return sum
}

// rate returns the events per second of the first n instruments, with those behind the best levels if they are published.
func (p *Profile) rate(n, depth int) float64 {
	some, deep := 0.0, 0.0
	for i := range p.Instruments[:min(max(n, 0), len(p.Instruments))] {
		h := &p.Instruments[i]
		some += h.Activity
		deep += float64(h.Activity * h.Deep * (1 - h.Orders))
	}
	rate := p.Rate * some / p.activity()
	if depth > 1 {
		rate /= 1 - deep/some
	}
	return rate
}

// follow makes a new market one of p.
func (m *Market) follow(p *Profile) {
	m.habits = make([]habit, len(m.listings))
	for i := range m.habits {
		m.habits[i] = newHabit(p, &p.Instruments[i], &m.instruments[i], &m.listings[i])
	}
	m.arrivals.kernels = p.kernels()
	if m.config.Shape == Flat {
		m.shape = newSteps(p.Shape)
	}
	m.climate.shape = newSteps(p.Volatility)
	m.ticks, m.events = 1, 1
	if !m.byEvents {
		m.ticks = 1.2
	}
}

// kernels returns the clusters of p.
func (p *Profile) kernels() kernels {
	var k kernels
	caused := 0.0
	for i, c := range p.Clusters {
		rate := float64(time.Second) / float64(c.Within)
		k.decay[i], k.kick[i] = rate/unitsPerSecond, c.Causes*rate
		k.perKick[i] = 1 / max(k.kick[i], 1e-9)
		caused += c.Causes
	}
	k.together = uint32(min(p.Together, 0.999) * (1 << 32))
	k.rest = (1 - caused) * (1 - p.Together)
	k.rushKick = rushDecay * k.rest
	return k
}

// A fieldError is a mistake in a field of a Profile, by its name in a file.
type fieldError struct{ field, text string }

func (e *fieldError) Error() string { return e.field + ": " + e.text }

// between returns an error if v is not in [least, most].
func between(field string, v, least, most float64) error {
	if v >= least && v <= most {
		return nil
	}
	return &fieldError{field, fmt.Sprintf("want a number from %v to %v, got %v", least, most, v)}
}

// Bounds of a Profile.
const (
	// mostCaused bounds the events that an event causes, and the share of events at the same time as another one: more would be
	// an avalanche.
	mostCaused = 0.98
	maxSteps   = 1440
	maxQuantum = 1e15 // of a quantile
)

// validate returns an error that names the fields out of bounds of p itself, or else of the first instrument that has some.
func (p *Profile) validate() error {
	if err := p.check(); err != nil {
		return fmt.Errorf("sim: Profile: %w", err)
	}
	for i := range p.Instruments {
		h := &p.Instruments[i]
		if _, err := h.listing(); err != nil {
			return fmt.Errorf("sim: Profile: instrument %d, %s: hours: %w", i+1, h.Definition.Symbol, err)
		}
		if err := h.check(); err != nil {
			return fmt.Errorf("sim: Profile: instrument %d, %s: %w", i+1, h.Definition.Symbol, err)
		}
	}
	return nil
}

// check joins a *fieldError for each field of p itself that is out of bounds.
func (p *Profile) check() error {
	var wrong []error
	if len(p.Instruments) == 0 {
		wrong = append(wrong, &fieldError{"instruments", "there is none"})
	}
	if p.DayLength < MinDayLength || p.DayLength > MaxDayLength {
		wrong = append(wrong, &fieldError{"day_length", fmt.Sprintf("want a duration from %v to %v, got %v", MinDayLength, MaxDayLength, p.DayLength)})
	}
	if p.Start.Year() < 1971 || p.Start.Year() > 2200 {
		wrong = append(wrong, &fieldError{"start", fmt.Sprintf("want a time in the years 1971 to 2200, got %v", p.Start)})
	}
	return errors.Join(append(wrong, p.checkClusters(), between("rate", p.Rate, MinRate, MaxRate), between("together", p.Together, 0, mostCaused),
		checkSteps("shape", p.Shape), checkSteps("volatility_shape", p.Volatility))...)
}

// checkClusters returns the first *fieldError of the clusters.
func (p *Profile) checkClusters() error {
	caused := 0.0
	for i, c := range p.Clusters {
		caused += c.Causes
		switch {
		case !(c.Causes >= 0 && c.Causes < 1):
			return &fieldError{"clusters", fmt.Sprintf("want each to cause from 0 to less than 1 events, got %v", c.Causes)}
		case c.Within < time.Microsecond || c.Within > time.Hour:
			return &fieldError{"clusters", fmt.Sprintf("want times from 1us to 1h, got %v", c.Within)}
		case i > 0 && c.Within < p.Clusters[i-1].Within:
			return &fieldError{"clusters", fmt.Sprintf("want the fastest first, got %v after %v", c.Within, p.Clusters[i-1].Within)}
		}
	}
	if caused > mostCaused {
		return &fieldError{"clusters", fmt.Sprintf("want at most %v events that an event causes in all clusters, got %.6g", mostCaused, caused)}
	}
	return nil
}

func checkSteps(field string, values []float64) error {
	if len(values) > maxSteps {
		return &fieldError{field, fmt.Sprintf("want at most %d parts of a day, got %d", maxSteps, len(values))}
	}
	for _, v := range values {
		if err := between(field, v, 0.001, 1000); err != nil {
			return err
		}
	}
	return nil
}

// check joins a *fieldError for each field out of bounds, except of those that a universe has and that cannot be out of bounds here.
func (h *Habits) check() error {
	wrong := []error{
		checkQuantiles("spreads", h.Spreads, 1e-3), checkQuantiles("queues", h.Queues, 1), checkQuantiles("trades", h.Trades, 1),
		between("spread", h.Spread, 0.01, maxSpread), between("volatility", h.Volatility, 0, maxTickMoves), between("beta", h.Beta, -10, 10),
		between("activity", h.Activity, math.SmallestNonzeroFloat64, 1e9), h.checkDepth(),
	}
	if h.Memory != (Memory{}) {
		wrong = append(wrong,
			between("memory", h.Memory.Exponent, 0.1, 10), between("memory", float64(h.Memory.Longest), 1, 1000),
			between("memory", h.Memory.Strays, 0, 0.5), between("memory", h.Memory.Patience.Hours(), 0, 24),
		)
	}
	if h.Fills != 0 {
		wrong = append(wrong, between("fills", h.Fills, 1, maxFills))
	}
	return errors.Join(append(wrong,
		between("correlation", h.Correlation, -0.99, 0.99), between("lean", h.Lean, 0, 3), between("orders", h.Orders, 0, 1), between("follow", h.Follow, 0, 0.99),
		between("foresight", h.Foresight[0], 0, 1), between("foresight", h.Foresight[1], 0, 1), between("impact", h.Impact, 0, 10),
		between("deep", h.Deep, 0, 0.99),
	)...)
}

func (h *Habits) checkDepth() error {
	if len(h.Depth) > MaxDepth {
		return &fieldError{"depth", fmt.Sprintf("want at most %d levels, got %d", MaxDepth, len(h.Depth))}
	}
	for _, v := range h.Depth {
		if err := between("depth", v, 1e-6, 1e6); err != nil {
			return err
		}
	}
	return nil
}

func checkQuantiles(field string, values []float64, least float64) error {
	if len(values) != 0 && len(values) != len(Percents) {
		return &fieldError{field, fmt.Sprintf("want the quantiles at %d percentages, from 0 to 100, got %d", len(Percents), len(values))}
	}
	for i, v := range values {
		switch {
		case !(v >= least && v <= maxQuantum):
			return &fieldError{field, fmt.Sprintf("want values from %v on, got %v", least, v)}
		case i > 0 && v < values[i-1]:
			return &fieldError{field, fmt.Sprintf("want values that do not fall, got %v after %v", v, values[i-1])}
		}
	}
	return nil
}

// Times fills times with those of the events of one instrument that has rate events per second, in nanoseconds from the opening of
// a day that lasts until about the last one. They depend on the clusters and the shape of p alone.
func (p *Profile) Times(rate float64, times []int64) {
	bits := rand.NewPCG(uint64(len(times)), 0x74696d6573)
	a := arrivals{rng: rand.New(bits), bits: bits, byActivity: aliasTable([]float64{1}), kernels: p.kernels()}
	shape, length := newSteps(p.Shape), float64(len(times))/rate*unitsPerSecond
	const epoch = 10 * unitsPerSecond
	until := int64(0)
	for i := range times {
		for {
			if a.now == until {
				a.background = a.kernels.rest * rate * shape.at(float64(a.now)/length)
				until += epoch
			}
			if _, ok := a.next(until); ok {
				break
			}
		}
		times[i] = a.now >> unitShift
	}
}
