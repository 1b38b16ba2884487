package ops

import (
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"tickfeed/codec"
	"tickfeed/feed"
	"tickfeed/publisher"
)

// A Publisher describes a running publisher. Its methods are safe for concurrent use.
type Publisher struct {
	// Get returns the publisher, or nil if there is none yet. The publishers of a replay follow each other.
	Get func() *publisher.Publisher
	// StaleAfter is how long an open market may be without a tick before the publisher is not ready; 0 for any time.
	StaleAfter time.Duration
	// Paused returns why no ticks are due although the market is open, such as "paused"; empty if they are. It may be nil.
	Paused func() string
	Source string // what is published, for people
	// Memory is the bound of the log in memory if nothing else is kept, and RetainBytes and RetainAge are the bounds of the
	// journal; 0 for none.
	Memory, RetainBytes int64
	RetainAge           time.Duration

	began time.Time

	mu     sync.Mutex
	asked  marketAt // market as of the last time it was asked for
	closed bool
	looked time.Time // when quiet was called last
	seen   marketAt  // what it saw then
	moved  time.Time // when the head moved there
}

// A marketAt is a state of a publisher.
type marketAt struct {
	session feed.SessionID
	head    uint64
}

// NewPublisher returns a Publisher whose publisher is pub.
func NewPublisher(pub *publisher.Publisher, staleAfter time.Duration) *Publisher {
	return &Publisher{Get: func() *publisher.Publisher { return pub }, StaleAfter: staleAfter, began: time.Now()}
}

var errNotBegun = errors.New("the first session has not begun")

// Names of the conditions.
const (
	checkJournal  = "journal"
	checkHead     = "head"
	checkUpstream = "upstream"
	checkOutput   = "output"
	checkAdmits   = "admits"
	checkTLS      = "certificate"
)

// Ready returns the conditions of a publisher: it can write its journal, and its head moves, unless the market is closed, the
// source has ended, or publishing waits for subscribers. It admits subscribers, unless it is being drained.
func (p *Publisher) Ready() []Check {
	pub := p.Get()
	if pub == nil {
		return []Check{{checkHead, false, errNotBegun.Error()}}
	}
	s := pub.Summary()
	stored := Check{checkJournal, s.Disk == "", s.Disk}
	if err := pub.Failed(); err != nil {
		stored = Check{checkJournal, false, err.Error()}
	}
	checks := []Check{stored, p.moves(pub, &s)}
	if s.Draining {
		checks = append(checks, Check{checkAdmits, false, "the publisher is being drained, and the process then ends"})
	}
	return checks
}

// Moves reports whether the head moves, with the exceptions of Ready.
func (p *Publisher) Moves() bool {
	pub := p.Get()
	if pub == nil {
		return false
	}
	s := pub.Summary()
	return s.Disk != "" || p.moves(pub, &s).Ok
}

// moves returns the condition that the head moves.
func (p *Publisher) moves(pub *publisher.Publisher, s *publisher.Summary) Check {
	quiet := p.quiet(s, time.Now())
	paused := ""
	if p.Paused != nil {
		paused = p.Paused()
	}
	switch {
	case s.Ended:
		return Check{checkHead, true, "the source has ended"}
	case paused != "":
		return Check{checkHead, true, paused}
	case p.StaleAfter == 0 || quiet <= p.StaleAfter:
		return Check{Name: checkHead, Ok: true}
	case s.Waits:
		return Check{checkHead, true, "publishing waits for subscribers"}
	case p.isClosed(pub, s):
		return Check{checkHead, true, "the market is closed"}
	}
	return Check{checkHead, false, fmt.Sprintf("no tick was published for %v, and the market is not closed", quiet.Round(time.Second))}
}

// quiet returns for how long the head has not moved. The head has moved at the publish time of the last packet, if that lies between the
// last two calls. If it does not, the wall clock was set, and the head has moved at some time between them.
func (p *Publisher) quiet(s *publisher.Summary, now time.Time) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.looked.IsZero() {
		p.looked, p.moved = p.began, p.began
	}
	if at := (marketAt{s.Session, s.Head}); p.seen != at {
		ago := now.Sub(time.Unix(0, s.LastPublish))
		switch {
		case ago >= 0 && ago <= now.Sub(p.looked):
			p.moved = now.Add(-ago)
		case p.seen != (marketAt{}): // otherwise the head is that of the journal
			p.moved = now
		}
		p.seen = at
	}
	p.looked = now
	return now.Sub(p.moved)
}

