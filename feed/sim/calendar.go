package sim

import (
	"fmt"
	"math"
	"strings"
	"time"

	"tickfeed/feed"
)

// hours are the times at which an instrument trades. The zero hours are those of the market.
type hours struct {
	text       string        // as written; "" for those of the market
	from, to   time.Duration // of the day in zone; to ≤ from is on the next day
	days       weekdays      // on which it opens
	zone       *time.Location
	roundClock bool // all day, every day: from midnight to midnight in zone, without a close
}

// weekdays is a set of days of the week: bit time.Weekday.
type weekdays uint8

const (
	workdays weekdays = 0b0111110
	allDays  weekdays = 0b1111111
)

var dayNames = [...]string{"sun", "mon", "tue", "wed", "thu", "fri", "sat"}

const hoursSyntax = `want "24h", "24h ZONE" or "[DAYS] HH:MM-HH:MM ZONE", such as "09:30-16:00 America/New_York" or "sun-thu 17:00-16:00 America/Chicago"`

// parseHours parses the hours of an instrument: 24h [ZONE], or [DAYS] HH:MM-HH:MM ZONE, where DAYS are those on which it opens,
// mon-fri by default.
func parseHours(text string) (hours, error) {
	words := strings.Fields(strings.ToLower(text))
	names := strings.Fields(text)
	h := hours{text: strings.Join(names, " ")}
	if len(words) == 0 {
		return hours{}, nil
	}
	zone := "UTC"
	switch {
	case words[0] == "24h" && len(words) <= 2:
		h.roundClock, h.days, h.to = true, allDays, 24*time.Hour
		if len(names) == 2 {
			zone = names[1]
		}
	case len(words) == 2, len(words) == 3:
		h.days = workdays
		if len(words) == 3 {
			var ok bool
			if h.days, ok = parseDays(words[0]); !ok {
				return h, fmt.Errorf("%q are no days such as mon-fri or sun-thu; %s", names[0], hoursSyntax)
			}
			words, names = words[1:], names[1:]
		}
		from, to, found := strings.Cut(words[0], "-")
		var err1, err2 error
		h.from, err1 = timeOfDay(from)
		h.to, err2 = timeOfDay(to)
		if !found || err1 != nil || err2 != nil {
			return h, fmt.Errorf("%q are no times of day; %s", names[0], hoursSyntax)
		}
		zone = names[1]
	default:
		return h, fmt.Errorf("%q are no hours; %s", h.text, hoursSyntax)
	}
	var err error
	if h.zone, err = time.LoadLocation(zone); err != nil || zone == "" || zone == "Local" {
		return h, fmt.Errorf("there is no time zone %q; %s", zone, hoursSyntax)
	}
	return h, nil
}

// String returns the hours as parseHours reads them, with the days.
func (h *hours) String() string {
	switch days := strings.Fields(h.text); {
	case h.roundClock || len(days) == 3:
		return h.text
	case h.text != "":
		return "mon-fri " + h.text
	}
	of := func(d time.Duration) string { return time.Time{}.Add(d).Format("15:04") }
	return "mon-fri " + of(h.from) + "-" + of(h.to) + " " + h.zone.String()
}

func timeOfDay(text string) (time.Duration, error) {
	t, err := time.Parse("15:04", text)
	return time.Duration(t.Hour())*time.Hour + time.Duration(t.Minute())*time.Minute, err
}

// parseDays parses a day such as mon, or days such as mon-fri or sun-thu.
func parseDays(text string) (days weekdays, ok bool) {
	first, last, several := strings.Cut(text, "-")
	if !several {
		last = first
	}
	from, to := -1, -1
	for i, name := range dayNames {
		if name == first {
			from = i
		}
		if name == last {
			to = i
		}
	}
	if from < 0 || to < 0 {
		return 0, false
	}
	for i := from; ; i = (i + 1) % 7 {
		days |= 1 << i
		if i == to {
			return days, true
		}
	}
}

// next returns the session that is open at after, or the first one that opens later.
func (h *hours) next(after time.Time) (from, to time.Time) {
	at := func(date time.Time, of time.Duration) time.Time {
		return time.Date(date.Year(), date.Month(), date.Day(), 0, 0, int(of/time.Second), 0, h.zone)
	}
	for date := after.In(h.zone).AddDate(0, 0, -1); ; date = date.AddDate(0, 0, 1) {
		from, to = at(date, h.from), at(date, h.to)
		if h.to <= h.from {
			to = at(date.AddDate(0, 0, 1), h.to)
		}
		if h.days&(1<<from.Weekday()) != 0 && to.After(after) && to.After(from) {
			return from, to
		}
	}
}

// A calendar opens and closes the instruments of a market in which they have hours of their own.
type calendar struct {
	groups []*group
	of     []*group // by instrument
	// origin is the time at which the market's day began. It differs from Market.open by the nights that were left out.
	origin int64
}

