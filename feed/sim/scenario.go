package sim

import (
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"tickfeed/feed"
	"tickfeed/feed/script"
)

// Language is the rules by which something happens in the market. Times are those of the market, and the same seed and script
// give the same ticks.
var Language = &script.Language{Noun: "event", Verbs: Verbs[:], Begins: []string{"at", "every", "on"}, Parse: parseAction, Suits: suits}

// A verb is the kind of an event.
type verb uint8

const (
	doAuction verb = iota
	doHalt
	doResume
	doLULD
	doNews
	doCrash
	doSpread
	doDepth
	doVolatility
	doActivity
	doQuiet
	doRate
	doListing
	doDelisting
	doSplit
	doBust
	doLock
	doCross
	doCalm
	verbs
)

// Verbs documents the events. PATTERNS are SYMBOL or SYMBOL@VENUE with wildcards * and ?, separated by commas.
var Verbs = [verbs]script.Form{
	doAuction:    {"auction", "auction open|close|intraday PATTERNS for DURATION", "holds a call auction: status auction with its end, indicative prices, and at the end one trade at the auction's price; then trading, or after a closing auction the close", "at 0s: auction open AAPL for 2m"},
	doHalt:       {"halt", "halt PATTERNS [for DURATION] [reason TEXT] [auction DURATION]", "halts trading, with the reason and the expected end; an auction of the given length ends the halt. Without for it ends with resume, or the day. The others go on at their rates", "at 10:00: halt TSLA for 10m reason \"news pending\" auction 1m"},
	doResume:     {"resume", "resume PATTERNS", "ends halts and auctions at once", "on resume: resume TSLA"},
	doLULD:       {"luld", "luld on|off PATTERNS [band P%] [limit DURATION] [pause DURATION] [auction DURATION]", "keeps trades within a band around the mean price of the last 5 minutes: 5 %, twice that in the first 15 and the last 25 minutes; 15 s at a band cause a pause of 5 minutes and a reopening auction of 30 s. The bands are in the reason of a trading status (LULD bands 9.50 to 10.50) when they begin, move, and trading resumes, and in the log", "at 1m: luld on * band 5%"},
	doNews:       {"news", "news PATTERNS jump P% [vol xN] [halflife DURATION] [correlate C]", "moves the price at once, makes it N times as volatile, which fades with the half-life (5m), and moves the other instruments of its sector, or if it has none all others, by C times their beta as much, all at the same moment", "at 10:00: news AAPL jump -4% vol x6 halflife 5m correlate 0.5"},
	doCrash:      {"crash", "crash PATTERNS P% in DURATION [rebound P% [in DURATION]] [spread xN] [depth /N] [vol xN]", "moves prices by so much, and then back by a share of the move; spreads, sizes and volatility are multiplied meanwhile", "at 11:00: crash * -6% in 3m rebound 60% in 5m spread x8 depth /10"},
	doSpread:     {"spread", "spread PATTERNS xN [for DURATION]", "multiplies spreads", "at 5m: spread * x4 for 2m"},
	doDepth:      {"depth", "depth PATTERNS xN|/N [for DURATION]", "multiplies the sizes of quotes, levels and trades", "at 5m: depth * /10 for 2m"},
	doVolatility: {"volatility", "volatility PATTERNS xN [for DURATION]", "multiplies the volatility", "at 5m: volatility TSLA x5 for 10m"},
	doActivity:   {"activity", "activity PATTERNS xN [for DURATION]", "multiplies the events of some instruments; the others go on at their rates, and prices move no further (see volatility)", "at 5m: activity NVDA x20 for 1m"},
	doQuiet:      {"quiet", "quiet PATTERNS [for DURATION]", "leaves out all events of some instruments, without a status that says so; the others go on at their rates, so that the market has fewer ticks than --rate", "at 5m: quiet AAPL for 10m"},
	doRate:       {"rate", "rate xN [for D] | constant|poisson [xN] [for D] | burst xN for D [every D] | ramp xN xN in D | square xN xN every D [for D]", "multiplies the ticks per second of the whole market, instead of what an earlier rate did; prices move no further (see volatility): evenly spaced (constant), without clusters (poisson), for a time again and again (burst), in a ramp, or changing between two factors (square). A ramp stays at its end. What lasts for some seconds has the mean rate that it asks for within 5 %, in clusters; what has no end may run ahead by a second of it", "at 14:00: rate burst x20 for 5s every 60s"},
	doListing:    {"listing", "listing SYMBOL[@VENUE] price P [tick P] [lot N]", "adds an instrument, which trades at once, or when its market opens: it has the hours of the first instrument of its venue, or of all if there is none; its ticks come on top of --rate", "at 10m: listing NEWCO price 25.00"},
	doDelisting:  {"delisting", "delisting PATTERNS [reason TEXT]", "closes instruments for good; the others go on at their rates", "at 20m: delisting NEWCO"},
	doSplit:      {"split", "split PATTERNS N:M", "makes N shares out of M: halts, begins the day anew without prices, and goes on at M/N of the price", "at 10m: split NVDA 10:1"},
	doBust:       {"bust", "bust PATTERNS last N [correct P%]", "cancels the last N trades (at most 16), or corrects their prices by so much", "at 10m: bust AAPL last 5"},
	doLock:       {"lock", "lock PATTERNS [for DURATION]", "quotes the bid at the price of the ask, and nothing trades", "at 10m: lock SPY for 5s"},
	doCross:      {"cross", "cross PATTERNS [by N] [for DURATION]", "quotes the bid N ticks above the ask (1), and nothing trades", "at 10m: cross SPY by 2 for 5s"},
	doCalm:       {"calm", "calm", "ends all that multiplies, quiets, locks or moves; halts, auctions and luld stay", "at 15:00: calm"},
}