// isClosed reports whether the market of pub is closed: some instrument is, or has not opened, and none trades, is halted or
// in an auction.
func (p *Publisher) isClosed(pub *publisher.Publisher, s *publisher.Summary) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if at := (marketAt{s.Session, s.Head}); p.asked != at {
		state, _ := pub.State()
		p.asked, p.closed = at, isClosed(state)
	}
	return p.closed
}

func isClosed(state *feed.State) bool {
	some := false
	for t := range state.Definitions(nil) {
		in, _ := state.Instrument(t.Instrument)
		switch in.Status {
		case feed.StatusClosed, feed.StatusPreOpen:
			some = true
		case feed.StatusTrading, feed.StatusHalted, feed.StatusAuction:
			return false
		}
	}
	return some
}

// Conns returns the subscribers.
func (p *Publisher) Conns() []Conn {
	pub := p.Get()
	if pub == nil {
		return nil
	}
	s := pub.Stats()
	conns := make([]Conn, len(s.Conns))
	for i := range s.Conns {
		c := &s.Conns[i]
		if c.Slow == codec.SlowAll {
			c.MaxLag = 0 // it has none
		}
		depth := ""
		if c.Depth != publisher.DepthL2 {
			depth = c.Depth.String()
		}
		conns[i] = Conn{
			Number: c.Number, Name: c.Client, User: c.User, Certificate: c.Certificate, Address: c.Remote, Since: &c.Since,
			Filter: c.Filter, Granted: c.Granted, Denied: c.Denied, Depth: depth, Limits: c.Limits, Start: c.Start, Position: c.Told,
			Confirmed: c.Confirmed, LagTicks: max(s.Committed, c.Passed) - c.Passed, Policy: c.Slow.String(), MaxLag: c.MaxLag,
			Bytes: c.Sent, Echo: c.RoundTrip, lag: func() time.Duration { return pub.Lag(c.ConnProgress) },
		}
	}
	return conns
}

// The metrics of a publisher.
var (
	descPublished   = desc("published_ticks_total", "Sequence numbers given to ticks in this session.")
	descHead        = desc("head_seq", "The next sequence number.")
	descTail        = desc("tail_seq", "The oldest sequence number that can be served.")
	descUncommitted = desc("uncommitted_ticks", "Ticks that were published and may not be sent yet, because the journal does not have them.")
	descLastPublish = desc("last_publish_time_seconds", "Time at which the last packet was published.")
	descEnded       = desc("session_ended", "1 if the source has ended.")
	descBlocked     = desc("publishing_blocked", "1 if publishing waits for the disk of the journal.")
	descFailed      = desc("journal_failed", "1 if the journal has failed for good: nothing is published until a restart.")
	descJournal     = desc("journal_bytes", "Size of the journal on disk.")
	descUnsynced    = desc("journal_unsynced_bytes", "Bytes of the journal that a power cut may cost.")
	descUnsyncedFor = desc("journal_unsynced_seconds", "Age of the oldest of the unsynced bytes.")
	descSubscribers = desc("subscribers", "Subscribers that are connected.")
	descHandshakes  = desc("handshakes", "Connections that have not logged in.")
	descMissing     = desc("subscribers_missing", "Clients that lost their connection before they had everything, and have not come back.")
	descBehind      = desc("subscribers_behind", "Subscribers that are behind by more than the seconds in the label.", "seconds")
	descLagTicks    = desc("subscriber_lag_ticks_max", "Ticks that the slowest subscriber was not sent yet.")
	descLagSeconds  = desc("subscriber_lag_seconds_max", "Time since the first tick that the slowest subscriber was not sent yet was published.")
	descLogins      = desc("logins_total", "Subscribers that have logged in.")
	descLeft        = desc("departures_total", "Subscribers that have left, by reason.", "reason")
	descRefused     = desc("refusals_total", "Connections that were refused, by the code of the refusal.", "code")
	descSkipped     = desc("slow_skips_total", "How often a subscriber that was too slow was sent a snapshot instead of ticks.")
	descSent        = desc("sent_bytes_total", "Bytes sent to subscribers.")

	connLabels       = []string{"connection", "client"}
	descConnLag      = desc("connection_lag_ticks", "Ticks that a subscriber was not sent yet.", connLabels...)
	descConnPosition = desc("connection_position_seq", "Sequence number after the last one that a subscriber was sent.", connLabels...)
	descConnSent     = desc("connection_sent_bytes_total", "Bytes sent to a subscriber.", connLabels...)
	descConnEcho     = desc("connection_echo_seconds", "Time from sending to a subscriber until it confirmed: the round trip, and the wait until its next message.", connLabels...)
)

