package publisher

import (
	"errors"
	"io"
	"net"
	"slices"
	"syscall"
	"time"

	"tickfeed/codec"
	"tickfeed/feed"
)

// Stats describes the state of a publisher and each of its connections.
type Stats struct {
	Summary
	Conns []ConnStats
	// Absent holds the connections that Summary.Missing counts, as they were when they were lost, at most the last 64.
	Absent []ConnStats
}

// A Summary describes the state of a publisher and its subscribers as a whole.
type Summary struct {
	Session     feed.SessionID
	First       uint64        // first number of the session
	Head        uint64        // next number
	Committed   uint64        // next number that may be sent
	Tail        uint64        // oldest number that can be served
	LastEvent   int64         // greatest event time published
	LastPublish int64         // publish time of the last packet that may be sent, in ns since the Unix epoch; 0 if there is none
	Memory      int64         // bytes of the log in memory, at most Config.Memory
	Journal     int64         // bytes on disk
	Unsynced    int64         // bytes of the journal that a power cut may cost
	UnsyncedFor time.Duration // how long the oldest of them has been unsynced
	Disk        string        // why the journal cannot be written, or is not synced in time; empty if all is well
	Ended       bool
	Waits       bool   // publishing waits for subscribers: see Config.WaitFor
	Draining    bool   // Drain was called: no client is admitted any more
	Subscribers int    // connected and logged in
	Handshakes  int    // connections that have not logged in
	Joined      uint64 // subscribers that have logged in since the publisher began
	Returned    uint64 // those of them whose clients had been connected before
	// Missing is how many clients lost their connection before they had everything, and have not come back. Missed is
	// when the last of these connections was lost.
	Missing int
	Missed  time.Time
	// Slowest is the connected subscriber that is furthest behind. Its Passed is Committed if none is behind.
	Slowest ConnProgress
	// Behind counts the subscribers that are behind by more than each of BehindBounds, by the time since what they were
	// not yet sent was published.
	Behind [len(BehindBounds)]int
	Sent   uint64 // bytes sent to subscribers, also to those that have left
	// Left counts the subscribers that have left, by reason, and Refused the refusals, by code.
	Left    map[Reason]uint64
	Refused map[codec.Code]uint64
	Skipped uint64 // how often a subscriber was sent a snapshot instead of what it was too slow for
}

// BehindBounds are the bounds of Summary.Behind.
var BehindBounds = [...]time.Duration{100 * time.Millisecond, time.Second, 10 * time.Second, time.Minute}

// A Reason is why a connection has ended.
type Reason string

// The reasons.
const (
	LeftGoodbye  Reason = "goodbye"  // the client said goodbye
	LeftLost     Reason = "lost"     // the network ended it
	LeftSilent   Reason = "silent"   // nothing was heard for three intervals
	LeftSlow     Reason = "slow"     // its slow-consumer policy is to disconnect, or it did not read a snapshot
	LeftCovered  Reason = "covered"  // it had all that it asked for
	LeftShutdown Reason = "shutdown" // the publisher stopped, or a replay moved
	LeftKicked   Reason = "kicked"   // the operator ended it
	LeftDenied   Reason = "denied"   // its user may not connect any more, or may not have what it asked for or had: see Config.Authorize
	LeftOther    Reason = "other"    // a violation of the protocol, or a state that could not be read
)

// reasonOf returns the Reason of a connection that ended with err.
func reasonOf(err error) Reason {
	var network net.Error
	switch {
	case errors.Is(err, errClientLeft):
		return LeftGoodbye
	case errors.Is(err, errSilent):
		return LeftSilent
	case errors.Is(err, errSlow), errors.Is(err, errCrowded):
		return LeftSlow
	case errors.Is(err, errCovered):
		return LeftCovered
	case errors.Is(err, errShutdown):
		return LeftShutdown
	case errors.Is(err, errKicked):
		return LeftKicked
	case errors.As(err, new(*deniedError)):
		return LeftDenied
	case errors.Is(err, errLost), errors.As(err, &network), errors.Is(err, net.ErrClosed), errors.Is(err, io.ErrClosedPipe), errors.As(err, new(syscall.Errno)):
		return LeftLost
	}
	return LeftOther
}

// Stats returns the current state of the publisher.
func (p *Publisher) Stats() Stats {
	s := Stats{Summary: p.Summary()}
	s.Conns, s.Absent = p.serving.roster.stats()
	s.Subscribers = len(s.Conns)
	return s
}

// Summary returns the current state of the publisher without its connections, which is cheaper if there are many.
func (p *Publisher) Summary() Summary {
	q := &p.seq
	q.lock()
	s := Summary{Session: p.session.ID, First: p.session.First, Head: q.next, LastEvent: q.event, Ended: q.ended}
	q.mu.Unlock()
	s.Committed, s.LastPublish = p.log.head()
	s.Tail, s.Memory = p.tail(), p.log.bytes()
	if p.journal != nil {
		s.Journal = p.journal.Bytes()
		var since time.Time
		if s.Unsynced, since = p.journal.Unsynced(); !since.IsZero() {
			s.UnsyncedFor = time.Since(since)
		}
	}
	if d := p.flusher.disk.Load(); d != nil {
		s.Disk = *d
	} else if err := p.flusher.behind(); err != nil {
		s.Disk = err.Error()
	}
	s.Waits = p.audience.mustWait()
	s.Handshakes = p.serving.lobby.Waiting()
	p.serving.roster.summarize(&s, p.delays())
	return s
}