// A group is the instruments with the same hours.
type group struct {
	hours    hours
	ids      []uint32
	from, to int64 // of the session that is open, or the next one: ns since the Unix epoch
	next     change
	visited  int     // instruments that have made the change
	market   float64 // the night's move of all instruments
	sessions int     // that have opened
	busy     float64 // activity at this part of the session, as a multiple of the mean
}

// A change is what the instruments of a group do next.
type change uint8

const (
	toPreOpen change = iota
	toOpen
	toPart // another part of the session: its activity and volatility
	toClose
)

// calendarDay is the length of a day of a market with a calendar.
const calendarDay = 24 * time.Hour

// sessionParts is the number of parts of a session that differ in activity and volatility.
const sessionParts = 78

// newCalendar returns the calendar of listings, or nil if none of them has hours of its own.
func newCalendar(listings []listing, c *Config) *calendar {
	x := &calendar{of: make([]*group, len(listings))}
	byText := make(map[string]*group)
	own := false
	for i := range listings {
		h := listings[i].hours
		own = own || h.text != ""
		if h.text == "" {
			start := c.Start
			midnight := time.Date(start.Year(), start.Month(), start.Day(), 0, 0, 0, 0, start.Location())
			h = hours{from: start.Sub(midnight).Truncate(time.Second), days: workdays, zone: start.Location()}
			h.to = (h.from + c.DayLength) % (24 * time.Hour)
		}
		g := byText[listings[i].hours.text]
		if g == nil {
			g = &group{hours: h, busy: 1}
			byText[listings[i].hours.text] = g
			x.groups = append(x.groups, g)
		}
		g.ids = append(g.ids, uint32(i))
		x.of[i] = g
	}
	if !own {
		return nil
	}
	return x
}

// busy returns the activity of instrument i at this time of its session, as a multiple of its mean.
func (x *calendar) busy(i int) float64 { return x.of[i].busy }

// startCalendar begins the first day, at Config.Start or, if no instrument trades then, at the first opening after it.
func (m *Market) startCalendar() {
	x := m.calendar
	first := int64(math.MaxInt64)
	for _, g := range x.groups {
		from, to := g.hours.next(m.config.Start)
		g.from, g.to = from.UnixNano(), to.UnixNano()
		first = min(first, max(g.from, m.config.Start.UnixNano()))
	}
	m.open, x.origin = first, first
	m.dayUnits = int64(calendarDay) << unitShift
	m.lag = marketLag / calendarDay.Seconds()
	m.climate.flat = true
	m.climate.open()
	m.day = 1
	for i := range m.instruments {
		m.instruments[i].special |= closed
	}
	for _, g := range x.groups {
		m.stage.add(max(x.units(g.from-preOpen), -preOpen<<unitShift), g)
	}
	m.reweigh()
	m.schedule()
}

// units returns the time at, in ns since the Unix epoch, as units since the opening of the market's day.
func (x *calendar) units(at int64) int64 { return (at - x.origin) << unitShift }

// turn begins the next day, or ends the source. The instruments that are open stay open.
func (m *Market) turn() {
	if m.day == m.config.Days || time.Unix(0, m.open).Year() >= 2261 {
		m.phase = ended
		return
	}
	m.day++
	m.dayTicks = 0
	m.open += int64(calendarDay)
	m.calendar.origin += int64(calendarDay)
	m.arrivals.now -= m.dayUnits
	m.stage.rebase(m.dayUnits)
	m.climate.open()
	for i := range m.instruments {
		m.instruments[i].ret, m.instruments[i].variance = 0, 0
	}
	m.schedule()
	m.phase = performing
}

// skipNight leaves out the time until the next task, except its last two seconds, if the market is continuous and no
// instrument is open.
func (m *Market) skipNight(now, until int64) {
	if m.calendar == nil || !m.config.Continuous {
		return
	}
	for _, g := range m.calendar.groups {
		if g.next > toOpen || g.hours.roundClock && g.sessions > 0 {
			return // its instruments may be halted
		}
	}
	if night := (until-now)>>unitShift - int64(2*time.Second); night > 0 {
		m.open -= night
		m.arrivals.now += night << unitShift // a command finds the market after the time that is left out
	}
}

// do makes the next change, one instrument at a time.
func (g *group) do(m *Market, t task, out []feed.Tick) (n int, done bool) {
	if g.visited == 0 {
		g.begin(m, t.at)
	}
	if g.next != toPart {
		n = g.visit(m, g.ids[g.visited], t.at, out)
		if g.visited++; g.visited < len(g.ids) {
			return n, false
		}
	}
	g.visited = 0
	g.end(m, t.at)
	return n, true
}

