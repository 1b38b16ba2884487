package publisher

import (
	"net"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/rs/zerolog"
)

// A tally keeps log lines of one kind from becoming a flood: of those that come within a period it lets most through, counts the others,
// and says at the end of the period how many they were.
type tally struct {
	log  *zerolog.Logger
	what string // the message of its lines
	most int    // lines in a period

	mu      sync.Mutex
	lines   int // in this period
	left    int // of them, those that were not written
	waiting *time.Timer
}

// Bounds of the log lines about clients.
const (
	tallyPeriod = 10 * time.Second
	mostMembers = 1000 // lines about clients that have logged in, in a period
	mostOthers  = 20   // lines about others
	maxLogged   = 200  // characters of a client's filter in a line
)

// line returns the event of one more line about the client of nc; nil, which writes nothing, if the line is only counted.
func (t *tally) line(nc net.Conn) *zerolog.Event {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.lines++; t.lines == 1 {
		t.waiting = time.AfterFunc(tallyPeriod, t.end)
	}
	if t.lines > t.most {
		t.left++
		return nil
	}
	return t.log.Info().Str("remote", nc.RemoteAddr().String())
}

// end ends a period.
func (t *tally) end() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.waiting != nil {
		t.waiting.Stop()
	}
	if t.left > 0 {
		t.log.Info().Int("more", t.left).Str("of", t.what).Msg("lines of one kind were counted, not written")
	}
	t.lines, t.left, t.waiting = 0, 0, nil
}

// tallies are those of a server.
type tallies struct{ joined, left, skipped, refused, ended tally }

func (t *tallies) init(log *zerolog.Logger) {
	t.joined.init(log, "subscriber joined", mostMembers)
	t.left.init(log, "subscriber left", mostMembers)
	t.skipped.init(log, "slow consumer skips to a snapshot", mostMembers)
	t.refused.init(log, "refused", mostOthers)
	t.ended.init(log, "connection ended before login", mostOthers)
}

// end says what was counted so far.
func (t *tallies) end() {
	for _, t := range []*tally{&t.joined, &t.left, &t.skipped, &t.refused, &t.ended} {
		t.end()
	}
}

func (t *tally) init(log *zerolog.Logger, what string, most int) {
	t.log, t.what, t.most = log, what, most
}

// cut returns the first of patterns, at most maxLogged characters, and how many more there are.
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