// delays says from which number, or time, on a subscriber is behind by each of BehindBounds.
type delays [len(BehindBounds)]struct {
	seq   uint64 // the numbers below were published before time
	young bool   // memory begins with seq, and what came before may be younger than time
	time  int64
}

func (p *Publisher) delays() (d delays) {
	for i, bound := range BehindBounds {
		d[i].time = p.cfg.Now() - int64(bound)
		seq, exact := p.log.seqAt(d[i].time)
		d[i].seq, d[i].young = seq, !exact
	}
	return d
}

// behind reports whether a subscriber that was sent c is behind by BehindBounds[i].
func (d *delays) behind(i int, c ConnProgress) bool {
	return c.Passed < d[i].seq && (!d[i].young || c.Read < d[i].time)
}

// Lag returns how long ago, by the publisher's clock, the first number that a subscriber was not sent was published; 0 if it
// was sent everything that may be sent. For a subscriber that reads the journal it is the time of the last packet it was sent.
func (p *Publisher) Lag(c ConnProgress) time.Duration {
	next, time := p.log.head()
	if c.Passed >= next {
		return 0
	}
	if at, ok := p.log.find(c.Passed); ok {
		if v, ok := p.log.view(at); ok {
			if len(v.data) > 0 {
				time = codec.PacketAt(v.data).PublishTime
			}
			v.release()
			return p.since(time)
		}
	}
	if c.Read != 0 {
		time = c.Read
	}
	return p.since(time)
}

func (p *Publisher) since(t int64) time.Duration { return max(0, time.Duration(p.cfg.Now()-t)) }

// A ConnProgress is how far a subscriber was sent the log.
type ConnProgress struct {
	Told   uint64 // number after the last one sent
	Passed uint64 // as Told, or a later number if those between are not asked for and are yet to be skipped
	Read   int64  // publish time of the last packet that was read from the journal for it; 0 if none was
}

// A Selection is the part of the feed that a subscriber is sent: what it has asked for last, and what its user may see of that. It
// must not be changed.
type Selection struct {
	Filter codec.Filter // as asked; empty for all instruments
	// The fields below are zero if the subscriber is sent everything that it asked for.
	Granted codec.Filter // the patterns of Filter that the user may see, from which Denied and Depth take more
	Denied  codec.Filter
	Depth   Depth
	Limits  string // what is missing, as the client was informed
}

// everySelection is the Selection of all lines without a filter and without limits.
var everySelection Selection

// ConnStats describes one connected subscriber.
type ConnStats struct {
	Number      uint64 // number of the connection, unique in the publisher
	Remote      string
	Client      string
	User        string    // empty without Config.Authorize
	Certificate string    // the one name in the client's certificate; empty if it has shown none, or one with several names
	Since       time.Time // when it was accepted
	Selection
	Start uint64 // number at which its line began
	ConnProgress
	Confirmed uint64 // number after the last one that the client has confirmed as applied
	RoundTrip time.Duration
	Slow      codec.SlowPolicy
	MaxLag    time.Duration // of Slow
	Sent      uint64        // bytes
}

// isClientOf reports whether both connections are from clients with the same name and address, and so perhaps from
// the same client.
func (c ConnStats) isClientOf(o ConnStats) bool {
	return c.Client == o.Client && host(c.Remote) == host(o.Remote)
}

// host returns an address without its port.
func host(remote string) string {
	if h, _, err := net.SplitHostPort(remote); err == nil {
		return h
	}
	return remote
}

// Without returns conns without those that match a connection in others by client name and address. Each connection
// in others matches at most one.
func Without(conns, others []ConnStats) (left []ConnStats) {
	others = slices.Clone(others)
	for _, c := range conns {
		if i := slices.IndexFunc(others, c.isClientOf); i >= 0 {
			others = slices.Delete(others, i, i+1)
			continue
		}
		left = append(left, c)
	}
	return left
}

func (c *conn) stats() ConnStats {
	s := ConnStats{
		Number: c.client.number, Remote: c.nc.RemoteAddr().String(), Client: c.client.name, User: c.client.user, Certificate: c.client.cert, Since: c.client.since, Selection: *c.selected.Load(),
		Start: c.progress.position, ConnProgress: c.progress.connProgress(), Confirmed: c.progress.confirmed.Load(),
		RoundTrip: time.Duration(c.progress.roundTrip.Load()), Slow: c.slow.policy, MaxLag: c.slow.maxLag, Sent: c.out.bytes.Load(),
	}
	if s.Told == 0 { // the line has not begun
		s.Told, s.Passed = c.client.asked, c.client.asked
	}
	return s
}