// begin prepares a change.
func (g *group) begin(m *Market, at int64) {
	switch g.next {
	case toOpen:
		g.market = m.rng.NormFloat64()
		g.reshape(at, m)
	case toPart:
		g.reshape(at, m)
		for _, id := range g.ids {
			g.scale(m, id)
		}
	}
}

// visit makes the change of one instrument.
func (g *group) visit(m *Market, id uint32, at int64, out []feed.Tick) int {
	if m.isGone(id) {
		return 0
	}
	in, l := &m.instruments[id], &m.listings[id]
	name, when := feed.InstrumentID(id), m.timeOf(at)
	switch g.next {
	case toPreOpen:
		return m.silence(out, id, feed.StatusTick(name, when, feed.StatusPreOpen, g.date()))
	case toOpen:
		day := int32(0)
		switch {
		case g.hours.roundClock && g.sessions > 0:
			day = g.date() // there is no pre-open
		case g.sessions > 0:
			in.overnight(l, g.market, m.rng.NormFloat64())
			if m.stage.active && m.stage.overlays[id].limits != nil {
				m.stage.overlays[id].limits.restart(in.fair)
			}
		}
		in.special &^= closed
		if !g.hours.roundClock || g.sessions == 0 {
			m.startDayOf(id)
		}
		in.ret, in.variance = m.climate.at(m.arrivals.now)
		if in.sector != 0 {
			in.ret += m.climate.sector(in.sector, m.arrivals.now)
		}
		g.scale(m, id)
		status := feed.StatusTrading
		switch {
		case m.stage.active && m.stage.overlays[id].auction != nil:
			status = feed.StatusAuction
		case in.special&halted != 0:
			status = feed.StatusHalted
		}
		out[0] = feed.StatusTick(name, when, status, day)
		if status == feed.StatusTrading {
			out[0] = m.tradingStatus(id, when)
			out[0].Values[0] = int64(day)
		}
	case toClose:
		if m.stage.active {
			m.release(id)
			if o := &m.stage.overlays[id]; o.shut { // its closing auction has said so
				o.shut = false
				in.special |= closed
				return 0
			}
		}
		in.special |= closed
		out[0] = feed.StatusTick(name, when, feed.StatusClosed, 0)
	}
	return 1
}

// end plans what follows a change.
func (g *group) end(m *Market, at int64) {
	x := m.calendar
	part := (g.to - g.from) / sessionParts
	switch g.next {
	case toPreOpen:
		g.next = toOpen
		m.stage.add(max(x.units(g.from), 0), g)
		return
	case toOpen:
		g.sessions++
		if g.hours.roundClock {
			g.advance()
			m.stage.add(x.units(g.from), g)
			break
		}
		g.next = toPart
		m.stage.add(at+part<<unitShift, g)
	case toPart:
		if at += part << unitShift; at < x.units(g.to) {
			m.stage.add(at, g)
			break
		}
		g.next = toClose
		m.stage.add(x.units(g.to), g)
	case toClose:
		g.next = toPreOpen
		g.advance()
		m.stage.add(max(x.units(g.from-preOpen), at), g)
	}
	m.reweigh()
}

// opens returns when instrument id, which is closed or has been shut by its auction, trades next, in units.
func (x *calendar) opens(id uint32, s state) int64 {
	g := x.of[id]
	if s == isClosed {
		return x.units(g.from)
	}
	from, _ := g.after()
	return x.units(from.UnixNano())
}

// after returns the session after the present or coming one.
func (g *group) after() (from, to time.Time) { return g.hours.next(time.Unix(0, g.to)) }

// advance finds the next session.
func (g *group) advance() {
	from, to := g.after()
	g.from, g.to = from.UnixNano(), to.UnixNano()
}

// date returns the trading day of the session, as the number yyyymmdd: the day on which it ends.
func (g *group) date() int32 {
	at := time.Unix(0, g.to-1).In(g.hours.zone)
	return int32(at.Year()*10_000 + int(at.Month())*100 + at.Day())
}

// reshape sets how busy this part of the session is.
func (g *group) reshape(at int64, m *Market) {
	if m.config.Shape == UShaped && !g.hours.roundClock {
		g.busy = dayShape(g.done(m, at))
	}
}

// done returns the part of the session that has passed.
func (g *group) done(m *Market, at int64) float64 {
	return min(max(float64(at-m.calendar.units(g.from))/float64((g.to-g.from)<<unitShift), 0), 1)
}

// scale sets the scale of an instrument's moves so that their variance over the session is that of a day.
func (g *group) scale(m *Market, id uint32) {
	k := 1.0
	if !g.hours.roundClock {
		k = math.Sqrt(float64(calendarDay) / float64(g.to-g.from) * dayShape(g.done(m, m.arrivals.now)))
	}
	m.setScale(id, k)
	m.rebase(id)
}