// An action is what a rule does.
type action struct {
	verb     verb
	patterns []string

	span, halflife, every time.Duration // 0 for none
	move                  float64       // of news and crash, as a fraction
	rebound               float64       // as a fraction of the move
	back                  time.Duration // of the rebound
	correlate             float64

	vol, spread, depth, factor, factor2 float64 // 1 for unchanged

	auction feed.AuctionKind
	on      bool
	reason  string
	luld    luldRules
	rate    rateShape
	n, of   int64
	correct bool
	listing listing
}

// A rateShape is how a rate event changes the rate.
type rateShape uint8

const (
	steadyRate rateShape = iota
	constantRate
	poissonRate
	burstRate
	rampRate
	squareRate
)

// luldRules are the parameters of luld: the band as a fraction, the time at a band that causes a pause, the length of the pause
// and of the auction after it.
type luldRules struct {
	band                  float64
	limit, pause, auction time.Duration
}

// Bounds of an action.
const (
	maxFactor   = 1e4
	maxMove     = 1000 // percent
	maxBust     = 16
	maxCross    = 1000
	maxPatterns = 100
)

func suits(r *script.Rule) error {
	switch {
	case r.Who != script.Who{}:
		return fmt.Errorf("an event of the market happens for all clients: leave out \"for\"")
	case r.Trigger.When != script.AtTime && r.Trigger.When != script.EveryTime && r.Trigger.When != script.AtClock && r.Trigger.When != script.ByHand:
		return fmt.Errorf("an event of the market happens at a time of the market: write \"at 10:00\", \"at 5m\" after the opening, \"every 10m\" or \"on NAME\"")
	}
	return nil
}

// parseAction reads what follows the word of a verb.
func parseAction(p *script.Parser, v int) (any, error) {
	a := &action{verb: verb(v), vol: 1, spread: 1, depth: 1, factor: 1, factor2: 1}
	err := a.parse(p)
	return a, err
}

func (a *action) parse(p *script.Parser) (err error) {
	word := Verbs[a.verb].Word
	switch a.verb {
	case doAuction:
		kind, err := p.Choice("", "open", "close", "intraday")
		if err != nil {
			return err
		}
		a.auction = map[string]feed.AuctionKind{"open": feed.AuctionOpening, "close": feed.AuctionClosing, "intraday": feed.AuctionIntraday}[kind]
	case doLULD:
		on, err := p.Choice("", "on", "off")
		if err != nil {
			return err
		}
		a.on = on == "on"
		a.luld = luldRules{band: 0.05, limit: 15 * time.Second, pause: 5 * time.Minute, auction: 30 * time.Second}
	case doRate:
		return a.parseRate(p)
	case doListing:
		return a.parseListing(p)
	case doCalm:
		return nil
	}
	if a.patterns, err = parsePatterns(p, word); err != nil {
		return err
	}
	switch a.verb {
	case doAuction:
		if !p.Accept("for") {
			return fmt.Errorf("an auction needs its length: %s", Verbs[a.verb].Usage)
		}
		a.span, err = p.Duration("for")
		return err
	case doHalt:
		return a.options(p, "for", "reason", "auction")
	case doLULD:
		return a.options(p, "band", "limit", "pause", "auction")
	case doNews:
		if !p.Accept("jump") {
			return fmt.Errorf("news needs a jump, such as \"jump -4%%\"")
		}
		a.halflife = 5 * time.Minute
		if a.move, err = p.Percent("jump", maxMove); err == nil {
			err = a.options(p, "vol", "halflife", "correlate")
		}
		return err
	case doCrash:
		if a.move, err = p.Percent("crash", maxMove); err != nil {
			return err
		}
		if !p.Accept("in") {
			return fmt.Errorf("a crash needs its length, such as \"in 3m\"")
		}
		if a.span, err = p.Duration("in"); err == nil {
			err = a.options(p, "rebound", "spread", "depth", "vol")
		}
		return err
	case doSpread, doDepth, doVolatility, doActivity:
		k, err := p.Factor(word, maxFactor)
		if err != nil {
			return err
		}
		*map[verb]*float64{doSpread: &a.spread, doDepth: &a.depth, doVolatility: &a.vol, doActivity: &a.factor}[a.verb] = k
		return a.options(p, "for")
	case doQuiet, doLock:
		return a.options(p, "for")
	case doCross:
		a.n = 1
		return a.options(p, "by", "for")
	case doDelisting:
		a.reason = "delisted"
		return a.options(p, "reason")
	case doSplit:
		text := p.Next()
		made, of, ok := strings.Cut(text, ":")
		a.n, _ = strconv.ParseInt(made, 10, 32)
		a.of, _ = strconv.ParseInt(of, 10, 32)
		if !ok || a.n < 1 || a.of < 1 || a.n > 1000 || a.of > 1000 {
			return fmt.Errorf("split must be followed by a ratio from 1:1000 to 1000:1, such as 4:1, got %q", text)
		}
	case doBust:
		if !p.Accept("last") {
			return fmt.Errorf("bust must be followed by \"last N\"")
		}
		n, err := p.Number("last", 1, maxBust)
		if a.n = int64(n); err != nil {
			return err
		}
		return a.options(p, "correct")
	}
	return nil
}

