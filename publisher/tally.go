package publisher

import (
	"errors"
	"net"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/rs/zerolog"
)

// A tally limits log lines of one kind. It writes the first lines of a period, counts the others, and logs the count
// at the end of the period.
type tally struct {
	log  *zerolog.Logger
	what string // message of its lines
	most int    // lines written per period

	mu        sync.Mutex
	lines     int // in this period
	unwritten int // lines of this period that were not written
	waiting   *time.Timer
}

// Bounds of the log lines about clients.
const (
	tallyPeriod  = 10 * time.Second
	mostMembers  = 50   // lines per period about clients that join, leave with a goodbye, or skip to a snapshot
	mostDeparted = 1000 // lines per period about clients that leave in another way: each has its own reason and place
	mostOthers   = 20   // lines per period about other connections
	maxLogged    = 200  // characters of a client name or filter in a line
)

// line returns the event for a line about the client of nc, or nil, which zerolog discards, if the line is only
// counted.
func (t *tally) line(nc net.Conn) *zerolog.Event {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.lines++; t.lines == 1 {
		t.waiting = time.AfterFunc(tallyPeriod, t.endPeriod)
	}
	if t.lines > t.most {
		t.unwritten++
		return nil
	}
	return t.log.Info().Str("remote", nc.RemoteAddr().String())
}

// endPeriod ends the period.
func (t *tally) endPeriod() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.waiting != nil {
		t.waiting.Stop()
	}
	if t.unwritten > 0 {
		t.log.Info().Int("more", t.unwritten).Str("of", t.what).Msg("lines of one kind were counted, not written")
	}
	t.lines, t.unwritten, t.waiting = 0, 0, nil
}

// tallies are the tallies of a server. A client that leaves counts in goodbyes if it said goodbye, and in departures otherwise.
type tallies struct{ joined, goodbyes, departures, skipped, refused, ended tally }

func (t *tallies) init(log *zerolog.Logger) {
	t.joined.init(log, "subscriber joined", mostMembers)
	t.goodbyes.init(log, "subscriber left", mostMembers)
	t.departures.init(log, "subscriber left", mostDeparted)
	t.skipped.init(log, "slow consumer skips to a snapshot", mostMembers)
	t.refused.init(log, "refused", mostOthers)
	t.ended.init(log, "connection ended before login", mostOthers)
}

// endPeriods ends the periods of all tallies.
func (t *tallies) endPeriods() {
	for _, t := range []*tally{&t.joined, &t.goodbyes, &t.departures, &t.skipped, &t.refused, &t.ended} {
		t.endPeriod()
	}
}

// departed returns the tally for a client that leaves for reason.
func (t *tallies) departed(reason error) *tally {
	if errors.Is(reason, errClientLeft) {
		return &t.goodbyes
	}
	return &t.departures
}

func (t *tally) init(log *zerolog.Logger, what string, most int) {
	t.log, t.what, t.most = log, what, most
}

// cut returns the first of patterns, at most maxLogged characters in total, and the number of the others.
func cut(patterns []string) (some []string, more int) {
	length := 0
	for i, p := range patterns {
		if length += utf8.RuneCountInString(p); length > maxLogged {
			return patterns[:i], len(patterns) - i
		}
	}
	return patterns, 0
}

// cutText returns s, or its first maxLogged characters.
func cutText(s string) string {
	n := 0
	for i := range s {
		if n++; n > maxLogged {
			return s[:i] + "…"
		}
	}
	return s
}