// reasons are the values of the label reason, so that each has a series from the beginning.
var reasons = []publisher.Reason{
	publisher.LeftGoodbye, publisher.LeftLost, publisher.LeftSilent, publisher.LeftSlow, publisher.LeftCovered, publisher.LeftShutdown, publisher.LeftKicked,
	publisher.LeftDenied, publisher.LeftOther,
}

// codes are the codes that a refusal may have, for the same reason. A client is refused with the code shutdown during a drain.
var codes = []codec.Code{
	codec.CodeShutdown, codec.CodeBusy, codec.CodeVersion, codec.CodeUnauthorized, codec.CodeProtocol, codec.CodeBadRequest, codec.CodeInternal, codec.CodeDenied,
}

// Metrics adds the metrics of the publisher. Their number does not depend on that of its subscribers.
func (p *Publisher) Metrics(emit func(prometheus.Metric)) {
	pub := p.Get()
	if pub == nil {
		return
	}
	s := pub.Summary()
	emit(counter(descPublished, float64(s.Head-s.First)))
	emit(gauge(descHead, float64(s.Head)))
	emit(gauge(descTail, float64(s.Tail)))
	emit(gauge(descUncommitted, float64(max(s.Head, s.Committed)-s.Committed)))
	emit(gauge(descLastPublish, seconds(s.LastPublish)))
	emit(gauge(descEnded, yes(s.Ended)))
	emit(gauge(descBlocked, yes(s.Disk != "")))
	emit(gauge(descFailed, yes(pub.Failed() != nil)))
	emit(gauge(descJournal, float64(s.Journal)))
	emit(gauge(descUnsynced, float64(s.Unsynced)))
	emit(gauge(descUnsyncedFor, s.UnsyncedFor.Seconds()))
	emit(gauge(descSubscribers, float64(s.Subscribers)))
	emit(gauge(descHandshakes, float64(s.Handshakes)))
	emit(gauge(descMissing, float64(s.Missing)))
	for i, bound := range publisher.BehindBounds {
		emit(gauge(descBehind, float64(s.Behind[i]), strconv.FormatFloat(bound.Seconds(), 'g', -1, 64)))
	}
	emit(gauge(descLagTicks, float64(s.Committed-s.Slowest.Passed)))
	emit(gauge(descLagSeconds, pub.Lag(s.Slowest).Seconds()))
	emit(counter(descLogins, float64(s.Joined)))
	for _, r := range reasons {
		emit(counter(descLeft, float64(s.Left[r]), string(r)))
	}
	for _, code := range codes {
		emit(counter(descRefused, float64(s.Refused[code]), labelOf(code.String())))
	}
	emit(counter(descSkipped, float64(s.Skipped)))
	emit(counter(descSent, float64(s.Sent)))
}

// mostDetails is how many connections have metrics of their own: those that are furthest behind.
const mostDetails = 1000

// Details adds the metrics of each connection.
func (p *Publisher) Details(emit func(prometheus.Metric)) {
	for _, c := range list(p.Conns(), "lag", orders["lag"], mostDetails).Conns {
		labels := []string{strconv.FormatUint(c.Number, 10), c.Name}
		emit(gauge(descConnLag, float64(c.LagTicks), labels...))
		emit(gauge(descConnPosition, float64(c.Position), labels...))
		emit(counter(descConnSent, float64(c.Bytes), labels...))
		emit(gauge(descConnEcho, c.Echo.Seconds(), labels...))
	}
}