// parsePatterns reads patterns of instruments.
func parsePatterns(p *script.Parser, word string) ([]string, error) {
	text := p.Next()
	if text == "" || text == ":" {
		return nil, fmt.Errorf("%s must be followed by instruments, such as AAPL or *", word)
	}
	patterns := strings.Split(text, ",")
	if slices.Contains(patterns, "") || len(patterns) > maxPatterns {
		return nil, fmt.Errorf("%q are no patterns of instruments: want up to %d, separated by commas without blanks", text, maxPatterns)
	}
	return patterns, nil
}

// options reads options, each at most once, up to the end of the line.
func (a *action) options(p *script.Parser, allowed ...string) (err error) {
	var seen []string
	for p.Peek() != "" && err == nil {
		word := p.Next()
		switch {
		case !slices.Contains(allowed, word):
			return fmt.Errorf("%q is too much%s: %s", word, script.DidYouMean(word, allowed), Verbs[a.verb].Usage)
		case slices.Contains(seen, word):
			return fmt.Errorf("%s is there twice", word)
		}
		seen = append(seen, word)
		switch word {
		case "for":
			a.span, err = p.Duration(word)
		case "every":
			a.every, err = p.Duration(word)
		case "reason":
			if a.reason = p.Next(); a.reason == "" {
				err = fmt.Errorf("reason must be followed by a text, in quotes if it has blanks")
			} else if err = feed.ValidateText(a.reason); err != nil {
				err = fmt.Errorf("reason: %w", err)
			}
		case "auction":
			a.luld.auction, err = p.Duration(word)
		case "limit":
			a.luld.limit, err = p.Duration(word)
		case "pause":
			a.luld.pause, err = p.Duration(word)
		case "band":
			a.luld.band, err = p.Percent(word, 50)
			if err == nil && a.luld.band < 0.0001 {
				err = fmt.Errorf("band must be from 0.01%% to 50%%")
			}
		case "halflife":
			a.halflife, err = p.Duration(word)
		case "correlate":
			text := p.Next()
			a.correlate, err = strconv.ParseFloat(text, 64)
			if err != nil || !(a.correlate >= -1 && a.correlate <= 1) {
				err = fmt.Errorf("correlate must be followed by a number from -1 to 1, got %q", text)
			}
		case "rebound":
			a.back = a.span
			a.rebound, err = p.Percent(word, 200)
			if err == nil && a.rebound < 0 {
				err = fmt.Errorf("rebound must not be negative")
			}
			if err == nil && p.Accept("in") {
				a.back, err = p.Duration("in")
			}
		case "vol":
			a.vol, err = p.Factor(word, maxFactor)
		case "spread":
			a.spread, err = p.Factor(word, maxFactor)
		case "depth":
			a.depth, err = p.Factor(word, maxFactor)
		case "by":
			var n uint64
			n, err = p.Number(word, 1, maxCross)
			a.n = int64(n)
		case "correct":
			a.correct = true
			a.move, err = p.Percent(word, maxMove)
		}
	}
	return err
}

// parseRate reads what follows rate.
func (a *action) parseRate(p *script.Parser) (err error) {
	shapes := []string{constantRate: "constant", poissonRate: "poisson", burstRate: "burst", rampRate: "ramp", squareRate: "square"}
	if i := slices.Index(shapes, p.Peek()); i > 0 && p.Peek() != "" {
		a.rate = rateShape(i)
		p.Next()
	}
	if a.rate == steadyRate || a.rate > poissonRate || strings.HasPrefix(p.Peek(), "x") || strings.HasPrefix(p.Peek(), "/") {
		if a.factor, err = p.Factor("rate", maxFactor); err != nil {
			return err
		}
	}
	if a.rate == rampRate || a.rate == squareRate {
		if a.factor2, err = p.Factor("the first of two factors", maxFactor); err != nil {
			return err
		}
	}
	switch a.rate {
	case rampRate:
		if !p.Accept("in") {
			return fmt.Errorf("a ramp needs its length, such as \"in 5m\"")
		}
		a.span, err = p.Duration("in")
		return err
	case burstRate:
		if err = a.options(p, "for", "every"); err == nil && a.every != 0 {
			err = leastEvery(a.every)
		}
		if err == nil && (a.span == 0 || a.every != 0 && a.every <= a.span) {
			err = fmt.Errorf("a burst needs its length, such as \"for 5s\", and what follows every must be longer")
		}
		return err
	case squareRate:
		if err = a.options(p, "for", "every"); err == nil {
			err = leastEvery(a.every)
		}
		if a.every == 0 {
			err = fmt.Errorf("square needs the length of both factors together, such as \"every 60s\"")
		}
		return err
	}
	return a.options(p, "for")
}

// leastEvery refuses rates that change all the time.
func leastEvery(every time.Duration) error {
	if every < 10*script.MinEvery {
		return fmt.Errorf("every must be followed by at least %v, got %v", 10*script.MinEvery, every)
	}
	return nil
}

// parseListing reads what follows listing.
func (a *action) parseListing(p *script.Parser) error {
	name := p.Next()
	symbol, venue, _ := strings.Cut(name, "@")
	if symbol == "" || symbol == ":" {
		return fmt.Errorf("listing must be followed by a symbol")
	}
	r := row{1, 1, map[string]cell{"symbol": {text: symbol}, "venue": {text: venue}}}
	fields := map[string]string{"price": "price", "tick": "tick_size", "lot": "lot"}
	for p.Peek() != "" {
		field, ok := fields[p.Next()]
		if !ok {
			return fmt.Errorf("%s", Verbs[doListing].Usage)
		}
		r.fields[field] = cell{text: p.Next()}
	}
	if strings.HasPrefix(r.fields["price"].text, "-") {
		return fmt.Errorf("price: it must be positive: only a universe has instruments whose price may be negative")
	}
	l, err := r.listing(20) // as active as the 20th of the default universe
	if err != nil {
		var e *UniverseError // the first; it has no place but the rule's
		errors.As(err, &e)
		return fmt.Errorf("%s: %s", e.Field, e.Text)
	}
	a.listing = l
	return nil
}

// matches reports whether an instrument matches one of patterns.
func matches(patterns []string, d *feed.Definition) bool {
	return slices.ContainsFunc(patterns, func(pattern string) bool {
		symbol, venue, ok := strings.Cut(pattern, "@")
		return glob(symbol, d.Symbol) && (!ok || glob(venue, d.Venue))
	})
}

// glob reports whether text matches a pattern with the wildcards * and ?. Its work is at most the product of their lengths.
func glob(pattern, text string) bool {
	p, t, star, from := 0, 0, -1, 0
	for t < len(text) {
		switch {
		case p < len(pattern) && pattern[p] == '*':
			star, from = p, t
			p++
		case p < len(pattern) && (pattern[p] == '?' || pattern[p] == text[t]):
			p++
			t++
		case star >= 0:
			from++
			p, t = star+1, from
		default:
			return false
		}
	}
	return strings.Trim(pattern[p:], "*") == ""
}

//go:embed scenarios/*.market
var shipped embed.FS

// Scenarios lists the scenarios that ship with the program.
func Scenarios() (names []string) {
	files, _ := fs.Glob(shipped, "scenarios/*.market") // the pattern is valid
	for _, name := range files {
		names = append(names, strings.TrimSuffix(path.Base(name), ".market"))
	}
	return names
}

// ScenarioText returns the script of the scenario called name; ok is false if there is none.
func ScenarioText(name string) (text []byte, ok bool) {
	if !slices.Contains(Scenarios(), name) {
		return nil, false
	}
	text, err := shipped.ReadFile("scenarios/" + name + ".market")
	return text, err == nil
}
